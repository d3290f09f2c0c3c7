//! The ledger in use: one owner, locked for moments, on the disk after every change. It never waits for anything but
//! the disk.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use super::{
    super::tls::{Kept, KeptCertificate},
    failure::Failure,
    history::{Ended, Issued, Ledger, PendingOrder, Renewal},
    ledger_file::LedgerFile,
    order::Made,
    order_keys::OrderKeys,
    schedule::{Facts, Held, Plan, Rules, plan, superfluous},
    status::{HostState, states, waits},
};

/// The ledger of one authority, and what is known of that authority.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    ledger: Ledger,
    file: Option<LedgerFile>,
    keys: Option<OrderKeys>,
    rules: Rules,
    /// What the ids of this authority's certificates begin with.
    tag: String,
}

impl Desk {
    /// Work on this authority's ledger from now on. Orders that were under way have counted; those whose URL is known
    /// go on.
    pub(crate) fn open(
        &mut self,
        (file, keys): (LedgerFile, OrderKeys),
        tag: &str,
        rules: Rules,
    ) -> Result<(), String> {
        self.ledger = file.read()?;
        if self.ledger.seed == 0 {
            self.ledger.seed = random()? | 1;
        }
        self.rules = Rules { seed: self.ledger.seed, ..rules };
        for host in self.ledger.interrupted() {
            if self.ledger.pending.iter().any(|order| order.names.contains(&host)) {
                continue;
            }
            tracing::info!(host, "an order was under way when the gateway ended: it counts as made");
        }
        tag.clone_into(&mut self.tag);
        (self.file, self.keys) = (Some(file), Some(keys));
        self.save()?;
        self.sweep_keys();
        Ok(())
    }

    /// There is nothing to work on, for this reason.
    pub(crate) fn unusable(&mut self, why: &str) {
        self.ledger.authority.last_error = Some(why.to_owned());
        self.ledger.authority.next_try = Some(super::backoff::after(Timestamp::now(), super::UNUSABLE_PAUSE));
    }

    /// What to do now; the hosts of its orders are taken.
    pub(crate) fn plan(
        &mut self,
        wanted: &BTreeSet<String>,
        kept: &[Arc<KeptCertificate>],
        (now, orders_max): (Timestamp, usize),
    ) -> Plan {
        self.drop_orders(|order| !order.names.iter().all(|name| wanted.contains(name)));
        self.ledger.keep(wanted, now);
        let held = self.held(kept);
        let facts = Facts { wanted, held: &held, ledger: &self.ledger, rules: &self.rules };
        let mut plan = plan(facts, now);
        plan.orders.truncate(orders_max);
        for name in plan.orders.iter().flat_map(|order| &order.names) {
            self.ledger.hosts.entry(name.clone()).or_default().ordering = true;
        }
        plan
    }

    /// How each host stands.
    pub(crate) fn states(
        &self,
        wanted: &BTreeSet<String>,
        kept: &[Arc<KeptCertificate>],
        now: Timestamp,
    ) -> Vec<HostState> {
        let held = self.held(kept);
        let facts = Facts { wanted, held: &held, ledger: &self.ledger, rules: &self.rules };
        let mut all = states(facts, now);
        // One of another authority serves until this one's is there.
        for state in all.iter_mut().filter(|state| state.certificate.is_none()) {
            let other = kept.iter().filter(|one| one.not_after > now && one.names.contains(&state.host));
            if let Some(other) = other.max_by_key(|one| one.not_after) {
                state.certificate = Some(other.id.clone());
                state.not_after = Some(other.not_after);
            }
        }
        all
    }

    /// Kept certificates that nobody needs any more, of this authority and of those before it.
    pub(crate) fn superfluous(
        &self,
        wanted: &BTreeSet<String>,
        kept: &[Arc<KeptCertificate>],
        now: Timestamp,
    ) -> Vec<String> {
        let held = self.held(kept);
        let mut gone = superfluous(&held, wanted, now);
        let best = super::schedule::best(&held, now);
        let foreign = kept.iter().filter(|one| one.kept == Kept::Acme && !self.is_ours(&one.id));
        let replaced = foreign.filter(|one| {
            let mut names = one.names.iter().filter(|name| wanted.contains(*name)).peekable();
            // Nobody wants it: it may serve a host that comes back, until it ends.
            let idle = names.peek().is_none() && one.not_after > now;
            !idle && names.all(|name| best.contains_key(name.as_str()))
        });
        gone.extend(replaced.map(|one| one.id.clone()));
        gone
    }

    /// These hosts are ordered now: on the disk before the authority hears of it.
    pub(crate) fn begin(&mut self, names: &[String], now: Timestamp) -> Result<(), String> {
        self.ledger.begin(names, now);
        self.save()
    }

    /// The authority has made this order: on the disk, with its key, before it goes on.
    pub(crate) fn keep_order(&mut self, order: PendingOrder, key_pem: &str) -> Result<(), String> {
        if let Some(keys) = &self.keys {
            keys.write(&order.id, key_pem)?;
        }
        self.ledger.pending.push(order);
        self.save()
    }

    /// An order that the authority has made before, and when.
    pub(crate) fn kept_order(&self, id: &str) -> Option<(Made, PendingOrder)> {
        let order = self.ledger.pending.iter().find(|order| order.id == id)?;
        let key_pem = self.keys.as_ref()?.read(id)?;
        Some((Made { url: order.url.clone(), key_pem }, order.clone()))
    }

    /// Nothing comes of this order any more.
    pub(crate) fn drop_order(&mut self, id: &str) {
        self.drop_orders(|order| order.id == id);
    }

    fn drop_orders(&mut self, is_over: impl Fn(&PendingOrder) -> bool) {
        let before = self.ledger.pending.len();
        self.ledger.pending.retain(|order| !is_over(order));
        if self.ledger.pending.len() != before {
            self.saved();
            self.sweep_keys();
        }
    }

    fn sweep_keys(&self) {
        if let Some(keys) = &self.keys {
            keys.sweep(|id| self.ledger.pending.iter().any(|order| order.id == id));
        }
    }

    /// A host leads here, and perhaps elsewhere too.
    pub(crate) fn leads_here(&mut self, host: &str, warning: Option<String>) {
        self.ledger.leads_here(host, warning);
    }

    /// A host does not lead here. When it is looked at again.
    pub(crate) fn strayed(&mut self, host: &str, why: &str, now: Timestamp) -> Option<Timestamp> {
        self.ledger.strayed(host, why, now, &self.rules);
        self.release(&[host.to_owned()]);
        self.saved();
        self.ledger.hosts.get(host).and_then(|history| history.next_try)
    }

    /// These hosts are in no order.
    pub(crate) fn release(&mut self, names: &[String]) {
        for name in names {
            if let Some(history) = self.ledger.hosts.get_mut(name) {
                history.ordering = false;
            }
        }
    }

    /// The authority is about to make a certificate: it counts, once, whatever becomes of us.
    pub(crate) fn commit(&mut self, issued: Issued) -> Result<(), String> {
        if self.ledger.issued.contains(&issued) {
            return Ok(());
        }
        self.ledger.issued.push(issued);
        self.save()
    }

    /// The order brought a certificate.
    pub(crate) fn succeeded(&mut self, names: &[String], id: &str) {
        self.ledger.succeeded(names);
        self.release(names);
        self.ledger.pending.retain(|order| order.id != id);
        self.saved();
        self.sweep_keys();
    }

    /// The order brought none. When each host's turn comes again, and whether the order itself is kept.
    pub(crate) fn failed(&mut self, names: &[String], id: &str, (failure, ended): (&Failure, Ended)) {
        self.ledger.failed(names, failure, ended, &self.rules);
        self.ledger.judge_order(id, failure);
        if !failure.leaves_the_order() {
            // It said that there is no certificate.
            self.ledger.issued.retain(|issued| issued.at != ended.begun || issued.names != names);
        }
        self.release(names);
        self.saved();
        self.sweep_keys();
    }

    /// When a host's turn comes again.
    pub(crate) fn next_try(&self, host: &str) -> Option<Timestamp> {
        let own = self.ledger.hosts.get(host).and_then(super::history::HostHistory::turn);
        own.max(self.ledger.authority.turn())
    }

    /// Which challenges the next order with these names begins with.
    pub(crate) fn over_http(&self, names: &[String]) -> BTreeSet<String> {
        let over_http =
            |name: &&String| self.ledger.hosts.get(*name).is_some_and(|history| history.over_http);
        names.iter().filter(over_http).cloned().collect()
    }

    /// The operator wants a new certificate for it. Until when that must wait, and why.
    pub(crate) fn ask(&mut self, host: &str, now: Timestamp) -> Option<(Timestamp, &'static str)> {
        self.ledger.ask(host);
        self.saved();
        let wanted = BTreeSet::new();
        let facts = Facts { wanted: &wanted, held: &[], ledger: &self.ledger, rules: &self.rules };
        waits(facts, host, now)
    }

    /// The certificates whose authority has not been asked lately when it wants them renewed.
    pub(crate) fn unasked(&mut self, kept: &[Arc<KeptCertificate>], now: Timestamp) -> Vec<String> {
        let held = self.held(kept);
        self.ledger.renewals.retain(|id, _| held.iter().any(|held| held.id == *id));
        let fresh = |id: &String| self.ledger.renewals.get(id).is_some_and(|known| known.look_again > now);
        held.into_iter().map(|held| held.id).filter(|id| !fresh(id)).collect()
    }

    /// What it said before.
    pub(crate) fn renewal(&self, id: &str) -> Option<Renewal> {
        self.ledger.renewals.get(id).cloned()
    }

    /// What it says now.
    pub(crate) fn told(&mut self, id: &str, renewal: Renewal) {
        self.ledger.renewals.insert(id.to_owned(), renewal);
        self.saved();
    }

    /// Where jitter comes from.
    pub(crate) fn seed(&self) -> u64 {
        self.rules.seed
    }

    fn is_ours(&self, id: &str) -> bool {
        id.strip_prefix(&self.tag).is_some_and(|rest| rest.starts_with('-'))
    }

    fn held(&self, kept: &[Arc<KeptCertificate>]) -> Vec<Held> {
        let ours = kept.iter().filter(|one| one.kept == Kept::Acme && self.is_ours(&one.id));
        ours.map(|one| Held {
            id: one.id.clone(),
            names: one.names.clone(),
            not_before: one.not_before,
            not_after: one.not_after,
        })
        .collect()
    }

    fn save(&self) -> Result<(), String> {
        self.file.as_ref().map_or(Ok(()), |file| file.write(&self.ledger))
    }

    /// Save what may be lost without harm: the limits were kept before.
    fn saved(&self) {
        if let Err(why) = self.save() {
            tracing::error!("the history of orders is not kept: {why}");
        }
    }
}

fn random() -> Result<u64, String> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system gives no randomness".to_owned())?;
    Ok(u64::from_le_bytes(bytes))
}

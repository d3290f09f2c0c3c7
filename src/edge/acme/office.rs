//! Where a plan is carried out: look whether the hosts lead here, order, keep what came, write down what happened.
//! It decides nothing that the schedule could decide.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use futures_util::{StreamExt, future::BoxFuture, stream};
use jiff::Timestamp;

use crate::metrics::OutcomeLabels;

use super::{
    Acme, Kept, Setup,
    account::Session,
    authority::Authority,
    backoff::spread,
    disk,
    history::{Failure, Issued},
    http::Http,
    ledger_file::LedgerFile,
    order::{Brought, Progress, Wish, order},
    renewal_info,
    schedule::{Plan, Proposal, Rules},
    whereabouts::Whereabouts,
};

/// Hosts looked up at once.
const LOOKS_AT_ONCE_MAX: usize = 8;

/// Everything for working with one authority.
pub(crate) struct Office {
    acme: Arc<Acme>,
    setup: Arc<Setup>,
    session: Session,
    whereabouts: Whereabouts,
    tag: String,
    /// Nobody else is asking it when to renew.
    asking: Arc<tokio::sync::Mutex<()>>,
}

impl Office {
    /// Open it for this configuration; nothing is asked of the authority yet.
    pub(crate) fn open(acme: &Arc<Acme>, setup: &Arc<Setup>) -> Result<Self, String> {
        let config = &setup.config;
        let tag = tag(&config.directory);
        let directory: PathBuf = acme.state_dir.join("acme").join(&tag);
        disk::make_directory(&directory)
            .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        let http =
            Http::new(config.ca_file.as_deref(), config.request_timeout, acme.shared.shutdown.clone())?;
        let authority = Authority::new(http, &config.directory);
        let session = Session::new(authority, config, directory.clone())?;
        let near = is_near(&config.directory);
        let whereabouts = Whereabouts::new(&config.resolvers, &setup.public_addresses, near)?;
        acme.desk().open(LedgerFile::new(&directory), &tag, Rules::new(config, 0))?;
        tracing::info!(directory = config.directory, "certificates are ordered from");
        let asking = Arc::default();
        Ok(Self { acme: acme.clone(), setup: setup.clone(), session, whereabouts, tag, asking })
    }

    /// What to do now: orders, and the certificates to ask the authority about.
    pub(crate) fn plan(&self, now: Timestamp, orders_max: usize) -> (Plan, Option<Vec<String>>) {
        let (wanted, _) = self.acme.hosts(now);
        let kept = self.acme.vault.all();
        let mut desk = self.acme.desk();
        let plan = desk.plan(&wanted, &kept, (now, orders_max));
        let unasked = if self.asking.try_lock().is_ok() { desk.unasked(&kept, now) } else { Vec::new() };
        (plan, (!unasked.is_empty()).then_some(unasked))
    }

    /// One order, to whatever end. It never fails: what went wrong is written down.
    pub(crate) fn carry_out(self: Arc<Self>, proposal: Proposal) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let here = self.leading_here(&proposal.names).await;
            if here.is_empty() {
                return;
            }
            let (begun, made) = (Timestamp::now(), AtomicBool::new(false));
            let outcome =
                self.ordered(&proposal, &here, (begun, &made)).await.and_then(|brought| self.keep(&brought));
            let names = here.join(", ");
            match &outcome {
                Ok(id) => {
                    self.acme.desk().succeeded(&here);
                    tracing::info!(certificate = id, hosts = names, "a certificate was issued and is served");
                    self.sweep();
                }
                Err(failure) => {
                    let mut desk = self.acme.desk();
                    if matches!(failure, Failure::Authority(_)) && !made.load(Relaxed) {
                        desk.unmade(&here, begun);
                    }
                    desk.failed(&here, failure, (begun, Timestamp::now()));
                    drop(desk);
                    self.tell(&here, failure);
                }
            }
            let labels = OutcomeLabels { outcome: outcome_word(outcome.as_ref().err()) };
            self.acme.shared.metrics.certificate_orders_total.get_or_create(&labels).inc();
        })
    }

    /// The names that lead here; the others are written down and released.
    async fn leading_here(&self, names: &[String]) -> Vec<String> {
        let challenges = &self.acme.shared.challenges;
        let looks = names.iter().cloned().map(|name| async move {
            let led = Box::pin(self.whereabouts.leads_here(&name, challenges)).await;
            (name, led)
        });
        let looks: Vec<_> = stream::iter(looks).buffered(LOOKS_AT_ONCE_MAX).collect().await;
        let mut here = Vec::new();
        for (name, led) in looks {
            match led {
                Ok(()) => here.push(name),
                Err(why) => {
                    let next_try = self.acme.desk().strayed(&name, &why, Timestamp::now());
                    let next_try = next_try.map(|at| at.to_string()).unwrap_or_default();
                    tracing::warn!(host = name, next_try, "no certificate is ordered: {why}");
                }
            }
        }
        here
    }

    async fn ordered(
        &self,
        proposal: &Proposal,
        names: &[String],
        (begun, made): (Timestamp, &AtomicBool),
    ) -> Result<Brought, Failure> {
        let renewal = proposal.renewal && proposal.names == names;
        let issued = Issued { at: begun, names: names.to_vec(), renewal };
        let over_http = {
            let mut desk = self.acme.desk();
            desk.begin(names, begun).map_err(Failure::Authority)?;
            desk.over_http(names)
        };
        let limit = self.setup.config.order_timeout;
        let order = async {
            let replaces = self.replaces(proposal).await;
            let wish = Wish { names: names.to_vec(), replaces, over_http };
            let commit = || self.acme.desk().commit(issued.clone());
            let progress = Progress { made, commit: &commit };
            order(&self.session, &self.acme.shared.challenges, &wish, progress).await
        };
        let slow = || {
            let limit = limit.as_secs();
            Failure::Authority(format!("the order was not done within {limit} s (`tls.acme.order_timeout`)"))
        };
        tokio::time::timeout(limit, Box::pin(order)).await.unwrap_or_else(|_| Err(slow()))
    }

    /// The replaced certificate as the authority knows it, if it wants to know.
    async fn replaces(&self, proposal: &Proposal) -> Option<String> {
        let id = proposal.replaces.as_ref()?;
        let directory = self.session.authority.directory().await.ok()?;
        directory.renewal_info.as_ref()?;
        let kept = self.acme.vault.all().into_iter().find(|kept| kept.id == *id)?;
        renewal_info::certificate_id(&kept.leaf_der)
    }

    fn keep(&self, brought: &Brought) -> Result<String, Failure> {
        let ours = Failure::Authority;
        let mut bytes = [0; 4];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| ours("the system gives no randomness".to_owned()))?;
        let (now, random) = (Timestamp::now().as_millisecond(), u32::from_be_bytes(bytes));
        let id = format!("{}-{now}-{random:08x}", self.tag);
        let stored = self.acme.vault.store(Kept::Acme, &id, &brought.chain_pem, &brought.key_pem);
        stored.map(|_| id).map_err(|error| ours(format!("the certificate that came cannot be kept: {error}")))
    }

    /// Remove what the new certificate has replaced.
    fn sweep(&self) {
        let now = Timestamp::now();
        let (wanted, _) = self.acme.hosts(now);
        let gone = self.acme.desk().superfluous(&wanted, &self.acme.vault.all(), now);
        for id in gone {
            match self.acme.vault.remove(Kept::Acme, &id) {
                Ok(()) => tracing::info!(certificate = id, "a certificate was replaced and is gone"),
                Err(error) => tracing::warn!(certificate = id, "a replaced certificate stays: {error}"),
            }
        }
    }

    fn tell(&self, names: &[String], failure: &Failure) {
        let next = |host: &str| {
            self.acme.desk().next_try(host).map_or_else(|| "now".to_owned(), |at| at.to_string())
        };
        match failure {
            Failure::Names(culprits) => {
                for (host, why) in culprits {
                    tracing::warn!(
                        host,
                        next_try = next(host),
                        "the order failed because of this host: {why}"
                    );
                }
            }
            Failure::Order(why) | Failure::Limited(why, _) | Failure::Authority(why) => {
                let next_try = names.first().map(|host| next(host)).unwrap_or_default();
                tracing::warn!(hosts = names.join(", "), next_try, "the order brought no certificate: {why}");
            }
        }
    }

    /// Ask the authority when it wants these certificates renewed.
    pub(crate) fn ask_when(self: Arc<Self>, ids: Vec<String>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let asking = self.asking.clone();
            let _asking = asking.lock().await;
            for id in ids {
                let (known, seed) = {
                    let desk = self.acme.desk();
                    (desk.renewal(&id), desk.seed())
                };
                let said = self.when(&id, spread(seed, &id, 1)).await;
                let renewal = said.unwrap_or_else(|| renewal_info::silence(known.as_ref()));
                if let (Some(at), true) = (renewal.at, known.and_then(|known| known.at).is_none()) {
                    tracing::debug!(certificate = id, %at, "the certificate authority says when to renew");
                }
                self.acme.desk().told(&id, renewal);
            }
        })
    }

    async fn when(&self, id: &str, spread: f64) -> Option<super::history::Renewal> {
        let directory = self.session.authority.directory().await.ok()?;
        let url = directory.renewal_info.clone()?;
        let kept = self.acme.vault.all().into_iter().find(|kept| kept.id == id)?;
        let name = renewal_info::certificate_id(&kept.leaf_der)?;
        match renewal_info::ask(&self.session.authority, &url, &name, spread).await {
            Ok(renewal) => Some(renewal),
            Err(error) => {
                tracing::debug!(certificate = id, "no word on when to renew: {error}");
                None
            }
        }
    }
}

fn outcome_word(failure: Option<&Failure>) -> &'static str {
    match failure {
        None => "issued",
        Some(Failure::Names(_)) => "host-failed",
        Some(Failure::Order(_)) => "refused",
        Some(Failure::Limited(..)) => "rate-limited",
        Some(Failure::Authority(_)) => "authority-failed",
    }
}

/// Certificates and history of one authority must not pass for another's, staging least of all.
fn tag(directory: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, directory.as_bytes());
    digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Is the authority on this machine?
fn is_near(directory: &str) -> bool {
    let Ok(uri) = directory.parse::<::http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_authority_has_a_tag_of_its_own_and_a_near_one_is_known() {
        let (live, staging) = (
            rustls_acme::acme::LETS_ENCRYPT_PRODUCTION_DIRECTORY,
            rustls_acme::acme::LETS_ENCRYPT_STAGING_DIRECTORY,
        );
        assert_ne!(tag(live), tag(staging));
        assert_eq!(tag(live).len(), 8);
        assert!(is_near("https://localhost:14000/dir") && is_near("https://[::1]:14000/dir"));
        assert!(!is_near(live) && !is_near("nonsense"));
    }
}

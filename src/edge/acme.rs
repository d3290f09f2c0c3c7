//! Certificates by themselves: which hosts need one, what has been ordered, and what the operator sees of it. It runs
//! beside the edge on the data runtime, never on an edge thread, and whatever fails here, a certificate that is kept
//! goes on being served.

mod account;
mod authority;
mod authorization;
mod backoff;
mod challenges;
mod config;
mod desk;
mod disk;
mod failure;
mod grouping;
mod history;
mod http;
mod jose;
mod ledger_file;
mod office;
mod order;
mod order_keys;
mod renewal_info;
mod schedule;
mod status;
mod whereabouts;

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, RwLock};

use crate::metrics::{Metrics, StateLabels};

pub(crate) use self::{
    account::mac_key,
    challenges::{ACME_TLS, Challenges},
    config::AcmeConfig,
    http::authorities,
    status::{HostState, State},
};
use self::{backoff::between, desk::Desk, office::Office};
use super::{
    EdgeSettings,
    config::TlsMode,
    thread::Shared,
    tls::{Kept, Vault},
};

/// A ledger or a directory that cannot be used is looked at again after this.
const UNUSABLE_PAUSE: Duration = Duration::from_secs(60);

/// So long the drain waits for the URLs of orders: a request to an authority that is well takes less.
const NAMING_PATIENCE: Duration = Duration::from_secs(5);

/// Timers may fire a little early; the schedule must find its moment past.
const TIMER_SLACK: Duration = Duration::from_millis(20);

/// The one who orders certificates.
pub(crate) struct Acme {
    vault: Arc<Vault>,
    shared: Arc<Shared>,
    state_dir: PathBuf,
    /// What is configured; none while certificates come from elsewhere.
    setup: ArcSwapOption<Setup>,
    /// The configuration or an operator's wish has changed something.
    changed: Notify,
    desk: Mutex<Desk>,
    /// Held by each order from its first request until its URL is kept: from then on it can be taken up again.
    naming: RwLock<()>,
}

/// What of the configuration it goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) config: AcmeConfig,
    pub(crate) public_addresses: Vec<IpAddr>,
}

/// What an operator's wish for a certificate waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RenewWait {
    /// Not before then.
    pub(crate) until: Timestamp,
    pub(crate) why: String,
}

/// Why a host's certificate is not ordered anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RenewProblem {
    /// Certificates come from elsewhere.
    #[error("certificates do not come from ACME here: `tls.mode` is another")]
    Off,
    /// It is not served here.
    #[error("`{0}` is not served here")]
    Unknown(String),
    /// The schedule does not look after it.
    #[error("`{host}` is not ordered by ACME: {why}")]
    Apart {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
}

impl Acme {
    /// One that has begun nothing.
    pub(crate) fn new(
        vault: Arc<Vault>,
        shared: Arc<Shared>,
        state_dir: PathBuf,
        settings: &EdgeSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            vault,
            shared,
            state_dir,
            setup: ArcSwapOption::from(Setup::of(settings).map(Arc::new)),
            changed: Notify::new(),
            desk: Mutex::default(),
            naming: RwLock::default(),
        })
    }

    /// Go by a new configuration from now on.
    pub(crate) fn reconfigure(&self, settings: &EdgeSettings) {
        self.setup.store(Setup::of(settings).map(Arc::new));
        self.changed.notify_one();
    }

    /// Order what is needed until the drain begins. An order under way then is taken up again by whoever runs next.
    pub(crate) async fn run(self: Arc<Self>) {
        let shutdown = self.shared.shutdown.clone();
        let mut life = std::pin::pin!(async {
            loop {
                match self.setup.load_full() {
                    Some(setup) => self.work(&setup).await,
                    None => self.changed.notified().await,
                }
            }
        });
        tokio::select! {
            () = &mut life => {}
            () = shutdown.begun() => {}
        }
        // Once all have their URLs; whoever asks for one meanwhile waits until this is over.
        tokio::select! {
            () = life => {}
            _named = tokio::time::timeout(NAMING_PATIENCE, self.naming.write()) => {}
        }
    }

    /// Until the configuration is another.
    async fn work(self: &Arc<Self>, setup: &Arc<Setup>) {
        let office = match Office::open(self, setup) {
            Ok(office) => Arc::new(office),
            Err(why) => {
                tracing::error!("no certificate can be ordered: {why}");
                self.desk().unusable(&why);
                let _either = tokio::time::timeout(UNUSABLE_PAUSE, self.changed.notified()).await;
                return;
            }
        };
        let mut registry = self.shared.registry.watch();
        let mut running: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let at_once_max = usize::try_from(setup.config.orders_at_once_max).unwrap_or(usize::MAX);
        loop {
            if self.setup.load().as_deref() != Some(&**setup) {
                // Those that have their URL go on in the next office; the others get it first.
                tokio::select! {
                    Some(()) = running.next(), if !running.is_empty() => continue,
                    _named = self.naming.write() => return,
                }
            }
            let now = Timestamp::now();
            let (plan, renewals) = office.plan(now, at_once_max.saturating_sub(running.len()));
            running.extend(plan.orders.into_iter().map(|proposal| office.clone().carry_out(proposal)));
            running.extend(renewals.map(|ids| office.clone().ask_when(ids)));
            self.count(now);
            tokio::select! {
                Some(()) = running.next(), if !running.is_empty() => {}
                _counted = registry.changed() => {}
                () = self.changed.notified() => {}
                () = tokio::time::sleep(between(now, plan.look_again) + TIMER_SLACK) => {}
            }
        }
    }

    /// Every host and how it stands.
    pub(crate) fn status(&self) -> Vec<HostState> {
        if self.setup.load().is_none() {
            return Vec::new();
        }
        let now = Timestamp::now();
        let (wanted, mut all) = self.hosts(now);
        all.extend(self.desk().states(&wanted, &self.vault.all(), now));
        all.sort_by(|a, b| a.host.cmp(&b.host));
        all
    }

    /// Order a host's certificate anew, as soon as the limits and the authority allow.
    pub(crate) fn renew(&self, host: &str) -> Result<Option<RenewWait>, RenewProblem> {
        if self.setup.load().is_none() {
            return Err(RenewProblem::Off);
        }
        let (wanted, apart) = self.hosts(Timestamp::now());
        if let Some(apart) = apart.into_iter().find(|apart| apart.host == host) {
            let why = apart.last_error.unwrap_or_else(|| apart.state.as_str().to_owned());
            return Err(RenewProblem::Apart { host: host.to_owned(), why });
        }
        if !wanted.contains(host) {
            return Err(RenewProblem::Unknown(host.to_owned()));
        }
        let wait = self.desk().ask(host, Timestamp::now());
        self.changed.notify_one();
        Ok(wait.map(|(until, why)| RenewWait { until, why: why.to_owned() }))
    }

    /// The hosts to order for, and those that are none of ours to order for.
    fn hosts(&self, now: Timestamp) -> (BTreeSet<String>, Vec<HostState>) {
        let settings = self.shared.settings.load();
        let snapshot = self.shared.registry.snapshot();
        let of_tenants = snapshot.tenants().flat_map(|tenant| &tenant.hosts).map(|host| host.as_str());
        let all: BTreeSet<&str> = settings.hosts().chain(of_tenants).collect();
        let (mut wanted, mut apart) = (BTreeSet::new(), Vec::new());
        for host in all {
            if let Some(why) = unfit(host) {
                apart.push(HostState::apart(host, State::Unfit, Some(why)));
            } else if self.vault.imported_covers(host, now) {
                let mut state = HostState::apart(host, State::Imported, None);
                if let Some(imported) = self.vault.imported(host) {
                    state.certificate = Some(imported.id.clone());
                    state.not_after = Some(imported.not_after);
                }
                apart.push(state);
            } else {
                wanted.insert(host.to_owned());
            }
        }
        (wanted, apart)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, now: Timestamp) {
        let (states, metrics): (_, &Metrics) = (self.status(), &self.shared.metrics);
        for state in State::ALL {
            let hosts = states.iter().filter(|one| one.state == state).count();
            let gauge = metrics.certificates.get_or_create(&StateLabels { state: state.as_str() });
            gauge.set(i64::try_from(hosts).unwrap_or(i64::MAX));
        }
        if let Some(end) = states.iter().filter_map(|one| one.not_after).min() {
            metrics.certificate_expiry_seconds.set(end.duration_since(now).as_secs());
        }
    }
}

impl Setup {
    fn of(settings: &EdgeSettings) -> Option<Self> {
        (settings.tls.mode == TlsMode::Acme).then(|| Self {
            config: settings.tls.acme.clone(),
            public_addresses: settings.config.public_addresses.clone(),
        })
    }
}

/// Why no authority signs such a name, if so.
fn unfit(host: &str) -> Option<&'static str> {
    if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
        return Some("it is an address, and certificates are ordered for names");
    }
    let local = !host.contains('.') || host.ends_with(".localhost");
    local.then_some("no certificate authority signs a name of this machine alone")
}

impl fmt::Debug for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acme(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_of_this_machine_are_never_ordered() {
        for host in ["127.0.0.1", "[::1]", "localhost", "shop.localhost", "intranet"] {
            assert!(unfit(host).is_some(), "{host}");
        }
        for host in ["api.example.com", "shop.internal", "xn--mnchen-3ya.de"] {
            assert_eq!(unfit(host), None, "{host}");
        }
    }
}

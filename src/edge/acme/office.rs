//! Where a plan is carried out: look whether the hosts lead here, order, keep what came, write down what happened.
//! It decides nothing that the schedule could decide.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
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
    failure::Failure,
    history::{Ended, Issued, PendingOrder},
    http::Http,
    ledger_file::LedgerFile,
    order::{Brought, Made, Progress, Wish, is_unproven, order},
    order_keys::OrderKeys,
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

/// One order that is carried out.
struct Job {
    /// What it is kept under.
    id: String,
    names: Vec<String>,
    begun: Timestamp,
    /// See [`Issued::renewal`].
    renewal: bool,
    /// The authority has made it before.
    kept: Option<Made>,
    /// May it have made it by now?
    made: AtomicBool,
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
        let files = (LedgerFile::new(&directory), OrderKeys::open(&directory)?);
        acme.desk().open(files, &tag, Rules::new(config, 0))?;
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
            let job = match &proposal.resumes {
                Some(id) => self.taken_up(id, &proposal).await,
                None => self.new_one(&proposal).await,
            };
            let Some(job) = job else { return };
            let outcome = match self.ordered(&proposal, &job).await {
                Ok(brought) => self.keep(&brought),
                Err(failure) => Err(failure),
            };
            self.write_down(&job, outcome);
        })
    }

    /// A new order, for those of its names that lead here.
    async fn new_one(&self, proposal: &Proposal) -> Option<Job> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let names = self.leading_here(&proposal.names).await;
        if names.is_empty() {
            return None;
        }
        let renewal = proposal.renewal && proposal.names == names;
        let begun = Timestamp::now();
        let id = format!("{}-{}", begun.as_millisecond(), NEXT.fetch_add(1, Relaxed));
        Some(Job { id, names, begun, renewal, kept: None, made: AtomicBool::new(false) })
    }

    /// An order that the authority has made before, if anything can still come of it.
    async fn taken_up(&self, id: &str, proposal: &Proposal) -> Option<Job> {
        let names = &proposal.names;
        let kept = self.acme.desk().kept_order(id);
        let Some((made, kept)) = kept else {
            let mut desk = self.acme.desk();
            desk.drop_order(id);
            desk.release(names);
            return None;
        };
        tracing::info!(hosts = names.join(", "), "an order is taken up again");
        let unproven = is_unproven(&self.session, &made.url).await;
        let (id, renewal) = (id.to_owned(), kept.renewal);
        let (begun, made) = (kept.begun, Some(made));
        let job = Job { id, names: names.clone(), begun, renewal, kept: made, made: AtomicBool::new(true) };
        match unproven {
            Ok(false) => {}
            // The authority comes to look: as before any order, it must find us.
            Ok(true) => {
                let here = self.leading_here(names).await;
                if here.len() < names.len() {
                    let mut desk = self.acme.desk();
                    desk.drop_order(&job.id);
                    desk.release(&here);
                    return None;
                }
            }
            Err(failure) => {
                self.write_down(&job, Err(failure));
                return None;
            }
        }
        Some(job)
    }

    fn write_down(&self, job: &Job, outcome: Result<String, Failure>) {
        let names = job.names.join(", ");
        match &outcome {
            Ok(certificate) => {
                self.acme.desk().succeeded(&job.names, &job.id);
                tracing::info!(certificate, hosts = names, "a certificate was issued and is served");
                self.sweep();
            }
            Err(failure) => {
                let made = job.made.load(Relaxed);
                let ended = Ended { begun: job.begun, now: Timestamp::now(), made };
                self.acme.desk().failed(&job.names, &job.id, (failure, ended));
                self.tell(&job.names, failure);
            }
        }
        let outcome = outcome.err().map_or("issued", |failure| failure.word());
        let labels = OutcomeLabels { outcome };
        self.acme.shared.metrics.certificate_orders_total.get_or_create(&labels).inc();
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
                Ok(warning) => {
                    if let Some(warning) = &warning {
                        tracing::warn!(host = name, "{warning}");
                    }
                    self.acme.desk().leads_here(&name, warning);
                    here.push(name);
                }
                Err(why) => {
                    let next_try = self.acme.desk().strayed(&name, &why, Timestamp::now());
                    let next_try = next_try.map(|at| at.to_string()).unwrap_or_default();
                    tracing::warn!(host = name, next_try, "no certificate is ordered: {why}");
                }
            }
        }
        here
    }

    async fn ordered(&self, proposal: &Proposal, job: &Job) -> Result<Brought, Failure> {
        let (names, limit) = (&job.names, self.setup.config.order_timeout);
        // Whoever ends this office waits for the order's URL.
        let naming = match &job.kept {
            Some(_) => None,
            None => Some(self.acme.naming.read().await),
        };
        let over_http = {
            let mut desk = self.acme.desk();
            if job.kept.is_none() {
                desk.begin(names, job.begun).map_err(Failure::ours)?;
            }
            desk.over_http(names)
        };
        let order = async {
            let replaces = self.replaces(proposal).await;
            let wish = Wish { names: names.clone(), replaces, over_http, made: job.kept.clone() };
            let keep = |made: &Made| {
                let (id, url) = (job.id.clone(), made.url.clone());
                let (names, begun, renewal) = (names.clone(), job.begun, job.renewal);
                let order = PendingOrder { id, url, names, begun, renewal, troubles: 0 };
                self.acme.desk().keep_order(order, &made.key_pem)
            };
            let issued = Issued { at: job.begun, names: names.clone(), renewal: job.renewal };
            let commit = || self.acme.desk().commit(issued.clone());
            let progress = Progress { made: &job.made, keep: &keep, commit: &commit };
            order(&self.session, &self.acme.shared.challenges, &wish, progress, naming).await
        };
        let slow = || {
            let limit = limit.as_secs();
            let why = format!("the order was not done within {limit} s (`tls.acme.order_timeout`)");
            Failure::Trouble(why, None)
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
        let mut bytes = [0; 4];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Failure::ours("the system gives no randomness"))?;
        let (now, random) = (Timestamp::now().as_millisecond(), u32::from_be_bytes(bytes));
        let id = format!("{}-{now}-{random:08x}", self.tag);
        let stored = self.acme.vault.store(Kept::Acme, &id, &brought.chain_pem, &brought.key_pem);
        let ours = |error| Failure::ours(format!("the certificate that came cannot be kept: {error}"));
        stored.map(|_| id).map_err(ours)
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
            Failure::Gone(why) => {
                tracing::info!(hosts = names.join(", "), "nothing can come of the order any more: {why}");
            }
            other => {
                let (next_try, why) = (names.first().map(|host| next(host)).unwrap_or_default(), other.why());
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

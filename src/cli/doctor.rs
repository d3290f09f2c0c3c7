//! `gateway doctor`: is everything as it should be, from outside in? Each check has a verdict and, where it is needed, a
//! remedy. It changes nothing.

mod way;

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Client, Failure, Settings,
    bootstrap::configured,
    client::Presence,
    failure::Exit,
    out,
    probe::{Target, trust},
    reach,
    tenant::{self, check},
};
use crate::{
    admin,
    bootstrap::{self, Answers, Facts, Finding, NEEDS_ROOT, Verdict, examine},
    config::{self, Config},
};

/// Hosts that are asked, so that a thousand tenants do not take an hour.
const HOSTS_MAX: usize = 20;

/// Check everything: service, ports, DNS, certificates, workers, CORS and database of the first tenant, firewall
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
✓ good, ! works but look at it, ✗ broken, - not needed here, or not to be seen without root. Exit code 1 if something is broken.

Examples:
  gateway doctor
  gateway doctor --json")]
pub(crate) struct Doctor {
    #[command(flatten)]
    form: out::Form,
}

impl Doctor {
    pub(crate) fn run(self, settings: &Settings) -> Result<(), Failure> {
        let findings = findings(settings)?;
        if self.form.json {
            out::json(&report(&findings))?;
        } else {
            findings.iter().for_each(|finding| out::line(line(finding)));
        }
        if worst(&findings) == Verdict::Bad { Err(Failure::told()) } else { Ok(()) }
    }
}

/// Everything that is found.
pub(super) fn findings(settings: &Settings) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    let loaded = config::load(&settings.flags());
    // Root may read everything: the service's user is asked. Its own file is the one by default.
    let files = loaded.as_ref().ok().filter(|_| settings.config.is_none()).map(|loaded| &*loaded.files);
    let closed = bootstrap::closed_to_service(files.unwrap_or_default());
    findings.push(match (&loaded, &closed) {
        (Ok(_), Some((user, path))) => {
            let path = path.display();
            let what = format!("`{user}`, whom the service runs as, cannot read `{path}`");
            Finding::bad("configuration", what, format!("`chgrp {user} {path}` and `chmod 640 {path}`"))
        }
        (Ok(loaded), None) if loaded.warnings.is_empty() => Finding::good("configuration", "can be read"),
        (Ok(loaded), None) => {
            let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
            Finding::doubtful("configuration", warnings.join("; "), "gateway check")
        }
        (Err(_), _) if is_closed(settings) => Finding::skipped("configuration", NEEDS_ROOT),
        (Err(problems), _) => Finding::bad("configuration", problems.count(), "gateway check"),
    });
    let config = loaded.map(|loaded| loaded.config).unwrap_or_default();
    let answers = answers(settings, &config);
    findings.extend(examine(&Facts::gather(&answers), &answers));
    let socket = reach::socket(&config);
    match Presence::at(&socket) {
        Err(Failure { exit: Exit::Denied, .. }) => {
            findings.push(Finding::skipped("gateway", NEEDS_ROOT));
        }
        Err(failure) => return Err(failure),
        Ok(Presence::AtRest) => {
            let what = format!("nothing answers at {}", socket.display());
            findings.push(Finding::bad(
                "gateway",
                what,
                "`systemctl start gateway`, `journalctl -u gateway`",
            ));
        }
        Ok(Presence::Running) => {
            let client = Client::Running(socket);
            findings.extend(reach::runtime()?.block_on(alive(&client, &config))?);
        }
    }
    Ok(findings)
}

/// May its caller not even look at the configuration? Then it is not known how it is.
fn is_closed(settings: &Settings) -> bool {
    let named = settings.config.clone().or_else(|| std::env::var_os("GATEWAY_CONFIG").map(PathBuf::from));
    let path = named.unwrap_or_else(|| PathBuf::from(bootstrap::CONFIG));
    let closed =
        |path: &Path| File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    closed(&path) || path.parent().is_some_and(|directory| closed(&directory.join("conf.d")))
}

/// The same for scripts.
pub(super) fn report(findings: &[Finding]) -> Value {
    json!({ "worst": worst(findings), "findings": findings })
}

fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Good)
}

fn line(finding: &Finding) -> String {
    let sign = match finding.verdict {
        Verdict::Good => '✓',
        Verdict::Skipped => '-',
        Verdict::Doubtful => '!',
        Verdict::Bad => '✗',
    };
    let remedy = finding.remedy.as_ref().map(|remedy| format!("\n  hint: {remedy}")).unwrap_or_default();
    format!("{sign} {:<14} {}{remedy}", finding.name, finding.detail)
}

/// The doctor asks nothing: what the configuration says is the answer.
fn answers(settings: &Settings, config: &Config) -> Answers {
    let default = || config.edge.https.iter().chain(&config.edge.http).copied().collect();
    Answers {
        app: None,
        upstream: None,
        node: None,
        node_mirror: None,
        domains: Vec::new(),
        tls: String::new(),
        contact: Vec::new(),
        listen: configured(settings).unwrap_or_else(|_| default()),
        ssh_ports: BTreeSet::new(),
        open: BTreeSet::new(),
        firewall: true,
        confirm_within: Duration::ZERO,
        updates: false,
        unattended: false,
    }
}

/// What only the running gateway can show.
async fn alive(client: &Client, config: &Config) -> Result<Vec<Finding>, Failure> {
    let status: admin::Status = client.show("/status").await?;
    let mut findings = vec![
        Finding::good("gateway", format!("{} runs, pid {}", status.version, status.pid)),
        listeners(&status),
    ];
    findings.extend(
        status.warnings.iter().map(|warning| Finding::doubtful("gateway", warning, "gateway status")),
    );
    for backend in &status.backends {
        findings.push(workers(backend));
        findings.extend(node(backend));
    }
    findings.extend(hosts(&status, config).await);
    match tenant::all(client).await?.into_iter().next() {
        Some(first) => {
            let name = first.id.to_string();
            // DNS and certificates have been looked at above.
            let steps = check::prove(client, first.id).await?.into_iter();
            let steps = steps.filter(|step| !matches!(step.name, "dns" | "certificate"));
            findings.extend(steps.map(|step| of_tenant(&name, step)));
        }
        None => findings.push(Finding::skipped("tenant", "there is none yet")),
    }
    Ok(findings)
}

fn listeners(status: &admin::Status) -> Finding {
    let edge = status.listeners.iter().filter(|one| one.kind != "metrics");
    let shown: Vec<String> = edge.map(|one| format!("{} {}", one.kind, one.address)).collect();
    match shown.is_empty() {
        true => Finding::bad("ports", "the edge listens nowhere", "set `edge.https` or `edge.http`"),
        false => Finding::good("ports", shown.join(", ")),
    }
}

fn workers(backend: &admin::BackendStatus) -> Finding {
    let all = backend.workers.len();
    let ready = backend.workers.iter().filter(|worker| worker.state == "ready").count();
    let name = format!("backend {}", backend.name);
    match (ready, all) {
        (_, 0) => Finding::bad(name, "it has no worker", "gateway backend list"),
        (0, _) => Finding::bad(name, "no worker is ready", format!("gateway logs {}", backend.name)),
        (ready, all) if ready < all => {
            Finding::doubtful(name, format!("{ready} of {all} workers are ready"), "gateway backend list")
        }
        (ready, _) => Finding::good(name, format!("{ready} workers are ready")),
    }
}

/// Which Node it runs, for backends that run one.
fn node(backend: &admin::BackendStatus) -> Option<Finding> {
    let (node, name) = (backend.node()?, format!("node {}", backend.name));
    Some(match &node.version {
        Some(version) => {
            Finding::good(name, format!("{version} from {}, by {}", node.source.word(), node.by))
        }
        None => {
            let detail = format!("{} does not say its version", node.program.display());
            Finding::doubtful(name, detail, "gateway node list")
        }
    })
}

/// Each host: does it lead somewhere, and is its certificate good? The listener itself is asked, so that it can be told
/// what is wrong here from what is wrong on the way.
async fn hosts(status: &admin::Status, config: &Config) -> Vec<Finding> {
    let of_backends = config.backend.values().flat_map(|backend| backend.hosts.iter().cloned());
    let of_edge = config.edge.hosts.iter().map(|host| host.as_str().to_owned());
    let hosts: BTreeSet<String> = of_edge.chain(of_backends).collect();
    let https = status.listeners.iter().find(|one| one.kind == "https").map(|one| one.address);
    let local_ca = status.local_ca.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
    let mut findings = Vec::new();
    let here = https.map(|address| way::Here { address, local_ca: local_ca.as_deref() });
    for host in hosts.iter().take(HOSTS_MAX) {
        findings.push(way::resolved(host, &config.edge.public_addresses, here.as_ref()).await);
        if let Some(address) = https {
            findings.push(certificate(host, address, local_ca.as_deref()).await);
        }
    }
    findings
}

async fn certificate(host: &str, address: SocketAddr, local_ca: Option<&str>) -> Finding {
    let name = format!("tls {host}");
    let tls = match trust(local_ca) {
        Ok(tls) => Some(tls),
        Err(problem) => return Finding::bad(name, problem.to_string(), "gateway cert list"),
    };
    let target = Target { address: check::reachable(address), host: host.to_owned(), tls };
    match target.handshake().await {
        Ok(()) => Finding::good(name, "the certificate is good and trusted"),
        Err(problem) => Finding::bad(name, problem.to_string(), "gateway cert list"),
    }
}

fn of_tenant(tenant: &str, step: check::Step) -> Finding {
    let name = format!("{tenant} {}", step.name);
    let remedy = step.remedy.unwrap_or_default();
    match step.verdict {
        check::Verdict::Good => Finding::good(name, step.detail),
        check::Verdict::Skipped => Finding::skipped(name, step.detail),
        check::Verdict::Bad => Finding::bad(name, step.detail, remedy),
    }
}

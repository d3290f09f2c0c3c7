//! Certificates: shown, imported, removed, renewed. A key comes in over this socket and never goes out again.

use std::sync::Arc;

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Desk, Order, Path};
use crate::{
    admin::Problem,
    edge::{Certificates, HostCertificate, ImportOrder, ImportProblem, Imported, RenewWait},
    tenant::HostName,
};

/// What was begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Renewal {
    /// The hosts whose certificate is ordered anew.
    pub(crate) hosts: Vec<String>,
    /// What that still waits for.
    #[serde(default)]
    pub(crate) wait: Option<RenewWait>,
}

/// Every host with its certificate.
pub(super) async fn list(State(desk): State<Desk>) -> Result<Json<Vec<HostCertificate>>, Problem> {
    Ok(Json(desk.live("`cert list`")?.house.certificates()))
}

/// One of them.
pub(super) async fn show(
    State(desk): State<Desk>,
    Path(host): Path<String>,
) -> Result<Json<HostCertificate>, Problem> {
    let (host, live) = (host_name(&host)?, desk.live("`cert show`")?);
    find(live.house.certificates(), &host).map(Json)
}

/// Keep one that the operator brings.
pub(super) async fn import(
    State(desk): State<Desk>,
    Path(host): Path<String>,
    Order(order): Order<ImportOrder>,
) -> Result<Json<Imported>, Problem> {
    let host = host_name(&host)?;
    let imported = on_disk(&desk, move |store| store.import(&host, &order, Timestamp::now())).await?;
    imported.map(Json).map_err(|problem| match problem {
        ImportProblem::Unfit { reason, remedy } => {
            Problem::new(422, "certificate-unfit", reason).hint(remedy)
        }
        ImportProblem::Machine(error) => Problem::of(&error),
    })
}

/// Forget an imported one.
pub(super) async fn remove(State(desk): State<Desk>, Path(host): Path<String>) -> Result<(), Problem> {
    let host = host_name(&host)?;
    let name = host.clone();
    let removed = on_disk(&desk, move |store| store.remove_imported(&name)).await?;
    if removed.map_err(|error| Problem::of(&error))? {
        return Ok(());
    }
    let detail = format!("no certificate was imported for `{host}`");
    Err(Problem::new(404, "certificate-unknown", detail)
        .hint("only imported certificates are removed; `gateway cert list` shows where each comes from"))
}

/// Order one anew.
pub(super) async fn renew(
    State(desk): State<Desk>,
    Path(host): Path<String>,
) -> Result<Json<Renewal>, Problem> {
    let (host, live) = (host_name(&host)?, desk.live("`cert renew`")?);
    let one = find(live.house.certificates(), &host)?;
    let problem = match live.house.renew(&host) {
        Ok(wait) => return Ok(Json(Renewal { hosts: vec![host], wait })),
        Err(problem) => problem,
    };
    let source = one.certificate.map(|certificate| certificate.source).unwrap_or_default();
    let remedy = match source.as_str() {
        "imported" => {
            "import its successor with `gateway cert import`, or remove it with `gateway cert remove`"
        }
        "file" => "put its successor into its files: it is taken within seconds",
        "local" => "the local CA signs anew by itself",
        _ => "`gateway cert show` tells how the host stands",
    };
    Err(Problem::new(409, "certificate-not-ordered", problem.to_string()).hint(remedy))
}

fn find(all: Vec<HostCertificate>, host: &str) -> Result<HostCertificate, Problem> {
    all.into_iter().find(|one| one.host == host).ok_or_else(|| {
        Problem::new(404, "certificate-unknown", format!("`{host}` is no host of this gateway"))
            .hint("`gateway cert list` shows all of them")
    })
}

/// A host, or a wildcard as certificates have it.
fn host_name(text: &str) -> Result<String, Problem> {
    let (star, bare) = match text.strip_prefix("*.") {
        Some(bare) => ("*.", bare),
        None => ("", text),
    };
    let host: HostName = bare.parse().map_err(|error: <HostName as std::str::FromStr>::Err| {
        Problem::new(422, "bad-host", error.to_string())
    })?;
    if host.is_address() {
        let detail = format!("`{host}` is an address, and certificates go by names");
        return Err(Problem::new(422, "bad-host", detail).hint("name the host, such as `api.example.com`"));
    }
    Ok(format!("{star}{host}"))
}

/// The store of the gateway that runs, or that on the disk of one at rest; on a thread that may block.
async fn on_disk<T: Send + 'static>(
    desk: &Desk,
    work: impl FnOnce(&Certificates) -> T + Send + 'static,
) -> Result<T, Problem> {
    let running = desk.live.as_ref().map(|live| live.house.certificate_store());
    let state_dir = desk.places.state_dir.clone();
    let work = move || {
        let store: Arc<Certificates> = match running {
            Some(store) => store,
            None => Certificates::at_rest(state_dir).map_err(|error| Problem::of(&error))?,
        };
        Ok(work(&store))
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| Problem::machine("finish the order", &error))?
}

//! What `gateway tenant check` and `gateway tenant exec` need from inside. Both give out a ticket, and so both
//! are orders that leave an audit line.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::{Desk, Path, tenants};
use crate::{
    admin::{Problem, status::Listening},
    tenant::{HostName, OriginPattern, Status, TenantId},
};

/// The way to one tenant's database.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TicketView {
    /// What the backend gets as `x-gateway-database-url`.
    pub(crate) database_url: String,
}

/// What somebody outside has to know to prove a tenant end to end.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct CheckFacts {
    /// May its requests pass?
    pub(crate) status: Status,
    /// Its own hosts, or those it shares.
    pub(crate) hosts: Vec<HostName>,
    /// Its whitelist.
    pub(crate) origins: Vec<OriginPattern>,
    /// Where the edge listens.
    pub(crate) listeners: Vec<Listening>,
    /// The local CA's certificate (PEM), in `tls.mode = "local"`.
    pub(crate) local_ca: Option<String>,
    /// Its ticket, if it has a database.
    pub(crate) database_url: Option<String>,
}

/// A ticket without a request, as `tickets.sock` gives it to the backend.
pub(super) async fn ticket(
    State(desk): State<Desk>,
    Path(id): Path<TenantId>,
) -> Result<Json<TicketView>, Problem> {
    let live = desk.live("a ticket")?;
    let tenant = tenants::find(&desk, &id)?;
    let url = live.tickets.database_url(&tenant);
    url.map(|database_url| Json(TicketView { database_url })).ok_or_else(|| {
        Problem::new(409, "no-database", format!("tenant `{id}` has no database"))
            .hint(format!("`gateway tenant set {id} --database sqlite://{id}.db`"))
    })
}

/// The facts for a check from outside.
pub(super) async fn check(
    State(desk): State<Desk>,
    Path(id): Path<TenantId>,
) -> Result<Json<CheckFacts>, Problem> {
    let live = desk.live("`tenant check`")?;
    let tenant = tenants::find(&desk, &id)?;
    let hosts = if tenant.hosts.is_empty() {
        live.house.shared_hosts(tenant.backend.as_deref())
    } else {
        tenant.hosts.clone()
    };
    let local_ca = match live.house.certificate_store().local_ca() {
        Some(path) => Some(
            tokio::fs::read_to_string(&path)
                .await
                .map_err(|error| Problem::machine(&format!("read `{}`", path.display()), &error))?,
        ),
        None => None,
    };
    Ok(Json(CheckFacts {
        status: tenant.status,
        hosts,
        origins: tenant.origins.clone(),
        listeners: live.house.listeners(),
        local_ca,
        database_url: live.tickets.database_url(&tenant),
    }))
}

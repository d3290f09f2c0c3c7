//! The ticket: what the backend is given with a request, and with which it opens that tenant's database.
//!
//! A ticket is a user name that says what and a password that proves it: an HMAC-SHA-256, under a key made at
//! start, of version, door, tenant, the tenant's epoch and the name. A door computes the password from the
//! name, so this works with every authentication method and needs no table. It must never outlive the epoch.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use tokio_util::sync::CancellationToken;

use super::{Database, Engine, Snapshot, Status, Tenant};

/// A request's ticket dies with its request; this only bounds one whose end was never seen. A day outlives
/// every WebSocket that a proxy or browser lets live.
const REQUEST_TICKET_SECONDS: u64 = 24 * 60 * 60;

/// Live request tickets are spread over this many locks, so that cores seldom meet.
const SHARDS: usize = 16;

/// Which door a ticket opens. A ticket for one does not open another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Hrana over HTTP.
    Sqlite,
}

impl Door {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
        }
    }
}

/// Where the doors listen; what the backend connects to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DoorAddresses {
    /// The SQLite door's loopback address.
    pub(crate) sqlite: Option<SocketAddr>,
}

/// How far a ticket reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum TicketMode {
    /// Name `acme`: good as long as gateway and epoch live, so that a driver pool per tenant can be cached.
    #[default]
    Tenant,
    /// Name `acme.<expiry>.<request>`: dies with the request, and its work with it.
    Request,
}

/// Why a door does not open. One text for every forgery: it must not tell which part was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TicketProblem {
    /// Unknown tenant, wrong password, old epoch, other door, malformed.
    #[error("the ticket is not valid here; use the `x-gateway-database-url` of the request in hand")]
    Invalid,
    /// A request ticket after its request.
    #[error("the ticket's request has ended; take `x-gateway-database-url` anew from each request")]
    Ended,
    /// The tenant is suspended.
    #[error("the tenant is suspended")]
    Suspended,
}

/// Makes and checks tickets. One per process.
pub(crate) struct Tickets {
    key: hmac::Key,
    doors: DoorAddresses,
    live: [Mutex<HashMap<u64, CancellationToken>>; SHARDS],
    next: AtomicU64,
}

/// A ticket in the form the backend gets it, and the guard that ends a request's ticket when dropped.
#[derive(Debug)]
pub(crate) struct Issued {
    /// `x-gateway-database-url`.
    pub(crate) url: HeaderValue,
    /// Held for the request's life in the request mode.
    pub(crate) live: Option<LiveTicket>,
}

/// Ends a request's ticket on drop: the door cancels what still runs under it.
pub(crate) struct LiveTicket {
    tickets: Arc<Tickets>,
    request: u64,
}

/// What a good ticket opens.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// Whose database.
    pub(crate) tenant: Arc<Tenant>,
    /// In the request mode: cancelled when the request ends.
    pub(crate) ends: Option<CancellationToken>,
}

impl Tickets {
    /// A new key; all tickets of earlier processes are dead.
    pub(crate) fn new(doors: DoorAddresses) -> Arc<Self> {
        let mut secret = [0; 32];
        #[expect(clippy::expect_used, reason = "without randomness no ticket is safe")]
        aws_lc_rs::rand::fill(&mut secret).expect("the system gives randomness");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let live = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { key, doors, live, next: AtomicU64::new(1) })
    }

    /// The ticket for one request; `None` when the tenant has no database or its door is closed.
    pub(crate) fn issue(
        self: &Arc<Self>,
        tenant: &Tenant,
        mode: TicketMode,
        now_unix_s: u64,
    ) -> Option<Issued> {
        let database = tenant.database.as_ref()?;
        if mode == TicketMode::Request {
            let request = self.next.fetch_add(1, Ordering::Relaxed);
            self.shard(request).insert(request, CancellationToken::new());
            let live = LiveTicket { tickets: self.clone(), request };
            let name = format!("{}.{}.{request:x}", tenant.id, now_unix_s + REQUEST_TICKET_SECONDS);
            return Some(Issued { url: self.url(tenant, database, &name)?, live: Some(live) });
        }
        if let Some(url) = tenant.url.get() {
            return Some(Issued { url: url.clone(), live: None });
        }
        let url = self.url(tenant, database, tenant.id.as_str())?;
        Some(Issued { url: tenant.url.get_or_init(|| url).clone(), live: None })
    }

    /// Check what a caller presented at a door. `now_unix_s`: seconds since the Unix epoch.
    pub(crate) fn admit(
        &self,
        snapshot: &Snapshot,
        door: Door,
        credential: (&str, &str),
        now_unix_s: u64,
    ) -> Result<Admitted, TicketProblem> {
        let (name, password) = credential;
        let mut parts = name.splitn(3, '.');
        let tenant = parts.next().and_then(|id| snapshot.by_id(id)).ok_or(TicketProblem::Invalid)?;
        let right = self.password(door, tenant, name);
        constant_time::verify_slices_are_equal(right.as_bytes(), password.as_bytes())
            .map_err(|_| TicketProblem::Invalid)?;
        if tenant.status == Status::Suspended {
            return Err(TicketProblem::Suspended);
        }
        let ends = match (parts.next(), parts.next()) {
            (None, None) => None,
            (Some(expiry), Some(request)) => Some(self.live_request(expiry, request, now_unix_s)?),
            _ => return Err(TicketProblem::Invalid),
        };
        Ok(Admitted { tenant: tenant.clone(), ends })
    }

    fn live_request(
        &self,
        expiry: &str,
        request: &str,
        now_unix_s: u64,
    ) -> Result<CancellationToken, TicketProblem> {
        let expiry: u64 = expiry.parse().map_err(|_| TicketProblem::Invalid)?;
        let request = u64::from_str_radix(request, 16).map_err(|_| TicketProblem::Invalid)?;
        let live = self.shard(request).get(&request).cloned();
        live.filter(|_| now_unix_s < expiry).ok_or(TicketProblem::Ended)
    }

    /// The tenant-mode credential as `DATABASE_URL` text, for commands and jobs without a request.
    pub(crate) fn database_url(&self, tenant: &Tenant) -> Option<String> {
        let database = tenant.database.as_ref()?;
        let url = self.url(tenant, database, tenant.id.as_str())?;
        url.to_str().ok().map(str::to_owned)
    }

    fn url(&self, tenant: &Tenant, database: &Database, name: &str) -> Option<HeaderValue> {
        let (door, address) = match database.engine() {
            Engine::Sqlite => (Door::Sqlite, self.doors.sqlite?),
        };
        let password = self.password(door, tenant, name);
        let path = escape(&database.name());
        let mut url =
            HeaderValue::from_str(&format!("http://{address}/{path}/?authToken={name}.{password}")).ok()?;
        url.set_sensitive(true);
        Some(url)
    }

    /// 43 characters of base64url: 256 bits.
    fn password(&self, door: Door, tenant: &Tenant, name: &str) -> String {
        let mut mac = hmac::Context::with_key(&self.key);
        for part in [b"gateway-ticket-v1", door.as_str().as_bytes(), tenant.id.as_str().as_bytes()] {
            mac.update(part);
            mac.update(&[0]);
        }
        mac.update(tenant.epoch.as_bytes());
        mac.update(name.as_bytes());
        URL_SAFE_NO_PAD.encode(mac.sign())
    }

    fn shard(&self, request: u64) -> std::sync::MutexGuard<'_, HashMap<u64, CancellationToken>> {
        // A poisoned map is still a map: nothing in it is left half done.
        let index = usize::try_from(request % SHARDS as u64).unwrap_or(0);
        self.live[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything but RFC 3986's unreserved characters as percent escapes.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

impl Drop for LiveTicket {
    fn drop(&mut self) {
        if let Some(token) = self.tickets.shard(self.request).remove(&self.request) {
            token.cancel();
        }
    }
}

impl fmt::Debug for LiveTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveTicket(..)")
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Epoch, *};

    const NOW: u64 = 1_800_000_000;

    fn tenant(id: &str) -> Tenant {
        let mut tenant = Tenant::new(id.parse().unwrap());
        tenant.database = Some(format!("sqlite://{id}.db").parse().unwrap());
        tenant
    }

    fn tickets() -> Arc<Tickets> {
        Tickets::new(DoorAddresses { sqlite: Some(([127, 0, 0, 1], 4000).into()) })
    }

    fn credential(url: &HeaderValue) -> (String, String) {
        let (name, password) =
            url.to_str().unwrap().split_once("authToken=").unwrap().1.rsplit_once('.').unwrap();
        (name.to_owned(), password.to_owned())
    }

    fn check(
        tickets: &Tickets,
        snapshot: &Snapshot,
        (name, password): (&str, &str),
    ) -> Result<String, TicketProblem> {
        tickets
            .admit(snapshot, Door::Sqlite, (name, password), NOW)
            .map(|admitted| admitted.tenant.id.to_string())
    }

    #[test]
    fn a_tenants_ticket_is_stable_and_opens_its_own_database_only() {
        let tickets = tickets();
        let (a, b) = (tenant("a"), tenant("b"));
        let url = tickets.issue(&a, TicketMode::Tenant, NOW).unwrap().url;
        assert_eq!(url, tickets.issue(&a, TicketMode::Tenant, NOW + 9999).unwrap().url);
        let (name, password) = credential(&url);
        let snapshot = Snapshot::build([a, b]).unwrap();
        assert_eq!(check(&tickets, &snapshot, (&name, &password)), Ok("a".into()));
        for forged in [
            ("b", &*password),
            ("a", "x"),
            ("a", ""),
            ("", &password),
            ("a.1.1", &password),
            ("c", &password),
        ] {
            assert_eq!(check(&tickets, &snapshot, forged), Err(TicketProblem::Invalid), "{}", forged.0);
        }
    }

    #[test]
    fn a_new_epoch_a_new_process_and_suspension_end_every_ticket() {
        let tickets = tickets();
        let mut a = tenant("a");
        let (name, password) = credential(&tickets.issue(&a, TicketMode::Tenant, NOW).unwrap().url);
        a.status = Status::Suspended;
        let suspended = Snapshot::build([a.clone()]).unwrap();
        assert_eq!(check(&tickets, &suspended, (&name, &password)), Err(TicketProblem::Suspended));
        a.status = Status::Active;
        let same = Snapshot::build([a.clone()]).unwrap();
        assert_eq!(check(&self::tickets(), &same, (&name, &password)), Err(TicketProblem::Invalid));
        a.epoch = Epoch::random();
        let rotated = Snapshot::build([a]).unwrap();
        assert_eq!(check(&tickets, &rotated, (&name, &password)), Err(TicketProblem::Invalid));
    }

    #[test]
    fn a_request_ticket_dies_with_its_request_and_cancels_what_runs_under_it() {
        let tickets = tickets();
        let a = tenant("a");
        let issued = tickets.issue(&a, TicketMode::Request, NOW).unwrap();
        let (name, password) = credential(&issued.url);
        let snapshot = Snapshot::build([a]).unwrap();
        let admitted = tickets.admit(&snapshot, Door::Sqlite, (&name, &password), NOW).unwrap();
        let late = tickets.admit(&snapshot, Door::Sqlite, (&name, &password), NOW + REQUEST_TICKET_SECONDS);
        assert_eq!(late.unwrap_err(), TicketProblem::Ended);
        drop(issued);
        assert!(admitted.ends.unwrap().is_cancelled());
        assert_eq!(check(&tickets, &snapshot, (&name, &password)), Err(TicketProblem::Ended));
    }

    #[test]
    fn a_tenant_without_database_gets_no_ticket() {
        let bare = Tenant::new("bare".parse().unwrap());
        assert!(tickets().issue(&bare, TicketMode::Tenant, NOW).is_none());
    }
}

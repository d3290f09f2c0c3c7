//! The origins refused lately: what `gateway tenant refused` shows, so that a front end that was forgotten is let
//! in with one pasted command. In memory and bounded: strangers write here. It must never suggest a command that
//! holds text which is not a checked origin, method or header name: people paste it into a shell.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use super::{HostName, OriginPattern, Snapshot, TenantId};

mod nearest;

/// Characters kept of what a stranger sent. An origin is at most 8 + 253 + 6; a path is only a reminder.
const TEXT_CHARS_MAX: usize = 270;

/// One refusal, as the edge met it.
#[derive(Debug)]
pub(crate) struct Refusal<'a> {
    /// The `Origin` header as it came.
    pub(crate) origin: &'a str,
    /// The host asked for.
    pub(crate) host: &'a str,
    /// The path; a query is dropped, since it may hold secrets.
    pub(crate) path: &'a str,
    /// Why.
    pub(crate) reason: RefusalReason,
}

/// Why a browser's page did not get through.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum RefusalReason {
    /// No tenant has the origin.
    Unlisted,
    /// `Origin: null`: a sandboxed frame, a file, a cross-origin redirect.
    Null,
    /// Nothing that a browser sends.
    Malformed,
    /// A preflight asked for a method outside the tenant's policy: the browser refuses.
    PreflightMethod {
        /// Whose policy.
        tenant: TenantId,
        /// The method.
        method: String,
    },
    /// A preflight asked for a request header outside the tenant's policy: the browser refuses.
    PreflightHeader {
        /// Whose policy.
        tenant: TenantId,
        /// The header.
        header: String,
    },
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlisted => f.write_str("not listed"),
            Self::Null => f.write_str("null origin"),
            Self::Malformed => f.write_str("malformed"),
            Self::PreflightMethod { method, .. } => write!(f, "method {method} not allowed"),
            Self::PreflightHeader { header, .. } => write!(f, "header {header} not allowed"),
        }
    }
}

/// A row of `gateway tenant refused`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefusedView {
    /// The origin, cut and with control characters escaped.
    pub(crate) origin: String,
    /// Why it was refused.
    pub(crate) reason: RefusalReason,
    /// How often.
    pub(crate) count: u64,
    /// The host it asked last.
    pub(crate) host: String,
    /// The path it asked for last.
    pub(crate) path: String,
    /// When it was last seen.
    pub(crate) last_seen: Timestamp,
    /// The tenant that it most likely belongs to.
    pub(crate) nearest: Option<TenantId>,
    /// The command that would let it in; none where no command should.
    pub(crate) command: Option<String>,
    /// What to know or do instead.
    pub(crate) hint: Option<String>,
}

/// The bounded table.
#[derive(Debug)]
pub(crate) struct Refusals {
    entries: Mutex<HashMap<Key, Entry>>,
    entries_max: usize,
}

type Key = (Box<str>, RefusalReason);

#[derive(Debug, Clone)]
struct Entry {
    count: u64,
    host: String,
    path: String,
    last_seen: Timestamp,
}

impl Refusals {
    /// An empty table of at most that many rows (`registry.refused_origins_max`).
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { entries: Mutex::default(), entries_max }
    }

    /// Remember a refusal. Cheap: one short lock; only a full table is searched, for the row to give up.
    pub(crate) fn record(&self, refusal: Refusal<'_>) {
        self.record_at(refusal, Timestamp::now());
    }

    fn record_at(&self, refusal: Refusal<'_>, now: Timestamp) {
        if self.entries_max == 0 {
            return;
        }
        let path = refusal.path.split(['?', '#']).next().unwrap_or_default();
        let (host, path) = (printable(refusal.host), printable(path));
        let key = (printable(refusal.origin).into_boxed_str(), bounded(refusal.reason));
        let mut entries = self.lock();
        if let Some(entry) = entries.get_mut(&key) {
            *entry = Entry { count: entry.count.saturating_add(1), host, path, last_seen: now };
            return;
        }
        if entries.len() >= self.entries_max {
            evict(&mut entries, now);
        }
        entries.insert(key, Entry { count: 1, host, path, last_seen: now });
    }

    /// What was refused lately and is refused still, most frequent first.
    pub(crate) fn list(&self, snapshot: &Snapshot) -> Vec<RefusedView> {
        // A copy, so that the edge never waits for the search of neighbours.
        let rows: Vec<_> = self.lock().iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
        let neighbours = nearest::Neighbours::of(snapshot);
        let mut views: Vec<_> = rows
            .into_iter()
            .filter(|((origin, reason), _)| is_refused_still(snapshot, origin, reason))
            .map(|((origin, reason), entry)| view(snapshot, &neighbours, (origin, reason), entry))
            .collect();
        views.sort_by(|a, b| (b.count, b.last_seen, &a.origin).cmp(&(a.count, a.last_seen, &b.origin)));
        views
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        // A poisoned map is still a map: nothing in it is left half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Give up what was not seen for a day; else the rarest and longest unseen. So a flood of invented origins, each seen
/// once, pushes out its own, and never a front end that keeps knocking.
fn evict(entries: &mut HashMap<Key, Entry>, now: Timestamp) {
    let before = entries.len();
    let yesterday = now.checked_sub(24.hours()).unwrap_or(Timestamp::MIN);
    entries.retain(|_, entry| entry.last_seen >= yesterday);
    if entries.len() == before
        && let Some(key) =
            entries.iter().min_by_key(|(_, entry)| (entry.count, entry.last_seen)).map(|(key, _)| key.clone())
    {
        entries.remove(&key);
    }
}

fn bounded(reason: RefusalReason) -> RefusalReason {
    match reason {
        RefusalReason::PreflightMethod { tenant, method } => {
            RefusalReason::PreflightMethod { tenant, method: printable(&method) }
        }
        RefusalReason::PreflightHeader { tenant, header } => {
            RefusalReason::PreflightHeader { tenant, header: printable(&header).to_ascii_lowercase() }
        }
        other => other,
    }
}

/// At most so many characters, without those that a terminal would obey.
fn printable(text: &str) -> String {
    text.chars()
        .take(TEXT_CHARS_MAX)
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '�' })
        .collect()
}

fn is_refused_still(snapshot: &Snapshot, origin: &str, reason: &RefusalReason) -> bool {
    match reason {
        RefusalReason::Unlisted => snapshot.by_origin(origin).is_none(),
        RefusalReason::Null | RefusalReason::Malformed => true,
        RefusalReason::PreflightMethod { tenant, method } => {
            let policy = snapshot.by_id(tenant.as_str()).map(|tenant| tenant.cors.as_ref());
            policy.is_some_and(|policy| policy.is_none_or(|policy| !policy.allows_method(method)))
        }
        RefusalReason::PreflightHeader { tenant, header } => {
            let policy = snapshot.by_id(tenant.as_str()).map(|tenant| tenant.cors.as_ref());
            policy.is_some_and(|policy| policy.is_none_or(|policy| !policy.allows_header(header)))
        }
    }
}

fn view(
    snapshot: &Snapshot,
    neighbours: &nearest::Neighbours<'_>,
    (origin, reason): Key,
    entry: Entry,
) -> RefusedView {
    let nearest = match &reason {
        RefusalReason::PreflightMethod { tenant, .. } | RefusalReason::PreflightHeader { tenant, .. } => {
            Some(tenant.clone())
        }
        RefusalReason::Unlisted => nearest_of(snapshot, neighbours, &origin, &entry.host),
        RefusalReason::Null | RefusalReason::Malformed => None,
    };
    let declared = nearest.as_ref().and_then(|id| snapshot.by_id(id.as_str())).is_some_and(|t| t.declared);
    let (command, hint) = remedy(&origin, &reason, nearest.as_ref(), declared);
    let Entry { count, host, path, last_seen } = entry;
    RefusedView { origin: origin.into(), reason, count, host, path, last_seen, nearest, command, hint }
}

/// Who owns the host that was asked is known; else who owns names like the origin's.
fn nearest_of(
    snapshot: &Snapshot,
    neighbours: &nearest::Neighbours<'_>,
    origin: &str,
    host: &str,
) -> Option<TenantId> {
    let owner = host.parse::<HostName>().ok().and_then(|host| snapshot.by_host(host.as_str()));
    if let Some(owner) = owner {
        return Some(owner.id.clone());
    }
    let origin = origin.parse::<OriginPattern>().ok()?;
    neighbours.nearest(origin.host()).cloned()
}

/// The command to paste, or what to do instead.
fn remedy(
    origin: &str,
    reason: &RefusalReason,
    nearest: Option<&TenantId>,
    declared: bool,
) -> (Option<String>, Option<String>) {
    let token = |name: &str| http::HeaderName::from_bytes(name.as_bytes()).is_ok() && is_plain(name);
    let (flag, value, key) = match reason {
        RefusalReason::Unlisted => match origin.parse::<OriginPattern>() {
            Ok(exact) if !exact.is_wildcard() => ("--add-origin", exact.to_string(), "origins"),
            _ => return (None, Some("no browser sends such an origin".into())),
        },
        RefusalReason::PreflightMethod { method, .. } if token(method) => {
            ("--add-method", method.clone(), "cors.methods")
        }
        RefusalReason::PreflightHeader { header, .. } if token(header) => {
            ("--add-header", header.clone(), "cors.headers")
        }
        RefusalReason::Null => {
            let hint = "sandboxed frames, files and redirects send `null`; it can not be listed. A webhook or a \
                        form post from elsewhere belongs under `[[edge.open]]`";
            return (None, Some(hint.into()));
        }
        _ => return (None, Some("no browser sends this".into())),
    };
    match nearest {
        Some(id) if declared => {
            (None, Some(format!("add `{value}` to `{key}` of `[[tenant]]` {id}, then run `gateway reload`")))
        }
        Some(id) => (Some(format!("gateway tenant set {id} {flag} {value}")), None),
        None => {
            (None, Some(format!("`gateway tenant set ID {flag} {value}`, with the tenant whose page it is")))
        }
    }
}

/// Nothing that a shell reads as more than text.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests;

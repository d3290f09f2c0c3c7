//! What a worker's answer becomes: its own words, without those of one hop, those in which only the gateway
//! speaks, and those about CORS, which the request path sets itself.

use http::{HeaderMap, HeaderName};

use super::{
    super::{cache, config::CacheRule, identify::Caller, names::is_ours},
    request::Listed,
};

/// Is it a header of one hop? By length and letters, which costs less than comparing with each.
fn ends_here(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Rebuild an answer's headers in place.
pub(super) fn rebuild(cache: CacheRule, caller: &Caller, headers: &mut HeaderMap) {
    strip_all(headers, caller.site.is_some());
    if caller.page.is_some() {
        cache::protect(cache, headers);
    }
}

/// Remove what must not pass.
pub(crate) fn strip(headers: &mut HeaderMap) {
    strip_all(headers, false);
}

/// The same; what a site says about CORS is its own business.
fn strip_all(headers: &mut HeaderMap, keeps_cors: bool) {
    let listed = Listed::of(headers);
    // One pass over what is there: looking for each that might be there costs a hash each.
    let passes_not = |name: &&HeaderName| {
        let text = name.as_str();
        ends_here(text)
            || is_ours(name)
            || (!keeps_cors && text.starts_with("access-control-"))
            || listed.contains(name)
    };
    let removed: Vec<HeaderName> = headers.keys().filter(passes_not).cloned().collect();
    for name in &removed {
        headers.remove(name);
    }
}

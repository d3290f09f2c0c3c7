//! What a worker's answer becomes: its own words, without those of one hop, those in which only the gateway
//! speaks, and those about CORS, which the request path sets itself.

use http::{HeaderMap, HeaderName, header};

use super::{
    super::{cache, config::CacheRule, identify::Caller, names::is_ours},
    request::Listed,
};

/// Headers of one hop.
const OF_ONE_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

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
    let listed: Vec<String> = Listed::of(headers).names().iter().map(|name| (*name).to_owned()).collect();
    for name in listed {
        headers.remove(name.as_str());
    }
    for name in &OF_ONE_HOP {
        headers.remove(name);
    }
    let foreign =
        |name: &&HeaderName| is_ours(name) || (!keeps_cors && name.as_str().starts_with("access-control-"));
    let foreign: Vec<HeaderName> = headers.keys().filter(foreign).cloned().collect();
    for name in foreign {
        headers.remove(name);
    }
}

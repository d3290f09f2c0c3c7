//! Who may read the answers: preflights are answered here, and every answer to a listed page carries its
//! tenant's policy. Refusing the unlisted is `identify`'s; nothing here ever talks to a worker.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};

use crate::tenant::{CorsPolicy, RefusalReason, Snapshot, Tenant};

use super::{body::Body, identify::Caller, settings::Settings};

const ORIGIN: HeaderValue = HeaderValue::from_static("Origin");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// A page whose origin is in a tenant's whitelist.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// Its origin, as the browser sent it.
    pub(crate) origin: HeaderValue,
    /// Whose whitelist that is.
    pub(crate) tenant: Arc<Tenant>,
}

impl Page {
    /// The page of a listed origin.
    pub(crate) fn of(snapshot: &Snapshot, origin: &HeaderValue) -> Option<Self> {
        let tenant = snapshot.by_origin(origin.to_str().ok()?)?;
        Some(Self { origin: origin.clone(), tenant: tenant.clone() })
    }

    /// The page that may read a refusal of this request, whichever step refused it.
    pub(crate) fn of_refused(settings: &Settings, snapshot: &Snapshot, head: &Parts) -> Option<Self> {
        let mut origins = head.headers.get_all(header::ORIGIN).iter();
        let origin = origins.next().filter(|_| origins.next().is_none())?;
        // Open paths answer without CORS headers, so their refusals do too.
        settings.open(head).is_none().then(|| Self::of(snapshot, origin)).flatten()
    }
}

/// Is this a preflight (Fetch standard, CORS-preflight fetch)? Any other OPTIONS is an ordinary request.
pub(crate) fn is_preflight(head: &Parts) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(header::ORIGIN)
        && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a listed page's preflight: always 204 with the policy. Anything else is a network error to the
/// browser, and the real answer would never be read.
pub(crate) fn preflight(settings: &Settings, caller: &Caller, head: &Parts) -> Option<Response<Body>> {
    let page = caller.page.as_ref().filter(|_| is_preflight(head))?;
    let announcement = settings.announcement(&page.tenant);
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.reserve(6);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page.origin.clone());
    if announcement.credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    }
    if let Some(methods) = &announcement.methods {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
    }
    if let Some(names) = &announcement.headers {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, announcement.max_age.clone());
    vary(headers);
    Some(answer)
}

/// Why the browser will go no further after our 204, for `gateway tenant refused`.
pub(crate) fn doomed(settings: &Settings, caller: &Caller, head: &Parts) -> Option<RefusalReason> {
    let page = caller.page.as_ref().filter(|_| is_preflight(head))?;
    let policy: &CorsPolicy = page.tenant.cors.as_ref().unwrap_or(&settings.cors);
    let tenant = page.tenant.id.clone();
    let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let method = text(header::ACCESS_CONTROL_REQUEST_METHOD).unwrap_or("");
    if !policy.allows_method(method) {
        return Some(RefusalReason::PreflightMethod { tenant, method: shortened(method) });
    }
    let names = text(header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or("");
    let refused =
        names.split(',').map(str::trim).find(|name| !name.is_empty() && !policy.allows_header(name));
    refused.map(|name| RefusalReason::PreflightHeader { tenant, header: shortened(name) })
}

/// Strangers choose these words, and the table that keeps them has a bound.
fn shortened(word: &str) -> String {
    word.get(..100).unwrap_or(word).to_owned()
}

/// Give an answer the headers of the page that asked, and `Vary: Origin` always: a cache that stored an answer
/// without it would serve it to every origin.
pub(crate) fn announce(settings: &Settings, page: Option<&Page>, headers: &mut HeaderMap) {
    if let Some(page) = page {
        let announcement = settings.announcement(&page.tenant);
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page.origin.clone());
        if announcement.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        if let Some(names) = &announcement.exposed_headers {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names.clone());
        }
    }
    vary(headers);
}

/// `Vary: Origin`, unless the answer says so already.
pub(crate) fn vary(headers: &mut HeaderMap) {
    vary_by(headers, ORIGIN);
}

/// The answer depends on that request header; said once.
pub(crate) fn vary_by(headers: &mut HeaderMap, name: HeaderValue) {
    let says = |value: &HeaderValue| {
        let listed = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        listed.into_iter().any(|other| other == b"*" || other.eq_ignore_ascii_case(name.as_bytes()))
    };
    if !headers.get_all(header::VARY).iter().any(says) {
        headers.append(header::VARY, name);
    }
}

#[cfg(test)]
mod tests;

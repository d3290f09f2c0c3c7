//! Who is calling? A pure look-up in the snapshot: it sees a request's head and says the tenant or the reason
//! why not. It must never wait, write or count.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use crate::tenant::{KeyHash, OriginPattern, RefusalReason, Snapshot, Tenant};

use super::{
    authority::{Authority, Scheme},
    config::NoOrigin,
    cors::Page,
    refusal::Refusal,
    settings::{OpenTenant, Route, Settings},
};

/// A tenant's key: consumed here, never passed on.
pub(crate) const KEY: HeaderName = HeaderName::from_static("x-gateway-key");

/// Who calls, and how we know.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The tenant; `None` is anonymous, and so without database.
    pub(crate) tenant: Option<Arc<Tenant>>,
    /// The listed page that calls, if one does: its answers carry CORS headers.
    pub(crate) page: Option<Page>,
    /// The host it called.
    pub(crate) authority: Authority,
    /// The upstream of the site that it called; none for the backends.
    pub(crate) site: Option<Arc<Route>>,
}

/// Who is calling?
pub(crate) fn identify(
    settings: &Settings,
    snapshot: &Snapshot,
    scheme: Scheme,
    head: &Parts,
) -> Result<Caller, Refusal> {
    // Everything hangs on the host: one that is not ours ends it here, before anything is looked up for it.
    let authority = Authority::of(head)?;
    if !settings.serves(snapshot, authority.name()) {
        return Err(Refusal::HostNotServed);
    }
    let owner = snapshot.by_host(authority.name());
    let origin = single(&head.headers, &header::ORIGIN, "origin")?;
    let key = single(&head.headers, &KEY, "x-gateway-key")?;

    // An open path is called by strangers' pages with any Origin, which says nothing about the tenant there.
    let open = settings.open(head);
    let page = match (origin, open) {
        (Some(origin), None) => listed(snapshot, &authority, scheme, origin)?,
        _ => None,
    };
    // A key is proof; a page's origin is what browsers promise; the host is what is left.
    let named = match (key, &page, open) {
        (Some(key), _, _) => Some(by_key(snapshot, key)?),
        (None, Some(page), _) => Some(&page.tenant),
        (None, None, Some(open)) => match open.rule() {
            OpenTenant::None => return Ok(Caller { tenant: None, page: None, authority, site: None }),
            OpenTenant::Host => owner,
            OpenTenant::Path(number) => Some(by_id(snapshot, open.segment(head.uri.path(), *number))?),
            OpenTenant::Header(name) => {
                Some(by_id(snapshot, head.headers.get(name).and_then(|value| value.to_str().ok()))?)
            }
        },
        (None, None, None) => owner,
    };
    let agree = |other: Option<&Arc<Tenant>>| match (named, other) {
        (Some(named), Some(other)) => named.id == other.id,
        _ => true,
    };
    if !agree(owner) || !agree(page.as_ref().map(|page| &page.tenant)) {
        return Err(Refusal::TenantsDiffer);
    }
    if named.is_none() && open.is_none() && settings.no_origin == NoOrigin::Refuse {
        return Err(Refusal::OriginRequired);
    }
    Ok(Caller { tenant: named.cloned(), page, authority, site: None })
}

/// What the operator learns from a refusal, for `gateway tenant refused`.
pub(crate) fn lesson(refusal: &Refusal, head: &Parts) -> Option<RefusalReason> {
    match refusal {
        Refusal::OriginNull => Some(RefusalReason::Null),
        Refusal::OriginNotListed => {
            let origin = head.headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
            // Only what parses and reads the same is what a browser sends.
            let plain = origin.is_some_and(|origin| {
                origin.parse::<OriginPattern>().is_ok_and(|parsed| parsed.as_str() == origin)
            });
            Some(if plain { RefusalReason::Unlisted } else { RefusalReason::Malformed })
        }
        _ => None,
    }
}

/// The page of a listed origin; none for the site's own pages.
fn listed(
    snapshot: &Snapshot,
    authority: &Authority,
    scheme: Scheme,
    origin: &HeaderValue,
) -> Result<Option<Page>, Refusal> {
    if let Some(page) = Page::of(snapshot, origin) {
        return Ok(Some(page));
    }
    match origin.to_str() {
        Ok(own) if authority.is_origin(scheme, own) => Ok(None),
        Ok("null") => Err(Refusal::OriginNull),
        _ => Err(Refusal::OriginNotListed),
    }
}

fn by_key<'a>(snapshot: &'a Snapshot, key: &HeaderValue) -> Result<&'a Arc<Tenant>, Refusal> {
    let key = key.to_str().map_err(|_| Refusal::KeyInvalid)?;
    snapshot.by_key(&KeyHash::of(key)).ok_or(Refusal::KeyInvalid)
}

fn by_id<'a>(snapshot: &'a Snapshot, id: Option<&str>) -> Result<&'a Arc<Tenant>, Refusal> {
    id.and_then(|id| snapshot.by_id(id)).ok_or(Refusal::TenantUnknown)
}

/// A header that two readers could take two different ones of, were it there twice.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    text: &'static str,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(Refusal::HeaderTwice(text)) } else { Ok(first) }
}

#[cfg(test)]
mod tests;

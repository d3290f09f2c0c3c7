//! What else lives on the gateway's port: files, another application, a redirect. No tenant is looked for here, no ticket
//! given, no CORS policy of ours announced; nothing of a site must ever reach a backend's worker.

mod config;
mod files;
mod location;

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Response, request::Parts};

use crate::{
    backend::Roster,
    tenant::{Snapshot, TicketMode},
};

pub(crate) use self::{
    config::{Does, SiteConfig, SiteProblem},
    files::{FileBody, FileReads},
};
use self::{files::Files, location::Location};
use super::{
    authority::Authority,
    body::{Body, RequestBody},
    compress::{self, Holds},
    forward,
    identify::Caller,
    refusal::Refusal,
    serve::Exchange,
    settings::{Route, Settings, is_plain},
    upgrade::Upgrade,
};

/// Idle connections to a site's upstream are closed after this: before Node, whose patience is the shortest, does it.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// One `[[edge.site]]`.
#[derive(Debug)]
pub(crate) struct Site {
    /// For logs: `www.acme.example/docs`.
    pub(crate) name: Arc<str>,
    prefix: Box<str>,
    kind: Kind,
    /// Said with every answer of its own.
    headers: HeaderMap,
}

#[derive(Debug)]
enum Kind {
    Files(Arc<Files>),
    Upstream(Arc<Route>),
    Redirect(Location, Option<HeaderValue>),
    /// A host that only sites have, where none of them begins.
    Nothing,
}

/// All sites, by host and path.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    /// Longest prefix first.
    by_host: HashMap<Box<str>, Vec<Arc<Site>>>,
    /// On every host that is served.
    everywhere: Vec<Arc<Site>>,
}

impl Site {
    fn new(site: &SiteConfig) -> Result<Arc<Self>, SiteProblem> {
        let name: Arc<str> = site.name().into();
        // The configuration's check has parsed it once: what fails here was refused there.
        let cache_control = site.cache_control.as_ref().and_then(|text| HeaderValue::from_str(text).ok());
        let kind = match site.does()? {
            Does::Files(root) => Kind::Files(Files::new(root, site, cache_control)),
            Does::Redirect(location) => Kind::Redirect(location, cache_control),
            Does::Upstream(addresses) => {
                let roster = Roster::unwatched(&name, KEEP_ALIVE, addresses);
                Kind::Upstream(Arc::new(Route {
                    roster,
                    ticket: TicketMode::Tenant,
                    watched: false,
                    sticky: None,
                }))
            }
        };
        let headers = site.headers().unwrap_or_default();
        Ok(Arc::new(Self { name, prefix: site.prefix().into(), kind, headers }))
    }

    /// What of a path lies below this site.
    fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&*self.prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Is the whole host its own, whatever the path?
    fn is_whole_host(&self) -> bool {
        self.prefix.is_empty()
    }
}

impl Sites {
    /// Index them.
    pub(crate) fn new(sites: &[SiteConfig]) -> Result<Self, SiteProblem> {
        let mut all = Self::default();
        for config in sites {
            let site = Site::new(config)?;
            match &config.host {
                Some(host) => all.by_host.entry(host.as_str().into()).or_default().push(site),
                None => all.everywhere.push(site),
            }
        }
        for list in all.by_host.values_mut().chain([&mut all.everywhere]) {
            list.sort_by_key(|site| std::cmp::Reverse(site.prefix.len()));
        }
        Ok(all)
    }

    /// Are there none?
    pub(crate) fn is_empty(&self) -> bool {
        self.by_host.is_empty() && self.everywhere.is_empty()
    }

    /// Does a site name this host?
    pub(crate) fn has_host(&self, host: &str) -> bool {
        self.by_host.contains_key(host)
    }

    /// The hosts that sites name.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.by_host.keys().map(|host| &**host)
    }

    /// The site of a host and path: one that names the host before one that does not, then the longest prefix.
    fn find(&self, host: &str, path: &str) -> Option<&Arc<Site>> {
        let own = self.by_host.get(host).into_iter().flatten();
        // A path that may lead elsewhere falls under no prefix.
        let plain = is_plain(path);
        own.chain(&self.everywhere)
            .find(|site| if site.is_whole_host() { true } else { plain && site.rest(path).is_some() })
    }
}

/// The site that a request is for, if it is for one.
pub(crate) fn of(settings: &Settings, snapshot: &Snapshot, head: &Parts) -> Option<Arc<Site>> {
    let sites = &settings.sites;
    // Who says it unreadably is refused further on.
    let authority = Authority::of(head).ok()?;
    let host = authority.name();
    if !settings.serves(snapshot, host) {
        return None;
    }
    if let Some(site) = sites.find(host, head.uri.path()) {
        return Some(site.clone());
    }
    // The rest of a host that only sites have is nobody's: it must not fall to the one backend there is.
    let only_sites = !settings.is_shared(host) && snapshot.by_host(host).is_none();
    only_sites.then(|| {
        let (prefix, headers) = (Box::default(), HeaderMap::new());
        Arc::new(Site { name: host.into(), prefix, kind: Kind::Nothing, headers })
    })
}

/// Answer a request for a site.
pub(crate) async fn serve(
    exchange: &Exchange,
    site: &Arc<Site>,
    head: &Parts,
    body: (RequestBody, Option<Upgrade>),
) -> Result<Response<Body>, Refusal> {
    let mut answer = of_its_own(exchange, site, head, body).await?;
    for (name, value) in &site.headers {
        answer.headers_mut().insert(name, value.clone());
    }
    Ok(answer)
}

async fn of_its_own(
    exchange: &Exchange,
    site: &Arc<Site>,
    head: &Parts,
    (body, upgrade): (RequestBody, Option<Upgrade>),
) -> Result<Response<Body>, Refusal> {
    let rest = site.rest(head.uri.path()).unwrap_or("");
    match &site.kind {
        Kind::Nothing => Err(Refusal::NotFound),
        Kind::Redirect(location, cache_control) => location.answer(head, rest, cache_control.as_ref()),
        Kind::Files(files) => {
            let answer = files.answer(exchange, head, rest).await?;
            Ok(compress::apply(exchange, head, Holds::PublicThings, answer))
        }
        Kind::Upstream(route) => {
            let (settings, shared) = (&exchange.settings, &exchange.thread.shared);
            // A site counts as a tenant of its own: what one may use up must not be another's.
            let place = shared.admit.enter_site(&settings.admit, &site.name, exchange.client.address)?;
            let authority = Authority::of(head)?;
            let caller = Caller { tenant: None, page: None, authority, site: Some(route.clone()) };
            let answer = forward::forward(exchange, &caller, place, head, (body, upgrade)).await?;
            Ok(compress::apply(exchange, head, Holds::Secrets, answer))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(text: &str) -> Sites {
        #[derive(serde::Deserialize)]
        struct File {
            site: Vec<SiteConfig>,
        }
        let file: File = toml::from_str(text).unwrap();
        Sites::new(&file.site).unwrap()
    }

    #[test]
    fn a_sites_own_host_comes_first_then_the_longest_path_by_whole_segments() {
        let sites = sites(
            "[[site]]\nhost = 'www.example'\nroot = '/srv'\n\
             [[site]]\nhost = 'www.example'\npath = '/app/'\nroot = '/srv'\n\
             [[site]]\nhost = 'www.example'\npath = '/app/deep'\nroot = '/srv'\n\
             [[site]]\nhost = 'api.example'\npath = '/docs'\nroot = '/srv'\n\
             [[site]]\npath = '/status'\nroot = '/srv'",
        );
        for (host, path, want) in [
            ("www.example", "/", Some("www.example")),
            ("www.example", "/app", Some("www.example/app")),
            ("www.example", "/app/x", Some("www.example/app")),
            ("www.example", "/apple", Some("www.example")),
            ("www.example", "/app/deep/x", Some("www.example/app/deep")),
            ("www.example", "/app/../x", Some("www.example")),
            ("www.example", "/status", Some("www.example")),
            ("api.example", "/docs/x", Some("api.example/docs")),
            ("api.example", "/docs/%2e%2e/x", None),
            ("api.example", "/docs//x", None),
            ("api.example", "/x", None),
            ("api.example", "/status", Some("*/status")),
            ("other.example", "/status/x", Some("*/status")),
            ("other.example", "/", None),
        ] {
            assert_eq!(sites.find(host, path).map(|site| &*site.name), want, "{host}{path}");
        }
    }
}

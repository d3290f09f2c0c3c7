//! The configuration as the request path reads it: parsed, indexed, swapped whole on reload. It must never be
//! changed in place.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use http::{HeaderName, HeaderValue, Method, request::Parts};

use crate::{
    backend::{Roster, Sticky},
    tenant::{Announcement, CorsPolicy, Snapshot, Tenant, TicketMode},
};

use super::{
    EdgeError, EdgeSettings,
    compress::Compression,
    config::{Admit, Limits, Network, NoOrigin, OpenPath, ProxyProtocol},
    cors,
    site::{FileReads, Sites},
    terms::PathRules,
};

/// Everything a request needs to know about the configuration.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) admit: Admit,
    pub(crate) no_origin: NoOrigin,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) proxy_protocol: ProxyProtocol,
    pub(crate) cors: CorsPolicy,
    pub(crate) announcement: Announcement,
    pub(crate) access_log: bool,
    /// `Strict-Transport-Security`, if browsers are to be told.
    pub(crate) hsts: Option<HeaderValue>,
    pub(crate) terms: PathRules,
    pub(crate) sites: Sites,
    pub(crate) file_reads: FileReads,
    pub(crate) compression: Compression,
    open: Vec<Open>,
    hosts: HashSet<Box<str>>,
    routes: Routes,
}

/// Which backend serves whom.
#[derive(Debug, Default)]
struct Routes {
    by_name: HashMap<String, Arc<Route>>,
    by_host: HashMap<Box<str>, Arc<Route>>,
}

/// One backend.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) roster: Arc<Roster>,
    pub(crate) ticket: TicketMode,
    /// Does somebody list its workers anew when they are gone? Only then is it worth waiting for one.
    pub(crate) watched: bool,
    /// What binds requests to one of its workers.
    pub(crate) sticky: Option<Sticky>,
}

/// An `[[edge.open]]`, parsed.
#[derive(Debug)]
pub(crate) struct Open {
    /// Without the `/*`.
    path: String,
    prefix: bool,
    methods: Vec<Method>,
    rule: OpenTenant,
}

/// How an open path's caller names the tenant, without proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OpenTenant {
    /// The N-th segment after the prefix, from 1.
    Path(usize),
    /// A request header.
    Header(HeaderName),
    /// The owner of the host.
    Host,
    /// Nobody.
    None,
}

impl Settings {
    /// Parse and index, or say what is wrong.
    pub(crate) fn new(settings: &EdgeSettings) -> Result<Self, EdgeError> {
        let config = &settings.config;
        let open = config.open.iter().map(Open::parse).collect::<Result<_, _>>()?;
        let mut hosts: HashSet<Box<str>> = config.hosts.iter().map(|host| host.as_str().into()).collect();
        let mut routes = Routes::default();
        for (name, backend) in &settings.backends {
            let (roster, ticket, sticky) = (backend.roster.clone(), backend.ticket, backend.sticky);
            let route = Arc::new(Route { roster, ticket, watched: true, sticky });
            for host in &backend.hosts {
                hosts.insert(host.as_str().into());
                routes.by_host.insert(host.as_str().into(), route.clone());
            }
            routes.by_name.insert(name.clone(), route);
        }
        Ok(Self {
            limits: config.limits.clone(),
            admit: config.admit.clone(),
            no_origin: config.no_origin,
            trusted_proxies: config.trusted_proxies.clone(),
            proxy_protocol: config.proxy_protocol,
            announcement: settings.cors.announcement(),
            cors: settings.cors.clone(),
            access_log: config.access_log.enabled,
            hsts: settings.tls.hsts.header(),
            terms: PathRules::new(&config.limits, &config.path),
            sites: Sites::new(&config.site).map_err(EdgeError::Site)?,
            file_reads: FileReads::new(config.limits.file_reads_max),
            compression: Compression::new(&config.compression),
            open,
            hosts,
            routes,
        })
    }

    /// Is this host ours: listed at the edge, by a backend, by a site or by a tenant?
    pub(crate) fn serves(&self, snapshot: &Snapshot, host: &str) -> bool {
        self.hosts.contains(host) || snapshot.by_host(host).is_some() || self.sites.has_host(host)
    }

    /// Is this host every tenant's: listed at the edge or by a backend?
    pub(crate) fn is_shared(&self, host: &str) -> bool {
        self.hosts.contains(host)
    }

    /// The hosts listed at the edge, by backends and by sites: with those of tenants, all that need certificates.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|host| &**host).chain(self.sites.hosts())
    }

    /// Every host that is ours, in order.
    pub(crate) fn all_hosts(&self, snapshot: &Snapshot) -> BTreeSet<String> {
        let of_tenants = snapshot.tenants().flat_map(|tenant| tenant.hosts.iter().map(|host| host.as_str()));
        self.hosts().chain(of_tenants).map(str::to_owned).collect()
    }

    /// The backend for a request: the tenant's own, else the host's, else the only one.
    pub(crate) fn route(&self, tenant: Option<&Tenant>, host: &str) -> Option<&Arc<Route>> {
        if let Some(name) = tenant.and_then(|tenant| tenant.backend.as_ref()) {
            return self.routes.by_name.get(name);
        }
        let only = || self.routes.by_name.values().next().filter(|_| self.routes.by_name.len() == 1);
        self.routes.by_host.get(host).or_else(only)
    }

    /// The open path that a request falls under. A preflight falls under none: it is a browser's question to us.
    pub(crate) fn open(&self, head: &Parts) -> Option<&Open> {
        let path = head.uri.path();
        let open = self.open.iter().find(|open| open.matches(&head.method, path))?;
        (is_plain(path) && !cors::is_preflight(head)).then_some(open)
    }

    /// The policy of a tenant: its own or the default.
    pub(crate) fn announcement<'a>(&'a self, tenant: &'a Tenant) -> &'a Announcement {
        tenant.announcement().unwrap_or(&self.announcement)
    }
}

/// Does this path say where it leads? One that a worker may resolve to another (`/open/../private`, `%2e%2e`, `//`,
/// `\`) falls under no prefix.
pub(crate) fn is_plain(path: &str) -> bool {
    if !path.as_bytes().iter().any(|byte| matches!(byte, b'.' | b'%' | b'\\')) {
        return !path.contains("//");
    }
    // In capitals, so that escapes have one form.
    let path = path
        .to_ascii_uppercase()
        .replace("%2E", ".")
        .replace("%2F", "/")
        .replace("%5C", "\\")
        .replace("%3B", ";");
    // Some take what follows a semicolon away (`..;x=1`).
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    !path.contains('\\') && !path.contains("//") && !path.split('/').any(dots)
}

impl Open {
    fn parse(open: &OpenPath) -> Result<Self, EdgeError> {
        let wrong = || EdgeError::OpenRule { path: open.path.clone(), rule: open.tenant.clone() };
        let rule = match open.tenant.split_once(':') {
            None if open.tenant == "none" => OpenTenant::None,
            None if open.tenant == "host" => OpenTenant::Host,
            Some(("path", segment)) => {
                let segment = segment.parse().ok().filter(|segment| *segment > 0);
                OpenTenant::Path(segment.ok_or_else(wrong)?)
            }
            Some(("header", name)) => OpenTenant::Header(name.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        };
        let methods = open.methods.iter().map(|method| method.parse().map_err(|_| wrong()));
        let (path, prefix) = match open.path.strip_suffix("/*") {
            Some(path) => (path.to_owned(), true),
            None => (open.path.clone(), false),
        };
        Ok(Self { path, prefix, methods: methods.collect::<Result<_, _>>()?, rule })
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        let under = match path.strip_prefix(self.path.as_str()) {
            Some("") => true,
            Some(rest) => self.prefix && rest.starts_with('/'),
            None => false,
        };
        under && (self.methods.is_empty() || self.methods.contains(method))
    }

    /// How its tenant is named.
    pub(crate) fn rule(&self) -> &OpenTenant {
        &self.rule
    }

    /// The N-th segment after the prefix.
    pub(crate) fn segment<'a>(&self, path: &'a str, number: usize) -> Option<&'a str> {
        path.strip_prefix(self.path.as_str())?.strip_prefix('/')?.split('/').nth(number.checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &str, methods: &[&str], tenant: &str) -> Result<Open, EdgeError> {
        Open::parse(&OpenPath {
            path: path.into(),
            methods: methods.iter().map(|m| (*m).into()).collect(),
            tenant: tenant.into(),
        })
    }

    #[test]
    fn open_paths_match_whole_segments_and_listed_methods_only() {
        let hooks = open("/webhooks/*", &["POST"], "path:1").unwrap();
        for (method, path, matches) in [
            (Method::POST, "/webhooks/acme", true),
            (Method::POST, "/webhooks", true),
            (Method::POST, "/webhooks/", true),
            (Method::POST, "/webhooksx/acme", false),
            (Method::GET, "/webhooks/acme", false),
            (Method::POST, "/x/webhooks/acme", false),
        ] {
            assert_eq!(hooks.matches(&method, path), matches, "{method} {path}");
        }
        assert_eq!(hooks.segment("/webhooks/acme/paid", 1), Some("acme"));
        assert_eq!(hooks.segment("/webhooks", 1), None);
        assert!(!open("/exact", &[], "none").unwrap().matches(&Method::GET, "/exact/more"));
    }

    #[test]
    fn a_path_that_may_lead_elsewhere_falls_under_no_prefix() {
        for plain in ["/", "/a/b", "/a/.well-known/x", "/a/b..c/...", "/a/x%20y", "/a/b/", "/a.%2ejs"] {
            assert!(is_plain(plain), "{plain}");
        }
        for other in [
            "/a/../b",
            "/a/..",
            "/a/./b",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/a//b",
            "//a",
            "/a/..%2fb",
            "/a%2F%2e%2e%2Fb",
            "/a/..\\b",
            "/a%5c..%5Cb",
            "/a/..;x=1/b",
            "/a/.;/b",
        ] {
            assert!(!is_plain(other), "{other}");
        }
    }

    #[test]
    fn rules_that_name_nobody_are_refused() {
        for bad in ["", "path", "path:0", "path:x", "header:", "header:a b", "cookie:x", "hosts"] {
            assert!(open("/x", &[], bad).is_err(), "{bad:?} was taken");
        }
    }
}

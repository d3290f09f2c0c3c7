//! The two pure look-ups of the request path, for the bench alone: who is calling, and what a preflight gets.

use std::collections::BTreeMap;

use http::{Method, Request, header, request::Parts};

use crate::tenant::{CorsPolicy, Snapshot, Tenant};

use super::{
    Config, EdgeSettings, TlsConfig, authority::Scheme, cors, identify::identify, settings::Settings,
};

/// A registry of many tenants, and requests of their pages.
pub struct Lookup {
    settings: Settings,
    snapshot: Snapshot,
    requests: Vec<Parts>,
}

/// Requests looked up in turn: enough that no branch predictor knows them by heart.
const REQUESTS: usize = 1024;

impl Lookup {
    /// So many tenants with an exact origin, a wildcard and a host each. `None` never happens.
    pub fn new(tenants: usize) -> Option<Self> {
        let tenant = |number: usize| {
            let mut tenant = Tenant::new(format!("shop-{number}").parse().ok()?);
            tenant.origins.push(format!("https://shop-{number}.example").parse().ok()?);
            tenant.origins.push(format!("https://*.shop-{number}.example").parse().ok()?);
            tenant.hosts.push(format!("api.shop-{number}.example").parse().ok()?);
            Some(tenant)
        };
        let snapshot = Snapshot::build((0..tenants).map(tenant).collect::<Option<Vec<_>>>()?).ok()?;
        let config = Config { hosts: vec!["shared.example".parse().ok()?], ..Config::default() };
        let (tls, cors, backends) = (TlsConfig::default(), CorsPolicy::default(), BTreeMap::new());
        let settings = Settings::new(&EdgeSettings { config, tls, cors, backends }).ok()?;
        let request = |turn: usize| {
            // A large odd step visits tenants all over the table.
            let number = turn.wrapping_mul(7919) % tenants.max(1);
            let origin = match turn % 4 {
                0 => format!("https://branch.shop-{number}.example"),
                _ => format!("https://shop-{number}.example"),
            };
            let request = Request::builder().method(Method::OPTIONS).uri("/api/bookings?day=1");
            let request = request.header(header::HOST, "shared.example").header(header::ORIGIN, origin);
            let request = request.header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST");
            Some(request.body(()).ok()?.into_parts().0)
        };
        let requests = (0..REQUESTS).map(request).collect::<Option<Vec<_>>>()?;
        Some(Self { settings, snapshot, requests })
    }

    /// Identify one request's caller; true when it is a tenant.
    pub fn identify(&self, turn: usize) -> bool {
        let head = &self.requests[turn % REQUESTS];
        identify(&self.settings, &self.snapshot, Scheme::Https, head)
            .is_ok_and(|caller| caller.tenant.is_some())
    }

    /// Identify and answer the preflight; true when there is an answer.
    pub fn preflight(&self, turn: usize) -> bool {
        let head = &self.requests[turn % REQUESTS];
        let caller = identify(&self.settings, &self.snapshot, Scheme::Https, head);
        caller.is_ok_and(|caller| cors::preflight(&self.settings, &caller, head).is_some())
    }
}

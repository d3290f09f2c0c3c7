//! Is there room? Requests in flight and requests per second, per tenant and inside it per client address, so
//! that one client cannot take its shop down. Shared by all cores through one lock a shard and atomics; every
//! place taken is a guard that gives itself back.

mod config;
mod gauge;
mod table;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, LazyLock},
    time::Instant,
};

use crate::tenant::{Tenant, TenantId, TenantLimits};

pub(crate) use self::config::Admit as AdmitConfig;
use self::{
    gauge::{Gauge, InFlight},
    table::Table,
};
use super::refusal::Refusal;

/// Of a file that is compressed, what counts like one request: about a millisecond's work.
const PIECE_BYTES: u64 = 64 * 1024;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What tenants and clients have taken, over all cores.
#[derive(Debug)]
pub(crate) struct Admit {
    tenants: Table<Whose>,
    clients: Table<(Whose, IpAddr)>,
}

/// Whose share a request uses up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    /// A tenant's.
    Tenant(TenantId),
    /// That of a site with an upstream, which counts as a tenant of its own.
    Site(Arc<str>),
    /// That of all sites' files together: what they take is the machine's, not a site's.
    Files,
    /// That of all who are nobody's.
    Nobody,
}

/// One admitted request; dropping it gives everything back.
#[derive(Debug)]
pub(crate) struct Place {
    tenant: InFlight,
    _client: InFlight,
}

/// One admitted answer with a file; dropping it gives everything back.
#[derive(Debug)]
pub(crate) struct FilePlace {
    _all: InFlight,
    _client: InFlight,
}

/// One request that waits for a worker.
#[derive(Debug)]
pub(crate) struct Waiting {
    _place: InFlight,
}

impl Admit {
    /// Nobody has taken anything.
    pub(crate) fn new(clients_max: usize) -> Self {
        // A tenant that is forgotten loses nothing but a full bucket, so both tables take the same bound.
        Self { tenants: Table::new(clients_max), clients: Table::new(clients_max) }
    }

    /// The new bound of what is remembered.
    pub(crate) fn bound(&self, clients_max: usize) {
        self.tenants.bound(clients_max);
        self.clients.bound(clients_max);
    }

    /// A place for one request, or how long to stay away.
    pub(crate) fn enter(
        &self,
        config: &config::Admit,
        tenant: Option<&Tenant>,
        client: IpAddr,
    ) -> Result<Place, Refusal> {
        let now_ns = u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.enter_at(now_ns, config, tenant, client)
    }

    fn enter_at(
        &self,
        now_ns: u64,
        config: &config::Admit,
        tenant: Option<&Tenant>,
        client: IpAddr,
    ) -> Result<Place, Refusal> {
        let whose = tenant.map_or(Whose::Nobody, |tenant| Whose::Tenant(tenant.id.clone()));
        self.enter_as(now_ns, config, (whose, tenant.map_or(&DEFAULT, |tenant| &tenant.limits)), client)
    }

    /// A place for one request to a site's upstream.
    pub(crate) fn enter_site(
        &self,
        config: &config::Admit,
        site: &Arc<str>,
        client: IpAddr,
    ) -> Result<Place, Refusal> {
        let now_ns = u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.enter_as(now_ns, config, (Whose::Site(site.clone()), &DEFAULT), client)
    }

    /// A place for one answer with a file, until its last byte has gone. How many a second is nobody's concern: to
    /// refuse one costs as much as to show it, and what it holds is bounded by how many there are at a time. What does cost
    /// more, to compress it, has a bound of its own.
    pub(crate) fn enter_files(&self, config: &config::Admit, client: IpAddr) -> Result<FilePlace, Refusal> {
        let now_ns = u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let gauge = self.clients.gauge((Whose::Files, network(client)), now_ns);
        let in_flight = take(&gauge, config.client_files_in_flight_max)?;
        let all = take(&self.tenants.gauge(Whose::Files, now_ns), config.files_in_flight_max)?;
        Ok(FilePlace { _all: all, _client: in_flight })
    }

    /// May a file of so many bytes be compressed for this client? As many pieces a second as it may send requests: it is the
    /// one thing of a file that costs more than a request does. Who is refused gets it as it is.
    pub(crate) fn compresses_file(&self, config: &config::Admit, client: IpAddr, bytes: u64) -> bool {
        let now_ns = u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.compresses_file_at(now_ns, config, client, bytes)
    }

    fn compresses_file_at(&self, now_ns: u64, config: &config::Admit, client: IpAddr, bytes: u64) -> bool {
        let pieces = bytes.div_ceil(PIECE_BYTES).max(1);
        let gauge = self.clients.gauge((Whose::Files, network(client)), now_ns);
        gauge.pass_many(pieces, config.client_requests_per_second, now_ns).is_ok()
    }

    fn enter_as(
        &self,
        now_ns: u64,
        config: &config::Admit,
        (whose, own): (Whose, &TenantLimits),
        client: IpAddr,
    ) -> Result<Place, Refusal> {
        // The client first: one that is refused must not use up its tenant's share.
        let gauge = self.clients.gauge((whose.clone(), network(client)), now_ns);
        let in_flight = take(&gauge, config.client_in_flight_max)?;
        pass(&gauge, config.client_requests_per_second, now_ns)?;
        let shop = self.tenants.gauge(whose, now_ns);
        let place = take(&shop, own.in_flight_max.unwrap_or(config.tenant_in_flight_max))?;
        pass(&shop, own.requests_per_second.unwrap_or(config.tenant_requests_per_second), now_ns)?;
        Ok(Place { tenant: place, _client: in_flight })
    }
}

static DEFAULT: TenantLimits = TenantLimits {
    in_flight_max: None,
    requests_per_second: None,
    connections_max: None,
    connections_min: None,
};

impl Place {
    /// A place among this tenant's requests that wait for a worker.
    pub(crate) fn wait(&self, waiting_max: u32) -> Result<Waiting, Refusal> {
        self.tenant.wait(waiting_max).map(|place| Waiting { _place: place }).ok_or(Refusal::NoWorker)
    }
}

fn take(gauge: &Arc<Gauge>, in_flight_max: u32) -> Result<InFlight, Refusal> {
    gauge.take(in_flight_max).ok_or(Refusal::TooMany)
}

fn pass(gauge: &Gauge, per_second: u32, now_ns: u64) -> Result<(), Refusal> {
    gauge.pass(per_second, now_ns).map_err(|wait_ns| Refusal::TooFast {
        // Rounded up: a client that comes back at the second it was told must get through.
        retry_after_s: wait_ns.div_ceil(1_000_000_000).max(1),
    })
}

/// Whose address this is: one IPv4 address or one IPv6 /64, which is what one household gets.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests;

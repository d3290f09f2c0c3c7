//! Does a host lead here? Its addresses are compared with this machine's and with `edge.public_addresses`; behind NAT, what
//! answers at them is compared with what answers here. It must never call an address good that nothing speaks for.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use nix::ifaddrs::getifaddrs;

use crate::{
    bootstrap::Finding,
    cli::{
        probe::{Target, trust},
        tenant::check,
    },
};

/// Addresses that are looked at for one host.
const LOOKED_AT_MAX: usize = 8;

/// The name servers' time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where browsers look for it.
const HTTPS: u16 = 443;

/// The listener of this machine.
#[derive(Debug)]
pub(super) struct Here<'a> {
    pub(super) address: SocketAddr,
    pub(super) local_ca: Option<&'a str>,
}

/// Where it leads.
pub(super) async fn resolved(host: &str, public: &[IpAddr], here: Option<&Here<'_>>) -> Finding {
    let name = format!("dns {host}");
    if host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok() {
        return Finding::skipped(name, "needs none");
    }
    let remedy = "make an A (and AAAA) record that leads to this machine";
    let addresses: BTreeSet<IpAddr> =
        match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, HTTPS))).await {
            Ok(Ok(addresses)) => addresses.map(|address| address.ip().to_canonical()).collect(),
            Ok(Err(error)) => return Finding::bad(name, format!("does not resolve: {error}"), remedy),
            Err(_) => return Finding::bad(name, "the resolver does not answer", "look at /etc/resolv.conf"),
        };
    let own: BTreeSet<IpAddr> =
        interfaces().into_iter().chain(public.iter().map(IpAddr::to_canonical)).collect();
    let mut ours: BTreeSet<IpAddr> = addresses.intersection(&own).copied().collect();
    if let Some(here) = here {
        for address in addresses.difference(&own).take(LOOKED_AT_MAX) {
            if leads_here(host, *address, here).await {
                ours.insert(*address);
            }
        }
    }
    judged(name, &addresses, &ours)
}

/// What the addresses say, of which those are ours.
fn judged(name: String, addresses: &BTreeSet<IpAddr>, ours: &BTreeSet<IpAddr>) -> Finding {
    let listed = |list: Vec<&IpAddr>| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let remedy =
        "correct its DNS, or name the addresses in `edge.public_addresses` if they lead to this machine";
    let foreign: Vec<&IpAddr> = addresses.difference(ours).collect();
    if addresses.iter().all(IpAddr::is_loopback) {
        let what = format!("leads to {}: from this machine alone", listed(addresses.iter().collect()));
        return Finding::doubtful(name, what, "/etc/hosts names it; ask its DNS from elsewhere");
    }
    if foreign.is_empty() {
        return Finding::good(name, format!("leads here: {}", listed(addresses.iter().collect())));
    }
    let nobody = ours.iter().all(IpAddr::is_loopback);
    let what = match nobody {
        true => format!("does not lead here: resolves to {}", listed(foreign)),
        false => format!("also resolves to {}, where this gateway was not found", listed(foreign)),
    };
    if nobody { Finding::bad(name, what, remedy) } else { Finding::doubtful(name, what, remedy) }
}

/// Is the certificate that is shown there, and good, the one that is shown here? Nobody else has its key.
async fn leads_here(host: &str, address: IpAddr, here: &Here<'_>) -> bool {
    let Ok(tls) = trust(here.local_ca) else { return false };
    let leaf = async |address: SocketAddr| {
        Target { address, host: host.to_owned(), tls: Some(tls.clone()) }.leaf().await.ok()
    };
    let there = leaf((address, HTTPS).into()).await;
    there.is_some() && there == leaf(check::reachable(here.address)).await
}

/// The addresses that this machine's interfaces have.
fn interfaces() -> Vec<IpAddr> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let addresses = all.filter_map(|interface| interface.address).filter_map(|storage| {
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    addresses.map(|address| address.to_canonical()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Verdict;

    fn check(addresses: &[&str], ours: &[&str], want: (Verdict, &str)) {
        let set = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let found = judged("dns x".to_owned(), &set(addresses), &set(ours));
        assert_eq!(found.verdict, want.0, "{found:?}");
        assert!(found.detail.contains(want.1), "{found:?}");
    }

    #[test]
    fn a_host_leads_here_elsewhere_or_both() {
        check(&["203.0.113.9"], &["203.0.113.9"], (Verdict::Good, "leads here: 203.0.113.9"));
        check(&["198.51.100.1"], &[], (Verdict::Bad, "does not lead here: resolves to 198.51.100.1"));
        check(
            &["203.0.113.9", "2001:db8::1"],
            &["203.0.113.9"],
            (Verdict::Doubtful, "also resolves to 2001:db8::1"),
        );
        check(&["127.0.1.1"], &["127.0.1.1"], (Verdict::Doubtful, "from this machine alone"));
        check(&["127.0.1.1", "198.51.100.1"], &["127.0.1.1"], (Verdict::Bad, "198.51.100.1"));
    }
}

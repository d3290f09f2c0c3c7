//! Does a host lead here? Asked before every order, because an order for one that does not is a failure that the
//! authority counts. Its answer is about this moment and is kept by nobody.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use hickory_resolver::{
    Resolver,
    config::{
        ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    },
    net::runtime::TokioRuntimeProvider,
};
use nix::ifaddrs::getifaddrs;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    challenges::{Challenges, Shown},
    config::NameServer,
};

/// Where authorities look for HTTP-01, and so where a look at ourselves must come in.
const PROBE_PORT: u16 = 80;

/// One look-up, and one look at ourselves: authorities do not wait longer either.
const PATIENCE: Duration = Duration::from_secs(5);

/// Addresses named in a message.
const SHOWN_MAX: usize = 4;

/// Addresses of one family that are looked at for one host: networks in front give two to four of each.
const PROBED_OF_A_FAMILY_MAX: usize = 4;

/// Knows which addresses are ours.
pub(crate) struct Whereabouts {
    resolver: Resolver<TokioRuntimeProvider>,
    public: Vec<IpAddr>,
    /// Is the authority on this machine itself? Then loopback is a place where it finds us.
    loopback_counts: bool,
    probe_port: u16,
}

impl Whereabouts {
    /// With these name servers, or the system's.
    pub(crate) fn new(
        resolvers: &[NameServer],
        public: &[IpAddr],
        loopback_counts: bool,
    ) -> Result<Self, String> {
        let cannot = |error: hickory_resolver::net::NetError| format!("cannot ask name servers: {error}");
        let mut builder = if resolvers.is_empty() {
            Resolver::builder_tokio().map_err(cannot)?
        } else {
            let servers = resolvers.iter().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        set(builder.options_mut());
        let resolver = builder.build().map_err(cannot)?;
        Ok(Self { resolver, public: public.to_vec(), loopback_counts, probe_port: PROBE_PORT })
    }

    /// Does it lead here, and perhaps elsewhere too? Else why not, in words for the operator. One of its addresses is
    /// enough: whether the authority takes that one is seen by ordering. Cancel safe.
    pub(crate) async fn leads_here(
        &self,
        host: &str,
        challenges: &Arc<Challenges>,
    ) -> Result<Option<String>, String> {
        let addresses = self.addresses(host).await?;
        let own = interfaces();
        let (ours, others): (Vec<_>, Vec<_>) =
            addresses.into_iter().partition(|address| self.is_ours(*address, &own));
        if others.is_empty() {
            return Ok(None);
        }
        // Behind NAT or another's network the address is not ours, and still leads here.
        let looks = self.look_at(host, &others, challenges).await;
        if ours.is_empty() && !looks.iter().any(|(_, look)| *look == Look::CameBack) {
            return Err(format!(
                "does not lead here: resolves to {}; correct its DNS, or name the addresses in \
                 `edge.public_addresses` if they lead to this machine",
                listed(others.iter())
            ));
        }
        // Of a network in front, the family that this machine has not cannot be judged.
        let is_foreign = |look: &Look| match look {
            Look::CameBack => false,
            Look::NoWay => !ours.is_empty(),
            Look::Elsewhere => true,
        };
        let foreign: Vec<_> =
            looks.iter().filter(|(_, look)| is_foreign(look)).map(|(address, _)| address).collect();
        Ok((!foreign.is_empty()).then(|| warning(&foreign)))
    }

    /// Where it resolves to, IPv6 first: that is where authorities go first.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        // With its last dot, so that no search domain is tried.
        let lookup = tokio::time::timeout(PATIENCE * 2, self.resolver.lookup_ip(format!("{host}.")));
        let nothing = "does not resolve to any address: add an A or AAAA record in its DNS";
        match lookup.await {
            Ok(Ok(found)) => {
                let addresses: Vec<_> = found.iter().map(|address| address.to_canonical()).collect();
                if addresses.is_empty() { Err(nothing.to_owned()) } else { Ok(addresses) }
            }
            Ok(Err(error)) if error.is_nx_domain() || error.is_no_records_found() => Err(nothing.to_owned()),
            Ok(Err(error)) => Err(format!("cannot be looked up: {error}")),
            Err(_) => Err("cannot be looked up: the name servers do not answer".to_owned()),
        }
    }

    fn is_ours(&self, address: IpAddr, own: &[IpAddr]) -> bool {
        if self.public.iter().any(|public| public.to_canonical() == address) {
            return true;
        }
        if address.is_loopback() {
            return self.loopback_counts;
        }
        own.contains(&address)
    }

    /// What a look at each of them says. All at once, and of both families: from a machine without IPv6 the authority's
    /// way over it cannot be gone, only the other's.
    async fn look_at(
        &self,
        host: &str,
        others: &[IpAddr],
        challenges: &Arc<Challenges>,
    ) -> Vec<(IpAddr, Look)> {
        let of = |v6: bool| others.iter().filter(move |address| address.is_ipv6() == v6);
        let looked_at = of(true).take(PROBED_OF_A_FAMILY_MAX).chain(of(false).take(PROBED_OF_A_FAMILY_MAX));
        let looks =
            looked_at.map(|address| async move { (*address, self.look(host, *address, challenges).await) });
        join_all(looks).await
    }

    /// Does a request to that address for this host come back to this very process?
    async fn look(&self, host: &str, address: IpAddr, challenges: &Arc<Challenges>) -> Look {
        let mut bytes = [0; 16];
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            return Look::NoWay;
        }
        let nonce = format!("{:032x}", u128::from_be_bytes(bytes));
        let Some(shown) = challenges.show_nonce(host, &nonce) else { return Look::NoWay };
        let probe = probe(host, (address, self.probe_port), &nonce, &shown);
        match tokio::time::timeout(PATIENCE, probe).await {
            Ok(Ok(true)) => Look::CameBack,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NetworkUnreachable => Look::NoWay,
            _ => Look::Elsewhere,
        }
    }
}

/// What a look at an address says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    CameBack,
    /// From this machine there is no way to it.
    NoWay,
    Elsewhere,
}

/// What the operator reads of addresses that seem to be somebody else's.
fn warning(foreign: &[&IpAddr]) -> String {
    let v6 = foreign.iter().any(|address| address.is_ipv6());
    let why = if v6 { " (authorities and browsers take IPv6 first)" } else { "" };
    format!(
        "also resolves to {}, where this gateway was not found{why}: correct its DNS, or name the addresses in \
         `edge.public_addresses` if they lead to this machine",
        listed(foreign.iter().copied())
    )
}

fn listed<'a>(addresses: impl ExactSizeIterator<Item = &'a IpAddr>) -> String {
    let more = addresses.len() > SHOWN_MAX;
    let mut list: Vec<_> = addresses.take(SHOWN_MAX).map(ToString::to_string).collect();
    if more {
        list.push("…".to_owned());
    }
    list.join(", ")
}

/// The addresses that this machine's interfaces have. (Which can be bound says nothing: `ip_nonlocal_bind` lets any be.)
fn interfaces() -> Vec<IpAddr> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let storages = all.filter_map(|interface| interface.address);
    let addresses = storages.filter_map(|storage| {
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    addresses.map(|address| address.to_canonical()).collect()
}

async fn probe(host: &str, place: (IpAddr, u16), nonce: &str, shown: &Shown) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(place).await?;
    let request = format!(
        "GET /.well-known/gateway/{nonce} HTTP/1.1\r\nhost: {host}\r\nuser-agent: gateway\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 512];
    // Whatever it answers: what counts is whether we were asked.
    let _bytes = stream.read(&mut head).await?;
    Ok(shown.was_seen())
}

fn name_server(server: &NameServer) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.0.port();
    }
    NameServerConfig::new(server.0.ip(), true, connections)
}

fn set(options: &mut ResolverOpts) {
    options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    options.timeout = PATIENCE / 2;
    options.attempts = 2;
    // The authority asks the world; our own list of hosts says nothing about that.
    options.use_hosts_file = ResolveHosts::Never;
    // Somebody who has just corrected a record wants to see it, and one look an hour is no load.
    options.cache_size = 0;
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn knowing(public: &[&str], loopback_counts: bool) -> Whereabouts {
        let public: Vec<IpAddr> = public.iter().map(|address| address.parse().unwrap()).collect();
        let nobody: NameServer = "127.0.0.1:9".parse().unwrap();
        Whereabouts::new(&[nobody], &public, loopback_counts).unwrap()
    }

    #[tokio::test]
    async fn an_address_is_ours_if_an_interface_has_it_or_the_operator_says_so() {
        let whereabouts = knowing(&["192.0.2.7", "2001:db8::7"], false);
        for (address, ours) in [
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::7", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("0.0.0.0", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(whereabouts.is_ours(address, &interfaces()), ours, "{address}");
        }
        let own: Vec<IpAddr> = vec!["198.51.100.7".parse().unwrap()];
        assert!(whereabouts.is_ours(own[0], &own));
        assert!(!whereabouts.is_ours("198.51.100.8".parse().unwrap(), &own));
        assert!(knowing(&[], true).is_ours("127.0.0.1".parse().unwrap(), &[]));
        // Loopback is one that every machine has; what nobody has is none, whatever can be bound.
        assert!(interfaces().contains(&"127.0.0.1".parse().unwrap()));
        assert!(!interfaces().contains(&"0.0.0.0".parse().unwrap()));
    }

    /// Answers one request as port 80 of an edge with these challenges.
    async fn one_answer(listener: TcpListener, challenges: Arc<Challenges>) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 1024];
        let bytes = stream.read(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..bytes]).into_owned();
        let path = head.split(' ').nth(1).unwrap();
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned);
        let answer = challenges.answer(path, || host).unwrap_or_default();
        stream.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{answer}").as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn a_look_at_ourselves_succeeds_only_if_it_comes_back_to_this_process() {
        let mine = Arc::new(Challenges::default());
        for (answering, look) in [(mine.clone(), Look::CameBack), (Arc::default(), Look::Elsewhere)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut whereabouts = knowing(&[], false);
            whereabouts.probe_port = listener.local_addr().unwrap().port();
            let address = "127.0.0.1".parse().unwrap();
            let probe = whereabouts.look("a.example", address, &mine);
            let (seen, ()) = tokio::join!(probe, one_answer(listener, answering));
            assert_eq!(seen, look);
        }
    }

    #[tokio::test]
    async fn every_address_of_both_families_is_tried_and_each_is_judged_by_itself() {
        let mine = Arc::new(Challenges::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut whereabouts = knowing(&[], false);
        whereabouts.probe_port = listener.local_addr().unwrap().port();
        // The first of each family leads nowhere, as IPv6 does from a machine that has none.
        let others: Vec<IpAddr> =
            ["::1", "127.0.0.3", "127.0.0.1"].map(|address| address.parse().unwrap()).into();
        let look_at = whereabouts.look_at("a.example", &others, &mine);
        let (looks, ()) = tokio::join!(look_at, one_answer(listener, mine.clone()));
        let came: Vec<_> =
            looks.iter().filter(|(_, look)| *look == Look::CameBack).map(|(address, _)| *address).collect();
        assert_eq!((looks.len(), came), (3, vec![others[2]]));
        let looks = whereabouts.look_at("a.example", &others, &mine).await;
        assert!(looks.iter().all(|(_, look)| *look != Look::CameBack), "nobody listens any more: {looks:?}");
        // Four of each family at most.
        let many: Vec<IpAddr> = (1..=9).map(|n| format!("127.0.1.{n}").parse().unwrap()).collect();
        assert_eq!(whereabouts.look_at("a.example", &many, &mine).await.len(), PROBED_OF_A_FAMILY_MAX);
    }

    #[test]
    fn addresses_of_somebody_else_are_named_and_not_endlessly() {
        let many: Vec<IpAddr> = (1..=9).map(|n| format!("192.0.2.{n}").parse().unwrap()).collect();
        let text = warning(&many.iter().collect::<Vec<_>>());
        assert!(
            text.starts_with("also resolves to 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, …, where"),
            "{text}"
        );
        assert!(!text.contains("IPv6") && warning(&[&"::2".parse().unwrap()]).contains("IPv6 first"));
    }

    #[tokio::test]
    async fn a_host_that_cannot_be_looked_up_does_not_lead_here() {
        let why = knowing(&[], true).leads_here("a.example", &Arc::default()).await.unwrap_err();
        assert!(why.contains("looked up"), "{why}");
    }
}

//! Tunnels that end on this machine and arrive in no port which anybody listens on: 6in4, GRE, IPIP, IPsec, and VXLAN whose
//! other end is known. Whoever drops what is not named must name what carries them. Pure but for `ends`.

use std::{collections::BTreeSet, net::IpAddr};

use serde::Serialize;
use serde_json::Value;

use crate::bootstrap::{
    machine,
    ruleset::{Arrives, Carrier},
};

/// IPv4, IPv6 and MPLS in IP.
const IPIP: u8 = 4;
const IPV6: u8 = 41;
const MPLS: u8 = 137;
const GRE: u8 = 47;
/// IPsec, and where its keys are exchanged and what it hides in behind NAT.
const ESP: u8 = 50;
const AH: u8 = 51;
const IKE: [u16; 2] = [500, 4500];

/// How IPsec is called, which has no interface.
const IPSEC: &str = "IPsec";

/// One that ends here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TunnelEnd {
    /// Its interface, or what it is.
    pub(crate) device: String,
    /// What it arrives in.
    pub(crate) carriers: BTreeSet<Carrier>,
}

/// All of them.
pub(in crate::bootstrap) fn ends() -> Vec<TunnelEnd> {
    ends_in(&machine::hear(&["ip", "-j", "-d", "address"]), &machine::hear(&["ip", "xfrm", "state"]))
}

/// What all of them arrive in.
pub(in crate::bootstrap) fn carriers(ends: &[TunnelEnd]) -> BTreeSet<Carrier> {
    ends.iter().flat_map(|end| end.carriers.iter().copied()).collect()
}

fn ends_in(interfaces: &str, associations: &str) -> Vec<TunnelEnd> {
    let interfaces: Value = serde_json::from_str(interfaces).unwrap_or_default();
    let interfaces = interfaces.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut ends: Vec<TunnelEnd> = interfaces.iter().filter_map(of_interface).collect();
    let own: BTreeSet<IpAddr> = interfaces.iter().flat_map(addresses).collect();
    let carriers = of_ipsec(associations, &own);
    if !carriers.is_empty() {
        ends.push(TunnelEnd { device: IPSEC.to_owned(), carriers });
    }
    ends
}

fn addresses(interface: &Value) -> impl Iterator<Item = IpAddr> + '_ {
    let all = interface["addr_info"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(|one| one["local"].as_str()?.parse().ok())
}

/// Those that the kernel makes with its module (`sit0`, `gre0`) are down unless somebody uses them.
fn of_interface(interface: &Value) -> Option<TunnelEnd> {
    let up = interface["flags"].as_array()?.iter().any(|flag| flag == "UP");
    let (info, data) = (&interface["linkinfo"], &interface["linkinfo"]["info_data"]);
    let remote = |key: &str| data[key].as_str().and_then(|text| text.parse::<IpAddr>().ok());
    let from = remote("remote").or_else(|| remote("remote6"));
    let arrives: Vec<Arrives> =
        match (info["info_kind"].as_str()?, data["proto"].as_str().unwrap_or_default()) {
            ("sit", "ip6ip") | ("ip6tnl", "ip6ip6") => vec![Arrives::Protocol(IPV6)],
            ("sit", "ipip") | ("ipip", "ipip") | ("ip6tnl", "ipip6") => vec![Arrives::Protocol(IPIP)],
            ("sit" | "ipip", "mplsip") => vec![Arrives::Protocol(MPLS)],
            ("ipip", _) => vec![Arrives::Protocol(IPIP)],
            ("sit" | "ip6tnl", _) => vec![Arrives::Protocol(IPIP), Arrives::Protocol(IPV6)],
            ("gre" | "gretap" | "erspan" | "ip6gre" | "ip6gretap" | "ip6erspan", _) => {
                vec![Arrives::Protocol(GRE)]
            }
            ("vti" | "vti6", _) => [ESP, AH].map(Arrives::Protocol).to_vec(),
            // Whose other end is not known listens on a port for everybody, as others do.
            ("vxlan" | "geneve", _) => {
                from?;
                vec![Arrives::Udp(data["port"].as_u64()?.try_into().ok()?)]
            }
            _ => return None,
        };
    let carriers = arrives.into_iter().map(|arrives| Carrier { arrives, from }).collect();
    let device = interface["ifname"].as_str()?.to_owned();
    up.then_some(TunnelEnd { device, carriers })
}

/// `src 198.51.100.9 dst 203.0.113.9` and, in the lines below it, `proto esp spi …` and perhaps `encap type espinudp sport 4500
/// dport 4500 …`: what comes to one of our addresses.
fn of_ipsec(text: &str, own: &BTreeSet<IpAddr>) -> BTreeSet<Carrier> {
    let mut states: Vec<(IpAddr, Option<Arrives>)> = Vec::new();
    let mut ours = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["src", src, "dst", dst, ..] = words[..] {
            let from = src.parse::<IpAddr>().ok().filter(|_| dst.parse().is_ok_and(|dst| own.contains(&dst)));
            ours = from.is_some();
            states.extend(from.map(|from| (from, None)));
        }
        let Some((_, arrives)) = states.last_mut().filter(|_| ours) else { continue };
        match words[..] {
            ["proto", "esp", ..] => *arrives = Some(Arrives::Protocol(ESP)),
            ["proto", "ah", ..] => *arrives = Some(Arrives::Protocol(AH)),
            // Behind NAT there are datagrams alone.
            ["encap", "type", kind, "sport", _, "dport", port, ..] if kind.starts_with("espinudp") => {
                *arrives = port.parse().ok().map(Arrives::Udp).or(*arrives);
            }
            _ => {}
        }
    }
    let carriers = |(from, arrives): (IpAddr, Option<Arrives>)| {
        let all = arrives.into_iter().flat_map(|arrives| [arrives].into_iter().chain(IKE.map(Arrives::Udp)));
        all.map(move |arrives| Carrier { arrives, from: Some(from) })
    };
    states.into_iter().flat_map(carriers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_each_tunnel_is_known_by_its_kind_and_its_other_end() {
        let interfaces = include_str!("../../../tests/data/bootstrap/ip-address.json");
        let associations = include_str!("../../../tests/data/bootstrap/ip-xfrm-state");
        let told: Vec<String> = ends_in(interfaces, associations)
            .into_iter()
            .map(|end| {
                let carriers: Vec<String> = end.carriers.iter().map(ToString::to_string).collect();
                format!("{}: {}", end.device, carriers.join(" "))
            })
            .collect();
        assert_eq!(
            told,
            [
                "he-ipv6: ipv6@216.66.80.30",
                "mgmt: gre@198.51.100.20",
                "both: ipip@any ipv6@any",
                "six: ipip@2001:db8::9",
                "vx: 4789/udp@198.51.100.30",
                "IPsec: esp@198.51.100.9 500/udp@198.51.100.9 500/udp@198.51.100.40 4500/udp@198.51.100.9 4500/udp@198.51.100.40",
            ]
        );
        assert_eq!(ends_in("", "nonsense"), []);
    }
}

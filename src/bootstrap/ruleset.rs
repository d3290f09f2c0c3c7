//! The rules of our own table, `inet gateway`, as nft reads them. Pure: what shall be goes in, text comes out. It names no
//! other table, and lets nothing in that is not named.

mod carrier;
mod open_port;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    carrier::{Arrives, Carrier},
    open_port::OpenPort,
    wanted::Wanted,
};

/// What the firewall lets in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Firewall {
    /// Ports of SSH.
    pub(crate) ssh: BTreeSet<u16>,
    /// Ports of the edge.
    pub(crate) edge: BTreeSet<u16>,
    /// Ports that the operator opened.
    #[serde(default)]
    pub(crate) opened: BTreeSet<OpenPort>,
    /// What tunnels that end here arrive in.
    #[serde(default)]
    pub(crate) carriers: BTreeSet<Carrier>,
    /// Addresses that are never slowed down.
    #[serde(default)]
    pub(crate) admins: BTreeSet<IpNet>,
    /// Addresses that are never let in.
    #[serde(default)]
    pub(crate) denied: BTreeSet<IpNet>,
    /// Where new connections to a port are led instead: the cut-over from what stood there before.
    #[serde(default)]
    pub(crate) led: BTreeMap<u16, u16>,
    /// Connections were led once: those that are open still need the chain that translates addresses, rules or none.
    #[serde(default)]
    pub(crate) was_led: bool,
    /// Somebody else filters: only `led` is ours.
    #[serde(default)]
    pub(crate) bare: bool,
}

impl Firewall {
    /// The edge listens on these now. What was led to one that it has no more would be refused there.
    pub(crate) fn listen(&mut self, edge: BTreeSet<u16>) {
        self.led.retain(|_, to| edge.contains(to));
        self.edge = edge;
    }

    /// Is that let in, from there or from anywhere?
    pub(crate) fn lets_in(&self, carrier: &Carrier) -> bool {
        let for_everybody = match carrier.arrives {
            Arrives::Udp(port) => self.opened.iter().any(|open| open.holds(&OpenPort::one(port, true))),
            Arrives::Protocol(_) => self.carriers.contains(&Carrier { from: None, ..*carrier }),
        };
        for_everybody || self.carriers.contains(carrier)
    }

    /// What is open besides and has ports in common with this: to close the one leaves the other open.
    pub(crate) fn meeting(&self, port: &OpenPort) -> Vec<String> {
        let meets = |one: &u16| port.meets(&OpenPort::one(*one, false));
        let named = |set: &BTreeSet<u16>, what: &str| {
            set.iter().copied().filter(meets).map(|one| format!("{one}/tcp ({what})")).collect::<Vec<_>>()
        };
        let opened = self.opened.iter().filter(|other| *other != port && other.meets(port));
        let opened = opened.map(OpenPort::to_string).collect();
        [named(&self.ssh, "SSH"), named(&self.edge, "the edge"), opened].concat()
    }

    /// What is not let in yet is, until so many rules let tunnels in.
    pub(crate) fn carry(&mut self, found: &BTreeSet<Carrier>, most: usize) {
        // What comes from anywhere stands before what comes from somewhere, and makes that needless.
        for carrier in found {
            if self.carriers.len() < most && !self.lets_in(carrier) {
                self.carriers.insert(*carrier);
            }
        }
    }
}

/// Rules for tunnels that are made by themselves. Each is looked at for each first packet, and a server of IPsec has as many ends
/// as customers: beyond that they are let in from anywhere, by order.
pub(super) const CARRIERS_FOLLOWED_MAX: usize = 256;

/// New connections to SSH from one address in a minute. People open a few; tools that configure machines open a dozen at
/// once; who guesses passwords opens hundreds. By source, never over all: nobody can use up another's.
const SSH_PER_MINUTE: u32 = 30;
/// Sources remembered for that at a time. Older ones are forgotten after a minute without a connection.
const SSH_SOURCES_MAX: u32 = 65_535;

/// How the chain of the cut-over begins.
const CUTOVER: &str = "chain cutover";

/// Take the table away, if it is there. `add` first, since deleting one that is not there is an error.
pub(super) const GONE: &str = "add table inet gateway\ndelete table inet gateway\n";

/// The whole file: one transaction that replaces our table and touches no other.
pub(super) fn text(firewall: &Firewall) -> String {
    let opened = |udp: bool| firewall.opened.iter().filter_map(move |port| port.range(udp));
    let tcp = apart(firewall.edge.iter().map(|port| (*port, *port)).chain(opened(false)).collect());
    let udp = apart(opened(true).collect());
    let mut rules = vec![
        "ct state established,related accept".to_owned(),
        "ct state invalid drop".to_owned(),
        "iif \"lo\" accept".to_owned(),
        "icmp type { echo-request, destination-unreachable, time-exceeded, parameter-problem } accept".to_owned(),
        // Without these IPv6 finds no neighbours, no router and no path.
        "icmpv6 type { echo-request, destination-unreachable, packet-too-big, time-exceeded, parameter-problem, \
         nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query } accept"
            .to_owned(),
        "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept".to_owned(),
        "udp sport 67 udp dport 68 accept".to_owned(),
        "ip saddr @denied4 drop".to_owned(),
        "ip6 saddr @denied6 drop".to_owned(),
    ];
    if !firewall.ssh.is_empty() {
        let ports = set(&apart(firewall.ssh.iter().map(|port| (*port, *port)).collect()));
        let limit = format!("limit rate over {SSH_PER_MINUTE}/minute burst {SSH_PER_MINUTE} packets");
        // A customer has a /64 of IPv6 at least: one address more or less is the same caller.
        let network = "ip6 saddr and ffff:ffff:ffff:ffff::";
        rules.push(format!("tcp dport {ports} ip saddr @admin4 accept"));
        rules.push(format!("tcp dport {ports} ip6 saddr @admin6 accept"));
        rules.push(format!("tcp dport {ports} ct state new add @ssh4 {{ ip saddr {limit} }} drop"));
        rules.push(format!("tcp dport {ports} ct state new add @ssh6 {{ {network} {limit} }} drop"));
        rules.push(format!("tcp dport {ports} accept"));
    }
    if !tcp.is_empty() {
        rules.push(format!("tcp dport {} accept", set(&tcp)));
    }
    if !udp.is_empty() {
        rules.push(format!("udp dport {} accept", set(&udp)));
    }
    rules.extend(firewall.carriers.iter().map(Carrier::rule));
    let mut text =
        format!("# Written by `gateway`; change it with `gateway firewall`.\n{GONE}table inet gateway {{\n");
    for (name, nets) in [("admin", &firewall.admins), ("denied", &firewall.denied)] {
        text += &addresses(&format!("{name}4"), "ipv4_addr", nets.iter().filter(|net| net.addr().is_ipv4()));
        text += &addresses(&format!("{name}6"), "ipv6_addr", nets.iter().filter(|net| net.addr().is_ipv6()));
    }
    for (name, kind) in [("ssh4", "ipv4_addr"), ("ssh6", "ipv6_addr")] {
        text += &format!(
            "    set {name} {{\n        type {kind}\n        size {SSH_SOURCES_MAX}\n        flags dynamic,timeout\n        timeout 1m\n    }}\n"
        );
    }
    if firewall.was_led || !firewall.led.is_empty() {
        text += &redirects(&firewall.led);
    }
    if firewall.bare {
        return text + "}\n";
    }
    text += "    chain input {\n        type filter hook input priority filter; policy drop;\n";
    for rule in rules {
        text += &format!("        {rule}\n");
    }
    text + "    }\n}\n"
}

/// A chain that leads nobody, added to whatever stands in the table. The kernel translates the addresses of open connections
/// for as long as there is any chain of this kind; with the last one gone, what was led would be reset.
pub(super) fn leading_nobody() -> String {
    format!("table inet gateway {{\n{}}}\n", redirects(&BTreeMap::new()))
}

/// Address translation decides at the first packet of a connection alone: those that are open stay where they are. Of one
/// that is open already when the kernel begins to follow connections, the first packet that it sees is no SYN.
fn redirects(led: &BTreeMap<u16, u16>) -> String {
    let mut text =
        format!("    {CUTOVER} {{\n        type nat hook prerouting priority dstnat; policy accept;\n");
    for (from, to) in led {
        text += &format!(
            "        fib daddr type local tcp dport {from} tcp flags & (fin | syn | rst | ack) == syn redirect to :{to}\n"
        );
    }
    text + "    }\n"
}

/// Rules or a listing of them without those that lead anywhere; the chain that they stood in stays, for connections that are open.
pub(super) fn without_leading(rules: &str) -> String {
    rules.lines().filter(|line| !line.contains(" redirect to :")).map(|line| format!("{line}\n")).collect()
}

/// The first thing that differs between what was listed then and what is listed now, in nft's own words.
pub(super) fn difference(then: &str, now: &str) -> Option<String> {
    let only = |of: &str, not: &str| {
        let line = of.lines().find(|line| !not.lines().any(|other| other.trim() == line.trim()))?;
        Some(line.trim().to_owned())
    };
    let new = only(now, then).map(|line| format!("`{line}` is new"));
    new.or_else(|| only(then, now).map(|line| format!("`{line}` is gone")))
        // The same lines in another order, or another number of times.
        .or_else(|| (then != now).then(|| "their order is another".to_owned()))
}

/// First and last ports without overlaps, of which nft wants none.
fn apart(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut apart: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match apart.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => apart.push((first, last)),
        }
    }
    apart
}

fn set(ranges: &[(u16, u16)]) -> String {
    let shown = |(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    format!("{{ {} }}", ranges.iter().map(shown).collect::<Vec<_>>().join(", "))
}

fn addresses<'n>(name: &str, kind: &str, nets: impl Iterator<Item = &'n IpNet>) -> String {
    let shown: Vec<String> = IpNet::aggregate(&nets.copied().collect()).iter().map(net_shown).collect();
    let elements = match &shown[..] {
        [] => String::new(),
        some => format!("        elements = {{ {} }}\n", some.join(", ")),
    };
    format!("    set {name} {{\n        type {kind}\n        flags interval\n{elements}    }}\n")
}

/// A host without its prefix.
fn net_shown(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.trunc().to_string() }
}

/// A listing of the table without what comes and goes: the sources that were seen at SSH, and the chain of a cut-over
/// that leads nobody any more.
pub(super) fn steady(listing: &str) -> String {
    let mut kept = String::new();
    let (mut seen, mut inside) = (false, false);
    for line in listing.lines() {
        let words = line.trim();
        if words.starts_with("set ") {
            seen = words.starts_with("set ssh4") || words.starts_with("set ssh6");
        }
        inside |= seen && words.starts_with("elements = {");
        if inside {
            inside = !words.ends_with('}');
            continue;
        }
        kept += line;
        kept.push('\n');
    }
    let Some((before, rest)) = kept.split_once(&format!("\t{CUTOVER} {{\n")) else { return kept };
    let (chain, after) = rest.split_once("\t}\n").unwrap_or((rest, ""));
    if chain.contains("redirect") {
        return kept;
    }
    // An empty line stands between two chains, and none after the last.
    let after = after.strip_prefix('\n').unwrap_or(after);
    let before = if after == "}\n" { before.strip_suffix('\n').unwrap_or(before) } else { before };
    format!("{before}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_those_on_file() {
        let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect();
        let full = Firewall {
            ssh: [22, 2222].into(),
            edge: [80, 443].into(),
            opened: ["51820/udp", "8080"].iter().map(|port| port.parse().unwrap()).collect(),
            admins: nets(&["198.51.100.7/32", "2001:db8::/48"]),
            denied: nets(&["192.0.2.0/24"]),
            carriers: ["ipv6@192.0.2.1", "gre@2001:db8::1", "4500/udp@198.51.100.9", "ipip@any"]
                .map(|carrier| carrier.parse().unwrap())
                .into(),
            led: [(443, 8443)].into(),
            was_led: false,
            bare: false,
        };
        let want = include_str!("../../tests/data/bootstrap/expected/rules.nft");
        assert_eq!(text(&full), want);
        let bare = text(&Firewall { bare: true, led: [(80, 8080)].into(), ..Firewall::default() });
        assert!(
            bare.contains("tcp dport 80 tcp flags & (fin | syn | rst | ack) == syn redirect to :8080")
                && !bare.contains("policy drop"),
            "{bare}"
        );
        let over = text(&Firewall { was_led: true, ..Firewall::default() });
        assert!(over.contains("chain cutover") && !over.contains("redirect"), "{over}");
        assert!(leading_nobody().contains("chain cutover"));
        let none = text(&Firewall::default());
        assert!(!none.contains("cutover"), "{none}");
        assert!(!none.contains("dport {") && none.contains("policy drop"), "{none}");
    }

    #[test]
    fn ranges_stand_in_the_rules_without_overlaps_and_what_overlaps_is_named() {
        let ports = |list: &[&str]| list.iter().map(|port| port.parse().unwrap()).collect();
        let firewall = Firewall {
            ssh: [22].into(),
            edge: [443, 8005].into(),
            opened: ports(&["8000-8010", "8008-8020", "9000", "5000-5100/udp", "8007/udp"]),
            ..Firewall::default()
        };
        let rules = text(&firewall);
        assert!(rules.contains("tcp dport { 443, 8000-8020, 9000 } accept"), "{rules}");
        assert!(rules.contains("udp dport { 5000-5100, 8007 } accept"), "{rules}");
        let meeting = |port: &str| firewall.meeting(&port.parse().unwrap()).join(", ");
        assert_eq!(meeting("8000-8010"), "8005/tcp (the edge), 8008-8020/tcp");
        assert_eq!(meeting("20-30"), "22/tcp (SSH)");
        assert_eq!(meeting("9000"), "");
        let within = "5050/udp@192.0.2.1".parse().unwrap();
        assert!(firewall.lets_in(&within), "the range is open to everybody");
    }

    #[test]
    fn what_comes_and_goes_is_left_out_of_a_listing() {
        let listing = "table inet gateway {\n\tset admin4 {\n\t\ttype ipv4_addr\n\t\telements = { 1.2.3.4 }\n\t}\n\
                       \tset ssh4 {\n\t\ttype ipv4_addr\n\t\telements = { 5.6.7.8 limit rate over 30/minute,\n\
                       \t\t\t     9.9.9.9 expires 3s }\n\t}\n}\n";
        let kept = steady(listing);
        assert!(kept.contains("1.2.3.4") && kept.contains("set ssh4"), "{kept}");
        assert!(!kept.contains("5.6.7.8") && !kept.contains("9.9.9.9"), "{kept}");
        assert_eq!(kept.matches('{').count(), kept.matches('}').count(), "{kept}");
    }

    #[test]
    fn a_chain_that_leads_nobody_is_no_difference() {
        let table = |chains: &str| format!("table inet gateway {{\n{chains}}}\n");
        let input = "\tchain input {\n\t\ttype filter hook input;\n\t}\n";
        let idle = "\tchain cutover {\n\t\ttype nat hook prerouting;\n\t}\n";
        assert_eq!(steady(&table(&format!("{idle}\n{input}"))), table(input));
        assert_eq!(steady(&table(&format!("{input}\n{idle}"))), table(input));
        let leads =
            table(&format!("\tchain cutover {{\n\t\ttcp dport 443 redirect to :8443\n\t}}\n\n{input}"));
        assert_eq!(steady(&leads), leads);
    }

    #[test]
    fn without_what_leads_rules_are_those_that_lead_nobody() {
        let led =
            Firewall { led: [(443, 8443)].into(), was_led: true, ssh: [22].into(), ..Firewall::default() };
        let back = Firewall { led: BTreeMap::new(), ..led.clone() };
        assert_eq!(without_leading(&text(&led)), text(&back));
    }

    #[test]
    fn what_somebody_else_has_changed_is_named() {
        let then = "table inet gateway {\n\t\ttcp dport 22 accept\n\t\ttcp dport 80 accept\n}\n";
        let more = then.replace("dport 80", "dport { 80, 9999 }");
        assert_eq!(difference(then, &more).as_deref(), Some("`tcp dport { 80, 9999 } accept` is new"));
        let less = then.replace("\t\ttcp dport 22 accept\n", "");
        assert_eq!(difference(then, &less).as_deref(), Some("`tcp dport 22 accept` is gone"));
        assert_eq!(difference(then, then), None);
    }

    #[test]
    fn what_is_let_in_from_anywhere_is_let_in_from_there() {
        let carrier = |text: &str| text.parse::<Carrier>().unwrap();
        let firewall = Firewall {
            opened: ["4500/udp", "47"].iter().map(|port| port.parse().unwrap()).collect(),
            carriers: ["gre@any", "esp@192.0.2.1"].map(carrier).into(),
            ..Firewall::default()
        };
        for (text, want) in [
            ("gre@192.0.2.1", true),
            ("gre@2001:db8::1", true),
            ("gre@any", true),
            ("esp@192.0.2.1", true),
            ("esp@192.0.2.2", false),
            ("esp@any", false),
            ("4500/udp@192.0.2.1", true),
            ("500/udp@192.0.2.1", false),
            ("47/udp@192.0.2.1", false),
        ] {
            assert_eq!(firewall.lets_in(&carrier(text)), want, "{text}");
        }
        let mut more = firewall.clone();
        more.carry(&["gre@192.0.2.1", "4500/udp@192.0.2.1"].map(carrier).into(), usize::MAX);
        assert_eq!(more, firewall, "needless");
        more.carry(&["ah@any", "ah@192.0.2.1", "ipip@192.0.2.1", "mpls@192.0.2.1"].map(carrier).into(), 4);
        let shown: Vec<String> = more.carriers.iter().map(Carrier::to_string).collect();
        assert_eq!(shown, ["ipip@192.0.2.1", "gre@any", "esp@192.0.2.1", "ah@any"]);
    }
}

//! What firewalld lets in: strangers meet the zones of the interfaces that lead outside, and whatever any zone may let in is its
//! owner's business. Pure but for the questions.

use std::{collections::BTreeSet, ops::RangeInclusive};

use super::{
    machine,
    ruler::{Ruler, Ruling},
};

/// By its zones, as they are now and after every reload.
pub(super) fn ruling(asked: &BTreeSet<u16>) -> Ruling {
    let outside = outside();
    let active = active_zones(&ask(&["--get-active-zones"]));
    let zone = |name: &String| Zone::now(&[&format!("--zone={name}")]);
    let all: Vec<Zone> = active.union(&outside).chain([&default_zone()]).map(zone).collect();
    let now: Vec<Zone> = outside.iter().map(zone).collect();
    let lasting = outside.iter().map(|name| Zone::now(&["--permanent", &format!("--zone={name}")]));
    let met: Vec<Zone> = now.into_iter().chain(lasting).collect();
    of(&met, &all, asked)
}

/// The zones that who comes from outside meets: those of the interfaces that the machine's way out leads through.
pub(in crate::bootstrap) fn outside() -> BTreeSet<String> {
    let interfaces = leading_out(&machine::text("/proc/net/route"), &machine::text("/proc/net/ipv6_route"));
    let zone = |interface: &String| ask(&[&format!("--get-zone-of-interface={interface}")]);
    let mut zones: BTreeSet<String> =
        interfaces.iter().map(zone).map(|zone| zone.trim().to_owned()).collect();
    // An interface that is in no zone is in this one.
    if zones.remove("") || zones.is_empty() {
        zones.insert(default_zone());
    }
    zones
}

fn default_zone() -> String {
    ask(&["--get-default-zone"]).trim().to_owned()
}

fn ask(words: &[&str]) -> String {
    machine::hear(&[&["firewall-cmd"], words].concat())
}

/// By the zones that strangers meet, and all that anybody meets.
fn of(met: &[Zone], all: &[Zone], asked: &BTreeSet<u16>) -> Ruling {
    let named = met.iter().flat_map(|zone| &zone.ports).filter(|range| range.start() == range.end());
    let ports: BTreeSet<u16> = named.map(|range| *range.start()).chain(asked.iter().copied()).collect();
    let open = ports.iter().copied().filter(|port| met.iter().all(|zone| zone.opens(*port)));
    let admitted = ports.iter().copied().filter(|port| all.iter().any(|zone| zone.may_admit(*port)));
    Ruling { open: open.collect(), admitted: admitted.collect(), ..Ruling::by(Ruler::Firewalld) }
}

/// A zone.
#[derive(Debug, Default, PartialEq, Eq)]
struct Zone {
    ports: Vec<RangeInclusive<u16>>,
    services: BTreeSet<String>,
    /// It lets in whatever it does not refuse.
    accepts: bool,
    /// It has rules that may let somebody in anywhere.
    guards: bool,
}

impl Zone {
    fn now(which: &[&str]) -> Self {
        let mut zone = Self::listed(&ask(&[which, &["--list-all"]].concat()));
        let mut waiting = zone.services.clone();
        while let Some(service) = waiting.pop_first() {
            let Self { ports, services, .. } = Self::listed(&ask(&[&format!("--info-service={service}")]));
            zone.ports.extend(ports);
            waiting.extend(services.difference(&zone.services).cloned());
            zone.services.extend(services);
        }
        zone
    }

    /// What `--list-all` says of a zone, and `--info-service` of a service: that includes others. Pure.
    fn listed(text: &str) -> Self {
        let mut zone = Self::default();
        for line in text.lines().map(str::trim) {
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            match (key, value.trim()) {
                ("target", value) => zone.accepts = value == "ACCEPT",
                ("services" | "includes", value) => {
                    zone.services.extend(value.split_whitespace().map(str::to_owned));
                }
                ("ports", value) => zone.ports.extend(value.split_whitespace().filter_map(range)),
                ("protocols" | "source-ports", value) => zone.guards |= value.contains("tcp"),
                _ => zone.guards |= line.starts_with("rule ") && line.contains(" accept"),
            }
        }
        zone
    }

    fn opens(&self, port: u16) -> bool {
        self.accepts || self.ports.iter().any(|range| range.contains(&port))
    }

    fn may_admit(&self, port: u16) -> bool {
        self.guards || self.opens(port)
    }
}

/// `8443/tcp` and `60000-61000/tcp`.
fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let ports = word.strip_suffix("/tcp")?;
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

/// Each zone's name stands at the beginning of a line, and what it is bound to below it.
fn active_zones(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter(|line| !line.starts_with(char::is_whitespace));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The interfaces of the default routes, in `/proc/net/route` and `/proc/net/ipv6_route`.
fn leading_out(four: &str, six: &str) -> BTreeSet<String> {
    fn interface<'t>(line: &'t str, none: &[(usize, &str)], at: usize) -> Option<&'t str> {
        let words: Vec<&str> = line.split_whitespace().collect();
        none.iter().all(|(at, value)| words.get(*at) == Some(value)).then_some(())?;
        // The kernel's own entry for what leads nowhere.
        words.get(at).copied().filter(|interface| *interface != "lo")
    }
    let four = four.lines().filter_map(|line| interface(line, &[(1, "00000000"), (7, "00000000")], 0));
    let none = "00000000000000000000000000000000";
    let six = six.lines().filter_map(|line| interface(line, &[(0, none), (1, "00")], 9));
    four.chain(six).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = include_str!("../../../tests/data/bootstrap/firewalld-list");

    #[test]
    fn a_zone_names_services_ports_and_rules() {
        let zone = Zone::listed(PUBLIC);
        assert_eq!(zone.ports, [8443..=8443, 9000..=9010]);
        assert_eq!(zone.services, ["dhcpv6-client", "http"].map(str::to_owned).into());
        assert!(zone.guards && !zone.accepts);
        let service = Zone::listed("ssh\n  ports: 22/tcp\n  protocols: \n  includes: other\n  helpers: \n");
        assert_eq!((service.ports, service.services), (vec![22..=22], ["other".to_owned()].into()));
        assert!(Zone::listed("trusted (active)\n  target: ACCEPT\n").accepts);
        let refuses = "drop\n  target: DROP\n  rich rules: \n\trule service name=\"ssh\" reject\n";
        assert_eq!(Zone::listed(refuses), Zone::default());
        assert!(Zone::listed("vpn\n  protocols: tcp\n").guards);
    }

    #[test]
    fn open_is_what_every_zone_outside_opens_and_ssh_may_come_in_by_any() {
        let opens = |ports: &[u16]| Zone {
            ports: ports.iter().map(|port| *port..=*port).collect(),
            ..Zone::default()
        };
        let check = |met: &[Zone], inside: Zone, want: (&[u16], &[u16])| {
            let mut all = vec![inside];
            all.extend(
                met.iter().map(|zone| opens(&zone.ports.iter().map(|p| *p.start()).collect::<Vec<_>>())),
            );
            let is = of(met, &all, &[22, 443].into());
            let set = |ports: &[u16]| ports.iter().copied().collect::<BTreeSet<u16>>();
            assert_eq!((is.open, is.admitted), (set(want.0), set(want.1)), "{met:?}");
        };
        check(&[opens(&[22, 443]), opens(&[443])], Zone::default(), (&[443], &[22, 443]));
        check(&[opens(&[443])], opens(&[22]), (&[443], &[22, 443]));
        check(&[opens(&[443])], Zone { guards: true, ..Zone::default() }, (&[443], &[22, 443]));
        check(&[opens(&[])], opens(&[443]), (&[], &[443]));
        check(&[opens(&[])], Zone { accepts: true, ..Zone::default() }, (&[], &[22, 443]));
    }

    #[test]
    fn the_zones_outside_are_those_of_the_default_routes() {
        let four = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                    eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                    eth1\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                    tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n";
        let none = "00000000000000000000000000000000";
        let six = format!(
            "{none} 00 {none} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth2\n\
             {none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200       lo\n\
             fe800000000000000000000000000000 40 {none} 00 {none} 00000100 00000001 00000000 00000001     eth1\n"
        );
        assert_eq!(leading_out(four, &six), ["eth0", "eth2"].map(str::to_owned).into());
        assert_eq!(leading_out("", ""), BTreeSet::new());
    }

    #[test]
    fn active_zones_are_named_without_what_is_bound_to_them() {
        let text =
            "dmz\n  interfaces: eth1\npublic (default)\n  interfaces: eth0\noffice\n  sources: 10.0.0.0/8\n";
        assert_eq!(active_zones(text), ["dmz", "office", "public"].map(str::to_owned).into());
    }
}

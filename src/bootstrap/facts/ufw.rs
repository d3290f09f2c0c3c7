//! What ufw lets in, as `ufw status verbose` shows it. Pure. A rule that is read too narrowly would have SSH opened to the
//! world that its owner guards, so whatever a rule may cover it covers.

use std::{collections::BTreeSet, ops::RangeInclusive};

use super::ruler::{Ruler, Ruling};

/// Is it in force?
pub(super) fn active(status: &str) -> bool {
    status.lines().any(|line| line.trim() == "Status: active")
}

/// By its rules.
pub(super) fn ruling(status: &str, asked: &BTreeSet<u16>) -> Ruling {
    let rules: Vec<Rule> = status.lines().filter_map(rule).collect();
    let named = rules.iter().flat_map(|rule| &rule.ports).filter(|range| range.start() == range.end());
    let ports: BTreeSet<u16> = named.map(|range| *range.start()).chain(asked.iter().copied()).collect();
    let mut ruling = Ruling::by(Ruler::Ufw);
    for port in ports {
        let concerned = || rules.iter().filter(|rule| rule.ports.iter().any(|range| range.contains(&port)));
        // The first rule that fits decides.
        let decides = concerned().position(|rule| rule.everybody);
        let before = decides.map_or(usize::MAX, |at| at + 1);
        if concerned().take(before).any(|rule| rule.lets_in) {
            ruling.admitted.insert(port);
        }
        match decides.and_then(|at| concerned().nth(at)) {
            Some(rule) if rule.lets_in => ruling.open.insert(port),
            Some(_) => ruling.denied.insert(port),
            None => false,
        };
    }
    ruling
}

/// A rule about TCP.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    ports: Vec<RangeInclusive<u16>>,
    /// What is limited is open.
    lets_in: bool,
    /// From everywhere, over every interface and to every address of the machine.
    everybody: bool,
}

/// `22/tcp (OpenSSH)  LIMIT IN  Anywhere (log)  # comment`. The lines for v6 repeat those for v4.
fn rule(line: &str) -> Option<Rule> {
    let rule = line.split(" # ").next().unwrap_or_default();
    let verbs = [("ALLOW IN", true), ("LIMIT IN", true), ("DENY IN", false), ("REJECT IN", false)];
    let split = |(verb, lets_in)| rule.split_once(verb).map(|(to, from)| (to, from, lets_in));
    let (to, from, lets_in) = verbs.into_iter().find_map(split)?;
    let from = from.trim();
    let from = from.strip_suffix("(log)").or_else(|| from.strip_suffix("(log-all)")).unwrap_or(from).trim();
    let (to, interface) = match to.trim().rsplit_once(" on ") {
        // Not a word of an application's name, which stands in brackets.
        Some((to, interface)) if !interface.contains(')') => (to, Some(interface)),
        _ => (to.trim(), None),
    };
    let to = to.split(" (").next()?.trim();
    // An address of the machine may stand before the ports, or alone.
    let (address, ports) = to.rsplit_once(' ').map_or((None, to), |(address, ports)| (Some(address), ports));
    let (ports, protocol) = without_protocol(ports);
    if [protocol, without_protocol(from).1].into_iter().flatten().any(|protocol| protocol != "tcp") {
        return None;
    }
    let listed = ranges(ports);
    let address = address.is_some() || listed.is_none() && ports != "Anywhere";
    let everybody = from == "Anywhere" && interface.is_none() && !address;
    Some(Rule { ports: listed.unwrap_or_else(|| vec![0..=u16::MAX]), lets_in, everybody })
}

/// `22/tcp`, and not `10.0.0.0/8`.
fn without_protocol(word: &str) -> (&str, Option<&str>) {
    let split = word.rsplit_once('/').filter(|(_, end)| end.starts_with(|c: char| c.is_ascii_alphabetic()));
    split.map_or((word, None), |(rest, protocol)| (rest, Some(protocol)))
}

/// `80,443,8000:8100`.
fn ranges(ports: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let range = |part: &str| {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    ports.split(',').map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &str, want: (&[u16], &[u16], &[u16])) {
        let set = |ports: &[u16]| ports.iter().copied().collect::<BTreeSet<u16>>();
        let is = ruling(rules, &[22, 443].into());
        assert_eq!((is.open, is.admitted, is.denied), (set(want.0), set(want.1), set(want.2)), "{rules}");
    }

    #[test]
    fn ufw_opens_what_everybody_may_reach() {
        let text = include_str!("../../../tests/data/bootstrap/ufw-status");
        assert!(active(text) && !active("Status: inactive\n"));
        // 5432 is for a few, 25 is denied.
        check(text, (&[22, 80, 443, 2200], &[22, 80, 443, 2200, 5432], &[25]));
        let first = "80 DENY IN Anywhere\n80/tcp ALLOW IN Anywhere\n443/tcp ALLOW IN Anywhere\n443 REJECT IN Anywhere\n";
        check(first, (&[443], &[443], &[80]));
        check("443,8000:8100/tcp (Web on all) ALLOW IN Anywhere (log)\n", (&[443], &[443], &[]));
        check("20:30/tcp ALLOW IN Anywhere\n", (&[22], &[22], &[]));
    }

    #[test]
    fn a_rule_for_some_admits_and_never_opens() {
        for rule in [
            "Anywhere on tailscale0     ALLOW IN    Anywhere",
            "Anywhere (v6) on tailscale0 ALLOW IN   Anywhere (v6)",
            "Anywhere                   ALLOW IN    198.51.100.7",
            "Anywhere                   LIMIT IN    198.51.100.7/tcp",
            "203.0.113.9                ALLOW IN    Anywhere",
            "10.0.0.0/8/tcp             ALLOW IN    Anywhere",
            "2001:db8::9                ALLOW IN    Anywhere (v6)",
        ] {
            check(rule, (&[], &[22, 443], &[]));
        }
        for rule in [
            "203.0.113.9 22/tcp         ALLOW IN    Anywhere",
            "203.0.113.9 22/tcp (OpenSSH) ALLOW IN  Anywhere",
            "22 on eth1                 ALLOW IN    Anywhere",
            "20:30/tcp                  ALLOW IN    10.0.0.0/8                 # the office",
        ] {
            check(rule, (&[], &[22], &[]));
        }
        for rule in [
            "Anywhere on tailscale0     ALLOW OUT   Anywhere on tailscale0",
            "22/udp                     ALLOW IN    Anywhere",
            "Anywhere                   ALLOW IN    198.51.100.7/udp",
            "Anywhere/esp               ALLOW IN    Anywhere",
        ] {
            check(rule, (&[], &[], &[]));
        }
    }

    #[test]
    fn what_is_denied_to_everybody_is_told_from_what_some_may_not() {
        check("22/tcp DENY IN Anywhere\n", (&[], &[], &[22]));
        check("Anywhere REJECT IN Anywhere\n443 ALLOW IN Anywhere\n", (&[], &[], &[22, 443]));
        check("22 ALLOW IN 10.0.0.0/8\n22 DENY IN Anywhere\n", (&[], &[22], &[22]));
        check("443 on eth1 DENY IN Anywhere\n443/tcp ALLOW IN Anywhere\n", (&[443], &[443], &[]));
        check("443 DENY IN 192.0.2.1\n443/tcp ALLOW IN Anywhere\n", (&[443], &[443], &[]));
    }
}

//! What filters packets on this machine already: ufw, firewalld, tables of nftables, and Docker's published ports, which
//! no input chain sees. Pure: what the programs print goes in.

use std::{collections::BTreeSet, ops::RangeInclusive};

use serde::Serialize;
use serde_json::Value;

/// Who rules this machine's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ruler {
    /// ufw is active: it is spoken to.
    Ufw,
    /// firewalld runs: it is spoken to.
    Firewalld,
    /// Nobody, or hand-written tables: ours stands beside them.
    Nobody,
}

/// A container's port that is reached from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Published {
    /// The container.
    pub(crate) container: String,
    /// As Docker writes it: `0.0.0.0:5432`; `0.0.0.0:53/udp`.
    pub(crate) address: String,
}

impl Published {
    /// Does it take what is sent to that TCP port?
    pub(crate) fn takes(&self, port: u16) -> bool {
        let ports = self.address.rsplit_once(':').map(|(_, ports)| ports).unwrap_or_default();
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let number = |text: &str| text.parse::<u16>().ok();
        number(first).zip(number(last)).is_some_and(|(first, last)| (first..=last).contains(&port))
    }
}

/// Does `ufw status verbose` say that it is active?
pub(super) fn ufw_active(text: &str) -> bool {
    text.lines().any(|line| line.trim() == "Status: active")
}

/// TCP ports that ufw lets everybody reach, and those that it lets anybody reach at all.
pub(super) fn ufw_open(text: &str) -> (BTreeSet<u16>, BTreeSet<u16>) {
    let (mut open, mut admitted, mut denied) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (ports, lets_in, everybody) in text.lines().filter_map(ufw_rule) {
        // The first rule that fits decides.
        let ports: Vec<u16> = ports.into_iter().filter(|port| !denied.contains(port)).collect();
        match (lets_in, everybody) {
            (true, true) => {
                admitted.extend(&ports);
                open.extend(ports);
            }
            (true, false) => admitted.extend(ports),
            (false, true) => denied.extend(ports.into_iter().filter(|port| !open.contains(port))),
            (false, false) => {}
        }
    }
    (open, admitted)
}

/// `22/tcp (OpenSSH)  LIMIT IN  Anywhere  # comment`: the ports, whether they are let in, and whether that is so
/// for everybody. What is limited is open.
fn ufw_rule(line: &str) -> Option<(Vec<u16>, bool, bool)> {
    let rule = line.split(" # ").next().unwrap_or_default();
    let verbs = [("ALLOW IN", true), ("LIMIT IN", true), ("DENY IN", false), ("REJECT IN", false)];
    let split = |(verb, lets_in)| rule.split_once(verb).map(|(to, from)| (to, from, lets_in));
    let (to, from, lets_in) = verbs.into_iter().find_map(split)?;
    let to = to.split_whitespace().next()?;
    let (ports, protocol) = to.split_once('/').unwrap_or((to, "tcp"));
    let ports = ports.split(',').flat_map(|ports| of_range(ports, ':')).collect();
    // The lines for v6 repeat those for v4.
    (protocol == "tcp").then(|| (ports, lets_in, from.trim() == "Anywhere"))
}

/// TCP ports that firewalld lets everybody reach: what `--list-services` and `--list-ports` print.
pub(super) fn firewalld_open(text: &str) -> BTreeSet<u16> {
    let of_word = |word: &str| match word {
        "ssh" => 22..=22,
        "http" => 80..=80,
        "https" => 443..=443,
        _ => of_range(word.strip_suffix("/tcp").unwrap_or_default(), '-'),
    };
    text.split_whitespace().flat_map(of_word).collect()
}

/// `443`, or `8000:8010` with what stands between the first and the last; nothing of what is neither.
fn of_range(text: &str, between: char) -> RangeInclusive<u16> {
    let (first, last) = text.split_once(between).unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) => first..=last,
        #[expect(clippy::reversed_empty_ranges, reason = "it is empty")]
        _ => 1..=0,
    }
}

/// Tables that are not ours, and whose chains at the input drop what they do not know.
pub(super) fn dropping_tables(json: &str) -> (Vec<String>, Vec<String>) {
    let value: Value = serde_json::from_str(json).unwrap_or_default();
    let items = value["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |of: &Value, key: &str| {
        format!("{} {}", of["family"].as_str().unwrap_or_default(), of[key].as_str().unwrap_or_default())
    };
    let foreign = |name: &String| name != "inet gateway";
    let tables = items.iter().filter(|item| item["table"].is_object());
    let tables = tables.map(|item| name(&item["table"], "name")).filter(foreign).collect();
    let drops = |item: &&Value| item["chain"]["hook"] == "input" && item["chain"]["policy"] == "drop";
    let dropping = items.iter().filter(drops).map(|item| name(&item["chain"], "table")).filter(foreign);
    (tables, dropping.collect())
}

/// What Docker publishes beyond loopback, from `docker ps --format '{{.Ports}}\t{{.Names}}'`.
pub(super) fn published(text: &str) -> Vec<Published> {
    let of_line = |line: &str| {
        let (ports, container) = line.split_once('\t')?;
        let outside = ports.split(", ").filter_map(|port| {
            let (address, inner) = port.split_once("->")?;
            Some(format!("{address}{}", if inner.ends_with("/udp") { "/udp" } else { "" }))
        });
        let outside: Vec<String> =
            outside.filter(|address| !address.starts_with("127.") && !address.starts_with("[::1]")).collect();
        // Mostly both families are named.
        let twice = |address: &&String| {
            let v6 = address.strip_prefix("[::]").or_else(|| address.strip_prefix("::"));
            v6.is_some_and(|port| outside.contains(&format!("0.0.0.0{port}")))
        };
        let once = outside.iter().filter(|address| !twice(address));
        let published =
            |address: &String| Published { container: container.to_owned(), address: address.clone() };
        Some(once.map(published).collect::<Vec<_>>())
    };
    text.lines().filter_map(of_line).flatten().collect()
}

/// Those, and what the kernel forwards for Docker beside them: `iptables-save -t nat` shows it with `userland-proxy` off, and
/// where nobody may ask Docker. Who it is for is known by address alone.
pub(super) fn with_forwarded(mut published: Vec<Published>, rules: &str) -> Vec<Published> {
    for rule in rules.lines().filter(|line| line.starts_with("-A DOCKER ") && line.contains(" -j DNAT ")) {
        let word = |flag: &str| rule.split_whitespace().skip_while(|word| *word != flag).nth(1);
        let host = word("-d").and_then(|net| net.split('/').next());
        let (Some(port), Some(container)) = (word("--dport"), word("--to-destination")) else { continue };
        let (ports, udp) = (port.replace(':', "-"), word("-p") == Some("udp"));
        if host.is_some_and(|host| host.starts_with("127.") || host == "::1") {
            continue;
        }
        let ending = format!(":{ports}{}", if udp { "/udp" } else { "" });
        let known = |one: &Published| {
            one.address.ends_with(&ending) || !udp && ports.parse().is_ok_and(|port| one.takes(port))
        };
        if !published.iter().any(known) {
            let any = if container.starts_with('[') { "[::]" } else { "0.0.0.0" };
            let address = format!("{}{ending}", host.unwrap_or(any));
            published.push(Published { container: container.to_owned(), address });
        }
    }
    published
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ufw_opens_what_everybody_may_reach() {
        let text = include_str!("../../../tests/data/bootstrap/ufw-status");
        assert!(ufw_active(text) && !ufw_active("Status: inactive\n"));
        let (open, admitted) = ufw_open(text);
        assert_eq!(open, BTreeSet::from([22, 80, 443, 2200]), "5432 is for a few, 25 is denied");
        assert_eq!(admitted, BTreeSet::from([22, 80, 443, 2200, 5432]));
        let denied = "80 DENY IN Anywhere\n80/tcp ALLOW IN Anywhere\n443/tcp ALLOW IN Anywhere\n443 REJECT IN Anywhere\n";
        assert_eq!(ufw_open(denied), ([443].into(), [443].into()), "the first one decides");
    }

    #[test]
    fn firewalld_names_services_and_ports() {
        let text = include_str!("../../../tests/data/bootstrap/firewalld-list");
        assert_eq!(firewalld_open(text), BTreeSet::from([22, 80, 8443]));
    }

    #[test]
    fn a_range_opens_each_of_its_ports() {
        let ufw = "8000:8002,443/tcp ALLOW IN Anywhere\n5000:5001/udp ALLOW IN Anywhere\n";
        assert_eq!(ufw_open(ufw).0, BTreeSet::from([443, 8000, 8001, 8002]));
        assert_eq!(firewalld_open("ssh dns 440-443/tcp 53/udp"), BTreeSet::from([22, 440, 441, 442, 443]));
    }

    #[test]
    fn foreign_tables_that_drop_are_named() {
        let (tables, dropping) =
            dropping_tables(include_str!("../../../tests/data/bootstrap/nft-tables.json"));
        assert_eq!(tables, ["inet filter", "ip nat"]);
        assert_eq!(dropping, ["inet filter"]);
        assert_eq!(dropping_tables("no json"), (Vec::new(), Vec::new()));
    }

    #[test]
    fn published_ports_are_those_that_outsiders_reach() {
        let text = include_str!("../../../tests/data/bootstrap/docker-ps");
        let told: Vec<_> =
            published(text).into_iter().map(|p| format!("{} {}", p.container, p.address)).collect();
        assert_eq!(told, ["db 0.0.0.0:5432", "app 0.0.0.0:8000-8001", "old 0.0.0.0:81", "six [::]:82"]);
    }

    #[test]
    fn what_the_kernel_forwards_for_docker_is_published_too() {
        let rules = "\
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 443 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 443 -j DNAT --to-destination 172.17.0.2:8443
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8000 -j DNAT --to-destination 172.17.0.3:8000
-A DOCKER -d 127.0.0.1/32 ! -i docker0 -p tcp -m tcp --dport 6379 -j DNAT --to-destination 172.17.0.4:6379
-A DOCKER ! -i docker0 -p udp -m udp --dport 53 -j DNAT --to-destination 172.17.0.5:53
COMMIT
";
        let told = published(include_str!("../../../tests/data/bootstrap/docker-ps"));
        let before = told.len();
        let all = with_forwarded(told, rules);
        let more: Vec<_> = all[before..].iter().map(|p| format!("{} {}", p.container, p.address)).collect();
        assert_eq!(more, ["172.17.0.2:8443 0.0.0.0:443", "172.17.0.5:53 0.0.0.0:53/udp"]);
        assert!(all[before].takes(443) && !all[before].takes(53) && !all[before + 1].takes(53));
    }
}

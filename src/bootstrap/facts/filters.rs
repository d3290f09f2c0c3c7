//! What filters packets on this machine already, beside who rules them: tables of nftables, and Docker's published ports, which
//! no input chain sees. Pure: what the programs print goes in.

use serde::Serialize;
use serde_json::Value;

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

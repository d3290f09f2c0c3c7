//! Tables of nftables in whose way a port is closed for strangers, whatever ours lets in: a packet must pass every chain at
//! the input. Pure: what `nft -j list ruleset` prints goes in. Only what is plain is told: a rule that asks for more than a
//! port says nothing about strangers, and one that leads into another chain, or that only iptables can read, may let them in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What the first rule that is about a stranger at that port does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    LetIn,
    Closed,
}

/// Tables that are not ours, with those of the TCP ports that they close.
pub(super) fn closing(json: &str, ports: &BTreeSet<u16>) -> BTreeMap<String, BTreeSet<u16>> {
    let value: Value = serde_json::from_str(json).unwrap_or_default();
    let items = value["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut closing: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for chain in items.iter().map(|item| &item["chain"]).filter(|chain| chain["hook"] == "input") {
        let name = format!("{} {}", word(&chain["family"]), word(&chain["table"]));
        if name == "inet gateway" || !["inet", "ip", "ip6"].contains(&word(&chain["family"])) {
            continue;
        }
        let own = |rule: &&Value| {
            rule["family"] == chain["family"]
                && rule["table"] == chain["table"]
                && rule["chain"] == chain["name"]
        };
        let rules: Vec<&Value> = items.iter().map(|item| &item["rule"]).filter(own).collect();
        let otherwise = if chain["policy"] == "drop" { Fate::Closed } else { Fate::LetIn };
        let closed = ports.iter().filter(|port| {
            let first = rules.iter().find_map(|rule| fate(&rule["expr"], **port));
            first.unwrap_or(otherwise) == Fate::Closed
        });
        let closed: BTreeSet<u16> = closed.copied().collect();
        if !closed.is_empty() {
            closing.entry(name).or_default().extend(closed);
        }
    }
    closing
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What a rule does with a stranger at that port; nothing, if it is not about them.
fn fate(expressions: &Value, port: u16) -> Option<Fate> {
    for expression in expressions.as_array()? {
        let (kind, what) = expression.as_object()?.iter().next()?;
        match kind.as_str() {
            "match" if fits(what, port) => {}
            "counter" | "log" | "comment" => {}
            "drop" | "reject" => return Some(Fate::Closed),
            "accept" | "xt" | "jump" | "goto" | "vmap" | "queue" => return Some(Fate::LetIn),
            // Another kind of caller, or only some of them.
            _ => return None,
        }
    }
    None
}

/// Is every stranger at that TCP port among those that this is about?
fn fits(what: &Value, port: u16) -> bool {
    let (left, right) = (&what["left"], &what["right"]);
    let among = |wanted: &dyn Fn(&Value) -> bool| match right["set"].as_array() {
        Some(set) => set.iter().any(wanted),
        None => wanted(right),
    };
    let positive = what["op"] == "==" || what["op"] == "in";
    let field = word(&left["payload"]["field"]);
    if field == "dport" {
        let tcp = ["tcp", "th"].contains(&word(&left["payload"]["protocol"]));
        let holds = |value: &Value| {
            let number = |value: &Value| value.as_u64();
            let (first, last) = (number(&value["range"][0]), number(&value["range"][1]));
            number(value) == Some(port.into())
                || first.zip(last).is_some_and(|(first, last)| (first..=last).contains(&port.into()))
        };
        return tcp && positive && among(&holds);
    }
    // As iptables writes it, over nft.
    let tcp_alone = ["protocol", "nexthdr"].contains(&field) || word(&left["meta"]["key"]) == "l4proto";
    let state = word(&left["ct"]["key"]) == "state";
    (tcp_alone && positive && among(&|value| value == "tcp"))
        || (state && positive && among(&|value| value == "new"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain at the input with that policy and these rules, each a list of expressions.
    fn check(policy: &str, rules: &[&str], want: &[u16]) {
        let chain = serde_json::json!({"family": "inet", "table": "other", "name": "input", "type": "filter", "hook": "input",
            "prio": 10, "policy": policy});
        let mut items = vec![serde_json::json!({ "chain": chain })];
        for rule in rules {
            let expr: Value = serde_json::from_str(rule).unwrap();
            let rule =
                serde_json::json!({"family": "inet", "table": "other", "chain": "input", "expr": expr});
            items.push(serde_json::json!({ "rule": rule }));
        }
        let json = serde_json::json!({ "nftables": items }).to_string();
        let closed = closing(&json, &[22, 443].into());
        let closed: Vec<u16> = closed.get("inet other").into_iter().flatten().copied().collect();
        assert_eq!(closed, want, "{policy} {rules:?}");
    }

    #[test]
    fn what_closes_a_port_for_every_stranger_is_found_and_nothing_else() {
        // As nft 1.0.6 lists them.
        let loopback =
            r#"[{"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": "lo"}}, {"accept": null}]"#;
        let established = r#"[{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}},
            {"accept": null}]"#;
        let dport = |right: &str, verdict: &str| {
            format!(
                r#"[{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "tcp", "field": "dport"}}}}, "right": {right}}}}},
                {{"counter": {{"packets": 0, "bytes": 0}}}}, {{"{verdict}": null}}]"#
            )
        };
        let banned = r#"[{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}},
            {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@banned"}},
            {"reject": {"type": "icmp", "expr": "port-unreachable"}}]"#;
        check("drop", &[loopback, established], &[22, 443]);
        check("accept", &[loopback, established, banned], &[]);
        check("accept", &[r#"[{"drop": null}]"#], &[22, 443]);
        check("accept", &[&dport("443", "drop")], &[443]);
        check("drop", &[&dport(r#"{"set": [22, {"range": [80, 90]}]}"#, "accept")], &[443]);
        check("drop", &[&dport(r#"{"range": [1, 1000]}"#, "accept")], &[]);
        check("drop", &[r#"[{"jump": {"target": "more"}}]"#], &[]);
        check("accept", &[], &[]);
        let of_iptables = r#"[{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "protocol"}}, "right": "tcp"}},
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}},
            {"counter": {"packets": 1, "bytes": 1}}, {"accept": null}]"#;
        check("drop", &[of_iptables], &[443]);
        check("drop", &[r#"[{"xt": {"type": "match", "name": "multiport"}}, {"accept": null}]"#], &[]);
        assert_eq!(closing("no json", &[22].into()), BTreeMap::new());
        let listed = include_str!("../../../tests/data/bootstrap/nft-tables.json");
        assert_eq!(closing(listed, &[22].into()).into_keys().collect::<Vec<_>>(), ["inet filter"]);
    }
}

//! The cut-over: new connections are led to the gateway's own ports. Nobody is led to where nobody answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    super::{
        BootstrapError, Session, facts,
        journal::{Journal, Made},
        ruleset::Firewall,
    },
    arm, bare, lock, stored,
};

/// Connections are led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Over {
    /// Until then, unless it is confirmed.
    pub(crate) until: Timestamp,
    /// Ports where who comes over IPv6 is served by nobody: only IPv4 is listened on, and the machine has both.
    pub(crate) without_ipv6: BTreeSet<u16>,
}

/// Lead new connections to the gateway's own ports, for as long as nobody confirms it only.
pub(crate) fn cut_over(led: BTreeMap<u16, u16>, within: Duration) -> Result<Over, BootstrapError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(BootstrapError::NotRoot);
    }
    let lock = lock()?;
    let firewall = Firewall { led, was_led: true, ..stored()?.map_or_else(bare, |stored| stored.firewall) };
    let unreached = facts::unreached(&firewall.led.values().copied().collect());
    leads_somewhere(&firewall, &unreached.silent, &unreached.closed)?;
    Journal::read()?.record(Made::Firewall)?;
    let armed = arm(&firewall, within, &Session::now(), &lock)?;
    Ok(Over { until: armed.until, without_ipv6: unreached.without_ipv6 })
}

/// Is whoever is led somewhere let in there, and answered? On the `silent` ports nobody listens, or on loopback alone; the `closed` ones are shut by
/// whoever rules the packets beside us. Pure.
fn leads_somewhere(
    firewall: &Firewall,
    silent: &BTreeSet<u16>,
    closed: &BTreeSet<u16>,
) -> Result<(), BootstrapError> {
    for (from, to) in &firewall.led {
        let nowhere = |why: String, remedy: &str| {
            let message = format!("{why}: who is led there from port {from} would be served by nobody");
            Err(BootstrapError::refused(message, remedy))
        };
        if silent.contains(to) {
            let remedy = "`systemctl status gateway` shows whether it runs; after a change of `[edge]`, \
                          `gateway bootstrap` moves its sockets there";
            return nowhere(format!("nothing listens on port {to} for those who come from outside"), remedy);
        }
        if !firewall.bare && !firewall.edge.contains(to) {
            let remedy =
                "`gateway firewall reload` opens the ports that `[edge]` names; then give the order again";
            return nowhere(format!("the firewall lets nobody reach port {to}"), remedy);
        }
        if closed.contains(to) {
            let remedy = "open it there, or have `gateway bootstrap` do it; then give the order again";
            return nowhere(format!("ufw or firewalld lets nobody reach port {to}"), remedy);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_where_nobody_answers() {
        let led = |edge: &[u16], bare| Firewall {
            led: [(443, 8443), (80, 8080)].into(),
            edge: edge.iter().copied().collect(),
            bare,
            ..Firewall::default()
        };
        let check = |firewall: &Firewall, silent: &[u16], closed: &[u16], want: Option<&str>| {
            let set = |ports: &[u16]| ports.iter().copied().collect();
            let said =
                leads_somewhere(firewall, &set(silent), &set(closed)).err().map(|error| error.to_string());
            assert_eq!(said.is_some(), want.is_some(), "{said:?}");
            assert!(said.as_deref().unwrap_or_default().contains(want.unwrap_or_default()), "{said:?}");
        };
        check(&led(&[8080, 8443], false), &[], &[], None);
        check(&led(&[], true), &[], &[], None);
        check(
            &led(&[8080, 8443], false),
            &[8443],
            &[],
            Some("nothing listens on port 8443 for those who come from outside: who is led"),
        );
        check(&led(&[80, 443, 8080], false), &[], &[], Some("the firewall lets nobody reach port 8443"));
        check(&led(&[], true), &[], &[8080], Some("firewalld lets nobody reach port 8080"));
    }
}

//! The operator's small changes of a firewall that lasts. None of them locks out whoever gives the order.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    super::{
        BootstrapError, Session,
        facts::{self, Ssh},
        network,
        ruleset::{CARRIERS_FOLLOWED_MAX, Carrier, Firewall, OpenPort},
    },
    lock, settle, stored,
    theirs::Theirs,
    unarmed,
};

/// A change of the operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Let everybody reach a port.
    Open(OpenPort),
    /// Let a tunnel's packets in.
    Carry(Carrier),
    /// Never slow these down at SSH, and deny them no longer.
    Admit(IpNet),
    /// Never let these in.
    Deny {
        /// Whom.
        net: IpNet,
        /// Also where nothing shows whether the operator is among them.
        sure: bool,
    },
    /// Take an opened port, a tunnel's packets, an admitted or a denied address back.
    Close(String),
    /// Follow the listeners: the edge's ports as configured, if that is known, SSH's ports and tunnels as found.
    Follow(Option<BTreeSet<u16>>),
}

/// What has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Our firewall is like this now.
    Ours(Firewall),
    /// Whoever rules the packets has done it, in these words.
    Theirs(String),
}

/// What the machine has that must stay reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Ports of SSH.
    ssh: BTreeSet<u16>,
    /// What tunnels arrive in.
    carriers: BTreeSet<Carrier>,
}

impl Found {
    /// As it is now.
    pub(super) fn now(ssh: &Ssh) -> Self {
        Self { ssh: ssh.ports.clone(), carriers: facts::carriers(&facts::ends()) }
    }
}

/// Where an order may have come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// From the machine itself.
    AtMachine,
    /// From there.
    From(IpAddr),
    /// Over SSH, and nothing shows from where: from one of these, who are all that are in; or from anywhere, if there are none.
    OneOf(BTreeSet<IpAddr>),
}

impl Caller {
    fn of(ssh: Ssh) -> Self {
        match ssh.session {
            Session::Local => Self::AtMachine,
            Session::Ssh { peer: Some(peer), .. } => Self::From(peer.to_canonical()),
            // A roaming shell has no socket, so those of others say nothing about it.
            Session::Ssh { port: None, .. } => Self::OneOf(BTreeSet::new()),
            Session::Ssh { .. } => Self::OneOf(ssh.peers),
        }
    }

    /// Would it be cut off by that?
    fn may_deny(&self, net: IpNet, sure: bool) -> Result<(), BootstrapError> {
        let (message, remedy) = match self {
            Self::From(peer) if net.contains(peer) => (
                format!("your own SSH session comes from {net}: you would lock yourself out"),
                "deny a smaller network",
            ),
            Self::OneOf(peers) if !sure && peers.is_empty() => (
                format!("nothing shows where your SSH session comes from: it may be from {net}"),
                "give the order over another SSH session, or with `--yes` if it is not",
            ),
            Self::OneOf(peers) if !sure && peers.iter().any(|peer| net.contains(peer)) => (
                format!("an SSH session comes from {net}, and nothing shows that it is not yours"),
                "deny a smaller network, or say `--yes` if it is not",
            ),
            _ => return Ok(()),
        };
        Err(BootstrapError::refused(message, remedy))
    }
}

impl Change {
    /// Carry it out on the firewall that lasts.
    pub(crate) fn apply(self) -> Result<Changed, BootstrapError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(BootstrapError::NotRoot);
        }
        let lock = lock()?;
        unarmed(&lock)?;
        let stored = stored()?.map(|stored| stored.firewall);
        let ssh = Ssh::now();
        let found = Found::now(&ssh);
        if stored.as_ref().is_none_or(|firewall| firewall.bare)
            && let Some(theirs) = Theirs::of(&self, facts::rules_here())
        {
            return theirs.carry_out(&found.ssh).map(Changed::Theirs);
        }
        let Some(firewall) = stored else {
            let remedy = "`gateway bootstrap` builds one; ufw and firewalld have commands of their own";
            return Err(BootstrapError::refused("there is no firewall of the gateway's here", remedy));
        };
        let firewall = self.to(firewall, &Caller::of(ssh), &found)?;
        settle(firewall.clone(), &lock)?;
        Ok(Changed::Ours(firewall))
    }

    /// The firewall with the change. Pure; refuses what would cut off `caller`, who gives this order, and what would change
    /// nothing.
    pub(super) fn to(
        self,
        mut firewall: Firewall,
        caller: &Caller,
        found: &Found,
    ) -> Result<Firewall, BootstrapError> {
        if firewall.bare
            && matches!(self, Self::Open(_) | Self::Carry(_) | Self::Admit(_) | Self::Deny { .. })
        {
            return Err(BootstrapError::refused(
                "nothing is filtered here: the gateway leads connections over, and no more",
                "`gateway bootstrap` builds a firewall; ufw and firewalld have commands of their own",
            ));
        }
        match self {
            Self::Open(port) => {
                firewall.opened.insert(port);
            }
            Self::Carry(carrier) => {
                firewall.carriers.insert(carrier);
            }
            Self::Admit(net) => {
                firewall.denied.remove(&net);
                // The rules look at who is denied first.
                if let Some(wider) = firewall.denied.iter().find(|wider| wider.contains(&net)) {
                    let message = format!("{net} lies in {wider}, which is denied, and that goes before");
                    return Err(BootstrapError::refused(
                        message,
                        format!("`gateway firewall close {wider}` first"),
                    ));
                }
                firewall.admins.insert(net);
            }
            Self::Deny { net, sure } => {
                caller.may_deny(net, sure)?;
                firewall.admins.remove(&net);
                if let Some(inner) = firewall.admins.iter().find(|inner| net.contains(*inner)) {
                    let message = format!("{inner} is allowed, lies in {net}, and would be denied with it");
                    return Err(BootstrapError::refused(
                        message,
                        format!("`gateway firewall close {inner}` first"),
                    ));
                }
                firewall.denied.insert(net);
            }
            Self::Close(what) => return close(firewall, &what, &found.ssh),
            // These are added and never taken away by themselves: a server or a tunnel that is down just now comes back.
            Self::Follow(edge) => {
                if let Some(edge) = edge {
                    firewall.listen(edge);
                }
                firewall.ssh.extend(&found.ssh);
                firewall.carry(&found.carriers, CARRIERS_FOLLOWED_MAX);
            }
        }
        Ok(firewall)
    }
}

fn close(mut firewall: Firewall, what: &str, ssh: &BTreeSet<u16>) -> Result<Firewall, BootstrapError> {
    if let Ok(net) = network(what) {
        if firewall.admins.remove(&net) | firewall.denied.remove(&net) {
            return Ok(firewall);
        }
        let remedy = "`gateway firewall status` lists them";
        return Err(BootstrapError::refused(format!("{net} is neither allowed nor denied"), remedy));
    }
    if let Ok(carrier) = what.parse::<Carrier>() {
        let remedy = "`gateway firewall status` lists what is let in";
        let refused = || BootstrapError::refused(format!("{carrier} is not let in"), remedy);
        return firewall.carriers.remove(&carrier).then_some(firewall).ok_or_else(refused);
    }
    let port: OpenPort = what
        .parse()
        .map_err(|why: String| BootstrapError::refused(format!("`{what}` is no port and no address"), why))?;
    if firewall.opened.remove(&port) {
        return Ok(firewall);
    }
    if let Some(wider) = firewall.opened.iter().find(|wider| wider.holds(&port)) {
        let message = format!("{port} lies in {wider}, which was opened as a whole");
        let remedy = format!(
            "`gateway firewall close {wider}`, then `gateway firewall allow` for what shall stay open"
        );
        return Err(BootstrapError::refused(message, remedy));
    }
    let tcp = port.single_tcp();
    // One that sshd has left, and through which nobody is in any more.
    let left = |port: &u16| !ssh.is_empty() && !ssh.contains(port);
    if tcp.filter(left).is_some_and(|port| firewall.ssh.remove(&port)) {
        return Ok(firewall);
    }
    let (message, remedy) = if tcp.is_some_and(|port| firewall.ssh.contains(&port)) {
        (format!("{port} is a port of SSH"), "it stays open: you would lock yourself out")
    } else if tcp.is_some_and(|port| firewall.edge.contains(&port)) {
        (format!("{port} is a port of the edge"), "take it out of `[edge]` and run `gateway firewall reload`")
    } else {
        (format!("{port} is not open"), "`gateway firewall status` lists what is")
    };
    Err(BootstrapError::refused(message, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: Change, caller: &Caller, want: Result<&str, &str>) {
        let before = Firewall {
            ssh: [22].into(),
            edge: [80, 443].into(),
            opened: ["8080".parse().unwrap()].into(),
            denied: ["192.0.2.0/24".parse().unwrap()].into(),
            admins: ["203.0.113.64/26".parse().unwrap()].into(),
            ..Firewall::default()
        };
        let found = Found { ssh: [2222].into(), carriers: ["gre@192.0.2.9".parse().unwrap()].into() };
        let got = change.clone().to(before, caller, &found);
        let shown = got.map(|f| {
            let words = |set: Vec<String>| set.join(",");
            [
                words(f.ssh.iter().map(u16::to_string).collect()),
                words(f.edge.iter().map(u16::to_string).collect()),
                words(
                    f.opened
                        .iter()
                        .map(OpenPort::to_string)
                        .chain(f.carriers.iter().map(Carrier::to_string))
                        .collect(),
                ),
                words(f.admins.iter().map(IpNet::to_string).collect()),
                words(f.denied.iter().map(IpNet::to_string).collect()),
            ]
            .join(" | ")
        });
        let shown = shown.map_err(|error| error.to_string());
        match want {
            Ok(want) => assert_eq!(shown.as_deref(), Ok(want), "{change:?}"),
            Err(why) => {
                assert!(shown.as_ref().is_err_and(|error| error.contains(why)), "{change:?} {shown:?}")
            }
        }
    }

    #[test]
    fn a_port_that_sshd_has_left_can_be_closed_and_no_other() {
        let close = |what: &str, found: &[u16]| {
            let before = Firewall { ssh: [22, 2200].into(), ..Firewall::default() };
            let found = Found { ssh: found.iter().copied().collect(), carriers: BTreeSet::new() };
            let change = Change::Close(what.to_owned());
            change.to(before, &Caller::AtMachine, &found).map(|firewall| firewall.ssh)
        };
        assert_eq!(close("2200", &[22]).unwrap(), [22].into());
        for (what, found) in [("22", &[22][..]), ("2200", &[22, 2200]), ("22", &[]), ("2200/udp", &[22])] {
            assert!(close(what, found).is_err(), "{what} {found:?}");
        }
    }

    #[test]
    fn changes_do_what_they_say_and_refuse_to_lock_anybody_out() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let deny = |text: &str| Change::Deny { net: net(text), sure: false };
        let close = |what: &str| Change::Close(what.to_owned());
        let here = &Caller::AtMachine;
        let from = |ip: &str| Caller::From(ip.parse().unwrap());
        check(
            Change::Open("51820/udp".parse().unwrap()),
            here,
            Ok("22 | 80,443 | 8080/tcp,51820/udp | 203.0.113.64/26 | 192.0.2.0/24"),
        );
        check(
            Change::Admit(net("192.0.2.0/24")),
            here,
            Ok("22 | 80,443 | 8080/tcp | 192.0.2.0/24,203.0.113.64/26 | "),
        );
        check(
            deny("198.51.100.0/24"),
            &from("203.0.113.1"),
            Ok("22 | 80,443 | 8080/tcp | 203.0.113.64/26 | 192.0.2.0/24,198.51.100.0/24"),
        );
        check(deny("198.51.100.0/24"), &from("198.51.100.7"), Err("lock yourself out"));
        check(close("8080"), here, Ok("22 | 80,443 |  | 203.0.113.64/26 | 192.0.2.0/24"));
        check(close("192.0.2.0/24"), here, Ok("22 | 80,443 | 8080/tcp | 203.0.113.64/26 | "));
        check(close("443/tcp"), here, Err("a port of the edge"));
        check(close("443/udp"), here, Err("not open"));
        check(close("nonsense"), here, Err("no port and no address"));
        check(
            Change::Follow(Some([8443].into())),
            here,
            Ok("22,2222 | 8443 | 8080/tcp,gre@192.0.2.9 | 203.0.113.64/26 | 192.0.2.0/24"),
        );
        check(
            Change::Carry("esp@any".parse().unwrap()),
            here,
            Ok("22 | 80,443 | 8080/tcp,esp@any | 203.0.113.64/26 | 192.0.2.0/24"),
        );
        check(close("esp@any"), here, Err("is not let in"));
        let led = Firewall { led: [(443, 8443), (80, 8080)].into(), ..Firewall::default() };
        let after = Change::Follow(Some([80, 443, 8443].into())).to(led, here, &Found::default()).unwrap();
        assert_eq!(after.led, [(443, 8443)].into(), "nothing listens on 8080 any more");
    }

    #[test]
    fn a_range_is_opened_and_closed_as_one() {
        let port = |text: &str| text.parse::<OpenPort>().unwrap();
        let here = &Caller::AtMachine;
        check(
            Change::Open(port("8000-8100")),
            here,
            Ok("22 | 80,443 | 8000-8100/tcp,8080/tcp | 203.0.113.64/26 | 192.0.2.0/24"),
        );
        let open = Firewall { opened: [port("8000-8010/udp")].into(), ..Firewall::default() };
        let close = |what: &str| Change::Close(what.to_owned()).to(open.clone(), here, &Found::default());
        assert_eq!(close("8000-8010/udp").unwrap(), Firewall::default());
        let inside = close("8005/udp").unwrap_err();
        assert!(inside.to_string().contains("8005/udp lies in 8000-8010/udp"), "{inside}");
        assert!(close("8000-8010").unwrap_err().to_string().contains("is not open"));
        assert!(close("7000-8005/udp").unwrap_err().to_string().contains("is not open"));
    }

    #[test]
    fn tunnels_are_followed_where_nothing_wider_lets_them_in_and_not_without_end() {
        let found = |count: u32| Found {
            ssh: BTreeSet::new(),
            carriers: (1..=count)
                .map(|n| format!("esp@{}", std::net::Ipv4Addr::from(0x0a00_0000 + n)).parse().unwrap())
                .collect(),
        };
        let follow = |firewall: &Firewall, found: &Found| {
            Change::Follow(None).to(firewall.clone(), &Caller::AtMachine, found).unwrap()
        };
        let wide = Firewall { carriers: ["esp@any".parse().unwrap()].into(), ..Firewall::default() };
        assert_eq!(follow(&wide, &found(3)), wide);
        let many = follow(&Firewall::default(), &found(2000));
        assert_eq!(many.carriers.len(), CARRIERS_FOLLOWED_MAX);
        assert_eq!(follow(&many, &found(2000)), many);
    }

    #[test]
    fn who_may_be_the_operator_is_denied_only_when_they_say_so() {
        let deny = |sure| Change::Deny { net: "198.51.100.0/24".parse().unwrap(), sure };
        let with = "22 | 80,443 | 8080/tcp | 203.0.113.64/26 | 192.0.2.0/24,198.51.100.0/24";
        let one_of = |ips: &[&str]| Caller::OneOf(ips.iter().map(|ip| ip.parse().unwrap()).collect());
        check(deny(false), &one_of(&[]), Err("nothing shows where your SSH session comes from"));
        check(deny(true), &one_of(&[]), Ok(with));
        check(
            deny(false),
            &one_of(&["192.0.2.1", "198.51.100.7"]),
            Err("nothing shows that it is not yours"),
        );
        check(deny(true), &one_of(&["192.0.2.1", "198.51.100.7"]), Ok(with));
        check(deny(false), &one_of(&["192.0.2.1"]), Ok(with));
        check(deny(true), &Caller::From("198.51.100.7".parse().unwrap()), Err("lock yourself out"));
    }

    #[test]
    fn what_is_allowed_and_what_is_denied_do_not_overlap_in_silence() {
        let here = &Caller::AtMachine;
        check(
            Change::Admit("192.0.2.7/32".parse().unwrap()),
            here,
            Err("lies in 192.0.2.0/24, which is denied"),
        );
        let deny = Change::Deny { net: "203.0.113.0/24".parse().unwrap(), sure: true };
        check(deny, here, Err("203.0.113.64/26 is allowed"));
        let bare = Firewall { bare: true, ..Firewall::default() };
        let open = Change::Open("8080".parse().unwrap()).to(bare, here, &Found::default());
        assert!(open.unwrap_err().to_string().contains("nothing is filtered"));
    }

    #[test]
    fn the_caller_is_who_the_session_shows() {
        let ssh = |peer: Option<&str>, port| Ssh {
            ports: BTreeSet::new(),
            peers: ["192.0.2.1".parse().unwrap()].into(),
            session: Session::Ssh {
                peer: peer.map(|peer| peer.parse().unwrap()),
                port,
                pid: None,
                began: None,
                local: None,
            },
        };
        let from = Caller::From("198.51.100.7".parse().unwrap());
        assert_eq!(Caller::of(ssh(Some("::ffff:198.51.100.7"), Some(22))), from);
        assert_eq!(Caller::of(ssh(None, Some(22))), Caller::OneOf(["192.0.2.1".parse().unwrap()].into()));
        assert_eq!(Caller::of(ssh(None, None)), Caller::OneOf(BTreeSet::new()));
        assert_eq!(Caller::of(Ssh { session: Session::Local, ..ssh(None, None) }), Caller::AtMachine);
    }
}

//! The step about the firewall: who is spoken to, what stays open, and when it must not be built at all.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        facts::{CARRIERS, Listener, Ruler, Session, Tunnel, carriers},
        ruleset::{Arrives, Carrier, Firewall, OpenPort, Wanted},
    },
    Action, Answers, Facts, Plan, follow,
};

/// Whoever has denied SSH may mean it.
pub(in crate::bootstrap) const DENIED_REMEDY: &str =
    "`ufw status numbered` shows the rule, and `ufw delete NUMBER` takes it away, unless it is meant";

const WHY: &str = "nothing but SSH and the edge is reached from outside";

pub(super) fn firewall(plan: &mut Plan, facts: &Facts, answers: &Answers) {
    docker(plan, facts);
    follow::listeners(plan, facts);
    if !answers.firewall {
        return;
    }
    let ssh: BTreeSet<u16> = facts.ssh.ports.union(&answers.ssh_ports).copied().collect();
    let hidden = matches!(facts.ssh.session, Session::Ssh { port: None, .. });
    if hidden && answers.ssh_ports.is_empty() {
        plan.problem(
            "you came in over SSH, and nothing shows on which port: a firewall could lock you out",
            "name the port with `--ssh-port N`, or go without with `--no-firewall`",
        );
        return;
    }
    match facts.ruler {
        Ruler::Ufw | Ruler::Firewalld => {
            if !answers.open.is_empty() {
                let what = format!("what `--open` names ({}) is not opened", shown(&answers.open));
                let order = |port: &OpenPort| match facts.ruler {
                    Ruler::Ufw => format!("`ufw allow {}`", port.for_ufw()),
                    _ => format!(
                        "`firewall-cmd --permanent --add-port={port}` and the same without `--permanent`"
                    ),
                };
                plan.note(what, answers.open.iter().map(order).collect::<Vec<_>>().join(", "));
            }
            spoken_to(plan, facts, answers, &ssh);
        }
        Ruler::Nobody => of_our_own(plan, facts, answers, ssh),
    }
}

/// Opening ports cuts off nobody: no dead man's switch is needed.
fn spoken_to(plan: &mut Plan, facts: &Facts, answers: &Answers, ssh: &BTreeSet<u16>) {
    let missing = facts.to_open(&answers.edge_ports(), ssh);
    let denied = facts.denied_to_all(ssh);
    if !denied.is_empty() {
        let what = format!("{} of SSH is denied to everybody, and stays so", ports(&denied));
        plan.note(what, DENIED_REMEDY);
    }
    let left: BTreeSet<u16> = &(&(&facts.opened & &facts.open) - &answers.edge_ports()) - ssh;
    if !left.is_empty() {
        plan.note(
            format!("{} stays open for an earlier set-up, and nothing here needs it", ports(&left)),
            "close it by the firewall's own command, if nobody else does; `gateway bootstrap --undo` does so too",
        );
    }
    if missing.is_empty() {
        return;
    }
    let (name, action) = match facts.ruler {
        Ruler::Ufw => ("ufw", Action::Ufw(missing.clone())),
        _ => ("firewalld", Action::Firewalld(missing.clone())),
    };
    let is = format!("{name} rules; open: {}", ports(&facts.open));
    plan.step(
        "firewall",
        (is, format!("{name} opens {} too", ports(&missing))),
        "the edge is reached",
        action,
    );
}

fn of_our_own(plan: &mut Plan, facts: &Facts, answers: &Answers, ssh: BTreeSet<u16>) {
    if !facts.programs.contains("nft") {
        plan.problem(
            "nft is missing, so no firewall can be built",
            "`apt-get install nftables`, or go without with `--no-firewall`",
        );
        return;
    }
    if let Some(damage) = &facts.live.damage {
        plan.problem(&damage.what, &damage.remedy);
        return;
    }
    if let Some(armed) = &facts.live.armed {
        plan.note(
            format!("a firewall waits to be confirmed until {:.0}", armed.until),
            "open a second SSH session and run `sudo gateway bootstrap confirm` there",
        );
        return;
    }
    if !facts.programs.contains("ip") {
        plan.note(
            "`ip` is missing: nothing shows which tunnels end here, and what they arrive in will not be let in",
            "`apt-get install iproute2` first, or name their ports with `--open`",
        );
    }
    follow::ssh(plan, facts);
    for table in &facts.dropping {
        plan.note(
            format!("the table `{table}` drops what it does not know, beside ours"),
            format!("open {} in it too", ports(&answers.edge_ports())),
        );
    }
    let stored = facts.live.stored.as_ref();
    let added = Wanted {
        ssh,
        edge: answers.edge_ports(),
        opened: ports_of_tunnel(plan, facts).into_iter().chain(answers.open.iter().copied()).collect(),
        carriers: carriers(&facts.tunnels),
    };
    let wanted = added.on(stored.cloned());
    if wanted.ssh.is_empty() {
        plan.note(
            "no server of SSH is known here, so nothing lets anybody in over SSH",
            "when one is installed its port is opened by itself; `--ssh-port N` opens it now",
        );
    }
    let is = match (stored, facts.live.same) {
        (Some(stored), true) if *stored == wanted => {
            if !facts.firewall_lasts() {
                // Nothing changes now, so nobody can be cut off by it.
                let is = "in force, and not after the next boot";
                plan.step("firewall", (is, "loaded at every boot"), WHY, Action::Settle(added));
            }
            return;
        }
        (Some(stored), _) if stored.bare => "it leads connections over, and filters nothing",
        (Some(_), true) => "other ports",
        (Some(_), false) => "not what was confirmed",
        (None, _) if facts.live.table => "rules of unknown origin",
        (None, _) => "none of ours",
    };
    if stored.is_none_or(|stored| stored.bare) {
        cut_off(plan, facts, &wanted);
    }
    tunnels_go_on(plan, facts, stored);
    let open: BTreeSet<u16> = wanted.ssh.union(&wanted.edge).copied().collect();
    let more = wanted.opened.iter().map(OpenPort::to_string);
    let more = more.chain(wanted.carriers.iter().map(Carrier::to_string));
    let more: String = more.map(|one| format!(", {one}")).collect();
    let lets = format!("all closed but {}{more} (SSH: {})", ports(&open), ports(&wanted.ssh));
    if answers.unattended && facts.ssh.session == Session::Local {
        plan.step("firewall", (is, lets), WHY, Action::Settle(added));
        return;
    }
    let within = answers.confirm_within;
    let will = format!("{lets}; goes back after {} s unless confirmed", within.as_secs());
    plan.step("firewall", (is, will), WHY, Action::Arm(added, within));
}

/// Reached from outside, and by no other way than the input chain: for Docker's the kernel has others.
fn reached(listeners: &[Listener], udp: bool) -> impl Iterator<Item = (OpenPort, &Listener)> {
    let outside = listeners.iter().filter(|listener| {
        !listener.address.ip().is_loopback() && !listener.holders.contains("docker-proxy")
    });
    outside.map(move |listener| (OpenPort::one(listener.address.port(), udp), listener))
}

/// A session through a tunnel lives on what carries the tunnel: that stays open, though the kernel would let it be for a while.
fn ports_of_tunnel(plan: &mut Plan, facts: &Facts) -> BTreeSet<OpenPort> {
    let Some(Tunnel { device, port, of_program }) = &facts.tunnel else { return BTreeSet::new() };
    if facts.tunnels.iter().any(|end| end.device == *device) {
        // It arrives in no port, and is let in as what it is.
        return BTreeSet::new();
    }
    let carries = |listener: &Listener| match of_program {
        true => listener.holders.iter().any(|name| CARRIERS.contains(&name.as_str())),
        false => listener.holders.is_empty(),
    };
    let all = reached(&facts.datagrams, true).chain(reached(&facts.listeners, false));
    let found = all.filter(|(_, listener)| carries(listener)).map(|(port, _)| port).collect();
    let carriers = port.map_or(found, |port| [OpenPort::one(port, true)].into());
    match shown(&carriers) {
        none if none.is_empty() => plan.note(
            format!("your session comes through the tunnel `{device}`, and nothing shows on which port that comes in"),
            "if it is called from outside, name its port with `--open`, such as `--open 51820/udp`",
        ),
        some => plan.note(
            format!("your session comes through the tunnel `{device}`: {some} stays open for it"),
            "`gateway firewall close` closes it later, if it is not needed",
        ),
    }
    carriers
}

/// What arrives in packets of another kind than TCP's and UDP's has no port to be named by: it is let in, and told.
fn tunnels_go_on(plan: &mut Plan, facts: &Facts, stored: Option<&Firewall>) {
    let known = |carrier: &Carrier| stored.is_some_and(|stored| stored.lets_in(carrier));
    for end in &facts.tunnels {
        let new = end.carriers.iter().filter(|carrier| !known(carrier)).map(Carrier::to_string);
        let new: Vec<String> = new.collect();
        if !new.is_empty() {
            plan.note(
                format!(
                    "the tunnel `{}` ends here: {} stays let in, so that it goes on",
                    end.device,
                    new.join(", ")
                ),
                "`gateway firewall close` closes it later, when the tunnel is gone",
            );
        }
    }
}

/// What is reached now and will not be: often that is what the firewall is for, and sometimes it is somebody's business.
fn cut_off(plan: &mut Plan, facts: &Facts, wanted: &Firewall) {
    let stays = |port: &OpenPort| {
        let named = |tcp: u16| wanted.ssh.contains(&tcp) || wanted.edge.contains(&tcp);
        let carries = |carrier: &Carrier| matches!(carrier.arrives, Arrives::Udp(carries) if *port == OpenPort::one(carries, true));
        wanted.opened.iter().any(|open| open.holds(port))
            || port.single_tcp().is_some_and(named)
            || wanted.carriers.iter().any(carries)
    };
    let all = reached(&facts.listeners, false).chain(reached(&facts.datagrams, true));
    let mut lost: BTreeMap<OpenPort, BTreeSet<&str>> = BTreeMap::new();
    for (port, listener) in all.filter(|(port, _)| !stays(port)) {
        lost.entry(port).or_default().extend(listener.holders.iter().map(String::as_str));
    }
    let told = |(port, names): (OpenPort, BTreeSet<&str>)| match names.into_iter().collect::<Vec<_>>() {
        names if names.is_empty() => format!("{port} (the kernel: WireGuard?)"),
        names => format!("{port} ({})", names.join(", ")),
    };
    let told: Vec<String> = lost.into_iter().map(told).collect();
    if !told.is_empty() {
        plan.note(
            format!("these are reached from outside now, and will not be: {}", told.join(", ")),
            "`--open PORT` leaves one open, such as `--open 51820/udp`; `gateway firewall allow PORT` opens it later",
        );
    }
}

fn shown(open: &BTreeSet<OpenPort>) -> String {
    open.iter().map(OpenPort::to_string).collect::<Vec<_>>().join(", ")
}

/// What is published this way never meets an input chain, ours or another's.
fn docker(plan: &mut Plan, facts: &Facts) {
    for published in &facts.published {
        plan.note(
            format!("Docker publishes {} of `{}` past every firewall", published.address, published.container),
            "publish it as `127.0.0.1:PORT:PORT` and start the container again, if it is not meant for everybody",
        );
    }
}

fn ports(ports: &BTreeSet<u16>) -> String {
    if ports.is_empty() {
        return "nothing".to_owned();
    }
    // Three and more that follow each other are a range: of a rule for thousands nobody reads each.
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match runs.last_mut() {
            Some((_, last)) if port - *last == 1 => *last = *port,
            _ => runs.push((*port, *port)),
        }
    }
    let shown = |(first, last): (u16, u16)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}-{last}"),
    };
    runs.into_iter().map(shown).collect::<Vec<_>>().join(", ")
}

//! The step about the firewall: who is spoken to, what stays open, and when it must not be built at all.

use std::collections::BTreeSet;

use super::{
    super::facts::{Ruler, Session},
    Action, Answers, Facts, Firewall, Plan, Then,
};

/// What `nftables.service` flushes comes back with it.
pub(super) const AFTER_FLUSH: &str = "/etc/systemd/system/nftables.service.d/60-gateway.conf";

const AFTER_FLUSH_TEXT: &str = "\
# Written by `gateway bootstrap`. The rules of nftables.service begin with `flush ruleset`, which takes ours along.
[Service]
ExecStartPost=-/usr/sbin/nft -f /etc/gateway/firewall.nft
ExecReload=-/usr/sbin/nft -f /etc/gateway/firewall.nft
";

/// After a start and a reload the firewall is what the configuration says by then.
pub(super) const FOLLOWS: &str = "/etc/systemd/system/gateway.service.d/60-firewall.conf";

const FOLLOWS_TEXT: &str = "\
# Written by `gateway bootstrap`: the firewall follows the listeners. As root and outside of the sandbox (`+`), which the
# gateway itself is not; that it cannot be done (`-`) is no reason not to serve.
[Service]
ExecStartPost=-+/usr/local/bin/gateway firewall reload --quiet
ExecReload=-+/usr/local/bin/gateway firewall reload --quiet
";

const WHY: &str = "nothing but SSH and the edge is reached from outside";

pub(super) fn firewall(plan: &mut Plan, facts: &Facts, answers: &Answers) {
    docker(plan, facts);
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
        Ruler::Ufw | Ruler::Firewalld => spoken_to(plan, facts, answers, &ssh),
        Ruler::Nobody => of_our_own(plan, facts, answers, ssh),
    }
}

/// Opening ports cuts off nobody: no dead man's switch is needed.
fn spoken_to(plan: &mut Plan, facts: &Facts, answers: &Answers, ssh: &BTreeSet<u16>) {
    let missing = facts.to_open(&answers.edge_ports(), ssh);
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
    if let Some(armed) = &facts.live.armed {
        plan.note(
            format!("a firewall waits to be confirmed until {:.0}", armed.until),
            "open a second SSH session and run `sudo gateway bootstrap confirm` there",
        );
        return;
    }
    let why = "a firewall that is flushed by others comes back with them";
    plan.file(facts, AFTER_FLUSH, AFTER_FLUSH_TEXT, (why, Then::ReloadUnits));
    let why = "a new listener is reached without a second order";
    plan.file(facts, FOLLOWS, FOLLOWS_TEXT, (why, Then::ReloadUnits));
    for table in &facts.dropping {
        plan.note(
            format!("the table `{table}` drops what it does not know, beside ours"),
            format!("open {} in it too", ports(&answers.edge_ports())),
        );
    }
    let stored = facts.live.stored.clone();
    let before = stored.clone().unwrap_or_default();
    // What was opened, admitted and denied stays so, and no port of SSH is ever closed by itself.
    let wanted = Firewall {
        ssh: before.ssh.union(&ssh).copied().collect(),
        edge: answers.edge_ports(),
        ..before.clone()
    };
    let is = match (&stored, facts.live.same) {
        (Some(stored), true) if *stored == wanted => return,
        (Some(_), true) => "other ports",
        (Some(_), false) => "not what was confirmed",
        (None, _) if facts.live.table => "rules of unknown origin",
        (None, _) => "none of ours",
    };
    let open: BTreeSet<u16> = wanted.ssh.union(&wanted.edge).copied().collect();
    let lets = format!("all closed but {} (SSH: {})", ports(&open), ports(&wanted.ssh));
    if answers.unattended && facts.ssh.session == Session::Local {
        plan.step("firewall", (is, lets), WHY, Action::Settle(wanted));
        return;
    }
    let within = answers.confirm_within;
    let will = format!("{lets}; goes back after {} s unless confirmed", within.as_secs());
    plan.step("firewall", (is, will), WHY, Action::Arm(wanted, within));
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
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

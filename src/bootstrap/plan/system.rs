//! Steps about the machine itself: kernel, journal, clock, security updates.

use std::path::Path;

use super::{Action, Answers, Facts, Plan, Then};

/// Settings of the kernel.
pub(super) const SYSCTL: &str = "/etc/sysctl.d/60-gateway.conf";
/// Limits of the journal.
pub(super) const JOURNAL: &str = "/etc/systemd/journald.conf.d/60-gateway.conf";
/// Updates.
pub(super) const UPDATES: &str = "/etc/apt/apt.conf.d/52gateway-updates";
/// The clock of systemd.
pub(super) const CLOCK: &str = "systemd-timesyncd.service";

/// The queue of connections that wait to be accepted: what the edge asks for, the kernel cuts to this. 4096 is the
/// kernel's own default since 5.4; older ones say 128.
const SOMAXCONN_MIN: u64 = 4096;

/// File descriptors: the unit's own limit can be no higher than `nr_open`, and all programs together have `file-max`.
const DESCRIPTORS: [(&str, u64); 2] = [("fs.nr_open", 65_536), ("fs.file-max", 131_072)];

pub(super) fn kernel(plan: &mut Plan, facts: &Facts) {
    let value = |name: &str| facts.kernel.get(name).copied();
    let mut lines = Vec::new();
    let mut is = Vec::new();
    if let Some(now) = value("net.core.somaxconn").filter(|now| *now < SOMAXCONN_MIN) {
        lines.push(format!("net.core.somaxconn = {SOMAXCONN_MIN}"));
        is.push(format!("net.core.somaxconn {now}"));
    }
    // In a container these are the host's.
    for (name, least) in DESCRIPTORS.into_iter().filter(|_| facts.container.is_none()) {
        if let Some(now) = value(name).filter(|now| *now < least) {
            lines.push(format!("{name} = {least}"));
            is.push(format!("{name} {now}"));
        }
    }
    if value("net.ipv4.tcp_syncookies") == Some(0) {
        lines.push("net.ipv4.tcp_syncookies = 1".to_owned());
        is.push("net.ipv4.tcp_syncookies 0".to_owned());
    }
    if lines.is_empty() {
        return;
    }
    let will = lines.join(", ");
    lines.extend(set_before(facts, &lines));
    let content = format!("# Written by `gateway bootstrap`.\n{}\n", lines.join("\n"));
    let action = Action::Write { path: SYSCTL.into(), mode: 0o644, content, then: Then::Sysctl };
    plan.step(
        "kernel settings",
        (is.join(", "), will),
        "bursts of connections wait instead of being dropped, and there are file descriptors for them",
        action,
    );
}

/// What an earlier run has written for later boots, without what is written now: it holds by now, and is no fact any more.
fn set_before(facts: &Facts, now: &[String]) -> Vec<String> {
    let name = |line: &str| line.split_once(" = ").map(|(name, _)| name.to_owned());
    let names: Vec<String> = now.iter().filter_map(|line| name(line)).collect();
    let before = facts.files.get(Path::new(SYSCTL)).map(|file| file.content.as_str()).unwrap_or_default();
    let stays = |line: &&str| name(line).is_some_and(|name| !names.contains(&name));
    before.lines().filter(stays).map(str::to_owned).collect()
}

pub(super) fn journal(plan: &mut Plan, facts: &Facts) {
    if facts.journal_limited {
        return;
    }
    let content = "# Written by `gateway bootstrap`.\n[Journal]\nSystemMaxUse=1G\nSystemKeepFree=1G\n";
    let action = Action::Write {
        path: JOURNAL.into(),
        mode: 0o644,
        content: content.to_owned(),
        then: Then::RestartJournal,
    };
    plan.step(
        "journal",
        ("no limit of its own", "1 GiB at most, 1 GiB kept free"),
        "logs never fill the disk",
        action,
    );
}

pub(super) fn clock(plan: &mut Plan, facts: &Facts) {
    // In a container the clock is the host's.
    if facts.clock || facts.container.is_some() {
        return;
    }
    let why = "certificates and tickets need the right time";
    if facts.unit(CLOCK).exists {
        plan.step("clock", ("nothing sets it", "set by systemd-timesyncd"), why, Action::Enable(vec![CLOCK]));
    } else if facts.programs.contains("apt-get") {
        let action = Action::Packages(vec!["systemd-timesyncd"]);
        plan.step("clock", ("nothing sets it", "package systemd-timesyncd"), why, action);
        plan.step("clock", ("not set", "set by systemd-timesyncd"), why, Action::Enable(vec![CLOCK]));
    } else {
        plan.note("nothing sets the clock", "install chrony or systemd-timesyncd");
    }
}

pub(super) fn updates(plan: &mut Plan, facts: &Facts, answers: &Answers) {
    if facts.updates {
        return;
    }
    if !answers.updates {
        plan.note("security updates are not installed by themselves", "`gateway bootstrap --updates`");
        return;
    }
    if !facts.programs.contains("apt-get") {
        plan.note("`--updates` knows apt only", "use what this distribution has for it");
        return;
    }
    let why = "holes are closed while nobody looks";
    let action = Action::Packages(vec!["unattended-upgrades"]);
    plan.step("security updates", ("by hand", "package unattended-upgrades"), why, action);
    let content = "// Written by `gateway bootstrap`.\nAPT::Periodic::Update-Package-Lists \"1\";\nAPT::Periodic::Unattended-Upgrade \"1\";\n";
    plan.file(facts, UPDATES, content, (why, Then::Nothing));
}

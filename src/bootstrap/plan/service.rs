//! Steps about the gateway itself: program, users, directories, configuration, sealing key, units, start.

use std::path::Path;

use super::{
    super::{App, facts::AppFacts, share},
    Action, Answers, Facts, GATEWAY, Plan, Then, places, settings,
    shipped::{SYSUSERS, Shipped, TMPFILES, UNITS, directories_of},
};

const SERVICE: &str = "gateway.service";
const SOCKET: &str = "gateway.socket";

pub(super) fn program(plan: &mut Plan, facts: &Facts) {
    if facts.installed {
        return;
    }
    let why = "the service starts it from a place that only root can write";
    plan.step(places::PROGRAM, ("missing, or another version", "this program"), why, Action::Install);
}

pub(super) fn accounts(plan: &mut Plan, facts: &Facts) {
    let why = "the edge and the workers run without root, and apart from each other";
    plan.file(facts, SYSUSERS.path, SYSUSERS.content, (why, Then::Nothing));
    let missing: Vec<String> =
        accounts_of(SYSUSERS.content).into_iter().filter(|name| !facts.accounts.contains(name)).collect();
    if !missing.is_empty() {
        plan.step("accounts", ("missing", missing.join(", ")), why, Action::Accounts);
    }
    let why = "each directory has one owner, and only they write to it";
    plan.file(facts, TMPFILES.path, TMPFILES.content, (why, Then::Nothing));
    let missing: Vec<String> = directories_of(TMPFILES.content)
        .filter(|(path, rights)| facts.directories.get(path) != Some(rights))
        .map(|(path, rights)| match facts.directories.get(&path) {
            Some(is) => format!("{} {rights} (is {is})", path.display()),
            None => format!("{} {rights}", path.display()),
        })
        .collect();
    if !missing.is_empty() {
        plan.step(
            "directories",
            ("missing, or of another mode or owner", missing.join(", ")),
            why,
            Action::Directories,
        );
    }
}

/// The names that a sysusers file makes (sysusers.d(5)): a user comes with a group of its name.
pub(super) fn accounts_of(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next().map(|kind| kind.trim_end_matches('!')), words.next()) {
            (Some("u"), Some(name)) => names.extend([format!("user {name}"), format!("group {name}")]),
            (Some("g"), Some(name)) => names.push(format!("group {name}")),
            _ => {}
        }
    }
    names.sort();
    names.dedup();
    names
}

pub(super) fn configuration(plan: &mut Plan, facts: &Facts, answers: &Answers) {
    if let (Some(answer), Some(app)) = (&answers.app, &facts.app) {
        environment(plan, answer, app);
    }
    if facts.files.contains_key(Path::new(places::CONFIG)) {
        return;
    }
    if let (Some(answer), Some(app)) = (&answers.app, &facts.app) {
        application(plan, answer.directory.display().to_string(), app);
        if answers.domains.is_empty() {
            plan.problem(
                "an application without a host is reached by nobody",
                "name it with `--domain HOST`",
            );
        }
    } else if answers.app.is_none() && answers.upstream.is_none() {
        let remedy = "`--app DIR --domain HOST`, or a `[backend.NAME]` in the configuration later";
        plan.note("no application is named: the gateway starts without a backend", remedy);
    }
    let content = settings::configuration(answers, facts);
    let action = Action::Write { path: places::CONFIG.into(), mode: 0o640, content, then: Then::Nothing };
    let will = match &answers.domains[..] {
        [] => "written".to_owned(),
        domains => format!("written, for {}", domains.join(", ")),
    };
    plan.step(places::CONFIG, ("missing", will), "the service reads it", action);
}

fn application(plan: &mut Plan, directory: String, app: &AppFacts) {
    if !app.exists {
        plan.problem(
            format!("there is no directory `{directory}`"),
            "name the application's with `--app DIR`",
        );
    } else if app.command.is_empty() {
        let remedy = "give it with `--command \"node FILE\"`";
        plan.problem(format!("nothing in `{directory}` says how it is started"), remedy);
    }
}

/// What runs in the directory now, under pm2 or by hand, may have been told more than the service will be.
fn environment(plan: &mut Plan, answer: &App, app: &AppFacts) {
    let missing = app.names_missing();
    if missing.is_empty() {
        return;
    }
    let remedy = match &answer.env_file {
        Some(file) => format!("add what it needs to `{}`", file.display()),
        None => {
            "put what it needs into a file of `NAME=value` lines (chmod 600), and name it with `--env-file`"
                .to_owned()
        }
    };
    let directory = answer.directory.display();
    plan.note(
        format!(
            "what runs in `{directory}` now has in its environment, and will not have: {}",
            missing.join(", ")
        ),
        remedy,
    );
}

pub(super) fn seal_key(plan: &mut Plan, facts: &Facts) {
    let sealed = facts.seal_key.as_deref() == Some(Path::new(places::SEALED_KEY));
    let why =
        "the databases' credentials are sealed with it, and a copy of the registry alone does not open them";
    let content = settings::credential_drop_in(places::SEALED_KEY);
    if sealed {
        plan.file(facts, places::SEAL_DROP_IN, &content, (why, Then::ReloadUnits));
    } else if facts.seal_key.is_none() && facts.credentials {
        let will = "made, encrypted for this machine";
        let action = Action::SealKey { drop_in: places::SEAL_DROP_IN.into(), content };
        plan.step(places::SEALED_KEY, ("no sealing key", will), why, action);
    }
}

pub(super) fn units(plan: &mut Plan, facts: &Facts, answers: &Answers) {
    let why = "systemd starts it at boot, and again when it ends";
    for Shipped { path, content } in &UNITS {
        plan.file(facts, path, content, (why, Then::ReloadUnits));
    }
    if !settings::usual_ports(answers) || facts.files.contains_key(Path::new(settings::SOCKET_DROP_IN)) {
        let why = "systemd listens where the configuration says";
        let content = settings::socket_drop_in(answers);
        plan.file(facts, settings::SOCKET_DROP_IN, &content, (why, Then::ReloadUnits));
    }
    if let Some(app) = &answers.app
        && let Some(content) = settings::drop_in(app, facts.node.chosen())
    {
        let why = "the unit's sandbox lets the application reach what it needs, and nothing else";
        plan.file(facts, settings::DROP_IN, &content, (why, Then::ReloadUnits));
    }
}

/// `chmod 600` is what everybody is told to do with secrets, and the service is not root.
pub(super) fn environment_file(plan: &mut Plan, facts: &Facts, answers: &Answers) {
    let file = answers.app.as_ref().and_then(|app| app.env_file.clone());
    let closed = facts.app.as_ref().and_then(|app| app.env_closed);
    if let (Some(file), Some(mode)) = (file, closed) {
        let is = format!("root's alone ({mode:o})");
        let will = format!("read by the group {GATEWAY} too ({:o})", share::opened(mode));
        let why = "the gateway reads it for the application, and is not root";
        plan.step(file.display().to_string(), (is, will), why, Action::Share(file));
    }
}

pub(super) fn access(plan: &mut Plan, facts: &Facts, answers: &Answers) {
    if let (Some(app), Some(found)) = (&answers.app, &facts.app) {
        if found.reached && facts.unit(SERVICE).active && plan.steps.is_empty() {
            return;
        }
        let action = settings::access(app, found);
        let count = match &action {
            Action::Access { read, write, own } => read.len() + write.len() + own.len(),
            _ => 0,
        };
        let will = format!("{count} files and directories are tried");
        let why = "an application that cannot be read does not start";
        plan.step("access", ("not known", will), why, action);
    }
}

/// Beside what serves already, the certificates that it serves with are good for us too.
pub(super) fn certificates(plan: &mut Plan, facts: &Facts, answers: &Answers) {
    let asked = |host: &str| answers.tls == "acme" && answers.domains.iter().any(|domain| domain == host);
    let (unfit, wanted): (Vec<&String>, Vec<&String>) = facts
        .certbot
        .iter()
        .filter(|host| asked(host))
        .partition(|host| facts.certbot_unfit.contains_key(*host));
    for host in unfit {
        let why = facts.certbot_unfit.get(host).map(String::as_str).unwrap_or_default();
        let remedy = "the gateway orders its own; `gateway cert import` takes one from elsewhere";
        plan.note(format!("certbot's certificate of {host} is not taken along: {why}"), remedy);
    }
    if !wanted.is_empty() {
        let why = "it serves with them before it has ordered its own, and is reached only after the cut-over";
        let hosts: Vec<String> = wanted.into_iter().cloned().collect();
        let is = format!("certbot has {}", hosts.join(", "));
        plan.step("certificates", (is, "copies of them are the gateway's"), why, Action::Certificates(hosts));
    }
}

pub(super) fn start(plan: &mut Plan, facts: &Facts) {
    let runs = facts.unit(SERVICE).active;
    let moved = socket_has_moved(plan, facts);
    if moved && !runs && facts.unit(SOCKET).active {
        // Before the service is started: with the old listeners it may be what cannot start.
        let why = "the service gets its listeners from it";
        let both = Action::Restart(vec![SOCKET, SERVICE]);
        plan.step("restart", ("listens as it did before", "listens as planned"), why, both);
    }
    let off: Vec<&'static str> = [SOCKET, SERVICE]
        .into_iter()
        .filter(|unit| !facts.unit(unit).active || !facts.unit(unit).enabled)
        .collect();
    let why = "from now on it serves, and after every boot";
    if !off.is_empty() {
        plan.step(
            "start",
            (format!("{} off", off.join(", ")), "on, now and at boot"),
            why,
            Action::Enable(off),
        );
    }
    let concerns = |action: &Action| match action {
        Action::Install | Action::Node { .. } => true,
        Action::Write { path, .. } => path.to_string_lossy().contains("/gateway.s"),
        _ => false,
    };
    // Or an earlier run has changed it, and has failed before it came to this.
    let due = facts.outdated.contains(SERVICE);
    if runs && (due || plan.steps.iter().any(|step| concerns(&step.action))) {
        // A socket that stays keeps who connects meanwhile.
        let units = moved.then_some(SOCKET).into_iter().chain([SERVICE]).collect();
        let why = "what has changed comes into force";
        plan.step("restart", ("runs as it was before", "runs as planned"), why, Action::Restart(units));
    }
}

/// Now, or in an earlier run that has failed before it came to the restart.
fn socket_has_moved(plan: &Plan, facts: &Facts) -> bool {
    let moves = |action: &Action| matches!(action, Action::Write { path, .. } if path.to_string_lossy().contains("/gateway.socket"));
    facts.outdated.contains(SOCKET) || plan.steps.iter().any(|step| moves(&step.action))
}

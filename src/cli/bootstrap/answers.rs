//! What the operator answers, looked at before anything is touched: an answer that cannot be carried out, and one that
//! contradicts the configuration that is there, are wrong usage.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{BESIDE, Bootstrap, configured, there};
use crate::{
    backend,
    bootstrap::{self, Answers, App, Facts},
    cli::{Failure, Settings},
    config::{self, Config},
    tenant::HostName,
};

/// A host that a certificate can be had for.
pub(super) fn host(text: &str) -> Result<String, String> {
    let host = text.parse::<HostName>().map_err(|problem| problem.to_string())?;
    match host.is_address() {
        true => {
            Err("it is an address: write the name that leads there, such as `api.example.com`".to_owned())
        }
        false => Ok(host.to_string()),
    }
}

/// A mail address, with or without `mailto:`.
pub(super) fn contact(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    match config::is_mail_address(address) {
        true => Ok(address.to_owned()),
        false => Err("this is no e-mail address: write it alone, such as `admin@example.com`".to_owned()),
    }
}

/// What speaks HTTP already.
pub(super) fn upstream(text: &str) -> Result<String, String> {
    match config::upstream_problem(text) {
        Some(problem) => Err(format!("{problem}: write it like `http://127.0.0.1:3000`")),
        None => Ok(text.to_owned()),
    }
}

impl Bootstrap {
    /// What is answered, as far as it makes sense by itself.
    pub(super) fn answers(&self, settings: &Settings) -> Result<Answers, Failure> {
        let app = match &self.app {
            Some(directory) => Some(self.application(directory)?),
            None => None,
        };
        let mut listen = self.listen.clone();
        if self.beside {
            listen = BESIDE.iter().filter_map(|address| address.parse().ok()).collect();
        } else if listen.is_empty() {
            listen = configured(settings)?;
        }
        Ok(Answers {
            app,
            upstream: self.upstream.clone(),
            node: self.node.as_ref().map(ToString::to_string),
            node_mirror: self.node_mirror.clone(),
            domains: self.domain.clone(),
            tls: self.tls.clone(),
            contact: self.contact.clone(),
            listen,
            ssh_ports: self.ssh_port.iter().copied().collect(),
            open: self.open.iter().copied().collect(),
            firewall: !self.no_firewall,
            confirm_within: self.confirm_within,
            updates: self.updates,
            unattended: self.yes,
        })
    }

    fn application(&self, directory: &Path) -> Result<App, Failure> {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|error| Failure::io("find", path, &error));
        let words = self.command.iter().flat_map(|text| text.split_whitespace());
        let app = App {
            directory: absolute(directory)?,
            command: words.map(str::to_owned).collect(),
            env_file: self.env_file.as_deref().map(absolute).transpose()?,
            data: self.data.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?,
        };
        is_there(&app).map(|()| app)
    }
}

/// Does all that is named exist?
fn is_there(app: &App) -> Result<(), Failure> {
    if !app.directory.is_dir() {
        let message = format!("there is no directory `{}`", app.directory.display());
        return Err(Failure::usage(message).hint("name the application's with `--app DIR`"));
    }
    if let Some(path) = app.data.iter().find(|path| !path.exists()) {
        let path = path.display();
        let hint = format!("make it (`mkdir -p {path}`) before the application is to write there");
        return Err(Failure::usage(format!("`--data {path}` does not exist")).hint(hint));
    }
    let own = Config::default();
    if let Some((path, what)) =
        app.data.iter().find_map(|path| config::too_wide(path, &own).map(|what| (path.display(), what)))
    {
        let hint = "name the directories that the application writes to, and nothing above them";
        return Err(Failure::usage(format!("`--data {path}`: the application could write {what}")).hint(hint));
    }
    match &app.env_file {
        Some(path) if !path.exists() => {
            let hint = "write it, with lines such as `NAME=value`, or leave `--env-file` out";
            Err(Failure::usage(format!("`--env-file {}` does not exist", path.display())).hint(hint))
        }
        Some(path) => backend::Config::env_file_problem(path).map_err(|reason| {
            let hint = "it holds lines such as `NAME=value`";
            Failure::usage(format!("`--env-file {}`: {reason}", path.display())).hint(hint)
        }),
        None => Ok(()),
    }
}

/// Can the application be started at all? Where a configuration is there already, that one says how.
pub(super) fn starts(facts: &Facts, answers: &Answers, settings: &Settings) -> Result<(), Failure> {
    let (Some(answer), Some(app)) = (&answers.app, &facts.app) else { return Ok(()) };
    if answer.command.is_empty() && there(settings)?.is_some() {
        return Ok(());
    }
    let missing = app.missing.clone().or_else(|| {
        // Node and what comes with it may be brought yet.
        let program = app.command.first().filter(|program| !program.contains('/'))?;
        let beside = |node: &bootstrap::NodeThere| node.program.with_file_name(program).exists();
        let known = facts.needs_node(answers) || bootstrap::has_program(program);
        (!known && !facts.node.there.iter().any(beside)).then(|| PathBuf::from(program))
    });
    let Some(missing) = missing else { return Ok(()) };
    let message = format!("`{}` names `{}`, which does not exist", app.command.join(" "), missing.display());
    Err(Failure::usage(message).hint("say how the application is started with `--command \"node FILE\"`"))
}

/// A configuration that is there is its owner's: what contradicts it is told before anything is touched.
pub(super) fn fit(answers: &Answers, settings: &Settings) -> Result<(), Failure> {
    told(contradiction, answers, settings)
}

/// The machine is ready for what it was asked; what the configuration must say besides is its owner's to write.
pub(super) fn said_in_full(answers: &Answers, settings: &Settings) -> Result<(), Failure> {
    told(left_to_write, answers, settings)
}

/// What a configuration says otherwise, or not yet; and what to write into it.
type Lack = (String, String);

fn told(
    look: fn(&Answers, &Config) -> Option<Lack>,
    answers: &Answers,
    settings: &Settings,
) -> Result<(), Failure> {
    match there(settings)?.and_then(|loaded| look(answers, &loaded.config)) {
        Some((what, remedy)) => {
            let file = settings.config.clone().unwrap_or_else(|| PathBuf::from(bootstrap::CONFIG));
            let message = format!("`{}` is there already, and {what}", file.display());
            Err(Failure::usage(message).hint(format!("{remedy} there, then `gateway reload`")))
        }
        None => Ok(()),
    }
}

/// Pure.
fn contradiction(answers: &Answers, config: &Config) -> Option<Lack> {
    let of_edge = config.edge.hosts.iter().map(HostName::as_str);
    let of_sites = config.edge.site.iter().filter_map(|site| site.host.as_ref().map(HostName::as_str));
    let of_tenants = config.tenant.iter().flat_map(|tenant| tenant.hosts.iter().map(HostName::as_str));
    let of_backends = config.backend.values().flat_map(|backend| backend.hosts.iter().map(String::as_str));
    let served: Vec<&str> = of_edge.chain(of_sites).chain(of_tenants).chain(of_backends).collect();
    if let Some(host) = answers.domains.iter().find(|host| !served.contains(&host.as_str())) {
        let place = match config.backend.keys().next() {
            Some(name) => format!("`hosts` of `[backend.{name}]`"),
            None => "`hosts` of `[edge]`".to_owned(),
        };
        return Some((format!("does not serve `{host}`"), format!("add \"{host}\" to {place}")));
    }
    let listens: BTreeSet<SocketAddr> = config.edge.https.iter().chain(&config.edge.http).copied().collect();
    if answers.listen.iter().copied().collect::<BTreeSet<_>>() != listens {
        let shown = listens.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let remedy = "write the other addresses into `https` and `http` of `[edge]`".to_owned();
        return Some((format!("has the edge listen on {shown}"), remedy));
    }
    if let Some(upstream) = &answers.upstream {
        let known = |backend: &backend::Config| backend.upstream.as_ref() == Some(upstream);
        return (!config.backend.values().any(known)).then(|| {
            let remedy = format!("write `upstream = \"{upstream}\"` into a `[backend.NAME]`");
            (format!("has no backend with the upstream `{upstream}`"), remedy)
        });
    }
    let app = answers.app.as_ref()?;
    let Some((name, backend)) = ours(app, config) else {
        // Beside an upstream the application is made ready, and takes its place later.
        let starts = config.backend.values().any(|backend| backend.upstream.is_none());
        let directory = app.directory.display();
        let remedy = format!("write a `[backend.NAME]` with `directory = \"{directory}\"`");
        return starts.then(|| (format!("starts no application in `{directory}`"), remedy));
    };
    (!app.command.is_empty() && backend.command != app.command).then(|| {
        let what = format!("starts `[backend.{name}]` with `{}`", backend.command.join(" "));
        (what, format!("write the other `command` into `[backend.{name}]`"))
    })
}

/// Pure.
fn left_to_write(answers: &Answers, config: &Config) -> Option<Lack> {
    let app = answers.app.as_ref()?;
    let (name, backend) = ours(app, config)?;
    let covers = |path: &Path| backend.allow_write.iter().any(|allowed| path.starts_with(allowed));
    if let Some(path) = app.data.iter().find(|path| backend.sandbox && !covers(path)) {
        let path = path.display();
        let what = format!("does not let `[backend.{name}]` write to `{path}`");
        return Some((what, format!("add \"{path}\" to `allow_write` of `[backend.{name}]`")));
    }
    let file = app.env_file.as_ref().filter(|file| backend.env_file.as_ref() != Some(file))?.display();
    let what = format!("does not give `[backend.{name}]` the environment of `{file}`");
    Some((what, format!("write `env_file = \"{file}\"` into `[backend.{name}]`")))
}

/// The backend whose application this is.
fn ours<'a>(app: &App, config: &'a Config) -> Option<(&'a String, &'a backend::Config)> {
    config.backend.iter().find(|(_, backend)| backend.directory.as_deref() == Some(&*app.directory))
}

#[cfg(test)]
mod tests;

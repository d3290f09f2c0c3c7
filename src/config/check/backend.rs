//! Checks of backends: what to start, where, for whom.

use std::{collections::HashMap, net::IpAddr, path::Path, time::Duration};

use super::Check;
use crate::{
    backend::Config as Backend,
    tenant::{HostName, TenantId},
};

/// Node closes an idle connection after five seconds.
const NODE_KEEP_ALIVE: Duration = Duration::from_secs(5);

impl Check<'_> {
    pub(super) fn backends(&mut self) {
        let config = self.config;
        if config.backend.is_empty() {
            let message = "there is no backend: every request ends here";
            self.warn(&["backend"], message, "add `[backend.api]` with a `command` or an `upstream`");
        }
        for (name, backend) in &config.backend {
            // Worker names, socket paths and metrics hold it: what is safe for a tenant's id is safe here.
            if name.parse::<TenantId>().is_err() {
                let message = format!("`{name}` is no name for a backend");
                self.problem(&["backend", name], message, "use lower-case letters, digits and hyphens");
            }
            self.kind(name, backend);
            self.command(name, backend);
            self.environment(name, backend);
            self.env_file(name, backend);
            self.isolation(name, backend);
            self.node_of(name, backend);
            self.times(name, backend);
            self.log(name, backend);
            if backend.health.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
                let message = "a path begins with `/`";
                self.problem(&["backend", name, "health", "path"], message, "write it like \"/healthz\"");
            }
        }
        self.hosts();
        self.reachable();
    }

    fn kind(&mut self, name: &str, backend: &Backend) {
        let command = ["backend", name, "command"];
        let upstream = ["backend", name, "upstream"];
        match (&backend.upstream, self.is_written(&command)) {
            (Some(_), true) => {
                let message =
                    "a backend is either started (`command`) or already running (`upstream`), not both";
                self.contradiction(&upstream, &[&command], message, "take one of the two out");
            }
            (None, false) => {
                let message = "nothing says what this backend is";
                let remedy =
                    "add `command = [\"node\", \"server.js\"]`, or `upstream = \"http://127.0.0.1:3000\"`";
                self.contradiction(&["backend", name], &[&command, &upstream], message, remedy);
            }
            (Some(text), false) => {
                match upstream_problem(text) {
                    Some(message) => {
                        self.problem(&upstream, message, "write it like \"http://127.0.0.1:3000\"");
                    }
                    None if self.is_own(text) => self.own_address(&upstream),
                    None if !is_local(text) => {
                        let message = "requests and tickets cross the network unencrypted to this upstream";
                        self.warn(&upstream, message, "reach it through a tunnel that ends on this machine");
                    }
                    None => {}
                }
                let isolation =
                    ["user", "group", "allow_root", "sandbox", "allow_read", "allow_write", "limits"];
                let life =
                    ["directory", "workers", "env", "listen", "restart_delay", "restart_delay_max", "log"];
                let orders = ["install", "watch", "sticky", "node"];
                for unused in isolation.into_iter().chain(life).chain(orders) {
                    let key = ["backend", name, unused];
                    if self.is_written(&key) {
                        let message = "without effect: an upstream is not started by the gateway";
                        self.warn(&key, message, "take it out");
                    }
                }
            }
            (None, true) => {}
        }
    }

    /// Do we listen there ourselves? An address that only others know as ours is not found out.
    pub(super) fn is_own(&self, upstream: &str) -> bool {
        let Some(url) = url::Url::parse(upstream).ok().filter(|url| url.scheme() == "http") else {
            return false;
        };
        let (edge, port) = (&self.config.edge, url.port_or_known_default());
        let mut own = edge.https.iter().chain(&edge.http).filter(|own| Some(own.port()) == port);
        let named = url.host().and_then(|host| match host {
            url::Host::Domain(_) => None,
            url::Host::Ipv4(address) => Some(IpAddr::from(address)),
            url::Host::Ipv6(address) => Some(IpAddr::from(address)),
        });
        let local = is_local(upstream);
        own.any(|own| match named {
            Some(named) => named == own.ip() || (local && own.ip().is_unspecified()),
            None => local && (own.ip().is_loopback() || own.ip().is_unspecified()),
        })
    }

    /// Requests would go round in circles.
    pub(super) fn own_address(&mut self, key: &[&str]) {
        let message = "the gateway itself listens there: every request would come back to it";
        self.problem(key, message, "name the address where the application listens");
    }

    fn command(&mut self, name: &str, backend: &Backend) {
        let key = ["backend", name, "command"];
        if backend.upstream.is_some() || !self.is_written(&key) {
            return;
        }
        let directory = backend.directory.as_deref().unwrap_or(self.directory);
        if !directory.is_dir() {
            let message = format!("there is no directory {}", directory.display());
            let remedy = "name the application's directory; relative paths start at the configuration file";
            self.problem(&["backend", name, "directory"], message, remedy);
        }
        let because = ["backend", name, "directory"];
        self.words(&key, &backend.command, Some(directory), &because);
        if backend.workers.count() > 1024 {
            let message = "that many processes are surely not meant";
            self.problem(&["backend", name, "workers"], message, "write \"cores\", or a number up to 1024");
        }
    }

    /// A program and its arguments. Without a directory a program with a path is not looked for.
    pub(super) fn words(
        &mut self,
        key: &[&str],
        command: &[String],
        directory: Option<&Path>,
        because_of: &[&str],
    ) {
        let example = "write it like [\"node\", \"server.js\"]";
        let there = directory.filter(|directory| directory.is_dir());
        match command.first() {
            None => self.problem(key, "the command is empty", example),
            Some(program) if program.trim().is_empty() => {
                self.problem(key, "the command's program is empty", example);
            }
            Some(program) if command.len() == 1 && program.contains(' ') => {
                let message = "a command is a list of words: this is one word with spaces in it";
                self.problem(key, message, "write each word by itself, such as [\"node\", \"server.js\"]");
            }
            Some(program) if program.contains('/') => {
                if let Some(missing) = there.map(|there| there.join(program)).filter(|path| !path.exists()) {
                    let message = format!("there is no {}", missing.display());
                    let remedy = "name a program that is there, or one that PATH finds";
                    self.contradiction(key, &[because_of], message, remedy);
                }
            }
            Some(_) => {}
        }
    }

    /// Is that a name for an environment variable?
    pub(super) fn variable_name(&mut self, key: &[&str], variable: &str) -> bool {
        let good = !variable.is_empty() && !variable.contains(['=', '\0']);
        if !good {
            let remedy = "use letters, digits and underscores";
            self.problem(key, "this is no name for an environment variable", remedy);
        }
        good
    }

    fn environment(&mut self, name: &str, backend: &Backend) {
        for variable in backend.env.keys() {
            let key = ["backend", name, "env", variable.as_str()];
            if self.variable_name(&key, variable) && variable == "PORT" {
                let remedy = "take it out; `listen = \"port\"` makes it a number";
                self.problem(&key, "the gateway itself sets PORT, differently for each worker", remedy);
            }
        }
    }

    fn env_file(&mut self, name: &str, backend: &Backend) {
        let Some(path) = &backend.env_file else { return };
        let key = ["backend", name, "env_file"];
        if let Err(reason) = Backend::env_file_problem(path) {
            let remedy = "write lines like NAME=value, in a file that the gateway's user can read";
            self.problem(&key, reason, remedy);
        }
    }

    fn times(&mut self, name: &str, backend: &Backend) {
        if backend.restart_delay > backend.restart_delay_max {
            let message = "the first pause is longer than the longest (`restart_delay_max`)";
            let also = ["backend", name, "restart_delay_max"];
            self.contradiction(&["backend", name, "restart_delay"], &[&also], message, "make it shorter");
        }
        if backend.health.timeout >= backend.ready_timeout {
            let message = "one slow answer uses up all of `ready_timeout`";
            self.warn(
                &["backend", name, "health", "timeout"],
                message,
                "make it a fraction of `ready_timeout`",
            );
        }
        if backend.keep_alive >= NODE_KEEP_ALIVE {
            let message = "Node closes idle connections after 5 s: requests sent just then fail";
            let remedy = "stay below 5 s, unless the application sets a longer `keepAliveTimeout`";
            self.warn(&["backend", name, "keep_alive"], message, remedy);
        }
    }

    /// Each host is one backend's or one tenant's.
    fn hosts(&mut self) {
        let config = self.config;
        let mut owners: HashMap<String, String> = HashMap::new();
        for (name, backend) in &config.backend {
            for (index, text) in backend.hosts.iter().enumerate() {
                let index = index.to_string();
                let key = ["backend", name.as_str(), "hosts", &index];
                let host = match text.parse::<HostName>() {
                    Ok(host) => host.to_string(),
                    Err(problem) => {
                        let remedy = "write the name alone, such as \"api.example.com\"";
                        self.problem(&key, problem.to_string(), remedy);
                        continue;
                    }
                };
                let owner = format!("backend `{name}`");
                if let Some(other) = owners.get(&host).filter(|other| **other != owner) {
                    let message = format!("{other} has the host `{host}` already");
                    self.problem(&key, message, "give it to one backend");
                }
                owners.insert(host, owner);
            }
        }
        for (index, tenant) in config.tenant.iter().enumerate() {
            for (at, host) in tenant.hosts.iter().enumerate() {
                let edge = config.edge.hosts.contains(host).then(|| "`edge.hosts`".to_owned());
                if let Some(owner) = owners.get(host.as_str()).cloned().or(edge) {
                    let message =
                        format!("{owner} has the host `{host}` already: it is shared, not a tenant's own");
                    let key = ["tenant", &index.to_string(), "hosts", &at.to_string()].map(str::to_owned);
                    let key: Vec<&str> = key.iter().map(String::as_str).collect();
                    self.problem(&key, message, "take it out of one of the two");
                }
            }
        }
    }

    /// Can a request find each backend?
    fn reachable(&mut self) {
        let config = self.config;
        let several = config.backend.len() > 1;
        let no_host = config.edge.hosts.is_empty() && config.tenant.iter().all(|t| t.hosts.is_empty());
        for (name, backend) in &config.backend {
            let named = config.tenant.iter().any(|tenant| tenant.backend.as_ref() == Some(name));
            if backend.hosts.is_empty() && (if several { !named } else { no_host }) {
                let message = "neither a host nor a declared tenant leads to this backend";
                let remedy = "give it `hosts`, or name it in a tenant (`backend = …`)";
                self.warn(&["backend", name], message, remedy);
            }
        }
    }
}

/// What is wrong with the address of something that speaks HTTP already.
pub(crate) fn upstream_problem(text: &str) -> Option<String> {
    let url = match url::Url::parse(text) {
        Ok(url) => url,
        Err(error) => return Some(format!("this is no URL: {error}")),
    };
    if url.scheme() != "http" {
        Some("an upstream speaks plain HTTP".to_owned())
    } else if url.host_str().is_none_or(str::is_empty) {
        Some("the URL names no host".to_owned())
    } else if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        Some("an upstream is scheme, host and port alone: the request brings its own path".to_owned())
    } else if !url.username().is_empty() || url.password().is_some() {
        Some("an upstream takes no user or password".to_owned())
    } else {
        None
    }
}

fn is_local(text: &str) -> bool {
    let url = url::Url::parse(text).ok();
    url.and_then(|url| url.host().map(|host| host.to_owned())).is_some_and(|host| match host {
        url::Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        url::Host::Ipv4(address) => IpAddr::from(address).is_loopback(),
        url::Host::Ipv6(address) => IpAddr::from(address).to_canonical().is_loopback(),
    })
}

//! Checks of the directories, the log, the admin API and the default CORS policy.

use std::path::Path;

use super::{Check, Key, Purpose};
use crate::tenant::CorsPolicy;

/// A Unix socket's path has 108 bytes with its closing zero; what is longer would be cut in silence.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The group of the administrators that the shipped sysusers.d(5) snippet makes.
const SHIPPED_GROUP: &str = "gateway-admin";

impl Check<'_> {
    pub(super) fn state(&mut self) {
        let config = self.config;
        for (key, path) in [("state_dir", &config.state_dir), ("runtime_dir", &config.runtime_dir)] {
            if path.as_os_str().is_empty() {
                self.problem(&[key], "the path is empty", "name a directory");
            }
        }
        self.runtime_dir();
        let grace = config.backend.values().map(|backend| backend.stop_grace).max().unwrap_or_default();
        if config.shutdown_grace < grace {
            let message =
                "shorter than a backend's `stop_grace`: its workers would be killed before their time";
            self.warn(&["shutdown_grace"], message, "make it as long as the longest `stop_grace`, or longer");
        }
        self.cors(&["cors"], &config.cors);
        self.admin();
        if let Some(reason) = config.log.problem() {
            let message = format!("the log does not understand this: {reason}");
            self.problem(
                &["log", "level"],
                message,
                "write a level, such as \"info\", or \"info,gateway::door=debug\"",
            );
        }
    }

    fn runtime_dir(&mut self) {
        let config = self.config;
        let runtime = config.runtime_dir.as_path();
        // The longest name below it is a worker's socket: backend, slot and a number that grows.
        let worker = |(name, backend): (&String, &crate::backend::Config)| {
            format!("/workers/{name}-{}-9999999999.sock", backend.workers.count()).len()
        };
        let tail = config.backend.iter().map(worker).max().unwrap_or_default().max("/tickets.sock".len());
        let long = runtime.as_os_str().len() + tail;
        if long > SOCKET_PATH_BYTES_MAX {
            let message = format!(
                "sockets in {} would have paths of {long} bytes, and the system takes {SOCKET_PATH_BYTES_MAX}",
                runtime.display()
            );
            self.problem(&["runtime_dir"], message, "choose a shorter path, such as \"/run/gateway\"");
        }
        // It is emptied at start: nothing that must last may be in it.
        let lasting: [(&str, &Path); 2] =
            [("the state directory", &config.state_dir), ("the configuration", self.directory)];
        for (what, path) in lasting {
            if !runtime.as_os_str().is_empty() && path.starts_with(runtime) {
                let message = format!("the runtime directory is emptied at start, and {what} lies in it");
                let remedy = "give the sockets a directory of their own, such as \"/run/gateway\"";
                self.contradiction(&["runtime_dir"], &[&["state_dir"]], message, remedy);
            }
        }
    }

    fn admin(&mut self) {
        let admin = &self.config.admin;
        if let Some(address) = admin.metrics_listen
            && !address.ip().to_canonical().is_loopback()
        {
            let message = "metrics would be open to the network";
            self.problem(
                &["admin", "metrics_listen"],
                message,
                "use a loopback address, such as \"127.0.0.1:9100\"",
            );
        }
        if let Some(group) = &admin.group
            && !(self.purpose == Purpose::SetUp && group == SHIPPED_GROUP)
            && !nix::unistd::Group::from_name(group).is_ok_and(|found| found.is_some())
        {
            let remedy =
                "make it (`groupadd --system NAME`), or leave the key out: root may always give orders";
            self.problem(&["admin", "group"], "there is no such group", remedy);
        }
        if let Some(socket) = &admin.socket
            && socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX
        {
            let message = format!("a socket's path can have {SOCKET_PATH_BYTES_MAX} bytes at most");
            self.problem(&["admin", "socket"], message, "choose a shorter path, or leave it out");
        }
    }

    /// A CORS policy, the default one or a tenant's.
    pub(super) fn cors(&mut self, key: Key<'_>, policy: &CorsPolicy) {
        use crate::tenant::CorsProblem::{NoToken, StarWithCredentials};
        for problem in policy.problems() {
            let message = problem.to_string();
            let (list, remedy) = match problem {
                StarWithCredentials { list } => (list, "list the names, or set `credentials = false`"),
                NoToken { list, .. } => (list, "write names alone, such as \"GET\" or \"content-type\""),
            };
            self.contradiction(
                &[key, &[list]].concat(),
                &[&[key, &["credentials"]].concat()],
                message,
                remedy,
            );
        }
    }
}

//! A generation: what one reload started. A worker that crashes is started again from its own generation, not
//! from what lies in the directory now; so everything that could change is resolved here, once.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    BackendError, Config, SOCKET_PATH_BYTES_MAX,
    account::{Identity, Own},
    child::{self, Launcher},
    confinement::Confinement,
    env_file::EnvFile,
    environment::{Environment, program, search_path},
    node::{Asking, Hints, NodeStatus, Source, Store, version},
    output::Limits,
    restart::Policy,
    status::GenerationStatus,
};

/// What a configuration leads to, and may lead elsewhere tomorrow though not a word of it has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeadsTo {
    /// The directory behind all symbolic links.
    pub(super) directory: PathBuf,
    /// What the file says.
    pub(super) env_file: EnvFile,
    identity: Option<Identity>,
}
/// Programs that are Node, or begin with one.
const NODE_PROGRAMS: [&str; 7] = ["node", "npm", "npx", "pnpm", "pnpx", "yarn", "corepack"];

/// One resolved way to run a backend.
#[derive(Debug)]
pub(super) struct Generation {
    /// Counts up from 1.
    pub(super) number: u64,
    /// When it was resolved.
    pub(super) made: Timestamp,
    /// The configuration as it was then.
    pub(super) config: Config,
    /// The directory behind all symbolic links, so that a link that moves on moves no running generation.
    pub(super) directory: PathBuf,
    /// What `env_file` said then.
    pub(super) env_file: EnvFile,
    /// Whom its workers become; none: they stay what the gateway is.
    pub(super) identity: Option<Identity>,
    /// The Node that leads its PATH.
    pub(super) node: Option<NodeStatus>,
}

/// What a backend's generations are resolved in.
#[derive(Debug, Clone)]
pub(super) struct Grounds {
    /// The backend.
    pub(super) backend: String,
    /// Relative paths start here.
    pub(super) config_dir: PathBuf,
    /// Node's installed versions.
    pub(super) nodes: Store,
    /// The clean base of every environment.
    pub(super) base_env: Environment,
    /// How programs are started.
    pub(super) launcher: Launcher,
}

impl Grounds {
    /// The Node of a generation, asked for anew.
    fn node(
        &self,
        config: &Config,
        directory: &Path,
        env_file: &EnvFile,
        identity: Option<&Identity>,
    ) -> Result<Option<NodeStatus>, BackendError> {
        let refused = |reason| BackendError::Node { backend: self.backend.clone(), reason };
        let search = Environment::from([search_path(&self.base_env, [&env_file.0, &config.env])]);
        // A command that is no Node needs none, unless somebody says so.
        let runs_node = config.command.first().is_some_and(|name| NODE_PROGRAMS.contains(&name.as_str()));
        if !runs_node && config.node.is_empty() {
            return Ok(None);
        }
        let asking = Asking {
            backend: &self.backend,
            wish: &config.node,
            directory,
            identity,
            store: &self.nodes,
            nvms: &Hints::read().nvms(identity.map(|identity| identity.home.clone())),
            system: program(&search, directory, "node"),
            probe: &|node| {
                let confinement = Confinement {
                    directory: "/".into(),
                    identity: identity.cloned(),
                    ..Confinement::default()
                };
                version(&child::say(node, "--version", confinement, &self.launcher)?)
            },
        };
        let node = asking.answer().map_err(refused)?;
        // The state directory is the gateway's alone, but for the way to what is in here.
        if identity.is_some() && node.as_ref().is_some_and(|node| node.source == Source::Gateway) {
            self.nodes
                .open_way()
                .map_err(|error| refused(format!("its Node is out of its reach: {error}")))?;
        }
        Ok(node)
    }
}

impl Generation {
    /// The same without holding up the thread that asks.
    pub(super) async fn resolve_aside(
        grounds: &Arc<Grounds>,
        number: u64,
        config: Config,
    ) -> Result<Self, BackendError> {
        let (grounds, backend) = (Arc::clone(grounds), grounds.backend.clone());
        let resolving = tokio::task::spawn_blocking(move || Self::resolve(&grounds, number, config));
        resolving.await.unwrap_or_else(|error| Err(BackendError::Node { backend, reason: error.to_string() }))
    }

    /// Resolve what the configuration says, now. Blocks: a Node in PATH is asked for its version, as the workers' user.
    /// That takes some milliseconds, of a program that hangs two seconds.
    pub(super) fn resolve(grounds: &Grounds, number: u64, config: Config) -> Result<Self, BackendError> {
        let (backend, config_dir) = (&grounds.backend, &grounds.config_dir);
        if config.command.is_empty() || config.upstream.is_some() {
            return Err(BackendError::NothingToRun { backend: backend.to_owned() });
        }
        let identity = config
            .wish()
            .resolve(Own::now())
            .map_err(|reason| BackendError::Account { backend: backend.to_owned(), reason })?;
        // Joining an absolute directory replaces the base.
        let directory = config_dir.join(config.directory.as_deref().unwrap_or(Path::new("")));
        match directory.canonicalize() {
            Ok(directory) => {
                let env_file = config.env_file.as_deref().map(|path| EnvFile::read(&config_dir.join(path)));
                let env_file = env_file
                    .transpose()
                    .map_err(|reason| BackendError::EnvFile { backend: backend.to_owned(), reason })?;
                let made = Timestamp::now();
                let env_file = env_file.unwrap_or_default();
                let node = grounds.node(&config, &directory, &env_file, identity.as_ref())?;
                Ok(Self { number, made, config, directory, env_file, identity, node })
            }
            Err(source) => Err(BackendError::Directory { backend: backend.to_owned(), directory, source }),
        }
    }

    /// Would its workers be the same? What one calls by its link another may call by where that leads.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let but_for_the_link = |one: &Self| Config { directory: None, ..one.config.clone() };
        self.leads_to() == other.leads_to()
            && self.node == other.node
            && but_for_the_link(self) == but_for_the_link(other)
    }

    /// What it was resolved to.
    pub(super) fn leads_to(&self) -> LeadsTo {
        let (directory, env_file, identity) =
            (self.directory.clone(), self.env_file.clone(), self.identity.clone());
        LeadsTo { directory, env_file, identity }
    }

    /// What may be told of it.
    pub(super) fn status(&self) -> GenerationStatus {
        let (number, made, directory) = (self.number, self.made, self.directory.clone());
        GenerationStatus { number, made, directory, node: self.node.clone() }
    }

    /// The pauses between tries.
    pub(super) fn policy(&self) -> Policy {
        Policy {
            first: self.config.restart_delay,
            max: self.config.restart_delay_max,
            stable: self.config.stable_after,
        }
    }

    /// What is kept of the output.
    pub(super) fn output_limits(&self) -> Limits {
        Limits {
            lines_max: self.config.output_lines_max,
            line_bytes_max: self.config.output_line_bytes_max,
            lines_per_second_max: self.config.log.lines_per_second_max,
            bytes_per_second_max: self.config.log.bytes_per_second_max,
        }
    }
}

/// Where the quarters of all workers are.
pub(super) fn hall(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("workers")
}

/// A worker's own directory; `key` makes every start's path a fresh one.
pub(super) fn quarters_path(runtime_dir: &Path, backend: &str, slot: usize, key: u64) -> PathBuf {
    hall(runtime_dir).join(format!("{backend}-{slot}-{key}"))
}

/// The socket in a worker's own directory.
pub(super) fn socket_path(quarters: &Path) -> PathBuf {
    quarters.join("sock")
}

/// The system cuts longer paths silently; refuse them before the first worker starts.
pub(super) fn check_socket_path(
    runtime_dir: &Path,
    backend: &str,
    workers: usize,
) -> Result<(), BackendError> {
    // Ten digits of starts: one a second for three centuries.
    let path = socket_path(&quarters_path(runtime_dir, backend, workers, 9_999_999_999));
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(BackendError::SocketPathTooLong { path, bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grounds(directory: &Path) -> Grounds {
        Grounds {
            backend: "api".to_owned(),
            config_dir: directory.to_owned(),
            nodes: Store::below(&directory.join("state")),
            base_env: Environment::new(),
            launcher: Launcher::Direct,
        }
    }

    #[test]
    fn a_generation_is_what_the_link_pointed_to_when_it_was_resolved() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("release-1")).unwrap();
        std::os::unix::fs::symlink("release-1", dir.path().join("current")).unwrap();
        let config = Config {
            command: vec!["node".to_owned()],
            directory: Some("current".into()),
            allow_root: true,
            ..Config::default()
        };
        let generation = Generation::resolve(&grounds(dir.path()), 1, config.clone()).unwrap();
        assert_eq!(generation.directory, dir.path().canonicalize().unwrap().join("release-1"));

        let gone = Config { directory: Some("gone".into()), ..config };
        let error = Generation::resolve(&grounds(dir.path()), 2, gone).unwrap_err();
        assert!(error.to_string().contains("/gone of backend api"), "{error}");
    }

    #[tokio::test]
    async fn a_node_that_hangs_holds_up_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node");
        std::fs::write(&node, "#!/bin/sh\nexec sleep 600\n").unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&node, executable).unwrap();
        let config = Config {
            command: vec!["node".to_owned()],
            node: crate::backend::NodeWish { version: None, path: Some(node) },
            allow_root: true,
            ..Config::default()
        };
        let grounds = Arc::new(grounds(dir.path()));
        let mut ticks = 0;
        let resolving = Generation::resolve_aside(&grounds, 1, config);
        tokio::pin!(resolving);
        let resolved = loop {
            tokio::select! {
                biased;
                resolved = &mut resolving => break resolved,
                () = tokio::time::sleep(std::time::Duration::from_millis(10)) => ticks += 1,
            }
        };
        assert_eq!(resolved.unwrap().node.unwrap().version, None);
        assert!(ticks > 10, "only {ticks} ticks while it was asked");
    }

    #[test]
    fn a_command_and_an_upstream_exclude_each_other() {
        let both = Config {
            command: vec!["node".to_owned()],
            upstream: Some("http://127.0.0.1:3000".to_owned()),
            ..Config::default()
        };
        for config in [Config::default(), both] {
            let error = Generation::resolve(&grounds(Path::new("/")), 1, config).unwrap_err();
            assert!(matches!(error, BackendError::NothingToRun { .. }), "{error}");
        }
    }

    #[test]
    fn socket_paths_over_107_bytes_are_refused() {
        assert!(check_socket_path(Path::new("/run/gateway"), "api", 8).is_ok());
        let tail = "/workers/api-8-9999999999/sock".len();
        let fits = PathBuf::from(format!("/{}", "r".repeat(SOCKET_PATH_BYTES_MAX - 1 - tail)));
        assert!(check_socket_path(&fits, "api", 8).is_ok());
        let error = check_socket_path(&fits, "apis", 8).unwrap_err();
        assert!(error.to_string().contains("108 bytes long"), "{error}");
    }
}

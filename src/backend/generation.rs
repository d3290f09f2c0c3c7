//! A generation: what one reload started. A worker that crashes is started again from its own generation, not
//! from what lies in the directory now; so everything that could change is resolved here, once.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{
    BackendError, Config, SOCKET_PATH_BYTES_MAX,
    account::{Identity, Own},
    env_file::EnvFile,
    output::Limits,
    restart::Policy,
    status::GenerationStatus,
};

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
}

impl Generation {
    /// Resolve what the configuration says, now.
    pub(super) fn resolve(
        backend: &str,
        number: u64,
        config: Config,
        config_dir: &Path,
    ) -> Result<Self, BackendError> {
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
                Ok(Self { number, made, config, directory, env_file, identity })
            }
            Err(source) => Err(BackendError::Directory { backend: backend.to_owned(), directory, source }),
        }
    }

    /// What may be told of it.
    pub(super) fn status(&self) -> GenerationStatus {
        let (number, made, directory) = (self.number, self.made, self.directory.clone());
        GenerationStatus { number, made, directory }
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
            logged_per_second_max: self.config.output_logged_per_second_max,
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
        let generation = Generation::resolve("api", 1, config.clone(), dir.path()).unwrap();
        assert_eq!(generation.directory, dir.path().canonicalize().unwrap().join("release-1"));

        let gone = Config { directory: Some("gone".into()), ..config };
        let error = Generation::resolve("api", 2, gone, dir.path()).unwrap_err();
        assert!(error.to_string().contains("/gone of backend api"), "{error}");
    }

    #[test]
    fn a_command_and_an_upstream_exclude_each_other() {
        let both = Config {
            command: vec!["node".to_owned()],
            upstream: Some("http://127.0.0.1:3000".to_owned()),
            ..Config::default()
        };
        for config in [Config::default(), both] {
            let error = Generation::resolve("api", 1, config, Path::new("/")).unwrap_err();
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

//! From the settings to a client: read the configuration, see whether a gateway runs, become the right user,
//! and only then start a runtime. It must never touch the state directory of a running gateway.

use std::{os::unix::fs::DirBuilderExt, path::PathBuf, sync::Arc, time::Duration};

use tokio::runtime::{Builder, Runtime};

use super::{
    Client, Failure, Settings,
    client::{AtRest, Opened, Presence},
    failure::Exit,
    identity, out,
};
use crate::{
    admin::{self, Places},
    bootstrap,
    config::{self, Config, Loaded, Problems},
    gateway,
    metrics::Metrics,
    pool::Pools,
    shutdown::Shutdown,
    state_lock::{StateLock, StateLockProblem},
    tenant::{TenantPaths, Tenants},
};

/// How long a command waits for another one to let go of the state directory.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How often it tries meanwhile.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// Read the configuration or tell every problem.
pub(crate) fn configuration(settings: &Settings) -> Result<Loaded, Failure> {
    config::load(&settings.flags()).map_err(|problems| unusable(&problems))
}

/// A configuration with problems, told.
pub(crate) fn unusable(problems: &Problems) -> Failure {
    out::remark(problems.to_string());
    Failure { exit: Exit::Usage, ..Failure::told() }
}

/// The admin socket of a gateway with this configuration.
pub(crate) fn socket(config: &Config) -> PathBuf {
    config.admin.socket_in(&config.runtime_dir)
}

/// The gateway that an order is for.
enum Found {
    /// Its socket.
    Running(PathBuf),
    /// Its configuration.
    AtRest(Box<Config>),
}

/// Who tells of mistakes in the file, where the gateway runs on without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistakes {
    /// Nobody but we.
    Told,
    /// The gateway, which is asked to read it.
    LeftToTheGateway,
}

/// A mistake in the file must not keep anybody from a gateway that runs: it is served on with what it has read.
fn find(settings: &Settings, mistakes: Mistakes) -> Result<Found, Failure> {
    let flags = settings.flags();
    let problems = match config::load(&flags) {
        Ok(Loaded { config, .. }) => {
            let socket = socket(&config);
            return Ok(match Presence::at(&socket)? {
                Presence::Running => Found::Running(socket),
                Presence::AtRest => Found::AtRest(Box::new(config)),
            });
        }
        Err(problems) => problems,
    };
    if config::is_closed(&flags)
        && let Some(socket) = config::socket_hint(&flags)
    {
        // Nothing is wrong with it for all that is known; who may give no orders is told just that.
        return match Presence::at(&socket)? {
            Presence::Running => Ok(Found::Running(socket)),
            Presence::AtRest => Err(unusable(&problems)),
        };
    }
    match config::socket_hint(&flags) {
        Some(socket) if Presence::at(&socket) == Ok(Presence::Running) => {
            if mistakes == Mistakes::Told {
                out::remark(format!(
                    "warning: {} (`gateway check` shows more); the gateway at `{}` goes on with an earlier one",
                    problems.count(),
                    socket.display()
                ));
            }
            Ok(Found::Running(socket))
        }
        _ => Err(unusable(&problems)),
    }
}

/// A runtime for one command: it waits most of its time, so one thread is enough.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))
}

/// The socket of a gateway that runs.
pub(crate) fn running_at(settings: &Settings) -> Result<PathBuf, Failure> {
    running_socket(settings, Mistakes::Told)
}

fn running_socket(settings: &Settings, mistakes: Mistakes) -> Result<PathBuf, Failure> {
    match find(settings, mistakes)? {
        Found::Running(socket) => Ok(socket),
        Found::AtRest(config) => Err(Failure::not_running(&socket(&config))),
    }
}

/// Run a command, and end with it: a thread that still reads a standard input from which nothing comes holds up nobody.
fn to_its_end<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}

/// Run a command on a gateway that runs.
pub(crate) fn running(
    settings: &Settings,
    command: impl AsyncFnOnce(&Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    order(settings, Mistakes::Told, command)
}

/// The same for an order to read the file anew, which is answered with all that is wrong with it.
pub(crate) fn rereading(
    settings: &Settings,
    command: impl AsyncFnOnce(&Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    order(settings, Mistakes::LeftToTheGateway, command)
}

fn order(
    settings: &Settings,
    mistakes: Mistakes,
    command: impl AsyncFnOnce(&Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let client = Client::Running(running_socket(settings, mistakes)?);
    to_its_end(command(&client))
}

/// Run a command on a gateway, whether it runs or rests.
pub(crate) fn any(
    settings: &Settings,
    command: impl AsyncFnOnce(&Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let config = match find(settings, Mistakes::Told)? {
        Found::Running(socket) => return to_its_end(command(&Client::Running(socket))),
        Found::AtRest(config) => config,
    };
    identity::become_owner_of(&config.state_dir)?;
    to_its_end(async {
        let client = Client::AtRest(AtRest::new(*config));
        let outcome = command(&client).await;
        if let Client::AtRest(rest) = client {
            rest.close().await;
        }
        outcome
    })
}

/// Open the registry and the databases of a gateway at rest, once nobody else works on them.
pub(super) async fn open(config: &Config) -> Result<Opened, Failure> {
    let lock = wait_for_lock(config).await?;
    let credentials = config::credentials_directory();
    let paths = TenantPaths::below(&config.state_dir, &config.registry, credentials.as_deref());
    let tenants = Tenants::open(paths).await.map_err(|error| {
        let problem = admin::Problem::of(&error);
        Failure { hint: problem.hint, ..Failure::failed(problem.detail) }
    })?;
    tenants.update_defaults(gateway::tenant_defaults(config));
    let (tenants, life) = (Arc::new(tenants), Shutdown::new());
    let registry = tenants.registry().clone();
    let state_dir = config.state_dir.clone();
    let pools = Pools::new(config.pool.clone(), state_dir, registry, life.clone(), Metrics::new());
    let places = Places::of(&config.registry, &config.state_dir, &config.pool);
    let files = gateway::certificate_files(config);
    let certificates = Box::new(move || files.clone());
    let parts =
        admin::Parts { tenants: tenants.clone(), pools: pools.clone(), places, certificates, live: None };
    Ok(Opened { router: admin::router(parts), tenants, pools, life, lock })
}

/// Two commands of one pipeline take turns; a gateway that is starting does not go away by waiting.
async fn wait_for_lock(config: &Config) -> Result<StateLock, Failure> {
    let give_up = tokio::time::Instant::now() + LOCK_TIMEOUT;
    make_state_dir(config)?;
    loop {
        match StateLock::take(&config.state_dir) {
            Err(StateLockProblem::Held { .. }) if tokio::time::Instant::now() < give_up => {}
            outcome => return outcome.map_err(not_locked),
        }
        tokio::time::sleep(LOCK_INTERVAL).await;
    }
}

/// Hold the state directory of a gateway at rest, making it if this is the first time.
pub(crate) fn lock(config: &Config) -> Result<StateLock, Failure> {
    make_state_dir(config)?;
    StateLock::take(&config.state_dir).map_err(not_locked)
}

fn make_state_dir(config: &Config) -> Result<(), Failure> {
    let directory = &config.state_dir;
    if config::credentials_directory().is_none() && bootstrap::holds_seal_key(directory) {
        // With a key file made beside it there would be two keys, and each would open half of the registry.
        return Err(Failure::failed("the sealing key is a credential that systemd gives to the service alone").hint(
            "start the gateway (`systemctl start gateway`) and give the order again; to restore a backup, take \
             /etc/systemd/system/gateway.service.d/40-seal-key.conf away first, and `systemctl daemon-reload`",
        ));
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| refused(Failure::io("make the state directory", directory, &error), error.kind()))
}

fn not_locked(problem: StateLockProblem) -> Failure {
    let failure = Failure::failed(problem.to_string());
    match problem {
        StateLockProblem::Held { .. } => {
            failure.hint("it is starting, or another command is at work: try again")
        }
        StateLockProblem::Unusable { source, .. } => refused(failure, source.kind()),
    }
}

fn refused(failure: Failure, kind: std::io::ErrorKind) -> Failure {
    if kind == std::io::ErrorKind::PermissionDenied {
        let failure = failure.hint("become root (sudo) or the state directory's owner");
        return Failure { exit: Exit::Denied, ..failure };
    }
    failure
}

//! From the settings to a client: read the configuration, see whether a gateway runs, become the right user,
//! and only then start a runtime. It must never touch the state directory of a running gateway.

use std::{os::unix::fs::DirBuilderExt, path::PathBuf, sync::Arc};

use tokio::runtime::{Builder, Runtime};

use super::{Client, Failure, Settings, client::Presence, failure::Exit, identity, out};
use crate::{
    admin::{self, Places},
    config::{self, Config, Loaded},
    metrics::Metrics,
    pool::Pools,
    shutdown::Shutdown,
    state_lock::{StateLock, StateLockProblem},
    tenant::{self, TenantPaths, Tenants},
};

/// Read the configuration or tell every problem, and warnings on the way.
pub(crate) fn configuration(settings: &Settings) -> Result<Loaded, Failure> {
    let loaded = config::load(&settings.flags()).map_err(|problems| {
        out::remark(problems.to_string());
        Failure { exit: Exit::Usage, ..Failure::told() }
    })?;
    Ok(loaded)
}

/// The admin socket of a gateway with this configuration.
pub(crate) fn socket(config: &Config) -> PathBuf {
    config.admin.socket.clone().unwrap_or_else(|| config.runtime_dir.join(admin::SOCKET_NAME))
}

/// A runtime for one command: it waits most of its time, so one thread is enough.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))
}

/// Run a command on a gateway that runs.
pub(crate) fn running(
    settings: &Settings,
    command: impl AsyncFnOnce(&Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let socket = socket(&configuration(settings)?.config);
    match Presence::at(&socket)? {
        Presence::Running => runtime()?.block_on(command(&Client::Running(socket))),
        Presence::AtRest => Err(Failure::not_running(&socket)),
    }
}

/// Run a command on a gateway, whether it runs or rests.
pub(crate) fn any(
    settings: &Settings,
    command: impl AsyncFnOnce(&Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let config = configuration(settings)?.config;
    let socket = socket(&config);
    if Presence::at(&socket)? == Presence::Running {
        return runtime()?.block_on(command(&Client::Running(socket)));
    }
    identity::become_owner_of(&config.state_dir)?;
    let lock = lock(&config)?;
    runtime()?.block_on(async {
        let (parts, life) = at_rest(&config).await?;
        let (tenants, pools) = (parts.tenants.clone(), parts.pools.clone());
        let outcome = command(&Client::AtRest(admin::router(parts), lock)).await;
        pools.close().await;
        tenants.close().await;
        life.begin();
        outcome
    })
}

/// The registry and the databases of a gateway at rest, opened by this process.
async fn at_rest(config: &Config) -> Result<(admin::Parts, Shutdown), Failure> {
    let credentials = config::credentials_directory();
    let paths = TenantPaths::below(&config.state_dir, &config.registry, credentials.as_deref());
    let tenants = Tenants::open(paths).await.map_err(|error| {
        let problem = admin::Problem::of(&error);
        Failure { hint: problem.hint, ..Failure::failed(problem.detail) }
    })?;
    let backends = config.backend.keys().cloned().collect();
    tenants.update_defaults(tenant::Defaults { cors: config.cors.clone(), backends });
    let (tenants, life) = (Arc::new(tenants), Shutdown::new());
    let registry = tenants.registry().clone();
    let state_dir = config.state_dir.clone();
    let pools = Pools::new(config.pool.clone(), state_dir, registry, life.clone(), Metrics::new());
    let places = Places::of(&config.registry, &config.state_dir, &config.pool);
    Ok((admin::Parts { tenants, pools, places, live: None }, life))
}

/// Hold the state directory of a gateway at rest, making it if this is the first time.
pub(crate) fn lock(config: &Config) -> Result<StateLock, Failure> {
    let directory = &config.state_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| refused(Failure::io("make the state directory", directory, &error), error.kind()))?;
    StateLock::take(directory).map_err(|problem| match &problem {
        StateLockProblem::Held { .. } => Failure::failed(problem.to_string())
            .hint("it is starting, or another command is at work: try again"),
        StateLockProblem::Unusable { source, .. } => {
            refused(Failure::failed(problem.to_string()), source.kind())
        }
    })
}

fn refused(failure: Failure, kind: std::io::ErrorKind) -> Failure {
    if kind == std::io::ErrorKind::PermissionDenied {
        let failure = failure.hint("become root (sudo) or the state directory's owner");
        return Failure { exit: Exit::Denied, ..failure };
    }
    failure
}

//! `gateway node`: Node's versions, as nvm's users know it. Versions are files in the state directory: these orders work on
//! a gateway that runs and on one at rest alike. One file a command.

mod choose;
mod exec;
mod install;
mod list;
mod remove;

pub(super) use self::install::mirror;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{Client, Failure, Settings, client::Presence, identity, reach};
use crate::{
    admin::BackendStatus,
    backend::node::{Hints, Installed, NodeProblem, Source, Spec, Store, here, what_it_said},
    config::{Config, Loaded},
};

/// Node says its version in a few dozen milliseconds; a machine under load may need longer to read it from the disk.
const SAY_TIMEOUT: Duration = Duration::from_secs(20);

/// Install, choose and remove Node versions, and run commands with a backend's own
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Node {
    #[command(visible_alias = "ls")]
    List(list::List),
    Install(install::Install),
    Use(choose::Use),
    Remove(remove::Remove),
    Exec(exec::Exec),
}

/// The configuration, and the versions below its state directory.
struct Place {
    config: Config,
    directory: PathBuf,
    store: Store,
}

impl Node {
    pub(crate) fn run(self, settings: &Settings) -> Result<(), Failure> {
        let place = Place::read(settings)?;
        // Who changes files there does it as their owner, and so does who works as workers that have no user of their own:
        // they are whom the gateway is. Of the others `exec` becomes one by itself.
        let as_owner = match &self {
            Self::List(_) => false,
            Self::Install(_) | Self::Use(_) | Self::Remove(_) => true,
            Self::Exec(exec) => exec.is_of_the_gateways_user(&place),
        };
        if as_owner {
            identity::become_owner_of(&place.config.state_dir)?;
        }
        reach::runtime()?.block_on(async {
            match self {
                Self::List(list) => list.run(&place).await,
                Self::Install(install) => install.run(&place).await,
                Self::Use(choose) => choose.run(&place).await,
                Self::Remove(remove) => remove.run(&place).await,
                Self::Exec(exec) => exec.run(place).await,
            }
        })
    }
}

impl Place {
    fn read(settings: &Settings) -> Result<Self, Failure> {
        let Loaded { config, directory, .. } = reach::configuration(settings)?;
        let store = Store::below(&config.state_dir);
        Ok(Self { config, directory, store })
    }

    /// How the backends are; none, if no gateway runs.
    async fn backends(&self) -> Result<Vec<BackendStatus>, Failure> {
        let socket = reach::socket(&self.config);
        match Presence::at(&socket)? {
            Presence::Running => Client::Running(socket).show("/backends").await,
            Presence::AtRest => Ok(Vec::new()),
        }
    }

    /// The versions that are here, PATH's not among them.
    fn versions(&self) -> Vec<(Source, Installed)> {
        let workers = self.config.backend.values().filter_map(crate::backend::Config::worker_home);
        here(&self.store, &Hints::read().nvms(workers))
    }

    /// The newest of them that is meant.
    fn version(&self, spec: &Spec) -> Result<(Source, Installed), Failure> {
        let all = self.versions();
        let found = all.into_iter().find(|(_, one)| spec.takes(&one.version, one.lts.as_deref()));
        found.ok_or_else(|| {
            Failure::failed(format!("no Node that is {spec} is installed"))
                .hint(format!("`gateway node install {}`", quoted(spec)))
        })
    }
}

/// For the shell.
fn quoted(spec: &Spec) -> String {
    let text = spec.to_string();
    if text.contains([' ', '<', '>', '|', '*', '^', '~']) { format!("'{text}'") } else { text }
}

/// The backends whose workers run that Node.
fn used_by(backends: &[BackendStatus], program: &Path) -> Vec<String> {
    let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let runs = |backend: &&BackendStatus| backend.node().is_some_and(|node| node.program == real);
    backends.iter().filter(runs).map(|backend| backend.name.clone()).collect()
}

impl From<NodeProblem> for Failure {
    fn from(problem: NodeProblem) -> Self {
        told(&problem.to_string())
    }
}

/// A text that may end in its remedy.
pub(super) fn told(text: &str) -> Failure {
    match text.split_once("\nhint: ") {
        Some((message, hint)) => Failure::failed(message).hint(hint),
        None => Failure::failed(text),
    }
}

/// What a Node says that it is, such as `v22.1.0`; or why it says nothing.
pub(super) fn say_version(program: &Path) -> Result<String, String> {
    let mut child = Command::new(program)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let deadline = Instant::now() + SAY_TIMEOUT;
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _gone = child.kill().and_then(|()| child.wait());
                return Err("it does not answer".to_owned());
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let said = match status.success() {
        true => child.stdout.map(what_it_said),
        false => child.stderr.map(what_it_said),
    };
    let said = said.transpose().ok().flatten().unwrap_or_default().trim().to_owned();
    match status.success() {
        true => Ok(said),
        false if said.is_empty() => Err(status.to_string()),
        false => Err(said.lines().next().unwrap_or_default().to_owned()),
    }
}

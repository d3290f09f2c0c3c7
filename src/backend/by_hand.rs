//! A command that the operator runs as the workers would: in the application's directory, with its Node and its
//! environment, as its user. It has the operator's terminal, ends with him, and its end is his to judge.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use super::{
    BackendError, Config,
    child::{self, Launcher, Program},
    confinement::Confinement,
    environment::{self, Place, environment, says_home},
    generation::{Generation, Grounds},
    node::{NodeStatus, Store},
    quarters::Quarters,
};

/// What to run, and for which backend.
#[derive(Debug)]
pub(crate) struct ByHand<'a> {
    /// The backend's name.
    pub(crate) backend: &'a str,
    /// Its configuration.
    pub(crate) config: Config,
    /// Relative paths start here.
    pub(crate) config_dir: &'a Path,
    /// Node's installed versions lie in it.
    pub(crate) state_dir: &'a Path,
    /// This program, which becomes the other user.
    pub(crate) own_exe: PathBuf,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
}

impl ByHand<'_> {
    /// Run it to its end. Not cancel safe: then it is killed.
    pub(crate) async fn run(self) -> Result<ExitStatus, BackendError> {
        let backend = self.backend.to_owned();
        let grounds = Grounds {
            backend: backend.clone(),
            config_dir: self.config_dir.to_owned(),
            nodes: Store::below(self.state_dir),
            base_env: environment::base(),
            launcher: Launcher::Through(self.own_exe),
        };
        // What it runs is no worker, but begins with Node all the same.
        let config = Config { command: vec!["node".to_owned()], ..self.config };
        let generation = Generation::resolve(&grounds, 0, config)?;
        let failed =
            |error: io::Error| BackendError::ByHand { backend: backend.clone(), reason: error.to_string() };
        let rooms = std::env::temp_dir().join(format!("gateway-exec-{}", std::process::id()));
        let quarters =
            Quarters::make(rooms, generation.identity.as_ref(), &grounds.launcher).map_err(failed)?;
        let program = program(&grounds, &generation, &quarters, self.command);
        child::attend(&program).await.map_err(failed)
    }
}

fn program(grounds: &Grounds, generation: &Generation, quarters: &Quarters, command: Vec<String>) -> Program {
    let worker = format!("{}/exec", grounds.backend);
    let place = Place {
        port: "".into(),
        instance: 0,
        worker: &worker,
        temporary: quarters.temporary(),
        identity: generation.identity.as_ref(),
        node: generation.node.as_ref().and_then(NodeStatus::leading),
    };
    let configured = [&generation.env_file.0, &generation.config.env];
    let mut environment =
        environment(&grounds.base_env, configured, &std::collections::BTreeMap::new(), place);
    // There is nothing to listen on.
    environment.remove("PORT");
    environment.extend(environment::terminal());
    Program {
        command,
        // No sandbox: it fetches, builds and writes where the workers only read. It is the workers' user all the same.
        confinement: Confinement {
            directory: generation.directory.clone(),
            quarters: Some(quarters.directory().to_owned()),
            identity: generation.identity.clone(),
            // Where accounts of services have their homes is often nothing, and npm keeps its cache there.
            spare_home: (!says_home(configured)).then(|| quarters.temporary()),
            ..Confinement::default()
        },
        environment,
        launcher: grounds.launcher.clone(),
        channel: None,
    }
}

//! A program beside the workers, such as a job's: whose it is, what it finds around it and what it may are as theirs,
//! from the generation in force. It takes no traffic, and is never asked whether it is well; it must never outlive
//! its handle.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::{
    BackendError,
    child::{Child, Program},
    confinement::Confinement,
    environment::{Place, environment},
    generation::{self, Generation},
    node::{NodeHold, NodeStatus},
    output::Ring,
    process::{LAST_LINES, Stage, describe},
    quarters::{self, Quarters},
    readers::Readers,
    roster::next_key,
    worker_exec,
};

/// What a worker finds about its socket, and what nobody else has.
const OF_WORKERS: [&str; 2] = ["PORT", "NODE_APP_INSTANCE"];

/// What to run.
#[derive(Clone)]
pub(crate) struct Errand {
    /// Such as `job/nightly`: what it writes stands under this name.
    pub(crate) name: String,
    /// Program and arguments, at least one.
    pub(crate) command: Vec<String>,
    /// Besides the workers' environment; wins. May hold a ticket.
    pub(crate) env: BTreeMap<String, String>,
    /// Where its lines are kept.
    pub(crate) ring: Arc<Ring>,
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand").field("name", &self.name).field("env", &"..").finish_non_exhaustive()
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    /// None, if a signal ended it.
    pub(crate) exit: Option<i32>,
    /// One sentence.
    pub(crate) reason: String,
}

/// One that runs. Dropping it kills the whole process group.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    readers: Readers,
    generation: Arc<Generation>,
    ring: Arc<Ring>,
    name: String,
    _quarters: Quarters,
    _node: Option<NodeHold>,
}

impl Running {
    /// Fork it.
    pub(super) async fn start(
        stage: &Stage,
        generation: Arc<Generation>,
        errand: &Errand,
    ) -> Result<Self, BackendError> {
        let failed = |error: std::io::Error| BackendError::Errand {
            name: errand.name.clone(),
            reason: format!("it could not be started: {error}"),
        };
        let identity = generation.identity.as_ref();
        // No worker of that user may have been started yet.
        let hall = generation::hall(&stage.runtime_dir);
        quarters::make_hall(&stage.runtime_dir, &hall, identity.is_some()).map_err(failed)?;
        // No worker has a dot in its directory's name.
        let directory = format!("{}.job-{}", stage.backend, next_key());
        let quarters = hall.join(directory);
        let quarters = Quarters::make(quarters, identity, &stage.launcher).map_err(failed)?;
        let place = Place {
            port: "".into(),
            instance: 0,
            worker: &errand.name,
            temporary: quarters.temporary(),
            identity,
            node: generation.node.as_ref().and_then(NodeStatus::leading),
        };
        let configured = [&generation.env_file.0, &generation.config.env];
        let mut environment = environment(&stage.base_env, configured, &stage.extra_env, place);
        OF_WORKERS.iter().for_each(|name| drop(environment.remove(*name)));
        environment.extend(errand.env.iter().map(|(name, value)| (name.clone(), value.into())));
        let program = Program {
            confinement: Confinement::of(
                &generation,
                &errand.command,
                &environment,
                quarters.directory(),
                &stage.hidden.load(),
            ),
            command: errand.command.clone(),
            environment,
            launcher: stage.launcher.clone(),
            channel: None,
        };
        let node = stage.nodes.hold(generation.node.as_ref());
        let mut child = Child::spawn(&program).await.map_err(failed)?;
        let readers = Readers::start(&mut child, &errand.ring, &errand.name, stage, &generation);
        Ok(Self {
            child,
            readers,
            generation,
            ring: Arc::clone(&errand.ring),
            name: errand.name.clone(),
            _quarters: quarters,
            _node: node,
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The generation from which it was started.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.number
    }

    /// Resolves when it has ended, its descendants with it, and all that it wrote has been read. Cancel safe.
    pub(crate) async fn ended(&mut self) -> Ending {
        let status = self.child.exited().await;
        self.readers.last_words().await;
        let lines = self.ring.last_of(self.child.pid(), LAST_LINES);
        Ending {
            exit: status.as_ref().ok().and_then(std::process::ExitStatus::code),
            reason: worker_exec::told(&lines).unwrap_or_else(|| describe(&status)),
        }
    }

    /// SIGTERM, the backend's `stop_grace`, SIGKILL; the whole group, and whom it has started outside of it.
    pub(crate) async fn stop(&mut self) -> Ending {
        self.child.find_strays().await;
        self.child.terminate();
        let (grace, pid) = (self.generation.config.stop_grace, self.child.pid());
        if self.child.killed_after(grace).await {
            tracing::warn!(
                worker = self.name,
                pid,
                "it or what it started did not end within stop_grace: killed"
            );
        }
        let held =
            || Ending { exit: None, reason: "it was killed, and the kernel still holds it".to_owned() };
        tokio::time::timeout(Duration::from_secs(1), self.ended()).await.unwrap_or_else(|_| held())
    }
}

//! The task of a program that runs always: started again whenever it ends, with the pauses of the backend's workers,
//! and whenever the backend goes on to another generation. It takes no traffic, and so is never asked how it is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::board::Board;
use crate::{
    backend::{Errand, History, Running},
    metrics::{JobLabels, Metrics},
};

/// The state of the task.
pub(super) struct Always {
    pub(super) board: Arc<Board>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) ending: CancellationToken,
}

/// What one life of the program came to.
enum Life {
    /// It ended, or could not begin.
    Over { reason: String, ran_for: Duration },
    /// It was stopped for another generation.
    Superseded,
    /// It was stopped for good.
    Ended,
}

impl Always {
    pub(super) async fn run(self) {
        let mut history = History::default();
        while !self.ending.is_cancelled() {
            match self.live().await {
                Life::Ended => break,
                Life::Superseded => history = History::default(),
                Life::Over { reason, ran_for } => {
                    let pause = self.board.plan().backend.pause(&mut history, ran_for);
                    self.tell(&reason, &history, pause);
                    self.board.program_is(|program| {
                        program.state = "back-off".to_owned();
                        program.pid = None;
                        program.last_error = Some(reason);
                    });
                    tokio::select! {
                        () = self.ending.cancelled() => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    self.board.program_is(|program| program.restarts += 1);
                    let labels = JobLabels { job: self.board.name.clone() };
                    self.metrics.job_restarts_total.get_or_create(&labels).inc();
                }
            }
        }
        self.board.program_is(|program| {
            program.state = "finished".to_owned();
            program.pid = None;
        });
    }

    async fn live(&self) -> Life {
        let plan = self.board.plan();
        let name = &self.board.name;
        let mut env = plan.config.env.clone();
        env.insert("GATEWAY_JOB".to_owned(), name.clone());
        let errand = Errand {
            name: format!("job/{name}"),
            command: plan.config.command.clone(),
            env,
            ring: Arc::clone(&self.board.ring),
        };
        self.board.program_is(|program| program.state = "starting".to_owned());
        let mut running = match plan.backend.errand(&errand).await {
            Ok(running) => running,
            Err(error) => return Life::Over { reason: error.to_string(), ran_for: Duration::ZERO },
        };
        let (pid, generation, began) = (running.pid(), running.generation(), Instant::now());
        tracing::info!(job = name, pid, "program started");
        self.board.program_is(|program| {
            program.state = "running".to_owned();
            program.pid = Some(pid);
        });
        tokio::select! {
            biased;
            ending = running.ended() => Life::Over { reason: ending.reason, ran_for: began.elapsed() },
            () = self.ending.cancelled() => {
                self.stop(running).await;
                Life::Ended
            }
            () = plan.backend.superseded(generation) => {
                tracing::info!(job = name, pid, "the backend has gone on to another generation: program is replaced");
                self.stop(running).await;
                Life::Superseded
            }
        }
    }

    async fn stop(&self, mut running: Running) {
        let (pid, ending) = (running.pid(), running.stop().await);
        tracing::info!(job = self.board.name, pid, "program stopped: {}", ending.reason);
    }

    fn tell(&self, reason: &str, history: &History, pause: Duration) {
        tracing::error!(
            job = self.board.name,
            reason,
            failures = history.failures(),
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "program ended, it is started again after a pause"
        );
    }
}

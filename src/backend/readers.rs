//! Who reads what one process writes: a task a stream, ended with it. They must never read on when
//! the process's handle has gone.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    child::Child,
    generation::Generation,
    output::{Ring, Sink, Stream},
    process::Stage,
};

/// How long to wait for the rest of a dead process's output; it is in the pipe already.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(200);

/// The tasks of one process.
#[derive(Debug)]
pub(super) struct Readers {
    tasks: Vec<JoinHandle<()>>,
    over: CancellationToken,
}

impl Readers {
    /// Keep what the process writes in `ring`, log it, and send it to those who follow, as `worker`'s.
    pub(super) fn start(
        child: &mut Child,
        ring: &Arc<Ring>,
        worker: &str,
        stage: &Stage,
        generation: &Generation,
    ) -> Self {
        let over = CancellationToken::new();
        let sink = |stream| Sink {
            backend: stage.backend.clone(),
            worker: worker.to_owned(),
            pid: child.pid(),
            stream,
            ring: Arc::clone(ring),
            outlets: Arc::clone(&stage.outlets),
            limits: generation.output_limits(),
            over: over.clone(),
        };
        let (stdout_sink, stderr_sink) = (sink(Stream::Stdout), sink(Stream::Stderr));
        let (stdout, stderr) = child.output();
        let stdout = stdout.map(|pipe| stage.shutdown.spawn(stdout_sink.capture(pipe)));
        let stderr = stderr.map(|pipe| stage.shutdown.spawn(stderr_sink.capture(pipe)));
        Self { tasks: stdout.into_iter().chain(stderr).collect(), over }
    }

    /// Resolves when all has been read that a process which has ended left.
    pub(super) async fn last_words(&self) {
        let pipes_closed = async {
            while !self.tasks.iter().all(JoinHandle::is_finished) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        // A descendant that left the group may hold the pipe open for ever, and the process itself while it
        // still runs: what has been read by then has to do.
        drop(tokio::time::timeout(LAST_WORDS, pipes_closed).await);
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        // Not aborted: a descendant may hold the pipe, and a line without an end and what was withheld are still to be told.
        self.over.cancel();
    }
}

//! The edge's threads: one per core, each with a runtime of its own, so that nothing on the request path passes
//! between cores. It must never outlive its handle.

use std::{
    rc::Rc,
    sync::{Arc, mpsc::SyncSender},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{
    EdgeError, listen,
    listeners::{Listen, ON_THEIR_WAY_MAX},
    thread::{Shared, Thread},
    tls::Certificates,
    upgrade::Ending,
};
use crate::privileges;

/// How often certificate files are looked at: a renewal is served well before anyone misses it.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(2);

/// The edge's threads. Dropping it ends them at once, cutting what has not drained; wait for the drain first.
pub(crate) struct Serving {
    end: CancellationToken,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What one thread begins with.
struct Start {
    shared: Arc<Shared>,
    /// The first thread looks after the certificates.
    certificates: Option<Arc<Certificates>>,
    /// What it accepts from, as it is decided.
    listeners: mpsc::Receiver<Listen>,
    end: CancellationToken,
}

impl Serving {
    /// Start every thread, and give the way on which listeners reach each.
    pub(super) fn start(
        shared: &Arc<Shared>,
        certificates: &Arc<Certificates>,
        threads: usize,
    ) -> Result<(Self, Vec<mpsc::Sender<Listen>>), EdgeError> {
        let mut serving = Self { end: CancellationToken::new(), threads: Vec::new(), shared: shared.clone() };
        let mut ways = Vec::new();
        for index in 0..threads {
            let (way, listeners) = mpsc::channel(ON_THEIR_WAY_MAX);
            ways.push(way);
            let start = Start {
                shared: shared.clone(),
                certificates: (index == 0).then(|| certificates.clone()),
                listeners,
                end: serving.end.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("edge-{index}"));
            let (made, outcome) = std::sync::mpsc::sync_channel(1);
            let thread = thread.spawn(move || run(start, &made)).map_err(EdgeError::Thread)?;
            // Waited for, so that a failure is reported and not found in a log.
            let outcome = outcome.recv().unwrap_or_else(|_| Err(std::io::Error::other("it panicked")));
            outcome.map_err(EdgeError::Thread)?;
            serving.threads.push(thread);
        }
        Ok((serving, ways))
    }

    /// End the threads: what has not drained is cut. Returns when they have ended and the access log is written.
    pub(crate) fn stop(self) {
        drop(self);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("an edge thread panicked");
            }
        }
        self.shared.access_log.close();
    }
}

/// `made`: told how it went to make the runtime, which can never leave its thread.
fn run(start: Start, made: &SyncSender<std::io::Result<()>>) {
    privileges::give_up();
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return drop(made.send(Err(error))),
    };
    drop(made.send(Ok(())));
    let thread = Thread::new(start.shared.clone());
    runtime.block_on(serve(&thread, start));
    // The tasks that are left end here, and write their last lines.
    drop(runtime);
    thread.tick();
}

async fn serve(thread: &Rc<Thread>, mut start: Start) {
    let shutdown = &start.shared.shutdown;
    let listeners = async {
        while let Some(Listen { speaks, listener, leave }) = start.listeners.recv().await {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    drop(shutdown.spawn_local(listen::accept(thread.clone(), listener, speaks, leave)));
                }
                Err(error) => tracing::error!(%error, "cannot use a listener"),
            }
        }
        std::future::pending::<()>().await;
    };
    let certificates = async {
        loop {
            tokio::time::sleep(CERTIFICATES_EVERY).await;
            if let Some(certificates) = &start.certificates {
                // The disk may be slow, and this thread has requests to serve.
                let certificates = certificates.clone();
                let _joined = tokio::task::spawn_blocking(move || certificates.refresh()).await;
            }
        }
    };
    let ticks = async {
        loop {
            thread.tick_due().await;
            thread.tick();
        }
    };
    let drain = async {
        shutdown.begun().await;
        thread.drain.begin();
        thread.upstreams.clear();
        thread.sockets.end(Ending::Draining);
        std::future::pending::<()>().await;
    };
    let registry = async {
        let mut changes = start.shared.registry.watch();
        while changes.changed().await.is_ok() {
            thread.sockets.judge(&start.shared.registry.snapshot());
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = start.end.cancelled() => {}
        () = registry => {}
        () = listeners => {}
        () = certificates => {}
        () = ticks => {}
        () = drain => {}
    }
}

//! The life of one worker slot: start, serve, back off, start again, and orders in between. One task owns it
//! all; a handle gives orders, and each order's answer comes when it has been carried out.
//!
//! It must never take a ready worker out before its successor is ready, unless told to restart or end.

mod order;
mod succession;

use std::{sync::Arc, time::Duration};

use futures_util::future::poll_immediate;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(super) use self::order::{Departure, Undone};
use self::{
    order::{Answer, Giver, Order},
    succession::Then,
};
use super::{
    generation::Generation,
    process::{Patience, Process, Stage},
    restart::{History, Renewals, jitter},
    state::{Failure, Running, Seat, Slot, State},
};
use crate::metrics::{BackendLabels, Metrics};

/// The handle of one slot's task. Dropping it ends the slot in order.
#[derive(Debug)]
pub(super) struct Job {
    slot: Arc<Slot>,
    orders: mpsc::Sender<Order>,
    ending: CancellationToken,
    task: JoinHandle<()>,
}

impl Job {
    /// Start the slot's first worker and keep it alive, whatever happens, until `ending` is cancelled.
    pub(super) fn start(
        stage: Arc<Stage>,
        metrics: Arc<Metrics>,
        slot: Arc<Slot>,
        generation: Arc<Generation>,
        ending: CancellationToken,
    ) -> Self {
        let (orders, inbox) = mpsc::channel(1);
        let shutdown = stage.shutdown.clone();
        let life = Life {
            stage,
            metrics,
            slot: Arc::clone(&slot),
            generation,
            history: History::default(),
            renewals: Renewals::default(),
            leaving: Vec::new(),
            departures: Arc::new(Semaphore::new(1)),
            orders: inbox,
            ending: ending.clone(),
        };
        let task = shutdown.spawn(Box::pin(life.run()));
        Self { slot, orders, ending, task }
    }

    /// The place whose worker this is.
    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Stop and start; resolves when the new one is ready, or failed, or soon after it was given up.
    pub(super) async fn restart(&self, gives_up: CancellationToken) -> Result<(), Undone> {
        self.order(|answer| Order::Restart(Giver { answer, gives_up })).await.map(drop)
    }

    /// The rolling way; resolves when the new one serves, with what is to come of the old one, or has failed. Given up
    /// before that it leaves the old one serving.
    pub(super) async fn reload(
        &self,
        generation: &Arc<Generation>,
        gives_up: CancellationToken,
    ) -> Result<Departure, Undone> {
        self.order(|answer| Order::Reload(Arc::clone(generation), Giver { answer, gives_up })).await
    }

    /// Begin the end: drain, SIGTERM, grace, SIGKILL.
    pub(super) fn begin_end(&self) {
        self.ending.cancel();
    }

    /// Let the worker finish its requests, as one that is replaced does, and give its place up; resolves when it takes no
    /// new one, with what is to come of it.
    pub(super) async fn leave(&self) -> Departure {
        // It fails when the slot is ending already.
        self.order(Order::Leave).await.unwrap_or_else(|_| Departure::none())
    }

    /// Is no process of this slot left?
    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Resolves when no process of this slot is left.
    pub(super) async fn end(self) {
        self.begin_end();
        // An error is a panic of the task: it dropped its process, and so killed it.
        drop(self.task.await);
    }

    async fn order(&self, order: impl FnOnce(Answer) -> Order) -> Result<Departure, Undone> {
        let (answer, done) = oneshot::channel();
        if self.orders.send(order(answer)).await.is_err() {
            return Err(Undone::Ending);
        }
        done.await.unwrap_or(Err(Undone::Ending))
    }
}

/// What the task does next.
enum Next {
    Start,
    Serve(Box<Process>),
    /// The failure, and how long the worker had been ready before it.
    BackOff(Failure, Duration),
    Obey(Order),
    /// Those that leave have their time.
    Finish,
    /// They have only their grace from here on.
    End,
}

/// The state of a slot's task.
struct Life {
    stage: Arc<Stage>,
    metrics: Arc<Metrics>,
    slot: Arc<Slot>,
    generation: Arc<Generation>,
    history: History,
    /// The replacements that the watch has asked for.
    renewals: Renewals,
    /// Those that end processes which were replaced.
    leaving: Vec<JoinHandle<()>>,
    /// One that was replaced for a gentle reason leaves at a time: its requests may take long, and a slot shall not hold
    /// ever more processes.
    departures: Arc<Semaphore>,
    orders: mpsc::Receiver<Order>,
    ending: CancellationToken,
}

impl Life {
    async fn run(mut self) {
        let mut next = Next::Start;
        loop {
            next = match next {
                Next::Start => self.start().await,
                Next::Serve(process) => self.serve(process).await,
                Next::BackOff(failure, ready_for) => self.back_off(failure, ready_for).await,
                Next::Obey(order) => self.obey_while_down(order).await,
                // The place may be another's by now.
                Next::Finish => return self.all_gone().await,
                Next::End => {
                    // Also when it was the handle that was dropped.
                    self.ending.cancel();
                    break;
                }
            };
        }
        self.all_gone().await;
        self.slot.set(Seat::Main, State::Finished);
    }

    /// Resolves when none is left of those that finish their requests.
    async fn all_gone(&mut self) {
        for leaving in self.leaving.drain(..) {
            // An error is a panic of the task: it dropped its process, and so killed it.
            drop(leaving.await);
        }
    }

    async fn start(&mut self) -> Next {
        let told = async {
            tokio::select! {
                biased;
                () = self.ending.cancelled() => None,
                order = self.orders.recv() => order,
            }
        };
        match bring_up(&self.stage, &self.slot, &self.generation, Seat::Main, told).await {
            Ok(process) => Next::Serve(self.seat(process)),
            Err(NotUp::Failed(failure)) => Next::BackOff(failure, Duration::ZERO),
            Err(NotUp::GivenUp(Some(order))) => Next::Obey(order),
            Err(NotUp::GivenUp(None)) => Next::End,
        }
    }

    /// Until it crashes or is told something.
    async fn serve(&mut self, mut process: Box<Process>) -> Next {
        let watch = Box::pin(self.vigil(&process).ended());
        let order = tokio::select! {
            biased;
            reason = process.exited() => {
                let failure = process.failure(reason).await;
                return Next::BackOff(failure, process.ready_for());
            }
            () = self.ending.cancelled() => None,
            order = self.orders.recv() => order,
            (weary, leave) = watch => return self.renew(process, &weary, leave).await,
        };
        self.obey_while_up(process, order).await
    }

    /// There is a worker that serves; without an order it is the end.
    async fn obey_while_up(&mut self, process: Box<Process>, order: Option<Order>) -> Next {
        match order {
            None => {
                self.retire(process).await;
                Next::End
            }
            Some(Order::Restart(giver)) => {
                self.retire(process).await;
                Next::Obey(Order::Restart(giver))
            }
            Some(Order::Reload(generation, giver)) => self.replace(process, generation, giver).await,
            Some(Order::Leave(answer)) => {
                process.leave_roster();
                self.slot.given_up(Some(process.running()));
                let patience = Patience::For(self.generation.config.drain_timeout);
                let (gone, departure) = oneshot::channel();
                self.dismiss(process, false, patience, Then::Gone(gone));
                drop(answer.send(Ok(Departure(Some(departure)))));
                Next::Finish
            }
        }
    }

    /// There is no worker to protect: try at once what the order says.
    async fn obey_while_down(&mut self, order: Order) -> Next {
        let (generation, giver) = match order {
            Order::Restart(giver) => (Arc::clone(&self.generation), giver),
            Order::Reload(generation, giver) => (generation, giver),
            Order::Leave(answer) => {
                self.slot.given_up(None);
                drop(answer.send(Ok(Departure::none())));
                return Next::Finish;
            }
        };
        let gone = giver.gone(&self.ending);
        match bring_up(&self.stage, &self.slot, &generation, Seat::Main, gone).await {
            Ok(process) => {
                self.generation = generation;
                self.history = History::default();
                let process = self.seat(process);
                drop(giver.answer.send(Ok(Departure::none())));
                Next::Serve(process)
            }
            Err(NotUp::Failed(failure)) => {
                drop(giver.answer.send(Err(Undone::NotReady(failure.clone()))));
                Next::BackOff(failure, Duration::ZERO)
            }
            Err(NotUp::GivenUp(undone)) => {
                // The end is looked for before anything is started.
                drop(giver.answer.send(Err(undone)));
                Next::Start
            }
        }
    }

    async fn back_off(&mut self, failure: Failure, ready_for: Duration) -> Next {
        let policy = self.generation.policy();
        self.history.failed(&policy, ready_for);
        let pause = self.history.pause(&policy, jitter());
        tracing::error!(
            backend = self.stage.backend,
            worker = self.slot.name,
            reason = failure.reason,
            last_lines = failure.lines.join("\n"),
            failures = self.history.failures(),
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "worker failed, it is started again after a pause"
        );
        self.slot.failed(failure);
        self.slot.set(Seat::Main, State::BackOff);
        tokio::select! {
            biased;
            () = self.ending.cancelled() => return Next::End,
            order = self.orders.recv() => return order.map_or(Next::End, Next::Obey),
            () = tokio::time::sleep(pause) => {}
        }
        self.slot.restarted();
        let labels = BackendLabels { backend: self.stage.backend.clone() };
        self.metrics.worker_restarts_total.get_or_create(&labels).inc();
        Next::Start
    }

    /// Let a ready process take traffic.
    fn seat(&self, process: Process) -> Box<Process> {
        seat(&self.stage, &self.slot, process, None)
    }

    /// Drain and stop the worker, because it is told to.
    async fn retire(&self, mut process: Box<Process>) {
        self.slot.set(Seat::Main, State::Draining(process.running()));
        let grace = self.generation.config.stop_grace;
        process.drain(grace, Patience::For(grace)).await;
        process.end(grace).await;
    }
}

/// Why there is no ready process.
enum NotUp<T> {
    /// It did not get ready.
    Failed(Failure),
    /// Something else became more important.
    GivenUp(T),
}

impl From<NotUp<Self>> for Undone {
    fn from(not_up: NotUp<Self>) -> Self {
        match not_up {
            NotUp::Failed(failure) => Self::NotReady(failure),
            NotUp::GivenUp(undone) => undone,
        }
    }
}

/// Let a ready process take traffic; an old one that still runs is shown beside it from then on.
fn seat(stage: &Stage, slot: &Slot, process: Process, old: Option<Running>) -> Box<Process> {
    stage.roster.add(process.worker());
    slot.succeeded(process.running(), old);
    tracing::info!(backend = stage.backend, worker = slot.name, pid = process.pid(), "worker ready");
    Box::new(process)
}

/// Start a process and wait until it is ready, or until `give_up` resolves. One that does not get ready is
/// stopped like any other, with its grace: it may be in the middle of a migration.
async fn bring_up<T>(
    stage: &Stage,
    slot: &Arc<Slot>,
    generation: &Generation,
    seat: Seat,
    give_up: impl Future<Output = T>,
) -> Result<Process, NotUp<T>> {
    let mut give_up = std::pin::pin!(give_up);
    if let Some(given_up) = poll_immediate(&mut give_up).await {
        return Err(NotUp::GivenUp(given_up));
    }
    let number = generation.number;
    slot.set(seat, State::Starting { pid: None, generation: number });
    let mut process = Process::start(stage, slot, generation).await.map_err(NotUp::Failed)?;
    slot.set(seat, State::Starting { pid: Some(process.pid()), generation: number });
    let not_up = tokio::select! {
        ready = process.ready(generation) => match ready {
            Ok(()) => return Ok(process),
            Err(failure) => NotUp::Failed(failure),
        },
        given_up = &mut give_up => NotUp::GivenUp(given_up),
    };
    process.end(generation.config.stop_grace).await;
    Err(not_up)
}

//! One life of the gateway: from rooms that are built to rooms that have drained. No order waits for another, and
//! none may be left without an answer.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{FutureExt, Stream, StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{
    GatewayError, notify,
    reload::Reloader,
    rooms::{House, Rooms, Runtimes},
    signals::{Said, Signals},
    successor::Successor,
};
use crate::{
    admin::{Order, Problem, ReloadOrder, SwapOrder, Swapping},
    config::{Config, Loaded, Past},
    edge::Inherited,
};

/// Orders that may wait until one is taken up.
const ORDERS_WAITING_MAX: usize = 4;

/// Reloads under way at a time. One that waits gives way to the next of the same backend: so many are many backends' or a
/// loop's.
const RELOADS_MAX: usize = 32;

/// What a life begins with.
pub(super) struct Beginning {
    /// What this process was before.
    pub(super) past: Past,
    /// Is the queue full of those who came meanwhile?
    pub(super) swapped: bool,
    /// Why the last swap was none.
    pub(super) swap_failure: Option<String>,
    /// Listeners of the life before.
    pub(super) inherited: Vec<Inherited>,
}

/// How a life ends.
pub(super) enum End {
    /// For good.
    Stopped,
    /// For another program, which gets the listeners.
    Handed {
        /// What was in force.
        config: Arc<Config>,
        /// Every listener.
        inherited: Vec<Inherited>,
        /// WebSockets that swaps have ended, this one's included.
        websockets: u64,
    },
}

/// What happens next.
enum Next {
    Reload(Option<ReloadOrder>),
    ReloadBackend(String, ReloadOrder),
    Swap(Option<SwapOrder>),
    Stop,
}

/// What ends it.
enum Last {
    Stop,
    Swap,
}

/// Rooms that serve.
pub(super) struct Life {
    rooms: Rooms,
    orders: mpsc::Receiver<Order>,
    swapping: Arc<AtomicBool>,
    swaps: u64,
}

impl Life {
    /// Build, announce, serve.
    pub(super) async fn begin(
        loaded: Loaded,
        runtimes: &Runtimes,
        beginning: Beginning,
    ) -> Result<Self, GatewayError> {
        let (sender, orders) = mpsc::channel(ORDERS_WAITING_MAX);
        let (swapping, swaps) = (Arc::new(AtomicBool::new(false)), beginning.past.swaps);
        let rooms = Rooms::build(loaded, runtimes, (sender, swapping.clone()), beginning).await?;
        rooms.announce();
        notify::keep(rooms.house().edge());
        notify::ready();
        Ok(Self { rooms, orders, swapping, swaps })
    }

    /// Until the end, whichever it is.
    pub(super) async fn lead(self, reloader: &Reloader, successor: &Successor, signals: &mut Signals) -> End {
        let house = self.rooms.house().clone();
        tokio::select! {
            end = self.obey(reloader, successor, signals) => end,
            () = notify::watchdog(house.edge()) => End::Stopped,
        }
    }

    async fn obey(mut self, reloader: &Reloader, successor: &Successor, signals: &mut Signals) -> End {
        match self.last(reloader, successor, signals).await {
            Last::Stop => self.stop(signals).await,
            Last::Swap => self.hand_over(signals).await,
        }
    }

    /// Until an order ends this life. A rolling reload takes as long as its workers, and none waits for another: whoever
    /// mends what the first one hangs on, or is about another backend, or wants an end. What is under way then is dropped.
    async fn last(&mut self, reloader: &Reloader, successor: &Successor, signals: &mut Signals) -> Last {
        let Self { rooms, orders, swaps, .. } = self;
        let (rooms, wholes) = (&*rooms, Cell::new(0));
        let mut under_way = FuturesUnordered::new();
        loop {
            let room = under_way.len() < RELOADS_MAX;
            let next = tokio::select! {
                Some(()) = under_way.next() => continue,
                next = next(orders, signals, room) => next,
            };
            match next {
                Next::Stop => return Last::Stop,
                Next::Reload(order) => under_way.push(reload(rooms, reloader, order, &wholes).boxed_local()),
                Next::ReloadBackend(name, order) => {
                    let reload = async move { reloader.carry_out_for(rooms, &name, order).await };
                    under_way.push(reload.boxed_local());
                }
                Next::Swap(order) => {
                    let checked = tokio::select! {
                        checked = successor.check() => checked,
                        () = signals.stop() => return Last::Stop,
                        () = carry_on(&mut under_way) => continue,
                    };
                    if answer(successor, order, checked, *swaps) {
                        return Last::Swap;
                    }
                }
            }
        }
    }

    /// Drain for good.
    async fn stop(self, signals: &mut Signals) -> End {
        let grace = self.rooms.house().config.load().shutdown_grace;
        notify::stopping();
        tracing::info!(grace_s = grace.as_secs(), "stopping: no new connections, draining");
        tokio::select! {
            () = self.rooms.drain(grace) => tracing::info!("stopped"),
            // A second Ctrl-C is a person who does not want to wait.
            () = signals.impatience() => tracing::warn!("stopped without draining"),
        }
        End::Stopped
    }

    /// Drain for the program that comes next. New connections wait in the kernel's queues meanwhile.
    async fn hand_over(self, signals: &mut Signals) -> End {
        let house: Arc<House> = self.rooms.house().clone();
        self.swapping.store(true, Ordering::Relaxed);
        notify::reloading("swapping the program");
        let grace = house.config.load().swap_grace;
        let before = house.edge().websockets_drained();
        tokio::select! {
            () = self.rooms.drain(grace) => {}
            () = notify::lasting() => {}
            () = signals.impatience() => {
                tracing::warn!("stopped without draining");
                return End::Stopped;
            }
        }
        let websockets = house.edge().websockets_drained();
        let ended = websockets - before;
        tracing::info!(websockets = ended, "drained for the swap; WebSockets were told to come again");
        End::Handed { config: house.config.load_full(), inherited: house.edge().hand_over(), websockets }
    }
}

/// What comes next; without room for another reload only the end does, and all else waits.
async fn next(orders: &mut mpsc::Receiver<Order>, signals: &mut Signals, room: bool) -> Next {
    if !room {
        signals.stop().await;
        return Next::Stop;
    }
    tokio::select! {
        said = signals.next() => match said {
            Said::Stop => Next::Stop,
            Said::Reload => Next::Reload(None),
            Said::Swap => Next::Swap(None),
        },
        Some(order) = orders.recv() => match order {
            Order::Reload(order) => Next::Reload(Some(order)),
            Order::ReloadBackend(name, order) => Next::ReloadBackend(name, order),
            Order::Swap(order) => Next::Swap(Some(order)),
        },
    }
}

/// Carry out what is under way. Never ends.
async fn carry_on(under_way: &mut (impl Stream<Item = ()> + Unpin)) {
    while under_way.next().await.is_some() {}
    std::future::pending().await
}

/// Reload the whole; `wholes` counts those under way, the last of which tells systemd of the end.
async fn reload(rooms: &Rooms, reloader: &Reloader, order: Option<ReloadOrder>, wholes: &Cell<usize>) {
    let edge = rooms.house().edge();
    let names = || {
        let mut names = Vec::new();
        edge.each_listener(|bound| names.push(bound.name()));
        names
    };
    notify::reloading("reloading");
    wholes.update(|wholes| wholes + 1);
    let before = names();
    // Workers may need their whole `ready_timeout` and `drain_timeout`, one after another.
    tokio::select! {
        () = reloader.carry_out(rooms, order) => {}
        () = notify::lasting() => {}
    }
    let after = names();
    let gone: Vec<_> = before.into_iter().filter(|name| !after.contains(name)).collect();
    notify::forget(&gone);
    notify::keep(edge);
    wholes.update(|wholes| wholes - 1);
    if wholes.get() == 0 {
        notify::ready();
    }
}

/// Tell whoever ordered a swap whether there will be one; true if so.
fn answer(successor: &Successor, order: Option<SwapOrder>, checked: Result<(), Problem>, swaps: u64) -> bool {
    let path = successor.path().display();
    match &checked {
        Ok(()) => tracing::info!(program = %path, "swapping: draining, then becoming it"),
        Err(problem) => tracing::error!(problem = %problem.detail, "the swap was refused"),
    }
    let goes = checked.is_ok();
    if let Some(order) = order {
        // Whoever asked may have gone away; the swap goes on all the same.
        drop(order.send(checked.map(|()| Swapping { program: path.to_string(), swaps })));
    }
    goes
}

//! All listeners of the edge, for as long as the process lives: which address is served how, and what changes when the
//! configuration does. A listener that stays is not touched; one that goes is served out.

use std::net::SocketAddr;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Config, EdgeError,
    bind::{self, Bound, Inherited},
    connection::Speaks,
};

/// Listeners on their way to a thread: far more than anybody lists.
pub(super) const ON_THEIR_WAY_MAX: usize = 256;

/// What a thread accepts from.
pub(super) struct Listen {
    /// What is spoken there.
    pub(super) speaks: Speaks,
    /// A duplicate of the original.
    pub(super) listener: std::net::TcpListener,
    /// Serve what has come already, and no more.
    pub(super) leave: CancellationToken,
}

/// How an address is served; two that are equal are served alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// HTTPS.
    Tls,
    /// Plain HTTP, served.
    Plain,
    /// Plain HTTP, sent to https on this port.
    Redirect(Option<u16>),
}

/// The listeners, and the way to the threads.
#[derive(Default)]
pub(super) struct Listeners {
    threads: Vec<mpsc::Sender<Listen>>,
    held: Vec<Held>,
    /// Listed no longer, from a former self.
    left: Vec<Inherited>,
}

struct Held {
    bound: Bound,
    /// How it is served now, and what ends that.
    served: Option<(Manner, CancellationToken)>,
}

/// What a new configuration makes of the listeners: everything that can fail is done.
pub(super) struct Plan {
    listed: Vec<(Place, Option<Fresh>)>,
}

/// All that it takes to serve an address in another manner than now.
struct Fresh {
    manner: Manner,
    speaks: Speaks,
    /// What each thread accepts from.
    shares: Vec<Vec<std::net::TcpListener>>,
}

/// Where a listed address comes from.
enum Place {
    /// Held already: the how-manieth.
    Held(usize, &'static str),
    /// Bound for it.
    New(Held),
}

impl Listeners {
    /// Take over or bind what the configuration lists.
    pub(super) fn bind(
        &mut self,
        config: &Config,
        inherited: Vec<Inherited>,
        threads: usize,
    ) -> Result<(), EdgeError> {
        let (bound, left) = bind::claim(config, inherited, threads)?;
        self.held = bound.into_iter().map(|bound| Held { bound, served: None }).collect();
        self.left = left;
        Ok(())
    }

    /// Serve them on these threads from here on.
    pub(super) fn serve(
        &mut self,
        threads: Vec<mpsc::Sender<Listen>>,
        manner: impl Fn(&'static str, &[(&'static str, SocketAddr)]) -> Manner,
        speaks: impl Fn(Manner) -> Result<Speaks, EdgeError>,
    ) -> Result<(), EdgeError> {
        self.threads = threads;
        let addresses = self.addresses();
        for Inherited { name, listener } in self.left.drain(..) {
            tracing::warn!(name, "a listener that was handed over is listed no longer: it is served out");
            let kind = if name.starts_with("https") { "https" } else { "http" };
            let leave = CancellationToken::new();
            leave.cancel();
            let listen = Listen { speaks: speaks(manner(kind, &addresses))?, listener, leave };
            pass_on(self.threads.first(), listen);
        }
        for index in 0..self.held.len() {
            let held = &self.held[index];
            if let Some(fresh) = self.fresh(held, manner(held.bound.kind, &addresses), &speaks)? {
                self.held[index].serve(fresh, &self.threads);
            }
        }
        Ok(())
    }

    /// What a new configuration asks for; binds what is new. Nothing is in force yet, and nothing is left to fail.
    pub(super) fn plan(
        &self,
        config: &Config,
        manner: impl Fn(&'static str, &[(&'static str, SocketAddr)]) -> Manner,
        speaks: impl Fn(Manner) -> Result<Speaks, EdgeError>,
    ) -> Result<Plan, EdgeError> {
        let mut free: Vec<usize> = (0..self.held.len()).collect();
        let mut places = Vec::new();
        for (kind, address) in bind::listed(config) {
            // One that stays in its list before one that moves to the other.
            let same = |index: &usize, of_kind: bool| {
                let bound = &self.held[*index].bound;
                bound.configured == address && (!of_kind || bound.kind == kind)
            };
            let at = free.iter().position(|index| same(index, true));
            let at = at.or_else(|| free.iter().position(|index| same(index, false)));
            places.push(match at {
                Some(at) => Place::Held(free.remove(at), kind),
                None => {
                    let bound = bind::bind(
                        kind,
                        address,
                        bind::is_apart(config, address),
                        self.threads.len().max(1),
                    )?;
                    Place::New(Held { bound, served: None })
                }
            });
        }
        let place = |place: &Place| match place {
            Place::Held(index, kind) => (*kind, self.held[*index].bound.address),
            Place::New(held) => (held.bound.kind, held.bound.address),
        };
        let addresses: Vec<_> = places.iter().map(place).collect();
        let mut listed = Vec::new();
        for (place, (kind, _)) in places.into_iter().zip(&addresses) {
            let held = match &place {
                Place::Held(index, _) => &self.held[*index],
                Place::New(held) => held,
            };
            let fresh = self.fresh(held, manner(kind, &addresses), &speaks)?;
            listed.push((place, fresh));
        }
        Ok(Plan { listed })
    }

    /// Put a plan in force: serve what is new, leave what is listed no longer, and touch nothing else.
    pub(super) fn carry_out(&mut self, plan: Plan) {
        let mut before: Vec<Option<Held>> = self.held.drain(..).map(Some).collect();
        for (place, fresh) in plan.listed {
            let held = match place {
                Place::Held(index, kind) => before.get_mut(index).and_then(Option::take).map(|mut held| {
                    held.bound.kind = kind;
                    held
                }),
                Place::New(held) => {
                    tracing::info!(address = %held.bound.address, "listening for {}", held.bound.kind);
                    Some(held)
                }
            };
            let Some(mut held) = held else { continue };
            if let Some(fresh) = fresh {
                held.serve(fresh, &self.threads);
            }
            self.held.push(held);
        }
        for gone in before.into_iter().flatten() {
            tracing::info!(address = %gone.bound.address, "not listed any more: served out");
            if let Some((_, leave)) = gone.served {
                leave.cancel();
            }
        }
    }

    /// What it takes to serve an address as it should be; none if it is served so.
    fn fresh(
        &self,
        held: &Held,
        manner: Manner,
        speaks: impl Fn(Manner) -> Result<Speaks, EdgeError>,
    ) -> Result<Option<Fresh>, EdgeError> {
        if held.served.as_ref().is_some_and(|(served, _)| *served == manner) {
            return Ok(None);
        }
        Ok(Some(Fresh { manner, speaks: speaks(manner)?, shares: held.bound.shares(self.threads.len())? }))
    }

    /// What is bound: `http` or `https`, and the real address where the configuration said port 0.
    pub(super) fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.held.iter().map(|held| (held.bound.kind, held.bound.address)).collect()
    }

    /// Every listener.
    pub(super) fn bound(&self) -> impl Iterator<Item = &Bound> {
        self.held.iter().map(|held| &held.bound)
    }

    /// Every listener, for the next life or the next program. Nobody accepts any more.
    pub(super) fn hand_over(&mut self) -> Vec<Inherited> {
        self.held.drain(..).flat_map(|held| held.bound.into_inherited()).chain(self.left.drain(..)).collect()
    }
}

impl Held {
    /// Serve it anew. The new ones hold the socket before the old ones let go of it.
    fn serve(&mut self, fresh: Fresh, threads: &[mpsc::Sender<Listen>]) {
        let Fresh { manner, speaks, shares } = fresh;
        let leave = CancellationToken::new();
        for (thread, share) in threads.iter().zip(shares) {
            for listener in share {
                let listen = Listen { speaks: speaks.clone(), listener, leave: leave.clone() };
                pass_on(Some(thread), listen);
            }
        }
        if let Some((_, before)) = self.served.replace((manner, leave)) {
            before.cancel();
        }
    }
}

fn pass_on(thread: Option<&mpsc::Sender<Listen>>, listen: Listen) {
    // A thread that has ended is draining: nothing new is served then.
    if thread.is_none_or(|thread| thread.try_send(listen).is_err()) {
        tracing::warn!("a listener reached no thread");
    }
}

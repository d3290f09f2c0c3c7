//! The generation in force and those before it, the ways back: in memory and on the shelf, from which a new start of the
//! gateway takes them up again. It must never be empty, and never give one number twice.

use std::sync::Arc;

use super::super::{
    BackendError, Config,
    generation::{Generation, LeadsTo},
    node::NodeStatus,
    shelf::{Held, Shelf},
    status::GenerationStatus,
};

/// Generations that a rollback can go back to; each is a configuration and what an `env_file` said, a few KB.
const GENERATIONS_KEPT: usize = 10;

/// All of one backend.
#[derive(Debug)]
pub(super) struct Generations {
    shelf: Shelf,
    /// Oldest first; never empty.
    all: Vec<Arc<Generation>>,
    /// Which of them the workers are started from.
    current: usize,
    /// The last number that was given to one, also to one that failed.
    number: u64,
    /// Somebody went back to the one in force: what the configuration said then counts for nothing.
    held: Option<Held>,
    /// What is on the shelf: the numbers of the generations, and that.
    shelved: (Vec<u64>, Option<Held>),
}

impl Generations {
    /// Those of an earlier gateway, and this one, with which a new one starts. One that is as it was before is the same:
    /// otherwise ten new starts would leave no way back. One that was gone back to stays in force while the configuration
    /// says what it said then.
    pub(super) fn begin(shelf: Shelf, first: Generation) -> Self {
        let (all, held) = shelf.read();
        let all: Vec<_> = all.into_iter().map(Arc::new).collect();
        let shelved = (all.iter().map(|one| one.number).collect(), held.clone());
        let number = all.last().map_or(0, |last| last.number);
        let held = held.filter(|held| held.is_of(&first.config, &first.leads_to()));
        let back = held.as_ref().and_then(|held| {
            let at = all.iter().position(|one| one.number == held.number)?;
            let gone = what_is_gone(&all[at]);
            if let Some(what) = &gone {
                let number = held.number;
                tracing::warn!(%what, "generation {number}, to which somebody went back, cannot serve: the configuration's does");
            }
            gone.is_none().then_some(at)
        });
        let again = back.or_else(|| all.iter().rposition(|one| one.is_as(&first)));
        let held = held.filter(|_| back.is_some());
        let mut generations = Self { shelf, all, current: 0, number, held, shelved };
        match again {
            Some(at) => generations.current = at,
            None => {
                let number = generations.next_number();
                generations.stands(Arc::new(Generation { number, ..first }));
            }
        }
        generations
    }

    /// Those of an earlier gateway alone, while the configuration leads to none: the one that was gone back to, or the last
    /// that can serve. None, if none can.
    pub(super) fn of_before(shelf: Shelf) -> Option<Self> {
        let (all, held) = shelf.read();
        let all: Vec<_> = all.into_iter().map(Arc::new).collect();
        let serves = |at: &usize| what_is_gone(&all[*at]).is_none();
        let of_held = held.as_ref().and_then(|held| all.iter().position(|one| one.number == held.number));
        let current = of_held.filter(serves).or_else(|| (0..all.len()).rev().find(serves))?;
        let numbers: Vec<_> = all.iter().map(|one| one.number).collect();
        let number = numbers.last().copied().unwrap_or_default();
        let held = held.filter(|held| held.number == all[current].number);
        Some(Self { shelf, all, current, number, shelved: (numbers, held.clone()), held })
    }

    /// The one in force.
    pub(super) fn current(&self) -> &Arc<Generation> {
        &self.all[self.current]
    }

    /// A number that none has had.
    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// This one is in force from here on.
    pub(super) fn stands(&mut self, next: Arc<Generation>) {
        if let Some(at) = self.all.iter().position(|one| one.number == next.number) {
            self.current = at;
            return;
        }
        // One that is as another takes its place: ten reloads that change nothing would leave no way back.
        self.all.retain(|one| !one.is_as(&next));
        self.all.push(next);
        let surplus = self.all.len().saturating_sub(GENERATIONS_KEPT);
        self.all.drain(..surplus);
        self.current = self.all.len() - 1;
    }

    /// The one of this number, or the one before; or why there is no way back to it.
    pub(super) fn earlier(
        &self,
        backend: &str,
        number: Option<u64>,
    ) -> Result<Arc<Generation>, BackendError> {
        let (backend, current) = (backend.to_owned(), self.current().number);
        let mut newest_first = self.all.iter().rev();
        let found =
            newest_first.find(|one| number.map_or(one.number < current, |number| one.number == number));
        let known = || {
            let others = self.all.iter().filter(|one| one.number != current);
            others.filter(|one| one.directory.is_dir()).map(|one| one.number).collect()
        };
        let Some(found) = found else {
            return Err(BackendError::NoGeneration { backend, number, known: known() });
        };
        let gone = |what| {
            let (number, known) = (found.number, known());
            Err(BackendError::GenerationGone { backend: backend.clone(), number, what, known })
        };
        what_is_gone(found).map_or_else(|| Ok(Arc::clone(found)), gone)
    }

    /// The one in force was gone back to, whatever the configuration says: this, and it leads there.
    pub(super) fn hold(&mut self, config: &Config, leads_to: &LeadsTo) {
        self.held = Some(Held::of(self.current().number, config, leads_to));
    }

    /// The one in force is the configuration's.
    pub(super) fn let_go(&mut self) {
        self.held = None;
    }

    /// Was the one in force gone back to?
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// What may be told of them, oldest first.
    pub(super) fn status(&self) -> Vec<GenerationStatus> {
        self.all.iter().map(|one| one.status()).collect()
    }

    /// Have on the shelf what is here. What cannot be written is tried again after the next order.
    pub(super) async fn shelve(&mut self) {
        let numbers: Vec<u64> = self.all.iter().map(|one| one.number).collect();
        let wanted = (numbers, self.held.clone());
        if wanted == self.shelved {
            return;
        }
        let (shelf, all, held) = (self.shelf.clone(), self.all.clone(), self.held.clone());
        let written = tokio::task::spawn_blocking(move || shelf.write(&all, held.as_ref())).await;
        match written.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => self.shelved = wanted,
            Err(error) => {
                tracing::warn!(%error, "generations cannot be kept: a new start of the gateway knows no way back");
            }
        }
    }
}

/// What a generation was made of and is no longer there.
fn what_is_gone(generation: &Generation) -> Option<String> {
    if !generation.directory.is_dir() {
        return Some(format!("release {}", generation.directory.display()));
    }
    match &generation.node {
        Some(NodeStatus { program, version, .. }) if !program.exists() => {
            let version = version.as_deref().unwrap_or("Node");
            Some(format!("{version} ({})", program.display()))
        }
        _ => None,
    }
}

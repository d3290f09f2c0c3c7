//! The generation in force and those before it, the ways back: in memory and on the shelf, from which a new start of the
//! gateway takes them up again. It must never be empty, and never give one number twice.

use std::sync::Arc;

use super::super::{
    BackendError, generation::Generation, node::NodeStatus, shelf::Shelf, status::GenerationStatus,
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
    /// The numbers of those on the shelf.
    shelved: Vec<u64>,
}

impl Generations {
    /// Those of an earlier gateway, and this one, with which a new one starts. One that is as it was before is the same:
    /// otherwise ten new starts would leave no way back.
    pub(super) fn begin(shelf: Shelf, first: Generation) -> Self {
        let all: Vec<_> = shelf.read().into_iter().map(Arc::new).collect();
        let shelved = all.iter().map(|one| one.number).collect();
        let number = all.last().map_or(0, |last| last.number);
        let again = all.iter().rposition(|one| one.is_as(&first));
        let mut generations = Self { shelf, all, current: 0, number, shelved };
        match again {
            Some(at) => generations.current = at,
            None => {
                let number = generations.next_number();
                generations.stands(Arc::new(Generation { number, ..first }));
            }
        }
        generations
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
        if !found.directory.is_dir() {
            return gone(format!("release {}", found.directory.display()));
        }
        match &found.node {
            Some(NodeStatus { program, version, .. }) if !program.exists() => {
                let version = version.as_deref().unwrap_or("Node");
                gone(format!("{version} ({})", program.display()))
            }
            _ => Ok(Arc::clone(found)),
        }
    }

    /// What may be told of them, oldest first.
    pub(super) fn status(&self) -> Vec<GenerationStatus> {
        self.all.iter().map(|one| one.status()).collect()
    }

    /// Have on the shelf what is here. What cannot be written is tried again after the next order.
    pub(super) async fn shelve(&mut self) {
        let numbers: Vec<u64> = self.all.iter().map(|one| one.number).collect();
        if numbers == self.shelved {
            return;
        }
        let (shelf, all) = (self.shelf.clone(), self.all.clone());
        let written = tokio::task::spawn_blocking(move || shelf.write(&all)).await;
        match written.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => self.shelved = numbers,
            Err(error) => {
                tracing::warn!(%error, "generations cannot be kept: a new start of the gateway knows no way back");
            }
        }
    }
}

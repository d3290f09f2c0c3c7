//! The directories in which processes of ours were started and run: whoever removes old releases asks here first. It
//! must never forget one before its process has ended.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// How many processes run in each.
static PLACES: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

/// One process's directory, taken for as long as this lives.
#[derive(Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    /// A process is to run there.
    pub(super) fn take(directory: &Path) -> Self {
        with(|places| *places.entry(directory.to_owned()).or_default() += 1);
        Self(directory.to_owned())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        with(|places| {
            if let Some(count) = places.get_mut(&self.0) {
                *count -= 1;
                if *count == 0 {
                    places.remove(&self.0);
                }
            }
        });
    }
}

/// Does any process run in this directory or below it?
pub(in crate::backend) fn is_taken(directory: &Path) -> bool {
    with(|places| places.keys().any(|place| place.starts_with(directory)))
}

fn with<T>(work: impl FnOnce(&mut BTreeMap<PathBuf, usize>) -> T) -> T {
    work(&mut PLACES.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_taken_until_the_last_process_in_it_or_below_it_has_ended() {
        let (top, below) = (Path::new("/of/this/test"), Path::new("/of/this/test/api"));
        let (first, second) = (Place::take(top), Place::take(below));
        let third = Place::take(below);
        drop((first, second));
        assert!(is_taken(top) && is_taken(below) && !is_taken(Path::new("/of/this/test/ap")));
        drop(third);
        assert!(!is_taken(top) && !is_taken(below));
    }
}

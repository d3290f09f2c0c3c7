//! The last runs of one job, in memory and in a file of the state directory, so that a new start of the gateway does
//! not forget last night's failure. The file holds no secret; one that cannot be read is an empty memory.

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::outcome::RunView;

/// Verdicts of a run that is not the last: enough to see who failed, and not a list of all tenants times all runs.
const VERDICTS_KEPT: usize = 100;

/// Far more than the runs that are kept can take.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Records {
    /// The last number that was given to a run.
    pub(super) number: u64,
    /// Runs that were due while another was under way.
    pub(super) overlaps_skipped: u64,
    /// When a run went well last, however long ago.
    pub(super) succeeded: Option<Timestamp>,
    /// The latest first.
    pub(super) runs: VecDeque<RunView>,
}

impl Records {
    /// One more run has ended.
    pub(super) fn push(&mut self, run: RunView, kept: usize) {
        if run.outcome.is_good() {
            self.succeeded = run.started.checked_add(Duration::from_millis(run.duration_ms)).ok();
        }
        if let Some(before) = self.runs.front_mut() {
            let all = before.verdicts.len();
            before.verdicts.retain(|verdict| !verdict.outcome.is_good());
            before.verdicts.truncate(VERDICTS_KEPT);
            before.verdicts_left_out += all - before.verdicts.len();
        }
        self.runs.push_front(run);
        self.runs.truncate(kept);
    }

    /// Where those of a job are.
    pub(super) fn path(state_dir: &Path, job: &str) -> PathBuf {
        state_dir.join("jobs").join(format!("{job}.json"))
    }

    /// What an earlier gateway remembered.
    pub(super) fn read(path: &Path) -> Self {
        let read = || {
            let size = fs::metadata(path)?.len();
            if size > FILE_BYTES_MAX {
                return Err(io::Error::other("it is far too large"));
            }
            serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
        };
        read().unwrap_or_else(|error: io::Error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "the outcomes of earlier runs cannot be read");
            }
            Self::default()
        })
    }

    /// Put the file in place whole, or leave the old one.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let next = path.with_extension("json.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(next, path)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::outcome::{By, Outcome, Verdict},
        *,
    };

    fn run(number: u64, failed: usize, done: usize) -> RunView {
        let verdict =
            |outcome| Verdict { tenant: None, outcome, exit: None, detail: String::new(), duration_ms: 1 };
        let bad = std::iter::repeat_n(verdict(Outcome::Failed), failed);
        RunView {
            number,
            by: By::Schedule,
            started: "2026-01-01T00:00:00Z".parse().unwrap(),
            duration_ms: 5,
            outcome: Outcome::Failed,
            verdicts: std::iter::repeat_n(verdict(Outcome::Done), done).chain(bad).collect(),
            verdicts_left_out: 0,
        }
    }

    #[test]
    fn the_last_run_is_remembered_whole_and_earlier_ones_by_what_went_wrong() {
        let mut records = Records::default();
        for number in 1..=5 {
            records.push(run(number, 150, 10), 3);
        }
        let seen: Vec<_> =
            records.runs.iter().map(|run| (run.number, run.verdicts.len(), run.verdicts_left_out)).collect();
        assert_eq!(seen, [(5, 160, 0), (4, 100, 60), (3, 100, 60)]);
        assert!(records.runs[1].verdicts.iter().all(|verdict| verdict.outcome == Outcome::Failed));
    }

    #[test]
    fn what_was_written_is_read_again_and_what_is_broken_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = Records::path(directory.path(), "nightly");
        assert_eq!(Records::read(&path), Records::default());
        let mut records = Records { number: 7, overlaps_skipped: 2, ..Records::default() };
        records.push(run(7, 1, 1), 3);
        records.write(&path).unwrap();
        assert_eq!(Records::read(&path), records);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "{").unwrap();
        assert_eq!(Records::read(&path), Records::default());
    }
}

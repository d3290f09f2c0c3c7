//! The memory that a worker and its descendants hold, read from `/proc`. It must never walk all processes for each
//! worker each second: where nobody has been started since, there is nobody to look for, and who has been is looked at
//! once for all workers.

use std::{
    collections::BTreeSet,
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::process_group::{self, Seen};

/// How old a list of all processes may be. Between two of them only newcomers are looked at, by the ids that the kernel
/// has given since; who joins the group later in its life has to wait for the next list.
const CENSUS_EVERY: Duration = Duration::from_secs(60);

/// How long a look at the last id serves all who ask: the workers are looked at in one moment each second.
const LOOK_SERVES: Duration = Duration::from_millis(500);

/// As many newcomers as are looked at on the spot, in some 20 µs each.
const FEW: usize = 16;

/// As many ids as are looked at one by one at least; for more than there are processes, all of these are looked at.
const NEWCOMERS: usize = 64;

/// Which look also asks whom the known processes have started since: containers may be told nothing of ids.
const CHILDREN_EVERY: u32 = 5;

/// More than a line of `/proc/PID/statm` can have: seven numbers of at most 20 digits.
const LINE_BYTES: usize = 160;

/// One process group.
#[derive(Debug)]
pub(super) struct Memory {
    group: u32,
    /// The leader's own line, kept open: what is looked at most often costs one read.
    leader: Option<File>,
    /// All the others.
    members: BTreeSet<u32>,
    looks: u32,
}

impl Memory {
    /// Of the group that this process leads.
    pub(super) fn of_group(group: u32) -> Self {
        Self { group, leader: statm(group), members: BTreeSet::new(), looks: 0 }
    }

    /// What its processes hold resident now, bytes; pages that they share count for each. Reads a short file for each
    /// process: microseconds, less than it takes to have another thread do it.
    pub(super) fn resident_bytes(&mut self) -> u64 {
        // The file is that process's, not that of whoever has its id next: once it has ended, it says nothing.
        let leader = self.leader.as_ref().and_then(resident_pages).unwrap_or_default();
        let asks = self.looks.is_multiple_of(CHILDREN_EVERY);
        self.looks = self.looks.wrapping_add(1);
        (leader + self.descendants_pages(asks)) * page_bytes()
    }

    fn descendants_pages(&mut self, asks: bool) -> u64 {
        let of_census = last_census().map(|census| census.seen).unwrap_or_default();
        let of_census = of_census.iter().filter(|seen| seen.group == self.group).map(|seen| seen.pid);
        let mut open: Vec<u32> = self.members.iter().copied().chain(of_census).collect();
        if asks {
            open.extend(process_group::children(self.group));
        }
        let (mut members, mut pages) = (BTreeSet::new(), 0);
        while let Some(pid) = open.pop() {
            if pid == self.group || members.contains(&pid) {
                continue;
            }
            // Its group is read each time: the id may be somebody else's by now.
            let Some(seen) = process_group::see(pid).filter(|seen| seen.group == self.group) else {
                continue;
            };
            members.insert(pid);
            pages += seen.resident_pages;
            if asks {
                open.extend(process_group::children(pid));
            }
        }
        self.members = members;
        pages
    }
}

/// The processes of the machine: all as they were at one moment, and those that have come since. One list for all who ask.
#[derive(Debug, Clone)]
struct Census {
    taken: Instant,
    /// When newcomers were last asked for.
    looked: Instant,
    /// The last id that had been given when it was begun.
    last_id: Option<u32>,
    seen: Arc<[Seen]>,
}

impl Census {
    /// Who is there now. May block for some milliseconds.
    fn of_all() -> Self {
        let (now, last_id) = (Instant::now(), process_group::last_id());
        Self { taken: now, looked: now, last_id, seen: process_group::all().into() }
    }

    /// The ids that the kernel has given since; none when they cannot be told.
    fn newcomers(&self) -> Option<Range<u32>> {
        ids_between(self.last_id?, process_group::last_id()?)
    }

    /// With the processes among these ids, which may be a thread's as well.
    fn joined_by(self, ids: Range<u32>) -> Self {
        let (looked, last_id) = (Instant::now(), ids.end.checked_sub(1));
        if ids.is_empty() {
            return Self { looked, ..self };
        }
        let come = ids.filter(|id| process_group::is_process(*id)).filter_map(process_group::see);
        Self { looked, last_id, seen: self.seen.iter().copied().chain(come).collect(), ..self }
    }
}

static CENSUS: Mutex<Option<Census>> = Mutex::new(None);

/// The last one, unless it is too old.
fn last_census() -> Option<Census> {
    let census = CENSUS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    census.filter(|census| census.taken.elapsed() < CENSUS_EVERY)
}

fn keep(census: Census) {
    *CENSUS.lock().unwrap_or_else(PoisonError::into_inner) = Some(census);
}

/// Have more been started than can be looked at in microseconds, or is the list too old? Few newcomers join it here: to
/// have a thread do it would take longer, and the thread would be the next newcomer.
pub(super) fn census_is_due() -> bool {
    let Some(census) = last_census() else { return true };
    if census.looked.elapsed() < LOOK_SERVES {
        return false;
    }
    match census.newcomers() {
        Some(ids) if ids.len() <= FEW => {
            keep(census.joined_by(ids));
            false
        }
        _ => true,
    }
}

/// Bring it up to date, unless somebody just has. May block for some milliseconds.
pub(super) fn take_census() {
    // Not the list's own lock, for which the looks would wait.
    static TAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let census = last_census().and_then(|census| {
        // For more than there are processes, all of these are looked at.
        let ids = census.newcomers().filter(|ids| ids.len() <= census.seen.len().max(NEWCOMERS))?;
        Some(census.joined_by(ids))
    });
    keep(census.unwrap_or_else(Census::of_all));
}

/// The ids that have been given after the one, up to the other; none when they have gone round.
fn ids_between(before: u32, last: u32) -> Option<Range<u32>> {
    (before <= last).then(|| before.saturating_add(1)..last.saturating_add(1))
}

fn statm(pid: u32) -> Option<File> {
    File::open(format!("/proc/{pid}/statm")).ok()
}

/// As that file says it now; none when its process is gone.
fn resident_pages(statm: &File) -> Option<u64> {
    let mut line = [0; LINE_BYTES];
    let length = statm.read_at(&mut line, 0).ok()?;
    // In pages: size, resident, shared… (proc_pid_statm(5)).
    std::str::from_utf8(&line[..length]).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn page_bytes() -> u64 {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    page.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

#[cfg(test)]
mod tests;

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
mod tests {
    use std::{
        io::Write,
        os::unix::process::CommandExt,
        process::{Command, Stdio},
    };

    use super::*;

    fn resident_bytes(pid: u32) -> Option<u64> {
        Some(resident_pages(&statm(pid)?)? * page_bytes())
    }

    #[test]
    fn what_is_touched_is_counted() {
        let own = std::process::id();
        let before = resident_bytes(own).unwrap();
        let held = vec![1_u8; 64 * 1024 * 1024];
        let after = resident_bytes(own).unwrap();
        assert!(after >= before + 60 * 1024 * 1024, "{before} {after} {}", held.len());
        assert_eq!(resident_bytes(u32::MAX), None);
    }

    #[test]
    fn a_group_is_all_its_processes() {
        let group = nix::unistd::getpgrp().as_raw().unsigned_abs();
        // Its leader has started us long ago, and perhaps through others.
        take_census();
        assert!(Memory::of_group(group).resident_bytes() >= resident_bytes(std::process::id()).unwrap() / 2);
    }

    #[test]
    fn one_whom_no_known_process_has_started_is_counted_at_the_next_look() {
        let mut leader = Command::new("sh");
        // Its parent has ended by then.
        leader.args(["-c", "read go; (sleep 60 &); read go"]).stdin(Stdio::piped());
        let mut leader = leader.process_group(0).spawn().unwrap();
        let mut words = leader.stdin.take().unwrap();
        let mut memory = Memory::of_group(leader.id());
        take_census();
        memory.resident_bytes();
        assert!(memory.members.is_empty());
        words.write_all(b"go\n").unwrap();
        let orphan = loop {
            let members = process_group::members(leader.id());
            let orphan = members.iter().copied().find(|pid| *pid != leader.id());
            if let (2, Some(orphan)) = (members.len(), orphan)
                && !process_group::started_by(leader.id()).contains(&orphan)
            {
                break orphan;
            }
            std::thread::yield_now();
        };
        take_census();
        memory.resident_bytes();
        assert_eq!(memory.members, BTreeSet::from([orphan]));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(orphan).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        drop(words);
        leader.wait().unwrap();
    }

    #[test]
    fn who_has_come_since_joins_the_list_once() {
        let before = Census::of_all();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let ids = before.newcomers().unwrap();
        assert!(ids.contains(&child.id()));
        let after = before.clone().joined_by(ids);
        let count = |census: &Census| census.seen.iter().filter(|seen| seen.pid == child.id()).count();
        assert_eq!((count(&before), count(&after)), (0, 1));
        assert!(after.newcomers().is_none_or(|ids| !ids.contains(&child.id())));
        assert!(after.looked > before.looked && after.taken == before.taken);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn threads_are_no_processes_and_ids_that_have_gone_round_are_not_guessed() {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let (end, ended) = std::sync::mpsc::sync_channel::<()>(1);
        let thread = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw().unsigned_abs()).unwrap();
            let _end = ended.recv();
        });
        let id = told.recv().unwrap();
        assert!(process_group::see(id).is_some(), "it looks like one");
        assert!(!process_group::is_process(id) && process_group::is_process(std::process::id()));
        drop(end);
        thread.join().unwrap();
        assert!(process_group::last_id().is_some_and(|id| id > 0));
        assert_eq!(
            (ids_between(7, 9), ids_between(9, 9), ids_between(9, 7)),
            (Some(8..10), Some(10..10), None)
        );
    }

    #[test]
    fn a_child_is_counted_some_looks_later_and_one_that_has_gone_no_more() {
        let mut leader = Command::new("sh");
        leader.args(["-c", "read go; sleep 60 & read go; kill $!; wait; read go"]).stdin(Stdio::piped());
        let mut leader = leader.process_group(0).spawn().unwrap();
        let mut words = leader.stdin.take().unwrap();
        let until = |count| {
            while process_group::members(leader.id()).len() != count {
                std::thread::yield_now();
            }
        };
        let mut memory = Memory::of_group(leader.id());
        let alone = memory.resident_bytes();
        assert!(alone > 0 && memory.members.is_empty());
        words.write_all(b"go\n").unwrap();
        until(2);
        for _ in 0..CHILDREN_EVERY {
            memory.resident_bytes();
        }
        assert_eq!(memory.members.len(), 1);
        // A process that is just being made holds next to nothing.
        assert!((0..100_000).any(|_| memory.resident_bytes() > alone), "{alone}");
        words.write_all(b"go\n").unwrap();
        until(1);
        memory.resident_bytes();
        assert!(memory.members.is_empty());
        drop(words);
        leader.wait().unwrap();
        assert_eq!(memory.resident_bytes(), 0);
    }
}

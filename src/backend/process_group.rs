//! Who belongs to a process group, read from `/proc`. It must never decide who is signalled: between reading and
//! signalling an id may have been given to somebody else.

use std::{
    fs::{self, File},
    io::Read,
};

/// More than a line of `/proc/PID/stat` can have: 52 numbers of at most 20 digits, and a name.
const LINE_BYTES: usize = 1536;

/// More than `/proc/loadavg` can have: five short numbers.
const LOADAVG_BYTES: usize = 128;

/// What `/proc/PID/stat` says about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its id.
    pub(super) pid: u32,
    /// Its group.
    pub(super) group: u32,
    /// What it holds resident.
    pub(super) resident_pages: u64,
}

/// The processes of a group, without those that have ended and wait to be reaped; empty when `/proc` does not say.
/// Reads all of `/proc`: some milliseconds.
pub(super) fn members(group: u32) -> Vec<u32> {
    all().into_iter().filter(|seen| seen.group == group).map(|seen| seen.pid).collect()
}

/// All processes, without those that have ended. Some milliseconds.
pub(super) fn all() -> Vec<Seen> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| see(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// One process, unless it has ended.
pub(super) fn see(pid: u32) -> Option<Seen> {
    // The kernel gives the one line whole; `read_to_string` would ask for its length and its end as well.
    let mut line = [0; LINE_BYTES];
    let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
    parse(pid, &String::from_utf8_lossy(&line[..length]))
}

/// Is this the id of a process, and not of a thread of one?
pub(super) fn is_process(id: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    group.and_then(|group| group.trim().parse().ok()) == Some(id)
}

/// The last id that the kernel has given to a process or a thread (proc_loadavg(5)). Some kernels of containers do not say.
pub(super) fn last_id() -> Option<u32> {
    let mut line = [0; LOADAVG_BYTES];
    let length = File::open("/proc/loadavg").ok()?.read(&mut line).ok()?;
    std::str::from_utf8(&line[..length]).ok()?.split_ascii_whitespace().nth(4)?.parse().ok()
}

/// The processes that a process's main thread has started: all that a Node program starts, but from its worker threads.
pub(super) fn children(pid: u32) -> Vec<u32> {
    numbers(&fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default())
}

/// The processes that any thread of a process has started and not outlived.
pub(super) fn started_by(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    children.flat_map(|text| numbers(&text)).collect()
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// A line of `/proc/PID/stat` (proc_pid_stat(5)). The name in it may hold anything, brackets included.
fn parse(pid: u32, stat: &str) -> Option<Seen> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X");
    // State is the third field, the group the fifth, resident pages the 24th.
    let (group, resident_pages) = (fields.nth(1)?.parse().ok()?, fields.nth(18)?.parse().ok()?);
    (!dead).then_some(Seen { pid, group, resident_pages })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_brackets() {
        let line = |state: &str| {
            format!(
                "42 (a) b) 1 (c) {state} 1 77 77 0 -1 0 0 0 0 0 0 0 0 0 20 0 11 0 99 1000 512 18446744073709551615"
            )
        };
        assert_eq!(parse(42, &line("S")), Some(Seen { pid: 42, group: 77, resident_pages: 512 }));
        assert_eq!(parse(42, &line("Z")), None);
        assert_eq!(parse(42, "nonsense"), None);
    }

    #[test]
    fn we_are_in_our_own_group() {
        let group = nix::unistd::getpgrp().as_raw().unsigned_abs();
        assert!(members(group).contains(&std::process::id()));
    }
}

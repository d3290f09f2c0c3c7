//! Who belongs to a process group, read from `/proc`. It must never decide who is signalled: between reading and
//! signalling an id may have been given to somebody else.

use std::fs;

/// The processes of a group; empty when `/proc` does not say. Reads all of `/proc`: some milliseconds.
pub(super) fn members(group: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let member = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        (group_of(&stat)? == group).then_some(pid)
    };
    entries.filter_map(|entry| member(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// The group in a line of `/proc/PID/stat`. The name before it may hold anything, brackets included.
fn group_of(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_brackets() {
        assert_eq!(group_of("42 (a) b) 1 (c) S 1 77 77 0 -1"), Some(77));
        assert_eq!(group_of("nonsense"), None);
    }

    #[test]
    fn we_are_in_our_own_group() {
        let group = nix::unistd::getpgrp().as_raw().unsigned_abs();
        assert!(members(group).contains(&std::process::id()));
    }
}

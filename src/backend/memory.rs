//! The memory that a worker and its descendants hold, read from `/proc`. It must never walk all processes every
//! second: who is in the group is looked up seldom, how much they hold often.

use std::fs;

use super::process_group;

/// Looks at known processes between two searches for new ones: reading all of `/proc` costs milliseconds.
const LOOKS_PER_SEARCH: u32 = 10;

/// One process group.
#[derive(Debug)]
pub(super) struct Memory {
    group: u32,
    members: Vec<u32>,
    looks: u32,
}

impl Memory {
    /// Of the group that this process leads.
    pub(super) fn of_group(group: u32) -> Self {
        Self { group, members: vec![group], looks: 0 }
    }

    /// What its processes hold resident now, bytes; pages that they share count for each. Blocks for a moment.
    pub(super) fn resident_bytes(&mut self) -> u64 {
        if self.looks.is_multiple_of(LOOKS_PER_SEARCH) {
            self.members = process_group::members(self.group);
        }
        self.looks = self.looks.wrapping_add(1);
        self.members.iter().filter_map(|pid| resident_bytes(*pid)).sum()
    }
}

/// What one process holds resident; none when it is gone.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    // In pages: size, resident, shared… (proc_pid_statm(5)).
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_bytes())
}

fn page_bytes() -> u64 {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    page.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(Memory::of_group(group).resident_bytes() >= resident_bytes(std::process::id()).unwrap() / 2);
    }
}

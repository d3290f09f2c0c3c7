//! What a gateway's process takes, read from the system and from its own metrics.

use std::{fs, time::Duration};

use crate::TestGateway;

/// USER_HZ, which Linux has as 100 wherever it runs.
const TICKS_PER_SECOND: u64 = 100;

/// Anonymous memory of a process: what it allocated, not what is mapped from files.
pub(crate) fn anonymous_bytes(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The value of a metric by its whole name with labels; 0 when it has not been counted yet.
pub(crate) fn metric(gateway: &TestGateway, name: &str) -> u64 {
    let text = gateway.admin("GET", "/metrics").unwrap().is(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

/// Processor time that a process has taken, of all its threads, in kernel and program.
pub(crate) fn cpu_time(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th after it.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

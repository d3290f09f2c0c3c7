//! What a gateway's process takes, read from the system and from its own metrics; and what an idle connection may.

use std::{fs, time::Duration};

use crate::{
    HOST, NAVAJA, TestGateway, Wire, eventually,
    h2_frames::{END_STREAM, H2, Outcome, get, headers},
};

/// Connections that are measured: enough that what else the process does in the meantime is little beside them.
const CONNECTIONS: u64 = 256;
/// Those before them, after which the process has what it needs for any.
const FIRST: u64 = 32;

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

/// What each of many connections adds once all are idle. `open`: one that has had an answer.
#[track_caller]
fn check<T>(protocol: &str, bytes_max: u64, mut open: impl FnMut(&TestGateway) -> T) {
    let config = format!("edge.limits.connections_per_client_max = {}", 2 * CONNECTIONS);
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(&config).start();
    let _first: Vec<T> = (0..FIRST).map(|_| open(&gateway)).collect();
    let before = anonymous_bytes(gateway.pid());
    let _open: Vec<T> = (0..CONNECTIONS).map(|_| open(&gateway)).collect();
    // They give back what their request needed after a moment.
    eventually(&format!("an idle {protocol} connection takes at most {bytes_max} bytes"), || {
        let each = anonymous_bytes(gateway.pid()).saturating_sub(before) / CONNECTIONS;
        (each <= bytes_max).then_some(())
    });
}

#[test]
fn an_idle_http_1_connection_takes_little_memory() {
    // 13 KiB when this was written.
    check("HTTP/1.1", 20 * 1024, |gateway| {
        let mut wire = Wire::tls(gateway.https(), HOST, gateway.tls(&["http/1.1"]));
        wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\n\r\n"));
        wire.answer().is(200);
        wire
    });
}

#[test]
fn an_idle_http_2_connection_takes_little_memory() {
    // 30 KiB when this was written; h2 keeps its buffers.
    check("HTTP/2", 48 * 1024, |gateway| {
        let mut h2 = H2::open(gateway);
        let mut fields = get("/");
        fields.push(("origin", NAVAJA.to_owned()));
        h2.send(headers(1, END_STREAM, &fields));
        assert!(matches!(h2.outcome(1), Outcome::Answered { status: 200, .. }));
        h2
    });
}

//! `gateway swap`: let the running gateway become the program that stands at its path now.

use std::{
    fs,
    time::{Duration, Instant},
};

use http::Method;

use super::{Client, Failure, out};
use crate::admin::{Status, Swapping};

/// A drain, the workers' own grace and a start: longer means that something hangs.
const SWAP_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// How often the status is asked for meanwhile.
const INTERVAL: Duration = Duration::from_millis(50);

/// Replace the running program by the one that stands at its path now; no connection is refused
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Put the new binary in the old one's place first (`sudo install gateway-new /usr/local/bin/gateway`; not `cp` over \
it). It is tried with the configuration, and refused if it does not take it: then nothing has changed. Requests in \
flight end within `swap_grace`, new ones wait in the kernel's queue, WebSockets are closed and come back. The process \
keeps its pid. The same as SIGUSR2, but it waits for the outcome.

Examples:
  gateway swap")]
pub(crate) struct Swap {}

impl Swap {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let before: Status = client.show("/status").await?;
        let begun = Instant::now();
        // From inside a container's own process ids it may not be.
        let is_seen = !has_ended(before.pid);
        let Swapping { program, swaps } = client.order(Method::POST, "/swap", None::<&()>).await?;
        let mut draining = false;
        loop {
            tokio::time::sleep(INTERVAL).await;
            // Nobody answers while one program becomes the other.
            match client.show::<Status>("/status").await {
                Ok(status) if status.swapping && !draining => {
                    draining = true;
                    out::remark("requests in flight end first (at most `swap_grace`); new ones wait");
                }
                Ok(status) if status.swaps > swaps && !status.listeners.is_empty() => {
                    let (old, new) = (&before.version, status.version);
                    let took_ms = begun.elapsed().as_millis();
                    out::line(format!("swapped {old} for {new} in {took_ms} ms, pid {}", status.pid));
                    return Ok(());
                }
                Ok(Status { swap_failure: Some(failure), started, .. }) if started > before.started => {
                    return Err(Failure::failed(failure).hint("the old program serves again"));
                }
                Ok(status) if status.pid != before.pid => {
                    let message =
                        format!("the gateway has ended, and another was started (pid {})", status.pid);
                    return Err(Failure::failed(message).hint("the gateway's log says why"));
                }
                Err(_) if is_seen && has_ended(before.pid) => {
                    let message = format!("the gateway has ended: it could not become `{program}`");
                    return Err(Failure::failed(message).hint("the gateway's log says why"));
                }
                _ if begun.elapsed() > SWAP_TIMEOUT => {
                    let patience_s = SWAP_TIMEOUT.as_secs();
                    let message = format!("`{program}` does not answer {patience_s} s after the swap began");
                    return Err(Failure::failed(message).hint("the gateway's log says why"));
                }
                _ => {}
            }
        }
    }
}

/// Is there no such process any more? One that becomes another program keeps its id.
fn has_ended(pid: u32) -> bool {
    // Its name in parentheses, then its state (proc_pid_stat(5)): of a zombie only its parent has not taken note.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.ok().and_then(|stat| Some(stat.rsplit_once(") ")?.1.starts_with('Z'))).unwrap_or(true)
}

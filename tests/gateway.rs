//! The product as its users meet it: the real binary, real Node workers, real drivers, a real browser.
//!
//! `TestGateway::builder()` starts one in a directory of its own and gives clients; dropping it stops it and fails
//! the test when anything of it is left behind. One module a topic; names are facts. A subset runs with
//! `cargo test --test gateway cors::`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

use std::io::Write as _;

#[path = "gateway/acme.rs"]
mod acme;
#[path = "gateway/admin.rs"]
mod admin;
#[path = "gateway/adoption.rs"]
mod adoption;
#[path = "gateway/answer.rs"]
mod answer;
#[path = "gateway/armed.rs"]
mod armed;
#[path = "gateway/audit.rs"]
mod audit;
#[path = "gateway/authorities.rs"]
mod authorities;
#[path = "gateway/authority_pauses.rs"]
mod authority_pauses;
#[path = "gateway/bad_input.rs"]
mod bad_input;
#[path = "gateway/bodies.rs"]
mod bodies;
#[path = "gateway/booted.rs"]
mod booted;
#[path = "gateway/bootstrap.rs"]
mod bootstrap;
#[path = "gateway/browser.rs"]
mod browser;
#[path = "gateway/builder.rs"]
mod builder;
#[path = "gateway/bystander.rs"]
mod bystander;
#[path = "gateway/certificates.rs"]
mod certificates;
#[path = "gateway/client.rs"]
mod client;
#[path = "gateway/compression.rs"]
mod compression;
#[path = "gateway/cors.rs"]
mod cors;
#[path = "gateway/dashboard.rs"]
mod dashboard;
#[path = "gateway/deploy.rs"]
mod deploy;
#[path = "gateway/descriptors.rs"]
mod descriptors;
#[path = "gateway/doctor.rs"]
mod doctor;
#[path = "gateway/door.rs"]
mod door;
#[path = "gateway/drivers.rs"]
mod drivers;
#[path = "gateway/floods.rs"]
mod floods;
#[path = "gateway/front.rs"]
mod front;
#[path = "gateway/guard.rs"]
mod guard;
#[path = "gateway/h2_frames.rs"]
mod h2_frames;
#[path = "gateway/headers.rs"]
mod headers;
#[path = "gateway/homes.rs"]
mod homes;
#[path = "gateway/hostile.rs"]
mod hostile;
#[path = "gateway/hostile_case.rs"]
mod hostile_case;
#[path = "gateway/hostile_h2.rs"]
mod hostile_h2;
#[path = "gateway/hostile_worker.rs"]
mod hostile_worker;
#[path = "gateway/import.rs"]
mod import;
#[path = "gateway/internet.rs"]
mod internet;
#[path = "gateway/isolation.rs"]
mod isolation;
#[path = "gateway/jobs.rs"]
mod jobs;
#[path = "gateway/left_behind.rs"]
mod left_behind;
#[path = "gateway/limits.rs"]
mod limits;
#[path = "gateway/load.rs"]
mod load;
#[path = "gateway/locked_out.rs"]
mod locked_out;
#[path = "gateway/logs.rs"]
mod logs;
#[path = "gateway/machine.rs"]
mod machine;
#[path = "gateway/manners.rs"]
mod manners;
#[path = "gateway/memory.rs"]
mod memory;
#[path = "gateway/mirrors.rs"]
mod mirrors;
#[path = "gateway/moving.rs"]
mod moving;
#[path = "gateway/node.rs"]
mod node;
#[path = "gateway/node_mirror.rs"]
mod node_mirror;
#[path = "gateway/nodes.rs"]
mod nodes;
#[path = "gateway/notify.rs"]
mod notify;
#[path = "gateway/order_ends.rs"]
mod order_ends;
#[path = "gateway/orders.rs"]
mod orders;
#[path = "gateway/orders_kept.rs"]
mod orders_kept;
#[path = "gateway/origins.rs"]
mod origins;
#[path = "gateway/others.rs"]
mod others;
#[path = "gateway/outside.rs"]
mod outside;
#[path = "gateway/pebble.rs"]
mod pebble;
#[path = "gateway/programs.rs"]
mod programs;
#[path = "gateway/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "gateway/reload.rs"]
mod reload;
#[path = "gateway/reloads_beside.rs"]
mod reloads_beside;
#[path = "gateway/rollbacks.rs"]
mod rollbacks;
#[path = "gateway/rolling.rs"]
mod rolling;
#[path = "gateway/running.rs"]
mod running;
#[path = "gateway/sandbox.rs"]
mod sandbox;
#[path = "gateway/shell.rs"]
mod shell;
#[path = "gateway/site.rs"]
mod site;
#[path = "gateway/site_floods.rs"]
mod site_floods;
#[path = "gateway/sites.rs"]
mod sites;
#[path = "gateway/slow_clients.rs"]
mod slow_clients;
#[path = "gateway/ssh_moves.rs"]
mod ssh_moves;
#[path = "gateway/sticky.rs"]
mod sticky;
#[path = "gateway/stopped.rs"]
mod stopped;
#[path = "gateway/swap.rs"]
mod swap;
#[path = "gateway/tenants.rs"]
mod tenants;
#[path = "gateway/tenants_data.rs"]
mod tenants_data;
#[path = "gateway/terminals.rs"]
mod terminals;
#[path = "gateway/tls.rs"]
mod tls;
#[path = "gateway/tls_protocol.rs"]
mod tls_protocol;
#[path = "gateway/tunnels.rs"]
mod tunnels;
#[path = "gateway/upgrade.rs"]
mod upgrade;
#[path = "gateway/waiting.rs"]
mod waiting;
#[path = "gateway/websocket.rs"]
mod websocket;
#[path = "gateway/websocket_ends.rs"]
mod websocket_ends;
#[path = "gateway/websocket_http2.rs"]
mod websocket_http2;
#[path = "gateway/wire.rs"]
mod wire;
#[path = "gateway/workers.rs"]
mod workers;

pub(crate) use answer::Answer;
pub(crate) use client::Client;
pub(crate) use running::TestGateway;
pub(crate) use site::{Output, Site};
pub(crate) use wire::Wire;

/// The host that the test backends serve.
pub(crate) const HOST: &str = "api.example";

/// The origin of the tenant `navaja` in most tests.
pub(crate) const NAVAJA: &str = "https://navaja.example";

/// The origin of the tenant `barba` in most tests.
pub(crate) const BARBA: &str = "https://barba.example";

/// An origin in nobody's whitelist.
pub(crate) const STRANGER: &str = "https://stranger.example";

/// Longest wait for anything that should happen by itself.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// How often it is looked whether it has happened, where looking costs nothing.
const POLL_EVERY: std::time::Duration = std::time::Duration::from_millis(20);

/// Is this root, as whom alone that can be shown? Where it is not, what is left out is said, past the test's captured
/// output; in CI (`CI=true`) it is a failure.
#[track_caller]
pub(crate) fn as_root(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(root || !ci, "only root can show {what}: run the tests as root");
    if !root {
        let _unheard = writeln!(std::io::stderr(), "LEFT OUT, not being root: {what}");
    }
    root
}

/// Polls until `happened` gives something, and fails with `what` when it never does.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut happened: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        let asked = std::time::Instant::now();
        if let Some(outcome) = happened() {
            return outcome;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        // Who asks by running a command would else take the processors from what it waits for.
        let pause = (2 * asked.elapsed()).clamp(POLL_EVERY, 25 * POLL_EVERY);
        std::thread::sleep(pause);
    }
}

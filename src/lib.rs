//! The gateway: TLS edge, CORS whitelist, tenants by Origin, connection pools and Node.js workers in one
//! process. `ARCHITECTURE.md` beside this file is the map; the modules below stand in reading order.

// The command line and the assembly of the rooms.
pub mod cli;
mod config;
mod gateway;

// The line outside: a browser's request.
mod edge;
// Who is calling, and the ticket in which the two lines meet.
mod tenant;
// The Node application, and what runs beside it by the clock.
mod backend;
mod job;

// The line inside: the application asking for data.
mod door;
mod pool;

// The operator's side.
mod admin;
mod bootstrap;

/// What `benches/` measures; no part of the product's surface.
#[doc(hidden)]
pub mod bench {
    pub use crate::edge::Lookup;
}

/// What `tests/fuzz` tries; no part of the product's surface.
#[doc(hidden)]
pub mod fuzz {
    pub use crate::edge::{
        Answered, FuzzedHead as Head, ProxyHeader, Rebuilder, Scanned, answered, proxy_header, scan,
    };

    /// What may stand in the whitelist, in its canonical form.
    pub fn origin(text: &str) -> Option<String> {
        text.parse::<crate::tenant::OriginPattern>().ok().map(|origin| origin.to_string())
    }
}

// The base: imports nothing of ours.
mod error;
mod metrics;
mod privileges;
mod shutdown;
mod state_lock;
mod telemetry;

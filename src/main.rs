//! The binary: parse, run, exit code. Everything else lives in the library.

use std::process::ExitCode;

/// musl's own allocator is several times slower under threads, and one allocator everywhere keeps
/// measurements comparable.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gateway::cli::main()
}

//! The command line: parse, run, exit code.

use std::process::ExitCode;

/// Run the command line of this process.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}

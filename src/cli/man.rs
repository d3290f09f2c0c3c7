//! `gateway man`: the manual pages, made from the same text as `--help`.

use std::path::PathBuf;

use clap::CommandFactory;

use super::{Cli, Failure, out};

/// Print the manual page, or write those of all commands into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway man | man -l -
  gateway man --to /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Write a page for each command into this directory
    #[arg(long, value_name = "DIRECTORY")]
    to: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Some(directory) = self.to else {
            let mut text = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut text)
                .map_err(|error| Failure::failed(format!("the page cannot be made: {error}")))?;
            out::line(String::from_utf8_lossy(&text).trim_end());
            return Ok(());
        };
        std::fs::create_dir_all(&directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &directory))
            .map_err(|error| Failure::io("write pages to", &directory, &error))
    }
}

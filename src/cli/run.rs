//! `gateway run`: the gateway itself, in the foreground.

use super::{Failure, Settings, out, reach};

/// Run the gateway in the foreground until SIGTERM or Ctrl-C
#[derive(Debug, clap::Args)]
#[command(after_help = "\
SIGTERM and Ctrl-C drain within `shutdown_grace`; SIGHUP reloads the configuration; SIGUSR2 swaps the program.

Examples:
  gateway run --config config/quickstart.toml
  gateway run --set log.level=debug")]
pub(crate) struct Run {}

impl Run {
    pub(crate) fn run(self, settings: &Settings) -> Result<(), Failure> {
        let loaded = reach::configuration(settings)?;
        for warning in &loaded.warnings {
            out::remark(format!("warning: {warning}"));
        }
        crate::gateway::run(loaded, settings.flags()).map_err(|error| {
            let text = error.to_string();
            match text.split_once("\nhint: ") {
                Some((message, hint)) => Failure::failed(message).hint(hint),
                None => Failure::failed(text),
            }
        })
    }
}

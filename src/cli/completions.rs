//! `gateway completions`: what a shell must know to complete our commands.

use clap::CommandFactory;

use super::{Cli, Failure, out};

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway completions bash | sudo tee /usr/share/bash-completion/completions/gateway > /dev/null
  gateway completions zsh > ~/.zfunc/_gateway
  gateway completions fish > ~/.config/fish/completions/gateway.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_parser = clap::builder::EnumValueParser::<clap_complete::Shell>::new())]
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "gateway", &mut text);
        out::line(String::from_utf8_lossy(&text).trim_end());
        Ok(())
    }
}

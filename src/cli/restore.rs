//! `gateway restore`: a backup becomes the state of a gateway at rest.

use std::{io::Read, path::PathBuf};

use super::{
    Failure, Settings, client::Presence, failure::Exit, identity, out, reach, secret::PassphraseSource,
};
use crate::{
    admin::{self, Places},
    pool,
};

/// Put a backup in place of the state directory of a stopped gateway: all of it or nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The archive is read, opened and checked whole before the first file is put in place. A state directory that \
is not empty is replaced with --force only.

Examples:
  gateway restore gateway.tar
  gateway restore --force --passphrase-file passphrase gateway.tar
  ssh vault 'cat gateway.tar' | gateway restore -")]
pub(crate) struct Restore {
    /// The archive, or `-` for standard input
    file: PathBuf,
    /// Replace a state that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    passphrase: PassphraseSource,
    #[command(flatten)]
    form: out::Form,
}

impl Restore {
    pub(crate) fn run(self, settings: &Settings) -> Result<(), Failure> {
        let config = reach::configuration(settings)?.config;
        if Presence::at(&reach::socket(&config))? == Presence::Running {
            return Err(Failure::failed("the gateway is running")
                .hint("stop it first: a state in use cannot be replaced"));
        }
        identity::become_owner_of(&config.state_dir)?;
        let archive: Box<dyn Read> = if self.file.as_os_str() == "-" {
            Box::new(std::io::stdin().lock())
        } else {
            Box::new(
                std::fs::File::open(&self.file).map_err(|error| Failure::io("read", &self.file, &error))?,
            )
        };
        let _lock = reach::lock(&config)?;
        let order = admin::Restore {
            places: Places::of(&config.registry, &config.state_dir, &config.pool),
            passphrase: self.passphrase.recall()?,
            force: self.force,
        };
        let runtime = reach::runtime()?;
        let check = |path: &std::path::Path| {
            runtime.block_on(pool::check(path)).map_err(|error| admin::Problem::of(&error).detail)
        };
        let restored = admin::restore(archive, &order, check).map_err(|problem| {
            let problem = admin::Problem::of(&problem);
            Failure { message: problem.detail, hint: problem.hint, exit: Exit::Failed }
        })?;
        if self.form.json {
            return out::json(&restored);
        }
        out::line(format!(
            "restored the backup of {}: {} files, {} of them tenants' databases",
            restored.created, restored.files, restored.databases
        ));
        Ok(())
    }
}

//! `gateway import`: what serves today, read and written down as a configuration of ours. It changes nothing but with
//! `certbot --copy`: the configuration goes to standard output, and what it could not carry to standard error.

mod asked;
mod certbot;

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use self::certbot::Certbot;
pub(super) use self::certbot::none_fits;
use super::{Failure, Settings, out};
use crate::bootstrap::{self, Carried};

/// nginx with a thousand sites prints 5 MB.
const TEXT_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Read what nginx, pm2 or certbot do today, and print it as a configuration
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Import {
    Nginx(Nginx),
    Pm2(Pm2),
    Certbot(Certbot),
}

/// nginx's servers: `nginx -T` is asked for them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The configuration goes to standard output, what it could not carry to standard error, each with what to do about it; a \
path that nginx protects and that would be open to everybody is a warning. \
Put the former into /etc/gateway/conf.d and ask `gateway check` what it thinks of it.

Examples:
  gateway import nginx > nginx.toml
  gateway import nginx --from nginx-T.txt
  gateway import nginx --json")]
pub(crate) struct Nginx {
    #[command(flatten)]
    reading: Reading,
}

/// pm2's applications: `pm2 jlist` is asked for them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The names of their environments' variables are told, the values never. pm2 belongs to a user: ask as that user.

Examples:
  gateway import pm2 > pm2.toml
  gateway import pm2 --from /home/me/.pm2/dump.pm2
  sudo -u me pm2 jlist | gateway import pm2 --from -")]
pub(crate) struct Pm2 {
    #[command(flatten)]
    reading: Reading,
}

/// What is read, and how it is told.
#[derive(Debug, clap::Args)]
struct Reading {
    /// A file with what it prints (`-`: standard input), instead of asking it
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    form: out::Form,
}

impl Import {
    pub(crate) fn run(self, settings: &Settings) -> Result<(), Failure> {
        match self {
            Self::Nginx(Nginx { reading }) => {
                reading.tell(&bootstrap::nginx(&reading.text(&["nginx", "-T"])?))
            }
            Self::Pm2(Pm2 { reading }) => {
                if reading.from.is_none() {
                    asked::runs_pm2()?;
                }
                let text = reading.text(&["pm2", "jlist"])?;
                let carried = bootstrap::pm2(&text).map_err(|why| {
                    Failure::usage(why).hint("`pm2 jlist` prints it, and ~/.pm2/dump.pm2 holds it")
                })?;
                reading.tell(&carried)
            }
            Self::Certbot(certbot) => certbot.run(settings),
        }
    }
}

impl Reading {
    fn text(&self, command: &[&str]) -> Result<String, Failure> {
        text(self.from.as_deref(), command)
    }

    fn tell(&self, carried: &Carried) -> Result<(), Failure> {
        tell(carried, &self.form)
    }
}

fn tell(carried: &Carried, form: &out::Form) -> Result<(), Failure> {
    if form.json {
        return out::json(carried);
    }
    for left in &carried.left {
        out::remark(format!("not carried: {}\nhint: {}", left.what, left.remedy));
    }
    // Last, where it is seen.
    for warning in &carried.warnings {
        out::remark(format!("warning: {}\nhint: {}", warning.what, warning.remedy));
    }
    out::line(carried.config.trim_end());
    Ok(())
}

fn text(from: Option<&Path>, command: &[&str]) -> Result<String, Failure> {
    let Some(path) = from else { return asked::text(command) };
    let reader: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(|error| Failure::io("read", path, &error))?)
    };
    let mut bytes = Vec::new();
    let read = reader.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::io("read", path, &error))?;
    if is_too_long(&bytes) {
        return Err(Failure::usage(format!("`{}` is too large to be a configuration", path.display())));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_too_long(bytes: &[u8]) -> bool {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX) > TEXT_BYTES_MAX
}

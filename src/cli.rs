//! The command line: parse, run, exit code. One enum, one file a command; a command, its argument struct and
//! one method of the core carry the same name. What a command prints goes through `out`, how it fails through
//! `Failure`, and how it reaches the gateway through `Client`.

mod backend;
mod backup;
mod bootstrap;
mod cert;
mod check;
mod client;
mod completions;
mod cutover;
mod dashboard;
mod doctor;
mod failure;
mod firewall;
mod identity;
mod import;
mod job;
mod logs;
mod man;
mod node;
mod out;
mod probe;
mod reach;
mod reload;
mod restore;
mod run;
mod secret;
mod status;
mod swap;
mod tenant;
mod transfer;
mod upgrade;
mod worker_exec;
mod worker_guard;

use std::{path::PathBuf, process::ExitCode};

use clap::{
    CommandFactory, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

use self::{client::Client, failure::Failure};
use crate::config::Flags;

/// Version, commit and target, as `build.rs` found them.
const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILT_COMMIT"), ", ", env!("BUILT_TARGET"), ")");

/// TLS edge, CORS whitelist, tenants by Origin, connection pools and Node.js workers in one binary
#[derive(Debug, Parser)]
#[command(name = "gateway", version = VERSION, max_term_width = 110, disable_help_subcommand = true)]
#[command(after_help = "\
Exit codes:
  0  done
  1  the order was understood and failed
  2  wrong usage, or a configuration with problems
  3  the order needs a running gateway and there is none
  4  you may not give orders to this gateway
  5  new workers did not get ready; where there were old ones, they go on
  130  Ctrl-C ended the command; the gateway goes on with an order that it has begun
  129, 143  the same of `gateway bootstrap` by SIGHUP (the SSH session ended) and SIGTERM

Examples:
  gateway run --config config/quickstart.toml
  gateway status
  gateway tenant add navaja --origin https://navaja.example --database sqlite://navaja.db
  gateway tenant check navaja")]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Settings {
    /// The configuration file [env: GATEWAY_CONFIG] [default: /etc/gateway/gateway.toml]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key of the configuration, such as `log.level=debug`; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = Flags::parse_set)]
    set: Vec<(String, String)>,
}

impl Settings {
    /// For the configuration's loader.
    pub(crate) fn flags(&self) -> Flags {
        Flags { config: self.config.clone(), set: self.set.clone() }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Status(status::Status),
    Dashboard(dashboard::Dashboard),
    Reload(reload::Reload),
    Swap(swap::Swap),
    Upgrade(upgrade::Upgrade),
    Logs(logs::Logs),
    #[command(subcommand)]
    Backend(backend::Backend),
    #[command(subcommand)]
    Node(node::Node),
    #[command(subcommand)]
    Job(job::Job),
    #[command(subcommand)]
    Tenant(Box<tenant::Tenant>),
    #[command(subcommand)]
    Cert(cert::Cert),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Bootstrap(Box<bootstrap::Bootstrap>),
    #[command(subcommand)]
    Firewall(firewall::FirewallOrder),
    Cutover(cutover::Cutover),
    #[command(subcommand)]
    Import(import::Import),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(man::Man),
    WorkerExec(worker_exec::WorkerExec),
    WorkerGuard(worker_guard::WorkerGuard),
}

/// Run the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return told_by_clap(&error),
    };
    match cli.command.run(&cli.settings).and_then(|()| out::written()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                out::remark(text.trim_start_matches('\n'));
            }
            failure.exit.into()
        }
    }
}

/// Help and version are no errors; everything else is wrong usage, with clap's own words and its code 2.
fn told_by_clap(error: &clap::Error) -> ExitCode {
    let whole = ContextValue::String(Cli::command().get_name().to_owned());
    if error.kind() == ErrorKind::MissingSubcommand
        && error.get(ContextKind::InvalidSubcommand) == Some(&whole)
    {
        // clap would name all commands in one line, and those that are not for people among them.
        out::remark(Cli::command().render_help().to_string().trim_end());
        return failure::Exit::Usage.into();
    }
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
        && let Some(hint) = elsewhere(word)
    {
        // clap would propose what is spelled alike, such as `restore` for `restart`.
        out::remark(format!("error: there is no such command as `{word}` here\nhint: {hint}"));
        return failure::Exit::Usage.into();
    }
    // A reader that went away is no failure either.
    let _gone = error.print();
    if error.use_stderr() { failure::Exit::Usage.into() } else { ExitCode::SUCCESS }
}

/// Where the orders are that hands know from pm2.
fn elsewhere(word: &str) -> Option<String> {
    let verb = match word {
        "ls" | "ps" => "list",
        "show" | "info" => "describe",
        "list" | "describe" | "scale" | "restart" | "stop" | "start" | "signal" | "rollback" | "deploy" => {
            word
        }
        "monit" => return Some("`gateway status`, `gateway dashboard`, and `gateway logs -f`".to_owned()),
        "delete" | "del" => {
            return Some(
                "take its `[backend.NAME]` out of the configuration, then `gateway reload`".to_owned(),
            );
        }
        "log" => return Some("`gateway logs`".to_owned()),
        _ => return None,
    };
    Some(format!("`gateway backend {verb}`"))
}

impl Command {
    fn run(self, settings: &Settings) -> Result<(), Failure> {
        match self {
            // These do not speak with a gateway, and make their own runtime or none.
            Self::Run(run) => run.run(settings),
            Self::Check(check) => check.run(settings),
            Self::Completions(completions) => completions.run(),
            Self::Man(man) => man.run(),
            Self::WorkerExec(worker_exec) => worker_exec.run(),
            Self::WorkerGuard(worker_guard) => worker_guard.run(),
            // These need a running one.
            Self::Status(status) => {
                reach::running(settings, async |client: &Client| status.run(client).await)
            }
            Self::Dashboard(dashboard) => dashboard.run(settings),
            Self::Reload(reload) => {
                reach::rereading(settings, async |client: &Client| reload.run(settings, client).await)
            }
            Self::Swap(swap) => reach::running(settings, async |client: &Client| swap.run(client).await),
            Self::Upgrade(upgrade) => {
                reach::running(settings, async |client: &Client| upgrade.run(settings, client).await)
            }
            Self::Logs(logs) => reach::running(settings, async |client: &Client| logs.run(client).await),
            Self::Backend(backend @ backend::Backend::Reload(_)) => {
                reach::rereading(settings, async |client: &Client| backend.run(client).await)
            }
            Self::Backend(backend) => {
                reach::running(settings, async |client: &Client| backend.run(client).await)
            }
            Self::Job(job) => reach::running(settings, async |client: &Client| job.run(client).await),
            Self::Cert(cert) if cert.needs_running() => {
                reach::running(settings, async |client: &Client| cert.run(client).await)
            }
            Self::Tenant(tenant) if tenant.needs_running() => {
                reach::running(settings, async |client: &Client| tenant.run(client).await)
            }
            // These work on one at rest as well.
            Self::Tenant(tenant) => reach::any(settings, async |client: &Client| tenant.run(client).await),
            Self::Cert(cert) => reach::any(settings, async |client: &Client| cert.run(client).await),
            Self::Backup(backup) => reach::any(settings, async |client: &Client| backup.run(client).await),
            // These are files' business, whoever runs.
            Self::Node(node) => node.run(settings),
            // This one must find it at rest.
            Self::Restore(restore) => restore.run(settings),
            // These look at the machine and work on it.
            Self::Bootstrap(bootstrap) => bootstrap.run(settings),
            Self::Firewall(firewall) => firewall.run(settings),
            Self::Cutover(cutover) => cutover.run(settings),
            Self::Import(import) => import.run(settings),
            Self::Doctor(doctor) => doctor.run(settings),
        }
    }
}

#[cfg(test)]
mod tests;

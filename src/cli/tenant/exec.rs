//! `gateway tenant exec`: run a command with a tenant's database URL, as migration tools and scripts want it.

use std::{ffi::OsString, process::Stdio};

use futures_util::{StreamExt, stream};
use http::Method;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
};

use super::selection::{Verdict, conclude, select};
use crate::{
    admin::TicketView,
    cli::{Client, Failure, failure::end_as, out},
    tenant::TenantId,
};

/// Run a command with DATABASE_URL and GATEWAY_TENANT of a tenant, or once for each of several
#[derive(Debug, clap::Args)]
#[command(after_help = "\
DATABASE_URL is a ticket for the running gateway's door: it opens that tenant's database alone. One tenant by name: \
the command has the terminal, and the exit code is its own. Several, or --all: each line of output begins with the \
tenant, one that fails stops nobody else, and the exit code is 1 if one of them did.

Examples:
  gateway tenant exec navaja -- npx prisma migrate deploy
  gateway tenant exec navaja barba -- node scripts/clean.js
  gateway tenant exec --all --parallel 4 -- npx knex migrate:latest")]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(crate) struct Exec {
    /// The tenants
    #[arg(group = "which", value_name = "ID")]
    tenants: Vec<TenantId>,
    /// Every tenant that has a database
    #[arg(long, group = "which")]
    all: bool,
    /// How many tenants at a time
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    /// The command, after `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Exec {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let tenants = select(client, &self.tenants, self.all).await?;
        // One tenant by name gets the terminal itself: prompts, colours and standard input work.
        if let ([tenant], false) = (&tenants[..], self.all) {
            let status = self.command(client, tenant).await?.status().await;
            end_as(status.map_err(|error| self.not_startable(&error))?);
            return Ok(());
        }
        let mut running = stream::iter(tenants)
            .map(|tenant| self.one(client, tenant))
            .buffer_unordered(usize::from(self.parallel));
        let mut verdicts = Vec::new();
        while let Some(verdict) = running.next().await {
            out::line(verdict.line());
            verdicts.push(verdict);
        }
        conclude(&verdicts, out::Form::default())
    }

    async fn command(&self, client: &Client, tenant: &TenantId) -> Result<Command, Failure> {
        let path = format!("/tenants/{tenant}/ticket");
        let TicketView { database_url } = client.order(Method::POST, &path, None::<&()>).await?;
        let (program, arguments) =
            self.command.split_first().ok_or_else(|| Failure::usage("there is no command after `--`"))?;
        let mut command = Command::new(program);
        command.args(arguments).env("DATABASE_URL", database_url).env("GATEWAY_TENANT", tenant.as_str());
        command.kill_on_drop(true);
        Ok(command)
    }

    async fn one(&self, client: &Client, tenant: TenantId) -> Verdict {
        let outcome = async {
            let mut command = self.command(client, &tenant).await?;
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().map_err(|error| self.not_startable(&error))?;
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            let (status, (), ()) = tokio::join!(
                child.wait(),
                prefixed(stdout, &tenant, out::line),
                prefixed(stderr, &tenant, out::remark),
            );
            status.map_err(|error| Failure::failed(format!("lost the command: {error}")))
        };
        let (good, detail) = match outcome.await {
            Ok(status) if status.success() => (true, "done".to_owned()),
            Ok(status) => (false, status.to_string()),
            Err(failure) => (false, failure.message),
        };
        Verdict { tenant, good, detail }
    }

    fn not_startable(&self, error: &std::io::Error) -> Failure {
        let program = self.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
        Failure::failed(format!("cannot start `{program}`: {error}"))
    }
}

async fn prefixed(stream: Option<impl AsyncRead + Unpin>, tenant: &TenantId, show: impl Fn(String)) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    // The end and an error are the same here: the command's own status says what became of it.
    while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
        show(format!("{tenant} | {}", String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r'])));
        line.clear();
    }
}

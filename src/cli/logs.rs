//! `gateway logs`: what the workers wrote.

use futures_util::StreamExt;
use http::Method;
use jiff::Timestamp;

use super::{Client, Failure, out};
use crate::admin::OutputLine;

/// One line of a worker is cut to less than this on its way in.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Show what the workers wrote lately, oldest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway logs
  gateway logs -f
  gateway logs --worker api/0 --lines 500
  gateway logs --since 10m --level warn
  gateway logs -f --tenant barber
  gateway logs --json -f

The level and the tenant are those that the application writes into its JSON lines (`level`; `tenant`, `tenant_id`
or `tenantId`). A line without a level counts as info, on standard error as error.")]
pub(crate) struct Logs {
    /// Go on with every new line until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only this worker, such as `api/0`, or all workers of a backend, such as `api`
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    /// Only JSON lines that name this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Only lines of this level and above
    #[arg(long, value_parser = ["trace", "debug", "info", "warn", "error", "fatal"])]
    level: Option<String>,
    /// Only lines since then: a time such as `2026-01-31T08:00:00Z`, or how long ago, such as `10m`
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// How many lines of the past
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: usize,
    #[command(flatten)]
    form: out::Form,
}

impl Logs {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut path = format!("/logs?lines={}&follow={}", self.lines, self.follow);
        let since = self.since.map(|since| since.to_string());
        for (name, value) in
            [("worker", &self.worker), ("tenant", &self.tenant), ("level", &self.level), ("since", &since)]
        {
            if let Some(value) = value {
                path.extend(["&", name, "=", &escape(value)]);
            }
        }
        let answer = client.send(Method::GET, &path, axum::body::Body::empty()).await?;
        let mut chunks = answer.into_body().into_data_stream();
        let mut pending = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| Failure::failed(format!("the gateway broke off: {error}")))?;
            pending.extend_from_slice(&chunk);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                self.show(&line);
            }
            if pending.len() > LINE_BYTES_MAX {
                return Err(Failure::failed("the gateway sent a line without end"));
            }
        }
        Ok(())
    }

    fn show(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        match serde_json::from_slice::<OutputLine>(line) {
            Ok(line) if !self.form.json => {
                out::line(format!("{:.3} {} {}", line.at, line.worker, line.text));
            }
            _ => out::line(text.trim_end()),
        }
    }
}

/// A point in time, or how long ago it was.
fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago = humantime::parse_duration(text).map_err(|_| {
        "neither a time such as `2026-01-31T08:00:00Z` nor how long ago, such as `10m`".to_owned()
    })?;
    Timestamp::now().checked_sub(ago).map_err(|_| "too long ago".to_owned())
}

/// A name as part of a path or a query.
pub(super) fn escape(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

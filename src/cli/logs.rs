//! `gateway logs`: what the workers wrote.

use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use http::{Method, Response};
use jiff::Timestamp;

use super::{Client, Failure, failure::Exit, out};
use crate::admin::Record;

/// The longest line that a worker may have (1 MiB), each byte of it escaped in six, with what is said about it.
const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Lines of the past, where nothing says how many.
const LINES: usize = 100;

/// How often a gateway that has gone is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Show what workers and jobs wrote lately, oldest first
///
/// The level and the tenant are those that the application writes into its JSON lines (level; tenant, tenant_id or
/// tenantId). A line without a level counts as info, on standard error as error.
///
/// With --json a line is an object with at, worker, pid, stream, and text or, if the application wrote a JSON object,
/// json. With -f it goes on when workers are replaced, and when the gateway itself is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway logs
  gateway logs -f
  gateway logs --worker api/0 --lines 500
  gateway logs --since 10m --level warn
  gateway logs -f --tenant barber
  gateway logs --worker job/nightly -f
  gateway logs --json -f")]
pub(crate) struct Logs {
    /// Go on with every new line until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only this worker, such as `api/0`, all workers of a backend, such as `api`, or a job, such as `job/nightly`
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    /// Only JSON lines that name this tenant, and what jobs wrote that ran for it
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Only lines of this level and above
    #[arg(long, value_parser = ["trace", "debug", "info", "warn", "error", "fatal"])]
    level: Option<String>,
    /// Only lines since then: a time such as `2026-01-31T08:00:00Z`, or how long ago, such as `10m`
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// How many lines of the past; 100, with --since all that are still there
    #[arg(short = 'n', long)]
    lines: Option<usize>,
    #[command(flatten)]
    form: out::Form,
}

impl Logs {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        tokio::select! {
            shown = self.shown(client) => shown,
            // `| head` has seen enough.
            () = out::reader_gone() => Ok(()),
        }
    }

    async fn shown(&self, client: &Client) -> Result<(), Failure> {
        let mut last = None;
        let lines = self.lines.unwrap_or(if self.since.is_some() { usize::MAX } else { LINES });
        match self.read(client, lines, self.since, &mut last).await {
            Ok(()) if !self.follow => {
                if last.is_none() && lines > 0 {
                    out::remark(self.nothing());
                }
                return Ok(());
            }
            // It has not been there at all, or there is nothing to wait for.
            Err(failure) if !self.follow || failure.exit != Exit::Failed => return Err(failure),
            _ => {}
        }
        let mut gone = false;
        out::remark("the gateway has gone; waiting until it is back (Ctrl-C ends)");
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let since = last.and_then(after).or(self.since);
            // A gateway that drains still answers, and what its workers say meanwhile is part of the story.
            match self.read(client, usize::MAX, since, &mut last).await {
                Err(failure) if ![Exit::Failed, Exit::NotRunning].contains(&failure.exit) => {
                    return Err(failure);
                }
                Err(failure) if failure.exit == Exit::NotRunning => gone = true,
                _ if std::mem::take(&mut gone) => out::remark("the gateway has gone again; waiting"),
                _ => {}
            }
        }
    }

    /// Show lines until there are no more, and remember when the last one was.
    async fn read(
        &self,
        client: &Client,
        lines: usize,
        since: Option<Timestamp>,
        last: &mut Option<Timestamp>,
    ) -> Result<(), Failure> {
        let mut path = format!("/logs?lines={lines}&follow={}", self.follow);
        let since = since.map(|since| since.to_string());
        for (name, value) in
            [("worker", &self.worker), ("tenant", &self.tenant), ("level", &self.level), ("since", &since)]
        {
            if let Some(value) = value {
                path.extend(["&", name, "=", &escape(value)]);
            }
        }
        let answer = client.send(Method::GET, &path, Body::empty()).await?;
        each_line(answer, LINE_BYTES_MAX, |line| *last = self.show(line).or(*last)).await
    }

    /// Why there may be no line.
    fn nothing(&self) -> String {
        let wanted = [
            ("--worker", self.worker.is_some()),
            ("--tenant", self.tenant.is_some()),
            ("--level", self.level.is_some()),
            ("--since", self.since.is_some()),
        ];
        let wanted: Vec<_> = wanted.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        let mut text = match &wanted[..] {
            [] => "nothing has been written yet".to_owned(),
            wanted => format!("no line fits {}", wanted.join(", ")),
        };
        if self.tenant.is_some() {
            text.push_str("\nhint: a line is a tenant's if it is JSON and says so, in the field `tenant`");
        }
        text
    }

    /// Print a line; when it was.
    fn show(&self, line: &[u8]) -> Option<Timestamp> {
        let record = serde_json::from_slice::<Record<'_>>(line).ok();
        match &record {
            Some(record) if !self.form.json => out::line(format!(
                "{:.3} {} {} {}",
                record.at,
                record.worker,
                record.stream.word(),
                record.written()
            )),
            _ => out::line(String::from_utf8_lossy(line).trim_end()),
        }
        record.map(|record| record.at)
    }
}

/// The next moment.
fn after(at: Timestamp) -> Option<Timestamp> {
    at.checked_add(Duration::from_nanos(1)).ok()
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

/// Every line of an answer that comes line by line, with its end.
pub(super) async fn each_line(
    answer: Response<Body>,
    line_bytes_max: usize,
    mut hear: impl FnMut(&[u8]),
) -> Result<(), Failure> {
    let mut chunks = answer.into_body().into_data_stream();
    let mut pending = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Failure::failed(format!("the gateway broke off: {error}")))?;
        pending.extend_from_slice(&chunk);
        while let Some(end) = memchr::memchr(b'\n', &pending) {
            let line: Vec<u8> = pending.drain(..=end).collect();
            hear(&line);
        }
        if pending.len() > line_bytes_max {
            return Err(Failure::usage("the gateway sent a line without end"));
        }
    }
    Ok(())
}

/// A name as part of a path or a query.
pub(super) fn escape(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

//! `gateway logs`: what the workers wrote.

use axum::body::Body;
use futures_util::StreamExt;
use http::{Method, Response};

use super::{Client, Failure, out};
use crate::admin::OutputLine;

/// One line of a worker is cut to less than this on its way in.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Show what workers and jobs wrote lately, oldest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway logs
  gateway logs -f
  gateway logs --worker api/0 --lines 500
  gateway logs --worker job/nightly -f
  gateway logs --json -f")]
pub(crate) struct Logs {
    /// Go on with every new line until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only this worker, such as `api/0`, all workers of a backend, such as `api`, or a job, such as `job/nightly`
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    /// How many lines of the past
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: usize,
    #[command(flatten)]
    form: out::Form,
}

impl Logs {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let worker = self.worker.as_deref().map(|name| format!("&worker={}", escape(name)));
        let path = format!("/logs?lines={}&follow={}{}", self.lines, self.follow, worker.unwrap_or_default());
        let answer = client.send(Method::GET, &path, Body::empty()).await?;
        each_line(answer, LINE_BYTES_MAX, |line| self.show(line)).await
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
            return Err(Failure::failed("the gateway sent a line without end"));
        }
    }
    Ok(())
}

/// A name as part of a path or a query.
pub(super) fn escape(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

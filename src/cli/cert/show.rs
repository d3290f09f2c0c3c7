//! `gateway cert show`: one host's certificate, whole, but for the key.

use jiff::Timestamp;

use super::path;
use crate::{
    admin::{CertificateView, HostCertificate},
    cli::{Client, Failure, out},
};

/// Show the certificate of one host
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway cert show api.example.com
  gateway cert show api.example.com --json")]
pub(crate) struct Show {
    /// The host
    host: String,
    #[command(flatten)]
    form: out::Form,
}

impl Show {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let one: HostCertificate = client.show(&path(&self.host)).await?;
        if self.form.json {
            return out::json(&one);
        }
        out::line(text(&one, Timestamp::now()));
        Ok(())
    }
}

fn text(one: &HostCertificate, now: Timestamp) -> String {
    let mut lines = vec![format!("host      {}", one.host), format!("state     {}", one.word())];
    if let Some(certificate) = &one.certificate {
        lines.extend(about(certificate, now));
    }
    if let Some(order) = &one.order {
        lines.push(format!("attempts  {} failed in a row", order.attempts));
        lines.extend(order.last_error.as_ref().map(|error| format!("error     {error}")));
        lines.extend(order.warning.as_ref().map(|warning| format!("warning   {warning}")));
        lines.extend(order.next_try.map(|next| format!("next      {next:.0}")));
    }
    lines.join("\n")
}

/// A certificate, line by line.
pub(super) fn about(certificate: &CertificateView, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!("source    {}", certificate.source)];
    lines.extend(certificate.file.as_ref().map(|file| format!("file      {}", file.display())));
    lines.extend([
        format!("names     {}", certificate.names.join("\n          ")),
        format!("issuer    {}", certificate.issuer),
        format!("begins    {}", out::day(certificate.not_before, now)),
        format!("ends      {}", out::day(certificate.not_after, now)),
        format!("sha-256   {}", certificate.sha256),
    ]);
    lines
}

//! `gateway backup`: everything in one file.

use std::path::PathBuf;

use axum::body::Body;
use http::Method;

use super::{Client, Failure, out, secret::PassphraseSource, transfer::Target};
use crate::admin::BackupOrder;

/// Write everything into one archive, while the gateway runs: registry, certificates, SQLite tenants
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keys and certificates in it are wrapped by a passphrase: from --passphrase-file, GATEWAY_BACKUP_PASSPHRASE, \
or asked for on the terminal. Without it nobody can restore the backup.

Examples:
  gateway backup gateway-2026-01-31.tar
  gateway backup --passphrase-file passphrase gateway.tar
  gateway backup - | ssh vault 'cat > gateway.tar'")]
pub(crate) struct Backup {
    /// The file to write (mode 0600), or `-` for standard output
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

impl Backup {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let target = Target::open(&self.file)?;
        let order = BackupOrder { passphrase: self.passphrase.choose()?.to_string() };
        let body = serde_json::to_vec(&order)
            .map_err(|error| Failure::failed(format!("the order cannot be written: {error}")))?;
        let answer = client.send(Method::POST, "/backup", Body::from(body)).await?;
        let bytes = target.fill(answer.into_body()).await?;
        out::remark(format!("backup written: {bytes} bytes; keep the passphrase elsewhere"));
        Ok(())
    }
}

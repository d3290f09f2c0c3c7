//! `gateway tenant dump|load`: one tenant's database out and in.

use std::path::PathBuf;

use axum::body::Body;
use http::Method;
use tokio_util::io::ReaderStream;

use crate::{
    cli::{Client, Failure, out, transfer},
    tenant::TenantId,
};

/// Write a tenant's database into a file, as it is at one moment, while it is used
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway tenant dump navaja navaja.db
  gateway tenant dump navaja - | gzip > navaja.db.gz")]
pub(crate) struct Dump {
    /// The tenant
    id: TenantId,
    /// The file to write (mode 0600), or `-` for standard output
    file: PathBuf,
}

/// Put a SQLite file in the place of a tenant's database; its requests wait meanwhile
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file is checked whole before anything is replaced.

Examples:
  gateway tenant load navaja navaja.db
  zcat navaja.db.gz | gateway tenant load navaja -")]
pub(crate) struct Load {
    /// The tenant
    id: TenantId,
    /// The SQLite file, or `-` for standard input
    file: PathBuf,
}

impl Dump {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let target = transfer::Target::open(&self.file)?;
        let answer = client.send(Method::POST, &format!("/tenants/{}/dump", self.id), Body::empty()).await?;
        let bytes = target.fill(answer.into_body()).await?;
        out::remark(format!("tenant {}: {bytes} bytes written", self.id));
        Ok(())
    }
}

impl Load {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let body = if self.file.as_os_str() == "-" {
            Body::from_stream(ReaderStream::new(tokio::io::stdin()))
        } else {
            let file = tokio::fs::File::open(&self.file).await;
            let file = file.map_err(|error| Failure::io("read", &self.file, &error))?;
            Body::from_stream(ReaderStream::new(file))
        };
        client.send(Method::POST, &format!("/tenants/{}/load", self.id), body).await?;
        out::line(format!("tenant {} has the new database", self.id));
        Ok(())
    }
}

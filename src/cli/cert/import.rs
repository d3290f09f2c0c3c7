//! `gateway cert import`: a certificate that the operator brings. Files are named, never their content: what
//! stands in `argv` can be read by everybody on the machine.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use http::Method;
use jiff::Timestamp;

use super::{path, show::about};
use crate::{
    admin::{ImportOrder, Imported},
    cli::{Client, Failure, out},
};

/// A chain of four with a hundred names is 20 KiB.
const FILE_BYTES_MAX: u64 = 128 * 1024;

/// Keep a certificate of your own for a host; it wins over ACME until it nears its end
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It is served at once, for every name in it, and kept in the state directory: the files are needed no longer. \
Importing for the same host again replaces it.

Examples:
  gateway cert import api.example.com --cert fullchain.pem --key privkey.pem
  gateway cert import '*.example.com' --cert wildcard.pem --key wildcard.key")]
pub(crate) struct Import {
    /// The host, or a wildcard that the certificate is for
    pub(in crate::cli) host: String,
    /// PEM file with the whole chain, the host's own certificate first
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) cert: PathBuf,
    /// PEM file with its private key
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) key: PathBuf,
}

impl Import {
    pub(in crate::cli) async fn run(self, client: &Client) -> Result<(), Failure> {
        keep(&self.host, &self.files()?, client).await
    }

    /// What stands in the files.
    pub(in crate::cli) fn files(&self) -> Result<ImportOrder, Failure> {
        Ok(ImportOrder { chain: read(&self.cert)?, key: read(&self.key)? })
    }
}

/// Have it kept, and tell of it.
pub(in crate::cli) async fn keep(host: &str, order: &ImportOrder, client: &Client) -> Result<(), Failure> {
    let imported: Imported = client.order(Method::POST, &path(host), Some(order)).await?;
    for warning in &imported.warnings {
        out::remark(format!("warning: {warning}"));
    }
    out::line(about(&imported.certificate, Timestamp::now()).join("\n"));
    out::line(match client {
        Client::Running(_) => "it is served now",
        Client::AtRest(_) => "it is served when the gateway starts",
    });
    Ok(())
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: &std::io::Error| Failure::io("read", path, error);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(Failure::usage(format!("`{}` is too large for a certificate or key", path.display())));
    }
    String::from_utf8(bytes).map_err(|_| {
        Failure::usage(format!("`{}` is no PEM file", path.display())).hint(
            "PEM is text; `openssl x509 -inform der`, `openssl pkey -inform der` and `openssl pkcs12 -nodes` make it",
        )
    })
}

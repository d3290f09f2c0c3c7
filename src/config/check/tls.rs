//! Checks of certificates: there, readable, fitting, and of use.

use std::{os::unix::fs::PermissionsExt, path::Path};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::Check;
use crate::{
    config::load::Purpose,
    edge::{CertificateFiles, TlsMode},
};

impl Check<'_> {
    pub(super) fn tls(&mut self) {
        let tls = &self.config.tls;
        match (tls.mode, tls.certificate.is_empty()) {
            (TlsMode::Files, true) => {
                let message = "certificates are to come from files, and none is named";
                let remedy = "add `[[tls.certificate]]` with `cert` and `key`, or choose another mode";
                self.contradiction(&["tls", "mode"], &[&["tls", "certificate"]], message, remedy);
            }
            (TlsMode::Local | TlsMode::Acme | TlsMode::Off, false) => {
                let message = "certificates are named, but the mode does not use them";
                let remedy = "set `tls.mode = \"files\"`, or take the certificates out";
                self.contradiction(&["tls", "certificate"], &[&["tls", "mode"]], message, remedy);
            }
            _ => {}
        }
        self.acme();
        for (index, files) in tls.certificate.iter().enumerate() {
            if self.purpose == Purpose::Restore
                && [&files.cert, &files.key].into_iter().any(|f| self.comes(f))
            {
                continue;
            }
            self.certificate(&index.to_string(), files);
        }
    }

    /// Is it where a backup may have it from?
    pub(super) fn comes(&self, file: &Path) -> bool {
        file.starts_with(&self.config.state_dir) && !file.exists()
    }

    fn certificate(&mut self, index: &str, files: &CertificateFiles) {
        let cert = ["tls", "certificate", index, "cert"];
        let key = ["tls", "certificate", index, "key"];
        let chain = chain(&files.cert).map_err(|reason| {
            self.problem(&cert, reason, "name a PEM file with the certificate chain, the site's own first");
        });
        let private = private_key(&files.key).map_err(|reason| {
            self.problem(&key, reason, "name a PEM file with the certificate's private key");
        });
        let open = std::fs::metadata(&files.key).is_ok_and(|meta| meta.permissions().mode() & 0o007 != 0);
        if open {
            self.warn(&key, "every user of this machine can use this private key", "chmod 600 the file");
        }
        if let (Ok(chain), Ok(private)) = (chain, private) {
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            if let Err(error) = rustls::sign::CertifiedKey::from_der(chain, private, &provider) {
                let message = format!("certificate and key do not fit: {error}");
                self.contradiction(&key, &[&cert], message, "name the key that the certificate was made for");
            }
        }
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(format!("there is no certificate in {}", path.display())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("{} is no PEM file: {error}", path.display())),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|error| format!("no private key in {}: {error}", path.display()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

//! Checks of `[tls.acme]`: values that no certificate authority takes, files that do not hold what they should, and
//! ports that none will find.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use super::{Check, Key};
use crate::{
    config::load::Purpose,
    edge::{TlsMode, authorities, mac_key},
};

/// Names that Let's Encrypt and its like take in one certificate.
const NAMES_MOST: u32 = 100;

/// New certificates that Let's Encrypt gives out per registered domain and week.
const LETS_ENCRYPT_WEEKLY: u32 = 50;

/// An operator who sets a shorter pause should know what it costs.
const RETRY_SHORT: Duration = Duration::from_secs(60);

/// An address as a certificate authority takes it, alone.
pub(crate) fn is_mail_address(text: &str) -> bool {
    let (name, host) = text.split_once('@').unwrap_or_default();
    let odd = |text: &str| text.is_empty() || text.contains([' ', ',', '@', ':', '<', '>']);
    !odd(name) && !odd(host)
}

impl Check<'_> {
    pub(super) fn acme(&mut self) {
        let in_use = self.config.tls.mode == TlsMode::Acme;
        self.acme_authority(in_use);
        self.acme_pace();
        for (index, contact) in self.config.tls.acme.contact.iter().enumerate() {
            if !is_mail_address(contact) {
                let remedy = "write the address alone, such as \"admin@example.com\"";
                self.problem(
                    &["tls", "acme", "contact", &index.to_string()],
                    "this is no e-mail address",
                    remedy,
                );
            }
        }
        for (index, address) in self.config.edge.public_addresses.iter().enumerate() {
            if address.is_unspecified() || address.to_canonical().is_loopback() {
                let message = "no certificate authority reaches this machine by that address";
                let remedy = "name the addresses that its hosts resolve to, or leave it out";
                self.problem(&["edge", "public_addresses", &index.to_string()], message, remedy);
            }
        }
        if in_use {
            self.acme_files();
            self.acme_ports();
        }
    }

    fn acme_authority(&mut self, in_use: bool) {
        let acme = &self.config.tls.acme;
        let directory: &[&str] = &["tls", "acme", "directory"];
        let uri = acme.directory.parse::<http::Uri>().ok();
        let fine = uri.is_some_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some());
        if !fine {
            let message = "a certificate authority's directory is an https URL";
            let remedy = "write the one that it documents, or leave the key out for Let's Encrypt";
            self.problem(directory, message, remedy);
        }
        if in_use && acme.directory.contains("acme-staging") {
            let message = "certificates of a staging authority are for trying: no browser trusts them";
            self.warn(directory, message, "leave the key out once orders succeed");
        }
        let id: &[&str] = &["tls", "acme", "external_account_id"];
        let file: &[&str] = &["tls", "acme", "external_account_key_file"];
        match (&acme.external_account_id, &acme.external_account_key_file) {
            (Some(_), None) => {
                let message = "an account elsewhere is named, and its key is not";
                self.contradiction(id, &[file], message, "add `external_account_key_file`");
            }
            (None, Some(_)) => {
                let message = "there is a key of an account elsewhere, and no account";
                self.contradiction(file, &[id], message, "add `external_account_id`");
            }
            _ => {}
        }
    }

    fn acme_pace(&mut self) {
        let acme = &self.config.tls.acme;
        if acme.names_per_certificate_max > NAMES_MOST {
            let message = format!("certificate authorities take {NAMES_MOST} names at most");
            let key = ["tls", "acme", "names_per_certificate_max"];
            self.problem(&key, message, format!("write {NAMES_MOST} or less"));
        }
        if acme.per_domain_weekly > LETS_ENCRYPT_WEEKLY && acme.directory.contains("letsencrypt.org") {
            let message = format!(
                "Let's Encrypt gives out {LETS_ENCRYPT_WEEKLY} new certificates a week, then refuses for days"
            );
            let remedy = "stay below, unless they have granted you more";
            self.warn(&["tls", "acme", "per_domain_weekly"], message, remedy);
        }
        let retry_first: Key<'_> = &["tls", "acme", "retry_first"];
        if acme.retry_longest < acme.retry_first {
            let message = "the longest pause is shorter than the first one";
            let remedy = "make it as long as `tls.acme.retry_first`, or longer";
            self.contradiction(&["tls", "acme", "retry_longest"], &[retry_first], message, remedy);
        }
        if acme.retry_first < RETRY_SHORT {
            let message =
                "certificate authorities count failures: a host can fail four times an hour, not more";
            self.warn(retry_first, message, "give whoever corrects the DNS some minutes, such as \"5m\"");
        }
        if acme.order_timeout < acme.request_timeout {
            let message = "a whole order has less time than one of its requests";
            let key = ["tls", "acme", "order_timeout"];
            let remedy = "make it several times `tls.acme.request_timeout`";
            self.contradiction(&key, &[&["tls", "acme", "request_timeout"]], message, remedy);
        }
    }

    fn acme_files(&mut self) {
        let acme = &self.config.tls.acme;
        if let Some(path) = acme.ca_file.as_deref().filter(|path| !self.is_restored(path))
            && let Err(reason) = authorities(path)
        {
            let remedy = "name a PEM file with the CA that signs the directory's own certificate";
            self.problem(&["tls", "acme", "ca_file"], reason, remedy);
        }
        let Some(path) = acme.external_account_key_file.as_deref().filter(|path| !self.is_restored(path))
        else {
            return;
        };
        let key = ["tls", "acme", "external_account_key_file"];
        match std::fs::read_to_string(path) {
            Err(error) => {
                let message = format!("{} cannot be read: {error}", path.display());
                self.problem(&key, message, "name a file with the key that the authority gave you");
            }
            Ok(text) if mac_key(&text).is_none() => {
                let message = format!("{} holds no base64url text", path.display());
                self.problem(&key, message, "put the key into it as the authority gave it, and nothing else");
            }
            Ok(_) => {}
        }
        if std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o007 != 0) {
            self.warn(&key, "every user of this machine can use this key", "chmod 600 the file");
        }
    }

    fn is_restored(&self, path: &Path) -> bool {
        self.purpose == Purpose::Restore && self.comes(path)
    }

    fn acme_ports(&mut self) {
        let edge = &self.config.edge;
        let has = |list: &[SocketAddr], port: u16| list.iter().any(|address| address.port() == port);
        let elsewhere = !has(&edge.https, 443) && !has(&edge.http, 80);
        let near = ["localhost", "127.", "[::1]"];
        let near =
            near.iter().any(|host| self.config.tls.acme.directory.starts_with(&format!("https://{host}")));
        if elsewhere && !near {
            let message = "certificate authorities come to ports 443 and 80, and neither is listened on";
            let remedy = "listen there, or have something in front pass those ports on to these addresses";
            self.warn(&["tls", "mode"], message, remedy);
        }
    }
}

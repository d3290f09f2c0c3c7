//! `gateway import certbot`: what certbot has becomes a configuration, or copies of its certificates. One that the gateway
//! would refuse is named and keeps no other from being taken; certbot's own files are never touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::tell;
use crate::{
    admin::{ImportOrder, unfit_for},
    bootstrap::{self, Lineage},
    cli::{Client, Failure, Settings, cert, out, reach},
};

/// certbot's certificates
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The gateway orders and renews by itself. With `--copy` it takes the certificates that are there along, so that it can serve \
before it has ordered anything; it goes on with its own when they end.

Examples:
  gateway import certbot > certbot.toml
  gateway import certbot --copy
  gateway import certbot --copy --host api.example.com")]
pub(crate) struct Certbot {
    /// Where they are
    #[arg(long, value_name = "DIR", default_value = bootstrap::CERTBOT)]
    from: PathBuf,
    /// Give the gateway copies of them now, as `gateway cert import` does
    #[arg(long, conflicts_with = "json")]
    copy: bool,
    /// Only the certificate of this host; may be repeated
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    #[command(flatten)]
    form: out::Form,
}

impl Certbot {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let mut lineages = bootstrap::lineages(&self.from).map_err(|error| {
            Failure::io("read", &self.from, &error)
                .hint("only root reads it; `--from DIR` names another directory")
        })?;
        let asked = |lineage: &Lineage| self.host.iter().any(|host| host == lineage.host());
        lineages.retain(|lineage| self.host.is_empty() || asked(lineage));
        if self.copy {
            return self.copy(&lineages, settings);
        }
        let live = self.from.display().to_string();
        tell(&bootstrap::certbot(&live, &lineages), &self.form)
    }

    fn copy(&self, lineages: &[Lineage], settings: &Settings) -> Result<(), Failure> {
        if lineages.is_empty() {
            return Err(Failure::failed(format!("there is no certificate below `{}`", self.from.display()))
                .hint("`--from DIR` names another directory"));
        }
        let hosts: BTreeSet<&str> = lineages.iter().map(Lineage::host).collect();
        let (mut fitting, mut unfit) = (Vec::new(), Vec::new());
        for host in hosts {
            let (order, why) = choose(&self.from, lineages, host);
            fitting.extend(order.map(|order| (host, order)));
            unfit.extend(why);
        }
        for why in &unfit {
            out::remark(format!("not copied: {why}"));
        }
        if fitting.is_empty() {
            return Err(Failure::failed("none of certbot's certificates can be used")
                .hint("the gateway orders its own; `gateway cert import` takes one from elsewhere"));
        }
        reach::any(settings, async |client: &Client| {
            for (host, order) in &fitting {
                cert::keep(host, order, client).await?;
            }
            Ok(())
        })
    }
}

/// Of these hosts, those for which certbot has no certificate that the gateway takes; each with the reason.
pub(in crate::cli) fn none_fits(live: &Path, hosts: &BTreeSet<String>) -> BTreeMap<String, String> {
    let lineages = bootstrap::lineages(live).unwrap_or_default();
    let judged = hosts.iter().map(|host| (host, choose(live, &lineages, host)));
    judged
        .filter(|(_, (order, _))| order.is_none())
        .map(|(host, (_, unfit))| (host.clone(), unfit.join("; ")))
        .collect()
}

/// The newest of a host's certificates that the gateway takes; and why those that are newer still will not do.
fn choose(live: &Path, lineages: &[Lineage], host: &str) -> (Option<ImportOrder>, Vec<String>) {
    let mut unfit = Vec::new();
    // A later one has the higher number after its name.
    for lineage in lineages.iter().filter(|lineage| lineage.host() == host).rev() {
        let at = live.join(&lineage.name);
        let (cert, key) = (at.join("fullchain.pem"), at.join("privkey.pem"));
        let read = cert::Import { host: host.to_owned(), cert, key }.files();
        let judged = read.map_err(|failure| failure.message).and_then(|order| {
            match unfit_for(host, &order, Timestamp::now()) {
                Some(why) => Err(why),
                None => Ok(order),
            }
        });
        match judged {
            Ok(order) => return (Some(order), unfit),
            Err(why) => unfit.push(format!("{}: {why}", lineage.name)),
        }
    }
    (None, unfit)
}

//! `gateway cert list`: every host with its certificate.

use jiff::Timestamp;

use crate::{
    admin::HostCertificate,
    cli::{Client, Failure, out},
};

/// Show every host with its certificate
#[derive(Debug, clap::Args)]
#[command(after_help = "\
States:
  served     clients that ask for the host get it
  ends soon  served, and due to be replaced (`tls.expiry_warning`)
  ended      served, and refused by browsers
  missing    there is none: clients that ask for the host are turned away
  waiting    it is about to be ordered by ACME
  ordering   it is being ordered
  failing    its last order failed
  elsewhere  the host does not lead to this machine
  unfit      no authority signs such a name
  unused     it is kept, but no host has this name
A warning behind it names addresses of the host that do not lead here.

Examples:
  gateway cert list
  gateway cert list --json | jq '.[] | select(.state != \"served\")'")]
pub(crate) struct List {
    #[command(flatten)]
    form: out::Form,
}

impl List {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let all: Vec<HostCertificate> = client.show("/certificates").await?;
        if self.form.json {
            return out::json(&all);
        }
        if all.is_empty() {
            out::line("no host needs a certificate: none is configured, or the edge speaks plain HTTP");
            return Ok(());
        }
        let now = Timestamp::now();
        out::line(out::table(&HEAD, all.iter().map(|one| row(one, now))));
        Ok(())
    }
}

/// The columns of a host's certificate.
pub(in crate::cli) const HEAD: [&str; 5] = ["host", "source", "issuer", "ends", "state"];

/// The row of one.
pub(in crate::cli) fn row(one: &HostCertificate, now: Timestamp) -> [String; 5] {
    let state = word(one, now);
    let Some(certificate) = &one.certificate else {
        return [one.host.clone(), String::new(), String::new(), String::new(), state];
    };
    [
        one.host.clone(),
        certificate.source.clone(),
        issuer(&certificate.issuer),
        out::day(certificate.not_after, now),
        state,
    ]
}

/// Where it stands; of an order that failed, with why and when it goes on.
fn word(one: &HostCertificate, now: Timestamp) -> String {
    let mut text = one.word().to_owned();
    if let Some(order) = &one.order
        && let Some(error) = &order.last_error
    {
        text = format!("{text}: {error}");
        if let Some(next) = order.next_try {
            let seconds = u64::try_from(next.as_second() - now.as_second()).unwrap_or(0);
            text = format!("{text}; next try in {}", out::duration(seconds));
        }
    }
    if let Some(warning) = one.order.as_ref().and_then(|order| order.warning.as_ref()) {
        text = format!("{text}; warning: {warning}");
    }
    text
}

/// `C=US, O=Let's Encrypt, CN=R11` as people say it: `Let's Encrypt R11`.
fn issuer(name: &str) -> String {
    let part = |key: &str| name.split(", ").find_map(|part| part.strip_prefix(key));
    match (part("O="), part("CN=")) {
        (Some(organisation), Some(common)) if !common.contains(organisation) => {
            format!("{organisation} {common}")
        }
        (_, Some(common)) => common.to_owned(),
        (Some(organisation), None) => organisation.to_owned(),
        (None, None) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_told_as_people_say_them() {
        for (name, said) in [
            ("C=US, O=Let's Encrypt, CN=R11", "Let's Encrypt R11"),
            ("CN=gateway local CA host", "gateway local CA host"),
            ("C=BE, O=GlobalSign, CN=GlobalSign RSA OV", "GlobalSign RSA OV"),
            ("O=Own", "Own"),
            ("", ""),
        ] {
            assert_eq!(issuer(name), said);
        }
    }
}

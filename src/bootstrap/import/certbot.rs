//! certbot's certificates: a directory a name below `live`, and what certbot knows about its renewal.

use super::{Carried, Left, quoted};

/// Where certbot orders if nobody says otherwise.
const USUAL_AUTHORITY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// A certificate of certbot's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// Its directory below `live`: the first host, perhaps with a number after it.
    pub(crate) name: String,
    /// What stands in `renewal/NAME.conf`; empty where it is missing.
    pub(crate) renewal: String,
}

impl Lineage {
    /// The host that it is called after: `api.example.com` of `api.example.com-0001`.
    pub(crate) fn host(&self) -> &str {
        match self.name.rsplit_once('-') {
            Some((host, number)) if number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                host
            }
            _ => &self.name,
        }
    }

    fn of(&self, key: &str) -> Option<&str> {
        let value = |line: &'_ str| -> Option<usize> {
            let (name, _) = line.split_once('=')?;
            (name.trim() == key).then_some(name.len() + 1)
        };
        self.renewal.lines().find_map(|line| line.get(value(line)?..)).map(str::trim)
    }
}

/// From the certificates below `live`.
pub(crate) fn certbot(live: &str, lineages: &[Lineage]) -> Carried {
    let mut carried = Carried::default();
    if lineages.is_empty() {
        carried
            .leave(format!("there is no certificate below {live}"), "name another directory with `--from`");
        return carried;
    }
    carried.line(
        "# What certbot did, the gateway does by itself: it orders and renews for every host that it serves.",
    );
    carried.line("[tls]\nmode = \"acme\"");
    let mut authorities: Vec<&str> = lineages.iter().filter_map(|lineage| lineage.of("server")).collect();
    authorities.sort_unstable();
    authorities.dedup();
    match authorities[..] {
        [] | [USUAL_AUTHORITY] => {}
        [one] => carried.line(format!("\n[tls.acme]\ndirectory = {}", quoted(one))),
        _ => carried.leave(
            format!("certificates come from several authorities: {}", authorities.join(", ")),
            "choose one as `tls.acme.directory`",
        ),
    }
    for lineage in lineages {
        let Lineage { name, .. } = lineage;
        let host = lineage.host();
        carried.leave(
            format!("{name}: the certificate that is there, which lets the gateway serve before it has ordered its own"),
            format!(
                "`gateway import certbot --copy` takes copies of all, `gateway cert import {host} --cert \
                 {live}/{name}/fullchain.pem --key {live}/{name}/privkey.pem` of this one"
            ),
        );
        if lineage.of("authenticator").is_some_and(|how| how.starts_with("dns")) {
            carried.leave(
                format!("{name}: certbot proves the domain by DNS"),
                "the gateway proves hosts over HTTP and TLS; a wildcard's certificate goes on coming from certbot, with \
                 `gateway cert import` as its deploy hook",
            );
        }
        if lineage.of("renew_hook").is_some() {
            carried.leave(
                format!("{name}: its renew_hook"),
                "the gateway loads what it renews by itself; other programs need another way",
            );
        }
    }
    carried.left.push(Left {
        what: "certbot goes on renewing".to_owned(),
        remedy: "`systemctl disable --now certbot.timer`, once `gateway cert list` shows certificates of the gateway's own"
            .to_owned(),
    });
    carried
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage(name: &str, renewal: &str) -> Lineage {
        Lineage { name: name.to_owned(), renewal: renewal.to_owned() }
    }

    fn check(lineages: &[Lineage], config: &str, left: &[&str]) {
        let carried = certbot("/etc/letsencrypt/live", lineages);
        assert!(carried.config.ends_with(config), "{}", carried.config);
        assert!(toml::from_str::<toml::Value>(&carried.config).is_ok());
        let told: String =
            carried.left.iter().map(|left| format!("{}: {}\n", left.what, left.remedy)).collect();
        for want in left {
            assert!(told.contains(want), "{want} is not in\n{told}");
        }
    }

    #[test]
    fn certificates_are_ordered_anew_and_those_that_are_there_can_be_copied() {
        check(&[], "", &["no certificate below /etc/letsencrypt/live"]);
        check(
            &[lineage("api.example.com-0001", "server = https://acme-v02.api.letsencrypt.org/directory\n")],
            "mode = \"acme\"\n",
            &[
                "gateway cert import api.example.com --cert /etc/letsencrypt/live/api.example.com-0001/fullchain.pem",
                "certbot.timer",
            ],
        );
        check(
            &[lineage(
                "x.example",
                "[renewalparams]\nserver=https://ca.example/dir\nauthenticator = dns-cloudflare\nrenew_hook = x\n",
            )],
            "directory = \"https://ca.example/dir\"\n",
            &["proves the domain by DNS", "renew_hook"],
        );
    }

    #[test]
    fn a_number_after_the_host_is_not_the_hosts() {
        for (name, host) in
            [("a.example", "a.example"), ("a.example-0002", "a.example"), ("a-b.example-1", "a-b.example-1")]
        {
            assert_eq!(lineage(name, "").host(), host);
        }
    }
}

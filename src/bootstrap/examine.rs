//! What `gateway doctor` sees in the facts alone: pure, and always the whole list. What only a request can show is asked by
//! the command itself.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    Answers, Facts,
    facts::{Ruler, Session, carriers},
    places, plan,
    ruleset::{CARRIERS_FOLLOWED_MAX, Carrier, Firewall},
};

/// How grave a finding is; the worst one decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// As it should be.
    Good,
    /// Does not concern this machine.
    Skipped,
    /// Works, and should be looked at.
    Doubtful,
    /// Broken.
    Bad,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) name: String,
    /// How it is.
    pub(crate) verdict: Verdict,
    /// What was seen.
    pub(crate) detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub(crate) fn good(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Good, detail: detail.into(), remedy: None }
    }

    /// Nothing to look at.
    pub(crate) fn skipped(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Skipped, detail: detail.into(), remedy: None }
    }

    /// Works, and should be looked at.
    pub(crate) fn doubtful(
        name: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self { name: name.into(), verdict: Verdict::Doubtful, detail: detail.into(), remedy }
    }

    /// Broken.
    pub(crate) fn bad(name: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { name: name.into(), verdict: Verdict::Bad, detail: detail.into(), remedy }
    }
}

/// Of what others than root cannot see there is no verdict.
pub(crate) const NEEDS_ROOT: &str = "not checked: needs root (`sudo gateway doctor`)";

/// Everything that the facts show.
pub(crate) fn examine(facts: &Facts, answers: &Answers) -> Vec<Finding> {
    let mut findings = vec![units(facts)];
    findings.extend(shipped(facts));
    findings.push(firewall(facts, answers));
    findings.extend(led_into_nothing(facts));
    findings.extend(facts.closing.iter().filter(|_| facts.ruler == Ruler::Nobody).map(|(table, ports)| {
        let shown = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        let what = format!("the table `{table}`, which is not ours, closes {shown}, whatever ours lets in");
        let remedy = format!("let them in there too, unless it is meant: `nft list table {table}`");
        // SSH may be for a few alone; the edge is for everybody.
        match ports.is_disjoint(&answers.edge_ports()) {
            true => Finding::doubtful("firewall", what, remedy),
            false => Finding::bad("firewall", what, remedy),
        }
    }));
    findings.extend(facts.published.iter().map(|published| {
        let what =
            format!("{} of `{}` is reached past every firewall", published.address, published.container);
        Finding::doubtful(
            "docker",
            what,
            "publish it as `127.0.0.1:PORT:PORT`, if it is not meant for everybody",
        )
    }));
    findings.push(match (&facts.container, facts.clock) {
        (_, true) => Finding::good("clock", "follows others"),
        (Some(container), false) => {
            Finding::skipped("clock", format!("this is a container ({container}): it is the host's"))
        }
        (None, false) => Finding::doubtful(
            "clock",
            "nothing sets it",
            "`systemctl enable --now systemd-timesyncd`, or install chrony",
        ),
    });
    findings.push(match facts.updates {
        true => Finding::good("updates", "security updates are installed by themselves"),
        false => {
            Finding::doubtful("updates", "nobody installs security updates", "`gateway bootstrap --updates`")
        }
    });
    findings
}

fn units(facts: &Facts) -> Finding {
    if !facts.systemd() {
        return Finding::skipped(
            "service",
            format!("this machine is run by `{}`, not by systemd", facts.init),
        );
    }
    let [socket, service] = ["gateway.socket", "gateway.service"].map(|name| facts.unit(name));
    match (service.exists, service.active, service.enabled, socket.active) {
        (false, ..) => {
            Finding::bad("service", "there is no gateway.service", "`gateway bootstrap` sets it up")
        }
        (true, false, ..) => Finding::bad(
            "service",
            "gateway.service does not run",
            "`systemctl start gateway`, `journalctl -u gateway`",
        ),
        (true, true, false, _) => Finding::doubtful(
            "service",
            "it runs, and would not after a boot",
            "`systemctl enable gateway.service`",
        ),
        (true, true, true, false) => {
            let remedy = "`systemctl enable --now gateway.socket`, then `systemctl restart gateway`";
            Finding::doubtful(
                "service",
                "it runs without gateway.socket: a restart refuses connections",
                remedy,
            )
        }
        (true, true, true, true) => Finding::good("service", "runs, and does so after a boot"),
    }
}

/// A new program in its place does not bring its units along.
fn shipped(facts: &Facts) -> Option<Finding> {
    let differing = plan::differing(|path| facts.files.get(path).map(|file| file.content.clone()));
    (!differing.is_empty()).then(|| {
        let what = format!("other than this version's: {}", differing.join(", "));
        let remedy = "`gateway bootstrap` shows what would change and renews them; settings of your own belong into a drop-in \
                      (`systemctl edit gateway`)";
        Finding::doubtful("units", what, remedy)
    })
}

fn firewall(facts: &Facts, answers: &Answers) -> Finding {
    const NAME: &str = "firewall";
    if !facts.root {
        return Finding::skipped(NAME, NEEDS_ROOT);
    }
    let wanted: BTreeSet<u16> = answers.edge_ports().union(&facts.ssh.ports).copied().collect();
    if facts.ruler != Ruler::Nobody {
        let name = if facts.ruler == Ruler::Ufw { "ufw" } else { "firewalld" };
        let missing = facts.to_open(&answers.edge_ports(), &facts.ssh.ports);
        let denied = facts.denied_to_all(&facts.ssh.ports);
        if let Some(port) = denied.first() {
            let what = format!("{name} denies everybody port {port}, where SSH comes in");
            return Finding::doubtful(NAME, what, plan::DENIED_REMEDY);
        }
        let missing: Vec<String> = missing.iter().map(u16::to_string).collect();
        return match missing.is_empty() {
            true => Finding::good(NAME, format!("{name} lets SSH and the edge in")),
            false => {
                let what = format!("{name} does not let everybody reach {}", missing.join(", "));
                Finding::doubtful(NAME, what, "`gateway bootstrap` opens what is missing")
            }
        };
    }
    let live = &facts.live;
    if let Some(damage) = &live.damage {
        return Finding::bad(NAME, &damage.what, &damage.remedy);
    }
    if let Some(armed) = &live.armed {
        let remedy = "open a second SSH session and run `sudo gateway bootstrap confirm` there";
        return Finding::doubtful(NAME, format!("waits to be confirmed until {:.0}", armed.until), remedy);
    }
    match (&live.stored, live.table, live.same) {
        (None, false, _) => Finding::doubtful(NAME, "there is none", "`gateway bootstrap` builds one"),
        (None, true, _) => Finding::doubtful(NAME, "rules that nobody confirmed", "`gateway bootstrap`"),
        (Some(_), false, _) => Finding::bad(
            NAME,
            "its rules are gone from the kernel: somebody flushed them",
            format!("`systemctl restart gateway-firewall`; the rules are in {}", places::FIREWALL_RULES),
        ),
        (Some(stored), true, true) if stored.bare => Finding::doubtful(
            NAME,
            "it leads connections over and filters nothing: there is no input chain",
            "`gateway bootstrap` builds one, unless somebody else filters",
        ),
        (Some(_), true, false) => Finding::bad(
            NAME,
            "the rules in the kernel are not those that were confirmed",
            "`gateway firewall reload`",
        ),
        (Some(stored), true, true) => {
            let missing = shut_out(facts, stored, &wanted);
            if missing.is_empty() && !facts.firewall_lasts() {
                let what = "in force as confirmed, and would not come back at the next boot";
                return Finding::doubtful(NAME, what, "`gateway bootstrap` makes it last");
            }
            if missing.is_empty() {
                return Finding::good(NAME, "in force as confirmed");
            }
            let remedy = match stored.carriers.len() < CARRIERS_FOLLOWED_MAX {
                true => "`gateway firewall reload`",
                false => {
                    "`gateway firewall reload` opens ports; of so many tunnels it follows no more: let them in from anywhere, \
                     such as with `gateway firewall allow esp@any` or `4500/udp`"
                }
            };
            Finding::bad(NAME, format!("it does not let anybody reach {missing}"), remedy)
        }
    }
}

/// A cut-over goes on whoever listens, also where others filter.
fn led_into_nothing(facts: &Facts) -> Option<Finding> {
    let stored = facts.live.stored.as_ref()?;
    let listened = |port: &u16| {
        let outside = facts.listeners.iter().filter(|listener| !listener.address.ip().is_loopback());
        outside.into_iter().any(|listener| listener.address.port() == *port)
    };
    let (from, to) = stored.led.iter().find(|(_, to)| !listened(to))?;
    Some(Finding::bad(
        "cut-over",
        format!("new connections to port {from} are led to port {to}, on which nobody listens"),
        "`gateway firewall reload` ends it, if `[edge]` has left that port; `gateway cutover back` does so at once",
    ))
}

/// What must be reached and is not, for people: nothing, if all of it is.
fn shut_out(facts: &Facts, stored: &Firewall, wanted: &BTreeSet<u16>) -> String {
    /// More are counted.
    const NAMED_MAX: usize = 12;
    let open: BTreeSet<u16> = stored.ssh.union(&stored.edge).copied().collect();
    let ports = wanted.difference(&open).map(|port| match facts.ssh.ports.contains(port) {
        true => format!("{port} (SSH)"),
        false => port.to_string(),
    });
    let carriers = carriers(&facts.tunnels);
    let tunnels = carriers.iter().filter(|carrier| !stored.lets_in(carrier)).map(Carrier::to_string);
    let mut missing: Vec<String> = ports.chain(tunnels).collect();
    let beyond = missing.len().saturating_sub(NAMED_MAX);
    missing.truncate(NAMED_MAX);
    let more = if beyond == 0 { String::new() } else { format!(" and {beyond} more") };
    missing.join(", ") + &more
}

impl Session {
    /// For people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Local => "at the machine itself".to_owned(),
            Self::Ssh { port: Some(port), .. } => format!("over SSH, port {port}"),
            Self::Ssh { port: None, .. } => "over SSH, port unknown".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::{
        facts::{FileFact, TunnelEnd},
        firewall::{Damage, Live},
        plan::samples,
    };

    fn check(change: impl FnOnce(&mut Facts), name: &str, want: (Verdict, &str)) {
        let mut facts = samples::set_up();
        change(&mut facts);
        let findings = examine(&facts, &samples::answers());
        let found = findings.iter().find(|finding| finding.name == name).unwrap();
        assert_eq!(found.verdict, want.0, "{found:?}");
        assert!(found.detail.contains(want.1), "{found:?}");
        assert_eq!(found.remedy.is_some(), found.verdict >= Verdict::Doubtful, "{found:?}");
    }

    #[test]
    fn each_finding_says_what_is_and_what_to_do() {
        check(|_| {}, "service", (Verdict::Good, "after a boot"));
        check(
            |facts| facts.units.get_mut("gateway.service").unwrap().active = false,
            "service",
            (Verdict::Bad, "does not run"),
        );
        check(|facts| facts.units.clear(), "service", (Verdict::Bad, "no gateway.service"));
        check(|facts| facts.init = "runit".to_owned(), "service", (Verdict::Skipped, "runit"));
        check(|_| {}, "firewall", (Verdict::Good, "as confirmed"));
        check(|facts| facts.live.table = false, "firewall", (Verdict::Bad, "flushed"));
        check(|facts| facts.live.same = false, "firewall", (Verdict::Bad, "not those"));
        check(|facts| facts.live = Default::default(), "firewall", (Verdict::Doubtful, "none"));
        let not_at_boot = (Verdict::Doubtful, "in force as confirmed, and would not come back");
        check(|facts| facts.live.at_boot = false, "firewall", not_at_boot);
        let unit = "gateway-firewall.service";
        check(|facts| facts.units.get_mut(unit).unwrap().enabled = false, "firewall", not_at_boot);
        check(
            |facts| facts.live.stored.as_mut().unwrap().bare = true,
            "firewall",
            (Verdict::Doubtful, "no input chain"),
        );
        check(
            |facts| facts.ssh.ports = [22, 2200].into(),
            "firewall",
            (Verdict::Bad, "does not let anybody reach 2200 (SSH)"),
        );
        check(
            |facts| facts.live.stored = Some(Firewall { ssh: [22].into(), ..Firewall::default() }),
            "firewall",
            (Verdict::Bad, "80, 443"),
        );
        check(
            |facts| {
                let carriers = ["gre@192.0.2.1".parse().unwrap()].into();
                facts.tunnels = vec![TunnelEnd { device: "mgmt".into(), carriers }];
            },
            "firewall",
            (Verdict::Bad, "does not let anybody reach gre@192.0.2.1"),
        );
        check(
            |facts| {
                let carriers = ["gre@192.0.2.1", "4500/udp@192.0.2.1"].map(|one| one.parse().unwrap()).into();
                facts.tunnels = vec![TunnelEnd { device: "mgmt".into(), carriers }];
                let stored = facts.live.stored.as_mut().unwrap();
                stored.carriers = ["gre@any".parse().unwrap()].into();
                stored.opened.insert("4500/udp".parse().unwrap());
            },
            "firewall",
            (Verdict::Good, "as confirmed"),
        );
        check(
            |facts| (facts.root, facts.live) = (false, Default::default()),
            "firewall",
            (Verdict::Skipped, "not checked: needs root"),
        );
        check(
            |facts| {
                let old = FileFact { mode: 0o644, content: "[Service]\n".into() };
                facts.files.insert("/etc/systemd/system/gateway.service".into(), old);
            },
            "units",
            (Verdict::Doubtful, "other than this version's: /etc/systemd/system/gateway.service"),
        );
        let written = "/etc/systemd/system/gateway.service.d/60-firewall.conf";
        check(
            |facts| facts.files.get_mut(std::path::Path::new(written)).unwrap().content.push('#'),
            "units",
            (Verdict::Doubtful, written),
        );
        check(|facts| facts.ruler = Ruler::Ufw, "firewall", (Verdict::Doubtful, "ufw does not let"));
        check(
            |facts| {
                (facts.ruler, facts.open) = (Ruler::Ufw, [80, 443].into());
                (facts.admitted, facts.denied) = ([80, 443, 2222].into(), [22, 2222].into());
            },
            "firewall",
            (Verdict::Doubtful, "ufw denies everybody port 22, where SSH comes in"),
        );
        check(|facts| facts.clock = false, "clock", (Verdict::Doubtful, "nothing sets it"));
    }

    #[test]
    fn a_cut_over_to_a_port_on_which_nobody_listens_is_broken_whoever_filters() {
        let check = |listeners: &[&str], want: bool| {
            let mut facts = samples::set_up();
            facts.ruler = Ruler::Ufw;
            facts.live.stored.as_mut().unwrap().led = [(443, 8443)].into();
            let listener = |address: &&str| crate::bootstrap::facts::Listener {
                address: address.parse().unwrap(),
                holders: ["systemd".to_owned()].into(),
            };
            facts.listeners = listeners.iter().map(listener).collect();
            let findings = examine(&facts, &samples::answers());
            let found = findings.iter().find(|finding| finding.name == "cut-over");
            assert_eq!(found.is_some(), want, "{found:?}");
            assert!(found.is_none_or(|one| one.detail.contains("led to port 8443, on which nobody listens")));
        };
        check(&["[::]:443", "127.0.0.1:8443"], true);
        check(&["[::]:443", "[::]:8443"], false);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_a_finding_and_not_no_firewall() {
        check(
            |facts| {
                let (what, remedy) = ("it cannot be read".to_owned(), "mend it".to_owned());
                facts.live = Live { damage: Some(Damage { what, remedy }), ..Live::default() };
            },
            "firewall",
            (Verdict::Bad, "cannot be read"),
        );
    }

    #[test]
    fn a_table_in_whose_way_the_edge_is_closed_is_broken_and_ssh_may_be_meant() {
        for (ports, verdict) in [(&[22, 443][..], Verdict::Bad), (&[22], Verdict::Doubtful)] {
            let mut facts = samples::set_up();
            facts.closing = [("inet other".to_owned(), ports.iter().copied().collect())].into();
            let findings = examine(&facts, &samples::answers());
            let other = findings.iter().find(|finding| finding.detail.contains("`inet other`")).unwrap();
            assert_eq!(other.verdict, verdict, "{other:?}");
            assert!(other.detail.contains("closes 22"), "{other:?}");
            // Its owner speaks for ufw's.
            facts.ruler = Ruler::Ufw;
            let findings = examine(&facts, &samples::answers());
            assert!(!findings.iter().any(|finding| finding.detail.contains("`inet other`")));
        }
    }
}

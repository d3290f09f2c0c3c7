//! The dead man's switch: a firewall that waits for proof that its operator can still come in. The proof is an SSH
//! session that began after the rules were in force, from another machine.

mod missed;

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BootstrapError, Session, facts, firewall, firewall::Stored, machine, places, ruleset};

/// A firewall that is in force and not on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Armed {
    /// When it came into force, in clock ticks since the machine started, as `/proc` says when processes began.
    pub(super) since_ticks: u64,
    /// When it goes back.
    pub(crate) until: Timestamp,
    /// Was it ordered over SSH? Then somebody at the console is no proof.
    pub(super) over_ssh: bool,
    /// What is in force.
    pub(super) stored: Stored,
}

impl Armed {
    /// The one that waits, if one does: after the timer has run there is none.
    pub(super) fn waiting() -> Result<Option<Self>, BootstrapError> {
        if machine::hear(&["systemctl", "is-active", &timer()]).trim() != "active" {
            return Ok(None);
        }
        machine::record(places::ARMED).map_err(|why| {
            let message = format!("what waits to be confirmed, `{}`, cannot be read: {why}", places::ARMED);
            let remedy = format!(
                "the old rules come back by themselves (`systemctl list-timers {}`); run `gateway bootstrap` again then",
                timer()
            );
            BootstrapError::refused(message, remedy)
        })
    }

    /// Until the machine is switched off.
    pub(super) fn write(&self) -> Result<(), BootstrapError> {
        let json = serde_json::to_string(self).unwrap_or_default();
        machine::write(Path::new(places::ARMED), json.as_bytes(), 0o600)
    }

    /// What is in force must be what was armed: else a session proves nothing about it. Pure.
    fn is_in_force(&self, listing: Option<&str>) -> Result<(), BootstrapError> {
        let what = match listing {
            None => "their table is gone".to_owned(),
            Some(now) => match ruleset::difference(&self.stored.listing, now) {
                None => return Ok(()),
                Some(what) => what,
            },
        };
        let message =
            format!("the rules in force are not those that wait: somebody else has changed them ({what})");
        let remedy = format!(
            "the old ones come back by themselves at {:.0}; find out who it was, and run `gateway bootstrap` again",
            self.until
        );
        Err(BootstrapError::refused(message, remedy))
    }

    /// Nothing is lost by that: the operator has shown that they can come in, and may do so again.
    fn cannot_be_kept(&self, error: &BootstrapError) -> BootstrapError {
        let message = format!("the rules cannot be kept: {error}");
        let remedy = format!(
            "they are in force until {:.0} and then the old ones come back: mend that (`df /etc`, `mount`) and confirm again \
             before, or run `gateway bootstrap` again later",
            self.until
        );
        BootstrapError::refused(message, remedy)
    }

    /// What cannot be kept goes back by itself: if it has done so meanwhile, it does once more, since the order to keep it may
    /// have loaded it again.
    fn not_kept(&self, error: &BootstrapError, lock: &firewall::Lock) -> BootstrapError {
        match Switch::now() {
            Switch::Waits => self.cannot_be_kept(error),
            Switch::Over | Switch::Fired => taken_back(&format!("the rules cannot be kept ({error})"), lock),
        }
    }

    /// Nothing goes back by itself any more, if nothing has begun to.
    fn end(&self, lock: &firewall::Lock) -> Result<(), BootstrapError> {
        // First the timer, then a look whether it had begun already: in the other order it could run in between. One that has run
        // is gone from systemd, which then knows nothing to stop: what has become of it says more than the answer.
        let stopped = machine::order(&["systemctl", "stop", &timer()]);
        match (Switch::now(), stopped) {
            (Switch::Over, Ok(_)) => {}
            (Switch::Waits, stopped) => {
                let still =
                    || BootstrapError::Unproven(format!("{} is still active after its stop", timer()));
                return Err(self.cannot_be_kept(&stopped.err().unwrap_or_else(still)));
            }
            // Nothing to stop and nothing done: it has run and failed.
            (Switch::Fired, _) | (Switch::Over, Err(_)) => return Err(taken_back("it was too late", lock)),
        }
        if let Err(changed) = self.is_in_force(firewall::listing().as_deref()) {
            firewall::go_back(lock)?;
            let remedy = "find out who it was, and run `gateway bootstrap` again";
            return Err(BootstrapError::refused(format!("{changed}; the old ones are back"), remedy));
        }
        Ok(())
    }

    /// Now, in the clock that `/proc` tells the beginning of processes in: that of one that begins now.
    pub(super) fn now_ticks() -> u64 {
        let stat = machine::hear(&["cat", "/proc/self/stat"]);
        // Unknown is the end of time: then nothing can confirm, and the old rules come back.
        facts::began(&stat).unwrap_or(u64::MAX)
    }

    /// Is this session proof enough? Pure.
    fn proven_by(&self, session: &Session) -> Result<(), BootstrapError> {
        const REMEDY: &str =
            "open a second SSH session from your own machine and run `sudo gateway bootstrap confirm` there";
        let refused = |message: &str| Err(BootstrapError::refused(message, REMEDY));
        let Session::Ssh { peer, began, local, .. } = session else {
            if self.over_ssh {
                return refused("this is no SSH session, so it does not prove that SSH still comes in");
            }
            return Ok(());
        };
        match began {
            None => return refused("nothing shows when this SSH session began"),
            Some(began) if *began <= self.since_ticks => {
                return refused("this SSH session began before the firewall, so it proves nothing");
            }
            Some(_) => {}
        }
        match peer {
            None => refused("nothing shows where this SSH session comes from"),
            Some(peer) if peer.to_canonical().is_loopback() || Some(peer) == local.as_ref() => {
                refused("this SSH session comes from the machine itself, which no firewall stops")
            }
            Some(_) => Ok(()),
        }
    }
}

/// What goes back.
fn timer() -> String {
    format!("{}.timer", places::ROLLBACK)
}

/// What has become of the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    /// The old rules come back by themselves.
    Waits,
    /// Nothing has gone back, and nothing will.
    Over,
    /// The old rules are back, or about to be.
    Fired,
}

impl Switch {
    fn now() -> Self {
        // Not only what ends well: of what is about to be active systemctl speaks with an exit code of its own.
        let is = |unit: &str| machine::ask(&["systemctl", "is-active", unit]).unwrap_or_default().text;
        let (timer, service) = (is(&timer()), is(&format!("{}.service", places::ROLLBACK)));
        // The file last: it is what the service takes away when it has loaded the old rules.
        Self::of(timer.trim(), service.trim(), Path::new(places::ARMED).exists())
    }

    /// By what systemd says of the timer and of what it starts, and whether something is armed. Pure.
    fn of(timer: &str, service: &str, armed: bool) -> Self {
        let under_way = |state: &str| matches!(state, "active" | "activating" | "deactivating" | "reloading");
        match (under_way(timer), under_way(service) || !armed) {
            (_, true) => Self::Fired,
            (true, false) => Self::Waits,
            (false, false) => Self::Over,
        }
    }
}

/// Back to the old rules, and `why`. What was loaded from the disk since goes with it.
fn taken_back(why: &str, lock: &firewall::Lock) -> BootstrapError {
    match firewall::go_back(lock) {
        Ok(()) => {
            let remedy = "`gateway bootstrap` tries again";
            BootstrapError::refused(format!("{why}: the old rules are back"), remedy)
        }
        Err(error) => {
            let message = format!("{why}, and the old rules cannot be loaded again: {error}");
            let remedy = "`nft list table inet gateway` shows what is in force; `nft delete table inet gateway` takes it away";
            BootstrapError::refused(message, remedy)
        }
    }
}

/// The first error is the one to tell. What could not be taken off the disk would be loaded at the next boot.
fn also(error: BootstrapError, put_back: Result<(), BootstrapError>) -> BootstrapError {
    let Err(second) = put_back else { return error };
    let remedy = error.remedy().unwrap_or("`gateway bootstrap` tries again").to_owned();
    let message =
        format!("{error}; and {} holds them until that is mended: {second}", places::FIREWALL_RULES);
    BootstrapError::refused(message, remedy)
}

/// Make the armed firewall last, if this session proves that its operator can come in.
pub(crate) fn confirm() -> Result<(), BootstrapError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(BootstrapError::NotRoot);
    }
    let lock = firewall::lock()?;
    let Some(armed) = Armed::waiting()? else { return Err(missed::Missed::now()?.into()) };
    armed.proven_by(&Session::now())?;
    // Before the timer is touched: until then what somebody else has changed goes away by itself.
    armed.is_in_force(firewall::listing().as_deref())?;
    // Onto the disk while the timer still runs: what cannot be kept goes back by itself.
    let before = firewall::persist(&armed.stored, &lock).map_err(|error| armed.not_kept(&error, &lock))?;
    if let Err(error) = armed.end(&lock) {
        return Err(also(error, before.put_back(&lock)));
    }
    [places::ARMED, places::PREVIOUS].iter().try_for_each(|path| machine::remove(Path::new(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(over_ssh: bool, session: &Session, want: Option<&str>) {
        let stored = Stored { firewall: Default::default(), listing: String::new() };
        let armed = Armed { since_ticks: 1000, until: Timestamp::UNIX_EPOCH, over_ssh, stored };
        let got = armed.proven_by(session).err().map(|error| error.to_string());
        assert_eq!(got.is_some(), want.is_some(), "{session:?} {got:?}");
        assert!(got.unwrap_or_default().contains(want.unwrap_or_default()), "{session:?}");
    }

    #[test]
    fn only_a_new_session_from_outside_is_proof() {
        let ssh = |peer: &str, began| Session::Ssh {
            peer: peer.parse().ok(),
            port: Some(22),
            pid: Some(9),
            began,
            local: "203.0.113.9".parse().ok(),
        };
        check(true, &ssh("198.51.100.7", Some(1001)), None);
        check(true, &ssh("198.51.100.7", Some(1000)), Some("began before"));
        check(true, &ssh("198.51.100.7", None), Some("when this SSH session began"));
        check(true, &ssh("127.0.0.1", Some(1001)), Some("the machine itself"));
        check(true, &ssh("::ffff:127.0.0.1", Some(1001)), Some("the machine itself"));
        check(true, &ssh("203.0.113.9", Some(1001)), Some("the machine itself"));
        check(true, &ssh("nowhere", Some(1001)), Some("where this SSH session comes from"));
        check(true, &Session::Local, Some("no SSH session"));
        check(false, &Session::Local, None);
    }

    #[test]
    fn rules_that_somebody_else_has_changed_are_no_longer_those_that_wait() {
        let stored = Stored { firewall: Default::default(), listing: "a\nb\n".to_owned() };
        let armed = Armed { since_ticks: 1, until: Timestamp::UNIX_EPOCH, over_ssh: true, stored };
        let said = |listing: Option<&str>| armed.is_in_force(listing).err().map(|error| error.to_string());
        assert_eq!(said(Some("a\nb\n")), None);
        assert!(said(Some("a\nb\nc\n")).unwrap().contains("(`c` is new)"));
        assert!(said(None).unwrap().contains("their table is gone"));
    }

    #[test]
    fn a_switch_has_fired_when_what_it_starts_runs_or_nothing_is_armed_any_more() {
        for (timer, service, armed, want) in [
            ("active", "inactive", true, Switch::Waits),
            ("inactive", "inactive", true, Switch::Over),
            ("inactive", "inactive", false, Switch::Fired),
            ("active", "inactive", false, Switch::Fired),
            ("active", "active", true, Switch::Fired),
            ("inactive", "activating", true, Switch::Fired),
            ("", "", true, Switch::Over),
        ] {
            assert_eq!(Switch::of(timer, service, armed), want, "{timer} {service} {armed}");
        }
    }

    #[test]
    fn the_first_error_is_told_though_the_disk_refuses_too() {
        let first = || BootstrapError::refused("it was too late", "try again");
        let disk = || BootstrapError::Unproven("read-only".to_owned());
        assert_eq!(also(first(), Ok(())).to_string(), "it was too late");
        let both = also(first(), Err(disk()));
        assert!(
            both.to_string().starts_with("it was too late; and /etc/gateway/firewall.nft holds them"),
            "{both}"
        );
        assert!(both.to_string().ends_with("read-only"), "{both}");
        assert_eq!(both.remedy(), Some("try again"));
    }
}

//! Why nothing waits to be confirmed: it is done, it was too late, or nothing was armed. Each has another remedy.

use jiff::Timestamp;

use super::{
    super::{
        BootstrapError, firewall,
        journal::{Journal, Made},
        machine, places,
    },
    Armed, Switch,
};

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    /// The timer has run.
    WentBack(Timestamp),
    /// It runs just now.
    GoesBack(Timestamp),
    /// It runs no more, and nothing has gone back.
    Stopped(Timestamp),
    /// What lasts is in force.
    Confirmed,
    /// It was there, and is nowhere now.
    Gone,
    /// There was none.
    Never,
}

impl Missed {
    /// On this machine.
    pub(super) fn now() -> Result<Self, BootstrapError> {
        // What is not legible was there all the same, and tells no time.
        let until = |path: &str| match machine::record::<Armed>(path) {
            Ok(armed) => armed.map(|armed| armed.until),
            Err(_) => Some(Timestamp::now()),
        };
        if let Some(until) = until(places::ARMED) {
            let fired = Switch::now() == Switch::Fired;
            return Ok(if fired { Self::GoesBack(until) } else { Self::Stopped(until) });
        }
        if let Some(until) = until(places::GONE_BACK) {
            return Ok(Self::WentBack(until));
        }
        if firewall::stored()?.is_some() {
            return Ok(Self::Confirmed);
        }
        let made = Journal::read()?.made.contains(&Made::Firewall);
        Ok(if made { Self::Gone } else { Self::Never })
    }
}

impl From<Missed> for BootstrapError {
    fn from(missed: Missed) -> Self {
        const AGAIN: &str = "give the order again (`gateway bootstrap`, `gateway cutover`), with a second SSH session at hand; \
                             `--confirm-within 10m` leaves more time";
        let (message, remedy) = match missed {
            Missed::WentBack(until) => (
                format!("nobody has confirmed the firewall by {until:.0}: the old rules came back by themselves"),
                AGAIN,
            ),
            Missed::GoesBack(until) => (
                format!("nobody has confirmed the firewall by {until:.0}: the old rules are coming back just now"),
                AGAIN,
            ),
            Missed::Stopped(until) => (
                format!(
                    "the firewall that was armed until {until:.0} waits for nothing any more: its timer was stopped, or could not \
                     load the old rules"
                ),
                "`journalctl -u gateway-firewall-rollback` says which; `gateway bootstrap` arms it anew",
            ),
            Missed::Confirmed => (
                "no firewall waits to be confirmed: the one that lasts was confirmed already".to_owned(),
                "`gateway firewall status` shows whether it is in force",
            ),
            Missed::Gone => (
                "no firewall waits to be confirmed: one was armed, and a new start of the machine or `gateway cutover back` has \
                 taken it back since"
                    .to_owned(),
                AGAIN,
            ),
            Missed::Never => (
                "no firewall waits to be confirmed: none has been armed here".to_owned(),
                "`gateway bootstrap` builds one; what ufw or firewalld opens needs no confirmation",
            ),
        };
        Self::refused(message, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_nothing_to_confirm_is_told_why() {
        let at = Timestamp::UNIX_EPOCH;
        for (missed, why, remedy) in [
            (Missed::WentBack(at), "by 1970-01-01T00:00:00Z: the old rules came back", "--confirm-within"),
            (Missed::GoesBack(at), "are coming back just now", "second SSH session"),
            (Missed::Stopped(at), "its timer was stopped", "journalctl"),
            (Missed::Confirmed, "confirmed already", "firewall status"),
            (Missed::Gone, "a new start of the machine", "second SSH session"),
            (Missed::Never, "none has been armed", "builds one"),
        ] {
            let error = BootstrapError::from(missed);
            assert!(error.to_string().contains(why), "{error}");
            assert!(error.remedy().unwrap().contains(remedy), "{error:?}");
        }
    }
}

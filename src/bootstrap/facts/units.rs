//! Units as systemd has them. Pure but for the question to systemd.

use serde::Serialize;

use crate::bootstrap::machine;

/// A unit as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct UnitFact {
    /// Known to systemd.
    pub(crate) exists: bool,
    /// Started at boot.
    pub(crate) enabled: bool,
    /// Running, or listening; one that systemd starts again and again is neither.
    pub(crate) active: bool,
}

/// As it is now.
pub(super) fn unit(name: &str) -> UnitFact {
    let properties = "--property=LoadState,UnitFileState,ActiveState,SubState,NRestarts";
    unit_fact(&machine::hear(&["systemctl", "show", properties, name]))
}

fn unit_fact(text: &str) -> UnitFact {
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
    };
    // Between two tries it is `auto-restart`, and while it tries again the first has been counted.
    let again = value("SubState").starts_with("auto-restart") || !matches!(value("NRestarts"), "" | "0");
    let active = match value("ActiveState") {
        "activating" => !again,
        state => matches!(state, "active" | "reloading"),
    };
    UnitFact { exists: value("LoadState") == "loaded", enabled: value("UnitFileState") == "enabled", active }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_what_systemd_says() {
        let on = UnitFact { exists: true, enabled: true, active: true };
        assert_eq!(unit_fact("LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n"), on);
        assert_eq!(
            unit_fact("LoadState=not-found\nActiveState=inactive\nUnitFileState=\n"),
            UnitFact::default()
        );
    }

    #[test]
    fn one_that_is_started_again_and_again_does_not_run() {
        let check = |state: &str, sub: &str, restarts: &str, active: bool| {
            let text = format!("ActiveState={state}\nSubState={sub}\nNRestarts={restarts}\n");
            assert_eq!(unit_fact(&text).active, active, "{text}");
        };
        check("activating", "start", "0", true);
        check("activating", "auto-restart", "0", false);
        check("activating", "auto-restart-queued", "3", false);
        check("activating", "start", "3", false);
        // It was killed three times, and runs.
        check("active", "running", "3", true);
        check("reloading", "reload", "3", true);
        check("failed", "failed", "3", false);
    }
}

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
    /// Running, or listening.
    pub(crate) active: bool,
}

/// As it is now.
pub(super) fn unit(name: &str) -> UnitFact {
    let text = machine::hear(&["systemctl", "show", "--property=LoadState,UnitFileState,ActiveState", name]);
    unit_fact(&text)
}

fn unit_fact(text: &str) -> UnitFact {
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
    };
    UnitFact {
        exists: value("LoadState") == "loaded",
        enabled: value("UnitFileState") == "enabled",
        active: matches!(value("ActiveState"), "active" | "activating" | "reloading"),
    }
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
}

//! Units that were switched on go off again: systemd's word is not enough, they must be off afterwards. One whose file is gone
//! is off.

use super::super::{BootstrapError, machine};

/// As it was before: not at boot, and not now.
pub(super) fn take_back(name: &str, enabled: bool, active: bool) -> Result<(), BootstrapError> {
    // What these say of a unit that is off they say with a failure.
    let is = |verb| machine::ask(&["systemctl", verb, name]).map(|said| said.text.trim().to_owned());
    if !enabled {
        let said = machine::order(&["systemctl", "disable", name]);
        proven_off(name, &is("is-enabled")?, said)?;
    }
    if !active {
        let said = machine::order_units(&["systemctl", "stop", name]);
        proven_off(name, &is("is-active")?, said)?;
    }
    Ok(())
}

/// What was `said` to the order counts where the unit is still on.
fn proven_off(name: &str, state: &str, said: Result<String, BootstrapError>) -> Result<(), BootstrapError> {
    const ON: [&str; 6] = ["enabled", "enabled-runtime", "active", "activating", "reloading", "deactivating"];
    if !ON.contains(&state) {
        return Ok(());
    }
    said?;
    Err(BootstrapError::refused(
        format!("{name} is still {state}"),
        format!("`systemctl status {name}` says why; `gateway bootstrap --undo` goes on here"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_taken_back_when_it_is_off_whatever_was_said() {
        let check = |state: &str, fails: bool, want: Option<&str>| {
            let said = match fails {
                true => Err(BootstrapError::Unproven("not loaded".to_owned())),
                false => Ok(String::new()),
            };
            let outcome = proven_off("a.service", state, said).err().map(|error| error.to_string());
            assert_eq!(outcome.as_deref(), want, "{state}");
        };
        check("inactive", false, None);
        check("failed", false, None);
        check("disabled", false, None);
        // Its file is gone.
        check("inactive", true, None);
        check("", true, None);
        check("active", true, Some("not loaded"));
        check("deactivating", false, Some("a.service is still deactivating"));
        check("enabled", false, Some("a.service is still enabled"));
    }
}

//! Units that are switched on, and those that begin anew: systemd's word is not enough, they must be active afterwards.

use std::path::{Path, PathBuf};

use super::super::{
    BootstrapError,
    journal::{Journal, Made},
    machine, places,
};

/// On, now and at boot.
pub(super) fn enable(journal: &mut Journal, units: &[&'static str]) -> Result<(), BootstrapError> {
    // systemd makes these at the first start.
    let missing = |path: &&str| !Path::new(path).exists();
    let made: Vec<PathBuf> =
        [places::STATE, places::LOGS].into_iter().filter(|path| missing(path)).map(PathBuf::from).collect();
    if !made.is_empty() {
        journal.record(Made::Directories(made))?;
    }
    // What was written for it comes into force with its start.
    let mut begins = false;
    for unit in units {
        let is = |verb| machine::hear(&["systemctl", verb, unit]).trim().to_owned();
        let (enabled, active) = (is("is-enabled") == "enabled", is("is-active") == "active");
        begins |= *unit == "gateway.service" && !active;
        journal.record(Made::Unit { name: (*unit).to_owned(), enabled, active })?;
    }
    for unit in units {
        if let Err(error) = machine::order_units(&["systemctl", "enable", "--now", unit]) {
            let said =
                machine::hear(&["journalctl", "--no-pager", "-q", "-n", "12", "-o", "cat", "-u", unit]);
            return Err(BootstrapError::Unproven(format!("{error}\n{}", said.trim_end())));
        }
        proven_active(unit)?;
    }
    if begins { journal.started() } else { Ok(()) }
}

/// In one transaction: systemd stops the service before its socket, and starts it after. A socket that moves needs two: through a
/// restart systemd keeps the listeners that the gateway has bound itself, and the socket may be about to take their place.
pub(super) fn restart(units: &[&'static str]) -> Result<(), BootstrapError> {
    let order = |verb: &str| machine::order_units(&[&["systemctl", verb], units].concat()).map(drop);
    if units.iter().any(|unit| unit.ends_with(".socket")) {
        stopped_and_started(order)?;
    } else {
        order("restart")?;
    }
    units.iter().try_for_each(|unit| proven_active(unit))
}

/// Whatever the stop says: what has been stopped in part must not stay so. The first error is the one to tell.
fn stopped_and_started(
    mut order: impl FnMut(&str) -> Result<(), BootstrapError>,
) -> Result<(), BootstrapError> {
    let stopped = order("stop");
    let started = order("start");
    stopped.and(started)
}

fn proven_active(unit: &str) -> Result<(), BootstrapError> {
    let state = machine::ask(&["systemctl", "is-active", unit])?;
    if state.text.trim() == "active" {
        return Ok(());
    }
    Err(BootstrapError::refused(
        format!("{unit} is {} after its start", state.text.trim()),
        format!("`journalctl -u {unit}` says why"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_moves_is_started_whatever_its_stop_says() {
        let check = |failing: &[&str], want: Result<(), &str>| {
            let mut given = Vec::new();
            let outcome = stopped_and_started(|verb| {
                given.push(verb.to_owned());
                match failing.contains(&verb) {
                    true => Err(BootstrapError::Unproven(format!("{verb} failed"))),
                    false => Ok(()),
                }
            });
            assert_eq!(given, ["stop", "start"]);
            assert_eq!(outcome.map_err(|error| error.to_string()), want.map_err(str::to_owned));
        };
        check(&[], Ok(()));
        check(&["stop"], Err("stop failed"));
        check(&["start"], Err("start failed"));
        check(&["stop", "start"], Err("stop failed"));
    }

    #[test]
    fn an_order_to_units_is_waited_for_as_long_as_systemd_gives_them() {
        let service = include_str!("../../../systemd/gateway.service");
        let seconds = |key: &str| {
            let value = service.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            value.unwrap().parse::<u64>().unwrap()
        };
        // Stopping takes its time twice: once to ask, and once to kill.
        let longest = 2 * seconds("TimeoutStopSec") + seconds("TimeoutStartSec");
        assert!(machine::UNITS_TIMEOUT.as_secs() > longest, "{longest}");
    }
}

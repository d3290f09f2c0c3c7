//! Back from a cut-over, and back to the rules from before: both are the safe way, so both are always open, and need no
//! confirmation.

use std::path::Path;

use super::{
    super::{
        BootstrapError,
        confirm::Armed,
        machine, places,
        ruleset::{self, Firewall},
    },
    Lock, Stored, bare, disk, load, lock, persist, stored,
};

/// Lead nobody anywhere else any more: not by what lasts, not by what waits to be confirmed, and not by what that would go
/// back to.
pub(crate) fn back() -> Result<(), BootstrapError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(BootstrapError::NotRoot);
    }
    let lock = lock()?;
    let lasting = stored();
    let Some(armed) = Armed::waiting()? else {
        let Some(Stored { firewall, .. }) = lasting? else {
            let remedy = "`gateway firewall status` shows what is in force";
            return Err(BootstrapError::refused("nobody is led anywhere: there was no cut-over", remedy));
        };
        let firewall = leading_nobody(firewall);
        let listing = load(&firewall)?;
        return persist(&Stored { firewall, listing }, &lock).map(drop).map_err(|error| until_boot(&error));
    };
    let previous = Path::new(places::PREVIOUS);
    machine::write(previous, ruleset::without_leading(&machine::text(previous)).as_bytes(), 0o600)?;
    let before = match &lasting {
        Ok(Some(stored)) => stored.firewall.clone(),
        // Of what cannot be read nothing is said before the end: nobody is kept from going back by it.
        Ok(None) | Err(_) => bare(),
    };
    if waits_for_the_cut_over_alone(&armed.stored.firewall, &before) {
        go_back(&lock)?;
    } else {
        let firewall = leading_nobody(armed.stored.firewall.clone());
        let listing = load(&firewall)?;
        Armed { stored: Stored { firewall, listing }, ..armed }.write()?;
        if Armed::waiting()?.is_none() {
            // The timer ran meanwhile, and what was loaded after it waits for nothing.
            go_back(&lock)?;
        }
    }
    // The disk comes last: one that cannot be written keeps nobody from going back.
    let Some(Stored { firewall, listing }) = lasting?.filter(|stored| !stored.firewall.led.is_empty()) else {
        return Ok(());
    };
    let listing = ruleset::steady(&ruleset::without_leading(&listing));
    disk::write(&Stored { firewall: leading_nobody(firewall), listing }, &lock)
        .map_err(|error| until_boot(&error))
}

/// Nobody is led any more, and that is not on disk.
fn until_boot(error: &BootstrapError) -> BootstrapError {
    let message = format!(
        "new connections go where they went before, but only until the next boot, since that cannot be kept: {error}"
    );
    BootstrapError::refused(message, "mend that (`df /etc`, `mount`), and give the order again")
}

/// The old rules, now: what the timer would do later.
pub(in crate::bootstrap) fn go_back(_lock: &Lock) -> Result<(), BootstrapError> {
    // Whatever that says: at worst they are loaded twice.
    // What it has started must not load them once more, when somebody else has changed them by then.
    let [timer, service] = ["timer", "service"].map(|kind| format!("{}.{kind}", places::ROLLBACK));
    let _unknown = machine::ask(&["systemctl", "stop", &timer, &service]);
    machine::order(&["nft", "-f", places::PREVIOUS])?;
    machine::remove(Path::new(places::ARMED))?;
    machine::remove(Path::new(places::PREVIOUS))
}

/// Those that are open stay where they are.
fn leading_nobody(mut firewall: Firewall) -> Firewall {
    firewall.led.clear();
    firewall
}

/// Is nothing else new? Then going back from the cut-over leaves nothing to be confirmed.
fn waits_for_the_cut_over_alone(armed: &Firewall, before: &Firewall) -> bool {
    let rest = |firewall: &Firewall| Firewall { was_led: false, ..leading_nobody(firewall.clone()) };
    rest(armed) == rest(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_over_with_something_else_leaves_that_to_be_confirmed() {
        let full = Firewall { ssh: [22].into(), edge: [80, 443].into(), ..Firewall::default() };
        let led = |of: &Firewall| Firewall { led: [(443, 8443)].into(), was_led: true, ..of.clone() };
        assert!(waits_for_the_cut_over_alone(&led(&full), &full));
        assert!(waits_for_the_cut_over_alone(&led(&bare()), &bare()));
        assert!(waits_for_the_cut_over_alone(&full, &led(&full)));
        assert!(!waits_for_the_cut_over_alone(&led(&full), &bare()), "the filter is new too");
        let more = Firewall { ssh: [22, 2222].into(), ..full.clone() };
        assert!(!waits_for_the_cut_over_alone(&led(&more), &full));
    }
}

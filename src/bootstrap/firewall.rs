//! Our firewall on this machine: what it is, what it shall be, changing it, and arming it. Rules reach the disk only
//! when they are known to let their operator in. One order at a time changes it: the others wait for its lock.

mod back;
mod change;
mod cut_over;
mod disk;
mod lock;
mod theirs;

use std::{collections::BTreeSet, path::Path, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::change::{Caller, Found};
pub(crate) use self::{
    back::back,
    change::{Change, Changed},
    cut_over::cut_over,
};
pub(super) use self::{
    back::go_back,
    disk::persist,
    lock::{Lock, lock},
};
use super::{
    BootstrapError, Session,
    confirm::Armed,
    facts::Ssh,
    machine, places,
    ruleset::{self, Firewall},
};

/// What is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// What shall be.
    pub(super) firewall: Firewall,
    /// How nft listed it when it was loaded: what is listed later must be the same.
    pub(super) listing: String,
}

/// What is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Live {
    /// Is our table there?
    pub(crate) table: bool,
    /// What was made to last.
    pub(crate) stored: Option<Firewall>,
    /// Is the table what was made to last?
    pub(crate) same: bool,
    /// Does what is loaded at boot say the same as what is of record?
    pub(crate) at_boot: bool,
    /// A firewall that waits to be confirmed.
    pub(crate) armed: Option<Armed>,
    /// Why what is of record cannot be read: then nothing is known of it, and it is not "none".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) damage: Option<Damage>,
}

/// Something of record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Damage {
    /// What, and why.
    pub(crate) what: String,
    /// What to do.
    pub(crate) remedy: String,
}

/// Nothing is filtered.
fn bare() -> Firewall {
    Firewall { bare: true, ..Firewall::default() }
}

/// What is in force now.
pub(crate) fn live() -> Live {
    let (listing, stored, armed) = (listing(), stored(), Armed::waiting());
    let error = stored.as_ref().err().or(armed.as_ref().err());
    let damage = error.map(|error| Damage {
        what: error.to_string(),
        remedy: error.remedy().unwrap_or_default().to_owned(),
    });
    let stored = stored.ok().flatten();
    Live {
        table: listing.is_some(),
        same: stored.as_ref().is_some_and(|stored| Some(&stored.listing) == listing.as_ref()),
        at_boot: stored.as_ref().is_some_and(disk::is_loaded_at_boot),
        stored: stored.map(|stored| stored.firewall),
        armed: armed.ok().flatten(),
        damage,
    }
}

/// What lasts, for whoever is about to change it.
pub(super) fn lasting(_lock: &Lock) -> Result<Option<Firewall>, BootstrapError> {
    Ok(stored()?.map(|stored| stored.firewall))
}

pub(super) fn stored() -> Result<Option<Stored>, BootstrapError> {
    machine::record(places::FIREWALL_STATE).map_err(|why| {
        let message = format!("the firewall of record, `{}`, cannot be read: {why}", places::FIREWALL_STATE);
        let remedy = format!(
            "the rules beside it, `{}`, are loaded at boot all the same: put the file back from a backup; or move it away, run \
             `gateway bootstrap`, and `gateway firewall allow` what the rules show besides",
            places::FIREWALL_RULES
        );
        BootstrapError::refused(message, remedy)
    })
}

/// Whoever changes what lasts would lose it, if that went back to the rules from before by itself.
pub(super) fn unarmed(_lock: &Lock) -> Result<(), BootstrapError> {
    if Armed::waiting()?.is_none() {
        return Ok(());
    }
    Err(BootstrapError::refused(
        "a firewall waits to be confirmed",
        "open a second SSH session and run `sudo gateway bootstrap confirm` first, or wait until it has gone back",
    ))
}

/// Our table as nft lists it, without what comes and goes.
pub(super) fn listing() -> Option<String> {
    let said = machine::ask(&["nft", "-s", "list", "table", "inet", "gateway"]).ok()?;
    said.good.then(|| ruleset::steady(&said.text))
}

/// Load rules in one transaction, tried before; gives how nft lists them.
fn load(firewall: &Firewall) -> Result<String, BootstrapError> {
    let rules = ruleset::text(firewall);
    machine::order_with(&["nft", "-c", "-f", "-"], &rules)?;
    machine::order_with(&["nft", "-f", "-"], &rules)?;
    listing().ok_or_else(|| BootstrapError::Unproven("nft took the rules and lists no table".to_owned()))
}

/// Load rules that go away again by themselves, unless they are confirmed.
pub(super) fn arm(
    firewall: &Firewall,
    within: Duration,
    session: &Session,
    lock: &Lock,
) -> Result<Armed, BootstrapError> {
    unarmed(lock)?;
    keep_previous(firewall)?;
    machine::remove(Path::new(places::GONE_BACK))?;
    set_timer(within)?;
    let listing = match load(firewall) {
        Ok(listing) => listing,
        Err(error) => {
            // The first error is the one to tell: a timer that goes on loads what is in force.
            let _stopped = machine::ask(&["systemctl", "stop", &format!("{}.timer", places::ROLLBACK)]);
            return Err(error);
        }
    };
    let armed = Armed {
        since_ticks: Armed::now_ticks(),
        until: Timestamp::now() + within,
        over_ssh: matches!(session, Session::Ssh { .. }),
        stored: Stored { firewall: firewall.clone(), listing },
    };
    armed.write()?;
    if Armed::waiting()?.is_none() {
        // The timer has run meanwhile: what was loaded after it waits for nothing.
        go_back(lock)?;
        return Err(BootstrapError::refused(
            format!(
                "the rules took longer to load than the {} s after which they go back: the old ones are back",
                within.as_secs()
            ),
            "give the order again, with more time: `--confirm-within 10m`",
        ));
    }
    Ok(armed)
}

/// Write down the rules to go back to, and try them: what cannot be loaded again is nothing to go back to.
fn keep_previous(next: &Firewall) -> Result<(), BootstrapError> {
    let before = match (stored()?, listing()) {
        (_, None) => String::new(),
        (Some(stored), Some(live)) if stored.listing == live => {
            // Without its own beginning, which stands before it already.
            ruleset::text(&stored.firewall)
        }
        (_, Some(live)) => live,
    };
    // What was led meanwhile stays where it is.
    let open = if next.was_led { ruleset::leading_nobody() } else { String::new() };
    let previous = format!("{}{before}{open}", ruleset::GONE);
    machine::write(Path::new(places::PREVIOUS), previous.as_bytes(), 0o600)?;
    machine::order(&["nft", "-c", "-f", places::PREVIOUS]).map(drop).map_err(|error| {
        let remedy = "look at `nft list table inet gateway`, and take it away if nobody needs it: \
                      `nft delete table inet gateway`";
        let message = format!(
            "the rules that are in force could not be loaded again, so nothing could go back to them: {error}"
        );
        BootstrapError::refused(message, remedy)
    })
}

/// From here on, whatever happens to this process, the old rules come back.
fn set_timer(within: Duration) -> Result<(), BootstrapError> {
    let nft = machine::program("nft").unwrap_or_default();
    // Who confirms too late is told so by what it leaves.
    let back =
        format!("{} -f {} && mv -f {} {}", nft.display(), places::PREVIOUS, places::ARMED, places::GONE_BACK);
    let after = format!("--on-active={}s", within.as_secs().max(1));
    let unit = format!("--unit={}", places::ROLLBACK);
    machine::ask(&["systemctl", "reset-failed", &format!("{}.service", places::ROLLBACK)])?;
    machine::order(&[
        "systemd-run",
        "--quiet",
        "--collect",
        &unit,
        &after,
        "--timer-property=AccuracySec=100ms",
        "--property=DefaultDependencies=no",
        "/bin/sh",
        "-c",
        &back,
    ])
    .map(drop)
}

/// Load and make last at once: where there is nobody to cut off, or nobody can be.
/// What cannot be made to last is taken back.
pub(super) fn settle(firewall: Firewall, lock: &Lock) -> Result<(), BootstrapError> {
    unarmed(lock)?;
    let before = stored()?;
    let listing = load(&firewall)?;
    let Err(error) = persist(&Stored { firewall, listing }, lock) else { return Ok(()) };
    let undone = match before {
        Some(before) => load(&before.firewall),
        None => machine::order_with(&["nft", "-f", "-"], ruleset::GONE),
    };
    let is = if undone.is_ok() {
        "the rules are as they were"
    } else {
        "the rules are in force until the next boot"
    };
    let remedy = "mend that (`df /etc`, `mount`), and give the order again";
    Err(BootstrapError::refused(format!("what was ordered cannot be made to last, so {is}: {error}"), remedy))
}

/// Let the firewall that lasts follow the listeners, and mend it; `None` where there is nothing to do, or none that lasts.
pub(crate) fn follow(edge: Option<BTreeSet<u16>>) -> Result<Option<Firewall>, BootstrapError> {
    if !nix::unistd::geteuid().is_root() || !Path::new(places::FIREWALL_STATE).exists() {
        return Ok(None);
    }
    let lock = lock()?;
    let (None, Some(stored)) = (Armed::waiting()?, stored()?) else { return Ok(None) };
    let sound = listing().as_ref() == Some(&stored.listing);
    let wanted =
        Change::Follow(edge).to(stored.firewall.clone(), &Caller::AtMachine, &Found::now(&Ssh::now()))?;
    if sound && wanted == stored.firewall {
        return Ok(None);
    }
    settle(wanted.clone(), &lock)?;
    Ok(Some(wanted))
}

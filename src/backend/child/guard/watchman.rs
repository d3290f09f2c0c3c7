//! The guard itself, `gateway worker-guard`: it waits for the gateway's end, gives the workers a moment to hear of it
//! (their channel has ended with it, and Node says `disconnect`), then ends them and all that they have started. It
//! must never signal a group that has been taken off the list, nor write to its standard output, which is the lifeline.

use std::{
    collections::BTreeMap,
    io::{self, BufRead},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{SigSet, Signal, killpg},
    },
    unistd::{Pid, setsid},
};

use super::{
    super::{
        super::{LOOK_EVERY, process_group},
        strays::Strays,
    },
    ALONE, NAME, command,
};

/// From a gateway's end to its workers': time to write down what must not be lost, and short enough that no worker is
/// in the way of the next gateway.
const DISCONNECT_GRACE: Duration = Duration::from_secs(1);

/// How often halted processes are looked through for others that they have started just before. Once is the rule.
const ROUNDS_MAX: usize = 16;

/// What asks a service to end; this one ends after its gateway.
const DEAF_TO: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

/// The list: what is to be ended, by the group's id.
type Groups = BTreeMap<i32, Group>;

/// One group.
#[derive(Debug, Default)]
struct Group {
    /// What it has started outside of it.
    strays: Strays,
    /// Nobody was left in it: it is not signalled again, since the id may be given to somebody else.
    empty: bool,
}

/// What `gateway worker-guard` does: start itself once more and leave that alone, then wait for the gateway's end.
pub(crate) fn worker_guard(alone: bool) -> io::Result<()> {
    if !alone {
        let mut second = command(Path::new("/proc/self/exe"));
        return second.arg(ALONE).stdin(Stdio::inherit()).spawn().map(drop);
    }
    let name = std::ffi::CString::new(NAME)?;
    prctl::set_name(&name)?;
    // Not the terminal's, if the gateway has one.
    setsid()?;
    DEAF_TO.into_iter().collect::<SigSet>().thread_block()?;
    let mut groups = Groups::new();
    for line in io::stdin().lock().lines() {
        // A pipe that cannot be read has ended as well.
        let Ok(line) = line else { break };
        note(&mut groups, &line);
    }
    end(groups);
    Ok(())
}

fn note(groups: &mut Groups, line: &str) {
    let group = line.get(1..).and_then(|rest| rest.parse().ok()).filter(|group| *group > 1);
    match (line.as_bytes().first(), group) {
        (Some(b'+'), Some(group)) => drop(groups.insert(group, Group::default())),
        (Some(b'-'), Some(group)) => drop(groups.remove(&group)),
        _ => {}
    }
}

fn end(mut groups: Groups) {
    let deadline = Instant::now() + DISCONNECT_GRACE;
    loop {
        // While their parents live they can be found.
        look(&mut groups);
        for (id, group) in &mut groups {
            group.empty |= killpg(Pid::from_raw(*id), None) == Err(Errno::ESRCH);
        }
        let over = groups.values().all(|group| group.empty && group.strays.have_ended());
        if over || Instant::now() >= deadline {
            break;
        }
        thread::sleep(LOOK_EVERY);
    }
    for _ in 0..ROUNDS_MAX {
        signal(&groups, Signal::SIGSTOP, Strays::halt);
        if !look(&mut groups) {
            break;
        }
    }
    signal(&groups, Signal::SIGKILL, Strays::kill);
}

fn signal(groups: &Groups, signal: Signal, strays: fn(&Strays)) {
    for (id, group) in groups {
        if !group.empty {
            // It fails when nobody is left.
            let _ = killpg(Pid::from_raw(*id), signal);
        }
        strays(&group.strays);
    }
}

/// Find what they have started; was there anything new?
fn look(groups: &mut Groups) -> bool {
    let all = process_group::all();
    let mut found = false;
    for (id, group) in groups {
        let id = id.unsigned_abs();
        let members =
            all.iter().filter(|seen| seen.group == id && !group.empty).map(|seen| seen.pid).collect();
        found |= group.strays.look(id, members);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_what_was_told_and_never_everybody() {
        let mut groups = Groups::new();
        for line in ["+17", "+18", "-17", "+0", "+1", "+-1", "-", "", "+x", "19"] {
            note(&mut groups, line);
        }
        assert_eq!(groups.into_keys().collect::<Vec<_>>(), [18]);
    }
}

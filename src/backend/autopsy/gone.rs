//! The same facts about a worker that has ended: `/proc` knows it no more, but what it was started from does. It must
//! never run the application once more.

use std::path::{Path, PathBuf};

use nix::unistd::{getegid, geteuid, getgroups};

use super::{
    super::{account, child::Program, generation::Generation},
    Identity, NAMED_MAX, refused, unreadable, version,
};

/// The facts about a worker of this generation that was started as this and has ended, each a line. `executed` is the
/// file behind the program's name, `written` what it wrote last.
pub(in crate::backend) async fn facts_of_gone(
    generation: &Generation,
    started: &Program,
    executed: Option<&Path>,
    written: &[String],
) -> Vec<String> {
    let directory = generation.directory.clone();
    let identity = identity_of(generation);
    let mut facts = vec![
        format!("directory: {}", directory.display()),
        format!("user: {} (uid {})", account::name_of(identity.uid), identity.uid),
    ];
    let place = directory.clone();
    let hidden = tokio::task::spawn_blocking(move || unreadable(&place, &identity)).await.unwrap_or_default();
    facts.extend(named(&hidden));
    facts.extend(refused(started, written).await);
    if let Some(program) = executed {
        let version = version(program, started).await.map(|version| format!(", {version}"));
        facts.push(format!("program: {}{}", program.display(), version.unwrap_or_default()));
    }
    facts
}

/// Whom its workers become; without a word about it they are what we are, less what the launcher takes.
fn identity_of(generation: &Generation) -> Identity {
    match &generation.identity {
        Some(of) => {
            let gids = of.groups.iter().copied().chain([of.gid]).collect();
            Identity { uid: of.uid, gids, mighty: false }
        }
        None => {
            let groups = getgroups().unwrap_or_default();
            let gids = groups.into_iter().chain([getegid()]).map(|gid| gid.as_raw()).collect();
            Identity { uid: geteuid().as_raw(), gids, mighty: false }
        }
    }
}

fn named(hidden: &[PathBuf]) -> Option<String> {
    let more = if hidden.len() > NAMED_MAX { " and more" } else { "" };
    let name = |path: &PathBuf| Path::display(path).to_string();
    let named: Vec<_> = hidden.iter().take(NAMED_MAX).map(name).collect();
    (!named.is_empty()).then(|| format!("it cannot read: {}{more}", named.join(", ")))
}

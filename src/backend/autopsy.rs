//! What else to know about a worker that did not get ready, on one screen: who it is, where it runs, which Node, and
//! which files it cannot read. Read from `/proc` and the disk, only to explain: it must never decide anything.

mod gone;
mod refused;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::unistd::{Uid, User};
use tokio::io::AsyncReadExt;

use super::{
    child::{Child, Program},
    environment::Environment,
    visitor::Visitor,
};

pub(super) use self::gone::facts_of_gone;
use self::refused::refused;

/// Entries of the directory that are looked at: an application's own files, not its dependencies.
const ENTRIES_MAX: usize = 5000;

/// Unreadable files that are named.
const NAMED_MAX: usize = 5;

/// Node says its version in a few dozen milliseconds.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);

/// A version has ten; what only has the name may say anything.
const VERSION_BYTES_MAX: u64 = 256;

/// Who a process is, as far as files are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    uid: u32,
    /// All of its groups.
    gids: Vec<u32>,
    /// It may read whatever it likes.
    mighty: bool,
}

/// The facts about a running worker that was started as this and has written these lines, each a line.
pub(super) async fn facts(pid: u32, started: &Program, written: &[String]) -> Vec<String> {
    let place = started.confinement.directory.clone();
    let looked = tokio::task::spawn_blocking(move || look(pid, &place)).await;
    let (mut facts, found) = looked.unwrap_or_default();
    facts.extend(refused(started, written).await);
    facts.extend(sandbox(started));
    if let Some(found) = found {
        let version = version(&found, started).await.map(|version| format!(", {version}"));
        facts.push(format!("program: {}{}", found.display(), version.unwrap_or_default()));
    }
    facts
}

/// What the sandbox keeps from it that its user may have.
fn sandbox(started: &Program) -> Option<String> {
    let (directory, rules) = (&started.confinement.directory, started.confinement.rules.as_ref()?);
    let visitor = Visitor::of(started.confinement.identity.as_ref());
    let hidden = rules.hidden.iter().filter(|path| path.starts_with(directory));
    let inside = hidden.map(|path| path.display().to_string()).next();
    let seen = match inside.filter(|_| rules.lists_one_by_one(directory, &visitor)) {
        Some(inside) => format!(
            "; {inside} lies in its directory and is hidden: of what is made or replaced beside it later, nothing is seen"
        ),
        None => String::new(),
    };
    Some(format!("sandbox: it sees its own files only, and what `allow_read` and `allow_write` add{seen}"))
}

fn look(pid: u32, directory: &Path) -> (Vec<String>, Option<PathBuf>) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut facts = vec![format!("directory: {}", directory.display())];
    if let Some(identity) = Identity::read(&status) {
        let name = User::from_uid(Uid::from_raw(identity.uid)).ok().flatten().map(|user| user.name);
        facts.push(format!("user: {} (uid {})", name.as_deref().unwrap_or("without a name"), identity.uid));
        let hidden = unreadable(directory, &identity);
        if !hidden.is_empty() {
            let more = if hidden.len() > NAMED_MAX { " and more" } else { "" };
            let named: Vec<_> =
                hidden.iter().take(NAMED_MAX).map(|path| path.display().to_string()).collect();
            facts.push(format!("it cannot read: {}{more}", named.join(", ")));
        }
    }
    (facts, fs::read_link(format!("/proc/{pid}/exe")).ok())
}

impl Identity {
    /// From `/proc/PID/status`.
    fn read(status: &str) -> Option<Self> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        // Real, effective, saved, and the one for files.
        let last = |name: &str| field(name)?.split_ascii_whitespace().last()?.parse::<u32>().ok();
        let (uid, gid) = (last("Uid:")?, last("Gid:")?);
        let groups = field("Groups:").unwrap_or_default().split_ascii_whitespace();
        let gids = groups.filter_map(|group| group.parse().ok()).chain([gid]).collect();
        let capabilities = field("CapEff:").and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
        // CAP_DAC_OVERRIDE is 1 and CAP_DAC_READ_SEARCH 2 (capabilities(7)).
        Some(Self { uid, gids, mighty: capabilities & 0b110 != 0 })
    }

    /// By the mode alone: a file that an access list opens is named as well.
    fn may_read(&self, mode: u32, uid: u32, gid: u32, directory: bool) -> bool {
        let shift = match (uid == self.uid, self.gids.contains(&gid)) {
            (true, _) => 6,
            (false, true) => 3,
            (false, false) => 0,
        };
        let wanted = if directory { 0o5 } else { 0o4 };
        self.mighty || (mode >> shift) & wanted == wanted
    }
}

/// What it cannot read below this directory; dependencies and what begins with a dot are left out, but for files
/// such as `.env`.
fn unreadable(directory: &Path, identity: &Identity) -> Vec<PathBuf> {
    let (mut hidden, mut open, mut seen) = (Vec::new(), vec![directory.to_owned()], 0);
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            seen += 1;
            if seen > ENTRIES_MAX || hidden.len() > NAMED_MAX {
                return hidden;
            }
            // Not behind links: what they lead to is not the application's.
            let Ok(metadata) = entry.metadata() else { continue };
            let name = entry.file_name();
            let is_directory = metadata.is_dir();
            if is_directory && (name == "node_modules" || name.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            if !(is_directory || metadata.is_file()) {
                continue;
            }
            if !identity.may_read(metadata.mode(), metadata.uid(), metadata.gid(), is_directory) {
                hidden.push(entry.path());
            } else if is_directory {
                open.push(entry.path());
            }
        }
    }
    hidden
}

/// What Node says about itself; none for other programs. What a worker has become is a stranger's program, whatever its
/// name: it is asked as the worker was started, with no more rights, and without the worker's secrets.
async fn version(program: &Path, started: &Program) -> Option<String> {
    program.file_name().filter(|name| *name == "node")?;
    let asked = Program {
        command: vec![program.to_str()?.to_owned(), "--version".to_owned()],
        environment: Environment::new(),
        ..started.clone()
    };
    let mut child = Child::spawn(&asked).await.ok()?;
    let (mut stdout, _) = child.output();
    let mut text = String::new();
    let mut said = stdout.as_mut()?.take(VERSION_BYTES_MAX);
    tokio::time::timeout(VERSION_TIMEOUT, said.read_to_string(&mut text)).await.ok()?.ok()?;
    let text = text.trim();
    (text.starts_with('v') && text.len() < 40).then(|| format!("Node {text}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{
        super::{child::Launcher, confinement::Confinement},
        *,
    };

    const STATUS: &str = "Name:\tnode\nUid:\t1001\t1001\t1001\t1001\nGid:\t1002\t1002\t1002\t1002\nGroups:\t27 1002 \nCapEff:\t0000000000000000\n";

    #[test]
    fn who_a_process_is_stands_in_its_status() {
        let identity = Identity { uid: 1001, gids: vec![27, 1002, 1002], mighty: false };
        assert_eq!(Identity::read(STATUS), Some(identity));
        let root = Identity::read(&STATUS.replace("0000000000000000", "000001ffffffffff")).unwrap();
        assert!(root.mighty);
        assert_eq!(Identity::read(""), None);
    }

    #[test]
    fn the_mode_says_who_may_read() {
        let identity = Identity::read(STATUS).unwrap();
        for (mode, uid, gid, directory, want) in [
            (0o600, 0, 0, false, false),
            (0o600, 1001, 0, false, true),
            (0o040, 0, 27, false, true),
            // The owner's bits hold for the owner, even where others may do more.
            (0o044, 1001, 27, false, false),
            (0o604, 0, 0, false, true),
            (0o704, 0, 0, true, false),
            (0o705, 0, 0, true, true),
        ] {
            assert_eq!(identity.may_read(mode, uid, gid, directory), want, "{mode:o} {uid} {gid}");
        }
    }

    #[test]
    fn files_that_a_worker_cannot_read_are_named_and_dependencies_are_not_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        for (path, mode) in [
            ("a.js", 0o644),
            (".env", 0o600),
            ("deep/secret.json", 0o600),
            ("node_modules/x.js", 0o600),
            (".git/x", 0o600),
        ] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(directory.path().join("deep"), fs::Permissions::from_mode(0o755)).unwrap();
        let stranger = Identity { uid: 4_000_001, gids: vec![4_000_001], mighty: false };
        let mut hidden = unreadable(directory.path(), &stranger);
        hidden.sort();
        assert_eq!(hidden, [".env", "deep/secret.json"].map(|path| directory.path().join(path)));
    }

    #[tokio::test]
    async fn the_facts_name_user_and_program() {
        let directory = tempfile::tempdir().unwrap();
        let started = Program {
            command: Vec::new(),
            confinement: Confinement { directory: directory.path().to_owned(), ..Confinement::default() },
            environment: Environment::new(),
            launcher: Launcher::Direct,
            channel: None,
        };
        let own = facts(std::process::id(), &started, &[]).await;
        assert!(own.iter().any(|fact| fact.starts_with("user: ")), "{own:?}");
        assert!(own.iter().any(|fact| fact.starts_with("program: ")), "{own:?}");
    }
}

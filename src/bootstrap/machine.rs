//! The machine's programs and files: the only place of this room that starts a process or writes a file. Every
//! process has a time limit, an empty standard input and an environment of its own.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;

use super::BootstrapError;

/// Where programs are looked for. Not the caller's own PATH: that of `sudo` or a cron job may lack half of them.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest run of an ordinary program: starting units takes longest.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest run of an order that stops or starts the gateway: longer than systemd itself gives it (`gateway.service`).
pub(super) const UNITS_TIMEOUT: Duration = Duration::from_secs(330);
/// Longest run of the package manager, which downloads, once nobody else is at work (300 s, `APT`).
const PACKAGES_TIMEOUT: Duration = Duration::from_secs(900);
/// It waits for the lock: on a server that is just booted, cloud-init and the daily timers are at work.
const APT: [&str; 3] = ["apt-get", "-o", "DPkg::Lock::Timeout=300"];
/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(5);
/// Longest output kept.
const OUTPUT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Lines that a program has said and nobody has told yet.
const LINES_WAITING_MAX: usize = 64;

/// What a program said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Did it end with 0?
    pub(super) good: bool,
    /// Its standard output.
    pub(super) text: String,
    /// Its standard error.
    pub(super) complaint: String,
}

/// Where a program is, if it is there.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    PATH.split(':').map(|directory| Path::new(directory).join(name)).find(|path| {
        fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
    })
}

/// Run a program and take what it says, whether it ends well or not.
pub(super) fn ask(command: &[&str]) -> Result<Said, BootstrapError> {
    run(command, &[], "", PROGRAM_TIMEOUT)
}

/// What a program says, or nothing where it is missing or fails: for facts that may not be there.
pub(super) fn hear(command: &[&str]) -> String {
    ask(command).ok().filter(|said| said.good).map(|said| said.text).unwrap_or_default()
}

/// Run a program that must end well.
pub(super) fn order(command: &[&str]) -> Result<String, BootstrapError> {
    must(command, ask(command)?)
}

/// The same with something on its standard input.
pub(super) fn order_with(command: &[&str], input: &str) -> Result<String, BootstrapError> {
    must(command, run(command, &[], input, PROGRAM_TIMEOUT)?)
}

/// An order to units that may take their time to end.
pub(super) fn order_units(command: &[&str]) -> Result<String, BootstrapError> {
    must(command, run(command, &[], "", UNITS_TIMEOUT)?)
}

/// The package manager, which asks nothing.
pub(super) fn order_packages(arguments: &[&str]) -> Result<String, BootstrapError> {
    let command = [&APT, arguments].concat();
    must(&command, run(&command, &[("DEBIAN_FRONTEND", "noninteractive")], "", PACKAGES_TIMEOUT)?)
}

fn must(command: &[&str], said: Said) -> Result<String, BootstrapError> {
    if said.good {
        return Ok(said.text);
    }
    let words = if said.complaint.trim().is_empty() { said.text.trim() } else { said.complaint.trim() };
    let problem = if words.is_empty() { "failed".to_owned() } else { format!("failed: {words}") };
    Err(failed(command, problem))
}

/// A program that takes its time and must end well: each line of its standard error is told as it comes. It is ended as soon as
/// `stop` says so.
pub(super) fn order_telling(
    command: &[&str],
    limit: Duration,
    stop: &dyn Fn() -> bool,
    tell: &mut dyn FnMut(&str),
) -> Result<String, BootstrapError> {
    let mut child = start(command, &[], Stdio::null())?;
    let text = collect(child.stdout.take());
    let (lines, heard) = mpsc::sync_channel::<String>(LINES_WAITING_MAX);
    let pipe = child.stderr.take();
    let complaint = thread::spawn(move || {
        let mut all = String::new();
        let pipe = pipe.into_iter().flat_map(|pipe| BufReader::new(pipe.take(OUTPUT_BYTES_MAX)).lines());
        for line in pipe.map_while(Result::ok) {
            all += &format!("{line}\n");
            // Who waits for it has given up.
            let _gone = lines.send(line);
        }
        all
    });
    let status = wait(command, &mut child, (limit, stop), || match heard.recv_timeout(POLL) {
        Ok(line) => tell(&line),
        Err(mpsc::RecvTimeoutError::Timeout) => {}
        Err(mpsc::RecvTimeoutError::Disconnected) => thread::sleep(POLL),
    })?;
    heard.iter().for_each(|line| tell(&line));
    let said = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
    must(command, Said { good: status.success(), text: said(text), complaint: said(complaint) })
}

fn run(
    command: &[&str],
    environment: &[(&str, &str)],
    input: &str,
    limit: Duration,
) -> Result<Said, BootstrapError> {
    let mut child = start(command, environment, Stdio::piped())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input says by its exit code whether that matters.
        let _unread = stdin.write_all(input.as_bytes());
    }
    let (text, complaint) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let status = wait(command, &mut child, (limit, &|| false), || thread::sleep(POLL))?;
    let said = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
    Ok(Said { good: status.success(), text: said(text), complaint: said(complaint) })
}

fn start(command: &[&str], environment: &[(&str, &str)], stdin: Stdio) -> Result<Child, BootstrapError> {
    let [name, arguments @ ..] = command else { return Err(failed(command, "is no command")) };
    Command::new(program(name).unwrap_or_else(|| PathBuf::from(name)))
        .args(arguments)
        .env_clear()
        .envs([("PATH", PATH), ("LC_ALL", "C.UTF-8"), ("HOME", "/root"), ("SYSTEMD_PAGER", "")])
        .envs(environment.iter().copied())
        // Ctrl-C at the terminal is meant for us: what we have begun is finished.
        .process_group(0)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(command, format!("cannot be started: {error}")))
}

fn wait(
    command: &[&str],
    child: &mut Child,
    (limit, stop): (Duration, &dyn Fn() -> bool),
    mut meanwhile: impl FnMut(),
) -> Result<ExitStatus, BootstrapError> {
    let give_up = Instant::now() + limit;
    loop {
        match child.try_wait().map_err(|error| failed(command, error.to_string()))? {
            Some(status) => return Ok(status),
            None if stop() => {
                end(child);
                return Err(BootstrapError::Stopped(command.join(" ")));
            }
            None if Instant::now() > give_up => {
                end(child);
                return Err(failed(command, format!("did not end within {} s", limit.as_secs())));
            }
            None => meanwhile(),
        }
    }
}

fn end(child: &mut Child) {
    let _gone = child.kill();
    let _reaped = child.wait();
}

fn failed(command: &[&str], problem: impl Into<String>) -> BootstrapError {
    BootstrapError::Program { command: command.join(" "), problem: problem.into() }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What cannot be read any more is what the program did not say.
            let _broken = pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The text of a file; nothing where it is missing or cannot be read.
pub(super) fn text(path: impl AsRef<Path>) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// What a file of ours has of record; `None` where there is no file. One that cannot be read, or is damaged, is not taken for none:
/// then why.
pub(super) fn record<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Option<T>, String> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// A file as it was, to go back to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Was {
    /// Permissions.
    pub(super) mode: u32,
    /// Owner.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
    /// What stood in it.
    pub(super) content: String,
}

impl Was {
    /// Is there something that is no text, or cannot be read? It is neither missing nor to be written over.
    pub(super) fn hides(path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok() && Self::of(path).is_none()
    }

    /// What is there now.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let content = fs::read_to_string(path).ok()?;
        Some(Self { mode: metadata.mode() & 0o7777, uid: metadata.uid(), gid: metadata.gid(), content })
    }
}

/// Write a file whole or not at all, and onto the disk: a reader sees the old one or the new one.
pub(super) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), BootstrapError> {
    write_owned(path, content, mode, (0, 0))
}

/// The same for an owner and a group.
pub(super) fn write_owned(
    path: &Path,
    content: &[u8],
    mode: u32,
    owner: (u32, u32),
) -> Result<(), BootstrapError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = directory.join(format!(".{name}.{}", std::process::id()));
    sweep(path);
    let written = (|| -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(content)?;
        fchown(&file, Some(owner.0), Some(owner.1))?;
        // By descriptor and after the content: the umask has no say, and nobody reads half of it.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        fs::File::open(directory)?.sync_all()
    })();
    written.map_err(|source| {
        let _absent = fs::remove_file(&draft);
        BootstrapError::File { verb: "write", path: path.to_owned(), source }
    })
}

/// Take away the drafts of a file that runs left behind which were killed, and those of this very number from before.
fn sweep(path: &Path) {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return };
    let begin = format!(".{}.", name.to_string_lossy());
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let writer =
            entry.file_name().to_str().and_then(|name| name.strip_prefix(&begin)?.parse::<u32>().ok());
        let writes =
            |pid: u32| pid != std::process::id() && Path::new("/proc").join(pid.to_string()).exists();
        if writer.is_some_and(|pid| !writes(pid)) {
            // What cannot be removed is in nobody's way.
            let _stays = fs::remove_file(entry.path());
        }
    }
}

/// Make the directories above and at `path`, and say which of them are new, the outermost first.
pub(super) fn make_directories(path: &Path, mode: u32) -> Result<Vec<PathBuf>, BootstrapError> {
    let missing: Vec<PathBuf> = path.ancestors().take_while(|at| !at.exists()).map(Path::to_owned).collect();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(BootstrapError::file("make the directory", path))?;
    Ok(missing.into_iter().rev().collect())
}

/// Remove a file; one that is not there is removed already.
pub(super) fn remove(path: &Path) -> Result<(), BootstrapError> {
    sweep(path);
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(BootstrapError::File { verb: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_heard_fails_in_its_own_words_and_is_given_up_in_time() {
        assert_eq!(order(&["printf", "a b"]).unwrap(), "a b");
        assert_eq!(order_with(&["cat"], "in").unwrap(), "in");
        let failed = order(&["sh", "-c", "echo why >&2; exit 3"]).unwrap_err();
        assert_eq!(failed.to_string(), "`sh -c echo why >&2; exit 3` failed: why");
        assert!(order(&["no-such-program"]).unwrap_err().to_string().contains("cannot be started"));
        let mut told = Vec::new();
        let script = ["sh", "-c", "echo one >&2; echo two >&2; echo out"];
        let out = order_telling(&script, PROGRAM_TIMEOUT, &|| false, &mut |line| told.push(line.to_owned()))
            .unwrap();
        assert_eq!((out.as_str(), told), ("out\n", vec!["one".to_owned(), "two".to_owned()]));
        let stopped = order_telling(&["sleep", "60"], PROGRAM_TIMEOUT, &|| true, &mut |_| {}).unwrap_err();
        assert_eq!(stopped.to_string(), "`sleep 60` was stopped");
        // Out of reach of the terminal's Ctrl-C, which is sent to all of a group.
        let group = order(&["sh", "-c", "cut -d ' ' -f 5 /proc/$$/stat"]).unwrap();
        assert_ne!(group.trim(), nix::unistd::getpgrp().to_string());
        let late = run(&["sleep", "60"], &[], "", Duration::from_millis(20)).unwrap_err();
        assert!(late.to_string().contains("did not end"), "{late}");
    }

    #[test]
    fn a_record_that_cannot_be_read_is_not_taken_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        assert_eq!(record::<Vec<u16>>(&path), Ok(None));
        fs::write(&path, "[1]").unwrap();
        assert_eq!(record(&path), Ok(Some(vec![1u16])));
        // As a power cut leaves files of others.
        for damaged in ["", "\0\0\0", "[1", "{}"] {
            fs::write(&path, damaged).unwrap();
            assert!(record::<Vec<u16>>(&path).is_err(), "{damaged:?}");
        }
        assert!(record::<Vec<u16>>(directory.path()).is_err());
    }

    #[test]
    fn a_file_is_replaced_whole_with_the_mode_that_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/file");
        let made = make_directories(path.parent().unwrap(), 0o755).unwrap();
        assert_eq!(made, [directory.path().join("a"), directory.path().join("a/b")]);
        let own = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        write_owned(&path, b"one", 0o600, own).unwrap();
        write_owned(&path, b"two", 0o640, own).unwrap();
        // A run that was killed has left its draft; what a run that lives writes, and what is no draft, stays.
        let beside = |name: &str| path.with_file_name(name);
        let dead = i32::MAX.to_string();
        for name in [&format!(".file.{dead}"), ".file.1", ".file.old", &format!(".other.{dead}")] {
            fs::write(beside(name), "draft").unwrap();
        }
        write_owned(&path, b"two", 0o640, own).unwrap();
        assert!(!beside(&format!(".file.{dead}")).exists());
        fs::write(beside(&format!(".file.{dead}")), "draft").unwrap();
        remove(&beside("file")).unwrap();
        for name in [".file.1", ".file.old", &format!(".other.{dead}")] {
            fs::remove_file(beside(name)).unwrap();
        }
        write_owned(&path, b"two", 0o640, own).unwrap();
        let was = Was::of(&path).unwrap();
        assert_eq!((was.content.as_str(), was.mode), ("two", 0o640));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
    }
}

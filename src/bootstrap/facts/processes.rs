//! A picture of the running processes: names, parents, environment, sockets. `/proc` is read once; the rest is pure.

use std::{collections::BTreeSet, fs, os::unix::ffi::OsStrExt, path::Path};

/// Longest line of parents that is followed; a real one has a dozen.
const LINE_MAX: usize = 64;

/// One process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// Its id.
    pub(super) pid: u32,
    /// Who started it, or whoever took it over.
    pub(super) parent: u32,
    /// The kernel's name of it, 15 bytes at most.
    pub(super) name: String,
    /// On whose behalf it acts: its effective user id. Anybody may call a program what they like.
    pub(super) uid: u32,
    /// When it began, in clock ticks since the machine started.
    pub(super) began: u64,
    /// `NAME=value` lines of its environment at its start; empty where we may not read it.
    pub(super) environment: Vec<String>,
    /// Inodes of its sockets.
    pub(super) sockets: BTreeSet<u64>,
}

impl Process {
    /// One variable of its environment.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let of = |line: &String| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        self.environment.iter().find_map(of)
    }

    /// From `/proc/PID/stat`: the name stands in parentheses and may itself hold some.
    pub(super) fn of_stat(text: &str) -> Option<Self> {
        let (pid, rest) = text.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        // After the name: state, parent, … and at field 22 of the whole line the start (proc(5)).
        let fields: Vec<&str> = rest.split(' ').collect();
        Some(Self {
            pid: pid.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            name: name.to_owned(),
            began: fields.get(19)?.parse().ok()?,
            ..Self::default()
        })
    }
}

/// The second of the four in `Uid:` of `/proc/PID/status`. The owner of the directory will not do: it is root for whoever
/// forbids to be dumped (proc(5)).
fn acting(status: &[u8]) -> Option<u32> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_whitespace().nth(1)?.parse().ok()
}

/// All processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Processes(pub(super) Vec<Process>);

impl Processes {
    /// Those of this machine. What ends while it is looked at, or may not be looked at, shows as little as it does.
    pub(super) fn read(proc: &Path) -> Self {
        let entries = fs::read_dir(proc).into_iter().flatten().flatten();
        let process = |entry: fs::DirEntry| {
            let directory = entry.path();
            let _pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(directory.join("stat")).ok()?;
            let mut process = Process::of_stat(String::from_utf8_lossy(&stat).trim_end())?;
            process.uid = acting(&fs::read(directory.join("status")).ok()?)?;
            let environment = fs::read(directory.join("environ")).unwrap_or_default();
            let variables = environment.split(|byte| *byte == 0).filter(|line| line.starts_with(b"SSH_"));
            if process.name == "MainThread" {
                // What newer Nodes call their first thread, and so themselves.
                process.name = "node".to_owned();
            }
            process.environment = variables.map(|line| String::from_utf8_lossy(line).into_owned()).collect();
            let descriptors = fs::read_dir(directory.join("fd")).into_iter().flatten().flatten();
            process.sockets = descriptors.filter_map(|fd| socket(&fs::read_link(fd.path()).ok()?)).collect();
            Some(process)
        };
        Self(entries.filter_map(process).collect())
    }

    /// One of them.
    pub(super) fn of(&self, pid: u32) -> Option<&Process> {
        self.0.iter().find(|process| process.pid == pid)
    }

    /// A process, its parent, and so on.
    pub(super) fn line(&self, pid: u32) -> impl Iterator<Item = &Process> {
        std::iter::successors(self.of(pid), |process| self.of(process.parent)).take(LINE_MAX)
    }

    /// Who holds a socket.
    pub(super) fn holders(&self, inode: u64) -> impl Iterator<Item = &Process> {
        self.0.iter().filter(move |process| process.sockets.contains(&inode))
    }

    /// Does one of that name run?
    pub(super) fn runs(&self, name: &str) -> bool {
        self.0.iter().any(|process| process.name == name)
    }
}

/// `socket:[21003]`.
fn socket(link: &Path) -> Option<u64> {
    let text = std::str::from_utf8(link.as_os_str().as_bytes()).ok()?;
    text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_no_obstacle() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
        let process = Process::of_stat(text).unwrap();
        assert_eq!((process.pid, process.parent, process.began), (42, 7, 987_654));
        assert_eq!(process.name, "a) b (c");
        assert_eq!(Process::of_stat("42 nothing"), None);
    }

    #[test]
    fn this_process_is_found_with_its_parents_and_its_sockets() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let processes = Processes::read(Path::new("/proc"));
        let line: Vec<_> = processes.line(std::process::id()).collect();
        assert!(line.len() > 1, "{line:?}");
        let sockets = super::super::sockets::parse(&fs::read_to_string("/proc/net/tcp").unwrap());
        let own = sockets.iter().find(|socket| socket.local.port() == port && socket.listening).unwrap();
        assert!(processes.holders(own.inode).any(|holder| holder.pid == std::process::id()));
    }
}

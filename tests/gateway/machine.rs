//! A machine to install on: Debian 12, booted with its own systemd and its own network, thrown away afterwards. What is
//! below it (a root that `tests/run` makes once) is never written to. Dropping it kills everything in it.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Output, eventually, outside::Outside};

/// nspawn's exit code when the machine asks to be started anew.
const WANTS_REBOOT: i32 = 133;

/// Lines of the console and of the journal shown with a failed test.
const LINES_SHOWN: &str = "80";

/// Where the machine's interface and the stranger's are.
pub(crate) const INSIDE: [&str; 2] = ["10.77.0.2", "fd77::2"];

/// A mount and a control group of its own, gone with it; then nspawn in its place.
const START: &str = r#"
set -e
mount -t overlay overlay -o "lowerdir=$BELOW,upperdir=$PLACE/upper,workdir=$PLACE/work" "$PLACE/root"
for groups in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    [ -e "$groups/cgroup.procs" ] || continue
    mkdir -p "$groups/$NAME"
    echo $$ > "$groups/$NAME/cgroup.procs"
done
exec systemd-nspawn --quiet --directory "$PLACE/root" --boot --register=no --keep-unit --private-network \
    --machine="$NAME" --console=pipe --resolv-conf=off --timezone=off --link-journal=no "$@"
"#;

/// The program that is put on machines: the one that was built with the tests, or the one that `TEST_PROGRAM` names, as the
/// static one of a release.
pub(crate) fn program() -> PathBuf {
    env::var_os("TEST_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_gateway").into(), PathBuf::from)
}

/// What will be the machine's disk.
pub(crate) struct Disk {
    place: tempfile::TempDir,
    /// What it stands on, the uppermost first.
    below: Vec<PathBuf>,
    binds: Vec<String>,
}

impl Disk {
    /// Debian with systemd, nftables, sshd and Node, and nothing of ours.
    pub(crate) fn debian() -> Self {
        Self::on(&["debian-12"])
    }

    /// The same without any Node.
    pub(crate) fn debian_without_node() -> Self {
        let mut disk = Self::debian();
        disk.binds.clear();
        disk
    }

    /// The same with nginx, ufw and firewalld installed and off, and some packages more to install.
    pub(crate) fn debian_with_others() -> Self {
        Self::on(&["debian-12-others", "debian-12"])
    }

    /// On roots and layers of `tests/machines`, the uppermost first.
    pub(crate) fn on(roots: &[&str]) -> Self {
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache");
        let below: Vec<PathBuf> = roots.iter().map(|root| cache.join(root)).collect();
        for root in &below {
            assert!(root.join("usr").exists(), "{} is missing: `tests/machines` makes it", root.display());
        }
        assert!(nix::unistd::geteuid().is_root(), "only root can boot machines: run `tests/run` as root");
        let place = tempfile::Builder::new().prefix("gwm").tempdir_in("/tmp").unwrap();
        for part in ["upper", "work", "root"] {
            fs::create_dir(place.path().join(part)).unwrap();
        }
        let output = Command::new("node").args(["-p", "process.execPath"]).output().unwrap();
        let node = String::from_utf8(output.stdout).unwrap();
        Self { place, below, binds: vec![format!("--bind-ro={}:/usr/bin/node", node.trim())] }
    }

    /// Write a file.
    pub(crate) fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        write(&self.at(path), text.as_ref(), 0o644);
        self
    }

    /// Copy a program into it.
    pub(crate) fn program(self, path: &str, from: impl AsRef<Path>) -> Self {
        write(&self.at(path), &fs::read(from).unwrap(), 0o755);
        self
    }

    /// Show a directory of this machine in it, for reading alone.
    pub(crate) fn shows(mut self, path: &str, from: impl AsRef<Path>) -> Self {
        self.binds.push(format!("--bind-ro={}:{path}", from.as_ref().display()));
        self
    }

    /// Copy a directory into it.
    pub(crate) fn directory(self, path: &str, from: impl AsRef<Path>) -> Self {
        let to = self.at(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let copied = Command::new("cp").arg("--recursive").arg(from.as_ref()).arg(to).status().unwrap();
        assert!(copied.success(), "{} cannot be copied", from.as_ref().display());
        self
    }

    /// Write a program.
    pub(crate) fn script(self, path: &str, text: &str) -> Self {
        write(&self.at(path), text.as_bytes(), 0o755);
        self
    }

    /// The gateway as its package would install it: program, units, users and directories; and a configuration.
    pub(crate) fn with_gateway(self, config: &str) -> Self {
        let shipped =
            |name: &str| fs::read(format!("{}/systemd/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let disk = self
            .program("/usr/local/bin/gateway", program())
            .file("/etc/systemd/system/gateway.service", shipped("gateway.service"))
            .file("/etc/systemd/system/gateway.socket", shipped("gateway.socket"))
            .file("/usr/lib/sysusers.d/gateway.conf", shipped("gateway.sysusers"))
            .file("/usr/lib/tmpfiles.d/gateway.conf", shipped("gateway.tmpfiles"))
            .file("/etc/gateway/gateway.toml", config);
        // What `systemctl enable` does; systemd-sysusers and systemd-tmpfiles run at every boot.
        disk.link("/etc/systemd/system/multi-user.target.wants/gateway.service", "../gateway.service")
            .link("/etc/systemd/system/sockets.target.wants/gateway.socket", "../gateway.socket")
    }

    /// Make a symbolic link.
    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    fn at(&self, path: &str) -> PathBuf {
        self.place.path().join("upper").join(path.trim_start_matches('/'))
    }

    /// Switch it on, and wait until it is up.
    pub(crate) fn boot(self) -> Machine {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("gw{}n{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let (outside, power) = (Outside::new(), None);
        let mut machine = Machine { disk: self, name, power, outside };
        machine.switch_on();
        machine
    }
}

/// A machine that runs.
pub(crate) struct Machine {
    disk: Disk,
    name: String,
    power: Option<Power>,
    outside: Outside,
}

struct Power {
    nspawn: Child,
    /// Its first process.
    leader: Pid,
}

impl Machine {
    fn switch_on(&mut self) {
        let place = self.disk.place.path();
        let below: Vec<_> = self.disk.below.iter().map(|root| root.display().to_string()).collect();
        let below = below.join(":");
        let console = File::options().create(true).append(true).open(place.join("console.log")).unwrap();
        let nspawn = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", START, "sh"])
            .args(&self.disk.binds)
            .envs([("PLACE", place.as_os_str())])
            .envs([("NAME", &self.name), ("BELOW", &below)])
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .unwrap();
        let mut power = Power { leader: Pid::from_raw(0), nspawn };
        power.leader = eventually("the machine has a first process", || {
            assert!(power.nspawn.try_wait().unwrap().is_none(), "nspawn ended: {}", self.console());
            let pid = power.nspawn.id();
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
            let is_init = |pid: &&str| {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "systemd")
            };
            children.split_whitespace().find(is_init)?.parse().ok().map(Pid::from_raw)
        });
        self.outside.plug_in(power.leader);
        self.power = Some(power);
        eventually("the machine is up", || {
            let said = self.command(&["systemctl", "is-system-running"]).output().unwrap().stdout;
            ["running\n", "degraded\n"].iter().any(|state| said == state.as_bytes()).then_some(())
        });
    }

    /// Somebody on the same network, who is nobody there.
    pub(crate) fn outside(&self) -> &Outside {
        &self.outside
    }

    /// A path in it, seen from here.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader()))
    }

    /// Write a file in it.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        write(&self.path(path), text.as_ref(), 0o644);
    }

    /// Run a command as root, as a service of its own.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let service = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--"];
        Output::of(&self.command(&[&service, words].concat()).output().unwrap())
    }

    /// The same of a line of shell.
    pub(crate) fn shell(&self, script: &str) -> Output {
        self.run(&["sh", "-c", script])
    }

    /// The pid of a service's main process, as the machine itself counts; `None` while there is none.
    pub(crate) fn main_pid(&self, unit: &str) -> Option<i32> {
        let shown = self.run(&["systemctl", "show", "--property=MainPID", "--value", unit]);
        shown.stdout.trim().parse().ok().filter(|pid| *pid != 0)
    }

    /// Start it anew in good order.
    pub(crate) fn reboot(&mut self) {
        let _cut = self.command(&["systemctl", "reboot"]).output().unwrap();
        let mut power = self.power.take().unwrap();
        let status = eventually("the machine goes down", || power.nspawn.try_wait().unwrap());
        assert_eq!(status.code(), Some(WANTS_REBOOT), "{}", self.console());
        self.switch_on();
    }

    /// Pull the plug, and switch it on again.
    pub(crate) fn power_cut(&mut self) {
        self.switch_off();
        self.switch_on();
    }

    fn switch_off(&mut self) {
        let Some(mut power) = self.power.take() else { return };
        let _gone = kill(power.leader, Signal::SIGKILL);
        let _gone = power.nspawn.wait();
    }

    fn leader(&self) -> Pid {
        self.power.as_ref().expect("the machine is on").leader
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "-t",
            &self.leader().to_string(),
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-C",
            "-r",
            "-w",
            "--",
        ]);
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        command.args(["env", "-i", path]).args(words).stdin(Stdio::null());
        command
    }

    fn console(&self) -> String {
        fs::read_to_string(self.disk.place.path().join("console.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() && self.power.is_some() {
            let journal = ["journalctl", "--no-pager", "--output=short-monotonic", "--lines", LINES_SHOWN];
            let journal = self.command(&journal).output().map(|output| output.stdout).unwrap_or_default();
            eprintln!(
                "---- console\n{}\n---- journal\n{}",
                self.console(),
                String::from_utf8_lossy(&journal)
            );
        }
        self.switch_off();
        for groups in ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
            remove_groups(&Path::new(groups).join(&self.name));
        }
    }
}

/// Control groups go from the leaves up, and only as directories.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_groups(&entry.path());
        }
    }
    let _gone = fs::remove_dir(group);
}

fn write(path: &Path, bytes: &[u8], mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

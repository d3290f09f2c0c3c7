//! Somebody on the network of a [`Machine`](crate::machine::Machine) who is nobody there: a network namespace of its own,
//! with a cable to it. It reaches what a stranger on the internet would, and nothing else.

use std::{
    fs::File,
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use nix::unistd::Pid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Output, eventually, machine::INSIDE};

/// The stranger's own address.
pub(crate) const OUTSIDE: &str = "10.77.0.1";

/// And that of the other world.
const OUTSIDE_V6: &str = "fd77::1";

/// The namespace, which lives as long as a process in it.
pub(crate) struct Outside {
    holder: Child,
    servers: Mutex<Vec<Child>>,
}

impl Outside {
    /// A network of its own, with nothing in it.
    pub(crate) fn new() -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"]);
        let holder = command.stdin(Stdio::null()).spawn().unwrap();
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        let net = format!("/proc/{}/ns/net", holder.id());
        eventually("the network is there", || {
            std::fs::read_link(&net).is_ok_and(|its| its != ours).then_some(())
        });
        let outside = Self { holder, servers: Mutex::default() };
        outside.run(&["ip", "link", "set", "lo", "up"]).ok();
        outside
    }

    /// Put a cable between it and the machine with this first process. It goes when the machine goes.
    pub(crate) fn plug_in(&self, machine: Pid) {
        let machine = machine.to_string();
        let (netns, own) = (["-t", &machine, "-n", "--"], self.holder.id().to_string());
        eventually("the machine has a network of its own", || {
            let its = std::fs::read_link(format!("/proc/{machine}/ns/net")).ok()?;
            (its != std::fs::read_link("/proc/self/ns/net").unwrap()).then_some(())
        });
        let ends =
            ["ip", "link", "add", "cable", "netns", &own, "type", "veth", "peer", "host0", "netns", &machine];
        // The end of a machine that was switched off goes with its network, which takes the kernel a while.
        self.run(&["ip", "link", "delete", "cable"]);
        eventually("the cable is plugged in", || {
            (Output::of(&Command::new("ip").args(&ends[1..]).output().unwrap()).code == 0).then_some(())
        });
        for (interface, [v4, v6], inside) in
            [("cable", [OUTSIDE, OUTSIDE_V6], false), ("host0", INSIDE, true)]
        {
            let (v4, v6) = (format!("{v4}/24"), format!("{v6}/64"));
            let steps: [&[&str]; 3] = [
                &["ip", "link", "set", interface, "up"],
                &["ip", "address", "add", &v4, "dev", interface],
                &["ip", "address", "add", &v6, "dev", interface, "nodad"],
            ];
            for step in steps {
                if inside {
                    Output::of(&Command::new("nsenter").args(netns).args(step).output().unwrap()).ok();
                } else {
                    self.run(step).ok();
                }
            }
        }
    }

    /// Run a command of this machine there.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "-n", "--"]).args(words).stdin(Stdio::null());
        Output::of(&command.output().unwrap())
    }

    /// Start a server there, which ends with it.
    pub(crate) fn serve(&self, words: &[&str]) {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "-t", &self.holder.id().to_string(), "-n", "--"]);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.servers.lock().unwrap().push(command.spawn().unwrap());
    }

    /// Let this thread's sockets be made there from now on.
    pub(crate) fn enter(&self) {
        let net = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let servers = std::mem::take(&mut *self.servers.lock().unwrap());
        for mut server in servers {
            let _gone = server.kill();
            let _gone = server.wait();
        }
        let _gone = self.holder.kill();
        let _gone = self.holder.wait();
    }
}

//! A set-up that is asked to end, or killed, while a step is under way: nothing is left half done, and the next run goes on.

use crate::{
    Output,
    bootstrap::{ORDER, Server},
    eventually,
    machine::Disk,
};

/// On a terminal, whose Ctrl-C goes to all that is begun there. The other end types it while the step is under way.
const TYPED: &str = "(while [ ! -e /run/begun ]; do sleep 0.05; done; printf '\\003'; \
    until grep -q 'under way' /run/said; do sleep 0.05; done; touch /run/go) | script -qefc 'ORDER' /run/said";

/// In the place of systemd's own: it takes until it is told to go on.
const SLOW: &str = "#!/bin/sh\ntouch /run/begun\nwhile [ ! -e /run/go ]; do sleep 0.05; done\nexec /usr/bin/systemd-sysusers \"$@\"\n";

const SLOW_AT: &str = "/usr/local/sbin/systemd-sysusers";

impl Server {
    /// The set-up, begun in a session of its own, until its second step is under way.
    fn begun(&self) {
        self.machine.write(SLOW_AT, SLOW);
        let script = format!(
            "chmod 755 {SLOW_AT}; rm -f /run/begun /run/go; \
             systemd-run --quiet --unit=set-up --remain-after-exit --property=StandardOutput=file:/run/said \
             --property=StandardError=file:/run/said --property=KillMode=process -- {}",
            ORDER.replace('\'', "\"")
        );
        self.machine.shell(&script).ok();
        eventually("a step is under way", || self.machine.path("/run/begun").exists().then_some(()));
    }

    fn signal(&self, name: &str) {
        self.machine.shell(&format!("systemctl kill --kill-who=main --signal={name} set-up")).ok();
    }

    /// Its exit code or its signal, and what it has said.
    fn ended(&self) -> (String, Output) {
        let show = "systemctl show --property=ExecMainStatus --value set-up";
        eventually("the set-up has ended", || {
            let state = self.machine.shell("systemctl show --property=SubState --value set-up").stdout;
            matches!(state.trim(), "exited" | "failed").then_some(())
        });
        let code = self.machine.shell(show).ok().stdout.trim().to_owned();
        let said = self.machine.shell("cat /run/said").ok();
        self.machine.shell("systemctl stop set-up; systemctl reset-failed set-up; rm -f /run/said");
        (code, said)
    }
}

#[test]
fn a_set_up_that_is_stopped_finishes_its_step_begins_no_other_and_goes_on_later() {
    let server = Server::on(Disk::debian(), "22", "");
    for (signal, words, code) in
        [("INT", "Ctrl-C", "130"), ("TERM", "SIGTERM", "143"), ("HUP", "SIGHUP", "129")]
    {
        server.begun();
        server.signal(signal);
        eventually("it has heard", || {
            let said = server.machine.shell("cat /run/said").stdout;
            said.contains("what is under way is finished first").then_some(())
        });
        server.machine.shell("touch /run/go").ok();
        let (ended, said) = server.ended();
        assert_eq!(ended, code, "{said:?}");
        said.says(&[
            words,
            "stopped between two steps",
            "accounts\nnot done: ",
            "run the same order again",
            "--undo",
        ]);
        server.machine.shell("getent passwd gateway && ! test -e /etc/gateway/gateway.toml").ok();
        server.machine.shell("/root/gateway bootstrap --undo --yes && ! getent passwd gateway").ok();
    }

    let typed = TYPED.replace("ORDER", &ORDER.replace('\'', "\""));
    let said = server.machine.shell(&format!("rm -f /run/begun /run/go; : > /run/said; {typed}")).fails(130);
    said.says(&["Ctrl-C: stopped between two steps", "run the same order again"]);
    server.machine.shell("getent passwd gateway && /root/gateway bootstrap --undo --yes").ok();

    // Killed, and no word of it: what is half there is taken away.
    server.begun();
    server.signal("KILL");
    assert_eq!(server.ended().0, "9");
    server.machine.shell("touch /run/go").ok();
    // As a run leaves them that is killed while it writes the program.
    server.machine.shell(&format!("rm {SLOW_AT}; cd /usr/local/bin; mv gateway .gateway.4194303")).ok();
    server.machine.shell(ORDER).ok();
    server.machine.shell("! find /usr/local /etc /var/lib -xdev -name '.*.[0-9]*' | grep .").ok();
}

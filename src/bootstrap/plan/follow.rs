//! What makes the firewall, and a cut-over, follow those who listen: the gateway itself, sshd, and whoever flushes all tables.

use super::{Action, Facts, Plan, Then, shipped::Shipped};

/// What `nftables.service` flushes comes back with it.
const AFTER_FLUSH: &str = "/etc/systemd/system/nftables.service.d/60-gateway.conf";

const AFTER_FLUSH_TEXT: &str = "\
# Written by `gateway bootstrap`. The rules of nftables.service begin with `flush ruleset`, which takes ours along.
[Service]
ExecStartPost=-/usr/sbin/nft -f /etc/gateway/firewall.nft
ExecReload=-/usr/sbin/nft -f /etc/gateway/firewall.nft
";

/// After a start and a reload the firewall is what the configuration says by then.
const FOLLOWS: &str = "/etc/systemd/system/gateway.service.d/60-firewall.conf";

const FOLLOWS_TEXT: &str = "\
# Written by `gateway bootstrap`: the firewall follows the listeners. As root and outside of the sandbox (`+`), which the
# gateway itself is not; that it cannot be done (`-`) is no reason not to serve.
[Service]
ExecStartPost=-+/usr/local/bin/gateway firewall reload --quiet
ExecReload=-+/usr/local/bin/gateway firewall reload --quiet
";

/// Who changes sshd's port, and forgets the firewall, is not locked out.
const SSH_FOLLOWS: &str = "/etc/systemd/system/gateway-firewall-follow.service";

const SSH_FOLLOWS_TEXT: &str = "\
# Written by `gateway bootstrap`: opens new ports of SSH in the firewall of the gateway. Started by the unit of type path.
[Unit]
Description=Firewall of the gateway follows sshd's configuration
ConditionPathExists=/etc/gateway/firewall.json
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/usr/local/bin/gateway firewall reload --quiet
";

/// What looks out for that.
const SSH_WATCH: &str = "/etc/systemd/system/gateway-firewall-follow.path";
pub(super) const SSH_WATCH_UNIT: &str = "gateway-firewall-follow.path";

const SSH_WATCH_TEXT: &str = "\
# Written by `gateway bootstrap`: a port that sshd's configuration names is opened when it is named, before sshd listens on it.
[Unit]
Description=Changes of sshd's configuration, for the firewall of the gateway

[Path]
PathChanged=/etc/ssh/sshd_config
PathChanged=/etc/ssh/sshd_config.d
PathChanged=/etc/systemd/system/ssh.socket.d

[Install]
WantedBy=multi-user.target
";

/// Whatever was not noticed of sshd's configuration: a second change while the first is followed, a file that nobody watches.
const SSH_STARTS: &str = "/etc/systemd/system/ssh.service.d/60-gateway.conf";

const SSH_STARTS_TEXT: &str = "\
# Written by `gateway bootstrap`: the port that sshd listens on is open in the firewall of the gateway after each start and reload.
# Nobody waits for it (`--no-block`), and whatever becomes of it (`-`) keeps sshd from nothing.
[Service]
ExecStartPost=-/usr/bin/systemd-run --quiet --collect --no-block /usr/local/bin/gateway firewall reload --quiet
ExecReload=-/usr/bin/systemd-run --quiet --collect --no-block /usr/local/bin/gateway firewall reload --quiet
";

/// The same where systemd listens in sshd's stead.
const SSH_LISTENS: &str = "/etc/systemd/system/ssh.socket.d/60-gateway.conf";

const SSH_LISTENS_TEXT: &str = "\
# Written by `gateway bootstrap`: the port that systemd listens on for sshd is open in the firewall of the gateway after each start.
# Nobody waits for it (`--no-block`), and whatever becomes of it (`-`) keeps the socket from nothing.
[Socket]
ExecStartPost=-/usr/bin/systemd-run --quiet --collect --no-block /usr/local/bin/gateway firewall reload --quiet
";

/// What is written here.
pub(super) const WRITTEN: [Shipped; 6] = [
    Shipped { path: AFTER_FLUSH, content: AFTER_FLUSH_TEXT },
    Shipped { path: FOLLOWS, content: FOLLOWS_TEXT },
    Shipped { path: SSH_FOLLOWS, content: SSH_FOLLOWS_TEXT },
    Shipped { path: SSH_WATCH, content: SSH_WATCH_TEXT },
    Shipped { path: SSH_STARTS, content: SSH_STARTS_TEXT },
    Shipped { path: SSH_LISTENS, content: SSH_LISTENS_TEXT },
];

/// Also where ufw or firewalld rules, or nobody: `gateway cutover` leads connections there too, and must not lead them to a
/// port that the gateway has left. Where it never did, both find nothing to do.
pub(super) fn listeners(plan: &mut Plan, facts: &Facts) {
    if !facts.programs.contains("nft") {
        return;
    }
    let why = "a firewall or cut-over that is flushed by others comes back with them";
    plan.file(facts, AFTER_FLUSH, AFTER_FLUSH_TEXT, (why, Then::ReloadUnits));
    let why = "a new listener is reached without a second order";
    plan.file(facts, FOLLOWS, FOLLOWS_TEXT, (why, Then::ReloadUnits));
}

/// Also where there is no sshd yet: one that is installed later is let in as well.
pub(super) fn ssh(plan: &mut Plan, facts: &Facts) {
    let why = "a port that sshd is told to listen on is open before it does";
    plan.file(facts, SSH_FOLLOWS, SSH_FOLLOWS_TEXT, (why, Then::ReloadUnits));
    plan.file(facts, SSH_WATCH, SSH_WATCH_TEXT, (why, Then::ReloadUnits));
    let watch = facts.unit(SSH_WATCH_UNIT);
    if !watch.active || !watch.enabled {
        let action = Action::Enable(vec![SSH_WATCH_UNIT]);
        plan.step(SSH_WATCH_UNIT, ("off", "on, now and at boot"), why, action);
    }
    let why = "a port that sshd listens on is open, however it came to that";
    plan.file(facts, SSH_STARTS, SSH_STARTS_TEXT, (why, Then::ReloadUnits));
    plan.file(facts, SSH_LISTENS, SSH_LISTENS_TEXT, (why, Then::ReloadUnits));
}

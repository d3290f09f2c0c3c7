//! Machines to plan for: a fresh server, and one that is set up.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        App,
        facts::{AppFacts, Distribution, FileFact, NodeFacts, NodeThere, Ruler, Session, Ssh, UnitFact},
        firewall::Live,
    },
    *,
};

/// What somebody who sets up a first server says.
pub(in crate::bootstrap) fn answers() -> Answers {
    Answers {
        app: Some(App {
            directory: "/srv/app".into(),
            command: Vec::new(),
            env_file: Some("/etc/gateway/api.env".into()),
            data: vec!["/srv/app/uploads".into()],
        }),
        upstream: None,
        node: None,
        node_mirror: None,
        domains: vec!["api.example.com".to_owned()],
        tls: "acme".to_owned(),
        contact: vec!["me@example.com".to_owned()],
        listen: ["[::]:443", "[::]:80"].iter().map(|address| address.parse().unwrap()).collect(),
        ssh_ports: BTreeSet::new(),
        open: BTreeSet::new(),
        firewall: true,
        confirm_within: Duration::from_secs(120),
        updates: false,
        unattended: false,
    }
}

/// A fresh Debian, over SSH on port 2222.
pub(in crate::bootstrap) fn fresh() -> Facts {
    let programs = [
        "systemctl",
        "systemd-run",
        "systemd-sysusers",
        "systemd-tmpfiles",
        "systemd-creds",
        "nft",
        "ip",
        "apt-get",
        "sshd",
    ];
    let session = Session::Ssh {
        peer: "198.51.100.7".parse().ok(),
        port: Some(2222),
        pid: Some(900),
        began: Some(100),
        local: "203.0.113.9".parse().ok(),
    };
    Facts {
        root: true,
        distribution: Distribution {
            id: "debian".into(),
            version: "12".into(),
            name: "Debian GNU/Linux 12".into(),
        },
        init: "systemd".to_owned(),
        container: None,
        programs: programs.into_iter().map(str::to_owned).collect(),
        listeners: Vec::new(),
        datagrams: Vec::new(),
        ssh: Ssh { ports: [22, 2222].into(), peers: ["198.51.100.7".parse().unwrap()].into(), session },
        tunnel: None,
        tunnels: Vec::new(),
        ruler: Ruler::Nobody,
        open: BTreeSet::new(),
        opened: BTreeSet::new(),
        admitted: BTreeSet::new(),
        denied: BTreeSet::new(),
        tables: Vec::new(),
        dropping: Vec::new(),
        closing: BTreeMap::new(),
        live: Live::default(),
        published: Vec::new(),
        accounts: BTreeSet::new(),
        outdated: BTreeSet::new(),
        files: BTreeMap::new(),
        unreadable: BTreeSet::new(),
        directories: BTreeMap::new(),
        units: [(system::CLOCK.to_owned(), UnitFact { exists: true, enabled: false, active: false })].into(),
        kernel: [("net.core.somaxconn".to_owned(), 128), ("net.ipv4.tcp_syncookies".to_owned(), 1)].into(),
        clock: false,
        journal_limited: false,
        updates: false,
        credentials: true,
        seal_key: None,
        certbot: BTreeSet::new(),
        certbot_unfit: BTreeMap::new(),
        app: Some(AppFacts {
            exists: true,
            command: vec!["node".to_owned(), "server.js".to_owned()],
            names_now: BTreeSet::new(),
            names_then: BTreeSet::new(),
            env_closed: Some(0o600),
            entry: Some("/srv/app/server.js".into()),
            missing: None,
            reached: false,
        }),
        node: NodeFacts { there: vec![in_path("v22.11.0")], ..NodeFacts::default() },
        installed: false,
    }
}

/// A Node that everybody finds.
pub(in crate::bootstrap) fn in_path(version: &str) -> NodeThere {
    NodeThere {
        version: version.to_owned(),
        source: "PATH".to_owned(),
        program: "/usr/bin/node".into(),
        fits: true,
        everybodys: true,
    }
}

/// The same machine after its plan was carried out and confirmed.
pub(in crate::bootstrap) fn set_up() -> Facts {
    let mut facts = fresh();
    for step in plan(&fresh(), &answers()).steps {
        match step.action {
            Action::Write { path, mode, content, .. } => {
                facts.files.insert(path, FileFact { mode, content });
            }
            Action::Accounts => facts.accounts.extend(accounts()),
            Action::Directories => {
                let made = shipped::directories_of(shipped::TMPFILES.content);
                facts.directories.extend(made);
            }
            Action::Install => facts.installed = true,
            Action::Access { .. } => facts.app.as_mut().unwrap().reached = true,
            Action::Share(_) => facts.app.as_mut().unwrap().env_closed = None,
            Action::SealKey { drop_in, content } => {
                facts.seal_key = Some(places::SEALED_KEY.into());
                facts.files.insert(drop_in, FileFact { mode: 0o644, content });
            }
            Action::Enable(units) => {
                let on = UnitFact { exists: true, enabled: true, active: true };
                facts.units.extend(units.into_iter().map(|unit| (unit.to_owned(), on)));
            }
            Action::Arm(wanted, _) | Action::Settle(wanted) => {
                let stored = Some(wanted.on(None));
                facts.live = Live { table: true, stored, same: true, at_boot: true, ..Live::default() };
                let on = UnitFact { exists: true, enabled: true, active: true };
                facts.units.insert("gateway-firewall.service".to_owned(), on);
            }
            _ => {}
        }
    }
    facts.kernel.insert("net.core.somaxconn".to_owned(), 4096);
    (facts.clock, facts.journal_limited) = (true, true);
    facts
}

//! Plans, as they are on file, and what each machine changes about them.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use super::{
    super::{
        App,
        facts::{
            FileFact, Listener, NodeFacts, NodeOffer, NodeThere, NodeWanted, Published, Ruler, Session,
            Tunnel, TunnelEnd,
        },
        ruleset::Firewall,
    },
    *,
};

/// A plan as text: what `expected/*.txt` hold.
fn told(plan: &Plan) -> String {
    let advice = |kind: &str, list: &[Advice]| -> String {
        list.iter().map(|one| format!("{kind}: {}\n  {}\n", one.what, one.remedy)).collect()
    };
    let steps: String =
        plan.steps.iter().map(|s| format!("{}: {} -> {}\n  {}\n", s.subject, s.is, s.will, s.why)).collect();
    advice("problem", &plan.problems) + &steps + &advice("note", &plan.notes)
}

fn check(facts: &Facts, answers: &Answers, want: &str) {
    let told = told(&plan(facts, answers));
    assert_eq!(told, want, "\n--- is ---\n{told}");
}

/// Everything that the plan says after a change of the fresh machine and the usual answers.
fn after(change: impl FnOnce(&mut Facts, &mut Answers)) -> String {
    let (mut facts, mut answers) = (samples::fresh(), samples::answers());
    change(&mut facts, &mut answers);
    told(&plan(&facts, &answers))
}

#[test]
fn a_fresh_server_gets_the_plan_on_file() {
    let want = include_str!("../../../tests/data/bootstrap/expected/fresh.txt");
    check(&samples::fresh(), &samples::answers(), want);
}

#[test]
fn a_server_that_is_set_up_gets_no_step() {
    let plan = plan(&samples::set_up(), &samples::answers());
    assert_eq!(plan.steps, [], "{}", told(&plan));
    assert_eq!(plan.problems, []);
}

#[test]
fn a_step_that_writes_a_file_over_shows_what_differs() {
    let mut facts = samples::set_up();
    let unit = facts.files.get_mut(Path::new("/etc/systemd/system/gateway.service")).unwrap();
    unit.content = unit.content.replace("RestartSec=1\n", "RestartSec=30\n");
    let plan = plan(&facts, &samples::answers());
    let step = plan.steps.iter().find(|step| step.is == "other content").unwrap();
    assert_eq!(step.differs, ["- RestartSec=30", "+ RestartSec=1"]);
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["steps"][0]["differs"][1], "+ RestartSec=1");
}

#[test]
fn what_has_changed_makes_its_step_alone() {
    let mut facts = samples::set_up();
    facts.installed = false;
    let steps: Vec<_> =
        plan(&facts, &samples::answers()).steps.into_iter().map(|step| step.subject).collect();
    assert_eq!(steps, ["/usr/local/bin/gateway", "access", "restart"]);
    let restarts = |path: &str| {
        let mut facts = samples::set_up();
        facts.files.get_mut(Path::new(path)).unwrap().content.clear();
        let steps = plan(&facts, &samples::answers()).steps.into_iter();
        steps
            .filter_map(|step| if let Action::Restart(units) = step.action { Some(units) } else { None })
            .next()
    };
    let [service, socket] = ["gateway.service", "gateway.socket"];
    // With the socket the connections that wait in it would go.
    assert_eq!(restarts("/etc/systemd/system/gateway.service"), Some(vec![service]));
    assert_eq!(restarts("/etc/systemd/system/gateway.socket"), Some(vec![socket, service]));
    facts = samples::set_up();
    facts.ssh.ports.insert(2200);
    let steps = plan(&facts, &samples::answers()).steps;
    assert!(
        matches!(&steps[..], [Step { action: Action::Arm(wanted, _), .. }] if wanted.ssh == [22, 2200, 2222].into())
    );
}

#[test]
fn a_directory_of_another_mode_or_owner_is_set_right_and_told() {
    for is in ["755 root:gateway", "750 nobody:gateway", "750 root:0"] {
        let mut facts = samples::set_up();
        facts.directories.insert("/etc/gateway".into(), is.to_owned());
        let steps = plan(&facts, &samples::answers()).steps;
        let step = steps.iter().find(|step| step.action == Action::Directories).expect(is);
        assert_eq!(step.will, format!("/etc/gateway 750 root:gateway (is {is})"));
    }
}

#[test]
fn without_systemd_or_nft_nothing_is_touched_and_the_reason_is_said() {
    let other = after(|facts, _| facts.init = "runit".to_owned());
    assert!(other.starts_with("problem: this machine is not run by systemd, but by `runit`"), "{other}");
    assert!(!other.contains("->"), "{other}");
    let no_nft = after(|facts, _| {
        facts.programs.remove("nft");
    });
    assert!(no_nft.starts_with("problem: nft is missing") && !no_nft.contains("->"), "{no_nft}");
    let without = after(|facts, answers| {
        facts.programs.remove("nft");
        answers.firewall = false;
    });
    assert!(!without.contains("problem") && !without.contains("firewall:"), "{without}");
}

#[test]
fn a_session_whose_port_is_hidden_gets_no_firewall_without_being_told_the_port() {
    let hide = |facts: &mut Facts| {
        facts.ssh.session = Session::Ssh { peer: None, port: None, pid: None, began: None, local: None };
    };
    let hidden = after(|facts, _| hide(facts));
    assert!(hidden.contains("could lock you out") && !hidden.contains("->"), "{hidden}");
    let named = after(|facts, answers| {
        hide(facts);
        answers.ssh_ports = [2200].into();
    });
    assert!(named.contains("(SSH: 22, 2200, 2222)"), "{named}");
}

#[test]
fn only_where_nobody_can_be_cut_off_the_firewall_lasts_at_once() {
    let firewall = |change: fn(&mut Facts, &mut Answers)| {
        let told = after(change);
        told.lines().find(|line| line.starts_with("firewall:")).unwrap().to_owned()
    };
    assert!(firewall(|_, _| {}).contains("unless confirmed"));
    assert!(firewall(|_, answers| answers.unattended = true).contains("unless confirmed"));
    assert!(firewall(|facts, _| facts.ssh.session = Session::Local).contains("unless confirmed"));
    let cloud_init = firewall(|facts, answers| {
        facts.ssh.session = Session::Local;
        answers.unattended = true;
    });
    assert!(!cloud_init.contains("unless confirmed"), "{cloud_init}");
}

#[test]
fn ufw_and_firewalld_are_spoken_to_where_they_rule() {
    for (ruler, name) in [(Ruler::Ufw, "ufw"), (Ruler::Firewalld, "firewalld")] {
        let told = after(|facts, _| {
            facts.ruler = ruler;
            facts.open = [22, 80].into();
            // From the office alone, and that is how it stays.
            facts.admitted = [22, 80, 2222].into();
            facts.programs.remove("nft");
        });
        assert!(
            told.contains(&format!("firewall: {name} rules; open: 22, 80 -> {name} opens 443 too")),
            "{told}"
        );
    }
}

#[test]
fn ssh_that_its_owner_denies_is_left_alone_and_told() {
    let told = after(|facts, _| {
        (facts.ruler, facts.open) = (Ruler::Ufw, [80].into());
        facts.denied = [22, 443, 2222].into();
        // For the office, and then denied.
        facts.admitted = [80, 2222].into();
    });
    assert!(told.contains("ufw opens 443 too\n"), "{told}");
    assert!(told.contains("note: 22 of SSH is denied to everybody, and stays so\n"), "{told}");
}

#[test]
fn what_leads_connections_over_follows_the_listeners_whoever_filters() {
    for follows in
        ["nftables.service.d/60-gateway.conf: missing", "gateway.service.d/60-firewall.conf: missing"]
    {
        for ruler in [Ruler::Ufw, Ruler::Firewalld] {
            let told = after(|facts, _| facts.ruler = ruler);
            assert!(told.contains(follows), "{told}");
        }
        let told = after(|_, answers| answers.firewall = false);
        assert!(told.contains(follows) && !told.contains("gateway-firewall-follow"), "{told}");
    }
}

#[test]
fn a_firewall_that_would_not_come_back_at_the_next_boot_is_made_to() {
    let unit = "gateway-firewall.service";
    let changes: [fn(&mut Facts, &str); 2] = [
        |facts, unit| facts.units.get_mut(unit).unwrap().enabled = false,
        |facts, _| facts.live.at_boot = false,
    ];
    for change in changes {
        let mut facts = samples::set_up();
        change(&mut facts, unit);
        let plan = plan(&facts, &samples::answers());
        assert!(matches!(&plan.steps[..], [Step { action: Action::Settle(_), .. }]), "{}", told(&plan));
        assert!(told(&plan).contains("in force, and not after the next boot -> loaded at every boot"));
    }
}

#[test]
fn without_a_server_of_ssh_that_is_said_and_one_that_comes_is_followed() {
    let told = after(|facts, answers| {
        facts.programs.remove("sshd");
        (facts.ssh.ports, facts.ssh.session) = (BTreeSet::new(), Session::Local);
        answers.unattended = true;
    });
    assert!(told.contains("note: no server of SSH is known here"), "{told}");
    assert!(told.contains("gateway-firewall-follow.path: off -> on"), "{told}");
    assert!(!after(|_, _| {}).contains("no server of SSH"));
}

#[test]
fn what_an_earlier_set_up_had_opened_and_nobody_needs_is_named() {
    let told = after(|facts, _| {
        (facts.ruler, facts.opened) = (Ruler::Ufw, [80, 8443].into());
        facts.open = [22, 80, 443, 8443, 25].into();
    });
    assert!(told.contains("8443 stays open for an earlier set-up"), "{told}");
}

#[test]
fn a_record_that_cannot_be_read_is_not_taken_for_no_firewall() {
    let told = after(|facts, _| {
        let damage =
            super::super::firewall::Damage { what: "it cannot be read".into(), remedy: "mend it".into() };
        facts.live.damage = Some(damage);
    });
    assert!(told.contains("problem: it cannot be read") && !told.contains("->"), "{told}");
}

#[test]
fn without_ip_it_is_said_that_no_tunnel_is_seen() {
    let told = after(|facts, _| assert!(facts.programs.remove("ip")));
    assert!(told.contains("`ip` is missing: nothing shows which tunnels end here"), "{told}");
    assert!(told.contains("->"), "{told}");
}

#[test]
fn whoever_holds_our_ports_is_named_and_nothing_is_touched() {
    let told = after(|facts, _| {
        let holders = ["nginx".to_owned()].into();
        facts.listeners = vec![Listener { address: "0.0.0.0:80".parse().unwrap(), holders }];
    });
    assert!(told.starts_with("problem: nginx listens on port 80 already"), "{told}");
    assert!(!told.contains("->"), "{told}");
}

#[test]
fn a_port_that_docker_leads_away_is_not_free_though_nobody_listens() {
    let told = after(|facts, _| {
        let web = |address: &str| Published { container: "web".into(), address: address.into() };
        facts.published = vec![web("0.0.0.0:443"), web("0.0.0.0:8000-8001"), web("0.0.0.0:80/udp")];
    });
    assert!(told.starts_with("problem: Docker leads port 443 to `web`"), "{told}");
    assert_eq!(told.matches("problem").count(), 1, "{told}");
}

#[test]
fn a_file_that_is_no_text_is_not_written_over() {
    let told = after(|facts, _| facts.unreadable = ["/etc/gateway/gateway.toml".into()].into());
    assert!(told.starts_with("problem: `/etc/gateway/gateway.toml` is there and is no text"), "{told}");
    assert!(!told.contains("->"), "{told}");
}

fn listener(address: &str, holder: Option<&str>) -> Listener {
    let holders = holder.map(str::to_owned).into_iter().collect();
    Listener { address: address.parse().unwrap(), holders }
}

#[test]
fn what_the_firewall_would_close_is_named_with_whoever_listens() {
    let crowded = |facts: &mut Facts| {
        facts.listeners = vec![
            listener("0.0.0.0:2222", Some("sshd")),
            listener("[::]:5432", Some("postgres")),
            listener("0.0.0.0:5432", Some("postgres")),
            listener("127.0.0.1:3000", Some("node")),
            listener("0.0.0.0:9000", Some("docker-proxy")),
        ];
        facts.datagrams = vec![listener("0.0.0.0:60001", Some("mosh-server")), listener("[::]:51820", None)];
    };
    let told = after(|facts, _| crowded(facts));
    let want =
        "will not be: 5432/tcp (postgres), 51820/udp (the kernel: WireGuard?), 60001/udp (mosh-server)\n";
    assert!(told.contains(want), "{told}");
    let less = after(|facts, answers| {
        crowded(facts);
        answers.open = ["51820/udp", "5432"].iter().map(|port| port.parse().unwrap()).collect();
    });
    assert!(less.contains("will not be: 60001/udp (mosh-server)\n"), "{less}");
    assert!(less.contains("all closed but 22, 80, 443, 2222, 5432/tcp, 51820/udp (SSH: 22, 2222)"), "{less}");
    let later = told_later(crowded);
    assert!(!later.contains("will not be"), "what is closed already is no news: {later}");
}

/// Everything that the plan says of a machine that is set up, after a change.
fn told_later(change: impl FnOnce(&mut Facts)) -> String {
    let mut facts = samples::set_up();
    change(&mut facts);
    told(&plan(&facts, &samples::answers()))
}

#[test]
fn what_carries_the_sessions_tunnel_stays_open() {
    let through = |port, of_program| {
        after(|facts, _| {
            facts.tunnel = Some(Tunnel { device: "wg0".into(), port, of_program });
            facts.datagrams = vec![
                listener("0.0.0.0:51820", None),
                listener("0.0.0.0:1194", Some("openvpn")),
                listener("0.0.0.0:53", Some("named")),
            ];
        })
    };
    for (told, want) in [
        (through(None, false), "51820/udp"),
        (through(None, true), "1194/udp"),
        (through(Some(40_000), false), "40000/udp"),
    ] {
        assert!(told.contains(&format!("through the tunnel `wg0`: {want} stays open for it")), "{told}");
        assert!(told.contains(&format!("all closed but 22, 80, 443, 2222, {want} (SSH")), "{told}");
    }
    let hidden =
        after(|facts, _| facts.tunnel = Some(Tunnel { device: "tun0".into(), port: None, of_program: true }));
    assert!(hidden.contains("nothing shows on which port that comes in"), "{hidden}");
}

#[test]
fn tunnels_that_arrive_in_no_port_go_on() {
    let end = |device: &str, carriers: &[&str]| TunnelEnd {
        device: device.into(),
        carriers: carriers.iter().map(|carrier| carrier.parse().unwrap()).collect(),
    };
    let six = end("he-ipv6", &["ipv6@192.0.2.1"]);
    let first = after(|facts, _| {
        facts.tunnels = vec![six.clone(), end("vx0", &["4789/udp@192.0.2.2"])];
        facts.datagrams = vec![listener("0.0.0.0:4789", None)];
    });
    let lets = "all closed but 22, 80, 443, 2222, ipv6@192.0.2.1, 4789/udp@192.0.2.2 (SSH: 22, 2222)";
    assert!(first.contains(lets), "{first}");
    assert!(first.contains("the tunnel `he-ipv6` ends here: ipv6@192.0.2.1 stays let in"), "{first}");
    assert!(!first.contains("will not be"), "the port is let in from the other end: {first}");
    // One that was built since makes a step of its own, and only one that is new is told.
    let mut facts = samples::set_up();
    facts.tunnels = vec![six];
    let steps = plan(&facts, &samples::answers()).steps;
    let [Step { action: Action::Arm(wanted, _), .. }] = &steps[..] else { panic!("{steps:?}") };
    facts.live.stored = Some(wanted.on(facts.live.stored.clone()));
    let known = plan(&facts, &samples::answers());
    assert_eq!(known.steps, []);
    assert!(!told(&known).contains("he-ipv6"));
    // Let in from anywhere, it is let in from there.
    facts = samples::set_up();
    facts.tunnels = vec![end("he-ipv6", &["ipv6@192.0.2.1"])];
    facts.live.stored.as_mut().unwrap().carriers = ["ipv6@any".parse().unwrap()].into();
    let wider = plan(&facts, &samples::answers());
    assert_eq!(wider.steps, []);
    assert!(!told(&wider).contains("he-ipv6"));
    // A session through one needs no port of any other.
    let through = after(|facts, _| {
        facts.tunnels = vec![end("mgmt", &["gre@192.0.2.1"])];
        facts.tunnel = Some(Tunnel { device: "mgmt".into(), port: None, of_program: false });
        facts.datagrams = vec![listener("0.0.0.0:51820", None)];
    });
    assert!(through.contains("2222, gre@192.0.2.1 (SSH") && !through.contains("your session"), "{through}");
    // ufw and firewalld drop by themselves already, or not at all.
    let ruled = after(|facts, _| {
        facts.ruler = Ruler::Ufw;
        facts.tunnels = vec![end("he-ipv6", &["ipv6@192.0.2.1"])];
    });
    assert!(!ruled.contains("he-ipv6"), "{ruled}");
}

#[test]
fn a_firewall_that_only_leads_connections_over_gets_its_filter() {
    let told = told_later(|facts| {
        let led = Firewall { bare: true, led: [(443, 8443)].into(), was_led: true, ..Firewall::default() };
        facts.live.stored = Some(led);
    });
    assert!(
        told.starts_with("firewall: it leads connections over, and filters nothing -> all closed but"),
        "{told}"
    );
    let mut facts = samples::set_up();
    facts.live.stored = Some(Firewall { bare: true, led: [(443, 8443)].into(), ..Firewall::default() });
    for (beside, led) in [(Some("[::]:8443"), [(443, 8443)].into()), (None, BTreeMap::new())] {
        let mut answers = samples::answers();
        answers.listen.extend(beside.map(|address| address.parse::<SocketAddr>().unwrap()));
        let steps = plan(&facts, &answers).steps;
        let [.., Step { action: Action::Arm(wanted, _), .. }] = &steps[..] else { panic!("{steps:?}") };
        let wanted = wanted.on(facts.live.stored.clone());
        assert!(!wanted.bare && wanted.led == led, "who is led to a listener stays so: {wanted:?}");
    }
}

#[test]
fn docker_and_tables_that_drop_are_told_with_the_remedy() {
    let told = after(|facts, _| {
        facts.published = vec![Published { container: "db".into(), address: "0.0.0.0:5432".into() }];
        facts.dropping = vec!["inet filter".to_owned()];
    });
    assert!(told.contains("Docker publishes 0.0.0.0:5432 of `db` past every firewall"), "{told}");
    assert!(told.contains("the table `inet filter` drops"), "{told}");
}

#[test]
fn a_start_that_an_earlier_run_did_not_come_to_and_what_is_not_reached_any_more_are_steps() {
    let steps = |change: &dyn Fn(&mut Facts)| -> Vec<Action> {
        let mut facts = samples::set_up();
        change(&mut facts);
        plan(&facts, &samples::answers()).steps.into_iter().map(|step| step.action).collect()
    };
    let [socket, service] = ["gateway.socket", "gateway.service"];
    let due = |units: &[&str]| units.iter().map(|unit| (*unit).to_owned()).collect::<BTreeSet<String>>();
    assert_eq!(steps(&|facts| facts.outdated = due(&[service])), [Action::Restart(vec![service])]);
    let both = Action::Restart(vec![socket, service]);
    assert_eq!(steps(&|facts| facts.outdated = due(&[service, socket])), [both]);
    let shut = steps(&|facts| facts.app.as_mut().unwrap().reached = false);
    assert!(
        matches!(&shut[..], [Action::Access { write, .. }] if write[..] == [PathBuf::from("/srv/app/uploads")])
    );
    // What does not run is started, and runs as it is written then.
    let off = steps(&|facts| {
        facts.outdated = due(&[service]);
        facts.units.get_mut(service).unwrap().active = false;
    });
    assert!(
        matches!(&off[..], [Action::Access { .. }, Action::Enable(units)] if units[..] == [service]),
        "{off:?}"
    );
    // Its socket would still listen where it did.
    let moved = steps(&|facts| {
        facts.outdated = due(&[service, socket]);
        facts.units.get_mut(service).unwrap().active = false;
    });
    assert!(
        matches!(&moved[..], [Action::Access { .. }, Action::Restart(both), Action::Enable(_)] if both[..] == [socket, service]),
        "{moved:?}"
    );
}

#[test]
fn an_application_that_cannot_be_started_is_told_before_anything_is_done() {
    let of_app = |change: fn(&mut super::super::facts::AppFacts)| {
        after(|facts, _| change(facts.app.as_mut().unwrap()))
    };
    assert!(of_app(|app| app.exists = false).contains("there is no directory `/srv/app`"));
    assert!(of_app(|app| app.command.clear()).contains("--command"));
    assert!(after(|_, answers| answers.domains.clear()).contains("--domain"));
}

#[test]
fn names_that_the_environment_would_lack_are_told_before_anything_is_done() {
    let told = after(|facts, _| {
        let app = facts.app.as_mut().unwrap();
        app.names_now = ["DATABASE_URL", "JWT_SECRET", "LOG_LEVEL"].map(str::to_owned).into();
        app.names_then = ["LOG_LEVEL"].map(str::to_owned).into();
    });
    assert!(told.contains("will not have: DATABASE_URL, JWT_SECRET\n"), "{told}");
    assert!(told.contains("add what it needs to `/etc/gateway/api.env`"), "{told}");
    // Beside nginx the configuration is there already when the workers move over.
    let later = told_later(|facts| {
        facts.app.as_mut().unwrap().names_now = ["JWT_SECRET".to_owned()].into();
    });
    assert!(later.contains("will not have: JWT_SECRET\n"), "{later}");
}

#[test]
fn an_environment_file_that_the_gateway_can_read_already_is_left_alone() {
    let told = after(|facts, _| facts.app.as_mut().unwrap().env_closed = None);
    assert!(!told.contains("/etc/gateway/api.env:"), "{told}");
    let without = after(|_, answers| answers.app.as_mut().unwrap().env_file = None);
    assert!(!without.contains("api.env"), "{without}");
}

#[test]
fn certificates_of_certbot_are_taken_for_the_hosts_that_are_served() {
    let told =
        after(|facts, _| facts.certbot = ["api.example.com", "mail.example.com"].map(str::to_owned).into());
    assert!(told.contains("certificates: certbot has api.example.com -> copies"), "{told}");
    let ended = after(|facts, _| {
        facts.certbot = ["api.example.com", "mail.example.com"].map(str::to_owned).into();
        let why =
            ["api.example.com", "mail.example.com"].map(|host| (host.to_owned(), "it ended".to_owned()));
        facts.certbot_unfit = why.into();
    });
    assert!(!ended.contains("certificates:") && !ended.contains("mail.example.com"), "{ended}");
    assert!(
        ended.contains("note: certbot's certificate of api.example.com is not taken along: it ended\n"),
        "{ended}"
    );
    let local = after(|facts, answers| {
        facts.certbot = ["api.example.com".to_owned()].into();
        answers.tls = "local".to_owned();
    });
    assert!(!local.contains("certificates:"), "{local}");
}

#[test]
fn file_descriptors_are_raised_where_they_are_few_and_the_kernel_is_ours() {
    let few = |container: Option<&str>| {
        after(|facts, _| {
            facts.kernel.insert("fs.file-max".to_owned(), 50_000);
            facts.container = container.map(str::to_owned);
        })
    };
    assert!(few(None).contains("fs.file-max = 131072"), "{}", few(None));
    assert!(!few(Some("lxc")).contains("fs.file-max"), "{}", few(Some("lxc")));
}

#[test]
fn what_an_earlier_run_has_set_in_the_kernel_is_still_set_at_the_next_boot() {
    let mut facts = samples::set_up();
    let content =
        "# Written by `gateway bootstrap`.\nnet.core.somaxconn = 4096\nnet.ipv4.tcp_syncookies = 1\n";
    let file = FileFact { mode: 0o644, content: content.to_owned() };
    facts.files.insert(system::SYSCTL.into(), file);
    // A blog has told somebody to switch them off since.
    facts.kernel.insert("net.ipv4.tcp_syncookies".to_owned(), 0);
    facts.kernel.insert("fs.file-max".to_owned(), 50_000);
    let steps = plan(&facts, &samples::answers()).steps;
    let [Step { will, action: Action::Write { content, .. }, .. }, ..] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!(will, "fs.file-max = 131072, net.ipv4.tcp_syncookies = 1");
    let lines: Vec<&str> = content.lines().skip(1).collect();
    assert_eq!(lines, ["fs.file-max = 131072", "net.ipv4.tcp_syncookies = 1", "net.core.somaxconn = 4096"]);
}

#[test]
fn of_a_home_the_service_sees_what_the_application_needs_and_no_more() {
    let app = |directory: &str, data: &[&str]| App {
        directory: directory.into(),
        command: Vec::new(),
        env_file: None,
        data: data.iter().map(PathBuf::from).collect(),
    };
    for (app, want) in [
        (app("/srv/app", &[]), None),
        (
            app("/home/me/shop/api/current", &[]),
            Some("ProtectHome=tmpfs\nBindReadOnlyPaths=\"-/home/me/shop\"\n"),
        ),
        (app("/root", &[]), Some("ProtectHome=tmpfs\nBindReadOnlyPaths=\"-/root\"\n")),
        (
            app("/run/user/1000/a/b", &[]),
            Some("ProtectHome=tmpfs\nBindReadOnlyPaths=\"-/run/user/1000/a\"\n"),
        ),
        (
            app("/home/me/app", &["/home/me/app/data"]),
            Some(
                "ProtectHome=tmpfs\nBindReadOnlyPaths=\"-/home/me/app\"\nBindPaths=\"-/home/me/app/data\"\n",
            ),
        ),
        (app("/srv/app", &["/srv/data"]), Some("\nReadWritePaths=\"-/srv/data\"\n")),
    ] {
        let text = settings::drop_in(&app, None);
        assert_eq!(text.is_some(), want.is_some(), "{app:?}");
        assert!(text.unwrap_or_default().contains(want.unwrap_or_default()), "{app:?}");
    }
}

#[test]
fn a_path_that_systemd_would_take_apart_or_miss_is_one_path_that_may_be_missing() {
    let data = [r"/srv/my app/up:50%n", r#"/home/me/a "b"\c"#].map(PathBuf::from).to_vec();
    let app = App { directory: "/srv/app".into(), command: Vec::new(), env_file: None, data };
    let want = r#"
ReadWritePaths="-/srv/my app/up:50%%n"
ReadWritePaths="-/home/me/a \"b\"\\c"
# It, or its Node, lies in a home: of all homes the service sees this alone.
ProtectHome=tmpfs
BindPaths="-/home/me/a \"b\"\\c"
"#;
    let text = settings::drop_in(&app, None).unwrap();
    assert!(text.ends_with(want), "{text}");
}

#[test]
fn the_configuration_that_is_written_is_one_that_can_be_read() {
    let (mut answers, mut facts) = (samples::answers(), samples::fresh());
    let text = settings::configuration(&answers, &facts);
    assert_eq!(text, include_str!("../../../tests/data/bootstrap/expected/gateway.toml"));
    answers.listen = ["[::]:8443", "[::]:8080"].iter().map(|text| text.parse().unwrap()).collect();
    (answers.app, facts.app) = (None, None);
    let listening = |answers: &mut Answers, addresses: &[&str]| {
        answers.listen = addresses.iter().map(|text| text.parse().unwrap()).collect();
        settings::socket_drop_in(answers).split_once("ListenStream=\n").unwrap().1.to_owned()
    };
    let beside = listening(&mut answers, &["[::]:8443", "[::]:8080"]);
    assert_eq!(beside, "ListenStream=8443\nListenStream=8080\n");
    assert_eq!(listening(&mut answers, &["0.0.0.0:443"]), "ListenStream=0.0.0.0:443\n", "and no IPv6");
    let apart = listening(&mut answers, &["[::]:443", "0.0.0.0:443", "[::]:80"]);
    assert_eq!(
        apart,
        "BindIPv6Only=ipv6-only\nListenStream=[::]:443\nListenStream=0.0.0.0:443\nListenStream=[::]:80\nListenStream=0.0.0.0:80\n"
    );
    answers.listen = ["[::]:8443", "[::]:8080"].iter().map(|text| text.parse().unwrap()).collect();
    answers.upstream = Some("http://127.0.0.1:3000".to_owned());
    let text = settings::configuration(&answers, &facts);
    let value: toml::Value = toml::from_str(&text).unwrap();
    assert_eq!(value["backend"]["api"]["upstream"].as_str(), Some("http://127.0.0.1:3000"), "{text}");
    answers.upstream = None;
    let text = settings::configuration(&answers, &facts);
    let value: toml::Value = toml::from_str(&text).unwrap();
    assert_eq!(value["edge"]["http"][0].as_str(), Some("[::]:8080"), "{text}");
    assert_eq!(value["edge"]["hosts"][0].as_str(), Some("api.example.com"), "{text}");
}

/// A machine on which no Node is, and a mirror that has one.
fn without_node(facts: &mut Facts) {
    facts.node = NodeFacts {
        wanted: Some(NodeWanted { version: "22".into(), by: ".nvmrc".into() }),
        offer: Some(NodeOffer {
            version: "v22.11.0".into(),
            mirror: "https://nodejs.org/dist".into(),
            named: false,
        }),
        backend: Some("api".to_owned()),
        ..NodeFacts::default()
    };
}

#[test]
fn a_node_that_is_asked_for_and_not_here_is_installed_by_our_own_installer() {
    let told = after(|facts, _| without_node(facts));
    let want = "node: none is here -> v22.11.0 (.nvmrc asks for 22) from https://nodejs.org/dist into \
                /var/lib/gateway/node\n  the application is started with it\n";
    assert!(told.contains(want), "{told}");
    let at = |subject: &str| told.find(&format!("\n{subject}: ")).unwrap();
    assert!(at("access") < at("node") && at("node") < at("start"), "{told}");
    let old = after(|facts, _| {
        without_node(facts);
        facts.node.there = vec![NodeThere { fits: false, ..samples::in_path("v18.19.0") }];
    });
    assert!(old.contains("node: only v18.19.0 (PATH) -> v22.11.0"), "{old}");
    let in_a_shut_home = after(|facts, _| {
        without_node(facts);
        let nvm = NodeThere { source: "nvm".into(), everybodys: false, ..samples::in_path("v22.9.0") };
        facts.node.there = vec![nvm];
    });
    assert!(in_a_shut_home.contains("node: only v22.9.0 (nvm, not everybody's) ->"), "{in_a_shut_home}");
}

#[test]
fn one_that_is_here_and_will_do_makes_no_step_and_no_other_program_needs_one() {
    for source in ["PATH", "gateway", "nvm"] {
        let told = after(|facts, _| {
            without_node(facts);
            facts.node.there = vec![NodeThere { source: source.into(), ..samples::in_path("v22.9.0") }];
        });
        assert!(!told.contains("\nnode: "), "{told}");
    }
    let bun = after(|facts, _| {
        without_node(facts);
        facts.app.as_mut().unwrap().command = vec!["bun".into(), "server.ts".into()];
    });
    assert!(!bun.contains("\nnode: "), "{bun}");
}

#[test]
fn a_mirror_that_cannot_be_reached_stops_it_before_anything_is_touched() {
    let told = after(|facts, _| {
        without_node(facts);
        facts.node.offer = None;
        facts.node.problem = Some(("cannot reach the mirror".into(), "`--node-mirror URL`".into()));
    });
    assert!(told.starts_with("problem: cannot reach the mirror\n  `--node-mirror URL`\n"), "{told}");
    assert!(!told.contains("->"), "{told}");
    let nothing = after(|facts, _| facts.node = NodeFacts::default());
    assert!(nothing.contains("no Node that every user can start"), "{nothing}");
}

#[test]
fn the_configuration_asks_for_the_node_that_the_application_is_started_with() {
    let written = |change: fn(&mut Facts, &mut Answers)| {
        let (mut facts, mut answers) = (samples::fresh(), samples::answers());
        without_node(&mut facts);
        change(&mut facts, &mut answers);
        let value: toml::Value = toml::from_str(&settings::configuration(&answers, &facts)).unwrap();
        let own = value["backend"]["api"].get("node").map(ToString::to_string).unwrap_or_default();
        (own, value.get("node").map(ToString::to_string).unwrap_or_default())
    };
    assert_eq!(written(|_, _| {}), ("{ version = \"auto\" }".into(), String::new()));
    let named = written(|facts, answers| {
        facts.node.wanted = Some(NodeWanted { version: "22".into(), by: "--node".into() });
        answers.node_mirror = Some("file:///srv/dist".into());
    });
    assert_eq!(named, ("{ version = \"22\" }".into(), "{ mirror = \"file:///srv/dist\" }".into()));
    let nobody = written(|facts, _| facts.node.wanted = None);
    assert_eq!(nobody.0, "{ version = \"lts\" }");
    let nvm = written(|facts, _| {
        let program = "/home/me/.nvm/versions/node/v22.1.0/bin/node".into();
        facts.node.there = vec![NodeThere { source: "nvm".into(), program, ..samples::in_path("v22.1.0") }];
    });
    assert_eq!(nvm.0, "{ path = \"/home/me/.nvm/versions/node/v22.1.0/bin/node\" }");
    let path = written(|facts, _| {
        facts.node = NodeFacts { there: vec![samples::in_path("v18.1.0")], ..NodeFacts::default() };
    });
    assert_eq!(path, (String::new(), String::new()));
}

#[test]
fn a_configuration_that_is_there_is_not_changed_for_a_node_and_that_is_said() {
    let told = after(|facts, answers| {
        *facts = samples::set_up();
        without_node(facts);
        facts.node.wanted = Some(NodeWanted { version: "22".into(), by: "--node".into() });
        answers.node = Some("22".into());
    });
    assert!(told.contains("node: none is here -> v22.11.0 (--node asks for 22)"), "{told}");
    assert!(told.contains("restart: "), "{told}");
    assert!(
        told.contains("does not ask for Node 22\n  put `version = \"22\"` below its `[backend.api.node]`"),
        "{told}"
    );
}

//! Plans, as they are on file, and what each machine changes about them.

use super::{
    super::{
        App,
        facts::{Listener, Published, Ruler, Session},
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
fn what_has_changed_makes_its_step_alone() {
    let mut facts = samples::set_up();
    facts.installed = false;
    let steps: Vec<_> =
        plan(&facts, &samples::answers()).steps.into_iter().map(|step| step.subject).collect();
    assert_eq!(steps, ["/usr/local/bin/gateway", "access", "restart"]);
    facts = samples::set_up();
    facts.ssh.ports.insert(2200);
    let steps = plan(&facts, &samples::answers()).steps;
    assert!(
        matches!(&steps[..], [Step { action: Action::Arm(wanted, _), .. }] if wanted.ssh == [22, 2200, 2222].into())
    );
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
            facts.open = [22, 2222, 80].into();
            facts.programs.remove("nft");
        });
        assert!(
            told.contains(&format!("firewall: {name} rules; open: 22, 80, 2222 -> {name} opens 443 too")),
            "{told}"
        );
    }
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
fn docker_and_tables_that_drop_are_told_with_the_remedy() {
    let told = after(|facts, _| {
        facts.published = vec![Published { container: "db".into(), address: "0.0.0.0:5432".into() }];
        facts.dropping = vec!["inet filter".to_owned()];
    });
    assert!(told.contains("Docker publishes 0.0.0.0:5432 of `db` past every firewall"), "{told}");
    assert!(told.contains("the table `inet filter` drops"), "{told}");
}

#[test]
fn an_application_that_cannot_be_started_is_told_before_anything_is_done() {
    let of_app = |change: fn(&mut super::super::facts::AppFacts)| {
        after(|facts, _| change(facts.app.as_mut().unwrap()))
    };
    assert!(of_app(|app| app.exists = false).contains("there is no directory `/srv/app`"));
    assert!(of_app(|app| app.command.clear()).contains("--command"));
    assert!(of_app(|app| app.node = None).contains("no Node that every user can start"));
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
fn an_application_in_a_home_is_let_out_of_the_units_sandbox() {
    let app = |directory: &str, data: &[&str]| App {
        directory: directory.into(),
        command: Vec::new(),
        env_file: None,
        data: data.iter().map(PathBuf::from).collect(),
    };
    let facts = samples::fresh().app.unwrap();
    for (app, want) in [
        (app("/srv/app", &[]), None),
        (app("/home/me/app", &[]), Some("ProtectHome=read-only")),
        (app("/home/me/app", &["/home/me/data"]), Some("ProtectHome=no")),
        (app("/srv/app", &["/srv/data"]), Some("ReadWritePaths=/srv/data")),
    ] {
        let text = settings::drop_in(&app, &facts);
        assert_eq!(text.is_some(), want.is_some(), "{app:?}");
        assert!(text.unwrap_or_default().contains(want.unwrap_or_default()), "{app:?}");
    }
}

#[test]
fn the_configuration_that_is_written_is_one_that_can_be_read() {
    let mut answers = samples::answers();
    let text = settings::configuration(&answers, samples::fresh().app.as_ref());
    assert_eq!(text, include_str!("../../../tests/data/bootstrap/expected/gateway.toml"));
    answers.listen = ["[::]:8443", "[::]:8080"].iter().map(|text| text.parse().unwrap()).collect();
    answers.app = None;
    let beside = settings::socket_drop_in(&answers);
    assert!(beside.contains("ListenStream=\nListenStream=8443\nListenStream=8080\n"), "{beside}");
    answers.upstream = Some("http://127.0.0.1:3000".to_owned());
    let text = settings::configuration(&answers, None);
    let value: toml::Value = toml::from_str(&text).unwrap();
    assert_eq!(value["backend"]["api"]["upstream"].as_str(), Some("http://127.0.0.1:3000"), "{text}");
    answers.upstream = None;
    let text = settings::configuration(&answers, None);
    let value: toml::Value = toml::from_str(&text).unwrap();
    assert_eq!(value["edge"]["http"][0].as_str(), Some("[::]:8080"), "{text}");
    assert_eq!(value["edge"]["hosts"][0].as_str(), Some("api.example.com"), "{text}");
}

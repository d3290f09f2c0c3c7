//! Which source wins, and how text becomes a value.

use std::{collections::BTreeMap, fs, time::Duration};

use super::{load_file, load_text};
use crate::{
    config::{Flags, load::load_with, load_to_set_up},
    edge::HttpMode,
};

const FINE: &str = r#"
edge.https = ["127.0.0.1:8443"]
edge.http = []
backend.api.upstream = "http://127.0.0.1:3000"
backend.api.hosts = ["localhost"]
"#;

#[test]
fn each_layer_wins_over_the_one_below() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    let more = directory.path().join("conf.d");
    fs::create_dir(&more).unwrap();
    let threads = |variables: &[(&str, &str)], set: &[(&str, &str)]| {
        load_file(&file, variables, set).unwrap().config.edge.threads
    };
    fs::write(&file, FINE).unwrap();
    assert_eq!(threads(&[], &[]), 0);
    fs::write(&file, format!("{FINE}edge.threads = 1\n")).unwrap();
    assert_eq!(threads(&[], &[]), 1);
    fs::write(more.join("10-a.toml"), "edge.threads = 2").unwrap();
    fs::write(more.join("20-b.toml"), "edge.threads = 3").unwrap();
    fs::write(more.join(".30-c.toml"), "edge.threads = 30").unwrap();
    fs::write(more.join("40-d.toml.bak"), "edge.threads = 40").unwrap();
    assert_eq!(threads(&[], &[]), 3);
    assert_eq!(threads(&[("GATEWAY_EDGE__THREADS", "4")], &[]), 4);
    let set = [("edge.threads", "5"), ("edge.threads", "6")];
    assert_eq!(threads(&[("GATEWAY_EDGE__THREADS", "4")], &set), 6);
}

#[test]
fn tables_in_lists_add_up_over_files_and_plain_lists_are_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    let more = directory.path().join("conf.d");
    fs::create_dir(&more).unwrap();
    let tenant = |id: &str| format!("[[tenant]]\nid = \"{id}\"\norigins = [\"https://{id}.example\"]\n");
    fs::write(&file, format!("{FINE}{}", tenant("acme"))).unwrap();
    fs::write(more.join("a.toml"), format!("edge.https = [\"127.0.0.1:9\"]\n{}", tenant("barba"))).unwrap();
    fs::write(more.join("b.toml"), format!("{}{}", tenant("c"), tenant("d"))).unwrap();
    let loaded = load_file(&file, &[], &[]).unwrap();
    let ids: Vec<_> = loaded.config.tenant.iter().map(|tenant| tenant.id.to_string()).collect();
    assert_eq!(ids, ["acme", "barba", "c", "d"]);
    assert_eq!(loaded.config.edge.https, ["127.0.0.1:9".parse().unwrap()]);
    assert_eq!(loaded.files.len(), 3);

    fs::write(more.join("b.toml"), format!("{}\n\n{}", tenant("c"), tenant("acme"))).unwrap();
    let problems = load_file(&file, &[], &[]).unwrap_err();
    let shown = problems.to_string();
    assert!(shown.contains("b.toml:7: tenant[1].id = \"acme\""), "{shown}");
}

#[test]
fn text_from_environment_and_flags_becomes_what_the_key_takes() {
    let variables = [
        ("GATEWAY_EDGE__HTTPS", r#"["127.0.0.1:1", "[::1]:2"]"#),
        ("GATEWAY_EDGE__HOSTS", "[a.example, b.example]"),
        ("GATEWAY_EDGE__HTTP_MODE", "serve"),
        ("GATEWAY_EDGE__ACCESS_LOG__ENABLED", "false"),
        ("GATEWAY_SHUTDOWN_GRACE", "1m"),
        ("GATEWAY_POOL__BUDGET", "1_00"),
        ("GATEWAY_BACKEND__WEB__COMMAND", "[\"sh\", \"x.js\"]"),
        ("GATEWAY_BACKEND__WEB__HOSTS", "[web.example]"),
        ("GATEWAY_BACKEND__WEB__ENV__Node_Level", "1"),
        ("GATEWAY_CONFIG", "/nowhere/at/all"),
        ("GATEWAY_TENANT_DATABASE", "sqlite://x.db"),
        ("GATEWAY_BACKUP_PASSPHRASE", "x"),
        ("GATEWAYS", "other people's"),
    ];
    let set = [("log.level", "debug"), ("backend.web.env.FLAG", "true"), ("pool.tenant_min", "\"1\"")];
    let problems = load_text(FINE, &variables, &set).unwrap_err();
    assert_eq!(problems.0.len(), 1, "{problems}");
    assert!(problems.to_string().starts_with("error: flag --set pool.tenant_min: pool.tenant_min = \"1\"\n"));

    let config = load_text(FINE, &variables, &set[..2]).unwrap().config;
    let web = &config.backend["web"];
    assert_eq!(config.edge.https.len(), 2);
    assert_eq!(config.edge.hosts.len(), 2);
    assert_eq!(config.edge.http_mode, HttpMode::Serve);
    assert!(!config.edge.access_log.enabled);
    assert_eq!(config.shutdown_grace, Duration::from_secs(60));
    assert_eq!(config.pool.budget, 100);
    assert_eq!(web.command, ["sh", "x.js"]);
    assert_eq!((web.env["Node_Level"].as_str(), web.env["FLAG"].as_str()), ("1", "true"));
    assert_eq!(config.log.level, "debug");
}

#[test]
fn relative_paths_start_at_the_file_whatever_the_working_directory() {
    let directory = tempfile::tempdir().unwrap();
    let real = fs::canonicalize(directory.path()).unwrap();
    fs::create_dir_all(real.join("etc")).unwrap();
    fs::create_dir_all(real.join("app")).unwrap();
    let file = real.join("etc/gateway.toml");
    let text = r#"
state_dir = "../state"
runtime_dir = "./run"
edge = { https = ["127.0.0.1:0"], http = [] }
backend.api = { command = ["node", "x.js"], directory = "../app", hosts = ["LOCALHOST."] }
"#;
    fs::write(&file, text).unwrap();
    let loaded = load_file(&file, &[], &[]).unwrap();
    assert_eq!(loaded.directory, real.join("etc"));
    assert_eq!(loaded.config.state_dir, real.join("state"));
    assert_eq!(loaded.config.runtime_dir, real.join("etc/run"));
    assert_eq!(loaded.config.backend["api"].directory, Some(real.join("app")));
    assert_eq!(loaded.config.backend["api"].hosts, ["localhost"]);
}

#[test]
fn a_file_that_is_not_there_is_a_problem_with_a_way_out() {
    let missing = load_file("/nowhere/gateway.toml".as_ref(), &[], &[]).unwrap_err().to_string();
    assert!(missing.contains("/nowhere/gateway.toml") && missing.contains("--config FILE"), "{missing}");

    // Without a file of any kind a backend in the environment is enough.
    let variables = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    if !std::path::Path::new(crate::config::file::DEFAULT).exists() {
        let nothing = load_with(&Flags::default(), &variables(&[])).unwrap_err().to_string();
        assert!(nothing.contains("GATEWAY_BACKEND__API__COMMAND"), "{nothing}");
        let backend = variables(&[("GATEWAY_BACKEND__API__UPSTREAM", "http://127.0.0.1:3000")]);
        let loaded = load_with(&Flags::default(), &backend).unwrap();
        assert!(loaded.files.is_empty() && loaded.config.backend.contains_key("api"));
    }
    let named = variables(&[("GATEWAY_CONFIG", "/nowhere/else.toml")]);
    let missing = load_with(&Flags::default(), &named).unwrap_err().to_string();
    assert!(missing.contains("/nowhere/else.toml"), "{missing}");
}

#[test]
fn a_set_flag_is_a_key_and_a_value() {
    let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
    assert_eq!(Flags::parse_set("log.level=debug"), pair("log.level", "debug"));
    assert_eq!(Flags::parse_set("a = b=c"), pair("a", "b=c"));
    assert!(Flags::parse_set("log.level").is_err());
    assert!(Flags::parse_set("=x").is_err());
}

#[test]
fn certificates_must_be_there_be_readable_and_fit_their_keys() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["a", "b"] {
        let made = rcgen::generate_simple_self_signed(vec![format!("{name}.example")]).unwrap();
        fs::write(path(&format!("{name}.pem")), made.cert.pem()).unwrap();
        fs::write(path(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    fs::write(path("empty.pem"), "").unwrap();
    let check = |cert: &str, key: &str| {
        let text = format!(
            "{FINE}tls = {{ mode = \"files\", certificate = [{{ cert = \"{cert}\", key = \"{key}\" }}] }}"
        );
        fs::write(path("gateway.toml"), text).unwrap();
        load_file(&path("gateway.toml"), &[], &[]).map(|loaded| loaded.config.tls.certificate[0].cert.clone())
    };
    assert_eq!(check("a.pem", "a.key").unwrap().file_name().unwrap(), "a.pem");
    for (cert, key, reason) in [
        ("a.pem", "b.key", "do not fit"),
        ("gone.pem", "a.key", "cannot be read"),
        ("a.pem", "gone.key", "cannot be read"),
        ("empty.pem", "a.key", "there is no certificate"),
        ("a.key", "a.key", "there is no certificate"),
        ("a.pem", "a.pem", "no private key"),
    ] {
        let problems = check(cert, key).unwrap_err();
        assert_eq!(problems.0.len(), 1, "{problems}");
        assert!(problems.to_string().contains(reason), "{problems}");
    }
}

#[test]
fn whom_bootstrap_makes_may_be_missing_where_it_is_the_one_that_asks() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    let check = |user: &str| {
        let text = format!(
            "tls.mode = \"local\"\n[backend.api]\ncommand = [\"node\"]\nhosts = [\"api.example\"]\nuser = \"{user}\"\n"
        );
        fs::write(&file, text).unwrap();
        let set_up = load_to_set_up(&Flags { config: Some(file.clone()), set: Vec::new() });
        [load_file(&file, &[], &[]).is_ok(), set_up.is_ok()]
    };
    let is_there = nix::unistd::User::from_name("gateway-app").unwrap().is_some();
    assert_eq!(check("gateway-app"), [is_there, true]);
    assert_eq!(check("nobody-of-that-name"), [false, false]);
}

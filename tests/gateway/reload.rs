//! A reload swaps what changed and drops nothing.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt, sync::Arc, thread};

use rustls::ClientConfig;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    BARBA, HOST, NAVAJA, TestGateway, Wire,
    builder::Builder,
    client::trusting,
    eventually,
    load::{Load, Target},
    pebble::free_port,
    websocket::connect_as,
};

/// How many kinds of change there are.
const TURNS: usize = 8;

/// What each reload changes in turn.
fn change(number: usize, extra: SocketAddr) -> String {
    match number % TURNS {
        0 => format!("[cors]\nmax_age = \"{}m\"", number + 1),
        1 => format!("[edge.limits]\nbody_bytes_max = {}", 1_000_000 + number),
        2 => "[[tenant]]\nid = \"third\"\norigins = [\"https://third.example\"]".to_owned(),
        // The certificate.
        3 => String::new(),
        4 => format!("edge.http = [\"127.0.0.1:0\", \"{extra}\"]"),
        5 => "[[edge.site]]\nhost = \"old.example\"\nredirect = \"https://new.example{path}\"".to_owned(),
        6 => "[edge.compression]\nenabled = false\n[edge.admit]\nclient_in_flight_max = 400".to_owned(),
        _ => "[edge]\ntrusted_proxies = [\"127.0.0.0/8\"]".to_owned(),
    }
}

/// Did it take hold?
fn check_change(gateway: &TestGateway, number: usize, extra: SocketAddr, trusted: &[Arc<ClientConfig>; 2]) {
    match number % TURNS {
        0 => {
            let answer = gateway.preflight("/x", NAVAJA, "PUT", "").send().is(204);
            let max_age = ((number + 1) * 60).to_string();
            assert_eq!(answer.header("access-control-max-age"), Some(&*max_age));
        }
        1 => drop(gateway.post("/sink", "x".repeat(1_000_001 + number)).origin(NAVAJA).send().is(413)),
        2 => drop(gateway.get("/x").origin("https://third.example").send().is(200)),
        3 => drop(Wire::tls(gateway.https(), HOST, trusted[number / TURNS % 2].clone())),
        4 => {
            let mut wire = Wire::tcp(extra);
            wire.send(gateway.get("/x").origin(NAVAJA).bytes());
            wire.answer().is(200);
        }
        5 => {
            let answer = gateway.get("/a").host("old.example").send();
            assert_eq!(answer.header("location"), Some("https://new.example/a"));
        }
        6 => {
            let page = format!("/headers?set=content-type:text/html&body={}", "x".repeat(5000));
            let answer = gateway.get(&page).origin(NAVAJA).header("accept-encoding", "gzip").send().is(200);
            assert_eq!(answer.header("content-encoding"), None);
        }
        _ => {
            let told =
                gateway.get("/x").origin(NAVAJA).header("x-forwarded-for", "203.0.113.9").send().is(200);
            assert_eq!(told.seen_header("x-forwarded-for").as_deref(), Some("203.0.113.9, 127.0.0.1"));
        }
    }
}

#[test]
fn fifty_reloads_under_load_fail_no_request_and_close_no_websocket() {
    const RELOADS: usize = 50;
    let site = TestGateway::builder().shops().worker("echo.mjs").config("tls.mode = \"files\"").site();
    let pairs = ["one", "two"].map(|name| {
        let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
        let cert = site.write(&format!("{name}.crt"), made.cert.pem());
        let key = site.write(&format!("{name}.key"), made.signing_key.serialize_pem());
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let certificate = format!("tls.certificate = [{{ cert = {cert:?}, key = {key:?} }}]");
        (certificate, trusting(made.cert.pem().as_bytes(), &["http/1.1"]), made.cert.pem())
    });
    let [(first, trusts_first, first_pem), (second, trusts_second, second_pem)] = pairs;
    let (certificates, trusted) = ([first, second], [trusts_first, trusts_second]);
    let either = format!("{first_pem}{second_pem}");
    let either_path = site.write("either.pem", &either);
    let base: toml::Table = std::fs::read_to_string(site.config_path()).unwrap().parse().unwrap();
    // Lists of tables grow when they are laid over, so the base has none.
    let with = |certificate: &str, change: &str| {
        let mut config = base.clone();
        Builder::lay_over(&mut config, certificate.parse().unwrap());
        Builder::lay_over(&mut config, change.parse().unwrap());
        toml::to_string(&config).unwrap()
    };
    site.write("gateway.toml", with(&certificates[0], ""));
    let gateway = site.start();
    let pids = gateway.worker_pids();
    // Below those that the system gives out: between two reloads nobody else is given it.
    let extra = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let load = Load::default();
    let plain = Target::plain(&gateway);
    let secure = Target { address: gateway.https(), tls: Some(trusting(either.as_bytes(), &["http/1.1"])) };
    let mut past: Vec<Wire> = Vec::new();
    thread::scope(|scope| {
        let ending = load.ending();
        let mut asking = Vec::new();
        for target in [&plain, &secure] {
            for path in ["/x", "/slow?ms=100", "POST /sink"] {
                asking.push(scope.spawn(|| load.keep_asking(&gateway, target, path)));
            }
            scope.spawn(|| load.keep_talking(target));
            scope.spawn(|| load.keep_listening(&gateway, target));
        }
        scope.spawn(|| load.keep_connecting(&gateway, &plain));
        scope.spawn(|| load.keep_connecting(&gateway, &secure));
        let http2 = scope.spawn(|| load.over_http2_trusting(&gateway, either_path.to_str().unwrap()));
        for number in 0..RELOADS {
            let certificate = &certificates[if number % TURNS == 3 { number / TURNS % 2 } else { 0 }];
            gateway.site().write("gateway.toml", with(certificate, &change(number, extra)));
            let outcome = gateway.cli(&["reload"]).ok();
            assert_eq!(outcome.stdout.trim(), "reloaded", "{}", outcome.stderr);
            check_change(&gateway, number, extra, &trusted);
            if number % TURNS == 4 {
                past.push(Wire::tcp(extra));
                past.last_mut().unwrap().send(gateway.get("/x").origin(NAVAJA).bytes());
                past.last_mut().unwrap().answer().is(200);
            }
        }
        drop(ending);
        for client in asking {
            assert_eq!(client.join().unwrap(), 1, "a kept connection was closed");
        }
        assert!(http2.join().unwrap() > 100, "there was no load over HTTP/2");
    });
    assert_eq!(gateway.worker_pids(), pids, "workers that did not change were started anew");
    // What came over a listener that is listed no longer lives on, and the address is free.
    gateway.site().write("gateway.toml", with(&certificates[0], ""));
    gateway.cli(&["reload"]).ok();
    for wire in &mut past {
        wire.send(gateway.get("/x").origin(NAVAJA).bytes());
        wire.answer().is(200);
    }
    drop(std::net::TcpListener::bind(extra).expect("nobody listens there any more"));
    assert!(load.answered() > 500, "there was no load");
}

#[test]
fn a_reload_of_which_a_part_fails_says_what_is_in_force() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let workers = gateway.worker_pids();
    gateway
        .site()
        .configure("cors.max_age = \"77m\"\n[backend.api]\nready_timeout = \"1s\"\nenv.ECHO_NEVER = \"1\"");
    let told = gateway.cli(&["reload"]).fails(5);
    told.says(&["worker api/0 is not ready", "everything else of the new configuration is in force"]);
    let max_age = gateway.preflight("/x", NAVAJA, "PUT", "").send().is(204);
    assert_eq!(max_age.header("access-control-max-age"), Some("4620"));
    assert_eq!(gateway.worker_pids(), workers, "those of before serve on");
}

#[test]
fn a_configuration_with_a_mistake_changes_nothing_and_says_why() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let (status, good) = (gateway.status(), std::fs::read_to_string(gateway.site().config_path()).unwrap());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap(), taken);
    let mut kept = gateway.wire();
    for (mistake, word) in [
        ("[edge.limits]\nno_such_key = 1".to_owned(), "no_such_key"),
        ("[edge.limits]\nbody_bytes_max = 7\nheaders_max = 0".to_owned(), "headers_max"),
        (format!("[edge]\nhosts = [\"new.example\"]\nhttp = [\"{}\"]", taken.0), "cannot listen on"),
        ("tls.mode = \"files\"".to_owned(), "tls"),
    ] {
        gateway.site().configure(&mistake);
        let outcome = gateway.cli(&["reload"]);
        assert!(outcome.code != 0, "{mistake} was taken: {}", outcome.stdout);
        outcome.says(&[word]);
        kept.send(gateway.post("/sink", "more than seven bytes").origin(NAVAJA).bytes());
        kept.answer().is(200);
        gateway.get("/x").host("new.example").origin(NAVAJA).send().is(421);
        let now = gateway.status();
        assert_eq!(
            (&now["listeners"], &now["certificates"]),
            (&status["listeners"], &status["certificates"])
        );
        gateway.site().write("gateway.toml", &good);
    }
    gateway.cli(&["reload"]).ok();
}

#[test]
fn a_reload_that_fails_at_the_edge_takes_no_tenant_away() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let good = std::fs::read_to_string(gateway.site().config_path()).unwrap();
    let mut socket = connect_as(&gateway, BARBA, false);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = gateway.status()["listeners"].clone();
    for (mistake, word) in [
        (format!("edge.http = [\"127.0.0.1:0\", \"{}\"]", taken.local_addr().unwrap()), "cannot listen on"),
        ("edge.access_log.path = \"/proc/access.log\"".to_owned(), "/proc/access.log"),
    ] {
        let mut config: toml::Table = good.parse().unwrap();
        config["tenant"].as_array_mut().unwrap().retain(|tenant| tenant["id"].as_str() != Some("barba"));
        Builder::lay_over(&mut config, "cors.max_age = \"77m\"".parse().unwrap());
        Builder::lay_over(&mut config, mistake.parse().unwrap());
        gateway.site().write("gateway.toml", toml::to_string(&config).unwrap());
        let outcome = gateway.cli(&["reload"]);
        assert!(outcome.code != 0, "{mistake} was taken: {}", outcome.stdout);
        outcome.says(&[word]);
        gateway.get("/x").origin(BARBA).send().is(200);
        let preflight = gateway.preflight("/x", BARBA, "PUT", "").send().is(204);
        assert_ne!(preflight.header("access-control-max-age"), Some("4620"));
        let message = Message::text(word);
        socket.send(message.clone()).expect("the WebSocket is open");
        assert_eq!(socket.read().expect("the WebSocket is open"), message);
        assert_eq!(gateway.status()["listeners"], listeners);
    }
    // Without the mistake the tenant goes, and its WebSocket with it.
    let mut config: toml::Table = good.parse().unwrap();
    config["tenant"].as_array_mut().unwrap().retain(|tenant| tenant["id"].as_str() != Some("barba"));
    gateway.site().write("gateway.toml", toml::to_string(&config).unwrap());
    gateway.cli(&["reload"]).ok();
    gateway.get("/x").origin(BARBA).send().is(403);
    assert!(matches!(socket.read(), Ok(Message::Close(_)) | Err(_)), "the WebSocket has ended");
}

#[test]
fn a_tenant_that_is_declared_no_longer_is_gone_and_its_file_stays() {
    let gateway = TestGateway::builder().shops().worker("notes.mjs").start();
    let body = serde_json::json!({ "sql": "CREATE TABLE kept (x)" });
    gateway.request("POST", "/sql").origin(BARBA).json(&body).send().is(200);
    let path = gateway.site().config_path();
    let both = std::fs::read_to_string(&path).unwrap();
    let mut config: toml::Table = both.parse().unwrap();
    let tenants = config["tenant"].as_array_mut().unwrap();
    tenants.retain(|tenant| tenant["id"].as_str() != Some("barba"));
    std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
    gateway.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("it is gone", || (gateway.get("/ticket").origin(BARBA).send().status == 403).then_some(()));
    gateway.get("/ticket").origin(NAVAJA).send().is(200);
    assert!(gateway.site().state().join("tenants/barba.db").exists());
    std::fs::write(&path, both).unwrap();
    gateway.cli(&["reload"]).ok();
    let body = serde_json::json!({ "sql": "SELECT count(*) FROM kept" });
    gateway.request("POST", "/sql").origin(BARBA).json(&body).send().is(200);
}

#[test]
fn limits_and_hosts_change_without_a_restart() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    gateway.get("/x").host("new.example").origin(NAVAJA).send().is(421);
    gateway.site().configure("[edge]\nhosts = [\"new.example\"]\n[edge.limits]\nbody_bytes_max = 10");
    gateway.cli(&["reload"]).ok();
    gateway.get("/x").host("new.example").origin(NAVAJA).send().is(200);
    gateway.post("/sink", "more than ten bytes").origin(NAVAJA).send().problem(413);
}

#[test]
fn what_cannot_change_while_running_is_said() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    gateway.site().configure(&format!("state_dir = {:?}", gateway.site().path().join("elsewhere")));
    let output = gateway.cli(&["reload"]);
    assert!(output.all().contains("state_dir"), "{}", output.all());
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn a_tenant_of_the_command_line_that_the_file_takes_over_is_told() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    gateway.cli(&["tenant", "add", "navaja", "--origin", NAVAJA]).ok();
    gateway.cli(&["tenant", "add", "barba", "--origin", BARBA]).ok();
    let declare = |id: &str, origin: &str| {
        gateway.site().configure(&format!("[[tenant]]\nid = {id:?}\norigins = [{origin:?}]"));
    };
    declare("navaja", NAVAJA);
    gateway
        .cli(&["reload"])
        .ok()
        .says(&["warning: tenant `navaja`, added on the command line, is declared now"]);
    assert!(!gateway.cli(&["reload"]).ok().all().contains("warning"), "it is told once");
    // A signal has nobody to answer, and a start has nobody to ask: the log is told.
    declare("barba", BARBA);
    let told = |gateway: &TestGateway| {
        let log = gateway.has_logged("tenant `barba`, added on");
        assert!(
            log.lines().any(|line| line.contains("WARN") && line.contains("tenant `barba`, added on")),
            "{log}"
        );
    };
    gateway.signal(nix::sys::signal::Signal::SIGHUP);
    told(&gateway);

    let site = TestGateway::builder().worker("echo.mjs").site();
    site.cli(&["tenant", "add", "barba", "--origin", BARBA]).ok();
    site.configure(&format!("[[tenant]]\nid = \"barba\"\norigins = [{BARBA:?}]"));
    told(&site.start());
}

#[test]
fn a_backend_that_is_renamed_serves_on_until_a_new_start() {
    let site = TestGateway::builder().shops().backend("api", "echo.mjs", &["api.example"]).site();
    let config = std::fs::read_to_string(site.config_path()).unwrap();
    let gateway = site.start();
    let served = |gateway: &TestGateway| gateway.get("/x").host("api.example").origin(NAVAJA).send().status;
    assert_eq!(served(&gateway), 200);
    let renamed = config.replace("backend.api", "backend.web");
    assert_ne!(renamed, config);
    gateway.site().write("gateway.toml", &renamed);
    for _ in 0..2 {
        gateway.cli(&["reload"]).ok().says(&["these take a new start: backend.api, backend.web"]);
        assert_eq!(served(&gateway), 200);
    }
    // Nobody would serve this one.
    let tenant = "[[tenant]]\nid = \"third\"\norigins = [\"https://third.example\"]\nbackend = \"web\"\n";
    gateway.site().write("gateway.toml", format!("{renamed}\n{tenant}"));
    let refused = gateway.cli(&["reload"]).fails(1);
    refused
        .says(&["tenant `third` names backend `web`, which begins with a new start", "hint: `gateway swap`"]);
    gateway.cli(&["swap"]).ok();
    assert_eq!(served(&gateway), 200);
    gateway.cli(&["status"]).ok().says(&["web/0", "swapped once"]);
    gateway.get("/x").origin("https://third.example").send().is(200);
    gateway.cli(&["reload"]).ok().says(&["reloaded"]);
}

#[test]
fn a_file_that_is_not_sound_is_told_once() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    gateway.site().configure("edge.limits.body_bytes_max = \"much\"");
    for order in [&["reload"][..], &["backend", "reload"]] {
        let output =
            gateway.cli(order).fails(2).says(&["body_bytes_max", "hint: `gateway check` shows the same"]);
        assert!(!output.stderr.contains("warning:"), "{}", output.stderr);
    }
    gateway.cli(&["status"]).ok().says(&["warning: one problem", "goes on with an earlier one"]);
}

//! `gateway tenant …` on a running gateway, where it works at once, and on the registry of one at rest.

use serde_json::{Value, json};

use crate::{BARBA, NAVAJA, Output, Site, TestGateway, eventually};

/// Runs `check` twice: on a running gateway, and on one that never ran.
fn running_and_at_rest(check: impl Fn(&dyn Fn(&[&str]) -> Output)) {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    check(&|arguments| gateway.cli(arguments));
    drop(gateway);
    let site = TestGateway::builder().worker("echo.mjs").site();
    check(&|arguments| site.cli(arguments));
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|tenant| tenant["id"].as_str().unwrap()).collect()
}

/// A gateway with the two shops in its registry and their `notes` tables made.
pub(crate) fn shops_with_notes() -> TestGateway {
    with_notes(TestGateway::builder().worker("notes.mjs").start())
}

/// The two shops and their `notes` tables, on a gateway that has neither.
pub(crate) fn with_notes(gateway: TestGateway) -> TestGateway {
    for (id, origin) in [("navaja", NAVAJA), ("barba", BARBA)] {
        let database = format!("sqlite://{id}.db");
        gateway.cli(&["tenant", "add", id, "--origin", origin, "--database", &database]).ok();
    }
    let migrations = notes_migration(gateway.site());
    gateway.cli(&["tenant", "migrate", &migrations, "--all"]).ok();
    gateway
}

/// A directory with the migration that makes the table `notes`.
pub(crate) fn notes_migration(site: &Site) -> String {
    let sql = "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL);";
    let path = site.write("migrations/0001_notes.sql", sql);
    path.parent().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_tenant_is_added_shown_changed_and_removed() {
    running_and_at_rest(|cli| {
        let added = cli(&[
            "tenant",
            "add",
            "navaja",
            "--origin",
            "HTTPS://Navaja.Example:443",
            "--database",
            "sqlite://n.db",
        ]);
        added.ok().says(&["navaja"]);
        let shown = cli(&["tenant", "show", "navaja", "--json"]).ok().json();
        assert_eq!((&shown["id"], &shown["status"]), (&json!("navaja"), &json!("active")));
        assert_eq!(shown["origins"], json!([NAVAJA]), "stored in the form browsers send");
        cli(&["tenant", "show", "navaja"]).ok().says(&["navaja", NAVAJA, "active"]);
        cli(&["tenant", "list"]).ok().says(&["navaja", NAVAJA]);
        assert_eq!(ids(&cli(&["tenant", "list", "--json"]).ok().json()), ["navaja"]);

        let www = "https://www.navaja.example";
        cli(&["tenant", "set", "navaja", "--add-origin", www, "--add-host", "api.navaja.example"]).ok();
        cli(&["tenant", "set", "navaja", "--remove-origin", NAVAJA]).ok();
        let shown = cli(&["tenant", "show", "navaja", "--json"]).ok().json();
        assert_eq!((&shown["origins"], &shown["hosts"]), (&json!([www]), &json!(["api.navaja.example"])));

        for (order, status) in
            [("suspend", "suspended"), ("resume", "active"), ("pause", "paused"), ("resume", "active")]
        {
            cli(&["tenant", order, "navaja"]).ok();
            let shown = cli(&["tenant", "show", "navaja", "--json"]).ok().json();
            assert_eq!(shown["status"], status);
        }
        cli(&["tenant", "remove", "navaja"]).ok();
        cli(&["tenant", "show", "navaja"]).fails(1).says(&["navaja"]);
        assert_eq!(cli(&["tenant", "list", "--json"]).ok().json(), json!([]));
    });
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason_and_changes_nothing() {
    running_and_at_rest(|cli| {
        cli(&["tenant", "add", "navaja", "--origin", NAVAJA]).ok();
        for (arguments, word) in [
            (&["tenant", "add", "navaja"][..], "navaja"),
            (&["tenant", "add", "Not An Id"], "Not An Id"),
            (&["tenant", "add", "x", "--origin", "acme.example"], "https://"),
            (&["tenant", "add", "x", "--origin", "https://acme.example/path"], "path"),
            (&["tenant", "add", "x", "--host", "https://acme.example"], "scheme"),
            (&["tenant", "add", "x", "--database", "sqlite://:memory:"], "memory"),
            (&["tenant", "add", "x", "--backend", "nobody"], "nobody"),
            (&["tenant", "set", "nobody", "--add-origin", BARBA], "nobody"),
            (&["tenant", "set", "navaja", "--remove-origin", BARBA], "barba"),
            (&["tenant", "suspend", "nobody"], "nobody"),
            (&["tenant", "remove", "nobody"], "nobody"),
            (&["tenant", "key", "add", "nobody", "app"], "nobody"),
            (&["tenant", "frobnicate"], "frobnicate"),
        ] {
            let output = cli(arguments);
            assert!(
                matches!(output.code, 1 | 2),
                "{arguments:?} ended with {}: {}",
                output.code,
                output.all()
            );
            output.says(&[word]);
        }
        assert_eq!(ids(&cli(&["tenant", "list", "--json"]).ok().json()), ["navaja"]);
    });
}

#[test]
fn a_postgresql_or_mysql_url_gets_a_clear_not_yet_and_is_never_repeated() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    for url in ["postgres://shop:hunter2@db.example/shop", "mysql://shop:hunter2@db.example/shop"] {
        let output = gateway.site().cli_with(&["tenant", "add", "x", "--database", "-"], url, &[]);
        assert_ne!(output.code, 0);
        assert!(
            output.all().contains("not served yet") && !output.all().contains("hunter2"),
            "{}",
            output.all()
        );
        // On the command line everybody could read it.
        let output = gateway.cli(&["tenant", "add", "x", "--database", url]);
        assert!(output.code != 0 && !output.all().contains("hunter2"), "{}", output.all());
    }
    assert!(!gateway.log().contains("hunter2"));
}

#[test]
fn a_database_url_comes_by_standard_input_file_or_environment_and_is_sealed() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    let site = gateway.site();
    let secret = |name: &str| format!("sqlite://secret-{name}.db");
    site.cli_with(
        &["tenant", "add", "a", "--origin", "https://a.example", "--database", "-"],
        &secret("a"),
        &[],
    )
    .ok();
    let file = site.write("b.url", secret("b"));
    site.cli(&[
        "tenant",
        "add",
        "b",
        "--origin",
        "https://b.example",
        "--database-file",
        file.to_str().unwrap(),
    ])
    .ok();
    let variable = [("GATEWAY_TENANT_DATABASE", &*secret("c"))];
    site.cli_with(&["tenant", "add", "c", "--origin", "https://c.example"], "", &variable).ok();
    for id in ["a", "b", "c"] {
        let answer = gateway.get("/x").origin(&format!("https://{id}.example")).send().is(200);
        assert!(answer.seen_header("x-gateway-database-url").unwrap().contains(&format!("/secret-{id}/")));
    }
    // In the registry's file no URL can be read.
    let site = gateway.stop();
    for entry in std::fs::read_dir(site.state()).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let found = bytes.windows(9).any(|window| window == b"secret-a.");
            assert!(!found, "{} holds a database URL in the clear", entry.path().display());
        }
    }
}

#[test]
fn orders_work_on_the_running_gateway_at_once() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    let mut wire = gateway.wire();
    let mut status = |expected: u16| {
        wire.send(gateway.get("/x").origin(NAVAJA).bytes());
        let answer = wire.answer();
        assert_eq!(answer.status, expected, "{}", answer.text());
    };
    status(403);
    gateway.cli(&["tenant", "add", "navaja", "--origin", NAVAJA]).ok();
    status(200);
    gateway.cli(&["tenant", "pause", "navaja"]).ok();
    status(503);
    gateway.cli(&["tenant", "resume", "navaja"]).ok();
    status(200);
    gateway.cli(&["tenant", "set", "navaja", "--remove-origin", NAVAJA, "--add-origin", BARBA]).ok();
    status(403);
    gateway.cli(&["tenant", "set", "navaja", "--add-origin", NAVAJA]).ok();
    status(200);
    gateway.cli(&["tenant", "remove", "navaja"]).ok();
    status(403);
    eventually("orders have left audit lines", || {
        (gateway.log().matches("tenant").count() >= 6).then_some(())
    });
}

#[test]
fn what_was_ordered_survives_a_restart_and_a_kill() {
    let site = TestGateway::builder().worker("echo.mjs").site();
    site.cli(&["tenant", "add", "at-rest", "--origin", "https://at-rest.example"]).ok();
    let gateway = site.start();
    gateway.get("/x").origin("https://at-rest.example").send().is(200);
    gateway.cli(&["tenant", "add", "running", "--origin", NAVAJA]).ok();
    gateway.cli(&["tenant", "suspend", "at-rest"]).ok();
    let site = gateway.kill();
    let gateway = site.start();
    gateway.get("/x").origin(NAVAJA).send().is(200);
    gateway.get("/x").origin("https://at-rest.example").send().is(403);
}

#[test]
fn declared_tenants_refuse_edits_with_a_hint_where_to_make_them() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    for arguments in [
        &["tenant", "set", "navaja", "--add-origin", "https://www.navaja.example"][..],
        &["tenant", "remove", "navaja"],
    ] {
        gateway.cli(arguments).fails(1).says(&["navaja", "[[tenant]]"]);
    }
    gateway.get("/x").origin(NAVAJA).send().is(200);
    // The file is the place: a reload brings what it says.
    let site = gateway.site();
    let text = std::fs::read_to_string(site.config_path()).unwrap();
    std::fs::write(site.config_path(), text.replace(NAVAJA, "https://www.navaja.example")).unwrap();
    gateway.cli(&["reload"]).ok();
    gateway.get("/x").origin("https://www.navaja.example").send().is(200);
    gateway.get("/x").origin(NAVAJA).send().is(403);
}

#[test]
fn what_is_exported_can_be_applied_elsewhere_and_prune_removes_the_rest() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    gateway.cli(&["tenant", "add", "navaja", "--origin", NAVAJA, "--host", "api.navaja.example"]).ok();
    gateway.cli(&["tenant", "add", "barba", "--origin", BARBA, "--cors", r#"{"credentials": true}"#]).ok();
    let exported = gateway.cli(&["tenant", "export"]).ok().stdout;
    drop(gateway);

    let site = TestGateway::builder().worker("echo.mjs").site();
    site.cli(&["tenant", "add", "third", "--origin", "https://third.example"]).ok();
    let file = site.write("tenants.toml", &exported);
    let file = file.to_str().unwrap();
    site.cli(&["tenant", "apply", file]).ok().says(&["navaja", "barba"]);
    assert_eq!(ids(&site.cli(&["tenant", "list", "--json"]).ok().json()), ["barba", "navaja", "third"]);
    let barba = site.cli(&["tenant", "show", "barba", "--json"]).ok().json();
    assert_eq!(barba["cors"]["credentials"], true, "{barba}");
    site.cli(&["tenant", "apply", file, "--prune"]).ok().says(&["third"]);
    assert_eq!(ids(&site.cli(&["tenant", "list", "--json"]).ok().json()), ["barba", "navaja"]);
    // A second time there is nothing to do; all of it or nothing.
    site.cli(&["tenant", "apply", file]).ok();
    let clash = exported.replace(BARBA, NAVAJA).replace("api.navaja", "api2.navaja");
    assert_ne!(site.cli_with(&["tenant", "apply", "-"], &clash, &[]).code, 0);
    let navaja = site.cli(&["tenant", "show", "navaja", "--json"]).ok().json();
    assert_eq!(navaja["hosts"], json!(["api.navaja.example"]), "half of a bad file was applied");
}

#[test]
fn keys_are_shown_once_listed_by_name_and_worthless_when_removed() {
    running_and_at_rest(|cli| {
        cli(&["tenant", "add", "navaja", "--origin", NAVAJA]).ok();
        let key = cli(&["tenant", "key", "add", "navaja", "app"]).ok().stdout.trim().to_owned();
        assert!(
            key.len() >= 40 && !key.contains(char::is_whitespace),
            "standard output is the key alone: {key:?}"
        );
        cli(&["tenant", "key", "add", "navaja", "app"]).fails(1).says(&["app"]);
        let list = cli(&["tenant", "key", "list", "navaja", "--json"]).ok();
        assert!(list.json()[0]["name"] == "app" && !list.stdout.contains(&key));
        assert!(!cli(&["tenant", "show", "navaja", "--json"]).ok().stdout.contains(&key));
        cli(&["tenant", "key", "remove", "navaja", "app"]).ok();
        assert_eq!(cli(&["tenant", "key", "list", "navaja", "--json"]).ok().json(), json!([]));
        cli(&["tenant", "key", "remove", "navaja", "app"]).fails(1);
    });
}

#[test]
fn check_proves_a_tenant_end_to_end() {
    let gateway = shops_with_notes();
    let output = gateway.cli(&["tenant", "check", "navaja"]);
    // DNS of a reserved name can lead nowhere; everything on this machine must be well.
    for word in ["certificate", "preflight", "worker", "database"] {
        let line = output.stdout.lines().find(|line| line.to_lowercase().contains(word));
        let line = line.unwrap_or_else(|| panic!("no line about the {word}:\n{}", output.all()));
        assert!(line.contains('✓'), "{line}");
    }
    gateway.cli(&["tenant", "suspend", "navaja"]).ok();
    let output = gateway.cli(&["tenant", "check", "navaja"]).fails(1);
    assert!(output.all().contains("suspended"), "{}", output.all());
    gateway.cli(&["tenant", "check", "nobody"]).fails(1).says(&["nobody"]);
}

#[test]
fn two_gateways_never_share_a_state_directory() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    gateway.cli(&["run"]).fails(1).says(&["state"]);
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn no_tenant_takes_a_host_that_serves_all_of_them() {
    running_and_at_rest(|cli| {
        cli(&["tenant", "add", "navaja", "--origin", NAVAJA]).ok();
        let taken = "`api.example` belongs to backend `api`";
        let add = cli(&["tenant", "add", "thief", "--origin", BARBA, "--host", "API.example."]).fails(1);
        add.says(&[taken, "hint: "]);
        cli(&["tenant", "set", "navaja", "--add-host", "api.example"]).fails(1).says(&[taken]);
        assert_eq!(ids(&cli(&["tenant", "list", "--json"]).ok().json()), ["navaja"]);
    });
}

#[test]
fn a_configuration_that_takes_a_tenants_host_is_refused_with_the_remedy() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    let host = "api.navaja.example";
    gateway.cli(&["tenant", "add", "navaja", "--origin", NAVAJA, "--host", host]).ok();
    gateway.site().configure(&format!("[edge]\nhosts = [\"{host}\"]"));
    let remedy = "gateway tenant set navaja --remove-host api.navaja.example";
    gateway.cli(&["reload"]).fails(1).says(&["`edge.hosts`", remedy]);
    gateway.get("/x").host(host).send().is(200);
    let site = gateway.stop();
    site.cli(&["run"]).fails(1).says(&["`edge.hosts`", remedy]);
    site.cli(&["tenant", "set", "navaja", "--remove-host", host]).ok();
    let gateway = site.start();
    gateway.get("/x").host(host).origin(NAVAJA).send().is(200);
}

//! Tenants' data from the command line: migrations, commands, copies out and in, backups.

use serde_json::json;

use crate::{
    BARBA, NAVAJA, TestGateway, eventually,
    tenants::{notes_migration, shops_with_notes},
};

fn note(gateway: &TestGateway, origin: &str, text: &str) {
    gateway.request("POST", "/notes").origin(origin).json(&json!({ "text": text })).send().is(200);
}

fn notes(gateway: &TestGateway, origin: &str) -> Vec<String> {
    let rows = gateway.get("/notes").origin(origin).send().is(200).json();
    rows.as_array().unwrap().iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_migration_goes_on_past_a_tenant_that_fails_and_resumes_where_it_stopped() {
    let gateway = shops_with_notes();
    let site = gateway.site();
    note(&gateway, BARBA, "in the way");
    site.write("migrations/0002_one.sql", "CREATE TABLE one (x); INSERT INTO one VALUES (1);");
    // This one fails where a note exists.
    let fails = "CREATE TABLE two (x INTEGER NOT NULL); INSERT INTO two SELECT NULL FROM notes;";
    site.write("migrations/0003_two.sql", fails);
    site.write("migrations/0004_three.sql", "CREATE TABLE three (x);");
    let directory = site.path().join("migrations");
    let directory = directory.to_str().unwrap();
    let output = gateway.cli(&["tenant", "migrate", directory, "--all", "--parallel", "2"]).fails(1);
    output.says(&["✓ navaja", "✗ barba", "NOT NULL"]);
    let tables = |origin: &str| {
        let sql = "SELECT name FROM sqlite_master WHERE name IN ('one', 'two', 'three') ORDER BY name";
        let answer =
            gateway.request("POST", "/sql").origin(origin).json(&json!({ "sql": sql })).send().is(200);
        answer.json()["rows"].to_string()
    };
    assert!(tables(NAVAJA).contains("three"));
    assert!(tables(BARBA).contains("one") && !tables(BARBA).contains("two"), "half a migration stayed");
    gateway.request("POST", "/sql").origin(BARBA).json(&json!({ "sql": "DELETE FROM notes" })).send().is(200);
    gateway.cli(&["tenant", "migrate", directory, "--all"]).ok().says(&["✓ navaja", "✓ barba"]);
    assert!(tables(BARBA).contains("three"));
    let verdicts = gateway.cli(&["tenant", "migrate", directory, "--all", "--json"]).ok().json();
    assert_eq!(verdicts.as_array().map(Vec::len), Some(2), "{verdicts}");
    // A file that was changed after it had been applied is not passed over in silence.
    site.write("migrations/0002_one.sql", "CREATE TABLE other (x);");
    gateway.cli(&["tenant", "migrate", directory, "--tenant", "navaja"]).fails(1).says(&["navaja"]);
}

#[test]
fn a_migration_works_on_a_gateway_at_rest() {
    let site = TestGateway::builder().worker("notes.mjs").site();
    site.cli(&["tenant", "add", "navaja", "--origin", NAVAJA, "--database", "sqlite://navaja.db"]).ok();
    site.cli(&["tenant", "migrate", &notes_migration(&site), "--all"]).ok().says(&["✓ navaja"]);
    let gateway = site.start();
    note(&gateway, NAVAJA, "written");
    assert_eq!(notes(&gateway, NAVAJA), ["written"]);
}

#[test]
fn requests_wait_while_their_tenant_is_migrated() {
    let gateway = shops_with_notes();
    let site = gateway.site();
    // Work inside the migration that a request has to wait for, well within `pool.wait_timeout` on a busy machine too.
    let slow = "CREATE TABLE slow AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 500000) \
                SELECT x FROM n;";
    site.write("migrations/0002_slow.sql", slow);
    let directory = site.path().join("migrations");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = [NAVAJA, BARBA].map(|origin| {
            let (gateway, done) = (&gateway, &done);
            scope.spawn(move || {
                let mut answers = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    gateway.get("/notes").origin(origin).send().is(200);
                    answers += 1;
                }
                answers
            })
        });
        gateway.cli(&["tenant", "migrate", directory.to_str().unwrap(), "--tenant", "navaja"]).ok();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

#[test]
fn exec_runs_a_command_with_the_tenants_own_database_and_tells_each_outcome() {
    let gateway = shops_with_notes();
    let script = r#"
        const { createRequire } = require('node:module');
        const { createClient } = createRequire(process.argv[1])('@libsql/client');
        createClient({ url: process.env.DATABASE_URL })
            .execute({ sql: 'INSERT INTO notes (text) VALUES (?)', args: [process.env.GATEWAY_TENANT] })
            .then(() => process.exit(process.env.GATEWAY_TENANT === 'barba' ? Number(process.argv[2]) : 0));
    "#;
    let package = crate::node::directory().join("package.json");
    let package = package.to_str().unwrap();
    gateway.cli(&["tenant", "exec", "navaja", "--", "node", "-e", script, package, "0"]).ok();
    assert_eq!(notes(&gateway, NAVAJA), ["navaja"]);
    assert_eq!(notes(&gateway, BARBA), Vec::<String>::new());
    let all = ["tenant", "exec", "--all", "--parallel", "2", "--", "node", "-e", script, package, "3"];
    gateway.cli(&all).fails(1).says(&["✓ navaja", "✗ barba"]);
    assert_eq!((notes(&gateway, NAVAJA).len(), notes(&gateway, BARBA).len()), (2, 1));
    gateway.cli(&["tenant", "exec", "navaja", "--", "no-such-program"]).fails(1).says(&["no-such-program"]);
    gateway.cli(&["tenant", "exec", "nobody", "--", "true"]).fails(1).says(&["nobody"]);
    gateway.cli(&["tenant", "exec", "navaja"]).fails(2);
}

#[test]
fn exec_for_one_tenant_ends_as_its_command_did_and_for_several_with_1() {
    let gateway = shops_with_notes();
    let exec = |tenants: &[&str], script: &str| {
        gateway.cli(&[&["tenant", "exec"], tenants, &["--", "sh", "-c", script]].concat())
    };
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 128 + 15)] {
        let ended = exec(&["navaja"], script);
        assert_eq!((ended.code, ended.stderr.as_str()), (code, ""), "{script}");
    }
    for tenants in [&["navaja", "barba"][..], &["--all"]] {
        exec(tenants, "exit 7").fails(1).says(&["✗ navaja: exit status: 7", "2 tenants done, 2 failed"]);
    }
}

#[test]
fn exec_needs_the_running_gateways_door() {
    let site = TestGateway::builder().worker("notes.mjs").site();
    site.cli(&["tenant", "add", "navaja", "--origin", NAVAJA, "--database", "sqlite://navaja.db"]).ok();
    let output = site.cli(&["tenant", "exec", "navaja", "--", "true"]);
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("running"), "{}", output.stderr);
}

#[test]
fn a_dump_is_one_moment_of_a_database_in_use_and_can_be_loaded() {
    let gateway = shops_with_notes();
    note(&gateway, NAVAJA, "before");
    let file = gateway.site().path().join("navaja.dump.db");
    let file = file.to_str().unwrap();
    gateway.cli(&["tenant", "dump", "navaja", file]).ok();
    note(&gateway, NAVAJA, "after");
    note(&gateway, BARBA, "untouched");
    gateway.cli(&["tenant", "load", "navaja", file]).ok();
    assert_eq!(notes(&gateway, NAVAJA), ["before"]);
    assert_eq!(notes(&gateway, BARBA), ["untouched"]);
    // What is no database replaces nothing.
    let junk =
        gateway.site().write("junk.db", "this is no database at all, whatever its name says".repeat(100));
    gateway.cli(&["tenant", "load", "navaja", junk.to_str().unwrap()]).fails(1).says(&["SQLite"]);
    let cut = std::fs::read(file).unwrap();
    let cut = gateway.site().write("cut.db", &cut[..cut.len() - 5000]);
    gateway.cli(&["tenant", "load", "navaja", cut.to_str().unwrap()]).fails(1);
    let gone = gateway.cli(&["tenant", "load", "navaja", "/no/such/file.db"]).says(&["/no/such/file.db"]);
    assert_ne!(gone.code, 0);
    assert_eq!(notes(&gateway, NAVAJA), ["before"]);
}

#[test]
fn a_backup_of_the_running_gateway_restores_tenants_keys_and_data_elsewhere() {
    let gateway = shops_with_notes();
    note(&gateway, NAVAJA, "kept");
    let key = gateway.cli(&["tenant", "key", "add", "navaja", "app"]).ok().stdout.trim().to_owned();
    std::fs::write(gateway.site().state().join("example.log"), "a page was served").unwrap();
    let file = gateway.site().path().join("gateway.backup");
    let file = file.to_str().unwrap();
    let passphrase = [("GATEWAY_BACKUP_PASSPHRASE", "correct horse battery staple")];
    gateway.site().cli_with(&["backup", file], "", &passphrase).ok();
    let copy = std::fs::read(file).unwrap();
    note(&gateway, NAVAJA, "too late");
    let ca = std::fs::read(gateway.site().state().join("local-ca/ca.pem")).unwrap();
    drop(gateway);

    let site = TestGateway::builder().worker("notes.mjs").site();
    let file = site.write("gateway.backup", &copy);
    let file = file.to_str().unwrap();
    site.cli_with(&["restore", file], "", &[("GATEWAY_BACKUP_PASSPHRASE", "wrong wrong wrong")]).fails(1);
    site.cli_with(&["restore", file], "", &passphrase).ok();
    assert_eq!(std::fs::read(site.state().join("local-ca/ca.pem")).unwrap(), ca);
    assert!(!site.state().join("example.log").exists(), "what is not the gateway's own was in it");
    let gateway = site.start();
    assert_eq!(notes(&gateway, NAVAJA), ["kept"]);
    gateway.get("/notes").header("x-gateway-key", &key).send().is(200);
    // Never over a running one.
    gateway.site().cli_with(&["restore", file], "", &passphrase).fails(1);
    assert_eq!(notes(&gateway, NAVAJA), ["kept"]);
}

#[test]
fn a_backup_that_fails_names_the_tenant_leaves_no_file_and_is_told_in_the_audit() {
    let gateway = shops_with_notes();
    let site = gateway.site();
    let passphrase = [("GATEWAY_BACKUP_PASSPHRASE", "correct horse battery staple")];
    let backup =
        || site.cli_with(&["backup", site.path().join("b/x.tar").to_str().unwrap()], "", &passphrase);
    std::fs::create_dir(site.path().join("b")).unwrap();
    gateway.cli(&["tenant", "add", "broken", "--database", "sqlite://broken.db"]).ok();
    std::fs::write(site.state().join("tenants/broken.db"), [0x5a; 9000]).unwrap();
    let output = backup().fails(1);
    assert!(output.stderr.starts_with("error: tenant `broken` cannot be backed up"), "{}", output.stderr);
    output.says(&["broken.db", "not a database", "hint: "]);
    assert_eq!(std::fs::read_dir(site.path().join("b")).unwrap().count(), 0, "a part was left");
    let lines = |word: &str| {
        let log = gateway.log();
        log.lines().filter(|line| line.contains("POST /backup") && line.contains(word)).count()
    };
    eventually("the audit has the failure", || (lines("order failed") == 1).then_some(()));
    assert_eq!(lines("order carried out"), 0, "{}", gateway.log());
    gateway.cli(&["tenant", "remove", "broken"]).ok();
    backup().ok();
    eventually("the audit has it", || (lines("order carried out") == 1).then_some(()));
}

#[test]
fn a_damaged_backup_changes_nothing() {
    let gateway = shops_with_notes();
    let passphrase = [("GATEWAY_BACKUP_PASSPHRASE", "correct horse battery staple")];
    let file = gateway.site().path().join("gateway.backup");
    gateway.site().cli_with(&["backup", file.to_str().unwrap()], "", &passphrase).ok();
    let whole = std::fs::read(&file).unwrap();
    drop(gateway);
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for damaged in [&whole[..whole.len() / 2], &flipped, b"junk"] {
        let site = TestGateway::builder().worker("notes.mjs").site();
        site.cli(&["tenant", "add", "here", "--origin", NAVAJA]).ok();
        let file = site.write("gateway.backup", damaged);
        site.cli_with(&["restore", file.to_str().unwrap()], "", &passphrase).fails(1);
        let list = site.cli(&["tenant", "list", "--json"]).ok().json();
        assert_eq!(list[0]["id"], "here", "{list}");
    }
}

#[test]
fn suspension_ends_tickets_at_once_and_rotation_makes_new_ones() {
    let gateway = shops_with_notes();
    let ticket =
        || gateway.get("/ticket").origin(NAVAJA).send().is(200).json()["url"].as_str().unwrap().to_owned();
    let first = ticket();
    assert_eq!(first, ticket(), "a ticket is stable, so that a driver pool can be cached by it");
    let with = |url: &str| {
        let body = json!({ "sql": "SELECT 1 AS one", "url": url });
        gateway.request("POST", "/sql").origin(BARBA).json(&body).send().status
    };
    assert_eq!(with(&first), 200);
    gateway.cli(&["tenant", "rotate", "navaja"]).ok();
    eventually("the old ticket is dead", || (with(&first) == 500).then_some(()));
    let second = ticket();
    assert_ne!(first, second);
    assert_eq!(with(&second), 200);
    gateway.cli(&["tenant", "suspend", "navaja"]).ok();
    assert_eq!(with(&second), 500);
    gateway.cli(&["tenant", "resume", "navaja"]).ok();
    assert_eq!((with(&first), with(&second)), (500, 500), "a suspended tenant's tickets came back to life");
    assert_eq!(with(&ticket()), 200);
    // Paused: requests stop, tickets stay good for the work that is under way.
    let third = ticket();
    gateway.cli(&["tenant", "pause", "navaja"]).ok();
    assert_eq!(with(&third), 200);
}

//! The rules against samples that break them, and against samples that only look like it.

use crate::{
    imports::{Rooms, wrong_imports},
    links, rules,
    source::Source,
    units,
};

fn check(rule: impl Fn(&Source) -> Vec<String>, path: &str, text: &str, problems: usize) {
    let found = rule(&Source::new(path, text));
    assert_eq!(found.len(), problems, "{path}: {text:?} gave {found:#?}");
}

#[test]
fn imports_against_the_table_are_found_wherever_they_stand() {
    let rooms = Rooms::of("edge", &["Config", "TlsConfig"]);
    let imports = |source: &Source| wrong_imports(source, &rooms);
    for (path, text, problems) in [
        ("src/edge/forward.rs", "use crate::door::Knock;", 1),
        ("src/edge/forward.rs", "use crate::{tenant::Tenant, door::{self, Knock}};", 2),
        ("src/edge/forward.rs", "fn f() { crate::door::knock(); }", 1),
        ("src/edge/forward.rs", "fn f() { super::super::door::knock(); }", 1),
        ("src/edge.rs", "use super::door;", 1),
        ("src/door/knock.rs", "use crate::edge::Edge as E;", 1),
        ("src/door/knock.rs", "use crate::{pool::{Pools, Lease}, tenant::Tickets, shutdown::Shutdown};", 0),
        ("src/edge/forward.rs", "use crate::backend::{Roster, WorkerLease};", 0),
        ("src/edge/forward.rs", "use crate::backend::Backend;", 1),
        ("src/edge/forward.rs", "use crate::backend;\nfn f(_: backend::Roster, _: backend::Backend) {}", 1),
        ("src/admin/api.rs", "use crate::edge::Certificates;", 0),
        ("src/admin/api.rs", "use crate::edge::Edge;", 1),
        ("src/config/check.rs", "use crate::edge::{Config, TlsConfig};", 0),
        ("src/config/check.rs", "use crate::edge;\nfn f(_: edge::Config, _: edge::Edge) {}", 1),
        ("src/tenant/store.rs", "use crate::pool::Pools;", 1),
        ("src/tenant/store.rs", "use crate::error::Fault;", 0),
        ("src/shutdown.rs", "use crate::error::Fault;", 1),
        ("src/pool/lease.rs", "use crate::gateway::Gateway;", 1),
        ("src/cli/run.rs", "use crate::{gateway::Gateway, admin, config::Config};", 0),
        ("src/gateway.rs", "use crate::cli::main;", 1),
        ("src/edge/forward.rs", "// crate::door::Knock\nconst T: &str = \"crate::door::Knock\";", 0),
        ("src/edge/forward.rs", "#[cfg(test)]\nmod tests {\n    use crate::door::Knock;\n}", 0),
        ("src/edge/tests.rs", "use crate::door::Knock;", 0),
    ] {
        check(imports, path, text, problems);
    }
}

#[test]
fn long_files_are_found_and_their_tests_are_not_counted() {
    let long = "x\n".repeat(401);
    check(rules::too_long, "src/edge/a.rs", &long, 1);
    check(rules::too_long, "src/edge/tests.rs", &long, 0);
    let tested = format!("{}#[cfg(test)]\nmod tests {{\n{long}}}\n", "x\n".repeat(400));
    check(rules::too_long, "src/edge/a.rs", &tested, 0);
}

#[test]
fn headers_and_names_that_say_nothing_are_found() {
    check(rules::header_missing, "src/a.rs", "use std::fs;", 1);
    check(rules::header_missing, "src/a.rs", "//! What a worker is.\n", 0);
    check(rules::bad_module_name, "src/edge/mod.rs", "", 1);
    check(rules::bad_module_name, "src/edge/util.rs", "", 1);
    check(rules::bad_module_name, "src/edge/http_helpers.rs", "", 1);
    check(rules::bad_module_name, "src/a.rs", "mod common;\nstruct PoolManager;\nenum Utility {}", 2);
    check(rules::getter_prefix, "src/a.rs", "fn get_name() {}\nfn target() {}\nfn widget_get() {}", 1);
    check(rules::name_is_no_fact, "src/a.rs", "fn test_it() {}\nfn latest_wins() {}", 1);
}

#[test]
fn silenced_skipped_and_unfinished_code_is_found() {
    check(
        rules::silenced,
        "src/a.rs",
        "#[allow(dead_code)]\n#![allow(x)]\n#[ignore]\n#[ignore = \"slow\"]",
        4,
    );
    check(rules::silenced, "src/a.rs", "#[expect(dead_code, reason = \"#[allow(x)]\")]", 0);
    check(rules::left_to_do, "src/a.rs", "todo!()\n// todo!()\nunimplemented!(\"x\")", 2);
}

#[test]
fn prints_loose_tasks_and_queues_without_bound_are_found() {
    check(rules::prints, "src/edge/a.rs", "println!(\"x\"); eprintln!(\"x\");", 1);
    check(rules::prints, "src/cli/a.rs", "println!(\"x\")", 0);
    check(rules::prints, "src/edge/a.rs", "#[cfg(test)]\nmod tests {\n    println!()\n}", 0);
    check(
        rules::loose_task,
        "src/edge/a.rs",
        "tokio::spawn(x);\ntask::spawn_local(y);\nshutdown.spawn(z)",
        2,
    );
    check(rules::loose_task, "src/shutdown.rs", "tokio::spawn(x)", 0);
    check(
        rules::unbounded,
        "src/edge/a.rs",
        "mpsc::unbounded_channel();\nmpsc::channel();\nmpsc::channel(8)",
        2,
    );
    check(rules::starts_a_process, "src/edge/a.rs", "let child = Command::new(\"node\");", 1);
    check(rules::starts_a_process, "src/backend/child.rs", "Command::new(\"node\")", 0);
}

#[test]
fn sql_on_our_own_tables_outside_the_store_is_found() {
    let tables = ["tenant".to_owned(), "tenant_origin".to_owned()];
    let sql = |source: &Source| rules::foreign_sql(source, &tables);
    check(sql, "src/admin/a.rs", "query(\"SELECT id FROM tenant where 1\")", 1);
    check(sql, "src/admin/a.rs", "query(r#\"delete from tenant_origin\"#)", 1);
    check(sql, "src/admin/a.rs", "query(\"\n insert into tenant (id)\")", 1);
    check(sql, "src/admin/a.rs", "(\"select 1 from sqlite_master\", \"removed from tenant acme\")", 0);
    check(sql, "src/tenant/store/write.rs", "query(\"insert into tenant (id)\")", 0);
}

#[test]
fn tests_in_the_middle_of_a_file_are_found() {
    check(rules::tests_not_last, "src/a.rs", "#[cfg(test)]\nmod tests {\n    fn a() {}\n}\nfn b() {}", 1);
    check(rules::tests_not_last, "src/a.rs", "fn b() {}\n#[cfg(test)]\nmod tests {\n    fn a() {}\n}\n", 0);
}

#[test]
fn traces_of_one_machine_are_found() {
    let path = ["/wo", "rk/main"].concat();
    check(rules::machine_known, "docs/a.md", &format!("see {path}"), 1);
    check(rules::machine_known, "docs/a.md", "a worker works/ well", 0);
    check(rules::machine_known, "x/package-lock.json", "  \"resolved\": \"https://mirror/x.tgz\",", 1);
}

#[test]
fn dead_links_are_found() {
    check(
        links::dead_links,
        "docs/a.md",
        "[x](nothing.md) [y](https://example.com) [`z`](also-nothing.md)",
        2,
    );
    check(links::dead_links, "a.md", "[x](Cargo.toml)\n```\n[x](nothing)\n```\n`[x](nothing)`", 0);
    check(links::dead_links, "docs/a.md", "[x](../Cargo.toml)", 0);
}

#[test]
fn literals_and_comments_are_no_code() {
    let source =
        Source::new("src/a.rs", "let a = \"x // y\"; // tail\nlet b = 'c'; fn f<'a>(s: &'a str) {} r\"raw\"");
    assert!(!source.code.contains("x //") && !source.code.contains("tail") && !source.code.contains("raw"));
    assert!(source.code.contains("fn f<'a>(s: &'a str)"));
    assert_eq!(source.strings, [(1, "x // y".to_owned()), (2, "raw".to_owned())]);
}

#[test]
fn directives_that_nobody_explains_are_found() {
    let page = "`Type=notify` and `PrivateTmp`, not Restart=always\n";
    let unit = "# Restart=no\n[Service]\nType=notify\nPrivateTmp=yes\nRestart=always\n";
    let rule = |source: &Source| units::unexplained(source, page);
    check(rule, "systemd/a.service", unit, 1);
}

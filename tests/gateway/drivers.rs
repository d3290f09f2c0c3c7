//! The `db(req)` that the documentation prints, run as printed.

use std::{os::unix::fs::symlink, path::PathBuf};

use crate::{BARBA, NAVAJA, TestGateway, node, tenants::with_notes};

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs")
}

#[track_caller]
fn check(kind: &str) {
    let printed = std::fs::read_to_string(docs().join(format!("drivers/{kind}.mjs"))).unwrap();
    let page = std::fs::read_to_string(docs().join("doors-and-drivers.md")).unwrap();
    assert!(page.contains(printed.trim()), "docs/doors-and-drivers.md prints another {kind}.mjs");
    // Beside the tests' packages, as it would stand beside an application's.
    let app = tempfile::tempdir().unwrap();
    let file = app.path().join(format!("{kind}.mjs"));
    std::fs::write(&file, printed).unwrap();
    symlink(node::directory().join("node_modules"), app.path().join("node_modules")).unwrap();
    let env = format!("backend.api.env = {{ DRIVER = \"{}\", KIND = \"{kind}\" }}", file.display());
    let gateway = with_notes(TestGateway::builder().worker("drivers.mjs").config(&env).start());
    gateway.post("/notes", "").origin(NAVAJA).send().is(200);
    let texts = |origin: &str| gateway.get("/notes").origin(origin).send().is(200).text();
    assert_eq!(texts(NAVAJA), format!("[{{\"text\":\"by {kind}\"}}]"));
    assert_eq!(texts(BARBA), "[]");
}

#[test]
fn the_printed_libsql_client_serves_each_shop_its_own_data() {
    check("libsql");
}

#[test]
fn the_printed_drizzle_client_serves_each_shop_its_own_data() {
    check("drizzle");
}

#[test]
fn the_printed_kysely_client_serves_each_shop_its_own_data() {
    check("kysely");
}

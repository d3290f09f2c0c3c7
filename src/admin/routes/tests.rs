//! The routes on real registries and SQLite files, without listeners: what an order does, from end to end.

use std::path::Path as FilePath;

use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use zeroize::Zeroizing;

use super::*;
use crate::{
    admin::{Peer, Places, Restore, restore},
    metrics::Metrics,
    pool::{self, Pools},
    tenant::{self, TenantPaths, Tenants},
};

/// A gateway at rest in a directory of its own.
struct Rest {
    router: Router,
    tenants: Arc<Tenants>,
    pools: Arc<Pools>,
}

fn places(directory: &FilePath) -> Places {
    Places::of(&tenant::Config::default(), directory, &pool::Config::default())
}

impl Rest {
    async fn open(directory: &FilePath) -> Self {
        let paths = TenantPaths::below(directory, &tenant::Config::default(), None);
        let tenants = Arc::new(Tenants::open(paths).await.unwrap());
        let (registry, life) = (tenants.registry().clone(), Shutdown::new());
        let pools = Pools::new(pool::Config::default(), directory.to_owned(), registry, life, Metrics::new());
        let parts = Parts {
            tenants: tenants.clone(),
            pools: pools.clone(),
            places: places(directory),
            certificates: Box::new(Vec::new),
            live: None,
        };
        Self { router: router(parts), tenants, pools }
    }

    async fn send(&self, method: Method, path: &str, body: Body) -> (u16, Vec<u8>) {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        request.extensions_mut().insert(Peer::own());
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    async fn order(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, bytes) = self.send(Method::POST, path, Body::from(body.to_string())).await;
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn close(self) {
        self.pools.close().await;
        self.tenants.close().await;
    }
}

fn rows(path: &FilePath) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row("select count(*) from booking", [], |row| row.get(0)).unwrap()
}

fn book(path: &FilePath) {
    rusqlite::Connection::open(path).unwrap().execute("insert into booking default values", []).unwrap();
}

/// With one tenant whose database has a table and no row.
async fn with_acme(directory: &FilePath) -> Rest {
    let rest = Rest::open(directory).await;
    let acme = json!({ "id": "acme", "origins": ["https://acme.example"], "database": "sqlite://acme.db" });
    assert_eq!(rest.order("/tenants", acme).await.0, 201);
    let sql = "create table booking (id integer primary key);";
    let migrations = json!({ "migrations": [{ "name": "0001_booking.sql", "sql": sql }] });
    let (status, report) = rest.order("/tenants/acme/migrate", migrations.clone()).await;
    assert_eq!((status, report), (200, json!({ "applied": ["0001_booking.sql"], "already": 0 })));
    let (_, report) = rest.order("/tenants/acme/migrate", migrations).await;
    assert_eq!(report, json!({ "applied": [], "already": 1 }));
    rest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_loads_again_and_takes_the_place_of_what_came_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let rest = with_acme(directory.path()).await;
    let database = directory.path().join("tenants/acme.db");
    book(&database);
    let (status, dump) = rest.send(Method::POST, "/tenants/acme/dump", Body::empty()).await;
    assert_eq!(status, 200);
    book(&database);
    assert_eq!(rows(&database), 2);
    let (status, _) = rest.send(Method::POST, "/tenants/acme/load", Body::from(dump.clone())).await;
    assert_eq!((status, rows(&database)), (200, 1));

    // A file that is damaged inside, or none at all, changes nothing.
    let mut damaged = dump;
    let middle = damaged.len() / 2;
    damaged[middle - 2000..middle + 2000].fill(0xff);
    for bad in [damaged, b"hello".to_vec()] {
        let (status, _) = rest.send(Method::POST, "/tenants/acme/load", Body::from(bad)).await;
        assert!(status >= 400, "{status}");
        assert_eq!(rows(&database), 1);
    }
    let scratch = std::fs::read_dir(directory.path().join("scratch")).unwrap().count();
    assert_eq!(scratch, 0, "scratch files were left");
    rest.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_an_open_registry_restores_to_a_gateway_that_knows_its_tenants() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rest = with_acme(from.path()).await;
    book(&from.path().join("tenants/acme.db"));
    let order = json!({ "passphrase": "four random words" });
    let (status, archive) = rest.send(Method::POST, "/backup", Body::from(order.to_string())).await;
    assert_eq!(status, 200);
    rest.close().await;

    let passphrase = Zeroizing::new("four random words".to_owned());
    let order = Restore { places: places(to.path()), passphrase, force: false };
    restore(&archive[..], &order, |_| Ok(())).unwrap();
    let rest = Rest::open(to.path()).await;
    let snapshot = rest.tenants.registry().snapshot();
    // Only the right sealing key opens the tenant's database URL.
    let acme = snapshot.by_origin("https://acme.example").unwrap();
    assert_eq!(acme.database.as_ref().unwrap().to_string(), "sqlite://acme.db");
    drop(snapshot);
    assert_eq!(rows(&to.path().join("tenants/acme.db")), 1);
    rest.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_a_damaged_database_names_the_tenant_to_those_who_take_trailers() {
    let directory = tempfile::tempdir().unwrap();
    let rest = with_acme(directory.path()).await;
    let broken = json!({ "id": "broken", "database": "sqlite://broken.db" });
    assert_eq!(rest.order("/tenants", broken).await.0, 201);
    let database = directory.path().join("tenants/broken.db");
    let backup = async |te: &str| {
        let body = json!({ "passphrase": "four random words" }).to_string();
        let mut request =
            Request::post("/backup").header("content-type", "application/json").header("te", te);
        request.extensions_mut().unwrap().insert(Peer::own());
        let answer = rest.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await
    };
    let whole = {
        rusqlite::Connection::open(&database)
            .unwrap()
            .execute_batch("create table t (x); insert into t select zeroblob(20000)")
            .unwrap();
        std::fs::read(&database).unwrap()
    };
    assert!(backup("trailers").await.unwrap().trailers().is_none());
    let mut inside = whole.clone();
    inside[4096..].fill(0x5a);
    for damaged in [inside, vec![0x5a; 9000]] {
        std::fs::write(&database, damaged).unwrap();
        let collected = backup("trailers").await.unwrap();
        let said = &collected.trailers().unwrap()[PROBLEM_TRAILER];
        let problem: Problem = serde_json::from_slice(said.as_bytes()).unwrap();
        let names = problem.detail.starts_with("tenant `broken` cannot be backed up: ");
        assert!(names && problem.detail.contains("tenants/broken.db"), "{problem:?}");
        assert!(!problem.detail.contains("scratch") && problem.hint.is_some(), "{problem:?}");
        // Others see a stream that is cut, and never one that ends well.
        assert!(backup("").await.is_err());
    }
    assert_eq!(std::fs::read_dir(directory.path().join("scratch")).unwrap().count(), 0);
    rest.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_applies_to_an_empty_registry_and_changes_nothing_the_second_time() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rest = with_acme(from.path()).await;
    let (_, exported) = rest.send(Method::GET, "/export", Body::empty()).await;
    rest.close().await;
    let tenants: Value = serde_json::from_slice(&exported).unwrap();
    let rest = Rest::open(to.path()).await;
    let order = json!({ "tenants": tenants, "prune": true });
    let (status, report) = rest.order("/apply", order.clone()).await;
    assert_eq!((status, &report["added"]), (200, &json!(["acme"])));
    let (_, report) = rest.order("/apply", order).await;
    assert_eq!((&report["added"], &report["unchanged"]), (&json!([]), &json!(["acme"])));
    rest.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_never_in_a_list() {
    let directory = tempfile::tempdir().unwrap();
    let rest = with_acme(directory.path()).await;
    let (status, made) = rest.order("/tenants/acme/keys", json!({ "name": "ssr" })).await;
    let key = made["key"].as_str().unwrap().to_owned();
    assert_eq!(status, 201);
    for path in ["/tenants/acme/keys", "/tenants/acme", "/tenants", "/export"] {
        let (_, shown) = rest.send(Method::GET, path, Body::empty()).await;
        assert!(!String::from_utf8_lossy(&shown).contains(&key), "{path}");
    }
    assert_eq!(rest.send(Method::DELETE, "/tenants/acme/keys/ssr", Body::empty()).await.0, 200);
    assert_eq!(rest.send(Method::DELETE, "/tenants/acme/keys/ssr", Body::empty()).await.0, 404);
    rest.close().await;
}

#[tokio::test]
async fn a_caller_without_a_known_peer_is_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let rest = Rest::open(directory.path()).await;
    let request = Request::builder().uri("/tenants").body(Body::empty()).unwrap();
    assert_eq!(rest.router.clone().oneshot(request).await.unwrap().status(), 403);
    let mut request = Request::builder().uri("/tenants").body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer { uid: 4_000_001, gid: 4_000_001, pid: None });
    assert_eq!(rest.router.clone().oneshot(request).await.unwrap().status(), 403);
    rest.close().await;
}

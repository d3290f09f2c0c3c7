//! Pools over real SQLite files.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use rusqlite::ErrorCode;
use tempfile::TempDir;

use super::*;
use crate::{
    metrics::Metrics,
    shutdown::Shutdown,
    tenant::{Epoch, Registry, Snapshot, Status, Tenant},
};

/// Would run for hours.
const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

struct House {
    dir: TempDir,
    pools: Arc<Pools>,
    registry: Arc<Registry>,
    shutdown: Shutdown,
}

fn tenant(id: &str) -> Tenant {
    let mut tenant = Tenant::new(id.parse().unwrap());
    tenant.database = Some(format!("sqlite://{id}.db").parse().unwrap());
    tenant
}

/// Waits as long as a loaded machine may take to open a file.
fn patient() -> Config {
    Config { wait_timeout: Duration::from_secs(20), ..Config::default() }
}

fn house(config: Config, tenants: &[&Tenant]) -> House {
    let dir = TempDir::new().unwrap();
    let registry = Arc::new(Registry::new(Snapshot::build(tenants.iter().map(|t| (*t).clone())).unwrap()));
    let shutdown = Shutdown::new();
    let pools = Pools::new(config, dir.path().to_owned(), registry.clone(), shutdown.clone(), Metrics::new());
    House { dir, pools, registry, shutdown }
}

impl House {
    async fn run(&self, tenant: &Tenant, access: Access, sql: &'static str) -> rusqlite::Result<()> {
        let lease = self.pools.lease(tenant, access).await.unwrap();
        lease.run(None, move |running| running.sqlite.execute_batch(sql)).await.unwrap().1
    }

    async fn count(&self, tenant: &Tenant, sql: &'static str) -> i64 {
        let lease = self.pools.lease(tenant, Access::Read).await.unwrap();
        let count = lease.run(None, move |running| running.sqlite.query_row(sql, [], |row| row.get(0)));
        count.await.unwrap().1.unwrap()
    }

    /// Every lease is back and every connection closes.
    async fn end(self) {
        self.pools.close().await;
        assert_eq!(self.pools.status(), []);
        self.shutdown.begin();
        assert!(self.shutdown.drained(Duration::from_secs(5)).await, "{} tasks left", self.shutdown.tasks());
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_file_is_made_on_first_use_and_is_nobody_elses() {
    let a = tenant("a");
    let house = house(patient(), &[&a]);
    house.run(&a, Access::Write, "CREATE TABLE t (x); INSERT INTO t VALUES (1)").await.unwrap();
    let tenants = house.dir.path().join("tenants");
    assert_eq!((mode(&tenants), mode(&tenants.join("a.db"))), (0o700, 0o600));
    assert_eq!(mode(&tenants.join("a.db-wal")), 0o600);
    assert_eq!(house.count(&a, "SELECT count(*) FROM t").await, 1);
    assert_eq!(house.pools.path_of(&"sqlite:///x/y.db".parse().unwrap()), Path::new("/x/y.db"));
    house.end().await;
}

#[tokio::test]
async fn there_is_one_writer_and_a_wait_for_it_ends_in_an_error_that_names_tenant_wait_and_limit() {
    let a = tenant("a");
    let config = Config { wait_timeout: Duration::from_secs(2), ..Config::default() };
    let house = house(config, &[&a]);
    let held = house.pools.lease(&a, Access::Write).await.unwrap();
    let error = house.pools.lease(&a, Access::Write).await.err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, PoolError::Wait { .. }), "{text}");
    assert!(text.contains("`a`") && text.contains("waited 2") && text.contains("one writer"), "{text}");
    // Readers are not held up by it.
    assert_eq!(house.count(&a, "SELECT 1").await, 1);
    drop(held);
    drop(house.pools.lease(&a, Access::Write).await.unwrap());
    house.end().await;
}

#[tokio::test]
async fn more_waiting_requests_than_allowed_are_turned_away_at_once() {
    let a = tenant("a");
    let house = house(Config { waiting_max: 1, wait_timeout: Duration::from_secs(5), ..patient() }, &[&a]);
    let held = house.pools.lease(&a, Access::Write).await.unwrap();
    let (pools, tenant) = (house.pools.clone(), a.clone());
    let waiting = house.shutdown.spawn(async move { pools.lease(&tenant, Access::Write).await.is_ok() });
    while house.pools.status()[0].waiting == 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(house.pools.lease(&a, Access::Write).await, Err(PoolError::Crowd { waiting: 1, .. })));
    drop(held);
    assert!(waiting.await.unwrap());
    house.end().await;
}

#[tokio::test]
async fn a_reader_cannot_write_and_cannot_make_itself_a_writer() {
    let a = tenant("a");
    let house = house(patient(), &[&a]);
    let error = house.run(&a, Access::Read, "CREATE TABLE t (x)").await.unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly));
    let error = house.run(&a, Access::Read, "PRAGMA query_only = off").await.unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::AuthorizationForStatementDenied));
    house.end().await;
}

#[tokio::test]
async fn sql_cannot_leave_its_file() {
    let a = tenant("a");
    let house = house(patient(), &[&a]);
    let other = house.dir.path().join("other.db");
    let attach: &'static str = Box::leak(format!("ATTACH '{}' AS o", other.display()).into_boxed_str());
    let into: &'static str = Box::leak(format!("VACUUM INTO '{}'", other.display()).into_boxed_str());
    let nameless = "ATTACH '' AS o";
    for sql in
        [attach, nameless, into, "SELECT load_extension('x')", "PRAGMA writable_schema = on", "DETACH main"]
    {
        let error = house.run(&a, Access::Write, sql).await;
        assert!(error.is_err(), "{sql} was carried out");
    }
    assert!(!other.exists());
    house.run(&a, Access::Write, "CREATE TABLE t (x)").await.unwrap();
    let lease = house.pools.lease(&a, Access::Write).await.unwrap();
    let vacuumed = lease.run(None, |running| {
        running.statement().unwrap();
        let mut vacuum = running.sqlite.prepare("VACUUM").unwrap();
        let _stepping = running.stepping();
        vacuum.execute([])
    });
    assert_eq!(vacuumed.await.unwrap().1, Ok(0));
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_past_its_time_really_stops_and_the_next_one_runs() {
    let a = tenant("a");
    let house = house(Config { statement_timeout: Duration::from_millis(100), ..patient() }, &[&a]);
    let lease = house.pools.lease(&a, Access::Read).await.unwrap();
    let began = std::time::Instant::now();
    let (lease, (error, verdict, next)) = lease
        .run(None, |running| {
            running.statement().unwrap();
            let error = running.sqlite.execute_batch(ENDLESS).unwrap_err();
            let verdict = running.verdict();
            running.statement().unwrap();
            (error, verdict, running.sqlite.execute_batch("SELECT 1"))
        })
        .await
        .unwrap();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::OperationInterrupted));
    assert_eq!((verdict, next), (Some(Stop::StatementTimeout), Ok(())));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop(lease);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_waiting_stops_the_statement_and_its_transaction_is_rolled_back() {
    let a = tenant("a");
    let house = house(patient(), &[&a]);
    house.run(&a, Access::Write, "CREATE TABLE t (x)").await.unwrap();
    let lease = house.pools.lease(&a, Access::Write).await.unwrap();
    let job = lease.run(None, |running| {
        running.sqlite.execute_batch("BEGIN; INSERT INTO t VALUES (1)").unwrap();
        running.sqlite.execute_batch(ENDLESS)
    });
    assert!(tokio::time::timeout(Duration::from_millis(100), job).await.is_err());
    // The one writer is free again only because the statement has ended.
    house.run(&a, Access::Write, "INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(house.count(&a, "SELECT sum(x) FROM t").await, 2);
    house.end().await;
}

#[tokio::test]
async fn a_connection_comes_back_clean_or_not_at_all() {
    let a = tenant("a");
    let house = house(patient(), &[&a]);
    house.run(&a, Access::Write, "CREATE TABLE t (x)").await.unwrap();
    let sql = "BEGIN; INSERT INTO t VALUES (1); CREATE TEMP TABLE secret (x); PRAGMA foreign_keys = off";
    house.run(&a, Access::Write, sql).await.unwrap();
    let error = house.run(&a, Access::Write, "SELECT * FROM secret").await.unwrap_err();
    assert!(error.to_string().contains("no such table"), "{error}");
    assert_eq!(house.count(&a, "SELECT count(*) FROM t").await, 0);
    assert_eq!(house.count(&a, "PRAGMA foreign_keys").await, 1);
    house.end().await;
}

#[tokio::test]
async fn a_full_file_is_full_and_its_neighbours_are_not() {
    let (a, b) = (tenant("a"), tenant("b"));
    let sqlite = Sqlite { file_bytes_max: 256 * 1024, ..Sqlite::default() };
    let house = house(Config { sqlite, ..patient() }, &[&a, &b]);
    let sql = "CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(300 * 1024))";
    let error = house.run(&a, Access::Write, sql).await.unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull));
    house
        .run(&b, Access::Write, "CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100 * 1024))")
        .await
        .unwrap();
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspension_and_a_new_epoch_stop_what_runs_and_let_nobody_in() {
    for suspend in [true, false] {
        let a = tenant("a");
        let house = house(patient(), &[&a]);
        let lease = house.pools.lease(&a, Access::Write).await.unwrap();
        let running = house.shutdown.spawn(lease.run(None, |running| {
            let failed = running.sqlite.execute_batch(ENDLESS).is_err();
            (failed, running.verdict())
        }));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut changed = a.clone();
        if suspend {
            changed.status = Status::Suspended;
        } else {
            changed.epoch = Epoch::random();
        }
        house.registry.replace(Snapshot::build([changed.clone()]).unwrap());
        let (lease, stopped) = running.await.unwrap().unwrap();
        assert_eq!(stopped, (true, Some(Stop::Closed)));
        drop(lease);
        assert!(matches!(house.pools.lease(&a, Access::Read).await, Err(PoolError::Closed(_))));
        assert_eq!(house.pools.lease(&changed, Access::Read).await.is_ok(), !suspend);
        house.end().await;
    }
}

#[tokio::test]
async fn a_hold_waits_for_leases_closes_the_file_and_keeps_everybody_out() {
    let a = tenant("a");
    let house = house(patient(), &[&a]);
    let lease = house.pools.lease(&a, Access::Write).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), house.pools.drain(&a.id)).await;
    assert!(early.is_err(), "drained beside a lease");
    drop(lease);
    let hold = house.pools.drain(&a.id).await.unwrap();
    assert_eq!(house.pools.status()[0].open, 0);
    let kept_out = house.pools.lease(&a, Access::Read).await.err().unwrap().to_string();
    assert!(kept_out.contains("maintenance"), "{kept_out}");
    drop(hold);
    drop(house.pools.lease(&a, Access::Read).await.unwrap());
    house.end().await;
}

#[tokio::test]
async fn one_file_serves_one_tenant_whatever_the_path() {
    let (a, mut b) = (tenant("a"), tenant("b"));
    let house = house(patient(), &[&a, &b]);
    house.run(&a, Access::Write, "CREATE TABLE t (x)").await.unwrap();
    let tenants = house.dir.path().join("tenants");
    std::os::unix::fs::symlink(tenants.join("a.db"), tenants.join("link.db")).unwrap();
    b.database = Some("sqlite://link.db".parse().unwrap());
    house.registry.replace(Snapshot::build([a.clone(), b.clone()]).unwrap());
    assert!(matches!(house.pools.lease(&b, Access::Read).await, Err(PoolError::Shared { .. })));
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowded_budget_serves_every_tenant_in_turn() {
    let tenants: Vec<_> = (0..12).map(|n| tenant(&format!("t{n}"))).collect();
    let config = Config { budget: 4, wait_timeout: Duration::from_secs(10), ..Config::default() };
    let house = house(config, &tenants.iter().collect::<Vec<_>>());
    let tasks: Vec<_> = tenants
        .iter()
        .flat_map(|tenant| (0..8).map(move |n| (tenant.clone(), n)))
        .map(|(tenant, n)| {
            let pools = house.pools.clone();
            house.shutdown.spawn(async move {
                let access = if n % 2 == 0 { Access::Write } else { Access::Read };
                let lease = pools.lease(&tenant, access).await?;
                assert!(pools.open() <= 4);
                lease.run(None, |running| running.sqlite.execute_batch("SELECT 1")).await?.1.unwrap();
                Ok::<_, PoolError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    house.end().await;
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_time() {
    let a = tenant("a");
    let house = house(Config { idle_timeout: Duration::from_millis(100), ..patient() }, &[&a]);
    assert_eq!(house.count(&a, "SELECT 1").await, 1);
    assert_eq!(house.pools.status()[0].open, 1);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if house.pools.status()[0].open == 0 {
            return house.end().await;
        }
    }
    panic!("{:?}", house.pools.status());
}

fn files(all: &[(&str, &str)]) -> Vec<MigrationFile> {
    all.iter().map(|(name, sql)| MigrationFile { name: (*name).to_owned(), sql: (*sql).to_owned() }).collect()
}

#[tokio::test]
async fn a_migration_that_failed_goes_on_where_it_stopped() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("deep/a.db");
    let first = ("0001_bookings.sql", "CREATE TABLE bookings (id INTEGER PRIMARY KEY)");
    let wrong =
        files(&[("0002_shops.sql", "CREATE TABLE shops (id); INSERT INTO nowhere VALUES (1)"), first]);
    let error = migrate(&path, wrong).await.unwrap_err().to_string();
    assert!(error.contains("0002_shops.sql") && error.contains("nowhere"), "{error}");
    let right = files(&[first, ("0002_shops.sql", "CREATE TABLE shops (id)")]);
    let report = migrate(&path, right.clone()).await.unwrap();
    assert_eq!(report, MigrationReport { applied: vec!["0002_shops.sql".to_owned()], already: 1 });
    assert_eq!(migrate(&path, right).await.unwrap().already, 2);
    let edited = files(&[("0001_bookings.sql", "SELECT 1"), ("0002_shops.sql", "CREATE TABLE shops (id)")]);
    let error = migrate(&path, edited).await.unwrap_err().to_string();
    assert!(error.contains("0001_bookings.sql") && error.contains("another text"), "{error}");
    for (bad, why) in [("bookings.sql", "number"), ("0003.txt", ".sql")] {
        let error = migrate(&path, files(&[(bad, "")])).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    check(&path).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_beside_a_writer_is_whole_and_damage_is_found() {
    let a = tenant("a");
    let house = house(patient(), &[&a]);
    let sql = "CREATE TABLE t (x, y); CREATE INDEX i ON t (x);
               WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
               INSERT INTO t SELECT i, zeroblob(500) FROM n";
    house.run(&a, Access::Write, sql).await.unwrap();
    let lease = house.pools.lease(&a, Access::Write).await.unwrap();
    let (lease, ()) = lease
        .run(None, |running| running.sqlite.execute_batch("BEGIN; DELETE FROM t WHERE x > 1000").unwrap())
        .await
        .unwrap();
    let from = house.pools.path_of(a.database.as_ref().unwrap());
    let to = house.dir.path().join("copy.db");
    online_copy(&from, &to).await.unwrap();
    drop(lease);
    check(&to).await.unwrap();
    assert_eq!(mode(&to), 0o600);
    let copied: i64 = rusqlite::Connection::open(&to)
        .unwrap()
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(copied, 2000, "an open transaction is not in the copy");
    let mut bytes = std::fs::read(&to).unwrap();
    let half = bytes.len() / 2;
    bytes[half..half + 8192].fill(0x5a);
    std::fs::write(&to, bytes).unwrap();
    assert!(check(&to).await.is_err());
    house.end().await;
}

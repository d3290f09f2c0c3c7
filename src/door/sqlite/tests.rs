//! The SQLite door over real sockets and files, spoken to by hand and by official drivers.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::*;
use crate::{
    pool,
    tenant::{DoorAddresses, Issued, Snapshot, Status, Tenant, TicketMode},
};

const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

struct House {
    dir: TempDir,
    door: Arc<SqliteDoor>,
    pools: Arc<Pools>,
    registry: Arc<Registry>,
    tickets: Arc<Tickets>,
    shutdown: Shutdown,
    tenants: Vec<Tenant>,
}

fn tenant(id: &str) -> Tenant {
    let mut tenant = Tenant::new(id.parse().unwrap());
    tenant.database = Some(format!("sqlite://{id}.db").parse().unwrap());
    tenant
}

async fn house() -> House {
    house_with(Sqlite::default(), pool::Config::default()).await
}

async fn house_with(config: Sqlite, pool: pool::Config) -> House {
    let dir = TempDir::new().unwrap();
    let tenants = vec![tenant("a"), tenant("b")];
    let registry = Arc::new(Registry::new(Snapshot::build(tenants.clone()).unwrap()));
    let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
    let pools = Pools::new(pool, dir.path().to_owned(), registry.clone(), shutdown.clone(), metrics.clone());
    let door = SqliteDoor::bind(&config, dir.path()).await.unwrap();
    let tickets = Tickets::new(DoorAddresses { sqlite: Some(door.address()) });
    let parts = DoorParts {
        tickets: tickets.clone(),
        registry: registry.clone(),
        pools: pools.clone(),
        metrics,
        shutdown: shutdown.clone(),
    };
    shutdown.spawn(door.clone().run(parts));
    House { dir, door, pools, registry, tickets, shutdown, tenants }
}

/// A tenant's way in: its address and ticket.
#[derive(Clone)]
struct Caller {
    address: SocketAddr,
    path: String,
    token: String,
}

impl House {
    fn caller(&self, tenant: usize) -> Caller {
        self.caller_with(&self.issue(tenant, TicketMode::Tenant))
    }

    fn issue(&self, tenant: usize, mode: TicketMode) -> Issued {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        self.tickets.issue(&self.tenants[tenant], mode, now).unwrap()
    }

    fn caller_with(&self, issued: &Issued) -> Caller {
        let url = issued.url.to_str().unwrap().strip_prefix("http://").unwrap();
        let (address, rest) = url.split_once('/').unwrap();
        let (path, token) = rest.split_once("/?authToken=").unwrap();
        Caller { address: address.parse().unwrap(), path: path.to_owned(), token: token.to_owned() }
    }

    async fn in_use(&self, wanted: u32) {
        let wanted_within = Instant::now() + Duration::from_secs(5);
        loop {
            let in_use: u32 = self.pools.status().iter().map(|status| status.in_use).sum();
            if in_use == wanted {
                return;
            }
            assert!(Instant::now() < wanted_within, "{in_use} leases are out, not {wanted}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Nothing is leaked: no lease, no stream, no task.
    async fn end(self) {
        self.in_use(0).await;
        self.shutdown.begin();
        self.pools.close().await;
        assert!(self.shutdown.drained(Duration::from_secs(5)).await, "{} tasks left", self.shutdown.tasks());
        assert_eq!(self.door.status().streams, 0);
    }
}

impl Caller {
    fn request(&self, path: &str, body: &str) -> String {
        format!(
            "POST /{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\nconnection: \
             close\r\n\r\n{body}",
            self.token,
            body.len()
        )
    }

    async fn post(&self, path: &str, body: &str) -> (u16, Json) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(self.request(path, body).as_bytes()).await.unwrap();
        answer(stream).await
    }

    async fn pipeline(&self, baton: Option<&str>, requests: Json) -> (u16, Json) {
        let body = json!({"baton": baton, "requests": requests}).to_string();
        self.post(&format!("{}/v2/pipeline", self.path), &body).await
    }

    /// Run statements in one stream that closes; the results.
    async fn run(&self, statements: &[&str]) -> Vec<Json> {
        let mut requests: Vec<_> = statements.iter().map(|sql| execute(sql)).collect();
        requests.push(json!({"type": "close"}));
        let (status, answer) = self.pipeline(None, json!(requests)).await;
        assert_eq!((status, &answer["baton"]), (200, &Json::Null), "{answer}");
        let mut results = answer["results"].as_array().unwrap().clone();
        assert_eq!(results.pop().unwrap()["response"]["type"], "close");
        results
    }

    /// One statement on an open stream; the new baton and the result.
    async fn go_on(&self, baton: Option<&str>, sql: &str) -> (String, Json) {
        let (status, answer) = self.pipeline(baton, json!([execute(sql)])).await;
        assert_eq!(status, 200, "{answer}");
        (answer["baton"].as_str().unwrap().to_owned(), answer["results"][0].clone())
    }
}

async fn answer(mut stream: impl tokio::io::AsyncRead + Unpin) -> (u16, Json) {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Json::String(body.to_owned())))
}

fn execute(sql: &str) -> Json {
    json!({"type": "execute", "stmt": {"sql": sql}})
}

fn code(result: &Json) -> &str {
    result["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {result}"))
}

fn rows(result: &Json) -> &Json {
    assert_eq!(result["type"], "ok", "{result}");
    &result["response"]["result"]["rows"]
}

#[tokio::test]
async fn values_of_every_type_come_back_as_the_protocol_writes_them() {
    let house = house().await;
    let a = house.caller(0);
    let created = a.run(&["CREATE TABLE t (i INTEGER, r REAL, s TEXT, b BLOB, n)"]).await;
    assert_eq!(created[0]["type"], "ok");
    let args = json!([
        {"type": "integer", "value": "9223372036854775807"}, {"type": "float", "value": 1.5},
        {"type": "text", "value": "né\"\u{0}"}, {"type": "blob", "base64": "/w"}, {"type": "null"}
    ]);
    let insert = json!({"sql": "INSERT INTO t VALUES (?, ?, ?, ?, ?)", "args": args});
    let (_, answer) = a
        .pipeline(
            None,
            json!([{"type": "execute", "stmt": insert}, execute("SELECT * FROM t"), {"type": "close"}]),
        )
        .await;
    assert_eq!(answer["results"][0]["type"], "ok", "{answer}");
    let inserted = &answer["results"][0]["response"]["result"];
    assert_eq!(inserted["affected_row_count"], 1);
    assert_eq!(inserted["last_insert_rowid"], "1");
    let row = &rows(&answer["results"][1])[0];
    assert_eq!(row[0], json!({"type": "integer", "value": "9223372036854775807"}));
    assert_eq!(row[1], json!({"type": "float", "value": 1.5}));
    assert_eq!(row[2], json!({"type": "text", "value": "né\"\u{0}"}));
    assert_eq!(row[3], json!({"type": "blob", "base64": "/w"}));
    assert_eq!(row[4], json!({"type": "null"}));
    let cols = &answer["results"][1]["response"]["result"]["cols"];
    assert_eq!(cols[0], json!({"name": "i", "decltype": "INTEGER"}));
    assert_eq!(cols[4]["decltype"], Json::Null);
    house.end().await;
}

#[tokio::test]
async fn whole_javascript_numbers_bind_as_integers_and_arguments_are_checked() {
    let house = house().await;
    let a = house.caller(0);
    let stmt = |sql: &str, args: Json, named: Json| json!({"type": "execute", "stmt": {"sql": sql, "args": args, "named_args": named}});
    let seven = json!({"type": "float", "value": 7.0});
    let named = |name: &str| json!([{"name": name, "value": seven}]);
    let (_, answer) = a
        .pipeline(
            None,
            json!([
                stmt("SELECT typeof(?)", json!([seven]), json!([])),
                stmt("SELECT typeof(?)", json!([{"type": "float", "value": 7.5}]), json!([])),
                stmt("SELECT :x + @x + $x", json!([]), named("x")),
                stmt("SELECT :x", json!([]), named("x")),
                stmt("SELECT @x", json!([]), named("x")),
                stmt("SELECT $x", json!([]), named("$x")),
                stmt("SELECT ?", json!([]), json!([])),
                stmt("SELECT ?", json!([seven, seven]), json!([])),
                stmt("SELECT :x", json!([]), named("y")),
                stmt("SELECT 1; SELECT 2", json!([]), json!([])),
                stmt("-- nothing", json!([]), json!([])),
                stmt("SELECT 1; -- and no more", json!([]), json!([])),
                {"type": "close"}
            ]),
        )
        .await;
    let results = answer["results"].as_array().unwrap();
    assert_eq!(rows(&results[0])[0][0]["value"], "integer");
    assert_eq!(rows(&results[1])[0][0]["value"], "real");
    // Three parameters, one name without prefix: the first that fits takes it, the others are missing.
    assert_eq!(code(&results[2]), "ARGS_INVALID");
    for result in &results[3..6] {
        assert_eq!(rows(result)[0][0], json!({"type": "integer", "value": "7"}));
    }
    for result in &results[6..9] {
        assert_eq!(code(result), "ARGS_INVALID");
    }
    assert_eq!(code(&results[9]), "SQL_MANY_STATEMENTS");
    assert_eq!(code(&results[10]), "SQL_NO_STATEMENT");
    assert_eq!(results[11]["type"], "ok");
    house.end().await;
}

#[tokio::test]
async fn errors_carry_sqlites_names_and_do_not_end_the_pipeline() {
    let house = house().await;
    let a = house.caller(0);
    let results = a
        .run(&[
            "CREATE TABLE t (x UNIQUE)",
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (1)",
            "SELEC 1",
            "ATTACH '/tmp/x.db' AS x",
            "SELECT count(*) FROM t",
        ])
        .await;
    assert_eq!(code(&results[2]), "SQLITE_CONSTRAINT");
    assert!(results[2]["error"]["message"].as_str().unwrap().contains("UNIQUE constraint failed: t.x"));
    assert_eq!(code(&results[3]), "SQLITE_ERROR");
    assert_eq!(code(&results[4]), "SQLITE_AUTH");
    assert_eq!(rows(&results[5])[0][0]["value"], "1");
    house.end().await;
}

#[tokio::test]
async fn a_batch_follows_its_conditions() {
    let house = house().await;
    let a = house.caller(0);
    a.run(&["CREATE TABLE t (x UNIQUE)"]).await;
    // What @libsql/client sends for `batch`: BEGIN, each if the one before is ok, COMMIT, ROLLBACK if not.
    let batch = |second: &str| {
        let ok = |step: usize| json!({"type": "ok", "step": step});
        json!([
            {"type": "store_sql", "sql_id": 1, "sql": "INSERT INTO t VALUES (1)"},
            {"type": "batch", "batch": {"steps": [
                {"stmt": {"sql": "BEGIN IMMEDIATE"}},
                {"stmt": {"sql_id": 1}, "condition": ok(0)},
                {"stmt": {"sql": second}, "condition": ok(1)},
                {"stmt": {"sql": "COMMIT"}, "condition": ok(2)},
                {"stmt": {"sql": "ROLLBACK"}, "condition": {"type": "not", "cond": ok(3)}},
            ]}},
            {"type": "get_autocommit"},
            {"type": "close"}
        ])
    };
    let (_, failed) = a.pipeline(None, batch("INSERT INTO t VALUES (1)")).await;
    let result = &failed["results"][1]["response"]["result"];
    assert_eq!(result["step_errors"][2]["code"], "SQLITE_CONSTRAINT");
    assert_eq!((&result["step_results"][3], &result["step_errors"][3]), (&Json::Null, &Json::Null));
    assert!(result["step_results"][4].is_object(), "{result}");
    assert_eq!(failed["results"][2]["response"]["is_autocommit"], true);
    let (_, passed) = a.pipeline(None, batch("INSERT INTO t VALUES (2)")).await;
    assert!(passed["results"][1]["response"]["result"]["step_results"][3].is_object(), "{passed}");
    assert_eq!(rows(&a.run(&["SELECT count(*) FROM t"]).await[0])[0][0]["value"], "2");
    house.end().await;
}

#[tokio::test]
async fn sequences_and_descriptions_are_answered() {
    let house = house().await;
    let a = house.caller(0);
    let sql = "CREATE TABLE t (x INT); INSERT INTO t VALUES (1); -- done\n SELECT 1;";
    let (_, answer) = a
        .pipeline(
            None,
            json!([
                {"type": "sequence", "sql": sql},
                {"type": "sequence", "sql": "INSERT INTO t VALUES (2); INSERT INTO nowhere VALUES (1)"},
                {"type": "describe", "sql": "SELECT x AS y FROM t WHERE x = :x AND x > ?"},
                {"type": "describe", "sql": "EXPLAIN DELETE FROM t"},
                {"type": "close"},
                execute("SELECT 1"),
            ]),
        )
        .await;
    assert_eq!(answer["results"][0], json!({"type": "ok", "response": {"type": "sequence"}}));
    assert_eq!(code(&answer["results"][1]), "SQLITE_ERROR");
    let described = json!({"params": [{"name": ":x"}, {"name": null}], "cols": [{"name": "y", "decltype": "INT"}],
        "is_explain": false, "is_readonly": true});
    assert_eq!(answer["results"][2]["response"]["result"], described);
    assert_eq!(answer["results"][3]["response"]["result"]["is_explain"], true);
    assert_eq!(code(&answer["results"][5]), "STREAM_CLOSED");
    house.end().await;
}

#[tokio::test]
async fn an_interactive_transaction_lives_over_requests_and_its_batons_are_good_once() {
    let house = house().await;
    let a = house.caller(0);
    a.run(&["CREATE TABLE t (x)"]).await;
    let (first, _) = a.go_on(None, "BEGIN").await;
    let (second, _) = a.go_on(Some(&first), "INSERT INTO t VALUES (1)").await;
    assert_eq!(house.door.status().streams, 1);
    // Others do not see it, nor can they use it: neither the old baton nor another tenant's ticket.
    assert_eq!(rows(&a.run(&["SELECT count(*) FROM t"]).await[0])[0][0]["value"], "0");
    for (who, baton) in [(&a, &first), (&house.caller(1), &second), (&a, &"forged".to_owned())] {
        let (status, refused) = who.pipeline(Some(baton), json!([execute("SELECT 1")])).await;
        assert_eq!((status, refused["code"].as_str().unwrap()), (400, "STREAM_EXPIRED"));
    }
    let (third, seen) = a.go_on(Some(&second), "SELECT count(*) FROM t").await;
    assert_eq!(rows(&seen)[0][0]["value"], "1");
    let (fourth, _) = a.go_on(Some(&third), "COMMIT").await;
    // After COMMIT the stream holds no connection.
    house.in_use(0).await;
    let (_, closed) = a.pipeline(Some(&fourth), json!([{"type": "close"}])).await;
    assert_eq!(closed["baton"], Json::Null);
    assert_eq!(rows(&a.run(&["SELECT count(*) FROM t"]).await[0])[0][0]["value"], "1");
    house.end().await;
}

#[tokio::test]
async fn closing_a_stream_rolls_back_and_an_idle_one_expires() {
    let config = Sqlite { stream_idle_timeout: Duration::from_millis(100), ..Sqlite::default() };
    let house = house_with(config, pool::Config::default()).await;
    let a = house.caller(0);
    a.run(&["CREATE TABLE t (x)"]).await;
    let (baton, _) = a.go_on(None, "BEGIN").await;
    let requests = json!([execute("INSERT INTO t VALUES (1)"), {"type": "close"}]);
    a.pipeline(Some(&baton), requests).await;
    let (baton, _) = a.go_on(None, "BEGIN").await;
    let (baton, _) = a.go_on(Some(&baton), "INSERT INTO t VALUES (2)").await;
    house.in_use(0).await;
    let (status, refused) = a.pipeline(Some(&baton), json!([execute("COMMIT")])).await;
    assert_eq!((status, refused["code"].as_str().unwrap()), (400, "STREAM_EXPIRED"));
    assert_eq!(rows(&a.run(&["SELECT count(*) FROM t"]).await[0])[0][0]["value"], "0");
    house.end().await;
}

#[tokio::test]
async fn a_readonly_transaction_is_read_only_and_leaves_the_writer_alone() {
    let house = house().await;
    let a = house.caller(0);
    a.run(&["CREATE TABLE t (x)"]).await;
    let (baton, _) = a.go_on(None, "BEGIN TRANSACTION READONLY").await;
    let (baton, before) = a.go_on(Some(&baton), "SELECT count(*) FROM t").await;
    assert_eq!(a.run(&["INSERT INTO t VALUES (1)"]).await[0]["type"], "ok");
    let (baton, refused) = a.go_on(Some(&baton), "INSERT INTO t VALUES (2)").await;
    assert_eq!(code(&refused), "SQLITE_READONLY");
    let (baton, after) = a.go_on(Some(&baton), "SELECT count(*) FROM t").await;
    assert_eq!(rows(&before), rows(&after), "a transaction sees one moment");
    a.pipeline(Some(&baton), json!([{"type": "close"}])).await;
    // In one pipeline after a write, the stream moves from the writer to a reader.
    let results =
        a.run(&["INSERT INTO t VALUES (3)", "BEGIN READONLY", "INSERT INTO t VALUES (4)", "COMMIT"]).await;
    assert_eq!((code(&results[2]), &results[3]["type"]), ("SQLITE_READONLY", &json!("ok")));
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_ended_by_force_commits_nothing_that_follows() {
    let pool = pool::Config { statement_timeout: Duration::from_millis(100), ..pool::Config::default() };
    let house = house_with(Sqlite::default(), pool).await;
    let a = house.caller(0);
    let endless = format!("INSERT INTO t {ENDLESS}");
    let results = a
        .run(&[
            "CREATE TABLE t (x)",
            "BEGIN",
            "INSERT INTO t VALUES (1)",
            &endless,
            "INSERT INTO t VALUES (2)",
            "COMMIT",
            "ROLLBACK",
            "SELECT count(*) FROM t",
        ])
        .await;
    assert_eq!(code(&results[3]), "STATEMENT_TIMEOUT");
    assert_eq!((code(&results[4]), code(&results[5])), ("TRANSACTION_LOST", "TRANSACTION_LOST"));
    assert_eq!(results[6]["type"], "ok");
    assert_eq!(rows(&results[7])[0][0]["value"], "0");
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_past_its_time_is_rolled_back_and_the_writer_is_free() {
    let pool = pool::Config { transaction_timeout: Duration::from_millis(150), ..pool::Config::default() };
    let house = house_with(Sqlite::default(), pool).await;
    let a = house.caller(0);
    a.run(&["CREATE TABLE t (x)"]).await;
    let (baton, _) = a.go_on(None, "BEGIN").await;
    assert_eq!(a.run(&["INSERT INTO t VALUES (1)"]).await[0]["type"], "ok");
    let (_, refused) = a.pipeline(Some(&baton), json!([execute("COMMIT")])).await;
    assert_eq!(refused["code"], "STREAM_EXPIRED");
    assert_eq!(code(&a.run(&["BEGIN", ENDLESS]).await[1]), "TRANSACTION_TIMEOUT");
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_takes_its_statement_with_it() {
    let house = house().await;
    let a = house.caller(0);
    let mut stream = TcpStream::connect(a.address).await.unwrap();
    let body = json!({"baton": null, "requests": [execute("BEGIN"), execute(ENDLESS)]}).to_string();
    stream.write_all(a.request("a/v2/pipeline", &body).as_bytes()).await.unwrap();
    house.in_use(1).await;
    drop(stream);
    house.in_use(0).await;
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_requests_ticket_takes_its_work_and_its_transactions_with_it() {
    let house = house().await;
    let issued = house.issue(0, TicketMode::Request);
    let a = house.caller_with(&issued);
    a.run(&["CREATE TABLE t (x)"]).await;
    let (baton, _) = a.go_on(None, "BEGIN").await;
    let reading = a.clone();
    let running = house.shutdown.spawn(async move { reading.run(&[ENDLESS]).await });
    house.in_use(2).await;
    drop(issued);
    assert_eq!(code(&running.await.unwrap()[0]), "REQUEST_ENDED");
    house.in_use(0).await;
    let (status, refused) = a.pipeline(Some(&baton), json!([execute("COMMIT")])).await;
    assert_eq!((status, refused["code"].as_str().unwrap()), (401, "TICKET_ENDED"));
    // Another request of the same tenant cannot take over a stream of the first.
    let (one, two) = (house.issue(0, TicketMode::Request), house.issue(0, TicketMode::Request));
    let (baton, _) = house.caller_with(&one).go_on(None, "BEGIN").await;
    let (_, refused) = house.caller_with(&two).pipeline(Some(&baton), json!([execute("COMMIT")])).await;
    assert_eq!(refused["code"], "STREAM_EXPIRED");
    drop((one, two));
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_tenants_streams_and_statements_end_and_its_neighbours_stay() {
    let house = house().await;
    let (a, b) = (house.caller(0), house.caller(1));
    a.go_on(None, "BEGIN").await;
    let (theirs, _) = b.go_on(None, "BEGIN").await;
    let reading = a.clone();
    let running = house.shutdown.spawn(async move { reading.run(&[ENDLESS]).await });
    house.in_use(3).await;
    let mut suspended = house.tenants[0].clone();
    suspended.status = Status::Suspended;
    house.registry.replace(Snapshot::build([suspended, house.tenants[1].clone()]).unwrap());
    assert_eq!(code(&running.await.unwrap()[0]), "DATABASE_CLOSED");
    house.in_use(1).await;
    let (status, refused) = a.pipeline(None, json!([])).await;
    assert_eq!((status, refused["code"].as_str().unwrap()), (403, "TENANT_SUSPENDED"));
    b.pipeline(Some(&theirs), json!([execute("COMMIT"), {"type": "close"}])).await;
    house.end().await;
}

#[tokio::test]
async fn a_ticket_opens_its_own_database_on_both_listeners_and_strangers_get_nothing() {
    let house = house().await;
    let (a, b) = (house.caller(0), house.caller(1));
    let empty = r#"{"requests":[]}"#;
    assert_eq!(a.post("a/v3/pipeline", empty).await.0, 200);
    assert_eq!(a.post("b/v2/pipeline", empty).await.1["code"], "DATABASE_UNKNOWN");
    assert_eq!(a.post("nowhere", empty).await.1["code"], "ROUTE_UNKNOWN");
    let forged = Caller { token: a.token.replacen('a', "b", 1), ..b.clone() };
    let bare = Caller { token: String::new(), ..a.clone() };
    for stranger in [forged, bare] {
        let (status, refused) = stranger.post("b/v2/pipeline", empty).await;
        assert_eq!((status, refused["code"].as_str().unwrap()), (401, "TICKET_INVALID"));
    }
    let mut unix = UnixStream::connect(house.dir.path().join("sqlite.sock")).await.unwrap();
    unix.write_all(a.request("a/v2/pipeline", empty).as_bytes()).await.unwrap();
    assert_eq!(answer(unix).await.0, 200);
    let mut probe = TcpStream::connect(a.address).await.unwrap();
    probe.write_all(b"GET /a/v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(answer(probe).await.0, 200);
    house.end().await;
}

#[tokio::test]
async fn what_is_too_large_or_malformed_is_refused() {
    let mut pool = pool::Config::default();
    pool.sqlite.response_bytes_max = 64 * 1024;
    let config = Sqlite { request_bytes_max: 100_000, pipeline_max: 3, streams_max: 1, ..Sqlite::default() };
    let house = house_with(config, pool).await;
    let a = house.caller(0);
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    assert_eq!(code(&a.run(&[many]).await[0]), "RESPONSE_TOO_LARGE");
    assert_eq!(code(&a.run(&["SELECT zeroblob(1000000)"]).await[0]), "SQLITE_TOOBIG");
    assert_eq!(a.post("a/v2/pipeline", &" ".repeat(100_001)).await.0, 413);
    let nested = format!(r#"{{"requests":{}"#, "[".repeat(10_000));
    for malformed in ["", "{}", r#"{"requests":[{"type":"fly"}]}"#, &nested] {
        let (status, refused) = a.post("a/v2/pipeline", malformed).await;
        assert_eq!((status, refused["code"].as_str().unwrap()), (400, "HRANA_PROTO_ERROR"));
    }
    let (_, refused) = a.pipeline(None, json!(vec![json!({"type": "close"}); 4])).await;
    assert_eq!(refused["code"], "HRANA_PROTO_ERROR");
    let (baton, _) = a.go_on(None, "BEGIN").await;
    let (_, refused) = a.pipeline(None, json!([execute("BEGIN")])).await;
    assert_eq!(refused["code"], "TOO_MANY_STREAMS");
    a.pipeline(Some(&baton), json!([{"type": "close"}])).await;
    assert_eq!(a.run(&["SELECT 1"]).await.len(), 1);
    house.end().await;
}

#[tokio::test]
async fn the_door_opens_on_loopback_only() {
    let dir = TempDir::new().unwrap();
    let config = Sqlite { listen: ([0, 0, 0, 0], 0).into(), ..Sqlite::default() };
    assert!(matches!(SqliteDoor::bind(&config, dir.path()).await, Err(DoorError::NotLoopback(_))));
}

/// Official clients, from `tests/node`: the test runner has run `npm ci` there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn official_javascript_clients_work_unchanged() {
    let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/node");
    assert!(scripts.join("node_modules").exists(), "run `npm ci` in tests/node first");
    for script in ["libsql", "drizzle", "kysely", "prisma"] {
        let house = house().await;
        let issued = house.issue(0, TicketMode::Tenant);
        let done = tokio::process::Command::new("node")
            .arg(scripts.join(format!("{script}.mjs")))
            .env("DATABASE_URL", issued.url.to_str().unwrap())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let done = tokio::time::timeout(Duration::from_secs(60), done).await.unwrap().unwrap();
        let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(done.status.success(), "{script}: {}{}", said[0], said[1]);
        house.end().await;
    }
}

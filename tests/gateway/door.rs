//! The SQLite door: the official client through a worker, and everything a hostile or broken one may send.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{Answer, BARBA, NAVAJA, STRANGER, TestGateway, Wire, eventually, tenants::shops_with_notes};

/// A ticket taken apart: what a backend holds, and what an attacker would play with.
#[derive(Debug, Clone)]
struct Ticket {
    url: String,
    door: SocketAddr,
    database: String,
    token: String,
}

impl Ticket {
    fn of(gateway: &TestGateway, origin: &str) -> Self {
        let answer = gateway.get("/ticket").origin(origin).send().is(200).json();
        let url = answer["url"].as_str().unwrap().to_owned();
        let rest = url.strip_prefix("http://").unwrap();
        let (door, rest) = rest.split_once('/').unwrap();
        let (database, token) = rest.split_once("/?authToken=").unwrap();
        Self { door: door.parse().unwrap(), database: database.to_owned(), token: token.to_owned(), url }
    }

    /// One request to the door with this ticket, on a path of the caller's choice.
    fn post(&self, path: &str, body: &str) -> Answer {
        let mut wire = Wire::tcp(self.door);
        wire.send(format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.door,
            self.token,
            body.len()
        ));
        wire.answer()
    }

    fn pipeline(&self, body: &Value) -> Answer {
        self.post(&format!("/{}/v2/pipeline", self.database), &body.to_string())
    }

    /// One statement on a stream of its own: its result, or its error.
    fn execute(&self, sql: &str) -> Result<Value, Value> {
        let answer =
            self.pipeline(&json!({ "requests": [execute(sql), { "type": "close" }] })).is(200).json();
        let result = &answer["results"][0];
        match result["type"].as_str() {
            Some("ok") => Ok(result["response"]["result"].clone()),
            _ => Err(result["error"].clone()),
        }
    }

    fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: token.into(), ..self.clone() }
    }
}

fn execute(sql: &str) -> Value {
    json!({ "type": "execute", "stmt": { "sql": sql } })
}

/// The worker runs `sql` with its own ticket, through the official client.
fn sql(gateway: &TestGateway, origin: &str, sql: &str, args: &Value) -> Answer {
    gateway.request("POST", "/sql").origin(origin).json(&json!({ "sql": sql, "args": args })).send()
}

fn texts(gateway: &TestGateway, origin: &str) -> String {
    sql(gateway, origin, "SELECT group_concat(text) AS all_texts FROM notes", &json!([])).is(200).text()
}

#[test]
fn the_official_client_writes_and_reads_each_shops_own_database() {
    let gateway = shops_with_notes();
    for (origin, text) in [(NAVAJA, "a razor"), (BARBA, "a beard")] {
        gateway.request("POST", "/notes").origin(origin).json(&json!({ "text": text })).send().is(200);
    }
    for (origin, own, other) in [(NAVAJA, "a razor", "a beard"), (BARBA, "a beard", "a razor")] {
        let rows = gateway.get("/notes").origin(origin).send().is(200).text();
        assert!(rows.contains(own) && !rows.contains(other), "{rows}");
    }
    // Nobody in particular has no database.
    gateway.get("/notes").send().is(401);
}

#[test]
fn values_of_every_type_come_back_as_they_went() {
    let gateway = shops_with_notes();
    let query = "SELECT ? AS a, typeof(?1) AS ta, ? AS b, typeof(?2) AS tb, ? AS c, ? AS d, typeof(?4) AS td";
    let answer = sql(&gateway, NAVAJA, query, &json!([7, 1.5, "é\u{1F600}", null])).is(200).json();
    let row = &answer["rows"][0];
    assert_eq!((&row["a"], &row["ta"]), (&json!(7), &json!("integer")), "a whole JS number is an integer");
    assert_eq!((&row["b"], &row["tb"]), (&json!(1.5), &json!("real")));
    assert_eq!((&row["c"], &row["d"], &row["td"]), (&json!("é\u{1F600}"), &Value::Null, &json!("null")));
    let named = sql(&gateway, NAVAJA, "SELECT :a + @b + $c AS sum", &json!({ "a": 1, "b": 2, "c": 3 }));
    assert_eq!(named.is(200).json()["rows"][0]["sum"], 6);
    let changed =
        sql(&gateway, NAVAJA, "INSERT INTO notes (text) VALUES ('a'), ('b')", &json!([])).is(200).json();
    assert_eq!(changed["changed"], 2);
}

#[test]
fn sql_errors_come_back_with_their_code_and_leave_the_door_open() {
    let gateway = shops_with_notes();
    for (statement, words) in [
        ("SELEC 1", "syntax"),
        ("SELECT * FROM nothing", "nothing"),
        ("INSERT INTO notes (id, text) VALUES (1, NULL)", "NOT NULL"),
        ("INSERT INTO notes (text) VALUES (?)", ""),
        ("SELECT 1; SELECT 2", ""),
        ("", ""),
    ] {
        let answer = sql(&gateway, NAVAJA, statement, &json!([])).is(500).json();
        assert!(answer["error"].as_str().unwrap().contains(words), "{statement:?}: {answer}");
        assert!(answer["code"].is_string(), "{statement:?}: {answer}");
    }
    let constraint = sql(&gateway, NAVAJA, "INSERT INTO notes (text) VALUES (NULL)", &json!([])).json();
    assert!(constraint["code"].as_str().unwrap().starts_with("SQLITE_CONSTRAINT"), "{constraint}");
    sql(&gateway, NAVAJA, "SELECT 1", &json!([])).is(200);
}

#[test]
fn batches_scripts_and_transactions_are_all_or_nothing() {
    let gateway = shops_with_notes();
    let post = |path: &str, body: Value| gateway.request("POST", path).origin(NAVAJA).json(&body).send();
    let insert = |text: &str| format!("INSERT INTO notes (text) VALUES ('{text}')");
    post("/batch", json!({ "statements": [insert("b1"), insert("b2")] })).is(200);
    post("/batch", json!({ "statements": [insert("bad"), "INSERT INTO notes (text) VALUES (NULL)"] }))
        .is(500);
    post("/script", json!({ "sql": format!("{}; {};", insert("s1"), insert("s2")) })).is(200);
    post("/transaction", json!({ "statements": [insert("t1")], "end": "commit" })).is(200);
    post("/transaction", json!({ "statements": [insert("bad")], "end": "rollback" })).is(200);
    let all = texts(&gateway, NAVAJA);
    assert!(all.contains("b1,b2,s1,s2,t1") && !all.contains("bad"), "{all}");
    let reads = json!({ "statements": [insert("bad")], "mode": "read" });
    post("/batch", reads).is(500);
    assert!(!texts(&gateway, NAVAJA).contains("bad"), "a read-only transaction wrote");
}

#[test]
fn drizzle_works_unchanged() {
    let gateway = shops_with_notes();
    let body = json!({ "text": "by drizzle" });
    let answer = gateway.request("POST", "/drizzle").origin(NAVAJA).json(&body).send().is(200).json();
    assert_eq!(answer["written"][0]["text"], "by drizzle");
    assert_eq!(answer["counted"].as_array().map(Vec::len), Some(2), "{answer}");
}

#[test]
fn a_ticket_that_is_forged_foreign_old_or_nobodys_opens_nothing() {
    let gateway = shops_with_notes();
    let (navaja, barba) = (Ticket::of(&gateway, NAVAJA), Ticket::of(&gateway, BARBA));
    let (_, password) = navaja.token.rsplit_once('.').unwrap();
    let select = json!({ "requests": [execute("SELECT 1")] });
    let refused = |ticket: &Ticket, why: &str| {
        let answer = ticket.pipeline(&select);
        assert!(matches!(answer.status, 401 | 403 | 404), "{why}: {} {}", answer.status, answer.text());
        assert!(!answer.text().contains(password), "the answer repeats the password");
    };
    for token in [
        String::new(),
        "navaja".to_owned(),
        "navaja.".to_owned(),
        format!("navaja.{}", "A".repeat(43)),
        format!("barba.{password}"),
        format!("navaja.9999999999.1.{password}"),
        format!("navaja.x.{password}"),
        format!("NAVAJA.{password}"),
        format!(" navaja.{password}x"),
        password.to_owned(),
        format!("navaja.{}", &password[..42]),
        "nobody.x".to_owned(),
        "x".repeat(8000),
    ] {
        refused(&navaja.with_token(&token), &token);
    }
    // Its own name and password, at another's database.
    let crossed = Ticket { database: barba.database.clone(), ..navaja.clone() };
    refused(&crossed, "another tenant's database");
    assert_eq!(navaja.pipeline(&select).status, 200);
    gateway.cli(&["tenant", "suspend", "navaja"]).ok();
    refused(&navaja, "a suspended tenant");
    // A new process has a new key.
    let gateway = gateway.stop().start();
    let fresh = Ticket::of(&gateway, BARBA);
    let old = Ticket { door: fresh.door, ..barba.clone() };
    refused(&old, "a ticket of an earlier process");
    assert!(!gateway.log().contains(password), "a ticket is in the log");
}

#[test]
fn a_request_ticket_dies_with_its_request() {
    let gateway =
        TestGateway::builder().shops().worker("notes.mjs").config("backend.api.ticket = \"request\"").start();
    let first = Ticket::of(&gateway, NAVAJA);
    assert_ne!(first.token, Ticket::of(&gateway, NAVAJA).token);
    eventually("its request has ended", || {
        let answer = first.pipeline(&json!({ "requests": [execute("SELECT 1")] }));
        matches!(answer.status, 401 | 403).then_some(())
    });
    // While the request lives, the worker can use it.
    sql(&gateway, NAVAJA, "SELECT 1 AS one", &json!([])).is(200);
}

/// What barba wrote, and navaja must never read.
const SECRET: &str = "the other shop's secret";

/// Two shops, one of them with a secret, and their tickets: navaja's first.
fn shops_with_a_secret() -> (TestGateway, Ticket, Ticket) {
    let gateway = shops_with_notes();
    gateway.request("POST", "/notes").origin(BARBA).json(&json!({ "text": SECRET })).send().is(200);
    let (navaja, barba) = (Ticket::of(&gateway, NAVAJA), Ticket::of(&gateway, BARBA));
    assert!(texts(&gateway, BARBA).contains(SECRET));
    (gateway, navaja, barba)
}

#[test]
fn no_sql_reaches_another_tenants_file() {
    let (gateway, navaja, _) = shops_with_a_secret();
    let file = gateway.site().state().join("tenants/barba.db");
    assert!(file.exists(), "{} is not where tenants' files are", file.display());
    let file = file.display().to_string();
    for statement in [
        format!("ATTACH '{file}' AS other"),
        format!("ATTACH DATABASE 'file:{file}?mode=ro' AS other"),
        format!("attach/**/'{file}'as other"),
        "ATTACH 'barba.db' AS other".to_owned(),
        "ATTACH ':memory:' AS other".to_owned(),
        "ATTACH '' AS other".to_owned(),
        format!("VACUUM INTO '{file}.copy'"),
        format!("SELECT load_extension('{file}')"),
        format!("SELECT readfile('{file}')"),
        format!("SELECT writefile('{file}', 'x')"),
        format!("CREATE VIRTUAL TABLE v USING csv(filename='{file}')"),
        "SELECT fts3_tokenizer('x')".to_owned(),
        format!("EXPLAIN ATTACH '{file}' AS other"),
        "PRAGMA temp_store_directory = '/tmp'".to_owned(),
        format!("PRAGMA database_list; ATTACH '{file}' AS other"),
        "PRAGMA writable_schema = ON".to_owned(),
        "PRAGMA journal_mode = DELETE".to_owned(),
        "DETACH main".to_owned(),
    ] {
        let outcome = navaja.execute(&statement);
        // What SQLite itself ignores may be accepted; nothing of the other shop may come of it.
        let harmless = statement.starts_with("PRAGMA") || statement.starts_with("EXPLAIN");
        assert!(outcome.is_err() || harmless, "{statement} was accepted: {outcome:?}");
        assert!(!format!("{outcome:?}").contains(SECRET), "{statement}");
    }
    for table in ["other.notes", "barba.notes", "main.notes", "temp.notes", "notes"] {
        assert!(
            !format!("{:?}", navaja.execute(&format!("SELECT * FROM {table}"))).contains(SECRET),
            "{table}"
        );
    }
    assert!(!std::path::Path::new(&format!("{file}.copy")).exists(), "VACUUM INTO wrote a file");
    let mode = navaja.execute("PRAGMA journal_mode").unwrap().to_string();
    assert!(mode.contains("wal"), "a tenant changed how its file is written: {mode}");
}

#[test]
fn the_ticket_decides_whose_data_it_is_and_never_the_path() {
    let (_gateway, navaja, _) = shops_with_a_secret();
    for path in [
        "/barba/v2/pipeline",
        "/navaja/../barba/v2/pipeline",
        "/%62arba/v2/pipeline",
        "//barba/v2/pipeline",
        "/v2/pipeline",
        "/barba.db/v2/pipeline",
        "/navaja/v2/pipeline/../../../barba/v2/pipeline",
    ] {
        let answer = navaja.post(path, &json!({ "requests": [execute("SELECT * FROM notes")] }).to_string());
        assert!(!answer.text().contains(SECRET), "{path}: {}", answer.text());
    }
}

#[test]
fn a_stream_belongs_to_the_ticket_that_opened_it_and_each_baton_is_good_once() {
    let (_gateway, navaja, barba) = shops_with_a_secret();
    let begin = json!({ "requests": [execute("BEGIN"), execute("SELECT * FROM notes")] });
    let open = barba.pipeline(&begin).is(200).json();
    let baton = open["baton"].as_str().unwrap().to_owned();
    let steal = json!({ "baton": baton, "requests": [execute("SELECT * FROM notes")] });
    let crossed = Ticket { database: barba.database.clone(), ..navaja.clone() };
    for thief in [&navaja, &crossed] {
        let answer = thief.pipeline(&steal);
        assert!(answer.status >= 400 && !answer.text().contains(SECRET), "{}", answer.text());
    }
    // The theft did not break the owner's stream.
    barba.pipeline(&steal).is(200);
    assert!(barba.pipeline(&steal).status >= 400, "a baton was good twice");
    for forged in ["", "x", "0", &format!("{baton}x"), &"x".repeat(100_000)] {
        let answer = navaja.pipeline(&json!({ "baton": forged, "requests": [execute("SELECT 1")] }));
        assert!((400..500).contains(&answer.status), "{forged:?}: {}", answer.status);
    }
}

#[test]
fn no_origin_and_no_forged_header_shows_another_tenants_data() {
    let (gateway, _, barba) = shops_with_a_secret();
    for (origin, header, value) in [
        (STRANGER, "x-gateway-tenant", "barba"),
        (NAVAJA, "x-gateway-tenant", "barba"),
        (NAVAJA, "x-gateway-database-url", &*barba.url),
        (NAVAJA, "X-Gateway-Database-Url", &*barba.url),
        (NAVAJA, "connection", "x-gateway-database-url, x-gateway-tenant"),
        (NAVAJA, "x-forwarded-host", "barba.example"),
        (NAVAJA, "x-gateway-key", "barba"),
        (NAVAJA, "referer", BARBA),
        (NAVAJA, "origin", BARBA),
    ] {
        let answer = gateway.get("/notes").origin(origin).header(header, value).send();
        assert!(!answer.text().contains(SECRET), "{origin} with {header}: {}", answer.text());
    }
    // As trailers, which some servers merge into the headers.
    let mut wire = gateway.wire();
    wire.send(format!(
        "POST /sql HTTP/1.1\r\nhost: {}\r\norigin: {NAVAJA}\r\ntransfer-encoding: chunked\r\n\
         trailer: x-gateway-database-url\r\n\r\n28\r\n{{\"sql\":\"SELECT text AS t FROM notes\"}}   \r\n0\r\n\
         x-gateway-database-url: {}\r\n\r\n",
        crate::HOST,
        barba.url
    ));
    let answer = wire.answer();
    assert!(!answer.text().contains(SECRET), "{}", answer.text());
}

#[test]
fn both_shops_at_once_never_see_a_row_of_the_other() {
    let gateway = shops_with_notes();
    std::thread::scope(|scope| {
        for (origin, own) in [(NAVAJA, "navaja"), (BARBA, "barba")] {
            for _ in 0..3 {
                let gateway = &gateway;
                scope.spawn(move || {
                    for number in 0..25 {
                        let body = json!({ "text": format!("{own} {number}") });
                        gateway.request("POST", "/notes").origin(origin).json(&body).send().is(200);
                        let rows = gateway.get("/notes").origin(origin).send().is(200).json();
                        let foreign = rows
                            .as_array()
                            .unwrap()
                            .iter()
                            .find(|row| !row["text"].as_str().unwrap().starts_with(own));
                        assert!(foreign.is_none(), "{own} sees {foreign:?}");
                    }
                });
            }
        }
    });
    let count = sql(&gateway, NAVAJA, "SELECT count(*) AS n FROM notes", &json!([])).is(200).json();
    assert_eq!(count["rows"][0]["n"], 75, "a write was lost");
}

#[test]
fn malformed_pipelines_are_refused_with_a_reason_and_leave_the_door_open() {
    let gateway = shops_with_notes();
    let navaja = Ticket::of(&gateway, NAVAJA);
    let path = format!("/{}/v2/pipeline", navaja.database);
    let deep = format!("{{\"requests\": {}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let many = json!({ "requests": vec![execute("SELECT 1"); 5000] }).to_string();
    for body in [
        "",
        "null",
        "[]",
        "{",
        "{}",
        r#"{"requests": 1}"#,
        r#"{"requests": [1]}"#,
        r#"{"requests": [{"type": "nonsense"}]}"#,
        r#"{"requests": [{"type": "execute"}]}"#,
        r#"{"requests": [{"type": "execute", "stmt": {"sql": 1}}]}"#,
        r#"{"requests": [{"type": "execute", "stmt": {"sql": "SELECT ?", "args": [{"type": "integer", "value": "x"}]}}]}"#,
        r#"{"requests": [{"type": "execute", "stmt": {"sql": "SELECT ?", "args": [{"type": "blob", "base64": "%"}]}}]}"#,
        r#"{"baton": 1, "requests": []}"#,
        "\u{0}",
        &deep,
        &many,
    ] {
        let answer = navaja.post(&path, body);
        let json = answer.json();
        // What is wrong with one request alone may be the answer to that request.
        let in_place = answer.status == 200 && json["results"][0]["type"] == "error";
        assert!(in_place || (400..500).contains(&answer.status), "{}: {:.100}", answer.status, body);
    }
    // Errors inside a well-formed pipeline are the answer to that request alone.
    let body = json!({ "requests": [
        { "type": "execute", "stmt": { "sql_id": 99 } },
        execute("SELEC 1"),
        execute("SELECT 1"),
        { "type": "close" },
    ]});
    let answer = navaja.pipeline(&body).is(200).json();
    let types: Vec<&str> =
        answer["results"].as_array().unwrap().iter().map(|r| r["type"].as_str().unwrap()).collect();
    assert_eq!((types.len(), types[0], types[1], types[2]), (4, "error", "error", "ok"), "{answer}");
    // Not HTTP at all, a wrong method, another path.
    let mut wire = Wire::tcp(navaja.door);
    wire.send("EHLO door\r\n\r\n");
    assert!(wire.try_head().is_err() || wire.is_closed());
    assert!((400..500).contains(&navaja.post("/elsewhere", "{}").status));
    assert!(navaja.execute("SELECT 1").is_ok());
}

#[test]
fn a_statement_past_its_deadline_is_truly_stopped() {
    let limits = "[pool]\nstatement_timeout = \"500ms\"";
    let gateway = TestGateway::builder().shops().worker("notes.mjs").config(limits).start();
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) AS m FROM n";
    let begun = Instant::now();
    let answer = sql(&gateway, NAVAJA, endless, &json!([])).is(500).json();
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
    assert!(answer["error"].as_str().unwrap().contains("statement_timeout"), "names the limit: {answer}");
    let before = cpu_ticks(gateway.pid());
    std::thread::sleep(Duration::from_millis(1000));
    let used = cpu_ticks(gateway.pid()) - before;
    assert!(used < 30, "{used} ticks of CPU in an idle second: the statement still runs");
    sql(&gateway, NAVAJA, "SELECT 1", &json!([])).is(200);
}

#[test]
fn a_statement_whose_client_is_gone_is_stopped() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("notes.mjs")
        .config("[pool]\nstatement_timeout = \"60s\"\ntransaction_timeout = \"120s\"")
        .start();
    let navaja = Ticket::of(&gateway, NAVAJA);
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n";
    let body = json!({ "requests": [execute(endless)] }).to_string();
    let mut wire = Wire::tcp(navaja.door);
    wire.send(format!(
        "POST /{}/v2/pipeline HTTP/1.1\r\nhost: door\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        navaja.database,
        navaja.token,
        body.len()
    ));
    std::thread::sleep(Duration::from_millis(500));
    wire.vanish();
    eventually("the gateway is idle again", || {
        let before = cpu_ticks(gateway.pid());
        std::thread::sleep(Duration::from_millis(500));
        (cpu_ticks(gateway.pid()) - before < 20).then_some(())
    });
}

/// CPU time of a process in ticks of 10 ms.
fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_transaction_left_open_is_rolled_back_and_frees_the_writer() {
    let limits = "[door.sqlite]\nstream_idle_timeout = \"2s\"\n[pool]\nstatement_timeout = \"3s\"\ntransaction_timeout = \"4s\"";
    let gateway = TestGateway::builder().shops().worker("notes.mjs").config(limits).start();
    let navaja = Ticket::of(&gateway, NAVAJA);
    navaja.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)").unwrap();
    let begin = json!({ "requests": [execute("BEGIN IMMEDIATE"), execute("INSERT INTO notes (text) VALUES ('left')")] });
    let open = navaja.pipeline(&begin).is(200).json();
    let baton = open["baton"].as_str().unwrap();
    // Readers are not in its way.
    assert!(navaja.execute("SELECT count(*) FROM notes").is_ok());
    // Others may write soon.
    let begun = Instant::now();
    navaja.execute("INSERT INTO notes (text) VALUES ('next')").unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let late = navaja.pipeline(&json!({ "baton": baton, "requests": [execute("COMMIT")] }));
    assert!(late.status >= 400 && late.text().contains("STREAM_EXPIRED"), "{} {}", late.status, late.text());
    let rows = navaja.execute("SELECT text FROM notes").unwrap().to_string();
    assert!(rows.contains("next") && !rows.contains("left"), "{rows}");
    // One that is kept busy ends at the transaction's own deadline.
    let mut baton = navaja.pipeline(&begin).is(200).json()["baton"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    let ended = loop {
        let answer = navaja.pipeline(&json!({ "baton": baton, "requests": [execute("SELECT 1")] }));
        let text = answer.text();
        if answer.status != 200 || text.contains("\"error\"") {
            break text;
        }
        baton = answer.json()["baton"].as_str().unwrap().to_owned();
        assert!(begun.elapsed() < Duration::from_secs(20), "the transaction lives for ever");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(ended.contains("STREAM_EXPIRED") || ended.contains("transaction_timeout"), "{ended}");
    assert!(begun.elapsed() > Duration::from_secs(2), "it ended before its time: {:?}", begun.elapsed());
}

#[test]
fn an_answer_larger_than_the_limit_is_refused_and_a_full_database_harms_nobody_else() {
    let limits = "[pool.sqlite]\nresponse_bytes_max = 100000\nfile_bytes_max = 1000000";
    let gateway = TestGateway::builder().shops().worker("notes.mjs").config(limits).start();
    let (navaja, barba) = (Ticket::of(&gateway, NAVAJA), Ticket::of(&gateway, BARBA));
    for ticket in [&navaja, &barba] {
        ticket.execute("CREATE TABLE notes (text TEXT)").unwrap();
    }
    let rows = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000) SELECT hex(zeroblob(200)) FROM n";
    let error = navaja.execute(rows).unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("response_bytes_max"), "{error}");
    assert!(navaja.execute("SELECT hex(zeroblob(1000000))").is_err());
    assert!(navaja.execute("SELECT hex(zeroblob(1000))").is_ok());
    let fill = "INSERT INTO notes SELECT hex(randomblob(10000))";
    let full = (0..200).find_map(|_| navaja.execute(fill).err()).expect("two megabytes fit into one");
    assert!(full["code"].as_str().unwrap().contains("FULL"), "{full}");
    assert!(navaja.execute("SELECT count(*) FROM notes").is_ok());
    assert!(barba.execute(fill).is_ok());
    navaja.execute("DELETE FROM notes").unwrap();
}

#[test]
fn one_tenants_waiting_for_connections_ends_in_a_clear_error_and_leaves_its_neighbour_alone() {
    let limits = "[pool]\nwait_timeout = \"700ms\"\nwaiting_max = 4\n[pool.sqlite]\nreaders_max = 1";
    let gateway = TestGateway::builder().shops().worker("notes.mjs").config(limits).start();
    let (navaja, barba) = (Ticket::of(&gateway, NAVAJA), Ticket::of(&gateway, BARBA));
    navaja.pipeline(&json!({ "requests": [execute("BEGIN IMMEDIATE")] })).is(200);
    let begun = Instant::now();
    let error = navaja.execute("CREATE TABLE waits (x)").unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(4));
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("navaja") && message.contains("wait_timeout"),
        "names tenant and limit: {message}"
    );
    assert!(barba.execute("CREATE TABLE waits (x)").is_ok());
}

#[test]
fn the_door_listens_on_loopback_and_on_a_socket_of_its_own() {
    let gateway = shops_with_notes();
    let navaja = Ticket::of(&gateway, NAVAJA);
    assert!(navaja.door.ip().is_loopback());
    let body = json!({ "requests": [execute("SELECT 1"), { "type": "close" }] }).to_string();
    let mut wire = Wire::unix(&gateway.site().runtime().join("sqlite.sock")).unwrap();
    wire.send(format!(
        "POST /{}/v2/pipeline HTTP/1.1\r\nhost: door\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        navaja.database,
        navaja.token,
        body.len()
    ));
    wire.answer().is(200);
}

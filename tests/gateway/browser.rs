//! A real browser, which alone knows what CORS means: the example's two shops, a stranger, and what a page may do.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{TestGateway, eventually, node};

/// The example's static server for some shops; ends with the test.
struct Pages {
    child: Child,
    origins: Vec<String>,
}

impl Pages {
    fn serve(shops: &[&str], api: &str) -> Self {
        let script = example().join("frontend/serve.mjs");
        let mut command = Command::new("node");
        command.arg(script).args(shops.iter().map(|shop| format!("{shop}:0")));
        command.env("API_HTTP", api).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // `navaja: http://localhost:41234`
        let mut told: Vec<(String, String)> = lines
            .take(shops.len())
            .map(|line| line.unwrap().split_once(": ").map(|(s, o)| (s.to_owned(), o.to_owned())).unwrap())
            .collect();
        told.sort_by_key(|(shop, _)| shops.iter().position(|wanted| wanted == shop));
        Self { child, origins: told.into_iter().map(|(_, origin)| origin).collect() }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/barbershop")
}

/// An empty page on an origin of its own, as long as the test process lives.
fn blank_page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _asked = stream.read(&mut [0; 4096]);
            let page = "<!doctype html><title>page</title>";
            let length = page.len();
            let _gone = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{page}"
            );
        }
    });
    origin
}

#[test]
fn both_shops_book_in_a_browser_and_see_only_their_own_and_a_third_is_refused() {
    let server = example().join("backend/server.js");
    let packages = example().join("backend/node_modules");
    assert!(packages.exists(), "{} is missing: `tests/run` installs it (npm ci)", packages.display());
    let gateway = TestGateway::builder()
        .config(&format!("[backend.api]\ncommand = [\"node\", {server:?}]\nhosts = [\"localhost\"]\nallow_root = true\nhealth.path = \"/healthz\""))
        .start();
    let api = format!("http://localhost:{}", gateway.http().port());
    let pages = Pages::serve(&["navaja", "barba", "tijera"], &api);
    for (id, origin) in ["navaja", "barba"].iter().zip(&pages.origins) {
        gateway
            .cli(&["tenant", "add", id, "--origin", origin, "--database", &format!("sqlite://{id}.db")])
            .ok();
    }
    let migrations = example().join("migrations");
    gateway.cli(&["tenant", "migrate", migrations.to_str().unwrap(), "--all"]).ok();
    let [navaja, barba, tijera] = &pages.origins[..] else { panic!("{:?}", pages.origins) };
    let env = [("NAVAJA", &**navaja), ("BARBA", barba), ("TIJERA", tijera), ("API", &api)];
    node::run("browser.mjs", &["shops"], &env);
    // The stranger is told of, with the command that would let it in.
    let refused = gateway.cli(&["tenant", "refused"]).ok().stdout;
    assert!(refused.contains(tijera.as_str()), "{refused}");
}

#[test]
fn a_page_can_do_what_its_tenants_policy_says_and_no_more() {
    let gateway = TestGateway::builder()
        .backend("api", "echo.mjs", &["localhost"])
        .config("[cors]\nmethods = [\"GET\", \"PUT\"]\nheaders = [\"content-type\", \"x-shop\"]\nexposed_headers = [\"x-request-id\", \"x-total\"]")
        .start();
    let [plain, with_credentials, suspended, stranger] = std::array::from_fn(|_| blank_page());
    gateway.cli(&["tenant", "add", "plain", "--origin", &plain]).ok();
    let policy = r#"{"credentials": true, "methods": ["GET", "PUT"], "headers": ["content-type"]}"#;
    gateway.cli(&["tenant", "add", "credentials", "--origin", &with_credentials, "--cors", policy]).ok();
    gateway.cli(&["tenant", "add", "suspended", "--origin", &suspended]).ok();
    gateway.cli(&["tenant", "suspend", "suspended"]).ok();
    let api = format!("http://localhost:{}", gateway.http().port());
    let secure = format!("https://localhost:{}", gateway.https().port());
    let env = [
        ("PLAIN", &*plain),
        ("CREDENTIALS", &*with_credentials),
        ("SUSPENDED", &*suspended),
        ("STRANGER", &*stranger),
        ("API", &*api),
        ("API_HTTPS", &*secure),
    ];
    node::run("browser.mjs", &["policy"], &env);
    let over_http2 = eventually("the browser's WebSocket over HTTP/2 is logged", || {
        gateway.access_log().into_iter().find(|line| line["path"] == "/ws-over-http2")
    });
    assert_eq!(
        (&over_http2["protocol"], &over_http2["status"]),
        (&"HTTP/2".into(), &200.into()),
        "{over_http2}"
    );
    let seen = gateway.get("/seen").host("localhost").origin(&plain).send().is(200).text();
    assert!(!seen.contains("from-a-stranger"), "a stranger's request reached the backend: {seen}");
    assert!(!seen.contains("not-allowed"), "a request whose preflight said no reached the backend: {seen}");
}

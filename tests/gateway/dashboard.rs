//! The page for an operator's browser: who gets to see it, what it shows, and that nothing can be ordered through it.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Answer, Output, Site, TestGateway, Wire, as_root, eventually, node};

/// `gateway dashboard` as it runs.
struct Dashboard {
    child: Child,
    input: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
    url: String,
}

impl Dashboard {
    fn open(site: &Site) -> Self {
        Self::opened(site.command(&["dashboard", "--listen", "127.0.0.1:0"]))
    }

    fn opened(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (input, lines) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut dashboard = Self { child, input, lines, url: String::new() };
        dashboard.url = dashboard.line();
        dashboard
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        if line.is_empty() {
            self.child.kill().unwrap();
            let mut text = String::new();
            std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut text).unwrap();
            panic!("the dashboard did not open: {text}");
        }
        line.trim().to_owned()
    }

    fn address(&self) -> SocketAddr {
        self.url.split('/').nth(2).unwrap().parse().unwrap()
    }

    fn path(&self) -> &str {
        &self.url[self.url.find("/?").unwrap()..]
    }

    /// One request with the headers that are given and no others.
    fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        let mut wire = Wire::tcp(self.address());
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        wire.send(format!("{method} {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n"));
        wire.answer()
    }

    fn host(&self) -> String {
        format!("host: {}", self.address())
    }

    /// As a browser that was given the key.
    fn enter(&self) -> String {
        let opened = self.ask("GET", self.path(), &[&self.host()]).is(303);
        let cookie = opened.header("set-cookie").unwrap();
        format!("cookie: {}", cookie.split(';').next().unwrap())
    }

    fn ends(mut self) -> Option<i32> {
        let child = &mut self.child;
        eventually("the dashboard ends", || child.try_wait().unwrap()).code()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

#[track_caller]
fn problem(answer: Answer, status: u16, code: &str) -> String {
    let problem = answer.is(status).json();
    assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()), "{problem}");
    problem["hint"].as_str().expect("a remedy").to_owned()
}

#[test]
fn a_browser_sees_workers_their_deaths_and_their_lines_as_text() {
    let gateway = TestGateway::builder().shops().worker("chatty.mjs").start();
    let dashboard = Dashboard::open(gateway.site());
    let edge = format!("http://{}", gateway.http());
    let pid = gateway.worker_pids()[0].to_string();
    node::run("dashboard.mjs", &["shows"], &[("URL", &dashboard.url), ("EDGE", &edge), ("PID", &pid)]);
}

#[test]
fn a_page_that_is_open_says_that_the_gateway_has_gone_and_goes_on_when_it_is_back() {
    let gateway = TestGateway::builder().worker("chatty.mjs").start();
    // Elsewhere, so that what belongs to the page is not taken for what the gateway leaves behind.
    let apart = tempfile::tempdir().unwrap();
    let config = apart.path().join("gateway.toml");
    std::fs::copy(gateway.site().config_path(), &config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.arg("--config").arg(&config).args(["dashboard", "--listen", "127.0.0.1:0"]);
    let dashboard = Dashboard::opened(command);
    let (url, path) = (dashboard.url.clone(), apart.path().to_owned());
    let signs = path.to_str().unwrap().to_owned();
    let page =
        thread::spawn(move || node::run("dashboard.mjs", &["recovers"], &[("URL", &url), ("SIGNS", &signs)]));
    eventually("the page has seen it", || path.join("seen").exists().then_some(()));
    let stopped = gateway.stop();
    eventually("the page says so", || (path.join("gone").exists() || page.is_finished()).then_some(()));
    let _again = stopped.start();
    page.join().unwrap();
}

#[test]
fn the_page_fits_on_a_telephone_in_the_dark() {
    let gateway = TestGateway::builder().shops().worker("chatty.mjs").workers(2).start();
    let dashboard = Dashboard::open(gateway.site());
    let edge = format!("http://{}", gateway.http());
    node::run("dashboard.mjs", &["fits"], &[("URL", &dashboard.url), ("EDGE", &edge)]);
}

#[test]
fn a_key_opens_it_for_one_browser_and_nobody_else_comes_in() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let mut dashboard = Dashboard::open(gateway.site());
    let host = dashboard.host();
    for path in ["/", "/api/house", "/api/logs", "/api/tenants", "/dashboard.js", "/nothing", "/status"] {
        let hint = problem(dashboard.ask("GET", path, &[&host]), 401, "no-key");
        assert!(hint.contains("gateway dashboard"), "{hint}");
    }
    problem(dashboard.ask("GET", "/?key=guess", &[&host]), 401, "key-used");
    let cookie = dashboard.enter();
    problem(dashboard.ask("GET", dashboard.path(), &[&host]), 401, "key-used");
    let house = dashboard.ask("GET", "/api/house", &[&host, &cookie]).is(200);
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(house.header(name), Some(value));
    }
    let policy = house.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );
    let house = house.json()["house"].clone();
    let worker = &house["backends"][0]["workers"][0];
    assert_eq!(
        (&worker["name"], &worker["pid"]),
        (&"api/0".into(), &gateway.worker_pids()[0].into()),
        "{house}"
    );
    let found = dashboard.ask("GET", "/api/tenants?find=nav", &[&host, &cookie]).is(200).json();
    assert_eq!((&found["total"], &found["shown"][0]["id"]), (&2.into(), &"navaja".into()), "{found}");
    assert!(dashboard.ask("GET", "/", &[&host, &cookie]).is(200).text().contains("dashboard.js"));
    // The next key, for the next browser.
    let first = std::mem::take(&mut dashboard.url);
    dashboard.url = dashboard.line();
    assert_ne!(dashboard.url, first);
    dashboard.enter();
}

#[test]
fn nothing_is_ordered_through_it_and_no_other_sites_page_reaches_it() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let dashboard = Dashboard::open(gateway.site());
    let (host, cookie) = (dashboard.host(), dashboard.enter());
    let with = |more: &str| dashboard.ask("GET", "/api/house", &[&host, &cookie, more]);
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        for path in ["/", "/reload", "/tenants/navaja/suspend", "/api/house"] {
            problem(dashboard.ask(method, path, &[&host, &cookie, "content-length: 0"]), 405, "reads-only");
        }
    }
    // What the admin socket has besides is not here.
    for path in [
        "/status",
        "/export",
        "/metrics",
        "/tenants",
        "/api/export",
        "/api/../export",
        "/api/house/",
        "//status",
    ] {
        problem(dashboard.ask("GET", path, &[&host, &cookie]), 404, "no-such-page");
    }
    for host in ["host: rebound.example", "host: gateway:7070", "host: 192.0.2.1:7070", "x: y"] {
        problem(dashboard.ask("GET", "/api/house", &[host, &cookie]), 403, "host-foreign");
    }
    for sign in [
        "sec-fetch-site: cross-site",
        "sec-fetch-site: same-site",
        "origin: https://evil.example",
        "origin: null",
    ] {
        problem(with(sign), 403, "page-foreign");
    }
    with("sec-fetch-site: same-origin").is(200);
    // Somebody else's port led here by SSH has another number.
    let led = dashboard.ask("GET", "/api/house", &["host: localhost:9999", &cookie]);
    problem(led, 401, "no-key");
    // A wish that cannot be read is a problem, too, and a head without end is cut.
    let level = dashboard.ask("GET", "/api/logs?level=loud", &[&host, &cookie]).is(400).json();
    assert_eq!(level["code"], "bad-query");
    let long = format!("x: {}", "x".repeat(300 * 1024));
    let mut wire = Wire::tcp(dashboard.address());
    let _cut = wire.try_send(format!("GET / HTTP/1.1\r\n{host}\r\n{long}\r\n\r\n"));
    assert!(wire.try_head().map_or(true, |head| head.status == 431));
    assert_eq!(gateway.status()["tenants"]["suspended"], 0);
}

#[test]
fn the_admin_socket_takes_nothing_from_a_browser() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let ask = |method: &str, path: &str, headers: &str| {
        let mut wire = Wire::unix(&gateway.site().admin_socket()).unwrap();
        wire.send(format!(
            "{method} {path} HTTP/1.1\r\n{headers}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        ));
        wire.answer()
    };
    for sign in [
        "host: localhost:7070\r\norigin: https://evil.example",
        "host: localhost:7070\r\nsec-fetch-site: cross-site",
        "host: localhost:7070\r\nsec-fetch-mode: navigate",
        "host: rebound.example",
    ] {
        for (method, path) in
            [("POST", "/tenants/navaja/suspend"), ("GET", "/status"), ("POST", "/backends/api/stop")]
        {
            let hint = problem(ask(method, path, sign), 403, "from-a-browser");
            assert!(hint.contains("`gateway dashboard`"), "{hint}");
        }
    }
    assert_eq!(gateway.status()["tenants"]["suspended"], 0);
    ask("GET", "/status", "host: localhost").is(200);
    ask("POST", "/tenants/navaja/suspend", "host: gateway").is(200);
    gateway.has_logged("order refused: from a browser");
}

#[test]
fn it_listens_on_loopback_alone_and_says_what_is_in_its_way() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    for address in ["0.0.0.0:7070", "[::]:7070"] {
        let refused = gateway.cli(&["dashboard", "--listen", address]).fails(2);
        refused.says(&["error: ", "strangers", "hint: ", "ssh -t -L 7070:127.0.0.1:7070"]);
    }
    gateway.cli(&["dashboard", "--listen", "7070"]).fails(2).says(&["hint: ", "--listen 127.0.0.1:7070"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = gateway.cli(&["dashboard", "--listen", &address]).fails(1);
    refused.says(&[&address, "in use", "hint: ", "--listen 127.0.0.1:0"]);
    let site = gateway.stop();
    site.cli(&["dashboard", "--listen", "127.0.0.1:0"]).fails(3).says(&["not running", "hint: "]);
}

#[test]
fn it_ends_with_whatever_it_was_started_from() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 0), (Signal::SIGHUP, 0)] {
        let dashboard = Dashboard::open(gateway.site());
        // A browser that keeps its connection holds nothing up.
        let mut kept = Wire::tcp(dashboard.address());
        kept.send(format!("GET / HTTP/1.1\r\n{}\r\n\r\n", dashboard.host()));
        kept.answer().is(401);
        dashboard.signal(signal);
        assert_eq!(dashboard.ends(), Some(code), "{signal}");
    }
    let mut dashboard = Dashboard::open(gateway.site());
    drop(dashboard.input.take());
    assert_eq!(dashboard.ends(), Some(0), "an SSH connection without a terminal has ended");
    let mut with_json = gateway.site().command(&["dashboard", "--listen", "127.0.0.1:0", "--json"]);
    with_json.stdin(Stdio::null());
    let dashboard = Dashboard::opened(with_json);
    let told: serde_json::Value = serde_json::from_str(&dashboard.url).unwrap();
    let address = told["address"].as_str().unwrap();
    assert!(told["url"].as_str().unwrap().starts_with(&format!("http://{address}/?key=")), "{told}");
}

#[test]
fn root_serves_it_as_the_gateways_own_user() {
    if !as_root("that the dashboard gives up root's rights") {
        return;
    }
    const OWN: &str = "61235";
    let site = TestGateway::builder().shops().site();
    let owned = Command::new("chown").args(["-R", OWN]).arg(site.path()).status().unwrap();
    assert!(owned.success());
    let launcher = ["setpriv", "--reuid", OWN, "--regid", OWN, "--clear-groups"];
    let gateway = TestGateway::start_through(site, &launcher);
    let dashboard = Dashboard::open(gateway.site());
    let status = std::fs::read_to_string(format!("/proc/{}/status", dashboard.child.id())).unwrap();
    let uids = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(uids.split_whitespace().skip(1).all(|uid| uid == OWN), "{uids}");
    let cookie = dashboard.enter();
    dashboard.ask("GET", "/api/house", &[&dashboard.host(), &cookie]).is(200);
    // Where nothing may become more than it is, as in a hardened service.
    let hardened = [&launcher[..], &["--no-new-privs"]].concat();
    let hardened = gateway.site().command_through(&hardened, &["dashboard", "--listen", "127.0.0.1:0"]);
    let hardened = Dashboard::opened(hardened);
    let cookie = hardened.enter();
    hardened.ask("GET", "/api/house", &[&hardened.host(), &cookie]).is(200);
    // Somebody else does not even get so far.
    let other = ["setpriv", "--reuid", "61236", "--regid", "61236", "--clear-groups"];
    let mut refused = gateway.site().command_through(&other, &["dashboard", "--listen", "127.0.0.1:0"]);
    let output = Output::of(&refused.output().unwrap());
    assert!(![0, 130].contains(&output.code) && output.stderr.contains("error: "), "{}", output.all());
}

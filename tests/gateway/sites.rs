//! Sites: files, another application and redirects beside the tenants' API, as a browser or curl meets them.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::{Answer, HOST, NAVAJA, Site, TestGateway, builder::Builder, client::Request, eventually, node};

const WWW: &str = "www.example";

/// A directory with a site, kept until the test ends.
fn files(list: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in list {
        let path = dir.path().join("root").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}

fn root(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("root")
}

/// The API with the two shops, and a site of files on a host of its own.
fn beside_the_api(dir: &tempfile::TempDir, more: &str) -> Builder {
    let site = format!("[[edge.site]]\nhost = {WWW:?}\nroot = {:?}\n{more}", root(dir));
    TestGateway::builder().shops().worker("echo.mjs").config(&site)
}

fn www(gateway: &TestGateway, path: &str) -> Request {
    gateway.get(path).host(WWW)
}

#[test]
fn a_site_of_files_lives_beside_the_api_and_has_neither_tenant_nor_cors() {
    let dir = files(&[("index.html", b"<h1>hello</h1>"), ("a/index.html", b"deep"), ("style.css", b"p {}")]);
    let gateway = beside_the_api(&dir, "").start();
    let page = www(&gateway, "/").origin(NAVAJA).send().is(200);
    assert_eq!(page.text(), "<h1>hello</h1>");
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-cache"),
        ("accept-ranges", "bytes"),
        ("vary", "Accept-Encoding"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    assert!(page.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{:?}", page.headers);
    // An unlisted page is nobody's business here; over TLS the site's host has a certificate like any other.
    www(&gateway, "/style.css").origin("https://stranger.example").send().is(200);
    let mut wire = crate::Wire::tls(gateway.https(), WWW, gateway.tls(&["http/1.1"]));
    wire.send(format!("GET /style.css HTTP/1.1\r\nhost: {WWW}\r\n\r\n"));
    assert_eq!(wire.answer().is(200).header("content-type"), Some("text/css; charset=utf-8"));
    // Directories: with a slash the index, without one the way to it, without an index nothing.
    assert_eq!(www(&gateway, "/a/").send().is(200).text(), "deep");
    assert_eq!(www(&gateway, "/a?x=1").send().is(308).header("location"), Some("/a/?x=1"));
    std::fs::create_dir(root(&dir).join("empty")).unwrap();
    www(&gateway, "/empty").send().problem(404);
    www(&gateway, "/empty/").send().problem(404);
    www(&gateway, "/style.css/").send().problem(404);
    assert_eq!(gateway.request("HEAD", "/").host(WWW).send().is(200).header("content-length"), Some("14"));
    let refused = gateway.post("/", "x").host(WWW).send().problem(405);
    assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    gateway.request("OPTIONS", "/").host(WWW).origin(NAVAJA).send().problem(405);
    // The log names the site, and no tenant.
    let line = gateway.access_line(page.header("x-request-id").unwrap());
    assert_eq!((&line["site"], &line["tenant"]), (&WWW.into(), &serde_json::Value::Null));
    // The API goes on as ever, and saw nothing of all this.
    let seen = gateway.get("/seen").origin(NAVAJA).send().is(200).readable_from(NAVAJA);
    assert!(!seen.text().contains("style"), "{}", seen.text());
    gateway.get("/").host("other.example").send().problem(421);
}

#[test]
fn hostile_paths_lead_to_no_file_whatever_lies_on_the_disk() {
    let dir = files(&[
        ("index.html", b"index"),
        ("a.txt", b"a"),
        ("a/b.txt", b"b"),
        (".env", b"secret"),
        (".git/config", b"secret"),
        (".git/HEAD", b"secret"),
        (".htaccess", b"secret"),
        ("a/.hidden", b"secret"),
        ("a/.git/HEAD", b"secret"),
        (".well-known/.hidden", b"secret"),
        (".well-known/security.txt", b"mailto"),
        (".well-knownx/x", b"secret"),
        ("a/.well-known/x", b"secret"),
    ]);
    std::fs::write(dir.path().join("secret.txt"), "secret").unwrap();
    symlink("../secret.txt", root(&dir).join("out.txt")).unwrap();
    symlink("..", root(&dir).join("up")).unwrap();
    symlink("a.txt", root(&dir).join("in.txt")).unwrap();
    let gateway = beside_the_api(&dir, "fallback = \"/index.html\"").start();
    let corpus = include_str!("../data/sites/hostile-paths.txt");
    let paths = corpus.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let more = ["/out.txt", "/up/secret.txt", "/up/root/a.txt"];
    for path in paths.chain(more) {
        let mut wire = gateway.wire();
        wire.send(format!("GET {path} HTTP/1.1\r\nhost: {WWW}\r\naccept: text/html\r\n\r\n"));
        let answer = wire.answer();
        // The fallback answers for pages that are not there, never for what may not be asked for.
        let page = more.contains(&path) && answer.status == 200 && answer.text() == "index";
        assert!(matches!(answer.status, 400 | 404) || page, "{path}: {} {}", answer.status, answer.text());
        assert!(!answer.text().contains("secret"), "{path} gives a secret away");
    }
    assert_eq!(www(&gateway, "/in.txt").send().is(200).text(), "a");
    assert_eq!(www(&gateway, "/.well-known/security.txt").send().is(200).text(), "mailto");
}

#[test]
fn conditions_and_ranges_are_answered_as_the_standard_says() {
    let dir = files(&[("a.bin", b"0123456789")]);
    let gateway = beside_the_api(&dir, "cache_control = \"public, max-age=60\"").start();
    let whole = www(&gateway, "/a.bin").send().is(200);
    let (tag, date) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    assert!(tag.starts_with('"'), "{tag} is weak");
    let ask = |name: &str, value: &str| www(&gateway, "/a.bin").header(name, value).send();
    let known = ask("if-none-match", tag).is(304);
    assert_eq!(
        (known.header("etag"), known.header("cache-control")),
        (Some(tag), Some("public, max-age=60"))
    );
    assert_eq!(known.header("content-length"), None);
    ask("if-modified-since", date).is(304);
    ask("if-none-match", "\"other\"").is(200);
    ask("if-match", "\"other\"").problem(412);
    let part = ask("range", "bytes=2-4").is(206);
    assert_eq!((part.text().as_str(), part.header("content-range")), ("234", Some("bytes 2-4/10")));
    assert_eq!((part.header("etag"), part.header("content-length")), (Some(tag), Some("3")));
    assert_eq!(ask("range", "bytes=-3").is(206).text(), "789");
    assert_eq!(ask("range", "bytes=10-").problem(416).header("content-range"), Some("bytes */10"));
    assert_eq!(ask("range", "bytes=0-1,4-5").is(200).text(), "0123456789");
    let resumed =
        |value: &str| www(&gateway, "/a.bin").header("range", "bytes=5-").header("if-range", value).send();
    assert_eq!(resumed(tag).is(206).text(), "56789");
    assert_eq!(resumed("\"other\"").is(200).text(), "0123456789");
    // A new version of the same length at the same time has another tag.
    let modified = std::fs::metadata(root(&dir).join("a.bin")).unwrap().modified().unwrap();
    std::fs::write(root(&dir).join("new"), "9876543210").unwrap();
    std::fs::File::options()
        .write(true)
        .open(root(&dir).join("new"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    std::fs::rename(root(&dir).join("new"), root(&dir).join("a.bin")).unwrap();
    assert_eq!(ask("if-none-match", tag).is(200).text(), "9876543210");
}

#[test]
fn a_large_file_arrives_whole_and_a_slow_reader_of_it_holds_nobody_up() {
    let content: Vec<u8> = (0..30_000_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let dir = files(&[("big.bin", &content), ("small.txt", b"small")]);
    let gateway = beside_the_api(&dir, "").config("edge.threads = 1").start();
    let mut slow = www(&gateway, "/big.bin").open();
    slow.head().is(200);
    for _ in 0..20 {
        assert_eq!(www(&gateway, "/small.txt").send().is(200).text(), "small");
    }
    assert!(www(&gateway, "/big.bin").send().is(200).body == content, "the file arrived changed");
    assert!(slow.exactly(content.len()).unwrap() == content, "the slow reader got something else");
}

#[test]
fn a_smaller_sibling_is_sent_to_who_takes_it_with_a_tag_of_its_own() {
    let dir = files(&[
        ("app.js", b"plain"),
        ("app.js.br", b"as br"),
        ("app.js.gz", b"as gzip"),
        ("only.css", b"plain css"),
        ("a.png", b"picture"),
        ("a.png.gz", b"never"),
    ]);
    let gateway = beside_the_api(&dir, "").start();
    let ask =
        |path: &str, accepts: &str| www(&gateway, path).header("accept-encoding", accepts).send().is(200);
    let mut tags = Vec::new();
    for (accepts, text, coding) in [
        ("", "plain", None),
        ("gzip, br, zstd", "as br", Some("br")),
        ("gzip", "as gzip", Some("gzip")),
        ("br;q=0.1, gzip", "as gzip", Some("gzip")),
        ("deflate", "plain", None),
    ] {
        let answer = ask("/app.js", accepts);
        assert_eq!((answer.text().as_str(), answer.header("content-encoding")), (text, coding), "{accepts}");
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
        tags.push(answer.header("etag").unwrap().to_owned());
    }
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] == tags[4] && tags[2] == tags[3], "{tags:?}");
    assert_eq!(ask("/only.css", "br, gzip").header("content-encoding"), None);
    assert_eq!(ask("/a.png", "gzip").text(), "picture");
    assert_eq!(ask("/app.js.gz", "gzip").header("content-encoding"), None);
}

/// Files hold no secrets, but a scanner cannot know that (BREACH): old browsers that come from another host's page, and
/// scanners as such, get them as they are.
#[test]
fn a_file_is_neither_compressed_nor_shown_compressed_to_who_comes_from_a_strangers_page_and_does_not_say_so()
{
    let text = "all work and no play ".repeat(100);
    let dir = files(&[
        ("page.html", text.as_bytes()),
        ("app.js", text.as_bytes()),
        ("app.js.br", b"as br"),
        ("app.js.gz", b"as gzip"),
        ("app.js.zst", b"as zstd"),
    ]);
    let gateway = beside_the_api(&dir, "").start();
    let here = format!("https://{WWW}/page.html");
    for (headers, compressed) in [
        (&[][..], true),
        (&[("referer", here.as_str())], true),
        (&[("cookie", "a=1")], true),
        (&[("referer", "https://google.com/")], false),
        (&[("referer", "https://google.com/"), ("cookie", "a=1")], false),
        (&[("referer", "https://google.com/"), ("sec-fetch-site", "cross-site")], true),
        (&[("referer", "https://google.com/"), ("sec-fetch-site", "cross-site"), ("cookie", "a=1")], true),
        (&[("referer", &here), ("sec-fetch-site", "same-origin")], true),
    ] {
        for accepts in ["gzip, deflate, br, zstd", "gzip, br", "gzip"] {
            for path in ["/page.html", "/app.js"] {
                let mut request = www(&gateway, path).header("accept-encoding", accepts);
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                let answer = request.send().is(200);
                let coding = answer.header("content-encoding");
                assert_eq!(coding.is_some(), compressed, "{path}, {accepts}, {headers:?}: {coding:?}");
                assert!(compressed || answer.text() == text, "{path}, {accepts}: not the file");
                assert_eq!(answer.all("vary"), ["Accept-Encoding"], "{path}, {accepts}");
            }
        }
    }
}

#[test]
fn who_asks_for_files_without_end_gets_them_as_they_are_and_others_still_compressed() {
    let text = "all work and no play ".repeat(100);
    let dir = files(&[("page.html", text.as_bytes())]);
    let gateway = beside_the_api(&dir, "").config("edge.admit.client_requests_per_second = 2").start();
    let request = || www(&gateway, "/page.html").header("accept-encoding", "gzip");
    assert!(request().send().is(200).header("content-encoding").is_some());
    let plain = (0..1000).find_map(|_| {
        let answer = request().send().is(200);
        answer.header("content-encoding").is_none().then_some(answer)
    });
    assert_eq!(plain.expect("it is compressed without end").text(), text);
    let mut other = crate::Wire::tcp_from(std::net::Ipv4Addr::new(127, 0, 0, 9).into(), gateway.http());
    other.send(request().bytes());
    assert_eq!(other.answer().is(200).header("content-encoding"), Some("gzip"));
}

#[test]
fn a_single_page_application_answers_pages_and_nothing_else() {
    let dir = files(&[("index.html", b"app"), ("404.html", b"lost"), ("app.js", b"js")]);
    let gateway = beside_the_api(&dir, "fallback = \"/index.html\"\nnot_found = \"/404.html\"").start();
    let page = |path: &str| www(&gateway, path).header("accept", "text/html,*/*;q=0.8").send();
    for path in ["/", "/bookings/7", "/bookings/7/"] {
        assert_eq!(page(path).is(200).text(), "app", "{path}");
    }
    // A missing script must not come as HTML, nor data that a script asks for.
    let lost = page("/old-app.js").is(404);
    assert_eq!(
        (lost.text().as_str(), lost.header("content-type")),
        ("lost", Some("text/html; charset=utf-8"))
    );
    assert_eq!(www(&gateway, "/api/x").header("accept", "*/*").send().is(404).text(), "lost");
    assert_eq!(page("/app.js").is(200).text(), "js");
}

/// Another application; ends with the test.
struct App(Child);

impl App {
    /// Start it, and say where it listens.
    fn start() -> (Self, String) {
        let program = crate::builder::worker_program("echo.mjs");
        let mut command = Command::new("node");
        command.arg(program).env("PORT", "0").env("ECHO_ANNOUNCE", "1").stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        (Self(child), line.trim().to_owned())
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// The API, and another application beside it on a host of its own.
fn second_app() -> (TestGateway, App) {
    let (app, port) = App::start();
    let site = format!("[[edge.site]]\nhost = \"app.example\"\nupstream = \"http://127.0.0.1:{port}\"");
    (TestGateway::builder().shops().worker("echo.mjs").config(&site).start(), app)
}

#[test]
fn another_application_gets_its_requests_rebuilt_and_speaks_for_itself() {
    let (gateway, app) = second_app();
    let asked = gateway
        .post("/x?y=1", "body")
        .host("app.example")
        .origin("https://stranger.example")
        .header("x-gateway-tenant", "navaja")
        .header("x-gateway-key", "anything")
        .header("x-forwarded-for", "192.0.2.1")
        .header("connection", "x-secret")
        .header("x-secret", "1")
        .send()
        .is(200);
    let seen = asked.json();
    assert_eq!((&seen["url"], &seen["body"]), (&"/x?y=1".into(), &"body".into()));
    for (name, value) in [
        ("host", Some("app.example")),
        ("origin", Some("https://stranger.example")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-gateway-tenant", None),
        ("x-gateway-database-url", None),
        ("x-gateway-key", None),
        ("x-secret", None),
    ] {
        assert_eq!(asked.seen_header(name).as_deref(), value, "{name}");
    }
    let path = "/headers?set=access-control-allow-origin:*&set=x-gateway-tenant:evil&set=vary:Cookie";
    let own = gateway.get(path).host("app.example").send().is(200);
    assert_eq!((own.header("access-control-allow-origin"), own.header("vary")), (Some("*"), Some("Cookie")));
    assert_eq!(own.header("x-gateway-tenant"), None);
    // Its preflights are its own.
    let preflight = gateway.preflight("/x", "https://stranger.example", "PUT", "").host("app.example").send();
    assert_eq!(preflight.is(200).json()["method"], "OPTIONS");
    let line = gateway.access_line(own.header("x-request-id").unwrap());
    assert_eq!((&line["site"], &line["worker"]), (&"app.example".into(), &"app.example".into()));
    // The API's worker saw none of it.
    assert!(!gateway.get("/seen").origin(NAVAJA).send().text().contains("/x"));
    drop(app);
    // Nobody will start it again, so nobody waits: 502, not the 503 of a backend.
    gateway.get("/x").host("app.example").send().problem(502);
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn websockets_pass_to_another_application() {
    let (gateway, _app) = second_app();
    let mut wire = gateway.wire();
    wire.send(
        "GET /ws HTTP/1.1\r\nhost: app.example\r\norigin: https://stranger.example\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    wire.head().is(101);
    // A masked text frame `hi`, with a mask of zeros, and its echo.
    wire.send([0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    assert_eq!(wire.exactly(4).unwrap(), [0x81, 2, b'h', b'i']);
    wire.vanish();
}

#[test]
fn websockets_over_http2_pass_to_another_application() {
    let (gateway, _app) = second_app();
    let api = format!("https://{}", gateway.https());
    let env = [("API", &*api), ("HOST", "app.example"), ("STRANGER", "https://stranger.example")];
    node::run("websocket_http2.mjs", &["site"], &env);
    let line = eventually("it is in the access log", || {
        gateway.access_log().into_iter().find(|line| line["path"] == "/ws")
    });
    assert_eq!((&line["site"], &line["method"]), (&"app.example".into(), &"CONNECT".into()));
}

#[test]
fn headers_of_a_sites_own_are_said_with_every_answer_of_it_and_with_no_other() {
    let dir = files(&[("index.html", b"index"), ("404.html", b"lost")]);
    let (_app, port) = App::start();
    let headers = "headers = { X-Frame-Options = \"DENY\", x-own = \"ours\" }";
    let gateway = beside_the_api(&dir, &format!("not_found = \"/404.html\"\n{headers}"))
        .config(&format!(
            "[[edge.site]]\nhost = \"app.example\"\nupstream = \"http://127.0.0.1:{port}\"\n{headers}\n\
             [[edge.site]]\nhost = \"old.example\"\nredirect = \"https://www.example{{path}}\"\n{headers}"
        ))
        .start();
    for (host, path, status) in [
        (WWW, "/", 200),
        (WWW, "/missing.html", 404),
        ("app.example", "/headers?set=x-own:theirs", 200),
        ("old.example", "/x", 308),
    ] {
        let answer = gateway.get(path).host(host).send().is(status);
        assert_eq!((answer.header("x-frame-options"), answer.header("x-own")), (Some("DENY"), Some("ours")));
    }
    let page = www(&gateway, "/").send();
    let known = www(&gateway, "/").header("if-none-match", page.header("etag").unwrap()).send().is(304);
    assert_eq!(known.header("x-own"), Some("ours"));
    let api = gateway.get("/headers?set=x-own:theirs").origin(NAVAJA).send().is(200);
    assert_eq!((api.header("x-frame-options"), api.header("x-own")), (None, Some("theirs")));
}

#[test]
fn redirects_carry_path_and_query_and_refuse_to_be_open() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .config(
            "[[edge.site]]\nhost = \"example.com\"\nredirect = \"https://www.example.com{path}\"\n\
             [[edge.site]]\nhost = \"api.example\"\npath = \"/old\"\nredirect = \"https://api.example/new{rest}\"\nstatus = 302",
        )
        .start();
    let to = |host: &str, path: &str| -> (u16, String) {
        let answer: Answer = gateway.get(path).host(host).send();
        (answer.status, answer.header("location").unwrap_or_default().to_owned())
    };
    for (host, path, status, location) in [
        ("example.com", "/a/b?c=d", 308, "https://www.example.com/a/b?c=d"),
        ("example.com", "/", 308, "https://www.example.com/"),
        ("example.com", "//evil.example/%2e%2e", 308, "https://www.example.com//evil.example/%2e%2e"),
        (HOST, "/old/x?y", 302, "https://api.example/new/x?y"),
        (HOST, "/old", 302, "https://api.example/new"),
    ] {
        assert_eq!(to(host, path), (status, location.to_owned()), "{host}{path}");
    }
    // The rest of a shared host goes on as ever; so does what may lead elsewhere.
    assert_eq!(gateway.get("/older").origin(NAVAJA).send().is(200).json()["url"], "/older");
    assert_eq!(gateway.get("/old/../x").origin(NAVAJA).send().is(200).json()["url"], "/old/../x");
}

#[test]
fn the_rest_of_a_host_that_only_a_site_has_is_nobodys() {
    let dir = files(&[("index.html", b"docs")]);
    let site = format!("[[edge.site]]\nhost = \"docs.example\"\npath = \"/docs\"\nroot = {:?}", root(&dir));
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(&site).start();
    assert_eq!(gateway.get("/docs/").host("docs.example").send().is(200).text(), "docs");
    assert_eq!(gateway.get("/docs").host("docs.example").send().is(308).header("location"), Some("/docs/"));
    gateway.get("/else").host("docs.example").origin(NAVAJA).send().problem(404);
    gateway.get("/docs/../else").host("docs.example").send().problem(404);
    assert!(!gateway.get("/seen").origin(NAVAJA).send().text().contains("else"));
}

#[test]
fn port_80_sends_a_sites_host_on_to_https() {
    let dir = files(&[("index.html", b"x")]);
    let gateway = beside_the_api(&dir, "").config("edge.http_mode = \"redirect\"").start();
    let (own, https) = (gateway.http().port(), gateway.https().port());
    let named = gateway.get("/a?b").host(&format!("{WWW}:{own}")).send().is(308);
    assert_eq!(named.header("location"), Some(format!("https://{WWW}:{https}/a?b").as_str()));
    // Who asks for port 80 was led here from it, and is led from 443 as well.
    let led = www(&gateway, "/a?b").send().is(308);
    assert_eq!(led.header("location"), Some(format!("https://{WWW}/a?b").as_str()));
}

#[test]
fn reload_brings_sites_and_takes_them_away() {
    let dir = files(&[("index.html", b"one")]);
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    www(&gateway, "/").send().problem(421);
    gateway.site().configure(&format!("[[edge.site]]\nhost = {WWW:?}\nroot = {:?}", root(&dir)));
    gateway.cli(&["reload"]).ok();
    assert_eq!(www(&gateway, "/").send().is(200).text(), "one");
    let status = gateway.cli(&["status"]).ok().stdout;
    assert!(status.contains(WWW) && status.contains("files in"), "{status}");
    // A tenant cannot have what is a site's, and a site not what is a tenant's.
    gateway
        .cli(&["tenant", "add", "third", "--origin", "https://third.example", "--host", WWW])
        .fails(1)
        .says(&[WWW, "[[edge.site]]", "path"]);
    gateway
        .cli(&["tenant", "add", "third", "--origin", "https://third.example", "--host", "third.example"])
        .ok();
    gateway.site().configure(&format!("[[edge.site]]\nhost = \"third.example\"\nroot = {:?}", root(&dir)));
    gateway.cli(&["reload"]).fails(1).says(&["third.example", "--remove-host"]);
    assert_eq!(www(&gateway, "/").send().is(200).text(), "one");
}

#[test]
fn mistakes_in_sites_are_told_with_their_remedy() {
    let site = TestGateway::builder().shops().worker("echo.mjs").site();
    let wrong = |fragment: &str, words: &[&str]| {
        let copy = std::fs::read_to_string(site.config_path()).unwrap();
        site.configure(fragment);
        site.cli(&["check"]).fails(2).says(words);
        std::fs::write(site.config_path(), copy).unwrap();
    };
    wrong(
        "[[edge.site]]\nhost = \"api.example\"\nroot = \"/tmp\"",
        &["backend `api`", "give the site a `path`"],
    );
    wrong("[[edge.site]]\nhost = \"a.example\"\nroot = \"/no/such\"", &["there is no directory /no/such"]);
    wrong("[[edge.site]]\nhost = \"a.example\"\nroot = \"/\"", &["everyone could read"]);
    let twice = "[[edge.site]]\nhost = \"a.example\"\nredirect = \"https://b.example{path}\"\n";
    wrong(&format!("{twice}{twice}"), &["another `[[edge.site]]`"]);
    wrong(
        "[[edge.site]]\nhost = \"a.example\"\nredirect = \"https://a.example{path}\"",
        &["back to this very site"],
    );
    wrong("[[edge.site]]\nhost = \"a.example\"\nupstream = \"http://app:80\"", &["[backend]"]);
    wrong(
        "[edge.compression]\ntypes = [\"json\"]\ngzip_level = 12",
        &["no media type", "levels go from 1 to 9"],
    );
}

#[test]
fn a_release_that_replaces_the_root_is_served_without_a_reload() {
    let dir = files(&[]);
    for release in ["1", "2"] {
        let path = dir.path().join(release);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("index.html"), release).unwrap();
    }
    symlink("1", root(&dir)).unwrap();
    let gateway = beside_the_api(&dir, "").start();
    assert_eq!(www(&gateway, "/").send().is(200).text(), "1");
    symlink("2", dir.path().join("next")).unwrap();
    std::fs::rename(dir.path().join("next"), root(&dir)).unwrap();
    eventually("the new release is served", || (www(&gateway, "/").send().text() == "2").then_some(()));
}

#[test]
fn body_limits_and_patience_differ_by_path() {
    let rules = "[edge.limits]\nbody_bytes_max = 1000\nfirst_byte_timeout = \"20s\"\n\
                 [[edge.path]]\nprefix = \"/sink\"\nbody_bytes_max = 100000\n\
                 [[edge.path]]\nprefix = \"/slow\"\nfirst_byte_timeout = \"300ms\"\n\
                 [[edge.path]]\nprefix = \"/sse\"\nbody_idle_timeout = \"300ms\"";
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(rules).start();
    gateway.post("/x", [b'x'; 2000]).origin(NAVAJA).send().problem(413).readable_from(NAVAJA);
    gateway.post("/sink", [b'x'; 100_000]).origin(NAVAJA).send().is(200);
    gateway.post("/sink", vec![b'x'; 100_001]).origin(NAVAJA).send().problem(413);
    // A path that only looks like it has the usual limits.
    gateway.post("/x/../sink", [b'x'; 2000]).origin(NAVAJA).send().problem(413);
    gateway.get("/slow?ms=5000").origin(NAVAJA).send().problem(504);
    let mut wire = gateway.get("/sse?events=2&every=5000&type=text/plain").origin(NAVAJA).open();
    wire.head().is(200);
    wire.try_chunk().expect_err("a stalled answer goes on");
}

/// A browser on a site: what it shows for an address that no file holds, and what its scripts may fetch.
#[test]
fn a_browser_finds_its_way_in_a_single_page_application() {
    let html = "<!doctype html><title>app</title><p id=where></p><script type=module src=/app.mjs></script>";
    let script = "document.querySelector('#where').textContent = location.pathname;";
    let big = "x".repeat(20_000);
    let dir = files(&[
        ("index.html", html.as_bytes()),
        ("app.mjs", script.as_bytes()),
        ("big.json", format!("{{\"x\":\"{big}\"}}").as_bytes()),
    ]);
    let site =
        format!("[[edge.site]]\nhost = \"localhost\"\nroot = {:?}\nfallback = \"/index.html\"", root(&dir));
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(&site).start();
    let origin = format!("https://localhost:{}", gateway.https().port());
    node::run("browser.mjs", &["site"], &[("SITE", &origin)]);
}

/// The documentation's examples are configurations without a problem.
#[test]
fn the_documented_sites_are_good_configurations() {
    let page = include_str!("../../docs/sites.md");
    let blocks: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 5, "the examples are gone");
    for block in blocks {
        let site: Site = TestGateway::builder().worker("echo.mjs").site();
        for directory in ["www", "app/assets", "uploads", "releases/current"] {
            std::fs::create_dir_all(site.path().join("srv").join(directory)).unwrap();
        }
        let srv = site.path().join("srv");
        site.configure(&block.replace("/srv/", &format!("{}/", srv.display())));
        site.cli(&["check"]).ok();
    }
}

//! The operator's side: health, metrics and status, never on the public edge.

use crate::{HOST, NAVAJA, STRANGER, TestGateway, Wire, as_root, running::workers};

#[test]
fn health_and_metrics_are_on_the_admin_side_and_never_on_the_edge() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .config("admin.metrics_listen = \"127.0.0.1:0\"")
        .start();
    gateway.get("/x").origin(NAVAJA).send().is(200);
    gateway.get("/x").origin(STRANGER).send().is(403);
    gateway.admin("GET", "/healthz").unwrap().is(200);
    // A request is counted when its last byte is gone, which may be a little after we have it.
    let metrics = crate::eventually("both requests are counted", || {
        let metrics = gateway.admin("GET", "/metrics").unwrap().is(200).text();
        (metrics.contains("tenant=\"navaja\"") && metrics.contains("gateway_refusals_total"))
            .then_some(metrics)
    });
    for name in [
        "gateway_requests_total",
        "gateway_refusals_total",
        "gateway_workers_ready",
        "gateway_connections_open",
    ] {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
    assert!(metrics.contains("tenant=\"navaja\"") && !metrics.contains("stranger"), "{metrics}");
    // For scrapers that cannot use a Unix socket: these two and nothing else.
    let status = gateway.status();
    let listeners = status["listeners"].as_array().unwrap();
    let metrics = listeners.iter().find(|listener| listener["kind"] == "metrics").unwrap();
    let ask = |path: &str| {
        let mut wire = Wire::tcp(metrics["address"].as_str().unwrap().parse().unwrap());
        wire.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"));
        wire.answer()
    };
    ask("/healthz").is(200);
    ask("/metrics").is(200);
    ask("/status").is(404);
    ask("/tenants").is(404);
    // On the edge the paths are the application's own.
    assert_eq!(gateway.get("/healthz").origin(NAVAJA).send().is(200).text(), "ok");
    let answer = gateway.get("/metrics").origin(NAVAJA).send().is(200);
    assert_eq!(answer.json()["url"], "/metrics");
    assert!(!answer.text().contains("gateway_requests_total"));
    for path in ["/status", "/tenants"] {
        assert_eq!(gateway.get(path).origin(NAVAJA).send().is(200).json()["url"], path);
    }
}

#[test]
fn status_shows_the_whole_house() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").workers(2).start();
    gateway.get("/x").origin(NAVAJA).send().is(200);
    let status = gateway.cli(&["status", "--json"]).ok().json();
    for key in ["listeners", "backends", "doors", "pools", "certificates", "tenants"] {
        assert!(!status[key].is_null(), "{key} is missing in {status}");
    }
    let workers: Vec<_> = workers(&status).collect();
    assert_eq!(workers.len(), 2);
    for (number, worker) in workers.into_iter().enumerate() {
        assert_eq!(worker["name"], format!("api/{number}"));
        assert!(worker["pid"].as_i64().is_some_and(|pid| pid > 1) && worker["state"] == "ready", "{worker}");
        for key in ["since", "restarts", "in_flight"] {
            assert!(!worker[key].is_null(), "{key} is missing in {worker}");
        }
    }
    gateway.cli(&["status"]).ok().says(&["api/0", "api/1", "ready", &gateway.http().to_string()]);
    let text = status.to_string();
    assert!(!text.contains("authToken") && !text.contains("PRIVATE"), "a secret is in the status");
}

#[test]
fn the_admin_socket_is_closed_to_other_users() {
    use std::os::unix::fs::PermissionsExt;
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let socket = gateway.site().admin_socket();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "everybody may connect: {mode:o}");
    if !as_root("that file modes alone let nobody give orders") {
        return;
    }
    // Even where file modes let somebody through, the gateway asks the kernel who it is.
    for (path, mode) in [(gateway.site().path(), 0o755), (&gateway.site().runtime(), 0o755), (&socket, 0o777)]
    {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let script = "const http = require('node:http');\
        http.get({ socketPath: process.argv[1], path: '/tenants' }, (res) => {\
            let text = ''; res.on('data', (data) => (text += data)); res.on('end', () => console.log(res.statusCode, text));\
        }).on('error', (error) => console.log('error', error.code));";
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "node", "-e", script])
        .arg(&socket)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.starts_with("403") || text.starts_with("error"),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!text.contains("navaja"), "{text}");
}

#[test]
fn the_admin_api_answers_while_the_edge_is_busy() {
    let limits = "[edge]\nthreads = 1";
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(limits).start();
    let held: Vec<_> = (0..100).map(|_| gateway.get("/hang").origin(NAVAJA).open()).collect();
    let begun = std::time::Instant::now();
    gateway.admin("GET", "/healthz").unwrap().is(200);
    assert!(begun.elapsed() < std::time::Duration::from_secs(2));
    drop(held);
}

#[test]
fn every_order_leaves_an_audit_line() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    gateway.cli(&["tenant", "add", "navaja", "--origin", NAVAJA]).ok();
    gateway.cli(&["tenant", "suspend", "nobody"]).fails(1);
    // The second one; the first one's line stands before it.
    let log = gateway.has_logged("order failed");
    let uid = format!("uid={} ", nix::unistd::geteuid());
    for what in ["order carried out", "order failed"] {
        let line = log.lines().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("no audit line in\n{log}"));
        assert!(line.contains(&uid), "who gave the order? {line}");
    }
}

#[test]
fn bound_addresses_are_announced() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let (log, stdout) =
        (gateway.log(), std::fs::read_to_string(gateway.site().path().join("stdout.log")).unwrap());
    for address in [gateway.http(), gateway.https()] {
        assert!(
            log.contains(&address.to_string()) || stdout.contains(&address.to_string()),
            "{address} is nowhere"
        );
    }
    assert!(!log.contains('\u{1b}'), "colours in a file:\n{log}");
    // The host is served with and without the port in it.
    gateway.get("/x").host(&format!("{HOST}:{}", gateway.http().port())).origin(NAVAJA).send().is(200);
}

#[test]
fn no_command_at_all_is_answered_with_the_help_for_people() {
    let output = TestGateway::builder().worker("echo.mjs").site().cli(&[]).fails(2);
    output.says(&["Usage: gateway", "Examples:"]);
    assert!(!TestGateway::builder().worker("echo.mjs").site().cli(&[]).all().contains("worker-exec"));
}

#[test]
fn status_and_certificates_are_tables_for_people() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    gateway.get("/ticket").secure().origin(NAVAJA).send();
    let heads = |text: &str| {
        let squeezed = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        squeezed.collect::<Vec<_>>().join("\n")
    };
    let status = heads(&gateway.cli(&["status"]).ok().stdout);
    for head in ["DOOR ADDRESS CONNECTIONS STREAMS", "HOST SOURCE ISSUER ENDS STATE"] {
        assert!(status.contains(head), "{head} is not in\n{status}");
    }
    let list = heads(&gateway.cli(&["cert", "list"]).ok().stdout);
    assert!(list.starts_with("HOST SOURCE ISSUER ENDS STATE\n") && list.contains(HOST), "{list}");
}

#[test]
fn a_tenant_behind_a_proxy_that_has_the_tls_is_proven_over_plain_http() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .config("tls.mode = \"off\"\nedge.http = []")
        .start();
    let output = gateway.cli(&["tenant", "check", "navaja"]);
    output.says(&["- certificate", "✓ preflight", "✓ request", "✓ worker"]);
    gateway.cli(&["status"]).ok().says(&["plain"]);
}

#[test]
fn an_empty_variable_names_no_configuration() {
    let site = TestGateway::builder().worker("echo.mjs").site();
    site.cli_with(&["check"], "", &[("GATEWAY_CONFIG", "")]).ok();
}

#[test]
fn a_mistake_in_the_file_keeps_nobody_from_the_running_gateway() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    let path = gateway.site().config_path();
    let good = std::fs::read_to_string(&path).unwrap();
    for mistake in ["[edgy]\nx = 1", "[edge\nthreads = = 2"] {
        std::fs::write(&path, format!("{good}\n{mistake}\n")).unwrap();
        for order in [
            &["status"][..],
            &["logs"],
            &["tenant", "list", "--json"],
            &["tenant", "add", "navaja", "--origin", NAVAJA],
            &["tenant", "suspend", "navaja"],
            &["tenant", "remove", "navaja"],
        ] {
            let output = gateway.cli(order).ok();
            let warned = output.stderr.lines().filter(|line| line.starts_with("warning: ")).count();
            assert!(warned == 1 && !output.stdout.contains("warning"), "{order:?}: {}", output.all());
        }
        gateway.cli(&["reload"]).fails(2).says(&["gateway.toml:", "error: "]);
    }
    let site = gateway.stop();
    let output = site.cli(&["status"]).fails(2).says(&["problem in the configuration"]);
    assert!(!output.all().contains("warning"), "{}", output.all());
    site.cli(&["tenant", "list"]).fails(2).says(&["problem in the configuration"]);
}

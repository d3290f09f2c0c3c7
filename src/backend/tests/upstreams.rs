//! Backends that run elsewhere: health alone decides.

use std::process::{Child, Command, Stdio};

use super::*;

/// A program that we do not supervise.
struct Foreign(Child);

impl Foreign {
    fn start(port: u16) -> Self {
        let words = program("well.mjs");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("PORT", port.to_string()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn upstream(url: String) -> Config {
    let health = Health {
        timeout: Duration::from_millis(500),
        watch_interval: Duration::from_millis(50),
        ..health_path("/health")
    };
    Config { command: Vec::new(), upstream: Some(url), health, ..config("well.mjs") }
}

#[tokio::test]
async fn an_upstream_is_in_the_roster_while_it_is_well() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bench = Bench::start(upstream(format!("http://localhost:{port}")));
    bench.until("unreachable", |status| status.workers[0].state == "unreachable").await;
    let error = bench.worker().last_error.unwrap();
    assert!(error.contains("it accepts no connection"), "{error}");

    let foreign = Foreign::start(port);
    bench.ready().await;
    let key = bench.backend.roster().pick(&[]).unwrap().key();
    assert_eq!(bench.json_at("/").await["pid"], foreign.0.id());
    assert_eq!(bench.backend.status().kind, BackendKind::Upstream);

    drop(foreign);
    bench.until("unreachable again", |status| status.workers[0].state == "unreachable").await;
    assert!(bench.backend.roster().pick(&[]).is_none());
    let again = Foreign::start(port);
    bench.ready().await;
    assert_ne!(bench.backend.roster().pick(&[]).unwrap().key(), key);

    let refused = bench.reload().await.unwrap_err();
    assert!(matches!(refused, BackendError::NotSupervised { .. }), "{refused}");
    bench.finish().await;
    drop(again);
}

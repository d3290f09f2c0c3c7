//! `gateway import`: what nginx, pm2 and certbot do becomes a configuration that the gateway takes, and no secret comes out
//! on the way.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{HOST, Output, Site, TestGateway, certificates::TestCa, node};

/// What cannot be told from anything else in an output.
const SECRET: &str = "hunter2";

fn data(name: &str) -> String {
    fs::read_to_string(format!("{}/tests/data/bootstrap/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A site whose configuration lets `conf.d` say what it serves.
fn taking(carried: &str) -> Site {
    let site = Site::new();
    let dirs = format!("state_dir = {:?}\nruntime_dir = {:?}\n", site.state(), site.runtime());
    site.write("gateway.toml", dirs + "[tls]\nmode = \"local\"\n");
    site.write("conf.d/carried.toml", carried);
    site
}

#[test]
fn what_nginx_serves_becomes_a_configuration_that_check_takes() {
    let site = Site::new();
    // The directories of its sites are where this test may make them.
    let text = data("nginx.conf").replace("/srv/", &format!("{}/", site.path().display()));
    for directory in ["uploads", "www/static"] {
        fs::create_dir_all(site.path().join(directory)).unwrap();
    }
    site.write("nginx-T.txt", &text);
    let from = site.path().join("nginx-T.txt");
    let carried = site.cli(&["import", "nginx", "--from", from.to_str().unwrap()]).ok();
    let carried = carried.says(&[
        "not carried: api.example.com: proxy_set_header Authorization",
        "warning: api.example.com is open to everybody after moving: nginx keeps callers out of it with `auth_basic`",
        "hint: ",
    ]);
    assert!(text.contains(SECRET) && !carried.all().contains(SECRET), "{}", carried.all());
    taking(&carried.stdout).cli(&["check"]).ok();

    let json = site.cli(&["import", "nginx", "--json", "--from", from.to_str().unwrap()]).ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["config"].as_str().unwrap().trim_end(), carried.stdout.trim_end());
    assert!(json["left"][0]["remedy"].is_string() && json["warnings"][0]["remedy"].is_string());
}

#[test]
fn what_pm2_runs_becomes_a_configuration_that_check_takes_once_it_has_hosts() {
    let site = Site::new();
    let text = data("pm2.json").replace("/srv/", &format!("{}/", site.path().display()));
    for directory in ["api", "worker"] {
        fs::create_dir_all(site.path().join(directory)).unwrap();
    }
    // As pm2 prints it, through a program of that name.
    site.write("pm2.json", &text);
    site.write("pm2", format!("#!/bin/sh\n[ \"$*\" = jlist ] && cat {}/pm2.json\n", site.path().display()));
    fs::set_permissions(site.path().join("pm2"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", site.path().display(), std::env::var("PATH").unwrap());
    let home = site.path().display().to_string();
    let environment = [("PATH", path.as_str()), ("PM2_HOME", &home)];
    // Where no daemon runs, pm2 would start one.
    let asleep = site.cli_with(&["import", "pm2"], "", &environment).fails(1);
    asleep.says(&["no pm2 of yours runs", "--from ", "dump.pm2"]);
    let _daemon = std::os::unix::net::UnixListener::bind(site.path().join("rpc.sock")).unwrap();
    let carried = site.cli_with(&["import", "pm2"], "", &environment).ok();
    let carried = carried.says(&["DATABASE_URL, JWT_SECRET", "env_file", "runs as the user me"]);
    assert!(text.contains(SECRET) && !carried.all().contains(SECRET), "{}", carried.all());
    let config = carried.stdout.replacen("hosts = []", "hosts = [\"api.example.com\"]", 1);
    taking(&config.replacen("hosts = []", "hosts = [\"w.example.com\"]", 1)).cli(&["check"]).ok();

    site.write("pm2", format!("#!/bin/sh\necho {SECRET} >&2; exit 1\n"));
    let failed = site.cli_with(&["import", "pm2"], "", &environment).fails(1);
    let failed = failed.says(&["`pm2 jlist` failed", "--from FILE"]);
    assert!(!failed.all().contains(SECRET), "{}", failed.all());
    site.cli(&["import", "pm2", "--from", "/dev/null"]).fails(2).says(&["no list of pm2's"]);
}

/// pm2 itself, as npm has brought it, with a daemon of its own.
struct Pm2 {
    home: std::path::PathBuf,
}

impl Pm2 {
    /// In an environment in which nothing is anybody's.
    fn order(&self, words: &[&str]) -> Output {
        let program = node::directory().join("node_modules/pm2/bin/pm2");
        let mut command = std::process::Command::new("node");
        command.arg(program).args(words).env_clear().env("PATH", std::env::var("PATH").unwrap());
        command.env("HOME", &self.home).env("PM2_HOME", &self.home).stdin(std::process::Stdio::null());
        Output::of(&command.output().unwrap())
    }
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        self.order(&["kill"]);
    }
}

#[test]
fn what_a_real_pm2_says_and_saves_is_read_alike() {
    const APP: &str = "require('http').createServer((_, answer) => answer.end()).listen(0)";
    let site = Site::new();
    site.write("api/server.cjs", APP);
    let config = serde_json::json!({"apps": [
        {"name": "api", "script": "server.cjs", "cwd": site.path().join("api"), "instances": 2, "exec_mode": "cluster",
         "max_memory_restart": "300M", "env": {"JWT_SECRET": SECRET, "PORT": "3000"}},
        {"name": "mailer", "script": "server.cjs", "cwd": site.path().join("api"), "args": format!("--smtp-password {SECRET}"),
         "exp_backoff_restart_delay": 100, "env": {"SMTP_HOST": SECRET}},
    ]});
    let started = site.write("eco.config.json", config.to_string());
    let pm2 = Pm2 { home: site.path().join("pm2") };
    pm2.order(&["start", started.to_str().unwrap()]).ok();
    let said = site.write("jlist.json", pm2.order(&["jlist"]).ok().stdout);
    pm2.order(&["save"]).ok();

    let import = |from: &std::path::Path| site.cli(&["import", "pm2", "--from", from.to_str().unwrap()]).ok();
    let (listed, saved) = (import(&said), import(&pm2.home.join("dump.pm2")));
    assert_eq!(listed.all(), saved.all());
    let listed = listed.says(&[
        "[backend.api]",
        "workers = 2",
        "memory_max_mb = 300",
        "[backend.mailer]",
        "`api`: the values of JWT_SECRET\n",
        "`mailer`: the values of SMTP_HOST\n",
        "`mailer`: --smtp-password on its command line",
    ]);
    assert!(!listed.all().contains(SECRET), "{}", listed.all());
    let config = listed.stdout.replacen("hosts = []", "hosts = [\"api.example.com\"]", 1);
    taking(&config.replacen("hosts = []", "hosts = [\"m.example.com\"]", 1)).cli(&["check"]).ok();
}

#[test]
fn certificates_of_certbot_are_copied_and_served() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let live = gateway.site().path().join("letsencrypt/live");
    let (chain, key) = TestCa::new().certify(HOST);
    for (name, text) in [("fullchain.pem", &chain), ("privkey.pem", &key)] {
        gateway.site().write(&format!("letsencrypt/live/{HOST}-0001/{name}"), text);
    }
    let from = live.to_str().unwrap();
    let told = gateway.cli(&["import", "certbot", "--from", from]).ok();
    told.says(&["mode = \"acme\"", &format!("gateway cert import {HOST} --cert"), "certbot.timer"]);
    gateway.cli(&["import", "certbot", "--from", from, "--copy"]).ok().says(&["it is served now"]);
    gateway.cli(&["cert", "show", HOST]).ok().says(&["source    imported", "issuer    CN=test CA"]);
    gateway
        .cli(&["import", "certbot", "--from", "/nowhere/live"])
        .fails(1)
        .says(&["cannot read `/nowhere/live`"]);
}

#[test]
fn a_certificate_of_certbots_that_will_not_do_is_named_and_keeps_no_other_from_being_copied() {
    let (gateway, ca) = (TestGateway::builder().shops().worker("echo.mjs").start(), TestCa::new());
    let write = |name: &str, (chain, key): (String, String)| {
        gateway.site().write(&format!("letsencrypt/live/{name}/fullchain.pem"), chain);
        gateway.site().write(&format!("letsencrypt/live/{name}/privkey.pem"), key);
    };
    write("old.example", ca.certify_until("old.example", 2020));
    write(HOST, ca.certify_until(HOST, 2021));
    write(&format!("{HOST}-0001"), ca.certify(HOST));
    write(&format!("{HOST}-0002"), ca.certify(&format!("*.{HOST}")));
    write("zulu.example", ca.certify("zulu.example"));
    let live = gateway.site().path().join("letsencrypt/live");
    let copy = |more: &[&str]| {
        gateway.cli(&[&["import", "certbot", "--copy", "--from", live.to_str().unwrap()], more].concat())
    };
    let copied = copy(&[]).ok();
    copied.says(&[
        "not copied: old.example: the certificate ended on 2020-01-01",
        &format!("not copied: {HOST}-0002: the certificate is not good for `{HOST}`, but for `*.{HOST}`"),
    ]);
    gateway.cli(&["cert", "show", HOST]).ok().says(&["source    imported"]);
    gateway.cli(&["cert", "show", "zulu.example"]).ok().says(&["source    imported"]);
    copy(&["--host", "old.example"]).fails(1).says(&["none of certbot's certificates can be used", "hint: "]);
}

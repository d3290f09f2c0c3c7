//! `gateway import`: what nginx, pm2 and certbot do becomes a configuration that the gateway takes, and no secret comes out
//! on the way.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{HOST, Site, TestGateway, certificates::TestCa};

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
    let carried = carried.says(&["not carried: api.example.com: auth_basic", "hint: "]);
    assert!(text.contains(SECRET) && !carried.all().contains(SECRET), "{}", carried.all());
    taking(&carried.stdout).cli(&["check"]).ok();

    let json = site.cli(&["import", "nginx", "--json", "--from", from.to_str().unwrap()]).ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["config"].as_str().unwrap().trim_end(), carried.stdout.trim_end());
    assert!(json["left"][0]["remedy"].is_string());
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
    let carried = site.cli_with(&["import", "pm2"], "", &[("PATH", &path)]).ok();
    let carried = carried.says(&["DATABASE_URL, JWT_SECRET", "env_file", "runs as the user me"]);
    assert!(text.contains(SECRET) && !carried.all().contains(SECRET), "{}", carried.all());
    let config = carried.stdout.replacen("hosts = []", "hosts = [\"api.example.com\"]", 1);
    taking(&config.replacen("hosts = []", "hosts = [\"w.example.com\"]", 1)).cli(&["check"]).ok();

    site.write("pm2", format!("#!/bin/sh\necho {SECRET} >&2; exit 1\n"));
    let failed = site.cli_with(&["import", "pm2"], "", &[("PATH", &path)]).fails(1);
    let failed = failed.says(&["`pm2 jlist` failed", "--from FILE"]);
    assert!(!failed.all().contains(SECRET), "{}", failed.all());
    site.cli(&["import", "pm2", "--from", "/dev/null"]).fails(2).says(&["no list of pm2's"]);
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

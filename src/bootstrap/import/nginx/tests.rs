//! nginx's configurations, and what becomes of them.

use super::*;

const WHOLE: &str = include_str!("../../../../tests/data/bootstrap/nginx.conf");

fn told(carried: &Carried) -> String {
    let left: String =
        carried.left.iter().map(|left| format!("# {}\n#   {}\n", left.what, left.remedy)).collect();
    let warnings: String = carried
        .warnings
        .iter()
        .map(|warning| format!("# WARNING {}\n#   {}\n", warning.what, warning.remedy))
        .collect();
    carried.config.clone() + &left + &warnings
}

/// One server for `a.example` with these lines becomes this configuration and leaves these words.
fn check(lines: &str, config: &str, left: &[&str]) {
    let carried = nginx(&format!("server {{ listen 443 ssl; server_name a.example; {lines} }}"));
    assert_eq!(carried.config.split_whitespace().collect::<Vec<_>>().join(" "), config, "{lines}");
    assert_eq!(carried.left.len(), left.len(), "{lines} {:?}", carried.left);
    for (is, want) in carried.left.iter().zip(left) {
        assert!(is.what.contains(want), "{lines}: {is:?}");
    }
    assert!(toml::from_str::<toml::Value>(&carried.config).is_ok(), "{}", carried.config);
}

#[test]
fn a_whole_server_is_carried_as_on_file_and_no_secret_comes_out() {
    let is = told(&nginx(WHOLE));
    assert_eq!(
        is,
        include_str!("../../../../tests/data/bootstrap/expected/nginx.toml"),
        "\n--- is ---\n{is}"
    );
    assert!(WHOLE.contains("hunter2") && !is.contains("hunter2"), "{is}");
}

#[test]
fn what_passes_on_to_an_application_is_a_backend() {
    let backend = |upstream: &str| format!("[backend.api] upstream = \"{upstream}\" hosts = [\"a.example\"]");
    check("location / { proxy_pass http://127.0.0.1:3000; }", &backend("http://127.0.0.1:3000"), &[]);
    check("location / { proxy_pass http://localhost/; }", &backend("http://localhost:80"), &[]);
    check(
        "location / { proxy_pass http://unix:/run/a.sock:/; }",
        "",
        &["an application behind unix:/run/a.sock"],
    );
    check(
        "location /b { proxy_pass http://unix:/run/b.sock; }",
        "[[edge.site]] host = \"a.example\" path = \"/b\" upstream = \"unix:/run/b.sock\"",
        &["without tenants"],
    );
    check(
        "location / { proxy_pass http://127.0.0.1:3000; } location /ws { proxy_pass http://127.0.0.1:3000; }",
        &backend("http://127.0.0.1:3000"),
        &[],
    );
    check("location / { proxy_pass https://127.0.0.1:3000; }", "", &["not reached over http"]);
    check("location / { proxy_pass http://$backend; }", "", &["variable"]);
    check("location /a { proxy_pass http://127.0.0.1:3000/; }", "", &["location /a: a path that is changed"]);
    check(
        "root /srv; try_files $uri @n; location @n { proxy_pass http://127.0.0.1:3000; }",
        &backend("http://127.0.0.1:3000"),
        &["files that come before"],
    );
}

#[test]
fn files_and_redirects_are_sites() {
    check("root /srv/a;", "[[edge.site]] host = \"a.example\" root = \"/srv/a\"", &[]);
    check(
        "location /i/ { root /srv; } location /u/ { alias /srv/up/; }",
        "[[edge.site]] host = \"a.example\" path = \"/i\" root = \"/srv/i\" \
         [[edge.site]] host = \"a.example\" path = \"/u\" root = \"/srv/up\"",
        &[],
    );
    check(
        "return 301 https://b.example$request_uri;",
        "[[edge.site]] host = \"a.example\" redirect = \"https://b.example{path}\" status = 301",
        &[],
    );
    check("location /x { return 200 'ok'; }", "", &["location /x: a fixed answer"]);
    check("return 302 https://$arg_to;", "", &["a redirect with variables"]);
    check(
        "root /srv/a; add_header X-Frame-Options DENY; add_header X-Host $host;",
        "[[edge.site]] host = \"a.example\" root = \"/srv/a\" headers = { \"x-frame-options\" = \"DENY\" }",
        &["add_header X-Host"],
    );
}

#[test]
fn sizes_and_patience_go_along() {
    check(
        "location / { proxy_pass http://127.0.0.1:3000; } location /up { proxy_pass http://127.0.0.1:3000; client_max_body_size 1g; proxy_read_timeout 5m; }",
        "[backend.api] upstream = \"http://127.0.0.1:3000\" hosts = [\"a.example\"] [[edge.path]] prefix = \"/up\" \
         host = \"a.example\" body_bytes_max = 1073741824 first_byte_timeout = \"300000ms\"",
        &[],
    );
    for (given, want) in [("20m", Some(20 << 20)), ("512K", Some(512 << 10)), ("7", Some(7)), ("x", None)] {
        assert_eq!(bytes(given), want, "{given}");
    }
    for (given, want) in
        [("300", Some(300_000)), ("5m", Some(300_000)), ("500ms", Some(500)), ("0", None), ("1w", None)]
    {
        assert_eq!(milliseconds(given), want, "{given}");
    }
}

#[test]
fn a_server_that_only_leads_to_https_is_nothing_to_say() {
    for server in [
        "return 301 https://$host$request_uri;",
        "location /.well-known/acme-challenge/ { root /var/www; } location / { return 301 https://$server_name$request_uri; }",
        "if ($host = a.example) { return 301 https://$host$request_uri; } return 404;",
        "rewrite ^ https://$host$request_uri? permanent;",
    ] {
        let carried = nginx(&format!("server {{ listen 80; server_name a.example; {server} }}"));
        assert_eq!(carried, Carried::default(), "{server}");
    }
}

#[test]
fn nonsense_ends() {
    for text in ["", "}}}; ; {", "server", "server { server_name", "http { server {"] {
        assert_eq!(nginx(text).config, "", "{text}");
    }
    assert_eq!(nginx(&"a{".repeat(10_000)).config, "");
}

//! What testssl.sh says of TLS and the headers around it. It takes minutes, most of them waiting: by its name it is
//! among the first that are begun.

use std::process::Command;

use crate::{TestGateway, certificates::TestCa};

/// Findings that say something of the test's surroundings and nothing of the gateway, each with its reason.
const OF_THE_SURROUNDINGS: [(&str, &str); 4] = [
    ("engine_problem", "testssl.sh says of its own openssl that it has no GOST engine"),
    (
        "sessionresumption_ticket",
        "told as WARN where openssl s_client is too slow; a test above proves resumption",
    ),
    (
        "cert_revocation",
        "the test's CA publishes neither OCSP nor CRL; Let's Encrypt has given OCSP up as well",
    ),
    (
        "security_headers",
        "those of pages (CSP, frames) are the application's to set, and the test's sets none",
    ),
];

/// Everything but the clients that it simulates, of which it says `INFO` whatever it sees.
const EVERYTHING: [&str; 8] = [
    "--protocols",
    "--std",
    "--fs",
    "--server-preference",
    "--server-defaults",
    "--headers",
    "--vulnerable",
    "--each-cipher",
];

/// What testssl.sh says of a path, looking at `what` alone.
fn testssl(gateway: &TestGateway, what: &[&str], path: &str) -> Vec<serde_json::Value> {
    let report = gateway.site().path().join("testssl.json");
    let _of_another_run = std::fs::remove_file(&report);
    let output = Command::new("testssl")
        .args(["--quiet", "--color", "0", "--warnings", "off", "--nodns", "min", "--ip", "127.0.0.1"])
        .args(what)
        .arg("--add-ca")
        .arg(gateway.site().path().join("test-ca.pem"))
        .arg("--jsonfile")
        .arg(&report)
        .arg(format!("localhost:{}{path}", gateway.https().port()))
        .output()
        .expect("testssl is installed by tests/run");
    let text = std::fs::read_to_string(&report)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)));
    serde_json::from_str(&text).unwrap()
}

#[track_caller]
fn nothing_above_low(what: &str, findings: &[serde_json::Value]) {
    let bad: Vec<_> = findings
        .iter()
        .filter(|one| !matches!(one["severity"].as_str(), Some("OK" | "INFO" | "LOW")))
        .filter(|one| OF_THE_SURROUNDINGS.iter().all(|(id, _)| one["id"] != *id))
        .map(|one| format!("{} {}: {}", one["severity"], one["id"], one["finding"]))
        .collect();
    assert!(bad.is_empty(), "testssl found in {what}:\n{}", bad.join("\n"));
    let breach = findings.iter().find(|one| one["id"] == "BREACH").expect("it looks at compression");
    assert_eq!(breach["severity"], "OK", "{what}: {breach}");
}

#[test]
fn testssl_finds_nothing_above_low() {
    let site = TestGateway::builder()
        .shops()
        .worker("page.mjs")
        .config("tls.mode = \"files\"\nedge.hosts = [\"localhost\"]\n[tls.hsts]\nenabled = true")
        .site();
    let ca = TestCa::new();
    let (certificate, key) = ca.certify_days("localhost", 80);
    let (cert, key) = (site.write("api.crt", certificate), site.write("api.key", key));
    site.write("test-ca.pem", ca.pem());
    // Files beside the application: one compressed as it passes, one that lies there compressed.
    let page = site.write("www/page.html", "<p>all work and no play</p>\n".repeat(200));
    let root = page.parent().unwrap();
    site.write("www/packed.html", "<p>all work and no play</p>\n".repeat(200));
    site.write("www/packed.html.br", "packed");
    site.write("www/packed.html.gz", "packed");
    site.configure(&format!(
        "[[tls.certificate]]\ncert = {cert:?}\nkey = {key:?}\n[[edge.site]]\npath = \"/www\"\nroot = {root:?}"
    ));
    let gateway = site.start();
    let findings = testssl(&gateway, &EVERYTHING, "/");
    assert!(findings.len() > 90, "only {} findings: it broke off\n{findings:?}", findings.len());
    nothing_above_low("everything", &findings);
    for path in ["/www/page.html", "/www/packed.html"] {
        // Browsers get it compressed.
        let browsers = gateway.get(path).host("localhost").header("accept-encoding", "gzip, br");
        assert!(browsers.send().is(200).header("content-encoding").is_some(), "{path}");
        nothing_above_low(path, &testssl(&gateway, &["--breach", "--headers"], path));
    }
}

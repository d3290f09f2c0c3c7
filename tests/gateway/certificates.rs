//! Certificates as the operator handles them: listed, imported, removed, warned of, backed up.

use std::{os::unix::fs::PermissionsExt, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ClientConfig;

use crate::{HOST, Site, TestGateway, Wire, client::trusting, eventually};

/// A CA of the test.
pub(crate) struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl TestCa {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Certificate and key as PEM, good until 4096.
    pub(crate) fn certify(&self, host: &str) -> (String, String) {
        self.certify_until(host, 4096)
    }

    /// Good until the first day of that year.
    pub(crate) fn certify_until(&self, host: &str, year: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem() + &self.issuer.pem(), key.serialize_pem())
    }

    /// As long as public authorities give it: good from yesterday on, for so many days.
    pub(crate) fn certify_days(&self, host: &str, days: i64) -> (String, String) {
        self.certify_between(host, -1, days)
    }

    /// The same from and until another day, counted from today.
    pub(crate) fn certify_between(&self, host: &str, from: i64, until: i64) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let date = |days: i64| {
            let date = today.saturating_add(jiff::Span::new().days(days));
            date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
        };
        (params.not_before, params.not_after) = (date(from), date(until));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem() + &self.issuer.pem(), key.serialize_pem())
    }

    pub(crate) fn trusted(&self) -> Arc<ClientConfig> {
        trusting(self.issuer.pem().as_bytes(), &["http/1.1"])
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }
}

/// `cert import HOST` of a certificate of that CA.
fn import(site: &Site, ca: &TestCa, host: &str) -> crate::Output {
    let (certificate, key) = ca.certify(host);
    let (cert, key) = (site.write("own.crt", certificate), site.write("own.key", key));
    site.cli(&["cert", "import", host, "--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()])
}

fn state(gateway: &TestGateway, host: &str) -> (String, String) {
    let all = gateway.cli(&["cert", "list", "--json"]).ok().json();
    let one = all.as_array().unwrap().iter().find(|one| one["host"] == host).unwrap().clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
    (text(&one["certificate"]["source"]), text(&one["state"]))
}

#[test]
fn an_imported_certificate_is_served_at_once_survives_a_restart_and_can_be_removed() {
    let (gateway, ca) = (TestGateway::builder().shops().worker("echo.mjs").start(), TestCa::new());
    assert_eq!(state(&gateway, HOST), ("local".into(), "served".into()));
    import(gateway.site(), &ca, HOST).ok().says(&["it is served now", HOST]);
    Wire::tls(gateway.https(), HOST, ca.trusted());
    assert_eq!(state(&gateway, HOST), ("imported".into(), "served".into()));
    gateway.cli(&["cert", "show", HOST]).ok().says(&["source    imported", "issuer    CN=test CA", "in "]);
    // An order leaves its line.
    gateway.has_logged("POST /certificates/api.example");
    let directory = gateway.site().state().join("certificates/imported").join(HOST);
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&directory.join("key.pem"))), (0o700, 0o600));
    std::fs::remove_file(gateway.site().path().join("own.key")).unwrap();
    let gateway = gateway.stop().start();
    Wire::tls(gateway.https(), HOST, ca.trusted());
    gateway.cli(&["cert", "remove", HOST]).ok().says(&[HOST]);
    assert!(Wire::try_tls(gateway.https(), HOST, ca.trusted()).is_err());
    assert_eq!(state(&gateway, HOST), ("local".into(), "served".into()));
    gateway.cli(&["cert", "remove", HOST]).fails(1).says(&["no certificate was imported", "hint: "]);
    assert!(!directory.exists());
}

#[test]
fn a_gateway_at_rest_takes_a_certificate_too_and_serves_it_from_its_start() {
    let (site, ca) = (TestGateway::builder().shops().worker("echo.mjs").site(), TestCa::new());
    import(&site, &ca, HOST).ok().says(&["when the gateway starts"]);
    site.cli(&["cert", "list"]).fails(3);
    site.cli(&["cert", "renew", HOST]).fails(3);
    let gateway = site.start();
    Wire::tls(gateway.https(), HOST, ca.trusted());
    let site = gateway.stop();
    site.cli(&["cert", "remove", HOST]).ok();
    assert!(Wire::try_tls(site.start().https(), HOST, ca.trusted()).is_err());
}

#[test]
fn what_cannot_be_served_is_refused_with_a_remedy_and_changes_nothing() {
    let (gateway, ca) = (TestGateway::builder().shops().worker("echo.mjs").start(), TestCa::new());
    import(gateway.site(), &ca, HOST).ok();
    let site = gateway.site();
    let (good, key) = ca.certify(HOST);
    let (other, other_key) = ca.certify("other.example");
    let (ended, ended_key) = ca.certify_until(HOST, 2020);
    for (cert, key, words) in [
        (&good, &other_key, "the key of another certificate"),
        (&other, &other_key, "not good for `api.example`, but for `other.example`"),
        (&ended, &ended_key, "ended on 2020-01-01"),
        (&"junk".to_owned(), &key, "there is no certificate in it"),
        (&good, &"junk".to_owned(), "no private key"),
        (&"x".repeat(200_000), &key, "too large"),
    ] {
        let (cert, key) = (site.write("bad.crt", cert), site.write("bad.key", key));
        let output = site.cli(&[
            "cert",
            "import",
            HOST,
            "--cert",
            cert.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
        ]);
        output.fails(2).says(&[words]);
    }
    for (host, words) in [
        ("127.0.0.1", "is an address"),
        ("a b", "is no host name"),
        ("https://x.example", "without a scheme"),
        ("../../etc", "is no host name"),
        ("*", "is no host name"),
    ] {
        import(site, &ca, HOST);
        let (cert, key) = (site.path().join("own.crt"), site.path().join("own.key"));
        let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
        site.cli(&["cert", "import", host, "--cert", cert, "--key", key]).fails(2).says(&[words]);
    }
    gateway
        .cli(&["cert", "import", HOST, "--cert", "/nowhere", "--key", "/nowhere"])
        .fails(1)
        .says(&["/nowhere"]);
    gateway
        .cli(&["cert", "show", "unknown.example"])
        .fails(1)
        .says(&["no host of this gateway", "cert list"]);
    gateway.cli(&["cert", "renew", HOST]).fails(1).says(&["import its successor"]);
    Wire::tls(gateway.https(), HOST, ca.trusted());
}

#[test]
fn wildcards_serve_every_host_below_and_hosts_without_a_certificate_are_told() {
    let ca = TestCa::new();
    let site = TestGateway::builder().shops().worker("echo.mjs").config("tls.mode = \"files\"").site();
    let (certificate, key) = ca.certify(HOST);
    let (cert, key) = (site.write("api.crt", certificate), site.write("api.key", key));
    site.configure(&format!("[[tls.certificate]]\ncert = {cert:?}\nkey = {key:?}"));
    let gateway = site.start();
    gateway.cli(&["tenant", "add", "late", "--host", "late.shops.example"]).ok();
    assert_eq!(state(&gateway, "late.shops.example"), (String::new(), "missing".into()));
    gateway.cli(&["status"]).ok().says(&["warning: `late.shops.example` has no certificate"]);
    // TLS's own word for it, as browsers show it.
    let told = Wire::try_tls(gateway.https(), "late.shops.example", ca.trusted()).unwrap_err();
    assert!(told.to_string().contains("UnrecognisedName"), "{told}");
    import(gateway.site(), &ca, "*.shops.example").ok();
    Wire::tls(gateway.https(), "late.shops.example", ca.trusted());
    assert_eq!(state(&gateway, "late.shops.example"), ("imported".into(), "served".into()));
    assert!(Wire::try_tls(gateway.https(), "shops.example", ca.trusted()).is_err());
    assert_eq!(state(&gateway, HOST).0, "file");
    gateway.cli(&["cert", "remove", "*.shops.example"]).ok();
    assert_eq!(state(&gateway, "late.shops.example").1, "missing");
}

#[test]
fn an_end_that_is_near_is_told_in_list_status_and_metrics() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .config("edge.hosts = [\"www.example\"]\ntls.expiry_warning = \"10000000d\"")
        .start();
    // The last quarter of a life of two thousand years.
    let (site, ca) = (gateway.site(), TestCa::new());
    let year = i32::from(jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year());
    let (certificate, key) = ca.certify_until("www.example", year + 2);
    let (cert, key) = (site.write("own.crt", certificate), site.write("own.key", key));
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    gateway.cli(&["cert", "import", "www.example", "--cert", cert, "--key", key]).ok();
    assert_eq!(state(&gateway, "www.example"), ("imported".into(), "ends-soon".into()));
    gateway.cli(&["cert", "list"]).ok().says(&["HOST", "www.example", "ends soon", "days)"]);
    gateway.cli(&["status"]).ok().says(&[
        "warning: the imported certificate of `www.example` ends in",
        "gateway cert import www.example",
    ]);
    let metrics = String::from_utf8(gateway.admin("GET", "/metrics").unwrap().body).unwrap();
    assert!(metrics.contains("gateway_certificate_not_after_seconds{source=\"imported\"}"), "{metrics}");
    assert!(metrics.contains("gateway_certificate_hosts_in_need{state=\"ends_soon\"} 1"), "{metrics}");
}

#[test]
fn a_backup_holds_imported_certificates_wrapped_and_a_restore_serves_them() {
    let (gateway, ca) = (TestGateway::builder().shops().worker("echo.mjs").start(), TestCa::new());
    import(gateway.site(), &ca, HOST).ok();
    let file = gateway.site().path().join("x.tar");
    let passphrase = [("GATEWAY_BACKUP_PASSPHRASE", "correct horse battery staple")];
    gateway.site().cli_with(&["backup", file.to_str().unwrap()], "", &passphrase).ok();
    let archive = std::fs::read(&file).unwrap();
    assert!(!archive.windows(11).any(|window| window == b"PRIVATE KEY"));
    let other = TestGateway::builder().shops().worker("echo.mjs").site();
    let file = other.write("x.tar", archive);
    other.cli_with(&["restore", file.to_str().unwrap()], "", &passphrase).ok();
    let gateway = other.start();
    Wire::tls(gateway.https(), HOST, ca.trusted());
    let key = gateway.site().state().join("certificates/imported").join(HOST).join("key.pem");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_damaged_certificate_in_the_vault_stops_no_start_and_is_told() {
    let (gateway, ca) = (TestGateway::builder().shops().worker("echo.mjs").start(), TestCa::new());
    import(gateway.site(), &ca, HOST).ok();
    let site = gateway.stop();
    let directory = site.state().join("certificates/imported").join(HOST);
    std::fs::write(directory.join("key.pem"), "half a ke").unwrap();
    std::fs::create_dir(site.state().join("certificates/imported/.new-x.example")).unwrap();
    let gateway = site.start();
    eventually("the log tells it", || gateway.log().contains("is damaged and is not served").then_some(()));
    assert_eq!(state(&gateway, HOST), ("local".into(), "served".into()));
    assert!(!gateway.site().state().join("certificates/imported/.new-x.example").exists());
    import(gateway.site(), &ca, HOST).ok();
    Wire::tls(gateway.https(), HOST, ca.trusted());
}

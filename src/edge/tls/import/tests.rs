//! What is taken, and what is refused with which words.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use super::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certify(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> ImportOrder {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        ImportOrder { chain: leaf.pem() + &self.0.pem(), key: key.serialize_pem() }
    }
}

fn halves(chain: &str) -> (String, String) {
    let second = chain.rfind("-----BEGIN").unwrap();
    (chain[..second].to_owned(), chain[second..].to_owned())
}

fn refused(host: &str, order: &ImportOrder) -> String {
    match judge(host, order, Timestamp::now()) {
        Err(ImportProblem::Unfit { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_whole_chain_with_its_key_is_kept_under_its_host_and_removed_again() {
    let (ca, dir) = (Authority::new("ca"), tempfile::tempdir().unwrap());
    let vault = Vault::open(dir.path()).unwrap();
    for (host, names) in
        [("a.example", ["a.example"]), ("x.b.example", ["*.b.example"]), ("*.c.example", ["*.c.example"])]
    {
        let imported = import(&vault, host, &ca.certify(&names, |_| {}), Timestamp::now()).unwrap();
        assert_eq!((imported.certificate.names, imported.warnings), (vec![names[0].to_owned()], Vec::new()));
        assert_eq!(imported.certificate.source, "imported");
    }
    assert_eq!(vault.all().len(), 3);
    assert!(vault.imported("deep.c.example").is_some());
    for host in ["a.example", "x.b.example", "*.c.example"] {
        assert!(remove(&vault, host).unwrap(), "{host}");
        assert!(!remove(&vault, host).unwrap(), "{host} twice");
    }
    assert!(vault.all().is_empty());
}

#[test]
fn what_browsers_would_refuse_is_refused_and_the_key_is_never_repeated() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let good = ca.certify(&["a.example"], |_| {});
    let (leaf, issuer) = halves(&good.chain);
    let with = |chain: &str, key: &str| ImportOrder { chain: chain.into(), key: key.into() };
    let past = ca.certify(&["a.example"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let future = ca.certify(&["a.example"], |params| params.not_before = rcgen::date_time_ymd(4000, 1, 1));
    let mail = ca.certify(&["a.example"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    });
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (order, words) in [
        (with("", &good.key), "there is no certificate in it"),
        (with("junk", &good.key), "there is no certificate in it"),
        (with(&good.key, &good.key), "there is no certificate in it"),
        (with(&good.chain, ""), "no private key"),
        (with(&good.chain, &good.chain), "no private key"),
        (with(&good.chain, encrypted), "without a passphrase"),
        (with(&good.chain, &past.key), "the key of another certificate"),
        (with(&(issuer + &leaf), &good.key), "the key of another certificate"),
        (with(&(leaf.clone() + &other.0.pem()), &good.key), "out of order"),
        (with(&"x".repeat(200_000), &good.key), "128 KiB"),
        (
            ca.certify(&["b.example", "c.example"], |_| {}),
            "not good for `a.example`, but for `b.example`, `c.example`",
        ),
        (ca.certify(&["*.a.example"], |_| {}), "not good for"),
        (ca.certify(&["*.example.a.example"], |_| {}), "not good for"),
        (past, "ended on 2020-01-01"),
        (future, "begins only on 4000-01-01"),
        (mail, "not for servers"),
    ] {
        let reason = refused("a.example", &order);
        assert!(reason.contains(words), "{words} is not in: {reason}");
        let secret = order.key.lines().nth(1).filter(|line| line.len() > 40);
        assert!(secret.is_none_or(|secret| !reason.contains(secret)), "{reason}");
    }
    assert!(refused("*.a.example", &good).contains("not good for `*.a.example`"));
}

#[test]
fn what_may_not_be_meant_is_taken_with_a_warning() {
    let ca = Authority::new("ca");
    let order = ca.certify(&["a.example"], |_| {});
    let (leaf, _) = halves(&order.chain);
    let alone = ImportOrder { chain: leaf, key: order.key };
    let said = judge("a.example", &alone, Timestamp::now()).unwrap();
    assert!(said.len() == 1 && said[0].contains("do not know `CN=ca`"), "{said:?}");
    let own = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let own = ImportOrder { chain: own.cert.pem(), key: own.signing_key.serialize_pem() };
    let said = judge("a.example", &own, Timestamp::now()).unwrap();
    assert!(said.len() == 1 && said[0].contains("signed by itself"), "{said:?}");
}

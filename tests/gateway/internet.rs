//! From an empty server to a certificate of a real authority: pebble and the name server on another machine, reached over
//! the network alone. Debian 12, and whatever other distribution there is a root of.

use std::path::Path;

use crate::{
    HOST,
    bootstrap::{Server, same},
    eventually, homes,
    machine::{Disk, INSIDE, Machine},
    outside::OUTSIDE,
    pebble::certify,
};

/// The authority on the stranger's machine, whose word for where hosts lead is its own.
struct Authority {
    directory: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("pebble").tempdir_in("/tmp").unwrap();
        certify(directory.path(), OUTSIDE);
        let at = |port: u16| format!("{OUTSIDE}:{port}");
        let config = serde_json::json!({ "pebble": {
            "listenAddress": at(14000),
            "managementListenAddress": at(15000),
            "certificate": directory.path().join("pebble.pem"),
            "privateKey": directory.path().join("pebble.key"),
            "httpPort": 80,
            "tlsPort": 443,
        }});
        std::fs::write(directory.path().join("pebble.json"), config.to_string()).unwrap();
        Self { directory }
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A disk that asks this authority, and the name server beside it.
    fn known_on(&self, disk: Disk) -> Disk {
        let acme = format!(
            "[tls.acme]\ndirectory = \"https://{OUTSIDE}:14000/dir\"\nca_file = \"/etc/gateway/authority.pem\"\n\
             gather = \"200ms\"\n"
        );
        disk.file("/etc/resolv.conf", format!("nameserver {OUTSIDE}\n"))
            .file("/etc/gateway/conf.d/authority.toml", acme)
            .file("/etc/gateway/authority.pem", std::fs::read(self.file("ca.pem")).unwrap())
    }

    fn serve(&self, machine: &Machine) {
        let dns = format!("{OUTSIDE}:53");
        let names = ["pebble-challtestsrv", "-dns01", &dns, "-management", "127.0.0.1:8055"];
        let nothing_else = ["-http01", "", "-https01", "", "-tlsalpn01", ""];
        let addresses = ["-defaultIPv4", INSIDE[0], "-defaultIPv6", INSIDE[1]];
        machine.outside().serve(&[&names[..], &nothing_else, &addresses].concat());
        let config = self.file("pebble.json");
        machine.outside().serve(&[
            "env",
            "PEBBLE_VA_NOSLEEP=1",
            "pebble",
            "-config",
            &config,
            "-dnsserver",
            &dns,
        ]);
    }

    /// `GET https://api.example/` by name, trusting the authority alone.
    fn visit(&self, machine: &Machine) -> crate::Output {
        let root = self.file("root.pem");
        let roots = format!("https://{OUTSIDE}:15000/roots/0");
        machine.outside().run(&[
            "curl",
            "--silent",
            "--insecure",
            "--max-time",
            "5",
            "--output",
            &root,
            &roots,
        ]);
        let resolve = format!("{HOST}:443:{}", INSIDE[0]);
        let url = format!("https://{HOST}/");
        machine.outside().run(&[
            "curl",
            "--silent",
            "--show-error",
            "--max-time",
            "10",
            "--cacert",
            &root,
            "--resolve",
            &resolve,
            &url,
        ])
    }
}

const ORDER: &str = "/root/gateway bootstrap --app /srv/app --domain api.example --command 'node app.mjs' --contact me@example.com --yes";

/// From nothing to a request over HTTPS from outside, with a certificate ordered through the firewall.
fn arrives(disk: Disk, name: &str) -> (Server, Authority, String) {
    let authority = Authority::new();
    let server = Server::on(authority.known_on(disk), "22", "");
    authority.serve(&server.machine);
    // What a first session leaves in its home is none of ours.
    server.ssh("true").ok();
    let before = server.picture();
    let done = server.machine.shell(ORDER);
    assert_eq!(done.code, 0, "{name}: {done:?}");
    assert!(
        !done.all().contains("UnrecognisedName"),
        "its doctor looks after the first certificate: {done:?}"
    );
    let answer = eventually("it is served with a certificate of the authority", || {
        Some(authority.visit(&server.machine)).filter(|answer| answer.code == 0)
    });
    assert_eq!(answer.stdout, "hello", "{name}");
    server.machine.shell(ORDER).ok().says(&["nothing to do"]);
    (server, authority, before)
}

#[test]
fn an_empty_server_serves_with_a_certificate_of_an_authority_and_its_doctor_finds_nothing_broken() {
    let (mut server, authority, _before) = arrives(Disk::debian(), "Debian 12");
    let listed = server.machine.run(&["gateway", "cert", "list"]).ok();
    listed.says(&[HOST, "acme"]);
    server.machine.write(
        "/etc/gateway/conf.d/tenants.toml",
        "[[tenant]]\nid = \"shop\"\norigins = [\"https://shop.example\"]\ndatabase = \"sqlite://shop.db\"\n",
    );
    server.machine.run(&["systemctl", "reload", "gateway"]).ok();
    // As `update-ca-certificates` has it: this machine trusts the authority as it does the public ones.
    let root = std::fs::read_to_string(authority.file("root.pem")).unwrap();
    let known = "/etc/ssl/certs/ca-certificates.crt";
    let all = std::fs::read_to_string(server.machine.path(known)).unwrap() + &root;
    server.machine.write(known, all);
    let doctor = server.machine.run(&["gateway", "doctor"]).ok();
    assert!(!doctor.stdout.contains('✗'), "{}", doctor.stdout);
    doctor.says(&[
        "✓ configuration",
        "✓ service",
        "✓ firewall",
        "✓ ports",
        "✓ backend api",
        "✓ dns api.example leads here: 10.77.0.2, fd77::2",
        "✓ tls api.example",
        "✓ shop preflight",
        "✓ shop request",
        "✓ shop database",
    ]);
    // Its record leads to somebody else's machine: that of the authority, say.
    server.machine.shell(&format!("echo '{OUTSIDE} {HOST}' >> /etc/hosts")).ok();
    let lost = server.machine.run(&["gateway", "doctor"]).fails(1);
    lost.says(&["✗ dns api.example does not lead here: resolves to 10.77.0.1", "`edge.public_addresses`"]);
    // Such as a network in front, of which nothing here knows.
    let named = format!("[edge]\npublic_addresses = [\"{OUTSIDE}\"]\n");
    server.machine.write("/etc/gateway/conf.d/public.toml", named);
    server.machine.run(&["gateway", "doctor"]).says(&["✓ dns api.example leads here: 10.77.0.1"]);
    server.machine.shell("rm /etc/gateway/conf.d/public.toml; sed -i '/api.example/d' /etc/hosts").ok();
    // What seals the tenants' credentials is decrypted by systemd for the service alone.
    assert!(Path::new(&server.machine.path("/etc/credstore.encrypted/gateway.seal.key")).exists());
    assert!(!Path::new(&server.machine.path("/var/lib/gateway/seal.key")).exists());
    server.machine.reboot();
    authority.serve(&server.machine);
    eventually("it serves again by itself", || (authority.visit(&server.machine).code == 0).then_some(()));
    server.machine.run(&["gateway", "doctor"]).says(&["✓ shop database", "✓ firewall"]);
}

/// The service's sandbox with the drop-in that this brings; what serves goes on.
fn with_an_application_in_a_home(server: &Server, authority: &Authority) {
    let machine = &server.machine;
    machine.shell("mkdir -p /home/dev/data && cp -r /srv/app /home/dev && chmod 777 /home/dev/data").ok();
    let moved =
        "[backend.api]\ndirectory = \"/home/dev/app\"\nallow_write = [\"/home/dev/data\"]\n".to_owned();
    machine.write("/etc/gateway/conf.d/home.toml", moved);
    let order = "gateway bootstrap --app /home/dev/app --data /home/dev/data --domain api.example --command 'node app.mjs' --yes";
    machine.shell(order).ok().says(&["50-application.conf", "restart"]);
    machine
        .run(&["systemctl", "show", "--property=ProtectHome", "gateway"])
        .ok()
        .says(&["ProtectHome=tmpfs"]);
    homes::is_little_exposed(machine);
    eventually("it serves as before", || (authority.visit(machine).code == 0).then_some(()));
    machine.run(&["rm", "-r", "/home/dev", "/etc/gateway/conf.d/home.toml"]).ok();
}

#[test]
fn other_distributions_get_there_too() {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache");
    // Ubuntu's mirror is not reached from everywhere.
    for name in ["debian-13", "ubuntu-24.04"] {
        if name == "debian-13" || cache.join(name).exists() {
            let (mut server, authority, before) = arrives(Disk::on(&[name]), name);
            server.machine.run(&["gateway", "firewall", "status"]).ok().says(&["in force as confirmed"]);
            server.ssh("true").ok();
            homes::is_little_exposed(&server.machine);
            server.machine.reboot();
            authority.serve(&server.machine);
            eventually("it serves again by itself", || {
                (authority.visit(&server.machine).code == 0).then_some(())
            });
            server.machine.run(&["gateway", "firewall", "status"]).ok().says(&["in force as confirmed"]);
            server.ssh("true").ok();
            with_an_application_in_a_home(&server, &authority);
            server.machine.shell("gateway bootstrap --undo --yes").ok().says(&["taken back: firewall"]);
            same(&before, &server.picture());
        }
    }
}

//! `gateway doctor` on a booted server where one thing after another is broken: each is found, alone, with its remedy and in the
//! exit code; mended, all is well again.

use crate::{
    HOST, booted,
    bootstrap::{ORDER, Server},
    certificates::TestCa,
    eventually,
    machine::INSIDE,
};

/// Break something, have it found and nothing else, and mend it.
fn found(server: &Server, broken: &str, said: &[&str], mended: &str) {
    let bad = |lines: &str| lines.lines().filter(|line| line.starts_with('✗')).count();
    server.machine.shell(broken).ok();
    // What was started anew may take a while.
    let doctor = eventually("the doctor finds that alone", || {
        let doctor = server.machine.run(&["gateway", "doctor"]);
        (bad(&doctor.stdout) == bad(&said.join("\n"))).then_some(doctor)
    });
    doctor.fails(1).says(said);
    server.machine.shell(mended).ok();
    eventually("all is well again", || (server.machine.run(&["gateway", "doctor"]).code == 0).then_some(()));
}

#[test]
fn the_doctor_finds_what_is_broken_and_says_what_mends_it() {
    let server = Server::rented("22", "");
    server.machine.shell(&format!("echo '{} {HOST}' >> /etc/hosts", INSIDE[0])).ok();
    server.machine.shell(ORDER).ok();
    assert_eq!(booted::served(&server.machine, "/"), "hello");
    let add = "gateway tenant add shop --origin https://shop.example --database sqlite://shop.db";
    server.machine.shell(add).ok();
    let well = server.machine.run(&["gateway", "doctor"]).ok();
    well.says(&["✓ firewall", "✓ tls api.example", "✓ shop preflight", "✓ shop database"]);

    let nobody = [
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        "--",
        "gateway",
        "firewall",
        "status",
    ];
    server.machine.run(&nobody).fails(1).says(&["this needs root", "sudo"]);

    let reload = "`gateway firewall reload`";
    found(
        &server,
        "nft add rule inet gateway input tcp dport 9999 accept",
        &["✗ firewall       the rules in the kernel are not those that were confirmed", reload],
        "gateway firewall reload",
    );
    found(
        &server,
        "printf '[edge]\\nhttps = [\"[::]:443\", \"[::]:9443\"]\\n' > /etc/gateway/conf.d/more.toml",
        &["✗ firewall       it does not let anybody reach 9443", reload],
        "rm /etc/gateway/conf.d/more.toml",
    );
    a_damaged_record_is_not_taken_for_none(&server);
    a_foreign_certificate_is_found(&server);
    found(
        &server,
        "gateway tenant set shop --remove-origin https://shop.example",
        &["✗ shop preflight the tenant has no origin", "gateway tenant set shop --add-origin https://"],
        "gateway tenant set shop --add-origin https://shop.example",
    );
    found(
        &server,
        "cd /var/lib/gateway/tenants && mkdir /root/kept && mv shop.db* /root/kept && mkdir shop.db && systemctl restart gateway",
        &["✗ shop database", "gateway tenant show shop; gateway status"],
        "cd /var/lib/gateway/tenants && rmdir shop.db && mv /root/kept/* . && systemctl restart gateway",
    );
    found(
        &server,
        "systemctl stop gateway.service gateway.socket",
        &[
            "✗ service        gateway.service does not run",
            "✗ gateway        nothing answers at",
            "`systemctl start gateway`",
        ],
        "systemctl start gateway.socket gateway.service",
    );
    server.machine.shell("gateway tenant set shop --remove-origin https://shop.example").ok();
    let told = server.machine.run(&["gateway", "doctor", "--json"]).fails(1).json();
    assert_eq!(told["worst"], "bad", "{told}");
}

/// As a power cut may leave it: nothing takes it for no firewall at all, and nothing writes over it.
fn a_damaged_record_is_not_taken_for_none(server: &Server) {
    let record = "/etc/gateway/firewall.json";
    let damaged = format!("the firewall of record, `{record}`, cannot be read");
    let remedy = "put the file back from a backup";
    let orders = [
        "gateway firewall status",
        "gateway firewall allow 9001",
        "gateway firewall close 22",
        "gateway firewall reload",
        "gateway cutover back",
        "gateway bootstrap confirm",
    ];
    server.machine.shell(&format!("cp -a {record} /root/record && : > {record}")).ok();
    for order in orders {
        server.machine.shell(order).fails(1).says(&[&damaged, remedy]);
    }
    let plan = server.machine.shell("gateway bootstrap --yes").fails(1);
    plan.says(&[&damaged, remedy, "nothing has been touched"]);
    assert_eq!(server.machine.run(&["stat", "--format", "%s", record]).ok().stdout, "0\n");
    let shut = format!("✗ firewall       {damaged}");
    found(server, "true", &[&shut, remedy], &format!("cp -a /root/record {record}"));
    server.machine.run(&["gateway", "firewall", "status"]).ok().says(&["in force as confirmed"]);

    let journal = "/var/lib/gateway-bootstrap/journal.json";
    server.machine.shell(&format!("cp -a {journal} /root/journal && : > {journal}")).ok();
    let undo = server.machine.shell("gateway bootstrap --undo --yes").fails(1);
    undo.says(&["the journal of what was made", "cannot be read", "put it back from a backup"]);
    server.machine.shell(&format!("cp -a /root/journal {journal}")).ok();
}

/// One that no browser trusts, in the place of the good one.
fn a_foreign_certificate_is_found(server: &Server) {
    let (chain, key) = TestCa::new().certify(HOST);
    server.machine.write("/root/own.crt", chain);
    server.machine.write("/root/own.key", key);
    found(
        server,
        &format!("gateway cert import {HOST} --cert /root/own.crt --key /root/own.key"),
        &[
            "✗ tls api.example no CA that this machine knows has signed the certificate",
            "gateway cert list",
            "✗ shop preflight no CA that this machine knows",
            "✗ shop request   no CA that this machine knows",
        ],
        &format!("gateway cert remove {HOST}"),
    );
}

//! Moving over from nginx, certbot and Node under pm2, while strangers ask all the time: beside, cut over,
//! and back, with nobody refused and no open connection touched; then everything taken back.

use std::{net::SocketAddr, sync::Arc};

use rustls::ClientConfig;

use crate::{
    HOST, Wire,
    bootstrap::{Server, same},
    certificates::TestCa,
    eventually,
    machine::{Disk, INSIDE},
    node,
    upgrade::under_load,
};

/// As people write it, with what certbot adds.
const NGINX: &str = "
server { listen 80; listen [::]:80; server_name api.example; return 301 https://$host$request_uri; }
server {
    listen 443 ssl; listen [::]:443 ssl;
    server_name api.example;
    ssl_certificate /etc/letsencrypt/live/api.example/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/api.example/privkey.pem;
    keepalive_timeout 300s;
    keepalive_requests 1000000;
    location / { proxy_pass http://127.0.0.1:3000; proxy_set_header Host $host; }
}
";

/// pm2 itself, as npm has brought it for the tests.
const PM2: &str = "PM2_HOME=/var/tmp/pm2 node /opt/pm2/node_modules/pm2/bin/pm2";

/// All strangers come from one address.
const MANY: &str =
    "[edge.admit]\nclient_requests_per_second = 1000000\ntenant_requests_per_second = 1000000\n";

const BESIDE: &str = "gateway bootstrap --beside --upstream http://127.0.0.1:3000 --domain api.example --yes";

/// What cannot be told from anything else in an output.
const SECRET: &str = "hunter2";

/// A server that has served for years, and the authority that certbot had its certificate from.
fn served_by_nginx() -> (Server, TestCa) {
    let ca = TestCa::new();
    let (chain, key) = ca.certify(HOST);
    let live = "/etc/letsencrypt/live/api.example";
    let disk = Disk::debian_with_others()
        .file("/etc/nginx/sites-enabled/default", NGINX)
        .file(&format!("{live}/fullchain.pem"), chain)
        .file(&format!("{live}/privkey.pem"), key)
        .shows("/opt/pm2/node_modules", node::directory().join("node_modules"))
        .file("/etc/gateway/conf.d/load.toml", MANY);
    let server = Server::on(disk, "22", "");
    let old = format!(
        "systemd-run --quiet --unit=pm2 --property=Type=oneshot --property=RemainAfterExit=yes \
         --property=WorkingDirectory=/srv/app --setenv=PORT=3000 --setenv=SHOP_SECRET={SECRET} -- \
         sh -c '{PM2} start app.mjs --name shop --instances 2' && systemctl start nginx"
    );
    server.machine.shell(&old).ok();
    (server, ca)
}

/// A connection from outside, and who answers on it.
struct Visit(Wire);

impl Visit {
    fn new(address: &str, tls: &Arc<ClientConfig>) -> Self {
        let address: SocketAddr = (address.parse::<std::net::IpAddr>().unwrap(), 443).into();
        Self(Wire::tls(address, HOST, Arc::clone(tls)))
    }

    /// Everybody is answered by the same application, through nginx or not.
    fn through_nginx(&mut self) -> bool {
        self.0.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n");
        let answer = self.0.answer().is(200);
        assert_eq!(answer.text(), "hello");
        answer.header("server").is_some_and(|server| server.starts_with("nginx"))
    }
}

#[test]
fn beside_nginx_strangers_are_led_over_and_back_and_nobody_notices() {
    let (server, ca) = served_by_nginx();
    // Strangers bring along what nginx gave them, its tickets and its choice of keys, and ours to nginx.
    let tls = ca.trusted();
    let machine = &server.machine;
    // This thread's own sockets are made outside from now on, as those of the strangers.
    machine.outside().enter();
    let through_nginx = || INSIDE.map(|address| Visit::new(address, &tls).through_nginx());
    let by_nginx =
        || Wire::try_tls((INSIDE[0].parse::<std::net::IpAddr>().unwrap(), 443).into(), HOST, tls.clone());
    eventually("nginx serves", || by_nginx().ok().map(drop));
    eventually("the application serves", || {
        let shown = machine.shell("curl --silent http://127.0.0.1:3000/");
        (shown.stdout == "hello").then_some(())
    });
    let before = server.picture();

    // In its place it is told what stands in the way, and what the environment would lack.
    let instead = machine.shell("/root/gateway bootstrap --app /srv/app --domain api.example --dry-run");
    assert_ne!(instead.code, 0);
    let instead = instead.says(&["nginx listens on port 443 already", "will not have: SHOP_SECRET\n"]);
    assert!(!instead.all().contains(SECRET), "{}", instead.all());
    let carried = machine.shell("/root/gateway import nginx").ok();
    let carried = carried.says(&[
        "upstream = \"http://127.0.0.1:3000\"",
        "hosts = [\"api.example\"]",
        "gateway cert import api.example",
    ]);
    assert!(carried.stdout.starts_with("[backend.api]"), "{}", carried.stdout);

    let of_pm2 = machine.shell(&format!("{PM2} jlist | /root/gateway import pm2 --from -")).ok();
    let of_pm2 = of_pm2.says(&["[backend.shop]", "workers = 2", "the values of SHOP_SECRET\n"]);
    assert!(!of_pm2.all().contains(SECRET), "{}", of_pm2.all());

    machine.shell(&format!("/root/{BESIDE}")).ok().says(&["copies of them are the gateway's"]);
    assert_eq!(through_nginx(), [true; 2], "beside it nothing has changed");
    let set_up = server.picture();
    machine.shell(BESIDE).ok().says(&["nothing to do"]);
    same(&set_up, &server.picture());

    let ask = || {
        let _either = Visit::new(INSIDE[0], &tls).through_nginx();
    };
    under_load(machine, ask, || {
        let mut from_before = INSIDE.map(|address| Visit::new(address, &tls));
        from_before.iter_mut().for_each(|visit| assert!(visit.through_nginx()));
        server.ssh("gateway cutover --confirm-within 5m").ok().says(&["port 443 go to port 8443"]);
        assert_eq!(through_nginx(), [false; 2], "new connections are led over");
        from_before.iter_mut().for_each(|visit| assert!(visit.through_nginx(), "open ones stay"));
        server.ssh("gateway bootstrap confirm").ok();
        assert_eq!(through_nginx(), [false; 2]);

        let mut meanwhile = INSIDE.map(|address| Visit::new(address, &tls));
        meanwhile.iter_mut().for_each(|visit| assert!(!visit.through_nginx()));
        server.ssh("gateway cutover back").ok();
        assert_eq!(through_nginx(), [true; 2], "and back");
        meanwhile.iter_mut().for_each(|visit| assert!(!visit.through_nginx(), "open ones stay"));

        // Back is the safe way: it waits for no confirmation, not even for that of the way there.
        server.ssh("gateway cutover --confirm-within 10m").ok();
        let mut unconfirmed = INSIDE.map(|address| Visit::new(address, &tls));
        unconfirmed.iter_mut().for_each(|visit| assert!(!visit.through_nginx()));
        server.ssh("gateway cutover back").ok();
        assert_eq!(through_nginx(), [true; 2], "and back before anybody has confirmed it");
        unconfirmed.iter_mut().for_each(|visit| assert!(!visit.through_nginx(), "open ones stay"));
        server.ssh("gateway firewall status").ok().says(&["in force as confirmed"]);

        server.ssh("gateway cutover --confirm-within 5s").ok();
        assert_eq!(through_nginx(), [false; 2]);
        eventually("nobody confirmed it", || (through_nginx() == [true; 2]).then_some(()));
    });

    // Both processes that pm2 started are still those, and on duty.
    let processes: serde_json::Value =
        serde_json::from_str(&machine.shell(&format!("{PM2} jlist")).ok().stdout).unwrap();
    let states: Vec<_> = processes.as_array().unwrap().iter().map(|one| &one["pm2_env"]).collect();
    assert_eq!(states.len(), 2, "{processes}");
    assert!(states.iter().all(|env| env["status"] == "online" && env["restart_time"] == 0), "{states:?}");

    machine.shell("gateway bootstrap --undo --yes").ok().says(&["taken back: firewall"]);
    assert_eq!(through_nginx(), [true; 2]);
    same(&before, &server.picture());
}

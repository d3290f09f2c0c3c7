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

/// Where the application keeps what it knows, before tenants have databases.
const OLD: &str = "/srv/data/shop.db";

/// A tenant's database where it has one; else where all of them were before.
const DB: &str = "
import { createClient } from '@libsql/client';
import { db as own } from './libsql.mjs';
const all = createClient({ url: `file:${process.env.OLD_DATABASE}` });
export const db = (req) => (req.headers['x-gateway-database-url'] ? own(req) : all);
";

/// A server that has served for years, and the authority that certbot had its certificate from.
fn served_by_nginx(environment: &str) -> (Server, TestCa) {
    let ca = TestCa::new();
    let (chain, key) = ca.certify(HOST);
    // One that certbot could not renew any more, as when it was ordered twice.
    let (old_chain, old_key) = ca.certify_until(HOST, 2020);
    let live = "/etc/letsencrypt/live/api.example";
    let disk = Disk::debian_with_others()
        .file("/etc/nginx/sites-enabled/default", NGINX)
        .file(&format!("{live}/fullchain.pem"), chain)
        .file(&format!("{live}/privkey.pem"), key)
        .file(&format!("{live}-0001/fullchain.pem"), old_chain)
        .file(&format!("{live}-0001/privkey.pem"), old_key)
        .shows("/opt/pm2/node_modules", node::directory().join("node_modules"))
        .shows("/srv/app/node_modules", node::directory().join("node_modules"))
        .file("/srv/app/db.mjs", DB)
        .file("/srv/app/libsql.mjs", include_str!("../../docs/drivers/libsql.mjs"))
        .file("/srv/data/notes", "")
        .file("/etc/gateway/conf.d/load.toml", MANY);
    let server = Server::on(disk, "22", "");
    let old = format!(
        "systemd-run --quiet --unit=pm2 --property=Type=oneshot --property=RemainAfterExit=yes \
         --property=WorkingDirectory=/srv/app --setenv=PORT=3000 --setenv=SHOP_SECRET={SECRET} {environment} -- \
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

/// Once nginx and what is behind it have started.
fn everything_serves(server: &Server, tls: &Arc<ClientConfig>) {
    let nginx =
        || Wire::try_tls((INSIDE[0].parse::<std::net::IpAddr>().unwrap(), 443).into(), HOST, tls.clone());
    eventually("nginx serves", || nginx().ok().map(drop));
    eventually("the application serves", || {
        let shown = server.machine.shell("curl --silent http://127.0.0.1:3000/");
        (shown.stdout == "hello").then_some(())
    });
}

#[test]
fn beside_nginx_strangers_are_led_over_and_back_and_nobody_notices() {
    let (server, ca) = served_by_nginx("");
    // Strangers bring along what nginx gave them, its tickets and its choice of keys, and ours to nginx.
    let tls = ca.trusted();
    let machine = &server.machine;
    // This thread's own sockets are made outside from now on, as those of the strangers.
    machine.outside().enter();
    let through_nginx = || INSIDE.map(|address| Visit::new(address, &tls).through_nginx());
    everything_serves(&server, &tls);
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

/// A request of a shop's page; the status and the text of the answer.
fn page(tls: &Arc<ClientConfig>, shop: &str, path: &str) -> (u16, String) {
    let mut visit = Visit::new(INSIDE[0], tls);
    visit.0.send(format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\norigin: https://{shop}.example\r\n\r\n"));
    let answer = visit.0.answer();
    (answer.status, answer.text())
}

/// What `[backend.api]` is with the workers that `import pm2` has found in the place of pm2's own.
fn with_workers(upstream: &str, of_pm2: &str) -> String {
    let found = of_pm2.split_once("[backend.shop]\n").unwrap().1;
    // The hosts are nginx's to know, and stand there already.
    let found: String = found
        .lines()
        .filter(|line| !line.starts_with(['#', '\n']) && !line.starts_with("hosts ="))
        .map(|line| format!("{line}\n"))
        .collect();
    let ours =
        "user = \"gateway-app\"\nenv_file = \"/etc/gateway/shop.env\"\nallow_write = [\"/srv/data\"]\n";
    upstream.replace("upstream = \"http://127.0.0.1:3000\"\n", &format!("{found}{ours}"))
}

/// Workers move to the gateway, back to pm2, and over again.
fn workers_move(server: &Server, tls: &Arc<ClientConfig>) {
    let machine = &server.machine;
    let prepare =
        "gateway bootstrap --app /srv/app --domain api.example --command 'node app.mjs' --data /srv/data";
    machine.shell(&format!("{prepare} --dry-run")).ok().says(&["will not have: OLD_DATABASE, SHOP_SECRET\n"]);
    let env = format!("SHOP_SECRET={SECRET}\\nOLD_DATABASE={OLD}\\n");
    let env = format!("umask 077 && printf '{env}' > /etc/gateway/shop.env");
    machine.shell(&format!("{env} && chgrp -R gateway-app /srv/data && chmod -R g+rwX /srv/data")).ok();
    let prepared = machine.shell(&format!("{prepare} --env-file /etc/gateway/shop.env --yes")).ok();
    let prepared = prepared.says(&["50-application.conf", "shop.env", "access", "restart"]);
    assert!(!prepared.all().contains("will not have"), "{}", prepared.all());

    let upstream = machine.run(&["cat", "/etc/gateway/gateway.toml"]).ok().stdout;
    let of_pm2 = machine.shell(&format!("{PM2} jlist | gateway import pm2 --from -")).ok().stdout;
    let workers = with_workers(&upstream, &of_pm2);
    let own = machine.run(&["id", "-u", "gateway-app"]).ok().stdout.trim().to_owned();
    let whose = || {
        let who: serde_json::Value = serde_json::from_str(&page(tls, "navaja", "/who").1).unwrap();
        who["uid"].to_string()
    };
    assert_eq!(whose(), "0", "pm2 is root's here");
    for (config, uid) in [(&workers, own.as_str()), (&upstream, "0"), (&workers, own.as_str())] {
        machine.write("/etc/gateway/gateway.toml", config);
        machine.shell("gateway check && gateway swap").ok();
        assert_eq!(whose(), uid);
        assert_eq!(page(tls, "navaja", "/secret").1, "known");
    }
    machine.shell(&format!("{PM2} delete shop")).ok();
    assert_eq!(whose(), own);
}

/// One tenant's database moves behind the door, and back; the other's stays where it was.
fn databases_move(server: &Server, tls: &Arc<ClientConfig>) {
    let machine = &server.machine;
    let notes = |shop: &str, new: &str| page(tls, shop, &format!("/notes{new}"));
    let both = |navaja: &str, barba: &str| {
        assert_eq!(notes("navaja", ""), (200, navaja.to_owned()));
        assert_eq!(notes("barba", ""), (200, barba.to_owned()));
    };
    both("before beside", "before beside");
    let over = format!(
        "gateway tenant pause navaja && \
         node -e \"new (require('/opt/pm2/node_modules/libsql'))('{OLD}').exec(\\\"VACUUM INTO '/root/navaja.db'\\\")\" && \
         gateway tenant set navaja --database sqlite://navaja.db && gateway tenant load navaja /root/navaja.db"
    );
    machine.shell(&over).ok();
    assert_eq!(notes("navaja", "").0, 503, "nothing is written while it moves");
    assert_eq!(notes("barba", "").0, 200);
    machine.run(&["gateway", "tenant", "resume", "navaja"]).ok();
    assert_eq!(notes("navaja", "?inside"), (200, "before beside inside".to_owned()));
    both("before beside inside", "before beside");
    machine.run(&["gateway", "tenant", "check", "navaja"]).says(&["database"]);

    let back = format!(
        "gateway tenant pause navaja && gateway tenant dump navaja /root/back.db && \
         gateway tenant set navaja --clear database && cp /root/back.db {OLD} && gateway backend restart api && \
         gateway tenant resume navaja"
    );
    machine.shell(&back).ok();
    both("before beside inside", "before beside inside");
    machine.shell(&format!("rm /root/navaja.db && {over} && gateway tenant resume navaja")).ok();
    both("before beside inside", "before beside inside");
    assert_eq!(notes("navaja", "?again"), (200, "before beside inside again".to_owned()));
    both("before beside inside again", "before beside inside");
}

#[test]
fn workers_and_then_databases_move_over_tenant_by_tenant_and_nginx_ends() {
    let (mut server, ca) = served_by_nginx(&format!("--setenv=OLD_DATABASE={OLD}"));
    let tls = ca.trusted();
    server.machine.outside().enter();
    everything_serves(&server, &tls);
    assert_eq!(page(&tls, "navaja", "/notes?before"), (200, "before".to_owned()));

    server.machine.shell(&format!("/root/{BESIDE}")).ok();
    for shop in ["navaja", "barba"] {
        let origin = format!("https://{shop}.example");
        server.machine.run(&["gateway", "tenant", "add", shop, "--origin", &origin]).ok();
    }
    server.ssh("gateway cutover --confirm-within 5m").ok();
    server.ssh("gateway bootstrap confirm").ok();
    assert!(!Visit::new(INSIDE[0], &tls).through_nginx());
    assert_eq!(page(&tls, "navaja", "/notes?beside"), (200, "before beside".to_owned()));
    // What browsers keep for good must still be so when nginx has gone.
    let redirect =
        ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{redirect_url}", "--header"];
    let url = format!("http://{}/a", INSIDE[0]);
    let host = format!("host: {HOST}");
    let redirected = || server.machine.outside().run(&[&redirect[..], &[&host, &url]].concat()).ok().stdout;
    assert_eq!(redirected(), "https://api.example/a");

    let ask = || {
        let _either = Visit::new(INSIDE[0], &tls).through_nginx();
    };
    under_load(&server.machine, ask, || workers_move(&server, &tls));
    under_load(&server.machine, ask, || databases_move(&server, &tls));

    // The end of nginx: the gateway takes the ports themselves.
    server.ssh("gateway cutover back && systemctl disable --now nginx").ok();
    server.machine.shell("sed -i '/^https = /d; /^http = /d' /etc/gateway/gateway.toml").ok();
    let moved = server.ssh("gateway bootstrap --yes --confirm-within 5m").ok();
    moved.says(&["all closed but 22, 80, 443 (SSH: 22)"]);
    server.ssh("gateway bootstrap confirm").ok();
    assert!(!Visit::new(INSIDE[0], &tls).through_nginx());
    assert_eq!(redirected(), "https://api.example/a");
    assert_eq!(server.reached("8443"), [false; 2]);
    server.machine.reboot();
    eventually("it serves after a boot, on its own", || {
        let nginx =
            Wire::try_tls((INSIDE[0].parse::<std::net::IpAddr>().unwrap(), 443).into(), HOST, tls.clone());
        nginx.ok().map(drop)
    });
    assert_eq!(page(&tls, "navaja", "/notes").1, "before beside inside again");
    assert_eq!(page(&tls, "barba", "/notes").1, "before beside inside");
    server.machine.run(&["gateway", "doctor"]).says(&["✓ firewall       in force as confirmed"]);
}

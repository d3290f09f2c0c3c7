//! An application that lives in a home, under the unit with the drop-in that bootstrap writes for it: the service sees what it
//! needs of that home and no other one, and is hardly more exposed than without.

use crate::{
    booted,
    bootstrap::{Server, same},
    machine::{Disk, Machine},
};

/// What `systemd-analyze security` gives at most, times ten.
const THRESHOLD: &str = "--threshold=25";

/// The unit that runs, with all its drop-ins, as that machine's own systemd judges it.
pub(crate) fn is_little_exposed(machine: &Machine) {
    machine.run(&["systemd-analyze", "security", "--no-pager", THRESHOLD, "gateway.service"]).ok();
}

#[test]
fn of_all_homes_the_service_sees_what_the_application_needs() {
    let app = std::fs::read(format!("{}/tests/data/booted/app.mjs", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let disk = Disk::debian()
        .file("/home/dev/shop/api/releases/one/app.mjs", app)
        .link("/home/dev/shop/api/current", "releases/one")
        .file("/home/dev/shop/node_modules/word/package.json", "{\"main\": \"word.js\"}")
        .file("/home/dev/shop/node_modules/word/word.js", "module.exports = 'above'")
        .file("/home/dev/shop/data/x", "")
        .file("/home/dev/shop.env", "SHOP_SECRET=x\n")
        .file("/home/dev/other/secret", "")
        .file("/home/eve/secret", "");
    let server = Server::on(disk, "22", "");
    let machine = &server.machine;
    is_set_up(&server);
    is_little_exposed(machine);
    assert_eq!(booted::served(machine, "/secret"), "known");
    for (path, outcome) in
        [("/home/dev/shop/data/x", "EACCES"), ("/home/dev/shop/api/x", "EROFS"), ("/home/eve/x", "ENOENT")]
    {
        assert_eq!(booted::served(machine, &format!("/write?{path}")), outcome, "{path}");
    }
    machine.shell("chown -R gateway-app /home/dev/shop/data").ok();
    assert_eq!(booted::served(machine, "/write?/home/dev/shop/data/x"), "written");
    assert_eq!(machine.run(&["cat", "/home/dev/shop/data/x"]).ok().stdout, "written");
    let inside = |script: &str| {
        let pid = booted::worker(machine);
        machine.shell(&format!("nsenter -t {pid} -m -- {script}")).ok().stdout
    };
    assert_eq!(
        inside("ls -A /home /home/dev /root"),
        "/home:\ndev\n\n/home/dev:\nshop\nshop.env\n\n/root:\n"
    );
    // Packages of the whole repository, and the next release, are seen where they lie.
    assert_eq!(
        inside("sh -c 'cd /home/dev/shop/api/current && node -p \"require(\\\"word\\\")\"'"),
        "above\n"
    );
    machine
        .shell("cd /home/dev/shop/api && cp -r releases/one releases/two && ln -sfn releases/two current")
        .ok();
    assert_eq!(inside("readlink /home/dev/shop/api/current"), "releases/two\n");
}

/// Twice, of which the second changes nothing.
fn is_set_up(server: &Server) {
    let order = "/root/gateway bootstrap --app /home/dev/shop/api/current --domain api.example --command 'node app.mjs' \
                 --env-file /home/dev/shop.env --data /home/dev/shop/data --tls local --yes";
    // The data directory is not the workers' yet.
    let shut = server.machine.shell(order);
    assert_ne!(shut.code, 0);
    shut.says(&["`gateway-app` cannot write to `/home/dev/shop/data`"]);
    server.machine.shell("chmod o+rwx /home/dev/shop/data").ok();
    server.machine.shell(order).ok();
    assert_eq!(booted::served(&server.machine, "/"), "hello");
    let once = server.picture();
    server.machine.shell(order).ok().says(&["nothing to do"]);
    same(&once, &server.picture());
}

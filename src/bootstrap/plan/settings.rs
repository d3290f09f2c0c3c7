//! The texts that are made from the answers: the configuration, and what the unit needs for this application.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{
    super::{
        Answers, App, Facts,
        facts::{AppFacts, NodeThere},
    },
    Action, WORKER, node,
};

/// What the unit needs for this application.
pub(super) const DROP_IN: &str = "/etc/systemd/system/gateway.service.d/50-application.conf";
/// Where the socket unit listens, if not on its own ports.
pub(super) const SOCKET_DROP_IN: &str = "/etc/systemd/system/gateway.socket.d/50-ports.conf";

/// Whose members may give orders without being root; the sysusers file makes it.
const ADMINS: &str = "gateway-admin";

/// Are these the socket unit's own ports?
pub(super) fn usual_ports(answers: &Answers) -> bool {
    let usual = ["[::]:443", "[::]:80"].iter().filter_map(|text| text.parse().ok());
    answers.listen.iter().copied().eq(usual)
}

/// `/etc/gateway/gateway.toml` from the answers.
pub(super) fn configuration(answers: &Answers, facts: &Facts) -> String {
    let app = facts.app.as_ref();
    let list = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
    let mut text = "# Written by `gateway bootstrap`; yours from now on. `gateway check` says what is wrong with it, `gateway reload`\n\
                    # brings it into force. Every key with its default: docs/configuration.md.\n\n"
        .to_owned();
    let mut edge = Vec::new();
    if !usual_ports(answers) {
        let (http, https): (Vec<_>, Vec<_>) =
            answers.listen.iter().partition(|address| is_plain(address.port()));
        let shown = |list: &[&SocketAddr]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        edge.push(format!("https = [{}]\nhttp = [{}]\n", list(&shown(&https)), list(&shown(&http))));
    }
    if app.is_none() && answers.upstream.is_none() && !answers.domains.is_empty() {
        edge.push(format!("hosts = [{}]\n", list(&answers.domains)));
    }
    if !edge.is_empty() {
        text += &format!("[edge]\n{}\n", edge.concat());
    }
    text += &format!("[tls]\nmode = {}\n", quoted(&answers.tls));
    if !answers.contact.is_empty() {
        let mails: Vec<String> =
            answers.contact.iter().map(|mail| mail.trim_start_matches("mailto:").to_owned()).collect();
        text += &format!("\n[tls.acme]\ncontact = [{}]\n", list(&mails));
    }
    if let Some(upstream) = &answers.upstream {
        text += &format!(
            "\n[backend.api]\nupstream = {}\nhosts = [{}]\n",
            quoted(upstream),
            list(&answers.domains)
        );
    }
    if let (Some(answer), Some(app)) = (&answers.app, app) {
        text += &backend(answers, (answer, app), facts);
    }
    text += &format!(
        "\n# Its members give orders without being root: `adduser NAME {ADMINS}`.\n[admin]\ngroup = {}\n",
        quoted(ADMINS)
    );
    text
}

/// The application.
fn backend(answers: &Answers, (answer, app): (&App, &AppFacts), facts: &Facts) -> String {
    let list = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
    let mut text = String::new();
    text += "\n[backend.api]\n";
    text += &format!("command = [{}]\n", list(&app.command));
    text += &format!("directory = {}\n", quoted(&answer.directory.display().to_string()));
    text += &format!("hosts = [{}]\n", list(&answers.domains));
    text += &format!("user = {}\n", quoted(WORKER));
    if !answer.data.is_empty() {
        let data: Vec<String> = answer.data.iter().map(|path| path.display().to_string()).collect();
        text += &format!("allow_write = [{}]\n", list(&data));
    }
    text += "env = { NODE_ENV = \"production\" }\n";
    if let Some(file) = &answer.env_file {
        text += &format!("env_file = {}\n", quoted(&file.display().to_string()));
    }
    if facts.needs_node(answers) {
        text += &node_tables(facts, answers);
    }
    text
}

/// Which Node the application is started with, and where others come from.
fn node_tables(facts: &Facts, answers: &Answers) -> String {
    let mut text = String::new();
    if let Some((key, value)) = node::wish(&facts.node) {
        text += &format!("\n[backend.api.node]\n{key} = {}\n", quoted(&value));
    }
    if let Some(mirror) = &answers.node_mirror {
        text += &format!("\n[node]\nmirror = {}\n", quoted(mirror));
    }
    text
}

/// A port of plain HTTP, as people choose them: 80 and 8080.
pub(super) fn is_plain(port: u16) -> bool {
    port % 1000 == 80
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// What the sandbox of the unit must let the application do; nothing, if nothing is special.
pub(super) fn drop_in(app: &App, node: Option<&NodeThere>) -> Option<String> {
    let mut lines = Vec::new();
    for path in &app.data {
        // What is missing at a start (`-`) keeps nobody else from being served.
        lines.push(format!("ReadWritePaths={}", if_there(path)));
    }
    let node = node.map(|node| &node.program);
    let read = [&app.directory].into_iter().chain(node).chain(&app.env_file);
    let read: BTreeSet<PathBuf> = read.filter_map(|path| in_home(path)).collect();
    let write: Vec<&PathBuf> = app.data.iter().filter(|path| in_home(path).is_some()).collect();
    if !read.is_empty() || !write.is_empty() {
        lines.push("# It, or its Node, lies in a home: of all homes the service sees this alone.".to_owned());
        lines.push("ProtectHome=tmpfs".to_owned());
        lines.extend(read.iter().map(|path| format!("BindReadOnlyPaths={}", if_there(path))));
        lines.extend(write.iter().map(|path| format!("BindPaths={}", if_there(path))));
    }
    if lines.is_empty() {
        return None;
    }
    Some(format!("# Written by `gateway bootstrap`.\n[Service]\n{}\n", lines.join("\n")))
}

/// A path as systemd reads it, in the one way for all: a blank or a colon would end it, `%` begins a specifier.
fn if_there(path: &Path) -> String {
    let path = path.display().to_string();
    format!("\"-{}\"", path.replace('\\', r"\\").replace('"', r#"\""#).replace('%', "%%"))
}

/// What must be seen of a home for the sake of this path in it: the outermost directory, since packages are also looked for above
/// the application, and a release is led to by a link beside it.
fn in_home(path: &Path) -> Option<PathBuf> {
    let home =
        [("/home", 3), ("/root", 2), ("/run/user", 4)].into_iter().find(|(home, _)| path.starts_with(home));
    home.map(|(_, depth)| path.components().take(depth + 1).collect())
}

/// The ports of the socket unit, where they are not its own.
pub(super) fn socket_drop_in(answers: &Answers) -> String {
    let mut text =
        "# Written by `gateway bootstrap`: the ports of `[edge]`.\n[Socket]\nListenStream=\n".to_owned();
    let v4 = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listed = |address: &SocketAddr| answers.listen.contains(address);
    let mut both = answers.listen.iter().filter(|address| address.ip() == Ipv6Addr::UNSPECIFIED);
    // Where one port has a listener for each family, every other has so too: the unit knows one way for all.
    let apart = both.any(|address| listed(&v4(address.port())));
    if apart {
        text += "BindIPv6Only=ipv6-only\n";
    }
    for address in &answers.listen {
        text += &match (apart, address.ip() == Ipv6Addr::UNSPECIFIED) {
            (false, true) => format!("ListenStream={}\n", address.port()),
            (true, true) if !listed(&v4(address.port())) => {
                format!("ListenStream={address}\nListenStream={}\n", v4(address.port()))
            }
            _ => format!("ListenStream={address}\n"),
        };
    }
    text
}

/// The key is handed to the service by systemd, which alone can decrypt it.
pub(super) fn credential_drop_in(sealed_key: &str) -> String {
    format!("# Written by `gateway bootstrap`.\n[Service]\nLoadCredentialEncrypted=seal.key:{sealed_key}\n")
}

/// What the worker's user must be able to read, where it must be able to write, and what the gateway reads for it.
pub(in crate::bootstrap) fn access(app: &App, facts: &AppFacts) -> Action {
    let entry = facts.entry.clone();
    let read: BTreeSet<PathBuf> = [app.directory.clone()].into_iter().chain(entry).collect();
    Action::Access {
        read: read.into_iter().collect(),
        write: app.data.clone(),
        own: app.env_file.iter().cloned().collect(),
    }
}

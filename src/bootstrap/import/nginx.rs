//! nginx's servers, as `nginx -T` prints them. What the edge does by itself is dropped in silence; what it cannot do is
//! named, never guessed. No regular expression is carried.

mod guards;
mod location;
mod parse;
mod remedies;

use std::collections::BTreeSet;

use self::{
    location::{Does, Upstreams, Why},
    parse::Directive,
};
use super::{Carried, is_host, list, name_of, quoted};

/// From the text of the whole configuration.
pub(crate) fn nginx(text: &str) -> Carried {
    let top = parse::parse(text);
    let mut carrier = Carrier::default();
    // A file with servers alone has no `http`.
    let whole: Vec<&Directive> = top.each("http").collect();
    let blocks = if whole.is_empty() { vec![&top] } else { whole };
    if top.inside.iter().any(|one| one.is("stream")) {
        carrier.leave(&[], "stream", remedies::remedy("stream"));
    }
    for http in blocks {
        carrier.unknown(&[], "", http);
        carrier.carried.warn(guards::everywhere(http));
        let servers = |one: &&Directive| one.is("upstream");
        for upstream in http.inside.iter().filter(servers) {
            let servers: Vec<&str> = upstream.each("server").filter_map(|server| server.word(0)).collect();
            let name = upstream.word(0).unwrap_or_default();
            if servers.len() > 1 {
                let what = format!("upstream {name} has {} servers: the first is carried", servers.len());
                carrier.leave(&[], &what, "several processes are `workers` of one backend with a `command`");
            }
            carrier.upstreams.insert(name, servers);
        }
        let tls =
            |one: &Directive| one.each("listen").any(|listen| listen.words.iter().any(|word| word == "ssl"));
        let (https, plain): (Vec<_>, Vec<_>) = http.each("server").partition(|server| tls(server));
        // What has a certificate says best what a host is for.
        for server in https {
            carrier.server(http, server);
        }
        for server in plain {
            carrier.plain_server(http, server);
        }
    }
    carrier.finished()
}

#[derive(Default)]
struct Carrier<'d> {
    carried: Carried,
    upstreams: Upstreams<'d>,
    /// Upstream and hosts.
    backends: Vec<(String, Vec<String>)>,
    /// Host and path of what is written down.
    placed: BTreeSet<(String, String)>,
}

/// Where something stands.
struct Place<'p> {
    hosts: &'p [String],
    path: &'p str,
    server: &'p Directive,
    location: &'p Directive,
}

impl<'d> Carrier<'d> {
    fn leave(&mut self, hosts: &[String], what: &str, remedy: &str) {
        let what = if hosts.is_empty() { what.to_owned() } else { format!("{}: {what}", hosts.join(", ")) };
        self.carried.leave(what, remedy);
    }

    /// Directives that nothing stands for: their names, and no more.
    fn unknown(&mut self, hosts: &[String], place: &str, block: &Directive) {
        for one in
            block.inside.iter().filter(|one| !remedies::is_silent(&one.name) && !guards::is_guard(&one.name))
        {
            self.leave(hosts, &format!("{place}{}", one.name), remedies::remedy(&one.name));
        }
        for one in block.each("include") {
            let file = one.word(0).unwrap_or_default();
            self.leave(
                hosts,
                &format!("{place}include {file}"),
                "it is not in what was read: give all that `nginx -T` prints",
            );
        }
    }

    fn plain_server(&mut self, http: &'d Directive, server: &'d Directive) {
        if location::only_to_https(server) {
            return;
        }
        let served: Vec<&String> = self.placed.iter().map(|(host, _)| host).collect();
        let names = server.each("server_name").flat_map(|names| names.words.iter());
        let known: Vec<String> = names.filter(|name| served.contains(name)).cloned().collect();
        if known.is_empty() {
            return self.server(http, server);
        }
        self.leave(
            &known,
            "what it does over plain HTTP",
            "the gateway sends plain HTTP on to https: `edge.http_mode`",
        );
    }

    fn server(&mut self, http: &'d Directive, server: &'d Directive) {
        let names: Vec<&String> = server.each("server_name").flat_map(|names| names.words.iter()).collect();
        let hosts: Vec<String> =
            names.iter().map(|name| name.to_ascii_lowercase()).filter(|name| is_host(name)).collect();
        for name in names.iter().filter(|name| !is_host(name) && name.as_str() != "_") {
            self.leave(
                &[],
                &format!("server_name {name}"),
                "name each host; a tenant's are its own (`gateway tenant add`)",
            );
        }
        if hosts.is_empty() {
            let listen: Vec<&str> = server.each("listen").filter_map(|listen| listen.word(0)).collect();
            let what = format!("a server for whatever host (listen {})", listen.join(", "));
            return self.leave(&[], &what, "the gateway answers hosts that it knows, and 421 to others");
        }
        self.certificate(&hosts, server);
        self.unknown(&hosts, "", server);
        self.carried.warn(guards::of_server(&hosts, server));
        if server.each("if").any(|one| {
            !one.inside.iter().any(|one| one.words.iter().any(|word| word.starts_with("https://$")))
        }) {
            self.leave(&hosts, "if", "there are no conditions");
        }
        let main = server.each("location").find(|one| matches!(words(one)[..], ["/"] | ["^~", "/"]));
        let main_path = self
            .location(http, &Place { hosts: &hosts, path: "/", server, location: main.unwrap_or(server) });
        for location in
            server.each("location").filter(|one| main.is_none_or(|main| !std::ptr::eq(*one, main)))
        {
            let path = match words(location)[..] {
                [path] | ["=" | "^~", path] if path.starts_with('/') => path,
                [name] if name.starts_with('@') => continue,
                _ => {
                    let what = format!("location {}", location.words.join(" "));
                    self.leave(&hosts, &what, "there are no regular expressions: name the paths, each with a site or in the application");
                    continue;
                }
            };
            let place = Place { hosts: &hosts, path, server, location };
            let passes = location::does(server, location, path, &self.upstreams);
            if matches!((&passes, &main_path), (Ok(Does::Passes(one)), Some(main)) if one == main) {
                // The whole host is the application's already.
                self.terms(http, &place);
                self.headers(&place, false);
                self.unknown(&hosts, &format!("location {path}: "), location);
                continue;
            }
            self.location(http, &place);
        }
    }

    /// Gives the upstream of the whole host, if that is what it is.
    fn location(&mut self, http: &Directive, place: &Place) -> Option<String> {
        let Place { hosts, path, server, location } = *place;
        let shown = if std::ptr::eq(server, location) { String::new() } else { format!("location {path}: ") };
        if !shown.is_empty() {
            self.unknown(hosts, &shown, location);
        }
        let does = match location::does(server, location, path, &self.upstreams) {
            Ok(does) => does,
            Err((what, remedy)) => {
                self.leave(hosts, &format!("{shown}{what}"), remedy);
                return None;
            }
        };
        let lines = match does {
            Does::Nothing => return None,
            Does::Passes(socket) | Does::FilesThen(socket) if path == "/" && socket.starts_with("unix:") => {
                let what = format!("{shown}an application behind {socket}");
                let why = "let the gateway start it (`command`), or let it listen on a port of 127.0.0.1 (`upstream`)";
                self.leave(hosts, &what, why);
                return None;
            }
            Does::Passes(upstream) | Does::FilesThen(upstream) if path == "/" => {
                if location.of("proxy_pass").is_none() {
                    let why = "give the directories with files a site with `root` and a `path`; the application answers all else";
                    self.leave(hosts, &format!("{shown}files that come before the application"), why);
                }
                self.headers(place, false);
                self.terms(http, place);
                self.backend(hosts, &upstream);
                return Some(upstream);
            }
            Does::FilesThen(_) => {
                let (what, remedy): Why =
                    ("files that come before an application", "give the files a site with `root`");
                self.leave(hosts, &format!("{shown}{what}"), remedy);
                return None;
            }
            Does::Passes(upstream) => {
                let why = "a site has no tenant: an application that serves tenants needs a host of its own, or the whole of this one";
                self.leave(hosts, &format!("{shown}passed on to {upstream}, without tenants"), why);
                self.terms(http, place);
                format!("upstream = {}\n", quoted(&upstream))
            }
            Does::Files { root, fallback, not_found } => {
                let page =
                    |key: &str, page: Option<String>| page.map(|page| format!("{key} = {}\n", quoted(&page)));
                let pages = [page("fallback", fallback), page("not_found", not_found)];
                format!("root = {}\n{}", quoted(&root), pages.into_iter().flatten().collect::<String>())
            }
            Does::Sends { target, status } => format!("redirect = {}\nstatus = {status}\n", quoted(&target)),
        };
        let headers = self.headers(place, true);
        self.site(place, &(lines + &headers));
        None
    }

    fn backend(&mut self, hosts: &[String], upstream: &str) {
        let free: Vec<String> = hosts
            .iter()
            .filter(|host| self.placed.insert(((*host).clone(), String::new())))
            .cloned()
            .collect();
        match self.backends.iter_mut().find(|(known, _)| known == upstream) {
            Some((_, known)) => known.extend(free),
            None => self.backends.push((upstream.to_owned(), free)),
        }
    }

    fn site(&mut self, place: &Place, lines: &str) {
        let path = place.path.trim_end_matches('/');
        if path.contains(['%', '*', '?']) || path.contains("..") || path.contains("//") {
            return self.leave(place.hosts, &format!("location {path}"), "a site's `path` is plain");
        }
        for host in place.hosts {
            if self.placed.insert((host.clone(), path.to_owned())) {
                let of = if path.is_empty() { String::new() } else { format!("path = {}\n", quoted(path)) };
                self.carried.line(format!("[[edge.site]]\nhost = {}\n{of}{lines}", quoted(host)));
            }
        }
    }

    /// Sizes and patience that differ there.
    fn terms(&mut self, http: &Directive, place: &Place) {
        let Place { hosts, path, server, location } = *place;
        let said = |name: &str| {
            location.of(name).or_else(|| server.of(name).or_else(|| http.of(name)).filter(|_| path == "/"))
        };
        let mut lines = String::new();
        if let Some(text) = said("client_max_body_size") {
            match bytes(text) {
                Some(0) | None => self.leave(
                    hosts,
                    "client_max_body_size without a limit",
                    "`[[edge.path]]` with the largest `body_bytes_max` that makes sense",
                ),
                Some(bytes) => lines += &format!("body_bytes_max = {bytes}\n"),
            }
        }
        if let Some(ms) = said("proxy_read_timeout").and_then(milliseconds) {
            lines += &format!("first_byte_timeout = \"{ms}ms\"\n");
        }
        if lines.is_empty() {
            return;
        }
        for host in hosts {
            self.carried.line(format!(
                "[[edge.path]]\nprefix = {}\nhost = {}\n{lines}",
                quoted(path),
                quoted(host)
            ));
        }
    }

    /// Headers of answers for a site; all that can only be told.
    fn headers(&mut self, place: &Place, of_site: bool) -> String {
        let Place { hosts, server, location, .. } = *place;
        let sent = location.each("proxy_set_header").chain(server.each("proxy_set_header"));
        for name in sent.filter_map(|header| header.word(0)).filter(|name| !remedies::is_set(name)) {
            let remedy = match name.to_ascii_lowercase().as_str() {
                "x-real-ip" => "the application reads `x-forwarded-for`, which the gateway sets",
                _ => "the application knows it by itself, or from its environment",
            };
            self.leave(hosts, &format!("proxy_set_header {name}"), remedy);
        }
        // nginx takes the server's only where the location has none.
        let own = if location.each("add_header").next().is_some() { location } else { server };
        let mut kept = Vec::new();
        for header in own.each("add_header") {
            let (Some(name), Some(value)) = (header.word(0), header.word(1)) else { continue };
            let lower = name.to_ascii_lowercase();
            let remedy = match lower.as_str() {
                _ if lower.starts_with("access-control-") => {
                    "CORS is the tenants': `gateway tenant add ID --origin ORIGIN`, `[cors]`"
                }
                "strict-transport-security" => "`[tls.hsts]`",
                _ if !of_site => "let the application say it",
                _ if value.contains('$') || !value.is_ascii() => {
                    "a header with variables has nothing that stands for it"
                }
                _ => {
                    kept.push(format!("{} = {}", quoted(&lower), quoted(value)));
                    continue;
                }
            };
            self.leave(hosts, &format!("add_header {name}"), remedy);
        }
        if kept.is_empty() { String::new() } else { format!("headers = {{ {} }}\n", kept.join(", ")) }
    }

    fn certificate(&mut self, hosts: &[String], server: &Directive) {
        let (Some(cert), Some(key)) = (server.of("ssl_certificate"), server.of("ssl_certificate_key")) else {
            return;
        };
        let first = hosts.first().map_or("HOST", String::as_str);
        let remedy = format!(
            "`gateway cert import {first} --cert {cert} --key {key}`, until the gateway has ordered its own"
        );
        self.leave(hosts, "its certificate", &remedy);
    }

    fn finished(self) -> Carried {
        let Self { mut carried, backends, .. } = self;
        let sites = std::mem::take(&mut carried.config);
        let mut taken = Vec::new();
        for (upstream, hosts) in backends {
            let name = name_of("api", &taken);
            carried.line(format!("[backend.{name}]\nupstream = {}", quoted(&upstream)));
            carried.line(format!("hosts = {}\n", list(hosts.iter().map(String::as_str))));
            taken.push(name);
        }
        carried.config += &sites;
        carried
    }
}

fn words(directive: &Directive) -> Vec<&str> {
    directive.words.iter().map(String::as_str).collect()
}

/// `20m`, `1g`, `512k`, `1024`.
fn bytes(text: &str) -> Option<u64> {
    let unit = match text.to_ascii_lowercase().chars().last()? {
        'k' => 1 << 10,
        'm' => 1 << 20,
        'g' => 1 << 30,
        _ => 1,
    };
    text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).parse::<u64>().ok()?.checked_mul(unit)
}

/// `300`, `300s`, `5m`, `500ms`, `1h`.
fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)? {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|ms| *ms > 0)
}

#[cfg(test)]
mod tests;

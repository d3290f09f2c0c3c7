//! Checks of listeners, limits, open paths and path rules.

use std::net::{IpAddr, SocketAddr};

use super::Check;
use crate::edge::{ForwardingHeader, HttpMode, OpenPath, ProxyProtocol, TlsMode};

/// hyper reads a head into a buffer of at least this much.
const HEADER_BYTES_LEAST: usize = 8 * 1024;

/// A connection's window begins with this many and can only grow (RFC 9113 6.9.2).
const H2_WINDOW_BYTES_LEAST: u32 = 65_535;
/// RFC 9113 6.9.1: 2^31 - 1.
const H2_WINDOW_BYTES_MOST: u32 = 2_147_483_647;

impl Check<'_> {
    pub(super) fn edge(&mut self) {
        let edge = &self.config.edge;
        if edge.https.is_empty() && edge.http.is_empty() {
            let message = "there is no address to listen on, neither here nor in `edge.http`";
            self.contradiction(
                &["edge", "https"],
                &[&["edge", "http"]],
                message,
                "name one, such as [\"[::]:443\"]",
            );
        }
        self.listeners();
        self.plain_http();
        for (index, network) in edge.trusted_proxies.iter().enumerate() {
            if network.to_string().ends_with("/0") {
                let message = "everyone is believed to be a proxy: any caller can forge its address";
                let remedy = "name the proxy's own addresses";
                self.warn(&["edge", "trusted_proxies", &index.to_string()], message, remedy);
            }
        }
        if edge.proxy_protocol != ProxyProtocol::Off && edge.trusted_proxies.is_empty() {
            let message = "nobody is trusted to send a PROXY header: all would be refused as garbage";
            let remedy = "name the load balancer's addresses in `edge.trusted_proxies`";
            self.contradiction(&["edge", "proxy_protocol"], &[&["edge", "trusted_proxies"]], message, remedy);
        }
        if edge.forwarding_header == ForwardingHeader::Forwarded && edge.trusted_proxies.is_empty() {
            let message = "nobody is trusted, so no forwarding header is read";
            let remedy = "name the proxy's addresses in `edge.trusted_proxies`, or leave this out";
            self.warn(&["edge", "forwarding_header"], message, remedy);
        }
        let limits = &edge.limits;
        for (name, bytes_max) in [
            ("header_bytes_max", limits.header_bytes_max),
            ("answer_header_bytes_max", limits.answer_header_bytes_max),
        ] {
            if bytes_max < HEADER_BYTES_LEAST {
                let message = format!("a head needs room for {HEADER_BYTES_LEAST} bytes at least");
                let remedy = format!("write {HEADER_BYTES_LEAST} or more");
                self.problem(&["edge", "limits", name], message, remedy);
            }
        }
        self.connections();
        if edge.admit.client_in_flight_max > edge.admit.tenant_in_flight_max {
            let message = "one client may use more than its whole tenant: it can take the shop down";
            let remedy = "make it smaller than `edge.admit.tenant_in_flight_max`";
            self.warn(&["edge", "admit", "client_in_flight_max"], message, remedy);
        }
        if let Some(path) = &edge.access_log.path
            && edge.access_log.enabled
            && !path.parent().is_some_and(std::path::Path::is_dir)
        {
            let message = format!("there is no directory for {}", path.display());
            self.problem(&["edge", "access_log", "path"], message, "make the directory, or name another");
        }
        self.open_paths();
        self.path_rules();
    }

    fn connections(&mut self) {
        let limits = &self.config.edge.limits;
        if limits.connections_per_client_max > limits.connections_max {
            let message =
                "one client address may open more connections than there are: it can take all of them";
            let remedy = "make it much smaller than `edge.limits.connections_max`";
            self.warn(&["edge", "limits", "connections_per_client_max"], message, remedy);
        }
        for (key, bytes) in [
            ("h2_stream_window_bytes", limits.h2_stream_window_bytes),
            ("h2_connection_window_bytes", limits.h2_connection_window_bytes),
        ] {
            if !(H2_WINDOW_BYTES_LEAST..=H2_WINDOW_BYTES_MOST).contains(&bytes) {
                let message = format!(
                    "HTTP/2 knows windows of {H2_WINDOW_BYTES_LEAST} to {H2_WINDOW_BYTES_MOST} bytes here"
                );
                self.problem(&["edge", "limits", key], message, "write a number in between, such as 1048576");
            }
        }
        if limits.h2_stream_window_bytes > limits.h2_connection_window_bytes {
            let message = "one stream may send more than its whole connection: the rest is never used";
            let remedy = "make it `edge.limits.h2_connection_window_bytes` at most";
            self.warn(&["edge", "limits", "h2_stream_window_bytes"], message, remedy);
        }
        if u32::try_from(limits.h2_send_buffer_bytes_max).is_err() {
            let message = "HTTP/2 counts in 32 bits: no stream can have a buffer of this size";
            self.problem(
                &["edge", "limits", "h2_send_buffer_bytes_max"],
                message,
                "write 65536, or somewhat more",
            );
        }
    }

    fn listeners(&mut self) {
        let config = self.config;
        let lists = [("https", &config.edge.https), ("http", &config.edge.http)];
        let mut all: Vec<(Vec<String>, SocketAddr)> = Vec::new();
        for (list, addresses) in lists {
            for (index, address) in addresses.iter().enumerate() {
                all.push((vec!["edge".into(), list.into(), index.to_string()], *address));
            }
        }
        all.push((vec!["door".into(), "sqlite".into(), "listen".into()], config.door.sqlite.listen));
        let metrics = config.admin.metrics_listen.map(|a| (vec!["admin".into(), "metrics_listen".into()], a));
        all.extend(metrics);
        for (at, (key, address)) in all.iter().enumerate() {
            let Some((other, taken)) = all[..at].iter().find(|(_, earlier)| clash(*earlier, *address)) else {
                continue;
            };
            let parts = |key: &[String]| key.iter().map(String::as_str).take(2).collect::<Vec<_>>().join(".");
            let message = format!("{address} clashes with {taken} of `{}`", parts(other));
            let key: Vec<&str> = key.iter().map(String::as_str).collect();
            let other: Vec<&str> = other.iter().map(String::as_str).collect();
            self.contradiction(&key, &[&other], message, "give each a port of its own");
        }
    }

    fn plain_http(&mut self) {
        let config = self.config;
        let outside = |list: &[SocketAddr]| list.iter().any(|address| !is_loopback(address.ip()));
        let tls_off = config.tls.mode == TlsMode::Off;
        match config.edge.http_mode {
            HttpMode::Serve if !tls_off && outside(&config.edge.http) => self.warn(
                &["edge", "http_mode"],
                "requests and cookies cross the network unencrypted on `edge.http`",
                "use \"redirect\", or loopback addresses in `edge.http` for development",
            ),
            HttpMode::Redirect if tls_off && !config.edge.http.is_empty() => self.warn(
                &["edge", "http_mode"],
                "plain HTTP is sent on to https, which this gateway does not speak with `tls.mode = \"off\"`",
                "set `edge.http = []`, or `edge.http_mode = \"serve\"`, unless the proxy in front speaks https",
            ),
            _ => {}
        }
        if tls_off && outside(&config.edge.https) {
            let message = "`edge.https` speaks plain HTTP here, and to the whole network";
            self.warn(
                &["tls", "mode"],
                message,
                "listen on loopback addresses, or on a network of the proxy's own",
            );
        }
        if config.tls.mode == TlsMode::Local && outside(&config.edge.https) {
            let message = "the local CA is for development: no visitor's browser knows it";
            let remedy = "use \"acme\", or \"files\" with certificates from a public CA";
            self.warn(&["tls", "mode"], message, remedy);
        }
    }

    fn open_paths(&mut self) {
        let open = &self.config.edge.open;
        for (index, rule) in open.iter().enumerate() {
            let index = index.to_string();
            let key = |last| ["edge", "open", index.as_str(), last];
            let body = rule.path.strip_suffix("/*").unwrap_or(&rule.path);
            if !rule.path.starts_with('/')
                || body.contains(['*', '?', '#'])
                || body.contains(char::is_whitespace)
            {
                let message = "a path begins with `/`, and is exact or ends in `/*`";
                self.problem(&key("path"), message, "write it like \"/webhooks/stripe\" or \"/webhooks/*\"");
            }
            for method in &rule.methods {
                let known = http::Method::from_bytes(method.as_bytes()).is_ok();
                if !known || method.bytes().any(|b| b.is_ascii_lowercase()) {
                    let message = format!("`{method}` is no method: they are case-sensitive");
                    self.problem(&key("methods"), message, "write methods in capitals, such as [\"POST\"]");
                }
            }
            if let Some((message, remedy)) = selector_problem(rule) {
                self.problem(&key("tenant"), message, remedy);
            }
            let same = |other: &&OpenPath| other.path == rule.path && overlap(&other.methods, &rule.methods);
            if open.iter().take_while(|other| !std::ptr::eq(*other, rule)).any(|other| same(&other)) {
                let message = "another `[[edge.open]]` has this path and a method of it already";
                self.problem(&key("path"), message, "keep one of the two, or tell them apart by `methods`");
            }
        }
    }

    fn path_rules(&mut self) {
        let rules = &self.config.edge.path;
        for (index, rule) in rules.iter().enumerate() {
            let key = ["edge", "path", &index.to_string(), "prefix"].map(str::to_owned);
            let key: Vec<&str> = key.iter().map(String::as_str).collect();
            if !rule.prefix.starts_with('/') || rule.prefix.contains(['*', '?', '#']) {
                let message = "a prefix begins with `/` and has no wildcard";
                self.problem(&key, message, "write it like \"/assets/\"");
            }
            if rules[..index].iter().any(|other| other.prefix == rule.prefix && other.host == rule.host) {
                self.problem(&key, "another `[[edge.path]]` has this prefix already", "keep one of the two");
            }
        }
    }
}

/// Would binding the second fail, or take the first one's connections? Port 0 is a free one each time.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let one_is_all = a.ip().is_unspecified() || b.ip().is_unspecified();
    let same_place = a.ip() == b.ip() || (one_is_all && a.is_ipv4() == b.is_ipv4());
    a.port() != 0 && a.port() == b.port() && same_place
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn overlap(a: &[String], b: &[String]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|method| b.contains(method))
}

/// `path:N`, `header:NAME`, `host` or `none`.
fn selector_problem(rule: &OpenPath) -> Option<(String, &'static str)> {
    let (word, argument) = match rule.tenant.split_once(':') {
        Some((word, argument)) => (word, Some(argument)),
        None => (rule.tenant.as_str(), None),
    };
    match (word, argument) {
        ("host" | "none", None) => None,
        ("path", Some(number)) => match number.parse::<u8>() {
            Ok(1..) if rule.path.ends_with("/*") => None,
            Ok(1..) => Some((
                "`path:N` counts segments after the prefix, but this path is exact".to_owned(),
                "end `path` in `/*`, or name the tenant by header or host",
            )),
            _ => Some((
                "`path:N` counts from 1".to_owned(),
                "write \"path:1\" for the first segment after the prefix",
            )),
        },
        ("header", Some(name)) => match http::HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) if name.as_str().starts_with("x-gateway-") => Some((
                "every inbound `x-gateway-*` is stripped, so nobody can name a tenant with it".to_owned(),
                "use another header, such as \"header:x-shop\"",
            )),
            Ok(_) => None,
            Err(_) => Some((format!("`{name}` is no header name"), "write it like \"header:x-shop\"")),
        },
        _ => Some((
            "this names no tenant".to_owned(),
            "write \"path:1\", \"header:NAME\", \"host\" or \"none\"",
        )),
    }
}

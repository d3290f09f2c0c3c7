//! What a `location` does: passes on, shows files, or sends elsewhere. Pure; what cannot be carried is an error with its
//! remedy.

use std::collections::BTreeMap;

use super::parse::Directive;

/// What it does, in our words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Does {
    /// Passes on to this upstream.
    Passes(String),
    /// Files first, and what is none to this upstream.
    FilesThen(String),
    /// Shows files.
    Files { root: String, fallback: Option<String>, not_found: Option<String> },
    /// Sends callers elsewhere.
    Sends { target: String, status: String },
    /// Nothing of its own.
    Nothing,
}

/// The servers of an `upstream` block.
pub(super) type Upstreams<'d> = BTreeMap<&'d str, Vec<&'d str>>;

/// What could not be carried, and what to do about it.
pub(super) type Why = (&'static str, &'static str);

/// What a location of this server does at this path.
pub(super) fn does(
    server: &Directive,
    location: &Directive,
    path: &str,
    upstreams: &Upstreams,
) -> Result<Does, Why> {
    if let Some(target) = location.of("proxy_pass") {
        return upstream(target, path, upstreams).map(Does::Passes);
    }
    if let Some(sent) = location.each("return").next() {
        return sends(sent);
    }
    let inherited = |name: &str| location.of(name).or_else(|| server.of(name));
    let tried = location.each("try_files").next().or_else(|| server.each("try_files").next());
    let last = tried.and_then(|tried| tried.words.last()).map(String::as_str);
    if let Some(name) = last.filter(|last| last.starts_with('@')) {
        let named = server.each("location").find(|location| location.word(0) == Some(name));
        let target = named.and_then(|named| named.of("proxy_pass")).ok_or((
            "try_files with a location that passes nothing on",
            "give the files a site with `root` and a `path`",
        ))?;
        return upstream(target, "/", upstreams).map(Does::FilesThen);
    }
    let missing = location.each("error_page").chain(server.each("error_page"));
    let not_found =
        missing.filter(|page| page.words.iter().any(|word| word == "404")).find_map(|page| page.words.last());
    let page = |page: &str| page.starts_with('/') && !page.contains(['$', '?']) && !page.ends_with('/');
    let fallback = last.filter(|last| page(last)).map(str::to_owned);
    let not_found = not_found.filter(|last| page(last)).cloned();
    // `root` goes before the path, `alias` in its place.
    let root = match (location.of("alias"), inherited("root")) {
        (Some(alias), _) => alias.trim_end_matches('/').to_owned(),
        (None, Some(root)) => format!("{}{}", root.trim_end_matches('/'), path.trim_end_matches('/')),
        (None, None) => return Ok(Does::Nothing),
    };
    // Without a root of its own it shows what the server shows anyway.
    let own = ["alias", "root", "try_files"].iter().any(|name| location.of(name).is_some());
    if path != "/" && !own {
        return Ok(Does::Nothing);
    }
    if root.contains('$') {
        return Err(("a root with variables", "name one directory a site"));
    }
    Ok(Does::Files { root, fallback, not_found })
}

/// Does this server only send plain HTTP on to https? `edge.http` does that by itself.
pub(super) fn only_to_https(server: &Directive) -> bool {
    let leads = |one: &Directive| {
        let same = ["https://$host", "https://$server_name", "https://$http_host"];
        one.words.iter().any(|word| same.iter().any(|same| word.starts_with(same)))
    };
    let leading = |one: &&Directive| match one.name.as_str() {
        "return" | "rewrite" => leads(one),
        "if" => one.inside.iter().all(leads),
        "location" => one.inside.iter().any(|inside| inside.is("return") && leads(inside)),
        _ => false,
    };
    // certbot writes `return 404` after its `if`.
    let end = |one: &&Directive| one.is("return") && one.word(0) == Some("404");
    let acts = ["return", "rewrite", "if", "location", "proxy_pass", "root"];
    let acting: Vec<&Directive> =
        server.inside.iter().filter(|one| acts.contains(&one.name.as_str())).collect();
    // The challenges of certificates are the gateway's own.
    let challenge = |one: &&Directive| {
        one.is("location") && one.words.iter().any(|word| word.contains(".well-known/acme"))
    };
    acting.iter().any(leading)
        && acting.iter().all(|one| leading(one) || end(one) || challenge(one) || one.is("root"))
}

/// `http://127.0.0.1:3000`, `http://unix:/run/app.sock`, or `http://NAME` of an `upstream` block.
fn upstream(target: &str, path: &str, upstreams: &Upstreams) -> Result<String, Why> {
    let Some(rest) = target.strip_prefix("http://") else {
        return Err((
            "an upstream that is not reached over http://",
            "an upstream is reached over plain HTTP",
        ));
    };
    let rewritten =
        ("a path that is changed on its way", "let the application serve the path that browsers ask for");
    if let Some(socket) = rest.strip_prefix("unix:") {
        let (socket, after) = socket.split_once(':').unwrap_or((socket, ""));
        return if after.is_empty() || (after == "/" && path == "/") {
            Ok(format!("unix:{socket}"))
        } else {
            Err(rewritten)
        };
    }
    let (authority, after) =
        rest.split_once('/').map_or((rest, None), |(authority, after)| (authority, Some(after)));
    if authority.contains('$') {
        return Err(("an upstream that a variable names", "name it"));
    }
    if authority.contains('@') {
        return Err(("an upstream with a password", "let the application trust what comes over loopback"));
    }
    // What follows is put in the place of the location's path, which the gateway never does.
    if after.is_some_and(|after| !after.is_empty() || path != "/") {
        return Err(rewritten);
    }
    let server = upstreams.get(authority).and_then(|servers| servers.first().copied());
    Ok(match server.unwrap_or(authority) {
        socket if socket.starts_with("unix:") => socket.to_owned(),
        one if one.contains(':') => format!("http://{one}"),
        one => format!("http://{one}:80"),
    })
}

fn sends(sent: &Directive) -> Result<Does, Why> {
    let (status, target) = match (sent.word(0), sent.word(1)) {
        (Some(status @ ("301" | "302" | "307" | "308")), Some(target)) => (status, target),
        // `return https://…` is a 302.
        (Some(target), None) if target.starts_with("http") => ("302", target),
        _ => return Err(("a fixed answer", "let the application or a file give it")),
    };
    // The query goes along by itself.
    let target =
        target.replace("$request_uri", "{path}").replace("$uri", "{path}").replace("$is_args$args", "");
    let target = target.replace("$scheme://", "https://");
    if target.contains('$') {
        return Err(("a redirect with variables", "a site's `redirect` knows `{path}` and `{rest}`"));
    }
    Ok(Does::Sends { target, status: status.to_owned() })
}

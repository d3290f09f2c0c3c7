//! What nginx keeps callers out with, and the gateway does not: each such path is open to everybody after moving, which must be
//! said louder than that a directive was not carried. Pure. Names of directives are told, never what stands behind them.

use super::{super::Left, parse::Directive};

/// Directives that keep callers out unless their first word says `off`.
const SWITCHED: [&str; 9] = [
    "auth_basic",
    "auth_digest",
    "auth_jwt",
    "auth_oidc",
    "auth_request",
    "secure_link",
    "secure_link_secret",
    "ssl_verify_client",
    "valid_referers",
];

/// Those that do so by being there. Of `allow` and `deny` the latter keeps out; `allow` alone lets in whom nginx lets in anyway.
const PRESENT: [&str; 6] =
    ["access_by_lua", "access_by_lua_block", "access_by_lua_file", "deny", "internal", "limit_except"];

/// Those that slow callers down.
const LIMITS: [&str; 2] = ["limit_conn", "limit_req"];

/// What belongs to one of them, and says nothing alone.
const COMPANIONS: [&str; 8] = [
    "allow",
    "auth_basic_user_file",
    "auth_delay",
    "auth_jwt_key_file",
    "auth_request_set",
    "satisfy",
    "secure_link_md5",
    "ssl_client_certificate",
];

/// What a fixed answer says to keep callers out. 404 too: what is not there for anybody may be there for the application.
const REFUSALS: [&str; 6] = ["401", "403", "404", "405", "410", "444"];

/// Is all that is to be said about it said here?
pub(super) fn is_guard(directive: &str) -> bool {
    let lists: [&[&str]; 4] = [&SWITCHED, &PRESENT, &LIMITS, &COMPANIONS];
    lists.iter().any(|list| list.contains(&directive))
}

/// Is a location, or all of its server, kept from people? Slowing them down is not that, nor is a server's condition, which is
/// mostly about robots.
pub(super) fn keeps_out(server: &Directive, location: &Directive) -> bool {
    let of = |block: &Directive, is_location: bool| {
        let names = block.inside.iter().filter_map(|one| guard(one, is_location));
        names.into_iter().any(|name| !LIMITS.contains(&name) && (is_location || name != "if"))
    };
    of(location, !std::ptr::eq(server, location)) || of(server, false)
}

/// Is this condition one that keeps callers out, and told as such?
pub(super) fn refuses_some(condition: &Directive) -> bool {
    guard(condition, true).is_some()
}

/// Of what stands above all servers.
pub(super) fn everywhere(http: &Directive) -> Vec<Left> {
    warnings("every host", http, false)
}

/// Of a server and all that it holds.
pub(super) fn of_server(hosts: &[String], server: &Directive) -> Vec<Left> {
    let hosts = hosts.join(", ");
    let mut found = warnings(&hosts, server, false);
    below(&hosts, server, &mut found);
    found
}

fn below(hosts: &str, block: &Directive, found: &mut Vec<Left>) {
    for location in
        block.each("location").filter(|one| one.word(0).is_some_and(|word| !word.starts_with('@')))
    {
        found.extend(warnings(&format!("{hosts}: {}", location.words.join(" ")), location, true));
        below(hosts, location, found);
    }
}

fn warnings(place: &str, block: &Directive, of_location: bool) -> Vec<Left> {
    let mut names: Vec<&str> = block.inside.iter().filter_map(|one| guard(one, of_location)).collect();
    names.dedup();
    let mut found: Vec<Left> = Vec::new();
    for name in names {
        let what = match LIMITS.contains(&name) {
            true => format!(
                "{place} is open to everybody as often as they like after moving: nginx has `{name}` for it"
            ),
            false => format!(
                "{place} is open to everybody after moving: nginx keeps callers out of it with `{name}`"
            ),
        };
        let warning = Left { what, remedy: remedy(name).to_owned() };
        if !found.contains(&warning) {
            found.push(warning);
        }
    }
    found
}

/// Its name, if it keeps callers out.
fn guard(one: &Directive, of_location: bool) -> Option<&str> {
    let name = one.name.as_str();
    let refuses =
        |one: &Directive| one.is("return") && one.word(0).is_some_and(|status| REFUSALS.contains(&status));
    let keeps = match name {
        // A server's own is for who asks it for nothing that it has.
        "return" => of_location && refuses(one),
        "if" => one.inside.iter().any(|inside| refuses(inside) && inside.word(0) != Some("404")),
        _ if SWITCHED.contains(&name) => one.word(0) != Some("off"),
        _ => PRESENT.contains(&name) || LIMITS.contains(&name),
    };
    keeps.then_some(name)
}

fn remedy(guard: &str) -> &'static str {
    match guard {
        "deny" => {
            "let the application look at `x-forwarded-for`, which the gateway sets, before you move; `gateway firewall deny` keeps an \
             address out of everything"
        }
        "ssl_verify_client" => {
            "the gateway asks nobody for a certificate: let the application ask for a key or a password before you move"
        }
        "limit_req" | "limit_conn" => {
            "`[edge.admit]` limits each client over all its paths (docs/limits.md); what needs a limit of its own, as a login does, is \
             limited by the application"
        }
        "internal" | "if" | "return" | "limit_except" => "let the application refuse it before you move",
        _ => "the gateway asks nobody for a password: let the application do so before you move",
    }
}

#[cfg(test)]
mod tests {
    use super::{super::nginx, *};

    /// One server for `a.example` with these lines is warned of like this, and no guard is told as not carried.
    fn check(lines: &str, want: &[&str]) {
        let main = "location / { proxy_pass http://127.0.0.1:3000; }";
        let carried = nginx(&format!("server {{ listen 443 ssl; server_name a.example; {main} {lines} }}"));
        let is: Vec<&str> = carried.warnings.iter().map(|warning| warning.what.as_str()).collect();
        assert_eq!(is.len(), want.len(), "{lines}: {is:?}");
        for (is, want) in is.iter().zip(want) {
            assert!(is.starts_with(want), "{lines}: {is}");
        }
        let guards = carried.left.iter().filter(|left| left.what.split(' ').any(is_guard));
        assert_eq!(guards.count(), 0, "{lines}: {:?}", carried.left);
    }

    #[test]
    fn each_path_that_is_open_after_moving_is_warned_of() {
        let open = |place: &str, guard: &str| {
            format!(
                "a.example{place} is open to everybody after moving: nginx keeps callers out of it with `{guard}`"
            )
        };
        for (lines, place, guard) in [
            ("auth_basic staff; auth_basic_user_file /etc/x;", "", "auth_basic"),
            ("satisfy any; allow 10.0.0.0/8; deny all;", "", "deny"),
            ("ssl_verify_client on;", "", "ssl_verify_client"),
            ("location /admin { auth_basic staff; }", ": /admin", "auth_basic"),
            ("location /a { location /a/b { deny all; } }", ": /a/b", "deny"),
            ("location ~ /\\. { deny all; }", ": ~ /\\.", "deny"),
            ("location /x { auth_request /auth; }", ": /x", "auth_request"),
            ("location = /auth { internal; proxy_pass http://127.0.0.1:3000; }", ": = /auth", "internal"),
            ("location /w { limit_except GET { deny all; } }", ": /w", "limit_except"),
            ("location /hidden { return 403; }", ": /hidden", "return"),
            ("if ($http_x_key != hunter2) { return 403; }", "", "if"),
        ] {
            check(lines, &[&open(place, guard)]);
        }
        check(
            "location /login { limit_req zone=one burst=5; }",
            &[
                "a.example: /login is open to everybody as often as they like after moving: nginx has `limit_req`",
            ],
        );
        check("auth_basic a; location /b { deny all; }", &[&open("", "auth_basic"), &open(": /b", "deny")]);
        let whole =
            nginx("http { auth_basic x; server { listen 443 ssl; server_name a.example; root /srv; } }");
        assert!(whole.warnings[0].what.starts_with("every host is open"), "{:?}", whole.warnings);
    }

    #[test]
    fn what_keeps_nobody_out_is_no_warning() {
        check("location /public { auth_basic off; }", &[]);
        check("location /public { auth_request off; allow all; }", &[]);
        check("ssl_verify_client off;", &[]);
        check("location /old { return 301 https://b.example/; }", &[]);
        check("auth_basic_user_file /etc/x;", &[]);
    }
}

//! No page gives orders. The admin socket has no browser for a caller; but people lead it to a port of their own machine
//! (`ssh -L 7070:/run/gateway/admin.sock`), and then every page that their browser has open can send to it, with the
//! rights of whoever leads it. What comes from a browser is refused whatever it asks for.

use std::net::IpAddr;

use http::{HeaderMap, header};

use super::Problem;

/// The code of a request that a browser has sent.
const FROM_A_BROWSER: &str = "from-a-browser";

/// The problem of a request that a browser has sent, if one has.
pub(super) fn refusal(headers: &HeaderMap) -> Option<Problem> {
    let sign = sign(headers)?;
    let detail = format!("the request has {sign}, so a browser has sent it, and pages may not give orders");
    Some(
        Problem::new(403, FROM_A_BROWSER, detail)
            .hint("for a page with everything on it: `gateway dashboard`"),
    )
}

/// What gives a browser away. Browsers send `Sec-Fetch-*` to loopback and `Origin` with everything that can change
/// something. A page's own host name with which it has been led here (DNS rebinding) is one that somebody could
/// register: no program of ours and no curl asks for such a one over a Unix socket.
fn sign(headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key(header::ORIGIN) {
        return Some("the header `Origin`");
    }
    if headers.keys().any(|name| name.as_str().starts_with("sec-fetch-")) {
        return Some("a header `Sec-Fetch-*`");
    }
    let named = |host: &http::HeaderValue| !host.to_str().is_ok_and(is_of_this_machine);
    headers.get_all(header::HOST).iter().any(named).then_some("the name of a site in `Host`")
}

/// Is it no name that could be registered: one label, or a loopback address?
fn is_of_this_machine(host: &str) -> bool {
    let name = without_port(host);
    match name.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => !name.contains(['.', ':', '/', '@']),
    }
}

/// Is it `localhost` or a loopback address, as browsers are led to this machine?
pub(super) fn is_loopback(host: &str) -> bool {
    let name = without_port(host);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The name or address of a `Host`.
fn without_port(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &str)], refused: bool) {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let problem = refusal(&headers);
        assert_eq!(problem.is_some(), refused, "{headers:?}");
        if let Some(problem) = problem {
            assert_eq!((problem.status, problem.code.as_str()), (403, FROM_A_BROWSER));
            assert!(problem.hint.unwrap().contains("`gateway dashboard`"));
        }
    }

    #[test]
    fn what_a_browser_sends_is_refused_and_what_programs_send_is_not() {
        check(&[], false);
        check(&[("host", "gateway"), ("te", "trailers"), ("content-type", "application/json")], false);
        check(&[("host", "localhost"), ("user-agent", "curl/8.0")], false);
        check(&[("host", "127.0.0.1:7070")], false);
        check(&[("host", "[::1]:7070")], false);
        check(&[("host", "localhost"), ("origin", "https://evil.example")], true);
        check(&[("host", "localhost"), ("origin", "null")], true);
        check(&[("host", "localhost"), ("sec-fetch-site", "none")], true);
        check(&[("host", "localhost"), ("sec-fetch-mode", "navigate")], true);
        check(&[("host", "rebound.example")], true);
        check(&[("host", "rebound.example:7070")], true);
        check(&[("host", "192.0.2.1")], true);
        check(&[("host", "gateway"), ("host", "rebound.example")], true);
    }

    #[test]
    fn this_machine_has_these_names_for_a_browser() {
        for host in ["127.0.0.1:7070", "localhost:7070", "LocalHost:1", "[::1]:7070", "127.0.0.1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "1host:7070",
            "localhost.example:7070",
            "[::2]:7070",
            "1.2.3.4:7070",
            "evil@127.0.0.1:1",
            "",
            ":1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}

//! Which worker a request belongs to, for a backend that is `sticky`. It must never send anybody to a worker that is
//! not there: a home is a wish, and the roster knows who can fulfil it.

use std::hash::{BuildHasher, RandomState};

use http::{HeaderMap, HeaderValue, header};

use crate::backend::{Home, Sticky};

use super::super::{authority::Scheme, serve::Exchange, settings::Route};

/// The cookie's name and what follows it. Its value means nothing but "the same as before": an id, and how many slots
/// there were when it was given, among which it stays, so that a new worker takes nobody's session away.
const COOKIE: &str = "gateway-worker=";

/// Digits of the id.
const ID_DIGITS: usize = 16;

/// Digits of the number of slots.
const SLOTS_DIGITS: usize = 4;

/// Where a request is at home, and the cookie that will bring the next one there.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) home: Home,
    pub(super) cookie: Option<HeaderValue>,
}

/// Where this request is at home; none: anywhere.
pub(super) fn bound(route: &Route, exchange: &Exchange, lane: &str, headers: &HeaderMap) -> Option<Bound> {
    let home = match route.sticky? {
        Sticky::Client => Home::of(exchange.client.address),
        Sticky::Tenant if lane.is_empty() => return None,
        Sticky::Tenant => Home::of(lane),
        Sticky::Cookie => {
            if let Some(home) = value(headers).and_then(home) {
                return Some(Bound { home, cookie: None });
            }
            // Any value that others do not have: it opens nothing.
            let id = RandomState::new().hash_one(exchange.record.id().as_str());
            let value = format!("{id:0ID_DIGITS$x}{:0SLOTS_DIGITS$x}", route.roster.slots());
            let cookie = HeaderValue::from_str(&cookie(&value, exchange.client.scheme)).ok();
            return home(&value).map(|home| Bound { home, cookie });
        }
    };
    Some(Bound { home, cookie: None })
}

/// Where a cookie of this value leads to; none, if it is none of ours.
fn home(value: &str) -> Option<Home> {
    let ours = value.len() == ID_DIGITS + SLOTS_DIGITS && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (id, slots) = ours.then(|| value.split_at(ID_DIGITS))?;
    Some(Home::of(id).among(u16::from_str_radix(slots, 16).ok()?))
}

/// Pages of other origins send it only with `SameSite=None`, which browsers take only with `Secure`; those that keep no
/// cookies of third parties keep it for the page's own site alone (`Partitioned`), which is all that it is for.
fn cookie(value: &str, scheme: Scheme) -> String {
    let rest = match scheme {
        Scheme::Https => "; Path=/; HttpOnly; Secure; SameSite=None; Partitioned",
        Scheme::Http => "; Path=/; HttpOnly; SameSite=Lax",
    };
    [COOKIE, value, rest].concat()
}

/// The value that the client sends.
fn value(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).map(str::trim);
    pairs.find_map(|pair| pair.strip_prefix(COOKIE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], want: Option<&str>) {
        let lines = lines.iter().map(|line| (header::COOKIE, HeaderValue::from_str(line).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(name, line);
        }
        assert_eq!(value(&headers).filter(|value| home(value).is_some()), want);
    }

    #[test]
    fn the_cookie_is_found_among_others_and_only_as_we_write_it() {
        check(&["a=b; gateway-worker=0123456789abcdef0003; c=d"], Some("0123456789abcdef0003"));
        check(&["a=b", "gateway-worker=0123456789abcdef0003"], Some("0123456789abcdef0003"));
        check(&["gateway-worker=0123456789abcdef"], None);
        check(&["gateway-worker=api/0"], None);
        check(&["xgateway-worker=0123456789abcdef"], None);
        check(&[], None);
    }

    #[test]
    fn over_tls_the_cookie_reaches_pages_of_other_origins() {
        assert!(cookie("00", Scheme::Https).ends_with("Secure; SameSite=None; Partitioned"));
        assert!(!cookie("00", Scheme::Http).contains("Secure"));
    }
}

//! Which worker a request belongs to, for a backend that is `sticky`. It must never send anybody to a worker that is
//! not there: a home is a wish, and the roster knows who can fulfil it.

use std::hash::{BuildHasher, RandomState};

use http::{HeaderMap, HeaderValue, header};

use crate::backend::{Home, Sticky};

use super::super::{authority::Scheme, serve::Exchange};

/// The cookie's name and what follows it. Its value means nothing but "the same as before".
const COOKIE: &str = "gateway-worker=";

/// Digits of its value.
const DIGITS: usize = 16;

/// Where a request is at home, and the cookie that will bring the next one there.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) home: Home,
    pub(super) cookie: Option<HeaderValue>,
}

/// Where this request is at home; none: anywhere.
pub(super) fn bound(
    sticky: Option<Sticky>,
    exchange: &Exchange,
    lane: &str,
    headers: &HeaderMap,
) -> Option<Bound> {
    let home = match sticky? {
        Sticky::Client => Home::of(exchange.client.address),
        Sticky::Tenant if lane.is_empty() => return None,
        Sticky::Tenant => Home::of(lane),
        Sticky::Cookie => {
            if let Some(value) = value(headers) {
                return Some(Bound { home: Home::of(value), cookie: None });
            }
            // Any value that others do not have: it opens nothing.
            let value = format!("{:016x}", RandomState::new().hash_one(exchange.record.id().as_str()));
            let cookie = HeaderValue::from_str(&cookie(&value, exchange.client.scheme)).ok();
            return Some(Bound { home: Home::of(value.as_str()), cookie });
        }
    };
    Some(Bound { home, cookie: None })
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

/// The value that the client sends, if it can be one of ours.
fn value(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).map(str::trim);
    let value = pairs.find_map(|pair| pair.strip_prefix(COOKIE))?;
    (value.len() == DIGITS && value.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(value)
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
        assert_eq!(value(&headers), want);
    }

    #[test]
    fn the_cookie_is_found_among_others_and_only_as_we_write_it() {
        check(&["a=b; gateway-worker=0123456789abcdef; c=d"], Some("0123456789abcdef"));
        check(&["a=b", "gateway-worker=0123456789abcdef"], Some("0123456789abcdef"));
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

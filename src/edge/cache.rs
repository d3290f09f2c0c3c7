//! Caches must not mix tenants, and CDNs ignore `Vary: Origin`: an answer whose tenant came from the Origin
//! header is never left for a shared cache, unless the path's rule says so.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::config::CacheRule;

const PRIVATE_NO_CACHE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Headers that speak to shared caches over `Cache-Control`'s head (RFC 9213 and the older ones).
const FOR_SHARED_CACHES: [HeaderName; 2] =
    [HeaderName::from_static("cdn-cache-control"), HeaderName::from_static("surrogate-control")];

/// Keep shared caches from storing this answer.
pub(crate) fn protect(rule: CacheRule, headers: &mut HeaderMap) {
    if rule == CacheRule::Shared {
        return;
    }
    for name in &FOR_SHARED_CACHES {
        headers.remove(name);
    }
    let mut values = headers.get_all(header::CACHE_CONTROL).iter();
    let protected = match (values.next(), values.next()) {
        (None, _) => PRIVATE_NO_CACHE,
        (Some(only), None) if is_private(only) => return,
        _ => made_private(headers),
    };
    headers.insert(header::CACHE_CONTROL, protected);
}

/// May a shared cache keep this answer and give it to others? Where it does not say so, a path whose rule leaves answers to
/// such caches says it.
pub(crate) fn is_for_others(rule: CacheRule, headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    let directives = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let (mut said, mut fresh) = (false, false);
    for directive in directives {
        let name = directive.split('=').next().unwrap_or("").trim();
        let is = |words: &[&str]| words.iter().any(|word| name.eq_ignore_ascii_case(word));
        if is(&["private", "no-store"]) {
            return false;
        }
        said = true;
        fresh |= is(&["public", "s-maxage", "max-age"]);
    }
    let told = fresh || FOR_SHARED_CACHES.iter().any(|name| headers.contains_key(name));
    told || (rule == CacheRule::Shared && !said) || (!said && headers.contains_key(header::EXPIRES))
}

/// The usual values of APIs, which need no work.
fn is_private(value: &HeaderValue) -> bool {
    matches!(value.as_bytes(), b"no-store" | b"private" | b"private, no-cache")
}

/// The same directives without those for shared caches, and `private` among them.
fn made_private(headers: &HeaderMap) -> HeaderValue {
    let mut text = String::from("private");
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    for directive in values.flat_map(|value| value.to_str().unwrap_or("no-store").split(',')).map(str::trim) {
        let name = directive.split('=').next().unwrap_or("").trim_end();
        // `private="x"` protects one header only, so it is replaced by the bare word too.
        let for_shared = ["public", "s-maxage", "proxy-revalidate", "private", ""];
        if !for_shared.iter().any(|word| name.eq_ignore_ascii_case(word)) {
            text.push_str(", ");
            text.push_str(directive);
        }
    }
    HeaderValue::try_from(text).unwrap_or(PRIVATE_NO_CACHE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: CacheRule, before: &[&'static str], after: &[&str]) {
        let mut headers = HeaderMap::new();
        for value in before {
            headers.append(header::CACHE_CONTROL, HeaderValue::from_static(value));
        }
        protect(rule, &mut headers);
        let got: Vec<_> = headers.get_all(header::CACHE_CONTROL).iter().collect();
        assert_eq!(got, after, "{before:?}");
    }

    #[test]
    fn an_answer_to_a_page_is_never_left_for_a_shared_cache() {
        for (before, after) in [
            (&[][..], "private, no-cache"),
            (&["no-store"], "no-store"),
            (&["private"], "private"),
            (&["public"], "private"),
            (&["public, max-age=60"], "private, max-age=60"),
            (&["Public,S-MaxAge=60, max-age=5"], "private, max-age=5"),
            (&["max-age=60"], "private, max-age=60"),
            (&["s-maxage=9"], "private"),
            (&["private=\"x\", max-age=1"], "private, max-age=1"),
            (&["public", "max-age=60"], "private, max-age=60"),
            (&["no-cache, s-maxage = 3"], "private, no-cache"),
        ] {
            check(CacheRule::Private, before, &[after]);
        }
    }

    #[test]
    fn a_shared_path_keeps_what_the_backend_says() {
        check(CacheRule::Shared, &["public, s-maxage=60"], &["public, s-maxage=60"]);
        check(CacheRule::Shared, &[], &[]);
    }

    #[test]
    fn headers_for_cdns_go_too() {
        let mut headers = HeaderMap::new();
        headers.insert("cdn-cache-control", HeaderValue::from_static("max-age=60"));
        headers.insert("surrogate-control", HeaderValue::from_static("max-age=60"));
        protect(CacheRule::Private, &mut headers);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn what_a_shared_cache_may_give_to_others_is_known() {
        let is = |rule, lines: &[(&'static str, &'static str)]| {
            let line = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            is_for_others(rule, &lines.iter().map(line).collect())
        };
        for (lines, private, shared) in [
            (&[][..], false, true),
            (&[("cache-control", "public, max-age=60")], true, true),
            (&[("cache-control", "Max-Age=60")], true, true),
            (&[("cache-control", "private, max-age=60")], false, false),
            (&[("cache-control", "no-store")], false, false),
            (&[("cache-control", "no-cache")], false, false),
            (&[("cdn-cache-control", "max-age=60")], true, true),
            (&[("expires", "Thu, 01 Dec 2033 16:00:00 GMT")], true, true),
        ] {
            assert_eq!(is(CacheRule::Private, lines), private, "{lines:?}");
            assert_eq!(is(CacheRule::Shared, lines), shared, "{lines:?}");
        }
    }
}

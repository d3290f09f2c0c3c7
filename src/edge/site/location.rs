//! Where a redirecting site sends its callers. The target's host is the operator's alone: nothing that a caller
//! writes must ever end up in front of the path.

use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use super::super::{body::Body, refusal::Refusal};

/// Browsers keep a redirect without this for good; an hour lets a mistake be mended.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("max-age=3600");

/// A target, such as `https://www.acme.example{path}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pieces: Vec<Piece>,
    status: StatusCode,
    /// The target has a query of its own, so the request's is left out.
    has_query: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The request's path.
    Path,
    /// What of it follows the site's own path.
    Rest,
}

impl Location {
    /// Parse a target, or say what is wrong with it.
    pub(crate) fn parse(text: &str, status: u16) -> Result<Self, String> {
        let after_scheme = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let after_scheme = after_scheme.ok_or("a target is absolute: it begins with https:// or http://")?;
        let end = after_scheme.find(['/', '?', '#', '{']).unwrap_or(after_scheme.len());
        let (authority, tail) = after_scheme.split_at(end);
        if url::Url::parse(&format!("https://{authority}/")).is_err() || authority.contains('@') {
            return Err(format!("`{authority}` is no host"));
        }
        let mut pieces = vec![Piece::Text(text[..text.len() - tail.len()].to_owned())];
        let mut left = tail;
        while let Some(open) = left.find('{') {
            let (before, from) = left.split_at(open);
            let (word, after) = from[1..].split_once('}').ok_or("a `{` is never closed")?;
            let piece = match word {
                "path" => Piece::Path,
                "rest" => Piece::Rest,
                _ => return Err(format!("`{{{word}}}` is neither `{{path}}` nor `{{rest}}`")),
            };
            pieces.extend([Piece::Text(before.to_owned()), piece]);
            left = after;
        }
        pieces.push(Piece::Text(left.to_owned()));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        if pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Text(text) if HeaderValue::from_str(text).is_err()))
        {
            return Err("a target has no line breaks".to_owned());
        }
        let status = StatusCode::from_u16(status).map_err(|error| error.to_string())?;
        Ok(Self { pieces, status, has_query: tail.contains('?') })
    }

    /// Does it lead to where a site of that host and path begins, and so in a circle?
    pub(crate) fn leads_to(&self, host: &str, prefix: &str) -> bool {
        let Some((Piece::Text(first), rest)) = self.pieces.split_first() else { return false };
        let authority = first.split_once("://").map_or("", |(_, authority)| authority);
        let name = authority.split(':').next().unwrap_or("");
        let below = match rest.first() {
            Some(Piece::Text(text)) => text.starts_with(prefix),
            Some(Piece::Path) => true,
            Some(Piece::Rest) | None => prefix.is_empty(),
        };
        name.eq_ignore_ascii_case(host) && below
    }

    /// The answer; `rest` is the path below the site's own.
    pub(super) fn answer(
        &self,
        head: &Parts,
        rest: &str,
        cache_control: Option<&HeaderValue>,
    ) -> Result<Response<Body>, Refusal> {
        let mut answer = Response::new(Body::Empty);
        *answer.status_mut() = self.status;
        let target = HeaderValue::try_from(self.fill(head, rest));
        let headers = answer.headers_mut();
        headers.insert(header::LOCATION, target.map_err(|_| Refusal::Malformed("the path"))?);
        headers.insert(header::CACHE_CONTROL, cache_control.cloned().unwrap_or(CACHE_CONTROL));
        Ok(answer)
    }

    fn fill(&self, head: &Parts, rest: &str) -> String {
        // `OPTIONS *` has none.
        let path = Some(head.uri.path()).filter(|path| path.starts_with('/')).unwrap_or("/");
        let rest = if rest.starts_with('/') { rest } else { "" };
        let mut target = String::with_capacity(64 + path.len());
        for piece in &self.pieces {
            target.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Path => path,
                Piece::Rest => rest,
            });
        }
        if let Some(query) = head.uri.query().filter(|_| !self.has_query) {
            target.push('?');
            target.push_str(query);
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn path_rest_and_query_are_carried_and_a_query_of_its_own_stays_alone() {
        for (target, uri, rest, want) in [
            ("https://www.a.example{path}", "/x/y?z=1", "/x/y", "https://www.a.example/x/y?z=1"),
            ("https://www.a.example{path}", "*", "", "https://www.a.example/"),
            ("https://www.a.example{path}", "//evil.example/x", "", "https://www.a.example//evil.example/x"),
            ("https://b.example/new{rest}", "/old/x", "/x", "https://b.example/new/x"),
            ("https://b.example/new{rest}", "/old", "", "https://b.example/new"),
            ("https://b.example{rest}/index", "/old/x", "/x", "https://b.example/x/index"),
            ("https://b.example/gone?why=moved", "/old?z=1", "", "https://b.example/gone?why=moved"),
            ("http://b.example:8080/", "/?z=1", "/", "http://b.example:8080/?z=1"),
        ] {
            let head = Request::builder().uri(uri).body(()).unwrap().into_parts().0;
            let location = Location::parse(target, 308).unwrap();
            let answer = location.answer(&head, rest, None).unwrap();
            assert_eq!(answer.headers()[header::LOCATION], want);
            assert_eq!(answer.status(), 308);
        }
    }

    #[test]
    fn a_target_whose_host_a_caller_could_write_is_refused() {
        for bad in [
            "{path}",
            "/x{path}",
            "//b.example",
            "https://{path}",
            "https://",
            "https://a b/",
            "https://u@b.example/",
            "https://b.example/{host}",
            "https://b.example/{path",
            "ftp://b.example/",
            "https://b.example/\nx",
        ] {
            assert!(Location::parse(bad, 301).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_circle_is_seen() {
        for (target, host, prefix, circle) in [
            ("https://b.example{path}", "b.example", "", true),
            ("https://B.example:8443/x", "b.example", "", true),
            ("https://b.example/new{rest}", "b.example", "/old", false),
            ("https://b.example/old/new", "b.example", "/old", true),
            ("https://b.example{path}", "b.example", "/old", true),
            ("https://b.example{rest}", "b.example", "/old", false),
            ("https://b.example{path}", "a.example", "", false),
        ] {
            assert_eq!(Location::parse(target, 308).unwrap().leads_to(host, prefix), circle, "{target}");
        }
    }
}

//! The page's files, in this binary, and the headers that no answer goes out without. Nothing of it comes from
//! elsewhere, and no script but these runs in it.

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, header};

/// Path, media type and text of each.
const FILES: [(&str, &str, &str); 10] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/dashboard.css", "text/css; charset=utf-8", include_str!("page/dashboard.css")),
    ("/lists.css", "text/css; charset=utf-8", include_str!("page/lists.css")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/dashboard.js", SCRIPT, include_str!("page/dashboard.js")),
    ("/elements.js", SCRIPT, include_str!("page/elements.js")),
    ("/house.js", SCRIPT, include_str!("page/house.js")),
    ("/lists.js", SCRIPT, include_str!("page/lists.js")),
    ("/traffic.js", SCRIPT, include_str!("page/traffic.js")),
    ("/words.js", SCRIPT, include_str!("page/words.js")),
];

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// On every answer, refusals included.
const HEADERS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
];

/// A route for each file.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, (path, media_type, text)| {
        router.route(path, get(move || async move { ([(header::CONTENT_TYPE, media_type)], text) }))
    })
}

/// An answer with the headers.
pub(super) async fn sealed(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_there_and_none_leads_elsewhere() {
        let has = |path: &str| FILES.iter().any(|(known, _, _)| *known == path);
        for (path, _, text) in FILES {
            for quoted in text.split(['"', '\'']).skip(1).step_by(2) {
                let named = quoted.strip_prefix("./").or(quoted.strip_prefix('/')).unwrap_or_default();
                if named.ends_with(".js") || named.ends_with(".css") || named.ends_with(".svg") {
                    assert!(has(&format!("/{named}")), "{path} names {quoted}");
                }
            }
            let names = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!names.contains("http://") && !names.contains("https://"), "{path} leads elsewhere");
            for hole in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=\""]
            {
                assert!(!text.contains(hole), "{path} has {hole}");
            }
            assert!(text.lines().count() < 400, "{path} is long");
        }
    }
}

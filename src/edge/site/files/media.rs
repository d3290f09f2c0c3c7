//! What kind of file it is, by its name alone: the content is never looked at, and browsers are told not to guess
//! either.

use std::path::Path;

use http::HeaderValue;

/// The media type, with the charset where text has one.
pub(super) fn of(path: &Path) -> HeaderValue {
    let extension =
        path.extension().and_then(|extension| extension.to_str()).unwrap_or("").to_ascii_lowercase();
    HeaderValue::from_static(match extension.as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        // Apple asks for it without an ending.
        "" if path.file_name().is_some_and(|name| name == "apple-app-site-association") => "application/json",
        other => return guessed(other),
    })
}

fn guessed(extension: &str) -> HeaderValue {
    let guess = mime_guess::from_ext(extension).first_raw().unwrap_or("application/octet-stream");
    if guess.starts_with("text/") {
        // Words and two constants are always a header's value.
        let with_charset = HeaderValue::try_from(format!("{guess}; charset=utf-8"));
        return with_charset.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    }
    HeaderValue::from_static(guess)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_what_it_is() {
        for (name, want) in [
            ("index.HTML", "text/html; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("logo.svg", "image/svg+xml"),
            ("a.woff2", "font/woff2"),
            ("a.wasm", "application/wasm"),
            ("a.avif", "image/avif"),
            ("a.csv", "text/csv; charset=utf-8"),
            ("a.tar.gz", "application/gzip"),
            ("a.pdf", "application/pdf"),
            ("a.mp4", "video/mp4"),
            (".well-known/apple-app-site-association", "application/json"),
            ("LICENSE", "application/octet-stream"),
            ("a.unheard-of", "application/octet-stream"),
        ] {
            assert_eq!(of(Path::new(name)), want, "{name}");
        }
    }
}

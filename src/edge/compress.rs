//! Answers made smaller on their way out, where the backend did not do it and the caller takes it. It decides which; it
//! must never touch what is coded already, what is counted in bytes (ranges), or what must arrive piece by piece (SSE).

mod accepted;
mod body;
mod config;
mod encoder;
mod types;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header, request::Parts,
    uri::Authority,
};
use http_body::Body as _;

pub(crate) use self::{
    accepted::{Accepted, Coding},
    body::Compressed,
    config::Compression as CompressionConfig,
    types::Types,
};
use super::{
    body::Body,
    clients::{ClientPlace, Clients},
    cors,
    serve::Exchange,
};

/// Sums over the bytes as they were: they would be wrong, and whoever sends them wants them checked.
const SUMS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// `[edge.compression]`, parsed.
#[derive(Debug)]
pub(crate) struct Compression {
    enabled: bool,
    codings: Vec<Coding>,
    levels: [u32; 3],
    bytes_min: u64,
    streams_max: usize,
    streams: Arc<AtomicUsize>,
    client_streams_max: usize,
    clients: Clients,
    pub(crate) types: Arc<Types>,
}

/// What an answer may hold that its caller is not meant to learn by its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Answers to pages that are listed.
    Nothing,
    /// Files: the same for everybody, whoever's cookies come along.
    PublicThings,
    /// Anything else.
    Secrets,
}

/// A place among the answers that are being compressed; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Stream {
    streams: Arc<AtomicUsize>,
    _client: ClientPlace,
}

impl Compression {
    pub(crate) fn new(config: &CompressionConfig) -> Self {
        Self {
            enabled: config.enabled,
            codings: config.algorithms.clone(),
            levels: [config.zstd_level, config.br_level, config.gzip_level],
            bytes_min: config.bytes_min,
            streams_max: config.streams_max,
            streams: Arc::default(),
            client_streams_max: config.client_streams_max,
            clients: Clients::default(),
            types: Arc::new(Types::new(&config.types)),
        }
    }

    /// Count on with an earlier one's.
    pub(crate) fn count_with(&mut self, before: &Self) {
        self.streams = before.streams.clone();
        self.clients = before.clients.clone();
    }

    fn stream(&self, client: IpAddr) -> Option<Stream> {
        let client = self.clients.enter(client, self.client_streams_max)?;
        let one_more = |open: usize| (open < self.streams_max).then_some(open + 1);
        self.streams.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        Some(Stream { streams: self.streams.clone(), _client: client })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Relaxed);
    }
}

/// Compress an answer if it is worth it and allowed; else it passes as it is.
pub(crate) fn apply(
    exchange: &Exchange,
    head: &Parts,
    holds: Holds,
    answer: Response<Body>,
) -> Response<Body> {
    let compression = &exchange.settings.compression;
    if !compression.enabled
        || !exchange.terms.compress
        || !is_compressible(compression, &head.method, &answer)
    {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    // Also where this caller takes none: a cache must know that another would get it otherwise.
    vary(&mut parts.headers);
    let coding = Accepted::of(&head.headers).best(&compression.codings);
    let Some(coding) = coding.filter(|_| head.method != Method::HEAD && !is_measured(holds, head)) else {
        return Response::from_parts(parts, body);
    };
    let Some(stream) = compression.stream(exchange.client.address) else {
        return Response::from_parts(parts, body);
    };
    if holds == Holds::PublicThings && !is_within_rate(exchange, &body) {
        return Response::from_parts(parts, body);
    }
    let level = compression.levels[coding.index()];
    match Compressed::new(body, coding, level, stream) {
        Ok(compressed) => {
            describe(&mut parts.headers, coding);
            Response::from_parts(parts, Body::Compressed(Box::new(compressed)))
        }
        Err(body) => Response::from_parts(parts, *body),
    }
}

/// Has this client not had more of it than its share? Nothing else bounds how often a stranger asks for files.
fn is_within_rate(exchange: &Exchange, body: &Body) -> bool {
    let (admit, config) = (&exchange.thread.shared.admit, &exchange.settings.admit);
    let bytes = body.size_hint().upper().unwrap_or(u64::MAX);
    admit.compresses_file(config, exchange.client.address, bytes)
}

/// Could any caller get it compressed?
fn is_compressible(compression: &Compression, method: &Method, answer: &Response<Body>) -> bool {
    let (status, headers) = (answer.status(), answer.headers());
    let has_body = !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED);
    has_body
        && headers.get(header::CONTENT_TYPE).is_some_and(|media_type| compression.types.has(media_type))
        && bytes(method, answer).is_none_or(|bytes| bytes >= compression.bytes_min)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && !headers.get_all(header::CACHE_CONTROL).iter().any(no_transform)
        && !SUMS.iter().any(|sum| headers.contains_key(sum))
}

/// How long it is; that of an answer to HEAD is what GET would get.
fn bytes(method: &Method, answer: &Response<Body>) -> Option<u64> {
    if *method == Method::HEAD {
        return answer.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    }
    answer.body().size_hint().upper()
}

fn no_transform(value: &HeaderValue) -> bool {
    let mut directives = value.to_str().unwrap_or("").split(',');
    directives.any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

/// Could somebody measure a secret by it (BREACH)? A stranger's page can make a browser ask with the victim's cookies,
/// choose a part of the answer, and see on the wire how long it gets. Where a browser does not say whose page asks, it
/// may be a stranger's, and surely is if the page that leads here is another host's. Then nothing is compressed at all,
/// since whoever tests a server by its answers cannot know which of them hold secrets.
///
/// It is not said in `Vary`: a cache that mixes them up gives out what is right, at another length, and one that does not
/// could keep an answer for each page that leads here.
pub(crate) fn is_measured(holds: Holds, head: &Parts) -> bool {
    if holds == Holds::Nothing {
        return false;
    }
    let with_cookies = holds == Holds::Secrets && head.headers.contains_key(header::COOKIE);
    match head.headers.get(FETCH_SITE) {
        Some(site) => site == "cross-site" && with_cookies,
        None => with_cookies || head.headers.get(header::REFERER).is_some_and(|page| !is_ours(page, head)),
    }
}

/// Is that page on the host that is asked?
fn is_ours(page: &HeaderValue, head: &Parts) -> bool {
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    let host: Option<Authority> = head.uri.authority().cloned().or(host);
    let page = page.to_str().ok().and_then(|page| page.parse::<Uri>().ok());
    let page = page.as_ref().and_then(Uri::host);
    page.zip(host.as_ref()).is_some_and(|(page, host)| page.eq_ignore_ascii_case(host.host()))
}

fn vary(headers: &mut HeaderMap) {
    cors::vary_by(headers, HeaderValue::from_static("Accept-Encoding"));
}

/// The headers of the coded answer.
fn describe(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(header::CONTENT_LENGTH);
    // Ranges of the one are not ranges of the other.
    headers.remove(header::ACCEPT_RANGES);
    // The same thing, but not byte for byte (RFC 9110 8.8.3.3).
    if let Some(tag) = headers.get(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"))
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        headers.insert(header::ETAG, weak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn answer(status: u16, headers: &[(&'static str, &'static str)], bytes: usize) -> Response<Body> {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        answer.body(Body::Full(Some(vec![b'x'; bytes].into()))).unwrap()
    }

    #[test]
    fn a_new_configuration_counts_on_where_the_old_one_left_off() {
        let one = CompressionConfig { streams_max: 1, ..CompressionConfig::default() };
        let old = Compression::new(&one);
        let running = old.stream(CLIENT).unwrap();
        let mut new = Compression::new(&one);
        new.count_with(&old);
        assert!(new.stream(CLIENT).is_none(), "one is running, and one is allowed");
        drop(running);
        assert!(new.stream(CLIENT).is_some());
    }

    #[test]
    fn what_is_coded_counted_small_or_forbidden_is_left_alone() {
        let compression = Compression::new(&CompressionConfig::default());
        let json = ("content-type", "application/json");
        for (status, headers, bytes, want) in [
            (200, &[json][..], 2000, true),
            (404, &[("content-type", "text/html; charset=utf-8")], 2000, true),
            (200, &[json], 1023, false),
            (200, &[], 2000, false),
            (200, &[("content-type", "image/png")], 2000, false),
            (200, &[("content-type", "text/event-stream")], 2000, false),
            (200, &[json, ("content-encoding", "br")], 2000, false),
            (200, &[json, ("content-encoding", "identity")], 2000, false),
            (200, &[json, ("cache-control", "private, No-Transform")], 2000, false),
            (200, &[json, ("repr-digest", "sha-256=:x:")], 2000, false),
            (204, &[json], 2000, false),
            (206, &[json], 2000, false),
            (206, &[json, ("content-range", "bytes 0-1/2")], 2000, false),
            (304, &[json], 2000, false),
        ] {
            assert_eq!(
                is_compressible(&compression, &Method::GET, &answer(status, headers, bytes)),
                want,
                "{status} {headers:?}"
            );
        }
    }

    #[test]
    fn what_a_strangers_page_may_measure_is_left_as_it_is() {
        use Holds::{Nothing, PublicThings, Secrets};
        let (ours, strangers) =
            (("referer", "https://API.example/x"), ("referer", "https://search.example/"));
        let (cookie, cross) = (("cookie", "a=1"), ("sec-fetch-site", "cross-site"));
        for (headers, secrets, public_things) in [
            (&[][..], false, false),
            (&[ours], false, false),
            (&[strangers], true, true),
            (&[("referer", "?")], true, true),
            (&[cookie], true, false),
            (&[cookie, ours], true, false),
            (&[cookie, strangers], true, true),
            (&[cross], false, false),
            (&[cross, strangers], false, false),
            (&[cross, strangers, cookie], true, false),
            (&[("sec-fetch-site", "none"), cookie, strangers], false, false),
            (&[("sec-fetch-site", "same-origin"), cookie, ours], false, false),
        ] {
            let mut request = http::Request::get("/x").header("host", "api.example:8443");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let head = request.body(()).unwrap().into_parts().0;
            let measured = [Secrets, PublicThings, Nothing].map(|holds| is_measured(holds, &head));
            assert_eq!(measured, [secrets, public_things, false], "{headers:?}");
        }
    }

    #[test]
    fn the_coded_answer_is_described_truly() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, HeaderValue::from_static("\"v1\""));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(9));
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        describe(&mut headers, Coding::Brotli);
        vary(&mut headers);
        vary(&mut headers);
        assert_eq!(headers[header::ETAG], "W/\"v1\"");
        assert_eq!(headers[header::CONTENT_ENCODING], "br");
        assert!(!headers.contains_key(header::CONTENT_LENGTH));
        let vary: Vec<_> = headers.get_all(header::VARY).iter().collect();
        assert_eq!(vary, ["Origin", "Accept-Encoding"]);
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let other = "192.0.2.2".parse().unwrap();
        let config =
            CompressionConfig { streams_max: 2, client_streams_max: 1, ..CompressionConfig::default() };
        let compression = Compression::new(&config);
        let first = compression.stream(CLIENT);
        assert!(first.is_some() && compression.stream(CLIENT).is_none(), "it has its share");
        let second = compression.stream(other);
        assert!(
            second.is_some() && compression.stream("192.0.2.3".parse().unwrap()).is_none(),
            "all there are"
        );
        drop(first);
        assert!(compression.stream(other).is_none() && compression.stream(CLIENT).is_some());
    }
}

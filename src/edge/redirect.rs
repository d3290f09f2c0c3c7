//! Plain HTTP in redirect mode: known hosts are sent to https for good, everything else is refused. It must never
//! redirect to a name that is not ours: that is how open redirects are made.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;

use crate::{error::Fault, metrics::CodeLabels, tenant::Snapshot};

use super::{
    access_log::Record,
    authority::{Authority, Scheme},
    body::Body,
    cors,
    peer::Peer,
    recorded::Recorded,
    refusal::Refusal,
    request_id::REQUEST_ID,
    rescue,
    settings::Settings,
    shape,
    thread::Thread,
};

/// The ports of a plain listener that sends its visitors on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// Where https is served.
    pub(crate) https: Option<u16>,
    /// Its own.
    pub(crate) own: Option<u16>,
}

/// Answer one request on the plain port.
pub(crate) fn serve(
    thread: &Rc<Thread>,
    peer: &Peer,
    request: Request<Incoming>,
    ports: Ports,
) -> Response<Recorded> {
    let (head, _) = request.into_parts();
    let id = thread.ids.of(peer.trusted, &head.headers);
    let settings = thread.shared.settings.load();
    let client = peer.client(settings.proxies(), &head.headers);
    let record = Record::begin(thread, peer, client.address, (id, &head));
    let outcome = match challenge(thread, &head) {
        // A certificate authority, or we ourselves: https may not be there yet.
        Some(answer) => Ok(answer),
        None => location(&settings, &thread.shared.registry.snapshot(), &head, ports).map(to),
    };
    let mut answer = match outcome {
        Ok(answer) => answer,
        Err(refusal) => {
            record.refused(refusal.code());
            thread.shared.metrics.refusals_total.get_or_create(&CodeLabels { code: refusal.code() }).inc();
            let mut answer = rescue::answer(&refusal, record.id());
            if refusal.ends_connection() {
                rescue::end(peer, answer.headers_mut());
            }
            answer
        }
    };
    cors::vary(answer.headers_mut());
    answer.headers_mut().insert(REQUEST_ID, record.id().header.clone());
    record.answered(answer.status());
    answer.map(|body| Recorded::new(body, Some(record)))
}

/// The answer to who comes for something that an order for a certificate has put out.
pub(crate) fn challenge(thread: &Rc<Thread>, head: &Parts) -> Option<Response<Body>> {
    let host = || Some(Authority::of(head).ok()?.name().to_owned());
    let text = thread.shared.challenges.answer(head.uri.path(), host)?;
    let mut answer = Response::new(Body::Full(Some(Bytes::from(text))));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(answer)
}

/// Go there for good.
fn to(location: HeaderValue) -> Response<Body> {
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
    answer.headers_mut().insert(header::LOCATION, location);
    answer
}

/// The same address over https. 308 keeps method and body, so that a misconfigured API client still works.
fn location(
    settings: &Settings,
    snapshot: &Snapshot,
    head: &Parts,
    ports: Ports,
) -> Result<HeaderValue, Refusal> {
    shape::check(head)?;
    let authority = Authority::of(head)?;
    if !settings.serves(snapshot, authority.name()) {
        return Err(Refusal::HostNotServed);
    }
    // Who has asked for another port than the one that they arrive at was led here, by `gateway cutover`, a container's host or
    // a load balancer: what leads 80 here leads 443 to us too. Browsers keep this answer for good, and a port that is only ours
    // for a while must not be in it.
    let led = ports.own != Some(authority.port().unwrap_or(Scheme::Http.default_port()));
    let named = ports.https.filter(|port| *port != Scheme::Https.default_port() && !led);
    let port = named.map(|port| format!(":{port}")).unwrap_or_default();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let target = if target.starts_with('/') { target } else { "/" };
    HeaderValue::try_from(format!("https://{}{port}{target}", authority.name()))
        .map_err(|_| Refusal::HostInvalid)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::{
        edge::{Config, EdgeSettings, TlsConfig},
        tenant::{CorsPolicy, Tenant},
    };

    use super::*;

    fn check(uri: &str, host: Option<&str>, (own, https): (u16, Option<u16>)) -> Result<String, Refusal> {
        let config = Config { hosts: vec!["api.example".parse().unwrap()], ..Config::default() };
        let settings = EdgeSettings {
            config,
            tls: TlsConfig::default(),
            cors: CorsPolicy::default(),
            backends: BTreeMap::new(),
        };
        let mut tenant = Tenant::new("acme".parse().unwrap());
        tenant.hosts = vec!["api.acme.example".parse().unwrap()];
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let head = request.body(()).unwrap().into_parts().0;
        let snapshot = Snapshot::build([tenant]).unwrap();
        location(&Settings::new(&settings).unwrap(), &snapshot, &head, Ports { https, own: Some(own) })
            .map(|location| location.to_str().unwrap().to_owned())
    }

    #[test]
    fn known_hosts_are_sent_to_https_with_path_and_query() {
        for (uri, host, ports, want) in [
            ("/a?b=c", "api.example", (80, Some(443)), "https://api.example/a?b=c"),
            ("/", "API.example:8080", (8080, None), "https://api.example/"),
            ("/", "api.acme.example:80", (80, Some(8443)), "https://api.acme.example:8443/"),
            ("/", "api.acme.example:8080", (8080, Some(8443)), "https://api.acme.example:8443/"),
            ("//evil.example/x", "api.example", (80, Some(443)), "https://api.example//evil.example/x"),
        ] {
            assert_eq!(check(uri, Some(host), ports).as_deref(), Ok(want), "{uri} {host}");
        }
    }

    #[test]
    fn who_was_led_here_from_port_80_is_sent_to_port_443() {
        for host in ["api.example", "api.example:80"] {
            let sent = check("/a", Some(host), (8080, Some(8443)));
            assert_eq!(sent.as_deref(), Ok("https://api.example/a"), "{host}");
        }
    }

    #[test]
    fn nobody_is_sent_to_a_host_that_is_not_ours() {
        assert_eq!(check("/", Some("evil.example"), (80, None)), Err(Refusal::HostNotServed));
        assert_eq!(check("/", None, (80, None)), Err(Refusal::HostInvalid));
        assert_eq!(
            check("http://evil.example/", Some("api.example"), (80, None)),
            Err(Refusal::Malformed("target and host differ"))
        );
    }
}

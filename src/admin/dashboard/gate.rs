//! Who may see the page: the browser that the key was given to, and no page of another site in it. Whoever is on this
//! machine can connect, and so can every page that such a browser has open: a connection proves nothing. No key and no
//! cookie is ever logged.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::{constant_time, rand};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use zeroize::Zeroizing;

use crate::admin::{Problem, audit::refused, browser::is_loopback};

/// 256 bits: nobody guesses one.
const SECRET_BYTES: usize = 32;

/// The cookie's name before the port: cookies do not tell ports apart, and several gateways may be open at a time.
const COOKIE: &str = "gateway-dashboard-";

/// Told each new key.
type Tell = Box<dyn Fn(&str) + Send + Sync>;

/// Opens once for each key, and from then on for whoever has the cookie.
pub(super) struct Gate {
    cookie: Secret,
    key: Mutex<Secret>,
    tell: Tell,
}

struct Secret(Zeroizing<String>);

impl Secret {
    fn new() -> Option<Self> {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        rand::fill(&mut *bytes).ok()?;
        Some(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))))
    }

    fn is(&self, text: &str) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), text.as_bytes()).is_ok()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    /// With fresh secrets; none, if the system has none to give.
    pub(super) fn new(tell: Tell) -> Option<Self> {
        Some(Self { cookie: Secret::new()?, key: Mutex::new(Secret::new()?), tell })
    }

    /// Tell the key that opens it next.
    pub(super) fn tell(&self) {
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        (self.tell)(&key);
    }

    /// Does this key open it? It does so once; the next one is told.
    fn opens(&self, key: &str) -> bool {
        {
            let mut current = self.key.lock().unwrap_or_else(PoisonError::into_inner);
            if !current.is(key) {
                return false;
            }
            let Some(next) = Secret::new() else { return false };
            *current = next;
        }
        self.tell();
        true
    }

    fn has_cookie(&self, headers: &HeaderMap, name: &str) -> bool {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut values = lines
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(key, _)| *key == name);
        values.any(|(_, value)| self.cookie.is(value))
    }
}

/// In with whoever may see the page.
pub(super) async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let name = match asked_of_us(&request) {
        Ok(port) => format!("{COOKIE}{port}"),
        Err(problem) => return refused(problem),
    };
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let problem = Problem::new(405, "reads-only", "the dashboard shows, and takes no orders")
            .hint("orders are given on the command line: `gateway --help`");
        let mut response = problem.into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let known = gate.has_cookie(request.headers(), &name);
    // A HEAD is no browser that is opened.
    let key = key(&request).filter(|_| request.method() == Method::GET);
    match key {
        Some(_) if known => to_the_page(None),
        Some(key) if gate.opens(&key) => {
            to_the_page(Some(format!("{name}={}; Path=/; HttpOnly; SameSite=Strict", *gate.cookie.0)))
        }
        Some(_) => refused(
            Problem::new(401, "key-used", "this key is none, or has opened the dashboard already").hint(
                "each key opens it in one browser: use the latest address that `gateway dashboard` has printed",
            ),
        ),
        None if known => next.run(request).await,
        None => refused(
            Problem::new(401, "no-key", "the dashboard opens for whoever has its key")
                .hint("use the whole address that `gateway dashboard` has printed, up to its end"),
        ),
    }
}

/// The key in the page's address.
fn key(request: &Request) -> Option<String> {
    if request.uri().path() != "/" {
        return None;
    }
    let query = request.uri().query()?;
    let found = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "key");
    found.map(|(_, key)| key.into_owned())
}

/// The page without the key in its address, which histories and screenshots keep.
fn to_the_page(cookie: Option<String>) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/"));
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// The port by which the browser knows us, if it asks for this machine and for no page of another site's. The port is
/// not ours where SSH leads another one here; a name that leads here without our doing (DNS rebinding) is never one of
/// this machine's.
fn asked_of_us(request: &Request) -> Result<String, Problem> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let host =
        match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next(), request.uri().authority()) {
            (Some(host), None, None) if is_loopback(host) => host,
            _ => {
                return Err(Problem::new(403, "host-foreign", "the dashboard has no such name")
                    .hint("open it as http://127.0.0.1:PORT/ or http://localhost:PORT/"));
            }
        };
    let own = format!("http://{host}");
    let from_elsewhere =
        headers.get_all(header::ORIGIN).iter().any(|origin| origin.as_bytes() != own.as_bytes())
            || headers.get_all("sec-fetch-site").iter().any(|site| site != "none" && site != "same-origin");
    if from_elsewhere {
        return Err(Problem::new(403, "page-foreign", "a page of another site may not reach the dashboard")
            .hint("paste the address that `gateway dashboard` has printed into the address bar"));
    }
    let port = host.rsplit_once(':').map_or("80", |(_, port)| port);
    Ok(port.chars().filter(char::is_ascii_digit).collect())
}

#[cfg(test)]
mod tests;

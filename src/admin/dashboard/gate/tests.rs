//! The gate on a router that answers whatever passes it.

use axum::{Router, body::Body, middleware, routing::get};
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::*;

struct Guarded {
    router: Router,
    keys: mpsc::Receiver<String>,
}

impl Guarded {
    fn new() -> Self {
        let (sender, keys) = mpsc::channel(8);
        let gate = Gate::new(Box::new(move |key| sender.try_send(key.to_owned()).unwrap())).unwrap();
        gate.tell();
        let router = Router::new().route("/", get(|| async { "page" })).fallback(|| async { "else" });
        Self { router: router.layer(middleware::from_fn_with_state(Arc::new(gate), pass)), keys }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn status(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.ask(Method::GET, path, headers).await.status().as_u16()
    }
}

const HOST: (&str, &str) = ("host", "127.0.0.1:7070");

/// `name=value` of the cookie that an answer sets.
fn cookie(response: &Response) -> String {
    let text = response.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(text.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{text}");
    text.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_opens_the_page_once_and_the_cookie_from_then_on() {
    let mut guarded = Guarded::new();
    let key = guarded.keys.recv().await.unwrap();
    assert!(key.len() >= 43, "less than 256 bits: {key}");
    assert_eq!(guarded.status("/", &[HOST]).await, 401);
    assert_eq!(guarded.status("/?key=guess", &[HOST]).await, 401);
    // On another path it is no key, and HEAD does not use it up.
    assert_eq!(guarded.status(&format!("/api/house?key={key}"), &[HOST]).await, 401);
    assert_eq!(guarded.ask(Method::HEAD, &format!("/?key={key}"), &[HOST]).await.status(), 401);
    let opened = guarded.ask(Method::GET, &format!("/?key={key}"), &[HOST]).await;
    assert_eq!(
        (opened.status().as_u16(), &opened.headers()[header::LOCATION]),
        (303, &HeaderValue::from_static("/"))
    );
    let cookie = cookie(&opened);
    assert!(cookie.starts_with("gateway-dashboard-7070=") && !cookie.contains(&key), "{cookie}");
    let with = [HOST, ("cookie", &*format!("theme=dark; {cookie}"))];
    assert_eq!(guarded.status("/", &with).await, 200);
    assert_eq!(guarded.status("/api/house", &with).await, 200);
    assert_eq!(
        guarded.status(&format!("/?key={key}"), &with).await,
        303,
        "a reload of the address leads to the page"
    );
    // Under another port it is another dashboard's.
    assert_eq!(guarded.status("/", &[("host", "127.0.0.1:7071"), with[1]]).await, 401);
    // The key is used up, and there is another.
    assert_eq!(guarded.status(&format!("/?key={key}"), &[HOST]).await, 401);
    let next = guarded.keys.recv().await.unwrap();
    assert_ne!(next, key);
    assert_eq!(guarded.status(&format!("/?key={next}"), &[("host", "localhost:9000")]).await, 303);
    assert!(guarded.keys.recv().await.is_some());
}

#[tokio::test]
async fn other_names_and_other_sites_pages_are_refused_with_the_cookie_too() {
    let mut guarded = Guarded::new();
    let key = guarded.keys.recv().await.unwrap();
    let opened = guarded.ask(Method::GET, &format!("/?key={key}"), &[HOST]).await;
    let cookie = cookie(&opened);
    let with_cookie = ("cookie", &*cookie);
    for host in [
        "rebound.example:7070",
        "gateway:7070",
        "127.0.0.1.example:7070",
        "192.0.2.1:7070",
        "",
        "10.0.0.1:7070",
    ] {
        assert_eq!(guarded.status("/", &[("host", host), with_cookie]).await, 403, "{host}");
    }
    assert_eq!(guarded.status("/", &[with_cookie]).await, 403, "no Host");
    assert_eq!(guarded.status("/", &[HOST, HOST, with_cookie]).await, 403, "two Hosts");
    assert_eq!(
        guarded.status("http://127.0.0.1:7070/", &[HOST, with_cookie]).await,
        403,
        "as a proxy is asked"
    );
    for (name, value, want) in [
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-site", "same-origin", 200),
        ("sec-fetch-site", "none", 200),
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://127.0.0.1:3000", 403),
        ("origin", "http://127.0.0.1:7070", 200),
    ] {
        assert_eq!(guarded.status("/", &[HOST, with_cookie, (name, value)]).await, want, "{name}: {value}");
    }
    let post = guarded.ask(Method::POST, "/", &[HOST, with_cookie]).await;
    assert_eq!(
        (post.status().as_u16(), &post.headers()[header::ALLOW]),
        (405, &HeaderValue::from_static("GET, HEAD"))
    );
}

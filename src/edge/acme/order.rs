//! One order from its first request to its certificate (RFC 8555 7.4). It tries once and says who is to blame; when
//! to try again, and with whom, is the schedule's. Cancel safe: what it showed to the authority goes with it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{StatusCode, header};
use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_acme::acme::{Account, Auth, AuthStatus, Challenge, ChallengeType, Identifier};
use serde::Deserialize;
use serde_json::json;

use super::{
    account::Session,
    authority::{AuthorityError, Problem, read, retry_at},
    backoff::between,
    challenges::{Challenges, Shown},
    history::Failure,
    http::Answer,
    jose::base64url,
};

/// First pause between two looks at something that the authority works on; each is half as long again.
const LOOK_FIRST: Duration = Duration::from_millis(250);
const LOOK_LONGEST: Duration = Duration::from_secs(5);

/// The longest pause that an authority may ask for between two looks; the order's own limit ends it all.
const LOOK_ASKED_MAX: Duration = Duration::from_secs(30);

/// What is ordered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    pub(crate) names: Vec<String>,
    /// The certificate that it replaces, as the authority knows it (RFC 9773).
    pub(crate) replaces: Option<String>,
    /// Names whose last TLS-ALPN-01 failed.
    pub(crate) over_http: BTreeSet<String>,
}

/// What it brought.
pub(crate) struct Brought {
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
}

/// RFC 8555 7.1.3.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    status: String,
    #[serde(default)]
    authorizations: Vec<String>,
    finalize: String,
    certificate: Option<String>,
    error: Option<Problem>,
}

/// A name that the authority looks at now.
struct Pending {
    name: String,
    url: String,
    _shown: Shown,
}

/// What must be known of an order although it may be cut off at any moment.
pub(crate) struct Progress<'a> {
    /// The authority has made it: from here on it counts against our limits.
    pub(crate) made: &'a AtomicBool,
    /// Called when nothing but the authority itself can keep the certificate from being made.
    pub(crate) commit: &'a (dyn Fn() -> Result<(), String> + Sync),
}

/// Carry it out.
pub(crate) async fn order(
    session: &Session,
    challenges: &Arc<Challenges>,
    wish: &Wish,
    progress: Progress<'_>,
) -> Result<Brought, Failure> {
    let (url, order) = begin(session, wish).await.map_err(blame)?;
    progress.made.store(true, Relaxed);
    let mut culprits = Vec::new();
    let mut pending = Vec::new();
    for authorization in &order.authorizations {
        match show(session, challenges, wish, authorization).await.map_err(blame)? {
            Outcome::Pending(one) => pending.push(one),
            Outcome::Valid => {}
            Outcome::Failed(name, why) => culprits.push((name, why)),
        }
    }
    // All of them to their end: the next order is then made without all who fail, not without the first.
    culprits.extend(settle(session, pending).await.map_err(blame)?);
    if !culprits.is_empty() {
        return Err(Failure::Names(culprits));
    }
    let order = until(session, &url, |order| order.status != "pending").await.map_err(blame)?;
    if order.status == "invalid" {
        return Err(refused(order.error.unwrap_or_default()));
    }
    let (csr, key_pem) = request_for(&wish.names).map_err(Failure::Authority)?;
    (progress.commit)().map_err(Failure::Authority)?;
    if order.status == "ready" {
        let payload = json!({ "csr": base64url(csr) }).to_string();
        session.post(&order.finalize, &payload).await.map_err(blame)?;
    }
    let done = |order: &Order| matches!(order.status.as_str(), "valid" | "invalid");
    let order = until(session, &url, done).await.map_err(blame)?;
    let Some(certificate) = order.certificate.filter(|_| order.status == "valid") else {
        return Err(refused(order.error.unwrap_or_default()));
    };
    let answer = session.post(&certificate, "").await.map_err(blame)?;
    let chain_pem = String::from_utf8(answer.body.to_vec())
        .map_err(|_| Failure::Authority("the certificate is no text".to_owned()))?;
    Ok(Brought { chain_pem, key_pem })
}

/// Make the order; its URL and what it asks for.
async fn begin(session: &Session, wish: &Wish) -> Result<(String, Order), AuthorityError> {
    let url = session.authority.directory().await?.new_order.clone();
    let identifiers: Vec<_> = wish.names.iter().map(|name| json!({ "type": "dns", "value": name })).collect();
    let plain = json!({ "identifiers": identifiers });
    let mut payload = plain.clone();
    if let Some(replaces) = &wish.replaces {
        payload["replaces"] = json!(replaces);
    }
    let answer = match session.post(&url, &payload.to_string()).await {
        // Replaced already, by an order whose end we did not live to see, or of an account that is ours no longer:
        // then it is an order like any other, and what else is wrong with it comes again.
        Err(error) if wish.replaces.is_some() && may_be_about_replacing(&error) => {
            session.post(&url, &plain.to_string()).await?
        }
        answer => answer?,
    };
    let place = answer.headers.get(header::LOCATION).and_then(|url| url.to_str().ok()).map(str::to_owned);
    let place = place.ok_or_else(|| AuthorityError::Nonsense("an order without its URL".to_owned()))?;
    Ok((place, read(&answer)?))
}

/// Could `replaces` be what was refused? Each authority has its own word for it (`alreadyReplaced`, `malformed`,
/// `unauthorized`, `conflict`); how fast we are, and its own failures, are surely about something else.
fn may_be_about_replacing(error: &AuthorityError) -> bool {
    let AuthorityError::Refused { status, problem, .. } = error else { return false };
    !(problem.is("rateLimited") || *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error())
}

/// What came of looking at one authorization.
enum Outcome {
    Valid,
    Pending(Pending),
    Failed(String, String),
}

/// Show the authority what it wants to see for one name, and tell it to come.
async fn show(
    session: &Session,
    challenges: &Arc<Challenges>,
    wish: &Wish,
    url: &str,
) -> Result<Outcome, AuthorityError> {
    let auth: Auth = read(&session.post(url, "").await?)?;
    let Identifier::Dns(name) = &auth.identifier;
    match auth.status {
        AuthStatus::Valid => return Ok(Outcome::Valid),
        AuthStatus::Pending => {}
        other => return Ok(Outcome::Failed(name.clone(), format!("its authorization is {other:?} already"))),
    }
    let account = session.account().await?;
    let over_http = wish.over_http.contains(name);
    let Some((challenge, shown)) = shown(&account, challenges, (name, over_http), &auth.challenges)? else {
        let why = "the certificate authority offers neither TLS-ALPN-01 nor HTTP-01 for it";
        return Ok(Outcome::Failed(name.clone(), why.to_owned()));
    };
    session.post(&challenge.url, "{}").await?;
    Ok(Outcome::Pending(Pending { name: name.clone(), url: url.to_owned(), _shown: shown }))
}

/// The challenge to take, and what is shown for it: the one whose turn it is, or else the other.
fn shown<'c>(
    account: &Account,
    challenges: &Arc<Challenges>,
    (name, over_http): (&str, bool),
    offered: &'c [Challenge],
) -> Result<Option<(&'c Challenge, Shown)>, AuthorityError> {
    let ours = |error: rustls_acme::acme::AcmeError| AuthorityError::Ours(error.to_string());
    let full = || AuthorityError::Ours("too many challenges are pending".to_owned());
    let offers = |kind: ChallengeType| offered.iter().any(|challenge| challenge.typ == kind);
    if offers(ChallengeType::Http01) && (over_http || !offers(ChallengeType::TlsAlpn01)) {
        let (challenge, text) = account.http_01(offered).map_err(ours)?;
        let shown = challenges.show_token(name, &challenge.token, text).ok_or_else(full)?;
        return Ok(Some((challenge, shown)));
    }
    if !offers(ChallengeType::TlsAlpn01) {
        return Ok(None);
    }
    let (challenge, certified) = account.tls_alpn_01(offered, name.to_owned()).map_err(ours)?;
    let shown = challenges.show_certificate(name, certified).ok_or_else(full)?;
    Ok(Some((challenge, shown)))
}

/// Wait until the authority has made up its mind on each name; those that failed, and why.
async fn settle(
    session: &Session,
    mut pending: Vec<Pending>,
) -> Result<Vec<(String, String)>, AuthorityError> {
    let mut culprits = Vec::new();
    let mut looks = Looks::default();
    while !pending.is_empty() {
        let mut left = Vec::new();
        let mut last = None;
        for one in pending {
            let answer = session.post(&one.url, "").await?;
            let auth: Auth = read(&answer)?;
            match auth.status {
                AuthStatus::Pending => {
                    left.push(one);
                    last = Some(answer);
                }
                AuthStatus::Valid => {}
                _ => culprits.push((one.name, reason(&auth))),
            }
        }
        pending = left;
        if let Some(answer) = &last {
            looks.pause(answer).await;
        }
    }
    Ok(culprits)
}

/// Why an authorization failed, in the authority's words.
fn reason(auth: &Auth) -> String {
    let error = auth.challenges.iter().find_map(|challenge| Some((challenge.error.as_ref()?, challenge)));
    let Some((problem, challenge)) = error else { return "the authority gave no reason".to_owned() };
    let kind = problem.typ.as_deref().and_then(|kind| kind.rsplit(':').next()).unwrap_or("refused");
    let way = match challenge.typ {
        ChallengeType::TlsAlpn01 => "TLS-ALPN-01 on port 443",
        ChallengeType::Http01 => "HTTP-01 on port 80",
        _ => "its challenge",
    };
    format!("{way} failed: {} ({kind})", problem.detail.as_deref().unwrap_or("no reason given"))
}

/// Look at the order until it is as wanted.
async fn until(
    session: &Session,
    url: &str,
    wanted: impl Fn(&Order) -> bool,
) -> Result<Order, AuthorityError> {
    let mut looks = Looks::default();
    loop {
        let answer = session.post(url, "").await?;
        let order: Order = read(&answer)?;
        if wanted(&order) {
            return Ok(order);
        }
        looks.pause(&answer).await;
    }
}

/// The pauses between looks.
struct Looks {
    next: Duration,
}

impl Default for Looks {
    fn default() -> Self {
        Self { next: LOOK_FIRST }
    }
}

impl Looks {
    /// As long as the authority wants, or a little longer each time.
    async fn pause(&mut self, answer: &Answer) {
        let now = Timestamp::now();
        let asked = retry_at(&answer.headers, now).map(|at| between(now, at).min(LOOK_ASKED_MAX));
        tokio::time::sleep(asked.unwrap_or_default().max(self.next)).await;
        self.next = (self.next * 3 / 2).min(LOOK_LONGEST);
    }
}

/// A certificate request for these names under a new key: DER, and the key's PEM.
fn request_for(names: &[String]) -> Result<(Vec<u8>, String), String> {
    let mut params = CertificateParams::new(names.to_vec()).map_err(|error| error.to_string())?;
    // Names stand in the alternative names alone.
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let csr = params.serialize_request(&key).map_err(|error| error.to_string())?;
    Ok((csr.der().to_vec(), key.serialize_pem()))
}

/// Whose fault an error is.
fn blame(error: AuthorityError) -> Failure {
    let AuthorityError::Refused { status, problem, retry_at } = error else {
        return Failure::Authority(error.to_string());
    };
    let text = problem.text();
    if problem.is("rateLimited") || status == StatusCode::TOO_MANY_REQUESTS {
        return Failure::Limited(text, retry_at);
    }
    let its_own = ["serverInternal", "badNonce", "accountDoesNotExist", "userActionRequired", "unauthorized"];
    if status.is_server_error() || its_own.iter().any(|kind| problem.is(kind)) {
        return Failure::Authority(format!("the certificate authority refused: {text}"));
    }
    refused(problem)
}

/// A refusal of the order: of the names that it blames, or as a whole.
fn refused(problem: Problem) -> Failure {
    let named: Vec<_> = problem
        .subproblems
        .iter()
        .filter(|sub| !sub.identifier.value.is_empty())
        .map(|sub| (sub.identifier.value.to_ascii_lowercase(), sub.detail.clone()))
        .collect();
    if named.is_empty() {
        return Failure::Order(format!("the certificate authority refused: {}", problem.text()));
    }
    Failure::Names(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, kind: &str, subproblems: &[&str]) -> Failure {
        let subproblems: Vec<_> = subproblems
            .iter()
            .map(|name| json!({ "detail": "no", "identifier": { "type": "dns", "value": name } }))
            .collect();
        let problem = json!({
            "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "d", "subproblems": subproblems
        });
        let problem = serde_json::from_value(problem).unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        blame(AuthorityError::Refused { status, problem, retry_at: None })
    }

    #[test]
    fn the_blame_goes_to_names_to_the_order_to_the_pace_or_to_the_authority() {
        assert!(matches!(refusal(429, "rateLimited", &[]), Failure::Limited(..)));
        assert!(matches!(refusal(500, "serverInternal", &[]), Failure::Authority(_)));
        assert!(matches!(refusal(503, "", &[]), Failure::Authority(_)));
        assert!(matches!(refusal(400, "rejectedIdentifier", &[]), Failure::Order(_)));
        assert_eq!(
            refusal(400, "rejectedIdentifier", &["A.example"]),
            Failure::Names(vec![("a.example".into(), "no".into())])
        );
        let down = AuthorityError::Nonsense("x".into());
        assert!(matches!(blame(down), Failure::Authority(_)));
    }

    #[test]
    fn an_order_that_replaces_is_made_without_it_after_any_refusal_that_could_be_about_it() {
        for (status, kind, again) in [
            (403, "unauthorized", true),
            (409, "alreadyReplaced", true),
            (400, "malformed", true),
            (404, "notFound", true),
            (409, "", true),
            (429, "rateLimited", false),
            (429, "", false),
            (403, "rateLimited", false),
            (503, "serverInternal", false),
        ] {
            let problem =
                Problem { kind: format!("urn:ietf:params:acme:error:{kind}"), ..Problem::default() };
            let status = StatusCode::from_u16(status).unwrap();
            let error = AuthorityError::Refused { status, problem, retry_at: None };
            assert_eq!(may_be_about_replacing(&error), again, "{status} {kind}");
        }
        assert!(!may_be_about_replacing(&AuthorityError::Nonsense("x".into())));
    }

    #[test]
    fn a_request_holds_every_name_and_no_subject() {
        let names = ["a.example.com".to_owned(), "xn--mnchen-3ya.example".to_owned()];
        let (der, key) = request_for(&names).unwrap();
        let request = rcgen::CertificateSigningRequestParams::from_der(&der.as_slice().into()).unwrap();
        assert_eq!(request.params.subject_alt_names.len(), 2);
        assert!(key.contains("PRIVATE KEY"));
    }
}

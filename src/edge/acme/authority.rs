//! The certificate authority as ACME shows it: its directory, nonces, and signed requests. It repeats what RFC 8555
//! says must be repeated (a nonce that was refused), in bounds, and nothing else: when to try again is the schedule's.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::signature::EcdsaKeyPair;
use http::{HeaderMap, Method, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{sync::Mutex as Turn, time::Instant};

use super::{
    backoff::after,
    http::{Answer, Http, HttpProblem, Way},
    jose::{self, By},
};

/// How often a request whose nonce was refused is sent again. A healthy authority refuses one now and then; one that
/// refuses nine of ten still lets one of 100 in a row through all but certainly.
const NONCE_TRIES_MAX: u32 = 100;

/// After so many refused nonces something is wrong over there: no haste.
const NONCE_TRIES_IN_HASTE: u32 = 5;
const NONCE_PAUSE: Duration = Duration::from_millis(100);

/// Nonces kept for the next requests.
const NONCES_MAX: usize = 16;

/// What an authority may ask us to wait at most before it counts as wrong.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// The directory is read again after this: authorities move things, and a gateway runs for months.
const DIRECTORY_AGE_MAX: Duration = Duration::from_secs(3600);

/// Where things are (RFC 8555 7.1.1, RFC 9773 3).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Directory {
    pub(crate) new_nonce: String,
    pub(crate) new_account: String,
    pub(crate) new_order: String,
    /// Where it says when to renew, if it does.
    #[serde(default)]
    pub(crate) renewal_info: Option<String>,
    #[serde(default)]
    pub(crate) meta: Meta,
}

/// What it says about itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Meta {
    pub(crate) terms_of_service: Option<String>,
    pub(crate) external_account_required: bool,
}

/// An authority's own words on what is wrong (RFC 8555 6.7, RFC 9457).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) detail: String,
    pub(crate) subproblems: Vec<Subproblem>,
}

/// The same of one name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Subproblem {
    pub(crate) detail: String,
    pub(crate) identifier: Identifier,
}

/// A name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Identifier {
    pub(crate) value: String,
}

impl Problem {
    /// Is it of that kind? The last word of its URN.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.rsplit(':').next() == Some(kind)
    }

    /// For the operator: what, and its kind.
    pub(crate) fn text(&self) -> String {
        let kind = self.kind.rsplit(':').next().unwrap_or_default();
        match (self.detail.is_empty(), kind.is_empty()) {
            (false, false) => format!("{} ({kind})", self.detail),
            (false, true) => self.detail.clone(),
            (true, false) => kind.to_owned(),
            (true, true) => "no reason given".to_owned(),
        }
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// It cannot be reached, or broke off.
    #[error(transparent)]
    Http(#[from] HttpProblem),
    /// It refused.
    #[error("the certificate authority refused: {}", problem.text())]
    Refused { status: StatusCode, problem: Problem, retry_at: Option<Timestamp> },
    /// Its answer makes no sense.
    #[error("the certificate authority's answer makes no sense: {0}")]
    Nonsense(String),
    /// What comes before any order cannot be had: its directory, a nonce, an account. It has not heard of the order.
    #[error("{why}")]
    Before { why: String, retry_at: Option<Timestamp> },
    /// Something of ours.
    #[error("{0}")]
    Ours(String),
}

impl AuthorityError {
    /// The problem document, if that is what came.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// The same, of something that comes before any order.
    pub(crate) fn before(self, what: &str) -> Self {
        let retry_at = match &self {
            Self::Refused { retry_at, .. } => *retry_at,
            Self::Before { .. } => return self,
            _ => None,
        };
        Self::Before { why: format!("{what}{self}"), retry_at }
    }

    /// May it have acted on the request, although its answer is no success?
    pub(crate) fn may_have_acted(&self) -> bool {
        match self {
            Self::Http(problem) => problem.may_have_arrived(),
            // It knows the error as its own, or what answers for it does not know what it has done.
            Self::Refused { status, .. } => status.is_server_error(),
            Self::Nonsense(_) => true,
            Self::Before { .. } | Self::Ours(_) => false,
        }
    }
}

/// One authority.
pub(crate) struct Authority {
    http: Http,
    url: String,
    /// When it was read, and what it said. One asks, the others wait for its answer.
    directory: Turn<Option<(Instant, Arc<Directory>)>>,
    nonces: Mutex<Vec<String>>,
}

impl Authority {
    pub(crate) fn new(http: Http, url: &str) -> Self {
        Self { http, url: url.to_owned(), directory: Turn::default(), nonces: Mutex::default() }
    }

    /// Its directory.
    pub(crate) async fn directory(&self) -> Result<Arc<Directory>, AuthorityError> {
        let mut known = self.directory.lock().await;
        if let Some((read_at, directory)) = &*known
            && read_at.elapsed() < DIRECTORY_AGE_MAX
        {
            return Ok(directory.clone());
        }
        let read = async { read::<Directory>(&self.get(&self.url).await?) };
        let directory = Arc::new(read.await.map_err(|error| error.before(""))?);
        *known = Some((Instant::now(), directory.clone()));
        Ok(directory)
    }

    /// An answer to a plain request.
    pub(crate) async fn get(&self, url: &str) -> Result<Answer, AuthorityError> {
        accepted(self.http.send((&Method::GET, Way::Any), url, None).await?)
    }

    /// An answer to a signed request; nonces that are refused are replaced. An order goes out once.
    pub(crate) async fn post(
        &self,
        key: &EcdsaKeyPair,
        by: By<'_>,
        url: &str,
        payload: &str,
    ) -> Result<Answer, AuthorityError> {
        let way = if self.directory().await?.new_order == url { Way::Fresh } else { Way::Any };
        for tries in 1.. {
            let nonce = self.nonce().await.map_err(|error| error.before(""))?;
            let body = jose::signed(key, by, (&nonce, url), payload).map_err(AuthorityError::Ours)?;
            let answer = self.http.send((&Method::POST, way), url, Some(&body)).await?;
            self.keep_nonce(&answer.headers);
            match accepted(answer) {
                Err(AuthorityError::Refused { problem, .. })
                    if problem.is("badNonce") && tries < NONCE_TRIES_MAX =>
                {
                    tracing::debug!(tries, "the certificate authority refused a nonce");
                    if tries >= NONCE_TRIES_IN_HASTE {
                        tokio::time::sleep(NONCE_PAUSE).await;
                    }
                }
                outcome => return outcome,
            }
        }
        Err(AuthorityError::Nonsense("no nonce is good enough".to_owned()))
    }

    async fn nonce(&self) -> Result<String, AuthorityError> {
        let kept = self.nonces.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(nonce) = kept {
            return Ok(nonce);
        }
        let directory = self.directory().await?;
        let answer = accepted(self.http.send((&Method::HEAD, Way::Any), &directory.new_nonce, None).await?)?;
        let nonce = nonce_of(&answer.headers);
        nonce.ok_or_else(|| AuthorityError::Nonsense("it gave no nonce when asked for one".to_owned()))
    }

    fn keep_nonce(&self, headers: &HeaderMap) {
        let Some(nonce) = nonce_of(headers) else { return };
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        if nonces.len() < NONCES_MAX {
            nonces.push(nonce);
        }
    }
}

/// JSON, or what is wrong with it.
pub(crate) fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, AuthorityError> {
    serde_json::from_slice(&answer.body).map_err(|error| AuthorityError::Nonsense(error.to_string()))
}

/// When to ask again, if it says so: seconds, or a date.
pub(crate) fn retry_at(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let at = match text.parse::<u64>() {
        Ok(seconds) => after(now, Duration::from_secs(seconds).min(RETRY_AFTER_MAX)),
        Err(_) => jiff::fmt::rfc2822::parse(text).ok()?.timestamp(),
    };
    Some(at.clamp(now, after(now, RETRY_AFTER_MAX)))
}

fn nonce_of(headers: &HeaderMap) -> Option<String> {
    headers.get("replay-nonce")?.to_str().ok().map(str::to_owned)
}

fn accepted(answer: Answer) -> Result<Answer, AuthorityError> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let problem = serde_json::from_slice::<Problem>(&answer.body)
        .unwrap_or_else(|_| Problem { detail: format!("HTTP {}", answer.status), ..Problem::default() });
    let retry_at = retry_at(&answer.headers, Timestamp::now());
    Err(AuthorityError::Refused { status: answer.status, problem, retry_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let at = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_at(&headers, now).map(|at| at.to_string())
        };
        assert_eq!(at("90").as_deref(), Some("2026-01-02T03:05:35Z"));
        assert_eq!(at("Fri, 02 Jan 2026 04:00:00 GMT").as_deref(), Some("2026-01-02T04:00:00Z"));
        assert_eq!(at("Thu, 02 Jan 2020 04:00:00 GMT").as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(at("999999999999").as_deref(), Some("2026-01-03T03:04:05Z"));
        assert_eq!(at("soon"), None);
    }

    #[test]
    fn what_may_have_been_acted_on_is_told_from_what_surely_was_not() {
        let authority = || "ca.example".to_owned();
        let reason = || "reset".to_owned();
        let slow = |sent| HttpProblem::Slow { authority: authority(), limit: Duration::from_secs(1), sent };
        let refused = |status| AuthorityError::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            problem: Problem::default(),
            retry_at: None,
        };
        for (error, acted) in [
            (HttpProblem::Unreachable { authority: authority(), reason: reason() }.into(), false),
            (HttpProblem::Broken { authority: authority(), reason: reason() }.into(), true),
            (slow(false).into(), false),
            (slow(true).into(), true),
            (refused(400), false),
            (refused(403), false),
            (refused(429), false),
            (refused(500), true),
            (refused(504), true),
            (AuthorityError::Nonsense("an order without its URL".into()), true),
            (AuthorityError::Http(slow(true)).before(""), false),
            (AuthorityError::Ours("x".into()), false),
        ] {
            assert_eq!(error.may_have_acted(), acted, "{error:?}");
        }
    }

    #[test]
    fn a_problem_names_the_hosts_it_is_about() {
        let text = r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"no","status":400,
            "subproblems":[{"type":"urn:ietf:params:acme:error:caa","detail":"CAA forbids",
            "identifier":{"type":"dns","value":"a.example"}}]}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert!(problem.is("rejectedIdentifier") && !problem.is("badNonce"));
        assert_eq!(problem.subproblems[0].identifier.value, "a.example");
        assert_eq!(problem.text(), "no (rejectedIdentifier)");
    }
}

//! One order from its first request to its certificate (RFC 8555 7.4), or from wherever it was left. It tries once and
//! says who is to blame; when to try again, and with whom, is the schedule's. Cancel safe: what it showed to the authority
//! goes with it, and what the authority has made can be taken up again.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use http::{StatusCode, header};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::RwLockReadGuard;

use super::{
    account::Session,
    authority::{AuthorityError, Problem, read},
    authorization::{Looks, prove},
    challenges::Challenges,
    failure::{Failure, blame, refused},
    jose::base64url,
};

/// What is ordered.
#[derive(Default)]
pub(crate) struct Wish {
    pub(crate) names: Vec<String>,
    /// The certificate that it replaces, as the authority knows it (RFC 9773).
    pub(crate) replaces: Option<String>,
    /// Names whose last TLS-ALPN-01 failed.
    pub(crate) over_http: BTreeSet<String>,
    /// The authority has made it already.
    pub(crate) made: Option<Made>,
}

/// An order that the authority has made.
#[derive(Clone)]
pub(crate) struct Made {
    /// Where it has it.
    pub(crate) url: String,
    /// The key that the certificate is to be for.
    pub(crate) key_pem: String,
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

/// What must be known of an order although it may be cut off at any moment.
pub(crate) struct Progress<'a> {
    /// The authority may have made it: from here on it counts against our limits.
    pub(crate) made: &'a AtomicBool,
    /// Called when it has, before anything else happens to it.
    pub(crate) keep: &'a (dyn Fn(&Made) -> Result<(), String> + Sync),
    /// Called when nothing but the authority itself can keep the certificate from being made.
    pub(crate) commit: &'a (dyn Fn() -> Result<(), String> + Sync),
}

/// Carry it out. `naming` is let go once the order's URL is kept, or will never be known.
pub(crate) async fn order(
    session: &Session,
    challenges: &Arc<Challenges>,
    wish: &Wish,
    progress: Progress<'_>,
    naming: Option<RwLockReadGuard<'_, ()>>,
) -> Result<Brought, Failure> {
    let (made, order) = match &wish.made {
        Some(made) => (made.clone(), look(session, &made.url).await.map_err(blame)?),
        None => make(session, wish, &progress).await?,
    };
    drop(naming);
    if order.status == "pending" {
        prove(session, challenges, wish, &order.authorizations).await?;
    }
    let order = until(session, &made.url, |order| order.status != "pending").await.map_err(blame)?;
    if order.status == "invalid" {
        return Err(refused(order.error.unwrap_or_default()));
    }
    let csr = request_for(&wish.names, &made.key_pem).map_err(Failure::ours)?;
    (progress.commit)().map_err(Failure::ours)?;
    if order.status == "ready" {
        let payload = json!({ "csr": base64url(csr) }).to_string();
        session.post(&order.finalize, &payload).await.map_err(blame)?;
    }
    let done = |order: &Order| matches!(order.status.as_str(), "valid" | "invalid");
    let order = until(session, &made.url, done).await.map_err(blame)?;
    let Some(certificate) = order.certificate.filter(|_| order.status == "valid") else {
        return Err(refused(order.error.unwrap_or_default()));
    };
    let answer = session.post(&certificate, "").await.map_err(blame)?;
    let chain_pem = String::from_utf8(answer.body.to_vec())
        .map_err(|_| Failure::Trouble("the certificate is no text".to_owned(), None))?;
    Ok(Brought { chain_pem, key_pem: made.key_pem })
}

/// Does an order that was made before still wait for somebody to show what it wants to see? One that is over, or that
/// the authority does not know, is gone.
pub(crate) async fn is_unproven(session: &Session, url: &str) -> Result<bool, Failure> {
    match look(session, url).await {
        Ok(order) if order.status == "invalid" => Err(Failure::Gone("it is no longer valid".to_owned())),
        Ok(order) => Ok(order.status == "pending"),
        Err(error) if is_about_the_order(&error) => Err(Failure::Gone(error.to_string())),
        Err(error) => Err(blame(error)),
    }
}

/// Does it not know the order, or not as ours? Pace, nonces, the account and its own failures say nothing of that.
fn is_about_the_order(error: &AuthorityError) -> bool {
    let AuthorityError::Refused { status, problem, .. } = error else { return false };
    let other = ["rateLimited", "badNonce", "accountDoesNotExist", "userActionRequired", "serverInternal"];
    status.is_client_error()
        && *status != StatusCode::TOO_MANY_REQUESTS
        && !other.iter().any(|kind| problem.is(kind))
}

/// Make the order, and keep what it can be taken up by.
async fn make(session: &Session, wish: &Wish, progress: &Progress<'_>) -> Result<(Made, Order), Failure> {
    // Whatever must be there before it: it has not been sent as long as that is missing.
    session.account().await.map_err(blame)?;
    progress.made.store(true, Relaxed);
    let (url, order) = begin(session, wish).await.map_err(|error| {
        progress.made.store(error.may_have_acted(), Relaxed);
        blame(error)
    })?;
    let key = KeyPair::generate().map_err(|error| Failure::ours(error.to_string()))?;
    let made = Made { url, key_pem: key.serialize_pem() };
    (progress.keep)(&made).map_err(Failure::ours)?;
    Ok((made, order))
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

async fn look(session: &Session, url: &str) -> Result<Order, AuthorityError> {
    read(&session.post(url, "").await?)
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

/// A certificate request for these names under this key, in DER.
fn request_for(names: &[String], key_pem: &str) -> Result<Vec<u8>, String> {
    let mut params = CertificateParams::new(names.to_vec()).map_err(|error| error.to_string())?;
    // Names stand in the alternative names alone.
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::from_pem(key_pem).map_err(|error| error.to_string())?;
    let csr = params.serialize_request(&key).map_err(|error| error.to_string())?;
    Ok(csr.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let key = KeyPair::generate().unwrap().serialize_pem();
        let der = request_for(&names, &key).unwrap();
        let request = rcgen::CertificateSigningRequestParams::from_der(&der.as_slice().into()).unwrap();
        assert_eq!(request.params.subject_alt_names.len(), 2);
        assert!(request_for(&names, "no key").is_err());
    }
}

//! Proving that the hosts of an order are ours: what the authority is shown for each, and what it makes of it (RFC 8555
//! 7.5). It takes part in one order and knows of no other.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls_acme::acme::{Account, Auth, AuthStatus, Challenge, ChallengeType, Identifier};

use super::{
    account::Session,
    authority::{AuthorityError, read, retry_at},
    backoff::between,
    challenges::{Challenges, Shown},
    failure::{Failure, blame},
    http::Answer,
    order::Wish,
};

/// First pause between two looks at something that the authority works on; each is half as long again.
const LOOK_FIRST: Duration = Duration::from_millis(250);
const LOOK_LONGEST: Duration = Duration::from_secs(5);

/// The longest pause that an authority may ask for between two looks; the order's own limit ends it all.
const LOOK_ASKED_MAX: Duration = Duration::from_secs(30);

/// A name that the authority looks at now.
struct Pending {
    name: String,
    url: String,
    _shown: Vec<Shown>,
}

/// Prove all of them.
pub(crate) async fn prove(
    session: &Session,
    challenges: &Arc<Challenges>,
    wish: &Wish,
    authorizations: &[String],
) -> Result<(), Failure> {
    let mut culprits = Vec::new();
    let mut pending = Vec::new();
    for authorization in authorizations {
        match show(session, challenges, wish, authorization).await.map_err(blame)? {
            Outcome::Pending(one) => pending.push(one),
            Outcome::Valid => {}
            Outcome::Failed(name, why) => culprits.push((name, why)),
        }
    }
    // All of them to their end: the next order is then made without all who fail, not without the first.
    culprits.extend(settle(session, pending).await.map_err(blame)?);
    if culprits.is_empty() { Ok(()) } else { Err(Failure::Names(culprits)) }
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
    let shown = shown(&account, challenges, name, &auth.challenges)?;
    let Some(challenge) = chosen(&auth.challenges, over_http) else {
        let why = "the certificate authority offers neither TLS-ALPN-01 nor HTTP-01 for it";
        return Ok(Outcome::Failed(name.clone(), why.to_owned()));
    };
    match session.post(&challenge.url, "{}").await {
        // It was told before, and is on its way or has been here: what it makes of that is what counts.
        Err(AuthorityError::Refused { status, .. }) if wish.made.is_some() && status.is_client_error() => {}
        told => drop(told?),
    }
    Ok(Outcome::Pending(Pending { name: name.clone(), url: url.to_owned(), _shown: shown }))
}

/// The challenge to take: the one whose turn it is, or else the other.
fn chosen(offered: &[Challenge], over_http: bool) -> Option<&Challenge> {
    let of = |kind: ChallengeType| offered.iter().find(|challenge| challenge.typ == kind);
    let (alpn, http) = (of(ChallengeType::TlsAlpn01), of(ChallengeType::Http01));
    if over_http { http.or(alpn) } else { alpn.or(http) }
}

/// What is shown for a name: the answers to all challenges, since an order that is taken up again may have been looked at
/// by any of them.
fn shown(
    account: &Account,
    challenges: &Arc<Challenges>,
    name: &str,
    offered: &[Challenge],
) -> Result<Vec<Shown>, AuthorityError> {
    let ours = |error: rustls_acme::acme::AcmeError| AuthorityError::Ours(error.to_string());
    let full = || AuthorityError::Ours("too many challenges are pending".to_owned());
    let mut shown = Vec::new();
    if chosen(offered, true).is_some_and(|one| one.typ == ChallengeType::Http01) {
        let (challenge, text) = account.http_01(offered).map_err(ours)?;
        shown.push(challenges.show_token(name, &challenge.token, text).ok_or_else(full)?);
    }
    if chosen(offered, false).is_some_and(|one| one.typ == ChallengeType::TlsAlpn01) {
        let (_, certified) = account.tls_alpn_01(offered, name.to_owned()).map_err(ours)?;
        shown.push(challenges.show_certificate(name, certified).ok_or_else(full)?);
    }
    Ok(shown)
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

/// The pauses between looks.
pub(crate) struct Looks {
    next: Duration,
}

impl Default for Looks {
    fn default() -> Self {
        Self { next: LOOK_FIRST }
    }
}

impl Looks {
    /// As long as the authority wants, or a little longer each time.
    pub(crate) async fn pause(&mut self, answer: &Answer) {
        let now = Timestamp::now();
        let asked = retry_at(&answer.headers, now).map(|at| between(now, at).min(LOOK_ASKED_MAX));
        tokio::time::sleep(asked.unwrap_or_default().max(self.next)).await;
        self.next = (self.next * 3 / 2).min(LOOK_LONGEST);
    }
}

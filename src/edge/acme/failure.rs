//! Why an order brought no certificate, and whose fault that is: told from the authority's answers alone. What follows
//! from it is the history's.

use http::StatusCode;
use jiff::Timestamp;

use super::authority::{AuthorityError, Problem};

/// Why an order brought no certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// These names failed, each with its reason; the others are free of blame.
    Names(Vec<(String, String)>),
    /// The authority refused the order as a whole.
    Order(String),
    /// Too many orders; not before then, if it said so.
    Limited(String, Option<Timestamp>),
    /// It failed at this order, or gave no answer: of this order's hosts first, of the authority when others fail too.
    Trouble(String, Option<Timestamp>),
    /// The authority cannot be had at all, or asks everybody to wait until then: no host's fault.
    Authority(String, Option<Timestamp>),
    /// An order that was taken up again is over, or unknown: it costs nothing but itself.
    Gone(String),
}

impl Failure {
    /// Of our own: the next try may do better, and no host has to do with it.
    pub(crate) fn ours(why: impl Into<String>) -> Self {
        Self::Authority(why.into(), None)
    }

    /// Why, unless single names are to blame.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Names(_) => "its hosts failed",
            Self::Order(why)
            | Self::Limited(why, _)
            | Self::Trouble(why, _)
            | Self::Authority(why, _)
            | Self::Gone(why) => why,
        }
    }

    /// Can the order still bring its certificate?
    pub(crate) fn leaves_the_order(&self) -> bool {
        matches!(self, Self::Limited(..) | Self::Trouble(..) | Self::Authority(..))
    }

    /// The word for the metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Names(_) => "host-failed",
            Self::Order(_) | Self::Gone(_) => "refused",
            Self::Limited(..) => "rate-limited",
            Self::Trouble(..) | Self::Authority(..) => "authority-failed",
        }
    }
}

/// Whose fault an error is.
pub(crate) fn blame(error: AuthorityError) -> Failure {
    let text = error.to_string();
    match error {
        AuthorityError::Refused { status, problem, retry_at } => blame_refusal(status, problem, retry_at),
        AuthorityError::Http(problem) if problem.may_have_arrived() => Failure::Trouble(text, None),
        AuthorityError::Nonsense(_) => Failure::Trouble(text, None),
        AuthorityError::Before { retry_at, .. } => Failure::Authority(text, retry_at),
        AuthorityError::Http(_) | AuthorityError::Ours(_) => Failure::Authority(text, None),
    }
}

fn blame_refusal(status: StatusCode, problem: Problem, retry_at: Option<Timestamp>) -> Failure {
    if problem.is("rateLimited") || status == StatusCode::TOO_MANY_REQUESTS {
        return Failure::Limited(problem.text(), retry_at);
    }
    let why = || format!("the certificate authority refused: {}", problem.text());
    let of_everybody = ["badNonce", "accountDoesNotExist", "userActionRequired", "unauthorized"];
    // With a moment, 503 says when the service is there again, and not what is wrong with this request (RFC 9110 15.6.4).
    let is_closed = status == StatusCode::SERVICE_UNAVAILABLE && retry_at.is_some();
    if is_closed || of_everybody.iter().any(|kind| problem.is(kind)) {
        return Failure::Authority(why(), retry_at);
    }
    if status.is_server_error() || problem.is("serverInternal") || retry_at.is_some() {
        return Failure::Trouble(why(), retry_at);
    }
    refused(problem)
}

/// A refusal of the order: of the names that it blames, or as a whole.
pub(crate) fn refused(problem: Problem) -> Failure {
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
    use serde_json::json;

    use super::*;

    fn refusal(status: u16, kind: &str, subproblems: &[&str], retry_at: Option<Timestamp>) -> Failure {
        let subproblems: Vec<_> = subproblems
            .iter()
            .map(|name| json!({ "detail": "no", "identifier": { "type": "dns", "value": name } }))
            .collect();
        let problem = json!({
            "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "d", "subproblems": subproblems
        });
        let problem = serde_json::from_value(problem).unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        blame(AuthorityError::Refused { status, problem, retry_at })
    }

    #[test]
    fn the_blame_goes_to_names_to_the_order_to_the_pace_or_to_the_authority() {
        let later = Some(Timestamp::UNIX_EPOCH);
        for (status, kind, retry_at, word) in [
            (429, "rateLimited", None, "Limited"),
            (429, "", later, "Limited"),
            (500, "serverInternal", None, "Trouble"),
            (500, "serverInternal", later, "Trouble"),
            (503, "", None, "Trouble"),
            (503, "", later, "Authority"),
            (502, "", None, "Trouble"),
            (403, "unauthorized", None, "Authority"),
            (400, "badNonce", None, "Authority"),
            (400, "rejectedIdentifier", None, "Order"),
            (400, "rejectedIdentifier", later, "Trouble"),
        ] {
            let failure = format!("{:?}", refusal(status, kind, &[], retry_at));
            assert!(failure.starts_with(word), "{status} {kind} {retry_at:?}: {failure}");
            assert_eq!(failure.contains("Some("), retry_at.is_some(), "{failure}");
        }
        assert_eq!(
            refusal(400, "rejectedIdentifier", &["A.example"], None),
            Failure::Names(vec![("a.example".into(), "no".into())])
        );
    }

    #[test]
    fn an_account_that_cannot_be_had_is_the_authoritys_and_keeps_its_pause() {
        let refused = AuthorityError::Refused {
            status: StatusCode::TOO_MANY_REQUESTS,
            problem: Problem { detail: "too many accounts".to_owned(), ..Problem::default() },
            retry_at: Some(Timestamp::UNIX_EPOCH),
        };
        let failure = blame(refused.before("no account with the certificate authority: "));
        let Failure::Authority(why, until) = failure else { panic!("{failure:?}") };
        assert_eq!(until, Some(Timestamp::UNIX_EPOCH));
        assert!(why.starts_with("no account with") && why.contains("too many accounts"), "{why}");
        assert!(matches!(blame(AuthorityError::Nonsense("x".into())), Failure::Trouble(..)));
        assert!(matches!(blame(AuthorityError::Ours("x".into())), Failure::Authority(..)));
    }
}

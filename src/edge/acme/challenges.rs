//! What a certificate authority comes to see while an order is under way, and what a look at ourselves asks for. The
//! edge's threads read it; nothing is in it that is not pending, and everything goes when its order ends.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls::sign::CertifiedKey;

/// The ALPN protocol of TLS-ALPN-01 (RFC 8737).
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

const TOKENS: &str = "/.well-known/acme-challenge/";
const NONCES: &str = "/.well-known/gateway/";

/// Pending at once: far above names in an order times orders at once, and small in memory.
const PENDING_MAX: usize = 10_000;

/// All that is pending.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    /// TLS-ALPN-01: the certificate, by name.
    certificates: HashMap<String, Arc<CertifiedKey>>,
    /// HTTP-01: the host and what to say, by token.
    tokens: HashMap<String, (String, String)>,
    /// Looks at ourselves: the host, and whether it has been asked for, by nonce.
    nonces: HashMap<String, (String, bool)>,
}

/// One thing that is pending, until it is dropped.
#[derive(Debug)]
pub(crate) struct Shown {
    challenges: Arc<Challenges>,
    what: What,
}

#[derive(Debug)]
enum What {
    Certificate(String),
    Token(String),
    Nonce(String),
}

impl Challenges {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Show this certificate to who comes with the challenge's protocol. `None`: there are too many.
    pub(crate) fn show_certificate(self: &Arc<Self>, name: &str, certified: CertifiedKey) -> Option<Shown> {
        let mut pending = self.pending();
        let full = pending.certificates.len() >= PENDING_MAX;
        (!full).then(|| {
            pending.certificates.insert(name.to_owned(), Arc::new(certified));
            Shown { challenges: self.clone(), what: What::Certificate(name.to_owned()) }
        })
    }

    /// Show this text under its token. `None`: there are too many.
    pub(crate) fn show_token(self: &Arc<Self>, host: &str, token: &str, text: String) -> Option<Shown> {
        let mut pending = self.pending();
        let full = pending.tokens.len() >= PENDING_MAX;
        (!full).then(|| {
            pending.tokens.insert(token.to_owned(), (host.to_owned(), text));
            Shown { challenges: self.clone(), what: What::Token(token.to_owned()) }
        })
    }

    /// Wait for somebody who comes to `host` with this nonce. `None`: there are too many.
    pub(crate) fn show_nonce(self: &Arc<Self>, host: &str, nonce: &str) -> Option<Shown> {
        let mut pending = self.pending();
        let full = pending.nonces.len() >= PENDING_MAX;
        (!full).then(|| {
            pending.nonces.insert(nonce.to_owned(), (host.to_owned(), false));
            Shown { challenges: self.clone(), what: What::Nonce(nonce.to_owned()) }
        })
    }

    /// The certificate for a handshake that offers the challenge's protocol alone.
    pub(crate) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.pending().certificates.get(name).cloned()
    }

    /// The answer to a request, if it is for something pending of that host. Costs other requests one comparison.
    pub(crate) fn answer(&self, path: &str, host: impl FnOnce() -> Option<String>) -> Option<String> {
        if !path.starts_with("/.well-known/") {
            return None;
        }
        if let Some(token) = path.strip_prefix(TOKENS) {
            let (theirs, text) = self.pending().tokens.get(token).cloned()?;
            return (host()? == theirs).then_some(text);
        }
        let nonce = path.strip_prefix(NONCES)?;
        let host = host()?;
        let mut pending = self.pending();
        let (theirs, seen) = pending.nonces.get_mut(nonce)?;
        if *theirs != host {
            return None;
        }
        *seen = true;
        Some(nonce.to_owned())
    }
}

impl Shown {
    /// Has somebody come for this nonce?
    pub(crate) fn was_seen(&self) -> bool {
        let What::Nonce(nonce) = &self.what else { return false };
        self.challenges.pending().nonces.get(nonce).is_some_and(|(_, seen)| *seen)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let mut pending = self.challenges.pending();
        match &self.what {
            What::Certificate(name) => drop(pending.certificates.remove(name)),
            What::Token(token) => drop(pending.tokens.remove(token)),
            What::Nonce(nonce) => drop(pending.nonces.remove(nonce)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_pending_is_answered_and_only_for_its_host() {
        let challenges = Arc::new(Challenges::default());
        let answer = |path: &str, host: &str| challenges.answer(path, || Some(host.to_owned()));
        let shown = challenges.show_token("a.example", "t1", "t1.print".into()).unwrap();
        let path = "/.well-known/acme-challenge/t1";
        assert_eq!(answer(path, "a.example").as_deref(), Some("t1.print"));
        assert_eq!(answer(path, "b.example"), None);
        assert_eq!(answer("/.well-known/acme-challenge/t2", "a.example"), None);
        assert_eq!(answer("/.well-known/acme-challenge/", "a.example"), None);
        assert_eq!(answer("/other", "a.example"), None);
        drop(shown);
        assert_eq!(answer(path, "a.example"), None);
    }

    #[test]
    fn a_look_at_ourselves_knows_whether_it_came_back() {
        let challenges = Arc::new(Challenges::default());
        let shown = challenges.show_nonce("a.example", "n1").unwrap();
        let answer = |host: &str| challenges.answer("/.well-known/gateway/n1", || Some(host.to_owned()));
        assert_eq!(answer("b.example"), None);
        assert!(!shown.was_seen());
        assert_eq!(answer("a.example").as_deref(), Some("n1"));
        assert!(shown.was_seen());
    }
}

//! The one account with an authority: its key is made once, before anybody hears of it, and kept for good, so that a
//! crash between the two finds the same account again. Nothing here says when to order.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use http::header;
use rustls_acme::acme::{self, Account};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex as Turn;

use super::{
    authority::{Authority, AuthorityError, Directory},
    config::AcmeConfig,
    disk,
    http::Answer,
    jose::{self, By},
};

/// An authority and our account with it.
pub(crate) struct Session {
    pub(crate) authority: Authority,
    directory: PathBuf,
    contact: Vec<String>,
    external: Option<External>,
    /// One registers, the others wait.
    account: Turn<Option<Arc<Account>>>,
    terms_told: AtomicBool,
}

/// An account elsewhere that ours is to be bound to.
struct External {
    id: String,
    mac_key: Vec<u8>,
}

/// `account.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The account's URL.
    kid: String,
    contact: Vec<String>,
}

impl Session {
    /// A session that keeps its account in `directory`.
    pub(crate) fn new(authority: Authority, config: &AcmeConfig, directory: PathBuf) -> Result<Self, String> {
        Ok(Self {
            authority,
            directory,
            contact: config.contact.iter().map(|address| format!("mailto:{address}")).collect(),
            external: External::read(config)?,
            account: Turn::default(),
            terms_told: AtomicBool::new(false),
        })
    }

    /// The account, registered if it is not yet.
    pub(crate) async fn account(&self) -> Result<Arc<Account>, AuthorityError> {
        let mut current = self.account.lock().await;
        if let Some(account) = &*current {
            return Ok(account.clone());
        }
        let directory = self.authority.directory().await?;
        let account = self.open(&directory).await;
        let no_account = "no account with the certificate authority: ";
        let account = Arc::new(account.map_err(|error| error.before(no_account))?);
        *current = Some(account.clone());
        Ok(account)
    }

    /// An answer to a request of the account. An authority that has forgotten it is told anew, once.
    pub(crate) async fn post(&self, url: &str, payload: &str) -> Result<Answer, AuthorityError> {
        let account = self.account().await?;
        let answer = self.authority.post(&account.key_pair, By::Account(&account.kid), url, payload).await;
        let Err(error) = &answer else { return answer };
        if !error.problem().is_some_and(|problem| problem.is("accountDoesNotExist")) {
            return answer;
        }
        tracing::warn!(account = account.kid, "the certificate authority has forgotten our account");
        self.forget(&account).await?;
        let account = self.account().await?;
        self.authority.post(&account.key_pair, By::Account(&account.kid), url, payload).await
    }

    async fn forget(&self, gone: &Arc<Account>) -> Result<(), AuthorityError> {
        let mut current = self.account.lock().await;
        if current.as_ref().is_some_and(|account| Arc::ptr_eq(account, gone)) {
            *current = None;
            let path = self.directory.join("account.json");
            std::fs::remove_file(&path).map_err(|error| unusable(&path, &error))?;
        }
        Ok(())
    }

    async fn open(&self, directory: &Directory) -> Result<Account, AuthorityError> {
        let key = self.key()?;
        let path = self.directory.join("account.json");
        let kept = disk::read(&path).map_err(|error| unusable(&path, &error))?;
        // What cannot be read is asked for anew: the key finds the account.
        let kept = kept.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let kid = match kept {
            Some(kept) if kept.contact == self.contact => kept.kid,
            Some(kept) => match self.tell_contact(&key, &kept.kid).await {
                Err(error) if error.problem().is_some_and(|p| p.is("accountDoesNotExist")) => {
                    self.register(directory, &key).await?
                }
                outcome => outcome.map(|()| kept.kid)?,
            },
            None => self.register(directory, &key).await?,
        };
        let kept = Kept { kid: kid.clone(), contact: self.contact.clone() };
        let text = serde_json::to_vec_pretty(&kept).unwrap_or_default();
        disk::write(&path, &text).map_err(|error| unusable(&path, &error))?;
        let (new_nonce, new_account) = (directory.new_nonce.clone(), directory.new_account.clone());
        let directory = acme::Directory { new_nonce, new_account, new_order: directory.new_order.clone() };
        Ok(Account { key_pair: key, directory, kid })
    }

    /// The account's key, made once and on the disk before it is used.
    fn key(&self) -> Result<EcdsaKeyPair, AuthorityError> {
        let path = self.directory.join("account.key");
        let kept = disk::read(&path).map_err(|error| unusable(&path, &error))?;
        let pkcs8 = match kept {
            Some(pkcs8) => pkcs8,
            None => {
                let fresh = Account::generate_key_pair();
                disk::write(&path, &fresh).map_err(|error| unusable(&path, &error))?;
                fresh
            }
        };
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
            .map_err(|error| AuthorityError::Ours(format!("{} holds no P-256 key: {error}", path.display())))
    }

    async fn register(&self, directory: &Directory, key: &EcdsaKeyPair) -> Result<String, AuthorityError> {
        let mut payload = json!({ "termsOfServiceAgreed": true, "contact": self.contact });
        match &self.external {
            Some(External { id, mac_key }) => {
                let bound = jose::bound(key, id, mac_key, &directory.new_account);
                payload["externalAccountBinding"] = bound.map_err(AuthorityError::Ours)?;
            }
            None if directory.meta.external_account_required => {
                let why = "it wants ours bound to one that you have with it: set \
                           `tls.acme.external_account_id` and `tls.acme.external_account_key_file`";
                return Err(AuthorityError::Ours(why.to_owned()));
            }
            None => {}
        }
        if let Some(terms) = &directory.meta.terms_of_service
            && !self.terms_told.swap(true, Relaxed)
        {
            tracing::info!(terms, "registering with the certificate authority, under its terms of service");
        }
        let url = &directory.new_account;
        let answer = self.authority.post(key, By::Key, url, &payload.to_string()).await?;
        let kid = answer.headers.get(header::LOCATION).and_then(|kid| kid.to_str().ok()).map(str::to_owned);
        let kid = kid.ok_or_else(|| AuthorityError::Nonsense("a new account without its URL".to_owned()))?;
        tracing::info!(account = kid, "registered with the certificate authority");
        Ok(kid)
    }

    async fn tell_contact(&self, key: &EcdsaKeyPair, kid: &str) -> Result<(), AuthorityError> {
        let payload = json!({ "contact": self.contact }).to_string();
        self.authority.post(key, By::Account(kid), kid, &payload).await.map(drop)
    }
}

impl External {
    fn read(config: &AcmeConfig) -> Result<Option<Self>, String> {
        let (Some(id), Some(path)) = (&config.external_account_id, &config.external_account_key_file) else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        let mac_key = mac_key(&text).ok_or_else(|| format!("{} holds no base64url key", path.display()))?;
        Ok(Some(Self { id: id.clone(), mac_key }))
    }
}

/// The key in such a file: authorities hand it out as base64url, with or without padding.
pub(crate) fn mac_key(text: &str) -> Option<Vec<u8>> {
    let key = BASE64_URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('=')).ok()?;
    (!key.is_empty()).then_some(key)
}

fn unusable(path: &std::path::Path, error: &std::io::Error) -> AuthorityError {
    AuthorityError::Ours(format!("cannot use {}: {error}", path.display()))
}

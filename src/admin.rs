//! The operator's side: an API on a Unix socket. It shows and orders; it never serves strangers.

mod config;

pub(crate) use self::config::Config;

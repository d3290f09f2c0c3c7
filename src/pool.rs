//! The open connections to tenants' databases, and how they are shared fairly. It knows no protocol.

mod config;

pub(crate) use self::config::Config;

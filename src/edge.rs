//! Where connections from the internet end. It names tenants and the roster, never a door or a pool.

mod config;

pub(crate) use self::config::{CertificateFiles, Config, HttpMode, OpenPath, TlsConfig, TlsMode};

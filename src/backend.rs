//! The Node application: its worker processes and the roster of those that may take traffic. It knows no
//! tenant's data and no HTTP request.

mod config;

pub(crate) use self::config::Config;

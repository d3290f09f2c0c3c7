//! From layers to a checked configuration: defaults < file < `conf.d/*.toml` < environment < flags.

use std::{collections::BTreeMap, path::PathBuf};

use super::{Config, Problem, Problems};

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// `--config FILE`; none is `GATEWAY_CONFIG`, then `/etc/gateway/gateway.toml`.
    pub(crate) config: Option<PathBuf>,
    /// `--set KEY=VALUE`, in the order given; the last one wins.
    pub(crate) set: Vec<(String, String)>,
}

impl Flags {
    /// Take a `--set` apart; fit for clap's `value_parser`.
    pub(crate) fn parse_set(text: &str) -> Result<(String, String), String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok((key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err("write it as KEY=VALUE, such as `--set log.level=debug`".to_owned()),
        }
    }
}

/// A configuration that may be used.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// Checked; every path in it is absolute.
    pub(crate) config: Config,
    /// Where relative paths start: the configuration file's directory, or the working directory without one.
    pub(crate) directory: PathBuf,
    /// The files read, in order.
    pub(crate) files: Vec<PathBuf>,
    /// Legal, but probably not meant: print them, go on.
    pub(crate) warnings: Vec<Problem>,
}

/// Read and check the configuration of this process, or say everything that is wrong with it.
pub(crate) fn load(flags: &Flags) -> Result<Loaded, Problems> {
    // Not `vars`: it panics on the first variable that is no UTF-8, ours or not.
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    load_with(flags, &std::env::vars_os().filter_map(text).collect())
}

/// `load` with an environment of the caller's own.
pub(crate) fn load_with(flags: &Flags, environment: &BTreeMap<String, String>) -> Result<Loaded, Problems> {
    todo!("{flags:?} {}", environment.len())
}

//! What serves today, as a configuration of ours: nginx's servers, pm2's applications, certbot's certificates. Pure but for the
//! reading of certbot's directory: texts go in, a configuration and what it could not carry come out. No value of an environment, no password and no header's
//! content comes out.

mod certbot;
mod environment;
mod nginx;
mod pm2;

use std::{io, path::Path};

use serde::Serialize;

pub(super) use self::environment::is_own;
pub(crate) use self::{
    certbot::{Lineage, certbot},
    nginx::nginx,
    pm2::pm2,
};
use super::machine;

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Carried {
    /// The configuration, to be put into `conf.d`.
    pub(crate) config: String,
    /// What it could not carry.
    pub(crate) left: Vec<Left>,
    /// What will be open to everybody, and is not today.
    pub(crate) warnings: Vec<Left>,
}

/// Something that was there and is not in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Left {
    /// What, and where it stood.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

impl Carried {
    fn leave(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        let left = Left { what: what.into(), remedy: remedy.into() };
        if !self.left.contains(&left) {
            self.left.push(left);
        }
    }

    fn warn(&mut self, warnings: Vec<Left>) {
        for warning in warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    fn line(&mut self, line: impl AsRef<str>) {
        self.config += line.as_ref();
        self.config.push('\n');
    }
}

/// The certificates of certbot below its directory `live`.
pub(crate) fn lineages(live: &Path) -> io::Result<Vec<Lineage>> {
    let renewal = live.parent().unwrap_or(live).join("renewal");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(live)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().join("fullchain.pem").exists() {
            let renewal = machine::text(renewal.join(format!("{name}.conf")));
            found.push(Lineage { name, renewal });
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Some texts as TOML has them.
fn list<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    format!("[{}]", texts.into_iter().map(quoted).collect::<Vec<_>>().join(", "))
}

/// A name that can stand in `[backend.NAME]`, and that none of these has.
fn name_of(text: &str, taken: &[String]) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(fits).collect();
    let name = name.trim_matches('-');
    let name = if name.is_empty() { "api" } else { name };
    let mut candidates = std::iter::once(name.to_owned()).chain((2..).map(|n| format!("{name}-{n}")));
    // There is no end to the numbers, so one is free.
    candidates.find(|name| !taken.contains(name)).unwrap_or_default()
}

/// Is it a host that can be named, one label of which may not be a number alone?
fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.contains('.') && name.split('.').all(label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

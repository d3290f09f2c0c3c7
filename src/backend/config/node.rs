//! The part of the configuration that says which Node runs, and where versions come from.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::backend::node::Wanted;

/// `[node]`: the wish of every backend without its own, and where versions come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NodeConfig {
    /// Which version backends run that say nothing themselves: `22`, `lts`, `auto`, a range.
    pub(crate) version: Option<String>,
    /// A Node that is there already: the program, or its directory.
    pub(crate) path: Option<PathBuf>,
    /// Where versions come from, in the layout of the Node.js project's own site: `https`, or `file` for a directory.
    pub(crate) mirror: String,
    /// A mirror's own authority; Mozilla's, if left out.
    pub(crate) ca_file: Option<PathBuf>,
    /// How long one download may take.
    #[serde(with = "humantime_serde")]
    pub(crate) download_timeout: Duration,
    /// How long it may stand still meanwhile.
    #[serde(with = "humantime_serde")]
    pub(crate) idle_timeout: Duration,
    /// Bytes of one archive.
    pub(crate) archive_bytes_max: u64,
    /// Bytes of all files in it.
    pub(crate) unpacked_bytes_max: u64,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            version: None,
            path: None,
            mirror: "https://nodejs.org/dist".to_owned(),
            ca_file: None,
            // 60 MB over a line of 1 Mbit/s.
            download_timeout: Duration::from_secs(10 * 60),
            idle_timeout: Duration::from_secs(30),
            // Releases have had 20 to 60 MB compressed, and up to 220 MB unpacked.
            archive_bytes_max: 256 * 1024 * 1024,
            unpacked_bytes_max: 1024 * 1024 * 1024,
        }
    }
}

impl NodeConfig {
    /// What is wrong with the mirror's address, and what to do.
    pub(crate) fn mirror_problem(&self) -> Option<(&'static str, &'static str)> {
        let remedy =
            "write it like \"https://nodejs.org/dist\", or \"file:///srv/node-dist\" for a directory";
        let Ok(url) = Url::parse(&self.mirror) else { return Some(("this is no URL", remedy)) };
        match url.scheme() {
            "https" | "http" if url.query().is_some() || url.fragment().is_some() => {
                Some(("a mirror's address has no query", remedy))
            }
            "https" => None,
            "http" if is_local(&url) => None,
            // Whoever can change the archive on the way can change the checksums as well.
            "http" => {
                Some(("what comes over plain HTTP can be changed on the way, checksums and all", remedy))
            }
            "file" if url.to_file_path().is_ok() => None,
            _ => Some(("a mirror is reached by https, or is a directory", remedy)),
        }
    }
}

/// Is that on this machine?
pub(in crate::backend) fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).to_canonical().is_loopback(),
        None => false,
    }
}

/// `[backend.NAME.node]`: which Node its workers run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NodeWish {
    /// `22`, `lts`, `lts/jod`, a range, or `auto`.
    pub(crate) version: Option<String>,
    /// A Node that is there already; comes before `version`.
    pub(crate) path: Option<PathBuf>,
}

impl NodeWish {
    /// Does it say anything?
    pub(crate) fn is_empty(&self) -> bool {
        self.version.is_none() && self.path.is_none()
    }

    /// What is wrong with a version.
    pub(crate) fn version_problem(version: &str) -> Option<String> {
        version.parse::<Wanted>().err()
    }

    /// What is wrong with a path.
    pub(crate) fn path_problem(path: &Path) -> Option<String> {
        crate::backend::node::program_at(path).err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_https_a_directory_or_on_this_machine() {
        let problem =
            |mirror: &str| NodeConfig { mirror: mirror.to_owned(), ..NodeConfig::default() }.mirror_problem();
        for good in [
            "https://nodejs.org/dist",
            "https://mirror.example/node/",
            "file:///srv/dist",
            "http://127.0.0.1:8080/d",
        ] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in [
            "",
            "nodejs.org/dist",
            "http://mirror.example/node",
            "ftp://x/y",
            "https://x/y?z",
            "file://host/x",
        ] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}

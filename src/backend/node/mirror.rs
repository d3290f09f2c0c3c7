//! What a mirror has: its index of releases, and the checksums of one. The layout is that of the Node.js project's own
//! site, <https://nodejs.org/dist>.

use semver::Version;
use serde::Deserialize;

use super::{
    super::config::NodeConfig,
    fetch::{Download, Fetch},
    problem::NodeProblem,
    spec::{Spec, lts_line, version},
};

/// The project's own index has some 400 KB after fifteen years.
const INDEX_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One line for each of some fifty archives.
const CHECKSUMS_BYTES_MAX: u64 = 256 * 1024;

/// A mirror.
pub(crate) struct Mirror {
    fetch: Fetch,
    platform: String,
}

/// A release that is there for this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) version: Version,
    /// The day of its release.
    pub(crate) date: String,
    /// The name of its line, if that has long-term support.
    pub(crate) lts: Option<String>,
}

/// One entry of `index.json`.
#[derive(Debug, Deserialize)]
struct Entry {
    version: String,
    #[serde(default)]
    date: String,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    lts: Lts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Lts {
    Name(String),
    /// `false`.
    No(#[expect(dead_code, reason = "what it is says all")] bool),
    #[default]
    Unsaid,
}

impl Mirror {
    /// The configured one.
    pub(crate) fn new(config: &NodeConfig) -> Result<Self, NodeProblem> {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "x64",
            "aarch64" => "arm64",
            "arm" => "armv7l",
            "powerpc64" => "ppc64le",
            "s390x" => "s390x",
            other => return Err(NodeProblem::Platform(other)),
        };
        Ok(Self { fetch: Fetch::new(config)?, platform: format!("linux-{arch}") })
    }

    /// Its address.
    pub(crate) fn address(&self) -> String {
        self.fetch.mirror()
    }

    /// Every release for this machine, newest first.
    pub(crate) async fn releases(&self) -> Result<Vec<Release>, NodeProblem> {
        let index = self.fetch.open("index.json").await?;
        let url = index.url.clone();
        let text = index.whole(INDEX_BYTES_MAX).await?;
        let entries: Vec<Entry> = serde_json::from_slice(&text)
            .map_err(|error| NodeProblem::Answer { url, reason: format!("it is no index ({error})") })?;
        Ok(releases(entries, &self.platform))
    }

    /// The newest release that is meant. A version with all its numbers is not looked up: the mirror may have no index.
    pub(super) async fn pick(&self, spec: &Spec) -> Result<Release, NodeProblem> {
        if let Some(version) = spec.exact() {
            let lts = lts_line(&version).map(str::to_owned);
            return Ok(Release { version, date: String::new(), lts });
        }
        let all = self.releases().await?;
        let fits = all.into_iter().find(|one| spec.takes(&one.version, one.lts.as_deref()));
        fits.ok_or_else(|| NodeProblem::NoVersion {
            mirror: self.address(),
            platform: self.platform.clone(),
            spec: spec.to_string(),
        })
    }

    /// The newest release that is meant, if its archive for this machine can be had: nothing is downloaded yet.
    pub(crate) async fn offer(&self, spec: &Spec) -> Result<Release, NodeProblem> {
        let release = self.pick(spec).await?;
        let file = format!("{}.tar.gz", self.archive_stem(&release.version));
        self.checksum(&release.version, &file).await?;
        Ok(release)
    }

    /// The archive's name without its ending, which is also the directory in it.
    pub(super) fn archive_stem(&self, version: &Version) -> String {
        format!("node-v{version}-{}", self.platform)
    }

    /// What the archive's SHA-256 must be.
    pub(super) async fn checksum(&self, version: &Version, file: &str) -> Result<String, NodeProblem> {
        let sums = self.fetch.open(&format!("v{version}/SHASUMS256.txt")).await?;
        let text = sums.whole(CHECKSUMS_BYTES_MAX).await?;
        checksum_of(&String::from_utf8_lossy(&text), file)
            .ok_or_else(|| NodeProblem::NoChecksum { version: format!("v{version}"), file: file.to_owned() })
    }

    /// Begin to read an archive.
    pub(super) async fn archive(&self, version: &Version, file: &str) -> Result<Download, NodeProblem> {
        self.fetch.open(&format!("v{version}/{file}")).await
    }
}

fn releases(entries: Vec<Entry>, platform: &str) -> Vec<Release> {
    let release = |entry: Entry| {
        entry.files.iter().any(|file| file == platform).then_some(())?;
        let lts = match entry.lts {
            Lts::Name(name) => Some(name),
            Lts::No(_) | Lts::Unsaid => None,
        };
        Some(Release { version: version(&entry.version)?, date: entry.date, lts })
    };
    let mut all: Vec<Release> = entries.into_iter().filter_map(release).collect();
    all.sort_by(|a, b| b.version.cmp(&a.version));
    all
}

fn checksum_of(text: &str, file: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (sum, name) = line.split_once(char::is_whitespace)?;
        // `*` marks what was read as binary.
        let ours = name.trim_start().trim_start_matches('*') == file;
        let whole = sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
        (ours && whole).then(|| sum.to_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_read_for_this_machine_alone() {
        let text = r#"[
            {"version": "v20.9.0", "date": "2023-10-24", "files": ["linux-x64", "win-x64"], "lts": "Iron", "npm": "10"},
            {"version": "v23.1.0", "date": "2024-10-24", "files": ["linux-x64"], "lts": false},
            {"version": "v22.11.0", "date": "2024-10-29", "files": ["linux-arm64"], "lts": "Jod"},
            {"version": "nonsense", "files": ["linux-x64"]},
            {"version": "v0.1.14", "date": "2011-08-26", "files": ["src"], "lts": false}]"#;
        let all = releases(serde_json::from_str(text).unwrap(), "linux-x64");
        let shown: Vec<_> = all.iter().map(|one| (one.version.to_string(), one.lts.as_deref())).collect();
        assert_eq!(shown, [("23.1.0".to_owned(), None), ("20.9.0".to_owned(), Some("Iron"))]);
    }

    #[test]
    fn a_checksum_is_that_of_exactly_this_file() {
        let sum = "a".repeat(64);
        let text =
            format!("{}  node-v1.tar.gz.sig\n{sum}  node-v1.tar.gz\nshort  node-v2.tar.gz\n", "b".repeat(64));
        assert_eq!(checksum_of(&text, "node-v1.tar.gz"), Some(sum.clone()));
        assert_eq!(checksum_of(&text, "node-v2.tar.gz"), None);
        assert_eq!(checksum_of(&format!("{} *x", sum.to_uppercase()), "x"), Some(sum));
    }
}

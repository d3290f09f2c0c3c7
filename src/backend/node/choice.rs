//! Which Node a generation runs: `node.path`, else what fits `node.version` among what is there, else what was chosen by
//! `gateway node use`, else PATH's. It must never install anything: a worker's start waits for no download.

use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{
    super::{account::Identity, config::NodeWish},
    lookup::{Source, default_of, found, program_at},
    project,
    spec::{Spec, Wanted, lts_line, version},
    store::{Installed, Store, installed},
};

/// The Node that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeStatus {
    /// Its version, such as `v22.1.0`; none where it does not say.
    pub(crate) version: Option<String>,
    /// The program.
    pub(crate) program: PathBuf,
    /// Where it came from.
    pub(crate) source: Source,
    /// What chose it, such as `.nvmrc (22)`.
    pub(crate) by: String,
}

impl NodeStatus {
    /// What PATH has to begin with, so that `node` is this one; none where it finds it by itself.
    pub(in crate::backend) fn leading(&self) -> Option<&Path> {
        self.program.parent().filter(|_| self.source != Source::System)
    }
}

/// What a choice depends on.
pub(in crate::backend) struct Asking<'a> {
    pub(in crate::backend) backend: &'a str,
    pub(in crate::backend) wish: &'a NodeWish,
    /// The application's, for `auto`.
    pub(in crate::backend) directory: &'a Path,
    pub(in crate::backend) identity: Option<&'a Identity>,
    pub(in crate::backend) store: &'a Store,
    /// Where nvm may be.
    pub(in crate::backend) nvms: &'a [PathBuf],
    /// What PATH finds.
    pub(in crate::backend) system: Option<PathBuf>,
    /// Asks a program for its version.
    pub(in crate::backend) probe: &'a dyn Fn(&Path) -> Option<Version>,
}

impl Asking<'_> {
    /// The Node to run; none where nobody said one and there is none. Or why it cannot be had, with the remedy.
    pub(in crate::backend) fn answer(&self) -> Result<Option<NodeStatus>, String> {
        if let Some(path) = &self.wish.path {
            let program = program_at(path).map_err(|problem| format!("node.path: {problem}"))?;
            let version = (self.probe)(&program).map(shown);
            return Ok(Some(NodeStatus {
                version,
                program,
                source: Source::Named,
                by: "node.path".to_owned(),
            }));
        }
        let Some(text) = &self.wish.version else { return self.unnamed() };
        let (spec, by) = match text.parse().map_err(|problem| format!("node.version: {problem}"))? {
            Wanted::Spec(spec) => (spec, format!("node.version ({text})")),
            Wanted::Auto => {
                let (spec, file) = project::wanted(self.directory)?;
                (spec.clone(), format!("{file} ({spec})"))
            }
        };
        self.named(&spec, &by).map(Some)
    }

    fn named(&self, spec: &Spec, by: &str) -> Result<NodeStatus, String> {
        let all = found(self.store, self.nvms, self.identity);
        let fits = |(_, one): &&(Source, Installed)| spec.takes(&one.version, one.lts.as_deref());
        if let Some((source, one)) = all.iter().find(fits) {
            return Ok(status(one, *source, by.to_owned()));
        }
        let system = self.system.clone().and_then(|program| Some(((self.probe)(&program)?, program)));
        if let Some((version, program)) = &system
            && spec.takes(version, lts_line(version))
        {
            let (version, program) = (Some(shown(version.clone())), program.clone());
            return Ok(NodeStatus { version, program, source: Source::System, by: by.to_owned() });
        }
        let mut there: Vec<String> =
            all.iter().map(|(source, one)| format!("v{} ({})", one.version, source.word())).collect();
        there.extend(system.map(|(version, _)| format!("v{version} (PATH)")));
        let there =
            if there.is_empty() { "none is".to_owned() } else { format!("only {}", there.join(", ")) };
        let wanted = if spec.to_string().contains([' ', '<', '>', '|', '*', '^', '~']) {
            format!("'{spec}'")
        } else {
            spec.to_string()
        };
        Err(format!(
            "{by} wants a Node that is not installed: {there}\nhint: `gateway node install {wanted}`"
        ))
    }

    /// Nobody said which.
    fn unnamed(&self) -> Result<Option<NodeStatus>, String> {
        for (backend, order) in [
            (Some(self.backend), format!("gateway node use --backend {}", self.backend)),
            (None, "gateway node use".to_owned()),
        ] {
            let Some(prefix) = self.store.choice(backend) else { continue };
            let name = prefix.file_name().and_then(|name| name.to_str()).and_then(version);
            let chosen = name.and_then(|version| installed(version, prefix.clone()));
            let source =
                if prefix.starts_with(self.store.directory()) { Source::Gateway } else { Source::Nvm };
            return match chosen {
                Some(one) => Ok(Some(status(&one, source, order))),
                None => Err(format!(
                    "{} was chosen by `{order}`, and is not there any more\nhint: choose another: `{order} VERSION`",
                    prefix.display()
                )),
            };
        }
        if let Some(program) = self.system.clone() {
            let version = (self.probe)(&program).map(shown);
            return Ok(Some(NodeStatus { version, program, source: Source::System, by: "PATH".to_owned() }));
        }
        let all = found(self.store, self.nvms, self.identity);
        Ok(match (all.first(), self.nvms_default(&all)) {
            (Some((Source::Nvm, _)), Some(one)) => Some(status(one, Source::Nvm, "nvm's default".to_owned())),
            (first, _) => first.map(|(source, one)| status(one, *source, "nothing else".to_owned())),
        })
    }

    /// The version that the first nvm with one starts its shells with.
    fn nvms_default<'i>(&self, all: &'i [(Source, Installed)]) -> Option<&'i Installed> {
        self.nvms.iter().find_map(|nvm| {
            let spec = default_of(nvm)?;
            let fits = |one: &&Installed| {
                one.prefix.starts_with(nvm) && spec.takes(&one.version, one.lts.as_deref())
            };
            all.iter().map(|(_, one)| one).find(fits)
        })
    }
}

fn status(one: &Installed, source: Source, by: String) -> NodeStatus {
    let prefix = one.prefix.canonicalize().unwrap_or_else(|_| one.prefix.clone());
    NodeStatus { version: Some(shown(one.version.clone())), program: prefix.join("bin/node"), source, by }
}

fn shown(version: Version) -> String {
    format!("v{version}")
}

#[cfg(test)]
mod tests;

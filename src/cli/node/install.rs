//! `gateway node install`: a version from the mirror, whole or not at all.

use serde::Serialize;

use super::{Place, say_version, told};
use crate::{
    backend::NodeConfig,
    backend::node::{Outcome, Spec, Step, Store, Wanted, Work, wanted_by},
    cli::{Failure, out},
};

/// What is installed when nobody says otherwise.
const USUAL: &str = "lts";

/// Install a Node version: downloaded from the mirror, checked against its checksum, whole or not at all
#[derive(Debug, clap::Args)]
#[command(after_help = "\
VERSION is `22`, `22.11.0`, `lts`, `lts/jod`, `latest`, or a range such as '>=20 <23'; the newest that fits is taken. Without \
it, whatever the backends' configuration wants (`node.version`; with `auto` what their files say) is installed, or `lts`.

The mirror is `node.mirror`; a directory (`file:///…`) works without a network. Backends take up a new version with their \
next reload (`gateway backend reload`).

Examples:
  gateway node install 22
  gateway node install lts/jod
  gateway node install
  gateway node install 22 --mirror file:///srv/node-dist")]
pub(crate) struct Install {
    /// The version; what the configuration wants, if left out
    version: Option<Spec>,
    /// Take it from there this time, instead of `node.mirror`
    #[arg(long, value_name = "URL", value_parser = mirror)]
    mirror: Option<String>,
    #[command(flatten)]
    form: out::Form,
}

/// One version that is there now.
#[derive(Debug, Serialize)]
struct Said {
    version: String,
    lts: Option<String>,
    directory: std::path::PathBuf,
    fresh: bool,
}

impl Install {
    pub(super) async fn run(self, place: &Place) -> Result<(), Failure> {
        let specs = match self.version {
            Some(spec) => vec![spec],
            None => wanted(place)?,
        };
        let mut config = place.config.node.clone();
        config.mirror = self.mirror.unwrap_or(config.mirror);
        let mut said = Vec::new();
        for spec in specs {
            let Outcome { installed, fresh, unasked } = install(&config, &place.store, &spec).await?;
            if let Some(problem) = unasked {
                let problem = told(&problem.to_string()).message;
                out::remark(format!("warning: {problem}: whether there is a newer one is not known"));
            }
            let version = format!("v{}", installed.version);
            if !self.form.json {
                let done = if fresh { "installed" } else { "is installed already" };
                out::line(format!("Node {version} {done}: {}", installed.prefix.display()));
            }
            said.push(Said { version, lts: installed.lts, directory: installed.prefix, fresh });
        }
        if self.form.json { out::json(&said) } else { Ok(()) }
    }
}

/// The address of a mirror, as the configuration takes it.
pub(crate) fn mirror(text: &str) -> Result<String, String> {
    let config = NodeConfig { mirror: text.to_owned(), ..NodeConfig::default() };
    match config.mirror_problem() {
        Some((problem, remedy)) => Err(format!("{problem}: {remedy}")),
        None => Ok(config.mirror),
    }
}

/// Have the newest version that is meant, and say what happens meanwhile.
pub(crate) async fn install(config: &NodeConfig, store: &Store, spec: &Spec) -> Result<Outcome, Failure> {
    let mut tenths = 0;
    let mut tell = |step: Step<'_>| match step {
        Step::Waiting => out::remark("another installation is under way: waiting for its end"),
        Step::Found { version, mirror } => out::remark(format!("installing Node v{version} from {mirror}")),
        Step::Loading { bytes, of: Some(of) } if of > 0 => {
            // A line for each tenth: as readable in a log as on a terminal.
            let now = bytes.saturating_mul(10) / of;
            if now > tenths {
                tenths = now;
                out::remark(format!("{} of {} MB", bytes / 1_000_000, of.div_ceil(1_000_000)));
            }
        }
        Step::Loading { .. } => {}
        Step::Checked => out::remark("the checksum is right"),
        Step::Unpacked { files } => out::remark(format!("{files} files unpacked")),
    };
    let mut work = Work { store, config, prove: &say_version, tell: &mut tell };
    Ok(work.install(spec).await?)
}

/// What the configuration wants, each once.
fn wanted(place: &Place) -> Result<Vec<Spec>, Failure> {
    let mut specs: Vec<Spec> = Vec::new();
    let named = |text: &str| text.parse::<Wanted>().map_err(Failure::usage);
    for (name, backend) in &place.config.backend {
        let Some(version) = backend.node.version.as_deref().filter(|_| backend.node.path.is_none()) else {
            continue;
        };
        let directory = backend.directory.as_deref().unwrap_or(&place.directory);
        specs.push(match named(version)? {
            Wanted::Spec(spec) => spec,
            Wanted::Auto => {
                wanted_by(directory).map_err(|problem| told(&format!("backend {name}: {problem}")))?
            }
        });
    }
    if specs.is_empty() {
        specs.push(match place.config.node.version.as_deref().map(named).transpose()? {
            Some(Wanted::Spec(spec)) => spec,
            _ => USUAL.parse().map_err(Failure::usage)?,
        });
    }
    specs.sort_by_key(ToString::to_string);
    specs.dedup();
    Ok(specs)
}

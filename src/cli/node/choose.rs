//! `gateway node use`: the version of those backends whose configuration names none.

use serde::Serialize;

use super::Place;
use crate::{
    backend::{NodeWish, node::Spec},
    cli::{Failure, out},
};

/// Choose the Node version of backends whose configuration names none; it holds from their next reload on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The configuration's word comes first: where `node.version` or `node.path` is set, change it there. Nothing that runs changes \
before `gateway backend reload`.

Examples:
  gateway node use 22
  gateway node use lts/jod --backend api
  gateway node use 22 --json")]
pub(crate) struct Use {
    /// The version, which must be installed
    version: Spec,
    /// For this backend alone
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    #[command(flatten)]
    form: out::Form,
}

/// What was chosen, and for whom.
#[derive(Debug, Serialize)]
struct Said {
    version: String,
    lts: Option<String>,
    source: &'static str,
    directory: std::path::PathBuf,
    /// None: all whose configuration names none.
    backend: Option<String>,
}

impl Use {
    pub(super) async fn run(self, place: &Place) -> Result<(), Failure> {
        let config = &place.config;
        let stated = match &self.backend {
            None => NodeWish { version: config.node.version.clone(), path: config.node.path.clone() },
            Some(name) => match config.backend.get(name) {
                Some(backend) if backend.upstream.is_some() => {
                    let message = format!("backend {name} is an upstream that something else runs");
                    return Err(Failure::failed(message).hint("choose its Node there"));
                }
                Some(backend) => backend.node.clone(),
                None => return Err(unknown(place, name)),
            },
        };
        if !stated.is_empty() {
            let whose =
                self.backend.as_ref().map_or_else(|| "[node]".to_owned(), |name| format!("backend {name}"));
            let message = format!("the configuration says itself which Node {whose} has");
            return Err(Failure::failed(message).hint("change `node.version` there, and `gateway reload`"));
        }
        let (source, one) = place.version(&self.version)?;
        // Whoever installs or removes meanwhile must not take away what is being chosen.
        let busy = || Failure::failed("another `gateway node` is at work").hint("wait for its end");
        let failed = |error: std::io::Error| Failure::io("write to", place.store.directory(), &error);
        let _lock = place.store.try_lock().map_err(failed)?.ok_or_else(busy)?;
        place.store.choose(self.backend.as_deref(), &one.prefix).map_err(failed)?;
        if self.form.json {
            return out::json(&Said {
                version: format!("v{}", one.version),
                lts: one.lts,
                source: source.word(),
                directory: one.prefix,
                backend: self.backend,
            });
        }
        let (whose, reload) = match &self.backend {
            Some(name) => (format!("backend {name}"), format!("gateway backend reload {name}")),
            None => ("backends that name none".to_owned(), "gateway backend reload NAME".to_owned()),
        };
        out::line(format!("Node v{} ({}) is the one of {whose}", one.version, source.word()));
        out::remark(format!("hint: what runs takes it up with `{reload}`"));
        Ok(())
    }
}

/// There is no backend of that name.
pub(super) fn unknown(place: &Place, name: &str) -> Failure {
    let names: Vec<_> = place.config.backend.keys().map(String::as_str).collect();
    Failure::failed(format!("there is no backend `{name}`")).hint(format!("there is: {}", names.join(", ")))
}

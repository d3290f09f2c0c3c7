//! Node, as bootstrap needs to know it: which one the application asks for, which are here, and what a mirror would give.
//! It is looked up by the command, since versions are none of this room's business; nothing here is more than a note of it.

use std::path::PathBuf;

use serde::Serialize;

/// What was found out about Node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct NodeFacts {
    /// What is asked for; none where nobody says anything.
    pub(crate) wanted: Option<NodeWanted>,
    /// Every Node that is here, in the order in which one is taken.
    pub(crate) there: Vec<NodeThere>,
    /// What would be installed; asked for only where none of those will do.
    pub(crate) offer: Option<NodeOffer>,
    /// Why nobody can tell what is asked for, or why it cannot be had; with the remedy.
    pub(crate) problem: Option<(String, String)>,
    /// The backend of the configuration that is there already, whose application this is.
    pub(crate) backend: Option<String>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NodeWanted {
    /// `22`, `lts/jod`, `>=20 <23`.
    pub(crate) version: String,
    /// Who asks: `--node`, `.nvmrc`, `the configuration`.
    pub(crate) by: String,
}

/// A Node that is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NodeThere {
    /// Such as `v22.11.0`.
    pub(crate) version: String,
    /// `PATH`, `gateway`, `nvm`, `node.path`.
    pub(crate) source: String,
    /// The program.
    pub(crate) program: PathBuf,
    /// Is it one of those that are asked for?
    pub(crate) fits: bool,
    /// May every user start it?
    pub(crate) everybodys: bool,
}

/// What a mirror has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NodeOffer {
    /// Such as `v22.11.0`.
    pub(crate) version: String,
    /// Its address.
    pub(crate) mirror: String,
    /// Was it named with `--node-mirror`?
    pub(crate) named: bool,
}

impl NodeFacts {
    /// The Node that the application is started with, if there is one.
    pub(crate) fn chosen(&self) -> Option<&NodeThere> {
        self.there.iter().find(|one| one.fits && one.everybodys)
    }
}

impl NodeWanted {
    /// Is it a file of the application's that asks, which may ask for another one tomorrow?
    pub(crate) fn by_file(&self) -> bool {
        [".nvmrc", ".node-version", "package.json"].contains(&self.by.as_str())
    }
}

//! The configuration as its users meet it: files, environment and flags in, a config or every problem out.

mod corpus;
mod layers;
mod reference;

use std::{collections::BTreeMap, path::Path};

use super::{Flags, Loaded, Problems, load::load_with};

/// Load a file of the given text in a directory of its own, with variables and `--set` flags.
fn load_text(text: &str, variables: &[(&str, &str)], set: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("gateway.toml"), text).unwrap();
    load_file(&directory.path().join("gateway.toml"), variables, set)
}

fn load_file(path: &Path, variables: &[(&str, &str)], set: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let environment: BTreeMap<String, String> = pairs(variables).into_iter().collect();
    load_with(&Flags { config: Some(path.to_owned()), set: pairs(set) }, &environment)
}

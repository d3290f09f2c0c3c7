//! `config/gateway.toml` is held to the code, key by key and default by default, and the quickstart loads.

use std::path::{Path, PathBuf};

use figment::{error::Kind, value::Value};
use serde::Deserialize;

use super::load_file;
use crate::{
    backend,
    config::{Config, layer::Layer},
    job,
};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// The reference with every key in force. `# ` begins prose; `#key` and `#[section]` are what is left out.
fn uncommented() -> Value {
    let text = std::fs::read_to_string(file("gateway.toml")).unwrap();
    let is_key = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '[');
    let line = |line: &str| line.strip_prefix('#').filter(is_key).map_or(line.to_owned(), str::to_owned);
    let text: String = text.lines().map(|text| line(text) + "\n").collect();
    Value::from(Layer::of_toml("gateway.toml", &text).unwrap().values)
}

/// Every table of a tree, by its path.
fn tables(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Dict(_, table) => {
            found.push(path.clone());
            table.iter().map(|(key, value)| (key.clone(), value)).collect()
        }
        Value::Array(_, items) => items.iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect(),
        _ => return,
    };
    for (part, child) in children {
        path.push(part);
        tables(child, path, found);
        path.pop();
    }
}

fn find<'a>(value: &'a mut Value, path: &[String]) -> &'a mut Value {
    path.iter().fold(value, |value, part| match value {
        Value::Dict(_, table) => table.get_mut(part).unwrap(),
        Value::Array(_, items) => &mut items[part.parse::<usize>().unwrap()],
        _ => panic!("{path:?} leads nowhere"),
    })
}

#[test]
fn the_reference_has_every_key_of_the_code_and_no_other() {
    let reference = uncommented();
    if let Err(error) = Config::deserialize(&reference) {
        panic!("{:?}: {}", error.path, error.kind);
    }
    let mut paths = Vec::new();
    tables(&reference, &mut Vec::new(), &mut paths);
    let mut held = 0;
    for path in paths {
        // serde itself says which keys a table can have, if it is asked for one that it has not.
        let mut asked = reference.clone();
        let Value::Dict(_, table) = find(&mut asked, &path) else { panic!("{path:?}") };
        let keys: Vec<String> = table.keys().cloned().collect();
        table.insert("?".to_owned(), Value::from(0));
        let Err(error) = Config::deserialize(&asked) else { panic!("{path:?} takes any key") };
        // Backends, jobs, a worker's variables and a site's headers are named by the operator.
        let free =
            path.last().is_some_and(|last| ["backend", "job", "env", "headers"].contains(&last.as_str()));
        match error.kind {
            Kind::UnknownField(_, known) => {
                let mut known: Vec<_> = known.iter().map(|key| (*key).to_owned()).collect();
                known.sort();
                assert_eq!(keys, known, "in {path:?}: left the file's keys, right the code's");
                held += 1;
            }
            _ if free => {}
            other => panic!("{path:?}: {other}"),
        }
    }
    assert!(held >= 15, "only {held} tables were compared");
}

/// Every default that is a value, and not "none", stands in the reference.
fn compare(default: &Value, written: &Value, path: &str, examples: &[&str]) {
    match (default, written) {
        _ if examples.contains(&path) => {}
        (Value::Empty(..), _) => {}
        (Value::Dict(_, default), Value::Dict(_, written)) => {
            for (key, default) in default {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(default, written.get(key).unwrap_or_else(|| panic!("{path}")), &path, examples);
            }
        }
        _ => assert_eq!(default, written, "the default of `{path}` (left) is not what the reference says"),
    }
}

#[test]
fn the_reference_says_the_defaults_of_the_code() {
    // There and back, so that "600s" and "10m" are the same.
    let read = Config::deserialize(&uncommented()).unwrap();
    let written = Value::serialize(&read).unwrap();
    let examples = ["backend", "job", "tenant", "edge.open", "edge.path", "edge.site", "tls.certificate"];
    compare(&Value::serialize(Config::default()).unwrap(), &written, "", &examples);
    let api = Value::serialize(&read.backend["api"]).unwrap();
    let default = Value::serialize(backend::Config::default()).unwrap();
    compare(&default, &api, "", &["command", "hosts", "env"]);
    let nightly = Value::serialize(&read.job["nightly"]).unwrap();
    let default = Value::serialize(job::Config::default()).unwrap();
    compare(&default, &nightly, "", &["command", "env"]);
}

#[test]
fn the_reference_as_it_stands_is_the_default_configuration() {
    let loaded = load_file(&file("gateway.toml"), &[], &[]).unwrap();
    assert_eq!(loaded.config, Config::default());
}

#[test]
fn the_quickstart_is_a_configuration_without_a_warning() {
    let loaded = load_file(&file("quickstart.toml"), &[], &[]).unwrap();
    let said: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(said, Vec::<String>::new());
    let config = loaded.config;
    let ids: Vec<_> = config.tenant.iter().map(|tenant| tenant.id.to_string()).collect();
    assert_eq!(ids, ["navaja", "barba"]);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/barbershop");
    assert_eq!(config.state_dir, example.join(".state"));
    assert_eq!(config.backend["api"].directory, Some(example.join("backend")));
    // Everything it opens is on this machine alone.
    let addresses = config.edge.https.iter().chain(&config.edge.http);
    assert!(addresses.clone().count() == 2 && addresses.clone().all(|address| address.ip().is_loopback()));
}

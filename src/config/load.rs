//! From layers to a checked configuration: defaults < file < `conf.d/*.toml` < environment < flags.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use figment::{Figment, value::Dict};

use super::{
    Config, Problem, Problems,
    check::Check,
    extract::{Extracted, extract},
    file,
    layer::{self, Layer},
    place::Place,
    resolve::resolve,
};

mod hint;

pub(crate) use self::hint::{is_closed, socket_hint};

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

/// What a configuration is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be in force.
    Use,
    /// To restore a backup into its places: the certificates that it brings need not be there yet.
    Restore,
    /// To be told what is wrong with it, by whoever asks.
    Check,
    /// To set up a machine for it: the account that bootstrap makes need not be there yet.
    SetUp,
}

/// Read and check the configuration of this process, or say everything that is wrong with it.
pub(crate) fn load(flags: &Flags) -> Result<Loaded, Problems> {
    load_with(flags, &environment())
}

/// The same for whoever only wants to know.
pub(crate) fn load_to_check(flags: &Flags) -> Result<Loaded, Problems> {
    load_for(Purpose::Check, flags, &environment())
}

/// The same for the configuration of a gateway whose state is to be restored.
pub(crate) fn load_to_restore(flags: &Flags) -> Result<Loaded, Problems> {
    load_for(Purpose::Restore, flags, &environment())
}

/// The same for a machine that is to be set up for it.
pub(crate) fn load_to_set_up(flags: &Flags) -> Result<Loaded, Problems> {
    load_for(Purpose::SetUp, flags, &environment())
}

fn environment() -> BTreeMap<String, String> {
    // Not `vars`: it panics on the first variable that is no UTF-8, ours or not.
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Where systemd puts this service's credentials, if it gave it any (systemd.exec(5), `$CREDENTIALS_DIRECTORY`).
pub(crate) fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// `load` with an environment of the caller's own.
pub(crate) fn load_with(flags: &Flags, environment: &BTreeMap<String, String>) -> Result<Loaded, Problems> {
    load_for(Purpose::Use, flags, environment)
}

fn load_for(
    purpose: Purpose,
    flags: &Flags,
    environment: &BTreeMap<String, String>,
) -> Result<Loaded, Problems> {
    let upper = upper(flags, environment);
    let (files, directory) = sources(flags, environment, &upper)?;

    let (mut lower, mut problems) = (Vec::new(), Vec::new());
    for file in &files {
        match file::read(file) {
            Ok(layer) => lower.push(layer),
            Err(more) => problems.extend(more),
        }
    }
    // What a damaged file holds is not known, so nothing can be said about what contradicts it.
    let complete = problems.is_empty();
    let (values, places) = merge(lower, upper)?;
    let Extracted { mut config, places, problems: unread } = extract(values, places);
    problems.extend(unread);
    resolve(&mut config, &directory);
    read_secrets(&mut config);

    let mut warnings = Vec::new();
    if complete {
        let mut check = Check::new(&config, &places, &directory, purpose);
        check.everything();
        problems.extend(check.problems);
        warnings = check.warnings;
    }
    let rank = |problem: &Problem| {
        let file = files.iter().position(|file| *file.as_os_str() == *problem.source);
        (file.unwrap_or(files.len()), problem.line, problem.key.clone())
    };
    problems.sort_by_key(rank);
    warnings.sort_by_key(rank);
    match problems.is_empty() {
        true => Ok(Loaded { config, directory, files, warnings }),
        false => Err(Problems(problems)),
    }
}

/// The layers above the files.
fn upper(flags: &Flags, environment: &BTreeMap<String, String>) -> Vec<Layer> {
    let mut upper = layer::of_environment(environment);
    upper.extend(flags.set.iter().map(|(key, text)| layer::of_flag(key, text)));
    upper
}

/// The rooms read no files: a tenant's `database_file` becomes its `database`. What cannot be read is the
/// check's to say.
fn read_secrets(config: &mut Config) {
    for tenant in config.tenant.iter_mut().filter(|tenant| tenant.database.is_none()) {
        let text = tenant.database_file.as_deref().and_then(|path| file::secret(path).ok());
        tenant.database = text.map(|text| text.trim().into());
    }
}

/// Which files there are, and where relative paths start.
fn sources(
    flags: &Flags,
    environment: &BTreeMap<String, String>,
    upper: &[Layer],
) -> Result<(Vec<PathBuf>, PathBuf), Problems> {
    // An empty variable is how a shell unsets one.
    let variable = environment.get("GATEWAY_CONFIG").filter(|name| !name.is_empty());
    let named = flags.config.clone().or_else(|| variable.map(PathBuf::from));
    let main = named.clone().unwrap_or_else(|| PathBuf::from(file::DEFAULT));
    // The file's own directory, not that of what it may be a link to: `conf.d` stands beside the link, too.
    let parent = main.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match std::fs::metadata(&main).and_then(|_| std::fs::canonicalize(parent)) {
        Ok(directory) => Ok((file::list(&main)?, directory)),
        Err(_) if named.is_none() && upper.iter().any(|layer| layer.values.contains_key("backend")) => {
            let here = std::env::current_dir().map_err(|error| file::unreadable(&main, &error))?;
            Ok((Vec::new(), here))
        }
        Err(error) if named.is_none() => {
            let remedy = "write one (config/gateway.toml is the reference), name another with --config FILE or \
                          GATEWAY_CONFIG, or set at least a backend in the environment, such as \
                          GATEWAY_BACKEND__API__COMMAND='[\"node\", \"server.js\"]'";
            Err(Problem { remedy: remedy.to_owned(), ..file::unreadable(&main, &error) }.into())
        }
        Err(error) => Err(file::unreadable(&main, &error).into()),
    }
}

/// Lay the layers over each other. The built-in defaults below them all are the rooms' own `Default`s, which
/// serde puts where no layer has a key.
fn merge(lower: Vec<Layer>, upper: Vec<Layer>) -> Result<(Dict, Place), Problems> {
    let mut lists = Layer::empty("built-in defaults");
    let mut layers = lower;
    layers.iter_mut().for_each(|layer| layer.move_lists(&mut lists));
    layers.push(lists);
    layers.extend(upper);
    let mut figment = Figment::new();
    let mut places = Layer::empty("built-in defaults").places;
    for layer in layers {
        figment = figment.merge(&layer);
        places.overlay(layer.places);
    }
    let values = figment.extract().map_err(|error| Problem {
        source: "the layers together".to_owned(),
        line: None,
        key: error.path.join("."),
        value: None,
        message: error.kind.to_string(),
        remedy: "this is a fault of the gateway: please report it with the file".to_owned(),
    })?;
    Ok((values, places))
}

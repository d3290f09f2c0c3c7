//! Node, looked at for `gateway bootstrap`: which one the application asks for, which are here that its workers' user may
//! run, and what a mirror would give. It downloads nothing but a mirror's list.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::{Uid, User};

use super::there;
use crate::{
    backend::{
        NodeConfig, NodeWish,
        node::{
            Hints, Mirror, NodeProblem, Source, Spec, Store, Wanted, asked_by, everybody_runs, here,
            lts_line, program_at, version,
        },
    },
    bootstrap::{Answers, App, Facts, NodeFacts, NodeOffer, NodeThere, NodeWanted},
    cli::{Failure, Settings, node, reach},
    config::Config,
};

/// What is installed when nobody says otherwise.
const USUAL: &str = "lts";

/// The backend's name in a configuration that bootstrap writes.
const BACKEND: &str = "api";

/// What is known of Node; nothing where the application needs none.
pub(super) fn look(facts: &Facts, answers: &Answers, settings: &Settings) -> Result<NodeFacts, Failure> {
    let Some(app) = answers.app.as_ref().filter(|_| facts.needs_node(answers)) else {
        return Ok(NodeFacts::default());
    };
    let loaded = there(settings)?;
    let is_new = loaded.is_none();
    let config = loaded.map(|loaded| loaded.config).unwrap_or_default();
    let (backend, wish) = configured(&config, app);
    let backend = if is_new { Some(BACKEND.to_owned()) } else { backend };
    let mut found = NodeFacts { backend, ..NodeFacts::default() };
    let wanted = match wanted(answers, &wish, app) {
        Ok(wanted) => wanted,
        Err(problem) => {
            found.problem = Some(told(&problem, "`--node VERSION` says it in its place"));
            return Ok(found);
        }
    };
    let spec = wanted.as_ref().map(|(spec, _)| spec);
    found.there = match wish.path.as_deref().filter(|_| answers.node.is_none()) {
        Some(path) => vec![named(path)],
        None => all(&config, app, spec),
    };
    if !is_new && wish.path.is_none() {
        // A configuration that is there names no home's, and the service looks into no home but its users' own.
        let known = [Source::Gateway.word(), Source::System.word()];
        found.there.retain(|one| known.contains(&one.source.as_str()));
    }
    if found.chosen().is_none() {
        let usual: Spec = USUAL.parse().map_err(Failure::usage)?;
        match offer(&config.node, answers, spec.unwrap_or(&usual))? {
            Ok(offer) => found.offer = Some(offer),
            Err(problem) => found.problem = Some(not_had(&problem)),
        }
    }
    found.wanted = wanted.map(|(spec, by)| NodeWanted { version: spec.to_string(), by });
    Ok(found)
}

/// The backend of a configuration whose application this is, and what it says about Node.
fn configured(config: &Config, app: &App) -> (Option<String>, NodeWish) {
    let of_all = NodeWish { version: config.node.version.clone(), path: config.node.path.clone() };
    let ours =
        config.backend.iter().find(|(_, backend)| backend.directory.as_deref() == Some(&app.directory));
    match ours {
        Some((name, backend)) if backend.node == NodeWish::default() => (Some(name.clone()), of_all),
        Some((name, backend)) => (Some(name.clone()), backend.node.clone()),
        None => (None, of_all),
    }
}

/// What is asked for, and by whom: the order itself, the configuration, the application's files.
fn wanted(answers: &Answers, wish: &NodeWish, app: &App) -> Result<Option<(Spec, String)>, String> {
    let configured = wish.version.as_deref().map(str::parse::<Wanted>).transpose()?;
    if let Some(text) = &answers.node {
        let same = wish.version.as_ref() == Some(text);
        let by = if same { "the configuration" } else { "--node" };
        return Ok(Some((text.parse()?, by.to_owned())));
    }
    if let Some(Wanted::Spec(spec)) = configured {
        return Ok(Some((spec, "the configuration".to_owned())));
    }
    Ok(asked_by(&app.directory)?.map(|(spec, file)| (spec, file.to_owned())))
}

/// Every Node that is here, the one first that the service would take: its own, PATH's, then those in homes.
fn all(config: &Config, app: &App, spec: Option<&Spec>) -> Vec<NodeThere> {
    let store = Store::below(&config.state_dir);
    let versions = here(&store, &nvms(app)).into_iter().map(|(source, one)| {
        let program = one.prefix.join("bin/node");
        let fits = spec.is_none_or(|spec| spec.takes(&one.version, one.lts.as_deref()));
        let everybodys = source == Source::Gateway || everybody_runs(&program);
        let source = source.word().to_owned();
        NodeThere { version: format!("v{}", one.version), source, program, fits, everybodys }
    });
    let (own, in_homes): (Vec<_>, Vec<_>) =
        versions.partition(|one: &NodeThere| one.source == Source::Gateway.word());
    let in_path = Facts::node_in_path().map(|program| {
        let says = node::say_version(&program).ok();
        let known = says.as_deref().and_then(version);
        let fits = spec
            .is_none_or(|spec| known.as_ref().is_some_and(|version| spec.takes(version, lts_line(version))));
        NodeThere {
            version: says.unwrap_or_else(|| "a Node that does not say its version".to_owned()),
            source: Source::System.word().to_owned(),
            everybodys: everybody_runs(&program),
            program,
            fits,
        }
    });
    // Where nobody asks for a version, PATH's is what the service takes.
    let (first, second) = if spec.is_some() { (own, Vec::new()) } else { (Vec::new(), own) };
    first.into_iter().chain(in_path).chain(second).chain(in_homes).collect()
}

/// Whose nvm is looked at: besides the usual ones, that of whom the application belongs to.
fn nvms(app: &App) -> Vec<PathBuf> {
    let owner = std::fs::metadata(&app.directory).ok().map(|metadata| Uid::from_raw(metadata.uid()));
    let owner = owner.and_then(|uid| User::from_uid(uid).ok().flatten()).map(|user| user.dir);
    Hints::read().nvms(owner)
}

/// The one that the configuration names.
fn named(path: &Path) -> NodeThere {
    let program = program_at(path).unwrap_or_else(|_| path.to_owned());
    NodeThere {
        version: node::say_version(&program).unwrap_or_default(),
        source: Source::Named.word().to_owned(),
        fits: true,
        everybodys: everybody_runs(&program),
        program,
    }
}

/// What a mirror would give; it is asked, and nothing is downloaded yet.
fn offer(
    config: &NodeConfig,
    answers: &Answers,
    spec: &Spec,
) -> Result<Result<NodeOffer, NodeProblem>, Failure> {
    let mut config = config.clone();
    if let Some(mirror) = &answers.node_mirror {
        config.mirror.clone_from(mirror);
    }
    let ask = async {
        let mirror = Mirror::new(&config)?;
        let release = mirror.offer(spec).await?;
        let named = answers.node_mirror.is_some();
        Ok(NodeOffer { version: format!("v{}", release.version), mirror: mirror.address(), named })
    };
    Ok(reach::runtime()?.block_on(ask))
}

/// Why it cannot be had, and what a machine without that mirror can do.
fn not_had(problem: &NodeProblem) -> (String, String) {
    let (what, remedy) = told(&problem.to_string(), "name another mirror with `--node-mirror URL`");
    match problem {
        NodeProblem::Unreachable { .. } => (
            what,
            "let the machine reach it, name a mirror that it reaches with `--node-mirror URL`, or copy `index.json`, the \
             version's SHASUMS256.txt and archive into a directory of the same layout: `--node-mirror file:///DIR`"
                .to_owned(),
        ),
        _ => (what, remedy),
    }
}

fn told(text: &str, otherwise: &str) -> (String, String) {
    let failure = node::told(text);
    (failure.message, failure.hint.unwrap_or_else(|| otherwise.to_owned()))
}

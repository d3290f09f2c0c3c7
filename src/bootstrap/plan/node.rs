//! The step about Node: which one the application is started with, and how it comes here if it is not.

use std::path::Path;

use super::{
    super::facts::{NodeFacts, NodeThere},
    Action, Answers, Facts, Plan, places,
};

/// The Node that the application asks for; an application that is started by something else needs none.
pub(super) fn node(plan: &mut Plan, facts: &Facts, answers: &Answers) {
    if !facts.needs_node(answers) {
        return;
    }
    let node = &facts.node;
    configuration_stays(plan, facts, answers);
    if let Some((what, remedy)) = &node.problem {
        plan.problem(what, remedy);
        return;
    }
    if node.chosen().is_some() {
        return;
    }
    let Some(offer) = &node.offer else {
        let remedy =
            "name one with `--node VERSION`, or install one for everybody (`apt-get install nodejs`)";
        plan.problem("there is no Node that every user can start", remedy);
        return;
    };
    let by = match &node.wanted {
        Some(wanted) => format!("{} asks for {}", wanted.by, wanted.version),
        None => "nobody asks for a version".to_owned(),
    };
    let will = format!("{} ({by}) from {} into {}", offer.version, offer.mirror, places::NODES);
    let action = Action::Node {
        version: offer.version.clone(),
        mirror: offer.named.then(|| offer.mirror.clone()),
        backend: node.backend.clone(),
    };
    plan.step("node", (there(&node.there), will), "the application is started with it", action);
}

/// A configuration that is there is its owner's: what was asked for on the command line does not get into it.
fn configuration_stays(plan: &mut Plan, facts: &Facts, answers: &Answers) {
    if !facts.files.contains_key(Path::new(places::CONFIG)) {
        return;
    }
    let backend = facts.node.backend.as_deref().unwrap_or("NAME");
    if let Some(wanted) = facts.node.wanted.as_ref().filter(|wanted| wanted.by == "--node") {
        plan.note(
            format!("`{}` is there already, and does not ask for Node {}", places::CONFIG, wanted.version),
            format!("put `version = \"{}\"` below its `[backend.{backend}.node]`", wanted.version),
        );
    }
    if let (Some(mirror), true) = (&answers.node_mirror, facts.node.offer.is_some()) {
        plan.note(
            format!("`{}` is there already, and may name another mirror", places::CONFIG),
            format!("put `mirror = \"{mirror}\"` below its `[node]` for what is installed later"),
        );
    }
}

fn there(all: &[NodeThere]) -> String {
    if all.is_empty() {
        return "none is here".to_owned();
    }
    let shown = |one: &NodeThere| {
        let whose = if one.everybodys { "" } else { ", not everybody's" };
        format!("{} ({}{whose})", one.version, one.source)
    };
    format!("only {}", all.iter().map(shown).collect::<Vec<_>>().join(", "))
}

/// What a new configuration says about the Node of the application's backend: a key and its value.
pub(super) fn wish(node: &NodeFacts) -> Option<(&'static str, String)> {
    let version = match &node.wanted {
        Some(wanted) if wanted.by_file() => Some("auto".to_owned()),
        Some(wanted) => Some(wanted.version.clone()),
        None => None,
    };
    match node.chosen() {
        // The service does not look into homes for versions.
        Some(one) if one.source == "nvm" => Some(("path", one.program.display().to_string())),
        Some(_) => version.map(|version| ("version", version)),
        None => Some(("version", version.unwrap_or_else(|| "lts".to_owned()))),
    }
}

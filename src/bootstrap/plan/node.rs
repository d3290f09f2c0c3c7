//! The step about Node: which one the application is started with.

use super::{Answers, Facts, Plan};

/// The Node that every user finds; an application that is started by something else needs none.
pub(super) fn node(plan: &mut Plan, facts: &Facts, answers: &Answers) {
    let Some(app) = facts.app.as_ref().filter(|app| answers.app.is_some() && app.exists) else { return };
    if app.node.is_none() && app.command.first().is_some_and(|program| program == "node") {
        let remedy = "install it for everybody (`apt-get install nodejs`), or give its path with `--command`";
        plan.problem("there is no Node that every user can start", remedy);
    }
}

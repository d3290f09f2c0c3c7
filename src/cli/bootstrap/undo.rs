//! `gateway bootstrap --undo`: what will be taken back and what will stay is shown before anything is.

use serde_json::json;

use super::{
    Bootstrap, registry,
    stop::{Stop, stopped},
};
use crate::{
    bootstrap::{self, Taken},
    cli::{Failure, Settings, out},
};

impl Bootstrap {
    pub(super) fn take_back(&self, settings: &Settings) -> Result<(), Failure> {
        let registry = registry::needed(settings);
        let quiet = self.form.json;
        let forecast = bootstrap::to_take_back(registry.as_deref())?;
        if self.dry_run {
            return match quiet {
                true => out::json(&json!({ "to_take_back": forecast })),
                false => {
                    show(&forecast);
                    Ok(())
                }
            };
        }
        if !quiet {
            show(&forecast);
        }
        self.ask(&question(registry.as_deref()))?;
        let stop = Stop::heard()?;
        let mut taken = Vec::new();
        let outcome = bootstrap::undo(registry.as_deref(), &|| stop.asked().is_some(), |one: Taken| {
            if !quiet {
                out::line(match &one.stays {
                    Some(why) => format!("stays: {}: {why}", one.what),
                    None => format!("taken back: {}", one.what),
                });
            }
            taken.push(one);
        });
        if quiet {
            out::json(&json!({ "taken_back": taken }))?;
        }
        let how_on = "`gateway bootstrap --undo` goes on where it stopped";
        outcome.map_err(|error| {
            let failure = Failure::from(error);
            if failure.hint.is_some() { failure } else { failure.hint(how_on) }
        })?;
        match stop.asked() {
            Some(asked) if taken.len() < forecast.len() => {
                let subjects: Vec<&str> = forecast.iter().map(|one| one.what.as_str()).collect();
                Err(stopped(asked, &subjects, taken.len(), how_on))
            }
            _ => {
                if registry.is_some() && !quiet {
                    out::line(WAY_BACK);
                }
                Ok(())
            }
        }
    }
}

/// After it, when a registry has stayed: its tenants are not out of reach.
const WAY_BACK: &str = "\nnote: the registry stays, and with it its tenants\n\
                        hint: `gateway bootstrap` with a copy of this program sets the gateway up with them again; then `gateway tenant \
                        remove`, and `--undo` once more";

/// The gateway that could remove tenants goes: whoever has some left is asked about them, and not about the rest alone.
fn question(registry: Option<&str>) -> String {
    match registry {
        None => "Take back what bootstrap made?".to_owned(),
        Some(why) => format!(
            "{why}. No gateway will be left that removes tenants.\nTake back what bootstrap made all the same?"
        ),
    }
}

fn show(forecast: &[Taken]) {
    for one in forecast {
        out::line(match &one.stays {
            Some(why) => format!("will stay: {}: {why}", one.what),
            None => format!("to take back: {}", one.what),
        });
    }
    if forecast.iter().any(|one| one.stays.is_some()) {
        out::line(
            "\nnote: what stays is of record: another `--undo` takes it, once the reason is gone, with any copy of this program\n\
             hint: tenants are removed by the gateway that runs: do that before it goes",
        );
    }
    out::line("");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_tenants_left_is_asked_about_them() {
        let asked = question(Some("the registry `/r` names 2 tenants (`gateway tenant remove` first)"));
        assert_eq!(
            asked,
            "the registry `/r` names 2 tenants (`gateway tenant remove` first). No gateway will be left that removes tenants.\n\
             Take back what bootstrap made all the same?"
        );
        assert_eq!(question(None), "Take back what bootstrap made?");
    }
}

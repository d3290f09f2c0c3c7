//! `gateway check`: everything that is wrong with the configuration, without touching anything.

use serde::Serialize;

use super::{Failure, Settings, out, reach};

/// Check the configuration and tell every problem at once; exit code 2 if there is one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway check
  gateway check --config /etc/gateway/gateway.toml
  gateway check --json")]
pub(crate) struct Check {
    #[command(flatten)]
    form: out::Form,
}

#[derive(Serialize)]
struct Problem<'a> {
    source: &'a str,
    line: Option<usize>,
    key: &'a str,
    value: Option<&'a str>,
    message: &'a str,
    remedy: &'a str,
}

impl<'a> Problem<'a> {
    fn of(problem: &'a crate::config::Problem) -> Self {
        let crate::config::Problem { source, line, key, value, message, remedy } = problem;
        Self { source, line: *line, key, value: value.as_deref(), message, remedy }
    }
}

impl Check {
    pub(crate) fn run(self, settings: &Settings) -> Result<(), Failure> {
        let loaded = crate::config::load_to_check(&settings.flags());
        if !self.form.json {
            let loaded = loaded.map_err(|problems| reach::unusable(&problems))?;
            for warning in &loaded.warnings {
                out::line(format!("warning: {warning}"));
            }
            out::line(match &loaded.files[..] {
                [] => "no configuration file; the built-in defaults and the environment hold".to_owned(),
                files => {
                    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                    format!("the configuration is good: {}", names.join(", "))
                }
            });
            return Ok(());
        }
        let (files, problems, warnings) = match loaded {
            Ok(loaded) => (loaded.files, Vec::new(), loaded.warnings),
            Err(problems) => (Vec::new(), problems.0, Vec::new()),
        };
        let list = |problems: &[crate::config::Problem]| {
            serde_json::to_value(problems.iter().map(Problem::of).collect::<Vec<_>>()).unwrap_or_default()
        };
        out::json(&serde_json::json!({
            "good": problems.is_empty(), "files": files, "problems": list(&problems), "warnings": list(&warnings),
            "units": crate::bootstrap::units_that_differ(),
        }))?;
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Failure { exit: super::failure::Exit::Usage, ..Failure::told() })
        }
    }
}

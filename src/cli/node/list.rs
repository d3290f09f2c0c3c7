//! `gateway node list`: what is here, what runs it, and what the mirror has.

use std::{collections::BTreeSet, path::PathBuf};

use serde::Serialize;

use super::{Place, say_version, used_by};
use crate::{
    backend::node::{Mirror, Release, lts_line},
    cli::{Failure, out},
};

/// Show the Node versions on this machine, where they come from, and which backends run them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Sources:
  gateway  installed by `gateway node install`
  nvm      NVM_DIR, or the `~/.nvm` of a workers' user, this user, root, or sudo's caller
  PATH     what PATH finds

Examples:
  gateway node list
  gateway node list --json
  gateway node list --remote")]
pub(crate) struct List {
    /// Show what the mirror has instead: the newest of each line
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    form: out::Form,
}

/// One version on this machine.
#[derive(Debug, Serialize)]
struct Row {
    version: String,
    source: &'static str,
    lts: Option<String>,
    /// `default`, or backends for which it was chosen by `gateway node use`.
    chosen: Vec<String>,
    used_by: Vec<String>,
    program: PathBuf,
}

/// One version on the mirror.
#[derive(Debug, Serialize)]
struct Offer {
    version: String,
    lts: Option<String>,
    date: String,
    installed: bool,
}

impl List {
    pub(super) async fn run(self, place: &Place) -> Result<(), Failure> {
        if self.remote {
            return self.offers(place).await;
        }
        let rows = rows(place).await;
        if self.form.json {
            return out::json(&rows);
        }
        if rows.is_empty() {
            out::line("there is no Node on this machine: `gateway node install lts`");
            return Ok(());
        }
        out::line(out::table(
            &["version", "source", "lts", "chosen for", "used by", "program"],
            rows.into_iter().map(|row| {
                let chosen = row.chosen.join(", ");
                let program = row.program.display().to_string();
                [
                    row.version,
                    row.source.to_owned(),
                    row.lts.unwrap_or_default(),
                    chosen,
                    row.used_by.join(", "),
                    program,
                ]
            }),
        ));
        Ok(())
    }

    async fn offers(self, place: &Place) -> Result<(), Failure> {
        let releases = Mirror::new(&place.config.node)?.releases().await?;
        let here: Vec<_> = place.store.installed().into_iter().map(|one| one.version).collect();
        let offers: Vec<Offer> = newest_of_lines(releases)
            .into_iter()
            .map(|one| Offer {
                installed: here.contains(&one.version),
                version: format!("v{}", one.version),
                lts: one.lts,
                date: one.date,
            })
            .collect();
        if self.form.json {
            return out::json(&offers);
        }
        out::line(out::table(
            &["version", "lts", "date", "here"],
            offers.into_iter().map(|one| {
                let here = if one.installed { "installed" } else { "" };
                [one.version, one.lts.unwrap_or_default(), one.date, here.to_owned()]
            }),
        ));
        Ok(())
    }
}

/// Who may not ask the gateway sees what is there, and not who runs it.
async fn rows(place: &Place) -> Vec<Row> {
    let (backends, choices) = (place.backends().await.unwrap_or_default(), place.store.choices());
    let mut rows: Vec<Row> = place
        .versions()
        .into_iter()
        .map(|(source, one)| {
            let program = one.prefix.join("bin/node");
            let chosen = choices.iter().filter(|(_, prefix)| *prefix == one.prefix);
            Row {
                version: format!("v{}", one.version),
                source: source.word(),
                lts: one.lts,
                chosen: chosen
                    .map(|(name, _)| name.clone().unwrap_or_else(|| "default".to_owned()))
                    .collect(),
                used_by: used_by(&backends, &program),
                program,
            }
        })
        .collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system =
        std::env::split_paths(&path).map(|place| place.join("node")).find(|program| program.is_file());
    if let Some(program) = system
        && !rows.iter().any(|row| row.program == program)
    {
        let version = say_version(&program).unwrap_or_else(|problem| format!("? ({problem})"));
        let lts =
            version.strip_prefix('v').and_then(|version| lts_line(&version.parse().ok()?)).map(str::to_owned);
        rows.push(Row {
            version,
            source: "PATH",
            lts,
            chosen: Vec::new(),
            used_by: used_by(&backends, &program),
            program,
        });
    }
    rows
}

/// The first of each major version: they come newest first.
fn newest_of_lines(releases: Vec<Release>) -> Vec<Release> {
    let mut seen = BTreeSet::new();
    releases.into_iter().filter(|one| seen.insert(one.version.major)).collect()
}

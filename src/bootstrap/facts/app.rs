//! What an application's directory says about how it is started. Pure but for the reading of its files.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::super::{App, machine};

/// An application as it lies there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AppFacts {
    /// Is there such a directory?
    pub(crate) exists: bool,
    /// How it is started, where that can be told.
    pub(crate) command: Vec<String>,
    /// Node, where it is.
    pub(crate) node: Option<PathBuf>,
}

/// Entry files that people use, the likeliest first.
const ENTRIES: [&str; 6] = ["server.js", "index.js", "app.js", "main.js", "dist/main.js", "dist/index.js"];

impl AppFacts {
    /// Look at it.
    pub(super) fn read(app: &App) -> Self {
        let package = machine::text(app.directory.join("package.json"));
        let there: Vec<&str> =
            ENTRIES.into_iter().filter(|entry| app.directory.join(entry).is_file()).collect();
        let command = if app.command.is_empty() { command(&package, &there) } else { app.command.clone() };
        Self { exists: app.directory.is_dir(), command, node: machine::program("node") }
    }

    /// The file that the command names, if it names one.
    pub(crate) fn entry(&self, directory: &Path) -> Option<PathBuf> {
        let named = self.command.iter().skip(1).find(|word| !word.starts_with('-'))?;
        Some(directory.join(named))
    }
}

/// What `npm start` would run if that is a plain program with words; else the package's main file; else the first entry
/// file that is there.
fn command(package: &str, there: &[&str]) -> Vec<String> {
    let package: Value = serde_json::from_str(package).unwrap_or_default();
    let start = package["scripts"]["start"].as_str().unwrap_or_default();
    let plain = !start.contains(['&', '|', ';', '$', '"', '\'', '=', '>', '<', '`', '*', '(']);
    if plain && start.split_whitespace().next() == Some("node") {
        return start.split_whitespace().map(str::to_owned).collect();
    }
    let main = package["main"].as_str().map(str::to_owned);
    let entry = main.or_else(|| there.first().map(|entry| (*entry).to_owned()));
    entry.map(|entry| vec!["node".to_owned(), entry]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_says_how_it_starts_or_its_files_do() {
        for (package, there, want) in [
            (
                r#"{"scripts":{"start":"node --enable-source-maps src/api.js"}}"#,
                vec![],
                "node --enable-source-maps src/api.js",
            ),
            (
                r#"{"scripts":{"start":"NODE_ENV=production node x.js"},"main":"lib.js"}"#,
                vec![],
                "node lib.js",
            ),
            (r#"{"scripts":{"start":"next start"}}"#, vec!["server.js"], "node server.js"),
            ("", vec!["index.js", "app.js"], "node index.js"),
            ("", vec![], ""),
        ] {
            assert_eq!(command(package, &there).join(" "), want, "{package}");
        }
    }
}

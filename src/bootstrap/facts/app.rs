//! What an application's directory says about how it is started. Pure but for the reading of its files.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use super::super::{App, import::is_own, machine};

/// An application as it lies there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AppFacts {
    /// Is there such a directory?
    pub(crate) exists: bool,
    /// How it is started, where that can be told.
    pub(crate) command: Vec<String>,
    /// Names in the environment of what runs in that directory now, under pm2 or whatever else.
    pub(crate) names_now: BTreeSet<String>,
    /// Names in the environment file.
    pub(crate) names_then: BTreeSet<String>,
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
        let file = app.env_file.as_ref().map(machine::text).unwrap_or_default();
        Self {
            exists: app.directory.is_dir(),
            command,
            names_now: names_now(Path::new("/proc"), &app.directory),
            names_then: names_of_file(&file),
        }
    }

    /// Names that what runs now has, and what will run has not.
    pub(crate) fn names_missing(&self) -> Vec<&str> {
        self.names_now.difference(&self.names_then).map(String::as_str).collect()
    }

    /// Is it Node that the command starts, by itself or as npm does?
    pub(super) fn begins_with_node(&self) -> bool {
        self.command.first().is_some_and(|program| ["node", "npm", "npx"].contains(&program.as_str()))
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

/// Names in the environments of the processes that were started in that directory, without those of our own workers. The
/// values are thrown away at once.
fn names_now(proc: &Path, directory: &Path) -> BTreeSet<String> {
    let Ok(directory) = directory.canonicalize() else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let process = entry.path();
        let here = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == directory);
        let named_node = machine::text(process.join("comm"));
        if !here || !matches!(named_node.trim(), "node" | "MainThread" | "bun" | "deno") {
            continue;
        }
        let environment = zeroize::Zeroizing::new(fs::read(process.join("environ")).unwrap_or_default());
        let lines = environment.split(|byte| *byte == 0);
        let names = lines.filter_map(|line| line.split(|byte| *byte == b'=').next());
        let names: BTreeSet<String> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        if !names.contains("GATEWAY_WORKER") {
            found.extend(names.into_iter().filter(|name| !name.is_empty() && is_own(name)));
        }
    }
    found
}

/// `NAME=value`, `export NAME=value`.
fn names_of_file(text: &str) -> BTreeSet<String> {
    let of_line = |line: &str| {
        let line = line.trim_start();
        let (name, _) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        (!name.starts_with('#')).then(|| name.trim().to_owned())
    };
    text.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_be_missing_are_found_and_no_value() {
        assert_eq!(
            names_of_file("A=1\n# B=2\nexport C='x=y'\n\nnonsense\n"),
            BTreeSet::from(["A".to_owned(), "C".to_owned()])
        );
        let directory = tempfile::tempdir().unwrap();
        let mut node = std::process::Command::new("node")
            .args(["-e", "setInterval(() => {}, 1000); console.log('up')"])
            .current_dir(directory.path())
            .env_clear()
            .envs([("PATH", std::env::var("PATH").unwrap()), ("SHOP_SECRET", "hunter2".to_owned())])
            .env("PORT", "3000")
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = [0; 2];
        std::io::Read::read_exact(node.stdout.as_mut().unwrap(), &mut up).unwrap();
        let names = names_now(Path::new("/proc"), directory.path());
        node.kill().unwrap();
        node.wait().unwrap();
        assert_eq!(names, BTreeSet::from(["SHOP_SECRET".to_owned()]));
    }

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

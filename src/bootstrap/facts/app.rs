//! What an application's directory says about how it is started. Pure but for the reading of its files.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use super::super::{App, import::is_own, machine, share};

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
    /// The environment file's permissions, if root alone may read it.
    pub(crate) env_closed: Option<u32>,
    /// The file that the command names, if it names one that is there.
    pub(crate) entry: Option<PathBuf>,
    /// What the command names and is not there.
    pub(crate) missing: Option<PathBuf>,
    /// Can the workers' user and the gateway's reach what they need to, as it is now?
    pub(crate) reached: bool,
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
        let entry = named(&command).find_map(|word| found(word, &app.directory));
        let mut facts = Self {
            exists: app.directory.is_dir(),
            entry,
            missing: missing(&command, &app.directory),
            command,
            names_now: names_now(Path::new("/proc"), &app.directory),
            names_then: names_of_file(&file),
            env_closed: app.env_file.as_deref().and_then(share::closed),
            reached: false,
        };
        facts.reached = super::super::reached(app, &facts);
        facts
    }

    /// Names that what runs now has, and what will run has not.
    pub(crate) fn names_missing(&self) -> Vec<&str> {
        self.names_now.difference(&self.names_then).map(String::as_str).collect()
    }

    /// Is it Node that the command starts, by itself or as npm does?
    pub(super) fn begins_with_node(&self) -> bool {
        self.command.first().is_some_and(|program| ["node", "npm", "npx"].contains(&program.as_str()))
    }
}

/// Words of a command that may be files, behind the program.
fn named(command: &[String]) -> impl Iterator<Item = &str> {
    command.iter().skip(1).map(String::as_str).filter(|word| !word.starts_with('-'))
}

/// As Node finds what it is told to run.
fn found(word: &str, directory: &Path) -> Option<PathBuf> {
    let path = directory.join(word);
    let with_ending = directory.join(format!("{word}.js"));
    [path, with_ending].into_iter().find(|path| path.exists())
}

/// A program named by its path, or the file that Node is told to run. Which words belong to Node's options is not known: one
/// that is there will do.
fn missing(command: &[String], directory: &Path) -> Option<PathBuf> {
    /// With these Node runs something else than a file.
    const NO_FILE: [&str; 7] = ["-e", "--eval", "-p", "--print", "-pe", "--run", "--test"];
    let program = command.first()?;
    if program.contains('/') && !directory.join(program).exists() {
        return Some(directory.join(program));
    }
    let is_node = Path::new(program).file_name().is_some_and(|name| name == "node");
    let no_file = command.iter().any(|word| NO_FILE.contains(&word.split('=').next().unwrap_or_default()));
    if !is_node || no_file || named(command).any(|word| found(word, directory).is_some()) {
        return None;
    }
    named(command).last().map(|word| directory.join(word))
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
        // By its program: pm2 names its processes after the application.
        let program = fs::read_link(process.join("exe")).unwrap_or_default();
        let program = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !here || !["node", "bun", "deno"].contains(&program.trim_end_matches(" (deleted)")) {
            continue;
        }
        let environment = zeroize::Zeroizing::new(fs::read(process.join("environ")).unwrap_or_default());
        let names = names_of_environment(&environment);
        if !names.contains("GATEWAY_WORKER") {
            found.extend(names.into_iter().filter(|name| !name.is_empty() && is_own(name)));
        }
    }
    found
}

/// Names of the variables of a `/proc/PID/environ`. pm2 puts all that it knows of an application between them, or into one
/// of its own for those of its cluster.
fn names_of_environment(environment: &[u8]) -> BTreeSet<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let variables: Vec<(String, &[u8])> = environment
        .split(|byte| *byte == 0)
        .filter_map(|line| line.split_at_checked(line.iter().position(|byte| *byte == b'=')?))
        .map(|(name, value)| (text(name), value.get(1..).unwrap_or_default()))
        .collect();
    let value = |wanted: &str| variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    let cluster = value("pm2_env");
    // Its daemon, too, stands where it was first started.
    let under_pm2 = ["pm2_env", "pm_exec_path", "PM2_HOME"].iter().any(|name| value(name).is_some());
    let app = value("name").map(text).filter(|_| under_pm2);
    let names = variables.iter().map(|(name, _)| name.clone());
    let names = names.filter(|name| !(under_pm2 && is_pm2s(name)) && app.as_ref() != Some(name));
    names.chain(cluster.map(names_of_pm2).unwrap_or_default()).collect()
}

/// pm2's own begin with a small letter, as hardly any of an application does but those about proxies.
fn is_pm2s(name: &str) -> bool {
    name == "SILENT" || name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with("_proxy")
}

/// pm2 7 writes down what it knows of the application; its environment is in there, and by its name so is something of pm2's.
fn names_of_pm2(json: &[u8]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Known {
        #[serde(default)]
        name: String,
        #[serde(default)]
        env: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
    }
    let Ok(Known { name, env }) = serde_json::from_slice(json) else { return Vec::new() };
    env.into_keys().filter(|key| *key != name).collect()
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
    fn what_pm2_puts_between_an_applications_variables_is_told_from_them() {
        // As pm2 7.0.4 starts a process of its own (fork), the values shortened.
        let fork = "name=api\0cwd=/srv\0cron_restart=0 4 * * *\0autorestart=true\0pm_exec_path=/srv/a.js\0exec_mode=fork_mode\0\
            km_link=false\0PM2_HOME=/x\0https_proxy=http://p\0JWT_SECRET=hunter2\0api={}\0unique_id=7\0pm_id=0\0";
        let own = |text: &str| -> Vec<String> {
            names_of_environment(text.as_bytes()).into_iter().filter(|name| is_own(name)).collect()
        };
        assert_eq!(own(fork), ["JWT_SECRET", "https_proxy"]);
        // And one of its cluster: beside the variable stands what its daemon was started with.
        let cluster = r#"SILENT=true|DAEMONS=1|windowsHide=true|pm2_env={"name":"API","env":{"JWT_SECRET":"hunter2","API":"{}"}}"#;
        assert_eq!(own(&cluster.replace('|', "\0")), ["DAEMONS", "JWT_SECRET"]);
        assert_eq!(own("name=1\0cwd=/srv\0SILENT=1\0"), ["SILENT", "cwd", "name"]);
        assert_eq!(own("PM2_HOME=/x\0SILENT=true\0A=1\0"), ["A"], "the daemon");
        assert_eq!(own("pm2_env=no json\0A=1\0"), ["A"]);
    }

    #[test]
    fn names_that_would_be_missing_are_found_and_no_value() {
        assert_eq!(
            names_of_file("A=1\n# B=2\nexport C='x=y'\n\nnonsense\n"),
            BTreeSet::from(["A".to_owned(), "C".to_owned()])
        );
        let directory = tempfile::tempdir().unwrap();
        // As pm2 starts a process of its cluster: called after the application, its environment in one variable.
        let mut node = std::process::Command::new("node")
            .args([
                "-e",
                "process.title = 'node /srv/app/server.js'; setInterval(() => {}, 1000); console.log('up')",
            ])
            .current_dir(directory.path())
            .env_clear()
            .envs([("PATH", std::env::var("PATH").unwrap()), ("SHOP_SECRET", "hunter2".to_owned())])
            .env("PORT", "3000")
            .env(
                "pm2_env",
                r#"{"name":"api","env":{"JWT_SECRET":"hunter2","PM2_HOME":"/x","api":"{}"},"instances":2}"#,
            )
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = [0; 2];
        std::io::Read::read_exact(node.stdout.as_mut().unwrap(), &mut up).unwrap();
        let names = names_now(Path::new("/proc"), directory.path());
        node.kill().unwrap();
        node.wait().unwrap();
        assert_eq!(names, ["JWT_SECRET", "SHOP_SECRET"].map(str::to_owned).into());
    }

    #[test]
    fn a_command_that_names_what_is_not_there_is_found_out() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("bin")).unwrap();
        for file in ["app.mjs", "server.js", "bin/run"] {
            fs::write(directory.path().join(file), "").unwrap();
        }
        for (line, want) in [
            ("node app.mjs", None),
            ("node server", None),
            ("node .", None),
            ("node --enable-source-maps -r dotenv/config app.mjs", None),
            ("node -e 0 x", None),
            ("node --run start", None),
            ("npm run start", None),
            ("bin/run it", None),
            ("node nothere.js", Some("nothere.js")),
            ("bin/other", Some("bin/other")),
        ] {
            let command: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let want = want.map(|path| directory.path().join(path));
            assert_eq!(missing(&command, directory.path()), want, "{line}");
        }
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

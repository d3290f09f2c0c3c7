//! pm2's applications, as `pm2 jlist` or `~/.pm2/dump.pm2` has them. The names of their environments come out, the values
//! never; nor does a word of their command line that may be a secret.

use serde_json::Value;

use super::{Carried, is_own, list, name_of, quoted};

/// What names of options contain whose value nobody else should read.
const SECRET: [&str; 6] = ["pass", "secret", "token", "key", "credential", "auth"];

/// Where every user finds it.
const EVERYBODYS: [&str; 3] = ["/usr/bin/node", "/usr/local/bin/node", "/bin/node"];

/// From the list of applications; several processes of one name are one backend.
pub(crate) fn pm2(json: &str) -> Result<Carried, String> {
    const NO_LIST: &str = "this is no list of pm2's";
    // What pm2 says before its list (that it has started its daemon, that an update waits) is no JSON.
    let begin = json.find('[').filter(|at| json.get(..*at).is_some_and(|before| !before.contains('{')));
    let text = begin.and_then(|at| json.get(at..)).ok_or_else(|| format!("{NO_LIST}: it has no `[`"))?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        // serde_json tells where, and never repeats what stands there.
        format!("{NO_LIST}: line {}, column {}", error.line(), error.column())
    })?;
    let apps = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut carried = Carried::default();
    let (mut seen, mut taken): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    for app in apps {
        let name = app["name"].as_str().unwrap_or("app");
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let workers = apps.iter().filter(|other| other["name"].as_str() == Some(name)).count();
        let key = name_of(name, &taken);
        taken.push(key.clone());
        App { name, key: &key, value: app }.carry(&mut carried, workers);
    }
    if apps.is_empty() {
        carried.leave("pm2 runs nothing", "ask the user whose pm2 it is: `sudo -u THEM pm2 jlist`");
    }
    Ok(carried)
}

/// One application.
struct App<'v> {
    name: &'v str,
    /// `[backend.KEY]`.
    key: &'v str,
    value: &'v Value,
}

impl<'v> App<'v> {
    /// `jlist` has most of it below `pm2_env`, the dump beside the name.
    fn of(&self, key: &str) -> &'v Value {
        Some(&self.value[key]).filter(|value| !value.is_null()).unwrap_or(&self.value["pm2_env"][key])
    }

    fn text(&self, key: &str) -> Option<&'v str> {
        self.of(key).as_str().filter(|text| !text.is_empty())
    }

    fn words(&self, key: &str) -> Vec<&'v str> {
        match self.of(key) {
            Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
            Value::String(words) => words.split_whitespace().collect(),
            _ => Vec::new(),
        }
    }

    fn carry(&self, carried: &mut Carried, workers: usize) {
        carried.line(format!("[backend.{}]", self.key));
        let command = self.command(carried);
        carried.line(format!("command = {}", list(command.iter().map(String::as_str))));
        if let Some(directory) = self.text("pm_cwd") {
            carried.line(format!("directory = {}", quoted(directory)));
        }
        carried.line("# The hosts that it serves, such as [\"api.example.com\"].\nhosts = []");
        if workers > 1 {
            carried.line(format!("workers = {workers}"));
        }
        if let Some(bytes) = bytes(self.of("max_memory_restart")) {
            carried.line(format!("memory_max_mb = {}", bytes.div_ceil(1024 * 1024)));
        }
        for (key, ours) in [("kill_timeout", "stop_grace"), ("listen_timeout", "ready_timeout")] {
            if let Some(ms) = self.of(key).as_u64().filter(|ms| *ms > 0) {
                carried.line(format!("{ours} = \"{ms}ms\""));
            }
        }
        if self.of("wait_ready").as_bool() == Some(true) {
            carried.line("ready = \"message\"");
        }
        if self.of("shutdown_with_message").as_bool() == Some(true) {
            carried.line("shutdown = \"message\"");
        }
        let env = self.of("env");
        if env["PORT"].is_string() || env["PORT"].is_number() {
            // One that listened on a number until now may turn what it is given into one.
            carried.line("# It has listened on a port; without this line `PORT` is the path of a socket, which is better.");
            carried.line("listen = \"port\"");
        }
        carried.line("");
        self.leave(carried, env);
    }

    /// Program and words, without what may be a secret.
    fn command(&self, carried: &mut Carried) -> Vec<String> {
        let interpreter = self.text("exec_interpreter").filter(|program| *program != "none");
        let mut command: Vec<String> = Vec::new();
        if let Some(program) = interpreter {
            let node = program.rsplit('/').next() == Some("node");
            command.push(if node { "node".to_owned() } else { program.to_owned() });
            let own = program.starts_with('/') && !EVERYBODYS.contains(&program);
            if let Some(version) = self.text("node_version").filter(|_| node && own) {
                carried.leave(
                    format!("`{}`: runs with {program} ({version})", self.name),
                    format!(
                        "`gateway node install {version}`, and `version = \"{version}\"` below `[backend.{}.node]`",
                        self.key
                    ),
                );
            }
        }
        command.extend(self.words("node_args").into_iter().map(str::to_owned));
        command.extend(self.text("pm_exec_path").map(str::to_owned));
        let mut words = self.words("args").into_iter().peekable();
        while let Some(word) = words.next() {
            let lower = word.to_ascii_lowercase();
            let name = lower.split('=').next().unwrap_or_default();
            let secret = name.starts_with('-') && SECRET.iter().any(|secret| name.contains(secret));
            let address = lower.contains("://") && lower.contains('@');
            if !(secret || address) {
                command.push(word.to_owned());
                continue;
            }
            if secret && !lower.contains('=') {
                // Its value is the next word.
                let _value = words.next_if(|next| !next.starts_with('-'));
            }
            let what = word.split('=').next().filter(|_| secret).unwrap_or("a word with a password");
            carried.leave(
                format!(
                    "`{}`: {what} on its command line, which everybody on the machine can read",
                    self.name
                ),
                "give it to the application through `env_file`",
            );
        }
        command
    }

    fn leave(&self, carried: &mut Carried, env: &Value) {
        let name = self.name;
        carried.leave(format!("`{name}`: which hosts it serves"), "nginx knows: `gateway import nginx`");
        let names = environment(name, env);
        if !names.is_empty() {
            carried.leave(
                format!("`{name}`: the values of {}", names.join(", ")),
                "put them into a file that only the gateway reads (chmod 600) and name it as `env_file`; `pm2 env` shows them",
            );
        }
        let program = self.text("pm_exec_path").unwrap_or_default().rsplit('/').next().unwrap_or_default();
        if program.starts_with("npm") || program.starts_with("yarn") || program.starts_with("pnpm") {
            carried.leave(
                format!("`{name}`: {program} starts it, and stands between it and every signal"),
                "name in `command` what the script in package.json runs",
            );
        }
        if let Some(user) = self.text("username").or(self.text("uid")).or(self.text("user")) {
            carried.leave(
                format!("`{name}`: runs as the user {user}"),
                "workers run as `gateway-app`; `user` and `group` name another",
            );
        }
        for (key, remedy) in [
            ("cron_restart", "`max_age` replaces workers after a time, a timer of systemd at one"),
            ("watch", "`watch = true` is for development; after a deploy it is `gateway reload`"),
            ("increment_var", "`NODE_APP_INSTANCE` numbers the workers"),
            ("max_restarts", "the gateway never gives up: it waits longer and longer"),
            ("post_update", "`install` is what makes a release ready"),
        ] {
            let value = self.of(key);
            let on = match value {
                Value::Bool(on) => *on,
                Value::Null => false,
                Value::String(text) => !text.is_empty(),
                // pm2's own default, which it writes down for everybody.
                Value::Number(number) => key != "max_restarts" || number.as_u64() != Some(16),
                Value::Array(list) => !list.is_empty(),
                Value::Object(_) => true,
            };
            if on {
                carried.leave(format!("`{name}`: {key}"), remedy);
            }
        }
        if self.of("autorestart").as_bool() == Some(false) {
            carried.leave(
                format!("`{name}`: it ends when it is done"),
                "what does not serve requests is no backend: a service of systemd runs it",
            );
        }
    }
}

/// `314572800`, `"300M"`.
fn bytes(value: &Value) -> Option<u64> {
    if let Some(bytes) = value.as_u64() {
        return Some(bytes);
    }
    let text = value.as_str()?.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)?.to_ascii_uppercase().as_str() {
        "" => 1,
        "K" | "KB" => 1 << 10,
        "M" | "MB" => 1 << 20,
        "G" | "GB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// The names that the application itself has, sorted.
fn environment<'v>(app: &str, env: &'v Value) -> Vec<&'v str> {
    // What is called like the application is pm2's own, an empty object or its text.
    let pm2s = |name: &str, value: &Value| value.is_object() || name == app && value.as_str() == Some("{}");
    let names = env.as_object().into_iter().flatten().filter(|(name, value)| !pm2s(name, value));
    let mut names: Vec<&str> = names.map(|(name, _)| name.as_str()).filter(|name| is_own(name)).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = include_str!("../../../tests/data/bootstrap/pm2.json");

    #[test]
    fn applications_are_carried_as_on_file() {
        let carried = pm2(LIST).unwrap();
        let told: String =
            carried.left.iter().map(|left| format!("# {}\n#   {}\n", left.what, left.remedy)).collect();
        let is = format!("{}{told}", carried.config);
        assert_eq!(is, include_str!("../../../tests/data/bootstrap/expected/pm2.toml"), "\n--- is ---\n{is}");
        assert!(toml::from_str::<toml::Value>(&carried.config).is_ok());
    }

    #[test]
    fn no_value_of_an_environment_and_no_secret_of_a_command_line_comes_out() {
        let carried = pm2(LIST).unwrap();
        assert!(LIST.contains("hunter2") && !format!("{carried:?}").contains("hunter2"), "{carried:?}");
        let error = pm2(r#"[{"name": "x", "env": {"A": "hunter2"#).unwrap_err();
        assert!(error.contains("column") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn what_is_no_list_is_refused_and_what_pm2_says_before_it_is_skipped() {
        assert!(pm2("{}").is_err() && pm2("nonsense").is_err() && pm2("[1, {").is_err());
        assert!(pm2("[]").unwrap().left[0].what.contains("runs nothing"));
        let after = pm2(">>>> In-memory PM2 is out-of-date\n[{\"name\": \"x\"}]").unwrap();
        assert!(after.config.starts_with("[backend.x]"), "{}", after.config);
        assert_eq!(
            pm2(r#"[{"name": "a b"}, {"name": "a_b"}]"#).unwrap().config.matches("[backend.a-b").count(),
            2
        );
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        for (given, want) in [
            ("1024", Some(1024)),
            ("\"300M\"", Some(314_572_800)),
            ("\"1G\"", Some(1 << 30)),
            ("\"x\"", None),
        ] {
            assert_eq!(bytes(&serde_json::from_str(given).unwrap()), want, "{given}");
        }
    }
}

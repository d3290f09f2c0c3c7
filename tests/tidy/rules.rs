//! The rules that look at one file at a time. Each gives its reason with the problem.

use std::fs;

use crate::source::{Source, top};

/// Longest file, tests not counted.
const LINES_MAX: usize = 400;

/// Words that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "helper", "helpers", "common", "manager", "inner"];

pub(crate) fn too_long(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    let lines = source.tests_begin().map_or(source.text.lines().count(), |line| line - 1);
    let what = format!("{lines} lines without tests, above {LINES_MAX}: one noun a file, split it");
    if lines > LINES_MAX { vec![source.problem(LINES_MAX, &what)] } else { Vec::new() }
}

pub(crate) fn header_missing(source: &Source) -> Vec<String> {
    let first = source.text.lines().next().unwrap_or_default();
    if first.starts_with("//! ") && first.len() > 10 {
        return Vec::new();
    }
    vec![source.problem(1, "open the file with `//!`: what it is for, and what it must never do")]
}

pub(crate) fn bad_module_name(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    let stem = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    if stem == "mod" {
        problems.push(source.problem(1, "`foo.rs` beside `foo/`, never `mod.rs`: tabs tell files apart"));
    }
    if stem.split('_').any(|word| EMPTY_NAMES.contains(&word)) {
        problems.push(source.problem(1, &format!("`{stem}` says nothing: name the noun inside")));
    }
    for (line, code) in source.code_lines() {
        for keyword in ["mod ", "struct ", "enum ", "trait ", "fn "] {
            let Some(name) = declared(code, keyword) else { continue };
            let words = words_of(name);
            if words.iter().any(|word| EMPTY_NAMES.contains(&word.as_str())) {
                problems.push(source.problem(line, &format!("`{name}` says nothing: name the noun")));
            }
        }
    }
    problems
}

pub(crate) fn tests_not_last(source: &Source) -> Vec<String> {
    let Some(begin) = source.tests_begin() else { return Vec::new() };
    let lines: Vec<&str> = source.code.lines().collect();
    let closing = lines.iter().skip(begin).position(|line| line.starts_with('}')).map(|at| begin + at + 1);
    let after = closing.is_some_and(|end| lines[end..].iter().any(|line| !line.trim().is_empty()));
    if after { vec![source.problem(begin, "tests come last in the file")] } else { Vec::new() }
}

pub(crate) fn name_is_no_fact(source: &Source) -> Vec<String> {
    let named = |(line, code): (usize, &str)| {
        let name = declared(code, "fn ").filter(|name| name.starts_with("test_"))?.to_owned();
        Some(source.problem(line, &format!("`{name}`: a test's name is the fact it proves")))
    };
    source.code_lines().filter_map(named).collect()
}

pub(crate) fn getter_prefix(source: &Source) -> Vec<String> {
    let named = |(line, code): (usize, &str)| {
        let name = declared(code, "fn ").filter(|name| name.starts_with("get_"))?.to_owned();
        Some(source.problem(line, &format!("`{name}`: getters have no prefix")))
    };
    source.code_lines().filter_map(named).collect()
}

pub(crate) fn silenced(source: &Source) -> Vec<String> {
    let whys = [
        ("#[allow(", "use `#[expect(…, reason = \"…\")]`: it speaks up when it is needed no longer"),
        ("#![allow(", "use `#![expect(…, reason = \"…\")]`: it speaks up when it is needed no longer"),
        ("#[ignore", "a test that does not run proves nothing: fix it or take it away"),
    ];
    named_in(source, source.code_lines(), &whys)
}

pub(crate) fn left_to_do(source: &Source) -> Vec<String> {
    let whys = [
        ("todo!(", "what is not done must not look done"),
        ("unimplemented!(", "what is not done must not look done"),
    ];
    named_in(source, source.code_lines(), &whys)
}

pub(crate) fn prints(source: &Source) -> Vec<String> {
    const WHY: &str = "only `cli` prints: elsewhere use the log, which can be filtered and collected";
    if source.path.starts_with("src/cli") {
        return Vec::new();
    }
    let whys = [("println!(", WHY), ("print!(", WHY), ("dbg!(", WHY)];
    named_in(source, source.product_lines(), &whys)
}

pub(crate) fn loose_task(source: &Source) -> Vec<String> {
    const WHY: &str = "a task nobody waits for outlives the drain: use `Shutdown::spawn`";
    if source.path == "src/shutdown.rs" {
        return Vec::new();
    }
    let whys = [
        ("tokio::spawn(", WHY),
        ("task::spawn(", WHY),
        ("task::spawn_local(", WHY),
        ("tokio::{spawn", WHY),
        ("use tokio::spawn", WHY),
    ];
    named_in(source, source.code_lines(), &whys)
}

pub(crate) fn unbounded(source: &Source) -> Vec<String> {
    const WHY: &str = "every queue has a bound, with a name in the configuration";
    named_in(source, source.product_lines(), &[("unbounded", WHY), ("mpsc::channel()", WHY)])
}

/// Workers are started by `backend/child`, and by nothing else in the running gateway. `backend/worker_exec` starts
/// nothing: it becomes the worker. The successor is tried by `gateway/successor`. The command line runs what its operator names (`tenant exec`).
/// `bootstrap/machine` runs the machine's own programs, for the command line.
pub(crate) fn starts_a_process(source: &Source) -> Vec<String> {
    const WHY: &str =
        "processes are started in `backend/child` alone, where groups, signals and exits are known";
    let allowed = [
        "src/backend/child",
        "src/backend/worker_exec.rs",
        "src/cli",
        "src/gateway/successor.rs",
        "src/bootstrap/machine.rs",
    ];
    if allowed.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    named_in(
        source,
        source.product_lines(),
        &[("Command::new(", WHY), ("process::Command", WHY), ("fork()", WHY)],
    )
}

/// The tables that `migrations/` makes.
pub(crate) fn own_tables() -> Vec<String> {
    let mut tables = Vec::new();
    for entry in fs::read_dir(top().join("migrations")).into_iter().flatten().flatten() {
        let sql = fs::read_to_string(entry.path()).unwrap_or_default().to_lowercase();
        for (at, create) in sql.match_indices("create table ") {
            let name = sql[at + create.len()..].trim_start().trim_start_matches("if not exists ");
            tables.push(name.split([' ', '(', '\n']).next().unwrap_or_default().trim_matches('"').to_owned());
        }
    }
    tables
}

pub(crate) fn foreign_sql(source: &Source, tables: &[String]) -> Vec<String> {
    const STATEMENTS: [&str; 6] = ["select", "insert", "update", "delete", "create", "alter"];
    let allowed = source.is_test() || source.path.starts_with("src/tenant/store");
    let end = source.tests_begin().unwrap_or(usize::MAX);
    if allowed {
        return Vec::new();
    }
    let names_a_table = |sql: &str| {
        let words: Vec<&str> =
            sql.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect();
        STATEMENTS.contains(words.first().unwrap_or(&""))
            && words.windows(2).any(|pair| {
                matches!(pair[0], "from" | "into" | "update" | "table" | "join")
                    && tables.iter().any(|table| table == pair[1])
            })
    };
    let speaks = |(line, text): &(usize, String)| *line < end && names_a_table(&text.to_lowercase());
    let why = "only `tenant/store` speaks SQL to our own tables";
    source.strings.iter().filter(|text| speaks(text)).map(|(line, _)| source.problem(*line, why)).collect()
}

/// Absolute paths of the machine this was written on, and package registries' hosts.
pub(crate) fn machine_known(source: &Source) -> Vec<String> {
    // Put together here, so that this file does not break its own rule.
    let needles = [
        (["/wo", "rk/"].concat(), "an absolute path of one machine"),
        (["registry.npm", "js.org"].concat(), "package managers know their registry, and mirrors differ"),
        (["registry.yarn", "pkg.com"].concat(), "package managers know their registry, and mirrors differ"),
        (["index.cra", "tes.io"].concat(), "package managers know their registry, and mirrors differ"),
        (["static.cra", "tes.io"].concat(), "package managers know their registry, and mirrors differ"),
        (["py", "pi.org"].concat(), "package managers know their registry, and mirrors differ"),
        (["python", "hosted.org"].concat(), "package managers know their registry, and mirrors differ"),
    ];
    let mut problems = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        for (needle, why) in &needles {
            if line.contains(needle) {
                problems.push(source.problem(index + 1, &format!("`{needle}`: {why}")));
            }
        }
        if source.path.ends_with("package-lock.json") && line.trim_start().starts_with("\"resolved\"") {
            let why = "write the lock file with `npm --omit-lockfile-registry-resolved`";
            problems.push(source.problem(index + 1, why));
        }
    }
    problems
}

fn named_in<'s>(
    source: &Source,
    lines: impl Iterator<Item = (usize, &'s str)>,
    whys: &[(&str, &str)],
) -> Vec<String> {
    let mut problems = Vec::new();
    for (line, code) in lines {
        for (needle, why) in whys {
            let at_word = |(at, _): &(usize, &str)| {
                !needle.starts_with(char::is_alphabetic)
                    || !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
            };
            if code.match_indices(needle).any(|found| at_word(&found)) {
                problems.push(source.problem(line, &format!("`{needle}`: {why}")));
            }
        }
    }
    problems
}

/// The name that `keyword` declares on this line.
fn declared<'c>(code: &'c str, keyword: &str) -> Option<&'c str> {
    let (before, after) = code.split_once(keyword)?;
    let begins = before.chars().last().is_none_or(|c| c == ' ' || c == '(');
    let end = after.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(after.len());
    (begins && end > 0).then(|| &after[..end])
}

/// `PoolManager` and `pool_manager` → `pool`, `manager`.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for character in name.chars() {
        if character == '_' || (character.is_uppercase() && words.last().is_some_and(|w| !w.is_empty())) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| character != '_') {
            word.extend(character.to_lowercase());
        }
    }
    words
}

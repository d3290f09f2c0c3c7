//! Who may import whom. The table is the one of the design: no arrow turns back.

use std::{collections::BTreeMap, fs};

use crate::source::{Source, top};

/// What of a room another may name.
#[derive(Clone, Copy)]
pub(crate) enum Reach {
    /// Everything it shows.
    All,
    /// These names alone, or what stands below a module of that name.
    Only(&'static [&'static str]),
    /// What it exports from its `config.rs`.
    ItsConfig,
}

use Reach::{All, ItsConfig, Only};

/// Importable by every room; they import nothing of ours.
const BASE: [&str; 5] = ["error", "metrics", "privileges", "shutdown", "telemetry"];

/// Room, and what it may import besides the base.
pub(crate) const TABLE: [(&str, &[(&str, Reach)]); 11] = [
    (
        "cli",
        &[
            ("gateway", All),
            ("config", All),
            ("admin", All),
            ("tenant", All),
            ("pool", All),
            ("bootstrap", All),
            // The hidden subcommands through which a worker is started, and what a killed gateway leaves is ended; Node's
            // versions, which are there without a gateway that runs, and what is run with them.
            (
                "backend",
                Only(&["worker_exec", "worker_guard", "node", "ByHand", "NodeConfig", "NodeWish", "Config"]),
            ),
        ],
    ),
    (
        "gateway",
        &[
            ("config", All),
            ("edge", All),
            ("door", All),
            ("backend", All),
            ("job", All),
            ("pool", All),
            ("tenant", All),
            ("admin", All),
        ],
    ),
    (
        "config",
        &[
            ("edge", ItsConfig),
            ("door", ItsConfig),
            ("backend", ItsConfig),
            ("job", ItsConfig),
            ("pool", ItsConfig),
            ("admin", ItsConfig),
            ("tenant", All),
        ],
    ),
    (
        "admin",
        &[
            ("backend", All),
            ("job", All),
            ("pool", All),
            ("tenant", All),
            (
                "edge",
                Only(&[
                    "CertificateView",
                    "Certificates",
                    "HostCertificate",
                    "HostCertificateState",
                    "ImportOrder",
                    "ImportProblem",
                    "Imported",
                    "RenewProblem",
                    "RenewWait",
                    "observe",
                    "unfit_for",
                    "warnings",
                ]),
            ),
        ],
    ),
    (
        "edge",
        &[
            ("backend", Only(&["roster", "Roster", "Turn", "WorkerLease", "Address", "Home", "Sticky"])),
            ("tenant", All),
        ],
    ),
    // Programs beside a backend's workers, with tenants' tickets; it spawns nothing itself.
    (
        "job",
        &[
            (
                "backend",
                Only(&[
                    "Backend",
                    "BackendKind",
                    "Ending",
                    "Errand",
                    "History",
                    "OutputLine",
                    "Ring",
                    "Running",
                ]),
            ),
            ("tenant", All),
        ],
    ),
    ("door", &[("pool", All), ("tenant", All)]),
    ("pool", &[("tenant", All)]),
    ("tenant", &[]),
    ("backend", &[]),
    ("bootstrap", &[]),
];

/// What each room exports from its `config.rs`.
pub(crate) struct Rooms {
    config_exports: BTreeMap<String, Vec<String>>,
}

impl Rooms {
    pub(crate) fn read() -> Self {
        let exports = |room: &str| {
            let text = fs::read_to_string(top().join(format!("src/{room}.rs"))).unwrap_or_default();
            let source = Source::new(&format!("src/{room}.rs"), &text);
            let paths = use_paths(&source.code).into_iter().filter_map(|(_, path)| {
                let path = path.strip_prefix("self::").unwrap_or(&path).to_owned();
                path.strip_prefix("config::").map(str::to_owned)
            });
            (room.to_owned(), paths.collect())
        };
        Self { config_exports: TABLE.iter().map(|(room, _)| exports(room)).collect() }
    }

    #[cfg(test)]
    pub(crate) fn of(room: &str, exports: &[&str]) -> Self {
        let exports = exports.iter().map(|name| (*name).to_owned()).collect();
        Self { config_exports: BTreeMap::from([(room.to_owned(), exports)]) }
    }

    fn allows(&self, from: &str, to: &str, item: Option<&str>) -> bool {
        if BASE.contains(&to) {
            return !BASE.contains(&from);
        }
        let Some((_, row)) = TABLE.iter().find(|(room, _)| *room == from) else { return false };
        let Some((_, reach)) = row.iter().find(|(room, _)| *room == to) else { return false };
        // The bare room: its uses in the file are judged one by one.
        let Some(item) = item else { return true };
        match reach {
            All => true,
            Only(names) => names.contains(&item),
            ItsConfig => {
                item == "config"
                    || self.config_exports.get(to).is_some_and(|names| names.iter().any(|n| n == item))
            }
        }
    }
}

/// Every import of `source` that the table does not allow. Tests may import what they like.
pub(crate) fn wrong_imports(source: &Source, rooms: &Rooms) -> Vec<String> {
    let Some(module) = module_path(&source.path) else { return Vec::new() };
    let room = module.first().map_or("", String::as_str);
    if source.is_test() || matches!(source.path.as_str(), "src/lib.rs" | "src/main.rs") {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (line, path) in crate_paths(source, &module) {
        let mut segments = path.split("::");
        let (Some(to), item) = (segments.next(), segments.next()) else { continue };
        let known = BASE.contains(&to) || TABLE.iter().any(|(name, _)| *name == to);
        if !known || to == room {
            continue;
        }
        if !rooms.allows(room, to, item) {
            let named = item.map_or(to.to_owned(), |item| format!("{to}::{item}"));
            problems.push(source.problem(
                line,
                &format!(
                    "`{room}` must not name `{named}`: the arrows of `src/ARCHITECTURE.md` never turn back \
                     (the table is in tests/tidy/imports.rs)"
                ),
            ));
        }
    }
    problems.sort();
    problems.dedup();
    problems
}

/// `src/edge/forward.rs` → `[edge, forward]`.
fn module_path(path: &str) -> Option<Vec<String>> {
    let inside = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    Some(inside.split('/').map(str::to_owned).collect())
}

/// All paths of the file that begin at the crate's top, as `room::item…`, wherever they stand.
fn crate_paths(source: &Source, module: &[String]) -> Vec<(usize, String)> {
    let code: String = source.product_lines().map(|(_, line)| format!("{line}\n")).collect();
    let mut paths: Vec<(usize, String)> = Vec::new();
    let uses = use_paths(&code);
    for (line, path) in uses.iter().chain(&inline_paths(&code)) {
        let Some(absolute) = absolute(path, module) else { continue };
        // `use crate::edge;` and then `edge::Config`: judge each name used.
        if !absolute.contains("::") {
            let alone = format!("{absolute}::");
            for (line, text) in code.lines().enumerate().map(|(index, text)| (index + 1, text)) {
                for at in word_starts(text, &alone) {
                    let item = identifier(&text[at + alone.len()..]);
                    // `room::{…}` is a `use` tree, whose leaves are judged already.
                    if !item.is_empty() {
                        paths.push((line, format!("{alone}{item}")));
                    }
                }
            }
        }
        paths.push((*line, absolute));
    }
    paths
}

/// `crate::…` as it is, `super::…` from where it stands; anything else is none of ours.
fn absolute(path: &str, module: &[String]) -> Option<String> {
    if let Some(rest) = path.strip_prefix("crate::") {
        return Some(rest.to_owned());
    }
    let mut at = module.to_vec();
    let mut rest = path.strip_prefix("self::").unwrap_or(path);
    let mut climbed = false;
    while let Some(tail) = rest.strip_prefix("super::") {
        at.pop();
        rest = tail;
        climbed = true;
    }
    (climbed && at.is_empty()).then(|| rest.to_owned())
}

/// Every leaf of every `use` tree with its line.
fn use_paths(code: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for at in word_starts(code, "use ") {
        let Some(end) = code[at..].find(';') else { continue };
        let line = code[..at].matches('\n').count() + 1;
        let tree: String = code[at + 4..at + end].split_whitespace().collect::<Vec<_>>().join(" ");
        let mut leaves = Vec::new();
        expand("", &tree, &mut leaves);
        paths.extend(leaves.into_iter().map(|leaf| (line, leaf)));
    }
    paths
}

fn expand(prefix: &str, tree: &str, leaves: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let leaf = tree.split(" as ").next().unwrap_or(tree).trim();
        let path =
            if leaf == "self" { prefix.trim_end_matches("::").to_owned() } else { format!("{prefix}{leaf}") };
        leaves.push(path);
        return;
    };
    let prefix = format!("{prefix}{}", &tree[..open]);
    let inside = tree[open + 1..].trim_end().strip_suffix('}').unwrap_or(&tree[open + 1..]);
    let (mut depth, mut begin) = (0, 0);
    for (at, character) in inside.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&prefix, &inside[begin..at], leaves);
                begin = at + 1;
            }
            _ => {}
        }
    }
    if !inside[begin..].trim().is_empty() {
        expand(&prefix, &inside[begin..], leaves);
    }
}

/// `crate::room::item` and `super::…` in the middle of code.
fn inline_paths(code: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for root in ["crate::", "super::"] {
        for at in word_starts(code, root) {
            let end = code[at..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            let path = &code[at..end.map_or(code.len(), |end| at + end)];
            // Visibility, such as `pub(in crate::edge)`, and trees end in `::` or name no item: judged as trees.
            if !path.ends_with("::") {
                paths.push((code[..at].matches('\n').count() + 1, path.to_owned()));
            }
        }
    }
    paths
}

/// Where `needle` begins in `text` at the beginning of a path.
fn word_starts<'t>(text: &'t str, needle: &'t str) -> impl Iterator<Item = usize> + 't {
    text.match_indices(needle).map(|(at, _)| at).filter(|at| {
        !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '.')
    })
}

fn identifier(text: &str) -> &str {
    &text[..text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())]
}

//! The files to judge: found, read, and split into what is code and what is comment or text.
//!
//! The split is a small lexer, not a parser: good enough to know a string from an identifier.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// One file.
pub(crate) struct Source {
    /// Relative to the top of the repository, with `/`.
    pub(crate) path: String,
    /// As it is on disk.
    pub(crate) text: String,
    /// The text with comments and the insides of literals blanked; lines stay where they are.
    pub(crate) code: String,
    /// The insides of string literals with their line numbers.
    pub(crate) strings: Vec<(usize, String)>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        // Only Rust is lexed: the other rules look at whole lines.
        let (code, strings) = if path.ends_with(".rs") { split(text) } else { Default::default() };
        Self { path: path.to_owned(), text: text.to_owned(), code, strings }
    }

    /// Is all of it test code?
    pub(crate) fn is_test(&self) -> bool {
        !self.path.starts_with("src/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Code lines before the tests at the end of the file, with their numbers.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = if self.is_test() { 0 } else { self.tests_begin().unwrap_or(usize::MAX) };
        self.code_lines().take_while(move |(number, _)| *number < end)
    }

    /// All code lines with their numbers, from 1.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The line of `#[cfg(test)]` over a `mod … {`.
    pub(crate) fn tests_begin(&self) -> Option<usize> {
        let lines: Vec<&str> = self.code.lines().collect();
        let begins = |index: &usize| {
            lines[*index].trim() == "#[cfg(test)]"
                && lines.get(index + 1).is_some_and(|next| {
                    next.trim_start().trim_start_matches("pub(crate) ").starts_with("mod ")
                        && next.trim_end().ends_with('{')
                })
        };
        (0..lines.len()).find(begins).map(|index| index + 1)
    }

    /// `path:line: what`.
    pub(crate) fn problem(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// The top of the repository.
pub(crate) fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Our Rust files: product, tests, benches.
pub(crate) fn rust_files() -> Vec<&'static Source> {
    tracked_texts().iter().filter(|source| source.path.ends_with(".rs")).collect()
}

/// Every text file that git tracks or would track, read once.
pub(crate) fn tracked_texts() -> &'static [Source] {
    static TEXTS: OnceLock<Vec<Source>> = OnceLock::new();
    let read = |path: &String| {
        let text = String::from_utf8(fs::read(top().join(path)).ok()?).ok()?;
        Some(Source::new(path, &text))
    };
    TEXTS.get_or_init(|| tracked_paths().iter().filter_map(read).collect())
}

fn tracked_paths() -> Vec<String> {
    let git = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(top())
        .output();
    let listed = git.ok().filter(|output| output.status.success());
    let mut paths: Vec<String> = match listed {
        Some(output) => String::from_utf8_lossy(&output.stdout).split('\0').map(str::to_owned).collect(),
        // An unpacked archive is no checkout: everything but what builds leave behind.
        None => walk(top()).iter().map(|path| path.to_string_lossy().into_owned()).collect(),
    };
    paths.retain(|path| !path.is_empty() && top().join(path).is_file());
    paths.sort();
    paths.dedup();
    paths
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    const LEFT_BY_BUILDS: [&str; 5] = ["target", "node_modules", ".git", ".state", ".cache"];
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if LEFT_BY_BUILDS.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_dir() {
            found.extend(walk(&path));
        } else if let Ok(relative) = path.strip_prefix(top()) {
            found.push(relative.to_path_buf());
        }
    }
    found
}

/// Blanks comments and literals out of Rust text, and collects the string literals.
fn split(text: &str) -> (String, Vec<(usize, String)>) {
    let mut code = String::with_capacity(text.len());
    let mut strings = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let (length, kind) = token(rest, code.chars().last());
        let (piece, tail) = rest.split_at(length);
        match kind {
            Kind::Code => code.push_str(piece),
            Kind::Comment => blank(&mut code, piece),
            Kind::Text { quotes } => {
                let inside =
                    &piece[quotes.min(piece.len())..piece.len().saturating_sub(quotes.min(1)).max(1)];
                strings.push((line, inside.trim_end_matches(['"', '#']).to_owned()));
                code.push('"');
                blank(&mut code, &piece[1..piece.len().max(2) - 1]);
                code.push('"');
            }
        }
        line += piece.matches('\n').count();
        rest = tail;
    }
    (code, strings)
}

enum Kind {
    Code,
    Comment,
    Text { quotes: usize },
}

/// Length and kind of what stands at the beginning of `rest`; `before` is the character to its left.
fn token(rest: &str, before: Option<char>) -> (usize, Kind) {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Kind::Comment);
    }
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !in_word);
    if let Some(after) = raw {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if after[hashes..].starts_with('"') {
            let open = rest.len() - after.len() + hashes + 1;
            let close = format!("\"{}", "#".repeat(hashes));
            let end = rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len());
            return (end, Kind::Text { quotes: open });
        }
    }
    if rest.starts_with('"') {
        return (quoted(rest, '"'), Kind::Text { quotes: 1 });
    }
    // A character literal has its closing quote right after one (escaped) character; a lifetime has none.
    if let Some(after) = rest.strip_prefix('\'') {
        let mut characters = after.chars();
        let closes = match characters.next() {
            Some('\\') => true,
            Some(_) => characters.next() == Some('\''),
            None => false,
        };
        if closes {
            return (quoted(rest, '\''), Kind::Comment);
        }
    }
    (rest.chars().next().map_or(1, char::len_utf8), Kind::Code)
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == quote {
            return at + 1;
        }
    }
    rest.len()
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn blank(code: &mut String, piece: &str) {
    code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
}

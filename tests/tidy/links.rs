//! Relative links of the documentation: the file must be there, and so must the heading.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use crate::source::{Source, top};

/// Links of a Markdown file that lead nowhere.
pub(crate) fn dead_links(source: &Source) -> Vec<String> {
    if !source.path.ends_with(".md") {
        return Vec::new();
    }
    links(&source.text)
        .into_iter()
        .filter(|(_, target)| !leads_somewhere(&source.path, target))
        .map(|(line, target)| source.problem(line, &format!("the link to `{target}` leads nowhere")))
        .collect()
}

fn leads_somewhere(from: &str, target: &str) -> bool {
    if target.contains("://") || target.starts_with("mailto:") {
        return true;
    }
    let (file, heading) = target.split_once('#').map_or((target, None), |(f, h)| (f, Some(h)));
    let from = top().join(from);
    let path = if file.is_empty() { from } else { plain(&from.with_file_name("").join(file)) };
    let Some(heading) = heading else { return path.exists() };
    fs::read_to_string(path).is_ok_and(|text| headings(&text).contains(&heading.to_owned()))
}

/// Without `..`, as a reader on a code forge would follow it: the way through need not exist as a directory.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        match part {
            Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
        path
    })
}

/// `[text](target)` outside code, with line numbers.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose_lines(text) {
        let mut in_code = false;
        for (index, part) in line.split('`').enumerate() {
            in_code = index % 2 == 1;
            if in_code {
                continue;
            }
            for (at, _) in part.match_indices("](") {
                let target: String = part[at + 2..].chars().take_while(|c| *c != ')' && *c != ' ').collect();
                found.push((number, target));
            }
        }
        // A link whose text is code, [`x`](y), has its target after the closing backtick: covered above.
        debug_assert!(!in_code || line.matches('`').count() % 2 == 1);
    }
    found
}

/// Lines outside fenced blocks.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Anchors as code forges make them: lower-case, punctuation gone, spaces to hyphens.
fn headings(text: &str) -> Vec<String> {
    let anchor = |heading: &str| {
        heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    prose_lines(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| anchor(line.trim_start_matches('#')))
        .collect()
}

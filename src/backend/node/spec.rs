//! Which Node somebody wants: `22`, `lts`, `lts/jod`, or a range as npm writes it. Pure; what there is to choose from is
//! others' business.

use std::{fmt, str::FromStr};

use semver::{Version, VersionReq};

/// Longer texts are no versions.
const TEXT_BYTES_MAX: usize = 200;

/// The first release of each line's long-term support, with its name (nodejs/Release). What an installation's own
/// record says comes first, so that lines to come need no new gateway.
const LTS_LINES: [(u64, u64, &str); 11] = [
    (24, 11, "Krypton"),
    (22, 11, "Jod"),
    (20, 9, "Iron"),
    (18, 12, "Hydrogen"),
    (16, 13, "Gallium"),
    (14, 15, "Fermium"),
    (12, 13, "Erbium"),
    (10, 13, "Dubnium"),
    (8, 9, "Carbon"),
    (6, 9, "Boron"),
    (4, 2, "Argon"),
];

/// What `node.version` may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `auto`: what the application's own files say.
    Auto,
    /// That.
    Spec(Spec),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::Spec) }
    }
}

/// A set of versions, of which the newest is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Any release.
    Newest,
    /// Any with long-term support, or those of one line by its name.
    Lts(Option<String>),
    /// What fits one of these.
    Ranges(Vec<VersionReq>),
}

impl Spec {
    /// Does this version fit? `lts` is the name of its line, if that has long-term support.
    pub(crate) fn takes(&self, version: &Version, lts: Option<&str>) -> bool {
        match &self.kind {
            Kind::Newest => version.pre.is_empty(),
            Kind::Lts(None) => lts.is_some(),
            Kind::Lts(Some(name)) => lts.is_some_and(|lts| lts.eq_ignore_ascii_case(name)),
            Kind::Ranges(ranges) => ranges.iter().any(|range| range.matches(version)),
        }
    }

    /// The one version it can only mean, if it names all three numbers.
    pub(crate) fn exact(&self) -> Option<Version> {
        self.text.trim_start_matches(['v', 'V']).parse().ok()
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.contains(char::is_control) {
            return Err("this is no version of Node".to_owned());
        }
        let lower = text.to_ascii_lowercase();
        let kind = match lower.as_str() {
            "node" | "stable" | "latest" | "current" => Kind::Newest,
            "lts" | "lts/*" => Kind::Lts(None),
            _ => match lower.strip_prefix("lts/") {
                Some(name) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                    Kind::Lts(Some(name.to_owned()))
                }
                Some(_) => return Err(format!("`{text}` names no line of Node")),
                None => Kind::Ranges(ranges(text)?),
            },
        };
        Ok(Self { text: text.to_owned(), kind })
    }
}

/// A version's text, with or without the `v` that Node puts before it.
pub(crate) fn version(text: &str) -> Option<Version> {
    text.trim().strip_prefix('v').unwrap_or(text.trim()).parse().ok()
}

/// The name of a version's line, if that has long-term support and the version is of that time.
pub(crate) fn lts_line(version: &Version) -> Option<&'static str> {
    let line = LTS_LINES.iter().find(|(major, ..)| *major == version.major)?;
    (version.minor >= line.1 && version.pre.is_empty()).then_some(line.2)
}

/// A range as npm reads it: sets with `||` between them.
fn ranges(text: &str) -> Result<Vec<VersionReq>, String> {
    let unfit = || format!("`{text}` is no version of Node and no range of versions");
    text.split("||").map(|set| comparators(set.trim()).ok_or_else(unfit)).collect()
}

/// One set: everything in it must hold. Cargo's syntax is close, but `20` is `^20` there, and commas stand between.
fn comparators(set: &str) -> Option<VersionReq> {
    if let Some((low, high)) = set.split_once(" - ") {
        let (low, high) =
            (comparator(&format!(">={}", low.trim()))?, comparator(&format!("<={}", high.trim()))?);
        return VersionReq::parse(&format!("{low}, {high}")).ok();
    }
    let mut all = Vec::new();
    let mut words = set.split_whitespace();
    while let Some(word) = words.next() {
        // `>= 18`: the operator may stand by itself.
        let alone = word.bytes().all(is_operator);
        let whole = if alone { format!("{word}{}", words.next()?) } else { word.to_owned() };
        all.push(comparator(&whole)?);
    }
    let all: Vec<String> = all.into_iter().filter(|one| one != "*").collect();
    if all.is_empty() { Some(VersionReq::STAR) } else { VersionReq::parse(&all.join(", ")).ok() }
}

fn is_operator(byte: u8) -> bool {
    matches!(byte, b'<' | b'>' | b'=' | b'~' | b'^')
}

/// One comparator as Cargo writes it.
fn comparator(text: &str) -> Option<String> {
    let number = text.trim_start_matches(|c: char| c.is_ascii() && is_operator(c as u8));
    let operator = match &text[..text.len() - number.len()] {
        "~>" => "~",
        operator => operator,
    };
    let number = number.strip_prefix(['v', 'V']).unwrap_or(number);
    let named = number.splitn(3, '.').take_while(|part| !matches!(*part, "x" | "X" | "*"));
    let parts: Vec<&str> = named.collect();
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    let joined = parts.join(".");
    match (operator, parts.len()) {
        ("" | "=" | ">=" | "<=" | "~" | "^", 0) => Some("*".to_owned()),
        (_, 0) => None,
        ("" | "=", 3) => Some(format!("={joined}")),
        ("" | "=", _) => Some(format!("{joined}.*")),
        ("<" | "<=" | ">" | ">=" | "~" | "^", _) => Some(format!("{operator}{joined}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, takes: &[&str], not: &[&str]) {
        let parsed: Spec = spec.parse().unwrap_or_else(|error| panic!("{spec}: {error}"));
        for (versions, want) in [(takes, true), (not, false)] {
            for text in versions {
                let version = version(text).unwrap();
                assert_eq!(parsed.takes(&version, lts_line(&version)), want, "{spec} and {text}");
            }
        }
    }

    #[test]
    fn specs_mean_what_npm_and_nvm_mean_by_them() {
        check("22", &["v22.0.0", "22.23.3"], &["v21.9.9", "v23.0.0"]);
        check("v22", &["v22.1.0"], &["v20.1.0"]);
        check("20.1", &["v20.1.9"], &["v20.2.0", "v20.0.9"]);
        check("20.1.3", &["v20.1.3"], &["v20.1.4"]);
        check("=20.1.3", &["v20.1.3"], &["v20.1.2"]);
        check("20.x", &["v20.9.1"], &["v21.0.0"]);
        check("20.x.x", &["v20.9.1"], &["v21.0.0"]);
        check("20.1.*", &["v20.1.7"], &["v20.2.0"]);
        check(">=18 <21", &["v18.0.0", "v20.99.0"], &["v17.9.9", "v21.0.0"]);
        check(">= 18.2 < 21", &["v18.2.0"], &["v18.1.9"]);
        check("18 || 20", &["v18.3.0", "v20.3.0"], &["v19.0.0", "v22.0.0"]);
        check("^20.1", &["v20.1.0", "v20.9.0"], &["v20.0.9", "v21.0.0"]);
        check("^18.12.0||>=20", &["v18.12.0", "v24.0.0"], &["v19.0.0", "v18.11.0"]);
        check("~20.1.2", &["v20.1.9"], &["v20.2.0"]);
        check("~20", &["v20.7.0"], &["v21.0.0"]);
        check("~>20.1", &["v20.1.4"], &["v20.2.0"]);
        check("18 - 20", &["v18.0.0", "v20.99.9"], &["v21.0.0", "v17.0.0"]);
        check("18.2.1 - 20.3", &["v18.2.1", "v20.3.9"], &["v20.4.0"]);
        check(">20", &["v21.0.0"], &["v20.99.0"]);
        check("<=20", &["v20.99.0"], &["v21.0.0"]);
        check("<20", &["v19.9.9"], &["v20.0.0"]);
        check("*", &["v4.0.0", "v25.0.0"], &["v25.0.0-rc.1"]);
        check(">=18.x", &["v18.0.0", "v25.0.0"], &["v17.0.0"]);
    }

    #[test]
    fn words_mean_lines_of_long_term_support_or_the_newest() {
        check("lts", &["v20.9.0", "v22.11.0", "v24.11.0"], &["v20.8.0", "v21.7.0", "v25.0.0", "v22.10.0"]);
        check("lts/*", &["v18.20.0"], &["v19.0.0"]);
        check("lts/iron", &["v20.19.0"], &["v22.12.0", "v20.1.0"]);
        check("lts/Jod", &["v22.12.0"], &["v20.19.0"]);
        check("node", &["v25.0.0", "v20.0.0"], &["v26.0.0-nightly"]);
        check("latest", &["v25.0.0"], &[]);
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "", " ", "twenty", "lts/", "lts/-1", ">", "22 or so", "<x", "1.2.3.4", "../22", "22\n20",
            "system",
        ] {
            assert!(text.parse::<Spec>().is_err(), "{text:?}");
        }
        assert!("x".repeat(201).parse::<Spec>().is_err());
        assert_eq!("auto".parse::<Wanted>(), Ok(Wanted::Auto));
        assert!(matches!("22".parse::<Wanted>(), Ok(Wanted::Spec(_))));
    }

    #[test]
    fn only_three_numbers_are_exact() {
        let exact = |text: &str| text.parse::<Spec>().unwrap().exact().map(|version| version.to_string());
        assert_eq!(exact("v22.1.0").as_deref(), Some("22.1.0"));
        assert_eq!((exact("22.1"), exact("lts"), exact(">=22.1.0")), (None, None, None));
    }
}

//! Where each key of the merged configuration was written, kept beside the values in a tree of the same shape.
//!
//! It must never hand out the text of a secret: `shown` is the only way to a value.

use std::{collections::BTreeMap, sync::Arc};

/// Where one key was written.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The key as the reader of that source would say it, such as `tenant[0].origins[2]`.
    pub(super) key: String,
    /// `gateway.toml`, `environment GATEWAY_LOG__LEVEL` or `flag --set log.level`.
    pub(super) source: Arc<str>,
    /// The line, where the source has lines.
    pub(super) line: Option<usize>,
    /// The value as written.
    written: Option<String>,
    /// Environment or flag: its text may be meant as a string even where it looks like a number.
    loose: bool,
    /// Reported already: what follows from it is noise.
    pub(super) spoiled: bool,
    /// What is below it.
    pub(super) shape: Shape,
}

/// What is below a place.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Leaf,
    Table(BTreeMap<String, Place>),
    List(Vec<Place>),
}

/// Longest piece of a value that is repeated to the operator, in characters: one line of a terminal.
const SHOWN_CHARS_MAX: usize = 72;

impl Place {
    /// A place that holds nothing yet.
    pub(super) fn new(key: String, source: &Arc<str>, line: Option<usize>) -> Self {
        let source = source.clone();
        Self { key, source, line, written: None, loose: false, spoiled: false, shape: Shape::Leaf }
    }

    /// The root of a configuration in which nothing was written.
    pub(super) fn root(source: &Arc<str>) -> Self {
        Self::new(String::new(), source, None).shaped(Shape::Table(BTreeMap::new()))
    }

    /// The same place with something else below it.
    pub(super) fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    /// Remember the text of a variable or flag.
    pub(super) fn loose(self, text: &str) -> Self {
        Self { loose: true, ..self.written(text) }
    }

    /// Remember the value as written.
    pub(super) fn written(mut self, text: &str) -> Self {
        self.written = Some(text.to_owned());
        self
    }

    /// The whole text of a value from the environment or a flag.
    pub(super) fn loose_text(&self) -> Option<&str> {
        self.written.as_deref().filter(|_| self.loose)
    }

    /// The value as written, if it may be repeated and is worth it.
    pub(super) fn shown(&self, path: &[String]) -> Option<String> {
        let secret =
            path.iter().any(|part| part == "env") || path.last().is_some_and(|part| part == "database");
        let holds_tables = match &self.shape {
            Shape::Leaf => false,
            Shape::Table(_) => true,
            Shape::List(items) => items.iter().any(|item| !matches!(item.shape, Shape::Leaf)),
        };
        // A URL with an `@` may hold a password (`upstream`).
        let hidden = |text: &str| secret || holds_tables || (text.contains("://") && text.contains('@'));
        let text = self.written.as_deref().filter(|text| !hidden(text))?;
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut shown: String = line.chars().take(SHOWN_CHARS_MAX).collect();
        if shown.len() < line.len() {
            shown.push('…');
        }
        Some(shown)
    }

    /// One step down.
    pub(super) fn child(&self, part: &str) -> Option<&Self> {
        match &self.shape {
            Shape::Leaf => None,
            Shape::Table(keys) => keys.get(part),
            Shape::List(items) => items.get(part.parse::<usize>().ok()?),
        }
    }

    fn child_mut(&mut self, part: &str) -> Option<&mut Self> {
        match &mut self.shape {
            Shape::Leaf => None,
            Shape::Table(keys) => keys.get_mut(part),
            Shape::List(items) => items.get_mut(part.parse::<usize>().ok()?),
        }
    }

    /// The place of exactly that path.
    pub(super) fn find(&self, path: &[String]) -> Option<&Self> {
        path.iter().try_fold(self, |place, part| place.child(part))
    }

    /// The place of exactly that path, to be changed.
    pub(super) fn find_mut(&mut self, path: &[String]) -> Option<&mut Self> {
        path.iter().try_fold(self, |place, part| place.child_mut(part))
    }

    /// The deepest place on the way to a path, and the full key: what was not written stands where it would be.
    pub(super) fn nearest(&self, path: &[String]) -> (&Self, String) {
        let (mut place, mut depth) = (self, 0);
        while let Some(next) = path.get(depth).and_then(|part| place.child(part)) {
            (place, depth) = (next, depth + 1);
        }
        let rest = path.iter().skip(depth).fold(place.key.clone(), |key, part| join(&key, part));
        (place, rest)
    }

    /// Was this path, or something above it, reported already?
    pub(super) fn is_spoiled(&self, path: &[String]) -> bool {
        let mut place = self;
        let above = path.iter().any(|part| match place.child(part) {
            Some(next) => {
                place = next;
                next.spoiled
            }
            None => false,
        });
        self.spoiled || above
    }

    /// Lay a later layer over this one, as figment lays the values: tables merge, anything else is replaced.
    pub(super) fn overlay(&mut self, upper: Self) {
        match (&mut self.shape, upper.shape) {
            (Shape::Table(keys), Shape::Table(new_keys)) => {
                for (key, place) in new_keys {
                    match keys.entry(key) {
                        std::collections::btree_map::Entry::Occupied(mut old) => old.get_mut().overlay(place),
                        std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(place)),
                    }
                }
            }
            (_, shape) => *self = Self { shape, ..upper },
        }
    }
}

/// `a` and `b` → `a.b`; an index joins as `a[0]`.
pub(super) fn join(key: &str, part: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if key.is_empty() {
        part.to_owned()
    } else if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
        format!("{key}[{part}]")
    } else if part.bytes().all(plain) {
        format!("{key}.{part}")
    } else {
        format!("{key}.{part:?}")
    }
}

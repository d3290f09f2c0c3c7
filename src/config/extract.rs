//! From merged values to a `Config`, and every key that cannot be read rather than the first.
//!
//! serde stops at the first error. So: read, note the error, cut the offending key (its default takes its
//! place), read again. The rooms' structs stay the only schema; a second one kept by hand must never appear.

use figment::{
    error::Kind,
    value::{Dict, Value},
};
use serde::Deserialize;

use super::{
    Config, Problem,
    explain::explain,
    place::{Place, Shape, join},
};

/// What could be read, and what could not.
pub(super) struct Extracted {
    pub(super) config: Config,
    /// Without the list items that were cut, so that indexes fit `config`.
    pub(super) places: Place,
    pub(super) problems: Vec<Problem>,
}

/// Stands in for a required key that is missing, until the whole table has been read. It is valid as every
/// required key there is: an id, a path and a file name.
const STAND_IN: &str = "missing";

/// Read `values`, key by key where needed.
pub(super) fn extract(values: Dict, places: Place) -> Extracted {
    let mut work = Work { root: Value::from(values), places, problems: Vec::new(), doomed: Vec::new() };
    // Every round cuts or fills one key, and the text is finite.
    let config = loop {
        match Config::deserialize(&work.root) {
            Ok(config) if work.doomed.is_empty() => break config,
            Ok(_) => work.cut_doomed(),
            Err(error) if error.path.is_empty() => {
                work.report(&[], &error.kind);
                break Config::default();
            }
            Err(error) => work.set_right(&error.path, &error.kind),
        }
    };
    Extracted { config, places: work.places, problems: work.problems }
}

struct Work {
    root: Value,
    places: Place,
    problems: Vec<Problem>,
    /// Tables with a stand-in: read to the end for their other problems, then cut.
    doomed: Vec<Vec<String>>,
}

impl Work {
    /// Deal with one error so that the next round gets further.
    fn set_right(&mut self, path: &[String], kind: &Kind) {
        if let Kind::MissingField(name) = kind
            && let Some(Value::Dict(_, table)) = find(&mut self.root, path)
        {
            table.insert(name.to_string(), Value::from(STAND_IN));
            let own = self.places.find(path).and_then(|place| place.child(name));
            // Missing because it was cut is reported already.
            if own.is_none() {
                self.report(path, kind);
            }
            self.doomed.push(path.to_vec());
        } else if self.is_stand_in(path) {
            // A required key of a kind for which the stand-in is no value: its table is lost all the same.
            self.cut(&path[..path.len() - 1]);
            self.doomed.retain(|doomed| !path.starts_with(doomed));
        } else if self.take_as_text(path) {
            // `GATEWAY_BACKEND__API__ENV__LEVEL=1` is a number by its looks and a text by its key.
        } else {
            self.report(path, kind);
            self.cut(path);
        }
    }

    fn is_stand_in(&self, path: &[String]) -> bool {
        let above = path.split_last().map(|(_, above)| above);
        above.is_some_and(|above| self.doomed.iter().any(|doomed| doomed == above))
            && self.places.find(path).is_none()
    }

    /// A value from the environment or a flag that does not fit as it looks: once more as plain text.
    fn take_as_text(&mut self, path: &[String]) -> bool {
        let text = self.places.find(path).and_then(Place::loose_text).map(str::to_owned);
        let (Some(text), Some(value)) = (text, find(&mut self.root, path)) else { return false };
        let changes = matches!(value, Value::Num(..) | Value::Bool(..));
        if changes {
            *value = Value::from(text);
        }
        changes
    }

    fn report(&mut self, path: &[String], kind: &Kind) {
        let (place, mut key) = self.places.nearest(path);
        let last = path.last().map(String::as_str).unwrap_or_default();
        let (message, remedy) = explain(kind, last);
        if let Kind::MissingField(name) = kind {
            key = join(&key, name);
        }
        // A mistyped `database` must not give its secret away either.
        let silent = matches!(kind, Kind::UnknownField(..) | Kind::MissingField(_));
        let value = if silent { None } else { place.shown(path) };
        let (source, line) = (place.source.to_string(), place.line);
        self.problems.push(Problem { source, line, key, value, message, remedy });
    }

    fn cut(&mut self, path: &[String]) {
        let Some((last, above)) = path.split_last() else { return };
        match find(&mut self.root, above) {
            Some(Value::Dict(_, table)) => {
                table.remove(last);
                if let Some(place) = self.places.find_mut(path) {
                    place.spoiled = true;
                }
            }
            Some(Value::Array(_, items)) => {
                let index = last.parse().unwrap_or(usize::MAX);
                if index < items.len() {
                    items.remove(index);
                }
                if let Some(place) = self.places.find_mut(above)
                    && let Shape::List(places) = &mut place.shape
                    && index < places.len()
                {
                    let cut = places.remove(index);
                    // A list of names that lost one is not what was written; a list of tables is, but for that one.
                    place.spoiled |= matches!(cut.shape, Shape::Leaf);
                }
            }
            // The path leads nowhere: nothing less than all of the top key is sure to help.
            _ => self.cut(&path[..1]),
        }
    }

    fn cut_doomed(&mut self) {
        // From the last to the first, by number: each index holds until its own turn.
        let order = |path: &Vec<String>| {
            path.iter().map(|part| (part.parse::<usize>().ok(), part.clone())).collect::<Vec<_>>()
        };
        self.doomed.sort_by_key(order);
        self.doomed.dedup();
        while let Some(path) = self.doomed.pop() {
            self.cut(&path);
        }
    }
}

fn find<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, part| match value {
        Value::Dict(_, table) => table.get_mut(part),
        Value::Array(_, items) => items.get_mut(part.parse::<usize>().ok()?),
        _ => None,
    })
}

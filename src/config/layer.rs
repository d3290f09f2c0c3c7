//! One source of configuration: its values and where each was written. Files, environment and flags become
//! layers; figment lays them over each other. Nothing here may judge a value.

use std::{collections::BTreeMap, sync::Arc};

use figment::{
    Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Problem,
    place::{Place, Shape, join},
};

/// What begins the name of every environment variable that is a key.
const PREFIX: &str = "GATEWAY_";

/// Variables that begin like keys and are none: read by the command line, or handed to workers.
const NOT_KEYS: [&str; 4] =
    ["GATEWAY_CONFIG", "GATEWAY_TENANT_DATABASE", "GATEWAY_BACKUP_PASSPHRASE", super::handed::HANDED_OVER];

/// The values of one source, and their places.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) values: Dict,
    pub(super) places: Place,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.places.source.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Layer {
    /// The layer of a TOML text, or every syntax error in it.
    pub(super) fn of_toml(name: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let source: Arc<str> = name.into();
        let lines = Lines::of(text);
        let table = DeTable::parse(text).map_err(|first| syntax_problems(name, text, first))?;
        let reader = Reader { text, source: &source, lines: Some(&lines) };
        let mut places = Place::root(&source);
        let values = reader.table(table.get_ref(), &mut places);
        Ok(Self { values, places })
    }

    /// The layer of what can be read of a TOML text, and whether that is all of it.
    pub(super) fn of_damaged_toml(name: &str, text: &str) -> (Self, bool) {
        let source: Arc<str> = name.into();
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut places = Place::root(&source);
        let values = Reader { text, source: &source, lines: None }.table(table.get_ref(), &mut places);
        (Self { values, places }, errors.is_empty())
    }

    /// The layer of one variable or flag: a key and its text.
    fn of_text(source: &str, parts: &[String], text: &str) -> Self {
        let source: Arc<str> = source.into();
        let mut leaf =
            Place::new(parts.iter().fold(String::new(), |key, part| join(&key, part)), &source, None);
        let mut value = match DeValue::parse(text) {
            Ok(parsed) => Reader { text, source: &source, lines: None }.value(parsed.get_ref(), &mut leaf),
            // Not TOML, so bare words: figment reads `[a, b]` as a list, and all the rest as one string.
            Err(_) => text.parse::<Value>().unwrap_or_else(|never| match never {}),
        };
        leaf = leaf.loose(text);
        for depth in (0..parts.len()).rev() {
            let above = parts[..depth].iter().fold(String::new(), |key, part| join(&key, part));
            let table = Shape::Table(BTreeMap::from([(parts[depth].clone(), leaf)]));
            leaf = Place::new(above, &source, None).shaped(table);
            value = Value::from(Dict::from([(parts[depth].clone(), value)]));
        }
        Self { values: value.into_dict().unwrap_or_default(), places: leaf }
    }

    /// A layer without any key, to collect in.
    pub(super) fn empty(name: &str) -> Self {
        Self { values: Dict::new(), places: Place::root(&name.into()) }
    }

    /// Tables in lists (`[[tenant]]`) add up over files, where plain lists are replaced: move them to `sum`.
    pub(super) fn move_lists(&mut self, sum: &mut Self) {
        move_lists((&mut self.values, &mut self.places), (&mut sum.values, &mut sum.places));
    }
}

/// The layers of the environment, one a variable. The caller's map decides the order, which does not matter:
/// no two names mean one key.
pub(super) fn of_environment(variables: &BTreeMap<String, String>) -> Vec<Layer> {
    let ours = variables.iter().filter(|(name, _)| !NOT_KEYS.contains(&name.as_str()));
    ours.filter_map(|(name, text)| {
        let parts: Vec<&str> = name.strip_prefix(PREFIX)?.split("__").collect();
        // The names of a worker's own variables keep their case, everything else of ours is lower-case.
        let keeps_case = |at: usize| at >= 3 && parts[0] == "BACKEND" && parts[2] == "ENV";
        let lower = |(at, part): (usize, &&str)| {
            if keeps_case(at) { (*part).to_owned() } else { part.to_ascii_lowercase() }
        };
        let path: Vec<String> = parts.iter().enumerate().map(lower).collect();
        Some(Layer::of_text(&format!("environment {name}"), &path, text))
    })
    .collect()
}

/// The layer of one `--set KEY=VALUE`.
pub(super) fn of_flag(key: &str, text: &str) -> Layer {
    let parts: Vec<String> = key.split('.').map(str::to_owned).collect();
    Layer::of_text(&format!("flag --set {key}"), &parts, text)
}

/// The first syntax error of each section: what follows it in the section is mostly its own echo.
fn syntax_problems(name: &str, text: &str, first: toml::de::Error) -> Vec<Problem> {
    let (mut lines, mut problems): (Vec<&str>, _) = (text.lines().collect(), Vec::new());
    let is_header = |line: &&str| line.starts_with('[');
    let mut next = Some((first, text.to_owned()));
    while let Some((error, read)) = next.take() {
        let line = error.span().map(|span| Lines::of(&read).line(span.start.min(read.len())));
        problems.push(Problem {
            source: name.to_owned(),
            line,
            key: String::new(),
            value: None,
            message: format!("this is not TOML: {}", error.message().lines().next().unwrap_or_default()),
            remedy: "look at this line and the one above: texts stand in quotes, lists in brackets"
                .to_owned(),
        });
        // Read on without the body of that section; its header stays, for the sections below it.
        let at = line.unwrap_or(usize::MAX).min(lines.len());
        let Some(index) = at.checked_sub(1) else { break };
        let begin = lines[..index].iter().rposition(is_header).map_or(0, |header| header + 1);
        let end =
            lines[index + 1..].iter().position(is_header).map_or(lines.len(), |found| index + 1 + found);
        if lines[begin..end].iter().all(|line| line.is_empty()) {
            break;
        }
        lines[begin..end].fill("");
        let rest = lines.join("\n");
        next = DeTable::parse(&rest).err().map(|error| (error, rest));
    }
    problems
}

/// As TOML has it: what does not fit 64 bits is no number.
fn integer(digits: &str, radix: u32) -> Value {
    u64::from_str_radix(digits, radix)
        .map(Value::from)
        .or_else(|_| i64::from_str_radix(digits, radix).map(Value::from))
        .unwrap_or_else(|_| Value::from(digits.to_owned()))
}

fn move_lists(from: (&mut Dict, &mut Place), to: (&mut Dict, &mut Place)) {
    let (Shape::Table(from_keys), Shape::Table(to_keys)) = (&mut from.1.shape, &mut to.1.shape) else {
        return;
    };
    from.0.retain(|key, value| {
        let Some(place) = from_keys.get_mut(key) else { return true };
        match value {
            Value::Array(_, items) if holds_tables(items) => {
                let mut place = place.clone();
                let sum = to.0.entry(key.clone()).or_insert_with(|| Value::from(Vec::<Value>::new()));
                if let Value::Array(_, sum) = sum {
                    sum.append(items);
                }
                if let Some(Place { shape: Shape::List(sum), .. }) = to_keys.get_mut(key)
                    && let Shape::List(more) = &mut place.shape
                {
                    sum.append(more);
                } else {
                    to_keys.insert(key.clone(), place);
                }
                false
            }
            Value::Dict(_, below) => {
                let sum = to.0.entry(key.clone()).or_insert_with(|| Value::from(Dict::new()));
                let shell = || place.clone().shaped(Shape::Table(BTreeMap::new()));
                let sum_place = to_keys.entry(key.clone()).or_insert_with(shell);
                if let Value::Dict(_, sum) = sum {
                    move_lists((below, place), (sum, sum_place));
                }
                true
            }
            _ => true,
        }
    });
}

fn holds_tables(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| item.as_dict().is_some())
}

/// Where each line begins, in bytes.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(ends).collect())
    }

    /// The line, from 1, that holds a byte.
    fn line(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at)
    }
}

/// Turns parsed TOML into figment's values and our places.
struct Reader<'a> {
    text: &'a str,
    source: &'a Arc<str>,
    lines: Option<&'a Lines>,
}

impl Reader<'_> {
    fn place<T>(&self, key: String, near: &Spanned<T>, value: &Spanned<DeValue<'_>>) -> Place {
        let line = self.lines.map(|lines| lines.line(near.span().start));
        Place::new(key, self.source, line).written(self.text.get(value.span()).unwrap_or_default())
    }

    fn table(&self, table: &DeTable<'_>, at: &mut Place) -> Dict {
        let (mut values, mut places) = (Dict::new(), BTreeMap::new());
        for (key, spanned) in table.iter() {
            let mut place = self.place(join(&at.key, key.get_ref()), key, spanned);
            values.insert(key.get_ref().to_string(), self.value(spanned.get_ref(), &mut place));
            places.insert(key.get_ref().to_string(), place);
        }
        at.shape = Shape::Table(places);
        values
    }

    fn value(&self, value: &DeValue<'_>, at: &mut Place) -> Value {
        match value {
            DeValue::String(text) => Value::from(text.to_string()),
            DeValue::Integer(digits) => integer(digits.as_str(), digits.radix()),
            DeValue::Float(digits) => {
                digits.as_str().parse::<f64>().map_or_else(|_| Value::from(digits.to_string()), Value::from)
            }
            DeValue::Boolean(value) => Value::from(*value),
            DeValue::Datetime(moment) => Value::from(moment.to_string()),
            DeValue::Array(items) => {
                let (mut values, mut places) = (Vec::new(), Vec::new());
                for (index, spanned) in items.iter().enumerate() {
                    let mut place = self.place(format!("{}[{index}]", at.key), spanned, spanned);
                    values.push(self.value(spanned.get_ref(), &mut place));
                    places.push(place);
                }
                at.shape = Shape::List(places);
                Value::from(values)
            }
            DeValue::Table(table) => Value::from(self.table(table, at)),
        }
    }
}

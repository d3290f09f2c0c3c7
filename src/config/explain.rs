//! What a key that cannot be read means to a person: serde's and the rooms' words in, message and remedy out.
//! Pure. It must never repeat a value: the problem shows it beside the key, if it may be shown.

use figment::error::{Actual, Kind};

use crate::error::nearest;

/// What is wrong, and what to do about it.
pub(super) fn explain(kind: &Kind, last_key: &str) -> (String, String) {
    match kind {
        Kind::UnknownField(name, known) => ("there is no such key".to_owned(), which_key(name, known)),
        Kind::UnknownVariant(_, known) => {
            ("this key takes only a few words".to_owned(), format!("write one of {}", quoted(known)))
        }
        Kind::MissingField(name) => {
            (format!("`{name}` is missing"), format!("add `{name} = …`: it cannot be left out here"))
        }
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            let (what, remedy) = expectation(expected);
            let message = match (kind, actual) {
                (Kind::InvalidValue(..), Actual::Str(_)) => format!("this text is not {what}"),
                (Kind::InvalidValue(..), Actual::Unsigned(_)) => "the number is too large".to_owned(),
                _ => format!("{} stands where {what} belongs", name_of(actual)),
            };
            (message, remedy)
        }
        Kind::Message(text) => message(text, last_key),
        other => (other.to_string(), "compare it with the reference, config/gateway.toml".to_owned()),
    }
}

fn which_key(name: &str, known: &[&'static str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(key) => format!("did you mean `{key}`?"),
        None => format!("keys here are {}", quoted(known)),
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn name_of(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) => "a number",
        Actual::Signed(_) => "a negative number",
        Actual::Float(_) => "a number with a fraction",
        Actual::Char(_) | Actual::Str(_) => "a text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}

const ADDRESS: &str = "write address and port, such as \"127.0.0.1:8080\" or \"[::]:443\"";

fn expectation(expected: &str) -> (String, String) {
    let most = match expected {
        "u8" => Some(format!("from 0 to {}", u8::MAX)),
        "u16" => Some(format!("from 0 to {}", u16::MAX)),
        "u32" => Some(format!("from 0 to {}", u32::MAX)),
        "u64" | "usize" => Some("of 0 or more".to_owned()),
        _ => None,
    };
    if let Some(most) = most {
        return ("a whole number".to_owned(), format!("write a whole number {most}, without quotes"));
    }
    let (what, remedy) = match expected {
        "a duration" => {
            (expected, "write a number with its unit, in quotes: \"250ms\", \"30s\", \"10m\", \"1h\"")
        }
        "socket address" => ("an address", ADDRESS),
        "a boolean" => ("`true` or `false`", "write true or false, without quotes"),
        "a string" | "path string" | "a borrowed string" | "a formatted string" => {
            ("a text", "put the value in quotes")
        }
        "a sequence" => ("a list", "write it in brackets, such as [\"a\", \"b\"]"),
        "a map" => ("a table", "write it as a section of its own, in brackets"),
        other if other.starts_with("struct ") || other.starts_with("internally") => {
            ("a table", "write it as a section of its own, in brackets")
        }
        other if other.starts_with("enum ") || other.starts_with("variant ") => {
            ("a word", "write one of the words that the reference, config/gateway.toml, gives for this key")
        }
        other => (other, "compare it with the reference, config/gateway.toml"),
    };
    (what.to_owned(), remedy.to_owned())
}

/// The rooms' own types say what is wrong themselves; only what to write instead is added.
fn message(text: &str, last_key: &str) -> (String, String) {
    let remedy = if text.contains(" is no origin: ") {
        "write origins as browsers send them: \"https://acme.example\", or \"https://*.acme.example\" for a domain that is the tenant's own"
    } else if text.contains(" is no host name: ") {
        "write the name alone, such as \"api.example.com\""
    } else if text.contains(" is no tenant id: ") {
        "choose another id, such as \"acme\": it names logs, files and tickets"
    } else if text.contains(" is no network: ") {
        "write networks like \"10.0.0.0/8\" and single addresses like \"192.0.2.7\""
    } else if text.contains("socket address") {
        return ("a text that is no address stands where an address belongs".to_owned(), ADDRESS.to_owned());
    } else if last_key == "workers" {
        "write a number, such as 2, or \"cores\" for one process a core"
    } else {
        "compare it with the reference, config/gateway.toml"
    };
    (text.to_owned(), remedy.to_owned())
}

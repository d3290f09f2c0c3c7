//! What is wrong with a configuration, told so that the operator can mend it: where, key, value, remedy.
//!
//! A problem must never hold the value of a secret key: whoever makes one asks `Place::shown` for the value.

use std::fmt;

/// One thing wrong, or (among the warnings) one thing risky.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// The file as named, `environment GATEWAY_EDGE__HTTPS`, `flag --set edge.https` or `built-in defaults`.
    pub(crate) source: String,
    /// The line, where the source has lines.
    pub(crate) line: Option<usize>,
    /// The dotted key, such as `backend.api.health.path`; empty when a whole file is meant.
    pub(crate) key: String,
    /// The value as written, unless it is secret or there is none.
    pub(crate) value: Option<String>,
    /// What is wrong with it.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

/// Everything that is wrong, in the order of the files. Never empty. A command that gets it prints it to
/// standard error and exits with 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    /// How many, in words.
    pub(crate) fn count(&self) -> String {
        match self.0.len() {
            1 => "one problem in the configuration".to_owned(),
            many => format!("{many} problems in the configuration"),
        }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, "\n    {}\n    hint: {}", self.message, self.remedy)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "error: {problem}")?;
        }
        f.write_str(&self.count())
    }
}

//! Hrana over HTTP, versions 2 and 3, JSON: what clients send. Unknown fields are ignored, as the protocol
//! asks; unknown requests are refused.

use serde::{Deserialize, Deserializer, Serialize, de};

/// The body of `POST …/pipeline`.
#[derive(Debug, Deserialize)]
pub(super) struct PipelineBody {
    #[serde(default)]
    pub(super) baton: Option<String>,
    pub(super) requests: Vec<StreamRequest>,
}

/// One order to the stream.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum StreamRequest {
    Close,
    Execute { stmt: Stmt },
    Batch { batch: Batch },
    Sequence(SqlText),
    Describe(SqlText),
    StoreSql { sql_id: i32, sql: String },
    CloseSql { sql_id: i32 },
    GetAutocommit,
}

/// SQL itself, or the number of a stored one.
#[derive(Debug, Deserialize)]
pub(super) struct SqlText {
    #[serde(default)]
    pub(super) sql: Option<String>,
    #[serde(default)]
    pub(super) sql_id: Option<i32>,
}

/// A statement with its arguments.
#[derive(Debug, Deserialize)]
pub(super) struct Stmt {
    #[serde(flatten)]
    pub(super) text: SqlText,
    #[serde(default)]
    pub(super) args: Vec<Value>,
    #[serde(default)]
    pub(super) named_args: Vec<NamedArg>,
    #[serde(default)]
    pub(super) want_rows: Option<bool>,
}

/// An argument with a name, with or without `:`, `@`, `$`.
#[derive(Debug, Deserialize)]
pub(super) struct NamedArg {
    pub(super) name: String,
    pub(super) value: Value,
}

/// A SQLite value on the wire.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Value {
    Null,
    Integer {
        #[serde(deserialize_with = "integer")]
        value: i64,
    },
    Float {
        value: f64,
    },
    Text {
        value: String,
    },
    Blob {
        base64: String,
    },
}

/// Statements, each with the condition under which it runs.
#[derive(Debug, Deserialize)]
pub(super) struct Batch {
    pub(super) steps: Vec<Step>,
}

/// One statement of a batch.
#[derive(Debug, Deserialize)]
pub(super) struct Step {
    #[serde(default)]
    pub(super) condition: Option<Condition>,
    pub(super) stmt: Stmt,
}

/// Over the outcome of earlier steps.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Condition {
    Ok { step: usize },
    Error { step: usize },
    Not { cond: Box<Condition> },
    And { conds: Vec<Condition> },
    Or { conds: Vec<Condition> },
    IsAutocommit,
}

/// An error as clients read it: a code for programs, a message for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) code: &'static str,
}

impl Failure {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { message: message.into(), code }
    }
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepOutcome {
    Ok,
    Error,
    Skipped,
}

impl Condition {
    /// The nesting was bounded when the JSON was read. A step that has not run is neither ok nor an error.
    pub(super) fn holds(&self, outcomes: &[StepOutcome], autocommit: bool) -> bool {
        match self {
            Self::Ok { step } => outcomes.get(*step) == Some(&StepOutcome::Ok),
            Self::Error { step } => outcomes.get(*step) == Some(&StepOutcome::Error),
            Self::Not { cond } => !cond.holds(outcomes, autocommit),
            Self::And { conds } => conds.iter().all(|cond| cond.holds(outcomes, autocommit)),
            Self::Or { conds } => conds.iter().any(|cond| cond.holds(outcomes, autocommit)),
            Self::IsAutocommit => autocommit,
        }
    }
}

/// 64 bits do not fit into a JavaScript number, so they come as text; a plain number is taken too.
fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Number(i64),
    }
    match Written::deserialize(deserializer)? {
        Written::Text(text) => {
            text.parse().map_err(|_| de::Error::custom("an integer is 64 bits in decimal"))
        }
        Written::Number(number) => Ok(number),
    }
}

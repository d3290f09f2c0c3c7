//! One statement on one connection: prepared, its arguments checked strictly, run, its rows written into the
//! answer. It must never run a second statement, nor one with an argument too few or too many.

use rusqlite::{
    Batch, ErrorCode, Statement, fallible_iterator::FallibleIterator as _, ffi, types::Value as Sql,
};

use super::{
    encode,
    protocol::{Failure, NamedArg, Value},
    words::{Look, look},
};
use crate::pool::{Running, Stop};

/// What to run, and how.
pub(super) struct Order<'a> {
    pub(super) sql: &'a str,
    pub(super) args: &'a [Value],
    pub(super) named_args: &'a [NamedArg],
    pub(super) want_rows: bool,
    /// The statement stands on a reader and could still move to the writer.
    pub(super) may_move: bool,
    /// Bytes of the whole answer.
    pub(super) bytes_max: usize,
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ran {
    Done,
    /// It writes: prepare it again on the writer.
    NeedsWriter,
}

/// Run a statement and append its `StmtResult`; on failure, `out` may hold half of one.
pub(super) fn execute(running: &Running<'_>, order: &Order<'_>, out: &mut Vec<u8>) -> Result<Ran, Failure> {
    running.statement().map_err(stopped)?;
    let sql = match look(order.sql) {
        Look::Empty => return Err(Failure::new("SQL_NO_STATEMENT", "the SQL text holds no statement")),
        // The caller put it on a reader, which makes it read-only.
        Look::BeginReadonly => "BEGIN DEFERRED",
        _ => order.sql,
    };
    let sqlite = running.sqlite;
    let failed = |error| failure_of(running, &error);
    let mut statement = sqlite.prepare_cached(sql).map_err(failed)?;
    if order.may_move && !statement.readonly() {
        return Ok(Ran::NeedsWriter);
    }
    bind(&mut statement, order.args, order.named_args, running)?;
    let changes_before = sqlite.total_changes();
    let written = rows(&mut statement, order, running)?;
    out.extend_from_slice(br#"{"cols":"#);
    columns(&statement, out);
    out.extend_from_slice(br#","rows":["#);
    out.extend_from_slice(&written);
    let affected = if sqlite.total_changes() == changes_before { 0 } else { sqlite.changes() };
    let tail = format!(
        r#"],"affected_row_count":{affected},"last_insert_rowid":"{}"}}"#,
        sqlite.last_insert_rowid()
    );
    out.extend_from_slice(tail.as_bytes());
    Ok(Ran::Done)
}

/// Run all statements of a text, rows ignored, up to the first failure.
pub(super) fn sequence(running: &Running<'_>, sql: &str) -> Result<(), Failure> {
    let failed = |error| failure_of(running, &error);
    running.statement().map_err(stopped)?;
    let mut batch = Batch::new(running.sqlite, sql);
    while let Some(mut statement) = batch.next().map_err(failed)? {
        running.statement().map_err(stopped)?;
        if statement.parameter_count() > 0 {
            return Err(Failure::new("ARGS_INVALID", "statements of a sequence take no arguments"));
        }
        let _stepping = running.stepping();
        let mut rows = statement.raw_query();
        while rows.next().map_err(failed)?.is_some() {}
    }
    Ok(())
}

/// Append a `DescribeResult`.
pub(super) fn describe(running: &Running<'_>, sql: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
    running.statement().map_err(stopped)?;
    if look(sql) == Look::Empty {
        return Err(Failure::new("SQL_NO_STATEMENT", "the SQL text holds no statement"));
    }
    let statement = running.sqlite.prepare_cached(sql).map_err(|error| failure_of(running, &error))?;
    out.extend_from_slice(br#"{"params":"#);
    encode::list(out, 1..=statement.parameter_count(), |out, index| {
        out.extend_from_slice(br#"{"name":"#);
        encode::optional(out, statement.parameter_name(index));
        out.push(b'}');
    });
    out.extend_from_slice(br#","cols":"#);
    columns(&statement, out);
    let (is_explain, is_readonly) = (statement.is_explain() != 0, statement.readonly());
    out.extend_from_slice(format!(r#","is_explain":{is_explain},"is_readonly":{is_readonly}}}"#).as_bytes());
    Ok(())
}

fn columns(statement: &Statement<'_>, out: &mut Vec<u8>) {
    encode::list(out, statement.columns(), |out, column| {
        out.extend_from_slice(br#"{"name":"#);
        encode::string(out, column.name());
        out.extend_from_slice(br#","decltype":"#);
        encode::optional(out, column.decl_type());
        out.push(b'}');
    });
}

/// All rows as JSON arrays with commas between. An answer that grows too large fails the statement; one that
/// writes (`RETURNING`) has then written, and says so.
fn rows(statement: &mut Statement<'_>, order: &Order<'_>, running: &Running<'_>) -> Result<Vec<u8>, Failure> {
    let writes = !statement.readonly();
    let mut out = Vec::new();
    let _stepping = running.stepping();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(|error| failure_of(running, &error))? {
        if !order.want_rows {
            continue;
        }
        if !out.is_empty() {
            out.push(b',');
        }
        encode::list(&mut out, 0..row.as_ref().column_count(), |out, index| {
            encode::value(out, row.get_ref(index).unwrap_or(rusqlite::types::ValueRef::Null));
        });
        if out.len() > order.bytes_max {
            let done = if writes { "; what it wrote is written" } else { "" };
            let limit = format!("the answer is larger than `pool.sqlite.response_bytes_max`{done}");
            return Err(Failure::new("RESPONSE_TOO_LARGE", limit));
        }
    }
    Ok(out)
}

fn bind(
    statement: &mut Statement<'_>,
    args: &[Value],
    named_args: &[NamedArg],
    running: &Running<'_>,
) -> Result<(), Failure> {
    let count = statement.parameter_count();
    let invalid = |message: String| Failure::new("ARGS_INVALID", message);
    if args.len() > count {
        return Err(invalid(format!("the statement takes {count} arguments, and {} were given", args.len())));
    }
    let mut values: Vec<Option<&Value>> = vec![None; count];
    for (place, value) in values.iter_mut().zip(args) {
        *place = Some(value);
    }
    for NamedArg { name, value } in named_args {
        let index = index_of(statement, name).map_err(|error| failure_of(running, &error))?;
        let place = index.and_then(|index| values.get_mut(index - 1));
        *place.ok_or_else(|| invalid(format!("the statement has no parameter `{name}`")))? = Some(value);
    }
    for (index, value) in (1..).zip(values) {
        let value = value.ok_or_else(|| {
            let name = statement.parameter_name(index).map_or_else(|| format!("?{index}"), str::to_owned);
            invalid(format!("the argument for parameter `{name}` is missing"))
        })?;
        statement.raw_bind_parameter(index, native(value)?).map_err(|error| failure_of(running, &error))?;
    }
    Ok(())
}

/// The parameter of that name, with its prefix or with whichever the statement uses.
fn index_of(statement: &Statement<'_>, name: &str) -> rusqlite::Result<Option<usize>> {
    if name.starts_with([':', '@', '$', '?']) {
        return statement.parameter_index(name);
    }
    for prefix in [':', '@', '$'] {
        if let Some(index) = statement.parameter_index(&format!("{prefix}{name}"))? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// JavaScript knows one kind of number: one that is whole, and exact as a double, is meant as an integer.
fn native(value: &Value) -> Result<Sql, Failure> {
    use base64::{
        Engine as _, alphabet,
        engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    };
    const BLOB: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    /// 2^53: every whole double up to here is exactly one integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    Ok(match value {
        Value::Null => Sql::Null,
        Value::Integer { value } => Sql::Integer(*value),
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and below 2^53")]
        Value::Float { value } if value.fract() == 0.0 && value.abs() <= EXACT => Sql::Integer(*value as i64),
        Value::Float { value } => Sql::Real(*value),
        Value::Text { value } => Sql::Text(value.clone()),
        Value::Blob { base64 } => {
            let bytes = BLOB.decode(base64);
            Sql::Blob(bytes.map_err(|_| Failure::new("ARGS_INVALID", "a blob argument is not base64"))?)
        }
    })
}

/// A stop as clients read it.
pub(super) fn stopped(stop: Stop) -> Failure {
    match stop {
        Stop::StatementTimeout => Failure::new(
            "STATEMENT_TIMEOUT",
            "the statement took longer than `pool.statement_timeout` and was stopped",
        ),
        Stop::TransactionTimeout => Failure::new(
            "TRANSACTION_TIMEOUT",
            "the transaction took longer than `pool.transaction_timeout` and was rolled back",
        ),
        Stop::Ended => Failure::new("REQUEST_ENDED", "the request that this ticket belongs to has ended"),
        Stop::Closed => Failure::new("DATABASE_CLOSED", "the tenant's database has been closed"),
    }
}

fn failure_of(running: &Running<'_>, error: &rusqlite::Error) -> Failure {
    if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
        && let Some(stop) = running.verdict()
    {
        return stopped(stop);
    }
    match error {
        rusqlite::Error::MultipleStatement => {
            Failure::new("SQL_MANY_STATEMENTS", "the SQL text holds more than one statement")
        }
        rusqlite::Error::SqliteFailure(code, message) => {
            let message = message.clone().unwrap_or_else(|| code.to_string());
            Failure::new(code_name(code.extended_code), format!("SQLite error: {message}"))
        }
        rusqlite::Error::SqlInputError { error, msg, .. } => {
            Failure::new(code_name(error.extended_code), format!("SQLite error: {msg}"))
        }
        rusqlite::Error::NulError(_) => Failure::new("SQL_PARSE_ERROR", "the SQL text holds a NUL character"),
        other => Failure::new("SQLITE_ERROR", format!("SQLite error: {other}")),
    }
}

/// The name of the primary code: its low byte.
fn code_name(extended: i32) -> &'static str {
    match extended & 0xff {
        ffi::SQLITE_INTERNAL => "SQLITE_INTERNAL",
        ffi::SQLITE_PERM => "SQLITE_PERM",
        ffi::SQLITE_ABORT => "SQLITE_ABORT",
        ffi::SQLITE_BUSY => "SQLITE_BUSY",
        ffi::SQLITE_LOCKED => "SQLITE_LOCKED",
        ffi::SQLITE_NOMEM => "SQLITE_NOMEM",
        ffi::SQLITE_READONLY => "SQLITE_READONLY",
        ffi::SQLITE_INTERRUPT => "SQLITE_INTERRUPT",
        ffi::SQLITE_IOERR => "SQLITE_IOERR",
        ffi::SQLITE_CORRUPT => "SQLITE_CORRUPT",
        ffi::SQLITE_NOTFOUND => "SQLITE_NOTFOUND",
        ffi::SQLITE_FULL => "SQLITE_FULL",
        ffi::SQLITE_CANTOPEN => "SQLITE_CANTOPEN",
        ffi::SQLITE_PROTOCOL => "SQLITE_PROTOCOL",
        ffi::SQLITE_SCHEMA => "SQLITE_SCHEMA",
        ffi::SQLITE_TOOBIG => "SQLITE_TOOBIG",
        ffi::SQLITE_CONSTRAINT => "SQLITE_CONSTRAINT",
        ffi::SQLITE_MISMATCH => "SQLITE_MISMATCH",
        ffi::SQLITE_MISUSE => "SQLITE_MISUSE",
        ffi::SQLITE_NOLFS => "SQLITE_NOLFS",
        ffi::SQLITE_AUTH => "SQLITE_AUTH",
        ffi::SQLITE_RANGE => "SQLITE_RANGE",
        ffi::SQLITE_NOTADB => "SQLITE_NOTADB",
        _ => "SQLITE_ERROR",
    }
}

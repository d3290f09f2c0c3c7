//! The orders of one pipeline, carried out one after the other on whatever connection is at hand. It asks for
//! another when it needs one, so that many statements cost one trip to a blocking thread.

use std::collections::HashMap;

use super::{
    encode,
    protocol::{Failure, SqlText, StepOutcome, Stmt, StreamRequest},
    statement::{self, Order, Ran},
    words::{Look, look},
};
use crate::pool::{Access, Running};

/// What a stream remembers between its pipelines, besides its connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    sqls: HashMap<i32, String>,
    sqls_bytes: usize,
    /// A transaction was ended by force; nothing but ROLLBACK may follow, lest its remaining statements be
    /// committed one by one.
    lost: bool,
    /// `close` was among the orders.
    pub(super) closed: bool,
}

/// The limits of a pipeline.
#[derive(Debug, Clone, Copy)]
pub(super) struct WorkLimits {
    pub(super) answer_bytes_max: usize,
    pub(super) sqls_max: usize,
    pub(super) sqls_bytes_max: usize,
}

/// What the work needs to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Nothing: every order has its result.
    Done,
    /// A connection of that kind, in place of the one at hand.
    Lease(Access),
}

/// A connection at hand.
pub(super) struct Seat<'a> {
    pub(super) running: &'a Running<'a>,
    pub(super) access: Access,
}

/// A pipeline under way.
pub(super) struct Work {
    pub(super) session: Session,
    /// The results so far: JSON objects with commas between.
    pub(super) results: Vec<u8>,
    /// Statements run.
    pub(super) statements: u64,
    limits: WorkLimits,
    requests: std::vec::IntoIter<StreamRequest>,
    current: Option<StreamRequest>,
    batch: BatchState,
}

#[derive(Default)]
struct BatchState {
    outcomes: Vec<StepOutcome>,
    results: Vec<u8>,
    errors: Vec<u8>,
}

/// What became of an order: an answer's JSON, or what it lacks.
enum Carried {
    Answer(Vec<u8>),
    Needs(Access),
}

impl Work {
    pub(super) fn new(session: Session, requests: Vec<StreamRequest>, limits: WorkLimits) -> Self {
        Self {
            session,
            results: Vec::new(),
            statements: 0,
            limits,
            requests: requests.into_iter(),
            current: None,
            batch: BatchState::default(),
        }
    }

    /// Carry out orders until all have their result or the connection at hand will not do.
    pub(super) fn advance(&mut self, seat: Option<&Seat<'_>>) -> Want {
        while let Some(request) = self.current.take().or_else(|| self.requests.next()) {
            let carried = if self.session.closed {
                Err(Failure::new("STREAM_CLOSED", "the stream was closed earlier in this pipeline"))
            } else {
                self.carry_out(&request, seat)
            };
            match carried {
                Ok(Carried::Needs(access)) => {
                    self.current = Some(request);
                    return Want::Lease(access);
                }
                Ok(Carried::Answer(answer)) => self.answer(&answer),
                Err(failure) => self.fail(&failure),
            }
        }
        Want::Done
    }

    /// No connection is to be had: every order that needs one fails with `failure`.
    pub(super) fn refuse(&mut self, failure: &Failure) {
        while let Want::Lease(_) = self.advance(None) {
            self.current = None;
            self.batch = BatchState::default();
            self.fail(failure);
        }
    }

    fn carry_out(&mut self, request: &StreamRequest, seat: Option<&Seat<'_>>) -> Result<Carried, Failure> {
        let plain = |kind: &str| Ok(Carried::Answer(format!(r#"{{"type":"{kind}"}}"#).into_bytes()));
        match request {
            StreamRequest::Close => {
                self.session.closed = true;
                plain("close")
            }
            StreamRequest::StoreSql { sql_id, sql } => {
                self.session.store(*sql_id, sql, self.limits)?;
                plain("store_sql")
            }
            StreamRequest::CloseSql { sql_id } => {
                self.session.forget(*sql_id);
                plain("close_sql")
            }
            StreamRequest::GetAutocommit => {
                let autocommit = seat.is_none_or(|seat| seat.running.sqlite.is_autocommit());
                let answer = format!(r#"{{"type":"get_autocommit","is_autocommit":{autocommit}}}"#);
                Ok(Carried::Answer(answer.into_bytes()))
            }
            StreamRequest::Execute { stmt } => {
                let mut answer = br#"{"type":"execute","result":"#.to_vec();
                Ok(match self.statement(stmt, seat, &mut answer)? {
                    Some(access) => Carried::Needs(access),
                    None => {
                        answer.push(b'}');
                        Carried::Answer(answer)
                    }
                })
            }
            StreamRequest::Batch { batch } => self.run_batch(batch, seat),
            StreamRequest::Sequence(text) => {
                let sql = self.session.sql(text)?;
                let Some(seat) = seat.filter(|seat| may_write(seat)) else {
                    return Ok(Carried::Needs(Access::Write));
                };
                if self.session.lost {
                    return Err(lost());
                }
                self.statements += 1;
                let begun = !seat.running.sqlite.is_autocommit();
                let done = statement::sequence(seat.running, sql);
                self.session.lost = done.is_err() && begun && seat.running.sqlite.is_autocommit();
                done.and_then(|()| plain("sequence"))
            }
            StreamRequest::Describe(text) => {
                let sql = self.session.sql(text)?;
                let Some(seat) = seat else { return Ok(Carried::Needs(Access::Read)) };
                let mut answer = br#"{"type":"describe","result":"#.to_vec();
                statement::describe(seat.running, sql, &mut answer)?;
                answer.push(b'}');
                Ok(Carried::Answer(answer))
            }
        }
    }

    /// Run one statement; `Some` when another connection is needed first.
    fn statement(
        &mut self,
        stmt: &Stmt,
        seat: Option<&Seat<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Access>, Failure> {
        let sql = self.session.sql(&stmt.text)?;
        let look = look(sql);
        if self.session.lost {
            if look != Look::Rollback {
                return Err(lost());
            }
            self.session.lost = false;
            out.extend_from_slice(
                br#"{"cols":[],"rows":[],"affected_row_count":0,"last_insert_rowid":null}"#,
            );
            return Ok(None);
        }
        let Some(seat) = seat else { return Ok(Some(look.access())) };
        let sqlite = seat.running.sqlite;
        let begun = !sqlite.is_autocommit();
        if !begun && look == Look::BeginReadonly && seat.access == Access::Write {
            return Ok(Some(Access::Read));
        }
        let may_move = !begun && seat.access == Access::Read;
        if may_move && look == Look::Write {
            return Ok(Some(Access::Write));
        }
        let order = Order {
            sql,
            args: &stmt.args,
            named_args: &stmt.named_args,
            want_rows: stmt.want_rows.unwrap_or(true),
            may_move: may_move && look == Look::Read,
            bytes_max: self
                .limits
                .answer_bytes_max
                .saturating_sub(self.results.len() + self.batch.results.len()),
        };
        let ran = statement::execute(seat.running, &order, out);
        if ran == Ok(Ran::NeedsWriter) {
            return Ok(Some(Access::Write));
        }
        self.statements += 1;
        let ended_itself = matches!(look, Look::Commit | Look::Rollback);
        self.session.lost = ran.is_err() && begun && sqlite.is_autocommit() && !ended_itself;
        ran.map(|_| None)
    }

    fn run_batch(
        &mut self,
        batch: &super::protocol::Batch,
        seat: Option<&Seat<'_>>,
    ) -> Result<Carried, Failure> {
        while let Some(step) = batch.steps.get(self.batch.outcomes.len()) {
            let autocommit = seat.is_none_or(|seat| seat.running.sqlite.is_autocommit());
            let runs = step
                .condition
                .as_ref()
                .is_none_or(|condition| condition.holds(&self.batch.outcomes, autocommit));
            let mut result = Vec::new();
            let outcome = match runs.then(|| self.statement(&step.stmt, seat, &mut result)) {
                None => (StepOutcome::Skipped, None, None),
                Some(Ok(Some(access))) => return Ok(Carried::Needs(access)),
                Some(Ok(None)) => (StepOutcome::Ok, Some(result), None),
                Some(Err(failure)) => (StepOutcome::Error, None, Some(failure)),
            };
            self.batch.push(outcome);
        }
        let done = std::mem::take(&mut self.batch);
        let mut answer = br#"{"type":"batch","result":{"step_results":["#.to_vec();
        answer.extend_from_slice(&done.results);
        answer.extend_from_slice(br#"],"step_errors":["#);
        answer.extend_from_slice(&done.errors);
        answer.extend_from_slice(b"]}}");
        Ok(Carried::Answer(answer))
    }

    fn answer(&mut self, answer: &[u8]) {
        self.separate();
        self.results.extend_from_slice(br#"{"type":"ok","response":"#);
        self.results.extend_from_slice(answer);
        self.results.push(b'}');
    }

    fn fail(&mut self, failure: &Failure) {
        self.separate();
        self.results.extend_from_slice(br#"{"type":"error","error":"#);
        encode::failure(&mut self.results, failure);
        self.results.push(b'}');
    }

    fn separate(&mut self) {
        if !self.results.is_empty() {
            self.results.push(b',');
        }
    }
}

impl Session {
    fn sql<'a>(&'a self, text: &'a SqlText) -> Result<&'a str, Failure> {
        match (&text.sql, text.sql_id) {
            (Some(sql), None) => Ok(sql),
            (None, Some(id)) => self
                .sqls
                .get(&id)
                .map(String::as_str)
                .ok_or_else(|| Failure::new("SQL_NOT_FOUND", format!("no SQL text is stored under {id}"))),
            _ => Err(Failure::new("SQL_INVALID", "give exactly one of `sql` and `sql_id`")),
        }
    }

    fn store(&mut self, id: i32, sql: &str, limits: WorkLimits) -> Result<(), Failure> {
        let bytes = self.sqls_bytes + sql.len();
        if self.sqls.len() >= limits.sqls_max || bytes > limits.sqls_bytes_max {
            return Err(Failure::new("SQL_STORE_FULL", "the stream stores too many SQL texts"));
        }
        if self.sqls.contains_key(&id) {
            return Err(Failure::new("SQL_STORED_TWICE", format!("a SQL text is stored under {id} already")));
        }
        self.sqls_bytes = bytes;
        self.sqls.insert(id, sql.to_owned());
        Ok(())
    }

    fn forget(&mut self, id: i32) {
        if let Some(sql) = self.sqls.remove(&id) {
            self.sqls_bytes -= sql.len();
        }
    }
}

impl BatchState {
    fn push(&mut self, (outcome, result, failure): (StepOutcome, Option<Vec<u8>>, Option<Failure>)) {
        if !self.outcomes.is_empty() {
            self.results.push(b',');
            self.errors.push(b',');
        }
        self.results.extend_from_slice(result.as_deref().unwrap_or(b"null"));
        match failure {
            Some(failure) => encode::failure(&mut self.errors, &failure),
            None => self.errors.extend_from_slice(b"null"),
        }
        self.outcomes.push(outcome);
    }
}

/// A sequence goes to the writer, unless the stream's own transaction is on a reader.
fn may_write(seat: &Seat<'_>) -> bool {
    seat.access == Access::Write || !seat.running.sqlite.is_autocommit()
}

fn lost() -> Failure {
    Failure::new(
        "TRANSACTION_LOST",
        "the transaction was rolled back when an earlier statement failed; send ROLLBACK or close the stream",
    )
}

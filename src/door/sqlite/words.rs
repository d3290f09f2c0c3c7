//! The first words of a SQL text: a hint where to prepare it, never the judge of what it does. SQLite's own
//! `sqlite3_stmt_readonly` decides.

use crate::pool::Access;

/// What a statement looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing but blanks and comments.
    Empty,
    /// `BEGIN … READONLY`, which SQLite itself takes for a transaction's name.
    BeginReadonly,
    /// `ROLLBACK`, to a savepoint or whole.
    Rollback,
    /// `COMMIT` or `END`.
    Commit,
    /// Perhaps it only reads.
    Read,
    /// Everything else.
    Write,
}

impl Look {
    /// Where to prepare it first.
    pub(super) fn access(self) -> Access {
        match self {
            Self::Write => Access::Write,
            Self::Empty | Self::BeginReadonly | Self::Rollback | Self::Commit | Self::Read => Access::Read,
        }
    }
}

/// Look at a statement's first words.
pub(super) fn look(sql: &str) -> Look {
    let mut words = Words { rest: sql };
    let Some(first) = words.next() else { return Look::Empty };
    let is = |word: &str| first.eq_ignore_ascii_case(word);
    if is("begin") {
        let mut more = words.map(str::to_ascii_lowercase);
        let kind = more.next();
        let readonly = match kind.as_deref() {
            Some("readonly") => true,
            Some("transaction") => more.next().as_deref() == Some("readonly"),
            _ => false,
        };
        return if readonly { Look::BeginReadonly } else { Look::Write };
    }
    if is("rollback") {
        return Look::Rollback;
    }
    if is("commit") || is("end") {
        return Look::Commit;
    }
    let asks = is("select") || is("values") || is("with") || is("explain") || is("release");
    // `PRAGMA x = y` changes the connection; `PRAGMA x` and `PRAGMA table_info(t)` ask.
    if asks || (is("pragma") && !sql.contains('=')) { Look::Read } else { Look::Write }
}

struct Words<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    /// The next word; `None` at the end or at anything that is no word.
    fn next(&mut self) -> Option<&'a str> {
        loop {
            let rest = self
                .rest
                .trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';' || c == '\u{feff}');
            if let Some(comment) = rest.strip_prefix("--") {
                self.rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
            } else if let Some(comment) = rest.strip_prefix("/*") {
                self.rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
            } else {
                self.rest = rest;
                break;
            }
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        // Something that is not a word, such as `(`, still is a statement for SQLite to judge.
        if word.is_empty() { (!rest.is_empty()).then_some("?") } else { Some(word) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_say_where_to_prepare() {
        for (sql, right) in [
            ("", Look::Empty),
            (" ; -- nothing\n /* at all */ ", Look::Empty),
            ("select 1", Look::Read),
            ("-- why\nSELECT 1", Look::Read),
            ("/**/WITH x AS (SELECT 1) SELECT * FROM x", Look::Read),
            ("INSERT INTO t VALUES (1)", Look::Write),
            ("BEGIN", Look::Write),
            ("begin immediate", Look::Write),
            ("BEGIN TRANSACTION", Look::Write),
            ("BEGIN TRANSACTION READONLY", Look::BeginReadonly),
            ("begin readonly;", Look::BeginReadonly),
            ("BEGIN TRANSACTION readonly_books", Look::Write),
            ("COMMIT", Look::Commit),
            ("rollback to x", Look::Rollback),
            ("PRAGMA table_info(t)", Look::Read),
            ("PRAGMA foreign_keys = off", Look::Write),
            ("(select 1)", Look::Write),
        ] {
            assert_eq!(look(sql), right, "{sql:?}");
        }
    }
}

//! What SQL may do on a tenant's connection: it stays inside its one file, and what it changes about the
//! connection is noticed. It must never allow a name it does not know.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// Shared between a connection's authorizer and its pool.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// While set, the pool itself is speaking.
    pub(super) ours: AtomicBool,
    /// While set, a statement runs; while not, one is prepared. SQLite asks at both times.
    pub(super) stepping: AtomicBool,
    /// Something about the connection was changed that outlives a transaction.
    pub(super) changed: AtomicBool,
}

/// The judgement over one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Go on.
    Allow,
    /// Go on, and close the connection afterwards.
    AllowAndMark,
    /// Do nothing, quietly: settings that drivers send by habit and that belong to the gateway.
    Ignore,
    /// An error.
    Deny,
}

/// The authorizer of one connection.
pub(super) fn authorizer(marks: Arc<Marks>) -> impl for<'r> FnMut(AuthContext<'r>) -> Authorization + Send {
    move |context| {
        if marks.ours.load(Ordering::Relaxed) {
            return Authorization::Allow;
        }
        let nameless = matches!(context.action, AuthAction::Attach { filename: "" });
        if nameless && !marks.stepping.load(Ordering::Relaxed) {
            // Written as a statement; VACUUM asks for its own while it runs.
            return Authorization::Deny;
        }
        match judge(&context) {
            Verdict::Allow => Authorization::Allow,
            Verdict::AllowAndMark => {
                marks.changed.store(true, Ordering::Relaxed);
                Authorization::Allow
            }
            Verdict::Ignore => Authorization::Ignore,
            Verdict::Deny => Authorization::Deny,
        }
    }
}

fn judge(context: &AuthContext<'_>) -> Verdict {
    match context.action {
        // VACUUM attaches the nameless temporary database; every file is somebody else's.
        AuthAction::Attach { filename: "" } => Verdict::AllowAndMark,
        AuthAction::Attach { .. } | AuthAction::Detach { .. } | AuthAction::Unknown { .. } => Verdict::Deny,
        AuthAction::Function { function_name } => {
            let name = function_name.to_ascii_lowercase();
            let reaches_out =
                matches!(&*name, "load_extension" | "fts3_tokenizer" | "readfile" | "writefile" | "edit");
            if reaches_out { Verdict::Deny } else { Verdict::Allow }
        }
        AuthAction::Pragma { pragma_name, pragma_value } => {
            judge_pragma(&pragma_name.to_ascii_lowercase(), pragma_value)
        }
        AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => Verdict::AllowAndMark,
        AuthAction::CreateVtable { .. } if context.database_name == Some("temp") => Verdict::AllowAndMark,
        _ => Verdict::Allow,
    }
}

fn judge_pragma(name: &str, value: Option<&str>) -> Verdict {
    match (name, value) {
        // Questions about the schema and the file.
        (
            "table_info" | "table_xinfo" | "table_list" | "index_list" | "index_info" | "index_xinfo"
            | "foreign_key_list" | "foreign_key_check" | "integrity_check" | "quick_check" | "collation_list"
            | "function_list" | "module_list" | "pragma_list" | "compile_options" | "database_list"
            | "data_version" | "freelist_count" | "page_count" | "optimize" | "incremental_vacuum"
            // Kept in the file itself, or ended with the transaction.
            | "user_version" | "application_id" | "defer_foreign_keys",
            _,
        ) => Verdict::Allow,
        (
            "foreign_keys" | "recursive_triggers" | "legacy_alter_table" | "ignore_check_constraints"
            | "case_sensitive_like" | "reverse_unordered_selects" | "automatic_index" | "analysis_limit",
            Some(_),
        ) => Verdict::AllowAndMark,
        ("journal_mode", Some(mode)) if mode.eq_ignore_ascii_case("wal") => Verdict::Allow,
        (
            "synchronous" | "busy_timeout" | "cache_size" | "cache_spill" | "temp_store" | "mmap_size"
            | "wal_autocheckpoint" | "wal_checkpoint" | "journal_size_limit" | "threads" | "shrink_memory",
            Some(_),
        )
        | ("wal_checkpoint" | "shrink_memory", None) => Verdict::Ignore,
        (
            "foreign_keys" | "recursive_triggers" | "legacy_alter_table" | "ignore_check_constraints"
            | "reverse_unordered_selects" | "automatic_index" | "analysis_limit" | "journal_mode"
            | "synchronous" | "busy_timeout" | "cache_size" | "cache_spill" | "temp_store" | "mmap_size"
            | "wal_autocheckpoint" | "journal_size_limit" | "threads" | "encoding" | "page_size"
            | "schema_version" | "auto_vacuum" | "max_page_count" | "query_only" | "locking_mode"
            | "secure_delete" | "trusted_schema" | "read_uncommitted",
            None,
        ) => Verdict::Allow,
        _ => Verdict::Deny,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pragma_is_allowed_noticed_ignored_or_denied_and_unknown_ones_are_denied() {
        for (name, value, right) in [
            ("table_info", Some("t"), Verdict::Allow),
            ("user_version", Some("3"), Verdict::Allow),
            ("foreign_keys", None, Verdict::Allow),
            ("foreign_keys", Some("off"), Verdict::AllowAndMark),
            ("journal_mode", Some("WAL"), Verdict::Allow),
            ("journal_mode", Some("delete"), Verdict::Deny),
            ("busy_timeout", Some("0"), Verdict::Ignore),
            ("wal_checkpoint", None, Verdict::Ignore),
            ("query_only", Some("0"), Verdict::Deny),
            ("max_page_count", Some("1"), Verdict::Deny),
            ("writable_schema", Some("1"), Verdict::Deny),
            ("trusted_schema", Some("1"), Verdict::Deny),
            ("temp_store_directory", Some("/"), Verdict::Deny),
            ("locking_mode", Some("exclusive"), Verdict::Deny),
            ("unheard_of", None, Verdict::Deny),
        ] {
            assert_eq!(judge_pragma(name, value), right, "{name} {value:?}");
        }
    }
}

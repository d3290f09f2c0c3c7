//! What every room's error enum says about itself: who is to blame and who may read it.
//!
//! Errors become HTTP answers in one place (`edge::rescue`) and are logged once, where they are handled;
//! this file must never format an answer or write a log line.

use std::io;

use nix::errno::Errno;

/// Who is to blame, which decides the status class and the log level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The caller sent something it should not have.
    Client,
    /// The tenant's status or limits say no.
    Tenant,
    /// The Node application failed or is not there.
    Backend,
    /// A tenant's database failed or is not there.
    Database,
    /// The operator's configuration or machine is wrong.
    Operator,
    /// Our own bug.
    Gateway,
}

/// Who may read the error's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Safe to show to strangers.
    Anyone,
    /// Log and command line only; strangers get the code and the request id.
    Operator,
}

/// Implemented by each room's error enum; never for `anyhow::Error`.
pub(crate) trait Fault: std::error::Error {
    /// Who is to blame.
    fn kind(&self) -> Kind;
    /// Who may read the text.
    fn audience(&self) -> Audience;
    /// A stable, lower-case, hyphenated word for front ends and scripts, such as `origin-not-listed`.
    fn code(&self) -> &'static str;
}

/// Did this fail because no file descriptor is left, in this process or in the whole system? Then it says nothing about
/// whoever was to be reached.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
}

/// The known name nearest to a mistyped one, if it is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = |candidate: &&str| strsim::normalized_damerau_levenshtein(name, candidate);
    known
        .into_iter()
        .map(|candidate| (close(&candidate), candidate))
        // Two of three letters right: `htps` finds `https`, `workers_max` does not find `path`.
        .filter(|(similarity, _)| *similarity >= 0.65)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// The remedy for a name that nobody has: the one that was meant, if that can be told, and the order that shows all.
pub(crate) fn names_shown_by(order: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("did you mean `{near}`? `{order}` shows all of them"),
        None => format!("`{order}` shows all of them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_is_found_and_another_word_is_not() {
        let known = ["navaja", "barba", "tijera"];
        for (name, want) in
            [("navja", Some("navaja")), ("tjiera", Some("tijera")), ("acme", None), ("", None)]
        {
            assert_eq!(nearest(name, known), want, "{name}");
        }
        assert_eq!(
            names_shown_by("gateway x list", Some("a")),
            "did you mean `a`? `gateway x list` shows all of them"
        );
        assert_eq!(names_shown_by("gateway x list", None), "`gateway x list` shows all of them");
    }
}

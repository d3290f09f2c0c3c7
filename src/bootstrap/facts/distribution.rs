//! Which system this is, from `/etc/os-release`. Pure.

use serde::Serialize;

/// The distribution.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Distribution {
    /// `debian`, `ubuntu`.
    pub(crate) id: String,
    /// `12`, `24.04`.
    pub(crate) version: String,
    /// For people.
    pub(crate) name: String,
}

impl Distribution {
    /// os-release(5): `NAME=value` lines, values perhaps in quotes.
    pub(super) fn of(text: &str) -> Self {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
        };
        Self { id: value("ID"), version: value("VERSION_ID"), name: value("PRETTY_NAME") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_no_part_of_a_value() {
        let debian = Distribution::of(include_str!("../../../tests/data/bootstrap/os-release-debian-12"));
        assert_eq!((debian.id.as_str(), debian.version.as_str()), ("debian", "12"));
        assert_eq!(debian.name, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(Distribution::of(""), Distribution::default());
    }
}

//! A tenant's id: the short name that stands in logs, metrics, tickets and file names.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Matches `[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?`: safe as a file name, a DNS label, a user name and a metric
/// label. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TenantId(Arc<str>);

/// Why a text is no tenant id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no tenant id: use 1 to 40 lower-case letters, digits and hyphens, beginning and ending with a letter or digit"
)]
pub(crate) struct TenantIdProblem(pub(crate) String);

impl TenantId {
    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// So that a map keyed by ids can be asked with a text that is none; hashes and compares as the text does.
impl Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = TenantIdProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let ends_well = bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
        if bytes.len() <= 40 && ends_well && bytes.iter().all(|b| alphanumeric(b) || *b == b'-') {
            Ok(Self(text.into()))
        } else {
            Err(TenantIdProblem(text.chars().take(60).collect()))
        }
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TenantId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dns_safe_names_of_at_most_40_bytes_are_ids() {
        for good in ["a", "7", "navaja", "shop-1", "a--b", &"x".repeat(40)] {
            assert_eq!(good.parse::<TenantId>().map(|id| id.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "ä", " a", "a b", "../x", &"x".repeat(41)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad:?} was taken");
        }
    }
}

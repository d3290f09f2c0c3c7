//! Tenants for the page's table: those that are looked for, and so many that a page can show them. Pure.

use serde::{Deserialize, Serialize};

/// Rows shown; who looks for one among more types a part of its name.
const SHOWN_MAX: usize = 200;

/// Longest that is looked for; longer texts are found nowhere.
const FIND_BYTES_MAX: usize = 200;

/// Those that were found.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Found {
    /// All that there are.
    total: usize,
    /// Those that fit.
    matched: usize,
    /// The first of them.
    shown: Vec<Row>,
}

/// What of a tenant the page shows; gateways of other versions may say more, or less.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Row {
    id: String,
    status: String,
    origins: Vec<String>,
    hosts: Vec<String>,
    database: Option<String>,
    backend: Option<String>,
    declared: bool,
}

impl Found {
    /// Those with that text in id, status, origins, hosts or backend; all, if it is empty. First those that are not active.
    pub(super) fn of(mut all: Vec<Row>, find: &str) -> Self {
        let (total, find) = (all.len(), find.trim().to_lowercase());
        all.retain(|row| find.len() <= FIND_BYTES_MAX && row.fits(&find));
        let matched = all.len();
        all.sort_by(|a, b| (a.status == "active", &a.id).cmp(&(b.status == "active", &b.id)));
        all.truncate(SHOWN_MAX);
        Self { total, matched, shown: all }
    }
}

impl Row {
    fn fits(&self, find: &str) -> bool {
        let single = [Some(&self.id), Some(&self.status), self.backend.as_ref()];
        let mut texts = single.into_iter().flatten().chain(&self.origins).chain(&self.hosts);
        texts.any(|text| text.to_lowercase().contains(find))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, status: &str, origin: &str) -> Row {
        Row {
            id: id.to_owned(),
            status: status.to_owned(),
            origins: vec![origin.to_owned()],
            ..Row::default()
        }
    }

    #[test]
    fn a_part_of_id_origin_or_status_finds_a_tenant_and_trouble_comes_first() {
        let all = || {
            vec![
                row("barba", "active", "https://barba.example"),
                row("navaja", "active", "https://corte.example"),
                row("tijera", "suspended", "https://tijera.example"),
            ]
        };
        for (find, want) in [
            ("", &["tijera", "barba", "navaja"][..]),
            (" CORTE ", &["navaja"]),
            ("susp", &["tijera"]),
            ("nobody", &[]),
            (&"x".repeat(FIND_BYTES_MAX + 1), &[]),
        ] {
            let found = Found::of(all(), find);
            let ids: Vec<_> = found.shown.iter().map(|row| row.id.as_str()).collect();
            assert_eq!((found.total, found.matched, &ids[..]), (3, want.len(), want), "{find}");
        }
    }

    #[test]
    fn of_many_so_many_are_shown_and_all_are_counted() {
        let all = (0..1000).map(|n| row(&format!("shop-{n:04}"), "active", "https://a.example")).collect();
        let found = Found::of(all, "shop");
        assert_eq!((found.total, found.matched, found.shown.len()), (1000, 1000, SHOWN_MAX));
    }

    #[test]
    fn a_tenant_of_another_version_is_shown_as_far_as_it_is_known() {
        let row: Row =
            serde_json::from_str(r#"{"id": "acme", "status": "active", "planet": {"x": 1}}"#).unwrap();
        assert_eq!(row.id, "acme");
    }
}

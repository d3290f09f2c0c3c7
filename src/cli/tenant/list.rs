//! `gateway tenant list`: all customers on one screen.

use crate::{
    cli::{Client, Failure, out},
    tenant::TenantView,
};

/// Show all tenants
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway tenant list
  gateway tenant list --json | jq -r '.[].id'")]
pub(crate) struct List {
    #[command(flatten)]
    form: out::Form,
}

impl List {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let tenants = super::all(client).await?;
        if self.form.json {
            return out::json(&tenants);
        }
        if tenants.is_empty() {
            out::line("there is no tenant yet");
            out::remark(match client.declared() {
                0 => {
                    "hint: gateway tenant add acme --origin https://acme.example --database sqlite://acme.db"
                        .to_owned()
                }
                declared => {
                    format!(
                        "hint: {declared} in the configuration file come in when the gateway starts: `gateway run`"
                    )
                }
            });
            return Ok(());
        }
        let head = ["tenant", "status", "origins", "hosts", "database", "backend", "declared"];
        out::line(out::table(&head, tenants.iter().map(row)));
        Ok(())
    }
}

fn row(tenant: &TenantView) -> [String; 7] {
    [
        tenant.id.to_string(),
        tenant.status.as_str().to_owned(),
        short(&tenant.origins),
        short(&tenant.hosts),
        tenant.database.clone().unwrap_or_default(),
        tenant.backend.clone().unwrap_or_default(),
        if tenant.declared { "in the file".to_owned() } else { String::new() },
    ]
}

/// The first two and how many more: a table is for the eye.
fn short(items: &[impl ToString]) -> String {
    let shown: Vec<_> = items.iter().take(2).map(ToString::to_string).collect();
    match items.len().saturating_sub(2) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_to_two_and_a_number() {
        for (items, want) in [
            (&[][..], ""),
            (&["a"][..], "a"),
            (&["a", "b"][..], "a, b"),
            (&["a", "b", "c", "d"][..], "a, b and 2 more"),
        ] {
            assert_eq!(short(items), want);
        }
    }
}

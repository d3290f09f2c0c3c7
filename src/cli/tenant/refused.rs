//! `gateway tenant refused`: who was turned away lately, and the command that would let it in.

use crate::{
    cli::{Client, Failure, out},
    tenant::RefusedView,
};

/// Show origins refused lately, how often, and the command to paste that would let each in
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A preflight that the browser refuses for a header or a method shows here too.

Examples:
  gateway tenant refused
  gateway tenant refused --json")]
pub(crate) struct Refused {
    #[command(flatten)]
    form: out::Form,
}

impl Refused {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let refused: Vec<RefusedView> = client.show("/refused").await?;
        if self.form.json {
            return out::json(&refused);
        }
        if refused.is_empty() {
            out::line("nobody has been refused since the gateway started");
            return Ok(());
        }
        let rows = refused.into_iter().map(|one| {
            [
                one.origin.to_string(),
                one.reason.to_string(),
                one.count.to_string(),
                one.path.to_string(),
                format!("{:.0}", one.last_seen),
                one.nearest.map(|tenant| tenant.to_string()).unwrap_or_default(),
                one.command.or(one.hint).unwrap_or_default(),
            ]
        });
        let head = ["origin", "reason", "times", "path", "last seen", "nearest tenant", "what to do"];
        out::line(out::table(&head, rows));
        Ok(())
    }
}

//! `gateway tenant show`: one customer, whole, but for secrets.

use crate::{
    cli::{Client, Failure, out},
    tenant::{TenantId, TenantView},
};

/// Show one tenant
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway tenant show navaja
  gateway tenant show navaja --json")]
pub(crate) struct Show {
    /// The tenant
    id: TenantId,
    #[command(flatten)]
    form: out::Form,
}

impl Show {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let tenant: TenantView = client.show(&format!("/tenants/{}", self.id)).await?;
        if self.form.json {
            return out::json(&tenant);
        }
        out::line(text(&tenant));
        Ok(())
    }
}

/// A tenant for people.
pub(super) fn text(tenant: &TenantView) -> String {
    let list =
        |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join("\n            ") };
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let limits = [
        ("in flight", tenant.limits.in_flight_max),
        ("requests per second", tenant.limits.requests_per_second),
        ("connections", tenant.limits.connections_max),
        ("reserved connections", tenant.limits.connections_min),
    ];
    let limits = limits.into_iter().filter_map(|(name, limit)| limit.map(|limit| format!("{name} {limit}")));
    let mut lines = vec![
        format!("tenant      {}", tenant.id),
        format!("status      {}", tenant.status.as_str()),
        format!("origins     {}", list(tenant.origins.iter().map(ToString::to_string).collect())),
        format!("hosts       {}", list(tenant.hosts.iter().map(ToString::to_string).collect())),
        format!("database    {}", or_dash(&tenant.database)),
        format!("backend     {}", or_dash(&tenant.backend)),
        format!("limits      {}", list(limits.collect())),
        format!("keys        {}", list(tenant.keys.iter().map(|key| key.name.clone()).collect())),
    ];
    lines.push(match &tenant.cors {
        None => "cors        the default policy".to_owned(),
        Some(cors) => format!(
            "cors        methods {}; headers {}; exposed headers {}; credentials {}; max age {} s",
            names(&cors.methods),
            names(&cors.headers),
            names(&cors.exposed_headers),
            if cors.credentials { "yes" } else { "no" },
            cors.max_age.as_secs()
        ),
    });
    if tenant.declared {
        lines
            .push("declared    in the configuration file: change it there, then `gateway reload`".to_owned());
    }
    lines.join("\n")
}

fn names(list: &[String]) -> String {
    if list.is_empty() { "-".to_owned() } else { list.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::{CorsPolicy, Tenant};

    #[test]
    fn a_policy_is_shown_whole() {
        let mut tenant = Tenant::new("acme".parse().unwrap());
        let methods = vec!["GET".to_owned(), "PUT".to_owned()];
        let exposed_headers = vec!["x-total".to_owned(), "etag".to_owned()];
        let headers = Vec::new();
        tenant.cors = Some(CorsPolicy { methods, headers, exposed_headers, ..CorsPolicy::default() });
        let text = text(&TenantView::from(&tenant));
        let line = text.lines().find(|line| line.starts_with("cors")).unwrap();
        let want = "cors        methods GET PUT; headers -; exposed headers x-total etag; credentials no; max age 600 s";
        assert_eq!(line, want);
    }
}

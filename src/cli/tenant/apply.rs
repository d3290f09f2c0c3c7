//! `gateway tenant apply`: make the tenants what a file says.

use std::{io::Read, path::PathBuf};

use http::Method;

use super::export::TenantFile;
use crate::{
    admin::ApplyOrder,
    cli::{Client, Failure, out},
    tenant::{ApplyReport, TenantSpec},
};

/// Ten thousand tenants are a few MB.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Make the tenants what FILE says: add, change and (with --prune) remove; all of it or nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "\
FILE holds `[[tenant]]` tables (TOML) or a JSON array, as `gateway tenant export` writes them; `-` is \
standard input. A database left out stays as it is.

Examples:
  gateway tenant apply tenants.toml
  gateway tenant apply tenants.toml --prune
  gateway tenant export | gateway tenant apply -")]
pub(crate) struct Apply {
    /// The file, or `-`
    file: PathBuf,
    /// Remove tenants that the file does not have (declared ones and databases stay)
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    form: out::Form,
}

impl Apply {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut text = String::new();
        let read = if self.file.as_os_str() == "-" {
            std::io::stdin().take(FILE_BYTES_MAX).read_to_string(&mut text)
        } else {
            std::fs::File::open(&self.file)
                .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        };
        read.map_err(|error| Failure::io("read", &self.file, &error))?;
        let tenants = parse(&text)
            .map_err(|problem| Failure::usage(format!("`{}`: {problem}", self.file.display())))?;
        let order = ApplyOrder { tenants, prune: self.prune };
        let report: ApplyReport = client.order(Method::POST, "/apply", Some(&order)).await?;
        if self.form.json {
            return out::json(&report);
        }
        for (sign, tenants) in [('+', &report.added), ('~', &report.changed), ('-', &report.removed)] {
            for tenant in tenants {
                out::line(format!("{sign} {tenant}"));
            }
        }
        out::line(format!(
            "{} added, {} changed, {} removed, {} as they were",
            report.added.len(),
            report.changed.len(),
            report.removed.len(),
            report.unchanged.len()
        ));
        Ok(())
    }
}

fn parse(text: &str) -> Result<Vec<TenantSpec>, String> {
    // A TOML document cannot begin with `[{` or `[]`, and a JSON array of tenants cannot begin otherwise.
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).take(2).collect();
    if compact.starts_with("[{") || compact == "[]" {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    toml::from_str::<TenantFile>(text).map(|file| file.tenant).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = "[[tenant]]\nid = \"acme\"\norigins = [\"https://acme.example\"]\n";
        let json = "[\n {\"id\": \"acme\", \"origins\": [\"https://acme.example\"]}]";
        let tenants = parse(toml).unwrap();
        assert_eq!(tenants, parse(json).unwrap());
        let written = toml::to_string_pretty(&TenantFile { tenant: tenants.clone() }).unwrap();
        assert_eq!(parse(&written).unwrap(), tenants);
        assert_eq!(parse("[]").unwrap(), []);
        assert!(parse("[[tenant]]\nid = \"acme\"\norigin = 1").is_err(), "unknown keys are refused");
    }
}

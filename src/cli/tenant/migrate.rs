//! `gateway tenant migrate`: the same migrations for one, several or all tenants, each with a verdict.

use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use http::Method;

use super::selection::{Verdict, conclude, select};
use crate::{
    admin::{MigrateOrder, Migrated, MigrationText},
    cli::{Client, Failure, out},
    tenant::TenantId,
};

/// One file: a schema, not a data load.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Apply the *.sql files of a directory to tenants' databases; goes on past a tenant that fails
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Files are named NUMBER_NAME.sql and applied in order; what a tenant has already is skipped, so that the \
same command goes on where it stopped. A tenant's requests wait while it is migrated. Exit code 1 if a \
tenant failed.

Examples:
  gateway tenant migrate migrations --all
  gateway tenant migrate migrations --tenant navaja --tenant barba
  gateway tenant migrate migrations --all --parallel 8 --json")]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(crate) struct Migrate {
    /// The directory with the *.sql files
    directory: PathBuf,
    /// A tenant; may be repeated
    #[arg(long = "tenant", value_name = "ID", group = "which")]
    tenants: Vec<TenantId>,
    /// Every tenant that has a database
    #[arg(long, group = "which")]
    all: bool,
    /// How many tenants at a time
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    #[command(flatten)]
    form: out::Form,
}

impl Migrate {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let order = MigrateOrder { migrations: read(&self.directory)? };
        let tenants = select(client, &self.tenants, self.all).await?;
        let total = tenants.len();
        let mut running = stream::iter(tenants)
            .map(|tenant| one(client, tenant, &order))
            .buffer_unordered(usize::from(self.parallel));
        let mut verdicts = Vec::with_capacity(total);
        while let Some(verdict) = running.next().await {
            let line = format!("[{}/{total}] {}", verdicts.len() + 1, verdict.line());
            // Progress is for people; scripts get one JSON document at the end.
            if self.form.json {
                out::remark(line)
            } else {
                out::line(line)
            }
            verdicts.push(verdict);
        }
        conclude(&verdicts, self.form)
    }
}

async fn one(client: &Client, tenant: TenantId, order: &MigrateOrder) -> Verdict {
    let path = format!("/tenants/{tenant}/migrate");
    match client.order::<Migrated>(Method::POST, &path, Some(order)).await {
        Ok(report) if report.applied.is_empty() => Verdict {
            tenant,
            good: true,
            detail: format!("nothing to do, {} had been applied", report.already),
        },
        Ok(report) => {
            Verdict { tenant, good: true, detail: format!("applied {}", report.applied.join(", ")) }
        }
        Err(failure) => Verdict { tenant, good: false, detail: failure.message },
    }
}

/// The directory's migrations in the order of their names, `.down.sql` left out.
fn read(directory: &Path) -> Result<Vec<MigrationText>, Failure> {
    let cannot = |error| Failure::io("read", directory, &error);
    let mut migrations = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.ends_with(".sql") || name.ends_with(".down.sql") {
            continue;
        }
        let size = std::fs::metadata(&path).map_err(|error| Failure::io("read", &path, &error))?.len();
        if size > FILE_BYTES_MAX {
            return Err(Failure::usage(format!("`{}` is larger than 8 MiB", path.display()))
                .hint("load data with `gateway tenant load`, and keep migrations for the schema"));
        }
        let sql = std::fs::read_to_string(&path).map_err(|error| Failure::io("read", &path, &error))?;
        migrations.push(MigrationText { name, sql });
    }
    if migrations.is_empty() {
        return Err(Failure::usage(format!("there is no *.sql file in `{}`", directory.display()))
            .hint("name files like `0001_bookings.sql`"));
    }
    migrations.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(migrations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::Exit;

    #[test]
    fn a_directorys_migrations_come_in_order_and_without_the_way_back() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).unwrap_err().exit, Exit::Usage);
        for name in ["0002_b.sql", "0001_a.sql", "0001_a.down.sql", "README.md"] {
            std::fs::write(directory.path().join(name), name).unwrap();
        }
        let names: Vec<_> = read(directory.path()).unwrap().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["0001_a.sql", "0002_b.sql"]);
        assert!(read(&directory.path().join("gone")).unwrap_err().message.contains("gone"));
    }
}

//! Where the registry's files are, and which files no tenant may have as its database. It must never let one file
//! be reached by two names.

use std::path::{Path, PathBuf};

use super::{Config, Database, DatabaseText, TenantError, TenantId};

/// The files of the tenant room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TenantPaths {
    /// The registry's SQLite file.
    pub(crate) registry_db: PathBuf,
    /// The 0600 file with the sealing key, made on first use.
    pub(crate) seal_key_file: PathBuf,
    /// A systemd credential that takes the key file's place, if it is there.
    pub(crate) seal_credential: Option<PathBuf>,
    /// Where relative database paths start.
    pub(crate) tenants_dir: PathBuf,
}

impl TenantPaths {
    /// The usual places below the state directory, with what the configuration says otherwise. `credentials_dir` is
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub(crate) fn below(state_dir: &Path, config: &Config, credentials_dir: Option<&Path>) -> Self {
        let or = |path: &Option<PathBuf>, name: &str| path.clone().unwrap_or_else(|| state_dir.join(name));
        Self {
            registry_db: or(&config.path, "registry.db"),
            seal_key_file: or(&config.seal_key_file, "seal.key"),
            seal_credential: credentials_dir.map(|directory| directory.join("seal.key")),
            tenants_dir: state_dir.join("tenants"),
        }
    }

    /// Check a tenant's database URL and give it the one name of its place: symbolic links are followed, and what lies
    /// in the tenants' directory is named from there.
    pub(super) fn settle(&self, id: &TenantId, text: &DatabaseText) -> Result<Database, TenantError> {
        let in_tenant = |problem| TenantError::Database { id: id.clone(), problem };
        let written = text.parse().map_err(in_tenant)?;
        let tenants_dir = resolve(&self.tenants_dir);
        let place = resolve(&tenants_dir.join(written.path()));
        let own = [Some(&self.registry_db), Some(&self.seal_key_file), self.seal_credential.as_ref()];
        if own.into_iter().flatten().any(|own| resolve(own) == place) {
            return Err(TenantError::OwnFile(id.clone()));
        }
        Database::at(place.strip_prefix(&tenants_dir).unwrap_or(&place)).map_err(in_tenant)
    }
}

/// The path without symbolic links, as far as it exists; the rest as written.
fn resolve(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute
        .ancestors()
        .find_map(|ancestor| {
            let real = ancestor.canonicalize().ok()?;
            let rest = absolute.strip_prefix(ancestor).unwrap_or(Path::new(""));
            Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
        })
        .unwrap_or(absolute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(paths: &TenantPaths, url: &str) -> Result<String, TenantError> {
        let id = "acme".parse().unwrap();
        paths.settle(&id, &url.into()).map(|database| database.path().to_string_lossy().into_owned())
    }

    #[test]
    fn one_file_has_one_name_whatever_links_and_roots_lead_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let paths = TenantPaths::below(&root, &Config::default(), None);
        std::fs::create_dir_all(root.join("tenants/shops")).unwrap();
        std::os::unix::fs::symlink(root.join("tenants"), root.join("link")).unwrap();
        std::os::unix::fs::symlink("shops/real.db", root.join("tenants/alias.db")).unwrap();
        std::fs::write(root.join("tenants/shops/real.db"), "").unwrap();
        let absolute = |path: &str| format!("sqlite://{}/{path}", root.display());
        for (url, path) in [
            ("sqlite://new.db", "new.db"),
            (&*absolute("tenants/new.db"), "new.db"),
            (&*absolute("link/new.db"), "new.db"),
            ("sqlite://alias.db", "shops/real.db"),
            ("sqlite:///elsewhere/x.db", "/elsewhere/x.db"),
        ] {
            assert_eq!(settled(&paths, url).unwrap(), path, "{url}");
        }
    }

    #[test]
    fn the_gateways_own_files_are_nobodys_database() {
        let directory = tempfile::tempdir().unwrap();
        let credentials = directory.path().join("credentials");
        let paths = TenantPaths::below(directory.path(), &Config::default(), Some(&credentials));
        for own in ["registry.db", "seal.key", "credentials/seal.key"] {
            let url = format!("sqlite://{}/{own}", directory.path().display());
            assert!(matches!(settled(&paths, &url), Err(TenantError::OwnFile(_))), "{own}");
        }
    }
}

//! Restoring a backup: read it once, wrap by wrap, into files beside their places; prove it whole; then rename.
//! It must never touch a file that is in use: the caller holds the state directory's lock.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
};

use aws_lc_rs::digest;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{
    ArchiveProblem, CHECKSUMS, Checksums, FILES, FORMAT, MANIFEST, Manifest, REGISTRY, SEAL_KEY,
    SMALL_BYTES_MAX, hex, place::Placement,
};
use crate::{
    admin::{Places, scratch, wrap::Wrap},
    state_lock::StateLock,
};

/// What to restore into.
pub(crate) struct Restore {
    /// The files' places.
    pub(crate) places: Places,
    /// What opens the secrets.
    pub(crate) passphrase: Zeroizing<String>,
    /// Replace what is there?
    pub(crate) force: bool,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Restored {
    /// When the backup was made.
    pub(crate) created: Timestamp,
    /// How many tenants' databases it held.
    pub(crate) databases: usize,
    /// How many files in all.
    pub(crate) files: usize,
}

/// Restore all of it or nothing. `check` proves a database sound before it is put in place.
pub(crate) fn restore(
    archive: impl Read,
    order: &Restore,
    check: impl Fn(&Path) -> Result<(), String>,
) -> Result<Restored, ArchiveProblem> {
    if !order.force {
        refuse_unless_empty(&order.places.state_dir)?;
    }
    let mut tar = tar::Archive::new(archive);
    let mut entries = tar.entries().map_err(no_archive)?;
    let first = entries.next().ok_or_else(|| no_backup("it is empty"))?.map_err(no_archive)?;
    let mut unpack = Unpack::begin(first, order)?;
    for entry in entries {
        unpack.entry(entry.map_err(no_archive)?)?;
    }
    unpack.finish(check)
}

fn no_backup(what: &str) -> ArchiveProblem {
    ArchiveProblem::NoBackup(what.to_owned())
}

fn no_archive(error: io::Error) -> ArchiveProblem {
    // The tar reader's own words quote the file's bytes, which may be anything; only the system's are for people.
    match error.raw_os_error() {
        Some(_) => ArchiveProblem::Stream(error),
        None => no_backup("it is no tar archive, or was cut or changed"),
    }
}

fn cut() -> ArchiveProblem {
    no_backup("it ends in the middle: it was cut, or is not copied whole yet")
}

fn refuse_unless_empty(directory: &Path) -> Result<(), ArchiveProblem> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(ArchiveProblem::file("read", directory))?,
    };
    for entry in entries {
        let name = entry.map_err(ArchiveProblem::file("read", directory))?.file_name();
        if name != StateLock::FILE_NAME && name != scratch::DIRECTORY_NAME {
            return Err(ArchiveProblem::NotEmpty(directory.to_owned()));
        }
    }
    Ok(())
}

struct Unpack<'a> {
    places: &'a Places,
    manifest: Manifest,
    wrap: Wrap,
    /// Where each entry belongs; taken out as they come.
    expected: BTreeMap<String, PathBuf>,
    placement: Placement,
    seen: Checksums,
    sealed: Option<Checksums>,
}

impl<'a> Unpack<'a> {
    fn begin(entry: tar::Entry<'_, impl Read>, order: &'a Restore) -> Result<Self, ArchiveProblem> {
        if entry.path_bytes().as_ref() != MANIFEST.as_bytes() {
            return Err(no_backup("it does not begin with a manifest"));
        }
        let bytes = small(entry)?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| ArchiveProblem::NoBackup(format!("the manifest cannot be read: {error}")))?;
        if manifest.format != FORMAT {
            return Err(ArchiveProblem::Format(manifest.format));
        }
        let wrap = Wrap::again(&order.passphrase, &manifest.derivation)?;
        let places = &order.places;
        let mut expected = BTreeMap::from([
            (SEAL_KEY.to_owned(), places.seal_key_file.clone()),
            (REGISTRY.to_owned(), places.registry_db.clone()),
        ]);
        for tenant in &manifest.tenants {
            if tenant.path.components().any(|part| part == Component::ParentDir) {
                return Err(no_backup("a tenant's path climbs"));
            }
            // `join` takes an absolute path as it is.
            expected.insert(tenant.entry(), places.state_dir.join("tenants").join(&tenant.path));
        }
        let seen = Checksums::from([(MANIFEST.to_owned(), hex(&digest::digest(&digest::SHA256, &bytes)))]);
        Ok(Self { places, manifest, wrap, expected, placement: Placement::default(), seen, sealed: None })
    }

    fn entry(&mut self, entry: tar::Entry<'_, impl Read>) -> Result<(), ArchiveProblem> {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if self.sealed.is_some() || self.seen.contains_key(&name) {
            return Err(ArchiveProblem::NoBackup(format!("`{name}` comes twice or too late")));
        }
        if name == CHECKSUMS {
            let opened = self.wrap.open(CHECKSUMS, &small(entry)?)?;
            let sealed = serde_json::from_slice(&opened);
            self.sealed = Some(sealed.map_err(|_| no_backup("the checksums cannot be read"))?);
            return Ok(());
        }
        let place = match name.strip_prefix(FILES) {
            Some(relative) => self.places.state_dir.join(plain(relative)?),
            None => self
                .expected
                .remove(&name)
                .ok_or_else(|| ArchiveProblem::NoBackup(format!("`{name}` does not belong in it")))?,
        };
        let checksum = if name.starts_with("secret/") {
            let wrapped = small(entry)?;
            let secret = self.wrap.open(&name, &wrapped)?;
            let mut file = self.placement.stage(&place)?;
            let written = file.write_all(&secret).and_then(|()| file.sync_all());
            written.map_err(ArchiveProblem::file("write", &place))?;
            hex(&digest::digest(&digest::SHA256, &wrapped))
        } else {
            self.database(entry, &place)?
        };
        self.seen.insert(name, checksum);
        Ok(())
    }

    fn database(
        &mut self,
        mut entry: tar::Entry<'_, impl Read>,
        place: &Path,
    ) -> Result<String, ArchiveProblem> {
        let (length_wanted, mut length_read) = (entry.size(), 0);
        let mut file = self.placement.stage(place)?;
        let mut context = digest::Context::new(&digest::SHA256);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = entry.read(&mut buffer).map_err(no_archive)?;
            if length == 0 {
                break;
            }
            length_read += length as u64;
            context.update(&buffer[..length]);
            file.write_all(&buffer[..length]).map_err(ArchiveProblem::file("write", place))?;
        }
        if length_read < length_wanted {
            return Err(cut());
        }
        file.sync_all().map_err(ArchiveProblem::file("write", place))?;
        Ok(hex(&context.finish()))
    }

    fn finish(self, check: impl Fn(&Path) -> Result<(), String>) -> Result<Restored, ArchiveProblem> {
        let sealed = self.sealed.ok_or_else(|| no_backup("its end is missing"))?;
        if sealed != self.seen || !self.expected.is_empty() {
            return Err(no_backup("its content is not what was written"));
        }
        let databases = self.manifest.tenants.len();
        let tenants = self.places.state_dir.join("tenants");
        let own: Vec<PathBuf> = self.manifest.tenants.iter().map(|each| tenants.join(&each.path)).collect();
        for (place, staged) in self.placement.staged() {
            if place == self.places.registry_db || own.iter().any(|path| path == place) {
                check(&staged).map_err(ArchiveProblem::Database)?;
            }
        }
        let files = self.seen.len() - 1;
        self.placement.commit()?;
        Ok(Restored { created: self.manifest.created, databases, files })
    }
}

/// An entry that fits into memory.
fn small(entry: tar::Entry<'_, impl Read>) -> Result<Zeroizing<Vec<u8>>, ArchiveProblem> {
    let mut bytes = Zeroizing::new(Vec::new());
    // The manifest of ten thousand tenants stays below it; so does every wrapped file.
    let (limit, wanted) = (SMALL_BYTES_MAX * 2, entry.size());
    if wanted > limit {
        return Err(no_backup("an entry is too large"));
    }
    entry.take(limit + 1).read_to_end(&mut bytes).map_err(no_archive)?;
    if (bytes.len() as u64) < wanted { Err(cut()) } else { Ok(bytes) }
}

/// A relative path that goes down only.
fn plain(relative: &str) -> Result<PathBuf, ArchiveProblem> {
    let path = PathBuf::from(relative);
    let down = path.components().all(|part| matches!(part, Component::Normal(_)));
    if down && !relative.is_empty() { Ok(path) } else { Err(no_backup("a path leads out of it")) }
}

//! Writing a backup as a stream, while the gateway runs. Blocking: it has a thread of its own.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
};

use aws_lc_rs::digest;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{
    ArchiveProblem, CHECKSUMS, Checksums, FILES, FORMAT, MANIFEST, Manifest, OWN_DIRECTORIES, REGISTRY,
    SEAL_KEY, SMALL_BYTES_MAX, TenantFile, hex,
};
use crate::{
    admin::{Places, Problem, scratch::Scratch, wrap::Wrap},
    tenant::TenantId,
};

/// What goes into the archive.
pub(in crate::admin) struct Contents {
    /// The files.
    pub(in crate::admin) places: Places,
    /// The sealing key as its file has it; a systemd credential may hold it instead of a file.
    pub(in crate::admin) seal_key: Zeroizing<Vec<u8>>,
    /// Certificates and their keys that the configuration names; those in the state directory are taken along.
    pub(in crate::admin) certificates: Vec<PathBuf>,
    /// Tenants with their database's path as in the registry, and the file that is.
    pub(in crate::admin) tenants: Vec<(TenantId, PathBuf, PathBuf)>,
}

/// Write everything to `out`. `copy` makes a consistent copy of a database that is in use, or says why it cannot:
/// that ends the archive, since half a backup that looks whole is worse than none.
pub(in crate::admin) fn write(
    contents: Contents,
    passphrase: &str,
    copy: impl Fn(&Path) -> Result<Scratch, Problem>,
    out: impl Write,
) -> Result<(), ArchiveProblem> {
    let (wrap, derivation) = Wrap::new(passphrase)?;
    // A database that was never opened has no file yet, and is made again on first use.
    let mut tenants = Vec::new();
    for (id, path, file) in contents.tenants {
        if file.try_exists().map_err(ArchiveProblem::file("read", &file))? {
            tenants.push((TenantFile { id, path }, file));
        }
    }
    let (files, skipped) = small_files(&contents.places, &contents.certificates)?;
    for path in &skipped {
        tracing::warn!(path = %path.display(), "not in the backup: not there, or larger than any file of ours");
    }
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        created: Timestamp::now(),
        derivation,
        tenants: tenants.iter().map(|(tenant, _)| tenant.clone()).collect(),
        skipped: skipped.into_iter().collect(),
    };
    let mut archive = Archive { tar: tar::Builder::new(out), wrap, checksums: Checksums::new() };
    let manifest = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| ArchiveProblem::Stream(io::Error::other(error)))?;
    archive.bytes(MANIFEST, &manifest)?;
    archive.wrapped(SEAL_KEY, &contents.seal_key)?;
    let registry = &contents.places.registry_db;
    let scratch = copy(registry).map_err(unfit("the registry".to_owned()))?;
    archive.database(REGISTRY, &scratch)?;
    drop(scratch);
    for relative in files {
        let name = format!("{FILES}{}", relative.display());
        archive.secret(&name, &contents.places.state_dir.join(&relative))?;
    }
    for (tenant, file) in &tenants {
        let scratch = copy(file).map_err(unfit(format!("tenant `{}`", tenant.id)))?;
        archive.database(&tenant.entry(), &scratch)?;
    }
    archive.finish()
}

fn unfit(whose: String) -> impl FnOnce(Problem) -> ArchiveProblem {
    |problem| ArchiveProblem::Copy { whose, problem: Box::new(problem) }
}

struct Archive<W: Write> {
    tar: tar::Builder<W>,
    wrap: Wrap,
    checksums: Checksums,
}

impl<W: Write> Archive<W> {
    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), ArchiveProblem> {
        self.checksums.insert(name.to_owned(), hex(&digest::digest(&digest::SHA256, bytes)));
        self.append(name, bytes.len() as u64, bytes)
    }

    fn append(&mut self, name: &str, length: u64, data: impl Read) -> Result<(), ArchiveProblem> {
        let mut header = tar::Header::new_gnu();
        header.set_size(length);
        header.set_mode(0o600);
        header.set_entry_type(tar::EntryType::Regular);
        Ok(self.tar.append_data(&mut header, name, data)?)
    }

    /// A secret file, wrapped under the entry's name.
    fn secret(&mut self, name: &str, path: &Path) -> Result<(), ArchiveProblem> {
        let secret = Zeroizing::new(std::fs::read(path).map_err(ArchiveProblem::file("read", path))?);
        self.wrapped(name, &secret)
    }

    fn wrapped(&mut self, name: &str, secret: &[u8]) -> Result<(), ArchiveProblem> {
        let wrapped = self.wrap.wrap(name, secret)?;
        self.bytes(name, &wrapped)
    }

    /// A database's copy.
    fn database(&mut self, name: &str, scratch: &Scratch) -> Result<(), ArchiveProblem> {
        let wrong = |error| ArchiveProblem::file("read", scratch.path())(error);
        let file = std::fs::File::open(scratch.path()).map_err(wrong)?;
        let length = file.metadata().map_err(wrong)?.len();
        let mut reader = Hashed { inner: file, context: digest::Context::new(&digest::SHA256) };
        self.append(name, length, &mut reader)?;
        self.checksums.insert(name.to_owned(), hex(&reader.context.finish()));
        Ok(())
    }

    fn finish(mut self) -> Result<(), ArchiveProblem> {
        let checksums = serde_json::to_vec(&self.checksums)
            .map_err(|error| ArchiveProblem::Stream(io::Error::other(error)))?;
        let sealed = self.wrap.wrap(CHECKSUMS, &checksums)?;
        self.append(CHECKSUMS, sealed.len() as u64, &sealed[..])?;
        self.tar.into_inner()?.flush()?;
        Ok(())
    }
}

/// Counts what passes into a checksum.
struct Hashed<R> {
    inner: R,
    context: digest::Context,
}

impl<R: Read> Read for &mut Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.context.update(&buffer[..length]);
        Ok(length)
    }
}

/// What goes in as small secret files, and what of it does not; relative to the state directory.
fn small_files(
    places: &Places,
    certificates: &[PathBuf],
) -> Result<(BTreeSet<PathBuf>, BTreeSet<PathBuf>), ArchiveProblem> {
    let own = own_files(places)?;
    let below = |path: &PathBuf| Some(path.strip_prefix(&places.state_dir).ok()?.to_owned());
    let plain = |path: &PathBuf| path.components().all(|part| matches!(part, Component::Normal(_)));
    let named = certificates.iter().filter_map(below).filter(plain);
    let (mut small, mut skipped) = (BTreeSet::new(), BTreeSet::new());
    for relative in own.into_iter().chain(named) {
        let path = places.state_dir.join(&relative);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() <= SMALL_BYTES_MAX => small.insert(relative),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ArchiveProblem::file("read", path)(error));
            }
            // A gateway that runs goes on with what it has read: a certificate that is gone spoils no backup.
            _ => skipped.insert(relative),
        };
    }
    Ok((small, skipped))
}

/// The files of our own directories, relative to the state directory.
fn own_files(places: &Places) -> Result<Vec<PathBuf>, ArchiveProblem> {
    let mut files = Vec::new();
    let mut directories: Vec<_> = OWN_DIRECTORIES.iter().map(|name| places.state_dir.join(name)).collect();
    // Which of them there are depends on the configuration.
    directories.retain(|directory| directory.is_dir());
    while let Some(directory) = directories.pop() {
        let wrong = |error| ArchiveProblem::file("read", &directory)(error);
        for entry in std::fs::read_dir(&directory).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(wrong)?);
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() && path != places.seal_key_file && !is_left_over(&path) {
                files.push(path.strip_prefix(&places.state_dir).unwrap_or(&path).to_owned());
            }
        }
    }
    Ok(files)
}

/// Did a restore that was cut off leave it?
fn is_left_over(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    [super::place::STAGED, super::place::ASIDE].iter().any(|word| extension == *word)
}

//! Writing a backup as a stream, while the gateway runs. Blocking: it has a thread of its own.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{
    ArchiveProblem, CHECKSUMS, Checksums, FILES, FORMAT, MANIFEST, Manifest, OWN_DIRECTORIES, REGISTRY,
    SEAL_KEY, SMALL_BYTES_MAX, TenantFile, hex,
};
use crate::{
    admin::{Places, scratch::Scratch, wrap::Wrap},
    tenant::TenantId,
};

/// What goes into the archive.
pub(in crate::admin) struct Contents {
    /// The files.
    pub(in crate::admin) places: Places,
    /// The sealing key as its file has it; a systemd credential may hold it instead of a file.
    pub(in crate::admin) seal_key: Zeroizing<Vec<u8>>,
    /// Tenants with their database's path as in the registry, and the file that is.
    pub(in crate::admin) tenants: Vec<(TenantId, PathBuf, PathBuf)>,
}

/// Write everything to `out`. `copy` makes a consistent copy of a database that is in use.
pub(in crate::admin) fn write(
    contents: Contents,
    passphrase: &str,
    copy: impl Fn(&Path) -> Result<Scratch, String>,
    out: impl Write,
) -> Result<(), ArchiveProblem> {
    let (wrap, derivation) = Wrap::new(passphrase)?;
    // A database that was never opened has no file yet, and is made again on first use.
    let present = |(id, path, file): (TenantId, PathBuf, PathBuf)| {
        file.exists().then_some((TenantFile { id, path }, file))
    };
    let tenants: Vec<_> = contents.tenants.into_iter().filter_map(present).collect();
    let (files, skipped) = small_files(&contents.places)?;
    for path in &skipped {
        tracing::warn!(path = %path.display(), "not in the backup: larger than any file of ours");
    }
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        created: Timestamp::now(),
        derivation,
        tenants: tenants.iter().map(|(tenant, _)| tenant.clone()).collect(),
        skipped,
    };
    let mut archive = Archive { tar: tar::Builder::new(out), wrap, checksums: Checksums::new() };
    let manifest = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| ArchiveProblem::Stream(io::Error::other(error)))?;
    archive.bytes(MANIFEST, &manifest)?;
    archive.wrapped(SEAL_KEY, &contents.seal_key)?;
    archive.database(REGISTRY, &contents.places.registry_db, &copy)?;
    for relative in files {
        let name = format!("{FILES}{}", relative.display());
        archive.secret(&name, &contents.places.state_dir.join(&relative))?;
    }
    for (tenant, file) in &tenants {
        archive.database(&tenant.entry(), file, &copy)?;
    }
    archive.finish()
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

    /// A consistent copy of a database.
    fn database(
        &mut self,
        name: &str,
        path: &Path,
        copy: impl Fn(&Path) -> Result<Scratch, String>,
    ) -> Result<(), ArchiveProblem> {
        let scratch = copy(path).map_err(ArchiveProblem::Database)?;
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

/// The files of our own directories, relative to the state directory, and those that are too large to be ours.
fn small_files(places: &Places) -> Result<(Vec<PathBuf>, Vec<PathBuf>), ArchiveProblem> {
    let (mut small, mut large) = (Vec::new(), Vec::new());
    let mut directories: Vec<_> = OWN_DIRECTORIES.iter().map(|name| places.state_dir.join(name)).collect();
    // Which of them there are depends on the configuration.
    directories.retain(|directory| directory.is_dir());
    while let Some(directory) = directories.pop() {
        let wrong = |error| ArchiveProblem::file("read", &directory)(error);
        for entry in std::fs::read_dir(&directory).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(wrong)?);
            let relative = path.strip_prefix(&places.state_dir).unwrap_or(&path).to_owned();
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() && path != places.seal_key_file && !is_left_over(&path) {
                let length = entry.metadata().map_err(wrong)?.len();
                if length > SMALL_BYTES_MAX { large.push(relative) } else { small.push(relative) }
            }
        }
    }
    small.sort();
    large.sort();
    Ok((small, large))
}

/// Did a restore that was cut off leave it?
fn is_left_over(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    [super::place::STAGED, super::place::ASIDE].iter().any(|word| extension == *word)
}

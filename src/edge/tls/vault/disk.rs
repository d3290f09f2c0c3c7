//! One directory a certificate, put in place by a rename: killed at any moment, there is the old one or the new one
//! after the next start. Keys are 0600 from their first byte on.
//!
//! A new one is written beside the old as `.new-ID`, whole and synced; then the old becomes `.old-ID`, and the new
//! takes its place. What a killed process leaves behind is put right by `prepare`.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{super::super::EdgeError, Pair};

/// The chain's file.
pub(super) const CHAIN: &str = "chain.pem";

/// The key's file.
pub(super) const KEY: &str = "key.pem";

/// A chain of four with a hundred names is 20 KiB.
const FILE_BYTES_MAX: u64 = 128 * 1024;

/// What a file name can have, less the longest prefix.
const ID_BYTES_MAX: usize = 245;

const NEW: &str = ".new-";
const OLD: &str = ".old-";
const GONE: &str = ".gone-";

/// What lies in one directory.
pub(super) struct Texts {
    pub(super) chain: String,
    pub(super) key: Zeroizing<String>,
}

/// An id is the name of a directory.
pub(super) fn check_id(place: &Path, id: &str) -> Result<(), EdgeError> {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.starts_with('.') || !id.bytes().all(fine) {
        let reason = format!("`{id}` cannot be the name of a directory here");
        return Err(EdgeError::Certificate { path: place.to_owned(), reason });
    }
    Ok(())
}

/// Make the directory of one kind, for us alone, and put right what a killed process left in it.
pub(super) fn prepare(place: &Path) -> Result<(), EdgeError> {
    let failed = |source| EdgeError::File { path: place.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(place).map_err(failed)?;
    for directory in place.parent().into_iter().chain([place]) {
        private(directory, 0o700).map_err(failed)?;
    }
    let names = names(place)?;
    for id in names.iter().filter_map(|name| name.strip_prefix(OLD)) {
        if place.join(id).exists() {
            continue;
        }
        // The old one was put aside only after the new one was whole.
        let fresh = place.join(format!("{NEW}{id}"));
        let from = if whole(&fresh) { fresh } else { place.join(format!("{OLD}{id}")) };
        fs::rename(&from, place.join(id)).map_err(failed)?;
    }
    for name in names.iter().filter(|name| name.starts_with('.')) {
        clear(&place.join(name)).map_err(failed)?;
    }
    Ok(())
}

fn whole(directory: &Path) -> bool {
    read(directory).is_ok_and(|texts| Pair::read(texts.chain.as_bytes(), texts.key.as_bytes()).is_ok())
}

/// The ids in a directory.
pub(super) fn entries(place: &Path) -> Result<Vec<String>, EdgeError> {
    Ok(names(place)?.into_iter().filter(|name| check_id(place, name).is_ok()).collect())
}

/// Read one.
pub(super) fn read(directory: &Path) -> Result<Texts, EdgeError> {
    let text = |name: &str| {
        let path = directory.join(name);
        read_file(&path).map_err(|source| EdgeError::File { path, source })
    };
    let key = Zeroizing::new(text(KEY)?);
    private(&directory.join(KEY), 0o600)
        .map_err(|source| EdgeError::File { path: directory.join(KEY), source })?;
    Ok(Texts { chain: text(CHAIN)?, key })
}

/// Write one in place of what is there.
pub(super) fn write(place: &Path, id: &str, texts: &Texts) -> Result<(), EdgeError> {
    let [fresh, old] = [NEW, OLD].map(|prefix| place.join(format!("{prefix}{id}")));
    let path = place.join(id);
    let written = (|| {
        clear(&fresh)?;
        if path.exists() {
            clear(&old)?;
        }
        fs::DirBuilder::new().mode(0o700).create(&fresh)?;
        write_file(&fresh.join(CHAIN), texts.chain.as_bytes())?;
        write_file(&fresh.join(KEY), texts.key.as_bytes())?;
        sync(&fresh)?;
        // The name `.new-ID` must be on disk before the old one loses its own.
        sync(place)?;
        if path.exists() {
            fs::rename(&path, &old)?;
        }
        if let Err(error) = fs::rename(&fresh, &path) {
            if let Err(back) = fs::rename(&old, &path) {
                tracing::error!("{} is put back at the next start: {back}", old.display());
            }
            return Err(error);
        }
        sync(place)
    })();
    if let Err(source) = written {
        clear(&fresh).ok();
        return Err(EdgeError::File { path, source });
    }
    if let Err(error) = clear(&old) {
        tracing::warn!("the certificate before this one cannot be removed, {}: {error}", old.display());
    }
    Ok(())
}

/// Remove one; the rename makes it whole or not at all.
pub(super) fn remove(place: &Path, id: &str) -> Result<(), EdgeError> {
    let (path, gone) = (place.join(id), place.join(format!("{GONE}{id}")));
    let removed = clear(&gone).and_then(|()| match fs::rename(&path, &gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync(place).and_then(|()| clear(&gone)),
    });
    removed.map_err(|source| EdgeError::File { path, source })
}

fn names(place: &Path) -> Result<Vec<String>, EdgeError> {
    let list = || {
        let mut names: Vec<String> = fs::read_dir(place)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()?;
        names.sort_unstable();
        Ok(names)
    };
    list().map_err(|source| EdgeError::File { path: place.to_owned(), source })
}

/// Take from others what a restore or a hand has given them.
fn private(path: &Path, mode: u32) -> io::Result<()> {
    let found = fs::metadata(path)?.permissions().mode() & 0o777;
    if found & !mode != 0 {
        tracing::warn!("{} was open to others (mode {found:o}); closed", path.display());
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    match u64::try_from(text.len()) {
        Ok(length) if length <= FILE_BYTES_MAX => Ok(text),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large for a certificate")),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// Remove a directory, or whatever lies there under its name.
fn clear(path: &PathBuf) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

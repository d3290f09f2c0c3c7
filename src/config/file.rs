//! The configuration's files: which they are, and their text. The only reader of configuration files.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{Problem, Problems, layer::Layer};

/// Where the configuration is unless somebody says otherwise.
pub(super) const DEFAULT: &str = "/etc/gateway/gateway.toml";

/// The directory beside the file whose `*.toml` are laid over it.
const DIRECTORY: &str = "conf.d";

/// A thousand tenants are about 300 KB of TOML; what is fifty times that is no configuration.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The file itself and those in `conf.d` beside it, in the order in which they are laid over each other.
pub(super) fn list(main: &Path) -> Result<Vec<PathBuf>, Problems> {
    let directory = main.parent().unwrap_or(Path::new("/")).join(DIRECTORY);
    let mut files = vec![main.to_owned()];
    if directory.is_dir() {
        let entries = fs::read_dir(&directory).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let entries = entries.map_err(|error| unreadable(&directory, &error))?;
        let mut more: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        // Editors leave `.name.toml.swp` and `.#name.toml` behind: what begins with a dot is not meant.
        more.retain(|path| path.extension().is_some_and(|e| e == "toml") && !is_hidden(path));
        more.sort();
        files.extend(more);
    }
    Ok(files)
}

/// The layer of one file, or every reason why there is none.
pub(super) fn read(path: &Path) -> Result<Layer, Vec<Problem>> {
    let text = text(path).map_err(|problems| problems.0)?;
    Layer::of_toml(&path.display().to_string(), &text)
}

/// The text of one file.
pub(super) fn text(path: &Path) -> Result<String, Problems> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| unreadable(path, &error))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Problems::from(Problem {
            source: path.display().to_string(),
            line: None,
            key: String::new(),
            value: None,
            message: format!("the file is longer than {} MiB", BYTES_MAX / 1024 / 1024),
            remedy: "name the configuration file, not its data".to_owned(),
        }));
    }
    Ok(text)
}

/// A file that should be there and cannot be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    let remedy = match error.kind() {
        std::io::ErrorKind::NotFound => "make the file, or name another with --config FILE or GATEWAY_CONFIG",
        std::io::ErrorKind::PermissionDenied => "let the gateway's user read it, or run this as that user",
        std::io::ErrorKind::InvalidData => "save the file as UTF-8",
        _ => "name a readable file with --config FILE or GATEWAY_CONFIG",
    };
    Problem {
        source: path.display().to_string(),
        line: None,
        key: String::new(),
        value: None,
        message: format!("the file cannot be read: {error}"),
        remedy: remedy.to_owned(),
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'))
}

/// The text of a file that is nobody else's business, or why it cannot be had.
pub(super) fn secret(path: &Path) -> Result<String, String> {
    let mode = fs::metadata(path).map(|meta| meta.permissions().mode());
    let text = mode.and_then(|mode| Ok((mode, fs::read_to_string(path)?)));
    match text {
        Ok((mode, _)) if mode & 0o077 != 0 => {
            Err(format!("{} can be read by others than its owner (chmod 600 it)", path.display()))
        }
        Ok((_, text)) => Ok(text),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

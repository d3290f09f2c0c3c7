//! A package: a tar archive, compressed with gzip or not. What is in it comes from a build machine and is not
//! trusted: no path leads out of the release, no link points out of it, and size and number have limits.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Permissions},
    io::{BufReader, Read, Seek},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, Entry, EntryType, PaxExtensions};

/// The first bytes of what gzip wrote.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Where `npm pack` puts everything.
const NPM_TOP: &str = "package";

/// Longest name of a file or link that an archive spells out in an entry of its own, with all else that such an entry
/// may say (PAX); the library reads it whole into memory. The kernel takes no path above 4 KiB.
const NAME_BYTES_MAX: u64 = 64 * 1024;

/// What all in an archive is a multiple of. At least one of zeros is its end: without it, whoever sent it was cut off.
const BLOCK_BYTES: u64 = 512;

/// Links on the way to a file; the kernel follows no more either.
const LINKS_MAX: usize = 40;

/// How much is taken.
#[derive(Debug, Clone, Copy)]
pub(in crate::backend) struct Bounds {
    /// Bytes of all files.
    pub(in crate::backend) bytes_max: u64,
    /// Files and directories.
    pub(in crate::backend) files_max: u64,
    /// What raises the first.
    pub(in crate::backend) bytes_key: &'static str,
    /// And the second.
    pub(in crate::backend) files_key: &'static str,
}

/// Unpack into an empty directory; how many files and directories there were, or what is wrong. The caller removes
/// what a failure leaves. It is read twice: first for how large everything is, whatever it says it is.
pub(in crate::backend) fn unpack(package: &Path, into: &Path, bounds: Bounds) -> Result<u64, String> {
    let unread = |error: std::io::Error| format!("it cannot be read ({error})");
    let open = || opened(package).map_err(unread);
    let mut first = Vec::new();
    File::open(package).and_then(|file| file.take(8).read_to_end(&mut first)).map_err(unread)?;
    measure(open()?, bounds).map_err(|reason| match other_kind(&first) {
        Some(kind) if reason == NOT_WHOLE => format!("{reason}, but one of {kind}: pack it with `tar cz`"),
        _ => reason,
    })?;
    entries(open()?, into, bounds)
}

fn opened(package: &Path) -> std::io::Result<Box<dyn Read>> {
    let mut file = File::open(package)?;
    let mut magic = [0; 2];
    let compressed = file.read_exact(&mut magic).is_ok() && magic == GZIP_MAGIC;
    file.rewind()?;
    let reader = BufReader::new(file);
    Ok(if compressed { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

/// Is everything within its limits? Nothing is kept in memory meanwhile.
fn measure(reader: impl Read, bounds: Bounds) -> Result<(), String> {
    let mut read = Counted { reader, bytes: 0 };
    let entries_end = measured(limited(&mut read, bounds), bounds)?;
    // Where an entry ends, the library takes the end of the file for that of the archive.
    match read.bytes < entries_end.saturating_add(BLOCK_BYTES) {
        true => Err("it is no whole tar archive (the mark of its end is missing)".to_owned()),
        false => Ok(()),
    }
}

/// Where the last entry ends.
fn measured(mut archive: Archive<impl Read>, bounds: Bounds) -> Result<u64, String> {
    let (mut files, mut bytes, mut entries_end) = (0, 0_u64, 0);
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        let size = entry.size();
        entries_end =
            entry.raw_file_position().saturating_add(size.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES));
        match entry.header().entry_type() {
            EntryType::GNULongName
            | EntryType::GNULongLink
            | EntryType::XHeader
            | EntryType::XGlobalHeader
                if size > NAME_BYTES_MAX =>
            {
                return Err(format!("a name in it has more than {NAME_BYTES_MAX} bytes"));
            }
            EntryType::XHeader => plain_size(&mut entry)?,
            EntryType::GNULongName | EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            EntryType::GNUSparse => return Err("it has sparse files".to_owned()),
            _ => {
                files += 1;
                bytes = bytes.saturating_add(size);
            }
        }
        if files > bounds.files_max {
            return Err(format!("it has more than {} files ({})", bounds.files_max, bounds.files_key));
        }
        if bytes > bounds.bytes_max {
            return Err(format!(
                "its files have more than {} bytes ({})",
                bounds.bytes_max, bounds.bytes_key
            ));
        }
    }
    Ok(entries_end)
}

/// Knows how much has been read.
struct Counted<R> {
    reader: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(into)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// An extension (PAX) may say another size than the header; unpacking would go by it, and what is measured here by the
/// header would not be what is unpacked. Nobody needs it below 8 GiB.
fn plain_size(entry: &mut Entry<'_, impl Read>) -> Result<(), String> {
    let mut records = Vec::new();
    entry.read_to_end(&mut records).map_err(broken)?;
    for record in PaxExtensions::new(&records) {
        if record.map_err(broken)?.key_bytes() == b"size" {
            return Err("it says the size of a file twice (PAX)".to_owned());
        }
    }
    Ok(())
}

const NOT_WHOLE: &str = "it is no whole tar archive";

/// What the library says of it holds bytes of the file, which may be anything.
fn broken(_error: std::io::Error) -> String {
    NOT_WHOLE.to_owned()
}

/// What is sent in place of a tar archive, by its first bytes.
fn other_kind(magic: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], _); 4] =
        [(b"PK", "zip"), (b"\xfd7zXZ", "xz"), (b"BZh", "bzip2"), (b"\x28\xb5\x2f\xfd", "zstd")];
    kinds.into_iter().find(|(begins, _)| magic.starts_with(begins)).map(|(_, kind)| kind)
}

/// Of what unpacks to more than its files may be, with their headers and padding, no more is read.
fn limited<R: Read>(reader: R, bounds: Bounds) -> Archive<impl Read> {
    let read_max = bounds.bytes_max.saturating_add(bounds.files_max.saturating_mul(4096));
    Archive::new(reader.take(read_max))
}

/// The directory that is the release: the package's own, or the one that `npm pack` wraps around it.
pub(super) fn top(unpacked: &Path) -> PathBuf {
    let wrapped = unpacked.join(NPM_TOP);
    let alone = std::fs::read_dir(unpacked).is_ok_and(|entries| entries.count() == 1);
    if alone && wrapped.join("package.json").is_file() { wrapped } else { unpacked.to_owned() }
}

fn entries(reader: impl Read, into: &Path, bounds: Bounds) -> Result<u64, String> {
    let mut archive = limited(reader, bounds);
    archive.set_preserve_permissions(false);
    // Whatever the archive says, only its owner writes.
    archive.set_mask(0o022);
    archive.set_unpack_xattrs(false);
    // The release is as old as its deploy: by that the oldest are told.
    archive.set_preserve_mtime(false);
    let mut files = 0;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        files += 1;
        if files > bounds.files_max {
            return Err(format!("it has more than {} files ({})", bounds.files_max, bounds.files_key));
        }
        check(&entry)?;
        let path = entry.path().map_err(broken)?.display().to_string();
        let unfit = |error| format!("`{path}` cannot be unpacked ({error})");
        if !entry.unpack_in(into).map_err(unfit)? {
            return Err(format!("`{path}` leads out of the release"));
        }
        if entry.header().entry_type() == EntryType::Directory {
            open_to_its_owner(&into.join(&*entry.path().map_err(broken)?)).map_err(unfit)?;
        }
    }
    if files == 0 { Err("it is empty".to_owned()) } else { Ok(files) }
}

/// Some build tools leave directories that not even their owner may write to, and what is in them comes after them.
fn open_to_its_owner(directory: &Path) -> std::io::Result<()> {
    let found = std::fs::symlink_metadata(directory)?;
    let mode = found.permissions().mode();
    // A link in its place was there before, and what it leads to is another entry's.
    if found.is_dir() && mode & 0o700 != 0o700 {
        std::fs::set_permissions(directory, Permissions::from_mode(mode & 0o777 | 0o700))?;
    }
    Ok(())
}

fn check(entry: &Entry<'_, impl Read>) -> Result<(), String> {
    let path = entry.path().map_err(|error| format!("a name cannot be read ({error})"))?;
    let shown = path.display();
    let Some(depth) = depth(&path, 0) else {
        return Err(format!("`{shown}` leads out of the release"));
    };
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::Directory => Ok(()),
        // Names its target from the top: the archive's own way to say that two files are one. A link that it names is as
        // good as the copy.
        EntryType::Link => {
            let target = entry.link_name().ok().flatten();
            let inside = target.is_some_and(|target| self::depth(&target, 0).is_some());
            if inside { Ok(()) } else { Err(format!("the link `{shown}` points out of the release")) }
        }
        EntryType::Symlink => {
            let target = entry.link_name().ok().flatten();
            let inside = target.is_some_and(|target| self::depth(&target, depth.saturating_sub(1)).is_some());
            if inside { Ok(()) } else { Err(format!("the link `{shown}` points out of the release")) }
        }
        _ => Err(format!("`{shown}` is neither a file nor a directory nor a link")),
    }
}

/// How deep in the release a path ends that begins at this depth; none when it leaves it on the way.
fn depth(path: &Path, from: usize) -> Option<usize> {
    path.components().try_fold(from, |depth, component| match component {
        Component::Normal(_) => Some(depth + 1),
        Component::CurDir => Some(depth),
        Component::ParentDir => depth.checked_sub(1),
        Component::RootDir | Component::Prefix(_) => None,
    })
}

/// Does every link in the release stay in it, also by the links that it leads through? One by itself may: `b -> a/..` does
/// until `a` is a link as well.
pub(super) fn check_links(release: &Path) -> Result<(), String> {
    let mut directories = vec![release.to_owned()];
    while let Some(directory) = directories.pop() {
        let unreadable = |error| format!("what was unpacked cannot be read again ({error})");
        for entry in std::fs::read_dir(&directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let (kind, path) = (entry.file_type().map_err(unreadable)?, entry.path());
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_symlink() && !stays_in(release, &path) {
                let shown = path.strip_prefix(release).unwrap_or(&path).display();
                return Err(format!("the link `{shown}` points out of the release"));
            }
        }
    }
    Ok(())
}

/// Walk a path as the kernel does, and see whether that leaves the release on the way. What it leads to need not exist.
fn stays_in(release: &Path, link: &Path) -> bool {
    let Ok(inside) = link.strip_prefix(release) else { return false };
    let (mut here, mut links) = (release.to_owned(), 0);
    let mut ahead: Vec<OsString> = inside.iter().rev().map(OsStr::to_owned).collect();
    while let Some(step) = ahead.pop() {
        match Path::new(&step).components().next() {
            Some(Component::Normal(name)) => here.push(name),
            Some(Component::ParentDir) if here != release => drop(here.pop()),
            Some(Component::CurDir) | None => {}
            Some(Component::ParentDir | Component::RootDir | Component::Prefix(_)) => return false,
        }
        if let Ok(target) = std::fs::read_link(&here) {
            links += 1;
            if links > LINKS_MAX {
                return false;
            }
            here.pop();
            // Its root comes first, if it has one.
            ahead.extend(target.iter().rev().map(OsStr::to_owned));
        }
    }
    true
}

#[cfg(test)]
mod tests;

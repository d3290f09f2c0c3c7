//! The path that a caller asks for, as one below the root or as none. Strict: what could lead out of the root, to a
//! hidden file, or be read in two ways leads nowhere, whatever the disk would make of it.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::Path};

/// Clients ask for certificates' proofs and the like below it; everything else that begins with a dot is hidden.
const WELL_KNOWN: &[u8] = b".well-known";

/// A path below the root, decoded, without slashes at its ends; `.` is the root itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    path: OsString,
    /// It ended in a slash.
    pub(super) is_directory: bool,
}

impl Asked {
    /// Read a path that begins with a slash, as it stands in a request's head.
    pub(super) fn read(path: &str) -> Option<Self> {
        let mut decoded: Vec<u8> = Vec::with_capacity(path.len());
        let mut segments = path.strip_prefix('/')?.split('/').peekable();
        let mut is_directory = false;
        while let Some(segment) = segments.next() {
            if segment.is_empty() {
                // Only the last one may be: `//` has two readings.
                is_directory = segments.peek().is_none();
                if is_directory { break } else { return None }
            }
            let first = decoded.is_empty();
            if !first {
                decoded.push(b'/');
            }
            let start = decoded.len();
            decode(segment, &mut decoded)?;
            let name = &decoded[start..];
            let hidden = name.starts_with(b".") && !(first && name == WELL_KNOWN);
            if hidden || name.is_empty() {
                return None;
            }
        }
        if decoded.is_empty() {
            decoded.push(b'.');
        }
        Some(Self { path: OsString::from_vec(decoded), is_directory })
    }

    /// Relative, for `openat`.
    pub(super) fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    /// Has the last segment an ending, such as `.js`? Addresses of pages have none.
    pub(super) fn has_extension(&self) -> bool {
        !self.is_directory && self.path().extension().is_some()
    }
}

/// Undo percent-encoding of one segment. None for what no honest caller sends: half an escape, a slash, a backslash or
/// a control character.
fn decode(segment: &str, into: &mut Vec<u8>) -> Option<()> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' { digit(bytes.next())? << 4 | digit(bytes.next())? } else { byte };
        if byte == b'/' || byte == b'\\' || byte.is_ascii_control() {
            return None;
        }
        into.push(byte);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_is_read_as_it_is_written() {
        for (path, want, is_directory) in [
            ("/", ".", true),
            ("/a.txt", "a.txt", false),
            ("/a/b/", "a/b", true),
            ("/a%20b", "a b", false),
            ("/%61", "a", false),
            ("/caf%C3%A9", "café", false),
            ("/a..b/c...", "a..b/c...", false),
            ("/.well-known/security.txt", ".well-known/security.txt", false),
        ] {
            let asked = Asked::read(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((asked.path().to_str().unwrap(), asked.is_directory), (want, is_directory), "{path}");
        }
    }

    #[test]
    fn what_leads_out_or_is_hidden_or_has_two_readings_leads_nowhere() {
        let corpus = include_str!("../../../../tests/data/sites/hostile-paths.txt");
        let paths: Vec<_> =
            corpus.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert!(paths.len() > 30, "the corpus is gone");
        for path in paths {
            assert_eq!(Asked::read(path), None, "{path}");
        }
    }
}

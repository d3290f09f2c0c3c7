//! How a caller knows a version of a file again: a strong entity tag and a date. Two different contents of a file must
//! never carry the same tag.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime},
};

use http::HeaderValue;

use super::super::super::compress::Coding;

/// A version of a file.
#[derive(Debug, Clone)]
pub(super) struct Validators {
    /// Strong, in its quotes.
    pub(super) tag: HeaderValue,
    /// To the second, as HTTP says dates.
    pub(super) modified: Option<SystemTime>,
}

impl Validators {
    /// Of a file, itself perhaps a coded sibling.
    pub(super) fn of(metadata: &Metadata, coding: Option<Coding>) -> Self {
        // The time of the last change beside that of the content: archives and images restore the latter, and a
        // replaced file of the same length would pass for the old one.
        let stamp =
            |seconds: i64, nanoseconds: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds);
        let modified = stamp(metadata.mtime(), metadata.mtime_nsec());
        let changed = stamp(metadata.ctime(), metadata.ctime_nsec());
        let ending = coding.map_or("", Coding::ending).replace('.', "-");
        let tag = format!("\"{:x}-{modified:x}-{changed:x}{ending}\"", metadata.len());
        let seconds = u64::try_from(metadata.mtime()).ok().map(Duration::from_secs);
        Self {
            // Hexadecimal digits are always a header's value.
            tag: HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\"")),
            modified: seconds.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(seconds)),
        }
    }

    /// `Last-Modified`, unless the file claims to be from the future.
    pub(super) fn last_modified(&self) -> Option<HeaderValue> {
        let modified = self.modified.filter(|modified| *modified <= SystemTime::now())?;
        HeaderValue::try_from(httpdate::fmt_http_date(modified)).ok()
    }
}

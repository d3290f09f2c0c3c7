//! Which file answers: the one asked for, an index, a smaller sibling, the fallback, the page that says there is
//! nothing. Pure but for opening; it must be able to run on a thread that may wait, so it borrows nothing of a request.

use std::{
    ffi::OsString,
    fs::{File, Metadata},
    path::{Path, PathBuf},
    sync::Arc,
};

use http::{HeaderValue, StatusCode};

use super::{
    super::super::compress::{Accepted, Coding, Types},
    Files,
    asked::Asked,
    disk::{Entry, Mode, Trouble},
    media,
};

const INDEX: &str = "index.html";

/// Endings of smaller siblings, best first where a caller takes several alike.
const SIBLINGS: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

/// What a request asks of the disk.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) asked: Option<Asked>,
    pub(super) accepted: Accepted,
    pub(super) wants_page: bool,
    /// What is worth compressing, and so may have siblings.
    pub(super) types: Arc<Types>,
}

/// Where the answer is.
#[derive(Debug)]
pub(super) enum Located {
    Page(Box<Page>),
    /// Of this name, with an index: it is found with a slash at the end.
    Directory,
    Missing,
}

/// A file to show.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    pub(super) status: StatusCode,
    pub(super) media_type: HeaderValue,
    /// How the file itself is coded.
    pub(super) coding: Option<Coding>,
    /// Another caller could get it coded otherwise.
    pub(super) is_negotiated: bool,
    /// It answers for something else that is not there.
    pub(super) stands_in: bool,
}

/// Find it.
pub(super) fn locate(files: &Files, question: &Question, mode: Mode) -> Result<Located, Trouble> {
    let Some(asked) = &question.asked else { return not_found(files, question, mode) };
    if asked.is_directory {
        return match open(files, question, &asked.path().join(INDEX), mode)? {
            Some(page) => Ok(found(page)),
            None => missing(files, question, mode),
        };
    }
    match files.root.open(asked.path(), mode) {
        Ok(Entry::File(file, metadata)) => {
            page(files, question, (asked.path(), file, metadata), mode).map(found)
        }
        Ok(Entry::Directory) => match open(files, question, &asked.path().join(INDEX), mode)? {
            Some(_) => Ok(Located::Directory),
            None => missing(files, question, mode),
        },
        Err(Trouble::Absent) => missing(files, question, mode),
        Err(trouble) => Err(trouble),
    }
}

fn found(page: Page) -> Located {
    Located::Page(Box::new(page))
}

/// A single-page application draws pages that no file holds.
fn missing(files: &Files, question: &Question, mode: Mode) -> Result<Located, Trouble> {
    let is_page = question.asked.as_ref().is_some_and(|asked| !asked.has_extension());
    if let Some(fallback) = files.fallback.as_ref().filter(|_| question.wants_page && is_page)
        && let Some(page) = open(files, question, fallback.path(), mode)?
    {
        return Ok(found(Page { stands_in: true, ..page }));
    }
    not_found(files, question, mode)
}

fn not_found(files: &Files, question: &Question, mode: Mode) -> Result<Located, Trouble> {
    let Some(path) = &files.not_found else { return Ok(Located::Missing) };
    let page = open(files, question, path.path(), mode)?;
    let page = page.map(|page| Page { status: StatusCode::NOT_FOUND, stands_in: true, ..page });
    Ok(page.map_or(Located::Missing, found))
}

/// A file, if there is one.
fn open(files: &Files, question: &Question, path: &Path, mode: Mode) -> Result<Option<Page>, Trouble> {
    match files.root.open(path, mode) {
        Ok(Entry::File(file, metadata)) => page(files, question, (path, file, metadata), mode).map(Some),
        Ok(Entry::Directory) | Err(Trouble::Absent) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// The file or, if the caller takes it, a smaller sibling of it.
fn page(
    files: &Files,
    question: &Question,
    (path, file, metadata): (&Path, File, Metadata),
    mode: Mode,
) -> Result<Page, Trouble> {
    let media_type = media::of(path);
    let is_negotiated = question.types.has(&media_type);
    let page = Page {
        file,
        metadata,
        status: StatusCode::OK,
        media_type,
        coding: None,
        is_negotiated,
        stands_in: false,
    };
    if !is_negotiated {
        return Ok(page);
    }
    for coding in question.accepted.in_order(&SIBLINGS) {
        let sibling: PathBuf = OsString::from_iter([path.as_os_str(), coding.ending().as_ref()]).into();
        match files.root.open(&sibling, mode) {
            Ok(Entry::File(file, metadata)) => {
                return Ok(Page { file, metadata, coding: Some(coding), ..page });
            }
            Ok(Entry::Directory) | Err(Trouble::Absent) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(page)
}

//! A site of files: what is asked for, whether the caller has it already, which part it wants, and the bytes. Nothing
//! here may wait for a disk on the edge's thread: what the kernel does not have in memory is left to others.

mod asked;
mod body;
mod conditions;
mod disk;
mod media;
mod page;
mod range;
mod validators;

use std::{path::PathBuf, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};

pub(crate) use self::body::{FileBody, FileReads};
use self::{
    asked::Asked,
    conditions::Verdict,
    disk::{Mode, Root},
    page::{Located, Page, Question},
    range::Wanted,
    validators::Validators,
};
use super::super::{
    admit::FilePlace,
    body::Body,
    compress::{self, Accepted, Holds},
    refusal::Refusal,
    serve::Exchange,
    site::SiteConfig,
};

/// Always asked again before it is used again, which costs an answer without a body: a new version is seen at once.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("no-cache");

/// The files of a site.
#[derive(Debug)]
pub(super) struct Files {
    root: Root,
    /// Below the root, without the slash.
    fallback: Option<Asked>,
    not_found: Option<Asked>,
    cache_control: HeaderValue,
}

impl Files {
    pub(super) fn new(root: PathBuf, site: &SiteConfig, cache_control: Option<HeaderValue>) -> Arc<Self> {
        let page = |path: &Option<String>| path.as_deref().and_then(Asked::read);
        Arc::new(Self {
            root: Root::new(root),
            fallback: page(&site.fallback),
            not_found: page(&site.not_found),
            cache_control: cache_control.unwrap_or(CACHE_CONTROL),
        })
    }

    /// Answer a request; `rest` is its path below the site's own.
    pub(super) async fn answer(
        self: &Arc<Self>,
        exchange: &Exchange,
        head: &Parts,
        rest: &str,
    ) -> Result<Response<Body>, Refusal> {
        if head.method != Method::GET && head.method != Method::HEAD {
            return Err(Refusal::MethodNotAllowed { allow: "GET, HEAD" });
        }
        let (settings, shared) = (&exchange.settings, &exchange.thread.shared);
        // Before anything is opened, and kept with the file: a client that takes nothing holds it.
        let place = shared.admit.enter_files(&settings.admit, exchange.client.address)?;
        let compression = &settings.compression;
        let question = Question {
            // The site's own path without its slash is a directory like any other.
            asked: Asked::read(if rest.is_empty() { "/" } else { rest }),
            accepted: accepted(head),
            wants_page: wants_page(&head.headers),
            types: compression.types.clone(),
        };
        let located = match page::locate(self, &question, Mode::InMemory) {
            Err(disk::Trouble::NotInMemory) => {
                let (files, reads) = (self.clone(), &settings.file_reads);
                let look = move || page::locate(&files, &question, Mode::OnDisk);
                let patience = exchange.terms.first_byte_timeout;
                reads.run(patience, look).await.map_err(|error| Refusal::FileFailed(error.to_string()))?
            }
            found => found,
        };
        match located.map_err(disk::Trouble::refusal)? {
            Located::Page(page) if rest.is_empty() && !page.stands_in => slash(head),
            Located::Directory => slash(head),
            Located::Missing => Err(Refusal::NotFound),
            Located::Page(page) if shared.descriptors.are_nearly_gone(&page.file) => {
                Err(Refusal::NoDescriptor)
            }
            Located::Page(page) => self.show(exchange, head, (*page, place)),
        }
    }

    /// The answer with a page, a part of it, or the word that the caller has it.
    fn show(
        &self,
        exchange: &Exchange,
        head: &Parts,
        (page, place): (Page, FilePlace),
    ) -> Result<Response<Body>, Refusal> {
        let validators = Validators::of(&page.metadata, page.coding);
        let mut headers = HeaderMap::with_capacity(10);
        headers.insert(header::ETAG, validators.tag.clone());
        let cache_control = if page.stands_in { CACHE_CONTROL } else { self.cache_control.clone() };
        headers.insert(header::CACHE_CONTROL, cache_control);
        if page.is_negotiated {
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if let Some(date) = validators.last_modified() {
            headers.insert(header::LAST_MODIFIED, date);
        }
        let bytes = page.metadata.len();
        let mut wanted = Wanted::All;
        if page.status == StatusCode::OK {
            match conditions::judge(head, &validators) {
                Verdict::Failed => return Err(Refusal::PreconditionFailed),
                Verdict::NotModified => return Ok(with(StatusCode::NOT_MODIFIED, headers, Body::Empty)),
                Verdict::Whole => {}
                Verdict::Ranges => wanted = range::of(&head.headers, bytes),
            }
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        headers.insert(header::CONTENT_TYPE, page.media_type);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(coding) = page.coding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        let (status, part) = match wanted {
            Wanted::All => (page.status, 0..bytes),
            Wanted::Part(part) => {
                let range = format!("bytes {}-{}/{bytes}", part.start, part.end - 1);
                headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(range).map_err(broken)?);
                (StatusCode::PARTIAL_CONTENT, part)
            }
            Wanted::Nowhere => return Err(Refusal::RangeNotSatisfiable { bytes }),
        };
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
        let body = if head.method == Method::HEAD || part.is_empty() {
            Body::Empty
        } else {
            let patience = exchange.terms.body_idle_timeout;
            let reads = exchange.settings.file_reads.clone();
            Body::File(FileBody::new((page.file, Some(place)), part, reads, patience))
        };
        Ok(with(status, headers, body))
    }
}

fn broken(error: http::header::InvalidHeaderValue) -> Refusal {
    Refusal::FileFailed(error.to_string())
}

fn with(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

/// A directory's address ends in a slash, or the links in its index would lead elsewhere.
fn slash(head: &Parts) -> Result<Response<Body>, Refusal> {
    // It begins with one slash only: a path with two falls under no file.
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::try_from(format!("{}/{query}", head.uri.path())).map_err(broken)?;
    let headers =
        HeaderMap::from_iter([(header::LOCATION, location), (header::CACHE_CONTROL, CACHE_CONTROL)]);
    Ok(with(StatusCode::PERMANENT_REDIRECT, headers, Body::Empty))
}

/// Which smaller siblings may be shown: those that may be made, too.
fn accepted(head: &Parts) -> Accepted {
    if compress::is_measured(Holds::PublicThings, head) {
        return Accepted::nothing();
    }
    Accepted::of(&head.headers)
}

/// Is this a person's browser on its way to a page? Scripts that ask for data must hear that there is none.
fn wants_page(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| {
        value.split(',').any(|range| range.trim_start().to_ascii_lowercase().starts_with("text/html"))
    })
}

//! `[[edge.site]]`: what else lives on these hosts. It says what is wrong with a site in the words of its operator,
//! and must never look at the disk: that is the check's.

use std::{collections::BTreeMap, path::PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::{backend::Address, tenant::HostName};

use super::location::Location;

/// `[[edge.site]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteConfig {
    /// The host; every served one, if left out.
    #[serde(default)]
    pub(crate) host: Option<HostName>,
    /// The path below which the site begins; the whole host, if left out.
    #[serde(default)]
    pub(crate) path: Option<String>,
    /// A directory with files.
    #[serde(default)]
    pub(crate) root: Option<PathBuf>,
    /// Something else that speaks HTTP: `http://ADDRESS:PORT` or `unix:/PATH`.
    #[serde(default)]
    pub(crate) upstream: Option<String>,
    /// Where to send callers; `{path}` and `{rest}` are filled in.
    #[serde(default)]
    pub(crate) redirect: Option<String>,
    /// The status of `redirect`.
    #[serde(default = "SiteConfig::status_default")]
    pub(crate) status: u16,
    /// The file that answers pages that are not there (single-page applications), with 200.
    #[serde(default)]
    pub(crate) fallback: Option<String>,
    /// The file that answers what is not there, with 404.
    #[serde(default)]
    pub(crate) not_found: Option<String>,
    /// `Cache-Control` of files and redirects.
    #[serde(default)]
    pub(crate) cache_control: Option<String>,
    /// Headers of every answer of the site, in place of its own of the same name.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

/// Headers that say how a message is to be read: another word for one of them would make it another message.
const OF_THE_MESSAGE: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// What is wrong with a site, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SiteProblem {
    /// The key below the site; the site itself, if empty.
    pub(crate) key: &'static str,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

/// What a site does, parsed.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// Shows files.
    Files(PathBuf),
    /// Passes requests on to any of these.
    Upstream(Vec<Address>),
    /// Sends callers elsewhere.
    Redirect(Location),
}

fn problem(key: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> SiteProblem {
    SiteProblem { key, message: message.into(), remedy: remedy.into() }
}

impl SiteConfig {
    fn status_default() -> u16 {
        308
    }

    /// How it is called in logs and in status: `www.acme.example`, `api.acme.example/docs`, `*/landing`.
    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.host.as_ref().map_or("*", HostName::as_str), self.prefix())
    }

    /// The path without a slash at its end; empty for the whole host.
    pub(crate) fn prefix(&self) -> &str {
        self.path.as_deref().unwrap_or("").trim_end_matches('/')
    }

    /// What it does, or why that cannot be.
    pub(crate) fn does(&self) -> Result<Does, SiteProblem> {
        match (&self.root, &self.upstream, &self.redirect) {
            (Some(root), None, None) => Ok(Does::Files(root.clone())),
            (None, Some(upstream), None) => addresses(upstream).map(Does::Upstream).map_err(|message| {
                problem(
                    "upstream",
                    message,
                    "write it like \"http://127.0.0.1:8080\" or \"unix:/run/app.sock\"",
                )
            }),
            (None, None, Some(target)) => {
                Location::parse(target, self.status).map(Does::Redirect).map_err(|message| {
                    problem("redirect", message, "write it like \"https://www.acme.example{path}\"")
                })
            }
            (None, None, None) => Err(problem(
                "",
                "nothing says what this site does",
                "add `root = \"/srv/site\"`, `upstream = \"http://127.0.0.1:8080\"` or `redirect = \"https://…{path}\"`",
            )),
            _ => Err(problem(
                "",
                "a site does one thing: `root`, `upstream` and `redirect` exclude each other",
                "keep one of them, and make a second `[[edge.site]]` with another `path` for the other",
            )),
        }
    }

    /// Its headers, parsed; the name of the first that cannot be one, otherwise.
    pub(crate) fn headers(&self) -> Result<HeaderMap, &str> {
        let mut headers = HeaderMap::new();
        for (name, text) in &self.headers {
            let ours = |name: &HeaderName| {
                OF_THE_MESSAGE.contains(&name.as_str()) || name.as_str().starts_with("x-gateway-")
            };
            let parsed = HeaderName::try_from(name).ok().filter(|name| !ours(name));
            let (header, value) = parsed.zip(HeaderValue::from_str(text).ok()).ok_or(name.as_str())?;
            headers.insert(header, value);
        }
        Ok(headers)
    }

    /// Everything that is wrong with it by itself.
    pub(crate) fn problems(&self) -> Vec<SiteProblem> {
        let mut problems: Vec<_> = self.does().err().into_iter().collect();
        if self.host.is_none() && self.prefix().is_empty() {
            problems.push(problem(
                "",
                "neither `host` nor `path` says where this site is",
                "add `host = \"www.acme.example\"`, or a `path` that holds on every host",
            ));
        }
        if let Some(path) = &self.path
            && !is_path(path)
        {
            problems.push(problem(
                "path",
                "a path begins with `/`, and has no `..`, `//`, `%`, `*` or query",
                "write it like \"/docs\"",
            ));
        }
        for (key, page) in [("fallback", &self.fallback), ("not_found", &self.not_found)] {
            if page.as_ref().is_some_and(|page| !is_path(page) || page.ends_with('/')) {
                problems.push(problem(key, "this is no file below `root`", "write it like \"/index.html\""));
            }
        }
        if !matches!(self.status, 301 | 302 | 307 | 308) {
            let remedy =
                "write 308 or 301 (for good), 307 or 302 (for now); 307 and 308 keep method and body";
            problems.push(problem("status", "this is no status of a redirect", remedy));
        }
        if let Some(text) = &self.cache_control
            && (text.is_empty() || HeaderValue::from_str(text).is_err())
        {
            let remedy = "write it like \"public, max-age=3600\"";
            problems.push(problem("cache_control", "this is no value of a header", remedy));
        }
        if let Err(name) = self.headers() {
            let message =
                format!("`{name}` is no header, has no value that is one, or is the gateway's own to set");
            let remedy = "write them like { x-frame-options = \"DENY\" }";
            problems.push(problem("headers", message, remedy));
        }
        problems
    }
}

impl std::fmt::Display for SiteConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.root, &self.upstream, &self.redirect) {
            (Some(root), ..) => write!(f, "files in {}", root.display()),
            (_, Some(upstream), _) => write!(f, "passes on to {upstream}"),
            (.., Some(target)) => write!(f, "redirects to {target}"),
            _ => f.write_str("nothing"),
        }
    }
}

/// A path that leads where it says.
fn is_path(path: &str) -> bool {
    let odd = |c: char| "*?#%\\{}".contains(c) || c.is_whitespace() || c.is_control() || !c.is_ascii();
    path.starts_with('/')
        && !path.contains("//")
        && !path.contains(odd)
        && !path.split('/').any(|segment| segment == "." || segment == "..")
}

/// Where an upstream listens. Names are not looked up: a site is not watched, so nobody would notice that one moved.
fn addresses(text: &str) -> Result<Vec<Address>, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return if path.is_absolute() {
            Ok(vec![Address::unix(path)])
        } else {
            Err("a socket is named by its whole path".to_owned())
        };
    }
    let url = url::Url::parse(text).map_err(|error| format!("this is no URL: {error}"))?;
    if url.scheme() != "http" {
        return Err("an upstream speaks plain HTTP".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(
            "an upstream is scheme, address and port alone: the request brings its own path".to_owned()
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an upstream takes no user or password".to_owned());
    }
    let port = url.port().unwrap_or(80);
    let tcp = |ip: std::net::IpAddr| Address::Tcp((ip, port).into());
    match url.host() {
        Some(url::Host::Ipv4(ip)) => Ok(vec![tcp(ip.into())]),
        Some(url::Host::Ipv6(ip)) => Ok(vec![tcp(ip.into())]),
        // It is both, and many programs listen on one of them only.
        Some(url::Host::Domain("localhost")) => {
            Ok(vec![tcp([127, 0, 0, 1].into()), tcp(std::net::Ipv6Addr::LOCALHOST.into())])
        }
        Some(url::Host::Domain(name)) => Err(format!(
            "`{name}` is a name: a site takes an address (a `[backend]` looks names up, and watches over them)"
        )),
        None => Err("the URL names no address".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(text: &str) -> SiteConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_site_that_says_where_it_is_and_what_it_does_is_fine() {
        for text in [
            "host = 'www.acme.example'\nroot = '/srv/site'",
            "path = '/landing/'\nroot = '/srv/site'\nfallback = '/index.html'\nnot_found = '/errors/404.html'",
            "host = 'a.example'\nupstream = 'http://localhost:8080'",
            "host = 'a.example'\nupstream = 'http://[::1]:8080/'",
            "host = 'a.example'\nupstream = 'unix:/run/app.sock'",
            "host = 'a.example'\nredirect = 'https://www.acme.example{path}'\nstatus = 302",
            "host = 'a.example'\nroot = '/x'\nheaders = { X-Frame-Options = 'DENY', referrer-policy = '' }",
        ] {
            assert_eq!(site(text).problems(), [], "{text}");
        }
    }

    #[test]
    fn each_mistake_is_told_at_its_key() {
        for (text, key, words) in [
            ("host = 'a.example'", "", "nothing says"),
            ("host = 'a.example'\nroot = '/x'\nredirect = 'https://b.example{path}'", "", "one thing"),
            ("root = '/x'", "", "neither `host` nor `path`"),
            ("path = '/'\nroot = '/x'", "", "neither `host` nor `path`"),
            ("path = 'x'\nroot = '/x'", "path", "begins with"),
            ("path = '/a/../b'\nroot = '/x'", "path", "begins with"),
            ("host = 'a.example'\nroot = '/x'\nfallback = 'index.html'", "fallback", "no file"),
            ("host = 'a.example'\nroot = '/x'\nnot_found = '/errors/'", "not_found", "no file"),
            ("host = 'a.example'\nredirect = 'https://b.example{path}'\nstatus = 303", "status", "no status"),
            ("host = 'a.example'\nroot = '/x'\ncache_control = \"a\\nb\"", "cache_control", "no value"),
            ("host = 'a.example'\nroot = '/x'\nheaders = { 'a b' = '1' }", "headers", "is no header"),
            ("host = 'a.example'\nroot = '/x'\nheaders = { a = \"x\\ny\" }", "headers", "is no header"),
            (
                "host = 'a.example'\nroot = '/x'\nheaders = { Content-Length = '1' }",
                "headers",
                "gateway's own",
            ),
            (
                "host = 'a.example'\nroot = '/x'\nheaders = { x-gateway-tenant = '1' }",
                "headers",
                "gateway's own",
            ),
            ("host = 'a.example'\nupstream = 'https://127.0.0.1'", "upstream", "plain HTTP"),
            ("host = 'a.example'\nupstream = 'http://127.0.0.1/app'", "upstream", "its own path"),
            ("host = 'a.example'\nupstream = 'http://u:p@127.0.0.1'", "upstream", "password"),
            ("host = 'a.example'\nupstream = 'http://app:80'", "upstream", "is a name"),
            ("host = 'a.example'\nupstream = 'unix:app.sock'", "upstream", "whole path"),
            ("host = 'a.example'\nredirect = '{path}'", "redirect", "absolute"),
        ] {
            let found = site(text).problems();
            assert!(
                found.iter().any(|problem| problem.key == key && problem.message.contains(words)),
                "{text}: {found:?}"
            );
        }
    }
}

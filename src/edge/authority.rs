//! The host a request is for, in canonical form. Strict: what is not plainly a host is none, because the whole
//! choice of tenant and backend hangs on it.

use http::{HeaderValue, header, request::Parts};

use super::refusal::Refusal;

/// Scheme of a request as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Plain.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is left out of origins and hosts.
    pub(crate) fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// `Host` or `:authority`: lower-case name without trailing dot, and the port if one was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    /// `name[:port]`, canonical; shared with the request's own bytes where it was canonical already.
    value: HeaderValue,
    name_bytes: usize,
    port: Option<u16>,
}

impl Authority {
    /// The request's authority; its absolute form and `Host` must not differ.
    pub(crate) fn of(head: &Parts) -> Result<Self, Refusal> {
        let mut hosts = head.headers.get_all(header::HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(Refusal::HeaderTwice("host"));
        }
        let host = host.map(|value| Self::parse(value).ok_or(Refusal::HostInvalid)).transpose()?;
        let Some(written) = head.uri.authority() else {
            return host.ok_or(Refusal::HostInvalid);
        };
        let value = HeaderValue::from_str(written.as_str()).map_err(|_| Refusal::HostInvalid)?;
        let authority = Self::parse(&value).ok_or(Refusal::HostInvalid)?;
        match host {
            Some(host) if host != authority => Err(Refusal::Malformed("target and host differ")),
            _ => Ok(authority),
        }
    }

    fn parse(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let close = rest.find(']')? + 2;
                rest[..close - 2].parse::<std::net::Ipv6Addr>().ok()?;
                (&text[..close], text[close..].strip_prefix(':').or(text[close..].is_empty().then_some("")))
            }
            None => text.split_once(':').map_or((text, Some("")), |(name, port)| (name, Some(port))),
        };
        let (port_text, written) = (port?, name.len() < text.len());
        let port = if written { Some(parse_port(port_text)?) } else { None };
        let bare = name.strip_suffix('.').unwrap_or(name);
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let is_name = !bare.is_empty()
            && bare.len() <= 253
            && bare.bytes().all(letter)
            && !bare.starts_with('.')
            && !bare.ends_with('.')
            && !bare.contains("..");
        if !is_name && !name.starts_with('[') {
            return None;
        }
        let canonical = bare.len() == name.len() && !text.bytes().any(|b| b.is_ascii_uppercase());
        let value = if canonical {
            value.clone()
        } else {
            let tail = if written { format!(":{port_text}") } else { String::new() };
            HeaderValue::from_str(&format!("{}{tail}", bare.to_ascii_lowercase())).ok()?
        };
        Some(Self { value, name_bytes: bare.len(), port })
    }

    /// The name alone, as the registry knows it.
    pub(crate) fn name(&self) -> &str {
        let text = self.value.to_str().unwrap_or("");
        text.get(..self.name_bytes).unwrap_or(text)
    }

    /// `name[:port]` for the worker's `Host`.
    pub(crate) fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// The port as written.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }

    /// Is `origin` this very site: same scheme, name and port?
    pub(crate) fn is_origin(&self, scheme: Scheme, origin: &str) -> bool {
        let Some(rest) = origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_prefix("://"))
        else {
            return false;
        };
        let Some(port) = rest.strip_prefix(self.name()) else { return false };
        let ours = self.port.unwrap_or(scheme.default_port());
        match port.strip_prefix(':') {
            Some(port) => parse_port(port) == Some(ours),
            None => port.is_empty() && ours == scheme.default_port(),
        }
    }
}

/// Digits alone: `u16::from_str` would also take a sign.
fn parse_port(text: &str) -> Option<u16> {
    (text.bytes().all(|b| b.is_ascii_digit()) && text.len() <= 5).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(String, Option<u16>)> {
        Authority::parse(&HeaderValue::from_bytes(text.as_bytes()).unwrap())
            .map(|authority| (authority.name().to_owned(), authority.port()))
    }

    #[test]
    fn hosts_are_read_in_one_canonical_form() {
        for (text, name, port) in [
            ("api.example", "api.example", None),
            ("API.Example:8443", "api.example", Some(8443)),
            ("api.example.", "api.example", None),
            ("api.example.:443", "api.example", Some(443)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[::1]:8443", "[::1]", Some(8443)),
            ("my_service", "my_service", None),
        ] {
            assert_eq!(parse(text), Some((name.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn what_is_not_plainly_a_host_is_none() {
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "a@b",
            "a:b",
            "a:",
            "a:+80",
            "a:99999",
            "a:80:80",
            "[::1",
            "[x]",
            "[::1]x",
            "[::1]:",
            "a,b",
            "a%2eb",
            "é.example",
            "a\\b",
        ] {
            assert_eq!(parse(text), None, "{text:?} was taken");
        }
    }

    #[test]
    fn an_origin_is_ones_own_only_with_the_same_scheme_name_and_port() {
        let authority = |text: &str| Authority::parse(&HeaderValue::from_str(text).unwrap()).unwrap();
        for (host, scheme, origin, same) in [
            ("api.example", Scheme::Https, "https://api.example", true),
            ("api.example:443", Scheme::Https, "https://api.example", true),
            ("api.example:8443", Scheme::Https, "https://api.example:8443", true),
            ("api.example", Scheme::Https, "http://api.example", false),
            ("api.example", Scheme::Http, "http://api.example", true),
            ("api.example:8443", Scheme::Https, "https://api.example", false),
            ("api.example", Scheme::Https, "https://api.example.evil", false),
            ("api.example", Scheme::Https, "https://api.example:8443", false),
            ("api.example", Scheme::Https, "null", false),
        ] {
            assert_eq!(authority(host).is_origin(scheme, origin), same, "{host} {origin}");
        }
    }
}

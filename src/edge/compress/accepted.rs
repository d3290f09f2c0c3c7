//! `Accept-Encoding` with its weights (RFC 9110 12.5.3). Pure.

use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};

/// How a body can be coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Coding {
    /// RFC 8878.
    #[serde(rename = "zstd")]
    Zstd,
    /// RFC 7932.
    #[serde(rename = "br")]
    Brotli,
    /// RFC 1952.
    #[serde(rename = "gzip")]
    Gzip,
}

impl Coding {
    /// Its name in HTTP.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The ending of a file that holds it.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }

    /// Its place in tables.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Zstd => 0,
            Self::Brotli => 1,
            Self::Gzip => 2,
        }
    }
}

/// What a caller takes: a weight in thousandths for each coding, 0 for never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    weights: [u16; 3],
}

impl Accepted {
    /// What these headers say.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let (mut named, mut others, mut identity) = ([None; 3], 0, None);
        let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for item in values.flat_map(|value| value.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let coding = parts.next().unwrap_or("");
            let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
            let weight = weight.map_or(1000, thousandths);
            let is = |name: &str| coding.eq_ignore_ascii_case(name);
            if is("gzip") || is("x-gzip") {
                named[Coding::Gzip.index()] = Some(weight);
            } else if is("br") {
                named[Coding::Brotli.index()] = Some(weight);
            } else if is("zstd") {
                named[Coding::Zstd.index()] = Some(weight);
            } else if is("identity") {
                identity = Some(weight);
            } else if is("*") {
                others = weight;
            }
        }
        // Who likes it better as it is gets it as it is.
        let least = identity.unwrap_or(0);
        let weights = named
            .map(|weight| weight.unwrap_or(others))
            .map(|weight| if weight < least { 0 } else { weight });
        Self { weights }
    }

    /// Nothing: the body as it is.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// The one liked best; the earlier in `order` where several are liked alike.
    pub(crate) fn best(self, order: &[Coding]) -> Option<Coding> {
        self.in_order(order).next()
    }

    /// Those that are taken, liked best first.
    pub(crate) fn in_order(self, order: &[Coding]) -> impl Iterator<Item = Coding> + use<> {
        let mut list: [Option<Coding>; 3] = [None; 3];
        for (place, coding) in list.iter_mut().zip(order) {
            *place = Some(*coding).filter(|coding| self.weights[coding.index()] > 0);
        }
        // Stable: equals stay in order.
        list.sort_by_key(|coding| std::cmp::Reverse(coding.map_or(0, |coding| self.weights[coding.index()])));
        list.into_iter().flatten()
    }
}

/// `0.5` → 500. What is no weight is none.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    match whole {
        "1" => 1000,
        "0" => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{
        Coding::{Brotli, Gzip, Zstd},
        *,
    };

    #[test]
    fn weights_come_first_and_our_own_order_second() {
        for (value, want) in [
            ("gzip, deflate, br, zstd", &[Zstd, Brotli, Gzip][..]),
            ("gzip, deflate, br", &[Brotli, Gzip]),
            ("gzip;q=1.0, br;q=0.5", &[Gzip, Brotli]),
            ("GZIP;Q=0.8 , Br ; q=0.9", &[Brotli, Gzip]),
            ("x-gzip", &[Gzip]),
            ("*", &[Zstd, Brotli, Gzip]),
            ("*;q=0.1, gzip", &[Gzip, Zstd, Brotli]),
            ("br;q=0, *", &[Zstd, Gzip]),
            ("gzip;q=0", &[]),
            ("identity", &[]),
            ("identity;q=1, *;q=0", &[]),
            ("gzip;q=0.5, identity", &[]),
            ("gzip, identity;q=0.5", &[Gzip]),
            ("gzip;q=2", &[]),
            ("gzip;q=0.1234", &[]),
            ("gzip;q=", &[]),
            ("deflate", &[]),
            ("", &[]),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            let got: Vec<_> = Accepted::of(&headers).in_order(&[Zstd, Brotli, Gzip]).collect();
            assert_eq!(got, want, "{value}");
        }
        assert_eq!(Accepted::of(&HeaderMap::new()).best(&[Zstd]), None);
    }

    #[test]
    fn lines_are_read_as_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip;q=0.5"));
        headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static("br"));
        assert_eq!(Accepted::of(&headers).best(&[Gzip, Brotli]), Some(Brotli));
    }
}

//! The lines of a request's head as they go over the wire: straight from what came and what we say into one buffer,
//! with no map in between. It must never write what is not a header value: those have no line ends.

use http::{HeaderName, HeaderValue, Method, Uri};

/// The line that a head begins with.
pub(super) fn write_first(into: &mut Vec<u8>, method: &Method, uri: &Uri) {
    // Origin form, in whatever form it came.
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    write(into, &[method.as_str().as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n"]);
}

/// A header.
pub(super) fn write_line(into: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    write_words(into, name, value.as_bytes());
}

/// A header whose value is our own words.
pub(super) fn write_words(into: &mut Vec<u8>, name: &HeaderName, words: &[u8]) {
    write(into, &[name.as_str().as_bytes(), b": ", words, b"\r\n"]);
}

/// A header that continues earlier ones of its name.
pub(super) fn write_list<'a>(
    into: &mut Vec<u8>,
    name: &HeaderName,
    separator: &[u8],
    values: impl Iterator<Item = &'a [u8]>,
) {
    write(into, &[name.as_str().as_bytes(), b": "]);
    for (index, value) in values.enumerate() {
        write(into, &[if index == 0 { b"" } else { separator }, value]);
    }
    into.extend_from_slice(b"\r\n");
}

/// Digits.
pub(super) fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789"[usize::try_from(number % 10).unwrap_or(0)];
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// Digits of a chunk's size.
pub(super) fn hexadecimal(mut number: usize, digits: &mut [u8; 16]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[number & 15];
        number >>= 4;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// Pieces of a line.
pub(super) fn write(into: &mut Vec<u8>, parts: &[&[u8]]) {
    into.reserve(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| into.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_everyone_writes_them() {
        for number in [0, 1, 9, 10, 15, 16, 255, 4096, usize::MAX] {
            assert_eq!(hexadecimal(number, &mut [0; 16]), format!("{number:x}").as_bytes());
            assert_eq!(decimal(number as u64, &mut [0; 20]), number.to_string().as_bytes());
        }
    }
}

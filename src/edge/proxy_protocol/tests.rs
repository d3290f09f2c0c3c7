//! The table in `tests/data/proxy_protocol/headers.txt`, and what holds for all bytes.

use proptest::prelude::*;

use super::*;

const TABLE: &str = include_str!("../../../tests/data/proxy_protocol/headers.txt");

/// `\r`, `\n`, `\\`, `\xNN` and `\{xx*N}`: the byte xx N times.
fn bytes_of(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    let hex = |text: &str| u8::from_str_radix(text, 16).unwrap();
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let used = match escape.as_bytes()[0] {
            b'x' => {
                bytes.push(hex(&escape[1..3]));
                3
            }
            b'{' => {
                let end = escape.find('}').unwrap();
                let (byte, times) = escape[1..end].split_once('*').unwrap();
                bytes.extend(vec![hex(byte); times.parse().unwrap()]);
                end + 1
            }
            other => {
                bytes.push(match other {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b'\\' => b'\\',
                    _ => panic!("{text}: no such escape"),
                });
                1
            }
        };
        rest = &escape[used..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Name, bytes, outcome.
fn table() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &'static str| {
        let mut columns = line.split(" | ");
        let mut next = || columns.next().unwrap_or_else(|| panic!("{line}: three columns"));
        (next(), bytes_of(next()), next().trim())
    };
    lines.map(row).collect()
}

fn said(header: Header) -> String {
    match header {
        Header::Absent => "absent".to_owned(),
        Header::Incomplete => "incomplete".to_owned(),
        Header::Invalid(reason) => format!("invalid: {reason}"),
        Header::Complete { announced: Announced::Client(client), bytes } => format!("{client} in {bytes}"),
        Header::Complete { announced: Announced::Itself, bytes } => format!("itself in {bytes}"),
        Header::Complete { announced: Announced::Unknown, bytes } => format!("unknown in {bytes}"),
    }
}

#[test]
fn every_header_of_the_table_is_read_as_it_says() {
    let table = table();
    assert!(table.len() > 60, "the table is not where it was");
    let wrong: Vec<String> = table
        .iter()
        .filter(|(_, bytes, want)| said(parse(bytes)) != *want)
        .map(|(name, bytes, want)| format!("{name}: {}, not {want}", said(parse(bytes))))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_header_cut_anywhere_is_incomplete_and_what_follows_it_changes_nothing() {
    for (name, bytes, want) in table() {
        let Header::Complete { bytes: length, .. } = parse(&bytes) else { continue };
        for cut in 0..length {
            assert_eq!(parse(&bytes[..cut]), Header::Incomplete, "{name} cut at {cut}");
        }
        for following in [&b"\x16\x03\x01"[..], b"GET / HTTP/1.1\r\n", b"\r\n\r\n\0\r\nQUIT\n", b"\n", b" "] {
            let longer = [&bytes[..length], following].concat();
            assert_eq!(said(parse(&longer)), want, "{name} with something behind it");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_wait_for_more_than_the_limit(
        start in 0..5usize, bytes in prop::collection::vec(any::<u8>(), 0..400), length in any::<u16>(),
    ) {
        let [high, low] = length.to_be_bytes();
        let starts: [&[u8]; 5] = [
            b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE,
            &[SIGNATURE, &[0x21, 0x11, high, low]].concat(),
        ];
        let all = [starts[start], &bytes].concat();
        match parse(&all) {
            Header::Complete { bytes, .. } => prop_assert!(bytes <= all.len() && bytes <= HEADER_BYTES_MAX),
            Header::Incomplete => prop_assert!(all.len() < HEADER_BYTES_MAX),
            Header::Absent => prop_assert!(!all.starts_with(LINE_START) && !all.starts_with(SIGNATURE)),
            Header::Invalid(_) => {}
        }
    }
}

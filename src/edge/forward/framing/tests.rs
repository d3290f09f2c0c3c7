//! Bodies as workers send them, cut into pieces of every size.

use super::*;

/// What comes out, however the bytes are cut: data, trailers as text, and what is left over.
fn read(framing: Framing, text: &str, piece_bytes: usize) -> Result<(String, String, String), Malformed> {
    let (mut framing, mut buffer) = (framing, BytesMut::new());
    let (mut data, mut trailers) = (String::new(), String::new());
    let mut pieces = text.as_bytes().chunks(piece_bytes);
    loop {
        match framing.next(&mut buffer)? {
            Step::Data(bytes) => data.push_str(std::str::from_utf8(&bytes).unwrap()),
            Step::Trailers(map) => {
                for (name, value) in &map {
                    trailers.push_str(&format!("{name}={};", value.to_str().unwrap()));
                }
            }
            Step::Done => break,
            Step::More => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None if framing.ends() => break,
                None => return Err(Malformed("cut")),
            },
        }
    }
    let mut rest = String::from_utf8(buffer.to_vec()).unwrap();
    pieces.for_each(|piece| rest.push_str(std::str::from_utf8(piece).unwrap()));
    Ok((data, trailers, rest))
}

fn check(framing: Framing, text: &str, data: &str, trailers: &str, rest: &str) {
    for piece_bytes in [1, 2, 3, 7, 64, text.len().max(1)] {
        let found = read(framing, text, piece_bytes);
        let wanted = (data.to_owned(), trailers.to_owned(), rest.to_owned());
        assert_eq!(found, Ok(wanted), "{text:?} by {piece_bytes}");
    }
}

fn refuse(framing: Framing, text: &str) {
    for piece_bytes in [1, 2, 3, 64, text.len().max(1)] {
        assert!(read(framing, text, piece_bytes).is_err(), "{text:?} by {piece_bytes}");
    }
}

const CHUNKED: Framing = Framing::Chunked(Chunked::Size);

#[test]
fn a_body_ends_where_it_says_and_not_a_byte_later() {
    check(Framing::Length(5), "helloHTTP/1.1 200 OK", "hello", "", "HTTP/1.1 200 OK");
    check(Framing::Done, "junk", "", "", "junk");
    check(Framing::UntilClose, "all of it", "all of it", "", "");
    check(CHUNKED, "5\r\nhello\r\n0\r\n\r\nrest", "hello", "", "rest");
    check(CHUNKED, "0\r\n\r\n", "", "", "");
    check(CHUNKED, "1;x=\"y\"\r\na\r\n0B\r\nb0123456789\r\n000\r\n\r\n", "ab0123456789", "", "");
    check(CHUNKED, "1\r\na\r\n0\r\nx-sum: 1\r\nY: 2\r\n\r\nrest", "a", "x-sum=1;y=2;", "rest");
}

#[test]
fn a_body_that_breaks_off_is_no_whole_one() {
    refuse(Framing::Length(6), "hello");
    for text in ["", "5", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "0\r\n", "0\r\nx: 1\r\n"] {
        refuse(CHUNKED, text);
    }
}

#[test]
fn chunks_that_two_readers_could_cut_differently_are_refused() {
    let sizes = [
        "\r\n",
        "+1\r\n",
        "-1\r\n",
        "0x1\r\n",
        " 1\r\n",
        "1 \r\n",
        "1 ;x\r\n",
        "1\n",
        "1\r\r\n",
        "1;\x00\r\n",
        "1;a\rb\r\n",
        "g\r\n",
        "11111111111111111\r\n",
        "1,1\r\n",
    ];
    for size in sizes {
        refuse(CHUNKED, &format!("{size}a\r\n0\r\n\r\n"));
    }
    refuse(CHUNKED, "1\r\nab\r\n0\r\n\r\n");
    refuse(CHUNKED, "1\r\na\n0\r\n\r\n");
    refuse(CHUNKED, &format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(300)));
}

#[test]
fn trailers_are_bounded_and_cannot_say_what_headers_must() {
    check(CHUNKED, "0\r\ncontent-length: 9\r\nset-cookie: a=1\r\nx: 1\r\n\r\n", "", "x=1;", "");
    refuse(CHUNKED, "0\r\nx: 1\r\n folded\r\n\r\n");
    refuse(CHUNKED, "0\r\nx : 1\r\n\r\n");
    refuse(CHUNKED, "0\r\nno colon\r\n\r\n");
    refuse(CHUNKED, &format!("0\r\n{}\r\n", "x: 1\r\n".repeat(40)));
    refuse(CHUNKED, &format!("0\r\nx: {}\r\n\r\n", "y".repeat(20_000)));
}

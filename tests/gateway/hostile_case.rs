//! The corpus of hostile requests in `tests/data/hostile`, one case a file: why, what the client must get, what may
//! reach the worker, and the bytes. Ends of lines in a file stand for nothing: every byte is written, `\r`, `\n`,
//! `\t`, `\0`, `\\`, `\x7f`, or `\*100(x)` for a hundred of them.

use std::{collections::BTreeMap, path::Path};

use crate::{NAVAJA, TestGateway, eventually};

/// One case.
#[derive(Debug)]
pub(crate) struct Case {
    /// The file's name.
    pub(crate) name: String,
    /// What stands above the first `---`.
    facts: BTreeMap<String, String>,
    /// The sections, by what stands behind their `---`; as written.
    sections: BTreeMap<String, String>,
}

/// What a worker that keeps every byte has seen.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// Whole requests in their order.
    pub(crate) whole: Vec<Vec<u8>>,
    /// Requests that only began.
    pub(crate) begun: Vec<Vec<u8>>,
}

impl Case {
    /// Every case of a directory.
    pub(crate) fn all(directory: &str) -> Vec<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hostile").join(directory);
        let files = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        let mut cases: Vec<Self> = files.map(|path| Self::read(&path)).collect();
        cases.sort_by(|one, other| one.name.cmp(&other.name));
        assert!(cases.len() > 10, "{} has hardly any cases", directory.display());
        cases
    }

    fn read(path: &Path) -> Self {
        let (name, text) =
            (path.file_stem().unwrap().to_str().unwrap(), std::fs::read_to_string(path).unwrap());
        let mut facts = BTreeMap::new();
        let mut sections = BTreeMap::<String, String>::new();
        let mut section = None;
        for line in text.lines() {
            if let Some(begins) = line.strip_prefix("---") {
                section = Some(begins.trim().to_owned());
                sections.insert(begins.trim().to_owned(), String::new());
            } else if let Some(section) = &section {
                let section = sections.get_mut(section).unwrap();
                section.push_str(line);
                section.push('\n');
            } else {
                let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("{name}: {line:?}"));
                facts.insert(key.to_owned(), value.to_owned());
            }
        }
        Self { name: name.to_owned(), facts, sections }
    }

    /// What stands above the bytes, such as `want`.
    #[track_caller]
    pub(crate) fn fact(&self, key: &str) -> &str {
        self.facts.get(key).unwrap_or_else(|| panic!("{} does not say `{key}`", self.name))
    }

    /// A section as written, line by line.
    pub(crate) fn lines(&self, section: &str) -> Option<impl Iterator<Item = &str>> {
        self.sections.get(section).map(|text| text.lines())
    }

    /// The bytes of a section.
    pub(crate) fn bytes(&self, section: &str) -> Option<Vec<u8>> {
        self.lines(section).map(|lines| lines.flat_map(bytes).collect())
    }

    /// Why it is refused, with the case's name: what a failed test shows.
    pub(crate) fn title(&self) -> String {
        format!("{} ({})", self.name, self.fact("why"))
    }

    /// What reached the worker must be what the case says.
    #[track_caller]
    pub(crate) fn judge(&self, recorded: &Recorded) {
        let title = self.title();
        for request in &recorded.whole {
            is_rebuilt(&title, request);
        }
        let shown = |list: &[Vec<u8>]| {
            list.iter().map(|each| String::from_utf8_lossy(each).into_owned()).collect::<Vec<_>>()
        };
        let reached = || {
            format!("{title}: {:?} and the beginning of {:?}", shown(&recorded.whole), shown(&recorded.begun))
        };
        match self.fact("worker") {
            "nothing" => assert!(recorded.whole.is_empty() && recorded.begun.is_empty(), "{}", reached()),
            "cut" => assert!(recorded.whole.is_empty(), "{}", reached()),
            reached_lines => {
                let (lines, cut) =
                    reached_lines.strip_suffix("; cut").map_or((reached_lines, false), |lines| (lines, true));
                let want =
                    lines.split("; ").map(|line| String::from_utf8(bytes(line)).unwrap() + " HTTP/1.1");
                let first = |request: &Vec<u8>| {
                    let line = request.split(|byte| *byte == b'\r').next().unwrap();
                    String::from_utf8_lossy(line).into_owned()
                };
                let got: Vec<String> = recorded.whole.iter().map(first).collect();
                assert_eq!(got, want.collect::<Vec<_>>(), "{}", reached());
                assert!(cut || recorded.begun.is_empty(), "{}", reached());
            }
        }
    }
}

impl Recorded {
    /// What has reached the recording worker since the last time.
    pub(crate) fn since(gateway: &TestGateway) -> Self {
        let mut recorded = Self::default();
        // What came before the first fence on another connection has been read before the second at the latest.
        for _ in 0..2 {
            let told = gateway.get("/fence").origin(NAVAJA).send().is(200).json();
            let list = |key: &str| {
                let list = told[key].as_array().unwrap().clone();
                list.into_iter().map(|each| latin1(each.as_str().unwrap())).collect::<Vec<_>>()
            };
            // The tests' own request that shows that a connection goes on.
            recorded.whole.extend(list("whole").into_iter().filter(|each| !each.starts_with(b"GET /after ")));
            recorded.begun.extend(list("begun"));
        }
        recorded
    }
}

/// Every refusal must have left a line in the access log.
pub(crate) fn all_are_logged(gateway: &TestGateway, ids: &[String]) {
    eventually("every refusal is in the access log", || {
        let lines = gateway.access_log();
        let logged: std::collections::HashSet<&str> =
            lines.iter().filter_map(|line| line["request_id"].as_str()).collect();
        ids.iter().all(|id| logged.contains(id.as_str())).then_some(())
    });
}

/// No worker could read this request in two ways, whatever was asked.
#[track_caller]
fn is_rebuilt(title: &str, request: &[u8]) {
    let shown = String::from_utf8_lossy(request);
    let end = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 2;
    let head: String = request[..end].iter().map(|byte| char::from(*byte)).collect();
    let mut lines = head.split_terminator("\r\n");
    let parts: Vec<&str> = lines.next().unwrap().split(' ').collect();
    assert!(parts.len() == 3 && parts[2] == "HTTP/1.1", "{title}: {shown}");
    assert!(parts[1].starts_with('/') || parts[1] == "*", "{title}: {shown}");
    let mut names = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{title}: {line:?}"));
        let is_token = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
        };
        assert!(!name.is_empty() && name.bytes().all(is_token), "{title}: {line:?}");
        assert!(
            !value.contains(|c: char| c.is_control() && c != '\t') && value.trim() == value,
            "{title}: {line:?}"
        );
        names.push(name.to_owned());
    }
    let count = |name: &str| names.iter().filter(|each| *each == name).count();
    assert!(
        count("host") == 1 && count("content-length") + count("transfer-encoding") < 2,
        "{title}: {shown}"
    );
    for gone in [
        "connection",
        "keep-alive",
        "te",
        "upgrade",
        "expect",
        "http2-settings",
        "proxy-connection",
        "trailer",
    ] {
        assert!(count(gone) == 0, "{title}: {shown}");
    }
    assert!(!names.iter().any(|name| name.replace('_', "-").starts_with("x-gateway-")), "{title}: {shown}");
}

/// What one line stands for.
pub(crate) fn bytes(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend(plain.as_bytes());
        let kind = escape.chars().next().unwrap_or_else(|| panic!("{line:?} ends in a backslash"));
        rest = &escape[1..];
        match kind {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            '0' => bytes.push(0),
            '\\' => bytes.push(b'\\'),
            'x' => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                rest = &rest[2..];
            }
            '*' => {
                let (count, more) = rest.split_once('(').unwrap();
                let (text, more) = more.split_once(')').unwrap();
                bytes.extend(self::bytes(text).repeat(count.parse().unwrap()));
                rest = more;
            }
            other => panic!("{line:?} has the unknown escape {other:?}"),
        }
    }
    bytes.extend(rest.as_bytes());
    bytes
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

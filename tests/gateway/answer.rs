//! An answer as it came, and the checks that many tests make of it.

use serde_json::Value;

/// One HTTP answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// Names in lower case, in the order sent, duplicates kept.
    pub(crate) headers: Vec<(String, String)>,
    /// The whole body.
    pub(crate) body: Vec<u8>,
    /// Trailers of a chunked body.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Answer {
    /// Parse a head that ends in an empty line.
    pub(crate) fn from_head(head: &str) -> Self {
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(':'));
        Self {
            status: status.unwrap_or_else(|| panic!("no status line: {status_line:?}")),
            headers: headers.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect(),
            ..Self::default()
        }
    }

    /// The one value of a header.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} was sent {} times: {values:?}", values.len());
        values.first().copied()
    }

    /// Every value of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}) in {}: {}", self.status, self.text()))
    }

    /// It must have this status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }

    /// It must be a problem that the gateway itself made, with a stable code and the request id.
    #[track_caller]
    pub(crate) fn problem(self, status: u16) -> Self {
        let answer = self.is(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{problem}");
        let code = problem["code"].as_str().unwrap_or_default();
        assert!(code.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !code.is_empty(), "{problem}");
        let id = answer.header("x-request-id").expect("a problem carries the request id");
        assert!(problem.as_object().unwrap().values().any(|value| value == id), "{id} is not in {problem}");
        answer
    }

    /// A front end on `origin` may read it.
    #[track_caller]
    pub(crate) fn readable_from(self, origin: &str) -> Self {
        assert_eq!(self.header("access-control-allow-origin"), Some(origin), "{:?}", self.headers);
        self.varies_by_origin()
    }

    /// No page may read it.
    #[track_caller]
    pub(crate) fn readable_by_nobody(self) -> Self {
        let cors = self.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
        assert!(cors.is_none(), "{cors:?} on {}", self.status);
        self.varies_by_origin()
    }

    /// A cache is told that Origin matters.
    #[track_caller]
    pub(crate) fn varies_by_origin(self) -> Self {
        let vary = self.all("vary").join(",").to_ascii_lowercase();
        assert!(vary.split(',').any(|name| name.trim() == "origin"), "Vary is {vary:?} on {}", self.status);
        self
    }

    /// What the echo worker says about a header that reached it: `None`, or its value.
    #[track_caller]
    pub(crate) fn seen_header(&self, name: &str) -> Option<String> {
        self.json()["headers"][name].as_str().map(str::to_owned)
    }
}

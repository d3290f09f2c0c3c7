//! What passes between us and a worker, for fuzz targets alone: the bytes that a request becomes, and what an answer's
//! bytes become. Nothing of the product calls it.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use super::{
    super::{
        body::RequestBody, forwarded::ForwardingHeader, identify::Caller, peer::Peer, request_id::RequestId,
    },
    answer,
    framing::{Framing, Step},
    head::{self, Asked},
    request::{Sender, rebuild},
    sending::Coding,
};

/// The head that a worker gets for this one.
pub(crate) fn sent(
    (peer, id): (&Peer, &RequestId),
    caller: &Caller,
    head: &Parts,
    url: &HeaderValue,
) -> Vec<u8> {
    let chain = peer.client((&[], ForwardingHeader::XForwardedFor), &head.headers).chain;
    let sender = Sender { peer, scheme: peer.scheme, chain, id };
    let mut bytes = Vec::new();
    rebuild(sender, caller, head, (Some(url), false), &mut bytes);
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let coding = match length.and_then(|length| length.parse().ok()) {
        Some(length) => Coding::Length(length),
        None if head.headers.contains_key(header::TRANSFER_ENCODING) => Coding::Chunked,
        None => Coding::of(&RequestBody::Empty),
    };
    coding.write_end(&head.headers, &mut bytes);
    bytes
}

/// What the client gets of a worker's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The status of a head that was understood.
    pub status: Option<u16>,
    /// Its headers, as they are passed on.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
    /// The names of its trailers.
    pub trailers: Vec<String>,
    /// It has come to its end.
    pub whole: bool,
    /// Or to nothing.
    pub malformed: bool,
    /// Bytes that belong to nothing.
    pub left_bytes: usize,
}

/// Read a worker's answer from bytes that come in such pieces.
pub fn answered(bytes: &[u8], piece: usize, to_head: bool) -> Answered {
    let mut answered = Answered::default();
    let mut buffer = BytesMut::new();
    let mut framing = None;
    for bytes in bytes.chunks(piece.max(1)) {
        buffer.extend_from_slice(bytes);
        if !answered.whole
            && !answered.malformed
            && answered.read(&mut buffer, &mut framing, to_head).is_err()
        {
            answered.malformed = true;
            // How much of it was looked at is nobody's business.
            buffer.clear();
        }
        if answered.malformed {
            return answered;
        }
    }
    answered.whole |= framing.as_mut().is_some_and(Framing::ends);
    answered.left_bytes = buffer.len();
    answered
}

impl Answered {
    fn read(
        &mut self,
        buffer: &mut BytesMut,
        framing: &mut Option<Framing>,
        to_head: bool,
    ) -> Result<(), super::framing::Malformed> {
        if framing.is_none() {
            let asked = Asked { head: to_head, upgrade: false };
            let Some(mut head) = head::parse(buffer, asked, &mut 0)? else { return Ok(()) };
            self.status = Some(head.response.status().as_u16());
            answer::strip(head.response.headers_mut());
            self.headers = lines(head.response.headers());
            *framing = Some(head.framing);
        }
        let Some(framing) = framing else { return Ok(()) };
        loop {
            match framing.next(buffer)? {
                Step::Data(data) => self.body.extend_from_slice(&data),
                Step::Trailers(trailers) => {
                    self.trailers = trailers.keys().map(HeaderName::to_string).collect();
                    self.whole = true;
                    return Ok(());
                }
                Step::Done => {
                    self.whole = true;
                    return Ok(());
                }
                Step::More => return Ok(()),
            }
        }
    }
}

fn lines(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

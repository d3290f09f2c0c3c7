//! An answer's body on its last stretch: counted for the access log, and watched while an HTTP/2 client takes it. It
//! must never change what passes.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body as _, Frame, SizeHint};

use super::{
    access_log::{CLIENT_GONE, CLIENT_STALLED, Record},
    body::{Body, BodyError},
    turn::{Piece, Taken, Turn},
};

/// An answer's body with the record that is closed when it has passed.
#[derive(Debug)]
pub(crate) struct Recorded {
    body: Body,
    record: Option<Rc<Record>>,
    /// All of it was taken.
    whole: bool,
    /// What HTTP/2 has been given and its client has not taken.
    taken: Rc<Taken>,
    /// Its last bytes were given, and its end is not.
    ends: bool,
}

/// HTTP/2 forgets a stream's task with its last bytes. Where these are more, the end is given after they are taken,
/// or nobody could give them up.
const FORGOTTEN_BYTES_MAX: usize = 4096;

impl Recorded {
    /// Count this body, and end the record with it.
    pub(crate) fn new(body: Body, record: Option<Rc<Record>>) -> Self {
        Self { body, record, whole: false, taken: Rc::default(), ends: false }
    }

    /// A frame as it goes to the client.
    fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Piece> {
        let watched = self.record.as_ref().filter(|record| !record.is_http1());
        let Some(record) = watched else { return frame.map_data(Piece::new) };
        let turns = &record.thread().turns;
        turns.note(Turn::Clients(self.taken.clone()));
        let is_last = self.body.is_end_stream();
        frame.map_data(|bytes| {
            self.ends = is_last && bytes.len() > FORGOTTEN_BYTES_MAX;
            Piece::watched(bytes, &self.taken)
        })
    }

    /// The end, as soon as all is taken.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.taken.is_all(cx) {
            if let Some(record) = &self.record {
                record.thread().turns.note(Turn::Clients(self.taken.clone()));
            }
            return Poll::Pending;
        }
        self.ends = false;
        self.whole = true;
        Poll::Ready(())
    }
}

impl http_body::Body for Recorded {
    type Data = Piece;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BodyError>>> {
        let this = self.get_mut();
        if this.ends {
            return this.poll_end(cx).map(|()| None);
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_pending()
            && let Some(record) = &this.record
        {
            record.thread().turns.note(Turn::Ours);
        }
        let frame = ready!(polled);
        if let Some(record) = &this.record {
            match &frame {
                Some(Ok(frame)) => {
                    record.bytes_out(frame.data_ref().map_or(0, |data| data.remaining() as u64));
                }
                Some(Err(BodyError::Stalled)) => record.broke_off("worker-stalled"),
                Some(Err(BodyError::Ours(_))) => record.broke_off("body-failed"),
                Some(Err(_)) => record.broke_off("worker-broke-off"),
                None => this.whole = true,
            }
        }
        Poll::Ready(frame.map(|frame| frame.map(|frame| this.pass(frame))))
    }

    fn is_end_stream(&self) -> bool {
        !self.ends && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some(record) = &self.record {
            let stalled = record.thread().turns.is_cutting();
            if self.ends || (!self.whole && !self.body.is_end_stream()) {
                record.broke_off(if stalled { CLIENT_STALLED } else { CLIENT_GONE });
            }
            record.end();
        }
    }
}

//! One direction of a WebSocket: reads a piece, writes it, and reads no further until all of it is taken. It must
//! never hold more than one piece, nor anything at all while nothing moves.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Lane {
    phase: Phase,
    /// Of what was written.
    frames: Frames,
    /// Read, and not yet taken by the other side.
    held: Vec<u8>,
    sent: usize,
    /// Something may wait in the writer's own buffer.
    unflushed: bool,
    bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Passing,
    /// The reader has said all; what is held still goes out, then the end.
    Ending,
    Ended,
}

/// What a direction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The reader has said all it had to say; `finish` passes that on.
    Said,
    /// The writer has been told.
    Ended,
}

/// Which side failed.
#[derive(Debug)]
pub(super) enum Broken {
    /// The one that is read.
    From,
    /// The one that is written.
    To,
}

/// The end of a direction with a word of our own.
#[derive(Debug)]
pub(super) struct Parting {
    /// Not yet said.
    goodbye: Option<Vec<u8>>,
    /// Of what was read, passed on or not.
    heard: Frames,
}

impl Lane {
    /// Bytes passed on.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Has its reader said goodbye, or said all?
    pub(super) fn is_closing(&self) -> bool {
        self.frames.is_closing() || self.phase != Phase::Passing
    }

    /// Would a close frame be understood here? Never after another.
    pub(super) fn takes_goodbye(&self) -> bool {
        self.frames.at_boundary() && !self.frames.is_closing() && self.held.is_empty()
    }

    /// Pass the reader's end on, after these last words.
    pub(super) fn finish(&mut self, words: Vec<u8>) {
        self.held.extend(words);
        self.phase = Phase::Ending;
    }

    /// Its writer is gone: there is nothing more to pass.
    pub(super) fn abandon(&mut self) {
        self.drop_held();
        self.phase = Phase::Ended;
    }

    /// Is everything passed on, and the writer told?
    pub(super) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// What nobody takes counts as passed, or the next frame would be looked for in the wrong place.
    fn drop_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.frames.pass(&held[self.sent..]);
        self.sent = 0;
    }

    /// Move what can be moved; `moved` is called when bytes do.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&mut R, &mut W),
        scratch: &mut [u8],
        moved: impl Fn(),
    ) -> Poll<Result<Step, Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            if self.phase == Phase::Ended {
                return Poll::Ready(Ok(Step::Ended));
            }
            if !self.held.is_empty() {
                ready!(self.poll_held(cx, to)).map_err(|_| Broken::To)?;
                moved();
            }
            if self.phase == Phase::Ending {
                // Refused is told, too.
                let _told = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.phase = Phase::Ended;
                continue;
            }
            let Some(read) = ready!(self.poll_read(cx, (&mut *from, &mut *to), scratch))? else {
                return Poll::Ready(Ok(Step::Said));
            };
            moved();
            ready!(self.poll_write(cx, to, &scratch[..read])).map_err(|_| Broken::To)?;
        }
    }

    /// From here on only the rest of the frame under way passes, then the goodbye. Without one nobody is there to be
    /// told, and the reader's own is all that is waited for.
    pub(super) fn part(&mut self, goodbye: Option<Vec<u8>>) -> Parting {
        if goodbye.is_none() {
            self.drop_held();
            self.phase = Phase::Passing;
            return Parting { goodbye, heard: self.frames.clone() };
        }
        let unsent = self.held.split_off(self.sent);
        self.sent = 0;
        let mut heard = self.frames.clone();
        heard.pass(&unsent);
        self.held = unsent[..self.frames.rest(&unsent)].to_vec();
        Parting { goodbye, heard }
    }

    /// Say goodbye at the frame's end, and read on until the other side has said its own. What it still says before
    /// is lost, as with every connection that one side closes.
    pub(super) fn poll_part<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&mut R, &mut W),
        scratch: &mut [u8],
        parting: &mut Parting,
    ) -> Poll<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while self.phase != Phase::Ended {
            if ready!(self.poll_held(cx, to)).is_err() {
                self.drop_held();
                parting.goodbye = None;
            } else if self.phase == Phase::Ending {
                let _told = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.phase = Phase::Ended;
            } else if self.frames.at_boundary()
                && let Some(goodbye) = parting.goodbye.take()
            {
                self.held = if self.frames.is_closing() { Vec::new() } else { goodbye };
            } else if parting.goodbye.is_none() && parting.heard.is_closing() {
                self.phase = Phase::Ending;
            } else {
                match ready!(self.poll_read(cx, (&mut *from, &mut *to), scratch)) {
                    Ok(Some(read)) => {
                        let read = &scratch[..read];
                        parting.heard.pass(read);
                        if parting.goodbye.is_some() {
                            self.held = read[..self.frames.rest(read)].to_vec();
                        }
                    }
                    Ok(None) | Err(Broken::From) => self.phase = Phase::Ending,
                    Err(Broken::To) => parting.goodbye = None,
                }
            }
        }
        Poll::Ready(())
    }

    /// How many bytes came; none at the end. Whatever was written before leaves before we wait.
    fn poll_read<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&mut R, &mut W),
        scratch: &mut [u8],
    ) -> Poll<Result<Option<usize>, Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buf = ReadBuf::new(scratch);
        match Pin::new(from).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Some(buf.filled().len()).filter(|read| *read > 0))),
            // TLS without its own goodbye: WebSockets have one, so nothing can be cut off unseen.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(None)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Broken::From)),
            Poll::Pending => {
                if self.unflushed {
                    let flushed = ready!(Pin::new(to).poll_flush(cx));
                    self.unflushed = false;
                    flushed.map_err(|_| Broken::To)?;
                }
                Poll::Pending
            }
        }
    }

    /// Write a piece that was just read; what is not taken is held.
    fn poll_write<W>(&mut self, cx: &mut Context<'_>, to: &mut W, piece: &[u8]) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        let mut at = 0;
        while at < piece.len() {
            let Poll::Ready(count) = Pin::new(&mut *to).poll_write(cx, &piece[at..]) else {
                self.held = piece[at..].to_vec();
                return Poll::Pending;
            };
            at += self.written(count?, &piece[at..])?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_held<W>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        while self.sent < self.held.len() {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.held[self.sent..]))?;
            let held = std::mem::take(&mut self.held);
            let written = self.written(count, &held[self.sent..]);
            self.held = held;
            self.sent += written?;
        }
        self.held = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn written(&mut self, count: usize, piece: &[u8]) -> io::Result<usize> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.frames.pass(&piece[..count]);
        self.bytes += count as u64;
        self.unflushed = true;
        Ok(count)
    }
}

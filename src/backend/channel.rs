//! The channel that Node calls IPC: a socket pair over which both sides send JSON, a line each, as `child_process`
//! does (`NODE_CHANNEL_FD`, serialization `json`). So `process.send('ready')` and `process.on('message')` work, and
//! `disconnect` fires when the gateway closes its end. It must never wait for a worker that does not read.

use std::{io, os::fd::OwnedFd, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
};

use crate::shutdown::Shutdown;

/// Longest message that is looked at; longer ones are read over. Ours are words.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024;

/// Our end. Dropping it closes the channel: the worker sees `disconnect`.
#[derive(Debug)]
pub(super) struct Channel {
    writer: OwnedWriteHalf,
    ready: Arc<Notify>,
}

/// A channel's two ends: ours, and the worker's.
pub(super) fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}

impl Channel {
    /// Listen to what the worker sends.
    pub(super) fn open(stream: UnixStream, shutdown: &Shutdown) -> Self {
        let (reader, writer) = stream.into_split();
        let ready = Arc::new(Notify::new());
        drop(shutdown.spawn(listen(reader, Arc::clone(&ready))));
        Self { writer, ready }
    }

    /// Resolves when the worker has said `process.send('ready')`, once. Cancel safe.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Send one word; false if it did not get into the channel, because the worker has closed its end or reads
    /// nothing.
    pub(super) fn say(&self, word: &str) -> bool {
        let line = format!("{}\n", serde_json::Value::from(word));
        // The pair's buffer is empty or full of what was never read: no half line is ever left in it by a word.
        match self.writer.try_write(line.as_bytes()) {
            Ok(written) => written == line.len(),
            Err(error) => {
                tracing::debug!(word, %error, "the worker does not listen on its channel");
                false
            }
        }
    }
}

/// Read until the worker closes its end.
async fn listen(reader: OwnedReadHalf, ready: Arc<Notify>) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MESSAGE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        // What Node says to itself (`NODE_…`), and what an application says to nobody, is read over.
        if serde_json::from_slice::<&str>(&line).is_ok_and(|word| word == "ready") {
            ready.notify_one();
        }
    }
}

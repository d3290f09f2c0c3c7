//! The channel that Node calls IPC: a socket pair over which both sides send JSON, a line each, as `child_process`
//! does (`NODE_CHANNEL_FD`, serialization `json`). So `process.send('ready')` and `process.on('message')` work, and
//! `disconnect` fires when the gateway closes its end. It must never wait for a worker that does not read.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Weak},
};

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

/// How Node's own word begins that goes with a handle (a socket, say) which the program has sent.
const BRINGS_A_HANDLE: &[u8] = b"{\"cmd\":\"NODE_HANDLE\"";

/// What Node waits for then: until it comes, all that the program says is kept back, `ready` included. The kernel has
/// closed the handle, since we read none.
const HANDLE_TAKEN: &[u8] = b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n";

/// Our end. Dropping it closes the channel: the worker sees `disconnect`.
#[derive(Debug)]
pub(super) struct Channel {
    writer: Arc<OwnedWriteHalf>,
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
        let (ready, writer) = (Arc::new(Notify::new()), Arc::new(writer));
        drop(shutdown.spawn(listen(reader, Arc::downgrade(&writer), Arc::clone(&ready))));
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
async fn listen(reader: OwnedReadHalf, writer: Weak<OwnedWriteHalf>, ready: Arc<Notify>) {
    let mut reader = BufReader::new(reader);
    let (mut line, mut goes_on) = (Vec::new(), false);
    loop {
        line.clear();
        match (&mut reader).take(MESSAGE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        // The rest of a message that is too long is no message.
        let rest = std::mem::replace(&mut goes_on, !line.ends_with(b"\n"));
        if rest || goes_on {
            continue;
        }
        // What Node says to itself (`NODE_…`), and what an application says to nobody, is read over.
        if serde_json::from_slice::<&str>(&line).is_ok_and(|word| word == "ready") {
            ready.notify_one();
        } else if line.starts_with(BRINGS_A_HANDLE)
            && let Some(writer) = writer.upgrade()
        {
            // It fails when the worker reads nothing: then it hears nothing either.
            let _unheard = writer.try_write(HANDLE_TAKEN);
        }
    }
}

//! A file on its way out: one piece in memory at a time, read when the last one has been taken. What the kernel has in
//! memory is read at once; what it would have to wait for is read by another thread, a bounded number at a time.

use std::{
    fmt,
    fs::File,
    future::Future,
    io::{self, IoSliceMut},
    ops::Range,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::super::admit::FilePlace;

/// Bytes read at a time: what a socket's buffer takes at once, and what one slow download holds.
const PIECE_BYTES: usize = 64 * 1024;

/// Places for threads that wait for the disk, over all cores. A clone counts the same places, whatever its bound.
#[derive(Debug, Clone)]
pub(crate) struct FileReads {
    places: Arc<Semaphore>,
    bound: Arc<Mutex<Bound>>,
}

#[derive(Debug)]
struct Bound {
    reads_max: usize,
    /// Places to take away when they are given back: they were in use when the bound became smaller.
    owed: usize,
}

impl FileReads {
    /// So many at a time.
    pub(crate) fn new(reads_max: usize) -> Self {
        let reads_max = reads_max.min(Semaphore::MAX_PERMITS);
        let bound = Bound { reads_max, owed: 0 };
        Self { places: Arc::new(Semaphore::new(reads_max)), bound: Arc::new(Mutex::new(bound)) }
    }

    /// The same places, so many from now on.
    pub(crate) fn bounded(&self, reads_max: usize) -> Self {
        let reads_max = reads_max.min(Semaphore::MAX_PERMITS);
        let mut bound = self.bound();
        let (more, fewer) =
            (reads_max.saturating_sub(bound.reads_max), bound.reads_max.saturating_sub(reads_max));
        let kept = more.min(bound.owed);
        self.places.add_permits(more - kept);
        bound.owed = bound.owed - kept + fewer - self.places.forget_permits(fewer);
        bound.reads_max = reads_max;
        drop(bound);
        self.clone()
    }

    fn give_back(&self, place: OwnedSemaphorePermit) {
        let mut bound = self.bound();
        if let Some(owed) = bound.owed.checked_sub(1) {
            bound.owed = owed;
            place.forget();
        }
    }

    fn bound(&self) -> MutexGuard<'_, Bound> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Do something that may wait for the disk, elsewhere. Cancel safe: what has begun keeps its place until it ends.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let reading = async {
            let place = self.places.clone().acquire_owned().await.map_err(io::Error::other)?;
            let reads = self.clone();
            let task = tokio::task::spawn_blocking(move || {
                let outcome = work();
                reads.give_back(place);
                outcome
            });
            task.await.map_err(io::Error::other)
        };
        tokio::time::timeout(patience, reading).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

type Reading = Pin<Box<dyn Future<Output = io::Result<io::Result<Vec<u8>>>>>>;

/// A part of a file.
pub(crate) struct FileBody {
    file: Arc<File>,
    /// Among the answers that hold a file open.
    _place: Option<FilePlace>,
    part: Range<u64>,
    reads: FileReads,
    patience: Duration,
    reading: Option<Reading>,
}

impl FileBody {
    /// That part of an open file, and its place until it is dropped.
    pub(super) fn new(
        (file, place): (File, Option<FilePlace>),
        part: Range<u64>,
        reads: FileReads,
        patience: Duration,
    ) -> Self {
        Self { file: Arc::new(file), _place: place, part, reads, patience, reading: None }
    }

    /// Bytes that are still to come.
    pub(crate) fn left_bytes(&self) -> u64 {
        self.part.end - self.part.start
    }

    /// The next piece; none at the end.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let wanted = usize::try_from(self.left_bytes()).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        if wanted == 0 {
            return Poll::Ready(None);
        }
        if self.reading.is_none() {
            match read_in_memory(&self.file, self.part.start, wanted) {
                Ok(Some(piece)) => return Poll::Ready(Some(self.take(piece))),
                Ok(None) => {
                    let (file, reads, patience) = (self.file.clone(), self.reads.clone(), self.patience);
                    let start = self.part.start;
                    self.reading = Some(Box::pin(async move {
                        reads.run(patience, move || read_on_disk(&file, start, wanted)).await
                    }));
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let outcome = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(Some(outcome.and_then(|read| read).and_then(|piece| self.take(piece))))
    }

    fn take(&mut self, piece: Vec<u8>) -> io::Result<Bytes> {
        if piece.is_empty() {
            // Its length has been promised: the connection must break, or the caller would take it for whole.
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
        }
        self.part.start += piece.len() as u64;
        Ok(piece.into())
    }
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBody").field("part", &self.part).finish_non_exhaustive()
    }
}

/// What the kernel has at hand; none when it would have to wait, or cannot tell.
fn read_in_memory(file: &File, start: u64, wanted: usize) -> io::Result<Option<Vec<u8>>> {
    let mut piece = vec![0; wanted];
    match preadv2(file, &mut [IoSliceMut::new(&mut piece)], start, ReadWriteFlags::NOWAIT) {
        Ok(bytes) => {
            piece.truncate(bytes);
            Ok(Some(piece))
        }
        Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_on_disk(file: &File, start: u64, wanted: usize) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; wanted];
    let bytes = loop {
        match file.read_at(&mut piece, start) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => break outcome?,
        }
    };
    piece.truncate(bytes);
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    async fn all(mut body: FileBody) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(piece) = std::future::poll_fn(|cx| body.poll_piece(cx)).await {
            bytes.extend(piece?);
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn a_part_of_any_size_arrives_in_order_and_a_file_cut_meanwhile_is_an_error() {
        let content: Vec<u8> = (0..200_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        let (reads, patience) = (FileReads::new(1), Duration::from_secs(5));
        for part in [0..200_000, 1..2, 65_535..131_073, 199_999..200_000] {
            let body = FileBody::new((file.reopen().unwrap(), None), part.clone(), reads.clone(), patience);
            let (start, end) = (usize::try_from(part.start).unwrap(), usize::try_from(part.end).unwrap());
            assert_eq!(all(body).await.unwrap(), content[start..end]);
        }
        let body = FileBody::new((file.reopen().unwrap(), None), 0..200_000, reads, patience);
        file.as_file().set_len(100_000).unwrap();
        assert_eq!(all(body).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn reading_elsewhere_gives_the_same_and_waits_for_its_place_no_longer_than_told() {
        let reads = FileReads::new(1);
        assert_eq!(reads.run(Duration::from_secs(5), || 7).await.unwrap(), 7);
        let _taken = reads.places.clone().acquire_owned().await.unwrap();
        let waited = reads.run(Duration::from_millis(10), || 7).await;
        assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_new_bound_counts_what_was_begun_under_the_old_one() {
        let reads = FileReads::new(3);
        let take = |reads: &FileReads| reads.places.clone().try_acquire_owned();
        let busy = [take(&reads).unwrap(), take(&reads).unwrap()];
        let fewer = reads.bounded(1);
        assert!(take(&fewer).is_err(), "two are busy, and one is allowed");
        let [first, second] = busy;
        fewer.give_back(first);
        assert!(take(&fewer).is_err(), "one is busy, and one is allowed");
        fewer.give_back(second);
        let _only = take(&fewer).unwrap();
        assert!(take(&fewer).is_err());
        let more = fewer.bounded(2);
        let _other = take(&more).unwrap();
        assert!(take(&more).is_err());
    }
}

//! What a source is handed: a way to the workers, and when to end.

use super::Message;
use crate::ack::place::Holdings;
use crate::error::RunError;
use crate::event::Chunk;
use crate::sync::BoxFuture;
use crate::telemetry::Counters;
use crate::telemetry::watchdog::Call;
use crate::time::clock;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Where a source puts what it reads. Dropping the last clone tells the workers that this source has ended.
#[derive(Clone)]
pub struct Output {
    pub(crate) workers: Vec<crossbeam_channel::Sender<Message>>,
    pub(crate) source: usize,
    pub(crate) room: Arc<crate::buffer::Room>,
    pub(crate) counters: Arc<Counters>,
    /// Whoever holds it is told when the last clone has gone.
    pub(crate) _open: Arc<OutputOpen>,
}

/// Tells when nothing more will come from a source.
pub(crate) struct OutputOpen(pub(crate) Box<dyn Fn() + Send + Sync>);

impl Drop for OutputOpen {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The workers are gone: the agent is stopping.
#[derive(Debug)]
pub struct Closed;

/// Why [`Output::send_timeout`] did not hand over a chunk.
pub enum NotSent {
    /// The workers had enough all the time; the chunk comes back.
    Full(Chunk),
    /// The workers are gone; the chunk's verdict is `Failed`.
    Closed,
}

impl Output {
    /// Hands over a chunk; waits while the workers have enough. One origin's chunks stay in order.
    ///
    /// Errors: the agent is stopping hard; the chunk's verdict is `Failed`.
    pub fn send(&self, chunk: Chunk) -> Result<(), Closed> {
        let bytes = chunk.pinned_bytes();
        let waited = self.room.acquire(bytes);
        if let Some(waited) = waited {
            self.counters.waited(waited);
        }
        let n = (chunk.origin.order % self.workers.len() as u64) as usize;
        self.workers[n].send(Message::Chunk(self.source, chunk)).map_err(|_| {
            self.room.release(bytes);
            Closed
        })
    }

    /// As [`send`](Output::send), waiting at most `timeout`: for sources that have other things to do meanwhile.
    #[expect(clippy::result_large_err, reason = "the chunk comes back to be sent again")]
    pub fn send_timeout(&self, chunk: Chunk, timeout: Duration) -> Result<(), NotSent> {
        let bytes = chunk.pinned_bytes();
        let (taken, waited) = self.room.acquire_timeout(bytes, timeout);
        if let Some(waited) = waited {
            self.counters.waited(waited);
        }
        if !taken {
            return Err(NotSent::Full(chunk));
        }
        let n = (chunk.origin.order % self.workers.len() as u64) as usize;
        self.workers[n].send(Message::Chunk(self.source, chunk)).map_err(|_| {
            self.room.release(bytes);
            NotSent::Closed
        })
    }

    /// As [`send`](Output::send), waiting without blocking the thread. Where it is cancelled, the chunk is gone, its
    /// verdict `Failed`.
    pub async fn send_async(&self, mut chunk: Chunk) -> Result<(), Closed> {
        let bytes = chunk.pinned_bytes();
        let n = (chunk.origin.order % self.workers.len() as u64) as usize;
        let mut since = None;
        loop {
            let mut freed = std::pin::pin!(self.room.freed());
            freed.as_mut().enable();
            if self.room.try_acquire(bytes) {
                match self.workers[n].try_send(Message::Chunk(self.source, chunk)) {
                    Ok(()) => break,
                    Err(crossbeam_channel::TrySendError::Disconnected(_)) => {
                        self.room.release(bytes);
                        return Err(Closed);
                    }
                    // Very many very small chunks: there is room, but no place.
                    Err(crossbeam_channel::TrySendError::Full(back)) => {
                        self.room.release(bytes);
                        let Message::Chunk(_, back) = back else { return Err(Closed) };
                        chunk = back;
                        since.get_or_insert_with(clock::monotonic);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                }
            }
            since.get_or_insert_with(clock::monotonic);
            freed.await;
        }
        if let Some(since) = since {
            self.counters.waited(since.elapsed());
        }
        Ok(())
    }

    /// As [`send`](Output::send) without waiting: gives the chunk back where the workers have enough.
    pub fn try_send(&self, chunk: Chunk) -> Result<(), Chunk> {
        let bytes = chunk.pinned_bytes();
        if !self.room.try_acquire(bytes) {
            return Err(chunk);
        }
        let n = (chunk.origin.order % self.workers.len() as u64) as usize;
        self.workers[n].send(Message::Chunk(self.source, chunk)).or_else(|e| {
            self.room.release(bytes);
            if let Message::Chunk(_, chunk) = e.0 { Err(chunk) } else { Ok(()) }
        })
    }
}

/// What a running source is handed.
pub struct SourceContext {
    /// Where chunks go. To be dropped when nothing more will come, before waiting for verdicts.
    pub output: Output,
    /// Resolves when the agent stops: end reading, drop `output`, wait for verdicts, save positions, return.
    pub shutdown: CancellationToken,
    /// Resolves when another has its place, or it is removed: take nobody new, and let those that are there come to their end.
    /// `shutdown` follows in some time; at once where the source's plan does not [overlap](crate::component::plan::SourcePlan::overlaps).
    pub leave: CancellationToken,
    /// Resolves when waiting for verdicts is over too: save what is known and return at once.
    pub deadline: CancellationToken,
    /// The source's counters (the worker counts events in and out; the source counts what never becomes an event).
    pub counters: Arc<Counters>,
    /// What the sinks that it reaches held of its files at the start.
    pub holdings: Holdings,
    /// To be begun and ended with each step that takes no time where all is well.
    pub call: Call,
    /// It is started again where it ends with an error: where what it has sent failed, it is to end so, to be read again from the
    /// place of the first that is not settled.
    pub begins_again: bool,
}

/// A source, ready to run. It drives itself until `shutdown`, or until its input ends.
pub enum SourceRun {
    /// Runs on a thread of its own and may block.
    Thread(Box<dyn FnOnce(SourceContext) -> Result<(), RunError> + Send>),
    /// Runs on the runtime of sockets and timers and must not block.
    Task(Box<dyn FnOnce(SourceContext) -> BoxFuture<Result<(), RunError>> + Send>),
}

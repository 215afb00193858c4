//! The memory buffer before a sink, and the byte budget between a source and the workers.

use crate::ack::Verdict;
use crate::event::Batch;
use crate::sync::Locked;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::telemetry::Counters;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What happens to a batch that finds its queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FullPolicy {
    /// Wait, up to the source.
    #[default]
    Block,
    /// Drop the batch that comes, counted.
    DropNewest,
    /// Drop batches that wait, oldest first, until it fits; counted.
    DropOldest,
}

/// A bounded queue of batches in front of a sink.
///
/// Bounded in bytes that its batches pin; one batch is always let in, however large, so that nothing waits for ever.
/// Its lock is taken once a batch.
pub struct Queue {
    state: Mutex<State>,
    /// Room was made; blocking senders wait for it.
    room: Condvar,
    /// Something came; blocking readers wait for it.
    some: Condvar,
    async_room: Notify,
    async_some: Notify,
    policy: FullPolicy,
    counters: Arc<Counters>,
    place: Place,
}

/// Where a queue stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the sink's buffer.
    Alone,
    /// Before a disk buffer, whose the gauges are.
    BeforeDisk,
    /// Behind a disk buffer: what goes in was counted when it entered the first queue.
    BehindDisk,
}

#[derive(Default)]
struct State {
    batches: VecDeque<(Batch, usize)>,
    bytes: usize,
    events: u64,
    /// Events of senders that wait for room: counted, and not in it.
    waiting: u64,
    senders: usize,
    /// Number of the reader that may take batches: earlier ones see the end.
    reader: u64,
    /// Senders do not wait: the sink is removed, and what comes is little.
    lets_all_in: bool,
    /// The reader is gone or told to leave: what comes is dropped, its verdict `Failed`.
    closed: bool,
    max_bytes: usize,
}

/// What a blocking read brought.
pub enum Received {
    /// A batch.
    Batch(Batch),
    /// Nothing came in time.
    Timeout,
    /// No more will come.
    Closed,
}

/// One way into a [`Queue`]. When the last is dropped, the reader sees the end.
pub struct QueueSender {
    queue: Arc<Queue>,
}

impl Queue {
    /// A queue for the sink that `counters` belong to.
    pub fn new(max_bytes: usize, policy: FullPolicy, counters: Arc<Counters>) -> Arc<Self> {
        counters.update(|t| {
            t.gauges.insert("buffer_max_bytes", max_bytes as f64);
        });
        Self::build(max_bytes, policy, counters, Place::Alone)
    }

    /// The queue before a disk buffer: it counts what comes in, and leaves the gauges to the disk buffer.
    pub fn before_stage(max_bytes: usize, counters: Arc<Counters>) -> Arc<Self> {
        Self::build(max_bytes, FullPolicy::Block, counters, Place::BeforeDisk)
    }

    /// The queue between a disk buffer and its sink: what goes in was counted already.
    pub fn for_stage(max_bytes: usize, counters: Arc<Counters>) -> Arc<Self> {
        Self::build(max_bytes, FullPolicy::Block, counters, Place::BehindDisk)
    }

    fn build(max_bytes: usize, policy: FullPolicy, counters: Arc<Counters>, place: Place) -> Arc<Self> {
        Arc::new(Queue {
            state: Mutex::new(State { max_bytes, ..State::default() }),
            room: Condvar::new(),
            some: Condvar::new(),
            async_room: Notify::new(),
            async_some: Notify::new(),
            policy,
            counters,
            place,
        })
    }

    /// Holds so many bytes from now on. What it has stays.
    pub fn set_max_bytes(&self, max_bytes: usize) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.max_bytes, max_bytes) == max_bytes {
            return;
        }
        drop(state);
        if self.place == Place::Alone {
            self.counters.update(|t| _ = t.gauges.insert("buffer_max_bytes", max_bytes as f64));
        }
        self.room.notify_all();
        self.async_room.notify_waiters();
    }

    /// When what has waited longest was read: nanoseconds since 1970 UTC.
    pub fn oldest(&self) -> Option<i64> {
        self.lock().batches.front().map(|(batch, _)| batch.received_at)
    }

    /// A way in.
    pub fn sender(self: &Arc<Self>) -> QueueSender {
        self.lock().senders += 1;
        QueueSender { queue: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    /// Takes the next batch out.
    fn pop(&self, state: &mut State) -> Option<Batch> {
        let (batch, bytes) = state.batches.pop_front()?;
        state.bytes -= bytes;
        state.events -= batch.len() as u64;
        self.publish(state);
        self.room.notify_one();
        self.async_room.notify_one();
        Some(batch)
    }

    fn publish(&self, state: &State) {
        if self.place != Place::Alone {
            return;
        }
        let (bytes, events) = (state.bytes as f64, state.events as f64);
        self.counters.update(|t| {
            t.gauges.insert("buffer_bytes", bytes);
            t.gauges.insert("buffer_events", events);
        });
    }

    /// The next batch; waits at most `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Received {
        self.recv_timeout_as(None, timeout)
    }

    /// As [`recv_timeout`](Queue::recv_timeout), for the reader with this number: when another has taken over, it is the end.
    pub fn recv_timeout_as(&self, reader: Option<u64>, timeout: Duration) -> Received {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if reader.is_some_and(|n| n != state.reader) {
                return Received::Closed;
            }
            if let Some(batch) = self.pop(&mut state) {
                return Received::Batch(batch);
            }
            if state.senders == 0 || state.closed {
                return Received::Closed;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Received::Timeout;
            }
            state = self.some.wait_timeout(state, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// The next batch; `None` when no more will come. Safe to cancel.
    pub async fn recv(&self) -> Option<Batch> {
        self.recv_as(None).await
    }

    /// As [`recv`](Queue::recv), for the reader with this number: when another has taken over, it is the end.
    pub async fn recv_as(&self, reader: Option<u64>) -> Option<Batch> {
        loop {
            let notified = self.async_some.notified();
            {
                let mut state = self.lock();
                if reader.is_some_and(|n| n != state.reader) {
                    return None;
                }
                if let Some(batch) = self.pop(&mut state) {
                    return Some(batch);
                }
                if state.senders == 0 || state.closed {
                    return None;
                }
            }
            notified.await;
        }
    }

    /// The next batch, where one is there.
    pub fn try_recv(&self) -> Option<Batch> {
        let mut state = self.lock();
        self.pop(&mut state)
    }

    /// Another reader takes over, with all that is in it: the one before sees the end. Gives the new one's number; the first
    /// is 0.
    pub fn hand_over(&self) -> u64 {
        let mut state = self.lock();
        state.reader += 1;
        self.some.notify_all();
        self.async_some.notify_waiters();
        self.async_some.notify_one();
        state.reader
    }

    /// The number of the reader that may take batches.
    pub fn reader(&self) -> u64 {
        self.lock().reader
    }

    /// Puts back what a reader could not deliver, to be taken first. It was counted when it came, so it is not again.
    pub fn give_back(&self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        let bytes = batch.pinned_bytes();
        let mut state = self.lock();
        if state.closed {
            return; // its verdict is Failed, and its events stay held
        }
        state.bytes += bytes;
        state.events += batch.len() as u64;
        state.batches.push_front((batch, bytes));
        self.publish(&state);
        self.some.notify_one();
        self.async_some.notify_one();
    }

    /// Lets senders wait no more, whatever the bound: for a sink that is removed, so that it holds up nobody.
    pub fn let_all_in(&self) {
        self.lock().lets_all_in = true;
        self.room.notify_all();
        self.async_room.notify_waiters();
        self.async_room.notify_one();
    }

    /// Lets nobody wait any more: senders get their batches dropped with the verdict `Failed`, the reader sees the
    /// end. Returns how many events were still in it.
    pub fn close(&self) -> u64 {
        let mut state = self.lock();
        state.closed = true;
        let left = state.events;
        self.room.notify_all();
        self.some.notify_all();
        self.async_room.notify_waiters();
        self.async_some.notify_waiters();
        self.async_room.notify_one();
        self.async_some.notify_one();
        left
    }

    fn fits(&self, state: &State, bytes: usize) -> bool {
        state.batches.is_empty() || state.lets_all_in || state.bytes + bytes <= state.max_bytes
    }

    fn add(&self, state: &mut State, batch: Batch, bytes: usize) {
        state.bytes += bytes;
        state.events += batch.len() as u64;
        state.batches.push_back((batch, bytes));
        self.publish(state);
        self.some.notify_one();
        self.async_some.notify_one();
    }

    /// Counts what the reader took and did not settle as dropped (`failed`), where it has failed and its share of the verdict is
    /// `Failed`: nobody has it any more. Gives how many events. Only of a queue that is the sink's buffer.
    pub fn give_up_taken(&self) -> u64 {
        let state = self.lock();
        let here = state.events + state.waiting;
        self.counters.update(|t| {
            let taken = t.held.saturating_sub(here);
            t.held -= taken;
            t.drop_events("failed", taken);
            taken
        })
    }

    /// Counts a batch of so many events and bytes, received then, as given to the sink. Once per batch, before it is put in or
    /// dropped, under the lock.
    fn count_in(&self, (events, bytes): (u64, u64), received_at: i64) {
        if self.place != Place::BehindDisk {
            self.counters.given(events, bytes, received_at);
        }
    }

    /// A batch that pins much more than it uses is copied before it waits.
    fn slim(&self, mut batch: Batch) -> Batch {
        if batch.live_bytes().saturating_mul(4) < batch.pinned_bytes() && batch.pinned_bytes() > 4096 {
            // Taken out first: the copy must not make a share of its own, whose end without verdict would be a failure.
            let ack = batch.ack.take();
            let mut small = batch.compact();
            small.ack = ack;
            batch.recycle();
            return small;
        }
        batch
    }

    /// Applies a policy that drops; gives the batch back where it has to wait instead.
    fn offer(&self, state: &mut State, batch: Batch, bytes: usize) -> Option<Batch> {
        if state.closed {
            drop(batch); // its share of the verdict becomes Failed; the events stay held
            return None;
        }
        if self.fits(state, bytes) {
            self.add(state, batch, bytes);
            return None;
        }
        match self.policy {
            FullPolicy::Block => Some(batch),
            FullPolicy::DropNewest => {
                self.dropped(batch);
                None
            }
            FullPolicy::DropOldest => {
                while !self.fits(state, bytes) {
                    match self.pop(state) {
                        Some(old) => self.dropped(old),
                        None => break,
                    }
                }
                self.add(state, batch, bytes);
                None
            }
        }
    }

    fn dropped(&self, mut batch: Batch) {
        let events = batch.len() as u64;
        self.counters.update(|t| {
            t.drop_events("buffer_full", events);
            t.held = t.held.saturating_sub(events);
        });
        batch.ack.take().settle(Verdict::Rejected);
        batch.recycle();
    }
}

impl QueueSender {
    /// Puts a batch in, as the queue's policy says; blocks where that is to wait.
    pub fn send(&self, batch: Batch) {
        let queue = &*self.queue;
        let (size, received_at) = ((batch.len() as u64, batch.live_bytes() as u64), batch.received_at);
        let mut batch = queue.slim(batch);
        let bytes = batch.pinned_bytes();
        let mut state = queue.lock();
        queue.count_in(size, received_at);
        let mut since = None;
        loop {
            match queue.offer(&mut state, batch, bytes) {
                None => break,
                Some(back) => {
                    batch = back;
                    since.get_or_insert_with(Instant::now);
                    state.waiting += size.0;
                    state = queue.room.wait(state).unwrap_or_else(|e| e.into_inner());
                    state.waiting -= size.0;
                }
            }
        }
        drop(state);
        if let Some(since) = since {
            queue.counters.waited(since.elapsed());
            // Another sender may wait for the room that is left.
            queue.room.notify_one();
            queue.async_room.notify_one();
        }
    }

    /// As [`send`](QueueSender::send), waiting without blocking the thread.
    pub async fn send_async(&self, batch: Batch) {
        let queue = &*self.queue;
        let (size, received_at) = ((batch.len() as u64, batch.live_bytes() as u64), batch.received_at);
        let mut batch = Some(queue.slim(batch));
        let mut is_counted = false;
        loop {
            let notified = queue.async_room.notified();
            {
                let mut state = queue.lock();
                match std::mem::replace(&mut is_counted, true) {
                    true => state.waiting -= size.0,
                    false => queue.count_in(size, received_at),
                }
                let Some(now) = batch.take() else { return };
                let bytes = now.pinned_bytes();
                match queue.offer(&mut state, now, bytes) {
                    None => return,
                    Some(back) => {
                        state.waiting += size.0;
                        batch = Some(back);
                    }
                }
            }
            notified.await;
        }
    }

    /// The queue it leads into.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Clone for QueueSender {
    fn clone(&self) -> Self {
        self.queue.sender()
    }
}

impl Drop for QueueSender {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.senders -= 1;
        if state.senders == 0 {
            self.queue.some.notify_all();
            self.queue.async_some.notify_waiters();
            self.queue.async_some.notify_one();
        }
    }
}

/// The way from a disk buffer to its sink.
#[derive(Clone)]
pub struct StageSender(QueueSender);

impl StageSender {
    /// Over a queue made by [`Queue::for_stage`].
    pub fn new(sender: QueueSender) -> Self {
        StageSender(sender)
    }

    /// Whether the sink takes no more: what is sent is dropped, its verdict `Failed`.
    pub fn is_closed(&self) -> bool {
        self.0.queue.lock().closed
    }

    /// Gives the sink a batch, where there is room for it; else gives it back.
    pub fn try_send(&self, batch: Batch) -> Option<Batch> {
        let bytes = batch.pinned_bytes();
        self.0.queue.offer(&mut self.0.queue.lock(), batch, bytes)
    }

    /// As [`try_send`](StageSender::try_send), waiting for room for at most `timeout`.
    pub fn send_within(&self, mut batch: Batch, timeout: Duration) -> Option<Batch> {
        let queue = &*self.0.queue;
        let bytes = batch.pinned_bytes();
        let since = Instant::now();
        let mut state = queue.lock();
        loop {
            batch = queue.offer(&mut state, batch, bytes)?;
            let left = timeout.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Some(batch);
            }
            state = queue.room.wait_timeout(state, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// The number of the sink that takes batches: another one where it has begun again.
    pub fn reader(&self) -> u64 {
        self.0.queue.reader()
    }

    /// Bytes that wait for the sink in memory.
    pub fn bytes(&self) -> usize {
        self.0.queue.lock().bytes
    }

    /// Gives the sink a batch; waits while it has enough.
    pub fn send(&self, batch: Batch) {
        self.0.send(batch);
    }
}

/// A budget of bytes: chunks on their way from one source to the workers. One is always let through.
pub struct Room {
    used: Mutex<Used>,
    freed: Condvar,
    async_freed: Notify,
}

#[derive(Default)]
struct Used {
    bytes: usize,
    max: usize,
    /// Nobody waits any more.
    is_open: bool,
}

impl Used {
    fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= self.max || self.is_open
    }
}

impl Room {
    /// A budget of `max` bytes.
    pub fn new(max: usize) -> Arc<Self> {
        let used = Mutex::new(Used { max, ..Used::default() });
        Arc::new(Room { used, freed: Condvar::new(), async_freed: Notify::new() })
    }

    /// It is of so many bytes from now on.
    pub fn set_max(&self, max: usize) {
        self.used.lock().unwrap_or_else(|e| e.into_inner()).max = max;
        self.freed.notify_all();
        self.async_freed.notify_waiters();
    }

    /// Takes `bytes`, waiting until they are there; how long, where it had to wait.
    pub fn acquire(&self, bytes: usize) -> Option<Duration> {
        let mut used = self.used.locked();
        let mut since = None;
        while !used.has_room(bytes) {
            since.get_or_insert_with(Instant::now);
            used = self.freed.wait(used).unwrap_or_else(|e| e.into_inner());
        }
        used.bytes += bytes;
        since.map(|s| s.elapsed())
    }

    /// As [`acquire`](Room::acquire), waiting at most `timeout`: whether they were taken, and how long it waited.
    pub fn acquire_timeout(&self, bytes: usize, timeout: Duration) -> (bool, Option<Duration>) {
        let mut used = self.used.locked();
        let mut since = None;
        while !used.has_room(bytes) {
            let waited = since.get_or_insert_with(Instant::now).elapsed();
            if waited >= timeout {
                return (false, Some(waited));
            }
            used = self.freed.wait_timeout(used, timeout - waited).unwrap_or_else(|e| e.into_inner()).0;
        }
        used.bytes += bytes;
        (true, since.map(|s| s.elapsed()))
    }

    /// Takes `bytes` where they are there.
    pub fn try_acquire(&self, bytes: usize) -> bool {
        let mut used = self.used.locked();
        if !used.has_room(bytes) {
            return false;
        }
        used.bytes += bytes;
        true
    }

    /// Gives `bytes` back.
    pub fn release(&self, bytes: usize) {
        let mut used = self.used.locked();
        used.bytes = used.bytes.saturating_sub(bytes);
        drop(used);
        self.freed.notify_all();
        self.async_freed.notify_waiters();
    }

    /// Resolves when bytes are given back. To be enabled before trying, so that nothing is missed between.
    pub fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.async_freed.notified()
    }

    /// Lets nobody wait any more.
    pub fn open(&self) {
        self.used.locked().is_open = true;
        self.freed.notify_all();
        self.async_freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;

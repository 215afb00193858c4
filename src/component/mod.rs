//! What a component is, and what it is handed. Shared duties (metrics, acknowledgement on drop, fan-out) are the
//! topology's, so that a component cannot forget them.

pub mod common;
pub mod letter;
pub mod message;
pub mod plan;

pub use crate::sync::BoxFuture;
pub use message::{Message, Retire};
pub use plan::WantedConnections;

use crate::ack::place::{Holdings, Report};
use crate::ack::{Ack, Verdict};
use crate::buffer::{Queue, QueueSender, Received};
use crate::component::letter::push_envelope;
use crate::error::RunError;
use crate::event::{Batch, Chunk, FieldPath, Sym, Value};
use crate::telemetry::Health;
use crate::telemetry::watchdog::Call;
use crate::telemetry::{Counters, Totals, example_of};
use crate::time::clock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What every component is built with.
#[derive(Clone)]
pub struct BuildContext {
    /// Id of the component.
    pub id: Arc<str>,
    /// Where state is kept; exists.
    pub data_dir: PathBuf,
    /// Zone of times that name none.
    pub timezone: jiff::tz::TimeZone,
    /// The component's counters.
    pub counters: Arc<Counters>,
    /// Sources read to the end and stop.
    pub once: bool,
    /// Paths that the agent itself writes: no source may tail them.
    pub own_files: Arc<Vec<PathBuf>>,
    /// Name of the host.
    pub host: Arc<str>,
    /// Bytes of events that the agent may hold in memory.
    pub memory_limit: usize,
    /// Bytes that a sink may hold beside its queue, in bodies of requests: its part of `memory_limit`, as far as it asked for
    /// some ([`SinkPlan::working_bytes`](crate::component::plan::SinkPlan::working_bytes)).
    pub working_bytes: usize,
    /// Connections that a source may have at once, as far as it asked for some
    /// ([`SourcePlan::connections`](crate::component::plan::SourcePlan::connections)).
    pub connections: u32,
    /// Handles that connections leave to everything else.
    pub handles: u64,
    /// A source upstream decodes access logs.
    pub reads_access_logs: bool,
    /// Nothing is left to chance: `sample` keeps what has a share above 0. For unit tests of pipelines.
    pub no_chance: bool,
}

// ---------------------------------------------------------------------------------------------------------------
// Sources

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
            self.counters.update(|t| *t.seconds.entry("backpressure").or_default() += waited.as_secs_f64());
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
            self.counters.update(|t| *t.seconds.entry("backpressure").or_default() += waited.as_secs_f64());
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
            let waited = since.elapsed().as_secs_f64();
            self.counters.update(|t| *t.seconds.entry("backpressure").or_default() += waited);
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

// ---------------------------------------------------------------------------------------------------------------
// Transforms

/// Changes batches: pure and synchronous, no I/O, no waiting, no clock (a batch carries its own time).
///
/// Each worker has its own instance, made by [`fork`](Transform::fork) from the one that was built.
pub trait Transform: Send {
    /// Takes a batch; what stays live in it leaves by the default output.
    ///
    /// Every event that came in must stay live, or be accounted for by one call on `out` ([`Emitter::dropped`],
    /// [`Emitter::reject`], [`Emitter::emit`], [`Emitter::held`]); the worker checks the sum in debug builds.
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>);

    /// Another instance for another worker; what must be one (limits, windows) is shared behind it.
    fn fork(&self) -> Box<dyn Transform>;

    /// Whether it may be given events again that it has seen in a call which panicked: not where it keeps of them what lets it see
    /// repeats or sums, as these are shared by all instances and go on.
    fn may_redo(&self) -> bool {
        true
    }

    /// Whether code of the embedding program runs in it: then a copy of each batch is kept while it works, so that a panic costs no
    /// more than the event that made it.
    fn is_of_program(&self) -> bool {
        false
    }

    /// Whether it may keep events beyond the call that gave them: then no sink is told how far a source has come.
    fn keeps_events(&self) -> bool {
        false
    }

    /// How often [`tick`](Transform::tick) is to be called; `None` for never.
    fn tick_interval(&self) -> Option<Duration> {
        None
    }

    /// Called about every `tick_interval`, on any worker, with the time in nanoseconds since 1970 UTC.
    fn tick(&mut self, _now: i64, _out: &mut Emitter<'_>) {}

    /// Called once, on one worker, when no more batches will come: emit what is held.
    fn finish(&mut self, _now: i64, _out: &mut Emitter<'_>) {}
}

/// What a transform does with events besides passing them on.
pub struct Emitter<'a> {
    pub(crate) component: &'a str,
    pub(crate) rejected_read: bool,
    pub(crate) rejects: Option<Batch>,
    /// The batch as it came, where the transform changes events before it may reject them.
    pub(crate) originals: Option<Batch>,
    pub(crate) outputs: Vec<(usize, Batch)>,
    pub(crate) delta: &'a mut Delta,
    pub(crate) json: &'a mut Vec<u8>,
    /// When it rejected first: the time of all letters of one call.
    pub(crate) rejected_at: Option<i64>,
}

/// Sums of one call of a transform, published by the worker.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    pub(crate) created: u64,
    pub(crate) held: i64,
    pub(crate) dropped: Vec<(&'static str, u64)>,
    pub(crate) rejected: Vec<(&'static str, u64)>,
    pub(crate) errors: Vec<(&'static str, u64)>,
    pub(crate) rules: Vec<(&'static str, Arc<str>, u64)>,
    pub(crate) examples: Vec<(&'static str, String)>,
}

fn add(list: &mut Vec<(&'static str, u64)>, reason: &'static str, n: u64) {
    if n == 0 {
        return;
    }
    match list.iter_mut().find(|(r, _)| *r == reason) {
        Some((_, sum)) => *sum += n,
        None => list.push((reason, n)),
    }
}

impl<'a> Emitter<'a> {
    pub(crate) fn new(component: &'a str, rejected_read: bool, delta: &'a mut Delta, json: &'a mut Vec<u8>) -> Self {
        Emitter {
            component,
            rejected_read,
            rejects: None,
            originals: None,
            outputs: Vec::new(),
            delta,
            json,
            rejected_at: None,
        }
    }

    /// Counts events that the transform has dropped from the batch.
    pub fn dropped(&mut self, reason: &'static str, events: u64) {
        add(&mut self.delta.dropped, reason, events);
    }

    /// Counts events that the transform made beyond those that came in.
    pub fn created(&mut self, events: u64) {
        self.delta.created += events;
    }

    /// Counts events taken out of the batch to be emitted later (positive), or emitted now from there (negative).
    pub fn held(&mut self, events: i64) {
        self.delta.held += events;
    }

    /// Counts mistakes that did not end an event.
    pub fn error(&mut self, kind: &'static str, n: u64) {
        add(&mut self.delta.errors, kind, n);
    }

    /// Shows one error of a kind to whoever reads the log; call it once a batch, and only where there is one.
    pub fn example(&mut self, kind: &'static str, text: &[u8]) {
        if self.delta.examples.iter().all(|(k, _)| *k != kind) {
            self.delta.examples.push((kind, example_of(text)));
        }
    }

    /// Adds to a counter `tidegate_<metric>_total{rule="…"}`.
    pub fn count_rule(&mut self, metric: &'static str, rule: &Arc<str>, n: u64) {
        if n > 0 {
            self.delta.rules.push((metric, rule.clone(), n));
        }
    }

    /// Puts a batch out by the named output with this number: from 1, its place among the names the plan gave (0 is the default output).
    ///
    pub fn emit(&mut self, output: usize, batch: Batch) {
        self.outputs.push((output, batch));
    }

    /// Keeps the batch as it is: what is rejected from now on goes as it is here, whatever is done to it meanwhile.
    pub fn keep_originals(&mut self, batch: &Batch) {
        self.originals = self.rejected_read.then(|| batch.snapshot());
    }

    /// Takes the event in `row` out of the batch and puts it, as it is now or as it was
    /// [kept](Emitter::keep_originals), into an envelope to the `rejected` output. Where nobody reads that output it is counted as dropped, `reason="rejected_unread"`.
    pub fn reject(&mut self, batch: &mut Batch, row: usize, reason: &'static str, detail: &str) {
        if !self.rejected_read {
            add(&mut self.delta.dropped, "rejected_unread", 1);
            batch.drop_row(row);
            return;
        }
        add(&mut self.delta.rejected, reason, 1);
        let rejects = self.rejects.get_or_insert_with(|| batch.sibling());
        let from = self.originals.as_ref().unwrap_or(batch);
        // The batch's own time may be long past: it may have waited, or be a replayed letter.
        let now = *self.rejected_at.get_or_insert_with(clock::now_ns);
        push_envelope(rejects, from, row, self.component, reason, detail, now, self.json);
        batch.drop_row(row);
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Sinks

/// A sink, ready to run. It ends when its input ends, and settles every batch it was given.
pub enum SinkRun {
    /// Runs on a thread of its own and may block.
    Thread(Box<dyn FnOnce(Input) -> Result<(), RunError> + Send>),
    /// Runs on the runtime of sockets and timers and must not block.
    Task(Box<dyn FnOnce(Input) -> BoxFuture<Result<(), RunError>> + Send>),
}

/// What a running sink is handed: its batches, its counters, and where refused events go.
pub struct Input {
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) dead_letter: Option<DeadLetter>,
    pub(crate) abort: CancellationToken,
    /// The agent stops, where what the sink is given lies in a disk buffer until it is settled.
    pub(crate) may_leave: Option<CancellationToken>,
    pub(crate) successors: Successors,
    pub(crate) health: Arc<Health>,
    /// Where it says at its start what it holds, where it [keeps places](crate::component::plan::SinkPlan::keeps_places).
    pub(crate) report: Report,
    /// Its number among the readers of the queue.
    pub(crate) reader: u64,
    pub(crate) succession: Succession,
    /// See [`call`](Input::call).
    pub(crate) call: Call,
}

/// How a sink makes room for the one that takes its place, with its queue, when its settings have changed.
#[derive(Clone, Debug, Default)]
pub struct Succession {
    /// Another sink has the queue: no more comes.
    pub(crate) replaced: CancellationToken,
    /// It needs nothing any more that its successor needs: that one may begin, though this one has not ended.
    pub(crate) let_go: CancellationToken,
}

/// The sinks that go on under their ids when this graph has ended, because the configuration is read again.
#[derive(Clone, Debug, Default)]
pub struct Successors {
    sinks: Arc<std::sync::Mutex<Vec<(String, &'static str)>>>,
}

impl Successors {
    /// Sets them, by id and type; none where the agent stops.
    pub fn set(&self, sinks: Vec<(String, &'static str)>) {
        *self.sinks.lock().unwrap_or_else(|e| e.into_inner()) = sinks;
    }

    /// Whether there is a sink with this id and type in the next graph too.
    pub fn has(&self, id: &str, type_name: &str) -> bool {
        let sinks = self.sinks.lock().unwrap_or_else(|e| e.into_inner());
        sinks.iter().any(|(sink, its_type)| sink == id && *its_type == type_name)
    }
}

/// Another sink's queue, for events that a sink cannot deliver.
#[derive(Clone)]
pub struct DeadLetter {
    pub(crate) to: QueueSender,
}

/// Sends what a disk buffer can never hold to its sink's dead letter, or counts it as dropped where there is none.
pub struct ToDeadLetter {
    pub(crate) counters: Arc<Counters>,
    pub(crate) dead_letter: Option<DeadLetter>,
}

impl crate::buffer::Refuser for ToDeadLetter {
    /// Waits while the dead letter has enough.
    fn refuse(&self, batch: &Batch, rows: &[usize], ack: Ack, reason: &'static str, detail: &str) {
        let events = rows.len() as u64;
        match &self.dead_letter {
            None => {
                self.counters.update(|t| {
                    t.drop_events(reason, events);
                    t.held = t.held.saturating_sub(events);
                });
                ack.settle(Verdict::Rejected);
            }
            Some(to) => {
                let mut letters = envelopes(&self.counters, batch, rows, reason, detail);
                letters.ack = ack;
                count_rejected(&self.counters, reason, events);
                to.to.send(letters);
            }
        }
    }
}

/// Events of a sink in envelopes, with a share in their batch's verdict.
fn envelopes(counters: &Counters, batch: &Batch, rows: &[usize], reason: &'static str, detail: &str) -> Batch {
    let mut letters = batch.sibling();
    let (now, mut json) = (clock::now_ns(), Vec::new());
    for &row in rows {
        push_envelope(&mut letters, batch, row, &counters.id, reason, detail, now, &mut json);
    }
    letters
}

fn count_rejected(counters: &Counters, reason: &'static str, events: u64) {
    counters.update(|t| {
        t.reject_events(reason, events);
        t.held = t.held.saturating_sub(events);
    });
}

impl Input {
    /// The next batch; waits at most `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Received {
        self.queue.recv_timeout_as(Some(self.reader), timeout)
    }

    /// The next batch; `None` when no more will come. Safe to cancel: no batch is lost.
    pub async fn recv(&self) -> Option<Batch> {
        self.queue.recv_as(Some(self.reader)).await
    }

    /// Resolves when the sink's settings have changed and another takes its place: no more comes, and what is not on its way is to
    /// be [given back](Input::give_back).
    pub async fn replaced(&self) {
        self.succession.replaced.cancelled().await;
    }

    /// Whether another sink has its place.
    pub fn is_replaced(&self) -> bool {
        self.succession.replaced.is_cancelled()
    }

    /// Gives events back that were not delivered, for the sink that takes its place.
    pub fn give_back(&self, batch: Batch) {
        self.queue.give_back(batch);
    }

    /// Lets the sink that takes its place begin, before this one has ended.
    pub fn let_go(&self) {
        self.succession.let_go.cancel();
    }

    /// Resolves when the time to drain is over: leave at once what is not delivered.
    pub fn abort(&self) -> &CancellationToken {
        &self.abort
    }

    /// Resolves when the agent stops and all that the sink has is kept in its disk buffer: what cannot be delivered at once
    /// is better left there than waited for. Never resolves for a sink without one.
    pub async fn may_leave(&self) {
        match &self.may_leave {
            Some(token) => token.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// The sink's counters. What it was given is counted already.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Where it says what it holds.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What `/ready` says of the sink.
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Counts events as delivered, with the bytes written for them, and settles.
    pub fn delivered(&self, ack: Ack, events: u64, bytes: u64, received_at: i64) {
        self.counters.update(|t| {
            t.events_out += events;
            t.bytes_out += bytes;
            t.held = t.held.saturating_sub(events);
        });
        let age = clock::now_ns().saturating_sub(received_at).max(0);
        self.counters.record_age(Duration::from_nanos(age as u64));
        ack.settle(Verdict::Delivered);
    }

    /// Counts events that are gone for good without a dead letter (or by `drop_*`), and settles.
    pub fn dropped(&self, ack: Ack, reason: &'static str, events: u64) {
        self.counters.update(|t| {
            t.drop_events(reason, events);
            t.held = t.held.saturating_sub(events);
        });
        ack.settle(Verdict::Rejected);
    }

    /// Whether the sink has a dead letter.
    pub fn has_dead_letter(&self) -> bool {
        self.dead_letter.is_some()
    }

    fn envelope(&self, batch: &Batch, rows: &[usize], reason: &'static str, detail: &str) -> Batch {
        envelopes(&self.counters, batch, rows, reason, detail)
    }

    /// Sends events that cannot be delivered to the dead letter, or counts them as dropped where there is none.
    ///
    /// The batch itself keeps its acknowledgement, to be settled by the caller; the letter has a share of its own.
    pub fn refuse(&self, batch: &Batch, rows: &[usize], reason: &'static str, detail: &str) {
        match &self.dead_letter {
            None => self.dropped(Ack::none(), reason, rows.len() as u64),
            Some(to) => {
                let letters = self.envelope(batch, rows, reason, detail);
                count_rejected(&self.counters, reason, rows.len() as u64);
                to.to.send(letters);
            }
        }
    }

    /// As [`refuse`](Input::refuse), for sinks that must not block.
    pub async fn refuse_async(&self, batch: &Batch, rows: &[usize], reason: &'static str, detail: &str) {
        match &self.dead_letter {
            None => self.dropped(Ack::none(), reason, rows.len() as u64),
            Some(to) => {
                let letters = self.envelope(batch, rows, reason, detail);
                count_rejected(&self.counters, reason, rows.len() as u64);
                to.to.send_async(letters).await;
            }
        }
    }

    /// To be begun and ended with each step that takes no time where all is well: encoding, a write.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Adds to the totals as one step.
    pub fn count<R>(&self, change: impl FnOnce(&mut Totals) -> R) -> R {
        self.counters.update(change)
    }
}

/// Copies metadata into fields, as `attach: [file, host]` asks.
pub fn attach(batch: &mut Batch, attach: &[(FieldPath, Sym)]) {
    if attach.is_empty() {
        return;
    }
    let mut text = Vec::new();
    for row in 0..batch.rows() {
        if !batch.is_live(row) {
            continue;
        }
        for (path, field) in attach {
            text.clear();
            match batch.event(row).get(path) {
                None => continue,
                Some(Value::I64(n)) => {
                    batch.event_mut(row).set_field(*field, Value::I64(n));
                    continue;
                }
                Some(value) => value.append_text(&mut text),
            }
            batch.event_mut(row).set_field(*field, Value::from(&text[..]));
        }
    }
}

//! What a sink is handed: batches, and what becomes of them; the way to its dead letter.

use super::letter::{Refused, push_envelope};
use crate::ack::place::Report;
use crate::ack::{Ack, Verdict};
use crate::buffer::{Queue, QueueSender, Received};
use crate::error::RunError;
use crate::event::Batch;
use crate::sync::BoxFuture;
use crate::sync::Locked;
use crate::tap::Point;
use crate::telemetry::watchdog::Call;
use crate::telemetry::{Counters, Health, Totals};
use crate::time::clock;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

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
    pub(crate) shutdown_allowed: Option<CancellationToken>,
    pub(crate) successors: Successors,
    pub(crate) health: Arc<Health>,
    /// Where it says at its start what it holds, where it [keeps places](crate::component::plan::SinkPlan::keeps_places).
    pub(crate) report: Report,
    /// Its number among the readers of the queue.
    pub(crate) reader: u64,
    pub(crate) succession: Succession,
    /// See [`call`](Input::call).
    pub(crate) call: Call,
    /// Where its requests are looked at.
    pub(crate) requests: Arc<Point>,
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
        *self.sinks.locked() = sinks;
    }

    /// Whether there is a sink with this id and type in the next graph too.
    pub fn has(&self, id: &str, type_name: &str) -> bool {
        let sinks = self.sinks.locked();
        sinks.iter().any(|(sink, its_type)| sink == id && *its_type == type_name)
    }
}

/// Another sink's queue, for events that a sink cannot deliver.
#[derive(Clone)]
pub struct DeadLetter {
    pub(crate) to: QueueSender,
    /// Where what comes to that sink is looked at.
    pub(crate) point: Arc<Point>,
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
                to.point.look(&letters);
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
        push_envelope(
            &mut letters,
            batch,
            row,
            Refused { component: &counters.id, reason, detail, at: now },
            &mut json,
        );
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
    pub async fn shutdown_allowed(&self) {
        match &self.shutdown_allowed {
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
                to.point.look(&letters);
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
                to.point.look(&letters);
                to.to.send_async(letters).await;
            }
        }
    }

    /// To be begun and ended with each step that takes no time where all is well: encoding, a write.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Where its requests are looked at.
    pub fn requests(&self) -> &Point {
        &self.requests
    }

    /// Adds to the totals as one step.
    pub fn count<R>(&self, change: impl FnOnce(&mut Totals) -> R) -> R {
        self.counters.update(change)
    }
}

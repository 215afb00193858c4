//! A worker: one thread that runs whole chains to completion, from chunk to sink queue, with nothing in between.
//!
//! Each worker has its own instance of every decoder and transform. One origin's chunks always come to the same
//! worker, so their order is kept without sequence numbers.
//!
//! Sources, transforms and sinks stand in lanes, whose numbers never change: a graph that changes gets new lanes, and old ones
//! go ([`Change`], [`Retire`]). A change is taken between two chunks, without waiting for what lies in the channel: a lane that is
//! to go stays until nothing can reach it any more.
//!
//! Of a chunk whose source says its [place](crate::ack::Ack::place), the last batch that a sink is given is marked
//! ([`Batch::whole`]). For that each sink's batch waits here until the next one of the same chunk, or its end.

use super::panicked::Left;
use super::recent::Recent;
use super::steps::take_rejects;
use crate::ack::Verdict;
use crate::buffer::{QueueSender, Room};
use crate::component::{Delta, Emitter, Transform, attach};
use crate::component::{Message, Retire};
use crate::condition::{Condition, Faults};
use crate::decoding::{DecodeStats, Decoder};
use crate::event::Chunk;
use crate::event::{Batch, FieldPath, Sym};
use crate::tap::{Pairs, Point};
use crate::telemetry::panics::caught;
use crate::telemetry::watchdog::Call;
use crate::telemetry::{Counters, Totals};
use crate::time::clock;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Who reads an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The transform with this number.
    Transform(usize),
    /// The sink with this number.
    Sink(usize),
}

/// A source as a worker sees it.
pub struct WorkerSource {
    /// Decodes its chunks.
    pub decoder: Decoder,
    /// `when`: other events are dropped.
    pub when: Option<Condition>,
    /// `attach`.
    pub attach: Vec<(FieldPath, Sym)>,
    /// The source's counters.
    pub counters: Arc<Counters>,
    /// Readers of its events.
    pub targets: Vec<Target>,
    /// Readers of `id.rejected`.
    pub rejected: Vec<Target>,
    /// The budget its chunks are charged to.
    pub room: Arc<Room>,
    /// Calls of its decoder.
    pub call: Call,
    /// Where its last frames are kept, if any are.
    pub recent: Option<Arc<Recent>>,
    /// Where its events are looked at.
    pub point: Arc<Point>,
    /// Where what leaves by `id.rejected` is.
    pub rejected_point: Arc<Point>,
}

/// A transform as a worker sees it.
pub struct WorkerTransform {
    /// The worker's instance.
    pub transform: Box<dyn Transform>,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// Readers by output; the first is the default output.
    pub outputs: Vec<(Arc<str>, Vec<Target>)>,
    /// Which of them is `rejected`.
    pub rejected: Option<usize>,
    /// An instance that nobody has used, of which others are made.
    pub seed: Box<dyn Transform>,
    /// A copy of each batch is kept while it works.
    pub careful: bool,
    /// It has been said that it panics.
    pub has_panicked: bool,
    /// What fails is given again by its origin, where that can be.
    pub origins_give_again: bool,
    /// Its calls.
    pub call: Call,
    /// Where what comes to it is looked at.
    pub input_point: Arc<Point>,
    /// Where what leaves it is, by output.
    pub points: Vec<Arc<Point>>,
}

/// A sink as a worker sees it.
pub struct WorkerSink {
    /// Into its buffer.
    pub sender: QueueSender,
    /// `when`: other events are dropped for this sink.
    pub when: Option<Condition>,
    /// Whether it is given ends of series; else they are dropped for this sink.
    pub takes_stale: bool,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// It was given more than one batch of the present chunk.
    pub several: bool,
    /// Where what comes to it is looked at.
    pub point: Arc<Point>,
}

/// Readers of a source: of its events, and of `id.rejected`.
pub(super) type SourceReaders = (Vec<Target>, Vec<Target>);
/// Readers of a transform by output; the first is the default output.
pub(super) type OutputReaders = Vec<(Arc<str>, Vec<Target>)>;

/// Another graph, as one worker sees it: lanes that come or are replaced, and who reads whom from now on.
#[derive(Default)]
pub struct Change {
    /// New sources with their numbers.
    pub sources: Vec<(usize, WorkerSource)>,
    /// New transforms.
    pub transforms: Vec<(usize, WorkerTransform)>,
    /// New sinks, and old ones with other settings in front of their queue.
    pub sinks: Vec<(usize, WorkerSink)>,
    /// Readers of all sources, those that leave among them.
    pub source_readers: Vec<(usize, SourceReaders)>,
    /// Readers of all transforms, those that leave among them.
    pub transform_readers: Vec<(usize, OutputReaders)>,
    /// The transforms, each behind those it reads.
    pub order: Vec<usize>,
}

/// Everything one worker runs.
pub struct Worker {
    /// Sources by number; none where one has gone.
    sources: Vec<Option<WorkerSource>>,
    /// Transforms by number.
    pub(super) transforms: Vec<Option<WorkerTransform>>,
    /// Sinks by number.
    sinks: Vec<Option<WorkerSink>>,
    /// Numbers of the transforms, each behind those it reads.
    order: Vec<usize>,
    /// By sink, the batch of the present chunk that may be the last: only of chunks with a place.
    given: Vec<Option<Batch>>,
    places: bool,
    /// A transform has kept events beyond its call: what a chunk has come to is not known at its end any more.
    keeps: bool,
    next_tick: Option<Instant>,
    tick: Option<Duration>,
    pub(super) delta: Delta,
    pub(super) json: Vec<u8>,
    stats: DecodeStats,
}

/// How long a worker without ticks waits before it looks again; only bounds how late it sees odd wake-ups.
const IDLE: Duration = Duration::from_secs(3600);

impl Worker {
    /// A worker over its lanes; transforms each behind those they read.
    pub fn new(sources: Vec<WorkerSource>, transforms: Vec<WorkerTransform>, sinks: Vec<WorkerSink>) -> Self {
        let mut worker = Worker {
            order: (0..transforms.len()).collect(),
            sources: sources.into_iter().map(Some).collect(),
            transforms: transforms.into_iter().map(Some).collect(),
            given: sinks.iter().map(|_| None).collect(),
            sinks: sinks.into_iter().map(Some).collect(),
            places: false,
            keeps: false,
            next_tick: None,
            tick: None,
            delta: Delta::default(),
            json: Vec::new(),
            stats: DecodeStats::default(),
        };
        worker.look_at_transforms();
        worker
    }

    /// Sees whether transforms keep time or events.
    fn look_at_transforms(&mut self) {
        let transforms = || self.transforms.iter().flatten().map(|lane| &lane.transform);
        let tick = transforms().filter_map(|t| t.tick_interval()).min();
        // What was kept may come long after: once it has been so, it stays so.
        self.keeps |= transforms().any(|t| t.keeps_events());
        if tick != self.tick {
            self.tick = tick;
            self.next_tick = tick.map(|t| Instant::now() + t);
        }
    }

    /// Runs until every source has ended, then flushes what transforms hold. `last` says whether this worker is the
    /// last to end: only that one flushes shared windows.
    pub fn run(
        mut self,
        messages: crossbeam_channel::Receiver<Message>,
        changes: crossbeam_channel::Receiver<Box<Change>>,
        last: impl FnOnce() -> bool,
    ) {
        loop {
            let wait = self.next_tick.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
            let message = messages.recv_timeout(wait);
            while let Ok(change) = changes.try_recv() {
                self.change(*change);
            }
            match message {
                Ok(Message::Chunk(source, chunk)) => self.chunk(source, chunk),
                Ok(Message::Look) | Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
                Ok(Message::Retire(retire)) => self.retire(&retire),
                Err(crossbeam_channel::RecvTimeoutError::Disconnected) => break,
            }
            if let (Some(at), Some(every)) = (self.next_tick, self.tick)
                && Instant::now() >= at
            {
                self.next_tick = Some(Instant::now() + every);
                let order = std::mem::take(&mut self.order);
                order.iter().for_each(|n| self.tick(*n, false));
                self.order = order;
            }
        }
        if last() {
            std::mem::take(&mut self.order).iter().for_each(|n| self.tick(*n, true));
        }
    }

    /// Takes another graph.
    pub fn change(&mut self, change: Change) {
        put(&mut self.sources, change.sources);
        put(&mut self.transforms, change.transforms);
        put(&mut self.sinks, change.sinks);
        self.given.resize_with(self.sinks.len(), || None);
        for (n, (targets, rejected)) in change.source_readers {
            if let Some(Some(lane)) = self.sources.get_mut(n) {
                (lane.targets, lane.rejected) = (targets, rejected);
            }
        }
        for (n, outputs) in change.transform_readers {
            if let Some(Some(lane)) = self.transforms.get_mut(n) {
                lane.outputs = outputs;
            }
        }
        self.order = change.order;
        self.look_at_transforms();
    }

    /// Lets lanes go.
    pub fn retire(&mut self, retire: &Retire) {
        if retire.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            retire.transforms.iter().for_each(|n| self.tick(*n, true));
        }
        // Nothing that stays leads there any more.
        let is_gone = |target: &Target| match target {
            Target::Transform(n) => retire.transforms.contains(n),
            Target::Sink(n) => retire.sinks.contains(n),
        };
        for lane in self.sources.iter_mut().flatten() {
            lane.targets.retain(|target| !is_gone(target));
            lane.rejected.retain(|target| !is_gone(target));
        }
        for lane in self.transforms.iter_mut().flatten() {
            lane.outputs.iter_mut().for_each(|(_, targets)| targets.retain(|target| !is_gone(target)));
        }
        retire.sources.iter().for_each(|n| _ = self.sources.get_mut(*n).map(Option::take));
        retire.transforms.iter().for_each(|n| _ = self.transforms.get_mut(*n).map(Option::take));
        retire.sinks.iter().for_each(|n| _ = self.sinks.get_mut(*n).map(Option::take));
        self.look_at_transforms();
    }

    /// Takes one chunk through everything that reads its source.
    pub fn chunk(&mut self, source: usize, chunk: Chunk) {
        let bytes = chunk.pinned_bytes();
        let Some(Some(lane)) = self.sources.get_mut(source) else {
            return stray("source", source, chunk);
        };
        let stats = &mut self.stats;
        stats.rejects.clear();
        *stats = DecodeStats { rejects: std::mem::take(&mut stats.rejects), ..DecodeStats::default() };
        let began = Instant::now();
        if let Some(recent) = &lane.recent {
            recent.look(&chunk, began);
        }
        let mut batch = lane.call.within(|| lane.decoder.decode(chunk, stats));
        self.places = false;
        if let Some(place) = batch.ack.place() {
            batch.ids = place.file.ids;
            self.places = !self.keeps;
        }
        let busy = began.elapsed().as_secs_f64();
        let decoded = batch.len() as u64 + stats.dropped;
        let is_read = !lane.rejected.is_empty();
        let reader = (is_read || lane.rejected_point.is_watched()).then_some(&*lane.counters.id);
        let rejects = take_rejects(&mut batch, &stats.rejects, reader, clock::now_ns, &mut self.json);
        let unread = if is_read { 0 } else { stats.rejects.len() as u64 };
        attach(&mut batch, &lane.attach);
        let mut faults = Faults::default();
        let filtered = lane.when.as_mut().map_or(0, |when| batch.retain(|e| when.holds(e, &mut faults)) as u64);
        let out = batch.len() as u64;
        let rejected = stats.rejects.len() as u64 - unread;
        lane.counters.update(|t| {
            t.events_in += decoded;
            t.spend("busy", busy);
            t.bytes_in += stats.bytes;
            t.events_out += out;
            t.drop_events("decode_error", stats.dropped);
            t.drop_events("rejected_unread", unread);
            t.drop_events("filtered", filtered);
            t.reject_events("decode", rejected);
            t.error("decode", stats.errors);
            t.error("invalid_utf8", stats.invalid_utf8);
            t.error("header_unread", stats.header_unread);
            faults.drain(|kind, n| t.error(kind, n));
            // Joined lines count as one.
            *t.outputs.entry(default_output()).or_default() += out;
            if rejected > 0 {
                *t.outputs.entry("rejected".into()).or_default() += rejected;
            }
        });
        for (kind, text) in stats.examples.drain(..) {
            lane.counters.example(kind, || text);
        }
        lane.point.look(&batch);
        let (room, targets) = (lane.room.clone(), std::mem::take(&mut lane.targets));
        if let Some(rejects) = rejects {
            lane.rejected_point.look(&rejects);
            let readers = std::mem::take(&mut lane.rejected);
            self.route(rejects, &readers);
            if let Some(lane) = &mut self.sources[source] {
                lane.rejected = readers;
            }
        }
        self.route(batch, &targets);
        if let Some(lane) = &mut self.sources[source] {
            lane.targets = targets;
        }
        if self.places {
            self.give_last();
        }
        room.release(bytes);
    }

    /// Gives each sink the last batch of the chunk.
    fn give_last(&mut self) {
        self.places = false;
        for (given, lane) in self.given.iter_mut().zip(&mut self.sinks) {
            if let (Some(mut batch), Some(lane)) = (given.take(), lane) {
                batch.whole = !self.keeps;
                batch.alone = batch.whole && !std::mem::take(&mut lane.several);
                lane.sender.send(batch);
            }
        }
    }

    /// Gives a batch to all its readers; each but the last gets a copy of the tables.
    fn route(&mut self, mut batch: Batch, targets: &[Target]) {
        let Some((last, others)) = targets.split_last() else {
            batch.ack.take().settle(Verdict::Delivered);
            batch.recycle();
            return;
        };
        if batch.is_empty() {
            batch.ack.take().settle(Verdict::Delivered);
            batch.recycle();
            return;
        }
        for target in others {
            let copy = batch.fork();
            self.give(copy, *target);
        }
        self.give(batch, *last);
    }

    fn give(&mut self, batch: Batch, target: Target) {
        match target {
            Target::Transform(n) => self.transform(batch, n),
            Target::Sink(n) => self.sink(batch, n),
        }
    }

    /// Depth of recursion: the longest path in the graph, checked when the file is read.
    fn transform(&mut self, mut batch: Batch, n: usize) {
        let came = batch.len() as u64;
        let Some(Some(lane)) = self.transforms.get_mut(n) else {
            return stray("transform", n, batch);
        };
        let pairs = lane.input_point.enter(&batch);
        if lane.careful {
            return self.transform_carefully(batch, n);
        }
        let id = lane.counters.id.clone();
        let mut emitter = lane.emitter(&id, &mut self.delta, &mut self.json);
        let began = Instant::now();
        lane.call.begin();
        let result = caught(|| lane.transform.apply(&mut batch, &mut emitter));
        lane.call.end();
        let busy = began.elapsed().as_secs_f64();
        let (rejects, outputs) = (emitter.rejects.take(), std::mem::take(&mut emitter.outputs));
        if let Err(words) = result {
            let originals = emitter.originals.take();
            return self.panicked(n, Left { came, batch: Some(batch), originals, rejects, outputs, busy, words });
        }
        if let Some(pairs) = pairs {
            self.end_pairs(n, pairs, &batch, rejects.as_ref(), &outputs);
        }
        self.publish(n, came, batch.len() as u64, &outputs, busy);
        self.emitted(n, rejects, outputs);
        self.put_out(n, 0, batch);
    }

    /// Tells those who look what has become of events that came to transform `n`.
    #[cold]
    fn end_pairs(&self, n: usize, pairs: Pairs, stayed: &Batch, rejects: Option<&Batch>, outputs: &[(usize, Batch)]) {
        let Some(lane) = &self.transforms[n] else { return };
        let rejected = rejects.zip(lane.rejected).map(|(batch, r)| (&lane.outputs[r].0, batch));
        let others = outputs.iter().map(|(output, batch)| (&lane.outputs[*output].0, batch));
        let all: Vec<(&Arc<str>, &Batch)> = rejected.into_iter().chain(others).collect();
        let reasons: Vec<&'static str> = self.delta.dropped.iter().map(|(reason, _)| *reason).collect();
        pairs.end(stayed, &all, &reasons);
    }

    /// Publishes what one call of transform `n` came to.
    pub(super) fn publish(&mut self, n: usize, came: u64, stayed: u64, outputs: &[(usize, Batch)], busy: f64) {
        let Some(lane) = &self.transforms[n] else { return };
        let delta = &mut self.delta;
        let emitted: u64 = outputs.iter().map(|(_, b)| b.len() as u64).sum();
        let sum = |list: &[(&'static str, u64)]| list.iter().map(|(_, n)| n).sum::<u64>();
        debug_assert_eq!(
            i128::from(came) + i128::from(delta.created),
            i128::from(stayed + emitted + sum(&delta.dropped) + sum(&delta.rejected)) + i128::from(delta.held),
            "the ledger of `{}` does not balance",
            lane.counters.id
        );
        lane.counters.update(|t| {
            t.events_in += came;
            t.spend("busy", busy);
            t.events_created += delta.created;
            t.events_out += stayed + emitted;
            t.held = t.held.saturating_add_signed(delta.held);
            for (reason, n) in delta.dropped.drain(..) {
                t.drop_events(reason, n);
            }
            let mut rejected = 0;
            for (reason, n) in delta.rejected.drain(..) {
                rejected += n;
                t.reject_events(reason, n);
            }
            for (kind, n) in delta.errors.drain(..) {
                t.error(kind, n);
            }
            for (metric, rule, n) in delta.rules.drain(..) {
                *t.rules.entry((metric, rule)).or_default() += n;
            }
            count_output(t, &lane.outputs[0].0, stayed);
            if let Some(r) = lane.rejected {
                count_output(t, &lane.outputs[r].0, rejected);
            }
            for (output, batch) in outputs {
                count_output(t, &lane.outputs[*output].0, batch.len() as u64);
            }
        });
        self.keeps |= delta.held > 0;
        for (kind, text) in delta.examples.drain(..) {
            lane.counters.example(kind, || text);
        }
        (delta.created, delta.held) = (0, 0);
    }

    pub(super) fn emitted(&mut self, n: usize, rejects: Option<Batch>, outputs: Vec<(usize, Batch)>) {
        let rejected = self.transforms[n].as_ref().and_then(|lane| lane.rejected);
        if let (Some(rejects), Some(r)) = (rejects, rejected) {
            self.put_out(n, r, rejects);
        }
        for (output, batch) in outputs {
            self.put_out(n, output, batch);
        }
    }

    /// Gives a batch to the readers of an output of transform `n`.
    pub(super) fn put_out(&mut self, n: usize, output: usize, batch: Batch) {
        let Some(lane) = &mut self.transforms[n] else { return };
        lane.points[output].look(&batch);
        let readers = std::mem::take(&mut lane.outputs[output].1);
        self.route(batch, &readers);
        if let Some(lane) = &mut self.transforms[n] {
            lane.outputs[output].1 = readers;
        }
    }

    fn sink(&mut self, mut batch: Batch, n: usize) {
        let Some(Some(lane)) = self.sinks.get_mut(n) else {
            return stray("sink", n, batch);
        };
        if batch.may_have_stale() && !lane.takes_stale {
            let stale = batch.retain(|e| !e.is_stale()) as u64;
            if stale > 0 {
                lane.counters.update(|t| {
                    t.events_in += stale;
                    t.drop_events("stale", stale);
                });
            }
            if batch.is_empty() {
                batch.ack.take().settle(Verdict::Delivered);
                batch.recycle();
                return;
            }
        }
        if let Some(when) = &mut lane.when {
            let mut faults = Faults::default();
            let filtered = batch.retain(|e| when.holds(e, &mut faults)) as u64;
            if filtered > 0 {
                lane.counters.update(|t| {
                    t.events_in += filtered;
                    t.drop_events("filtered", filtered);
                    faults.drain(|kind, n| t.error(kind, n));
                });
            }
            if batch.is_empty() {
                batch.ack.take().settle(Verdict::Delivered);
                batch.recycle();
                return;
            }
        }
        if let Some(place) = batch.ack.place()
            && place.held.is_some()
        {
            let place = place.clone();
            let held = batch.retain(|e| !place.is_held_by(n, e.offset())) as u64;
            lane.counters.update(|t| {
                t.events_in += held;
                t.drop_events("already_held", held);
            });
            if batch.is_empty() {
                batch.ack.take().settle(Verdict::Delivered);
                batch.recycle();
                return;
            }
        }
        lane.point.look(&batch);
        if !self.places {
            lane.sender.send(batch);
        } else if let Some(before) = self.given[n].replace(batch) {
            lane.several = true;
            lane.sender.send(before);
        }
    }

    /// Lets transform `n` act, where it keeps time; `finish`: lets it emit what it holds.
    fn tick(&mut self, n: usize, finish: bool) {
        let now = clock::now_ns();
        let Some(Some(lane)) = self.transforms.get_mut(n) else { return };
        if !finish && lane.transform.tick_interval().is_none() {
            return;
        }
        let id = lane.counters.id.clone();
        let mut emitter = lane.emitter(&id, &mut self.delta, &mut self.json);
        lane.call.begin();
        let result = caught(|| match finish {
            true => lane.transform.finish(now, &mut emitter),
            false => lane.transform.tick(now, &mut emitter),
        });
        lane.call.end();
        let (rejects, outputs) = (emitter.rejects.take(), std::mem::take(&mut emitter.outputs));
        if let Err(words) = result {
            let (batch, originals, busy) = (None, None, 0.0);
            return self.panicked(n, Left { came: 0, batch, originals, rejects, outputs, busy, words });
        }
        self.publish(n, 0, 0, &outputs, 0.0);
        self.emitted(n, rejects, outputs);
    }
}

/// Puts lanes at their numbers.
fn put<L>(all: &mut Vec<Option<L>>, lanes: Vec<(usize, L)>) {
    for (n, lane) in lanes {
        if n >= all.len() {
            all.resize_with(n + 1, || None);
        }
        all[n] = Some(lane);
    }
}

/// What comes to a lane that has gone would be lost without a word; it cannot be, and its verdict is `Failed`.
fn stray<T>(kind: &'static str, number: usize, what: T) {
    drop(what);
    debug_assert!(false, "something came for {kind} {number}, which has gone");
    tracing::error!(
        kind,
        number,
        "something came for a part that has gone: this is a bug; it is read again where it can be"
    );
}

impl WorkerTransform {
    pub(super) fn reads_rejected(&self) -> bool {
        self.rejected.is_some_and(|r| !self.outputs[r].1.is_empty())
    }

    /// What is handed to it with a batch.
    pub(super) fn emitter<'e>(&self, id: &'e str, delta: &'e mut Delta, json: &'e mut Vec<u8>) -> Emitter<'e> {
        let mut emitter = Emitter::new(id, self.reads_rejected(), delta, json);
        emitter.rejected_shown = self.rejected.is_some_and(|r| self.points[r].is_watched());
        emitter
    }
}

/// The name of the default output.
fn default_output() -> Arc<str> {
    static EMPTY: std::sync::OnceLock<Arc<str>> = std::sync::OnceLock::new();
    EMPTY.get_or_init(|| "".into()).clone()
}

fn count_output(totals: &mut Totals, output: &Arc<str>, events: u64) {
    if events > 0 {
        *totals.outputs.entry(output.clone()).or_default() += events;
    }
}

/// Applies one transform to one batch, outside any topology: for benches and tests. What it puts out by other outputs
/// is settled and gone.
pub fn apply_alone(transform: &mut dyn Transform, batch: &mut Batch) {
    let (mut delta, mut json) = (Delta::default(), Vec::new());
    let mut emitter = Emitter::new("alone", false, &mut delta, &mut json);
    transform.apply(batch, &mut emitter);
    for (_, mut other) in std::mem::take(&mut emitter.outputs) {
        other.ack.take().settle(Verdict::Delivered);
    }
}

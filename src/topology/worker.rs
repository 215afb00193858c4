//! A worker: one thread that runs whole chains to completion, from chunk to sink queue, with nothing in between.
//!
//! Each worker has its own instance of every decoder and transform. One origin's chunks always come to the same
//! worker, so their order is kept without sequence numbers.
//!
//! Of a chunk whose source says its [place](crate::ack::Ack::place), the last batch that a sink is given is marked
//! ([`Batch::whole`]). For that each sink's batch waits here until the next one of the same chunk, or its end.

use crate::ack::Verdict;
use crate::buffer::{QueueSender, Room};
use crate::component::{Chunk, Delta, Emitter, Transform, attach};
use crate::condition::{Condition, Faults};
use crate::decoding::{DecodeStats, Decoder};
use crate::event::{Batch, FieldPath, Sym};
use crate::letter::push_envelope;
use crate::telemetry::{Counters, Totals};
use crate::time::clock;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who reads an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The transform with this number.
    Transform(usize),
    /// The sink with this number.
    Sink(usize),
}

/// A source as a worker sees it.
pub struct SourceLane {
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
}

/// A transform as a worker sees it.
pub struct TransformLane {
    /// The worker's instance.
    pub transform: Box<dyn Transform>,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// Readers by output; the first is the default output.
    pub outputs: Vec<(Arc<str>, Vec<Target>)>,
    /// Which of them is `rejected`.
    pub rejected: Option<usize>,
}

/// A sink as a worker sees it.
pub struct SinkLane {
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
}

/// Everything one worker runs.
pub struct Worker {
    /// Sources by number.
    pub sources: Vec<SourceLane>,
    /// Transforms by number.
    pub transforms: Vec<TransformLane>,
    /// Sinks by number.
    pub sinks: Vec<SinkLane>,
    /// By sink, the batch of the present chunk that may be the last: only of chunks with a place.
    given: Vec<Option<Batch>>,
    places: bool,
    /// A transform has kept events beyond its call: what a chunk has come to is not known at its end any more.
    keeps: bool,
    next_tick: Option<Instant>,
    tick: Option<Duration>,
    delta: Delta,
    json: Vec<u8>,
    stats: DecodeStats,
}

/// How long a worker without ticks waits before it looks again; only bounds how late it sees odd wake-ups.
const IDLE: Duration = Duration::from_secs(3600);

impl Worker {
    /// A worker over its lanes.
    pub fn new(sources: Vec<SourceLane>, transforms: Vec<TransformLane>, sinks: Vec<SinkLane>) -> Self {
        let tick = transforms.iter().filter_map(|t| t.transform.tick_interval()).min();
        let keeps = transforms.iter().any(|t| t.transform.keeps_events());
        Worker {
            sources,
            transforms,
            given: sinks.iter().map(|_| None).collect(),
            sinks,
            places: false,
            keeps,
            next_tick: tick.map(|t| Instant::now() + t),
            tick,
            delta: Delta::default(),
            json: Vec::new(),
            stats: DecodeStats::default(),
        }
    }

    /// Runs until every source has ended, then flushes what transforms hold. `last` says whether this worker is the
    /// last to end: only that one flushes shared windows.
    pub fn run(mut self, chunks: crossbeam_channel::Receiver<(usize, Chunk)>, last: impl FnOnce() -> bool) {
        loop {
            let wait = self.next_tick.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
            match chunks.recv_timeout(wait) {
                Ok((source, chunk)) => self.chunk(source, chunk),
                Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
                Err(crossbeam_channel::RecvTimeoutError::Disconnected) => break,
            }
            if let (Some(at), Some(every)) = (self.next_tick, self.tick)
                && Instant::now() >= at
            {
                self.next_tick = Some(Instant::now() + every);
                self.tick_all(false);
            }
        }
        if last() {
            self.tick_all(true);
        }
    }

    /// Takes one chunk through everything that reads its source.
    pub fn chunk(&mut self, source: usize, chunk: Chunk) {
        let bytes = chunk.pinned_bytes();
        let lane = &mut self.sources[source];
        let stats = &mut self.stats;
        stats.rejects.clear();
        *stats = DecodeStats { rejects: std::mem::take(&mut stats.rejects), ..DecodeStats::default() };
        let began = Instant::now();
        let mut batch = lane.decoder.decode(chunk, stats);
        self.places = false;
        if let Some(place) = batch.ack.place() {
            batch.ids = place.file.ids;
            self.places = !self.keeps;
        }
        let busy = began.elapsed().as_secs_f64();
        let decoded = batch.len() as u64 + stats.dropped;
        let (mut rejects, mut rejected_at) = (None, None);
        let mut unread = 0;
        for &(row, reason) in &stats.rejects {
            if lane.rejected.is_empty() {
                unread += 1;
            } else {
                let to = rejects.get_or_insert_with(|| batch.sibling());
                let now = *rejected_at.get_or_insert_with(clock::now_ns);
                push_envelope(to, &batch, row, &lane.counters.id, "decode", reason, now, &mut self.json);
            }
            batch.drop_row(row);
        }
        attach(&mut batch, &lane.attach);
        let mut faults = Faults::default();
        let filtered = lane.when.as_mut().map_or(0, |when| batch.retain(|e| when.holds(e, &mut faults)) as u64);
        let out = batch.len() as u64;
        let rejected = stats.rejects.len() as u64 - unread;
        lane.counters.update(|t| {
            t.events_in += decoded;
            *t.seconds.entry("busy").or_default() += busy;
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
        let (room, targets) = (lane.room.clone(), std::mem::take(&mut lane.targets));
        if let Some(rejects) = rejects {
            let readers = std::mem::take(&mut self.sources[source].rejected);
            self.route(rejects, &readers);
            self.sources[source].rejected = readers;
        }
        self.route(batch, &targets);
        self.sources[source].targets = targets;
        if self.places {
            self.give_last();
        }
        room.release(bytes);
    }

    /// Gives each sink the last batch of the chunk.
    fn give_last(&mut self) {
        self.places = false;
        for (given, lane) in self.given.iter_mut().zip(&mut self.sinks) {
            if let Some(mut batch) = given.take() {
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
        let lane = &mut self.transforms[n];
        let id = lane.counters.id.clone();
        let mut emitter = Emitter::new(&id, lane.reads_rejected(), &mut self.delta, &mut self.json);
        let began = Instant::now();
        lane.transform.apply(&mut batch, &mut emitter);
        let busy = began.elapsed().as_secs_f64();
        let (rejects, outputs) = (emitter.rejects.take(), std::mem::take(&mut emitter.outputs));
        self.publish(n, came, batch.len() as u64, &outputs, busy);
        self.emitted(n, rejects, outputs);
        let readers = std::mem::take(&mut self.transforms[n].outputs[0].1);
        self.route(batch, &readers);
        self.transforms[n].outputs[0].1 = readers;
    }

    /// Publishes what one call of transform `n` came to.
    fn publish(&mut self, n: usize, came: u64, stayed: u64, outputs: &[(usize, Batch)], busy: f64) {
        let lane = &self.transforms[n];
        let delta = &mut self.delta;
        let emitted: u64 = outputs.iter().map(|(_, b)| b.len() as u64).sum();
        let sum = |list: &[(&'static str, u64)]| list.iter().map(|(_, n)| n).sum::<u64>();
        debug_assert_eq!(
            i128::from(came) + i128::from(delta.created),
            i128::from(stayed + emitted + sum(&delta.dropped) + sum(&delta.rejected)) + i128::from(delta.held),
            "the books of `{}` do not balance",
            lane.counters.id
        );
        lane.counters.update(|t| {
            t.events_in += came;
            *t.seconds.entry("busy").or_default() += busy;
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

    fn emitted(&mut self, n: usize, rejects: Option<Batch>, outputs: Vec<(usize, Batch)>) {
        if let (Some(rejects), Some(r)) = (rejects, self.transforms[n].rejected) {
            let readers = std::mem::take(&mut self.transforms[n].outputs[r].1);
            self.route(rejects, &readers);
            self.transforms[n].outputs[r].1 = readers;
        }
        for (output, batch) in outputs {
            let readers = std::mem::take(&mut self.transforms[n].outputs[output].1);
            self.route(batch, &readers);
            self.transforms[n].outputs[output].1 = readers;
        }
    }

    fn sink(&mut self, mut batch: Batch, n: usize) {
        let lane = &mut self.sinks[n];
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
        if !self.places {
            lane.sender.send(batch);
        } else if let Some(before) = self.given[n].replace(batch) {
            lane.several = true;
            lane.sender.send(before);
        }
    }

    /// Lets transforms that keep time act; at the end, in the order of the graph, lets them emit what they hold.
    fn tick_all(&mut self, finish: bool) {
        let now = clock::now_ns();
        for n in 0..self.transforms.len() {
            let lane = &mut self.transforms[n];
            if !finish && lane.transform.tick_interval().is_none() {
                continue;
            }
            let id = lane.counters.id.clone();
            let mut emitter = Emitter::new(&id, lane.reads_rejected(), &mut self.delta, &mut self.json);
            if finish {
                lane.transform.finish(now, &mut emitter);
            } else {
                lane.transform.tick(now, &mut emitter);
            }
            let (rejects, outputs) = (emitter.rejects.take(), std::mem::take(&mut emitter.outputs));
            self.publish(n, 0, 0, &outputs, 0.0);
            self.emitted(n, rejects, outputs);
        }
    }
}

impl TransformLane {
    fn reads_rejected(&self) -> bool {
        self.rejected.is_some_and(|r| !self.outputs[r].1.is_empty())
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

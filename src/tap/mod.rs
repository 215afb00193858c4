//! Where events pass, and who looks at them: the points of a graph ([`Point`]), and taps that are open on them ([`Hub`]).
//!
//! Nobody looks: one relaxed load a batch and point. Somebody does: of each batch a few events are copied, picked without looking at
//! them ([`sampler`]), into a channel that is bounded in number and bytes; what does not fit is counted and not waited for. What is
//! shown of the copies is nothing of the flow's: another thread takes care of that.
//!
//! A point has its name for as long as there is a tap: where another graph takes over, it is the same point under the same name.

pub mod graph;
pub mod sampler;

use crate::ack::Ack;
use crate::event::{Batch, Origin, Slab};
use crate::sync::Locked;
use crate::sync::live::Live;
use crate::time::clock;
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use graph::{Graph, Patterns, input_point};
use sampler::{Sampler, window_at};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Taps at once.
pub const MAX_TAPS: usize = 8;
/// Copies that one tap may have waiting, and their bytes.
const MAX_WAITING: usize = 8192;
const MAX_BYTES: usize = 4 << 20;
/// An event whose line is longer is not copied.
const MAX_ONE: usize = 1 << 20;
/// Bodies of requests that are taken in a second.
const BODIES: u64 = 5;
/// How long it is remembered that events took another way: what a transform held may come out long after.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Graphs before the present one that are remembered.
const MAX_GRAPHS: usize = 8;

/// A place where events pass.
#[derive(Default)]
pub struct Point {
    watched: AtomicBool,
    watches: Live<Vec<Arc<Watch>>>,
}

/// One tap at one point.
struct Watch {
    /// What the point is called where it is shown.
    name: Arc<str>,
    takes: Takes,
    /// Events that passed since it was asked last.
    seen: AtomicU64,
    /// Events of these that would have been taken, had there been room.
    lost: AtomicU64,
    sampler: Mutex<Sampler>,
    shared: Arc<Shared>,
}

/// What a tap takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Events,
    Pairs,
}

/// What is shared by a tap's watches.
struct Shared {
    began: Instant,
    to: Sender<Candidate>,
    bytes: Arc<AtomicUsize>,
}

/// Bytes that a copy takes, given back when it is dropped.
#[derive(Debug)]
struct Weight(Arc<AtomicUsize>, usize);

impl Drop for Weight {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// What was taken at a point.
pub struct Candidate {
    /// The point.
    pub point: Arc<str>,
    /// When: nanoseconds since 1970 UTC.
    pub at: i64,
    /// The window that it belongs to ([`sampler::window_at`]).
    pub window: u64,
    /// The share of events that was taken then: what was taken at a greater one counts for less.
    pub share: f64,
    /// What it is.
    pub what: What,
    _weight: Weight,
}

/// What passes.
pub enum What {
    /// One event, the only row of its batch.
    Event(Batch),
    /// One event before and after a transform.
    Pair {
        /// As it came.
        before: Batch,
        /// As it left; none where it did not.
        after: Option<Batch>,
        /// By which output; the default one is the empty name.
        output: Arc<str>,
        /// Why events of the same batch were dropped, where it did not leave.
        dropped: Vec<&'static str>,
    },
    /// What a sink sends, before it is compressed.
    Body {
        /// `POST` and the like.
        method: String,
        /// Where to.
        url: String,
        /// The body.
        body: Bytes,
    },
}

/// A copy of one event, with nothing of the flow's in it.
fn copy(batch: &Batch, row: usize) -> Batch {
    let mut one = Batch::new(Slab::default(), batch.origin.clone(), batch.received_at, Ack::none());
    one.ids = batch.ids;
    one.copy_event(batch, row);
    one
}

impl Point {
    /// Whether anybody looks.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Events pass.
    #[inline]
    pub fn look(&self, batch: &Batch) {
        if self.is_watched() {
            self.passed(batch);
        }
    }

    #[cold]
    fn passed(&self, batch: &Batch) {
        for watch in self.watches.now().iter().filter(|watch| watch.takes == Takes::Events) {
            watch.passed(batch);
        }
    }

    /// Events come to a transform: gives those that are to be shown as they came and as they leave, to be [ended](Pairs::end).
    #[inline]
    pub fn enter(&self, batch: &Batch) -> Option<Pairs> {
        if self.is_watched() { self.entered(batch) } else { None }
    }

    #[cold]
    fn entered(&self, batch: &Batch) -> Option<Pairs> {
        self.passed(batch);
        let watches = self.watches.now();
        let pairs: Vec<Pairing> = watches
            .iter()
            .filter(|watch| watch.takes == Takes::Pairs)
            .map(|watch| {
                let mut picks = Vec::new();
                let window = watch.pick(batch, |row, share| {
                    let event = watch.copy(batch, row);
                    let is_taken = event.is_some();
                    picks.extend(event.map(|event| (row, batch.event(row).offset(), share, event)));
                    is_taken
                });
                Pairing { watch: watch.clone(), window, picks }
            })
            .filter(|pairing| !pairing.picks.is_empty())
            .collect();
        (!pairs.is_empty()).then_some(Pairs(pairs))
    }

    /// A request is sent, with so many events in it.
    #[cold]
    pub fn sent(&self, method: &str, url: &str, body: &Bytes, events: u64) {
        for watch in self.watches.now().iter() {
            watch.seen.fetch_add(events, Ordering::Relaxed);
            let Ok(mut sampler) = watch.sampler.try_lock() else { continue };
            let window = watch.shared.window();
            sampler.begin(window);
            sampler.pick(1, |_, share| {
                let what = What::Body { method: method.to_owned(), url: url.to_owned(), body: body.clone() };
                watch.send(what, body.len(), window, share, clock::now_ns(), events)
            });
        }
    }
}

impl Shared {
    fn window(&self) -> u64 {
        window_at(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

impl Watch {
    /// Picks events of a batch: calls `take` with their rows. The window that they belong to.
    fn pick(&self, batch: &Batch, mut take: impl FnMut(usize, f64) -> bool) -> u64 {
        let events = batch.len() as u64;
        self.seen.fetch_add(events, Ordering::Relaxed);
        let window = self.shared.window();
        // Another worker is at it: the flow does not wait.
        let Ok(mut sampler) = self.sampler.try_lock() else { return window };
        sampler.begin(window);
        if batch.len() == batch.rows() {
            sampler.pick(events, |place, share| take(place as usize, share));
        } else {
            let (mut row, mut passed) = (0, 0);
            sampler.pick(events, |place, share| {
                while row < batch.rows() {
                    let is_it = batch.is_live(row) && passed == place;
                    passed += u64::from(batch.is_live(row));
                    row += 1;
                    if is_it {
                        return take(row - 1, share);
                    }
                }
                false
            });
        }
        window
    }

    fn passed(&self, batch: &Batch) {
        let now = clock::now_ns();
        let window = self.shared.window();
        _ = self.pick(batch, |row, share| {
            let Some(event) = self.copy(batch, row) else { return false };
            let bytes = event.pinned_bytes();
            self.send(What::Event(event), bytes, window, share, now, 1)
        });
    }

    /// A copy of an event, where there is room for it; counted as lost where there is not.
    fn copy(&self, batch: &Batch, row: usize) -> Option<Batch> {
        let about = batch.event(row).line().len();
        let fits = about <= MAX_ONE && self.has_room(about);
        if !fits {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        fits.then(|| copy(batch, row))
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.shared.bytes.load(Ordering::Relaxed) + bytes <= MAX_BYTES && !self.shared.to.is_full()
    }

    /// Sends what was taken on, where there is room; whether there was.
    fn send(&self, what: What, bytes: usize, window: u64, share: f64, at: i64, events: u64) -> bool {
        if self.has_room(bytes) {
            self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
            let weight = Weight(self.shared.bytes.clone(), bytes);
            let candidate = Candidate { point: self.name.clone(), at, window, share, what, _weight: weight };
            match self.shared.to.try_send(candidate) {
                Ok(()) => return true,
                Err(TrySendError::Full(candidate) | TrySendError::Disconnected(candidate)) => drop(candidate),
            }
        }
        self.lost.fetch_add(events, Ordering::Relaxed);
        false
    }
}

/// Events that a transform was given, until it is known what it made of them.
pub struct Pairs(Vec<Pairing>);

struct Pairing {
    watch: Arc<Watch>,
    window: u64,
    /// Row, place, share, and the event as it came.
    picks: Vec<(usize, u64, f64, Batch)>,
}

impl Pairs {
    /// What has become of them: `stayed` leaves by the default output, `outputs` by others; the rest was dropped, by one of `reasons`.
    pub fn end(self, stayed: &Batch, outputs: &[(&Arc<str>, &Batch)], reasons: &[&'static str]) {
        let now = clock::now_ns();
        for Pairing { watch, window, picks } in self.0 {
            for (row, offset, share, before) in picks {
                let is_there = row < stayed.rows() && stayed.is_live(row) && stayed.event(row).offset() == offset;
                let elsewhere = |(name, batch): &(&Arc<str>, &Batch)| {
                    let is_it = |row: &usize| batch.is_live(*row) && batch.event(*row).offset() == offset;
                    let row = (0..batch.rows()).find(is_it)?;
                    Some(((*name).clone(), copy(batch, row)))
                };
                let (output, after) = match is_there {
                    true => (Arc::from(""), Some(copy(stayed, row))),
                    false => match outputs.iter().find_map(elsewhere) {
                        Some((name, event)) => (name, Some(event)),
                        None => (Arc::from(""), None),
                    },
                };
                let dropped = if after.is_some() { Vec::new() } else { reasons.to_vec() };
                let bytes = before.pinned_bytes() + after.as_ref().map_or(0, Batch::pinned_bytes);
                watch.send(What::Pair { before, after, output, dropped }, bytes, window, share, now, 1);
            }
        }
    }
}

/// All points, and all taps.
#[derive(Default)]
pub struct Hub {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    points: HashMap<String, Arc<Point>>,
    /// The graph as it is, and those before it with the time when they were replaced, latest first.
    graphs: Vec<(Arc<Graph>, Option<Instant>)>,
    /// More graphs than are remembered were replaced: until then.
    crowded: Option<Instant>,
    /// Changes with the graphs.
    version: u64,
    taps: Vec<Open>,
    next: u64,
}

struct Open {
    number: u64,
    patterns: Patterns,
    takes: Takes,
    target: u64,
    shared: Arc<Shared>,
    /// By the name of the point that it is at.
    watches: Vec<(String, Arc<Watch>)>,
}

/// What ways events may have come.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// Graphs, the present one first.
    pub graphs: Vec<Arc<Graph>>,
    /// There were others that are not known any more.
    pub others: bool,
    /// Another number where it is something else.
    pub version: u64,
}

/// Why a tap cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are as many as may be.
    TooMany,
    /// These are no points; and what points there are.
    NoPoints(Vec<String>, Vec<String>),
}

/// What a tap is to take.
pub struct Asked {
    /// Where.
    pub patterns: Patterns,
    /// Before and after transforms.
    pub pairs: bool,
    /// How many events are to be taken of each point in a second, about.
    pub target: u64,
}

impl Hub {
    /// Without a graph.
    pub fn new() -> Arc<Hub> {
        Arc::default()
    }

    /// The point of this name.
    pub fn point(&self, name: &str) -> Arc<Point> {
        self.state.locked().points.entry(name.to_owned()).or_default().clone()
    }

    /// Another graph takes over: to be said before anything passes by its ways.
    pub fn set_graph(&self, graph: Graph) {
        let now = clock::monotonic();
        let mut state = self.state.locked();
        let names = graph.points();
        state.points.retain(|name, _| names.contains(name));
        names.iter().for_each(|name| _ = state.points.entry(name.clone()).or_default());
        if let Some((_, replaced)) = state.graphs.first_mut() {
            *replaced = Some(now);
        }
        state.graphs.insert(0, (Arc::new(graph), None));
        state.graphs.retain(|(_, replaced)| replaced.is_none_or(|at| now.duration_since(at) < REMEMBERED));
        if state.graphs.len() > MAX_GRAPHS {
            state.graphs.truncate(MAX_GRAPHS);
            state.crowded = Some(now + REMEMBERED);
        }
        state.version += 1;
        state.attach();
    }

    /// What ways events may have come that pass now.
    pub fn ways(&self) -> Ways {
        let now = clock::monotonic();
        let mut state = self.state.locked();
        let before = (state.graphs.len(), state.crowded);
        state.graphs.retain(|(_, replaced)| replaced.is_none_or(|at| now.duration_since(at) < REMEMBERED));
        state.crowded = state.crowded.filter(|until| *until > now);
        if before != (state.graphs.len(), state.crowded) {
            state.version += 1;
        }
        let graphs = state.graphs.iter().map(|(graph, _)| graph.clone()).collect();
        Ways { graphs, others: state.crowded.is_some(), version: state.version }
    }

    /// Looks at points until the tap is dropped.
    ///
    /// Errors: there is no such point, or there are too many taps.
    pub fn open(self: &Arc<Self>, asked: Asked) -> Result<Tap, Refused> {
        let Asked { patterns, pairs, target } = asked;
        let mut state = self.state.locked();
        if state.taps.len() >= MAX_TAPS {
            return Err(Refused::TooMany);
        }
        let graph = state.graph();
        let takes = if pairs { Takes::Pairs } else { Takes::Events };
        let (is_none, unmet) = match takes {
            Takes::Events => patterns.find(&graph),
            Takes::Pairs => {
                let (ids, unmet) = patterns.transforms(&graph);
                (ids.iter().map(ToString::to_string).collect(), unmet)
            }
        };
        if !unmet.is_empty() || is_none.is_empty() {
            return Err(Refused::NoPoints(unmet, graph.points()));
        }
        let (to, candidates) = crossbeam_channel::bounded(MAX_WAITING);
        let shared = Arc::new(Shared { began: Instant::now(), to, bytes: Arc::default() });
        let number = state.next;
        state.next += 1;
        let began = shared.began;
        state.taps.push(Open { number, patterns, takes, target, shared, watches: Vec::new() });
        state.attach();
        Ok(Tap { hub: self.clone(), number, candidates, began })
    }
}

impl State {
    fn graph(&self) -> Arc<Graph> {
        self.graphs.first().map(|(graph, _)| graph.clone()).unwrap_or_default()
    }

    /// Puts taps to the points that they are meant for.
    fn attach(&mut self) {
        let graph = self.graph();
        for tap in &mut self.taps {
            let meant: Vec<(String, Arc<str>)> = match tap.takes {
                Takes::Events => {
                    tap.patterns.find(&graph).0.into_iter().map(|name| (name.clone(), Arc::from(name))).collect()
                }
                Takes::Pairs => {
                    tap.patterns.transforms(&graph).0.into_iter().map(|id| (input_point(&id), id)).collect()
                }
            };
            // What has passed a point that is no more is told once more.
            let stays = |(at, watch): &(String, Arc<Watch>)| {
                meant.iter().any(|(name, _)| name == at) || watch.seen.load(Ordering::Relaxed) > 0
            };
            tap.watches.retain(stays);
            for (at, name) in meant {
                if tap.watches.iter().any(|(there, _)| *there == at) {
                    continue;
                }
                let target = if at.ends_with(":request") { tap.target.min(BODIES) } else { tap.target };
                let watch = Watch {
                    name,
                    takes: tap.takes,
                    seen: AtomicU64::new(0),
                    lost: AtomicU64::new(0),
                    sampler: Mutex::new(Sampler::new(target)),
                    shared: tap.shared.clone(),
                };
                tap.watches.push((at, Arc::new(watch)));
            }
        }
        for (name, point) in &self.points {
            let of = |tap: &Open| {
                tap.watches.iter().filter(|(at, _)| at == name).map(|(_, watch)| watch.clone()).collect::<Vec<_>>()
            };
            let all: Vec<Arc<Watch>> = self.taps.iter().flat_map(of).collect();
            let is_watched = !all.is_empty();
            if is_watched || point.is_watched() {
                point.watches.set(all);
                point.watched.store(is_watched, Ordering::Relaxed);
            }
        }
    }
}

/// An open tap.
pub struct Tap {
    hub: Arc<Hub>,
    number: u64,
    candidates: Receiver<Candidate>,
    began: Instant,
}

/// What has passed a point since it was asked last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The point.
    pub point: Arc<str>,
    /// Events that passed.
    pub seen: u64,
    /// Of those: events that were to be shown, for which there was no room.
    pub lost: u64,
}

impl Tap {
    /// When it was opened.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// What was taken next; none where nothing is in time.
    pub fn next(&self, deadline: Instant) -> Option<Candidate> {
        self.candidates.recv_deadline(deadline).ok()
    }

    /// How many wait to be taken.
    pub fn waiting(&self) -> usize {
        self.candidates.len()
    }

    /// What has passed.
    pub fn passed(&self) -> Vec<Passed> {
        let state = self.hub.state.locked();
        let watches = state.taps.iter().filter(|tap| tap.number == self.number).flat_map(|tap| &tap.watches);
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        watches.map(|(_, w)| Passed { point: w.name.clone(), seen: take(&w.seen), lost: take(&w.lost) }).collect()
    }

    /// The hub that it is at.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut state = self.hub.state.locked();
        state.taps.retain(|tap| tap.number != self.number);
        state.attach();
    }
}

/// Lines of a tap on their way to whoever asked for them: one or more whole ones at a time.
pub type Lines = tokio::sync::mpsc::Receiver<Bytes>;

/// Where no meaning is in metadata that is not shown: an origin that tells the source alone.
pub fn bare_origin(origin: &Origin) -> Arc<Origin> {
    Origin::of_source(&origin.source)
}

#[cfg(test)]
mod tests;

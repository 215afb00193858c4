//! What the writer, the reader and the sink's verdicts share: which records there are, where they are, and what became
//! of them. One lock, taken a few times per batch; no file is touched under it.

use super::Sizes;
use super::notes::{Notes, Snapshot};
use super::settled::Settled;
use super::within::Within;
use crate::ack::place::{Island, Place, Places, Told, join};
use crate::ack::{Ack, Rows, Settled as Listener, Verdict};
use crate::event::Batch;
use crate::sync::Locked;
use crate::sync::{AtomicUsize, Condvar, Mutex, MutexGuard};
use crate::telemetry::{BufferTotals, Counters, OpenedBuffer};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Blocks of the filesystem: what lies on disk is counted in these.
const BLOCK: u64 = 4096;
/// Charged beyond the segments: the folder, the quarantine's folder, the position file, the lock.
const FIXED: u64 = 2 * BLOCK + super::position::FILE + BLOCK;

/// Charged beyond the segments in a buffer of this size: the above, and the notes of what is settled, twice.
pub(super) fn fixed(max_bytes: u64) -> u64 {
    FIXED + 2 * cost(super::notes::limit(max_bytes))
}

/// What a file of `len` bytes takes on disk: whole blocks, and one for the filesystem's own list of them.
pub(super) fn cost(len: u64) -> u64 {
    len.div_ceil(BLOCK) * BLOCK + BLOCK
}

/// One segment as it is known in memory.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) epoch: u64,
    pub(super) first_seq: u64,
    /// Behind its last record.
    pub(super) end_seq: u64,
    /// Events written before it.
    pub(super) first_event: u64,
    /// Events written to it.
    pub(super) events: u64,
    /// Bytes of the file.
    pub(super) file_len: u64,
    /// Behind its last whole record, or a bound on that for a segment of a run before.
    pub(super) data_end: u64,
    /// Newest batch in it, about: nanoseconds since 1970 UTC.
    pub(super) newest: i64,
    /// No more is written to it.
    pub(super) sealed: bool,
}

/// A batch that waits in memory for the reader.
pub(super) struct Waiting {
    pub(super) seq: u64,
    pub(super) batch: Batch,
    pub(super) bytes: usize,
}

/// A record on its way to the disk: accepted, packed, not yet durable.
pub(super) struct RecordPart {
    pub(super) seq: u64,
    pub(super) events: u64,
    pub(super) received_at: i64,
    /// When it came.
    pub(super) since: Instant,
    /// Place of its header in the writer's memory; the body is behind it.
    pub(super) at: usize,
    /// Bytes of its body.
    pub(super) len: usize,
    /// The source's handle.
    pub(super) upstream: Option<Ack>,
    /// The sink has settled it: it need not be written.
    pub(super) settled: bool,
    /// It is being written just now.
    pub(super) writing: bool,
    /// Up to where its source comes with it and all before it.
    pub(super) place: Option<Place>,
    /// Where those begin that are settled while others are not; in no order.
    pub(super) parts: Vec<Range<u64>>,
}

impl RecordPart {
    /// Bytes of the record, with its header.
    pub(super) fn size(&self) -> usize {
        super::record::HEADER + self.len
    }

    /// Where its events begin in their file, where that can be told.
    fn island(&self) -> Option<Island> {
        self.place.as_ref().and_then(Island::of)
    }

    /// Notes that `rows` of it are settled, the `n`th of which begins at `offset_of(n)`; where these begin, as far as that
    /// can be told.
    fn settle_rows(&mut self, rows: &Rows, offset_of: &dyn Fn(usize) -> u64) -> Option<Island> {
        let all = self.island()?;
        let whole = all.parts.first()?.clone();
        let mut n = 0;
        let run_in_file = |run: Range<u32>| {
            let (first, last) = (n, n + run.len() - 1);
            n += run.len();
            offset_of(first)..offset_of(last).saturating_add(1)
        };
        let parts: Vec<Range<u64>> = rows.runs().map(run_in_file).collect();
        let is_within = |part: &Range<u64>| !part.is_empty() && part.start >= whole.start && part.end <= whole.end;
        debug_assert!(parts.iter().all(is_within), "{parts:?} of {whole:?}");
        let parts: Vec<Range<u64>> = parts.into_iter().filter(is_within).collect();
        self.parts.extend(parts.iter().cloned());
        Some(Island { parts, ..all })
    }
}

/// A record that the sink has.
pub(super) struct InFlight {
    /// Events of the record.
    pub(super) events: u64,
    pub(super) bytes: usize,
    /// Those that a run before had settled: the sink was given the others.
    pub(super) before: Option<Within>,
}

/// See the module.
pub(super) struct State {
    /// Bytes charged whatever is in it.
    pub(super) fixed: u64,
    /// How far files of sources are held: on disk, or settled by the sink.
    pub(super) claims: Places,
    /// Of records that were settled before they were written, and what is before them is neither.
    pub(super) waiting: Vec<(u64, Place)>,
    /// What the sink has settled, in front of which something was lost with the process: from a run before.
    pub(super) islands: Vec<Island>,
    /// Some records say how far files of sources are held: from then on it is noted of each whether it was settled before it
    /// was written.
    pub(super) tells: bool,
    /// Oldest first.
    pub(super) segments: VecDeque<Segment>,
    /// Files to be used again: name and length.
    pub(super) spares: Vec<(String, u64)>,
    /// Bytes of the quarantine, as charged.
    pub(super) quarantine: u64,
    pub(super) settled: Settled,
    /// What is settled of records that are not settled as a whole, by number.
    pub(super) within: BTreeMap<u64, Within>,
    /// Number of the next record.
    pub(super) next_seq: u64,
    /// Events written, ever.
    pub(super) next_event: u64,
    /// What was there when it was opened.
    pub(super) opened: OpenedBuffer,
    /// Every record below was written or settled: the reader finds it on disk.
    pub(super) written_seq: u64,
    /// Every record below was given to the sink or settled.
    pub(super) cursor: u64,
    pub(super) window: VecDeque<Waiting>,
    pub(super) window_bytes: usize,
    pub(super) group: Vec<RecordPart>,
    pub(super) in_flight: BTreeMap<u64, InFlight>,
    pub(super) in_flight_bytes: usize,
    /// Records whose verdict was `Failed`, with their events: what is not settled of them is delivered again when the sink begins
    /// again, or at the next start.
    pub(super) failed: HashMap<u64, u64>,
    /// The sink has begun again: it is given nothing more until it is known what of that which it was given has failed.
    pub(super) holds_back: bool,
    /// Bytes of batches that the sink has settled so far.
    pub(super) settled_bytes: usize,
    /// Events accepted, or found at the start, and not yet settled.
    pub(super) held: u64,
    /// `settled` has written records that the position file does not know of.
    pub(super) position_stale: bool,
    /// The reader has a batch that the sink's queue does not have yet.
    pub(super) giving: bool,
    /// The segment that the reader reads just now.
    pub(super) reading: Option<u64>,
    /// The segment whose file the reader has open.
    pub(super) standing: Option<u64>,
    /// Nothing more will be written.
    pub(super) closed: bool,
}

/// The state with its lock.
pub(super) struct SharedState {
    state: Mutex<State>,
    /// There may be something to read.
    pub(super) some: Condvar,
    /// There may be room, or a verdict has come.
    pub(super) room: Condvar,
    pub(super) counters: Arc<Counters>,
    pub(super) max_bytes: u64,
    /// With `overflow`, what the queue behind it may hold; its events and bytes are the buffer's too.
    pub(super) overflow_of: Option<usize>,
    /// What that queue held when it was last looked at.
    pub(super) memory_bytes: AtomicUsize,
    /// To be locked before the state, never while it is.
    pub(super) notes: Mutex<Notes>,
    /// Bytes of their file.
    pub(super) notes_bytes: AtomicU64,
}

impl State {
    /// Bytes on disk, as charged.
    pub(super) fn used(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|s| cost(s.file_len)).sum();
        let spares: u64 = self.spares.iter().map(|(_, len)| cost(*len)).sum();
        self.fixed + self.quarantine + segments + spares
    }

    /// The segment in whose range record `seq` lies.
    pub(super) fn segment_of(&self, seq: u64) -> Option<&Segment> {
        let i = self.segments.partition_point(|s| s.end_seq <= seq);
        self.segments.get(i).filter(|s| s.first_seq <= seq)
    }

    /// Whether the reader has the segment's file open.
    pub(super) fn is_read(&self, epoch: u64) -> bool {
        self.reading == Some(epoch) || self.standing == Some(epoch)
    }

    /// Whether a batch of `bytes` may be kept in memory for the reader.
    pub(super) fn has_room(&self, sizes: &Sizes, bytes: usize) -> bool {
        (self.window.is_empty() || self.window_bytes + bytes <= sizes.window) && bytes <= sizes.keep
    }

    /// Bytes of the group that the sink has not settled.
    pub(super) fn unsettled_bytes(&self) -> usize {
        self.group.iter().filter(|p| !p.settled).map(RecordPart::size).sum()
    }

    /// Whether the reader waits for a record that is neither in memory nor written yet.
    pub(super) fn needs_group(&self) -> bool {
        let seq = self.settled.next_unsettled(self.cursor);
        let is_there = seq < self.next_seq && seq >= self.written_seq;
        is_there && self.window.front().is_none_or(|front| front.seq != seq)
    }

    /// Whether the next record for the sink has to be read from disk.
    pub(super) fn reads_disk(&self) -> bool {
        let seq = self.settled.next_unsettled(self.cursor);
        seq < self.written_seq && self.window.front().is_none_or(|front| front.seq != seq)
    }

    /// Bytes of all files in the folder.
    pub(super) fn bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|s| s.file_len).sum();
        super::position::FILE + self.quarantine + segments + self.spares.iter().map(|(_, len)| len).sum::<u64>()
    }

    /// Events written to `segment` before its record `to`, before which `event` events were written, that are in no record
    /// that is settled or that the sink was given. `to` must be a record that is not settled, or the segment's end.
    pub(super) fn unaccounted(&self, segment: &Segment, to: u64, event: u64) -> u64 {
        let settled = if to >= segment.end_seq {
            self.settled_in(segment)
        } else {
            self.settled.events_between(segment.first_seq, to, segment.first_event)
        };
        let handed = self.handed(segment.first_seq, to);
        event.saturating_sub(segment.first_event).saturating_sub(settled).saturating_sub(handed)
    }

    /// Events written to `segment` whose records are settled as a whole. A run may go on behind its end, over records that
    /// were settled before they were written: those have no events there.
    pub(super) fn settled_in(&self, segment: &Segment) -> u64 {
        let next = self.settled.next_cut(segment.end_seq);
        self.settled.events_between(segment.first_seq, next, segment.first_event)
    }

    /// Events of the records `from..to` that the sink was given and that are not settled as a whole.
    fn handed(&self, from: u64, to: u64) -> u64 {
        let range = from..to;
        let in_flight = self.in_flight.iter().filter(|(seq, _)| range.contains(seq)).map(|(_, h)| h.events);
        let failed = self.failed.iter().filter(|(seq, _)| range.contains(seq)).map(|(_, events)| events);
        in_flight.sum::<u64>() + failed.sum::<u64>()
    }

    /// Events of records that the sink was given, and of which it has settled nothing or a part: those that it has not.
    fn handed_unsettled(&self) -> u64 {
        let given =
            self.in_flight.iter().map(|(seq, h)| (seq, h.events)).chain(self.failed.iter().map(|(s, e)| (s, *e)));
        given.map(|(seq, events)| events.saturating_sub(self.within.get(seq).map_or(0, Within::events))).sum()
    }

    /// Events that are settled within records of which others are not.
    pub(super) fn within_events(&self, to: u64) -> u64 {
        self.within.range(..to).map(|(_, within)| within.events()).sum()
    }

    /// Settles what the sink had no part in: the records `from..to` with `events` written events, of which those that are
    /// not settled yet are gone for `reason`; returns how many these were.
    ///
    /// Never more than what the sink was not given: headers that lie about their numbers cannot unbalance the ledger.
    pub(super) fn gone(&mut self, from: u64, to: u64, events: u64, counters: &Counters, reason: &'static str) -> u64 {
        if from >= to {
            return 0;
        }
        let partly: Vec<u64> = self.within.range(from..to).map(|(seq, _)| *seq).collect();
        let mut within = 0;
        for seq in partly.into_iter().filter(|seq| !self.in_flight.contains_key(seq)) {
            within += self.within.remove(&seq).map_or(0, |w| w.events());
        }
        let lost = events.saturating_sub(within).min(self.held.saturating_sub(self.handed_unsettled()));
        if !self.settled.add(from, to, lost + within) || lost + within == 0 {
            return 0;
        }
        self.position_stale = true;
        self.held = self.held.saturating_sub(lost);
        counters.update(|t| {
            t.drop_events(reason, lost);
            t.held = t.held.saturating_sub(lost);
        });
        lost
    }

    /// Claims what was settled out of turn, as far as nothing before it is neither written nor settled.
    pub(super) fn claim(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let open = self.group.iter().find(|part| !part.settled).map_or(u64::MAX, |part| part.seq);
        self.claims.note_all(self.waiting.iter().filter(|(seq, _)| *seq < open).map(|(_, place)| place));
        self.waiting.retain(|(seq, _)| *seq >= open);
    }

    /// What a source is told that it holds.
    pub(super) fn told(&self) -> Told {
        Told { places: self.claims.to_vec(), islands: self.islands.clone() }
    }

    /// Where what the sink has settled of records begins that are neither written nor settled as a whole.
    fn pieces(&self) -> Vec<(u64, Island)> {
        let parts = self.group.iter().filter(|part| !part.settled && !part.parts.is_empty());
        let pieces = parts.filter_map(|part| {
            let mut island = Island { parts: part.parts.clone(), ..part.island()? };
            join(&mut island.parts);
            Some((part.seq, island))
        });
        pieces.collect()
    }

    /// What is to be noted of it.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            promised: (self.written_seq, self.next_event),
            settled: self.settled.clone(),
            within: self.within.iter().map(|(seq, within)| (*seq, within.clone())).collect(),
            pieces: self.pieces(),
            held: self.claims.to_vec(),
            waiting: self.waiting.clone(),
            islands: self.islands.iter().filter(|i| !self.claims.reach(&i.file, &i.at)).cloned().collect(),
        }
    }

    /// What lies on disk: written ever, and not settled.
    fn on_disk(&self) -> BufferTotals {
        let settled = self.settled.events().saturating_add(self.within_events(self.written_seq));
        let held = self.next_event.saturating_sub(settled);
        let settled = self.settled.low_events();
        BufferTotals { written: self.next_event, held, settled, opened: self.opened }
    }

    /// Whether the sink, or its queue, has everything: what goes past the buffer now overtakes nothing.
    pub(super) fn is_empty(&self) -> bool {
        !self.giving && self.settled.next_unsettled(self.cursor) >= self.next_seq
    }

    /// Whether what waits in memory is more than the sink takes at once.
    pub(super) fn sink_is_behind(&self) -> bool {
        !self.window.is_empty() || self.settled.next_unsettled(self.cursor) < self.next_seq
    }
}

impl SharedState {
    pub(super) fn new(
        state: State,
        counters: Arc<Counters>,
        max_bytes: u64,
        overflow_of: Option<usize>,
        notes: Notes,
    ) -> Arc<Self> {
        let shared = SharedState {
            state: Mutex::new(state),
            some: Condvar::new(),
            room: Condvar::new(),
            counters,
            max_bytes,
            overflow_of,
            memory_bytes: AtomicUsize::new(0),
            notes_bytes: AtomicU64::new(notes.len()),
            notes: Mutex::new(notes),
        };
        shared.publish(&shared.lock());
        Arc::new(shared)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    /// Notes something that is settled; where there is no room for it, begins the notes anew, with all that is known.
    pub(super) fn note(&self, note: impl FnOnce(&mut Notes) -> bool) {
        let mut notes = self.notes.locked();
        if !note(&mut notes) {
            let snapshot = self.lock().snapshot();
            notes.renew(&snapshot);
        }
        self.notes_bytes.store(notes.len(), Ordering::Relaxed);
    }

    /// Begins the notes anew.
    pub(super) fn renew_notes(&self) {
        self.note(|_| false);
    }

    /// Begins the notes anew where they are lost.
    pub(super) fn renew_lost_notes(&self) {
        self.note(|notes| !notes.is_lost());
    }

    /// Whether the files may take `growth` more. Room is made before a record is taken, so that only failed writes and
    /// syncs, which leave pieces behind, can make it scarce again.
    pub(super) fn allow(&self, state: &State, growth: u64) -> io::Result<()> {
        if growth > 0 && state.used() + growth > self.max_bytes {
            let why = "what failed writes have left takes the room up to `max_size`";
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, why));
        }
        Ok(())
    }

    /// Publishes the gauges.
    pub(super) fn publish(&self, state: &State) {
        let memory = self.memory_bytes.load(Ordering::Relaxed) as u64 + self.notes_bytes.load(Ordering::Relaxed);
        let max = self.max_bytes + self.overflow_of.unwrap_or(0) as u64;
        let (events, bytes, max) = (state.held as f64, (state.bytes() + memory) as f64, max as f64);
        let on_disk = state.on_disk();
        self.counters.update(|t| {
            // What went past the disk is in the ledger only.
            if self.overflow_of.is_some() {
                t.gauges.insert("buffer_disk_events", events);
                t.gauges.insert("buffer_events", t.held as f64);
            } else {
                t.gauges.insert("buffer_events", events);
            }
            t.gauges.insert("buffer_bytes", bytes);
            t.gauges.insert("buffer_max_bytes", max);
            t.buffer = Some(on_disk);
        });
    }
}

/// What is noted of a record with its verdict.
enum Note {
    /// It is settled: with so many events, when all records below a number, with so many events, were written.
    Written(u64, (u64, u64)),
    /// It was settled before it was written; its source came to there with it.
    Unwritten(Option<Place>),
    /// These events of it are settled, which begin there in their file.
    RecordPart(Within, Option<Island>),
}

impl Listener for SharedState {
    fn hears_parts(&self) -> bool {
        true
    }

    /// The sink is done with some events of record `seq`.
    fn part_settled(&self, seq: u64, rows: &Rows, offset_of: &dyn Fn(usize) -> u64) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(handed) = state.in_flight.get(&seq) else { return };
        let end = u32::try_from(handed.events).unwrap_or(u32::MAX);
        let places = match &handed.before {
            None => rows.runs().collect(),
            Some(before) => before.places_of(rows.runs()),
        };
        let places = places.into_iter().map(|run| run.start.min(end)..run.end.min(end));
        let places: Vec<_> = places.collect();
        let within = state.within.entry(seq).or_default();
        let new = within.add(places.iter().cloned());
        let whole = within.events() >= handed.events;
        state.held = state.held.saturating_sub(new);
        state.position_stale |= seq < state.written_seq;
        // Of one that is not written it is noted where its events begin: whether they come from the disk again or from
        // their source, the sink is spared them.
        let part = state.group.binary_search_by_key(&seq, |part| part.seq).ok();
        let island = part.and_then(|i| state.group[i].settle_rows(rows, offset_of));
        drop(guard);
        // With the last of them comes the verdict.
        if !whole {
            self.note(|notes| notes.part(seq, places.into_iter(), island.as_ref()));
        }
    }

    /// The sink is done with record `seq`.
    fn settled(&self, seq: u64, verdict: Verdict) {
        let mut upstream = None;
        let mut note = None;
        {
            let mut state = self.lock();
            let state = &mut *state;
            let Some(handed) = state.in_flight.remove(&seq) else { return };
            state.in_flight_bytes -= handed.bytes;
            if verdict == Verdict::Failed {
                state.failed.insert(seq, handed.events);
                // Where all of it was settled nevertheless, that was left to the verdict.
                let within = state.within.get(&seq).filter(|within| within.events() >= handed.events).cloned();
                let part = state.group.binary_search_by_key(&seq, |part| part.seq).ok();
                note = within.map(|w| Note::RecordPart(w, part.and_then(|i| state.group[i].island())));
            } else {
                let within = state.within.remove(&seq).map_or(0, |w| w.events());
                state.held = state.held.saturating_sub(handed.events.saturating_sub(within));
                state.settled_bytes = state.settled_bytes.wrapping_add(handed.bytes);
                match state.group.binary_search_by_key(&seq, |p| p.seq) {
                    Ok(i) => {
                        let part = &mut state.group[i];
                        part.settled = true;
                        upstream = part.upstream.take();
                        let place = part.place.take();
                        part.parts = Vec::new();
                        // One that is being written is settled when it is known whether it was.
                        if !part.writing {
                            state.settled.add(seq, seq.saturating_add(1), 0);
                        }
                        if state.tells || part.writing {
                            note = Some(Note::Unwritten(place.clone()));
                        }
                        state.waiting.extend(place.map(|place| (seq, place)));
                        state.claim();
                    }
                    Err(_) => {
                        state.position_stale |= state.settled.add(seq, seq.saturating_add(1), handed.events);
                        note = Some(Note::Written(handed.events, (state.written_seq, state.next_event)));
                    }
                }
            }
            self.publish(state);
            self.room.notify_all();
            self.some.notify_all();
        }
        match &note {
            Some(Note::Written(events, promised)) => self.note(|notes| notes.settled(seq, *events, *promised)),
            Some(Note::Unwritten(place)) => self.note(|notes| notes.unwritten(seq, place.as_ref())),
            Some(Note::RecordPart(within, island)) => {
                self.note(|notes| notes.part(seq, within.runs(), island.as_ref()))
            }
            None => {}
        }
        if let Some(upstream) = upstream {
            upstream.settle(verdict);
        }
    }
}

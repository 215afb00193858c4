//! The writing side: batches to records, records to segments, in groups that are durable before they are acknowledged.
//!
//! What the writer does with batches ([`Phase`]):
//!
//! ```text
//!           the first record        written, or all of it settled
//!   Idle ──────────────────► Gathering ──────────────────► Idle
//!                             │     ▲
//!      the disk does not take │     │ waits, makes room, looks whether the files are there: again
//!                             ▼     │
//!                           (try_commit) ───────────────────────► GaveUp
//!                                    the time to drain is over
//! ```
//!
//! What becomes of a segment ([`Segments`]); nothing is acknowledged from one that is not the file under its name:
//!
//! ```text
//!            full, or all of it settled          all of it settled, and the position says so
//!   active ─────────────────────────────► sealed ─────────────────────────► removed, or spare
//!     │ │ └── a write or a sync failed: cut back to what counts ──►▲    ▲
//!     │ └──── a sync failed after records were acknowledged: doubtful ──┤ written again
//!     └────── it has no name any more: orphan ──────────────────────────┘ to another segment
//! ```

use super::pace::{GROUP_WAIT, Pace};
use super::position::{self, Mark, Position, SLOT};
use super::reader::hand;
use super::record::{self, RecordHeader};
use super::recover::{LOCK, POSITION, REWRITE, SPARE};
use super::segment::{self, SegmentHeader, View};
use super::settled::Settled;
use super::state::{InFlight, RecordPart, Segment, SharedState, Waiting, cost, fixed};
use super::{DiskOptions, FaultThrottle, Sizes};
use crate::ack::place::{NOWHERE, Place};
use crate::ack::{Ack, Letters, Verdict};
use crate::buffer::Refuser;
use crate::buffer::{DiskCompression, Fsync, StageSender, WhenDiskFull};
use crate::event::{Batch, Packer};
use crate::storage::{FileId, OpenFor, Storage, StoredFile, make_again};
use crate::telemetry::Health;
use crate::time::clock;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

mod folder;
mod group;
mod reclaim;
mod room;

/// How often the position is saved while it changes.
pub(super) const POSITION_EVERY: Duration = Duration::from_millis(100);
/// How often it is at least, while only acknowledgement comes further.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether the files are still there, where there are few segments, and where there are many.
const LOOK_AFTER: [Duration; 2] =
    if cfg!(test) { [Duration::ZERO; 2] } else { [Duration::from_secs(1), Duration::from_secs(10)] };
/// How long `/ready` fails after files were deleted: someone is to look.
const READY_AGAIN: Duration = Duration::from_secs(60);
/// How long a write that failed waits before it is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 200 });
/// Most files kept for reuse: writing over blocks that exist costs half of what new ones cost.
const MAX_SPARES: usize = 2;
/// Smaller segments are not worth keeping.
const MIN_SPARE: u64 = 1 << 20;

/// Appends records. The only one that makes, renames and removes segments.
pub(super) struct Writer {
    pub(super) shared: Arc<SharedState>,
    storage: Arc<dyn Storage>,
    folder: PathBuf,
    settings: Settings,
    with: With,
    phase: Phase,
    group: Group,
    files: Segments,
    positions: Positions,
    home: Home,
    reports: Reports,
    /// What was refused and nobody has settled yet.
    letters: Arc<Letters>,
}

/// What a writer is given to work with.
#[derive(Default)]
pub(super) struct With {
    /// The time to drain is over.
    pub(super) abort: CancellationToken,
    /// Takes what can never fit; without one it is dropped and counted.
    pub(super) refuser: Option<Box<dyn Refuser>>,
    /// Waits a little for a sink that nearly keeps up, where it would have to read from disk else; without it nothing waits
    /// (a model in one thread could not).
    pub(super) pace: Option<Pace>,
    /// The sink's queue, for batches that overtake nothing, which spares the reader's thread a turn; without it the reader
    /// gives them all.
    pub(super) sink: Option<StageSender>,
    /// What `/ready` says.
    pub(super) health: Option<Arc<Health>>,
}

/// What it was told to be.
struct Settings {
    sizes: Sizes,
    when_full: WhenDiskFull,
    fsync: Fsync,
    fsync_interval: Duration,
    /// Nanoseconds.
    max_age: Option<i64>,
    /// Most bytes that the sink has at once.
    max_in_flight: usize,
    /// Records say how far files of sources are held: not where others go past the disk.
    places: bool,
}

/// What the writer does with batches: see [the module](self).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The group is empty. Next: `Gathering`.
    Idle,
    /// The group has records, the first of which came then. Next: `Idle`, `GaveUp`.
    Gathering { since: Instant },
    /// The time to drain ended while the disk could not be written: nothing more is. The last state.
    GaveUp,
}

/// Records on their way to a segment.
struct Group {
    packer: Packer,
    /// For each record a gap for its header, then its body; where which stands is in [`SharedState`].
    buf: Vec<u8>,
    /// Room that they may need on disk, at most.
    reserved: u64,
    /// Those that are being written: to be used again.
    todo: Vec<Todo>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// The same records, compressed.
    packed: Vec<u8>,
}

/// Segments that are not only a name: those that are written to, or were.
struct Segments {
    active: Option<Active>,
    /// A segment whose sync failed after its records had been acknowledged.
    doubtful: Option<Active>,
    /// Segments that have no name any more, with records that nothing else has.
    orphans: Vec<Active>,
    /// Segments that have no name any more and that the reader still reads.
    nameless: Vec<u64>,
    next_epoch: u64,
    synced_at: Instant,
}

/// The position file, and what it says.
struct Positions {
    file: Option<Arc<dyn StoredFile>>,
    slot: (u64, usize),
    /// The newest mark of this run, the generation of the newest of a run before, and what both follow.
    mark: Option<Mark>,
    last_mark: u64,
    follows: u32,
    /// What is settled for certain.
    saved: Settled,
    /// How far acknowledgement has come, and since when it says that.
    saved_promise: (u64, Instant),
    saved_at: Instant,
}

/// The folder that all lies in.
struct Home {
    /// Its lock, and which file that is on.
    lock: Box<dyn Send>,
    lock_id: Option<FileId>,
    /// The filesystem that it is on.
    device: u64,
    /// Names were changed in it since its last sync.
    names_changed: bool,
    looked_at: Instant,
}

/// What was told of the disk.
#[derive(Default)]
struct Reports {
    faults: FaultThrottle,
    /// When files were found deleted.
    hurt_at: Option<Instant>,
}

/// The segment that is written to.
struct Active {
    file: Arc<dyn StoredFile>,
    epoch: u64,
    /// Behind the records that count.
    end: u64,
    /// Behind the bytes written.
    at: u64,
    /// Up to here it survives a power loss.
    synced: u64,
    /// Bytes that it may have.
    capacity: u64,
}

/// A record to be written.
#[derive(Clone, Copy)]
struct Todo {
    seq: u64,
    events: u64,
    received_at: i64,
    at: usize,
    len: usize,
}

/// What the writer takes over of what was found on disk.
pub(super) struct Rest {
    pub(super) next_epoch: u64,
    pub(super) slot: (u64, usize),
    pub(super) mark: u64,
    pub(super) follows: u32,
    pub(super) saved: Settled,
    pub(super) lock: Box<dyn Send>,
    pub(super) lock_id: Option<FileId>,
    pub(super) device: u64,
}

/// Whether there is room for a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Yes,
    /// The policy drops it, for this reason.
    Drop(&'static str),
    /// The time to drain is over.
    Aborted,
}

impl Writer {
    pub(super) fn new(
        options: &DiskOptions,
        storage: Arc<dyn Storage>,
        shared: Arc<SharedState>,
        rest: Rest,
        with: With,
    ) -> Self {
        let Rest { next_epoch, slot, mark, follows, saved, lock, lock_id, device } = rest;
        let now = Instant::now();
        Writer {
            shared,
            storage,
            folder: options.folder.clone(),
            settings: Settings {
                sizes: Sizes::of(options.max_bytes),
                when_full: options.when_full,
                fsync: options.fsync,
                fsync_interval: options.fsync_interval,
                max_age: options.max_age.map(|age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)),
                max_in_flight: options.max_in_flight(),
                places: options.overflow_of.is_none(),
            },
            with,
            phase: Phase::Idle,
            group: Group {
                packer: Packer::default(),
                buf: Vec::new(),
                reserved: 0,
                todo: Vec::new(),
                zstd: match options.compression {
                    DiskCompression::None => None,
                    DiskCompression::Zstd => zstd::bulk::Compressor::new(1).ok(),
                },
                packed: Vec::new(),
            },
            files: Segments {
                active: None,
                doubtful: None,
                orphans: Vec::new(),
                nameless: Vec::new(),
                next_epoch,
                synced_at: now,
            },
            positions: Positions {
                file: None,
                slot,
                mark: None,
                last_mark: mark,
                follows,
                saved,
                saved_promise: (0, now),
                saved_at: now,
            },
            home: Home { lock, lock_id, device, names_changed: true, looked_at: now },
            reports: Reports::default(),
            letters: Arc::default(),
        }
    }

    /// As if it had been given this pace.
    #[cfg(test)]
    pub(super) fn keep_pace(&mut self, pace: Pace) {
        self.with.pace = Some(pace);
    }

    /// As if it had been given this queue.
    #[cfg(test)]
    pub(super) fn hand_to(&mut self, sink: StageSender) {
        self.with.sink = Some(sink);
    }

    /// As if it had been given this.
    #[cfg(test)]
    pub(super) fn report_to(&mut self, health: Arc<Health>) {
        self.with.health = Some(health);
    }

    /// Whether the sink was found standing and is not waited for.
    #[cfg(test)]
    pub(super) fn waits_no_more(&self) -> bool {
        self.with.pace.as_ref().is_some_and(|pace| pace.stuck_at.is_some())
    }

    /// Takes a batch: into the group, and into memory for the reader where there is room for it.
    pub(super) fn accept(&mut self, mut batch: Batch) {
        if self.phase == Phase::GaveUp {
            return; // its share of the verdict is dropped: Failed
        }
        let ack = batch.ack.take();
        if batch.is_empty() {
            ack.settle(Verdict::Delivered);
            batch.recycle();
            return;
        }
        let start = self.group.buf.len();
        let (rows, events) = (0..batch.rows(), batch.len() as u64);
        // What was refused and is not kept elsewhere yet would be passed over.
        let tells = self.settings.places && batch.whole && self.letters.are_settled();
        let from = |place: &Place| if batch.alone { place.from } else { NOWHERE };
        let place = ack.place().filter(|_| tells).map(|place| Place { held: None, from: from(place), ..place.clone() });
        debug_assert!(
            place.as_ref().is_none_or(|place| place.from == NOWHERE)
                || batch.iter().map(|e| e.offset()).is_sorted_by(|a, b| a < b),
            "events of lines stand in the order of their file"
        );
        let len = self.pack(&batch, rows.clone(), place.as_ref());
        if len <= self.settings.sizes.part {
            if let Some(seq) = self.add((start, len), events, batch.received_at, ack, place) {
                self.keep(batch, seq);
            }
            self.commit_if_large();
            return;
        }
        self.group.buf.truncate(start);
        self.accept_parts(&batch, rows, &ack, place.map(|place| Place { from: NOWHERE, ..place }));
        // The parts have shares of their own.
        ack.settle(Verdict::Delivered);
        batch.recycle();
    }

    /// Packs rows behind a gap for the record's header; returns the body's length.
    fn pack(&mut self, batch: &Batch, rows: Range<usize>, place: Option<&Place>) -> usize {
        let start = self.group.buf.len();
        self.group.buf.resize(start + record::HEADER, 0);
        self.group.packer.pack(batch, rows, &mut self.group.buf);
        record::put_extension(batch.ids, place, &mut self.group.buf);
        self.group.buf.len() - start - record::HEADER
    }

    /// Takes the rows of a batch that is too large for one record, in several, which the sink is given from disk. The last of
    /// them has the place.
    fn accept_parts(&mut self, batch: &Batch, rows: Range<usize>, ack: &Ack, place: Option<Place>) {
        let live = rows.clone().filter(|&row| batch.is_live(row)).count();
        if live == 0 {
            return;
        }
        let start = self.group.buf.len();
        let len = self.pack(batch, rows.clone(), place.as_ref());
        if len > self.settings.sizes.part && live > 1 {
            self.group.buf.truncate(start);
            let middle = rows.start + rows.len() / 2;
            self.accept_parts(batch, rows.start..middle, ack, None);
            self.accept_parts(batch, middle..rows.end, ack, place);
            return;
        }
        if self.never_fits(len) && self.with.refuser.is_some() {
            self.group.buf.truncate(start);
            // The dead letter may take its time; what came before waits for no part of it.
            self.commit();
            let Some(refuser) = &self.with.refuser else { return };
            let rows: Vec<usize> = rows.filter(|&row| batch.is_live(row)).collect();
            let detail =
                format!("the event takes {len} bytes, which the disk buffer never has room for: raise `max_size`");
            refuser.refuse(batch, &rows, self.letters.share(ack.clone()), "too_large", &detail);
            return;
        }
        let place = place.filter(|_| self.letters.are_settled());
        self.add((start, len), live as u64, batch.received_at, ack.clone(), place);
        self.commit_if_large();
    }

    /// Writes a group that is full, unless the sink settles a quarter of it soon enough: that need not be written.
    fn commit_if_large(&mut self) {
        if self.group.buf.len() < self.settings.sizes.group {
            return;
        }
        let enough = self.settings.sizes.group / 4 * 3;
        let mut state = self.shared.lock();
        if let Some(pace) = &mut self.with.pace {
            state = pace.wait_for_verdicts(&self.shared, state, enough);
        }
        let many_settled = state.unsettled_bytes() <= enough;
        drop(state);
        if many_settled {
            self.leave_unsettled();
        } else {
            self.commit();
        }
    }

    /// Takes out of the group what the sink has settled.
    fn leave_unsettled(&mut self) {
        let mut state = self.shared.lock();
        let state = &mut *state;
        state.group.retain(|p| !p.settled);
        let (mut end, mut reserved) = (0, 0);
        for part in &mut state.group {
            let whole = part.at..part.at + part.size();
            reserved += reserve(whole.len() as u64);
            part.at = end;
            end += whole.len();
            self.group.buf.copy_within(whole, part.at);
        }
        self.group.buf.truncate(end);
        self.group.reserved = reserved;
        self.phase = state.group.first().map_or(Phase::Idle, |p| Phase::Gathering { since: p.since });
        state.written_seq = state.group.first().map_or(state.next_seq, |p| p.seq);
    }

    /// Writes the group where something in it that the sink has not settled is old enough at `now`; else only what is
    /// settled leaves it. As long as the sink keeps up nothing is written, and no line waits for a sync.
    pub(super) fn commit_due(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Gathering { .. }) {
            return;
        }
        let oldest = self.shared.lock().group.iter().find(|p| !p.settled).map(|p| p.since);
        match oldest {
            Some(since) if now < since + GROUP_WAIT => self.leave_unsettled(),
            _ => self.commit(),
        }
    }

    /// Adds the record that stands at `start` of the buffer to the group, as the policy allows; its number, where it
    /// was taken.
    fn add(
        &mut self,
        (start, len): (usize, usize),
        events: u64,
        received_at: i64,
        ack: Ack,
        place: Option<Place>,
    ) -> Option<u64> {
        let size = (record::HEADER + len) as u64;
        let start = match self.room(size, start) {
            (Room::Yes, start) => start,
            (Room::Drop(reason), start) => {
                self.group.buf.truncate(start);
                self.shared.counters.update(|t| {
                    t.drop_events(reason, events);
                    t.held = t.held.saturating_sub(events);
                });
                ack.settle(Verdict::Rejected);
                return None;
            }
            (Room::Aborted, start) => {
                self.group.buf.truncate(start);
                return None; // the share is dropped: its verdict is Failed
            }
        };
        self.group.reserved += reserve(size);
        let since = Instant::now();
        if self.phase == Phase::Idle {
            self.phase = Phase::Gathering { since };
        }
        let mut state = self.shared.lock();
        let seq = state.next_seq;
        state.next_seq += 1;
        state.held += events;
        let upstream = Some(ack);
        let (settled, writing) = (false, false);
        let tells_first = place.is_some() && !state.tells;
        state.tells |= tells_first;
        state.group.push(RecordPart {
            seq,
            events,
            received_at,
            since,
            at: start,
            len,
            upstream,
            settled,
            writing,
            place,
            parts: Vec::new(),
        });
        drop(state);
        if tells_first {
            // With all that was settled up to now.
            self.shared.renew_notes();
        }
        Some(seq)
    }

    /// Gives a batch to the sink, or keeps it in memory for the reader, where there is room for it; else it is read from
    /// disk later.
    fn keep(&mut self, batch: Batch, seq: u64) {
        let bytes = batch.pinned_bytes();
        if let Some(pace) = &mut self.with.pace {
            pace.add_credit(bytes);
        }
        let Some(batch) = self.give(batch, seq, bytes) else { return };
        let mut state = self.shared.lock();
        if let Some(pace) = &mut self.with.pace {
            state = pace.wait(&self.shared, state, &self.settings.sizes, bytes);
        }
        if state.cursor > seq {
            return; // the reader has it from disk already
        }
        if state.has_room(&self.settings.sizes, bytes) {
            state.window_bytes += bytes;
            state.window.push_back(Waiting { seq, batch, bytes });
            self.shared.some.notify_one();
        } else {
            drop(state);
            batch.recycle();
        }
    }

    /// Puts a batch into the sink's queue where it is the next and the reader has none in its hand; else, or where there is
    /// no room for it soon enough, gives it back.
    fn give(&mut self, mut batch: Batch, seq: u64, bytes: usize) -> Option<Batch> {
        let Some(sink) = &self.with.sink else { return Some(batch) };
        {
            let mut state = self.shared.lock();
            let is_next = !state.giving && state.window.is_empty() && state.settled.next_unsettled(state.cursor) == seq;
            if !is_next || state.holds_back || state.in_flight_bytes > self.settings.max_in_flight {
                return Some(batch);
            }
            // Before it is in the queue: its verdict may come at once. Until then the reader finds nothing to give.
            hand(&mut state, seq, InFlight { events: batch.len() as u64, bytes, before: None });
        }
        batch.ack = Ack::new(self.shared.clone(), seq);
        let back = match &mut self.with.pace {
            Some(pace) => pace.send(sink, batch),
            None => sink.try_send(batch),
        };
        let mut state = self.shared.lock();
        state.giving = false;
        let mut batch = back?;
        state.in_flight.remove(&seq);
        state.in_flight_bytes -= bytes;
        state.cursor = seq;
        drop(state);
        // Of no record that the sink has: nobody hears it.
        drop(batch.ack.take());
        Some(batch)
    }

    /// Ends the writing: everything in the group is written, the position saved.
    pub(super) fn close(&mut self) {
        self.with.sink = None;
        self.commit();
        if self.settings.fsync != Fsync::Batch
            && let Err(error) = self.sync()
        {
            tracing::error!(component = &*self.shared.counters.id, %error, "cannot sync the disk buffer");
        }
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.some.notify_all();
    }
}

/// Room that a record takes at most, whatever segment it comes to.
fn reserve(size: u64) -> u64 {
    cost(segment::HEADER + size)
}

//! The reading side: from memory where the batch is still there, else from disk, past whatever is damaged.

use super::record::{RecordHeader, read_extension};
use super::recover::{Lost, Piece, QUARANTINE};
use super::segment::{self, View};
use super::state::{InFlight, Segment, SharedState, State, Waiting, cost};
use crate::ack::Ack;
use crate::buffer::StageSender;
use crate::event::{Batch, Slab, Unpacker};
use crate::storage::{OpenFor, Storage};
use crate::time::clock;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a waiting thread looks at what cannot wake it.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// How long a read that failed waits before it is tried again.
const READ_AGAIN: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_millis(100) };
/// How often a read that failed is tried again before the rest of the segment is given up: for a minute.
const READ_TRIES: u32 = 600;
/// Longest piece of a damaged segment that is kept.
const MAX_QUARANTINED: usize = 1 << 20;

/// Reads records in order.
pub(super) struct Reader {
    shared: Arc<SharedState>,
    storage: Arc<dyn Storage>,
    folder: PathBuf,
    /// Older batches are dropped: nanoseconds.
    max_age: Option<i64>,
    /// Most bytes that the sink has at once.
    max_in_flight: usize,
    unpacker: Unpacker,
    at: Option<Place>,
    retries: u32,
}

/// Where the reader is on disk.
struct Place {
    view: View,
    epoch: u64,
    /// The next record's header.
    at: u64,
    /// Behind the number of the last record seen.
    seq: u64,
    /// Events written before the next record.
    event: u64,
}

/// What is next for the sink.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The front of the window.
    Memory,
    /// This record, or the next behind it that is there.
    Disk(u64),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    End,
}

/// What the reader found to do.
pub(super) enum Polled {
    /// The next batch, with an acknowledgement of this buffer's own.
    Batch(Batch),
    /// Something was passed over; look again.
    Again,
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    End,
}

impl Reader {
    pub(super) fn new(
        shared: Arc<SharedState>,
        storage: Arc<dyn Storage>,
        folder: PathBuf,
        max_age: Option<Duration>,
        max_in_flight: usize,
    ) -> Self {
        let max_age = max_age.map(|age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
        Reader { shared, storage, folder, max_age, max_in_flight, unpacker: Unpacker::default(), at: None, retries: 0 }
    }

    /// Feeds the sink until everything was given to it, or the agent stops (what is on disk is safe there).
    pub(super) fn run(mut self, to: &StageSender, shutdown: &CancellationToken, abort: &CancellationToken) {
        let mut life = to.reader();
        while !abort.is_cancelled() && !to.is_closed() {
            let now = to.reader();
            if now != life {
                life = now;
                self.shared.lock().holds_back = true;
            }
            if !self.goes_on(shutdown) {
                continue;
            }
            match self.poll(shutdown) {
                Polled::Batch(batch) => {
                    to.send(batch);
                    self.shared.lock().giving = false;
                }
                Polled::Again => {}
                Polled::Nothing => {
                    let state = self.shared.lock();
                    if self.next(&state) == Next::Nothing {
                        drop(self.shared.some.wait_timeout(state, LOOK));
                    }
                }
                Polled::End => break,
            }
        }
    }

    /// Whether more may be given. A sink that has begun again is given first what failed with the one before, as soon as that has settled,
    /// or failed with, all that it was given.
    fn goes_on(&mut self, shutdown: &CancellationToken) -> bool {
        let mut state = self.shared.lock();
        if !state.holds_back {
            return true;
        }
        let first = state.failed.keys().min().copied().filter(|_| !shutdown.is_cancelled());
        if first.is_some() && !(state.in_flight.is_empty() && !state.giving) {
            drop(self.shared.some.wait_timeout(state, LOOK));
            return false;
        }
        state.holds_back = false;
        if let Some(first) = first {
            state.failed.clear();
            state.cursor = state.cursor.min(first);
            drop(state);
            self.leave();
        }
        true
    }

    /// Takes the next batch, or one step towards it.
    pub(super) fn poll(&mut self, shutdown: &CancellationToken) -> Polled {
        let mut state = self.shared.lock();
        if state.closed && shutdown.is_cancelled() {
            return Polled::End;
        }
        match self.next(&state) {
            Next::Nothing => Polled::Nothing,
            Next::End => Polled::End,
            Next::Memory => {
                let Some(Waiting { seq, mut batch, bytes }) = state.window.pop_front() else { return Polled::Again };
                state.window_bytes -= bytes;
                hand(&mut state, seq, InFlight { events: batch.len() as u64, bytes, before: None });
                drop(state);
                self.shared.room.notify_all();
                batch.ack = Ack::new(self.shared.clone(), seq);
                Polled::Batch(batch)
            }
            Next::Disk(seq) => {
                // Before the lock is let go: the writer drops no segment that is being read.
                state.reading = state.segment_of(seq).map(|s| s.epoch);
                drop(state);
                let polled = match self.step(seq) {
                    Ok(polled) => {
                        self.retries = 0;
                        polled
                    }
                    Err(error) => self.read_failed(seq, &error),
                };
                self.shared.lock().reading = None;
                polled
            }
        }
    }

    fn next(&self, state: &State) -> Next {
        if state.in_flight_bytes > self.max_in_flight {
            return Next::Nothing;
        }
        let seq = state.settled.next_unsettled(state.cursor);
        match state.window.front() {
            Some(front) if front.seq == seq => Next::Memory,
            _ if seq < state.written_seq => Next::Disk(seq),
            _ if state.closed && seq >= state.next_seq => Next::End,
            _ => Next::Nothing,
        }
    }

    /// One step on disk towards record `seq`, which is not settled and, if it was ever written, is there.
    fn step(&mut self, seq: u64) -> io::Result<Polled> {
        let segment = {
            let state = self.shared.lock();
            let i = state.segments.partition_point(|s| s.end_seq <= seq);
            // Events of all records before `seq`, where `seq` lies in no segment.
            let before = i
                .checked_sub(1)
                .and_then(|i| state.segments.get(i))
                .map_or(0, |s| s.first_event.saturating_add(s.events));
            let before = before.max(state.settled.low_events());
            let (to, event) = match state.segments.get(i) {
                Some(segment) if segment.first_seq <= seq => {
                    let segment = segment.clone();
                    drop(state);
                    self.enter(&segment)?;
                    return self.walk(seq, &segment);
                }
                Some(segment) => (segment.first_seq, segment.first_event),
                None => (state.written_seq, state.next_event),
            };
            // Behind the last segment nothing was written.
            let end = if i < state.segments.len() { to } else { u64::MAX };
            let known = state.settled.events_within(seq, end);
            (to, event.saturating_sub(before).saturating_sub(known))
        };
        let (to, lost) = segment;
        self.lose(seq, to, lost, "a segment or its end is missing");
        Ok(Polled::Again)
    }

    /// Stands in the segment, at its start unless it stood in it already.
    fn enter(&mut self, segment: &Segment) -> io::Result<()> {
        if self.at.as_ref().is_some_and(|p| p.epoch == segment.epoch) {
            return Ok(());
        }
        self.leave();
        let path = self.folder.join(segment::name(segment.epoch));
        let view = View::new(self.storage.open(&path, OpenFor::Read)?, segment.epoch);
        let (epoch, seq, event) = (segment.epoch, segment.first_seq, segment.first_event);
        self.shared.lock().standing = Some(epoch);
        self.at = Some(Place { view, epoch, at: segment::HEADER, seq, event });
        Ok(())
    }

    fn leave(&mut self) {
        self.at = None;
        self.shared.lock().standing = None;
    }

    /// Goes from record to record until `seq` or what comes behind it.
    fn walk(&mut self, seq: u64, segment: &Segment) -> io::Result<Polled> {
        let Some(place) = &mut self.at else { return Ok(Polled::Again) };
        let end_event = segment.first_event.saturating_add(segment.events);
        loop {
            let header = place.view.header(place.at, segment.data_end)?.filter(|h| h.seq >= place.seq);
            let untrusted = header.is_some_and(|h| h.seq >= segment.end_seq);
            if place.event >= end_event || place.at >= segment.data_end || untrusted {
                place.event = place.event.max(end_event);
                let lost = self.shared.lock().unaccounted(segment, segment.end_seq, end_event);
                self.lose(seq, segment.end_seq, lost, "the end of a segment is missing");
                return Ok(Polled::Again);
            }
            let Some(header) = header else {
                let next = place.view.find(place.at + 1, segment.data_end, place.seq)?;
                let next = next.filter(|(_, h)| h.seq < segment.end_seq);
                let to = next.map_or(segment.data_end, |(at, _)| at);
                let (epoch, at) = (place.epoch, place.at);
                let bytes = place.view.raw(at, (to - at).min(MAX_QUARANTINED as u64) as usize)?;
                place.at = to;
                self.set_aside(epoch, at, to - at, &bytes);
                return Ok(Polled::Again);
            };
            let at = place.at;
            if header.seq < seq
                || header.seq > seq && self.shared.lock().settled.covers(header.seq, header.seq.saturating_add(1))
            {
                place.pass(&header);
                continue;
            }
            if header.seq > seq {
                // The place stays: the record is next when what is missing before it has been settled.
                let lost = self.shared.lock().unaccounted(segment, header.seq, header.first_event);
                self.lose(seq, header.seq, lost, "records are missing");
                return Ok(Polled::Again);
            }
            let body = place.view.body(at, &header)?;
            place.pass(&header);
            return Ok(self.record(&header, at, body));
        }
    }

    /// Makes a batch of a record, or sets it aside.
    fn record(&mut self, header: &RecordHeader, at: u64, body: Vec<u8>) -> Polled {
        let (seq, events) = (header.seq, u64::from(header.events));
        let expired = self.max_age.is_some_and(|age| clock::now_ns().saturating_sub(header.received_at) > age);
        if expired {
            let mut state = self.shared.lock();
            state.gone(seq, seq.saturating_add(1), events, &self.shared.counters, "max_age");
            self.shared.publish(&state);
            return Polled::Again;
        }
        let unpacked = header.open(body).and_then(|(raw, extension)| {
            let mut batch = self.unpacker.unpack(Slab::from_vec(raw), Ack::none()).ok()?;
            if let (Some(ids), _) = read_extension(&extension) {
                batch.ids = ids;
            }
            (batch.len() as u64 == events).then_some(batch)
        });
        let Some(mut batch) = unpacked else {
            // Read once more: copies of all the whole ones would cost more.
            let len = header.size().min(MAX_QUARANTINED as u64) as usize;
            let bytes = self.at.as_ref().and_then(|place| place.view.raw(at, len).ok()).unwrap_or_default();
            self.set_aside(header.epoch, at, header.size(), &bytes);
            self.lose(seq, seq.saturating_add(1), events, "a record is damaged");
            return Polled::Again;
        };
        let mut state = self.shared.lock();
        let before = state.within.get(&seq).map(|within| within.below(header.events));
        for row in before.iter().flat_map(|within| within.runs()).flatten() {
            batch.drop_row(row as usize);
        }
        if batch.is_empty() && events > 0 {
            // All of it was settled, in several parts.
            state.gone(seq, seq.saturating_add(1), events, &self.shared.counters, "corrupt");
            return Polled::Again;
        }
        hand(&mut state, seq, InFlight { events, bytes: header.len as usize, before });
        drop(state);
        self.shared.room.notify_all();
        batch.ack = Ack::new(self.shared.clone(), seq);
        Polled::Batch(batch)
    }

    /// A read failed: tries again for a while, then gives the rest of the segment up.
    fn read_failed(&mut self, seq: u64, error: &io::Error) -> Polled {
        self.retries += 1;
        self.leave();
        // One that was deleted is given up by the writer, which knows what became of the folder.
        if self.retries < READ_TRIES {
            if self.retries == 1 {
                let component = &*self.shared.counters.id;
                tracing::warn!(component, %error, "cannot read the disk buffer; trying again");
            }
            std::thread::sleep(READ_AGAIN);
            return Polled::Again;
        }
        self.retries = 0;
        let (to, lost) = {
            let state = self.shared.lock();
            let i = state.segments.partition_point(|s| s.end_seq <= seq);
            let Some(segment) = state.segments.get(i) else { return Polled::Again };
            (
                segment.end_seq,
                state.unaccounted(segment, segment.end_seq, segment.first_event.saturating_add(segment.events)),
            )
        };
        self.lose(seq, to, lost, &format!("a segment cannot be read: {error}"));
        Polled::Again
    }

    /// Counts and sets aside what was acknowledged and is damaged or missing at the end of what was written.
    pub(super) fn lose_end(&self, lost: &Lost) {
        if let Some(piece) = &lost.left {
            self.set_piece_aside(piece);
        }
        self.lose(lost.from, lost.to, lost.events, "the end of what was written is damaged or missing");
    }

    /// Cuts off what a loss of power may have left unfinished, once it is set aside.
    pub(super) fn cut(&self, piece: &Piece) {
        self.set_piece_aside(piece);
        let cut = self.storage.open(&piece.path, OpenFor::Write).and_then(|file| {
            file.set_len(piece.at)?;
            file.sync()
        });
        if cut.is_ok()
            && let Some(segment) = self.shared.lock().segments.iter_mut().find(|s| s.epoch == piece.epoch)
        {
            segment.file_len = piece.at;
        }
    }

    fn set_piece_aside(&self, piece: &Piece) {
        let len = piece.len.min(MAX_QUARANTINED as u64) as usize;
        let file = self.storage.open(&piece.path, OpenFor::Read);
        match file.and_then(|file| View::new(file, piece.epoch).raw(piece.at, len)) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => self.set_aside(piece.epoch, piece.at, piece.len, &bytes),
            Err(error) => {
                let component = &*self.shared.counters.id;
                tracing::warn!(component, path = %piece.path.display(), %error, "cannot set damaged bytes aside");
            }
        }
    }

    /// Counts what is gone for good and says so; nothing where no event is.
    fn lose(&self, from: u64, to: u64, events: u64, why: &str) {
        let mut state = self.shared.lock();
        let events = state.gone(from, to, events, &self.shared.counters, "corrupt");
        self.shared.publish(&state);
        drop(state);
        if events > 0 {
            let component = &*self.shared.counters.id;
            let folder = self.folder.display();
            tracing::error!(component, events, first_record = from, %folder, why, "events in the disk buffer are lost");
        }
    }

    /// Copies damaged bytes to the quarantine, as far as there is room.
    fn set_aside(&self, epoch: u64, at: u64, len: u64, bytes: &[u8]) {
        let charge = cost(bytes.len() as u64);
        {
            let mut state = self.shared.lock();
            let max = self.shared.max_bytes;
            if state.quarantine + charge > max / 8 || state.used() + charge > max {
                drop(state);
                tracing::warn!(component = &*self.shared.counters.id, epoch, at, len, "no room to set damage aside");
                return;
            }
            state.quarantine += charge;
        }
        let folder = self.folder.join(QUARANTINE);
        let path = folder.join(format!("{epoch:020}-{at}.bad"));
        let written = self.storage.create_dir(&folder).and_then(|()| {
            let file = self.storage.open(&path, OpenFor::Write)?;
            file.write_at(bytes, 0)
        });
        let component = &*self.shared.counters.id;
        match written {
            Ok(()) => tracing::warn!(component, path = %path.display(), len, "set damaged bytes aside"),
            Err(error) => {
                tracing::warn!(component, path = %path.display(), %error, "cannot set damaged bytes aside");
                let _gone = self.storage.remove(&path);
                self.shared.lock().quarantine -= charge;
            }
        }
    }
}

impl Place {
    /// Behind this record.
    fn pass(&mut self, header: &RecordHeader) {
        self.at += header.size();
        self.seq = header.seq.saturating_add(1);
        self.event = header.first_event.saturating_add(u64::from(header.events));
    }
}

/// Notes that the sink is given record `seq`.
pub(super) fn hand(state: &mut State, seq: u64, handed: InFlight) {
    state.cursor = state.cursor.max(seq.saturating_add(1));
    state.giving = true;
    // What came into memory while it was read from disk.
    while state.window.front().is_some_and(|w| w.seq <= seq) {
        state.window_bytes -= state.window.pop_front().map_or(0, |w| w.bytes);
    }
    state.in_flight_bytes += handed.bytes;
    state.in_flight.insert(seq, handed);
}

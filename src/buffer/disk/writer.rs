//! The writing side: batches to records, records to segments, in groups that are durable before they are acknowledged.

use super::pace::Pace;
use super::position::{Position, SLOT};
use super::record::{self, RecordHeader};
use super::recover::{POSITION, REWRITE, Recovered, SPARE};
use super::segment::{self, SegmentHeader, View};
use super::settled::Settled;
use super::state::{FIXED, Part, Segment, Shared, Waiting, cost};
use super::{Complaint, DiskOptions, Sizes};
use crate::ack::{Ack, Verdict};
use crate::buffer::{DiskCompression, Fsync, WhenDiskFull};
use crate::component::Refuser;
use crate::event::{Batch, Packer};
use crate::storage::{Open, Storage, StoredFile};
use crate::time::clock;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A group is written when its oldest batch has waited this long: most are delivered before, and need not be written.
pub(super) const GROUP_WAIT: Duration = Duration::from_millis(10);
/// How often the position is saved while it changes.
pub(super) const POSITION_EVERY: Duration = Duration::from_millis(100);
/// How long a write that failed waits before it is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 200 });
/// Most files kept for reuse: writing over blocks that exist costs half of what new ones cost.
const MAX_SPARES: usize = 2;
/// Smaller segments are not worth keeping.
const MIN_SPARE: u64 = 1 << 20;

/// Appends records. The only one that makes, renames and removes segments.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    folder: PathBuf,
    sizes: Sizes,
    when_full: WhenDiskFull,
    fsync: Fsync,
    fsync_interval: Duration,
    max_age: Option<i64>,
    abort: CancellationToken,
    /// Takes what can never fit; without one it is dropped and counted.
    refuser: Option<Refuser>,
    packer: Packer,
    /// Records of the group: for each a gap for its header, then its body.
    buf: Vec<u8>,
    /// When the group's first record came.
    group_since: Option<Instant>,
    /// Room that the group may need, at most.
    reserved: u64,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    packed: Vec<u8>,
    active: Option<Active>,
    /// A segment whose sync failed after its records had been acknowledged.
    doubtful: Option<Active>,
    next_epoch: u64,
    /// Names were changed in the folder since its last sync.
    names_changed: bool,
    position: Option<Arc<dyn StoredFile>>,
    slot: (u64, usize),
    /// What the position file says for certain.
    saved: Settled,
    saved_at: Instant,
    synced_at: Instant,
    complaint: Complaint,
    todo: Vec<Todo>,
    /// The time to drain ended while the disk could not be written: nothing more is.
    gave_up: bool,
    /// Waits for a sink that is nearly keeping up; without it nothing waits (a model in one thread could not).
    pace: Option<Pace>,
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
        shared: Arc<Shared>,
        found: (u64, (u64, usize), Settled),
        abort: CancellationToken,
    ) -> Self {
        let (next_epoch, slot, saved) = found;
        let zstd = match options.compression {
            DiskCompression::None => None,
            DiskCompression::Zstd => zstd::bulk::Compressor::new(1).ok(),
        };
        Writer {
            shared,
            storage,
            folder: options.folder.clone(),
            sizes: Sizes::of(options.max_bytes),
            when_full: options.when_full,
            fsync: options.fsync,
            fsync_interval: options.fsync_interval,
            max_age: options.max_age.map(|age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)),
            abort,
            refuser: None,
            packer: Packer::default(),
            buf: Vec::new(),
            group_since: None,
            reserved: 0,
            zstd,
            packed: Vec::new(),
            active: None,
            doubtful: None,
            next_epoch,
            names_changed: true,
            position: None,
            slot,
            saved,
            saved_at: Instant::now(),
            synced_at: Instant::now(),
            complaint: Complaint::default(),
            todo: Vec::new(),
            gave_up: false,
            pace: None,
        }
    }

    /// What can never fit goes there.
    pub(super) fn send_refused_to(&mut self, refuser: Refuser) {
        self.refuser = Some(refuser);
    }

    /// Waits a little for a sink that nearly keeps up, where it would have to read from disk else.
    pub(super) fn keep_pace(&mut self) {
        self.pace = Some(Pace::default());
    }

    /// Whether the sink was found standing and is not waited for.
    #[cfg(test)]
    pub(super) fn waits_no_more(&self) -> bool {
        self.pace.as_ref().is_some_and(|pace| pace.stuck_at.is_some())
    }

    /// Splits what was found on disk into the shared part and the writer's.
    pub(super) fn split(found: Recovered) -> (super::state::State, (u64, (u64, usize), Settled)) {
        (found.state, (found.next_epoch, found.slot, found.saved))
    }

    // ------------------------------------------------------------------------------------------------------------
    // Taking batches

    /// Takes a batch: into the group, and into memory for the reader where there is room for it.
    pub(super) fn accept(&mut self, mut batch: Batch) {
        if self.gave_up {
            return; // its share of the verdict is dropped: Failed
        }
        let ack = batch.ack.take();
        if batch.is_empty() {
            ack.settle(Verdict::Delivered);
            batch.recycle();
            return;
        }
        let start = self.buf.len();
        let (rows, events) = (0..batch.rows(), batch.len() as u64);
        let len = self.pack(&batch, rows.clone());
        if len <= self.sizes.part {
            if let Some(seq) = self.add(start, len, events, batch.received_at, ack) {
                self.keep(batch, seq);
            }
            self.commit_if_large();
            return;
        }
        self.buf.truncate(start);
        self.accept_parts(&batch, rows, &ack);
        // The parts have shares of their own.
        ack.settle(Verdict::Delivered);
        batch.recycle();
    }

    /// Packs rows behind a gap for the record's header; returns the body's length.
    fn pack(&mut self, batch: &Batch, rows: Range<usize>) -> usize {
        let start = self.buf.len();
        self.buf.resize(start + record::HEADER, 0);
        self.packer.pack(batch, rows, &mut self.buf);
        self.buf.len() - start - record::HEADER
    }

    /// Takes the rows of a batch that is too large for one record, in several.
    fn accept_parts(&mut self, batch: &Batch, rows: Range<usize>, ack: &Ack) {
        let live = rows.clone().filter(|&row| batch.is_live(row)).count();
        if live == 0 {
            return;
        }
        let start = self.buf.len();
        let len = self.pack(batch, rows.clone());
        if len > self.sizes.part && live > 1 {
            self.buf.truncate(start);
            let middle = rows.start + rows.len() / 2;
            self.accept_parts(batch, rows.start..middle, ack);
            self.accept_parts(batch, middle..rows.end, ack);
            return;
        }
        if self.never_fits(len)
            && let Some(refuser) = &self.refuser
        {
            self.buf.truncate(start);
            let rows: Vec<usize> = rows.filter(|&row| batch.is_live(row)).collect();
            let detail =
                format!("the event takes {len} bytes, which the disk buffer never has room for: raise `max_size`");
            refuser.refuse(batch, &rows, ack.clone(), "too_large", &detail);
            return;
        }
        self.add(start, len, live as u64, batch.received_at, ack.clone());
        self.commit_if_large();
    }

    fn commit_if_large(&mut self) {
        if self.buf.len() >= self.sizes.group && !self.forget_settled() {
            self.commit();
        }
    }

    /// Takes out of the group what the sink has settled meanwhile, where that is a quarter of it or more: it need not be
    /// written. Whether it was.
    fn forget_settled(&mut self) -> bool {
        let mut state = self.shared.lock();
        let state = &mut *state;
        let size = |part: &Part| record::HEADER + part.len;
        let kept: usize = state.group.iter().filter(|p| !p.settled).map(size).sum();
        if kept > self.sizes.group / 4 * 3 {
            return false;
        }
        state.group.retain(|p| !p.settled);
        let (mut end, mut reserved) = (0, 0);
        for part in &mut state.group {
            let whole = part.at..part.at + size(part);
            reserved += reserve(whole.len() as u64);
            part.at = end;
            end += whole.len();
            self.buf.copy_within(whole, part.at);
        }
        self.buf.truncate(end);
        self.reserved = reserved;
        self.group_since = state.group.first().map(|p| p.since);
        state.written_seq = state.group.first().map_or(state.next_seq, |p| p.seq);
        true
    }

    /// Adds the record that stands at `start` of the buffer to the group, as the policy allows; its number, where it
    /// was taken.
    fn add(&mut self, start: usize, len: usize, events: u64, received_at: i64, ack: Ack) -> Option<u64> {
        let size = (record::HEADER + len) as u64;
        let start = match self.room(size, start) {
            (Room::Yes, start) => start,
            (Room::Drop(reason), start) => {
                self.buf.truncate(start);
                self.shared.counters.update(|t| {
                    t.drop_events(reason, events);
                    t.held = t.held.saturating_sub(events);
                });
                ack.settle(Verdict::Rejected);
                return None;
            }
            (Room::Aborted, start) => {
                self.buf.truncate(start);
                return None; // the share is dropped: its verdict is Failed
            }
        };
        self.reserved += reserve(size);
        let since = Instant::now();
        self.group_since.get_or_insert(since);
        let mut state = self.shared.lock();
        let seq = state.next_seq;
        state.next_seq += 1;
        state.held += events;
        let upstream = Some(ack);
        let (settled, writing) = (false, false);
        state.group.push(Part { seq, events, received_at, since, at: start, len, upstream, settled, writing });
        Some(seq)
    }

    /// Keeps a batch in memory for the reader, where there is room for it; else it is read from disk later.
    fn keep(&mut self, batch: Batch, seq: u64) {
        let bytes = batch.pinned_bytes();
        let mut state = self.shared.lock();
        if let Some(pace) = &mut self.pace {
            state = pace.wait(&self.shared, state, &self.sizes, bytes);
        }
        if state.cursor > seq {
            return; // the reader has it from disk already
        }
        if state.has_room(&self.sizes, bytes) {
            state.window_bytes += bytes;
            state.window.push_back(Waiting { seq, batch, bytes });
            self.shared.some.notify_one();
        } else {
            drop(state);
            batch.recycle();
        }
    }

    // ------------------------------------------------------------------------------------------------------------
    // Room

    /// Whether a record with a body of `len` bytes is more than the whole buffer.
    fn never_fits(&self, len: usize) -> bool {
        let size = record::HEADER + len;
        FIXED + cost(segment::HEADER + size as u64) > self.shared.max_bytes || size > record::MAX_BODY
    }

    /// Makes room for a record of `size` bytes that stands at `start` of the buffer, as the policy says. The record
    /// may have moved: its place is returned too.
    fn room(&mut self, size: u64, mut start: usize) -> (Room, usize) {
        let max = self.shared.max_bytes;
        if self.never_fits(size as usize - record::HEADER) {
            return (Room::Drop("too_large"), start);
        }
        if self.shared.lock().used() + self.reserved + reserve(size) <= max {
            return (Room::Yes, start);
        }
        let mut since = None;
        loop {
            // With an empty group it is known exactly what the record needs.
            if start > 0 {
                let record = self.buf.split_off(start);
                self.commit();
                self.buf = record;
                start = 0;
            }
            if self.fits(size) || self.make_room(size) {
                break;
            }
            if self.when_full == WhenDiskFull::Block {
                if self.abort.is_cancelled() {
                    return (Room::Aborted, start);
                }
                since.get_or_insert_with(Instant::now);
                self.wait_for_verdicts(super::reader::LOOK);
            } else if self.when_full == WhenDiskFull::DropNewest || !self.drop_oldest("buffer_full", None) {
                return (Room::Drop("buffer_full"), start);
            }
        }
        if let Some(since) = since {
            let waited = since.elapsed().as_secs_f64();
            self.shared.counters.update(|t| *t.seconds.entry("backpressure").or_default() += waited);
        }
        (Room::Yes, start)
    }

    /// Whether a record can be written now without more than `max_size` on disk, in a new segment too: where writing it
    /// fails, the active one is not written to any more. The group must be empty.
    fn fits(&self, size: u64) -> bool {
        let state = self.shared.lock();
        let need = segment::HEADER + size;
        let (spare, len) = state.spares.last().map_or((0, need), |(_, len)| (cost(*len), need.max(*len)));
        let anew = cost(len) - spare;
        let here = match &self.active {
            Some(active) if active.at + size <= active.capacity => {
                let len = state.segments.back().map_or(0, |s| s.file_len);
                cost(len.max(active.at + size)) - cost(len)
            }
            _ => 0,
        };
        state.used() + anew.max(here) <= self.shared.max_bytes
    }

    /// Frees what is settled, and what is kept for reuse; whether the record fits then.
    fn make_room(&mut self, size: u64) -> bool {
        self.seal_settled();
        let _later = self.reclaim();
        if self.fits(size) {
            return true;
        }
        self.expire();
        if self.fits(size) {
            return true;
        }
        let spares = self.shared.lock().spares.clone();
        for (name, _) in spares {
            if self.storage.remove(&self.folder.join(&name)).is_ok() {
                self.names_changed = true;
                self.shared.lock().spares.retain(|(n, _)| *n != name);
            }
        }
        self.fits(size)
    }

    /// Ends the active segment where all of it is settled, so that it can be freed.
    fn seal_settled(&mut self) {
        let state = self.shared.lock();
        let done = state.segments.back().is_some_and(|s| !s.sealed && state.settled.covers(s.first_seq, s.end_seq));
        drop(state);
        if done {
            self.seal_now();
        }
    }

    /// Ends the active segment as it is.
    fn seal_now(&mut self) {
        if self.active.take().is_some()
            && let Some(last) = self.shared.lock().segments.back_mut()
        {
            last.sealed = true;
        }
    }

    /// Ends the active segment where a write or a sync failed; what does not count is cut off, so that it takes no room.
    fn seal_torn(&mut self) -> Option<Active> {
        let active = self.active.take()?;
        // Synced, so that no power cut brings back bytes whose room has been given away.
        let cut = active.file.set_len(active.end).and_then(|()| active.file.sync()).is_ok();
        if let Some(last) = self.shared.lock().segments.back_mut() {
            last.sealed = true;
            last.file_len = if cut { active.end } else { last.file_len };
        }
        Some(active)
    }

    /// Drops the oldest segment that the reader has not begun; `older` takes only those whose newest batch is from
    /// before. Whether there was one.
    fn drop_oldest(&mut self, reason: &'static str, older: Option<i64>) -> bool {
        let droppable = |state: &super::state::State| {
            state.segments.iter().position(|s| {
                s.first_seq >= state.cursor
                    && state.reading != Some(s.epoch)
                    && !state.settled.covers(s.first_seq, s.end_seq)
                    && older.is_none_or(|t| s.newest < t)
            })
        };
        let mut state = self.shared.lock();
        let Some(i) = droppable(&state) else { return false };
        let segment = &mut state.segments[i];
        if !segment.sealed {
            segment.sealed = true;
            self.active = None;
        }
        let (from, to, events, before) = (segment.first_seq, segment.end_seq, segment.events, segment.first_event);
        let events = events.saturating_sub(state.settled.events_between(from, to, before));
        state.gone(from, to, events, &self.shared.counters, reason);
        let mut freed = 0;
        state.window.retain(|w| {
            let stays = !(from..to).contains(&w.seq);
            freed += if stays { 0 } else { w.bytes };
            stays
        });
        state.window_bytes -= freed;
        self.shared.publish(&state);
        drop(state);
        let _later = self.reclaim();
        true
    }

    /// Drops segments whose batches are all older than `max_age`.
    pub(super) fn expire(&mut self) {
        if let Some(age) = self.max_age {
            let before = clock::now_ns().saturating_sub(age);
            while self.drop_oldest("max_age", Some(before)) {}
        }
    }

    /// Waits until a verdict has come, at most `timeout`.
    pub(super) fn wait_for_verdicts(&self, timeout: Duration) {
        let state = self.shared.lock();
        drop(self.shared.room.wait_timeout(state, timeout));
    }

    // ------------------------------------------------------------------------------------------------------------
    // Writing

    /// When the group is due.
    pub(super) fn due(&self) -> Option<Duration> {
        let since = self.group_since?;
        Some(GROUP_WAIT.saturating_sub(since.elapsed()))
    }

    /// Writes the group, as far as the sink has not settled it already. Waits for a disk that is full or failing; gives
    /// up only when the time to drain is over, which leaves the group to its sources.
    pub(super) fn commit(&mut self) {
        while self.group_since.is_some() && !self.gave_up {
            match self.try_commit() {
                Ok(()) => break,
                Err(error) => {
                    self.complaint.say(|| {
                        let (component, folder) = (&*self.shared.counters.id, self.folder.display());
                        tracing::error!(component, %folder, %error, "cannot write the disk buffer; waiting");
                    });
                    self.shared.counters.update(|t| t.error("disk", 1));
                    if self.abort.is_cancelled() {
                        self.give_up();
                        break;
                    }
                    self.wait_for_verdicts(TRY_AGAIN);
                    // What the sink has settled meanwhile may be all the room that is needed.
                    let _later = self.reclaim();
                }
            }
        }
        self.group_since = None;
        self.reserved = 0;
        self.buf.clear();
        self.buf.shrink_to(self.sizes.group * 2);
    }

    /// Leaves the group unwritten, for good: the sources' handles are dropped, so they keep their place.
    fn give_up(&mut self) {
        self.gave_up = true;
        let handles: Vec<_> = self.shared.lock().group.iter_mut().map(|p| p.upstream.take()).collect();
        drop(handles);
    }

    pub(super) fn try_commit(&mut self) -> io::Result<()> {
        let result = self.write_group();
        if let Err(error) = &result {
            // What was written but not made to count is written again.
            if let Some(active) = &mut self.active {
                active.at = active.end;
            }
            let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            if !full {
                self.seal_torn();
            }
            let mut state = self.shared.lock();
            let state = &mut *state;
            for part in state.group.iter_mut().filter(|p| p.writing) {
                part.writing = false;
                if part.settled {
                    state.settled.add(part.seq, part.seq + 1, 0);
                }
            }
        } else {
            self.complaint.over(|| {
                tracing::info!(component = &*self.shared.counters.id, "the disk buffer can be written again");
            });
        }
        result
    }

    fn write_group(&mut self) -> io::Result<()> {
        self.rewrite()?;
        let mut todo = std::mem::take(&mut self.todo);
        todo.clear();
        let (mut event, promised) = {
            let mut state = self.shared.lock();
            for part in state.group.iter_mut().filter(|p| !p.settled) {
                part.writing = true;
                let Part { seq, events, received_at, at, len, .. } = *part;
                todo.push(Todo { seq, events, received_at, at, len });
            }
            (state.next_event, state.written_seq)
        };
        let result = self.write_all(&todo, &mut event, promised);
        self.todo = todo;
        result?;
        self.finish(u64::MAX);
        Ok(())
    }

    fn write_all(&mut self, todo: &[Todo], event: &mut u64, promised: u64) -> io::Result<()> {
        // Bytes of `buf` (or `packed`) that are to be written next: one call for records back to back.
        let mut run = 0..0;
        self.packed.clear();
        for part in todo {
            let (body, zstd) = self.body(part)?;
            let size = (body.len()) as u64;
            if !self.active.as_ref().is_some_and(|a| a.at + (run.len() as u64) + size <= a.capacity) {
                self.write_run(&mut run, zstd)?;
                self.roll(part, *event, size)?;
            }
            let Some(active) = &self.active else { continue };
            let from = if zstd { &mut self.packed } else { &mut self.buf };
            let len = (body.len() - record::HEADER) as u32;
            let header = RecordHeader {
                epoch: active.epoch,
                seq: part.seq,
                first_event: *event,
                promised,
                received_at: part.received_at,
                events: part.events as u32,
                raw_len: part.len as u32,
                len,
                body_crc: crc32c::crc32c(&from[body.start + record::HEADER..body.end]),
                zstd,
            };
            from[body.start..body.start + record::HEADER].copy_from_slice(&header.to_bytes());
            *event += part.events;
            if run.end != body.start {
                self.write_run(&mut run, zstd)?;
                run = body.clone();
            }
            run.end = body.end;
        }
        let zstd = self.zstd.is_some();
        self.write_run(&mut run, zstd)?;
        if self.fsync == Fsync::Batch && !todo.is_empty() {
            self.sync()?;
        }
        Ok(())
    }

    /// The record's place in `buf`, or in `packed` where it is compressed; its header is still to be filled in.
    fn body(&mut self, part: &Todo) -> io::Result<(Range<usize>, bool)> {
        let whole = part.at..part.at + record::HEADER + part.len;
        let Some(zstd) = &mut self.zstd else { return Ok((whole, false)) };
        let start = self.packed.len();
        let raw = &self.buf[whole.start + record::HEADER..whole.end];
        self.packed.resize(start + record::HEADER + zstd::zstd_safe::compress_bound(raw.len()), 0);
        let len = zstd.compress_to_buffer(raw, &mut self.packed[start + record::HEADER..])?;
        self.packed.truncate(start + record::HEADER + len);
        Ok((start..start + record::HEADER + len, true))
    }

    /// Writes the run behind what was written.
    fn write_run(&mut self, run: &mut Range<usize>, zstd: bool) -> io::Result<()> {
        let run = std::mem::take(run);
        let Some(active) = self.active.as_mut().filter(|_| !run.is_empty()) else { return Ok(()) };
        let bytes = if zstd { &self.packed[run] } else { &self.buf[run] };
        let end = active.at + bytes.len() as u64;
        {
            let mut state = self.shared.lock();
            let len = state.segments.back().map_or(0, |s| s.file_len);
            self.shared.allow(&state, cost(len.max(end)) - cost(len))?;
            if let Some(last) = state.segments.back_mut() {
                last.file_len = len.max(end);
            }
        }
        active.file.write_at(bytes, active.at)?;
        active.at = end;
        Ok(())
    }

    /// Goes on in a new segment, whose first record will be `part`.
    fn roll(&mut self, part: &Todo, event: u64, size: u64) -> io::Result<()> {
        if self.active.is_some() {
            if self.fsync != Fsync::Never {
                self.sync()?;
            }
            self.finish(part.seq);
            self.seal_now();
        }
        let epoch = self.next_epoch;
        let path = self.folder.join(segment::name(epoch));
        let need = segment::HEADER + size;
        let spare = self.shared.lock().spares.last().cloned();
        if let Some((name, _)) = spare {
            self.storage.rename(&self.folder.join(name), &path)?;
            self.shared.lock().spares.pop();
        } else {
            self.shared.allow(&self.shared.lock(), cost(need))?;
        }
        self.next_epoch += 1;
        self.names_changed = true;
        let file = self.storage.open(&path, Open::Write)?;
        let file_len = file.len()?;
        let mut state = self.shared.lock();
        state.settled.cut(part.seq);
        state.segments.push_back(Segment {
            epoch,
            first_seq: part.seq,
            end_seq: part.seq,
            first_event: event,
            events: 0,
            file_len: file_len.max(segment::HEADER),
            data_end: segment::HEADER,
            newest: part.received_at,
            sealed: false,
        });
        drop(state);
        let (end, capacity) = (segment::HEADER, self.sizes.segment.max(need));
        self.active = Some(Active { file: file.clone(), epoch, end, at: end, synced: 0, capacity });
        let header = SegmentHeader { epoch, first_seq: part.seq, first_event: event, created: part.received_at };
        if let Err(error) = file.write_at(&header.to_bytes(), 0) {
            self.seal_now();
            return Err(error);
        }
        Ok(())
    }

    /// Makes everything written survive a power loss. After a failure the segment is not trusted any more: what is not
    /// known to be durable is written again, to another one.
    fn sync(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let result = active.file.sync().and_then(|()| {
            if self.names_changed {
                self.storage.sync_dir(&self.folder)?;
                self.names_changed = false;
            }
            Ok(())
        });
        match result {
            Ok(()) => {
                active.synced = active.at;
                self.synced_at = Instant::now();
                Ok(())
            }
            Err(error) => {
                self.distrust();
                Err(error)
            }
        }
    }

    /// Ends the active segment after a failed sync. With `fsync: batch` nothing in it was acknowledged that is not
    /// durable; else what was acknowledged since the last sync is to be written again.
    fn distrust(&mut self) {
        let acknowledged = |a: &Active| a.synced < a.end && a.end > segment::HEADER;
        let doubtful = self.seal_torn().filter(|a| self.fsync == Fsync::Interval && acknowledged(a));
        self.doubtful = self.doubtful.take().or(doubtful);
    }

    /// Writes again what was acknowledged from a segment whose sync failed, before anything new. What cannot be read
    /// back stays where it is.
    fn rewrite(&mut self) -> io::Result<()> {
        let Some(old) = &self.doubtful else { return Ok(()) };
        let (file, from, end) = (old.file.clone(), old.synced.max(segment::HEADER), old.end);
        let epoch = old.epoch;
        let old_file = file.clone();
        let mut view = View::new(file, epoch);
        let Some(first) = view.header(from, end)? else {
            self.doubtful = None;
            return Ok(());
        };
        let need = cost(segment::HEADER + end - from) + self.reserved;
        if self.shared.lock().used() + need > self.shared.max_bytes {
            let component = &*self.shared.counters.id;
            tracing::error!(
                component,
                epoch,
                "no room to write again what a failed sync left in doubt; it stays there"
            );
            self.doubtful = None;
            return Ok(());
        }
        let new = self.next_epoch;
        let path = self.folder.join(REWRITE);
        let file = self.storage.open(&path, Open::Write)?;
        file.set_len(0)?;
        let created = first.received_at;
        let header = SegmentHeader { epoch: new, first_seq: first.seq, first_event: first.first_event, created };
        file.write_at(&header.to_bytes(), 0)?;
        let (mut at, mut to, mut moved) = (from, segment::HEADER, 0);
        let (mut end_seq, mut newest) = (first.seq, first.received_at);
        while at < end {
            let Some(header) = view.header(at, end)? else { break };
            let body = view.body(at, &header)?;
            if crc32c::crc32c(&body) != header.body_crc {
                break;
            }
            file.write_at(&RecordHeader { epoch: new, ..header }.to_bytes(), to)?;
            file.write_at(&body, to + record::HEADER as u64)?;
            at += header.size();
            to += header.size();
            moved += u64::from(header.events);
            (end_seq, newest) = (header.seq + 1, newest.max(header.received_at));
        }
        if at < end {
            let component = &*self.shared.counters.id;
            tracing::error!(component, epoch, "what a failed sync left in doubt cannot be read back; it stays there");
            self.doubtful = None;
            return self.storage.remove(&path);
        }
        // It counts from the rename on: whole or not at all.
        file.sync()?;
        self.storage.rename(&path, &self.folder.join(segment::name(new)))?;
        self.next_epoch += 1;
        self.doubtful = None;
        let mut state = self.shared.lock();
        if let Some(old) = state.segments.iter_mut().find(|s| s.epoch == epoch) {
            (old.data_end, old.end_seq) = (from, first.seq);
            old.events = old.events.saturating_sub(moved);
        }
        state.segments.push_back(Segment {
            epoch: new,
            first_seq: first.seq,
            end_seq,
            first_event: first.first_event,
            events: moved,
            file_len: to,
            data_end: to,
            newest,
            sealed: true,
        });
        drop(state);
        self.storage.sync_dir(&self.folder)?;
        // Only gives room back.
        if old_file.set_len(from).and_then(|()| old_file.sync()).is_ok()
            && let Some(old) = self.shared.lock().segments.iter_mut().find(|s| s.epoch == epoch)
        {
            old.file_len = from;
        }
        Ok(())
    }

    /// Makes the group's records below `seq` count: they are on disk, or the sink has them.
    fn finish(&mut self, seq: u64) {
        let mut acks = Vec::new();
        {
            let mut state = self.shared.lock();
            let state = &mut *state;
            let n = state.group.partition_point(|p| p.seq < seq);
            for mut part in state.group.drain(..n) {
                if !part.writing {
                    continue;
                }
                state.next_event += part.events;
                if let Some(last) = state.segments.back_mut() {
                    last.end_seq = part.seq + 1;
                    last.events += part.events;
                    last.newest = last.newest.max(part.received_at);
                }
                if part.settled {
                    state.position_stale |= state.settled.add(part.seq, part.seq + 1, part.events);
                }
                acks.extend(part.upstream.take());
            }
            if let (Some(active), Some(last)) = (&mut self.active, state.segments.back_mut()) {
                active.end = active.at;
                last.data_end = active.at;
            }
            state.written_seq = state.group.first().map_or(state.next_seq, |p| p.seq);
            self.shared.publish(state);
            self.shared.some.notify_all();
        }
        for ack in acks {
            ack.settle(Verdict::Delivered);
        }
    }

    // ------------------------------------------------------------------------------------------------------------
    // Position and room given back

    /// Saves the position, syncs by interval, drops what is too old: what is due of it.
    pub(super) fn housekeeping(&mut self) {
        if self.fsync == Fsync::Interval && self.synced_at.elapsed() >= self.fsync_interval {
            let behind = self.active.as_ref().is_some_and(|a| a.synced < a.at);
            self.synced_at = Instant::now();
            if behind {
                self.sync_interval();
            }
        }
        if self.saved_at.elapsed() >= POSITION_EVERY {
            self.saved_at = Instant::now();
            self.expire();
            if self.reclaim().is_ok() && self.shared.lock().position_stale {
                let _later = self.save_position();
            }
        }
    }

    /// Syncs what was acknowledged already; after a failure it is written again, to another segment.
    fn sync_interval(&mut self) {
        if let Err(error) = self.sync() {
            self.complaint.say(|| {
                let (component, folder) = (&*self.shared.counters.id, self.folder.display());
                tracing::error!(component, %folder, %error, "cannot sync the disk buffer");
            });
        }
    }

    /// Saves which records are settled. What it could not save stays to be saved.
    pub(super) fn save_position(&mut self) -> io::Result<()> {
        let (settled, promised, promised_events) = {
            let mut state = self.shared.lock();
            state.position_stale = false;
            (state.settled.clone(), state.written_seq, state.next_event)
        };
        let generation = self.slot.0 + 1;
        let (bytes, saved) = Position { generation, settled, promised, promised_events }.to_bytes();
        let slot = 1 - self.slot.1;
        match self.write_position(&bytes, slot) {
            Ok(()) => {
                self.slot = (generation, slot);
                self.saved = saved;
                Ok(())
            }
            Err(error) => {
                self.shared.lock().position_stale = true;
                self.complaint.say(|| {
                    let (component, folder) = (&*self.shared.counters.id, self.folder.display());
                    tracing::error!(component, %folder, %error, "cannot save the disk buffer's position");
                });
                Err(error)
            }
        }
    }

    fn write_position(&mut self, bytes: &[u8; SLOT], slot: usize) -> io::Result<()> {
        let file = match &self.position {
            Some(file) => file.clone(),
            None => {
                let file = self.storage.open(&self.folder.join(POSITION), Open::Write)?;
                if file.len()? < super::position::FILE {
                    file.set_len(super::position::FILE)?;
                }
                self.names_changed = true;
                self.position.insert(file).clone()
            }
        };
        file.write_at(bytes, (slot * SLOT) as u64)?;
        file.sync()?;
        if self.names_changed {
            self.storage.sync_dir(&self.folder)?;
            self.names_changed = false;
        }
        Ok(())
    }

    /// Frees segments that are settled as a whole: only after the position file says so, so that a missing segment is
    /// always a loss and never a memory slip.
    pub(super) fn reclaim(&mut self) -> io::Result<()> {
        let settled = {
            let state = self.shared.lock();
            state.segments.iter().any(|s| s.sealed && state.settled.covers(s.first_seq, s.end_seq))
        };
        if !settled {
            return Ok(());
        }
        self.save_position()?;
        loop {
            let (segment, spares) = {
                let state = self.shared.lock();
                let free = |s: &&Segment| {
                    s.sealed && state.reading != Some(s.epoch) && self.saved.covers(s.first_seq, s.end_seq)
                };
                let Some(segment) = state.segments.iter().find(free) else { break };
                (segment.clone(), state.spares.len())
            };
            let path = self.folder.join(segment::name(segment.epoch));
            let full_size = segment.file_len >= MIN_SPARE && segment.file_len >= self.sizes.segment / 2;
            if spares < MAX_SPARES && full_size && segment.file_len <= self.sizes.segment {
                let spare = format!("{SPARE}{:020}.seg", segment.epoch);
                self.storage.rename(&path, &self.folder.join(&spare))?;
                self.shared.lock().spares.push((spare, segment.file_len));
            } else {
                match self.storage.remove(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            // Before the room is used, the name must be gone for good: a power cut would bring both back.
            self.names_changed = true;
            self.shared.lock().segments.retain(|s| s.epoch != segment.epoch);
        }
        let state = self.shared.lock();
        self.shared.publish(&state);
        Ok(())
    }

    /// Ends the writing: everything in the group is written, the position saved.
    pub(super) fn close(&mut self) {
        self.commit();
        if self.fsync != Fsync::Batch
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

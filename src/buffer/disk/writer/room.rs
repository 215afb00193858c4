//! Room for what comes: what is freed, dropped or waited for.

use super::*;

impl Writer {
    /// Whether a record with a body of `len` bytes is more than the whole buffer.
    pub(super) fn never_fits(&self, len: usize) -> bool {
        let size = record::HEADER + len;
        let fixed = fixed(self.shared.max_bytes);
        fixed + cost(segment::HEADER + size as u64) > self.shared.max_bytes || size > record::MAX_BODY
    }

    /// Makes room for a record of `size` bytes that stands at `start` of the buffer, as the policy says. The record
    /// may have moved: its place is returned too.
    pub(super) fn room(&mut self, size: u64, mut start: usize) -> (Room, usize) {
        let max = self.shared.max_bytes;
        if self.phase == Phase::GaveUp {
            return (Room::Aborted, start);
        }
        if self.never_fits(size as usize - record::HEADER) {
            return (Room::Drop("too_large"), start);
        }
        if self.shared.lock().used() + self.group.reserved + reserve(size) <= max {
            return (Room::Yes, start);
        }
        let mut since = None;
        loop {
            // With an empty group it is known exactly what the record needs.
            if start > 0 {
                let record = self.group.buf.split_off(start);
                self.commit();
                self.group.buf = record;
                start = 0;
                if self.phase == Phase::GaveUp {
                    return (Room::Aborted, start);
                }
            }
            if self.fits(size) || self.make_room(size) {
                break;
            }
            if self.settings.when_full == WhenDiskFull::Block {
                if self.with.abort.is_cancelled() {
                    return (Room::Aborted, start);
                }
                since.get_or_insert_with(Instant::now);
                self.wait_for_verdicts(crate::buffer::disk::reader::LOOK);
            } else if self.settings.when_full == WhenDiskFull::DropNewest || !self.drop_oldest("buffer_full", None) {
                return (Room::Drop("buffer_full"), start);
            }
        }
        if let Some(since) = since {
            self.shared.counters.waited(since.elapsed());
        }
        (Room::Yes, start)
    }

    /// Whether a record can be written now without more than `max_size` on disk, in a new segment too: where writing it
    /// fails, the active one is not written to any more. The group must be empty.
    pub(super) fn fits(&self, size: u64) -> bool {
        let state = self.shared.lock();
        let need = segment::HEADER + size;
        let (spare, len) = state.spares.last().map_or((0, need), |(_, len)| (cost(*len), need.max(*len)));
        let anew = cost(len) - spare;
        let here = match &self.files.active {
            Some(active) if active.at + size <= active.capacity => {
                let len = state.segments.back().map_or(0, |s| s.file_len);
                cost(len.max(active.at + size)) - cost(len)
            }
            _ => 0,
        };
        state.used() + anew.max(here) <= self.shared.max_bytes
    }

    /// Frees what is settled, and what is kept for reuse; whether the record fits then.
    pub(super) fn make_room(&mut self, size: u64) -> bool {
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
            if self.remove_for_good(&self.folder.join(&name)).is_ok() {
                self.shared.lock().spares.retain(|(n, _)| *n != name);
            }
        }
        self.fits(size)
    }

    /// Ends the active segment where all of it is settled, so that it can be freed.
    pub(super) fn seal_settled(&mut self) {
        let state = self.shared.lock();
        let done = state.segments.back().is_some_and(|s| !s.sealed && state.settled.covers(s.first_seq, s.end_seq));
        drop(state);
        if done {
            self.seal_now();
        }
    }

    /// Ends the active segment as it is.
    pub(super) fn seal_now(&mut self) {
        if self.files.active.take().is_some()
            && let Some(last) = self.shared.lock().segments.back_mut()
        {
            last.sealed = true;
        }
    }

    /// Ends the active segment where a write or a sync failed; what does not count is cut off, so that it takes no room.
    pub(super) fn seal_torn(&mut self) -> Option<Active> {
        if !self.active_is_named().unwrap_or(true) {
            self.orphan_active();
        }
        let active = self.files.active.take()?;
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
    pub(in crate::buffer::disk) fn drop_oldest(&mut self, reason: &'static str, older: Option<i64>) -> bool {
        let droppable = |state: &crate::buffer::disk::state::State| {
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
            self.files.active = None;
        }
        let segment = segment.clone();
        let (from, to) = (segment.first_seq, segment.end_seq);
        let events = segment.events.saturating_sub(state.settled_in(&segment));
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
    pub(in crate::buffer::disk) fn expire(&mut self) {
        if let Some(age) = self.settings.max_age {
            let before = clock::now_ns().saturating_sub(age);
            while self.drop_oldest("max_age", Some(before)) {}
        }
    }

    /// Waits until a verdict has come, at most `timeout`.
    pub(in crate::buffer::disk) fn wait_for_verdicts(&self, timeout: Duration) {
        let state = self.shared.lock();
        drop(self.shared.room.wait_timeout(state, timeout));
    }
}

//! The position, and the segments that are given back.

use super::*;

/// More are not looked for every second.
const FEW_SEGMENTS: usize = 64;

impl Writer {
    /// Saves the position, syncs by interval, drops what is too old: what is due of it.
    pub(in crate::buffer::disk) fn housekeeping(&mut self) {
        if self.settings.fsync == Fsync::Interval && self.files.synced_at.elapsed() >= self.settings.fsync_interval {
            let behind = self.files.active.as_ref().is_some_and(|a| a.synced < a.at);
            self.files.synced_at = Instant::now();
            if behind {
                self.sync_interval();
            }
        }
        if self.positions.saved_at.elapsed() >= POSITION_EVERY {
            self.positions.saved_at = Instant::now();
            self.shared.renew_lost_notes();
            self.expire();
            let (promised, at) = self.positions.saved_promise;
            let mark_moved =
                self.positions.mark.is_some_and(|mark| mark.promised != promised) && at.elapsed() >= MARK_EVERY;
            if self.reclaim().is_ok() && (mark_moved || self.shared.lock().position_stale) {
                let _later = self.save_position();
            }
        }
        let many = self.shared.lock().segments.len() > FEW_SEGMENTS;
        if self.home.looked_at.elapsed() >= LOOK_AFTER[usize::from(many)] {
            self.look_after_folder();
        }
    }

    /// Syncs what was acknowledged already; after a failure it is written again, to another segment.
    pub(super) fn sync_interval(&mut self) {
        if let Err(error) = self.sync() {
            self.say_failing("cannot sync the disk buffer", &error);
        }
    }

    /// Saves which records are settled. What it could not save stays to be saved.
    pub(in crate::buffer::disk) fn save_position(&mut self) -> io::Result<()> {
        let generation = self.positions.slot.0 + 1;
        let position = {
            let mut state = self.shared.lock();
            state.position_stale = false;
            // Of records that are not written yet others may have the numbers after a crash.
            let within = state.within.range(..state.written_seq).map(|(seq, within)| (*seq, within.clone())).collect();
            let (settled, promised, promised_events) = (state.settled.clone(), state.written_seq, state.next_event);
            Position { generation, settled, within, promised, promised_events, follows: self.positions.follows }
        };
        let (bytes, saved) = position.to_bytes();
        let slot = 1 - self.positions.slot.1;
        match self.write_position(&bytes, slot) {
            Ok(()) => {
                self.positions.slot = (generation, slot);
                self.positions.saved = saved;
                self.positions.saved_promise = (position.promised, Instant::now());
                Ok(())
            }
            Err(error) => {
                self.shared.lock().position_stale = true;
                self.say_failing("cannot save the disk buffer's position", &error);
                Err(error)
            }
        }
    }

    pub(super) fn write_position(&mut self, bytes: &[u8; SLOT], slot: usize) -> io::Result<()> {
        let file = self.position_file()?;
        file.write_at(bytes, (slot * SLOT) as u64)?;
        file.sync()?;
        if self.home.names_changed {
            self.storage.sync_dir(&self.folder)?;
            self.home.names_changed = false;
        }
        Ok(())
    }

    /// The position file, all of its room taken. Opened anew where it is no longer the one under its name.
    pub(super) fn position_file(&mut self) -> io::Result<Arc<dyn StoredFile>> {
        let path = self.folder.join(POSITION);
        if let Some(file) = self.positions.file.take()
            && self.is_named(&path, &*file)?
        {
            return Ok(self.positions.file.insert(file).clone());
        }
        let file = self.storage.open(&path, OpenFor::Write)?;
        let len = file.len()?;
        if len < position::FILE {
            file.write_at(&vec![0; (position::FILE - len) as usize], len)?;
        }
        self.home.names_changed = true;
        Ok(self.positions.file.insert(file).clone())
    }

    /// Notes that all records below `seq`, and so many events, are about to be acknowledged. Not synced: it survives the end
    /// of the process, which is when a torn record and a damaged one cannot be told apart otherwise; the next record
    /// and the position say it again.
    pub(super) fn promise(&mut self, seq: u64, events: u64) -> io::Result<()> {
        let generation = self.positions.mark.map_or(self.positions.last_mark, |mark| mark.generation) + 1;
        let (boot, follows) = (self.storage.boot(), self.positions.follows);
        let mark = Mark { generation, boot, promised: seq, promised_events: events, follows };
        self.position_file()?.write_at(&mark.to_bytes(), mark.place())?;
        self.positions.mark = Some(mark);
        Ok(())
    }

    /// Frees segments that are settled as a whole: only after the position file says so, so that a missing segment is
    /// always a loss and never a memory slip.
    pub(in crate::buffer::disk) fn reclaim(&mut self) -> io::Result<()> {
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
                    s.sealed && state.reading != Some(s.epoch) && self.positions.saved.covers(s.first_seq, s.end_seq)
                };
                let Some(segment) = state.segments.iter().find(free) else { break };
                (segment.clone(), state.spares.len())
            };
            let path = self.folder.join(segment::name(segment.epoch));
            let full_size = segment.file_len >= MIN_SPARE && segment.file_len >= self.settings.sizes.segment / 2;
            if spares < MAX_SPARES && full_size && segment.file_len <= self.settings.sizes.segment {
                let spare = format!("{SPARE}{:020}.seg", segment.epoch);
                self.storage.rename(&path, &self.folder.join(&spare))?;
                self.home.names_changed = true;
                self.shared.lock().spares.push((spare, segment.file_len));
            } else {
                self.remove_for_good(&path)?;
            }
            self.shared.lock().segments.retain(|s| s.epoch != segment.epoch);
        }
        let state = self.shared.lock();
        self.shared.publish(&state);
        Ok(())
    }

    /// Removes a file, which may be gone already, so that no power cut brings it back: its room may be used then.
    pub(super) fn remove_for_good(&mut self, path: &std::path::Path) -> io::Result<()> {
        match self.storage.remove(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => self.home.names_changed = true,
        }
        self.storage.sync_dir(&self.folder)?;
        self.home.names_changed = false;
        Ok(())
    }
}

//! The position, and the segments that are given back.

use super::*;

impl Writer {
    /// Saves the position, syncs by interval, drops what is too old: what is due of it.
    pub(in crate::buffer::disk) fn housekeeping(&mut self) {
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
    pub(super) fn sync_interval(&mut self) {
        if let Err(error) = self.sync() {
            self.complaint.say(|| {
                let (component, folder) = (&*self.shared.counters.id, self.folder.display());
                tracing::error!(component, %folder, %error, "cannot sync the disk buffer");
            });
        }
    }

    /// Saves which records are settled. What it could not save stays to be saved.
    pub(in crate::buffer::disk) fn save_position(&mut self) -> io::Result<()> {
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

    pub(super) fn write_position(&mut self, bytes: &[u8; SLOT], slot: usize) -> io::Result<()> {
        let file = match &self.position {
            Some(file) => file.clone(),
            None => {
                let file = self.storage.open(&self.folder.join(POSITION), Open::Write)?;
                if file.len()? < crate::buffer::disk::position::FILE {
                    file.set_len(crate::buffer::disk::position::FILE)?;
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
                self.names_changed = true;
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
            _ => self.names_changed = true,
        }
        self.storage.sync_dir(&self.folder)?;
        self.names_changed = false;
        Ok(())
    }
}

//! Whether the files that are written to still have their names, and what is done where they have not: a folder or a segment
//! that was deleted or moved away while it was in use, a volume that is not mounted any more.
//!
//! Nothing is acknowledged from a file without a name. What was acknowledged from it before and is still open is written
//! again, to a folder made anew; the rest is lost, counted and said.

use super::*;
use std::collections::HashSet;

/// What was found missing.
#[derive(Default)]
struct Found {
    /// Segments.
    gone: Vec<u64>,
    /// The folder, the position file or the lock.
    others: Vec<&'static str>,
}

impl Writer {
    /// Whether `file` is the one under this name.
    pub(super) fn is_named(&self, path: &std::path::Path, file: &dyn StoredFile) -> io::Result<bool> {
        match self.storage.identity(path) {
            Ok(id) => Ok(id == file.identity()?),
            Err(e) if is_missing(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Whether the segment that is written to is the one under its name.
    pub(super) fn active_is_named(&self) -> io::Result<bool> {
        let Some(active) = &self.files.active else { return Ok(true) };
        self.is_named(&self.folder.join(segment::name(active.epoch)), &*active.file)
    }

    /// Before anything that was written is acknowledged.
    ///
    /// Errors: the segment is no longer what is found under its name. It is not written to any more.
    pub(super) fn still_named(&mut self) -> io::Result<()> {
        if self.active_is_named()? {
            return Ok(());
        }
        self.orphan_active();
        Err(io::Error::new(io::ErrorKind::NotFound, "the segment was deleted or moved away"))
    }

    /// Writes to the active segment no more, and keeps its file, which has no name.
    pub(super) fn orphan_active(&mut self) {
        if let Some(active) = self.files.active.take() {
            if let Some(last) = self.shared.lock().segments.back_mut() {
                last.sealed = true;
            }
            self.files.orphans.push(active);
        }
    }

    /// Looks whether all files are there, and makes good what can be made good where they are not.
    pub(in crate::buffer::disk) fn look_after_folder(&mut self) {
        self.home.looked_at = Instant::now();
        if self.reports.hurt_at.is_some_and(|at| at.elapsed() >= READY_AGAIN) {
            self.reports.hurt_at = None;
            self.say_working();
        }
        let mended = self.missing().and_then(|found| match found {
            None => Ok(()),
            Some(found) => self.make_good(found),
        });
        if let Err(error) = mended {
            self.say_failing("files of the disk buffer are gone; waiting", &error);
        }
    }

    /// What is not there any more, where something is not.
    ///
    /// Errors: that cannot be known, or the folder's place is on another filesystem now.
    fn missing(&mut self) -> io::Result<Option<Found>> {
        let mut found = Found::default();
        let names: HashSet<String> = match self.storage.identity(&self.folder) {
            Ok(id) if id.device == self.home.device => {
                self.storage.list(&self.folder)?.into_iter().map(|(name, _)| name).collect()
            }
            // Not deleted: nothing is lost before it is known what became of it.
            Ok(_) => {
                return Err(io::Error::other("the folder is on another filesystem now; is its volume not mounted?"));
            }
            Err(e) if is_missing(&e) => {
                found.others.push("the folder");
                HashSet::new()
            }
            Err(e) => return Err(e),
        };
        if !self.active_is_named()? {
            self.orphan_active();
        }
        if let Some(doubtful) = &self.files.doubtful
            && !self.is_named(&self.folder.join(segment::name(doubtful.epoch)), &*doubtful.file)?
        {
            self.files.orphans.extend(self.files.doubtful.take());
        }
        let mut state = self.shared.lock();
        let is_gone =
            |epoch| !names.contains(&segment::name(epoch)) || self.files.orphans.iter().any(|o| o.epoch == epoch);
        found.gone.extend(state.segments.iter().map(|s| s.epoch).filter(|&epoch| is_gone(epoch)));
        found.gone.retain(|epoch| !self.files.nameless.contains(epoch) || !state.is_read(*epoch));
        state.spares.retain(|(name, _)| names.contains(name));
        drop(state);
        if let Some(file) = self.positions.file.clone()
            && !self.is_named(&self.folder.join(POSITION), &*file)?
        {
            found.others.push("the position file");
        }
        if self.storage.identity(&self.folder.join(LOCK)).ok() != self.home.lock_id {
            found.others.push("the lock");
        }
        Ok((!found.gone.is_empty() || !found.others.is_empty()).then_some(found))
    }

    /// Makes the folder anew where it is not there, writes again what is open still, and counts what is lost.
    fn make_good(&mut self, found: Found) -> io::Result<()> {
        if found.others.contains(&"the folder") {
            make_again(&*self.storage, &self.folder, self.home.device)?;
            self.shared.lock().quarantine = 0;
        }
        if found.others.contains(&"the lock") || found.others.contains(&"the folder") {
            let path = self.folder.join(LOCK);
            self.home.lock = self.storage.lock(&path)?;
            self.home.lock_id = self.storage.identity(&path).ok();
        }
        self.home.names_changed = true;
        if found.others.contains(&"the position file") {
            self.positions.file = None;
            // Nothing of it is certain any more.
            self.positions.saved = Settled::default();
            self.shared.lock().position_stale = true;
        }
        let (mut saved, mut lost) = (0, 0);
        while let Some(orphan) = self.files.orphans.first() {
            let (file, epoch, end) = (orphan.file.clone(), orphan.epoch, orphan.end);
            let (again, gone) = self.adopt(file, epoch, end)?;
            (saved, lost) = (saved + again, lost + gone);
            self.files.orphans.remove(0);
            // What has its name now is a copy of it at best.
            self.remove_for_good(&self.folder.join(segment::name(epoch)))?;
        }
        for &epoch in &found.gone {
            lost += self.lose_segment(epoch);
        }
        self.say_deleted(&found, saved, lost);
        self.shared.renew_notes();
        self.save_position()
    }

    /// Writes again what is not settled of a segment without a name; the events written again, and those that are lost.
    fn adopt(&mut self, file: Arc<dyn StoredFile>, epoch: u64, end: u64) -> io::Result<(u64, u64)> {
        let Some((settled, old)) = ({
            let state = self.shared.lock();
            let old = state.segments.iter().find(|s| s.epoch == epoch).cloned();
            old.map(|old| (state.settled.clone(), old))
        }) else {
            return Ok((0, 0));
        };
        let mut view = View::new(file, epoch);
        let copied = match settled.covers(old.first_seq, old.end_seq) {
            true => None,
            false => self.copy_records(&mut view, segment::HEADER, end, Some(&settled))?,
        };
        let mut state = self.shared.lock();
        let Some(mut copy) = copied else {
            drop(state);
            return Ok((0, self.lose_segment(epoch)));
        };
        // What could not be read is missing there, and counted when the reader comes to it.
        copy.end_seq = old.end_seq;
        copy.events = old.first_event.saturating_add(old.events).saturating_sub(copy.first_event);
        let saved = copy.events.saturating_sub(state.settled.events_within(copy.first_seq, u64::MAX));
        state.segments.retain(|s| s.epoch != epoch);
        state.settled.cut(copy.first_seq);
        state.segments.push_back(copy);
        Ok((saved, 0))
    }

    /// Counts what nothing has any more of a segment whose file is gone; what the sink has, what waits for it in memory and
    /// what the reader has open may still be delivered. How many events are lost.
    fn lose_segment(&mut self, epoch: u64) -> u64 {
        let mut state = self.shared.lock();
        let state = &mut *state;
        let Some(segment) = state.segments.iter().find(|s| s.epoch == epoch).cloned() else { return 0 };
        if state.is_read(epoch) {
            if !self.files.nameless.contains(&epoch) {
                self.files.nameless.push(epoch);
            }
            return 0;
        }
        self.files.nameless.retain(|e| *e != epoch);
        let range = segment.first_seq..segment.end_seq;
        // They were to be read again at the next start.
        state.failed.retain(|seq, _| !range.contains(seq));
        let waiting = state.window.iter().filter(|w| range.contains(&w.seq) && !state.settled.covers(w.seq, w.seq + 1));
        let in_memory: u64 = waiting.clone().map(|w| w.batch.len() as u64).sum();
        let mut kept: Vec<u64> = waiting.map(|w| w.seq).collect();
        kept.extend(state.in_flight.keys().filter(|seq| range.contains(seq)));
        kept.sort_unstable();
        let mut gaps = Vec::new();
        let mut from = range.start;
        for seq in kept.into_iter().chain([range.end]) {
            let within: u64 = state.within.range(from..seq.max(from)).map(|(_, w)| w.events()).sum();
            if from < seq && !state.settled.covers(from, seq) {
                gaps.push((from, seq, within));
            }
            from = seq + 1;
        }
        let end = segment.first_event.saturating_add(segment.events);
        let all = state.unaccounted(&segment, segment.end_seq, end).saturating_sub(in_memory);
        // How they are spread over the gaps nobody knows, and it makes no difference.
        let others: u64 = gaps.iter().skip(1).map(|gap| gap.2).sum();
        let mut lost = 0;
        for (i, (from, to, within)) in gaps.into_iter().enumerate() {
            let events = if i == 0 { all.saturating_sub(others) } else { within };
            lost += state.gone(from, to, events, &self.shared.counters, "corrupt");
        }
        state.segments.retain(|s| s.epoch != epoch);
        state.position_stale = true;
        self.shared.publish(state);
        self.shared.some.notify_all();
        lost
    }

    fn say_deleted(&mut self, found: &Found, saved: u64, lost: u64) {
        let (component, folder) = (&*self.shared.counters.id, self.folder.display());
        let segments = found.gone.len();
        let others = found.others.join(", ");
        if segments == 0 && !found.others.contains(&"the folder") {
            tracing::warn!(component, %folder, missing = others, "a file of the disk buffer was deleted or moved away; made anew, nothing is lost");
            return;
        }
        tracing::error!(
            component, %folder, segments, missing = others, written_again = saved, lost,
            "files of the disk buffer were deleted or moved away while it was in use; made anew, and what was still open is \
             written again"
        );
        self.shared.counters.update(|t| t.error("disk", 1));
        self.reports.hurt_at = Some(Instant::now());
        if let Some(health) = &self.with.health {
            let why = format!("files of the disk buffer were deleted or moved away: {lost} events are lost");
            health.disk_failing(&why);
        }
    }

    /// The disk does not take what is to be written: said once a minute, and by `/ready` until it does.
    pub(super) fn say_failing(&mut self, what: &str, error: &io::Error) {
        self.reports.faults.say(|| {
            let (component, folder) = (&*self.shared.counters.id, self.folder.display());
            tracing::error!(component, %folder, %error, "{what}");
        });
        self.shared.counters.update(|t| t.error("disk", 1));
        if let Some(health) = &self.with.health {
            health.disk_failing(&format!("{what}: {error}"));
        }
    }

    /// It works; `/ready` says so once deletions are long enough ago.
    pub(super) fn say_working(&mut self) {
        self.reports.faults.over(|| {
            tracing::info!(component = &*self.shared.counters.id, "the disk buffer can be written again");
        });
        if let Some(health) = self.with.health.as_ref().filter(|_| self.reports.hurt_at.is_none()) {
            health.disk_working();
        }
    }
}

/// Whether something is not there, or something that is not a folder stands where one should.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

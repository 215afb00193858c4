//! The end of the agent: files that nobody will find again are read first.
//!
//! A file that is read and has lost its last name is there for as long as our handle is open. What is in it cannot be read
//! after a restart, so it is read to its end before the source stops, for as long as the shutdown may take; what has to stay
//! behind is said and counted.

use super::now::Now;
use super::reader::{Out, Turn};
use super::tailer::Tailer;

impl Tailer {
    /// Reads deleted files to their end, their last line without newline included; `late` says when to give up.
    pub(super) fn drain_deleted(&mut self, now: impl Fn() -> Now, out: &mut dyn Out, late: impl Fn() -> bool) {
        let files = &mut self.files;
        files.schedule.stop();
        files.owners.iter_mut().for_each(|owners| owners.hurry());
        files.give_orphans(&now, out, &late);
        let mut deleted = Vec::new();
        for (key, tail) in files.tails.iter_mut() {
            tail.due.is_taken();
            if tail.is_deleted() {
                tail.ending.flush();
                tail.after = None;
                deleted.push(key);
            } else if let Some(packed) = &mut tail.packed {
                packed.leave_turn();
            }
        }
        files.schedule.stop();
        if deleted.is_empty() {
            return;
        }
        deleted.iter().for_each(|key| files.queue(*key));
        while !late() {
            match self.read_ready(now(), out) {
                Turn::End | Turn::Closed => break,
                _ => self.hear_verdicts(),
            }
        }
        let files = &mut self.files;
        files.schedule.stop();
        for key in deleted {
            let Some(tail) = files.tails.get(key) else { continue };
            let held = files.reader.held.as_ref().filter(|chunk| std::sync::Arc::ptr_eq(&chunk.origin, &tail.origin));
            let from = held.map_or(tail.reading().offset, |chunk| chunk.offset);
            let size = tail.handle.get().and_then(|file| rustix::fs::fstat(file).ok()).map_or(0, |stat| stat.st_size);
            let left = (size as u64).saturating_sub(tail.look.room()).saturating_sub(from);
            if left > 0 {
                tracing::error!(
                    source = %files.plan.id, file = %tail.paths.here().display(), bytes = left,
                    "deleted, and not read to its end before the agent had to stop: the rest is lost"
                );
                files.counters.update(|t| t.error("lost_deleted", 1));
            }
        }
    }
}

//! When checkpoints are written, and what became of the last one.
//!
//! ```text
//!            changes, and it is time                its write ended
//!   idle ──────────────────────────────► under way ────────────────► idle
//! ```

use super::checkpoint::{Store, Write};
use super::now::{MILLISECOND, Now, SECOND};
use crate::telemetry::Counters;
use std::io;
use std::sync::Arc;

/// Checkpoints are written that often at most.
const SAVE_EVERY: u64 = SECOND;
/// And in the first seconds: an agent that is killed again and again soon after its start still gets on, and does not fill a
/// disk buffer with the same lines each time.
const SAVE_EVERY_AT_FIRST: u64 = 100 * MILLISECOND;
/// How long that is.
const AT_FIRST: u64 = 2 * SECOND;

/// Writes checkpoints: in place, or on a thread of its own so that reading does not wait for the disk.
pub(super) enum Saver {
    #[cfg(test)]
    Inline,
    Thread {
        jobs: crossbeam_channel::Sender<Write>,
        done: crossbeam_channel::Receiver<(Write, io::Result<()>)>,
    },
}

/// See [the module](self). Times are monotonic nanoseconds.
pub(super) struct Saving {
    saver: Saver,
    /// Id of the source.
    source: Arc<str>,
    counters: Arc<Counters>,
    is_under_way: bool,
    /// When the last write began, and the first; `None` before that.
    last: Option<u64>,
    first: Option<u64>,
    /// Since when something is settled that is not on disk.
    unsaved_since: Option<u64>,
    /// The last write failed, which was told.
    is_failing: bool,
}

impl Saving {
    pub(super) fn new(saver: Saver, source: Arc<str>, counters: Arc<Counters>) -> Self {
        let (is_under_way, is_failing) = (false, false);
        Saving { saver, source, counters, is_under_way, last: None, first: None, unsaved_since: None, is_failing }
    }

    /// Whether a checkpoint is to be written now. Takes in what became of the one before.
    pub(super) fn is_due(&mut self, store: &mut Store, now: Now) -> bool {
        if let Saver::Thread { done, .. } = &self.saver
            && let Ok((write, result)) = done.try_recv()
        {
            self.ended(store, &write, result);
        }
        if !store.is_dirty() {
            self.unsaved_since = None;
            return false;
        }
        self.unsaved_since.get_or_insert(now.mono);
        !self.is_under_way && self.last.is_none_or(|last| now.mono >= last + self.interval(now))
    }

    /// Writes one.
    pub(super) fn begin(&mut self, store: &mut Store, now: Now) {
        self.last = Some(now.mono);
        self.first.get_or_insert(now.mono);
        let Some(write) = store.next_write(now.seconds()) else { return };
        match &self.saver {
            #[cfg(test)]
            Saver::Inline => {
                let result = write.perform();
                self.ended(store, &write, result);
            }
            Saver::Thread { jobs, .. } => {
                self.is_under_way = true;
                if let Err(e) = jobs.send(write) {
                    let write = e.into_inner();
                    self.ended(store, &write, Err(io::Error::other("its thread is gone")));
                }
            }
        }
    }

    /// Waits for the one that is under way.
    pub(super) fn wait(&mut self, store: &mut Store) {
        if self.is_under_way
            && let Saver::Thread { done, .. } = &self.saver
            && let Ok((write, result)) = done.recv()
        {
            self.ended(store, &write, result);
        }
    }

    /// Nanoseconds between two of them.
    pub(super) fn interval(&self, now: Now) -> u64 {
        match self.first {
            Some(first) if now.mono >= first + AT_FIRST => SAVE_EVERY,
            _ => SAVE_EVERY_AT_FIRST,
        }
    }

    /// For how long something has been settled that was not on disk when the last write began: nanoseconds. `None` where
    /// all is on disk.
    pub(super) fn age(&self) -> Option<u64> {
        self.unsaved_since.map(|since| self.last.unwrap_or(0).saturating_sub(since).max(1))
    }

    fn ended(&mut self, store: &mut Store, write: &Write, result: io::Result<()>) {
        self.is_under_way = false;
        match result {
            Ok(()) => {
                store.written(write);
                if self.is_failing {
                    self.is_failing = false;
                    tracing::info!(source = %self.source, "checkpoints are written again");
                }
            }
            Err(error) => {
                store.not_written(write);
                self.counters.update(|t| t.error("checkpoint", 1));
                if !self.is_failing {
                    self.is_failing = true;
                    tracing::error!(source = %self.source, file = %write.path.display(), %error,
                        "cannot write a checkpoint; trying again every second");
                }
            }
        }
    }
}

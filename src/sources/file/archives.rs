//! What is remembered of compressed files: how many were read, since when they may be removed, and which are left alone.

use super::checkpoint::Store;
use super::identity::Identity;
use super::plan::Plan;
use crate::telemetry::Counters;
use hashbrown::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Files that cannot be decompressed here, told one by one.
const TELL_FOREIGN: usize = 10;
/// Files in formats that are not read, by their paths: of more, those that are gone are forgotten.
const MOST_FOREIGN: usize = 1000;

/// See [the module](self).
#[derive(Debug)]
pub(super) struct Archives {
    /// Archives that were read to their end, about: whether it is worth looking for one.
    known: usize,
    /// Since when archives, all of which was delivered, are there: monotonic nanoseconds.
    since: HashMap<Identity, u64>,
    /// Files that were told to be left alone.
    foreign: HashSet<PathBuf>,
}

impl Archives {
    pub(super) fn new(store: &Store) -> Self {
        let known = store.iter().filter(|(_, k)| k.packed && k.finished).count();
        Archives { known, since: HashMap::new(), foreign: HashSet::new() }
    }

    /// One was read to its end.
    pub(super) fn was_read(&mut self) {
        self.known += 1;
    }

    /// Whether there may be one that was read to its end.
    pub(super) fn are_known(&self) -> bool {
        self.known > 0
    }

    /// All of one was delivered, at this time: monotonic nanoseconds.
    pub(super) fn was_delivered(&mut self, identity: Identity, at: u64) {
        self.since.insert(identity, at);
    }

    /// Since when one is known to be delivered; now, where that is news.
    pub(super) fn delivered_since(&mut self, identity: Identity, now: u64) -> u64 {
        *self.since.entry(identity).or_insert(now)
    }

    /// One is being removed.
    pub(super) fn is_removed(&mut self, identity: Identity) {
        self.since.remove(&identity);
    }

    /// Whether it is news that this file is left alone.
    pub(super) fn leave_alone(&mut self, path: &Path) -> bool {
        self.foreign.insert(path.to_owned())
    }

    /// Tells once of a file that is left alone, as it is compressed.
    pub(super) fn tell_foreign(&mut self, path: &Path, format: &'static str, plan: &Plan, counters: &Counters) {
        if !self.leave_alone(path) {
            return;
        }
        if !plan.compressed {
            tracing::info!(source = %plan.id, file = %path.display(), format, "compressed, and left alone: `compressed: ignore`");
            return;
        }
        counters.update(|t| t.error("unknown_compression", 1));
        match self.foreign.len() {
            n if n <= TELL_FOREIGN => tracing::warn!(
                source = %plan.id, file = %path.display(), format,
                "compressed in a format that is not read here, and left alone. Exclude it, or use gzip, zstd, xz or bzip2"
            ),
            n if n == TELL_FOREIGN + 1 => tracing::warn!(source = %plan.id, file = %path.display(), format,
                "more files are compressed in formats that are not read here; they are counted as `unknown_compression`"),
            _ => {}
        }
    }

    /// Forgets what was told or noted of archives that are gone.
    pub(super) fn forget(&mut self, store: &Store) {
        self.since.retain(|identity, _| store.find(*identity).is_some());
        if self.foreign.len() > MOST_FOREIGN {
            self.foreign.retain(|path| path.symlink_metadata().is_ok());
        }
    }

    /// How many are left alone, and how many are to be removed.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        (self.foreign.len(), self.since.len())
    }
}

//! Files and folders that cannot be read, each told once.

use crate::telemetry::Counters;
use hashbrown::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// See [the module](self).
pub(super) struct Unreadable {
    paths: HashSet<PathBuf>,
    /// Id of the source.
    source: Arc<str>,
    counters: Arc<Counters>,
}

impl Unreadable {
    pub(super) fn new(source: Arc<str>, counters: Arc<Counters>) -> Self {
        Unreadable { paths: HashSet::new(), source, counters }
    }

    /// It cannot be opened, or its folder cannot be looked into.
    pub(super) fn tell(&mut self, path: &Path, error: &io::Error) {
        if self.is_news(path) {
            self.counters.update(|t| t.error("open", 1));
            tracing::error!(source = %self.source, file = %path.display(), %error, "cannot read a file; trying again");
        }
    }

    /// It is too short for its fingerprint, and nothing is waited for.
    pub(super) fn tell_short(&mut self, path: &Path, size: u64) {
        if self.is_news(path) {
            self.counters.update(|t| t.error("open", 1));
            tracing::error!(source = %self.source, file = %path.display(), bytes_not_read = size,
                "shorter than what `fingerprint: {{bytes: N}}` wants to tell it from others: not read");
        }
    }

    /// The agent writes it itself.
    pub(super) fn tell_own(&mut self, path: &Path) {
        if self.is_news(path) {
            tracing::warn!(source = %self.source, file = %path.display(), "not read: the agent writes there itself");
        }
    }

    /// It can be read now.
    pub(super) fn is_readable(&mut self, path: &Path) {
        if self.paths.remove(path) {
            tracing::info!(source = %self.source, file = %path.display(), "readable now");
        }
    }

    /// Forgets those that are not there any more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&Path) -> bool) {
        self.paths.retain(|path| is_there(path));
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.paths.len()
    }

    fn is_news(&mut self, path: &Path) -> bool {
        self.paths.insert(path.to_owned())
    }
}

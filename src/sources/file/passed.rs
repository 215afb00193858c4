//! Places that were passed in one file in this run: what a copy that is shorter than what was read is known by.

use super::identity::Position;
use std::collections::VecDeque;

/// Most places that are remembered of one file.
const MOST_PAST: usize = 32;

/// A place that was passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) at: Position,
    /// When the file had been modified last by then.
    pub(super) modified: i64,
}

/// See [the module](self). Oldest first, and never more than `MOST_PAST`.
#[derive(Debug, Default)]
pub(super) struct Passed(VecDeque<Past>);

impl Passed {
    /// Notes one. Older ones get fewer.
    pub(super) fn note(&mut self, at: Position, modified: i64) {
        if self.0.len() >= MOST_PAST {
            let mut n = 0;
            self.0.retain(|_| {
                n += 1;
                n > MOST_PAST / 2 || n % 2 == 0
            });
        }
        self.0.push_back(Past { at, modified });
    }

    /// Positions of those up to `offset`.
    pub(super) fn up_to(&self, offset: u64) -> impl Iterator<Item = Position> {
        self.0.iter().map(|past| past.at).filter(move |at| at.offset <= offset)
    }

    /// All of them, of contents that are gone.
    pub(super) fn take(&mut self) -> Vec<Past> {
        std::mem::take(&mut self.0).into()
    }
}

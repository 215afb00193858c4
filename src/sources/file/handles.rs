//! Handles of files: how many are open, how many may be, and whose are closed first.
//!
//! Idle files keep theirs for as long as there are enough, so that deleting them loses nothing; where there are too few, those
//! used longest ago are closed, and opened again when there is something to read.

use super::now::MILLISECOND;
use super::tail::{Tail, TailState};
use super::tails::Tails;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// Files that lost their name are looked through for handles that often at most, where no more of them were opened.
const SPARE_EVERY: u64 = 20 * MILLISECOND;
/// Handles that a source needs at least.
const LEAST_OPEN: usize = 8;

/// Which files' handles are closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spare {
    /// Of those that have nothing to be read.
    Idle,
    All,
}

/// See [the module](self).
#[derive(Debug)]
pub(super) struct Handles {
    /// Handles of the files in [`Tails`] and of those that wait to be taken in.
    open: usize,
    /// So many may be open at once. It falls where the process has fewer than it was said to have.
    most: usize,
    /// Files with a handle, as their last use was when they were put here: those to be closed first come first. One that was
    /// closed since, or used, stands here in vain.
    order: VecDeque<(usize, u64)>,
    /// Number of the last use.
    uses: u64,
    /// It was said that there are too few.
    told: bool,
    /// When handles of files without a name are looked for again (monotonic nanoseconds), and from how many open ones on.
    next_spare: u64,
    spare_from: usize,
}

impl Handles {
    pub(super) fn new(most: usize) -> Self {
        Handles { open: 0, most, order: VecDeque::new(), uses: 0, told: false, next_spare: 0, spare_from: 0 }
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// More are open than may be.
    pub(super) fn are_too_many(&self) -> bool {
        self.open > self.most
    }

    /// Whether one more may be opened.
    pub(super) fn has_room(&self) -> bool {
        self.open < self.most
    }

    /// So many that there are enough left for what comes next.
    pub(super) fn enough(&self) -> usize {
        self.most - self.most / 8
    }

    /// A handle was opened that belongs to no file yet.
    pub(super) fn opened(&mut self) {
        self.open += 1;
    }

    /// One that belonged to no file was given away or closed.
    pub(super) fn released(&mut self) {
        self.open -= 1;
    }

    /// A file has this handle from now on.
    pub(super) fn give(&mut self, tail: &mut Tail, file: OwnedFd) {
        self.open += usize::from(tail.handle.put(file).is_none());
    }

    /// Closes the handle of a file, if it has one.
    pub(super) fn close(&mut self, tail: &mut Tail) {
        self.open -= usize::from(tail.handle.lend().is_some());
    }

    /// Number of the last use of any.
    pub(super) fn uses(&self) -> u64 {
        self.uses
    }

    /// A file is used now.
    pub(super) fn is_used(&mut self, tail: &mut Tail) {
        self.uses += 1;
        tail.handle.is_used(self.uses);
    }

    /// A file has a handle since just now.
    pub(super) fn keep(&mut self, key: usize, used: u64) {
        self.order.push_back((key, used));
    }

    /// Drops what stands in the order in vain, where that is much.
    pub(super) fn tidy(&mut self, tails: &Tails) {
        if self.order.len() > 2 * self.open + 1024 {
            // What was closed for another reason and opened again stands there twice.
            let open = tails.with_keys().filter(|(_, t)| t.handle.is_open());
            self.order = open.map(|(key, t)| (key, t.handle.used())).collect();
            self.order.make_contiguous().sort_unstable_by_key(|(_, used)| *used);
        }
    }

    /// Says once that there are too few.
    pub(super) fn tell(&mut self, source: &str) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(source = %source, open = self.open, limit = self.most,
                "more files than there are handles for: those that were quiet for longest are closed and looked at by their \
                 size. What is deleted before it is read is lost; raise the limit of open files (LimitNOFILE, ulimit -n)");
        }
    }

    /// Closes those used longest ago until there are [enough](Handles::enough). Files without a name keep theirs.
    pub(super) fn close_oldest(&mut self, tails: &mut Tails, which: Spare) {
        for _ in 0..self.order.len() {
            if self.open <= self.enough() {
                return;
            }
            let Some((key, used)) = self.order.pop_front() else { return };
            let Some(tail) = tails.get_mut(key) else { continue };
            if !tail.handle.is_open() {
                continue;
            }
            let is_busy = tail.due.is_queued() && which == Spare::Idle;
            if tail.state != TailState::Present || tail.handle.used() != used || is_busy {
                self.order.push_back((key, tail.handle.used()));
            } else {
                self.close(tail);
            }
        }
    }

    /// Whether files without a name are to be looked through now for handles: not for each one that is opened.
    pub(super) fn may_spare_gone(&mut self, mono: u64) -> bool {
        if self.open <= self.enough() || self.open < self.spare_from && mono < self.next_spare {
            return false;
        }
        self.next_spare = mono + SPARE_EVERY;
        true
    }

    /// All of them were looked through.
    pub(super) fn spared_gone(&mut self) {
        self.spare_from = self.open + (self.most / 8).max(1);
    }

    /// The process has no handle left: fewer may be open from now on. `false` where they are few already.
    pub(super) fn none_left(&mut self) -> bool {
        if self.open <= LEAST_OPEN {
            return false;
        }
        self.most = (self.open - self.open.div_ceil(8)).max(LEAST_OPEN);
        self.next_spare = 0;
        true
    }

    /// As where the process may have so many.
    #[cfg(test)]
    pub(super) fn limit_to(&mut self, most: usize) {
        self.most = most;
    }

    /// It was said that there are too few.
    #[cfg(test)]
    pub(super) fn were_told(&self) -> bool {
        self.told
    }
}

//! Who is read when, and what is looked at when: it knows files by their slots, and nothing else of them.

use super::now::MILLISECOND;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// First wait between two looks at an idle file that nothing tells of.
const FIRST_WAIT: u64 = 100 * MILLISECOND;

/// What is due of one file. It belongs to the file, and only [`Schedule`] and its waits change it.
#[derive(Debug)]
pub(super) struct Due {
    /// It stands in one of the two queues of files to be read, once.
    queued: bool,
    /// When it is looked at again: monotonic nanoseconds. 0 where nobody asked for that.
    at: u64,
    /// The wait before that.
    wait: u64,
    /// A sweep found growth that no hint had told of: hints do not work here.
    is_unhinted: bool,
}

impl Default for Due {
    fn default() -> Self {
        Due { queued: false, at: 0, wait: FIRST_WAIT, is_unhinted: false }
    }
}

impl Due {
    /// It is to be read.
    pub(super) fn is_queued(&self) -> bool {
        self.queued
    }

    /// It was taken out of the queue.
    pub(super) fn is_taken(&mut self) {
        self.queued = false;
    }

    /// Nanoseconds until the next look, where nothing presses.
    pub(super) fn wait(&self) -> u64 {
        self.wait
    }

    /// Something is going on in it: looks come soon again.
    pub(super) fn look_soon(&mut self) {
        self.wait = FIRST_WAIT;
    }

    /// Hints do not work here.
    pub(super) fn is_unhinted(&self) -> bool {
        self.is_unhinted
    }

    /// Growth was found; whether nothing had told of it.
    pub(super) fn set_unhinted(&mut self, is_unhinted: bool) {
        self.is_unhinted = is_unhinted;
    }

    /// Nothing has been going on in it for long: looks are that rare.
    pub(super) fn look_rarely(&mut self, wait: u64) {
        self.wait = wait;
    }

    /// Nothing was found: the next look comes after twice the wait, `longest` at the most; how long that is.
    pub(super) fn wait_longer(&mut self, longest: u64) -> u64 {
        self.wait = (self.wait * 2).min(longest).max(MILLISECOND);
        self.wait
    }
}

/// See [the module](self).
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Files to be read now, in turn.
    ready: VecDeque<usize>,
    /// Archives that take much memory, to be read when it is their turn, the next first.
    heavy: VecDeque<usize>,
    /// Files to be looked at later: when, which. One is out of date where its file is [due](Due) at another time.
    timers: BinaryHeap<Reverse<(u64, usize)>>,
    /// When folders are looked through next: monotonic nanoseconds.
    next_scan: u64,
}

impl Schedule {
    /// Has a file read after all others that are to be.
    pub(super) fn queue(&mut self, key: usize, due: &mut Due) {
        if !std::mem::replace(&mut due.queued, true) {
            self.ready.push_back(key);
        }
    }

    /// Has a file read before all others.
    pub(super) fn queue_first(&mut self, key: usize, due: &mut Due) {
        if !std::mem::replace(&mut due.queued, true) {
            self.ready.push_front(key);
        }
    }

    /// A file that was queued just now is read before the others.
    pub(super) fn read_next(&mut self, key: usize) {
        if self.ready.back() == Some(&key) {
            self.ready.pop_back();
            self.ready.push_front(key);
        }
    }

    /// The file whose turn it is.
    pub(super) fn take_ready(&mut self) -> Option<usize> {
        self.ready.pop_front()
    }

    /// The one that was taken waits for another: it goes to the end.
    pub(super) fn pass_over(&mut self, key: usize) {
        self.ready.push_back(key);
    }

    /// How many files are to be read now.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// An archive waits until it may take much memory.
    pub(super) fn wait_for_turn(&mut self, key: usize, due: &mut Due) {
        due.queued = true;
        self.heavy.push_back(key);
    }

    /// The archive that is next.
    pub(super) fn next_heavy(&self) -> Option<usize> {
        self.heavy.front().copied()
    }

    /// It is its turn: it is read before all others.
    pub(super) fn let_heavy_in(&mut self) {
        if let Some(key) = self.heavy.pop_front() {
            self.ready.push_front(key);
        }
    }

    /// Nothing is read any more. Whoever calls this says so to the files as well ([`Due::is_taken`]).
    pub(super) fn stop(&mut self) {
        self.ready.clear();
        self.heavy.clear();
    }

    /// Has a file looked at again at `at`, or earlier where that is due already.
    pub(super) fn look_at(&mut self, key: usize, due: &mut Due, at: u64) {
        if due.at == 0 || at < due.at {
            due.at = at;
            self.timers.push(Reverse((at, key)));
        }
    }

    /// As above, whatever was due before.
    pub(super) fn look_anew(&mut self, key: usize, due: &mut Due, at: u64) {
        due.at = 0;
        self.look_at(key, due, at);
    }

    /// All looks are off, for all files to be looked at anew.
    pub(super) fn forget_looks(&mut self) {
        self.timers.clear();
    }

    /// The next look that is due: for when it was, and at which file.
    pub(super) fn take_look(&mut self, now: u64) -> Option<(u64, usize)> {
        let Reverse((at, _)) = self.timers.peek()?;
        if *at > now {
            return None;
        }
        self.timers.pop().map(|Reverse(look)| look)
    }

    /// Whether a look that was taken is the one that the file is due for; it is not any more then.
    pub(super) fn is_due(due: &mut Due, at: u64) -> bool {
        let is_due = due.at == at;
        if is_due {
            due.at = 0;
        }
        is_due
    }

    /// When the next look is due, if any.
    pub(super) fn next_look(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Has folders looked through at `at`, or earlier where that is due already.
    pub(super) fn scan_by(&mut self, at: u64) {
        self.next_scan = self.next_scan.min(at);
    }

    /// When folders are looked through next.
    pub(super) fn next_scan(&self) -> u64 {
        self.next_scan
    }

    /// A look through the folders begins: when the next one comes, it finds out.
    pub(super) fn begin_scan(&mut self) {
        self.next_scan = u64::MAX;
    }
}

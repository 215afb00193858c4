//! What was sent of a file and is not settled yet, in order, and how far the checkpoint may move.

use super::identity::Position;
use crate::ack::{Settled, Verdict};
use crate::sources::file::watch::Wake;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// One file's chunks on their way.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Oldest first; the first one is not done.
    sent: VecDeque<Sent>,
    /// Number of `sent[0]`. Wraps.
    first: u32,
    /// Number of the next chunk. Wraps.
    next: u32,
    /// Everything before it is settled.
    settled: Position,
    /// Verdicts not heard yet, those of earlier generations included.
    outstanding: u32,
    /// A chunk failed: the checkpoint stays where it is, and what comes later is only counted.
    stuck: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Where reading may go on once it and all before it are settled.
    then: Position,
    done: bool,
}

impl Flight {
    /// Nothing on its way, all before `at` settled.
    pub(super) fn at(at: Position) -> Self {
        Flight { settled: at, ..Flight::default() }
    }

    /// Notes a chunk behind which reading may go on at `then`; its number.
    pub(super) fn push(&mut self, then: Position) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.outstanding += 1;
        if !self.stuck {
            self.sent.push_back(Sent { then, done: false });
        }
        number
    }

    /// Notes that reading went on to `then` without a chunk (a skipped line); whether the checkpoint moved.
    pub(super) fn pass(&mut self, then: Position) -> bool {
        if self.stuck {
            return false;
        }
        match self.sent.back_mut() {
            None => self.settled = then,
            // Whoever settles the chunk before settles this too.
            Some(last) => last.then = then,
        }
        self.sent.is_empty()
    }

    /// Notes a verdict; whether the checkpoint moved.
    pub(super) fn settle(&mut self, number: u32, verdict: Verdict) -> bool {
        self.outstanding = self.outstanding.saturating_sub(1);
        let index = number.wrapping_sub(self.first) as usize;
        // Chunks of an earlier generation have numbers before `first`, which wrap to huge indexes.
        let Some(sent) = self.sent.get_mut(index) else { return false };
        if verdict == Verdict::Failed {
            // What was sent before may still be settled.
            self.stuck = true;
            self.sent.truncate(index);
            return false;
        }
        sent.done = true;
        self.settle_prefix()
    }

    fn settle_prefix(&mut self) -> bool {
        let mut moved = false;
        while let Some(sent) = self.sent.pop_front_if(|s| s.done) {
            self.first = self.first.wrapping_add(1);
            self.settled = sent.then;
            moved = true;
        }
        moved
    }

    /// Forgets what is on its way: it belongs to contents that are gone. All before `at` counts as settled.
    pub(super) fn restart(&mut self, at: Position) {
        self.sent.clear();
        self.first = self.next;
        self.settled = at;
        self.stuck = false;
    }

    /// Everything before it is settled.
    pub(super) fn settled(&self) -> Position {
        self.settled
    }

    /// Verdicts not heard yet.
    pub(super) fn outstanding(&self) -> u32 {
        self.outstanding
    }
}

/// Collects verdicts from whatever thread they come from, for the reader to take.
pub(super) struct Verdicts {
    heard: Mutex<Vec<(u64, Verdict)>>,
    wake: Arc<Wake>,
    /// The reader waits for verdicts and nothing else.
    eager: AtomicBool,
}

impl Verdicts {
    pub(super) fn new(wake: Arc<Wake>) -> Arc<Self> {
        Arc::new(Verdicts { heard: Mutex::default(), wake, eager: AtomicBool::new(false) })
    }

    /// From now on every verdict wakes the reader.
    pub(super) fn wake_on_each(&self) {
        self.eager.store(true, Ordering::SeqCst);
    }

    /// Moves what was heard to `into`.
    pub(super) fn take(&self, into: &mut Vec<(u64, Verdict)>) {
        into.append(&mut self.heard.lock().unwrap_or_else(|e| e.into_inner()));
    }
}

impl Settled for Verdicts {
    fn settled(&self, token: u64, verdict: Verdict) {
        self.heard.lock().unwrap_or_else(|e| e.into_inner()).push((token, verdict));
        if self.eager.load(Ordering::SeqCst) {
            self.wake.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position { offset, ..Position::default() }
    }

    #[test]
    fn the_checkpoint_moves_over_the_settled_prefix_in_whatever_order_verdicts_come() {
        let mut f = Flight::at(at(0));
        let n: Vec<u32> = (1..=4).map(|i| f.push(at(i * 10))).collect();
        assert!(!f.settle(n[2], Verdict::Delivered));
        assert_eq!(f.settled(), at(0));
        assert!(f.settle(n[0], Verdict::Rejected));
        assert_eq!(f.settled(), at(10));
        assert!(f.settle(n[1], Verdict::Delivered));
        assert_eq!((f.settled(), f.outstanding()), (at(30), 1));
        f.pass(at(45));
        assert_eq!(f.settled(), at(30));
        assert!(f.settle(n[3], Verdict::Delivered));
        assert_eq!((f.settled(), f.outstanding()), (at(45), 0));
    }

    #[test]
    fn a_failure_holds_the_checkpoint_back_for_good() {
        let mut f = Flight::at(at(5));
        let (a, b, c) = (f.push(at(10)), f.push(at(20)), f.push(at(30)));
        f.settle(a, Verdict::Delivered);
        f.settle(b, Verdict::Failed);
        f.settle(c, Verdict::Delivered);
        let d = f.push(at(40));
        f.settle(d, Verdict::Delivered);
        f.pass(at(50));
        assert_eq!((f.settled(), f.outstanding()), (at(10), 0));
    }

    #[test]
    fn what_was_sent_before_a_failure_still_counts_when_it_is_settled_later() {
        let mut f = Flight::at(at(0));
        let (a, b, c) = (f.push(at(10)), f.push(at(20)), f.push(at(30)));
        f.settle(c, Verdict::Failed);
        assert!(f.settle(a, Verdict::Delivered));
        assert!(f.settle(b, Verdict::Delivered));
        assert_eq!((f.settled(), f.outstanding()), (at(20), 0));
    }

    #[test]
    fn verdicts_on_contents_that_are_gone_do_not_move_the_new_ones() {
        let mut f = Flight::at(at(0));
        let (old, older) = (f.push(at(10)), f.push(at(20)));
        f.restart(at(0));
        let new = f.push(at(7));
        assert!(!f.settle(old, Verdict::Delivered));
        assert!(!f.settle(older, Verdict::Failed));
        assert_eq!((f.settled(), f.outstanding()), (at(0), 1));
        assert!(f.settle(new, Verdict::Delivered));
        assert_eq!(f.settled(), at(7));
    }
}

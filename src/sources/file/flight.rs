//! What was sent of a file and is not settled yet, in order, and how far the checkpoint may move.

use super::identity::Position;
use crate::ack::{Settled, Verdict};
use crate::sources::file::watch::Wake;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// One file's chunks on their way, of all its generations.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Oldest first; the first one is not done.
    sent: VecDeque<Sent>,
    /// Number of `sent[0]`. Wraps.
    first: u32,
    /// Number of the next chunk. Wraps.
    next: u32,
    /// Verdicts not heard yet.
    outstanding: u32,
    /// A chunk failed: the checkpoint stays before it, and what comes later is only counted.
    stuck: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    mark: Settlement,
    done: bool,
}

/// In `generation` of a file everything before `at` is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settlement {
    pub(super) generation: u64,
    pub(super) at: Position,
}

impl Flight {
    /// Notes a chunk with which `mark` will be reached; its number.
    pub(super) fn push(&mut self, mark: Settlement) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.outstanding += 1;
        if !self.stuck {
            self.sent.push_back(Sent { mark, done: false });
        }
        number
    }

    /// Notes that `mark` was reached without a chunk (a skipped line); given back where it is settled at once.
    pub(super) fn pass(&mut self, mark: Settlement) -> Option<Settlement> {
        if self.stuck {
            return None;
        }
        match self.sent.back_mut() {
            None => return Some(mark),
            // Whoever settles the chunk before settles this too.
            Some(last) if last.mark.generation == mark.generation => last.mark = mark,
            // The chunk before is of contents that are gone; the next chunk brings it along.
            Some(_) => {}
        }
        None
    }

    /// Notes a verdict; tells what is settled with it.
    pub(super) fn settle(&mut self, number: u32, verdict: Verdict, mut settled: impl FnMut(Settlement)) {
        self.outstanding = self.outstanding.saturating_sub(1);
        let index = number.wrapping_sub(self.first) as usize;
        // After a failure, later chunks are not there.
        let Some(sent) = self.sent.get_mut(index) else { return };
        if verdict == Verdict::Failed {
            // What was sent before may still be settled.
            self.stuck = true;
            self.sent.truncate(index);
            return;
        }
        sent.done = true;
        let mut last: Option<Settlement> = None;
        while let Some(sent) = self.sent.pop_front_if(|s| s.done) {
            self.first = self.first.wrapping_add(1);
            if let Some(before) = last.replace(sent.mark)
                && before.generation != sent.mark.generation
            {
                settled(before);
            }
        }
        if let Some(last) = last {
            settled(last);
        }
    }

    /// Whether chunks of a generation are not settled.
    pub(super) fn is_unsettled(&self, generation: u64) -> bool {
        self.stuck || self.sent.iter().any(|sent| sent.mark.generation == generation)
    }

    /// Verdicts not heard yet.
    pub(super) fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// Number of the chunk sent last.
    pub(super) fn newest(&self) -> u32 {
        self.next.wrapping_sub(1)
    }

    /// Whether a chunk and all before it are settled.
    pub(super) fn is_settled(&self, number: u32) -> bool {
        self.first.wrapping_sub(number) as i32 > 0
    }

    /// Something of the file is on its way as a part of another file's chunk.
    pub(super) fn hold(&mut self) {
        self.outstanding += 1;
    }

    /// The end of [`hold`](Flight::hold).
    pub(super) fn let_go(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
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
        if verdict == Verdict::Failed || self.eager.load(Ordering::SeqCst) {
            self.wake.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Settlement {
        of(1, offset)
    }

    fn of(generation: u64, offset: u64) -> Settlement {
        Settlement { generation, at: Position { offset, ..Position::default() } }
    }

    fn settle(f: &mut Flight, number: u32, verdict: Verdict) -> Vec<Settlement> {
        let mut settled = Vec::new();
        f.settle(number, verdict, |s| settled.push(s));
        settled
    }

    #[test]
    fn the_checkpoint_moves_over_the_settled_prefix_in_whatever_order_verdicts_come() {
        let mut f = Flight::default();
        let n: Vec<u32> = (1..=4).map(|i| f.push(at(i * 10))).collect();
        assert_eq!(settle(&mut f, n[2], Verdict::Delivered), []);
        assert_eq!(settle(&mut f, n[0], Verdict::Rejected), [at(10)]);
        assert_eq!(settle(&mut f, n[1], Verdict::Delivered), [at(30)]);
        assert_eq!(f.pass(at(45)), None);
        assert_eq!(settle(&mut f, n[3], Verdict::Delivered), [at(45)]);
        assert_eq!(f.outstanding(), 0);
        assert_eq!(f.pass(at(50)), Some(at(50)));
    }

    #[test]
    fn a_failure_holds_the_checkpoint_back_for_good() {
        let mut f = Flight::default();
        let (a, b, c) = (f.push(at(10)), f.push(at(20)), f.push(at(30)));
        assert_eq!(settle(&mut f, a, Verdict::Delivered), [at(10)]);
        assert_eq!(settle(&mut f, b, Verdict::Failed), []);
        assert_eq!(settle(&mut f, c, Verdict::Delivered), []);
        let d = f.push(at(40));
        assert_eq!(settle(&mut f, d, Verdict::Delivered), []);
        assert_eq!(f.pass(at(50)), None);
        assert_eq!(f.outstanding(), 0);
    }

    #[test]
    fn what_was_sent_before_a_failure_still_counts_when_it_is_settled_later() {
        let mut f = Flight::default();
        let (a, b, c) = (f.push(at(10)), f.push(at(20)), f.push(at(30)));
        settle(&mut f, c, Verdict::Failed);
        assert_eq!(settle(&mut f, a, Verdict::Delivered), [at(10)]);
        assert_eq!(settle(&mut f, b, Verdict::Delivered), [at(20)]);
        assert_eq!(f.outstanding(), 0);
    }

    #[test]
    fn each_generation_is_settled_as_far_as_it_was_sent() {
        let mut f = Flight::default();
        let (a, b) = (f.push(of(1, 10)), f.push(of(1, 20)));
        let (c, d) = (f.push(of(2, 5)), f.push(of(2, 7)));
        assert_eq!(settle(&mut f, c, Verdict::Delivered), []);
        assert_eq!(settle(&mut f, b, Verdict::Delivered), []);
        assert_eq!(settle(&mut f, a, Verdict::Delivered), [of(1, 20), of(2, 5)]);
        assert_eq!(settle(&mut f, d, Verdict::Delivered), [of(2, 7)]);
    }
}

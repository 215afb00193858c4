//! How old the oldest event is that a sink holds, told without knowing each of them.
//!
//! A sink settles about in the order in which it takes: of so many taken and so many settled, the oldest that is held came with
//! the batch that has the next one. Marks say how many had been taken by which time: one for each tenth of a second at most, fewer the
//! more there are, so that a disk buffer of days takes no more than [`MARKS`].
//!
//! Promises: of what settles in order the oldest is never told younger than it is, and older by no more than how far marks lie apart;
//! requests in flight that settle before earlier ones make it younger by as much. What a run before left in a disk buffer counts from
//! the start.

use std::collections::VecDeque;

/// Marks at most.
const MARKS: usize = 512;
/// What comes within so many nanoseconds is one mark, where there are few.
const APART: i64 = 100_000_000;

/// When the events that a sink holds were received.
#[derive(Debug, Default)]
pub(super) struct Held {
    marks: VecDeque<Mark>,
    /// Nanoseconds between marks at least: doubled when there are too many, as before when there is none.
    apart: i64,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Events taken in by then, with those of the mark.
    end: u64,
    /// When the first of the mark was received: nanoseconds since 1970.
    since: i64,
}

impl Held {
    /// Events received at `since` were taken in: `taken` are all so far, `settled` of them are settled.
    pub(super) fn took(&mut self, taken: u64, settled: u64, since: i64) {
        while self.marks.front().is_some_and(|mark| mark.end <= settled) {
            self.marks.pop_front();
        }
        if self.marks.is_empty() {
            self.apart = APART;
        }
        self.mark(Mark { end: taken, since });
        while self.marks.len() > MARKS {
            self.apart = self.apart.saturating_mul(2);
            std::mem::take(&mut self.marks).into_iter().for_each(|mark| self.mark(mark));
        }
    }

    fn mark(&mut self, mark: Mark) {
        match self.marks.back_mut() {
            Some(last) if mark.since.saturating_sub(last.since) < self.apart => last.end = mark.end,
            _ => self.marks.push_back(mark),
        }
    }

    /// When the oldest that is not settled was received, of `settled` that are.
    pub(super) fn oldest(&self, settled: u64) -> Option<i64> {
        self.marks.iter().find(|mark| mark.end > settled).map(|mark| mark.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn the_oldest_is_that_of_the_batch_with_the_next_event_to_settle() {
        let mut held = Held::default();
        assert_eq!(held.oldest(0), None);
        for n in 1..=10 {
            held.took(n * 100, 0, n as i64 * SECOND);
        }
        assert_eq!(
            [0, 99, 100, 950, 999, 1000].map(|settled| held.oldest(settled)),
            [1, 1, 2, 10, 10, 0].map(|n| (n > 0).then_some(n * SECOND))
        );
        held.took(1100, 1050, 11 * SECOND);
        assert_eq!((held.marks.len(), held.oldest(1050)), (1, Some(11 * SECOND)));
    }

    #[test]
    fn however_many_batches_wait_the_marks_are_few_and_never_tell_too_much() {
        let mut held = Held::default();
        for n in 0..100_000_u64 {
            held.took(n + 1, 0, n as i64 * SECOND);
        }
        assert!(held.marks.len() <= MARKS);
        for settled in [0, 1, 500, 50_000, 99_999] {
            let told = held.oldest(settled).unwrap_or_default();
            let right = settled as i64 * SECOND;
            // 100,000 seconds in 256 marks at least: told older than it is, never younger.
            assert!(told <= right && right - told <= 400 * SECOND, "{settled}: {told}");
        }
    }
}

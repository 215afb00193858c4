//! How long the writer waits for a sink that keeps up, or nearly.
//!
//! A batch that memory has no room for is read back from disk, which costs about as much as decoding it did, and one that is
//! written before the sink has settled it is written for nothing. A sink that is a little slower than its sources for a
//! moment would get everything that way from then on. So the writer waits for room and for verdicts. Every batch that
//! comes and every one that the sink settles brings some time for that: a sink that takes 125 MB a second is worth waiting
//! for as long as it does, one that takes nothing is waited for once.

use super::Sizes;
use super::state::{Shared, State};
use crate::buffer::StageSender;
use crate::event::Batch;
use crate::sync::MutexGuard;
use std::time::{Duration, Instant};

/// A sink slower than this is not waited for: bytes a second.
const RATE: u64 = 125_000_000;
/// Most time that is saved up.
const MOST: Duration = Duration::from_millis(8);

/// Time that the writer may wait.
pub(super) struct Pace {
    /// Nanoseconds that each byte brings.
    nanos_a_byte: u64,
    most: Duration,
    /// What is saved up: every batch brings the time that its bytes take at [`RATE`].
    credit: Duration,
    /// Where the reader stood when waiting was of no use.
    pub(super) stuck_at: Option<u64>,
    /// What the sink had settled when waiting for it to settle more was of no use.
    deaf_at: Option<usize>,
    /// What it had settled when that was last looked at, and when it was seen to settle something.
    seen: usize,
    seen_at: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Pace::new(1_000_000_000 / RATE, MOST)
    }
}

impl Pace {
    pub(super) fn new(nanos_a_byte: u64, most: Duration) -> Pace {
        Pace { nanos_a_byte, most, credit: Duration::ZERO, stuck_at: None, deaf_at: None, seen: 0, seen_at: None }
    }

    /// What the sink has settled since brings time too: as long as it is quick it is worth waiting for.
    fn hear(&mut self, state: &State) {
        if self.seen != state.settled_bytes {
            self.earn(state.settled_bytes.wrapping_sub(self.seen));
            self.seen = state.settled_bytes;
            self.seen_at = Some(Instant::now());
        }
    }

    /// Whether the sink has settled something within the last `time`.
    pub(super) fn has_settled_within(&mut self, time: Duration, state: &State) -> bool {
        self.hear(state);
        self.seen_at.is_some_and(|at| at.elapsed() < time)
    }

    /// A batch of `bytes` has come.
    pub(super) fn earn(&mut self, bytes: usize) {
        self.credit = (self.credit + Duration::from_nanos(bytes as u64 * self.nanos_a_byte)).min(self.most);
    }

    /// Gives the sink a batch, waiting for room as long as that is worth while; then gives it back.
    pub(super) fn send(&mut self, sink: &StageSender, batch: Batch) -> Option<Batch> {
        let since = Instant::now();
        let back = sink.send_within(batch, self.credit);
        self.credit = self.credit.saturating_sub(since.elapsed());
        back
    }

    /// Waits until the reader has made room for a batch of `bytes`, or it is not worth while.
    pub(super) fn wait<'a>(
        &mut self,
        shared: &'a Shared,
        mut state: MutexGuard<'a, State>,
        sizes: &Sizes,
        bytes: usize,
    ) -> MutexGuard<'a, State> {
        let cursor = state.cursor;
        if bytes > sizes.keep || state.has_room(sizes, bytes) || self.stuck_at == Some(cursor) {
            return state;
        }
        let since = Instant::now();
        while !state.has_room(sizes, bytes) && !state.needs_group() {
            let left = self.credit.saturating_sub(since.elapsed());
            if left.is_zero() {
                self.stuck_at = (state.cursor == cursor).then_some(cursor);
                break;
            }
            state = match shared.room.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        self.credit = self.credit.saturating_sub(since.elapsed());
        state
    }

    /// Waits until the sink has settled all of the group but `enough` bytes, or it is not worth while.
    pub(super) fn wait_for_verdicts<'a>(
        &mut self,
        shared: &'a Shared,
        mut state: MutexGuard<'a, State>,
        enough: usize,
    ) -> MutexGuard<'a, State> {
        self.hear(&state);
        let before = self.seen;
        if self.deaf_at == Some(before) {
            return state;
        }
        while state.unsettled_bytes() > enough && !state.needs_group() {
            if self.credit.is_zero() {
                self.deaf_at = (self.seen == before).then_some(before);
                break;
            }
            let since = Instant::now();
            state = match shared.room.wait_timeout(state, self.credit) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
            self.credit = self.credit.saturating_sub(since.elapsed());
            self.hear(&state);
        }
        state
    }
}

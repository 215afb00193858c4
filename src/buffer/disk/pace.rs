//! How long the writer waits for a sink that keeps up, or nearly.
//!
//! A batch that memory has no room for is read back from disk, which costs about as much as decoding it did, and one that is
//! written before the sink has settled it is written for nothing. A sink that is a little slower than its sources for a
//! moment would get everything that way from then on. So the writer waits for room and for verdicts. Every batch that
//! comes and every one that the sink settles brings some time for that: a sink that takes 125 MB a second is worth waiting
//! for as long as it does, one that takes nothing is waited for once.

use super::Sizes;
use super::state::{SharedState, State};
use crate::buffer::StageSender;
use crate::event::Batch;
use crate::sync::MutexGuard;
use std::time::{Duration, Instant};

/// A group is written when the oldest batch in it that the sink has not settled has waited this long: most are delivered
/// before, and need not be written.
pub(super) const GROUP_WAIT: Duration = Duration::from_millis(20);

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
    /// Waiting for the sink to settle something of a group was of no use, and it has settled nothing of one since.
    verdicts_stalled: bool,
    /// How old what is not settled may become.
    patience: Duration,
    /// What the sink had settled when that was last looked at, and when it was seen to settle something.
    seen: usize,
    seen_at: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Pace::new(1_000_000_000 / RATE, MOST, GROUP_WAIT)
    }
}

impl Pace {
    pub(super) fn new(nanos_a_byte: u64, most: Duration, patience: Duration) -> Pace {
        let (credit, seen) = (Duration::ZERO, 0);
        Pace { nanos_a_byte, most, credit, stuck_at: None, verdicts_stalled: false, patience, seen, seen_at: None }
    }

    /// What the sink has settled since brings time too: as long as it is quick it is worth waiting for.
    fn observe(&mut self, state: &State) {
        self.add_credit(state.settled_bytes.wrapping_sub(self.seen));
        self.notice(state);
    }

    /// Notes when the sink was seen to settle something.
    fn notice(&mut self, state: &State) {
        if self.seen != state.settled_bytes {
            self.seen = state.settled_bytes;
            self.seen_at = Some(Instant::now());
        }
    }

    /// Whether the sink has settled something within the last `time`.
    pub(super) fn has_settled_within(&mut self, time: Duration, state: &State) -> bool {
        self.observe(state);
        self.seen_at.is_some_and(|at| at.elapsed() < time)
    }

    /// A batch of `bytes` has come.
    pub(super) fn add_credit(&mut self, bytes: usize) {
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
        shared: &'a SharedState,
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

    /// Waits until the sink has settled all of the group but `enough` bytes, or it is not worth while: it settles
    /// nothing of the group, however much of what came before it, or something has waited as long as it may.
    pub(super) fn wait_for_verdicts<'a>(
        &mut self,
        shared: &'a SharedState,
        mut state: MutexGuard<'a, State>,
        enough: usize,
    ) -> MutexGuard<'a, State> {
        self.observe(&state);
        self.verdicts_stalled &= state.group.iter().all(|p| !p.settled);
        // What the sink has to be given from disk comes before anything of the group.
        if self.verdicts_stalled || state.reads_disk() {
            return state;
        }
        let (mut unsettled, mut heard) = (state.unsettled_bytes(), false);
        while unsettled > enough && !state.needs_group() {
            let Some(oldest) = state.group.iter().find(|p| !p.settled) else { break };
            let since = Instant::now();
            let left = self.credit.min((oldest.since + self.patience).saturating_duration_since(since));
            if left.is_zero() {
                self.verdicts_stalled = !heard;
                break;
            }
            state = match shared.room.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
            self.credit = self.credit.saturating_sub(since.elapsed());
            // Of the group only: else a sink with much before it would be waited for until it has come to it.
            let now = state.unsettled_bytes();
            self.add_credit(unsettled - now);
            heard |= now < unsettled;
            unsettled = now;
            self.notice(&state);
        }
        state
    }
}

//! How long the writer waits for a sink that nearly keeps up.
//!
//! A batch that memory has no room for is read back from disk, which costs about as much as decoding it did. A sink that
//! is a little slower than its sources for a moment would get everything that way from then on. So the writer waits for
//! room, for about as long as reading back would take: at most twice the least there is to pay, whatever the sink does.
//! A sink that takes nothing meanwhile is not waited for again until it does.

use super::Sizes;
use super::state::{Shared, State};
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
}

impl Default for Pace {
    fn default() -> Self {
        Pace::new(1_000_000_000 / RATE, MOST)
    }
}

impl Pace {
    pub(super) fn new(nanos_a_byte: u64, most: Duration) -> Pace {
        Pace { nanos_a_byte, most, credit: Duration::ZERO, stuck_at: None }
    }

    /// Waits until the reader has made room for a batch of `bytes`, or it is not worth while.
    pub(super) fn wait<'a>(
        &mut self,
        shared: &'a Shared,
        mut state: MutexGuard<'a, State>,
        sizes: &Sizes,
        bytes: usize,
    ) -> MutexGuard<'a, State> {
        self.credit = (self.credit + Duration::from_nanos(bytes as u64 * self.nanos_a_byte)).min(self.most);
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
}

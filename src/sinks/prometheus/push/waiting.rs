//! Events that are counted and whose counts the receiver does not have yet.

use crate::ack::{Ack, Settled, Verdict};
use crate::sync::Locked;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Most verdicts that are owed to sources; then no more is taken from the queue until the receiver has something. Some
/// 100 bytes each. Events of sources that do not hear verdicts do not count.
const MOST_OWED: usize = if cfg!(test) { 64 } else { 1 << 16 };
/// How often it is looked whether the agent is to leave, while nothing is taken.
const LOOK: Duration = Duration::from_millis(50);

/// Events of one batch.
pub(in super::super) struct Held {
    pub(in super::super) ack: Ack,
    pub(in super::super) events: u64,
    pub(in super::super) received_at: i64,
    /// Snapshots with their counts that the receiver has refused.
    pub(in super::super) refusals: u32,
}

/// Events that the next snapshot will have. They are added once they are counted, so that no snapshot has them without
/// their counts.
#[derive(Default)]
pub(in super::super) struct Waiting {
    state: Mutex<State>,
    /// Fewer verdicts are owed.
    room: Condvar,
    /// Somebody waits for the verdict on some.
    pub(super) asked: Notify,
}

#[derive(Default)]
struct State {
    held: Vec<Held>,
    asked_at: Option<Instant>,
    /// Verdicts that are owed, for events that were taken too.
    owed: usize,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    /// Waits while too many verdicts are owed; `false` where the agent leaves first.
    pub(in super::super) fn wait_for_room(&self, abort: &CancellationToken) -> bool {
        let mut state = self.lock();
        while state.owed >= MOST_OWED {
            if abort.is_cancelled() {
                return false;
            }
            state = self.room.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// So many of the verdicts that were owed have been given.
    pub(super) fn given(&self, verdicts: usize) {
        let mut state = self.lock();
        state.owed = state.owed.saturating_sub(verdicts);
        drop(state);
        self.room.notify_one();
    }

    /// Adds events that have been counted.
    pub(in super::super) fn add(&self, held: Held) {
        let (asks, unheard) = (held.ack.is_waited_for(), held.ack.is_unheard());
        let mut state = self.lock();
        match state.held.last_mut() {
            // Nothing tells them apart.
            Some(last) if unheard && last.ack.is_unheard() && last.refusals == held.refusals => {
                last.events += held.events;
                return;
            }
            _ => state.held.push(held),
        }
        state.owed += usize::from(!unheard);
        if asks && state.asked_at.is_none() {
            state.asked_at = Some(Instant::now());
            drop(state);
            self.asked.notify_one();
        }
    }

    /// Since when somebody waits.
    pub(super) fn asked_at(&self) -> Option<Instant> {
        self.lock().asked_at
    }

    /// Takes them all.
    pub(super) fn take(&self) -> Vec<Held> {
        let mut state = self.lock();
        state.asked_at = None;
        std::mem::take(&mut state.held)
    }

    /// Puts some back whose snapshot came to nothing.
    pub(super) fn put_back(&self, held: Vec<Held>) {
        self.lock().held.splice(0..0, held);
    }
}

/// What became of snapshots, by their number.
#[derive(Default)]
pub(super) struct Verdicts {
    heard: Mutex<Vec<(u64, Verdict)>>,
    some: Notify,
}

impl Settled for Verdicts {
    fn settled(&self, number: u64, verdict: Verdict) {
        self.heard.locked().push((number, verdict));
        self.some.notify_one();
    }
}

impl Verdicts {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Resolves when there are some.
    pub(super) async fn came(&self) {
        self.some.notified().await;
    }

    pub(super) fn take(&self) -> Vec<(u64, Verdict)> {
        std::mem::take(&mut self.heard.locked())
    }
}

//! Acknowledgement: what became of a batch, reported once to the source that made it.
//!
//! A source makes one [`Ack`] per batch. Copies, splits and merges clone it; each clone is settled by whoever ends its
//! way ([`Ack::settle`]). When the last clone is gone, the source hears the worst verdict of all. A clone that is
//! dropped without a verdict counts as [`Verdict::Failed`]: forgetting cannot turn into loss.

use crate::sync::AtomicU8;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What became of a batch, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verdict {
    /// Every sink has it, or it ended by policy (sampled, filtered, dropped by `drop_*`).
    Delivered = 0,
    /// Settled too, but something went to a `rejected` output, a dead letter, or was refused for good.
    Rejected = 1,
    /// Not delivered: the source must keep its place.
    Failed = 2,
}

/// Hears verdicts. Called on whatever thread settles last; must not block.
pub trait Settled: Send + Sync {
    /// The batch that was given `token` has ended with `verdict`. Called exactly once per batch.
    fn settled(&self, token: u64, verdict: Verdict);

    /// Whether somebody waits for the verdict and has nothing else to do: a client for its answer.
    fn waits(&self) -> bool {
        false
    }
}

/// A share in the verdict on one batch.
pub struct Ack {
    shared: Option<Arc<Shared>>,
    verdict: Verdict,
}

struct Shared {
    worst: AtomicU8,
    token: u64,
    source: Arc<dyn Settled>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let verdict = match *self.worst.get_mut() {
            0 => Verdict::Delivered,
            1 => Verdict::Rejected,
            _ => Verdict::Failed,
        };
        self.source.settled(self.token, verdict);
    }
}

impl Ack {
    /// A handle whose verdict goes to `source` under `token`.
    pub fn new(source: Arc<dyn Settled>, token: u64) -> Self {
        let shared = Shared { worst: AtomicU8::new(0), token, source };
        Ack { shared: Some(Arc::new(shared)), verdict: Verdict::Failed }
    }

    /// A handle nobody listens to: for events that the agent makes itself, and for tests.
    pub fn none() -> Self {
        Ack { shared: None, verdict: Verdict::Failed }
    }

    /// Ends this share with `verdict`.
    pub fn settle(mut self, verdict: Verdict) {
        self.verdict = verdict;
    }

    /// Whether nobody hears the verdict.
    pub fn is_unheard(&self) -> bool {
        self.shared.is_none()
    }

    /// Whether somebody waits for the verdict, so that it should not be long in coming.
    pub fn is_waited_for(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.source.waits())
    }

    /// Takes the share out, leaving one that nobody listens to.
    pub fn take(&mut self) -> Ack {
        std::mem::replace(self, Ack::none())
    }
}

impl Clone for Ack {
    /// One more share, itself without a verdict yet.
    fn clone(&self) -> Self {
        Ack { shared: self.shared.clone(), verdict: Verdict::Failed }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            // Release: what this share did happens before the verdict is read, which the Arc's own count orders.
            shared.worst.fetch_max(self.verdict as u8, Ordering::Release);
        }
    }
}

impl std::fmt::Debug for Ack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ack")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Log(Mutex<Vec<(u64, Verdict)>>);
    impl Settled for Log {
        fn settled(&self, token: u64, verdict: Verdict) {
            self.0.lock().unwrap().push((token, verdict));
        }
    }

    #[test]
    fn the_last_share_reports_the_worst_verdict_once() {
        let log = Arc::new(Log::default());
        let ack = Ack::new(log.clone(), 7);
        let (b, c) = (ack.clone(), ack.clone());
        ack.settle(Verdict::Delivered);
        b.settle(Verdict::Rejected);
        assert!(log.0.lock().unwrap().is_empty());
        c.settle(Verdict::Delivered);
        assert_eq!(*log.0.lock().unwrap(), [(7, Verdict::Rejected)]);
    }

    #[test]
    fn a_share_that_is_forgotten_counts_as_failed() {
        let log = Arc::new(Log::default());
        let ack = Ack::new(log.clone(), 1);
        drop(ack.clone());
        ack.settle(Verdict::Delivered);
        assert_eq!(*log.0.lock().unwrap(), [(1, Verdict::Failed)]);
    }
}

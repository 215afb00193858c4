//! Calls that do not return: of a transform, a decoder, an encoder, a write, or one poll of a task.
//!
//! Whoever makes such calls has a [`Call`] for each kind of them and says when one begins and when it has ended: two stores, once a
//! batch. Who waits (for room, an answer, the end of a back-off) is in no call. A thread looks at all of them now and then; one
//! that is seen within the same call for [`STALLED`] is named: in the log, by `/ready`, in `tidegate_stalled`. It is left alone: what it
//! has cannot be taken from it.
//!
//! No clock is read by who makes calls. How long one takes is seen in steps of a sixtieth of the time.

use crate::sync::Locked;
use crate::telemetry::Counters;
use crate::telemetry::Health;
use crate::time::clock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// A call that takes so long is named.
pub const STALLED: Duration = Duration::from_secs(60);

/// Odd within a call; each begin and end makes it larger.
#[derive(Debug, Default)]
struct Slot(AtomicU64);

/// The calls of one part on one thread.
#[derive(Debug, Default)]
pub struct Call(Arc<Slot>);

/// Ends a call, by a panic too.
struct EndOnDrop<'a>(&'a Call);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Call {
    /// A call begins.
    #[inline]
    pub fn begin(&self) {
        // One thread writes it: no exchange is needed.
        let n = self.0.0.load(Ordering::Relaxed);
        self.0.0.store((n + 1) | 1, Ordering::Relaxed);
    }

    /// It has ended.
    #[inline]
    pub fn end(&self) {
        let n = self.0.0.load(Ordering::Relaxed);
        self.0.0.store((n + 1) & !1, Ordering::Relaxed);
    }

    /// Makes a call.
    pub fn within<R>(&self, run: impl FnOnce() -> R) -> R {
        self.begin();
        let _ends = EndOnDrop(self);
        run()
    }

    /// A task whose polls are calls.
    pub async fn polls<F: Future>(self, task: F) -> F::Output {
        let mut task = std::pin::pin!(task);
        std::future::poll_fn(|cx| self.within(|| task.as_mut().poll(cx))).await
    }
}

/// Whose calls they are.
struct Watched {
    slot: Weak<Slot>,
    /// As it was when it was first seen so.
    seen: u64,
    since: Duration,
    is_named: bool,
    what: &'static str,
    counters: Arc<Counters>,
    health: Arc<Health>,
}

/// Knows all calls.
#[derive(Clone)]
pub struct Watchdog {
    all: Arc<Mutex<Vec<Watched>>>,
    limit: Duration,
}

impl Watchdog {
    /// One that names what takes `limit`.
    pub fn new(limit: Duration) -> Watchdog {
        Watchdog { all: Arc::default(), limit }
    }

    /// For calls of a component: `what` names them.
    pub fn call(&self, what: &'static str, counters: &Arc<Counters>, health: &Arc<Health>) -> Call {
        let call = Call::default();
        self.lock().push(Watched {
            slot: Arc::downgrade(&call.0),
            seen: 0,
            since: Duration::ZERO,
            is_named: false,
            what,
            counters: counters.clone(),
            health: health.clone(),
        });
        call
    }

    /// Looks at all of them, at a time of any clock that does not go back.
    pub fn look(&self, now: Duration) {
        let mut all = self.lock();
        let mut news: Vec<Arc<str>> = Vec::new();
        for watched in all.iter_mut() {
            let state = watched.slot.upgrade().map(|slot| slot.0.load(Ordering::Relaxed));
            let is_within = state.is_some_and(|n| n % 2 == 1);
            if !is_within || state != Some(watched.seen) {
                if watched.is_named {
                    watched.is_named = false;
                    news.push(watched.counters.id.clone());
                    let took = now.saturating_sub(watched.since).as_secs();
                    tracing::info!(component = %watched.counters.id, call = watched.what, took_s = took, "the call that hung has returned");
                }
                (watched.seen, watched.since) = (state.unwrap_or_default(), now);
                continue;
            }
            let took = now.saturating_sub(watched.since);
            if took >= self.limit && !watched.is_named {
                watched.is_named = true;
                news.push(watched.counters.id.clone());
                tracing::error!(
                    component = %watched.counters.id, call = watched.what, took_s = took.as_secs(),
                    "a call does not return: what it has waits with it, and nothing else can be done about it than a restart"
                );
            }
        }
        for id in news {
            let of_id = || all.iter().filter(|watched| watched.counters.id == id);
            let hung = of_id().find(|watched| watched.is_named).map(|watched| watched.what);
            for watched in of_id() {
                watched.health.stalled(hung);
                watched.counters.update(|t| _ = t.gauges.insert("stalled", if hung.is_some() { 1.0 } else { 0.0 }));
            }
        }
        all.retain(|watched| watched.slot.strong_count() > 0);
    }

    /// Looks until `stop` is dropped.
    pub fn run(&self, stop: &crossbeam_channel::Receiver<()>) {
        let step = (self.limit / 60).clamp(Duration::from_millis(5), Duration::from_secs(1));
        while stop.recv_timeout(step) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            self.look(Duration::from_nanos(clock::monotonic_ns()));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Watched>> {
        self.all.locked()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::telemetry::ComponentKind;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_call_that_does_not_return_in_its_time_is_named_until_it_does() {
        let watchdog = Watchdog::new(STALLED);
        let counters = Counters::new("t", ComponentKind::Transform, "edit");
        let health = Arc::new(Health::default());
        let (first, second) = (watchdog.call("apply", &counters, &health), watchdog.call("apply", &counters, &health));
        let gauge = || counters.snapshot().gauges.get("stalled").copied();
        // Calls one after the other, however many, and one that waits between them.
        for n in 0..200 {
            first.begin();
            watchdog.look(at(n));
            first.end();
        }
        watchdog.look(at(500));
        assert_eq!((gauge(), health.failing_for(Duration::ZERO)), (None, None));
        first.begin();
        second.begin();
        watchdog.look(at(600));
        watchdog.look(at(659));
        assert_eq!(gauge(), None);
        watchdog.look(at(660));
        assert_eq!(gauge(), Some(1.0));
        assert!(health.failing_for(STALLED).unwrap().contains("apply"));
        first.end();
        watchdog.look(at(661));
        assert_eq!(gauge(), Some(1.0), "the other one hangs still");
        second.end();
        watchdog.look(at(662));
        assert_eq!((gauge(), health.failing_for(Duration::ZERO)), (Some(0.0), None));
    }

    #[test]
    fn a_call_that_panics_has_ended_and_a_part_that_is_gone_is_forgotten() {
        let watchdog = Watchdog::new(STALLED);
        let counters = Counters::new("t", ComponentKind::Transform, "edit");
        let health = Arc::new(Health::default());
        let call = watchdog.call("apply", &counters, &health);
        assert!(crate::telemetry::panics::caught_quietly(|| call.within(|| panic!("x"))).map(|()| 0).is_err());
        watchdog.look(at(0));
        watchdog.look(at(100));
        assert_eq!(counters.snapshot().gauges.get("stalled"), None);
        call.begin();
        watchdog.look(at(100));
        watchdog.look(at(200));
        assert_eq!(counters.snapshot().gauges.get("stalled"), Some(&1.0));
        drop(call);
        watchdog.look(at(201));
        assert_eq!((counters.snapshot().gauges.get("stalled"), watchdog.lock().len()), (Some(&0.0), 0));
    }
}

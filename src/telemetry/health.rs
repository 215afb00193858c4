//! Whether a component works, for `/ready`.

use crate::sync::Locked;
use crate::time::clock;
use std::time::Duration;

/// What `/ready` knows of a component.
#[derive(Default)]
pub struct Health {
    state: std::sync::Mutex<HealthState>,
}

#[derive(Default, Clone)]
struct HealthState {
    started: bool,
    /// Why it does not work, and since when (monotonic nanoseconds).
    failing: Option<(String, u64)>,
    /// Why its disk buffer does not work, and since when; 0 for long enough.
    disk: Option<(String, u64)>,
    /// A call of it that does not return.
    stalled: Option<String>,
}

impl Health {
    /// The component runs.
    pub fn started(&self) {
        self.lock().started = true;
    }

    /// The component works.
    pub fn working(&self) {
        let mut state = self.lock();
        state.started = true;
        state.failing = None;
    }

    /// Another takes the component's place: what was wrong with the one before says nothing of it.
    pub fn begins_anew(&self) {
        self.lock().failing = None;
    }

    /// The component does not work; the first reason's time is kept until it works again.
    pub fn failing(&self, why: &str) {
        let mut state = self.lock();
        let since = state.failing.as_ref().map_or_else(clock::monotonic_ns, |f| f.1);
        state.failing = Some((why.to_owned(), since));
    }

    /// The component takes nothing, whatever it is given: no time is given to it.
    pub fn takes_nothing(&self, why: &str) {
        self.lock().failing = Some((why.to_owned(), 0));
    }

    /// Its disk buffer cannot be written, or what was there is gone: no time is given to it.
    pub fn disk_failing(&self, why: &str) {
        self.lock().disk = Some((why.to_owned(), 0));
    }

    /// Its disk buffer works.
    pub fn disk_working(&self) {
        self.lock().disk = None;
    }

    /// A call of it does not return; `None` when all have.
    pub fn stalled(&self, call: Option<&str>) {
        self.lock().stalled = call.map(|call| format!("a call does not return: {call}"));
    }

    /// Whether it has started.
    pub fn is_started(&self) -> bool {
        self.lock().started
    }

    /// Why it, or its disk buffer, has not worked for at least `grace`.
    pub fn failing_for(&self, grace: Duration) -> Option<String> {
        let state = self.lock().clone();
        let late = |(why, since): (String, u64)| {
            let elapsed = u128::from(clock::monotonic_ns().saturating_sub(since));
            (since == 0 || elapsed >= grace.as_nanos()).then_some(why)
        };
        let stalled = state.stalled.map(|why| (why, 0));
        let reasons = [state.disk, state.failing, stalled].into_iter().flatten().filter_map(late);
        let all = reasons.collect::<Vec<_>>().join("; ");
        (!all.is_empty()).then_some(all)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HealthState> {
        self.state.locked()
    }
}

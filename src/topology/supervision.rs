//! When a part that has failed is started again, and when it has failed too often.
//!
//! Each failure of a part is followed by a wait of 1 s, twice as long each time, 60 s at most; one that ran for [`WELL`] begins with 1 s
//! again. What is started is built anew from the configuration that runs ([`Remake`]), as a change in which one part has a new life
//! ([`Running::change`](super::Running::change)). A part that fails more often than `restart` allows ends the agent.

use super::change::{Beside, Comparison, build_beside};
use super::running::Running;
use crate::pipeline::Config;
use crate::pipeline::RestartConfig;
use crate::telemetry::Counters;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The first wait before a part is started again, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A part that ran so long is well.
const WELL: Duration = Duration::from_secs(120);

/// Reads the configuration that runs once more.
///
/// Errors: in words, why it cannot be read now.
pub type Remake = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// What is known of a part that has failed.
struct Record {
    /// When it failed, within the time that counts.
    failures: VecDeque<Instant>,
    /// The wait after the next failure.
    wait: Duration,
    /// When it was started last.
    began: Option<Instant>,
    /// When it is to be started again.
    due: Option<Instant>,
    counters: Arc<Counters>,
}

/// What is to be done with a part that has failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is started again after this time.
    After(Duration),
    /// It has failed too often.
    Enough,
}

/// A part that is being built.
struct Building {
    id: Arc<str>,
    /// The graph's number of changes when it was begun.
    changes: u64,
    handle: JoinHandle<Result<Beside, String>>,
}

/// All parts that have failed.
#[derive(Default)]
pub(super) struct Supervision {
    pub(super) limits: Option<RestartConfig>,
    remake: Option<Remake>,
    parts: HashMap<Arc<str>, Record>,
    building: Option<Building>,
    /// How often the graph has changed.
    pub(super) changes: u64,
}

/// What has been built.
pub(super) struct Built {
    pub(super) id: Arc<str>,
    /// The graph has changed meanwhile: it is to be built once more.
    pub(super) is_stale: bool,
    pub(super) result: Result<Beside, String>,
}

impl Supervision {
    pub(super) fn new(remake: Option<Remake>, limits: RestartConfig) -> Supervision {
        Supervision { limits: Some(limits), remake, ..Supervision::default() }
    }

    /// Whether parts are started again at all.
    pub(super) fn is_on(&self) -> bool {
        self.remake.is_some() && self.limits.as_ref().is_some_and(|limits| limits.max > 0)
    }

    /// A part has failed.
    pub(super) fn failed(&mut self, counters: &Arc<Counters>, now: Instant) -> Verdict {
        let Some(limits) = self.limits.as_ref().filter(|_| self.remake.is_some()) else { return Verdict::Enough };
        let record = self.parts.entry(counters.id.clone()).or_insert_with(|| Record {
            failures: VecDeque::new(),
            wait: WAITS.0,
            began: None,
            due: None,
            counters: counters.clone(),
        });
        if record.began.take().is_some_and(|began| now.duration_since(began) >= WELL) {
            record.wait = WAITS.0;
        }
        record.failures.push_back(now);
        while record.failures.pop_front_if(|at| now.duration_since(*at) > limits.within).is_some() {}
        if record.failures.len() as u64 > u64::from(limits.max) {
            record.due = None;
            return Verdict::Enough;
        }
        let wait = record.wait;
        record.due = Some(now + wait);
        record.wait = (wait * 2).min(WAITS.1);
        Verdict::After(wait)
    }

    /// Whether a part waits to be started again.
    pub(super) fn waits(&self, id: &str) -> bool {
        self.parts.get(id).is_some_and(|record| record.due.is_some())
    }

    /// Whether any does.
    pub(super) fn some_wait(&self) -> bool {
        self.parts.values().any(|record| record.due.is_some())
    }

    /// When the next is to be started; nothing while one is being built.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.parts.values().filter_map(|record| record.due).min().filter(|_| self.building.is_none())
    }

    /// A part has other settings now, or is none any more: what was is forgotten.
    pub(super) fn forget(&mut self, id: &str) {
        self.parts.remove(id);
    }

    /// A part runs again.
    pub(super) fn began(&mut self, id: &str, now: Instant) {
        if let Some(record) = self.parts.get_mut(id) {
            (record.due, record.began) = (None, Some(now));
            record.counters.update(|t| t.restarts += 1);
        }
    }

    /// A part is not started again.
    pub(super) fn give_up(&mut self, id: &str) {
        if let Some(record) = self.parts.get_mut(id) {
            record.due = None;
        }
    }

    /// A part is started now, whatever its wait.
    pub(super) fn hurry(&mut self, id: &str, now: Instant) {
        if let Some(due) = self.parts.get_mut(id).and_then(|record| record.due.as_mut()) {
            *due = (*due).min(now);
        }
    }

    /// Begins to build the part that is due, on a thread of its own.
    pub(super) fn build_due(&mut self, now: Instant, running: BTreeMap<String, Arc<Counters>>) {
        let due = self.parts.iter().filter(|(_, record)| record.due.is_some_and(|due| due <= now));
        let Some((id, _)) = due.min_by_key(|(_, record)| record.due) else { return };
        let (Some(remake), id) = (self.remake.clone(), id.clone()) else { return };
        let part = id.to_string();
        let handle = tokio::task::spawn_blocking(move || build(&remake, part, running));
        self.building = Some(Building { id, changes: self.changes, handle });
    }

    /// Whether a part is being built.
    pub(super) fn is_building(&self) -> bool {
        self.building.is_some()
    }

    /// What was built. Never resolves where nothing is. Safe to cancel.
    pub(super) async fn built(&mut self) -> Built {
        let Some(building) = &mut self.building else { return std::future::pending().await };
        let result = (&mut building.handle).await.unwrap_or_else(|error| Err(error.to_string()));
        let (id, changes) = (building.id.clone(), building.changes);
        self.building = None;
        Built { id, is_stale: changes != self.changes, result }
    }
}

/// Builds one part of the configuration that runs, whose components have these counters.
fn build(remake: &Remake, id: String, running: BTreeMap<String, Arc<Counters>>) -> Result<Beside, String> {
    let config = remake()?;
    let ids: Vec<&str> = config.components.iter().map(|c| &*c.id.value).collect();
    if ids.len() != running.len() || ids.iter().any(|id| !running.contains_key(*id)) {
        return Err("the configuration is not the one that runs".to_owned());
    }
    let kept = ids.into_iter().filter(|other| *other != id).map(str::to_owned).collect();
    let changed = BTreeMap::from([(id, vec!["it failed".to_owned()])]);
    let comparison = Comparison { kept, changed, ..Comparison::default() };
    let counters = running.into_iter().collect();
    build_beside(config, comparison, counters)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

impl Running {
    /// The counters of all components of the graph, by id.
    pub(super) fn counters_by_id(&self) -> BTreeMap<String, Arc<Counters>> {
        let of =
            |(id, (kind, type_name, _)): (Arc<str>, _)| Some((id.to_string(), self.counters(&id, kind, type_name)?));
        self.parts_now().into_iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::telemetry::ComponentKind;

    fn counters(id: &str) -> Arc<Counters> {
        Counters::new(id, ComponentKind::Sink, "test")
    }

    fn supervision(max: u32, within: u64) -> Supervision {
        let limits = RestartConfig { max, within: Duration::from_secs(within) };
        Supervision::new(Some(Arc::new(|| Err("no".to_owned()))), limits)
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_again_with_a_part_that_ran_well() {
        let mut parts = supervision(100, 100_000);
        let (out, other) = (counters("out"), counters("other"));
        let mut now = Instant::now();
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(parts.failed(&out, now), Verdict::After(seconds(wait)));
            assert_eq!((parts.waits("out"), parts.next_due()), (true, Some(now + seconds(wait))));
            now += seconds(wait);
            parts.began("out", now);
            assert_eq!((parts.waits("out"), parts.some_wait(), parts.next_due()), (false, false, None));
        }
        assert_eq!(parts.failed(&other, now), Verdict::After(seconds(1)), "each has its own");
        assert_eq!(parts.failed(&out, now + WELL - seconds(1)), Verdict::After(seconds(60)));
        now += seconds(300);
        parts.began("out", now);
        assert_eq!(parts.failed(&out, now + WELL), Verdict::After(seconds(1)));
        assert_eq!(out.snapshot().restarts, 9);
    }

    #[test]
    fn more_failures_than_are_allowed_within_the_time_are_enough_and_old_ones_do_not_count() {
        let mut parts = supervision(2, 100);
        let out = counters("out");
        let now = Instant::now();
        assert_eq!(parts.failed(&out, now), Verdict::After(seconds(1)));
        assert_eq!(parts.failed(&out, now + seconds(60)), Verdict::After(seconds(2)));
        assert_eq!(parts.failed(&out, now + seconds(101)), Verdict::After(seconds(4)), "the first was long ago");
        assert_eq!(parts.failed(&out, now + seconds(102)), Verdict::Enough);
        assert!(!parts.waits("out"));
        parts.forget("out");
        assert_eq!(parts.failed(&out, now + seconds(103)), Verdict::After(seconds(1)));
        assert_eq!(supervision(0, 100).failed(&out, now), Verdict::Enough);
        assert_eq!(Supervision::default().failed(&out, now), Verdict::Enough);
    }
}

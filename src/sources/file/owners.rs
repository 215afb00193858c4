//! Whose files are: what a source that stands on this one knows of them, and decides by it.
//!
//! The tailer opens what appears and knows nothing of owners but this: it asks about a file before it reads it, once a turn, and
//! may be told to wait; the handle is open meanwhile, so that deleting the file loses nothing. What is told stays with the file
//! ([`Owner`]) until there is something new. Nothing here costs anything per event.

use super::watch::Wake;
use crate::event::{Frames, Shared};
use crate::framing::container::Rule;
use crate::sync::Locked;
use crate::telemetry::Counters;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Who knows whose files are.
pub(crate) trait Owners: Send {
    /// Whether something became known since this was asked last: those that wait are asked about again.
    fn has_news(&mut self) -> bool;
    /// Tells of the file that goes by `name` what is known now, into `owner`; until when it is to wait, where it is: monotonic
    /// nanoseconds, after `mono`.
    fn ask(&mut self, name: &Path, owner: &mut Owner, mono: u64) -> Option<u64>;
    /// Nobody is to wait any more: the agent stops.
    fn hurry(&mut self);
}

/// What is known of the owner of a file.
#[derive(Debug, Default)]
pub(crate) struct Owner {
    /// When it was asked about first: monotonic nanoseconds; 0 for never.
    pub(crate) asked: u64,
    /// Of what `ask` knew when it was asked last; its own count.
    pub(crate) version: u64,
    /// It need not be asked again before there is something new.
    pub(crate) is_settled: bool,
    /// What all events of the file have.
    pub(crate) shared: Option<Arc<Shared>>,
    /// How lines are joined, where that is not what the source says.
    pub(crate) rule: Option<Arc<Rule>>,
    /// Why its events are dropped, where they are.
    pub(crate) drops: Option<&'static str>,
    /// As what kind of error its events are counted, where something is missing.
    pub(crate) lacks: Option<&'static str>,
    /// How much it may give, with others of the same budget.
    pub(crate) limit: Option<Arc<Limit>>,
}

/// So many bytes a second, for all files that share it.
#[derive(Debug)]
pub(crate) struct Limit {
    rate: f64,
    burst: f64,
    /// What is beyond it is dropped; else it waits.
    drops: bool,
    /// Bytes that may be given, below 0 where more was; and when that was: monotonic nanoseconds.
    state: Mutex<(f64, u64)>,
}

impl Limit {
    /// A full budget of `burst` bytes that fills by `rate` bytes a second.
    pub(crate) fn new(rate: u64, burst: u64, drops: bool) -> Limit {
        let burst = burst.max(1) as f64;
        Limit { rate: rate.max(1) as f64, burst, drops, state: Mutex::new((burst, 0)) }
    }

    fn at(&self, mono: u64) -> std::sync::MutexGuard<'_, (f64, u64)> {
        let mut state = self.state.locked();
        if state.1 != 0 {
            let since = mono.saturating_sub(state.1) as f64 / 1e9;
            state.0 = (state.0 + since * self.rate).min(self.burst);
        }
        state.1 = mono.max(state.1);
        state
    }

    /// Until when whoever waits has to: monotonic nanoseconds.
    pub(super) fn wait(&self, mono: u64) -> Option<u64> {
        let left = self.at(mono).0;
        (!self.drops && left <= 0.0).then(|| mono + ((1.0 - left) / self.rate * 1e9) as u64 + 1)
    }

    /// Takes the bytes out of the budget; `false` where there are none left and what is beyond it is dropped.
    fn take(&self, bytes: u64, mono: u64) -> bool {
        let mut state = self.at(mono);
        if self.drops && state.0 < bytes as f64 {
            return false;
        }
        state.0 -= bytes as f64;
        true
    }
}

/// A bell by which owners wake the reader.
#[derive(Clone)]
pub(crate) struct Bell(pub(super) Arc<Wake>);

impl Bell {
    /// There is something new.
    pub(crate) fn ring(&self) {
        self.0.wake();
    }
}

impl Owner {
    /// Whether what was framed is dropped; counted. `mono`: monotonic nanoseconds.
    pub(super) fn drops(&self, frames: &Frames, mono: u64, counters: &Counters) -> bool {
        let Frames::Spans(spans) = frames else { return false };
        let reason = match &self.limit {
            _ if self.drops.is_some() => self.drops,
            Some(limit) => {
                let bytes = spans.iter().map(|(from, to, _)| u64::from(to - from)).sum();
                (!limit.take(bytes, mono)).then_some("rate_limited")
            }
            None => None,
        };
        let n = spans.len() as u64;
        if let Some(reason) = reason {
            counters.update(|t| {
                t.events_in += n;
                t.drop_events(reason, n);
            });
        } else if let Some(kind) = self.lacks {
            counters.update(|t| t.error(kind, n));
        }
        reason.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_budget_fills_as_time_goes_by() {
        let limit = Limit::new(100, 50, true);
        assert!(limit.take(50, S));
        assert!(!limit.take(1, S));
        assert!(limit.take(10, S + S / 10));
        assert!(!limit.take(10, S + S / 10));
        assert!(limit.take(50, 10 * S), "never more than the burst");
        assert!(!limit.take(1, 10 * S));
    }

    #[test]
    fn who_waits_waits_until_the_debt_is_paid() {
        let limit = Limit::new(100, 50, false);
        assert_eq!(limit.wait(S), None);
        assert!(limit.take(250, S), "one turn is always let through");
        let until = limit.wait(S);
        assert!(until.is_some_and(|until| (3 * S..3 * S + S / 10).contains(&until)), "{until:?}");
        assert_eq!(limit.wait(3 * S + S / 10), None);
    }
}

//! The circuit breaker: a server that fails again and again is left alone, then probed by one request.
//!
//! ```text
//! closed ──failures in a row──► open ──reset──► half open (one probe) ──it worked──► closed
//!                                ▲                      │
//!                                └──────it failed───────┘
//! ```
//!
//! A request that was not sent because the circuit is open is no failure and no attempt.

use super::settings::BreakerConfig;
use std::time::Duration;
use tokio::time::Instant;

/// A circuit breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// Failures in a row since the last success.
    failures: u32,
    threshold: u32,
    reset: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Requests go. Moves to `Open` after `threshold` failures in a row.
    Closed,
    /// None goes until then. Moves to `HalfOpen` with the first request asked for after that.
    Open(Instant),
    /// One probe is on its way. Moves to `Closed` or `Open` with its end.
    HalfOpen,
}

impl Breaker {
    /// A closed one.
    pub(super) fn new(config: &BreakerConfig) -> Self {
        Breaker { state: State::Closed, failures: 0, threshold: config.failures.get(), reset: config.reset }
    }

    /// Whether a request may be sent now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open(until) => now >= until,
            State::HalfOpen => false,
        }
    }

    /// What `tidegate_circuit_state` shows: 0 closed, 1 half open, 2 open.
    pub(super) fn shown(&self) -> u8 {
        match self.state {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open(_) => 2,
        }
    }

    /// When a request may be sent, where only time is needed for that.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        match self.state {
            State::Open(until) => Some(until),
            State::Closed | State::HalfOpen => None,
        }
    }

    /// A request that [`allows`](Breaker::allows) let pass is sent.
    pub(super) fn sent(&mut self) {
        if let State::Open(_) = self.state {
            self.state = State::HalfOpen;
        }
    }

    /// A probe may go at once, where it would go after a while: there is no time left to leave the server alone.
    pub(super) fn probe(&mut self, now: Instant) {
        if let State::Open(until) = &mut self.state {
            *until = now.min(*until);
        }
    }

    /// The server answered: it works, whatever it thinks of the request. `true` where the circuit was not closed.
    pub(super) fn worked(&mut self) -> bool {
        self.failures = 0;
        let was = std::mem::replace(&mut self.state, State::Closed);
        was != State::Closed
    }

    /// A request failed by the server's fault. `true` where this opened a closed circuit.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            State::Closed if self.failures >= self.threshold => {
                self.state = State::Open(now + self.reset);
                true
            }
            State::HalfOpen => {
                self.state = State::Open(now + self.reset);
                false
            }
            // Requests that were on their way when it opened.
            State::Closed | State::Open(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn five_failures_in_a_row_open_it_and_one_probe_closes_it() {
        let mut breaker = Breaker::new(&BreakerConfig::defaults());
        let t = Instant::now();
        for _ in 0..4 {
            assert!(!breaker.failed(t));
        }
        assert!(!breaker.worked());
        for _ in 0..4 {
            assert!(!breaker.failed(t));
        }
        assert!(breaker.allows(t));
        assert_eq!(breaker.shown(), 0);
        assert!(breaker.failed(t));
        assert_eq!(breaker.shown(), 2);
        assert!(!breaker.allows(t));
        assert!(!breaker.allows(t + Duration::from_secs(59)));
        // A late failure of a request sent before does not extend the wait.
        assert!(!breaker.failed(t + Duration::from_secs(30)));
        let probe = t + Duration::from_secs(60);
        assert_eq!(breaker.opens_at(), Some(probe));
        assert!(breaker.allows(probe));
        breaker.sent();
        assert_eq!(breaker.shown(), 1);
        assert!(!breaker.allows(probe), "one probe only");
        assert!(!breaker.failed(probe));
        assert_eq!(breaker.opens_at(), Some(probe + Duration::from_secs(60)));
        breaker.sent();
        assert!(breaker.worked());
        assert!(breaker.allows(probe) && breaker.opens_at().is_none());
    }
}

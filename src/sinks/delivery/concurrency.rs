//! How many requests are sent at a time: a number, or as many as the server takes without slowing down.
//!
//! Additive increase, multiplicative decrease: one more after a round of answers that were not slower than usual while all
//! places were used; a tenth fewer when answers take half as long again as usual; half when the server says that it
//! has too much (429, 503) or does not answer in time.

use super::settings::Concurrency;
use std::time::Duration;

/// More requests at a time help nobody.
const MAX_ADAPTIVE: f64 = 64.0;
/// Where it begins: one is sent while the next is on its way.
const START: f64 = 2.0;
/// Answers that take this many times as long as usual mean that the server has too much.
const SLOW: f64 = 1.5;
/// Latencies below this are noise: a local server that takes 1 ms in place of 0.2.
const FLOOR: f64 = 0.005;

/// Share of a difference to the usual that becomes usual in a round: a server that has become slower for good is the usual
/// after some hundred rounds.
const DRIFT: f64 = 0.005;

/// How a request ended, as far as the number of requests goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Answered.
    Normal,
    /// The server has too much.
    Pressure,
    /// Says nothing about it: no connection, a wrong password.
    Unknown,
}

/// The number of requests at a time.
#[derive(Debug)]
pub(super) struct Limit {
    fixed: bool,
    limit: f64,
    /// Usual latency in seconds: sinks at once, rises slowly.
    usual: f64,
    /// Sum and number of the latencies of this round.
    sum: f64,
    answers: u32,
    /// All places were used at some time of this round.
    full: bool,
}

impl Limit {
    /// As configured.
    pub(super) fn new(config: &Concurrency) -> Self {
        let (fixed, limit) = match config {
            Concurrency::Adaptive(_) => (false, START),
            Concurrency::Fixed(n) => (true, n.get() as f64),
        };
        Limit { fixed, limit, usual: 0.0, sum: 0.0, answers: 0, full: false }
    }

    /// Requests at a time now, at least 1.
    pub(super) fn now(&self) -> usize {
        self.limit as usize
    }

    /// Most requests that will ever be sent at a time.
    pub(super) fn most(&self) -> usize {
        if self.fixed { self.limit as usize } else { MAX_ADAPTIVE as usize }
    }

    /// The number was given.
    pub(super) fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// Requests leave in order and one at a time.
    pub(super) fn keeps_order(&self) -> bool {
        self.fixed && self.limit < 2.0
    }

    /// `in_flight` requests are on their way, one just sent.
    pub(super) fn sent(&mut self, in_flight: usize) {
        self.full |= in_flight >= self.now();
    }

    /// A request ended after `took`.
    pub(super) fn ended(&mut self, load: Outcome, took: Duration) {
        if self.fixed {
            return;
        }
        match load {
            Outcome::Unknown => return,
            Outcome::Pressure => {
                self.limit = (self.limit / 2.0).max(1.0);
                (self.sum, self.answers, self.full) = (0.0, 0, false);
                return;
            }
            Outcome::Normal => {}
        }
        self.sum += took.as_secs_f64();
        self.answers += 1;
        if (self.answers as usize) < self.now() {
            return;
        }
        let mean = self.sum / f64::from(self.answers);
        if self.usual == 0.0 || mean < self.usual {
            self.usual = mean;
        }
        if mean > (self.usual * SLOW).max(FLOOR) {
            // A server that serves one at a time is always slower with two. It still wants the next one there.
            self.limit = (self.limit * 0.9).max(START.min(self.limit));
        } else if self.full {
            self.limit = (self.limit + 1.0).min(MAX_ADAPTIVE);
        }
        self.usual += (mean - self.usual) * DRIFT;
        (self.sum, self.answers, self.full) = (0.0, 0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::delivery::settings::AdaptiveWord;

    fn rounds(limit: &mut Limit, n: usize, took: impl Fn(usize) -> Duration) {
        for _ in 0..n {
            let now = limit.now();
            limit.sent(now);
            for _ in 0..now {
                limit.ended(Outcome::Normal, took(now));
            }
        }
    }

    #[test]
    fn it_grows_while_latency_stays_and_shrinks_when_the_server_queues() {
        let mut limit = Limit::new(&Concurrency::Adaptive(AdaptiveWord::Adaptive));
        rounds(&mut limit, 20, |_| Duration::from_millis(50));
        assert_eq!(limit.now(), 22);
        // A server that serves four at a time: more only wait.
        let mut limit = Limit::new(&Concurrency::Adaptive(AdaptiveWord::Adaptive));
        rounds(&mut limit, 30, |n| Duration::from_millis(50 * (n as u64).div_ceil(4)));
        assert!((4..=9).contains(&limit.now()), "{}", limit.now());
    }

    #[test]
    fn a_server_that_serves_one_at_a_time_finds_the_next_one_waiting() {
        let mut limit = Limit::new(&Concurrency::Adaptive(AdaptiveWord::Adaptive));
        for n in 0..200 {
            // Some rounds are quick by chance.
            let quick = n % 10 == 0;
            rounds(&mut limit, 1, |n| Duration::from_millis(if quick { 10 } else { 10 * n as u64 }));
            assert!((2..=4).contains(&limit.now()), "{}", limit.now());
        }
    }

    #[test]
    fn pressure_halves_it_and_never_below_one() {
        let mut limit = Limit::new(&Concurrency::Adaptive(AdaptiveWord::Adaptive));
        rounds(&mut limit, 6, |_| Duration::from_millis(50));
        assert_eq!(limit.now(), 8);
        limit.ended(Outcome::Pressure, Duration::ZERO);
        assert_eq!(limit.now(), 4);
        for _ in 0..10 {
            limit.ended(Outcome::Pressure, Duration::ZERO);
        }
        assert_eq!(limit.now(), 1);
    }

    #[test]
    fn an_idle_sink_does_not_grow() {
        let mut limit = Limit::new(&Concurrency::Adaptive(AdaptiveWord::Adaptive));
        for _ in 0..100 {
            limit.sent(1);
            limit.ended(Outcome::Normal, Duration::from_millis(10));
        }
        assert_eq!(limit.now(), 2);
    }
}

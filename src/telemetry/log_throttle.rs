//! One line a minute about what goes on happening.
//!
//! Promises: the first time is said at once; after that once a minute at most, with how often it happened since the last
//! line. Nothing is counted twice, and nothing is forgotten while it goes on.

use crate::time::clock;
use std::time::{Duration, Instant};

/// Between two lines about the same thing.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// When a line about one thing is due.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogThrottle {
    /// When the last line went out; `None` before the first, and after what was said has ended.
    last_logged: Option<Instant>,
    /// How often it happened since.
    since: u64,
}

impl LogThrottle {
    /// It happened `times`; how often since the last line, where a line is due.
    pub(crate) fn due(&mut self, times: u64) -> Option<u64> {
        self.due_at(clock::monotonic(), times)
    }

    /// As [`due`](Self::due), at a time.
    pub(crate) fn due_at(&mut self, now: Instant, times: u64) -> Option<u64> {
        self.since += times;
        if self.since == 0 || self.last_logged.is_some_and(|last| now.saturating_duration_since(last) < LOG_INTERVAL) {
            return None;
        }
        self.last_logged = Some(now);
        Some(std::mem::take(&mut self.since))
    }

    /// It happens no more; whether something had been said of it.
    pub(crate) fn ended(&mut self) -> bool {
        self.since = 0;
        self.last_logged.take().is_some()
    }

    /// How often it happened since the last line; none is owed any more.
    pub(crate) fn rest(&mut self) -> u64 {
        std::mem::take(&mut self.since)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_then_one_a_minute_with_all_between() {
        let (mut throttle, start) = (LogThrottle::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(throttle.due_at(start, 0), None, "nothing happened");
        assert_eq!(throttle.due_at(start, 3), Some(3));
        assert_eq!(throttle.due_at(at(59), 4), None);
        assert_eq!(throttle.due_at(at(60), 0), Some(4));
        assert_eq!(throttle.due_at(at(121), 0), None);
        assert_eq!(throttle.due_at(at(122), 1), Some(1));
        throttle.due_at(at(123), 5);
        assert_eq!(throttle.rest(), 5);
        assert!(throttle.ended() && !throttle.ended());
        assert_eq!(throttle.due_at(at(124), 1), Some(1), "it has begun again");
    }
}

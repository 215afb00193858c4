//! Log lines about a failing server: on entering and leaving the state, and once a minute between.

use std::time::Duration;
use tokio::time::Instant;

/// One line of a kind in this time.
const EVERY: Duration = Duration::from_secs(60);

/// Holds back repeats of a log line.
#[derive(Debug, Default)]
pub(super) struct Notice {
    last: Option<Instant>,
    held_back: u64,
}

impl Notice {
    /// Whether to log now: `Some` with the number of lines held back since the last.
    pub(super) fn due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + EVERY) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }

    /// The state is left: the next line is logged at once.
    pub(super) fn reset(&mut self) {
        *self = Notice::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute() {
        let (mut notice, t) = (Notice::default(), Instant::now());
        assert_eq!(notice.due(t), Some(0));
        assert_eq!(notice.due(t + Duration::from_secs(1)), None);
        assert_eq!(notice.due(t + Duration::from_secs(59)), None);
        assert_eq!(notice.due(t + Duration::from_secs(60)), Some(2));
        notice.reset();
        assert_eq!(notice.due(t + Duration::from_secs(61)), Some(0));
    }
}

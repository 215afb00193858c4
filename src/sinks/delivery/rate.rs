//! The rate limit: so many requests a second, one after the other in even steps.

use std::time::Duration;
use tokio::time::Instant;

/// Spaces requests evenly.
#[derive(Debug)]
pub(super) struct RateLimit {
    /// Time between two requests; `None` for no limit.
    step: Option<Duration>,
    next: Option<Instant>,
}

impl RateLimit {
    /// At most `per_second` requests; no limit where that is absent or not above 0.
    pub(super) fn new(per_second: Option<f64>) -> Self {
        let step = per_second.filter(|r| *r > 0.0).and_then(|r| Duration::try_from_secs_f64(1.0 / r).ok());
        RateLimit { step, next: None }
    }

    /// When the next request may be sent, where that is not now.
    pub(super) fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|&next| next > now)
    }

    /// A request is sent now.
    pub(super) fn sent(&mut self, now: Instant) {
        self.next = self.step.map(|step| now + step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spaced() {
        let now = Instant::now();
        let mut rate = RateLimit::new(Some(4.0));
        assert_eq!(rate.waits_until(now), None);
        rate.sent(now);
        assert_eq!(rate.waits_until(now), Some(now + Duration::from_millis(250)));
        assert_eq!(rate.waits_until(now + Duration::from_millis(250)), None);
        let mut free = RateLimit::new(None);
        free.sent(now);
        assert_eq!(free.waits_until(now), None);
    }
}

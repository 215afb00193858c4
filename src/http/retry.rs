//! When to try again: growing waits with jitter, and what a server asks for in `Retry-After`.

use super::settings::RetryConfig;
use crate::time::{TimestampReader, clock};
use std::time::Duration;

/// A server may ask for more; nobody waits longer than this.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

/// The waits between attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    /// From 0 to 1.
    jitter: f64,
}

impl Backoff {
    /// As configured.
    pub fn new(config: &RetryConfig) -> Self {
        let initial = config.initial.max(Duration::from_millis(1));
        Backoff { initial, max: config.max.max(initial), jitter: config.jitter.value.clamp(0.0, 1.0) }
    }

    /// The wait after `failed` attempts in a row, from 1: between `(1 - jitter) * wait` and `wait`.
    pub fn wait(&self, failed: u32) -> Duration {
        let doubled = self.initial.saturating_mul(1u32 << failed.saturating_sub(1).min(20));
        let wait = doubled.min(self.max);
        wait.mul_f64(1.0 - self.jitter * fastrand::f64())
    }
}

/// What `Retry-After` says, as a wait from now: seconds, or an HTTP date. `None` where it is neither. At most
/// [`MAX_RETRY_AFTER`].
pub fn retry_after(value: &str) -> Option<Duration> {
    retry_after_at(value, clock::now_ns())
}

fn retry_after_at(value: &str, now_ns: i64) -> Option<Duration> {
    let value = value.trim();
    if value.is_empty() {
        return None;
    }
    if value.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    }
    // An HTTP date begins with a day's name, and has the zone `GMT` but for the form of `asctime` (RFC 9110, 5.6.7).
    let asctime = value.len() == 24 && value.as_bytes()[20..].iter().all(u8::is_ascii_digit);
    if !value.starts_with(|c: char| c.is_ascii_alphabetic()) || !(asctime || value.ends_with("GMT")) {
        return None;
    }
    let at = TimestampReader::default().read(value.as_bytes(), now_ns)?.ns;
    let wait = u64::try_from(at.saturating_sub(now_ns)).unwrap_or(0);
    Some(Duration::from_nanos(wait).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn waits_double_up_to_the_longest_and_jitter_only_shortens_them() {
        let mut config = RetryConfig::defaults();
        config.jitter.value = 0.0;
        let exact = Backoff::new(&config);
        let waits: Vec<_> = (1..=9).map(|n| exact.wait(n).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        assert_eq!(exact.wait(u32::MAX).as_secs(), 30);
        config.jitter.value = 0.5;
        let jittered = Backoff::new(&config);
        for _ in 0..200 {
            let wait = jittered.wait(3);
            assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(2), "{wait:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = 1_750_000_000 * crate::time::NS_PER_SEC; // 2025-06-15T15:06:40Z
        assert_eq!(retry_after_at("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after_at(" 0 ", now), Some(Duration::ZERO));
        assert_eq!(retry_after_at("99999999999999999999", now), Some(MAX_RETRY_AFTER));
        assert_eq!(retry_after_at("Sun, 15 Jun 2025 15:07:00 GMT", now), Some(Duration::from_secs(20)));
        assert_eq!(retry_after_at("Sun, 15 Jun 2025 15:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after_at("Sunday, 15-Jun-25 15:07:00 GMT", now), Some(Duration::from_secs(20)));
        assert_eq!(retry_after_at("Sun Jun 15 15:07:00 2025", now), Some(Duration::from_secs(20)));
        assert_eq!(retry_after_at("Sun Jun 15 15:07:00 CEST", now), None);
        assert_eq!(retry_after_at("soon", now), None);
        assert_eq!(retry_after_at("-5", now), None);
        assert_eq!(retry_after_at("", now), None);
    }
}

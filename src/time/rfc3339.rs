//! The fixed layout `YYYY-MM-DDThh:mm:ss[.f…](Z|±hh:mm)`, eight bytes at a time.

use super::civil::{days_from_date, days_in_month, follows_leap_second};
use super::{NS_PER_SEC, POW10, SECS_PER_DAY, Stamp};

/// Date and time of day as read from the 19 fixed bytes; the date exists and the time is in range.
struct Head {
    year: i32,
    month: u8,
    day: u8,
    secs: u32,
    leap: bool,
}

/// Eight bytes against a pattern in which `0` stands for a digit: every byte becomes 0 to 9 at a digit and 0 at a
/// separator, or the whole is refused.
#[inline]
fn digits(bytes: [u8; 8], pattern: &[u8; 8], guard: u64) -> Option<u64> {
    let v = u64::from_le_bytes(bytes) ^ u64::from_le_bytes(*pattern);
    // A digit plus 0x76 reaches the top bit from ten on; a separator plus 0x7f from one on. A byte that carries into
    // its neighbour has its own top bit set, so no carry is mistaken for a valid byte.
    let bad = (v | v.wrapping_add(guard)) & 0x8080_8080_8080_8080;
    (bad == 0).then_some(v)
}

/// The guard of [`digits`] for a pattern.
const fn guard(pattern: &[u8; 8]) -> u64 {
    let mut g = 0u64;
    let mut i = 0;
    while i < 8 {
        g |= (if pattern[i] == b'0' { 0x76 } else { 0x7f }) << (8 * i);
        i += 1;
    }
    g
}

const YEAR_MONTH: [u8; 8] = *b"0000-00-";
const CLOCK: [u8; 8] = *b"00:00:00";

/// Two digits at every byte: `10 * d[i] + d[i + 1]`.
#[inline]
fn pairs(v: u64) -> [u8; 8] {
    (v.wrapping_mul(10).wrapping_add(v >> 8)).to_le_bytes()
}

/// The fixed part without the byte between date and time.
#[inline]
fn head(b: &[u8; 19]) -> Option<Head> {
    let ym =
        pairs(digits([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]], &YEAR_MONTH, const { guard(&YEAR_MONTH) })?);
    let hms = pairs(digits([b[11], b[12], b[13], b[14], b[15], b[16], b[17], b[18]], &CLOCK, const { guard(&CLOCK) })?);
    let (d1, d0) = (b[8] ^ b'0', b[9] ^ b'0');
    if d1 > 9 || d0 > 9 {
        return None;
    }
    let year = i32::from(ym[0]) * 100 + i32::from(ym[2]);
    let month = ym[5];
    let day = d1 * 10 + d0;
    let (hour, minute, second) = (hms[0], hms[3], hms[6]);
    if hour > 23 || minute > 59 || second > 60 || day == 0 || month == 0 || month > 12 {
        return None;
    }
    if day > 28 && day > days_in_month(year, month) {
        return None;
    }
    let secs = u32::from(hour) * 3600 + u32::from(minute) * 60 + u32::from(second);
    Some(Head { year, month, day, secs, leap: second == 60 })
}

/// Reads `YYYY-MM-DDThh:mm:ss[.f…](Z|±hh:mm)`.
///
/// Shape: exactly this layout from first to last byte; `t`, `z` and a space in place of `T` are taken as RFC 3339
/// allows. Fraction digits beyond the ninth are checked and cut off. `-00:00` is UTC.
/// Errors: `None` for anything else, for a date that does not exist, and outside the range of [`Stamp::ns`].
/// Source: RFC 3339, section 5.6.
#[inline]
#[must_use]
pub fn parse_rfc3339(text: &[u8]) -> Option<Stamp> {
    let (fixed, rest) = text.split_first_chunk::<19>()?;
    if !matches!(fixed[10], b'T' | b't' | b' ') {
        return None;
    }
    let h = head(fixed)?;
    let (nanos, digits, zone) = match rest {
        // The two spellings that nearly all lines carry.
        [b'Z'] => (0, 0, rest),
        [b'.', a, b, c, zone @ ..] if a.is_ascii_digit() && b.is_ascii_digit() && c.is_ascii_digit() => {
            let ms = i64::from(a - b'0') * 100 + i64::from(b - b'0') * 10 + i64::from(c - b'0');
            if zone.first().is_some_and(u8::is_ascii_digit) { fraction(&rest[1..])? } else { (ms * 1_000_000, 3, zone) }
        }
        [b'.', more @ ..] => fraction(more)?,
        zone => (0, 0, zone),
    };
    let offset = match zone {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h0, b':', m1, m0] => {
            let east = offset_seconds(*h1, *h0, *m1, *m0)?;
            if *sign == b'-' { -east } else { east }
        }
        _ => return None,
    };
    let secs = days_from_date(h.year, h.month, h.day) * SECS_PER_DAY + i64::from(h.secs) - i64::from(offset);
    if h.leap && !follows_leap_second(secs) {
        return None;
    }
    Some(Stamp { ns: secs.checked_mul(NS_PER_SEC)?.checked_add(nanos)?, digits })
}

/// Seconds of `hhmm`, at most 23:59.
#[inline]
pub(crate) fn offset_seconds(h1: u8, h0: u8, m1: u8, m0: u8) -> Option<i32> {
    let d = |c: u8| c.is_ascii_digit().then(|| i32::from(c - b'0'));
    let (hours, minutes) = (d(h1)? * 10 + d(h0)?, d(m1)? * 10 + d(m0)?);
    (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)
}

/// Fraction digits at the start of `text`: nanoseconds, how many digits count, and what follows them. At least one.
#[inline]
pub(super) fn fraction(text: &[u8]) -> Option<(i64, u8, &[u8])> {
    let mut value = 0i64;
    let mut n = 0usize;
    while let Some(c) = text.get(n).filter(|c| c.is_ascii_digit()) {
        if n < 9 {
            value = value * 10 + i64::from(c - b'0');
        }
        n += 1;
    }
    if n == 0 {
        return None;
    }
    let digits = n.min(9);
    Some((value * POW10[9 - digits], digits as u8, &text[n..]))
}

/// Is this exactly `YYYY-MM-DDThh:mm:ss[.f…]Z`, and does that instant exist?
///
/// Capital `T` and `Z`, any number of fraction digits but at least one after a point, the calendar and leap seconds
/// checked (see the module). This is the rule of `validate` for log and metric timestamps.
#[inline]
#[must_use]
pub fn is_canonical_utc(text: &[u8]) -> bool {
    fraction_digits_of_canonical(text).is_some()
}

/// Is this what `normalize` writes: [`is_canonical_utc`] with at least three fraction digits? Then the text is left as
/// it is, finer digits included.
#[inline]
#[must_use]
pub fn is_normalized(text: &[u8]) -> bool {
    fraction_digits_of_canonical(text).is_some_and(|n| n >= 3)
}

/// The instant of a text that [`is_normalized`], read once; `None` for any other text.
#[inline]
#[must_use]
pub fn parse_normalized(text: &[u8]) -> Option<Stamp> {
    let (fixed, rest) = text.split_first_chunk::<19>()?;
    if fixed[17] == b'6' {
        // Leap seconds have a rule of their own.
        return if is_normalized(text) { parse_rfc3339(text) } else { None };
    }
    let layout = fixed[10] == b'T' && matches!(rest, [b'.', digits @ .., b'Z'] if digits.len() >= 3);
    if layout { parse_rfc3339(text) } else { None }
}

/// The number of fraction digits of a canonical text, `None` where it is not canonical.
#[inline]
fn fraction_digits_of_canonical(text: &[u8]) -> Option<usize> {
    let (fixed, rest) = text.split_first_chunk::<19>()?;
    if fixed[10] != b'T' {
        return None;
    }
    let digits = match rest {
        [b'Z'] => 0,
        [b'.', a, b, c, b'Z'] if a.is_ascii_digit() & b.is_ascii_digit() & c.is_ascii_digit() => 3,
        [b'.', digits @ .., b'Z'] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => digits.len(),
        _ => return None,
    };
    let h = head(fixed)?;
    let last_second = h.secs == 86_400 && matches!((h.month, h.day), (6, 30) | (12, 31));
    (!h.leap || last_second).then_some(digits)
}

//! Writing RFC 3339 in UTC.

use super::civil::date_from_days;
use super::{NS_PER_SEC, POW10, SECS_PER_DAY};

/// `00` to `99`, two bytes each.
const TWO: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// Two digits; `n` must be below 100.
#[inline]
pub(super) fn two(n: u32) -> [u8; 2] {
    let i = (n as usize % 100) * 2;
    [TWO[i], TWO[i + 1]]
}

/// `YYYY-MM-DD`.
fn date(days: i64) -> [u8; 10] {
    let (year, month, day) = date_from_days(days);
    let year = year.clamp(0, 9999) as u32;
    let ([a, b], [c, d]) = (two(year / 100), two(year % 100));
    let ([e, f], [g, h]) = (two(u32::from(month)), two(u32::from(day)));
    [a, b, c, d, b'-', e, f, b'-', g, h]
}

/// Appends `YYYY-MM-DDThh:mm:ss.fff…Z` with `digits` fraction digits, at least 3 and at most 9; finer ones are cut off.
pub fn write_rfc3339_utc(ns: i64, digits: u8, out: &mut Vec<u8>) {
    let days = ns.div_euclid(NS_PER_SEC * SECS_PER_DAY);
    write(&date(days), ns, digits, out);
}

/// [`write_rfc3339_utc`] that remembers the text of the day it wrote last.
///
/// For a worker that writes one timestamp after the other: lines come in days.
#[derive(Clone, Debug)]
pub struct Rfc3339Writer {
    day: i64,
    text: [u8; 10],
}

impl Default for Rfc3339Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Rfc3339Writer {
    /// A writer that has not seen a day yet.
    #[must_use]
    pub fn new() -> Self {
        Rfc3339Writer { day: 0, text: date(0) }
    }

    /// Appends the instant, as [`write_rfc3339_utc`] does.
    #[inline]
    pub fn write(&mut self, ns: i64, digits: u8, out: &mut Vec<u8>) {
        let day = ns.div_euclid(NS_PER_SEC * SECS_PER_DAY);
        if day != self.day {
            self.day = day;
            self.text = date(day);
        }
        write(&self.text, ns, digits, out);
    }
}

#[inline]
fn write(date: &[u8; 10], ns: i64, digits: u8, out: &mut Vec<u8>) {
    let in_day = ns.rem_euclid(NS_PER_SEC * SECS_PER_DAY);
    let (secs, nanos) = ((in_day / NS_PER_SEC) as u32, (in_day % NS_PER_SEC) as u32);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    text[..10].copy_from_slice(date);
    text[11..13].copy_from_slice(&two(secs / 3600));
    text[14..16].copy_from_slice(&two(secs / 60 % 60));
    text[17..19].copy_from_slice(&two(secs % 60));
    if digits <= 3 {
        let ms = nanos / 1_000_000;
        text[20] = b'0' + (ms / 100) as u8;
        text[21..23].copy_from_slice(&two(ms % 100));
        text[23] = b'Z';
        out.extend_from_slice(&text[..24]);
        return;
    }
    let digits = usize::from(digits.min(9));
    let mut rest = nanos / POW10[9 - digits] as u32;
    for slot in text[20..20 + digits].iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text[20 + digits] = b'Z';
    out.extend_from_slice(&text[..=20 + digits]);
}

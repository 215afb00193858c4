//! The proleptic Gregorian calendar in integers.

use super::{NS_PER_SEC, SECS_PER_DAY};

/// Days of a month, January first, in a year that is not a leap year.
const DAYS: [u8; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Days before a month, January first, in a year that is not a leap year.
const BEFORE: [u16; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// Is this a leap year of the Gregorian calendar?
#[inline]
#[must_use]
pub(crate) fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// How many days a month has; 0 for a month that is not between 1 and 12.
#[inline]
#[must_use]
pub fn days_in_month(year: i32, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        1..=12 => DAYS[usize::from(month) - 1],
        _ => 0,
    }
}

/// Days from 1970-01-01 to a date that exists, for years 0 to 9999.
#[inline]
#[must_use]
pub(crate) fn days_from_date(year: i32, month: u8, day: u8) -> i64 {
    // The years 0 to year - 1 hold 365 days each and one more for every leap year among them. Counted 400 years
    // later, which adds 97 leap years, so that nothing goes negative; year 0 is itself one: hence 96.
    let y = i64::from(year) + 399;
    let leaps = y / 4 - y / 100 + y / 400;
    let before = i64::from(BEFORE[usize::from(month.clamp(1, 12)) - 1]) + i64::from(month > 2 && is_leap(year));
    // 719_528 days lie between 0000-01-01 and 1970-01-01.
    (i64::from(year) * 365) + leaps - 96 + before + i64::from(day) - 1 - 719_528
}

/// A date and a time of day, without zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// 0 to 9999 where it was read; what [`Civil::from_ns`] gives lies between 1677 and 2262.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59, or 60 in a leap second.
    pub second: u8,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl Civil {
    /// The date and time in UTC of an instant.
    #[must_use]
    pub fn from_ns(ns: i64) -> Civil {
        let secs = ns.div_euclid(NS_PER_SEC);
        let nanos = ns.rem_euclid(NS_PER_SEC) as u32;
        let (year, month, day) = date_from_days(secs.div_euclid(SECS_PER_DAY));
        let in_day = secs.rem_euclid(SECS_PER_DAY) as u32;
        Civil {
            year,
            month,
            day,
            hour: (in_day / 3600) as u8,
            minute: (in_day / 60 % 60) as u8,
            second: (in_day % 60) as u8,
            nanos,
        }
    }

    /// Does this date and time exist, judged without a zone? Second 60 is allowed at any hour and minute here: which
    /// instant it is depends on the offset (see [`Civil::to_ns`]).
    #[must_use]
    pub fn is_real(&self) -> bool {
        (0..=9999).contains(&self.year)
            && self.day >= 1
            && self.day <= days_in_month(self.year, self.month)
            && self.hour < 24
            && self.minute < 60
            && self.second <= 60
            && self.nanos < 1_000_000_000
    }

    /// The instant, where this is local time at `offset` seconds east of UTC.
    ///
    /// Errors: `None` where the date does not exist, the second is a leap second that was never possible, or the
    /// instant does not fit `i64` nanoseconds.
    #[must_use]
    pub fn to_ns(self, offset: i32) -> Option<i64> {
        if !self.is_real() {
            return None;
        }
        let secs = days_from_date(self.year, self.month, self.day) * SECS_PER_DAY
            + i64::from(self.hour) * 3600
            + i64::from(self.minute) * 60
            + i64::from(self.second)
            - i64::from(offset);
        if self.second == 60 && !follows_leap_second(secs) {
            return None;
        }
        secs.checked_mul(NS_PER_SEC)?.checked_add(i64::from(self.nanos))
    }

    /// Day of the year, 1 to 366.
    #[must_use]
    pub(crate) fn day_of_year(&self) -> u16 {
        let m = usize::from(self.month.clamp(1, 12)) - 1;
        BEFORE[m] + u16::from(self.day) + u16::from(self.month > 2 && is_leap(self.year))
    }

    /// Day of the week, 0 for Sunday.
    #[must_use]
    pub(crate) fn weekday(&self) -> u8 {
        (days_from_date(self.year, self.month, self.day) + 4).rem_euclid(7) as u8
    }
}

/// Is this the first second of 1 January or 1 July, which is what a leap second is counted as?
pub(crate) fn follows_leap_second(secs: i64) -> bool {
    if secs.rem_euclid(SECS_PER_DAY) != 0 {
        return false;
    }
    let (_, month, day) = date_from_days(secs.div_euclid(SECS_PER_DAY));
    day == 1 && (month == 1 || month == 7)
}

/// Year, month and day of a number of days since 1970-01-01.
///
/// Source: Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
#[inline]
#[must_use]
pub(crate) fn date_from_days(days: i64) -> (i32, u8, u8) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097) as u32;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u8;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u8;
    let year = i64::from(yoe) + era * 400 + i64::from(month <= 2);
    (year as i32, month, day)
}

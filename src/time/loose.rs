//! The common log formats, read by hand in one pass.
//!
//! Dates: `2021-12-01`, `2021/12/01`, `2021.12.01`, `20211201`, `01/Dec/2021`, `01-Dec-2021`, `01 Dec 2021`,
//! `Dec  1 [2021]`, `Dec 1, 2021`, `21/12/01` and `211201` (year first, as Spark and HDFS write them); a day name may
//! stand in front. `12/01/2021` is day or month first depending on who wrote it, so it needs a format of the user.
//! Then `T`, `_`, `:`, `-`, a comma or spaces, and a time: `13:53[:33[(.|,)f…]]`, `135333`, `13.53.33`, `1:53:33 PM`.
//! Then nothing, `Z`, an offset (`+02:00`, `+0200`, `+02`), `UTC`, `GMT`, a name of a zone (`CET`), an IANA name in
//! brackets (ignored where an offset stands before it); a year behind the time (`ctime`); brackets around the whole.
//! A date alone is its midnight. No format here is longer than [`MAX_LEN`].

use super::civil::Civil;
use super::rfc3339::{fraction, offset_seconds};
use super::zone_names::{ZoneName, zone_name};

/// Longer texts are no timestamp.
const MAX_LEN: usize = 96;

/// The zone that a text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenZone {
    /// Seconds east of UTC.
    Offset(i32),
    /// What it means may depend on where it is read.
    Name(ZoneName),
}

/// Whether a text gave the year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Year {
    /// It did.
    Written,
    /// It did not: the year is inferred from the time at which the text came.
    Missing,
}

impl Year {
    /// Written where there is one.
    pub(crate) fn of(year: Option<i32>) -> Year {
        year.map_or(Year::Missing, |_| Year::Written)
    }
}

/// What a text said: zone and year may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LooseTime {
    pub(super) civil: Civil,
    pub(super) digits: u8,
    pub(super) offset: Option<WrittenZone>,
    /// Where it is missing `civil.year` means nothing.
    pub(super) year: Year,
}

const MONTHS: [&[u8]; 12] = [
    b"january",
    b"february",
    b"march",
    b"april",
    b"may",
    b"june",
    b"july",
    b"august",
    b"september",
    b"october",
    b"november",
    b"december",
];

const DAY_NAMES: [&[u8]; 7] = [b"sunday", b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday"];

/// Reads a trimmed text.
pub(super) fn read(text: &[u8]) -> Option<LooseTime> {
    let text = match text {
        [b'[', inner @ .., b']'] | [b'(', inner @ .., b')'] => inner.trim_ascii(),
        text => text,
    };
    if text.len() > MAX_LEN || text.len() < 6 {
        return None;
    }
    let mut c = Cursor { rest: text };
    let found = if c.peek()?.is_ascii_digit() { c.digits_first()? } else { c.name_first()? };
    (c.rest.is_empty() && found.civil_is_plausible()).then_some(found)
}

/// `+02:00`, `-0330`, `+02` and nothing else.
pub(super) fn offset_only(text: &[u8]) -> Option<i32> {
    let mut c = Cursor { rest: text };
    let seconds = c.offset()?;
    c.rest.is_empty().then_some(seconds)
}

impl LooseTime {
    /// Without year the day is judged in a leap year; the caller finds one in which it exists.
    fn civil_is_plausible(&self) -> bool {
        let year = if self.year == Year::Written { self.civil.year } else { 2000 };
        Civil { year, ..self.civil }.is_real()
    }
}

/// Year, month, day; the year `None` where it was not written (yet).
type Date = (Option<i32>, u8, u8);

/// What is left of the text.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes this byte if it is next.
    fn eat(&mut self, byte: u8) -> bool {
        let hit = self.peek() == Some(byte);
        if hit {
            self.rest = &self.rest[1..];
        }
        hit
    }

    /// Takes one of these bytes if one is next.
    fn eat_any(&mut self, set: &[u8]) -> Option<u8> {
        let byte = self.peek().filter(|b| set.contains(b))?;
        self.rest = &self.rest[1..];
        Some(byte)
    }

    fn spaces(&mut self) -> usize {
        let n = self.rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        self.rest = &self.rest[n..];
        n
    }

    /// How many digits are next.
    fn run(&self) -> usize {
        self.rest.iter().take_while(|b| b.is_ascii_digit()).count()
    }

    /// Takes exactly `n` digits.
    fn fixed(&mut self, n: usize) -> Option<u32> {
        let (head, rest) = self.rest.split_at_checked(n)?;
        let value = head.iter().try_fold(0u32, |v, b| {
            b.is_ascii_digit().then(|| v.wrapping_mul(10).wrapping_add(u32::from(b.wrapping_sub(b'0'))))
        })?;
        self.rest = rest;
        Some(value)
    }

    /// Takes one or two digits, and no third may follow.
    fn short(&mut self) -> Option<u8> {
        match self.run() {
            n @ 1..=2 => Some(self.fixed(n)? as u8),
            _ => None,
        }
    }

    fn year4(&mut self) -> Option<i32> {
        (self.run() == 4).then(|| self.fixed(4))?.map(|y| y as i32)
    }

    /// Takes a run of letters.
    fn word(&mut self) -> &'a [u8] {
        let n = self.rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        let (word, rest) = self.rest.split_at(n);
        self.rest = rest;
        word
    }

    /// Takes a month's name or its first three letters.
    fn month(&mut self) -> Option<u8> {
        let word = self.word();
        self.eat(b'.');
        named(&MONTHS, word).map(|i| i as u8 + 1)
    }

    /// The text starts with a digit: the date's first number decides.
    fn digits_first(&mut self) -> Option<LooseTime> {
        let date = match self.run() {
            4 => {
                let year = self.year4()?;
                let sep = self.eat_any(b"-/.")?;
                let month = if self.peek()?.is_ascii_digit() { self.short()? } else { self.month()? };
                if !self.eat(sep) {
                    return None;
                }
                (Some(year), month, self.short()?)
            }
            // 20211201 and, run together with the time, 20211201135333.
            8 | 14 => (Some(self.fixed(4)? as i32), self.fixed(2)? as u8, self.fixed(2)? as u8),
            6 => {
                let (y, m, d) = (self.fixed(2)?, self.fixed(2)?, self.fixed(2)?);
                if self.rest.is_empty() {
                    return None; // six digits alone are an epoch, not a date
                }
                (Some(2000 + y as i32), m as u8, d as u8)
            }
            1 | 2 => self.day_first()?,
            _ => return None,
        };
        self.after_date(date)
    }

    /// `01/Dec/2021`, `01 Dec 2021`, `01-Dec-21`, or `21/12/01`.
    fn day_first(&mut self) -> Option<Date> {
        let two_digits = self.run() == 2;
        let first = self.short()?;
        let sep = self.eat_any(b"/- .")?;
        self.spaces();
        if self.peek()?.is_ascii_digit() {
            if !two_digits || sep != b'/' || self.run() != 2 {
                return None;
            }
            let month = self.fixed(2)? as u8;
            if !self.eat(b'/') || self.run() != 2 {
                return None;
            }
            let day = self.fixed(2)? as u8;
            return Some((Some(2000 + i32::from(first)), month, day));
        }
        let month = self.month()?;
        self.eat_any(b"/-,");
        self.spaces();
        let year = match self.run() {
            4 => self.year4()?,
            // RFC 2822, section 4.3: 00 to 49 are of this century.
            2 => match self.fixed(2)? as i32 {
                y @ 0..=49 => 2000 + y,
                y => 1900 + y,
            },
            _ => return None,
        };
        Some((Some(year), month, first))
    }

    /// The text starts with a name: of a day, or of a month.
    fn name_first(&mut self) -> Option<LooseTime> {
        let before = self.rest;
        let word = self.word();
        if named(&DAY_NAMES, word).is_some() {
            self.eat(b'.');
            self.eat(b',');
            if self.spaces() == 0 {
                return None;
            }
            if self.peek()?.is_ascii_digit() {
                return self.digits_first();
            }
        } else {
            self.rest = before;
        }
        let month = self.month()?;
        self.eat(b'-');
        self.spaces();
        let day = self.short()?;
        let comma = self.eat(b',');
        // `Jan 2 2006 15:04:05`, `Jan 2, 2006 …` and the syslog form `Jan  2 15:04:05`.
        let save = self.rest;
        let spaced = self.spaces();
        let year = if spaced > 0 && self.run() == 4 { self.year4() } else { None };
        if year.is_none() {
            if comma {
                return None;
            }
            self.rest = save;
        }
        self.after_date((year, month, day))
    }

    /// What may follow a date: a time, a zone, a year.
    fn after_date(&mut self, (year, month, day): Date) -> Option<LooseTime> {
        let mut civil = Civil { year: year.unwrap_or(0), month, day, hour: 0, minute: 0, second: 0, nanos: 0 };
        if self.rest.is_empty() {
            // A date alone must have a year and separators: eight digits are an epoch.
            return year.map(|_| LooseTime { civil, digits: 0, offset: None, year: Year::Written });
        }
        let sep = self.eat_any(b"Tt_:-,");
        let spaces = self.spaces();
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return None;
        }
        if sep.is_none() && spaces == 0 && self.run() != 6 {
            return None;
        }
        let digits = self.time(&mut civil)?;
        let (offset, late_year) = self.after_time(Year::of(year))?;
        if let Some(y) = late_year {
            civil.year = y;
        }
        Some(LooseTime { civil, digits, offset, year: Year::of(year.or(late_year)) })
    }

    /// Takes a time of day; gives the number of fraction digits.
    fn time(&mut self, civil: &mut Civil) -> Option<u8> {
        let mut seconds = true;
        match self.run() {
            6 => {
                civil.hour = self.fixed(2)? as u8;
                civil.minute = self.fixed(2)? as u8;
                civil.second = self.fixed(2)? as u8;
            }
            1 | 2 => {
                civil.hour = self.short()?;
                let sep = self.eat_any(b":.")?;
                civil.minute = (self.run() == 2).then(|| self.fixed(2))?? as u8;
                seconds = self.eat(sep);
                if seconds {
                    civil.second = (self.run() == 2).then(|| self.fixed(2))?? as u8;
                } else if sep == b'.' {
                    return None; // 13.53 is a number
                }
            }
            _ => return None,
        }
        let mut digits = 0;
        if seconds && self.rest.get(1).is_some_and(u8::is_ascii_digit) && self.eat_any(b".,").is_some() {
            let (nanos, n, rest) = fraction(self.rest)?;
            civil.nanos = nanos as u32;
            digits = n;
            self.rest = rest;
        }
        self.half_day(civil)?;
        Some(digits)
    }

    /// `AM` and `PM`.
    fn half_day(&mut self, civil: &mut Civil) -> Option<()> {
        let save = self.rest;
        self.spaces();
        let word = self.word();
        let pm = word.eq_ignore_ascii_case(b"pm");
        if !pm && !word.eq_ignore_ascii_case(b"am") {
            self.rest = save;
            return Some(());
        }
        if !(1..=12).contains(&civil.hour) {
            return None;
        }
        civil.hour = civil.hour % 12 + if pm { 12 } else { 0 };
        Some(())
    }

    /// Takes zone and, where one is still missing, the year, in either order; then nothing may be left.
    fn after_time(&mut self, before: Year) -> Option<(Option<WrittenZone>, Option<i32>)> {
        let (mut offset, mut year) = (None, None);
        loop {
            let spaces = self.spaces();
            match self.peek() {
                None => return Some((offset, year)),
                Some(b'+' | b'-') if offset.is_none() => offset = Some(WrittenZone::Offset(self.offset()?)),
                Some(b'0'..=b'9') if before == Year::Missing && year.is_none() && spaces > 0 => {
                    year = Some(self.year4()?)
                }
                // `[Europe/Berlin]` of RFC 9557 only repeats what the offset says.
                Some(b'[') if offset.is_some() && self.rest.last() == Some(&b']') => self.rest = &[],
                // Go's monotonic reading.
                Some(b'm') if offset.is_some() && self.rest.starts_with(b"m=") => self.rest = &[],
                Some(b) if b.is_ascii_alphabetic() => {
                    let word = self.word();
                    match (zone_name(word), offset) {
                        (Some(name), None) => offset = Some(WrittenZone::Name(name)),
                        // `+0200 CEST`, `+0000 UTC`: the number counts.
                        (_, Some(_)) if word.len() <= 5 => {}
                        _ => return None,
                    }
                    // `UTC+2`, `GMT-0700`.
                    let utc = matches!(word.to_ascii_uppercase().as_slice(), b"UTC" | b"GMT" | b"UT" | b"Z");
                    if utc && matches!(self.peek(), Some(b'+' | b'-')) {
                        offset = Some(WrittenZone::Offset(self.offset()?));
                    }
                }
                // `(CEST)` behind an offset, as mail has it.
                Some(b'(') if offset.is_some() && self.rest.last() == Some(&b')') => self.rest = &[],
                Some(_) => return None,
            }
        }
    }

    /// Takes `+02:00`, `+0200`, `+02` or `+2`.
    fn offset(&mut self) -> Option<i32> {
        let negative = self.eat_any(b"+-")? == b'-';
        let seconds = match (self.run(), self.rest) {
            (4, [a, b, c, d, rest @ ..]) => {
                self.rest = rest;
                offset_seconds(*a, *b, *c, *d)?
            }
            (2, [a, b, b':', c, d, rest @ ..]) => {
                self.rest = rest;
                offset_seconds(*a, *b, *c, *d)?
            }
            (2, [a, b, rest @ ..]) => {
                self.rest = rest;
                offset_seconds(*a, *b, b'0', b'0')?
            }
            (1, [a, rest @ ..]) => {
                self.rest = rest;
                offset_seconds(b'0', *a, b'0', b'0')?
            }
            _ => return None,
        };
        Some(if negative { -seconds } else { seconds })
    }
}

/// The index of a name, written out or as its first three letters (`Sept` and `Thur` too).
fn named(names: &[&[u8]], word: &[u8]) -> Option<usize> {
    if word.len() < 3 {
        return None;
    }
    names.iter().position(|name| {
        let full = name.len() == word.len();
        let short = word.len() <= 4 && word.len() < name.len();
        (full || short) && name[..word.len()].eq_ignore_ascii_case(word)
    })
}

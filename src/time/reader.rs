//! [`TimestampReader`]: a timestamp in whatever spelling a log uses.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::loose::{self, LooseTime, WrittenZone, Year};
use super::zone_names::OwnNames;
use super::{Civil, InputFormat, NS_PER_SEC, POW10, Stamp, parse_rfc3339};

/// How far ahead of now a timestamp without year may lie before it is taken for last year's: clocks and zones differ.
const AHEAD_NS: i64 = 2 * 86_400 * NS_PER_SEC;

/// The zone of timestamps that name none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Utc,
    /// Seconds east of UTC.
    Fixed(i32),
    Named(TimeZone, OwnNames),
}

/// A zone name that is in no database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneError {
    /// What was written.
    pub name: String,
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown time zone `{}`, expected `UTC`, `local`, an offset like `+02:00` or a name like `Europe/Berlin`",
            self.name
        )
    }
}

impl std::error::Error for ZoneError {}

impl Default for Zone {
    fn default() -> Self {
        Zone::UTC
    }
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Zone = Zone(Kind::Utc);

    /// `UTC`, `Z`, `local` (the zone of this machine), an offset (`+02:00`, `-0330`) or an IANA name; the database is
    /// built in.
    ///
    /// Errors: a name that is none of these.
    pub fn parse(name: &str) -> Result<Zone, ZoneError> {
        let text = name.trim();
        match text.to_ascii_lowercase().as_str() {
            "utc" | "z" | "gmt" => return Ok(Zone::UTC),
            "local" => return Ok(Zone::named(TimeZone::system())),
            _ => {}
        }
        if let Some(seconds) = loose::offset_only(text.as_bytes()) {
            return Ok(Zone(Kind::Fixed(seconds)));
        }
        match TimeZone::get(text) {
            Ok(zone) if !text.is_empty() => Ok(Zone::named(zone)),
            _ => Err(ZoneError { name: name.to_owned() }),
        }
    }

    /// A zone of jiff's, as [`BuildContext`](crate::component::BuildContext) carries it.
    #[must_use]
    pub fn from_jiff(zone: TimeZone) -> Zone {
        if zone == TimeZone::UTC { Zone::UTC } else { Zone::named(zone) }
    }

    fn named(zone: TimeZone) -> Zone {
        let own = OwnNames::of(&zone);
        Zone(Kind::Named(zone, own))
    }

    /// Seconds east of UTC that a zone in a text means here.
    #[must_use]
    pub fn seconds_of(&self, written: WrittenZone) -> i32 {
        match (written, &self.0) {
            (WrittenZone::Offset(seconds), _) => seconds,
            (WrittenZone::Name(name), Kind::Named(_, own)) => own.seconds(name),
            (WrittenZone::Name(name), _) => OwnNames::default().seconds(name),
        }
    }

    /// The instant of a local date and time in this zone; in a gap or fold of daylight saving time the earlier offset
    /// counts, as RFC 5545 has it.
    #[must_use]
    pub fn to_ns(&self, civil: &Civil) -> Option<i64> {
        match &self.0 {
            Kind::Utc => civil.to_ns(0),
            Kind::Fixed(seconds) => civil.to_ns(*seconds),
            Kind::Named(zone, _) => {
                if !civil.is_real() {
                    return None;
                }
                let local = DateTime::new(
                    i16::try_from(civil.year).ok()?,
                    civil.month as i8,
                    civil.day as i8,
                    civil.hour as i8,
                    civil.minute as i8,
                    civil.second.min(59) as i8,
                    0,
                )
                .ok()?;
                let secs = zone.to_ambiguous_timestamp(local).compatible().ok()?.as_second();
                let offset = zone.to_offset(jiff::Timestamp::from_second(secs).ok()?).seconds();
                // Only a whole second was asked about; a leap second is judged by its instant.
                if civil.second == 60 {
                    return civil.to_ns(offset);
                }
                secs.checked_mul(NS_PER_SEC)?.checked_add(i64::from(civil.nanos))
            }
        }
    }

    /// The local date and time of an instant in this zone.
    #[must_use]
    pub fn civil(&self, ns: i64) -> Civil {
        let offset = match &self.0 {
            Kind::Utc => 0,
            Kind::Fixed(seconds) => *seconds,
            Kind::Named(zone, _) => {
                jiff::Timestamp::from_second(ns.div_euclid(NS_PER_SEC)).map_or(0, |at| zone.to_offset(at).seconds())
            }
        };
        Civil::from_ns(ns.saturating_add(i64::from(offset) * NS_PER_SEC))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Utc => f.write_str("UTC"),
            Kind::Fixed(s) => {
                let sign = if *s < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", s.abs() / 3600, s.abs() / 60 % 60)
            }
            Kind::Named(zone, _) => f.write_str(zone.iana_name().unwrap_or("local")),
        }
    }
}

/// Reads timestamps in the spellings that logs use, and in formats of the user.
///
/// In order: RFC 3339; the user's formats; epochs; the common formats (`src/time/loose.rs` lists them). Allocates
/// nothing; a worker may share one.
#[derive(Clone, Debug, Default)]
pub struct TimestampReader {
    zone: Zone,
    formats: Vec<InputFormat>,
    /// Two formats read the same texts.
    has_rivals: bool,
}

/// A date that could as well be another day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// How it was read; `None` where it was not, for that reason.
    pub taken: Option<String>,
    /// How it could be read as well.
    pub other: String,
}

impl TimestampReader {
    /// A reader that takes what names no zone as local to `zone`.
    #[must_use]
    pub fn new(zone: Zone, formats: Vec<InputFormat>) -> TimestampReader {
        let shapes: Vec<String> = formats.iter().map(InputFormat::shape).collect();
        let has_rivals = (1..shapes.len()).any(|n| shapes[..n].contains(&shapes[n]));
        TimestampReader { zone, formats, has_rivals }
    }

    /// Whether it is worth asking for a [`doubt`](TimestampReader::doubt) about a text: it begins with numbers of two digits
    /// at most, or there are formats that read the same texts.
    #[inline]
    #[must_use]
    pub fn may_doubt(&self, text: &[u8]) -> bool {
        let is_short = |at: usize| matches!(text.get(at), Some(b'/' | b'-' | b'.'));
        self.has_rivals || (text.first().is_some_and(u8::is_ascii_digit) && (is_short(1) || is_short(2)))
    }

    /// Whether the numbers of a date could be those of another day: two of the formats read it and differ, or no format
    /// does and day and month (or year, in `05/04/26`, which is taken to be first) could change places.
    #[cold]
    #[must_use]
    pub fn doubt(&self, text: &[u8]) -> Option<Doubt> {
        let text = text.trim_ascii();
        let mut found = self.formats.iter().filter_map(|format| Some((format, format.read(text)?)));
        if let Some((taken, first)) = found.next() {
            let (other, _) = found.find(|(_, other)| other.civil != first.civil)?;
            return Some(Doubt { taken: Some(taken.as_str().to_owned()), other: other.as_str().to_owned() });
        }
        let parts: Vec<&[u8]> = text.splitn(3, |c| matches!(c, b'/' | b'-' | b'.')).collect();
        let &[a, b, rest] = &parts[..] else { return None };
        let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        let number = |text: &[u8]| {
            let short = (1..=2).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
            short.then(|| text.iter().fold(0, |n, c| n * 10 + u32::from(c - b'0')))
        };
        let (a, b) = (number(a)?, number(b)?);
        let month = |n: u32| (1..=12).contains(&n);
        match digits {
            4 if month(a) && month(b) && a != b => Some(Doubt { taken: None, other: "%d/%m/%Y` or `%m/%d/%Y".into() }),
            2 if (1..=31).contains(&a) && month(b) && loose::read(text).is_some() => {
                Some(Doubt { taken: Some("%y/%m/%d".into()), other: "%d/%m/%y".into() })
            }
            _ => None,
        }
    }

    /// The zone for timestamps without one.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Reads a text: a string's content, or a number in its own spelling.
    ///
    /// `now_ns` (the batch's time) chooses the year where the text has none: the latest year that puts it no more than
    /// two days ahead of now.
    /// Errors: `None` where no spelling fits, the date does not exist, or the instant does not fit.
    #[inline]
    #[must_use]
    pub fn read(&self, text: &[u8], now_ns: i64) -> Option<Stamp> {
        match parse_rfc3339(text) {
            Some(stamp) => Some(stamp),
            None => self.read_loose(text, now_ns),
        }
    }

    /// An epoch as an integer: seconds, milliseconds, microseconds or nanoseconds by its size.
    #[must_use]
    pub fn read_i64(&self, n: i64) -> Option<Stamp> {
        let (unit, digits) = epoch_unit(n.unsigned_abs());
        Some(Stamp { ns: n.checked_mul(unit)?, digits })
    }

    /// An epoch as a float. Digits that a double cannot hold (finer than a microsecond for seconds of today) are
    /// rounded away.
    #[must_use]
    pub fn read_f64(&self, n: f64) -> Option<Stamp> {
        if !n.is_finite() {
            return None;
        }
        let (unit, digits) = epoch_unit(n.abs() as u64);
        let whole = n.trunc();
        if whole.abs() >= i64::MAX as f64 {
            return None;
        }
        let micros_per_unit = (unit / 1_000).max(1);
        let micros = ((n - whole) * micros_per_unit as f64).round() as i64;
        let ns = (whole as i64).checked_mul(unit)?;
        if unit < 1_000 {
            return Some(Stamp { ns, digits });
        }
        let digits = if micros % 1_000 == 0 { digits.max(3) } else { 6 };
        Some(Stamp { ns: ns.checked_add(micros * 1_000)?, digits })
    }

    #[cold]
    fn read_loose(&self, text: &[u8], now_ns: i64) -> Option<Stamp> {
        let text = text.trim_ascii();
        // User formats come before epochs: `%Y%m%d%H%M%S` is digits too, and whoever writes it means it.
        for format in &self.formats {
            if let Some(found) = format.read(text) {
                return self.settle(found, now_ns);
            }
        }
        if let Some(stamp) = epoch(text) {
            return Some(stamp);
        }
        self.settle(loose::read(text)?, now_ns)
    }

    /// Zone and year for what was found.
    fn settle(&self, found: LooseTime, now_ns: i64) -> Option<Stamp> {
        let LooseTime { mut civil, digits, offset, year } = found;
        let resolve = |civil: &Civil| match offset {
            Some(written) => civil.to_ns(self.zone.seconds_of(written)),
            None => self.zone.to_ns(civil),
        };
        if year == Year::Written {
            return Some(Stamp { ns: resolve(&civil)?, digits });
        }
        let this_year = self.zone.civil(now_ns).year;
        // Next year first: on New Year's Eve a clock that is ahead already writes January. 29 February may have to go
        // back eight years (1896 to 1904).
        for year in (this_year - 8..=this_year + 1).rev() {
            civil.year = year;
            if let Some(ns) = resolve(&civil).filter(|ns| *ns <= now_ns.saturating_add(AHEAD_NS)) {
                return Some(Stamp { ns, digits });
            }
        }
        None
    }
}

/// Nanoseconds per unit of an epoch of this size, and the fraction digits that go with the unit.
fn epoch_unit(n: u64) -> (i64, u8) {
    match n {
        0..31_536_000_000 => (NS_PER_SEC, 0),
        31_536_000_000..31_536_000_000_000 => (1_000_000, 3),
        31_536_000_000_000..31_536_000_000_000_000 => (1_000, 6),
        _ => (1, 9),
    }
}

/// An epoch in decimal spelling, exactly: `[+-]digits[.digits][(e|E)exponent]`.
fn epoch(text: &[u8]) -> Option<Stamp> {
    let (negative, body) = match text {
        [b'-', body @ ..] => (true, body),
        [b'+', body @ ..] => (false, body),
        body => (false, body),
    };
    let whole_len = body.iter().take_while(|c| c.is_ascii_digit()).count();
    if whole_len == 0 || whole_len > 19 {
        return None;
    }
    let (whole_text, rest) = body.split_at(whole_len);
    let whole = whole_text.iter().try_fold(0u64, |n, c| n.checked_mul(10)?.checked_add(u64::from(c - b'0')))?;
    let fraction = match rest {
        [] => &rest[..0],
        [b'.', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => digits,
        // `1.7e9`: no logger writes it, but JSON allows it.
        _ if rest.iter().all(|c| matches!(c, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) => {
            let n: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            return TimestampReader::default().read_f64(n);
        }
        _ => return None,
    };
    let (unit, unit_digits) = epoch_unit(whole);
    let sub = usize::from(9 - unit_digits);
    let kept = &fraction[..fraction.len().min(sub)];
    let nanos = kept.iter().fold(0i64, |n, c| n * 10 + i64::from(c - b'0')) * POW10[sub - kept.len()];
    let ns = i64::try_from(whole).ok()?.checked_mul(unit)?.checked_add(nanos)?;
    Some(Stamp { ns: if negative { -ns } else { ns }, digits: unit_digits + kept.len() as u8 })
}

//! Times as headers of syslog have them.
//!
//! ```text
//! 2026-10-01T10:00:00.123Z   2026-10-01T10:00:00+0200   2026-10-01 10:00:00,123   2026/10/01 10:00:00
//! Oct  1 10:00:00   Oct 1 2026 10:00:00   Oct  1 10:00:00 2026   Oct  1 10:00:00.123 CEST   Thu Oct  1 10:00:00 2026
//! 2026 Oct  1 10:00:00   1 Oct 2026 10:00:00   1-Oct-2026 10:00:00   2026:10:01-10:00:00 (Sophos)   10/01/2026:10:00:00 GMT (NetScaler)
//! Oct  1 10:00:00:123 2026 (Comware)   Oct 01 2026 04:03:01 PM.688 UTC (CUCM)   July 1 10:00:00 (ACI)
//! ```
//!
//! Behind the clock may stand, once each and in any order, `AM` or `PM`, the year and a zone: its name in capitals (in any
//! letters before a colon), an offset, or both as in `UTC+02:00`; `DST` behind it says nothing more. A colon ends the time.
//! A date with slashes has its month first, unless that is over 12.

use super::{Line, When};
use crate::framing::span::Span;
use crate::time::{Civil, WrittenZone, Year, offset_seconds, parse_rfc3339, zone_name};

/// A time that was found in a header.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundTime {
    pub(super) when: When,
    /// Behind the time, its zone and its colon.
    pub(super) end: usize,
    /// There was a colon behind it.
    pub(super) ended: bool,
}

/// Names of zones that are words as well: they are zones only before a colon.
const WORDS: [&[u8]; 12] =
    [b"GET", b"EAT", b"CAT", b"PET", b"ART", b"MET", b"WIT", b"WAT", b"COT", b"BOT", b"VET", b"SST"];

/// Months as they begin.
const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

/// The time at `at`.
pub(super) fn header_time(line: &Line<'_>, at: usize) -> Option<FoundTime> {
    match line.byte(at)? {
        b'0'..=b'9' => digits_first(line, at),
        c if c.is_ascii_alphabetic() => name_first(line, at),
        _ => None,
    }
}

/// Seconds since 1970 with or without a fraction, as Meraki writes them behind the version; the position behind.
pub(super) fn epoch(line: &Line<'_>, at: usize) -> Option<(When, usize)> {
    let word = line.word(at);
    let text = word.of(line.text);
    let (whole, fraction) = match memchr::memchr(b'.', text) {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &text[..0]),
    };
    if !(9..=10).contains(&whole.len()) || fraction.len() > 9 || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let number = |text: &[u8]| text.iter().fold(0i64, |n, c| n * 10 + i64::from(c - b'0'));
    let nanos = number(fraction) * crate::time::POW10[9 - fraction.len()];
    Some((When::Instant(number(whole) * crate::time::NS_PER_SEC + nanos), word.end))
}

/// A time in one word, with a date and a zone or without: RFC 3339 and slips of it.
pub(super) fn iso_word(line: &Line<'_>, word: Span) -> Option<When> {
    let text = word.of(line.text);
    if parse_rfc3339(text).is_some() {
        return Some(When::Exact(word));
    }
    let (civil, at) = match text.get(8) {
        Some(b'T') => compact(line, word.start)?,
        _ => {
            let (mut civil, at) = date(line, word.start)?;
            if !matches!(line.byte(at), Some(b'T' | b't')) {
                return None;
            }
            let at = clock(line, at + 1, &mut civil)?;
            (civil, at)
        }
    };
    let (zone, at) = match glued_zone(line, at) {
        Some((zone, at)) => (Some(zone), at),
        None => (None, at),
    };
    (at == word.end && civil.is_real()).then_some(When::Local { civil, year: Year::Written, zone })
}

/// `20261001T100000` of ISO 8601, and the position behind.
fn compact(line: &Line<'_>, at: usize) -> Option<(Civil, usize)> {
    let part = |from: usize, len: usize| digits(line, at + from, len).filter(|(_, end)| *end == at + from + len);
    let two = |from: usize| part(from, 2).map(|(n, _)| n as u8);
    let (year, _) = part(0, 4)?;
    let civil = Civil {
        year: year as i32,
        month: two(4)?,
        day: two(6)?,
        hour: two(9)?,
        minute: two(11)?,
        second: two(13)?,
        nanos: 0,
    };
    Some((civil, at + 15))
}

fn digits_first(line: &Line<'_>, at: usize) -> Option<FoundTime> {
    let word = line.word(at);
    let text = word.of(line.text);
    // The common one first: all in one word.
    let bare = Span::new(word.start, word.end - usize::from(text.ends_with(b":")));
    if text.len() > 10
        && let Some(when) = iso_word(line, bare)
    {
        let local = matches!(when, When::Local { zone: None, .. });
        return match when {
            When::Local { civil, .. } if local && bare.end == word.end => {
                after_clock(line, bare.end, civil, Year::Written)
            }
            when => Some(FoundTime { when, end: word.end, ended: bare.end < word.end }),
        };
    }
    if let Some((civil, at)) = date(line, at).or_else(|| american_date(line, at)).or_else(|| dashed_date(line, at)) {
        let mut civil = civil;
        let start = match line.byte(at)? {
            b' ' => line.skip_blanks(at),
            b'-' | b':' | b'T' | b'_' => at + 1,
            _ => return None,
        };
        let end = clock(line, start, &mut civil)?;
        return after_clock(line, end, civil, Year::Written);
    }
    let (number, end) = digits(line, at, 4)?;
    let year = (end == at + 4).then_some(number as i32);
    if line.byte(end) != Some(b' ') {
        return None;
    }
    let at = line.skip_blanks(end);
    match year {
        // `2026 Oct  1 10:00:00`
        Some(year) => {
            let (mut civil, written, at) = month_first(line, at)?;
            if written == Year::Written {
                return None;
            }
            civil.year = year;
            let end = clock(line, at, &mut civil)?;
            after_clock(line, end, civil, Year::Written)
        }
        // `1 Oct [2026] 10:00:00`
        None => {
            let (month, at) = month(line, at)?;
            let mut civil = Civil { year: 0, month, day: number as u8, hour: 0, minute: 0, second: 0, nanos: 0 };
            let (year, at) = year_before_clock(line, line.skip_blanks(at));
            civil.year = year.unwrap_or(0);
            let end = clock(line, at, &mut civil)?;
            after_clock(line, end, civil, Year::of(year))
        }
    }
}

fn name_first(line: &Line<'_>, at: usize) -> Option<FoundTime> {
    let at = after_day_name(line, at);
    if line.byte(at)?.is_ascii_digit() {
        return digits_first(line, at);
    }
    let (mut civil, year, at) = month_first(line, at)?;
    let end = clock(line, at, &mut civil)?;
    after_clock(line, end, civil, year)
}

/// Behind `Thu ` or `Thu, `.
fn after_day_name(line: &Line<'_>, at: usize) -> usize {
    const DAYS: [&[u8; 3]; 7] = [b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun"];
    let Some(name) = line.text.get(at..at + 3) else { return at };
    if !DAYS.iter().any(|day| day.eq_ignore_ascii_case(name)) {
        return at;
    }
    match line.rest(at + 3) {
        [b',', b' ', ..] => line.skip_blanks(at + 4),
        [b' ', ..] => line.skip_blanks(at + 3),
        _ => at,
    }
}

/// `Oct  1 [2026] `: the date, whether there was a year, and where the clock is to be.
fn month_first(line: &Line<'_>, at: usize) -> Option<(Civil, Year, usize)> {
    let (month, at) = month(line, at)?;
    let (day, at) = digits(line, line.skip_blanks(at), 2)?;
    let at = at + usize::from(line.byte(at) == Some(b','));
    if line.byte(at) != Some(b' ') {
        return None;
    }
    let (year, at) = year_before_clock(line, line.skip_blanks(at));
    let civil = Civil { year: year.unwrap_or(0), month, day: day as u8, hour: 0, minute: 0, second: 0, nanos: 0 };
    Some((civil, Year::of(year), at))
}

fn year_before_clock(line: &Line<'_>, at: usize) -> (Option<i32>, usize) {
    match digits(line, at, 4) {
        Some((year, end)) if end == at + 4 && line.byte(end) == Some(b' ') => {
            (Some(year as i32), line.skip_blanks(end))
        }
        _ => (None, at),
    }
}

/// Three letters of a month, or all of them, and the position behind the blank.
fn month(line: &Line<'_>, at: usize) -> Option<(u8, usize)> {
    let name: [u8; 3] = line.text.get(at..at + 3)?.try_into().ok()?;
    let name = name.map(|c| c.to_ascii_lowercase());
    let month = MONTHS.iter().position(|m| **m == name)?;
    let mut end = at + 3;
    if line.byte(end) != Some(b' ') {
        const REST: [&str; 12] = ["uary", "ruary", "ch", "il", "", "e", "y", "ust", "tember", "ober", "ember", "ember"];
        end += REST[month].len();
        if !line.text.get(at + 3..end)?.eq_ignore_ascii_case(REST[month].as_bytes()) {
            return None;
        }
    }
    (line.byte(end) == Some(b' ')).then_some((month as u8 + 1, end + 1))
}

/// `2026-10-01`, `2026/10/01`, `2026.10.01`, `2026:10:01` and the position behind.
fn date(line: &Line<'_>, at: usize) -> Option<(Civil, usize)> {
    let (year, end) = digits(line, at, 4)?;
    let mark = line.byte(end).filter(|c| end == at + 4 && matches!(c, b'-' | b'/' | b'.' | b':'))?;
    let (month, end) = digits(line, end + 1, 2)?;
    let (day, end) = digits(line, (line.byte(end) == Some(mark)).then_some(end + 1)?, 2)?;
    Some((
        Civil { year: year as i32, month: month as u8, day: day as u8, hour: 0, minute: 0, second: 0, nanos: 0 },
        end,
    ))
}

/// `10/01/2026:`, as NetScaler writes it.
fn american_date(line: &Line<'_>, at: usize) -> Option<(Civil, usize)> {
    let slash = |at: usize| (line.byte(at) == Some(b'/')).then_some(at + 1);
    let (month, end) = digits(line, at, 2)?;
    let (day, end) = digits(line, slash(end)?, 2)?;
    let start = slash(end)?;
    let (year, end) = digits(line, start, 4)?;
    let (month, day) = if month > 12 { (day, month) } else { (month, day) };
    (end == start + 4 && line.byte(end) == Some(b':')).then_some((
        Civil { year: year as i32, month: month as u8, day: day as u8, hour: 0, minute: 0, second: 0, nanos: 0 },
        end,
    ))
}

/// `30-Nov-2026`, as Cisco's small switches and BIND write it.
fn dashed_date(line: &Line<'_>, at: usize) -> Option<(Civil, usize)> {
    let (day, end) = digits(line, at, 2)?;
    let name = line.text.get(end + 1..end + 4)?;
    let month = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
    let (year, last) = digits(line, end + 5, 4)?;
    let dashed = line.byte(end) == Some(b'-') && line.byte(end + 4) == Some(b'-') && last == end + 9;
    dashed.then_some((
        Civil { year: year as i32, month: month as u8 + 1, day: day as u8, hour: 0, minute: 0, second: 0, nanos: 0 },
        last,
    ))
}

/// `hh:mm:ss[.f…]` or `hh:mm:ss:mmm`, noted; the position behind it.
fn clock(line: &Line<'_>, at: usize, civil: &mut Civil) -> Option<usize> {
    let colon = |at: usize| (line.byte(at) == Some(b':')).then_some(at + 1);
    let (hour, at) = digits(line, at, 2)?;
    let (minute, at) = digits(line, colon(at)?, 2)?;
    let (second, mut at) = digits(line, colon(at)?, 2)?;
    let mut nanos = 0;
    let is_fraction = match line.byte(at) {
        Some(b'.' | b',') => line.byte(at + 1).is_some_and(|c| c.is_ascii_digit()),
        Some(b':') => digits(line, at + 1, 4).is_some_and(|(_, end)| end == at + 4) && line.byte(at + 4) == Some(b' '),
        _ => false,
    };
    if is_fraction {
        at += 1;
        let mut unit = 100_000_000;
        while let Some(c) = line.byte(at).filter(u8::is_ascii_digit) {
            nanos += u32::from(c - b'0') * unit;
            unit /= 10;
            at += 1;
        }
        // Huawei's number of the message within it.
        if line.byte(at) == Some(b'.') && line.byte(at + 1).is_some_and(|c| c.is_ascii_digit()) {
            at += 1 + line.rest(at + 1).iter().take_while(|c| c.is_ascii_digit()).count();
        }
    }
    // A leap second is told as the one before it.
    let second = second - u32::from(second == 60);
    *civil = Civil { hour: hour as u8, minute: minute as u8, second: second as u8, nanos, ..*civil };
    Some(at)
}

/// What may stand after a clock.
fn after_clock(line: &Line<'_>, at: usize, civil: Civil, year: Year) -> Option<FoundTime> {
    let (mut civil, mut year, mut zone, mut at) = (civil, year, None, at);
    if let Some((glued, end)) = glued_zone(line, at) {
        (zone, at) = (Some(glued), end);
    }
    let mut ended = false;
    while !ended && line.byte(at) == Some(b' ') {
        let start = line.skip_blanks(at);
        if line.byte(start).is_some_and(|c| c.is_ascii_lowercase()) {
            // Most often the host. A zone in small letters has a colon behind it.
            let letters = line.rest(start).iter().take(8).take_while(|c| c.is_ascii_alphabetic()).count();
            if !matches!(line.byte(start + letters), Some(b':' | b'/')) {
                break;
            }
        }
        let word = line.word(start);
        let text = word.of(line.text);
        let (bare, colon) = text.strip_suffix(b":").map_or((text, false), |bare| (bare, true));
        if let Some((hour, nanos)) = half_of_day(&civil, bare) {
            civil = Civil { hour, nanos, ..civil };
        } else if bare == b"DST" {
            // Summer time, by the offset or the zone.
        } else if year == Year::Missing && is_year(bare) {
            year = Year::Written;
            civil.year = bare.iter().fold(0, |n, c| n * 10 + i32::from(c - b'0'));
        } else if zone.is_none()
            && let Some(found) = zone_word(line, Span::new(word.start, word.start + bare.len()), colon)
        {
            zone = Some(found);
        } else {
            break;
        }
        (at, ended) = (word.end, colon);
    }
    let colon = line.skip_blanks(at);
    if !ended && line.byte(colon) == Some(b':') && (colon == at || matches!(line.byte(colon + 1), None | Some(b' '))) {
        at = colon + 1;
        ended = true;
    }
    let closed = match line.byte(at) {
        None | Some(b' ') => true,
        // `10:00:00:%ASA-6-302013: …`
        Some(c) => ended && c == b'%',
    };
    // The year 2000 has every day a year can have.
    let real = Civil { year: if year == Year::Written { civil.year } else { 2000 }, ..civil }.is_real();
    (closed && real).then_some(FoundTime { when: When::Local { civil, year, zone }, end: at, ended })
}

/// The hour, and the nanoseconds, that `AM`, `PM` or `PM.688` behind a clock make of it.
fn half_of_day(civil: &Civil, word: &[u8]) -> Option<(u8, u32)> {
    let (first, fraction) = match word {
        [first @ (b'A' | b'P'), b'M'] => (first, &word[..0]),
        [first @ (b'A' | b'P'), b'M', b'.', fraction @ ..] => (first, fraction),
        _ => return None,
    };
    if !(1..=12).contains(&civil.hour) || fraction.len() > 9 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let parts = fraction.iter().fold(0u32, |n, c| n * 10 + u32::from(c - b'0'));
    let nanos = if fraction.is_empty() { civil.nanos } else { parts * crate::time::POW10[9 - fraction.len()] as u32 };
    Some((civil.hour % 12 + if *first == b'P' { 12 } else { 0 }, nanos))
}

/// Whether a word is a year that a log may have.
pub(super) fn is_year(word: &[u8]) -> bool {
    matches!(word, [b'1', b'9', b'7'..=b'9', b'0'..=b'9'] | [b'2', b'0', b'0'..=b'9', b'0'..=b'9'])
}

/// A zone as a word of its own; `colon`: it stands before one.
fn zone_word(line: &Line<'_>, word: Span, colon: bool) -> Option<WrittenZone> {
    let text = word.of(line.text);
    if matches!(text.first(), Some(b'+' | b'-')) {
        return glued_zone(line, word.start).filter(|(_, end)| *end == word.end).map(|(zone, _)| zone);
    }
    let letters = text.iter().take_while(|c| c.is_ascii_alphabetic()).count();
    // Names are looked through only for what can be one: most words here are hosts.
    match &text[letters..] {
        // `MSK/MSD`: a zone and the name of its summer time.
        [b'/', summer @ ..] => {
            let name = zone_name(&text[..letters])?;
            zone_name(summer).is_some().then_some(WrittenZone::Name(name))
        }
        [] if colon || text.iter().all(u8::is_ascii_uppercase) && !WORDS.contains(&text) => {
            zone_name(text).map(WrittenZone::Name)
        }
        // `UTC+02:00`
        [b'+' | b'-', ..] if matches!(&text[..letters], b"UTC" | b"GMT") => {
            let (zone, end) = glued_zone(line, word.start + letters)?;
            (end == word.end).then_some(zone)
        }
        _ => None,
    }
}

/// `Z`, `+02:00`, `+0200` or `+02` at `at` and the position behind.
fn glued_zone(line: &Line<'_>, at: usize) -> Option<(WrittenZone, usize)> {
    let (hours, minutes, end) = match line.rest(at) {
        [b'Z' | b'z', rest @ ..] if !rest.first().is_some_and(u8::is_ascii_alphanumeric) => {
            return Some((WrittenZone::Offset(0), at + 1));
        }
        [b'+' | b'-', a, b, b':', c, d, ..] if c.is_ascii_digit() => ([*a, *b], [*c, *d], at + 6),
        [b'+' | b'-', b, b':', c, d, ..] if c.is_ascii_digit() => ([b'0', *b], [*c, *d], at + 5),
        [b'+' | b'-', a, b, c, d, ..] if c.is_ascii_digit() => ([*a, *b], [*c, *d], at + 5),
        [b'+' | b'-', a, b, ..] => ([*a, *b], *b"00", at + 3),
        _ => return None,
    };
    if line.byte(end).is_some_and(|c| c.is_ascii_digit()) {
        return None;
    }
    let seconds = offset_seconds(hours[0], hours[1], minutes[0], minutes[1])?;
    Some((WrittenZone::Offset(if line.byte(at) == Some(b'-') { -seconds } else { seconds }), end))
}

/// One to `most` digits, and no more behind them.
fn digits(line: &Line<'_>, at: usize, most: usize) -> Option<(u32, usize)> {
    let digits = line.rest(at).iter().take(most).take_while(|c| c.is_ascii_digit()).count();
    let value = line.rest(at).iter().take(digits).fold(0, |n, c| n * 10 + u32::from(c - b'0'));
    (digits > 0).then_some((value, at + digits))
}

/// Whether a text begins as a header does: with something like a time at one of its first two words (`12:30:01`, `2026-10-01`,
/// `Okt 11 22:14:15`, seconds since 1970), with a version and `-`, or with a second priority. Texts that begin as JSON, XML,
/// `key=value` or a list do are none.
pub(super) fn is_like_a_header(text: &[u8]) -> bool {
    let text = &text[..text.len().min(64)];
    let words: Vec<&[u8]> = text.split(|c| *c == b' ').filter(|word| !word.is_empty()).take(5).map(bare).collect();
    let Some(first) = words.first() else { return false };
    // A second priority: a relay put its own in front.
    if text.first() == Some(&b'<')
        && text[1..]
            .iter()
            .take(4)
            .position(|c| *c == b'>')
            .is_some_and(|n| n > 0 && text[1..=n].iter().all(u8::is_ascii_digit))
    {
        return true;
    }
    if matches!(first.first(), Some(b'{' | b'<' | b'"')) || first.contains(&b'=') || first.contains(&b'|') {
        return false;
    }
    let is_number = |word: &[u8], most: usize| (1..=most).contains(&word.len()) && word.iter().all(u8::is_ascii_digit);
    let is_name = |word: &[u8]| (3..=9).contains(&word.len()) && word.iter().all(u8::is_ascii_alphabetic);
    let of = |n: usize| words.get(n).copied().unwrap_or_default();
    let is_short_clock = |word: &[u8]| matches!(word, [b'0'..=b'2', b'0'..=b'9', b':', b'0'..=b'5', b'0'..=b'9', ..]);
    let is_words = |n: usize| {
        let clock = if is_year(of(n + 2)) { n + 3 } else { n + 2 };
        is_name(of(n)) && is_number(of(n + 1), 2) && is_short_clock(of(clock))
    };
    // Seconds or milliseconds since 1970, behind which something stands; `30/Nov/2026:10:00:00`, `2026-W49-1`.
    let is_access_time = matches!(first, [b'0'..=b'3', b'0'..=b'9', b'/', a, b, c, b'/', b'0'..=b'9', ..] if [a, b, c].iter().all(|c| c.is_ascii_alphabetic()));
    let is_week = matches!(first, [b'1' | b'2', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'-', b'W', b'0'..=b'9', ..]);
    (is_number(first, 13) && matches!(first.len(), 10 | 13) && !of(1).is_empty())
        || is_access_time
        || is_week
        || (is_number(first, 3) && of(1) == b"-")
        || (0..2).any(|n| is_clock(of(n)) || is_date(of(n)) || is_words(n))
}

/// A word without the marks before it.
fn bare(word: &[u8]) -> &[u8] {
    let marks = word.iter().take_while(|c| matches!(c, b'*' | b'.' | b':' | b'[' | b'(')).count();
    &word[marks..]
}

/// Whether a word begins as a clock does.
fn is_clock(word: &[u8]) -> bool {
    three_numbers(word, b':').is_some_and(|lengths| lengths.iter().all(|len| *len <= 2))
}

/// Whether a word begins as a date does, in any order: with the year in full, so that addresses and versions are none.
fn is_date(word: &[u8]) -> bool {
    let of = |mark: u8| {
        three_numbers(word, mark).is_some_and(|lengths| matches!(lengths, [4, 1..=2, 1..=2] | [1..=2, 1..=2, 4]))
    };
    of(b'-') || of(b'/') || of(b'.')
}

/// How many digits each of the three numbers has that a word begins with, `mark` between them.
fn three_numbers(word: &[u8], mark: u8) -> Option<[usize; 3]> {
    let mut lengths = [0; 3];
    let mut rest = word;
    for (n, len) in lengths.iter_mut().enumerate() {
        if n > 0 {
            rest = rest.strip_prefix(&[mark])?;
        }
        *len = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        rest = &rest[*len..];
    }
    (!lengths.contains(&0)).then_some(lengths)
}

//! Timestamp formats of the user (`formats: ["%d/%m/%Y %H:%M:%S"]`), in strftime codes.
//!
//! jiff reads them; here they are checked when the configuration is read, so that a mistake has a place, and so that a
//! format which could never give an instant is refused.

use std::fmt;
use std::ops::Range;

use jiff::fmt::strtime::{self, BrokenDownTime};

use crate::settings::{Node, Reader, SchemaBuilder, Setting, read_string};

use super::civil::Civil;
use super::loose::{LooseTime, WrittenZone, Year};
use super::zone_names::zone_name;

/// Codes that may stand behind `%` (and behind the flags and widths in front of them).
const CODES: &[u8] = b"aAbBdDeFfHhIjkLlMmNnPpRQSsTtUuVvWwYyZzGgC%";

/// One checked format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFormat {
    text: String,
    /// What jiff reads: `%f` for `%L`, and nothing in the place of `%Z`.
    read: String,
    year: Year,
    /// It has `%Z`.
    names_zone: bool,
}

/// A format that cannot be used, and the bytes of it that are at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFormatError {
    /// Bytes of the format.
    pub at: Range<usize>,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
}

impl fmt::Display for InputFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for InputFormatError {}

impl InputFormat {
    /// Checks a format: `%Y %m %d %H %M %S %f %.f %z %Z %b %B %a %A %p %I %j %s %y %e %F %T %R %Q` and so on. A
    /// fraction is `%f` (or `%L`) behind any separator, or `%.f` with its point; all digits up to the ninth count. `%Z` is
    /// the usual abbreviation of a zone.
    ///
    /// Errors: unknown codes, and formats without date and time.
    pub fn parse(text: &str) -> Result<InputFormat, InputFormatError> {
        let codes = codes(text)?;
        let has = |set: &[u8]| codes.iter().any(|c| set.contains(c));
        let whole = 0..text.len();
        if has(b"s") {
            return Self::probe(text, Year::Written);
        }
        let day = has(b"dejDFv") || (has(b"aAuw") && has(b"UVW"));
        let month = has(b"bBhmDFjvUVW");
        if !day || !month {
            let message = "this format has no day and month, expected `%d` and `%m` (or `%F`, `%j`, `%s`)".to_owned();
            return Err(InputFormatError { at: whole, message });
        }
        if has(b"Il") && !has(b"pP") {
            let message = "`%I` is an hour of the 12-hour clock and needs `%p`, or write `%H`".to_owned();
            return Err(InputFormatError { at: whole, message });
        }
        Self::probe(text, if has(b"YyGgCDFv") { Year::Written } else { Year::Missing })
    }

    /// What is written with a format must be readable with it.
    fn probe(text: &str, year: Year) -> Result<InputFormat, InputFormatError> {
        let (to_read, names_zone) = for_jiff(text);
        let fail = |message: String| InputFormatError { at: 0..text.len(), message };
        let sample = jiff::Timestamp::constant(1_655_301_296, 789_000_000).to_zoned(jiff::tz::TimeZone::UTC);
        let written =
            strtime::format(&to_read, &sample).map_err(|e| fail(format!("this format cannot be used: {e}")))?;
        let read = strtime::parse(&to_read, &written).map_err(|e| fail(format!("this format cannot be read: {e}")))?;
        let format = InputFormat { text: text.to_owned(), read: to_read, year, names_zone };
        if convert(read, year).is_none() {
            return Err(fail("this format does not give a date and a time".to_owned()));
        }
        Ok(format)
    }

    /// The format with `#` in the place of each number of a date: two of one shape read the same texts.
    pub(super) fn shape(&self) -> String {
        let (mut out, mut rest) = (String::new(), self.text.as_str());
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            let code = rest[at + 1..].find(|c: char| !matches!(c, '-' | '_' | '^' | '#' | '0'..='9'));
            let Some(code) = code.map(|n| at + 1 + n) else { break };
            let end = code + rest[code..].chars().next().map_or(0, char::len_utf8);
            match &rest[code..end] {
                "d" | "e" | "m" | "y" | "Y" => out.push('#'),
                "D" => out.push_str("#/#/#"),
                "F" => out.push_str("#-#-#"),
                _ => out.push_str(&rest[at..end]),
            }
            rest = &rest[end..];
        }
        out.push_str(rest);
        out
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a text is of this format.
    #[must_use]
    pub fn fits(&self, text: &[u8]) -> bool {
        self.read(text).is_some()
    }

    /// Reads a text with this format, from first to last byte.
    pub(super) fn read(&self, text: &[u8]) -> Option<LooseTime> {
        if !self.names_zone {
            return convert(strtime::parse(&self.read, text).ok()?, self.year);
        }
        // The first word that is the name of a zone; what stands around it is read without it.
        let is_letter = |at: usize| text.get(at).is_some_and(u8::is_ascii_alphabetic);
        let starts = (0..text.len()).filter(|&at| is_letter(at) && (at == 0 || !is_letter(at - 1)));
        let words = starts.map(|at| at..(at..).find(|&end| !is_letter(end)).unwrap_or(text.len()));
        let (at, name) = words.filter_map(|at| Some((at.clone(), zone_name(&text[at])?))).next()?;
        let rest = [&text[..at.start], &text[at.end..]].concat();
        let found = convert(strtime::parse(&self.read, rest).ok()?, self.year)?;
        Some(LooseTime { offset: found.offset.or(Some(WrittenZone::Name(name))), ..found })
    }
}

/// A format as jiff reads it, and whether it has `%Z`, which jiff does not read.
fn for_jiff(text: &str) -> (String, bool) {
    let (mut out, mut names_zone, mut rest) = (String::with_capacity(text.len()), false, text);
    while let Some(at) = rest.find('%') {
        let code = rest[at + 1..].find(|c: char| !matches!(c, '-' | '_' | '^' | '#' | '.' | ':' | '0'..='9'));
        let Some(code) = code.map(|n| at + 1 + n) else { break };
        out.push_str(&rest[..at]);
        match &rest[code..=code] {
            "Z" => names_zone = true,
            "L" => {
                out.push_str(&rest[at..code]);
                out.push('f');
            }
            _ => out.push_str(&rest[at..=code]),
        }
        rest = &rest[code + 1..];
    }
    out.push_str(rest);
    (out, names_zone)
}

/// The codes of a format, flags and widths skipped.
fn codes(text: &str) -> Result<Vec<u8>, InputFormatError> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] != b'%' {
            i += 1;
            continue;
        }
        let start = i;
        i += 1;
        while bytes.get(i).is_some_and(|b| matches!(b, b'-' | b'_' | b'^' | b'#' | b'.' | b':' | b'0'..=b'9')) {
            i += 1;
        }
        match bytes.get(i) {
            Some(code) if CODES.contains(code) => found.push(*code),
            Some(_) => {
                // Flags are ASCII, so the unknown character begins at `i`.
                let at = start..i + text[i..].chars().next().map_or(0, char::len_utf8);
                let code = text.get(at.clone()).unwrap_or("%");
                let message = format!("unknown strftime code `{code}`, a percent sign itself is `%%`");
                return Err(InputFormatError { at, message });
            }
            None => {
                let message = "a `%` at the end, a percent sign itself is `%%`".to_owned();
                return Err(InputFormatError { at: start..text.len(), message });
            }
        }
        i += 1;
    }
    Ok(found)
}

/// Civil time and offset of what jiff read.
fn convert(mut time: BrokenDownTime, year: Year) -> Option<LooseTime> {
    if let Ok(at) = time.to_timestamp() {
        let nanos = i64::try_from(at.as_nanosecond()).ok()?;
        let digits = fraction_digits(nanos.rem_euclid(super::NS_PER_SEC) as u32);
        return Some(LooseTime {
            civil: Civil::from_ns(nanos),
            digits,
            offset: Some(WrittenZone::Offset(0)),
            year: Year::Written,
        });
    }
    if year == Year::Missing {
        time.set_year(Some(2000)).ok()?; // a leap year: whether 29 February exists is settled with the real year
    }
    // A date alone is its midnight.
    if time.hour().is_none() {
        time.set_hour(Some(0)).ok()?;
        time.set_minute(Some(0)).ok()?;
        time.set_second(Some(0)).ok()?;
    }
    let local = time.to_datetime().ok()?;
    let nanos = local.subsec_nanosecond() as u32;
    let civil = Civil {
        year: i32::from(local.year()),
        month: local.month() as u8,
        day: local.day() as u8,
        hour: local.hour() as u8,
        minute: local.minute() as u8,
        second: local.second() as u8,
        nanos,
    };
    let offset = time.offset().map(|o| WrittenZone::Offset(o.seconds()));
    Some(LooseTime { civil, digits: fraction_digits(nanos), offset, year })
}

/// How many digits a fraction needs. jiff does not say how many were written, so trailing zeros are not kept.
fn fraction_digits(nanos: u32) -> u8 {
    match nanos {
        0 => 0,
        n if n % 1_000_000 == 0 => 3,
        n if n % 1_000 == 0 => 6,
        _ => 9,
    }
}

impl Setting for InputFormat {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        match InputFormat::parse(text) {
            Ok(format) => Some(format),
            Err(error) => {
                cx.error_in(node, error.at, error.message);
                None
            }
        }
    }

    fn schema(_g: &mut SchemaBuilder) -> serde_json::Value {
        serde_json::json!({"type": "string"})
    }

    fn describe() -> String {
        "a timestamp format in strftime codes such as `%d/%m/%Y %H:%M:%S`".to_owned()
    }
}

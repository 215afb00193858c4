//! strftime codes in paths, stream and index names: compiled once, written from the event's timestamp in UTC.

use std::fmt;
use std::ops::Range;

use super::Civil;
use super::write::two;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// One step of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Text(Box<str>),
    Year,
    ShortYear,
    Century,
    Month,
    MonthName,
    MonthAbbrev,
    Day,
    DaySpaced,
    DayOfYear,
    Hour,
    Hour12,
    AmPm,
    Minute,
    Second,
    Millis,
    Micros,
    Nanos,
    Epoch,
    WeekdayName,
    WeekdayAbbrev,
    /// 0 to 6 from Sunday.
    Weekday,
    /// 1 to 7 from Monday.
    IsoWeekday,
    IsoWeek,
    IsoYear,
}

/// A compiled format: text and codes in turn.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Strftime {
    items: Vec<Item>,
}

/// A code that is not known here, and the bytes of the format that spell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrftimeError {
    /// Bytes of the format.
    pub at: Range<usize>,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
}

impl fmt::Display for StrftimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StrftimeError {}

impl Strftime {
    /// Compiles `%Y %y %C %m %B %b %h %d %e %j %H %I %p %M %S %L (ms) %f (µs) %N (ns) %s %A %a %w %u %V %G %F %T %R %D
    /// %Z (UTC) %z (+0000) %%`.
    ///
    /// Errors: the first code that is none of these.
    pub fn parse(text: &str) -> Result<Strftime, StrftimeError> {
        let mut out = Strftime::default();
        let mut rest = text;
        while let Some(i) = rest.find('%') {
            out.text(&rest[..i]);
            let at = text.len() - rest.len() + i;
            let Some(code) = rest[i + 1..].chars().next() else {
                let message = "a `%` at the end, a percent sign itself is `%%`".to_owned();
                return Err(StrftimeError { at: at..text.len(), message });
            };
            let end = i + 1 + code.len_utf8();
            if !out.code(code) {
                let message = format!("unknown strftime code `%{code}`, a percent sign itself is `%%`");
                return Err(StrftimeError { at: at..at + 1 + code.len_utf8(), message });
            }
            rest = &rest[end..];
        }
        out.text(rest);
        Ok(out)
    }

    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Item::Text(last)) = self.items.last_mut() {
            *last = format!("{last}{text}").into_boxed_str();
        } else {
            self.items.push(Item::Text(text.into()));
        }
    }

    /// Adds a code; `false` where there is none of this letter.
    fn code(&mut self, code: char) -> bool {
        let item = match code {
            '%' | 'n' | 't' | 'Z' | 'z' => {
                self.text(match code {
                    '%' => "%",
                    'n' => "\n",
                    't' => "\t",
                    'Z' => "UTC",
                    _ => "+0000",
                });
                return true;
            }
            'F' => return self.all("Y-m-d"),
            'T' => return self.all("H:M:S"),
            'R' => return self.all("H:M"),
            'D' => return self.all("m/d/y"),
            'Y' => Item::Year,
            'y' => Item::ShortYear,
            'C' => Item::Century,
            'm' => Item::Month,
            'B' => Item::MonthName,
            'b' | 'h' => Item::MonthAbbrev,
            'd' => Item::Day,
            'e' => Item::DaySpaced,
            'j' => Item::DayOfYear,
            'H' => Item::Hour,
            'I' => Item::Hour12,
            'p' => Item::AmPm,
            'M' => Item::Minute,
            'S' => Item::Second,
            'L' => Item::Millis,
            'f' => Item::Micros,
            'N' => Item::Nanos,
            's' => Item::Epoch,
            'A' => Item::WeekdayName,
            'a' => Item::WeekdayAbbrev,
            'w' => Item::Weekday,
            'u' => Item::IsoWeekday,
            'V' => Item::IsoWeek,
            'G' => Item::IsoYear,
            _ => return false,
        };
        self.items.push(item);
        true
    }

    /// Adds letters as codes and everything else as text.
    fn all(&mut self, codes: &str) -> bool {
        codes.chars().all(|c| {
            if c.is_ascii_alphabetic() {
                self.code(c)
            } else {
                self.text(c.encode_utf8(&mut [0; 4]));
                true
            }
        })
    }

    /// The text, where the format holds no code at all.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self.items.as_slice() {
            [] => Some(""),
            [Item::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text before the first code.
    #[must_use]
    pub fn leading_text(&self) -> &str {
        match self.items.first() {
            Some(Item::Text(text)) => text,
            _ => "",
        }
    }

    /// Appends the format's text for an instant.
    pub fn write(&self, ns: i64, out: &mut Vec<u8>) {
        if let Some(text) = self.as_text() {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        let t = Civil::from_ns(ns);
        for item in &self.items {
            item.write(&t, ns, out);
        }
    }
}

impl Item {
    fn write(&self, t: &Civil, ns: i64, out: &mut Vec<u8>) {
        let weekday = || usize::from(t.weekday());
        let month = || usize::from(t.month.clamp(1, 12)) - 1;
        match self {
            Item::Text(text) => out.extend_from_slice(text.as_bytes()),
            Item::Year => digits(out, t.year as u32, 4),
            Item::ShortYear => out.extend_from_slice(&two(t.year as u32 % 100)),
            Item::Century => out.extend_from_slice(&two(t.year as u32 / 100)),
            Item::Month => out.extend_from_slice(&two(u32::from(t.month))),
            Item::MonthName => out.extend_from_slice(MONTHS[month()].as_bytes()),
            Item::MonthAbbrev => out.extend_from_slice(&MONTHS[month()].as_bytes()[..3]),
            Item::Day => out.extend_from_slice(&two(u32::from(t.day))),
            Item::DaySpaced if t.day < 10 => out.extend_from_slice(&[b' ', b'0' + t.day]),
            Item::DaySpaced => out.extend_from_slice(&two(u32::from(t.day))),
            Item::DayOfYear => digits(out, u32::from(t.day_of_year()), 3),
            Item::Hour => out.extend_from_slice(&two(u32::from(t.hour))),
            Item::Hour12 => out.extend_from_slice(&two((u32::from(t.hour) + 11) % 12 + 1)),
            Item::AmPm => out.extend_from_slice(if t.hour < 12 { b"AM" } else { b"PM" }),
            Item::Minute => out.extend_from_slice(&two(u32::from(t.minute))),
            Item::Second => out.extend_from_slice(&two(u32::from(t.second))),
            Item::Millis => digits(out, t.nanos / 1_000_000, 3),
            Item::Micros => digits(out, t.nanos / 1_000, 6),
            Item::Nanos => digits(out, t.nanos, 9),
            Item::Epoch => {
                let mut buf = itoa::Buffer::new();
                out.extend_from_slice(buf.format(ns.div_euclid(super::NS_PER_SEC)).as_bytes());
            }
            Item::WeekdayName => out.extend_from_slice(DAYS[weekday()].as_bytes()),
            Item::WeekdayAbbrev => out.extend_from_slice(&DAYS[weekday()].as_bytes()[..3]),
            Item::Weekday => out.push(b'0' + t.weekday()),
            Item::IsoWeekday => out.push(b'0' + (t.weekday() + 6) % 7 + 1),
            Item::IsoWeek => out.extend_from_slice(&two(iso_week(t).1)),
            Item::IsoYear => digits(out, iso_week(t).0 as u32, 4),
        }
    }
}

/// Year and number of the ISO 8601 week: the one that holds this week's Thursday.
fn iso_week(t: &Civil) -> (i32, u32) {
    let days = super::civil::days_from_date(t.year, t.month, t.day);
    let thursday = days - (days + 3).rem_euclid(7) + 3;
    let (year, month, day) = super::civil::date_from_days(thursday);
    let of_year = Civil { year, month, day, ..*t }.day_of_year();
    (year, u32::from(of_year - 1) / 7 + 1)
}

/// Appends `n` with leading zeros to `width` digits, at most nine.
fn digits(out: &mut Vec<u8>, mut n: u32, width: usize) {
    let mut text = [b'0'; 9];
    for slot in text[..width].iter_mut().rev() {
        *slot = b'0' + (n % 10) as u8;
        n /= 10;
    }
    out.extend_from_slice(&text[..width]);
}

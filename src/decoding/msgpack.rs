//! MessagePack as Fluent Bit and Fluentd send it over HTTP, read record by record and written as JSON.
//!
//! A body is a row of values. A map is an event; so is an array of a time and a map, `[time, {…}]`, and of a head and a map,
//! `[[time, {metadata}], {…}]`, as Fluent Bit writes them from version 2.1 on. An array of any of these stands for its elements,
//! and so does the forward protocol's `[tag, [[time, {…}], …]]`; `[tag, time, {…}]` is one event. Marks of groups, which Fluent
//! Bit writes around records of OpenTelemetry, are no events and are told apart ([`Record::is_mark`]).
//!
//! The time is the field `timestamp` (RFC 3339, UTC), in front; `date` where the record has a `timestamp` of its own. A tag is
//! `tag`, metadata that is not empty `metadata`, where the record has no such field. Texts that are no UTF-8 are replaced;
//! bytes are text where they are UTF-8, else base64. What JSON has no number for is a text (`NaN`, `Infinity`).
//!
//! Limits: 128 levels, walked without recursion; a length that the body cannot hold is a fault before anything is made of it.
//! Source: <https://github.com/msgpack/msgpack/blob/master/spec.md>,
//! <https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1.5>.

use crate::event::json::{MAX_DEPTH, escape};
use crate::time::write_rfc3339_utc;
use base64::Engine;

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends within the value that begins at this byte, or that claims more than there is.
    Cut(usize),
    /// This byte begins no value.
    Reserved(usize),
    /// The value at this byte is nested deeper than [`MAX_DEPTH`].
    TooDeep(usize),
    /// The value at this byte is no record.
    NotRecord(usize),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Cut(at) => write!(f, "the body ends within the MessagePack value at byte {at}"),
            Fault::Reserved(at) => write!(f, "byte {at} begins no MessagePack value"),
            Fault::TooDeep(at) => {
                write!(f, "the MessagePack value at byte {at} is nested deeper than {MAX_DEPTH} levels")
            }
            Fault::NotRecord(at) => {
                write!(f, "the MessagePack value at byte {at} is not a record: a map, or an array of a time and a map")
            }
        }
    }
}

/// The beginning of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'b> {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Single(f32),
    Double(f64),
    Text(&'b [u8]),
    Bytes(&'b [u8]),
    /// Of an extension type.
    Extension(i8, &'b [u8]),
    /// So many values follow.
    Array(usize),
    /// So many pairs of values follow.
    Map(usize),
}

/// Reads values one behind the other.
#[derive(Clone, Copy)]
struct Reader<'b> {
    body: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, n: usize, begun: usize) -> Result<&'b [u8], Fault> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let taken = rest.get(..n).ok_or(Fault::Cut(begun))?;
        self.at += n;
        Ok(taken)
    }

    /// A whole number of so many bytes, the highest first.
    fn number(&mut self, bytes: usize, begun: usize) -> Result<u64, Fault> {
        Ok(self.take(bytes, begun)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn length(&mut self, bytes: usize, begun: usize) -> Result<usize, Fault> {
        usize::try_from(self.number(bytes, begun)?).map_err(|_| Fault::Cut(begun))
    }

    /// A length of values of which each takes `each` bytes at least.
    fn count(&mut self, n: usize, each: usize, begun: usize) -> Result<usize, Fault> {
        let rest = self.body.len() - self.at;
        if n.checked_mul(each).is_none_or(|bytes| bytes > rest) { Err(Fault::Cut(begun)) } else { Ok(n) }
    }

    fn extension(&mut self, n: usize, begun: usize) -> Result<Token<'b>, Fault> {
        let kind = self.number(1, begun)? as u8 as i8;
        Ok(Token::Extension(kind, self.take(n, begun)?))
    }

    fn token(&mut self) -> Result<Token<'b>, Fault> {
        let begun = self.at;
        let first = self.number(1, begun)? as u8;
        Ok(match first {
            0x00..=0x7f => Token::Unsigned(u64::from(first)),
            0x80..=0x8f => Token::Map(self.count(usize::from(first & 0x0f), 2, begun)?),
            0x90..=0x9f => Token::Array(self.count(usize::from(first & 0x0f), 1, begun)?),
            0xa0..=0xbf => Token::Text(self.take(usize::from(first & 0x1f), begun)?),
            0xc0 => Token::Null,
            0xc1 => return Err(Fault::Reserved(begun)),
            0xc2 | 0xc3 => Token::Bool(first == 0xc3),
            0xc4..=0xc6 => {
                let n = self.length(1 << (first - 0xc4), begun)?;
                Token::Bytes(self.take(n, begun)?)
            }
            0xc7..=0xc9 => {
                let n = self.length(1 << (first - 0xc7), begun)?;
                self.extension(n, begun)?
            }
            0xca => Token::Single(f32::from_bits(self.number(4, begun)? as u32)),
            0xcb => Token::Double(f64::from_bits(self.number(8, begun)?)),
            0xcc..=0xcf => Token::Unsigned(self.number(1 << (first - 0xcc), begun)?),
            0xd0..=0xd3 => {
                let bytes = 1 << (first - 0xd0);
                let unused = 64 - 8 * bytes as u32;
                // The sign is that of the number as sent.
                Token::Signed((self.number(bytes, begun)? << unused) as i64 >> unused)
            }
            0xd4..=0xd8 => self.extension(1 << (first - 0xd4), begun)?,
            0xd9..=0xdb => {
                let n = self.length(1 << (first - 0xd9), begun)?;
                Token::Text(self.take(n, begun)?)
            }
            0xdc | 0xdd => {
                let n = self.length(2 << (first - 0xdc), begun)?;
                Token::Array(self.count(n, 1, begun)?)
            }
            0xde | 0xdf => {
                let n = self.length(2 << (first - 0xde), begun)?;
                Token::Map(self.count(n, 2, begun)?)
            }
            0xe0..=0xff => Token::Signed(i64::from(first as i8)),
        })
    }

    /// Passes over a whole value; its span.
    fn skip(&mut self) -> Result<(usize, usize), Fault> {
        let begun = self.at;
        let mut open: Vec<usize> = Vec::new();
        loop {
            let inner = match self.token()? {
                Token::Array(n) => Some(n),
                Token::Map(n) => Some(2 * n),
                _ => None,
            };
            if let Some(n) = inner {
                if open.len() == MAX_DEPTH as usize {
                    return Err(Fault::TooDeep(begun));
                }
                open.push(n);
            }
            while open.last() == Some(&0) {
                open.pop();
            }
            match open.last_mut() {
                None => return Ok((begun, self.at)),
                Some(left) => *left -= 1,
            }
        }
    }
}

/// A span of the body.
type Place = (usize, usize);

/// One record of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where its map is.
    map: Place,
    /// Nanoseconds since 1970 UTC.
    time: Option<i64>,
    /// Where the map of its metadata is.
    metadata: Option<Place>,
    /// Where its tag is.
    tag: Option<Place>,
    /// It begins or ends a group of records and is no event.
    is_mark: bool,
}

impl Record {
    /// Whether it begins or ends a group of records, and is no event.
    pub fn is_mark(&self) -> bool {
        self.is_mark
    }

    /// Bytes of the record as sent.
    pub fn bytes(&self) -> usize {
        self.map.1 - self.map.0
    }
}

/// Walks the records of a body.
#[derive(Clone, Default)]
pub struct Records {
    at: usize,
    /// Values left in the array that stands for its elements.
    left: usize,
    tag: Option<Place>,
}

impl Records {
    /// The next record of `body`, which must be the same at each call; `None` at the end. Nothing may be asked for after
    /// an error.
    pub fn next(&mut self, body: &[u8]) -> Result<Option<Record>, Fault> {
        let mut reader = Reader { body, at: self.at };
        loop {
            let begun = reader.at;
            if self.left == 0 {
                self.tag = None;
                if begun == body.len() {
                    return Ok(None);
                }
            }
            if let Some(record) = record(&mut reader)? {
                self.left = self.left.saturating_sub(1);
                self.at = reader.at;
                return Ok(Some(Record { tag: record.tag.or(self.tag), ..record }));
            }
            // No record: an array of them, then, but not one within another.
            reader.at = begun;
            let Token::Array(n) = reader.token()? else { return Err(Fault::NotRecord(begun)) };
            if self.left > 0 {
                return Err(Fault::NotRecord(begun));
            }
            let inner = reader.at;
            self.left = n;
            if let (2.., Token::Text(_)) = (n, Reader { body, at: inner }.token().unwrap_or(Token::Null)) {
                self.tag = Some(reader.skip()?);
                // `[tag, [entries]]`, with options behind them or not.
                let Token::Array(entries) = reader.token()? else { return Err(Fault::NotRecord(begun)) };
                self.left = entries;
                if n > 2 {
                    return Err(Fault::NotRecord(begun));
                }
            }
        }
    }
}

/// The record that begins here; `None` where it may be an array of records.
fn record(reader: &mut Reader<'_>) -> Result<Option<Record>, Fault> {
    let begun = reader.at;
    let plain = |map| Record { map, time: None, metadata: None, tag: None, is_mark: false };
    let mut ahead = *reader;
    match ahead.token()? {
        Token::Map(_) => return Ok(Some(plain(reader.skip()?))),
        Token::Array(2) => {}
        Token::Array(3 | 4) => {
            // `[tag, time, {…}]`, with options behind it or not.
            let tag = ahead.skip()?;
            let is_text = matches!(Reader { body: reader.body, at: tag.0 }.token()?, Token::Text(_));
            let Some(time) = time(ahead.token()?).filter(|_| is_text) else { return Ok(None) };
            let Some(map) = map(&mut ahead)? else { return Err(Fault::NotRecord(begun)) };
            reader.skip()?;
            return Ok(Some(Record { time: Some(time.0), tag: Some(tag), ..plain(map) }));
        }
        _ => return Ok(None),
    }
    let head = ahead.token()?;
    let (time, metadata) = match head {
        Token::Array(2) => {
            let Some(time) = time(ahead.token()?) else { return Ok(None) };
            let Some(metadata) = map(&mut ahead)? else { return Ok(None) };
            (time, Some(metadata))
        }
        head => match time(head) {
            Some(time) => (time, None),
            None => return Ok(None),
        },
    };
    let Some(map) = map(&mut ahead)? else {
        // Behind such a head it may be an array of two records.
        return if metadata.is_some() { Ok(None) } else { Err(Fault::NotRecord(begun)) };
    };
    reader.at = ahead.at;
    Ok(Some(Record { time: Some(time.0), metadata, is_mark: time.1, ..plain(map) }))
}

/// The map that begins here.
fn map(reader: &mut Reader<'_>) -> Result<Option<Place>, Fault> {
    let is_map = matches!(Reader { ..*reader }.token()?, Token::Map(_));
    is_map.then(|| reader.skip()).transpose()
}

/// A time in nanoseconds since 1970 UTC, and whether it is the mark of a group.
fn time(token: Token<'_>) -> Option<(i64, bool)> {
    let of = |seconds: i64, nanos: i64| seconds.checked_mul(1_000_000_000)?.checked_add(nanos);
    Some(match token {
        Token::Unsigned(seconds) => (of(i64::try_from(seconds).ok()?, 0)?, false),
        Token::Signed(seconds) => (of(seconds, 0)?, matches!(seconds, -1 | -2)),
        Token::Double(seconds) if seconds.abs() < 9e9 => (nanos(seconds), false),
        Token::Single(seconds) if seconds.abs() < 9e9 => (nanos(f64::from(seconds)), false),
        Token::Extension(0, bytes) => {
            let (seconds, nanos) = bytes.split_first_chunk::<4>()?;
            let nanos = u32::from_be_bytes(nanos.try_into().ok()?);
            let seconds = u32::from_be_bytes(*seconds);
            (of(i64::from(seconds), i64::from(nanos))?, seconds >= u32::MAX - 1)
        }
        Token::Extension(-1, bytes) => (timestamp(bytes)?, false),
        _ => return None,
    })
}

/// Nanoseconds of seconds. A number of today has no digits behind the microsecond; what it seems to have is noise.
fn nanos(seconds: f64) -> i64 {
    let whole = seconds.floor();
    whole as i64 * 1_000_000_000 + ((seconds - whole) * 1e6).round() as i64 * 1000
}

/// MessagePack's own timestamp, of 32, 64 or 96 bits.
fn timestamp(bytes: &[u8]) -> Option<i64> {
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let (seconds, nanos) = match bytes.len() {
        4 => (number(bytes) as i64, 0),
        8 => ((number(bytes) & 0x3_ffff_ffff) as i64, number(bytes) >> 34),
        12 => (number(&bytes[4..]) as i64, number(&bytes[..4])),
        _ => return None,
    };
    seconds.checked_mul(1_000_000_000)?.checked_add(i64::try_from(nanos).ok()?)
}

/// Appends a record that was found in `body` as a JSON object; how many texts in it were no UTF-8.
pub fn write_json(body: &[u8], record: &Record, out: &mut Vec<u8>) -> u64 {
    let mut invalid = 0;
    out.push(b'{');
    let begin = out.len();
    if let Some(ns) = record.time
        && let Some(name) = ["timestamp", "date"].into_iter().find(|name| !has_key(body, record.map, name))
    {
        out.extend_from_slice(b"\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        push_time(ns, out);
    }
    // The members of the record itself, without its braces.
    let from = out.len();
    invalid += write_value(body, record.map, out);
    if out.len() - from == 2 {
        out.truncate(from);
    } else {
        out[from] = b',';
        if from == begin {
            out.remove(from);
        }
        out.pop();
    }
    let is_empty = |place: &Place| matches!(Reader { body, at: place.0 }.token(), Ok(Token::Map(0)) | Err(_));
    for (name, place) in [("metadata", record.metadata.filter(|m| !is_empty(m))), ("tag", record.tag)] {
        let Some(place) = place.filter(|_| !has_key(body, record.map, name)) else { continue };
        if out.len() > begin {
            out.push(b',');
        }
        out.extend_from_slice(format!("\"{name}\":").as_bytes());
        invalid += write_value(body, place, out);
    }
    out.push(b'}');
    invalid
}

/// Whether the map has this key.
fn has_key(body: &[u8], map: Place, name: &str) -> bool {
    let mut reader = Reader { body, at: map.0 };
    let Ok(Token::Map(pairs)) = reader.token() else { return false };
    (0..pairs).any(|_| {
        let found =
            matches!(Reader { ..reader }.token(), Ok(Token::Text(key) | Token::Bytes(key)) if key == name.as_bytes());
        let passed = reader.skip().and_then(|_| reader.skip());
        found && passed.is_ok()
    })
}

fn push_time(ns: i64, out: &mut Vec<u8>) {
    out.push(b'"');
    let digits = match ns {
        _ if ns % 1_000_000 == 0 => 3,
        _ if ns % 1_000 == 0 => 6,
        _ => 9,
    };
    write_rfc3339_utc(ns, digits, out);
    out.push(b'"');
}

/// What is open while a value is written.
struct Open {
    /// Values left in it.
    left: usize,
    is_map: bool,
    is_first: bool,
}

/// Appends a value that was passed over before, so that it is whole; how many texts in it were no UTF-8.
fn write_value(body: &[u8], place: Place, out: &mut Vec<u8>) -> u64 {
    let mut reader = Reader { body, at: place.0 };
    let mut open: Vec<Open> = Vec::new();
    let mut invalid = 0;
    loop {
        let Ok(token) = reader.token() else { return invalid };
        let is_key = open.last().is_some_and(|open| open.is_map && open.left % 2 == 1);
        match token {
            Token::Array(n) | Token::Map(n) if is_key => {
                // A key that is a container is the text of it; rare, and never deep: bounded by the walk before.
                let values = if matches!(token, Token::Map(_)) { 2 * n } else { n };
                let begun = reader.at;
                let passed = (0..values).try_for_each(|_| reader.skip().map(drop));
                let text = base64::engine::general_purpose::STANDARD.encode(&body[begun..reader.at]);
                out.extend_from_slice(format!("\"{text}\"").as_bytes());
                if passed.is_err() {
                    return invalid;
                }
            }
            Token::Array(n) => {
                out.push(b'[');
                open.push(Open { left: n, is_map: false, is_first: true });
            }
            Token::Map(n) => {
                out.push(b'{');
                open.push(Open { left: 2 * n, is_map: true, is_first: true });
            }
            token => invalid += u64::from(push_scalar(token, is_key, out)),
        }
        loop {
            let Some(top) = open.last_mut() else { return invalid };
            if top.left > 0 {
                if top.is_map && top.left % 2 == 1 {
                    out.push(b':');
                } else if !top.is_first {
                    out.push(b',');
                }
                top.is_first = false;
                top.left -= 1;
                break;
            }
            out.push(if top.is_map { b'}' } else { b']' });
            open.pop();
        }
    }
}

/// Appends a value that holds no others; whether it was a text that is not UTF-8. Keys become texts.
fn push_scalar(token: Token<'_>, is_key: bool, out: &mut Vec<u8>) -> bool {
    let quote = |out: &mut Vec<u8>| {
        if is_key {
            out.push(b'"');
        }
    };
    quote(out);
    let mut invalid = false;
    let mut text = |text: &[u8], out: &mut Vec<u8>| {
        if !is_key {
            out.push(b'"');
        }
        match simdutf8::basic::from_utf8(text) {
            Ok(_) => escape(text, out),
            Err(_) => {
                invalid = true;
                escape(String::from_utf8_lossy(text).as_bytes(), out);
            }
        }
        if !is_key {
            out.push(b'"');
        }
    };
    match token {
        Token::Null => out.extend_from_slice(b"null"),
        Token::Bool(true) => out.extend_from_slice(b"true"),
        Token::Bool(false) => out.extend_from_slice(b"false"),
        Token::Signed(n) => out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()),
        Token::Unsigned(n) => out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()),
        Token::Single(x) if x.is_finite() => out.extend_from_slice(ryu::Buffer::new().format_finite(x).as_bytes()),
        Token::Double(x) if x.is_finite() => out.extend_from_slice(ryu::Buffer::new().format_finite(x).as_bytes()),
        Token::Single(x) => text(infinite(f64::from(x)), out),
        Token::Double(x) => text(infinite(x), out),
        Token::Text(bytes) => text(bytes, out),
        Token::Bytes(bytes) if simdutf8::basic::from_utf8(bytes).is_ok() => text(bytes, out),
        Token::Extension(..) if let Some((ns, _)) = time(token) => {
            let mut when = Vec::new();
            push_time(ns, &mut when);
            text(&when[1..when.len() - 1], out);
        }
        Token::Bytes(bytes) | Token::Extension(_, bytes) => {
            text(base64::engine::general_purpose::STANDARD.encode(bytes).as_bytes(), out);
        }
        Token::Array(_) | Token::Map(_) => {}
    }
    quote(out);
    invalid
}

fn infinite(x: f64) -> &'static [u8] {
    match x {
        _ if x.is_nan() => b"NaN",
        _ if x > 0.0 => b"Infinity",
        _ => b"-Infinity",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(body: &[u8]) -> Result<Vec<Value>, Fault> {
        let (mut records, mut out) = (Records::default(), Vec::new());
        while let Some(record) = records.next(body)? {
            if record.is_mark() {
                out.push(json!("mark"));
                continue;
            }
            let mut text = Vec::new();
            write_json(body, &record, &mut text);
            out.push(
                serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&text))),
            );
        }
        Ok(out)
    }

    /// `{"log":"hi"}`.
    const MAP: &[u8] = b"\x81\xa3log\xa2hi";
    /// 2026-05-04T03:02:01.25Z as Fluentd's event time.
    const TIME: &[u8] = b"\xd7\x00\x69\xf8\x0c\x29\x0e\xe6\xb2\x80";

    fn cat(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn records_are_found_in_every_form_that_agents_send_them() {
        let timed = json!({"timestamp": "2026-05-04T03:02:01.250Z", "log": "hi"});
        let plain = json!({"log": "hi"});
        let entry = cat(&[b"\x92", TIME, MAP]);
        for (body, want) in [
            (cat(&[MAP, MAP]), vec![plain.clone(), plain.clone()]),
            (cat(&[b"\x92", MAP, MAP]), vec![plain.clone(), plain.clone()]),
            (cat(&[&entry, &entry]), vec![timed.clone(), timed.clone()]),
            (cat(&[b"\x91", &entry]), vec![timed.clone()]),
            (cat(&[b"\x92", &entry, &entry]), vec![timed.clone(), timed.clone()]),
            (cat(&[b"\x92\x92", TIME, b"\x80", MAP]), vec![timed.clone()]),
            (
                cat(&[b"\x92\x92", TIME, b"\x81\xa1k\x01", MAP]),
                vec![json!({"timestamp": "2026-05-04T03:02:01.250Z", "log": "hi", "metadata": {"k": 1}})],
            ),
            (
                cat(&[b"\x92\xa3app\x92", &entry, &entry, MAP]),
                vec![
                    json!({"timestamp": "2026-05-04T03:02:01.250Z", "log": "hi", "tag": "app"}),
                    json!({"timestamp": "2026-05-04T03:02:01.250Z", "log": "hi", "tag": "app"}),
                    plain.clone(),
                ],
            ),
            (
                cat(&[b"\x93\xa3app\xce\x69\xf8\x0c\x29", MAP]),
                vec![json!({"timestamp": "2026-05-04T03:02:01.000Z", "log": "hi", "tag": "app"})],
            ),
            (
                cat(&[b"\x92\xcb\x41\xda\x7e\x03\x0a\x50\x00\x00", MAP]),
                vec![json!({"timestamp": "2026-05-04T03:02:01.250Z", "log": "hi"})],
            ),
            // A group of OpenTelemetry's around one record.
            (
                cat(&[
                    b"\x92\x92\xd7\x00\xff\xff\xff\xff\0\0\0\0\x80",
                    MAP,
                    &entry,
                    b"\x92\x92\xd7\x00\xff\xff\xff\xfe\0\0\0\0\x80\x80",
                ]),
                vec![json!("mark"), timed.clone(), json!("mark")],
            ),
            (Vec::new(), vec![]),
            (b"\x90".to_vec(), vec![]),
            (b"\x80\x92\x01\x80".to_vec(), vec![json!({}), json!({"timestamp": "1970-01-01T00:00:01.000Z"})]),
        ] {
            assert_eq!(read(&body).unwrap(), want, "{body:02x?}");
        }
    }

    #[test]
    fn a_time_takes_no_fields_place() {
        let record = b"\x92\x01\x82\xa9timestamp\xa1a\xa3tag\xa1b";
        assert_eq!(read(record).unwrap(), [json!({"date": "1970-01-01T00:00:01.000Z", "timestamp": "a", "tag": "b"})]);
        let both = b"\x92\x01\x82\xa9timestamp\xa1a\xa4date\xa1b";
        assert_eq!(read(both).unwrap(), [json!({"timestamp": "a", "date": "b"})]);
    }

    #[test]
    fn values_of_every_type_keep_what_they_are() {
        let values: [(&[u8], Value); 22] = [
            (b"\xc0", Value::Null),
            (b"\xc3", json!(true)),
            (b"\x7f", json!(127)),
            (b"\xe0", json!(-32)),
            (b"\xcc\xff", json!(255)),
            (b"\xcd\xff\xff", json!(65535)),
            (b"\xce\xff\xff\xff\xff", json!(4294967295u32)),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", json!(u64::MAX)),
            (b"\xd0\x80", json!(-128)),
            (b"\xd1\x80\x00", json!(-32768)),
            (b"\xd2\x80\x00\x00\x00", json!(i32::MIN)),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", json!(i64::MIN)),
            (b"\xca\x3d\xcc\xcc\xcd", json!(0.1)),
            (b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", json!(1.5)),
            (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", json!("NaN")),
            (b"\xd9\x02\"\n", json!("\"\n")),
            (b"\xc4\x03abc", json!("abc")),
            (b"\xc4\x02\xff\xfe", json!("//4=")),
            (b"\xd6\xff\x00\x00\x00\x01", json!("1970-01-01T00:00:01.000Z")),
            (b"\xd4\x05\x01", json!("AQ==")),
            (b"\xdc\x00\x02\x01\x90", json!([1, []])),
            (b"\xde\x00\x02\x01\xa1a\xa1b\x81\xc0\x80", json!({"1": "a", "b": {"null": {}}})),
        ];
        for (bytes, want) in values {
            assert_eq!(read(&cat(&[b"\x81\xa1v", bytes])).unwrap(), [json!({"v": want})], "{bytes:02x?}");
        }
        let mut out = Vec::new();
        let body = b"\x81\xa1v\xa2\xffx";
        let record = Records::default().next(body).unwrap().unwrap();
        assert_eq!(write_json(body, &record, &mut out), 1);
        assert_eq!(String::from_utf8(out).unwrap(), "{\"v\":\"\u{fffd}x\"}");
    }

    #[test]
    fn what_is_no_record_is_said_with_its_place() {
        let deep = |levels: usize| cat(&[b"\x81\xa1a", &b"\x91".repeat(levels), b"\x01"]);
        let deepest = deep(MAX_DEPTH as usize - 1);
        let record = Records::default().next(&deepest).unwrap().unwrap();
        let mut text = Vec::new();
        write_json(&deepest, &record, &mut text);
        assert!(crate::event::json::Scanner::default().is_valid(&text), "no deeper than what is taken as JSON");
        for (body, fault) in [
            (b"\x01".to_vec(), Fault::NotRecord(0)),
            (cat(&[MAP, b"\xa1x"]), Fault::NotRecord(8)),
            (b"\x91\x91\x91\x80".to_vec(), Fault::NotRecord(1)),
            (b"\x92\x01\x02".to_vec(), Fault::NotRecord(0)),
            (b"\xc1".to_vec(), Fault::Reserved(0)),
            (MAP[..6].to_vec(), Fault::Cut(5)),
            (b"\xdf\xff\xff\xff\xff".to_vec(), Fault::Cut(0)),
            (b"\x81\xa1a\xdb\xff\xff\xff\xff".to_vec(), Fault::Cut(3)),
            (deep(MAX_DEPTH as usize), Fault::TooDeep(0)),
            (deep(100_000), Fault::TooDeep(0)),
            // Packed entries, which nobody sends over HTTP.
            (b"\x92\xa1t\xc4\x01\x80".to_vec(), Fault::NotRecord(0)),
        ] {
            assert_eq!(read(&body), Err(fault), "{body:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_what_is_read_is_json(
            body in proptest::collection::vec(prop_oneof![
                Just(0x81u8), Just(0x92), Just(0x91), Just(0xa1), Just(0x01), Just(0xd7), Just(0x00), Just(0xcb), any::<u8>()
            ], 0..80)
        ) {
            _ = read(&body);
        }
    }
}

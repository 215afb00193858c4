//! `KeyValue`s and `AnyValue`s: what attributes are made of.
//!
//! A member of an event is written behind a head that is kept for its key; nested objects and lists are written while they are
//! read, without values in between.

use super::head::{HEAD, Head};
use super::ids::read_id;
use super::roles::Role;
use crate::event::json::{Class, find, str_of, unescape};
use crate::event::{RUN, Spot, Value, push_run};
use crate::wire::protobuf::{push_bytes, push_fixed64, push_message, push_number, push_varint, varint_len};

/// Bytes of attributes that are gathered before they are appended to a body.
const STAGE: usize = 4096;
/// Most bytes that one of them takes there.
const ROOM: usize = 2 * HEAD + 256;

/// Attributes of scalar values, gathered where there is always room for one more, so that none is asked for with each piece.
#[derive(Debug)]
pub(super) struct Stage {
    bytes: Box<[u8; STAGE]>,
    at: usize,
}

impl Stage {
    pub(super) fn new() -> Stage {
        Stage { bytes: Box::new([0; STAGE]), at: 0 }
    }

    /// Appends what was gathered.
    #[inline]
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes[..self.at.min(STAGE)]);
        self.at = 0;
    }

    /// Gathers the attribute, or appends it behind those; nothing for null.
    #[inline(always)]
    pub(super) fn pair(&mut self, head: &Head, value: Spot<'_>, plain: &mut Vec<u8>, out: &mut Vec<u8>) {
        if self.at > STAGE - ROOM {
            self.flush(out);
        }
        let Some(room) = self.bytes.get_mut(self.at..).and_then(|room| room.first_chunk_mut::<ROOM>()) else { return };
        let added = match value {
            Spot::Text(from, start, end) => text(head, from, start, end, room),
            Spot::Other(Value::Null) => return,
            Spot::Other(Value::Bool(b)) => number(head, 2 << 3, u64::from(b), room),
            Spot::Other(Value::Number(spelling)) => match whole(spelling) {
                Some(n) => number(head, 3 << 3, n, room),
                None => 0,
            },
            Spot::Object(..) | Spot::Other(_) => 0,
        };
        self.at += added;
        if added == 0 {
            self.flush(out);
            append(head, value, plain, out);
        }
    }
}

/// Writes the text `from[start..end]`; how many bytes that took, 0 where it is too long for the room.
#[inline(always)]
fn text(head: &Head, from: &[u8], start: usize, end: usize, room: &mut [u8; ROOM]) -> usize {
    let (len, bytes) = (head.len, end - start);
    // The text behind its tag and length, in the value behind its.
    let (pair, mut at) = (len + bytes + 1, len);
    if len == 0 || len > HEAD || bytes >= 250 {
        return 0;
    }
    if pair < 0x80 {
        room[..HEAD].copy_from_slice(&head.bytes);
        room[1] = pair as u8;
        room[at..at + 3].copy_from_slice(&[bytes as u8 + 2, 1 << 3 | 2, bytes as u8]);
        at += 3;
    } else {
        let value = field_len(bytes);
        let pair = len - 2 + varint_len(value as u64) + value;
        room[3..HEAD + 1].copy_from_slice(&head.bytes[2..]);
        room[..3].copy_from_slice(&[head.bytes[0], pair as u8 | 0x80, (pair >> 7) as u8]);
        at = varint(value, len + 1, room);
        room[at] = 1 << 3 | 2;
        at = varint(bytes, at + 1, room);
    }
    let to = &mut room[at..];
    match (from.get(start..start + RUN).and_then(|run| run.first_chunk::<RUN>()), to.first_chunk_mut::<RUN>()) {
        (Some(run), Some(to)) if bytes <= RUN => *to = *run,
        _ => to[..bytes].copy_from_slice(&from[start..end]),
    }
    at + bytes
}

/// Writes a number below 2^14; the place behind it.
#[inline(always)]
fn varint(n: usize, at: usize, room: &mut [u8; ROOM]) -> usize {
    if n < 0x80 {
        room[at] = n as u8;
        return at + 1;
    }
    room[at..at + 2].copy_from_slice(&[n as u8 | 0x80, (n >> 7) as u8]);
    at + 2
}

/// Writes a value of variable width; how many bytes that took.
#[inline(always)]
fn number(head: &Head, tag: u8, mut n: u64, room: &mut [u8; ROOM]) -> usize {
    let (len, value) = (head.len, 1 + varint_len(n));
    if len == 0 || len > HEAD {
        return 0;
    }
    room[..HEAD].copy_from_slice(&head.bytes);
    room[1] = (len - 1 + value) as u8;
    room[len..len + 2].copy_from_slice(&[value as u8, tag]);
    let mut at = len + 2;
    while n >= 0x80 && at < len + 12 {
        room[at] = n as u8 | 0x80;
        n >>= 7;
        at += 1;
    }
    room[at] = n as u8;
    at + 1
}

/// Appends any attribute.
#[inline(never)]
fn append(head: &Head, value: Spot<'_>, plain: &mut Vec<u8>, out: &mut Vec<u8>) {
    match value {
        Spot::Text(from, start, end) => push_pair_of_text(head.number, &head.key, &from[start..end], out),
        Spot::Object(from, start) => push_message(head.number, out, |out| {
            push_bytes(1, &head.key, out);
            push_message(2, out, |out| {
                push_message(6, out, |out| _ = Nested { text: from, plain }.members(start, 1, out));
            });
        }),
        Spot::Other(value) => pair(&head.key, value, head.number, plain, out),
    }
}

/// Whether a field with a role is an attribute after all, as its value is not what the role wants.
pub(super) fn is_attribute(role: Role, value: Value<'_>) -> bool {
    match (role, value) {
        (_, Value::Null) => false,
        (Role::Resource | Role::Scope | Role::Attributes, value) => !matches!(value, Value::Object(_)),
        (Role::Events | Role::Links, value) => !matches!(value, Value::Array(_)),
        (Role::TraceId, Value::Str(id)) => !id.bytes.is_empty() && read_id::<16>(id.bytes).is_none(),
        (Role::SpanId | Role::ParentId, Value::Str(id)) => !id.bytes.is_empty() && read_id::<8>(id.bytes).is_none(),
        _ => false,
    }
}

/// The members of an object as `KeyValue`s.
pub(super) fn pairs(object: &[u8], number: u32, plain: &mut Vec<u8>, out: &mut Vec<u8>) {
    _ = Nested { text: object, plain }.members(0, number, out);
}

/// A `KeyValue`. All but lists and objects are as long as can be told beforehand.
pub(super) fn pair(key: &[u8], value: Value<'_>, number: u32, plain: &mut Vec<u8>, out: &mut Vec<u8>) {
    match value {
        Value::Str(text) => push_pair_of_text(number, key, text.text(plain), out),
        Value::Array(_) | Value::Object(_) => push_message(number, out, |out| {
            push_bytes(1, key, out);
            push_message(2, out, |out| any(value, plain, out));
        }),
        _ => {
            let mut field = std::mem::take(plain);
            field.clear();
            any(value, plain, &mut field);
            push_varint(u64::from(number) << 3 | 2, out);
            push_varint((field_len(key.len()) + field_len(field.len())) as u64, out);
            push_bytes(1, key, out);
            push_bytes(2, &field, out);
            *plain = field;
        }
    }
}

/// An `AnyValue`'s fields.
pub(super) fn any(value: Value<'_>, plain: &mut Vec<u8>, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Bool(b) => push_number(2, u64::from(b), out),
        Value::I64(n) => push_number(3, n as u64, out),
        Value::F64(x) => push_fixed64(4, x.to_bits(), out),
        Value::Number(spelling) => match whole(spelling).map(|n| n as i64).or_else(|| value.as_i64()) {
            Some(n) => push_number(3, n as u64, out),
            None => value.as_f64().into_iter().for_each(|x| push_fixed64(4, x.to_bits(), out)),
        },
        Value::Timestamp(_) => {
            plain.clear();
            value.append_text(plain);
            push_bytes(1, plain, out);
        }
        Value::Str(text) => push_bytes(1, text.text(plain), out),
        Value::Array(text) | Value::Object(text) => _ = Nested { text, plain }.any(0, out),
    }
}

/// Writes what stands nested in a text of JSON. Shape: it begins with a valid value; what stands behind that is not read.
///
/// Each step gives the place behind what it has written, `None` where the text is no such value after all.
/// Depth of recursion: that of the JSON, which is bounded where it is read.
struct Nested<'t, 'p> {
    text: &'t [u8],
    plain: &'p mut Vec<u8>,
}

impl<'t> Nested<'t, '_> {
    /// The first byte from `at` on that is no white space, and its place.
    #[inline(always)]
    fn token(&self, mut at: usize) -> Option<(u8, usize)> {
        loop {
            match *self.text.get(at)? {
                b' ' | b'\t' | b'\n' | b'\r' => at += 1,
                c => return Some((c, at)),
            }
        }
    }

    /// Where the string whose opening quote is at `at` has its closing one, and whether it has escapes.
    #[inline(always)]
    fn string(&self, at: usize) -> Option<(usize, bool)> {
        let (mut from, mut escaped) = (at + 1, false);
        loop {
            let at = find(self.text, from, Class::QuoteOrBackslash);
            if *self.text.get(at)? == b'"' {
                return Some((at, escaped));
            }
            (from, escaped) = (at + 2, true);
        }
    }

    /// The members of the object at `at`.
    fn members(&mut self, at: usize, number: u32, out: &mut Vec<u8>) -> Option<usize> {
        let text = self.text;
        let (open, at) = self.token(at)?;
        let (mut c, mut at) = self.token(at + 1)?;
        if open != b'{' || c == b'}' {
            return (open == b'{').then_some(at + 1);
        }
        while c == b'"' {
            let (close, escaped) = self.string(at)?;
            let key = (at + 1, close);
            let (colon, behind) = self.token(close + 1)?;
            let (first, value) = self.token(behind + 1)?;
            if colon != b':' {
                return None;
            }
            let behind = if escaped {
                let mut name = Vec::new();
                unescape(&text[key.0..key.1], &mut name);
                self.pair(&name, (0, name.len()), first, value, number, out)?
            } else {
                self.pair(text, key, first, value, number, out)?
            };
            (c, at) = self.token(behind)?;
            match c {
                b',' => (c, at) = self.token(at + 1)?,
                b'}' => return Some(at + 1),
                _ => return None,
            }
        }
        None
    }

    /// A `KeyValue`, whose key is `keys[key.0..key.1]` and whose value begins at `at` with `first`.
    #[inline(always)]
    fn pair(
        &mut self,
        keys: &[u8],
        key: (usize, usize),
        first: u8,
        at: usize,
        number: u32,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        match first {
            b'"' => {
                let (close, escaped) = self.string(at)?;
                let (text, bytes) = (self.text, close - at - 1);
                // Bytes of the pair, where each of its lengths has one.
                let pair = key.1 - key.0 + bytes + 6;
                if escaped {
                    self.plain.clear();
                    unescape(&text[at + 1..close], self.plain);
                    push_pair_of_text(number, &keys[key.0..key.1], self.plain, out);
                } else if pair < 0x80 && number < 16 {
                    let len = (key.1 - key.0) as u8;
                    out.extend_from_slice(&[(number << 3 | 2) as u8, pair as u8, 1 << 3 | 2, len]);
                    push_run(keys, key.0, key.1, out);
                    out.extend_from_slice(&[2 << 3 | 2, bytes as u8 + 2, 1 << 3 | 2, bytes as u8]);
                    push_run(text, at + 1, close, out);
                } else {
                    push_pair_of_text(number, &keys[key.0..key.1], &text[at + 1..close], out);
                }
                Some(close + 1)
            }
            b'{' | b'[' => push_message(number, out, |out| {
                push_bytes(1, &keys[key.0..key.1], out);
                push_message(2, out, |out| self.any(at, out))
            }),
            _ => {
                let (value, behind) = self.word(first, at);
                pair(&keys[key.0..key.1], value, number, self.plain, out);
                Some(behind)
            }
        }
    }

    /// The fields of the `AnyValue` at `at`.
    fn any(&mut self, at: usize, out: &mut Vec<u8>) -> Option<usize> {
        let (first, at) = self.token(at)?;
        match first {
            b'{' => push_message(6, out, |out| self.members(at, 1, out)),
            b'[' => push_message(5, out, |out| self.items(at, out)),
            b'"' => {
                let (close, _) = self.string(at)?;
                push_bytes(1, str_of(&self.text[at + 1..close]).text(self.plain), out);
                Some(close + 1)
            }
            _ => {
                let (value, behind) = self.word(first, at);
                any(value, self.plain, out);
                Some(behind)
            }
        }
    }

    fn items(&mut self, at: usize, out: &mut Vec<u8>) -> Option<usize> {
        let (first, mut at) = self.token(at + 1)?;
        if first == b']' {
            return Some(at + 1);
        }
        loop {
            let behind = push_message(1, out, |out| self.any(at, out))?;
            let (c, next) = self.token(behind)?;
            match c {
                b',' => at = next + 1,
                b']' => return Some(next + 1),
                _ => return None,
            }
        }
    }

    /// A number, `true`, `false` or `null`, and the place behind it.
    fn word(&self, first: u8, at: usize) -> (Value<'t>, usize) {
        let is_end = |c: &u8| matches!(c, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
        let rest = &self.text[at..];
        let len = rest.iter().position(is_end).unwrap_or(rest.len());
        let value = match first {
            b't' => Value::Bool(true),
            b'f' => Value::Bool(false),
            b'n' => Value::Null,
            _ => Value::Number(&rest[..len]),
        };
        (value, at + len)
    }
}

/// Bytes of a field of text or bytes whose number is below 16.
pub(super) fn field_len(bytes: usize) -> usize {
    1 + varint_len(bytes as u64) + bytes
}

/// A `KeyValue` of a text.
fn push_pair_of_text(number: u32, key: &[u8], text: &[u8], out: &mut Vec<u8>) {
    let value = field_len(text.len());
    let pair = field_len(key.len()) + field_len(value);
    if pair < 0x80 && number < 16 {
        // All lengths have one byte.
        out.reserve(pair + 2);
        out.extend_from_slice(&[(number << 3 | 2) as u8, pair as u8, 1 << 3 | 2, key.len() as u8]);
        out.extend_from_slice(key);
        out.extend_from_slice(&[2 << 3 | 2, value as u8, 1 << 3 | 2, text.len() as u8]);
        out.extend_from_slice(text);
        return;
    }
    push_varint(u64::from(number) << 3 | 2, out);
    push_varint(pair as u64, out);
    push_bytes(1, key, out);
    push_varint(2 << 3 | 2, out);
    push_varint(value as u64, out);
    push_bytes(1, text, out);
}

/// The number of a spelling that is only digits, where they are so few that any number of them fits.
#[inline]
fn whole(spelling: &[u8]) -> Option<u64> {
    if spelling.is_empty() || spelling.len() > 18 {
        return None;
    }
    spelling.iter().try_fold(0, |n, c| c.is_ascii_digit().then(|| n * 10 + u64::from(c - b'0')))
}

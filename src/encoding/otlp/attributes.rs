//! `KeyValue`s and `AnyValue`s: what attributes are made of.
//!
//! A member of an event is written behind a head that is kept for its key; nested objects and lists are written while they are
//! read, without values in between.

use super::ids::read_id;
use super::roles::Role;
use crate::event::json::{Class, find, str_of, unescape};
use crate::event::{Spot, Value, push_run};
use crate::wire::protobuf::{push_bytes, push_fixed64, push_message, push_number, push_varint, varint_len};

/// Bytes of a head that are copied at once.
const HEAD: usize = 32;

/// How the attribute with a key begins.
#[derive(Debug)]
pub(super) struct Head {
    /// Tag of the attribute, its length, tag of the key, its length, the key, tag of the value, and room for what stands before
    /// a text: two lengths and a tag between them. The lengths are set as they are written.
    bytes: [u8; HEAD],
    /// Bytes before that room; 0 where the key is too long for all this.
    len: usize,
    number: u32,
    key: Box<[u8]>,
}

impl Head {
    /// Of attributes that are field `number` of a record, below 16.
    pub(super) fn new(number: u32, key: &[u8]) -> Head {
        let (mut bytes, mut len) = ([0; HEAD], 0);
        if key.len() + 8 <= HEAD {
            len = key.len() + 5;
            bytes[..4].copy_from_slice(&[(number << 3 | 2) as u8, 0, 1 << 3 | 2, key.len() as u8]);
            bytes[4..len - 1].copy_from_slice(key);
            bytes[len - 1] = 2 << 3 | 2;
            bytes[len + 1] = 1 << 3 | 2;
        }
        Head { bytes, len, number, key: key.into() }
    }

    /// Appends the attribute; nothing for null.
    #[inline]
    pub(super) fn pair(&self, value: Spot<'_>, plain: &mut Vec<u8>, out: &mut Vec<u8>) {
        match value {
            Spot::Text(from, start, end) => self.text(from, start, end, out),
            Spot::Object(from, start) => {
                push_message(self.number, out, |out| {
                    push_bytes(1, &self.key, out);
                    push_message(2, out, |out| _ = Nested { text: from, plain }.any(start, out));
                });
            }
            Spot::Other(Value::Null) => {}
            Spot::Other(value) => match value {
                Value::Number(spelling) if spelling.len() <= 18 => match whole(spelling) {
                    Some(n) => self.whole(n, out),
                    None => pair(&self.key, value, self.number, plain, out),
                },
                _ => pair(&self.key, value, self.number, plain, out),
            },
        }
    }

    /// The text `from[start..end]`.
    #[inline]
    fn text(&self, from: &[u8], start: usize, end: usize, out: &mut Vec<u8>) {
        let (len, text) = (self.len, end - start);
        let pair = len + text + 1;
        let at = out.len();
        if len == 0 || pair >= 0x80 {
            return push_pair_of_text(self.number, &self.key, &from[start..end], out);
        }
        out.extend_from_slice(&self.bytes);
        out.truncate(at + len + 3);
        if let Some(head) = out.get_mut(at..at + len + 3) {
            head[1] = pair as u8;
            head[len] = text as u8 + 2;
            head[len + 2] = text as u8;
        }
        push_run(from, start, end, out);
    }

    /// A whole number.
    #[inline]
    fn whole(&self, n: u64, out: &mut Vec<u8>) {
        let (len, value) = (self.len, 1 + varint_len(n));
        let at = out.len();
        if len == 0 {
            push_message(self.number, out, |out| {
                push_bytes(1, &self.key, out);
                push_message(2, out, |out| push_number(3, n, out));
            });
            return;
        }
        out.extend_from_slice(&self.bytes);
        out.truncate(at + len + 1);
        if let Some(head) = out.get_mut(at..at + len + 1) {
            head[1] = (len - 1 + value) as u8;
            head[len] = value as u8;
        }
        push_number(3, n, out);
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
            let key = text.get(at + 1..close)?;
            let (colon, behind) = self.token(close + 1)?;
            let (first, value) = self.token(behind + 1)?;
            if colon != b':' {
                return None;
            }
            let behind = if escaped {
                let mut name = Vec::new();
                unescape(key, &mut name);
                self.pair(&name, first, value, number, out)?
            } else {
                self.pair(key, first, value, number, out)?
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

    /// A `KeyValue`, whose value begins at `at` with `first`.
    #[inline(always)]
    fn pair(&mut self, key: &[u8], first: u8, at: usize, number: u32, out: &mut Vec<u8>) -> Option<usize> {
        match first {
            b'"' => {
                let (close, escaped) = self.string(at)?;
                let text = &self.text[at + 1..close];
                if escaped {
                    self.plain.clear();
                    unescape(text, self.plain);
                    push_pair_of_text(number, key, self.plain, out);
                } else {
                    push_pair_of_text(number, key, text, out);
                }
                Some(close + 1)
            }
            b'{' | b'[' => push_message(number, out, |out| {
                push_bytes(1, key, out);
                push_message(2, out, |out| self.any(at, out))
            }),
            _ => {
                let (value, behind) = self.word(first, at);
                pair(key, value, number, self.plain, out);
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

//! Walking and editing nested JSON text that the scanner has found valid.

use super::super::path::Segment;
use super::super::value::{Form, Str, Value};
use super::{escape, unescape};

/// One token of a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// `{` or `[`.
    Open {
        /// It is an object.
        object: bool,
    },
    /// `}` or `]`.
    Close,
    /// A member's key; the span is without quotes.
    Key,
    /// A string value; the span is without quotes.
    Str,
    /// A number.
    Number,
    /// `true`, `false` or `null`.
    Literal,
}

/// Iterates over the tokens of one valid JSON value: each with the positions of its first byte and behind its last.
///
/// Iterative: depth costs no stack. On text that is not valid it ends early or yields nonsense, but never panics.
pub struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    /// A string that begins now is a key. Set behind `{` and, in objects, behind `,`.
    key_next: bool,
    /// One bit per open container: 1 for objects. The scanner allows 128 levels at most.
    objects: u128,
}

impl<'a> Tokens<'a> {
    /// Walks `text` from its start.
    pub fn new(text: &'a [u8]) -> Self {
        Tokens { text, at: 0, key_next: false, objects: 0 }
    }
}

impl Iterator for Tokens<'_> {
    type Item = (Token, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.at;
            let c = *self.text.get(at)?;
            self.at += 1;
            match c {
                b'{' | b'[' => {
                    let object = c == b'{';
                    self.objects = self.objects << 1 | u128::from(object);
                    self.key_next = object;
                    return Some((Token::Open { object }, at, at + 1));
                }
                b'}' | b']' => {
                    self.objects >>= 1;
                    self.key_next = false;
                    return Some((Token::Close, at, at + 1));
                }
                b',' => self.key_next = self.objects & 1 == 1,
                b'"' => {
                    let end = string_end(self.text, at + 1);
                    self.at = end + 1;
                    let token = if self.key_next { Token::Key } else { Token::Str };
                    self.key_next = false;
                    return Some((token, at + 1, end));
                }
                b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                    while self
                        .text
                        .get(self.at)
                        .is_some_and(|c| !matches!(c, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'))
                    {
                        self.at += 1;
                    }
                    let token = if matches!(c, b't' | b'f' | b'n') { Token::Literal } else { Token::Number };
                    return Some((token, at, self.at));
                }
                _ => {}
            }
        }
    }
}

/// Where the string that begins at `from` (behind its quote) has its closing quote.
fn string_end(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(i) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        if text[at + i] == b'"' {
            return at + i;
        }
        at += i + 2;
    }
    text.len()
}

/// The string with quotes cut off, in the form its bytes have.
pub fn str_of(bytes: &[u8]) -> Str<'_> {
    let form = if memchr::memchr(b'\\', bytes).is_some() { Form::Escaped } else { Form::Clean };
    Str { bytes, form }
}

/// A JSON value's text as a [`Value`]. Shape: valid JSON without white space around it.
pub fn value_of(text: &[u8]) -> Value<'_> {
    match text.first() {
        Some(b'"') => Value::Str(str_of(text.get(1..text.len() - 1).unwrap_or_default())),
        Some(b'{') => Value::Object(text),
        Some(b'[') => Value::Array(text),
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'n') | None => Value::Null,
        Some(_) => Value::Number(text),
    }
}

/// Members of one object or elements of one array: the key's span (empty in arrays) and the value's.
///
/// Value spans of strings take in their quotes. Shape: `text` is a valid object or array.
pub struct Children<'a> {
    tokens: Tokens<'a>,
}

/// A member or element, as positions in the text walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// First byte of the member: the key's opening quote, or the element itself.
    pub start: usize,
    /// The key's span without quotes; empty in arrays.
    pub key: (usize, usize),
    /// The value's span, strings with their quotes.
    pub value: (usize, usize),
}

impl<'a> Children<'a> {
    /// Walks the direct children of `text`.
    pub fn new(text: &'a [u8]) -> Self {
        let mut tokens = Tokens::new(text);
        if !matches!(tokens.next(), Some((Token::Open { .. }, ..))) {
            tokens.at = text.len();
        }
        Children { tokens }
    }
}

impl Iterator for Children<'_> {
    type Item = Child;

    fn next(&mut self) -> Option<Child> {
        let (mut token, mut from, mut to) = self.tokens.next()?;
        let mut child = Child { start: from, key: (0, 0), value: (0, 0) };
        if token == Token::Key {
            child.key = (from, to);
            child.start = from - 1;
            (token, from, to) = self.tokens.next()?;
        }
        match token {
            Token::Close | Token::Key => return None,
            Token::Str => (from, to) = (from - 1, to + 1),
            Token::Number | Token::Literal => {}
            Token::Open { .. } => {
                let mut depth = 1u32;
                while depth > 0 {
                    match self.tokens.next()? {
                        (Token::Open { .. }, ..) => depth += 1,
                        (Token::Close, _, end) => {
                            depth -= 1;
                            to = end;
                        }
                        _ => {}
                    }
                }
            }
        }
        if child.key == (0, 0) {
            child.start = from;
        }
        child.value = (from, to);
        Some(child)
    }
}

/// Whether a key as it stands in JSON equals `name`, unescaped.
pub fn key_is(key: &[u8], name: &[u8]) -> bool {
    if memchr::memchr(b'\\', key).is_none() {
        return key == name;
    }
    let mut plain = Vec::with_capacity(key.len());
    unescape(key, &mut plain);
    plain == name
}

fn matches(text: &[u8], child: &Child, n: usize, segment: &Segment) -> bool {
    match segment {
        Segment::Key(name) => text.first() == Some(&b'{') && key_is(&text[child.key.0..child.key.1], name.as_bytes()),
        Segment::Index(i) => text.first() == Some(&b'[') && n == *i,
    }
}

/// The value at `path` inside `text`; of duplicate keys the last one, as JSON readers take it.
pub fn get<'a>(text: &'a [u8], path: &[Segment]) -> Option<&'a [u8]> {
    let mut here = text;
    for segment in path {
        let mut found = None;
        for (n, child) in Children::new(here).enumerate() {
            if matches(here, &child, n, segment) {
                found = Some(child.value);
            }
        }
        let (from, to) = found?;
        here = &here[from..to];
    }
    Some(here)
}

/// Appends `text` with the value at `path` set to the JSON `value`; missing objects on the way are made.
///
/// All duplicates of a key are set. Where the path runs through something that is no object (or an index that is not
/// there) nothing can be set: `false`, and `out` is as before.
pub fn set(text: &[u8], path: &[Segment], value: &[u8], out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let done = edit(text, path, Some(value), out);
    if !done {
        out.truncate(before);
    }
    done
}

/// Appends `text` without what stands at `path` (every duplicate); `false`, and `out` as before, where nothing does.
pub fn remove(text: &[u8], path: &[Segment], out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let done = edit(text, path, None, out);
    if !done {
        out.truncate(before);
    }
    done
}

/// Recurses as deep as `path` is long, which comes from the configuration.
fn edit(text: &[u8], path: &[Segment], value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    let Some((segment, rest)) = path.split_first() else {
        return false;
    };
    let is_object = text.first() == Some(&b'{');
    if !is_object && !(text.first() == Some(&b'[') && matches!(segment, Segment::Index(_))) {
        return false;
    }
    let mut done = false;
    let mut empty = true;
    out.push(text[0]);
    for (n, child) in Children::new(text).enumerate() {
        let hit = matches(text, &child, n, segment);
        if hit && rest.is_empty() && value.is_none() {
            done = true;
            continue;
        }
        if !empty {
            out.push(b',');
        }
        empty = false;
        let (from, to) = child.value;
        if !hit {
            out.extend_from_slice(&text[child.start..to]);
            continue;
        }
        out.extend_from_slice(&text[child.start..from]);
        if rest.is_empty() {
            out.extend_from_slice(value.unwrap_or_default());
            done = true;
        } else {
            let mark = out.len();
            if edit(&text[from..to], rest, value, out) {
                done = true;
            } else {
                out.truncate(mark);
                out.extend_from_slice(&text[from..to]);
            }
        }
    }
    if let (false, Some(value), Segment::Key(name)) = (done, value, segment)
        && is_object
        && get(text, &path[..1]).is_none()
    {
        if !empty {
            out.push(b',');
        }
        push_member(name, rest, value, out);
        done = true;
    }
    out.push(if is_object { b'}' } else { b']' });
    done
}

/// Appends `"name":` and the value, inside new objects for the rest of the path. Indexes make no arrays.
pub fn push_member(name: &str, rest: &[Segment], value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    escape(name.as_bytes(), out);
    out.extend_from_slice(b"\":");
    push_nested(rest, value, out);
}

/// Appends the value, inside new objects for each segment of the path.
pub fn push_nested(path: &[Segment], value: &[u8], out: &mut Vec<u8>) {
    for segment in path {
        out.extend_from_slice(b"{\"");
        match segment {
            Segment::Key(name) => escape(name.as_bytes(), out),
            Segment::Index(i) => out.extend_from_slice(itoa::Buffer::new().format(*i).as_bytes()),
        }
        out.extend_from_slice(b"\":");
    }
    out.extend_from_slice(value);
    out.extend(path.iter().map(|_| b'}'));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn path(keys: &[&str]) -> Vec<Segment> {
        keys.iter().map(|k| k.parse().map_or_else(|_| Segment::Key((*k).to_owned()), Segment::Index)).collect()
    }

    #[test]
    fn nested_values_are_found_set_and_removed() {
        let text = br#"{"a": [1, {"b":"x,}"}], "c":{} , "em\u0061il":2,"c":3}"#;
        assert_eq!(get(text, &path(&["a", "1", "b"])), Some(&br#""x,}""#[..]));
        assert_eq!(get(text, &path(&["email"])), Some(&b"2"[..]));
        assert_eq!(get(text, &path(&["c"])), Some(&b"3"[..]));
        let mut out = Vec::new();
        assert!(set(text, &path(&["a", "1", "n", "m"]), b"true", &mut out));
        assert_eq!(out, br#"{"a": [1,{"b":"x,}","n":{"m":true}}],"c":{},"em\u0061il":2,"c":3}"#);
        out.clear();
        assert!(remove(text, &path(&["c"]), &mut out));
        assert_eq!(out, br#"{"a": [1, {"b":"x,}"}],"em\u0061il":2}"#);
        out.clear();
        assert!(!set(text, &path(&["a", "7"]), b"1", &mut out));
        assert!(!set(text, &path(&["email", "x"]), b"1", &mut out));
        assert!(out.is_empty());
    }
}

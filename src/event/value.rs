//! Values as components see them.

use super::json;

/// A value of an event, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// JSON null.
    Null,
    /// A boolean.
    Bool(bool),
    /// A 64-bit integer made by a component.
    I64(i64),
    /// A float made by a component; finite or not.
    F64(f64),
    /// A time in nanoseconds since 1970 UTC made by a component; encoded as RFC 3339.
    Timestamp(i64),
    /// A number in its own spelling, valid as JSON.
    Number(&'a [u8]),
    /// Text.
    Str(Str<'a>),
    /// A JSON object as text, valid, with its braces.
    Object(&'a [u8]),
    /// A JSON array as text, valid, with its brackets.
    Array(&'a [u8]),
}

/// How the bytes of a [`Str`] stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Plain and free of `"`, `\` and control characters: the same as text and inside a JSON string.
    Clean,
    /// Plain text that may need escapes in JSON.
    Plain,
    /// As inside a JSON string, with escapes as they came.
    Escaped,
}

/// Text of an event: UTF-8, either plain or with JSON escapes left as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Str<'a> {
    /// The bytes, without quotes.
    pub bytes: &'a [u8],
    /// What the bytes are.
    pub form: Form,
}

impl<'a> Str<'a> {
    /// Text that may hold anything.
    pub fn plain(bytes: &'a [u8]) -> Self {
        Str { bytes, form: Form::Plain }
    }

    /// The plain text: borrowed where it has no escapes, else unescaped into `buf` (which is cleared).
    pub fn text<'b>(&self, buf: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        match self.form {
            Form::Clean | Form::Plain => self.bytes,
            Form::Escaped => {
                buf.clear();
                json::unescape(self.bytes, buf);
                buf
            }
        }
    }

    /// Appends the plain text.
    pub fn append_text(&self, out: &mut Vec<u8>) {
        match self.form {
            Form::Clean | Form::Plain => out.extend_from_slice(self.bytes),
            Form::Escaped => json::unescape(self.bytes, out),
        }
    }

    /// Appends the text as it stands inside a JSON string, without quotes.
    pub fn append_json(&self, out: &mut Vec<u8>) {
        match self.form {
            Form::Clean | Form::Escaped => out.extend_from_slice(self.bytes),
            Form::Plain => json::escape(self.bytes, out),
        }
    }

    /// Whether the plain text equals `text`.
    pub fn is(&self, text: &[u8]) -> bool {
        match self.form {
            Form::Clean | Form::Plain => self.bytes == text,
            Form::Escaped => {
                let mut buf = Vec::new();
                json::unescape(self.bytes, &mut buf);
                buf == text
            }
        }
    }
}

impl<'a> Value<'a> {
    /// The value as a float, where it is a number (not text that looks like one).
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::I64(n) => Some(n as f64),
            Value::F64(x) => Some(x),
            Value::Number(spelling) => std::str::from_utf8(spelling).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The value as an integer, where it is one and fits.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::I64(n) => Some(n),
            Value::Number(spelling) => std::str::from_utf8(spelling).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The text of a string value.
    pub fn as_str(&self) -> Option<Str<'a>> {
        match *self {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// Appends the value as text: strings without quotes, everything else as its JSON.
    pub fn append_text(&self, out: &mut Vec<u8>) {
        match self {
            Value::Str(s) => s.append_text(out),
            Value::Timestamp(ns) => crate::time::write_rfc3339_utc(*ns, 3, out),
            _ => self.append_json(out),
        }
    }

    /// Appends the value as JSON.
    pub fn append_json(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::I64(n) => out.extend_from_slice(itoa::Buffer::new().format(*n).as_bytes()),
            Value::F64(x) => json::write_f64(*x, out),
            Value::Timestamp(ns) => {
                out.push(b'"');
                crate::time::write_rfc3339_utc(*ns, 3, out);
                out.push(b'"');
            }
            Value::Number(raw) | Value::Object(raw) | Value::Array(raw) => out.extend_from_slice(raw),
            Value::Str(s) => {
                out.push(b'"');
                s.append_json(out);
                out.push(b'"');
            }
        }
    }

    /// The name of its JSON type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::I64(_) | Value::F64(_) | Value::Number(_) => "number",
            Value::Timestamp(_) | Value::Str(_) => "string",
            Value::Object(_) => "object",
            Value::Array(_) => "array",
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Str(Str::plain(text.as_bytes()))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(text: &'a [u8]) -> Self {
        Value::Str(Str::plain(text))
    }
}

impl From<i64> for Value<'_> {
    fn from(n: i64) -> Self {
        Value::I64(n)
    }
}

impl From<f64> for Value<'_> {
    fn from(x: f64) -> Self {
        Value::F64(x)
    }
}

impl From<bool> for Value<'_> {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}

//! Attributes and values (`KeyValue`, `AnyValue`) to JSON text.

use crate::event::json;
use crate::wire::protobuf::{Fields, Malformed};
use base64::Engine;

/// Values nested deeper than this are malformed: what a JSON reader behind us takes is bounded too.
const DEPTH: usize = 64;

/// Writes values, and counts text that was no UTF-8.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) invalid_utf8: u64,
    value: Vec<u8>,
}

impl Values {
    /// Appends text as it stands inside a JSON string; what is not UTF-8 is replaced.
    pub(super) fn text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        match simdutf8::basic::from_utf8(text) {
            Ok(_) => json::escape(text, out),
            Err(_) => {
                self.invalid_utf8 += 1;
                json::escape(String::from_utf8_lossy(text).as_bytes(), out);
            }
        }
    }

    /// Appends text as a JSON string.
    pub(super) fn string(&mut self, text: &[u8], out: &mut Vec<u8>) {
        out.push(b'"');
        self.text(text, out);
        out.push(b'"');
    }

    /// Appends the attributes that stand in field `number` of `message` as one object, its members with `write`.
    fn members(
        &mut self,
        message: &[u8],
        number: u32,
        out: &mut Vec<u8>,
        mut write: impl FnMut(&mut Self, &[u8], &mut Vec<u8>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut comma = false;
        for field in Fields::new(message) {
            let (n, value) = field?;
            if n == number {
                if std::mem::replace(&mut comma, true) {
                    out.push(b',');
                }
                write(self, value.bytes()?, out)?;
            }
        }
        Ok(())
    }

    /// Appends the attributes that stand in field `number` of `message` as a JSON object.
    pub(super) fn object(&mut self, message: &[u8], number: u32, out: &mut Vec<u8>) -> Result<(), Malformed> {
        out.push(b'{');
        self.members(message, number, out, |values, pair, out| values.pair(pair, out, 1))?;
        out.push(b'}');
        Ok(())
    }

    /// Appends a `KeyValue` as a member whose value is a string.
    pub(super) fn label(&mut self, pair: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let (key, value) = key_and_value(pair)?;
        self.string(key, out);
        out.push(b':');
        let mut text = std::mem::take(&mut self.value);
        text.clear();
        let result = value.map_or(Ok(()), |value| self.any(value, &mut text, 1));
        match text.first() {
            Some(b'"') => out.extend_from_slice(&text),
            _ => {
                out.push(b'"');
                json::escape(&text, out);
                out.push(b'"');
            }
        }
        self.value = text;
        result
    }

    fn pair(&mut self, pair: &[u8], out: &mut Vec<u8>, depth: usize) -> Result<(), Malformed> {
        let (key, value) = key_and_value(pair)?;
        self.string(key, out);
        out.push(b':');
        match value {
            Some(value) => self.any(value, out, depth),
            None => {
                out.extend_from_slice(b"null");
                Ok(())
            }
        }
    }

    /// Appends an `AnyValue` as JSON: bytes as base64, numbers that are none as `"NaN"`, `"Infinity"`, `"-Infinity"`.
    pub(super) fn any(&mut self, value: &[u8], out: &mut Vec<u8>, depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH {
            return Err(Malformed("values are nested too deeply"));
        }
        // Of several alternatives the last counts.
        let Some(last) = Fields::new(value).try_fold(None, |last, field| {
            let field = field?;
            Ok(if (1..=7).contains(&field.0) { Some(field) } else { last })
        })?
        else {
            out.extend_from_slice(b"null");
            return Ok(());
        };
        let (number, value) = last;
        match number {
            1 => self.string(value.bytes()?, out),
            2 => out.extend_from_slice(if value.u64()? != 0 { b"true" } else { b"false" }),
            3 => out.extend_from_slice(itoa::Buffer::new().format(value.i64()?).as_bytes()),
            4 => number_or_name(value.f64()?, out),
            5 => {
                out.push(b'[');
                let mut comma = false;
                for field in Fields::new(value.bytes()?) {
                    let (n, item) = field?;
                    if n == 1 {
                        if std::mem::replace(&mut comma, true) {
                            out.push(b',');
                        }
                        self.any(item.bytes()?, out, depth + 1)?;
                    }
                }
                out.push(b']');
            }
            6 => {
                out.push(b'{');
                let depth = depth + 1;
                self.members(value.bytes()?, 1, out, |values, pair, out| values.pair(pair, out, depth))?;
                out.push(b'}');
            }
            _ => {
                out.push(b'"');
                let text = base64::engine::general_purpose::STANDARD.encode(value.bytes()?);
                out.extend_from_slice(text.as_bytes());
                out.push(b'"');
            }
        }
        Ok(())
    }
}

/// Appends a float as JSON; what JSON has no number for as its name, as protocol buffers' JSON has it.
fn number_or_name(x: f64, out: &mut Vec<u8>) {
    let name: &[u8] = match x {
        _ if x.is_finite() => return json::write_f64(x, out),
        _ if x.is_nan() => b"\"NaN\"",
        _ if x > 0.0 => b"\"Infinity\"",
        _ => b"\"-Infinity\"",
    };
    out.extend_from_slice(name);
}

/// Key and value of a `KeyValue`.
pub(super) fn key_and_value(pair: &[u8]) -> Result<(&[u8], Option<&[u8]>), Malformed> {
    let (mut key, mut found) = (&b""[..], None);
    for field in Fields::new(pair) {
        match field? {
            (1, text) => key = text.bytes()?,
            (2, value) => found = Some(value.bytes()?),
            _ => {}
        }
    }
    Ok((key, found))
}

/// Appends bytes as small hexadecimal digits.
pub(super) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

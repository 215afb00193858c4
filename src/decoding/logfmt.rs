//! logfmt: `level=info msg="user logged in" user=42 debug`.
//!
//! Every value is text as it was written (quoted ones without quotes and escapes); `edit: {convert: …}` makes numbers
//! of them. A key without `=` is `true`, `key=` the empty string. Of a key given twice the last value counts.
//! A line without any `key=value` is not logfmt, nor is one whose quotes do not close.

use super::FrameDecoder;
use super::keys::KeyCache;
use crate::event::{Batch, Str, Value, json};
use crate::framing::span::Span;

/// The value of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairValue {
    /// The key stood alone.
    Flag,
    /// As written, or between quotes without a backslash.
    Text(Span),
    /// Between quotes, with backslashes that stand for something.
    Escaped(Span),
}

/// One `key=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Where the key is; never empty.
    pub key: Span,
    /// Its value.
    pub value: PairValue,
}

/// Finds the pairs of a line, in order.
///
/// Errors: why the line is not logfmt; `pairs` then holds those found before.
pub fn parse(line: &[u8], pairs: &mut Vec<Pair>) -> Result<(), &'static str> {
    pairs.clear();
    let mut at = 0;
    let mut any_value = false;
    loop {
        while line.get(at).is_some_and(|c| *c <= b' ') {
            at += 1;
        }
        if at >= line.len() {
            break;
        }
        let from = at;
        while line.get(at).is_some_and(|c| *c > b' ' && !matches!(c, b'=' | b'"')) {
            at += 1;
        }
        let key = Span::new(from, at);
        if key.is_empty() || line.get(at) == Some(&b'"') {
            return Err("not logfmt: a key is missing");
        }
        if line.get(at) != Some(&b'=') {
            pairs.push(Pair { key, value: PairValue::Flag });
            continue;
        }
        any_value = true;
        at += 1;
        let value = if line.get(at) == Some(&b'"') {
            let (value, end) = quoted(line, at + 1).ok_or("not logfmt: a quote is not closed")?;
            at = end;
            value
        } else {
            let from = at;
            while line.get(at).is_some_and(|c| *c > b' ') {
                at += 1;
            }
            PairValue::Text(Span::new(from, at))
        };
        pairs.push(Pair { key, value });
    }
    if any_value { Ok(()) } else { Err("not logfmt: no `key=value`") }
}

/// The value that begins at `from` behind its quote, and the position behind the closing one.
fn quoted(line: &[u8], from: usize) -> Option<(PairValue, usize)> {
    let mut at = from;
    let mut escaped = false;
    loop {
        at += memchr::memchr2(b'"', b'\\', line.get(at..)?)?;
        if line.get(at) == Some(&b'"') {
            let span = Span::new(from, at);
            return Some((if escaped { PairValue::Escaped(span) } else { PairValue::Text(span) }, at + 1));
        }
        escaped = true;
        at += 2;
    }
}

/// Decodes logfmt lines.
#[derive(Default)]
pub struct LogfmtDecoder {
    pairs: Vec<Pair>,
    keys: KeyCache,
    buf: Vec<u8>,
}

impl FrameDecoder for LogfmtDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        let LogfmtDecoder { pairs, keys, buf } = self;
        parse(&batch.text()[start..end], pairs)?;
        let row = batch.push_line(start, end, offset);
        for (n, pair) in pairs.iter().enumerate() {
            let line = &batch.text()[start..end];
            let key = keys.get(n, pair.key.of(line));
            if let (Some(sym), PairValue::Text(span)) = (key, pair.value)
                && batch.event(row).position(sym).is_none()
            {
                batch.push_text_field(sym, start + span.start, start + span.end);
                continue;
            }
            let value = match pair.value {
                PairValue::Flag => Value::Bool(true),
                PairValue::Text(span) => {
                    buf.clear();
                    buf.extend_from_slice(span.of(line));
                    Value::Str(Str::plain(buf))
                }
                PairValue::Escaped(span) => {
                    buf.clear();
                    json::unescape(span.of(line), buf);
                    Value::Str(Str::plain(buf))
                }
            };
            match key {
                Some(sym) => batch.event_mut(row).set_field(sym, value),
                None => {
                    let name = pair.key.of(line).to_vec();
                    batch.event_mut(row).push_text(&name, value);
                }
            }
        }
        Ok(())
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(LogfmtDecoder::default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::decode_line;
    use super::*;
    use proptest::prelude::*;

    fn decoded(line: &str) -> Result<String, String> {
        decode_line(&mut LogfmtDecoder::default(), line.as_bytes())
    }

    #[test]
    fn values_are_text_and_flags_are_true() {
        assert_eq!(
            decoded(r#"level=info msg="user \"x\" in\n" n=42 e= q="" debug ts=2024-01-01T00:00:00Z"#).unwrap(),
            r#"{"level":"info","msg":"user \"x\" in\n","n":"42","e":"","q":"","debug":true,"ts":"2024-01-01T00:00:00Z"}"#
        );
    }

    #[test]
    fn of_a_key_given_twice_the_last_value_counts() {
        assert_eq!(decoded("a=1 b=2 a=3").unwrap(), r#"{"a":"3","b":"2"}"#);
        assert_eq!(decoded("a=1 a").unwrap(), r#"{"a":true}"#);
    }

    #[test]
    fn other_lines_are_refused() {
        for line in ["", "hello world", "a=\"b", "=b", "\"a\"=b", "{\"a\": 1}"] {
            assert!(decoded(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(pairs in prop::collection::vec(("[a-z.]{1,8}", "\\PC{0,12}"), 1..8)) {
            let mut line = String::new();
            let mut expected = serde_json::Map::new();
            for (key, value) in &pairs {
                line.push_str(&format!(" {key}={}", serde_json::to_string(value).unwrap()));
                expected.insert(key.clone(), value.clone().into());
            }
            let got: serde_json::Value = serde_json::from_str(&decoded(&line).unwrap()).unwrap();
            prop_assert_eq!(got, serde_json::Value::Object(expected));
        }

        #[test]
        fn no_line_panics(line in "(\\PC|[=\" \\\\]){0,40}") {
            decoded(&line).ok();
        }
    }
}

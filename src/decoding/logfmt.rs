//! logfmt: `level=info msg="user logged in" user=42 debug`.
//!
//! Every value is text as it was written (quoted ones without quotes and escapes); `edit: {convert: …}` makes numbers
//! of them. A key without `=` is `true`, `key=` the empty string. Of a key given twice the first value counts, since what comes behind
//! may be what a client chose; the others are `key_2`, `key_3`, …, so that none is lost.
//! Single quotes are quotes where the closing one ends the word, as in
//! auditd's `msg='op=login res=success'`; there no backslash means anything.
//! A line without any `key=value` is not logfmt, nor is one whose double quotes do not close.

use super::FrameDecoder;
use super::keys::{KeyCache, push_numbered};
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
    let (mut any_value, mut may_close) = (false, true);
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
        let value = match line.get(at) {
            Some(b'"') => {
                let (value, end) = quoted(line, at + 1).ok_or("not logfmt: a quote is not closed")?;
                at = end;
                value
            }
            Some(b'\'') if may_close && line.get(at + 1).is_some() => {
                // One that is not closed is the last that is looked for: there is none behind it.
                let end = single_quoted(line, at + 1);
                may_close = end.is_some();
                let value = match end {
                    Some(end) => Span::new(at + 1, end),
                    None => word(line, at),
                };
                at = end.map_or(value.end, |end| end + 1);
                PairValue::Text(value)
            }
            _ => {
                let value = word(line, at);
                at = value.end;
                PairValue::Text(value)
            }
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

/// What stands from `at` to the next blank or the end.
#[inline(always)]
fn word(line: &[u8], at: usize) -> Span {
    let mut end = at;
    while line.get(end).is_some_and(|c| *c > b' ') {
        end += 1;
    }
    Span::new(at, end)
}

/// Where the single quote is that ends the value which begins at `from`: a blank or the end stands behind it.
#[cold]
fn single_quoted(line: &[u8], from: usize) -> Option<usize> {
    let rest = line.get(from..)?;
    let ends = |at: &usize| rest.get(at + 1).is_none_or(|c| *c <= b' ');
    memchr::memchr_iter(b'\'', rest).find(ends).map(|at| from + at)
}

/// Pairs up to which those of one key are counted.
const COUNTED: usize = 256;

/// How many of the pairs in front of pair `n` have its key, and one more; of very many pairs its place among all.
#[cold]
pub(super) fn occurrence(line: &[u8], pairs: &[Pair], n: usize) -> usize {
    let Some(pair) = pairs.get(n) else { return 1 };
    if n > COUNTED {
        return n + 1;
    }
    1 + pairs.iter().take(n).filter(|other| other.key.of(line) == pair.key.of(line)).count()
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
            let taken = key.is_some_and(|sym| batch.event(row).position(sym).is_some());
            if let (Some(sym), PairValue::Text(span), false) = (key, pair.value, taken) {
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
                Some(sym) if !taken => {
                    batch.event_mut(row).push(sym, value);
                }
                _ => {
                    let (name, number) = (pair.key.of(line).to_vec(), occurrence(line, pairs, n));
                    if number == 1 && !taken {
                        batch.event_mut(row).push_text(&name, value);
                    } else {
                        push_numbered(batch, row, &name, number.max(2), value);
                    }
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
    fn of_a_key_given_twice_the_first_counts_and_none_is_lost() {
        assert_eq!(decoded("a=1 b=2 a=3").unwrap(), r#"{"a":"1","b":"2","a_2":"3"}"#);
        assert_eq!(decoded("a=1 a a=\"x\\\"\"").unwrap(), r#"{"a":"1","a_2":true,"a_3":"x\""}"#);
        // A name of the line's own goes first.
        assert_eq!(decoded("a_2=0 a=1 a=2").unwrap(), r#"{"a_2":"0","a":"1","a_3":"2"}"#);
        assert_eq!(decoded("a=1 a=2 a_2=3").unwrap(), r#"{"a":"1","a_2":"2","a_2_2":"3"}"#);
        let many = decoded(&"a=1 ".repeat(3000)).unwrap();
        assert!(many.contains(r#""a_3000":"1""#), "{}", many.len());
    }

    #[test]
    fn single_quotes_are_quotes_where_they_end_a_word() {
        // auditd: `msg` once of the record, once of the program.
        assert_eq!(
            decoded(r#"type=USER_LOGIN msg=audit(1796029200.123:456): pid=7 msg='op=login acct="root" res=failed'"#)
                .unwrap(),
            r#"{"type":"USER_LOGIN","msg":"audit(1796029200.123:456):","pid":"7","msg_2":"op=login acct=\"root\" res=failed"}"#
        );
        assert_eq!(decoded("a='it's b' c=1").unwrap(), r#"{"a":"it's b","c":"1"}"#);
        assert_eq!(decoded("a='' b='x y").unwrap(), r#"{"a":"","b":"'x","y":true}"#);
        assert_eq!(decoded("a=o'clock b='t").unwrap(), r#"{"a":"o'clock","b":"'t"}"#);
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
            for (n, (key, value)) in pairs.iter().enumerate() {
                line.push_str(&format!(" {key}={}", serde_json::to_string(value).unwrap()));
                let before = pairs[..n].iter().filter(|(other, _)| other == key).count();
                let name = if before == 0 { key.clone() } else { format!("{key}_{}", before + 1) };
                expected.insert(name, value.clone().into());
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

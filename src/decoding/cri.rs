//! Container logs as the kubelet's runtimes (containerd, CRI-O) write them.
//!
//! ```text
//! 2016-10-06T00:17:09.669794202Z stdout F The content of the log entry
//! timestamp                      stream | message
//!                                       P: more to come, F: the last part
//! ```
//!
//! [`container`](crate::framing::container) joins the parts of a split message; here a joined message is one line, whose text
//! may have line feeds in it.

use super::FrameDecoder;
use super::span::Span;
use crate::event::{Batch, Sym};
use crate::time::parse_rfc3339;

/// One line, as places in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CriLine {
    /// RFC 3339, nanoseconds kept.
    pub timestamp: Span,
    /// `stdout` or `stderr`.
    pub stream: Span,
    /// The next line of this stream continues the message.
    pub partial: bool,
    /// May be empty.
    pub message: Span,
}

/// Reads a line.
///
/// Errors: why it is no container line.
pub fn parse(line: &[u8]) -> Result<CriLine, &'static str> {
    const REFUSED: &str = "not a CRI log line";
    let (timestamp, rest) = split(line).ok_or(REFUSED)?;
    if parse_rfc3339(timestamp.of(line)).is_none() {
        return Err(REFUSED);
    }
    let parts = parts(line, rest).ok_or(REFUSED)?;
    Ok(CriLine { timestamp, ..parts })
}

/// The stream's bit and whether more is to come; `None` for other lines. Cheaper than [`parse`]: reads no time.
pub(crate) fn part(line: &[u8]) -> Option<(u8, bool)> {
    let (_, rest) = split(line)?;
    let found = parts(line, rest)?;
    Some((if found.stream.of(line) == b"stdout" { 1 } else { 2 }, found.partial))
}

/// The time, and where the stream begins. A time has 20 to 35 bytes.
fn split(line: &[u8]) -> Option<(Span, usize)> {
    let at = memchr::memchr(b' ', line.get(..line.len().min(40))?)?;
    (at >= 20).then(|| (Span::new(0, at), at + 1))
}

fn parts(line: &[u8], from: usize) -> Option<CriLine> {
    let rest = line.get(from..)?;
    if !rest.starts_with(b"stdout ") && !rest.starts_with(b"stderr ") {
        return None;
    }
    let tags = rest.get(7..)?;
    // Tags are divided by colons; only the first has a meaning so far.
    let partial = match tags.first()? {
        b'P' => true,
        b'F' => false,
        _ => return None,
    };
    let tags_len = match tags.get(1) {
        None | Some(b' ') => 1,
        Some(b':') => memchr::memchr(b' ', tags).unwrap_or(tags.len()),
        Some(_) => return None,
    };
    let message = Span::new((from + 7 + tags_len + 1).min(line.len()), line.len());
    Some(CriLine { timestamp: Span::default(), stream: Span::new(from, from + 6), partial, message })
}

/// Decodes CRI lines.
pub struct CriDecoder;

impl FrameDecoder for CriDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        let line = parse(&batch.text()[start..end])?;
        batch.push_line(start, end, offset);
        batch.push_text_field(Sym::TIMESTAMP, start + line.timestamp.start, start + line.timestamp.end);
        batch.push_text_field(Sym::STREAM, start + line.stream.start, start + line.stream.end);
        batch.push_text_field(Sym::MESSAGE, start + line.message.start, start + line.message.end);
        Ok(())
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(CriDecoder)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr)]
    use super::super::testing::{decode_line, raw_of};
    use super::*;

    #[test]
    fn container_lines_of_other_agents_are_read() {
        let Some(text) = crate::test_data::shared("containers/cri_lines.jsonl") else { return };
        let (mut passed, mut total) = (0, 0);
        for case in text.lines() {
            let case: serde_json::Value = serde_json::from_str(case).unwrap();
            let raw = raw_of(&case, "raw");
            let got = parse(&raw).ok();
            let want = &case["expected"];
            let ok = match got {
                None => want.is_null(),
                Some(line) => {
                    let is = |span: Span, key: &str| raw_of(want, key) == span.of(&raw);
                    is(line.timestamp, "timestamp")
                        && is(line.stream, "stream")
                        && is(line.message, "message")
                        && want["partial"] == line.partial
                }
            };
            total += 1;
            passed += u32::from(ok);
            if !ok {
                eprintln!("{}: {got:?}", case["id"]);
            }
        }
        eprintln!("cri: {passed} of {total} lines");
        assert!(passed >= 22, "{passed} of {total}");
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            "x",
            "2016-10-06T00:17:09.669794202Z",
            "2016-10-06T00:17:09.669794202Z stdin F a",
            "2016-10-06T00:17:09Z stdout X a",
            "not-a-time-at-all-no stdout F a",
        ] {
            assert!(decode_line(&mut CriDecoder, line.as_bytes()).is_err(), "{line}");
        }
        let empty = decode_line(&mut CriDecoder, b"2016-10-06T00:17:09.6697Z stderr F").unwrap();
        assert_eq!(empty, r#"{"timestamp":"2016-10-06T00:17:09.6697Z","stream":"stderr","message":""}"#);
    }
}

//! Container logs as the kubelet's runtimes (containerd, CRI-O) write them.
//!
//! ```text
//! 2016-10-06T00:17:09.669794202Z stdout F The content of the log entry
//! timestamp                      stream | message
//!                                       P: more to come, F: the last part
//! ```
//!
//! A frame is one line, or all lines from the first part of a split message to where neither stream has a part open
//! (see [`Preset::Cri`](crate::framing::multiline::Preset::Cri)). Parts are joined per stream; a joined message has the
//! time of its first part. Events of one frame leave in the order in which they were completed.

use super::FrameDecoder;
use super::span::Span;
use crate::event::{Batch, Str, Sym, Value};
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

/// Decodes CRI lines and joins split ones.
#[derive(Default)]
pub struct CriDecoder {
    /// Parts of stdout and stderr within one frame.
    open: [Open; 2],
}

/// A message that lacks its last part: where its first line is, and its text so far.
#[derive(Default)]
struct Open {
    first: Option<(Span, Span)>,
    message: Vec<u8>,
}

impl FrameDecoder for CriDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        if memchr::memchr(b'\n', &batch.text()[start..end]).is_none() {
            let line = parse(&batch.text()[start..end])?;
            batch.push_line(start, end, offset);
            let base = start;
            batch.push_text_field(Sym::TIMESTAMP, base + line.timestamp.start, base + line.timestamp.end);
            batch.push_text_field(Sym::STREAM, base + line.stream.start, base + line.stream.end);
            batch.push_text_field(Sym::MESSAGE, base + line.message.start, base + line.message.end);
            return Ok(());
        }
        self.joined(batch, start, end, offset)
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(CriDecoder::default())
    }
}

impl CriDecoder {
    #[cold]
    fn joined(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        let text = batch.text().clone();
        for line in super::lines_of(&text[start..end]) {
            // Such frames are made of container lines; another among them is refused with all of it.
            parse(line.of(&text[start..end]))?;
        }
        for line in super::lines_of(&text[start..end]) {
            let at = Span::new(start + line.start, start + line.end);
            let found = parse(at.of(&text))?;
            let absolute = |span: Span| Span::new(at.start + span.start, at.start + span.end);
            let open = &mut self.open[usize::from(found.stream.of(at.of(&text)) == b"stderr")];
            let first = *open.first.get_or_insert((absolute(found.timestamp), absolute(found.stream)));
            open.message.extend_from_slice(absolute(found.message).of(&text));
            if !found.partial {
                emit(batch, open, first, start, end, offset);
            }
        }
        for open in &mut self.open {
            if let Some(first) = open.first {
                emit(batch, open, first, start, end, offset);
            }
        }
        Ok(())
    }
}

fn emit(batch: &mut Batch, open: &mut Open, (timestamp, stream): (Span, Span), start: usize, end: usize, offset: u64) {
    let row = batch.push_line(start, end, offset);
    batch.push_text_field(Sym::TIMESTAMP, timestamp.start, timestamp.end);
    batch.push_text_field(Sym::STREAM, stream.start, stream.end);
    batch.event_mut(row).push(Sym::MESSAGE, Value::Str(Str::plain(&open.message)));
    open.first = None;
    open.message.clear();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr)]
    use super::super::testing::{decode_frames, decode_line, raw_of};
    use super::*;
    use crate::framing::multiline::Preset;

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
    fn parts_are_joined_per_stream() {
        let Some(text) = crate::test_data::shared("containers/reassembly.jsonl") else { return };
        let case: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let lines: Vec<String> = serde_json::from_value(case["lines"].clone()).unwrap();
        let want: Vec<String> = serde_json::from_value(case["expected_messages"].clone()).unwrap();
        let got = decode_frames(Box::new(CriDecoder::default()), Preset::Cri, &lines);
        let got: Vec<&str> = got.iter().map(|event| event["message"].as_str().unwrap()).collect();
        eprintln!("cri reassembly: {} of {} messages", got.len(), want.len());
        assert_eq!(got, want);
    }

    #[test]
    fn a_message_whose_last_part_never_came_is_kept_with_the_time_of_its_first() {
        let lines = ["2024-05-01T10:00:00Z stdout P a ".to_owned(), "2024-05-01T10:00:01Z stdout P b".to_owned()];
        let got = decode_frames(Box::new(CriDecoder::default()), Preset::Cri, &lines);
        assert_eq!(
            got,
            [serde_json::json!({"timestamp": "2024-05-01T10:00:00Z", "stream": "stdout", "message": "a b"})]
        );
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
            assert!(decode_line(&mut CriDecoder::default(), line.as_bytes()).is_err(), "{line}");
        }
        let empty = decode_line(&mut CriDecoder::default(), b"2016-10-06T00:17:09.6697Z stderr F").unwrap();
        assert_eq!(empty, r#"{"timestamp":"2016-10-06T00:17:09.6697Z","stream":"stderr","message":""}"#);
    }
}

//! Container logs as Docker's json-file driver writes them.
//!
//! ```text
//! {"log":"The actual log line\n","stream":"stderr","time":"2016-10-05T00:00:30.082640485Z"}
//! ```
//!
//! → `timestamp, stream, message`, the message without its line feed; other members (`attrs`) are kept under their names.
//! A line whose `log` has no line feed at its end is a part of a longer message; [`container`](crate::framing::container)
//! joins them, and here a joined message is one line.

use super::FrameDecoder;
use super::keys::KeyCache;
use super::span::Span;
use crate::event::{Batch, Sym, json};
use crate::time::parse_rfc3339;

/// One line, as places in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DockerLine {
    /// RFC 3339.
    pub timestamp: Span,
    /// `stdout` or `stderr`.
    pub stream: Span,
    /// The text, as it stands in the JSON string, without the line feed at its end.
    pub message: Span,
    /// The text has JSON escapes.
    pub escaped: bool,
    /// There was no line feed: the next line of this stream continues the message.
    pub partial: bool,
}

const REFUSED: &str = "not a Docker log line";

/// Reads a line; `other` is called for members that have no part in a log line.
///
/// Errors: why it is no container line.
pub fn parse(
    scanner: &mut json::Scanner,
    line: &[u8],
    mut other: impl FnMut(json::Member),
) -> Result<DockerLine, &'static str> {
    let (mut log, mut stream, mut time) = (None, None, None);
    let scanned = scanner.object(line, 0, line.len(), |member| {
        let text = matches!(member.kind, json::Kind::Clean | json::Kind::Escaped);
        let place = match line.get(member.key..member.key_end) {
            Some(b"log") => &mut log,
            Some(b"stream") => &mut stream,
            Some(b"time") => &mut time,
            _ => return other(member),
        };
        *place = text.then(|| (Span::new(member.value, member.value_end), member.kind == json::Kind::Escaped));
    });
    let (Ok(()), Some((log, escaped)), Some((stream, _)), Some((timestamp, _))) = (scanned, log, stream, time) else {
        return Err(REFUSED);
    };
    if parse_rfc3339(timestamp.of(line)).is_none() {
        return Err(REFUSED);
    }
    let partial = !(escaped && ends_with_line_feed(log.of(line)));
    let message = if partial { log } else { Span::new(log.start, log.end - LINE_FEED.len()) };
    let escaped = escaped && memchr::memchr(b'\\', message.of(line)).is_some();
    Ok(DockerLine { timestamp, stream, message, escaped, partial })
}

/// The line feed at the end of a whole message, as it stands in JSON.
pub(crate) const LINE_FEED: &[u8] = b"\\n";

/// JSON string content without the line feed at its end, where it has one.
pub(crate) fn without_line_feed(text: &[u8]) -> &[u8] {
    if ends_with_line_feed(text) { &text[..text.len() - LINE_FEED.len()] } else { text }
}

/// Whether JSON string content ends in `\n`, the escape and not a backslash before an n.
fn ends_with_line_feed(text: &[u8]) -> bool {
    let Some(before) = text.strip_suffix(LINE_FEED) else { return false };
    before.iter().rev().take_while(|c| **c == b'\\').count() % 2 == 0
}

/// The stream's bit and whether more is to come; `None` for other lines.
pub(crate) fn part(line: &[u8]) -> Option<(u8, bool)> {
    if line.first() != Some(&b'{') {
        return None;
    }
    let (mut more, mut stream) = (None, None);
    for child in json::Children::new(line) {
        let value = line.get(child.value.0..child.value.1)?;
        match line.get(child.key.0..child.key.1)? {
            b"log" => more = Some(!ends_with_line_feed(value.strip_suffix(b"\"")?)),
            b"stream" => stream = Some(if value == b"\"stderr\"" { 2 } else { 1 }),
            _ => {}
        }
    }
    Some((stream?, more?))
}

/// Decodes json-file lines.
#[derive(Default)]
pub struct DockerDecoder {
    scanner: json::Scanner,
    others: Vec<json::Member>,
    keys: KeyCache,
}

impl FrameDecoder for DockerDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        let DockerDecoder { scanner, others, keys } = self;
        others.clear();
        let line = parse(scanner, &batch.text()[start..end], |member| others.push(member))?;
        let row = batch.push_line(start, end, offset);
        batch.push_text_field(Sym::TIMESTAMP, start + line.timestamp.start, start + line.timestamp.end);
        batch.push_text_field(Sym::STREAM, start + line.stream.start, start + line.stream.end);
        let kind = if line.escaped { json::Kind::Escaped } else { json::Kind::Clean };
        batch.push_span_field(Sym::MESSAGE, kind, start + line.message.start, start + line.message.end);
        for (n, member) in others.iter().enumerate() {
            let key = &batch.text()[start + member.key..start + member.key_end];
            match keys.get(n, key).filter(|key| batch.event(row).position(*key).is_none()) {
                Some(key) => batch.push_span_field(key, member.kind, start + member.value, start + member.value_end),
                None => continue,
            }
        }
        Ok(())
    }

    fn has_escapes(&self, frame: &[u8]) -> bool {
        super::is_object(frame)
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(DockerDecoder::default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr)]
    use super::super::testing::{decode_line, raw_of};
    use super::*;

    #[test]
    fn container_lines_of_other_agents_are_read() {
        let Some(text) = crate::test_data::shared("containers/docker_json_lines.jsonl") else { return };
        let (mut passed, mut total) = (0, 0);
        for case in text.lines() {
            let case: serde_json::Value = serde_json::from_str(case).unwrap();
            let raw = raw_of(&case, "raw");
            let want = &case["expected"];
            let got = decode_line(&mut DockerDecoder::default(), &raw).ok();
            let ok = match &got {
                None => want.is_null(),
                Some(got) => {
                    let event: serde_json::Value = serde_json::from_str(got).unwrap();
                    let partial = parse(&mut json::Scanner::default(), &raw, |_| ()).unwrap().partial;
                    let is = |key: &str| {
                        event[key].as_str().map(|s| s.trim_end_matches('\n'))
                            == want[key].as_str().map(|s| s.trim_end_matches('\n'))
                    };
                    is("message")
                        && is("timestamp")
                        && is("stream")
                        && (want["partial"].is_null() || want["partial"] == partial)
                }
            };
            total += 1;
            passed += u32::from(ok);
            if !ok {
                eprintln!("{}: {got:?}", case["id"]);
            }
        }
        eprintln!("docker: {passed} of {total} lines");
        assert!(passed >= 18, "{passed} of {total}");
    }

    #[test]
    fn escapes_stay_as_they_came_and_other_members_are_kept() {
        let line = br#"{"log":"a\tb \\n\n","attrs":{"tag":"x"},"stream":"stdout","time":"2016-10-05T00:00:30Z"}"#;
        assert_eq!(
            decode_line(&mut DockerDecoder::default(), line).unwrap(),
            r#"{"timestamp":"2016-10-05T00:00:30Z","stream":"stdout","message":"a\tb \\n","attrs":{"tag":"x"}}"#
        );
        assert_eq!(part(line), Some((1, false)));
        assert_eq!(part(br#"{"log":"a\\n","stream":"stderr"}"#), Some((2, true)));
    }
}

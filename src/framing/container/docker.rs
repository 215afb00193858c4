//! The line of Docker's json-file driver, as places in it: time, stream, whether more is to come, message.

use crate::event::json;
use crate::framing::span::Span;
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
        let text = matches!(member.kind, json::ValueKind::Clean | json::ValueKind::Escaped);
        let place = match line.get(member.key..member.key_end) {
            Some(b"log") => &mut log,
            Some(b"stream") => &mut stream,
            Some(b"time") => &mut time,
            _ => return other(member),
        };
        *place = text.then(|| (Span::new(member.value, member.value_end), member.kind == json::ValueKind::Escaped));
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

//! The line of a kubelet's runtime (containerd, CRI-O), as places in it: time, stream, whether more is to come, message.

use crate::framing::span::Span;
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

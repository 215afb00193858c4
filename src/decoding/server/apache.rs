//! Apache's error log: 2.2's and 2.4's.
//!
//! ```text
//! [Wed Oct 11 14:32:52 2000] [error] [client 192.0.2.1] client denied by server configuration: /srv/x
//! [Fri Sep 09 10:42:29.902022 2011] [core:error] [pid 35708:tid 4328636416] (13)Permission denied: [client 192.0.2.1:4711] AH00132: file permissions deny server access: /srv/x, referer: http://a.example/
//! ```
//!
//! Source: `ErrorLogFormat`, and `log_error_core` of `server/log.c`.

use super::{Cursor, Found, Name, Span};

const REFUSED: &str = "not a line of Apache's error log";

pub(super) fn parse(line: &[u8], found: &mut Found) -> Result<(), &'static str> {
    head(line, found).ok_or(REFUSED)
}

fn head(line: &[u8], found: &mut Found) -> Option<()> {
    let mut cursor = Cursor::new(line);
    let time = cursor.brackets()?;
    // A day's name, or a date in digits.
    let text = time.of(line);
    if text.len() < 16 || !text.contains(&b':') {
        return None;
    }
    found.at(text);
    let level = cursor.brackets()?;
    let text = level.of(line);
    match memchr::memchr(b':', text) {
        Some(colon) => {
            found.text(Name::Module, Span::new(level.start, level.start + colon).unless_dash(line).unwrap_or_default());
            found.text(Name::Level, level_word(line, Span::new(level.start + colon + 1, level.end))?);
        }
        None => found.text(Name::Level, level_word(line, level)?),
    }
    rest(line, &mut cursor, found);
    Some(())
}

/// `error`, `trace3`
fn level_word(line: &[u8], span: Span) -> Option<Span> {
    let text = span.of(line);
    let letters = text.iter().take_while(|c| c.is_ascii_lowercase()).count();
    (letters >= 4 && text[letters..].iter().all(u8::is_ascii_digit)).then_some(span)
}

/// Brackets that are known, each once and in their order, and the message: what stands behind the client is the message's own,
/// as what a script writes may look like them (`[client 192.0.2.4] ModSecurity: …`).
fn rest(line: &[u8], cursor: &mut Cursor<'_>, found: &mut Found) {
    let (mut has_pid, mut remote) = (false, None);
    loop {
        let before = cursor.at;
        let Some(inner) = cursor.brackets() else { break };
        let text = inner.of(line);
        if let Some(rest) = text.strip_prefix(b"pid ").filter(|_| !has_pid && remote.is_none()) {
            has_pid = true;
            let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
            let from = inner.start + 4;
            found.number(Name::Pid, line, Span::new(from, from + digits));
            if let Some(at) = memchr::memmem::find(text, b"tid ") {
                found.number(Name::Tid, line, Span::new(inner.start + at + 4, inner.end));
            }
            before_client(line, cursor, found);
        } else if text.starts_with(b"client ") {
            if let Some(remote) = remote.take() {
                // The server that a proxy talks to.
                found.text(Name::Upstream, remote);
            }
            found.client(line, Span::new(inner.start + 7, inner.end));
            break;
        } else if text.starts_with(b"remote ") && remote.is_none() {
            remote = Some(Span::new(inner.start + 7, inner.end));
        } else {
            // The message's own.
            cursor.at = before;
            break;
        }
    }
    if let Some(remote) = remote {
        found.client(line, remote);
    }
    let mut end = line.len();
    if let Some(at) = memchr::memmem::rfind(cursor.rest(), b", referer: ") {
        end = cursor.at + at;
    }
    let from = cursor.at;
    if let Some(colon) = memchr::memchr(b':', &line[from..end])
        && matches!(&line[from..from + colon], [b'A', b'H', digits @ ..] if digits.len() == 5 && digits.iter().all(u8::is_ascii_digit))
    {
        found.text(Name::ErrorCode, Span::new(from, from + colon));
        cursor.at = from + colon + 1;
        cursor.blanks();
    }
    found.text(Name::Message, Span::new(cursor.at.min(end), end));
    if end < line.len() {
        found.text(Name::Referer, Span::new(end + 11, line.len()));
    }
}

/// `file.c(12): ` and `(13)Permission denied: `, where a client follows.
fn before_client(line: &[u8], cursor: &mut Cursor<'_>, found: &mut Found) {
    let rest = cursor.rest();
    let colon = memchr::memmem::find(rest, b": ");
    if let Some(colon) = colon
        && rest[..colon].ends_with(b")")
        && memchr::memmem::find(&rest[..colon], b".c(").is_some()
        && !rest[..colon].contains(&b' ')
    {
        found.text(Name::Source, Span::new(cursor.at, cursor.at + colon));
        cursor.at += colon + 2;
    }
    let rest = cursor.rest();
    let numbered = matches!(rest, [b'(', b'0'..=b'9', ..]);
    if let Some(at) = memchr::memmem::find(rest, b": [client ").filter(|_| numbered) {
        found.text(Name::OsError, Span::new(cursor.at, cursor.at + at));
        cursor.at += at + 2;
    } else if numbered
        && let Some(at) = memchr::memmem::find(rest, b": AH")
        && line.get(cursor.at + at + 4).is_some_and(u8::is_ascii_digit)
    {
        found.text(Name::OsError, Span::new(cursor.at, cursor.at + at));
        cursor.at += at + 2;
    }
}

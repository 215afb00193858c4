//! HAProxy's log: HTTP, HTTPS, TCP, connection errors, connects, and what it says of itself.
//!
//! ```text
//! Feb  6 12:14:14 localhost haproxy[14389]: 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.eu} {} "GET /index.html HTTP/1.1"
//! haproxy[14387]: 10.0.1.2:33313 [06/Feb/2009:12:12:51.443] fnt bck/srv1 0/0/5007 212 -- 0/0/0/0/3 0/0
//! 10.0.1.2:33311 [06/Feb/2009:12:12:51.443] fe/bind: Connection error during SSL handshake
//! haproxy[18113]: Server static/srv1 is DOWN, reason: Layer4 timeout, check duration: 2001ms.
//! [ALERT]    (1234) : config : proxy 'x' has no server
//! ```
//!
//! A header of syslog in front is passed over, with what it says of host, process, severity and facility; its time counts where
//! the line has none. Words between the server
//! and the timers (custom formats) and what stands behind the end are `extra`.
//!
//! Source: HAProxy's configuration manual, section 8.2.

use super::{Cursor, Found, Name, Said, Span, integer};
use crate::decoding::{access, syslog};

const REFUSED: &str = "not a line of HAProxy's log";

pub(super) fn parse(line: &[u8], found: &mut Found) -> Result<(), &'static str> {
    if body(line, 0, found).is_some() || itself(line, 0, found, Header::Missing).is_some() {
        return Ok(());
    }
    found.fields.clear();
    found.time.clear();
    let from = header(line, found).ok_or(REFUSED)?;
    let kept = found.fields.len();
    if body(line, from, found).is_some() {
        return Ok(());
    }
    found.fields.truncate(kept);
    found.time.clear();
    itself(line, from, found, Header::There).ok_or(REFUSED)
}

/// Behind a header of syslog, or `haproxy[1234]: ` alone.
fn header(line: &[u8], found: &mut Found) -> Option<usize> {
    let bare = || {
        let mut cursor = Cursor::new(line);
        cursor.eat(b"haproxy[")?;
        let pid = cursor.digits()?;
        cursor.eat(b"]: ")?;
        Some((pid, cursor.at))
    };
    if let Some((pid, at)) = bare() {
        found.number(Name::Pid, line, pid);
        return Some(at);
    }
    let message = syslog::parse(line);
    if message.format == syslog::Format::Unknown || message.appname.is_none() {
        return None;
    }
    if let Some(pri) = message.pri {
        found.int(Name::Severity, i64::from(pri & 7));
        found.int(Name::Facility, i64::from(pri >> 3));
    }
    found.header_time = message.timestamp;
    if let Some(host) = message.hostname {
        found.text(Name::Hostname, host);
    }
    if let Some(pid) = message.procid {
        found.number(Name::Pid, line, pid);
    }
    message.message.map(|text| text.start)
}

fn body(line: &[u8], from: usize, found: &mut Found) -> Option<()> {
    let mut cursor = Cursor { line, at: from };
    if cursor.eat(b"Connect from ").is_some() {
        return connect(line, &mut cursor, found);
    }
    let client = cursor.word()?;
    let time = cursor.brackets()?;
    if !client.of(line).contains(&b':') || !matches!(time.of(line), [b'0'..=b'9', _, b'/', ..]) {
        return None;
    }
    found.at(time.of(line));
    found.client(line, client);
    let frontend = cursor.word()?;
    if let Some(inner) = frontend.of(line).strip_suffix(b":") {
        // `frontend/bind: message`
        let slash = memchr::memchr(b'/', inner).unwrap_or(inner.len());
        found.text(Name::Frontend, Span::new(frontend.start, frontend.start + slash));
        found.text(Name::Message, cursor.rest_span());
        return Some(());
    }
    if frontend.of(line).ends_with(b"~") {
        found.text(Name::Frontend, Span::new(frontend.start, frontend.end - 1));
        found.fields.push((Name::Ssl, Said::Yes));
    } else {
        found.text(Name::Frontend, frontend);
    }
    let backend = cursor.word()?;
    let slash = memchr::memchr(b'/', backend.of(line))?;
    found.text(Name::Backend, Span::new(backend.start, backend.start + slash));
    found.text(Name::Server, Span::new(backend.start + slash + 1, backend.end));
    let (extra, timers) = timers(line, &mut cursor)?;
    const HTTP: [Name; 5] =
        [Name::TimeRequest, Name::TimeQueue, Name::TimeConnect, Name::TimeResponse, Name::TimeActive];
    const TCP: [Name; 3] = [Name::TimeQueue, Name::TimeConnect, Name::TimeActive];
    let (names, http): (&[Name], bool) = match timers.of(line).iter().filter(|c| **c == b'/').count() {
        4 => (&HTTP, true),
        2 => (&TCP, false),
        _ => return None,
    };
    slashes(line, timers, names, found)?;
    if http {
        let status = cursor.word()?;
        found.int(Name::Status, integer(status.of(line))?);
    }
    let bytes = cursor.word()?;
    found.int(Name::Bytes, integer(bytes.of(line))?);
    if http {
        for name in [Name::CapturedRequestCookie, Name::CapturedResponseCookie] {
            if let Some(cookie) = cursor.word()?.unless_dash(line) {
                found.text(name, cookie);
            }
        }
    }
    let state = cursor.word()?;
    found.text(Name::TerminationState, state);
    let connections = cursor.word()?;
    const CONNECTIONS: [Name; 5] = [Name::Actconn, Name::Feconn, Name::Beconn, Name::Srvconn, Name::Retries];
    slashes(line, connections, &CONNECTIONS, found)?;
    let queues = cursor.word()?;
    slashes(line, queues, &[Name::SrvQueue, Name::BackendQueue], found)?;
    end(line, &mut cursor, extra, found);
    Some(())
}

/// Words of custom formats, and the timers behind them.
fn timers(line: &[u8], cursor: &mut Cursor<'_>) -> Option<(Option<Span>, Span)> {
    let from = cursor.at;
    let is_timers =
        |word: &[u8]| word.contains(&b'/') && word.split(|c| *c == b'/').all(|part| integer(part).is_some());
    for n in 0..4 {
        let word = cursor.word()?;
        if is_timers(word.of(line)) {
            let extra = (n > 0).then(|| Span::new(from, from + line[from..word.start].trim_ascii_end().len()));
            return Some((extra, word));
        }
    }
    None
}

/// Numbers between slashes.
fn slashes(line: &[u8], span: Span, names: &[Name], found: &mut Found) -> Option<()> {
    let text = span.of(line);
    if text.split(|c| *c == b'/').count() != names.len() {
        return None;
    }
    for (name, part) in names.iter().zip(text.split(|c| *c == b'/')) {
        found.int(*name, integer(part)?);
    }
    Some(())
}

/// Captures, the request, and what is behind it.
fn end(line: &[u8], cursor: &mut Cursor<'_>, extra: Option<Span>, found: &mut Found) {
    for name in [Name::CapturedRequestHeaders, Name::CapturedResponseHeaders] {
        if cursor.rest().starts_with(b"{") {
            let rest = cursor.rest();
            let Some(len) = memchr::memmem::find(rest, b"} ").or_else(|| rest.ends_with(b"}").then(|| rest.len() - 1))
            else {
                break;
            };
            found.text(name, Span::new(cursor.at + 1, cursor.at + len));
            cursor.at += len + 1;
            cursor.blanks();
        }
    }
    if cursor.eat(b"\"").is_some() {
        // A long one is cut, and its quote with it.
        let rest = cursor.rest();
        let len = memchr::memrchr(b'"', rest).unwrap_or(rest.len());
        let request = Span::new(cursor.at, cursor.at + len);
        cursor.at = (request.end + 1).min(line.len());
        cursor.blanks();
        found.request(line, request);
    }
    match (extra, cursor.rest_span().non_empty()) {
        (Some(extra), _) => found.text(Name::Extra, extra),
        (None, Some(rest)) => found.text(Name::Extra, rest),
        (None, None) => {}
    }
}

/// `Connect from 10.0.1.2:33312 to 10.0.3.31:8012 (www/HTTP)`
fn connect(line: &[u8], cursor: &mut Cursor<'_>, found: &mut Found) -> Option<()> {
    let whole = Span::new(cursor.at - b"Connect from ".len(), line.len());
    let client = cursor.word()?;
    cursor.eat(b"to ")?;
    let to = cursor.word()?;
    cursor.eat(b"(")?;
    let frontend = cursor.until(b"/")?;
    let mode = cursor.until(b")")?;
    found.client(line, client);
    let (address, port) = super::with_port(line, to);
    found.text(Name::DestinationIp, address);
    if let Some(port) = port {
        found.number(Name::DestinationPort, line, port);
    }
    found.text(Name::Frontend, frontend);
    found.text(Name::Mode, mode);
    found.text(Name::Message, whole);
    Some(())
}

/// Whether a header of syslog stood before a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    There,
    Missing,
}

/// What it says of itself. Without a header only what has a level in front.
fn itself(line: &[u8], from: usize, found: &mut Found, header: Header) -> Option<()> {
    let mut cursor = Cursor { line, at: from };
    if let Some(level) = cursor.brackets()
        && matches!(level.of(line), b"ALERT" | b"WARNING" | b"NOTICE" | b"INFO" | b"DEBUG" | b"DIAG" | b"EMERG")
    {
        found.text(Name::Level, level);
        // `037/160519` is the day and the time, without a year.
        if cursor.rest().first().is_some_and(u8::is_ascii_digit) {
            cursor.word();
        }
        if cursor.eat(b"(").is_some() {
            let pid = cursor.until(b")")?;
            if found.fields.iter().all(|(name, _)| *name != Name::Pid) {
                found.number(Name::Pid, line, pid);
            }
            cursor.blanks();
            cursor.eat(b":");
            cursor.blanks();
        }
        found.text(Name::Message, cursor.rest_span());
        return Some(());
    }
    if header == Header::Missing {
        return None;
    }
    let text = Span::new(from, line.len()).non_empty()?;
    // `option httplog clf`, or another server's: a request that is not read is not said to be one of its own messages.
    if access::parse(text.of(line)).is_ok() {
        return None;
    }
    let has = |word: &[u8]| memchr::memmem::find(text.of(line), word).is_some();
    if has(b" is DOWN") || has(b"has no server available") {
        found.word(Name::Level, "alert");
    } else if has(b" is UP") || has(b" started.") || has(b" stopped") {
        found.word(Name::Level, "notice");
    }
    found.text(Name::Message, text);
    Some(())
}

//! nginx's error log.
//!
//! ```text
//! 2024/05/01 10:00:00 [error] 31#31: *1 open() "/srv/x" failed (2: No such file or directory), client: 192.0.2.1, server: a.example, request: "GET /x HTTP/1.1", host: "a.example"
//! ```
//!
//! Source: `ngx_log.c`, `ngx_http_log_error_handler`, `ngx_stream_log_error`, `ngx_http_limit_req_module.c`.

use super::{Cursor, Found, Name, Span};

const REFUSED: &str = "not a line of nginx's error log";

pub(super) fn parse(line: &[u8], found: &mut Found) -> Result<(), &'static str> {
    head(line, found).ok_or(REFUSED)
}

fn head(line: &[u8], found: &mut Found) -> Option<()> {
    let mut cursor = Cursor::new(line);
    let day = cursor.word()?;
    let time = cursor.word()?;
    if !matches!(day.of(line), [b'0'..=b'9', _, _, _, b'/', _, _, b'/', _, _]) {
        return None;
    }
    let level = cursor.brackets()?;
    if !level.of(line).iter().all(u8::is_ascii_lowercase) {
        return None;
    }
    let pid = cursor.digits()?;
    cursor.eat(b"#")?;
    let tid = cursor.digits()?;
    cursor.eat(b":")?;
    cursor.blanks();
    found.at(&line[day.start..time.end]);
    found.text(Name::Level, level);
    found.number(Name::Pid, line, pid);
    found.number(Name::Tid, line, tid);
    let before = cursor.at;
    if let Some(connection) = cursor.eat(b"*").and_then(|()| cursor.digits()) {
        found.number(Name::Connection, line, connection);
        cursor.blanks();
    } else {
        cursor.at = before;
    }
    let from = cursor.at;
    let kept = found.fields.len();
    found.text(Name::Message, Span::new(from, line.len()));
    // What the message says, and what a client asks for, may hold the same words: the first place that leads to the end counts.
    for tail in memchr::memmem::find_iter(cursor.rest(), b", client: ").map(|at| from + at) {
        found.fields.truncate(kept);
        found.text(Name::Message, Span::new(from, tail));
        limits(line, Span::new(from, tail), found);
        if context(line, tail, found).is_some() {
            return Some(());
        }
    }
    found.fields.truncate(kept);
    let message = Span::new(from, line.len());
    found.text(Name::Message, message);
    limits(line, message, found);
    Some(())
}

/// `limiting requests, excess: 10.470 by zone "one"`
fn limits(line: &[u8], message: Span, found: &mut Found) {
    let text = message.of(line);
    let Some(at) = memchr::memmem::find(text, b", excess: ") else { return };
    let mut cursor = Cursor { line: &line[..message.end], at: message.start + at + 10 };
    let Some(excess) = cursor.word() else { return };
    let excess = if excess.of(line).ends_with(b",") { Span::new(excess.start, excess.end - 1) } else { excess };
    found.decimal(Name::Excess, line, excess);
    if cursor.eat(b"by zone \"").is_some()
        && let Some(zone) = cursor.until(b"\"")
    {
        found.text(Name::Zone, zone);
    }
}

/// `, client: 192.0.2.1, server: a.example, request: "GET / HTTP/1.1", …` up to the end.
fn context(line: &[u8], from: usize, found: &mut Found) -> Option<()> {
    let mut cursor = Cursor { line, at: from };
    let mut seen: Vec<&[u8]> = Vec::new();
    while cursor.at < line.len() {
        cursor.eat(b", ")?;
        let key = cursor.until(b":")?.of(line);
        if seen.contains(&key) {
            return None;
        }
        seen.push(key);
        cursor.blanks();
        let value = match cursor.eat(b"\"") {
            Some(()) => quoted(&mut cursor)?,
            None => {
                let rest = cursor.rest();
                let len = memchr::memmem::find(rest, b", ").unwrap_or(rest.len());
                cursor.at += len;
                Span::new(cursor.at - len, cursor.at)
            }
        };
        match key {
            b"client" => {
                let (address, _) = super::with_port(line, value);
                let is_one =
                    std::str::from_utf8(address.of(line)).is_ok_and(|text| text.parse::<std::net::IpAddr>().is_ok());
                if !is_one && !value.of(line).starts_with(b"unix:") {
                    return None;
                }
                found.client(line, value);
            }
            b"server" => found.text(Name::Server, value),
            b"request" => found.request(line, value),
            b"subrequest" => found.text(Name::Subrequest, value),
            b"upstream" => found.text(Name::Upstream, value),
            b"host" => found.text(Name::Host, value),
            b"referrer" | b"referer" => found.text(Name::Referer, value),
            b"login" => found.text(Name::User, value),
            b"bytes from/to client" | b"bytes from/to upstream" => {}
            _ => return None,
        }
    }
    Some(())
}

/// What stands in front of a quote that a comma follows, or the end.
fn quoted(cursor: &mut Cursor<'_>) -> Option<Span> {
    let from = cursor.at;
    let rest = cursor.rest();
    let ends = |at: &usize| matches!(rest.get(at + 1..), Some([] | [b',', b' ', ..]));
    let len = memchr::memchr_iter(b'"', rest).find(ends)?;
    cursor.at = from + len + 1;
    Some(Span::new(from, from + len))
}

//! Access logs of Apache and nginx: common and combined format, with or without a virtual host in front.
//!
//! ```text
//! www.example.com:443 192.0.2.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 2326 "http://ref/" "Mozilla/5.0"
//! target_fqdn         client_ip   user  time_local                    method path http_version status bytes referer user_agent
//! ```
//!
//! `-` gives an absent field. A user field that is missing altogether is taken as absent. What the common formats do not
//! have is not thrown away: an identity other than `-` is `ident`, a request line that is no `METHOD path [HTTP/x]` is
//! `request`, and text behind the user agent (custom formats) is `extra`. Error-log lines are not of this format.
//!
//! Of a list of addresses in front (`$http_x_forwarded_for`) `client_ip` is the first that is public, else the last; the list is
//! `forwarded_for`, and an address behind it `proxy_ip`. Behind the user agent a list of addresses in quotes is `forwarded_for` too,
//! a number in quotes `gzip_ratio`, and what ingress-nginx puts there has the fields of its variables. Formats of the user's
//! own: [`formats`]; other services': `others`.
//!
//! A port behind the virtual host is `server_port`, one behind the client's address `client_port`. A client over a Unix socket
//! (`unix:`) is `client`, and has no `client_ip`: it has no address.

pub mod formats;
mod others;

use std::net::IpAddr;

use super::FrameDecoder;
use crate::event::{Batch, Str, Sym, Value};
use crate::framing::span::Span;

/// One access-log line, as places in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessLine {
    /// The virtual host in front, without port.
    pub target_fqdn: Option<Span>,
    /// Its port.
    pub server_port: Option<u16>,
    /// Address or name of the client.
    pub client_ip: Option<Span>,
    /// Its port.
    pub client_port: Option<u16>,
    /// It came over a Unix socket.
    pub over_unix: bool,
    /// The list of addresses that stood in front, as written.
    pub forwarded_for: Option<Span>,
    /// The address behind that list.
    pub proxy_ip: Option<Span>,
    /// The identity of RFC 1413, where a server still asks for it.
    pub ident: Option<Span>,
    /// The authenticated user.
    pub user: Option<Span>,
    /// The time between the brackets, as written.
    pub time_local: Option<Span>,
    /// The request line, where it is none.
    pub request: Option<Span>,
    /// `GET` and its like.
    pub method: Option<Span>,
    /// The path with its query.
    pub path: Option<Span>,
    /// `1.1`.
    pub http_version: Option<Span>,
    /// The status code.
    pub status: Option<i64>,
    /// Size of the answer.
    pub bytes: Option<i64>,
    /// Where the client came from.
    pub referer: Option<Span>,
    /// What the client says it is.
    pub user_agent: Option<Span>,
    /// What follows the user agent.
    pub extra: Option<Span>,
}

/// Reads a line.
///
/// Errors: why it is no access-log line.
pub fn parse(line: &[u8]) -> Result<AccessLine, &'static str> {
    const REFUSED: &str = "not an access log line";
    let open = memchr::memmem::find(line, b" [").ok_or(REFUSED)?;
    let close = open + 2 + memchr::memchr(b']', line.get(open + 2..).ok_or(REFUSED)?).ok_or(REFUSED)?;
    let time = Span::new(open + 2, close);
    if !looks_like_time(time.of(line)) {
        return Err(REFUSED);
    }
    let mut found = AccessLine { time_local: Some(time), ..AccessLine::default() };
    head(line, open, &mut found).ok_or(REFUSED)?;

    let mut rest = Cursor { line, at: close + 1 };
    let request = rest.quoted().ok_or(REFUSED)?;
    request_line(line, request, &mut found);
    found.status = rest.number().ok_or(REFUSED)?;
    found.bytes = rest.number().ok_or(REFUSED)?;
    if let Some(referer) = rest.quoted() {
        found.referer = referer.unless_dash(line);
        found.user_agent = rest.quoted().and_then(|agent| agent.unless_dash(line));
    }
    rest.blanks();
    found.extra = Span::new(rest.at.min(line.len()), line.len()).non_empty();
    Ok(found)
}

/// `10/Oct/2000:13:55:36 -0700`, or an ISO 8601 time.
fn looks_like_time(text: &[u8]) -> bool {
    let digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    // Werkzeug's, and those of Python's http.server, have a blank before the clock.
    let common = digit(0)
        && text.get(2) == Some(&b'/')
        && text.get(6) == Some(&b'/')
        && matches!(text.get(11), Some(b':' | b' '));
    let iso = digit(0) && text.get(4) == Some(&b'-') && text.get(7) == Some(&b'-') && text.get(10) == Some(&b'T');
    common || iso
}

/// `[vhost] client ident [user]`, in front of the time.
fn head(line: &[u8], end: usize, found: &mut AccessLine) -> Option<()> {
    if (line[0] == b'"' || memchr::memchr(b',', line.get(..end)?).is_some())
        && list_in_front(line, end, found).is_some()
    {
        return Some(());
    }
    let mut words = [Span::default(); 4];
    let mut count = 0;
    let mut cursor = Cursor { line: line.get(..end)?, at: 0 };
    while let Some(word) = cursor.word() {
        if let Some(place) = words.get_mut(count) {
            *place = word;
        }
        count += 1;
    }
    // A name with blanks: as many words as there are belong to the user.
    let user =
        |from: usize| (count > from).then(|| Span::new(words[from].start, end)).and_then(|s| s.unless_dash(line));
    let (vhost, is_plain) = match count {
        0 | 1 => return None,
        // A server that was asked for by its address: two addresses, an identity and a user.
        _ if is_address(words[0].of(line)) => (count > 3 && is_address(words[1].of(line)), true),
        _ if is_address(words[1].of(line)) => (true, true),
        2 | 3 => (false, false),
        _ => (words[2].of(line) == b"-", false),
    };
    let first = usize::from(vhost);
    if count < first + 2 {
        return None;
    }
    if vhost {
        vhost_and_port(line, words[0], found);
    }
    found.client_ip = words[first].unless_dash(line);
    if !is_plain {
        odd_client(line, words[first], found);
    }
    found.ident = words[first + 1].unless_dash(line);
    found.user = if first + 2 < words.len() { user(first + 2) } else { None };
    if let Some(user) = found.user.filter(|user| line[user.start] == b'"') {
        found.user = without_quotes(line, user);
    }
    Some(())
}

/// What stands between quotes; with one quote alone, all.
#[cold]
fn without_quotes(line: &[u8], span: Span) -> Option<Span> {
    match span.of(line) {
        [b'"', .., b'"'] => Span::new(span.start + 1, span.end - 1).unless_dash(line),
        _ => Some(span),
    }
}

/// `[vhost] a, b, c [proxy] ident [user]`, the list in quotes or not.
#[cold]
fn list_in_front(line: &[u8], end: usize, found: &mut AccessLine) -> Option<()> {
    let mut cursor = Cursor { line: line.get(..end)?, at: 0 };
    let first = cursor.word()?;
    let in_list = |word: &[u8]| word.starts_with(b"\"") || word.ends_with(b",") || word.contains(&b',');
    let vhost = !in_list(first.of(line));
    if !vhost {
        cursor.at = 0;
    }
    cursor.blanks();
    let list = match cursor.quoted() {
        Some(list) => list,
        None => {
            let from = cursor.at;
            loop {
                let word = cursor.word()?;
                if !word.of(line).ends_with(b",") {
                    break Span::new(from, word.end);
                }
            }
        }
    };
    let client = client_of(line, list);
    if client.is_none() && list.unless_dash(line).is_some() {
        return None;
    }
    let before = cursor.at;
    let proxy = cursor.word().filter(|word| is_address(word.of(line)));
    if proxy.is_none() {
        cursor.at = before;
    }
    found.client_ip = client.or(proxy);
    if client.is_some() {
        (found.forwarded_for, found.proxy_ip) = (Some(list), proxy);
    }
    found.client_ip?;
    if vhost {
        vhost_and_port(line, first, found);
    }
    found.ident = cursor.word()?.unless_dash(line);
    cursor.blanks();
    let user = Span::new(cursor.at.min(end), end).unless_dash(line);
    found.user = user.and_then(|user| without_quotes(line, user));
    Some(())
}

/// Of a list of addresses the first that is public, else the last; `None` where it is no list of addresses.
fn client_of(line: &[u8], list: Span) -> Option<Span> {
    let (mut at, mut last) = (list.start, None);
    for part in list.of(line).split(|c| *c == b',') {
        let blanks = part.len() - part.trim_ascii_start().len();
        let text = part.trim_ascii();
        let span = Span::new(at + blanks, at + blanks + text.len());
        at += part.len() + 1;
        if matches!(text, b"-" | b"unknown" | b"") {
            continue;
        }
        let (span, _) = match is_address(text) {
            true => (span, None),
            // With a port, as some balancers write it.
            false => (without_port(line, span), Some(())),
        };
        let address: IpAddr = std::str::from_utf8(span.of(line)).ok()?.trim_matches(['[', ']']).parse().ok()?;
        if is_public(address) {
            return Some(span);
        }
        last = Some(span);
    }
    last
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || shared)
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local())
        }
    }
}

fn is_address(word: &[u8]) -> bool {
    word.len() <= 45
        && word.first().is_some_and(|c| c.is_ascii_hexdigit() || *c == b':')
        && std::str::from_utf8(word).is_ok_and(|text| text.parse::<IpAddr>().is_ok())
}

fn without_port(line: &[u8], host: Span) -> Span {
    let text = host.of(line);
    match memchr::memrchr(b':', text) {
        Some(at) if at > 0 && at + 1 < text.len() && text[at + 1..].iter().all(u8::is_ascii_digit) => {
            Span::new(host.start, host.start + at)
        }
        _ => host,
    }
}

/// The virtual host, and its port.
#[cold]
fn vhost_and_port(line: &[u8], host: Span, found: &mut AccessLine) {
    let name = without_port(line, host);
    found.target_fqdn = name.unless_dash(line);
    found.server_port = port(line.get(name.end + 1..host.end).unwrap_or_default());
}

/// A client that is not an address: one with its port, or a Unix socket.
#[cold]
fn odd_client(line: &[u8], client: Span, found: &mut AccessLine) {
    if let Some((address, written)) = split_port(line, client) {
        (found.client_ip, found.client_port) = (Some(address), port(written.of(line)));
    } else if client.of(line) == b"unix:" {
        (found.client_ip, found.over_unix) = (None, true);
    }
}

/// `192.0.2.4:5123`, `[2001:db8::4]:5123`: address and port.
fn split_port(line: &[u8], span: Span) -> Option<(Span, Span)> {
    let colon = span.start + memchr::memrchr(b':', span.of(line))?;
    let written = Span::new(colon + 1, span.end);
    let address = match line.get(span.start..colon)? {
        [b'[', .., b']'] => Span::new(span.start + 1, colon - 1),
        // With a colon more it is an address of IPv6, and where its port begins is not to be told.
        text if text.contains(&b':') => return None,
        _ => Span::new(span.start, colon),
    };
    port(written.of(line))?;
    is_address(address.of(line)).then_some((address, written))
}

fn port(text: &[u8]) -> Option<u16> {
    std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|c| c.is_ascii_digit()))?.parse().ok()
}

pub(super) fn request_line(line: &[u8], request: Span, found: &mut AccessLine) {
    let text = request.of(line);
    let method = text.iter().take_while(|c| c.is_ascii_alphabetic() || matches!(c, b'_' | b'-')).count();
    if method == 0 || text.get(method) != Some(&b' ') || method + 1 == text.len() {
        found.request = request.unless_dash(line);
        return;
    }
    found.method = Some(Span::new(request.start, request.start + method));
    let from = request.start + method + 1;
    let end = match memchr::memmem::rfind(text, b" HTTP/") {
        Some(at) if at > method => {
            found.http_version = Span::new(request.start + at + 6, request.end).non_empty();
            request.start + at
        }
        _ => request.end,
    };
    found.path = Span::new(from, end).non_empty();
}

struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn blanks(&mut self) {
        while self.line.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
    }

    fn word(&mut self) -> Option<Span> {
        self.blanks();
        let rest = self.line.get(self.at..).filter(|rest| !rest.is_empty())?;
        let len = memchr::memchr(b' ', rest).unwrap_or(rest.len());
        let word = Span::new(self.at, self.at + len);
        self.at += len;
        Some(word)
    }

    /// Digits, or `-` for none.
    fn number(&mut self) -> Option<Option<i64>> {
        let word = self.word()?.of(self.line);
        if word == b"-" {
            return Some(None);
        }
        if word.is_empty() || word.len() > 18 || !word.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Some(Some(word.iter().fold(0, |n, c| n * 10 + i64::from(c - b'0'))))
    }

    /// Text between quotes; a quote behind a backslash does not end it. Moves only where there is one.
    fn quoted(&mut self) -> Option<Span> {
        let before = self.at;
        self.blanks();
        let found = self.closed();
        if found.is_none() {
            self.at = before;
        }
        found
    }

    fn closed(&mut self) -> Option<Span> {
        if self.line.get(self.at) != Some(&b'"') {
            return None;
        }
        let from = self.at + 1;
        let mut at = from;
        loop {
            at += memchr::memchr2(b'"', b'\\', self.line.get(at..)?)?;
            if self.line.get(at) == Some(&b'"') {
                self.at = at + 1;
                return Some(Span::new(from, at));
            }
            at += 2;
        }
    }
}

/// Undoes what servers write for quotes, backslashes and other printable characters (`\"`, `\\`, `\x22`); other escapes
/// (`\x16`, bytes that are no text) stay as they are.
fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let hex = |c: &u8| char::from(*c).to_digit(16);
        let (byte, used) = match rest {
            [_, c @ (b'"' | b'\\'), ..] => (*c, 2),
            [_, b'x', high, low, ..] => match (hex(high), hex(low)) {
                (Some(high @ 2..=7), Some(low)) if (high, low) != (7, 15) => ((high * 16 + low) as u8, 4),
                _ => (b'\\', 1),
            },
            _ => (b'\\', 1),
        };
        out.push(byte);
        rest = &rest[used..];
    }
    out.extend_from_slice(rest);
}

/// Decodes access-log lines.
pub struct AccessDecoder {
    keys: Keys,
    buf: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Keys {
    target_fqdn: Sym,
    server_port: Sym,
    client_ip: Sym,
    client_port: Sym,
    client: Sym,
    forwarded_for: Sym,
    proxy_ip: Sym,
    ident: Sym,
    user: Sym,
    time_local: Sym,
    request: Sym,
    method: Sym,
    path: Sym,
    http_version: Sym,
    status: Sym,
    bytes: Sym,
    referer: Sym,
    user_agent: Sym,
    extra: Sym,
}

impl Default for AccessDecoder {
    fn default() -> Self {
        let key = Sym::from_config;
        AccessDecoder {
            keys: Keys {
                target_fqdn: key("target_fqdn"),
                server_port: key("server_port"),
                client_ip: key("client_ip"),
                client_port: key("client_port"),
                client: key("client"),
                forwarded_for: key("forwarded_for"),
                proxy_ip: key("proxy_ip"),
                ident: key("ident"),
                user: key("user"),
                time_local: key("time_local"),
                request: key("request"),
                method: key("method"),
                path: key("path"),
                http_version: key("http_version"),
                status: key("status"),
                bytes: key("bytes"),
                referer: key("referer"),
                user_agent: key("user_agent"),
                extra: key("extra"),
            },
            buf: Vec::new(),
        }
    }
}

/// What servers put behind the user agent.
const INGRESS: [&str; 9] = [
    "request_length",
    "request_time",
    "proxy_upstream_name",
    "proxy_alternative_upstream_name",
    "upstream_addr",
    "upstream_response_length",
    "upstream_response_time",
    "upstream_status",
    "request_id",
];

/// Sets the fields of what stands behind the user agent, as far as it is known; gives the rest.
#[cold]
fn behind_agent(batch: &mut Batch, row: usize, (start, end): (usize, usize), extra: Span, keys: Keys) -> Span {
    let text = batch.text().clone();
    let line = &text[start..end];
    let mut cursor = Cursor { line, at: extra.start };
    if let Some(quoted) = cursor.quoted() {
        if client_of(line, quoted).is_some() {
            batch.push_text_field(keys.forwarded_for, start + quoted.start, start + quoted.end);
        } else if is_decimal(quoted.of(line)) {
            batch.event_mut(row).push(Sym::from_config("gzip_ratio"), Value::Number(quoted.of(line)));
        } else if quoted.unless_dash(line).is_some() {
            return extra;
        }
        cursor.blanks();
        return Span::new(cursor.at.min(line.len()), line.len());
    }
    let words = extra.of(line).split(|c| *c == b' ').filter(|word| !word.is_empty());
    let words: Vec<&[u8]> = words.collect();
    let [length, time, upstream, other, ..] = &words[..] else { return extra };
    let bracketed = |word: &[u8]| word.starts_with(b"[") && word.ends_with(b"]");
    let ingress = words.len() == INGRESS.len()
        && length.iter().all(u8::is_ascii_digit)
        && is_decimal(time)
        && bracketed(upstream)
        && bracketed(other);
    if !ingress {
        return extra;
    }
    for (name, word) in INGRESS.iter().zip(words) {
        let word = word.strip_prefix(b"[").and_then(|word| word.strip_suffix(b"]")).unwrap_or(word);
        if matches!(word, b"-" | b"") {
            continue;
        }
        let value = if name.ends_with("_id") || !is_decimal(word) { Value::from(word) } else { Value::Number(word) };
        batch.event_mut(row).push(Sym::from_config(name), value);
    }
    Span::new(line.len(), line.len())
}

/// A number as JSON has it, without a sign.
fn is_decimal(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|c| c.is_ascii_digit()).count();
    let fraction = match text.get(digits..) {
        Some([b'.', rest @ ..]) => !rest.is_empty() && rest.iter().all(u8::is_ascii_digit),
        rest => rest.is_none_or(<[u8]>::is_empty),
    };
    digits > 0 && fraction && (digits == 1 || text[0] != b'0')
}

impl AccessDecoder {
    fn text(&mut self, batch: &mut Batch, row: usize, key: Sym, (from, to): (usize, usize)) {
        if from == to {
            return;
        }
        if memchr::memchr(b'\\', &batch.text()[from..to]).is_none() {
            batch.push_text_field(key, from, to);
        } else {
            self.buf.clear();
            unescape(&batch.text()[from..to], &mut self.buf);
            batch.event_mut(row).push(key, Value::Str(Str::plain(&self.buf)));
        }
    }
}

impl FrameDecoder for AccessDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        let found = match parse(&batch.text()[start..end]) {
            Ok(found) => found,
            Err(why) => return others::decode(self, batch, (start, end), offset).ok_or(why),
        };
        let row = batch.push_line(start, end, offset);
        let (keys, buf) = (self.keys, &mut self.buf);
        let mut text = |batch: &mut Batch, key: Sym, span: Option<Span>| {
            let Some(span) = span else { return };
            let (from, to) = (start + span.start, start + span.end);
            if memchr::memchr(b'\\', &batch.text()[from..to]).is_none() {
                batch.push_text_field(key, from, to);
            } else {
                buf.clear();
                unescape(&batch.text()[from..to], buf);
                batch.event_mut(row).push(key, Value::Str(Str::plain(buf)));
            }
        };
        text(batch, keys.target_fqdn, found.target_fqdn);
        if let Some(port) = found.server_port {
            batch.event_mut(row).push(keys.server_port, Value::I64(i64::from(port)));
        }
        text(batch, keys.client_ip, found.client_ip);
        if let Some(port) = found.client_port {
            batch.event_mut(row).push(keys.client_port, Value::I64(i64::from(port)));
        } else if found.over_unix {
            batch.event_mut(row).push(keys.client, Value::from("unix"));
        }
        if found.forwarded_for.is_some() {
            text(batch, keys.forwarded_for, found.forwarded_for);
            text(batch, keys.proxy_ip, found.proxy_ip);
        }
        text(batch, keys.ident, found.ident);
        text(batch, keys.user, found.user);
        text(batch, keys.time_local, found.time_local);
        text(batch, keys.request, found.request);
        text(batch, keys.method, found.method);
        text(batch, keys.path, found.path);
        text(batch, keys.http_version, found.http_version);
        for (key, number) in [(keys.status, found.status), (keys.bytes, found.bytes)] {
            if let Some(n) = number {
                batch.event_mut(row).push(key, Value::I64(n));
            }
        }
        text(batch, keys.referer, found.referer);
        text(batch, keys.user_agent, found.user_agent);
        if let Some(extra) = found.extra {
            let left = behind_agent(batch, row, (start, end), extra, keys);
            self.text(batch, row, keys.extra, (start + left.start, start + left.end));
        }
        Ok(())
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(AccessDecoder { keys: self.keys, buf: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr)]
    use super::super::testing::decode_line;
    use super::*;
    use proptest::prelude::*;

    fn decoded(line: &str) -> Result<String, String> {
        decode_line(&mut AccessDecoder::default(), line.as_bytes())
    }

    #[test]
    fn a_server_that_was_asked_for_by_its_address_is_no_client() {
        let rest = r#"[30/Nov/2026:10:00:00 +0100] "GET / HTTP/1.1" 200 1 "-" "curl""#;
        for (front, want) in [
            ("203.0.113.5 198.51.100.4 - -", r#"{"target_fqdn":"203.0.113.5","client_ip":"198.51.100.4","time_local""#),
            (
                "203.0.113.5 2001:db8::4 - ops",
                r#"{"target_fqdn":"203.0.113.5","client_ip":"2001:db8::4","user":"ops","time_local""#,
            ),
            ("198.51.100.4 - ops", r#"{"client_ip":"198.51.100.4","user":"ops","time_local""#),
            ("198.51.100.4 - a b", r#"{"client_ip":"198.51.100.4","user":"a b","time_local""#),
        ] {
            let event = decoded(&format!("{front} {rest}")).unwrap();
            assert!(event.starts_with(want), "{front}: {event}");
        }
    }

    #[test]
    fn ports_are_kept_and_a_socket_is_no_address() {
        let rest = r#"[30/Nov/2026:10:00:00 +0100] "GET / HTTP/1.1" 200 1"#;
        for (front, want) in [
            // Debian's vhost_combined.
            (
                "www.a.example:8443 192.0.2.4 - -",
                r#"{"target_fqdn":"www.a.example","server_port":8443,"client_ip":"192.0.2.4","time"#,
            ),
            (
                "www.a.example:80 192.0.2.4, 10.0.0.1 - -",
                r#"{"target_fqdn":"www.a.example","server_port":80,"client_ip":"192.0.2.4","forwarded_for"#,
            ),
            ("192.0.2.4:5123 - -", r#"{"client_ip":"192.0.2.4","client_port":5123,"time"#),
            ("[2001:db8::4]:5123 - ops", r#"{"client_ip":"2001:db8::4","client_port":5123,"user":"ops","time"#),
            ("shop 192.0.2.4:5123 - -", r#"{"target_fqdn":"shop","client_ip":"192.0.2.4","client_port":5123,"time"#),
            ("2001:db8::4 - -", r#"{"client_ip":"2001:db8::4","time"#),
            ("192.0.2.4:70000 - -", r#"{"client_ip":"192.0.2.4:70000","time"#),
            // nginx behind a Unix socket.
            ("unix: - -", r#"{"client":"unix","time"#),
        ] {
            let event = decoded(&format!("{front} {rest}")).unwrap();
            assert!(event.starts_with(want), "{front}: {event}");
        }
    }

    #[test]
    fn werkzeug_has_a_blank_before_its_clock() {
        assert_eq!(
            decoded(r#"127.0.0.1 - - [30/Nov/2026 10:00:00] "GET /a HTTP/1.1" 200 -"#).unwrap(),
            r#"{"client_ip":"127.0.0.1","time_local":"30/Nov/2026 10:00:00","method":"GET","path":"/a","http_version":"1.1","status":200}"#
        );
    }

    #[test]
    fn lines_of_real_servers_are_read_and_error_lines_are_not() {
        let (mut passed, mut total) = (0, 0);
        for file in ["nginx_http-logs", "apache2-logs"] {
            let Some(text) = crate::test_data::shared(&format!("logs/web/{file}.expected.jsonl")) else { return };
            for case in text.lines() {
                let case: serde_json::Value = serde_json::from_str(case).unwrap();
                let got = decoded(case["raw"].as_str().unwrap());
                let ok = if case["kind"] == "http_error-log" {
                    got.is_err()
                } else {
                    let got: serde_json::Value = serde_json::from_str(got.as_deref().unwrap_or("null")).unwrap();
                    case["expected"].as_object().unwrap().iter().all(|(key, want)| got[key] == *want)
                };
                total += 1;
                passed += u32::from(ok);
                if !ok {
                    eprintln!("{file} {}: {got:?}", case["line"]);
                }
            }
        }
        eprintln!("access logs: {passed} of {total} lines");
        assert!(passed >= 18, "{passed} of {total}");
    }

    #[test]
    fn what_the_common_formats_do_not_have_is_kept() {
        assert_eq!(
            decoded(r#"::1 bob John Q. Public [10/Oct/2000:13:55:36 -0700] "\x16\x03" 400 - "-" "a \"b\" \x22c\x5c" 0.003 [up]"#)
                .unwrap(),
            r#"{"client_ip":"::1","ident":"bob","user":"John Q. Public","time_local":"10/Oct/2000:13:55:36 -0700","request":"\\x16\\x03","status":400,"user_agent":"a \"b\" \"c\\","extra":"0.003 [up]"}"#
        );
        assert_eq!(
            decoded(r#"host.example - - [10/Oct/2000:13:55:36 -0700] "GET /a b" 000 0"#).unwrap(),
            r#"{"client_ip":"host.example","time_local":"10/Oct/2000:13:55:36 -0700","method":"GET","path":"/a b","status":0,"bytes":0}"#
        );
    }

    #[test]
    fn of_a_list_of_addresses_the_first_public_one_is_the_client() {
        let behind = r#"[07/Dec/2016:11:05:07 +0100] "GET /o HTTP/1.1" 200 571"#;
        let end = r#""time_local":"07/Dec/2016:11:05:07 +0100","method":"GET","path":"/o","http_version":"1.1","status":200,"bytes":571}"#;
        for (front, want) in [
            (
                "10.0.0.2, 10.0.0.1, 192.0.2.98 - -",
                r#""client_ip":"192.0.2.98","forwarded_for":"10.0.0.2, 10.0.0.1, 192.0.2.98","#,
            ),
            (
                "10.0.0.2, 127.0.0.1 - frank",
                r#""client_ip":"127.0.0.1","forwarded_for":"10.0.0.2, 127.0.0.1","user":"frank","#,
            ),
            (
                r#""10.5.1.2, 198.51.100.1, 198.51.100.7" 10.2.1.5 - -"#,
                r#""client_ip":"198.51.100.1","forwarded_for":"10.5.1.2, 198.51.100.1, 198.51.100.7","proxy_ip":"10.2.1.5","#,
            ),
            (
                "2001:db8::8, 10.2.0.1 10.2.2.1 - -",
                r#""client_ip":"2001:db8::8","forwarded_for":"2001:db8::8, 10.2.0.1","proxy_ip":"10.2.2.1","#,
            ),
            (
                "unknown, 198.51.100.1:4711 - -",
                r#""client_ip":"198.51.100.1","forwarded_for":"unknown, 198.51.100.1:4711","#,
            ),
            (r#""-" 10.2.1.5 - "frank q""#, r#""client_ip":"10.2.1.5","user":"frank q","#),
            (
                "www.example:80 10.0.0.2, 198.51.100.1 - -",
                r#""target_fqdn":"www.example","server_port":80,"client_ip":"198.51.100.1","forwarded_for":"10.0.0.2, 198.51.100.1","#,
            ),
            (r#"10.0.0.1 - "frank""#, r#""client_ip":"10.0.0.1","user":"frank","#),
            (r#"10.0.0.1 - """#, r#""client_ip":"10.0.0.1","#),
            // A comma in a name is no list.
            ("10.0.0.1 - Frank, Q", r#""client_ip":"10.0.0.1","user":"Frank, Q","#),
        ] {
            assert_eq!(decoded(&format!("{front} {behind}")).unwrap(), format!("{{{want}{end}"), "{front}");
        }
    }

    #[test]
    fn what_servers_put_behind_the_agent_has_fields() {
        let line = |extra: &str| {
            let line = format!(r#"::1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 5 "-" "a" {extra}"#);
            let got = decoded(&line).unwrap();
            got.split_once(r#""user_agent":"a""#).unwrap().1.trim_start_matches(',').to_owned()
        };
        assert_eq!(line(r#""-""#), "}");
        assert_eq!(line(r#""192.0.2.1, 10.0.0.1""#), r#""forwarded_for":"192.0.2.1, 10.0.0.1"}"#);
        assert_eq!(line(r#""2.75" x"#), r#""gzip_ratio":2.75,"extra":"x"}"#);
        assert_eq!(line(r#""192.0.2.1" 0.003"#), r#""forwarded_for":"192.0.2.1","extra":"0.003"}"#);
        assert_eq!(line(r#""text" 1"#), r#""extra":"\"text\" 1"}"#);
        assert_eq!(
            line("462 0.050 [ns-svc-80] [] 10.0.5.8:90 194 0.049 200 0abc"),
            r#""request_length":462,"request_time":0.050,"proxy_upstream_name":"ns-svc-80","upstream_addr":"10.0.5.8:90","upstream_response_length":194,"upstream_response_time":0.049,"upstream_status":200,"request_id":"0abc"}"#
        );
    }

    #[test]
    fn truncated_lines_are_refused() {
        let line = r#"1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 5"#;
        assert!(decoded(line).is_ok());
        for end in 0..line.len() - 2 {
            assert!(decoded(&line[..end]).is_err(), "{}", &line[..end]);
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "(1.2.3.4 |- |\\[10/Oct/2000:13:55:36\\] |\"|GET | HTTP/|200 |\\\\|\\PC){0,20}") {
            decoded(&line).ok();
        }
    }
}

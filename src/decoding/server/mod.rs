//! What servers write besides access logs: one file for each format.
//!
//! | `decode` | fields, as far as they are there |
//! | --- | --- |
//! | `nginx_error` | `timestamp, level, pid, tid, connection, message, client_ip, server, method, path, http_version, upstream, host, referer, excess, zone` |
//! | `apache_error` | `timestamp, module, level, pid, tid, source, os_error, upstream, client_ip, client_port, error_code, message, referer` |
//! | `klog` | `timestamp, level, pid, file, line, message`, and the pairs behind a quoted message |
//! | `haproxy` | `timestamp, client_ip, client_port, frontend, backend, server, status, bytes, method, path, http_version`, timers, queues, counts of connections, captures |
//! | `postgresql` | `timestamp, pid, session, user, database, client_ip, client_port, application, level, sqlstate, message, duration, statement` |
//! | `mysql` | `timestamp, thread, level, error_code, subsystem, message`; of the slow log `user, client_ip, query_time, rows_sent, …` |
//!
//! Times without zone are local to the zone of the configuration, those without a year are of the last year possible.
//! Lines of MySQL's general log that belong to the second of the one above have its time, where that line came directly before.
//! Levels are words as the server wrote them (`normalize` knows them), klog's letters spelled out. A line that is not of
//! the format is refused; where a part behind the head is not known, it stays in `message`, `extra` or `prefix`.

mod apache;
mod haproxy;
mod klog;
mod mysql;
mod nginx;
mod postgresql;
#[cfg(test)]
mod tests;

use super::FrameDecoder;
use super::access::{AccessLine, request_line};
use super::keys::{KeyCache, push_numbered};
use super::syslog::{self, push_time};
use crate::event::{Batch, Origin, Str, Sym, Value, json};
use crate::framing::span::Span;
use crate::time::TimestampReader;

/// A format of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// nginx's error log.
    Nginx,
    /// Apache's error log, 2.2 and 2.4.
    Apache,
    /// Kubernetes' klog, and glog.
    Klog,
    /// HAProxy: HTTP, HTTPS, TCP, errors, and what it says of itself; with or without a header of syslog.
    Haproxy,
    /// PostgreSQL's text log.
    Postgresql,
    /// MySQL's and MariaDB's error log, and slow log.
    Mysql,
}

macro_rules! names {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// Fields of all formats.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Name { $($name),* }

        const NAMES: &[&str] = &[$($text),*];
        // A bit for each, see `decode`.
        const _: () = assert!(NAMES.len() <= 128);
    };
}

names! {
    Actconn = "actconn",
    Application = "application",
    Backend = "backend",
    BackendQueue = "backend_queue",
    Beconn = "beconn",
    Bytes = "bytes",
    CapturedRequestCookie = "captured_request_cookie",
    CapturedRequestHeaders = "captured_request_headers",
    CapturedResponseCookie = "captured_response_cookie",
    CapturedResponseHeaders = "captured_response_headers",
    Client = "client",
    ClientIp = "client_ip",
    ClientPort = "client_port",
    Command = "command",
    Connection = "connection",
    Database = "database",
    DestinationIp = "destination_ip",
    DestinationPort = "destination_port",
    Duration = "duration",
    ErrorCode = "error_code",
    Excess = "excess",
    Extra = "extra",
    Facility = "facility",
    Feconn = "feconn",
    File = "file",
    Frontend = "frontend",
    Host = "host",
    Hostname = "hostname",
    HttpVersion = "http_version",
    Level = "level",
    Line = "line",
    LockTime = "lock_time",
    Message = "message",
    Method = "method",
    Mode = "mode",
    Module = "module",
    OsError = "os_error",
    Part = "part",
    Path = "path",
    Pid = "pid",
    Prefix = "prefix",
    QueryTime = "query_time",
    Referer = "referer",
    Request = "request",
    Retries = "retries",
    RowsExamined = "rows_examined",
    RowsSent = "rows_sent",
    Schema = "schema",
    Server = "server",
    Session = "session",
    SessionLine = "session_line",
    Severity = "severity",
    Source = "source",
    Sqlstate = "sqlstate",
    SrvQueue = "srv_queue",
    Srvconn = "srvconn",
    Ssl = "ssl",
    Statement = "statement",
    Status = "status",
    Subrequest = "subrequest",
    Subsystem = "subsystem",
    TerminationState = "termination_state",
    Thread = "thread",
    Tid = "tid",
    TimeActive = "time_active",
    TimeConnect = "time_connect",
    TimeQueue = "time_queue",
    TimeRequest = "time_request",
    TimeResponse = "time_response",
    Upstream = "upstream",
    User = "user",
    Zone = "zone",
}

/// What stands in a field.
#[derive(Clone, Copy, Debug)]
enum Said {
    Text(Span),
    Word(&'static str),
    Int(i64),
    /// A JSON number, as written.
    Decimal(Span),
    Yes,
}

/// A line taken apart.
#[derive(Debug, Default)]
struct Found {
    /// The time as written; empty where there is none.
    time: Vec<u8>,
    /// The time of a header of syslog, where there is no other.
    header_time: Option<syslog::When>,
    fields: Vec<(Name, Said)>,
    /// Pairs behind the message, as places in the line: klog's.
    pairs: Option<Span>,
    /// What the line has to do with the times of its neighbours: MySQL's general log.
    second: Second,
}

/// Lines of a second of which only the first says when it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Second {
    /// Nothing.
    #[default]
    Own,
    /// Those behind it may have its time.
    Begins,
    /// It has the time of the one before.
    GoesOn,
}

impl Found {
    fn text(&mut self, name: Name, span: Span) {
        if !span.is_empty() {
            self.fields.push((name, Said::Text(span)));
        }
    }

    fn int(&mut self, name: Name, n: i64) {
        self.fields.push((name, Said::Int(n)));
    }

    /// A whole number, as far as the text is one; else text.
    fn number(&mut self, name: Name, line: &[u8], span: Span) {
        match integer(span.of(line)) {
            Some(n) => self.int(name, n),
            None => self.text(name, span),
        }
    }

    /// A number with or without a fraction; else text.
    fn decimal(&mut self, name: Name, line: &[u8], span: Span) {
        let text = span.of(line);
        let whole = text.iter().take_while(|c| c.is_ascii_digit()).count();
        let fraction = match text.get(whole..) {
            Some([b'.', rest @ ..]) => !rest.is_empty() && rest.iter().all(u8::is_ascii_digit),
            rest => rest.is_none_or(<[u8]>::is_empty),
        };
        let plain = whole > 0 && fraction && (whole == 1 || text[0] != b'0');
        if plain { self.fields.push((name, Said::Decimal(span))) } else { self.text(name, span) }
    }

    fn word(&mut self, name: Name, word: &'static str) {
        self.fields.push((name, Said::Word(word)));
    }

    fn at(&mut self, time: &[u8]) {
        self.time.extend_from_slice(time);
    }

    /// A request line, in its parts.
    fn request(&mut self, line: &[u8], span: Span) {
        let mut parts = AccessLine::default();
        request_line(line, span, &mut parts);
        for (name, part) in [
            (Name::Request, parts.request),
            (Name::Method, parts.method),
            (Name::Path, parts.path),
            (Name::HttpVersion, parts.http_version),
        ] {
            if let Some(part) = part {
                self.text(name, part);
            }
        }
    }

    /// An address with a port behind its last colon, where there is one.
    fn client(&mut self, line: &[u8], span: Span) {
        let (address, port) = with_port(line, span);
        match address.of(line) {
            b"-" => {}
            // Over a Unix socket, which has no address.
            b"unix" | b"unix:" => self.word(Name::Client, "unix"),
            text if text.starts_with(b"unix:") || text.starts_with(b"unix(") => self.text(Name::Client, address),
            _ => self.text(Name::ClientIp, address),
        }
        if let Some(port) = port {
            self.number(Name::ClientPort, line, port);
        }
    }
}

/// Digits, with a sign or without.
fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n = digits.iter().fold(0, |n, c| n * 10 + i64::from(c - b'0'));
    Some(if text.starts_with(b"-") { -n } else { n })
}

/// Address and port of `1.2.3.4:80`, `::1:54321`, `[::1]:80`; of an address alone, that.
fn with_port(line: &[u8], span: Span) -> (Span, Option<Span>) {
    let text = span.of(line);
    let Some(colon) = memchr::memrchr(b':', text) else { return (span, None) };
    let port = Span::new(span.start + colon + 1, span.end);
    let digits = !port.is_empty() && port.len() <= 5 && port.of(line).iter().all(u8::is_ascii_digit);
    let mut head = Span::new(span.start, span.start + colon);
    if let [b'[', .., b']'] = head.of(line) {
        head = Span::new(head.start + 1, head.end - 1);
    } else if head.of(line).contains(&b':') && (port.len() < 4 || is_ipv6(text) && !is_ipv6(head.of(line))) {
        return (span, None);
    }
    if digits && !head.is_empty() { (head, Some(port)) } else { (span, None) }
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// A line that is being read.
struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(line: &'a [u8]) -> Self {
        Cursor { line, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    /// All that is left.
    fn rest_span(&self) -> Span {
        Span::new(self.at.min(self.line.len()), self.line.len())
    }

    fn blanks(&mut self) {
        while matches!(self.line.get(self.at), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, text: &[u8]) -> Option<()> {
        self.rest().starts_with(text).then(|| self.at += text.len())
    }

    /// What stands in front of `end`, behind which it goes on.
    fn until(&mut self, end: &[u8]) -> Option<Span> {
        let len = memchr::memmem::find(self.rest(), end)?;
        let span = Span::new(self.at, self.at + len);
        self.at = span.end + end.len();
        Some(span)
    }

    /// What stands between here and the next blank or the end, behind which blanks are passed over.
    fn word(&mut self) -> Option<Span> {
        let rest = self.rest();
        let len = memchr::memchr2(b' ', b'\t', rest).unwrap_or(rest.len());
        let span = Span::new(self.at, self.at + len).non_empty()?;
        self.at = span.end;
        self.blanks();
        Some(span)
    }

    /// What stands in brackets here, behind which blanks are passed over.
    fn brackets(&mut self) -> Option<Span> {
        let before = self.at;
        let found = self.eat(b"[").and_then(|()| self.until(b"]"));
        match found {
            Some(_) => self.blanks(),
            None => self.at = before,
        }
        found
    }

    fn digits(&mut self) -> Option<Span> {
        let len = self.rest().iter().take_while(|c| c.is_ascii_digit()).count();
        let span = Span::new(self.at, self.at + len).non_empty()?;
        self.at = span.end;
        Some(span)
    }
}

/// Takes a line apart. Errors: why it is not of the format.
type Parse = fn(&[u8], &mut Found) -> Result<(), &'static str>;

impl Server {
    fn parse(self) -> Parse {
        match self {
            Server::Nginx => nginx::parse,
            Server::Apache => apache::parse,
            Server::Klog => klog::parse,
            Server::Haproxy => haproxy::parse,
            Server::Postgresql => postgresql::parse,
            Server::Mysql => mysql::parse,
        }
    }
}

/// Decodes lines of one format.
pub struct ServerDecoder {
    server: Server,
    times: TimestampReader,
    keys: std::sync::Arc<[Sym]>,
    found: Found,
    pairs: Vec<super::logfmt::Pair>,
    pair_keys: KeyCache,
    buf: Vec<u8>,
    last: Option<Last>,
}

/// The line before, whose time those of the same second have.
struct Last {
    /// Held, so that no other origin can come to stand at its address.
    origin: std::sync::Arc<Origin>,
    /// Where it ended.
    end: u64,
    ns: i64,
}

impl Last {
    /// Whether a line at `offset` is the next: behind the end of the one before, and its line end.
    fn is_before(&self, batch: &Batch, offset: u64) -> bool {
        std::sync::Arc::ptr_eq(&self.origin, &batch.origin) && (self.end..=self.end + 2).contains(&offset)
    }
}

impl ServerDecoder {
    /// A decoder that reads times with `times`.
    pub fn new(server: Server, times: TimestampReader) -> Self {
        let keys = NAMES.iter().map(|name| Sym::from_config(name)).collect();
        ServerDecoder::with_keys(server, times, keys)
    }

    fn with_keys(server: Server, times: TimestampReader, keys: std::sync::Arc<[Sym]>) -> Self {
        let (found, pair_keys) = (Found::default(), KeyCache::default());
        ServerDecoder { server, times, keys, found, pairs: Vec::new(), pair_keys, buf: Vec::new(), last: None }
    }

    /// Sets the fields that were found in the line at `start`.
    fn push_fields(&mut self, batch: &mut Batch, row: usize, start: usize) {
        let mut said_before = 0u128;
        for (name, said) in &self.found.fields {
            // A key is there once: the first, since what comes behind may be what a client chose.
            let bit = 1u128 << (*name as u32);
            if said_before & bit != 0 {
                continue;
            }
            said_before |= bit;
            let key = self.keys[*name as usize];
            match *said {
                Said::Text(span) => batch.push_text_field(key, start + span.start, start + span.end),
                Said::Word(word) => {
                    batch.event_mut(row).push(key, Value::from(word));
                }
                Said::Int(n) => {
                    batch.event_mut(row).push(key, Value::I64(n));
                }
                Said::Decimal(span) => {
                    self.buf.clear();
                    self.buf.extend_from_slice(&batch.text()[start + span.start..start + span.end]);
                    batch.event_mut(row).push(key, Value::Number(&self.buf));
                }
                Said::Yes => {
                    batch.event_mut(row).push(key, Value::Bool(true));
                }
            }
        }
    }

    /// Sets the pairs behind the message; of one name the first counts, the others have a number behind it.
    fn push_pairs(&mut self, batch: &mut Batch, row: usize, (start, end): (usize, usize)) {
        use super::logfmt::PairValue;
        for (n, pair) in self.pairs.iter().enumerate() {
            let text = &batch.text()[start..end];
            let key = self.pair_keys.get(n, pair.key.of(text));
            let taken = key.is_some_and(|key| batch.event(row).position(key).is_some());
            let value = match pair.value {
                PairValue::Flag => Value::Bool(true),
                PairValue::Text(span) | PairValue::Escaped(span) => {
                    self.buf.clear();
                    match pair.value {
                        PairValue::Escaped(_) => json::unescape(span.of(text), &mut self.buf),
                        _ => self.buf.extend_from_slice(span.of(text)),
                    }
                    Value::Str(Str::plain(&self.buf))
                }
            };
            match key {
                _ if taken => {
                    let number = super::logfmt::occurrence(text, &self.pairs, n);
                    let name = pair.key.of(text).to_vec();
                    push_numbered(batch, row, &name, number.max(2), value);
                }
                Some(key) => {
                    batch.event_mut(row).push(key, value);
                }
                None => {
                    let name = pair.key.of(text).to_vec();
                    batch.event_mut(row).push_text(&name, value);
                }
            }
        }
    }
}

impl FrameDecoder for ServerDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        let found = &mut self.found;
        found.time.clear();
        found.fields.clear();
        (found.pairs, found.header_time, found.second) = (None, None, Second::Own);
        let text = &batch.text()[start..end];
        let text = &text[..text.trim_ascii_end().len()];
        let parsed = (self.server.parse())(text, found);
        let carried = match &mut self.last {
            None => None,
            // A statement may have several lines, and the next line is of the same second for all that.
            Some(last) => last.is_before(batch, offset).then(|| {
                last.end = offset + (end - start) as u64;
                last.ns
            }),
        };
        parsed?;
        let found = &mut self.found;
        if let Some(pairs) = found.pairs
            && super::logfmt::parse(pairs.of(text), &mut self.pairs).is_err()
        {
            // No pairs after all.
            found.pairs = None;
            self.pairs.clear();
        }
        let stamp = match found.time.is_empty() {
            true => None,
            false => Some(self.times.read(&found.time, batch.received_at).ok_or("a time that cannot be read")?),
        };
        let row = batch.push_line(start, end, offset);
        if let Some(stamp) = stamp {
            push_time(batch, row, stamp.ns);
            if self.found.second == Second::Begins {
                let (origin, end) = (batch.origin.clone(), offset + (end - start) as u64);
                self.last = Some(Last { origin, end, ns: stamp.ns });
            }
        } else if let (Second::GoesOn, Some(ns)) = (self.found.second, carried) {
            push_time(batch, row, ns);
        } else if let Some(when) = self.found.header_time {
            let now = batch.received_at;
            let ns = match when {
                syslog::When::Exact(span) => {
                    let text = &batch.text()[start + span.start..start + span.end];
                    self.times.read(text, now).map(|stamp| stamp.ns)
                }
                syslog::When::Local { civil, year, zone } => {
                    syslog::instant(self.times.zone(), &civil, year, zone, now)
                }
                syslog::When::Instant(ns) => Some(ns),
            };
            if let Some(ns) = ns {
                push_time(batch, row, ns);
            }
        }
        self.push_fields(batch, row, start);
        if let Some(pairs) = self.found.pairs {
            self.push_pairs(batch, row, (start + pairs.start, start + pairs.end));
        }
        Ok(())
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(ServerDecoder::with_keys(self.server, self.times.clone(), self.keys.clone()))
    }
}

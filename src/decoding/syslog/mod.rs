//! Syslog: RFC 5424 and RFC 3164, told apart message by message, and what vendors make of them.
//!
//! ```text
//! <165>1 2003-10-11T22:14:15.003Z host app 4711 ID47 [id@32473 iut="3"] An event      RFC 5424
//! <34>Oct 11 22:14:15 host su[231]: 'su root' failed                                   RFC 3164
//! <189>105: 000104: *Mar 12 07:12:10.295: %SYS-5-CONFIG_I: Configured from console     Cisco IOS
//! ```
//!
//! What devices make of RFC 3164 stands in the modules: `legacy` (hosts and tags), `front` (Cisco's counters), `keyed` (firewalls
//! that name everything), `files` (forms of files and single makers), `when` (times), `words` (levels, and English). By maker: `tests/fixtures/syslog_headers.jsonl`.
//!
//! [`parse`] is pure and never refuses: what it cannot read stays in the message, so no byte of text is lost. In a message
//! of RFC 3164 the tag is what ends in `:` or `[pid]:`; a first word without either belongs to the message. A word in
//! the host's place that is a tag means there is no host. Structured data that breaks its grammar stays, raw, at the
//! head of the message. Times without zone or year get them from the receiver: the zone is a setting, the year is the
//! latest that puts the time no more than two days ahead of now.
//!
//! A header that was not read is an error of decoding. There is one to be read where a priority is missing altogether, or
//! where, behind a priority, something like a time stands among the first two words, or a version and `-`, or another
//! priority. Behind a priority that nothing like it follows (`<13>text`), all is text, and right.

mod data;
mod files;
mod front;
#[cfg(test)]
mod headers;
mod keyed;
mod legacy;
#[cfg(test)]
mod tests;
mod when;
mod words;
mod zones;

use super::FrameDecoder;
use crate::event::json::{self, ValueKind};
use crate::event::{Batch, Form, Str, Sym, Value};
use crate::framing::span::Span;
use crate::telemetry::example_of;
use crate::time::{Civil, TimestampReader, WrittenZone, Year, Zone, parse_rfc3339, write_rfc3339_utc};

pub use data::write_structured_data;
pub use zones::SenderZones;

/// Which grammar a message followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 5424.
    Rfc5424,
    /// RFC 3164 or something near it.
    Rfc3164,
    /// No header; all of it (behind the priority, if there is one) is the message.
    Unknown,
}

/// When a message says it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// RFC 3339, as written.
    Exact(Span),
    /// A date and time.
    Local {
        /// What was written; the year is 0 where there was none.
        civil: Civil,
        /// Whether there was a year; else it is inferred.
        year: Year,
        /// The zone that was written.
        zone: Option<WrittenZone>,
    },
    /// Nanoseconds since 1970 UTC.
    Instant(i64),
}

/// A message taken apart, as places in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which grammar it followed.
    pub format: Format,
    /// Facility times 8 plus severity; absent without `<PRI>`.
    pub pri: Option<u8>,
    /// RFC 5424's version.
    pub version: Option<u16>,
    /// The time.
    pub timestamp: Option<When>,
    /// Name or address of the host.
    pub hostname: Option<Span>,
    /// The application, or RFC 3164's tag.
    pub appname: Option<Span>,
    /// The process.
    pub procid: Option<Span>,
    /// RFC 5424's message id.
    pub msgid: Option<Span>,
    /// RFC 5424's structured data with its brackets, checked.
    pub structured_data: Option<Span>,
    /// The text; never empty.
    pub message: Option<Span>,
    /// The severity that a word gives, where there is no `<PRI>`.
    pub severity: Option<u8>,
    /// The facility that a word gives, where there is no `<PRI>`.
    pub facility: Option<u8>,
    /// What Cisco's devices add.
    pub cisco: Cisco,
    /// There is something of it.
    has_cisco: bool,
}

/// What stands in front of times of Cisco's devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cisco {
    /// The counter of messages.
    pub message_counter: Option<u64>,
    /// The sequence number.
    pub sequence: Option<u64>,
    /// The node of an IOS-XR, the card of a cBR-8.
    pub node: Option<Span>,
    /// How long the device is up, in place of the time.
    pub uptime: Option<Span>,
    /// A zone that an operator named and nobody else knows.
    pub zone: Option<Span>,
    /// The host that a relay gave, where the device gives its own.
    pub relay: Option<Span>,
}

impl Message {
    fn new(format: Format, pri: Option<u8>) -> Self {
        Message {
            format,
            pri,
            version: None,
            timestamp: None,
            hostname: None,
            appname: None,
            procid: None,
            msgid: None,
            structured_data: None,
            message: None,
            severity: None,
            facility: None,
            cisco: Cisco::default(),
            has_cisco: false,
        }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Takes one message apart, without its transport framing.
pub fn parse(text: &[u8]) -> Message {
    let mut message = Message::new(Format::Rfc5424, None);
    parse_into(text, &mut message);
    message
}

/// As [`parse`], into a new message: it is large, and is not moved on the way that most take.
fn parse_into(text: &[u8], message: &mut Message) {
    let whole = trim(text);
    let line = Line { text: text.get(..whole.end).unwrap_or_default() };
    let (pri, at) = match line.pri(whole.start) {
        Some((pri, at)) => (Some(pri), at),
        None => (None, whole.start),
    };
    message.pri = pri;
    if line.rfc5424(if pri.is_some() { line.skip_blanks(at) } else { at }, message) {
        return;
    }
    if legacy::parse(&line, pri, at, message) {
        return;
    }
    *message = Message::new(Format::Unknown, pri);
    message.message = Span::new(at, whole.end).non_empty();
}

/// Cuts what transports and editors leave around a message: white space before `<`, and at the end NUL, line ends and
/// the blanks behind them. Blanks that end a line are the message's.
fn trim(text: &[u8]) -> Span {
    let mut end = text.len();
    loop {
        let kept = text[..end].trim_ascii_end().len();
        if text[kept..end].iter().any(|c| matches!(c, b'\n' | b'\r')) {
            end = kept;
        } else if end > 0 && text[end - 1] == 0 {
            end -= 1;
        } else {
            break;
        }
    }
    let blanks = end - text[..end].trim_ascii_start().len();
    let start = if text.get(blanks) == Some(&b'<') { blanks } else { 0 };
    Span::new(start, end)
}

/// A message that is being read.
struct Line<'a> {
    text: &'a [u8],
}

impl Line<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn rest(&self, at: usize) -> &[u8] {
        self.text.get(at..).unwrap_or_default()
    }

    /// The first position at or after `at` that holds no blank.
    fn skip_blanks(&self, mut at: usize) -> usize {
        while self.byte(at) == Some(b' ') {
            at += 1;
        }
        at
    }

    /// What stands from `at` to the next blank or the end.
    fn word(&self, at: usize) -> Span {
        let rest = self.rest(at);
        Span::new(at, at + memchr::memchr(b' ', rest).unwrap_or(rest.len()))
    }

    /// `<0>` to `<191>`: the number and the position behind it.
    fn pri(&self, at: usize) -> Option<(u8, usize)> {
        let rest = self.rest(at).strip_prefix(b"<")?;
        let close = rest.iter().take(4).position(|c| *c == b'>')?;
        let digits = &rest[..close];
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) || (digits.len() > 1 && digits[0] == b'0') {
            return None;
        }
        let n = digits.iter().fold(0u16, |n, c| n * 10 + u16::from(c - b'0'));
        u8::try_from(n).ok().filter(|n| *n <= 191).map(|n| (n, at + close + 2))
    }

    /// A message of RFC 5424 whose version stands at `at`, into one that has its priority; `false` where it is none. Without a
    /// priority only version 1 with a real time is taken for one.
    fn rfc5424(&self, at: usize, message: &mut Message) -> bool {
        let digits = self.rest(at).iter().take(4).take_while(|c| c.is_ascii_digit()).count();
        let version = Span::new(at, at + digits);
        if !matches!(version.of(self.text), [b'1'..=b'9'] | [b'1'..=b'9', _] | [b'1'..=b'9', _, _]) {
            return false;
        }
        let number = version.of(self.text).iter().fold(0u16, |n, c| n * 10 + u16::from(c - b'0'));
        message.version = Some(number);
        let Some((time, at)) = self.header(version.end) else { return false };
        let has_pri = message.pri.is_some();
        match time {
            Some(time) if parse_rfc3339(time.of(self.text)).is_some() => message.timestamp = Some(When::Exact(time)),
            Some(time) => return self.slips(message, time, at).is_some(),
            None if !has_pri => return false,
            None => {}
        }
        (has_pri || number == 1) && self.fields(message, at).is_some() && !(has_pri && self.has_text_for_app(message))
    }

    /// Whether a text begins in the application's place: `1 2026-10-01T10:00:00Z host app: text`, `… host CEF:0|…`.
    fn has_text_for_app(&self, message: &Message) -> bool {
        let Some(app) = message.appname.map(|app| app.of(self.text)) else { return false };
        let is_pid = |span: Option<Span>| span.is_none_or(|pid| pid.of(self.text).iter().all(u8::is_ascii_digit));
        (app.ends_with(b":") && !is_pid(message.procid)) || app.starts_with(b"CEF:") || app.starts_with(b"LEEF:")
    }

    /// As [`rfc5424`](Self::rfc5424), with a time that is near what it has to be: an offset without colon, seconds since 1970.
    #[cold]
    fn slips(&self, message: &mut Message, time: Span, at: usize) -> Option<()> {
        message.pri?;
        let epoch = || when::epoch(self, time.start).map(|(when, _)| when);
        message.timestamp = Some(when::iso_word(self, time).or_else(epoch)?);
        self.fields(message, at)?;
        // Seconds since 1970 are read so only where all the rest is as it has to be: Meraki's are not.
        let is_whole = message.structured_data.is_some() || self.has_dash_for_data(at);
        (is_whole || !matches!(message.timestamp, Some(When::Instant(_)))).then_some(())
    }

    /// Whether `-` stands for structured data behind four words.
    fn has_dash_for_data(&self, mut at: usize) -> bool {
        for _ in 0..4 {
            at = self.word(self.skip_blanks(at)).end;
        }
        self.word(self.skip_blanks(at)).of(self.text) == b"-"
    }

    /// Host, application, process, message id, structured data and text; the host stands behind the blank at `at`.
    fn fields(&self, message: &mut Message, at: usize) -> Option<()> {
        let mut at = at;
        (message.hostname, at) = self.header(at)?;
        (message.appname, at) = self.header(at)?;
        (message.procid, at) = self.header(at)?;
        (message.msgid, at) = self.header(at)?;
        if self.byte(at).is_none() {
            // Cut short before its structured data; what came is read.
            return Some(());
        }
        at += 1;
        let data = if self.byte(at) == Some(b'-') { at + 1 } else { data::end(self.text, at).unwrap_or(at) };
        match self.byte(data) {
            _ if data == at => message.message = Span::new(at, self.text.len()).non_empty(),
            None => {}
            Some(b' ') => message.message = self.message(data + 1),
            Some(_) => {
                message.message = Span::new(at, self.text.len()).non_empty();
                return Some(());
            }
        }
        message.structured_data = (self.byte(at) == Some(b'[')).then(|| Span::new(at, data)).and_then(Span::non_empty);
        Some(())
    }

    /// One field of the header behind a blank at `at`: `None` inside for `-`; the position behind it.
    #[inline]
    fn header(&self, at: usize) -> Option<(Option<Span>, usize)> {
        if self.byte(at) != Some(b' ') {
            return None;
        }
        let end = json::find(self.text, at + 1, json::Class::NotGraphic);
        if end == at + 1 {
            return self.header_behind_blanks(at);
        }
        if self.byte(end).is_some_and(|c| c != b' ') {
            return None;
        }
        let word = Span::new(at + 1, end);
        Some((word.unless_dash(self.text), word.end))
    }

    /// The same with blanks too many at `at`.
    #[cold]
    #[inline(never)]
    fn header_behind_blanks(&self, at: usize) -> Option<(Option<Span>, usize)> {
        let start = self.skip_blanks(at);
        let end = json::find(self.text, start, json::Class::NotGraphic);
        if start == at + 1 || end == start || self.byte(end).is_some_and(|c| c != b' ') {
            return None;
        }
        let word = Span::new(start, end);
        Some((word.unless_dash(self.text), word.end))
    }

    /// The text from `at`, without a byte order mark.
    fn message(&self, at: usize) -> Option<Span> {
        let at = if self.rest(at).starts_with(BOM) { at + BOM.len() } else { at };
        Span::new(at, self.text.len()).non_empty()
    }
}

/// Decodes syslog messages, one a frame.
pub struct SyslogDecoder {
    zones: zones::ZoneOfSender,
    minute: Minute,
    keys: Keys,
    json: Vec<u8>,
    /// Messages whose header was not read, and one of them.
    unread: (u64, Option<String>),
}

#[derive(Clone, Copy)]
struct Keys {
    severity: Sym,
    facility: Sym,
    hostname: Sym,
    appname: Sym,
    procid: Sym,
    msgid: Sym,
    structured_data: Sym,
    cisco: Sym,
}

impl SyslogDecoder {
    /// `times` knows the zone of times that name none.
    pub fn new(times: TimestampReader) -> Self {
        Self::with_zones(SenderZones::new(times.zone().clone(), Vec::new()))
    }

    /// For senders in several zones.
    pub fn with_zones(zones: SenderZones) -> Self {
        let key = Sym::from_config;
        let keys = Keys {
            severity: key("severity"),
            facility: key("facility"),
            hostname: key("hostname"),
            appname: key("appname"),
            procid: key("procid"),
            msgid: key("msgid"),
            structured_data: key("structured_data"),
            cisco: key("cisco"),
        };
        SyslogDecoder {
            zones: zones.into_cache(),
            minute: Minute::default(),
            keys,
            json: Vec::new(),
            unread: (0, None),
        }
    }
}

/// A minute whose instant is known: most messages are of the minute of the one before.
#[derive(Clone, Copy, Default)]
struct Minute {
    /// Year, month, day, hour and minute; 0 is none.
    key: u64,
    /// Its first nanosecond.
    ns: i64,
}

/// How far ahead a time without a year may be, in nanoseconds.
const AHEAD: i64 = 2 * 86_400 * 1_000_000_000;

impl Minute {
    /// The instant of a time without a zone, where it is of this minute. Without a year the minute must still be of the
    /// latest year that is possible: no longer ago than the shortest year, less a day for its clock's changes.
    #[inline]
    fn instant(&self, civil: &Civil, year: Year, now: i64) -> Option<i64> {
        const YEAR: i64 = 364 * 86_400 * 1_000_000_000;
        let latest = now.saturating_add(AHEAD);
        let ns = self.ns + i64::from(civil.second) * 1_000_000_000 + i64::from(civil.nanos);
        let fits = year == Year::Written || ns <= latest && self.ns > latest.saturating_sub(YEAR);
        (self.key == Minute::key(civil) && fits).then_some(ns)
    }

    fn key(civil: &Civil) -> u64 {
        let day = u64::from(civil.month) << 24 | u64::from(civil.day) << 16;
        (civil.year as u32 as u64) << 32 | day | u64::from(civil.hour) << 8 | u64::from(civil.minute)
    }

    /// The minute of a time and its instant.
    fn of(civil: &Civil, ns: i64) -> Self {
        let into = i64::from(civil.second) * 1_000_000_000 + i64::from(civil.nanos);
        Minute { key: Minute::key(civil), ns: ns - into }
    }
}

impl SyslogDecoder {
    /// The instant of a time that was written, in nanoseconds since 1970 UTC.
    #[inline]
    fn instant_of(&mut self, batch: &Batch, civil: &Civil, year: Year, written: Option<WrittenZone>) -> Option<i64> {
        let (now, is_plain) = (batch.received_at, written.is_none() && self.zones.is_one());
        if is_plain && let Some(ns) = self.minute.instant(civil, year, now) {
            return Some(ns);
        }
        let ns = instant(self.zones.of(&batch.origin), civil, year, written, now)?;
        if is_plain {
            self.minute = Minute::of(civil, ns);
        }
        Some(ns)
    }

    /// Counts a message that was taken although it has no header.
    #[cold]
    fn note_unread(&mut self, text: &[u8]) {
        self.unread.0 += 1;
        if self.unread.1.is_none() {
            self.unread.1 = Some(example_of(text));
        }
    }
}

/// The instant in nanoseconds since 1970 UTC of a time that may have no zone and no year; `None` for a date that does not exist.
pub(super) fn instant(zone: &Zone, civil: &Civil, year: Year, written: Option<WrittenZone>, now: i64) -> Option<i64> {
    let to_ns = |civil: &Civil| match written {
        Some(written) => civil.to_ns(zone.seconds_of(written)),
        None => zone.to_ns(civil),
    };
    if year == Year::Written {
        return to_ns(civil);
    }
    let this_year = zone.civil(now).year;
    // Next year first: a clock that is ahead already writes January. 29 February may have to go back eight years.
    (this_year - 8..=this_year + 1)
        .rev()
        .find_map(|year| to_ns(&Civil { year, ..*civil }).filter(|ns| *ns <= now.saturating_add(AHEAD)))
}

/// The time of an event, with the digits that it has.
pub(super) fn push_time(batch: &mut Batch, row: usize, ns: i64) {
    if ns % 1_000_000 == 0 {
        batch.event_mut(row).push(Sym::TIMESTAMP, Value::Timestamp(ns));
        return;
    }
    let mut text = Vec::with_capacity(32);
    write_rfc3339_utc(ns, if ns % 1000 == 0 { 6 } else { 9 }, &mut text);
    batch.event_mut(row).push(Sym::TIMESTAMP, Value::Str(Str { bytes: &text, form: Form::Clean }));
}

/// Appends what there is as a JSON object; nothing where there is nothing.
#[cold]
fn write_cisco(cisco: &Cisco, text: &[u8], out: &mut Vec<u8>) {
    let name = |name: &str, out: &mut Vec<u8>| {
        out.extend_from_slice(if out.is_empty() { b"{\"" } else { b",\"" });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
    };
    for (key, n) in [("message_counter", cisco.message_counter), ("sequence", cisco.sequence)] {
        let Some(n) = n else { continue };
        name(key, out);
        out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
    }
    for (key, span) in [("node", cisco.node), ("uptime", cisco.uptime), ("zone", cisco.zone), ("relay", cisco.relay)] {
        let Some(span) = span else { continue };
        name(key, out);
        out.push(b'"');
        json::escape(span.of(text), out);
        out.push(b'"');
    }
    if !out.is_empty() {
        out.push(b'}');
    }
}

/// Whether a message without a header should have had one, and which error that is.
#[cold]
fn unread(text: &[u8], found: &Message) -> Result<(), &'static str> {
    if found.pri.is_none() {
        return Err("no syslog header");
    }
    match found.message.is_some_and(|message| when::is_like_a_header(message.of(text))) {
        true => Err("syslog header not read"),
        false => Ok(()),
    }
}

impl FrameDecoder for SyslogDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        let mut found = Message::new(Format::Rfc5424, None);
        parse_into(&batch.text()[start..end], &mut found);
        if found.format == Format::Unknown {
            unread(&batch.text()[start..end], &found)?;
            self.note_unread(&batch.text()[start..end]);
        }
        let keys = self.keys;
        let row = batch.push_line(start, end, offset);
        let text = |batch: &mut Batch, key: Sym, span: Option<Span>| {
            if let Some(span) = span {
                batch.push_text_field(key, start + span.start, start + span.end);
            }
        };
        // Words of a header that need no escapes in JSON: what the agent writes is mostly JSON.
        let word = |batch: &mut Batch, key: Sym, span: Option<Span>| {
            let Some(span) = span else { return };
            let (from, to) = (start + span.start, start + span.end);
            match json::is_clean(&batch.text()[from..to]) {
                true => batch.push_span_field(key, ValueKind::Clean, from, to),
                false => batch.push_text_field(key, from, to),
            }
        };
        match found.timestamp {
            // Digits and marks only.
            Some(When::Exact(span)) => {
                batch.push_span_field(Sym::TIMESTAMP, ValueKind::Clean, start + span.start, start + span.end);
            }
            Some(When::Local { civil, year, zone }) => {
                if let Some(ns) = self.instant_of(batch, &civil, year, zone) {
                    push_time(batch, row, ns);
                }
            }
            Some(When::Instant(ns)) => push_time(batch, row, ns),
            None => {}
        }
        if let Some(pri) = found.pri {
            batch.event_mut(row).push(keys.severity, Value::I64(i64::from(pri & 7)));
            batch.event_mut(row).push(keys.facility, Value::I64(i64::from(pri >> 3)));
        } else if let Some(severity) = found.severity {
            batch.event_mut(row).push(keys.severity, Value::I64(i64::from(severity)));
            if let Some(facility) = found.facility {
                batch.event_mut(row).push(keys.facility, Value::I64(i64::from(facility)));
            }
        }
        word(batch, keys.hostname, found.hostname);
        word(batch, keys.appname, found.appname);
        word(batch, keys.procid, found.procid);
        word(batch, keys.msgid, found.msgid);
        let json = &mut self.json;
        if let Some(data) = found.structured_data {
            json.clear();
            write_structured_data(data.of(&batch.text()[start..end]), json);
            batch.event_mut(row).push(keys.structured_data, Value::Object(json));
        }
        if found.has_cisco {
            json.clear();
            write_cisco(&found.cisco, &batch.text()[start..end], json);
            if !json.is_empty() {
                batch.event_mut(row).push(keys.cisco, Value::Object(json));
            }
        }
        text(batch, Sym::MESSAGE, found.message);
        Ok(())
    }

    fn take_unread_headers(&mut self) -> (u64, Option<String>) {
        match self.unread.0 {
            0 => (0, None),
            _ => std::mem::take(&mut self.unread),
        }
    }

    fn push_refused(&self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> usize {
        let found = parse(&batch.text()[start..end]);
        let row = batch.push_line(start, end, offset);
        if let Some(pri) = found.pri {
            batch.event_mut(row).push(self.keys.severity, Value::I64(i64::from(pri & 7)));
            batch.event_mut(row).push(self.keys.facility, Value::I64(i64::from(pri >> 3)));
        }
        let text = found.message.filter(|_| found.pri.is_some()).unwrap_or(Span::new(0, end - start));
        batch.push_text_field(Sym::MESSAGE, start + text.start, start + text.end);
        row
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        let (zones, minute) = (self.zones.clone(), Minute::default());
        Box::new(SyslogDecoder { zones, minute, keys: self.keys, json: Vec::new(), unread: (0, None) })
    }
}

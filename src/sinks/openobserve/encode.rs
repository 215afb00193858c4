//! Log events as the server wants them: the event's own JSON with `_timestamp` put in before its last brace.

use super::config::{Late, Window};
use super::stream_name::is_stored_as;
use crate::event::{EventRef, FieldPath, Sym, Value, json};
use crate::sinks::net::{Original, Record, Unsendable};
use crate::time::TimestampReader;
use std::fmt::Write;

/// What a key means to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum KeyClass {
    /// Not looked at yet.
    Unknown,
    /// A field as any.
    Plain,
    /// The server's `_timestamp`, which is replaced.
    Timestamp,
    /// Stored as `_id`, which must be a string.
    Id,
}

/// Writes log events.
#[derive(Debug)]
pub(super) struct LogEncoder {
    timestamp_field: FieldPath,
    /// The field is the one that other components read the event's time from.
    is_default_field: bool,
    reader: TimestampReader,
    window: Window,
    late: Late,
    /// By number of symbol.
    classes: Vec<KeyClass>,
}

impl LogEncoder {
    pub(super) fn new(timestamp_field: FieldPath, reader: TimestampReader, window: Window, late: Late) -> Self {
        let is_default_field = timestamp_field.first() == Some(Sym::TIMESTAMP) && timestamp_field.rest().is_empty();
        LogEncoder { timestamp_field, is_default_field, reader, window, late, classes: Vec::new() }
    }

    /// The time to be sent, in microseconds since 1970 UTC.
    ///
    /// Errors: it is outside the server's window, and such events go to the dead letter.
    pub(super) fn time(&self, event: EventRef<'_>, now_ns: i64) -> Result<i64, Unsendable> {
        let micros = self.time_ns(event).div_euclid(1000);
        if self.late == Late::Restamp && !self.window.holds(micros, now_ns) {
            return Ok(now_ns.div_euclid(1000));
        }
        self.check_window(micros, now_ns).map(|()| micros)
    }

    /// Whether an event of this time may be sent as it is.
    ///
    /// Errors: it is outside the server's window, and such events go to the dead letter.
    pub(super) fn check_window(&self, micros: i64, now_ns: i64) -> Result<(), Unsendable> {
        if self.late != Late::DeadLetter || self.window.holds(micros, now_ns) {
            return Ok(());
        }
        let mut detail = String::from("its time ");
        let mut text = Vec::new();
        crate::time::write_rfc3339_utc(micros.saturating_mul(1000), 3, &mut text);
        detail.push_str(&String::from_utf8_lossy(&text));
        let side = if micros.saturating_mul(1000) < now_ns { "old" } else { "far in the future" };
        _ = write!(detail, " is too {side} for the server's window");
        Err(Unsendable { reason: "outside_window", detail })
    }

    pub(super) fn time_ns(&self, event: EventRef<'_>) -> i64 {
        if self.is_default_field
            && let Some(ns) = event.time()
        {
            return ns;
        }
        let now = event.batch().received_at;
        if let Some(ns) = event.get(&self.timestamp_field).and_then(|v| self.read(v, now)) {
            return ns;
        }
        if let Some(ns) = event.time() {
            return ns;
        }
        event.field(Sym::UNDERSCORE_TIMESTAMP).and_then(|v| self.read(v, now)).unwrap_or(now)
    }

    fn read(&self, value: Value<'_>, now_ns: i64) -> Option<i64> {
        let stamp = match value {
            Value::Timestamp(ns) => return Some(ns),
            Value::I64(n) => self.reader.read_i64(n),
            Value::F64(x) => self.reader.read_f64(x),
            Value::Number(text) => self.reader.read(text, now_ns),
            Value::Str(s) => self.reader.read(s.text(&mut Vec::new()), now_ns),
            Value::Null | Value::Bool(_) | Value::Object(_) | Value::Array(_) => None,
        };
        stamp.map(|s| s.ns)
    }

    /// Appends the event. `record.doc` is set to where its JSON begins.
    pub(super) fn write(
        &mut self,
        event: EventRef<'_>,
        micros: i64,
        body: &mut Vec<u8>,
        record: &mut Record,
        original: &mut Original<'_>,
    ) {
        let start = body.len();
        (record.doc, record.time) = (start as u32, micros);
        if self.needs_care(event) {
            record.original = original.keep(event);
            self.write_carefully(event, body);
        } else {
            event.write_json(body);
            // A line that came with blanks behind the brace is copied with them.
            while body.last().is_some_and(|b| b.is_ascii_whitespace()) {
                body.pop();
            }
        }
        body.pop();
        let before = body.len();
        if !is_open_brace(&body[start..]) {
            body.push(b',');
        }
        body.extend_from_slice(b"\"_timestamp\":");
        // Zero would mean "now" to the server: as early as can be said.
        let micros = if micros == 0 { 1 } else { micros };
        body.extend_from_slice(itoa::Buffer::new().format(micros).as_bytes());
        record.added = (body.len() - before) as u32;
        body.push(b'}');
    }

    fn needs_care(&mut self, event: EventRef<'_>) -> bool {
        let mut found = false;
        for (i, (symbol, _)) in event.key_indexes().enumerate() {
            let class = match self.classes.get(symbol) {
                Some(KeyClass::Unknown) | None => self.classify(event, i, symbol),
                Some(class) => *class,
            };
            found |= match class {
                KeyClass::Timestamp => true,
                KeyClass::Id => !matches!(event.value_at(i), Value::Str(_)),
                KeyClass::Plain | KeyClass::Unknown => false,
            };
        }
        found
    }

    #[cold]
    fn classify(&mut self, event: EventRef<'_>, i: usize, symbol: usize) -> KeyClass {
        let class = class_of(event.key_text_at(i));
        // Keys without a symbol are looked at each time; they have numbers beyond all symbols.
        if symbol < crate::event::MAX_SYMBOLS {
            if self.classes.len() <= symbol {
                self.classes.resize(symbol + 1, KeyClass::Unknown);
            }
            self.classes[symbol] = class;
        }
        class
    }

    /// Field by field: without `_timestamp`, and `_id` as a string.
    fn write_carefully(&self, event: EventRef<'_>, body: &mut Vec<u8>) {
        body.push(b'{');
        let mut comma = false;
        for (key, value) in event.fields() {
            let class = class_of(key);
            if class == KeyClass::Timestamp || class == KeyClass::Id && value == Value::Null {
                continue;
            }
            if std::mem::replace(&mut comma, true) {
                body.push(b',');
            }
            body.push(b'"');
            json::escape(key, body);
            body.extend_from_slice(b"\":");
            match value {
                Value::Str(_) => value.append_json(body),
                _ if class == KeyClass::Id => {
                    let mut text = Vec::new();
                    value.append_text(&mut text);
                    Value::from(&text[..]).append_json(body);
                }
                _ => value.append_json(body),
            }
        }
        body.push(b'}');
    }
}

/// An object that has no member yet.
fn is_open_brace(object: &[u8]) -> bool {
    object.trim_ascii() == b"{"
}

fn class_of(key: &[u8]) -> KeyClass {
    match key {
        b"_timestamp" => KeyClass::Timestamp,
        _ if is_stored_as(key, b"id") => KeyClass::Id,
        _ => KeyClass::Plain,
    }
}

impl Window {
    /// Whether the server takes an event with this time.
    pub(super) fn holds(&self, micros: i64, now_ns: i64) -> bool {
        let now = now_ns.div_euclid(1000);
        let micros_of = |d: std::time::Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        micros >= now.saturating_sub(micros_of(self.past)) && micros <= now.saturating_add(micros_of(self.future))
    }
}

/// Line ends between the tokens of an object become blanks, where records are lines. (Inside strings they are escaped.)
pub(super) fn on_one_line(doc: &mut [u8]) {
    let mut at = 0;
    while let Some(i) = memchr::memchr2(b'\n', b'\r', &doc[at..]) {
        doc[at + i] = b' ';
        at += i + 1;
    }
}

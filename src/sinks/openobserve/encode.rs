//! Log events as the server wants them: the event's own JSON with `_timestamp` put in before its last brace.

use super::config::{Late, Window};
use super::stream_name::is_stored_as;
use crate::encoding::{EventTime, object};
use crate::event::{EventRef, FieldPath, Value, json};
use crate::sinks::delivery::Unsendable;
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
    times: EventTime,
    window: Window,
    late: Late,
    /// By number of symbol.
    classes: Vec<KeyClass>,
}

impl LogEncoder {
    pub(super) fn new(timestamp_field: FieldPath, reader: TimestampReader, window: Window, late: Late) -> Self {
        LogEncoder { times: EventTime::new(timestamp_field, reader), window, late, classes: Vec::new() }
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
        self.times.ns(event)
    }

    /// Whether the event has a field that the server would not take as it is.
    pub(super) fn needs_care(&mut self, event: EventRef<'_>) -> bool {
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
    pub(super) fn write_carefully(&self, event: EventRef<'_>, body: &mut Vec<u8>) {
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

/// Puts the time before the last brace of the object at `body[start..]`; how many bytes that took.
pub(super) fn add_timestamp(micros: i64, start: usize, body: &mut Vec<u8>) -> u32 {
    object::add(start, body, |body| {
        body.extend_from_slice(b"\"_timestamp\":");
        // Zero would mean "now" to the server: as early as can be said.
        let micros = if micros == 0 { 1 } else { micros };
        body.extend_from_slice(itoa::Buffer::new().format(micros).as_bytes());
    })
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

//! The built-in rules, by schema. Names of fields are taken in both spellings (`traceId`, `trace_id`); `null` is missing.
//!
//! | schema | errors | warnings |
//! |---|---|---|
//! | log | `timestamp` missing or no real UTC instant (`YYYY-MM-DDThh:mm:ss[.fff…]Z`); `level` missing or not one of the four | `service` missing; `message` missing, empty, or longer than 10,000 characters |
//! | metric | `name` missing; `value` missing or no finite number; `timestamp` missing or malformed | `type` not one of the four; a label whose value is no string |
//! | trace | `traceId` missing or not 32 hex digits; `spanId` missing or not 16; `startTime`, `endTime` missing; end before start | `operationName` missing; `duration` over an hour |

use super::ValidateSchema;
use super::finding::{Findings, Severity};
use crate::event::json::Children;
use crate::event::{EventRef, Form, Str, Sym, Value};
use crate::time::{TimestampReader, is_canonical_utc};

/// Longest message without a warning, in characters.
const MAX_MESSAGE_CHARS: usize = 10_000;
/// Longest span without a warning, in milliseconds.
const MAX_DURATION_MS: f64 = 3_600_000.0;

// Numbers of the rules, as places in `Builtin::NAMES`.
const TIMESTAMP: usize = 0;
const LEVEL: usize = 1;
const SERVICE: usize = 2;
const MESSAGE: usize = 3;
const NAME: usize = 4;
const VALUE: usize = 5;
const TYPE: usize = 6;
const LABELS: usize = 7;
const TRACE_ID: usize = 8;
const SPAN_ID: usize = 9;
const START_TIME: usize = 10;
const END_TIME: usize = 11;
const OPERATION_NAME: usize = 12;
const DURATION: usize = 13;

/// The rules of one schema.
#[derive(Clone)]
pub(super) struct Builtin {
    schema: ValidateSchema,
    names: Names,
    reader: TimestampReader,
}

/// Symbols of fields in both spellings.
#[derive(Clone)]
struct Names {
    start: [Sym; 2],
    end: [Sym; 2],
    operation: [Sym; 2],
    duration: Sym,
}

impl Builtin {
    /// What the rules are called in findings and counters.
    pub(super) const NAMES: [&str; 14] = [
        "timestamp",
        "level",
        "service",
        "message",
        "name",
        "value",
        "type",
        "labels",
        "traceId",
        "spanId",
        "startTime",
        "endTime",
        "operationName",
        "duration",
    ];

    pub(super) fn new(schema: ValidateSchema) -> Builtin {
        let names = Names {
            start: ["startTime", "start_time"].map(Sym::from_config),
            end: ["endTime", "end_time"].map(Sym::from_config),
            operation: ["operationName", "operation_name"].map(Sym::from_config),
            duration: Sym::from_config("duration"),
        };
        Builtin { schema, names, reader: TimestampReader::default() }
    }

    /// Notes what is wrong with an event. `text` is work space.
    #[inline]
    pub(super) fn judge(&mut self, event: EventRef<'_>, findings: &mut Findings, text: &mut Vec<u8>) {
        match self.schema {
            ValidateSchema::Log => log(event, findings, text),
            ValidateSchema::Metric => metric(event, findings, text),
            ValidateSchema::Trace => self.trace(event, findings, text),
        }
    }

    fn trace(&self, event: EventRef<'_>, findings: &mut Findings, text: &mut Vec<u8>) {
        id(event, [Sym::TRACE_ID, Sym::TRACE_ID_SNAKE], 32, TRACE_ID, findings, text);
        id(event, [Sym::SPAN_ID, Sym::SPAN_ID_SNAKE], 16, SPAN_ID, findings, text);
        let start = either(event, self.names.start);
        let end = either(event, self.names.end);
        if start.is_none() {
            findings.add(Severity::Error, START_TIME, "startTime is missing");
        }
        if end.is_none() {
            findings.add(Severity::Error, END_TIME, "endTime is missing");
        }
        let now = event.batch().received_at;
        let mut read = |value: Option<Value<'_>>| match value? {
            Value::Timestamp(ns) => Some(ns),
            value => self.reader.read(plain(value, text)?, now).map(|stamp| stamp.ns),
        };
        let span = read(start).zip(read(end)).map(|(start, end)| i128::from(end) - i128::from(start));
        if span.is_some_and(|ns| ns < 0) {
            findings.add(Severity::Error, END_TIME, "endTime is before startTime");
        }
        if either(event, self.names.operation).is_none_or(|v| is_empty(&v)) {
            findings.add(Severity::Warning, OPERATION_NAME, "operationName is missing");
        }
        let duration = match present(event.field(self.names.duration)) {
            Some(value) => value.as_f64(),
            None => span.map(|ns| ns as f64 / 1e6),
        };
        if duration.is_some_and(|ms| ms > MAX_DURATION_MS) {
            findings.add(Severity::Warning, DURATION, "duration is over 3,600,000 ms");
        }
    }
}

#[inline]
fn log(event: EventRef<'_>, findings: &mut Findings, text: &mut Vec<u8>) {
    let [time, level, service, message] =
        event.several([Sym::TIMESTAMP, Sym::LEVEL, Sym::SERVICE, Sym::MESSAGE]).map(present);
    timestamp(time, findings, text);
    match level {
        None => findings.add(Severity::Error, LEVEL, "level is missing"),
        Some(value) => {
            let level = string(&value, text);
            if !matches!(level, Some(b"DEBUG" | b"INFO" | b"WARN" | b"ERROR")) {
                findings.add(Severity::Error, LEVEL, "level is not one of DEBUG, INFO, WARN, ERROR");
            }
        }
    }
    if service.is_none() {
        findings.add(Severity::Warning, SERVICE, "service is missing");
    }
    match message {
        None => findings.add(Severity::Warning, MESSAGE, "message is missing"),
        Some(Value::Str(message)) => {
            if message.bytes.is_empty() {
                findings.add(Severity::Warning, MESSAGE, "message is empty");
            } else if message.bytes.len() > MAX_MESSAGE_CHARS && characters(message, text) > MAX_MESSAGE_CHARS {
                findings.add(Severity::Warning, MESSAGE, "message is longer than 10,000 characters");
            }
        }
        Some(_) => {}
    }
}

fn metric(event: EventRef<'_>, findings: &mut Findings, text: &mut Vec<u8>) {
    if present(event.field(Sym::NAME)).is_none_or(|v| is_empty(&v)) {
        findings.add(Severity::Error, NAME, "name is missing");
    }
    match present(event.field(Sym::VALUE)) {
        // The end of a series has none.
        None if event.is_stale() => {}
        None => findings.add(Severity::Error, VALUE, "value is missing"),
        Some(value) if !value.as_f64().is_some_and(f64::is_finite) => {
            findings.add(Severity::Error, VALUE, "value is not a finite number");
        }
        Some(_) => {}
    }
    timestamp(present(event.field(Sym::TIMESTAMP)), findings, text);
    match present(event.field(Sym::TYPE)) {
        Some(value) if matches!(string(&value, text), Some(b"counter" | b"gauge" | b"histogram" | b"summary")) => {}
        _ => findings.add(Severity::Warning, TYPE, "type is not one of counter, gauge, histogram, summary"),
    }
    if let Some(Value::Object(labels)) = event.field(Sym::LABELS) {
        // One finding however many labels: there may be very many.
        if Children::new(labels).any(|label| labels.get(label.value.0) != Some(&b'"')) {
            findings.add(Severity::Warning, LABELS, "a label has a value that is not a string");
        }
    }
}

#[inline]
fn timestamp(value: Option<Value<'_>>, findings: &mut Findings, text: &mut Vec<u8>) {
    match value {
        None => findings.add(Severity::Error, TIMESTAMP, "timestamp is missing"),
        // Written out as RFC 3339.
        Some(Value::Timestamp(_)) => {}
        Some(value) => {
            if !string(&value, text).is_some_and(is_canonical_utc) {
                findings.add(Severity::Error, TIMESTAMP, "timestamp is not a real ISO 8601 UTC instant");
            }
        }
    }
}

/// An id of so many hex digits.
fn id(event: EventRef<'_>, names: [Sym; 2], digits: usize, rule: usize, findings: &mut Findings, text: &mut Vec<u8>) {
    let name = Builtin::NAMES[rule];
    match either(event, names) {
        None => findings.add(Severity::Error, rule, &format!("{name} is missing")),
        Some(value) => {
            let right =
                string(&value, text).is_some_and(|id| id.len() == digits && id.iter().all(u8::is_ascii_hexdigit));
            if !right {
                findings.add(Severity::Error, rule, &format!("{name} is not {digits} hex digits"));
            }
        }
    }
}

/// The value under the first name that is there.
fn either<'a>(event: EventRef<'a>, names: [Sym; 2]) -> Option<Value<'a>> {
    present(event.field(names[0])).or_else(|| present(event.field(names[1])))
}

#[inline]
fn present(value: Option<Value<'_>>) -> Option<Value<'_>> {
    value.filter(|v| !matches!(v, Value::Null))
}

fn is_empty(value: &Value<'_>) -> bool {
    matches!(value, Value::Str(Str { bytes: [], .. }))
}

/// The plain text of a string.
#[inline]
fn string<'b>(value: &Value<'b>, text: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    match value {
        Value::Str(s) => Some(s.text(text)),
        _ => None,
    }
}

/// The text of a string or the spelling of a number.
fn plain<'b>(value: Value<'_>, text: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    match value {
        Value::Str(_) | Value::Number(_) | Value::I64(_) => {
            text.clear();
            value.append_text(text);
            Some(text)
        }
        _ => None,
    }
}

/// Characters of a text; each byte that does not continue one begins one.
fn characters(message: Str<'_>, text: &mut Vec<u8>) -> usize {
    let plain = match message.form {
        Form::Clean | Form::Plain => message.bytes,
        Form::Escaped => message.text(text),
    };
    // So many at a time that a byte can count them.
    let begins = |part: &[u8]| part.iter().fold(0u8, |n, b| n + u8::from(b & 0xc0 != 0x80));
    plain.chunks(255).map(|part| usize::from(begins(part))).sum()
}

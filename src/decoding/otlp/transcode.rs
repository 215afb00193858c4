//! OTLP's JSON to its protocol buffers: one set of rules for both, in one place behind it.
//!
//! The messages are tables of field names and numbers; what a table does not know is checked and passed over, as the
//! protocol demands, and told where it stands around records and may hold some. Names are taken in both spellings (`timeUnixNano`, `time_unix_nano`), 64-bit integers as numbers or
//! strings, ids as hexadecimal digits, other bytes as base64, enumerations as numbers or names, `null` as absent.
//! Source: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

use super::Signal;
use crate::event::json;
use crate::wire::protobuf::{
    Fields, Malformed, Wire, push_bytes, push_fixed32, push_fixed64, push_message, push_number, varint,
};
use base64::Engine;

/// Most levels of objects and arrays.
const DEPTH: usize = 200;

/// What a field holds.
#[derive(Clone, Copy)]
enum Kind {
    Message(&'static [Field]),
    Text,
    /// Bytes as hexadecimal digits.
    Hex,
    Base64,
    Bool,
    /// An integer of variable width, signed or not.
    Integer,
    Zigzag,
    /// An integer of 64 bits, signed or not.
    Fixed64,
    Fixed32,
    Double,
    /// By name, all with this prefix; the place is the number.
    Enumeration(&'static str, &'static [&'static str]),
}

/// A field of a message.
struct Field {
    name: &'static str,
    number: u32,
    kind: Kind,
    repeated: bool,
}

const fn one(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: false }
}

const fn many(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: true }
}

use Kind::{Base64, Bool, Double, Enumeration, Fixed32, Fixed64, Hex, Integer, Message, Text, Zigzag};

static ANY: [Field; 7] = [
    one("stringValue", 1, Text),
    one("boolValue", 2, Bool),
    one("intValue", 3, Integer),
    one("doubleValue", 4, Double),
    one("arrayValue", 5, Message(&LIST)),
    one("kvlistValue", 6, Message(&PAIRS)),
    one("bytesValue", 7, Base64),
];
static LIST: [Field; 1] = [many("values", 1, Message(&ANY))];
static PAIRS: [Field; 1] = [many("values", 1, Message(&PAIR))];
static PAIR: [Field; 2] = [one("key", 1, Text), one("value", 2, Message(&ANY))];
static RESOURCE: [Field; 2] = [many("attributes", 1, Message(&PAIR)), one("droppedAttributesCount", 2, Integer)];
static SCOPE: [Field; 4] = [
    one("name", 1, Text),
    one("version", 2, Text),
    many("attributes", 3, Message(&PAIR)),
    one("droppedAttributesCount", 4, Integer),
];

const SEVERITIES: &[&str] = &[
    "UNSPECIFIED",
    "TRACE",
    "TRACE2",
    "TRACE3",
    "TRACE4",
    "DEBUG",
    "DEBUG2",
    "DEBUG3",
    "DEBUG4",
    "INFO",
    "INFO2",
    "INFO3",
    "INFO4",
    "WARN",
    "WARN2",
    "WARN3",
    "WARN4",
    "ERROR",
    "ERROR2",
    "ERROR3",
    "ERROR4",
    "FATAL",
    "FATAL2",
    "FATAL3",
    "FATAL4",
];

static LOGS: [Field; 1] = [many("resourceLogs", 1, Message(&RESOURCE_LOGS))];
static RESOURCE_LOGS: [Field; 4] = [
    one("resource", 1, Message(&RESOURCE)),
    many("scopeLogs", 2, Message(&SCOPE_LOGS)),
    many("instrumentationLibraryLogs", 2, Message(&SCOPE_LOGS)),
    one("schemaUrl", 3, Text),
];
static SCOPE_LOGS: [Field; 5] = [
    one("scope", 1, Message(&SCOPE)),
    one("instrumentationLibrary", 1, Message(&SCOPE)),
    many("logRecords", 2, Message(&LOG)),
    many("logs", 2, Message(&LOG)),
    one("schemaUrl", 3, Text),
];
static LOG: [Field; 11] = [
    one("timeUnixNano", 1, Fixed64),
    one("observedTimeUnixNano", 11, Fixed64),
    one("severityNumber", 2, Enumeration("SEVERITY_NUMBER_", SEVERITIES)),
    one("severityText", 3, Text),
    one("body", 5, Message(&ANY)),
    many("attributes", 6, Message(&PAIR)),
    one("droppedAttributesCount", 7, Integer),
    one("flags", 8, Fixed32),
    one("traceId", 9, Hex),
    one("spanId", 10, Hex),
    one("eventName", 12, Text),
];

static TRACES: [Field; 1] = [many("resourceSpans", 1, Message(&RESOURCE_SPANS))];
static RESOURCE_SPANS: [Field; 4] = [
    one("resource", 1, Message(&RESOURCE)),
    many("scopeSpans", 2, Message(&SCOPE_SPANS)),
    many("instrumentationLibrarySpans", 2, Message(&SCOPE_SPANS)),
    one("schemaUrl", 3, Text),
];
static SCOPE_SPANS: [Field; 4] = [
    one("scope", 1, Message(&SCOPE)),
    one("instrumentationLibrary", 1, Message(&SCOPE)),
    many("spans", 2, Message(&SPAN)),
    one("schemaUrl", 3, Text),
];
const KINDS: &[&str] = &["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
static SPAN: [Field; 16] = [
    one("traceId", 1, Hex),
    one("spanId", 2, Hex),
    one("traceState", 3, Text),
    one("parentSpanId", 4, Hex),
    one("name", 5, Text),
    one("kind", 6, Enumeration("SPAN_KIND_", KINDS)),
    one("startTimeUnixNano", 7, Fixed64),
    one("endTimeUnixNano", 8, Fixed64),
    many("attributes", 9, Message(&PAIR)),
    one("droppedAttributesCount", 10, Integer),
    many("events", 11, Message(&SPAN_EVENT)),
    one("droppedEventsCount", 12, Integer),
    many("links", 13, Message(&LINK)),
    one("droppedLinksCount", 14, Integer),
    one("status", 15, Message(&STATUS)),
    one("flags", 16, Fixed32),
];
static SPAN_EVENT: [Field; 4] = [
    one("timeUnixNano", 1, Fixed64),
    one("name", 2, Text),
    many("attributes", 3, Message(&PAIR)),
    one("droppedAttributesCount", 4, Integer),
];
static LINK: [Field; 6] = [
    one("traceId", 1, Hex),
    one("spanId", 2, Hex),
    one("traceState", 3, Text),
    many("attributes", 4, Message(&PAIR)),
    one("droppedAttributesCount", 5, Integer),
    one("flags", 6, Fixed32),
];
static STATUS: [Field; 2] =
    [one("message", 2, Text), one("code", 3, Enumeration("STATUS_CODE_", &["UNSET", "OK", "ERROR"]))];

static METRICS: [Field; 1] = [many("resourceMetrics", 1, Message(&RESOURCE_METRICS))];
static RESOURCE_METRICS: [Field; 4] = [
    one("resource", 1, Message(&RESOURCE)),
    many("scopeMetrics", 2, Message(&SCOPE_METRICS)),
    many("instrumentationLibraryMetrics", 2, Message(&SCOPE_METRICS)),
    one("schemaUrl", 3, Text),
];
static SCOPE_METRICS: [Field; 4] = [
    one("scope", 1, Message(&SCOPE)),
    one("instrumentationLibrary", 1, Message(&SCOPE)),
    many("metrics", 2, Message(&METRIC)),
    one("schemaUrl", 3, Text),
];
static METRIC: [Field; 9] = [
    one("name", 1, Text),
    one("description", 2, Text),
    one("unit", 3, Text),
    one("gauge", 5, Message(&GAUGE)),
    one("sum", 7, Message(&SUM)),
    one("histogram", 9, Message(&HISTOGRAM)),
    one("exponentialHistogram", 10, Message(&EXPONENTIAL)),
    one("summary", 11, Message(&SUMMARY)),
    many("metadata", 12, Message(&PAIR)),
];
const TEMPORALITY: Kind = Enumeration("AGGREGATION_TEMPORALITY_", &["UNSPECIFIED", "DELTA", "CUMULATIVE"]);
static GAUGE: [Field; 1] = [many("dataPoints", 1, Message(&NUMBER))];
static SUM: [Field; 3] = [
    many("dataPoints", 1, Message(&NUMBER)),
    one("aggregationTemporality", 2, TEMPORALITY),
    one("isMonotonic", 3, Bool),
];
static HISTOGRAM: [Field; 2] =
    [many("dataPoints", 1, Message(&HISTOGRAM_POINT)), one("aggregationTemporality", 2, TEMPORALITY)];
static EXPONENTIAL: [Field; 2] =
    [many("dataPoints", 1, Message(&EXPONENTIAL_POINT)), one("aggregationTemporality", 2, TEMPORALITY)];
static SUMMARY: [Field; 1] = [many("dataPoints", 1, Message(&SUMMARY_POINT))];
static NUMBER: [Field; 7] = [
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("asDouble", 4, Double),
    one("asInt", 6, Fixed64),
    many("exemplars", 5, Message(&EXEMPLAR)),
    many("attributes", 7, Message(&PAIR)),
    one("flags", 8, Integer),
];
static HISTOGRAM_POINT: [Field; 11] = [
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("count", 4, Fixed64),
    one("sum", 5, Double),
    many("bucketCounts", 6, Fixed64),
    many("explicitBounds", 7, Double),
    many("exemplars", 8, Message(&EXEMPLAR)),
    many("attributes", 9, Message(&PAIR)),
    one("flags", 10, Integer),
    one("min", 11, Double),
    one("max", 12, Double),
];
static EXPONENTIAL_POINT: [Field; 14] = [
    many("attributes", 1, Message(&PAIR)),
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("count", 4, Fixed64),
    one("sum", 5, Double),
    one("scale", 6, Zigzag),
    one("zeroCount", 7, Fixed64),
    one("positive", 8, Message(&BUCKETS)),
    one("negative", 9, Message(&BUCKETS)),
    one("flags", 10, Integer),
    many("exemplars", 11, Message(&EXEMPLAR)),
    one("min", 12, Double),
    one("max", 13, Double),
    one("zeroThreshold", 14, Double),
];
static BUCKETS: [Field; 2] = [one("offset", 1, Zigzag), many("bucketCounts", 2, Integer)];
static SUMMARY_POINT: [Field; 7] = [
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("count", 4, Fixed64),
    one("sum", 5, Double),
    many("quantileValues", 6, Message(&QUANTILE)),
    many("attributes", 7, Message(&PAIR)),
    one("flags", 8, Integer),
];
static QUANTILE: [Field; 2] = [one("quantile", 1, Double), one("value", 2, Double)];
static EXEMPLAR: [Field; 6] = [
    one("timeUnixNano", 2, Fixed64),
    one("asDouble", 3, Double),
    one("spanId", 4, Hex),
    one("traceId", 5, Hex),
    one("asInt", 6, Fixed64),
    many("filteredAttributes", 7, Message(&PAIR)),
];

/// Whether records lie in these messages, further down, and not in others.
fn is_around_records(fields: &'static [Field]) -> bool {
    let around: [&'static [Field]; 9] = [
        &LOGS,
        &RESOURCE_LOGS,
        &SCOPE_LOGS,
        &TRACES,
        &RESOURCE_SPANS,
        &SCOPE_SPANS,
        &METRICS,
        &RESOURCE_METRICS,
        &SCOPE_METRICS,
    ];
    around.iter().any(|table| std::ptr::eq(*table, fields))
}

/// The request in `text` as protocol buffers; and how many objects stood around records in fields that are not known, each
/// of which may have held some. Shape: `text` is UTF-8.
pub(super) fn to_protobuf(signal: Signal, text: &[u8]) -> Result<(Vec<u8>, u64), Malformed> {
    let mut reader = Reader { text, at: 0, depth: 0, plain: Vec::new(), unknown: 0 };
    let mut out = Vec::with_capacity(text.len() / 2);
    reader.message(root(signal), &mut out)?;
    reader.blanks();
    if reader.at < text.len() { Err(NOT_JSON) } else { Ok((out, reader.unknown)) }
}

/// The request in protocol buffers as JSON, the way back. Fields that no table knows are left out.
///
/// Errors: it is no such request.
pub fn to_json(signal: Signal, request: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(request.len() * 2);
    write_message(root(signal), request, &mut out)?;
    Ok(out)
}

fn root(signal: Signal) -> &'static [Field] {
    match signal {
        Signal::Logs => &LOGS,
        Signal::Metrics => &METRICS,
        Signal::Traces => &TRACES,
    }
}

fn write_message(fields: &'static [Field], message: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(b'{');
    for (n, field) in fields.iter().enumerate() {
        // Of two names for one field the first is today's.
        if fields[..n].iter().any(|before| before.number == field.number) {
            continue;
        }
        let (mut found, begin) = (false, out.len());
        if !out.ends_with(b"{") {
            out.push(b',');
        }
        out.extend_from_slice(format!("\"{}\":", field.name).as_bytes());
        let single = out.len();
        if field.repeated {
            out.push(b'[');
        }
        for value in Fields::new(message) {
            let (number, value) = value?;
            if number != field.number {
                continue;
            }
            if !field.repeated {
                // The last counts.
                out.truncate(single);
            }
            match value {
                Wire::Bytes(packed) if field.repeated && matches!(field.kind, Fixed64 | Double) => {
                    for bits in packed.as_chunks::<8>().0 {
                        comma(found, out);
                        found = true;
                        write_value(field, Wire::Fixed64(u64::from_le_bytes(*bits)), out)?;
                    }
                }
                Wire::Bytes(mut packed) if field.repeated && matches!(field.kind, Integer) => {
                    while !packed.is_empty() {
                        comma(found, out);
                        found = true;
                        write_value(field, Wire::Varint(varint(&mut packed)?), out)?;
                    }
                }
                value => {
                    comma(found && field.repeated, out);
                    found = true;
                    write_value(field, value, out)?;
                }
            }
        }
        match (found, field.repeated) {
            (false, _) => out.truncate(begin),
            (true, true) => out.push(b']'),
            (true, false) => {}
        }
    }
    out.push(b'}');
    Ok(())
}

fn comma(needed: bool, out: &mut Vec<u8>) {
    if needed {
        out.push(b',');
    }
}

fn write_value(field: &Field, value: Wire<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let quoted = |text: &str, out: &mut Vec<u8>| {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    };
    match field.kind {
        Message(fields) => write_message(fields, value.bytes()?, out)?,
        Text => {
            out.push(b'"');
            json::escape(String::from_utf8_lossy(value.bytes()?).as_bytes(), out);
            out.push(b'"');
        }
        Hex => {
            let digits: String = value.bytes()?.iter().map(|byte| format!("{byte:02x}")).collect();
            quoted(&digits, out);
        }
        Base64 => quoted(&base64::engine::general_purpose::STANDARD.encode(value.bytes()?), out),
        Bool => out.extend_from_slice(if value.u64()? == 0 { b"false" } else { b"true" }),
        // Integers of 64 bits are strings, of which two have a sign.
        Integer | Fixed64 if matches!(field.name, "intValue" | "asInt") => quoted(&value.i64()?.to_string(), out),
        Fixed64 => quoted(&value.u64()?.to_string(), out),
        Integer if field.name == "bucketCounts" => quoted(&value.u64()?.to_string(), out),
        Integer | Fixed32 | Enumeration(..) => out.extend_from_slice(value.u64()?.to_string().as_bytes()),
        Zigzag => out.extend_from_slice(value.sint()?.to_string().as_bytes()),
        Double => match value.f64()? {
            x if x.is_finite() => out.extend_from_slice(ryu::Buffer::new().format(x).as_bytes()),
            x if x.is_nan() => quoted("NaN", out),
            x => quoted(if x > 0.0 { "Infinity" } else { "-Infinity" }, out),
        },
    }
    Ok(())
}

const NOT_JSON: Malformed = Malformed("it is not valid JSON");
const OTHER_TYPE: Malformed = Malformed("a field has a value of another type than OTLP says");

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    plain: Vec<u8>,
    /// Objects in fields around records that are not known.
    unknown: u64,
}

impl<'a> Reader<'a> {
    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Result<u8, Malformed> {
        self.blanks();
        self.text.get(self.at).copied().ok_or(NOT_JSON)
    }

    fn open(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH { Err(Malformed("values are nested too deeply")) } else { Ok(()) }
    }

    /// Behind an opening bracket or a value: whether there is another one. Takes the comma or the closing bracket.
    fn more(&mut self, close: u8, first: bool) -> Result<bool, Malformed> {
        match self.peek()? {
            c if c == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            b',' if !first => {
                self.at += 1;
                // No comma may stand before the bracket.
                if self.peek()? == close { Err(NOT_JSON) } else { Ok(true) }
            }
            _ if first => Ok(true),
            _ => Err(NOT_JSON),
        }
    }

    /// A string's bytes as they stand, without quotes.
    fn string(&mut self) -> Result<&'a [u8], Malformed> {
        if self.peek()? != b'"' {
            return Err(OTHER_TYPE);
        }
        let from = self.at + 1;
        let mut at = from;
        loop {
            match self.text.get(at).ok_or(NOT_JSON)? {
                b'"' => break,
                b'\\' => {
                    let hex = |range| self.text.get(range).is_some_and(|d: &[u8]| d.iter().all(u8::is_ascii_hexdigit));
                    match self.text.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                        Some(b'u') if hex(at + 2..at + 6) => at += 6,
                        _ => return Err(NOT_JSON),
                    }
                }
                0..0x20 => return Err(NOT_JSON),
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Ok(&self.text[from..at])
    }

    fn key(&mut self) -> Result<&'a [u8], Malformed> {
        let key = if self.peek()? == b'"' { self.string()? } else { return Err(NOT_JSON) };
        if self.peek()? != b':' {
            return Err(NOT_JSON);
        }
        self.at += 1;
        Ok(key)
    }

    fn word(&mut self) -> &'a [u8] {
        let from = self.at;
        while self.text.get(self.at).is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'+' | b'.')) {
            self.at += 1;
        }
        &self.text[from..self.at]
    }

    /// Whether `null` stands here, which is taken.
    fn null(&mut self) -> Result<bool, Malformed> {
        if self.peek()? != b'n' {
            return Ok(false);
        }
        if self.word() == b"null" { Ok(true) } else { Err(NOT_JSON) }
    }

    /// The text of a number, bare or in a string.
    fn number(&mut self) -> Result<&'a str, Malformed> {
        let text = match self.peek()? {
            b'"' => self.string()?.trim_ascii(),
            b'-' | b'0'..=b'9' => {
                let word = self.word();
                if json::is_number(word) { word } else { return Err(NOT_JSON) }
            }
            _ => return Err(OTHER_TYPE),
        };
        std::str::from_utf8(text).map_err(|_| OTHER_TYPE)
    }

    /// An integer of 64 bits, signed or not.
    fn integer(&mut self) -> Result<u64, Malformed> {
        let text = self.number()?;
        if let Ok(n) = text.parse::<u64>() {
            return Ok(n);
        }
        if let Ok(n) = text.parse::<i64>() {
            return Ok(n as u64);
        }
        match text.parse::<f64>() {
            Ok(x) if x.fract() == 0.0 && (0.0..1.8e19).contains(&x) => Ok(x as u64),
            Ok(x) if x.fract() == 0.0 && (-9.2e18..0.0).contains(&x) => Ok(x as i64 as u64),
            _ => Err(OTHER_TYPE),
        }
    }

    fn double(&mut self) -> Result<f64, Malformed> {
        match self.number()? {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            text => text.parse().map_err(|_| OTHER_TYPE),
        }
    }

    fn message(&mut self, fields: &'static [Field], out: &mut Vec<u8>) -> Result<(), Malformed> {
        if self.peek()? != b'{' {
            return Err(OTHER_TYPE);
        }
        self.open()?;
        let mut first = true;
        while self.more(b'}', first)? {
            first = false;
            let key = self.key()?;
            match fields.iter().find(|field| is_named(field.name, key)) {
                Some(field) => self.field(field, out)?,
                None => {
                    self.blanks();
                    let from = self.at;
                    self.pass_over()?;
                    if is_around_records(fields) {
                        self.unknown += objects_in(&self.text[from..self.at]);
                    }
                }
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &'static Field, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if self.null()? {
            return Ok(());
        }
        if !field.repeated {
            return self.value(field, out);
        }
        if self.peek()? != b'[' {
            return Err(OTHER_TYPE);
        }
        self.open()?;
        let mut first = true;
        while self.more(b']', first)? {
            first = false;
            self.value(field, out)?;
        }
        Ok(())
    }

    fn value(&mut self, field: &'static Field, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let n = field.number;
        match field.kind {
            Message(inner) => return push_message(n, out, |out| self.message(inner, out)),
            Text => {
                let text = self.string()?;
                self.plain.clear();
                json::unescape(text, &mut self.plain);
                push_bytes(n, &self.plain, out);
            }
            Hex => {
                let digits = self.string()?;
                let bytes = digits.as_chunks::<2>();
                let byte = |pair: &[u8; 2]| std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok());
                let bytes: Option<Vec<u8>> = if bytes.1.is_empty() { bytes.0.iter().map(byte).collect() } else { None };
                push_bytes(n, &bytes.ok_or(Malformed("an id is not made of hexadecimal digits"))?, out);
            }
            Base64 => {
                let text = self.string()?;
                self.plain.clear();
                json::unescape(text, &mut self.plain);
                let engine = &base64::engine::general_purpose::STANDARD;
                push_bytes(n, &engine.decode(&self.plain).map_err(|_| Malformed("bytes are not base64"))?, out);
            }
            Bool => {
                self.peek()?;
                let value = match self.word() {
                    b"true" => 1,
                    b"false" => 0,
                    _ => return Err(OTHER_TYPE),
                };
                push_number(n, value, out);
            }
            Integer => push_number(n, self.integer()?, out),
            Zigzag => {
                let value = self.integer()? as i64;
                push_number(n, ((value << 1) ^ (value >> 63)) as u64, out);
            }
            Fixed64 => push_fixed64(n, self.integer()?, out),
            Fixed32 => push_fixed32(n, self.integer()? as u32, out),
            Double => push_fixed64(n, self.double()?.to_bits(), out),
            Enumeration(prefix, names) => {
                let value = match self.peek()? {
                    b'"' => {
                        let at = self.at;
                        let text = self.string()?;
                        let name = text.strip_prefix(prefix.as_bytes());
                        match name.and_then(|name| names.iter().position(|n| n.as_bytes() == name)) {
                            Some(place) => place as u64,
                            None => {
                                self.at = at;
                                self.integer()?
                            }
                        }
                    }
                    _ => self.integer()?,
                };
                push_number(n, value, out);
            }
        }
        Ok(())
    }

    /// Checks a value and passes over it.
    fn pass_over(&mut self) -> Result<(), Malformed> {
        let from = self.depth;
        // Brackets that are open here, and whether something stands in the innermost already.
        let mut open: Vec<u8> = Vec::new();
        let mut first = false;
        loop {
            if let Some(&close) = open.last() {
                if !self.more(close, first)? {
                    open.pop();
                    first = false;
                    if self.depth == from {
                        return Ok(());
                    }
                    continue;
                }
                if close == b'}' {
                    self.key()?;
                }
            }
            first = false;
            match self.peek()? {
                c @ (b'{' | b'[') => {
                    self.open()?;
                    open.push(c + 2);
                    first = true;
                }
                b'"' => _ = self.string()?,
                b'-' | b'0'..=b'9' => _ = self.number()?,
                _ => {
                    if !matches!(self.word(), b"true" | b"false" | b"null") {
                        return Err(NOT_JSON);
                    }
                }
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }
}

/// Objects that a value is or, as an array, has.
fn objects_in(value: &[u8]) -> u64 {
    let is_object = |value: &[u8]| value.first() == Some(&b'{') && value.contains(&b'"');
    match value.first() {
        Some(b'[') => json::Children::new(value).filter(|c| is_object(&value[c.value.0..c.value.1])).count() as u64,
        _ => u64::from(is_object(value)),
    }
}

/// Whether a key is this name, in camel case or with `_` before small letters.
fn is_named(name: &str, key: &[u8]) -> bool {
    if key == name.as_bytes() {
        return true;
    }
    let mut key = key.iter();
    for c in name.bytes() {
        let same = match c {
            b'A'..=b'Z' => key.next() == Some(&b'_') && key.next() == Some(&c.to_ascii_lowercase()),
            _ => key.next() == Some(&c),
        };
        if !same {
            return false;
        }
    }
    key.next().is_none()
}

//! OTLP over HTTP: logs, metrics and spans of OpenTelemetry, in protocol buffers or JSON, to events; and the answers.
//!
//! A request is read twice: once through to the end, so that it is taken or refused as a whole before anything is handed
//! on, and then batch by batch. JSON becomes protocol buffers first ([`transcode`]), so both have the same rules.
//!
//! Events have the canonical names of [`normalize`](crate::transforms::normalize) where OTLP has such a field:
//!
//! | Signal | Fields, in order |
//! |---|---|
//! | log | `timestamp, observedTimestamp, level, severityNumber, service, message, traceId, spanId, flags, eventName, attributes, resource, scope` |
//! | metric | `name, value, type, labels, unit, description, timestamp, startTimestamp, temporality, exemplars` |
//! | span | `traceId, spanId, parentSpanId, operationName, startTime, endTime, duration, tags, logs, status, service, kind, links, traceState, flags, resource, scope` |
//!
//! - What is empty or absent is left out. `service` is the resource's `service.name`; `level` is the severity's text, else
//!   the name of its number. A log without a time has the time when it was observed.
//! - `attributes`, `resource`, `tags` are objects with the attributes' keys as they are; `scope` has `name`, `version`,
//!   `attributes`. Bytes are base64.
//! - A data point is an event. A histogram's is several, as Prometheus has them: `NAME_bucket` with a label `le` that
//!   counts what lies below it, `NAME_sum`, `NAME_count`, `NAME_min`, `NAME_max`; a summary's are `NAME` with a label
//!   `quantile`, `NAME_sum`, `NAME_count`; exponential buckets are named by their upper bounds. `labels` are the point's
//!   attributes, the resource's, `otel_scope_name` and `otel_scope_version`, all strings; the first of these that has a
//!   key counts.
//! - A monotonic sum is a counter, another a gauge. `temporality` is `delta` or `cumulative` where there is one.
//! - Points that say that there is no value are dropped (`no_recorded_value`), and so are values that are no numbers
//!   (`not_finite`); points that contradict themselves are refused, which the answer says (`partial_success`).
//! - Fields that OTLP does not know are passed over, as it demands. Around records, where such a field may hold records
//!   (those of another signal, say), it is refused on its own. Libraries of before 2022 put instrumentation libraries in the
//!   place of scopes, which are taken as such.

mod answer;
mod any;
mod logs;
mod metrics;
mod traces;
mod transcode;

#[cfg(test)]
mod tests;

use super::records::{Batches, Records, Summary, most_bytes, next_of, place};
use crate::event::{Batch, Origin, Str, Sym, Value};
use crate::framing::span::Span;
use crate::wire::protobuf::{Fields, Malformed, Wire};
use any::Values;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

pub use answer::{Status, failure};
pub use transcode::to_json;

/// What a request brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `/v1/logs`.
    Logs,
    /// `/v1/metrics`.
    Metrics,
    /// `/v1/traces`.
    Traces,
}

/// How a request, and so its answer, is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl Encoding {
    /// The encoding that a `Content-Type` names; its parameters do not matter. `None`: 415.
    pub fn of_content_type(value: &str) -> Option<Encoding> {
        match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/x-protobuf" | "application/protobuf" => Some(Encoding::Protobuf),
            "application/json" => Some(Encoding::Json),
            _ => None,
        }
    }

    /// The `Content-Type` of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        }
    }
}

/// A request that can be read to its end.
#[derive(Debug)]
pub struct Request {
    signal: Signal,
    encoding: Encoding,
    bytes: Vec<u8>,
    max_event: usize,
    summary: Summary,
}

impl Request {
    /// Reads a whole request, without its content encoding. Records and points of more than `max_event` bytes, with the
    /// resource they belong to, are refused on their own.
    ///
    /// Errors: why it cannot be taken; to be answered with 400 and [`failure`].
    pub fn read(signal: Signal, encoding: Encoding, body: Vec<u8>, max_event: usize) -> Result<Request, Malformed> {
        let (mut replaced, mut unknown) = (0, 0);
        let most = most_bytes(body.len());
        let bytes = match encoding {
            Encoding::Protobuf => body,
            Encoding::Json => {
                let text = match simdutf8::basic::from_utf8(&body) {
                    Ok(text) => Cow::Borrowed(text.as_bytes()),
                    Err(_) => {
                        replaced = 1;
                        Cow::Owned(String::from_utf8_lossy(&body).into_owned().into_bytes())
                    }
                };
                let (bytes, passed_over) = transcode::to_protobuf(signal, &text)?;
                unknown = passed_over;
                bytes
            }
        };
        let batches = Batches::new(&bytes, Walk::new(signal, bytes.len(), max_event), Origin::of_source(""), 0);
        let (mut summary, _) = batches.read_through(most)?;
        summary.invalid_utf8 += replaced;
        for _ in 0..unknown {
            summary.refuse(UNKNOWN);
        }
        Ok(Request { signal, encoding, bytes, max_event, summary })
    }

    /// What is in it.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Its events, batch by batch. The batches have no acknowledgement yet.
    pub fn into_batches(self, origin: Arc<Origin>, received_at: i64) -> impl Iterator<Item = Batch> + Send + use<> {
        let walk = Walk::new(self.signal, self.bytes.len(), self.max_event);
        let mut batches = Batches::new(self.bytes, walk, origin, received_at);
        // It was read to its end before: there is nothing that cannot be read.
        std::iter::from_fn(move || batches.next_batch().ok().flatten())
    }

    /// The body of the answer 200: success, or which part of it was refused.
    pub fn answer(&self) -> Vec<u8> {
        answer::success(self.signal, self.encoding, &self.summary)
    }

    /// How the request, and so the answer, is written.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }
}

const TOO_LARGE: &str = "a record is larger than an event may be";
const UNKNOWN: &str = "a field that is not of this signal was passed over with what it holds";
/// Where scopes stood for a while before they were called so.
const INSTRUMENTATION_LIBRARIES: u32 = 1000;

/// The next field `number` of the message in `at`, which moves behind it. What stands before it, is not among the fields
/// `known` to stand beside it and may be a message is refused.
fn next_known<'b>(
    request: &'b [u8],
    at: &mut Span,
    numbers: &[u32],
    known: &[u32],
    summary: &mut Summary,
) -> Result<Option<&'b [u8]>, Malformed> {
    let mut fields = Fields::new(at.of(request));
    while let Some(field) = fields.next() {
        match field? {
            (n, value) if numbers.contains(&n) => {
                at.start = at.end - fields.left();
                return value.bytes().map(Some);
            }
            (n, Wire::Bytes(bytes)) if !known.contains(&n) && !bytes.is_empty() => summary.refuse(UNKNOWN),
            _ => {}
        }
    }
    at.start = at.end;
    Ok(None)
}

/// Names of fields that have no fixed symbol.
struct Keys {
    observed: Sym,
    severity_number: Sym,
    flags: Sym,
    event_name: Sym,
    attributes: Sym,
    dropped_attributes: Sym,
    resource: Sym,
    scope: Sym,
    start_timestamp: Sym,
    temporality: Sym,
    exemplars: Sym,
    parent_span_id: Sym,
    operation_name: Sym,
    start_time: Sym,
    end_time: Sym,
    duration: Sym,
    logs: Sym,
    status: Sym,
    kind: Sym,
    links: Sym,
    trace_state: Sym,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    let key = Sym::from_config;
    KEYS.get_or_init(|| Keys {
        observed: key("observedTimestamp"),
        severity_number: key("severityNumber"),
        flags: key("flags"),
        event_name: key("eventName"),
        attributes: key("attributes"),
        dropped_attributes: key("droppedAttributesCount"),
        resource: key("resource"),
        scope: key("scope"),
        start_timestamp: key("startTimestamp"),
        temporality: key("temporality"),
        exemplars: key("exemplars"),
        parent_span_id: key("parentSpanId"),
        operation_name: key("operationName"),
        start_time: key("startTime"),
        end_time: key("endTime"),
        duration: key("duration"),
        logs: key("logs"),
        status: key("status"),
        kind: key("kind"),
        links: key("links"),
        trace_state: key("traceState"),
    })
}

/// JSON that many events have in common: it is stored once a batch.
#[derive(Default)]
struct Shared {
    json: Vec<u8>,
    /// Row and field of an event of the batch at hand that has it.
    stored: Option<(usize, usize)>,
}

/// What the JSON of a shared field is.
#[derive(Clone, Copy)]
enum Holds {
    Text,
    Object,
}

impl Shared {
    /// Appends it as a field to the last event; nothing where it is empty.
    fn push(&mut self, batch: &mut Batch, key: Sym, holds: Holds) {
        if self.json.is_empty() {
            return;
        }
        let row = batch.rows() - 1;
        if let Some((from, field)) = self.stored {
            batch.event_mut(row).push_shared(key, from, field);
            return;
        }
        let value = match holds {
            Holds::Text => Value::Str(Str { bytes: &self.json, form: str_form(&self.json) }),
            Holds::Object => Value::Object(&self.json),
        };
        batch.event_mut(row).push(key, value);
        self.stored = Some((row, batch.event(row).len() - 1));
    }
}

/// Text that stands as inside a JSON string.
fn str_form(bytes: &[u8]) -> crate::event::Form {
    if memchr::memchr(b'\\', bytes).is_some() { crate::event::Form::Escaped } else { crate::event::Form::Clean }
}

/// Goes through a request: resources, their scopes, their records. The field numbers are those of all three signals.
struct Walk {
    signal: Signal,
    max_event: usize,
    /// What is left of the request, of the resource and of the scope at hand.
    resources: Span,
    scopes: Span,
    records: Span,
    resource: Shared,
    service: Shared,
    scope: Shared,
    metrics: metrics::Reader,
    values: Values,
    /// Work space.
    text: Vec<u8>,
}

impl Walk {
    /// Through a request of `len` bytes.
    fn new(signal: Signal, len: usize, max_event: usize) -> Self {
        Walk {
            signal,
            max_event,
            resources: Span::new(0, len),
            scopes: Span::default(),
            records: Span::default(),
            resource: Shared::default(),
            service: Shared::default(),
            scope: Shared::default(),
            metrics: metrics::Reader::default(),
            values: Values::default(),
            text: Vec::new(),
        }
    }

    /// The next log record, span or metric.
    fn next_record<'b>(&mut self, request: &'b [u8], summary: &mut Summary) -> Result<Option<&'b [u8]>, Malformed> {
        // Beside records stand their scope and the address of a schema, beside scopes a resource and such an address.
        const BESIDE: [u32; 2] = [1, 3];
        loop {
            if let Some(record) = next_known(request, &mut self.records, &[2], &BESIDE, summary)? {
                return Ok(Some(record));
            }
            let scopes = [2, INSTRUMENTATION_LIBRARIES];
            if let Some(scope) = next_known(request, &mut self.scopes, &scopes, &BESIDE, summary)? {
                self.records = place(request, scope);
                self.enter_scope(next_of(request, &mut place(request, scope), 1)?.unwrap_or_default())?;
                continue;
            }
            let resource = next_known(request, &mut self.resources, &[1], &[], summary)?;
            let Some(resource) = resource else { return Ok(None) };
            self.scopes = place(request, resource);
            self.enter_resource(request, next_of(request, &mut place(request, resource), 1)?.unwrap_or_default())?;
        }
    }

    /// The next log record or span that is not too large.
    fn next_fitting<'b>(&mut self, request: &'b [u8], summary: &mut Summary) -> Result<Option<&'b [u8]>, Malformed> {
        while let Some(record) = self.next_record(request, summary)? {
            if record.len() + self.resource.json.len() + self.scope.json.len() <= self.max_event {
                return Ok(Some(record));
            }
            summary.refuse(TOO_LARGE);
        }
        Ok(None)
    }

    fn enter_resource(&mut self, request: &[u8], resource: &[u8]) -> Result<(), Malformed> {
        if self.signal == Signal::Metrics {
            return self.metrics.enter_resource(request, resource, &mut self.values);
        }
        (self.resource.stored, self.service.stored) = (None, None);
        self.resource.json.clear();
        self.values.object(resource, 1, &mut self.resource.json)?;
        if self.resource.json == b"{}" {
            self.resource.json.clear();
        }
        self.service.json.clear();
        for field in Fields::new(resource) {
            let (1, pair) = field? else { continue };
            let (key, value) = any::key_and_value(pair.bytes()?)?;
            if let (b"service.name", Some(value)) = (key, value) {
                self.text.clear();
                self.values.any(value, &mut self.text, 1)?;
                if let [b'"', name @ .., b'"'] = &self.text[..] {
                    self.service.json.clear();
                    self.service.json.extend_from_slice(name);
                }
            }
        }
        Ok(())
    }

    fn enter_scope(&mut self, scope: &[u8]) -> Result<(), Malformed> {
        if self.signal == Signal::Metrics {
            return self.metrics.enter_scope(scope, &mut self.values);
        }
        self.scope.stored = None;
        let json = &mut self.scope.json;
        json.clear();
        let mut attributes = false;
        for field in Fields::new(scope) {
            let (name, text) = match field? {
                (1, text) => ("name", text.bytes()?),
                (2, text) => ("version", text.bytes()?),
                (3, _) => {
                    attributes = true;
                    continue;
                }
                _ => continue,
            };
            if !text.is_empty() {
                member(json, 0, name);
                self.values.string(text, json);
            }
        }
        if attributes {
            member(json, 0, "attributes");
            self.values.object(scope, 3, json)?;
        }
        if !json.is_empty() {
            json.push(b'}');
        }
        Ok(())
    }

    /// Appends the object of attributes in field `number` of `record` to the last event, where there are any.
    fn push_attributes(&mut self, batch: &mut Batch, key: Sym, record: &[u8], number: u32) -> Result<(), Malformed> {
        self.text.clear();
        self.values.object(record, number, &mut self.text)?;
        if self.text != b"{}" {
            last(batch).push(key, Value::Object(&self.text));
        }
        Ok(())
    }

    /// Appends text to the last event, where there is any.
    fn push_text(&mut self, batch: &mut Batch, key: Sym, text: &[u8]) {
        if !text.is_empty() {
            push_text(batch, key, text, &mut self.values, &mut self.text);
        }
    }

    /// Appends an id as hexadecimal digits to the last event, where there is one (not all zeros).
    fn push_id(&mut self, batch: &mut Batch, key: Sym, id: &[u8]) {
        if id.iter().any(|b| *b != 0) {
            self.text.clear();
            any::hex(id, &mut self.text);
            push_clean(batch, key, &self.text);
        }
    }

    /// Appends a time to the last event, where there is one.
    fn push_time(&mut self, batch: &mut Batch, key: Sym, ns: u64) {
        push_time(batch, key, ns, &mut self.text);
    }

    fn start_batch(&mut self) {
        (self.resource.stored, self.service.stored, self.scope.stored) = (None, None, None);
    }
}

/// Appends the name of a member to the object that begins, or is to begin, at `start` of `out`.
fn member(out: &mut Vec<u8>, start: usize, name: &str) {
    out.extend_from_slice(if out.len() == start { b"{\"" } else { b",\"" });
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Ends the object that begins at `start` of `out`, or writes an empty one there.
fn close(out: &mut Vec<u8>, start: usize) {
    if out.len() == start {
        out.push(b'{');
    }
    out.push(b'}');
}

fn last(batch: &mut Batch) -> crate::event::EventMut<'_> {
    let row = batch.rows() - 1;
    batch.event_mut(row)
}

fn push_clean(batch: &mut Batch, key: Sym, text: &[u8]) {
    last(batch).push(key, Value::Str(Str { bytes: text, form: crate::event::Form::Clean }));
}

fn push_text(batch: &mut Batch, key: Sym, text: &[u8], values: &mut Values, space: &mut Vec<u8>) {
    if simdutf8::basic::from_utf8(text).is_ok() {
        last(batch).push(key, Value::from(text));
    } else {
        values.invalid_utf8 += 1;
        space.clear();
        space.extend_from_slice(String::from_utf8_lossy(text).as_bytes());
        last(batch).push(key, Value::from(&space[..]));
    }
}

/// Nanoseconds since 1970 as OTLP has them; 0 and what no calendar of ours holds is no time.
fn time_of(ns: u64) -> Option<i64> {
    i64::try_from(ns).ok().filter(|ns| *ns != 0)
}

fn push_time(batch: &mut Batch, key: Sym, ns: u64, space: &mut Vec<u8>) {
    if let Some(ns) = time_of(ns) {
        space.clear();
        super::records::push_time(ns, space);
        push_clean(batch, key, space);
    }
}

impl Records for Walk {
    fn next_into(&mut self, request: &[u8], batch: &mut Batch, summary: &mut Summary) -> Result<bool, Malformed> {
        if batch.rows() == 0 {
            self.start_batch();
        }
        let more = match self.signal {
            Signal::Logs => {
                self.next_fitting(request, summary)?.map(|record| self.log(record, batch)).transpose()?.is_some()
            }
            Signal::Traces => {
                self.next_fitting(request, summary)?.map(|record| self.span(record, batch)).transpose()?.is_some()
            }
            Signal::Metrics => self.next_point(request, batch, summary)?,
        };
        summary.invalid_utf8 += std::mem::take(&mut self.values.invalid_utf8);
        Ok(more)
    }
}

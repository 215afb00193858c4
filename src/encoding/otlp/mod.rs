//! Events to OTLP's protocol buffers: the way back of [`decoding::otlp`](crate::decoding::otlp).
//!
//! Each event becomes a whole `ResourceLogs` or `ResourceSpans` with one record in it, written as field 1 of the request:
//! such pieces, one behind the other in any number, are a request. What repeats, compression takes out again.
//!
//! Names are taken in both spellings (`traceId`, `trace_id`). A field that OTLP has no place for becomes an attribute of
//! the record, so nothing is lost; `null` is left out. `service` is the resource's `service.name` where that has none.

pub mod answer;
mod attributes;
mod head;
mod ids;
mod log;
mod metrics;
#[cfg(test)]
mod plain;
mod roles;
mod span;

pub use metrics::MetricEncoder;
pub use roles::Found;

use crate::event::{EventRef, Str, Sym, Value, json};
use crate::time::TimestampReader;
use crate::wire::protobuf::{push_bytes, push_message, push_number};
use attributes::{Stage, is_attribute, pair, pairs};
use roles::{LOG, Role, Roles, SPAN};

/// Writes events of one kind.
#[derive(Debug)]
pub struct OtlpEncoder {
    kind: Kind,
    roles: Roles,
    reader: TimestampReader,
    plain: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Log,
    Span,
}

impl Kind {
    /// Number of the field of a record that its attributes are.
    fn attributes(self) -> u32 {
        match self {
            Kind::Log => 6,
            Kind::Span => 9,
        }
    }
}

/// An event that cannot be written, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit(pub &'static str);

impl OtlpEncoder {
    /// For log events. `reader` reads times that are text or numbers.
    pub fn logs(reader: TimestampReader) -> Self {
        Self::new(Kind::Log, LOG, reader)
    }

    /// For spans.
    pub fn spans(reader: TimestampReader) -> Self {
        Self::new(Kind::Span, SPAN, reader)
    }

    fn new(kind: Kind, names: &[(&str, Role)], reader: TimestampReader) -> Self {
        OtlpEncoder {
            kind,
            roles: Roles::new(names, kind.attributes()),
            reader,
            plain: Vec::new(),
            stage: Stage::new(),
        }
    }

    /// The field whose value is the body of a log record, in place of `message`, which is an attribute then.
    pub fn with_body(mut self, key: Sym) -> Self {
        self.roles.set_body(key);
        self
    }

    /// Looks up what the fields of an event are.
    #[inline]
    pub fn look<'e>(&mut self, event: EventRef<'e>) -> Found<'e> {
        self.roles.look(event)
    }

    /// When a span begins, in nanoseconds since 1970 UTC.
    pub fn start(&mut self, event: EventRef<'_>) -> Option<i64> {
        let found = self.look(event);
        self.start_of(&found)
    }

    fn start_of(&self, found: &Found<'_>) -> Option<i64> {
        found.time(Role::Time, &self.reader).or(found.event.time())
    }

    /// Appends the fields of the event's `Resource`; those of `more` that it has not.
    pub fn write_resource<'m>(
        &mut self,
        event: &Found<'_>,
        more: impl Iterator<Item = (&'m [u8], &'m [u8])>,
        out: &mut Vec<u8>,
    ) {
        self.resource(event, out);
        let resource = event.get(Role::Resource);
        let serves = event.get(Role::Service).is_some();
        for (key, value) in more {
            let has = match resource {
                Some(Value::Object(object)) => {
                    json::Children::new(object).any(|c| json::str_of(&object[c.key.0..c.key.1]).is(key))
                }
                _ => false,
            };
            if !has && !(serves && key == b"service.name") {
                pair(key, Value::Str(Str::plain(value)), 1, &mut self.plain, out);
            }
        }
    }

    /// Appends the fields of the event's `InstrumentationScope`; nothing, and `false`, where it has none.
    pub fn write_scope(&mut self, event: &Found<'_>, out: &mut Vec<u8>) -> bool {
        let Some(Value::Object(scope)) = event.get(Role::Scope) else { return false };
        self.scope(scope, out);
        true
    }

    /// Appends an event without resource and scope, as field 2 of a `ScopeLogs` or `ScopeSpans`. `time` is the log's time, in
    /// nanoseconds since 1970 UTC; spans have their own.
    ///
    /// Errors: nothing was appended.
    pub fn write_record(&mut self, event: &Found<'_>, time: i64, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let from = out.len();
        let result = push_message(2, out, |out| match self.kind {
            Kind::Log => {
                self.log(event, time, out);
                Ok(())
            }
            Kind::Span => self.span(event, out),
        });
        if result.is_err() {
            out.truncate(from);
        }
        result
    }

    /// Appends an event. `time` is the log's time, in nanoseconds since 1970 UTC; spans have their own.
    ///
    /// Errors: nothing was appended.
    pub fn write(&mut self, event: EventRef<'_>, time: i64, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let from = out.len();
        let event = &self.look(event);
        let result = push_message(1, out, |out| {
            push_message(1, out, |out| self.resource(event, out));
            push_message(2, out, |out| {
                if let Some(Value::Object(scope)) = event.get(Role::Scope) {
                    push_message(1, out, |out| self.scope(scope, out));
                }
                self.write_record(event, time, out)
            })
        });
        if result.is_err() {
            out.truncate(from);
        }
        result
    }

    fn resource(&mut self, event: &Found<'_>, out: &mut Vec<u8>) {
        let mut named = false;
        if let Some(Value::Object(resource)) = event.get(Role::Resource) {
            named = json::Children::new(resource).any(|c| json::key_is(&resource[c.key.0..c.key.1], b"service.name"));
            pairs(resource, 1, &mut self.plain, out);
        }
        if let (Some(service), false) = (event.get(Role::Service), named) {
            pair(b"service.name", service, 1, &mut self.plain, out);
        }
    }

    fn scope(&mut self, scope: &[u8], out: &mut Vec<u8>) {
        for child in json::Children::new(scope) {
            let key = &scope[child.key.0..child.key.1];
            match json::value_of(&scope[child.value.0..child.value.1]) {
                Value::Str(text) if key == b"name" => push_bytes(1, text.text(&mut self.plain), out),
                Value::Str(text) if key == b"version" => push_bytes(2, text.text(&mut self.plain), out),
                Value::Object(attributes) if key == b"attributes" => pairs(attributes, 3, &mut self.plain, out),
                _ => {}
            }
        }
    }

    /// Attributes: the event's own, and every field that is nothing else. What should be an object of attributes and is
    /// none is one attribute, and so is what should be an id. `ids` are places, from 1, of fields that are known to be ids.
    fn attributes(&mut self, found: &Found<'_>, ids: [u16; 2], out: &mut Vec<u8>) {
        let OtlpEncoder { kind, roles, plain, stage, .. } = self;
        let spots = found.event.spots();
        for field in roles.rest(found) {
            let i = usize::from(field.place);
            if let Some(role) = field.role {
                if matches!(role, Role::TraceId | Role::SpanId) && ids.contains(&(field.place + 1)) {
                    continue;
                }
                let value = found.event.value_at(i);
                if let (Role::Attributes, Value::Object(object)) = (role, value) {
                    stage.flush(out);
                    pairs(object, kind.attributes(), plain, out);
                    continue;
                }
                if !is_attribute(role, value) {
                    continue;
                }
            }
            stage.pair(&field.head, spots.at(i), plain, out);
        }
        stage.flush(out);
    }

    /// A field of text, where the value is something.
    fn text(&mut self, value: Option<Value<'_>>, number: u32, out: &mut Vec<u8>) {
        match value {
            None | Some(Value::Null) => {}
            Some(Value::Str(text)) => push_bytes(number, text.text(&mut self.plain), out),
            Some(value) => {
                let mut text = Vec::new();
                value.append_json(&mut text);
                push_bytes(number, &text, out);
            }
        }
    }

    fn number(&self, event: &Found<'_>, role: Role, number: u32, out: &mut Vec<u8>) {
        if let Some(n) = event.int(role) {
            push_number(number, n as u64, out);
        }
    }
}

fn time_of(value: Value<'_>, reader: &TimestampReader, now: i64) -> Option<i64> {
    match value {
        Value::Timestamp(ns) => Some(ns),
        Value::I64(n) => reader.read_i64(n).map(|s| s.ns),
        Value::F64(x) => reader.read_f64(x).map(|s| s.ns),
        Value::Number(text) => reader.read(text, now).map(|s| s.ns),
        Value::Str(text) => reader.read(text.text(&mut Vec::new()), now).map(|s| s.ns),
        Value::Null | Value::Bool(_) | Value::Object(_) | Value::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ack::Ack;
    use crate::decoding::otlp::{Encoding, Request, Signal};
    use crate::event::{Batch, JsonRows, Origin, Slab};

    fn batch(line: &str) -> Batch {
        let mut batch = Batch::new(Slab::from_vec(line.into()), Origin::of_source("in"), 0, Ack::none());
        JsonRows::default().push(&mut batch, 0, line.len(), 0).unwrap();
        batch
    }

    /// What is read again of an event that was written.
    fn there_and_back(signal: Signal, line: &str) -> Result<String, Unfit> {
        let batch = batch(line);
        let mut encoder = match signal {
            Signal::Logs => OtlpEncoder::logs(TimestampReader::default()),
            _ => OtlpEncoder::spans(TimestampReader::default()),
        };
        let mut body = Vec::new();
        encoder.write(batch.event(0), 1_736_503_200_123_456_789, &mut body)?;
        let request = Request::read(signal, Encoding::Protobuf, body, 1 << 20).unwrap();
        let mut out = Vec::new();
        for batch in request.into_batches(Origin::of_source("in"), 0) {
            batch.iter().for_each(|e| e.write_json(&mut out));
        }
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_otlp_knows_comes_back_as_it_was() {
        let log = concat!(
            r#"{"timestamp":"2025-01-10T10:00:00.123456789Z","observedTimestamp":"2025-01-10T10:00:01.000Z","#,
            r#""level":"Information","severityNumber":9,"service":"shop \"1\"","message":"hello\nworld","#,
            r#""traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","flags":1,"eventName":"greeting","#,
            r#""attributes":{"d":1.5,"list":[-7,"x",null,true],"map":{"k":"é"}},"droppedAttributesCount":3,"#,
            r#""resource":{"service.name":"shop \"1\"","host.cpus":4},"#,
            r#""scope":{"name":"lib","version":"1.2","attributes":{"s":true}}}"#
        );
        assert_eq!(there_and_back(Signal::Logs, log).unwrap(), log);
        let span = concat!(
            r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","parentSpanId":"eee19b7ec3c1b173","#,
            r#""operationName":"GET /","startTime":"2025-01-10T10:00:00.000Z","endTime":"2025-01-10T10:00:00.001500Z","#,
            r#""duration":1.5,"tags":{"http.method":"GET"},"droppedAttributesCount":1,"#,
            r#""logs":[{"timestamp":"2025-01-10T10:00:00.000000001Z","name":"retry","attributes":{"n":2}},{}],"#,
            r#""status":{"code":2,"message":"no"},"service":"shop","kind":"SERVER","#,
            r#""links":[{"traceId":"5b8efff798038103d269b633813fc60d","spanId":"eee19b7ec3c1b175"}],"#,
            r#""traceState":"a=b","flags":1,"resource":{"service.name":"shop"}}"#
        );
        assert_eq!(there_and_back(Signal::Traces, span).unwrap(), span);
    }

    #[test]
    fn what_otlp_does_not_know_becomes_attributes() {
        let log = there_and_back(
            Signal::Logs,
            r#"{"level":"warn","message":{"a":1},"trace_id":"nope","metadata":{"x":"y"},"tags":{},"none":null,"resource":"r"}"#,
        );
        assert_eq!(
            log.unwrap(),
            concat!(
                r#"{"timestamp":"2025-01-10T10:00:00.123456789Z","level":"warn","severityNumber":13,"message":{"a":1},"#,
                r#""attributes":{"trace_id":"nope","metadata":{"x":"y"},"tags":{},"resource":"r"}}"#
            )
        );
        let span = there_and_back(
            Signal::Traces,
            r#"{"trace_id":"5B8EFFF798038103D269B633813FC60C","span_id":"eee19b7ec3c1b174","operation_name":"x","start_time":1736503200,"duration":2,"kind":"SPAN_KIND_CLIENT","status":{"code":"ERROR"},"logs":["started",{"time":1736503200,"event":"e"}],"sample_rate":0.5}"#,
        );
        assert_eq!(
            span.unwrap(),
            concat!(
                r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","operationName":"x","#,
                r#""startTime":"2025-01-10T10:00:00.000Z","endTime":"2025-01-10T10:00:00.002Z","duration":2,"#,
                r#""tags":{"sample_rate":0.5},"logs":[{"name":"started"},{"timestamp":"2025-01-10T10:00:00.000Z","attributes":{"event":"e"}}],"#,
                r#""status":{"code":2},"kind":"CLIENT"}"#
            )
        );
    }

    #[test]
    fn spans_without_what_makes_one_are_refused() {
        for (line, why) in [
            (r#"{"spanId":"eee19b7ec3c1b174","startTime":1}"#, "traceId"),
            (r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"xee19b7ec3c1b174","startTime":1}"#, "spanId"),
            (r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}"#, "startTime"),
        ] {
            let error = there_and_back(Signal::Traces, line).unwrap_err();
            assert!(error.0.contains(why), "{line}: {}", error.0);
        }
        let mut body = b"before".to_vec();
        let batch = batch("{}");
        assert!(OtlpEncoder::spans(TimestampReader::default()).write(batch.event(0), 0, &mut body).is_err());
        assert_eq!(body, b"before");
    }
}

//! Events to OTLP's protocol buffers: the way back of [`decoding::otlp`](crate::decoding::otlp).
//!
//! Each event becomes a whole `ResourceLogs` or `ResourceSpans` with one record in it, written as field 1 of the request:
//! such pieces, one behind the other in any number, are a request. What repeats, compression takes out again.
//!
//! Names are taken in both spellings (`traceId`, `trace_id`). A field that OTLP has no place for becomes an attribute of
//! the record, so nothing is lost; `null` is left out. `service` is the resource's `service.name` where that has none.

pub mod answer;
mod metrics;
#[cfg(test)]
mod plain;

pub use metrics::MetricEncoder;

use crate::event::{EventRef, Form, Str, Sym, Value, json};
use crate::text::snake_case;
use crate::time::TimestampReader;
use crate::wire::protobuf::{
    push_bytes, push_fixed32, push_fixed64, push_message, push_number, push_varint, varint_len,
};

/// Writes events of one kind.
#[derive(Debug)]
pub struct OtlpEncoder {
    kind: Kind,
    /// By number of symbol what the field is: 0 for nothing, else its role's number from 1; [`SECOND`] is set for names that count
    /// only where the other is absent.
    roles: Vec<u8>,
    /// The field that is the body of log records where it has another role too.
    body: Option<Sym>,
    reader: TimestampReader,
    plain: Vec<u8>,
}

const SECOND: u8 = 0x80;

/// An event and which of its fields stand for which roles: looked up once.
#[derive(Clone, Copy)]
pub struct Found<'e> {
    event: EventRef<'e>,
    /// By role the field's place, from 1; 0 for none.
    at: [u16; ROLES],
}

impl<'e> Found<'e> {
    fn get(&self, role: Role) -> Option<Value<'e>> {
        let place = usize::from(self.at[role as usize]).checked_sub(1)?;
        Some(self.event.value_at(place)).filter(|value| !matches!(value, Value::Null))
    }

    fn int(&self, role: Role) -> Option<i64> {
        self.get(role)?.as_i64()
    }

    fn id<const N: usize>(&self, role: Role) -> Option<[u8; N]> {
        match self.get(role)? {
            Value::Str(id) => read_id(id.bytes),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Log,
    Span,
}

/// What a field is to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Role {
    Time,
    EndTime,
    Observed,
    Duration,
    Level,
    SeverityNumber,
    Body,
    TraceId,
    SpanId,
    ParentId,
    Name,
    SpanKind,
    Flags,
    TraceState,
    EventName,
    Attributes,
    Dropped,
    Events,
    Links,
    Status,
    Service,
    Resource,
    Scope,
}

/// How many roles there are.
const ROLES: usize = Role::Scope as usize + 1;

/// All of them, by their numbers.
const ALL: [Role; ROLES] = [
    Role::Time,
    Role::EndTime,
    Role::Observed,
    Role::Duration,
    Role::Level,
    Role::SeverityNumber,
    Role::Body,
    Role::TraceId,
    Role::SpanId,
    Role::ParentId,
    Role::Name,
    Role::SpanKind,
    Role::Flags,
    Role::TraceState,
    Role::EventName,
    Role::Attributes,
    Role::Dropped,
    Role::Events,
    Role::Links,
    Role::Status,
    Role::Service,
    Role::Resource,
    Role::Scope,
];

const LOG: &[(&str, Role)] = &[
    ("timestamp", Role::Time),
    ("observedTimestamp", Role::Observed),
    ("level", Role::Level),
    ("severityNumber", Role::SeverityNumber),
    ("service", Role::Service),
    ("message", Role::Body),
    ("traceId", Role::TraceId),
    ("spanId", Role::SpanId),
    ("flags", Role::Flags),
    ("eventName", Role::EventName),
    ("attributes", Role::Attributes),
    ("droppedAttributesCount", Role::Dropped),
    ("resource", Role::Resource),
    ("scope", Role::Scope),
];

const SPAN: &[(&str, Role)] = &[
    ("traceId", Role::TraceId),
    ("spanId", Role::SpanId),
    ("parentSpanId", Role::ParentId),
    ("operationName", Role::Name),
    ("startTime", Role::Time),
    ("endTime", Role::EndTime),
    ("duration", Role::Duration),
    ("tags", Role::Attributes),
    ("attributes", Role::Attributes),
    ("droppedAttributesCount", Role::Dropped),
    ("logs", Role::Events),
    ("status", Role::Status),
    ("service", Role::Service),
    ("kind", Role::SpanKind),
    ("links", Role::Links),
    ("traceState", Role::TraceState),
    ("flags", Role::Flags),
    ("resource", Role::Resource),
    ("scope", Role::Scope),
];

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
        let mut encoder = OtlpEncoder { kind, roles: Vec::new(), body: None, reader, plain: Vec::new() };
        for (camel, role) in names {
            encoder.name(Sym::from_config(camel), *role, 0);
            encoder.name(Sym::from_config(&snake_case(camel)), *role, SECOND);
        }
        encoder
    }

    /// Gives a name its role, unless it has one.
    fn name(&mut self, name: Sym, role: Role, second: u8) {
        if self.roles.len() <= name.index() {
            self.roles.resize(name.index() + 1, 0);
        }
        let of_name = &mut self.roles[name.index()];
        if *of_name == 0 {
            *of_name = (role as u8 + 1) | second;
        }
    }

    /// Looks up what the fields of an event are.
    #[inline]
    pub fn look<'e>(&self, event: EventRef<'e>) -> Found<'e> {
        let (mut at, mut firsts) = ([0; ROLES], 0u32);
        for (i, (key, _)) in event.key_indexes().enumerate() {
            let code = self.roles.get(key).copied().unwrap_or(0);
            if code == 0 {
                continue;
            }
            let role = usize::from(code & !SECOND) - 1;
            if code & SECOND == 0 {
                firsts |= 1 << role;
            } else if firsts >> role & 1 != 0 {
                continue;
            }
            // Of duplicates the last. An event has fewer fields than this number holds.
            at[role] = i as u16 + 1;
        }
        if let Some(body) = self.body {
            at[Role::Body as usize] = event.position(body).map_or(0, |i| i as u16 + 1);
        }
        Found { event, at }
    }

    fn role_of(&self, key: usize) -> Option<Role> {
        let code = usize::from(self.roles.get(key)? & !SECOND);
        code.checked_sub(1).map(|n| ALL[n])
    }

    /// When a span begins, in nanoseconds since 1970 UTC.
    pub fn start(&mut self, event: EventRef<'_>) -> Option<i64> {
        self.start_of(&self.look(event))
    }

    fn start_of(&self, found: &Found<'_>) -> Option<i64> {
        self.time(found, Role::Time).or(found.event.time())
    }

    fn time(&self, found: &Found<'_>, role: Role) -> Option<i64> {
        time_of(found.get(role)?, &self.reader, found.event.batch().received_at)
    }

    /// The field whose value is the body of a log record, in place of `message`, which is an attribute then.
    pub fn with_body(mut self, key: Sym) -> Self {
        self.roles.iter_mut().filter(|code| **code & !SECOND == Role::Body as u8 + 1).for_each(|code| *code = 0);
        self.name(key, Role::Body, 0);
        self.body = (self.role_of(key.index()) != Some(Role::Body)).then_some(key);
        self
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
                self.pair(key, Value::Str(Str::plain(value)), 1, out);
            }
        }
    }

    /// Appends the fields of the event's `InstrumentationScope`; nothing, and `false`, where it has none.
    pub fn write_scope(&mut self, event: &Found<'_>, out: &mut Vec<u8>) -> bool {
        let Some(Value::Object(scope)) = event.get(Role::Scope) else { return false };
        self.scope(scope, out);
        true
    }

    /// What resource and scope of an event are made of, one behind the other: two events of which it is the same have the same.
    pub fn shared_text(&self, event: &Found<'_>, out: &mut Vec<u8>) {
        for role in [Role::Resource, Role::Service, Role::Scope] {
            if let Some(value) = event.get(role) {
                value.append_json(out);
            }
            out.push(0);
        }
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
            self.pairs(resource, 1, out);
        }
        if let (Some(service), false) = (event.get(Role::Service), named) {
            self.pair(b"service.name", service, 1, out);
        }
    }

    fn scope(&mut self, scope: &[u8], out: &mut Vec<u8>) {
        for child in json::Children::new(scope) {
            let key = &scope[child.key.0..child.key.1];
            match json::value_of(&scope[child.value.0..child.value.1]) {
                Value::Str(text) if key == b"name" => push_bytes(1, text.text(&mut self.plain), out),
                Value::Str(text) if key == b"version" => push_bytes(2, text.text(&mut self.plain), out),
                Value::Object(attributes) if key == b"attributes" => self.pairs(attributes, 3, out),
                _ => {}
            }
        }
    }

    fn log(&mut self, event: &Found<'_>, time: i64, out: &mut Vec<u8>) {
        push_fixed64(1, time.max(0) as u64, out);
        let level = event.get(Role::Level);
        let number = event.int(Role::SeverityNumber).filter(|n| (1..=24).contains(n));
        if let Some(number) = number.or_else(|| severity(level?.as_str()?)) {
            push_number(2, number as u64, out);
        }
        self.text(level, 3, out);
        match event.get(Role::Body) {
            None => {}
            Some(Value::Str(text)) => {
                let mut plain = std::mem::take(&mut self.plain);
                let text = text.text(&mut plain);
                push_varint(5 << 3 | 2, out);
                push_varint(field_len(text.len()) as u64, out);
                push_bytes(1, text, out);
                self.plain = plain;
            }
            Some(body) => push_message(5, out, |out| self.any(body, out)),
        }
        let (trace, span) = (event.id::<16>(Role::TraceId), event.id::<8>(Role::SpanId));
        let place = |role: Role, is_id: bool| if is_id { event.at[role as usize] } else { 0 };
        self.attributes(event, [place(Role::TraceId, trace.is_some()), place(Role::SpanId, span.is_some())], 6, out);
        self.number(event, Role::Dropped, 7, out);
        if let Some(flags) = event.int(Role::Flags) {
            push_fixed32(8, flags as u32, out);
        }
        if let Some(trace) = trace {
            push_bytes(9, &trace, out);
        }
        if let Some(span) = span {
            push_bytes(10, &span, out);
        }
        if let Some(observed) = self.time(event, Role::Observed) {
            push_fixed64(11, observed.max(0) as u64, out);
        }
        self.text(event.get(Role::EventName), 12, out);
    }

    fn span(&mut self, event: &Found<'_>, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if !self.id::<16>(event, Role::TraceId, 1, out) {
            return Err(Unfit("the span's `traceId` is not 32 hexadecimal digits"));
        }
        if !self.id::<8>(event, Role::SpanId, 2, out) {
            return Err(Unfit("the span's `spanId` is not 16 hexadecimal digits"));
        }
        let start = self.start_of(event).ok_or(Unfit("the span has no `startTime`"))?;
        let end = self.time(event, Role::EndTime).or_else(|| {
            let ms = event.get(Role::Duration)?.as_f64()?;
            Some(start.saturating_add((ms * 1e6) as i64))
        });
        self.text(event.get(Role::TraceState), 3, out);
        self.id::<8>(event, Role::ParentId, 4, out);
        self.text(event.get(Role::Name), 5, out);
        let kind = match event.get(Role::SpanKind) {
            Some(Value::Str(name)) => KINDS.iter().position(|k| ends_with(name, k)).map(|n| n as u64 + 1),
            Some(number) => number.as_i64().and_then(|n| u64::try_from(n).ok()),
            None => None,
        };
        if let Some(kind) = kind {
            push_number(6, kind, out);
        }
        push_fixed64(7, start.max(0) as u64, out);
        // An end before the start makes a duration of centuries of some receivers.
        push_fixed64(8, end.unwrap_or(start).max(start).max(0) as u64, out);
        self.attributes(event, [0; 2], 9, out);
        self.number(event, Role::Dropped, 10, out);
        let now = event.event.batch().received_at;
        if let Some(Value::Array(events)) = event.get(Role::Events) {
            for child in json::Children::new(events) {
                push_message(11, out, |out| self.span_event(&events[child.value.0..child.value.1], now, out));
            }
        }
        if let Some(Value::Array(links)) = event.get(Role::Links) {
            for child in json::Children::new(links) {
                push_message(13, out, |out| self.link(&links[child.value.0..child.value.1], out));
            }
        }
        if let Some(status) = event.get(Role::Status) {
            push_message(15, out, |out| self.status(status, out));
        }
        if let Some(flags) = event.int(Role::Flags) {
            push_fixed32(16, flags as u32, out);
        }
        Ok(())
    }

    /// Attributes: the event's own, and every field that is nothing else. What should be an object of attributes and is
    /// none is one attribute, and so is what should be an id. `ids` are places, from 1, of fields that are known to be ids.
    fn attributes(&mut self, found: &Found<'_>, ids: [u16; 2], number: u32, out: &mut Vec<u8>) {
        let event = found.event;
        for (i, (key, is_null)) in event.key_indexes().enumerate() {
            if is_null {
                continue;
            }
            let Some(role) = self.role_of(key) else {
                self.pair(event.key_text_at(i), event.value_at(i), number, out);
                continue;
            };
            let value = event.value_at(i);
            let is_other = match (role, value) {
                (Role::Attributes, Value::Object(object)) => {
                    self.pairs(object, number, out);
                    false
                }
                (Role::Resource | Role::Scope | Role::Attributes, value) => !matches!(value, Value::Object(_)),
                (Role::Events | Role::Links, value) => !matches!(value, Value::Array(_)),
                (Role::TraceId | Role::SpanId, _) if ids.contains(&(i as u16 + 1)) => false,
                (Role::TraceId, Value::Str(id)) => !id.bytes.is_empty() && read_id::<16>(id.bytes).is_none(),
                (Role::SpanId | Role::ParentId, Value::Str(id)) => {
                    !id.bytes.is_empty() && read_id::<8>(id.bytes).is_none()
                }
                _ => false,
            };
            if is_other {
                self.pair(event.key_text_at(i), value, number, out);
            }
        }
    }

    fn span_event(&mut self, event: &[u8], now: i64, out: &mut Vec<u8>) {
        let Value::Object(_) = json::value_of(event) else {
            // A log line that is no object is the event's name.
            let mut text = Vec::new();
            json::value_of(event).append_text(&mut text);
            return push_bytes(2, &text, out);
        };
        for child in json::Children::new(event) {
            let key = &event[child.key.0..child.key.1];
            let value = json::value_of(&event[child.value.0..child.value.1]);
            match (key, value) {
                (b"timestamp" | b"time", value) if time_of(value, &self.reader, now).is_some() => {
                    push_fixed64(1, time_of(value, &self.reader, now).unwrap_or_default().max(0) as u64, out);
                }
                (b"name", Value::Str(text)) => push_bytes(2, text.text(&mut self.plain), out),
                (b"attributes" | b"fields", Value::Object(attributes)) => self.pairs(attributes, 3, out),
                (_, Value::Null) => {}
                (key, value) => self.pair(key, value, 3, out),
            }
        }
    }

    fn link(&mut self, link: &[u8], out: &mut Vec<u8>) {
        for child in json::Children::new(link) {
            let key = &link[child.key.0..child.key.1];
            match (key, json::value_of(&link[child.value.0..child.value.1])) {
                (b"traceId" | b"trace_id", Value::Str(id)) => _ = push_id::<16>(id.bytes, 1, out),
                (b"spanId" | b"span_id", Value::Str(id)) => _ = push_id::<8>(id.bytes, 2, out),
                (b"traceState" | b"trace_state", Value::Str(text)) => push_bytes(3, text.text(&mut self.plain), out),
                (b"attributes", Value::Object(attributes)) => self.pairs(attributes, 4, out),
                (_, Value::Null) => {}
                (key, value) => self.pair(key, value, 4, out),
            }
        }
    }

    fn status(&mut self, status: Value<'_>, out: &mut Vec<u8>) {
        let code = |value: Value<'_>| match value {
            Value::Str(name) => ["OK", "ERROR"].iter().position(|k| ends_with(name, k)).map(|n| n as u64 + 1),
            value => value.as_i64().and_then(|n| u64::try_from(n).ok()).filter(|n| *n <= 2),
        };
        let Value::Object(object) = status else {
            if let Some(code) = code(status) {
                push_number(3, code, out);
            }
            return;
        };
        for child in json::Children::new(object) {
            let value = json::value_of(&object[child.value.0..child.value.1]);
            match &object[child.key.0..child.key.1] {
                b"code" => {
                    if let Some(code) = code(value) {
                        push_number(3, code, out);
                    }
                }
                b"message" => self.text(Some(value), 2, out),
                _ => {}
            }
        }
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

    /// An id of `N` bytes; whether there is one.
    fn id<const N: usize>(&self, event: &Found<'_>, role: Role, number: u32, out: &mut Vec<u8>) -> bool {
        let id = event.id::<N>(role);
        id.inspect(|id| push_bytes(number, id, out)).is_some()
    }

    /// The members of an object as `KeyValue`s.
    fn pairs(&mut self, object: &[u8], number: u32, out: &mut Vec<u8>) {
        for child in json::Children::new(object) {
            let key = json::str_of(&object[child.key.0..child.key.1]);
            let mut plain = std::mem::take(&mut self.plain);
            self.pair(key.text(&mut plain), json::value_of(&object[child.value.0..child.value.1]), number, out);
            self.plain = plain;
        }
    }

    /// A `KeyValue`. All but lists and objects are as long as can be told beforehand.
    fn pair(&mut self, key: &[u8], value: Value<'_>, number: u32, out: &mut Vec<u8>) {
        match value {
            Value::Str(text) if text.form != Form::Escaped => push_pair_of_text(number, key, text.bytes, out),
            Value::Str(text) => {
                let mut plain = std::mem::take(&mut self.plain);
                push_pair_of_text(number, key, text.text(&mut plain), out);
                self.plain = plain;
            }
            Value::Array(_) | Value::Object(_) => push_message(number, out, |out| {
                push_bytes(1, key, out);
                push_message(2, out, |out| self.any(value, out));
            }),
            _ => {
                let mut field = std::mem::take(&mut self.plain);
                field.clear();
                self.any(value, &mut field);
                push_varint(u64::from(number) << 3 | 2, out);
                push_varint((field_len(key.len()) + field_len(field.len())) as u64, out);
                push_bytes(1, key, out);
                push_bytes(2, &field, out);
                self.plain = field;
            }
        }
    }

    /// An `AnyValue`'s fields. Depth of recursion: that of the JSON, which is bounded where it is read.
    fn any(&mut self, value: Value<'_>, out: &mut Vec<u8>) {
        match value {
            Value::Null => {}
            Value::Bool(b) => push_number(2, u64::from(b), out),
            Value::I64(n) => push_number(3, n as u64, out),
            Value::F64(x) => push_fixed64(4, x.to_bits(), out),
            Value::Number(spelling) => match whole(spelling).or_else(|| value.as_i64()) {
                Some(n) => push_number(3, n as u64, out),
                None => value.as_f64().into_iter().for_each(|x| push_fixed64(4, x.to_bits(), out)),
            },
            Value::Timestamp(_) => {
                let mut text = Vec::new();
                value.append_text(&mut text);
                push_bytes(1, &text, out);
            }
            Value::Str(text) => push_bytes(1, text.text(&mut Vec::new()), out),
            Value::Array(items) => push_message(5, out, |out| {
                for child in json::Children::new(items) {
                    let item = json::value_of(&items[child.value.0..child.value.1]);
                    push_message(1, out, |out| self.any(item, out));
                }
            }),
            Value::Object(object) => push_message(6, out, |out| self.pairs(object, 1, out)),
        }
    }
}

/// Bytes of a field of text or bytes whose number is below 16.
fn field_len(bytes: usize) -> usize {
    1 + varint_len(bytes as u64) + bytes
}

/// A `KeyValue` of a text.
fn push_pair_of_text(number: u32, key: &[u8], text: &[u8], out: &mut Vec<u8>) {
    let value = field_len(text.len());
    let pair = field_len(key.len()) + field_len(value);
    if pair < 0x80 && number < 16 {
        // All lengths have one byte.
        out.reserve(pair + 2);
        out.extend_from_slice(&[(number << 3 | 2) as u8, pair as u8, 1 << 3 | 2, key.len() as u8]);
        out.extend_from_slice(key);
        out.extend_from_slice(&[2 << 3 | 2, value as u8, 1 << 3 | 2, text.len() as u8]);
        out.extend_from_slice(text);
        return;
    }
    push_varint(u64::from(number) << 3 | 2, out);
    push_varint(pair as u64, out);
    push_bytes(1, key, out);
    push_varint(2 << 3 | 2, out);
    push_varint(value as u64, out);
    push_bytes(1, text, out);
}

/// The number of a spelling that is only digits, where they are so few that any number of them fits.
fn whole(spelling: &[u8]) -> Option<i64> {
    if spelling.is_empty() || spelling.len() > 18 {
        return None;
    }
    spelling.iter().try_fold(0, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
}

/// Names of `SpanKind`, from 1.
const KINDS: [&str; 5] = ["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];

/// Whether a name is this one, with a prefix such as `SPAN_KIND_` or without, in any case.
fn ends_with(name: Str<'_>, word: &str) -> bool {
    let Some(at) = name.bytes.len().checked_sub(word.len()) else { return false };
    name.bytes[at..].eq_ignore_ascii_case(word.as_bytes()) && (at == 0 || name.bytes[at - 1] == b'_')
}

/// `SeverityNumber` of a level's name.
fn severity(level: Str<'_>) -> Option<i64> {
    const NAMES: [(&str, i64); 10] = [
        ("TRACE", 1),
        ("DEBUG", 5),
        ("INFO", 9),
        ("INFORMATION", 9),
        ("NOTICE", 10),
        ("WARN", 13),
        ("WARNING", 13),
        ("ERROR", 17),
        ("CRITICAL", 21),
        ("FATAL", 21),
    ];
    NAMES.iter().find(|(name, _)| level.bytes.eq_ignore_ascii_case(name.as_bytes())).map(|(_, n)| *n)
}

/// By byte the value of a hexadecimal digit; what is none has a bit above those of one.
const DIGITS: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut n = 0;
    while n < 16 {
        digits[b"0123456789abcdef"[n] as usize] = n as u8;
        digits[b"0123456789ABCDEF"[n] as usize] = n as u8;
        n += 1;
    }
    digits
};

/// An id of `N` bytes that is given in hexadecimal digits.
fn read_id<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let (mut id, mut all) = ([0; N], 0);
    for (byte, [high, low]) in id.iter_mut().zip(pairs) {
        let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
        all |= high | low;
        *byte = high << 4 | low & 15;
    }
    (all < 16).then_some(id)
}

/// Appends an id of `N` bytes that is given in hexadecimal digits; `false`, and nothing, where it is something else.
fn push_id<const N: usize>(digits: &[u8], number: u32, out: &mut Vec<u8>) -> bool {
    read_id::<N>(digits).inspect(|id| push_bytes(number, id, out)).is_some()
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

//! Spans, with their events and links.

use super::attributes::{pair, pairs};
use super::ids::{KINDS, ends_with, push_id};
use super::roles::{Found, Role};
use super::{OtlpEncoder, Unfit, time_of};
use crate::event::{Value, json};
use crate::wire::protobuf::{push_bytes, push_fixed32, push_fixed64, push_message, push_number};

impl OtlpEncoder {
    pub(super) fn span(&mut self, event: &Found<'_>, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if !self.id::<16>(event, Role::TraceId, 1, out) {
            return Err(Unfit("the span's `traceId` is not 32 hexadecimal digits"));
        }
        if !self.id::<8>(event, Role::SpanId, 2, out) {
            return Err(Unfit("the span's `spanId` is not 16 hexadecimal digits"));
        }
        let start = self.start_of(event).ok_or(Unfit("the span has no `startTime`"))?;
        let end = event.time(Role::EndTime, &self.reader).or_else(|| {
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
        self.attributes(event, [0; 2], out);
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
                (b"attributes" | b"fields", Value::Object(attributes)) => pairs(attributes, 3, &mut self.plain, out),
                (_, Value::Null) => {}
                (key, value) => pair(key, value, 3, &mut self.plain, out),
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
                (b"attributes", Value::Object(attributes)) => pairs(attributes, 4, &mut self.plain, out),
                (_, Value::Null) => {}
                (key, value) => pair(key, value, 4, &mut self.plain, out),
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

    /// An id of `N` bytes; whether there is one.
    fn id<const N: usize>(&self, event: &Found<'_>, role: Role, number: u32, out: &mut Vec<u8>) -> bool {
        let id = event.id::<N>(role);
        id.inspect(|id| push_bytes(number, id, out)).is_some()
    }
}

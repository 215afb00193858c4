//! Spans.

use super::{Holds, Walk, any, close, keys, last, member, push_clean, time_of};
use crate::decoding::records;
use crate::event::{Batch, EventKind, Sym, Value};
use crate::wire::protobuf::{Fields, Malformed, Wire};

/// Names of `SpanKind`, from 1.
pub(super) const KINDS: [&str; 5] = ["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];

impl Walk {
    /// Appends a `Span`.
    pub(super) fn span(&mut self, record: &[u8], batch: &mut Batch) -> Result<(), Malformed> {
        let (mut start, mut end, mut kind, mut flags, mut dropped) = (0, 0, 0, 0, 0);
        let (mut trace, mut span, mut parent) = (&b""[..], &b""[..], &b""[..]);
        let (mut state, mut name, mut status) = (&b""[..], &b""[..], None);
        let (mut attributes, mut events, mut links) = (false, false, false);
        for field in Fields::new(record) {
            match field? {
                (1, value) => trace = value.bytes()?,
                (2, value) => span = value.bytes()?,
                (3, value) => state = value.bytes()?,
                (4, value) => parent = value.bytes()?,
                (5, value) => name = value.bytes()?,
                (6, value) => kind = value.u64()?,
                (7, value) => start = value.u64()?,
                (8, value) => end = value.u64()?,
                (9, _) => attributes = true,
                (10, value) => dropped = value.u64()?,
                (11, _) => events = true,
                (13, _) => links = true,
                (15, value) => status = Some(value.bytes()?),
                (16, value) => flags = value.u64()?,
                _ => {}
            }
        }
        let keys = keys();
        batch.push_event(EventKind::Trace);
        self.push_id(batch, Sym::TRACE_ID, trace);
        self.push_id(batch, Sym::SPAN_ID, span);
        self.push_id(batch, keys.parent_span_id, parent);
        self.push_text(batch, keys.operation_name, name);
        self.push_time(batch, keys.start_time, start);
        self.push_time(batch, keys.end_time, end);
        if let Some(start) = time_of(start) {
            last(batch).set_time(start);
            if let Some(end) = time_of(end) {
                let ns = end.saturating_sub(start);
                let whole = ns % 1_000_000 == 0;
                let ms = if whole { Value::I64(ns / 1_000_000) } else { Value::F64(ns as f64 / 1_000_000.0) };
                last(batch).push(keys.duration, ms);
            }
        }
        if attributes {
            self.push_attributes(batch, Sym::TAGS, record, 9)?;
        }
        if dropped != 0 {
            last(batch).push(keys.dropped_attributes, Value::I64(dropped as i64));
        }
        if events {
            self.push_list(batch, keys.logs, record, 11, Self::span_event)?;
        }
        if let Some(status) = status {
            self.push_status(batch, status)?;
        }
        self.service.push(batch, Sym::SERVICE, Holds::Text);
        if let Some(kind) = (kind as usize).checked_sub(1).and_then(|n| KINDS.get(n)) {
            push_clean(batch, keys.kind, kind.as_bytes());
        }
        if links {
            self.push_list(batch, keys.links, record, 13, Self::link)?;
        }
        self.push_text(batch, keys.trace_state, state);
        if flags != 0 {
            last(batch).push(keys.flags, Value::I64(flags as i64));
        }
        self.resource.push(batch, keys.resource, Holds::Object);
        self.scope.push(batch, keys.scope, Holds::Object);
        Ok(())
    }

    fn push_status(&mut self, batch: &mut Batch, status: &[u8]) -> Result<(), Malformed> {
        let (mut code, mut message) = (0, &b""[..]);
        for field in Fields::new(status) {
            match field? {
                (2, value) => message = value.bytes()?,
                (3, value) => code = value.u64()?,
                _ => {}
            }
        }
        self.text.clear();
        self.text.extend_from_slice(b"{\"code\":");
        self.text.extend_from_slice(itoa::Buffer::new().format(code).as_bytes());
        if !message.is_empty() {
            self.text.extend_from_slice(b",\"message\":");
            self.values.string(message, &mut self.text);
        }
        self.text.push(b'}');
        last(batch).push(keys().status, Value::Object(&self.text));
        Ok(())
    }

    /// Appends the messages in field `number` of `record` as an array, each as `write` appends it.
    fn push_list(
        &mut self,
        batch: &mut Batch,
        key: Sym,
        record: &[u8],
        number: u32,
        write: fn(&mut Self, &[u8], &mut Vec<u8>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut out = std::mem::take(&mut self.text);
        out.clear();
        out.push(b'[');
        for field in Fields::new(record) {
            let (n, value) = field?;
            if n == number {
                if out.len() > 1 {
                    out.push(b',');
                }
                write(self, value.bytes()?, &mut out)?;
            }
        }
        out.push(b']');
        last(batch).push(key, Value::Array(&out));
        self.text = out;
        Ok(())
    }

    fn span_event(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let start = out.len();
        let mut attributes = false;
        for field in Fields::new(event) {
            match field? {
                (1, time) => {
                    if let Some(ns) = time_of(time.u64()?) {
                        member(out, start, "timestamp");
                        out.push(b'"');
                        records::push_time(ns, out);
                        out.push(b'"');
                    }
                }
                (2, name) => {
                    member(out, start, "name");
                    self.values.string(name.bytes()?, out);
                }
                (3, _) => attributes = true,
                _ => {}
            }
        }
        if attributes {
            member(out, start, "attributes");
            self.values.object(event, 3, out)?;
        }
        close(out, start);
        Ok(())
    }

    fn link(&mut self, link: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let start = out.len();
        let mut attributes = false;
        for field in Fields::new(link) {
            match field? {
                (n @ (1 | 2), Wire::Bytes(id)) => {
                    member(out, start, if n == 1 { "traceId" } else { "spanId" });
                    out.push(b'"');
                    any::hex(id, out);
                    out.push(b'"');
                }
                (3, state) if !state.bytes()?.is_empty() => {
                    member(out, start, "traceState");
                    self.values.string(state.bytes()?, out);
                }
                (4, _) => attributes = true,
                _ => {}
            }
        }
        if attributes {
            member(out, start, "attributes");
            self.values.object(link, 4, out)?;
        }
        close(out, start);
        Ok(())
    }
}

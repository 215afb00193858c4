//! Log records.

use super::{Holds, Walk, keys, last, push_clean, time_of};
use crate::event::{Batch, EventKind, Sym, Value, json};
use crate::wire::protobuf::{Fields, Malformed};

/// Names of severities 1 to 24: four of each.
const LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

impl Walk {
    /// Appends a `LogRecord`.
    pub(super) fn log(&mut self, record: &[u8], batch: &mut Batch) -> Result<(), Malformed> {
        let (mut time, mut observed, mut number, mut flags, mut dropped) = (0, 0, 0, 0, 0);
        let (mut level, mut trace, mut span, mut name) = (&b""[..], &b""[..], &b""[..], &b""[..]);
        let (mut body, mut attributes) = (None, false);
        for field in Fields::new(record) {
            match field? {
                (1, value) => time = value.u64()?,
                (2, value) => number = value.u64()?,
                (3, value) => level = value.bytes()?,
                (5, value) => body = Some(value.bytes()?),
                (6, _) => attributes = true,
                (7, value) => dropped = value.u64()?,
                (8, value) => flags = value.u64()?,
                (9, value) => trace = value.bytes()?,
                (10, value) => span = value.bytes()?,
                (11, value) => observed = value.u64()?,
                (12, value) => name = value.bytes()?,
                _ => {}
            }
        }
        let keys = keys();
        batch.push_event(EventKind::Log);
        let own = if time_of(time).is_some() { time } else { observed };
        self.push_time(batch, Sym::TIMESTAMP, own);
        if let Some(ns) = time_of(own) {
            last(batch).set_time(ns);
        }
        if observed != own {
            self.push_time(batch, keys.observed, observed);
        }
        if level.is_empty() {
            if let Some(level) = (number as usize).checked_sub(1).and_then(|n| LEVELS.get(n / 4)) {
                push_clean(batch, Sym::LEVEL, level.as_bytes());
            }
        } else {
            self.push_text(batch, Sym::LEVEL, level);
        }
        if number != 0 {
            last(batch).push(keys.severity_number, Value::I64(number as i64));
        }
        self.service.push(batch, Sym::SERVICE, Holds::Text);
        if let Some(body) = body {
            self.text.clear();
            self.values.any(body, &mut self.text, 1)?;
            if self.text != b"null" {
                last(batch).push(Sym::MESSAGE, json::value_of(&self.text));
            }
        }
        self.push_id(batch, Sym::TRACE_ID, trace);
        self.push_id(batch, Sym::SPAN_ID, span);
        if flags != 0 {
            last(batch).push(keys.flags, Value::I64(flags as i64));
        }
        self.push_text(batch, keys.event_name, name);
        if attributes {
            self.push_attributes(batch, keys.attributes, record, 6)?;
        }
        if dropped != 0 {
            last(batch).push(keys.dropped_attributes, Value::I64(dropped as i64));
        }
        self.resource.push(batch, keys.resource, Holds::Object);
        self.scope.push(batch, keys.scope, Holds::Object);
        Ok(())
    }
}

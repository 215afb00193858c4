//! The time of an event as it is sent.

use crate::event::{EventRef, FieldPath, Sym, Value};
use crate::time::{TimestampReader, Zone};

/// Finds the time of events: in a field, else what a component has read, else `_timestamp`, else when it was received.
#[derive(Debug, Clone)]
pub struct EventTime {
    field: FieldPath,
    /// The field is the one that other components read the event's time from.
    is_default: bool,
    reader: TimestampReader,
}

impl EventTime {
    /// Of this field; `reader` reads times that are text or numbers.
    pub fn new(field: FieldPath, reader: TimestampReader) -> Self {
        let is_default = field.first() == Some(Sym::TIMESTAMP) && field.rest().is_empty();
        EventTime { field, is_default, reader }
    }

    /// Of this field; texts without a zone are in `zone`.
    pub fn of(field: &FieldPath, zone: Zone) -> Self {
        Self::new(field.clone(), TimestampReader::new(zone, Vec::new()))
    }

    /// In nanoseconds since 1970 UTC.
    #[inline]
    pub fn ns(&self, event: EventRef<'_>) -> i64 {
        if self.is_default
            && let Some(ns) = event.time()
        {
            return ns;
        }
        self.look(event)
    }

    fn look(&self, event: EventRef<'_>) -> i64 {
        let now = event.batch().received_at;
        if let Some(ns) = event.get(&self.field).and_then(|v| self.read(v, now)) {
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
}

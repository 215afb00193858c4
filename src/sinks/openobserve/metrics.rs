//! Metric events as `ingest/metrics/_json` wants them.

use super::stream_name;
use crate::encoding::finite_number;
use crate::event::{EventRef, Sym, Value};
use crate::sinks::delivery::Unsendable;

/// The types that the server takes.
const TYPES: [&str; 4] = ["counter", "gauge", "histogram", "summary"];

/// Appends one sample. Labels come first, so that a label cannot stand for the name or the value: of two members with one
/// name the server takes the later.
pub(super) fn write(event: EventRef<'_>, micros: i64, body: &mut Vec<u8>) -> Result<(), Unsendable> {
    let fail = |detail: &str| Unsendable { reason: "encode", detail: detail.to_owned() };
    let Some(Value::Str(name)) = event.field(Sym::NAME) else { return Err(fail("the metric has no `name`")) };
    let value = event
        .field(Sym::VALUE)
        .and_then(finite_number)
        .ok_or_else(|| fail("the metric's `value` is not a finite number"))?;
    body.push(b'{');
    if let Some(Value::Object(labels)) = event.field(Sym::LABELS) {
        let inner = labels[1..labels.len().saturating_sub(1).max(1)].trim_ascii();
        if !inner.is_empty() {
            body.extend_from_slice(inner);
            body.push(b',');
        }
    }
    body.extend_from_slice(b"\"__name__\":\"");
    name.append_json(body);
    body.extend_from_slice(b"\",\"__type__\":\"");
    body.extend_from_slice(type_of(event).as_bytes());
    body.extend_from_slice(b"\",\"value\":");
    Value::F64(value).append_json(body);
    body.extend_from_slice(b",\"_timestamp\":");
    body.extend_from_slice(itoa::Buffer::new().format(micros).as_bytes());
    body.push(b'}');
    Ok(())
}

/// What the stream of a metric is known by in answers: the name that the server gives it. `name` is work space.
pub(super) fn tag(event: EventRef<'_>, name: &mut Vec<u8>) -> u64 {
    name.clear();
    if let Some(Value::Str(text)) = event.field(Sym::NAME) {
        text.append_text(name);
    }
    tag_of(name)
}

/// As [`tag`], of a name.
pub(super) fn tag_of(name: &mut Vec<u8>) -> u64 {
    stream_name::format(name, 0);
    xxhash_rust::xxh3::xxh3_64(name)
}

fn type_of(event: EventRef<'_>) -> &'static str {
    let Some(Value::Str(text)) = event.field(Sym::TYPE) else { return "gauge" };
    TYPES.into_iter().find(|t| text.bytes.eq_ignore_ascii_case(t.as_bytes())).unwrap_or("gauge")
}

//! Exemplars of metric events, as OpenMetrics shows them: `# {trace_id="…"} 0.67 1520879607.789` behind a sample.
//!
//! They come in the field `exemplars` of an event, as OTLP and remote write bring them. Those of a histogram stand beside its
//! count there, and are shown on the bucket that their value falls into. A later one takes an earlier one's place.
//!
//! Memory: at most [`MOST`] of a series, and [`MOST_OF_ALL`] of all; further ones are left out. Only OpenMetrics has them, on
//! buckets and on counters whose name ends with `_total`.

use super::names::write_number;
use super::names::{NameOf, push_label_value, push_name};
use crate::time::parse_rfc3339;
use serde_json::Value;

/// Most exemplars of one series.
pub(super) const MOST: usize = 32;
/// Most exemplars of all series.
pub(super) const MOST_OF_ALL: usize = 8192;
/// Characters that names and values of an exemplar's labels may have together.
/// Source: OpenMetrics 1.0.0, "Exemplars".
const MOST_CHARACTERS: usize = 128;

/// One measured value with what it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exemplar {
    /// As they stand between the braces.
    labels: Box<[u8]>,
    pub(super) value: f64,
    /// Nanoseconds since 1970 UTC; `None` where it has no time.
    pub(super) at: Option<i64>,
}

/// Reads the list in an event's field, what cannot be shown left out.
#[cold]
pub(super) fn read(list: &[u8]) -> Vec<Exemplar> {
    let list: Vec<Value> = serde_json::from_slice(list).unwrap_or_default();
    list.iter().filter_map(one).collect()
}

fn one(exemplar: &Value) -> Option<Exemplar> {
    let value = exemplar.get("value")?.as_f64().filter(|x| x.is_finite())?;
    let time = exemplar.get("timestamp").and_then(Value::as_str);
    let at = time.and_then(|text| parse_rfc3339(text.as_bytes())).map(|stamp| stamp.ns);
    let mut labels = Vec::new();
    let mut characters = 0;
    let mut add = |name: &str, value: &Value| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => return,
            other => other.to_string(),
        };
        let mut label = Vec::new();
        push_name(name.as_bytes(), NameOf::Label, &mut label);
        let length = label.len() + text.chars().count();
        let known =
            labels.split(|c| *c == b',').any(|l: &[u8]| l.starts_with(&label) && l.get(label.len()) == Some(&b'='));
        if text.is_empty() || characters + length > MOST_CHARACTERS || known {
            return;
        }
        characters += length;
        if !labels.is_empty() {
            labels.push(b',');
        }
        labels.extend_from_slice(&label);
        labels.extend_from_slice(b"=\"");
        push_label_value(text.as_bytes(), &mut labels);
        labels.push(b'"');
    };
    // What leads to the trace goes first: beyond the limit the rest is left out.
    for (field, name) in [("traceId", "trace_id"), ("spanId", "span_id")] {
        exemplar.get(field).into_iter().for_each(|value| add(name, value));
    }
    for group in ["labels", "attributes"] {
        exemplar.get(group).and_then(Value::as_object).into_iter().flatten().for_each(|(name, value)| add(name, value));
    }
    Some(Exemplar { labels: labels.into(), value, at })
}

/// Appends an exemplar behind its sample.
pub(super) fn write(exemplar: &Exemplar, out: &mut Vec<u8>) {
    out.extend_from_slice(b" # {");
    out.extend_from_slice(&exemplar.labels);
    out.extend_from_slice(b"} ");
    write_number(exemplar.value, out);
    if let Some(ns) = exemplar.at {
        let (seconds, nanos) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000));
        out.extend_from_slice(format!(" {seconds}.{nanos:09}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(list: &str) -> Vec<String> {
        let text = |exemplar: &Exemplar| {
            let mut out = Vec::new();
            write(exemplar, &mut out);
            String::from_utf8(out).unwrap()
        };
        read(list.as_bytes()).iter().map(text).collect()
    }

    #[test]
    fn exemplars_of_both_sources_are_shown() {
        let otlp = r#"[{"timestamp":"2026-05-04T03:02:01.25Z","value":0.5,"spanId":"00f0","traceId":"ab","attributes":{"user.id":7,"q":"a\"b"}}]"#;
        assert_eq!(shown(otlp), [r#" # {trace_id="ab",span_id="00f0",user_id="7",q="a\"b"} 0.5 1777863721.250000000"#]);
        let pushed =
            r#"[{"labels":{"trace_id":"x"},"value":2,"timestamp":"1970-01-01T00:00:01.000Z"},{"labels":{},"value":3}]"#;
        assert_eq!(shown(pushed), [r#" # {trace_id="x"} 2 1.000000000"#, " # {} 3"]);
    }

    #[test]
    fn what_is_too_long_is_left_out_and_what_is_none_too() {
        let long = format!(
            r#"[{{"value":1,"traceId":"{}","attributes":{{"x":"{}","y":"1"}}}}]"#,
            "a".repeat(32),
            "é".repeat(100)
        );
        assert_eq!(shown(&long), [format!(" # {{trace_id=\"{}\",y=\"1\"}} 1", "a".repeat(32))]);
        assert!(shown(r#"[{"value":"x"},{},7,{"value":null}]"#).is_empty());
        assert!(shown("nope").is_empty());
    }
}

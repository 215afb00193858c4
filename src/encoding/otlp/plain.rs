//! The encoder as one would write it down: each role looked for by its names, each message written with its length put in behind
//! it. Slow, and what the encoder is compared with.
#![allow(clippy::unwrap_used)]

use super::ids::severity;
use super::roles::{LOG, Role};
use super::{OtlpEncoder, time_of};
use crate::ack::Ack;
use crate::decoding::otlp::{Signal, to_json};
use crate::event::{Batch, EventRef, JsonRows, Origin, Slab, Sym, Value, json};
use crate::text::snake_case;
use crate::time::TimestampReader;
use crate::wire::protobuf::{push_bytes, push_fixed32, push_fixed64, push_message, push_number};
use proptest::prelude::*;

struct Plain {
    roles: Vec<(Sym, Role)>,
    reader: TimestampReader,
}

impl Plain {
    fn logs(body: Option<&str>) -> Plain {
        let mut roles: Vec<(Sym, Role)> = Vec::new();
        for (camel, role) in LOG {
            roles.push((Sym::from_config(camel), *role));
            roles.push((Sym::from_config(&snake_case(camel)), *role));
        }
        if let Some(body) = body {
            roles.retain(|(_, role)| *role != Role::Body);
            roles.push((Sym::from_config(body), Role::Body));
        }
        Plain { roles, reader: TimestampReader::default() }
    }

    fn get<'e>(&self, event: EventRef<'e>, role: Role) -> Option<Value<'e>> {
        let found = self.roles.iter().filter(|(_, r)| *r == role).find_map(|(sym, _)| event.field(*sym));
        found.filter(|value| *value != Value::Null)
    }

    fn write(&self, event: EventRef<'_>, time: i64) -> Vec<u8> {
        let mut out = Vec::new();
        push_message(1, &mut out, |out| {
            push_message(1, out, |out| self.resource(event, out));
            push_message(2, out, |out| {
                if let Some(Value::Object(scope)) = self.get(event, Role::Scope) {
                    push_message(1, out, |out| scope_of(scope, out));
                }
                push_message(2, out, |out| self.log(event, time, out));
            });
        });
        out
    }

    fn resource(&self, event: EventRef<'_>, out: &mut Vec<u8>) {
        let mut named = false;
        if let Some(Value::Object(resource)) = self.get(event, Role::Resource) {
            named = json::Children::new(resource).any(|c| json::key_is(&resource[c.key.0..c.key.1], b"service.name"));
            pairs(resource, 1, out);
        }
        if let (Some(service), false) = (self.get(event, Role::Service), named) {
            pair(b"service.name", service, 1, out);
        }
    }

    fn log(&self, event: EventRef<'_>, time: i64, out: &mut Vec<u8>) {
        push_fixed64(1, time.max(0) as u64, out);
        let level = self.get(event, Role::Level);
        let number = self.get(event, Role::SeverityNumber).and_then(|n| n.as_i64()).filter(|n| (1..=24).contains(n));
        if let Some(number) = number.or_else(|| severity(level?.as_str()?)) {
            push_number(2, number as u64, out);
        }
        text(level, 3, out);
        if let Some(body) = self.get(event, Role::Body) {
            push_message(5, out, |out| any_value(body, out));
        }
        self.attributes(event, out);
        if let Some(n) = self.get(event, Role::Dropped).and_then(|n| n.as_i64()) {
            push_number(7, n as u64, out);
        }
        if let Some(flags) = self.get(event, Role::Flags).and_then(|f| f.as_i64()) {
            push_fixed32(8, flags as u32, out);
        }
        for (role, len, number) in [(Role::TraceId, 16, 9), (Role::SpanId, 8, 10)] {
            if let Some(Value::Str(id)) = self.get(event, role)
                && is_id(id.bytes, len)
            {
                let digits = std::str::from_utf8(id.bytes).unwrap();
                let byte = |n: usize| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).unwrap();
                push_bytes(number, &(0..len).map(byte).collect::<Vec<u8>>(), out);
            }
        }
        let observed = self.get(event, Role::Observed);
        if let Some(observed) = observed.and_then(|v| time_of(v, &self.reader, event.batch().received_at)) {
            push_fixed64(11, observed.max(0) as u64, out);
        }
        text(self.get(event, Role::EventName), 12, out);
    }

    fn attributes(&self, event: EventRef<'_>, out: &mut Vec<u8>) {
        for i in 0..event.len() {
            let (key, value) = (event.key_text_at(i), event.value_at(i));
            let role = event.key_at(i).and_then(|key| self.roles.iter().find(|(sym, _)| *sym == key)).map(|r| r.1);
            match (role, value) {
                (_, Value::Null) => {}
                (Some(Role::Attributes), Value::Object(object)) => pairs(object, 6, out),
                (Some(Role::Resource | Role::Scope), Value::Object(_)) => {}
                (None | Some(Role::Resource | Role::Scope | Role::Attributes), value) => pair(key, value, 6, out),
                (Some(Role::TraceId), Value::Str(id)) if !id.bytes.is_empty() && !is_id(id.bytes, 16) => {
                    pair(key, value, 6, out);
                }
                (Some(Role::SpanId), Value::Str(id)) if !id.bytes.is_empty() && !is_id(id.bytes, 8) => {
                    pair(key, value, 6, out);
                }
                _ => {}
            }
        }
    }
}

fn is_id(digits: &[u8], bytes: usize) -> bool {
    digits.len() == 2 * bytes && digits.iter().all(u8::is_ascii_hexdigit)
}

fn scope_of(scope: &[u8], out: &mut Vec<u8>) {
    for child in json::Children::new(scope) {
        let key = &scope[child.key.0..child.key.1];
        match json::value_of(&scope[child.value.0..child.value.1]) {
            Value::Str(text) if key == b"name" => push_bytes(1, text.text(&mut Vec::new()), out),
            Value::Str(text) if key == b"version" => push_bytes(2, text.text(&mut Vec::new()), out),
            Value::Object(attributes) if key == b"attributes" => pairs(attributes, 3, out),
            _ => {}
        }
    }
}

fn text(value: Option<Value<'_>>, number: u32, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    match value {
        None | Some(Value::Null) => return,
        Some(Value::Str(value)) => value.append_text(&mut text),
        Some(value) => value.append_json(&mut text),
    }
    push_bytes(number, &text, out);
}

fn pairs(object: &[u8], number: u32, out: &mut Vec<u8>) {
    for child in json::Children::new(object) {
        let key = json::str_of(&object[child.key.0..child.key.1]);
        pair(key.text(&mut Vec::new()), json::value_of(&object[child.value.0..child.value.1]), number, out);
    }
}

fn pair(key: &[u8], value: Value<'_>, number: u32, out: &mut Vec<u8>) {
    push_message(number, out, |out| {
        push_bytes(1, key, out);
        push_message(2, out, |out| any_value(value, out));
    });
}

fn any_value(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Bool(b) => push_number(2, u64::from(b), out),
        Value::I64(n) => push_number(3, n as u64, out),
        Value::F64(x) => push_fixed64(4, x.to_bits(), out),
        Value::Number(_) => match (value.as_i64(), value.as_f64()) {
            (Some(n), _) => push_number(3, n as u64, out),
            (None, Some(x)) => push_fixed64(4, x.to_bits(), out),
            (None, None) => {}
        },
        Value::Timestamp(_) | Value::Str(_) => {
            let mut text = Vec::new();
            value.append_text(&mut text);
            push_bytes(1, &text, out);
        }
        Value::Array(items) => push_message(5, out, |out| {
            for child in json::Children::new(items) {
                let item = json::value_of(&items[child.value.0..child.value.1]);
                push_message(1, out, |out| any_value(item, out));
            }
        }),
        Value::Object(object) => push_message(6, out, |out| pairs(object, 1, out)),
    }
}

/// A member of an event: a name that means something in one spelling or the other, or any; and a value.
fn member() -> impl Strategy<Value = String> {
    let known: Vec<String> = LOG.iter().flat_map(|(name, _)| [(*name).to_owned(), snake_case(name)]).collect();
    let name = prop_oneof![
        4 => proptest::sample::select(known),
        2 => proptest::sample::select(vec!["seq", "kind", "parentSpanId", "text", "a.b", "é", "with \\\" quote"])
            .prop_map(str::to_owned),
        1 => "[a-z]{1,3}".prop_map(|name| format!("{name}{}", "x".repeat(130))),
    ];
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        (0u32..30).prop_map(|n| n.to_string()),
        Just("-0".to_owned()),
        Just("123456789012345678901".to_owned()),
        (any::<i32>(), 0..9i32).prop_map(|(n, e)| format!("{n}.5e{e}")),
        Just(r#""2026-01-02T03:04:05Z""#.to_owned()),
        Just(r#""""#.to_owned()),
        proptest::sample::select(vec!["WARN", "Information", "fatal", "loud"]).prop_map(|level| format!("\"{level}\"")),
        "[0-9a-fA-F]{32}".prop_map(|id| format!("\"{id}\"")),
        "[0-9a-g]{16}".prop_map(|id| format!("\"{id}\"")),
        r#"([a-z é]|\\n|\\u0041|\\"){0,90}"#.prop_map(|text| format!("\"{text}\"")),
        (120usize..140).prop_map(|n| format!("\"{}\"", "y".repeat(n))),
    ];
    let value = scalar.prop_recursive(3, 12, 4, |inner| {
        let name = proptest::sample::select(vec!["name", "version", "attributes", "service.name", "k\\u0065y", ""]);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            proptest::collection::vec((name, inner), 0..4).prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(k, v)| format!("\"{k}\" : {v}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    });
    (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"))
}

proptest! {
    /// Whatever an event has, in whatever spelling and however often, it becomes the same record.
    #[test]
    fn the_encoder_writes_what_the_plain_one_does(
        members in proptest::collection::vec(member(), 0..14),
        made in 0usize..5,
        body in proptest::sample::select(vec![None, Some("text"), Some("level"), Some("traceId"), Some("message")]),
        time in any::<i64>(),
    ) {
        let line = format!("{{{}}}", members.join(","));
        let mut batch = Batch::new(Slab::from_vec(line.clone().into()), Origin::of_source("in"), 1_000, Ack::none());
        JsonRows::default().push(&mut batch, 0, line.len(), 0).unwrap();
        // As components make them.
        let values = [Value::I64(7), Value::F64(1.5), Value::Timestamp(1_767_323_045_000_000_000), Value::from("a \"b\"\n")];
        if let Some(value) = values.get(made) {
            let mut event = batch.event_mut(0);
            ["service", "observed_timestamp", "n", "message"].iter().for_each(|key| event.set_field(Sym::from_config(key), *value));
        }
        let mut encoder = OtlpEncoder::logs(TimestampReader::default());
        if let Some(body) = body {
            encoder = encoder.with_body(Sym::from_config(body));
        }
        let (mut fast, slow) = (Vec::new(), Plain::logs(body).write(batch.event(0), time));
        encoder.write(batch.event(0), time, &mut fast).unwrap();
        prop_assert!(fast.len() <= slow.len());
        let (fast, slow) = (to_json(Signal::Logs, &fast).unwrap(), to_json(Signal::Logs, &slow).unwrap());
        prop_assert_eq!(String::from_utf8_lossy(&fast), String::from_utf8_lossy(&slow), "{}", line);
    }
}

//! Bodies against what one would write down: a map from labels to lines.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::settings::read_text;
use crate::sinks::delivery::bodies;
use crate::wire::protobuf::Fields;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};

/// Time and text of a line, and its metadata.
type Entry = (i64, Vec<u8>, Vec<(String, String)>);
/// Streams by their labels, in order.
type Streams = Vec<(BTreeMap<String, String>, Vec<Entry>)>;

fn sink(more: &str) -> Loki {
    let yaml = format!(
        "{{url: 'http://loki:3100', inputs: [in], labels: {{z: '{{{{ service }}}}', a: 'x-{{{{ level }}}}', no: '{{{{ no }}}}'}}, \
         max_label_values: 3, structured_metadata: [seq], {more}}}"
    );
    let (config, report) = read_text::<LokiConfig>("t.yaml", &yaml, &BTreeMap::new());
    let config = config.unwrap_or_else(|| panic!("{}", report.render()));
    config.connect(&"http://loki:3100".parse().unwrap(), Zone::UTC, &Mask::new([])).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// `{a="x-info", z="shop"}`, whose values are quoted as Go does it.
fn read_labels(labels: &str) -> BTreeMap<String, String> {
    let json = labels.replace(", ", ",").replace('{', "{\"").replace("=\"", "\":\"").replace("\",", "\",\"");
    serde_json::from_str(&json).unwrap_or_else(|e| panic!("{labels}: {e}"))
}

fn read_protobuf(body: &[u8]) -> Streams {
    let mut streams = Vec::new();
    for stream in Fields::new(body) {
        let (mut labels, mut entries) = (BTreeMap::new(), Vec::new());
        for field in Fields::new(stream.unwrap().1.bytes().unwrap()) {
            let (number, value) = field.unwrap();
            let value = value.bytes().unwrap();
            if number == 1 {
                labels = read_labels(&text(value));
                continue;
            }
            let mut entry: Entry = Default::default();
            for field in Fields::new(value) {
                let (number, value) = field.unwrap();
                let value = value.bytes().unwrap();
                let mut inner = Fields::new(value).map(Result::unwrap);
                match number {
                    1 => inner.for_each(|(n, x)| entry.0 += x.i64().unwrap() * if n == 1 { NS_PER_SEC } else { 1 }),
                    2 => entry.1 = value.to_vec(),
                    _ => {
                        let mut next = || text(inner.next().unwrap().1.bytes().unwrap());
                        entry.2.push((next(), next()));
                    }
                }
            }
            entries.push(entry);
        }
        streams.push((labels, entries));
    }
    streams
}

fn read_json(body: &[u8]) -> Streams {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    let entry = |value: &serde_json::Value| {
        let metadata = value.get(2).and_then(|m| m.as_object()).into_iter().flatten();
        let metadata = metadata.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        (value[0].as_str().unwrap().parse().unwrap(), value[1].as_str().unwrap().into(), metadata)
    };
    let stream = |stream: &serde_json::Value| {
        let labels = serde_json::from_value(stream["stream"].clone()).unwrap();
        (labels, stream["values"].as_array().unwrap().iter().map(entry).collect())
    };
    body["streams"].as_array().unwrap().iter().map(stream).collect()
}

/// What the bodies must have in them.
#[derive(Default)]
struct Plain {
    seen: BTreeMap<&'static str, HashSet<String>>,
    overflows: u64,
}

impl Plain {
    fn labels(&mut self, event: &serde_json::Value) -> BTreeMap<String, String> {
        let value = |name: &str| event.get(name).and_then(|v| v.as_str()).unwrap_or_default();
        let mut overflows = false;
        let mut labels = BTreeMap::new();
        for (label, value) in [("z", value("service").to_owned()), ("a", format!("x-{}", value("level")))] {
            let seen = self.seen.entry(label).or_default();
            if value.is_empty() {
                continue;
            }
            let fits = seen.contains(&value) || seen.len() < 3;
            overflows |= !fits;
            labels.insert(label.to_owned(), if fits { value.clone() } else { "overflow".to_owned() });
            if fits {
                seen.insert(value);
            }
        }
        self.overflows += u64::from(overflows);
        labels
    }
}

fn line() -> impl Strategy<Value = String> {
    let service = proptest::sample::select(vec!["shop", "pay", "m\\u0061il", "q\\\"u", "five", ""]);
    let level = proptest::option::of(proptest::sample::select(vec!["info", "warn", "error", "debug"]));
    let message = "([a-z é]|\\\\n|\\\\\"){0,60}";
    (service, level, message, 0..100u32, 0..3_000_000_000i64).prop_map(|(service, level, message, seq, time)| {
        let level = level.map(|level| format!("\"level\":\"{level}\",")).unwrap_or_default();
        let time = time * 1_000_003;
        format!("{{ {level}\"service\":\"{service}\",\"seq\":{seq},\"message\":\"{message}\",\"timestamp\":{time}}} ")
    })
}

proptest! {
    // Each case has some hundred lines.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Every line is in its stream, in order, with time and metadata; streams as they came; and where the line is the event, the
    /// event is read back from it, also from a half of a body.
    #[test]
    fn bodies_hold_each_line_in_its_stream(
        lines in proptest::collection::vec(proptest::collection::vec(line(), 1..30), 1..6),
        form in 0usize..3,
        max_bytes in 200usize..4000,
    ) {
        let mut sink = sink(["format: protobuf", "format: json", "line: text"][form]);
        let batches: Vec<_> = lines.iter().map(|lines| bodies::batch(lines)).collect();
        let loads = bodies::of(&mut sink, &batches, max_bytes);
        let mut overflows = 0;
        sink.faults(&mut |_, n| overflows += n);
        let (mut plain, mut events) = (Plain::default(), lines.iter().flatten());
        let mut rendered = batches.iter().flat_map(|batch| batch.iter().map(|event| {
            let mut json = Vec::new();
            event.write_json(&mut json);
            json
        }));
        for load in loads {
            let mut want: Streams = Vec::new();
            for n in 0..load.len() {
                let line = events.next().unwrap();
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                let original = rendered.next().unwrap();
                let mut back = Vec::new();
                load.event_json(&sink, n, &mut back);
                prop_assert_eq!(text(&back), text(&original));
                let line = if form == 2 { event["message"].as_str().unwrap().into() } else { original };
                let ns = sink.times.ns(bodies::batch(std::slice::from_ref(&text(&back))).event(0));
                let entry = (ns, line, vec![("seq".to_owned(), event["seq"].to_string())]);
                let labels = plain.labels(&event);
                match want.iter_mut().find(|(other, _)| *other == labels) {
                    Some((_, entries)) => entries.push(entry),
                    None => want.push((labels, vec![entry])),
                }
            }
            let body = sink.finish(&load);
            prop_assert_eq!(if form == 1 { read_json(&body) } else { read_protobuf(&body) }, want);
            if load.is_divisible() {
                let whole: Vec<Vec<u8>> = (0..load.len()).map(|n| json_of(&load, &sink, n)).collect();
                let (first, second) = load.halves();
                let halves = [&first, &second].map(|half| (0..half.len()).map(|n| json_of(half, &sink, n)).collect::<Vec<_>>());
                prop_assert_eq!(halves.concat(), whole);
            }
        }
        prop_assert_eq!(events.next(), None);
        prop_assert_eq!(overflows, plain.overflows);
    }
}

fn json_of(load: &RequestBody<Mark>, sink: &Loki, n: usize) -> Vec<u8> {
    let mut json = Vec::new();
    load.event_json(sink, n, &mut json);
    json
}

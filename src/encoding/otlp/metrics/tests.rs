#![allow(clippy::unwrap_used)]
use super::*;
use crate::ack::Ack;
use crate::decoding::otlp::{Encoding, Request, Signal};
use crate::event::{Batch, JsonRows, Origin, Slab};
use proptest::prelude::*;

/// Metric events in one batch.
fn batch(lines: &[String]) -> Batch {
    let text = lines.join("\n");
    let mut batch = Batch::new(Slab::from_vec(text.into_bytes()), Origin::of_source("in"), 0, Ack::none());
    let (mut rows, mut at) = (JsonRows::default(), 0);
    for line in lines {
        rows.push(&mut batch, at, at + line.len(), 0).unwrap();
        at += line.len() + 1;
    }
    for row in 0..batch.rows() {
        batch.event_mut(row).set_kind(EventKind::Metric);
        batch.event_mut(row).set_time(TIME);
    }
    batch
}

/// 2025-01-10T10:00:00Z.
const TIME: i64 = 1_736_503_200_000_000_000;

fn line(event: EventRef<'_>) -> String {
    let mut line = Vec::new();
    event.write_json(&mut line);
    String::from_utf8(line).unwrap()
}

fn read(encoding: Encoding, body: Vec<u8>) -> (Vec<Batch>, usize) {
    let request = Request::read(Signal::Metrics, encoding, body, 1 << 20).unwrap();
    assert_eq!((request.summary().refused, &*request.summary().dropped), (0, &[][..]));
    let events = request.summary().events as usize;
    (request.into_batches(Origin::of_source("in"), 0).collect(), events)
}

/// What is written of a batch, and how many points that makes.
fn written(batch: &Batch) -> (Vec<u8>, usize) {
    let mut encoder = MetricEncoder::new(TimestampReader::default());
    let (mut body, mut points, mut riders) = (Vec::new(), 0, 0);
    for event in batch.iter() {
        let before = body.len();
        let more = encoder.write(event, event.time().unwrap(), &mut body).unwrap();
        assert_eq!(riders > 0, body.len() == before, "riders have no bytes of their own, and others have some");
        if riders == 0 {
            points += 1;
            riders = more;
        } else {
            riders -= 1;
        }
    }
    assert_eq!(riders, 0);
    (body, points)
}

/// Lines of events that come out of what was written of those that went in.
fn there_and_back(lines: &[String]) -> Vec<String> {
    let (body, _) = written(&batch(lines));
    read(Encoding::Protobuf, body).0.iter().flat_map(|batch| batch.iter().map(line).collect::<Vec<_>>()).collect()
}

#[test]
fn every_kind_of_point_comes_back_as_the_events_it_made() {
    let point = r#""timeUnixNano": "1736503200000000000", "startTimeUnixNano": "1736503100000000000",
        "attributes": [{"key": "zone", "value": {"stringValue": "e\"u"}}, {"key": "", "value": {"stringValue": "x"}}]"#;
    let request = format!(
        r#"{{"resourceMetrics": [{{"resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "shop"}}}}]}},
        "scopeMetrics": [{{"scope": {{"name": "lib", "version": "2"}}, "metrics": [
          {{"name": "queue", "description": "Jobs", "unit": "1", "gauge": {{"dataPoints": [{{"asInt": "12", {point}}}]}}}},
          {{"name": "hits", "sum": {{"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [{{"asDouble": 1.25, {point},
            "exemplars": [{{"asInt": "3", "timeUnixNano": "1736503200000000001", "spanId": "eee19b7ec3c1b174",
              "traceId": "5b8efff798038103d269b633813fc60c", "filteredAttributes": [{{"key": "u", "value": {{"intValue": 7}}}}]}}]}}]}}}},
          {{"name": "steps", "sum": {{"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [{{"asInt": 3, {point}}}]}}}},
          {{"name": "open", "sum": {{"aggregationTemporality": 2, "dataPoints": [{{"asInt": -3, {point}}}]}}}},
          {{"name": "lat", "unit": "s", "histogram": {{"aggregationTemporality": 2, "dataPoints": [{{"count": 6, "sum": 9.5, "min": 0.1,
            "max": 4, "bucketCounts": ["1", 2, "3"], "explicitBounds": [0.5, 2], {point}, "exemplars": [{{"asDouble": 4}}]}},
            {{"count": 2, "bucketCounts": [2], {point}}}]}}}},
          {{"name": "delta", "histogram": {{"aggregationTemporality": 1, "dataPoints": [{{"count": 1, "bucketCounts": [0, 1],
            "explicitBounds": [-1], "sum": -3, {point}}}]}}}},
          {{"name": "exp", "exponentialHistogram": {{"aggregationTemporality": 2, "dataPoints": [{{"count": 4, "sum": 5, "scale": -1,
            "zeroCount": 1, "positive": {{"offset": -1, "bucketCounts": [1, 2]}}, {point}}}]}}}},
          {{"name": "size", "summary": {{"dataPoints": [{{"count": 3, "sum": 6, "quantileValues": [{{"quantile": 0.5, "value": 2}},
            {{"quantile": 0.99, "value": 3}}], {point}}}, {{"count": 1, "sum": 2, {point}}}]}}}}]}}]}}]}}"#
    );
    let (batches, events) = read(Encoding::Json, request.into_bytes());
    let [ref batch] = batches[..] else { panic!("one batch") };
    let (body, points) = written(batch);
    // Queue, hits, steps, open, lat twice, delta, exp, size twice.
    assert_eq!((points, events), (10, 4 + 7 + 2 + 4 + 7 + 6));
    let before: Vec<String> = batch.iter().map(line).collect();
    let after: Vec<String> = read(Encoding::Protobuf, body).0[0].iter().map(line).collect();
    assert_eq!(after, before);
}

fn sample(name: &str, kind: &str, labels: &str, value: &str) -> String {
    format!(
        r#"{{"name":"{name}","value":{value},"type":"{kind}","labels":{labels},"timestamp":"2025-01-10T10:00:00.000Z","temporality":"cumulative"}}"#
    )
}

#[test]
fn parts_without_their_whole_keep_their_type() {
    let lines = [
        // No +Inf.
        sample("a_bucket", "histogram", r#"{"le":"1"}"#, "2"),
        sample("a_count", "histogram", "{}", "2"),
        // A count that says something else.
        sample("b_bucket", "histogram", r#"{"le":"+Inf"}"#, "2"),
        sample("b_count", "histogram", "{}", "3"),
        // Labels of another series between.
        sample("c_bucket", "histogram", r#"{"x":"1","le":"+Inf"}"#, "2"),
        sample("c_count", "histogram", r#"{"x":"2"}"#, "2"),
        // Counts that fall, and a bucket that is no count.
        sample("d_bucket", "histogram", r#"{"le":"1"}"#, "3"),
        sample("d_bucket", "histogram", r#"{"le":"+Inf"}"#, "2"),
        sample("d_count", "histogram", "{}", "2"),
        sample("e_bucket", "histogram", r#"{"le":"+Inf"}"#, "1.5"),
        sample("e_count", "histogram", "{}", "1.5"),
        sample("f_sum", "histogram", "{}", "-4.5"),
        // A sum with a label that only buckets have.
        sample("g_bucket", "histogram", r#"{"le":"+Inf"}"#, "2"),
        sample("g_sum", "histogram", r#"{"le":"1"}"#, "2.5"),
        sample("g_count", "histogram", "{}", "2"),
    ];
    assert_eq!(there_and_back(&lines), lines);
    let summaries = [sample("s", "summary", r#"{"quantile":"0.5"}"#, "2.5"), sample("s_count", "summary", "{}", "1")]
        .map(|l| l.replace(r#","temporality":"cumulative""#, ""));
    assert_eq!(there_and_back(&summaries), summaries);
}

#[test]
fn what_is_no_metric_is_refused_and_nothing_is_written() {
    let mut encoder = MetricEncoder::new(TimestampReader::default());
    for (event, why) in [
        (r#"{"value":1}"#, "name"),
        (r#"{"name":"","value":1}"#, "name"),
        (r#"{"name":"x"}"#, "value"),
        (r#"{"name":"x","value":"NaN"}"#, "value"),
        (r#"{"name":"x","value":[1]}"#, "value"),
    ] {
        let mut body = b"before".to_vec();
        let error = encoder.write(batch(&[event.to_owned()]).event(0), 0, &mut body).unwrap_err();
        assert!(error.0.contains(why) && body == b"before", "{event}: {}", error.0);
    }
}

/// A part of one of two metrics, or something that only looks like it.
fn any_sample() -> impl Strategy<Value = String> {
    let name =
        prop::sample::select(vec!["m_bucket", "m_sum", "m_count", "m_min", "m_max", "m", "n", "n_sum", "n_count"]);
    let kind = prop::sample::select(vec!["histogram", "summary", "counter", "gauge"]);
    let label = prop::sample::select(vec![
        "",
        r#""le":"1""#,
        r#""le":"+Inf""#,
        r#""quantile":"0.5""#,
        r#""z":"1","le":"+Inf""#,
    ]);
    (name, kind, label, 0..3u8)
        .prop_map(|(name, kind, label, value)| sample(name, kind, &format!("{{{label}}}"), &value.to_string()))
}

/// A histogram as decoders make it.
fn a_histogram() -> impl Strategy<Value = Vec<String>> {
    (0..3u8, 0..3u8, any::<bool>()).prop_map(|(low, high, sum)| {
        let mut out = vec![
            sample("m_bucket", "histogram", r#"{"le":"1"}"#, &low.to_string()),
            sample("m_bucket", "histogram", r#"{"le":"+Inf"}"#, &(low + high).to_string()),
        ];
        out.extend(sum.then(|| sample("m_sum", "histogram", "{}", "7")));
        out.push(sample("m_count", "histogram", "{}", &(low + high).to_string()));
        out
    })
}

proptest! {
    /// In whatever order parts come, whole or not: each event comes back, with name, labels, value and type.
    #[test]
    fn no_event_is_lost_however_parts_are_mixed(
        groups in prop::collection::vec(prop_oneof![any_sample().prop_map(|s| vec![s]), a_histogram()], 1..20)
    ) {
        let lines = groups.concat();
        let identity = |lines: &[String]| {
            let mut all: Vec<String> = lines.iter().map(|line| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                format!("{} {} {} {}", event["name"], event["type"], event["labels"], event["value"].as_f64().unwrap())
            }).collect();
            all.sort();
            all
        };
        prop_assert_eq!(identity(&there_and_back(&lines)), identity(&lines));
    }
}

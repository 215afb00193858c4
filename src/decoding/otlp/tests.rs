#![allow(clippy::unwrap_used)]
use super::*;
use crate::ack::Ack;
use crate::event::Slab;
use crate::wire::protobuf::{push_bytes, push_fixed64, push_message, push_number};
use proptest::prelude::*;

/// Longest event.
const MOST: usize = 1 << 20;

/// The events of a request as JSON lines, with what is said of it.
fn read(signal: Signal, encoding: Encoding, body: &[u8]) -> Result<(Vec<String>, Summary), Malformed> {
    let request = Request::read(signal, encoding, body.to_vec(), MOST)?;
    let summary = request.summary().clone();
    let mut lines = Vec::new();
    for batch in request.into_batches(Origin::of_source("in"), 5) {
        assert_eq!((&*batch.origin.source, batch.received_at), ("in", 5));
        for event in batch.iter() {
            let mut line = Vec::new();
            event.write_json(&mut line);
            lines.push(String::from_utf8(line).unwrap());
        }
    }
    assert_eq!(lines.len() as u64, summary.events);
    Ok((lines, summary))
}

fn json(signal: Signal, body: &str) -> (Vec<String>, Summary) {
    read(signal, Encoding::Json, body.as_bytes()).unwrap()
}

const LOG: &str = r#"{"resourceLogs": [{"resource": {"attributes": [
    {"key": "service.name", "value": {"stringValue": "shop \"1\""}}, {"key": "host.cpus", "value": {"intValue": "4"}}]},
  "scopeLogs": [{"scope": {"name": "lib", "version": "1.2", "attributes": [{"key": "s", "value": {"boolValue": true}}]},
    "logRecords": [
      {"timeUnixNano": "1736503200123456789", "observedTimeUnixNano": 1736503201000000000, "severityNumber": 9,
       "severityText": "Information", "body": {"stringValue": "hello\nworld"}, "traceId": "5b8efff798038103d269b633813fc60c",
       "spanId": "EEE19B7EC3C1B174", "flags": 1, "eventName": "greeting", "unknown": {"a": [1, {"b": null}]},
       "attributes": [{"key": "d", "value": {"doubleValue": 1.5}}, {"key": "n", "value": {"doubleValue": "NaN"}},
         {"key": "list", "value": {"arrayValue": {"values": [{"intValue": -7}, {"stringValue": "x"}, {}]}}},
         {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"bytesValue": "AAEC"}}]}}}]},
      {"observed_time_unix_nano": "1736503201000000000", "severity_number": "SEVERITY_NUMBER_ERROR2",
       "body": {"kvlistValue": {"values": [{"key": "a", "value": {"intValue": 1}}]}}, "attributes": null}]}]}]}"#;

#[test]
fn log_records_become_events_with_what_they_share() {
    let (lines, summary) = json(Signal::Logs, LOG);
    assert_eq!(
        lines,
        [
            concat!(
                r#"{"timestamp":"2025-01-10T10:00:00.123456789Z","observedTimestamp":"2025-01-10T10:00:01.000Z","#,
                r#""level":"Information","severityNumber":9,"service":"shop \"1\"","message":"hello\nworld","#,
                r#""traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","flags":1,"eventName":"greeting","#,
                r#""attributes":{"d":1.5,"n":"NaN","list":[-7,"x",null],"map":{"k":"AAEC"}},"#,
                r#""resource":{"service.name":"shop \"1\"","host.cpus":4},"#,
                r#""scope":{"name":"lib","version":"1.2","attributes":{"s":true}}}"#
            ),
            concat!(
                r#"{"timestamp":"2025-01-10T10:00:01.000Z","level":"ERROR","severityNumber":18,"service":"shop \"1\"","#,
                r#""message":{"a":1},"resource":{"service.name":"shop \"1\"","host.cpus":4},"#,
                r#""scope":{"name":"lib","version":"1.2","attributes":{"s":true}}}"#
            ),
        ]
    );
    assert_eq!(summary, Summary { events: 2, ..Summary::default() });
}

#[test]
fn spans_have_the_canonical_names() {
    let (lines, _) = json(
        Signal::Traces,
        r#"{"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
        "scopeSpans": [{"spans": [{"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174",
        "parentSpanId": "EEE19B7EC3C1B173", "name": "GET /", "kind": 2, "startTimeUnixNano": "1736503200000000000",
        "endTimeUnixNano": "1736503200001500000", "attributes": [{"key": "http.method", "value": {"stringValue": "GET"}}],
        "events": [{"timeUnixNano": "1736503200000000001", "name": "retry", "attributes": [{"key": "n", "value": {"intValue": 2}}]}, {}],
        "links": [{"traceId": "5b8efff798038103d269b633813fc60d", "spanId": "eee19b7ec3c1b175"}],
        "status": {"code": "STATUS_CODE_ERROR", "message": "no"}, "traceState": "a=b"},
        {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b176", "parentSpanId": "", "name": "x",
         "startTimeUnixNano": 1736503200000000000, "endTimeUnixNano": 1736503202000000000, "status": {}}]}]}]}"#,
    );
    assert_eq!(
        lines,
        [
            concat!(
                r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","parentSpanId":"eee19b7ec3c1b173","#,
                r#""operationName":"GET /","startTime":"2025-01-10T10:00:00.000Z","endTime":"2025-01-10T10:00:00.001500Z","#,
                r#""duration":1.5,"tags":{"http.method":"GET"},"#,
                r#""logs":[{"timestamp":"2025-01-10T10:00:00.000000001Z","name":"retry","attributes":{"n":2}},{}],"#,
                r#""status":{"code":2,"message":"no"},"service":"shop","kind":"SERVER","#,
                r#""links":[{"traceId":"5b8efff798038103d269b633813fc60d","spanId":"eee19b7ec3c1b175"}],"#,
                r#""traceState":"a=b","resource":{"service.name":"shop"}}"#
            ),
            concat!(
                r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b176","operationName":"x","#,
                r#""startTime":"2025-01-10T10:00:00.000Z","endTime":"2025-01-10T10:00:02.000Z","duration":2000,"#,
                r#""status":{"code":0},"service":"shop","resource":{"service.name":"shop"}}"#
            ),
        ]
    );
}

/// Name, value, type, temporality, and labels of each event.
fn samples(lines: &[String]) -> Vec<String> {
    let parsed = lines.iter().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let text = |v: &serde_json::Value| v.as_str().unwrap_or("-").to_owned();
    parsed
        .map(|e| {
            let labels = e["labels"].as_object().unwrap().iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap()));
            let labels = labels.collect::<Vec<_>>().join(",");
            format!("{} {} {} {} {{{labels}}}", text(&e["name"]), e["value"], text(&e["type"]), text(&e["temporality"]))
        })
        .collect()
}

fn metrics(of: &str) -> (Vec<String>, Summary) {
    json(
        Signal::Metrics,
        &format!(
            r#"{{"resourceMetrics": [{{"resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "shop"}}}},
            {{"key": "zone", "value": {{"intValue": 7}}}}]}}, "scopeMetrics": [{{"scope": {{"name": "lib"}}, "metrics": [{of}]}}]}}]}}"#
        ),
    )
}

#[test]
fn numbers_become_gauges_and_counters_with_all_labels() {
    let (lines, summary) = metrics(
        r#"{"name": "queue", "description": "Jobs", "unit": "1", "gauge": {"dataPoints": [
            {"timeUnixNano": "1736503200000000000", "asInt": "12", "attributes": [{"key": "zone", "value": {"stringValue": "eu"}}]},
            {"timeUnixNano": "1736503200000000000", "asDouble": "NaN"}, {"flags": 1}, {"attributes": []}]}},
          {"name": "hits", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [{"asDouble": 1.25}]}},
          {"name": "steps", "sum": {"aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA", "dataPoints": [{"asInt": -3}]}},
          {"name": "", "gauge": {"dataPoints": [{"asInt": 1}, {"asInt": 1}]}}, {"name": "nothing"}"#,
    );
    assert_eq!(
        lines[0],
        concat!(
            r#"{"name":"queue","value":12,"type":"gauge","#,
            r#""labels":{"zone":"eu","service.name":"shop","otel_scope_name":"lib"},"#,
            r#""unit":"1","description":"Jobs","timestamp":"2025-01-10T10:00:00.000Z"}"#
        )
    );
    assert_eq!(
        samples(&lines[1..]),
        [
            "hits 1.25 counter cumulative {service.name=shop,zone=7,otel_scope_name=lib}",
            "steps -3 gauge delta {service.name=shop,zone=7,otel_scope_name=lib}",
        ]
    );
    assert_eq!(summary.dropped, [("no_recorded_value", 1), ("not_finite", 1)]);
    assert_eq!((summary.refused, summary.why), (4, "a metric has no data, or data of an unknown kind"));
}

#[test]
fn histograms_and_summaries_become_what_prometheus_has() {
    let (lines, summary) = metrics(
        r#"{"name": "h", "histogram": {"aggregationTemporality": 1, "dataPoints": [{"count": 6, "sum": 9.5, "min": 0.1, "max": 4,
            "bucketCounts": ["1", 2, "3"], "explicitBounds": [0.5, 2], "exemplars": [{"asDouble": 4, "traceId": "0a"}]},
            {"count": "1", "bucketCounts": [1], "explicitBounds": [1, 2]}]}},
          {"name": "e", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [{"count": 4, "scale": -1, "zeroCount": 1,
            "positive": {"offset": -1, "bucketCounts": [1, 2]}}]}},
          {"name": "s", "summary": {"dataPoints": [{"count": 3, "sum": 6, "quantileValues": [{"quantile": 0.5, "value": 2},
            {"quantile": 0.99, "value": "NaN"}]}]}}"#,
    );
    let rest = "service.name=shop,zone=7,otel_scope_name=lib";
    let expected = [
        "h_bucket 1 histogram delta {…,le=0.5}",
        "h_bucket 3 histogram delta {…,le=2}",
        "h_bucket 6 histogram delta {…,le=+Inf}",
        "h_min 0.1 gauge - {…}",
        "h_max 4.0 gauge - {…}",
        "h_sum 9.5 histogram delta {…}",
        "h_count 6 histogram delta {…}",
        "e_bucket 1 histogram cumulative {…,le=0}",
        "e_bucket 1 histogram cumulative {…,le=0.25}",
        "e_bucket 2 histogram cumulative {…,le=1}",
        "e_bucket 4 histogram cumulative {…,le=4}",
        "e_bucket 4 histogram cumulative {…,le=+Inf}",
        "e_count 4 histogram cumulative {…}",
        "s 2.0 summary - {…,quantile=0.5}",
        "s_sum 6.0 summary - {…}",
        "s_count 3 summary - {…}",
    ];
    assert_eq!(samples(&lines), expected.map(|line| line.replace('…', rest)));
    assert!(lines[6].contains(r#""exemplars":[{"value":4.0,"traceId":"0a"}]"#), "{}", lines[6]);
    assert_eq!((summary.refused, &*summary.dropped), (1, &[("not_finite", 1)][..]));
}

/// Logs of one record around which `here` stands: beside the resources, the scopes or the records.
fn around(place: usize, here: &str) -> String {
    let at = |n: usize| if n == place { here } else { "" };
    format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":"x"}}}}]{}}}]{}}}]{}}}"#,
        at(2),
        at(1),
        at(0)
    )
}

#[test]
fn what_stands_around_records_and_may_hold_some_is_refused_and_the_records_are_taken() {
    for place in 0..3 {
        for (here, refused) in [
            ("", 0),
            (r#","x":1,"y":null,"z":"text","e":[],"o":{},"s":["a",{}]"#, 0),
            (r#","x":{"logRecords":[{}]}"#, 1),
            (r#","resourceSpans":[{"scopeSpans":[]},{"scopeSpans":[]}],"x":[1,{"a":2}]"#, 3),
        ] {
            let (lines, summary) = json(Signal::Logs, &around(place, here));
            assert_eq!((lines.len(), summary.refused), (1, refused), "{place} {here}");
        }
        // As protocol buffers: a field that is not known and holds bytes.
        let mut body = Vec::new();
        let unknown = |n: usize, out: &mut Vec<u8>| {
            if n == place {
                push_bytes(77, b"\x0a\x01x", out);
                push_number(78, 7, out);
            }
        };
        push_message(1, &mut body, |out| {
            push_message(2, out, |out| {
                unknown(2, out);
                push_message(2, out, |out| push_number(2, 9, out));
            });
            unknown(1, out);
        });
        unknown(0, &mut body);
        let (lines, summary) = read(Signal::Logs, Encoding::Protobuf, &body).unwrap();
        assert_eq!((lines.len(), summary.refused, summary.why), (1, 1, UNKNOWN), "{place}");
    }
    // A request of another signal.
    let spans = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"x"}]}]}]}"#;
    assert_eq!(json(Signal::Logs, spans).1.refused, 1);
}

#[test]
fn libraries_that_know_no_scopes_yet_are_taken() {
    for (signal, text) in [
        (
            Signal::Logs,
            r#"{"resourceLogs":[{"instrumentationLibraryLogs":[{"instrumentationLibrary":{"name":"lib"},"logs":[{"severityText":"INFO"}]}]}]}"#,
        ),
        (
            Signal::Traces,
            r#"{"resourceSpans":[{"instrumentationLibrarySpans":[{"instrumentationLibrary":{"name":"lib"},"spans":[{"name":"x"}]}]}]}"#,
        ),
        (
            Signal::Metrics,
            r#"{"resource_metrics":[{"instrumentation_library_metrics":[{"instrumentation_library":{"name":"lib"},"metrics":[{"name":"x","gauge":{"data_points":[{"as_int":"7"}]}}]}]}]}"#,
        ),
    ] {
        let (lines, summary) = json(signal, text);
        assert_eq!((lines.len(), summary.refused), (1, 0), "{text}");
        assert!(lines[0].contains("lib"), "{}", lines[0]);
    }
    let mut body = Vec::new();
    push_message(1, &mut body, |out| {
        push_message(INSTRUMENTATION_LIBRARIES, out, |out| push_message(2, out, |out| push_number(2, 9, out)));
    });
    let (lines, summary) = read(Signal::Logs, Encoding::Protobuf, &body).unwrap();
    assert_eq!((lines.len(), summary.refused), (1, 0));
}

#[test]
fn parts_that_are_no_numbers_and_data_of_two_kinds_are_told() {
    let (lines, summary) = metrics(
        r#"{"name": "h", "histogram": {"dataPoints": [{"count": 1, "sum": "NaN", "min": "-Infinity", "max": 4}]}},
          {"name": "s", "summary": {"dataPoints": [{"count": 3, "sum": "Infinity"}]}},
          {"name": "two", "gauge": {"dataPoints": [{"asInt": 1}, {"asInt": 2}]}, "sum": {"dataPoints": [{"asInt": 3}]}},
          {"name": "odd", "intGauge": {"dataPoints": [{"value": 1}]}},
          {"name": "none", "gauge": {"dataPoints": []}}"#,
    );
    let names: Vec<_> = lines.iter().map(|l| l.split('"').nth(3).unwrap()).collect();
    assert_eq!(names, ["h_bucket", "h_max", "h_count", "s_count", "two"]);
    assert_eq!((summary.refused, &*summary.dropped), (3, &[("not_finite", 3)][..]));
}

#[test]
fn answers_say_what_was_refused_in_the_requests_encoding() {
    let nameless =
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"","gauge":{"dataPoints":[{"asInt":1}]}}]}]}]}"#;
    let request = Request::read(Signal::Metrics, Encoding::Json, nameless.into(), MOST).unwrap();
    let answer = r#"{"partialSuccess":{"rejectedDataPoints":"1","errorMessage":"a metric has no name"}}"#;
    assert_eq!(String::from_utf8(request.answer()).unwrap(), answer);
    let body = transcode::to_protobuf(Signal::Metrics, nameless.as_bytes()).unwrap().0;
    let request = Request::read(Signal::Metrics, Encoding::Protobuf, body, MOST).unwrap();
    let mut expected = Vec::new();
    push_message(1, &mut expected, |out| {
        push_number(1, 1, out);
        push_bytes(2, b"a metric has no name", out);
    });
    assert_eq!(request.answer(), expected);
    for (encoding, body, answer) in [(Encoding::Json, &b"{}"[..], &b"{}"[..]), (Encoding::Protobuf, b"", b"")] {
        assert_eq!(Request::read(Signal::Logs, encoding, body.to_vec(), MOST).unwrap().answer(), answer);
    }
    let failed = failure(Encoding::Json, Status::Unavailable, "not \"now\"");
    assert_eq!(failed, br#"{"code":14,"message":"not \"now\""}"#);
    assert_eq!(failure(Encoding::Protobuf, Status::InvalidArgument, "no"), b"\x08\x03\x12\x02no");
}

#[test]
fn content_types_name_the_encoding() {
    for (value, encoding) in [
        ("application/x-protobuf", Some(Encoding::Protobuf)),
        ("Application/JSON; charset=utf-8", Some(Encoding::Json)),
        ("text/plain", None),
        ("", None),
    ] {
        assert_eq!(Encoding::of_content_type(value), encoding, "{value}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_as_a_whole_with_the_reason() {
    for (body, why) in [
        ("", "not valid JSON"),
        ("[]", "another type"),
        ("{\"resourceLogs\": 1}", "another type"),
        ("{\"resourceLogs\": [] ", "not valid JSON"),
        ("{\"resourceLogs\": [],}", "not valid JSON"),
        ("{\"resourceLogs\": []} x", "not valid JSON"),
        ("{\"x\": [1,]}", "not valid JSON"),
        ("{\"x\": tru}", "not valid JSON"),
        ("{\"x\": \"\\u12\"}", "not valid JSON"),
        (r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"xyz0"}]}]}]}"#, "hexadecimal"),
        (r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"soon"}]}]}]}"#, "another type"),
        (r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"bytesValue":"?"}}]}]}]}"#, "base64"),
    ] {
        let error = read(Signal::Logs, Encoding::Json, body.as_bytes()).unwrap_err();
        assert!(error.0.contains(why), "{body}: {error}");
    }
    let deep = "[".repeat(300);
    let error = read(Signal::Logs, Encoding::Json, format!("{{\"x\":{deep}").as_bytes()).unwrap_err();
    assert!(error.0.contains("too deeply"), "{error}");
    // A good record, and a broken one behind it.
    let mut body = transcode::to_protobuf(Signal::Logs, LOG.as_bytes()).unwrap().0;
    body.extend_from_slice(b"\x0a\x7f");
    assert!(read(Signal::Logs, Encoding::Protobuf, &body).is_err());
}

#[test]
fn values_may_not_be_nested_without_end() {
    fn nested(depth: usize) -> Vec<u8> {
        let mut value = Vec::new();
        push_number(2, 1, &mut value);
        for _ in 0..depth {
            let inner = std::mem::take(&mut value);
            push_message(5, &mut value, |out| push_bytes(1, &inner, out));
        }
        let mut body = Vec::new();
        push_message(1, &mut body, |out| {
            push_message(2, out, |out| push_message(2, out, |out| push_bytes(5, &value, out)));
        });
        body
    }
    assert!(read(Signal::Logs, Encoding::Protobuf, &nested(60)).is_ok());
    let error = read(Signal::Logs, Encoding::Protobuf, &nested(20_000)).unwrap_err();
    assert!(error.0.contains("too deeply"), "{error}");
}

/// A request of `records` logs with `attributes` bytes of attributes in their resource.
fn many(records: u64, attributes: usize) -> Vec<u8> {
    let mut body = Vec::new();
    push_message(1, &mut body, |out| {
        push_message(1, out, |out| {
            push_message(1, out, |out| {
                push_bytes(1, b"big", out);
                push_message(2, out, |out| push_bytes(1, &vec![b'x'; attributes], out));
            });
        });
        push_message(2, out, |out| {
            for n in 0..records {
                push_message(2, out, |out| push_fixed64(1, 1_736_503_200_000_000_000 + n, out));
            }
        });
    });
    body
}

#[test]
fn a_large_request_comes_in_batches_that_share_their_resource() {
    let body = many(10_000, 1000);
    let request = Request::read(Signal::Logs, Encoding::Protobuf, body, MOST).unwrap();
    let batches: Vec<Batch> = request.into_batches(Origin::of_source("in"), 0).collect();
    assert!(batches.len() > 4, "{}", batches.len());
    assert!(batches.iter().all(|b| b.pinned_bytes() < 1 << 20));
    let attributes = format!("{{\"big\":\"{}\"}}", "x".repeat(1000));
    let resource = Sym::from_config("resource");
    for event in batches.iter().flat_map(Batch::iter) {
        assert_eq!(event.field(resource), Some(Value::Object(attributes.as_bytes())));
    }
    let last = batches.last().and_then(|b| b.iter().last()).unwrap();
    assert_eq!(last.time(), Some(1_736_503_200_000_009_999));
    // What would be a thousand times larger than what was sent is not taken.
    let error = Request::read(Signal::Logs, Encoding::Protobuf, many(10_000, 100_000), MOST).unwrap_err();
    assert!(error.0.contains("larger than the request"), "{error}");
}

#[test]
fn tables_with_room_left_by_a_large_batch_do_not_make_a_request_look_empty() {
    // More of them than any other test can take away meanwhile.
    for _ in 0..64 {
        let mut large = Batch::recycled(Slab::default(), Origin::of_source("in"), 0, Ack::none());
        large.push_event(crate::event::EventKind::Log);
        large.event_mut(0).push(Sym::MESSAGE, Value::from(&[b'x'; 900 << 10][..]));
        large.recycle();
    }
    let (lines, summary) = json(Signal::Logs, LOG);
    assert_eq!((lines.len(), summary.events), (2, 2));
}

#[test]
fn a_record_that_is_too_large_is_refused_alone() {
    let request = |value: &str| {
        let json = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"r","value":{"stringValue":"R"}}]},"scopeLogs":[{"logRecords":[
            {"body":{"stringValue":"small"}},{"body":{"stringValue":"B"}},{"body":{"stringValue":"small"}}]}]}]}"#;
        json.replace('B', value).into_bytes()
    };
    let read = |body, most| Request::read(Signal::Logs, Encoding::Json, body, most).unwrap().summary().clone();
    let refused = Summary { events: 2, refused: 1, why: TOO_LARGE, ..Summary::default() };
    assert_eq!(read(request(&"x".repeat(100)), 100), refused);
    assert_eq!(read(request("x"), 100).events, 3);
    let points = |most| {
        let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"long long name","gauge":{"dataPoints":[{"asInt":1}]}}]}]}]}"#;
        Request::read(Signal::Metrics, Encoding::Json, json.into(), most).unwrap().summary().clone()
    };
    assert_eq!((points(20).refused, points(200).events), (1, 1));
}

#[test]
fn invalid_utf8_is_replaced_and_counted() {
    let body = LOG.replace("hello", "h\u{1}llo").replace("greeting", "gr\u{7f}");
    let mut body = transcode::to_protobuf(Signal::Logs, body.replace('\u{1}', "").as_bytes()).unwrap().0;
    let at = memchr::memmem::find(&body, b"hllo").unwrap();
    body[at] = 0xff;
    let at = memchr::memmem::find(&body, b"gr\x7f").unwrap();
    body[at + 2] = 0xfe;
    let (lines, summary) = read(Signal::Logs, Encoding::Protobuf, &body).unwrap();
    assert!(lines[0].contains("\u{fffd}llo") && lines[0].contains("gr\u{fffd}"), "{}", lines[0]);
    assert_eq!(summary.invalid_utf8, 2);
    let (lines, summary) = read(
        Signal::Logs,
        Encoding::Json,
        b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"body\":{\"stringValue\":\"\xff\"}}]}]}]}",
    )
    .unwrap();
    assert_eq!((lines[0].as_str(), summary.invalid_utf8), ("{\"message\":\"\u{fffd}\"}", 1));
}

const SIGNALS: [Signal; 3] = [Signal::Logs, Signal::Metrics, Signal::Traces];

/// Text in a request, with what becomes of it: events, records refused, records dropped.
type Piece = (&'static str, [u64; 3]);

/// Records of logs and spans.
const RECORDS: &[Piece] = &[
    ("{}", [1, 0, 0]),
    (r#"{"name":"x","body":{"stringValue":"x"},"unknown":{"a":[1,{}]},"attributes":[]}"#, [1, 0, 0]),
    (r#"{"body":null,"attributes":null,"attributes":[{"key":"a"}],"traceId":""}"#, [1, 0, 0]),
    (r#"{"attributes":[{"key":"too large for one event, as a text of this length is to the test"}]}"#, [0, 1, 0]),
];

/// Metrics.
const METRICS: &[Piece] = &[
    (
        r#"{"name":"m","gauge":{"dataPoints":[{"asInt":1},{"asDouble":"NaN"},{},{"flags":1},{"asInt":"2","asDouble":1}]}}"#,
        [2, 1, 2],
    ),
    (
        r#"{"name":"m","sum":{"dataPoints":[{"asInt":1,"exemplars":[{"asDouble":1},{}]}],"dataPoints":[{"asInt":1}]}}"#,
        [2, 0, 0],
    ),
    (r#"{"name":"m","gauge":{"dataPoints":[{"asInt":1}]},"sum":{"dataPoints":[{"asInt":1},{}]}}"#, [1, 2, 0]),
    (
        r#"{"name":"m","histogram":{"dataPoints":[{"count":1},{"count":1,"sum":"NaN","max":1},{"bucketCounts":[1],"explicitBounds":[1,2]}]}}"#,
        [5, 1, 1],
    ),
    (
        r#"{"name":"m","histogram":{"dataPoints":[{"bucketCounts":[1,2,3],"explicitBounds":[2,1]},{"explicitBounds":["NaN"],"bucketCounts":[0,1]},{"flags":1}]}}"#,
        [0, 2, 1],
    ),
    (
        r#"{"name":"m","exponentialHistogram":{"dataPoints":[{"count":1,"zeroCount":1,"sum":"Infinity"},{"flags":3}]}}"#,
        [3, 0, 2],
    ),
    (
        r#"{"name":"m","summary":{"dataPoints":[{"count":1,"quantileValues":[{"quantile":0.5,"value":"NaN"},{"value":1}]}]}}"#,
        [3, 0, 1],
    ),
    (r#"{"name":"","gauge":{"dataPoints":[{"asInt":1},{"asInt":2}]}}"#, [0, 2, 0]),
    (r#"{"name":"m"}"#, [0, 1, 0]),
    (r#"{"name":"m","intGauge":{"dataPoints":[{"value":1}]}}"#, [0, 1, 0]),
    (r#"{"name":"m","gauge":{}}"#, [0, 0, 0]),
    (r#"{"name":"m","gauge":{"dataPoints":null},"unit":"s"}"#, [0, 0, 0]),
];

/// Members beside those that lead to records: text, and how many objects they have that may hold some.
const BESIDE: &[(&str, u64)] = &[
    ("", 0),
    ("", 0),
    (r#""schemaUrl":"http://x","x":1,"y":null,"#, 0),
    (r#""x":{},"y":[],"z":["a",{}],"#, 0),
    (r#""x":{"logRecords":[{}]},"#, 1),
    (r#""resourceOthers":[{"a":1},{"b":2}],"#, 2),
];

/// Scopes of a resource, each with members beside and places of records.
type Scopes = Vec<(usize, Vec<usize>)>;

fn resources() -> impl Strategy<Value = Vec<(usize, Scopes)>> {
    let records = prop::collection::vec(any::<prop::sample::Index>().prop_map(|i| i.index(1 << 16)), 0..4);
    let scopes = prop::collection::vec((0..BESIDE.len(), records), 0..3);
    prop::collection::vec((0..BESIDE.len(), scopes), 0..3)
}

/// A list as a member; an empty one in one of the ways that there are.
fn member_of(name: &str, items: &[String], way: usize) -> String {
    match (items, way) {
        ([], 0) => String::new(),
        ([], 1) => format!("\"{name}\":null"),
        _ => format!("\"{name}\":[{}]", items.join(",")),
    }
}

/// An object with these members beside those of a list.
fn object_of(beside: usize, list: &str) -> String {
    let text = format!("{{{}{list}}}", BESIDE[beside].0);
    text.replace(",}", "}")
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), json in any::<bool>()) {
        let encoding = if json { Encoding::Json } else { Encoding::Protobuf };
        for signal in SIGNALS {
            // An error is as good; the lines are checked to be valid where there are any.
            if let Ok((lines, _)) = read(signal, encoding, &bytes) {
                for line in lines {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{}", line);
                }
            }
        }
    }

    /// Every record of a request is one event or several, refused in the answer, or counted as dropped.
    #[test]
    fn nothing_of_a_request_goes_without_a_word(
        resources in resources(), way in 0usize..3, beside in 0..BESIDE.len(), signal in prop::sample::select(SIGNALS.to_vec()),
    ) {
        let (outer, middle, inner, table) = match signal {
            Signal::Logs => ("resourceLogs", "scopeLogs", "logRecords", RECORDS),
            Signal::Traces => ("resourceSpans", "scopeSpans", "spans", RECORDS),
            Signal::Metrics => ("resourceMetrics", "scopeMetrics", "metrics", METRICS),
        };
        let (mut expected, mut unknown) = ([0; 3], BESIDE[beside].1);
        let mut outers = Vec::new();
        for (beside, scopes) in &resources {
            unknown += BESIDE[*beside].1;
            let mut middles = Vec::new();
            for (beside, records) in scopes {
                unknown += BESIDE[*beside].1;
                let records: Vec<Piece> = records.iter().map(|n| table[n % table.len()]).collect();
                records.iter().for_each(|r| (0..3).for_each(|i| expected[i] += r.1[i]));
                let texts: Vec<String> = records.iter().map(|r| r.0.to_owned()).collect();
                middles.push(object_of(*beside, &member_of(inner, &texts, way)));
            }
            outers.push(object_of(*beside, &member_of(middle, &middles, way)));
        }
        let text = object_of(beside, &member_of(outer, &outers, way));
        let most = if signal == Signal::Metrics { 1000 } else { 60 };
        let (packed, passed_over) = transcode::to_protobuf(signal, text.as_bytes()).unwrap();
        prop_assert_eq!(passed_over, unknown, "{}", text);
        // As protocol buffers, what JSON only knew by name is not there.
        for (encoding, body, unknown) in [(Encoding::Json, text.clone().into_bytes(), unknown), (Encoding::Protobuf, packed, 0)] {
            let request = Request::read(signal, encoding, body, most).unwrap();
            let summary = request.summary().clone();
            let answer = request.answer();
            let batches = request.into_batches(Origin::of_source("in"), 0);
            let events: u64 = batches.map(|batch| batch.len() as u64).sum();
            let dropped: u64 = summary.dropped.iter().map(|d| d.1).sum();
            prop_assert_eq!([events, summary.refused, dropped], [expected[0], expected[1] + unknown, expected[2]], "{}", text);
            prop_assert_eq!(events, summary.events);
            if encoding == Encoding::Json {
                let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
                let told = answer["partialSuccess"].as_object().and_then(|p| p.values().next()?.as_str()?.parse().ok());
                prop_assert_eq!(told.unwrap_or(0), summary.refused);
            } else {
                prop_assert_eq!(answer.is_empty(), summary.refused == 0);
            }
        }
    }

    /// Requests that are nearly good: a byte changed, or an end cut off, of one that is good for some signal.
    #[test]
    fn damage_never_makes_it_panic_or_write_what_is_no_json(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(), json in any::<bool>(),
    ) {
        let encoding = if json { Encoding::Json } else { Encoding::Protobuf };
        for signal in SIGNALS {
            let mut body = LOG.as_bytes().to_vec();
            if !json {
                body = transcode::to_protobuf(Signal::Logs, &body).unwrap().0;
            }
            let at = at.index(body.len());
            body[at] = byte;
            if cut {
                body.truncate(at);
            }
            if let Ok((lines, _)) = read(signal, encoding, &body) {
                for line in lines {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{}", line);
                }
            }
        }
    }

    /// Any text in any place comes out as it went in.
    #[test]
    fn text_survives(body in ".{0,40}", key in ".{0,10}", value in ".{0,40}") {
        let request = serde_json::json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [
            {"body": {"stringValue": body}, "attributes": [{"key": key, "value": {"stringValue": value}}]}]}]}]});
        let (lines, _) = json(Signal::Logs, &request.to_string());
        let event: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        prop_assert_eq!(event["message"].as_str(), Some(body.as_str()));
        prop_assert_eq!(event["attributes"][&key].as_str(), Some(value.as_str()));
    }
}

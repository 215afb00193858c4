//! Logs, metrics and spans through the whole engine: in by OTLP and remote write, out to OpenObserve, Prometheus and files.

use crate::agent::{Agent, assert_balanced, config, eventually, get, gives_reason, ledger, lines};
use crate::http::Receiver;
use crate::openobserve_double::{Double, PASSWORD, Setup, USER, now_micros};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::process::{Command, Stdio};
use tidegate::internals::decoding::protobuf::{push_bytes, push_fixed64, push_message, push_number};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A request of OTLP in JSON: one resource with one scope, `records` under this key.
fn otlp(outer: &str, inner: &str, list: &str, records: &Json) -> Vec<u8> {
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "Shop"}}]});
    json!({outer: [{"resource": resource, inner: [{"scope": {"name": "lib"}, list: records}]}]})
        .to_string()
        .into_bytes()
}

/// An agent whose http source feeds `rest`, which may name the double's address as `O2`.
fn pipeline(double: &Double, rest: &str) -> Receiver {
    let dir = tempfile::tempdir().unwrap();
    let auth = format!("auth: {{basic: {{user: \"{USER}\", password: \"{PASSWORD}\"}}}}, healthcheck: false");
    let o2 = format!("type: openobserve, url: \"{}\", {auth}, batch: {{timeout: 20ms}}", double.url());
    let yaml = format!(
        "data_dir: ./data\nsources:\n  in: {{type: http, listen: \"127.0.0.1:0\"}}\n{}",
        rest.replace("O2", &o2)
    );
    config(dir.path(), &yaml);
    let agent = Agent::run(dir.path(), &["--log-format", "json"]);
    let mut address = String::new();
    eventually("it listens", || {
        let said = agent.said();
        let mut said = said.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        let Some(line) = said.find(|l| l["message"] == "listening" && l["component"] == "in") else { return false };
        address = line["address"].as_str().unwrap().split_once("://").unwrap().1.to_owned();
        true
    });
    Receiver { dir, agent, address }
}

const ALL: &str = "transforms:
  kinds:
    type: route
    inputs: [in]
    outputs: {logs: '@kind == \"log\"', metrics: '@kind == \"metric\"', spans: '@kind == \"trace\"'}
  log: {type: normalize, inputs: [kinds.logs], schema: log}
  metric: {type: normalize, inputs: [kinds.metrics], schema: metric}
  span: {type: normalize, inputs: [kinds.spans], schema: trace}
  fit: {type: validate, inputs: [span], schema: trace}
  measured: {type: validate, inputs: [metric], schema: metric}
  thin: {type: sample, inputs: [fit], rate: 0.5, key: traceId}
sinks:
  store: {O2, inputs: [log, measured, thin], stream: \"{{ service | default('none') }}\"}
  page: {type: prometheus, inputs: [measured], listen: \"127.0.0.1:0\"}
  bad: {type: file, inputs: [fit.rejected, measured.rejected, metric.rejected], path: ./bad}
";

#[test]
fn all_three_signals_of_otlp_are_shaped_checked_sampled_and_stored() {
    let double = Double::start(Setup::default());
    let receiver = pipeline(&double, &ALL.replace("'none'", "\\\"none\\\""));
    let now = now_micros() as u64 * 1000;
    let logs = json!([
        {"timeUnixNano": now.to_string(), "severityText": "warning", "body": {"stringValue": "low stock"},
         "attributes": [{"key": "sku", "value": {"intValue": "7"}}]},
        {"timeUnixNano": now, "severityNumber": 17, "body": {"kvlistValue": {"values": []}}}
    ]);
    let answer = receiver.post("/v1/logs", &[JSON], &otlp("resourceLogs", "scopeLogs", "logRecords", &logs));
    assert_eq!((answer.status, &*answer.body), (200, "{}"));
    let span = |trace: u64, span: u64| {
        json!({"traceId": format!("{:032x}", trace + 1), "spanId": format!("{:016x}", 16 * trace + span + 1), "name": "GET /",
            "kind": 2, "startTimeUnixNano": now.to_string(), "endTimeUnixNano": (now + 1_500_000).to_string()})
    };
    let mut spans: Vec<Json> = (0..400).map(|n| span(n / 4, n % 4)).collect();
    spans.push(
        json!({"traceId": "0a", "spanId": "0b", "name": "odd", "startTimeUnixNano": now, "endTimeUnixNano": now}),
    );
    let body = otlp("resourceSpans", "scopeSpans", "spans", &json!(spans));
    assert_eq!(receiver.post("/v1/traces", &[JSON], &body).status, 200);
    let point = |value: Json| json!({"timeUnixNano": now.to_string(), "asDouble": value, "attributes": [{"key": "zone", "value": {"stringValue": "eu"}}]});
    let metrics = json!([
        {"name": "hits.total", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point(json!(5))]}},
        {"name": "temp", "unit": "celsius", "gauge": {"dataPoints": [point(json!(-1.5)), point(json!("NaN")), {"flags": 1}]}},
        {"name": "steps", "sum": {"aggregationTemporality": 1, "dataPoints": [point(json!(2)), point(json!(3))]}},
        {"name": "lat", "histogram": {"aggregationTemporality": 2, "dataPoints": [{"timeUnixNano": now, "count": 3, "sum": 1.5,
            "bucketCounts": [1, 2], "explicitBounds": [0.5]}]}},
        {"name": "broken", "histogram": {"dataPoints": [{"count": 1, "bucketCounts": [1], "explicitBounds": [1]}]}}
    ]);
    let body = otlp("resourceMetrics", "scopeMetrics", "metrics", &metrics);
    // One way in is below an organization, as OpenObserve has it.
    let answer = receiver.post("/api/default/v1/metrics", &[JSON], &body);
    assert_eq!(answer.status, 200);
    let partial: Json = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(partial["partialSuccess"]["rejectedDataPoints"], json!("1"));

    // Logs.
    let stored = double.stored("shop");
    assert_eq!(stored.len(), 2);
    assert_eq!(
        (&stored[0]["level"], &stored[0]["message"], &stored[0]["service"]),
        (&json!("WARN"), &json!("low stock"), &json!("Shop"))
    );
    assert_eq!((&stored[0]["metadata_attributes_sku"], &stored[1]["level"]), (&json!(7), &json!("ERROR")));
    assert_eq!(stored[0]["_timestamp"].as_i64().unwrap(), now as i64 / 1000);
    // Spans, whole traces.
    let spans = double.spans("shop");
    let mut traces = std::collections::BTreeMap::<&str, u32>::new();
    for span in &spans {
        *traces.entry(span["traceId"].as_str().unwrap()).or_default() += 1;
        assert_eq!(
            (&span["operationName"], &span["kind"], &span["duration"]),
            (&json!("GET /"), &json!("SERVER"), &json!(1.5))
        );
        assert_eq!((&span["resource"]["service.name"], &span["scope"]["name"]), (&json!("Shop"), &json!("lib")));
    }
    assert!((25..75).contains(&traces.len()) && traces.values().all(|n| *n == 4), "{traces:?}");
    // Metrics, at OpenObserve and on the page.
    assert_eq!(double.metrics("hits_total")[0]["value"].as_f64(), Some(5.0));
    assert_eq!(double.metrics("lat_bucket").len(), 2);
    assert_eq!(double.metrics("temp")[0]["service_name"], json!("Shop"));
    let page = receiver.agent.said();
    let page = page.lines().filter_map(|l| serde_json::from_str::<Json>(l).ok());
    let page = page.filter(|l| l["component"] == "page").find_map(|l| Some(l["address"].as_str()?.to_owned()));
    let text = get(page.unwrap().trim_start_matches("http://"), "/metrics").1;
    let labels = r#"otel_scope_name="lib",service_name="Shop""#;
    for line in [
        format!(r#"hits_total{{{labels},zone="eu"}} 5"#),
        format!(r#"temp{{{labels},zone="eu"}} -1.5"#),
        format!(r#"steps{{{labels},zone="eu"}} 5"#),
        "# TYPE lat histogram".to_owned(),
        format!(r#"lat_bucket{{{labels},le="0.5"}} 1"#),
        format!(r#"lat_bucket{{{labels},le="+Inf"}} 3"#),
        format!("lat_count{{{labels}}} 3"),
        format!("lat_sum{{{labels}}} 1.5"),
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    let bad = lines(&receiver.dir.path().join("bad"));
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(bad[0].contains("\"odd\""), "{bad:?}");
    let said = receiver.agent.stop();
    assert_balanced(&said);
    // In: 2 logs, 401 spans, 8 samples and parts; a value that is none and one that says so. What the answer refused never
    // came in.
    let run_ledger = ledger(&said).into_iter().find(|(id, _)| id == "in").unwrap().1;
    assert_eq!(run_ledger, [413, 0, 411, 2, 0, 0], "{said}");
    for reason in ["no_recorded_value", "not_finite"] {
        assert!(gives_reason(&said, reason, 1), "{reason} in\n{said}");
    }
}

#[test]
fn remote_write_comes_out_as_the_series_that_went_in() {
    let double = Double::start(Setup::default());
    let rest = "sinks:\n  page: {type: prometheus, inputs: [in], listen: \"127.0.0.1:0\"}\n  out: {type: file, inputs: [in], path: ./out}\n";
    let receiver = pipeline(&double, rest);
    let mut request = Vec::new();
    for (name, job, value) in [("up", "a", 1.0), ("up", "b", 0.0), ("hits_total", "a", 12.5)] {
        push_message(1, &mut request, |out| {
            for (key, text) in [("__name__", name), ("job", job)] {
                push_message(1, out, |out| {
                    push_bytes(1, key.as_bytes(), out);
                    push_bytes(2, text.as_bytes(), out);
                });
            }
            push_message(2, out, |out| {
                push_fixed64(1, f64::to_bits(value), out);
                push_number(2, 1_736_503_200_000, out);
            });
        });
    }
    let packed = snap::raw::Encoder::new().compress_vec(&request).unwrap();
    let kind = ("content-type", "application/x-protobuf");
    let snappy = ("content-encoding", "snappy");
    let version = ("x-prometheus-remote-write-version", "0.1.0");
    let answer = receiver.post("/api/v1/write", &[kind, snappy, version], &packed);
    assert_eq!((answer.status, &*answer.body), (204, ""));
    assert_eq!(
        lines(&receiver.dir.path().join("out")),
        [
            r#"{"name":"up","value":1,"type":"gauge","labels":{"job":"a"},"timestamp":"2025-01-10T10:00:00.000Z"}"#,
            r#"{"name":"up","value":0,"type":"gauge","labels":{"job":"b"},"timestamp":"2025-01-10T10:00:00.000Z"}"#,
            r#"{"name":"hits_total","value":12.5,"type":"counter","labels":{"job":"a"},"timestamp":"2025-01-10T10:00:00.000Z"}"#,
        ]
    );
    // What it cannot be is refused, each as its clients expect, and nothing of it is taken.
    let v2 = ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request");
    for (headers, body, status) in [
        (vec![kind, snappy], b"no snappy".to_vec(), 400),
        (vec![kind, snappy], packed[..packed.len() - 1].to_vec(), 400),
        (vec![kind], request.clone(), 400),
        (vec![v2, snappy], packed.clone(), 415),
        (vec![JSON, snappy], packed.clone(), 415),
        (vec![kind, snappy], b"\xff\xff\xff\xff\x0f".to_vec(), 413),
    ] {
        let answer = receiver.post("/api/v1/write", &headers, &body);
        assert_eq!(answer.status, status, "{headers:?} {}", answer.body);
    }
    // Nobody else takes snappy.
    assert_eq!(receiver.post("/", &[JSON, snappy], &packed).status, 415);
    assert_eq!(lines(&receiver.dir.path().join("out")).len(), 3);
    let said = receiver.agent.stop();
    assert_balanced(&said);
}

#[test]
fn otlp_is_refused_in_its_own_words_and_encoding() {
    let dead = "{type: openobserve, inputs: [in], url: \"http://127.0.0.1:9\", organization: o, stream: s}";
    let receiver = Receiver::into(", acknowledge_timeout: 300ms, max_body: 10KiB", dead);
    let logs = otlp("resourceLogs", "scopeLogs", "logRecords", &json!([{"body": {"stringValue": "x"}}]));
    let answer = receiver.post("/v1/logs", &[JSON], &logs);
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(serde_json::from_str::<Json>(&answer.body).unwrap()["code"], json!(14));
    let answer = receiver.post("/v1/logs", &[JSON], &[b' '; 20_000]);
    assert_eq!((answer.status, serde_json::from_str::<Json>(&answer.body).unwrap()["code"].clone()), (413, json!(8)));
    let answer = receiver.post("/v1/logs", &[JSON], b"{\"resourceLogs\": [");
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body, r#"{"code":3,"message":"it is not valid JSON"}"#);
    let answer = receiver.post("/v1/traces", &[("content-type", "application/x-protobuf")], b"\x0a\x7f");
    assert_eq!((answer.status, &*answer.headers["content-type"]), (400, "application/x-protobuf"));
    assert_eq!(answer.body, "\u{8}\u{3}\u{12}\u{26}a field is longer than its message".replace('\u{26}', "\u{22}"));
    assert_eq!(receiver.post("/v1/logs", &[("content-type", "text/plain")], b"x").status, 415);
}

/// What OpenTelemetry's SDK for Python sends, field by field.
#[test]
fn what_the_sdk_of_opentelemetry_sends_arrives_as_it_was_meant() {
    let receiver = Receiver::start("");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/otel_shapes.py");
    let mut command = Command::new(crate::http_clients::python());
    command.arg(script).arg(format!("http://{}", receiver.address)).stderr(Stdio::inherit());
    let Ok(out) = command.output() else {
        println!("skipped: there is no Python");
        return;
    };
    assert!(out.status.success());
    let said: Json = serde_json::from_slice(&out.stdout).unwrap();
    if let Some(why) = said["skipped"].as_str() {
        println!("skipped: {why}");
        return;
    }
    let events: Vec<Json> =
        lines(&receiver.dir.path().join("out")).iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    let one = |key: &str, value: &str| {
        let mut found = events.iter().filter(|e| e[key] == value);
        let event = found.next().unwrap_or_else(|| panic!("{key} {value} in {events:#?}"));
        assert!(found.next().is_none(), "{key} {value} twice");
        event
    };
    let (parent, child) = (one("operationName", "parent"), one("operationName", "child"));
    let ns = |event: &Json, key: &str| {
        let time: jiff::Timestamp = event[key].as_str().unwrap().parse().unwrap();
        json!(time.as_nanosecond() as i64)
    };
    for (event, name) in [(parent, "parent"), (child, "child")] {
        let sent = &said[name];
        assert_eq!((&event["traceId"], &event["spanId"]), (&sent["traceId"], &sent["spanId"]));
        assert_eq!((ns(event, "startTime"), ns(event, "endTime")), (sent["start"].clone(), sent["end"].clone()));
        assert_eq!(event["resource"], json!({"service.name": "shop", "host.cpus": 4, "zones": ["a", "b"]}));
        assert_eq!(event["scope"], json!({"name": "shop.web", "version": "1.2"}));
    }
    assert_eq!(parent["tags"], json!({"http.method": "GET", "n": 7, "ok": true}));
    assert_eq!(
        (&parent["kind"], &parent["status"], &parent["service"]),
        (&json!("SERVER"), &json!({"code": 0}), &json!("shop"))
    );
    assert_eq!((&child["parentSpanId"], &child["kind"]), (&parent["spanId"], &json!("INTERNAL")));
    assert_eq!(child["status"], json!({"code": 2, "message": "no stock \u{2603}"}));
    assert_eq!((&child["logs"][0]["name"], &child["logs"][0]["attributes"]), (&json!("retry"), &json!({"attempt": 2})));
    let link = &child["links"][0];
    assert_eq!((&link["spanId"], &link["attributes"]), (&parent["spanId"], &json!({"why": "test"})));

    let log = one("message", "it failed");
    assert_eq!((&log["level"], &log["severityNumber"], &log["service"]), (&json!("ERROR"), &json!(17), &json!("shop")));
    assert_eq!(log["traceId"], said["logging"]["traceId"]);
    let attributes = &log["attributes"];
    assert_eq!((&attributes["order"], &attributes["tags"]), (&json!(17), &json!(["x", "y"])));
    assert_eq!(attributes["exception.type"], json!("ZeroDivisionError"));
    assert!(attributes["exception.stacktrace"].as_str().unwrap().contains("1 / 0"));

    assert_eq!(said["metrics"], "MetricExportResult.SUCCESS");
    let shared = r#""service.name":"shop","host.cpus":"4","zones":"[\"a\",\"b\"]","otel_scope_name":"shop.metrics""#;
    let labels = |event: &Json| event["labels"].to_string();
    let orders = one("name", "orders");
    assert_eq!(
        (&orders["value"], &orders["type"], &orders["temporality"]),
        (&json!(5), &json!("counter"), &json!("cumulative"))
    );
    assert_eq!((&orders["unit"], &orders["description"]), (&json!("1"), &json!("Orders")));
    assert_eq!(labels(orders), format!(r#"{{"kind":"new",{shared}}}"#));
    let open = one("name", "open");
    assert_eq!((&open["value"], &open["type"]), (&json!(-2), &json!("gauge")));
    assert_eq!((&one("name", "heat")["value"], &one("name", "heat")["labels"]["room"]), (&json!(21.5), &json!("1")));
    let buckets = |name: &str| -> Vec<(String, f64)> {
        let of_it = events.iter().filter(|e| e["name"] == name);
        of_it.map(|e| (e["labels"]["le"].as_str().unwrap().to_owned(), e["value"].as_f64().unwrap())).collect()
    };
    let expected = [("10", 1.0), ("100", 3.0), ("+Inf", 4.0)].map(|(le, n)| (le.to_owned(), n));
    assert_eq!(buckets("latency_bucket"), expected);
    assert_eq!(
        (&one("name", "latency_sum")["value"], &one("name", "latency_count")["value"]),
        (&json!(615.0), &json!(4))
    );
    assert_eq!(
        (&one("name", "latency_min")["value"], &one("name", "latency_max")["value"]),
        (&json!(5.0), &json!(500.0))
    );
    // Exponential: whatever the scale, each value lies at or below a bound that is near it.
    let sizes = buckets("sizes_bucket");
    let below = |x: f64| sizes.iter().filter(|(le, _)| le != "+Inf").find(|(le, _)| le.parse::<f64>().unwrap() >= x);
    for (value, count) in [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (4.0, 4.0), (1000.0, 5.0)] {
        let (le, n) = below(value).unwrap();
        assert_eq!(*n, count, "{value} at {le} in {sizes:?}");
        assert!(le.parse::<f64>().unwrap() <= value * 2.1, "{value} at {le}");
    }
    assert_eq!(sizes.last().unwrap(), &("+Inf".to_owned(), 5.0));
    receiver.agent.stop();
}

/// What goes out by OTLP, read by OpenTelemetry's own library: the metrics that its SDK has sent.
#[test]
fn metrics_that_go_out_by_otlp_are_what_the_sdk_has_sent() {
    let double = Double::start(Setup::default());
    let rest = "transforms:
  metric: {type: filter, inputs: [in], when: '@kind == \"metric\"'}
sinks:
  store: {O2, inputs: [metric], stream: \"s\", compression: none}
";
    let receiver = pipeline(&double, rest);
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let python = |script: &str, argument: &str| -> Option<Vec<Json>> {
        let mut command = Command::new(crate::http_clients::python());
        let out = command.arg(clients.join(script)).arg(argument).stderr(Stdio::inherit()).output().ok()?;
        assert!(out.status.success());
        let said = String::from_utf8(out.stdout).unwrap();
        let lines: Vec<Json> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let skipped = lines.iter().find_map(|line| Some(line.get("skipped")?.to_string()));
        if let Some(why) = &skipped {
            println!("skipped: {why}");
        }
        skipped.is_none().then_some(lines)
    };
    if python("otel_shapes.py", &format!("http://{}", receiver.address)).is_none() {
        return;
    }
    let mut metrics = Vec::new();
    for (n, post) in double.posts().iter().enumerate() {
        assert_eq!((post.path.as_str(), post.status), ("/api/default/v1/metrics", 200));
        let file = receiver.dir.path().join(format!("request-{n}"));
        std::fs::write(&file, &post.body).unwrap();
        metrics.extend(python("otlp_read.py", file.to_str().unwrap()).unwrap());
    }
    let one = |name: &str| {
        let mut found = metrics.iter().filter(|m| m["name"] == name);
        let metric = found.next().unwrap_or_else(|| panic!("{name} in {metrics:#?}"));
        assert!(found.next().is_none(), "{name} twice");
        let point = metric["dataPoints"][0].clone();
        assert!(point["timeUnixNano"].is_string());
        for (key, value) in [("service.name", "shop"), ("otel_scope_name", "shop.metrics")] {
            assert_eq!(point["attributes"][key], value, "{point}");
        }
        (metric.clone(), point)
    };
    assert_eq!(metrics.len(), 5, "one each: {metrics:#?}");
    let cumulative = json!("AGGREGATION_TEMPORALITY_CUMULATIVE");
    let (orders, point) = one("orders");
    assert_eq!((&orders["kind"], &orders["isMonotonic"]), (&json!("sum"), &json!(true)));
    assert_eq!((&orders["unit"], &orders["description"]), (&json!("1"), &json!("Orders")));
    assert_eq!((&point["asInt"], &point["attributes"]["kind"]), (&json!("5"), &json!("new")));
    let (open, point) = one("open");
    assert_eq!((&open["kind"], &open["aggregationTemporality"]), (&json!("sum"), &cumulative));
    assert!(open.get("isMonotonic").is_none() && point["asInt"] == "-2", "{open}");
    let (heat, point) = one("heat");
    assert_eq!((&heat["kind"], &point["asDouble"]), (&json!("gauge"), &json!(21.5)));
    let (latency, point) = one("latency");
    assert_eq!((&latency["kind"], &latency["aggregationTemporality"]), (&json!("histogram"), &cumulative));
    assert_eq!((&point["count"], &point["sum"]), (&json!("4"), &json!(615.0)));
    assert_eq!((&point["min"], &point["max"]), (&json!(5.0), &json!(500.0)));
    assert_eq!((&point["bucketCounts"], &point["explicitBounds"]), (&json!(["1", "2", "1"]), &json!([10.0, 100.0])));
    assert_eq!(point["attributes"]["path"], "/");
    let (sizes, point) = one("sizes");
    assert_eq!((&sizes["kind"], &point["count"]), (&json!("histogram"), &json!("5")));
    let counts: u64 =
        point["bucketCounts"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(counts, 5);
    receiver.agent.stop();
}

/// From one agent to another by OTLP: each metric arrives with its name, type, labels, value and times.
#[test]
fn from_agent_to_agent_by_otlp_every_metric_is_what_it_was() {
    let end = Receiver::start("");
    let sink = format!(
        "{{type: openobserve, inputs: [in], url: \"http://{}\", stream: s, healthcheck: false, batch: {{timeout: 20ms}}}}",
        end.address
    );
    let start = Receiver::into("", &sink);
    let point = |rest: &str| {
        let text = format!(
            r#"{{"timeUnixNano": "1736503200000000000", "startTimeUnixNano": "1736503100000000000",
            "attributes": [{{"key": "zone", "value": {{"stringValue": "eu"}}}}], {rest}}}"#
        );
        serde_json::from_str::<Json>(&text).unwrap()
    };
    let metrics = json!([
        {"name": "hits", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point(r#""asInt": 5"#)]}},
        {"name": "steps", "sum": {"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [point(r#""asDouble": 1.5"#)]}},
        {"name": "open", "sum": {"aggregationTemporality": 2, "dataPoints": [point(r#""asInt": -2"#)]}},
        {"name": "temp", "unit": "Cel", "description": "heat", "gauge": {"dataPoints": [point(r#""asDouble": -1.5"#)]}},
        {"name": "lat", "histogram": {"aggregationTemporality": 2, "dataPoints": [point(r#""count": 3, "sum": 1.5, "min": 0.1, "max": 1,
            "bucketCounts": [1, 2], "explicitBounds": [0.5], "exemplars": [{"asDouble": 1}]"#)]}},
        {"name": "exp", "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": [point(r#""count": 3, "scale": 0,
            "positive": {"offset": 0, "bucketCounts": [1, 2]}"#)]}},
        {"name": "size", "summary": {"dataPoints": [point(r#""count": 3, "sum": 6, "quantileValues": [{"quantile": 0.5, "value": 2}]"#)]}},
    ]);
    let body = otlp("resourceMetrics", "scopeMetrics", "metrics", &metrics);
    assert_eq!(start.post("/v1/metrics", &[JSON], &body).status, 200);
    let direct = Receiver::start("");
    assert_eq!(direct.post("/v1/metrics", &[JSON], &body).status, 200);
    let (came, sent) = (lines(&end.dir.path().join("out")), lines(&direct.dir.path().join("out")));
    assert_eq!(sent.len(), 4 + 6 + 5 + 3);
    assert_eq!(came, sent);
    start.agent.stop();
    end.agent.stop();
    direct.agent.stop();
}

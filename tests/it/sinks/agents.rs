//! From agent to agent: what comes out of the far one is what went into the near one, whoever is killed on the way.

use super::*;
use crate::agent::nobody;
use crate::http::Receiver;
use crate::openobserve_double::{Double, PASSWORD, Setup, USER};
use std::path::PathBuf;

/// Events with all that JSON has, and marks of redaction.
fn various() -> Vec<Json> {
    let text = r#"{"timestamp":"2026-01-02T03:04:05.678901234Z","n":0,"level":"WARN","service":"shop \"1\"","message":"a\nb\u0000 é😀 password=hunter2"}
{"timestamp":"2026-01-02T03:04:06Z","n":1,"price":1.10,"big":12345678901234567890,"exp":1e-7,"neg":-0.5,"yes":true,"no":false}
{"n":2,"timestamp":"2026-01-02T03:04:07.5Z","nested":{"a":[1,{"b":"c"},[]],"password":"x","empty":{}},"list":["x",2],"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}
{"n":3,"timestamp":"2026-01-02T03:04:08Z","message":"","key with blanks":"v","ключ":"знач","dots.in.it":1}"#;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the redacting sender passes on.
fn redacted() -> Vec<Json> {
    let mut events = various();
    events[0]["message"] = json!("a\nb\u{0} é😀 password=***");
    events[2]["nested"]["password"] = json!("***");
    events
}

/// Runs a sender with this sink to its end; all must be delivered.
fn send(sink: &str, events: &[Json]) {
    let dir = tempfile::tempdir().unwrap();
    let yaml = format!(
        "data_dir: ./data
sources: {{in: {{type: stdin, decode: json}}}}
transforms: {{clean: {{type: redact, inputs: [in], detect: [secrets]}}}}
sinks:
  out: {{inputs: [clean], concurrency: 1, batch: {{max_events: 100}}, dead_letter: rejects, {sink}}}
  rejects: {{type: file, path: ./rejects.ndjson}}
"
    );
    let run = run_in(dir, &yaml, events);
    assert_eq!((run.sink()[2], run.letters().len()), (events.len() as u64, 0), "{}", run.said);
}

/// What the receiver has written, in order.
fn received(receiver: &Receiver) -> Vec<Json> {
    lines(&receiver.dir.path().join("out")).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_event_and_field_comes_out_as_it_went_in_and_in_order() {
    for (door, sink, added) in [
        ("json", "type: http, url: \"http://ADDRESS/\"", &[][..]),
        ("openobserve", "type: openobserve, url: \"http://ADDRESS\", stream: s", &["_timestamp"]),
        ("elasticsearch", "type: elasticsearch, endpoints: \"http://ADDRESS\", index: i, id: none", &["@timestamp"]),
        ("elasticsearch", "type: elasticsearch, endpoints: \"http://ADDRESS\", index: i", &["@timestamp", "_id"]),
    ] {
        let receiver = Receiver::start(&format!(", paths: {{/: {door}}}"));
        let mut events = various();
        events.extend((4..500).map(|n| json!({"n": n, "timestamp": "2026-01-02T03:04:09Z"})));
        send(&sink.replace("ADDRESS", &receiver.address), &events);
        let mut came = received(&receiver);
        assert_eq!(came.iter().map(number).collect::<Vec<_>>(), (0..500).collect::<Vec<_>>(), "{sink}");
        let mut ids = std::collections::BTreeSet::new();
        for event in &mut came {
            for key in added {
                let value = event.as_object_mut().unwrap().remove(*key);
                ids.insert(value.unwrap_or_else(|| panic!("{sink}: no {key} in {event}")).to_string());
            }
        }
        assert!(!added.contains(&"_id") || ids.len() >= 500, "ids differ");
        for (event, want) in came.iter().zip(redacted()) {
            assert_eq!(event, &want, "{sink}");
        }
        // Numbers keep their spelling.
        let text = std::fs::read_to_string(receiver.dir.path().join("out")).unwrap();
        assert!(text.contains("\"price\":1.10") && text.contains("\"big\":12345678901234567890"), "{sink}");
    }
}

#[test]
fn by_otlp_every_field_comes_out_where_otlp_has_it() {
    for format in ["protobuf", "json"] {
        let receiver = Receiver::start(", paths: {/: otlp}");
        let mut events = various();
        // A number of more than 64 bits is a float there.
        events[1].as_object_mut().unwrap().remove("big");
        send(&format!("type: otlp, format: {format}, url: \"http://{}\"", receiver.address), &events);
        let mut want = redacted();
        want[1].as_object_mut().unwrap().remove("big");
        let mut came = received(&receiver);
        came.sort_by_key(|event| event["attributes"]["n"].as_u64());
        assert_eq!(came.len(), want.len());
        for (event, want) in came.iter().zip(&want) {
            let mut all = event["attributes"].as_object().cloned().unwrap_or_default();
            for (key, value) in event.as_object().unwrap() {
                if !["attributes", "resource", "severityNumber"].contains(&key.as_str()) {
                    all.insert(key.clone(), value.clone());
                }
            }
            let instant = |text: &Json| {
                text.as_str().map(|t| t.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.').to_owned())
            };
            for (key, value) in want.as_object().unwrap() {
                match key.as_str() {
                    "timestamp" => assert_eq!(instant(&all[key]), instant(value)),
                    "price" => assert_eq!(all[key].as_f64(), value.as_f64()),
                    // OTLP has no difference between an empty body and none.
                    "message" if value == "" => {}
                    _ => assert_eq!(all.get(key), Some(value), "{format}: {key} of {event}"),
                }
            }
        }
    }
}

/// Requests of all three signals, as an SDK sends them.
pub(super) const SIGNALS: [(&str, &str); 3] = [
    (
        "/v1/logs",
        r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}},{"key":"host.cpus","value":{"intValue":"4"}}]},"scopeLogs":[{"scope":{"name":"lib","version":"1"},"logRecords":[{"timeUnixNano":"1767323045123456789","severityNumber":13,"severityText":"WARN","body":{"stringValue":"one"},"attributes":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":"1"},{"boolValue":true}]}}}],"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"},{"timeUnixNano":"1767323045123456790","body":{"kvlistValue":{"values":[{"key":"k","value":{"doubleValue":1.5}}]}}}]},{"scope":{"name":"other"},"logRecords":[{"timeUnixNano":"1767323045123456791","body":{"stringValue":"two"}}]}]}]}"#,
    ),
    (
        "/v1/traces",
        r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","parentSpanId":"eee19b7ec3c1b173","name":"GET /","kind":2,"startTimeUnixNano":"1767323045000000000","endTimeUnixNano":"1767323045250000000","attributes":[{"key":"http.method","value":{"stringValue":"GET"}}],"events":[{"timeUnixNano":"1767323045100000000","name":"retry"}],"links":[{"traceId":"5b8efff798038103d269b633813fc60d","spanId":"eee19b7ec3c1b175"}],"status":{"code":2,"message":"no"}}]}]}]}"#,
    ),
    (
        "/v1/metrics",
        r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeMetrics":[{"metrics":[{"name":"requests","unit":"1","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{"asInt":"-3","timeUnixNano":"1767323045000000000","attributes":[{"key":"m","value":{"stringValue":"GET"}}]}]}},{"name":"took","histogram":{"aggregationTemporality":1,"dataPoints":[{"count":"3","sum":4.5,"min":0.5,"max":3,"bucketCounts":["1","2","0"],"explicitBounds":[1,5],"timeUnixNano":"1767323045000000000","startTimeUnixNano":"1767323044000000000"}]}},{"name":"temp","gauge":{"dataPoints":[{"asDouble":21.5,"timeUnixNano":"1767323045000000000"}]}}]}]}]}"#,
    ),
];

/// An agent that has got the requests by OTLP and sends them on to `url` by OTLP in this format, and to `more` sinks.
pub(super) fn with_signals(dir: &Path, format: &str, url: &str, more: &str) -> Agent {
    let yaml = format!(
        "data_dir: ./data
sources:
  in: {{type: http, listen: \"127.0.0.1:0\", paths: {{/: otlp}}}}
sinks:
  out: {{type: otlp, format: {format}, inputs: [in], url: \"{url}\", healthcheck: false, batch: {{timeout: 50ms}}}}{more}
"
    );
    config(dir, &yaml);
    let agent = Agent::run(dir, &[]);
    let mut address = String::new();
    eventually("it listens", || {
        address = agent.addresses().first().cloned().unwrap_or_default();
        !address.is_empty()
    });
    let address = address.split_once("://").map_or(address.clone(), |(_, a)| a.to_owned());
    for (path, body) in SIGNALS {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(crate::agent::PATIENCE)).unwrap();
        let headers = [("content-type", "application/json")];
        let answer = crate::http::request(&mut stream, "POST", path, &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "answered when the far end has it: {}", answer.body);
    }
    agent
}

#[test]
fn what_came_by_otlp_goes_on_by_otlp_as_it_came() {
    for format in ["protobuf", "json"] {
        let far = Receiver::start(", paths: {/: otlp}");
        let dir = tempfile::tempdir().unwrap();
        let more = "\n  copy: {type: file, inputs: [in], path: ./copy}";
        let agent = with_signals(dir.path(), format, &format!("http://{}", far.address), more);
        let sorted = |path: PathBuf| {
            let mut lines = lines(&path);
            lines.sort();
            lines
        };
        let near = sorted(dir.path().join("copy"));
        assert!(near.len() > 8, "{near:?}");
        assert_eq!(sorted(far.dir.path().join("out")), near, "{format}");
        agent.stop();
    }
}

/// A pipeline of the repository, with its own addresses and files.
fn pipeline(name: &str, change: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in change {
        assert!(text.contains(from), "{from} in {name}");
        text = text.replace(from, to);
    }
    text
}

#[test]
fn two_agents_that_are_killed_at_random_lose_nothing() {
    const EVENTS: u64 = 20_000;
    let double = Double::start(Setup { window: (1 << 20, 24), ..Setup::default() });
    let port = nobody().port().to_string();
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let quick = "dead_letter: rejects\n    retry: {initial: 10ms, max: 100ms}";
    let address = format!("http://localhost:{port}");
    config(
        near.path(),
        &pipeline(
            "agent.yaml",
            &[
                ("examples/data/*.ndjson", "./in.log"),
                ("${AGGREGATOR:-http://localhost:8098}", &address.replace("localhost", "127.0.0.1")),
                ("dead_letter: rejects", quick),
                ("concurrency: 1 ", "batch: {max_events: 200}\n    concurrency: 1 "),
            ],
        ),
    );
    config(
        far.path(),
        &pipeline(
            "aggregator.yaml",
            &[("127.0.0.1:8098", &format!("127.0.0.1:{port}")), ("dead_letter: rejects", quick)],
        ),
    );
    let start = |dir: &Path| {
        let mut command = tidegate(dir, &["run", "--config", "tidegate.yaml"]);
        command.env("O2_URL", double.url()).env("O2_USER", USER).env("O2_PASSWORD", PASSWORD);
        Agent::start(command)
    };
    let mut text = String::new();
    for n in 0..EVENTS {
        text.push_str(&json!({"timestamp": "2026-11-01T03:04:05Z", "service": "shop", "level": "INFO", "n": n, "message": format!("event {n} password=hunter{n}")}).to_string());
        text.push('\n');
    }
    std::fs::write(near.path().join("in.log"), text).unwrap();
    let archived = || {
        let files = std::fs::read_dir(far.path().join("out/aggregator")).into_iter().flatten().flatten();
        files.filter(|f| f.file_name() != "rejected.ndjson").flat_map(|f| lines(&f.path())).collect::<Vec<_>>()
    };
    let mut random = fastrand::Rng::with_seed(7);
    let mut agents = [Some(start(near.path())), Some(start(far.path()))];
    for _ in 0..10 {
        std::thread::park_timeout(Duration::from_millis(random.u64(50..400)));
        let victim = random.usize(0..2);
        if let Some(agent) = agents[victim].take() {
            agent.kill();
        }
        agents[victim] = Some(start([near.path(), far.path()][victim]));
    }
    let numbers = |events: &[Json]| events.iter().map(number).collect::<std::collections::BTreeSet<u64>>();
    let parsed = |lines: Vec<String>| lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect::<Vec<Json>>();
    eventually("all are in the archive", || numbers(&parsed(archived())).len() as u64 == EVENTS);
    eventually("all are at the server", || {
        let stored: Vec<Json> = double.stored("shop").into_iter().map(Json::Object).collect();
        numbers(&stored).len() as u64 == EVENTS
    });
    for event in parsed(archived()) {
        assert_eq!(event["message"], format!("event {} password=***", number(&event)));
    }
    for agent in agents.into_iter().flatten() {
        agent.stop();
    }
    assert!(lines(&near.path().join("out/agent/rejected.ndjson")).is_empty());
    assert!(lines(&far.path().join("out/aggregator/rejected.ndjson")).is_empty());
}

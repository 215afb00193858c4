//! The `otlp` sink against a double of a receiver, written from OTLP's specification, which reads requests with the agent's own
//! decoder; what the sink writes is also read by OpenTelemetry's definitions (`tests/clients/otlp_request.py`).

use super::*;
use tidegate::internals::decoding::otlp::{Encoding, Request, Signal};
use tidegate::internals::decoding::protobuf::{Fields, push_bytes, push_message, push_number};
use tidegate::internals::event::Origin;

pub(super) const KIND: Kind = Kind {
    name: "otlp",
    settings: "url: \"URL\"",
    auth: ("auth: {bearer: s3cret}", "Bearer s3cret"),
    compresses: "gzip",
    system,
};
pub(super) const KIND_JSON: Kind = Kind { settings: "url: \"URL\"\n    format: json", ..KIND };

fn events_of(asked: &Asked) -> Vec<Json> {
    let signal = match asked.path.as_str() {
        "/v1/logs" => Signal::Logs,
        "/v1/metrics" => Signal::Metrics,
        "/v1/traces" => Signal::Traces,
        other => panic!("{other}"),
    };
    let encoding = Encoding::of_content_type(asked.header("content-type")).unwrap();
    let request = Request::read(signal, encoding, asked.body.clone(), 1 << 20).unwrap();
    assert_eq!((request.summary().refused, &*request.summary().dropped), (0, &[][..]));
    let mut events = Vec::new();
    for batch in request.into_batches(Origin::of_source("double"), 0) {
        for event in batch.iter() {
            let mut text = Vec::new();
            event.write_json(&mut text);
            events.push(serde_json::from_slice(&text).unwrap());
        }
    }
    events
}

/// Takes a request; what has `poison` makes it a bad one, what has `rejected` is left out of it.
fn system(asked: &Asked, store: &mut Store) -> Reply {
    let events = events_of(asked);
    let has = |event: &Json, key: &str| !event["attributes"][key].is_null();
    if !store.mended && events.iter().any(|e| has(e, "poison")) {
        return reply(400, "{\"code\":3,\"message\":\"poison\"}");
    }
    let (bad, good): (Vec<Json>, Vec<Json>) = events.into_iter().partition(|e| has(e, "rejected"));
    for mut event in good {
        event["n"] = event["attributes"]["n"].clone();
        store.add(event);
    }
    let words = "too much of it";
    if bad.is_empty() {
        return reply(200, if asked.header("content-type").contains("json") { "{}" } else { "" });
    }
    if asked.header("content-type").contains("json") {
        let partial = json!({"partialSuccess": {"rejectedLogRecords": bad.len().to_string(), "errorMessage": words}});
        return reply(200, partial.to_string());
    }
    let mut body = Vec::new();
    push_message(1, &mut body, |body| {
        push_number(1, bad.len() as u64, body);
        push_bytes(2, words.as_bytes(), body);
    });
    // All of it is below 0x80, but for the length of a message.
    Reply { headers: vec![("Content-Type", "application/x-protobuf".into())], ..reply(200, latin(&body)) }
}

/// A body as text of the same bytes: lengths are written in five bytes with high bits, which are replaced by one.
fn latin(body: &[u8]) -> String {
    let mut fields = Fields::new(body);
    let (1, partial) = fields.next().unwrap().unwrap() else { panic!() };
    let partial = partial.bytes().unwrap();
    let mut out = vec![0x0a, u8::try_from(partial.len()).unwrap()];
    out.extend_from_slice(partial);
    String::from_utf8(out).unwrap()
}

#[test]
fn records_are_grouped_by_resource_and_scope() {
    let events = [
        json!({"n": 0, "service": "a", "resource": {"host": "h1"}, "scope": {"name": "lib"}}),
        json!({"n": 1, "service": "b"}),
        json!({"n": 2, "service": "a", "resource": {"host": "h1"}}),
        json!({"n": 3, "service": "a", "resource": {"host": "h1", "env": "own"}, "region": "eu"}),
        json!({"n": 4, "service": "a", "resource": {"host": "h1"}, "scope": {"name": "lib"}}),
    ];
    let server = KIND_JSON.server();
    let more = "resource: {env: prod, region: \"{{ region }}\", service.name: other}\n    scope: {name: tidegate, version: \"1\"}";
    KIND_JSON.run(&server, more, &events);
    let asked = server.wire.asked();
    assert_eq!(asked.len(), 1);
    let request: Json = serde_json::from_slice(&asked[0].body).unwrap();
    let attributes = |of: &Json| {
        let pairs = of["attributes"].as_array().cloned().unwrap_or_default();
        pairs
            .iter()
            .map(|p| (p["key"].as_str().unwrap().to_owned(), p["value"]["stringValue"].as_str().unwrap().to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    let groups: Vec<(BTreeMap<String, String>, Vec<(String, Vec<u64>)>)> = request["resourceLogs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| {
            let scopes = resource["scopeLogs"].as_array().unwrap().iter().map(|scope| {
                let numbers = scope["logRecords"].as_array().unwrap().iter().map(|record| {
                    let n = record["attributes"].as_array().unwrap().iter().find(|a| a["key"] == "n").unwrap();
                    n["value"]["intValue"].as_str().unwrap().parse().unwrap()
                });
                (scope["scope"]["name"].as_str().unwrap().to_owned(), numbers.collect())
            });
            (attributes(&resource["resource"]), scopes.collect())
        })
        .collect();
    let resource = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let scope = |name: &str, numbers: &[u64]| (name.to_owned(), numbers.to_vec());
    assert_eq!(
        groups,
        [
            (
                resource(&[("host", "h1"), ("service.name", "a"), ("env", "prod")]),
                vec![scope("lib", &[0, 4]), scope("tidegate", &[2])]
            ),
            (resource(&[("service.name", "b"), ("env", "prod")]), vec![scope("tidegate", &[1])]),
            (
                resource(&[("host", "h1"), ("env", "own"), ("service.name", "a"), ("region", "eu")]),
                vec![scope("tidegate", &[3])]
            ),
        ]
    );
}

#[test]
fn records_that_are_rejected_are_uncertain_and_never_sent_again() {
    for kind in [KIND, KIND_JSON] {
        let server = kind.server();
        let mut events = numbered(20);
        events[3]["rejected"] = json!(true);
        let run = kind.run(&server, "", &events);
        let letters = run.letters();
        assert_eq!(letters.len(), 20);
        let first = (letters[0].0.as_str(), letters[0].1.as_str());
        assert_eq!(first, ("uncertain", "sent 20, rejected 1: too much of it"));
        assert_eq!(server.wire.asked().len(), 1);
        // Where it is all of it, it is known which.
        let server = kind.server();
        let run = kind.run(&server, "", &events[3..4]);
        assert_eq!(run.letters()[0].0, "refused");
    }
}

#[test]
fn the_body_is_the_field_that_is_to_be_kept() {
    let server = KIND.server();
    KIND.run(&server, "keep: raw", &[json!({"n": 1, "message": "m", "raw": {"a": [1, "x"]}})]);
    let stored = &server.store.lock().unwrap().bodies[0];
    assert_eq!(stored["message"], json!({"a": [1, "x"]}));
    assert_eq!(stored["attributes"], json!({"n": 1, "message": "m"}));
}

/// A request as OpenTelemetry's definitions read it; `None` where they are not installed.
fn by_the_definitions(dir: &Path, signal: &str, format: &str, body: &[u8]) -> Option<Json> {
    let file = dir.join(format!("{signal}.{format}"));
    std::fs::write(&file, body).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/otlp_request.py");
    let mut command = std::process::Command::new(crate::http_clients::python());
    let out =
        command.arg(script).args([signal, format]).arg(&file).stderr(std::process::Stdio::inherit()).output().ok()?;
    assert!(out.status.success());
    let said: Json = serde_json::from_slice(&out.stdout).unwrap();
    if let Some(why) = said.get("skipped") {
        println!("skipped: {why}");
        return None;
    }
    Some(said)
}

/// The bodies that the sink makes of what came by OTLP, by signal.
fn forwarded(format: &str) -> BTreeMap<String, Vec<u8>> {
    let server = KIND.server_with(|_, _| Some(reply(200, "")));
    let dir = tempfile::tempdir().unwrap();
    let agent = super::agents::with_signals(dir.path(), format, &server.wire.url(), "");
    agent.stop();
    server.wire.asked().into_iter().map(|a| (a.path.trim_start_matches("/v1/").to_owned(), a.body)).collect()
}

#[test]
fn what_is_written_is_what_the_definitions_say() {
    let (binary, text) = (forwarded("protobuf"), forwarded("json"));
    assert_eq!((binary.len(), text.len()), (3, 3));
    let dir = tempfile::tempdir().unwrap();
    for (path, sent) in super::agents::SIGNALS {
        let signal = path.trim_start_matches("/v1/");
        let Some(read) = by_the_definitions(dir.path(), signal, "protobuf", &binary[signal]) else { return };
        assert_eq!(by_the_definitions(dir.path(), signal, "json", &text[signal]).unwrap(), read, "{signal}");
        let original = by_the_definitions(dir.path(), signal, "json", sent.as_bytes()).unwrap();
        match signal {
            // Resources of metrics are labels to the agent; the points are as they came.
            "metrics" => {
                assert_eq!(read["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap().len(), 3)
            }
            // The level and its number are said, where one of them was.
            "logs" => {
                let records = |request: &Json| {
                    let scopes = request["resourceLogs"][0]["scopeLogs"].as_array().unwrap().clone();
                    scopes.iter().map(|s| (s["scope"].clone(), s["logRecords"].clone())).collect::<Vec<_>>()
                };
                assert_eq!(records(&read), records(&original));
                assert_eq!(read["resourceLogs"][0]["resource"], original["resourceLogs"][0]["resource"]);
            }
            _ => assert_eq!(read, original),
        }
    }
}

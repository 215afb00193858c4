//! The `loki` sink against a double of its push interface, written from Loki's documents ("Loki HTTP API", "Label best
//! practices", and `push.proto`).

use super::*;
use tidegate::internals::decoding::protobuf::Fields;

pub(super) const KIND: Kind = Kind {
    name: "loki",
    settings: "url: \"URL\"\n    labels: {service: \"{{ service }}\", Level: \"{{ level }}\", gone: \"{{ nowhere }}\"}",
    auth: ("auth: {basic: {user: \"12\", password: s3cret}}", "Basic MTI6czNjcmV0"),
    compresses: "snappy",
    system,
};
pub(super) const KIND_JSON: Kind = Kind {
    settings: "url: \"URL\"\n    format: json\n    labels: {service: \"{{ service }}\", Level: \"{{ level }}\", gone: \"{{ nowhere }}\"}",
    compresses: "gzip",
    ..KIND
};

/// One line: labels of its stream, nanoseconds, text, metadata.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    stream: String,
    ns: i128,
    text: String,
    metadata: Vec<(String, String)>,
}

/// The lines of a request, in order.
fn read(asked: &Asked) -> Vec<Line> {
    match asked.header("content-type") {
        "application/json" => read_json(&asked.text()),
        "application/x-protobuf" => read_protobuf(&asked.body),
        other => panic!("{other}"),
    }
}

fn read_json(text: &str) -> Vec<Line> {
    let request: Json = serde_json::from_str(text).unwrap();
    let mut out = Vec::new();
    for stream in request["streams"].as_array().unwrap() {
        let labels: Vec<String> =
            stream["stream"].as_object().unwrap().iter().map(|(k, v)| format!("{k}={v}")).collect();
        for value in stream["values"].as_array().unwrap() {
            let metadata = value.get(2).map(|m| m.as_object().unwrap().clone()).unwrap_or_default();
            out.push(Line {
                stream: format!("{{{}}}", labels.join(", ")),
                // Strings: a number of this size is none in JavaScript.
                ns: value[0].as_str().unwrap().parse().unwrap(),
                text: value[1].as_str().unwrap().to_owned(),
                metadata: metadata.into_iter().map(|(k, v)| (k, v.as_str().unwrap().to_owned())).collect(),
            });
        }
    }
    out
}

fn read_protobuf(request: &[u8]) -> Vec<Line> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut out = Vec::new();
    for stream in Fields::new(request) {
        let (1, stream) = stream.unwrap() else { panic!("streams only") };
        let mut labels = String::new();
        for field in Fields::new(stream.bytes().unwrap()) {
            match field.unwrap() {
                (1, value) => labels = text(value.bytes().unwrap()),
                (2, entry) => {
                    let mut line = Line { stream: labels.clone(), ns: 0, text: String::new(), metadata: Vec::new() };
                    for field in Fields::new(entry.bytes().unwrap()) {
                        match field.unwrap() {
                            (1, time) => {
                                for part in Fields::new(time.bytes().unwrap()) {
                                    let (number, value) = part.unwrap();
                                    let scale = if number == 1 { 1_000_000_000 } else { 1 };
                                    line.ns += i128::from(value.i64().unwrap()) * scale;
                                }
                            }
                            (2, value) => line.text = text(value.bytes().unwrap()),
                            (3, pair) => {
                                let parts: Vec<String> = Fields::new(pair.bytes().unwrap())
                                    .map(|part| text(part.unwrap().1.bytes().unwrap()))
                                    .collect();
                                line.metadata.push((parts[0].clone(), parts[1].clone()));
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    out.push(line);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    out
}

/// Takes what it can, and answers 400 where a line is too old or poisoned; drops a line that it has.
fn system(asked: &Asked, store: &mut Store) -> Reply {
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/loki/api/v1/push"));
    let mut refused = String::new();
    for line in read(asked) {
        let event: Json = serde_json::from_str(&line.text).unwrap();
        if !store.mended && !event["poison"].is_null() {
            refused = format!("stream {} has poison", line.stream);
        } else if !event["late"].is_null() {
            refused = format!("entry for stream '{}' has timestamp too old: 2020-01-01T00:00:00Z", line.stream);
        } else if !store.events.contains_key(&number(&event)) {
            store.add(event);
        }
    }
    if refused.is_empty() { reply(204, "") } else { reply(400, refused) }
}

#[test]
fn lines_stand_in_their_streams_in_order_with_labels_times_and_metadata() {
    for kind in [KIND, KIND_JSON] {
        let server = kind.server();
        let events = [
            json!({"n": 0, "timestamp": "2026-01-02T03:04:05.123456789Z", "service": "a", "level": "INFO", "trace": {"id": "t1"}}),
            json!({"n": 1, "timestamp": "2026-01-02T03:04:06Z", "service": "b \"x\"\n", "level": "INFO"}),
            json!({"n": 2, "timestamp": "1969-12-31T23:59:59.5Z", "service": "a", "level": "INFO", "user": 7, "trace": {"id": "t2"}}),
            json!({"n": 3, "timestamp": "2026-01-02T03:04:08Z"}),
        ];
        kind.run(&server, "tenant: team\n    structured_metadata: [trace.id, user]", &events);
        let asked = server.wire.asked();
        assert_eq!((asked.len(), asked[0].header("x-scope-orgid")), (1, "team"));
        let line = |stream: &str, ns, n: usize, metadata: &[(&str, &str)]| Line {
            stream: stream.into(),
            ns,
            text: events[n].to_string(),
            metadata: metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        };
        let a = "{Level=\"INFO\", service=\"a\"}";
        let want = [
            line(a, 1_767_323_045_123_456_789, 0, &[("trace_id", "t1")]),
            line(a, -500_000_000, 2, &[("trace_id", "t2"), ("user", "7")]),
            line("{Level=\"INFO\", service=\"b \\\"x\\\"\\n\"}", 1_767_323_046_000_000_000, 1, &[]),
            line("{job=\"tidegate\"}", 1_767_323_048_000_000_000, 3, &[]),
        ];
        assert_eq!(read(&asked[0]), want, "{}", kind.compresses);
    }
}

#[test]
fn lines_that_are_too_old_go_to_the_dead_letter_as_late() {
    let server = KIND.server();
    let mut events = numbered(200);
    events[50]["late"] = json!(true);
    let run = KIND.run(&server, "", &events);
    let letters = run.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].0.as_str(), &letters[0].2), ("late", &events[50]));
    assert!(letters[0].1.contains("timestamp too old"), "{}", letters[0].1);
    assert_once(&server, (0..200).filter(|n| *n != 50), "the others");
}

#[test]
fn labels_with_too_many_values_are_put_under_overflow_and_counted() {
    let server = KIND.server();
    let events: Vec<Json> = (0..50).map(|n| json!({"n": n, "service": format!("s{}", n % 25)})).collect();
    let run = KIND.run(&server, "max_label_values: 10", &events);
    assert!(run.said.contains("label=\"service\"") || run.said.contains("label=service"), "{}", run.said);
    let streams: std::collections::BTreeSet<String> =
        server.wire.asked().iter().flat_map(read).map(|l| l.stream).collect();
    assert_eq!(streams.len(), 11, "{streams:?}");
    let overflow = server.wire.asked().iter().flat_map(read).filter(|l| l.stream == "{service=\"overflow\"}").count();
    assert_eq!(overflow, 30);
    assert_once(&server, 0..50, "all");
}

#[test]
fn lines_are_written_as_configured() {
    for (line, want) in [
        ("logfmt", "n=1 message=\"a b\" service=s"),
        ("text", "a b"),
        ("\"{{ service }}: {{ message }} {{ none }}\"", "s: a b "),
    ] {
        let server = KIND.server_with(|_, _| Some(reply(204, "")));
        KIND.run(&server, &format!("line: {line}"), &[json!({"n": 1, "message": "a b", "service": "s"})]);
        assert_eq!(read(&server.wire.asked()[0])[0].text, want, "{line}");
    }
}

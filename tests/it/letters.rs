//! Dead letters: every reason for which a record fails for good leads to one file, and `replay` feeds them back in.

use crate::agent::{Agent, assert_balanced, config, eventually, ledger, lines, nobody, output, tidegate};
use crate::openobserve_double::{Double, Fault, PASSWORD, Setup, USER, now_micros};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

fn write(path: &Path, events: &[Value]) {
    let mut file = std::fs::File::create(path).unwrap();
    for event in events {
        match event {
            Value::String(raw) => writeln!(file, "{raw}").unwrap(),
            event => writeln!(file, "{event}").unwrap(),
        }
    }
}

/// `run --once`: the exit code and what it said; the ledger balances.
#[track_caller]
fn once(dir: &Path) -> String {
    let (code, _, said) = output(tidegate(dir, &["run", "--once", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(0), "{said}");
    assert_balanced(&said);
    said
}

fn letters(dir: &Path) -> Vec<Value> {
    lines(&dir.join("rejects.ndjson")).iter().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// An instant in nanoseconds since 1970 UTC as text.
fn time_text(ns: i64, digits: u8) -> String {
    let mut text = Vec::new();
    tidegate::internals::time::write_rfc3339_utc(ns, digits, &mut text);
    String::from_utf8(text).unwrap()
}

/// Now, as letters say it.
fn time_now() -> String {
    time_text(now_micros() * 1000, 3)
}

/// Server, credentials, quick waits.
fn o2(url: &str, stream: &str, more: &str) -> String {
    format!(
        "{{type: openobserve, url: \"{url}\", stream: \"{stream}\", auth: {{basic: {{user: \"{USER}\", password: \"{PASSWORD}\"}}}}, healthcheck: false, retry: {{initial: 5ms, max: 20ms, max_elapsed: 300ms}}, batch: {{timeout: 20ms}}, dead_letter: rejects, {more}}}"
    )
}

#[test]
fn every_reason_for_good_leads_to_one_dead_letter_file_with_its_envelope() {
    let server = Double::start(Setup { payload_limit: 60_000, ..Setup::default() });
    server.script(|_, seen| {
        let refused = memchr::memmem::find(&seen.body, b"poison").is_some();
        refused.then(|| Fault::Answer(400, Vec::new(), format!("no: {PASSWORD}")))
    });
    let down = Double::start(Setup::default());
    down.script(|_, _| Some(Fault::Answer(503, Vec::new(), "down".into())));
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        &format!(
            "data_dir: ./data
sources:
  in: {{type: file, include: [./in.ndjson], decode: json, on_decode_error: reject, max_line_bytes: 8MiB}}
transforms:
  ways:
    type: route
    inputs: [in]
    outputs: {{template: 'way == \"template\"', metric: 'way == \"metric\"', shape: 'way == \"shape\"', quality: 'way == \"validate\"', encode: 'way == \"encode\"', stream: 'way == \"stream\"', path: 'way == \"path\"', late: 'way == \"late\"', gone: 'way == \"gone\"', huge: 'way == \"huge\"'}}
  context: {{type: enrich, inputs: [ways.template], fields: {{who: \"{{{{ nobody }}}}\"}}}}
  metric: {{type: normalize, inputs: [ways.metric], schema: metric}}
  quality: {{type: validate, inputs: [ways.quality], schema: log}}
  numbers: {{type: normalize, inputs: [ways.encode], schema: metric}}
sinks:
  o2: {o2}
  named: {named}
  late: {late}
  gone: {gone}
  buffered: {buffered}
  files: {{type: file, inputs: [ways.path], path: \"./out/{{{{ service }}}}.ndjson\", dead_letter: rejects}}
  page: {{type: prometheus, inputs: [numbers], listen: \"127.0.0.1:0\", dead_letter: rejects}}
  rejects: {{type: file, inputs: [in.rejected, context.rejected, metric.rejected, quality.rejected], path: ./rejects.ndjson}}
",
            o2 = o2(&server.url(), "s", "inputs: [ways.other, context, metric, quality]"),
            named = o2(&server.url(), "{{ service }}-logs", "inputs: [ways.stream]"),
            late = o2(&server.url(), "late", "inputs: [ways.late], late: dead_letter"),
            buffered = o2(&server.url(), "s", "inputs: [ways.huge], buffer: {type: disk, max_size: 1MiB}"),
            gone = o2(&down.url(), "gone", "inputs: [ways.gone]"),
        ),
    );
    let now = now_micros() / 1000;
    let events = [
        json!("{\"way\":\"decode\", this is no JSON"),
        json!({"way": "template", "n": 1}),
        json!({"way": "metric", "value": "not a number", "name": "m"}),
        json!({"way": "validate", "level": "LOUD"}),
        json!({"way": "encode", "name": "c", "value": -3, "type": "counter", "timestamp": now}),
        json!({"way": "stream", "n": 2}),
        json!({"way": "path", "n": 3}),
        json!({"way": "late", "timestamp": "2001-01-01T00:00:00Z", "price": 1.5}),
        json!({"way": "gone", "timestamp": now}),
        json!({"way": "refused", "timestamp": now, "message": "poison"}),
        json!({"way": "too_large", "timestamp": now, "message": "x".repeat(100_000)}),
        json!({"way": "huge", "timestamp": now, "message": "y".repeat(2_000_000)}),
        json!({"way": "fine", "timestamp": now}),
    ];
    write(&dir.path().join("in.ndjson"), &events);
    let began = time_now();
    once(dir.path());
    let input = std::fs::read(dir.path().join("in.ndjson")).unwrap();
    let mut found: BTreeMap<(String, String), Value> = BTreeMap::new();
    for letter in letters(dir.path()) {
        let head = &letter["tidegate"];
        let text = |key: &str| head[key].as_str().unwrap_or_else(|| panic!("{key} of {letter}")).to_owned();
        assert_eq!(text("source"), "in");
        assert!(!text("detail").is_empty(), "{letter}");
        assert!(began <= text("time") && text("time") <= time_now(), "the time of the refusal: {began}, {letter}");
        let metadata = &head["metadata"];
        assert_eq!((&metadata["source"], &metadata["kind"].is_string()), (&json!("in"), &true), "{letter}");
        assert!(metadata["file"].as_str().unwrap().ends_with("/in.ndjson"), "{letter}");
        let at = metadata["offset"].as_u64().unwrap() as usize;
        let line = String::from_utf8_lossy(&input[at..]).lines().next().unwrap().to_owned();
        let way = line.split_once("\"way\":\"").unwrap().1.split('"').next().unwrap().to_owned();
        assert!(
            letter["event"].to_string().replace('\\', "").contains(&format!("\"way\":\"{way}\"")) || way == "encode",
            "{letter} is not at {at}: {line}"
        );
        assert!(!letter.to_string().contains(PASSWORD), "{letter}");
        let previous = found.insert((text("component"), text("reason")), letter);
        assert!(previous.is_none(), "{previous:?}");
    }
    let all: Vec<(&str, &str)> = found.keys().map(|(c, r)| (c.as_str(), r.as_str())).collect();
    let want = [
        ("buffered", "too_large"),
        ("context", "template"),
        ("files", "template"),
        ("gone", "retries_exhausted"),
        ("in", "decode"),
        ("late", "outside_window"),
        ("metric", "metric_without_value"),
        ("named", "template"),
        ("o2", "refused"),
        ("o2", "too_large"),
        ("page", "encode"),
        ("quality", "validate"),
    ];
    assert_eq!(all, want);
    let event = |c: &str, r: &str| &found[&(c.to_owned(), r.to_owned())]["event"];
    let detail = |c: &str, r: &str| found[&(c.to_owned(), r.to_owned())]["tidegate"]["detail"].as_str().unwrap();
    // The event as it entered the component, and the far side's words.
    assert_eq!(event("in", "decode")["message"], events[0]);
    assert_eq!(event("context", "template"), &events[1]);
    assert_eq!(event("late", "outside_window"), &events[7]);
    assert_eq!(event("o2", "refused"), &events[9]);
    assert_eq!(detail("o2", "refused"), "HTTP 400: no: ***");
    assert_eq!(event("o2", "too_large"), &events[10]);
    assert_eq!(event("buffered", "too_large"), &events[11]);
    assert!(detail("buffered", "too_large").contains("raise `max_size`"), "{}", detail("buffered", "too_large"));
    assert!(detail("o2", "too_large").starts_with("HTTP 413"), "{}", detail("o2", "too_large"));
    assert!(detail("gone", "retries_exhausted").contains("HTTP 503: down"), "{}", detail("gone", "retries_exhausted"));
    let mut faulty = event("quality", "validate").clone();
    let quality = faulty.as_object_mut().unwrap().remove("quality").unwrap();
    assert_eq!(faulty, events[3]);
    assert_eq!(quality["errors"][1]["rule"], "level");
    assert_eq!(server.stored("s").len(), 1, "the fine one");
}

fn replay(dir: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let args: Vec<&str> =
        ["replay", "rejects.ndjson", "--config", "tidegate.yaml"].iter().chain(more).copied().collect();
    output(tidegate(dir, &args))
}

/// 1,000 records, one of which the server refuses: as a whole request, and as one item of a bulk.
#[test]
fn a_poison_record_goes_to_the_dead_letter_and_replay_after_the_fix_leaves_none() {
    for api in ["json", "bulk"] {
        let server = Double::start(Setup::default());
        let now = now_micros() / 1000;
        let mut events: Vec<Value> = (0..1000)
            .map(|n| json!({"timestamp": now, "message": format!("event {n}"), "n": n, "price": 1.5}))
            .collect();
        if api == "json" {
            server.script(|_, seen| {
                let poison = memchr::memmem::find(&seen.body, b"event 777\"").is_some();
                poison.then(|| Fault::Answer(400, Vec::new(), "cannot be ingested: field `price`".into()))
            });
        } else {
            events[777]["uncastable"] = json!("uncastable");
        }
        let dir = tempfile::tempdir().unwrap();
        let yaml = |url: &str| {
            format!(
                "data_dir: ./data
sources: {{in: {{type: file, include: [./in.ndjson], decode: json}}}}
transforms: {{pass: {{type: filter, inputs: [in], when: 'n >= 0'}}}}
sinks:
  o2: {}
  rejects: {{type: file, path: ./rejects.ndjson}}
",
                o2(url, "s", &format!("inputs: [pass], api: {api}, buffer: {{type: disk, max_size: 1MiB}}"))
            )
        };
        config(dir.path(), &yaml(&server.url()));
        write(&dir.path().join("in.ndjson"), &events);
        let said = once(dir.path());
        assert_eq!(ledger(&said).into_iter().find(|(id, _)| id == "o2").unwrap().1, [1000, 0, 999, 0, 1, 0], "{said}");
        let letters_before = std::fs::read(dir.path().join("rejects.ndjson")).unwrap();
        assert_eq!(letters(dir.path()).len(), 1);
        let words = letters(dir.path())[0]["tidegate"]["detail"].as_str().unwrap().to_owned();
        assert!(words.contains(if api == "json" { "cannot be ingested" } else { "Failed to cast" }), "{words}");

        let (code, said, _) = replay(dir.path(), &["--to", "pass", "--dry-run"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("1 letter\n") && said.contains("would go into `pass`, through pass, o2"), "{said}");
        assert_eq!(numbers(&server).len(), 999, "a dry run delivers nothing");

        // Not put right: refused again, and said so; the letter is kept apart.
        let (code, said, _) = replay(dir.path(), &["--to", "o2"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("1 went into `o2`: 1 refused again, 0 not delivered"), "{said}");
        let again = lines(&dir.path().join("rejects.ndjson.refused"));
        assert_eq!(again.len(), 1);
        assert_eq!(serde_json::from_str::<Value>(&again[0]).unwrap()["event"], events[777]);

        // Put right: a server that takes it.
        let server_2 = Double::start(Setup { uncastable: "nothing", ..Setup::default() });
        config(dir.path(), &yaml(&server_2.url()));
        let (code, said, ledger) = replay(dir.path(), &["--to", "pass"]);
        assert_eq!(code, Some(0), "{said}{ledger}");
        assert!(said.contains("1 went into `pass`: 0 refused again, 0 not delivered"), "{said}");
        assert_balanced(&ledger);
        assert_eq!(numbers(&server_2), [777]);
        assert_eq!(std::fs::read(dir.path().join("rejects.ndjson")).unwrap(), letters_before, "never changed");
        assert_eq!(numbers(&server).len() + numbers(&server_2).len(), 1000);
    }
}

fn numbers(server: &Double) -> Vec<u64> {
    server.stored("s").iter().map(|r| r["n"].as_u64().unwrap()).collect()
}

#[test]
fn replay_names_bad_lines_keeps_the_events_bytes_and_reads_packed_files() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "data_dir: ./data
sources: {in: {type: file, include: [./in.ndjson]}}
transforms: {keep: {type: filter, inputs: [in], when: 'n != 3'}}
sinks: {out: {type: file, inputs: [keep], path: ./out.ndjson}}
",
    );
    let letter = |n: u32, reason: &str| {
        format!(
            r#"{{"tidegate":{{"component":"o2","reason":"{reason}","detail":"","time":"2026-01-01T00:00:00.000Z","source":"app"}},"event":{{"n":{n}, "price":1.10,"big":12345678901234567890,"s":"\u00e9"}}}}"#
        )
    };
    let text = [
        letter(1, "refused"),
        "not json".into(),
        String::new(),
        r#"{"event": {}}"#.into(),
        r#"{"tidegate": {"component": "x"}, "event": 5}"#.into(),
        letter(2, "template"),
        letter(3, "refused"),
    ]
    .join("\n");
    std::fs::write(dir.path().join("rejects.ndjson"), text).unwrap();
    let (code, said, errors) = replay(dir.path(), &["--to", "in"]);
    assert_eq!(code, Some(1), "lines that cannot be read are a failure: {said}{errors}");
    for part in [
        "rejects.ndjson:2: not a dead letter: it is not a JSON object",
        "rejects.ndjson:4: not a dead letter: it has no `tidegate.component`",
        "rejects.ndjson:5: not a dead letter: `event` is not an object",
    ] {
        assert!(errors.contains(part), "{part} in {errors}");
    }
    assert!(said.contains("3 letters, 3 lines that could not be read"), "{said}");
    let event = |n: u32| format!(r#"{{"n":{n}, "price":1.10,"big":12345678901234567890,"s":"\u00e9"}}"#);
    assert_eq!(lines(&dir.path().join("out.ndjson")), [event(1), event(2)], "byte for byte; the filter has 3");

    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(format!("{}\n{}\n", letter(7, "refused"), letter(8, "template")).as_bytes()).unwrap();
    std::fs::write(dir.path().join("old.ndjson.gz"), packed.finish().unwrap()).unwrap();
    let args = ["replay", "old.ndjson.gz", "--to", "out", "--reason", "template", "--config", "tidegate.yaml"];
    let (code, said, errors) = output(tidegate(dir.path(), &args));
    assert_eq!(code, Some(0), "{said}{errors}");
    assert!(said.contains("1 letter, 1 not asked for"), "{said}");
    assert_eq!(lines(&dir.path().join("out.ndjson")).last().unwrap(), &event(8));

    let (code, _, errors) = replay(dir.path(), &["--to", "nobody"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("there is no component `nobody`; there are in, keep, out"), "{errors}");
    let (code, ..) = output(tidegate(dir.path(), &["replay", "rejects.ndjson", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(2), "--to is needed");
}

/// Beside a running agent: its buffers and its files are left alone.
#[test]
fn replay_works_beside_a_running_agent_but_not_into_its_files() {
    let server = Double::start(Setup::default());
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        &format!(
            "data_dir: ./data
sources: {{in: {{type: file, include: [./in.ndjson], decode: json}}}}
sinks:
  o2: {}
  archive: {{type: file, inputs: [in], path: ./archive.ndjson}}
  rejects: {{type: file, path: ./rejects.ndjson}}
",
            o2(&server.url(), "s", "inputs: [in], buffer: {type: disk, max_size: 1MiB}")
        ),
    );
    write(&dir.path().join("in.ndjson"), &[json!({"n": 0})]);
    let letter = json!({"tidegate": {"component": "o2", "reason": "refused"}, "event": {"n": 1}});
    write(&dir.path().join("rejects.ndjson"), &[letter]);
    let agent = Agent::run(dir.path(), &[]);
    eventually("it runs", || numbers(&server).len() == 1);
    let (code, said, errors) = replay(dir.path(), &["--to", "o2"]);
    assert_eq!(code, Some(0), "{said}{errors}");
    assert_eq!(numbers(&server), [0, 1]);
    let (code, _, errors) = replay(dir.path(), &["--to", "in"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("`archive`: an agent runs on this data_dir"), "{errors}");
    agent.stop();
    let (code, said, errors) = replay(dir.path(), &["--to", "in"]);
    assert_eq!(code, Some(0), "{said}{errors}");
    assert_eq!(lines(&dir.path().join("archive.ndjson")), [r#"{"n":0}"#, r#"{"n":1}"#]);
}

// ---- metadata ---------------------------------------------------------------------------------------------------

/// All that a server has, and all that is in the files of a folder: by stream or path, in a fixed order.
fn everything(server: &Double, folder: &Path) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut put = |name: String, records: Vec<String>| all.entry(name).or_default().extend(records);
    let text = |records: Vec<serde_json::Map<String, Value>>| {
        records.into_iter().map(|record| Value::Object(record).to_string()).collect::<Vec<_>>()
    };
    for stream in server.streams() {
        put(format!("log {stream}"), text(server.stored(&stream)));
    }
    for name in METRICS {
        put(format!("metric {name}"), text(server.metrics(name)));
    }
    for stream in server.trace_streams() {
        put(format!("trace {stream}"), text(server.spans(&stream)));
    }
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                put(path.strip_prefix(folder).unwrap().display().to_string(), lines(&path));
            }
        }
    }
    all.values_mut().for_each(|records| records.sort());
    all.retain(|_, records| !records.is_empty());
    all
}

const METRICS: [&str; 2] = ["hits", "temperature"];

/// Logs, metrics and spans of random streams, senders and times, over HTTP and out of files, each refused by a server and by
/// a file sink: replayed, and what is refused once more replayed again, they lie where they would have lain.
#[test]
fn what_was_refused_is_replayed_to_where_it_would_have_gone() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (server, wanted) = (Double::start(Setup::default()), Double::start(Setup::default()));
    let refuse = |server: &Double| server.script(|_, _| Some(Fault::Answer(400, Vec::new(), "not now".into())));
    refuse(&server);
    let dir = tempfile::tempdir().unwrap();
    let yaml = |path: &str| {
        let stream = "{{ @http.stream | default(\\\"none\\\") }}-{{ @user | default(\\\"nobody\\\") }}-{{ @source }}-{{ @file | default(\\\"\\\") }}-%M";
        let to = "{{ @kind }}/{{ @http.stream | default(\"none\") }}/{{ @http.org | default(\"none\") }}/{{ @file | default(\"none\") }}-{{ @offset | default(\"\") }}/{{ @peer | default(\"none\") }}/{{ @received_at }}/%Y-%m-%d-%H%M%S";
        format!(
            "data_dir: ./data
sources:
  door: {{type: http, listen: \"127.0.0.1:0\", auth: {{basic: {{user: ann, password: \"door-secret\"}}}}}}
  tail: {{type: file, include: [\"./in/*.ndjson\"], decode: json}}
sinks:
  o2: {o2}
  o2_wanted: {o2_wanted}
  files: {{type: file, inputs: [door, tail], path: './{path}{to}', dead_letter: rejects}}
  files_wanted: {{type: file, inputs: [door, tail], path: './wanted/{to}'}}
  rejects: {{type: file, path: ./rejects.ndjson}}
",
            o2 = o2(&server.url(), stream, "inputs: [door, tail], buffer: {type: disk, max_size: 4MiB}"),
            o2_wanted = o2(&wanted.url(), stream, "inputs: [door, tail]"),
        )
        .replace(", max_elapsed: 300ms", "")
    };
    config(dir.path(), &yaml("out/{{ nowhere }}/"));
    let agent = Agent::run(dir.path(), &["--log-format", "json"]);
    let mut address = String::new();
    eventually("it listens", || {
        let said = agent.said();
        let mut said = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let Some(line) = said.find(|line| line["message"] == "listening") else { return false };
        address = line["address"].as_str().unwrap().split_once("://").unwrap().1.to_owned();
        true
    });
    let post = |path: &str, stream: &str, body: &Value| {
        let auth = format!("Basic {}", base64("ann:door-secret"));
        let headers = [("content-type", "application/json"), ("authorization", &*auth), ("stream-name", stream)];
        let mut connection = std::net::TcpStream::connect(&address).unwrap();
        let answer = crate::http::request(&mut connection, "POST", path, &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let now = now_micros() as u64 * 1000;
    let mut events = 0;
    for n in 0..30 {
        let stream = ["shop", "Web-1", "x"][random.usize(..3)];
        let time = now - random.u64(..3_600_000_000_000);
        let count = 1 + random.usize(..4);
        events += count;
        let kind = random.u8(..4);
        let records: Vec<Value> = (0..count)
            .map(|m| match kind {
                1 => json!({"name": METRICS[random.usize(..2)], "gauge": {"dataPoints": [
                    {"timeUnixNano": time.to_string(), "asDouble": random.f64(), "attributes": [{"key": "n", "value": {"intValue": n * 10 + m}}]}]}}),
                2 => json!({"traceId": format!("{:032x}", random.u128(1..)), "spanId": format!("{:016x}", random.u64(1..)), "name": "GET /",
                    "kind": 2, "startTimeUnixNano": time.to_string(), "endTimeUnixNano": (time + 1_500_001).to_string()}),
                _ => match random.u8(..3) {
                    0 => json!({"n": n * 10 + m, "price": 1.5}),
                    1 => json!({"n": n * 10 + m, "timestamp": time / 1000}),
                    _ => json!({"n": n * 10 + m, "timestamp": time_text(time as i64, 9)}),
                },
            })
            .collect();
        match kind {
            0 => post(&format!("/api/org{}/{stream}/_json", random.u8(..2)), stream, &json!(records)),
            1 => post(
                "/api/default/v1/metrics",
                stream,
                &json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": records}]}]}),
            ),
            2 => post(
                "/api/default/v1/traces",
                stream,
                &json!({"resourceSpans": [{"scopeSpans": [{"spans": records}]}]}),
            ),
            _ => write(&dir.path().join(format!("in/{stream}-{n}.ndjson")), &records),
        }
    }
    let refused = || letters(dir.path()).len();
    eventually("all are refused twice", || refused() == 2 * events);
    eventually("all are where they belong", || {
        everything(&wanted, &dir.path().join("wanted")).values().map(Vec::len).sum::<usize>() == 2 * events
    });
    agent.stop();
    let letters_text = std::fs::read_to_string(dir.path().join("rejects.ndjson")).unwrap();
    assert!(!letters_text.contains("Basic ") && !letters_text.contains("door-secret"), "a secret in a letter");
    let want = everything(&wanted, &dir.path().join("wanted"));
    assert!(everything(&server, &dir.path().join("out")).is_empty());

    config(dir.path(), &yaml("out/"));
    let (code, said, errors) = replay(dir.path(), &["--from", "o2", "--to", "o2"]);
    assert_eq!(code, Some(1), "{said}{errors}");
    assert!(said.contains(&format!("{events} refused again, 0 not delivered")), "{said}{errors}");
    server.script(|_, _| None);
    let args = ["replay", "rejects.ndjson.refused", "--to", "o2", "--config", "tidegate.yaml"];
    let (code, said, errors) = output(tidegate(dir.path(), &args));
    assert_eq!(code, Some(0), "{said}{errors}");
    let (code, said, errors) = replay(dir.path(), &["--from", "files", "--to", "files"]);
    assert_eq!(code, Some(0), "{said}{errors}");
    assert_eq!(everything(&server, &dir.path().join("out")), want);
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// What a source rejects has not been given what it attaches; what is replayed into it has.
#[test]
fn what_is_replayed_into_a_source_gets_what_it_attaches() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "data_dir: ./data
sources: {in: {type: file, include: [./in.ndjson], decode: json, on_decode_error: reject, attach: [file, offset]}}
sinks:
  out: {type: file, inputs: [in], path: \"./out/{{ file }}.ndjson\"}
  rejects: {type: file, inputs: [in.rejected], path: ./rejects.ndjson}
",
    );
    write(&dir.path().join("in.ndjson"), &[json!({"n": 1}), json!("{\"n\": 2")]);
    once(dir.path());
    let (code, said, errors) = replay(dir.path(), &["--to", "in"]);
    assert_eq!(code, Some(0), "{said}{errors}");
    let folder = std::fs::read_dir(dir.path().join("out")).unwrap();
    let out: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(out.len(), 1, "one path: {out:?}");
    let events: Vec<Value> = lines(&out[0]).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&events[0]["offset"], &events[1]["offset"]), (&json!(0), &json!(8)));
    assert_eq!(events[0]["file"], events[1]["file"]);
}

/// Letters of earlier versions say nothing of `@http.stream`, and a guess would put them into the wrong stream.
#[test]
fn a_letter_without_metadata_is_left_where_something_asks_for_it() {
    let server = Double::start(Setup::default());
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        &format!(
            "data_dir: ./data
sources: {{in: {{type: stdin, decode: json}}}}
transforms:
  shape: {{type: edit, inputs: [in], copy: {{\"@file\": from}}}}
  errors: {{type: filter, inputs: [shape], when: '!has(@host)'}}
  fine: {{type: filter, inputs: [in], when: '@source == \"app\" && @kind == \"log\"'}}
sinks:
  o2: {}
  plain: {}
  rejects: {{type: file, path: ./letters.ndjson}}
",
            o2(&server.url(), "{{ @http.stream | default(\\\"none\\\") }}", "inputs: [errors]"),
            o2(&server.url(), "plain", "inputs: [fine]"),
        ),
    );
    let old =
        |n: u32| json!({"tidegate": {"component": "o2", "reason": "refused", "source": "app"}, "event": {"n": n}});
    let new = |n: u32, metadata: Value| json!({"tidegate": {"component": "o2", "reason": "refused", "metadata": metadata}, "event": {"n": n}});
    let door = json!({"source": "app", "received_at": time_now(), "kind": "log", "http.stream": "shop"});
    let tail = json!({"source": "app", "received_at": time_now(), "kind": "log", "file": "/a"});
    write(&dir.path().join("rejects.ndjson"), &[new(1, door), old(2), new(3, tail), old(4)]);
    let stored = |stream: &str| server.stored(stream).iter().map(|r| r["n"].as_u64().unwrap()).collect::<Vec<_>>();
    let before = std::fs::read(dir.path().join("rejects.ndjson")).unwrap();

    let (code, said, errors) = replay(dir.path(), &["--to", "o2", "--dry-run"]);
    assert_eq!(code, Some(1), "{said}{errors}");
    assert!(said.contains("2 letters, 2 letters left as they are"), "{said}");
    let (code, said, errors) = replay(dir.path(), &["--to", "o2"]);
    assert_eq!(code, Some(1), "{said}{errors}");
    for part in [
        "rejects.ndjson:2: not replayed: the letter has no metadata",
        "rejects.ndjson:4: not replayed",
        "`o2` asks for `@http.stream` by `stream`",
        "--metadata http.stream=",
    ] {
        assert!(errors.contains(part), "{part} in {errors}");
    }
    assert!(said.contains("2 went into `o2`: 0 refused again, 0 not delivered"), "{said}");
    assert_eq!((stored("shop"), stored("none")), (vec![1], vec![3]), "known, and known to have none");
    assert_eq!(std::fs::read(dir.path().join("rejects.ndjson")).unwrap(), before, "never changed");

    // Everything that lies behind the target may ask.
    write(&dir.path().join("rejects.ndjson"), &[old(5)]);
    let (code, said, errors) = replay(dir.path(), &["--to", "in"]);
    assert_eq!(code, Some(1), "{said}{errors}");
    for part in ["`shape` asks for `@file`\n", "`errors` asks for `@host` by `when`\n", "`o2` asks for `@http.stream`"]
    {
        assert!(errors.contains(part), "{part} in {errors}");
    }
    assert!(!errors.contains("`fine`"), "that it says itself: {errors}");
    assert!(!errors.contains("component "), "nothing was started: {errors}");
    let (code, said, errors) = replay(dir.path(), &["--to", "fine"]);
    assert_eq!((code, stored("plain")), (Some(0), vec![5]), "{said}{errors}");

    // Someone knows.
    let (code, said, errors) = replay(dir.path(), &["--to", "o2", "--metadata", "http.stream=web"]);
    assert_eq!((code, stored("web")), (Some(0), vec![5]), "{said}{errors}");
    let (code, said, errors) = replay(dir.path(), &["--to", "o2", "--metadata", "@http.stream="]);
    assert_eq!((code, stored("none")), (Some(0), vec![3, 5]), "{said}{errors}");
    for (given, want) in
        [("stream=web", "there is no metadata `stream`"), ("kind=log", "itself"), ("file", "NAME=VALUE")]
    {
        let (code, _, errors) = replay(dir.path(), &["--to", "o2", "--metadata", given]);
        assert!(code == Some(2) && errors.contains(want), "{errors}");
    }
}

/// A file that cannot be read ends it before a server has heard of it, and before a folder is made.
#[test]
fn replay_looks_through_its_files_before_anything_starts() {
    let server = Double::start(Setup::default());
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let sink = o2(&server.url(), "s", "inputs: [in]").replace("healthcheck: false", "healthcheck: true");
    config(
        dir.path(),
        &format!(
            "data_dir: ./data\nsources: {{in: {{type: stdin, decode: json}}}}\nsinks: {{o2: {sink}, rejects: {{type: file, path: ./r.ndjson}}}}\n"
        ),
    );
    let letter = |n: u32| json!({"tidegate": {"component": "o2", "reason": "refused"}, "event": {"n": n}});
    write(&at("good.ndjson"), &[letter(1)]);
    let many = (0..5000).map(|n| format!("{}\n", letter(n))).collect::<String>();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(many.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    std::fs::write(at("cut.gz"), &packed[..packed.len() / 2]).unwrap();
    std::fs::hard_link(at("good.ndjson"), at("again.ndjson")).unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for (files, want) in [
        (&["gone.ndjson"][..], "error: gone.ndjson: No such file or directory"),
        (&["good.ndjson", "gone.ndjson"], "error: gone.ndjson: No such file"),
        (&["good.ndjson", "cut.gz"], "error: cut.gz:"),
        (&["folder"], "error: folder: not a regular file"),
        (&["fifo"], "error: fifo: not a regular file"),
        (&["good.ndjson", "again.ndjson"], "error: again.ndjson: the same file as good.ndjson"),
        (&["good.ndjson", "--refused", "nowhere/x.ndjson"], "error: nowhere: no file can be made there"),
        (&["good.ndjson", "--refused", "folder"], "error: folder is a folder"),
        (&["good.ndjson", "--refused", "./again.ndjson"], "is read and would be written"),
    ] {
        let args: Vec<&str> =
            ["replay", "--config", "tidegate.yaml", "--to", "o2"].iter().chain(files).copied().collect();
        let (code, said, errors) = output(tidegate(dir.path(), &args));
        assert_eq!((code, &*said), (Some(1), ""), "{errors}");
        assert!(errors.starts_with(want) || want.starts_with("is read") && errors.contains(want), "{want}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    assert!(server.seen().is_empty() && !at("data").exists(), "nothing was started");
    // Packed without a word in the name, as a file sink with `compression` has it.
    std::fs::write(at("packed.ndjson"), &packed).unwrap();
    let args = ["replay", "packed.ndjson", "--config", "tidegate.yaml", "--to", "o2", "--reason", "refused"];
    let (code, said, errors) = output(tidegate(dir.path(), &args));
    assert_eq!(code, Some(0), "{said}{errors}");
    assert_eq!(numbers(&server).len(), 5000);
}

// ---- audit -----------------------------------------------------------------------------------------------------

#[test]
fn audit_adds_runs_up_and_exits_1_when_the_ledger_does_not_balance() {
    let dir = tempfile::tempdir().unwrap();
    let port = nobody().port();
    config(
        dir.path(),
        &format!(
            "data_dir: ./data
api: {{listen: \"127.0.0.1:{port}\"}}
sources: {{in: {{type: file, include: [./in.ndjson], decode: json}}}}
transforms: {{keep: {{type: filter, inputs: [in], when: 'n != 3'}}}}
sinks: {{out: {{type: file, inputs: [keep], path: ./out.ndjson}}}}
"
        ),
    );
    let audit = |more: &[&str]| {
        let args: Vec<&str> = ["audit", "--config", "tidegate.yaml"].iter().chain(more).copied().collect();
        output(tidegate(dir.path(), &args))
    };
    let (code, _, errors) = audit(&[]);
    assert!(code == Some(1) && errors.contains("there is no ledger"), "{errors}");
    let input = dir.path().join("in.ndjson");
    write(&input, &[json!({"n": 1}), json!({"n": 2})]);
    once(dir.path());
    write(&dir.path().join("more"), &[json!({"n": 3}), json!({"n": 4}), json!({"n": 5})]);
    let more = std::fs::read(dir.path().join("more")).unwrap();
    std::fs::OpenOptions::new().append(true).open(&input).unwrap().write_all(&more).unwrap();
    let agent = Agent::run(dir.path(), &[]);
    eventually("all is written", || lines(&dir.path().join("out.ndjson")).len() == 4);
    // Live: as of now, not of the last second.
    let (code, said, errors) = audit(&["--api"]);
    assert_eq!(code, Some(0), "{said}{errors}");
    assert!(said.contains("2 runs since") && said.contains("while it ran"), "{said}");
    let second = output(tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]));
    assert!(second.0 == Some(1) && second.2.contains("another agent uses data_dir"), "{}", second.2);
    agent.stop();
    let (code, said, _) = audit(&["--json"]);
    assert_eq!(code, Some(0), "{said}");
    let run_ledger: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(run_ledger["components"]["keep"]["total"]["in"], 5);
    assert_eq!(run_ledger["components"]["keep"]["total"]["dropped"]["filtered"], 1);
    assert_eq!(run_ledger["components"]["out"]["total"]["out"], 4);
    assert_eq!(
        (&run_ledger["runs"], &run_ledger["killed"], &run_ledger["ended"]),
        (&json!(2), &json!(0), &json!(true))
    );

    // Someone has cooked the ledger.
    let path = dir.path().join("data/ledger");
    let text = std::fs::read_to_string(&path).unwrap();
    let body = text.split_once('\n').unwrap().1.replacen(r#""in":3,"#, r#""in":7,"#, 1);
    assert_ne!(body, text.split_once('\n').unwrap().1);
    std::fs::write(&path, format!("tidegate-ledger 1 crc32c={:08x}\n{body}", crc32c::crc32c(body.as_bytes()))).unwrap();
    let (code, said, _) = audit(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("4 events are not accounted for") && said.contains("THE BOOKS DO NOT BALANCE"), "{said}");
    std::fs::write(&path, &text.as_bytes()[..text.len() - 1]).unwrap();
    let (code, _, errors) = audit(&[]);
    assert!(code == Some(1) && errors.contains("the checksum does not fit"), "{errors}");
}

/// Every graph that starts anew is a run of its own in the ledger, which go on.
#[test]
fn a_configuration_that_is_read_again_goes_on_in_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = |when: &str| {
        format!(
            "data_dir: ./data
sources: {{in: {{type: file, include: [./in.ndjson], decode: json}}}}
transforms: {{keep: {{type: filter, inputs: [in], when: '{when}'}}}}
sinks: {{out: {{type: file, inputs: [keep], path: ./out.ndjson}}}}
"
        )
    };
    config(dir.path(), &yaml("n >= 0"));
    write(&dir.path().join("in.ndjson"), &[json!({"n": 1}), json!({"n": 2})]);
    let out = || lines(&dir.path().join("out.ndjson")).len();
    let agent = Agent::run(dir.path(), &[]);
    eventually("the first are written", || out() == 2);
    // All of it starts anew where a setting of the agent itself changes.
    config(dir.path(), &(yaml("n > 3") + "threads: 1\n"));
    agent.signal(rustix::process::Signal::HUP);
    eventually("it runs again", || agent.said().matches("running").count() == 2);
    let more = format!("{}\n{}\n", json!({"n": 3}), json!({"n": 4}));
    std::fs::OpenOptions::new()
        .append(true)
        .open(dir.path().join("in.ndjson"))
        .and_then(|mut f| f.write_all(more.as_bytes()))
        .unwrap();
    eventually("the others too", || out() == 3);
    agent.stop();
    let (code, said, errors) = output(tidegate(dir.path(), &["audit", "--data-dir", "data", "--json"]));
    assert_eq!(code, Some(0), "{said}{errors}");
    let run_ledger: Value = serde_json::from_str(&said).unwrap();
    let keep = &run_ledger["components"]["keep"]["total"];
    assert_eq!((&run_ledger["runs"], &run_ledger["killed"]), (&json!(2), &json!(0)));
    assert_eq!((&keep["in"], &keep["out"], &keep["dropped"]["filtered"]), (&json!(4), &json!(3), &json!(1)));
}

/// A replay that is told to stop says what was not delivered, and leaves the file as it is.
#[test]
fn a_replay_that_is_stopped_says_what_was_not_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = nobody();
    let sink = o2(&format!("http://{nobody}"), "s", "inputs: [in]").replace(", max_elapsed: 300ms", "");
    config(
        dir.path(),
        &format!(
            "data_dir: ./data
shutdown_timeout: 300ms
sources: {{in: {{type: stdin, decode: json}}}}
sinks: {{o2: {sink}, rejects: {{type: file, path: ./rejects.ndjson}}}}
"
        ),
    );
    let letter = |n| json!({"tidegate": {"component": "o2", "reason": "refused"}, "event": {"n": n}});
    write(&dir.path().join("rejects.ndjson"), &[letter(1), letter(2)]);
    let before = std::fs::read(dir.path().join("rejects.ndjson")).unwrap();
    let args = ["replay", "rejects.ndjson", "--to", "o2", "--config", "tidegate.yaml"];
    let mut command = tidegate(dir.path(), &args);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("is tried again") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut said, &mut line).unwrap(), 0, "it ended");
    }
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{}: {text}{rest}", out.status);
    assert!(text.contains("2 went into `o2`: 0 refused again, 2 not delivered"), "{text}");
    assert_eq!(std::fs::read(dir.path().join("rejects.ndjson")).unwrap(), before);
    assert!(!dir.path().join("rejects.ndjson.refused").exists());
}

//! The OpenObserve sink of the whole program against a double of the server: what is stored, what is refused, what is tried
//! again, and that no record and no secret goes astray.

use crate::agent::{Agent, assert_balanced, config, eventually, ledger, lines, nobody, output, tidegate};
use crate::openobserve_double::{Double, Fault, PASSWORD, Setup, USER, now_micros};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What came of one run of the program to the end of its input.
struct Run {
    dir: tempfile::TempDir,
    said: String,
}

impl Run {
    /// Dead letters: reason, detail, event.
    fn letters(&self) -> Vec<(String, String, Value)> {
        lines(&self.dir.path().join("rejects.ndjson"))
            .iter()
            .map(|line| {
                let letter: Value = serde_json::from_str(line).unwrap();
                let text = |key: &str| letter["tidegate"][key].as_str().unwrap().to_owned();
                assert_eq!(text("component"), "o2");
                (text("reason"), text("detail"), letter["event"].clone())
            })
            .collect()
    }

    /// in, created, out, dropped, rejected, held of the sink.
    fn sink(&self) -> [u64; 6] {
        ledger(&self.said).into_iter().find(|(id, _)| id == "o2").unwrap().1
    }
}

fn yaml(url: &str, settings: &str) -> String {
    format!(
        "data_dir: ./data
sources:
  in: {{type: stdin, decode: json}}
sinks:
  o2:
    type: openobserve
    inputs: [in]
    url: \"{url}\"
    auth: {{basic: {{user: \"{USER}\", password: \"{PASSWORD}\"}}}}
    dead_letter: rejects
    {settings}
  rejects: {{type: file, path: ./rejects.ndjson}}
"
    )
}

/// Quick waits, one stream.
const QUICK: &str = "stream: Test-Stream
    healthcheck: false
    retry: {initial: 5ms, max: 20ms}
    batch: {timeout: 20ms}";

fn write_input(dir: &Path, events: &[Value]) -> File {
    let path = dir.join("in.ndjson");
    let mut file = File::create(&path).unwrap();
    for event in events {
        writeln!(file, "{event}").unwrap();
    }
    File::open(path).unwrap()
}

/// Sends the events through the program; it must end well, with balanced ledger.
#[track_caller]
fn run(double: &Double, settings: &str, events: &[Value]) -> Run {
    run_yaml(&yaml(&double.url(), settings), events)
}

#[track_caller]
fn run_yaml(yaml: &str, events: &[Value]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), yaml);
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
    command.stdin(write_input(dir.path(), events));
    let mut agent = Agent::start(command);
    let (status, said) = agent.wait();
    assert!(status.success(), "{said}");
    assert_balanced(&said);
    assert!(!said.contains(PASSWORD), "a secret in:\n{said}");
    Run { dir, said }
}

fn numbered(n: usize) -> Vec<Value> {
    (0..n).map(|n| json!({"timestamp": now_micros() / 1000, "message": format!("event {n}"), "n": n})).collect()
}

fn numbers(double: &Double, stream: &str) -> Vec<u64> {
    double.stored(stream).iter().map(|r| r["n"].as_u64().unwrap()).collect()
}

fn answer(status: u16, body: &str) -> Option<Fault> {
    Some(Fault::Answer(status, Vec::new(), body.to_owned()))
}

#[test]
fn every_record_arrives_by_each_interface_with_its_time_and_its_fields() {
    for api in ["json", "multi", "bulk"] {
        let double = Double::start(Setup::default());
        let now = now_micros();
        let events = [
            json!({"timestamp": now / 1000, "message": "say \"hi\"\n", "n": 0, "nested": {"a": {"b": [1, 2]}}, "none": null}),
            serde_json::from_str(&format!(r#"{{"timestamp":{},"n":1,"price":1.10,"_timestamp":5}}"#, now / 1_000_000))
                .unwrap(),
            json!({"timestamp": "not a time", "n": 2, "@timestamp": "1999-01-01T00:00:00Z"}),
            json!({"n": 3, "_timestamp": now - 7_000_000}),
            json!({}),
        ];
        let run = run(&double, &format!("{QUICK}\n    api: {api}"), &events);
        assert_eq!(run.sink(), [5, 0, 5, 0, 0, 0], "{}", run.said);
        assert_eq!(double.streams(), ["test_stream"]);
        let mut stored = double.stored("test_stream");
        stored.sort_by_key(|r| r.get("n").map_or(99, |n| n.as_u64().unwrap()));
        let time = |n: usize| stored[n]["_timestamp"].as_i64().unwrap();
        assert_eq!(time(0), now / 1000 * 1000, "{api}");
        assert_eq!(time(1), now / 1_000_000 * 1_000_000, "{api}");
        assert!((time(2) - now).abs() < 60_000_000, "unreadable: when it was received");
        assert_eq!(time(3), now - 7_000_000, "the event's own `_timestamp` where there is nothing else");
        assert!((time(4) - now).abs() < 60_000_000);
        assert_eq!(stored[0]["message"], "say \"hi\"\n");
        assert_eq!(stored[0]["nested_a_b"], "[1,2]");
        assert_eq!(stored[0]["timestamp"].to_string().trim_matches('"'), (now / 1000).to_string());
        assert_eq!(stored[1]["price"].to_string(), "1.10", "{api}: numbers keep their spelling");
        for post in double.posts() {
            assert_eq!(post.headers["content-encoding"], "zstd");
            assert!(post.headers["authorization"].starts_with("Basic "));
        }
    }
}

#[test]
fn an_id_that_is_no_string_is_sent_as_one() {
    for api in ["json", "multi"] {
        let double = Double::start(Setup::default());
        let events = [
            json!({"_id": 17, "n": 0}),
            json!({"_id": "x", "n": 1}),
            json!({"_id": null, "n": 2}),
            json!({"_id": {"$oid": "5f"}, "n": 3}),
            json!({"@id": 1.5, "n": 4}),
            json!({"_ID": true, "n": 5}),
        ];
        let run = run(&double, &format!("{QUICK}\n    api: {api}"), &events);
        assert_eq!(run.sink()[2], 6, "{}", run.said);
        let ids: Vec<Value> =
            double.stored("test_stream").iter().map(|r| r.get("_id").cloned().unwrap_or(Value::Null)).collect();
        assert_eq!(json!(ids), json!(["17", "x", null, "{\"$oid\":\"5f\"}", "1.5", "true"]));
        assert!(double.posts().iter().all(|p| p.status == 200), "the server never crashed");
    }
}

#[test]
fn whatever_fails_for_a_while_is_delivered_in_the_end() {
    let overloaded = r#"{"code":503,"message":"Error# MemoryTableOverflowError"}"#;
    for (what, status, body) in [
        ("503", 503, overloaded),
        ("500", 500, ""),
        ("502", 502, "Bad Gateway"),
        ("504", 504, ""),
        ("429", 429, "{}"),
        ("408", 408, ""),
        ("being deleted", 400, r#"{"code":400,"message":"Error# stream [test_stream] is being deleted"}"#),
        ("401", 401, "Unauthorized Access"),
        ("403", 403, "Organization is deleted"),
        ("404", 404, "Organization not found"),
        ("405", 405, ""),
        ("quota", 400, r#"{"code":400,"message":"Error# Quota exceeded for this organization [default]"}"#),
        ("a redirect", 302, ""),
        ("something else answers", 200, "<html>Welcome to nginx!</html>"),
        ("a 200 that says 503", 200, overloaded),
    ] {
        let double = Double::start(Setup::default());
        let body = body.to_owned();
        double.script(move |n, _| (n < 4).then(|| Fault::Answer(status, Vec::new(), body.clone())));
        let run = run(&double, QUICK, &numbered(20));
        assert_eq!(numbers(&double, "test_stream"), (0..20).collect::<Vec<_>>(), "{what}: {}", run.said);
        assert_eq!(run.sink(), [20, 0, 20, 0, 0, 0], "{what}");
        assert_eq!(double.posts().len(), 5, "{what}");
        assert_eq!(run.letters(), [], "{what}");
    }
}

#[test]
fn broken_connections_lose_nothing_and_repeat_only_what_had_no_answer() {
    let double = Double::start(Setup::default());
    double.break_bodies(3);
    let run_1 = run(&double, QUICK, &numbered(50));
    assert_eq!(numbers(&double, "test_stream"), (0..50).collect::<Vec<_>>(), "{}", run_1.said);

    let double = Double::start(Setup::default());
    double.script(|n, _| (n < 3).then_some(Fault::ResetBeforeAnswer));
    let run_2 = run(&double, QUICK, &numbered(50));
    assert_eq!(numbers(&double, "test_stream"), (0..50).collect::<Vec<_>>(), "{}", run_2.said);

    let double = Double::start(Setup::default());
    double.script(|n, _| (n < 1).then_some(Fault::ResetInAnswer));
    let run_3 = run(&double, QUICK, &numbered(50));
    let mut stored = numbers(&double, "test_stream");
    assert_eq!(stored.len(), 100, "the answer was lost, so it was sent again: {}", run_3.said);
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored, (0..50).collect::<Vec<_>>());

    // A server that closes connections after each answer, or just when the next request comes: not an error, and no
    // reason to leave the server alone.
    for fault in [|| Fault::CloseAfter, || Fault::CloseUponNext] {
        let double = Double::start(Setup::default());
        double.script(move |_, _| Some(fault()));
        let settings = format!("{QUICK}\n    concurrency: 1").replace("{timeout", "{max_events: 5, timeout");
        let run_4 = run(&double, &settings, &numbered(50));
        assert_eq!(numbers(&double, "test_stream"), (0..50).collect::<Vec<_>>(), "{}", run_4.said);
        assert!(!run_4.said.contains("tried again"), "{}", run_4.said);
    }
}

#[test]
fn an_answer_that_does_not_come_in_time_is_asked_for_again() {
    let double = Double::start(Setup::default());
    double.script(|n, _| (n < 2).then_some(Fault::Slow(Duration::from_millis(700))));
    let run = run(&double, &format!("{QUICK}\n    timeout: 150ms"), &numbered(5));
    let mut stored = numbers(&double, "test_stream");
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored, [0, 1, 2, 3, 4], "{}", run.said);
    assert!(run.said.contains("no answer within 150ms"), "{}", run.said);
}

#[test]
fn retry_after_in_seconds_is_obeyed() {
    let double = Double::start(Setup::default());
    let times: Arc<Mutex<Vec<i64>>> = Arc::default();
    let noted = times.clone();
    double.script(move |n, _| {
        noted.lock().unwrap().push(now_micros());
        (n == 0).then(|| Fault::Answer(429, vec![("Retry-After", "1".into())], String::new()))
    });
    run(&double, QUICK, &numbered(5));
    let times = times.lock().unwrap();
    assert!(times[1] - times[0] >= 990_000, "{times:?}");
    assert_eq!(numbers(&double, "test_stream").len(), 5);
}

#[test]
fn one_poisonous_record_of_a_thousand_goes_to_the_dead_letter_with_the_servers_words() {
    // The server refuses the whole request, whatever else is in it.
    for api in ["json", "multi", "bulk"] {
        let double = Double::start(Setup::default());
        double.script(|_, seen| {
            let poisoned = memchr::memmem::find(&seen.body, b"event 777\"").is_some();
            let words = format!(r#"{{"code":400,"message":"SerdeJsonError# bad thing for {PASSWORD}"}}"#);
            poisoned.then(|| Fault::Answer(400, Vec::new(), words))
        });
        let run = run(&double, &format!("{QUICK}\n    api: {api}"), &numbered(1000));
        let mut stored = numbers(&double, "test_stream");
        stored.sort_unstable();
        assert_eq!(stored, (0..1000).filter(|n| *n != 777).collect::<Vec<_>>(), "{api}");
        let letters = run.letters();
        assert_eq!(letters.len(), 1, "{api}: {letters:?}");
        let (reason, detail, event) = &letters[0];
        assert_eq!(reason, "refused");
        assert_eq!(detail, r#"HTTP 400: {"code":400,"message":"SerdeJsonError# bad thing for ***"}"#);
        assert_eq!(event["n"], 777);
        assert_eq!(event.get("_timestamp"), None, "the event as it was, without what the sink added");
        assert_eq!(run.sink(), [1000, 0, 999, 0, 1, 0]);
    }
}

#[test]
fn bulk_finds_the_one_record_that_was_refused() {
    let double = Double::start(Setup::default());
    let mut events = numbered(1000);
    events[123]["uncastable"] = json!("uncastable");
    let run = run(&double, &format!("{QUICK}\n    api: bulk"), &events);
    assert_eq!(double.posts().len(), 1, "{}", run.said);
    let letters = run.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].0, "schema");
    assert_eq!(letters[0].1, "schema_conformance_failed: Failed to cast uncastable to type Int64");
    assert_eq!(letters[0].2, events[123]);
    assert_eq!(run.sink(), [1000, 0, 999, 0, 1, 0]);
}

#[test]
fn bulk_answers_with_missing_items_are_uncertain_unless_told_otherwise() {
    let setup = Setup { errors_only: true, ..Setup::default() };
    let double = Double::start(setup.clone());
    let run_1 = run(&double, &format!("{QUICK}\n    api: bulk"), &numbered(10));
    assert_eq!(run_1.letters().iter().filter(|l| l.0 == "uncertain").count(), 10);
    assert_eq!(double.posts().len(), 1, "never sent again");

    let double = Double::start(setup);
    let mut events = numbered(10);
    events[3]["uncastable"] = json!("uncastable");
    let run_2 = run(&double, &format!("{QUICK}\n    api: bulk\n    check_counts: false"), &events);
    assert_eq!(run_2.sink(), [10, 0, 9, 0, 1, 0]);

    // A stream that failed as a whole, because the server has too much: nothing was stored, so it is tried again.
    let double = Double::start(Setup::default());
    double.script(|n, _| {
        let body = r#"{"took":0,"errors":true,"items":[{"index":{"_index":"test_stream","_id":"","status":422,
            "error":{"type":"pipeline_execution_failed","reason":"Error# MemoryTableOverflowError"}}}]}"#;
        if n < 2 { answer(200, body) } else { None }
    });
    let run_3 = run(&double, &format!("{QUICK}\n    api: bulk"), &numbered(10));
    assert_eq!(run_3.sink(), [10, 0, 10, 0, 0, 0]);
}

#[test]
fn events_outside_the_window_are_handled_as_late_says() {
    let hour = 3_600_000i64;
    let now = now_micros() / 1000;
    let events: Vec<Value> = (0..10)
        .map(|n| {
            let age = match n {
                2 => 6 * hour,
                5 => 200 * hour,
                8 => -30 * hour,
                _ => 4 * hour,
            };
            json!({"timestamp": now - age, "n": n})
        })
        .collect();
    for api in ["json", "multi", "bulk"] {
        let double = Double::start(Setup::default());
        let run = run(&double, &format!("{QUICK}\n    api: {api}"), &events);
        let letters = run.letters();
        let mut late: Vec<_> = letters.iter().map(|l| l.2["n"].as_u64().unwrap()).collect();
        late.sort_unstable();
        assert_eq!(late, [2, 5, 8], "{api}: {}", run.said);
        for (reason, detail, event) in &letters {
            assert_eq!(reason, "outside_window");
            assert!(detail.contains("Too old data") || detail.contains("Too far data"), "{detail}");
            assert_eq!(event["timestamp"], events[event["n"].as_u64().unwrap() as usize]["timestamp"]);
        }
        assert_eq!(double.posts().len(), 1, "{api}: never sent again");
        assert_eq!(run.sink(), [10, 0, 7, 0, 3, 0]);
    }
    let double = Double::start(Setup::default());
    let run_1 = run(&double, &format!("{QUICK}\n    late: restamp"), &events);
    assert_eq!(run_1.sink(), [10, 0, 10, 0, 0, 0]);
    let stored = double.stored("test_stream");
    assert!((stored[5]["_timestamp"].as_i64().unwrap() - now * 1000).abs() < 60_000_000);
    assert_eq!(stored[5]["timestamp"], events[5]["timestamp"], "the original is kept");
    assert_eq!(stored[4]["_timestamp"], json!((now - 4 * hour) * 1000));

    let double = Double::start(Setup::default());
    let run_2 = run(&double, &format!("{QUICK}\n    late: dead_letter"), &events);
    assert_eq!(run_2.sink(), [10, 0, 7, 0, 3, 0]);
    assert!(run_2.letters().iter().all(|l| l.0 == "outside_window" && l.1.contains("too ")));
    assert_eq!(numbers(&double, "test_stream"), [0, 1, 3, 4, 6, 7, 9]);
}

#[test]
fn failed_records_that_cannot_be_told_apart_take_their_request_to_the_dead_letter() {
    for api in ["json", "multi"] {
        let double = Double::start(Setup::default());
        let mut events = numbered(10);
        events[4]["uncastable"] = json!("uncastable");
        let run = run(&double, &format!("{QUICK}\n    api: {api}"), &events);
        let letters = run.letters();
        assert_eq!(letters.len(), 10);
        for (reason, detail, _) in &letters {
            assert_eq!(reason, "uncertain");
            assert_eq!(detail, "sent 10, successful 9, failed 1: Failed to cast uncastable to type Int64");
        }
        assert_eq!(double.posts().len(), 1, "never sent again");
        assert_eq!(run.sink(), [10, 0, 0, 0, 10, 0]);
    }
}

#[test]
fn counts_that_do_not_add_up_are_no_success() {
    for (body, check, delivered) in [
        (r#"{"code":200,"status":[{"name":"s","successful":0,"failed":0}]}"#, true, false),
        (r#"{"code":200,"status":[{"name":"s","successful":9,"failed":0}]}"#, true, false),
        (r#"{"code":200,"status":[{"name":"s","successful":11,"failed":0}]}"#, true, false),
        (r#"{"code":200,"status":[]}"#, true, false),
        (r#"{"code":200,"status":[{"name":"s","successful":3,"failed":0}]}"#, false, true),
        (r#"{"code":200,"status":[{"name":"a","successful":4},{"name":"b","successful":6,"failed":0}]}"#, true, true),
    ] {
        let double = Double::start(Setup::default());
        double.script(move |_, _| answer(200, body));
        let run = run(&double, &format!("{QUICK}\n    check_counts: {check}"), &numbered(10));
        let reasons: Vec<_> = run.letters().into_iter().map(|l| l.0).collect();
        assert_eq!(reasons, vec!["uncertain".to_owned(); if delivered { 0 } else { 10 }], "{body}");
        assert_eq!(double.posts().len(), 1, "{body}");
    }
}

#[test]
fn too_many_columns_are_found_behind_the_silent_zero() {
    let double = Double::start(Setup { columns: 40, ..Setup::default() });
    let mut events: Vec<Value> = (0..64).map(|n| json!({"n": n, format!("only_here_{n}"): 1})).collect();
    let wide: serde_json::Map<String, Value> = (0..60).map(|n| (format!("c{n}"), json!(n))).collect();
    events.push(json!({"n": 64, "wide": wide}));
    let run = run(&double, &format!("{QUICK}\n    max_columns: 40"), &events);
    let mut stored = numbers(&double, "test_stream");
    stored.sort_unstable();
    assert_eq!(stored, (0..64).collect::<Vec<_>>(), "{}", run.said);
    let letters = run.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].0.as_str(), &letters[0].2["n"]), ("too_many_columns", &json!(64)));
}

#[test]
fn a_server_without_zstd_gets_gzip_and_one_without_either_gets_it_plain() {
    for (encodings, want) in [(&["gzip", "identity"][..], "gzip"), (&["identity"], "identity")] {
        let double = Double::start(Setup { encodings, ..Setup::default() });
        let settings = format!("{QUICK}\n    concurrency: 1").replace("{timeout", "{max_events: 5, timeout");
        let run = run(&double, &settings, &numbered(50));
        assert_eq!(numbers(&double, "test_stream").len(), 50, "{}", run.said);
        let posts = double.posts();
        let refused = posts.iter().filter(|p| p.status == 415).count();
        assert_eq!(refused, if want == "gzip" { 1 } else { 2 }, "asked once each");
        let last = posts.last().unwrap().headers.get("content-encoding").map_or("identity", String::as_str);
        assert_eq!(last, want);
    }
}

#[test]
fn what_is_too_large_is_halved_and_a_record_too_large_alone_goes_to_the_dead_letter() {
    let double = Double::start(Setup { payload_limit: 2000, ..Setup::default() });
    let mut events = numbered(100);
    events[50]["blob"] = json!("x".repeat(3000));
    let run = run(&double, QUICK, &events);
    let mut stored = numbers(&double, "test_stream");
    stored.sort_unstable();
    assert_eq!(stored, (0..100).filter(|n| *n != 50).collect::<Vec<_>>(), "{}", run.said);
    let letters = run.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].0, "too_large");
    assert_eq!(letters[0].2, events[50]);
}

#[test]
fn streams_are_batched_by_the_name_that_the_server_gives_them() {
    let double = Double::start(Setup::default());
    let settings = QUICK.replace("Test-Stream", "\"{{ service }}.Logs\"");
    let names = ["Auth-Service", "auth_service", "AUTH/SERVICE", "../x", "日志", ""];
    let mut events: Vec<Value> = names.iter().enumerate().map(|(n, s)| json!({"n": n, "service": s})).collect();
    events.push(json!({"n": 99}));
    let run = run(&double, &settings, &events);
    assert_eq!(double.streams(), ["__logs", "__x_logs", "_logs", "auth_service_logs"], "{}", run.said);
    assert_eq!(numbers(&double, "auth_service_logs"), [0, 1, 2]);
    assert_eq!(double.posts().len(), 4);
    let letters = run.letters();
    assert_eq!((letters.len(), letters[0].0.as_str(), &letters[0].2["n"]), (1, "template", &json!(99)));
    assert!(letters[0].1.contains("`service`"), "{}", letters[0].1);
}

#[test]
fn streams_beyond_the_most_allowed_are_refused() {
    let double = Double::start(Setup::default());
    let settings = format!("{}\n    max_streams: 3", QUICK.replace("Test-Stream", "\"s{{ n }}\""));
    let run = run(&double, &settings, &numbered(5));
    assert_eq!(double.streams(), ["s0", "s1", "s2"], "{}", run.said);
    assert!(run.letters().iter().all(|l| l.0 == "max_streams"), "{:?}", run.letters());
    assert_eq!(run.sink(), [5, 0, 3, 0, 2, 0]);
}

#[test]
fn with_concurrency_one_the_order_survives_a_failing_server() {
    let double = Double::start(Setup::default());
    double.script(|n, seen| match n % 4 {
        0 => answer(503, ""),
        1 => Some(Fault::ResetBeforeAnswer),
        2 if seen.body.len() > 800 => answer(413, ""),
        _ => None,
    });
    let settings = format!("{QUICK}\n    concurrency: 1\n    circuit_breaker: {{failures: 1000}}");
    let run = run(&double, &settings.replace("{timeout", "{max_events: 25, timeout"), &numbered(400));
    assert_eq!(numbers(&double, "test_stream"), (0..400).collect::<Vec<_>>(), "{}", run.said);
}

#[test]
fn wrong_credentials_are_said_once_and_nothing_is_lost() {
    let double = Double::start(Setup::default());
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        &format!("shutdown_timeout: 500ms\n{}", yaml(&double.url(), QUICK).replace(PASSWORD, "wrong-canary-pw")),
    );
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
    command.stdin(write_input(dir.path(), &numbered(10)));
    let mut agent = Agent::start(command);
    eventually("several attempts", || double.posts().iter().filter(|p| p.status == 401).count() >= 8);
    agent.signal(rustix::process::Signal::TERM);
    let (_, said) = agent.wait();
    let errors = said.lines().filter(|l| l.contains("refuses all requests")).count();
    assert_eq!(errors, 1, "{said}");
    assert!(said.contains("HTTP 401: Unauthorized Access; check the credentials under `auth`"), "{said}");
    assert!(!said.contains("wrong-canary-pw"), "{said}");
    assert_eq!(double.streams(), [""; 0]);
    let [_, _, out, dropped, rejected, held] = ledger(&said).into_iter().find(|(id, _)| id == "o2").unwrap().1;
    assert_eq!((out, dropped, rejected, held), (0, 0, 0, 10), "{said}");
}

#[test]
fn no_secret_is_ever_shown() {
    let secret = "tok-CANARY-8c1f";
    for auth in [
        format!("{{bearer: {secret}}}"),
        format!("{{token: {secret}}}"),
        format!("{{basic: {{user: a@b.c, password: {secret}}}}}"),
        format!("{{jwt: {{key: {secret}}}}}"),
    ] {
        let double = Double::start(Setup::default());
        let refused = Arc::new(AtomicUsize::new(0));
        let count = refused.clone();
        // A server that says everything it was told.
        double.script(move |n, seen| {
            count.fetch_add(1, Ordering::SeqCst);
            let status = [500, 401, 429, 403, 400][n.min(4)];
            answer(status, &format!("{:?}", seen.headers))
        });
        let base = yaml(&double.url(), &format!("{QUICK}\n    headers: {{X-Api-Key: {secret}-2}}"));
        let yaml: String = base
            .lines()
            .map(|l| if l.trim_start().starts_with("auth:") { format!("    auth: {auth}\n") } else { format!("{l}\n") })
            .collect();
        let run = run_yaml(&yaml, &numbered(1));
        assert_eq!(refused.load(Ordering::SeqCst), 5, "{}", run.said);
        let letters = lines(&run.dir.path().join("rejects.ndjson")).join("\n");
        let encoded: Vec<String> = double.posts().iter().map(|p| p.headers["authorization"].clone()).collect();
        for text in [&run.said, &letters] {
            assert!(!text.contains("CANARY"), "{auth}:\n{text}");
            if !auth.contains("jwt") {
                let token = encoded[0].split(' ').nth(1).unwrap().trim_end_matches('=');
                assert!(!text.contains(token), "{auth}:\n{text}");
            }
        }
        let (_, graph, _) = output(tidegate(run.dir.path(), &["graph", "--config", "tidegate.yaml"]));
        assert!(!graph.contains("CANARY"), "{graph}");
    }
}

#[test]
fn tokens_are_sent_as_the_server_wants_them() {
    let double = Double::start(Setup::default());
    let yaml = yaml(&double.url(), QUICK)
        .replace(&format!("{{basic: {{user: \"{USER}\", password: \"{PASSWORD}\"}}}}"), "{token: o2oi_secret-token}");
    assert_eq!(run_yaml(&yaml, &numbered(3)).sink()[2], 3);
}

#[test]
fn the_health_check_says_what_is_wrong_and_nothing_waits_for_it() {
    let double = Double::start(Setup { org: "other", ..Setup::default() });
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), &yaml(&double.url(), &QUICK.replace("healthcheck: false", "healthcheck: true")));
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
    command.stdin(write_input(dir.path(), &numbered(1)));
    let agent = Agent::start(command);
    eventually("it says so", || agent.said().contains("the health check failed"));
    eventually("and tries all the same", || !double.posts().is_empty());
    assert!(agent.said().contains("GET /api/default/: HTTP 404: Organization not found"), "{}", agent.said());
    drop(agent);
}

/// A sink of what `normalize` takes for metrics.
fn of_metrics(double: &Double, settings: &str) -> String {
    yaml(&double.url(), &format!("{QUICK}\n    {settings}"))
        .replace("inputs: [in]", "inputs: [shape]")
        .replace("sinks:\n", "transforms:\n  shape: {type: normalize, inputs: [in], schema: metric}\nsinks:\n")
}

/// What a histogram, a summary and some numbers are in events.
fn measurements() -> Vec<Value> {
    let now = now_micros() / 1000;
    let parts = [
        ("reqs", "counter", json!({"service": "a"}), 7.0),
        ("q", "gauge", json!({}), -2.0),
        ("lat_bucket", "histogram", json!({"le": "0.5"}), 1.0),
        ("lat_bucket", "histogram", json!({"le": "+Inf"}), 3.0),
        ("lat_sum", "histogram", json!({}), 4.5),
        ("lat_count", "histogram", json!({}), 3.0),
        ("size", "summary", json!({"quantile": "0.5"}), 2.0),
        ("size_sum", "summary", json!({}), 9.0),
        ("size_count", "summary", json!({}), 4.0),
        // A part whose whole is not there.
        ("lone_count", "histogram", json!({}), 8.0),
    ];
    let event = |(name, kind, labels, value): &(&str, &str, Value, f64)| json!({"name": name, "type": kind, "labels": labels, "value": value, "timestamp": now});
    parts.iter().map(event).collect()
}

/// Each interface stores each metric under its name, with its type, labels, value and time.
#[test]
fn metrics_arrive_by_each_interface() {
    for api in ["otlp", "remote_write", "json"] {
        let double = Double::start(Setup::default());
        let events = measurements();
        let run = run_yaml(&of_metrics(&double, &format!("metrics_api: {api}")), &events);
        assert_eq!(run.sink(), [10, 0, 10, 0, 0, 0], "{api}: {}", run.said);
        for event in &events {
            let (name, kind) = (event["name"].as_str().unwrap(), event["type"].as_str().unwrap());
            let stored = double.metrics(name);
            let is_it = |r: &&serde_json::Map<String, Value>| {
                r["value"].as_f64() == event["value"].as_f64()
                    && r["_timestamp"].as_i64() == event["timestamp"].as_i64().map(|t| t * 1000)
                    && event["labels"]
                        .as_object()
                        .unwrap()
                        .iter()
                        .all(|(k, v)| r[k] == *v || (k == "le" && v == "+Inf" && r[k] == "inf"))
            };
            assert_eq!(stored.iter().filter(is_it).count(), 1, "{api}: {event} in {stored:?}");
            let kinds = double.metric_streams();
            assert!(kinds.contains(&(name.to_owned(), kind.to_owned())), "{api}: {name} {kind} in {kinds:?}");
        }
        let posts = double.posts();
        let path = match api {
            "otlp" => "/api/default/v1/metrics",
            "remote_write" => "/api/default/prometheus/api/v1/write",
            _ => "/api/default/ingest/metrics/_json",
        };
        assert!(posts.iter().all(|p| p.path == path), "{posts:?}");
        assert!(double.streams().is_empty(), "and no logs");
    }
}

/// A server of version 0.8 says nothing of the histograms and summaries that it does not take in JSON; by OTLP it takes all.
#[test]
fn metrics_that_a_server_drops_are_refused_by_name_and_the_others_delivered() {
    let setup = || Setup { old: true, ..Setup::default() };
    let mut events = measurements();
    let now = now_micros() / 1000;
    for name in ["unwanted", "short", "short"] {
        events.push(json!({"name": name, "type": "gauge", "value": 1, "timestamp": now}));
    }
    let double = Double::start(setup());
    let json_run = run_yaml(&of_metrics(&double, "metrics_api: json"), &events);
    assert_eq!(json_run.sink(), [13, 0, 2, 0, 11, 0], "{}", json_run.said);
    let stored: Vec<String> = double.metric_streams().into_iter().map(|s| s.0).collect();
    assert_eq!(stored, ["q", "reqs", "short"]);
    let mut letters = json_run.letters();
    letters.sort_by_key(|l| l.2["name"].to_string());
    for (reason, detail, event) in &letters {
        let name = event["name"].as_str().unwrap();
        assert!(detail.contains(&format!("`{name}`")), "{detail}");
        match name {
            "short" => {
                assert_eq!(
                    (reason.as_str(), detail.as_str()),
                    ("uncertain", "`short`: sent 2, successful 1, failed 0")
                );
            }
            "unwanted" => {
                assert_eq!(reason, "refused");
                assert!(detail.ends_with("sent 1, successful 0, failed 1: the metric is not wanted"), "{detail}");
            }
            _ => {
                assert_eq!(reason, "refused", "{name}");
                assert!(
                    detail.contains(event["type"].as_str().unwrap()) && detail.contains("metrics_api: otlp"),
                    "{detail}"
                );
            }
        }
    }
    assert_eq!(letters.len(), 11);
    // Told not to count, it takes what it is told.
    let double = Double::start(setup());
    let run = run_yaml(&of_metrics(&double, "metrics_api: json\n    check_counts: false"), &events);
    assert_eq!(run.sink(), [13, 0, 12, 0, 1, 0], "{}", run.said);

    let double = Double::start(setup());
    let run = run_yaml(&of_metrics(&double, ""), &measurements());
    assert_eq!(run.sink(), [10, 0, 10, 0, 0, 0], "{}", run.said);
    assert_eq!((double.metrics("lat_bucket").len(), double.metrics("size_sum").len()), (2, 1));
}

/// One point of OTLP was several events; what becomes of it becomes of all of them.
#[test]
fn points_that_otlp_rejects_take_all_their_events_along() {
    let now = now_micros() / 1000;
    let histogram = |name: &str| {
        [("_bucket", json!({"le": "+Inf"})), ("_count", json!({}))].map(|(part, labels)| {
            json!({"name": format!("{name}{part}"), "type": "histogram", "labels": labels, "value": 3, "timestamp": now})
        })
    };
    // All of it is rejected.
    let double = Double::start(Setup { unwanted: "a_bucket", ..Setup::default() });
    double.script(|_, _| {
        Some(Fault::Answer(
            206,
            Vec::new(),
            r#"{"partialSuccess":{"rejectedDataPoints":"1","errorMessage":"no"}}"#.into(),
        ))
    });
    let run = run_yaml(&of_metrics(&double, ""), &histogram("a"));
    assert_eq!(run.sink(), [2, 0, 0, 0, 2, 0], "{}", run.said);
    assert!(run.letters().iter().all(|l| l.0 == "refused" && l.1 == "sent 1, rejected 1: no"), "{:?}", run.letters());
    // One of two points: which, is not said.
    let double = Double::start(Setup::default());
    double.script(|_, _| Some(Fault::Answer(206, Vec::new(), r#"{"partialSuccess":{"rejectedDataPoints":1}}"#.into())));
    let events: Vec<Value> = [histogram("a"), histogram("b")].concat();
    let run = run_yaml(&of_metrics(&double, ""), &events);
    assert_eq!(run.sink(), [4, 0, 0, 0, 4, 0], "{}", run.said);
    assert!(run.letters().iter().all(|l| l.0 == "uncertain"), "{:?}", run.letters());
    let names: Vec<Value> = run.letters().iter().map(|l| l.2["name"].clone()).collect();
    assert_eq!(names, ["a_bucket", "a_count", "b_bucket", "b_count"]);
}

/// Batches are cut, and halved where the server refuses them, between points.
#[test]
fn parts_of_a_point_stay_together() {
    let now = now_micros() / 1000;
    let point = |n: usize| {
        let part = |part: &str, labels: Value, value: usize| json!({"name": format!("h{n}_{part}"), "type": "histogram", "labels": labels, "value": value, "timestamp": now});
        let mut out: Vec<Value> = (0..n % 5).map(|b| part("bucket", json!({"le": b.to_string()}), b)).collect();
        out.extend([part("bucket", json!({"le": "+Inf"}), 9), part("sum", json!({}), 5), part("count", json!({}), 9)]);
        out
    };
    let events: Vec<Value> = (0..40).flat_map(point).collect();
    let double = Double::start(Setup::default());
    // One point is poison: it is found, and nothing else is refused.
    double.script(|_, seen| {
        let poison = seen.body.windows(3).any(|w| w == b"h17");
        poison.then(|| Fault::Answer(400, Vec::new(), "Invalid proto: poison".into()))
    });
    let settings = of_metrics(&double, "").replace("batch: {timeout: 20ms}", "batch: {timeout: 20ms, max_events: 7}");
    let run = run_yaml(&settings, &events);
    let letters: Vec<String> = run.letters().iter().map(|l| l.2["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(letters, ["h17_bucket", "h17_bucket", "h17_bucket", "h17_sum", "h17_count"], "{}", run.said);
    assert_eq!(run.sink()[2], events.len() as u64 - 5);
    for n in (0..40).filter(|n| *n != 17) {
        let stored = |part: &str| double.metrics(&format!("h{n}_{part}")).len();
        assert_eq!((stored("bucket"), stored("sum"), stored("count")), (n % 5 + 1, 1, 1), "h{n}");
    }
}

#[test]
fn metrics_are_named_as_the_server_names_them() {
    let double = Double::start(Setup::default());
    let yaml = of_metrics(&double, "metrics_api: json");
    let now = now_micros();
    let events = [
        json!({"name": "Http.Requests", "value": 12, "type": "counter", "labels": {"Service": "a", "value": "9"}, "timestamp": now / 1000}),
        json!({"name": "temp", "value": "21.50", "timestamp": now / 1000}),
        json!({"name": "temp", "value": 22, "timestamp": now / 1000}),
    ];
    let run = run_yaml(&yaml, &events);
    assert_eq!(run.sink(), [3, 0, 3, 0, 0, 0], "{}", run.said);
    let requests = double.metrics("http_requests");
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0]["value"].as_f64(), Some(12.0));
    assert_eq!(requests[0]["_timestamp"].as_i64(), Some(now / 1000 * 1000));
    assert_eq!(double.metrics("temp").len(), 2);
    assert!(double.streams().is_empty());
}

/// A span of the trace with this number.
fn span(trace: usize, span: usize, start_micros: i64) -> Value {
    json!({"trace_id": format!("{:032x}", trace + 1), "span_id": format!("{:016x}", 16 * trace + span + 1), "name": "op",
        "start_time": start_micros, "end_time": start_micros + 1500, "attributes": {"n": span}, "service": "Shop"})
}

#[test]
fn spans_go_through_normalize_validate_and_sample_by_trace_and_arrive_by_otlp() {
    let double = Double::start(Setup::default());
    let settings = QUICK.replace("stream: Test-Stream", "stream: \"{{ service }}-Traces\"");
    let transforms = "transforms:
  shape: {type: normalize, inputs: [in], schema: trace}
  fit: {type: validate, inputs: [shape], schema: trace}
  spans: {type: filter, inputs: [fit], when: '@kind == \"trace\"'}
  thin: {type: sample, inputs: [spans], rate: 0.5, key: traceId}
sinks:
  bad: {type: file, inputs: [fit.rejected], path: ./bad.ndjson}
";
    let yaml = yaml(&double.url(), &settings).replace("inputs: [in]", "inputs: [thin]").replace("sinks:\n", transforms);
    let now = now_micros();
    let mut events: Vec<Value> = (0..800).map(|n| span(n / 4, n % 4, now)).collect();
    events.push(json!({"trace_id": "short", "span_id": "0000000000000001", "start_time": now, "end_time": now}));
    let run = run_yaml(&yaml, &events);
    assert_eq!(lines(&run.dir.path().join("bad.ndjson")).len(), 1);
    assert_eq!(double.trace_streams(), ["shop_traces"]);
    assert!(double.streams().is_empty() && double.metrics("op").is_empty());
    let mut traces = std::collections::BTreeMap::<String, usize>::new();
    for span in double.spans("shop_traces") {
        *traces.entry(span["traceId"].as_str().unwrap().to_owned()).or_default() += 1;
        assert_eq!(span["duration"], json!(1.5));
        assert_eq!((&span["operationName"], &span["service"]), (&json!("op"), &json!("Shop")));
        assert_eq!(span["tags"]["sample_rate"], json!(0.5));
        assert!(span["tags"]["n"].is_number(), "{span:?}");
    }
    // About half of the traces, each whole.
    assert!((60..140).contains(&traces.len()), "{}", traces.len());
    assert!(traces.values().all(|spans| *spans == 4), "{traces:?}");
    assert_eq!(run.sink()[2], traces.len() as u64 * 4);
}

#[test]
fn records_that_otlp_rejects_go_to_the_dead_letter() {
    let double = Double::start(Setup::default());
    let yaml = yaml(&double.url(), QUICK)
        .replace("inputs: [in]", "inputs: [shape]")
        .replace("sinks:\n", "transforms:\n  shape: {type: normalize, inputs: [in], schema: trace}\nsinks:\n");
    let now = now_micros();
    let day = 24 * 3_600_000_000;
    let events = [span(0, 0, now), span(0, 1, now - day), span(0, 2, now), json!({"trace_id": "x", "n": 7})];
    let run = run_yaml(&yaml, &events);
    assert_eq!(run.sink(), [4, 0, 2, 0, 2, 0], "{}", run.said);
    assert_eq!(double.spans("test_stream").len(), 2);
    let mut letters = run.letters();
    letters.sort_by(|a, b| a.0.cmp(&b.0));
    let reasons: Vec<(&str, &str)> = letters.iter().map(|l| (l.0.as_str(), l.1.as_str())).collect();
    let unfit = "the span's `traceId` is not 32 hexadecimal digits";
    assert_eq!(reasons, [("encode", unfit), ("outside_window", "Too old data. Data discarded.")]);
    assert_eq!(letters[0].2["n"], json!(7));
    assert_eq!(letters[1].2["spanId"], json!("0000000000000002"));
}

#[test]
fn logs_arrive_by_otlp_too() {
    let double = Double::start(Setup::default());
    let now = now_micros();
    let mut events = numbered(50);
    events.push(json!({"timestamp": now - 86_400_000_000, "message": "old", "n": 50}));
    let run = run(&double, &format!("{QUICK}\n    api: otlp"), &events);
    assert_eq!(run.sink(), [51, 0, 50, 0, 1, 0], "{}", run.said);
    let stored = double.stored("test_stream");
    let found: Vec<u64> = stored.iter().map(|r| r["attributes"]["n"].as_u64().unwrap()).collect();
    assert_eq!(found, (0..50).collect::<Vec<_>>());
    assert_eq!(stored[7]["message"], json!("event 7"));
    assert_eq!(run.letters()[0].0, "outside_window");
}

#[test]
fn mistakes_in_its_settings_are_told_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let text = yaml("http://me:pw-canary@localhost:5080", "stream: \"\"\n    organization: \"a/b\"");
    config(dir.path(), &text);
    let (code, _, said) = output(tidegate(dir.path(), &["validate", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(78));
    for part in [
        "`url` in sink `o2` holds credentials",
        "write them under `auth: {basic:",
        "`stream` in sink `o2` is empty",
        "`organization` in sink `o2` must not be empty",
    ] {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
}

#[test]
fn a_server_that_is_not_there_yet_is_waited_for() {
    // Nobody listens until the double does.
    let address = nobody();
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), &yaml(&format!("http://{address}"), QUICK));
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
    command.stdin(write_input(dir.path(), &numbered(10)));
    let mut agent = Agent::start(command);
    eventually("it says so", || agent.said().contains("Connection refused"));
    let listener = std::net::TcpListener::bind(address).unwrap();
    let double = Double::start_on(listener, Setup::default(), None);
    let (status, said) = agent.wait();
    assert!(status.success(), "{said}");
    assert_eq!(numbers(&double, "test_stream").len(), 10);
}

/// A server that reads a request a few bytes at a time and dribbles its answer.
fn slow_server(pause: Duration) -> std::net::SocketAddr {
    use std::io::{BufRead, BufReader, Read};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let mut reader = BufReader::with_capacity(64, stream);
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = n.trim().parse().unwrap();
                    }
                    if line == "\r\n" {
                        break;
                    }
                }
                let mut body = Vec::new();
                while body.len() < length {
                    let mut piece = vec![0; 512.min(length - body.len())];
                    if reader.read_exact(&mut piece).is_err() {
                        return;
                    }
                    body.extend(piece);
                    std::thread::sleep(pause);
                }
                let n = memchr::memmem::find_iter(&body, b"\"n\":").count();
                let body = format!("{{\"code\":200,\"status\":[{{\"name\":\"s\",\"successful\":{n},\"failed\":0}}]}}");
                let text = format!(
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                for piece in text.as_bytes().chunks(16) {
                    if writer.write_all(piece).is_err() {
                        return;
                    }
                    std::thread::sleep(pause);
                }
            });
        }
    });
    address
}

#[test]
fn a_server_that_reads_and_answers_slowly_is_given_its_timeout_and_no_more() {
    let settings = format!("{QUICK}\n    compression: none");
    let patient =
        run_yaml(&yaml(&format!("http://{}", slow_server(Duration::from_millis(2))), &settings), &numbered(50));
    assert_eq!(patient.sink(), [50, 0, 50, 0, 0, 0], "an interim answer (100) is no answer: {}", patient.said);
    let settings = format!("{settings}\n    timeout: 200ms");
    let said =
        run_in_vain(&format!("http://{}", slow_server(Duration::from_millis(50))), &settings, "no answer within 200ms");
    assert!(said.contains("a request failed and is tried again"), "{said}");
}

/// Runs against an address that does not work: what it said, after that it must hold all it was given.
fn run_in_vain(url: &str, settings: &str, words: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    // Not standard input, whose end would end the run.
    let yaml = yaml(url, settings).replace("type: stdin", "type: file, include: [in.ndjson]");
    config(dir.path(), &format!("shutdown_timeout: 200ms\n{yaml}"));
    drop(write_input(dir.path(), &numbered(10)));
    let mut agent = Agent::run(dir.path(), &[]);
    eventually(words, || agent.said().to_lowercase().contains(words));
    agent.signal(rustix::process::Signal::TERM);
    let (_, said) = agent.wait();
    let [_, _, out, dropped, rejected, held] = ledger(&said).into_iter().find(|(id, _)| id == "o2").unwrap().1;
    assert_eq!((out, dropped, rejected, held), (0, 0, 0, 10), "{said}");
    said
}

#[test]
fn names_that_do_not_resolve_and_servers_that_are_not_trusted_lose_nothing() {
    let said = run_in_vain("http://no-such-host.invalid:5080", QUICK, "dns error");
    assert!(said.contains("a request failed and is tried again"), "{said}");
    let tls = Double::start_tls();
    run_in_vain(&tls.url(), QUICK, "certificate");
    // TLS to a server that does not speak it.
    let plain = Double::start(Setup::default());
    run_in_vain(&plain.url().replace("http:", "https:"), QUICK, "a request failed");
    assert!(tls.posts().is_empty() && plain.posts().is_empty());
}

#[test]
fn tls_with_an_own_authority_another_name_or_none_checked() {
    let cert = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls/cert.pem");
    let cert = cert.display();
    for (host, tls) in [
        ("127.0.0.1", format!("{{ca_file: {cert}}}")),
        ("localhost", format!("{{ca_file: {cert}}}")),
        ("127.0.0.2", format!("{{ca_file: {cert}, server_name: localhost}}")),
        ("127.0.0.2", "{verify: false}".to_owned()),
    ] {
        let listener = std::net::TcpListener::bind(if host == "127.0.0.2" { "127.0.0.2:0" } else { "127.0.0.1:0" });
        let Ok(listener) = listener else {
            println!("skipped: {host} cannot be listened on here");
            continue;
        };
        let double = Double::start_tls_on(listener);
        let url = format!("https://{host}:{}", double.port());
        let run = run_yaml(&yaml(&url, &format!("{QUICK}\n    tls: {tls}")), &numbered(5));
        assert_eq!(numbers(&double, "test_stream").len(), 5, "{host} {tls}: {}", run.said);
        let host_header = &double.posts()[0].headers["host"];
        assert_eq!(host_header, &format!("{host}:{}", double.port()));
    }
}

#[test]
fn requests_go_through_the_proxy() {
    let double = Double::start(Setup::default());
    let settings = format!("{QUICK}\n    proxy: \"{}\"", double.url());
    let run = run_yaml(&yaml("http://openobserve.invalid:5080", &settings), &numbered(5));
    assert_eq!(numbers(&double, "test_stream").len(), 5, "{}", run.said);
    assert_eq!(double.posts()[0].headers["host"], "openobserve.invalid:5080");
}

#[test]
fn validate_asks_the_server_where_it_may() {
    let double = Double::start(Setup::default());
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), &yaml(&double.url(), QUICK));
    let arguments = ["validate", "--environment", "--config", "tidegate.yaml"];
    let (code, _, said) = output(tidegate(dir.path(), &arguments));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(double.seen().iter().map(|s| s.path.as_str()).collect::<Vec<_>>(), ["/healthz", "/api/default/"]);
    config(dir.path(), &yaml(&double.url(), QUICK).replace(PASSWORD, "wrong-pw"));
    let (code, _, said) = output(tidegate(dir.path(), &arguments));
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("error: `o2`: GET /api/default/: HTTP 401: Unauthorized Access; check the credentials"),
        "{said}"
    );
}

/// The end of standard input is no signal: what was read is delivered, though that takes longer than a shutdown may.
#[test]
fn what_came_from_standard_input_is_delivered_however_long_that_takes() {
    let settings = format!("{QUICK}\n    circuit_breaker: {{failures: 5, reset: 50ms}}");
    for buffer in ["", "\n    buffer: {type: disk, max_size: 1MiB}"] {
        let double = Double::start(Setup::default());
        let started = std::time::Instant::now();
        // Not there for longer than `shutdown_timeout`.
        double.script(move |_, _| (started.elapsed() < Duration::from_secs(3)).then(|| answer(503, "later")).flatten());
        let yaml = format!("shutdown_timeout: 500ms\n{}", yaml(&double.url(), &format!("{settings}{buffer}")));
        let run = run_yaml(&yaml, &numbered(50));
        let [came, _, out, dropped, rejected, held] = run.sink();
        assert_eq!((came, out, dropped, rejected, held), (50, 50, 0, 0, 0), "{}", run.said);
        assert_eq!(numbers(&double, &double.streams()[0]).len(), 50);
    }
}

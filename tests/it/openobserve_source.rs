//! The source `openobserve` against the double: every row once, over stops and late rows.

use crate::agent::{Agent, config, eventually, lines, output, tidegate};
use crate::openobserve_backup::sorted;
use crate::openobserve_double::{Double, Fault, PASSWORD, Setup, USER, now_micros};
use serde_json::{Map, Value, json};
use std::path::Path;

fn server() -> Double {
    Double::start(Setup { window: (1_000_000, 24), ..Setup::default() })
}

/// A pipeline from the server into a file.
fn write(dir: &Path, double: &Double, settings: &str) {
    let url = double.url();
    config(
        dir,
        &format!(
            "data_dir: ./data
sources: {{rows: {{type: openobserve, url: \"{url}\", auth: {{basic: {{user: {USER}, password: \"{PASSWORD}\"}}}}, {settings}}}}}
sinks: {{out: {{type: file, inputs: [rows], path: out.ndjson}}}}
"
        ),
    );
}

fn came(dir: &Path) -> Vec<Map<String, Value>> {
    let file = dir.join("out.ndjson");
    if !file.exists() {
        return Vec::new();
    }
    lines(&file).iter().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn numbers(rows: &[Map<String, Value>]) -> Vec<u64> {
    let mut numbers: Vec<u64> = rows.iter().map(|row| row["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

fn once(dir: &Path) -> (Option<i32>, String) {
    let (code, _, said) = output(tidegate(dir, &["run", "--once", "--config", "tidegate.yaml"]));
    (code, said)
}

#[test]
fn a_time_range_is_read_once_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let double = server();
    let now = now_micros();
    let row =
        |n: i64| json!({"_timestamp": now - 3_600_000_000 + n / 700, "n": n, "text": "é \"x\"", "f": 0.5, "b": true});
    double.put_rows("shop", (0..3000).map(row));
    write(dir, &double, "stream: shop, from: \"-2h\"");
    let (code, said) = once(dir);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(sorted(came(dir)), sorted(double.stored("shop")));
    // The range ended when it was first asked for.
    double.put_rows("shop", [row(3000)]);
    assert_eq!(once(dir).0, Some(0));
    assert_eq!(came(dir).len(), 3000);
    // A query, with other settings begins anew.
    std::fs::remove_file(dir.join("out.ndjson")).unwrap();
    write(dir, &double, "query: \"SELECT * FROM shop WHERE text = 'é \\\"x\\\"'\", from: \"-2h\"");
    let (code, said) = once(dir);
    assert!(code == Some(0) && came(dir).len() == 3001, "{said}");
    // A stream that is not there has no rows.
    write(dir, &double, "stream: nowhere");
    assert_eq!(once(dir).0, Some(0));
}

#[test]
fn it_follows_over_late_rows_equal_rows_and_stops_and_gives_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let double = server();
    let now = now_micros();
    let minute = 60_000_000;
    let row = |minutes: i64, n: u64| json!({"_timestamp": now - minutes * minute, "n": n});
    write(dir, &double, "stream: s, from: \"-6h\", follow: true, every: 50ms, late: 2h");
    // Hours of rows, then a stream that grows while the agent runs, stops, and runs again.
    double.put_rows("s", (0..300).map(|n| row(300 - n as i64, n)));
    let agent = Agent::run(dir, &[]);
    eventually("what was there", || whole(dir) >= 300);
    double.put_rows("s", [row(90, 300), row(10, 290), row(0, 301)]);
    eventually("a late one, one that is equal to another, a new one", || whole(dir) >= 303);
    agent.stop();
    double.put_rows("s", [row(60, 302), row(0, 303), row(0, 303)]);
    let agent = Agent::run(dir, &[]);
    eventually("what came meanwhile", || whole(dir) >= 306);
    let asked = double.posts().len();
    eventually("it has asked again", || double.posts().len() > asked + 3);
    agent.stop();
    let want: Vec<u64> = (0..304).chain([290, 303]).collect();
    let mut want = want;
    want.sort_unstable();
    assert_eq!(numbers(&came(dir)), want);
}

#[test]
fn a_kill_loses_nothing_and_a_server_that_fails_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let double = server();
    let now = now_micros();
    double.put_rows("s", (0..20_000i64).map(|n| json!({"_timestamp": now - 3_600_000_000 + n, "n": n})));
    double.manage(|m| m.in_order = true);
    write(dir, &double, "stream: s, from: \"-2h\", follow: true, every: 50ms");
    double.script(|n, seen| {
        let search = seen.path.contains("_search");
        (n == 2 && search).then(|| Fault::Answer(503, Vec::new(), "{\"code\":503,\"message\":\"busy\"}".into()))
    });
    let agent = Agent::run(dir, &[]);
    eventually("some have come", || whole(dir) >= 1000);
    agent.kill();
    let agent = Agent::run(dir, &[]);
    let all = || {
        let text = std::fs::read_to_string(dir.join("out.ndjson")).unwrap_or_default();
        let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        whole.filter_map(|row| row["n"].as_u64()).collect::<std::collections::BTreeSet<_>>().len()
    };
    eventually("all have come", || all() == 20_000);
    agent.stop();
}

/// Whole lines that have come.
fn whole(dir: &Path) -> usize {
    std::fs::read_to_string(dir.join("out.ndjson")).map_or(0, |text| text.matches('\n').count())
}

#[test]
fn rows_go_from_one_server_to_another_with_their_times_and_metrics_as_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (from, to) = (server(), server());
    let now = now_micros();
    let at = |n: i64| now - 1_000_000_000 + n * 1000;
    from.put_rows("shop", (0..1500).map(|n| json!({"_timestamp": at(n / 2), "n": n, "level": "info"})));
    let sample = |n: i64| json!({"_timestamp": at(n), "__name__": "cpu", "value": n as f64, "host": "a"});
    from.put_rows_of("metrics", "cpu", (0..50).map(sample));
    let (a, b) = (from.url(), to.url());
    let auth = format!("auth: {{basic: {{user: {USER}, password: \"{PASSWORD}\"}}}}");
    config(
        dir,
        &format!(
            "data_dir: ./data
sources:
  logs: {{type: openobserve, url: \"{a}\", {auth}, stream: shop}}
  metrics: {{type: openobserve, url: \"{a}\", {auth}, stream: cpu, stream_type: metrics}}
sinks:
  o2: {{type: openobserve, inputs: [logs, metrics], url: \"{b}\", {auth}, stream: copy, metrics_api: json}}
"
        ),
    );
    let (code, said) = once(dir);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(sorted(to.stored("copy")), sorted(from.stored("shop")));
    assert_eq!(sorted(to.metrics("cpu")), sorted(from.metrics("cpu")));
}

#[test]
fn what_it_cannot_do_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let double = server();
    for (settings, words) in [
        ("follow: true", "`stream` or `query` is missing"),
        ("stream: s, query: \"SELECT * FROM s\"", "stands beside `stream`"),
        ("query: \"SELECT count(*) FROM s\"", "are not events"),
        ("stream: s, from: yesterday", "`yesterday` is not a time"),
        ("stream: s, follow: true, to: now", "does not go with `follow`"),
    ] {
        write(dir, &double, settings);
        let (code, _, said) = output(tidegate(dir, &["validate", "--config", "tidegate.yaml"]));
        assert!(code == Some(78) && said.contains(words), "{settings}: {said}");
    }
    write(dir, &double, "stream: s, follow: true");
    let (code, said) = once(dir);
    assert!(code == Some(78) && said.contains("would run for ever"), "{said}");
    write(dir, &double, "stream: s, from: \"-2h\"");
    let text = std::fs::read_to_string(dir.join("tidegate.yaml")).unwrap();
    std::fs::write(dir.join("tidegate.yaml"), text.replace(PASSWORD, "wrong") + "restart: {max: 0}\n").unwrap();
    let (code, said) = once(dir);
    assert!(code == Some(1) && said.contains("the credentials under `auth` are not taken"), "{said}");
}

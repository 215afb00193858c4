//! `tidegate openobserve`: what is kept on a server as code, against the double of 0.8 and of 0.92.

use crate::agent::{eventually, output, tidegate};
use crate::openobserve_double::{Done, Double, PASSWORD, Setup, USER};
use crate::openobserve_manage::Manage;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

pub(crate) const NEW: &str = "v0.92.2";
pub(crate) const OLD: &str = "v0.8.0";

pub(crate) fn double(version: &'static str) -> Double {
    Double::start(Setup { version, ..Setup::default() })
}

/// One of each kind that both generations know.
const BOTH: &str = r#"
  streams:
    app_logs: {retention: 30d, full_text: [message], bloom: [trace_id], partition: [service]}
  functions:
    shorten: {vrl: ".message = truncate(.message, 100)"}
  folders:
    Operations: {description: "What runs"}
  templates:
    short: {body: '{"text": "{alert_name}"}'}
  destinations:
    ops: {url: "https://example.com/hook/canary-of-the-hook", headers: {X-Key: canary-of-the-header}, template: short}
    chat: {url: "https://example.com/chat", preset: slack}
  alerts:
    errors:
      stream: app_logs
      sql: "SELECT count(*) AS n FROM app_logs WHERE level = 'error' HAVING count(*) > 100"
      every: 5m
      destinations: [ops]
      description: Too many errors
  dashboards:
    overview:
      title: Overview
      folder: Operations
      description: What goes on
      variables: {service: {type: query, stream: app_logs, field: service}}
      panels:
        - {title: Events, type: line, sql: "SELECT histogram(_timestamp) AS ts, count(*) AS n FROM app_logs GROUP BY ts"}
        - {title: Latest, type: table, sql: "SELECT a AS one, b AS two FROM app_logs WHERE service = $service"}
        - {title: About, type: text, text: "Look here"}
"#;

/// What only the newer one knows.
const ONLY_NEW: &str = r#"
  pipelines:
    shape:
      description: Shapes
      nodes:
        - {id: in, io_type: input, data: {node_type: stream, stream_name: app_logs, stream_type: logs}}
        - {id: fn, io_type: default, data: {node_type: function, name: shorten}}
      edges: [{id: e1, source: in, target: fn}]
"#;

pub(crate) fn yaml(double: &Double, resources: &str) -> String {
    let url = double.url();
    format!(
        "data_dir: ./data\nopenobserve:\n  url: \"{url}\"\n  auth: {{basic: {{user: {USER}, password: \"{PASSWORD}\"}}}}\n{resources}"
    )
}

fn all(version: &str) -> String {
    if version == NEW { format!("{BOTH}{ONLY_NEW}") } else { BOTH.to_owned() }
}

pub(crate) fn write(dir: &Path, double: &Double, resources: &str) {
    std::fs::write(dir.join("tidegate.yaml"), yaml(double, resources)).unwrap();
}

/// Exit code, stdout and stderr, without the address and the time.
pub(crate) fn ask(dir: &Path, double: &Double, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tidegate(dir, &["openobserve"]);
    command.args(args).args(["--config", "tidegate.yaml"]).env("USER", "ops");
    let (code, out, said) = output(command);
    for canary in ["canary-of-the", PASSWORD] {
        assert!(!out.contains(canary) && !said.contains(canary), "{out}{said}");
    }
    let clean = |text: String| {
        let text = text.replace(&double.url(), "http://server");
        let lines = text.lines().map(|line| match line.split_once("last applied ") {
            Some(_) => "last applied TIME by WHO",
            None => line,
        });
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    (code, clean(out), clean(said))
}

#[track_caller]
pub(crate) fn apply(dir: &Path, double: &Double) -> String {
    let (code, out, said) = ask(dir, double, &["apply", "--yes"]);
    assert_eq!(code, Some(0), "{out}{said}");
    out
}

fn event(double: &Double) {
    double.put_rows("app_logs", [json!({"_timestamp": 1, "level": "info"})]);
}

/// Puts a server, and a folder, into the state of a first `apply`.
fn applied(version: &'static str) -> (tempfile::TempDir, Double) {
    let dir = tempfile::tempdir().unwrap();
    let double = double(version);
    event(&double);
    write(dir.path(), &double, &all(version));
    apply(dir.path(), &double);
    (dir, double)
}

#[test]
fn a_second_apply_changes_nothing_and_both_say_what_they_do() {
    for version in [NEW, OLD] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let double = double(version);
        event(&double);
        write(dir, &double, &all(version));
        let name = |what: &str| format!("{what}_{version}");
        let (code, plan, said) = ask(dir, &double, &["plan"]);
        assert_eq!(code, Some(3), "{plan}{said}");
        insta::assert_snapshot!(name("plan"), plan);
        assert_eq!(double.manage(|m| m.changes), 0, "a plan changes nothing");

        let (code, out, said) = ask(dir, &double, &["apply"]);
        assert_eq!(code, Some(1), "{out}{said}");
        assert!(said.contains("`--yes`"), "{said}");
        assert_eq!(double.manage(|m| m.changes), 0, "nobody was there to be asked");
        insta::assert_snapshot!(name("apply"), apply(dir, &double));

        let (changes, picture) = double.manage(|m| (m.changes, m.picture()));
        let file = dir.join("data/openobserve.json");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let state = std::fs::read_to_string(&file).unwrap();
        assert!(!state.contains("canary-of-the"), "{state}");
        let again = apply(dir, &double);
        assert!(again.ends_with("apply: 0 created, 0 changed, 0 removed, 0 failed\n"), "{again}");
        assert_eq!(double.manage(|m| (m.changes, m.picture())), (changes, picture));
        // The server tells the id of a pipeline only when it is asked for it; from then on not even the file changes.
        let state = std::fs::read_to_string(&file).unwrap();
        apply(dir, &double);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), state);
        let (code, out, said) = ask(dir, &double, &["plan"]);
        assert_eq!(code, Some(0), "{out}{said}");
        let (_, out, _) = ask(dir, &double, &["plan", "--format", "json"]);
        let plan: Value = serde_json::from_str(&out).unwrap();
        let changes = plan[0]["changes"].as_array().unwrap();
        assert!(changes.len() > 7 && changes.iter().all(|c| c["action"] == "nothing"), "{out}");
        assert!(plan[0]["applied"]["by"].as_str().unwrap().starts_with("ops@"), "{out}");
    }
}

fn first<T>(map: &mut std::collections::BTreeMap<String, T>) -> &mut T {
    map.values_mut().next().unwrap()
}

type Drift = (&'static str, &'static str, fn(&mut Manage));

/// What somebody does to each kind at the server, and the field that shows it.
const DRIFTS: &[Drift] = &[
    ("stream.app_logs", "retention_days: 7 -> 30", |m| {
        m.settings.values_mut().for_each(|s| s["data_retention"] = json!(7));
    }),
    ("stream.app_logs", "full_text: [] -> [\"message\"]", |m| {
        m.settings.values_mut().for_each(|s| s["full_text_search_keys"] = json!([]));
    }),
    ("function.shorten", "function: \".x = 1\" -> ", |m| first(&mut m.functions)["function"] = json!(".x = 1\n .")),
    ("folder.Operations", "description: \"theirs\" -> ", |m| {
        m.folders.values_mut().for_each(|f| f["description"] = json!("theirs"));
    }),
    ("template.short", "body: \"theirs\" -> ", |m| m.templates.get_mut("short").unwrap()["body"] = json!("theirs")),
    ("destination.ops", "url: *** -> ***", |m| {
        m.destinations.get_mut("ops").unwrap()["url"] = json!("https://elsewhere.example.com");
    }),
    ("alert.errors", "threshold: 9 -> 1", |m| {
        first(&mut m.alerts).1["trigger_condition"]["threshold"] = json!(9);
    }),
    ("alert.errors", "enabled: false -> true", |m| first(&mut m.alerts).1["enabled"] = json!(false)),
    ("dashboard.overview", "dashboard.title: \"Theirs\" -> \"Overview\"", |m| {
        first(&mut m.dashboards).1["title"] = json!("Theirs");
    }),
    ("dashboard.overview", "folder: \"default\" -> \"Operations\"", |m| {
        first(&mut m.dashboards).0 = "default".into();
    }),
];

#[test]
fn what_somebody_changed_on_the_server_is_seen_and_put_back() {
    for version in [NEW, OLD] {
        let (dir, double) = applied(version);
        let picture = double.manage(|m| m.picture());
        for (resource, field, drift) in DRIFTS {
            double.manage(drift);
            assert_ne!(double.manage(|m| m.picture()), picture, "{resource}");
            let (code, plan, said) = ask(dir.path(), &double, &["plan"]);
            assert_eq!(code, Some(3), "{plan}{said}");
            assert!(plan.contains(&format!("~ {resource}\n")), "{version}: {plan}");
            let line = plan.lines().find(|line| line.trim_start().starts_with(field));
            assert!(line.is_some_and(|line| line.ends_with("(changed on the server)")), "{version} {field}: {plan}");
            let out = apply(dir.path(), &double);
            assert!(out.contains("0 created, 1 changed, 0 removed"), "{out}");
            assert_eq!(double.manage(|m| m.picture()), picture, "{version} {resource}");
        }
        // What is removed is made again, and what the configuration changes is not called drift.
        double.manage(|m| m.dashboards.clear());
        assert!(apply(dir.path(), &double).contains("created dashboard.overview"));
        assert_eq!(double.manage(|m| m.picture()), picture);
        write(dir.path(), &double, &all(version).replace("retention: 30d", "retention: 31d"));
        let (_, plan, _) = ask(dir.path(), &double, &["plan"]);
        assert!(plan.contains("retention_days: 30 -> 31\n"), "{plan}");
    }
}

#[test]
fn a_kill_at_every_request_of_an_apply_and_a_second_run_end_in_the_same_state() {
    for version in [NEW, OLD] {
        let (_dir, clean) = applied(version);
        let picture = clean.manage(|m| m.picture());
        let mut kills = 0;
        for n in 0.. {
            let mut came = false;
            for done in [Done::No, Done::Yes] {
                let dir = tempfile::tempdir().unwrap();
                let double = double(version);
                event(&double);
                write(dir.path(), &double, &all(version));
                double.stop_at(Some((n, done)));
                let mut command = tidegate(dir.path(), &["openobserve", "apply", "--yes", "--config", "tidegate.yaml"]);
                let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
                let mut ended = None;
                eventually("the request comes, or all is done", || {
                    ended = child.try_wait().unwrap();
                    double.has_stopped() || ended.is_some()
                });
                came |= double.has_stopped();
                child.kill().unwrap();
                child.wait().unwrap();
                double.stop_at(None);
                apply(dir.path(), &double);
                assert_eq!(double.manage(|m| m.picture()), picture, "{version}: request {n}, done: {done:?}");
                kills += usize::from(came);
                // And it knows what it made: all of it goes again.
                if came && n % 4 == 0 {
                    let (code, out, said) = ask(dir.path(), &double, &["destroy", "--yes", "--streams"]);
                    assert_eq!(code, Some(0), "{out}{said}");
                    let left = double.manage(|m| m.picture());
                    for kind in
                        ["templates", "destinations", "functions", "dashboards", "alerts", "folders", "pipelines"]
                    {
                        let empty = left[kind].as_array().is_none_or(Vec::is_empty)
                            && left[kind].as_object().is_none_or(serde_json::Map::is_empty);
                        assert!(empty, "{version}: request {n}, done: {done:?}: {left}");
                    }
                }
            }
            if !came {
                break;
            }
        }
        println!("{version}: killed {kills} times");
        assert!(kills > 30, "{kills}");
    }
}

#[test]
fn what_others_made_is_never_removed_and_what_was_made_is() {
    for version in [NEW, OLD] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let double = double(version);
        event(&double);
        // By hand, before: a dashboard of the same title, a template of the same name.
        let theirs = json!({"version": 2, "title": "Overview", "description": "by hand", "panels": []});
        double.manage(|m| {
            m.templates.insert("short".into(), json!({"name": "short", "body": "by hand", "type": "http"}));
            m.dashboards.insert("1".into(), ("default".into(), theirs.clone()));
        });
        write(dir, &double, &all(version));
        let out = apply(dir, &double);
        assert!(out.contains("changed template.short") && out.contains("created dashboard.overview"), "{out}");
        assert_eq!(double.manage(|m| m.dashboards.len()), 2);
        // By hand, after.
        double.manage(|m| {
            m.functions.insert("theirs".into(), json!({"name": "theirs", "function": "."}));
            m.templates.insert("theirs".into(), json!({"name": "theirs", "body": "b"}));
        });
        write(dir, &double, "  templates: {}\n");
        let (code, plan, said) = ask(dir, &double, &["plan"]);
        assert_eq!(code, Some(0), "nothing is named, nothing is done: {plan}{said}");
        let (code, plan, said) = ask(dir, &double, &["plan", "--prune"]);
        assert_eq!(code, Some(3), "{plan}{said}");
        assert!(plan.contains("= template.short stays: it was there before"), "{plan}");
        assert!(!plan.contains("- stream.app_logs"), "rows are not removed by the way: {plan}");
        let (code, out, said) = ask(dir, &double, &["apply", "--prune", "--yes"]);
        assert_eq!(code, Some(0), "{out}{said}");
        let left = double.manage(|m| m.picture());
        assert_eq!(left["dashboards"], json!([["default", theirs]]));
        let names = |kind: &str| left[kind].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            (names("templates"), names("functions")),
            (vec!["short".into(), "theirs".into()], vec!["theirs".into()])
        );
        assert!(
            names("destinations").is_empty() && left["alerts"] == json!([]) && left["folders"] == json!([]),
            "{left}"
        );
    }
}

#[test]
fn one_that_fails_does_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let double = double(NEW);
    event(&double);
    // The server takes no hook on loopback.
    write(dir.path(), &double, &BOTH.replace("https://example.com/hook", "http://127.0.0.1/hook"));
    let (code, out, said) = ask(dir.path(), &double, &["apply", "--yes"]);
    assert_eq!(code, Some(1), "{out}{said}");
    let failed: Vec<&str> = out.lines().filter(|line| line.starts_with("FAILED")).collect();
    assert!(failed.len() == 2 && failed[0].starts_with("FAILED destination.ops: POST http://server/api/"), "{out}");
    assert!(failed[1].starts_with("FAILED alert.errors"), "{out}");
    assert!(out.contains("created destination.chat") && out.contains("created dashboard.overview"), "{out}");
    assert!(out.ends_with("6 created, 1 changed, 0 removed, 2 failed\n"), "{out}");
    // Only what is named.
    write(dir.path(), &double, BOTH);
    let (code, out, said) = ask(dir.path(), &double, &["apply", "--yes", "--target", "destination.ops"]);
    assert!(code == Some(0) && out.ends_with("1 created, 0 changed, 0 removed, 0 failed\n"), "{out}{said}");
    assert!(apply(dir.path(), &double).ends_with("1 created, 0 changed, 0 removed, 0 failed\n"));
}

#[test]
fn what_a_version_cannot_do_is_said_before_anything_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let double = double(OLD);
    let more = BOTH.replace("bloom: [trace_id]", "index: [level], max_query_range: 24h");
    write(dir, &double, &format!("{more}{ONLY_NEW}"));
    let (code, plan, said) = ask(dir, &double, &["plan"]);
    assert_eq!(code, Some(3), "{plan}{said}");
    for words in [
        "! stream.app_logs: OpenObserve 0.8.0 has no `index` (from 0.11 on)",
        "! stream.app_logs: OpenObserve 0.8.0 has no `max_query_range` (from 0.11 on)",
        "! pipeline.shape: OpenObserve 0.8.0 has no pipelines (from 0.10.9 on)",
        "? stream.app_logs: the first event makes it",
        "? alert.errors: the stream `app_logs` is not there yet",
    ] {
        assert!(plan.contains(words), "{words}: {plan}");
    }
    // What waits for the first event is done when it comes.
    write(dir, &double, BOTH);
    let mut command = tidegate(dir, &["openobserve", "apply", "--yes", "--wait", "5m", "--config", "tidegate.yaml"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("all else is done", || double.manage(|m| !m.dashboards.is_empty()));
    event(&double);
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("changed stream.app_logs") && said.contains("created alert.errors"), "{said}");
    assert!(said.ends_with("0 failed\n"), "{said}");
}

#[test]
fn what_is_imported_and_applied_to_an_empty_server_is_the_same() {
    for version in [NEW, OLD] {
        let (dir, from) = applied(version);
        let (code, imported, said) = ask(dir.path(), &from, &["import"]);
        assert_eq!(code, Some(0), "{imported}{said}");
        assert!(!imported.contains("[tidegate:"), "marks are no part of it: {imported}");
        let to = double(version);
        event(&to);
        let other = tempfile::tempdir().unwrap();
        let text = imported.replace("http://server", &to.url());
        std::fs::write(other.path().join("tidegate.yaml"), format!("data_dir: ./data\n{text}")).unwrap();
        let mut command = tidegate(other.path(), &["openobserve", "apply", "--yes", "--config", "tidegate.yaml"]);
        command.env("O2_USER", USER).env("O2_PASSWORD", PASSWORD);
        command.env("OPS_URL", "https://example.com/hook/canary-of-the-hook").env("OPS_X_KEY", "canary-of-the-header");
        command.env("CHAT_URL", "https://example.com/chat");
        let (code, out, said) = output(command);
        assert_eq!(code, Some(0), "{imported}{out}{said}");
        let (a, b) = (from.manage(|m| m.picture()), to.manage(|m| m.picture()));
        for (kind, value) in a.as_object().unwrap() {
            assert_eq!(*value, b[kind.as_str()], "{version} {kind}");
        }
    }
}

#[test]
fn mistakes_are_said_at_their_place_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"
openobserve:
  url: "http://localhost:5080/api/default"
  streams: {a: {retention: 36h, retentoin: 1d}}
  destinations: {d: {url: "https://x.example/canary-of-the-hook"}}
  alerts: {e: {stream: a, sql: "SELECT * FROM a", promql: up, destinations: [d]}}
  dashboards: {f: {title: T, panels: [{title: P, type: line, sql: "SELECT 1"}]}}
"#;
    std::fs::write(dir.path().join("tidegate.yaml"), text).unwrap();
    let mut command = tidegate(dir.path(), &["openobserve", "validate", "--config", "tidegate.yaml"]);
    command.env_remove("O2_USER");
    let (code, out, said) = output(command);
    assert_eq!(code, Some(78), "{out}{said}");
    assert!(said.contains("did you mean `retention`?"), "{said}");
    let fixed = text.replace(", retentoin: 1d", "");
    std::fs::write(dir.path().join("tidegate.yaml"), fixed).unwrap();
    let (code, _, said) = output(tidegate(dir.path(), &["openobserve", "validate", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(78));
    for words in [
        "is the server's address only",
        "whole days",
        "needs a `template`",
        "needs one of `sql`",
        "have no names",
        "--> tidegate.yaml:4:",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("canary-of-the-hook"), "{said}");
}

/// Rows `n = 0…` with these times.
fn put(double: &Double, times: impl Iterator<Item = i64>) {
    let rows =
        times.enumerate().map(|(n, time)| json!({"_timestamp": time, "n": n, "name": format!("O'Brien {}", n % 3)}));
    double.put_rows("my-logs", rows);
}

fn numbers(out: &str) -> Vec<u64> {
    let number = |line: &str| serde_json::from_str::<Value>(line).unwrap()["n"].as_u64().unwrap();
    out.lines().map(number).collect()
}

pub(crate) const T: i64 = 1_700_000_000_000_000;
pub(crate) const RANGE: [&str; 4] = ["--from", "2023-11-14T00:00:00Z", "--to", "2023-11-16T00:00:00Z"];

#[test]
fn every_row_comes_once_whatever_times_they_share() {
    let dir = tempfile::tempdir().unwrap();
    let double = double(NEW);
    write(dir.path(), &double, "");
    let total = 300_000;
    // 7,001 rows share each time, so that every border of a page lies within one; then 25,000 of one time.
    double.manage(|m| m.in_order = true);
    put(&double, (0..total).map(|n| T + if n < 275_000 { n / 7_001 } else { 1_000_000 }));
    let mut args = vec!["query", "SELECT * FROM my-logs", "--format", "ndjson", "--page", "10000"];
    args.extend(RANGE);
    let (code, out, said) = ask(dir.path(), &double, &args);
    assert_eq!(code, Some(0), "{said}");
    let mut found = numbers(&out);
    assert_eq!(found.len(), total as usize);
    found.sort_unstable();
    assert!(found.iter().enumerate().all(|(n, found)| n as u64 == *found), "each once");
}

#[test]
fn values_are_texts_and_ranges_that_the_server_cuts_are_asked_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let double = double(NEW);
    write(dir.path(), &double, "");
    put(&double, (0..300).map(|n| T + n * 60_000_000));
    double.manage(|m| m.settings.insert(("logs".into(), "my-logs".into()), json!({"max_query_range": 1})));
    let mut args =
        vec!["query", "SELECT * FROM my-logs WHERE name = $name", "--format", "ndjson", "--var", "name=O'Brien 1"];
    args.extend(["--var", "names=wrong"].iter().chain(&RANGE));
    let (code, out, said) = ask(dir.path(), &double, &args);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(numbers(&out), (0..300).filter(|n| n % 3 == 1).collect::<Vec<u64>>());
    let (code, _, said) = ask(dir.path(), &double, &["query", "SELECT * FROM x WHERE a = $other"]);
    assert!(code == Some(1) && said.contains("`$other` has no value"), "{said}");
    let (code, _, said) = ask(dir.path(), &double, &["query", "SELECT * FROM nowhere"]);
    assert!(code == Some(1) && said.contains("Search stream not found: nowhere"), "{said}");

    let sums = "SELECT level, count(*) AS n FROM \"my-logs\" GROUP BY level";
    double.manage(|m| m.answers.insert(sums.into(), Ok(vec![json!({"level": "a, \"b\"", "n": 2})])));
    let (_, out, _) = ask(dir.path(), &double, &["query", sums, "--format", "csv"]);
    assert_eq!(out, "level,n\n\"a, \"\"b\"\"\",2\n");
    let (_, out, _) = ask(dir.path(), &double, &["query", sums]);
    assert_eq!(out, "level   n\na, \"b\"  2\n1 row\n");
    let (_, out, _) = ask(dir.path(), &double, &["query", sums, "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), json!([{"level": "a, \"b\"", "n": 2}]));
}

#[test]
fn dashboards_are_listed_printed_and_asked() {
    let (dir, double) = applied(NEW);
    let (code, list, said) = ask(dir.path(), &double, &["dashboards", "list"]);
    assert_eq!(code, Some(0), "{said}");
    let id = list.split_whitespace().next().unwrap().to_owned();
    assert!(list.contains("Operations") && list.ends_with("Overview\n"), "{list}");
    let (_, one, _) = ask(dir.path(), &double, &["dashboards", "get", &id]);
    assert_eq!(serde_json::from_str::<Value>(&one).unwrap()["title"], "Overview");
    let first = "SELECT histogram(_timestamp) AS ts, count(*) AS n FROM app_logs GROUP BY ts";
    let second = "SELECT a AS one, b AS two FROM app_logs WHERE service = 'x'";
    double.manage(|m| {
        m.answers.insert(first.into(), Ok(vec![json!({"ts": "t", "n": 5})]));
        m.answers.insert(second.into(), Err("Schema error: No field named a".into()));
    });
    let (code, out, said) = ask(dir.path(), &double, &["dashboards", "data", &id, "--var", "service=x"]);
    assert_eq!(code, Some(1), "{out}{said}");
    let data: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(data["panels"][0]["rows"], json!([{"ts": "t", "n": 5}]));
    assert!(data["panels"][1]["error"].as_str().unwrap().contains("No field named a"), "{out}");
}

/// The blocks of a page that are fenced with a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_walk_of_the_documentation_works() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openobserve.md");
    let page = std::fs::read_to_string(page).unwrap();
    for version in [NEW, OLD] {
        let dir = tempfile::tempdir().unwrap();
        let double = double(version);
        let yaml = blocks(&page, "yaml").remove(0).replace("http://localhost:5080", &double.url());
        std::fs::write(dir.path().join("tidegate.yaml"), yaml).unwrap();
        let mut plans = Vec::new();
        let run = |line: &str| {
            let args: Vec<&str> = line.split_whitespace().skip(1).collect();
            let mut command = tidegate(dir.path(), &args);
            command.env("O2_USER", USER).env("O2_PASSWORD", PASSWORD);
            output(command)
        };
        for line in blocks(&page, "sh").iter().flat_map(|block| block.lines()) {
            let (code, out, said) = run(line);
            if line.contains(" plan ") {
                plans.push(code);
            } else {
                assert_eq!(code, Some(0), "{version} {line}: {out}{said}");
            }
            if line.contains(" query ") {
                assert_eq!(out.lines().count(), 500, "{out}{said}");
            }
            if line.contains(" list ") {
                assert!(out.contains("Shop"), "{out}");
            }
        }
        let first = if version == NEW { [Some(3), Some(0)] } else { [Some(3), Some(3)] };
        assert_eq!(plans, first, "the old one waits for the first event");
        let (code, out, said) = run("tidegate openobserve apply --yes --config tidegate.yaml");
        assert_eq!(code, Some(0), "{out}{said}");
        let (code, out, said) = run("tidegate openobserve plan --config tidegate.yaml");
        assert_eq!(code, Some(0), "{out}{said}");
        assert_eq!(double.manage(|m| (m.alerts.len(), m.dashboards.len())), (1, 1));
    }
}

/// A pipeline with a sink into `stream`, beside what is kept.
pub(crate) fn with_sink(dir: &Path, double: &Double, stream: &str, resources: &str, password: &str) {
    let text = yaml(double, resources).replace(PASSWORD, password);
    let url = double.url();
    let sink = format!(
        "sources: {{in: {{type: demo, count: 1}}}}
sinks: {{o2: {{type: openobserve, inputs: [in], url: \"{url}\", stream: {stream}, auth: {{basic: {{user: {USER}, password: \"{PASSWORD}\"}}}}}}}}
"
    );
    std::fs::write(dir.join("tidegate.yaml"), format!("{text}{sink}")).unwrap();
}

/// What is wrong, as `verify` says it.
pub(crate) fn wrong(dir: &Path, double: &Double, more: &[&str]) -> Vec<String> {
    let args: Vec<&str> = ["verify", "--timeout", "5s"].iter().chain(more).copied().collect();
    let (code, out, said) = ask(dir, double, &args);
    let wrong: Vec<String> = out.lines().filter_map(|line| line.strip_prefix("WRONG   ")).map(str::to_owned).collect();
    assert_eq!(code, Some(i32::from(!wrong.is_empty())), "{out}{said}");
    wrong
}

#[test]
fn verify_finds_each_fault() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let fresh = || {
        let double = double(NEW);
        let (alert, panel) =
            ("SELECT count(*) AS n FROM shop HAVING count(*) > 9", "SELECT count(*) AS n FROM shop WHERE a = ''");
        double.manage(|m| {
            m.answers.insert(alert.into(), Ok(Vec::new()));
            m.answers.insert(panel.into(), Ok(Vec::new()));
        });
        double.put_rows("shop", [json!({"_timestamp": 1})]);
        double
    };
    let resources = "  streams: {shop: {retention: 30d}}
  destinations: {d: {url: \"https://x.example/h\", preset: slack}}
  alerts: {a: {stream: shop, sql: \"SELECT count(*) AS n FROM shop HAVING count(*) > 9\", destinations: [d]}}
  dashboards: {s: {title: S, panels: [{title: P, type: stat, sql: \"SELECT count(*) AS n FROM shop WHERE a = $v\"}]}}
";
    let double = fresh();
    with_sink(dir, &double, "shop", resources, PASSWORD);
    assert_eq!(wrong(dir, &double, &["--stream", "shop"]), Vec::<String>::new());
    let probe = double.stored("shop").pop().unwrap();
    assert_eq!(
        (&probe["probe_digits"], &probe["probe_number"]),
        (&json!("00123"), &json!(42)),
        "it came through the sink"
    );

    let one = |double: &Double, more: &[&str], words: &str| {
        let wrong = wrong(dir, double, more);
        assert!(wrong.len() == 1 && wrong[0].contains(words), "{words}: {wrong:?}");
    };
    let double = fresh();
    with_sink(dir, &double, "shop", resources, "not-the-password");
    one(&double, &[], "401: the credentials under `auth` are not taken");
    with_sink(dir, &double, "shop", resources, PASSWORD);
    double.manage(|m| m.forbidden = "functions");
    one(&double, &[], "functions: the user's role does not let see them");

    let double = fresh();
    with_sink(dir, &double, "Shop-Logs", resources, PASSWORD);
    one(&double, &["--stream", "Shop-Logs"], "stream `Shop-Logs` is `shop_logs` on the server");

    let double = fresh();
    with_sink(dir, &double, "shop", resources, PASSWORD);
    double.manage(|m| m.counts_digits = true);
    one(&double, &[], "field `probe_digits` was sent as a text and is a number: \"00123\" is 123");

    let double = fresh();
    with_sink(dir, &double, "shop", resources, PASSWORD);
    double.manage(|m| m.clock = 3600);
    one(&double, &[], "ahead of this host's");

    let double = fresh();
    with_sink(dir, &double, "shop", &resources.replace("30d", "30d, allow_late: 6h"), PASSWORD);
    one(&double, &[], "raise ZO_INGEST_ALLOWED_UPTO");
    with_sink(dir, &double, "shop", &resources.replace("30d", "30d, allow_late: 4h"), PASSWORD);
    assert_eq!(wrong(dir, &double, &[]), Vec::<String>::new());

    let double = fresh();
    with_sink(dir, &double, "shop", &resources.replace("{shop:", "{nowhere: {}, shop:"), PASSWORD);
    one(&double, &[], "stream `nowhere` of logs is not on the server");

    let double = fresh();
    with_sink(dir, &double, "shop", &resources.replace("HAVING count(*) > 9", "HAVING nowhere > 9"), PASSWORD);
    one(&double, &[], "the query of alert.a fails");
    with_sink(dir, &double, "shop", &resources.replace("a = $v", "b = $v"), PASSWORD);
    one(&double, &[], "panel `P` of dashboard.s fails");

    for (columns, words) in [(520, "`SELECT *` gives 500 of them"), (1020, "is dropped without a word")] {
        let double = fresh();
        let wide = (0..columns).map(|n| (format!("c{n}"), json!(n)));
        let wide: serde_json::Map<_, _> = wide.chain([("_timestamp".to_owned(), json!(1))]).collect();
        double.put_rows("shop", [Value::Object(wide)]);
        with_sink(dir, &double, "shop", resources, PASSWORD);
        one(&double, &[], words);
    }
}

#[test]
fn new_rows_are_printed_once_as_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let double = double(NEW);
    write(dir.path(), &double, "");
    let args = [
        "openobserve",
        "tail",
        "my-logs",
        "--where",
        "name = $n",
        "--var",
        "n=a",
        "--every",
        "50ms",
        "--config",
        "tidegate.yaml",
    ];
    let agent = crate::agent::Tail::start(tidegate(dir.path(), &args));
    let now = crate::openobserve_double::now_micros;
    let row = |n: u64, time: i64| json!({"_timestamp": time, "n": n, "name": if n == 2 { "b" } else { "a" }});
    eventually("it asks", || double.seen().iter().any(|seen| seen.path.contains("_search")));
    let first = now();
    double.put_rows("my-logs", [row(1, first), row(2, first), row(3, first)]);
    eventually("two rows", || agent.lines().len() >= 2);
    // One that is late, and one that is as another.
    double.put_rows("my-logs", [row(4, first - 1), row(3, first)]);
    eventually("two more", || agent.lines().len() >= 4);
    let asked = double.seen().len();
    eventually("it has asked again", || double.seen().len() > asked + 2);
    let mut found: Vec<u64> = agent.lines().iter().map(|line| numbers(line)[0]).collect();
    found.sort_unstable();
    assert_eq!(found, [1, 3, 3, 4]);
}

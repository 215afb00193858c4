//! What is shipped for OpenObserve: its dashboards and alerts, asked on data of the `demo` source and on data whose numbers are known.

use crate::agent::{Agent, eventually, get, output, tidegate};
use crate::openobserve_code::{NEW, OLD, RANGE, T, ask, double, write, wrong, yaml};
use crate::openobserve_double::{Double, PASSWORD, USER};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[track_caller]
fn done(dir: &Path, double: &Double, args: &[&str]) -> String {
    let (code, out, said) = ask(dir, double, args);
    assert_eq!(code, Some(0), "{args:?}: {out}{said}");
    out
}

/// The rows of every panel of a dashboard, by its title and theirs.
fn panels(dir: &Path, double: &Double, title: &str, range: &[&str]) -> BTreeMap<String, Value> {
    let list = done(dir, double, &["dashboards", "list"]);
    let line = list.lines().find(|line| line.ends_with(title)).unwrap_or_else(|| panic!("{title}: {list}"));
    let id = line.split_whitespace().next().unwrap();
    let args: Vec<&str> = ["dashboards", "data", id].iter().chain(range).copied().collect();
    let data: Value = serde_json::from_str(&done(dir, double, &args)).unwrap();
    let panels = data["panels"].as_array().unwrap().iter();
    panels.map(|panel| (panel["title"].as_str().unwrap().to_owned(), panel["rows"].clone())).collect()
}

/// Whether rows are those, numbers by value.
#[track_caller]
fn same(what: &str, rows: &Value, want: &Value) {
    fn equal(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
            }
            (Value::Number(a), Value::Number(b)) => (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-6,
            _ => a == b,
        }
    }
    assert!(equal(rows, want), "{what}: {rows} is not {want}");
}

const TITLES: [&str; 5] = ["System overview", "User behaviour", "Orders", "Performance", "Agent's own health"];

#[test]
fn the_starter_is_put_there_once_and_asks_what_demo_and_the_agent_itself_make() {
    for version in [NEW, OLD] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let double = double(version);
        let url = double.url();
        let auth = format!("auth: {{basic: {{user: {USER}, password: \"{PASSWORD}\"}}}}");
        let text = yaml(&double, "");
        let text = format!(
            "{text}sources: {{shop: {{type: demo, format: shop, count: 600, rate: 0, decode: json}}}}
sinks: {{o2: {{type: openobserve, inputs: [shop], url: \"{url}\", stream: application_logs, {auth}}}}}\n"
        );
        std::fs::write(dir.join("tidegate.yaml"), &text).unwrap();
        let (code, out, said) = output(tidegate(dir, &["run", "--once", "--config", "tidegate.yaml"]));
        assert_eq!(code, Some(0), "{out}{said}");
        let rows = double.stored("application_logs");
        assert_eq!(rows.len(), 600);

        let out = done(dir, &double, &["apply", "--starter", "--yes"]);
        assert!(out.ends_with("6 created, 0 changed, 0 removed, 0 failed\n"), "{out}");
        let out = done(dir, &double, &["apply", "--starter", "--yes"]);
        assert!(out.ends_with("0 created, 0 changed, 0 removed, 0 failed\n"), "{out}");
        agent_metrics(dir, &double);
        for title in TITLES {
            let panels = panels(dir, &double, title, &[]);
            assert!(panels.len() >= 6, "{title}: {panels:?}");
            if title != "Agent's own health" {
                let empty = |rows: &Value| rows.as_array().is_some_and(Vec::is_empty);
                assert!(!panels.values().any(empty), "{title}: {panels:?}");
            }
        }
        assert_eq!(wrong(dir, &double, &["--starter"]), Vec::<String>::new());
        numbers_of_demo(dir, &double, &rows);

        // It goes as everything that was made.
        let out = done(dir, &double, &["destroy", "--yes"]);
        assert!(out.ends_with("0 created, 0 changed, 6 removed, 0 failed\n"), "{out}");
        assert!(double.manage(|m| m.dashboards.is_empty() && m.folders.is_empty()));
    }
}

/// The numbers of dashboards, computed once more from the rows.
fn numbers_of_demo(dir: &Path, double: &Double, rows: &[Map<String, Value>]) {
    let of = |event: &'static str| rows.iter().filter(move |row| row["event"] == event);
    let distinct =
        |event: &'static str| of(event).map(|row| row["session_id"].as_str().unwrap()).collect::<BTreeSet<_>>().len();
    let requests = of("request").count();
    let errors = of("request").filter(|row| row["status"].as_u64().unwrap() >= 500).count();
    let overview = panels(dir, double, "System overview", &[]);
    same("requests", &overview["Requests"], &json!([{"requests": requests}]));
    let rate = 100.0 * errors as f64 / requests as f64;
    same("error rate", &overview["Error rate"], &json!([{"error_rate": rate}]));
    let mut classes = [0; 4];
    for row in of("request") {
        let duration = row["duration"].as_u64().unwrap();
        classes[[100, 500, 1000].iter().filter(|limit| duration >= **limit).count()] += 1;
    }
    let names = ["1 fast", "2 normal", "3 slow", "4 very slow"];
    let want: Vec<Value> =
        names.iter().zip(classes).map(|(name, n)| json!({"duration_class": name, "requests": n})).collect();
    same("classes", &overview["Durations"], &json!(want));
    let behaviour = panels(dir, double, "User behaviour", &[]);
    let steps = [("1 view", "view"), ("2 cart", "cart"), ("3 checkout", "checkout"), ("4 purchase", "purchase")];
    let funnel = steps.map(|(name, event)| json!({"funnel_step": name, "sessions": distinct(event)}));
    same("funnel", &behaviour["Funnel"], &json!(funnel));
    let counts = steps.map(|(_, event)| distinct(event));
    assert!(counts.is_sorted_by(|a, b| a > b) && counts[3] > 0, "{counts:?}");
    let orders = panels(dir, double, "Orders", &[]);
    let created = || of("order").filter(|row| row["state"] == "created");
    let value: f64 = created().map(|row| row["amount"].as_f64().unwrap()).sum();
    same("value", &orders["Value"], &json!([{"value": value}]));
    let failed = of("payment").filter(|row| row["result"] == "failed").count();
    same(
        "failed",
        &orders["Failed payments"],
        &json!([{"failed": 100.0 * failed as f64 / of("payment").count() as f64}]),
    );
}

/// Brings the page of an agent to the server twice, as Prometheus would: a minute apart, the counters grown by 60 in between.
fn agent_metrics(dir: &Path, double: &Double) {
    let folder = dir.join("agent");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("tidegate.yaml");
    let text = "data_dir: ./data\napi: {listen: \"127.0.0.1:0\"}\nsources: {shop: {type: demo, rate: 50}}\nsinks: {out: {type: blackhole, inputs: [shop]}}\n";
    std::fs::write(file, text).unwrap();
    let agent = Agent::run(&folder, &[]);
    let mut address = String::new();
    eventually("it listens", || {
        address = agent.addresses().into_iter().next().unwrap_or_default();
        !address.is_empty()
    });
    eventually("events come out", || get(&address, "/metrics").1.contains("tidegate_events_out_total{"));
    let (_, page) = get(&address, "/metrics");
    agent.stop();
    let now = crate::openobserve_double::now_micros();
    let sample = |line: &str| -> Option<(String, Map<String, Value>)> {
        let (name, value) = line.rsplit_once(' ')?;
        let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        let mut row: Map<String, Value> =
            labels.map(|(key, value)| (key.to_owned(), json!(value.trim_matches('"')))).collect();
        row.insert("value".into(), json!(value.parse::<f64>().ok()?));
        Some((name.to_owned(), row))
    };
    for (name, row) in page.lines().filter(|line| !line.starts_with('#')).filter_map(sample) {
        for (ago, more) in [(90, 0.0), (30, 60.0)] {
            let mut row = row.clone();
            let grown = row["value"].as_f64().unwrap() + if name.ends_with("_total") { more } else { 0.0 };
            row.insert("value".into(), json!(grown));
            row.insert("_timestamp".into(), json!(now - ago * 1_000_000));
            double.put_rows_of("metrics", &name, [Value::Object(row)]);
        }
    }
}

#[test]
fn every_metric_that_the_agents_dashboard_asks_for_is_documented() {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let double = double(NEW);
    write(dir.path(), &double, "");
    agent_metrics(dir.path(), &double);
    done(dir.path(), &double, &["apply", "--starter", "--yes"]);
    let body = double.manage(|m| m.dashboards.values().find(|(_, d)| d["title"] == TITLES[4]).unwrap().1.clone());
    for panel in body["tabs"][0]["panels"].as_array().unwrap() {
        let query = panel["queries"][0]["query"].as_str().unwrap();
        let metric = query.rsplit('(').next().unwrap().trim_end_matches([')', ']']).split('[').next().unwrap();
        assert!(docs.contains(&format!("`{metric}")), "{metric}");
        assert_eq!(panel["queries"][0]["fields"]["stream"], metric);
    }
    // A counter that grows by 60 in 60 s grows by one a second; what does not change is shown as it is.
    let health = panels(dir.path(), &double, TITLES[4], &["--from", "-1m"]);
    let last = |panel: &str, id: &str| {
        let series = health[panel]["result"].as_array().unwrap().iter().find(|s| s["metric"]["component_id"] == id);
        let values = series.unwrap_or_else(|| panic!("{panel}: {health:?}"))["values"].as_array().unwrap().clone();
        values.last().unwrap()[1].as_str().unwrap().parse::<f64>().unwrap()
    };
    same("in", &json!(last("Events taken in a second", "out")), &json!(1.0));
    same("out", &json!(last("Events put out a second", "shop")), &json!(1.0));
    same("up", &json!(last("Components that are up", "shop")), &json!(1.0));
}

/// 100 requests with durations 10, 20, … 1000 ms of which four failed; four visitors, one of whom bought; five payments.
fn known() -> Vec<Value> {
    let at = |n: i64| T + n * 1_000_000;
    let mut rows: Vec<Value> = (1..=100)
        .map(|n| {
            let status = if n % 25 == 0 { 503 } else { 200 };
            json!({"_timestamp": at(n), "event": "request", "level": "info", "service": if n <= 40 { "cart" } else { "search" },
                "path": if n <= 90 { "/" } else { "/slow" }, "status": status, "duration": n * 10})
        })
        .collect();
    let steps = [
        ("a", "view"),
        ("b", "view"),
        ("c", "view"),
        ("d", "view"),
        ("a", "view"),
        ("a", "cart"),
        ("b", "cart"),
        ("c", "cart"),
        ("a", "checkout"),
        ("b", "checkout"),
        ("a", "purchase"),
    ];
    rows.extend(
        steps.iter().map(|(who, step)| json!({"_timestamp": at(0), "event": step, "session_id": who, "level": "info"})),
    );
    for (who, page) in [("a", "/"), ("a", "/"), ("b", "/"), ("a", "/products")] {
        rows.push(json!({"_timestamp": at(0), "event": "page", "session_id": who, "page": page, "level": "info"}));
    }
    for (order, state, amount) in
        [(1, "created", 10.5), (2, "created", 20.0), (3, "created", 2.5), (1, "shipped", 10.5)]
    {
        rows.push(json!({"_timestamp": at(0), "event": "order", "order_id": order, "state": state, "amount": amount, "level": "warn"}));
    }
    for (result, reason) in [("ok", ""), ("ok", ""), ("ok", ""), ("failed", "timeout"), ("failed", "declined")] {
        rows.push(json!({"_timestamp": at(0), "event": "payment", "result": result, "reason": reason, "amount": 7, "level": "error"}));
    }
    rows
}

#[test]
fn dashboards_show_the_numbers_that_were_computed_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let double = double(NEW);
    // Another name for the stream, and one row outside of the range.
    write(dir, &double, "  presets: {use: [starter], streams: {application_logs: shop}}\n");
    double.put_rows("shop", known());
    double.put_rows(
        "shop",
        [json!({"_timestamp": T - 86_400_000_000, "event": "request", "duration": 1, "status": 500})],
    );
    done(dir, &double, &["apply", "--yes"]);
    let overview = panels(dir, &double, "System overview", &RANGE);
    same("requests", &overview["Requests"], &json!([{"requests": 100}]));
    same("error rate", &overview["Error rate"], &json!([{"error_rate": 4.0}]));
    same("mean", &overview["Mean duration"], &json!([{"duration": 505.0}]));
    // 10 to 90, 100 to 490, 500 to 990, and 1000 ms.
    let classes = [("1 fast", 9), ("2 normal", 40), ("3 slow", 50), ("4 very slow", 1)];
    same("classes", &overview["Durations"], &json!(classes.map(|(c, n)| json!({"duration_class": c, "requests": n}))));
    let levels = [("error", 5), ("info", 115), ("warn", 4)];
    same("levels", &overview["Levels"], &json!(levels.map(|(l, n)| json!({"level": l, "events": n}))));
    let services = json!([{"service": "search", "requests": 60, "errors": 3, "duration": 705.0},
        {"service": "cart", "requests": 40, "errors": 1, "duration": 205.0}]);
    same("services", &overview["Services"], &services);
    // The range begins at 22:13:20: 40 requests until 22:13:59, 60 in the next minute, and one at its end.
    let minutes: Vec<u64> = overview["Requests and errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["requests"].as_u64().unwrap())
        .collect();
    assert_eq!(minutes, [39, 60, 1]);
    let errors: Vec<u64> =
        overview["Requests and errors"].as_array().unwrap().iter().map(|row| row["errors"].as_u64().unwrap()).collect();
    assert_eq!(errors, [1, 2, 1]);

    let behaviour = panels(dir, &double, "User behaviour", &RANGE);
    let funnel = [("1 view", 4), ("2 cart", 3), ("3 checkout", 2), ("4 purchase", 1)];
    same("funnel", &behaviour["Funnel"], &json!(funnel.map(|(s, n)| json!({"funnel_step": s, "sessions": n}))));
    same("conversion", &behaviour["Conversion"], &json!([{"conversion": 25.0}]));
    let pages = json!([{"page": "/", "views": 3, "sessions": 2}, {"page": "/products", "views": 1, "sessions": 1}]);
    same("pages", &behaviour["Pages"], &pages);

    let orders = panels(dir, &double, "Orders", &RANGE);
    same("orders", &orders["Orders"], &json!([{"orders": 3}]));
    same("value", &orders["Value"], &json!([{"value": 33.0}]));
    same("mean", &orders["Mean value"], &json!([{"value": 11.0}]));
    same("failed", &orders["Failed payments"], &json!([{"failed": 40.0}]));
    same("states", &orders["States"], &json!([{"state": "created", "orders": 3}, {"state": "shipped", "orders": 1}]));
    let why =
        json!([{"reason": "declined", "payments": 1, "value": 7}, {"reason": "timeout", "payments": 1, "value": 7}]);
    same("why", &orders["Why payments fail"], &why);

    // Of 10, 20, … 1000 a share s lies at 10 + 990 s.
    let performance = panels(dir, &double, "Performance", &RANGE);
    same("p50", &performance["p50"], &json!([{"p50": 505.0}]));
    same("p95", &performance["p95"], &json!([{"p95": 950.5}]));
    same("p99", &performance["p99"], &json!([{"p99": 990.1}]));
    let slowest = &performance["Slowest paths"];
    same(
        "slowest",
        &slowest[0],
        &json!({"path": "/slow", "requests": 10, "mean": 955.0, "p95": 995.5, "longest": 1000}),
    );
    same("rest", &slowest[1], &json!({"path": "/", "requests": 90, "mean": 455.0, "p95": 855.5, "longest": 900}));
}

#[test]
fn the_alerts_of_the_preset_ring_beyond_their_thresholds_and_not_at_them() {
    for version in [NEW, OLD] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let double = double(version);
        write(dir, &double, "  destinations: {ops: {url: \"https://x.example/h\", preset: slack}}\n");
        let rows = |n: usize, row: Value| vec![row; n].into_iter();
        let stamp = |mut row: Value| {
            row["_timestamp"] = json!(T);
            row
        };
        // At the thresholds: 1 of 100 commands, 500 ms, 300 ms, half of the questions, no dead letter.
        let ok = stamp(json!({"command": "pay", "status": "ok", "duration": 500}));
        double.put_rows("cqrs_commands", rows(99, ok.clone()));
        double.put_rows("cqrs_commands", rows(1, stamp(json!({"command": "pay", "status": "error", "duration": 500}))));
        for cache in ["hit", "miss"] {
            double.put_rows("cqrs_queries", rows(50, stamp(json!({"query": "cart", "duration": 300, "cache": cache}))));
        }
        let taken = stamp(json!({"event": "paid", "handler": "mail", "status": "ok"}));
        double.put_rows("cqrs_events", rows(3, taken.clone()));
        let metric = stamp(json!({"value": 3.0}));
        double.put_rows_of("metrics", "cqrs_metrics", [metric]);
        double.put_rows_of("traces", "cqrs_traces", [stamp(json!({"operation_name": "pay", "duration": 1000}))]);

        if version == OLD {
            // The streams of metrics and spans are made by their first rows.
            let (code, out, said) = ask(dir, &double, &["apply", "--preset", "cqrs", "--yes"]);
            assert_eq!(code, Some(0), "{out}{said}");
            assert!(out.contains("created alert.cqrs_dead_letters"), "{out}");
        } else {
            done(dir, &double, &["apply", "--preset", "cqrs", "--yes"]);
            let out = done(dir, &double, &["apply", "--preset", "cqrs", "--yes"]);
            assert!(out.ends_with("0 created, 0 changed, 0 removed, 0 failed\n"), "{out}");
            let range: Vec<&str> = RANGE.to_vec();
            let sides = panels(dir, &double, "Commands and queries", &range);
            same("failed", &sides["Failed commands"], &json!([{"error_rate": 1.0}]));
            same("cache", &sides["Found in the cache"], &json!([{"hit_rate": 50.0}]));
            let commands = json!([{"command": "pay", "commands": 100, "errors": 1, "p95": 500}]);
            same("commands", &sides["Commands by name"], &commands);
            let events = panels(dir, &double, "Events", &range);
            same("spans", &events["Spans"], &json!([{"operation_name": "pay", "spans": 1, "p95": 1000}]));
            same("metrics", &events["Metrics"][0]["value"], &json!(3.0));
            same("handlers", &events["Handlers"], &json!([{"handler": "mail", "events": 3, "dead_letters": 0}]));
        }
        let alerts: BTreeMap<String, String> = double.manage(|m| {
            let text = |v: &Value| v.as_str().unwrap().to_owned();
            m.alerts.values().map(|(_, a)| (text(&a["name"]), text(&a["query_condition"]["sql"]))).collect()
        });
        assert_eq!(alerts.len(), 5, "{alerts:?}");
        let ring = || -> Vec<&str> {
            let rings = |sql: &&String| {
                let args: Vec<&str> = ["query", sql, "--format", "json"].iter().chain(&RANGE).copied().collect();
                let rows: Value = serde_json::from_str(&done(dir, &double, &args)).unwrap();
                !rows.as_array().unwrap().is_empty()
            };
            alerts.iter().filter(|(_, sql)| rings(sql)).map(|(name, _)| name.as_str()).collect()
        };
        assert_eq!(ring(), Vec::<&str>::new());
        // Beyond them.
        double
            .put_rows("cqrs_commands", rows(20, stamp(json!({"command": "pay", "status": "error", "duration": 501}))));
        double.put_rows("cqrs_queries", rows(10, stamp(json!({"query": "cart", "duration": 301, "cache": "miss"}))));
        double.put_rows(
            "cqrs_events",
            rows(1, stamp(json!({"event": "paid", "handler": "mail", "status": "dead_letter"}))),
        );
        let all = ["cqrs_cache_hits", "cqrs_command_errors", "cqrs_command_p95", "cqrs_dead_letters", "cqrs_query_p95"];
        assert_eq!(ring(), all);
    }
}

#[test]
fn what_presets_need_and_do_not_have_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let double = double(NEW);
    write(dir.path(), &double, "");
    for (args, words) in [
        (["--preset", "cqrs"], "the alerts of preset `cqrs` have nowhere to go"),
        (["--preset", "other"], "`other` is no preset; there are starter, cqrs"),
        (["--preset-stream", "logs=x"], "no preset has a stream `logs`; there are application_logs,"),
    ] {
        let (code, _, said) = ask(dir.path(), &double, &["plan", args[0], args[1]]);
        assert!(code == Some(78) && said.contains(words), "{words}: {said}");
    }
    write(dir.path(), &double, "  presets: {use: [starter], streams: {other: x}}\n");
    let (code, _, said) = ask(dir.path(), &double, &["plan"]);
    assert!(code == Some(78) && said.contains("no preset has a stream `other`"), "{said}");
}

#[test]
fn the_rows_of_a_question_asked_a_moment_ago_are_taken_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let double = double(NEW);
    write(dir, &double, "");
    double.put_rows("s", [json!({"_timestamp": T, "n": 1})]);
    let asked = || double.seen().iter().filter(|seen| seen.path.contains("_search")).count();
    let query = |more: &[&str]| {
        let args = ["query", "SELECT * FROM s", "--format", "ndjson"];
        let args: Vec<&str> = args.iter().chain(&RANGE).chain(more).copied().collect();
        let (code, out, said) = ask(dir, &double, &args);
        assert_eq!(code, Some(0), "{said}");
        (out, said)
    };
    let (first, said) = query(&["--cache", "1h"]);
    assert!(asked() == 1 && !said.contains("ago"), "{said}");
    double.put_rows("s", [json!({"_timestamp": T, "n": 2})]);
    let (again, said) = query(&["--cache", "1h"]);
    assert!(again == first && said.starts_with("asked ") && asked() == 1, "{again}{said}");
    // Too old, another question, or none of the cache.
    assert_eq!(query(&["--cache", "0s"]).0.lines().count(), 2);
    assert_eq!(query(&[]).0.lines().count(), 2);
    let (out, _) = query(&["--cache", "1h"]);
    assert!(out.lines().count() == 2 && asked() == 3, "the newest rows are kept: {out}");
    let kept: Vec<_> = std::fs::read_dir(dir.join("data/openobserve-cache")).unwrap().flatten().collect();
    assert_eq!(kept.len(), 1);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(kept[0].metadata().unwrap().permissions().mode() & 0o077, 0);
    // What cannot be read is asked for anew.
    std::fs::write(kept[0].path(), "{}\nx").unwrap();
    assert_eq!(query(&["--cache", "1h"]).0.lines().count(), 2);
    assert_eq!(asked(), 4);
}

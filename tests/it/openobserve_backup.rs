//! `tidegate backup`: copies of streams, against the double. What is put back is compared with what was there, row by row.

use crate::agent::{eventually, output, tidegate};
use crate::openobserve_code::{NEW, OLD, T, write, yaml};
use crate::openobserve_double::{Done, Double, PASSWORD, Setup, USER};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A server that takes rows of any age.
fn server(version: &'static str) -> Double {
    Double::start(Setup { version, window: (1_000_000, 24), ..Setup::default() })
}

fn ask(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tidegate(dir, &["backup"]);
    command.args(args).args(["--config", "tidegate.yaml"]);
    let (code, out, said) = output(command);
    assert!(!out.contains(PASSWORD) && !said.contains(PASSWORD), "{out}{said}");
    (code, out, said)
}

#[track_caller]
fn done(dir: &Path, args: &[&str]) -> String {
    let (code, out, said) = ask(dir, args);
    assert_eq!(code, Some(0), "{args:?}: {out}{said}");
    out
}

/// Rows as texts that do not know the order of columns, in order.
pub(crate) fn sorted(rows: Vec<Map<String, Value>>) -> Vec<String> {
    let text = |row: Map<String, Value>| {
        let mut fields: Vec<(String, Value)> = row.into_iter().collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        serde_json::to_string(&fields).unwrap()
    };
    let mut rows: Vec<String> = rows.into_iter().map(text).collect();
    rows.sort_unstable();
    rows
}

#[track_caller]
fn same(double: &Double, a: &str, b: &str) {
    let (a, b) = (sorted(double.stored(a)), sorted(double.stored(b)));
    assert_eq!(a.len(), b.len());
    assert!(a == b, "{:?}", a.iter().zip(&b).find(|(a, b)| a != b));
}

/// Rows of which many share a time, and every tenth is as the one before it.
fn rows(count: i64, share: i64) -> impl Iterator<Item = Value> {
    (0..count).map(move |n| {
        let n = if n % 10 == 9 && n % share != 0 { n - 1 } else { n };
        json!({"_timestamp": T + n / share, "n": n, "text": format!("O'Brien \"{}\" ]}},{{ é\n", n % 7), "share": n as f64 / 8.0,
            "yes": n % 2 == 0, "level": "info"})
    })
}

fn manifest(dir: &Path) -> (PathBuf, Value) {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir.join("backups"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("manifest.json"))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    let path = found.pop().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    (path, serde_json::from_str(&text).unwrap())
}

#[test]
fn what_is_put_back_is_what_was_there_row_by_row() {
    for version in [NEW, OLD] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let double = server(version);
        write(dir, &double, "");
        double.manage(|m| m.in_order = true);
        // The first page has 200 rows: its border, and those of its doubles, lie within 1,700 of one time.
        double.put_rows("my-logs", rows(12_000, 1_700));
        let out = done(dir, &["create", "--stream", "my-logs", "--part", "300kB"]);
        assert!(out.contains("full of 1 streams, 12000 rows"), "{out}");
        let (_, manifest) = manifest(dir);
        assert_eq!((&manifest["state"], &manifest["streams"][0]["rows"]), (&json!("completed"), &json!(12_000)));
        assert!(manifest["streams"][0]["parts"].as_array().unwrap().len() > 3, "{manifest}");
        let out = done(dir, &["verify"]);
        assert!(out.starts_with("ok ") && out.contains("12000 rows"), "{out}");
        let out = done(dir, &["restore", "latest", "--stream", "my-logs=again", "--dry-run"]);
        assert!(out.starts_with("logs/my-logs to again: 12000 rows"), "{out}");
        assert!(double.stored("again").is_empty(), "nothing was sent");
        let out = done(dir, &["restore", "latest", "--stream", "my-logs=again"]);
        assert!(out.contains("logs/again: 12000 rows"), "{out}");
        same(&double, "my-logs", "again");
        let id = manifest["id"].as_str().unwrap();
        let list = done(dir, &["list"]);
        assert!(list.starts_with(id) && list.contains("completed  full"), "{list}");
        let show = done(dir, &["show", id]);
        assert!(show.contains("logs/my-logs: 12000 rows") && show.contains("2023-11-14T22:13:20.000Z to "), "{show}");
    }
}

#[test]
fn a_kill_at_every_request_and_a_second_run_end_in_the_same_copy() {
    let mut kills = 0;
    for n in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let double = server(NEW);
        write(dir, &double, "");
        double.put_rows("one", rows(400, 11));
        double.put_rows("two", rows(60, 1));
        double.stop_at(Some((n, Done::Yes)));
        let args = ["backup", "create", "--part", "15kB", "--config", "tidegate.yaml"];
        let mut command = tidegate(dir, &args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut ended = None;
        eventually("the request comes, or all is done", || {
            ended = child.try_wait().unwrap();
            double.has_stopped() || ended.is_some()
        });
        let came = double.has_stopped();
        child.kill().unwrap();
        child.wait().unwrap();
        double.stop_at(None);
        // Where it had come so far that it wrote a manifest, the second run goes on with it.
        let begun = dir.join("backups").exists()
            && std::fs::read_dir(dir.join("backups"))
                .unwrap()
                .any(|e| e.unwrap().path().join("manifest.json").exists());
        if came {
            let (code, out, said) = ask(dir, &["create", "--part", "15kB"]);
            assert_eq!(code, Some(0), "request {n}: {out}{said}");
            assert_eq!(said.contains("going on with"), begun, "request {n}: {said}");
        }
        let list = done(dir, &["list"]);
        assert!(list.lines().count() == 1 && list.contains("460 rows"), "request {n}: {list}");
        done(dir, &["verify"]);
        if came && n % 8 == 3 || !came {
            done(dir, &["restore", "latest", "--stream", "one=one_again", "--stream", "two=two_again"]);
            same(&double, "one", "one_again");
            same(&double, "two", "two_again");
        }
        kills += usize::from(came);
        if !came {
            break;
        }
    }
    println!("killed {kills} times");
    assert!(kills > 15, "{kills}");
}

/// A time of RFC 3339, so many hours after the first row.
fn hour(n: i64) -> String {
    jiff::Timestamp::from_microsecond(T + n * 3_600_000_000).unwrap().to_string()
}

#[test]
fn incremental_copies_take_what_is_new_late_or_equal_and_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let double = server(NEW);
    write(dir, &double, "");
    let at = |hours: f64, n: u64| json!({"_timestamp": T + (hours * 3.6e9) as i64, "n": n, "text": "x"});
    let create = |until: i64| done(dir, &["create", "--incremental", "--stream", "s", "--until", &hour(until)]);
    double.put_rows("s", (0..100).map(|n| at(n as f64 / 10.0, n)));
    let out = create(10);
    assert!(out.contains("incremental of 1 streams, 100 rows"), "{out}");
    // New; late; equal to one that is there, once more; and one that comes too late to be looked for.
    double.put_rows("s", [at(11.0, 200), at(6.0, 201), at(9.9, 99), at(9.9, 99), at(4.9, 202)]);
    assert!(create(12).contains(", 4 rows"));
    // A column becomes a text: the rows of the overlap are the same rows.
    double.put_rows("s", [json!({"_timestamp": T + 11 * 3_600_000_000 + 1, "n": "none", "text": "x"})]);
    let as_text = |mut row: Map<String, Value>| {
        row.insert("n".into(), json!(row["n"].to_string().trim_matches('"')));
        row
    };
    let rows: Vec<Value> = double.stored("s").into_iter().map(as_text).map(Value::Object).collect();
    double.clear("s");
    double.put_rows("s", rows);
    assert!(create(13).contains(", 1 rows"));
    assert!(create(14).contains(", 0 rows"), "nothing is new");

    done(dir, &["verify"]);
    done(dir, &["restore", "latest", "--stream", "s=again"]);
    let without = |rows: Vec<Map<String, Value>>| {
        let text = |row: &Map<String, Value>| row["n"].to_string().trim_matches('"').to_owned();
        let mut n: Vec<String> = rows.iter().map(text).filter(|n| n != "202").collect();
        n.sort_unstable();
        n
    };
    assert_eq!(without(double.stored("again")), without(double.stored("s")));
    // Only the rows of one, and one cannot go that others are made upon.
    let second = done(dir, &["list"]).lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    done(dir, &["restore", &second, "--stream", "s=four", "--alone"]);
    assert_eq!(double.stored("four").len(), 4);
    let (code, _, said) = ask(dir, &["delete", &second]);
    assert!(code == Some(1) && said.contains("made upon it"), "{said}");
    let out = done(dir, &["prune", "--keep", "1"]);
    assert!(out.ends_with("0 removed, 4 kept\n"), "the newest needs all of them: {out}");
    done(dir, &["create", "--stream", "s"]);
    let out = done(dir, &["prune", "--keep", "1", "--dry-run"]);
    assert!(out.contains("would remove") && out.ends_with("4 removed, 1 kept\n"), "{out}");
    let out = done(dir, &["prune", "--keep", "1", "--older", "1d"]);
    assert!(out.ends_with("0 removed, 5 kept\n"), "{out}");
    let out = done(dir, &["prune", "--keep", "1"]);
    assert!(out.ends_with("4 removed, 1 kept\n"), "{out}");
    done(dir, &["verify"]);
    let last = done(dir, &["list"]).split(' ').next().unwrap().to_owned();
    done(dir, &["delete", &last]);
    assert_eq!(done(dir, &["list"]), "");
}

#[test]
fn what_was_changed_in_a_copy_is_found_and_not_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let double = server(NEW);
    write(dir, &double, "");
    double.put_rows("s", rows(500, 3));
    done(dir, &["create", "--stream", "s", "--part", "20kB"]);
    let (path, manifest) = manifest(dir);
    let id = manifest["id"].as_str().unwrap().to_owned();
    let text = std::fs::read_to_string(&path).unwrap();

    std::fs::write(&path, text.replace("\"rows\": 500", "\"rows\": 400")).unwrap();
    for args in [&["verify"][..], &["verify", &id], &["restore", &id], &["show", &id], &["list"]] {
        let (code, out, said) = ask(dir, args);
        assert!(code == Some(1) && format!("{out}{said}").contains("its hash does not fit"), "{args:?}: {out}{said}");
    }
    std::fs::write(&path, &text).unwrap();
    done(dir, &["verify"]);

    let folder = path.parent().unwrap().join("logs/s");
    let part = folder.join("00002.ndjson.zst");
    let bytes = std::fs::read(&part).unwrap();
    let mut turned = bytes.clone();
    turned[bytes.len() / 2] ^= 1;
    for (damaged, words) in
        [(&turned[..], "its hash does not fit"), (&bytes[..bytes.len() - 3], "bytes and not"), (&[], "it has 0 bytes")]
    {
        std::fs::write(&part, damaged).unwrap();
        let (code, out, _) = ask(dir, &["verify"]);
        let line = format!("WRONG   {id}/logs/s/00002.ndjson.zst: ");
        assert!(code == Some(1) && out.starts_with(&line) && out.contains(words), "{words}: {out}");
    }
    std::fs::remove_file(&part).unwrap();
    let (code, out, _) = ask(dir, &["verify"]);
    assert!(code == Some(1) && out.contains("No such file"), "{out}");
    std::fs::write(&part, &bytes).unwrap();
    done(dir, &["verify"]);
    assert_eq!(double.posts().iter().filter(|seen| seen.path.ends_with("_json")).count(), 0);
}

#[test]
fn nothing_is_begun_where_the_server_would_drop_the_rows_and_it_is_said_what_to_set() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let double = Double::start(Setup { version: NEW, ..Setup::default() });
    write(dir, &double, "");
    let now = crate::openobserve_double::now_micros();
    let row = |hours: i64| json!({"_timestamp": now - hours * 3_600_000_000, "n": hours});
    double.put_rows("s", [row(9), row(2), row(1)]);
    done(dir, &["create"]);
    let (code, out, said) = ask(dir, &["restore", "latest", "--stream", "s=t"]);
    assert_eq!(code, Some(1), "{out}{said}");
    assert!(said.contains("nothing was put back") && said.contains("ZO_INGEST_ALLOWED_UPTO=10 (hours)"), "{said}");
    let sent = || double.posts().iter().filter(|seen| seen.path.ends_with("_json")).count();
    assert!(double.stored("t").is_empty() && sent() == 1, "one row was tried");
    let (_, _, said) = ask(dir, &["restore", "latest", "--stream", "s=t", "--dry-run"]);
    assert!(said.contains("ZO_INGEST_ALLOWED_UPTO=10 or more"), "{said}");
    done(dir, &["create", "--since", "-3h"]);
    done(dir, &["restore", "latest", "--stream", "s=t"]);
    assert_eq!(double.stored("t").len(), 2);

    // What it refuses for another reason is told with its words, and kept.
    double.put_rows(
        "u",
        [json!({"_timestamp": now - 5, "uncastable": "fine"}), json!({"_timestamp": now, "uncastable": "uncastable"})],
    );
    done(dir, &["create", "--stream", "u"]);
    let (code, out, said) = ask(dir, &["restore", "latest"]);
    assert_eq!(code, Some(1), "{out}{said}");
    assert!(out.contains("WRONG   1 rows were refused: ") && out.contains(".refused.ndjson"), "{out}{said}");
}

#[test]
fn metrics_come_back_and_spans_are_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let from = server(NEW);
    write(dir, &from, "");
    let sample = |n: i64| json!({"_timestamp": T + n * 1_000_000, "__name__": "cpu_seconds", "value": n as f64 * 0.5, "host": "a", "mode": format!("m{}", n % 2)});
    from.put_rows_of("metrics", "cpu_seconds", (0..50).map(sample));
    from.put_rows_of("traces", "default", [json!({"_timestamp": T, "operation_name": "pay"})]);
    let out = done(dir, &["create"]);
    assert!(out.contains("2 streams, 51 rows"), "{out}");
    let to = server(NEW);
    write(dir, &to, "");
    let (code, _, said) = ask(dir, &["restore", "latest"]);
    assert!(code == Some(1) && said.contains("by OTLP only"), "{said}");
    assert!(to.metric_streams().is_empty());
    done(dir, &["restore", "latest", "--stream", "cpu_seconds"]);
    assert_eq!(sorted(to.metrics("cpu_seconds")), sorted(from.metrics("cpu_seconds")));
}

#[test]
fn dashboards_alerts_and_settings_come_back_by_apply() {
    let resources = "  streams: {app: {retention: 30d, full_text: [message]}}
  destinations: {ops: {url: \"https://x.example/h\", preset: slack}}
  alerts: {errors: {stream: app, sql: \"SELECT count(*) AS n FROM app HAVING count(*) > 9\", destinations: [ops]}}
  dashboards: {d: {title: D, variables: {v: {type: custom, options: [a]}}, panels: [{title: P, type: stat, sql: \"SELECT count(*) AS n FROM app WHERE a = $v\"}]}}
  functions: {f: {vrl: \".a = \\\"$$x\\\"\"}}
";
    for version in [NEW, OLD] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let from = server(version);
        write(dir, &from, resources);
        from.put_rows("app", [json!({"_timestamp": T, "message": "m"})]);
        let apply = |config: &str, url: &str| {
            let mut command = tidegate(dir, &["openobserve", "apply", "--yes", "--config", config]);
            command.env("O2_URL", url).env("O2_USER", USER).env("O2_PASSWORD", PASSWORD);
            command.env("OPS_URL", "https://x.example/h").args(["--data-dir", url.rsplit(':').next().unwrap()]);
            let (code, out, said) = output(command);
            assert_eq!(code, Some(0), "{out}{said}");
        };
        apply("tidegate.yaml", &from.url());
        done(dir, &["create"]);
        let to = server(version);
        to.put_rows("app", [json!({"_timestamp": T, "message": "m"})]);
        let (path, _) = manifest(dir);
        let text = std::fs::read_to_string(path.with_file_name("resources.json")).unwrap();
        assert!(!text.contains("x.example"), "addresses of destinations are secrets: {text}");
        apply(path.with_file_name("resources.json").to_str().unwrap(), &to.url());
        let (a, b) = (from.manage(|m| m.picture()), to.manage(|m| m.picture()));
        for (kind, value) in a.as_object().unwrap() {
            // Marks name what made them, and the name of a dashboard is made of its title.
            let plain = |v: &Value| v.to_string().replace("[tidegate: d]", "");
            assert_eq!(plain(value), plain(&b[kind.as_str()]), "{version} {kind}");
        }
    }
}

#[test]
fn it_goes_no_faster_than_it_may_asks_in_the_ranges_that_the_server_takes_and_shows_how_far_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let double = server(NEW);
    write(dir, &double, "");
    double.put_rows("s", (0..1200).map(|n| json!({"_timestamp": T + n * 10_000_000, "n": n, "text": "x".repeat(400)})));
    double.manage(|m| m.settings.insert(("logs".into(), "s".into()), json!({"max_query_range": 1})));
    let until = hour(5);
    let begun = std::time::Instant::now();
    let out = done(dir, &["create", "--stream", "s", "--until", &until, "--rate", "1MB/s"]);
    assert!(out.contains(", 1200 rows"), "{out}");
    assert!(begun.elapsed().as_secs_f64() > 0.45, "half a MB a MB a second");
    done(dir, &["verify"]);
    let (code, _, said) = ask(dir, &["create", "--rate", "fast"]);
    assert!(code == Some(1) && said.contains("`fast` is not a size"), "{said}");
    let (code, _, said) = ask(dir, &["create", "--stream", "nowhere"]);
    assert!(code == Some(1) && said.contains("there is no stream `nowhere`"), "{said}");

    // On a terminal.
    let program = tidegate(dir, &[]).get_program().to_owned();
    let script = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let mut command = std::process::Command::new("python3");
    command.args(["-c", script]).arg(program).args([
        "backup",
        "create",
        "--config",
        "tidegate.yaml",
        "--until",
        &until,
    ]);
    let (code, out, said) = output({
        command.current_dir(dir);
        command
    });
    assert!(code == Some(0) && out.contains("s: 100 %, 1200 rows, "), "{out}{said}");
}

#[test]
fn one_that_was_given_up_says_why_and_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let double = server(NEW);
    std::fs::write(dir.join("tidegate.yaml"), yaml(&double, "")).unwrap();
    double.put_rows("a", rows(10, 1));
    double.put_rows("b", [json!({"n": 1, "_timestamp": T}), json!({"n": 2, "_timestamp": T + 1})]);
    double.manage(|m| {
        let all = "SELECT \"_timestamp\", \"n\" FROM \"b\" ORDER BY _timestamp ASC".to_owned();
        m.answers.insert(all, Err("too many files".into()));
    });
    let (code, _, said) = ask(dir, &["create"]);
    assert!(code == Some(1) && said.contains("stream `logs/b`") && said.contains("too many files"), "{said}");
    let list = done(dir, &["list"]);
    assert!(list.contains("failed"), "{list}");
    let id = list.split(' ').next().unwrap();
    assert!(done(dir, &["show", id]).contains("because: stream `logs/b`"));
    let (code, out, _) = ask(dir, &["verify"]);
    assert!(code == Some(1) && out.contains("it is not completed but failed"), "{out}");
    let (code, _, said) = ask(dir, &["restore", id]);
    assert!(code == Some(1) && said.contains("is not completed"), "{said}");
    double.manage(|m| m.answers.clear());
    let (code, out, said) = ask(dir, &["create"]);
    assert!(
        code == Some(0) && said.contains(&format!("going on with {id}")) && out.contains(", 12 rows"),
        "{out}{said}"
    );
    done(dir, &["verify"]);
}

/// Run by `tests/long/backup.sh`: `BACKUP_ROWS` rows over many pages, of which 700 share each time. Prints what it took.
#[test]
#[ignore = "long"]
fn many_rows_are_copied_within_64_mib() {
    let count: i64 = std::env::var("BACKUP_ROWS").map_or(200_000, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let double = server(NEW);
    write(dir, &double, "");
    double.manage(|m| m.in_order = true);
    let text = "x".repeat(250);
    double.put_rows(
        "many",
        (0..count)
            .map(|n| json!({"_timestamp": T + n / 700, "n": n, "text": text, "level": "info", "service": "shop"})),
    );
    let args = ["backup", "create", "--stream", "many", "--config", "tidegate.yaml"];
    let begun = std::time::Instant::now();
    let mut child = tidegate(dir, &args).stdout(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    };
    let seconds = begun.elapsed().as_secs_f64();
    assert!(status.success());
    let (_, manifest) = manifest(dir);
    let stream = &manifest["streams"][0];
    assert_eq!(stream["rows"], json!(count));
    let bytes = stream["bytes"].as_u64().unwrap() as f64;
    println!(
        "{count} rows, {:.1} MB in {seconds:.1} s: {:.1} MB/s, {} KiB at most",
        bytes / 1e6,
        bytes / 1e6 / seconds,
        peak
    );
    assert!(peak < 64 << 10, "{peak} KiB");
    done(dir, &["verify"]);
}

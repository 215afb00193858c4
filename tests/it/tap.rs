//! `tidegate tap` and `POST /api/v1/tap`: events as they pass, and nothing of them that a `redact` would have taken away.

use crate::agent::{Agent, PATIENCE, config, eventually, nobody, output, tidegate};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

/// A tap over HTTP.
struct Tap {
    lines: BufReader<TcpStream>,
    /// Events that were shown.
    events: Vec<Value>,
    /// By point: seen, matched, shown, missed.
    counts: BTreeMap<String, [u64; 4]>,
    /// All that came.
    text: String,
}

/// The head of the answer, and what follows.
fn ask(address: &str, question: &Value, headers: &str) -> (u16, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = question.to_string();
    let head =
        format!("POST /api/v1/tap HTTP/1.0\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut lines = BufReader::new(stream);
    let mut status = String::new();
    lines.read_line(&mut status).unwrap();
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        lines.read_line(&mut line).unwrap();
    }
    (status.split(' ').nth(1).unwrap_or_default().parse().unwrap(), lines)
}

impl Tap {
    /// Opened: what passes from now on is seen.
    #[track_caller]
    fn open(address: &str, question: &Value) -> Tap {
        let (status, mut lines) = ask(address, question, "");
        if status != 200 {
            let mut text = String::new();
            lines.read_to_string(&mut text).unwrap();
            panic!("{status}: {text}");
        }
        let mut tap = Tap { lines, events: Vec::new(), counts: BTreeMap::new(), text: String::new() };
        tap.until(|tap| !tap.counts.is_empty());
        tap
    }

    /// Reads until it holds.
    #[track_caller]
    fn until(&mut self, done: impl Fn(&Tap) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            let mut line = String::new();
            self.lines.read_line(&mut line).unwrap();
            assert!(
                Instant::now() < deadline && !line.is_empty(),
                "not in time; there is {:?}\n{}",
                self.counts,
                self.text
            );
            self.take(&line);
        }
    }

    fn take(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
        let value: Value = serde_json::from_str(line).unwrap();
        let point = value["point"].as_str().unwrap().to_owned();
        if value.get("seen").is_none() {
            return self.events.push(value);
        }
        let counts = self.counts.entry(point).or_default();
        for (sum, key) in counts.iter_mut().zip(["seen", "matched", "shown", "missed"]) {
            *sum += value[key].as_u64().unwrap();
        }
    }

    fn seen(&self, point: &str) -> u64 {
        self.counts.get(point).map_or(0, |counts| counts[0])
    }

    /// What was shown at a point.
    fn at(&self, point: &str) -> Vec<&Value> {
        self.events.iter().filter(|e| e["point"] == point).map(|e| &e["event"]).collect()
    }
}

fn started(dir: &Path, yaml: &str) -> (Agent, String) {
    config(dir, yaml);
    let agent = Agent::run(dir, &[]);
    eventually("the API listens", || agent.addresses().len() == 1);
    let address = agent.addresses()[0].clone();
    (agent, address)
}

fn append(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Several `redact`s, routes, rejected outputs that are read and such that are not, a way past all of them, requests, dead letters.
const GRAPH: &str = r#"data_dir: ./data
api: {listen: "127.0.0.1:0"}
sources:
  app: {type: file, include: [app.log], decode: json, on_decode_error: reject}
transforms:
  checked: {type: validate, inputs: [app], rules: [{check: 'n >= 0', error: "n is {{ n }}: {{ note }}"}]}
  parts: {type: route, inputs: [checked], outputs: {a: 'k == "a"', b: 'k == "b"'}}
  clean_a: {type: redact, inputs: [parts.a], detect: [secrets], patterns: [{name: canary, regex: 'CANARY-\d+'}]}
  shape: {type: edit, inputs: [parts.b], rename: {pw: password}}
  clean_b: {type: redact, inputs: [shape], fields: {mask: ["**.password"]}, patterns: [{regex: 'CANARY-\d+'}]}
  again: {type: redact, inputs: [clean_a], detect: [email]}
  kept: {type: filter, inputs: [again], when: 'k == "nothing"'}
sinks:
  out_a: {type: http, inputs: [again], url: "http://NOBODY/in", retry: {initial: 5ms, max: 10ms, max_elapsed: 100ms}, batch: {timeout: 5ms}, dead_letter: dead}
  out_b: {type: file, inputs: [clean_b], path: b.log}
  none: {type: blackhole, inputs: [kept]}
  letters: {type: file, inputs: [checked.rejected], path: letters.log}
  rest: {type: http, inputs: [parts.other], url: "http://NOBODY/in", retry: {initial: 5ms, max: 10ms, max_elapsed: 100ms}, batch: {timeout: 5ms}, dead_letter: dead}
  dead: {type: file, path: dead.log}
"#;

const EVENTS: &str = concat!(
    r#"{"k":"a","n":1,"password":"CANARY-1001","note":"x CANARY-1002 y","mail":"CANARY-1003@example.com"}"#,
    "\n",
    r#"{"k":"b","n":2,"pw":"CANARY-1004","note":"fine"}"#,
    "\n",
    r#"{"k":"a","n":-3,"password":"CANARY-1005","note":"CANARY-1006"}"#,
    "\n",
    r#"{"k":"c","n":4,"password":"CANARY-1007","authorization":"Bearer CANARY-1008"}"#,
    "\n",
    r#"not json: password=CANARY-1009"#,
    "\n",
);

/// From no point, in no form, by no condition.
#[test]
fn canaries_are_seen_at_no_point() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (agent, address) = started(dir, &GRAPH.replace("NOBODY", &nobody().to_string()));
    let mut all = Tap::open(&address, &json!({"points": ["*", "*.*", "*:*"]}));
    let mut pairs = Tap::open(&address, &json!({"pair": true}));
    let probe = |condition: &str| Tap::open(&address, &json!({"points": ["app", "rest:in"], "where": condition}));
    let mut guesses = [
        probe("password == \"CANARY-1007\""),
        probe("has(authorization) && authorization.contains(\"CANARY\")"),
        probe("note.contains(\"CANARY\")"),
        probe("@file.contains(\"app.log\")"),
    ];
    let mut masked = probe("password == \"***\"");
    append(&dir.join("app.log"), EVENTS);
    let points = [
        ("app", 4),
        ("app.rejected", 1),
        ("checked:in", 4),
        ("checked", 3),
        ("checked.rejected", 1),
        ("parts:in", 3),
        ("parts.a", 1),
        ("parts.b", 1),
        ("parts.other", 1),
        ("clean_a:in", 1),
        ("clean_a", 1),
        ("shape:in", 1),
        ("shape", 1),
        ("clean_b:in", 1),
        ("clean_b", 1),
        ("again", 1),
        ("kept:in", 1),
        ("out_a:in", 1),
        ("out_b:in", 1),
        ("letters:in", 1),
        ("rest:in", 1),
    ];
    all.until(|tap| points.iter().all(|(point, n)| tap.seen(point) >= *n && tap.at(point).len() >= *n as usize));
    all.until(|tap| {
        tap.seen("out_a:request") > 0
            && tap.seen("rest:request") > 0
            && tap.seen("dead:in") == 2
            && tap.at("dead:in").len() == 2
    });
    all.until(|tap| !tap.at("out_a:request").is_empty() && !tap.at("rest:request").is_empty());
    for (point, n) in points {
        assert_eq!((tap_count(&all, point), all.seen(point)), (n as usize, n), "{point}\n{}", all.text);
    }
    assert!(!all.text.contains("CANARY"), "{}", all.text);
    // What lies behind is what is shown.
    let a = json!({"k": "a", "n": 1, "password": "***", "note": "x *** y", "mail": "***"});
    assert_eq!(all.at("parts.a"), all.at("clean_a"));
    assert!(all.at("app").iter().any(|e| e["note"] == a["note"] && e["password"] == "***"), "{}", all.text);
    assert_eq!(all.at("shape")[0]["password"], "***", "as the next `redact` makes it: {}", all.text);
    assert_eq!(all.at("rest:in")[0]["password"], "***", "where there is none, `secrets`: {}", all.text);
    assert_eq!(all.at("checked.rejected")[0]["event"]["password"], "***");
    assert!(all.at("out_a:request")[0]["body"].as_str().unwrap().contains("x *** y"), "{}", all.text);
    pairs.until(|tap| ["checked", "parts", "clean_a", "shape", "kept"].iter().all(|point| tap.seen(point) > 0));
    pairs.until(|tap| {
        tap.events.iter().filter(|e| ["checked", "parts"].contains(&e["point"].as_str().unwrap())).count() == 7
    });
    pairs.until(|tap| ["clean_a", "kept"].iter().all(|point| tap.events.iter().any(|e| e["point"] == **point)));
    assert!(!pairs.text.contains("CANARY"), "{}", pairs.text);
    let of = |point: &str| pairs.events.iter().filter(|e| e["point"] == point).collect::<Vec<_>>();
    assert_eq!(of("clean_a")[0]["before"], of("clean_a")[0]["after"], "it is shown as it leaves");
    assert_eq!((&of("kept")[0]["after"], &of("kept")[0]["dropped"]), (&Value::Null, &json!("filtered")));
    let ways: BTreeSet<&str> = of("parts").iter().filter_map(|e| e["output"].as_str()).collect();
    assert_eq!(ways, BTreeSet::from(["a", "b", "other"]));
    assert!(of("checked").iter().any(|e| e["output"] == "rejected"), "{}", pairs.text);
    masked.until(|tap| tap.seen("app") == 4 && tap.at("rest:in").len() == 1 && tap.counts["rest:in"][1] == 1);
    assert_eq!((masked.counts["rest:in"][1], masked.at("rest:in").len()), (1, 1));
    for guess in &mut guesses {
        guess.until(|tap| tap.seen("app") == 4 && tap.seen("rest:in") == 1);
        assert_eq!((guess.counts["app"][1], guess.counts["rest:in"][1]), (0, 0), "{}", guess.text);
        assert!(guess.events.is_empty(), "{}", guess.text);
    }
    let tapped = agent.stop();
    assert!(tapped.contains("rejected_unread 1"), "looking changes no counter: {tapped}");
}

fn tap_count(tap: &Tap, point: &str) -> usize {
    tap.at(point).len()
}

/// A change of the graph does not end a tap, and what lay behind a `redact` before is not shown bare after.
#[test]
fn a_tap_goes_on_over_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let yaml = |middle: &str, reads: &str| {
        format!(
            "data_dir: ./data\napi: {{listen: \"127.0.0.1:0\"}}\nsources:\n  app: {{type: file, include: [app.log], decode: json}}\n\
             transforms:\n{middle}sinks:\n  out: {{type: file, inputs: [{reads}], path: out.log}}\n"
        )
    };
    let clean = "  clean: {type: redact, inputs: [app], patterns: [{regex: 'CANARY'}]}\n";
    let (agent, address) = started(dir, &yaml(clean, "clean"));
    let mut tap = Tap::open(&address, &json!({"points": ["app", "*:in"]}));
    append(&dir.join("app.log"), "{\"n\":1,\"password\":\"CANARY\"}\n");
    tap.until(|tap| tap.at("out:in").len() == 1 && tap.at("app").len() == 1);
    config(dir, &yaml("  shape: {type: edit, inputs: [app], set: {new: 1}}\n", "shape"));
    let (code, out, said) = output(tidegate(dir, &["reload", "--config", "tidegate.yaml", "--format", "json"]));
    assert_eq!(code, Some(0), "{out}{said}");
    append(&dir.join("app.log"), "{\"n\":2,\"password\":\"CANARY\"}\n");
    tap.until(|tap| tap.seen("shape:in") == 1 && tap.at("out:in").len() == 2 && tap.at("app").len() == 2);
    let numbers = |point: &str| tap.at(point).iter().map(|e| e["n"].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!((numbers("app"), numbers("out:in")), (vec![1, 2], vec![1, 2]));
    assert!(!tap.text.contains("CANARY"), "{}", tap.text);
    agent.stop();
}

#[test]
fn who_may_look_and_what_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let yaml = |api: &str| {
        format!(
            "data_dir: ./data\napi: {{listen: \"127.0.0.1:0\"{api}}}\nsources:\n  app: {{type: file, include: [app.log], decode: json}}\n\
             sinks:\n  out: {{type: file, inputs: [app], path: out.log}}\n"
        )
    };
    let refused = |address: &str, question: Value, headers: &str| {
        let (status, mut rest) = ask(address, &question, headers);
        let mut text = String::new();
        rest.read_to_string(&mut text).unwrap();
        (status, text)
    };
    let (agent, address) = started(dir, &yaml(""));
    let (status, text) = refused(&address, json!({"points": ["appp"]}), "");
    assert!(status == 400 && text.contains("did you mean `app`?") && text.contains("out:in"), "{status} {text}");
    let bad = [
        json!({"where": "n =="}),
        json!({"limit": 0}),
        json!({"limit": 10_000_000}),
        json!({"duration": "soon"}),
        json!({"point": "app"}),
        json!({"points": ["a["]}),
        json!({"pair": true}),
    ];
    for question in bad {
        let (status, text) = refused(&address, question.clone(), "");
        assert!(status == 400 && text.contains("\"detail\""), "{question}: {status} {text}");
    }
    assert_eq!(refused(&address, json!({}), "Origin: http://evil.example\r\n").0, 403);
    let all: Vec<_> = (0..8).map(|_| Tap::open(&address, &json!({}))).collect();
    assert_eq!(refused(&address, json!({}), "").0, 429, "no more than eight");
    drop(all);
    eventually("there is room again", || ask(&address, &json!({"duration": "1ms"}), "").0 == 200);
    agent.stop();
    let (agent, address) = started(dir, &yaml(", tap: off"));
    let (status, text) = refused(&address, json!({}), "");
    assert!(status == 403 && text.contains("`off`"), "{status} {text}");
    agent.stop();
    let (agent, address) = started(dir, &yaml(", tap: full, auth: {bearer: [a-token]}"));
    assert_eq!(refused(&address, json!({}), "").0, 401);
    let (status, lines) = ask(&address, &json!({"points": ["app"]}), "Authorization: Bearer a-token\r\n");
    assert_eq!(status, 200);
    let mut tap = Tap { lines, events: Vec::new(), counts: BTreeMap::new(), text: String::new() };
    tap.until(|tap| !tap.counts.is_empty());
    append(&dir.join("app.log"), "{\"password\":\"CANARY-1\"}\n");
    tap.until(|tap| !tap.events.is_empty());
    assert!(tap.text.contains("CANARY-1"), "as it is: {}", tap.text);
    agent.stop();
}

/// The command: names, conditions, ends, forms.
#[test]
fn the_command_shows_events_as_they_pass() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let yaml = "data_dir: ./data\napi: {listen: \"unix://DIR/api.sock\"}\nsources:\n  app: {type: demo, rate: 200}\n\
        transforms:\n  shape: {type: edit, inputs: [app], set: {shop: berlin}}\n\
        sinks:\n  out: {type: blackhole, inputs: [shape]}\n";
    let (agent, address) = started(dir, &yaml.replace("DIR", &dir.display().to_string()));
    assert!(address.starts_with("unix:///"), "{address}");
    let mode = |path: &Path| std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
    assert_eq!(mode(&dir.join("api.sock")) & 0o777, 0o600);
    let config = ["--config", "tidegate.yaml"];
    let run = |args: &[&str]| output(tidegate(dir, &[&["tap"], args, &config].concat()));
    let (code, out, said) = run(&["--count", "3", "--format", "json"]);
    assert_eq!(code, Some(0), "{out}{said}");
    let events: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.iter().filter(|e| e["point"] == "out:in" && e["event"]["shop"] == "berlin").count(), 3, "{out}");
    let (code, out, said) = run(&["shape", "--count", "1", "--format", "diff"]);
    assert!(
        code == Some(0) && out.contains("shape  changed\n") && out.contains("  + shop: \"berlin\"\n"),
        "{out}{said}"
    );
    let (code, out, said) = run(&["app", "--for", "300ms", "--where", "has(shop)"]);
    assert!(code == Some(0) && out.is_empty() && said.contains("0 shown"), "{out}{said}");
    let (code, _, said) = run(&["nowhere"]);
    assert!(code == Some(1) && said.contains("`nowhere` is no point"), "{said}");
    let url = format!("unix://{}/api.sock", dir.display());
    let (code, out, said) = output(tidegate(dir, &["tap", "--url", &url, "--count", "1"]));
    assert!(code == Some(0) && out.contains("  out:in  {"), "{out}{said}");
    let (code, _, said) = output(tidegate(dir, &["reload", "--url", &url, "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = output(tidegate(dir, &["run", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(1), "another has the folder: {said}");
    agent.kill();
    assert!(dir.join("api.sock").exists(), "left behind by one that was killed");
    let (agent, _) = started(dir, &yaml.replace("DIR", &dir.display().to_string()));
    assert_eq!(run(&["--count", "1"]).0, Some(0));
    agent.stop();
    assert!(!dir.join("api.sock").exists(), "removed with the agent");
}

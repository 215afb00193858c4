//! `tidegate plan`: what another configuration would change, and what it would do to events.

use crate::agent::{Agent, config, eventually, get, lines, output, tidegate};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

const OLD: &str = "data_dir: ./data
sources:
  app: {type: file, include: [\"app/*.log\"], decode: json}
transforms:
  clean: {type: redact, inputs: [app], detect: [secrets]}
  shape: {type: edit, inputs: [clean], set: {shop: berlin}}
  keep: {type: filter, inputs: [shape], when: 'duration >= 0'}
  thin: {type: sample, inputs: [keep], by: level, rates: {INFO: 0.5, default: 1.0}}
sinks:
  out: {type: file, inputs: [thin], path: out.log}
  all: {type: file, inputs: [shape], path: \"all/{{ level }}.log\", encoding: logfmt}
  web:
    type: http
    inputs: [keep]
    url: http://127.0.0.1:9/in
    auth: {bearer: canary-token-55}
    batch: {max_events: 100}
";

/// A hundred events, of which every third is an error and ten last longer than the one before.
fn events() -> String {
    (0..100).fold(String::new(), |mut text, n| {
        let level = if n % 3 == 0 { "ERROR" } else { "INFO" };
        let event = format!(
            "{{\"n\":{n},\"level\":\"{level}\",\"duration\":{},\"user\":\"u{n}@example.com\",\"msg\":\"token=abcdef{n:06}\"}}",
            n * 10
        );
        writeln!(text, "{event}").unwrap();
        text
    })
}

/// What the plan says of a change to `old`, with `input` tried: exit code, and the page without the name of the folder.
fn planned(old: &str, new: &str, input: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("app")).unwrap();
    std::fs::write(dir.join("app/a.log"), input).unwrap();
    std::fs::write(dir.join("old.yaml"), old).unwrap();
    std::fs::write(dir.join("new.yaml"), new).unwrap();
    let before = everything(dir);
    let arguments = ["plan", "--config", "new.yaml", "--against", "old.yaml", "--input", "app/a.log"];
    let (code, out, said) = output(tidegate(dir, &arguments));
    assert!(!out.contains("canary-token") && !said.contains("canary-token"), "{out}{said}");
    assert_eq!(everything(dir), before, "it changes nothing");
    (code, (out + &said).replace(&*std::fs::canonicalize(dir).unwrap().display().to_string(), "DIR"))
}

fn everything(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

/// The page of a change in which `old` is `OLD` with `from` replaced by `to`.
#[track_caller]
fn page(from: &str, to: &str) -> String {
    assert!(OLD.contains(from), "{from}");
    let (code, page) = planned(OLD, &OLD.replace(from, to), &events());
    assert_eq!(code, Some(3), "{page}");
    page
}

#[test]
fn sampling_down() {
    insta::assert_snapshot!(page("INFO: 0.5", "INFO: 0.1"));
}

#[test]
fn a_new_redaction() {
    insta::assert_snapshot!(page("detect: [secrets]", "detect: [secrets, email]"));
}

#[test]
fn a_renamed_field() {
    insta::assert_snapshot!(page("set: {shop: berlin}", "rename: {user: person}, set: {shop: berlin}"));
}

#[test]
fn a_changed_glob() {
    insta::assert_snapshot!(page("app/*.log", "app/b*.log"));
}

#[test]
fn a_new_sink() {
    insta::assert_snapshot!(page(
        "sinks:\n",
        "sinks:\n  errors: {type: console, inputs: [keep], when: 'level == \"ERROR\"'}\n"
    ));
}

#[test]
fn a_removed_sink() {
    insta::assert_snapshot!(page(
        "  all: {type: file, inputs: [shape], path: \"all/{{ level }}.log\", encoding: logfmt}\n",
        ""
    ));
}

#[test]
fn another_address() {
    let page = page("http://127.0.0.1:9/in", "http://127.0.0.1:10/in");
    insta::assert_snapshot!(page);
}

#[test]
fn another_batch_size() {
    insta::assert_snapshot!(page("max_events: 100", "max_events: 500"));
}

#[test]
fn a_typo_that_drops_everything() {
    insta::assert_snapshot!(page("'duration >= 0'", "'durration >= 0'"));
}

#[test]
fn another_input() {
    insta::assert_snapshot!(page("inputs: [thin]", "inputs: [keep]"));
}

/// The planted mistake: a condition that drops 30 % is shown with its rule and three examples.
#[test]
fn a_condition_that_drops_a_part() {
    let page = page("'duration >= 0'", "'duration >= 300'");
    assert!(page.contains("30 lost by keep (filter), filtered: when: duration >= 300"), "{page}");
    insta::assert_snapshot!(page);
}

#[test]
fn another_multiline() {
    let old = "data_dir: ./data
sources:
  app: {type: file, include: [\"app/*.log\"]}
sinks:
  out: {type: file, inputs: [app], path: out.log, encoding: text}
";
    let new = old.replace("[\"app/*.log\"]", "[\"app/*.log\"], multiline: java");
    let text = "ERROR one\n\tat a.b(C.java:1)\n\tat a.c(C.java:2)\nINFO two\nINFO three\n";
    let (code, page) = planned(old, &new, text);
    assert_eq!(code, Some(3), "{page}");
    insta::assert_snapshot!(page);
}

#[test]
fn exit_codes_say_whether_there_is_a_difference() {
    let (code, page) = planned(OLD, &(OLD.to_owned() + "# a remark\n"), &events());
    assert_eq!((code, page.as_str()), (Some(0), "no difference to old.yaml\n"));
    let (code, page) = planned(OLD, &OLD.replace("inputs: [thin]", "inputs: [thinn]"), &events());
    assert!(code == Some(78) && page.contains("did you mean `thin`?"), "{page}");
    let (code, page) = planned(&OLD.replace("inputs: [thin]", "inputs: [thinn]"), OLD, &events());
    assert!(code == Some(1) && page.contains("old.yaml has mistakes"), "{page}");
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), OLD);
    let (code, _, said) = output(tidegate(dir.path(), &["plan", "--config", "tidegate.yaml"]));
    assert!(
        code == Some(1) && said.contains("there is nothing to compare with on ./data: no agent runs on it"),
        "{said}"
    );
}

/// An agent with an API, whose events have been read and delivered.
fn agent_with(dir: &Path, api: &str, text: &str) -> (Agent, String) {
    config(dir, &with_api(api));
    std::fs::create_dir(dir.join("app")).unwrap();
    std::fs::write(dir.join("app/a.log"), text).unwrap();
    let agent = Agent::run(dir, &[]);
    let many = text.lines().count();
    eventually("all is written", || lines(&dir.join("raw.log")).len() == many);
    eventually("the configuration is kept", || dir.join("data/config/1.json").exists());
    let address = agent.addresses().pop().unwrap();
    (agent, address)
}

fn with_api(api: &str) -> String {
    format!(
        "data_dir: ./data
api: {{listen: \"127.0.0.1:0\"{api}}}
shutdown_timeout: 1s
sources:
  app: {{type: file, include: [\"app/*.log\"], decode: json}}
transforms:
  keep: {{type: filter, inputs: [app], when: 'duration >= 0'}}
  clean: {{type: redact, inputs: [keep], detect: [secrets, email]}}
sinks:
  out: {{type: file, inputs: [clean], path: out.log}}
  raw: {{type: file, inputs: [keep], path: raw.log}}
  dead:
    type: http
    inputs: [clean]
    url: http://127.0.0.1:9/
    buffer: {{type: disk, max_size: 10MiB}}
"
    )
}

/// What the agent that runs in `dir` says to a changed configuration, as JSON with its exit code.
fn asked(dir: &Path, new: &str, more: &[&str]) -> (Option<i32>, Value, String) {
    std::fs::write(dir.join("new.yaml"), new).unwrap();
    let mut command = tidegate(dir, &["plan", "--config", "new.yaml", "--format", "json"]);
    command.args(more);
    let (code, out, said) = output(command);
    (code, serde_json::from_str(&out).unwrap_or_default(), out + &said)
}

fn sink<'p>(plan: &'p Value, id: &str) -> &'p Value {
    plan["events"]["sinks"].as_array().unwrap().iter().find(|s| s["id"] == id).unwrap()
}

#[test]
fn an_agent_tries_it_on_what_it_has_read_last_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (agent, address) = agent_with(dir, "", &events());
    let old = with_api("");
    let (code, plan, said) = asked(dir, &old.replace("'duration >= 0'", "'duration >= 300'"), &[]);
    assert_eq!((code, &plan["different"]), (Some(3), &true.into()), "{said}");
    let out = sink(&plan, "out");
    assert_eq!((&out["before"], &out["after"]), (&100.into(), &70.into()), "{said}");
    let lost = &out["lost"][0];
    assert_eq!((&lost["events"], &lost["component"]), (&30.into(), &"keep".into()), "{said}");
    assert_eq!((&lost["reason"], &lost["rule"]), (&"filtered".into(), &"when: duration >= 300".into()), "{said}");
    let example = |group: &Value| group["examples"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!(lost["examples"].as_array().unwrap().len(), 3);
    assert!(example(lost).contains("\"user\":\"***\"") && example(lost).contains("token=***"), "{said}");
    // Where no `redact` has been over an event, secrets are masked all the same.
    let raw = example(&sink(&plan, "raw")["lost"][0]);
    assert!(raw.contains("\"user\":\"u0@example.com\"") && raw.contains("token=***"), "{raw}");

    // A configuration without its `redact` shows no more than the agent that runs would.
    let bare = old.replace("inputs: [clean]", "inputs: [keep]");
    let (code, plan, said) = asked(dir, &bare, &[]);
    assert_eq!((code, &sink(&plan, "out")["differ"]), (Some(3), &100.into()), "{said}");
    let fields = sink(&plan, "out")["fields"].to_string();
    assert!(fields.contains("\"path\":\"user\"") && fields.contains("\"path\":\"msg\""), "{fields}");
    let pair = &sink(&plan, "out")["pairs"][0];
    assert!(!pair.to_string().contains("example.com") && !pair.to_string().contains("abcdef"), "{pair}");

    // Lines of a file in place of what was read.
    std::fs::write(dir.join("other.log"), "{\"duration\":-1}\n{\"duration\":5}\n").unwrap();
    let (_, plan, said) = asked(dir, &old.replace("duration >= 0", "duration < 0"), &["--input", "other.log"]);
    let out = sink(&plan, "out");
    assert_eq!((&out["before"], &out["after"], &out["lost"][0]["events"]), (&1.into(), &1.into(), &1.into()), "{said}");
    assert_eq!(out["new"][0]["events"], 1, "{said}");

    // What a sink has on disk that would be gone.
    let without = old.split("  dead:").next().unwrap().to_owned();
    eventually("the disk buffer has all", || {
        let (_, plan, _) = asked(dir, &without, &[]);
        plan["orphaned"][0]["events"] == 100
    });
    let (code, plan, said) = asked(dir, &without, &[]);
    assert_eq!((code, &plan["orphaned"][0]["what"]), (Some(3), &"disk_buffer".into()), "{said}");

    assert_eq!(asked(dir, &old, &[]).0, Some(0));
    let (code, _, said) = asked(dir, &old.replace("encoding", "x").replace("detect:", "detct:"), &[]);
    assert!(code == Some(78) && said.contains("did you mean `detect`?"), "{code:?} {said}");
    let (code, _, said) =
        asked(dir, &old.replace("./data", "./elsewhere"), &["--against", &format!("http://{address}")]);
    assert_eq!(code, Some(1), "without the token of its `data_dir`: {said}");
    let (_, state) = get(&address, "/api/v1/config");
    assert!(state.contains("\"last_reload\":null"), "{state}");
    assert_eq!(lines(&dir.join("out.log")).len(), 100);
    agent.kill();
}

#[test]
fn examples_are_shown_as_tap_says_and_only_to_who_may_ask() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (agent, address) = agent_with(dir, ", tap: off", &events());
    let new = with_api(", tap: off").replace("'duration >= 0'", "'duration >= 300'");
    let (code, plan, said) = asked(dir, &new, &[]);
    assert_eq!((code, &sink(&plan, "out")["lost"][0]["events"]), (Some(3), &30.into()), "{said}");
    assert!(!said.contains("example.com") && !said.contains("\"text\""), "{said}");
    // Who cannot read `agent.json` is nobody.
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "POST /api/v1/plan HTTP/1.0\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n{{\"files\":[]}}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 403") && answer.contains("api.auth"), "{answer}");
    agent.kill();

    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let api = ", tap: full, auth: {bearer: [\"token-of-the-api\"]}";
    let (agent, _) = agent_with(dir, api, &events());
    let (_, plan, said) = asked(dir, &with_api(api).replace("'duration >= 0'", "'duration >= 300'"), &[]);
    let shown =
        sink(&plan, "raw")["lost"][0]["examples"][0]["text"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned();
    assert!(shown.contains("u0@example.com") && shown.contains("abcdef"), "{shown}");
    agent.kill();
    let (code, _, said) = output(tidegate(dir, &["plan", "--config", "new.yaml"]));
    assert!(code == Some(3), "{said}");
    config(dir, &with_api(", tap: full"));
    let (code, _, said) = output(tidegate(dir, &["validate", "tidegate.yaml"]));
    assert!(code == Some(78) && said.contains("needs `api.auth`"), "{said}");
}

/// Without an agent it is compared with what ran last.
#[test]
fn without_an_agent_the_newest_of_the_history_is_compared() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (agent, _) = agent_with(dir, "", &events());
    agent.kill();
    std::fs::write(dir.join("new.yaml"), with_api("").replace("path: out.log", "path: other.log")).unwrap();
    let (code, page, said) = output(tidegate(dir, &["plan", "--config", "new.yaml"]));
    assert_eq!(code, Some(3), "{page}{said}");
    assert!(page.contains("compared with configuration 1 of ") && page.contains("not tried: no agent runs"), "{page}");
    assert!(page.contains("path: out.log → other.log"), "{page}");
}

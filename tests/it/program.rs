//! The program as a user meets it: commands, exit codes, streams.

use crate::agent::{Agent, assert_balanced, config, eventually, lines, output, tidegate};
use std::io::Write;
use std::process::Stdio;

const STDIN_TO_FILE: &str = r#"
data_dir: ./data
sources: {in: {type: stdin, decode: json}}
transforms: {shape: {type: normalize, inputs: [in], schema: log, keep_rest: root}}
sinks: {out: {type: file, inputs: [shape], path: "./out.ndjson"}}
"#;

#[test]
fn standard_input_goes_to_a_file_and_its_end_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), STDIN_TO_FILE);
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"msg\":\"one\",\"ts\":0}\nnot json\r\n{\"msg\":\"two\",\"ts\":0}").unwrap();
    drop(stdin);
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert_balanced(&said);
    let lines = lines(&dir.path().join("out.ndjson"));
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with(r#"{"message":"one","timestamp":"1970-01-01T00:00:00.000Z""#), "{}", lines[0]);
    assert!(lines[1].starts_with(r#"{"message":"not json","decode_error":"not valid JSON""#), "{}", lines[1]);
    assert!(lines[2].starts_with(r#"{"message":"two""#), "{}", lines[2]);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), "sources: {a: {type: stdinn}}\n");
    let code = |args: &[&str]| output(tidegate(dir.path(), args)).0;
    assert_eq!(code(&["--version"]), Some(0));
    assert_eq!(code(&["nonsense"]), Some(2));
    assert_eq!(code(&["validate", "--config", "tidegate.yaml"]), Some(78));
    assert_eq!(code(&["run", "--config", "tidegate.yaml"]), Some(78));
    assert_eq!(code(&["run", "--config", "missing.yaml"]), Some(78));
    config(dir.path(), &STDIN_TO_FILE.replace("./data", "/proc/nowhere"));
    assert_eq!(code(&["run", "--config", "tidegate.yaml"]), Some(1));
}

#[test]
fn a_second_signal_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "data_dir: ./data\nsources: {in: {type: demo, rate: 100}}\nsinks: {out: {type: file, inputs: [in], path: ./out}}\n",
    );
    let agent = Agent::run(dir.path(), &[]);
    eventually("output", || lines(&dir.path().join("out")).len() > 5);
    let said = agent.stop();
    assert!(said.contains("stopping"), "{said}");
}

#[test]
fn the_logs_can_be_json() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), STDIN_TO_FILE);
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml", "--log-format", "json"]);
    command.stdin(Stdio::null());
    let (code, _, said) = output(command);
    assert_eq!(code, Some(0), "{said}");
    let line = said.lines().next().unwrap();
    let json: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(json["message"], "running");
}

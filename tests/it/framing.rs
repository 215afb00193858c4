//! Lines joined to events and parts of messages, from the program's standard input to its output.

use crate::agent::{config, eventually, lines, tidegate};
use std::io::Write;
use std::process::Stdio;

const TRACE: &str = "INFO starting
ERROR failed: java.lang.IllegalStateException: no\r
\tat a.B.c(B.java:1)\r
Caused by: java.io.IOException
\t... 3 more
INFO going on
";

#[test]
fn stack_traces_are_one_event_and_an_open_one_goes_after_its_timeout() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "sources: {in: {type: stdin, multiline: java}}\nsinks: {out: {type: file, inputs: [in], path: out.ndjson}}\n",
    );
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(TRACE.as_bytes()).unwrap();
    stdin.flush().unwrap();
    let out = dir.path().join("out.ndjson");
    // The pipe stays open: the last line is delivered because nothing came behind it.
    eventually("three events", || lines(&out).len() == 3);
    stdin.write_all(b"WARN end").unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    let got: Vec<serde_json::Value> = lines(&out).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages: Vec<&str> = got.iter().map(|event| event["message"].as_str().unwrap()).collect();
    let trace = "ERROR failed: java.lang.IllegalStateException: no\r\n\tat a.B.c(B.java:1)\r\n\
                 Caused by: java.io.IOException\n\t... 3 more";
    assert_eq!(messages, ["INFO starting", trace, "INFO going on", "WARN end"]);
}

#[test]
fn standard_input_splits_lines_longer_than_the_most_without_their_ends() {
    for multiline in ["", ", multiline: indent"] {
        let dir = tempfile::tempdir().unwrap();
        let yaml = format!(
            "sources: {{in: {{type: stdin, max_line_bytes: 10{multiline}}}}}\nsinks: {{out: {{type: file, inputs: [in], path: out.log, encoding: text}}}}\n"
        );
        config(dir.path(), &yaml);
        let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let text = "0123456789\n0123456789\r\nabcdefghijABCDEFGHIJx\r\n0123456789\r";
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        let want = ["0123456789", "0123456789", "abcdefghij", "ABCDEFGHIJ", "x", "0123456789"];
        assert_eq!(lines(&dir.path().join("out.log")), want, "{multiline}");
    }
}

#[test]
fn split_container_messages_are_joined() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "sources: {in: {type: stdin, decode: cri}}\nsinks: {out: {type: file, inputs: [in], path: out.ndjson}}\n",
    );
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let text =
        "2025-01-01T00:00:00Z stdout P one \n2025-01-01T00:00:01Z stderr F err\n2025-01-01T00:00:02Z stdout F two\n";
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(
        lines(&dir.path().join("out.ndjson")),
        [
            r#"{"timestamp":"2025-01-01T00:00:01Z","stream":"stderr","message":"err"}"#,
            r#"{"timestamp":"2025-01-01T00:00:00Z","stream":"stdout","message":"one two"}"#
        ]
    );
}

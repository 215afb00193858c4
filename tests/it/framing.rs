//! Lines joined to events and parts of messages, from the program's standard input to its output.

use crate::agent::{Agent, assert_balanced, config, eventually, gives_reason, lines, tidegate};
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

#[test]
fn traces_of_containers_are_joined_behind_their_parts_and_each_stream_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "sources: {in: {type: stdin, decode: docker, multiline: java, on_decode_error: drop}}\n\
         sinks: {out: {type: file, inputs: [in], path: out.ndjson}}\n",
    );
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let line = |stream: &str, log: &str| {
        format!(r#"{{"log":{log},"stream":"{stream}","attrs":{{"tag":"shop"}},"time":"2025-01-01T00:00:00Z"}}"#) + "\n"
    };
    let text = [
        line("stderr", r#""java.lang.IllegalStateException: no\n""#),
        line("stdout", r#""order 17\n""#),
        line("stderr", r#""\tat a.B""#),
        "{\"log\":\"torn\n".into(),
        line("stdout", r#""order 18\n""#),
        line("stderr", r#""\tat a.C\n""#),
    ];
    child.stdin.take().unwrap().write_all(text.concat().as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    let event = |stream: &str, message: &str| {
        format!(
            r#"{{"timestamp":"2025-01-01T00:00:00Z","stream":"{stream}","message":"{message}","attrs":{{"tag":"shop"}}}}"#
        )
    };
    assert_eq!(
        lines(&dir.path().join("out.ndjson")),
        [
            event("stdout", "order 17"),
            event("stderr", r"java.lang.IllegalStateException: no\n\tat a.B\n\tat a.C"),
            event("stdout", "order 18")
        ]
    );
    assert!(gives_reason(&said, "decode_error", 1), "{said}");
    assert_balanced(&said);
}

#[test]
fn a_container_message_is_whole_behind_a_rotation_a_kill_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (pod, out) = (dir.path().join("pod"), dir.path().join("out.ndjson"));
    std::fs::create_dir(&pod).unwrap();
    config(
        dir.path(),
        "sources: {in: {type: file, include: ['pod/0.log*'], decode: cri, partial_timeout: 1h}}\n\
         sinks: {out: {type: file, inputs: [in], path: out.ndjson}}\n",
    );
    let append = |text: &str| {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(pod.join("0.log")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let rotate = |n: u32| {
        std::fs::rename(pod.join("0.log"), pod.join(format!("0.log.20250101-00000{n}"))).unwrap();
        // Births are told apart by the clock's ticks only.
        std::thread::sleep(std::time::Duration::from_millis(11));
    };
    let messages = || -> Vec<String> {
        let message = |line: &String| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["message"].as_str().unwrap().to_owned()
        };
        if out.exists() { lines(&out).iter().map(message).collect() } else { Vec::new() }
    };
    let time = "2025-01-01T00:00:00Z";
    append(&format!("{time} stdout F 1\n{time} stdout P a\n{time} stderr F 2\n"));
    let agent = Agent::run(dir.path(), &[]);
    eventually("what is whole", || messages().len() == 2);
    rotate(0);
    append(&format!("{time} stderr F 3\n{time} stdout P b\n"));
    eventually("the new file", || messages().len() == 3);
    agent.kill();
    // What came last may come again; what is open is no half.
    let agent = Agent::run(dir.path(), &[]);
    append(&format!("{time} stderr F 4\n"));
    eventually("the line behind the kill", || messages().contains(&"4".to_owned()));
    rotate(1);
    append(&format!("{time} stderr F 5\n"));
    eventually("the third file", || messages().contains(&"5".to_owned()));
    let said = agent.stop();
    assert_balanced(&said);
    rotate(2);
    append(&format!("{time} stdout F c\n{time} stdout F 6\n"));
    let before = messages().len();
    let agent = Agent::run(dir.path(), &[]);
    eventually("the rest", || messages().contains(&"6".to_owned()));
    agent.stop();
    assert_eq!(messages()[before..], ["abc", "6"]);
    let mut whole = messages();
    whole.sort();
    whole.dedup();
    assert_eq!(whole, ["1", "2", "3", "4", "5", "6", "abc"]);
    let agent = Agent::run(dir.path(), &[]);
    append(&format!("{time} stdout F 7\n"));
    eventually("a line more", || messages().contains(&"7".to_owned()));
    agent.stop();
    assert_eq!(messages().len(), before + 3, "nothing comes again behind a stop");
}

//! What logs are in, and lines that belong together, from outside: bytes in, events out.

use crate::agent::{Agent, assert_balanced, config, eventually, lines, output, tidegate};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

fn once(dir: &Path, yaml: &str, input: &[u8]) -> (Vec<String>, String) {
    config(dir, yaml);
    let mut command = tidegate(dir, &["run", "--once", "--config", "tidegate.yaml"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).unwrap();
    drop(stdin);
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
    assert_balanced(&said);
    (String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect(), said)
}

#[test]
fn a_file_in_utf_16_is_read_by_its_mark_and_by_its_charset() {
    let dir = tempfile::tempdir().unwrap();
    let text: Vec<u8> = "one \u{fc}\r\ntwo\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(dir.path().join("errorlog"), [b"\xff\xfe", &text[..]].concat()).unwrap();
    std::fs::write(dir.path().join("bare"), &text).unwrap();
    for (name, more) in [("errorlog", ""), ("bare", "charset: utf-16le, ")] {
        let yaml = format!(
            "data_dir: ./{name}.data\nsources: {{in: {{type: file, {more}include: [./{name}], attach: [offset]}}}}\n\
             sinks: {{out: {{type: console, inputs: [in]}}}}\n"
        );
        let first = if name == "bare" { 0 } else { 2 };
        let want = [
            format!("{{\"message\":\"one \u{fc}\",\"offset\":{first}}}"),
            format!("{{\"message\":\"two\",\"offset\":{}}}", first + 14),
        ];
        assert_eq!(once(dir.path(), &yaml, b"").0, want);
        // Nothing comes again.
        assert_eq!(once(dir.path(), &yaml, b"").0, [""; 0]);
    }
}

#[test]
fn standard_input_in_another_charset_keeps_its_characters() {
    let dir = tempfile::tempdir().unwrap();
    let with = |more: &str, encoding: &str| {
        format!(
            "data_dir: ./data\nsources: {{in: {{type: stdin{more}}}}}\n\
             sinks: {{out: {{type: console, inputs: [in], encoding: {encoding}}}}}\n"
        )
    };
    let input = b"latin \xe4\xf6\xfc\n\x83\x65\x83\x58\x83\x67\n";
    assert_eq!(once(dir.path(), &with(", invalid_utf8: latin1", "text"), &input[..10]).0, ["latin \u{e4}\u{f6}\u{fc}"]);
    assert_eq!(once(dir.path(), &with(", charset: latin1", "text"), &input[..10]).0, ["latin \u{e4}\u{f6}\u{fc}"]);
    assert_eq!(once(dir.path(), &with(", charset: shift_jis", "text"), &input[10..]).0, ["\u{30c6}\u{30b9}\u{30c8}"]);
    let (escaped, said) = once(dir.path(), &with(", invalid_utf8: escape", "text"), input);
    assert_eq!(escaped, [r"latin \xe4\xf6\xfc", r"\x83e\x83X\x83g"]);
    assert!(said.contains("invalid_utf8"), "{said}");
    let (code, _, said) = {
        config(dir.path(), &with(", charset: latin-1", "text"));
        output(tidegate(dir.path(), &["validate", "--config", "tidegate.yaml"]))
    };
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("unknown charset `latin-1`") && said.contains("did you mean"), "{said}");
}

fn joined(timeout: &str) -> String {
    format!(
        "data_dir: ./data
sources: {{in: {{type: file, include: [./in.log]}}}}
transforms: {{whole: {{type: join, inputs: [in], multiline: indent, timeout: {timeout}}}}}
sinks: {{out: {{type: file, inputs: [whole], path: ./out.log}}}}
"
    )
}

/// Event `n` as its lines, and as it comes out.
fn event(n: usize) -> (String, String) {
    let more = n % 4;
    let lines: Vec<String> =
        std::iter::once(format!("event {n}")).chain((0..more).map(|i| format!("  {n} more {i}"))).collect();
    (lines.iter().map(|line| format!("{line}\n")).collect(), format!("{{\"message\":\"{}\"}}", lines.join("\\n")))
}

#[test]
fn joined_events_survive_kills_whole() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), &joined("1h"));
    let path = dir.path().join("in.log");
    let append = |text: &str| {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let out = dir.path().join("out.log");
    let mut written = 0;
    for _ in 0..6 {
        let came = lines(&out).len();
        let agent = Agent::run(dir.path(), &[]);
        // The last event stays open when the agent is killed, and goes on afterwards.
        let text: String = (written..written + 300).map(|n| event(n).0).collect();
        let half = text.len() - 7;
        append(&text[..half]);
        eventually("it gets on", || lines(&out).len() > came);
        agent.kill();
        append(&text[half..]);
        written += 300;
    }
    let (code, _, said) = output(tidegate(dir.path(), &["run", "--once", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(0), "{said}");
    assert_balanced(&said);
    let came: std::collections::BTreeSet<String> = lines(&out).into_iter().collect();
    let lost: Vec<usize> = (0..written).filter(|n| !came.contains(&event(*n).1)).collect();
    assert!(lost.is_empty(), "{} of {written} lost: {lost:?}", lost.len());
}

#[test]
fn what_is_joined_is_delivered_at_a_stop_and_comes_once() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), &joined("1s"));
    let path = dir.path().join("in.log");
    std::fs::write(&path, (0..50).map(|n| event(n).0).collect::<String>()).unwrap();
    let out = dir.path().join("out.log");
    let agent = Agent::run(dir.path(), &[]);
    eventually("all but the last", || lines(&out).len() >= 49);
    agent.stop();
    let want: Vec<String> = (0..50).map(|n| event(n).1).collect();
    assert_eq!(lines(&out), want);
    let agent = Agent::run(dir.path(), &[]);
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(event(50).0.as_bytes()).unwrap();
    // By its time-out.
    eventually("the next", || lines(&out).len() > 50);
    agent.stop();
    assert_eq!(lines(&out)[..50], want[..]);
    assert_eq!(lines(&out)[50..], [event(50).1]);
}

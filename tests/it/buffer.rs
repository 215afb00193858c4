//! Disk buffers of the whole program: the commands that look into them, on a running agent and at rest.

use crate::agent::{Agent, config, eventually, nobody, output, tidegate};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file into a sink that nobody answers.
fn yaml(port: u16) -> String {
    format!(
        "data_dir: ./data
shutdown_timeout: 1s
sources:
  in: {{type: file, include: [\"in.ndjson\"], decode: json}}
sinks:
  o2:
    type: openobserve
    inputs: [in]
    url: \"http://127.0.0.1:{port}\"
    stream: s
    auth: {{basic: {{user: u, password: p}}}}
    healthcheck: false
    buffer: {{type: disk, max_size: 8MiB}}
"
    )
}

fn write_input(dir: &Path, events: usize) {
    let text: String = (0..events).map(|n| format!("{{\"n\":{n},\"message\":\"event number {n}\"}}\n")).collect();
    std::fs::write(dir.join("in.ndjson"), text).unwrap();
}

/// `tidegate buffer ...`: exit code, stdout, stderr.
fn buffer(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    output(tidegate(dir, &[&["buffer", "--data-dir", "data"], args].concat()))
}

fn ls(dir: &Path) -> String {
    let (code, stdout, said) = buffer(dir, &["ls"]);
    assert_eq!(code, Some(0), "{said}");
    stdout
}

fn numbers(text: &str) -> Vec<u64> {
    text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["n"].as_u64().unwrap()).collect()
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("data/buffer/o2")
}

/// Names and contents of what is in a buffer.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder(dir)).unwrap().map(Result::unwrap);
    let files = entries.filter(|e| e.file_type().unwrap().is_file());
    files.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

/// An agent that holds `events` events.
fn holding(dir: &Path, events: usize) -> Agent {
    write_input(dir, events);
    config(dir, &yaml(nobody().port()));
    let agent = Agent::run(dir, &[]);
    let row = format!(" {events} ");
    eventually("the events are on disk", || folder(dir).exists() && ls(dir).contains(&row));
    agent
}

fn end(mut agent: Agent) -> String {
    agent.signal(rustix::process::Signal::TERM);
    agent.wait().1
}

#[test]
fn a_running_agents_buffer_is_looked_into_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let agent = holding(dir.path(), 1000);
    assert!(ls(dir.path()).lines().any(|l| l.starts_with("o2 ") && l.ends_with("in use")), "{}", ls(dir.path()));
    let (code, stdout, said) = buffer(dir.path(), &["cat", "o2"]);
    assert_eq!((code, numbers(&stdout)), (Some(0), (0..1000).collect()), "{said}");
    let (_, stdout, _) = buffer(dir.path(), &["cat", "o2", "--limit", "3"]);
    assert_eq!(numbers(&stdout), [0, 1, 2]);
    let (code, stdout, _) = buffer(dir.path(), &["grep", "o2", "number 77\\d"]);
    assert_eq!((code, numbers(&stdout)), (Some(0), (770..780).collect()));
    assert_eq!(buffer(dir.path(), &["grep", "o2", "no such thing"]).0, Some(1));
    let (code, stdout, said) = buffer(dir.path(), &["verify"]);
    assert_eq!(code, Some(0), "{stdout}{said}");
    assert!(stdout.contains("o2: whole: 1 segments"), "{stdout}");
    let (code, stdout, said) = buffer(dir.path(), &["inspect", "o2"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(stdout.contains("events held 1000\n"), "{stdout}");
    for wrong in [&["repair", "o2"][..], &["drop", "o2", "--yes"]] {
        let (code, _, said) = buffer(dir.path(), wrong);
        assert_eq!(code, Some(1), "{wrong:?}");
        assert!(said.contains("belongs to another process"), "{said}");
    }
    let said = end(agent);
    assert!(said.contains("keeps events for the next start"), "{said}");
    assert!(ls(dir.path()).lines().any(|l| l.starts_with("o2 ") && l.ends_with("at rest")), "{}", ls(dir.path()));
}

#[test]
fn looking_changes_no_byte_and_export_and_drop_do_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    end(holding(dir.path(), 500));
    let before = contents(dir.path());
    for look in [&["ls"][..], &["inspect", "o2"], &["cat", "o2", "--all"], &["grep", "o2", "x"], &["verify", "o2"]] {
        buffer(dir.path(), look);
        assert!(contents(dir.path()) == before, "{look:?} has changed something");
    }
    let (code, stdout, said) = buffer(dir.path(), &["export", "o2", "--output", "out.ndjson"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(stdout.contains("500 events written"), "{stdout}");
    assert_eq!(numbers(&std::fs::read_to_string(dir.path().join("out.ndjson")).unwrap()), (0..500).collect::<Vec<_>>());
    assert_eq!(
        buffer(dir.path(), &["export", "o2", "--output", "out.ndjson"]).0,
        Some(1),
        "a file that is there stays"
    );
    assert!(contents(dir.path()) == before);
    let (code, _, said) = buffer(dir.path(), &["drop", "o2"]);
    assert!(code == Some(1) && said.contains("500 events"), "{said}");
    assert!(contents(dir.path()) == before);
    assert_eq!(buffer(dir.path(), &["drop", "o2", "--yes"]).0, Some(0));
    assert!(!folder(dir.path()).exists());
    let (code, _, said) = buffer(dir.path(), &["cat", "o2"]);
    assert!(code == Some(1) && said.contains("there are none"), "{said}");
}

#[test]
fn damage_is_found_named_and_mended_once() {
    let dir = tempfile::tempdir().unwrap();
    end(holding(dir.path(), 2000));
    let segment = contents(dir.path()).into_keys().find(|name| name.ends_with(".seg")).unwrap();
    let path = folder(dir.path()).join(segment);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    std::fs::write(&path, bytes).unwrap();
    let (code, stdout, _) = buffer(dir.path(), &["verify"]);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("o2: DAMAGED") && stdout.contains("a body without its checksum"), "{stdout}");
    let (_, stdout, said) = buffer(dir.path(), &["cat", "o2"]);
    let left = numbers(&stdout).len();
    assert!(left < 2000 && said.contains("damaged:"), "{left} {said}");
    let (code, stdout, said) = buffer(dir.path(), &["repair", "o2"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        stdout.contains("1 damaged places, ") && stdout.contains(&format!(", {} events lost", 2000 - left)),
        "{stdout}"
    );
    assert_eq!(std::fs::read_dir(folder(dir.path()).join("quarantine")).unwrap().count(), 1);
    let (code, stdout, _) = buffer(dir.path(), &["verify"]);
    assert_eq!(code, Some(0), "{stdout}");
    assert_eq!(numbers(&buffer(dir.path(), &["cat", "o2"]).1).len(), left);
}

#[test]
fn a_buffer_without_a_sink_is_named_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    end(holding(dir.path(), 300));
    config(dir.path(), "data_dir: ./data\nsources: {in: {type: stdin}}\nsinks: {b: {type: blackhole, inputs: [in]}}\n");
    let (code, _, said) = output({
        let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
        command.stdin(std::process::Stdio::null());
        command
    });
    assert_eq!(code, Some(0), "{said}");
    let line = said.lines().find(|l| l.contains("belongs to no sink")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("o2") && line.contains("300"), "{line}");
}

#[test]
fn several_buffers_of_several_kinds_work_in_one_process() {
    let dir = tempfile::tempdir().unwrap();
    write_input(dir.path(), 20_000);
    config(
        dir.path(),
        "data_dir: ./data
sources:
  in: {type: file, include: [\"in.ndjson\"], decode: json}
sinks:
  one: {type: file, inputs: [in], path: ./one, buffer: {type: disk, max_size: 8MiB, compression: zstd}}
  two: {type: file, inputs: [in], path: ./two, buffer: {type: disk, max_size: 1MiB, fsync: interval, max_age: 1d}}
  three:
    type: file
    inputs: [in]
    path: ./three
    buffer: {type: memory, max_bytes: 64KiB, when_full: overflow, overflow: {type: disk, max_size: 1MiB, fsync: never}}
",
    );
    let (code, _, said) = output(tidegate(dir.path(), &["run", "--once", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(0), "{said}");
    crate::agent::assert_balanced(&said);
    for out in ["one", "two", "three"] {
        let text = std::fs::read_to_string(dir.path().join(out)).unwrap();
        assert!(numbers(&text) == (0..20_000).collect::<Vec<_>>(), "{out}");
    }
    for id in ["one", "two", "three"] {
        let table = ls(dir.path());
        let row = table.lines().find(|l| l.starts_with(&format!("{id} "))).unwrap_or_else(|| panic!("{id} in {table}"));
        assert_eq!(row.split_whitespace().nth(1), Some("0"), "{row}");
    }
}

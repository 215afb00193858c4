//! The `main` benchmark job, right down to the byte: the program's output against an independent model in Python.

use crate::agent::{Agent, assert_balanced, config, eventually, ledger, lines, output, tidegate};
use crate::corpus;
use std::path::Path;
use std::process::Command;

fn write_config(dir: &Path) {
    let yaml = corpus::MAIN
        .replace("in: {type: stdin, decode: json}", "in: {type: file, include: [\"in.ndjson\"], decode: json}");
    config(dir, &format!("data_dir: ./data\n{yaml}"));
}

fn check_against_model(dir: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/model/main_job.py");
    let mut python = Command::new("python3");
    python.arg(script).args(["in.ndjson", "out.ndjson"]).current_dir(dir);
    let (code, stdout, stderr) = output(python);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    println!("{stdout}");
}

#[test]
fn its_output_is_what_the_model_computes() {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path());
    std::fs::write(dir.path().join("in.ndjson"), corpus::app(100_000)).unwrap();
    let (code, _, said) = output(tidegate(dir.path(), &["run", "--once", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(0), "{said}");
    assert_balanced(&said);
    check_against_model(dir.path());
}

/// SIGTERM at several points of the way, and on again: no line lost, none twice.
#[test]
fn stopping_and_starting_again_loses_nothing_and_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path());
    let input = corpus::app(200_000);
    std::fs::write(dir.path().join("in.ndjson"), &input).unwrap();
    let out = dir.path().join("out.ndjson");
    let mut delivered = 0;
    for stop in 1..=6u64 {
        let agent = Agent::run(dir.path(), &[]);
        let want = stop * 8_000_000;
        eventually("some output", || std::fs::metadata(&out).map_or(0, |m| m.len()) >= want);
        let said = agent.stop();
        delivered += ledger(&said).iter().find(|(id, _)| id == "in").unwrap().1[0];
    }
    let (code, _, said) = output(tidegate(dir.path(), &["run", "--once", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(0), "{said}");
    delivered += ledger(&said).iter().find(|(id, _)| id == "in").unwrap().1[0];
    assert_eq!(delivered, 200_000, "every line is read once over all runs");
    check_against_model(dir.path());
}

/// kill -9 at several points: no line lost; repeats are bounded by what was in flight.
#[test]
fn killing_it_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path());
    std::fs::write(dir.path().join("in.ndjson"), corpus::app(200_000)).unwrap();
    let out = dir.path().join("out.ndjson");
    let size = || std::fs::metadata(&out).map_or(0, |m| m.len());
    for _ in 0..5 {
        let agent = Agent::run(dir.path(), &[]);
        let want = size() + 7_000_000;
        eventually("some output", || size() >= want);
        agent.kill();
    }
    let (code, _, said) = output(tidegate(dir.path(), &["run", "--once", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(0), "{said}");
    let seq = |line: &str| -> u64 {
        let at = line.find("\"seq\":").unwrap() + 6;
        line[at..].split([',', '}']).next().unwrap().parse().unwrap()
    };
    let mut seen = vec![0u32; 200_000];
    for line in lines(&out) {
        assert!(line.starts_with('{') && line.ends_with('}'), "a torn line: {line}");
        seen[seq(&line) as usize] += 1;
    }
    let input = String::from_utf8(corpus::app(200_000)).unwrap();
    let (mut lost, mut repeats) = (0, 0);
    for (n, line) in input.lines().enumerate() {
        let debug = line.contains("\"level\":\"DEBUG\"") || line.contains("\"level\":\"trace\"");
        lost += u32::from(seen[n] == 0 && !debug);
        repeats += seen[n].saturating_sub(1);
    }
    println!("5 kills: {lost} lost, {repeats} repeated");
    assert_eq!(lost, 0);
}

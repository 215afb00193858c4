//! The source in a running topology, with its threads and the kernel's notices.

use super::*;
use crate::component::plan::SourcePlan;
use crate::component::{Input, SinkRun};
use crate::decoding::{Decoder, OnDecodeError, TextDecoder};
use crate::event::Sym;
use crate::topology::{Blueprint, BufferPart, Running, SinkPart, SourcePart, start};
use std::sync::Mutex;
use std::time::{Duration, Instant};

type Lines = Arc<Mutex<Vec<String>>>;

/// Starts a source and a sink that keeps lines.
fn topology(yaml: &str, data: PathBuf, once: bool, lines: &Lines) -> Running {
    topology_with(yaml, data, once, lines, Duration::ZERO, 24 << 20)
}

/// The sink rests after each batch.
fn topology_with(yaml: &str, data: PathBuf, once: bool, lines: &Lines, rest: Duration, memory_limit: usize) -> Running {
    let cx = context("src", data, once);
    let run = Box::new(super::config(yaml)).build(&cx).unwrap();
    let source = SourcePart {
        counters: cx.counters.clone(),
        run,
        decoder: Decoder::new(Box::new(TextDecoder), OnDecodeError::Keep),
        when: None,
        attach: Vec::new(),
        overlaps: false,
    };
    let to = lines.clone();
    let sink = move |input: Input| {
        loop {
            match input.recv_timeout(Duration::from_secs(1)) {
                crate::buffer::Received::Batch(mut batch) => {
                    let mut lines = to.lock().unwrap();
                    for event in batch.iter() {
                        let mut text = Vec::new();
                        event.field(Sym::MESSAGE).unwrap().append_text(&mut text);
                        lines.push(String::from_utf8(text).unwrap());
                    }
                    drop(lines);
                    std::thread::sleep(rest);
                    input.delivered(batch.ack.take(), batch.len() as u64, 0, batch.received_at);
                }
                crate::buffer::Received::Timeout => {}
                crate::buffer::Received::Closed => return Ok(()),
            }
        }
    };
    let sink = SinkPart {
        counters: Counters::new("sink", ComponentKind::Sink, "test"),
        run: SinkRun::Thread(Box::new(sink)),
        inputs: vec![("src".into(), "".into())],
        takes_stale: false,
        keeps_places: false,
        when: None,
        buffer: BufferPart { max_bytes: None, policy: crate::buffer::FullPolicy::Block, disk: None, behind_disk: None },
        dead_letter: None,
    };
    start(Blueprint {
        sources: vec![source],
        transforms: Vec::new(),
        sinks: vec![sink],
        memory_limit,
        shutdown_timeout: Duration::from_secs(30),
        threads: 2,
        fingerprints: Default::default(),
        upkeep: Default::default(),
    })
    .unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn stop(runtime: &tokio::runtime::Runtime, mut running: Running) {
    running.shutdown().cancel();
    let summary = runtime.block_on(running.wait());
    assert!(summary.failed.is_empty() && !summary.timed_out, "{summary:?}");
    for line in running.ledger.now().ledger() {
        assert_eq!((line.difference, line.held), (0, 0), "{line:?}");
    }
}

fn wait_for(lines: &Lines, n: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while lines.lock().unwrap().len() < n {
        assert!(Instant::now() < deadline, "{} of {n} lines", lines.lock().unwrap().len());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn logs(dir: &Path) -> (PathBuf, String) {
    let logs = dir.join("logs");
    std::fs::create_dir(&logs).unwrap();
    let yaml = format!("include: ['{}/*.log']", logs.display());
    (logs, yaml)
}

#[test]
fn once_reads_everything_and_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (logs, yaml) = logs(dir.path());
    let text: String = (0..200_000).map(|n| format!("line {n}\n")).collect();
    std::fs::write(logs.join("a.log"), text.trim_end()).unwrap();
    let lines = Lines::default();
    let runtime = runtime();
    for _ in 0..2 {
        let _inside = runtime.enter();
        let mut running = topology(&yaml, dir.path().join("data"), true, &lines);
        let summary = runtime.block_on(running.wait());
        assert!(summary.failed.is_empty() && !summary.timed_out, "{summary:?}");
    }
    // The second run found nothing new.
    let lines = lines.lock().unwrap();
    assert!(lines.join("\n") == text.trim_end(), "{} lines", lines.len());
}

#[test]
fn stopping_and_starting_anywhere_loses_nothing_and_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (logs, yaml) = logs(dir.path());
    let total = 300_000;
    let text: String = (0..total).map(|n| format!("a line with its number {n}\n")).collect();
    std::fs::write(logs.join("a.log"), text).unwrap();
    let lines = Lines::default();
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut runs = 0;
    while lines.lock().unwrap().len() < total {
        let before = lines.lock().unwrap().len();
        let rest = Duration::from_millis(10);
        let running = topology_with(&yaml, dir.path().join("data"), false, &lines, rest, 1 << 20);
        wait_for(&lines, (before + 20_000).min(total));
        stop(&runtime, running);
        runs += 1;
    }
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), total);
    assert!(lines.iter().enumerate().all(|(n, l)| *l == format!("a line with its number {n}")));
    assert!(runs > 1, "it was never stopped in between");
}

#[test]
fn a_new_line_comes_at_once_and_so_does_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let (logs, yaml) = logs(dir.path());
    std::fs::write(logs.join("a.log"), "first\n").unwrap();
    let lines = Lines::default();
    let runtime = runtime();
    let _inside = runtime.enter();
    let running = topology(&yaml, dir.path().join("data"), false, &lines);
    wait_for(&lines, 1);
    let mut took = Vec::new();
    for n in 0..100 {
        let name = if n % 10 == 9 { format!("b{n}.log") } else { "a.log".into() };
        let mut file = OpenOptions::new().create(true).append(true).open(logs.join(name)).unwrap();
        let start = Instant::now();
        file.write_all(format!("{n}\n").as_bytes()).unwrap();
        wait_for(&lines, n + 2);
        took.push(start.elapsed());
    }
    stop(&runtime, running);
    took.sort();
    println!("median {:?}, slowest {:?}", took[50], took[99]);
    // Alone on a machine the slowest takes a few milliseconds; the bound only tells notices from sweeps.
    assert!(took[50] < Duration::from_millis(50), "{took:?}");
}

#[test]
fn rotation_every_tenth_of_a_second_under_load_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (logs, yaml) = logs(dir.path());
    let lines = Lines::default();
    let runtime = runtime();
    let _inside = runtime.enter();
    let running = topology(&yaml, dir.path().join("data"), false, &lines);
    let path = logs.join("a.log");
    let start = Instant::now();
    let mut file = std::fs::File::create(&path).unwrap();
    let (mut n, mut rotations) = (0, 0);
    while start.elapsed() < Duration::from_secs(4) {
        let mut text = String::new();
        for _ in 0..100 {
            text += &format!("line {n}\n");
            n += 1;
        }
        file.write_all(text.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        if start.elapsed().as_millis() / 100 > rotations {
            rotations += 1;
            for i in (1..20).rev() {
                let _missing = std::fs::rename(logs.join(format!("a.log.{i}")), logs.join(format!("a.log.{}", i + 1)));
            }
            std::fs::rename(&path, logs.join("a.log.1")).unwrap();
            // The writer goes on in the renamed file for a moment.
            file.write_all(format!("line {n}\n").as_bytes()).unwrap();
            n += 1;
            file = std::fs::File::create(&path).unwrap();
        }
    }
    wait_for(&lines, n);
    stop(&runtime, running);
    let mut lines: Vec<u64> =
        lines.lock().unwrap().iter().map(|l| l.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    lines.sort_unstable();
    assert!(rotations > 20, "{rotations} rotations");
    assert!(lines == (0..n as u64).collect::<Vec<_>>(), "{} of {n} lines", lines.len());
}

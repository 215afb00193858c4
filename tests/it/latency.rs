//! A line that is written is delivered soon: notices of the system are heard, nothing waits for a timer. The figures are
//! `benches/latency.rs`'s; these bounds only tell "at once" from "at the next sweep" on a machine that is busy.

use crate::agent::{Agent, PATIENCE, config, eventually};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Appends lines, one at a time, and gives the time each took to arrive in `out.log`, shortest first. Each must come once.
fn delays(dir: &Path, lines: usize, every: Duration) -> Vec<Duration> {
    let mut agent = Agent::run(dir, &[]);
    let mut input = OpenOptions::new().append(true).open(dir.join("in.log")).unwrap();
    writeln!(input, "first").unwrap();
    eventually("the first line comes", || std::fs::read(dir.join("out.log")).is_ok_and(|text| text == b"first\n"));
    let mut output = File::open(dir.join("out.log")).unwrap();
    let start = Instant::now();
    let writer = std::thread::spawn(move || {
        for n in 0..lines {
            std::thread::sleep((start + every * n as u32).saturating_duration_since(Instant::now()));
            writeln!(input, "line {n}").unwrap();
        }
    });
    let (mut text, mut read, mut taken) = (String::new(), 0, Vec::new());
    while taken.len() < lines {
        let came = output.read_to_string(&mut text).unwrap();
        if came == 0 {
            assert!(start.elapsed() < PATIENCE, "{} of {lines} lines came: {}", taken.len(), agent.said());
            std::thread::sleep(Duration::from_micros(500));
        }
        while let Some(end) = text[read..].find('\n') {
            if let Some(n) = text[read..read + end].strip_prefix("line ") {
                let n: usize = n.parse().unwrap();
                assert_eq!(n, taken.len(), "each line comes once and in order");
                taken.push((start + every * n as u32).elapsed());
            }
            read += end + 1;
        }
    }
    writer.join().unwrap();
    agent.signal(rustix::process::Signal::TERM);
    agent.wait();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), lines + 1, "nothing comes twice");
    taken.sort_unstable();
    taken
}

fn median_delay(sink: &str, lines: usize, every: Duration) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    File::create(dir.path().join("in.log")).unwrap();
    config(
        dir.path(),
        &format!(
            "data_dir: data\nsources:\n  in: {{type: file, include: [in.log], glob_interval: 60s}}\nsinks:\n  \
             out: {{type: file, inputs: [in], path: out.log, encoding: text{sink}}}\n"
        ),
    );
    delays(dir.path(), lines, every)[lines / 2]
}

#[test]
fn lines_at_a_steady_rate_arrive_at_once() {
    let median = median_delay("", 500, Duration::from_millis(1));
    assert!(median < Duration::from_millis(100), "{median:?}");
}

#[test]
fn a_line_now_and_then_wakes_an_idle_agent_at_once() {
    let median = median_delay("", 15, Duration::from_millis(70));
    assert!(median < Duration::from_millis(100), "{median:?}");
}

#[test]
fn a_disk_buffer_does_not_hold_lines_back() {
    let median = median_delay(", buffer: {type: disk, max_size: 16MiB}", 500, Duration::from_millis(1));
    assert!(median < Duration::from_millis(200), "{median:?}");
}

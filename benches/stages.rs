//! What each stage of an event's way costs, in memory, on one core.
//!
//! Question: events and bytes a second of framing, decoding, each transform, encoding, and of the disk buffer's work.
//! Input: lines made here (`corpus`), batches of 600 events. Each stage is run once and its output checked before anything
//! is timed; what a stage takes (a batch, freshly decoded) is made outside of the measured time. At the end the disk
//! buffer itself, through a worker and onto the disk below the temporary folder: `write` until all is acknowledged, `read`
//! of all that lies there.
//!
//! `cargo bench --bench stages` measures all; `cargo bench --bench stages -- decoding` one group; with `--test` each is
//! run once.
#![allow(missing_docs, clippy::unwrap_used)]

mod corpus;
mod work;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::{Duration, Instant};
use tidegate::internals::buffer::disk::tools;

fn stages(c: &mut Criterion) {
    for (name, make) in work::stages() {
        let (group, name) = name.split_once('/').unwrap();
        let mut stage = make();
        let mut group = c.benchmark_group(group);
        group.throughput(Throughput::ElementsAndBytes { elements: stage.events as u64, bytes: stage.bytes as u64 });
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    stage.work.prepare();
                    let began = Instant::now();
                    stage.work.run();
                    took += began.elapsed();
                    stage.work.finish();
                }
                took
            });
        });
        group.finish();
    }
}

fn disk(c: &mut Criterion) {
    let mut group = c.benchmark_group("disk buffer");
    group.sample_size(10);
    // The test run only looks whether it works.
    let batches = if std::env::args().any(|a| a == "--test") || cfg!(debug_assertions) { 4 } else { 256 };
    for fsync in ["never", "batch"] {
        let probe = tempfile::tempdir().unwrap();
        let one = work::fill(probe.path(), 1, fsync);
        group.throughput(Throughput::ElementsAndBytes { elements: one.events * batches, bytes: one.bytes * batches });
        group.bench_function(format!("write, fsync {fsync}"), |b| {
            b.iter_custom(|rounds| {
                let write = |_| {
                    let dir = tempfile::tempdir().unwrap();
                    let filled = work::fill(dir.path(), batches, fsync);
                    assert_eq!(tools::held(&filled.folder).unwrap(), filled.events);
                    filled.took
                };
                (0..rounds).map(write).sum()
            });
        });
    }
    let dir = tempfile::tempdir().unwrap();
    let filled = work::fill(dir.path(), batches, "never");
    group.throughput(Throughput::ElementsAndBytes { elements: filled.events, bytes: filled.bytes });
    group.bench_function("read", |b| {
        b.iter(|| {
            let mut events = 0;
            let report = tools::read(&filled.folder, &mut |record| {
                events += record.batch.len() as u64;
                true
            });
            assert_eq!((events, report.unwrap().damage.len()), (filled.events, 0));
        });
    });
    group.finish();
}

criterion_group!(benches, stages, disk);
criterion_main!(benches);

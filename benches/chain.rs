//! What one event costs on the way through the chain of the `main` benchmark, in memory, on one core.
//!
//! Question: nanoseconds an event (about 440 bytes of JSON) from line to encoded record. Input: made here, shaped like an
//! e-commerce back end's log. The output is checked before anything is timed.
//!
//! `cargo bench --bench chain` prints a row for each prefix of the chain.
#![allow(missing_docs, clippy::unwrap_used)]

mod corpus;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tidegate::internals::ack::{Ack, Verdict};
use tidegate::internals::component::{Chunk, Frames};
use tidegate::internals::config::{ProcessEnvironment, built_in, load_texts};
use tidegate::internals::decoding::{DecodeStats, Decoder, JsonDecoder, OnDecodeError};
use tidegate::internals::event::{Batch, Origin, Slab};
use tidegate::internals::topology;
use tidegate::internals::transforms::normalize::{KeepRest, Normalize, NormalizeOptions, Schema};

fn chunk(text: &Slab, origin: &std::sync::Arc<Origin>) -> Chunk {
    Chunk {
        text: text.clone(),
        frames: Frames::Lines { start: 0, end: text.len() },
        origin: origin.clone(),
        offset: 0,
        received_at: 1_767_323_045_678_000_000,
        ack: Ack::none(),
    }
}

fn chain(c: &mut Criterion) {
    const EVENTS: usize = 600;
    let text = Slab::from_vec(corpus::app(EVENTS));
    let origin = Origin::of_source("in");
    let mut group = c.benchmark_group("chain");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let mut decoder = Decoder::new(Box::new(JsonDecoder::default()), OnDecodeError::Keep);
    let mut normalize =
        Normalize::new(NormalizeOptions { keep_rest: KeepRest::Root, ..NormalizeOptions::new(Schema::Log) });
    let mut out = Vec::new();
    let mut stats = DecodeStats::default();
    let encode = |batch: &Batch, out: &mut Vec<u8>| {
        out.clear();
        for event in batch.iter() {
            event.write_json(out);
            out.push(b'\n');
        }
    };
    let done = |mut batch: Batch| {
        batch.ack.take().settle(Verdict::Delivered);
        batch.recycle();
    };
    group.bench_function("decode", |b| {
        b.iter(|| done(black_box(decoder.decode(chunk(&text, &origin), &mut stats))));
    });
    group.bench_function("decode+encode", |b| {
        b.iter(|| {
            let batch = decoder.decode(chunk(&text, &origin), &mut stats);
            encode(&batch, &mut out);
            done(batch);
        });
    });
    assert_eq!(out, *text, "unchanged events are written byte for byte");
    group.bench_function("decode+normalize+encode", |b| {
        b.iter(|| {
            let mut batch = decoder.decode(chunk(&text, &origin), &mut stats);
            tidegate::internals::topology::apply_alone(&mut normalize, &mut batch);
            encode(&batch, &mut out);
            done(batch);
        });
    });
    assert_eq!(out.iter().filter(|&&c| c == b'\n').count(), EVENTS);

    // The whole chain as the program runs it: one worker over a topology made from YAML.
    let yaml = format!("data_dir: {}\n{}", std::env::temp_dir().join("tidegate-bench").display(), corpus::MAIN);
    let loaded = load_texts(&[("main.yaml", &yaml)], &ProcessEnvironment, built_in());
    let blueprint = topology::assemble(loaded.config.unwrap(), true).unwrap();
    let (mut worker, queues) = topology::single_worker(&blueprint);
    let queue = &queues[0].1;
    let mut pass = || {
        worker.chunk(0, chunk(&text, &origin));
        out.clear();
        while let Some(batch) = queue.try_recv() {
            encode(&batch, &mut out);
            done(batch);
        }
    };
    pass();
    group.bench_function("main: decode+normalize+redact+validate+sample+encode", |b| b.iter(&mut pass));
    let lines = out.iter().filter(|&&c| c == b'\n').count();
    assert!((EVENTS * 7 / 10..EVENTS).contains(&lines), "{lines} of {EVENTS} events came out");
    assert!(!out.windows(6).any(|w| w == b"sesame"), "passwords are gone");
    group.finish();
}

criterion_group!(benches, chain);
criterion_main!(benches);

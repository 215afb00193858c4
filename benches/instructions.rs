//! A fixed amount of work for counting instructions.
//!
//! Question: does a change make an event cost more, and which stage does? Times flake on a busy machine, counts do not.
//!
//! - `instructions CHAIN ROUNDS`: a whole chain (`json`, `main`, `syslog`). `tests/instructions/check.py` runs it under
//!   callgrind with two numbers of rounds and compares the difference with `tests/instructions/expected.json`.
//! - `instructions list`, `instructions stage NAME ROUNDS`: a stage of `work`. `tests/instructions/stages.py` counts what
//!   is done inside of [`measured`] and prints a table.
//! - `instructions kinds`, `instructions scaled KIND N ROUNDS`: the same for what grows; `tests/instructions/scaling.py`.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod corpus;
mod work;

use std::sync::Arc;
use tidegate::internals::ack::{Ack, Verdict};
use tidegate::internals::component::{Chunk, Frames};
use tidegate::internals::config::{ProcessEnvironment, built_in, load_texts};
use tidegate::internals::decoding::syslog::SyslogDecoder;
use tidegate::internals::decoding::{DecodeStats, Decoder, JsonDecoder, OnDecodeError};
use tidegate::internals::event::{Batch, Origin, Slab};
use tidegate::internals::framing::syslog::SyslogFramer;
use tidegate::internals::time::TimestampReader;
use tidegate::internals::topology;
use work::{EVENTS, RECEIVED_AT, Stage, Work};

fn chunk(text: &Slab, frames: Frames, origin: &Arc<Origin>) -> Chunk {
    Chunk { text: text.clone(), frames, origin: origin.clone(), offset: 0, received_at: RECEIVED_AT, ack: Ack::none() }
}

fn finish(mut batch: Batch, out: &mut Vec<u8>) {
    for event in batch.iter() {
        event.write_json(out);
        out.push(b'\n');
    }
    batch.ack.take().settle(Verdict::Delivered);
    batch.recycle();
}

/// The chain of the `main` benchmark, as the program runs it.
fn main_chain(rounds: usize) {
    let text = Slab::from_vec(corpus::app(EVENTS));
    let origin = Origin::of_source("in");
    let yaml = format!("data_dir: {}\n{}", std::env::temp_dir().join("tidegate-instructions").display(), corpus::MAIN);
    let loaded = load_texts(&[("main.yaml", &yaml)], &ProcessEnvironment, built_in());
    let blueprint = topology::assemble(loaded.config.unwrap(), true).unwrap();
    let (mut worker, queues) = topology::single_worker(&blueprint);
    let mut out = Vec::new();
    for _ in 0..rounds {
        out.clear();
        worker.chunk(0, chunk(&text, Frames::Lines { start: 0, end: text.len() }, &origin));
        while let Some(batch) = queues[0].1.try_recv() {
            finish(batch, &mut out);
        }
    }
    let lines = out.iter().filter(|&&c| c == b'\n').count();
    assert!((EVENTS * 7 / 10..EVENTS).contains(&lines), "{lines} of {EVENTS} events came out");
}

fn decode(mut decoder: Decoder, text: &Slab, frames: impl Fn() -> Frames, rounds: usize) {
    let origin = Origin::of_source("in");
    let (mut stats, mut out) = (DecodeStats::default(), Vec::new());
    for _ in 0..rounds {
        out.clear();
        finish(decoder.decode(chunk(text, frames(), &origin), &mut stats), &mut out);
    }
    assert_eq!(out.iter().filter(|&&c| c == b'\n').count(), EVENTS);
}

/// JSON lines, decoded and written as they are.
fn json(rounds: usize) {
    let text = Slab::from_vec(corpus::app(EVENTS));
    let decoder = Decoder::new(Box::new(JsonDecoder::default()), OnDecodeError::Keep);
    decode(decoder, &text, || Frames::Lines { start: 0, end: text.len() }, rounds);
}

/// RFC 5424 messages on a stream, framed, decoded and written as JSON.
fn syslog(rounds: usize) {
    let text = Slab::from_vec(corpus::syslog_5424(EVENTS));
    let frames = || {
        let mut spans = Vec::with_capacity(EVENTS);
        assert_eq!(SyslogFramer::new(64 << 10).frame(&text, &mut spans), text.len());
        Frames::Spans(spans)
    };
    let decoder = Decoder::new(Box::new(SyslogDecoder::new(TimestampReader::default())), OnDecodeError::Keep);
    decode(decoder, &text, frames, rounds);
}

/// What callgrind counts: `--toggle-collect='*measured*'`.
#[inline(never)]
fn measured(work: &mut dyn Work) {
    work.run();
    // So that the call above is none that jumps away for good.
    std::hint::black_box(());
}

/// A stage's rounds, behind one that does not count: it allocates, fills caches, compiles patterns.
fn stage(mut stage: Stage, rounds: usize) {
    for round in 0..=rounds {
        stage.work.prepare();
        if round == 0 {
            stage.work.run();
        } else {
            measured(&mut *stage.work);
        }
        stage.work.finish();
    }
    println!("{} events, {} bytes a round, {rounds} rounds", stage.events, stage.bytes);
}

fn main() {
    let arguments: Vec<String> = std::env::args().filter(|a| a != "--bench").collect();
    let number = |n: usize| arguments.get(n).and_then(|n| n.parse().ok()).unwrap_or(1);
    let word = |n: usize| arguments.get(n).map(String::as_str).unwrap_or_default();
    match word(1) {
        "main" => main_chain(number(2)),
        "json" => json(number(2)),
        "syslog" => syslog(number(2)),
        "list" => work::stages().iter().for_each(|(name, _)| println!("{name}")),
        "stage" => {
            let found = work::stages().into_iter().find(|(name, _)| name == word(2));
            stage(found.unwrap_or_else(|| panic!("no stage `{}`", word(2))).1(), number(3));
        }
        "kinds" => work::KINDS.iter().for_each(|(kind, unit, sizes)| println!("{kind}\t{unit}\t{sizes:?}")),
        "scaled" => stage(work::scaled(word(2), number(3)), number(4)),
        // As `cargo bench` runs it: that each works.
        _ => {
            [main_chain, json, syslog].into_iter().for_each(|chain| chain(1));
            work::stages().iter().for_each(|(_, make)| stage(make(), 1));
            work::KINDS.iter().for_each(|(kind, _, sizes)| stage(work::scaled(kind, sizes[1]), 1));
        }
    }
}

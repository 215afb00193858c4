//! A fixed amount of work for counting instructions: `instructions CHAIN ROUNDS`.
//!
//! Question: does a change make an event cost more? Times flake on a busy machine, counts do not:
//! `tests/instructions/check.py` runs this under callgrind with two numbers of rounds and compares the difference with the
//! figures in `tests/instructions/expected.json`.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod corpus;

use std::sync::Arc;
use tidegate::ack::{Ack, Verdict};
use tidegate::component::{Chunk, Frames};
use tidegate::config::{ProcessEnvironment, Registry, load_texts};
use tidegate::decoding::syslog::SyslogDecoder;
use tidegate::decoding::{DecodeStats, Decoder, JsonDecoder, OnDecodeError};
use tidegate::event::{Batch, Origin, Slab};
use tidegate::framing::syslog::SyslogFramer;
use tidegate::time::TimestampReader;
use tidegate::topology;

/// Events of a round.
const EVENTS: usize = 600;

fn chunk(text: &Slab, frames: Frames, origin: &Arc<Origin>) -> Chunk {
    let received_at = 1_767_323_045_678_000_000;
    Chunk { text: text.clone(), frames, origin: origin.clone(), offset: 0, received_at, ack: Ack::none() }
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
    let loaded = load_texts(&[("main.yaml", &yaml)], &ProcessEnvironment, Registry::built_in());
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
    let mut bytes = String::new();
    for n in 0..EVENTS {
        bytes.push_str(&format!(
            "<134>1 2026-11-21T02:17:{:02}.{:03}Z host-{}.example.com checkout {} ID{} [meta@32473 seq=\"{n}\" \
             region=\"eu-west-1\"] upstream call failed: rejected after {}ms, will retry seq={n}\n",
            n % 60,
            n * 3 % 1000,
            n % 7,
            1000 + n % 50,
            n % 90,
            n * 7 % 2000
        ));
    }
    let text = Slab::from_vec(bytes.into_bytes());
    let frames = || {
        let mut spans = Vec::with_capacity(EVENTS);
        assert_eq!(SyslogFramer::new(64 << 10).frame(&text, &mut spans), text.len());
        Frames::Spans(spans)
    };
    let decoder = Decoder::new(Box::new(SyslogDecoder::new(TimestampReader::default())), OnDecodeError::Keep);
    decode(decoder, &text, frames, rounds);
}

fn main() {
    let arguments: Vec<String> = std::env::args().filter(|a| a != "--bench").collect();
    let rounds = arguments.get(2).and_then(|n| n.parse().ok()).unwrap_or(1);
    match arguments.get(1).map(String::as_str) {
        Some("main") => main_chain(rounds),
        Some("json") => json(rounds),
        Some("syslog") => syslog(rounds),
        // As `cargo bench` runs it: that each works.
        _ => [main_chain, json, syslog].into_iter().for_each(|chain| chain(rounds)),
    }
    println!("{EVENTS} events a round, {rounds} rounds");
}

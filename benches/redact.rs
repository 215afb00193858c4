//! What redaction costs an event.
//!
//! Questions: nanoseconds to search and rewrite a message of about 60 bytes, without and with hits, with three kinds and
//! with all; and nanoseconds an event of 440 bytes when only `message` is searched, and when everything is. Input: made
//! here, shaped like an e-commerce back end's log. That hits are found is checked before anything is timed.
#![allow(missing_docs, clippy::unwrap_used)]

mod corpus;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use tidegate::internals::ack::{Ack, Verdict};
use tidegate::internals::component::{Chunk, Frames};
use tidegate::internals::decoding::{DecodeStats, Decoder, JsonDecoder, OnDecodeError};
use tidegate::internals::event::{Origin, Slab};
use tidegate::internals::topology::apply_alone;
use tidegate::internals::transforms::redact::{Action, DetectKind, PathGlob, Redact, RedactOptions, Rules, Scanner};

const MAIN: [DetectKind; 3] = [DetectKind::Secrets, DetectKind::CreditCard, DetectKind::Email];

fn rules(kinds: &[DetectKind]) -> Rules {
    Rules::new(kinds, &[], Action::Mask).unwrap()
}

fn texts(c: &mut Criterion) {
    let mut group = c.benchmark_group("text");
    for (name, text, hits) in [
        ("clean", "session opened from 203.0.113.77 by user 12345 after a while", 0),
        ("near misses", "cache miss for key product:12345:stock, loading from database took 10ms", 0),
        ("two hits", "login attempt for user12345@example.com password=sesame12345 accepted", 2),
        ("a card", "payment authorised with card 4111 1111 1111 1111 for order 12345", 1),
    ] {
        for (kinds, list) in [("three kinds", &MAIN[..]), ("all kinds", &DetectKind::ALL)] {
            let mut scanner = Scanner::new(Arc::new(rules(list)));
            let (mut found, mut out) = (Vec::new(), Vec::new());
            scanner.scan(text.as_bytes(), &mut found);
            assert!(found.len() >= hits, "{name}: {found:?}");
            group.bench_function(format!("{name}, {kinds}"), |b| {
                b.iter(|| {
                    found.clear();
                    out.clear();
                    scanner.scan(black_box(text.as_bytes()), &mut found);
                    scanner.rewrite(text.as_bytes(), &found, &mut out);
                    out.len()
                });
            });
        }
    }
    group.finish();
}

fn events(c: &mut Criterion) {
    const EVENTS: usize = 600;
    let text = Slab::from_vec(corpus::app(EVENTS));
    let origin = Origin::of_source("in");
    let mut decoder = Decoder::new(Box::new(JsonDecoder::default()), OnDecodeError::Keep);
    let mut stats = DecodeStats::default();
    let mut group = c.benchmark_group("event");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let message = || vec![PathGlob::parse("message").unwrap()];
    let with = |kinds: &[DetectKind], within| Redact::new(RedactOptions { within, ..RedactOptions::new(rules(kinds)) });
    for (name, transform) in [
        ("decode only", None),
        ("three kinds in message", Some(with(&MAIN, message()).unwrap())),
        ("three kinds everywhere", Some(with(&MAIN, Vec::new()).unwrap())),
        ("all kinds everywhere", Some(with(&DetectKind::ALL, Vec::new()).unwrap())),
    ] {
        let mut transform = transform;
        group.bench_function(name, |b| {
            b.iter(|| {
                let frames = Frames::Lines { start: 0, end: text.len() };
                let received_at = 1_767_323_045_678_000_000;
                let chunk = Chunk {
                    text: text.clone(),
                    frames,
                    origin: origin.clone(),
                    offset: 0,
                    received_at,
                    ack: Ack::none(),
                };
                let mut batch = decoder.decode(chunk, &mut stats);
                if let Some(transform) = &mut transform {
                    apply_alone(transform, &mut batch);
                }
                batch.ack.take().settle(Verdict::Delivered);
                black_box(&batch);
                batch.recycle();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, texts, events);
criterion_main!(benches);

//! What one syslog message costs from the bytes of a connection to a JSON line, in memory, on one core.
//!
//! Question: nanoseconds a message (RFC 5424, about 250 bytes, one element of structured data), and bytes a second. Input:
//! made here. The output is checked before anything is timed.
//!
//! `cargo bench --bench syslog` prints a row for each prefix of the way.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tidegate::ack::{Ack, Verdict};
use tidegate::component::{Chunk, Frames};
use tidegate::decoding::syslog::SyslogDecoder;
use tidegate::decoding::{DecodeStats, Decoder, OnDecodeError};
use tidegate::event::{Batch, Origin, Slab};
use tidegate::framing::syslog::SyslogFramer;
use tidegate::time::TimestampReader;

/// Messages, one a line.
fn messages(count: usize) -> Vec<u8> {
    const TEXTS: [&str; 3] = [
        "HTTP GET /api/v1/products/17 completed with 200 in 182ms",
        "upstream call failed: token: eyJx17 rejected after 1311ms, will retry",
        "cache miss for key product:17:stock, loading from database took 42ms",
    ];
    let mut out = String::new();
    for n in 0..count {
        let (text, host, second, ms) = (TEXTS[n % 3], n % 7, n / 333 % 60, n * 3 % 1000);
        out.push_str(&format!(
            "<134>1 2026-11-21T02:17:{second:02}.{ms:03}Z host-{host}.example.com checkout {} ID{} \
             [meta@32473 seq=\"{n}\" region=\"eu-west-1\"] {text} seq={n}\n",
            1000 + n % 50,
            n % 90
        ));
    }
    out.into_bytes()
}

fn frame(text: &[u8]) -> Vec<(u32, u32, u64)> {
    let mut spans = Vec::with_capacity(text.len() / 128);
    assert_eq!(SyslogFramer::new(64 << 10).frame(text, &mut spans), text.len());
    spans
}

fn decode(decoder: &mut Decoder, text: &Slab, origin: &std::sync::Arc<Origin>, stats: &mut DecodeStats) -> Batch {
    let chunk = Chunk {
        text: text.clone(),
        frames: Frames::Spans(frame(text)),
        origin: origin.clone(),
        offset: 0,
        received_at: 1_795_227_468_000_000_000,
        ack: Ack::none(),
    };
    decoder.decode(chunk, stats)
}

fn encode(batch: &Batch, out: &mut Vec<u8>) {
    out.clear();
    for event in batch.iter() {
        event.write_json(out);
        out.push(b'\n');
    }
}

fn syslog(c: &mut Criterion) {
    const MESSAGES: usize = 1000;
    let text = Slab::from_vec(messages(MESSAGES));
    let origin = Origin::of_source("in");
    let mut decoder = Decoder::new(Box::new(SyslogDecoder::new(TimestampReader::default())), OnDecodeError::Keep);
    let mut stats = DecodeStats::default();
    let mut out = Vec::new();
    encode(&decode(&mut decoder, &text, &origin, &mut stats), &mut out);
    let first = out.split(|c| *c == b'\n').next().unwrap();
    assert_eq!(
        std::str::from_utf8(first).unwrap(),
        concat!(
            r#"{"timestamp":"2026-11-21T02:17:00.000Z","severity":6,"facility":16,"hostname":"host-0.example.com","#,
            r#""appname":"checkout","procid":"1000","msgid":"ID0","#,
            r#""structured_data":{"meta@32473":{"seq":"0","region":"eu-west-1"}},"#,
            r#""message":"HTTP GET /api/v1/products/17 completed with 200 in 182ms seq=0"}"#
        )
    );
    assert_eq!((stats.frames, stats.errors), (MESSAGES as u64, 0));
    let mut group = c.benchmark_group("syslog");
    for unit in [Throughput::Elements(MESSAGES as u64), Throughput::Bytes(text.len() as u64)] {
        let name = if matches!(unit, Throughput::Bytes(_)) { "bytes" } else { "messages" };
        group.throughput(unit);
        group.bench_function(format!("frame/{name}"), |b| b.iter(|| black_box(frame(&text))));
        group.bench_function(format!("frame+decode/{name}"), |b| {
            b.iter(|| {
                let mut batch = black_box(decode(&mut decoder, &text, &origin, &mut stats));
                batch.ack.take().settle(Verdict::Delivered);
                batch.recycle();
            });
        });
        group.bench_function(format!("frame+decode+encode/{name}"), |b| {
            b.iter(|| {
                let mut batch = decode(&mut decoder, &text, &origin, &mut stats);
                encode(&batch, &mut out);
                black_box(&out);
                batch.ack.take().settle(Verdict::Delivered);
                batch.recycle();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, syslog);
criterion_main!(benches);

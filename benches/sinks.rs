//! What the sinks' side costs.
//!
//! `encode/*`: nanoseconds and bytes of one batch of decoded events to lines, in memory, on one core. Input: lines of an
//! access log (text) and of an application's log (JSON), made here. The output is checked before anything is timed.
//!
//! `file/passthrough`: bytes a second from a source that only hands out buffers, over a worker that finds the lines, to
//! the file sink; beside it `file/write`, the same buffers written to a file one after the other: the machine's floor.
//!
//! `cargo bench --bench sinks`
#![allow(missing_docs, clippy::unwrap_used)]

mod corpus;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tidegate::ack::Ack;
use tidegate::buffer::FullPolicy;
use tidegate::component::{BuildContext, Chunk, Frames, SourceRun};
use tidegate::decoding::{DecodeStats, Decoder, FrameDecoder, JsonDecoder, OnDecodeError, TextDecoder};
use tidegate::encoding::{Encoder, Encoding};
use tidegate::event::{Batch, FieldPath, Origin, Slab, SlabPool};
use tidegate::sinks::file::{FileSink, FileSinkOptions};
use tidegate::telemetry::{ComponentKind, Counters};
use tidegate::template::{NameTemplate, Template};
use tidegate::topology::{Blueprint, BufferPart, SinkPart, SourcePart, start};

const BUFFER_BYTES: usize = 256 << 10;

/// Lines of a web server's log, about 200 bytes each, `BUFFER_BYTES` at most.
fn access_log() -> Vec<u8> {
    let mut out = Vec::with_capacity(BUFFER_BYTES);
    for n in 0.. {
        let line = format!(
            "10.{}.{}.{} - - [15/Jun/2025:10:20:{:02} +0000] \"GET /products/{n}?page={} HTTP/1.1\" 200 {} \"https://shop.example.com/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36\"\n",
            n % 256,
            n % 199,
            n % 97,
            n % 60,
            n % 7,
            1000 + n
        );
        if out.len() + line.len() > BUFFER_BYTES {
            return out;
        }
        out.extend_from_slice(line.as_bytes());
    }
    out
}

fn decode(text: &[u8], frames: Box<dyn FrameDecoder>) -> Batch {
    let chunk = Chunk {
        text: Slab::from_vec(text.to_vec()),
        frames: Frames::Lines { start: 0, end: text.len() },
        origin: Origin::of_source("in"),
        offset: 0,
        received_at: 1_767_323_045_678_000_000,
        ack: Ack::none(),
    };
    Decoder::new(frames, OnDecodeError::Keep).decode(chunk, &mut DecodeStats::default())
}

fn encode(c: &mut Criterion) {
    let text = access_log();
    let lines = decode(&text, Box::new(TextDecoder));
    let json = corpus::app(600);
    let objects = decode(&json, Box::new(JsonDecoder::default()));
    let fields = ["timestamp", "level", "service", "message"].map(|f| FieldPath::parse(f).unwrap()).to_vec();
    let mut out = Vec::new();
    for (name, batch, encoding, same) in [
        ("text", &lines, Encoding::Text, Some(&text)),
        ("json", &objects, Encoding::Json, Some(&json)),
        ("json of text", &lines, Encoding::Json, None),
        ("logfmt", &objects, Encoding::Logfmt, None),
        ("csv", &objects, Encoding::Csv(fields), None),
    ] {
        let mut encoder = Encoder::new(encoding);
        out.clear();
        encoder.batch(batch, &mut out);
        assert!(same.is_none_or(|same| *same == out));
        let mut group = c.benchmark_group("encode");
        group.throughput(Throughput::Elements(batch.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                encoder.batch(black_box(batch), &mut out);
            });
        });
        if same.is_some() {
            group.bench_function(format!("{name} in place"), |b| b.iter(|| encoder.in_place(black_box(batch))));
        }
        group.finish();
    }
}

/// Buffers in a run of the file benchmark: 200 MB.
const BUFFERS: usize = 800;

fn blueprint(text: Arc<Vec<u8>>, dir: &std::path::Path) -> Blueprint {
    let read = move |context: tidegate::component::SourceContext| {
        let pool = SlabPool::new(BUFFER_BYTES, 8);
        for n in 0..BUFFERS {
            let mut buf = pool.take();
            buf.extend_from_slice(&text);
            let chunk = Chunk {
                frames: Frames::Lines { start: 0, end: buf.len() },
                text: pool.freeze(buf),
                origin: Origin::of_source("in"),
                offset: (n * text.len()) as u64,
                received_at: 0,
                ack: Ack::none(),
            };
            if context.output.send(chunk).is_err() {
                break;
            }
        }
        Ok(())
    };
    let counters = Counters::new("out", ComponentKind::Sink, "file");
    let context = BuildContext {
        id: "out".into(),
        data_dir: dir.join("data"),
        timezone: jiff::tz::TimeZone::UTC,
        counters: counters.clone(),
        once: true,
        memory_limit: 24 << 20,
        working_bytes: usize::MAX,
        no_chance: false,
        own_files: Arc::default(),
        host: "h".into(),
    };
    let mut options = FileSinkOptions::new(NameTemplate(Template::literal(dir.join("out").to_str().unwrap())));
    options.encoding = Encoding::Text;
    Blueprint {
        sources: vec![SourcePart {
            counters: Counters::new("in", ComponentKind::Source, "bench"),
            run: SourceRun::Thread(Box::new(read)),
            decoder: Decoder::new(Box::new(TextDecoder), OnDecodeError::Keep),
            when: None,
            attach: Vec::new(),
        }],
        transforms: Vec::new(),
        sinks: vec![SinkPart {
            counters,
            run: FileSink::new(options, &context).unwrap(),
            inputs: vec![("in".into(), "".into())],
            when: None,
            buffer: BufferPart { max_bytes: None, policy: FullPolicy::Block, disk: None, behind_disk: None },
            dead_letter: None,
        }],
        memory_limit: 24 << 20,
        shutdown_timeout: Duration::from_secs(30),
        threads: 1,
    }
}

fn file(c: &mut Criterion) {
    let text = Arc::new(access_log());
    let dir = tempfile::tempdir().unwrap();
    let bytes = (text.len() * BUFFERS) as u64;
    let mut group = c.benchmark_group("file");
    group.sample_size(10).throughput(Throughput::Bytes(bytes));
    let fresh = || {
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() { std::fs::remove_file(path).unwrap() } else { std::fs::remove_dir_all(path).unwrap() }
        }
    };
    group.bench_function("write", |b| {
        b.iter_batched(
            fresh,
            |()| {
                let mut out = std::fs::File::create(dir.path().join("out")).unwrap();
                for _ in 0..BUFFERS {
                    out.write_all(&text).unwrap();
                }
            },
            BatchSize::PerIteration,
        );
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    group.bench_function("passthrough", |b| {
        b.iter_batched(
            || {
                fresh();
                std::fs::create_dir_all(dir.path().join("data")).unwrap();
                blueprint(text.clone(), dir.path())
            },
            |blueprint| {
                runtime.block_on(async {
                    let summary = start(blueprint).unwrap().wait().await;
                    assert!(summary.failed.is_empty());
                });
                assert_eq!(std::fs::metadata(dir.path().join("out")).unwrap().len(), bytes);
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, encode, file);
criterion_main!(benches);

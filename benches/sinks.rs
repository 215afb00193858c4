//! What the file sink costs; encoding is in `stages.rs`.
//!
//! `file/passthrough`: bytes a second from a source that only hands out buffers, over a worker that finds the lines, to
//! the file sink; beside it `file/write`, the same buffers written to a file one after the other: the machine's floor.
//!
//! `cargo bench --bench sinks`
#![allow(missing_docs, clippy::unwrap_used)]

mod corpus;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tidegate::internals::ack::Ack;
use tidegate::internals::buffer::FullPolicy;
use tidegate::internals::component::{BuildContext, Chunk, Frames, SourceRun};
use tidegate::internals::decoding::{Decoder, OnDecodeError, TextDecoder};
use tidegate::internals::encoding::Encoding;
use tidegate::internals::event::{Origin, SlabPool};
use tidegate::internals::sinks::file::{FileSink, FileSinkOptions};
use tidegate::internals::telemetry::{ComponentKind, Counters};
use tidegate::internals::template::{NameTemplate, Template};
use tidegate::internals::topology::{Blueprint, BufferPart, SinkPart, SourcePart, start};

const BUFFER_BYTES: usize = 256 << 10;

/// Lines of a web server's log, `BUFFER_BYTES` at most.
fn access_log() -> Vec<u8> {
    let mut text = corpus::access(BUFFER_BYTES / 180);
    text.truncate(BUFFER_BYTES);
    text.truncate(memchr::memrchr(b'\n', &text).map_or(0, |at| at + 1));
    text
}

/// Buffers in a run of the file benchmark: 200 MB.
const BUFFERS: usize = 800;

fn blueprint(text: Arc<Vec<u8>>, dir: &std::path::Path) -> Blueprint {
    let read = move |context: tidegate::internals::component::SourceContext| {
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
        connections: u32::MAX,
        handles: 1024,
        reads_access_logs: false,
        chance: Default::default(),
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
            overlaps: false,
        }],
        transforms: Vec::new(),
        sinks: vec![SinkPart {
            counters,
            run: FileSink::new(options, &context).unwrap(),
            inputs: vec![("in".into(), "".into())],
            takes_stale: false,
            keeps_places: false,
            when: None,
            buffer: BufferPart { max_bytes: None, policy: FullPolicy::Block, disk: None, behind_disk: None },
            dead_letter: None,
        }],
        memory_limit: 24 << 20,
        shutdown_timeout: Duration::from_secs(30),
        threads: 1,
        fingerprints: Default::default(),
        upkeep: Default::default(),
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

criterion_group!(benches, file);
criterion_main!(benches);

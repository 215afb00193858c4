//! The disk buffer: what the processor does for a batch on its way to disk and back; and a buffer with events in it.

use super::*;
use crate::corpus;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tidegate::internals::ack::Settled;
use tidegate::internals::component::{SinkRun, SourceRun};
use tidegate::internals::event::{Packer, Unpacker};

pub(super) fn add(list: &mut Vec<Maker>) {
    super::add(list, "disk buffer/pack", || {
        let (mut batches, bytes) = batches();
        let (mut packer, mut out) = (Packer::default(), Vec::new());
        let run = move |batch: &mut Batch| {
            out.clear();
            assert_eq!(packer.pack(batch, 0..batch.rows(), &mut out), EVENTS);
        };
        Stage { events: EVENTS, bytes, work: Box::new(OnBatch { make: move || batches.batch(), run, batch: None }) }
    });
    super::add(list, "disk buffer/checksum", || {
        let (packed, bytes) = packed();
        assert_ne!(crc32c::crc32c(&packed), crc32c::crc32c(&packed[1..]));
        Stage {
            events: EVENTS,
            bytes,
            work: Box::new(Plain(move || _ = black_box(crc32c::crc32c(black_box(&packed))))),
        }
    });
    super::add(list, "disk buffer/unpack", || {
        let (packed, bytes) = packed();
        let (mut unpacker, slab) = (Unpacker::default(), Slab::from_vec(packed));
        let mut make = move || unpacker.unpack(slab.clone(), Ack::none()).unwrap();
        let batch = make();
        assert_eq!(batch.len(), EVENTS);
        assert!(json_of(&batch, 0).starts_with("{\"timestamp\":\"2025-06-15T15:"));
        done(batch);
        Stage { events: EVENTS, bytes, work: Box::new(Makes { make, batch: None }) }
    });
}

fn batches() -> (Batches, usize) {
    let text = corpus::app(EVENTS);
    let bytes = text.len();
    (Batches::new(text, "json", "type: normalize, schema: log, keep_rest: root"), bytes)
}

fn packed() -> (Vec<u8>, usize) {
    let (mut batches, bytes) = batches();
    let mut out = Vec::new();
    let batch = batches.batch();
    assert_eq!(Packer::default().pack(&batch, 0..batch.rows(), &mut out), EVENTS);
    done(batch);
    (out, bytes)
}

/// Counts batches that are safe.
#[derive(Default)]
struct Safe(AtomicU64);

impl Settled for Safe {
    fn settled(&self, _: u64, verdict: Verdict) {
        assert_eq!(verdict, Verdict::Delivered);
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// A disk buffer whose events nobody has taken.
pub(crate) struct FilledBuffer {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Its events.
    pub(crate) events: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Time from the first batch until the last one was acknowledged.
    pub(crate) took: Duration,
}

/// Fills a disk buffer below `dir` with so many batches, through a worker, as the program does.
pub(crate) fn fill(dir: &Path, count: u64, fsync: &str) -> FilledBuffer {
    let mut blueprint = blueprint(&format!(
        "data_dir: {}\nsources:\n  in: {{type: stdin, decode: json}}\nsinks:\n  out: {{type: blackhole, inputs: [in], buffer: \
         {{type: disk, max_size: 4GiB, fsync: {fsync}}}}}\n",
        dir.display()
    ));
    let text = Slab::from_vec(corpus::app(EVENTS));
    let bytes = text.len() as u64 * count;
    let (tell, told) = std::sync::mpsc::channel();
    blueprint.sources[0].run = SourceRun::Thread(Box::new(move |context| {
        let (origin, safe) = (Origin::of_source("in"), Arc::new(Safe::default()));
        let began = Instant::now();
        for n in 0..count {
            let chunk = Chunk { ack: Ack::new(safe.clone(), n), ..chunk(&text, lines(&text), &origin) };
            assert!(context.output.send(chunk).is_ok());
        }
        while safe.0.load(Ordering::Acquire) < count {
            std::thread::sleep(Duration::from_micros(100));
        }
        _ = tell.send(began.elapsed());
        Ok(())
    }));
    blueprint.sinks[0].run = SinkRun::Task(Box::new(|input| {
        Box::pin(async move {
            input.shutdown_allowed().await;
            // What it was given stays in the buffer.
            while let Some(mut batch) = input.recv().await {
                batch.ack.take().settle(Verdict::Failed);
            }
            Ok(())
        })
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let took = runtime.block_on(async {
        let mut running = topology::start(blueprint).unwrap();
        let took = loop {
            match told.try_recv() {
                Ok(took) => break took,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        running.shutdown().cancel();
        let summary = running.wait().await;
        assert!(summary.failed.is_empty(), "{:?}", summary.failed);
        took
    });
    FilledBuffer { folder: dir.join("buffer").join("out"), events: count * EVENTS as u64, bytes, took }
}

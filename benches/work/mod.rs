//! The stages of the way of an event, each as a piece of work that can be repeated: `benches/stages.rs` times them,
//! `benches/instructions.rs` counts their instructions.
//!
//! Whoever makes a stage runs it once and checks what came out: a stage that did nothing is not measured.
#![allow(dead_code, unused_imports, reason = "not every bench takes everything")]

mod decoding;
mod disk;
mod encoding;
mod framing;
mod scaling;
mod transforms;

pub(crate) use disk::fill;
pub(crate) use scaling::{KINDS, scaled};

use std::sync::Arc;
use tidegate::internals::ack::{Ack, Verdict};
use tidegate::internals::component::{Chunk, Frames, Transform};
use tidegate::internals::config::{ProcessEnvironment, built_in, load_texts};
use tidegate::internals::decoding::{DecodeStats, Decoder};
use tidegate::internals::event::{Batch, Origin, Slab};
use tidegate::internals::topology::{self, Blueprint};

/// Events of a batch: about as many as a read of 256 KiB gives.
pub(crate) const EVENTS: usize = 600;

/// When every batch was read.
pub(crate) const RECEIVED_AT: i64 = 1_767_323_045_678_000_000;

/// A repeatable piece of work; only [`run`](Work::run) is measured.
pub(crate) trait Work {
    /// Makes what the next run takes.
    fn prepare(&mut self) {}
    /// The work.
    fn run(&mut self);
    /// Ends what the run has left.
    fn finish(&mut self) {}
}

/// One stage.
pub(crate) struct Stage {
    /// Events a run takes in.
    pub(crate) events: usize,
    /// Their bytes.
    pub(crate) bytes: usize,
    /// What is measured.
    pub(crate) work: Box<dyn Work>,
}

/// A stage's name, `group/name`, and what makes it.
pub(crate) type Maker = (String, Box<dyn Fn() -> Stage>);

/// All stages, in the order of an event's way.
pub(crate) fn stages() -> Vec<Maker> {
    let mut list = Vec::new();
    framing::add(&mut list);
    decoding::add(&mut list);
    transforms::add(&mut list);
    encoding::add(&mut list);
    disk::add(&mut list);
    list
}

fn add(list: &mut Vec<Maker>, name: &str, make: impl Fn() -> Stage + 'static) {
    list.push((name.to_owned(), Box::new(make)));
}

/// Work that leaves nothing and needs nothing.
struct Plain<F>(F);

impl<F: FnMut()> Work for Plain<F> {
    fn run(&mut self) {
        (self.0)();
    }
}

/// Work on a batch that is made anew for each run.
struct OnBatch<M, F> {
    make: M,
    run: F,
    batch: Option<Batch>,
}

impl<M: FnMut() -> Batch, F: FnMut(&mut Batch)> Work for OnBatch<M, F> {
    fn prepare(&mut self) {
        self.batch = Some((self.make)());
    }

    fn run(&mut self) {
        if let Some(batch) = &mut self.batch {
            (self.run)(batch);
        }
    }

    fn finish(&mut self) {
        if let Some(batch) = self.batch.take() {
            done(batch);
        }
    }
}

/// Work that makes a batch.
struct Makes<M> {
    make: M,
    batch: Option<Batch>,
}

impl<M: FnMut() -> Batch> Work for Makes<M> {
    fn run(&mut self) {
        self.batch = Some((self.make)());
    }

    fn finish(&mut self) {
        if let Some(batch) = self.batch.take() {
            done(batch);
        }
    }
}

fn done(mut batch: Batch) {
    batch.ack.take().settle(Verdict::Delivered);
    batch.recycle();
}

fn chunk(text: &Slab, frames: Frames, origin: &Arc<Origin>) -> Chunk {
    Chunk { text: text.clone(), frames, origin: origin.clone(), offset: 0, received_at: RECEIVED_AT, ack: Ack::none() }
}

fn lines(text: &Slab) -> Frames {
    Frames::Lines { start: 0, end: text.len() }
}

/// A pipeline of one source, these transforms (YAML, one a line) and a sink that forgets.
fn pipeline(decode: &str, transforms: &str) -> Blueprint {
    let mut yaml = format!(
        "data_dir: {}\nsources:\n  in: {{type: stdin, decode: {decode}}}\n",
        std::env::temp_dir().join("tidegate-bench").display()
    );
    let mut last = "in".to_owned();
    let lines: Vec<&str> = transforms.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    if !lines.is_empty() {
        yaml.push_str("transforms:\n");
    }
    for (n, line) in lines.iter().enumerate() {
        yaml.push_str(&format!("  t{n}: {{inputs: [{last}], {line}}}\n"));
        last = if line.starts_with("type: route") { format!("t{n}.other") } else { format!("t{n}") };
    }
    yaml.push_str(&format!("sinks:\n  out: {{type: blackhole, inputs: [{last}]}}\n"));
    blueprint(&yaml)
}

fn blueprint(yaml: &str) -> Blueprint {
    let loaded = load_texts(&[("bench.yaml", yaml)], &ProcessEnvironment, built_in());
    let Some(config) = loaded.config else { panic!("{}\n{yaml}", loaded.report.render()) };
    topology::assemble(config, true).unwrap_or_else(|e| panic!("{e:?}"))
}

/// Decodes the same text again and again, and takes the batch through transforms.
struct Batches {
    text: Slab,
    origin: Arc<Origin>,
    decoder: Decoder,
    transforms: Vec<Box<dyn Transform>>,
    stats: DecodeStats,
}

impl Batches {
    fn new(text: Vec<u8>, decode: &str, transforms: &str) -> Self {
        let blueprint = pipeline(decode, transforms);
        Batches {
            text: Slab::from_vec(text),
            origin: Origin::of_source("in"),
            decoder: blueprint.sources[0].decoder.fork(),
            transforms: blueprint.transforms.iter().map(|t| t.transform.fork()).collect(),
            stats: DecodeStats::default(),
        }
    }

    fn batch(&mut self) -> Batch {
        let chunk = chunk(&self.text, lines(&self.text), &self.origin);
        let mut batch = self.decoder.decode(chunk, &mut self.stats);
        for transform in &mut self.transforms {
            topology::apply_alone(&mut **transform, &mut batch);
        }
        batch
    }
}

fn json_of(batch: &Batch, row: usize) -> String {
    let mut out = Vec::new();
    batch.event(row).write_json(&mut out);
    String::from_utf8(out).unwrap()
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    memchr::memmem::find_iter(haystack, needle).count()
}

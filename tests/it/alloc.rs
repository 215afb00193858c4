//! Zero heap allocations per event in steady state, counted by the allocator itself.

use crate::corpus;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use tidegate::ack::{Ack, Verdict};
use tidegate::component::{Chunk, Frames};
use tidegate::config::{ProcessEnvironment, Registry, load_texts};
use tidegate::event::{Origin, Slab};
use tidegate::topology;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes on to the system's allocator unchanged; counting allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _gone_at_thread_exit = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        unsafe { System.dealloc(p, layout) }
    }
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _gone_at_thread_exit = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        unsafe { System.realloc(p, layout, size) }
    }
}

/// The chain of the `main` benchmark.
pub(crate) const MAIN: &str = r#"
sources:
  in: {type: stdin, decode: json}
transforms:
  shape: {type: normalize, inputs: [in], schema: log, keep_rest: root}
  clean: {type: redact, inputs: [shape], in: [message], detect: [secrets, credit_card, email]}
  quality:
    type: validate
    inputs: [clean]
    schema: log
    rules:
      - {check: 'traceId.matches("^[0-9a-fA-F]{32}$")', error: "traceId is not 32 hex digits"}
  thin: {type: sample, inputs: [quality], by: level, rates: {DEBUG: 0.1, default: 1.0}}
sinks:
  out: {type: file, inputs: [thin], path: "out.ndjson"}
"#;

/// Allocations of this thread for one batch of `events` on its way from chunk to encoded bytes, once it is warm.
fn allocations_per_batch(events: usize) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let yaml = format!("data_dir: {}\n{MAIN}", dir.path().display());
    let loaded = load_texts(&[("main.yaml", &yaml)], &ProcessEnvironment, Registry::built_in());
    let config = loaded.config.unwrap_or_else(|| panic!("{}", loaded.report.render()));
    let blueprint = topology::assemble(config, true).unwrap();
    let (mut worker, queues) = topology::single_worker(&blueprint);
    let text = Slab::from_vec(corpus::app(events));
    let origin = Origin::of_source("in");
    let mut out = Vec::new();
    let mut pass = || {
        let chunk = Chunk {
            text: text.clone(),
            frames: Frames::Lines { start: 0, end: text.len() },
            origin: origin.clone(),
            offset: 0,
            received_at: 1_767_323_045_678_000_000,
            ack: Ack::none(),
        };
        worker.chunk(0, chunk);
        out.clear();
        while let Some(mut batch) = queues[0].1.try_recv() {
            for event in batch.iter() {
                event.write_json(&mut out);
                out.push(b'\n');
            }
            batch.ack.take().settle(Verdict::Delivered);
            batch.recycle();
        }
        assert!(out.len() > events * 200, "the events went through");
    };
    (0..20).for_each(|_| pass());
    // Tables are shared with tests that run beside this one, so a batch may have to grow a new one: the least of many
    // rounds is what the way itself costs.
    (0..50)
        .map(|_| {
            let before = ALLOCATIONS.with(Cell::get);
            pass();
            ALLOCATIONS.with(Cell::get) - before
        })
        .min()
        .unwrap()
}

#[test]
fn the_main_chain_allocates_nothing_per_event() {
    let (small, large) = (allocations_per_batch(100), allocations_per_batch(600));
    println!("allocations a batch: {small} for 100 events, {large} for 600");
    assert!(large <= small, "600 events cost {large} allocations, 100 cost {small}: some are made per event");
    assert!(small <= 24, "{small} allocations a batch");
}

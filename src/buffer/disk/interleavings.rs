//! The threads of a disk buffer for the explorer: writer, reader, and a sink that settles on a thread of its own.
#![allow(clippy::unwrap_used)]

use super::stage::{Opened, open, pass};
use super::*;
use crate::ack::{Ack, Verdict};
use crate::buffer::interleavings::{Heard, batch, number};
use crate::buffer::{Queue, StageSender};
use crate::event::Batch;
use crate::storage::sim::{Crash, Sim};
use crate::telemetry::{ComponentKind, Counters};
use shuttle::{future, thread};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const BATCHES: u64 = 5;

struct Parts {
    sim: Sim,
    options: DiskOptions,
    counters: Arc<Counters>,
    heard: Arc<Heard>,
    queue: Arc<Queue>,
    to: StageSender,
    abort: CancellationToken,
    shutdown: CancellationToken,
    opened: Opened,
}

fn parts(overflow_of: Option<usize>) -> Parts {
    let options = DiskOptions {
        folder: "/data/buffer/out".into(),
        max_bytes: MIN_BYTES,
        when_full: WhenDiskFull::Block,
        fsync: Fsync::Batch,
        fsync_interval: Duration::ZERO,
        max_age: None,
        compression: DiskCompression::None,
        overflow_of,
    };
    let (sim, counters) = (Sim::default(), Counters::new("out", ComponentKind::Sink, "test"));
    let (abort, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let opened = open(&options, Arc::new(sim.clone()), counters.clone(), abort.clone()).unwrap();
    let queue = Queue::for_stage(1, counters.clone());
    let to = StageSender::new(queue.sender());
    Parts { sim, options, counters, heard: Arc::default(), queue, to, abort, shutdown, opened }
}

/// Takes batches and settles them on another thread, two of them in the other order.
fn sink(queue: &Arc<Queue>, counters: &Arc<Counters>) -> thread::JoinHandle<Vec<u64>> {
    let (queue, counters) = (queue.clone(), counters.clone());
    thread::spawn(move || {
        let (mut order, mut kept): (Vec<u64>, Option<Batch>) = (Vec::new(), None);
        let settle = |mut batch: Batch| {
            counters.update(|t| {
                t.events_out += 1;
                t.held = t.held.saturating_sub(1);
            });
            batch.ack.take().settle(Verdict::Delivered);
        };
        while let Some(batch) = future::block_on(queue.recv()) {
            order.push(number(&batch));
            if number(&batch) == 1 {
                kept = Some(batch);
                continue;
            }
            settle(batch);
            if let Some(kept) = kept.take() {
                settle(kept);
            }
        }
        kept.into_iter().for_each(settle);
        order
    })
}

fn count_in(counters: &Counters) {
    counters.update(|t| {
        t.events_in += 1;
        t.held += 1;
    });
}

/// Everything was delivered once and in order, every source heard it once, and nothing comes again.
fn check(sim: &Sim, options: &DiskOptions, counters: &Counters, heard: &Heard, order: &[u64]) {
    assert_eq!(order, (0..BATCHES).collect::<Vec<_>>());
    let heard = heard.once();
    assert_eq!(heard.len() as u64, BATCHES, "{heard:?}");
    assert!(heard.iter().all(|(_, verdict)| *verdict == Verdict::Delivered), "{heard:?}");
    let totals = counters.snapshot();
    assert_eq!((totals.held, totals.balance()), (0, 0));
    let again = sim.after(Crash::Kill, &mut fastrand::Rng::with_seed(0));
    let counters = Counters::new("out", ComponentKind::Sink, "test");
    let opened = open(options, Arc::new(again), counters.clone(), CancellationToken::new()).unwrap();
    assert_eq!(opened.shared.lock().held, 0);
}

pub(crate) fn model() {
    run(false);
}

/// The writer gives the sink batches too.
pub(crate) fn two_givers() {
    run(true);
}

fn run(two_givers: bool) {
    let Parts { sim, options, counters, heard, queue, to, abort, shutdown, opened } = parts(None);
    let Opened { mut writer, reader, shared } = opened;
    let sink = sink(&queue, &counters);
    if two_givers {
        writer.hand_to(to.clone());
    }
    let reading = thread::spawn(move || reader.run(&to, &shutdown, &abort));
    for n in 0..BATCHES {
        count_in(&counters);
        writer.accept(batch(n, Ack::new(heard.clone(), n)));
        if n % 2 == 1 {
            writer.commit();
        }
    }
    writer.close();
    reading.join().unwrap();
    while !shared.lock().in_flight.is_empty() {
        writer.wait_for_verdicts(Duration::ZERO);
        writer.housekeeping();
    }
    writer.reclaim().and_then(|()| writer.save_position()).unwrap();
    let order = sink.join().unwrap();
    check(&sim, &options, &counters, &heard, &order);
}

/// The writer drops what the reader is about to read, and gives the sink what comes then.
pub(crate) fn dropping() {
    let Parts { counters, heard, queue, to, abort, shutdown, opened, .. } = parts(None);
    let Opened { mut writer, reader, shared } = opened;
    let sink = sink(&queue, &counters);
    for n in 0..BATCHES - 1 {
        count_in(&counters);
        writer.accept(batch(n, Ack::new(heard.clone(), n)));
    }
    writer.commit();
    forget_memory(&shared);
    writer.hand_to(to.clone());
    let reading = thread::spawn(move || reader.run(&to, &shutdown, &abort));
    writer.drop_oldest("buffer_full", None);
    count_in(&counters);
    writer.accept(batch(BATCHES - 1, Ack::new(heard.clone(), BATCHES - 1)));
    writer.close();
    reading.join().unwrap();
    while !shared.lock().in_flight.is_empty() {
        writer.wait_for_verdicts(Duration::ZERO);
        writer.housekeeping();
    }
    let order = sink.join().unwrap();
    let totals = counters.snapshot();
    let dropped: u64 = totals.dropped.values().sum();
    assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    assert_eq!(order.len() as u64 + dropped, BATCHES, "{order:?} and {dropped} dropped");
    assert_eq!(order.last(), Some(&(BATCHES - 1)));
    let state = shared.lock();
    assert_eq!((totals.held, totals.balance(), state.held, state.in_flight_bytes), (0, 0, 0, 0));
}

/// As if there had been no room in memory: what is written is read from disk.
fn forget_memory(shared: &super::state::SharedState) {
    let mut state = shared.lock();
    state.window.clear();
    state.window_bytes = 0;
}

pub(crate) fn overflow() {
    let Parts { sim, options, counters, heard, queue, to, abort, shutdown, opened } = parts(Some(1));
    let Opened { mut writer, reader, shared } = opened;
    let sink = sink(&queue, &counters);
    let past = to.clone();
    let reading = thread::spawn(move || reader.run(&to, &shutdown, &abort));
    for n in 0..BATCHES {
        count_in(&counters);
        if let Some(batch) = pass(Some(&past), &shared, batch(n, Ack::new(heard.clone(), n))) {
            writer.accept(batch);
        }
        if n % 2 == 1 {
            writer.commit();
        }
        thread::yield_now();
    }
    drop(past);
    writer.close();
    reading.join().unwrap();
    while !shared.lock().in_flight.is_empty() {
        writer.wait_for_verdicts(Duration::ZERO);
        writer.housekeeping();
    }
    writer.reclaim().and_then(|()| writer.save_position()).unwrap();
    let order = sink.join().unwrap();
    check(&sim, &options, &counters, &heard, &order);
}

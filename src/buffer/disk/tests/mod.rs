#![allow(clippy::unwrap_used)]
//! The buffer beside a plain model, on a filesystem that forgets, tears and fails.

use super::pace::GROUP_WAIT;
use super::pace::Pace;
use super::reader::Polled;
use super::recover::OpenError;
use super::stage::{Opened, open};
use super::*;
use crate::ack::{Ack, Rows, Settled as Listener, Verdict};
use crate::buffer::{Queue, Received, StageSender};
use crate::event::{Batch, EventKind, Origin, Slab, Sym, Value};
use crate::storage::sim::{Crash, Sim};
use crate::telemetry::{ComponentKind, Counters};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

mod damage;
mod loss;
mod model;
mod parts;
mod positions;
mod threads;

/// Hears the verdicts that sources would hear.
#[derive(Default)]
struct Source(Mutex<Vec<(u64, Verdict)>>);

impl Listener for Source {
    fn settled(&self, token: u64, verdict: Verdict) {
        self.0.lock().unwrap().push((token, verdict));
    }
}

fn options(max_bytes: u64) -> DiskOptions {
    DiskOptions {
        folder: "/data/buffer/out".into(),
        max_bytes,
        when_full: WhenDiskFull::Block,
        fsync: Fsync::Batch,
        fsync_interval: Duration::ZERO,
        max_age: None,
        compression: DiskCompression::None,
        overflow_of: None,
    }
}

/// Text without much to compress, the same for the same number.
fn padding_of(n: u64, len: usize) -> String {
    static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let text = TEXT.get_or_init(|| {
        let mut random = fastrand::Rng::with_seed(1);
        (0..1 << 18).map(|_| random.alphanumeric()).collect()
    });
    let from = (n as usize * 1009) % (text.len() / 2);
    text[from..].chars().chain(text.chars().cycle()).take(len).collect()
}

/// A batch of events numbered `from..from + n`, each with `padding` bytes that do not compress away.
fn batch(from: u64, n: u64, padding: usize, ack: Ack) -> Batch {
    let mut batch = Batch::new(Slab::default(), Origin::of_source("s"), 1_000, ack);
    for i in from..from + n {
        let row = batch.push_event(EventKind::Log);
        let mut event = batch.event_mut(row);
        event.push(Sym::VALUE, Value::I64(i as i64));
        event.push(Sym::MESSAGE, Value::from(&*padding_of(i, padding)));
    }
    batch
}

fn numbers(batch: &Batch) -> Vec<u64> {
    batch.iter().map(|e| e.field(Sym::VALUE).unwrap().as_i64().unwrap() as u64).collect()
}

/// An open buffer, driven by hand.
struct Rig {
    sim: Sim,
    buffer: Opened,
    counters: Arc<Counters>,
    source: Arc<Source>,
    running: CancellationToken,
    abort: CancellationToken,
    /// The sink's queue, with room for one batch, where the writer may put something.
    queue: Option<Arc<Queue>>,
}

impl Rig {
    fn open(sim: &Sim, options: &DiskOptions) -> Rig {
        let rig = Rig::open_patient(sim, options).unwrap();
        // Nothing that waits may wait for ever in a test of one thread.
        rig.abort.cancel();
        rig
    }

    /// As [`open`](Rig::open), with all the time to drain.
    fn open_patient(sim: &Sim, options: &DiskOptions) -> Result<Rig, OpenError> {
        let counters = Counters::new("out", ComponentKind::Sink, "test");
        let abort = CancellationToken::new();
        let buffer = open(options, Arc::new(sim.clone()), counters.clone(), abort.clone())?;
        let running = CancellationToken::new();
        Ok(Rig { sim: sim.clone(), buffer, counters, source: Arc::default(), running, abort, queue: None })
    }

    /// Lets the writer give the sink batches itself.
    fn with_queue(mut self) -> Rig {
        let queue = Queue::for_stage(1, self.counters.clone());
        self.buffer.writer.hand_to(StageSender::new(queue.sender()));
        self.queue = Some(queue);
        self
    }

    /// Gives the buffer a batch whose verdict is noted under its first number.
    fn write(&mut self, from: u64, n: u64, padding: usize) {
        self.counters.update(|t| {
            t.events_in += n;
            t.held += n;
        });
        let ack = Ack::new(self.source.clone(), from);
        self.buffer.writer.accept(batch(from, n, padding, ack));
    }

    fn commit(&mut self) {
        self.buffer.writer.commit();
    }

    /// The next batch, where there is one.
    fn read(&mut self) -> Option<Batch> {
        if let Some(batch) = self.queue.as_ref().and_then(|queue| queue.try_recv()) {
            return Some(batch);
        }
        // Each step settles or passes something: a bound shows an endless loop.
        for _ in 0..100_000 {
            match self.buffer.reader.poll(&self.running) {
                Polled::Batch(batch) => {
                    self.buffer.shared.lock().giving = false;
                    return Some(batch);
                }
                Polled::Again => {}
                Polled::Nothing | Polled::End => return None,
            }
        }
        panic!("the reader never ends");
    }

    /// As the sink does it.
    fn settle(&self, mut batch: Batch, verdict: Verdict) {
        let events = batch.len() as u64;
        if verdict != Verdict::Failed {
            self.counters.update(|t| {
                t.events_out += events;
                t.held = t.held.saturating_sub(events);
            });
        }
        batch.ack.take().settle(verdict);
    }

    /// As a sink that has delivered some events of a batch, by their places.
    fn settle_rows(&self, batch: &Batch, places: &[u32]) {
        let mut rows = Rows::default();
        places.iter().for_each(|place| rows.push(*place));
        let offsets: Vec<u64> = batch.iter().map(|e| e.offset()).collect();
        batch.ack.settle_rows(&rows, &|n| offsets[places[n] as usize]);
        self.counters.update(|t| {
            t.events_out += places.len() as u64;
            t.held = t.held.saturating_sub(places.len() as u64);
        });
    }

    /// Reads and delivers everything; the numbers in order.
    fn drain(&mut self) -> Vec<u64> {
        let mut all = Vec::new();
        while let Some(batch) = self.read() {
            all.extend(numbers(&batch));
            self.settle(batch, Verdict::Delivered);
        }
        all
    }

    fn verdicts(&self) -> BTreeMap<u64, Verdict> {
        let mut map = BTreeMap::new();
        for &(token, verdict) in &*self.source.0.lock().unwrap() {
            assert_eq!(map.insert(token, verdict), None, "two verdicts on one batch");
        }
        map
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.counters.snapshot().dropped.get(reason).copied().unwrap_or(0)
    }

    /// The ledger balances, and the gauges say what is true.
    fn check(&self) {
        let totals = self.counters.snapshot();
        assert_eq!(totals.balance(), 0, "{totals:?}");
        let state = self.buffer.shared.lock();
        assert_eq!(state.held, totals.held, "{totals:?}");
        let unwritten: u64 = state.group.iter().filter(|p| !p.settled).map(|p| p.events).sum();
        let settled = state.settled.events() + state.within_events(u64::MAX);
        assert_eq!(state.next_event + unwritten - settled, state.held, "{:?}", state.settled);
        let (used, max) = (state.used(), self.buffer.shared.max_bytes);
        assert!(used <= max, "{used} of {max}: {:?} {:?}", state.segments, state.spares);
        assert!(self.sim.used() <= state.used(), "{} on disk, {} charged", self.sim.used(), state.used());
        self.buffer.shared.publish(&state);
        let gauges = self.counters.snapshot().gauges;
        assert_eq!(gauges["buffer_events"], totals.held as f64);
    }

    fn close(mut self) -> Sim {
        self.buffer.writer.close();
        self.buffer.writer.reclaim().unwrap();
        self.buffer.writer.save_position().unwrap();
        self.sim.clone()
    }

    /// Kills the process: what it wrote is there.
    fn kill(self) -> Sim {
        self.sim.after(Crash::Kill, &mut fastrand::Rng::with_seed(0))
    }

    /// Cuts the power.
    fn cut(self, seed: u64) -> Sim {
        self.sim.after(Crash::Power, &mut fastrand::Rng::with_seed(seed))
    }
}

const MIB: u64 = 1 << 20;

#[test]
fn what_was_written_comes_back_after_a_restart_in_order() {
    for compression in [DiskCompression::None, DiskCompression::Zstd] {
        let options = DiskOptions { compression, ..options(MIB) };
        let mut rig = Rig::open(&Sim::default(), &options);
        for n in 0..50 {
            rig.write(n * 10, 10, 100);
            if n % 7 == 0 {
                rig.commit();
            }
        }
        rig.check();
        let sim = rig.close();
        let mut rig = Rig::open(&sim, &options);
        assert_eq!(rig.counters.snapshot().events_in, 500);
        assert_eq!(rig.drain(), (0..500).collect::<Vec<_>>());
        rig.check();
        let sim = rig.close();
        assert_eq!(Rig::open(&sim, &options).drain(), [0u64; 0]);
    }
}

#[test]
fn a_batch_is_acknowledged_only_when_it_survives_a_power_cut() {
    for seed in 0..50 {
        let mut rig = Rig::open(&Sim::default(), &options(MIB));
        rig.write(0, 5, 50);
        rig.commit();
        assert_eq!(rig.verdicts().get(&0), Some(&Verdict::Delivered));
        rig.write(5, 5, 50);
        assert_eq!(rig.verdicts().get(&5), None);
        let sim = rig.cut(seed);
        assert_eq!(Rig::open(&sim, &options(MIB)).drain(), (0..5).collect::<Vec<_>>());
    }
}

#[test]
fn what_the_sink_settles_in_time_is_never_written() {
    let mut rig = Rig::open(&Sim::default(), &options(MIB));
    let steps = rig.sim.steps();
    for n in 0..100 {
        rig.write(n, 1, 50);
        assert_eq!(rig.drain(), [n]);
        assert_eq!(rig.verdicts().get(&n), Some(&Verdict::Delivered));
        rig.commit();
    }
    assert_eq!(rig.sim.steps(), steps);
    rig.check();
    rig.write(100, 1, 50);
    rig.commit();
    let sim = rig.close();
    assert_eq!(Rig::open(&sim, &options(MIB)).drain(), [100]);
}

#[test]
fn what_the_sink_has_settled_makes_room_in_a_group_without_a_write() {
    // A group is 1 MiB here; 300 batches of 30 kB pass through it, every tenth of which the sink keeps for the last.
    let mut rig = Rig::open(&Sim::default(), &options(8 * MIB));
    let mut kept = Vec::new();
    let steps = rig.sim.steps();
    for n in 0..300 {
        rig.write(n, 1, 30_000);
        let batch = rig.read().unwrap();
        if n % 10 == 0 {
            kept.push(n);
            std::mem::forget(batch); // no verdict, as with a kill
        } else {
            rig.settle(batch, Verdict::Delivered);
        }
        let group = rig.buffer.shared.lock().group.iter().map(|p| p.len).sum::<usize>();
        assert!(group < 1100 << 10, "{group} bytes in the group after {n}");
        rig.check();
        if n == 200 {
            assert_eq!(rig.sim.steps(), steps, "nothing had to be written");
        }
    }
    rig.commit();
    let verdicts = rig.verdicts();
    assert!((0..300).all(|n| verdicts.get(&n) == Some(&Verdict::Delivered)));
    let mut again = Rig::open(&rig.cut(1), &options(8 * MIB));
    let mut came = Vec::new();
    while let Some(batch) = again.read() {
        let text = batch.event(0).field(Sym::MESSAGE).unwrap().as_str().unwrap();
        assert!(text.bytes == padding_of(numbers(&batch)[0], 30_000).as_bytes(), "altered event");
        came.extend(numbers(&batch));
        again.settle(batch, Verdict::Delivered);
    }
    // One was written before the sink had it, and the power was cut before the position said that it was settled.
    assert!(kept.iter().all(|n| came.contains(n)), "{kept:?} were kept, {came:?} came");
    assert!(came.len() <= kept.len() + 1, "{kept:?} were kept, {came:?} came");
    again.check();
}

#[test]
fn the_writer_waits_for_a_sink_that_nearly_keeps_up_and_not_for_one_that_stands() {
    let sim = Sim::default();
    let Rig { buffer, counters, source, running, .. } = Rig::open_patient(&sim, &options(64 * MIB)).unwrap();
    let (Opened { mut writer, mut reader, shared, .. }, n) = (buffer, 200u64);
    // All the time that a busy machine may take.
    let minute = Duration::from_secs(60);
    writer.keep_pace(Pace::new(1_000_000, minute, minute));
    counters.update(|t| (t.events_in, t.held) = (2 * n, 2 * n));
    // Made before, so that the writer is the faster one.
    let batches: Vec<Batch> = (0..2 * n).map(|i| batch(i, 1, 300_000, Ack::new(source.clone(), i))).collect();
    let mut batches = batches.into_iter();
    let take = shared.clone();
    let slow = std::thread::spawn(move || {
        let (mut seen, mut from_disk) = (0, 0);
        while seen < n {
            let disk = {
                let state = take.lock();
                let next = state.settled.next_unsettled(state.cursor);
                next < state.written_seq && state.window.front().is_none_or(|front| front.seq != next)
            };
            match reader.poll(&running) {
                Polled::Batch(mut batch) => {
                    batch.ack.take().settle(Verdict::Delivered);
                    (seen, from_disk) = (seen + 1, from_disk + u64::from(disk));
                    std::thread::sleep(Duration::from_millis(1));
                }
                _ => std::thread::yield_now(),
            }
        }
        (reader, from_disk)
    });
    batches.by_ref().take(n as usize).for_each(|batch| writer.accept(batch));
    writer.commit();
    let (_reader, from_disk) = slow.join().unwrap();
    assert_eq!(from_disk, 0, "of {n}");
    // Nobody reads any more: all of it goes to disk after one wait.
    writer.keep_pace(Pace::default());
    batches.for_each(|batch| writer.accept(batch));
    writer.commit();
    assert_eq!(shared.lock().written_seq, 2 * n);
    assert!(writer.waits_no_more(), "it still waits for a sink that stands");
}

/// More than a group is under way, and nothing of it needs to be written: the writer waits for verdicts, as long as some
/// come.
#[test]
fn the_writer_waits_for_the_verdicts_of_a_quick_sink_when_its_group_is_full() {
    const ALL: u64 = 100;
    let sim = Sim::default();
    let Rig { buffer, counters, source, .. } = Rig::open_patient(&sim, &options(64 * MIB)).unwrap();
    let Opened { mut writer, shared, .. } = buffer;
    // All the time that a busy machine may take.
    let minute = Duration::from_secs(60);
    writer.keep_pace(Pace::new(1_000_000, minute, minute));
    let queue = Queue::for_stage(1 << 20, counters.clone());
    writer.hand_to(StageSender::new(queue.sender()));
    counters.update(|t| (t.events_in, t.held) = (ALL, ALL));
    let steps = sim.steps();
    let sink = std::thread::spawn(move || {
        let (mut order, mut taken) = (Vec::new(), std::collections::VecDeque::new());
        loop {
            // More than three quarters of a group are under way, unless nothing more comes.
            match queue.recv_timeout(Duration::from_millis(20)) {
                Received::Batch(mut batch) => {
                    order.extend(numbers(&batch));
                    taken.push_back(batch.ack.take());
                    if taken.len() < 13 {
                        continue;
                    }
                }
                Received::Timeout => {}
                Received::Closed => break,
            }
            taken.pop_front().into_iter().for_each(|ack| ack.settle(Verdict::Delivered));
        }
        taken.into_iter().for_each(|ack| ack.settle(Verdict::Delivered));
        order
    });
    let batches: Vec<Batch> = (0..ALL).map(|n| batch(n, 1, 300_000, Ack::new(source.clone(), n))).collect();
    batches.into_iter().for_each(|batch| writer.accept(batch));
    // All have been given, none through the reader, which does not run here.
    assert_eq!(shared.lock().cursor, ALL);
    assert_eq!(sim.steps(), steps, "something was written");
    writer.close();
    drop(writer);
    assert_eq!(sink.join().unwrap(), (0..ALL).collect::<Vec<_>>());
    assert!(source.0.lock().unwrap().iter().all(|(_, verdict)| *verdict == Verdict::Delivered));
    assert_eq!(shared.lock().held, 0);
}

/// A sink with much under way settles what came long ago, and nothing of the group for some time: the group is written.
#[test]
fn a_sink_that_settles_only_what_came_before_the_group_is_not_waited_for() {
    let Rig { buffer, counters, source, .. } = Rig::open_patient(&Sim::default(), &options(64 * MIB)).unwrap();
    let Opened { mut writer, shared, .. } = buffer;
    writer.keep_pace(Pace::default());
    let queue = Queue::for_stage(64 << 20, counters.clone());
    writer.hand_to(StageSender::new(queue.sender()));
    counters.update(|t| (t.events_in, t.held) = (20, 20));
    let end = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (settled, ended) = (shared.clone(), end.clone());
    let sink = std::thread::spawn(move || {
        for _ in 0..10_000 {
            if ended.load(std::sync::atomic::Ordering::SeqCst) {
                return true;
            }
            settled.lock().settled_bytes += 1 << 20;
            settled.room.notify_all();
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    });
    for n in 0..20 {
        writer.accept(batch(n, 1, 300_000, Ack::new(source.clone(), n)));
    }
    end.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(sink.join().unwrap(), "the writer waited for as long as anything was settled");
    assert!(source.0.lock().unwrap().len() >= 13, "a group is written and acknowledged");
}

#[test]
fn nothing_is_written_while_only_what_has_just_come_is_not_settled() {
    let mut rig = Rig::open(&Sim::default(), &options(MIB));
    let steps = rig.sim.steps();
    for n in 0..50 {
        rig.write(2 * n, 1, 50);
        // One batch is always on its way to the sink when the group is due.
        let due = Instant::now() + GROUP_WAIT;
        rig.write(2 * n + 1, 1, 50);
        let first = rig.read().unwrap();
        rig.settle(first, Verdict::Delivered);
        rig.buffer.writer.commit_due(due);
        assert_eq!(rig.verdicts().get(&(2 * n)), Some(&Verdict::Delivered));
        assert_eq!(rig.verdicts().get(&(2 * n + 1)), None);
        let second = rig.read().unwrap();
        rig.settle(second, Verdict::Delivered);
    }
    assert_eq!(rig.sim.steps(), steps);
    rig.check();
    // Settled in between, not at the beginning: what is old goes to the disk, with what came behind it.
    for n in 100..103 {
        rig.write(n, 1, 50);
    }
    let (_slow, quick) = (rig.read().unwrap(), rig.read().unwrap());
    rig.settle(quick, Verdict::Delivered);
    rig.buffer.writer.commit_due(Instant::now());
    assert_eq!(rig.verdicts().get(&100), None);
    rig.buffer.writer.commit_due(Instant::now() + GROUP_WAIT);
    assert_eq!(rig.verdicts().get(&100), Some(&Verdict::Delivered));
    let sim = rig.cut(1);
    assert_eq!(Rig::open(&sim, &options(MIB)).drain(), [100, 102]);
}

#[test]
fn the_reader_takes_from_memory_what_is_there_and_the_rest_from_disk() {
    let mut rig = Rig::open(&Sim::default(), &options(4 * MIB));
    // More than the window holds.
    for n in 0..40 {
        rig.write(n, 1, 50_000);
    }
    rig.commit();
    assert!(rig.buffer.shared.lock().window.len() < 40);
    assert_eq!(rig.drain(), (0..40).collect::<Vec<_>>());
    for n in 40..80 {
        rig.write(n, 1, 50_000);
        if n % 3 == 0 {
            rig.commit();
        }
        if n % 5 == 0 {
            let batch = rig.read().unwrap();
            rig.settle(batch, Verdict::Delivered);
        }
    }
    rig.commit();
    assert_eq!(rig.drain(), (48..80).collect::<Vec<_>>());
    rig.check();
}

#[test]
fn verdicts_in_any_order_move_the_position_and_failed_ones_come_again() {
    let mut rig = Rig::open(&Sim::default(), &options(MIB));
    for n in 0..10 {
        rig.write(n, 1, 10);
        rig.commit();
    }
    let mut got: Vec<Batch> = std::iter::from_fn(|| rig.read()).collect();
    got.reverse();
    for batch in got {
        let n = numbers(&batch)[0];
        rig.settle(batch, if n == 3 || n == 7 { Verdict::Failed } else { Verdict::Rejected });
    }
    assert_eq!(rig.drain(), [0u64; 0], "what failed waits for the next start");
    let sim = rig.close();
    let mut rig = Rig::open(&sim, &options(MIB));
    rig.check();
    assert_eq!(rig.drain(), [3, 7]);
}

#[test]
fn a_full_buffer_keeps_to_its_size_and_drops_as_told() {
    for when_full in [WhenDiskFull::Block, WhenDiskFull::DropNewest, WhenDiskFull::DropOldest] {
        for compression in [DiskCompression::None, DiskCompression::Zstd] {
            let options = DiskOptions { when_full, compression, ..options(MIB) };
            let mut rig = Rig::open(&Sim::default(), &options);
            for n in 0..500 {
                rig.write(n * 10, 10, 1000);
                if n % 3 == 0 {
                    rig.commit();
                }
                if n % 50 == 0 && when_full != WhenDiskFull::Block {
                    rig.check();
                }
            }
            rig.commit();
            let dropped = rig.dropped("buffer_full");
            let verdicts = rig.verdicts();
            let count = |v| verdicts.values().filter(|&&x| x == v).count() as u64;
            let got = rig.drain();
            assert!(got.windows(2).all(|w| w[0] < w[1]), "order");
            assert!(got.len() > 300, "{when_full:?} {}", got.len());
            match when_full {
                // The time to drain is over from the start in these tests, so waiting ends with a failure.
                WhenDiskFull::Block => {
                    assert_eq!(dropped, 0);
                    assert_eq!(count(Verdict::Failed) * 10 + got.len() as u64, 5000);
                }
                WhenDiskFull::DropNewest => {
                    assert_eq!(got[..300], (0..300).collect::<Vec<_>>());
                    assert_eq!(count(Verdict::Rejected) * 10, dropped);
                    assert_eq!(dropped + got.len() as u64, 5000);
                    rig.check();
                }
                WhenDiskFull::DropOldest => {
                    assert_eq!(got[got.len() - 300..], (4700..5000).collect::<Vec<_>>());
                    assert_eq!(dropped + got.len() as u64, 5000);
                    assert_eq!(count(Verdict::Delivered), 500);
                    rig.check();
                }
            }
        }
    }
}

#[test]
fn a_batch_larger_than_a_segment_is_several_records_with_one_verdict() {
    let mut rig = Rig::open(&Sim::default(), &options(MIB));
    rig.write(0, 300, 1000);
    assert!(rig.buffer.shared.lock().segments.len() > 1);
    rig.commit();
    assert_eq!(rig.verdicts(), BTreeMap::from([(0, Verdict::Delivered)]));
    assert_eq!(rig.drain(), (0..300).collect::<Vec<_>>());
    rig.check();
}

#[test]
fn a_large_event_has_a_segment_of_its_own_and_one_that_can_never_fit_is_dropped() {
    let options = DiskOptions { when_full: WhenDiskFull::DropNewest, ..options(MIB) };
    let mut rig = Rig::open(&Sim::default(), &options);
    rig.write(0, 1, 10);
    rig.write(1, 1, 700_000);
    rig.write(2, 1, 10);
    rig.write(3, 1, 1_100_000);
    rig.commit();
    assert_eq!(rig.verdicts().get(&3), Some(&Verdict::Rejected));
    assert_eq!(rig.dropped("too_large"), 1);
    rig.check();
    let sim = rig.kill();
    let mut rig = Rig::open(&sim, &options);
    assert_eq!(rig.drain(), [0, 1, 2]);
    rig.check();
}

#[test]
fn settled_segments_are_used_again_or_removed() {
    let mut rig = Rig::open(&Sim::default(), &options(16 * MIB));
    let mut names = BTreeSet::new();
    for n in 0..2000 {
        rig.write(n, 1, 50_000);
        rig.commit();
        if n >= 5 {
            let batch = rig.read().unwrap();
            rig.settle(batch, Verdict::Delivered);
        }
        if n % 10 == 0 {
            rig.buffer.writer.reclaim().unwrap();
            names.extend(rig.sim.files().into_iter().map(|(name, _)| name));
        }
    }
    rig.check();
    assert!(rig.sim.files().len() < 8);
    assert!(names.iter().any(|n| n.to_string_lossy().contains("spare-")));
    let sim = rig.kill();
    let mut rig = Rig::open(&sim, &options(16 * MIB));
    assert_eq!(rig.drain().last(), Some(&1999));
    rig.check();
}

#[test]
fn old_batches_are_dropped_and_counted() {
    let options = DiskOptions { max_age: Some(Duration::from_secs(1)), ..options(MIB) };
    let mut rig = Rig::open(&Sim::default(), &options);
    // Received in 1970; those in memory are given to the sink all the same.
    for n in 0..100 {
        rig.write(n, 1, 10_000);
    }
    rig.commit();
    let got = rig.drain();
    assert_eq!(got.len() as u64 + rig.dropped("max_age"), 100);
    assert!(rig.dropped("max_age") > 0);
    rig.check();
}

/// A file that is used again under a new name and cannot be opened then takes its room until it is removed.
#[test]
fn a_segment_that_cannot_be_opened_is_charged_and_removed() {
    let mut rig = Rig::open_patient(&Sim::default(), &options(32 * MIB)).unwrap();
    let write = |rig: &mut Rig, from: u64| {
        for n in from..from + 60 {
            rig.write(n, 1, 300_000);
            rig.commit();
        }
    };
    write(&mut rig, 0);
    assert_eq!(rig.drain().len(), 60);
    rig.buffer.writer.reclaim().unwrap();
    let spares = rig.buffer.shared.lock().spares.len();
    assert!(spares > 0);
    for n in 1..=3 {
        rig.sim.fail_opens(1);
        write(&mut rig, n * 100);
        rig.check();
        assert_eq!(rig.drain(), (n * 100..n * 100 + 60).collect::<Vec<_>>());
        rig.check();
    }
    rig.buffer.writer.reclaim().unwrap();
    rig.check();
    let state = rig.buffer.shared.lock();
    let left = state.segments.iter().filter(|s| s.sealed).count();
    assert_eq!(left, 0, "{:?}", state.segments);
}

#[test]
fn a_full_disk_is_waited_for_and_nothing_is_torn() {
    let mut rig = Rig::open(&Sim::default(), &options(MIB));
    rig.write(0, 10, 100);
    rig.commit();
    rig.sim.set_room(Some(rig.sim.used()));
    rig.write(10, 10, 1000);
    // The time to drain is over, so it gives up; the source keeps its place.
    rig.commit();
    assert_eq!(rig.verdicts(), BTreeMap::from([(0, Verdict::Delivered), (10, Verdict::Failed)]));
    rig.sim.set_room(None);
    assert_eq!(rig.counters.snapshot().errors["disk"], 1);
    let sim = rig.kill();
    let mut rig = Rig::open(&sim, &options(MIB));
    assert_eq!(rig.drain(), (0..10).collect::<Vec<_>>());
    rig.check();
}

#[test]
fn a_disk_that_fails_for_a_while_is_waited_for_and_nothing_is_torn() {
    for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT, rustix::io::Errno::IO] {
        for fsync in [Fsync::Batch, Fsync::Never] {
            let options = DiskOptions { fsync, ..options(MIB) };
            let mut rig = Rig::open_patient(&Sim::default(), &options).unwrap();
            for n in 0..20 {
                rig.write(n * 3, 3, 500);
                if n % 5 == 4 {
                    rig.sim.fail_writes_with(7, errno);
                }
                rig.commit();
                rig.check();
            }
            assert!(rig.counters.snapshot().errors["disk"] >= 12, "{errno:?}");
            assert!(rig.verdicts().values().all(|v| *v == Verdict::Delivered));
            assert_eq!(rig.verdicts().len(), 20);
            let mut rig = Rig::open(&rig.kill(), &options);
            assert_eq!(rig.drain(), (0..60).collect::<Vec<_>>());
            assert_eq!(rig.dropped("corrupt"), 0);
            rig.check();
        }
    }
}

#[test]
fn after_a_failed_sync_what_is_not_known_durable_is_written_again_elsewhere() {
    for seed in 0..20 {
        let mut rig = Rig::open(&Sim::default(), &options(MIB));
        rig.write(0, 3, 100);
        rig.commit();
        rig.sim.fail_syncs(1);
        rig.write(3, 3, 100);
        rig.buffer.writer.try_commit().unwrap_err();
        assert_eq!(rig.verdicts().get(&3), None);
        rig.buffer.writer.try_commit().unwrap();
        assert_eq!(rig.verdicts().get(&3), Some(&Verdict::Delivered));
        rig.write(6, 3, 100);
        rig.sim.fail_writes(1);
        rig.buffer.writer.try_commit().unwrap_err();
        rig.buffer.writer.try_commit().unwrap();
        let sim = if seed == 0 { rig.kill() } else { rig.cut(seed) };
        let mut rig = Rig::open(&sim, &options(MIB));
        assert_eq!(rig.drain(), (0..9).collect::<Vec<_>>());
        assert_eq!(rig.dropped("corrupt"), 0);
        rig.check();
    }
}

#[test]
fn with_an_interval_what_was_acknowledged_before_a_failed_sync_is_written_again() {
    for seed in 1..20 {
        let options = DiskOptions { fsync: Fsync::Interval, ..options(MIB) };
        let mut rig = Rig::open(&Sim::default(), &options);
        for n in 0..4 {
            rig.write(n * 3, 3, 100);
            rig.commit();
        }
        assert_eq!(rig.verdicts().len(), 4);
        rig.sim.fail_syncs(1);
        rig.buffer.writer.housekeeping();
        rig.write(12, 3, 100);
        rig.commit();
        rig.buffer.writer.housekeeping();
        let sim = rig.cut(seed);
        let mut rig = Rig::open(&sim, &options);
        assert_eq!(rig.drain(), (0..15).collect::<Vec<_>>());
        assert_eq!(rig.dropped("corrupt"), 0);
        rig.check();
    }
}

#[test]
fn losing_the_position_gives_repeats_and_no_gaps() {
    let mut rig = Rig::open(&Sim::default(), &options(MIB));
    for n in 0..10 {
        rig.write(n, 1, 10);
        rig.commit();
    }
    for _ in 0..5 {
        let batch = rig.read().unwrap();
        rig.settle(batch, Verdict::Delivered);
    }
    let sim = rig.close();
    sim.take(Path::new("/data/buffer/out/position"));
    sim.take(Path::new("/data/buffer/out/settled"));
    let mut rig = Rig::open(&sim, &options(MIB));
    rig.check();
    assert_eq!(rig.drain(), (0..10).collect::<Vec<_>>());
    rig.check();
}

//! The threads of a stage on a real filesystem.

use super::*;
use crate::buffer::DiskStageContext;
use crate::buffer::QueueSender;
use crate::error::RunError;
use std::thread::JoinHandle;
use std::time::Instant;

/// A stage between two queues, as the topology runs it.
struct Running {
    into: Option<QueueSender>,
    sink: Arc<Queue>,
    counters: Arc<Counters>,
    source: Arc<Source>,
    shutdown: CancellationToken,
    abort: CancellationToken,
    thread: JoinHandle<Result<(), RunError>>,
}

impl Running {
    fn start(options: DiskOptions) -> Running {
        let counters = Counters::new("out", ComponentKind::Sink, "test");
        let from = Queue::before_stage(1 << 20, counters.clone());
        let sink = Queue::for_stage(options.overflow_of.unwrap_or(1 << 20), counters.clone());
        let (shutdown, abort) = (CancellationToken::new(), CancellationToken::new());
        let into = Some(from.sender());
        let context = DiskStageContext {
            from,
            to: StageSender::new(sink.sender()),
            refuser: Box::new(crate::component::ToDeadLetter { counters: counters.clone(), dead_letter: None }),
            counters: counters.clone(),
            abort: abort.clone(),
            shutdown: shutdown.clone(),
            health: Arc::default(),
            report: Default::default(),
        };
        let thread = std::thread::spawn(move || stage(options)(context));
        Running { into, sink, counters, source: Arc::default(), shutdown, abort, thread }
    }

    fn send(&self, from: u64, n: u64, padding: usize) {
        let ack = Ack::new(self.source.clone(), from);
        self.into.as_ref().unwrap().send(batch(from, n, padding, ack));
    }

    fn receive(&self) -> Option<Batch> {
        match self.sink.recv_timeout(Duration::from_secs(60)) {
            Received::Batch(batch) => Some(batch),
            Received::Closed => None,
            Received::Timeout => panic!("nothing came for a minute"),
        }
    }

    fn deliver(&self, mut batch: Batch) -> Vec<u64> {
        let numbers = numbers(&batch);
        self.counters.update(|t| {
            t.events_out += numbers.len() as u64;
            t.held -= numbers.len() as u64;
        });
        batch.ack.take().settle(Verdict::Delivered);
        numbers
    }

    fn wait_for(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !holds(self) {
            assert!(Instant::now() < end, "{what} did not come about");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn delivered(&self) -> usize {
        self.source.0.lock().unwrap().iter().filter(|(_, v)| *v == Verdict::Delivered).count()
    }
}

fn here(folder: &tempfile::TempDir, max_bytes: u64) -> DiskOptions {
    DiskOptions { folder: folder.path().join("buffer/out"), ..options(max_bytes) }
}

/// Bytes on disk, as `du` counts them; what goes away meanwhile counts nothing.
fn du(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = std::fs::symlink_metadata(path) else { return 0 };
    let below: u64 = match std::fs::read_dir(path) {
        Ok(entries) => entries.map(|e| du(&e.unwrap().path())).sum(),
        Err(_) => 0,
    };
    meta.blocks() * 512 + below
}

/// What failed with a sink is given to the one that takes its place, from memory or disk, before anything else.
#[test]
fn what_failed_comes_again_when_the_sink_begins_again() {
    for padding in [20, 20_000] {
        let folder = tempfile::tempdir().unwrap();
        let mut running = Running::start(here(&folder, 64 << 20));
        for n in 0..40 {
            running.send(n * 10, 10, padding);
        }
        let mut got = Vec::new();
        for n in 0..6 {
            let batch = running.receive().unwrap();
            if n % 2 == 0 {
                got.extend(running.deliver(batch));
            }
        }
        running.sink.hand_over();
        while got.len() < 400 {
            got.extend(running.receive().map(|batch| running.deliver(batch)).unwrap());
        }
        running.send(400, 10, padding);
        got.extend(running.receive().map(|batch| running.deliver(batch)).unwrap());
        drop(running.into.take());
        assert!(running.receive().is_none());
        running.thread.join().unwrap().unwrap();
        got.sort_unstable();
        assert_eq!(got, (0..410).collect::<Vec<_>>(), "padding {padding}");
        assert_eq!((running.counters.snapshot().held, running.counters.snapshot().balance()), (0, 0));
    }
}

#[test]
fn everything_comes_through_in_order_and_the_end_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(here(&folder, 64 << 20));
    let into = running.into.take().unwrap();
    let source = running.source.clone();
    let sending = std::thread::spawn(move || {
        for n in 0..2000u64 {
            into.send(batch(n * 10, 10, 200, Ack::new(source.clone(), n * 10)));
        }
    });
    let mut got = Vec::new();
    while let Some(batch) = running.receive() {
        got.extend(running.deliver(batch));
    }
    sending.join().unwrap();
    assert_eq!(got, (0..20_000).collect::<Vec<_>>());
    running.thread.join().unwrap().unwrap();
    assert_eq!(running.source.0.lock().unwrap().len(), 2000);
    let totals = running.counters.snapshot();
    assert_eq!((totals.balance(), totals.held, totals.gauges["buffer_events"]), (0, 0, 0.0));
}

#[test]
fn with_a_dead_sink_the_source_is_acknowledged_and_a_shutdown_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(here(&folder, 64 << 20));
    for n in 0..500 {
        running.send(n * 10, 10, 2000);
    }
    running.wait_for("acknowledgement", |r| r.delivered() == 500);
    running.shutdown.cancel();
    drop(running.into.take());
    // The sink takes nothing and goes away.
    running.sink.close();
    while let Received::Batch(batch) = running.sink.recv_timeout(Duration::ZERO) {
        drop(batch);
    }
    running.thread.join().unwrap().unwrap();
    assert_eq!(running.counters.snapshot().held, 5000);

    let running = Running::start(here(&folder, 64 << 20));
    running.wait_for("the start", |r| r.counters.snapshot().events_in == 5000);
    let mut got = Vec::new();
    while got.len() < 5000 {
        let batch = running.receive().unwrap();
        got.extend(running.deliver(batch));
    }
    assert_eq!(got, (0..5000).collect::<Vec<_>>());
    running.shutdown.cancel();
    drop(running.into);
    running.thread.join().unwrap().unwrap();
    assert_eq!(running.counters.snapshot().balance(), 0);
}

/// Five times `max_size` is offered while the sink takes nothing; then a restart, whose gauges tell the truth.
#[test]
fn what_lies_on_disk_never_exceeds_the_size_while_the_sink_is_down_and_the_gauges_are_true_after_a_restart() {
    for when_full in [WhenDiskFull::DropOldest, WhenDiskFull::DropNewest, WhenDiskFull::Block] {
        for max in [MIB, 2 * MIB] {
            let folder = tempfile::tempdir().unwrap();
            let options = DiskOptions { when_full, ..here(&folder, max) };
            let path = options.folder.clone();
            let mut running = Running::start(options.clone());
            let (into, source) = (running.into.take().unwrap(), running.source.clone());
            let batches = max * 5 / 10_000;
            let sending = std::thread::spawn(move || {
                for n in 0..batches {
                    into.send(batch(n * 10, 10, 1000, Ack::new(source.clone(), n * 10)));
                }
            });
            let mut looks = 0;
            while !sending.is_finished() && (when_full != WhenDiskFull::Block || looks < 300) {
                assert!(du(&path) <= max, "{when_full:?}: {} of {max}", du(&path));
                looks += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            running.wait_for("a full buffer", |_| du(&path) > max / 2);
            running.abort.cancel();
            running.sink.close();
            while let Received::Batch(batch) = running.sink.recv_timeout(Duration::ZERO) {
                drop(batch);
            }
            sending.join().unwrap();
            running.thread.join().unwrap().unwrap();
            assert!(du(&path) <= max, "{when_full:?}: {} of {max}", du(&path));
            let totals = running.counters.snapshot();
            assert_eq!(totals.balance(), 0);
            let dropped = totals.dropped.get("buffer_full").copied().unwrap_or(0);
            assert_eq!(dropped > batches * 10 / 2, when_full != WhenDiskFull::Block, "{when_full:?}: {dropped}");

            let running = Running::start(options);
            running.wait_for("the start", |r| r.counters.snapshot().gauges.contains_key("buffer_events"));
            let gauges = running.counters.snapshot().gauges;
            let files = std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum::<u64>();
            assert_eq!(gauges["buffer_bytes"], files as f64, "{when_full:?}");
            let mut came = 0;
            while came < gauges["buffer_events"] as usize {
                let batch = running.receive().unwrap();
                came += running.deliver(batch).len();
            }
            running.wait_for("all", |r| r.counters.snapshot().gauges["buffer_events"] == 0.0);
            assert_eq!(came as f64, gauges["buffer_events"]);
            assert!(came as u64 * 1000 > max / 2);
            running.shutdown.cancel();
            drop(running.into);
            running.thread.join().unwrap().unwrap();
            assert_eq!(running.counters.snapshot().dropped.get("corrupt"), None);
        }
    }
}

#[test]
fn a_folder_belongs_to_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(here(&folder, MIB));
    running.send(0, 1, 10);
    running.wait_for("acknowledgement", |r| r.delivered() == 1);
    let second = Running::start(here(&folder, MIB));
    let error = second.thread.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("belongs to another process"), "{error}");
    running.abort.cancel();
    running.sink.close();
    drop(running.into);
    running.thread.join().unwrap().unwrap();
}

#[test]
fn overflow_goes_to_disk_only_while_memory_is_full_and_keeps_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(DiskOptions { overflow_of: Some(256 << 10), ..here(&folder, 64 << 20) });
    let mut expected = 0..;
    let mut take = |running: &Running| {
        let batch = running.receive().unwrap();
        for n in running.deliver(batch) {
            assert_eq!(Some(n), expected.next(), "order");
        }
    };
    // A sink that keeps up: nothing is ever written, and the source hears of the delivery only.
    for n in 0..100 {
        running.send(n * 10, 10, 1000);
        running.wait_for("the batch", |r| StageSender::new(r.sink.sender()).bytes() > 0);
        assert_eq!(running.delivered() as u64, n);
        take(&running);
    }
    assert_eq!(running.counters.snapshot().gauges["buffer_max_bytes"], ((64 << 20) + (256 << 10)) as f64);
    // It stops: what does not fit is acknowledged from the disk, what does fit is not.
    for n in 100..400 {
        running.send(n * 10, 10, 1000);
    }
    running.wait_for("acknowledgement from the disk", |r| r.counters.snapshot().gauges["buffer_bytes"] > 2e6);
    // The rest, 256 KiB at most, waits in memory without acknowledgement.
    running.wait_for("acknowledgement from the disk", |r| r.delivered() >= 375);
    assert!(running.delivered() < 390, "{}", running.delivered());
    // It goes on, while more comes.
    for n in 400..500 {
        take(&running);
        take(&running);
        running.send(n * 10, 10, 1000);
    }
    for _ in 300..500 {
        take(&running);
    }
    running.wait_for("all", |r| r.delivered() == 500);
    // And past the disk again, once that is empty.
    let before = std::fs::read_dir(folder.path().join("buffer/out")).unwrap().count();
    for n in 500..600 {
        running.send(n * 10, 10, 1000);
        take(&running);
        assert_eq!(running.delivered() as u64, n + 1);
    }
    assert_eq!(std::fs::read_dir(folder.path().join("buffer/out")).unwrap().count(), before);
    drop(running.into.take());
    assert!(running.receive().is_none());
    running.thread.join().unwrap().unwrap();
    let totals = running.counters.snapshot();
    assert_eq!((totals.balance(), totals.held, totals.gauges["buffer_events"]), (0, 0, 0.0));
}

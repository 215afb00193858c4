#![allow(clippy::unwrap_used)]
use super::*;
use crate::ack::{Ack, Settled, Verdict};
use crate::buffer::Received;
use crate::component::{Closed, Emitter, Input};
use crate::decoding::{JsonDecoder, OnDecodeError};
use crate::error::RunError;
use crate::event::{Batch, Origin, Slab};
use crate::event::{Chunk, Frames};
use crate::telemetry::ComponentKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts verdicts.
#[derive(Default)]
pub(super) struct Settler {
    pub(super) good: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Settled for Settler {
    fn settled(&self, _token: u64, verdict: Verdict) {
        let to = if verdict == Verdict::Failed { &self.failed } else { &self.good };
        to.fetch_add(1, Ordering::SeqCst);
    }
}

pub(super) fn lines_source(id: &str, chunks: usize, lines: usize, settler: Arc<Settler>) -> SourcePart {
    // Whose chunks go to which worker: by the length of the id.
    let origin = Arc::new(Origin { order: id.len() as u64, ..(*Origin::of_source(id)).clone() });
    let run = move |cx: crate::component::SourceContext| {
        for chunk in 0..chunks {
            let text: String =
                (0..lines).map(|n| format!("{{\"seq\":{},\"odd\":{}}}\n", chunk * lines + n, n % 2)).collect();
            let chunk = Chunk {
                frames: Frames::Lines { start: 0, end: text.len() },
                text: Slab::from_vec(text.into_bytes()),
                origin: origin.clone(),
                offset: 0,
                received_at: 0,
                ack: Ack::new(settler.clone(), chunk as u64),
            };
            if let Err(Closed) = cx.output.send(chunk) {
                break;
            }
        }
        Ok(())
    };
    SourcePart {
        counters: Counters::new(id, ComponentKind::Source, "test"),
        run: SourceRun::Thread(Box::new(run)),
        decoder: Decoder::new(Box::new(JsonDecoder::default()), OnDecodeError::Keep),
        when: None,
        attach: Vec::new(),
        overlaps: false,
    }
}

/// Drops even numbers, rejects those that end in 9.
struct Odd;
impl Transform for Odd {
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>) {
        let seq = Sym::from_config("seq");
        let dropped = batch.retain(|e| e.field(seq).unwrap().as_i64().unwrap() % 2 == 1);
        out.dropped("even", dropped as u64);
        for row in 0..batch.rows() {
            if batch.is_live(row) && batch.event(row).field(seq).unwrap().as_i64().unwrap() % 10 == 9 {
                out.reject(batch, row, "nine", "ends in 9");
            }
        }
    }
    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Odd)
    }
}

fn part(id: &str, inputs: &[(&str, &str)]) -> TransformPart {
    TransformPart {
        counters: Counters::new(id, ComponentKind::Transform, "odd"),
        transform: Box::new(Odd),
        outputs: vec!["rejected".into()],
        inputs: inputs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
    }
}

pub(super) fn sink(id: &str, inputs: &[(&str, &str)], run: impl FnOnce(Input) + Send + 'static) -> SinkPart {
    SinkPart {
        counters: Counters::new(id, ComponentKind::Sink, "test"),
        run: SinkRun::Thread(Box::new(move |input| {
            run(input);
            Ok::<(), RunError>(())
        })),
        inputs: inputs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
        takes_stale: false,
        keeps_places: false,
        when: None,
        buffer: BufferPart { max_bytes: None, policy: FullPolicy::Block, disk: None, behind_disk: None },
        dead_letter: None,
    }
}

pub(super) type Lines = Arc<Mutex<Vec<String>>>;

pub(super) fn collect(lines: Lines) -> impl FnOnce(Input) + Send {
    move |input| {
        loop {
            match input.recv_timeout(Duration::from_secs(1)) {
                Received::Batch(mut batch) => {
                    let mut lines = lines.lock().unwrap();
                    for event in batch.iter() {
                        let mut out = Vec::new();
                        event.write_json(&mut out);
                        lines.push(String::from_utf8(out).unwrap());
                    }
                    input.delivered(batch.ack.take(), batch.len() as u64, 0, batch.received_at);
                }
                Received::Timeout => {}
                Received::Closed => return,
            }
        }
    }
}

pub(super) fn blueprint(sources: Vec<SourcePart>, transforms: Vec<TransformPart>, sinks: Vec<SinkPart>) -> Blueprint {
    Blueprint {
        sources,
        transforms,
        sinks,
        memory_limit: 24 << 20,
        shutdown_timeout: Duration::from_secs(20),
        threads: 2,
        fingerprints: Default::default(),
        upkeep: Default::default(),
    }
}

/// Every component balances, and every edge carries the same number at both ends.
fn assert_balance(running: &Running) {
    let ledger = running.ledger.now().ledger();
    assert!(ledger.iter().all(|l| l.difference == 0 && l.held == 0), "{ledger:#?}");
    let run_ledger = running.ledger.now();
    let totals = |id: &str| run_ledger.components.iter().find(|c| *c.id == *id).unwrap().snapshot();
    let run_ledger = running.ledger.now();
    for reader in &run_ledger.components {
        let fed: u64 = run_ledger
            .edges
            .iter()
            .filter(|(r, ..)| *r == reader.id)
            .map(|(_, from, output)| totals(from).outputs.get(output).copied().unwrap_or(0))
            .sum();
        if reader.kind != ComponentKind::Source {
            assert_eq!(reader.snapshot().events_in, fed, "{}", reader.id);
        }
    }
}

#[tokio::test]
async fn a_graph_delivers_in_order_on_every_branch_and_its_ledger_balances() {
    let settler = Arc::new(Settler::default());
    let (all, odd, nine) = (Lines::default(), Lines::default(), Lines::default());
    let mut running = start(blueprint(
        vec![lines_source("in", 200, 50, settler.clone())],
        vec![part("odd", &[("in", "")])],
        vec![
            sink("all", &[("in", "")], collect(all.clone())),
            sink("odds", &[("odd", "")], collect(odd.clone())),
            sink("nines", &[("odd", "rejected")], collect(nine.clone())),
        ],
    ))
    .unwrap();
    let summary = running.wait().await;
    assert!(summary.failed.is_empty() && !summary.timed_out);
    let want = |keep: fn(usize) -> bool| -> Vec<String> {
        (0..10_000).filter(|n| keep(*n)).map(|n| format!("{{\"seq\":{n},\"odd\":{}}}", n % 2)).collect()
    };
    assert_eq!(*all.lock().unwrap(), want(|_| true));
    assert_eq!(*odd.lock().unwrap(), want(|n| n % 2 == 1 && n % 10 != 9));
    let nines = nine.lock().unwrap();
    assert_eq!(nines.len(), 1_000);
    assert!(
        nines[0].starts_with(r#"{"tidegate":{"component":"odd","reason":"nine","detail":"ends in 9","time":""#),
        "{}",
        nines[0]
    );
    let metadata = r#"{"source":"in","received_at":"1970-01-01T00:00:00.000Z","kind":"log"}"#;
    let end = format!(r#","source":"in","metadata":{metadata}}},"event":{{"seq":9,"odd":1}}}}"#);
    assert!(nines[0].ends_with(&end), "{}", nines[0]);
    assert_eq!((settler.good.load(Ordering::SeqCst), settler.failed.load(Ordering::SeqCst)), (200, 0));
    assert_balance(&running);
}

#[tokio::test]
async fn what_nobody_reads_of_rejected_is_counted_as_dropped() {
    let settler = Arc::new(Settler::default());
    let odd = Lines::default();
    let mut running = start(blueprint(
        vec![lines_source("in", 2, 50, settler.clone())],
        vec![part("odd", &[("in", "")])],
        vec![sink("odds", &[("odd", "")], collect(odd.clone()))],
    ))
    .unwrap();
    running.wait().await;
    assert_eq!(running.ledger.now().components[1].snapshot().dropped["rejected_unread"], 10);
    assert_balance(&running);
}

/// A sink that takes one batch and then nothing more until it is told to.
#[tokio::test]
async fn a_hanging_sink_that_drops_does_not_slow_the_others() {
    let settler = Arc::new(Settler::default());
    let all = Lines::default();
    let (wake, woken) = std::sync::mpsc::channel::<()>();
    let late = Lines::default();
    let mut hanging = sink("stuck", &[("in", "")], {
        let late = late.clone();
        move |input| {
            woken.recv().unwrap();
            collect(late)(input);
        }
    });
    hanging.buffer =
        BufferPart { max_bytes: Some(64 << 10), policy: FullPolicy::DropNewest, disk: None, behind_disk: None };
    let mut running = start(blueprint(
        vec![lines_source("in", 500, 100, settler.clone())],
        vec![],
        vec![sink("all", &[("in", "")], collect(all.clone())), hanging],
    ))
    .unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while all.lock().unwrap().len() < 50_000 {
        assert!(std::time::Instant::now() < deadline, "the other sink was held up");
        tokio::task::yield_now().await;
    }
    wake.send(()).unwrap();
    running.wait().await;
    let stuck = running.ledger.now().components[2].snapshot();
    assert_eq!(stuck.events_out + stuck.dropped["buffer_full"], 50_000);
    assert_eq!(stuck.events_out as usize, late.lock().unwrap().len());
    assert!(stuck.dropped["buffer_full"] > 0);
    assert_balance(&running);
    assert_eq!(settler.good.load(Ordering::SeqCst), 500);
}

#[tokio::test]
async fn a_dead_sink_ends_with_the_shutdown_timeout_and_fails_what_it_holds() {
    let settler = Arc::new(Settler::default());
    let dead = sink("dead", &[("in", "")], |input| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(input.abort().cancelled());
    });
    let mut blueprint = blueprint(vec![lines_source("in", 100, 1_000, settler.clone())], vec![], vec![dead]);
    blueprint.memory_limit = 1 << 20;
    blueprint.shutdown_timeout = Duration::from_millis(50);
    let mut running = start(blueprint).unwrap();
    running.shutdown().cancel();
    let summary = running.wait().await;
    assert!(summary.timed_out);
    let ledger = running.ledger.now().ledger();
    assert!(ledger.iter().all(|l| l.difference == 0), "{ledger:#?}");
    assert!(ledger[1].held > 0);
    assert_eq!(settler.good.load(Ordering::SeqCst), 0);
}

/// What such a sink did not take is on disk: nobody waits for its verdicts.
#[tokio::test]
async fn a_sink_that_fails_behind_a_disk_buffer_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let settler = Arc::new(Settler::default());
    let mut failing = sink("out", &[("in", "")], |_| {});
    let acknowledged = settler.clone();
    failing.run = SinkRun::Thread(Box::new(move |input: Input| {
        // It takes one and settles none: when more than that are acknowledged, by the disk, its queue has the next ones.
        let _first = input.recv_timeout(Duration::from_secs(60));
        while acknowledged.good.load(Ordering::SeqCst) < 40 {
            std::thread::yield_now();
        }
        Err(RunError::failed("it does not work"))
    }));
    failing.buffer.disk = Some(crate::buffer::disk::stage(crate::buffer::disk::DiskOptions {
        folder: folder.path().join("out"),
        max_bytes: 64 << 20,
        when_full: crate::buffer::WhenDiskFull::Block,
        fsync: crate::buffer::Fsync::Never,
        fsync_interval: Duration::ZERO,
        max_age: None,
        compression: crate::buffer::DiskCompression::None,
        overflow_of: None,
    }));
    let mut blueprint = blueprint(vec![lines_source("in", 50, 1_000, settler.clone())], vec![], vec![failing]);
    blueprint.shutdown_timeout = Duration::from_secs(600);
    let mut running = start(blueprint).unwrap();
    let summary = tokio::time::timeout(Duration::from_secs(60), running.wait()).await.expect("it ends");
    assert_eq!(summary.failed, [("out".to_owned(), "it does not work".to_owned())]);
    assert!(!summary.timed_out);
    assert_eq!(settler.good.load(Ordering::SeqCst) + settler.failed.load(Ordering::SeqCst), 50);
    let ledger = running.ledger.now().ledger();
    assert!(ledger.iter().all(|l| l.difference == 0), "{ledger:#?}");
}

/// A chunk whose place is known, over two ways to one sink: its last batch there is marked, and what sinks hold is left out.
#[test]
fn the_last_batch_of_a_chunk_is_marked_and_what_a_sink_holds_is_left_out_for_it_alone() {
    use crate::ack::place::tests::place;
    use crate::ack::place::{Held, Place};
    let settler = Arc::new(Settler::default());
    let blueprint = blueprint(
        vec![lines_source("in", 0, 0, settler.clone())],
        vec![part("odd", &[("in", "")])],
        vec![sink("all", &[("in", "")], |_| {}), sink("both", &[("odd", ""), ("odd", "rejected")], |_| {})],
    );
    let (mut worker, queues) = single_worker(&blueprint);
    let text: String = (10..30).map(|n| format!("{{\"seq\":{n}}}\n")).collect();
    let held: Arc<[Held]> =
        vec![Held { sink: 0, from: 0, to: 5 * 11 }, Held { sink: 0, from: 10 * 11, to: 12 * 11 }].into();
    for held in [None, Some(held)] {
        let place = Place { from: 0, held: held.clone(), ..place(1, 220) };
        worker.chunk(
            0,
            Chunk {
                frames: Frames::Lines { start: 0, end: text.len() },
                text: Slab::from_vec(text.clone().into_bytes()),
                origin: Origin::of_source("in"),
                offset: 0,
                received_at: 0,
                ack: Ack::placed(settler.clone(), 1, place),
            },
        );
        let took = |n: usize| {
            let batches: Vec<Batch> = std::iter::from_fn(|| queues[n].1.try_recv()).collect();
            let seen = batches.iter().map(|b| (b.len(), b.whole, b.alone)).collect::<Vec<_>>();
            batches.into_iter().for_each(|mut batch| batch.ack.take().settle(Verdict::Delivered));
            seen
        };
        assert_eq!(took(0), [(if held.is_some() { 13 } else { 20 }, true, true)]);
        assert_eq!(took(1), [(2, false, false), (8, true, false)]);
    }
    assert_eq!(settler.good.load(Ordering::SeqCst), 2);
    let counters = blueprint.sinks[0].counters.snapshot();
    assert_eq!((counters.events_in, counters.dropped.get("already_held")), (40, Some(&7)));
}

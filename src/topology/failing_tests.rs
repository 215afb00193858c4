//! Transforms that panic, and calls that hang.
#![allow(clippy::unwrap_used)]
use super::tests::{Lines, Settler, blueprint, collect, lines_source, sink};
use super::*;
use crate::ack::place::Place;
use crate::ack::place::tests::place;
use crate::ack::{Ack, Verdict};
use crate::buffer::Queue;
use crate::component::{Emitter, Input};
use crate::event::{Batch, Origin, Slab};
use crate::event::{Chunk, Frames};
use crate::telemetry::{ComponentKind, Totals};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Marks each event in turn, rejects those that end in 9, drops those that end in 8, and panics at some.
struct Picky {
    panics_at: &'static [i64],
    /// Events that this instance has seen: at a fresh one it begins with none.
    seen: usize,
    of_program: bool,
    may_redo: bool,
}

impl Transform for Picky {
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>) {
        let (seq, mark) = (Sym::from_config("seq"), Sym::from_config("mark"));
        for row in 0..batch.rows() {
            if !batch.is_live(row) {
                continue;
            }
            self.seen += 1;
            let n = batch.event(row).field(seq).unwrap().as_i64().unwrap();
            batch.event_mut(row).set_field(mark, crate::event::Value::I64(1));
            assert!(!self.panics_at.contains(&n), "number {n}");
            match n % 10 {
                8 => {
                    batch.drop_row(row);
                    out.dropped("eight", 1);
                }
                9 => out.reject(batch, row, "nine", "ends in 9"),
                _ => {}
            }
        }
    }

    fn fork(&self) -> Box<dyn Transform> {
        assert_eq!(self.seen, 0, "others are made of one that nobody has used");
        let Picky { panics_at, of_program, may_redo, .. } = *self;
        Box::new(Picky { panics_at, seen: 0, of_program, may_redo })
    }

    fn may_redo(&self) -> bool {
        self.may_redo
    }

    fn is_of_program(&self) -> bool {
        self.of_program
    }
}

/// A worker over `in -> picky -> out`, `picky.rejected -> letters` where that is read.
struct Rig {
    worker: Worker,
    queues: Vec<(Arc<str>, Arc<Queue>)>,
    counters: Arc<Counters>,
    settler: Arc<Settler>,
}

const LINES: usize = 100;

impl Rig {
    fn new(picky: Picky, reads_rejected: bool) -> Rig {
        let settler = Arc::new(Settler::default());
        let mut sinks = vec![sink("out", &[("picky", "")], |_| {})];
        if reads_rejected {
            sinks.push(sink("letters", &[("picky", "rejected")], |_| {}));
        }
        let picky = TransformPart {
            counters: Counters::new("picky", ComponentKind::Transform, "picky"),
            transform: Box::new(picky),
            outputs: vec!["rejected".into()],
            inputs: vec![("in".into(), "".into())],
        };
        let blueprint = blueprint(vec![lines_source("in", 0, 0, settler.clone())], vec![picky], sinks);
        let (mut worker, queues) = single_worker(&blueprint);
        worker.transforms.iter_mut().flatten().for_each(|lane| lane.origins_give_again = true);
        Rig { worker, queues, counters: blueprint.transforms[0].counters.clone(), settler }
    }

    /// One chunk: numbers of what came out and of what was rejected (with its reason), in order.
    fn chunk(&mut self, place: Option<Place>) -> (Vec<i64>, Vec<(i64, String)>) {
        let text: String = (0..LINES).map(|n| format!("{{\"seq\":{n}}}\n")).collect();
        let ack = match place {
            Some(place) => Ack::placed(self.settler.clone(), 1, place),
            None => Ack::new(self.settler.clone(), 1),
        };
        self.worker.chunk(
            0,
            Chunk {
                frames: Frames::Lines { start: 0, end: text.len() },
                text: Slab::from_vec(text.into_bytes()),
                origin: Origin::of_source("in"),
                offset: 0,
                received_at: 0,
                ack,
            },
        );
        let take = |n: usize| -> Vec<serde_json::Value> {
            let Some((_, queue)) = self.queues.get(n) else { return Vec::new() };
            let mut events = Vec::new();
            while let Some(mut batch) = queue.try_recv() {
                for event in batch.iter() {
                    let mut json = Vec::new();
                    event.write_json(&mut json);
                    events.push(serde_json::from_slice(&json).unwrap());
                }
                batch.ack.take().settle(Verdict::Delivered);
            }
            events
        };
        let out = take(0);
        assert!(out.iter().all(|event| event["mark"] == 1), "nothing goes on unprocessed: {out:?}");
        let letter = |l: &serde_json::Value| {
            (l["event"]["seq"].as_i64().unwrap(), l["tidegate"]["reason"].as_str().unwrap().to_owned())
        };
        (out.iter().map(|event| event["seq"].as_i64().unwrap()).collect(), take(1).iter().map(letter).collect())
    }

    fn totals(&self) -> Totals {
        let totals = self.counters.snapshot();
        assert_eq!(totals.balance(), 0, "{totals:?}");
        totals
    }

    fn verdicts(&self) -> (u64, u64) {
        (self.settler.good.load(Ordering::SeqCst), self.settler.failed.load(Ordering::SeqCst))
    }
}

fn good(panics_at: &[i64]) -> Vec<i64> {
    (0..LINES as i64).filter(|n| n % 10 < 8 && !panics_at.contains(n)).collect()
}

/// In order of the numbers.
fn letters(panics_at: &[i64]) -> Vec<(i64, String)> {
    let reason = |n: i64| match panics_at.contains(&n) {
        true => Some("panic"),
        false => (n % 10 == 9).then_some("nine"),
    };
    (0..LINES as i64).filter_map(|n| Some((n, reason(n)?.to_owned()))).collect()
}

#[test]
fn of_a_batch_only_the_events_that_panic_are_refused_and_all_others_go_on_in_order() {
    for panics_at in [&[37][..], &[0], &[99], &[36, 37, 38, 90], &[]] {
        let picky = || Picky { panics_at, seen: 0, of_program: true, may_redo: true };
        let mut rig = Rig::new(picky(), true);
        for n in 1..=2 {
            assert_eq!(rig.chunk(None), (good(panics_at), letters(panics_at)));
            assert_eq!(rig.verdicts(), (n, 0));
        }
        let totals = rig.totals();
        assert_eq!(totals.rejected.get("panic").copied().unwrap_or(0), 2 * panics_at.len() as u64);
        assert_eq!(totals.errors.get("panic").copied().unwrap_or(0), 2 * panics_at.len() as u64);
        // Nobody reads `rejected`.
        let mut rig = Rig::new(picky(), false);
        assert_eq!(rig.chunk(None).0, good(panics_at));
        let totals = rig.totals();
        assert_eq!(totals.dropped.get("panic").copied().unwrap_or(0), panics_at.len() as u64);
        assert_eq!(totals.events_in, LINES as u64);
    }
}

#[test]
fn a_transform_that_panics_on_everything_refuses_everything() {
    static ALL: std::sync::LazyLock<Vec<i64>> = std::sync::LazyLock::new(|| (0..LINES as i64).collect());
    let mut rig = Rig::new(Picky { panics_at: &ALL, seen: 0, of_program: true, may_redo: true }, true);
    let (out, refused) = rig.chunk(None);
    assert_eq!((out.len(), refused.len(), rig.verdicts()), (0, LINES, (1, 0)));
    assert_eq!(rig.totals().rejected["panic"], LINES as u64);
}

/// Of a transform of this crate no copy is kept until it has panicked.
#[test]
fn the_first_batch_that_no_copy_is_of_comes_again_where_it_can_and_else_is_refused_whole() {
    let at = &[37][..];
    let picky = || Picky { panics_at: at, seen: 0, of_program: false, may_redo: true };
    let mut rig = Rig::new(picky(), true);
    assert_eq!(rig.chunk(Some(place(1, 1000))), (vec![], vec![]));
    assert_eq!((rig.verdicts(), rig.totals().dropped["panic"]), ((0, 1), LINES as u64));
    assert_eq!(rig.chunk(Some(place(1, 1000))), (good(at), letters(at)));
    assert_eq!(rig.verdicts(), (1, 1));
    // Of an origin that cannot be asked: what was there of the batch leaves as letters, nothing as if it were processed.
    let mut rig = Rig::new(picky(), true);
    let (out, refused) = rig.chunk(None);
    assert_eq!(out, Vec::<i64>::new());
    // Before the panic: three nines were rejected for their own reason, and three eights dropped.
    assert_eq!(refused.len(), LINES - 3);
    let totals = rig.totals();
    assert_eq!((totals.rejected["nine"], totals.rejected["panic"], totals.dropped["eight"]), (3, LINES as u64 - 6, 3));
    assert_eq!(rig.verdicts(), (1, 0));
    assert_eq!(rig.chunk(None), (good(at), letters(at)));
}

/// What keeps what it has seen would take an event that it is given again for a repeat.
#[test]
fn a_transform_that_sees_repeats_is_given_no_batch_again() {
    let mut rig = Rig::new(Picky { panics_at: &[37], seen: 0, of_program: false, may_redo: false }, true);
    for n in 1..=2 {
        let (out, refused) = rig.chunk(Some(place(1, 1000)));
        assert_eq!((out.len(), refused.len(), rig.verdicts()), (0, LINES - 3, (n, 0)));
        rig.totals();
    }
}

/// Hangs at the first event until it is told to go on.
struct Hanging(Arc<AtomicBool>);

impl Transform for Hanging {
    fn apply(&mut self, _batch: &mut Batch, _out: &mut Emitter<'_>) {
        while !self.0.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Hanging(self.0.clone()))
    }
}

fn stalled(running: &Running, id: &str) -> Option<f64> {
    let ledger = running.ledger.now();
    ledger.components.iter().find(|c| *c.id == *id).unwrap().snapshot().gauges.get("stalled").copied()
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_call_that_hangs_is_named_until_it_returns_and_a_sink_that_takes_nothing_is_none() {
    let settler = Arc::new(Settler::default());
    let (goes_on, lines) = (Arc::new(AtomicBool::new(false)), Lines::default());
    let hanging = TransformPart {
        counters: Counters::new("hangs", ComponentKind::Transform, "test"),
        transform: Box::new(Hanging(goes_on.clone())),
        outputs: Vec::new(),
        inputs: vec![("in".into(), "".into())],
    };
    // It takes nothing for as long, and its buffer fills.
    let taking = goes_on.clone();
    let dead = sink("dead", &[("other", "")], move |input: Input| {
        while !taking.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        collect(Arc::new(Mutex::default()))(input);
    });
    let mut blueprint = blueprint(
        vec![lines_source("in", 1, 10, settler.clone()), lines_source("other", 2_000, 100, settler.clone())],
        vec![hanging],
        vec![sink("out", &[("hangs", "")], collect(lines.clone())), dead],
    );
    // The two are not on the same worker.
    blueprint.threads = 8;
    blueprint.upkeep.stalled_after = Duration::from_millis(300);
    let mut running = start(blueprint).unwrap();
    until("it is named", || stalled(&running, "hangs") == Some(1.0)).await;
    let health = running.health.now();
    let said = |id: &str| health.iter().find(|(of, _)| **of == *id).unwrap().1.failing_for(Duration::ZERO);
    assert!(said("hangs").unwrap().contains("does not return: transform"), "{:?}", said("hangs"));
    let dead = || running.ledger.now().components.iter().find(|c| *c.id == *"dead").unwrap().snapshot().held;
    until("the dead sink's buffer fills", || dead() > 100).await;
    // Much longer than it takes to be named.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for id in ["in", "other", "out", "dead"] {
        assert_eq!((stalled(&running, id), said(id).filter(|why| why.contains("return"))), (None, None), "{id}");
    }
    goes_on.store(true, Ordering::SeqCst);
    until("it is not named any more", || stalled(&running, "hangs") == Some(0.0)).await;
    assert_eq!(said("hangs"), None);
    running.wait().await;
    assert_eq!(lines.lock().unwrap().len(), 10);
}

/// A sink that fails with a batch in its hand which it cannot give back: its file gives it again, to the sink's next life.
#[tokio::test]
async fn what_a_sink_loses_when_it_fails_is_read_again_from_its_file() {
    const LINES: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let line = |n: usize| format!("line {n} {}", "x".repeat(80));
    std::fs::write(dir.path().join("in.log"), (0..LINES).map(|n| line(n) + "\n").collect::<String>()).unwrap();
    let yaml = format!(
        "data_dir: {dir}/data
sources: {{in: {{type: file, include: [{dir}/in.log], decode: text}}}}
sinks: {{out: {{type: file, inputs: [in], path: {dir}/out.log, encoding: text}}}}
",
        dir = dir.path().display()
    );
    let load = move || {
        let files = [("test.yaml", &*yaml)];
        let loaded =
            crate::pipeline::load_texts(&files, &crate::settings::ProcessEnvironment, crate::registry::built_in());
        loaded.config.ok_or_else(|| loaded.report.render())
    };
    let mut blueprint = assemble(load().unwrap(), false).unwrap();
    blueprint.sinks[0].run = SinkRun::Thread(Box::new(|input| {
        let _lost = input.recv_timeout(Duration::from_secs(60));
        panic!("with a batch in its hand");
    }));
    let mut running = start_supervised(blueprint, Some(Arc::new(load))).unwrap();
    let out = || std::fs::read_to_string(dir.path().join("out.log")).unwrap_or_default();
    let there = || out().lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    let health = running.health.clone();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while there().len() < LINES {
        assert!(std::time::Instant::now() < deadline, "{} lines", there().len());
        // Failures are seen to while somebody waits.
        _ = tokio::time::timeout(Duration::from_millis(20), running.wait()).await;
    }
    let all = there();
    assert!((0..LINES).all(|n| all.contains(&line(n))));
    _ = tokio::time::timeout(Duration::from_millis(20), running.wait()).await;
    for (id, health) in health.now().iter() {
        assert_eq!(health.failing_for(Duration::ZERO), None, "{id}");
    }
    running.shutdown().cancel();
    let summary = running.wait().await;
    assert!(summary.failed.is_empty() && !summary.timed_out, "{summary:?}");
    let totals = |n: usize| running.ledger.now().components[n].snapshot();
    assert!(totals(1).dropped["failed"] > 0 && totals(1).restarts == 1 && totals(0).restarts == 1, "{:?}", totals(1));
    assert_eq!((totals(0).balance(), totals(1).balance(), totals(1).held), (0, 0, 0));
    assert_eq!(out().lines().count() as u64, totals(1).events_out);
}

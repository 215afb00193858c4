//! Parts that fail: the others go on, the part comes back by itself, and what went in is what came out.

use crate::agent::{Agent, assert_balanced, config, eventually, get, ledger, lines, nobody, tidegate};
use rustix::process::Signal;
use serde_json::{Value as Json, json};
use std::collections::VecDeque;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tidegate::{Components, EventChange, Events, Fate, Feed, Field, Outcome, Pipeline, Sink, Source, Transform};

type Numbers = Arc<Mutex<Vec<u64>>>;

/// Keeps the numbers of its events; panics where the one with this count comes, as often as it may.
struct Keeping {
    n: Field,
    kept: Numbers,
    taken: Arc<AtomicU64>,
    panics_at: u64,
    panics_left: Arc<AtomicU64>,
}

impl Sink for Keeping {
    fn take(&mut self, events: Events<'_>) -> Result<(), String> {
        let numbers: Vec<u64> = events.iter().filter_map(|event| event.get(&self.n)?.as_u64()).collect();
        let taken = self.taken.load(Ordering::SeqCst);
        if (taken..taken + numbers.len() as u64).contains(&self.panics_at) {
            let left = self.panics_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            assert!(left.is_err(), "event {}", self.panics_at);
        }
        self.taken.fetch_add(numbers.len() as u64, Ordering::SeqCst);
        self.kept.lock().unwrap().extend(numbers);
        Ok(())
    }
}

/// What a type of sink keeps, and what it is told.
#[derive(Clone)]
struct Kept {
    numbers: Numbers,
    taken: Arc<AtomicU64>,
    panics_left: Arc<AtomicU64>,
    /// A sink that is made anew waits for it.
    gate: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
}

impl Kept {
    fn new(panics: u64) -> Kept {
        Kept {
            numbers: Arc::default(),
            taken: Arc::default(),
            panics_left: Arc::new(AtomicU64::new(panics)),
            gate: Arc::new(AtomicBool::new(true)),
            made: Arc::default(),
        }
    }

    fn make(&self, settings: &Json) -> Result<Keeping, String> {
        if self.made.fetch_add(1, Ordering::SeqCst) > 0 {
            eventually("it may be made", || self.gate.load(Ordering::SeqCst));
        }
        Ok(Keeping {
            n: Field::new("n")?,
            kept: self.numbers.clone(),
            taken: self.taken.clone(),
            panics_at: settings["panics_at"].as_u64().unwrap_or(u64::MAX),
            panics_left: self.panics_left.clone(),
        })
    }

    fn len(&self) -> u64 {
        self.numbers.lock().unwrap().len() as u64
    }

    #[track_caller]
    fn assert_all(&self, n: u64) {
        let numbers = self.numbers.lock().unwrap();
        assert!(numbers.iter().copied().eq(0..n), "each of {n} once, in order: {} of them", numbers.len());
    }
}

#[track_caller]
fn assert_good(outcome: &Outcome) {
    assert!(outcome.is_good(), "{outcome:?}");
    for t in &outcome.totals {
        assert_eq!(t.events_in + t.created, t.out + t.dropped + t.rejected + t.held, "{t:?}");
    }
}

const EVENTS: u64 = 5_000;

fn input(dir: &Path, events: u64) {
    long_input(dir, events, 0);
}

/// With so many bytes of blanks in each line.
fn long_input(dir: &Path, events: u64, blanks: usize) {
    let text: String = (0..events).map(|n| format!("{{\"n\":{n}{:blanks$}}}\n", "")).collect();
    std::fs::write(dir.join("in.log"), text).unwrap();
}

/// The rest of the graph gets everything before the sink is even made anew; then that has all of it too, once each.
#[test]
fn a_sink_that_panics_comes_back_with_what_it_had_and_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    // Of several batches.
    long_input(dir.path(), EVENTS, 500);
    let (fragile, other) = (Kept::new(1), Kept::new(0));
    fragile.gate.store(false, Ordering::SeqCst);
    let components = Components::built_in()
        .sink("fragile", {
            let kept = fragile.clone();
            move |settings: Json| kept.make(&settings)
        })
        .sink("steady", {
            let kept = other.clone();
            move |settings: Json| kept.make(&settings)
        });
    let running = Pipeline::builder()
        .set("data_dir", dir.path().join("data").display().to_string())
        .source("in", json!({"type": "file", "include": [dir.path().join("in.log")], "decode": "json"}))
        .sink("out", json!({"type": "fragile", "inputs": ["in"], "panics_at": 1000}))
        .sink("other", json!({"type": "steady", "inputs": ["in"]}))
        .build(&components)
        .unwrap()
        .start()
        .unwrap();
    eventually("the other one has everything", || other.len() == EVENTS);
    assert!(fragile.len() <= 1_000, "{}", fragile.len());
    fragile.gate.store(true, Ordering::SeqCst);
    eventually("it has everything", || fragile.len() == EVENTS);
    running.stop();
    let outcome = running.wait();
    assert_good(&outcome);
    fragile.assert_all(EVENTS);
    other.assert_all(EVENTS);
}

/// Puts out what is left of its numbers; fails, by a panic or in words, as often as it is told.
struct Counting {
    next: Arc<AtomicU64>,
    until: u64,
    fails_at: Arc<Mutex<VecDeque<(u64, bool)>>>,
}

impl Source for Counting {
    fn run(self: Box<Self>, feed: &Feed) -> Result<(), String> {
        while !feed.is_stopping() {
            let n = self.next.load(Ordering::SeqCst);
            if n >= self.until {
                std::thread::park_timeout(std::time::Duration::from_millis(1));
                continue;
            }
            let fails = self.fails_at.lock().unwrap().pop_front_if(|(at, _)| *at == n);
            match fails {
                Some((at, true)) => panic!("at {at}"),
                Some((at, false)) => return Err(format!("it cannot go on at {at}")),
                None => {}
            }
            if !feed.send(format!("{{\"n\":{n}}}\n")) {
                break;
            }
            self.next.store(n + 1, Ordering::SeqCst);
        }
        Ok(())
    }
}

#[test]
fn a_source_that_fails_or_panics_goes_on_and_is_an_idle_one_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (out, other) = (Kept::new(0), Kept::new(0));
    let fails_at = Arc::new(Mutex::new(VecDeque::from([(0, false), (300, true)])));
    let components = Components::built_in()
        .source("failing", {
            let (next, fails_at) = (Arc::<AtomicU64>::default(), fails_at.clone());
            move |_| Ok(Counting { next: next.clone(), until: 1_000, fails_at: fails_at.clone() })
        })
        .source("steady", {
            let next = Arc::<AtomicU64>::default();
            move |_| Ok(Counting { next: next.clone(), until: 1_000, fails_at: Arc::default() })
        })
        .sink("out", {
            let kept = out.clone();
            move |settings: Json| kept.make(&settings)
        })
        .sink("other", {
            let kept = other.clone();
            move |settings: Json| kept.make(&settings)
        });
    let running = Pipeline::builder()
        .set("data_dir", dir.path().join("data").display().to_string())
        .source("a", json!({"type": "failing", "decode": "json"}))
        .source("b", json!({"type": "steady", "decode": "json"}))
        .sink("out", json!({"type": "out", "inputs": ["a"]}))
        .sink("other", json!({"type": "other", "inputs": ["b"]}))
        .build(&components)
        .unwrap()
        .start()
        .unwrap();
    eventually("both have everything", || out.len() == 1_000 && other.len() == 1_000);
    assert!(fails_at.lock().unwrap().is_empty());
    running.stop();
    let outcome = running.wait();
    assert_good(&outcome);
    out.assert_all(1_000);
    other.assert_all(1_000);
}

/// Nothing else keeps the workers.
#[test]
fn a_source_that_is_the_only_one_comes_back_too() {
    let dir = tempfile::tempdir().unwrap();
    let out = Kept::new(0);
    let fails_at = Arc::new(Mutex::new(VecDeque::from([(10, true), (20, false)])));
    let components = Components::built_in()
        .source("failing", {
            let next = Arc::<AtomicU64>::default();
            move |_| Ok(Counting { next: next.clone(), until: 100, fails_at: fails_at.clone() })
        })
        .sink("out", {
            let kept = out.clone();
            move |settings: Json| kept.make(&settings)
        });
    let running = Pipeline::builder()
        .set("data_dir", dir.path().join("data").display().to_string())
        .source("in", json!({"type": "failing", "decode": "json"}))
        .sink("out", json!({"type": "out", "inputs": ["in"]}))
        .build(&components)
        .unwrap()
        .start()
        .unwrap();
    eventually("it has everything", || out.len() == 100);
    running.stop();
    assert_good(&running.wait());
    out.assert_all(100);
}

/// Panics on some numbers.
#[derive(Clone)]
struct Picky {
    n: Field,
    at: Vec<u64>,
}

impl Transform for Picky {
    fn apply(&mut self, event: &mut EventChange<'_>) -> Fate {
        let n = event.event().get(&self.n).and_then(|n| n.as_u64()).unwrap();
        assert!(!self.at.contains(&n), "number {n}");
        Fate::Keep
    }
}

#[test]
fn a_transform_that_panics_on_some_events_costs_these_and_no_others() {
    let at = [7, 2_500, 2_501, EVENTS - 1];
    let picky = move |_: Json| Ok(Picky { n: Field::new("n")?, at: at.to_vec() });
    for reads_rejected in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        input(dir.path(), EVENTS);
        let out = Kept::new(0);
        let components = Components::built_in().transform("picky", picky).sink("out", {
            let kept = out.clone();
            move |settings: Json| kept.make(&settings)
        });
        let letters = dir.path().join("letters.log");
        let mut pipeline = Pipeline::builder()
            .set("data_dir", dir.path().join("data").display().to_string())
            .source("in", json!({"type": "file", "include": [dir.path().join("in.log")], "decode": "json"}))
            .transform("t", json!({"type": "picky", "inputs": ["in"]}))
            .sink("out", json!({"type": "out", "inputs": ["t"]}));
        if reads_rejected {
            pipeline = pipeline.sink("letters", json!({"type": "file", "inputs": ["t.rejected"], "path": letters}));
        }
        let outcome = pipeline.build(&components).unwrap().once().start().unwrap().wait();
        assert_good(&outcome);
        let numbers = out.numbers.lock().unwrap().clone();
        assert!(numbers.into_iter().eq((0..EVENTS).filter(|n| !at.contains(n))));
        let totals = outcome.totals.iter().find(|t| t.component == "t").unwrap();
        let want = if reads_rejected { (0, 4) } else { (4, 0) };
        assert_eq!((totals.dropped, totals.rejected), want, "{totals:?}");
        let refused: Vec<Json> = lines(&letters).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let refused: Vec<(u64, &str)> = refused
            .iter()
            .map(|l| (l["event"]["n"].as_u64().unwrap(), l["tidegate"]["reason"].as_str().unwrap()))
            .collect();
        let want: Vec<(u64, &str)> = if reads_rejected { at.map(|n| (n, "panic")).to_vec() } else { Vec::new() };
        assert_eq!(refused, want);
    }
}

#[test]
fn one_that_fails_too_often_ends_the_run_and_what_others_have_is_delivered() {
    for max in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        input(dir.path(), EVENTS);
        let (fragile, other) = (Kept::new(100), Kept::new(0));
        let components = Components::built_in()
            .sink("fragile", {
                let kept = fragile.clone();
                move |settings: Json| kept.make(&settings)
            })
            .sink("steady", {
                let kept = other.clone();
                move |settings: Json| kept.make(&settings)
            });
        let outcome = Pipeline::builder()
            .set("data_dir", dir.path().join("data").display().to_string())
            .set("restart", json!({"max": max, "within": "10m"}))
            .source("in", json!({"type": "file", "include": [dir.path().join("in.log")], "decode": "json"}))
            .sink("out", json!({"type": "fragile", "inputs": ["in"], "panics_at": 0}))
            .sink("other", json!({"type": "steady", "inputs": ["in"]}))
            .build(&components)
            .unwrap()
            .start()
            .unwrap()
            .wait();
        assert!(!outcome.is_good());
        assert_eq!(outcome.failed.len(), 1, "{outcome:?}");
        assert!(outcome.failed[0].0 == "out" && outcome.failed[0].1.contains("event 0"), "{outcome:?}");
        assert_eq!(100 - fragile.panics_left.load(Ordering::SeqCst), max + 1, "tried as often as it may");
        for t in &outcome.totals {
            assert_eq!(t.events_in + t.created, t.out + t.dropped + t.rejected + t.held, "{t:?}");
        }
        let steady = outcome.totals.iter().find(|t| t.component == "other").unwrap();
        assert_eq!((steady.out, steady.held), (other.len(), 0));
    }
}

// ---- the program ---------------------------------------------------------------------------------------------------

/// A console whose reader has gone fails with its first event.
fn console(api: &str, more: &str, sink: &str) -> String {
    format!(
        "data_dir: ./data
api: {{listen: \"{api}\"}}
{more}
sources:
  in: {{type: file, include: [in.log], decode: json}}
sinks:
  out: {{type: console, inputs: [in]{sink}}}
  other: {{type: file, inputs: [in], path: other.log}}
"
    )
}

/// An agent with a standard output that nobody reads.
struct Unread {
    child: std::process::Child,
    said: Arc<Mutex<String>>,
    reader: std::thread::JoinHandle<()>,
}

impl Unread {
    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    fn wait(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        self.reader.join().unwrap();
        let said = self.said.lock().unwrap().clone();
        (status.code(), said)
    }
}

fn unread(dir: &Path) -> Unread {
    let mut command = tidegate(dir, &["run", "--config", "tidegate.yaml"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let said = Arc::new(Mutex::new(String::new()));
    let (to, mut from) = (said.clone(), child.stderr.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = std::io::Read::read(&mut from, &mut buf) {
            to.lock().unwrap().push_str(&String::from_utf8_lossy(&buf[..n]));
        }
    });
    Unread { child, said, reader }
}

fn value(page: &str, metric: &str, id: &str) -> Option<f64> {
    let start = format!("{metric}{{component_id=\"{id}\",");
    page.lines().find(|line| line.starts_with(&start))?.rsplit(' ').next()?.parse().ok()
}

/// While it waits, whoever asks is told; a reload in the middle of the wait begins it at once with its other settings, and what it had.
#[test]
fn a_sink_that_is_down_is_named_and_a_reload_mends_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let api = nobody().to_string();
    input(dir, 10);
    config(dir, &console(&api, "", ""));
    let agent = unread(dir);
    let said = || agent.said();
    eventually("it has failed several times", || said().matches("has failed and is started again").count() >= 3);
    eventually("it is named", || get(&api, "/ready").1.contains("out: down, started again"));
    let page = get(&api, "/metrics").1;
    let up = |page: &str| ["in", "other", "out"].map(|id| value(page, "tidegate_component_up", id));
    assert_eq!(up(&page), [Some(1.0), Some(1.0), Some(0.0)], "{page}");
    assert!(value(&page, "tidegate_component_restarts_total", "out") >= Some(2.0), "{page}");
    // The others go on.
    let mut more = std::fs::OpenOptions::new().append(true).open(dir.join("in.log")).unwrap();
    writeln!(more, "{{\"n\":10}}").unwrap();
    eventually("the other sink has it", || lines(&dir.join("other.log")).len() == 11);
    config(dir, &console(&api, "", ", target: stderr"));
    agent.signal(Signal::HUP);
    eventually("what it had is there", || said().contains("{\"n\":0}") && said().contains("{\"n\":10}"));
    eventually("all is well", || get(&api, "/ready").0 == 200);
    assert_eq!(up(&get(&api, "/metrics").1), [Some(1.0); 3]);
    agent.signal(Signal::TERM);
    let (code, said) = agent.wait();
    assert_eq!(code, Some(0), "{said}");
    assert_balanced(&said);
    for n in 0..=10 {
        assert_eq!(said.matches(&format!("{{\"n\":{n}}}")).count(), 1, "{n}: {said}");
    }
    assert_eq!(lines(&dir.join("other.log")).len(), 11);
}

#[test]
fn beyond_the_most_the_agent_drains_and_exits_with_1() {
    for (max, failures) in [(0, 0), (2, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let api = nobody().to_string();
        input(dir, 10);
        config(dir, &console(&api, &format!("restart: {{max: {max}, within: 10m}}"), ""));
        let (code, said) = unread(dir).wait();
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(said.matches("has failed and is started again").count(), failures, "{said}");
        assert!(said.contains("a component has failed; stopping"), "{said}");
        assert_balanced(&said);
        assert_eq!(lines(&dir.join("other.log")).len(), 10, "{said}");
        let held = ledger(&said).iter().find(|(id, _)| id == "out").unwrap().1[5];
        assert_eq!(held, 10, "{said}");
    }
}

#[test]
fn one_that_is_removed_while_it_is_down_is_gone_with_what_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let api = nobody().to_string();
    input(dir, 10);
    config(dir, &console(&api, "", ""));
    let agent = unread(dir);
    let said = || agent.said();
    eventually("it has failed", || said().contains("has failed and is started again"));
    eventually("the other sink has it", || lines(&dir.join("other.log")).len() == 10);
    let without: String = console(&api, "", "")
        .lines()
        .filter(|line| !line.contains("console"))
        .map(|line| format!("{line}\n"))
        .collect();
    config(dir, &without);
    agent.signal(Signal::HUP);
    eventually("it takes over", || said().contains("has taken over"));
    eventually("all is well", || get(&api, "/ready").0 == 200);
    eventually("its rest is dropped", || get(&api, "/metrics").1.contains("reason=\"removed\"} 10"));
    agent.signal(Signal::TERM);
    let (code, said) = agent.wait();
    assert_eq!(code, Some(0), "{said}");
    assert_balanced(&said);
}

/// Two sources; the folder of one vanishes and comes back.
#[test]
fn a_source_whose_folder_vanishes_and_comes_back_reads_on_and_others_notice_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(
        dir,
        "data_dir: ./data
sources:
  a: {type: file, include: [logs/*.log], decode: text, glob_interval: 100ms}
  b: {type: file, include: [b.log], decode: text}
sinks:
  a_out: {type: file, inputs: [a], path: a.out, encoding: text}
  b_out: {type: file, inputs: [b], path: b.out, encoding: text}
",
    );
    let write = |path: &str, from: u64, to: u64| {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(dir.join(path)).unwrap();
        (from..to).for_each(|n| writeln!(file, "line {n}").unwrap());
    };
    std::fs::create_dir(dir.join("logs")).unwrap();
    write("logs/x.log", 0, 100);
    write("b.log", 0, 100);
    let agent = Agent::run(dir, &[]);
    let count = |path: &str| lines(&dir.join(path)).len();
    eventually("it reads", || count("a.out") == 100 && count("b.out") == 100);
    std::fs::remove_dir_all(dir.join("logs")).unwrap();
    write("b.log", 100, 200);
    eventually("the other one goes on", || count("b.out") == 200);
    std::fs::create_dir(dir.join("logs")).unwrap();
    write("logs/y.log", 100, 200);
    eventually("it is back", || count("a.out") == 200);
    let said = agent.stop();
    for path in ["a.out", "b.out"] {
        assert!(lines(&dir.join(path)).into_iter().eq((0..200).map(|n| format!("line {n}"))), "{path}: {said}");
    }
}

/// A disk that fills under one of two file sinks, until there is room again.
#[test]
fn a_file_sink_on_a_full_disk_waits_alone_and_goes_on_where_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let disk = dir.join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tidegate-test"]).arg(&disk).output();
    if !mount.is_ok_and(|out| out.status.success()) {
        println!("skipped: no right to mount");
        return;
    }
    std::fs::write(disk.join("filler"), vec![0; 32 << 10]).unwrap();
    let api = nobody().to_string();
    config(
        dir,
        &format!(
            "data_dir: ./data
api: {{listen: \"{api}\"}}
sources:
  in: {{type: file, include: [in.log], decode: json}}
sinks:
  full: {{type: file, inputs: [in], path: ./disk/out}}
  other: {{type: file, inputs: [in], path: ./other}}
"
        ),
    );
    input(dir, EVENTS);
    let agent = Agent::run(dir, &[]);
    eventually("it is named", || get_or_nothing(&api, "/ready").contains("full: "));
    eventually("the other one has everything", || lines(&dir.join("other")).len() as u64 == EVENTS);
    assert!((lines(&disk.join("out")).len() as u64) < EVENTS);
    std::fs::remove_file(disk.join("filler")).unwrap();
    let mounted = Command::new("mount").args(["-o", "remount,size=4m"]).arg(&disk).status();
    assert!(mounted.unwrap().success());
    eventually("it has everything", || lines(&disk.join("out")).len() as u64 >= EVENTS);
    eventually("all is well", || get(&api, "/ready").0 == 200);
    let said = agent.stop();
    let want = || (0..EVENTS).map(|n| format!("{{\"n\":{n}}}"));
    let (full, other) = (lines(&disk.join("out")), lines(&dir.join("other")));
    drop(Command::new("umount").arg("-l").arg(&disk).status());
    assert!(full.into_iter().eq(want()), "{said}");
    assert!(other.into_iter().eq(want()), "{said}");
}

/// As [`get`], where the agent may not listen yet.
fn get_or_nothing(address: &str, path: &str) -> String {
    match std::net::TcpStream::connect(address) {
        Ok(_) => get(address, path).1,
        Err(_) => String::new(),
    }
}

//! A sink that hangs beside one that does not: who waits, what is dropped, how much memory it takes, and what arrives when
//! the far side is back.

use crate::agent::{Agent, assert_balanced, config, eventually, get, ledger};
use crate::corpus;
use crate::openobserve_double::{Double, Fault, PASSWORD, Setup, USER};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const EVENTS: usize = 100_000;
/// What the buffer of the sink holds at most; the input is 40 times as much.
const BUFFER: u64 = 1 << 20;

fn write_config(dir: &Path, url: &str, when_full: &str) {
    config(
        dir,
        &format!(
            "data_dir: ./data
api: {{listen: \"127.0.0.1:0\"}}
sources:
  in: {{type: file, include: [in.ndjson], decode: json}}
sinks:
  steady: {{type: file, inputs: [in], path: out.ndjson}}
  stuck:
    type: openobserve
    inputs: [in]
    url: \"{url}\"
    stream: s
    auth: {{basic: {{user: \"{USER}\", password: \"{PASSWORD}\"}}}}
    healthcheck: false
    timeout: 1s
    retry: {{initial: 10ms, max: 100ms}}
    circuit_breaker: {{failures: 5, reset: 100ms}}
    buffer: {{type: memory, max_bytes: {BUFFER}, when_full: {when_full}}}
"
        ),
    );
    std::fs::write(dir.join("in.ndjson"), corpus::app(EVENTS)).unwrap();
}

/// A server that answers nothing while the flag is up.
fn hanging() -> (Double, Arc<AtomicBool>) {
    // The corpus is of a fixed day.
    let double = Double::start(Setup { window: (1_000_000, 24), ..Setup::default() });
    let hangs = Arc::new(AtomicBool::new(true));
    let flag = hangs.clone();
    double.script(move |_, _| flag.load(Ordering::SeqCst).then_some(Fault::Never));
    (double, hangs)
}

fn lines_of(path: &Path) -> usize {
    std::fs::read(path).map_or(0, |bytes| bytes.iter().filter(|b| **b == b'\n').count())
}

fn line(api: &str, id: &str) -> Value {
    let ledger: Value = serde_json::from_str(&get(api, "/api/v1/ledger").1).unwrap();
    ledger.as_array().unwrap().iter().find(|c| c["component"] == id).cloned().unwrap()
}

/// Sequence numbers of what the server has.
fn stored(double: &Double) -> Vec<u64> {
    let mut stored: Vec<u64> = double.stored("s").iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    stored.sort_unstable();
    stored
}

/// How long the steady sink takes for everything, with a server that hangs or not; the agent goes on running.
fn race(when_full: &str, hang: bool) -> (Duration, Agent, Double, Arc<AtomicBool>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (double, hangs) = hanging();
    hangs.store(hang, Ordering::SeqCst);
    write_config(dir.path(), &double.url(), when_full);
    let started = Instant::now();
    let agent = Agent::run(dir.path(), &[]);
    let out = dir.path().join("out.ndjson");
    let whole = std::fs::metadata(dir.path().join("in.ndjson")).unwrap().len() / 2;
    eventually("the steady sink has everything", || {
        std::fs::metadata(&out).map_or(0, |m| m.len()) > whole && lines_of(&out) == EVENTS
    });
    (started.elapsed(), agent, double, hangs, dir)
}

#[test]
fn a_sink_that_drops_does_not_hold_up_the_others_and_counts_what_it_drops() {
    for when_full in ["drop_newest", "drop_oldest"] {
        let (answering, agent, ..) = race(when_full, false);
        drop(agent);
        let (hanging, agent, double, hangs, _dir) = race(when_full, true);
        println!("{when_full}: {answering:?} beside a server that answers, {hanging:?} beside one that hangs");
        // A fraction of either is spent starting; the machine is busy with other tests.
        assert!(hanging < answering * 2 + Duration::from_secs(2), "{answering:?} became {hanging:?}");
        assert_eq!(double.stored("s").len(), 0);
        let peak = agent.peak_rss() - agent.program_rss();
        assert!(peak < MOST_RESIDENT, "{peak} bytes resident");
        hangs.store(false, Ordering::SeqCst);
        let api = agent.addresses().remove(0);
        eventually("what was kept is delivered", || {
            let stuck = line(&api, "stuck");
            stuck["in"] == EVENTS && stuck["held"] == 0
        });
        let said = agent.stop();
        assert_balanced(&said);
        let [came, _, out, dropped, rejected, held] =
            ledger(&said).into_iter().find(|(id, _)| id == "stuck").unwrap().1;
        assert_eq!((came, out + dropped, rejected, held), (EVENTS as u64, EVENTS as u64, 0, 0), "{said}");
        assert!(dropped > 0 && out > 0, "{said}");
        let mut arrived = stored(&double);
        arrived.dedup();
        assert_eq!(arrived.len() as u64, out, "what was not dropped has arrived");
        let newest = arrived.last() == Some(&(EVENTS as u64 - 1));
        println!(
            "{when_full}: {out} arrived, from {:?} to {:?}; peak {} KiB",
            arrived.first(),
            arrived.last(),
            peak >> 10
        );
        assert_eq!(newest, when_full == "drop_oldest", "which end of the queue is dropped");
    }
}

/// Beside the program itself; of which 24 MiB are what `memory_limit` allows.
const MOST_RESIDENT: u64 = 38 << 20;

#[test]
fn a_sink_that_blocks_stops_the_others_when_its_buffer_is_full_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (double, hangs) = hanging();
    write_config(dir.path(), &double.url(), "block");
    let agent = Agent::run(dir.path(), &[]);
    let out = dir.path().join("out.ndjson");
    // They go on until the buffer is full, and then wait: no more comes while three requests time out.
    let mut last = (0, Instant::now());
    eventually("everything waits", || {
        let size = std::fs::metadata(&out).map_or(0, |m| m.len());
        if size != last.0 {
            last = (size, Instant::now());
        }
        size > 0 && last.1.elapsed() > Duration::from_secs(3)
    });
    let waiting = lines_of(&out);
    assert!(waiting > 0 && waiting < EVENTS / 2, "{waiting} of {EVENTS} came through");
    let api = agent.addresses().remove(0);
    let held = line(&api, "stuck")["held"].as_u64().unwrap();
    assert!(held > 0);
    let (before, requests) = (agent.rss(), double.posts().len());
    eventually("more requests have timed out", || double.posts().len() > requests + 5);
    let after = agent.rss();
    println!("waiting: {held} events held, {} KiB resident, later {} KiB", before >> 10, after >> 10);
    assert!(after < before + (4 << 20), "memory grew from {before} to {after} while nothing moved");
    assert_eq!(lines_of(&out), waiting, "nothing goes round a sink that blocks");

    hangs.store(false, Ordering::SeqCst);
    eventually("everything arrives", || lines_of(&out) == EVENTS && line(&api, "stuck")["out"] == EVENTS);
    let peak = agent.peak_rss() - agent.program_rss();
    assert!(peak < MOST_RESIDENT, "{peak} bytes resident");
    assert_balanced(&agent.stop());
    // At least once: a request that had no answer in time may have been stored all the same.
    let mut arrived = stored(&double);
    let all = arrived.len();
    arrived.dedup();
    println!("{} repeated", all - arrived.len());
    assert!(arrived.into_iter().eq(0..EVENTS as u64), "each is there");
}

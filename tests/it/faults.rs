//! Nothing is lost under fire: kills at random instants, servers that are down or fail at random, a stop with a dead sink,
//! memory with a dead sink. Each test has a short form, which runs with the others, and a long one: `TIDEGATE_LONG=1`, best
//! with `--release --nocapture faults`.

use crate::agent::{Agent, assert_balanced, config, eventually, ledger, lines, nobody, output, tidegate};
use crate::tally::{Fate, Tally, line};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

fn long() -> bool {
    std::env::var_os("TIDEGATE_LONG").is_some()
}

/// The sink `o2` at `url`, quick to try again.
fn sink(url: &str, settings: &str) -> String {
    format!(
        "  o2:
    type: openobserve
    inputs: [in]
    url: \"{url}\"
    stream: s
    healthcheck: false
    compression: none
    circuit_breaker: {{failures: 5, reset: 50ms}}
    retry: {{initial: 5ms, max: 50ms}}
    {settings}
"
    )
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// `tidegate audit` on the folder of state: its exit code and what it shows.
fn audit(dir: &Path) -> (Option<i32>, String) {
    let (code, stdout, stderr) = output(tidegate(dir, &["audit", "--data-dir", "data"]));
    (code, stdout + &stderr)
}

/// Events that the sink `o2` holds, as the ledger of the running agent say.
fn held(dir: &Path) -> Option<u64> {
    let run_ledger = audit(dir).1;
    run_ledger.lines().find(|l| l.starts_with("o2 ")).and_then(|l| l.split_whitespace().nth(8)?.parse().ok())
}

/// What was in flight when the agent was killed, by what it left on disk: the records in the buffer that are not noted as
/// settled, and all from the first on that the checkpoint does not cover.
struct InFlight {
    buffered: BTreeSet<u32>,
    from: u32,
}

impl InFlight {
    /// `starts` has the place of each line in the input.
    fn left_in(dir: &Path, starts: &[u64]) -> InFlight {
        let (code, text, said) = output(tidegate(dir, &["checkpoint", "show", "--json", "--data-dir", "data"]));
        assert_eq!(code, Some(0), "{said}");
        let shown: Value = serde_json::from_str(&text).unwrap();
        let offset = shown.as_array().unwrap().iter().map(|f| f["offset"].as_u64().unwrap()).max().unwrap_or(0);
        let from = starts.partition_point(|start| *start < offset) as u32;
        let (code, text, said) = output(tidegate(dir, &["buffer", "cat", "o2", "--data-dir", "data"]));
        // Killed before it had made one.
        let buffered = match code {
            Some(0) => {
                text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["n"].as_u64().unwrap() as u32).collect()
            }
            _ => {
                assert!(!dir.join("data/buffer/o2").exists(), "{said}");
                BTreeSet::new()
            }
        };
        InFlight { buffered, from }
    }

    fn holds(&self, n: u32) -> bool {
        n >= self.from || self.buffered.contains(&n)
    }
}

/// kill -9 at random instants in file → transforms → disk buffer → a server that fails at random.
#[test]
fn kills_at_random_instants_lose_nothing() {
    let (kills, records) = if long() { (200, 100_000) } else { (10, 10_000) };
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed} (TIDEGATE_SEED)");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut chance = random.fork();
    let server = Tally::start(move || match chance.u32(0..100) {
        0..10 => Fate::Refuse(500),
        10..14 => Fate::Refuse(429),
        14..20 => Fate::Break,
        20..24 => Fate::StoreAndBreak,
        24..30 => Fate::Slow(Duration::from_millis(20)),
        _ => Fate::Store,
    });
    let dir = tempfile::tempdir().unwrap();
    let settings = "batch: {max_events: 200, timeout: 10ms}
    buffer: {type: disk, max_size: 16MiB}
    dead_letter: rejects";
    config(
        dir.path(),
        &format!(
            "data_dir: ./data
sources: {{in: {{type: file, include: [./in.ndjson], decode: json}}}}
transforms:
  shape: {{type: normalize, inputs: [in], schema: log, keep_rest: root}}
  clean: {{type: redact, inputs: [shape], detect: [secrets, email]}}
sinks:
{}  rejects: {{type: file, path: ./rejects.ndjson}}
",
            sink(&server.url(), settings).replace("inputs: [in]", "inputs: [clean]")
        ),
    );
    let input = dir.path().join("in.ndjson");
    let (mut written, mut most) = (0u32, 0);
    let mut repeats_before = 0;
    let starts: Vec<u64> =
        (0..records).scan(0, |at, n| Some(std::mem::replace(at, *at + line(0, n, 100).len() as u64))).collect();
    let (mut seen, mut before) = (0, InFlight { buffered: BTreeSet::new(), from: 0 });
    for kill in 0..kills {
        let until = records * (kill + 1) / kills;
        let half = written + (until - written) / 2;
        append(&input, &(written..half).map(|n| line(0, n, 100)).collect::<String>());
        let agent = Agent::run(dir.path(), &[]);
        // Not a wait for something: the instant is left to chance on purpose.
        std::thread::sleep(Duration::from_millis(random.u64(0..400)));
        append(&input, &(half..until).map(|n| line(0, n, 100)).collect::<String>());
        std::thread::sleep(Duration::from_millis(random.u64(0..150)));
        agent.kill();
        written = until;
        // Nothing that was settled on disk before this life came again in it.
        for (_, n) in &server.stored()[seen..] {
            assert!(before.holds(*n), "seed {seed}, kill {kill}: record {n} was settled before, and came again");
        }
        seen = server.count();
        before = InFlight::left_in(dir.path(), &starts);
        let repeats = server.count() - unique(&server.stored());
        println!(
            "kill {kill}: {} stored, {} different, {} requests",
            server.count(),
            unique(&server.stored()),
            server.requests()
        );
        most = most.max(repeats - repeats_before);
        repeats_before = repeats;
    }
    assert_eq!(written, records);
    let (agent, began) = (Agent::run(dir.path(), &[]), Instant::now());
    eventually("all records are there", || unique(&server.stored()) == records as usize);
    // Before it has opened the buffer, the ledger know nothing of what is in there.
    let opened = || agent.said().contains("running") && began.elapsed() > Duration::from_secs(2);
    eventually("nothing is left in the buffer", || opened() && held(dir.path()) == Some(0));
    let said = agent.stop();
    let stored = server.stored();
    let (came, different) = (stored.len(), unique(&stored));
    let (code, run_ledger) = audit(dir.path());
    println!(
        "{kills} kills: {} of {records} lost, {} repeated, {most} at most between two kills\n{run_ledger}",
        records as usize - different,
        came - different
    );
    assert_eq!(code, Some(0), "{run_ledger}\n{said}");
    assert!(run_ledger.contains("the ledger balances"), "{run_ledger}");
    assert!(lines(&dir.path().join("rejects.ndjson")).is_empty());
    // What was in flight is no more than a tenth of a second's work on each side of the buffer, soon after a start. Several
    // short lives in a row repeat the same more than once.
    for (_, n) in &stored[seen..] {
        assert!(before.holds(*n), "seed {seed}: record {n} was settled before, and came again");
    }
    let round = (records / kills) as usize;
    assert!(came - different <= kills as usize * 4 * round, "{} repeats, {round} records a round", came - different);
}

fn unique(stored: &[(u32, u32)]) -> usize {
    let mut all = stored.to_vec();
    all.sort_unstable();
    all.dedup();
    all.len()
}

/// The server is down while everything is read; then it is there. Each origin's records come in order, and once.
#[test]
fn a_server_that_is_down_for_a_whole_run_gets_all_in_order_and_once() {
    // The long form is the input of the bench in size: 467 MB.
    let (files, each, padding) = if long() { (4, 267_000, 400) } else { (4, 5_000, 100) };
    let address = nobody();
    let dir = tempfile::tempdir().unwrap();
    let settings = "concurrency: 1
    buffer: {type: disk, max_size: 1GiB}";
    config(
        dir.path(),
        &format!(
            "data_dir: ./data\nsources: {{in: {{type: file, include: [\"./in-*.ndjson\"], decode: json}}}}\nsinks:\n{}",
            sink(&format!("http://{address}"), settings)
        ),
    );
    let mut bytes = 0;
    for f in 0..files {
        let text: String = (0..each).map(|n| line(f, n, padding)).collect();
        bytes += text.len();
        std::fs::write(dir.path().join(format!("in-{f}.ndjson")), text).unwrap();
    }
    let total = u64::from(files) * u64::from(each);
    let mut agent = Agent::run(dir.path(), &[]);
    eventually("everything is in the buffer", || held(dir.path()) == Some(total));
    let asked = Instant::now();
    agent.signal(Signal::TERM);
    let (status, said) = agent.wait();
    assert!(status.success(), "what is on disk is safe: {said}");
    assert!(asked.elapsed() < Duration::from_secs(10), "nothing is waited for that is on disk: {:?}", asked.elapsed());
    assert!(said.contains("the disk buffer keeps events for the next start"), "{said}");
    assert_eq!(ledger(&said)[1].1[5], total, "{said}");
    let server = Tally::start_on(TcpListener::bind(address).unwrap(), || Fate::Store);
    let agent = Agent::run(dir.path(), &[]);
    eventually("all is there", || server.count() as u64 >= total);
    agent.stop();
    let mut next: BTreeMap<u32, u32> = BTreeMap::new();
    for (f, n) in server.stored() {
        let next = next.entry(f).or_default();
        assert_eq!(n, *next, "file {f}: out of order, or twice");
        *next += 1;
    }
    assert!(next.len() == files as usize && next.values().all(|n| *n == each), "{next:?}");
    let (code, run_ledger) = audit(dir.path());
    println!("{bytes} bytes, {total} records, {} requests\n{run_ledger}", server.requests());
    assert_eq!(code, Some(0), "{run_ledger}");
}

/// Of two sinks one is dead, with a disk buffer that blocks: how long the other takes for everything.
fn seconds_of_the_other(server: &Tally, records: u32) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        &format!(
            "data_dir: ./data\nsources: {{in: {{type: file, include: [./in.ndjson], decode: json}}}}\nsinks:\n{}  out: {{type: file, inputs: [in], path: ./out.ndjson}}\n",
            sink(&server.url(), "buffer: {type: disk, max_size: 1GiB}")
        ),
    );
    let text: String = (0..records).map(|n| line(0, n, 380)).collect();
    std::fs::write(dir.path().join("in.ndjson"), &text).unwrap();
    let out = dir.path().join("out.ndjson");
    let mut agent = Agent::run(dir.path(), &[]);
    eventually("it begins", || std::fs::metadata(&out).is_ok_and(|m| m.len() > 0));
    let began = Instant::now();
    eventually("the other has all", || std::fs::metadata(&out).is_ok_and(|m| m.len() == text.len() as u64));
    let took = began.elapsed().as_secs_f64();
    agent.signal(Signal::TERM);
    let (_, said) = agent.wait();
    assert_balanced(&said);
    took
}

#[test]
fn a_dead_sink_with_a_disk_buffer_does_not_slow_the_other() {
    let records = if long() { 1_000_000 } else { 60_000 };
    let (mut alive, mut dead) = (f64::MAX, f64::MAX);
    for _ in 0..3 {
        // The best of three each: whatever else the machine does only slows.
        alive = alive.min(seconds_of_the_other(&Tally::start(|| Fate::Store), records));
        dead = dead.min(seconds_of_the_other(&Tally::start(|| Fate::Hang), records));
    }
    let share = alive / dead;
    println!(
        "{records} records: {alive:.2} s with the other sink answering, {dead:.2} s with it dead: {:.0} %",
        share * 100.0
    );
    // Half a second beside other tests says little about 5 %.
    assert!(share >= if long() { 0.95 } else { 0.5 }, "{share}");
}

#[test]
fn stopping_with_a_dead_sink_and_a_full_memory_buffer_is_in_time_and_says_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let settings = "buffer: {type: memory, max_bytes: 1MiB}";
    config(
        dir.path(),
        &format!(
            "data_dir: ./data\nshutdown_timeout: 1s\nsources: {{in: {{type: file, include: [./in.ndjson], decode: json}}}}\nsinks:\n{}",
            sink(&format!("http://{}", nobody()), settings)
        ),
    );
    let text: String = (0..100_000).map(|n| line(0, n, 200)).collect();
    std::fs::write(dir.path().join("in.ndjson"), text).unwrap();
    let mut agent = Agent::run(dir.path(), &[]);
    let mut last = None;
    eventually("the buffer is full", || {
        let now = held(dir.path());
        let stands = now.is_some_and(|n| n > 0) && now == last;
        last = now;
        if !stands {
            std::thread::sleep(Duration::from_millis(1100)); // the ledger is written once a second
        }
        stands
    });
    let asked = Instant::now();
    agent.signal(Signal::TERM);
    let (status, said) = agent.wait();
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(1), "not all was delivered");
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?} of 1 s");
    assert_balanced(&said);
    let [came, .., left] = ledger(&said).into_iter().find(|(id, _)| id == "o2").unwrap().1;
    assert!(left > 0 && left == came, "{said}");
    let line = said.lines().find(|l| l.contains("left undelivered at shutdown")).unwrap();
    for part in ["component=o2", &format!("events={left}"), "on_disk=0", &format!("in_memory={left}")] {
        assert!(line.contains(part), "{part} in {line}");
    }
    println!("ended {took:?} after SIGTERM with a time-out of 1 s; {line}");
    let (code, run_ledger) = audit(dir.path());
    assert_eq!(code, Some(0), "{run_ledger}");
}

/// Three dead sinks, one of which takes requests and answers nothing, and one with a disk buffer: memory stays, checkpoints are written. Under a shell with
/// a memory cgroup of 64 MiB the kernel would say so too; here resident memory is watched.
#[test]
fn a_first_start_on_many_files_with_dead_sinks_stays_within_64_mib() {
    // 1 GB of lines; in the long form 20 GB, of which a third of a megabyte in each file are lines and the rest is a hole,
    // which is passed over: the disk need not have that much.
    let (files, rounds, size) = if long() { (5_000, 1, 4 << 20) } else { (500, 7, 0) };
    let hangs = Tally::start(|| Fate::Hang);
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{}", nobody());
    let second = sink(&url, "").replace("  o2:", "  o3:");
    let third = sink(&url, "buffer: {type: disk, max_size: 64MiB}").replace("  o2:", "  o4:");
    config(
        dir.path(),
        &format!(
            "data_dir: ./data\nshutdown_timeout: 500ms\nsources: {{in: {{type: file, include: [\"./in/*.log\"], decode: json, long_lines: skip}}}}\nsinks:\n{}{second}{third}",
            sink(&hangs.url(), "")
        ),
    );
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let body: String = (0..1000).map(|n| line(7, n, 270)).collect::<String>().repeat(rounds);
    for f in 0..files {
        let path = dir.path().join(format!("in/{f}.log"));
        append(&path, &format!("{{\"file\":{f}}}\n{body}"));
        if size > 0 {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(size).unwrap();
        }
    }
    let mut agent = Agent::start(tidegate(dir.path(), &["run", "--config", "tidegate.yaml", "--log-level", "warn"]));
    let mut steady = (0, Instant::now());
    eventually("nothing more is read", || {
        let now = agent.peak_rss();
        if now != steady.0 {
            steady = (now, Instant::now());
        }
        steady.1.elapsed() > Duration::from_secs(5)
    });
    // Pages of the program itself are those of a build that is not optimised, and can be given back.
    let peak = agent.peak_rss() - agent.program_rss();
    let checkpoint =
        ["files.0", "files.1"].iter().filter_map(|name| std::fs::metadata(dir.path().join("data/in").join(name)).ok());
    let known = checkpoint.map(|m| m.len()).max().unwrap_or(0);
    assert!(known > 100 * files, "every file is in the checkpoint: {known} bytes");
    agent.signal(Signal::TERM);
    let (_, said) = agent.wait();
    assert_balanced(&said);
    let bytes = files * size.max(body.len() as u64);
    println!("{files} files, {} MB: {} KiB resident at most\n{said}", bytes / 1_000_000, peak / 1024);
    assert!(peak < 48 << 20, "{peak} beside the program");
}

/// A pipe whose reader is gone, as with `2>&1 | head`, is nobody's mistake: the agent goes on, and still ends in order.
#[test]
fn it_outlives_whoever_reads_its_log() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "data_dir: ./data
shutdown_timeout: 300ms
sources: {in: {type: file, include: [in.log]}}
sinks:
  out: {type: file, inputs: [in], path: ./out, encoding: text}
  o2: {type: openobserve, inputs: [in], url: \"http://127.0.0.1:9\", stream: s, retry: {initial: 5ms, max: 10ms}}
",
    );
    std::fs::write(dir.path().join("in.log"), "one\n").unwrap();
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml", "--log-level", "debug"]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("running") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut said, &mut line).unwrap(), 0, "it ended");
    }
    drop(said);
    let out = dir.path().join("out");
    eventually("the first line", || lines(&out).len() == 1);
    let mut file = std::fs::OpenOptions::new().append(true).open(dir.path().join("in.log")).unwrap();
    file.write_all(b"two\n").unwrap();
    eventually("the second line", || lines(&out).len() == 2);
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "what the dead sink had is left");
}

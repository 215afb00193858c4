//! kill -9, again and again, while lines go from a file to a file, to a server through a disk buffer, and to both. What went in is
//! compared with what came out: nothing is lost, nothing comes twice in files, and at a server only what was in requests
//! that had no answer.
//!
//! `TIDEGATE_KILLS=200` is the long form (`tests/long/kills.sh`).

use crate::agent::{Agent, config, eventually, lines, nobody, output, tidegate};
use crate::openobserve_double::{Double, Fault, PASSWORD, Setup, Step, USER};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

fn kills() -> usize {
    std::env::var("TIDEGATE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20)
}

/// Other moments each time, where it is asked for.
fn random(seed: u64) -> fastrand::Rng {
    let more = std::env::var("TIDEGATE_SEED").ok().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    fastrand::Rng::with_seed(seed + 1000 * more)
}

fn line(n: u64) -> String {
    format!("{{\"n\":{n},\"message\":\"{}\"}}", "some text ".repeat((n % 17) as usize))
}

/// A writer that goes on beside the agent, and renames its file now and then.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    /// Writes to `dir/in.log`, `burst` lines at a time; with `rotate` it renames the file after each so many bursts.
    fn start(dir: &Path, burst: u64, rotate: Option<u64>) -> Writer {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count, path) = (stop.clone(), written.clone(), dir.join("in.log"));
        let thread = std::thread::spawn(move || {
            let (mut n, mut bursts) = (0, 0);
            let open = || std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
            let mut file = open();
            while !stopped.load(Ordering::SeqCst) {
                let mut text = String::new();
                for n in n..n + burst {
                    writeln!(text, "{}", line(n)).unwrap();
                }
                file.write_all(text.as_bytes()).unwrap();
                (n, bursts) = (n + burst, bursts + 1);
                count.store(n, Ordering::SeqCst);
                if rotate.is_some_and(|every| bursts % every == 0) {
                    std::fs::rename(&path, path.with_extension(format!("log.{bursts}"))).unwrap();
                    file = open();
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
        });
        Writer { stop, written, thread: Some(thread) }
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Stops; how many lines it wrote.
    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        self.written()
    }
}

/// Waits until `progress` has grown, and some milliseconds.
fn wait_for_progress(random: &mut fastrand::Rng, mut progress: impl FnMut() -> u64) {
    let before = progress();
    eventually("it gets on", || progress() > before);
    std::thread::park_timeout(Duration::from_millis(random.u64(0..120)));
}

/// Kills the agent once `progress` has grown, some milliseconds later.
fn kill_after_progress(agent: Agent, random: &mut fastrand::Rng, progress: impl FnMut() -> u64) {
    wait_for_progress(random, progress);
    agent.kill();
}

fn drain(dir: &Path) -> String {
    let (code, _, said) = output(tidegate(dir, &["run", "--once", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(0), "{said}");
    said
}

/// Each line once; whether they are in the order in which they were written.
#[track_caller]
fn assert_once(came: &[String], written: u64, what: &str) -> bool {
    let mut count: BTreeMap<&str, u64> = BTreeMap::new();
    came.iter().for_each(|line| *count.entry(line).or_default() += 1);
    let lost: Vec<u64> = (0..written).filter(|n| !count.contains_key(&*line(*n))).collect();
    let repeated: Vec<(&str, u64)> = count.into_iter().filter(|(_, n)| *n > 1).collect();
    assert!(
        lost.is_empty() && repeated.is_empty(),
        "{what}: {} of {written} lost, from {:?} on; {} repeated, from {:?} on",
        lost.len(),
        lost.first(),
        repeated.len(),
        repeated.first()
    );
    came.iter().zip(0..).all(|(came, n)| *came == line(n))
}

const SOURCE: &str = "data_dir: ./data
shutdown_timeout: 5s
sources:
  in: {type: file, include: [\"./in.log*\"], decode: text}
";

#[test]
fn file_to_file_loses_nothing_and_repeats_nothing_over_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = random(1);
    let out = "  out: {type: file, inputs: [in], path: ./out.log, encoding: text}\n";
    config(dir.path(), &format!("{SOURCE}sinks:\n{out}"));
    // In the long form less at a time: all of it is compared in the end.
    let writer = Writer::start(dir.path(), if kills() > 20 { 40 } else { 400 }, Some(50));
    let path = dir.path().join("out.log");
    let size = || std::fs::metadata(&path).map_or(0, |m| m.len());
    for _ in 0..kills() {
        kill_after_progress(Agent::run(dir.path(), &[]), &mut random, size);
    }
    let written = writer.end();
    drain(dir.path());
    // The files that were renamed meanwhile are read beside each other.
    assert_once(&lines(&path), written, "out.log");
}

#[test]
fn file_to_many_files_with_rotation_and_compression_repeats_nothing_over_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = random(2);
    let sinks = "sinks:
  many: {type: file, inputs: [in], path: \"./many/{{ n }}.log\", max_open_files: 3, when: \"n < 12\"}
  rotated: {type: file, inputs: [in], path: ./rotated/out.log, rotate: {size: 100KiB}}
  packed: {type: file, inputs: [in], path: ./packed.log.gz, compression: gzip, batch: {timeout: 50ms}}
";
    // The lines of one file among few each.
    config(dir.path(), &format!("{}{sinks}", SOURCE.replace("decode: text", "decode: json")));
    std::fs::write(dir.path().join("in.log"), (0..12).cycle().take(2000).map(|n| line(n) + "\n").collect::<String>())
        .unwrap();
    let packed = dir.path().join("packed.log.gz");
    let size = || std::fs::metadata(&packed).map_or(0, |m| m.len());
    let mut written = 2000;
    for n in 0..kills() as u64 {
        // A quick agent may be done with all of it before anybody looks.
        let before = size();
        let agent = Agent::run(dir.path(), &[]);
        let more: String = (0..1000).map(|k| line((n + k) % 12) + "\n").collect();
        let mut file = std::fs::OpenOptions::new().append(true).open(dir.path().join("in.log")).unwrap();
        file.write_all(more.as_bytes()).unwrap();
        written += 1000;
        eventually("it gets on", || size() > before);
        std::thread::park_timeout(Duration::from_millis(random.u64(0..120)));
        agent.kill();
    }
    drain(dir.path());
    let all = std::fs::read_to_string(dir.path().join("in.log")).unwrap();
    assert_eq!(all.lines().count(), written);
    let of_folder = |folder: &str| {
        let mut paths: Vec<_> =
            std::fs::read_dir(dir.path().join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
        // The present file is the last.
        paths.sort_by_key(|p| (p.file_name().is_some_and(|n| n == "out.log"), p.clone()));
        paths.iter().map(|p| std::fs::read_to_string(p).unwrap()).collect::<String>()
    };
    assert_eq!(of_folder("rotated").lines().count(), written, "rotated");
    let mut text = String::new();
    let file = std::fs::File::open(&packed).unwrap();
    std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(file), &mut text).unwrap();
    assert!(text == all, "packed: {} of {} bytes", text.len(), all.len());
    let count = |text: &str| {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        text.lines().for_each(|line| *count.entry(line.to_owned()).or_default() += 1);
        count
    };
    assert_eq!(count(&of_folder("rotated")), count(&all));
    assert_eq!(count(&of_folder("many")), count(&all), "many");
}

/// A sink for the double; batches of this many events.
fn server(url: &str, events: usize) -> String {
    format!(
        "  o2:
    type: openobserve
    inputs: [in]
    url: \"{url}\"
    stream: s
    auth: {{basic: {{user: \"{USER}\", password: \"{PASSWORD}\"}}}}
    healthcheck: false
    concurrency: {CONCURRENCY}
    timeout: 60s
    batch: {{max_events: {events}, timeout: 20ms}}
    buffer: {{type: disk, max_size: 64MiB}}
"
    )
}

const CONCURRENCY: usize = 3;

/// The numbers of the lines in each request, in the order in which they came.
fn requests(server: &Double) -> BTreeMap<usize, Vec<u64>> {
    let numbers = |body: &[u8]| {
        let records: Vec<serde_json::Value> = serde_json::from_slice(body).unwrap();
        records.iter().map(|r| number_of(r["message"].as_str().unwrap_or_default())).collect()
    };
    server.posts().iter().map(|seen| (seen.number, numbers(&seen.body))).collect()
}

fn number_of(message: &str) -> u64 {
    message.split(&[':', ','][..]).nth(1).and_then(|n| n.parse().ok()).unwrap_or(u64::MAX)
}

/// The requests of one run that may have had no answer, as far as the sender knew, when it was ended: those that had none, and
/// those with one that it need not have read. Three at a time are sent: once three have come that have no answer yet, all
/// answers before were read.
fn in_flight(run: &[Step]) -> BTreeSet<usize> {
    let (mut open, mut answered) = (BTreeSet::new(), BTreeSet::new());
    for step in run {
        match step {
            Step::Came(n) => {
                open.insert(*n);
                assert!(open.len() <= CONCURRENCY, "{open:?} are more than may be sent at a time");
                if open.len() == CONCURRENCY {
                    answered.clear();
                }
            }
            Step::Answered(n) => {
                open.remove(n);
                answered.insert(*n);
            }
        }
    }
    open.into_iter().chain(answered).collect()
}

/// What came to the server, in runs that ended after so many steps there, each by a kill, and a last one to the end: each line that
/// came again was in a request that had no answer, as far as the agent could know, and those are not more than it sends at
/// a time.
#[track_caller]
fn assert_repeats_were_in_flight(server: &Double, ends: &[usize], written: u64) {
    let (requests, steps) = (requests(server), server.steps());
    let came = |steps: &[Step]| steps.iter().filter(|step| matches!(step, Step::Came(_))).count();
    // Requests have the numbers in which they came.
    let ended: Vec<usize> = ends.iter().map(|end| came(&steps[..*end])).collect();
    let mut last_in: BTreeMap<u64, usize> = BTreeMap::new();
    let mut repeated: BTreeMap<usize, BTreeMap<usize, u64>> = BTreeMap::new();
    for (i, numbers) in &requests {
        for n in numbers {
            let Some(before) = last_in.insert(*n, *i) else { continue };
            let run = ended.partition_point(|end| *end <= before);
            assert!(
                ended.get(run).is_some_and(|end| end <= i),
                "line {n} came twice in one run: requests {before} and {i}"
            );
            *repeated.entry(run).or_default().entry(before).or_default() += 1;
        }
    }
    for (run, again) in &repeated {
        let begin = run.checked_sub(1).map_or(0, |before| ends[before]);
        let in_flight = in_flight(&steps[begin..ends[*run]]);
        println!("kill {run}: {again:?} (request, lines) came again; in flight were {in_flight:?}");
        let strangers: Vec<_> = again.keys().filter(|i| !in_flight.contains(i)).collect();
        assert!(
            strangers.is_empty(),
            "kill {run}: {strangers:?} came again and were answered; in flight: {in_flight:?}"
        );
        assert!(again.len() <= CONCURRENCY, "kill {run}: {again:?} are more than were in flight");
    }
    let lost: Vec<u64> = (0..written).filter(|n| !last_in.contains_key(n)).collect();
    assert!(lost.is_empty(), "{} of {written} lost, from {:?} on", lost.len(), lost.first());
    assert_eq!(last_in.len() as u64, written, "something came that was never written");
    let lines: u64 = repeated.values().flat_map(BTreeMap::values).sum();
    println!(
        "{written} lines, 0 lost, {lines} repeated, of {} requests that were in flight, over {} kills",
        repeated.values().map(BTreeMap::len).sum::<usize>(),
        ends.len()
    );
}

/// Kills the agent, and waits until all that it sent has come; how many steps there were at the server by then.
fn kill(agent: Agent, server: &Double) -> usize {
    agent.kill();
    eventually("the server is quiet", || server.is_quiet());
    server.steps().len()
}

#[test]
fn file_to_server_through_a_disk_buffer_repeats_no_more_than_what_was_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = random(3);
    let double = Double::start(Setup::default());
    // Some answers take their time, so that the buffer is used.
    double.script(|n, _| (n % 5 == 0).then(|| Fault::Slow(Duration::from_millis(40))));
    config(dir.path(), &format!("{SOURCE}sinks:\n{}", server(&double.url(), 300)));
    let writer = Writer::start(dir.path(), 100, Some(50));
    let mut ends = Vec::new();
    for _ in 0..kills() {
        let agent = Agent::run(dir.path(), &[]);
        wait_for_progress(&mut random, || double.steps().len() as u64);
        ends.push(kill(agent, &double));
    }
    let written = writer.end();
    drain(dir.path());
    assert_repeats_were_in_flight(&double, &ends, written);
}

/// The first request of each run has no answer, and the agent is killed as soon as others have: of a part of what was read with them
/// at a time, and mostly before anything of it is on disk.
#[test]
fn of_what_was_answered_out_of_turn_nothing_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = random(6);
    let double = Double::start(Setup::default());
    let first = Arc::new(AtomicU64::new(0));
    let begins = first.clone();
    double.script(move |n, _| (n as u64 == begins.load(Ordering::SeqCst)).then_some(Fault::Never));
    config(dir.path(), &format!("{SOURCE}sinks:\n{}", server(&double.url(), 300)));
    let writer = Writer::start(dir.path(), 500, Some(50));
    let mut ends = Vec::new();
    for _ in 0..kills() {
        let agent = Agent::run(dir.path(), &[]);
        let (begin, answers) = (ends.last().copied().unwrap_or(0), random.usize(1..6));
        let answered = |steps: &[Step]| steps.iter().filter(|step| matches!(step, Step::Answered(_))).count();
        eventually("others are answered", || answered(&double.steps()[begin..]) >= answers);
        ends.push(kill(agent, &double));
        let came = double.steps().iter().filter(|step| matches!(step, Step::Came(_))).count();
        first.store(came as u64, Ordering::SeqCst);
    }
    let written = writer.end();
    first.store(u64::MAX, Ordering::SeqCst);
    drain(dir.path());
    assert_repeats_were_in_flight(&double, &ends, written);
}

#[test]
fn file_to_both_repeats_nothing_in_the_file_and_no_more_than_what_was_in_flight_at_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = random(4);
    let double = Double::start(Setup::default());
    double.script(|n, _| (n % 3 == 0).then(|| Fault::Slow(Duration::from_millis(60))));
    let out = "  out: {type: file, inputs: [in], path: ./out.log, encoding: text}\n";
    config(dir.path(), &format!("{SOURCE}sinks:\n{out}{}", server(&double.url(), 500)));
    let writer = Writer::start(dir.path(), 100, None);
    let path = dir.path().join("out.log");
    let size = || std::fs::metadata(&path).map_or(0, |m| m.len());
    let mut ends = Vec::new();
    for _ in 0..kills() {
        let agent = Agent::run(dir.path(), &[]);
        wait_for_progress(&mut random, size);
        ends.push(kill(agent, &double));
    }
    let written = writer.end();
    drain(dir.path());
    assert!(assert_once(&lines(&path), written, "out.log"), "out of order");
    assert_repeats_were_in_flight(&double, &ends, written);
}

/// One sink holds nothing durably and stands; the other one gets on. After a kill the slow one has all again from where it
/// stood, and the quick one is spared what it has.
#[test]
fn a_quick_sink_is_spared_what_it_has_where_a_slow_one_decides() {
    let dir = tempfile::tempdir().unwrap();
    let out = "  out: {type: file, inputs: [in], path: ./out.log, encoding: text}\n";
    let slow = |url: &str| server(url, 300).replace("    buffer: {type: disk, max_size: 64MiB}\n", "");
    config(dir.path(), &format!("{SOURCE}sinks:\n{out}{}", slow(&format!("http://{}", nobody()))));
    let writer = Writer::start(dir.path(), 100, None);
    let path = dir.path().join("out.log");
    for _ in 0..3 {
        let agent = Agent::run(dir.path(), &[]);
        let before = lines(&path).len();
        eventually("the quick one gets on", || lines(&path).len() > before + 200);
        agent.kill();
    }
    let written = writer.end();
    let double = Double::start(Setup::default());
    config(dir.path(), &format!("{SOURCE}sinks:\n{out}{}", slow(&double.url())));
    let said = drain(dir.path());
    assert!(assert_once(&lines(&path), written, "out.log"), "out of order");
    assert_repeats_were_in_flight(&double, &[], written);
    assert!(!said.contains("WARN"), "{said}");
}

/// Killed every 150 ms: it gets on all the same, and repeats nothing.
#[test]
fn a_crash_loop_gets_on_and_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = "  out: {type: file, inputs: [in], path: ./out.log, encoding: text}\n";
    config(dir.path(), &format!("{SOURCE}sinks:\n{out}{}", server(&format!("http://{}", nobody()), 300)));
    let text: String = (0..100_000).map(|n| line(n) + "\n").collect();
    std::fs::write(dir.path().join("in.log"), text).unwrap();
    let path = dir.path().join("out.log");
    let size = || std::fs::metadata(&path).map_or(0, |m| m.len());
    let mut sizes = vec![size()];
    for _ in 0..kills() {
        let agent = Agent::run(dir.path(), &[]);
        // A build without optimization takes its time to begin.
        eventually("it begins", || !agent.said().is_empty());
        std::thread::park_timeout(Duration::from_millis(150));
        agent.kill();
        sizes.push(size());
    }
    // On a busy machine not each of them comes as far as to read.
    let grown = sizes.windows(2).filter(|pair| pair[1] > pair[0]).count();
    assert!(
        grown > 2 || sizes.last() == Some(&(std::fs::metadata(dir.path().join("in.log")).unwrap().len())),
        "{sizes:?}"
    );
    let double = Double::start(Setup::default());
    config(dir.path(), &format!("{SOURCE}sinks:\n{out}{}", server(&double.url(), 300)));
    drain(dir.path());
    assert!(assert_once(&lines(&path), 100_000, "out.log"), "out of order");
    assert_repeats_were_in_flight(&double, &[], 100_000);
}

/// A file that was delivered to a disk buffer and deleted before its place was saved is not told as lost.
#[test]
fn what_lies_in_the_buffer_is_not_told_as_lost_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), &format!("{SOURCE}sinks:\n{}", server(&format!("http://{}", nobody()), 300)));
    std::fs::write(dir.path().join("other.log"), "").unwrap();
    for n in 0..3u64 {
        let agent = Agent::run(dir.path(), &[]);
        let text: String = (n * 50..n * 50 + 50).map(|n| line(n) + "\n").collect();
        std::fs::write(dir.path().join("in.log"), text).unwrap();
        eventually("it is in the buffer", || buffered(dir.path()) as u64 == (n + 1) * 50);
        agent.kill();
        std::fs::remove_file(dir.path().join("in.log")).unwrap();
    }
    let double = Double::start(Setup::default());
    config(dir.path(), &format!("{SOURCE}sinks:\n{}", server(&double.url(), 300)));
    let said = drain(dir.path());
    assert!(!said.contains("rest") || !said.contains("ERROR"), "{said}");
    assert_repeats_were_in_flight(&double, &[], 150);
}

/// What a sink refuses is not passed over as long as its letter is on its way.
#[test]
fn what_is_refused_to_a_dead_letter_is_not_lost_over_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = random(5);
    let sinks = "sinks:
  out: {type: file, inputs: [in], path: \"./out/{{ to }}.log\", dead_letter: letters}
  letters: {type: file, path: ./letters.log}
";
    config(dir.path(), &format!("{}{sinks}", SOURCE.replace("decode: text", "decode: json")));
    let text: String = (0..60_000u64)
        .map(|n| if n % 3 == 0 { format!("{{\"n\":{n}}}\n") } else { format!("{{\"n\":{n},\"to\":\"{}\"}}\n", n % 2) })
        .collect();
    std::fs::write(dir.path().join("in.log"), text).unwrap();
    let letters = dir.path().join("letters.log");
    let size = || std::fs::metadata(&letters).map_or(0, |m| m.len());
    for _ in 0..kills().min(4) {
        let agent = Agent::run(dir.path(), &[]);
        let before = size();
        eventually("it gets on, or has all", || size() > before || size() > 2_000_000);
        std::thread::park_timeout(Duration::from_millis(random.u64(0..60)));
        agent.kill();
    }
    drain(dir.path());
    let number = |value: &serde_json::Value| value["n"].as_u64();
    let came: BTreeSet<u64> = ["out/0.log", "out/1.log", "letters.log"]
        .iter()
        .flat_map(|name| lines(&dir.path().join(name)))
        .map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap())
        .filter_map(|event| number(&event).or_else(|| number(&event["event"])))
        .collect();
    assert_eq!(came.len(), 60_000);
}

/// The same line has the same id whenever it is read, and keeps it through a disk buffer.
#[test]
fn ids_are_the_same_after_a_kill_and_through_a_buffer() {
    let dir = tempfile::tempdir().unwrap();
    let sources = SOURCE.replace("decode: text", "decode: text, attach: [id]");
    let file =
        "  out: {type: file, inputs: [in], path: \"./out/{{ @id }}.log\", encoding: text, max_open_files: 300}\n";
    let sinks = |url: &str| format!("{sources}sinks:\n{file}{}", server(url, 50));
    let nowhere = format!("http://{}", nobody());
    let text: String = (0..200).map(|n| line(n) + "\n").collect();
    std::fs::write(dir.path().join("in.log"), text).unwrap();
    let count = || std::fs::read_dir(dir.path().join("out")).map_or(0, Iterator::count);
    // Nothing is delivered to all, so all is read again, and written again where the file sink has forgotten it.
    config(dir.path(), &sinks(&nowhere).replace("    buffer: {type: disk, max_size: 64MiB}\n", ""));
    let agent = Agent::run(dir.path(), &[]);
    eventually("all are written", || count() == 200);
    agent.kill();
    std::fs::remove_dir_all(dir.path().join("data/file_sinks")).unwrap();
    config(dir.path(), &sinks(&nowhere));
    let agent = Agent::run(dir.path(), &[]);
    eventually("all are in the buffer", || buffered(dir.path()) == 200);
    agent.kill();
    let double = Double::start(Setup::default());
    config(dir.path(), &sinks(&double.url()));
    drain(dir.path());
    assert_eq!((count(), double.stored("s").len()), (200, 200));
    for record in double.stored("s") {
        let (id, message) = (record["id"].as_str().unwrap(), record["message"].as_str().unwrap());
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        let file = std::fs::read_to_string(dir.path().join(format!("out/{id}.log"))).unwrap();
        assert!(!file.is_empty() && file.lines().all(|line| line == message), "{id}: {file} and {message}");
    }
}

/// Events that lie in the disk buffer.
fn buffered(dir: &Path) -> usize {
    let (_, stdout, _) = output(tidegate(dir, &["buffer", "cat", "o2", "--data-dir", "data"]));
    stdout.lines().count()
}

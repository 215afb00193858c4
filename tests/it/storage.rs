//! Full disks and large backlogs, with the whole program.

use crate::agent::{Agent, config, eventually, nobody, output, tidegate};
use crate::openobserve_double::{Double, Fault, PASSWORD, Setup, USER};
use rustix::process::Signal;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A small file system of its own, unmounted at the end.
struct Mount(PathBuf);

impl Mount {
    fn new(path: &Path, size: &str) -> Option<Mount> {
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tidegate-test"]).arg(path).output();
        mounted.is_ok_and(|o| o.status.success()).then(|| Mount(path.into()))
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Numbered events of about `bytes` that do not compress.
fn write_events(path: &Path, events: usize, bytes: usize) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut random = fastrand::Rng::with_seed(1);
    let noise: String = (0..1 << 16).map(|_| random.alphanumeric()).collect();
    for n in 0..events {
        let from = random.usize(..noise.len() - bytes);
        writeln!(file, "{{\"n\":{n},\"message\":\"{}\"}}", &noise[from..from + bytes]).unwrap();
    }
    file.flush().unwrap();
}

fn times(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

/// A disk under `data_dir` that is full stops the source, with one message, and nothing else; what lies there is whole,
/// and it goes on by itself.
#[test]
fn a_full_data_dir_is_backpressure_and_everything_arrives_when_there_is_room() {
    const EVENTS: usize = 12_000;
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(&dir.path().join("data"), "3m") else {
        println!("skipped: no right to mount");
        return;
    };
    write_events(&dir.path().join("in.ndjson"), EVENTS, 700);
    let double = Double::start(Setup::default());
    let up = Arc::new(AtomicBool::new(false));
    let is_up = up.clone();
    double.script(move |_, _| (!is_up.load(Ordering::SeqCst)).then(|| Fault::Answer(503, Vec::new(), String::new())));
    config(
        dir.path(),
        &format!(
            "data_dir: ./data
sources:
  in: {{type: file, include: [\"in.ndjson\"], decode: json}}
sinks:
  o2:
    type: openobserve
    inputs: [in]
    url: \"{}\"
    stream: s
    auth: {{basic: {{user: \"{USER}\", password: \"{PASSWORD}\"}}}}
    healthcheck: false
    retry: {{initial: 5ms, max: 100ms}}
    circuit_breaker: {{failures: 1000000, reset: 100ms}}
    buffer: {{type: disk, max_size: 64MiB}}
",
            double.url()
        ),
    );
    let agent = Agent::run(dir.path(), &[]);
    eventually("the disk is full", || agent.said().contains("cannot write the disk buffer; waiting"));
    // Tried again five times a second, said once.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(times(&agent.said(), "cannot write the disk buffer"), 1, "{}", agent.said());
    assert!(agent.said().contains("No space left on device"));
    let (code, stdout, said) = output(tidegate(dir.path(), &["buffer", "verify", "--data-dir", "data"]));
    assert_eq!(code, Some(0), "{stdout}{said}");
    assert!(double.stored("s").is_empty());

    mount.resize("48m");
    eventually("it goes on", || agent.said().contains("the disk buffer can be written again"));
    let all = format!(" {EVENTS} ");
    eventually("all of it is on disk", || {
        output(tidegate(dir.path(), &["buffer", "ls", "--data-dir", "data"])).1.contains(&all)
    });
    up.store(true, Ordering::SeqCst);
    eventually("all arrived", || double.stored("s").len() >= EVENTS);
    let numbers: Vec<u64> = double.stored("s").iter().map(|r| r["n"].as_u64().unwrap()).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert!(sorted == (0..EVENTS as u64).collect::<Vec<_>>(), "each once");
    let said = agent.stop();
    assert!(!said.contains("DIFFERENCE") && !said.contains("lost"), "{said}");
}

/// A full disk from the start, before the buffer has a folder: it waits as well.
#[test]
fn a_disk_that_is_full_at_the_start_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(&dir.path().join("data"), "1m") else {
        println!("skipped: no right to mount");
        return;
    };
    // Folders are there; no block is left.
    std::fs::create_dir_all(dir.path().join("data/buffer/out")).unwrap();
    let filler = dir.path().join("data/filler");
    drop(std::fs::write(&filler, vec![1; 4 << 20]));
    config(
        dir.path(),
        "data_dir: ./data\nshutdown_timeout: 2s\nsources: {in: {type: stdin, decode: json}}\nsinks:\n  out: {type: file, inputs: [in], path: ./out.ndjson, buffer: {type: disk, max_size: 1MiB}}\n",
    );
    write_events(&dir.path().join("in.ndjson"), 500, 100);
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
    command.stdin(std::fs::File::open(dir.path().join("in.ndjson")).unwrap());
    let mut agent = Agent::start(command);
    eventually("it says so", || agent.said().contains("No space left on device"));
    std::fs::remove_file(&filler).unwrap();
    let (status, said) = agent.wait();
    assert!(status.success(), "{said}");
    assert_eq!(crate::agent::lines(&dir.path().join("out.ndjson")).len(), 500, "{said}");
    drop(mount);
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// The program, or another build of it.
fn program(dir: &Path) -> Agent {
    let program = std::env::var("TIDEGATE_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_tidegate").into());
    let mut command = Command::new(program);
    command.args(["run", "--config", "tidegate.yaml"]).current_dir(dir).env_remove("TIDEGATE_LOG").stdin(Stdio::null());
    Agent::start(command)
}

/// `TIDEGATE_BACKLOG=5000000000` runs it long, as `tests/backlog.sh` does with a release build.
#[test]
fn a_backlog_is_taken_up_within_two_seconds_and_in_little_memory() {
    let backlog = setting("TIDEGATE_BACKLOG", 96 << 20);
    let long = backlog > 1 << 30;
    let dir = match std::env::var("TIDEGATE_BACKLOG_DIR") {
        Ok(parent) => tempfile::tempdir_in(parent).unwrap(),
        Err(_) => tempfile::tempdir().unwrap(),
    };
    let yaml = |sink: &str| {
        format!(
            "data_dir: ./data
shutdown_timeout: 1s
sources:
  in: {{type: file, include: [\"in*.ndjson\"], decode: json}}
sinks:
  out:
    inputs: [in]
    buffer: {{type: disk, max_size: 64GiB, fsync: never}}
    {sink}
"
        )
    };
    let dead = nobody().port();
    let nobody = format!(
        "type: openobserve\n    url: \"http://127.0.0.1:{dead}\"\n    stream: s\n    auth: {{basic: {{user: u, password: p}}}}\n    healthcheck: false"
    );
    config(dir.path(), &yaml(&nobody));
    // One file after the other: the input takes little room.
    const BYTES: u64 = 400;
    let (mut written, mut events) = (0, 0);
    let agent = program(dir.path());
    while written < backlog {
        let count = ((backlog - written) / (BYTES + 30)).clamp(1, 250_000);
        let path = dir.path().join("next");
        write_events(&path, count as usize, BYTES as usize);
        written += std::fs::metadata(&path).unwrap().len();
        events += count;
        std::fs::rename(&path, dir.path().join(format!("in-{events}.ndjson"))).unwrap();
        let want = format!(" {events} ");
        let start = Instant::now();
        while !output(tidegate(dir.path(), &["buffer", "ls", "--data-dir", "data"])).1.contains(&want) {
            assert!(start.elapsed() < Duration::from_secs(300), "{}", agent.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        std::fs::remove_file(dir.path().join(format!("in-{events}.ndjson"))).unwrap();
    }
    let filling = agent.peak_rss();
    agent.kill();

    config(dir.path(), &yaml("type: file\n    path: ./out.ndjson"));
    let out = dir.path().join("out.ndjson");
    let length = || std::fs::metadata(&out).map_or(0, |m| m.len());
    let start = Instant::now();
    let agent = program(dir.path());
    while length() == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", agent.said());
        std::thread::sleep(Duration::from_millis(1));
    }
    let first = start.elapsed();
    let want = written.min(512 << 20) / 10 * 9;
    eventually("much of it", || length() > want);
    let rss = agent.peak_rss();
    agent.signal(Signal::TERM);
    let mut agent = agent;
    let (_, said) = agent.wait();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "backlog {:.0} MiB, {events} events; filled at {:.1} MiB resident; first record after {first:?}, at most {:.1} MiB resident",
        mib(written),
        mib(filling),
        mib(rss)
    );
    assert!(first < Duration::from_secs(2), "the first record came after {first:?}");
    assert!(rss < 60 << 20, "{} MiB resident", rss >> 20);
    assert!(!said.contains("DIFFERENCE") && !said.contains(" lost"), "{said}");
    assert!(long || crate::agent::lines(&out).len() > 1000);
}

//! How long a line is on its way: from the moment it was to be sent until it stands in the file of a file sink.
//!
//! Question: median, 99 %, 99.9 % and longest time of a line at a steady rate, for lines appended to a file (plain, through
//! the chain of the `main` benchmark, through a disk buffer with its default `fsync: batch`), sent over HTTP and as syslog
//! over TCP and UDP; and what share of a core the agent takes for it. The agent is the real program with default settings.
//!
//! Lines carry numbers. A sender writes what is due every millisecond (less often where the rate is lower): a burst of 50
//! lines at 50,000 a second. The clock of a line starts when it *was to be* sent where the sender was held up at that time,
//! so that a stall counts for every line behind it (no coordinated omission); else when the sender, which slept, woke up for it.
//! A reader looks at the output every 0.1 ms; that is part of what is shown. Every line must arrive exactly once, else the run
//! fails. The first second warms up: its lines must arrive, too, but their times do not count.
//!
//! `cargo bench --bench latency` prints a Markdown table. Behind `--`:
//!
//! - `--tidegate PATH`: another program than the one built with the bench,
//! - `--only WORD`: rows that have the word in their name or are of this rate (may be repeated),
//! - `--seconds N`: length of a run, 10 where it is left out,
//! - `--dir DIR`: where files lie (a disk buffer is as fast as this folder's disk),
//! - `--worst N`: the N longest delays of a run, with their place in it,
//! - `--check`: fails where a bar is not met: 99 % within 20 ms, with a disk buffer within 50 ms.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use hdrhistogram::Histogram;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Time that warms up.
const WARM_UP: Duration = Duration::from_secs(1);
/// How often the output is looked at.
const LOOK: Duration = Duration::from_micros(100);
/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Stands before a line's number.
const MARK: &[u8] = b"line number ";

/// How lines get in.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    File,
    Http,
    Tcp,
    Udp,
}

struct Scenario {
    name: &'static str,
    way: Way,
    /// Through the transforms of the `main` benchmark.
    chain: bool,
    /// What more the sink is told.
    sink: &'static str,
    /// Lines a second.
    rates: &'static [u32],
    /// Milliseconds within which 99 of 100 lines are to arrive.
    bar: u32,
}

const RATES: &[u32] = &[10, 1_000, 50_000];
const DISK: &str = ", buffer: {type: disk, max_size: 256MiB}";
const DISK_AND_SYNC: &str = ", fsync: batch, buffer: {type: disk, max_size: 256MiB}";
const SCENARIOS: &[Scenario] = &[
    Scenario { name: "file", way: Way::File, chain: false, sink: "", rates: RATES, bar: 20 },
    Scenario { name: "file, chain of main", way: Way::File, chain: true, sink: "", rates: RATES, bar: 20 },
    Scenario { name: "file, disk buffer", way: Way::File, chain: false, sink: DISK, rates: RATES, bar: 50 },
    Scenario {
        name: "file, disk buffer, synced sink",
        way: Way::File,
        chain: false,
        sink: DISK_AND_SYNC,
        rates: RATES,
        bar: 50,
    },
    Scenario { name: "http", way: Way::Http, chain: false, sink: "", rates: RATES, bar: 20 },
    Scenario { name: "syslog tcp", way: Way::Tcp, chain: false, sink: "", rates: RATES, bar: 20 },
    Scenario { name: "syslog udp", way: Way::Udp, chain: false, sink: "", rates: RATES, bar: 20 },
];

const TRANSFORMS: &str = r#"transforms:
  shape: {type: normalize, inputs: [in], schema: log, keep_rest: root}
  clean: {type: redact, inputs: [shape], in: [message], detect: [secrets, credit_card, email]}
  quality:
    type: validate
    inputs: [clean]
    schema: log
    rules:
      - {check: 'traceId.matches("^[0-9a-fA-F]{32}$")', error: "traceId is not 32 hex digits"}
  thin: {type: sample, inputs: [quality], by: level, rates: {DEBUG: 0.1, default: 1.0}}
"#;

impl Scenario {
    fn config(&self, dir: &Path) -> String {
        let source = match (self.way, self.chain) {
            (Way::File, true) => "{type: file, include: [in.log], decode: json}",
            (Way::File, false) => "{type: file, include: [in.log]}",
            (Way::Http, _) => "{type: http, listen: \"127.0.0.1:0\", paths: {\"/\": auto}}",
            (Way::Tcp, _) => "{type: syslog, listen: [\"tcp://127.0.0.1:0\"]}",
            (Way::Udp, _) => "{type: syslog, listen: [\"udp://127.0.0.1:0\"]}",
        };
        let (transforms, input) = if self.chain { (TRANSFORMS, "thin") } else { ("", "in") };
        let encoding = if self.way == Way::File && !self.chain { "text" } else { "json" };
        format!(
            "data_dir: {}\nsources:\n  in: {source}\n{transforms}sinks:\n  \
             out: {{type: file, inputs: [{input}], path: out.log, encoding: {encoding}{}}}\n",
            dir.join("data").display(),
            self.sink
        )
    }

    /// Appends line `n`, about 200 bytes.
    fn line(&self, n: u64, out: &mut String) {
        let text = "GET /api/v1/products completed with 200, 37 items, cache miss, loaded from the database in 12ms";
        let mark = std::str::from_utf8(MARK).unwrap();
        match self.way {
            Way::Tcp | Way::Udp => writeln!(
                out,
                "<134>1 2026-11-21T02:17:48.512Z web-1 shop 4711 ID7 [meta@32473 region=\"eu-west-1\"] {text}, {mark}{n}."
            ),
            _ => writeln!(
                out,
                r#"{{"timestamp":"2026-11-21T02:17:48.512Z","level":"INFO","service":"shop","message":"{text}, {mark}{n}.","traceId":"{:032x}"}}"#,
                u128::from(n) << 64 | 7
            ),
        }
        .unwrap();
    }
}

/// When lines are to be sent.
#[derive(Clone, Copy)]
struct Pace {
    start: Instant,
    tick: Duration,
    burst: u64,
    lines: u64,
}

impl Pace {
    fn new(rate: u32, length: Duration, start: Instant) -> Self {
        let ticks = rate.min(1_000);
        let (tick, burst) = (Duration::from_secs(1) / ticks, u64::from(rate / ticks));
        Pace { start, tick, burst, lines: (length.as_secs_f64() * f64::from(ticks)) as u64 * burst }
    }

    /// When line `n` is to be sent.
    fn intended(&self, n: u64) -> Instant {
        self.start + self.tick * (n / self.burst) as u32
    }

    /// Lines that are due now.
    fn due(&self) -> u64 {
        let ticks = self.start.elapsed().as_nanos() / self.tick.as_nanos() + 1;
        (ticks as u64 * self.burst).min(self.lines)
    }
}

/// The agent, ended when dropped.
struct Agent {
    child: Child,
}

impl Agent {
    fn start(program: &Path, dir: &Path) -> Agent {
        let log = File::create(dir.join("agent.log")).unwrap();
        let mut command = Command::new(program);
        command.args(["run", "--config", "tidegate.yaml"]).current_dir(dir).stdout(Stdio::null()).stderr(log);
        Agent { child: command.spawn().unwrap_or_else(|e| panic!("cannot start {}: {e}", program.display())) }
    }

    /// Nanoseconds that its threads have run.
    fn ran(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten();
        let times = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
        times.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum()
    }

    fn stop(mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "the agent failed");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where the agent said that it listens.
fn address(dir: &Path) -> String {
    wait_for("the agent listens", || {
        let said = std::fs::read_to_string(dir.join("agent.log")).unwrap_or_default();
        let at = said.find(" address=")? + " address=".len();
        let address = said[at..].split_once([' ', '\n'])?.0;
        let address = address.trim_matches('"');
        Some(address.rsplit_once("://").map_or(address, |(_, address)| address).to_owned())
    })
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// What lines are written to.
enum Door {
    File(File),
    Http(TcpStream, String),
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Door {
    fn open(way: Way, dir: &Path) -> Door {
        match way {
            Way::File => Door::File(OpenOptions::new().append(true).open(dir.join("in.log")).unwrap()),
            Way::Http => {
                let address = address(dir);
                let stream = TcpStream::connect(&address).unwrap();
                stream.set_nodelay(true).unwrap();
                Door::Http(stream, address)
            }
            Way::Tcp => {
                let stream = TcpStream::connect(address(dir)).unwrap();
                stream.set_nodelay(true).unwrap();
                Door::Tcp(stream)
            }
            Way::Udp => {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.connect(address(dir)).unwrap();
                Door::Udp(socket)
            }
        }
    }

    /// Sends whole lines; over HTTP, until they are acknowledged.
    fn send(&mut self, lines: &str) {
        match self {
            Door::File(file) => file.write_all(lines.as_bytes()).unwrap(),
            Door::Tcp(stream) => stream.write_all(lines.as_bytes()).unwrap(),
            Door::Udp(socket) => {
                for line in lines.lines() {
                    socket.send(line.as_bytes()).unwrap();
                }
            }
            Door::Http(stream, address) => {
                let head = format!(
                    "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
                    lines.len()
                );
                stream.write_all(&[head.as_bytes(), lines.as_bytes()].concat()).unwrap();
                let mut answer = Vec::new();
                let mut buf = [0; 4096];
                // Whole when the body has come; success has a short one, or none.
                while !answered(&answer) {
                    let n = stream.read(&mut buf).unwrap();
                    assert!(n > 0, "the connection was closed: {}", String::from_utf8_lossy(&answer));
                    answer.extend_from_slice(&buf[..n]);
                }
                assert!(answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
            }
        }
    }
}

/// Whether an answer is whole.
fn answered(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// When the clock of each burst started, in nanoseconds since the start of the run.
type Starts = [AtomicU64];

/// Sends every line when it is due, or as soon after as it can.
fn send(scenario: &Scenario, pace: Pace, mut door: Door, starts: &Starts) {
    let (mut sent, mut text) = (0, String::new());
    // Since when it has had nothing to do but wait.
    let mut free = Instant::now();
    while sent < pace.lines {
        let due = pace.due();
        if due == sent {
            let at = pace.intended(sent);
            thread::sleep(at.saturating_duration_since(Instant::now()));
            continue;
        }
        let now = Instant::now();
        for burst in sent / pace.burst..due / pace.burst {
            let intended = pace.intended(burst * pace.burst);
            let start = if intended >= free { now } else { intended };
            let start = start.saturating_duration_since(pace.start).as_nanos() as u64;
            starts[burst as usize].store(start, Ordering::Release);
        }
        text.clear();
        (sent..due).for_each(|n| scenario.line(n, &mut text));
        door.send(&text);
        sent = due;
        free = Instant::now();
    }
}

/// Reads the output as it grows.
struct Tail {
    file: File,
    buf: Vec<u8>,
    kept: usize,
    /// How often each line came.
    seen: Vec<u8>,
    count: u64,
}

impl Tail {
    fn new(file: File, lines: u64) -> Tail {
        Tail { file, buf: vec![0; 256 << 10], kept: 0, seen: vec![0; lines as usize], count: 0 }
    }

    /// Reads what is there; gives the numbers of the lines to `line`. Whether there was anything.
    fn read(&mut self, mut line: impl FnMut(u64)) -> bool {
        let n = self.file.read(&mut self.buf[self.kept..]).unwrap();
        let text = &self.buf[..self.kept + n];
        let end = memchr::memrchr(b'\n', text).map_or(0, |at| at + 1);
        for found in memchr::memmem::find_iter(&text[..end], MARK) {
            let digits = text[found + MARK.len()..].iter().take_while(|c| c.is_ascii_digit());
            let number = digits.fold(0, |n, c| n * 10 + u64::from(c - b'0'));
            let seen = &mut self.seen[number as usize];
            *seen = seen.saturating_add(1);
            self.count += 1;
            line(number);
        }
        let len = text.len();
        self.buf.copy_within(end..len, 0);
        self.kept = len - end;
        n > 0
    }
}

struct Outcome {
    times: Histogram<u64>,
    /// Share of a core.
    cpu: f64,
    lines: u64,
    /// Longest delays: how long, and when in the run.
    worst: Vec<(Duration, Duration)>,
}

fn run(scenario: &Scenario, rate: u32, options: &Options) -> Outcome {
    let dir = tempfile::Builder::new().prefix("tidegate-latency-").tempdir_in(&options.dir).unwrap();
    let dir = dir.path().canonicalize().unwrap();
    std::fs::write(dir.join("tidegate.yaml"), scenario.config(&dir)).unwrap();
    File::create(dir.join("in.log")).unwrap();
    File::create(dir.join("out.log")).unwrap();
    let agent = Agent::start(&options.tidegate, &dir);
    let door = Door::open(scenario.way, &dir);
    if scenario.way == Way::File {
        wait_for("the file is opened", || {
            let opened = std::fs::read_dir(format!("/proc/{}/fd", agent.child.id())).ok()?.flatten();
            opened.filter_map(|fd| fd.path().read_link().ok()).find(|to| *to == dir.join("in.log"))
        });
    }

    let pace = Pace::new(rate, options.length + WARM_UP, Instant::now() + Duration::from_millis(20));
    let mut tail = Tail::new(File::open(dir.join("out.log")).unwrap(), pace.lines);
    let mut times = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).unwrap();
    let mut worst = Vec::new();
    let sent = Arc::new(AtomicBool::new(false));
    let mut warm = None;
    let counted = pace.start + WARM_UP;
    let bursts = pace.lines / pace.burst;
    let starts: Vec<AtomicU64> = (0..bursts).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        let done = sent.clone();
        let starts = &*starts;
        scope.spawn(move || {
            send(scenario, pace, door, starts);
            done.store(true, Ordering::Release);
        });
        let mut last = Instant::now();
        while tail.count < pace.lines {
            let now = Instant::now();
            if warm.is_none() && now >= counted {
                warm = Some((now, agent.ran()));
            }
            let mut longest = (Duration::ZERO, Duration::ZERO);
            let came = tail.read(|n| {
                let started = Duration::from_nanos(starts[(n / pace.burst) as usize].load(Ordering::Acquire));
                if started >= WARM_UP {
                    let took = pace.start.elapsed().saturating_sub(started);
                    longest = longest.max((took, started));
                    times.record(took.as_micros() as u64).unwrap();
                }
            });
            if options.worst > 0 && !longest.0.is_zero() {
                worst.push(longest);
            }
            if came {
                last = now;
            } else {
                assert!(last.elapsed() < PATIENCE || !sent.load(Ordering::Acquire), "lines are missing");
                thread::sleep(LOOK);
            }
        }
    });
    let (since, ran) = warm.unwrap();
    let cpu = (agent.ran() - ran) as f64 / since.elapsed().as_nanos() as f64;
    agent.stop();
    while tail.read(|_| {}) {}
    assert!(tail.seen.iter().all(|&n| n == 1), "every line is to come once");
    worst.sort_unstable_by(|a, b| b.cmp(a));
    worst.truncate(options.worst);
    Outcome { times, cpu, lines: pace.lines, worst }
}

struct Options {
    tidegate: PathBuf,
    only: Vec<String>,
    length: Duration,
    dir: PathBuf,
    worst: usize,
    check: bool,
}

impl Options {
    /// `None`: this is no run to be timed, but one of `cargo test --benches`.
    fn read() -> Option<Options> {
        let mut options = Options {
            tidegate: PathBuf::from(env!("CARGO_BIN_EXE_tidegate")),
            only: Vec::new(),
            length: Duration::from_secs(10),
            dir: std::env::temp_dir(),
            worst: 0,
            check: false,
        };
        let mut arguments = std::env::args().skip(1).peekable();
        // `cargo bench` says `--bench`; `cargo test` says nothing.
        arguments.peek()?;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
            match argument.as_str() {
                "--tidegate" => options.tidegate = PathBuf::from(value()),
                "--only" => options.only.push(value()),
                "--seconds" => options.length = Duration::from_secs_f64(value().parse().unwrap()),
                "--dir" => options.dir = PathBuf::from(value()),
                "--worst" => options.worst = value().parse().unwrap(),
                "--check" => options.check = true,
                "--bench" => {}
                "--test" => return None,
                other => panic!("`{other}` is not known; see benches/latency.rs"),
            }
        }
        Some(options)
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::read() else { return ExitCode::SUCCESS };
    let mut missed = false;
    println!("| way | lines/s | lines | p50 ms | p99 ms | p99.9 ms | longest ms | CPU, share of a core |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for scenario in SCENARIOS {
        for &rate in scenario.rates {
            let wanted = |word: &String| scenario.name.contains(word.as_str()) || *word == rate.to_string();
            if !options.only.iter().all(wanted) {
                continue;
            }
            let Outcome { times, cpu, lines, worst } = run(scenario, rate, &options);
            let ms = |micros: u64| micros as f64 / 1e3;
            let at = |quantile: f64| ms(times.value_at_quantile(quantile));
            println!(
                "| {} | {rate} | {lines} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} % |",
                scenario.name,
                at(0.5),
                at(0.99),
                at(0.999),
                ms(times.max()),
                cpu * 100.0
            );
            for (took, when) in worst {
                println!("    {took:.2?} at {when:.3?}");
            }
            if at(0.99) > f64::from(scenario.bar) {
                missed = true;
                eprintln!(
                    "{} at {rate}: 99 % within {:.2} ms, the bar is {} ms",
                    scenario.name,
                    at(0.99),
                    scenario.bar
                );
            }
        }
    }
    if missed && options.check { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

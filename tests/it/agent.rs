//! The program as a child process in a folder of its own.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest wait for something that must happen; the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running agent. Killed when dropped.
pub(crate) struct Agent {
    child: Child,
    stderr: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

/// The program with arguments, in `dir`. `TIDEGATE_PROGRAM` names another one than that of the tests: a release build.
pub(crate) fn tidegate(dir: &Path, args: &[&str]) -> Command {
    let program = std::env::var_os("TIDEGATE_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_tidegate").into());
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).env_remove("TIDEGATE_LOG");
    command
}

/// An address on loopback that nobody listens at, and that nobody gets who asks for any port: below the range that the
/// system deals from, which other tests' connections use (a client's own port could even meet itself there).
pub(crate) fn nobody() -> SocketAddr {
    const PORTS: std::ops::Range<u32> = 12_000..30_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(199);
    loop {
        let port = PORTS.start + start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % PORTS.len() as u32;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port as u16)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// Runs to the end: exit code, stdout, stderr.
pub(crate) fn output(mut command: Command) -> (Option<i32>, String, String) {
    let out = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

/// `GET` of a path: status and body.
#[track_caller]
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    get_with(address, path, "")
}

/// As [`get`] with further headers, each ended by CR LF.
#[track_caller]
pub(crate) fn get_with(address: &str, path: &str, headers: &str) -> (u16, String) {
    ask_with(address, "GET", path, headers)
}

/// The same with another method, without a body.
#[track_caller]
pub(crate) fn ask_with(address: &str, method: &str, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, body.to_owned())
}

/// Writes a configuration into `dir`.
pub(crate) fn config(dir: &Path, yaml: &str) -> PathBuf {
    let path = dir.join("tidegate.yaml");
    std::fs::write(&path, yaml).unwrap();
    path
}

/// Waits until `done` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, done: impl FnMut() -> bool) {
    assert!(within_patience(done), "{what}: not within {PATIENCE:?}");
}

/// Whether `done` holds in time.
pub(crate) fn within_patience(mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    true
}

/// The lines of a file; none where it is not there.
pub(crate) fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

impl Agent {
    /// Starts `tidegate run` on `dir/tidegate.yaml`.
    pub(crate) fn run(dir: &Path, more: &[&str]) -> Agent {
        let args: Vec<&str> = ["run", "--config", "tidegate.yaml"].iter().chain(more).copied().collect();
        Agent::start(tidegate(dir, &args))
    }

    /// Starts a command, collecting what it says.
    pub(crate) fn start(mut command: Command) -> Agent {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stderr.take().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let to = stderr.clone();
        let reader = std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut buf) {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&buf[..n]));
            }
        });
        Agent { child, stderr, reader: Some(reader) }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Addresses it said it listens on, in that order.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let said = self.said();
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        let after = |line: &str| line.split_once(" address=").map(|(_, a)| a.split(' ').next().unwrap_or(a).to_owned());
        whole.lines().filter_map(after).collect()
    }

    /// Resident memory now, in bytes.
    pub(crate) fn rss(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Resident memory that is the program itself and its libraries: what tests build is not optimised, and large.
    pub(crate) fn program_rss(&self) -> u64 {
        self.status("RssFile:")
    }

    /// Open handles.
    pub(crate) fn handles(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Where its open handles lead.
    pub(crate) fn open_files(&self) -> Vec<PathBuf> {
        let handles = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        handles.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect()
    }

    /// The number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; what it said in all.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let mut status = None;
        let ended = within_patience(|| {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "the agent ends: not within {PATIENCE:?}; it said:\n{}", self.said());
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status.unwrap(), self.said())
    }

    /// SIGTERM, and waits: it must end well with balanced ledger.
    #[track_caller]
    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let (status, said) = self.wait();
        assert!(status.success(), "{said}");
        assert_balanced(&said);
        said
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Resident memory at its highest, in bytes.
    pub(crate) fn peak_rss(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Time that its threads have run, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        // Nanoseconds on a processor, finer than the ticks of `stat`.
        let ran = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
        ran.filter_map(|text| text.split(' ').next()?.parse::<f64>().ok()).sum::<f64>() / 1e9
    }

    /// Calls of `read` and its like so far.
    pub(crate) fn reads(&self) -> u64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.child.id())).unwrap();
        io.lines().find_map(|l| l.strip_prefix("syscr: ")).unwrap().parse().unwrap()
    }

    fn status(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap_or("0");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The ledger at the end of what an agent said: per component (in, created, out, dropped, rejected, held).
pub(crate) fn ledger(said: &str) -> Vec<(String, [u64; 6])> {
    let logged = said.lines().filter_map(ledger_line);
    let table = said.lines().skip_while(|l| !l.starts_with("component")).skip(1);
    let table = table.filter_map(|line| {
        let mut words = line.split_whitespace();
        let (id, _kind) = (words.next()?, words.next()?);
        let numbers: Vec<u64> = words.take(6).map_while(|w| w.parse().ok()).collect();
        Some((id.to_owned(), numbers.try_into().ok()?))
    });
    logged.chain(table).collect()
}

/// A line of the ledger where the log is JSON.
fn ledger_line(line: &str) -> Option<(String, [u64; 6])> {
    let line: serde_json::Value =
        serde_json::from_str(line).ok().filter(|l: &serde_json::Value| l["message"] == "ledger")?;
    assert_eq!(line["difference"], 0, "{line}");
    let number = |key: &str| line[key].as_u64().unwrap();
    let sum = |key: &str| {
        let reasons: std::collections::BTreeMap<String, u64> =
            serde_json::from_str(line[key].as_str().unwrap()).unwrap();
        reasons.values().sum()
    };
    let id = line["component"].as_str()?.to_owned();
    Some((id, [number("in"), number("created"), number("out"), sum("dropped"), sum("rejected"), number("held")]))
}

/// Whether the ledger gives this reason with this number, in either of its forms.
pub(crate) fn gives_reason(said: &str, reason: &str, events: u64) -> bool {
    said.contains(&format!("{reason} {events}")) || said.contains(&format!("\\\"{reason}\\\":{events}"))
}

/// Every line of the ledger adds up, and there is one.
#[track_caller]
pub(crate) fn assert_balanced(said: &str) {
    let ledger = ledger(said);
    assert!(!ledger.is_empty(), "no ledger in:\n{said}");
    for (id, [came, created, out, dropped, rejected, held]) in &ledger {
        assert_eq!(came + created, out + dropped + rejected + held, "{id} in:\n{said}");
    }
    assert!(!said.contains("DIFFERENCE"), "{said}");
}

/// A command that prints lines until it is dropped.
pub(crate) struct Tail {
    child: Child,
    stdout: Arc<Mutex<String>>,
}

impl Tail {
    pub(crate) fn start(mut command: Command) -> Tail {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut pipe = child.stdout.take().unwrap();
        let stdout = Arc::new(Mutex::new(String::new()));
        let to = stdout.clone();
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut buf) {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&buf[..n]));
            }
        });
        Tail { child, stdout }
    }

    /// Whole lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = self.stdout.lock().unwrap().clone();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

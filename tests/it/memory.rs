//! Memory over time: what is alive on the heap of an agent whose files are rotated in every way, all the time, while clients come
//! and go, is bounded. Counted by the allocator itself, in a process of its own.
//!
//! `TIDEGATE_ROTATIONS=40000` is the long form (`tests/long/memory.sh`): it must be flat between 25,000 and 40,000.

use crate::agent::{Agent, config, eventually, get};
use crate::alloc::live_bytes;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is remembered of a generation and a path that are gone, in bytes: `docs/files.md`.
const REMEMBERED: i64 = 600;
/// What may come and go besides.
const NOISE: i64 = 200 << 10;

/// The agent, with a heap that is counted: the process that the test beside starts, nothing by itself.
#[test]
#[ignore = "is started by the test beside it"]
fn agent_with_a_counted_heap() {
    let Ok(dir) = std::env::var("TIDEGATE_COUNTED_IN") else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    std::io::stderr().write_all(format!("heap address={}\n", listener.local_addr().unwrap()).as_bytes()).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = Vec::new();
            while memchr::memmem::find(&asked, b"\r\n\r\n").is_none() && more(&mut stream, &mut asked).is_some() {}
            let text = format!("HTTP/1.0 200 OK\r\n\r\n{}", live_bytes());
            _ = stream.write_all(text.as_bytes());
        }
    });
    std::env::set_current_dir(dir).unwrap();
    let args = ["tidegate", "run", "--config", "tidegate.yaml"];
    let exit: std::process::ExitCode = tidegate::internals::cli::main_with(args).into();
    assert_eq!(format!("{exit:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
}

/// A server that takes everything and keeps nothing; how many events it took.
fn server() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let taken = Arc::new(AtomicU64::new(0));
    let count = taken.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = count.clone();
            std::thread::spawn(move || serve(stream, &count));
        }
    });
    (url, taken)
}

fn serve(mut stream: TcpStream, count: &AtomicU64) -> Option<()> {
    let mut bytes = Vec::new();
    // Now and then it hangs up.
    for _ in 0..200 {
        let head = loop {
            if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
                break end + 4;
            }
            more(&mut stream, &mut bytes)?;
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        let length: usize = length.trim().parse().ok()?;
        while bytes.len() < head + length {
            more(&mut stream, &mut bytes)?;
        }
        let events = memchr::memmem::find_iter(&bytes[head..head + length], b"\"_timestamp\"").count();
        bytes.drain(..head + length);
        count.fetch_add(events as u64, Ordering::SeqCst);
        let body = format!("{{\"code\":200,\"status\":[{{\"name\":\"s\",\"successful\":{events},\"failed\":0}}]}}");
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).ok()?;
    }
    Some(())
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut buf = [0; 1 << 16];
    let n = stream.read(&mut buf).ok().filter(|n| *n > 0)?;
    bytes.extend_from_slice(&buf[..n]);
    Some(())
}

struct Soak {
    dir: tempfile::TempDir,
    agent: Agent,
    heap: String,
    api: String,
    http: String,
    syslog: String,
    delivered: Arc<AtomicU64>,
    lines: u64,
    round: u64,
}

const FILES: u64 = 5;

impl Soak {
    fn start() -> Soak {
        let dir = tempfile::tempdir().unwrap();
        let (url, delivered) = server();
        config(
            dir.path(),
            &format!(
                "data_dir: ./data
api: {{listen: \"127.0.0.1:0\"}}
sources:
  files: {{type: file, include: [\"./in/*.log\", \"./in/*.log.*\"], decode: text}}
  web: {{type: http, listen: \"127.0.0.1:0\"}}
  net: {{type: syslog, listen: [\"tcp://127.0.0.1:0\"]}}
sinks:
  out: {{type: file, inputs: [files], path: ./out.log, encoding: text, rotate: {{size: 1MiB, keep: 2}}}}
  hosts: {{type: file, inputs: [net], path: \"./hosts/{{{{ hostname }}}}.log\", max_open_files: 20}}
  o2:
    type: openobserve
    inputs: [files, web]
    url: \"{url}\"
    stream: s
    auth: {{basic: {{user: u, password: p}}}}
    healthcheck: false
    compression: none
    batch: {{timeout: 5ms}}
    buffer: {{type: disk, max_size: 16MiB}}
"
            ),
        );
        std::fs::create_dir(dir.path().join("in")).unwrap();
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "memory::agent_with_a_counted_heap", "--ignored", "--nocapture"]);
        command.env("TIDEGATE_COUNTED_IN", dir.path()).env_remove("TIDEGATE_LOG");
        let agent = Agent::start(command);
        eventually("it listens", || agent.addresses().len() >= 4);
        let said = agent.said();
        let of = |name: &str| {
            let line = said.lines().find(|line| line.contains(name) && line.contains(" address="));
            let (_, address) = line.and_then(|line| line.split_once(" address=")).unwrap_or_else(|| panic!("{said}"));
            address.split(' ').next().unwrap().trim_matches('"').rsplit('/').next().unwrap().to_owned()
        };
        let (heap, http, syslog, api) = (of("heap"), of("=web"), of("=net"), of("API listening"));
        Soak { dir, agent, heap, api, http, syslog, delivered, lines: 0, round: 0 }
    }

    fn path(&self, file: u64, more: &str) -> PathBuf {
        self.dir.path().join(format!("in/{file}.log{more}"))
    }

    /// A few lines to each file; when they are delivered, each is rotated in its way.
    fn round(&mut self) {
        self.round += 1;
        for file in 0..FILES {
            let text: String = (0..3).map(|n| format!("{file} {} {n} {}\n", self.round, "x".repeat(80))).collect();
            append(&self.path(file, ""), &text);
            self.lines += 3;
        }
        let (n, round) = (self.round, self.round);
        let body = format!("[{{\"message\":\"over http\",\"n\":{n}}}]");
        let head = format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        self.lines += 1;
        let mut stream = TcpStream::connect(&self.syslog).unwrap();
        // Of each file that is there the sink that writes it knows what it has.
        let host = round % 100;
        writeln!(stream, "<13>1 2026-11-21T02:17:48Z host-{host} app-{n} {n} - - over syslog").unwrap();
        drop(stream);
        if round % 20 == 0 {
            assert_eq!(get(&self.api, "/metrics").0, 200);
        }
        let (lines, delivered) = (self.lines, self.delivered.clone());
        eventually("all is delivered", || delivered.load(Ordering::SeqCst) >= lines);
        self.rotate();
    }

    fn rotate(&self) {
        let n = self.round;
        let rename = |file: u64, to: &str| std::fs::rename(self.path(file, ""), self.path(file, to)).unwrap();
        // Renamed over the one before; removed; copied and cut off; renamed, compressed, the third of these removed; renamed
        // with a name of its own, the third removed.
        rename(0, ".1");
        std::fs::remove_file(self.path(1, "")).unwrap();
        std::fs::copy(self.path(2, ""), self.path(2, ".1")).unwrap();
        std::fs::File::options().write(true).open(self.path(2, "")).unwrap().set_len(0).unwrap();
        rename(3, &format!(".{n}"));
        let packed = std::fs::File::create(self.dir.path().join("new.gz")).unwrap();
        let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
        packed.write_all(&std::fs::read(self.path(3, &format!(".{n}"))).unwrap()).unwrap();
        packed.finish().unwrap();
        std::fs::rename(self.dir.path().join("new.gz"), self.path(3, &format!(".{n}.gz"))).unwrap();
        std::fs::remove_file(self.path(3, &format!(".{n}"))).unwrap();
        rename(4, &format!(".{n}"));
        if let Some(old) = n.checked_sub(3).filter(|old| *old > 0) {
            std::fs::remove_file(self.path(3, &format!(".{old}.gz"))).unwrap();
            std::fs::remove_file(self.path(4, &format!(".{old}"))).unwrap();
        }
    }

    /// Rounds until there were so many rotations; what is alive on the heap then, at rest.
    fn until(&mut self, rotations: u64) -> i64 {
        while self.round * FILES < rotations {
            self.round();
        }
        // The least of some seconds: what is in between comes and goes.
        let live = || get(&self.heap, "/").1.trim().parse::<i64>().unwrap();
        let least = (0..40).map(|_| {
            std::thread::park_timeout(Duration::from_millis(100));
            live()
        });
        let least = least.min().unwrap();
        println!(
            "{} rotations: {} KiB alive, {} KiB resident",
            self.round * FILES,
            least >> 10,
            self.agent.rss() >> 10
        );
        least
    }
}

fn append(path: &Path, text: &str) {
    std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn the_heap_stays_while_files_are_rotated_and_clients_come_and_go() {
    let most: u64 = std::env::var("TIDEGATE_ROTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let mut soak = Soak::start();
    soak.until(most / 4);
    let (begin, first) = (most / 8 * 5, soak.until(most / 8 * 5));
    for n in 6..8 {
        soak.until(most / 8 * n);
    }
    let last = soak.until(most);
    // What is remembered of files that are gone has its bound, which the short form does not come to.
    // How much of it is known to be gone already depends on how quick the machine is.
    let remembered = if most >= 40_000 { 0 } else { (most - begin) as i64 * REMEMBERED + (2 << 20) };
    assert!(
        last - first <= remembered + NOISE,
        "{} KiB more after {most} rotations than after {begin}",
        (last - first) >> 10
    );
    soak.agent.stop();
}

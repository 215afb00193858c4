//! The sinks over HTTP of the whole program, each against a double of its system written from that system's documents. What
//! all have in common is tested of all here; what is particular to one in its own file.

mod agents;
mod elasticsearch;
mod http;
mod loki;
mod otlp;

use crate::agent::{Agent, assert_balanced, config, eventually, ledger, lines, output, tidegate};
use crate::wire::{Asked, Reply, Wire, fixture, reply, tls_config};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A system as the tests of all see it.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    /// Settings of the sink besides those of all; `URL` is the server's address.
    settings: &'static str,
    /// How it shows credentials that are right: the settings, and the value of `Authorization`.
    auth: (&'static str, &'static str),
    /// The encoding of its bodies by itself.
    compresses: &'static str,
    /// The system: takes a request, stores the numbers (`n`) of its events; events with `poison` it refuses, `busy` ones it
    /// takes later where it can say so.
    system: fn(&Asked, &mut Store) -> Reply,
}

/// What a system has.
#[derive(Default)]
struct Store {
    /// By number, how often.
    events: BTreeMap<u64, usize>,
    /// All of them, as they came.
    bodies: Vec<Json>,
    /// Numbers of events that it did not take, once.
    busy: Vec<u64>,
    /// Whether it takes poison now.
    mended: bool,
}

impl Store {
    fn add(&mut self, event: Json) {
        *self.events.entry(number(&event)).or_default() += 1;
        self.bodies.push(event);
    }
}

/// The number of an event.
fn number(event: &Json) -> u64 {
    event["n"].as_u64().or_else(|| event["n"].as_str()?.parse().ok()).unwrap_or_else(|| panic!("{event}"))
}

const KINDS: [Kind; 6] = [http::KIND, elasticsearch::KIND, loki::KIND, loki::KIND_JSON, otlp::KIND, otlp::KIND_JSON];

/// Its server, with what happens before it: a reply in place of its own.
struct Server {
    wire: Wire,
    store: Arc<Mutex<Store>>,
}

impl Kind {
    fn server(self) -> Server {
        self.server_with(|_, _| None)
    }

    /// `before` is asked for each request that brings events, by its number.
    fn server_with(self, before: impl FnMut(usize, &Asked) -> Option<Reply> + Send + 'static) -> Server {
        self.server_over(None, before)
    }

    /// The same over TLS.
    fn server_over(
        self,
        tls: Option<rustls::ServerConfig>,
        mut before: impl FnMut(usize, &Asked) -> Option<Reply> + Send + 'static,
    ) -> Server {
        let store: Arc<Mutex<Store>> = Arc::default();
        let shared = store.clone();
        let mut n = 0;
        let wire = Wire::start_with(tls, move |asked| {
            if asked.method == "GET" {
                return reply(200, "{}");
            }
            n += 1;
            before(n - 1, asked).unwrap_or_else(|| (self.system)(asked, &mut shared.lock().unwrap()))
        });
        Server { wire, store }
    }

    fn yaml(self, server: &Server, more: &str) -> String {
        let settings = self.settings.replace("URL", &server.wire.url());
        format!(
            "data_dir: ./data
shutdown_timeout: 20s
sources:
  in: {{type: stdin, decode: json}}
sinks:
  out:
    type: {}
    inputs: [in]
    dead_letter: rejects
    healthcheck: false
    retry: {{initial: 5ms, max: 20ms}}
    {settings}
    {more}
  rejects: {{type: file, path: ./rejects.ndjson}}
",
            self.name
        )
    }

    /// Sends the events through the program; it must end well, with balanced ledger.
    #[track_caller]
    fn run(self, server: &Server, more: &str, events: &[Json]) -> Run {
        let dir = tempfile::tempdir().unwrap();
        run_in(dir, &self.yaml(server, more), events)
    }
}

#[track_caller]
fn run_in(dir: tempfile::TempDir, yaml: &str, events: &[Json]) -> Run {
    config(dir.path(), yaml);
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
    command.stdin(input(dir.path(), events));
    let mut agent = Agent::start(command);
    let (status, said) = agent.wait();
    assert!(status.success(), "{said}");
    assert_balanced(&said);
    Run { dir, said }
}

fn input(dir: &Path, events: &[Json]) -> std::fs::File {
    let path = dir.join("in.ndjson");
    let mut text = Vec::new();
    for event in events {
        writeln!(text, "{event}").unwrap();
    }
    std::fs::write(&path, text).unwrap();
    std::fs::File::open(path).unwrap()
}

/// What came of one run.
struct Run {
    dir: tempfile::TempDir,
    said: String,
}

impl Run {
    /// Dead letters: reason, detail, event.
    fn letters(&self) -> Vec<(String, String, Json)> {
        letters(self.dir.path())
    }

    /// in, created, out, dropped, rejected, held of the sink.
    fn sink(&self) -> [u64; 6] {
        ledger(&self.said).into_iter().find(|(id, _)| id == "out").unwrap().1
    }
}

fn letters(dir: &Path) -> Vec<(String, String, Json)> {
    let letter = |line: &String| {
        let letter: Json = serde_json::from_str(line).unwrap();
        let text = |key: &str| letter["tidegate"][key].as_str().unwrap().to_owned();
        (text("reason"), text("detail"), letter["event"].clone())
    };
    lines(&dir.join("rejects.ndjson")).iter().map(letter).collect()
}

fn numbered(n: u64) -> Vec<Json> {
    let event = |n| json!({"timestamp": "2026-01-02T03:04:05.678Z", "level": "INFO", "service": format!("s{}", n % 3), "message": format!("event \"{n}\"\n"), "n": n});
    (0..n).map(event).collect()
}

/// Each of these once.
#[track_caller]
fn assert_once(server: &Server, numbers: impl Iterator<Item = u64>, what: &str) {
    let want: BTreeMap<u64, usize> = numbers.map(|n| (n, 1)).collect();
    assert_eq!(server.store.lock().unwrap().events, want, "{what}");
}

#[test]
fn every_event_arrives_once_with_the_compression_of_the_kind() {
    for kind in KINDS {
        let server = kind.server();
        let run = kind.run(&server, "batch: {max_events: 100}", &numbered(1000));
        assert_eq!(run.sink(), [1000, 0, 1000, 0, 0, 0], "{}: {}", kind.name, run.said);
        assert_once(&server, 0..1000, kind.name);
        for asked in server.wire.asked() {
            assert_eq!(asked.header("content-encoding"), kind.compresses, "{}", kind.name);
        }
        let messages = server.store.lock().unwrap().bodies.clone();
        assert!(messages.iter().any(|e| e["message"] == "event \"7\"\n"), "{}: {}", kind.name, messages[7]);
    }
}

#[test]
fn one_record_that_is_refused_among_a_thousand_goes_to_the_dead_letter_and_comes_back_by_replay() {
    for kind in KINDS {
        let server = kind.server();
        let mut events = numbered(1000);
        events[617]["poison"] = json!("yes");
        let run = kind.run(&server, "", &events);
        let letters = run.letters();
        assert_eq!(letters.len(), 1, "{}: {letters:?}", kind.name);
        let (reason, detail, event) = &letters[0];
        assert_eq!((reason.as_str(), event), ("refused", &events[617]), "{}", kind.name);
        assert!(detail.contains("poison"), "{}: {detail}", kind.name);
        assert_eq!(run.sink(), [1000, 0, 999, 0, 1, 0], "{}", run.said);
        assert_once(&server, (0..1000).filter(|n| *n != 617), kind.name);
        // Somebody has put the server right.
        server.store.lock().unwrap().mended = true;
        let command =
            tidegate(run.dir.path(), &["replay", "rejects.ndjson", "--to", "out", "--config", "tidegate.yaml"]);
        let (code, _, said) = output(command);
        assert_eq!(code, Some(0), "{}: {said}", kind.name);
        assert_once(&server, 0..1000, kind.name);
    }
}

#[test]
fn what_fails_for_a_while_is_sent_again_and_too_large_requests_are_halved() {
    for kind in KINDS {
        let server = kind.server_with(|n, asked| match n {
            0 => Some(reply(503, "not yet")),
            1 => Some(Reply { headers: vec![("Retry-After", "0".into())], ..reply(429, "too much") }),
            2 => Some(reply(500, "oops")),
            _ if asked.body.len() > 20_000 => Some(reply(413, "too large")),
            _ => None,
        });
        let run = kind.run(&server, "", &numbered(1000));
        assert_eq!(run.sink(), [1000, 0, 1000, 0, 0, 0], "{}: {}", kind.name, run.said);
        assert_once(&server, 0..1000, kind.name);
    }
}

#[test]
fn a_compression_that_is_not_taken_changes_to_the_next() {
    for kind in KINDS {
        if kind.compresses == "snappy" {
            // Part of the interface.
            continue;
        }
        let server = kind.server_with(|_, asked| match asked.header("content-encoding") {
            "" => None,
            _ => Some(reply(415, "no such encoding")),
        });
        let run = kind.run(&server, "compression: zstd", &numbered(50));
        assert_eq!(run.sink(), [50, 0, 50, 0, 0, 0], "{}: {}", kind.name, run.said);
        assert_once(&server, 0..50, kind.name);
        let encodings: Vec<String> =
            server.wire.asked().iter().map(|a| a.header("content-encoding").to_owned()).collect();
        assert_eq!(encodings, ["zstd", "gzip", ""], "{}", kind.name);
    }
}

#[test]
fn a_server_that_hangs_is_given_up_in_time_and_a_slow_one_is_waited_for() {
    for kind in KINDS {
        let server = kind.server_with(|n, _| match n {
            0 => Some(Reply { never: true, ..reply(0, "") }),
            _ => None,
        });
        let run = kind.run(&server, "timeout: 300ms", &numbered(50));
        assert!(run.said.contains("no answer within 300ms"), "{}: {}", kind.name, run.said);
        assert_once(&server, 0..50, kind.name);
        let system = kind.system;
        let store: Arc<Mutex<Store>> = Arc::default();
        let shared = store.clone();
        let wire = Wire::start(move |asked| Reply {
            delay: Duration::from_millis(200),
            ..system(asked, &mut shared.lock().unwrap())
        });
        let slow = Server { wire, store };
        let run = kind.run(&slow, "timeout: 20s", &numbered(50));
        assert_eq!(run.sink(), [50, 0, 50, 0, 0, 0], "{}: {}", kind.name, run.said);
        assert_eq!(slow.wire.asked().len(), 1, "{}", kind.name);
    }
}

#[test]
fn wrong_credentials_are_said_and_events_wait_until_they_are_right() {
    for kind in KINDS {
        let (auth, header) = kind.auth;
        let right = Arc::new(Mutex::new(false));
        let set = right.clone();
        let server = kind.server_with(move |_, asked| {
            assert_eq!(asked.header("authorization"), header);
            (!*right.lock().unwrap()).then(|| reply(401, format!("who are you with {header}")))
        });
        let dir = tempfile::tempdir().unwrap();
        config(dir.path(), &kind.yaml(&server, auth));
        let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
        command.stdin(input(dir.path(), &numbered(100)));
        let mut agent = Agent::start(command);
        eventually("it is said", || agent.said().contains("check the credentials"));
        eventually("it goes on trying", || server.wire.asked().len() > 2);
        *set.lock().unwrap() = true;
        let (status, said) = agent.wait();
        let secret = header.split(' ').next_back().unwrap();
        assert!(status.success() && !said.contains(secret), "{}: {said}", kind.name);
        assert_once(&server, 0..100, kind.name);
    }
}

#[test]
fn a_disk_buffer_loses_nothing_when_the_agent_is_killed() {
    for kind in KINDS {
        // What has arrived before a kill may come again; nothing is lost.
        let server = kind.server_with(|n, _| {
            std::thread::sleep(Duration::from_millis(20));
            (n % 3 == 1).then(|| reply(503, "busy"))
        });
        let dir = tempfile::tempdir().unwrap();
        let more = "buffer: {type: disk, max_size: 10MiB}\n    batch: {max_events: 50}\n    concurrency: 2";
        let yaml = kind
            .yaml(&server, more)
            .replace("type: stdin", "type: file, include: [\"./*.ndjson\"], exclude: [\"rejects*\"]");
        config(dir.path(), &yaml);
        drop(input(dir.path(), &numbered(2000)));
        for round in 1..=3 {
            let agent = Agent::run(dir.path(), &[]);
            let has = || server.store.lock().unwrap().events.len();
            let before = has();
            eventually("something arrives", || has() > before || has() == 2000);
            if round < 3 {
                agent.kill();
            } else {
                eventually("all arrive", || has() == 2000);
                agent.stop();
            }
        }
        let numbers: Vec<u64> = server.store.lock().unwrap().events.keys().copied().collect();
        assert_eq!(numbers, (0..2000).collect::<Vec<u64>>(), "{}", kind.name);
        assert!(letters(dir.path()).is_empty());
    }
}

#[test]
fn of_a_request_in_halves_only_the_half_that_was_not_taken_goes_again() {
    for kind in KINDS {
        // Too large as a whole; then the first half comes at a bad time.
        let server = kind.server_with(|n, _| match n {
            0 => Some(reply(413, "too large")),
            1 => Some(Reply { headers: vec![("Retry-After", "0".into())], ..reply(429, "too much") }),
            _ => None,
        });
        let run = kind.run(&server, "concurrency: 1", &numbered(100));
        assert_eq!(run.sink(), [100, 0, 100, 0, 0, 0], "{}: {}", kind.name, run.said);
        assert_once(&server, 0..100, kind.name);
        let sizes: Vec<usize> = server.wire.asked().iter().map(|a| a.body.len()).collect();
        assert_eq!(sizes.len(), 4, "{}: the whole, two halves, and one of them again: {sizes:?}", kind.name);
        let halves = &sizes[1..];
        let again = halves.iter().filter(|size| **size == halves[0]).count();
        assert!(again >= 2 && halves.iter().all(|half| *half < sizes[0]), "{}: {sizes:?}", kind.name);
    }
}

#[test]
fn a_compression_that_is_part_of_the_interface_stays_and_its_refusal_is_a_fault_of_the_configuration() {
    for kind in KINDS.into_iter().filter(|kind| kind.compresses == "snappy") {
        let server = kind.server_with(|n, _| (n < 3).then(|| reply(415, "no snappy")));
        let run = kind.run(&server, "", &numbered(50));
        assert!(run.said.contains("no snappy"), "{}: {}", kind.name, run.said);
        assert_eq!(run.sink(), [50, 0, 50, 0, 0, 0], "{}: {}", kind.name, run.said);
        assert_once(&server, 0..50, kind.name);
        for asked in server.wire.asked() {
            assert_eq!(asked.header("content-encoding"), "snappy", "{}", kind.name);
        }
    }
}

/// The sink's certificates: trust in the server's authority, and the client's own.
fn certificates(own: bool) -> String {
    let path = |name: &str| fixture(name).display().to_string();
    let own = if own { format!(", cert: {}, key: {}", path("client"), path("client-key")) } else { String::new() };
    format!("tls: {{ca_file: {}{own}}}", path("ca"))
}

#[test]
fn over_tls_both_sides_show_their_certificates() {
    for kind in KINDS {
        let server = kind.server_over(Some(tls_config("server", "server-key", Some("ca"))), |_, _| None);
        let secure = |more: &str| kind.yaml(&server, more).replace("http://", "https://");
        let run = run_in(tempfile::tempdir().unwrap(), &secure(&certificates(true)), &numbered(200));
        assert_eq!(run.sink(), [200, 0, 200, 0, 0, 0], "{}: {}", kind.name, run.said);
        assert_once(&server, 0..200, kind.name);
        // Without trust in the server, and without a certificate of its own, nothing arrives and nothing is lost.
        for lacking in ["", &*certificates(false)] {
            server.store.lock().unwrap().events.clear();
            let untouched = server.wire.asked().len();
            let dir = tempfile::tempdir().unwrap();
            let kept = |tls: &str| secure(&format!("{tls}\n    buffer: {{type: disk, max_size: 10MiB}}"));
            let start = |tls: &str, stdin: std::process::Stdio| {
                config(dir.path(), &kept(tls));
                let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
                command.stdin(stdin);
                Agent::start(command)
            };
            let agent = start(lacking, input(dir.path(), &numbered(10)).into());
            eventually("it is said", || agent.said().to_lowercase().contains("certificate"));
            agent.stop();
            assert_eq!(server.wire.asked().len(), untouched, "{}", kind.name);
            // It ends when it has delivered what is on disk.
            let (status, said) = start(&certificates(true), std::process::Stdio::null()).wait();
            assert!(status.success(), "{}: {said}", kind.name);
            assert_once(&server, 0..10, kind.name);
        }
    }
}

#[test]
fn over_a_proxy_every_request_goes_and_shows_the_proxy_its_credentials() {
    for kind in KINDS {
        let server = kind.server();
        let (system, store) = (kind.system, server.store.clone());
        let proxy = Wire::start(move |asked| {
            assert_eq!(asked.header("proxy-authorization"), "Basic bWU6czNjcmV0LXB3");
            // A proxy is asked for the whole address.
            let path = asked.path.strip_prefix("http://far.example.invalid").unwrap().to_owned();
            system(&Asked { path, ..asked.clone() }, &mut store.lock().unwrap())
        });
        let address = format!("proxy: \"http://me:s3cret-pw@{}\"", proxy.address);
        let yaml = kind.yaml(&server, &address).replace(&server.wire.url(), "http://far.example.invalid");
        let run = run_in(tempfile::tempdir().unwrap(), &yaml, &numbered(200));
        assert_eq!(run.sink(), [200, 0, 200, 0, 0, 0], "{}: {}", kind.name, run.said);
        assert_once(&server, 0..200, kind.name);
        assert!(server.wire.asked().is_empty() && !run.said.contains("s3cret-pw"), "{}: {}", kind.name, run.said);
    }
}

//! What a disk buffer was acknowledged for, with the whole program: damage and deletions while it runs and while it rests,
//! commands that give up events, and a stop in the middle of a record. What went in is compared with what came out, and
//! both with the ledger.

use crate::agent::{Agent, PATIENCE, config, eventually, get, nobody, output, tidegate, within_patience};
use crate::openobserve_double::{Double, Fault, PASSWORD, Setup, USER};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// An agent that takes events over HTTP and has a disk buffer.
fn yaml(server: &str) -> String {
    format!(
        "data_dir: ./data
shutdown_timeout: 5s
api: {{listen: \"127.0.0.1:0\"}}
sources:
  web: {{type: http, listen: \"127.0.0.1:0\", acknowledge_timeout: 2s}}
sinks:
  o2:
    type: openobserve
    inputs: [web]
    url: \"{server}\"
    stream: s
    auth: {{basic: {{user: \"{USER}\", password: \"{PASSWORD}\"}}}}
    healthcheck: false
    retry: {{initial: 5ms, max: 50ms}}
    circuit_breaker: {{failures: 1000000, reset: 100ms}}
    buffer: {{type: disk, max_size: 8MiB}}
"
    )
}

/// Starts the agent and finds its API's address and its source's.
fn start(dir: &Path, server: &str) -> (Agent, String, String) {
    config(dir, &yaml(server));
    let agent = Agent::run(dir, &[]);
    eventually("it listens", || agent.addresses().len() == 2);
    let said = agent.said();
    let api = said.lines().find(|l| l.contains("API listening")).unwrap();
    let api = api.split_once(" address=").unwrap().1.split(' ').next().unwrap().to_owned();
    let web = agent.addresses().into_iter().find(|a| *a != api).unwrap().replace("http://", "");
    (agent, api, web)
}

/// Posts events `from..from + n`; the status.
fn post(address: &str, from: u64, n: u64) -> u16 {
    let body: String =
        (from..from + n).map(|n| format!("{{\"n\":{n},\"message\":\"{}\"}}\n", "some text ".repeat(10))).collect();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "POST / HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

fn audit(dir: &Path) -> (Option<i32>, serde_json::Value) {
    let (code, stdout, said) = output(tidegate(dir, &["audit", "--data-dir", "data", "--json"]));
    (code, serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{said}")))
}

fn verify(dir: &Path) -> (Option<i32>, String) {
    let (code, stdout, _) = output(tidegate(dir, &["buffer", "verify", "--data-dir", "data"]));
    (code, stdout)
}

fn stored(server: &Double) -> Vec<u64> {
    let mut all: Vec<u64> = server.stored("s").iter().map(|r| r["n"].as_u64().unwrap()).collect();
    all.sort_unstable();
    all
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("data/buffer/o2")
}

fn last_segment(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder(dir)).unwrap().map(|e| e.unwrap().path());
    entries.filter(|p| p.extension().is_some_and(|e| e == "seg")).max().unwrap()
}

/// 300 events in three requests, each answered with success; killed while the server is down.
fn acknowledged(dir: &Path) {
    let (agent, _, web) = start(dir, &format!("http://{}", nobody()));
    for n in 0..3 {
        assert_eq!(post(&web, n * 100, 100), 200);
    }
    // The ledger is written ten times a second at first. A sink's events are in before they are on disk.
    eventually("the ledger has them", || audit(dir).1["components"]["o2"]["total"]["in"] == 300);
    eventually("the ledger has them on disk", || {
        std::fs::read_to_string(dir.join("data/ledger")).is_ok_and(|text| text.contains("\"written\":300"))
    });
    agent.kill();
}

#[test]
fn a_damaged_cut_or_deleted_end_that_was_acknowledged_is_an_error_and_in_the_ledger() {
    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let at = bytes.len() - 500;
        bytes[at..at + 4].copy_from_slice(b"ZZZZ");
        std::fs::write(path, bytes).unwrap();
    };
    let cut = |path: &Path, less: u64| {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let len = file.metadata().unwrap().len();
        file.set_len(len.saturating_sub(less)).unwrap();
    };
    for (what, lost) in
        [("nothing", 0), ("flip", 100), ("cut", 100), ("cut to 0", 300), ("delete", 300), ("folder", 300)]
    {
        let dir = tempfile::tempdir().unwrap();
        acknowledged(dir.path());
        let segment = last_segment(dir.path());
        match what {
            "flip" => flip(&segment),
            "cut" => cut(&segment, 1000),
            "cut to 0" => cut(&segment, u64::MAX),
            "delete" => std::fs::remove_file(&segment).unwrap(),
            "folder" => std::fs::remove_dir_all(folder(dir.path())).unwrap(),
            _ => {}
        }
        if what != "folder" {
            let (code, seen) = verify(dir.path());
            assert_eq!(code, Some(i32::from(lost > 0)), "{what}: {seen}");
            assert!(lost == 0 || seen.contains(&format!("{lost} events")), "{what}: {seen}");
        }
        let server = Double::start(Setup::default());
        let (mut agent, _, _) = start(dir.path(), &server.url());
        eventually("what is left arrives", || stored(&server).len() as u64 >= 300 - lost);
        let is_said = within_patience(|| {
            let said = agent.said();
            lost == 0
                || said
                    .lines()
                    .any(|l| l.contains("ERROR") && l.contains("lost") && l.contains(&format!("events={lost}")))
        });
        assert!(is_said, "{what}: what is lost is not said: {}", agent.said());
        agent.signal(Signal::TERM);
        let (status, said) = agent.wait();
        assert_eq!(status.code(), Some(i32::from(lost > 0)), "{what}: {said}");
        assert_eq!(said.contains("ERROR"), lost > 0, "{what}: {said}");
        assert_eq!(stored(&server), (0..300 - lost).collect::<Vec<_>>(), "{what}");
        let aside = std::fs::read_dir(folder(dir.path()).join("quarantine")).map_or(0, |entries| entries.count());
        assert_eq!(aside, usize::from(matches!(what, "flip" | "cut")), "{what}");
        let (code, ledger) = audit(dir.path());
        assert_eq!(code, Some(i32::from(lost > 0)), "{what}: {ledger:#}");
        assert_eq!(ledger["balanced"], true, "{what}: {ledger:#}");
        let total = &ledger["components"]["o2"]["total"];
        let counted = total["dropped"]["corrupt"].as_u64().unwrap_or(0);
        assert_eq!(
            (counted, total["out"].as_u64(), total["resumed"].as_u64()),
            (lost, Some(300 - lost), Some(300)),
            "{what}"
        );
        assert_eq!(verify(dir.path()).0, Some(0), "{what}: counted once");
    }
}

#[test]
fn what_repair_and_drop_give_up_is_in_the_ledger() {
    for command in ["repair", "drop"] {
        let dir = tempfile::tempdir().unwrap();
        acknowledged(dir.path());
        let mut bytes = std::fs::read(last_segment(dir.path())).unwrap();
        bytes[300] ^= 1;
        std::fs::write(last_segment(dir.path()), bytes).unwrap();
        let args: &[&str] = if command == "drop" { &["drop", "o2", "--yes"] } else { &["repair", "o2"] };
        let (code, stdout, said) = output(tidegate(dir.path(), &[&["buffer", "--data-dir", "data"], args].concat()));
        assert_eq!(code, Some(0), "{stdout}{said}");
        let (reason, lost) = if command == "drop" { ("removed", 300) } else { ("corrupt", 100) };
        // Before the next start, and after it.
        for run in [false, true] {
            let server = Double::start(Setup::default());
            if run {
                let (mut agent, _, _) = start(dir.path(), &server.url());
                eventually("what is left arrives", || stored(&server).len() as u64 == 300 - lost);
                agent.signal(Signal::TERM);
                agent.wait();
                assert_eq!(stored(&server), (lost..300).collect::<Vec<_>>());
            }
            let (code, ledger) = audit(dir.path());
            assert_eq!((code, &ledger["balanced"]), (Some(i32::from(command == "repair")), &true.into()), "{ledger:#}");
            assert_eq!(ledger["components"]["o2"]["total"]["dropped"][reason], lost, "{ledger:#}");
            let out = ledger["components"]["o2"]["total"]["out"].as_u64();
            assert_eq!(out, Some(if run { 300 - lost } else { 0 }), "{ledger:#}");
        }
    }
}

/// The server takes its time; the agent is stopped while a buffered record of several thousand events is half delivered.
#[test]
fn a_stop_in_the_middle_of_a_record_repeats_nothing() {
    const EVENTS: u64 = 8000;
    let dir = tempfile::tempdir().unwrap();
    let server = Double::start(Setup::default());
    let slow = Arc::new(AtomicBool::new(true));
    let is_slow = slow.clone();
    server.script(move |_, _| is_slow.load(Ordering::SeqCst).then(|| Fault::Slow(Duration::from_millis(150))));
    let text: String = (0..EVENTS)
        .map(|n| format!("{{\"n\":{n},\"message\":\"m {n}\",\"to\":\"{}\"}}\n", ["s", "t"][(n / 7 % 2) as usize]))
        .collect();
    std::fs::write(dir.path().join("in.ndjson"), text).unwrap();
    config(
        dir.path(),
        &format!(
            "data_dir: ./data
sources:
  in: {{type: file, include: [\"./in.ndjson\"], decode: json}}
sinks:
  o2:
    type: openobserve
    inputs: [in]
    url: \"{}\"
    stream: \"{{{{ to }}}}\"
    auth: {{basic: {{user: \"{USER}\", password: \"{PASSWORD}\"}}}}
    healthcheck: false
    concurrency: 2
    batch: {{max_events: 50}}
    buffer: {{type: disk, max_size: 64MiB}}
",
            server.url()
        ),
    );
    let all = || {
        let streams = ["s", "t"].map(|s| server.stored(s)).concat();
        let mut all: Vec<u64> = streams.iter().map(|r| r["n"].as_u64().unwrap()).collect();
        all.sort_unstable();
        all
    };
    let mut before = 0;
    for _ in 0..2 {
        let agent = Agent::run(dir.path(), &[]);
        eventually("some are delivered", || all().len() as u64 > before + 200);
        let said = agent.stop();
        assert!(said.contains("the disk buffer keeps events for the next start"), "{said}");
        before = all().len() as u64;
        assert!(before < EVENTS, "it is over too soon to say anything");
    }
    slow.store(false, Ordering::SeqCst);
    let (code, _, said) = output(tidegate(dir.path(), &["run", "--once", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(0), "{said}");
    assert!(
        all() == (0..EVENTS).collect::<Vec<_>>(),
        "{} of which {} distinct",
        all().len(),
        all().iter().collect::<BTreeSet<_>>().len()
    );
    let (code, ledger) = audit(dir.path());
    assert_eq!(code, Some(0), "{ledger:#}");
    assert_eq!(ledger["components"]["o2"]["total"]["out"], EVENTS, "{ledger:#}");
}

/// The folder is deleted under it: nothing is answered with success that is not on disk under a name, `/ready` says so,
/// and what was acknowledged before is written again.
#[test]
fn a_data_dir_that_is_deleted_or_moved_away_under_it_costs_nothing_that_is_still_open() {
    for harm in ["deleted", "moved", "replaced", "segment"] {
        let dir = tempfile::tempdir().unwrap();
        let (agent, api, web) = start(dir.path(), &format!("http://{}", nobody()));
        let mut taken = 0;
        for n in 0..3 {
            assert_eq!(post(&web, n, 1), 200);
            taken += 1;
        }
        assert_eq!(get(&api, "/ready").0, 200);
        let data = dir.path().join("data");
        match harm {
            // The agent may write a file between two steps of it.
            "deleted" => eventually("it is deleted", || std::fs::remove_dir_all(&data).is_ok() || !data.exists()),
            "segment" => std::fs::remove_file(last_segment(dir.path())).unwrap(),
            _ => std::fs::rename(&data, dir.path().join("old")).unwrap(),
        }
        if harm == "replaced" {
            std::fs::create_dir_all(folder(dir.path())).unwrap();
        }
        for n in 3..6 {
            taken += u64::from(post(&web, n, 1) == 200);
        }
        eventually("it says so", || {
            agent.said().lines().any(|l| l.contains("ERROR") && l.contains("were deleted or moved away"))
        });
        let (status, why) = get(&api, "/ready");
        assert!(
            status == 503 && why.contains("o2: files of the disk buffer were deleted or moved away"),
            "{status} {why}"
        );
        eventually("it goes on", || post(&web, 6, 1) == 200);
        taken += 1;
        agent.kill();
        assert_eq!(taken, 7, "{harm}: all were taken, at once or once the folder was made anew");
        let server = Double::start(Setup::default());
        let (agent, _, _) = start(dir.path(), &server.url());
        eventually("all arrive", || stored(&server).len() as u64 >= taken);
        assert_eq!(stored(&server), (0..7).collect::<Vec<_>>(), "{harm}");
        agent.stop();
    }
}

/// Where the folder cannot be made anew: no success, and `/ready` fails, until it can.
#[test]
fn without_a_folder_nothing_is_answered_with_success() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, api, web) = start(dir.path(), &format!("http://{}", nobody()));
    assert_eq!(post(&web, 0, 1), 200);
    std::fs::remove_dir_all(dir.path().join("data")).unwrap();
    // Something else has its name.
    std::fs::write(dir.path().join("data"), "").unwrap();
    for n in 1..3 {
        assert_eq!(post(&web, n, 1), 503);
    }
    let (status, why) = get(&api, "/ready");
    assert!(status == 503 && why.contains("o2: "), "{status} {why}");
    std::fs::remove_file(dir.path().join("data")).unwrap();
    eventually("it goes on", || post(&web, 3, 1) == 200);
    agent.kill();
    let server = Double::start(Setup::default());
    let (agent, _, _) = start(dir.path(), &server.url());
    eventually("all arrive", || stored(&server).len() >= 2);
    let all: BTreeSet<u64> = stored(&server).into_iter().collect();
    // Those that were refused may have come all the same, as with any time-out.
    assert!(all.contains(&0) && all.contains(&3), "{all:?}");
    agent.stop();
}

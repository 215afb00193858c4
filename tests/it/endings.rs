//! Every way a run can end: exit code, ledger, log and what the receiver has say the same.

use crate::agent::{Agent, assert_balanced, config, eventually, ledger, lines, nobody, output, tidegate};
use crate::http::Receiver;
use crate::openobserve_double::{Double, Fault, PASSWORD, Setup, USER};
use crate::remote_write::Server;
use rustix::process::Signal;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Events of the input.
const EVENTS: u64 = 20;

/// How a run is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    /// `--once`: by the end of the input.
    Once,
    /// A signal, once the sink has been given all.
    Signal,
    /// A second signal soon after the first.
    SecondSignal,
    /// The time to drain, half a second.
    Deadline,
}

/// What has become of the input in the end, as far as the sink `out` is concerned. The rest is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct End {
    code: i32,
    out: u64,
    dropped: u64,
    rejected: u64,
    held: u64,
    /// Of those held, on disk.
    on_disk: u64,
}

const DELIVERED: End = End { code: 0, out: EVENTS, dropped: 0, rejected: 0, held: 0, on_disk: 0 };
const LEFT: End = End { code: 1, out: 0, dropped: 0, rejected: 0, held: EVENTS, on_disk: 0 };

struct Ending {
    what: &'static str,
    by: By,
    /// The sink `out`, and others.
    sinks: String,
    end: End,
    /// What another sink holds in the end.
    other: Option<(&'static str, u64)>,
    /// What the receiver has.
    received: Box<dyn Fn(&Path) -> u64>,
    /// Words of the log beside those that the end demands.
    says: &'static str,
}

/// Runs the program to its end, and looks whether everybody says the same.
fn check(ending: Ending) {
    let Ending { what, by, sinks, end, other, received, says } = ending;
    let dir = tempfile::tempdir().unwrap();
    let timeout = if by == By::Deadline { "500ms" } else { "60s" };
    config(
        dir.path(),
        &format!(
            "data_dir: ./data
shutdown_timeout: {timeout}
api: {{listen: \"127.0.0.1:0\"}}
sources: {{in: {{type: file, include: [./in.ndjson], decode: json}}}}
sinks:
{sinks}"
        ),
    );
    let input: String = (0..EVENTS).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    std::fs::write(dir.path().join("in.ndjson"), input).unwrap();
    let mut args = vec!["run", "--config", "tidegate.yaml"];
    args.extend((by == By::Once).then_some("--once"));
    let mut agent = Agent::start(tidegate(dir.path(), &args));
    if by != By::Once {
        eventually("the sink has been given all", || {
            let Some(api) = agent.addresses().first().cloned() else { return false };
            let run_ledger: serde_json::Value =
                serde_json::from_str(&crate::agent::get(&api, "/api/v1/ledger").1).unwrap();
            let given = |line: &serde_json::Value| line["component"] == "out" && line["in"] == EVENTS;
            run_ledger.as_array().unwrap().iter().any(given)
        });
        agent.signal(Signal::TERM);
    }
    if by == By::SecondSignal {
        eventually("it is stopping", || agent.said().contains("stopping"));
        // Two that come at once are one.
        std::thread::sleep(Duration::from_millis(310));
        agent.signal(Signal::TERM);
    }
    let (status, said) = agent.wait();
    verify(what, status.code(), &said, end, other, received(dir.path()), says);
}

fn verify(what: &str, code: Option<i32>, said: &str, end: End, other: Option<(&str, u64)>, received: u64, says: &str) {
    assert_balanced(said);
    let run_ledger = ledger(said);
    let [came, _, out, dropped, rejected, held] = run_ledger.iter().find(|(id, _)| id == "out").unwrap().1;
    assert_eq!(code, Some(end.code), "{what}: the exit code of\n{said}");
    let is = End { code: end.code, out, dropped, rejected, held, on_disk: end.on_disk };
    assert_eq!(is, end, "{what}: the ledger of\n{said}");
    assert_eq!(came, out + dropped + rejected + held, "{what}");
    assert_eq!(received, out, "{what}: what the receiver has, and what the ledger says it has:\n{said}");
    // What is held in memory is said, component by component, with its number; and nothing else is.
    let mut left: Vec<(&str, u64, u64)> = Vec::new();
    left.extend((end.held > 0).then_some(("out", end.held, end.held - end.on_disk)));
    left.extend(other.map(|(id, events)| (id, events, events)));
    for (id, events, in_memory) in &left {
        let held = run_ledger.iter().find(|(component, _)| component == id).unwrap().1[5];
        assert_eq!(held, *events, "{what}: {id} in the ledger of\n{said}");
        let line = said.lines().find(|l| l.contains("left undelivered") && l.contains(&format!("component={id} ")));
        match line {
            Some(line) => assert!(line.contains(&format!("in_memory={in_memory}")), "{what}: {line}"),
            None => assert_eq!(*in_memory, 0, "{what}: {id} is not named in\n{said}"),
        }
    }
    let named = said.lines().filter(|l| l.contains("left undelivered")).count();
    assert!(named <= left.len(), "{what}: too much is left in\n{said}");
    let held: u64 = run_ledger.iter().map(|(_, line)| line[5]).sum();
    assert_eq!(held, left.iter().map(|l| l.1).sum::<u64>(), "{what}: others hold something in\n{said}");
    assert!(said.contains(says), "{what}: `{says}` in\n{said}");
}

fn push(url: &str, settings: &str) -> String {
    format!(
        "  out:
    type: prometheus
    inputs: [in]
    metrics: [{{name: n_total, type: counter}}]
    remote_write: {{url: \"{url}\", interval: 20ms, retry: {{initial: 10ms, max: 50ms}}{settings}}}
"
    )
}

fn o2(url: &str, settings: &str) -> String {
    format!(
        "  out:
    type: openobserve
    inputs: [in]
    url: \"{url}\"
    stream: s
    auth: {{basic: {{user: \"{USER}\", password: \"{PASSWORD}\"}}}}
    healthcheck: false
    retry: {{initial: 10ms, max: 50ms}}
    {settings}
"
    )
}

fn nothing(_: &Path) -> u64 {
    0
}

#[test]
fn a_push_that_gets_through_and_ones_that_do_not() {
    let server = std::sync::Arc::new(Server::start(|_| (204, None)));
    let url = server.url();
    let got = server.clone();
    // The end of the series is said too: the value before it counts.
    let sum = move |_: &Path| got.last_values() as u64;
    let dead = format!("http://{}/", nobody());
    let refusing = Server::start(|_| (400, None));
    let failing = Server::start(|_| (503, None));
    let busy = Server::start(|_| (429, Some(600)));
    let unknown = Server::start(|_| (404, None));
    let end =
        |what, by, sinks, end, says| Ending { what, by, sinks, end, other: None, received: Box::new(nothing), says };
    check(Ending { received: Box::new(sum), ..end("delivered", By::Once, push(&url, ""), DELIVERED, "") });
    let got = server.clone();
    let sum = move |_: &Path| got.last_values() as u64;
    check(Ending {
        received: Box::new(sum),
        ..end("delivered at a signal", By::Signal, push(&url, ""), DELIVERED, "")
    });
    let nobody_there = push(&dead, "");
    check(end("nobody is there", By::Once, nobody_there.clone(), LEFT, "a request failed and is tried again"));
    check(end("nobody is there, signal", By::Signal, nobody_there.clone(), LEFT, ""));
    check(end("nobody is there, second signal", By::SecondSignal, nobody_there.clone(), LEFT, ""));
    check(end("nobody is there, deadline", By::Deadline, nobody_there, LEFT, ""));
    check(end("it fails", By::Signal, push(&failing.url(), ""), LEFT, ""));
    check(end("it wants to be left alone", By::Once, push(&busy.url(), ""), LEFT, ""));
    assert_eq!(busy.requests().len(), 1, "and is");
    check(end("it does not know the path", By::Once, push(&unknown.url(), ""), LEFT, "HTTP 404"));
    let dropped = End { code: 1, dropped: EVENTS, ..End::default() };
    check(end("it refuses", By::Once, push(&refusing.url(), ""), dropped, "could not be delivered"));
    let short = ", circuit_breaker: {failures: 1000}";
    let exhausted = push(&failing.url(), short).replace("max: 50ms}", "max: 50ms, max_elapsed: 300ms}");
    check(end("it fails for longer than it may", By::Once, exhausted, dropped, "could not be delivered"));
    // A page beside it changes nothing.
    let with_page = push(&format!("http://{}/", nobody()), "") + "    listen: \"127.0.0.1:0\"\n";
    check(end("a page, and nobody is there", By::Once, with_page, LEFT, ""));
}

#[test]
fn a_page_that_nobody_fetches() {
    let page =
        "  out: {type: prometheus, inputs: [in], listen: \"127.0.0.1:0\", metrics: [{name: n_total, type: counter}]}\n";
    // Events are delivered to a page when they are counted: what is received cannot be known, but it is said.
    let received = Box::new(|_: &Path| EVENTS);
    check(Ending {
        what: "a page",
        by: By::Once,
        sinks: page.into(),
        end: DELIVERED,
        other: None,
        received,
        says: "nobody has fetched the page since these events were counted",
    });
}

#[test]
fn network_sinks() {
    let dead = format!("http://{}", nobody());
    let end =
        |what, by, sinks, end, says| Ending { what, by, sinks, end, other: None, received: Box::new(nothing), says };
    let double = std::sync::Arc::new(Double::start(Setup::default()));
    let got = double.clone();
    let stored = move |_: &Path| got.stored("s").len() as u64;
    check(Ending { received: Box::new(stored), ..end("delivered", By::Once, o2(&double.url(), ""), DELIVERED, "") });
    check(end("a signal and the deadline", By::Deadline, o2(&dead, ""), LEFT, ""));
    for wait in ["1s", "1ms"] {
        let sinks = o2(&dead, &format!("batch: {{timeout: {wait}}}"));
        check(end("a second signal", By::SecondSignal, sinks, LEFT, "ending at once"));
    }
    let disk = o2(&dead, "buffer: {type: disk, max_size: 16MiB}");
    let kept = End { code: 0, held: EVENTS, on_disk: EVENTS, ..End::default() };
    check(end("a disk buffer", By::Signal, disk, kept, "the disk buffer keeps events for the next start"));

    let refusing = Double::start(Setup::default());
    refusing.script(|_, _| Some(Fault::Answer(400, Vec::new(), "no".into())));
    let dropped = End { code: 1, dropped: EVENTS, ..End::default() };
    check(end("refused", By::Once, o2(&refusing.url(), ""), dropped, "could not be delivered"));
    let asked_for = End { code: 0, dropped: EVENTS, ..End::default() };
    check(end("not wanted", By::Once, o2(&dead, "when: 'n < 0'"), asked_for, ""));
    let letters = o2(&refusing.url(), "dead_letter: letters") + "  letters: {type: file, path: ./letters}\n";
    let rejected = End { code: 0, rejected: EVENTS, ..End::default() };
    check(end("refused, with a dead letter", By::Once, letters, rejected, ""));
    // A dead letter that cannot be written: its folder is a file.
    let blocked = o2(&refusing.url(), "dead_letter: letters") + "  letters: {type: file, path: ./in.ndjson/letters}\n";
    check(Ending {
        other: Some(("letters", EVENTS)),
        ..end("a dead letter that cannot be written", By::Deadline, blocked, End { code: 1, ..rejected }, "")
    });
}

#[test]
fn files_and_consoles() {
    let written = |dir: &Path| lines(&dir.join("out")).len() as u64;
    let end = |what, by, sinks: &str, end, says| Ending {
        what,
        by,
        sinks: sinks.into(),
        end,
        other: None,
        received: Box::new(written),
        says,
    };
    let file = "  out: {type: file, inputs: [in], path: ./out}\n";
    check(end("a file", By::Once, file, DELIVERED, ""));
    check(end("a file and a signal", By::Signal, file, DELIVERED, ""));
    let blocked = "  out: {type: file, inputs: [in], path: ./in.ndjson/out}\n";
    check(end("a file that cannot be written", By::Deadline, blocked, LEFT, ""));
    check(end("a file that cannot be written, second signal", By::SecondSignal, blocked, LEFT, ""));
    console_whose_reader_is_gone();
    full_disk();
}

fn console_whose_reader_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "data_dir: ./data\nsources: {in: {type: file, include: [./in.ndjson], decode: json}}\nsinks:\n  out: {type: console, inputs: [in]}\n",
    );
    let input: String = (0..EVENTS).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    std::fs::write(dir.path().join("in.ndjson"), input).unwrap();
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml", "--once"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    verify("a console whose reader is gone", out.status.code(), &said, LEFT, None, 0, "cannot write to the console");
}

fn full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8k", "tidegate-test"]).arg(&disk).output();
    if !mount.is_ok_and(|out| out.status.success()) {
        println!("skipped: no right to mount");
        return;
    }
    std::fs::write(disk.join("filler"), vec![0; 8 << 10]).unwrap();
    config(
        dir.path(),
        "data_dir: ./data\nshutdown_timeout: 500ms\nsources: {in: {type: file, include: [./in.ndjson], decode: json}}\nsinks:\n  out: {type: file, inputs: [in], path: ./disk/out}\n",
    );
    let input: String = (0..EVENTS).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    std::fs::write(dir.path().join("in.ndjson"), input).unwrap();
    let mut agent = Agent::run(dir.path(), &[]);
    eventually("it says so", || agent.said().contains("waiting until it can be written"));
    agent.signal(Signal::TERM);
    let (status, said) = agent.wait();
    let written = lines(&disk.join("out")).len() as u64;
    drop(Command::new("umount").arg("-l").arg(&disk).status());
    verify("a full disk", status.code(), &said, LEFT, None, written, "");
}

/// A buffer that lies on disk in part: what is there is told apart from what was in memory.
#[test]
fn an_overflow_buffer_says_what_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let buffer =
        "buffer: {type: memory, max_bytes: 64KiB, when_full: overflow, overflow: {type: disk, max_size: 64MiB}}";
    let sinks = o2(&format!("http://{}", nobody()), &format!("{buffer}\n    batch: {{max_events: 10}}"));
    config(
        dir.path(),
        &format!(
            "data_dir: ./data\nshutdown_timeout: 500ms\nsources: {{in: {{type: file, include: [./in.ndjson], decode: json}}}}\nsinks:\n{sinks}"
        ),
    );
    let line = |n: u32| format!("{{\"n\":{n},\"message\":\"{}\"}}\n", "x".repeat(1000));
    std::fs::write(dir.path().join("in.ndjson"), (0..20_000).map(line).collect::<String>()).unwrap();
    let agent = Agent::run(dir.path(), &[]);
    let on_disk = || -> u64 {
        let (code, text, _) = output(tidegate(dir.path(), &["buffer", "ls", "--data-dir", "data"]));
        let line = text.lines().find(|l| l.starts_with("out ")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).filter(|_| code == Some(0)).unwrap_or(0)
    };
    eventually("some is on disk", || on_disk() > 5_000);
    let mut agent = agent;
    agent.signal(Signal::TERM);
    let (status, said) = agent.wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert_balanced(&said);
    let held = ledger(&said)[1].1[5];
    let left = said.lines().find(|l| l.contains("left undelivered") && l.contains("component=out")).unwrap();
    let number = |key: &str| -> u64 {
        left.split(key).nth(1).unwrap().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    assert_eq!((number("events="), number("on_disk=") + number("in_memory=")), (held, held), "{left}");
    assert_eq!(number("on_disk="), on_disk(), "what is there: {left}");
    assert!(number("in_memory=") > 0);
}

/// An event that was accepted with an answer of success before a second signal ended everything within the first second.
#[test]
fn what_was_accepted_and_then_left_at_a_second_signal_is_said() {
    // All parts may end before the second signal is heard of where their end is judged, or after: several tries.
    for _ in 0..4 {
        let dead =
            format!("{{type: openobserve, inputs: [in], url: \"http://{}\", stream: s, healthcheck: false}}", nobody());
        let mut receiver = Receiver::into(", acknowledge: received", &dead);
        let answer = receiver.post("/", &[("content-type", "application/json")], b"{\"m\":1}");
        assert_eq!(answer.status, 200);
        receiver.agent.signal(Signal::TERM);
        eventually("it is stopping", || receiver.agent.said().contains("stopping"));
        std::thread::sleep(Duration::from_millis(310));
        receiver.agent.signal(Signal::TERM);
        let (status, said) = receiver.agent.wait();
        assert_eq!(status.code(), Some(1), "{said}");
        assert_eq!(ledger(&said).iter().map(|l| l.1[5]).collect::<Vec<_>>(), [0, 1], "{said}");
        assert_eq!(said.matches("left undelivered").count(), 1, "{said}");
    }
}

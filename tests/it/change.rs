//! A graph that changes while it runs: what has changed starts anew, and nothing else. What clients sent is compared with what came
//! out.

use crate::agent::{Agent, assert_balanced, config, eventually, get, lines, nobody};
use crate::wire::{Wire, reply};
use rustix::process::Signal;
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Ports of one agent.
struct Ports {
    udp: u16,
    tcp: u16,
    http: u16,
    api: u16,
}

impl Ports {
    fn new() -> Ports {
        let port = || nobody().port();
        Ports { udp: port(), tcp: port(), http: port(), api: port() }
    }
}

/// A graph with every kind of source; each list says what is different this time.
fn yaml(ports: &Ports, tag: u32, http: &str, syslog: &str, sink: &str, more: &str) -> String {
    let Ports { udp, tcp, http: http_port, api } = ports;
    format!(
        "data_dir: ./data
api: {{listen: \"127.0.0.1:{api}\"}}
shutdown_timeout: 20s
sources:
  datagrams: {{type: syslog, listen: [\"udp://127.0.0.1:{udp}\"], decode: text, receive_buffer: 4MiB{syslog}}}
  stream: {{type: syslog, listen: [\"tcp://127.0.0.1:{tcp}\"], decode: text}}
  web: {{type: http, listen: \"127.0.0.1:{http_port}\", decode: text{http}}}
  files: {{type: file, include: [in.log]}}
transforms:
  tag: {{type: edit, inputs: [datagrams, stream, web, files], set: {{tag: {tag}}}}}
sinks:
  out: {{type: file, inputs: [tag], path: out.log, encoding: text{sink}}}
{more}"
    )
}

fn reload(agent: &Agent, done: usize) {
    agent.signal(Signal::HUP);
    eventually("it takes over", || agent.said().matches("has taken over").count() == done);
}

/// Lines of one client in a file, `name-number`, in order of the numbers.
fn of_client(out: &[String], name: &str) -> Vec<u64> {
    let mut all: Vec<u64> = out
        .iter()
        .filter_map(|line| line.split_once(name)?.1.strip_prefix('-')?.split_whitespace().next()?.parse().ok())
        .collect();
    all.sort_unstable();
    all
}

/// Sends until told to stop; how many it sent.
fn client(stop: &Arc<AtomicBool>, mut send: impl FnMut(u64) + Send + 'static) -> std::thread::JoinHandle<u64> {
    let stop = stop.clone();
    std::thread::spawn(move || {
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            send(n);
            n += 1;
            // A rate, not a wait for something.
            std::thread::sleep(Duration::from_micros(500));
        }
        n
    })
}

/// Clients of every kind send all the time, while one part after the other changes: each line comes out once.
#[test]
fn nothing_is_lost_repeated_or_refused_whatever_changes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ports = Ports::new();
    config(dir, &yaml(&ports, 0, "", "", "", ""));
    std::fs::write(dir.join("in.log"), "").unwrap();
    let agent = Agent::run(dir, &[]);
    eventually("it runs", || agent.said().contains(" running "));
    let stop = Arc::new(AtomicBool::new(false));
    let refused = Arc::new(AtomicU64::new(0));
    let udp = client(&stop, {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = ("127.0.0.1", ports.udp);
        move |n| assert!(socket.send_to(format!("datagram-{n} ").as_bytes(), to).is_ok())
    });
    let tcp = client(&stop, {
        let mut stream = TcpStream::connect(("127.0.0.1", ports.tcp)).unwrap();
        move |n| stream.write_all(format!("stream-{n} \n").as_bytes()).unwrap()
    });
    let web = client(&stop, {
        let (port, refused) = (ports.http, refused.clone());
        let mut open: Option<TcpStream> = None;
        move |n| {
            let mut stream =
                open.take().unwrap_or_else(|| TcpStream::connect(("127.0.0.1", port)).expect("somebody listens"));
            let body = format!("request-{n} ");
            let answer =
                crate::http::request(&mut stream, "POST", "/", &[("content-type", "text/plain")], body.as_bytes());
            refused.fetch_add(u64::from(answer.status != 200), Ordering::Relaxed);
            let closes = answer.headers.get("connection").is_some_and(|value| value == "close");
            open = Some(stream).filter(|_| !closes);
        }
    });
    let file = client(&stop, {
        let mut file = std::fs::OpenOptions::new().append(true).open(dir.join("in.log")).unwrap();
        move |n| writeln!(file, "line-{n} ").unwrap()
    });
    let other = "  other: {type: file, inputs: [web], path: other.log, encoding: text}\n";
    let changes = [
        yaml(&ports, 1, "", "", "", ""),
        yaml(&ports, 1, ", max_body: 1MiB", "", "", ""),
        yaml(&ports, 1, ", max_body: 1MiB", ", max_message: 9KiB", "", ""),
        yaml(&ports, 1, ", max_body: 1MiB", ", max_message: 9KiB", ", fsync: never", ""),
        yaml(&ports, 1, ", max_body: 1MiB", ", max_message: 9KiB", ", fsync: never", other),
        yaml(&ports, 1, "", ", max_message: 9KiB", "", other),
        yaml(&ports, 2, "", "", "", other),
        yaml(&ports, 2, "", "", "", ""),
        yaml(&ports, 3, "", "", "", "").replace("include: [in.log]", "include: [in.log], max_line_bytes: 2MiB"),
        yaml(&ports, 4, "", "", "", ""),
    ];
    for (n, yaml) in changes.iter().enumerate() {
        config(dir, yaml);
        reload(&agent, n + 1);
        let before = lines(&dir.join("out.log")).len();
        eventually("it goes on", || lines(&dir.join("out.log")).len() > before + 50);
    }
    stop.store(true, Ordering::Relaxed);
    let sent = [("datagram", udp), ("stream", tcp), ("request", web), ("line", file)]
        .map(|(name, client)| (name, client.join().unwrap()));
    let all: u64 = sent.iter().map(|(_, n)| n).sum();
    eventually("all of it is there", || lines(&dir.join("out.log")).len() as u64 >= all);
    let said = agent.stop();
    let out = lines(&dir.join("out.log"));
    for (name, n) in sent {
        assert!(of_client(&out, name).into_iter().eq(0..n), "each of {n} once: {name}");
    }
    assert_eq!(refused.load(Ordering::Relaxed), 0);
    assert_balanced(&said);
    assert_eq!(said.matches(" running ").count(), 1, "{said}");
}

/// A server that is not there, and then another address.
#[test]
fn with_a_dead_sink_a_change_is_done_at_once_and_a_mended_address_gets_what_waited() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (dead, port) = (nobody(), nobody().port());
    let ports = Ports::new();
    let sink = |address: &str| {
        format!(
            "data_dir: ./data
api: {{listen: \"127.0.0.1:{}\"}}
sources:
  in: {{type: http, listen: \"127.0.0.1:{port}\", decode: text, acknowledge: received}}
sinks:
  out: {{type: http, inputs: [in], url: \"http://{address}/\", encoding: text}}
",
            ports.api
        )
    };
    config(dir, &sink(&dead.to_string()));
    let agent = Agent::run(dir, &[]);
    eventually("it runs", || agent.said().contains(" running "));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    for n in 0..200 {
        let body = format!("event-{n} ");
        let answer = crate::http::request(&mut stream, "POST", "/", &[("content-type", "text/plain")], body.as_bytes());
        assert_eq!(answer.status, 200);
    }
    eventually("it has tried", || agent.said().contains("is tried again"));
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let server = Wire::start({
        let got = got.clone();
        move |asked| {
            got.lock().unwrap().extend(asked.text().lines().map(str::to_owned));
            reply(200, "")
        }
    });
    let began = std::time::Instant::now();
    config(dir, &sink(&server.address.to_string()));
    reload(&agent, 1);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    eventually("all that waited is there", || got.lock().unwrap().len() >= 200);
    let (status, page) = get(&format!("127.0.0.1:{}", ports.api), "/metrics");
    assert_eq!(status, 200);
    let counted = |line: &str| page.lines().any(|l| l.starts_with(line));
    assert!(counted("tidegate_events_in_total{component_id=\"out\""), "{page}");
    let said = agent.stop();
    let got = got.lock().unwrap().clone();
    assert!(of_client(&got, "event").into_iter().eq(0..200), "{got:?}");
    assert_balanced(&said);
}

/// Whoever keeps his settings keeps his counters, connections and place; one that fails to be built changes nothing.
#[test]
fn what_cannot_be_built_changes_nothing_and_what_is_kept_counts_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ports = Ports::new();
    config(dir, &yaml(&ports, 0, "", "", "", ""));
    std::fs::write(dir.join("in.log"), "").unwrap();
    let agent = Agent::run(dir, &[]);
    eventually("it runs", || agent.said().contains(" running "));
    let mut stream = TcpStream::connect(("127.0.0.1", ports.tcp)).unwrap();
    stream.write_all(b"stream-0 \n").unwrap();
    eventually("it came", || lines(&dir.join("out.log")).len() == 1);
    // A port that somebody has, and in the same file a transform that would be good.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more = yaml(&ports, 7, "", "", "", "").replace(
        "transforms:",
        &format!("  more: {{type: http, listen: \"{}\"}}\ntransforms:", taken.local_addr().unwrap()),
    );
    config(dir, &more.replace("inputs: [datagrams,", "inputs: [more, datagrams,"));
    agent.signal(Signal::HUP);
    eventually("it says so", || agent.said().contains("the one before goes on"));
    stream.write_all(b"stream-1 \n").unwrap();
    eventually("it came", || lines(&dir.join("out.log")).len() == 2);
    config(dir, &yaml(&ports, 8, "", "", "", ""));
    reload(&agent, 1);
    // The same connection: the source was kept.
    stream.write_all(b"stream-2 \n").unwrap();
    eventually("it came", || lines(&dir.join("out.log")).len() == 3);
    let said = agent.stop();
    assert!(of_client(&lines(&dir.join("out.log")), "stream").into_iter().eq(0..3));
    assert_balanced(&said);
    let all = crate::agent::ledger(&said);
    assert!(all.iter().any(|(id, sums)| id == "out" && sums[0] == 3), "{said}");
}

/// Sends HUP without a change.
#[test]
fn without_a_change_nothing_happens() {
    let dir = tempfile::tempdir().unwrap();
    let dir: &Path = dir.path();
    let ports = Ports::new();
    config(dir, &yaml(&ports, 0, "", "", "", ""));
    let agent = Agent::run(dir, &[]);
    eventually("it runs", || agent.said().contains(" running "));
    // Written differently, it means the same.
    config(dir, &(yaml(&ports, 0, "", "", "", "").replace("path: out.log", "path: \"out.log\"") + "# a remark\n"));
    agent.signal(Signal::HUP);
    eventually("it has looked", || agent.said().contains("nothing changes"));
    agent.stop();
}

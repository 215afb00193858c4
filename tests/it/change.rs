//! A graph that changes while it runs: what has changed starts anew, and nothing else. What clients sent is compared with what came
//! out.

use crate::agent::{Agent, assert_balanced, config, eventually, get, lines, nobody, output, tidegate};
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
    eventually("it runs", || agent.said().contains(" running version="));
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
    assert_eq!(said.matches(" running version=").count(), 1, "{said}");
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
    eventually("it runs", || agent.said().contains(" running version="));
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
    eventually("it runs", || agent.said().contains(" running version="));
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
    eventually("it says so", || agent.said().contains("still running the previous configuration"));
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
    eventually("it runs", || agent.said().contains(" running version="));
    // Written differently, it means the same.
    config(dir, &(yaml(&ports, 0, "", "", "", "").replace("path: out.log", "path: \"out.log\"") + "# a remark\n"));
    agent.signal(Signal::HUP);
    eventually("it has looked", || agent.said().contains("nothing changes"));
    agent.stop();
}

/// The command asks the agent that runs on the `data_dir`, waits, and says what has become of it.
#[test]
fn the_command_says_what_has_changed_and_its_exit_code_how_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ports = Ports::new();
    let plain = yaml(&ports, 0, "", "", "", "");
    config(dir, &plain);
    let command = || output(tidegate(dir, &["reload", "tidegate.yaml"]));
    let (code, _, said) = command();
    assert!(code == Some(1) && said.contains("no agent with an `api` runs on ./data"), "{code:?} {said}");
    let agent = Agent::run(dir, &[]);
    eventually("it runs", || agent.said().contains(" running version="));
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(dir.join("data/agent.json")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(command(), (Some(0), "nothing to do: it means what it meant before\n".to_owned(), String::new()));
    let other = "  other: {type: file, inputs: [web], path: other.log, encoding: text}\n";
    config(dir, &yaml(&ports, 7, "", ", max_message: 9KiB", "", other));
    let (code, out, _) = command();
    let without_time = out.split_once(" in ").unwrap().1.split_once(" ms").unwrap().1;
    let want = "\n  ~ datagrams  (max_message)\n  ~ tag  (set)\n  + other\n  4 kept\n";
    // The sink's file is one that no file source may read: it is told.
    assert!(code == Some(0) && (without_time == want || without_time.contains("~ files")), "{out}");
    config(dir, &plain.replace("encoding", "encodng"));
    let (code, out, _) = command();
    assert!(code == Some(78) && out.contains("did you mean `encoding`?"), "{code:?} {out}");
    // Taken by somebody else.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    config(
        dir,
        &plain.replace(&format!("\"127.0.0.1:{}\"{}", ports.http, ", decode"), &format!("\"{address}\", decode")),
    );
    let (code, out, _) = command();
    assert!(code == Some(1) && out.contains(&format!("cannot listen on {address}")), "{code:?} {out}");
    let api = format!("127.0.0.1:{}", ports.api);
    let (_, page) = get(&api, "/metrics");
    for line in [
        "tidegate_config_last_reload_success 0",
        "tidegate_config_reloads_total{result=\"ok\"} 1",
        "tidegate_config_reloads_total{result=\"unchanged\"} 1",
        "tidegate_config_reloads_total{result=\"mistakes\"} 1",
        "tidegate_config_reloads_total{result=\"failed\"} 1",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}: {page}");
    }
    let state = |(status, body): (u16, String)| -> serde_json::Value {
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let now = state(get(&api, "/api/v1/config"));
    assert_eq!((&now["last_reload"]["result"], &now["files"][0]), (&"failed".into(), &"tidegate.yaml".into()));
    // What makes all of the graph start anew takes the API along, and is answered all the same.
    config(dir, &(plain + "threads: 1\n"));
    let (code, out, said) = command();
    assert!(code == Some(0) && out.contains("all of the graph started anew"), "{code:?} {out} {said}");
    let refused = crate::agent::ask_with(&api, "POST", "/api/v1/reload", "Origin: https://evil.example\r\n");
    assert_eq!(refused.0, 403);
    let said = agent.stop();
    assert!(!dir.join("data/agent.json").exists(), "{said}");
}

/// One graph of many that are alike: `all` is given everything, once, whatever else there is.
fn any(ports: &Ports, random: &mut impl FnMut(u32) -> u32) -> String {
    let Ports { udp, tcp, http, api } = ports;
    let (mut transforms, mut sinks) = (String::new(), String::new());
    let mut from = "datagrams, stream, web, files".to_owned();
    for n in 0..random(4) {
        // Ids are dealt anew, so that one that stays may read another, and one that goes comes again.
        let id = format!("t{}", (n + random(2)) % 5);
        if transforms.contains(&format!(" {id}:")) {
            continue;
        }
        let what = match random(3) {
            0 => format!("type: edit, set: {{tag: {}}}", random(3)),
            1 => format!("type: filter, when: 'message != \"no{}\"'", random(3)),
            _ => "type: normalize".to_owned(),
        };
        transforms.push_str(&format!("  {id}: {{inputs: [{from}], {what}}}\n"));
        from = id;
    }
    for n in 0..random(3) {
        let encoding = ["text", "json"][random(2) as usize];
        sinks.push_str(&format!("  s{n}: {{type: file, inputs: [{from}], path: s{n}.log, encoding: {encoding}}}\n"));
    }
    let setting = |yes: u32, text: &str| if yes == 0 { text.to_owned() } else { String::new() };
    let all = setting(random(3), ", fsync: never");
    let (web, stream) = (setting(random(4), ", max_body: 1MiB"), setting(random(4), ", max_message: 9KiB"));
    let files = setting(random(4), ", max_line_bytes: 2MiB");
    let transforms = if transforms.is_empty() { String::new() } else { format!("transforms:\n{transforms}") };
    format!(
        "data_dir: ./data
api: {{listen: \"127.0.0.1:{api}\"}}
sources:
  datagrams: {{type: syslog, listen: [\"udp://127.0.0.1:{udp}\"], decode: text, receive_buffer: 4MiB}}
  stream: {{type: syslog, listen: [\"tcp://127.0.0.1:{tcp}\"], decode: text{stream}}}
  web: {{type: http, listen: \"127.0.0.1:{http}\", decode: text{web}}}
  files: {{type: file, include: [in.log]{files}}}
{transforms}sinks:
  all: {{type: file, inputs: [{from}], path: all.log, encoding: text{all}}}
{sinks}"
    )
}

/// Random graphs, one after the other, under load. `TIDEGATE_CHANGES=1000` and `TIDEGATE_SEED` run it long and again.
#[test]
fn whatever_follows_whatever_nothing_is_lost_and_nothing_comes_twice() {
    let number = |name: &str, else_: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(else_);
    let (changes, seed) = (number("TIDEGATE_CHANGES", 25), number("TIDEGATE_SEED", 7));
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut random = |n: u32| rng.u32(0..n);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ports = Ports::new();
    std::fs::write(dir.join("in.log"), "").unwrap();
    config(dir, &any(&ports, &mut random));
    let agent = Agent::run(dir, &[]);
    eventually("it runs", || agent.said().contains(" running version="));
    let stop = Arc::new(AtomicBool::new(false));
    let udp = client(&stop, {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = ("127.0.0.1", ports.udp);
        move |n| assert!(socket.send_to(format!("datagram-{n} ").as_bytes(), to).is_ok())
    });
    let tcp = client(&stop, {
        let mut stream = TcpStream::connect(("127.0.0.1", ports.tcp)).unwrap();
        move |n| stream.write_all(format!("stream-{n} \n").as_bytes()).unwrap()
    });
    let file = client(&stop, {
        let mut file = std::fs::OpenOptions::new().append(true).open(dir.join("in.log")).unwrap();
        move |n| writeln!(file, "line-{n} ").unwrap()
    });
    let mut handles = Vec::new();
    for n in 0..changes {
        config(dir, &any(&ports, &mut random));
        let (code, out, said) = output(tidegate(dir, &["reload", "tidegate.yaml"]));
        assert_eq!(code, Some(0), "seed {seed}, change {n}: {out} {said}");
        if n % 50 == 24 {
            handles.push((n, agent.rss() >> 10, agent.handles()));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let sent = [("datagram", udp), ("stream", tcp), ("line", file)].map(|(name, c)| (name, c.join().unwrap()));
    let all: u64 = sent.iter().map(|(_, n)| n).sum();
    eventually("all of it is there", || lines(&dir.join("all.log")).len() as u64 >= all);
    let said = agent.stop();
    let out = lines(&dir.join("all.log"));
    for (name, n) in sent {
        assert!(of_client(&out, name).into_iter().eq(0..n), "seed {seed}: each of {n} once: {name}");
    }
    assert_balanced(&said);
    println!("{changes} changes, {all} events; change, resident KiB, handles: {handles:?}");
}

/// Lines of a file that grows, each read once.
struct Written {
    file: Option<std::fs::File>,
    path: std::path::PathBuf,
    lines: u64,
}

impl Written {
    fn now(&mut self) -> u64 {
        self.file = self.file.take().or_else(|| std::fs::File::open(&self.path).ok());
        let mut bytes = Vec::new();
        if let Some(file) = &mut self.file {
            std::io::Read::read_to_end(file, &mut bytes).unwrap();
        }
        self.lines += bytes.iter().filter(|b| **b == b'\n').count() as u64;
        self.lines
    }
}

/// Reloads under load that change one component each: what went in is what came out, nobody is refused, and no memory and no handle
/// stays behind. `TIDEGATE_RELOADS=1000` for the long form (`tests/long/reloads.sh`), which prints how long a request waited.
#[test]
fn many_reloads_under_load_lose_repeat_and_refuse_nothing() {
    let reloads: usize = std::env::var("TIDEGATE_RELOADS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ports = Ports::new();
    let mut parts = [0_usize; 5];
    let text = |parts: &[usize; 5]| {
        let [tag, http, syslog, sink, other] = *parts;
        let pick = |n: usize, a: &str, b: &str| if n.is_multiple_of(2) { a.to_owned() } else { b.to_owned() };
        yaml(
            &ports,
            tag as u32 % 7,
            &pick(http, "", ", max_body: 1MiB"),
            &pick(syslog, "", ", max_message: 9KiB"),
            &pick(sink, "", ", max_open_files: 100"),
            &pick(other, "", "  other: {type: blackhole, inputs: [web]}\n"),
        )
    };
    config(dir, &text(&parts));
    std::fs::write(dir.join("in.log"), "").unwrap();
    let agent = Agent::run(dir, &[]);
    eventually("it runs", || agent.said().contains(" running version="));
    let stop = Arc::new(AtomicBool::new(false));
    let (refused, slowest) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
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
        let (port, refused, slowest) = (ports.http, refused.clone(), slowest.clone());
        let mut open: Option<TcpStream> = None;
        move |n| {
            let began = std::time::Instant::now();
            let mut stream =
                open.take().unwrap_or_else(|| TcpStream::connect(("127.0.0.1", port)).expect("somebody listens"));
            let body = format!("request-{n} ");
            let answer =
                crate::http::request(&mut stream, "POST", "/", &[("content-type", "text/plain")], body.as_bytes());
            refused.fetch_add(u64::from(answer.status != 200), Ordering::Relaxed);
            let closes = answer.headers.get("connection").is_some_and(|value| value == "close");
            open = Some(stream).filter(|_| !closes);
            // Answered when it is delivered: all of the flow is in it.
            slowest.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
    });
    let file = client(&stop, {
        let mut file = std::fs::OpenOptions::new().append(true).open(dir.join("in.log")).unwrap();
        move |n| writeln!(file, "line-{n} ").unwrap()
    });
    let mut written = Written { file: None, path: dir.join("out.log"), lines: 0 };
    let mut random = fastrand::Rng::with_seed(17);
    let (mut waits, mut handles, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..reloads {
        parts[random.usize(..5)] += 1;
        config(dir, &text(&parts));
        slowest.store(0, Ordering::Relaxed);
        agent.signal(Signal::HUP);
        eventually("it takes over", || agent.said().matches("has taken over").count() == n + 1);
        let before = written.now();
        eventually("it goes on", || written.now() > before + 20);
        waits.push(slowest.load(Ordering::Relaxed));
        handles.push(agent.handles());
        memory.push(agent.rss());
    }
    stop.store(true, Ordering::Relaxed);
    let sent = [("datagram", udp), ("stream", tcp), ("request", web), ("line", file)]
        .map(|(name, client)| (name, client.join().unwrap()));
    let all: u64 = sent.iter().map(|(_, n)| n).sum();
    eventually("all of it is there", || written.now() >= all);
    if reloads >= 50 {
        waits.sort_unstable();
        let of = |share: usize| waits[waits.len() * share / 100] as f64 / 1000.0;
        let (median, p99) = (of(50), of(99));
        println!("{reloads} reloads, {all} events; the slowest request around each: median {median} ms, p99 {p99} ms");
        let half = reloads / 2;
        let most = |all: &[usize]| all.iter().max().copied().unwrap_or_default();
        println!(
            "handles: {} at most in the first half, {} in the second",
            most(&handles[..half]),
            most(&handles[half..])
        );
        let mib = |n: usize| memory[n] as f64 / f64::from(1 << 20);
        println!("memory: {:.1} MiB after {half} reloads, {:.1} MiB in the end", mib(half), mib(reloads - 1));
        // Those that are on their way out are there for a moment.
        assert!(most(&handles[half..]) <= most(&handles[..half]) + 8, "{handles:?}");
    }
    let said = agent.stop();
    let out = lines(&dir.join("out.log"));
    for (name, n) in sent {
        assert!(of_client(&out, name).into_iter().eq(0..n), "each of {n} once: {name}");
    }
    assert_eq!(refused.load(Ordering::Relaxed), 0);
    assert_balanced(&said);
}

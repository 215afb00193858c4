//! Remote write of the whole program: to a server that keeps what it takes, and to a real Prometheus.

use crate::agent::{Agent, assert_balanced, config, eventually, ledger, nobody};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tidegate::internals::decoding::protobuf::Fields;

/// Bits of the mark that ends a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// What is answered to a request: a status and how long to leave it alone.
type Answer = (u16, Option<u32>);

/// A server of remote write. Each series is kept as it was last: its value, or that it has ended.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    series: BTreeMap<String, Option<f64>>,
    /// The last value of each, also of those that have ended.
    last: BTreeMap<String, f64>,
    /// When each request came, and what was answered.
    requests: Vec<(Instant, u16)>,
    /// How often each series was ended.
    ends: BTreeMap<String, usize>,
    script: Box<dyn FnMut(usize) -> Answer + Send>,
}

impl Server {
    /// `script` decides about each request by its number.
    pub(crate) fn start(script: impl FnMut(usize) -> Answer + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            series: BTreeMap::new(),
            last: BTreeMap::new(),
            requests: Vec::new(),
            ends: BTreeMap::new(),
            script: Box::new(script),
        }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || drop(serve(stream, &state)));
            }
        });
        Server { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// The series with their last values, without those that have ended.
    pub(crate) fn series(&self) -> BTreeMap<String, f64> {
        let state = self.state.lock().unwrap();
        state.series.iter().filter_map(|(name, value)| Some((name.clone(), (*value)?))).collect()
    }

    /// The last values of all series, ended or not, together.
    pub(crate) fn last_values(&self) -> f64 {
        self.state.lock().unwrap().last.values().sum()
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<(Instant, u16)> {
        self.state.lock().unwrap().requests.clone()
    }

    fn ends(&self) -> BTreeMap<String, usize> {
        self.state.lock().unwrap().ends.clone()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let (status, wait) = {
            let mut state = state.lock().unwrap();
            let n = state.requests.len();
            let (status, wait) = (state.script)(n);
            state.requests.push((Instant::now(), status));
            if (200..300).contains(&status) {
                for (name, bits) in samples(&body) {
                    if bits == STALE {
                        *state.ends.entry(name.clone()).or_default() += 1;
                    } else {
                        state.last.insert(name.clone(), f64::from_bits(bits));
                    }
                    state.series.insert(name, (bits != STALE).then_some(f64::from_bits(bits)));
                }
            }
            (status, wait)
        };
        let wait = wait.map_or(String::new(), |s| format!("Retry-After: {s}\r\n"));
        writer.write_all(format!("HTTP/1.1 {status} -\r\n{wait}Content-Length: 0\r\n\r\n").as_bytes())?;
    }
}

/// Samples of a `WriteRequest` in order: the series' labels, and the bits of the value.
fn samples(body: &[u8]) -> Vec<(String, u64)> {
    let mut out = Vec::new();
    for field in Fields::new(body) {
        let (1, series) = field.unwrap() else { continue };
        let (mut labels, mut bits) = (Vec::new(), Vec::new());
        for field in Fields::new(series.bytes().unwrap()) {
            let (n, part) = field.unwrap();
            let fields = Fields::new(part.bytes().unwrap()).map(Result::unwrap);
            match n {
                1 => {
                    let parts = fields.map(|(_, text)| String::from_utf8(text.bytes().unwrap().to_vec()).unwrap());
                    labels.push(parts.collect::<Vec<_>>().join("="));
                }
                2 => bits.extend(fields.filter(|f| f.0 == 1).map(|(_, value)| value.f64().unwrap().to_bits())),
                _ => {}
            }
        }
        out.extend(bits.into_iter().map(|bits| (labels.join(","), bits)));
    }
    out
}

/// `Retry-After` is obeyed, and the waits grow from one state to the next, however short the interval is.
#[test]
fn a_server_in_trouble_is_left_alone_for_longer_and_longer() {
    // In trouble until the eighth request.
    let server = Server::start(|n| match n {
        0 | 1 => (429, Some(2)),
        2..8 => (503, None),
        _ => (204, None),
    });
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        &format!(
            "data_dir: ./data
sources: {{in: {{type: file, include: [./in.ndjson], decode: json}}}}
sinks:
  out:
    type: prometheus
    inputs: [in]
    metrics: [{{name: a_total, type: counter}}]
    remote_write: {{url: \"{}\", interval: 100ms, retry: {{initial: 100ms, jitter: 0}}, circuit_breaker: {{failures: 20}}}}
",
            server.url()
        ),
    );
    std::fs::write(dir.path().join("in.ndjson"), "{\"v\":1}\n{\"v\":2}\n").unwrap();
    let agent = Agent::run(dir.path(), &[]);
    eventually("it has got through", || !server.series().is_empty());
    let requests = server.requests();
    let gaps: Vec<f64> = requests.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64()).collect();
    assert!(gaps[..2].iter().all(|gap| *gap >= 2.0), "what the server asked for: {gaps:?}");
    // Failures three to eight in a row: 400 ms, 800 ms and so on.
    for (n, gap) in gaps[2..8].iter().enumerate() {
        let wait = 0.1 * f64::from(1 << (n + 2));
        assert!(*gap >= wait, "{wait} s and more: {gaps:?}");
    }
    assert_eq!(server.series().values().sum::<f64>(), 2.0);
    let said = agent.stop();
    assert_eq!(ledger(&said)[1].1, [2, 0, 2, 0, 0, 0], "{said}");
    assert!(server.series().is_empty(), "and the end of the series is said");
    assert!(server.ends().values().all(|n| *n == 1));
}

/// Read again, the configuration ends only the series that do not go on.
#[test]
fn a_reload_ends_only_series_that_do_not_come_again() {
    let server = Server::start(|_| (204, None));
    let dir = tempfile::tempdir().unwrap();
    let write = |more: &str| {
        config(
            dir.path(),
            &format!(
                "data_dir: ./data
sources: {{in: {{type: file, include: [./in.ndjson], decode: json}}}}
sinks:
  out:
    type: prometheus
    inputs: [in]
    metrics: [{{name: a_total, type: counter, labels: {{a: \"{{{{ a }}}}\"}}}}]
    remote_write: {{url: \"{}\", interval: 200ms}}
{more}",
                server.url()
            ),
        );
    };
    write("");
    let append = |line: &str| {
        let mut file =
            std::fs::OpenOptions::new().append(true).create(true).open(dir.path().join("in.ndjson")).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    };
    append("{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
    let agent = Agent::run(dir.path(), &[]);
    eventually("all are there", || server.series().len() == 3);
    // All of it starts anew where a setting of the agent itself changes.
    write("  other: {type: blackhole, inputs: [in]}\nthreads: 1\n");
    agent.signal(Signal::HUP);
    eventually("it runs anew", || agent.said().matches("running").count() == 2);
    append("{\"a\":1}\n");
    eventually("the others have ended", || server.ends().len() == 2);
    let going_on: Vec<String> = server.series().into_keys().collect();
    assert_eq!(going_on, ["__name__=a_total,a=1"]);
    assert_eq!(server.ends().into_keys().collect::<Vec<_>>(), ["__name__=a_total,a=2", "__name__=a_total,a=3"]);
    // A sink that is gone from the configuration ends its series.
    let other = "data_dir: ./data\nsources: {in: {type: file, include: [./in.ndjson], decode: json}}\nsinks:\n  other: {type: blackhole, inputs: [in]}\n";
    config(dir.path(), other);
    agent.signal(Signal::HUP);
    eventually("it ends", || server.series().is_empty());
    assert_balanced(&agent.stop());
}

/// A Prometheus server that takes remote write. Ends when dropped.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    fn start(dir: &Path) -> Option<Prometheus> {
        let address = nobody().to_string();
        std::fs::write(dir.join("prometheus.yml"), "global: {scrape_interval: 1m}\n").unwrap();
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--log.level=error"])
            .args(["--web.enable-remote-write-receiver", &format!("--web.listen-address={address}")])
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => {
                let prometheus = Prometheus { child, address };
                eventually("Prometheus is ready", || prometheus.get("/-/ready").is_some());
                Some(prometheus)
            }
            Err(error) => {
                println!("skipped: Prometheus: {error}");
                None
            }
        }
    }

    fn get(&self, path: &str) -> Option<String> {
        let out = Command::new("curl").args(["-sf", &format!("http://{}{path}", self.address)]).output().ok()?;
        out.status.success().then(|| String::from_utf8(out.stdout).unwrap())
    }

    /// An instant query: the values of now, by the label `a`.
    fn now(&self, metric: &str) -> BTreeMap<String, f64> {
        let answer = self.get(&format!("/api/v1/query?query={metric}")).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let series = answer["data"]["result"].as_array().unwrap().iter();
        series
            .map(|s| {
                let value = s["value"][1].as_str().unwrap().parse().unwrap();
                (s["metric"]["a"].as_str().unwrap_or_default().to_owned(), value)
            })
            .collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Without the marks Prometheus would show the last values for five more minutes.
#[test]
fn series_are_gone_from_a_real_prometheus_when_they_expire_and_when_the_agent_stops() {
    let dir = tempfile::tempdir().unwrap();
    let Some(prometheus) = Prometheus::start(dir.path()) else { return };
    config(
        dir.path(),
        &format!(
            "data_dir: ./data
sources: {{in: {{type: file, include: [./in.ndjson], decode: json}}}}
sinks:
  out:
    type: prometheus
    inputs: [in]
    metrics:
      - {{name: g, type: gauge, value: v, labels: {{a: \"{{{{ a }}}}\"}}}}
      - {{name: h, type: histogram, value: v, buckets: [1], labels: {{a: \"{{{{ a }}}}\"}}}}
    remote_write: {{url: \"http://{}/api/v1/write\", interval: 500ms}}
    expire_after: 2s
",
            prometheus.address
        ),
    );
    let input = dir.path().join("in.ndjson");
    std::fs::write(&input, "{\"a\":\"x\",\"v\":3}\n{\"a\":\"y\",\"v\":5}\n").unwrap();
    let agent = Agent::run(dir.path(), &[]);
    eventually("both are there", || prometheus.now("g").len() == 2);
    assert_eq!(prometheus.now("g"), BTreeMap::from([("x".to_owned(), 3.0), ("y".to_owned(), 5.0)]));
    let began = Instant::now();
    eventually("one is gone while the other goes on", || {
        let mut file = std::fs::OpenOptions::new().append(true).open(&input).unwrap();
        file.write_all(b"{\"a\":\"y\",\"v\":6}\n").unwrap();
        prometheus.now("g") == BTreeMap::from([("y".to_owned(), 6.0)])
    });
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(prometheus.now("h_count").len(), 1);
    assert!(prometheus.now("h_bucket").len() == 1 && prometheus.now("h_sum").len() == 1);
    // It comes again.
    let mut file = std::fs::OpenOptions::new().append(true).open(&input).unwrap();
    file.write_all(b"{\"a\":\"x\",\"v\":4}\n").unwrap();
    eventually("it is there again", || prometheus.now("g").get("x") == Some(&4.0));
    let said = agent.stop();
    for metric in ["g", "h_bucket", "h_sum", "h_count"] {
        assert_eq!(prometheus.now(metric), BTreeMap::new(), "{metric} at once after the end: {said}");
    }
    assert!(!said.contains("refused"), "{said}");
}

/// Prometheus takes a request of version 2 for an empty one of version 1 until 2.54, and answers that all is well.
#[test]
fn a_real_prometheus_has_the_series_whichever_version_it_knows() {
    let dir = tempfile::tempdir().unwrap();
    let Some(prometheus) = Prometheus::start(dir.path()) else { return };
    config(
        dir.path(),
        &format!(
            "data_dir: ./data
sources: {{in: {{type: file, include: [./in.ndjson], decode: json}}}}
sinks:
  out:
    type: prometheus
    inputs: [in]
    metrics:
      - {{name: g, type: gauge, value: v, description: Theirs., labels: {{a: \"{{{{ a }}}}\"}}}}
    remote_write: {{url: \"http://{}/api/v1/write\", interval: 200ms, version: 2}}
",
            prometheus.address
        ),
    );
    std::fs::write(dir.path().join("in.ndjson"), "{\"a\":\"x\",\"v\":3}\n{\"a\":\"y\",\"v\":5}\n").unwrap();
    let agent = Agent::run(dir.path(), &[]);
    eventually("both are there", || prometheus.now("g").len() == 2);
    assert_eq!(prometheus.now("g"), BTreeMap::from([("x".to_owned(), 3.0), ("y".to_owned(), 5.0)]));
    assert_balanced(&agent.stop());
}

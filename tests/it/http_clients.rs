//! Real clients against the http source: what `tests/clients/over_http.py` runs, Prometheus, and curl. What is not
//! installed is skipped and said; `.ci/run` installs it.

use crate::agent::{eventually, get, lines, nobody};
use crate::http::Receiver;
use serde_json::Value as Json;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// As the script sends them.
const AUTH: &str = ", auth: {basic: {user: app, password: s3cret}}";

/// The Python that has the clients: `TIDEGATE_CLIENTS_PYTHON`, that of `.ci/run`, or any.
pub(crate) fn python() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci-venv/bin/python");
    match std::env::var_os("TIDEGATE_CLIENTS_PYTHON") {
        Some(python) => python.into(),
        None if installed.exists() => installed,
        None => "python3".into(),
    }
}

/// Runs the script: what each client says.
fn run_clients(receiver: &Receiver, mode: &str, count: usize) -> Option<Vec<Json>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/over_http.py");
    let url = format!("http://{}", receiver.address);
    let mut command = Command::new(python());
    command.arg(script).args([&url, mode, &count.to_string()]).current_dir(receiver.dir.path());
    let Ok(out) = command.stderr(Stdio::inherit()).output() else {
        println!("skipped: there is no Python");
        return None;
    };
    let said: Vec<Json> =
        String::from_utf8(out.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!said.is_empty());
    Some(said)
}

#[test]
fn what_real_clients_send_arrives_whole_and_they_know_it() {
    const COUNT: usize = 500;
    let receiver = Receiver::start(AUTH);
    let Some(said) = run_clients(&receiver, "up", COUNT) else { return };
    let mut records: HashMap<String, Vec<Json>> = HashMap::new();
    for line in lines(&receiver.dir.path().join("out")) {
        let event: Json = serde_json::from_str(&line).unwrap();
        let name = ["client", "operationName", "message", "name"].iter().find_map(|key| event[*key].as_str());
        records.entry(name.unwrap().to_owned()).or_default().push(event);
    }
    for client in said {
        let name = client["client"].as_str().unwrap();
        if let Some(why) = client["skipped"].as_str() {
            println!("skipped: {name}: {why}");
            continue;
        }
        assert_eq!(client["ok"], true, "{client}");
        let mine = records.remove(name).unwrap_or_default();
        let number = |event: &Json| {
            let places = [&event["n"], &event["tags"]["n"], &event["attributes"]["n"], &event["labels"]["n"]];
            places.into_iter().find_map(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok())).unwrap()
        };
        let mut numbers: Vec<u64> = mine.iter().map(number).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..COUNT as u64), "{name}: {} records", mine.len());
        for event in mine.iter().filter(|event| event["client"].is_string()) {
            let text = "quote \" backslash \\ line\nbreak tab\t NUL \0 snow \u{2603} clef \u{1d11e}";
            assert_eq!(
                (&event["text"], event["nested"]["a"][2]["b"].as_bool()),
                (&Json::from(text), Some(true)),
                "{event}"
            );
        }
        println!("{name}: {} records, whole", mine.len());
    }
    assert!(records.is_empty(), "of nobody: {:?}", records.keys());
    receiver.agent.stop();
}

#[test]
fn real_clients_notice_that_nothing_is_delivered() {
    let dead = "{type: openobserve, inputs: [in], url: \"http://127.0.0.1:9\", organization: o, stream: s}";
    let receiver = Receiver::into(&format!("{AUTH}, acknowledge_timeout: 200ms"), dead);
    for client in run_clients(&receiver, "down", 20).unwrap_or_default() {
        match client["skipped"].as_str() {
            Some(why) => println!("skipped: {}: {why}", client["client"]),
            None => {
                assert_eq!(client["ok"], false, "{client}");
                println!("{}: {}", client["client"].as_str().unwrap(), client["said"].as_str().unwrap());
            }
        }
    }
}

/// A Prometheus server that scrapes itself and writes to the receiver. Ends when dropped.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    fn start(receiver: &Receiver) -> Option<Prometheus> {
        Prometheus::scraping(receiver, None)
    }

    /// With another target that it scrapes.
    fn scraping(receiver: &Receiver, target: Option<SocketAddr>) -> Option<Prometheus> {
        let dir = receiver.dir.path();
        let address = nobody().to_string();
        let job = |target| format!("  - job_name: target\n    static_configs: [{{targets: [\"{target}\"]}}]\n");
        let yaml = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n  - job_name: self\n    static_configs: [{{targets: [\"{address}\"]}}]\n{}remote_write:\n  - url: http://{}/api/v1/write\n    send_exemplars: true\n    basic_auth: {{username: app, password: s3cret}}\n    queue_config: {{batch_send_deadline: 300ms}}\n",
            target.map(job).unwrap_or_default(),
            receiver.address
        );
        std::fs::write(dir.join("prometheus.yml"), yaml).unwrap();
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--log.level=error"])
            .arg("--enable-feature=exemplar-storage")
            .arg(format!("--web.listen-address={address}"))
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some(Prometheus { child, address }),
            Err(error) => {
                println!("skipped: Prometheus: {error}");
                None
            }
        }
    }

    /// The sum of one of its own metrics; `None` as long as it does not answer.
    fn metric(&self, name: &str) -> Option<f64> {
        let page = Command::new("curl").args(["-sf", &format!("http://{}/metrics", self.address)]).output().ok()?;
        let page = String::from_utf8(page.stdout).ok().filter(|page| !page.is_empty())?;
        let of_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        Some(page.lines().filter(of_it).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_prometheus_server_writes_all_its_samples() {
    let receiver = Receiver::start(AUTH);
    let Some(prometheus) = Prometheus::start(&receiver) else { return };
    let metric = |name: &str| prometheus.metric(name).unwrap_or(0.0);
    eventually("it has written", || metric("prometheus_remote_storage_samples_total") > 2_000.0);
    let sent = metric("prometheus_remote_storage_samples_total");
    for name in ["failed", "retried"] {
        assert_eq!(metric(&format!("prometheus_remote_storage_samples_{name}_total")), 0.0, "{name}");
    }
    let events: Vec<Json> =
        lines(&receiver.dir.path().join("out")).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Values that mark the end of a series, or are no numbers, are no events; there are few.
    let said = receiver.agent.stop();
    let dropped = crate::agent::ledger(&said)[0].1[3];
    assert!(events.len() as f64 + dropped as f64 >= sent, "{} events, {dropped} dropped, {sent} sent", events.len());
    let ups: Vec<&Json> = events.iter().filter(|e| e["name"] == "up").collect();
    assert!(!ups.is_empty() && ups.iter().all(|e| e["value"] == 1 && e["labels"]["job"] == "self"), "{ups:?}");
    let counter = events.iter().find(|e| e["name"] == "prometheus_http_requests_total");
    assert!(counter.is_some_and(|e| e["type"] == "counter"), "{counter:?}");
    println!("Prometheus: {sent} samples sent, {} events, {dropped} dropped by rule", events.len());
}

/// An application whose page has a counter with an exemplar, a new one each time, and for the first ten times a gauge. It
/// ends with the test.
fn application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (n, stream) in (1..).zip(listener.incoming()) {
            let Ok(mut stream) = stream else { return };
            let mut head = [0; 4096];
            let _asked = stream.read(&mut head);
            let gauge = if n <= 10 { "# TYPE going gauge\ngoing 1\n" } else { "" };
            let page = format!(
                "# TYPE reqs counter\nreqs_total{{code=\"200\"}} {n} # {{trace_id=\"t{n}\"}} 0.5\n{gauge}# EOF\n"
            );
            let _written = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}",
                page.len()
            );
        }
    });
    address
}

#[test]
fn a_prometheus_servers_exemplars_arrive_with_their_series_and_its_ends_of_series_reach_the_page() {
    let sinks =
        "{type: file, inputs: [in], path: ./out}, page: {type: prometheus, inputs: [in], listen: \"127.0.0.1:0\"}";
    let receiver = Receiver::into(AUTH, sinks);
    let Some(prometheus) = Prometheus::scraping(&receiver, Some(application())) else { return };
    let mut page = String::new();
    eventually("the page is served", || {
        let said = receiver.agent.said();
        let mut said = said.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        let Some(line) = said.find(|line| line["message"] == "metrics are served") else { return false };
        page = line["address"].as_str().unwrap().to_owned();
        true
    });
    let shows = |name: &str| get(&page, "/metrics").1.lines().any(|line| line.starts_with(name));
    eventually("the page has both series", || shows("going{") && shows("reqs_total{"));
    eventually("one has ended", || !shows("going{"));
    assert!(shows("reqs_total{"));
    let metric = |name: &str| prometheus.metric(name).unwrap_or(0.0);
    let sent = metric("prometheus_remote_storage_exemplars_total");
    assert_eq!(metric("prometheus_remote_storage_exemplars_failed_total"), 0.0);
    let dir = receiver.dir.path().to_owned();
    let said = receiver.agent.stop();
    let events = lines(&dir.join("out"));
    let mut arrived = 0;
    for event in events.iter().map(|line| serde_json::from_str::<Json>(line).unwrap()) {
        let Some(exemplars) = event["exemplars"].as_array() else { continue };
        arrived += exemplars.len();
        assert_eq!((&event["name"], &event["labels"]["code"]), (&Json::from("reqs_total"), &Json::from("200")));
        // Its own scrape's, where the request has no later one.
        let last: u64 = exemplars.last().unwrap()["labels"]["trace_id"].as_str().unwrap()[1..].parse().unwrap();
        assert!(last <= event["value"].as_u64().unwrap(), "{event}");
    }
    assert!(arrived > 0, "no exemplar arrived; {sent} were sent");
    let dropped = crate::agent::ledger(&said)[0].1[3];
    assert!(arrived as f64 + dropped as f64 >= sent, "{arrived} arrived, {dropped} dropped, {sent} sent");
    println!("Prometheus: {sent} exemplars sent, {arrived} arrived");
}

#[test]
fn a_prometheus_server_keeps_what_is_not_delivered() {
    let dead = "{type: openobserve, inputs: [in], url: \"http://127.0.0.1:9\", organization: o, stream: s}";
    let receiver = Receiver::into(&format!("{AUTH}, acknowledge_timeout: 200ms"), dead);
    let Some(prometheus) = Prometheus::start(&receiver) else { return };
    let metric = |name: &str| prometheus.metric(name).unwrap_or(0.0);
    eventually("it tries again", || metric("prometheus_remote_storage_samples_retried_total") > 0.0);
    // It counts each batch that it sends, so what failed for good tells.
    assert_eq!(metric("prometheus_remote_storage_samples_failed_total"), 0.0);
}

#[test]
fn curl_sends_what_its_manual_shows() {
    let receiver = Receiver::start(AUTH);
    let dir = receiver.dir.path().to_owned();
    std::fs::write(dir.join("lines.txt"), "one\ntwo\n").unwrap();
    std::fs::write(dir.join("large.json"), format!("[{}]", vec!["{\"large\":true}"; 50_000].join(","))).unwrap();
    let url = |path: &str| format!("http://{}{path}", receiver.address);
    let curl = |path: &str, more: &[&str]| {
        let out = Command::new("curl")
            .args(["-sS", "-u", "app:s3cret", "-w", " %{http_code}"])
            .args(more)
            .arg(url(path))
            .current_dir(&dir)
            .output()
            .unwrap();
        assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(curl("/", &["-d", "{\"a\":1}"]), "{\"events\":1} 200");
    assert_eq!(curl("/", &["--json", "[{\"a\":2},{\"a\":3}]"]), "{\"events\":2} 200");
    assert_eq!(curl("/", &["-H", "content-type: text/plain", "--data-binary", "@lines.txt"]), "{\"events\":2} 200");
    // Large enough for `Expect: 100-continue`, once with its length and once in chunks.
    assert_eq!(curl("/", &["--json", "@large.json"]), "{\"events\":50000} 200");
    assert_eq!(curl("/", &["--json", "@large.json", "-H", "transfer-encoding: chunked"]), "{\"events\":50000} 200");
    assert!(curl("/", &["-d", "{\"a\":"]).ends_with(" 400"));
    let lines = lines(&receiver.dir.path().join("out"));
    assert_eq!(lines.len(), 100_005);
    assert_eq!(lines[..5], ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}", "{\"message\":\"one\"}", "{\"message\":\"two\"}"]);
    assert!(lines[5..].iter().all(|l| l == "{\"large\":true}"));
    receiver.agent.stop();
}

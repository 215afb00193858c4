//! One walk through all that is done with a server: of the double, or of a real one where `TIDEGATE_O2_URL` (http), `TIDEGATE_O2_USER` and
//! `TIDEGATE_O2_PASSWORD` name it. Everything is made under a prefix of its own, and removed at the end.

use crate::agent::{eventually, output, tidegate};
use crate::openobserve_backup::sorted;
use crate::openobserve_double::{Double, PASSWORD, Setup, USER, now_micros};
use base64::Engine;
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// The server, and what is to be removed from it.
struct Server {
    _double: Option<Double>,
    url: String,
    user: String,
    password: String,
    prefix: String,
    dir: tempfile::TempDir,
}

impl Server {
    fn new() -> Server {
        let of = |name: &str| std::env::var(format!("TIDEGATE_O2_{name}")).ok();
        let dir = tempfile::tempdir().unwrap();
        let prefix = format!("tg{}_{}", std::process::id(), now_micros() % 1_000_000);
        match (of("URL"), of("USER"), of("PASSWORD")) {
            (Some(url), Some(user), Some(password)) => {
                Server { _double: None, url: url.trim_end_matches('/').to_owned(), user, password, prefix, dir }
            }
            _ => {
                let double = Double::start(Setup::default());
                let url = double.url();
                Server { _double: Some(double), url, user: USER.into(), password: PASSWORD.into(), prefix, dir }
            }
        }
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn stream(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }

    /// A request by hand: status and body.
    fn call(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let host = self.url.strip_prefix("http://").expect("TIDEGATE_O2_URL begins with http://");
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(crate::agent::PATIENCE)).unwrap();
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", self.user, self.password));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {auth}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        // The double keeps connections open: its answers say how long they are.
        let mut text = Vec::new();
        let mut buf = [0; 4096];
        loop {
            let whole = String::from_utf8_lossy(&text).into_owned();
            if let Some((head, body)) = whole.split_once("\r\n\r\n") {
                let length =
                    head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if length.is_some_and(|length: usize| body.len() >= length) {
                    break;
                }
            }
            match stream.read(&mut buf).unwrap() {
                0 => break,
                n => text.extend_from_slice(&buf[..n]),
            }
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn write(&self, resources: &str) {
        let Server { url, user, password, .. } = self;
        let logs = self.stream("logs");
        let text = format!(
            "data_dir: ./data
sources: {{in: {{type: stdin, decode: json}}}}
sinks: {{o2: {{type: openobserve, inputs: [in], url: \"{url}\", stream: {logs}, auth: {{basic: {{user: \"{user}\", password: '{password}'}}}}}}}}
openobserve:
  url: \"{url}\"
  auth: {{basic: {{user: \"{user}\", password: '{password}'}}}}
{resources}"
        );
        std::fs::write(self.dir().join("tidegate.yaml"), text).unwrap();
    }

    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = tidegate(self.dir(), args);
        command.args(["--config", "tidegate.yaml"]);
        output(command)
    }

    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let (code, out, said) = self.run(args);
        assert_eq!(code, Some(0), "{args:?}: {out}{said}");
        out
    }

    /// All rows of a stream.
    fn rows(&self, stream: &str) -> Vec<Map<String, Value>> {
        let (_, out, _) = self.run(&[
            "openobserve",
            "query",
            "--stream",
            stream,
            "--from",
            "-6h",
            "--format",
            "ndjson",
            "--page",
            "100",
        ]);
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run(&["openobserve", "destroy", "--yes", "--streams"]);
        for name in ["logs", "again"] {
            self.call("DELETE", &format!("/api/default/streams/{}?type=logs", self.stream(name)), "");
        }
    }
}

#[test]
fn all_of_it_in_one_walk() {
    let server = Server::new();
    let (logs, again) = (server.stream("logs"), server.stream("again"));
    let p = &server.prefix;
    server.write("");
    // 250 events, of which many have one time.
    let now = now_micros() / 1000;
    let time = |n: i64| jiff::Timestamp::from_millisecond(now - 600_000 + n / 60).unwrap().to_string();
    let event = |n: i64| {
        json!({"timestamp": time(n), "n": n, "event": "request", "level": "info", "service": "s", "status": 200,
        "duration": n, "path": "/", "text": "O'Brien \"x\""})
    };
    let events: String = (0..250).map(|n| format!("{}\n", event(n))).collect();
    std::fs::write(server.dir().join("in.ndjson"), events).unwrap();
    let mut command = tidegate(server.dir(), &["run", "--config", "tidegate.yaml"]);
    command.stdin(std::fs::File::open(server.dir().join("in.ndjson")).unwrap());
    let (code, _, said) = output(command);
    assert_eq!(code, Some(0), "{said}");
    eventually("all rows are found", || server.rows(&logs).len() == 250);
    let mut numbers: Vec<i64> = server.rows(&logs).iter().map(|row| row["n"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().enumerate().all(|(n, found)| n as i64 == *found), "each once");

    let resources = format!(
        "  streams: {{{logs}: {{retention: 30d}}}}
  folders: {{{p}: {{description: walk}}}}
  destinations: {{{p}: {{url: \"https://example.com/hook\", preset: slack}}}}
  alerts: {{{p}: {{stream: {logs}, sql: \"SELECT count(*) AS n FROM {logs} HAVING count(*) > 1000\", destinations: [{p}]}}}}
  dashboards: {{{p}: {{title: {p}, folder: {p}, panels: [{{title: P, type: stat, sql: \"SELECT count(*) AS n FROM {logs}\"}}]}}}}
"
    );
    server.write(&resources);
    server.done(&["openobserve", "apply", "--yes"]);
    let out = server.done(&["openobserve", "apply", "--yes"]);
    assert!(out.ends_with("0 created, 0 changed, 0 removed, 0 failed\n"), "{out}");
    let path = format!("/api/default/streams/{logs}/settings?type=logs");
    let (status, body) = server.call("PUT", &path, "{\"data_retention\":7}");
    assert_eq!(status, 200, "{body}");
    let (code, plan, said) = server.run(&["openobserve", "plan"]);
    assert!(code == Some(3) && plan.contains("retention_days: 7 -> 30  (changed on the server)"), "{plan}{said}");
    server.done(&["openobserve", "apply", "--yes"]);

    // The shipped dashboards; only what the events have can be asked for.
    let stream = format!("application_logs={logs}");
    server.done(&["openobserve", "apply", "--yes", "--starter", "--preset-stream", &stream]);
    let list = server.done(&["openobserve", "dashboards", "list"]);
    let id = list.lines().find(|line| line.ends_with("System overview")).unwrap().split(' ').next().unwrap();
    let data: Value = serde_json::from_str(&server.done(&["openobserve", "dashboards", "data", id])).unwrap();
    assert_eq!(data["panels"][0]["rows"][0]["requests"], json!(250), "{data}");
    server.done(&["openobserve", "verify"]);

    server.done(&["backup", "create", "--stream", &logs]);
    let out = server.done(&["backup", "verify"]);
    assert!(out.starts_with("ok "), "{out}");
    server.done(&["backup", "restore", "latest", "--stream", &format!("{logs}={again}")]);
    eventually("all rows are back", || server.rows(&again).len() >= server.rows(&logs).len());
    assert_eq!(sorted(server.rows(&again)), sorted(server.rows(&logs)));
}

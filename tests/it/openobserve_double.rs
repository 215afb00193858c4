//! A double of OpenObserve 0.93 on a loopback port: what its HTTP interface does with logs and metrics, traps included.
//! Written from the protocol reference, not from the sink.
//!
//! It keeps what it was sent, says what it saw, and can be told to fail: by status, slowly, by breaking the connection
//! before, within or behind a request.

use crate::openobserve_manage::{Asked, Logs, Manage};
use base64::Engine;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate::internals::decoding::otlp::{Encoding, Request, Signal};
use tidegate::internals::decoding::protobuf::{push_bytes, push_message, push_number};
use tidegate::internals::decoding::remote_write::{self, Families};
use tidegate::internals::event::{Batch, Origin};

pub(crate) const USER: &str = "root@example.com";
pub(crate) const PASSWORD: &str = "Complexpass#123";

/// How the server is set up.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) org: &'static str,
    /// Encodings it takes; others are answered with 415.
    pub(crate) encodings: &'static [&'static str],
    /// `ZO_PAYLOAD_LIMIT`.
    pub(crate) payload_limit: usize,
    /// `ZO_INGEST_ALLOWED_UPTO` and `ZO_INGEST_ALLOWED_IN_FUTURE`, hours.
    pub(crate) window: (i64, i64),
    /// `ZO_COLS_PER_RECORD_LIMIT`.
    pub(crate) columns: usize,
    /// A value of the field `uncastable` that no column type fits.
    pub(crate) uncastable: &'static str,
    /// `ZO_BULK_RESPONSE_INCLUDE_ERRORS_ONLY`.
    pub(crate) errors_only: bool,
    /// A token that is good beside the password.
    pub(crate) token: &'static str,
    /// What `/config` says; its management interface is of that version.
    pub(crate) version: &'static str,
    /// It is of version 0.8, which drops histograms and summaries that come as JSON, without a word.
    pub(crate) old: bool,
    /// Metrics whose points it does not take by OTLP, and counts as failed in JSON.
    pub(crate) unwanted: &'static str,
    /// Metrics of which it stores one sample less than it was sent by JSON, and says so.
    pub(crate) short: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            org: "default",
            encodings: &["gzip", "deflate", "zstd", "identity"],
            payload_limit: 200 << 20,
            window: (5, 24),
            columns: 1000,
            uncastable: "uncastable",
            errors_only: false,
            token: "o2oi_secret-token",
            version: "v0.92.2",
            old: false,
            unwanted: "unwanted",
            short: "short",
        }
    }
}

/// What happens to one request in place of an answer.
pub(crate) enum Fault {
    /// This answer, with further headers.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The real answer after a while.
    Slow(Duration),
    /// The body is read, and no answer comes until the client hangs up; nothing is stored.
    Never,
    /// The body is read, and the connection breaks.
    ResetBeforeAnswer,
    /// The records are stored, and the connection breaks within the answer.
    ResetInAnswer,
    /// The real answer, and the connection is closed without a word about it.
    CloseAfter,
    /// The real answer, and the connection is closed when the next request comes.
    CloseUponNext,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// Decoded; empty where that was not possible.
    pub(crate) body: Vec<u8>,
    /// What was answered; 0 for a broken connection.
    pub(crate) status: u16,
    /// How many requests that brought something had come before it.
    pub(crate) number: usize,
}

/// What happened to a request that brought something, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All of it has come.
    Came(usize),
    /// Its answer is about to be sent: whoever sent it may know from now on.
    Answered(usize),
}

#[derive(Default)]
struct Stream {
    records: Vec<Map<String, Value>>,
    columns: BTreeMap<String, Column>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Bool,
    Int,
    Float,
    Text,
}

type Script = dyn FnMut(usize, &Seen) -> Option<Fault> + Send;

struct State {
    setup: Setup,
    streams: BTreeMap<String, Stream>,
    metrics: BTreeMap<String, Stream>,
    /// Types of the streams of metrics, as they came first.
    kinds: BTreeMap<String, String>,
    families: Arc<Families>,
    traces: BTreeMap<String, Stream>,
    seen: Vec<Seen>,
    /// Is asked for every request that brings records; counted from 0.
    script: Option<Box<Script>>,
    /// So many of the next requests break half-way through their body.
    breaks: usize,
    posts: usize,
    steps: Vec<Step>,
    /// Connections that are open.
    connections: usize,
    deleting: BTreeSet<String>,
    manage: Manage,
    /// Requests since the last call of [`Double::stop_at`].
    asked: usize,
    /// The request, by its number, whose client gets no answer; done before that, or not.
    stop_at: Option<(usize, Done)>,
    stopped: bool,
}

/// Whether a request that is not answered is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Yes,
    No,
}

/// A running server.
pub(crate) struct Double {
    address: SocketAddr,
    over_tls: bool,
    state: Arc<Mutex<State>>,
}

impl Double {
    pub(crate) fn start(setup: Setup) -> Double {
        Double::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), setup, None)
    }

    /// Speaks TLS with the certificate of the fixtures.
    pub(crate) fn start_tls() -> Double {
        Double::start_tls_on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(crate) fn start_tls_on(listener: TcpListener) -> Double {
        Double::start_on(listener, Setup::default(), Some(Arc::new(crate::wire::tls_config("cert", "key", None))))
    }

    /// Serves on a listener, over TLS where there is a configuration of it.
    pub(crate) fn start_on(listener: TcpListener, setup: Setup, tls: Option<Arc<rustls::ServerConfig>>) -> Double {
        let over_tls = tls.is_some();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            manage: Manage::new(setup.version),
            asked: 0,
            stop_at: None,
            stopped: false,
            setup,
            streams: BTreeMap::new(),
            metrics: BTreeMap::new(),
            kinds: BTreeMap::new(),
            families: Arc::default(),
            traces: BTreeMap::new(),
            seen: Vec::new(),
            script: None,
            breaks: 0,
            posts: 0,
            steps: Vec::new(),
            connections: 0,
            deleting: BTreeSet::new(),
        }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, tls) = (shared.clone(), tls.clone());
                state.lock().unwrap().connections += 1;
                std::thread::spawn(move || {
                    let _open = Connection(state.clone());
                    let raw = stream.try_clone().unwrap();
                    match tls {
                        None => serve(stream, &raw, &state),
                        Some(tls) => {
                            let session = rustls::ServerConnection::new(tls).unwrap();
                            serve(rustls::StreamOwned::new(session, stream), &raw, &state);
                        }
                    }
                });
            }
        });
        Double { address, over_tls, state }
    }

    /// Leaves the request with this number without an answer, and counts from now on; `None`: answers all.
    pub(crate) fn stop_at(&self, stop_at: Option<(usize, Done)>) {
        let mut state = self.state.lock().unwrap();
        (state.stop_at, state.asked, state.stopped) = (stop_at, 0, false);
    }

    /// Whether that request has come.
    pub(crate) fn has_stopped(&self) -> bool {
        self.state.lock().unwrap().stopped
    }

    /// Looks at, or changes, what is managed, as somebody at the server would.
    pub(crate) fn manage<T>(&self, with: impl FnOnce(&mut Manage) -> T) -> T {
        with(&mut self.state.lock().unwrap().manage)
    }

    /// Puts rows into a stream of logs as they are, without the window.
    pub(crate) fn put_rows(&self, stream: &str, rows: impl IntoIterator<Item = Value>) {
        let mut state = self.state.lock().unwrap();
        let to = state.streams.entry(stream.to_owned()).or_default();
        rows.into_iter().for_each(|row| to.store(row.as_object().unwrap().clone()));
    }

    /// Takes all rows of a stream of logs away.
    pub(crate) fn clear(&self, stream: &str) {
        self.state.lock().unwrap().streams.remove(stream);
    }

    /// Puts rows into a stream of another type as they are: `metrics` or `traces`.
    pub(crate) fn put_rows_of(&self, kind: &str, stream: &str, rows: impl IntoIterator<Item = Value>) {
        let mut state = self.state.lock().unwrap();
        let streams = if kind == "metrics" { &mut state.metrics } else { &mut state.traces };
        let to = streams.entry(stream.to_owned()).or_default();
        rows.into_iter().for_each(|row| to.store(row.as_object().unwrap().clone()));
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.over_tls { "https" } else { "http" }, self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What has happened to requests so far, in order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.state.lock().unwrap().steps.clone()
    }

    /// Whether all is read that came over connections which clients have ended by now, and none is open.
    pub(crate) fn is_quiet(&self) -> bool {
        // Connections are taken in the order in which they were made: when this one is, all before it were.
        let mut last = TcpStream::connect(self.address).unwrap();
        last.write_all(b"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
        _ = last.read(&mut [0; 1]);
        self.state.lock().unwrap().connections <= 1
    }

    /// Decides about every request that brings records, by its number.
    pub(crate) fn script(&self, script: impl FnMut(usize, &Seen) -> Option<Fault> + Send + 'static) {
        self.state.lock().unwrap().script = Some(Box::new(script));
    }

    /// Lets so many of the next requests break half-way through their body.
    pub(crate) fn break_bodies(&self, requests: usize) {
        self.state.lock().unwrap().breaks = requests;
    }

    /// Answers for this stream that it is being deleted.
    #[allow(dead_code, reason = "for tests by hand")]
    pub(crate) fn deleting(&self, stream: &str, on: bool) {
        let mut state = self.state.lock().unwrap();
        if on {
            state.deleting.insert(stream.to_owned());
        } else {
            state.deleting.remove(stream);
        }
    }

    /// The records of a stream of logs, in the order in which they came, with the column types of now.
    pub(crate) fn stored(&self, stream: &str) -> Vec<Map<String, Value>> {
        let state = self.state.lock().unwrap();
        state.streams.get(stream).map(Stream::typed).unwrap_or_default()
    }

    pub(crate) fn metrics(&self, stream: &str) -> Vec<Map<String, Value>> {
        let state = self.state.lock().unwrap();
        state.metrics.get(stream).map(Stream::typed).unwrap_or_default()
    }

    /// Names of the streams of metrics, with their types.
    pub(crate) fn metric_streams(&self) -> Vec<(String, String)> {
        let state = self.state.lock().unwrap();
        let kind = |name: &String| state.kinds.get(name).cloned().unwrap_or_default();
        state.metrics.keys().map(|name| (name.clone(), kind(name))).collect()
    }

    /// The spans of a stream of traces, as [`tidegate::internals::decoding::otlp`] reads them.
    pub(crate) fn spans(&self, stream: &str) -> Vec<Map<String, Value>> {
        let state = self.state.lock().unwrap();
        state.traces.get(stream).map(|s| s.records.clone()).unwrap_or_default()
    }

    /// Names of the streams of traces.
    pub(crate) fn trace_streams(&self) -> Vec<String> {
        self.state.lock().unwrap().traces.keys().cloned().collect()
    }

    /// Names of the streams of logs.
    pub(crate) fn streams(&self) -> Vec<String> {
        self.state.lock().unwrap().streams.keys().cloned().collect()
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Requests that brought records.
    pub(crate) fn posts(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|s| s.method == "POST").collect()
    }
}

impl Stream {
    fn typed(&self) -> Vec<Map<String, Value>> {
        let cast = |(key, value): (&String, &Value)| {
            let value = match (self.columns.get(key), value) {
                (Some(Column::Text), Value::Number(n)) => Value::String(n.to_string()),
                (Some(Column::Text), Value::Bool(b)) => Value::String(b.to_string()),
                (Some(Column::Int | Column::Float), Value::Bool(b)) => json!(u8::from(*b)),
                _ => value.clone(),
            };
            (key.clone(), value)
        };
        self.records.iter().map(|r| r.iter().map(cast).collect()).collect()
    }

    fn store(&mut self, record: Map<String, Value>) {
        for (key, value) in &record {
            let column = match value {
                Value::Bool(_) => Column::Bool,
                Value::Number(n) if n.is_i64() || n.is_u64() => Column::Int,
                Value::Number(_) => Column::Float,
                _ => Column::Text,
            };
            let known = self.columns.entry(key.clone()).or_insert(column);
            *known = (*known).max(column);
        }
        self.records.push(record);
    }
}

// ---- HTTP ------------------------------------------------------------------------------------------------------

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn json(status: u16, body: &Value) -> Answer {
        Answer {
            status,
            headers: vec![("Content-Type", "application/json".into())],
            body: body.to_string().into_bytes(),
        }
    }

    fn text(status: u16, body: &str) -> Answer {
        Answer { status, headers: vec![("Content-Type", "text/plain".into())], body: body.into() }
    }

    fn error(status: u16, message: &str) -> Answer {
        Answer::json(status, &json!({"code": status, "message": message}))
    }
}

/// A handler that dies: the connection closes without a response.
struct Panic;

/// An open connection.
struct Connection(Arc<Mutex<State>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).connections -= 1;
    }
}

fn serve<S: Read + Write>(stream: S, raw_stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some((mut seen, length)) = read_head(&mut reader) {
        let post = seen.method == "POST";
        let breaks = {
            let mut state = state.lock().unwrap();
            let breaks = post && state.breaks > 0;
            state.breaks -= usize::from(breaks);
            breaks
        };
        let mut raw = vec![0; if breaks { length / 2 } else { length }];
        if reader.read_exact(&mut raw).is_err() {
            return;
        }
        if breaks {
            state.lock().unwrap().seen.push(seen);
            return reset(raw_stream);
        }
        let fault = {
            let mut state = state.lock().unwrap();
            let n = state.posts;
            state.posts += usize::from(post);
            seen.number = n;
            state.steps.extend(post.then_some(Step::Came(n)));
            seen.body = state.decode(&seen, &raw).unwrap_or_default();
            state.script.as_mut().filter(|_| post).and_then(|script| script(n, &seen))
        };
        if let Some(Fault::Slow(wait)) = fault {
            std::thread::sleep(wait);
        }
        if let Some(Fault::Never) = fault {
            state.lock().unwrap().seen.push(seen);
            _ = std::io::copy(&mut reader, &mut std::io::sink());
            return;
        }
        let stops = {
            let mut state = state.lock().unwrap();
            let n = state.asked;
            state.asked += 1;
            state.stop_at.filter(|(at, _)| *at == n).map(|(_, done)| done)
        };
        if let Some(done) = stops {
            let mut state_ = state.lock().unwrap();
            if done == Done::Yes {
                _ = state_.answer(&mut seen, &raw);
            }
            state_.stopped = true;
            drop(state_);
            _ = std::io::copy(&mut reader, &mut std::io::sink());
            return;
        }
        let answer = match fault {
            Some(Fault::Answer(status, ref headers, ref body)) => {
                Ok(Answer { status, headers: headers.clone(), body: body.clone().into_bytes() })
            }
            Some(Fault::ResetBeforeAnswer) => Err(Panic),
            _ => state.lock().unwrap().answer(&mut seen, &raw),
        };
        seen.status = answer.as_ref().map_or(0, |a| a.status);
        let head = seen.method == "HEAD";
        {
            let mut state = state.lock().unwrap();
            state.steps.extend((post && answer.is_ok()).then_some(Step::Answered(seen.number)));
            state.seen.push(seen);
        }
        let Ok(mut answer) = answer else { return reset(raw_stream) };
        let clock = state.lock().unwrap().manage.clock;
        if clock != 0 {
            let now = jiff::Timestamp::from_second(now_micros() / 1_000_000 + clock).unwrap();
            answer.headers.push(("Date", now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()));
        }
        let mut text = format!("HTTP/1.1 {} -\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
        for (name, value) in &answer.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut text = text.into_bytes();
        if !head {
            text.extend_from_slice(&answer.body);
        }
        if let Some(Fault::ResetInAnswer) = fault {
            _ = reader.get_mut().write_all(&text[..text.len() - answer.body.len() / 2]);
            return reset(raw_stream);
        }
        let stream = reader.get_mut();
        if stream.write_all(&text).and_then(|()| stream.flush()).is_err() {
            return;
        }
        if let Some(Fault::CloseUponNext) = fault {
            _ = reader.fill_buf();
        }
        if let Some(Fault::CloseAfter | Fault::CloseUponNext) = fault {
            reset(raw_stream);
            return;
        }
    }
}

fn reset(stream: &TcpStream) {
    // Closed with unread bytes or without an answer: the client sees a reset or an end, both are what happens.
    _ = stream.shutdown(Shutdown::Both);
}

fn read_head<S: Read>(reader: &mut BufReader<S>) -> Option<(Seen, usize)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?);
    // Asked as a proxy: the whole address is given.
    let path = path.strip_prefix("http://").map_or(path, |rest| rest.find('/').map_or("/", |i| &rest[i..])).to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    assert!(!headers.contains_key("transfer-encoding"), "bodies come with a Content-Length");
    let length = headers.get("content-length").map_or(0, |v| v.parse().unwrap());
    Some((Seen { method, path, headers, body: Vec::new(), status: 0, number: 0 }, length))
}

// ---- what the server does --------------------------------------------------------------------------------------

impl State {
    /// Decompression, then authentication, then routing, as the middleware lies.
    fn answer(&mut self, seen: &mut Seen, raw: &[u8]) -> Result<Answer, Panic> {
        if seen.path == "/healthz" {
            return Ok(Answer::json(200, &json!({"status": "ok"})));
        }
        if seen.path == "/config" {
            return Ok(Answer::json(200, &json!({"version": self.setup.version, "build_type": "opensource"})));
        }
        let body = match self.decode(seen, raw) {
            Ok(body) => body,
            Err(answer) => return Ok(answer),
        };
        if let Some(answer) = self.refuse_stranger(seen) {
            return Ok(answer);
        }
        let path = seen.path.split('?').next().unwrap().to_owned();
        let Some(rest) = path.strip_prefix("/api/") else { return Ok(Answer::text(404, "")) };
        let (v2, rest) = rest.strip_prefix("v2/").map_or((false, rest), |rest| (true, rest));
        let (org, rest) = rest.split_once('/').unwrap_or((rest, ""));
        if org != self.setup.org {
            return Ok(Answer::text(404, "Organization not found"));
        }
        let parts: Vec<String> = rest.split('/').map(percent_decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if v2 || !matches!(parts.last(), Some(&"_json" | &"_multi")) {
            let (logs, metrics, traces) = (rows_of(&self.streams), rows_of(&self.metrics), rows_of(&self.traces));
            let others = [("metrics", &metrics), ("traces", &traces)];
            let asked = Asked { method: &seen.method, v2, parts: &parts, url: &seen.path, body: &body, others };
            if let Some((status, body)) = self.manage.answer(&asked, &logs) {
                return Ok(Answer::json(status, &body));
            }
        }
        match (seen.method.as_str(), parts.as_slice()) {
            ("GET" | "HEAD", [""]) => {
                Ok(Answer::json(200, &json!({"name": "opensearch", "tagline": "You Know, for Search"})))
            }
            ("POST", ["_bulk"]) => self.bulk(&body),
            ("POST", ["v1", "logs"]) => Ok(self.otlp(Signal::Logs, seen, body)),
            ("POST", ["v1", "metrics"]) => Ok(self.otlp_metrics(seen, body)),
            ("POST", ["prometheus", "api", "v1", "write"]) => Ok(self.remote_write(seen, &body)),
            ("POST", ["v1", "traces"]) => Ok(self.otlp(Signal::Traces, seen, body)),
            ("POST", ["ingest", "metrics", "_json"]) => Ok(self.ingest_metrics(&body)),
            ("POST", [stream, "_json"]) => match parse_json(&body) {
                Ok(records) => self.ingest(stream, records),
                Err(answer) => Ok(answer),
            },
            ("POST", [stream, "_multi"]) => {
                let mut records = Vec::new();
                for line in body.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty()) {
                    match serde_json::from_slice(line) {
                        Ok(record) => records.push(record),
                        Err(e) => {
                            return Ok(Answer::error(400, &format!("Error# Failed processing: JsonError({e})")));
                        }
                    }
                }
                self.ingest(stream, records)
            }
            _ => Ok(Answer::text(404, "")),
        }
    }

    fn decode(&self, seen: &Seen, raw: &[u8]) -> Result<Vec<u8>, Answer> {
        let encoding = seen.headers.get("content-encoding").map_or("identity", String::as_str);
        // Let through undecoded for those who know it.
        if encoding != "snappy" && !self.setup.encodings.contains(&encoding) {
            let header = vec![("Accept-Encoding", self.setup.encodings.join(","))];
            return Err(Answer { status: 415, headers: header, body: Vec::new() });
        }
        let limit = self.setup.payload_limit as u64 + 1;
        let mut body = Vec::new();
        let read = match encoding {
            "gzip" => flate2::read::GzDecoder::new(raw).take(limit).read_to_end(&mut body),
            "deflate" => flate2::read::ZlibDecoder::new(raw).take(limit).read_to_end(&mut body),
            "zstd" => zstd::Decoder::new(raw).unwrap().take(limit).read_to_end(&mut body),
            _ => {
                body.extend_from_slice(raw);
                Ok(raw.len())
            }
        };
        if read.is_err() {
            return Err(Answer::text(400, "Failed to buffer the request body: corrupt"));
        }
        if body.len() > self.setup.payload_limit {
            return Err(Answer::text(413, "Failed to buffer the request body: length limit exceeded"));
        }
        Ok(body)
    }

    fn refuse_stranger(&self, seen: &Seen) -> Option<Answer> {
        let Some(given) = seen.headers.get("authorization") else {
            return Some(Answer::error(401, "Unauthorized Access"));
        };
        let pair = given
            .strip_prefix("Basic ")
            .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = pair.as_deref().and_then(|p| p.split_once(':'));
        let fine = pair.is_some_and(|(user, secret)| {
            user == USER && secret == PASSWORD || !user.is_empty() && secret == self.setup.token
        });
        (!fine).then(|| {
            let mut answer = Answer::text(401, "Unauthorized Access");
            answer.headers.push(("WWW-Authenticate", "Bearer realm=\"openobserve\"".into()));
            answer
        })
    }

    fn ingest(&mut self, stream: &str, records: Vec<Value>) -> Result<Answer, Panic> {
        if stream.is_empty() {
            return Ok(Answer::error(400, "Error# Stream name is empty"));
        }
        let name = format_stream(stream);
        if self.deleting.contains(&name) {
            return Ok(Answer::error(400, &format!("Error# stream [{name}] is being deleted")));
        }
        let mut good = Vec::new();
        let (mut failed, mut error) = (0, String::new());
        for record in records {
            match self.record(record, true)? {
                Ok(record) => good.push(record),
                Err((_, text)) => {
                    failed += 1;
                    error = text;
                }
            }
        }
        let mut columns: BTreeSet<&String> = BTreeSet::new();
        columns.extend(good.iter().flat_map(|r| r.keys()));
        let mut status = json!({"name": name, "successful": good.len(), "failed": failed});
        if columns.len() > self.setup.columns {
            // The write error is swallowed.
            status = json!({"name": name, "successful": 0, "failed": 0});
            return Ok(Answer::json(200, &json!({"code": 200, "status": [status]})));
        }
        if !error.is_empty() {
            status["error"] = json!(error);
        }
        let to = self.streams.entry(name).or_default();
        good.into_iter().for_each(|r| to.store(r));
        Ok(Answer::json(200, &json!({"code": 200, "status": [status]})))
    }

    /// One record as it is stored, or the type and text of its error.
    #[allow(clippy::type_complexity)]
    fn record(
        &self,
        record: Value,
        null_is_now: bool,
    ) -> Result<Result<Map<String, Value>, (&'static str, String)>, Panic> {
        let Value::Object(object) = record else {
            return Ok(Err(("flatten", "flatten value must be an object".into())));
        };
        let null_time = object.get("_timestamp").is_some_and(Value::is_null);
        let mut flat = Map::new();
        flatten("", &object, 1, 3, &mut flat);
        if flat.get("_id").is_some_and(|id| !id.is_string()) {
            return Err(Panic);
        }
        let unparsable = || Ok(Err(("timestamp_parsing_failed", "Can't parse timestamp".to_owned())));
        if null_time && !null_is_now {
            return unparsable();
        }
        let now = now_micros();
        let time = match flat.get("_timestamp") {
            None => now,
            Some(value) => match read_time(value) {
                Some(0) => now,
                Some(time) => time,
                None => return unparsable(),
            },
        };
        let (past, future) = self.setup.window;
        const HOUR: i64 = 3_600_000_000;
        if time < now - past * HOUR {
            let text = format!(
                "Too old data, only last {past} hours data can be ingested. Data discarded. You can adjust ingestion max \
                 time by setting the environment variable ZO_INGEST_ALLOWED_UPTO=<max_hours>"
            );
            return Ok(Err(("timestamp_parsing_failed", text)));
        }
        if time > now + future * HOUR {
            let text = format!("Too far data, only future {future} hours data can be ingested. Data discarded.");
            return Ok(Err(("timestamp_parsing_failed", text)));
        }
        if flat.get("uncastable").and_then(Value::as_str) == Some(self.setup.uncastable) {
            return Ok(Err(("schema_conformance_failed", "Failed to cast uncastable to type Int64 ".into())));
        }
        flat.insert("_timestamp".into(), json!(time));
        Ok(Ok(flat))
    }

    fn bulk(&mut self, body: &[u8]) -> Result<Answer, Panic> {
        let text = String::from_utf8_lossy(body);
        let mut lines = text.lines().filter(|l| !l.trim().is_empty());
        let (mut early, mut rest) = (Vec::new(), BTreeMap::<String, Vec<Value>>::new());
        let mut errors = false;
        while let Some(line) = lines.next() {
            let action: Value = match serde_json::from_str(line) {
                Ok(action) => action,
                Err(e) => return Ok(Answer::error(400, &format!("SerdeJsonError# {e}"))),
            };
            let Some((verb, target)) = action.as_object().and_then(|a| a.iter().next()) else { continue };
            if !matches!(verb.as_str(), "index" | "create" | "update") {
                continue;
            }
            let (index, id) = (target["_index"].as_str().unwrap_or(""), target["_id"].as_str().unwrap_or(""));
            let Some(document) = lines.next() else { break };
            let mut document: Value = match serde_json::from_str(document) {
                Ok(document) => document,
                Err(e) => return Ok(Answer::error(400, &format!("SerdeJsonError# {e}"))),
            };
            if !document.is_object() {
                return Err(Panic);
            }
            let failure = |kind: &str, reason: &str| {
                json!({verb: {"_index": index, "_id": id, "status": 422, "originalRecord": null,
                    "error": {"type": kind, "reason": reason, "index_uuid": "0", "shard": "1", "index": index}}})
            };
            if matches!(index, "" | "_" | "/") {
                errors = true;
                let words = format!("Invalid stream name: {line}");
                early.push(failure(&words, &words));
                continue;
            }
            if !id.is_empty() {
                document["_id"] = json!(id);
            }
            let name = format_stream(index);
            if self.deleting.contains(&name) {
                return Ok(Answer::error(400, &format!("Error# stream [{name}] is being deleted")));
            }
            match self.record(document, false)? {
                Ok(record) => {
                    let item = json!({"index": {"_index": name, "_id": id, "_version": 1, "result": "created", "status": 200,
                        "_shards": {"total": 1, "successful": 1, "failed": 0}, "_seq_no": 1, "_primary_term": 1}});
                    self.streams.entry(name.clone()).or_default().store(record);
                    rest.entry(name).or_default().push(item);
                }
                Err((kind, reason)) => {
                    errors |= kind == "timestamp_parsing_failed";
                    early.push(failure(kind, &reason));
                }
            }
        }
        // Failures first, then streams in some order, and within one backwards, lest someone counts on it.
        let mut items = early;
        if !self.setup.errors_only {
            for (_, mut of_stream) in rest {
                of_stream.reverse();
                items.append(&mut of_stream);
            }
        }
        Ok(Answer::json(200, &json!({"took": 0, "errors": errors, "items": items})))
    }

    /// Logs and spans in protocol buffers. They are kept as our own reader reads them, whose independent checks are the
    /// clients of OpenTelemetry itself.
    fn otlp(&mut self, signal: Signal, seen: &Seen, body: Vec<u8>) -> Answer {
        if seen.headers.get("content-type").map(String::as_str) != Some("application/x-protobuf") {
            return Answer::text(400, "Bad Request");
        }
        let request = match Request::read(signal, Encoding::Protobuf, body, 1 << 20) {
            Ok(request) => request,
            Err(error) => return Answer::text(400, &format!("Invalid proto: {error}")),
        };
        let name = format_stream(seen.headers.get("stream-name").map_or("default", String::as_str));
        let (past, future) = self.setup.window;
        let now = now_micros();
        let mut rejected = 0u8;
        let streams = if signal == Signal::Logs { &mut self.streams } else { &mut self.traces };
        let to = streams.entry(name).or_default();
        for batch in request.into_batches(Origin::of_source("double"), 0) {
            for event in batch.iter() {
                let micros = event.time().unwrap_or(0) / 1000;
                if !(now - past * 3_600_000_000..=now + future * 3_600_000_000).contains(&micros) {
                    rejected += 1;
                    continue;
                }
                let mut line = Vec::new();
                event.write_json(&mut line);
                to.store(serde_json::from_slice(&line).unwrap());
            }
        }
        exported(rejected, "Too old data. Data discarded.")
    }

    /// Metrics in protocol buffers, taken apart as our own reader does it, whose independent check are the clients of
    /// OpenTelemetry; labels and names as the server forms them.
    fn otlp_metrics(&mut self, seen: &Seen, body: Vec<u8>) -> Answer {
        if seen.headers.get("content-type").map(String::as_str) != Some("application/x-protobuf") {
            return Answer::text(400, "Bad Request");
        }
        let request = match Request::read(Signal::Metrics, Encoding::Protobuf, body, 1 << 20) {
            Ok(request) => request,
            Err(error) => return Answer::text(400, &format!("Invalid proto: {error}")),
        };
        let batches: Vec<Batch> = request.into_batches(Origin::of_source("double"), 0).collect();
        let rejected = self.store_samples(&batches);
        exported(rejected, "the metric is not wanted")
    }

    fn remote_write(&mut self, seen: &Seen, body: &[u8]) -> Answer {
        if seen.headers.get("content-type").map(String::as_str) != Some("application/x-protobuf") {
            return Answer::error(400, "Bad Request");
        }
        let Ok(plain) = snap::raw::Decoder::new().decompress_vec(body) else {
            return Answer::error(400, "Invalid snappy compressed data: corrupt");
        };
        let request = match remote_write::Request::read(plain, 1 << 20, &self.families) {
            Ok(request) => request,
            Err(error) => return Answer::error(400, &format!("Invalid protobuf: {error}")),
        };
        let batches: Vec<Batch> = request.into_batches(Origin::of_source("double"), 0).collect();
        self.store_samples(&batches);
        Answer::text(200, "")
    }

    /// Stores metric events; how many it does not want.
    fn store_samples(&mut self, batches: &[Batch]) -> u8 {
        let mut rejected = 0;
        for event in batches.iter().flat_map(Batch::iter) {
            let mut line = Vec::new();
            event.write_json(&mut line);
            let event_json: Value = serde_json::from_slice(&line).unwrap();
            let name = format_stream(event_json["name"].as_str().unwrap());
            if name == self.setup.unwanted {
                rejected += 1;
                continue;
            }
            let mut record = Map::new();
            for (key, value) in event_json["labels"].as_object().unwrap() {
                let value = if key == "le" && value == "+Inf" { json!("inf") } else { value.clone() };
                record.insert(format_key(key), value);
            }
            record.insert("__name__".into(), json!(name));
            record.insert("value".into(), json!(event_json["value"].as_f64()));
            record.insert("_timestamp".into(), json!(event.time().unwrap() / 1000));
            let kind = event_json["type"].as_str().unwrap_or("gauge").to_owned();
            self.kinds.entry(name.clone()).or_insert(kind);
            self.metrics.entry(name).or_default().store(record);
        }
        rejected
    }

    fn ingest_metrics(&mut self, body: &[u8]) -> Answer {
        let Ok(Value::Array(records)) = serde_json::from_slice::<Value>(body) else {
            return Answer::error(400, "expected an array");
        };
        let mut good = Vec::new();
        let mut failed: BTreeMap<String, u64> = BTreeMap::new();
        for record in records {
            let Value::Object(mut object) = record else { return Answer::error(400, "expected objects") };
            let Some(name) = object.get("__name__").and_then(Value::as_str).map(format_stream) else {
                return Answer::error(400, "missing __name__");
            };
            let kind = object.remove("__type__");
            let kind = kind.as_ref().map_or(Some("gauge"), Value::as_str).unwrap_or("").to_ascii_lowercase();
            if !matches!(kind.as_str(), "counter" | "gauge" | "histogram" | "summary") {
                return Answer::error(
                    400,
                    "invalid metrics type, need to be one of: counter, gauge, histogram, summary",
                );
            }
            if !object.get("value").is_some_and(Value::is_number) {
                return Answer::error(400, "invalid value, need to be number");
            }
            if object.get("_timestamp").is_some_and(|t| !t.is_number()) {
                return Answer::error(400, "invalid _timestamp, need to be number");
            }
            if self.setup.old && matches!(kind.as_str(), "histogram" | "summary") {
                continue;
            }
            object.insert("__name__".into(), json!(name));
            self.kinds.entry(name.clone()).or_insert(kind);
            if name == self.setup.unwanted {
                *failed.entry(name).or_default() += 1;
                continue;
            }
            good.push((name, object));
        }
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut is_short = self.setup.short;
        for (name, object) in good {
            if name == is_short {
                is_short = "";
                continue;
            }
            *counts.entry(name.clone()).or_default() += 1;
            self.metrics.entry(name).or_default().store(object);
        }
        let mut status: Vec<Value> =
            counts.into_iter().map(|(name, n)| json!({"name": name, "successful": n, "failed": 0})).collect();
        let error = "the metric is not wanted";
        status.extend(
            failed.into_iter().map(|(name, n)| json!({"name": name, "successful": 0, "failed": n, "error": error})),
        );
        Answer::json(200, &json!({"code": 200, "status": status}))
    }
}

/// The rows of streams, by their names.
fn rows_of(streams: &BTreeMap<String, Stream>) -> Logs<'_> {
    streams.iter().map(|(name, stream)| (name, &stream.records)).collect()
}

/// The answer of the OTLP endpoints.
fn exported(rejected: u8, words: &str) -> Answer {
    let mut body = Vec::new();
    if rejected > 0 {
        push_message(1, &mut body, |out| {
            push_number(1, rejected.into(), out);
            push_bytes(2, words.as_bytes(), out);
        });
    }
    Answer { status: 200, headers: vec![("Content-Type", "application/x-protobuf".into())], body }
}

fn parse_json(body: &[u8]) -> Result<Vec<Value>, Answer> {
    match serde_json::from_slice(body) {
        Ok(Value::Array(records)) => Ok(records),
        Ok(one) => Ok(vec![one]),
        Err(e) => Err(Answer::error(400, &format!("SerdeJsonError# {e}"))),
    }
}

fn percent_decoded(text: &str) -> String {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let hex: String = bytes.by_ref().take(2).map(char::from).collect();
            out.push(u8::from_str_radix(&hex, 16).unwrap());
        } else {
            out.push(b);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Every run of characters outside `[A-Za-z0-9_:]` is one `_`; capitals become small.
pub(crate) fn format_stream(name: &str) -> String {
    let mut out = String::new();
    let mut run = false;
    for c in name.chars() {
        let fine = c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if fine {
            out.push(c.to_ascii_lowercase());
        } else if !run {
            out.push('_');
        }
        run = !fine;
    }
    out
}

fn format_key(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            'a'..='z' | '0'..='9' | '_' => c,
            'A'..='Z' => c.to_ascii_lowercase(),
            _ if !c.is_ascii() && (c.is_lowercase() || c.is_numeric()) => c,
            _ => '_',
        })
        .collect()
}

fn flatten(prefix: &str, object: &Map<String, Value>, depth: usize, limit: usize, out: &mut Map<String, Value>) {
    for (key, value) in object {
        let key = format_key(key);
        let name = if prefix.is_empty() { key } else { format!("{prefix}_{key}") };
        match value {
            Value::Null => {}
            Value::Object(inner) if inner.is_empty() => {}
            Value::Array(items) if items.is_empty() => {}
            Value::Object(inner) if depth < limit => flatten(&name, inner, depth + 1, limit, out),
            Value::Object(_) | Value::Array(_) => {
                out.insert(name, Value::String(value.to_string()));
            }
            _ => {
                // The later one in document order wins.
                out.insert(name, value.clone());
            }
        }
    }
}

/// The table of timestamps; `Some(0)` means now.
fn read_time(value: &Value) -> Option<i64> {
    fn of_number(n: f64) -> i64 {
        let n = n.trunc();
        let micros = match n {
            _ if n > 3.1536e16 => n / 1e3,
            _ if n > 3.1536e13 => n,
            _ if n > 3.1536e10 => n * 1e3,
            _ => n * 1e6,
        };
        micros as i64
    }
    fn of_int(n: i64) -> i64 {
        match n {
            _ if n > 31_536_000_000_000_000 => n / 1000,
            _ if n > 31_536_000_000_000 => n,
            _ if n > 31_536_000_000 => n * 1000,
            _ => n.saturating_mul(1_000_000),
        }
    }
    match value {
        Value::Null => Some(0),
        Value::Number(n) => match n.as_i64() {
            Some(n) => Some(of_int(n)),
            None => n.as_f64().map(of_number),
        },
        Value::String(text) => {
            if let Ok(n) = text.parse::<i64>() {
                return Some(of_int(n));
            }
            if let Ok(n) = text.parse::<f64>() {
                return Some(of_number(n));
            }
            read_time_text(text)
        }
        _ => None,
    }
}

fn read_time_text(text: &str) -> Option<i64> {
    let micros = |ns: i64| ns / 1000;
    let zoneless =
        |text: &str| tidegate::internals::time::parse_rfc3339(format!("{}Z", text.replace(' ', "T")).as_bytes());
    if text.len() == 19 {
        return zoneless(text).map(|s| micros(s.ns));
    }
    let behind_point = text.rsplit_once('.').map(|(_, rest)| rest.len());
    match behind_point {
        // The parser takes text with three or six characters behind the point for one without a zone.
        Some(3 | 6) if text.contains('T') => {
            let digits = text.rsplit_once('.').is_some_and(|(_, rest)| rest.bytes().all(|b| b.is_ascii_digit()));
            digits.then(|| zoneless(text).map(|s| micros(s.ns))).flatten()
        }
        _ if text.contains(',') => {
            tidegate::internals::time::TimestampReader::default().read(text.as_bytes(), 0).map(|s| micros(s.ns))
        }
        _ if text.contains('T') => tidegate::internals::time::parse_rfc3339(text.as_bytes()).map(|s| micros(s.ns)),
        _ => None,
    }
}

pub(crate) fn now_micros() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "the double has a clock of its own")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_micros().try_into().unwrap()
}

#[test]
fn it_reads_timestamps_by_the_servers_table() {
    let second = 1_700_000_000i64;
    for (value, want) in [
        (json!(second), Some(second * 1_000_000)),
        (json!(second * 1000), Some(second * 1_000_000)),
        (json!(second * 1_000_000), Some(second * 1_000_000)),
        (json!(second * 1_000_000_000), Some(second * 1_000_000)),
        (json!(1_700_000_000.9), Some(second * 1_000_000)),
        (json!("1700000000"), Some(second * 1_000_000)),
        (json!("2023-11-14 22:13:20"), Some(second * 1_000_000)),
        (json!("2023-11-14T22:13:20"), Some(second * 1_000_000)),
        (json!("2023-11-14T22:13:20.123"), Some(second * 1_000_000 + 123_000)),
        (json!("2023-11-14T22:13:20.12Z"), None),
        (json!("2023-11-14T22:13:20.12345Z"), None),
        (json!("2023-11-14T22:13:20.123Z"), Some(second * 1_000_000 + 123_000)),
        (json!("2023-11-14T22:13:20.123456789Z"), Some(second * 1_000_000 + 123_456)),
        (json!("Tue, 14 Nov 2023 22:13:20 +0000"), Some(second * 1_000_000)),
        (json!("2023-11-14 22:13:20.123"), None),
        (json!(true), None),
        (json!([1]), None),
    ] {
        assert_eq!(read_time(&value), want, "{value}");
    }
}

#[test]
fn it_flattens_three_levels_deep() {
    let object = json!({"a": {"b": {"c": {"d": 1}}}, "L": [1, 2.0, "b", null], "n": null, "e": {}, "Host-Name": 1});
    let mut flat = Map::new();
    flatten("", object.as_object().unwrap(), 1, 3, &mut flat);
    assert_eq!(Value::Object(flat), json!({"a_b_c": "{\"d\":1}", "l": "[1,2.0,\"b\",null]", "host_name": 1}));
}

//! A double of the API server and of a kubelet, as far as an agent speaks with them: lists, watches with bookmarks, expired
//! versions, refusals, streams that break, tokens. Written from the documents of the API (API concepts: "Efficient detection of
//! changes", "Watch bookmarks", "410 Gone responses"), not from the client.

use crate::wire::tls_config;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    /// What was answered; 0 for a connection that was closed in place of an answer.
    pub(crate) status: u16,
}

impl Asked {
    pub(crate) fn is_watch(&self) -> bool {
        self.query.contains_key("watch")
    }
}

/// What happens to the next request of a kind in place of its answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This status, with `Retry-After` where it is some.
    Status(u16, Option<u64>),
    /// The connection is closed.
    Close,
    /// The answer comes after this.
    Slow(Duration),
}

/// Which request a fault is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Of {
    List,
    Watch,
}

#[derive(Default)]
struct State {
    version: u64,
    pods: BTreeMap<String, Value>,
    /// What happened, with its version.
    log: Vec<(u64, Value)>,
    namespaces: BTreeMap<String, Value>,
    asked: Vec<Asked>,
    faults: VecDeque<(Of, Fault)>,
    /// What is taken; anything where there is none.
    token: Option<String>,
    /// Watches of an earlier one end.
    epoch: u64,
    /// How they end: broken off, not at a chunk's end.
    breaks: bool,
    watching: usize,
}

/// A running server.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    tls: bool,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Api {
    pub(crate) fn start() -> Api {
        Api::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), false)
    }

    /// Over TLS, with the certificate of the fixtures.
    pub(crate) fn start_on(listener: TcpListener, tls: bool) -> Api {
        let address = listener.local_addr().unwrap();
        let state: Arc<(Mutex<State>, Condvar)> = Arc::default();
        state.0.lock().unwrap().version = 100;
        let config = tls.then(|| Arc::new(tls_config("cert", "key", None)));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, config) = (shared.clone(), config.clone());
                std::thread::spawn(move || match config {
                    None => serve(stream, &state),
                    Some(config) => {
                        let session = rustls::ServerConnection::new(config).unwrap();
                        serve(rustls::StreamOwned::new(session, stream), &state);
                    }
                });
            }
        });
        Api { address, tls, state }
    }

    pub(crate) fn url(&self) -> String {
        let host = if self.tls { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}", if self.tls { "https" } else { "http" }, self.address.port())
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let out = change(&mut self.state.0.lock().unwrap());
        self.state.1.notify_all();
        out
    }

    /// A pod comes, or is another now.
    pub(crate) fn put(&self, mut pod: Value) {
        self.change(|state| {
            state.version += 1;
            pod["metadata"]["resourceVersion"] = state.version.to_string().into();
            let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
            let kind = if state.pods.insert(uid, pod.clone()).is_some() { "MODIFIED" } else { "ADDED" };
            state.log.push((state.version, json!({"type": kind, "object": pod})));
        });
    }

    /// A pod goes.
    pub(crate) fn remove(&self, uid: &str) {
        self.change(|state| {
            let mut pod = state.pods.remove(uid).unwrap();
            state.version += 1;
            pod["metadata"]["resourceVersion"] = state.version.to_string().into();
            state.log.push((state.version, json!({"type": "DELETED", "object": pod})));
        });
    }

    /// Much happens elsewhere; watches are told of it by a bookmark.
    pub(crate) fn bookmark(&self) {
        self.change(|state| {
            state.version += 1000;
            let object = json!({"kind": "Pod", "metadata": {"resourceVersion": state.version.to_string()}});
            state.log.push((state.version, json!({"type": "BOOKMARK", "object": object})));
        });
    }

    /// Watches come to their end; broken off where `breaks` says so.
    pub(crate) fn end_watches(&self, breaks: bool) {
        self.change(|state| {
            state.epoch += 1;
            state.breaks = breaks;
        });
    }

    pub(crate) fn namespace(&self, name: &str, labels: Value) {
        self.change(|state| {
            state.namespaces.insert(name.into(), json!({"metadata": {"name": name, "labels": labels}}))
        });
    }

    pub(crate) fn fault(&self, of: Of, fault: Fault) {
        self.change(|state| state.faults.push_back((of, fault)));
    }

    /// From now on only this token is taken.
    pub(crate) fn token(&self, token: &str) {
        self.change(|state| state.token = Some(token.into()));
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.change(|state| state.asked.clone())
    }

    /// How many lists were asked for.
    pub(crate) fn lists(&self) -> usize {
        self.asked().iter().filter(|asked| asked.path == "/api/v1/pods" && !asked.is_watch()).count()
    }

    pub(crate) fn watching(&self) -> usize {
        self.change(|state| state.watching)
    }
}

fn serve<S: Read + Write>(stream: S, shared: &(Mutex<State>, Condvar)) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() || line.is_empty() {
            return;
        }
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut token = String::new();
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).is_err() || header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(": ")
                && name.eq_ignore_ascii_case("authorization")
            {
                token = value.trim().trim_start_matches("Bearer ").to_owned();
            }
        }
        if !answer(reader.get_mut(), &target, &token, shared) {
            return;
        }
    }
}

/// Answers one request; whether the connection goes on.
fn answer<S: Write>(stream: &mut S, target: &str, token: &str, shared: &(Mutex<State>, Condvar)) -> bool {
    let url = reqwest::Url::parse(&format!("http://x{target}")).unwrap();
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let mut asked = Asked { path: url.path().to_owned(), query, status: 200 };
    let of = match &*asked.path {
        "/api/v1/pods" if asked.is_watch() => Some(Of::Watch),
        "/api/v1/pods" | "/pods" => Some(Of::List),
        _ => None,
    };
    let mut state = shared.0.lock().unwrap();
    let at = state.faults.iter().position(|(which, _)| Some(*which) == of);
    let fault = at.and_then(|at| state.faults.remove(at)).map(|(_, fault)| fault);
    let refused = state.token.as_ref().is_some_and(|wanted| wanted != token);
    let mut retry_after = None;
    match fault {
        _ if refused => asked.status = 401,
        Some(Fault::Close) => {
            asked.status = 0;
            state.asked.push(asked);
            return false;
        }
        Some(Fault::Status(status, after)) => (asked.status, retry_after) = (status, after),
        Some(Fault::Slow(wait)) => {
            drop(state);
            std::thread::sleep(wait);
            state = shared.0.lock().unwrap();
        }
        None => {}
    }
    let node = asked.query.get("fieldSelector").and_then(|s| s.strip_prefix("spec.nodeName=")).map(str::to_owned);
    let is_of = |pod: &Value| node.as_ref().is_none_or(|node| pod["spec"]["nodeName"] == node.as_str());
    let from: u64 = asked.query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
    if of == Some(Of::Watch) && matches!(asked.status, 200 | 410) {
        // That a version has expired comes as it does to most: an answer that begins well, and an event.
        let gone = asked.status == 410;
        state.asked.push(asked);
        drop(state);
        return watch(stream, from, gone, is_of, shared);
    }
    let body = match (asked.status, of) {
        (200, Some(_)) => {
            let ip = asked.query.get("fieldSelector").and_then(|s| s.strip_prefix("status.podIP="));
            let has_ip = |pod: &Value| ip.is_none_or(|ip| pod["status"]["podIP"] == ip);
            let items: Vec<&Value> = state.pods.values().filter(|pod| is_of(pod) && has_ip(pod)).collect();
            json!({"kind": "PodList", "metadata": {"resourceVersion": state.version.to_string()}, "items": items})
        }
        (200, None) => {
            let mut names = asked.path.trim_start_matches("/api/v1/namespaces/").split('/');
            let (namespace, kind, name) = (names.next().unwrap_or_default(), names.next(), names.next());
            let found = match kind {
                None => state.namespaces.get(namespace).cloned(),
                Some(_) => state
                    .pods
                    .values()
                    .find(|pod| pod["metadata"]["namespace"] == namespace && pod["metadata"]["name"].as_str() == name)
                    .cloned(),
            };
            asked.status = if found.is_some() { 200 } else { 404 };
            found.unwrap_or_else(|| json!({"kind": "Status", "code": 404, "message": "not found"}))
        }
        (status, _) => json!({"kind": "Status", "code": status, "message": "as it was told"}),
    };
    let status = asked.status;
    state.asked.push(asked);
    drop(state);
    let body = body.to_string();
    let after = retry_after.map(|s| format!("Retry-After: {s}\r\n")).unwrap_or_default();
    let text = format!("HTTP/1.1 {status} -\r\nContent-Length: {}\r\n{after}\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_ok()
}

/// Tells of what happens from a version on; whether the connection goes on.
fn watch<S: Write>(
    stream: &mut S,
    mut from: u64,
    gone: bool,
    is_of: impl Fn(&Value) -> bool,
    (state, bell): &(Mutex<State>, Condvar),
) -> bool {
    let chunk = |stream: &mut S, event: &Value| {
        let line = format!("{event}\n");
        stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).and_then(|()| stream.flush()).is_ok()
    };
    if stream.write_all(b"HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\n").is_err() {
        return false;
    }
    if gone {
        let status = json!({"kind": "Status", "status": "Failure", "code": 410, "message": "too old resource version"});
        return chunk(stream, &json!({"type": "ERROR", "object": status})) && stream.write_all(b"0\r\n\r\n").is_ok();
    }
    let mut locked = state.lock().unwrap();
    let epoch = locked.epoch;
    locked.watching += 1;
    let goes_on = loop {
        let bookmark = |event: &Value| event["type"] == "BOOKMARK";
        let news = locked.log.iter().filter(|(v, e)| *v > from && (bookmark(e) || is_of(&e["object"])));
        let news: Vec<Value> = news.map(|(_, event)| event.clone()).collect();
        from = locked.version.max(from);
        drop(locked);
        let told = news.iter().all(|event| chunk(stream, event)) && stream.flush().is_ok();
        locked = state.lock().unwrap();
        if !told {
            break false;
        }
        if locked.epoch != epoch {
            break !locked.breaks && stream.write_all(b"0\r\n\r\n").and_then(|()| stream.flush()).is_ok();
        }
        if locked.version == from {
            locked = bell.wait_timeout(locked, Duration::from_secs(1)).unwrap().0;
        }
    };
    locked.watching -= 1;
    goes_on
}

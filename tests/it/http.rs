//! The http source over real sockets, with clients that behave and clients that do not.

use crate::agent::{Agent, config, eventually, ledger, lines};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// An agent that writes what comes over HTTP into a file.
pub(crate) struct Receiver {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) agent: Agent,
    /// Host and port.
    pub(crate) address: String,
}

/// A file that has everything.
const FILE: &str = "{type: file, inputs: [in], path: ./out}";
/// A server that is not there.
const DEAD: &str = "{type: openobserve, inputs: [in], url: \"http://127.0.0.1:9\", organization: o, stream: s}";

impl Receiver {
    /// With more settings of the source, into a file.
    pub(crate) fn start(more: &str) -> Receiver {
        Receiver::into(more, FILE)
    }

    /// With more settings of the source, into this sink.
    pub(crate) fn into(more: &str, sink: &str) -> Receiver {
        let dir = tempfile::tempdir().unwrap();
        Receiver::in_dir(dir, more, sink)
    }

    pub(crate) fn in_dir(dir: tempfile::TempDir, more: &str, sink: &str) -> Receiver {
        let yaml = format!(
            "data_dir: ./data\nshutdown_timeout: 3s\nsources:\n  in: {{type: http, listen: \"127.0.0.1:0\"{more}}}\nsinks: {{out: {sink}}}\n"
        );
        config(dir.path(), &yaml);
        let agent = Agent::run(dir.path(), &["--log-format", "json"]);
        let mut address = String::new();
        eventually("it listens", || {
            let said = agent.said();
            let mut said = said.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
            let Some(line) = said.find(|line| line["message"] == "listening") else { return false };
            address = line["address"].as_str().unwrap().split_once("://").unwrap().1.to_owned();
            true
        });
        Receiver { dir, agent, address }
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends a request on a connection of its own.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        request(&mut self.connect(), "POST", path, headers, body)
    }

    /// Sends JSON; the events must be taken.
    #[track_caller]
    fn take(&self, path: &str, body: &[u8]) -> Answer {
        let answer = self.post(path, &[("content-type", "application/json")], body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer
    }

    /// The events in the file. What was acknowledged is there at once.
    fn events(&self) -> Vec<Json> {
        lines(&self.out()).iter().map(|l| serde_json::from_str(l).unwrap()).collect()
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

#[track_caller]
pub(crate) fn request(
    stream: &mut TcpStream,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // A refusal may come before the body is out.
    let _refused = stream.write_all(body);
    answer(stream).expect("an answer")
}

/// Reads one answer; `None` where the connection ends without one.
fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut rows = head.split("\r\n");
    let status = rows.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: HashMap<String, String> = rows
        .filter_map(|row| row.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|t| t == "chunked") {
        loop {
            let mut size = Vec::new();
            while !size.ends_with(b"\r\n") {
                stream.read_exact(&mut byte).ok()?;
                size.push(byte[0]);
            }
            let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).ok()?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = headers.get("content-length") {
        body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).ok()?;
    }
    Some(Answer { status, headers, body: String::from_utf8(body).unwrap() })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_kind_of_body_comes_in_whole() {
    let receiver = Receiver::start("");
    let mut connection = receiver.connect();
    let mut post = |kind: &str, encoding: &str, body: &[u8]| {
        let headers = [("content-type", kind), ("content-encoding", encoding)];
        let answer = request(&mut connection, "POST", "/", &headers, body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["events"].as_u64().unwrap()
    };
    assert_eq!(post("application/json", "identity", br#"{"n": 1.10, "s": "\u00e9"}"#), 1);
    assert_eq!(post("application/json", "gzip", &gzip(br#"[{"n":2}, {"n":3}, 4]"#)), 3);
    assert_eq!(post("application/x-ndjson", "zstd", &zstd::encode_all(&b"{\"n\":5}\n{\"n\":6}\n"[..], 1).unwrap()), 2);
    assert_eq!(post("text/plain", "", b"seven\r\n{\"n\":8}\n\nlast"), 4);
    let lines = lines(&receiver.out());
    assert_eq!(
        lines,
        [
            r#"{"n": 1.10, "s": "\u00e9"}"#,
            r#"{"n":2}"#,
            r#"{"n":3}"#,
            r#"{"message":"4"}"#,
            r#"{"n":5}"#,
            r#"{"n":6}"#,
            r#"{"message":"seven"}"#,
            r#"{"n":8}"#,
            r#"{"message":""}"#,
            r#"{"message":"last"}"#,
        ]
    );
    let said = receiver.agent.stop();
    assert_eq!(ledger(&said)[0].1, [10, 0, 10, 0, 0, 0]);
}

#[test]
fn who_sent_it_and_the_paths_variables_are_metadata() {
    let receiver = Receiver::into(
        ", attach: [peer, user, http.app], paths: {\"/logs/{app}\": json, \"/\": [openobserve, elasticsearch]}, auth: {basic: {user: ann, password: secret}}",
        "{type: file, inputs: [in], path: './{{ @http.stream | default(\"none\") }}'}",
    );
    let auth = ("authorization", "Basic YW5uOnNlY3JldA==");
    assert_eq!(receiver.post("/logs/shop%20a", &[auth], b"{\"n\":1}").status, 200);
    assert_eq!(receiver.post("/api/acme/clicks/_json", &[auth], b"[{\"n\":2}]").status, 200);
    let bulk = "{\"index\":{\"_index\":\"hits\"}}\n{\"n\":3}\n{\"index\":{\"_index\":\"../x\"}}\n{\"n\":4}\n";
    let answer = receiver.post("/_bulk", &[auth], bulk.as_bytes());
    assert_eq!((answer.status, &answer.json()["errors"]), (200, &json!(false)));
    let of = |name: &str| lines(&receiver.dir.path().join(name));
    let who = r#""peer":"127.0.0.1","user_name":"ann""#;
    assert_eq!(of("none"), [format!(r#"{{"n":1,{who},"http_app":"shop a"}}"#)]);
    assert_eq!(of("clicks"), [format!(r#"{{"n":2,{who}}}"#)]);
    assert_eq!(of("hits"), [format!(r#"{{"n":3,{who}}}"#)]);
    assert_eq!(of(".._x"), [format!(r#"{{"n":4,{who}}}"#)]);
    receiver.agent.stop();
}

#[test]
fn only_those_who_show_it_may_send_and_each_system_says_so_in_its_words() {
    let receiver = Receiver::start(", auth: {basic: {user: ann, password: secret}, bearer: [t0ken], hmac: {key: k3y}}");
    for (path, kind) in
        [("/", "{\"error\":"), ("/_bulk", "{\"error\":{\"root_cause\""), ("/api/o/s/_json", "{\"code\":401")]
    {
        let answer = receiver.post(path, &[], b"{}");
        assert_eq!(answer.status, 401);
        assert!(answer.body.starts_with(kind), "{}", answer.body);
        assert_eq!(receiver.post(path, &[("authorization", "Bearer nope")], b"{}").status, 401);
    }
    let wrong = receiver.post("/api/o/s/_json", &[("authorization", "Basic bm9wZTpub3Bl")], b"[]");
    assert_eq!(
        (&*wrong.body, &*wrong.headers["www-authenticate"]),
        ("Unauthorized Access", "Bearer realm=\"openobserve\"")
    );
    assert_eq!(receiver.post("/", &[("authorization", "Bearer t0ken")], b"{}").status, 200);
    // Signed as received: compressed.
    use hmac::{Hmac, KeyInit, Mac};
    let (body, time) = (gzip(b"{\"signed\":true}"), jiff::Timestamp::now().as_second().to_string());
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"k3y").unwrap();
    mac.update(format!("{time}.").as_bytes());
    mac.update(&body);
    let signature: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    let headers = [("content-encoding", "gzip"), ("x-timestamp", &*time), ("x-signature", &*signature)];
    assert_eq!(receiver.post("/", &headers, &body).status, 200);
    assert_eq!(receiver.post("/", &headers, &gzip(b"{\"signed\":false}")).status, 401);
    assert_eq!(receiver.events(), [json!({}), json!({"signed": true})]);
    // Probes need nothing, the banner does.
    let get = |path: &str| request(&mut receiver.connect(), "GET", path, &[], b"").status;
    assert_eq!((get("/health"), get("/healthz"), get("/"), get("/api/o/")), (200, 200, 401, 401));
    receiver.agent.stop();
}

#[test]
fn pages_of_named_origins_may_send_and_others_may_not() {
    let receiver = Receiver::start(", cors: {origins: [\"https://shop.example\"]}");
    let ask = |origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        request(&mut receiver.connect(), "OPTIONS", "/", &headers, b"")
    };
    let allowed = ask("https://shop.example");
    assert_eq!((allowed.status, &*allowed.headers["access-control-allow-origin"]), (204, "https://shop.example"));
    let refused = ask("https://evil.example");
    assert_eq!((refused.status, refused.headers.get("access-control-allow-origin")), (403, None));
    // A beacon: text, without a question before.
    let beacon = [("origin", "https://shop.example"), ("content-type", "text/plain;charset=UTF-8")];
    let answer = receiver.post("/", &beacon, b"{\"seen\":1}");
    assert_eq!((answer.status, &*answer.headers["access-control-allow-origin"]), (200, "https://shop.example"));
    assert_eq!(receiver.events(), [json!({"seen": 1})]);
    receiver.agent.stop();
    let closed = Receiver::start("");
    let headers = [("origin", "https://shop.example"), ("access-control-request-method", "POST")];
    let answer = request(&mut closed.connect(), "OPTIONS", "/", &headers, b"");
    assert_eq!((answer.status, answer.headers.get("access-control-allow-origin")), (405, None));
}

#[test]
fn what_a_dead_sink_does_not_take_is_refused_in_time_and_said_to_come_later() {
    let receiver = Receiver::into(", acknowledge_timeout: 300ms", DEAD);
    for (path, status) in [("/", 503), ("/api/o/s/_json", 503), ("/i/_bulk", 429)] {
        let began = Instant::now();
        let answer =
            receiver.post(path, &[], b"{\"index\":{}}\n{}\n".get(if path == "/i/_bulk" { 0 } else { 13 }..).unwrap());
        assert_eq!(answer.status, status, "{path} {}", answer.body);
        assert!(answer.headers["retry-after"].parse::<u32>().unwrap() > 0);
        assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < Duration::from_secs(20));
    }
    // Until the queues are full, and then too; nothing grows.
    let body = format!("[{}]", vec![format!("{{\"x\":\"{}\"}}", "y".repeat(1000)); 1000].join(","));
    for _ in 0..40 {
        assert_eq!(receiver.post("/", &[], body.as_bytes()).status, 503);
    }
    let rss = receiver.agent.peak_rss();
    assert!(rss < 100 << 20, "{} MiB", rss >> 20);
    drop(receiver);
    // Those who do not ask for more are told at once.
    let receiver = Receiver::into(", acknowledge: received", DEAD);
    assert_eq!(receiver.post("/", &[], b"{}").status, 200);
}

#[test]
fn a_client_that_goes_away_leaves_nothing_half_in() {
    let receiver = Receiver::start("");
    let body = "{\"n\":1}\n".repeat(1000);
    for way in 0..4 {
        let mut client = receiver.connect();
        let sent = if way % 2 == 0 {
            write!(client, "POST / HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}", body.len() + 1)
        } else {
            write!(
                client,
                "POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n",
                body.len()
            )
        };
        sent.unwrap();
        if way < 2 {
            client.shutdown(Shutdown::Write).unwrap();
            let answer = answer(&mut client);
            assert!(answer.as_ref().is_none_or(|a| a.status == 400), "{answer:?}");
        }
    }
    receiver.take("/", b"{\"whole\":true}");
    let events = receiver.events();
    let said = receiver.agent.stop();
    assert_eq!(events, [json!({"whole": true})]);
    assert_eq!(ledger(&said)[0].1, [1, 0, 1, 0, 0, 0]);
}

#[test]
fn a_client_that_has_closed_its_side_still_gets_its_answer() {
    let receiver = Receiver::start("");
    let mut client = receiver.connect();
    client.write_all(b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 7\r\n\r\n{\"n\":1}").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(answer(&mut client).unwrap().status, 200);
    assert_eq!(receiver.events(), [json!({"n": 1})]);
    receiver.agent.stop();
}

#[test]
fn hostile_requests_get_the_right_status_in_bounded_memory_while_others_are_served() {
    let receiver = Receiver::start(
        ", max_body: 2MiB, max_event: 100KiB, header_timeout: 500ms, idle_timeout: 700ms, body_timeout: 2s",
    );
    let done = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = receiver.connect();
            while !done.load(Ordering::Relaxed) {
                // Between two requests a connection is idle and may have to give way where slots are short: as clients with
                // keep-alive do, it comes again. A request that was taken without an answer would show in the count below.
                let sent = client.write_all(b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\n{\"good\":1}");
                let Some(answer) = sent.ok().and_then(|()| answer(&mut client)) else {
                    client = receiver.connect();
                    continue;
                };
                assert_eq!(answer.status, 200);
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _done = SetOnDrop(&done);
        // Half open: connected, and nothing more.
        let silent: Vec<TcpStream> = (0..400).map(|_| receiver.connect()).collect();
        // Slow-loris: heads and bodies that never end, byte by byte.
        let loris: Vec<_> = (0..200)
            .map(|n| {
                let mut client = receiver.connect();
                let began = Instant::now();
                let head = "POST / HTTP/1.1\r\nhost: t\r\n";
                let body = "content-length: 100\r\n\r\n";
                write!(client, "{head}{}", if n % 2 == 0 { "" } else { body }).unwrap();
                (client, began)
            })
            .collect();
        for (mut client, began) in loris {
            client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let mut got = [0; 12];
            while client.read_exact(&mut got).is_err() {
                assert!(began.elapsed() < Duration::from_secs(30));
                let _closed = client.write_all(b"x");
            }
            assert_eq!(&got, b"HTTP/1.1 408");
        }
        // Those who said nothing have been told too, and let go.
        for mut client in silent {
            assert_eq!(answer(&mut client).unwrap().status, 408);
        }
        // Heads.
        let long = "x".repeat(60_000);
        assert_eq!(receiver.post("/", &[("x-long", &long)], b"").status, 431);
        let many: Vec<(String, &str)> = (0..500).map(|n| (format!("x-{n}"), "y")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (&**n, *v)).collect();
        assert_eq!(receiver.post("/", &many, b"").status, 431);
        let mut client = receiver.connect();
        client.write_all(b"\x16\x03\x01\x02\0nonsense\r\n\r\n").unwrap();
        assert_eq!(answer(&mut client).unwrap().status, 400);
        // Bodies: too long as announced, as sent, and when decompressed.
        assert_eq!(receiver.post("/", &[], &vec![b' '; 3 << 20]).status, 413);
        let mut endless = receiver.connect();
        endless.write_all(b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        while endless.write_all(chunk.as_bytes()).is_ok() {}
        assert!(answer(&mut endless).is_none_or(|a| a.status == 413));
        for (encoding, bomb) in
            [("gzip", gzip(&vec![b' '; 500 << 20])), ("zstd", zstd::encode_all(&vec![b' '; 500 << 20][..], 1).unwrap())]
        {
            assert_eq!(receiver.post("/", &[("content-encoding", encoding)], &bomb).status, 413, "{encoding}");
        }
        assert_eq!(receiver.post("/", &[("content-encoding", "br")], b"x").status, 415);
        assert_eq!(receiver.post("/", &[("content-encoding", "gzip")], b"x").status, 400);
        // JSON that is meant to hurt.
        let deep = "[".repeat(90_000);
        assert_eq!(receiver.post("/", &[("content-type", "application/json")], deep.as_bytes()).status, 400);
        let tiny = format!("[{}{{}}]", "{},".repeat(500_000));
        assert_eq!(receiver.take("/", tiny.as_bytes()).json()["events"], 500_001);
        assert_eq!(receiver.post("/", &[("content-type", "application/json")], b"{\"a\":\"\0\"}").status, 400);
        receiver.take("/", b"{\"utf8\":\"\xff\xfe\"}");
        assert_eq!(receiver.post("/", &[("content-type", "text/plain")], b"nul \0 here\xc3").status, 200);
    });
    let text = std::fs::read_to_string(receiver.out()).unwrap();
    assert!(text.contains("{\"utf8\":\"\u{fffd}\u{fffd}\"}\n"));
    assert!(text.contains("{\"message\":\"nul \\u0000 here\u{fffd}\"}\n"));
    assert!(served.load(Ordering::Relaxed) > 20, "{served:?}");
    let good = text.lines().filter(|l| *l == "{\"good\":1}").count();
    assert_eq!(good, served.load(Ordering::Relaxed));
    let rss = receiver.agent.peak_rss();
    println!("hostile requests: {good} good ones served meanwhile, {} MiB resident at most", rss >> 20);
    assert!(rss < 100 << 20, "{} MiB", rss >> 20);
    receiver.agent.stop();
}

/// Ends a thread's work when the test ends, also by a panic.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_thousand_connections_a_second_are_served() {
    let receiver = Receiver::start("");
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let receiver = &receiver;
            scope.spawn(move || {
                for n in 0..250 {
                    let answer = receiver.post(
                        "/",
                        &[("connection", "close")],
                        format!("{{\"n\":{}}}", thread * 250 + n).as_bytes(),
                    );
                    assert_eq!(answer.status, 200);
                }
            });
        }
    });
    let took = began.elapsed();
    println!("2,000 connections with a request each, acknowledged by the file: {took:?}");
    let mut seen: Vec<u64> = receiver.events().iter().map(|e| e["n"].as_u64().unwrap()).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..2000));
    let rss = receiver.agent.peak_rss();
    assert!(rss < 60 << 20, "{} MiB", rss >> 20);
    receiver.agent.stop();
}

/// Sends numbered events until the connection breaks; the numbers that were acknowledged.
fn send_until_it_dies(address: &str, client: usize, killed: &AtomicBool) -> Vec<usize> {
    let mut acknowledged = Vec::new();
    let mut n = 0;
    while !killed.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        loop {
            let events: Vec<usize> = (n..n + 1 + n % 40).map(|k| client * 1_000_000 + k).collect();
            n += events.len();
            let body = events.iter().map(|e| format!("{{\"e\":{e}}}\n")).collect::<String>();
            let head = format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", body.len());
            if stream.write_all((head + &body).as_bytes()).is_err() {
                break;
            }
            match answer(&mut stream) {
                Some(answer) if answer.status == 200 => acknowledged.extend(events),
                _ => break,
            }
        }
    }
    acknowledged
}

#[test]
fn kill_dash_nine_loses_nothing_that_was_acknowledged() {
    let mut dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..4 {
        let receiver = Receiver::in_dir(dir, "", FILE);
        let (out, Receiver { dir: folder, agent, address }) = (receiver.out(), receiver);
        let killed = AtomicBool::new(false);
        let mut seen = Vec::new();
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|c| {
                    let (address, killed) = (&address, &killed);
                    scope.spawn(move || send_until_it_dies(address, round * 10 + c, killed))
                })
                .collect();
            let before = lines(&out).len();
            eventually("events come", || lines(&out).len() > before + 500 + 300 * round);
            agent.kill();
            killed.store(true, Ordering::Relaxed);
            seen.extend(clients.into_iter().flat_map(|client| client.join().unwrap()));
        });
        assert!(!seen.is_empty());
        acknowledged += seen.len();
        dir = folder;
        // The next start cuts an incomplete last line back.
        let again = Receiver::in_dir(dir, "", FILE);
        again.take("/", b"{\"e\":0}");
        let there: std::collections::HashSet<u64> = again.events().iter().map(|e| e["e"].as_u64().unwrap()).collect();
        let lost: Vec<_> = seen.iter().filter(|e| !there.contains(&(**e as u64))).collect();
        assert!(lost.is_empty(), "round {round}: {} of {} lost: {lost:?}", lost.len(), seen.len());
        again.agent.kill();
        dir = again.dir;
    }
    println!("acknowledged in all, and all there: {acknowledged}");
}

#[test]
fn a_request_on_its_way_when_the_agent_stops_is_answered() {
    let receiver = Receiver::start("");
    // One in the middle of its body is told to come again, one in a queue is delivered.
    let mut half = receiver.connect();
    half.write_all(b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 70\r\n\r\n{\"n\":").unwrap();
    receiver.take("/", b"{\"n\":1}");
    use rustix::process::Signal;
    let mut agent = receiver.agent;
    agent.signal(Signal::TERM);
    let answer = answer(&mut half).unwrap();
    assert_eq!((answer.status, &*answer.headers["connection"]), (503, "close"));
    assert!(agent.wait().0.success());
    assert_eq!(lines(&receiver.dir.path().join("out")), ["{\"n\":1}"]);
}

/// A file of the fixtures.
pub(crate) fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/tls/{name}.pem", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn over_tls_a_client_certificate_names_the_sender_and_none_is_turned_away() {
    let tls = format!(
        ", attach: [tls.subject, peer], tls: {{cert: {}, key: {}, client_ca_file: {}}}",
        fixture("server"),
        fixture("server-key"),
        fixture("ca")
    );
    let receiver = Receiver::start(&tls);
    let url = format!("https://{}/", receiver.address);
    let curl = |more: &[&str]| {
        let mut command = std::process::Command::new("curl");
        command.args(["-sS", "--cacert", &fixture("ca"), "-w", "%{http_code}", "-o", "/dev/null", "-d", "{\"n\":1}"]);
        String::from_utf8(command.args(more).arg(&url).output().unwrap().stdout).unwrap()
    };
    let (cert, key) = (fixture("client"), fixture("client-key"));
    let with = ["--cert", &cert, "--key", &key];
    assert_eq!(curl(&with), "200");
    assert_eq!(curl(&[]), "000");
    // Plain HTTP, silence and rubbish leave it alone.
    let mut plain = receiver.connect();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(answer(&mut plain).is_none());
    let _silent = receiver.connect();
    assert_eq!(curl(&with), "200");
    let subject = "CN=web-1,OU=Müll\\, Abfuhr,O=Shop,C=DE";
    let event = json!({"n": 1, "tls_subject": subject, "peer": "127.0.0.1"});
    assert_eq!(receiver.events(), [event.clone(), event]);
    receiver.agent.stop();
}

#[test]
fn behind_a_balancer_the_peer_is_who_the_header_names() {
    let receiver = Receiver::start(", attach: [peer], proxy_protocol: optional");
    let mut client = receiver.connect();
    client.write_all(b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 80\r\n").unwrap();
    assert_eq!(request(&mut client, "POST", "/", &[], b"{\"n\":1}").status, 200);
    // `POST` begins as a header does.
    receiver.take("/", b"{\"n\":2}");
    assert_eq!(receiver.events(), [json!({"n": 1, "peer": "203.0.113.7"}), json!({"n": 2, "peer": "127.0.0.1"})]);
    receiver.agent.stop();
}

#[test]
fn headers_that_are_listed_and_senders_behind_trusted_proxies_are_metadata() {
    let receiver = Receiver::into(
        ", headers: [X-Request-ID], trusted_proxies: [127.0.0.0/8, 10.0.0.0/8], attach: [peer, http.header.x_request_id], when: '@http.header.x_request_id != \"skip\"'",
        "{type: file, inputs: [in], path: './{{ @http.header.x-request-id | default(\"none\") }}'}",
    );
    let send =
        |headers: &[(&str, &str)], body: &str| assert_eq!(receiver.post("/", headers, body.as_bytes()).status, 200);
    send(&[("x-request-id", "a7"), ("x-forwarded-for", "6.6.6.6, 203.0.113.7, 10.1.1.1")], "{\"n\":1}");
    send(&[("x-forwarded-for", "203.0.113.8"), ("x-other", "b")], "{\"n\":2}");
    send(&[("x-request-id", "skip")], "{\"n\":3}");
    send(&[("x-request-id", "a7")], "[{\"n\":4}]");
    // Elasticsearch's interface sets variables of its own beside it.
    let bulk = b"{\"index\":{\"_index\":\"i\"}}\n{\"n\":5}\n";
    assert_eq!(receiver.post("/_bulk", &[("x-request-id", "a7")], bulk).status, 200);
    let of = |name: &str| lines(&receiver.dir.path().join(name));
    assert_eq!(
        of("a7"),
        [
            r#"{"n":1,"peer":"203.0.113.7","http_header_x_request_id":"a7"}"#,
            r#"{"n":4,"peer":"127.0.0.1","http_header_x_request_id":"a7"}"#,
            r#"{"n":5,"peer":"127.0.0.1","http_header_x_request_id":"a7"}"#,
        ]
    );
    // A condition on what is not there is false.
    assert_eq!(of("none"), Vec::<String>::new());
    receiver.agent.stop();
}

#[test]
fn what_would_carry_credentials_into_events_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for (more, said) in [
        ("headers: [Authorization]", "carries credentials"),
        ("headers: [x-a, cookie]", "carries credentials"),
        ("headers: ['a b']", "is not the name of a header"),
        ("trusted_proxies: [10.0.0.0/33]", "an address or network such as"),
        ("trusted_proxies: [proxy]", "an address or network such as"),
    ] {
        config(
            dir.path(),
            &format!(
                "sources:\n  in: {{type: http, listen: \"127.0.0.1:0\", {more}}}\nsinks: {{out: {{type: blackhole, inputs: [in]}}}}\n"
            ),
        );
        let (code, _, text) =
            crate::agent::output(crate::agent::tidegate(dir.path(), &["validate", "--config", "tidegate.yaml"]));
        assert!(code == Some(78) && text.contains(said), "{more}: {text}");
    }
}

#[test]
fn messagepack_and_single_documents_come_in_as_the_events_they_are() {
    let receiver = Receiver::start(", attach: [http.index]");
    // Two records as Fluent Bit writes them.
    let record =
        |n: u8| [&b"\x92\x92\xd7\x00\x69\xf8\x0c\x29\x0e\xe6\xb2\x80\x80\x82\xa3log\xa5hello\xa1n"[..], &[n]].concat();
    let body = [record(1), record(2)].concat();
    let answer = receiver.post("/", &[("content-type", "application/msgpack")], &body);
    assert_eq!((answer.status, &*answer.body), (200, "{\"events\":2}"));
    let cut = receiver.post("/", &[("content-type", "application/msgpack")], &body[..body.len() - 1]);
    assert_eq!(cut.status, 400, "{}", cut.body);
    let binary = receiver.post("/", &[("content-type", "application/octet-stream")], &body);
    assert_eq!(binary.status, 415, "{}", binary.body);
    let json = [("content-type", "application/json")];
    let mut client = receiver.connect();
    let put = request(&mut client, "PUT", "/shop/_doc/7", &json, b"{\n \"n\": 3\n}");
    assert_eq!((put.status, &put.json()["_id"], &put.json()["result"]), (201, &json!("7"), &json!("created")));
    assert_eq!(receiver.post("/shop/_doc?refresh=true", &json, b"{\"n\":4}").status, 201);
    assert_eq!(receiver.post("/shop/_update/8", &json, b"{\"doc\":{\"n\":5},\"doc_as_upsert\":true}").status, 201);
    let refused = receiver.post("/shop/_doc", &json, b"[{\"n\":6}]");
    assert_eq!((refused.status, &refused.json()["error"]["type"]), (400, &json!("document_parsing_exception")));
    let bulk = "{\"update\":{\"_index\":\"shop\",\"_id\":\"9\"}}\n{\"doc\":{\"n\":7}}\n{\"update\":{\"_index\":\"shop\",\"_id\":\"9\"}}\n{\"script\":{\"source\":\"x\"},\"upsert\":{\"n\":8}}\n";
    let answer = receiver.post("/_bulk", &json, bulk.as_bytes()).json();
    let status = |n: usize| answer["items"][n]["update"]["status"].clone();
    assert_eq!((status(0), status(1), &answer["errors"]), (json!(201), json!(400), &json!(true)));
    let logged = |n: u32| json!({"timestamp": "2026-05-04T03:02:01.250Z", "log": "hello", "n": n});
    assert_eq!(
        receiver.events(),
        [
            logged(1),
            logged(2),
            json!({"n": 3, "_id": "7", "http_index": "shop"}),
            json!({"n": 4, "http_index": "shop"}),
            json!({"n": 5, "_id": "8", "http_index": "shop"}),
            json!({"n": 7, "_id": "9", "http_index": "shop"}),
        ]
    );
    receiver.agent.stop();
}

#[test]
fn a_body_of_http_1_0_needs_a_length_and_depth_is_said_as_such() {
    let receiver = Receiver::start("");
    let mut client = receiver.connect();
    client.write_all(b"POST / HTTP/1.0\r\n\r\n{\"n\":1}").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let refused = answer(&mut client).unwrap();
    assert_eq!(refused.status, 411, "{}", refused.body);
    let mut client = receiver.connect();
    client.write_all(b"POST / HTTP/1.0\r\ncontent-length: 7\r\n\r\n{\"n\":2}").unwrap();
    assert_eq!(answer(&mut client).unwrap().status, 200);
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let refused = receiver.post("/", &[("content-type", "application/json")], deep.as_bytes());
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("nested deeper than 128 levels"), "{}", refused.body);
    assert_eq!(receiver.events(), [json!({"n": 2})]);
    receiver.agent.stop();
}

#[test]
fn an_open_source_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let check = |listen: &str, more: &str| {
        let yaml = format!(
            "sources:\n  in: {{type: http, listen: \"{listen}\"{more}}}\nsinks: {{out: {{type: blackhole, inputs: [in]}}}}\n"
        );
        config(dir.path(), &yaml);
        let (code, _, said) =
            crate::agent::output(crate::agent::tidegate(dir.path(), &["validate", "--config", "tidegate.yaml"]));
        (code, said)
    };
    let (code, said) = check("0.0.0.0:8080", "");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("anybody who reaches `0.0.0.0:8080` may send"), "{said}");
    assert!(!check("127.0.0.1:8080", "").1.contains("anybody"));
    assert!(!check("0.0.0.0:8080", ", auth: {bearer: [x]}").1.contains("anybody"));
    let (code, said) =
        check("127.0.0.1:8080", ", paths: {\"/\": [auto, json], x: json, \"/a{b}\": text}, auth: {bearer: [\"\"]}");
    assert_eq!(code, Some(78), "{said}");
    for part in [
        "take the same requests",
        "must begin with `/`",
        "`a{b}` is not a part of a path",
        "is empty; anybody could show it",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

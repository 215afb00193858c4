//! The syslog source over real sockets and with real clients.

use crate::agent::{Agent, config, eventually, gives_reason, ledger, lines};
use serde_json::Value as Json;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An agent that writes what comes by syslog into a file.
struct Receiver {
    dir: tempfile::TempDir,
    agent: Agent,
    /// The addresses it listens on, in the order of `listen`.
    addresses: Vec<String>,
}

impl Receiver {
    /// Listens on `listen`, with more settings of the source.
    fn start(listen: &[&str], more: &str) -> Receiver {
        Receiver::start_with(listen, more, "peer")
    }

    /// With this metadata attached.
    fn start_with(listen: &[&str], more: &str, attach: &str) -> Receiver {
        Receiver::start_in(listen, more, attach, "")
    }

    /// With settings of the agent.
    fn start_in(listen: &[&str], more: &str, attach: &str, agent: &str) -> Receiver {
        let dir = tempfile::tempdir().unwrap();
        let listen_list = listen.iter().map(|l| format!("\"{l}\"")).collect::<Vec<_>>().join(", ");
        let yaml = format!(
            "{agent}data_dir: ./data\nsources:\n  in: {{type: syslog, listen: [{listen_list}], attach: [{attach}]{more}}}\nsinks: {{out: {{type: file, inputs: [in], path: ./out}}}}\n"
        );
        config(dir.path(), &yaml);
        let agent = Agent::run(dir.path(), &["--log-format", "json"]);
        let mut addresses = Vec::new();
        eventually("it listens", || {
            let said = agent.said();
            let said = said.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
            let listening = said.filter(|line| line["message"] == "listening");
            addresses = listening.map(|line| line["address"].as_str().unwrap().to_owned()).collect();
            addresses.len() == listen.len()
        });
        Receiver { dir, agent, addresses }
    }

    fn host(&self, n: usize) -> &str {
        self.addresses[n].split_once("://").unwrap().1
    }

    fn port(&self, n: usize) -> &str {
        self.host(n).rsplit_once(':').unwrap().1
    }

    fn tcp(&self, n: usize) -> TcpStream {
        TcpStream::connect(self.host(n)).unwrap()
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// The events, once there are so many.
    #[track_caller]
    fn events(&self, count: usize) -> Vec<Json> {
        eventually(&format!("{count} events"), || lines(&self.out()).len() >= count);
        let events: Vec<Json> = lines(&self.out()).iter().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(events.len(), count, "{events:#?}");
        events
    }

    #[track_caller]
    fn messages(&self, count: usize) -> Vec<String> {
        self.events(count).iter().map(|e| e["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Stops it: what it said, the source's line of the ledger, and the lines it wrote.
    #[track_caller]
    fn stop(self) -> (String, [u64; 6], Vec<String>) {
        let said = self.agent.stop();
        let (_, run_ledger) = ledger(&said).into_iter().find(|(id, _)| id == "in").unwrap();
        (said, run_ledger, lines(&self.dir.path().join("out")))
    }
}

const TCP: &str = "tcp://127.0.0.1:0";
const UDP: &str = "udp://127.0.0.1:0";

#[test]
fn one_connection_may_frame_each_message_differently() {
    let receiver = Receiver::start(&[TCP], "");
    let mut client = receiver.tcp(0);
    client
        .write_all(b"<13>1 2026-11-21T02:17:48Z h app - - - one\n42 <13>1 2026-11-21T02:17:48Z h ctd - - - two")
        .unwrap();
    client.write_all(b"<13>Nov 21 02:17:50 h app[7]: three\0no header\nlast").unwrap();
    drop(client);
    let events = receiver.events(5);
    let get = |key: &str| events.iter().map(|e| e[key].as_str().unwrap_or("-")).collect::<Vec<_>>();
    assert_eq!(get("message"), ["one", "two", "three", "no header", "last"]);
    assert_eq!(get("appname"), ["app", "ctd", "app", "-", "-"]);
    assert_eq!(get("procid"), ["-", "-", "7", "-", "-"]);
    assert_eq!(get("decode_error"), ["-", "-", "-", "no syslog header", "no syslog header"]);
    assert_eq!(get("peer"), ["127.0.0.1"; 5]);
    let (_, run_ledger, _) = receiver.stop();
    assert_eq!(run_ledger, [5, 0, 5, 0, 0, 0]);
}

#[test]
fn a_header_that_is_not_read_is_marked_and_counted() {
    let api = crate::agent::nobody().to_string();
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        &format!(
            "data_dir: ./data\napi: {{listen: \"{api}\"}}\nsources: {{in: {{type: syslog, listen: \"unixgram://{}\"}}}}\n\
             sinks: {{out: {{type: file, inputs: [in], path: ./out}}}}\n",
            dir.path().join("s").display()
        ),
    );
    let agent = Agent::run(dir.path(), &[]);
    eventually("it listens", || dir.path().join("s").exists());
    let socket = UnixDatagram::unbound().unwrap();
    let send = |line: &str| eventually("it takes it", || socket.send_to(line.as_bytes(), dir.path().join("s")).is_ok());
    send("<11>Okt 13 14:04:23 web-1 app[7]: dreizehnter Oktober");
    send("<11>plain text");
    send("<11>Oct 13 14:04:23 web-1 app[7]: read");
    eventually("3 events", || lines(&dir.path().join("out")).len() == 3);
    let events: Vec<Json> = lines(&dir.path().join("out")).iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    let get = |key: &str| events.iter().map(|e| e[key].as_str().unwrap_or("-")).collect::<Vec<_>>();
    assert_eq!(get("decode_error"), ["syslog header not read", "-", "-"]);
    assert_eq!(get("message"), ["Okt 13 14:04:23 web-1 app[7]: dreizehnter Oktober", "plain text", "read"]);
    assert!(events.iter().all(|event| event["severity"] == 3), "{events:#?}");
    let page = crate::agent::get(&api, "/metrics").1;
    let counted =
        page.lines().find(|line| line.starts_with("tidegate_errors_total") && line.contains("kind=\"decode\""));
    assert!(counted.is_some_and(|line| line.ends_with(" 1")), "{page}");
    agent.stop();
}

#[test]
fn every_kind_of_socket_is_read_by_one_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (stream, datagram) = (format!("unix://{}", path("s").display()), format!("unixgram://{}", path("d").display()));
    let receiver = Receiver::start(&[UDP, TCP, &stream, &datagram], "");
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(b"<13>1 - h a - - - udp\n", receiver.host(0)).unwrap();
    receiver.tcp(1).write_all(b"<13>1 - h a - - - tcp\n").unwrap();
    UnixStream::connect(path("s")).unwrap().write_all(b"<13>1 - h a - - - unix\n").unwrap();
    UnixDatagram::unbound().unwrap().send_to(b"<13>a[1]: unixgram\0", path("d")).unwrap();
    let mut messages = receiver.messages(4);
    messages.sort();
    assert_eq!(messages, ["tcp", "udp", "unix", "unixgram"]);
    receiver.stop();
    assert!(!path("s").exists() && !path("d").exists());
}

#[test]
fn what_came_before_the_agent_stops_is_delivered() {
    let receiver = Receiver::start(&[TCP, UDP], "");
    let mut tcp = receiver.tcp(0);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    // The connection is open once something of it has come out.
    tcp.write_all(b"<13>1 - h a - - - first\n").unwrap();
    receiver.messages(1);
    for n in 0..2_000 {
        tcp.write_all(format!("<13>1 - h a - - - tcp {n}\n").as_bytes()).unwrap();
        if n % 20 == 0 {
            udp.send_to(format!("<13>1 - h a - - - udp {n}").as_bytes(), receiver.host(1)).unwrap();
        }
    }
    tcp.write_all(b"<13>1 - h a - - - unfinished").unwrap();
    let (said, _, lines) = receiver.stop();
    assert_eq!(lines.len(), 2_102, "{said}");
    assert!(lines.iter().any(|l| l.contains("\"unfinished\"")));
}

#[test]
fn zones_go_by_sender() {
    let receiver = Receiver::start(
        &[UDP],
        ", timezone: \"+01:00\", timezones: {\"127.0.0.*\": \"+05:00\", \"127.7.*\": \"+09:00\"}",
    );
    for (n, (from, hour)) in [("127.0.0.1", "07"), ("127.7.0.9", "03"), ("127.8.0.1", "11")].into_iter().enumerate() {
        let udp = UdpSocket::bind((from, 0)).unwrap();
        udp.send_to(b"<13>Nov 21 2020 12:00:00 h a: b", receiver.host(0)).unwrap();
        let time = format!("2020-11-21T{hour}:00:00");
        let events = receiver.events(n + 1);
        assert!(events[n]["timestamp"].as_str().unwrap().starts_with(&time), "{from}: {}", events[n]);
    }
    receiver.stop();
}

#[test]
fn hostile_streams_take_no_memory_and_hold_up_nobody() {
    let receiver = Receiver::start(&[TCP], ", max_message: 1KiB");
    // No line end, ever.
    let mut endless = receiver.tcp(0);
    endless.write_all(&vec![b'x'; 8 << 20]).unwrap();
    // A length that is none, then a good message.
    let mut gigantic = receiver.tcp(0);
    gigantic.write_all(b"999999999 <13>a: gigantic\n<13>a: after\n").unwrap();
    // It says nothing more.
    let mut half = receiver.tcp(0);
    half.write_all(b"100 <13>a: half").unwrap();
    let mut stub = receiver.tcp(0);
    stub.write_all(b"100 <13").unwrap();
    let mut odd = receiver.tcp(0);
    odd.write_all(b"<13>a: \xff\xfe\n\n\r\n<\n<13\n<999>x: y\n").unwrap();
    let mut nul = receiver.tcp(0);
    nul.write_all(b"<13>a: nul\0\0\0").unwrap();
    let mut long = receiver.tcp(0);
    let counted = format!("2000 {:<2000}<13>a: counted\n", "<13>b: c");
    long.write_all(format!("<13>a: {}\n<13>a: short\n{counted}", "é".repeat(1000)).as_bytes()).unwrap();
    for client in [&gigantic, &half, &stub, &odd, &nul, &long] {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let mut messages = receiver.messages(13);
    for message in &mut messages {
        *message = message.trim_end().chars().take(24).collect();
    }
    messages.sort();
    assert_eq!(
        messages,
        [
            "999999999 <13>a: giganti",
            "<",
            "<13",
            "<999>x: y",
            "after",
            "c",
            "counted",
            "half",
            "nul",
            "short",
            "xxxxxxxxxxxxxxxxxxxxxxxx",
            "éééééééééééééééééééééééé",
            "\u{fffd}\u{fffd}"
        ]
    );
    let peak = receiver.agent.peak_rss();
    assert!(peak < 64 << 20, "{peak} bytes at its highest");
    endless.write_all(b"\n<13>a: in step again\n").unwrap();
    receiver.messages(14);
    let (_, run_ledger, _) = receiver.stop();
    // The frame that said nothing came in and was dropped.
    assert_eq!(run_ledger, [15, 0, 14, 1, 0, 0]);
}

#[test]
fn a_full_house_lets_the_next_one_in_when_one_leaves_and_idle_ones_are_shown_out() {
    let receiver = Receiver::start(&[TCP], ", max_connections: 2, idle_timeout: 500ms");
    let mut idle = [receiver.tcp(0), receiver.tcp(0)];
    for client in &mut idle {
        client.write_all(b"<13>a: in\n").unwrap();
    }
    receiver.messages(2);
    let mut third = receiver.tcp(0);
    third.write_all(b"<13>a: third\n").unwrap();
    // The idle ones are closed from the other side, which makes room.
    let mut byte = [0];
    assert_eq!(idle[0].read(&mut byte).unwrap(), 0);
    receiver.messages(3);
    receiver.stop();
}

#[test]
fn a_flood_of_datagrams_is_received_or_counted_as_dropped() {
    let receiver = Receiver::start(&[UDP], ", receive_buffer: 8KiB");
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let text = format!("<13>1 - h a - - - {}", "x".repeat(1_000));
    let sent = 20_000u64;
    for _ in 0..sent {
        udp.send_to(text.as_bytes(), receiver.host(0)).unwrap();
    }
    let (said, [came, _, went, dropped, ..], lines) = receiver.stop();
    let received = lines.len() as u64;
    assert_eq!((came, went), (sent, received), "{said}");
    assert_eq!(received + dropped, sent, "{said}");
    assert!(dropped > 0, "nothing was dropped: the test has not tested anything\n{said}");
    assert!(gives_reason(&said, "kernel_buffer_full", dropped), "{said}");
}

#[test]
fn ten_thousand_silent_connections_take_little_memory_and_no_time_of_a_busy_one() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let wanted = 10_000;
    if limit.maximum.is_some_and(|most| most < wanted + 2_000) || setrlimit(Resource::Nofile, raised).is_err() {
        println!("skipped: no more than {:?} files may be open", limit.maximum);
        return;
    }
    // A quarter of it must hold what so many may take.
    let receiver = Receiver::start_in(&[TCP], "", "peer", "memory_limit: 160MiB\n");
    let message = "<13>1 2026-11-21T02:17:48.123Z host app 42 ID7 [m@1 a=\"b\"] an event of some length, as they are\n";
    let messages = 20_000;
    let body = message.repeat(messages);
    let mut busy = receiver.tcp(0);
    let size = || std::fs::metadata(receiver.out()).map_or(0, |m| m.len());
    busy.write_all(body.as_bytes()).unwrap();
    eventually("the first round is written", || lines(&receiver.out()).len() == messages);
    let (bytes, mut written) = (size(), size());
    // The processor's time for one round: on a machine that does other things as well, the clock says little.
    let mut round = || {
        let before = receiver.agent.cpu_seconds();
        busy.write_all(body.as_bytes()).unwrap();
        written += bytes;
        eventually("a round is written", || size() == written);
        receiver.agent.cpu_seconds() - before
    };
    let alone = (0..4).map(|_| round()).fold(f64::MAX, f64::min);
    let silent: Vec<TcpStream> = (0..wanted).map(|_| receiver.tcp(0)).collect();
    round();
    let among = (0..8).map(|_| round()).fold(f64::MAX, f64::min);
    let peak = receiver.agent.peak_rss();
    println!(
        "{wanted} connections: {} MiB; a busy one costs {:.2} µs a message alone, {:.2} among them",
        peak >> 20,
        alone * 1e6 / messages as f64,
        among * 1e6 / messages as f64
    );
    assert!(peak < 120 << 20, "{peak} bytes at its highest");
    // The machine may have become slower meanwhile, for one alone as well.
    drop(silent);
    let after = (0..4).map(|_| round()).fold(f64::MAX, f64::min);
    assert!(among <= alone.max(after) / 0.9, "{among} s among silent ones, {alone} s alone before and {after} s after");
    receiver.stop();
}

#[test]
fn a_proxy_names_the_sender() {
    let receiver = Receiver::start(&[TCP], ", proxy_protocol: required");
    let mut first = receiver.tcp(0);
    first.write_all(b"PROXY TCP4 203.0.113.7 10.0.0.1 50000 601\r\n<13>1 - h a - - - one\n").unwrap();
    let mut second = receiver.tcp(0);
    second.write_all(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x02\x0a\0\0\x01\xc3\x50\x02\x59").unwrap();
    receiver.messages(1);
    second.write_all(b"<13>1 - h a - - - two\n").unwrap();
    let mut stranger = receiver.tcp(0);
    stranger.write_all(b"<13>1 - h a - - - without\n").unwrap();
    let mut byte = [0];
    assert!(matches!(stranger.read(&mut byte), Ok(0) | Err(_)), "it is closed");
    let peers: Vec<_> = receiver.events(2).iter().map(|e| (e["peer"].clone(), e["message"].clone())).collect();
    assert_eq!(peers, [("203.0.113.7".into(), "one".into()), ("198.51.100.2".into(), "two".into())]);
    let (said, run_ledger, _) = receiver.stop();
    assert_eq!(run_ledger, [2, 0, 2, 0, 0, 0], "{said}");
    assert!(said.contains("it does not begin with a PROXY header"), "{said}");
    let receiver = Receiver::start(&[TCP], ", proxy_protocol: optional");
    receiver.tcp(0).write_all(b"PROXY TCP6 2001:db8::7 ::1 50000 601\r\n<13>1 - h a - - - one\n").unwrap();
    receiver.tcp(0).write_all(b"Plain text, no header of any kind\n").unwrap();
    let mut peers: Vec<_> =
        receiver.events(2).iter().map(|e| e["peer"].as_str().unwrap_or_default().to_owned()).collect();
    peers.sort();
    assert_eq!(peers, ["127.0.0.1", "2001:db8::7"]);
    receiver.stop();
}

#[test]
fn pythons_handler_is_understood_over_both_transports() {
    if !has("python3") {
        return;
    }
    let receiver = Receiver::start(&[UDP, TCP], "");
    let script = r#"
import logging, logging.handlers, socket, sys
log = logging.getLogger("shop")
log.setLevel(logging.DEBUG)
kinds = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
for name, port in zip(("udp", "tcp"), sys.argv[1:]):
    handler = logging.handlers.SysLogHandler(("127.0.0.1", int(port)), facility="local0", socktype=kinds[name])
    handler.setFormatter(logging.Formatter("shop[%(process)d]: %(message)s"))
    log.handlers = [handler]
    for n in range(20):
        # Only a frame that NUL has ended tells that line ends are inside the next ones.
        log.warning("%s %d\nwith a second line" if n else "%s %d", name, n)
    handler.close()
"#;
    run("python3", &["-c", script, receiver.port(0), receiver.port(1)]);
    let events = receiver.events(40);
    for kind in ["udp", "tcp"] {
        let of_kind = events.iter().filter(|e| e["message"].as_str().unwrap().starts_with(kind));
        let texts: Vec<_> = of_kind.map(|e| e["message"].as_str().unwrap()).collect();
        let expected: Vec<_> = (0..20)
            .map(|n| if n == 0 { format!("{kind} 0") } else { format!("{kind} {n}\nwith a second line") })
            .collect();
        assert_eq!(texts, expected);
    }
    for event in &events {
        assert_eq!((&event["appname"], event["severity"].as_i64()), (&"shop".into(), Some(4)), "{event}");
    }
    receiver.stop();
}

/// Whether a program is there; says so where it is not.
fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        println!("skipped: `{program}` is not on this machine");
    }
    there
}

#[track_caller]
fn run(program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).current_dir(Path::new("/")).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn logger_is_understood_in_all_its_forms() {
    if !has("logger") {
        return;
    }
    let receiver = Receiver::start(&[UDP, TCP], "");
    let mut count = 0;
    for (n, transport) in [(0, "-d"), (1, "-T")] {
        let mut forms: Vec<&[&str]> = vec![&[], &["--rfc3164"], &["--rfc5424"], &["--rfc5424=notq"]];
        if n == 1 {
            forms.extend([&["--octet-count"][..], &["--octet-count", "--rfc3164"]]);
        }
        for form in forms {
            let mut args = vec!["-n", "127.0.0.1", "-P", receiver.port(n), transport, "-t", "app", "-p", "local0.err"];
            args.extend(form);
            args.push("it works");
            run("logger", &args);
            count += 1;
            let events = receiver.events(count);
            let event = events.last().unwrap();
            let texts = (event["message"].as_str(), event["appname"].as_str());
            assert_eq!(texts, (Some("it works"), Some("app")), "{args:?}: {event}");
            let numbers = (event["severity"].as_i64(), event["facility"].as_i64());
            assert_eq!(numbers, (Some(3), Some(16)), "{args:?}: {event}");
            assert!(event["timestamp"].is_string() && event["hostname"].is_string(), "{args:?}: {event}");
        }
    }
    let (_, run_ledger, _) = receiver.stop();
    assert_eq!(run_ledger, [10, 0, 10, 0, 0, 0]);
}

#[test]
fn loggen_is_understood_in_all_its_forms() {
    if !has("loggen") {
        return;
    }
    let receiver = Receiver::start(&[TCP], "");
    let forms: [&[&str]; 2] = [&[], &["--syslog-proto"]];
    for (n, form) in forms.iter().enumerate() {
        let mut args = vec!["--inet", "--stream", "--number", "50", "--rate", "1000", "--size", "200"];
        args.extend(*form);
        args.extend(["127.0.0.1", receiver.port(0)]);
        run("loggen", &args);
        let events = receiver.events(50 * (n + 1));
        for event in &events[50 * n..] {
            assert!(event["message"].as_str().unwrap().starts_with("seq: 00000000"), "{event}");
            assert_eq!(event["appname"], "prg00000", "{event}");
        }
    }
    receiver.stop();
}

#[test]
fn over_tls_messages_come_with_the_subject_of_their_sender() {
    use crate::http::fixture;
    let tls = format!(
        ", tls: {{cert: {}, key: {}, client_ca_file: {}, min_version: 1.2}}",
        fixture("server"),
        fixture("server-key"),
        fixture("ca")
    );
    let receiver = Receiver::start_with(&["tls://127.0.0.1:0"], &tls, "peer, tls.subject");
    let openssl = |more: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-no_ign_eof", "-connect", receiver.host(0), "-CAfile", &fixture("ca")]);
        command.args(more).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn()
    };
    let (cert, key) = (fixture("client"), fixture("client-key"));
    let mut client = match openssl(&["-cert", &cert, "-key", &key]) {
        Ok(client) => client,
        Err(error) => return println!("skipped: openssl: {error}"),
    };
    client.stdin.take().unwrap().write_all(b"<13>1 - h a - - - one\n21 <13>1 - h a - - - two").unwrap();
    let events = receiver.events(2);
    for (event, message) in events.iter().zip(["one", "two"]) {
        assert_eq!((&event["message"], &event["peer"]), (&Json::from(message), &Json::from("127.0.0.1")));
        assert_eq!(event["tls_subject"], "CN=web-1,OU=Müll\\, Abfuhr,O=Shop,C=DE");
    }
    client.wait().unwrap();
    // Without a certificate nothing comes in.
    let mut stranger = openssl(&[]).unwrap();
    drop(stranger.stdin.take().unwrap().write_all(b"<13>1 - h a - - - three\n"));
    stranger.wait().unwrap();
    let (_, run_ledger, lines) = receiver.stop();
    assert_eq!((run_ledger[0], lines.len()), (2, 2));
}

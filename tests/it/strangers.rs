//! What strangers send and name: it steers no terminal, shows no secret, keeps nobody out and comes in from no page.

use crate::agent::{Agent, config, eventually, get, lines, output, tidegate};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

const FORGED: &str = "2026-11-30T00:00:00.000000Z ERROR forged line";

/// Whether nothing in it steers a terminal.
#[track_caller]
fn assert_harmless(what: &str, text: &str) {
    let bad = |c: char| c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!text.chars().any(bad), "{what}: {text:?}");
    assert!(!text.lines().any(|line| line.starts_with(FORGED)), "{what}: {text}");
}

#[test]
fn names_letters_and_events_steer_no_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("logs")).unwrap();
    for name in [format!("a\n{FORGED} \u{1b}[31mred.log"), "y\u{1b}]0;pwn\u{7}\u{9b}31m\u{202e}.log".to_owned()] {
        std::fs::write(dir.join("logs").join(name), "hello\n").unwrap();
    }
    config(
        dir,
        "data_dir: ./data\nsources: {in: {type: file, include: [\"logs/*.log\"]}}\nsinks: {out: {type: blackhole, inputs: [in]}}\n\
         tests: [{name: \"t\\u009b\", input: [{at: in, line: \"A\\u009b31m\\x7f\"}], expect: [{at: in, fields: {message: B}}]}]\n",
    );
    let agent = Agent::run(dir, &[]);
    eventually("both files are found", || agent.said().matches(" found ").count() == 2);
    let said = agent.stop();
    assert_harmless("log", &said);
    assert!(said.contains("\\x1b]0;pwn\\x07\\x9b31m\\u{202e}.log"), "{said}");
    let letter = "{\"tidegate\":{\"component\":\"o\\u001b[31m2\",\"reason\":\"r\\u001b]0;pwn\\u0007\\nx\",\"detail\":\"x\",\
                  \"time\":\"2026-01-01T00:00:00.000Z\",\"source\":\"a\"},\"event\":{\"message\":\"m\"}}\n";
    std::fs::write(dir.join("let\u{1b}ters"), letter.to_owned() + "{\"no\u{9b}letter\":1}\n").unwrap();
    for args in [
        &["checkpoint", "show"][..],
        &["checkpoint", "show", "--json"],
        &["test"],
        &["try", "logs/y\u{1b}]0;pwn\u{7}\u{9b}31m\u{202e}.log"],
        &["replay", "let\u{1b}ters", "--to", "out", "--dry-run"],
        &["doctor", "--offline"],
        &["run", "--no\u{1b}such"],
    ] {
        let config: &[&str] = if args[0] == "run" { &[] } else { &["--config", "tidegate.yaml"] };
        let (_, stdout, stderr) = output(tidegate(dir, &[args, config].concat()));
        assert_harmless(args[0], &stdout);
        assert_harmless(args[0], &stderr);
    }
    let (_, shown, _) = output(tidegate(dir, &["checkpoint", "show", "--config", "tidegate.yaml"]));
    assert!(shown.contains(&format!("logs/a\\n{FORGED} \\x1b[31mred.log")), "{shown}");
}

/// Answers every request with 400 and the request's headers inside JSON, as proxies and debug servers do.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_with_headers(stream));
        }
    });
    address
}

fn answer_with_headers(mut stream: TcpStream) {
    let mut text = Vec::new();
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut bytes) {
        text.extend_from_slice(&bytes[..n]);
        let shown = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = shown.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() < length.unwrap_or(0) && text.len() < head.len() + 4 + length.unwrap_or(0) {
            continue;
        }
        let answer = serde_json::json!({"code": 400, "message": format!("refused: {head}")}).to_string();
        let head = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n", answer.len());
        if stream.write_all((head + &answer).as_bytes()).is_err() {
            return;
        }
        text.clear();
    }
}

#[test]
fn tokens_that_were_minted_and_keys_in_urls_are_in_no_log_and_no_letter() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("key"), "FILESECRETMARK7\n").unwrap();
    std::fs::write(dir.join("in.ndjson"), "{\"message\":\"x\"}\n").unwrap();
    let server = echo();
    config(
        dir,
        &format!(
            "data_dir: ./data\nsources: {{in: {{type: file, include: [in.ndjson], decode: json}}}}\nsinks:\n  \
             o2: {{type: openobserve, inputs: [in], url: \"http://{server}\", stream: x, auth: {{jwt: {{key: JWTKEYMARK, issuer: x}}}}, dead_letter: rej}}\n  \
             other: {{type: openobserve, inputs: [in], url: \"http://{server}\", stream: x, headers: {{X-Quoted: 'pa\"ss\\wörd'}}, dead_letter: rej}}\n  \
             prom: {{type: prometheus, inputs: [in], remote_write: {{url: \"http://{server}/w?key=${{file:./key}}&token=URLTOKENMARK7\", interval: 100ms}}, metrics: [{{name: a_total, type: counter}}]}}\n  \
             rej: {{type: file, path: ./rej.ndjson}}\n"
        ),
    );
    let agent = Agent::start(tidegate(dir, &["run", "--config", "tidegate.yaml", "--log-level", "debug"]));
    eventually("both letters are written", || lines(&dir.join("rej.ndjson")).len() == 2);
    eventually("the push is refused", || agent.said().contains("component=prom"));
    let log = agent.said();
    agent.kill();
    let letters = lines(&dir.join("rej.ndjson")).join("\n");
    assert!(letters.contains("Bearer ***"), "{letters}");
    for text in [letters, log] {
        for secret in ["eyJ", "JWTKEYMARK", "FILESECRETMARK7", "URLTOKENMARK7", "wörd", "w\\u00f6rd"] {
            assert!(!text.contains(secret), "{secret} shows in {text}");
        }
    }
}

#[test]
fn silent_clients_leave_files_and_the_api_their_handles() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("in")).unwrap();
    config(
        dir,
        "data_dir: ./data\napi: {listen: \"127.0.0.1:0\"}\nsources:\n  s: {type: syslog, listen: \"tcp://127.0.0.1:0\"}\n  \
         f: {type: file, include: [\"in/*.log\"], glob_interval: 50ms}\nsinks: {out: {type: file, inputs: [s, f], path: ./out.ndjson}}\n",
    );
    let program = env!("CARGO_BIN_EXE_tidegate");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("ulimit -n 128; exec {program} run --config tidegate.yaml")]).current_dir(dir);
    let agent = Agent::start(command);
    eventually("it listens", || agent.addresses().len() == 2);
    let said = agent.said();
    assert!(said.contains("fewer connections than by default") && said.contains("connections=64"), "{said}");
    let address = |word: &str| {
        let line = said.lines().find(|l| l.contains(word)).unwrap();
        let address = line.split_once("address=").unwrap().1;
        address.split(' ').next().unwrap().trim_matches('"').trim_start_matches("tcp://").to_owned()
    };
    let (syslog, api) = (address(" listening "), address("API listening"));
    let mut silent: Vec<TcpStream> = (0..160).map(|_| TcpStream::connect(&syslog).unwrap()).collect();
    for n in 0..20 {
        std::fs::write(dir.join(format!("in/new{n}.log")), format!("new{n}\n")).unwrap();
    }
    eventually("new files are read", || {
        lines(&dir.join("out.ndjson")).iter().filter(|l| l.contains("new")).count() == 20
    });
    assert_eq!(get(&api, "/health").0, 200);
    // The kernel forgets clients that came while its queue was full and who say nothing: others come.
    let is_said = crate::agent::within_patience(|| {
        silent.extend((silent.len() < 400).then(|| TcpStream::connect(&syslog).ok()).flatten());
        agent.said().contains("connections_at_limit")
    });
    assert!(is_said, "it is not said: {}", agent.said());
    let said = agent.stop();
    assert!(said.matches("cannot be accepted").count() <= 1, "{said}");
}

#[test]
fn connections_are_held_against_memory_and_idle_ones_give_way() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(
        dir,
        "data_dir: ./data\nmemory_limit: 4MiB\napi: {listen: \"127.0.0.1:0\"}\n\
         sources: {w: {type: http, listen: \"127.0.0.1:0\", auth: {bearer: [s3cret]}}}\nsinks: {o: {type: blackhole, inputs: [w]}}\n",
    );
    let agent = Agent::run(dir, &[]);
    eventually("it listens", || agent.addresses().len() == 2);
    let said = agent.said();
    let line =
        |word: &str| said.lines().find(|l| l.contains(word)).unwrap().split_once("address=").unwrap().1.to_owned();
    let (web, api) = (line("http://").trim_start_matches("http://").to_owned(), line("API listening"));
    let (web, api) = (web.split(' ').next().unwrap(), api.split(' ').next().unwrap());
    assert!(said.contains("connections=25 default=2048"), "{said}");
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..120 {
        let mut stream = TcpStream::connect(web).unwrap();
        stream.write_all(format!("POST / HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n", "a".repeat(8000)).as_bytes()).unwrap();
        held.push(stream);
    }
    // One that has credentials comes in all the same, and the connections are as few as was said.
    let mut stream = TcpStream::connect(web).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let body = "{\"a\":1}";
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let page = get(api, "/metrics").1;
    let open = page.lines().find(|l| l.starts_with("tidegate_connections{")).unwrap();
    let open: f64 = open.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(open <= 25.0, "{open}");
    drop(held);
    agent.stop();
}

fn validate(dir: &Path, yaml: &str) -> (Option<i32>, String) {
    config(dir, yaml);
    let (code, stdout, stderr) = output(tidegate(dir, &["validate", "--config", "tidegate.yaml"]));
    (code, stdout + &stderr)
}

#[test]
fn explicit_connections_that_do_not_fit_are_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = |more: &str| {
        format!(
            "{more}\nsources: {{w: {{type: http, listen: \"127.0.0.1:0\", max_connections: 2000}}}}\nsinks: {{o: {{type: blackhole, inputs: [w]}}}}\n"
        )
    };
    let (code, said) = validate(dir.path(), &yaml(""));
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("`max_connections: 2000` of `w` (40 KiB each)") && said.contains("memory_limit: 313MiB"),
        "{said}"
    );
    assert_eq!(validate(dir.path(), &yaml("memory_limit: 313MiB")).0, Some(0));
}

#[test]
fn a_page_of_another_origin_cannot_feed_a_source() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(
        dir,
        "data_dir: ./data\nsources:\n  w: {type: http, listen: \"127.0.0.1:0\"}\n  \
         c: {type: http, listen: \"127.0.0.1:0\", cors: {origins: [\"https://shop.example\"]}}\nsinks: {o: {type: file, inputs: [w, c], path: ./out.ndjson}}\n",
    );
    let agent = Agent::run(dir, &[]);
    eventually("it listens", || agent.addresses().len() == 2);
    let said = agent.said();
    let of = |id: &str| {
        let line = said.lines().find(|l| l.contains(&format!("component={id} ")) && l.contains("http://")).unwrap();
        line.split_once("http://").unwrap().1.split(' ').next().unwrap().to_owned()
    };
    let post = |address: &str, host: &str, headers: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        let body = "{\"message\":\"x\"}";
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    let (plain, cors) = (of("w"), of("c"));
    let evil = "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n";
    assert_eq!(post(&plain, "evil.example", evil), 403);
    assert_eq!(post(&plain, &plain, evil), 403);
    assert_eq!(post(&plain, "evil.example:1", "Origin: http://evil.example:1\r\nSec-Fetch-Site: same-origin\r\n"), 403);
    assert_eq!(post(&plain, &plain, "Sec-Fetch-Site: cross-site\r\n"), 403);
    assert_eq!(post(&cors, &cors, evil), 403);
    assert_eq!(lines(&dir.join("out.ndjson")).len(), 0);
    assert_eq!(post(&plain, &plain, ""), 200);
    assert_eq!(post(&plain, "any.name", ""), 200);
    assert_eq!(post(&plain, &plain, &format!("Origin: http://{plain}\r\nSec-Fetch-Site: same-origin\r\n")), 200);
    assert_eq!(post(&cors, &cors, "Origin: https://shop.example\r\nSec-Fetch-Site: cross-site\r\n"), 200);
    assert_eq!(lines(&dir.join("out.ndjson")).len(), 4);
    agent.stop();
}

#[test]
fn state_is_not_written_through_a_link_and_a_folder_of_others_is_said() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(dir, "data_dir: ./data\nsources: {d: {type: demo, count: 1}}\nsinks: {o: {type: blackhole, inputs: [d]}}\n");
    std::fs::create_dir(dir.join("data")).unwrap();
    std::fs::write(dir.join("precious"), "precious").unwrap();
    std::fs::set_permissions(dir.join("data"), PermissionsExt::from_mode(0o777)).unwrap();
    let run = || output(tidegate(dir, &["run", "--once", "--config", "tidegate.yaml"]));
    let (code, _, said) = run();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("STATE IS NOT SAFE HERE: everybody may write there (mode 0777)"), "{said}");
    std::fs::set_permissions(dir.join("data"), PermissionsExt::from_mode(0o700)).unwrap();
    assert!(!run().2.contains("NOT SAFE"));
    std::fs::remove_file(dir.join("data/lock")).unwrap();
    symlink(dir.join("precious"), dir.join("data/lock")).unwrap();
    let (code, _, said) = run();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`lock` there is a link"), "{said}");
    std::fs::remove_file(dir.join("data/lock")).unwrap();
    symlink(dir.join("precious"), dir.join("data/ledger.tmp")).unwrap();
    let (_, _, said) = run();
    assert!(said.contains("ledger"), "{said}");
    assert_eq!(std::fs::read(dir.join("precious")).unwrap(), b"precious");
}

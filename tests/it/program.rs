//! The program as a user meets it: commands, exit codes, streams.

use crate::agent::{Agent, assert_balanced, config, eventually, ledger, lines, output, tidegate};
use std::io::Write;
use std::process::Stdio;

const STDIN_TO_FILE: &str = r#"
data_dir: ./data
sources: {in: {type: stdin, decode: json}}
transforms: {shape: {type: normalize, inputs: [in], schema: log, keep_rest: root}}
sinks: {out: {type: file, inputs: [shape], path: "./out.ndjson"}}
"#;

#[test]
fn standard_input_goes_to_a_file_and_its_end_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), STDIN_TO_FILE);
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"msg\":\"one\",\"ts\":0}\nnot json\r\n{\"msg\":\"two\",\"ts\":0}").unwrap();
    drop(stdin);
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert_balanced(&said);
    let lines = lines(&dir.path().join("out.ndjson"));
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with(r#"{"message":"one","timestamp":"1970-01-01T00:00:00.000Z""#), "{}", lines[0]);
    assert!(lines[1].starts_with(r#"{"message":"not json","decode_error":"not valid JSON""#), "{}", lines[1]);
    assert!(lines[2].starts_with(r#"{"message":"two""#), "{}", lines[2]);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), "sources: {a: {type: stdinn}}\n");
    let code = |args: &[&str]| output(tidegate(dir.path(), args)).0;
    assert_eq!(code(&["--version"]), Some(0));
    assert_eq!(code(&["nonsense"]), Some(2));
    assert_eq!(code(&["validate", "--config", "tidegate.yaml"]), Some(78));
    assert_eq!(code(&["run", "--config", "tidegate.yaml"]), Some(78));
    assert_eq!(code(&["run", "--config", "missing.yaml"]), Some(78));
    config(dir.path(), &STDIN_TO_FILE.replace("./data", "/proc/nowhere"));
    assert_eq!(code(&["run", "--config", "tidegate.yaml"]), Some(1));
}

#[test]
fn what_only_a_start_finds_exits_with_78_for_the_configuration_and_with_1_for_this_host() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let tls = "{cert: nowhere.pem, key: nowhere.pem}";
    for (code, source, what) in [
        (78, "{type: demo}".to_owned(), "it has no end"),
        (1, "{type: stdin, decode: json}".to_owned(), "cannot read the table"),
        (1, format!("{{type: http, listen: \"127.0.0.1:0\", tls: {tls}}}"), "nowhere.pem: "),
        (1, format!("{{type: syslog, listen: \"tcp://{address}\"}}"), "another program has it"),
    ] {
        let once = if code == 78 || source.contains("stdin") { "--once" } else { "--watch-config" };
        config(
            dir.path(),
            &format!(
                "data_dir: ./data\nsources: {{in: {source}}}\n\
                 transforms: {{e: {{type: enrich, inputs: [in], lookup: {{key: a, table: nowhere.csv, to: b}}}}}}\n\
                 sinks: {{out: {{type: blackhole, inputs: [e]}}}}\n"
            ),
        );
        let (got, _, said) = output(tidegate(dir.path(), &["run", once, "--config", "tidegate.yaml"]));
        assert!(got == Some(code) && said.contains(what), "{source}: {got:?} {said}");
    }
}

/// Servers alone are a configuration for `tidegate openobserve`.
#[test]
fn a_configuration_without_components_is_valid_and_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "data_dir: ./data\nopenobserve: {url: \"http://127.0.0.1:1\", auth: {basic: {user: u, password: p}}}\n",
    );
    let ask = |command: &str| output(tidegate(dir.path(), &[command, "--config", "tidegate.yaml"]));
    assert_eq!(ask("validate").0, Some(0));
    let (code, _, said) = ask("run");
    assert!(code == Some(78) && said.contains("has no sources"), "{code:?} {said}");
}

#[test]
fn what_does_not_fit_the_memory_is_told_at_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let validate = |limit: &str| {
        config(
            dir.path(),
            &format!(
                "{limit}data_dir: ./data\nsources: {{in: {{type: stdin}}}}\n\
                 sinks: {{out: {{type: blackhole, inputs: [in], buffer: {{type: memory, max_bytes: 1GiB}}}}}}\n"
            ),
        );
        output(tidegate(dir.path(), &["validate", "tidegate.yaml"]))
    };
    for (limit, place) in [("memory_limit: 30MiB\n", "--> tidegate.yaml:1:15"), ("", "--> tidegate.yaml:3:9")] {
        let (code, _, said) = validate(limit);
        assert!(code == Some(78) && said.contains("the buffers ask for 1024.0 MiB"), "{code:?} {said}");
        assert!(said.contains(place), "{said}");
    }
}

#[test]
fn mistakes_of_a_block_are_told_at_its_key_and_an_example_is_not_taken_for_a_variable() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "data_dir: ./data\n\
         sources: {in: {type: http, listen: \"127.0.0.1:0\", paths: {}, auth: {hmac: {key: k, header: \"a b\"}}}}\n\
         sinks: {o: {type: openobserve, inputs: [in], url: \"${URL:-http://localhost:5080}x\", stream: s},\n  \
         p: {type: prometheus, inputs: [in]}}\n",
    );
    let (code, _, said) = output(tidegate(dir.path(), &["validate", "tidegate.yaml"]));
    assert_eq!(code, Some(78), "{said}");
    assert_eq!((said.matches("error: ").count(), said.matches("--> tidegate.yaml:").count()), (4, 4), "{said}");
    assert!(said.contains("not an address such as `http://localhost:5080`"), "{said}");
    for place in ["2:51", "2:92", "4:3"] {
        assert!(said.contains(&format!("--> tidegate.yaml:{place}\n")), "{place}: {said}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "data_dir: ./data\nsources: {in: {type: demo, rate: 100}}\nsinks: {out: {type: file, inputs: [in], path: ./out}}\n",
    );
    let agent = Agent::run(dir.path(), &[]);
    eventually("output", || lines(&dir.path().join("out")).len() > 5);
    let said = agent.stop();
    assert!(said.contains("stopping"), "{said}");
}

#[test]
fn the_logs_can_be_json() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), STDIN_TO_FILE);
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml", "--log-format", "json"]);
    command.stdin(Stdio::null());
    let (code, _, said) = output(command);
    assert_eq!(code, Some(0), "{said}");
    let line = said.lines().next().unwrap();
    let json: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(json["message"], "running");
}

#[test]
fn blank_lines_between_json_records_are_no_events() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "data_dir: ./data
sources: {in: {type: file, include: [in.log], decode: json, on_decode_error: reject}}
sinks:
  out: {type: file, inputs: [in], path: ./out}
  bad: {type: file, inputs: [in.rejected], path: ./bad}
",
    );
    std::fs::write(dir.path().join("in.log"), "{\"n\":1}\n\n \t\r\n{\"n\":2}\nnope{\n\n").unwrap();
    let (code, _, said) = output(tidegate(dir.path(), &["run", "--once", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(lines(&dir.path().join("out")), ["{\"n\":1}", "{\"n\":2}"]);
    assert_eq!(lines(&dir.path().join("bad")).len(), 1);
    assert_balanced(&said);
    assert_eq!(ledger(&said)[0].1[0], 3);
}

#[test]
fn what_the_agent_writes_is_not_read_and_a_file_that_would_have_it_so_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let check = |include: &str, sink: &str, data: &str| {
        config(
            dir.path(),
            &format!(
                "data_dir: {data}\nsources: {{in: {{type: file, include: [\"{include}\"]}}}}\n\
                 sinks: {{out: {{type: file, inputs: [in], path: \"{sink}\"}}}}\n"
            ),
        );
        let (code, _, said) = output(tidegate(dir.path(), &["validate", "--config", "tidegate.yaml"]));
        (code, said)
    };
    for (include, sink, data) in [
        ("own/*.log", "own/x.log", "./data"),
        ("own/*.log", "./own/{{ service }}.log", "./data"),
        ("own/**", "out/x", "own/data"),
        ("**/*.log", "deep/%Y/{{ service }}.log", "./data"),
    ] {
        let (code, said) = check(include, sink, data);
        assert_eq!(code, Some(78), "{include} {sink} {data}: {said}");
        assert!(said.contains("source `in` would read what") && said.contains("--> tidegate.yaml:2:"), "{said}");
    }
    for (include, sink, data) in
        [("in/*.log", "out/x.log", "./data"), ("own/*.log", "own/{{ service }}.ndjson", "./data")]
    {
        let (code, said) = check(include, sink, data);
        assert_eq!(code, Some(0), "{include} {sink} {data}: {said}");
    }
}

/// Clients that connect and say nothing, or half of something, do not keep others from being answered.
#[test]
fn silent_clients_do_not_take_the_apis_connections_for_long() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "data_dir: ./data
api: {listen: \"127.0.0.1:0\"}
sources: {in: {type: demo, rate: 100}}
sinks: {out: {type: blackhole, inputs: [in]}}
",
    );
    let agent = Agent::run(dir.path(), &[]);
    eventually("the address", || !agent.addresses().is_empty());
    let api = agent.addresses().remove(0);
    let silent: Vec<_> = (0..300)
        .map(|n| {
            let mut stream = std::net::TcpStream::connect(&api).unwrap();
            std::io::Write::write_all(&mut stream, &b"GET /he"[..n % 8]).unwrap();
            stream
        })
        .collect();
    let started = std::time::Instant::now();
    assert_eq!(crate::agent::get(&api, "/health").0, 200);
    println!("answered after {:?} behind {} silent clients", started.elapsed(), silent.len());
    agent.stop();
}

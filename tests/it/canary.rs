//! No secret's value in anything the program shows: log lines at their finest, errors, answers of the API, the graph, dead
//! letters, and what the other commands print.

use crate::agent::{Agent, config, eventually, get_with, output, tidegate};
use crate::openobserve_double::{Double, Fault, Setup};
use base64::Engine;
use std::path::Path;
use std::process::Command;

/// Every secret of the configuration below; two come from the environment and one from a file.
const SECRETS: [&str; 8] = [
    "CANARY-api-bearer",
    "CANARY-api-password",
    "CANARY-o2-password",
    "CANARY-header-value",
    "CANARY-proxy-password",
    "CANARY-hash-key-of-redact",
    "CANARY-bearer-of-other",
    "CANARY-in-an-event",
];

const YAML: &str = r#"
data_dir: ./data
api:
  listen: "127.0.0.1:0"
  auth: {bearer: ["${API_BEARER}"], basic: {user: ops, password: CANARY-api-password}}
sources:
  in: {type: file, include: [in.ndjson], decode: json}
transforms:
  clean:
    type: redact
    inputs: [in]
    detect: [secrets]
    action: hash
    key: CANARY-hash-key-of-redact
sinks:
  o2:
    type: openobserve
    inputs: [clean]
    url: "URL"
    stream: s
    auth: {basic: {user: me, password: "${file:SECRET_FILE}"}}
    headers: {X-Api-Key: "${HEADER}"}
    retry: {initial: 5ms, max: 20ms}
    batch: {timeout: 20ms}
    dead_letter: rejects
  other:
    type: openobserve
    inputs: [clean]
    url: "http://127.0.0.1:1"
    proxy: "http://me:CANARY-proxy-password@127.0.0.1:1"
    stream: s
    auth: {bearer: CANARY-bearer-of-other}
    retry: {initial: 5ms, max: 20ms, max_elapsed: 200ms}
    batch: {timeout: 20ms}
    dead_letter: rejects
  rejects: {type: file, path: ./rejects.ndjson}
tests:
  - name: masked
    input: [{at: in, line: '{"password":"x"}'}]
    expect: [{at: clean, count: 1}]
"#;

fn with_environment(mut command: Command) -> Command {
    command.env("API_BEARER", SECRETS[0]).env("HEADER", SECRETS[3]);
    command
}

#[track_caller]
fn assert_clean(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} shows in {what}:\n{text}");
        for encoded in [secret.to_owned(), format!("me:{secret}"), format!("ops:{secret}")] {
            let encoded = base64::engine::general_purpose::STANDARD.encode(encoded);
            assert!(!text.contains(encoded.trim_end_matches('=')), "{secret} shows as base64 in {what}:\n{text}");
        }
    }
}

/// Every file below a folder.
fn texts(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => texts(&path, into),
            path => {
                let bytes = std::fs::read(&path).unwrap();
                into.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
    }
}

#[test]
fn no_secret_is_in_anything_the_program_shows() {
    let double = Double::start(Setup::default());
    // A server that says everything it was told, in every way it can fail.
    double.script(|n, seen| {
        let status = [500, 401, 429, 403, 404, 400][n.min(5)];
        Some(Fault::Answer(status, Vec::new(), format!("{:?}", seen.headers)))
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "CANARY-o2-password\n").unwrap();
    std::fs::write(dir.path().join("in.ndjson"), "{\"message\":\"password=CANARY-in-an-event\"}\n{broken\n").unwrap();
    let file = dir.path().join("secret");
    config(dir.path(), &YAML.replace("URL", &double.url()).replace("SECRET_FILE", file.to_str().unwrap()));

    let command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml", "--log-level", "trace"]);
    let agent = Agent::start(with_environment(command));
    eventually("the API's address", || !agent.addresses().is_empty());
    let api = agent.addresses().remove(0);
    eventually("two dead letters of each sink", || crate::agent::lines(&dir.path().join("rejects.ndjson")).len() == 4);
    let bearer = format!("Authorization: Bearer {}\r\n", SECRETS[0]);
    for path in ["/health", "/ready", "/metrics", "/api/v1/ledger", "/", "/api/v1/graph", "/nope"] {
        for headers in ["", "Authorization: Bearer wrong\r\n", &bearer] {
            let (status, body) = get_with(&api, path, headers);
            assert!(status > 0, "{path} is answered");
            assert_clean(path, &body);
        }
    }
    assert_eq!(get_with(&api, "/api/v1/ledger", &bearer).0, 200, "the bearer is the right one");
    let said = agent.stop();
    assert!(said.contains("TRACE") || said.contains("DEBUG"), "{said}");
    assert_clean("the log", &said);

    for arguments in [
        &["graph"][..],
        &["graph", "--format", "mermaid"],
        &["graph", "--format", "dot"],
        &["validate"],
        &["validate", "--environment"],
        &["test"],
        &["buffer", "ls"],
        &["config", "history"],
        &["config", "history", "--json"],
        &["config", "show", "1"],
        &["config", "diff", "1", "1"],
    ] {
        let arguments: Vec<&str> = arguments.iter().chain(&["--config", "tidegate.yaml"]).copied().collect();
        let (code, stdout, stderr) = output(with_environment(tidegate(dir.path(), &arguments)));
        assert!(code.is_some_and(|c| c != 2), "{arguments:?}: {stderr}");
        assert_clean(&format!("{arguments:?}"), &format!("{stdout}{stderr}"));
    }
    let mut left = Vec::new();
    texts(&dir.path().join("data"), &mut left);
    texts(dir.path(), &mut left);
    for (path, text) in left {
        // As it was written, for its owner only.
        if path.contains("/data/config/") {
            let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
            assert_eq!(mode & 0o777, 0o600, "{path}");
            assert!(!text.contains("CANARY-o2-password"), "what `${{file:…}}` stands for is not resolved");
            continue;
        }
        if !["secret", "tidegate.yaml", "in.ndjson"].iter().any(|own| path.ends_with(own)) {
            assert_clean(&path, &text);
        }
    }
}

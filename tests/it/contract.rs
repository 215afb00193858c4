//! The pipeline that stands first in the contract, run as it stands but for addresses and folders.

use crate::agent::{Agent, assert_balanced, config, eventually, get, ledger, output, tidegate};
use crate::openobserve_double::{Double, PASSWORD, Setup, USER};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The contract's example. Where the contract lies beside the project, a test compares them.
const YAML: &str = r#"# yaml-language-server: $schema=./schema.json
data_dir: ./data                     # checkpoints, disk buffers, ledger; created 0700 if missing

api: {listen: "127.0.0.1:8686"}      # health, metrics, live view; off when left out

sources:
  app:
    type: file
    include: ["/var/log/app/*.log"]
    decode: json

transforms:
  shape:   {type: normalize, inputs: [app], schema: log, keep_rest: root}
  context: {type: enrich, inputs: [shape], host: true, user_agent: {from: userAgent}}
  clean:
    type: redact
    inputs: [context]
    detect: [secrets, email, credit_card]
  quality: {type: validate, inputs: [clean], schema: log}
  thin:
    type: sample
    inputs: [quality]
    by: level
    rates: {ERROR: 1.0, WARN: 0.5, INFO: 0.1, DEBUG: 0.01}

sinks:
  o2:
    type: openobserve
    inputs: [thin]
    url: "http://localhost:5080"
    organization: default
    stream: "{{ service }}-logs"
    auth: {basic: {user: "${O2_USER}", password: "${O2_PASSWORD}"}}
    buffer: {type: disk, max_size: 1GiB, when_full: block}
    dead_letter: rejects
  archive:
    type: file
    inputs: [thin]
    path: "./out/%Y-%m-%d/{{ service }}.ndjson"
    compression: gzip
  rejects: {type: file, inputs: [quality.rejected], path: "./out/rejected.ndjson"}
  stats:
    type: prometheus
    inputs: [quality]
    listen: "127.0.0.1:9598"
    metrics:
      - {name: app_events_total, type: counter, labels: {service: "{{ service }}", level: "{{ level }}"}}
      - {name: app_duration_ms, type: histogram, value: duration, buckets: [10, 50, 100, 500, 1000, 5000]}
"#;

/// The first YAML block of the contract, where it lies beside the project.
fn contract() -> Option<String> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("TIDEGATE_SHARED").map_or(beside, PathBuf::from);
    let text = std::fs::read_to_string(folder.join("spec.md")).ok()?;
    let from = text.find("```yaml\n")? + 8;
    Some(text[from..from + text[from..].find("```")?].to_owned())
}

#[test]
fn the_example_is_the_contracts() {
    match contract() {
        Some(text) => assert_eq!(YAML, text),
        None => println!("skipped: the contract is not beside the project"),
    }
}

#[test]
fn the_example_is_valid_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), YAML);
    let mut command = tidegate(dir.path(), &["validate", "--config", "tidegate.yaml"]);
    command.env("O2_USER", USER).env("O2_PASSWORD", PASSWORD);
    let (code, _, said) = output(command);
    assert_eq!(code, Some(0), "{said}");
    // Warnings are allowed (the Prometheus sink reads beside the sampling); the password is never part of them.
    assert!(!said.contains("error") && !said.contains(PASSWORD), "{said}");
}

/// Members of a gzip file, one behind the other.
fn gunzip(path: &Path) -> String {
    let mut text = String::new();
    let mut reader = flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap());
    std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
    text
}

/// Files of the archive: in the folder of each day, named by service, as the path says.
fn archive(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(archive(&path)),
            false if !path.ends_with("rejected.ndjson") => found.push(path),
            false => {}
        }
    }
    found
}

/// Prometheus' own check, where it is installed.
pub(crate) fn promtool_accepts(what: &str, page: &str, codes: &[i32]) {
    let started =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = started else { return println!("skipped: promtool is not installed") };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let out = promtool.wait_with_output().unwrap();
    assert!(
        out.status.code().is_some_and(|c| codes.contains(&c)),
        "{what}: {}\n{page}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn the_example_delivers_to_every_sink_and_its_ledger_balances() {
    let double = Double::start(Setup::default());
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let mut text = String::new();
    let now = crate::openobserve_double::now_micros() / 1000;
    for n in 0..4_000 {
        let level = ["ERROR", "WARN", "info", "debug"][n % 4];
        let event = json!({
            "time": now, "severity": level, "app": if n / 4 % 2 == 0 { "shop" } else { "pay" }, "n": n, "duration": n % 2000,
            "msg": format!("login of ada{n}@example.com password=hunter{n} card 4111 1111 1111 1111"),
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
        });
        text.push_str(&format!("{event}\n"));
    }
    std::fs::write(logs.join("app.log"), text).unwrap();
    let yaml = YAML
        .replace("/var/log/app", logs.to_str().unwrap())
        .replace("http://localhost:5080", &double.url())
        .replace("127.0.0.1:8686", "127.0.0.1:0")
        .replace("127.0.0.1:9598", "127.0.0.1:0");
    config(dir.path(), &yaml);
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
    command.env("O2_USER", USER).env("O2_PASSWORD", PASSWORD);
    let agent = Agent::start(command);
    eventually("the addresses", || agent.addresses().len() == 2);
    let [api, stats]: [String; 2] = agent.addresses().try_into().unwrap();

    let ledger_line = |id: &str| -> Value {
        let ledger: Value = serde_json::from_str(&get(&api, "/api/v1/ledger").1).unwrap();
        ledger.as_array().unwrap().iter().find(|c| c["component"] == id).cloned().unwrap()
    };
    let ends = ["o2", "archive", "stats"];
    eventually("everything is delivered", || {
        ledger_line("app")["in"] == 4_000
            && ends.iter().all(|id| ledger_line(id)["held"] == 0)
            && ledger_line("o2")["out"] == ledger_line("thin")["out"]
            && ledger_line("archive")["out"] == ledger_line("thin")["out"]
            && ledger_line("stats")["out"] == 4_000
    });
    assert_eq!(get(&api, "/health").0, 200);
    assert_eq!(get(&api, "/ready").0, 200);

    // Every event is counted, by what normalize made of its names.
    let (code, metrics) = get(&stats, "/metrics");
    assert_eq!(code, 200);
    for line in [
        "app_events_total{service=\"shop\",level=\"ERROR\"} 500",
        "app_events_total{service=\"pay\",level=\"DEBUG\"} 500",
        "app_duration_ms_count 4000",
        "app_duration_ms_bucket{le=\"10\"} 22",
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
    promtool_accepts("the agent's own metrics", &get(&api, "/metrics").1, &[0]);
    // Names of the user's choice may not be to its taste (3); they must be readable (1).
    promtool_accepts("the Prometheus sink", &metrics, &[0, 3]);
    let said = agent.stop();
    assert_balanced(&said);
    let out = ledger(&said).into_iter().find(|(id, _)| id == "thin").unwrap().1[2];

    // All errors, about half of the warnings, a tenth of the information.
    assert_eq!(double.streams(), ["pay_logs", "shop_logs"]);
    let mut stored: Vec<Value> = Vec::new();
    for stream in double.streams() {
        stored.extend(double.stored(&stream).into_iter().map(Value::Object));
    }
    assert_eq!(stored.len() as u64, out);
    let level = |l: &str| stored.iter().filter(|e| e["level"] == l).count();
    assert_eq!(level("ERROR"), 1_000);
    assert!((400..600).contains(&level("WARN")) && (60..140).contains(&level("INFO")) && level("DEBUG") < 40);
    for event in &stored {
        let message = event["message"].as_str().unwrap();
        assert_eq!(message, "login of *** password=*** card ***", "{event}");
        assert_eq!(event["_timestamp"], now * 1000);
    }
    // The archive has the same events.
    let archived: Vec<Value> = archive(&dir.path().join("out"))
        .iter()
        .flat_map(|path| gunzip(path).lines().map(|l| serde_json::from_str(l).unwrap()).collect::<Vec<Value>>())
        .collect();
    let numbers = |events: &[Value]| {
        let mut numbers: Vec<u64> = events.iter().map(|e| e["n"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    assert!(numbers(&archived) == numbers(&stored), "{} archived, {} stored", archived.len(), stored.len());
    assert_eq!(archived[0]["user_agent"]["browser"]["family"], "Firefox");
    assert!(archived[0]["host"]["name"].is_string());
}

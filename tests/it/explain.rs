//! `tidegate explain`: each component tells why it does what it does, and each sink what it would send where.

use crate::agent::{config, output, tidegate};
use serde_json::Value;
use std::io::Write;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `explain` of what is piped to it.
fn explained(dir: &Path, args: &[&str], input: &str) -> String {
    std::fs::write(dir.join("input"), input).unwrap();
    let mut command = tidegate(dir, &[&["explain", "--config", "tidegate.yaml"], args].concat());
    command.stdin(std::fs::File::open(dir.join("input")).unwrap());
    let (code, said, errors) = output(command);
    assert_eq!(code, Some(0), "{said}{errors}");
    said
}

fn records(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A configuration of one transform `t` between a source and a console.
fn with_transform(dir: &Path, transform: &str) {
    let read = if transform.contains("type: route") { "t.odd, t.big, t.other" } else { "t" };
    let yaml = format!(
        "data_dir: ./data\nsources: {{app: {{type: stdin, decode: json}}}}\ntransforms:\n  t: {transform}\n\
         sinks: {{out: {{type: console, inputs: [{read}]}}}}\n"
    );
    config(dir, &yaml);
}

/// What is told of transform `t`, without the columns.
fn told(dir: &Path, transform: &str, input: &str) -> String {
    with_transform(dir, transform);
    let mut out = String::new();
    for record in records(&explained(dir, &["--format", "json"], input)) {
        for stage in record["stages"].as_array().unwrap().iter().filter(|stage| stage["id"] == "t") {
            out.push_str(&format!("{}\n", record["input"]["text"].as_str().unwrap_or("(kept)")));
            for (output, events) in stage["out"].as_object().unwrap() {
                for event in events.as_array().unwrap() {
                    // A letter has the time and the host in it.
                    let letter = &event["tidegate"];
                    let shown = if letter.is_null() { event } else { &letter["reason"] };
                    out.push_str(&format!("  {output}> {shown}\n"));
                }
            }
            out.push_str(
                &stage["dropped"]
                    .as_object()
                    .unwrap()
                    .iter()
                    .map(|(r, n)| format!("  dropped {n}: {r}\n"))
                    .collect::<String>(),
            );
            for why in stage["why"].as_array().unwrap() {
                let part = |key: &str| why[key].as_str().map(|text| format!(" [{text}]")).unwrap_or_default();
                let outcome = why["outcome"].as_bool().map(|outcome| format!(" [{outcome}]")).unwrap_or_default();
                out.push_str(&format!(
                    "  -{}{}{outcome} {}\n",
                    part("rule"),
                    part("place"),
                    why["text"].as_str().unwrap()
                ));
            }
        }
    }
    out
}

#[test]
fn each_transform_tells_why() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("users.csv"), "user,tier\nada,gold\n").unwrap();
    std::fs::write(dir.join("schema.json"), r#"{"type":"object","required":["n"]}"#).unwrap();
    let cases = [
        (
            "filter",
            "{type: filter, inputs: [app], when: 'n > 1 && level != \"DEBUG\"'}",
            "{\"n\":2,\"level\":\"DEBUG\"}\n{\"n\":3,\"level\":\"INFO\"}\n{\"n\":3}\n",
        ),
        ("route", "{type: route, inputs: [app], outputs: {odd: 'n % 2 == 1', big: 'n > 5'}}", "{\"n\":7}\n{\"n\":2}\n"),
        (
            "normalize",
            "{type: normalize, inputs: [app], keep_rest: metadata, fields: {service: [component]}, levels: {major: ERROR}, formats: ['%d/%m/%Y %H:%M']}",
            "{\"ts\":1750000000123,\"lvl\":\"warning\",\"component\":\"shop\",\"msg\":\"x\",\"x\":1}\n\
             {\"timestamp\":\"15/06/2025 17:06\",\"severity\":\"major\",\"msg\":{\"a\":1}}\n\
             {\"time\":1750000000,\"level\":\"odd\",\"service\":{\"name\":\"a\"}}\n\
             {\"t\":{\"$date\":\"2025-06-15T15:06:40.123Z\"},\"s\":\"W\",\"msg\":\"m\"}\n",
        ),
        (
            "redact",
            "{type: redact, inputs: [app], detect: [secrets, email], patterns: [{name: badge, regex: 'B-[0-9]+', replace: 'B-*'}], fields: {drop: [cookies], mask: ['**.pin'], keep_last: {n: 2, of: [phone]}}}",
            "{\"message\":\"login of ada@example.com password=hunter2 B-17\",\"user\":{\"pin\":1234,\"name\":\"x\"},\"cookies\":\"c=1\",\"phone\":\"555123\",\"api_key\":\"abcdef123456\"}\n\
             {\"list\":[{\"to\":\"a@b.example\"},{\"to\":\"nobody\"}]}\n{\"n\":1}\n",
        ),
        (
            "validate",
            "{type: validate, inputs: [app], schema: log, json_schema: schema.json, rules: [{check: 'n < 5', error: 'n is {{ n }}'}, {when: 'n > 3', warn: large}]}",
            "{\"timestamp\":\"2025-06-15T15:06:40.123Z\",\"level\":\"INFO\",\"service\":\"s\",\"message\":\"m\",\"n\":4}\n{\"level\":\"odd\",\"n\":9}\n{}\n",
        ),
        (
            "sample by",
            "{type: sample, inputs: [app], by: level, rates: {DEBUG: 0.5, INFO: 0, default: 1}, key: id, always: 'vip == true'}",
            "{\"level\":\"DEBUG\",\"id\":\"a\",\"vip\":false}\n{\"level\":\"DEBUG\",\"id\":\"d\",\"vip\":false}\n{\"level\":\"INFO\",\"vip\":false}\n{\"level\":\"WARN\",\"vip\":false}\n{\"level\":\"INFO\",\"vip\":true}\n",
        ),
        (
            "sample rules, limit, dedupe",
            "{type: sample, inputs: [app], rules: [{when: 'n > 1', rate: 1}], limit: {events_per_second: 0.001, burst: 2}, dedupe: {fields: [n], window: 1h}}",
            "{\"n\":1}\n{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n",
        ),
        (
            "edit",
            "{type: edit, inputs: [app], rename: {msg: message}, copy: {a: b.c}, set: {env: prod, title: '{{ a }}!'}, remove: [x, d.e], convert: {n: integer, m: float}}",
            "{\"msg\":\"hi\",\"a\":1,\"x\":0,\"d\":{\"e\":1,\"f\":2},\"n\":\"7\",\"m\":\"none\"}\n{\"msg\":\"no a\"}\n",
        ),
        (
            "parse",
            "{type: parse, inputs: [app], decode: json, on_error: reject}",
            "{\"message\":\"{\\\"a\\\":1}\"}\n{\"message\":\"nope\"}\n{\"n\":1}\n",
        ),
        (
            "enrich",
            "{type: enrich, inputs: [app], fields: {env: test}, user_agent: {from: ua}, lookup: [{when: 'kind == \"user\"', key: user, table: users.csv, to: owner, on_miss: drop}]}",
            "{\"kind\":\"user\",\"user\":\"ada\",\"ua\":\"curl/8.5.0\"}\n{\"kind\":\"host\"}\n{\"kind\":\"user\",\"user\":\"bob\"}\n",
        ),
        (
            "join",
            "{type: join, inputs: [app], multiline: {start: '^[A-Z]', mode: continue_through, condition: '^ '}}",
            "{\"message\":\"Error\"}\n{\"message\":\" at x\"}\n{\"n\":1}\n",
        ),
    ];
    let all: String =
        cases.iter().map(|(name, yaml, input)| format!("== {name}\n{}", told(dir, yaml, input))).collect();
    insta::assert_snapshot!(all);
}

#[test]
fn each_sink_tells_what_it_would_send_where() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(
        dir,
        "data_dir: ./data\nsources: {app: {type: stdin, decode: json}}\nsinks:\n  \
         file: {type: file, inputs: [app], path: './out/{{ service }}/%Y-%m-%d.ndjson', when: 'level != \"DEBUG\"'}\n  \
         screen: {type: console, inputs: [app], encoding: text}\n  \
         none: {type: blackhole, inputs: [app]}\n  \
         http: {type: http, inputs: [app], url: 'http://127.0.0.1:9/in', framing: newline}\n  \
         loki: {type: loki, inputs: [app], url: 'http://127.0.0.1:9', labels: {service: '{{ service }}', level: '{{ level }}'}, tenant: '{{ team }}', format: json}\n  \
         o2: {type: openobserve, inputs: [app], url: 'http://127.0.0.1:9', organization: default, stream: '{{ service }}-logs', auth: {basic: {user: u, password: example-password}}}\n  \
         es: {type: elasticsearch, inputs: [app], endpoints: 'http://127.0.0.1:9', index: '{{ service }}-%Y.%m'}\n  \
         otlp: {type: otlp, inputs: [app], url: 'http://127.0.0.1:9'}\n  \
         stats: {type: prometheus, inputs: [app], listen: '127.0.0.1:0', metrics: [{name: events_total, type: counter, labels: {service: '{{ service }}'}}]}\n",
    );
    let input = "{\"timestamp\":\"2025-06-15T15:06:40.123Z\",\"level\":\"INFO\",\"service\":\"shop\",\"message\":\"hello\",\"team\":\"t1\"}\n\
                 {\"timestamp\":\"2025-06-15T15:06:40.123Z\",\"level\":\"DEBUG\",\"message\":\"no service\"}\n";
    let said = explained(dir, &[], input);
    // An id is an event's own.
    let shown = |line: &str| match line.split_once("{\"_id\":\"") {
        Some((before, _)) => format!("{before}{{\"_id\":…"),
        None => line.trim_end().to_owned(),
    };
    insta::assert_snapshot!(said.lines().map(shown).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_time_that_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let said = told(dir.path(), "{type: normalize, inputs: [app]}", "{\"time\":\"soon\",\"level\":\"INFO\"}\n{}\n");
    assert!(said.contains("from its alias `time`: \"soon\" becomes \"20"), "{said}");
    assert!(said.contains("(timestamp_unreadable) and stays in `timestamp_original`"), "{said}");
    assert!(said.contains("Z\", the time when it was read"), "{said}");
}

#[test]
fn every_drop_rejection_and_mask_of_the_quickstart_is_explained() {
    let args = [
        "explain",
        "--config",
        "pipelines/quickstart.yaml",
        "--source",
        "sample",
        "--format",
        "json",
        "examples/data/shop.ndjson",
    ];
    let mut command = tidegate(root(), &args);
    command.env("DEPLOYMENT", "d");
    let (code, said, errors) = output(command);
    assert_eq!(code, Some(0), "{errors}");
    let (mut dropped, mut rejected, mut masked) = (0, 0, 0);
    let pipeline = std::fs::read_to_string("pipelines/quickstart.yaml").unwrap();
    let line_of = |begins: &str| {
        let line = pipeline.lines().position(|line| line.trim_start().starts_with(begins)).unwrap() + 1;
        format!("pipelines/quickstart.yaml:{line}")
    };
    let records = records(&said);
    assert_eq!(records.len(), 200);
    for record in &records {
        let stage = |id: &str| record["stages"].as_array().unwrap().iter().find(|stage| stage["id"] == id);
        for stage in record["stages"].as_array().unwrap() {
            let why = || stage["why"].as_array().unwrap().iter();
            for (reason, _) in stage["dropped"].as_object().unwrap() {
                dropped += 1;
                // A share of a tenth is drawn: what is told is the share, its setting, and that it is drawn.
                let told = why().any(|w| w["rule"] == "rates.DEBUG" && w["at"] == line_of("rates:"));
                assert!(reason == "sampled" && told, "{stage}");
            }
            if let Some(letters) = stage["out"].get("rejected") {
                rejected += letters.as_array().unwrap().len();
                let told = why().any(|w| w["outcome"] == false && w["text"].as_str().unwrap().contains("error"));
                assert!(
                    told && why().any(|w| w["text"].as_str().unwrap().contains("`rejected` (validate)")),
                    "{stage}"
                );
            }
        }
        // Each value that differs behind `clean` is a place that is told, by a kind of `detect`, at its line.
        let (Some(before), Some(after)) = (stage("context"), stage("clean")) else { panic!("{record}") };
        let (old, new) = (before["out"][""][0].as_object().unwrap(), after["out"][""][0].as_object().unwrap());
        for (key, value) in old.iter().filter(|(key, value)| new.get(*key) != Some(*value)) {
            masked += 1;
            let told = after["why"].as_array().unwrap().iter().find(|w| w["place"] == key.as_str());
            let told = told.unwrap_or_else(|| panic!("{key} {value}: {after}"));
            assert!(told["rule"].as_str().unwrap().starts_with("detect["), "{told}");
            assert_eq!(told["at"], line_of("detect:"));
        }
    }
    assert!(dropped > 10 && rejected > 0 && masked > 20, "{dropped} {rejected} {masked}");
}

#[test]
fn what_is_told_and_what_happens_agree() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("users.csv"), "user,tier\nu1,gold\nu3,none\n").unwrap();
    config(
        dir,
        "data_dir: ./data\nsources: {app: {type: stdin, decode: json, on_decode_error: drop, when: 'n != 13'}}\ntransforms:\n  \
         f: {type: filter, inputs: [app], when: 'n % 7 != 3 || user == \"u1\"'}\n  \
         s: {type: sample, inputs: [app], by: level, rates: {DEBUG: 0.4, INFO: 0, default: 1}, key: user, always: 'n > 35'}\n  \
         d: {type: sample, inputs: [app], dedupe: {fields: [user, level], window: 1h}, limit: {events_per_second: 0.001, burst: 3, by: user}}\n  \
         v: {type: validate, inputs: [app], on_error: drop, rules: [{check: 'n < 30', error: large}, {when: 'level == \"WARN\"', warn: odd}]}\n  \
         r: {type: validate, inputs: [app], rules: [{check: 'n % 5 != 0', error: fifth}]}\n  \
         e: {type: enrich, inputs: [app], lookup: [{key: user, table: users.csv, to: owner, on_miss: drop}]}\n  \
         p: {type: parse, inputs: [app], decode: json, on_error: reject}\n  \
         t: {type: edit, inputs: [app], set: {x: '{{ user }}'}}\n  \
         m: {type: normalize, inputs: [app], schema: metric}\n\
         sinks: {out: {type: console, inputs: [f, s, d, v, r, e, p, t, m], when: 'n < 38'}}\n",
    );
    // Forty events of all sorts, some without one field or the other.
    let mut input = String::new();
    for n in 0..40 {
        let level = ["DEBUG", "INFO", "WARN", "ERROR"][n * 7 % 4];
        let user = if n % 6 == 5 { String::new() } else { format!(",\"user\":\"u{}\"", n * 3 % 5) };
        let message = if n % 3 == 0 { "{\\\"a\\\":1}" } else { "no json" };
        let metric = if n % 4 == 0 { "" } else { ",\"name\":\"m\",\"value\":1" };
        input.push_str(&format!("{{\"n\":{n},\"level\":\"{level}\"{user},\"message\":\"{message}\"{metric}}}\n"));
    }
    input.push_str("not json\n");
    const ENDS: [&str; 9] = [
        "filtered",
        "sampled",
        "rate_limited",
        "folded",
        "validate",
        "lookup_miss",
        "decode",
        "template",
        "decode_error",
    ];
    let mut seen = std::collections::BTreeSet::new();
    for record in records(&explained(dir, &["--format", "json"], &input)) {
        for stage in record["stages"].as_array().unwrap() {
            let told: Vec<&str> =
                stage["why"].as_array().unwrap().iter().map(|why| why["text"].as_str().unwrap()).collect();
            let mut ended: Vec<String> = stage["dropped"].as_object().unwrap().keys().cloned().collect();
            let letters = stage["out"].get("rejected").and_then(Value::as_array).into_iter().flatten();
            ended.extend(letters.map(|letter| letter["tidegate"]["reason"].as_str().unwrap().to_owned()));
            let is_said = |reason: &str| told.iter().any(|text| text.contains(&format!("({reason})")));
            if stage["kind"] == "sink" {
                // One event by several ways: some may pass.
                assert!(ended.iter().all(|reason| is_said(reason)), "{stage}");
                continue;
            }
            for reason in &ended {
                assert!(is_said(reason), "{reason}: {stage}");
            }
            let others = ENDS.into_iter().filter(|reason| !ended.iter().any(|ended| ended == reason));
            others.for_each(|reason| assert!(!is_said(reason), "{reason}: {stage}"));
            seen.extend(ended);
        }
    }
    let all: Vec<&str> = seen.iter().map(String::as_str).collect();
    let wanted = ["decode", "decode_error", "filtered", "folded", "lookup_miss", "metric_without_name"];
    assert!(wanted.iter().all(|reason| all.contains(reason)), "{all:?}");
    assert!(["rate_limited", "sampled", "template", "validate"].iter().all(|reason| all.contains(reason)), "{all:?}");
}

#[test]
fn a_line_of_a_file_is_read_as_its_source_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir_all(dir.join("pods/shop_web-1_0a/web")).unwrap();
    std::fs::create_dir(dir.join("java")).unwrap();
    std::fs::create_dir(dir.join("wide")).unwrap();
    let java = "2025-06-15 10:00:00 INFO up\n2025-06-15 10:00:01 ERROR broke\njava.lang.Error: x\n\tat a.B.c(B.java:1)\n2025-06-15 10:00:02 INFO on\n";
    std::fs::write(dir.join("java/a.log"), java).unwrap();
    let mut gz = flate2::write::GzEncoder::new(
        std::fs::File::create(dir.join("java/b.log.gz")).unwrap(),
        flate2::Compression::fast(),
    );
    gz.write_all(java.as_bytes()).unwrap();
    gz.finish().unwrap();
    let cri = "2025-06-15T10:00:00.1Z stdout P first half,\n2025-06-15T10:00:00.2Z stderr F other\n2025-06-15T10:00:00.3Z stdout F  second half\n";
    std::fs::write(dir.join("pods/shop_web-1_0a/web/0.log"), cri).unwrap();
    let utf16: Vec<u8> = "\u{feff}eins\r\nzwölf\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(dir.join("wide/w.log"), utf16).unwrap();
    std::fs::write(dir.join("wide/l.txt"), b"caf\xe9\n").unwrap();
    config(
        dir,
        "data_dir: ./data\nsources:\n  \
         java: {type: file, include: ['java/*'], multiline: java, attach: [file]}\n  \
         pods: {type: file, include: ['pods/*/*/*.log'], decode: cri, attach: [file]}\n  \
         wide: {type: file, include: ['wide/*.log']}\n  \
         latin: {type: file, include: ['wide/*.txt'], charset: latin1}\n\
         sinks: {out: {type: console, inputs: ['*']}}\n",
    );
    let events = |target: &str| -> Vec<(u64, Value)> {
        let (code, said, errors) =
            output(tidegate(dir, &["explain", "-c", "tidegate.yaml", "--format", "json", target]));
        assert_eq!(code, Some(0), "{errors}");
        let of = |record: Value| {
            let stages = record["stages"].as_array().unwrap().clone();
            let event = stages.iter().find(|s| s["kind"] == "source").unwrap()["out"][""][0].clone();
            (record["input"]["line"].as_u64().unwrap(), event)
        };
        records(&said).into_iter().map(of).collect()
    };
    let trace = "2025-06-15 10:00:01 ERROR broke\njava.lang.Error: x\n\tat a.B.c(B.java:1)";
    for file in ["java/a.log", "java/b.log.gz"] {
        // A line in the middle of an event is shown with all of it.
        let found = events(&format!("{file}:3"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].0, &found[0].1["message"], &found[0].1["file"]),
            (2, &Value::from(trace), &Value::from(dir.join(file).to_str().unwrap()))
        );
        assert_eq!(events(&format!("{file}:4-5")).iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2, 5]);
    }
    let found = events("pods/shop_web-1_0a/web/0.log:3");
    let joined = found.iter().find(|(n, _)| *n == 1).unwrap();
    assert_eq!(
        (&joined.1["message"], &joined.1["stream"]),
        (&Value::from("first half, second half"), &Value::from("stdout"))
    );
    assert_eq!(joined.1["file"], dir.join("pods/shop_web-1_0a/web/0.log").to_str().unwrap());
    assert_eq!(events("wide/w.log:2")[0].1["message"], "zwölf");
    assert_eq!(events("wide/l.txt")[0].1["message"], "café");
    // And what is wrong with a target is said before anything is shown.
    for (target, said) in [
        ("java/a.log:9", "there is no line 9; it has 5"),
        ("java/c.log", "there is no such file"),
        ("-", "--source java|"),
    ] {
        let (code, out, errors) = output(tidegate(dir, &["explain", "-c", "tidegate.yaml", target]));
        assert!(code != Some(0) && out.is_empty() && errors.contains(said), "{target}: {errors}");
    }
}

#[test]
fn what_a_source_drops_is_shown_by_try_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(
        dir,
        "data_dir: ./data\nsources: {app: {type: stdin, decode: json, on_decode_error: drop, when: 'n > 1'}}\n\
         sinks: {out: {type: console, inputs: [app]}}\n",
    );
    std::fs::write(dir.join("in"), "{\"n\":1}\nnot json\n{\"n\":2}\n").unwrap();
    let (_, said, _) = output(tidegate(dir, &["try", "-c", "tidegate.yaml", "in"]));
    assert_eq!(said.matches("dropped 1: filtered").count(), 1, "{said}");
    assert_eq!(said.matches("dropped 1: decode_error").count(), 1, "{said}");
    assert_eq!(said.matches("reached").count(), 1, "{said}");
    let (_, said, _) = output(tidegate(dir, &["explain", "-c", "tidegate.yaml", "in"]));
    assert!(said.contains("`n > 1` is false: `n` is 1; dropped (filtered)  [when, tidegate.yaml:2]"), "{said}");
    assert!(said.contains("not of the format: dropped (decode_error)"), "{said}");
}

//! `tidegate test`: what can be given, what can be expected, what is said where it does not hold, coverage, JUnit, snapshots.

use crate::agent::{PATIENCE, config, eventually, output, tidegate};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn run(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    output(tidegate(dir, &[&["test", "-c", "tidegate.yaml"], args].concat()))
}

const PIPELINE: &str = "data_dir: ./data
sources:
  app: {type: stdin, decode: json, on_decode_error: reject, attach: [file, host]}
  web: {type: file, include: ['logs/*'], multiline: {start: '^[0-9]', mode: halt_before, condition: '^[0-9]'}}
transforms:
  keep: {type: filter, inputs: [app], when: 'level != \"DEBUG\"'}
  checked: {type: validate, inputs: [keep], rules: [{check: 'n < 10', error: large}]}
sinks:
  out: {type: file, inputs: [checked], path: './out/{{ service }}.ndjson'}
  loki: {type: loki, inputs: [checked], url: 'http://127.0.0.1:9', labels: {service: '{{ service }}'}}
  stats: {type: prometheus, inputs: [checked], listen: '127.0.0.1:0', metrics: [{name: n_total, type: counter, labels: {service: '{{ service }}'}}]}
  bad: {type: console, inputs: [checked.rejected, app.rejected, web]}
";

#[test]
fn every_expectation_holds_or_says_where_and_how_it_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let input = r#"    input: [{at: app, lines: ['{"service":"shop","level":"INFO","n":3.50,"t":[1.0]}', '{"level":"DEBUG"}', '{"service":"x","level":"INFO","n":12}', 'no json'], metadata: {file: /a.log, host: h1}}]"#;
    let good = r#"
      - {at: out, count: 1, path: ./out/shop.ndjson, absent: [nothing]}
      - {at: out, event: {level: INFO, n: 3.5, service: shop, t: [1], file: /a.log, host_name: h1}}
      - {at: out, events: [{service: shop, level: INFO, n: 35e-1, t: [1.00], file: /a.log, host_name: h1}]}
      - {at: out, fields: {n: 3.500, '@file': /a.log}, condition: 'n > 3'}
      - {at: loki, labels: {service: shop}}
      - {at: stats, labels: {__name__: n_total, service: shop}}
      - {at: keep, reason: filtered}
      - {at: checked, reason: validate}
      - {at: checked.rejected, reason: validate}
      - {at: app, reason: decode}
"#;
    let bad = r#"
      - {at: out, count: 2}
      - {at: out, event: {level: WARN, n: 3.5, service: shop, t: [1], file: /a.log, host_name: h1}}
      - {at: out, events: [{service: shop}, {service: shop}]}
      - {at: out, fields: {n: 3.51, level: INFO, x.y: 1}}
      - {at: out, absent: [level]}
      - {at: out, condition: 'n > 3 && level == "WARN"'}
      - {at: out, path: ./out/cart.ndjson}
      - {at: loki, labels: {service: cart}}
      - {at: keep, reason: sampled}
      - {at: out, reason: filtered}
"#;
    config(
        dir,
        &format!(
            "{PIPELINE}tests:\n  - name: good\n{input}\n    expect:{good}  - name: bad\n{input}\n    expect:{bad}"
        ),
    );
    let (code, said, errors) = run(dir, &["good"]);
    assert_eq!((code, said.as_str()), (Some(0), "test good ... ok\n1 passed, 0 failed\n"), "{errors}");
    let (code, said, _) = run(dir, &[]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(said);
}

#[test]
fn what_cannot_be_right_is_a_mistake_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let said = |case: &str| {
        config(dir, &format!("{PIPELINE}tests:\n  - {case}\n"));
        let (code, out, said) = run(dir, &[]);
        assert_eq!((code, out.as_str()), (Some(78), ""), "{case}: {said}");
        let (code, _, by_validate) = output(tidegate(dir, &["validate", "-c", "tidegate.yaml"]));
        assert_eq!(code, Some(78), "{case}: {by_validate}");
        said
    };
    let line = "line: '{}'";
    for (case, part) in [
        (
            format!(
                "{{name: a, input: [{{at: app, {line}, metadata: {{fiel: /a}}}}], expect: [{{at: out, count: 0}}]}}"
            ),
            "did you mean `file`?",
        ),
        (
            format!(
                "{{name: a, input: [{{at: app, {line}, metadata: {{offset: 3}}}}], expect: [{{at: out, count: 0}}]}}"
            ),
            "no metadata `offset`",
        ),
        (format!("{{name: a, input: [{{at: app, {line}}}], expect: []}}"), "test `a` expects nothing"),
        (
            format!("{{name: a, now: noon, input: [{{at: app, {line}}}], expect: [{{at: out, count: 0}}]}}"),
            "`now: noon` is not an RFC 3339 time",
        ),
        ("{name: a, input: [], expect: [{at: out, count: 0}]}".to_owned(), "test `a`: nothing enters"),
        (format!("{{name: a, input: [{{at: app, {line}}}], expect: [{{at: out}}]}}"), "expects nothing of `out`"),
        (
            format!("{{name: a, input: [{{at: app, {line}}}], expect: [{{at: out, fields: {{}}}}]}}"),
            "`fields` of `out` is empty",
        ),
        (
            format!("{{name: a, input: [{{at: app, {line}}}], expect: [{{at: out, absent: []}}]}}"),
            "`absent` of `out` is empty",
        ),
        (
            format!("{{name: a, input: [{{at: app, {line}}}], expect: [{{at: keep, path: x}}]}}"),
            "what a sink makes of an event",
        ),
        (
            format!("{{name: a, input: [{{at: app, {line}, file: x}}], expect: [{{at: out, count: 0}}]}}"),
            "one of `line`, `lines`, `file` and `event`",
        ),
        (
            format!("{{name: a, input: [{{at: app, {line}}}], expect: [{{at: out, counts: 0}}]}}"),
            "did you mean `count`",
        ),
        (format!("{{name: a, input: [{{at: app, {line}}}], expect: [{{at: keap, count: 0}}]}}"), "did you mean `keep`"),
    ] {
        let said = said(&case);
        assert!(said.contains(part) && said.contains("tidegate.yaml:14:"), "{case}: {said}");
    }
}

#[test]
fn a_pattern_that_fits_no_test_names_those_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let case = |name: &str| {
        format!("  - {{name: {name}, input: [{{at: app, line: '{{}}'}}], expect: [{{at: keep, count: 0}}]}}\n")
    };
    config(dir, &format!("{PIPELINE}tests:\n{}{}", case("login works"), case("logout works")));
    let (code, out, said) = run(dir, &["zzz"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(said, "error: no test's name contains `zzz`; there are: login works, logout works\n");
    assert!(run(dir, &["log*out"]).1.contains("test logout works ... ok\n1 passed"));
    assert!(run(dir, &["works"]).1.contains("2 passed"));
    config(dir, PIPELINE);
    assert!(run(dir, &["zzz"]).2.contains("there are no tests"));
}

#[test]
fn a_file_is_given_to_a_source_as_it_would_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir_all(dir.join("conf/lines")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(b"1 one\n more\n2 two\n").unwrap();
    std::fs::write(dir.join("conf/lines/web.log.gz"), gz.finish().unwrap()).unwrap();
    let tests = "tests:
  - name: archives are read and lines joined
    now: '2025-06-15T10:00:00Z'
    input: [{at: web, file: lines/web.log.gz, metadata: {file: /var/log/web.log}}]
    expect:
      - {at: web, count: 2}
      - {at: bad, condition: '@file == \"/var/log/web.log\" && @received_at.startsWith(\"2025-06-15T10:00:00\")'}
      - {at: web, fields: {message: \"1 one\\n more\"}}
      - {at: bad, condition: '@offset == 0 || @offset == 12'}
  - name: lines are joined alike
    input: [{at: web, lines: ['1 one', ' more', '2 two']}]
    expect: [{at: web, count: 2}]
  - {name: no file, input: [{at: web, file: lines/none.log}], expect: [{at: web, count: 0}]}
";
    std::fs::write(dir.join("conf/pipeline.yaml"), format!("{PIPELINE}{tests}")).unwrap();
    let (code, said, errors) = output(tidegate(dir, &["test", "-c", "conf/pipeline.yaml"]));
    assert_eq!(code, Some(1), "{errors}");
    assert!(said.contains("read and lines joined ... ok\ntest lines are joined alike ... ok\ntest no file ... FAILED\n  conf/pipeline.yaml:25: conf/lines/none.log: "), "{said}");
}

#[test]
fn snapshots_are_written_when_asked_for_and_compared_to_the_letter() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let write = |n: &str| {
        let case = format!(
            "tests:\n  - name: shot\n    input: [{{at: app, lines: ['{{\"level\":\"INFO\",\"n\":{n}}}', '{{\"n\":2}}']}}]\n    expect: [{{at: app, snapshot: shots/app.ndjson}}]\n"
        );
        config(dir, &format!("{PIPELINE}{case}"));
    };
    write("1.0");
    let (code, said, _) = run(dir, &[]);
    assert!(
        code == Some(1)
            && said.contains("tidegate.yaml:16: app: there is no snapshot shots/app.ndjson")
            && said.contains("--update"),
        "{said}"
    );
    assert!(!dir.join("shots").exists(), "nothing is written unasked");
    assert_eq!(run(dir, &["--update"]).0, Some(0));
    let shot = || std::fs::read_to_string(dir.join("shots/app.ndjson")).unwrap();
    assert_eq!(shot(), "{\"level\":\"INFO\",\"n\":1.0}\n{\"n\":2}\n");
    assert_eq!(run(dir, &[]).0, Some(0));
    write("1.00");
    let (code, said, _) = run(dir, &[]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("differs from shots/app.ndjson")
            && said.contains("-{\"level\":\"INFO\",\"n\":1.0}\n  +{\"level\":\"INFO\",\"n\":1.00}\n"),
        "{said}"
    );
    assert_eq!(run(dir, &["--update"]).0, Some(0));
    assert_eq!(shot(), "{\"level\":\"INFO\",\"n\":1.00}\n{\"n\":2}\n");
}

/// A pipeline of which some settings are never asked.
const DEAD: &str = "data_dir: ./data
sources: {app: {type: stdin, decode: json, when: 'n >= 0'}}
transforms:
  shape:
    type: normalize
    inputs: [app]
    keep_rest: root
    fields: {service: [component]}
    levels:
      major: ERROR
      minor: WARN
  clean:
    type: redact
    inputs: [shape]
    detect: [email, ipv4]
    patterns: [{name: badge, regex: 'B-[0-9]+'}]
    fields:
      drop:
        - cookies
        - metadata.secret
  split:
    type: route
    inputs: [clean]
    outputs:
      errors: 'level == \"ERROR\"'
      never: 'level == \"FATAL\"'
  thin:
    type: sample
    inputs: [split.errors, split.never, split.other]
    by: level
    rates:
      DEBUG: 0.1
      ERROR: 1
      default: 0.5
  checked:
    type: validate
    inputs: [thin]
    rules:
      - {check: 'n < 10', error: large}
      - {when: 'message.contains(\"odd\")', warn: odd}
sinks: {out: {type: console, inputs: [checked], when: 'level != \"DEBUG\"'}}
tests:
  - name: one
    input:
      - {at: app, line: '{\"n\":1,\"component\":\"shop\",\"severity\":\"major\",\"message\":\"mail ada@example.com B-7\",\"cookies\":1}'}
      - {at: app, line: '{\"n\":20,\"level\":\"INFO\"}'}
    expect: [{at: out, count: 1}]
";

#[test]
fn coverage_names_each_rule_that_no_test_hits_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(dir, DEAD);
    let (code, said, errors) = run(dir, &["--coverage"]);
    assert_eq!(code, Some(0), "{said}{errors}");
    insta::assert_snapshot!(said);
    // What is told to be dead stands where it is said to.
    let text: Vec<&str> = DEAD.lines().collect();
    let mut dead = Vec::new();
    for line in said.lines().filter(|line| line.contains(": 0 hits")) {
        let (rule, at) = line.trim().split_once(": 0 hits  tidegate.yaml:").unwrap();
        dead.push(rule.to_owned());
        let key = rule.rsplit(['.', '[']).next().unwrap().trim_end_matches(']');
        let written = text[at.parse::<usize>().unwrap() - 1];
        assert!(written.contains(key) || key.parse::<usize>().is_ok(), "{line}: {written}");
    }
    assert_eq!(dead, ["levels.minor", "detect[1]", "fields.drop[1]", "rates.DEBUG"]);
    assert!(said.contains("outputs.never: never true, 2 false  tidegate.yaml:26"), "{said}");
    assert!(said.contains("fields.drop[1]: 0 hits  tidegate.yaml:20"), "{said}");
    // A bound on it.
    let (code, said, _) = run(dir, &["--min-coverage", "90"]);
    assert!(code == Some(1) && said.contains("is covered, 90 % are asked for"), "{said}");
    assert_eq!(run(dir, &["--min-coverage", "50"]).0, Some(0));
}

/// A Python that has `junitparser`.
fn python() -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci-venv/bin/python3");
    [venv, PathBuf::from("python3")].into_iter().find(|python| {
        Command::new(python).args(["-c", "import junitparser"]).output().is_ok_and(|out| out.status.success())
    })
}

#[test]
fn junit_is_what_a_reader_of_junit_reads() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let case = |name: &str, count: u64| {
        format!(
            "  - {{name: '{name}', input: [{{at: app, line: '{{\"a\":\"<&]]>\"}}'}}], expect: [{{at: app, count: {count}}}]}}\n"
        )
    };
    config(dir, &format!("{PIPELINE}tests:\n{}{}", case("fine <&\"> \u{1b}[31m", 1), case("bad", 2)));
    assert_eq!(run(dir, &["--junit", "results.xml"]).0, Some(1));
    let text = std::fs::read_to_string(dir.join("results.xml")).unwrap();
    assert!(
        text.starts_with(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"tidegate test\" tests=\"2\" failures=\"1\""
        ),
        "{text}"
    );
    let Some(python) = python() else {
        println!("skipped: junitparser is not installed (pip install junitparser)");
        return;
    };
    let script = "
import json, sys
from junitparser import JUnitXml, Failure
xml = JUnitXml.fromfile(sys.argv[1])
out = []
for suite in xml:
    for case in suite:
        bad = [r for r in case.result if isinstance(r, Failure)]
        out.append([suite.name, suite.tests, suite.failures, case.name, case.classname, case._elem.get('line'), [[r.message, r.text] for r in bad]])
print(json.dumps([xml.tests, xml.failures, out]))
";
    let out = Command::new(python).args(["-c", script, "results.xml"]).current_dir(dir).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let read: serde_json::Value = serde_json::from_str(&said).unwrap();
    let message = "tidegate.yaml:15: app: expected 2 events, there was";
    let fault = format!("{message}\n  {{\"a\":\"<&]]>\"}}");
    let expected = serde_json::json!([
        2,
        1,
        [
            ["tidegate.yaml", 2, 1, "fine <&\"> \u{fffd}[31m", "tidegate.yaml", "14", []],
            ["tidegate.yaml", 2, 1, "bad", "tidegate.yaml", "15", [[message, fault]]],
        ]
    ]);
    assert_eq!(read, expected);
}

#[test]
fn watch_runs_them_again_when_a_file_changes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("lines")).unwrap();
    std::fs::write(dir.join("lines/a"), "1\n").unwrap();
    let case = "tests:\n  - {name: w, input: [{at: web, file: lines/a}], expect: [{at: web, count: 1}]}\n";
    config(dir, &format!("{PIPELINE}{case}"));
    let mut command = tidegate(dir, &["test", "-c", "tidegate.yaml", "--watch"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.lines().map_while(Result::ok).for_each(|line| drop(send.send(line))));
    let until = |what: &str| loop {
        let line = receive.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {what}"));
        if line.contains(what) {
            break;
        }
    };
    until("1 passed, 0 failed");
    std::fs::write(dir.join("lines/a"), "1\n2\n").unwrap();
    until("lines/a has changed");
    until("0 passed, 1 failed");
    // A configuration with mistakes is said, and waited for to change again.
    config(dir, "sources: {");
    until("tidegate.yaml has changed");
    config(dir, &format!("{PIPELINE}{}", case.replace("count: 1", "count: 2")));
    until("1 passed, 0 failed");
    child.kill().unwrap();
    let mut ended = false;
    eventually("it ends", || {
        ended |= child.try_wait().unwrap().is_some();
        ended
    });
}

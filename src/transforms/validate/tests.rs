#![allow(clippy::unwrap_used)]

use super::super::harness::{Ran, build, context, plan, run};
use super::*;
use proptest::prelude::*;

fn validate(yaml: &str) -> Box<dyn Transform> {
    build::<ValidateConfig>(&format!("{{inputs: [a], {yaml}}}")).unwrap()
}

/// Rules and messages of an event's `quality`, as `rule: message`.
fn findings(line: &str, list: &str) -> Vec<String> {
    let event: serde_json::Value = serde_json::from_str(line).unwrap();
    let quality = event.get("event").unwrap_or(&event)["quality"].clone();
    let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
    let found = quality[list].as_array().cloned().unwrap_or_default();
    found.iter().map(|f| format!("{}: {}", text(&f["rule"]), text(&f["message"]))).collect()
}

/// Errors and warnings that a schema finds in one event.
fn judged(schema: &str, line: &str) -> (Vec<String>, Vec<String>) {
    let ran = run(&mut *validate(&format!("schema: {schema}, on_error: tag")), &[line]);
    (findings(&ran.out[0], "errors"), findings(&ran.out[0], "warnings"))
}

const LOG: &str = r#"{"timestamp":"2025-06-15T15:06:40.000Z","level":"INFO","service":"s","message":"m","n":1.10}"#;

#[test]
fn a_good_event_is_untouched() {
    let ran = run(&mut *validate("schema: log"), &[LOG]);
    assert_eq!(ran.out, [LOG]);
    assert!(ran.delta.rules.is_empty() && ran.delta.errors.is_empty());
}

#[test]
fn rules_of_logs() {
    let log = |timestamp: &str, level: &str, rest: &str| {
        judged("log", &format!("{{\"timestamp\":{timestamp},\"level\":{level},{rest}}}"))
    };
    let good = (r#""2025-06-15T15:06:40Z""#, r#""WARN""#, r#""service":"s","message":"m""#);
    let none: Vec<String> = Vec::new();
    assert_eq!(log(good.0, good.1, good.2), (none.clone(), none.clone()));
    assert_eq!(log(r#""2025-06-15T15:06:40.123456789Z""#, r#""\u0057ARN""#, good.2).0, none);
    for bad in [
        r#""2025-06-15 15:06:40Z""#,
        r#""2025-06-15T15:06:40+00:00""#,
        r#""2025-02-29T15:06:40Z""#,
        r#""2025-06-15T25:06:40Z""#,
        r#""""#,
        "1750000000",
        "{}",
    ] {
        assert_eq!(log(bad, good.1, good.2).0, ["timestamp: timestamp is not a real ISO 8601 UTC instant"], "{bad}");
    }
    assert_eq!(log("null", good.1, good.2).0, ["timestamp: timestamp is missing"]);
    for bad in [r#""warn""#, r#""WARNING""#, r#""""#, "3", "[\"INFO\"]"] {
        assert_eq!(log(good.0, bad, good.2).0, ["level: level is not one of DEBUG, INFO, WARN, ERROR"], "{bad}");
    }
    let (errors, warnings) = judged("log", "{}");
    assert_eq!(errors, ["timestamp: timestamp is missing", "level: level is missing"]);
    assert_eq!(warnings, ["service: service is missing", "message: message is missing"]);
    assert_eq!(log(good.0, good.1, r#""service":null,"message":"""#).1.len(), 2);
    assert_eq!(log(good.0, good.1, r#""service":"s","message":5"#).1, none);
    let long = |n: usize, c: &str| log(good.0, good.1, &format!("\"service\":\"s\",\"message\":\"{}\"", c.repeat(n))).1;
    assert_eq!(long(10_000, "é"), none, "characters, not bytes");
    assert_eq!(long(10_000, "\\n"), none, "characters, not escapes");
    assert_eq!(long(10_001, "é"), ["message: message is longer than 10,000 characters"]);
}

#[test]
fn rules_of_metrics() {
    let metric = |name: &str, value: &str, rest: &str| {
        let line = format!("{{\"name\":{name},\"value\":{value},\"timestamp\":\"2025-06-15T15:06:40Z\"{rest}}}");
        judged("metric", &line)
    };
    let none: Vec<String> = Vec::new();
    let gauge = r#","type":"gauge","labels":{"a":"b"}"#;
    assert_eq!(metric("\"m\"", "1.5e3", gauge), (none.clone(), none.clone()));
    for bad in ["\"1\"", "true", "1e999", "-1e999", "[1]"] {
        assert_eq!(metric("\"m\"", bad, gauge).0, ["value: value is not a finite number"], "{bad}");
    }
    assert_eq!(metric("\"\"", "null", gauge).0, ["name: name is missing", "value: value is missing"]);
    assert_eq!(judged("metric", r#"{"name":"m","value":1,"type":"gauge"}"#).0, ["timestamp: timestamp is missing"]);
    let kind = ["type: type is not one of counter, gauge, histogram, summary"];
    assert_eq!(metric("\"m\"", "1", "").1, kind);
    assert_eq!(metric("\"m\"", "1", r#","type":"Gauge""#).1, kind);
    for labels in ["{\"a\":1}", "{\"a\":\"b\",\"c\":null}", "{\"a\":{\"b\":\"c\"}}"] {
        let found = metric("\"m\"", "1", &format!(",\"type\":\"counter\",\"labels\":{labels}")).1;
        assert_eq!(found, ["labels: a label has a value that is not a string"], "{labels}");
    }
}

#[test]
fn rules_of_traces_in_both_spellings() {
    let none: Vec<String> = Vec::new();
    let span = |start: &str, end: &str, rest: &str| {
        let ids = r#""traceId":"0123456789abcdefABCDEF0123456789","spanId":"0123456789abcdef","operationName":"o""#;
        judged("trace", &format!("{{{ids},\"startTime\":{start},\"endTime\":{end}{rest}}}"))
    };
    let (start, end) = (r#""2025-06-15T15:06:40.000Z""#, r#""2025-06-15T15:06:41.000Z""#);
    assert_eq!(span(start, end, ""), (none.clone(), none.clone()));
    assert_eq!(span(start, start, "").0, none);
    assert_eq!(span(end, start, "").0, ["endTime: endTime is before startTime"]);
    assert_eq!(span("1750000000", "1749999999", "").0, ["endTime: endTime is before startTime"]);
    assert_eq!(span("null", "\"x\"", "").0, ["startTime: startTime is missing"]);
    let over = ["duration: duration is over 3,600,000 ms"];
    assert_eq!(span(start, end, ",\"duration\":3600000").1, none);
    assert_eq!(span(start, end, ",\"duration\":3600000.5").1, over);
    assert_eq!(span(start, r#""2025-06-15T16:06:40.001Z""#, "").1, over, "computed where it is not given");
    let snake = r#"{"trace_id":"0123456789abcdef0123456789abcdef","span_id":"0123456789abcdef","operation_name":"o",
        "start_time":"2025-06-15T15:06:41Z","end_time":"2025-06-15T15:06:40Z"}"#;
    assert_eq!(judged("trace", &snake.replace('\n', "")), (vec!["endTime: endTime is before startTime".into()], none));
    let (errors, warnings) = judged("trace", r#"{"traceId":"0123","spanId":"0123456789abcdeg"}"#);
    assert_eq!(
        errors,
        [
            "traceId: traceId is not 32 hex digits",
            "spanId: spanId is not 16 hex digits",
            "startTime: startTime is missing",
            "endTime: endTime is missing"
        ]
    );
    assert_eq!(warnings, ["operationName: operationName is missing"]);
    assert_eq!(judged("trace", "{}").0[..2], ["traceId: traceId is missing", "spanId: spanId is missing"]);
}

#[test]
fn errors_reject_tag_or_drop() {
    let bad = r#"{"timestamp":"2025-06-15T15:06:40.000Z","level":"info","message":"m"}"#;
    let rejecting = run(&mut *validate("schema: log"), &[LOG, bad, LOG]);
    assert_eq!(rejecting.out, [LOG, LOG]);
    let envelope: serde_json::Value = serde_json::from_str(&rejecting.rejected[0]).unwrap();
    assert_eq!(envelope["tidegate"]["reason"], "validate");
    assert_eq!(envelope["tidegate"]["detail"], "level is not one of DEBUG, INFO, WARN, ERROR");
    assert_eq!(envelope["event"]["level"], "info");
    assert_eq!(envelope["event"]["quality"]["errors"][0]["rule"], "level");
    assert_eq!(envelope["event"]["quality"]["warnings"][0]["rule"], "service");
    let tagging = run(&mut *validate("schema: log, on_error: tag"), &[bad]);
    assert!(tagging.out[0].contains(r#""message":"m","quality":{"errors":[{"rule":"level","message":"#));
    let dropping = run(&mut *validate("schema: log, on_error: drop"), &[LOG, bad]);
    assert_eq!((dropping.out.as_slice(), dropping.dropped("validate")), ([LOG.to_owned()].as_slice(), 1));
    assert_eq!(rules(&dropping), ["validate_errors level 1", "validate_warnings service 1"]);
    assert_eq!(plan::<ValidateConfig>("{inputs: [a], schema: log}").unwrap().outputs(), ["rejected"]);
    assert!(plan::<ValidateConfig>("{inputs: [a], schema: log, on_error: tag}").unwrap().outputs().is_empty());
}

fn rules(ran: &Ran) -> Vec<String> {
    ran.delta.rules.iter().map(|(metric, rule, n)| format!("{metric} {rule} {n}")).collect()
}

#[test]
fn warnings_tag_or_are_counted_only() {
    let quiet = r#"{"timestamp":"2025-06-15T15:06:40Z","level":"INFO","service":"s","message":""}"#;
    let tagging = run(&mut *validate("schema: log"), &[quiet]);
    let expected = r#""message":"","quality":{"warnings":[{"rule":"message","message":"message is empty"}]}}"#;
    assert!(tagging.out[0].ends_with(expected), "{}", tagging.out[0]);
    let ignoring = run(&mut *validate("schema: log, warnings: ignore"), &[quiet]);
    assert_eq!(ignoring.out, [quiet]);
    assert_eq!(rules(&ignoring), ["validate_warnings message 1"]);
    let both = run(&mut *validate("schema: log, warnings: ignore, on_error: tag"), &["{}"]);
    assert!(!both.out[0].contains("warnings"), "{}", both.out[0]);
}

#[test]
fn rules_of_the_user() {
    let yaml = r#"on_error: tag, rules: [
        {check: 'id.matches("^[0-9a-f]{4}$")', error: "id is odd"},
        {when: 'took > 100', warn: "took {{ took }} ms at {{ nope }}", name: slow}]"#;
    let mut transform = validate(yaml);
    let ran = run(&mut *transform, &[r#"{"id":"00ff","took":100}"#, r#"{"id":"00f","took":1e3}"#, r#"{"took":"x"}"#]);
    assert_eq!(ran.out[0], r#"{"id":"00ff","took":100}"#);
    assert_eq!(findings(&ran.out[1], "errors"), [r#"id.matches("^[0-9a-f]{4}$"): id is odd"#]);
    assert_eq!(findings(&ran.out[1], "warnings"), ["slow: took 1e3 ms at "]);
    assert_eq!(findings(&ran.out[2], "errors").len(), 1, "a check that cannot be said has failed");
    assert!(findings(&ran.out[2], "warnings").is_empty(), "a `when` that cannot be said marks nothing");
    assert_eq!((ran.errors("condition_absent"), ran.errors("condition_type")), (1, 1));
    assert_eq!(run(&mut *transform.fork(), &[r#"{"id":"00f","took":1}"#]).out.len(), 1);
}

#[test]
fn what_is_in_quality_already_stays() {
    let yaml = "on_error: tag, rules: [{check: 'false', error: e, name: r}]";
    let tagged = |quality: &str| {
        let line = format!("{{\"quality\":{quality},\"a\":1}}");
        run(&mut *validate(yaml), &[&line]).out[0].clone()
    };
    let new = r#"{"rule":"r","message":"e"}"#;
    assert_eq!(
        tagged(r#"{"score":1.50, "errors":[{"rule":"x","message":"y"} ],"warnings":[1]}"#),
        format!(r#"{{"quality":{{"score":1.50,"errors":[{{"rule":"x","message":"y"}},{new}],"warnings":[1]}},"a":1}}"#)
    );
    assert_eq!(tagged("\"good\""), format!(r#"{{"quality":{{"value":"good","errors":[{new}]}},"a":1}}"#));
    assert_eq!(tagged("{\"errors\":[]}"), format!(r#"{{"quality":{{"errors":[{new}]}},"a":1}}"#));
    assert_eq!(tagged("{\"errors\":\"odd\"}"), format!(r#"{{"quality":{{"errors":["odd",{new}]}},"a":1}}"#));
    assert_eq!(tagged("null"), format!(r#"{{"quality":{{"errors":[{new}]}},"a":1}}"#));
}

#[test]
fn a_json_schema_is_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schema.json");
    let schema = r#"{"type":"object","required":["id"],"properties":{"id":{"type":"integer","maximum":9007199254740993},
        "user":{"properties":{"name":{"type":"string","maxLength":3}}}}}"#;
    std::fs::write(&file, schema).unwrap();
    let build = |text: &str| {
        std::fs::write(&file, text).unwrap();
        plan::<ValidateConfig>(&format!("{{inputs: [a], json_schema: '{}'}}", file.display()))
            .unwrap()
            .build(&context())
    };
    let mut transform = build(schema).unwrap();
    let good = r#"{"id":9007199254740993,"user":{"name":"abc"}}"#;
    let ran = run(&mut *transform, &[good, r#"{"id":9007199254740994}"#, r#"{"user":{"name":"hunter2"}}"#]);
    assert_eq!(ran.out, [good]);
    assert_eq!(findings(&ran.rejected[0], "errors").len(), 1, "no precision is lost");
    let found = findings(&ran.rejected[1], "errors").join("\n");
    assert!(found.contains("json_schema: /user/name: value is longer than 3") && found.contains("\"id\""), "{found}");
    assert!(!found.contains("hunter2"), "values are not repeated: {found}");
    let said = |text: &str| build(text).err().unwrap().words();
    assert!(said("{").contains("is not JSON"), "{}", said("{"));
    assert!(said(r#"{"type":"integr"}"#).contains("is not a JSON schema"), "{}", said(r#"{"type":"integr"}"#));
    let outside = said(r#"{"$ref":"http://127.0.0.1:9/x.json"}"#);
    assert!(outside.contains("is not a JSON schema"), "nothing is fetched: {outside}");
    let missing = plan::<ValidateConfig>("{inputs: [a], json_schema: /nowhere/s.json}").unwrap().build(&context());
    assert!(missing.err().unwrap().to_string().contains("cannot read the JSON schema /nowhere/s.json"));
}

#[test]
fn what_does_not_fit_together_is_said() {
    let yaml = "inputs: [a]\nrules:\n  - {check: 'a = 1', error: x}\n  - {check: 'true', when: 'true', error: x}\n  \
                - {error: x}\n  - {when: 'true'}\n  - {when: 'true', error: x, warn: y}\n";
    let said = plan::<ValidateConfig>(yaml).unwrap_err();
    assert!(said.contains("t.yaml:3:16") && said.contains("did you mean `==`?"), "{said}");
    let said = plan::<ValidateConfig>(&yaml.replace("a = 1", "a == 1")).unwrap_err();
    assert_eq!(said.matches(" --> ").count(), 4, "{said}");
    assert!(plan::<ValidateConfig>("inputs: [a]").unwrap_err().contains("nothing says what to check"));
}

#[test]
fn findings_are_bounded_and_messages_cut_at_a_character() {
    let rules: Vec<String> = (0..50).map(|i| format!("{{check: 'false', error: '{{{{ m }}}}', name: r{i}}}")).collect();
    let mut transform = validate(&format!("on_error: tag, rules: [{}]", rules.join(", ")));
    let ran = run(&mut *transform, &[&format!("{{\"m\":\"a{}\"}}", "é".repeat(2000))]);
    let errors = findings(&ran.out[0], "errors");
    assert_eq!((errors.len(), ran.delta.rules.len()), (32, 50));
    assert_eq!(errors[0].len(), "r0: ".len() + 1023);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_rejected_exactly_when_a_plain_check_says_so(
        timestamp in prop::option::of("\"20(24|25)-(02|06)-(28|29|30)T(00|23|24):59:(59|60)(\\.[0-9]{1,4})?Z\"|null|1"),
        level in prop::option::of("\"(DEBUG|INFO|WARN|ERROR|info|FATAL)\"|null|3"),
        message in prop::option::of("\"a?\"|null"),
        extra in "[a-c]",
    ) {
        let mut members = vec![format!("\"{extra}\":1")];
        let fields = [("timestamp", &timestamp), ("level", &level), ("message", &message)];
        members.extend(fields.iter().filter_map(|(k, v)| v.as_ref().map(|v| format!("\"{k}\":{v}"))));
        let line = format!("{{{}}}", members.join(","));
        let real = timestamp.as_deref().and_then(|t| t.strip_prefix('"')).is_some_and(|t| {
            // The one leap second among these; jiff would clamp any other.
            t.contains("06-30T23:59:60") || !t.contains(":60") && t.trim_end_matches('"').parse::<jiff::Timestamp>().is_ok()
        });
        let known = level.as_deref().is_some_and(|l| ["\"DEBUG\"", "\"INFO\"", "\"WARN\"", "\"ERROR\""].contains(&l));
        let ran = run(&mut *validate("schema: log"), &[&line]);
        prop_assert_eq!(ran.out.len(), usize::from(real && known), "{}", line);
        let written = ran.out.first().or(ran.rejected.first()).unwrap();
        prop_assert_eq!(findings(written, "errors").len(), usize::from(!real) + usize::from(!known));
        let no_message = message.as_deref().is_none_or(|m| m == "null" || m == "\"\"");
        prop_assert_eq!(findings(written, "warnings").len(), 1 + usize::from(no_message));
    }

    #[test]
    fn a_tagged_event_is_still_json(quality in "[0-9]|\"x\\\\\"\"|null|\\[1,2\\]|\\{\\}|\\{\"errors\": ?\\[[1-3]?\\]\\}|\\{\"a\":\\{\\}\\}") {
        let line = format!("{{\"quality\":{quality}}}");
        let ran = run(&mut *validate("schema: log, on_error: tag"), &[&line]);
        let event: serde_json::Value = serde_json::from_str(&ran.out[0]).unwrap();
        prop_assert!(event["quality"]["errors"].as_array().unwrap().len() >= 2);
    }
}

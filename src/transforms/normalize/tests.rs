#![allow(clippy::unwrap_used)]
use super::*;
use crate::ack::Ack;
use crate::component::{Delta, Emitter, Transform};
use crate::event::{Batch, JsonRows, Origin, Slab};

/// 2026-01-02T03:04:05.678Z
const NOW: i64 = 1_767_323_045_678_000_000;

fn run(options: NormalizeOptions, line: &str) -> Result<String, String> {
    let mut batch = Batch::new(Slab::from_vec(line.as_bytes().to_vec()), Origin::of_source("s"), NOW, Ack::none());
    JsonRows::default().push(&mut batch, 0, line.len(), 0).unwrap();
    let (mut delta, mut json) = (Delta::default(), Vec::new());
    let mut emitter = Emitter::new("shape", true, &mut delta, &mut json);
    Normalize::new(options).apply(&mut batch, &mut emitter);
    let rejects = emitter.rejects.take();
    let text = |b: &Batch| {
        let mut out = Vec::new();
        b.iter().next().unwrap().write_json(&mut out);
        String::from_utf8(out).unwrap()
    };
    if batch.is_empty() { Err(text(&rejects.unwrap())) } else { Ok(text(&batch)) }
}

fn root() -> NormalizeOptions {
    NormalizeOptions { keep_rest: KeepRest::Root, ..NormalizeOptions::new(Schema::Log) }
}

#[test]
fn fields_are_renamed_in_place_and_missing_ones_appended_in_order() {
    let got = run(
        root(),
        r#"{"ts":1750000000123,"x":1,"lvl":" Warning ","msg":"m","trace_id":"t","app":"a","labels":{"k":1}}"#,
    );
    let want = r#"{"timestamp":"2025-06-15T15:06:40.123Z","x":1,"level":"WARN","message":"m","traceId":"t","service":"a","tags":{"k":1}}"#;
    assert_eq!(got.unwrap(), want);
    let got = run(root(), r#"{"a":1.10}"#).unwrap();
    assert_eq!(
        got,
        r#"{"a":1.10,"timestamp":"2026-01-02T03:04:05.678Z","level":"INFO","service":"unknown","message":"","tags":{}}"#
    );
}

#[test]
fn the_time_of_an_access_log_is_a_timestamp() {
    let got = run(
        root(),
        r#"{"time_local":"10/Oct/2025:13:55:36 +0200","level":"INFO","service":"s","message":"","tags":{}}"#,
    );
    let want = r#"{"timestamp":"2025-10-10T11:55:36.000Z","level":"INFO","service":"s","message":"","tags":{}}"#;
    assert_eq!(got.unwrap(), want);
}

#[test]
fn what_is_in_shape_stays_byte_for_byte() {
    let line = r#"{ "timestamp": "2025-06-15T15:06:40.123456Z","level":"ERROR", "service":"a","message":"\u00e9","tags":{}, "n":1.10}"#;
    assert_eq!(run(root(), line).unwrap(), line);
}

#[test]
fn the_canonical_name_wins_and_the_others_stay() {
    let got = run(
        root(),
        r#"{"severity":"error","level":"info","service":"s","message":"m","msg":"n","tags":{},"time":1,"timestamp":"2025-06-15T15:06:40.1Z"}"#,
    );
    let want = r#"{"severity":"error","level":"INFO","service":"s","message":"m","msg":"n","tags":{},"time":1,"timestamp":"2025-06-15T15:06:40.100Z"}"#;
    assert_eq!(got.unwrap(), want);
}

#[test]
fn levels_map_as_specified() {
    for (from, to) in [
        ("\"trace\"", "DEBUG"),
        ("\"Information\"", "INFO"),
        ("\"notice\"", "INFO"),
        ("\"WARNING\"", "WARN"),
        ("\"fatal\"", "ERROR"),
        ("\"crit\"", "ERROR"),
        ("\"emerg\"", "ERROR"),
        ("\"bogus\"", "INFO"),
        ("3", "ERROR"),
        ("4", "WARN"),
        ("6", "INFO"),
        ("7", "DEBUG"),
        ("\"20\"", "DEBUG"),
        ("30", "INFO"),
        ("40", "WARN"),
        ("60", "ERROR"),
        ("8", "INFO"),
        ("null", "INFO"),
    ] {
        let got = run(root(), &format!(r#"{{"level":{from}}}"#)).unwrap();
        assert!(got.contains(&format!(r#""level":"{to}""#)), "{from}: {got}");
    }
    let keep = NormalizeOptions { unknown: UnknownLevel::Keep, ..root() };
    assert!(run(keep, r#"{"level":"bogus"}"#).unwrap().contains(r#""level":"bogus""#));
}

#[test]
fn words_and_numbers_of_the_users_own_go_before_the_known_ones() {
    let own = [("major", Level::Error), ("200", Level::Debug), ("error", Level::Warn)];
    let options = || NormalizeOptions { levels: own.map(|(w, l)| (w.to_owned(), l)).to_vec(), ..root() };
    for (from, to) in
        [("\"MAJOR\"", "ERROR"), ("200", "DEBUG"), ("\"200\"", "DEBUG"), ("\"ERROR\"", "WARN"), ("3", "ERROR")]
    {
        let got = run(options(), &format!(r#"{{"level":{from}}}"#)).unwrap();
        assert!(got.contains(&format!(r#""level":"{to}""#)), "{from}: {got}");
    }
    for (numbers, n, to) in [(LevelNumbers::Monolog, 100, "DEBUG"), (LevelNumbers::Otel, 17, "ERROR")] {
        let got = run(NormalizeOptions { numbers, ..root() }, &format!(r#"{{"level":{n}}}"#)).unwrap();
        assert!(got.contains(&format!(r#""level":"{to}""#)), "{n}: {got}");
    }
}

#[test]
fn an_event_without_level_has_that_of_its_status_where_that_is_asked_for() {
    let asked = || NormalizeOptions { level_from_status: true, ..root() };
    for (event, to) in [
        (r#"{"status":503}"#, "ERROR"),
        (r#"{"status":"404"}"#, "WARN"),
        (r#"{"status":200}"#, "INFO"),
        (r#"{"status":"-"}"#, "INFO"),
        (r#"{"status":503,"level":"debug"}"#, "DEBUG"),
        (r#"{"status":503,"level":null}"#, "ERROR"),
        (r#"{"status":5.5}"#, "INFO"),
    ] {
        let got = run(asked(), event).unwrap();
        assert!(got.contains(&format!(r#""level":"{to}""#)), "{event}: {got}");
    }
    assert!(run(root(), r#"{"status":503}"#).unwrap().contains(r#""level":"INFO""#));
}

#[test]
fn an_unreadable_timestamp_is_kept_beside_the_time_received() {
    let got = run(root(), r#"{"timestamp":"yesterday","level":"INFO","service":"s","message":"m","tags":{}}"#).unwrap();
    assert_eq!(
        got,
        r#"{"timestamp":"2026-01-02T03:04:05.678Z","level":"INFO","service":"s","message":"m","tags":{},"timestamp_original":"yesterday"}"#
    );
}

#[test]
fn the_rest_goes_to_metadata_and_clashing_keys_are_numbered() {
    let base = r#""timestamp":"2025-06-15T15:06:40.123Z","level":"INFO","service":"s","message":"m","tags":{}"#;
    let options = || NormalizeOptions::new(Schema::Log);
    let got = run(options(), &format!(r#"{{"a":1,{base},"metadata":{{"a":0,"b":2}},"b":3,"c":"x"}}"#)).unwrap();
    assert_eq!(got, format!(r#"{{{base},"metadata":{{"a":0,"b":2,"a_1":1,"b_1":3,"c":"x"}}}}"#));
    assert_eq!(run(options(), &format!(r#"{{{base},"metadata":{{}}}}"#)).unwrap(), format!("{{{base}}}"));
    assert_eq!(
        run(options(), &format!(r#"{{{base},"x":null}}"#)).unwrap(),
        format!(r#"{{{base},"metadata":{{"x":null}}}}"#)
    );
    let dropped = NormalizeOptions { keep_rest: KeepRest::Drop, ..options() };
    assert_eq!(run(dropped, &format!(r#"{{"a":1,{base}}}"#)).unwrap(), format!("{{{base}}}"));
}

#[test]
fn nested_aliases_nulls_and_duplicates_are_settled() {
    let base = r#""timestamp":"2025-06-15T15:06:40.123Z","level":"INFO","message":"m","tags":{}"#;
    let got = run(
        root(),
        &format!(r#"{{{base},"trace":{{"id":"t"}},"span":{{"id":"s","x":1}},"service.name":"n","userId":null}}"#),
    );
    assert_eq!(got.unwrap(), format!(r#"{{{base},"span":{{"x":1}},"service":"n","traceId":"t","spanId":"s"}}"#));
    let got = run(root(), &format!(r#"{{{base},"service":"a","service":"b"}}"#)).unwrap();
    assert_eq!(got, format!(r#"{{{base},"service":"b"}}"#));
    let got = run(root(), &format!(r#"{{{base},"service":null,"app":"b"}}"#)).unwrap();
    assert_eq!(got, format!(r#"{{{base},"service":"b"}}"#));
}

#[test]
fn a_message_that_is_no_string_becomes_its_json_text() {
    let got = run(root(), r#"{"message":{"a":"b"},"timestamp":0,"level":"INFO","service":"s","tags":{}}"#).unwrap();
    assert!(got.contains(r#""message":"{\"a\":\"b\"}""#), "{got}");
}

#[test]
fn snake_case_is_spelled_and_camel_case_is_found() {
    let options = NormalizeOptions { case: Case::Snake, ..root() };
    let got =
        run(options, r#"{"traceId":"t","userId":1,"timestamp":0,"level":"INFO","service":"s","message":"","tags":{}}"#);
    let want = r#"{"trace_id":"t","user_id":1,"timestamp":"1970-01-01T00:00:00.000Z","level":"INFO","service":"s","message":"","tags":{}}"#;
    assert_eq!(got.unwrap(), want);
}

#[test]
fn metrics_are_shaped_or_rejected_as_they_came() {
    let options = || NormalizeOptions::new(Schema::Metric);
    let got =
        run(options(), r#"{"name":"n","value":" 1.50 ","labels":{"a":1,"b":"x","c":null},"ts":0,"k":1}"#).unwrap();
    assert_eq!(
        got,
        r#"{"name":"n","value":1.50,"labels":{"a":"1","b":"x","c":"null"},"timestamp":"1970-01-01T00:00:00.000Z","k":1,"type":"gauge"}"#
    );
    let rejected = run(options(), r#"{"name":"n", "value":"high","ts":5}"#).unwrap_err();
    assert!(rejected.contains(r#""reason":"metric_without_value""#), "{rejected}");
    assert!(rejected.contains(r#""event":{"name":"n", "value":"high","ts":5}"#), "{rejected}");
    assert!(run(options(), r#"{"value":1}"#).unwrap_err().contains("metric_without_name"));
}

#[test]
fn spans_get_their_duration_and_defaults() {
    let got = run(
        NormalizeOptions::new(Schema::Trace),
        r#"{"trace_id":"t","span_id":"s","name":"op","start":1750000000000,"end":"2025-06-15T15:06:41.5Z"}"#,
    );
    let want = r#"{"traceId":"t","spanId":"s","operationName":"op","startTime":"2025-06-15T15:06:40.000Z","endTime":"2025-06-15T15:06:41.500Z","duration":1500,"logs":[],"status":{"code":0,"message":"OK"}}"#;
    assert_eq!(got.unwrap(), want);
}

#[test]
fn producers_with_names_of_their_own_are_known() {
    let meta = || NormalizeOptions::new(Schema::Log);
    for (line, want) in [
        // PostgreSQL, `log_destination = jsonlog`.
        (
            r#"{"timestamp":"2025-06-15 17:06:40.123 CEST","pid":7,"error_severity":"ERROR","message":"no"}"#,
            r#"{"timestamp":"2025-06-15T15:06:40.123Z","level":"ERROR","message":"no","service":"unknown","tags":{},"metadata":{"pid":7}}"#,
        ),
        // MongoDB 4.4 and later.
        (
            r#"{"t":{"$date":"2025-06-15T17:06:40.123+02:00"},"s":"W","c":"NETWORK","id":1,"ctx":"conn1","msg":"slow"}"#,
            r#"{"timestamp":"2025-06-15T15:06:40.123Z","level":"WARN","message":"slow","service":"unknown","tags":{},"metadata":{"c":"NETWORK","id":1,"ctx":"conn1"}}"#,
        ),
        (
            r#"{"t":{"$date":"2025-06-15T15:06:40.123Z"},"s":"D2","msg":"m"}"#,
            r#"{"timestamp":"2025-06-15T15:06:40.123Z","level":"DEBUG","message":"m","service":"unknown","tags":{}}"#,
        ),
        // hclog: Consul, Nomad, Vault.
        (
            r#"{"@level":"warn","@message":"m","@module":"agent","@timestamp":"2025-06-15T15:06:40.123456Z"}"#,
            r#"{"level":"WARN","message":"m","timestamp":"2025-06-15T15:06:40.123456Z","service":"unknown","tags":{},"metadata":{"@module":"agent"}}"#,
        ),
        // Serilog, compact (CLEF): rendered or not.
        (
            r#"{"@t":"2025-06-15T15:06:40.1234567Z","@mt":"Hi {A}","@l":"Warning","A":1}"#,
            r#"{"timestamp":"2025-06-15T15:06:40.1234567Z","message":"Hi {A}","level":"WARN","service":"unknown","tags":{},"metadata":{"A":1}}"#,
        ),
        (
            r#"{"@t":"2025-06-15T15:06:40.123Z","@mt":"Hi {A}","@m":"Hi 1"}"#,
            r#"{"timestamp":"2025-06-15T15:06:40.123Z","message":"Hi 1","level":"INFO","service":"unknown","tags":{},"metadata":{"@mt":"Hi {A}"}}"#,
        ),
        // Serilog's JsonFormatter.
        (
            r#"{"Timestamp":"2025-06-15T17:06:40.123+02:00","Level":"Error","MessageTemplate":"t"}"#,
            r#"{"timestamp":"2025-06-15T15:06:40.123Z","level":"ERROR","service":"unknown","message":"","tags":{},"metadata":{"MessageTemplate":"t"}}"#,
        ),
        // log4j 2, JsonLayout.
        (
            r#"{"instant":{"epochSecond":1750000000,"nanoOfSecond":123456789},"thread":"main","level":"WARN","message":"m"}"#,
            r#"{"timestamp":"2025-06-15T15:06:40.123456789Z","level":"WARN","message":"m","service":"unknown","tags":{},"metadata":{"thread":"main"}}"#,
        ),
        (
            r#"{"timeMillis":1750000000123,"level":"WARN","message":"m"}"#,
            r#"{"timestamp":"2025-06-15T15:06:40.123Z","level":"WARN","message":"m","service":"unknown","tags":{}}"#,
        ),
        // NXLog, `to_json()`.
        (
            r#"{"EventTime":"2025-06-15 15:06:40","Hostname":"h","Severity":"ERROR","SeverityValue":4,"Message":"m"}"#,
            r#"{"timestamp":"2025-06-15T15:06:40.000Z","level":"ERROR","message":"m","service":"unknown","tags":{},"metadata":{"Hostname":"h","SeverityValue":4}}"#,
        ),
        // Grafana, its lines in logfmt; GELF; .NET's JSON console.
        (
            r#"{"t":"2025-06-15T17:06:40.123+02:00","level":"warn","msg":"m"}"#,
            r#"{"timestamp":"2025-06-15T15:06:40.123Z","level":"WARN","message":"m","service":"unknown","tags":{}}"#,
        ),
        (
            r#"{"short_message":"m","full_message":"f","timestamp":1750000000.123,"level":3}"#,
            r#"{"message":"m","timestamp":"2025-06-15T15:06:40.123Z","level":"ERROR","service":"unknown","tags":{},"metadata":{"full_message":"f"}}"#,
        ),
        (
            r#"{"LogLevel":"Warning","Timestamp":"2025-06-15T15:06:40.123Z","Message":"m"}"#,
            r#"{"level":"WARN","timestamp":"2025-06-15T15:06:40.123Z","message":"m","service":"unknown","tags":{}}"#,
        ),
        // MySQL 8, log_sink_json.
        (
            r#"{"prio":2,"err_code":1,"msg":"m","time":"2025-06-15T15:06:40.123456Z","ts":1750000000123,"label":"Warning"}"#,
            r#"{"message":"m","timestamp":"2025-06-15T15:06:40.123456Z","level":"WARN","service":"unknown","tags":{},"metadata":{"prio":2,"err_code":1,"ts":1750000000123}}"#,
        ),
        // Okta's System Log.
        (
            r#"{"eventType":"user.session.start","severity":"WARN","displayMessage":"m","published":"2025-06-15T15:06:40.123Z"}"#,
            r#"{"level":"WARN","message":"m","timestamp":"2025-06-15T15:06:40.123Z","service":"unknown","tags":{},"metadata":{"eventType":"user.session.start"}}"#,
        ),
    ] {
        assert_eq!(run(meta(), line).unwrap(), want, "{line}");
    }
}

#[test]
fn names_of_producers_that_mean_something_else_stay_as_they_are() {
    let base = r#""level":"INFO","service":"s","message":"m","tags":{}"#;
    let time = r#""timestamp":"2026-01-02T03:04:05.678Z""#;
    for rest in [
        r#""t":5"#,
        r#""t":"1750000000""#,
        r#""t":"2025-06-15T""#,
        r#""t":{"$date":"2025-06-15T15:06:40.123Z"}"#,
        r#""t":{"a":1},"s":"W""#,
        r#""instant":true"#,
        r#""instant":{"epochSecond":1}"#,
        r#""instant":{"epochSecond":1,"nanoOfSecond":-1}"#,
        r#""published":"2025-06-15T15:06:40.123Z""#,
        r#""EventTime":"soon""#,
        r#""Timestamp":{}"#,
    ] {
        let got = run(root(), &format!("{{{base},{rest}}}")).unwrap();
        assert_eq!(got, format!("{{{base},{rest},{time}}}"));
    }
    let base = r#""timestamp":"2025-06-15T15:06:40.123Z","service":"s","tags":{}"#;
    for rest in [
        r#""Severity":"High""#,
        r#""Severity":3"#,
        r#""Level":2"#,
        r#""label":"Warning""#,
        r#""s":"W""#,
        r#""Message":{"a":1}"#,
        r#""prio":1,"label":5"#,
    ] {
        let got = run(root(), &format!("{{{base},{rest}}}")).unwrap();
        assert_eq!(got, format!(r#"{{{base},{rest},"level":"INFO","message":""}}"#));
    }
    // What has its name already goes first.
    let got =
        run(root(), &format!(r#"{{{base},"level":"warn","Level":"Error","message":"m","Message":"n"}}"#)).unwrap();
    assert_eq!(got, format!(r#"{{{base},"level":"WARN","Level":"Error","message":"m","Message":"n"}}"#));
}

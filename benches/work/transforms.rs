//! Each transform, on batches of decoded events.

use super::*;
use crate::corpus;

/// The transforms of the `main` benchmark, in order.
const SHAPE: &str = "type: normalize, schema: log, keep_rest: root";
const CLEAN: &str = "type: redact, in: [message], detect: [secrets, credit_card, email]";
const QUALITY: &str = "type: validate, schema: log, rules: \
     [{check: 'traceId.matches(\"^[0-9a-fA-F]{32}$\")', error: \"traceId is not 32 hex digits\"}]";
const THIN: &str = "type: sample, by: level, rates: {DEBUG: 0.1, default: 1.0}";

/// The chain of the `main` benchmark.
pub(super) fn main_chain() -> String {
    [SHAPE, CLEAN, QUALITY, THIN].join("\n")
}

pub(super) fn add(list: &mut Vec<Maker>) {
    let mut stage = |name: &str, before: &str, transform: &str, check: fn(&str, usize)| {
        let (before, transform) = (before.to_owned(), transform.to_owned());
        super::add(list, &format!("transforms/{name}"), move || {
            transformed(corpus::app(EVENTS), &before, &transform, check)
        });
    };
    stage("normalize", "", SHAPE, |out, left| {
        assert_eq!(left, EVENTS);
        assert_eq!(count(out.as_bytes(), b"\"timestamp\":\"2025-06-15T15:"), EVENTS, "all times are read");
        assert!(!out.contains("\"Information\"") && out.contains("\"level\":\"INFO\""));
    });
    stage("normalize, the rest into metadata", "", "type: normalize, schema: log", |out, left| {
        assert_eq!((left, count(out.as_bytes(), b"\"metadata\":{")), (EVENTS, EVENTS));
    });
    stage("redact, three kinds in message", SHAPE, CLEAN, |out, left| {
        assert_eq!(left, EVENTS);
        assert!(!out.contains("sesame") && !out.contains("4111 1111") && out.contains("password=***"));
    });
    stage("redact, all kinds everywhere", SHAPE, ALL_KINDS, |out, left| {
        assert_eq!(left, EVENTS);
        assert!(!out.contains("sesame") && !out.contains("4111 1111") && !out.contains("203.0.113"));
    });
    stage("validate", &[SHAPE, CLEAN].join("\n"), QUALITY, |out, left| {
        assert_eq!((left, out.contains("quality")), (EVENTS, false));
    });
    stage(
        "validate, all wrong",
        SHAPE,
        "type: validate, on_error: tag, rules: [{when: 'has(traceId)', error: no}]",
        |out, left| {
            assert_eq!((left, count(out.as_bytes(), b"\"quality\"")), (EVENTS, EVENTS));
        },
    );
    stage("sample", &[SHAPE, CLEAN, QUALITY].join("\n"), THIN, |out, left| {
        assert!((EVENTS * 7 / 10..EVENTS).contains(&left) && out.contains("sample_rate"), "{left} are left");
    });
    stage("sample, by hash of a key", "", "type: sample, rate: 0.5, key: traceId", |_, left| {
        assert!((EVENTS / 3..EVENTS * 2 / 3).contains(&left), "{left} are left");
    });
    stage("filter", "", "type: filter, when: 'level in [\"ERROR\", \"error\"] || duration > 1000'", |_, left| {
        assert!((EVENTS / 3..EVENTS).contains(&left), "{left} are left");
    });
    stage("route", "", "type: route, outputs: {errors: 'level == \"ERROR\"', slow: 'duration > 1000'}", |_, left| {
        assert_eq!(left, 0, "all leave by the outputs and by `other`");
    });
    stage(
        "parse",
        "",
        r"type: parse, from: message, decode: {regex: {pattern: '(?<took>\d+)ms'}}, into: found",
        |out, _| {
            assert!(out.contains("\"found\":{\"took\":\""), "{out}");
        },
    );
    stage(
        "edit",
        "",
        "type: edit, rename: {seq: number}, copy: {traceId: trace.id}, set: {env: prod, title: '{{ level }}: {{ service }}'}, \
         remove: [ip], convert: {duration: float}",
        |out, left| {
            assert_eq!(left, EVENTS);
            assert_eq!(count(out.as_bytes(), b"\"env\":\"prod\""), EVENTS);
            assert!(!out.contains("\"seq\"") && !out.contains("\"ip\""));
        },
    );
    stage("enrich, constants", "", "type: enrich, fields: {env: prod, team: web}, host: true", |out, _| {
        assert_eq!(count(out.as_bytes(), b"\"team\":\"web\""), EVENTS);
    });
    stage("enrich, user agent", "", "type: enrich, user_agent: {from: userAgent, to: agent}", |out, _| {
        assert!(out.contains("Firefox") && out.contains("\"family\":\"Chrome\""), "{out}");
    });
    super::add(list, "worker/decode json", || worker("", EVENTS..EVENTS + 1));
    super::add(list, "worker/main", || worker(&main_chain(), EVENTS * 7 / 10..EVENTS));
}

const ALL_KINDS: &str = "type: redact, detect: [secrets, email, credit_card, phone, ipv4, ipv6, mac_address, us_ssn, jwt, \
     aws_key, github_token, slack_token, private_key, iban, url_credentials]";

pub(super) fn transformed(text: Vec<u8>, before: &str, transform: &str, check: impl Fn(&str, usize)) -> Stage {
    let (events, bytes) = (count(&text, b"\n"), text.len());
    let mut batches = Batches::new(text, "json", &[before, transform].join("\n"));
    let mut last = batches.transforms.pop().unwrap();
    let mut batch = batches.batch();
    assert_eq!(batch.len(), events);
    topology::apply_alone(&mut *last, &mut batch);
    let mut out = Vec::new();
    batch.iter().for_each(|e| e.write_json(&mut out));
    check(std::str::from_utf8(&out).unwrap(), batch.len());
    done(batch);
    let run = move |batch: &mut Batch| topology::apply_alone(&mut *last, batch);
    Stage { events, bytes, work: Box::new(OnBatch { make: move || batches.batch(), run, batch: None }) }
}

/// As the program runs it: one worker takes a chunk through everything up to the sink's queue, where it is settled.
fn worker(transforms: &str, left: std::ops::Range<usize>) -> Stage {
    let (text, origin) = (Slab::from_vec(corpus::app(EVENTS)), Origin::of_source("in"));
    let bytes = text.len();
    let blueprint = pipeline("json", transforms);
    let (mut worker, queues) = topology::single_worker(&blueprint);
    let mut run = move || {
        let _keep = &blueprint;
        worker.chunk(0, chunk(&text, lines(&text), &origin));
        let mut events = 0;
        while let Some(batch) = queues[0].1.try_recv() {
            events += batch.len();
            done(batch);
        }
        events
    };
    let events = run();
    assert!(left.contains(&events), "{events} came out");
    Stage { events: EVENTS, bytes, work: Box::new(Plain(move || _ = std::hint::black_box(run()))) }
}

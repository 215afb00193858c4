//! Events to bytes.

use super::*;
use crate::corpus;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Duration;
use tidegate::internals::config::read_text;
use tidegate::internals::encoding::{Encoder, Encoding, Formulas};
use tidegate::internals::event::FieldPath;
use tidegate::internals::sinks::delivery::{Batcher, Bounds, Mask};
use tidegate::internals::sinks::openobserve::{Mark, OpenObserve, OpenObserveConfig};
use tidegate::internals::time::Zone;

pub(super) fn add(list: &mut Vec<Maker>) {
    let mut stage = |name: &str, make: fn() -> Stage| super::add(list, &format!("encoding/{name}"), make);
    stage("text", || {
        encoding(corpus::access(EVENTS), "text", "", Encoding::Text, |out| assert_eq!(out, corpus::access(EVENTS)))
    });
    stage("text, in place", || in_place(corpus::access(EVENTS), "text", Encoding::Text));
    stage("json, unchanged", || {
        encoding(corpus::app(EVENTS), "json", "", Encoding::Json, |out| assert_eq!(out, corpus::app(EVENTS)))
    });
    stage("json, after main", || {
        encoding(corpus::app(EVENTS), "json", &transforms::main_chain(), Encoding::Json, |out| {
            assert!(count(out, b"\n") < EVENTS && count(out, b"\"level\":\"INFO\"") > EVENTS / 5);
        })
    });
    stage("json, of syslog", || {
        encoding(corpus::syslog_5424(EVENTS), "syslog", "", Encoding::Json, |out| {
            let first = out.split(|c| *c == b'\n').next().unwrap();
            assert_eq!(
                std::str::from_utf8(first).unwrap(),
                concat!(
                    r#"{"timestamp":"2026-11-21T02:17:00.000Z","severity":6,"facility":16,"hostname":"host-0.example.com","#,
                    r#""appname":"checkout","procid":"1000","msgid":"ID0","#,
                    r#""structured_data":{"meta@32473":{"seq":"0","region":"eu-west-1"}},"#,
                    r#""message":"upstream call failed: rejected after 0ms, will retry seq=0"}"#
                )
            );
        })
    });
    stage("json, of text", || {
        encoding(corpus::access(EVENTS), "text", "", Encoding::Json, |out| {
            assert_eq!(count(out, b"{\"message\":\"10."), EVENTS);
        })
    });
    stage("logfmt", || {
        encoding(corpus::app(EVENTS), "json", "", Encoding::Logfmt, |out| assert_eq!(count(out, b" service="), EVENTS))
    });
    stage("csv", || {
        let fields = ["timestamp", "level", "service", "message"].map(|f| FieldPath::parse(f).unwrap()).to_vec();
        encoding(corpus::app(EVENTS), "json", "", Encoding::Csv(fields, Formulas::Escape), |out| {
            assert_eq!(count(out, b"\n"), EVENTS)
        })
    });
    stage("openobserve body", openobserve);
    stage("openobserve body, zstd 1", || compressed(|body| zstd::bulk::compress(body, 1).unwrap()));
    stage("openobserve body, gzip 2", || {
        compressed(|body| {
            use std::io::Write;
            let mut to = flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::new(2));
            to.write_all(body).unwrap();
            to.finish().unwrap()
        })
    });
}

fn encoding(text: Vec<u8>, decode: &str, transforms: &str, encoding: Encoding, check: impl Fn(&[u8])) -> Stage {
    let bytes = text.len();
    let mut batches = Batches::new(text, decode, transforms);
    let (mut encoder, mut out) = (Encoder::new(encoding), Vec::new());
    let batch = batches.batch();
    encoder.batch(&batch, &mut out);
    check(&out);
    let events = batch.len();
    done(batch);
    let run = move |batch: &mut Batch| {
        out.clear();
        encoder.batch(batch, &mut out);
    };
    Stage { events, bytes, work: Box::new(OnBatch { make: move || batches.batch(), run, batch: None }) }
}

fn in_place(text: Vec<u8>, decode: &str, encoding: Encoding) -> Stage {
    let bytes = text.len();
    let mut batches = Batches::new(text.clone(), decode, "");
    let encoder = Encoder::new(encoding);
    let batch = batches.batch();
    assert_eq!(encoder.in_place(&batch), Some(&text[..]));
    done(batch);
    let run = move |batch: &mut Batch| _ = std::hint::black_box(encoder.in_place(batch));
    Stage { events: EVENTS, bytes, work: Box::new(OnBatch { make: move || batches.batch(), run, batch: None }) }
}

/// The OpenObserve sink without its requests.
struct Body {
    batcher: Batcher<Mark>,
    protocol: OpenObserve,
}

impl Body {
    fn new() -> Self {
        let yaml = "{url: 'http://localhost:5080', stream: bench, inputs: [in]}";
        let (config, report) = read_text::<OpenObserveConfig>("o2.yaml", yaml, &ProcessEnvironment);
        let config = config.unwrap_or_else(|| panic!("{}", report.render()));
        let url = "http://localhost:5080".parse().unwrap();
        let bounds = Bounds {
            max_events: NonZeroUsize::new(10_000).unwrap(),
            max_bytes: 1 << 20,
            timeout: Duration::from_secs(1),
        };
        Body { batcher: Batcher::new(bounds), protocol: OpenObserve::new(&config, &url, Zone::UTC, Mask::new([])) }
    }

    /// The body of one request with the batch's events, to `with`.
    fn write(&mut self, batch: &Batch, now: tokio::time::Instant, with: &mut dyn FnMut(&[u8])) {
        let (mut closed, mut unsent) = (VecDeque::new(), Vec::new());
        self.batcher.add(batch, &mut self.protocol, RECEIVED_AT, now, &mut closed, &mut unsent);
        self.batcher.close_all(&mut closed);
        assert!(unsent.is_empty(), "{unsent:?}");
        for mut load in closed {
            with(&load.body);
            load.parts.drain(..).for_each(|part| part.ack.settle(Verdict::Delivered));
            self.batcher.recycle(load);
        }
    }
}

fn openobserve() -> Stage {
    let text = corpus::app(EVENTS);
    let bytes = text.len();
    let mut batches = Batches::new(text, "json", "type: normalize, schema: log, keep_rest: root");
    let (mut body, now) = (Body::new(), tokio::time::Instant::now());
    let mut records = 0;
    let batch = batches.batch();
    body.write(&batch, now, &mut |body| {
        records += serde_json::from_slice::<Vec<serde_json::Map<String, serde_json::Value>>>(body).unwrap().len();
        assert_eq!(count(body, b",\"_timestamp\":17"), EVENTS);
    });
    assert_eq!(records, EVENTS);
    done(batch);
    let run = move |batch: &mut Batch| body.write(batch, now, &mut |body| _ = std::hint::black_box(body));
    Stage { events: EVENTS, bytes, work: Box::new(OnBatch { make: move || batches.batch(), run, batch: None }) }
}

fn compressed(compress: fn(&[u8]) -> Vec<u8>) -> Stage {
    let mut batches = Batches::new(corpus::app(EVENTS), "json", "type: normalize, schema: log, keep_rest: root");
    let batch = batches.batch();
    let mut plain = Vec::new();
    Body::new().write(&batch, tokio::time::Instant::now(), &mut |body| plain.extend_from_slice(body));
    done(batch);
    assert!(compress(&plain).len() < plain.len() / 2);
    let bytes = plain.len();
    Stage { events: EVENTS, bytes, work: Box::new(Plain(move || _ = std::hint::black_box(compress(&plain)))) }
}

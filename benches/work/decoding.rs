//! Frames to events. Framing by lines and the check for UTF-8 are part of it.

use super::*;
use crate::corpus;

pub(super) fn add(list: &mut Vec<Maker>) {
    let mut stage = |name: &str, decode: &'static str, text: fn(usize) -> Vec<u8>, has: &'static [&'static str]| {
        super::add(list, &format!("decoding/{name}"), move || decoding(text(EVENTS), decode, has));
    };
    stage("text", "text", corpus::access, &["message"]);
    stage("json", "json", corpus::app, &["timestamp", "traceId", "tags"]);
    stage("auto", "auto", corpus::app, &["timestamp", "traceId", "tags"]);
    stage("logfmt", "logfmt", corpus::logfmt, &["ts", "msg", "ok"]);
    stage("syslog 5424", "syslog", corpus::syslog_5424, &["timestamp", "structured_data", "message"]);
    stage("syslog 3164", "syslog", corpus::syslog_3164, &["timestamp", "appname", "message"]);
    stage("access", "access", corpus::access, &["client_ip", "status", "user_agent"]);
    stage("cri", "cri", corpus::cri, &["stream", "message"]);
    stage("docker", "docker", corpus::docker, &["stream", "message"]);
    let pattern = r#"{regex: {pattern: '^(?<ip>\S+) \S+ \S+ \[(?<time>[^\]]+)\] "(?<request>[^"]*)" (?<status>\d+)'}}"#;
    stage("regex", pattern, corpus::access, &["ip", "time", "request", "status"]);
}

fn decoding(text: Vec<u8>, decode: &str, has: &[&str]) -> Stage {
    let bytes = text.len();
    let mut batches = Batches::new(text, decode, "");
    let batch = batches.batch();
    assert_eq!((batch.len(), batches.stats.errors), (EVENTS, 0));
    for row in [0, EVENTS - 1] {
        let names: Vec<_> = batch.event(row).fields().map(|(name, _)| name.to_vec()).collect();
        for name in has {
            assert!(names.iter().any(|n| n == name.as_bytes()), "no {name} in {}", json_of(&batch, row));
        }
    }
    done(batch);
    Stage { events: EVENTS, bytes, work: Box::new(Makes { make: move || batches.batch(), batch: None }) }
}

//! Headers by maker: `tests/fixtures/syslog_headers.jsonl`.
//!
//! Each line: `maker`, `source` (the document, or the test of another receiver, that shows the form), `raw` with values of
//! our own, and all that an event of it must have and nothing else; `time` is an instant. The configured zone is Berlin's;
//! times without a year are received in November 2023.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use super::super::testing::decode_line;
use super::SyslogDecoder;
use crate::time::{TimestampReader, Zone, parse_rfc3339};
use serde_json::Value as Json;

const HEADERS: &str = include_str!("../../../tests/fixtures/syslog_headers.jsonl");
const KEYS: [&str; 9] =
    ["hostname", "appname", "procid", "msgid", "severity", "facility", "structured_data", "cisco", "message"];

/// Which fields of the event differ from what the line of the table says.
fn differences(case: &Json) -> Vec<String> {
    let raw = case["raw"].as_str().unwrap();
    let zone = Zone::parse("Europe/Berlin").unwrap();
    let mut decoder = SyslogDecoder::new(TimestampReader::new(zone, Vec::new()));
    let event = match decode_line(&mut decoder, raw.as_bytes()) {
        Ok(event) => event,
        Err(why) => return vec![why],
    };
    let event: Json = serde_json::from_str(&event).unwrap();
    let instant = |time: &Json| time.as_str().map(|time| parse_rfc3339(time.as_bytes()).unwrap().ns);
    let mut wrong = Vec::new();
    if instant(&event["timestamp"]) != instant(&case["time"]) {
        wrong.push(format!("time: {}, not {}", event["timestamp"], case["time"]));
    }
    let pri = raw.trim_start().strip_prefix('<').and_then(|rest| rest.split_once('>')).map(|(pri, _)| pri);
    for key in KEYS {
        let want = match (key, pri) {
            ("severity", Some(pri)) => (pri.parse::<u64>().unwrap() & 7).into(),
            ("facility", Some(pri)) => (pri.parse::<u64>().unwrap() >> 3).into(),
            _ => case[key].clone(),
        };
        if event[key] != want {
            wrong.push(format!("{key}: {}, not {want}", event[key]));
        }
    }
    wrong
}

#[test]
fn headers_of_all_makers_are_read() {
    let (mut total, mut failed) = (0, 0);
    for line in HEADERS.lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        let wrong = differences(&case);
        total += 1;
        failed += u32::from(!wrong.is_empty());
        if !wrong.is_empty() {
            eprintln!("{}: {wrong:?}\n    {}", case["maker"], case["raw"]);
        }
    }
    assert!(total >= 200, "{total}");
    assert_eq!(failed, 0, "of {total}");
}

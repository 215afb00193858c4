#![allow(clippy::unwrap_used)]
use super::*;
use crate::decoding::protobuf::{push_bytes, push_fixed64, push_message, push_number};
use proptest::prelude::*;

fn label(name: &str, value: &str, out: &mut Vec<u8>) {
    push_message(1, out, |out| {
        push_bytes(1, name.as_bytes(), out);
        push_bytes(2, value.as_bytes(), out);
    });
}

/// Appends a series: labels as `name=value`, samples as value and milliseconds.
fn series(labels: &[&str], samples: &[(f64, u64)], out: &mut Vec<u8>) {
    push_message(1, out, |out| {
        for pair in labels {
            let (name, value) = pair.split_once('=').unwrap();
            label(name, value, out);
        }
        for (value, ms) in samples {
            push_message(2, out, |out| {
                push_fixed64(1, value.to_bits(), out);
                push_number(2, *ms, out);
            });
        }
    });
}

fn lines(request: Request) -> Vec<String> {
    let events = request.summary().events;
    let mut lines = Vec::new();
    for batch in request.into_batches(Origin::of_source("in"), 5) {
        for event in batch.iter() {
            assert_eq!(event.kind(), EventKind::Metric);
            let mut line = Vec::new();
            event.write_json(&mut line);
            lines.push(String::from_utf8(line).unwrap());
        }
    }
    assert_eq!(lines.len() as u64, events);
    lines
}

const MS: u64 = 1_736_503_200_000;

#[test]
fn samples_become_metric_events() {
    let mut body = Vec::new();
    series(&["__name__=up", "instance=a:1", "job=x"], &[(1.0, MS), (0.5, MS + 1)], &mut body);
    series(&["__name__=hits_total"], &[(12.0, MS)], &mut body);
    series(&["__name__=h_bucket", "le=+Inf"], &[(3.0, MS)], &mut body);
    series(&["__name__=gone"], &[(f64::from_bits(STALE), MS), (f64::NAN, MS), (f64::INFINITY, MS)], &mut body);
    series(&["job=x"], &[(1.0, MS)], &mut body);
    series(&["__name__=long", &format!("l={}", "x".repeat(2000))], &[(1.0, MS), (2.0, MS)], &mut body);
    let families = Arc::new(Families::default());
    let request = Request::read(body, 1000, &families).unwrap();
    assert_eq!(request.summary().dropped, [("no_name", 1), ("not_finite", 2), ("stale", 1), ("too_large", 2)]);
    assert_eq!(
        lines(request),
        [
            r#"{"name":"up","value":1,"type":"gauge","labels":{"instance":"a:1","job":"x"},"timestamp":"2025-01-10T10:00:00.000Z"}"#,
            r#"{"name":"up","value":0.5,"type":"gauge","labels":{"instance":"a:1","job":"x"},"timestamp":"2025-01-10T10:00:00.001Z"}"#,
            r#"{"name":"hits_total","value":12,"type":"counter","labels":{},"timestamp":"2025-01-10T10:00:00.000Z"}"#,
            r#"{"name":"h_bucket","value":3,"type":"histogram","labels":{"le":"+Inf"},"timestamp":"2025-01-10T10:00:00.000Z"}"#,
        ]
    );
}

#[test]
fn types_are_remembered_once_they_were_told() {
    let families = Arc::new(Families::default());
    let mut told = Vec::new();
    for (name, kind, help) in [("jobs", 1, "Jobs done"), ("lat", 3, "Latency"), ("odd_total", 2, "A gauge")] {
        push_message(3, &mut told, |out| {
            push_number(1, kind, out);
            push_bytes(2, name.as_bytes(), out);
            push_bytes(4, help.as_bytes(), out);
        });
    }
    assert_eq!(Request::read(told, 1000, &families).unwrap().summary().events, 0);
    let mut body = Vec::new();
    for name in ["jobs", "lat_sum", "odd_total", "other"] {
        series(&[&format!("__name__={name}")], &[(1.0, MS)], &mut body);
    }
    let request = Request::read(body, 1000, &families).unwrap();
    let kinds: Vec<_> = lines(request)
        .iter()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
        .map(|e| (e["type"].as_str().unwrap().to_owned(), e["description"].as_str().unwrap_or("-").to_owned()))
        .collect();
    let expected = [("counter", "Jobs done"), ("histogram", "Latency"), ("gauge", "A gauge"), ("gauge", "-")];
    assert_eq!(kinds, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn native_histograms_become_buckets_with_bounds() {
    let zigzag = |n: i64| ((n << 1) ^ (n >> 63)) as u64;
    let mut body = Vec::new();
    push_message(1, &mut body, |out| {
        label("__name__", "lat", out);
        push_message(4, out, |out| {
            push_number(1, 6, out);
            push_fixed64(3, 9.5f64.to_bits(), out);
            push_number(4, zigzag(0), out);
            push_number(6, 1, out);
            // Buckets 0 (up to 1) and 1 (up to 2), and 3 (up to 8): 2, 1 and 2 of them.
            for (gap, length) in [(0, 2), (1, 1)] {
                push_message(11, out, |out| {
                    push_number(1, zigzag(gap), out);
                    push_number(2, length, out);
                });
            }
            let mut deltas = Vec::new();
            for delta in [2, -1, 1] {
                crate::decoding::protobuf::push_varint(zigzag(delta), &mut deltas);
            }
            push_bytes(12, &deltas, out);
            push_number(15, MS, out);
        });
    });
    let families = Arc::new(Families::default());
    let request = Request::read(body, 1000, &families).unwrap();
    let found: Vec<_> = lines(request)
        .iter()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
        .map(|e| {
            format!("{} {} {}", e["name"].as_str().unwrap(), e["labels"]["le"].as_str().unwrap_or("-"), e["value"])
        })
        .collect();
    let expected = [
        "lat_bucket 0 1",
        "lat_bucket 0.5 1",
        "lat_bucket 1 3",
        "lat_bucket 2 4",
        "lat_bucket 4 4",
        "lat_bucket 8 6",
        "lat_bucket +Inf 6",
        "lat_sum - 9.5",
        "lat_count - 6",
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_is_broken_is_refused_as_a_whole() {
    let families = Arc::new(Families::default());
    let mut body = Vec::new();
    series(&["__name__=up"], &[(1.0, MS)], &mut body);
    body.extend_from_slice(b"\x0a\x7f");
    assert!(Request::read(body, 1000, &families).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let families = Arc::new(Families::default());
        if let Ok(request) = Request::read(bytes, 1000, &families) {
            lines(request);
        }
    }

    #[test]
    fn damage_never_makes_it_panic_or_write_what_is_no_json(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = Vec::new();
        series(&["__name__=up", "job=\"x\\"], &[(1.0, MS), (2.5, MS)], &mut body);
        let at = at.index(body.len());
        body[at] = byte;
        let families = Arc::new(Families::default());
        if let Ok(request) = Request::read(body, 1000, &families) {
            for line in lines(request) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{}", line);
            }
        }
    }
}

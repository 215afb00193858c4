#![allow(clippy::unwrap_used)]
use super::*;
use crate::wire::protobuf::{push_bytes, push_fixed64, push_message, push_number};
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
    series(&["__name__=gone", "a=b"], &[(f64::from_bits(STALE), MS), (f64::NAN, MS), (f64::INFINITY, MS)], &mut body);
    series(&["__name__=empty"], &[], &mut body);
    series(&["job=x"], &[(1.0, MS)], &mut body);
    series(&["__name__=long", &format!("l={}", "x".repeat(2000))], &[(1.0, MS), (2.0, MS)], &mut body);
    let families = Arc::new(Families::default());
    let request = Request::read(body, 1000, &families).unwrap();
    assert_eq!(request.summary().dropped, [("no_name", 1), ("no_sample", 1), ("not_finite", 2), ("too_large", 2)]);
    assert_eq!(
        lines(request),
        [
            r#"{"name":"up","value":1,"type":"gauge","labels":{"instance":"a:1","job":"x"},"timestamp":"2025-01-10T10:00:00.000Z"}"#,
            r#"{"name":"up","value":0.5,"type":"gauge","labels":{"instance":"a:1","job":"x"},"timestamp":"2025-01-10T10:00:00.001Z"}"#,
            r#"{"name":"hits_total","value":12,"type":"counter","labels":{},"timestamp":"2025-01-10T10:00:00.000Z"}"#,
            r#"{"name":"h_bucket","value":3,"type":"histogram","labels":{"le":"+Inf"},"timestamp":"2025-01-10T10:00:00.000Z"}"#,
            r#"{"name":"gone","stale":true,"type":"gauge","labels":{"a":"b"},"timestamp":"2025-01-10T10:00:00.000Z"}"#,
        ]
    );
}

/// Appends an exemplar in field 3 of a series.
fn exemplar(id: &str, value: f64, out: &mut Vec<u8>) {
    push_message(3, out, |out| {
        label("trace_id", id, out);
        push_fixed64(2, value.to_bits(), out);
        push_number(3, MS, out);
    });
}

/// Appends a native histogram in field 4 of a series: one bucket with one value, so five events of which one is the sum.
fn native(sum: f64, out: &mut Vec<u8>) {
    push_message(4, out, |out| {
        push_number(1, 1, out);
        push_fixed64(3, sum.to_bits(), out);
        push_message(11, out, |out| push_number(2, 1, out));
        push_bytes(12, &[2], out);
        push_number(15, MS, out);
    });
}

/// What is left of a line with exemplars: name, value and the ids of the exemplars.
fn with_exemplars(line: &str) -> Option<String> {
    let event: serde_json::Value = serde_json::from_str(line).unwrap();
    let ids = event["exemplars"].as_array()?.iter().map(|e| e["labels"]["trace_id"].as_str().unwrap());
    Some(format!("{} {} {}", event["name"].as_str().unwrap(), event["value"], ids.collect::<Vec<_>>().join(",")))
}

#[test]
fn exemplars_in_entries_of_their_own_go_with_the_last_sample_of_their_series() {
    let mut body = Vec::new();
    let alone = |labels: &[&str], ids: &[&str], out: &mut Vec<u8>| {
        push_message(1, out, |out| {
            for pair in labels {
                let (name, value) = pair.split_once('=').unwrap();
                label(name, value, out);
            }
            ids.iter().for_each(|id| exemplar(id, 1.0, out));
        });
    };
    let (a, b) = (["__name__=reqs_total", "code=200"], ["__name__=reqs_total", "code=500"]);
    alone(&a, &["before"], &mut body);
    series(&a, &[(5.0, MS), (6.0, MS + 1)], &mut body);
    series(&b, &[(7.0, MS)], &mut body);
    alone(&a, &["after", "too"], &mut body);
    // The last value is not a number, and so no event.
    series(&a, &[(8.0, MS + 2), (f64::NAN, MS + 3), (f64::from_bits(STALE), MS + 4)], &mut body);
    // Its own sample is in the entry; that of another is in none.
    push_message(1, &mut body, |out| {
        label("__name__", "own", out);
        exemplar("mine", 1.0, out);
        push_message(2, out, |out| push_fixed64(1, 3f64.to_bits(), out));
    });
    alone(&["__name__=elsewhere"], &["lost", "gone"], &mut body);
    alone(&["code=200"], &["nameless"], &mut body);
    push_message(1, &mut body, |out| {
        label("__name__", "lat", out);
        native(9.5, out);
        exemplar("slow", 9.0, out);
    });
    let request = Request::read(body, 1000, &Arc::default()).unwrap();
    assert_eq!(request.summary().dropped, [("no_sample", 3), ("not_finite", 1)]);
    let found: Vec<_> = lines(request).iter().filter_map(|line| with_exemplars(line)).collect();
    assert_eq!(found, ["reqs_total 8 before,after,too", "own 3 mine", "lat_count 1 slow"]);
}

#[test]
fn exemplars_that_an_event_has_no_room_for_are_dropped_and_broken_ones_refuse_the_request() {
    let request = |id: &str, broken: bool| {
        let mut body = Vec::new();
        push_message(1, &mut body, |out| {
            label("__name__", "x", out);
            push_message(2, out, |out| push_fixed64(1, 3f64.to_bits(), out));
            (0..4).for_each(|_| exemplar(id, 1.0, out));
            if broken {
                push_bytes(3, b"\x0a\x7f", out);
            }
        });
        Request::read(body, 300, &Arc::default())
    };
    assert!(request("a", true).is_err());
    let mut many = Vec::new();
    push_message(1, &mut many, |out| {
        label("__name__", "x", out);
        push_message(2, out, |out| push_fixed64(1, 3f64.to_bits(), out));
        (0..MOST_EXEMPLARS + 7).for_each(|_| push_bytes(3, b"", out));
    });
    let many = Request::read(many, 1 << 20, &Arc::default()).unwrap();
    let [("too_large", cut), ("too_many", 7)] = many.summary().dropped[..] else { panic!("{:?}", many.summary()) };
    let event: serde_json::Value = serde_json::from_str(&lines(many)[0]).unwrap();
    assert_eq!(event["exemplars"].as_array().unwrap().len() as u64 + cut, MOST_EXEMPLARS as u64);
    let request = request(&"y".repeat(70), false).unwrap();
    assert_eq!(request.summary().dropped, [("too_large", 2)]);
    assert_eq!(with_exemplars(&lines(request)[0]).unwrap().matches("yyyy,y").count(), 1);
}

#[test]
fn a_request_of_version_2_is_refused_and_other_fields_that_are_not_known_are_counted() {
    let mut body = Vec::new();
    series(&["__name__=up"], &[(1.0, MS)], &mut body);
    push_message(1, &mut body, |out| {
        label("__name__", "down", out);
        push_message(2, out, |out| push_fixed64(1, 3f64.to_bits(), out));
        push_bytes(9, b"what", out);
        push_number(10, 1, out);
    });
    push_bytes(7, b"series of another kind", &mut body);
    push_number(2, 1, &mut body);
    let read = |body: &[u8]| Request::read(body.to_vec(), 1000, &Arc::default());
    assert_eq!(read(&body).unwrap().summary().dropped, [("unknown_field", 2)]);
    for field in [4, 5] {
        let mut newer = body.clone();
        push_bytes(field, b"symbol", &mut newer);
        assert!(read(&newer).unwrap_err().0.contains("2.0"));
    }
}

/// One thing that an entry of a request may hold, with the number of records that it is.
#[derive(Clone, Copy, Debug)]
enum Thing {
    Sample(f64),
    Exemplar,
    Native(f64),
    /// Its buckets do not go with its spans.
    Broken,
    /// In a field that does not exist.
    Unknown,
    /// A number in a field that does not exist: nothing that could be a record.
    Number,
}

fn thing() -> impl Strategy<Value = Thing> {
    let value = || prop::sample::select(vec![1.0, 2.5, f64::NAN, f64::INFINITY, f64::from_bits(STALE)]);
    prop_oneof![
        4 => value().prop_map(Thing::Sample),
        3 => Just(Thing::Exemplar),
        1 => value().prop_map(Thing::Native),
        1 => Just(Thing::Broken),
        1 => Just(Thing::Unknown),
        1 => Just(Thing::Number),
    ]
}

fn put(thing: Thing, out: &mut Vec<u8>) {
    match thing {
        Thing::Sample(value) => push_message(2, out, |out| push_fixed64(1, value.to_bits(), out)),
        Thing::Exemplar => exemplar("id", 1.0, out),
        Thing::Native(sum) => native(sum, out),
        Thing::Broken => push_message(4, out, |out| push_bytes(12, &[2], out)),
        Thing::Unknown => push_bytes(9, b"x", out),
        Thing::Number => push_number(10, 1, out),
    }
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
                crate::wire::protobuf::push_varint(zigzag(delta), &mut deltas);
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

    /// Whatever a request holds is an event, in an event, or counted as dropped.
    #[test]
    fn nothing_of_a_request_goes_without_a_count(
        entries in prop::collection::vec((0usize..4, prop::collection::vec(thing(), 0..4)), 0..8),
        metadata in 0usize..3,
    ) {
        let mut body = Vec::new();
        let mut records = 0;
        for (name, things) in &entries {
            push_message(1, &mut body, |out| {
                match name {
                    0 => label("job", "x", out),
                    1 => label("__name__", &"long".repeat(400), out),
                    name => label("__name__", &format!("n{name}"), out),
                }
                things.iter().for_each(|thing| put(*thing, out));
            });
            let fits = *name > 1;
            records += things.iter().map(|thing| match thing {
                Thing::Number => 0,
                // Its sum may be dropped; the end of a histogram is one event.
                Thing::Native(sum) if fits && sum.to_bits() != STALE => 5,
                _ => 1,
            }).sum::<u64>();
            let samples = |t: &Thing| matches!(t, Thing::Sample(_) | Thing::Exemplar | Thing::Native(_) | Thing::Broken);
            records += u64::from(!things.iter().any(samples));
        }
        for _ in 0..metadata {
            push_message(3, &mut body, |out| push_bytes(2, b"n2", out));
        }
        let request = Request::read(body, 1000, &Arc::default()).unwrap();
        let summary = request.summary().clone();
        let lines = lines(request);
        let exemplars: usize = lines.iter().filter_map(|l| with_exemplars(l)).map(|l| l.matches("id").count()).sum();
        let dropped: u64 = summary.dropped.iter().map(|d| d.1).sum();
        prop_assert_eq!(lines.len() as u64 + exemplars as u64 + dropped, records, "{:?} {:?}", lines, summary);
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

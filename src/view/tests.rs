#![allow(clippy::unwrap_used)]
use super::*;
use crate::ack::Ack;
use crate::event::{EventKind, Origin, Slab, Sym};
use crate::tap::graph::{Graph, Part};
use crate::telemetry::ComponentKind;

fn hub() -> Arc<Hub> {
    let hub = Hub::new();
    let part = Part {
        id: "app".into(),
        kind: ComponentKind::Source,
        type_name: "demo",
        inputs: Vec::new(),
        outputs: Vec::new(),
        dead_letter: None,
        sends: false,
        cover: None,
    };
    hub.set_graph(Graph { parts: vec![part] });
    hub
}

fn batch(events: u64, bytes: usize) -> Batch {
    let mut batch = Batch::new(Slab::default(), Origin::of_source("app"), 7, Ack::none());
    let text = "x".repeat(bytes);
    for _ in 0..events {
        let row = batch.push_event(EventKind::Log);
        batch.event_mut(row).push(Sym::MESSAGE, Value::from(text.as_str()));
    }
    batch
}

/// Events and the sums of seen, shown, missed.
fn read(lines: &mut Lines) -> (u64, [u64; 3]) {
    let (mut events, mut sums) = (0, [0; 3]);
    while let Some(piece) = lines.blocking_recv() {
        for line in piece.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let value: Json = serde_json::from_slice(line).unwrap();
            events += u64::from(value.get("event").is_some());
            for (sum, key) in sums.iter_mut().zip(["seen", "shown", "missed"]) {
                *sum += value[key].as_u64().unwrap_or(0);
            }
        }
    }
    (events, sums)
}

#[test]
fn a_reader_that_does_not_read_is_told_what_it_has_missed() {
    let hub = hub();
    let point = hub.point("app");
    let mut lines =
        open(&hub, Mode::Full, br#"{"limit":10000,"duration":"2500ms"}"#.as_slice(), CancellationToken::new());
    assert!(lines.is_err(), "there is no sink");
    let question = br#"{"points":["app"],"limit":10000,"duration":"2500ms"}"#;
    lines = open(&hub, Mode::Full, question, CancellationToken::new());
    let mut lines = lines.unwrap();
    let began = Instant::now();
    let mut passed = 0;
    let events = batch(100, 4000);
    // More than has room on the way to it.
    while began.elapsed() < Duration::from_millis(2200) {
        point.look(&events);
        passed += 100;
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let (events, [seen, shown, missed]) = read(&mut lines);
    assert_eq!((seen, shown), (passed, events));
    assert!(missed > 0 && shown + missed <= seen, "{shown} shown and {missed} missed of {seen}");
}

#[test]
fn no_more_is_shown_than_the_limit_and_all_of_little() {
    let hub = hub();
    let point = hub.point("app");
    let question = br#"{"points":["app"],"limit":10,"duration":"1050ms"}"#;
    let mut lines = open(&hub, Mode::Full, question, CancellationToken::new()).unwrap();
    point.look(&batch(1000, 10));
    let (events, [seen, shown, missed]) = read(&mut lines);
    assert_eq!((events, seen, shown, missed), (10, 1000, 10, 0));
    let mut lines = open(&hub, Mode::Full, question, CancellationToken::new()).unwrap();
    point.look(&batch(3, 10));
    assert_eq!(read(&mut lines), (3, [3, 3, 0]));
}

#![allow(clippy::unwrap_used)]
use super::graph::Part;
use super::*;
use crate::event::{EventKind, Sym, Value};
use crate::telemetry::ComponentKind;

fn part(id: &str, kind: ComponentKind, inputs: &[&str]) -> Part {
    Part {
        id: id.into(),
        kind,
        type_name: "test",
        inputs: inputs.iter().map(|from| (Arc::from(*from), Arc::from(""))).collect(),
        outputs: Vec::new(),
        dead_letter: None,
        sends: false,
        cover: None,
    }
}

fn graph(ids: &[&str]) -> Graph {
    let kind = |id: &&str| match id.chars().next() {
        Some('t') => ComponentKind::Transform,
        Some('o') => ComponentKind::Sink,
        _ => ComponentKind::Source,
    };
    Graph { parts: ids.iter().map(|id| part(id, kind(id), &[])).collect() }
}

fn batch(events: std::ops::Range<i64>) -> Batch {
    let mut batch = Batch::new(Slab::default(), Origin::of_source("in"), 7, Ack::none());
    for n in events {
        let row = batch.push_event(EventKind::Log);
        batch.event_mut(row).push(Sym::MESSAGE, Value::I64(n));
    }
    batch
}

fn open(hub: &Arc<Hub>, points: &[&str], pairs: bool, target: u64) -> Result<Tap, Refused> {
    let texts: Vec<String> = points.iter().map(|p| (*p).to_owned()).collect();
    hub.open(Asked { patterns: Patterns::new(&texts).unwrap(), pairs, target })
}

fn number_of(event: &Batch) -> i64 {
    event.iter().next().unwrap().field(Sym::MESSAGE).unwrap().as_i64().unwrap()
}

fn taken(tap: &Tap) -> Vec<(String, i64)> {
    let mut all = Vec::new();
    while let Some(candidate) = tap.next(Instant::now()) {
        let What::Event(event) = &candidate.what else { panic!("an event") };
        all.push((candidate.point.to_string(), number_of(event)));
    }
    all
}

#[test]
fn what_passes_is_copied_where_somebody_looks_and_nowhere_else() {
    let hub = Hub::new();
    let (a, b) = (hub.point("a"), hub.point("b"));
    hub.set_graph(graph(&["a", "b"]));
    a.look(&batch(0..3));
    let tap = open(&hub, &["a"], false, 100).unwrap();
    assert!(a.is_watched() && !b.is_watched());
    let mut passing = batch(3..6);
    passing.drop_row(1);
    a.look(&passing);
    b.look(&batch(9..10));
    assert_eq!(taken(&tap), [("a".to_owned(), 3), ("a".to_owned(), 5)]);
    assert_eq!(tap.passed(), [Passed { point: "a".into(), seen: 2, lost: 0 }]);
    drop(tap);
    assert!(!a.is_watched());
}

#[test]
fn a_reader_that_takes_nothing_costs_no_more_than_its_bounds() {
    let hub = Hub::new();
    let point = hub.point("a");
    hub.set_graph(graph(&["a"]));
    let tap = open(&hub, &["a"], false, 1_000_000).unwrap();
    let events = batch(0..1000);
    for _ in 0..200 {
        point.look(&events);
    }
    let waiting = tap.candidates.len();
    assert!(waiting <= MAX_WAITING, "{waiting}");
    let passed = tap.passed();
    assert_eq!(passed[0].seen, 200_000);
    assert_eq!(passed[0].lost + waiting as u64, 200_000, "told how many");
    let bytes = hub.state.locked().taps[0].shared.bytes.clone();
    assert!(bytes.load(Ordering::Relaxed) <= MAX_BYTES);
    drop(taken(&tap));
    assert_eq!(bytes.load(Ordering::Relaxed), 0, "given back");
}

#[test]
fn a_tap_goes_on_where_another_graph_takes_over() {
    let hub = Hub::new();
    let point = hub.point("a");
    hub.set_graph(graph(&["a", "out"]));
    let tap = open(&hub, &["a", "o*:in"], false, 100).unwrap();
    let version = hub.ways().version;
    let more = hub.point("other:in");
    hub.set_graph(graph(&["a", "other"]));
    assert!(hub.ways().version > version);
    assert_eq!(hub.ways().graphs.len(), 2, "the one before is remembered");
    point.look(&batch(0..1));
    more.look(&batch(1..2));
    assert_eq!(taken(&tap), [("a".to_owned(), 0), ("other:in".to_owned(), 1)]);
    for _ in 0..20 {
        hub.set_graph(graph(&["a", "other"]));
    }
    let ways = hub.ways();
    assert!(ways.others && ways.graphs.len() <= MAX_GRAPHS);
}

#[test]
fn what_is_no_point_is_refused_with_those_that_are() {
    let hub = Hub::new();
    hub.set_graph(graph(&["a", "out"]));
    let refused = open(&hub, &["a", "b"], false, 100).err().unwrap();
    assert_eq!(refused, Refused::NoPoints(vec!["b".into()], vec!["a".into(), "out:in".into()]));
    let all: Vec<Tap> = (0..MAX_TAPS).map(|_| open(&hub, &["a"], false, 100).unwrap()).collect();
    assert_eq!(open(&hub, &["a"], false, 100).err(), Some(Refused::TooMany));
    drop(all);
    assert!(open(&hub, &["a"], false, 100).is_ok());
}

#[test]
fn pairs_are_what_came_and_what_left() {
    let hub = Hub::new();
    let point = hub.point("t:in");
    hub.set_graph(graph(&["a", "t"]));
    let tap = open(&hub, &["t"], true, 100).unwrap();
    let mut passing = batch(0..4);
    let pairs = point.enter(&passing).unwrap();
    passing.event_mut(0).set_field(Sym::MESSAGE, Value::I64(100));
    let mut other = passing.sibling();
    other.copy_event(&passing, 1);
    passing.drop_row(1);
    passing.drop_row(2);
    pairs.end(&passing, &[(&Arc::from("side"), &other)], &["filtered"]);
    let mut all = Vec::new();
    while let Some(candidate) = tap.next(Instant::now()) {
        let What::Pair { before, after, output, dropped } = &candidate.what else { panic!("a pair") };
        all.push((number_of(before), after.as_ref().map(number_of), output.to_string(), dropped.join(",")));
    }
    let of = |before, after, output: &str, dropped: &str| (before, after, output.to_owned(), dropped.to_owned());
    let expected =
        [of(0, Some(100), "", ""), of(1, Some(1), "side", ""), of(2, None, "", "filtered"), of(3, Some(3), "", "")];
    assert_eq!(all, expected);
}

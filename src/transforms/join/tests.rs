#![allow(clippy::unwrap_used)]
use super::super::harness::{Ran, batch_at, build, context, lines, plan, run, tick};
use super::*;
use crate::ack::{Settled, Verdict};
use crate::component::Delta;

fn messages(texts: &[(&str, &str)]) -> Vec<String> {
    let line = |(host, text): &(&str, &str)| serde_json::json!({"host": host, "message": text}).to_string();
    texts.iter().map(line).collect()
}

fn ran(transform: &mut dyn Transform, texts: &[(&str, &str)]) -> Ran {
    let input = messages(texts);
    run(transform, &input.iter().map(String::as_str).collect::<Vec<_>>())
}

const BY_HOST: &str = "inputs: [x]\nmultiline: indent\nby: [host]\n";

#[test]
fn lines_of_each_stream_are_joined_within_and_across_batches() {
    let mut join = build::<JoinConfig>(BY_HOST).unwrap();
    let first = ran(&mut *join, &[("a", "1"), ("b", "2"), ("a", " 1b"), ("a", "3"), ("b", " 2b"), ("a", " 3b")]);
    assert_eq!(first.out, messages(&[("a", "1\n 1b")]));
    assert_eq!((first.dropped("joined"), first.delta.held), (3, 2));
    let second = ran(&mut *join, &[("b", " 2c"), ("a", "4"), ("a", "5")]);
    assert_eq!(second.output(0), messages(&[("a", "3\n 3b")]));
    assert_eq!(second.out, messages(&[("a", "4")]));
    assert_eq!((second.dropped("joined"), second.delta.held), (1, 0));
    // In the order in which they were opened.
    assert_eq!(tick(&mut *join, 0, true).output(0), messages(&[("b", "2\n 2b\n 2c"), ("a", "5")]));
}

#[test]
fn what_is_no_line_passes_and_ends_what_is_open() {
    let mut join = build::<JoinConfig>("inputs: [x]\nmultiline: indent\n").unwrap();
    let ran = run(&mut *join, &[r#"{"message":"a"}"#, r#"{"n":1}"#, r#"{"message":7}"#, r#"{"message":" b"}"#]);
    assert_eq!(ran.out, [r#"{"message":"a"}"#, r#"{"n":1}"#, r#"{"message":7}"#]);
    assert_eq!(tick(&mut *join, 0, true).output(0), [r#"{"message":" b"}"#]);
}

#[test]
fn an_open_event_is_closed_after_its_time_counted_while_the_worker_looks() {
    let mut join = build::<JoinConfig>(&format!("{BY_HOST}timeout: 1s\n")).unwrap();
    let mut other = join.fork();
    ran(&mut *join, &[("a", "1")]);
    let mut now = 0;
    tick(&mut *join, now, false);
    // A pause of an hour is no more than two steps.
    now += 3_600_000_000_000;
    assert!(tick(&mut *join, now, false).emitted.is_empty());
    // Nobody looks at what another worker has.
    for _ in 0..8 {
        now += 250_000_000;
        assert!(tick(&mut *other, now, false).emitted.is_empty());
    }
    ran(&mut *join, &[("a", " 1b")]);
    now = 3_600_000_000_000;
    for n in 1..=4 {
        now += 250_000_000;
        let ticked = tick(&mut *join, now, false);
        assert_eq!(ticked.output(0), if n < 4 { vec![] } else { messages(&[("a", "1\n 1b")]) }, "{n}");
    }
    assert!(tick(&mut *join, now, true).emitted.is_empty());
}

#[test]
fn what_is_over_a_bound_is_closed_early_and_counted_and_nothing_is_lost() {
    let mut join = build::<JoinConfig>(&format!("{BY_HOST}max_groups: 2\n")).unwrap();
    let first = ran(&mut *join, &[("a", "1"), ("b", "2"), ("a", " 1b"), ("c", "3"), ("a", " late")]);
    assert_eq!(first.out, messages(&[("a", "1\n 1b"), ("b", "2")]));
    assert_eq!(first.errors("join_limit"), 2);
    let second = ran(&mut *join, &[("d", "4")]);
    assert_eq!((second.output(0), second.errors("join_limit")), (messages(&[("c", "3")]), 1));

    let mut join = build::<JoinConfig>(&format!("{BY_HOST}max_held: 4KiB\n")).unwrap();
    let long = "x".repeat(3000);
    let first = ran(&mut *join, &[("a", &long), ("b", &long)]);
    let rest = tick(&mut *join, 0, true);
    let all: Vec<String> = [first.out.clone(), first.output(0), rest.output(0)].concat();
    assert_eq!(all, messages(&[("a", &long), ("b", &long)]));
    assert!(first.errors("join_limit") > 0);

    let mut join = build::<JoinConfig>(&format!("{BY_HOST}max_lines: 2\n")).unwrap();
    let first = ran(&mut *join, &[("a", "1"), ("a", " 2"), ("a", " 3"), ("a", "4")]);
    assert_eq!(first.out, messages(&[("a", "1\n 2"), ("a", " 3")]));
    assert_eq!(first.errors("multiline_limit"), 1);
}

/// Notes verdicts.
#[derive(Default)]
struct Log(Mutex<Vec<(u64, Verdict)>>);

impl Settled for Log {
    fn settled(&self, token: u64, verdict: Verdict) {
        self.0.lock().unwrap().push((token, verdict));
    }
}

#[test]
fn a_batch_is_acknowledged_when_all_that_its_lines_were_joined_into_is() {
    let log = Arc::new(Log::default());
    let mut join = build::<JoinConfig>(BY_HOST).unwrap();
    let apply = |join: &mut dyn Transform, token: u64, texts: &[(&str, &str)]| {
        let input = messages(texts);
        let mut batch = batch_at(&input.iter().map(String::as_str).collect::<Vec<_>>(), 0);
        batch.ack = Ack::new(log.clone(), token);
        let (mut delta, mut json) = (Delta::default(), Vec::new());
        let mut emitter = Emitter::new("t", true, &mut delta, &mut json);
        join.apply(&mut batch, &mut emitter);
        let emitted = std::mem::take(&mut emitter.outputs);
        batch.ack.take().settle(Verdict::Delivered);
        emitted
    };
    let settle = |batches: Vec<(usize, Batch)>, verdict| {
        batches.into_iter().for_each(|(_, mut batch)| batch.ack.take().settle(verdict));
    };
    assert!(apply(&mut *join, 1, &[("a", "1"), ("a", " 1b")]).is_empty());
    assert!(apply(&mut *join, 2, &[("a", " 1c"), ("a", " 1d")]).is_empty());
    assert!(apply(&mut *join, 3, &[("b", "2")]).is_empty());
    assert!(log.0.lock().unwrap().is_empty(), "all are held");
    let out = apply(&mut *join, 4, &[("a", "3")]);
    assert_eq!(lines(&out[0].1), messages(&[("a", "1\n 1b\n 1c\n 1d")]));
    assert!(log.0.lock().unwrap().is_empty(), "it is not delivered yet");
    settle(out, Verdict::Delivered);
    log.0.lock().unwrap().sort_unstable();
    assert_eq!(*log.0.lock().unwrap(), [(1, Verdict::Delivered), (2, Verdict::Delivered)]);
    // What is dropped with the transform was not delivered.
    drop(join);
    let rest = log.0.lock().unwrap().split_off(2);
    assert!(rest.iter().all(|(_, verdict)| *verdict == Verdict::Failed) && rest.len() == 2, "{rest:?}");
}

#[test]
fn mistakes_are_found_when_the_file_is_read() {
    let said = |yaml: &str| plan::<JoinConfig>(yaml).err().unwrap();
    assert!(said("inputs: [x]").contains("`multiline`"));
    assert!(said("inputs: [x]\nmultiline: java\nfrom: '@file'").contains("metadata"));
    assert!(said("inputs: [x]\nmultiline: java\nmax_groups: 0").contains("above 0"));
    assert!(said("inputs: [x]\nmultiline: jawa").contains("did you mean `java`"));
    assert!(
        build::<JoinConfig>("inputs: [x]\nmultiline: {preset: go, timeout: 10ms}").unwrap().tick_interval().is_some()
    );
    assert!(context().once);
}

#![allow(clippy::unwrap_used)]

use super::super::harness::{NOW, Ran, batch_at, build, lines, plan, run, run_at, tick};
use super::*;
use crate::component::Delta;
use crate::event::EventKind;
use crate::time::NS_PER_SEC;
use proptest::prelude::*;

fn sample(yaml: &str) -> Box<dyn Transform> {
    let block = yaml.strip_prefix('{').and_then(|y| y.strip_suffix('}')).unwrap_or(yaml);
    build::<SampleConfig>(&format!("{{inputs: [a], {block}}}")).unwrap()
}

fn numbered(n: usize, extra: &str) -> Vec<String> {
    (0..n).map(|i| format!("{{\"i\":{i}{extra}}}")).collect()
}

fn run_all(transform: &mut dyn Transform, lines: &[String], at: i64) -> Ran {
    run_at(transform, &lines.iter().map(String::as_str).collect::<Vec<_>>(), at)
}

#[test]
fn a_rate_keeps_its_share_and_says_so() {
    let ran = run_all(&mut *sample("rate: 0.25"), &numbered(20_000, ""), NOW);
    let kept = ran.out.len();
    assert!((4_700..5_300).contains(&kept), "{kept} of 20,000: 5,000 ± 5 standard deviations");
    assert!(ran.out.iter().all(|line| line.ends_with(",\"sample_rate\":0.25}")), "{}", ran.out[0]);
    assert_eq!(ran.dropped("sampled"), 20_000 - kept as u64);
    let ran = run(&mut *sample("rate: 1"), &[r#"{"a":1.10}"#]);
    assert_eq!(ran.out, [r#"{"a":1.10}"#], "untouched");
    assert!(run(&mut *sample("rate: 0"), &["{}"]).out.is_empty());
}

#[test]
fn shares_multiply() {
    let mut transform = sample("{by: l, rates: {x: 0.5}, key: k}");
    let kept: Vec<String> = (0..50)
        .flat_map(|i| {
            let line = format!(r#"{{"l":"x","k":{i},"sample_rate":0.50}}"#);
            run(&mut *transform, &[&line, r#"{"l":"y","sample_rate":0.5}"#]).out
        })
        .collect();
    assert!(kept.iter().any(|l| l.contains(r#""sample_rate":0.25"#)), "{kept:?}");
    assert!(kept.contains(&r#"{"l":"y","sample_rate":0.5}"#.to_owned()), "kept whole, it keeps its own");
    let odd = run(&mut *sample("{rules: [{when: 'true', rate: 1e-9}], key: k}"), &[r#"{"k":"v10","sample_rate":"x"}"#]);
    assert!(odd.out.is_empty());
}

#[test]
fn rates_go_by_value() {
    let yaml = "{by: level, rates: {DEBUG: 0, \"200\": 0, \"true\": 0, 'a\"b': 0, default: 1.0}}";
    let lines = [
        r#"{"level":"DEBUG"}"#,
        r#"{"level":"DEB"}"#,
        r#"{"level":"D\u0045BUG"}"#,
        r#"{"level":"debug"}"#,
        r#"{"level":200}"#,
        r#"{"level":200.0}"#,
        r#"{"level":true}"#,
        r#"{"level":"a\"b"}"#,
        r#"{"level":null}"#,
        r#"{"x":1}"#,
    ];
    let kept = [1, 3, 5, 8, 9].map(|i| lines[i].to_owned());
    assert_eq!(run(&mut *sample(yaml), &lines).out, kept);
    let many: Vec<String> = (0..40).map(|i| format!("v{i}: 0")).collect();
    let mut many = sample(&format!("{{by: l, rates: {{{}}}}}", many.join(", ")));
    assert_eq!(run(&mut *many, &[r#"{"l":"v39"}"#, r#"{"l":"v40"}"#]).out, [r#"{"l":"v40"}"#]);
    let none = run(&mut *sample("{by: l, rates: {default: 0}}"), &["{}", r#"{"l":1}"#]);
    assert!(none.out.is_empty());
}

#[test]
fn the_first_rule_that_holds_decides() {
    let yaml = "rules: [{when: 'n > 5', rate: 1}, {when: 'n > 3', rate: 0}, {when: 's == \"x\"', rate: 0}]";
    let ran = run(&mut *sample(yaml), &[r#"{"n":9}"#, r#"{"n":4}"#, r#"{"n":1}"#, r#"{"s":"x"}"#]);
    assert_eq!(ran.out, [r#"{"n":9}"#, r#"{"n":1}"#]);
    assert_eq!(ran.errors("condition_absent"), 3, "two rules about `n` for the last, one about `s` for the third");
}

#[test]
fn always_comes_first() {
    let yaml = "{rate: 0, always: 'level == \"ERROR\"', limit: {events_per_second: 1}, dedupe: {fields: [level]}}";
    let error = r#"{"level":"ERROR"}"#;
    let ran = run(&mut *sample(yaml), &[error, error, error, r#"{"level":"INFO"}"#]);
    assert_eq!(ran.out, [error, error, error]);
}

#[test]
fn one_key_shares_one_fate_on_every_agent() {
    // xxh3-64 with seed 0 of "abc" is 0x78af5f94892f3950: 0.4714 of 2^64.
    assert_eq!(xxhash_rust::xxh3::xxh3_64(b"abc"), 0x78af_5f94_892f_3950);
    let keeps =
        |rate: &str, line: &str| !run(&mut *sample(&format!("{{rate: {rate}, key: k}}")), &[line]).out.is_empty();
    assert!(keeps("0.472", r#"{"k":"abc"}"#) && !keeps("0.471", r#"{"k":"abc"}"#));
    assert!(keeps("0.472", r#"{"k":"\u0061bc"}"#), "unescaped");
    let mut keyed = sample("{rate: 0.5, key: k}");
    let again = keyed.fork();
    let lines: Vec<String> = (0..1000).map(|i| format!("{{\"k\":\"k{}\"}}", i % 250)).collect();
    let first = run_all(&mut *keyed, &lines, NOW).out;
    let mut again = again;
    assert_eq!(first, run_all(&mut *again, &lines, NOW).out);
    assert_eq!(first.len() % 4, 0, "all four of a key or none");
    let chance = run_all(&mut *keyed, &numbered(2000, ",\"k\":null"), NOW).out.len();
    assert!((850..1150).contains(&chance), "without the field by chance: {chance}");
}

#[test]
fn a_limit_lets_so_many_pass_and_weighs_them() {
    let mut limited = sample("limit: {events_per_second: 10, burst: 20}");
    let at = |t: &mut dyn Transform, n, seconds: f64| {
        let now = NOW + (seconds * NS_PER_SEC as f64) as i64;
        run_all(t, &numbered(n, ""), now)
    };
    let ran = at(&mut *limited, 100, 0.0);
    assert_eq!((ran.out.len(), ran.dropped("rate_limited")), (20, 80));
    assert_eq!(ran.out[0], r#"{"i":0}"#);
    assert_eq!(at(&mut *limited, 100, 0.05).out.len(), 0);
    let ran = at(&mut *limited, 100, 0.5);
    assert_eq!(ran.out.len(), 5);
    // 180 were turned away before the first of these: it stands for 181.
    assert_eq!(ran.out[0], format!("{{\"i\":0,\"sample_rate\":{}}}", 1.0 / 181.0));
    assert_eq!(ran.out[1], r#"{"i":1}"#);
    assert_eq!(at(&mut *limited, 100, 100.0).out.len(), 20, "no more than the burst");
    assert_eq!(at(&mut *limited.fork(), 100, 100.0).out.len(), 0, "one bucket for all workers");
    assert_eq!(at(&mut *limited, 100, 50.0).out.len(), 0, "a clock that goes back gives nothing");
}

#[test]
fn limits_count_bytes_and_go_by_value() {
    // Lines of 10 bytes.
    let mut bytes = sample("limit: {bytes_per_second: 35}");
    assert_eq!(run_all(&mut *bytes, &vec![r#"{"a":"bc"}"#.to_owned(); 9], NOW).out.len(), 3);
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(100));
    let mut bytes = sample("limit: {bytes_per_second: 35}");
    let ran = run_at(&mut *bytes, &[&large, &large], NOW);
    assert_eq!(ran.out.len(), 1, "larger than the burst: passes a full bucket");
    assert_eq!(run_at(&mut *bytes, &[&large], NOW + 2 * NS_PER_SEC).out.len(), 0);
    assert_eq!(run_at(&mut *bytes, &[&large], NOW + 5 * NS_PER_SEC).out.len(), 1);
    let mut by = sample("limit: {events_per_second: 1, by: h}");
    let ran = run(&mut *by, &[r#"{"h":"a"}"#, r#"{"h":"a"}"#, r#"{"h":"b"}"#, "{}", "{}"]);
    assert_eq!(ran.out, [r#"{"h":"a"}"#, r#"{"h":"b"}"#, "{}"]);
}

/// One event with the value `value` of the field `i`, and whether it passes.
fn takes(limiter: &mut Limiter, value: usize, now: i64) -> bool {
    let line = format!("{{\"i\":\"v{value}\"}}");
    let batch = batch_at(&[&line], now);
    limiter.take(batch.event(0), now, &mut Vec::new()).is_some()
}

#[test]
fn values_beyond_those_kept_pass_as_the_first_did_and_their_buckets_are_bounded() {
    let mut limiter = Limiter::new(1.0, 1.0, false, Some(FieldPath::parse("i").unwrap()));
    let values = 5 * limit::KEPT_VALUES;
    assert!(
        (0..values).all(|value| takes(&mut limiter, value, NOW)),
        "one event of each value is within the limit of each"
    );
    assert!(limiter.buckets() <= 2 * limit::KEPT_VALUES, "{}", limiter.buckets());
    let recent = values - limit::KEPT_VALUES..values;
    assert!(!recent.clone().any(|value| takes(&mut limiter, value, NOW)), "those that came last have had theirs");
    assert!(takes(&mut limiter, 0, NOW), "the oldest is forgotten");
    assert!(recent.clone().all(|value| takes(&mut limiter, value, NOW + NS_PER_SEC)));
}

#[test]
fn a_value_that_keeps_coming_is_limited_however_many_others_come() {
    let mut limiter = Limiter::new(1.0, 1.0, false, Some(FieldPath::parse("i").unwrap()));
    assert!(takes(&mut limiter, 0, NOW));
    for value in 1..4 * limit::KEPT_VALUES {
        assert!(takes(&mut limiter, value, NOW));
        // Now and then is enough, as long as no more values come between than are kept.
        if value % (limit::KEPT_VALUES - 1) == 0 {
            assert!(!takes(&mut limiter, 0, NOW), "after {value} others");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4, ..ProptestConfig::default() })]

    /// Beside one bucket for each value ever seen: the same for those that come often, and what is new passes.
    #[test]
    fn nobody_is_limited_by_what_others_send(seed in any::<u64>()) {
        let mut limiter = Limiter::new(2.0, 3.0, false, Some(FieldPath::parse("i").unwrap()));
        let mut all: std::collections::HashMap<usize, Limiter> = std::collections::HashMap::new();
        let (mut random, mut now) = (fastrand::Rng::with_seed(seed), NOW);
        for _ in 0..3 * limit::KEPT_VALUES {
            let few = random.bool();
            let value = if few { random.usize(..8) } else { random.usize(..10 * limit::KEPT_VALUES) };
            now += random.i64(0..NS_PER_SEC / 1000);
            let is_new = !all.contains_key(&value);
            let alone = all.entry(value).or_insert_with(|| Limiter::new(2.0, 3.0, false, None));
            let (want, got) = (takes(alone, value, now), takes(&mut limiter, value, now));
            prop_assert!(!is_new || got, "value {}", value);
            // The few come so often that they are never forgotten.
            prop_assert!(!few || got == want, "value {}", value);
        }
    }
}

#[test]
fn null_shares_the_bucket_of_absent_and_not_that_of_the_text() {
    let mut by = sample("limit: {events_per_second: 1, by: h}");
    let ran = run(&mut *by, &["{}", r#"{"h":null}"#, r#"{"h":"null"}"#, r#"{"h":7}"#, r#"{"h":"7"}"#]);
    assert_eq!(ran.out, ["{}", r#"{"h":"null"}"#, r#"{"h":7}"#]);
}

/// Which of the lines pass, one after the other, through a fresh `dedupe` over `a` and `b`.
fn first_of_their_kind(lines: &[&str]) -> Vec<bool> {
    let mut folding = sample("dedupe: {fields: [a, b], window: 1m}");
    lines.iter().map(|line| run(&mut *folding, &[line]).out.len() == 1).collect()
}

#[test]
fn dedupe_tells_types_apart_and_takes_numbers_by_value() {
    let different = [
        r#"{"a":"123"}"#,
        r#"{"a":123}"#,
        r#"{"a":true}"#,
        r#"{"a":"true"}"#,
        r#"{"a":false}"#,
        r#"{"a":null}"#,
        r#"{"a":"null"}"#,
        "{}",
        r#"{"a":""}"#,
        r#"{"a":0}"#,
        r#"{"a":[]}"#,
        r#"{"a":"[]"}"#,
        r#"{"a":{}}"#,
        r#"{"a":"{}"}"#,
        r#"{"a":[1]}"#,
        r#"{"a":["1"]}"#,
        r#"{"b":123}"#,
        r#"{"a":"x","b":"yz"}"#,
        r#"{"a":"xy","b":"z"}"#,
        r#"{"a":"xyz"}"#,
        r#"{"a":"xyz","b":""}"#,
        r#"{"a":null,"b":null}"#,
        r#"{"a":1}"#,
        r#"{"a":-1}"#,
        r#"{"a":10}"#,
        r#"{"a":0.1}"#,
        r#"{"a":1e400}"#,
        r#"{"a":1e401}"#,
        r#"{"a":12345678901234567890123}"#,
        r#"{"a":12345678901234567890124}"#,
    ];
    assert_eq!(first_of_their_kind(&different), vec![true; different.len()]);
    let same = [
        &["1", "1.0", "1e0", "10e-1", "0.1E+1", "100e-2"][..],
        &["0", "-0", "0.0", "0e9"],
        &["1200", "1.2e3", "12e+2", "1200.000"],
        &["-1.50", "-15e-1"],
        &[r#""A""#, r#""A""#],
        &["123e99999999999999999999", "123e99999999999999999999"],
    ];
    for group in same {
        let lines: Vec<String> = group.iter().map(|value| format!("{{\"a\":{value}}}")).collect();
        let passed = first_of_their_kind(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(passed.iter().filter(|p| **p).count(), 1, "{group:?}");
    }
}

#[test]
fn dedupe_sees_what_components_have_made_of_a_value() {
    let mut folder = Folder::new(vec![FieldPath::parse("a").unwrap()], Duration::from_secs(60));
    let (mut delta, mut json) = (Delta::default(), Vec::new());
    let mut out = Emitter::new("t", true, &mut delta, &mut json);
    let mut folds = |value: Option<Value<'_>>, kind: EventKind| {
        let mut batch = batch_at(&["{}"], NOW);
        batch.event_mut(0).set_kind(kind);
        if let Some(value) = value {
            batch.event_mut(0).set_field(Sym::from_config("a"), value);
        }
        folder.folds(batch.event(0), NOW, &mut out)
    };
    let log = EventKind::Log;
    assert!(
        !folds(Some(Value::Number(b"7.0")), log)
            && folds(Some(Value::I64(7)), log)
            && folds(Some(Value::F64(7.0)), log)
    );
    assert!(!folds(Some(Value::F64(0.1)), log) && folds(Some(Value::Number(b"0.10")), log));
    assert!(
        !folds(Some(Value::F64(f64::NAN)), log)
            && !folds(Some(Value::F64(f64::INFINITY)), log)
            && !folds(Some(Value::Null), log)
    );
    assert!(
        !folds(Some(Value::Timestamp(1_000_000)), log) && folds(Some(Value::from("1970-01-01T00:00:00.001Z")), log)
    );
    assert!(!folds(Some(Value::Timestamp(1_000_001)), log), "finer than what is written");
    assert!(
        !folds(Some(Value::I64(7)), EventKind::Metric) && !folds(Some(Value::I64(7)), EventKind::Trace),
        "of another kind"
    );
}

#[test]
fn repeats_are_folded_into_one_event_with_their_count() {
    let mut folding = sample("dedupe: {fields: [m, n], window: 10s}");
    let (a, b) = (r#"{"m":"a","n":1,"i":0}"#, r#"{"m":"b","i":1}"#);
    let ran = run(&mut *folding, &[a, b, r#"{"m":"a","n":1,"i":2}"#, r#"{"m":"a","n":1,"i":3}"#, r#"{"m":"a","n":2}"#]);
    assert_eq!(ran.out, [a, b, r#"{"m":"a","n":2}"#]);
    assert_eq!((ran.dropped("folded"), ran.delta.created), (2, 0));
    let ran = run_at(&mut *folding.fork(), &[r#"{"m":"a","n":1,"i":4}"#], NOW + 9 * NS_PER_SEC);
    assert_eq!(ran.dropped("folded"), 1, "one window for all workers");
    assert!(tick(&mut *folding, NOW + 9 * NS_PER_SEC, false).emitted.is_empty());
    let ran = tick(&mut *folding, NOW + 10 * NS_PER_SEC, false);
    assert_eq!(ran.output(0), [r#"{"m":"a","n":1,"i":2,"count":3}"#]);
    assert_eq!(ran.delta.created, 1);
    let ran = run_at(&mut *folding, &[a, a], NOW + 20 * NS_PER_SEC);
    assert_eq!(ran.out, [a], "a new window");
    assert!(tick(&mut *folding, NOW + 20 * NS_PER_SEC, false).emitted.is_empty());
    assert_eq!(tick(&mut *folding, NOW + 20 * NS_PER_SEC, true).output(0), [r#"{"m":"a","n":1,"i":0,"count":1}"#]);
    assert!(tick(&mut *folding, NOW + 40 * NS_PER_SEC, true).emitted.is_empty());
}

#[test]
fn a_window_that_ended_is_summed_up_by_the_next_batch() {
    let mut folding = sample("dedupe: {fields: m, window: 1s}".replace("fields: m", "fields: [m]").as_str());
    run(&mut *folding, &[r#"{"m":1}"#, r#"{"m":1}"#]);
    let ran = run_at(&mut *folding, &[r#"{"m":1}"#], NOW + NS_PER_SEC);
    assert_eq!((ran.out, ran.emitted), (vec![r#"{"m":1}"#.to_owned()], vec![(0, vec![r#"{"m":1,"count":1}"#.into()])]));
}

#[test]
fn windows_are_bounded() {
    let mut folder = Folder::new(vec![FieldPath::parse("i").unwrap()], Duration::from_secs(60));
    let (mut delta, mut json) = (Delta::default(), Vec::new());
    let mut out = Emitter::new("t", true, &mut delta, &mut json);
    let input: Vec<String> = numbered(dedupe::MAX_KINDS + 10, "").into_iter().flat_map(|l| [l.clone(), l]).collect();
    let batch = batch_at(&input.iter().map(String::as_str).collect::<Vec<_>>(), NOW);
    let folded = batch.iter().filter(|e| folder.folds(*e, NOW, &mut out)).count();
    assert_eq!((folder.kinds(), folded), (dedupe::MAX_KINDS, dedupe::MAX_KINDS + 10));
    let early: Vec<String> = out.outputs.iter().flat_map(|(_, b)| lines(b)).collect();
    assert_eq!(early.len(), 10, "the oldest end early");
    assert_eq!(early[0], r#"{"i":0,"count":1}"#);
    let large = numbered(40, &format!(",\"x\":\"{}\"", "x".repeat(100 << 10)));
    let large: Vec<&str> = large.iter().flat_map(|l| [l.as_str(), l.as_str()]).collect();
    let mut folder = Folder::new(vec![FieldPath::parse("i").unwrap()], Duration::from_secs(60));
    let batch = batch_at(&large, NOW);
    batch.iter().for_each(|e| _ = folder.folds(e, NOW, &mut out));
    assert!(folder.kinds() <= dedupe::MAX_BYTES / (100 << 10) + 1, "{}", folder.kinds());
}

#[test]
fn what_does_not_fit_together_is_said() {
    let yaml = "inputs: [a]\nrate: 0.5\nby: level\nrules: [{when: 'true', rate: 1}]\nlimit: {burst: 0}\n\
                dedupe: {fields: [], window: 0s}\n";
    insta::assert_snapshot!(plan::<SampleConfig>(yaml).unwrap_err());
    let said = |yaml: &str| plan::<SampleConfig>(&format!("inputs: [a]\n{yaml}")).unwrap_err();
    assert!(said("").contains("nothing says what to keep"));
    assert!(said("always: 'true'").contains("nothing says what to keep"));
    assert!(said("key: a").contains("`key` needs a share"));
    assert!(said("rates: {a: 1}").contains("`rates` needs `by`"));
    assert!(said("rate: 10").contains("for 10 percent write 0.1"));
    assert!(said("rate: -0.1").contains("a share from 0 to 1"));
    assert!(said("limit: {}").contains("needs `events_per_second` or"));
    assert!(said("limit: {events_per_second: 1, bytes_per_second: 1}").contains("takes one of"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_event_is_kept_or_counted(
        steps in prop::collection::vec((prop::collection::vec((0u8..4, 0u8..3), 0..20), 0i64..3), 1..20),
        rate in 0.0f64..1.0,
    ) {
        // The harness checks the ledger of every call; here the sum over all of them.
        let mut transform = sample(&format!(
            "{{rate: {rate}, key: k, always: 'm == 3', limit: {{events_per_second: 4, by: k}}, dedupe: {{fields: [m], window: 2s}}}}"
        ));
        let (mut now, mut came, mut weight) = (NOW, 0u64, 0u64);
        let mut gone = 0;
        let mut account = |ran: &Ran| {
            weight += ran.out.len() as u64 + ran.dropped("sampled") + ran.dropped("rate_limited");
            gone += ran.dropped("folded");
            for line in ran.output(0) {
                let event: serde_json::Value = serde_json::from_str(&line).unwrap();
                gone -= event["count"].as_u64().unwrap();
            }
        };
        for (events, seconds) in steps {
            now += seconds * NS_PER_SEC;
            let lines: Vec<String> = events.iter().map(|(m, k)| format!("{{\"m\":{m},\"k\":\"{k}\"}}")).collect();
            came += lines.len() as u64;
            account(&run_all(&mut *transform, &lines, now));
            account(&tick(&mut *transform, now, false));
        }
        let folded_open = tick(&mut *transform, now, true);
        account(&folded_open);
        prop_assert_eq!(gone, 0, "every folded event is in the count of a summary");
        prop_assert!(weight <= came);
    }

    #[test]
    fn a_share_takes_its_part_of_all_numbers(rate in 0.0f64..=1.0, number in any::<u64>()) {
        let share = Share::new(rate).unwrap();
        let exact = u128::from(number) < (rate * 2f64.powi(64)) as u128;
        prop_assert_eq!(share.takes(number), exact);
    }
}

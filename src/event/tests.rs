#![allow(clippy::unwrap_used)]
use super::sym::MAX_KEY_BYTES;
use super::*;
use crate::ack::Ack;
use proptest::prelude::*;

fn batch_of(lines: &[&str]) -> Batch {
    let text = lines.join("\n").into_bytes();
    let mut spans = Vec::new();
    let mut at = 0;
    for line in lines {
        spans.push((at, at + line.len()));
        at += line.len() + 1;
    }
    let mut batch = Batch::new(Slab::from_vec(text), Origin::of_source("test"), 0, Ack::none());
    let mut rows = JsonRows::default();
    for (from, to) in spans {
        rows.push(&mut batch, from, to, from as u64).unwrap();
    }
    batch
}

fn json_of(batch: &Batch) -> Vec<String> {
    batch
        .iter()
        .map(|e| {
            let mut out = Vec::new();
            e.write_json(&mut out);
            String::from_utf8(out).unwrap()
        })
        .collect()
}

#[test]
fn an_unchanged_event_is_written_byte_for_byte() {
    let lines = [r#"{ "a" : 1.10 , "b":12345678901234567890,"c":"\u00e9","a":2}"#, "{}"];
    assert_eq!(json_of(&batch_of(&lines)), lines);
}

#[test]
fn a_change_leaves_the_other_members_as_they_were() {
    let mut batch = batch_of(&[r#"{"a":1.10,"b":"x","c":{"d": 1}, "e":"\n","f":null}"#]);
    batch.event_mut(0).set_field(Sym::from_config("b"), Value::from("q\"q"));
    assert_eq!(json_of(&batch), [r#"{"a":1.10,"b":"q\"q","c":{"d": 1}, "e":"\n","f":null}"#]);
    batch.event_mut(0).remove_field(Sym::from_config("e"));
    batch.event_mut(0).push(Sym::LEVEL, Value::I64(-3));
    assert!(batch.event_mut(0).set(&FieldPath::parse("c.x.y").unwrap(), Value::Bool(true)));
    assert!(batch.event_mut(0).set(&FieldPath::parse("n.m").unwrap(), Value::F64(1.5)));
    assert_eq!(
        json_of(&batch),
        [r#"{"a":1.10,"b":"q\"q","c":{"d": 1,"x":{"y":true}},"f":null,"level":-3,"n":{"m":1.5}}"#]
    );
    assert_eq!(json_of(&batch.compact()), json_of(&batch));
    assert_eq!(json_of(&batch.fork()), json_of(&batch));
}

#[test]
fn a_literal_dotted_key_is_taken_first() {
    let batch = batch_of(&[r#"{"a":{"b":1},"a.b":2}"#, r#"{"a":{"b":1}}"#]);
    let path = FieldPath::parse("a.b").unwrap();
    assert_eq!(batch.event(0).get(&path).unwrap().as_i64(), Some(2));
    assert_eq!(batch.event(1).get(&path).unwrap().as_i64(), Some(1));
}

#[test]
fn escaped_keys_are_the_keys_they_spell() {
    let mut batch = batch_of(&[r#"{"em\u0061il":"x","k":1}"#]);
    assert!(batch.event_mut(0).as_ref().field(Sym::from_config("email")).is_some());
    batch.event_mut(0).set_field(Sym::from_config("k"), Value::Null);
    assert_eq!(json_of(&batch), [r#"{"email":"x","k":null}"#]);
}

#[test]
fn keys_too_long_to_intern_survive_edits_and_copies() {
    let long = "k".repeat(MAX_KEY_BYTES + 10);
    let mut batch = batch_of(&[&format!(r#"{{"{long}":"v","b":1}}"#)]);
    batch.event_mut(0).remove_field(Sym::from_config("b"));
    assert_eq!(json_of(&batch.compact()), [format!(r#"{{"{long}":"v"}}"#)]);
}

#[derive(Clone, Debug)]
enum Edit {
    Set(usize, i64),
    Text(usize, String),
    Remove(usize),
    Rename(usize, usize),
    Push(usize, i64),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    proptest::collection::vec(
        prop_oneof![
            (0usize..6, any::<i64>()).prop_map(|(k, v)| Edit::Set(k, v)),
            (0usize..6, "[a\"\\\\\n]{0,3}").prop_map(|(k, v)| Edit::Text(k, v)),
            (0usize..6).prop_map(Edit::Remove),
            (0usize..6, 0usize..6).prop_map(|(a, b)| Edit::Rename(a, b)),
            (0usize..6, any::<i64>()).prop_map(|(k, v)| Edit::Push(k, v)),
        ],
        0..12,
    )
}

proptest! {
    /// The model is a list of (key, JSON value) per event.
    #[test]
    fn random_edits_match_a_list_model(
        events in proptest::collection::vec(proptest::collection::vec((0usize..6, 0i64..100), 0..5), 1..4),
        edits in edits(), blanks in any::<bool>(),
    ) {
        let names = ["a", "b", "c", "dd", "", "é\""];
        let sep = if blanks { ", " } else { "," };
        let key = |k: usize| serde_json::to_string(names[k]).unwrap();
        let lines: Vec<String> = events.iter().map(|e| {
            let members: Vec<String> = e.iter().map(|(k, v)| format!("{}:{v}", key(*k))).collect();
            format!("{{{}}}", members.join(sep))
        }).collect();
        let mut batch = batch_of(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let mut model: Vec<Vec<(usize, String)>> =
            events.iter().map(|e| e.iter().map(|(k, v)| (*k, v.to_string())).collect()).collect();
        for (n, edit) in edits.iter().enumerate() {
            let row = n % model.len();
            let m = &mut model[row];
            let mut event = batch.event_mut(row);
            match edit {
                Edit::Set(k, v) => {
                    event.set_field(Sym::from_config(names[*k]), Value::I64(*v));
                    if !m.iter().any(|(key, _)| key == k) { m.push((*k, v.to_string())); }
                    m.iter_mut().filter(|(key, _)| key == k).for_each(|f| f.1 = v.to_string());
                }
                Edit::Text(k, v) => {
                    event.set_field(Sym::from_config(names[*k]), Value::from(v.as_str()));
                    let text = serde_json::to_string(v).unwrap();
                    if !m.iter().any(|(key, _)| key == k) { m.push((*k, text.clone())); }
                    m.iter_mut().filter(|(key, _)| key == k).for_each(|f| f.1 = text.clone());
                }
                Edit::Remove(k) => {
                    event.remove_field(Sym::from_config(names[*k]));
                    m.retain(|(key, _)| key != k);
                }
                Edit::Rename(i, k) if *i < m.len() => {
                    event.rename_at(*i, Sym::from_config(names[*k]));
                    m[*i].0 = *k;
                }
                Edit::Rename(..) => {}
                Edit::Push(k, v) => {
                    event.push(Sym::from_config(names[*k]), Value::I64(*v));
                    m.push((*k, v.to_string()));
                }
            }
        }
        let want: Vec<String> = model.iter().map(|e| {
            let members: Vec<String> = e.iter().map(|(k, v)| format!("{}:{v}", key(*k))).collect();
            format!("{{{}}}", members.join(","))
        }).collect();
        let got: Vec<String> = json_of(&batch).iter().map(|l| l.replace(", ", ",")).collect();
        prop_assert_eq!(&got, &want);
        let compact: Vec<String> = json_of(&batch.compact()).iter().map(|l| l.replace(", ", ",")).collect();
        prop_assert_eq!(&compact, &want);
    }
}

proptest! {
    /// Of duplicates the last counts, and keys that are not there have no value, however many fields there are.
    #[test]
    fn several_fields_in_one_pass_are_those_looked_up_one_by_one(keys in prop::collection::vec(0..9usize, 0..20)) {
        const NAMES: [&str; 9] = ["level", "message", "service", "timestamp", "a", "b", "c", "d", "e"];
        let members: Vec<String> = keys.iter().enumerate().map(|(i, k)| format!("\"{}\":{i}", NAMES[*k])).collect();
        let line = format!("{{{}}}", members.join(","));
        let batch = batch_of(&[&line, "{\"level\":1}"]);
        let event = batch.event(0);
        let wanted = [Sym::LEVEL, Sym::from_config("b"), Sym::TIMESTAMP, Sym::from_config("not there")];
        prop_assert_eq!(event.several(wanted), wanted.map(|key| event.field(key)));
        for (n, name) in NAMES.iter().enumerate() {
            let last = keys.iter().rposition(|k| *k == n);
            prop_assert_eq!(event.position(Sym::from_config(name)), last);
            prop_assert_eq!(event.field(Sym::from_config(name)).and_then(|v| v.as_f64()), last.map(|i| i as f64));
        }
        let numbers: Vec<u32> = event.key_indexes().map(|(key, _)| key as u32).collect();
        prop_assert!(event.has_keys(&numbers));
        for i in 0..numbers.len() {
            let mut other = numbers.clone();
            other[i] ^= 1;
            prop_assert!(!event.has_keys(&other));
        }
        prop_assert!(numbers.is_empty() || !event.has_keys(&numbers[1..]));
        prop_assert_eq!(batch.event(1).has_keys(&numbers), numbers == [Sym::LEVEL.index() as u32]);
    }
}

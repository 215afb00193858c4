#![allow(clippy::unwrap_used)]
use super::*;
use crate::event::FieldPath;
use proptest::prelude::*;

fn origin() -> Arc<Origin> {
    Arc::new(Origin {
        source: "app".into(),
        file: Some("/var/log/ä.log".into()),
        host: None,
        peer: Some("127.0.0.1:1".into()),
        user: Some("u".into()),
        tls_subject: None,
        http: vec![("stream".into(), "x".into())],
        shared: None,
        order: u64::MAX - 3,
    })
}

fn batch_of(lines: &[String]) -> Batch {
    let mut batch = Batch::new(Slab::from_vec(lines.concat().into_bytes()), origin(), -5, Ack::none());
    let mut rows = JsonRows::default();
    let mut at = 0;
    for line in lines {
        rows.push(&mut batch, at, at + line.len(), 1000 + at as u64).unwrap();
        at += line.len();
    }
    batch
}

fn pack(batch: &Batch) -> Vec<u8> {
    let mut out = Vec::new();
    let n = Packer::default().pack(batch, 0..batch.rows(), &mut out);
    assert_eq!(n, batch.len());
    out
}

fn unpack(bytes: &[u8]) -> Result<Batch, UnpackError> {
    Unpacker::default().unpack(Slab::from_vec(bytes.to_vec()), Ack::none())
}

/// Everything of an event that a component can see, values of one meaning made equal.
fn seen(batch: &Batch) -> Vec<String> {
    let event = |e: EventRef<'_>| {
        let mut json = Vec::new();
        e.write_json(&mut json);
        let fields: Vec<String> = e
            .fields()
            .map(|(k, v)| {
                let text = match v {
                    Value::Str(s) => {
                        let mut text = Vec::new();
                        s.append_text(&mut text);
                        format!("str {}", String::from_utf8(text).unwrap())
                    }
                    Value::F64(x) => format!("f64 {:x}", x.to_bits()),
                    Value::Number(raw) | Value::Object(raw) | Value::Array(raw) => {
                        format!("{} {}", v.type_name(), std::str::from_utf8(raw).unwrap())
                    }
                    v => format!("{v:?}"),
                };
                format!("{}={text}", String::from_utf8_lossy(k))
            })
            .collect();
        format!("{:?} {:?} {} {} {fields:?}", e.kind(), e.time(), e.offset(), String::from_utf8(json).unwrap())
    };
    batch.iter().map(event).collect()
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn what_a_component_can_see_comes_back() {
    let lines: Vec<String> = vec![
        r#"{ "a" : 1.10 , "b":12345678901234567890,"c":"\u00e9\n","a":2, "d":{"x": [1, "]"]},"k\"ey":null}"#.into(),
        "{}".into(),
        r#"{"dropped":true}"#.into(),
        format!(r#"{{"deep":{},"{}":1}}"#, nested(127), "long".repeat(100)),
    ];
    let mut batch = batch_of(&lines);
    batch.drop_row(2);
    let mut event = batch.event_mut(0);
    event.set_kind(EventKind::Metric);
    event.set_time(-1);
    event.push_text(b"plain", Value::from("a\"b\\c\u{1}"));
    event.push(Sym::VALUE, Value::F64(f64::NAN));
    event.push(Sym::COUNT, Value::I64(i64::MIN));
    event.push(Sym::TIMESTAMP, Value::Timestamp(1_750_000_000_123_456_789));
    event.set(&FieldPath::parse("d.y").unwrap(), Value::F64(-0.0));
    event.rename_at(2, Sym::MESSAGE);
    let mut event = batch.event_mut(1);
    event.set_kind(EventKind::Trace);
    event.set_time(i64::MAX);
    event.set_offset(u64::MAX);
    let deepest = format!(r#"{{"a":{}}}"#, nested(127));
    event.push_text(b"event", Value::Object(deepest.as_bytes()));
    event.push(Sym::VALUE, Value::F64(1.5));
    let bytes = pack(&batch);
    let back = unpack(&bytes).unwrap();
    assert_eq!(seen(&back), seen(&batch));
    assert_eq!(back.received_at, -5);
    assert_eq!(format!("{:?}", back.origin), format!("{:?}", batch.origin));
    assert_eq!(pack(&back), bytes, "packing again gives the same bytes");
    let compact = batch.compact();
    assert_eq!(seen(&unpack(&pack(&compact)).unwrap()), seen(&compact));
}

#[test]
fn a_part_of_a_batch_can_be_packed() {
    let lines: Vec<String> = (0..10).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    let mut batch = batch_of(&lines);
    batch.drop_row(4);
    let mut out = b"before".to_vec();
    assert_eq!(Packer::default().pack(&batch, 3..7, &mut out), 3);
    let back = unpack(&out[6..]).unwrap();
    assert_eq!(seen(&back), [&seen(&batch)[3..4], &seen(&batch)[4..6]].concat());
}

#[test]
fn every_flipped_bit_and_every_truncation_is_a_batch_or_an_error() {
    let mut batch = batch_of(&[r#"{"a":"\n","b":{"c":[1]}}"#.into(), r#"{"m":"text"}"#.into()]);
    batch.event_mut(1).push(Sym::VALUE, Value::I64(7));
    batch.event_mut(1).push_text(b"d", Value::Array(nested(127).as_bytes()));
    batch.event_mut(0).set_time(77);
    let bytes = pack(&batch);
    let mut unpacker = Unpacker::default();
    let mut errors = 0;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            match unpacker.unpack(Slab::from_vec(bad), Ack::none()) {
                Ok(batch) => drop(seen(&batch)),
                Err(_) => errors += 1,
            }
        }
        assert!(unpack(&bytes[..at]).is_err(), "cut at {at}");
    }
    assert!(errors > bytes.len() * 2);
    assert_eq!(seen(&unpacker.unpack(Slab::from_vec(bytes), Ack::none()).unwrap()), seen(&batch));
}

fn json_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|v| format!("[{}]", v.join(", "))),
            prop::collection::vec((any::<String>(), inner), 0..3).prop_map(|v| object(&v)),
        ]
    })
}

fn object(members: &[(String, String)]) -> String {
    let members: Vec<String> =
        members.iter().map(|(k, v)| format!("{} :{v}", serde_json::to_string(k).unwrap())).collect();
    format!("{{{}}}", members.join(","))
}

/// Runs in the short form in CI; `TIDEGATE_CASES=1000000` runs it long.
fn cases(short: u32) -> ProptestConfig {
    let cases = std::env::var("TIDEGATE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(short);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn unpack_of_pack_is_the_same(
        events in prop::collection::vec((prop::collection::vec((any::<String>(), json_value()), 0..5), 0u8..6, any::<i64>()), 0..6),
    ) {
        let lines: Vec<String> = events.iter().map(|(members, ..)| object(members)).collect();
        let mut batch = batch_of(&lines);
        for (row, (members, change, n)) in events.iter().enumerate() {
            let mut event = batch.event_mut(row);
            match change {
                0 => event.set_time(*n),
                1 => drop(event.push_text(b"new\"key", Value::F64(f64::from_bits(*n as u64)))),
                2 => event.set_offset(*n as u64),
                3 if !members.is_empty() => event.remove_at(0),
                4 if !members.is_empty() => event.set_at(members.len() - 1, Value::Timestamp(*n)),
                _ => event.set_kind(EventKind::Trace),
            }
        }
        let back = unpack(&pack(&batch)).unwrap();
        prop_assert_eq!(seen(&back), seen(&batch));
    }

    #[test]
    fn any_bytes_are_a_batch_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(batch) = unpack(&bytes) {
            seen(&batch);
        }
    }

    #[test]
    fn a_damaged_batch_is_a_batch_or_an_error(
        events in prop::collection::vec(prop::collection::vec((any::<String>(), json_value()), 0..5), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let lines: Vec<String> = events.iter().map(|members| object(members)).collect();
        let mut batch = batch_of(&lines);
        batch.event_mut(0).push(Sym::COUNT, Value::I64(3));
        let mut bytes = pack(&batch);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(batch) = unpack(&bytes) {
            seen(&batch);
        }
    }
}

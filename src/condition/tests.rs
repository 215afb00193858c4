#![allow(clippy::unwrap_used)]

use super::ast::{Compare, Expr, ExprKind, Function};
use super::number::Arith;
use super::number::Num;
use super::*;
use crate::ack::Ack;
use crate::event::{Batch, JsonRows, Origin, Slab};
use proptest::prelude::*;
use serde_json::Value as Json;
use std::cmp::Ordering;

fn batch(json: &str) -> Batch {
    let origin = Origin { source: "app".into(), file: Some("/var/log/a.err".into()), ..Origin::default() };
    let slab = Slab::from_vec(json.as_bytes().to_vec());
    let mut batch = Batch::new(slab, Arc::new(origin), 1_750_000_000_000_000_000, Ack::none());
    JsonRows::default().push(&mut batch, 0, json.len(), 7).unwrap();
    batch
}

fn evaluate(text: &str, json: &str) -> Outcome {
    let mut condition = Condition::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let batch = batch(json);
    let first = condition.evaluate(batch.event(0));
    assert_eq!(condition.evaluate(batch.event(0)), first, "{text}: work space carries nothing over");
    assert_eq!(condition.clone().evaluate(batch.event(0)), first, "{text}: a clone says the same");
    first
}

const EVENT: &str = r#"{"level":"ERROR","duration":512,"ratio":0.25,"big":9007199254740993,"huge":18446744073709551615,
"ok":true,"nil":null,"esc":"a\"b\u00e9","user":{"id":"u-1","roles":["admin","dev"],"odd.key":1},"tags":["a",2,null],
"dotted.key":"literal","odd-key":5,"in":1,"status":"503","neg":-3,"e":1e3,"empty":"","traceId":"0123456789abcdef0123456789ABCDEF"}"#;

#[test]
fn what_holds() {
    for text in [
        r#"level == "ERROR" && duration > 500"#,
        r#"@file.endsWith(".err")"#,
        r#"@source == 'app' && @kind == "log" && @offset == 7"#,
        r#"@received_at >= "2025-06-15T15:06:40.000Z""#,
        "duration == 512 && duration == 512.0 && duration != 513 && duration >= 512 && duration <= 5.12e2",
        "ratio < 0.5 && ratio == 0.25 && -ratio == -0.25",
        "big == 9007199254740993 && big != 9007199254740992 && big > 9007199254740992.0 && big != 9007199254740992.0",
        "huge == 18446744073709551615 && huge > 9223372036854775807 && huge < 18446744073709551616.0",
        "neg < 0 && neg == -3 && e == 1000",
        "-9223372036854775808 < neg",
        "ok && !(!ok) && ok == true && ok != false",
        "nil == null && nil != 1 && level != null && null == null",
        r#"esc == "a\"bé" && esc.size() == 4 && size(esc) == 4 && esc.contains("\"") && esc.endsWith("\u00e9")"#,
        r#"user.id.startsWith("u-") && user.roles[0] == "admin" && size(user.roles) == 2 && user.size() == 3"#,
        r#"user["odd.key"] == 1 && user."odd.key" == 1 && user.`odd.key` == 1"#,
        r#"dotted.key == "literal" && `dotted.key` == "literal" && `odd-key` == 5 && `in` == 1"#,
        r#""admin" in user.roles && !("root" in user.roles) && 2 in tags && null in tags && !("b" in tags)"#,
        r#""id" in user && !("name" in user)"#,
        r#"level in ["WARN", "ERROR"] && !(duration in ["512", 513]) && duration in [512.0]"#,
        "has(level) && has(user.id) && has(nil) && !has(nope) && !has(user.nope) && has(@file) && !has(@peer)",
        "duration + 1 == 513 && duration - 12 == 500 && duration * 2 == 1024 && duration / 10 == 51 && duration % 10 == 2",
        "1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && 7 / 2 == 3 && 7 / 2.0 == 3.5 && -7 % 3 == -1 && 0x10 == 16 && 5u == 5",
        r#"level + "!" == "ERROR!" && "a" + level + "b" == "aERRORb""#,
        r#"int(status) >= 500 && double("0.25") == ratio && string(duration) == "512" && int(2.9) == 2 && string(ok) == "true""#,
        r#"level.lowerAscii() == "error" && "error".upperAscii() == level && (level + "x").lowerAscii() == "errorx""#,
        r#"duration > 100 ? level == "ERROR" : nope"#,
        r#"(ok ? 1 : 2) == 1 && (false ? 1 : false ? 2 : 3) == 3"#,
        r#"traceId.matches("^[0-9a-fA-F]{32}$") && level.matches("RR") && !level.matches("^RR") && matches(level, r"^\w+$")"#,
        r#"level.matches('(?i)^error$') && "x\ty" == r"x" + "\t" + '''y'''"#,
        r#"empty == "" && empty.size() == 0 && "abc" < "abd" && "Z" < "a" && false < true"#,
        "false || nope > 1 || ok",
        "nope > 1 || ok // a remark",
        "true || 1 / 0 == 1",
    ] {
        assert_eq!(evaluate(text, EVENT), Outcome::True, "{text}");
    }
}

#[test]
fn what_does_not_hold() {
    for text in [
        r#"level == "error""#,
        "duration > 512",
        "nope > 1 && false",
        "false && nope > 1",
        "ok && nope && !ok",
        r#"level in []"#,
        "big == 9007199254740992",
        "nil == 0",
        r#"traceId.matches("^[0-9a-f]{32}$")"#,
    ] {
        assert_eq!(evaluate(text, EVENT), Outcome::False, "{text}");
    }
}

#[test]
fn what_cannot_be_said() {
    for (text, fault) in [
        ("nope", Fault::Absent),
        ("nope == 1", Fault::Absent),
        ("nope != 1", Fault::Absent),
        ("!nope", Fault::Absent),
        ("nope == null", Fault::Absent),
        ("user.nope.deeper == 1", Fault::Absent),
        ("level.id == 1", Fault::Absent),
        ("@peer == \"x\"", Fault::Absent),
        ("nope && ok", Fault::Absent),
        ("ok && nope", Fault::Absent),
        ("nope || false", Fault::Absent),
        ("nope == 1 ? true : true", Fault::Absent),
        ("level in [nope]", Fault::Absent),
        ("level", Fault::Mismatch),
        ("level && ok", Fault::Mismatch),
        ("level == 1", Fault::Mismatch),
        ("level != 1", Fault::Mismatch),
        ("level > 1", Fault::Mismatch),
        ("duration == \"512\"", Fault::Mismatch),
        ("duration != \"512\"", Fault::Mismatch),
        ("duration.contains(\"5\")", Fault::Mismatch),
        ("duration.matches(\"5\")", Fault::Mismatch),
        ("user == \"x\"", Fault::Mismatch),
        ("tags == 1", Fault::Mismatch),
        ("nil > 1", Fault::Mismatch),
        ("size(duration) == 1", Fault::Mismatch),
        ("\"x\" in level", Fault::Mismatch),
        ("1 in user", Fault::Mismatch),
        ("int(level) == 1", Fault::Mismatch),
        ("duration + level == 1", Fault::Mismatch),
        ("ratio % 2 == 1", Fault::Mismatch),
        ("-level == 1", Fault::Mismatch),
        ("duration / 0 == 1", Fault::Arithmetic),
        ("duration % 0 == 1", Fault::Arithmetic),
        ("9223372036854775807 * duration > 1", Fault::Arithmetic),
        ("int(1e300 * duration) == 1", Fault::Arithmetic),
        ("1 / 0 == 1", Fault::Arithmetic),
    ] {
        assert_eq!(evaluate(text, EVENT), Outcome::Fault(fault), "{text}");
    }
}

#[test]
fn faults_are_counted_by_kind() {
    let batch = batch(EVENT);
    let mut faults = Faults::default();
    for text in ["nope", "level > 1", "nope == 1", "ok", "1 / 0 == duration"] {
        let held = Condition::parse(text).unwrap().holds(batch.event(0), &mut faults);
        assert_eq!(held, text == "ok");
    }
    let mut counts = Vec::new();
    faults.drain(|kind, n| counts.push((kind, n)));
    assert_eq!(counts, [("condition_absent", 2), ("condition_type", 1), ("condition_arithmetic", 1)]);
    faults.drain(|kind, _| panic!("{kind} is gone"));
}

#[test]
fn constants_are_folded() {
    for (text, constant) in [
        ("true", Some(true)),
        ("1 + 2 == 3", Some(true)),
        (r#""a" + "b" == "ab" && !false"#, Some(true)),
        ("level == 1 && false", Some(false)),
        ("true || level == 1", Some(true)),
        (r#""abc".contains("b") ? 1 == 1 : x"#, Some(true)),
        ("level == 1 && true", None),
        ("1 / 0 == 1", None),
    ] {
        assert_eq!(Condition::parse(text).unwrap().constant(), constant, "{text}");
    }
}

#[test]
fn mistakes_are_placed_and_explained() {
    let mut out = String::new();
    for text in [
        "",
        "  ",
        "level = \"ERROR\"",
        "level == \"ERROR\" and ok",
        "level == \"A\" or level == \"B\"",
        "not ok",
        "level == \"ERROR\" & ok",
        "level === \"x\"",
        "level =~ \"x\"",
        "a <> b",
        "level == ERROR\"",
        "level == “x”",
        "(level == \"x\"",
        "level == \"x\")",
        "level in [\"a\", \"b\"",
        "level.contain(\"x\")",
        "level.startswith(\"x\")",
        "frobnicate(level)",
        "level.size(1) > 1",
        "size() > 1",
        "level.contains(5)",
        "level.contains(",
        "level.matches(\"a(b\")",
        "level.matches(\"\\\\d[z-a]\")",
        "level.matches(r'[z-a]')",
        "level.matches(other)",
        "level.matches(\"\\d\")",
        "\"x\"",
        "1 + 2",
        "level + \"x\"",
        "\"a\" && ok",
        "level == \"a\" || \"b\"",
        "1 < \"a\"",
        "a < b < c",
        "level == [1]",
        "level < null",
        "\"x\" in \"xyz\"",
        "1 + \"x\" == y",
        "-\"x\" == y",
        "@nope == 1",
        "@fil == 1",
        "@",
        "a.",
        "a[b] == 1",
        "a[-1] == 1",
        "a[0",
        "has(1)",
        "has(a == b)",
        "ok ? 1",
        "a == 5ms",
        "a == 99999999999999999999",
        "a == 'x",
        "a == 'x\\q'",
        "a-b == é",
        "a b",
        "`a",
        "a == b\"x\"",
        "{a: 1}",
        "a == 1;",
        "lowerAscii(a) == \"x\"",
        "a.int() == 1",
        "(a == 1).b",
        "in == 1",
        "level contains \"x\"",
    ] {
        let error = Condition::parse(text).expect_err(text);
        assert!(text.get(error.at.clone()).is_some(), "{text}: {:?}", error.at);
        let (before, marked) = (text[..error.at.start].chars().count(), text[error.at.clone()].chars().count());
        out.push_str(&format!("{text}\n{}{} {error}\n", " ".repeat(before), "^".repeat(marked.max(1))));
        if let Some(help) = error.help {
            out.push_str(&format!("  = help: {help}\n"));
        }
        out.push('\n');
    }
    insta::assert_snapshot!(out);
}

#[test]
fn depth_and_length_are_capped() {
    let depth = |n: usize| format!("{}ok{}", "(".repeat(n), ")".repeat(n));
    assert!(Condition::parse(&depth(60)).is_ok());
    for deep in [
        depth(70),
        depth(8000),
        "!".repeat(8000) + "ok",
        "-".repeat(8000) + "1 == 1",
        "1+".repeat(8000) + "1 == 1",
        "a".to_owned() + &".lowerAscii()".repeat(1000),
        "ok ? ".repeat(3000) + "ok",
        "[".repeat(8000),
        "a == ".repeat(3000) + "1",
    ] {
        assert!(Condition::parse(&deep).is_err(), "{}", &deep[..20]);
    }
    let wide = vec!["a == 1"; 1000].join(" || ");
    assert!(Condition::parse(&wide).is_ok(), "any number side by side");
    assert!(Condition::parse(&("a == \"".to_owned() + &"x".repeat(20_000) + "\"")).is_err());
}

// ---------------------------------------------------------------------------------------------------------------
// A plain evaluator over trees, as the rules read.

#[derive(Clone, Debug)]
enum Plain {
    Null,
    Bool(bool),
    Num(Num),
    Str(String),
    List(Vec<Plain>),
    Map(Vec<String>),
}

fn plain(value: &Json) -> Plain {
    match value {
        Json::Null => Plain::Null,
        Json::Bool(b) => Plain::Bool(*b),
        Json::Number(n) => Plain::Num(match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Num::Int(n),
            (_, Some(n)) => Num::Big(n),
            _ => Num::Float(n.as_f64().unwrap()),
        }),
        Json::String(s) => Plain::Str(s.clone()),
        Json::Array(items) => Plain::List(items.iter().map(plain).collect()),
        Json::Object(map) => Plain::Map(map.keys().cloned().collect()),
    }
}

fn find(path: &FieldPath, event: &Json) -> Option<Json> {
    if let Some(value) = event.get(path.text()) {
        return Some(value.clone());
    }
    let mut here = event.get(path.first()?.text())?;
    for segment in path.rest() {
        here = match segment {
            crate::event::Segment::Key(key) => here.as_object()?.get(key)?,
            crate::event::Segment::Index(i) => here.as_array()?.get(*i)?,
        };
    }
    Some(here.clone())
}

fn same(a: &Plain, b: &Plain) -> Result<bool, Fault> {
    match (a, b) {
        (Plain::Null, Plain::Null) => Ok(true),
        (Plain::Null, _) | (_, Plain::Null) => Ok(false),
        (Plain::Bool(a), Plain::Bool(b)) => Ok(a == b),
        (Plain::Num(a), Plain::Num(b)) => Ok(a.compare(*b) == Some(Ordering::Equal)),
        (Plain::Str(a), Plain::Str(b)) => Ok(a == b),
        _ => Err(Fault::Mismatch),
    }
}

fn is_true(expr: &Expr, event: &Json) -> Result<bool, Fault> {
    match naive(expr, event)? {
        Plain::Bool(b) => Ok(b),
        _ => Err(Fault::Mismatch),
    }
}

fn text_of(expr: &Expr, event: &Json) -> Result<String, Fault> {
    match naive(expr, event)? {
        Plain::Str(s) => Ok(s),
        _ => Err(Fault::Mismatch),
    }
}

fn naive(expr: &Expr, event: &Json) -> Result<Plain, Fault> {
    Ok(match &expr.kind {
        ExprKind::Null => Plain::Null,
        ExprKind::Bool(b) => Plain::Bool(*b),
        ExprKind::Num(n) => Plain::Num(*n),
        ExprKind::Str(s, _) => Plain::Str(s.clone()),
        ExprKind::List(items) => Plain::List(items.iter().map(|i| naive(i, event)).collect::<Result<_, _>>()?),
        ExprKind::Path(path) => plain(&find(path, event).ok_or(Fault::Absent)?),
        ExprKind::Has(path) => Plain::Bool(find(path, event).is_some()),
        ExprKind::Not(inner) => Plain::Bool(!is_true(inner, event)?),
        ExprKind::Neg(inner) => match naive(inner, event)? {
            Plain::Num(n) => Plain::Num(n.negate().ok_or(Fault::Arithmetic)?),
            _ => return Err(Fault::Mismatch),
        },
        ExprKind::And(items) | ExprKind::Or(items) => {
            let and = matches!(expr.kind, ExprKind::And(_));
            let all: Vec<Result<bool, Fault>> = items.iter().map(|i| is_true(i, event)).collect();
            if all.contains(&Ok(!and)) {
                return Ok(Plain::Bool(!and));
            }
            if let Some(Err(fault)) = all.iter().find(|r| r.is_err()) {
                return Err(*fault);
            }
            Plain::Bool(and)
        }
        ExprKind::Compare(compare, sides) => {
            let (a, b) = (naive(&sides[0], event)?, naive(&sides[1], event)?);
            Plain::Bool(match compare {
                Compare::Eq => same(&a, &b)?,
                Compare::Ne => !same(&a, &b)?,
                _ => {
                    let order = match (a, b) {
                        (Plain::Num(a), Plain::Num(b)) => a.compare(b),
                        (Plain::Str(a), Plain::Str(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
                        (Plain::Bool(a), Plain::Bool(b)) => Some(a.cmp(&b)),
                        _ => return Err(Fault::Mismatch),
                    };
                    order.is_some_and(|o| match compare {
                        Compare::Lt => o.is_lt(),
                        Compare::Le => o.is_le(),
                        Compare::Gt => o.is_gt(),
                        _ => o.is_ge(),
                    })
                }
            })
        }
        ExprKind::In(sides) => {
            let value = naive(&sides[0], event)?;
            if let ExprKind::List(items) = &sides[1].kind {
                let all: Vec<_> = items.iter().map(|i| naive(i, event)).collect();
                if all.iter().any(|i| i.as_ref().is_ok_and(|i| same(&value, i) == Ok(true))) {
                    return Ok(Plain::Bool(true));
                }
                if let Some(Err(fault)) = all.into_iter().find(|i| i.is_err()) {
                    return Err(fault);
                }
                return Ok(Plain::Bool(false));
            }
            match (naive(&sides[1], event)?, value) {
                (Plain::List(items), value) => Plain::Bool(items.iter().any(|i| same(&value, i) == Ok(true))),
                (Plain::Map(keys), Plain::Str(key)) => Plain::Bool(keys.contains(&key)),
                _ => return Err(Fault::Mismatch),
            }
        }
        ExprKind::Arith(op, sides) => match (naive(&sides[0], event)?, naive(&sides[1], event)?) {
            (Plain::Num(a), Plain::Num(b)) => {
                if *op == Arith::Rem && (matches!(a, Num::Float(_)) || matches!(b, Num::Float(_))) {
                    return Err(Fault::Mismatch);
                }
                Plain::Num(a.arithmetic(*op, b).ok_or(Fault::Arithmetic)?)
            }
            (Plain::Str(a), Plain::Str(b)) if *op == Arith::Add => Plain::Str(a + &b),
            _ => return Err(Fault::Mismatch),
        },
        ExprKind::If(parts) => naive(if is_true(&parts[0], event)? { &parts[1] } else { &parts[2] }, event)?,
        ExprKind::Call(function, arguments) => match function {
            Function::Size => match naive(&arguments[0], event)? {
                Plain::Str(s) => Plain::Num(Num::Int(s.chars().count() as i64)),
                Plain::List(items) => Plain::Num(Num::Int(items.len() as i64)),
                Plain::Map(keys) => Plain::Num(Num::Int(keys.len() as i64)),
                _ => return Err(Fault::Mismatch),
            },
            Function::LowerAscii => Plain::Str(text_of(&arguments[0], event)?.to_ascii_lowercase()),
            Function::UpperAscii => Plain::Str(text_of(&arguments[0], event)?.to_ascii_uppercase()),
            Function::String => Plain::Str(text_of(&arguments[0], event)?),
            Function::Int | Function::Double => match naive(&arguments[0], event)? {
                Plain::Num(n) if *function == Function::Int => Plain::Num(n.truncate().ok_or(Fault::Arithmetic)?),
                Plain::Num(n) => Plain::Num(Num::Float(n.as_f64())),
                _ => return Err(Fault::Mismatch),
            },
            _ => {
                let (a, b) = (text_of(&arguments[0], event)?, text_of(&arguments[1], event)?);
                Plain::Bool(match function {
                    Function::Contains => a.contains(&b),
                    Function::StartsWith => a.starts_with(&b),
                    Function::EndsWith => a.ends_with(&b),
                    _ => regex_automata::meta::Regex::new(&b).unwrap().is_match(&a),
                })
            }
        },
    })
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
        "-?[0-9]{1,2}",
        "[0-9]\\.[05]",
        Just("9007199254740993".to_owned()),
        Just("9223372036854775807".to_owned()),
        "\"[abé]{0,2}\"",
        "[a-h]",
        "[o]\\.[a-d]",
        "[o]\\.[l]\\[[0-2]\\]",
        "has\\([a-ho]\\)",
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            (inner.clone(), "&&|\\|\\||==|!=|<|<=|>|>=|\\+|-|\\*|/|%|in", inner.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (inner.clone(), inner.clone(), "==|!=|<|>", inner.clone(), "&&|\\|\\|", inner.clone())
                .prop_map(|(a, b, op, c, and, d)| format!("{a} {and} {b} {op} {c} {and} {d}"))
                .prop_map(|text| format!("({text})")),
            inner.clone().prop_map(|a| format!("!{a}")),
            inner.clone().prop_map(|a| format!("-{a}")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|list| format!("[{}]", list.join(", "))),
            (inner.clone(), "size|int|double").prop_map(|(a, f)| format!("{f}({a})")),
            (inner.clone(), "contains|startsWith|endsWith", inner.clone())
                .prop_map(|(a, f, b)| format!("({a}).{f}({b})")),
            (inner.clone(), "lowerAscii|upperAscii").prop_map(|(a, f)| format!("({a}).{f}()")),
            (inner, "a|\\^a|\\^\\[ab\\]\\{1,2\\}\\$|a\\+é|b\\$").prop_map(|(a, r)| format!("({a}).matches(\"{r}\")")),
        ]
    })
}

fn json_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
        "(0|-?[1-9][0-9]?)",
        "[0-9]\\.[05]",
        Just("9007199254740993".to_owned()),
        Just("18446744073709551615".to_owned()),
        "\"[abé]{0,2}\"",
        Just("\"a\\u0062\"".to_owned()),
        Just("\"\\u00e9\"".to_owned()),
        Just("[\"a\", 1, null, \"\\u0062\"]".to_owned()),
        Just("{\"a\": 1, \"\\u0062\": [2]}".to_owned()),
    ]
}

fn event() -> impl Strategy<Value = String> {
    let fields = prop::collection::btree_map("[a-h]", json_value(), 0..7);
    let nested = prop::collection::btree_map("[a-d]", json_value(), 0..4);
    let list = prop::collection::vec(json_value(), 0..3);
    (fields, nested, list, any::<bool>()).prop_map(|(fields, mut nested, list, literal)| {
        nested.insert("l".into(), format!("[{}]", list.join(",")));
        let object = |map: &std::collections::BTreeMap<String, String>| {
            let members: Vec<String> = map.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
            format!("{{{}}}", members.join(","))
        };
        let mut all = fields;
        all.insert("o".into(), object(&nested));
        if literal {
            all.insert("o.a".into(), "\"literal\"".into());
        }
        object(&all)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn the_program_says_what_a_plain_evaluator_says(text in expression(), event in event()) {
        let Ok(mut condition) = Condition::parse(&text) else {
            return Ok(()); // a type that is known to be wrong
        };
        let expr = parser::parse(&text).unwrap();
        let expected = is_true(&expr, &serde_json::from_str(&event).unwrap());
        let batch = batch(&event);
        let found = match condition.evaluate(batch.event(0)) {
            Outcome::True => Ok(true),
            Outcome::False => Ok(false),
            Outcome::Fault(fault) => Err(fault),
        };
        prop_assert_eq!(found, expected, "{} on {}", text, event);
    }

    #[test]
    fn a_refused_condition_shows_its_mistake(text in expression()) {
        if let Err(e) = Condition::parse(&text) {
            prop_assert!(text.get(e.at.clone()).is_some_and(|shown| !shown.is_empty()), "{}: {:?}", text, e);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(
        text in "([a-c]|[0-9.]|[(){}\\[\\]?:,@`'\"\\\\]|&&|\\|\\||[=!<>+*/%-]| |in|has|matches|true|é|\\PC){0,24}"
    ) {
        if let Err(e) = Condition::parse(&text) {
            prop_assert!(text.get(e.at.clone()).is_some(), "{:?}", e.at);
        }
    }

    #[test]
    fn numbers_compare_by_value(a in any::<i64>(), b in any::<u64>(), x in any::<f64>(), near in -3i64..3) {
        let (int, big) = (Num::Int(a), Num::from_spelling(b.to_string().as_bytes()).unwrap());
        prop_assert_eq!(int.compare(big), Some(i128::from(a).cmp(&i128::from(b))));
        let close = (a as f64) + near as f64;
        for x in [x, close] {
            let found = int.compare(Num::Float(x));
            prop_assert_eq!(Num::Float(x).compare(int), found.map(Ordering::reverse));
            if x.is_finite() && x.abs() < 1e30 {
                // Both sides exactly, in units of 2^-20 where the float has no finer bits.
                if x.fract() == 0.0 {
                    prop_assert_eq!(found, Some(i128::from(a).cmp(&(x as i128))));
                }
            }
        }
    }
}

#[test]
fn words_whose_quotes_were_forgotten_are_suspected() {
    let suspects = |text: &str| -> Vec<String> {
        Condition::parse(text).unwrap().suspects().iter().map(|(at, word)| format!("{word}@{}", at.start)).collect()
    };
    assert_eq!(suspects("level == ERROR"), ["ERROR@9"]);
    assert_eq!(suspects("a > 1 && (status != OK || x == 1)"), ["OK@20"]);
    assert_eq!(suspects("WARN == level"), ["WARN@0"]);
    assert_eq!(suspects("level in [ERROR, \"WARN\", FATAL]"), ["ERROR@10", "FATAL@25"]);
    assert_eq!(suspects("http.severity == error"), ["error@17"]);
    for fine in [
        "level == \"ERROR\"",
        "a == b",
        "ERROR > 5",
        "host == @host",
        "MESSAGE == \"x\"",
        "error == failed",
        "x == a.b",
    ] {
        assert_eq!(suspects(fine), [""; 0], "{fine}");
    }
}

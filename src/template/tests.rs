#![allow(clippy::unwrap_used)]

use super::sanitize::MAX_COMPONENT_BYTES;
use super::*;
use crate::ack::Ack;
use crate::event::{Batch, JsonRows, Origin, Slab};
use proptest::prelude::*;
use std::sync::Arc;

/// 2025-06-15T15:06:40Z.
const RECEIVED: i64 = 1_750_000_000_000_000_000;

fn batch(json: &str) -> Batch {
    let origin = Origin { source: "app".into(), file: Some("/var/log/a.log".into()), ..Origin::default() };
    let mut batch = Batch::new(Slab::from_vec(json.as_bytes().to_vec()), Arc::new(origin), RECEIVED, Ack::none());
    JsonRows::default().push(&mut batch, 0, json.len(), 0).unwrap();
    batch
}

fn render(template: &Template, json: &str) -> Result<String, String> {
    let batch = batch(json);
    let mut out = b">".to_vec();
    let result = template.render(batch.event(0), &mut out);
    let text = String::from_utf8(out).unwrap();
    match result {
        Ok(()) => Ok(text[1..].to_owned()),
        Err(missing) => {
            assert_eq!(text, ">", "nothing is left behind");
            Err(missing.0.text().to_owned())
        }
    }
}

#[test]
fn values_and_metadata_are_filled_in() {
    let event =
        r#"{"service":"shop","n":1.10,"a":{"b":[1,"x\ty"]},"odd.key":true,"o":{"k":1},"nil":null,"esc":"a\"b"}"#;
    for (template, expected) in [
        ("{{ service }}-logs", "shop-logs"),
        ("{{service}}", "shop"),
        ("{{ n }}|{{ a.b[0] }}|{{ a.b[1] }}", "1.10|1|x\ty"),
        ("{{ odd.key }} {{ \"odd.key\" }}", "true true"),
        ("{{ o }}", r#"{"k":1}"#),
        ("{{ esc }}", "a\"b"),
        ("{{ @source }}:{{ @file }}", "app:/var/log/a.log"),
        ("{{ none | default(\"x}}y\") }}", "x}}y"),
        ("{{ nil | default('it''s') }}", "!"),
        ("{{ nil|default('n\\'\\n') }}.", "n'\n."),
        ("{{ none | default(\"\") }}", ""),
        ("100% {a} }} {{ \"{{\" }}", "100% {a} }} {{"),
        ("", ""),
    ] {
        if expected == "!" {
            assert!(Template::parse(template).is_err());
            continue;
        }
        assert_eq!(render(&Template::parse(template).unwrap(), event).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn an_absent_field_is_named() {
    assert_eq!(render(&Template::parse("a-{{ x.y }}").unwrap(), r#"{"x":1}"#), Err("x.y".into()));
    assert_eq!(render(&Template::parse("a-{{ x }}").unwrap(), r#"{"x":null}"#), Err("x".into()));
    assert_eq!(render(&Template::parse("a-{{ @peer }}").unwrap(), "{}"), Err("@peer".into()));
    let batch = batch("{}");
    let mut out = Vec::new();
    Template::parse("a-{{ x }}-b").unwrap().render_or_empty(batch.event(0), &mut out);
    assert_eq!(out, b"a--b");
}

#[test]
fn time_codes_come_from_the_event() {
    let template = Template::with_time("./out/%Y-%m-%d/{{ service }}-100%%.ndjson").unwrap();
    let render = |json| render(&template, json).unwrap();
    assert_eq!(render(r#"{"service":"a%Y"}"#), "./out/2025-06-15/a%Y-100%.ndjson", "received");
    assert_eq!(
        render(r#"{"service":"s","timestamp":"2020-02-03T23:59:59+01:00"}"#),
        "./out/2020-02-03/s-100%.ndjson",
        "its own, in UTC"
    );
    assert!(template.has_time());
    assert_eq!(template.literal_prefix(), "./out/");
    assert_eq!(Template::with_time("a%%b").unwrap().as_literal(), Some("a%b"));
    assert_eq!(Template::parse("a%%b").unwrap().as_literal(), Some("a%%b"));
    assert_eq!(Template::parse("a{{ b }}").unwrap().as_literal(), None);
    assert_eq!(Template::literal("{{ a }}").as_literal(), Some("{{ a }}"));
}

#[test]
fn mistakes_are_placed() {
    for (text, at, message) in [
        ("ab {{ x", 3..5, "never closed"),
        ("ab {{ \"x }} ", 3..5, "never closed"),
        ("{{ }}", 0..5, "missing"),
        ("{{ a..b }}", 5..7, "missing"),
        ("{{ a. }}", 4..5, "missing"),
        ("{{ a b }}", 4..6, "quotes"),
        ("{{ @nope }}", 4..8, "unknown metadata"),
        ("{{ a | upper }}", 7..12, "unknown filter `upper`"),
        ("{{ a | default(x) }}", 7..17, "quotes"),
        ("{{ a | default }}", 7..14, "parentheses"),
        ("{{ a | default(\"x\", 1) }}", 7..22, "one text"),
        ("{{ a | }}", 6..7, "unknown filter"),
        ("x%Y-%Q", 4..6, "unknown strftime code `%Q`"),
        ("{{ é..x }}", 6..8, "missing"),
    ] {
        let error = Template::with_time(text).unwrap_err();
        assert_eq!(error.at, at, "{text}");
        assert!(error.message.contains(message), "{text}: {}", error.message);
    }
    assert_eq!(Template::parse("{{ .a }}").unwrap_err().help.as_deref(), Some("write `{{ a }}`"));
}

fn component(value: &[u8]) -> String {
    let mut out = b"x/".to_vec();
    out.extend_from_slice(value);
    sanitize_tail(&mut out, 2);
    String::from_utf8(out).unwrap()[2..].to_owned()
}

#[test]
fn values_cannot_leave_their_place() {
    for (value, expected) in [
        ("shop", "shop"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("..", "_"),
        (".", "_"),
        ("...", "..."),
        ("", "_"),
        ("a\\b/c\0d\n\x7fe", "a_b_c_d__e"),
        ("é\u{85}ü\u{a0}", "é_ü\u{a0}"),
        ("/", "_"),
    ] {
        assert_eq!(component(value.as_bytes()), expected, "{value:?}");
    }
    assert_eq!(component("a".repeat(128).as_bytes()), "a".repeat(128));
    assert_eq!(component("a".repeat(129).as_bytes()), "a".repeat(128));
    assert_eq!(component(format!("{}é", "a".repeat(127)).as_bytes()), "a".repeat(127));
    assert_eq!(component("\u{85}".repeat(200).as_bytes()), "_".repeat(128));
    let batch = batch(r#"{"s":"a\/..\/b","e":""}"#);
    let mut out = Vec::new();
    let template = Template::parse("out/{{ s }}/{{ e }}/{{ z | default(\"d/e\") }}").unwrap();
    template.render_as(Values::Component, batch.event(0), &mut out).unwrap();
    assert_eq!(out, b"out/a_.._b/_/d/e", "defaults are the operator's own words");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in "([{}|\"'()%. a@é\\[\\]\\\\]|default){0,24}") {
        for parsed in [Template::parse(&text), Template::with_time(&text)] {
            match parsed {
                Ok(template) => prop_assert_eq!(template.text(), &text),
                Err(e) => prop_assert!(text.get(e.at.clone()).is_some(), "{:?}", e.at),
            }
        }
    }

    #[test]
    fn a_component_is_always_one_name(value in any::<String>()) {
        let name = component(value.as_bytes());
        prop_assert!(!name.is_empty() && name.len() <= MAX_COMPONENT_BYTES && name != "." && name != "..");
        prop_assert!(!name.contains(['/', '\\']) && !name.chars().any(char::is_control));
    }
}

//! No secret is ever shown.

use std::path::Path;

use super::super::*;
use super::documents::registry;
use crate::settings::*;

const CANARY: &str = "canary-7f3a";

/// Every variable and every file holds the canary.
struct Canary;

impl Environment for Canary {
    fn var(&self, name: &str) -> Option<String> {
        (name != "UNSET").then(|| format!("{CANARY}\n{CANARY}"))
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Ok(format!("{CANARY}\n"))
    }
}

#[test]
fn a_canary_in_any_secret_place_is_in_no_diagnostic() {
    let texts = [
        // Typed secrets and keys named like secrets, on the line of another mistake.
        "sinks:\n  o: {type: out, urll: x, password: canary-7f3a, inputs: [nope]}\n",
        "sinks:\n  o: {type: out, password: [canary-7f3a], inputs: [nope]}\n",
        "sinks:\n  o: {type: out, password: {x: canary-7f3a}, inputs: [nope]}\n",
        "transforms:\n  t: {type: validate, inputs: [nope], key: canary-7f3a}\n",
        "sources:\n  s: {type: file, include: [a], tls: {key: 7331, k: canary}, decode: {regex: {pattern: x, token: 12345, key: {token: canary-7f3a}}}}\n",
        "sinks:\n  o: {type: out, api_key: canary-7f3a, inputs: [nope]}\n",
        "sinks:\n  o:\n    type: out\n    headers: {Authorization: Bearer canary-7f3a}\n",
        "sources:\n  w: {type: http, listen: 5, bearer: [canary-7f3a, {a: canary-7f3a}]}\n",
        "sources:\n  w: {type: http, listen: 5, bearer: canary-7f3a}\n",
        "password: canary-7f3a\n",
        "api: {token: canary-7f3a}\n",
        "api: {listen: x, auth: {basic: {user: a, password: canary-7f3a, passwrd: canary-7f3a}}}\n",
        // Over several lines.
        "sinks:\n  o:\n    type: out\n    private_key: |\n      canary-7f3a\n      canary-7f3a\n    urll: x\n",
        "sinks:\n  o: {type: out, password: \"canary-7f3a\n      canary-7f3a\", urll: x}\n",
        "sinks:\n  o: {type: out, password: 'canary-7f3a''\n      canary-7f3a', urll: x}\n",
        // In a URL.
        "sinks:\n  o: {type: out, url: 'http://me:canary-7f3a@host/', urll: x}\n",
        // Interpolated: the value must not show, wherever it is put.
        "sinks:\n  o: {type: '${A}', inputs: ['${A}', 'x-${file:/f}'], url: '${A}'}\n",
        "sinks:\n  o: {type: out, inputs: ['a.${A}'], dead_letter: '${A}'}\nshutdown_timeout: ${A}\nmemory_limit: '${A}'\n",
        "threads: ${A}\ntimezone: ${A}\napi: {listen: '${A}'}\nsources:\n  s: {type: file, include: '${A}', decode: '${A}'}\n",
        "sources:\n  s: {type: file, include: [a], decode: '${A}', attach: ['${A}'], on_decode_error: '${A}'}\n",
        "transforms:\n  t: {type: validate, inputs: ['[${A}'], to: '{{ ${A} x', rate: '${A}'}\n",
        "sinks:\n  o: {type: out, inputs: [], buffer: {type: '${A}'}}\n",
        "tests:\n  - {name: '${A}', input: [{at: '${A}'}], expect: [{at: 'x.${A}'}, {at: '${A}', count: '${A}'}]}\n",
        "sinks:\n  o: {type: out, inputs: ['${file:/f}'], url: '${UNSET:?x}${file:/f}'}\n",
        "transforms:\n  t: {type: validate, inputs: [x], to: '{{ a | ${A} }}{{ ${A}'}\n",
        "sources:\n  s: {type: file, include: [a], decode: {regex: {pattern: '(${A}(?<'}}, attach: ['@${A}']}\n",
        "data_dir: '${UNSET:-${A}${NOPE-}}'\nthreads: '${UNSET:-${file:/f}}'\n",
        // Not YAML at all.
        "sinks:\n  o: {type: out, password: canary-7f3a, inputs: [nope]\n",
        "sinks:\n  o:\n    password: \"canary-7f3a\n    canary-7f3a\n",
        "sinks:\n  o:\n    password: 'canary-7f3a\n canary-7f3a: x: y\n",
        "sinks:\n  o:\n    password: canary-7f3a: b\n",
        "sinks:\n  o:\n    password: @canary-7f3a\n",
        "sinks:\n  o:\n    password: *canary-7f3a\n",
        "sinks:\n  o:\n    token:\n      canary-7f3a\n       : @\n",
        "sinks:\n  o:\n    token: |\n      canary-7f3a\n    canary: @x\n\t\n",
        "sinks:\n  o: {auth: {\"api-key\" : canary-7f3a}}}\n",
        // Through an alias.
        "sinks:\n  o: {type: out, x: &a canary-7f3a, password: *a}\n",
        "sinks:\n  o: {type: out, password: &a canary-7f3a, urll: *a, inputs: [*a]}\n",
        // As a duplicate.
        "sinks:\n  o: {type: out, password: canary-7f3a, password: canary-7f3a}\n",
        "sinks: {}\napi: {token: canary-7f3a}\napi: {token: canary-7f3a}\n",
    ];
    for text in texts {
        let loaded = load_texts(&[("t.yaml", text)], &Canary, registry());
        let said = loaded.report.render();
        assert!(loaded.config.is_none() && said.contains("error"), "{text}\n{said}");
        assert!(!said.contains("canary-7"), "{text}\n{said}");
        assert!(!format!("{:?}", loaded.config).contains("canary-7"));
    }
}

/// What is written where a secret should be, in a wrong shape, with the whole program's components.
#[test]
fn a_secret_in_a_wrong_shape_or_under_an_unknown_key_is_in_no_diagnostic() {
    let sink = "sinks: {o: {type: openobserve, inputs: [a], url: 'http://x:5080', stream: s, X}}\nsources: {a: {type: stdin}}\n";
    let source = "sources: {a: {type: http, listen: '127.0.0.1:1', X}}\nsinks: {o: {type: blackhole, inputs: [a]}}\n";
    let in_sink = [
        "auth: canary-7f3a",
        "auth: 'Basic canary-7f3a'",
        "auth: [canary-7f3a]",
        "auth: {basic: 'u:canary-7f3a'}",
        "auth: {basic: {user: u, passwrd: canary-7f3a}}",
        "auth: {basic: {alice: canary-7f3a, bob: [canary-7f3a]}}",
        "auth: {jwt: canary-7f3a}",
        "auth: {jwt: {key: k, claims: canary-7f3a, algorithm: canary-7f3a}}",
        "authn: canary-7f3a",
        "headers: 'Authorization: canary-7f3a'",
        "headers: ['Authorization: canary-7f3a']",
        "headrs: {X-Foo: canary-7f3a}",
        "connection_string: 'Server=x;Password=canary-7f3a'",
        "signing: canary-7f3a",
        "foo: 'api_key=canary-7f3a'",
        "bogus: 1, foo: [{bar: canary-7f3a}]",
        "bogus: 1}} # password: canary-7f3a",
    ];
    let in_source = [
        "auth: {hmac: canary-7f3a}",
        "auth: {hmac: {kye: canary-7f3a}}",
        "auth: {hmac: {key: k, header: [canary-7f3a]}}",
        "auth: {basic: {alice: canary-7f3a}}",
        "auth: {bearer: {a: canary-7f3a}}",
        "auth: 'Bearer canary-7f3a'",
    ];
    let urls = [
        "http://u:canary-7f3a@x:5080",
        "http://u:ca/canary-7f3a@x",
        "https://canary-7f3a@x",
        "http://x:5080/?api_key=canary-7f3a",
        "htp://x:5080/?a=b&token=canary-7f3a&c=d",
    ];
    let texts = in_sink.iter().map(|x| sink.replace('X', x)).chain(in_source.iter().map(|x| source.replace('X', x)));
    let urls = urls.iter().map(|url| sink.replace("http://x:5080", url).replace(", X", ", bogus: 1"));
    let redact = "transforms: {r: {type: redact, inputs: [a], action: hash, kee: canary-7f3a}}\n";
    let api = "api: {listen: '127.0.0.1:1', auth: {foo: canary-7f3a}}\n";
    for text in texts.chain(urls).chain([redact.to_owned(), api.to_owned()]) {
        let loaded = load_texts(&[("t.yaml", &text)], &Canary, crate::registry::built_in());
        let said = loaded.report.render();
        assert!(loaded.config.is_none() && said.contains("error"), "{text}\n{said}");
        assert!(!said.contains("canary-7"), "{text}\n{said}");
    }
}

#[test]
fn a_value_is_replaced_once_and_never_in_the_agents_own_words() {
    struct Words;
    impl Environment for Words {
        fn var(&self, name: &str) -> Option<String> {
            let value = match name {
                "N" => "whole",
                "K" => "source",
                "E" => "json2",
                _ => return None,
            };
            Some(value.to_owned())
        }

        fn file(&self, _: &Path) -> std::io::Result<String> {
            Ok("source".to_owned())
        }
    }
    let text = "threads: '${N:-whole}'\nsources:\n  source: {type: file, include: [a], decode: '${K}'}\n\
                sinks:\n  out: {type: console, inputs: ['${K}', nope], encoding: '${E:-console}'}\n  \
                o2: {type: openobserve, inputs: [source], url: 'http://x', stream: s, auth: {bearer: '${file:/f}'}, urll: 1}\n";
    let said = load_texts(&[("t.yaml", text)], &Words, crate::registry::built_in()).report.render();
    assert!(said.contains("expected a whole number of 1 or more for `threads`, found `${N:-whole}`"), "{said}");
    assert!(said.contains("for `decode` in source `source`, found `${K}`"), "{said}");
    assert!(said.contains("for `encoding` in sink `out`, found `${E:-console}`"), "{said}");
    assert!(said.contains("did you mean `json`?"), "{said}");
    assert!(said.contains("unknown key `urll` in sink `o2`"), "{said}");
}

#[test]
fn empty_credentials_are_refused_everywhere_the_same() {
    let rest = "sources: {s: {type: stdin}}\nsinks: {b: {type: blackhole, inputs: [s]}}\n";
    let api = |auth: &str| format!("api: {{listen: '127.0.0.1:1', auth: {auth}}}\n{rest}");
    let http = |auth: &str| {
        format!(
            "sources: {{s: {{type: http, listen: '127.0.0.1:1', auth: {auth}}}}}\nsinks: {{b: {{type: blackhole, inputs: [s]}}}}\n"
        )
    };
    let sink = |auth: &str| {
        format!(
            "sources: {{s: {{type: stdin}}}}\nsinks: {{b: {{type: openobserve, inputs: [s], url: 'http://x', stream: s, auth: {auth}}}}}\n"
        )
    };
    let basic = "{basic: {user: '${U:-}', password: '${P:-}'}}";
    let texts = [
        api("{bearer: ['']}"),
        api("{bearer: [good, ' ']}"),
        api(basic),
        http("{bearer: ['${T:-}']}"),
        http(basic),
        http("{hmac: {key: ''}}"),
        sink(basic),
        sink("{bearer: ''}"),
    ];
    for text in texts {
        let said = load_texts(&[("t.yaml", &text)], &std::collections::BTreeMap::new(), crate::registry::built_in())
            .report
            .render();
        assert!(said.contains("is empty; anybody could show it"), "{text}\n{said}");
    }
    let said = load_texts(&[("t.yaml", &api("{}"))], &Canary, crate::registry::built_in()).report.render();
    assert!(said.contains("`api.auth` asks for nothing"), "{said}");
    let fine = sink("{bearer: x}").replace("stream: s", "stream: s, headers: {X-Empty: ''}");
    assert!(load_texts(&[("t.yaml", &fine)], &Canary, crate::registry::built_in()).config.is_some());
}

#[test]
fn a_masked_excerpt_keeps_its_marks_in_place() {
    let text = "sinks:\n  o: {type: out, password: hunter2hunter2, urll: x, inputs: []}\n";
    let said = load_texts(&[("t.yaml", text)], &Canary, registry()).report.render();
    let mut lines = said.lines().skip_while(|line| !line.contains("unknown key"));
    let line = lines.clone().find(|line| line.contains("***")).unwrap();
    let marks = lines.find(|line| line.contains("^^^^")).unwrap();
    let column = marks.find('^').unwrap();
    assert_eq!(&line[column..column + 4], "urll", "{said}");
}

#[test]
fn a_field_named_under_key_does_not_hide_that_word_elsewhere() {
    let text = "transforms:\n  t: {type: validate, inputs: [inputs], key: inputs}\n";
    let said = load_texts(&[("t.yaml", text)], &Canary, registry()).report.render();
    assert!(said.contains("there is no component `inputs`") && said.contains("key: ***"), "{said}");
}

#[test]
fn a_text_nobody_composed_shows_no_secret_that_was_read() {
    let text = "sinks:\n  o: {type: out, password: '${A}', inputs: [], x: 'y${file:/f}'}\n";
    struct Two;
    impl Environment for Two {
        fn var(&self, _: &str) -> Option<String> {
            Some("panic-canary-11".into())
        }

        fn file(&self, _: &Path) -> std::io::Result<String> {
            Ok("panic-canary-22\n".into())
        }
    }
    drop(load_texts(&[("t.yaml", text)], &Two, registry()));
    let masked = mask_known("Err(\"panic-canary-11@host panic-canary-22\"): index 3");
    assert_eq!(masked, "Err(\"***@host ***\"): index 3");
}

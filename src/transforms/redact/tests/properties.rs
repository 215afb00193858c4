//! What must hold for every event, however it is written.

use super::event::{apply, transform};
use proptest::prelude::*;
use serde_json::Value;

/// A canary no other text contains, in forms that some rule finds.
const SECRETS: [&str; 4] = ["canary7@leak.example", "4111111111111111", "password=canary7", "AKIACANARY7CANARY7XX"];

fn leaks(text: &str) -> bool {
    let lower = text.to_lowercase();
    lower.contains("canary7") || lower.contains("4111111111111111")
}

/// The text as the inside of a JSON string, some characters escaped that need not be.
fn spelled(text: &str, choices: &[u8]) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        let plain = serde_json::to_string(&c.to_string()).unwrap();
        match choices.get(i % choices.len().max(1)).copied().unwrap_or(0) % 4 {
            0 if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            1 if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04X}", c as u32)),
            _ => out.push_str(&plain[1..plain.len() - 1]),
        }
    }
    out
}

fn blanks() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "", "", " ", "  ", "\t"]).prop_map(Into::into)
}

/// JSON text of a value that hides a secret at `depth` levels.
fn hidden(depth: u32) -> BoxedStrategy<String> {
    let choices = prop::collection::vec(any::<u8>(), 1..8);
    let leaf = (prop::sample::select(SECRETS.to_vec()), choices, "[ -~]{0,6}", "[ é\"\\\\/{}:,=\\[\\]]{0,4}").prop_map(
        |(secret, choices, before, after)| {
            // White space keeps the secret a word of its own.
            format!("\"{}\"", spelled(&format!("{before} {secret} {after}"), &choices))
        },
    );
    let number = Just("4111111111111111".to_owned());
    let as_json_text = (prop::sample::select(SECRETS.to_vec()), any::<bool>()).prop_map(|(secret, twice)| {
        let inner = serde_json::json!({"a": format!("x {secret}"), "password": "canary7 \"q\""}).to_string();
        let once = serde_json::to_string(&inner).unwrap();
        if twice { serde_json::to_string(&format!("{{\"b\":{once}}}")).unwrap() } else { once }
    });
    let leaf = prop_oneof![4 => leaf, 1 => number, 2 => as_json_text];
    leaf.prop_recursive(depth, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), blanks(), blanks(), key())
                .prop_map(|(v, a, b, k)| format!("{{{a}\"{k}\"{b}:{a}{v}{b},\"z\":[],\"{k}\":{v}}}")),
            (inner.clone(), inner, blanks()).prop_map(|(v, w, a)| format!("[{a}1,{v}{a},{{\"k\":null}},{w}]")),
        ]
    })
    .boxed()
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,4}",
        Just("pass\\u0077ord".to_owned()),
        Just("canary7@leak.example".to_owned()),
        Just("canary7\\u0040leak.example".to_owned()),
        Just("a.b".to_owned()),
    ]
}

fn members() -> impl Strategy<Value = String> {
    prop::collection::vec((key(), hidden(4), blanks()), 1..4).prop_map(|members| {
        let text: Vec<String> = members.iter().map(|(k, v, b)| format!("{b}\"{k}\"{b}:{b}{v}")).collect();
        format!("{{{}}}", text.join(","))
    })
}

/// What is meant, with numbers as spelled.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_secret_survives_and_the_result_is_json(line in members()) {
        prop_assume!(serde_json::from_str::<Value>(&line).is_ok());
        let mut redact = transform("detect: [secrets, email, credit_card, aws_key]");
        let got = apply(&mut *redact, &[&line]).0.remove(0);
        let value = parsed(&got);
        // Also where only unescaping shows it.
        prop_assert!(!leaks(&got) && !leaks(&value.to_string()), "{line}\n{got}");
        let again = apply(&mut *redact, &[&got]).0.remove(0);
        prop_assert_eq!(again, got, "masking is idempotent");
    }

    #[test]
    fn what_stands_under_a_path_never_survives(
        inner in hidden(4),
        action in prop::sample::select(vec!["drop", "mask", "hash"]),
        wrap in prop::collection::vec(0..3u8, 0..4),
        deep in any::<bool>(),
    ) {
        prop_assume!(serde_json::from_str::<Value>(&inner).is_ok());
        let mut value = format!("{{\"x\":1,\"t\\u0061rget\":{inner},\"target\":{inner},\"y\":2}}");
        for kind in &wrap {
            value = match kind {
                0 => format!("{{\"w\":{value}}}"),
                1 => format!("[0,{value}]"),
                _ => format!("{{ \"a\" : [] ,\"w\":{value},\"w\":{value} }}"),
            };
        }
        let path = if deep { "'**.target'".to_owned() } else {
            let keys: String = wrap.iter().filter(|k| **k != 1).map(|_| "w.").collect();
            format!("root.{keys}target")
        };
        let yaml = format!("key: k\nfields: {{{action}: [{path}]}}");
        let line = format!("{{\"a\":1,\"root\":{value},\"b\":2}}");
        let got = apply(&mut *transform(&yaml), &[&line]).0.remove(0);
        let parsed = parsed(&got);
        prop_assert!(!leaks(&got) && !leaks(&parsed.to_string()), "{yaml}\n{line}\n{got}");
        prop_assert_eq!(&parsed["b"], 2, "the rest stays");
    }

    #[test]
    fn text_without_hits_is_the_same_bytes(
        keys in prop::collection::vec("[b-z]{1,3}", 1..5),
        texts in prop::collection::vec("[b-z éß\u{4e00}-\u{4e10}.,;!?()/-]{0,30}", 5),
        choices in prop::collection::vec(any::<u8>(), 1..8),
        blank in blanks(),
    ) {
        let members: Vec<String> = keys.iter().zip(&texts)
            .map(|(k, t)| format!("{blank}\"{k}\"{blank}:{{\"{k}\":{blank}[\"{}\",-1.50e1{blank}]}}", spelled(t, &choices)))
            .collect();
        let line = format!("{{{}{blank}}}", members.join(","));
        let mut redact = transform("detect: [secrets, email, credit_card, aws_key, jwt, ipv4]\nfields: {drop: ['**.a0']}");
        prop_assert_eq!(&apply(&mut *redact, &[&line]).0[0], &line);
    }

    #[test]
    fn hits_are_in_order_and_never_overlap(text in "([a-c@.:=\"\\\\ 0-9]|password|token|4111 1111 1111 1111|eyJ|://|é){0,40}") {
        use crate::transforms::redact::{Action, DetectKind, Rules, Scanner};
        let rules = Rules::new(&DetectKind::ALL, &[], Action::Mask).unwrap();
        let mut scanner = Scanner::new(std::sync::Arc::new(rules));
        let mut hits = Vec::new();
        scanner.scan(text.as_bytes(), &mut hits);
        let mut at = 0;
        for hit in &hits {
            prop_assert!(at <= hit.start && hit.start < hit.end && hit.end <= text.len(), "{hit:?}");
            prop_assert!(text.is_char_boundary(hit.start) && text.is_char_boundary(hit.end));
            at = hit.end;
        }
    }
}

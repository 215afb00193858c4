//! What must hold for every event, however it is written.

use super::event::{apply, transform};
use crate::transforms::redact::{Action, DetectKind, Rules, Scanner};
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
        keys in prop::collection::vec("[b-n]{1,3}", 1..5),
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

/// Places in a text, from 0 to 1.
fn place() -> impl Strategy<Value = f64> {
    0.0..=1.0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever is cut out of what leaks, and whatever is put into it: hits are in order, and begin and end at characters.
    #[test]
    fn hits_in_texts_that_are_torn_begin_and_end_at_characters(
        which in any::<prop::sample::Index>(),
        cut in (place(), place()),
        at in place(),
        put in prop::sample::select(vec!["", "é", "⟧", "密码", "\u{a0}", "\\", "\"", "'", "{", "(", "\n", "パスワード"]),
        all in any::<bool>(),
    ) {
        let texts = super::corpus::leaking();
        let chars: Vec<char> = which.get(&texts).chars().collect();
        let place = |share: f64, len: usize| (share * len as f64) as usize;
        let (from, to) = (place(cut.0.min(cut.1), chars.len()), place(cut.0.max(cut.1), chars.len()));
        // Mostly the greater part stays.
        let kept: Vec<char> = if to - from > chars.len() / 2 {
            chars[from..to].to_vec()
        } else {
            [&chars[..from], &chars[to..]].concat()
        };
        let (before, after) = kept.split_at(place(at, kept.len()));
        let text: String = before.iter().copied().chain(put.chars()).chain(after.iter().copied()).collect();
        let kinds: &[DetectKind] = if all { &DetectKind::ALL } else { &[DetectKind::Secrets] };
        let mut scanner = Scanner::new(std::sync::Arc::new(Rules::new(kinds, &[], Action::Mask).unwrap()));
        let mut hits = Vec::new();
        scanner.scan(text.as_bytes(), &mut hits);
        let mut at = 0;
        for hit in &hits {
            prop_assert!(at <= hit.start && hit.start < hit.end && hit.end <= text.len(), "{hit:?} in {text:?}");
            prop_assert!(text.is_char_boundary(hit.start) && text.is_char_boundary(hit.end), "{hit:?} in {text:?}");
            at = hit.end;
        }
        let mut out = Vec::new();
        scanner.rewrite(text.as_bytes(), &hits, &mut out);
        prop_assert!(String::from_utf8(out).is_ok());
    }
}

#[test]
fn what_is_left_of_a_text_is_text() {
    // The value of a mnemonic goes to the end of what encloses it.
    let line = r#"{"message":"x {\"a\": \"mnemonic: {\\\"p above absent\u27e7\"}"}"#;
    let got = apply(&mut *transform("detect: [secrets]"), &[line]).0.remove(0);
    assert!(serde_json::from_str::<Value>(&got).is_ok(), "{got}");
}

/// Members of an object that hold what some rule finds, as strings, numbers and more.
fn secret_member() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        r#""password":"canary7 \"q\" \\""#,
        r#""token":5.5e3"#,
        r#""n":4111111111111111"#,
        r#""list":[4111111111111111, -1,"canary7@leak.example"]"#,
        r#""secret":{"canary7":[1,"}"]}"#,
        r#""m":"password=canary7\nuser=b, token: canary7""#,
        r#""h":"Authorization: Bearer canary7\r\nHost: x""#,
        r#""h":"Cookie: a=canary7; b=\"canary7\"""#,
        r#""name":"api_key","value":"canary7""#,
        r#""pair":["password","canary7"]"#,
        r#""x":"<password>canary7</password>""#,
        r#""x":"Some(\"password\") password: Some(\"canary7\") x""#,
        r#""y":"password: |\n  canary7\n  canary7\nx: 1""#,
        r#""u":"https://bob:canary7@h.example/?token=canary7&x=1""#,
        r#""c":"mysql -pcanary7 --password canary7""#,
        r#""q":"q='it''s' password='canary7''canary7'""#,
        r#""k":"4111111111111111, [4111111111111111]""#,
        r#""l":["4111111111111111, 4111111111111111",4111111111111111]"#,
        r#""a":true"#,
        r#""b":null"#,
        r#""e":[]"#,
    ])
    .prop_map(Into::into)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// JSON within JSON strings is JSON afterwards, at every level, and no level shows a secret.
    #[test]
    fn json_stays_json_at_every_level(
        members in prop::collection::vec(secret_member(), 1..5),
        levels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..6), 0..4),
        (colon, comma) in (blanks(), prop::sample::select(vec!["", " ", "\n  ", "\r\n\t"])),
        all in any::<bool>(),
    ) {
        let mut text = format!("{{{comma}{}{comma}}}", members.join(&format!(",{comma}"))).replace("\":", &format!("\"{colon}:{comma}"));
        prop_assume!(serde_json::from_str::<Value>(&text).is_ok());
        for choices in &levels {
            text = format!("{{\"i\":\"{}\",\"z\":1}}", spelled(&text, choices));
        }
        let line = format!("{{\"top\":\"{}\",\"o\":{text}}}", spelled(&text, &[3]));
        let kinds = DetectKind::ALL.map(DetectKind::word).join(", ");
        let kinds = if all { &kinds } else { "credit_card, email, secrets" };
        let mut redact = transform(&format!("detect: [{kinds}]"));
        let got = apply(&mut *redact, &[&line]).0.remove(0);
        let outer = parsed(&got);
        let mut inner = vec![outer["o"].clone(), parsed(outer["top"].as_str().unwrap())];
        for _ in &levels {
            inner = inner.iter().map(|v| parsed(v["i"].as_str().unwrap_or_else(|| panic!("{line}\n{got}")))).collect();
        }
        prop_assert!(inner.iter().all(|v| v.is_object() && !leaks(&v.to_string())), "{line}\n{got}");
        prop_assert!(!leaks(&got), "{line}\n{got}");
        prop_assert_eq!(&apply(&mut *redact, &[&got]).0[0], &got, "a second pass changes nothing");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    /// Many finders are asked first whether they need run; one alone runs whatever the text has, in longer texts.
    #[test]
    fn what_a_kind_needs_is_no_more_than_it_finds(
        kind in prop::sample::select(DetectKind::ALL.to_vec()),
        sample in prop::sample::select(SAMPLES.to_vec()),
        before in "[ a.:]{0,2}",
    ) {
        let found = |kinds: &[DetectKind], text: &str| {
            let mut scanner = Scanner::new(std::sync::Arc::new(Rules::new(kinds, &[], Action::Mask).unwrap()));
            let mut hits = Vec::new();
            scanner.scan(text.as_bytes(), &mut hits);
            hits.iter().map(|h| (h.start, h.end)).collect::<Vec<_>>()
        };
        let text = format!("{before}{sample}");
        // Blanks make the text long enough to be searched without asking.
        let long = format!("{text}{}", " ".repeat(80));
        prop_assert_eq!(found(&[kind], &text), found(&[kind], &long), "{:?}: {:?}", kind, text);
        // Alone and first of all twenty it finds the same.
        let mut all = vec![kind];
        all.extend(DetectKind::ALL.iter().filter(|k| **k != kind));
        let among = found(&all, &long);
        if let [only] = found(&[kind], &long)[..] && among.first().is_some_and(|f| f.0 >= only.0) {
            prop_assert_eq!(among.first(), Some(&only));
        }
    }
}

/// The shortest of each kind, and some others.
const SAMPLES: [&str; 44] = [
    "pwd=x",
    "otp:1",
    "pwd%3Dx",
    "a@b.cd",
    "a%40b.cd",
    "501800000009",
    "4111 1111 1111 1111",
    "(96) 627-277",
    "1.1.1.1",
    "::1",
    "[::]",
    "0012.3456.789a",
    "00:1a:2b:3c:4d:5e",
    "123-45-6789",
    "eyJhbGciOi.aaaa.bbbb",
    "AKIAABCDEFGHIJKLMNOP",
    "secret_access_key=ABCDEFGHIJABCDEFGHIJABCDEFGHIJABCDEFGHIJ",
    "ghp_abcdefghijabcdefghijabcdefghijabcdef",
    "github_pat_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "xoxb-123456789012345",
    "hooks.slack.com/services/A/B/C",
    "sk_live_aaaaaaaaaaaaaaaaaaaaaaaa",
    "whsec_aaaaaaaaaaaaaaaaaaaaaaaa",
    "SG.aaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "-----BEGIN PRIVATE KEY-----",
    "NO9386011117947",
    "11010519491231002X",
    "13812345678",
    "s://a:bcde@h",
    "s://abcdefghijklmnop@h",
    "aB3dE5fG7hJ9kL1mN3pQ5rS7",
    "0123456789abcdef0123456789abcdef01234567",
    "+12345678",
    "token:\"x\"",
    "<pwd>x</pwd>",
    "[\"pwd\",\"x\"]",
    "password \"x\"",
    " --pwd x",
    "\u{5bc6}\u{7801}\u{ff1a}x",
    "PASS x",
    "&lt;pin_code&gt;x",
    "name:pwd,value:x",
    "glpat-aaaaaaaaaaaaaaaaaaa1",
    "1234567:AAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

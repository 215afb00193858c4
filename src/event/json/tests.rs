#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn scan(text: &[u8]) -> Result<Vec<(String, String)>, ScanError> {
    let mut members = Vec::new();
    Scanner::default().object(text, 0, text.len(), |m| {
        let of = |a: usize, b: usize| String::from_utf8_lossy(&text[a..b]).into_owned();
        members.push((of(m.key, m.key_end), of(m.value, m.value_end)));
    })?;
    Ok(members)
}

#[test]
fn members_come_with_their_spans() {
    let got = scan(br#" {"a" : 1.10,"b":"x\n" , "c":[1,{"d":2}],"e":{},"f":null,"":true}"#).unwrap();
    let want = [("a", "1.10"), ("b", "x\\n"), ("c", r#"[1,{"d":2}]"#), ("e", "{}"), ("f", "null"), ("", "true")];
    assert_eq!(got, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn nesting_is_capped_without_recursion() {
    let deep = |n: usize| [b"{\"a\":".repeat(n), b"1".to_vec(), b"}".repeat(n)].concat();
    assert!(scan(&deep(MAX_DEPTH as usize)).is_ok());
    assert_eq!(scan(&deep(MAX_DEPTH as usize + 1)), Err(ScanError::TooDeep));
    assert_eq!(scan(&b"[".repeat(1_000_000)), Err(ScanError::TooDeep));
    let mut scanner = Scanner::default();
    assert!(scanner.is_too_deep(&deep(200)) && !scanner.is_valid(&deep(200)) && !scanner.is_too_deep(&deep(100)));
    // A mistake that stands before the depth is a mistake.
    assert_eq!(scan(&[b"{\"a\":x,\"b\":".to_vec(), deep(200), b"}".to_vec()].concat()), Err(ScanError::Invalid));
}

/// serde_json takes lone surrogates in escapes for mistakes and so does not agree with us there, and limits depth
/// likewise at 128; both are kept out of what is generated.
fn agrees(text: &[u8]) {
    if text.windows(3).any(|w| w[..2] == *b"\\u" && (w[2] | 0x20) == b'd') {
        return;
    }
    let oracle: Option<serde_json::Value> = serde_json::from_slice(text).ok();
    match (scan(text), oracle) {
        (Ok(members), Some(serde_json::Value::Object(map))) => {
            for (key, value) in &members {
                let key: String = serde_json::from_str(&format!("\"{key}\"")).unwrap();
                assert!(map.contains_key(&key), "{key}");
                // The text of a string has lost its quotes, and may look like another value.
                let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
                let values = [read(value), read(&format!("\"{value}\""))];
                // Two spellings of one key are duplicates; of those the oracle keeps the last.
                let plain = |raw: &str| serde_json::from_str::<String>(&format!("\"{raw}\"")).unwrap();
                if members.iter().filter(|m| plain(&m.0) == key).count() == 1 {
                    assert!(values.contains(&Some(map[&key].clone())), "{key} in {map:?}");
                }
            }
        }
        (Err(ScanError::NotObject), Some(v)) => assert!(!v.is_object()),
        (Err(ScanError::Invalid | ScanError::TooDeep), None) => {}
        (got, want) => panic!("{:?}: ours {got:?}, serde_json {want:?}", String::from_utf8_lossy(text)),
    }
}

fn json() -> impl Strategy<Value = String> {
    let ws = "[ \t\r\n]{0,2}";
    let string = "\"([a-z ,:{}\\[\\]é]|\\\\[\"\\\\/bfnrt]|\\\\u00[0-9a-f]{2}){0,6}\"";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        string,
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        let item = (ws, inner.clone(), ws).prop_map(|(a, v, b)| format!("{a}{v}{b}"));
        let member = (ws, string, ws, item.clone()).prop_map(|(a, k, b, v)| format!("{a}{k}{b}:{v}"));
        prop_oneof![
            proptest::collection::vec(item, 0..5).prop_map(|v| format!("[{}]", v.join(","))),
            proptest::collection::vec(member, 0..6).prop_map(|v| format!("{{{}}}", v.join(","))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn valid_json_is_read_as_serde_json_reads_it(text in json()) {
        agrees(text.as_bytes());
    }

    #[test]
    fn damaged_json_is_judged_as_serde_json_judges_it(
        text in json(), at in any::<prop::sample::Index>(), with in prop::sample::select(&b"\"\\{}[]:,0-e.tn \x01x"[..]), what in 0..3
    ) {
        let mut text = text.into_bytes();
        let at = at.index(text.len());
        match what { 0 => text[at] = with, 1 => text.insert(at, with), _ => { text.remove(at); } }
        if std::str::from_utf8(&text).is_ok() { agrees(&text); }
    }

    #[test]
    fn any_bytes_are_judged_as_serde_json_judges_them(text in "[\"{}\\[\\],:0-9tfn\\-.eE \\\\u]{0,24}") {
        agrees(text.as_bytes());
    }

    #[test]
    fn tokens_of_valid_json_rebuild_its_values(text in json()) {
        let text = text.trim().as_bytes();
        let mut depth = 0i64;
        for (token, from, to) in Tokens::new(text) {
            match token {
                Token::Open { .. } => depth += 1,
                Token::Close => depth -= 1,
                Token::Key | Token::Str => { serde_json::from_slice::<String>(&text[from - 1..to + 1]).unwrap(); }
                Token::Number | Token::Literal => { serde_json::from_slice::<serde_json::Value>(&text[from..to]).unwrap(); }
            }
        }
        prop_assert_eq!(depth, 0);
        let whole: serde_json::Value = serde_json::from_slice(text).unwrap();
        for child in Children::new(text) {
            let value: serde_json::Value = serde_json::from_slice(&text[child.value.0..child.value.1]).unwrap();
            match &whole {
                serde_json::Value::Array(items) => prop_assert!(items.contains(&value)),
                serde_json::Value::Object(_) => { serde_json::from_slice::<String>(&text[child.start..child.key.1 + 1]).unwrap(); }
                _ => prop_assert!(false),
            }
        }
    }
}

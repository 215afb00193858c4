//! What an event costs when something grows: its size, its fields, the rules it is held against.

use super::*;
use crate::corpus;

/// What grows, its unit, and how far.
pub(crate) const KINDS: [(&str, &str, &[usize]); 16] = [
    ("event size", "bytes", &[100, 1_000, 4_000, 16_000, 64_000]),
    ("fields", "fields", &[5, 20, 50, 100, 200]),
    ("nested members", "members", &[5, 20, 50, 100, 200]),
    ("fields into metadata", "fields", &[5, 20, 50, 100, 200]),
    ("redaction patterns", "patterns", &[1, 5, 10, 25, 50]),
    ("redaction patterns without a literal", "patterns", &[1, 5, 10, 25, 50]),
    ("redaction patterns that hit", "patterns", &[1, 5, 10, 25, 50]),
    ("redacted fields", "fields", &[1, 10, 50, 100, 200]),
    ("dropped fields", "fields", &[1, 10, 50, 100, 200]),
    ("validate rules", "rules", &[1, 5, 10, 25, 50]),
    ("filter conditions", "conditions", &[1, 5, 10, 25, 50]),
    ("route branches", "outputs", &[1, 5, 10, 25, 50]),
    ("sample rules", "rules", &[1, 5, 10, 25, 50]),
    ("fields set by edit", "fields", &[1, 10, 50, 100, 200]),
    ("fields removed by edit", "fields", &[1, 10, 50, 100, 200]),
    ("members out of parse", "members", &[5, 20, 50, 100, 200]),
];

/// The work on events where what `kind` names is `n`.
pub(crate) fn scaled(kind: &str, n: usize) -> Stage {
    let app = || corpus::app(200);
    let joined = |between: &str, each: &dyn Fn(usize) -> String| (0..n).map(each).collect::<Vec<_>>().join(between);
    let whole = |_: &str, left: usize| assert!(left > 0);
    let all = |text: Vec<u8>, transform: String| transforms::transformed(text, "", &transform, whole);
    let hits = |text: Vec<u8>, transform: String, word: &'static str, times: usize| {
        transforms::transformed(text, "", &transform, move |out, left| {
            assert_eq!(count(out.as_bytes(), word.as_bytes()), left * times, "{out:.500}");
        })
    };
    match kind {
        "event size" => chain(sized(n)),
        "fields" => chain(wide(n)),
        "nested members" => chain(nested(n)),
        "fields into metadata" => hits(wide(n), "type: normalize, schema: log".to_owned(), "\"f", n),
        "redaction patterns" => {
            let rule = |k| format!(r"{{name: p{k}, regex: '\bcode-{k}-\d+\b'}}");
            all(app(), format!("type: redact, in: [message], patterns: [{}]", joined(", ", &rule)))
        }
        "redaction patterns without a literal" => {
            let rule = |k| format!(r"{{name: p{k}, regex: '\b\d{{2}}[a-f]{{{}}}\d\b'}}", k % 10 + 1);
            all(app(), format!("type: redact, in: [message], patterns: [{}]", joined(", ", &rule)))
        }
        "redaction patterns that hit" => {
            // Texts as long as there are patterns, so that the work for one hit shows.
            let text = joined(" ", &|k| format!("code-{k}-12"));
            let line = format!("{{\"message\":\"{text}\"}}\n").repeat(50);
            let rule = |k| format!(r"{{name: p{k}, regex: '\bcode-{k}-\d+\b'}}");
            hits(
                line.into_bytes(),
                format!("type: redact, in: [message], patterns: [{}]", joined(", ", &rule)),
                "***",
                n,
            )
        }
        "redacted fields" => {
            let mask = joined(", ", &|k| format!("f{k}"));
            hits(wide(n), format!("type: redact, fields: {{mask: [{mask}]}}"), "***", n)
        }
        "dropped fields" => {
            let gone = joined(", ", &|k| format!("f{k}"));
            hits(wide(n), format!("type: redact, fields: {{drop: [{gone}]}}"), "\"f", 0)
        }
        "validate rules" => {
            let rule = |k| format!("{{check: 'duration >= -{k} && service != \"s{k}\"', error: no}}");
            all(app(), format!("type: validate, rules: [{}]", joined(", ", &rule)))
        }
        "filter conditions" => {
            let when = joined(" && ", &|k| format!("service != \"s{k}\""));
            all(app(), format!("type: filter, when: '{when}'"))
        }
        "route branches" => {
            let output = |k| format!("o{k}: 'service == \"s{k}\"'");
            let transform = format!("type: route, outputs: {{{}}}", joined(", ", &output));
            transforms::transformed(app(), "", &transform, |_, left| assert_eq!(left, 0, "all go to `other`"))
        }
        "sample rules" => {
            let rule = |k| format!("{{when: 'service == \"s{k}\"', rate: 0.5}}");
            all(app(), format!("type: sample, rules: [{}]", joined(", ", &rule)))
        }
        "fields set by edit" => {
            let set = joined(", ", &|k| format!("new{k}: x"));
            hits(app(), format!("type: edit, set: {{{set}}}"), "\"new", n)
        }
        "fields removed by edit" => {
            let gone = joined(", ", &|k| format!("f{k}"));
            hits(wide(n), format!("type: edit, remove: [{gone}]"), "\"f", 0)
        }
        "members out of parse" => {
            let inner = joined(",", &|k| format!(r#"\"f{k}\":{k}"#));
            let line = format!("{{\"message\":\"{{{inner}}}\",\"service\":\"s\"}}\n").repeat(50);
            hits(line.into_bytes(), "type: parse, decode: json".to_owned(), ",\"f", n)
        }
        _ => panic!("nothing called `{kind}` grows"),
    }
}

/// Events of about `n` bytes.
fn sized(n: usize) -> Vec<u8> {
    let head = r#"{"timestamp":"2025-06-15T15:00:00.000Z","level":"info","service":"s","message":""#;
    let words = "cache miss for key product, loading from database took some time ";
    let filler = words.repeat(n / words.len() + 1);
    let line = format!("{head}{}\"}}\n", &filler[..n.saturating_sub(head.len() + 3)]);
    line.repeat((200_000 / n).clamp(4, 200)).into_bytes()
}

/// Events with `n` fields `f0`, `f1`, … behind what a log has.
fn wide(n: usize) -> Vec<u8> {
    let more: String = (0..n).map(|k| format!(r#","f{k}":"v{k}""#)).collect();
    let head = r#"{"timestamp":"2025-06-15T15:00:00.000Z","level":"info","service":"s","message":"m""#;
    format!("{head}{more}}}\n").repeat(50).into_bytes()
}

/// Events with an object of `n` members.
fn nested(n: usize) -> Vec<u8> {
    let more: Vec<String> = (0..n).map(|k| format!(r#""f{k}":["v",{k}]"#)).collect();
    let head = r#"{"timestamp":"2025-06-15T15:00:00.000Z","level":"info","service":"s","message":"m""#;
    format!("{head},\"details\":{{{}}}}}\n", more.join(",")).repeat(50).into_bytes()
}

/// Decoding, normalizing, redaction of everything, validation, writing: one after the other.
fn chain(text: Vec<u8>) -> Stage {
    let (events, bytes) = (count(&text, b"\n"), text.len());
    let all = "type: normalize, schema: log, keep_rest: root\n\
               type: redact, detect: [secrets, credit_card, email]\n\
               type: validate, schema: log";
    let mut batches = Batches::new(text, "json", all);
    let mut out = Vec::new();
    let mut run = move || {
        let batch = batches.batch();
        out.clear();
        for event in batch.iter() {
            event.write_json(&mut out);
            out.push(b'\n');
        }
        done(batch);
        (count(&out, b"\"level\":\"INFO\""), out.len())
    };
    assert_eq!(run().0, events);
    Stage { events, bytes, work: Box::new(Plain(move || assert!(run().1 >= bytes))) }
}

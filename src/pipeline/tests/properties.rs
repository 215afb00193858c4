//! Whatever the bytes are, reading them ends, and says where.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use super::documents::{load, registry};
use crate::settings::*;

/// Pieces of configurations, to get past the parser more often than chance would.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "sources:",
            "transforms:",
            "sinks:",
            "tests:",
            "api:",
            "\n",
            "\n  ",
            "\n    ",
            "  ",
            " ",
            "- ",
            ": ",
            "{",
            "}",
            "[",
            "]",
            ",",
            "'",
            "\"",
            "|",
            ">",
            "&a",
            "*a",
            "!!str ",
            "#",
            "\t",
            "\r\n",
            "---",
            "...",
            "? ",
            "${",
            "}",
            "${A}",
            "${A:-",
            "$$",
            "type: file",
            "type: out",
            "type: redact",
            "inputs: [",
            "include: [a]",
            "password: ",
            "key: x",
            "a",
            "app",
            "é",
            "\u{1f980}",
            "\u{feff}",
            "\0",
            "\u{1b}[31m",
            "5",
            "5s",
            "1e999",
            "0x",
            "<<: ",
            "app.rejected",
            "'*'",
            "dead_letter: a",
            "\\",
            "\"\\x4",
            "%YAML 1.2\n",
            "%TAG ! x\n",
            "!",
            "@",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,6}",
        any::<char>().prop_map(String::from),
    ]
}

/// 1,500 cases, or as many as PROPTEST_CASES says.
fn settings() -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { default } else { ProptestConfig { cases: 1500, ..default } }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn no_text_makes_the_reader_panic(pieces in prop::collection::vec(piece(), 0..60)) {
        let text = pieces.concat();
        let environment = BTreeMap::from([("A".to_owned(), "[\n".to_owned())]);
        let loaded = load_texts(&[("t.yaml", &text)], &environment, registry());
        let said = loaded.report.render();
        prop_assert_eq!(loaded.config.is_some(), !loaded.report.diagnostics.has_errors());
        let control = said.chars().any(|c| c.is_control() && c != '\n');
        prop_assert!(!control, "{}", said);
    }

    #[test]
    fn no_change_of_a_good_file_makes_the_reader_panic(at in 0..400_usize, with in piece(), cut in 0..40_usize) {
        let mut text = "sources:\n  app: {type: file, include: ['a', \"b\"], max_line_bytes: 5KiB}\n  web:\n    type: http\n    listen: >-\n      127.0.0.1:80\n    bearer:\n      - ${A}\n      - |\n        x\ntransforms:\n  q: {type: validate, inputs: [app], to: \"{{ a }}\"}\nsinks:\n  out: {type: out, inputs: [q, q.rejected, web], buffer: {type: memory}, dead_letter: o2}\n  o2: {type: out, password: x}\ntests:\n  - {name: a, input: [{at: app, line: x}], expect: [{at: out, count: 1}]}\n".to_owned();
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) { at -= 1; }
        let mut end = (at + cut).min(text.len());
        while !text.is_char_boundary(end) { end -= 1; }
        text.replace_range(at..end.max(at), &with);
        let environment = BTreeMap::from([("A".to_owned(), "[\n".to_owned())]);
        let loaded = load_texts(&[("t.yaml", &text)], &environment, registry());
        loaded.report.render();
    }

    #[test]
    fn a_place_inside_a_scalar_is_found_whatever_the_quotes(
        words in prop::collection::vec("[a-z]{1,6}", 1..6), style in 0..5_usize, pick in any::<prop::sample::Index>(),
    ) {
        let target = pick.index(words.len());
        // Each word once, so that the marked text tells which it is.
        let words: Vec<String> = words.iter().enumerate().map(|(n, word)| format!("{word}{n}")).collect();
        let value = words.join(" ");
        let fold = words.join("\n      ");
        let text = match style {
            0 => format!("a: {value}\n"),
            1 => format!("a: '{value}'  # c\n"),
            2 => format!("a: \"{fold}\"\n"),
            3 => format!("a: |\n      {fold}\n"),
            _ => format!("a: >-\n      {fold}\n"),
        };
        let mut sources = SourceMap::default();
        let mut out = Diagnostics::default();
        let file = sources.add("t", text.as_str());
        let root = yaml::parse(file, &mut sources, &mut out).unwrap();
        let node = root.get("a").unwrap();
        let at = node.text.find(&words[target]).unwrap();
        let mut cx = Reader::new(&mut sources, &mut out);
        cx.error_in(node, at..at + words[target].len(), "here");
        let span = out.sorted()[0].span.unwrap();
        prop_assert_eq!(sources.text(span), words[target].as_str(), "{:?}", text);
    }
}

#[test]
fn hostile_texts_are_refused_in_bounded_time() {
    let laughs: String = (1..40).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}]\n", n - 1)).collect();
    let laughs = format!("a0: &a0 [x, y]\n{laughs}");
    let texts = [
        laughs,
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(50_000),
        format!("a: {}", "x".repeat(yaml::MAX_FILE_BYTES)),
        format!("a: '{}'", "${A:-".repeat(50_000)),
        "a: 1\n".repeat(50_000),
        format!("a: [{}]", "a, ".repeat(200_000)),
        "\"".repeat(100_001),
        "!".repeat(100_000),
        "&a ".repeat(50_000),
        format!(
            "sinks: {{a: {{x: {{{}}}}}}}",
            (0..50_000).map(|n| format!("token{n}: secret{n}, ")).collect::<String>()
        ),
        format!("x: [{}]", (0..20_000).map(|n| format!("'${{A:-v{n}}}', ")).collect::<String>()),
        format!("sources:\n{}", (0..5_000).map(|n| format!("  s{n}: {{}}\n")).collect::<String>()),
    ];
    for text in texts {
        let start = std::time::Instant::now();
        let loaded = load(&[("t.yaml", &text)]);
        assert!(loaded.config.is_none());
        let elapsed = start.elapsed();
        assert!(elapsed.as_secs() < 60, "{elapsed:?} for {:?}", text.get(..40));
    }
}

#![allow(clippy::unwrap_used, clippy::print_stderr)]
use super::*;
use proptest::prelude::*;

/// Joins lines as a source would: by keeping the lines of the open event.
fn join(rule: Multiline, lines: &[&str]) -> Vec<String> {
    let mut matcher = Matcher::new(Arc::new(rule));
    let mut state = Aggregator::default();
    let (mut open, mut out) = (Vec::<&str>::new(), Vec::new());
    for line in lines {
        let action = state.push(&mut matcher, line.as_bytes(), 0);
        assert_eq!(action.joins(), !open.is_empty() && !action.flushes_before(), "{action:?}");
        if action.flushes_before() {
            out.push(std::mem::take(&mut open).join("\n"));
        }
        open.push(line);
        if action.flushes_after() {
            out.push(std::mem::take(&mut open).join("\n"));
        }
        assert_eq!(state.is_open(), !open.is_empty());
    }
    if state.flush() {
        out.push(open.join("\n"));
    }
    out
}

fn preset(preset: Preset) -> Multiline {
    Multiline::preset(preset, Limits::default())
}

fn rule(start: &str, mode: Mode, condition: &str) -> Multiline {
    Multiline::rule(start, mode, condition, Limits::default()).unwrap()
}

#[test]
fn conformance_cases_of_other_agents_pass() {
    let Some(text) = crate::test_data::shared("multiline/cases.jsonl") else { return };
    let (mut passed, mut total) = (0, 0);
    for case in text.lines() {
        let case: serde_json::Value = serde_json::from_str(case).unwrap();
        let id = case["id"].as_str().unwrap();
        let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
        let list = |key: &str| -> Vec<String> { serde_json::from_value(case[key].clone()).unwrap() };
        let multiline = match (id, &*text("mode")) {
            ("fluent-bit-java", _) => preset(Preset::Java),
            ("fluent-bit-python", _) => preset(Preset::Python),
            ("fluent-bit-go", _) => preset(Preset::Go),
            ("fluent-bit-endswith", _) => rule(r"\\$", Mode::ContinuePast, r"\\$"),
            (_, mode) => {
                let mode = match mode {
                    "continue_through" => Mode::ContinueThrough,
                    "continue_past" => Mode::ContinuePast,
                    "halt_before" => Mode::HaltBefore,
                    "halt_with" => Mode::HaltWith,
                    other => panic!("mode {other}"),
                };
                rule(&text("start_pattern"), mode, &text("condition_pattern"))
            }
        };
        let lines = list("lines");
        let got = join(multiline, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        total += 1;
        if got == list("expected") {
            passed += 1;
        } else {
            eprintln!("{id}: {got:#?}");
        }
    }
    eprintln!("multiline: {passed} of {total} cases");
    assert!(passed >= 11, "{passed} of {total}");
}

#[test]
fn java_joins_frames_to_the_log_line_above_and_nested_causes() {
    let lines = [
        "2024-05-01 10:00:00 ERROR handler - java.lang.RuntimeException: no",
        "\tat a.B.c(B.java:1)",
        "\tSuppressed: java.io.IOException: closed",
        "\t\tat a.B.d(B.java:2)",
        "\t\t... 3 more",
        "Caused by: java.lang.NullPointerException",
        "\tat a.B.e(B.java:3)",
        "\t... 12 common frames omitted",
        "2024-05-01 10:00:01 INFO handler - fine",
        "java.rmi.ServerException: RemoteException occurred in server thread; nested exception is:",
        "\tjava.rmi.RemoteException: x",
        "\tat a.B.c(B.java:1)",
    ];
    assert_eq!(join(preset(Preset::Java), &lines), [lines[..8].join("\n"), lines[8].into(), lines[9..].join("\n")]);
}

#[test]
fn python_joins_chained_exceptions_and_groups_and_stops_at_a_log_line() {
    let lines = [
        "Traceback (most recent call last):",
        "  File \"a.py\", line 1, in <module>",
        "    x()",
        "KeyError: 'a'",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        "Traceback (most recent call last):",
        "  File \"a.py\", line 3, in <module>",
        "app.errors.Wrapped",
        "2024-05-01 INFO next",
        "  + Exception Group Traceback (most recent call last):",
        "  |   File \"b.py\", line 1, in <module>",
        "    +------------------------------------",
        "INFO:root:after",
    ];
    assert_eq!(
        join(preset(Preset::Python), &lines),
        [lines[..10].join("\n"), lines[10].into(), lines[11..14].join("\n"), lines[14].into()]
    );
}

#[test]
fn indented_lines_belong_to_the_line_above() {
    let lines = ["a", " b", "\tc", "d", "", " e"];
    assert_eq!(join(preset(Preset::Indent), &lines), ["a\n b\n\tc", "d", "\n e"]);
}

#[test]
fn an_event_is_split_at_its_limits_and_counted_and_nothing_is_cut() {
    let lines = ["a", " b", " c", " d", " eeeeeeee", "f"];
    let limits = Limits { max_lines: 2, max_bytes: 8, ..Limits::default() };
    let rule = Multiline::preset(Preset::Indent, limits);
    let mut matcher = Matcher::new(Arc::new(rule));
    let mut state = Aggregator::default();
    let actions = lines.map(|line| state.push(&mut matcher, line.as_bytes(), 0));
    use Action::*;
    assert_eq!(actions, [Start, Append, FlushStart, Append, FlushStart, FlushStart]);
    assert_eq!(state.splits(), 2);
}

#[test]
fn an_open_event_expires_after_its_timeout_and_not_before() {
    let mut matcher = Matcher::new(Arc::new(preset(Preset::Indent)));
    let mut state = Aggregator::default();
    assert!(!state.is_expired(&matcher, u64::MAX));
    state.push(&mut matcher, b"a", 5);
    state.push(&mut matcher, b" b", 7);
    assert!(!state.is_expired(&matcher, 1_000_000_006));
    assert!(state.is_expired(&matcher, 1_000_000_007));
    assert!(state.flush());
    assert!(!state.flush());
}

#[test]
fn a_bad_expression_names_its_setting() {
    let error = Multiline::rule("^a", Mode::HaltBefore, "(", Limits::default()).unwrap_err();
    assert_eq!(error.setting, "condition");
}

proptest! {
    /// Every line is in exactly one event, in order, whatever the rule.
    #[test]
    fn joining_loses_and_reorders_nothing(
        lines in prop::collection::vec("(|[ \t]{0,2}(at |a|b;|panic: x|Caused by:|Traceback \\(most recent call last\\):|E: f|f\\(1\\)|\\\\)){1}", 0..30),
        which in 0usize..8,
        max_lines in 1u32..6,
        max_bytes in 1usize..60,
    ) {
        let limits = Limits { max_lines, max_bytes, ..Limits::default() };
        let multiline = match which {
            0 => Multiline::preset(Preset::Java, limits),
            1 => Multiline::preset(Preset::Python, limits),
            2 => Multiline::preset(Preset::Go, limits),
            3 => Multiline::preset(Preset::Indent, limits),
            n => {
                let modes = [Mode::ContinueThrough, Mode::ContinuePast, Mode::HaltBefore, Mode::HaltWith];
                Multiline::rule("a", modes[n - 4], "b|^$", limits).unwrap()
            }
        };
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let events = join(multiline, &lines);
        prop_assert_eq!(events.join("\n"), lines.join("\n"));
        for event in &events {
            prop_assert!(event.lines().count() <= max_lines as usize + 1);
        }
    }
}

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

/// Events of one preset, as groups of lines.
fn groups(rule: Multiline, groups: &[&[&str]]) {
    let lines: Vec<&str> = groups.iter().flat_map(|group| group.iter().copied()).collect();
    let want: Vec<String> = groups.iter().map(|group| group.join("\n")).collect();
    assert_eq!(join(rule, &lines), want);
}

#[test]
fn ruby_joins_frames_and_causes_and_what_rails_puts_between() {
    groups(
        preset(Preset::Ruby),
        &[
            &["I, [2024-05-01T10:00:00.1 #7]  INFO -- : started"],
            &[
                "F, [2024-05-01T10:00:01.1 #7] FATAL -- : ",
                "NoMethodError (undefined method `name' for nil:NilClass):",
                "  ",
                "app/controllers/users_controller.rb:10:in `show'",
                "app/middleware/a.rb:3:in `call'",
            ],
            &["I, [2024-05-01T10:00:02.1 #7]  INFO -- : done"],
            &[
                "a.rb:1:in 'Object#foo': boom (RuntimeError)",
                "\tfrom a.rb:5:in 'bar'",
                "\t ... 12 levels...",
                "\tfrom <internal:kernel>:187:in 'loop'",
                "b.rb:2:in 'Integer#/': divided by 0 (ZeroDivisionError)",
                "\tfrom b.rb:9:in '<main>'",
            ],
            &["after"],
            &["a.rb:1:in `foo': boom (RuntimeError)", "\tfrom a.rb:5:in `<main>'"],
        ],
    );
}

#[test]
fn node_joins_frames_members_and_what_stands_around_uncaught_ones() {
    groups(
        preset(Preset::Node),
        &[
            &["listening on 3000"],
            &[
                "/app/index.js:5",
                "    throw new TypeError('x');",
                "    ^",
                "",
                "TypeError: x",
                "    at main (/app/index.js:5:11)",
                "    at async Promise.all (index 0) {",
                "  code: 'E_X',",
                "  [cause]: Error: y",
                "      at z (/app/y.js:1:1) {",
                "    errno: -2",
                "  }",
                "}",
                "",
                "Node.js v20.1.0",
            ],
            &[
                "[2024-05-01T10:00:00.000Z] ERROR: request failed",
                "Error: Cannot find module './a'",
                "Require stack:",
                "- /app/b.js",
                "    at f (/app/b.js:1:1)",
            ],
            &["[2024-05-01T10:00:00.000Z] INFO: fine"],
            &["Error [ERR_X]: alone", "    at f (/app/b.js:1:1)"],
        ],
    );
}

#[test]
fn php_joins_stack_traces_of_its_own_and_of_loggers() {
    groups(
        preset(Preset::Php),
        &[
            &[
                "[01-May-2024 10:00:00 UTC] PHP Fatal error:  Uncaught Exception: no in /srv/a.php:3",
                "Stack trace:",
                "#0 /srv/a.php(9): f()",
                "#1 {main}",
            ],
            &[""],
            &[
                "[2024-05-01 10:00:00] production.ERROR: no {\"exception\":\"[object] (Exception(code: 0): no at /srv/a.php:3)",
                "[stacktrace]",
                "#0 /srv/a.php(9): f()",
                "#1 {main}",
                "\"} ",
            ],
            &["[2024-05-01 10:00:01] production.INFO: fine"],
            &[
                "PHP Fatal error:  Uncaught Error: x in /a.php:1",
                "Stack trace:",
                "#0 {main}",
                "  thrown in /a.php on line 1",
            ],
            &[
                "[01-May-2024 10:00:00 UTC] PHP Warning:  y in /a.php on line 2",
                "[01-May-2024 10:00:00 UTC] PHP Stack trace:",
                "[01-May-2024 10:00:00 UTC] PHP   1. {main}() /a.php:0",
                "[01-May-2024 10:00:00 UTC] PHP   2. f() /a.php:4",
            ],
            &["[01-May-2024 10:00:01 UTC] PHP Notice:  z in /a.php on line 2"],
        ],
    );
}

#[test]
fn rust_joins_panics_with_their_messages_and_errors_with_their_causes() {
    groups(
        preset(Preset::Rust),
        &[
            &["2024-05-01T10:00:00Z ERROR app: giving up"],
            &[
                "thread 'main' panicked at src/main.rs:4:5:",
                "assertion `left == right` failed: no",
                "  left: 1",
                " right: 2",
                "stack backtrace:",
                "   0: rust_begin_unwind",
                "             at /rustc/abc/library/std/src/panicking.rs:645:5",
                "note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.",
            ],
            &["next"],
            &[
                "thread 'tokio-runtime-worker' (812) panicked at 'boom', src/a.rs:1:2",
                "note: run with `RUST_BACKTRACE=1`",
            ],
            &[
                "Error: cannot read",
                "",
                "Caused by:",
                "    0: open /x",
                "    1: No such file or directory (os error 2)",
            ],
        ],
    );
}

#[test]
fn dotnet_joins_frames_inner_exceptions_and_what_the_console_writes() {
    groups(
        preset(Preset::Dotnet),
        &[
            &[
                "fail: Microsoft.AspNetCore.Server.Kestrel[13]",
                "      Connection id \"0HL\": an unhandled exception was thrown.",
                "      System.InvalidOperationException: no",
                "         at App.Program.Main() in /src/Program.cs:line 5",
            ],
            &["info: Microsoft.Hosting.Lifetime[0]", "      Application is shutting down..."],
            &[
                "Unhandled exception. System.AggregateException: One or more errors occurred. (x)",
                " ---> System.IO.IOException: x",
                "   at A.B() in /src/A.cs:line 2",
                "   --- End of inner exception stack trace ---",
                "   at A.C()",
                "--- End of stack trace from previous location ---",
                "   at A.D()",
            ],
            &["2024-05-01 10:00:00.000 +00:00 [ERR] failed", "System.ArgumentException: y", "   at A.B()"],
            &["2024-05-01 10:00:00.000 +00:00 [INF] fine"],
        ],
    );
}

#[test]
fn a_trace_belongs_to_the_dated_line_above_unless_that_says_all_is_well() {
    groups(
        preset(Preset::Java),
        &[
            &[
                "2024-05-01 10:00:00,123 ERROR [main] a.B - cannot",
                "java.lang.IllegalStateException: no",
                "\tat a.B.c(B.java:1)",
                "Caused by: java.io.IOException: x",
                "\t... 3 more",
            ],
            &["2024-05-01 10:00:01,123 INFO [main] a.B - fine"],
            &["java.lang.IllegalStateException: of another thread", "\tat a.B.c(B.java:1)"],
            &["10:00:01.123 [main] WARN a.B - slow"],
            &["10:00:02.123 [main] WARN a.B - slow", "a.b.SlowException", "\tat a.B.c(B.java:1)"],
        ],
    );
    groups(
        preset(Preset::Python),
        &[
            &[
                "ERROR:root:boom",
                "Traceback (most recent call last):",
                "  File \"a.py\", line 1, in <module>",
                "ValueError: x",
            ],
            &["INFO:root:fine"],
            &[
                "May  1 10:00:00 web app[7]: ERROR no",
                "Traceback (most recent call last):",
                "  File \"a.py\", line 1, in f",
                "KeyError: 'a'",
            ],
            &["2024-05-01 10:00:00,1 - app - CRITICAL - no"],
            &["2024-05-01 10:00:00,1 - app - DEBUG - yes"],
        ],
    );
    groups(
        preset(Preset::Go),
        &[
            &[
                "E0505 17:59:40.692994   28133 a.go:70] recovered",
                "goroutine 1 [running]:",
                "main.f(0x1)",
                "\t/app/main.go:5 +0x1",
            ],
            &["time=2024-05-01T10:00:00Z level=error msg=no"],
            &["panic: no", "", "goroutine 1 [running]:", "main.main()", "\t/app/main.go:5 +0x1"],
        ],
    );
}

#[test]
fn several_presets_share_a_stream() {
    groups(
        Multiline::presets(vec![Preset::Java, Preset::Python, Preset::Go], Limits::default()),
        &[
            &[
                "2024-05-01 10:00:00 ERROR a - no",
                "Traceback (most recent call last):",
                "  File \"a.py\", line 1, in f",
                "KeyError: 'a'",
            ],
            &["2024-05-01 10:00:00 ERROR a - no", "java.lang.Error: x", "\tat a.B.c(B.java:1)"],
            &["panic: no", "", "goroutine 1 [running]:", "main.main()", "\t/app/main.go:5 +0x1"],
            &["plain"],
            &["java.lang.Error: x", "\tat a.B.c(B.java:1)"],
            // WebLogic's server log, and what it prints.
            &[
                "####<Nov 30, 2026 10:00:05,123 AM CET> <Error> <HTTP> <host> <AdminServer> <BEA-101020> <failed",
                "java.lang.NullPointerException",
                "\tat a.B.c(B.java:1)",
            ],
            &["<Nov 30, 2026 10:00:06 AM CET> <Warning> <Server> <x>", "a.b.SlowException: y", "\tat a.B.c(B.java:1)"],
            &["<Nov 30, 2026 10:00:07 AM CET> <Info> <Server> <x>"],
            &["Traceback (most recent call last):", "  File \"a.py\", line 1, in f", "KeyError: 'a'"],
        ],
    );
}

#[test]
fn dates_are_known_in_the_forms_that_logs_have() {
    for line in [
        "2024-05-01 10:00:00 x",
        "2024-05-01T10:00:00Z x",
        "[2024-05-01 10:00:00] x",
        "2024/05/01 10:00:00 x",
        "[01/May/2024:10:00:00 +0000] x",
        "01-May-2024 10:00:00 x",
        "05/01/2024 10:00 AM x",
        "01.05.2024 10:00 x",
        "10:00:00.123 [main] x",
        "May  1 10:00:00 host x",
        "Wed May  1 10:00:00 2024 x",
        "[Wed May 01 10:00:00.1 2024] x",
        "Wed, 01 May 2024 x",
        "<13>May  1 10:00:00 x",
        "1714557600.123 x",
        "1714557600123 x",
        "20240501 10:00:00 x",
        "160802 20:14:29 [Note] x",
        "I0501 10:00:00.1 7 a.go:1] x",
        "W, [2024-05-01T10:00:00 #7] x",
        "time=\"2024-05-01T10:00:00Z\" level=error",
        "1 May 2024 10:00:00 x",
        "####<May 1, 2024 10:00:00,123 AM CEST> <Error> x",
        "<May 1, 2024 10:00:00 AM CEST> <Error> x",
    ] {
        assert!(presets::is_dated(line.as_bytes()), "{line}");
    }
    for line in [
        "",
        "x",
        "12 monkeys",
        "404 not found",
        "10.0.0.1 - - x",
        "at a.B.c",
        "Marathon 26",
        "May be",
        "Monday",
        "1.5 seconds",
        "12:30 lunch",
        " 2024-05-01 x",
        "2024",
        "Error: x",
        "KeyError: 1",
        "#0 /a.php(9): f()",
        "16080220 files",
    ] {
        assert!(!presets::is_dated(line.as_bytes()), "{line}");
    }
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
        lines in prop::collection::vec("(|[ \t]{0,2}(at |a|b;|panic: x|Caused by:|Traceback \\(most recent call last\\):|E: f|f\\(1\\)|2024-05-01 ERROR|#1 x|/a:1|\\^|a:1:in 'x': y|thread 'a' panicked at b:|Error: x|\\\\)){1}", 0..30),
        which in 0usize..9,
        max_lines in 1u32..6,
        max_bytes in 1usize..60,
    ) {
        let limits = Limits { max_lines, max_bytes, ..Limits::default() };
        let multiline = match which {
            0 => Multiline::preset(Preset::Java, limits),
            1 => Multiline::preset(Preset::Python, limits),
            2 => Multiline::preset(Preset::Go, limits),
            3 => Multiline::preset(Preset::Indent, limits),
            8 => Multiline::presets(
                vec![Preset::Ruby, Preset::Node, Preset::Php, Preset::Rust, Preset::Dotnet, Preset::Java, Preset::Python, Preset::Go],
                limits,
            ),
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

//! Container lines: parts and traces over reads, rotations, restarts and time.

use super::*;
use crate::framing::container::cri;

const TIME: &str = "2025-01-01T00:00:00Z";

fn line(stream: &str, tag: &str, text: &str) -> String {
    format!("{TIME} {stream} {tag} {text}\n")
}

fn out(tag: &str, text: &str) -> String {
    line("stdout", tag, text)
}

fn err(tag: &str, text: &str) -> String {
    line("stderr", tag, text)
}

impl World {
    /// The messages since the last call, by stream; lines that are none of a container as they are.
    fn messages(&mut self) -> Vec<String> {
        let message = |line: String| match cri::parse(line.as_bytes()) {
            Ok(found) => String::from_utf8_lossy(found.message.of(line.as_bytes())).into_owned(),
            Err(_) => line,
        };
        self.lines().into_iter().map(message).collect()
    }
}

const EMPTY: [&str; 0] = [];

#[test]
fn a_line_of_exactly_the_most_bytes_is_not_long_whatever_its_end() {
    let line = out("F", "0123456789");
    let bare = line.trim_end();
    for long in ["truncate", "skip", "split"] {
        for end in ["\n", "\r\n"] {
            let mut w = World::new(&format!("decode: cri\nmax_line_bytes: {}\nlong_lines: {long}", bare.len()));
            // Read in pieces: its end is not there yet, and then half of it.
            w.append("a.log", bare);
            w.read();
            for part in end.split_inclusive(['\r', '\n']) {
                w.append("a.log", part);
                w.read();
            }
            w.append("a.log", &format!("{bare}{end}"));
            w.read();
            assert_eq!(w.messages(), ["0123456789"; 2], "{long}, {end:?}");
            assert_eq!(w.errors("long_lines"), 0, "{long}, {end:?}");
        }
    }
}

#[test]
fn a_slow_second_half_is_waited_for_as_long_as_is_set() {
    let mut w = World::new("decode: cri\npartial_timeout: 5s");
    w.append("a.log", &out("P", "one, "));
    w.pass(4);
    w.append("a.log", &err("F", "other"));
    w.append("a.log", &out("P", "two, "));
    w.pass(4);
    assert_eq!(w.messages(), ["other"]);
    w.append("a.log", &out("F", "three"));
    w.pass(1);
    assert_eq!(w.messages(), ["one, two, three"]);
    w.append("a.log", &out("P", "alone"));
    w.pass(4);
    // The other stream does not keep it waiting.
    w.append("a.log", &err("F", "other"));
    w.pass(2);
    assert_eq!(w.messages(), ["other", "alone"]);
    w.append("a.log", &out("F", "late"));
    w.pass(1);
    w.restart();
    w.pass(20);
    assert_eq!(w.messages(), ["late"]);
}

#[test]
fn what_has_waited_long_enough_is_given_at_its_time() {
    let mut w = World::new("decode: cri\npartial_timeout: 450ms");
    w.append("a.log", &out("P", "half"));
    let mut came = Vec::new();
    for _ in 0..50 {
        w.settle();
        came.push(w.messages().len());
        w.now.mono += 10 * MILLISECOND;
    }
    assert_eq!(came.iter().position(|n| *n > 0), Some(45));
}

#[test]
fn a_message_is_given_whole_after_a_restart_and_after_a_kill_and_nothing_twice() {
    let mut w = World::new("decode: cri");
    w.append("a.log", &[err("F", "e1"), out("P", "one, "), err("F", "e2"), "torn\n".into()].concat());
    w.read();
    assert_eq!(w.messages(), ["e1", "e2", "one, ", "torn"]);
    w.append("a.log", &[out("P", "two, "), err("F", "e3"), err("P", "e4, ")].concat());
    w.read();
    w.restart();
    w.append("a.log", &[err("F", "e5")].concat());
    w.read();
    w.restart();
    w.read();
    assert_eq!(w.messages(), ["e3", "e4, e5"]);
    w.kill();
    w.start();
    w.append("a.log", &out("F", "three"));
    w.read();
    assert_eq!(w.messages(), ["two, three"]);
    w.restart();
    w.pass(30);
    assert_eq!(w.messages(), EMPTY);
}

#[test]
fn what_is_open_is_not_settled() {
    let mut w = World::new("decode: cri");
    w.taken.settle = false;
    w.append("a.log", &[out("P", "one, "), err("F", "e1")].concat());
    w.read();
    w.append("a.log", &[out("F", "two")].concat());
    w.read();
    assert_eq!(w.messages(), ["e1", "one, two"]);
    // The first chunk is settled, the second is not.
    w.taken.acks.remove(0).settle(Verdict::Delivered);
    w.pass(2);
    w.kill();
    w.start();
    w.read();
    assert_eq!(w.messages(), ["one, two"]);
}

#[test]
fn a_message_goes_on_in_the_file_that_took_the_name() {
    for include in ["['*.log']", "['*.log*']"] {
        let mut w = World::reading(include, "decode: cri\npartial_timeout: 1h");
        w.append("0.log", &[out("F", "whole 1"), out("P", "a"), err("P", "x")].concat());
        w.read();
        w.rename("0.log", "0.log.20250101-000000");
        w.append("0.log", &[err("F", "y"), out("P", "b"), err("F", "z"), out("F", "c"), out("F", "whole 2")].concat());
        w.read();
        assert_eq!(w.messages(), ["whole 1", "xy", "z", "abc", "whole 2"], "{include}");
        w.restart();
        w.pass(60);
        assert_eq!(w.messages(), EMPTY, "{include}");
    }
}

#[test]
fn what_comes_between_two_looks_is_joined_in_its_order() {
    for include in ["['*.log']", "['*.log*']"] {
        let mut w = World::reading(include, "decode: cri\npartial_timeout: 1h");
        w.append("0.log", &[out("F", "first"), out("P", "a"), err("P", "x")].concat());
        w.read();
        w.append("0.log", &out("P", "b"));
        for (n, text) in [out("P", "c"), err("P", "y"), String::new(), out("F", "d")].iter().enumerate() {
            w.rename("0.log", &format!("0.log.20250101-00000{n}"));
            tick();
            w.append("0.log", text);
        }
        w.append("0.log", &err("F", "z"));
        w.read();
        assert_eq!(w.messages(), ["first", "abcd", "xyz"], "{include}");
        w.restart();
        w.pass(60);
        assert_eq!(w.messages(), EMPTY, "{include}");
    }
}

#[test]
fn a_rotation_while_the_agent_is_down_is_joined_too() {
    for include in ["['*.log']", "['*.log*']"] {
        for kill in [false, true] {
            let mut w = World::reading(include, "decode: cri\npartial_timeout: 1h");
            w.append("0.log", &[out("F", "first"), out("P", "a"), err("F", "x")].concat());
            w.read();
            if kill {
                w.kill();
            } else {
                w.stop();
            }
            w.rename("0.log", "0.log.20250101-000000");
            tick();
            w.append("0.log", &[err("F", "y"), out("F", "b"), out("F", "last")].concat());
            w.start();
            w.read();
            assert_eq!(w.messages(), ["first", "x", "y", "ab", "last"], "{include} {kill}");
        }
    }
}

#[test]
fn a_start_in_the_middle_of_a_rotation_is_no_border() {
    let mut w = World::reading("['*.log*']", "decode: cri\npartial_timeout: 1h");
    w.append("0.log", &[err("F", "x"), out("P", "a")].concat());
    w.read();
    w.stop();
    w.rename("0.log", "0.log.20250101-000000");
    tick();
    w.append("0.log", &[out("P", "b")].concat());
    w.rename("0.log", "0.log.20250101-000001");
    w.start();
    w.read();
    tick();
    w.append("0.log", &[out("F", "c")].concat());
    w.read();
    assert_eq!(w.messages(), ["x", "abc"]);
}

#[test]
fn stopped_or_killed_between_the_halves_of_a_rotation_both_are_read_again() {
    for include in ["['*.log']", "['*.log*']"] {
        for kill in [false, true] {
            let mut w = World::reading(include, "decode: cri\npartial_timeout: 1h");
            w.append("0.log", &[err("F", "x"), out("P", "a")].concat());
            w.read();
            w.rename("0.log", "0.log.20250101-000000");
            w.append("0.log", &[err("F", "y"), out("P", "b"), err("F", "z")].concat());
            w.read();
            assert_eq!(w.messages(), ["x", "y", "z"]);
            if kill {
                w.kill();
            } else {
                w.stop();
            }
            w.append("0.log", &[out("F", "c"), out("F", "last")].concat());
            w.start();
            w.read();
            assert_eq!(w.messages(), ["abc", "last"], "{include} {kill}");
            w.restart();
            w.pass(60);
            assert_eq!(w.messages(), EMPTY, "{include} {kill}");
        }
    }
}

#[test]
fn a_rotated_file_that_was_compressed_goes_on_in_the_new_one() {
    for include in ["['*.log']", "['*.log*']"] {
        let mut w = World::reading(include, "decode: cri\npartial_timeout: 1h");
        w.append("0.log", &[out("F", "first"), out("P", "a"), err("F", "x")].concat());
        w.read();
        w.stop();
        w.append("0.log", &[err("F", "y"), out("P", "b")].concat());
        w.rename("0.log", "rotated");
        tick();
        w.append("0.log", &[err("F", "z"), out("F", "c"), out("F", "last")].concat());
        tick();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&std::fs::read(w.path("rotated")).unwrap()).unwrap();
        std::fs::write(w.path("0.log.20250101-000000.gz"), packed.finish().unwrap()).unwrap();
        w.remove("rotated");
        w.start();
        w.read();
        assert_eq!(w.messages(), ["first", "x", "y", "z", "abc", "last"], "{include}");
        w.restart();
        w.pass(60);
        assert_eq!(w.messages(), EMPTY, "{include}");
    }
}

#[test]
fn neither_file_is_settled_before_the_joined_message_is() {
    for include in ["['*.log']", "['*.log*']"] {
        let mut w = World::reading(include, "decode: cri\npartial_timeout: 1h");
        w.append("0.log", &[err("F", "x"), out("P", "a")].concat());
        w.read();
        w.taken.settle = false;
        w.rename("0.log", "0.log.20250101-000000");
        w.append("0.log", &[out("F", "b"), out("F", "c")].concat());
        w.read();
        assert_eq!(w.messages(), ["x", "ab", "c"]);
        w.kill();
        w.start();
        w.read();
        assert_eq!(w.messages(), ["ab", "c"], "{include}");
        w.restart();
        w.read();
        assert_eq!(w.messages(), EMPTY, "{include}");
    }
}

#[test]
fn the_rest_of_a_rotated_file_comes_before_the_new_one() {
    let mut w = World::reading("['*.log*']", "decode: cri");
    w.append("0.log", &out("F", "1"));
    w.read();
    w.append("0.log", &out("F", "2"));
    w.rename("0.log", "0.log.20250101-000000");
    w.append("0.log", &out("F", "3"));
    w.read();
    assert_eq!(w.messages(), ["1", "2", "3"]);
}

#[test]
fn a_part_that_nothing_follows_comes_when_its_file_is_gone() {
    let mut w = World::new("decode: cri");
    w.append("a.log", &[out("F", "1"), out("P", "half")].concat());
    w.read();
    w.remove("a.log");
    w.pass(12);
    assert_eq!(w.messages(), ["1", "half"]);
    w.pass(30);
    assert_eq!(w.tailer.as_ref().unwrap().files.handles.open(), 0, "its space is held");
    w.append("b.log", &out("P", "b"));
    w.read();
    w.remove("b.log");
    w.stop();
    assert_eq!(w.messages(), ["b"], "it cannot be read after a restart");
    w.start();
    w.pass(20);
    assert_eq!(w.messages(), EMPTY);
}

#[test]
fn a_deleted_file_whose_part_was_handed_on_loses_nothing_at_a_stop() {
    let mut w = World::new("decode: cri\npartial_timeout: 1h");
    w.append("a.log", &out("P", "a"));
    w.read();
    w.remove("a.log");
    w.append("a.log", &out("P", "b"));
    w.read();
    assert_eq!(w.messages(), EMPTY);
    w.stop();
    assert_eq!(w.messages(), ["ab"]);
    w.append("a.log", &out("F", "c"));
    w.start();
    w.read();
    assert_eq!(w.messages(), ["c"]);
}

#[test]
fn with_once_what_is_open_comes_at_the_end_and_rotated_files_go_on_in_the_next() {
    let mut w = World::reading("['*.log*']", "decode: cri\nmultiline: java");
    w.stop();
    w.once = true;
    w.append("0.log.20250101-000000", &[out("F", "E"), out("P", "\tat ")].concat());
    tick();
    w.append("0.log.20250102-000000", &[err("F", "x"), out("F", "a")].concat());
    tick();
    w.append("0.log", &[out("F", "\tat b"), err("F", "\tat c"), out("P", "half")].concat());
    w.start();
    w.settle();
    let text: Vec<String> = w.messages();
    assert_eq!(text, ["E\n\tat a\n\tat b", "half", "x\n\tat c"]);
}

#[test]
fn files_with_numbers_of_their_own_are_no_generations_of_each_other() {
    let mut w = World::new("decode: cri");
    for name in ["app-1.log", "app-2.log", "app.log"] {
        w.append(name, &out("P", &format!("{name} a ")));
        w.read();
    }
    for name in ["app-1.log", "app-2.log", "app.log"] {
        w.append(name, &out("F", &format!("{name} b")));
    }
    w.read();
    let mut came = w.messages();
    came.sort();
    assert_eq!(came, ["app-1.log a app-1.log b", "app-2.log a app-2.log b", "app.log a app.log b"]);
}

#[test]
fn a_message_that_is_cut_off_with_its_file_goes_on_behind_the_cut() {
    let mut w = World::new("decode: cri");
    w.append("a.log", &[err("F", "x"), out("P", "a")].concat());
    w.read();
    std::fs::write(w.path("a.log"), out("F", "b")).unwrap();
    w.read();
    w.restart();
    w.pass(20);
    assert_eq!(w.messages(), ["x", "ab"]);
    w.append("a.log", &out("P", "c"));
    w.read();
    std::fs::write(w.path("a.log"), "").unwrap();
    w.read();
    w.stop();
    assert_eq!(w.messages(), ["c"], "nobody can read it again");
}

#[test]
fn traces_are_joined_per_stream_whatever_comes_between() {
    let mut w = World::new("decode: cri\nmultiline: java");
    w.append("a.log", &[err("F", "E: x"), out("F", "o1"), err("F", "\tat a"), out("F", "o2")].concat());
    w.settle();
    assert_eq!(w.messages(), ["o1"]);
    w.append("a.log", "torn\n");
    w.pass(0);
    w.now.mono += 500 * MILLISECOND;
    w.settle();
    assert_eq!(w.messages(), ["torn"]);
    w.restart();
    w.append("a.log", &[err("F", "\tat b"), out("F", "o3"), err("F", "e2")].concat());
    w.settle();
    assert_eq!(w.messages(), ["o2", "E: x\n\tat a\n\tat b"]);
    w.restart();
    w.pass(3);
    assert_eq!(w.messages(), ["o3", "e2"]);
}

#[test]
fn a_trace_goes_on_in_the_file_that_took_the_name() {
    for include in ["['*.log']", "['*.log*']"] {
        let rule = "{start: '^E', mode: continue_through, condition: '^ ', timeout: 5s}";
        let mut w = World::reading(include, &format!("decode: cri\nmultiline: {rule}"));
        w.append("0.log", &[err("F", "E1"), err("F", " a"), out("F", "E2"), err("P", " b")].concat());
        w.read();
        w.rename("0.log", "0.log.1");
        w.append("0.log", &[out("F", "o"), err("F", "c"), err("F", " d"), err("F", "e")].concat());
        w.read();
        assert_eq!(w.messages(), ["E2", "o", "E1\n a\n bc\n d", "e"], "{include}");
        w.restart();
        w.pass(60);
        assert_eq!(w.messages(), EMPTY, "{include}");
    }
}

#[test]
fn joined_messages_are_bounded_by_the_longest_line() {
    let texts = |long: &str| {
        let mut w = World::new(&format!("decode: cri\nmax_line_bytes: 64\nlong_lines: {long}"));
        let part = "x".repeat(20);
        w.append("a.log", &[out("P", &part), out("P", &part), out("P", &part), err("F", "e")].concat());
        w.read();
        w.restart();
        w.append("a.log", &[out("F", "rest"), out("F", "next")].concat());
        w.read();
        let counts = w.counters.snapshot();
        let came: Vec<String> = w.messages().iter().map(|m| m.replace(&part, "[]")).collect();
        (came, counts.dropped.get("long_line").copied().unwrap_or(0))
    };
    assert_eq!(texts("truncate").0, ["[]xxxxxxxxxxxxxx", "e", "next"]);
    assert_eq!(texts("skip").0, ["e", "next"]);
    assert_eq!(texts("split").0, ["[]", "[]", "e", "[]rest", "next"]);
}

#[test]
fn a_trace_is_not_settled_with_a_message_behind_it_that_is_dropped() {
    let rule = "multiline: {start: '^E', mode: continue_through, condition: '^ ', timeout: 1h}";
    let more = "partial_timeout: 1h\nmax_line_bytes: 64\nlong_lines: skip";
    let mut w = World::new(&format!("decode: cri\n{rule}\n{more}"));
    let part = out("P", &"x".repeat(20));
    w.append("0.log", &[out("F", "E1"), part.clone()].concat());
    w.read();
    w.rename("0.log", "0.log.1");
    w.append("0.log", &[&*part, &part, &err("F", "e1")].concat());
    w.read();
    w.append("0.log", &err("F", "e2"));
    w.read();
    assert_eq!(w.messages(), ["e1", "e2"]);
    w.kill();
    w.start();
    w.append("0.log", &[out("F", "rest"), out("F", "next")].concat());
    w.read();
    assert_eq!(w.messages(), ["E1", "next"]);
}

#[test]
fn where_too_much_is_open_the_most_is_given() {
    let mut w = World::new("decode: cri\npartial_timeout: 1h");
    let part = "x".repeat(200_000);
    for n in 0..40 {
        w.append(&format!("{n}.log"), &out("P", &part));
    }
    w.read();
    let given = w.messages().len();
    assert!((20..25).contains(&given), "{given}");
    assert_eq!(w.errors("multiline_limit"), given as u64);
    for n in 0..40 {
        w.append(&format!("{n}.log"), &out("F", "end"));
    }
    w.read();
    assert_eq!(w.messages().concat().len(), (40 - given) * part.len() + 40 * 3);
}

/// Random writing of two streams, rotations, reads, stops and kills.
struct Model {
    w: World,
    random: fastrand::Rng,
    /// Whole messages by stream, and the one that lacks a part.
    written: [Vec<String>; 2],
    open: [String; 2],
    number: u32,
    rotations: u32,
    kills: u32,
    /// Messages that begin with a blank belong to the one before.
    traces: bool,
    log: Vec<String>,
}

impl Model {
    fn write(&mut self) {
        let n = self.random.usize(..2);
        let stream = ["stdout", "stderr"][n];
        self.number += 1;
        let indent = if self.random.bool() { " " } else { "" };
        let text = format!("{indent}{}{}", &stream[3..4], self.number);
        self.open[n].push_str(&text);
        let partial = self.random.bool();
        self.w.append("0.log", &line(stream, if partial { "P" } else { "F" }, &text));
        if !partial {
            let message = std::mem::take(&mut self.open[n]);
            self.written[n].push(message);
        }
    }

    fn rotate(&mut self) {
        self.rotations += 1;
        // Births are told apart by the clock's ticks only.
        tick();
        self.w.rename("0.log", &format!("0.log.20250101-{:06}", self.rotations));
        self.w.append("0.log", "");
        tick();
    }

    fn run(seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let include = if random.bool() { "['*.log']" } else { "['*.log*']" };
        let traces = random.bool();
        let rule = "multiline: {start: '', mode: continue_through, condition: '^ ', timeout: 1h}";
        let more = format!("decode: cri\npartial_timeout: 1h\n{}", if traces { rule } else { "" });
        let w = World::reading(include, &more);
        let (written, open) = Default::default();
        let mut m = Model { w, random, written, open, number: 0, rotations: 0, kills: 0, traces, log: Vec::new() };
        m.w.taken.settle = m.random.bool();
        let kills = m.random.u8(..3) == 0;
        m.w.append("0.log", "");
        m.w.read();
        for _ in 0..m.random.usize(5..60) {
            let action = m.random.u8(..100);
            let name = match action {
                0..45 => "write",
                45..65 => "read",
                65..75 => "rotate",
                75..80 => "wait",
                80..85 => "settle",
                85..90 => "full",
                90..96 => "stop",
                _ if kills => "kill",
                _ => "write",
            };
            m.log.push(name.to_owned());
            tracing::debug!(name);
            match name {
                "read" => m.w.settle(),
                "rotate" => m.rotate(),
                "wait" => m.w.pass(1),
                "settle" => m.w.taken.acks.drain(..).for_each(|ack| ack.settle(Verdict::Delivered)),
                "full" => m.w.taken.full = !m.w.taken.full,
                "stop" | "kill" => {
                    m.w.taken.full = false;
                    if name == "stop" {
                        m.w.stop();
                    } else {
                        m.w.kill_before_delivery();
                        m.kills += 1;
                    }
                    for _ in 0..m.random.usize(..4) {
                        if m.random.u8(..3) == 0 { m.rotate() } else { m.write() }
                    }
                    m.w.start();
                }
                _ => m.write(),
            }
        }
        m.check(seed, include);
    }

    fn check(mut self, seed: u64, include: &str) {
        self.w.taken.full = false;
        for n in 0..2 {
            let stream = ["stdout", "stderr"][n];
            if !self.open[n].is_empty() {
                self.w.append("0.log", &line(stream, "F", "end"));
                let message = std::mem::take(&mut self.open[n]) + "end";
                self.written[n].push(message);
            }
            if self.traces {
                // This one stays open.
                self.w.append("0.log", &line(stream, "F", "open"));
                let mut events: Vec<String> = Vec::new();
                for message in self.written[n].drain(..) {
                    match events.last_mut() {
                        Some(event) if message.starts_with(' ') => *event = format!("{event}\n{message}"),
                        _ => events.push(message),
                    }
                }
                self.written[n] = events;
            }
        }
        self.w.pass(60);
        let lines = self.w.lines();
        let what = format!("TIDEGATE_SEED={seed} {include} after {:?}", self.log);
        for n in 0..2 {
            let parsed = lines.iter().map(|line| (cri::parse(line.as_bytes()).unwrap(), line.as_bytes()));
            let mine = parsed.filter(|(found, line)| found.stream.of(line) == ["stdout", "stderr"][n].as_bytes());
            let came: Vec<String> =
                mine.map(|(found, line)| String::from_utf8_lossy(found.message.of(line)).into_owned()).collect();
            if self.kills == 0 {
                assert_eq!(came, self.written[n], "{what}");
            } else {
                for message in &self.written[n] {
                    assert!(came.contains(message), "{message:?} is not in {came:?}: {what}");
                }
            }
        }
        // All is settled: the next start has nothing to give.
        self.w.taken.acks.drain(..).for_each(|ack| ack.settle(Verdict::Delivered));
        self.w.restart();
        self.w.pass(5);
        assert_eq!(self.w.lines(), EMPTY, "{what}");
    }
}

#[test]
fn any_parts_any_rotation_and_any_stop_give_the_same_messages() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("TIDEGATE_SEED") {
        // Shown where the test fails.
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().without_time();
        return tracing::subscriber::with_default(log.finish(), || Model::run(seed));
    }
    for seed in 0..number("TIDEGATE_SEEDS").unwrap_or(80) {
        Model::run(seed);
    }
}

#![allow(clippy::unwrap_used)]
use super::super::multiline::{Limits, Mode, Preset};
use super::*;
use crate::ack::Ack;
use crate::decoding::cri::CriDecoder;
use crate::decoding::docker::DockerDecoder;
use crate::decoding::{DecodeStats, Decoder, OnDecodeError};
use crate::event::{Chunk, Frames as ChunkFrames};
use crate::event::{Origin, Slab};
use proptest::prelude::*;
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;
const LARGE: usize = 1 << 20;

fn rule(format: Format, multiline: Option<Multiline>) -> Rule {
    let (partial_timeout_nanos, too_long) = (10 * SECOND, TooLong::Truncate);
    Rule { format, multiline: multiline.map(Arc::new), partial_timeout_nanos, max_bytes: LARGE, too_long }
}

fn preset(preset: Preset) -> Option<Multiline> {
    Some(Multiline::preset(preset, Limits::default()))
}

/// The events of a text that arrives in pieces, and how many messages were too long.
fn read_pieces(rule: Rule, pieces: &[&[u8]]) -> (Vec<Value>, u64) {
    let decoder: Box<dyn crate::decoding::FrameDecoder> = match rule.format {
        Format::Cri | Format::Any => Box::new(CriDecoder),
        Format::Docker => Box::new(DockerDecoder::default()),
    };
    let mut decoder = Decoder::new(decoder, OnDecodeError::Keep);
    let mut framer = ContainerFramer::new(Arc::new(rule));
    let (mut rest, mut events, mut long) = (Vec::new(), Vec::new(), 0);
    let mut decode = |mut buf: Vec<u8>, whole: usize, mut out: Frames| {
        long += out.long;
        let left = buf.split_off(whole);
        Frames::resolve(&mut out.spans, 0, whole);
        buf.extend_from_slice(&out.joined);
        let (text, origin) = (Slab::from_vec(buf), Origin::of_source("s"));
        let (frames, ack) = (ChunkFrames::Spans(out.spans), Ack::none());
        let chunk = Chunk { text, frames, origin, offset: 0, received_at: 0, ack };
        for event in decoder.decode(chunk, &mut DecodeStats::default()).iter() {
            let mut json = Vec::new();
            event.write_json(&mut json);
            events.push(serde_json::from_slice(&json).unwrap());
        }
        left
    };
    for piece in pieces {
        rest.extend_from_slice(piece);
        let mut out = Frames::default();
        let whole = framer.frame(&rest, 0, &mut out);
        rest = decode(std::mem::take(&mut rest), whole, out);
    }
    let mut out = Frames::default();
    if !rest.is_empty() {
        framer.line(&rest, 0, 0, &mut out);
    }
    framer.finish(&mut out);
    let whole = rest.len();
    decode(rest, whole, out);
    (events, long)
}

fn read(rule: Rule, text: &str) -> Vec<Value> {
    read_pieces(rule, &[text.as_bytes()]).0
}

fn messages(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["message"].as_str().unwrap()).collect()
}

#[test]
fn parts_are_joined_per_stream_as_other_agents_do() {
    let Some(text) = crate::test_data::shared("containers/reassembly.jsonl") else { return };
    for (case, format) in text.lines().zip([Format::Cri, Format::Docker]) {
        let case: Value = serde_json::from_str(case).unwrap();
        let lines: Vec<String> = serde_json::from_value(case["lines"].clone()).unwrap();
        let want: Vec<String> = serde_json::from_value(case["expected_messages"].clone()).unwrap();
        let got = read(rule(format, None), &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        assert_eq!(messages(&got), want.iter().map(|m| m.trim_end_matches('\n')).collect::<Vec<_>>(), "{format:?}");
    }
}

#[test]
fn a_message_whose_last_part_never_came_is_kept_with_the_time_of_its_first() {
    let text = "2025-01-01T10:00:00Z stdout P a \n2025-01-01T10:00:01Z stdout P:x b\n";
    let want = json!({"timestamp": "2025-01-01T10:00:00Z", "stream": "stdout", "message": "a b"});
    assert_eq!(read(rule(Format::Cri, None), text), [want]);
}

#[test]
fn a_line_that_is_no_container_line_takes_no_other_with_it() {
    for bad in
        ["", "2025-01-01T10:0", "2025-01-01T10:00:00Z stdin F x", "not-a-time-at-all-no stdout F x", "\u{0}\u{0}"]
    {
        let text = format!(
            "2025-01-01T10:00:00Z stderr P one \n{bad}\n2025-01-01T10:00:01Z stderr F two\n\
             2025-01-01T10:00:02Z stdout F three\n"
        );
        let got = read(rule(Format::Cri, None), &text);
        assert_eq!(messages(&got), ["one ", bad, "two", "three"]);
        let marked: Vec<bool> = got.iter().map(|event| event.get("decode_error").is_some()).collect();
        assert_eq!(marked, [false, true, false, false]);
    }
    let docker = r#"{"log":"one ","stream":"stdout","time":"2025-01-01T10:00:00Z"}
{"log":"one
{"log":"two\n","stream":"stdout","time":"2025-01-01T10:00:01Z"}
"#;
    assert_eq!(messages(&read(rule(Format::Docker, None), docker)), ["one ", "{\"log\":\"one", "two"]);
}

#[test]
fn a_docker_line_of_another_stream_stands_alone_and_disturbs_nobody() {
    let text = r#"{"log":"a","stream":"stdout","time":"2025-01-01T10:00:00Z"}
{"log":"c","stream":"stdlog","time":"2025-01-01T10:00:00Z"}
{"log":"b\n","stream":"stdout","time":"2025-01-01T10:00:00Z"}
"#;
    assert_eq!(messages(&read(rule(Format::Docker, None), text)), ["c", "ab"]);
}

#[test]
fn members_of_docker_lines_survive_the_joining() {
    let text = r#"{"log":"a \"","stream":"stdout","attrs":{"tag":"x"},"n":1,"time":"2025-01-01T10:00:00Z"}
{"attrs":{"tag":"y"},"more": [1, "}"],"log":"b ","stream":"stdout","time":"2025-01-01T10:00:01Z","s":"é\n"}
{"log":"c\n","stream":"stdout","time":"2025-01-01T10:00:02Z","more":2,"last":null} 
"#;
    let got = read(rule(Format::Docker, None), text);
    let want = json!({
        "timestamp": "2025-01-01T10:00:00Z", "stream": "stdout", "message": "a \"b c", "attrs": {"tag": "x"}, "n": 1,
        "more": [1, "}"], "s": "é\n", "last": null,
    });
    assert_eq!(got, [want]);
}

#[test]
fn a_trace_is_joined_over_parts_and_the_other_stream_with_the_members_of_its_lines() {
    let text = "2025-01-01T10:00:00Z stderr F java.lang.IllegalStateException: no\n\
        2025-01-01T10:00:01Z stdout F other 1\n\
        2025-01-01T10:00:02Z stderr P \tat a.B.c\n\
        2025-01-01T10:00:03Z stdout F other 2\n\
        2025-01-01T10:00:04Z stderr F (B.java:1)\n\
        \n\
        2025-01-01T10:00:05Z stderr F Caused by: x\n\
        2025-01-01T10:00:06Z stderr F next\n";
    let got = read(rule(Format::Cri, preset(Preset::Java)), text);
    let trace = "java.lang.IllegalStateException: no\n\tat a.B.c(B.java:1)\nCaused by: x";
    assert_eq!(messages(&got), ["other 1", "", trace, "other 2", "next"]);
    assert_eq!(got[2]["timestamp"], "2025-01-01T10:00:00Z");
    assert_eq!(got[2]["stream"], "stderr");
    let text = r#"{"log":"a.B: E\n","stream":"stdout","attrs":{"tag":"x"},"time":"2025-01-01T10:00:00Z"}
{"log":"\tat a","stream":"stdout","time":"2025-01-01T10:00:01Z"}
{"log":".B\n","stream":"stdout","time":"2025-01-01T10:00:01Z","n":1}
{"log":"\tat b\n","stream":"stdout","time":"2025-01-01T10:00:01Z","m":2}
"#;
    let want = json!({
        "timestamp": "2025-01-01T10:00:00Z", "stream": "stdout", "message": "a.B: E\n\tat a.B\n\tat b",
        "attrs": {"tag": "x"}, "n": 1, "m": 2,
    });
    assert_eq!(read(rule(Format::Docker, preset(Preset::Java)), text), [want]);
}

#[test]
fn a_message_given_up_is_a_line_of_its_trace() {
    let text = r#"{"log":"a\n","stream":"stdout","time":"2025-01-01T10:00:00Z"}
{"log":" b","stream":"stdout","time":"2025-01-01T10:00:01Z"}
torn
{"log":" c\n","stream":"stdout","time":"2025-01-01T10:00:02Z"}
"#;
    assert_eq!(messages(&read(rule(Format::Docker, preset(Preset::Indent)), text)), ["torn", "a\n b\n c"]);
}

#[test]
fn what_is_open_waits_for_its_own_time() {
    let limits = Limits { timeout_nanos: 2 * SECOND, ..Limits::default() };
    let rule = Arc::new(rule(Format::Cri, Some(Multiline::preset(Preset::Indent, limits))));
    let (mut judge, mut joiner) = (Judge::new(rule.clone()), Joiner::default());
    let mut line = |joiner: &mut Joiner, line: &str, now: u64| {
        let mut out = Frames::default();
        joiner.line(&mut judge, line.as_bytes(), 0, line.len(), 0, now * SECOND, &mut out);
        joiner.keep(&mut judge, line.as_bytes());
        joiner.expire(&mut judge, now * SECOND, &mut out);
        out.spans.len()
    };
    assert_eq!(line(&mut joiner, "2025-01-01T10:00:00Z stdout F a", 1), 0);
    assert_eq!(line(&mut joiner, "2025-01-01T10:00:00Z stderr P b", 2), 0);
    assert_eq!(joiner.due(&rule), Some(3 * SECOND));
    // What comes in the other stream does not keep it open.
    assert_eq!(line(&mut joiner, "2025-01-01T10:00:00Z stderr P c", 3), 1);
    assert_eq!(joiner.due(&rule), Some(13 * SECOND));
    assert_eq!(line(&mut joiner, "2025-01-01T10:00:00Z stdout F d", 12), 0);
    assert_eq!(line(&mut joiner, "2025-01-01T10:00:00Z stdout F e", 13), 2);
}

#[test]
fn cuts_fall_neither_into_a_character_nor_into_an_escape() {
    let text = "ab\\n\\u00e9\\ud83d\\ude00é\\\\x";
    for end in 0..=text.len() + 2 {
        let mut bytes = text.as_bytes().to_vec();
        cut(Format::Docker, &mut bytes, 0, end);
        assert!(bytes.len() <= end);
        let kept: String = serde_json::from_str(&format!("\"{}\"", std::str::from_utf8(&bytes).unwrap())).unwrap();
        assert!("ab\n\u{e9}\u{1f600}é\\x".starts_with(&kept), "{kept:?}");
        assert!(end - bytes.len() < 12 || end > text.len());
    }
    let mut bytes = b"\x80\x80\x80\x80\x80\x80".to_vec();
    cut(Format::Cri, &mut bytes, 0, 5);
    assert_eq!(bytes.len(), 5);
}

/// A line of a container.
#[derive(Debug, Clone)]
struct Raw {
    stream: usize,
    partial: bool,
    text: Vec<u8>,
}

fn raw(format: Format, number: usize, line: &Raw) -> Vec<u8> {
    let (time, stream) = (format!("2025-01-01T00:00:00.{number:09}Z"), ["stdout", "stderr"][line.stream]);
    match format {
        Format::Cri | Format::Any => {
            let head = format!("{time} {stream} {} ", if line.partial { "P" } else { "F" });
            [head.as_bytes(), &line.text, b"\n"].concat()
        }
        Format::Docker => {
            let text = String::from_utf8(line.text.clone()).unwrap() + if line.partial { "" } else { "\n" };
            format!("{}\n", json!({"log": text, "stream": stream, "time": time})).into_bytes()
        }
    }
}

/// Messages of two streams, each in parts, in some order; with Docker, parts are whole characters.
fn lines() -> impl Strategy<Value = (Format, [Vec<String>; 2], Vec<Raw>)> {
    let text = "(|[ \t]{0,2}(at |a|b;|panic: x|Caused by:|Traceback \\(most recent call last\\):|E: f|f\\(1\\)|é€|\"\\\\)[a-c\r]{0,3}x?)";
    let messages = prop::collection::vec(text, 0..8);
    let cuts = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 16);
    (prop::bool::ANY, messages.clone(), messages, cuts, prop::collection::vec(0usize..2, 60)).prop_map(
        |(docker, out, err, cuts, order)| {
            let format = if docker { Format::Docker } else { Format::Cri };
            let mut cuts = cuts.into_iter();
            let mut parts = [&out, &err].map(|messages| {
                let mut parts: Vec<(bool, Vec<u8>)> = Vec::new();
                for message in messages {
                    let (a, b) = cuts.next().unwrap();
                    let mut at = [a.index(message.len() + 1), b.index(message.len() + 1)];
                    at.sort_unstable();
                    if docker {
                        at.iter_mut().for_each(|at| *at = message.floor_char_boundary(*at));
                    }
                    let bytes = message.as_bytes();
                    // A third of them is in one part, another in two.
                    let pieces: Vec<&[u8]> = match parts.len() % 3 {
                        0 => vec![bytes],
                        1 => vec![&bytes[..at[0]], &bytes[at[0]..]],
                        _ => vec![&bytes[..at[0]], &bytes[at[0]..at[1]], &bytes[at[1]..]],
                    };
                    let last = pieces.len() - 1;
                    parts.extend(pieces.iter().enumerate().map(|(n, piece)| (n < last, piece.to_vec())));
                }
                parts.into_iter()
            });
            let mut lines = Vec::new();
            for stream in order.into_iter().chain([0; 24]).chain([1; 24]) {
                if let Some((partial, text)) = parts[stream].next() {
                    lines.push(Raw { stream, partial, text });
                }
            }
            (format, [out, err], lines)
        },
    )
}

/// The messages as they come alone: a carriage return at the end of a line of CRI is none of its text.
fn bare_messages(format: Format, messages: &[String]) -> Vec<String> {
    let bare = |m: &String| m.strip_suffix('\r').filter(|_| format == Format::Cri).unwrap_or(m).to_owned();
    messages.iter().map(bare).collect()
}

/// Joins messages by a rule, as lines that come one after another.
fn join(rule: Multiline, messages: &[String]) -> Vec<String> {
    let mut matcher = Matcher::new(Arc::new(rule));
    let (mut state, mut open, mut out) = (Aggregator::default(), Vec::<&str>::new(), Vec::new());
    for message in messages {
        let action = state.push(&mut matcher, message.as_bytes(), 0);
        if action.flushes_before() {
            out.push(std::mem::take(&mut open).join("\n"));
        }
        open.push(message);
        if action.flushes_after() {
            out.push(std::mem::take(&mut open).join("\n"));
        }
    }
    if state.flush() {
        out.push(open.join("\n"));
    }
    out
}

fn any_rule(which: usize) -> Option<Multiline> {
    rule_of(which, Limits { max_lines: 4, max_bytes: 40, ..Limits::default() })
}

fn rule_of(which: usize, limits: Limits) -> Option<Multiline> {
    let modes = [Mode::ContinueThrough, Mode::ContinuePast, Mode::HaltBefore, Mode::HaltWith];
    match which {
        0 => None,
        1 => Some(Multiline::preset(Preset::Java, limits)),
        2 => Some(Multiline::preset(Preset::Python, limits)),
        3 => Some(Multiline::preset(Preset::Go, limits)),
        4 => Some(Multiline::preset(Preset::Indent, limits)),
        n => Some(Multiline::rule("a", modes[n - 5], "b|^$", limits).unwrap()),
    }
}

fn pieces<'a>(text: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([0, text.len()]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

fn of_stream(events: &[Value], stream: usize) -> Vec<String> {
    let of = |event: &&Value| event["stream"] == ["stdout", "stderr"][stream];
    events.iter().filter(of).map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

proptest! {
    /// Whatever the parts, the order of the streams and the reads: the events of a stream are those of its messages.
    #[test]
    fn any_parts_in_any_order_give_the_events_of_each_stream_alone(
        (format, messages, lines) in lines(),
        which in 0usize..9,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let text: Vec<u8> = lines.iter().enumerate().flat_map(|(n, line)| raw(format, n, line)).collect();
        let (events, long) = read_pieces(rule(format, any_rule(which)), &pieces(&text, &cuts));
        prop_assert_eq!(long, 0);
        for (stream, messages) in messages.iter().enumerate() {
            let bare = bare_messages(format, messages);
            let want = any_rule(which).map_or(bare.clone(), |rule| join(rule, &bare));
            prop_assert_eq!(of_stream(&events, stream), want, "stream {}", stream);
        }
        // An event has the time of the first line that is in it.
        for event in &events {
            let number: usize = event["timestamp"].as_str().unwrap()[20..29].parse().unwrap();
            let first = String::from_utf8_lossy(&lines[number].text).into_owned();
            let message = event["message"].as_str().unwrap();
            prop_assert!(message.starts_with(first.trim_end_matches(['\r', '\u{fffd}'])), "{first:?} {message:?}");
        }
    }

    /// Lines that are none of a container appear as themselves, and the text of the others is complete and in order.
    #[test]
    fn bad_lines_anywhere_take_nothing_with_them(
        (format, messages, lines) in lines(),
        bad in prop::collection::vec((any::<prop::sample::Index>(), "(|2025-01-01T0|x\r?|[{\u{e9}])"), 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut text = Vec::new();
        let mut wanted = Vec::new();
        for n in 0..=lines.len() {
            for (_, bad) in bad.iter().filter(|(at, _)| at.index(lines.len() + 1) == n) {
                text.extend_from_slice(format!("{bad}\n").as_bytes());
                wanted.push(bad.strip_suffix('\r').unwrap_or(bad).to_owned());
            }
            text.extend(lines.get(n).into_iter().flat_map(|line| raw(format, n, line)));
        }
        let (events, _) = read_pieces(rule(format, None), &pieces(&text, &cuts));
        let marked = |event: &&Value| event.get("decode_error").is_some();
        let got: Vec<&str> = events.iter().filter(marked).map(|e| e["message"].as_str().unwrap()).collect();
        prop_assert_eq!(got, wanted);
        for (stream, messages) in messages.iter().enumerate() {
            // Where a message ended is open where a bad line came in between; and a character may have been cut.
            let got = of_stream(&events, stream).concat().replace(['\r', '\u{fffd}'], "");
            let want = messages.concat().replace('\r', "");
            if format == Format::Docker || want.is_ascii() {
                prop_assert_eq!(got, want);
            }
        }
    }

    /// A message that is too long is cut, dropped or split, counted each time, and no other is touched.
    #[test]
    fn long_messages_are_bounded(
        (format, messages, lines) in lines(),
        max in 90usize..125,
        which in 0usize..3,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let too_long = [TooLong::Truncate, TooLong::Skip, TooLong::Split][which];
        let (mut messages, mut lines) = (messages, lines);
        // A carriage return at the end of a message is none of its text.
        messages.iter_mut().flatten().for_each(|message| message.retain(|c| c != '\r'));
        lines.iter_mut().for_each(|line| line.text.retain(|c| *c != b'\r'));
        let text: Vec<u8> = lines.iter().enumerate().flat_map(|(n, line)| raw(format, n, line)).collect();
        // No line is too long by itself.
        let max_bytes = max + if format == Format::Docker { 40 } else { 0 };
        let make = || Rule { max_bytes, too_long, ..rule(format, None) };
        let (events, long) = read_pieces(make(), &pieces(&text, &cuts));
        prop_assert_eq!(&read_pieces(make(), &[&text]), &(events.clone(), long));
        let mut cut = 0;
        for (stream, messages) in messages.iter().enumerate() {
            let got = of_stream(&events, stream);
            let whole = bare_messages(format, messages);
            match too_long {
                TooLong::Split => {
                    prop_assert_eq!(got.concat().replace('\u{fffd}', ""), whole.concat());
                    cut += got.len() - whole.len();
                }
                TooLong::Skip => {
                    let mut left = whole.iter();
                    prop_assert!(got.iter().all(|got| left.any(|whole| whole == got)));
                    cut += whole.len() - got.len();
                }
                TooLong::Truncate => {
                    prop_assert_eq!(got.len(), whole.len());
                    for (got, whole) in got.iter().zip(&whole) {
                        prop_assert!(whole.starts_with(got.trim_end_matches('\r')), "{got:?} {whole:?}");
                        cut += usize::from(got != whole);
                    }
                }
            }
        }
        prop_assert_eq!(cut as u64, long);
    }

    /// All that is open can be taken up again from the places it tells: nothing is missed and nothing comes twice.
    #[test]
    fn a_joiner_goes_on_where_another_was(
        (format, _, lines) in lines(),
        which in 0usize..9,
        at in any::<prop::sample::Index>(),
    ) {
        let text: Vec<u8> = lines.iter().enumerate().flat_map(|(n, line)| raw(format, n, line)).collect();
        // An event that was split at a limit begins with a line that begins none.
        let rule = Arc::new(rule(format, rule_of(which, Limits::default())));
        let mut judge = Judge::new(rule.clone());
        let run = |judge: &mut Judge, joiner: &mut Joiner, from: usize, to: usize, frames: &mut Vec<Vec<u8>>| {
            let mut out = Frames::default();
            let mut at = from;
            for line in text[from..to].split_inclusive(|c| *c == b'\n') {
                joiner.line(judge, &text, at, at + line.len() - 1, at as u64, 0, &mut out);
                at += line.len();
            }
            joiner.keep(judge, &text);
            if to == text.len() {
                joiner.finish(judge, &mut out);
            }
            Frames::resolve(&mut out.spans, 0, text.len());
            let all = [&text[..], &out.joined].concat();
            frames.extend(out.spans.iter().map(|s| all[s.0 as usize..s.1 as usize].to_vec()));
        };
        let cut = text[..at.index(text.len() + 1)].iter().rposition(|c| *c == b'\n').map_or(0, |i| i + 1);
        let mut whole = Vec::new();
        run(&mut judge, &mut Joiner::default(), 0, text.len(), &mut whole);
        let (mut first, mut halves) = (Joiner::default(), Vec::new());
        run(&mut judge, &mut first, 0, cut, &mut halves);
        if cut < text.len() {
            let open = |n: usize| first.places(n).min().unwrap_or(cut as u64);
            let passed = [open(0), open(1), cut as u64];
            let skipping = [first.is_skipping(0), first.is_skipping(1)];
            let from = passed.into_iter().min().unwrap() as usize;
            run(&mut judge, &mut Joiner::resumed(passed, skipping), from, text.len(), &mut halves);
        }
        // Those that are closed by the end alone come in another order.
        whole.sort();
        halves.sort();
        prop_assert_eq!(halves, whole);
    }
}

#![allow(clippy::unwrap_used, clippy::print_stderr)]
use super::*;
use base64::Engine;
use proptest::prelude::*;
use serde_json::Value as Json;

/// The frames of a stream that comes in the pieces that `cuts` make of it, how it ended, and how many were cut.
fn frames_of(stream: &[u8], cuts: &[usize], max: usize) -> (Vec<Vec<u8>>, Ended, u64) {
    let mut framer = SyslogFramer::new(max);
    let mut frames = Vec::new();
    let mut rest: Vec<u8> = Vec::new();
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    for pair in cuts.windows(2) {
        rest.extend_from_slice(&stream[pair[0]..pair[1]]);
        let mut spans = Spans::new();
        let done = framer.frame(&rest, &mut spans);
        frames.extend(spans.iter().map(|s| rest[s.0 as usize..s.1 as usize].to_vec()));
        assert!(spans.iter().all(|s| s.1 as usize <= done));
        rest.drain(..done);
        assert!(rest.len() <= framer.most_kept(), "{} bytes are kept", rest.len());
    }
    let mut spans = Spans::new();
    let broken = framer.finish(&rest, &mut spans);
    frames.extend(spans.iter().map(|s| rest[s.0 as usize..s.1 as usize].to_vec()));
    (frames, broken, framer.take_cut())
}

fn texts(stream: &[u8], max: usize) -> Vec<String> {
    let (frames, ..) = frames_of(stream, &[], max);
    frames.iter().map(|f| String::from_utf8_lossy(f).into_owned()).collect()
}

fn base64(case: &Json, key: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(case[key].as_str().unwrap()).unwrap()
}

#[test]
fn streams_of_other_receivers_tests_are_framed() {
    let Some(text) = crate::test_data::shared("syslog/framing.jsonl") else { return };
    let mut total = 0;
    for case in text.lines() {
        let case: Json = serde_json::from_str(case).unwrap();
        let stream = base64(&case, "stream_base64");
        let want: Vec<&str> = case["frames"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
        let mut got = texts(&stream, 8192);
        if case["id"] == "oc-then-garbage" {
            // The case allows for the rest to be kept as text; it is.
            assert_eq!(got.pop().unwrap(), "xaaa");
        }
        if case["id"] == "oc-no-space" {
            // It is no frame to that receiver, which gives the connection up; here nothing is lost.
            assert_eq!(got.pop().unwrap(), "16<1>1");
        }
        assert_eq!(got, want, "{}", case["id"]);
        total += 1;
    }
    eprintln!("syslog framing: {total} of {total} cases");
    assert_eq!(total, 12);
}

#[test]
fn streams_of_real_clients_are_framed() {
    let Some(text) = crate::test_data::shared("syslog/client_bytes.jsonl") else { return };
    let (mut total, mut streams) = (0, 0);
    for case in text.lines() {
        let case: Json = serde_json::from_str(case).unwrap();
        total += 1;
        if case["framing"] == "datagram" {
            continue;
        }
        streams += 1;
        let stream = base64(&case, "bytes_base64");
        let expected = case["expected"].as_array().unwrap();
        let got = texts(&stream, 8192);
        assert_eq!(got.len(), expected.len(), "{}: {got:?}", case["id"]);
        for (got, want) in got.iter().zip(expected) {
            let message = want["message"].as_str().unwrap();
            assert!(got.trim_end().ends_with(message), "{}: {got:?}", case["id"]);
        }
    }
    eprintln!("syslog clients: {total} of {total} cases, {streams} of them streams");
    assert_eq!(total, 14);
}

#[test]
fn a_number_in_front_of_a_line_is_no_length() {
    assert_eq!(
        texts(b"12 monkeys\n105: x\n2026-01-01 y\n0 <1>z\n", 100),
        ["12 monkeys", "105: x", "2026-01-01 y", "0 <1>z"]
    );
    // On a connection that counts, a message need not begin with a priority.
    assert_eq!(texts(b"6 <1>abc5 hello5 <1>hi", 100), ["<1>abc", "hello", "<1>hi"]);
}

#[test]
fn line_ends_inside_messages_that_nul_ends_are_theirs() {
    assert_eq!(texts(b"<1>a\0<1>b\nc\0<1>d\n<1>e\n<1>f\n", 100), ["<1>a", "<1>b\nc", "<1>d", "<1>e", "<1>f"]);
    // A NUL inside a line does not join the lines behind it.
    assert_eq!(texts(b"<1>a\0b\nc\n<1>d\n", 100), ["<1>a", "b", "c", "<1>d"]);
    assert_eq!(texts(b"<1>a\0<1>b\n<not yet\0", 100), ["<1>a", "<1>b\n<not yet"]);
}

#[test]
fn a_message_that_is_too_long_is_cut_and_the_next_one_is_whole() {
    let long = format!("<1>{}\n<1>next\n", "é".repeat(20));
    let (frames, _, cut) = frames_of(long.as_bytes(), &[], 10);
    assert_eq!(frames, [format!("<1>{}", "é".repeat(3)).into_bytes(), b"<1>next".to_vec()]);
    assert_eq!(cut, 1);
    let counted = format!("43 <1>{}8 <1>next!", "x".repeat(40));
    assert_eq!(texts(counted.as_bytes(), 10), ["<1>xxxxxxx", "<1>next!"]);
    // 1,000 is more than a message of 10 bytes at most could be.
    assert_eq!(texts(b"1000 <1>x\n<1>next\n", 10), ["1000 <1>x", "<1>next"]);
    assert_eq!(texts(b"99999999999999999999 <1>x\n<1>next\n", 100), ["99999999999999999999 <1>x", "<1>next"]);
    assert_eq!(texts(b"1234567890\n", 10), ["1234567890"]);
    assert_eq!(texts(b"1234567890\r\n", 20), ["1234567890"]);
}

#[test]
fn what_the_end_breaks_off_is_kept_where_it_says_something() {
    for (stream, text, ended) in [
        (&b"<1>no end"[..], Some("<1>no end"), Ended::Whole),
        (b"16 <1>1", None, Ended::Dropped),
        (b"16 <1>1 -", Some("<1>1 -"), Ended::BrokenOff),
        (b"16<1>1", Some("16<1>1"), Ended::Whole),
        (b"16<1>1 - - - - - - hello\n", Some("16<1>1 - - - - - - hello"), Ended::Whole),
        (b"3 <1>16<1>1", Some("16<1>1"), Ended::Whole),
        (b"16 words", Some("16 words"), Ended::Whole),
        (b"3 <1>16", None, Ended::Dropped),
        (b"<1>a\0<1>b\n", Some("<1>b"), Ended::Whole),
        (b"\r\n\0", None, Ended::Whole),
        (b"", None, Ended::Whole),
    ] {
        let (frames, how, _) = frames_of(stream, &[], 100);
        let last = frames.last().map(|f| String::from_utf8_lossy(f).into_owned()).filter(|f| f != "<1>");
        assert_eq!((last.as_deref(), how), (text, ended), "{}", String::from_utf8_lossy(stream));
    }
}

#[test]
fn a_message_of_exactly_the_most_bytes_is_not_cut_whatever_its_end() {
    for end in ["\n", "\r\n", "\0", "\r\0", "\r", ""] {
        for (message, want) in [("<1>4567890", 0), ("<1>45678901", 1)] {
            let stream = format!("{message}{end}");
            let every: Vec<usize> = (0..stream.len()).collect();
            for cuts in [&[][..], &every] {
                let (frames, _, cut) = frames_of(stream.as_bytes(), cuts, 10);
                assert_eq!(frames, [b"<1>4567890"], "{stream:?}");
                assert_eq!(cut, want, "{stream:?}");
            }
        }
    }
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "<[0-9]{1,3}>[a-zé ]{0,12}\r?\n".prop_map(String::into_bytes),
        2 => "<[0-9]{1,3}>[a-z\n ]{0,12}\0".prop_map(String::into_bytes),
        3 => "<1>[a-z\n]{0,9}".prop_map(|m| format!("{} {m}", m.len()).into_bytes()),
        1 => "[0-9]{0,11} ?<?[a-z]{0,6}\n?".prop_map(String::into_bytes),
        1 => "\r?\n|\0|<|<1|<12>".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ]
}

proptest! {
    #[test]
    fn any_split_of_a_stream_gives_the_same_frames(
        pieces in proptest::collection::vec(piece(), 0..12),
        cuts in proptest::collection::vec(any::<usize>(), 0..24),
        max in 1usize..40,
    ) {
        let stream = pieces.concat();
        let whole = frames_of(&stream, &[], max);
        prop_assert_eq!(&frames_of(&stream, &cuts, max), &whole);
        let every: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(&frames_of(&stream, &every, max), &whole);
    }

    /// Where nothing is too long and every frame is finished, every byte but the framing's is in some frame.
    #[test]
    fn messages_come_out_as_they_went_in(
        messages in proptest::collection::vec(("<[0-9]{1,3}>[a-zA-Z0-9 é:]{0,30}", 0u8..3), 0..20),
        cuts in proptest::collection::vec(any::<usize>(), 0..24),
    ) {
        let mut stream = Vec::new();
        for (message, framing) in &messages {
            match framing {
                0 => stream.extend(format!("{message}\n").bytes()),
                1 => stream.extend(format!("{message}\0").bytes()),
                _ => stream.extend(format!("{} {message}", message.len()).bytes()),
            }
        }
        let (frames, broken, cut) = frames_of(&stream, &cuts, 1000);
        let want: Vec<Vec<u8>> = messages.iter().map(|(m, _)| m.clone().into_bytes()).collect();
        prop_assert_eq!(frames, want);
        prop_assert!(broken == Ended::Whole && cut == 0);
    }
}

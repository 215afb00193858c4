#![allow(clippy::unwrap_used)]
use super::*;
use crate::ack::Ack;
use crate::decoding::{DecodeStats, Decoder, FrameDecoder, JsonDecoder, OnDecodeError, TextDecoder};
use crate::event::EventKind;
use crate::event::{Chunk, Frames};
use crate::event::{Origin, Slab};
use proptest::prelude::*;

fn batch(text: &[u8], frames: Box<dyn FrameDecoder>) -> Batch {
    let chunk = Chunk {
        text: Slab::from_vec(text.to_vec()),
        frames: Frames::Lines { start: 0, end: text.len() },
        origin: Origin::of_source("s"),
        offset: 0,
        received_at: 0,
        ack: Ack::none(),
    };
    Decoder::new(frames, OnDecodeError::Keep).decode(chunk, &mut DecodeStats::default())
}

fn encode(batch: &Batch, encoding: Encoding) -> String {
    let mut out = Vec::new();
    Encoder::new(encoding).batch(batch, &mut out);
    String::from_utf8(out).unwrap()
}

fn json(text: &str) -> Batch {
    batch(text.as_bytes(), Box::new(JsonDecoder::default()))
}

#[test]
fn text_is_the_message_and_an_event_without_one_is_its_json() {
    let batch =
        json("{\"message\":\"a \\\"b\\\"\\n\"}\n{\"message\":7}\n{\"x\":1}\n{\"message\":null}\n{\"message\":\"\"}\n");
    assert_eq!(encode(&batch, Encoding::Text), "a \"b\"\n\n7\n{\"x\":1}\n{\"message\":null}\n\n");
}

#[test]
fn a_batch_that_nobody_changed_stands_in_place() {
    let text = b"one\n\ntwo\n";
    let mut lines = batch(text, Box::new(TextDecoder));
    let encoder = Encoder::new(Encoding::Text);
    assert_eq!(encoder.in_place(&lines), Some(&text[..]));
    // The encoding differs from the text, so it does not.
    assert_eq!(Encoder::new(Encoding::Json).in_place(&lines), None);
    lines.drop_row(2);
    assert_eq!(encoder.in_place(&lines), Some(&text[..5]));
    lines.drop_row(0);
    assert_eq!(encoder.in_place(&lines), Some(&b"\n"[..]));

    let mut lines = batch(text, Box::new(TextDecoder));
    lines.drop_row(1);
    assert_eq!(encoder.in_place(&lines), None);
    assert_eq!(encode(&lines, Encoding::Text), "one\ntwo\n");
    assert_eq!(encoder.in_place(&batch(b"one\ntwo", Box::new(TextDecoder))), None);
    assert_eq!(encoder.in_place(&batch(b"one\r\ntwo\n", Box::new(TextDecoder))), None);

    let mut objects = json("{\"a\":1}\n{\"a\":2}\n");
    let encoder = Encoder::new(Encoding::Json);
    assert_eq!(encoder.in_place(&objects), Some(&b"{\"a\":1}\n{\"a\":2}\n"[..]));
    objects.event_mut(1).set_field(Sym::from_config("a"), Value::I64(3));
    assert_eq!(encoder.in_place(&objects), None);
    assert_eq!(encode(&objects, Encoding::Json), "{\"a\":1}\n{\"a\":3}\n");
}

#[test]
fn plain_lines_are_known_without_a_look_at_the_events_until_something_changes() {
    let text = b"one\n\ntwo\n";
    let fresh = || batch(text, Box::new(TextDecoder));
    assert_eq!(fresh().plain_lines(), Some(&text[..]));
    assert_eq!(fresh().fork().plain_lines(), Some(&text[..]));
    for (text, frames) in [
        (&b"one\r\ntwo\n"[..], Box::new(TextDecoder) as Box<dyn FrameDecoder>),
        (b"one\ntwo", Box::new(TextDecoder)),
        (b"{}\n", Box::new(JsonDecoder::default())),
        (b"bad \xff\n", Box::new(TextDecoder)),
    ] {
        assert_eq!(batch(text, frames).plain_lines(), None, "{text:?}");
    }
    let changes: [fn(&mut Batch); 5] = [
        |b| _ = b.drop_row(1),
        |b| _ = b.retain(|e| e.offset() > 0),
        |b| b.event_mut(0).set_field(Sym::LEVEL, Value::from("x")),
        |b| _ = b.push_line(0, 3, 0),
        |b| b.push_text_field(Sym::LEVEL, 0, 1),
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut batch = fresh();
        change(&mut batch);
        assert_eq!(batch.plain_lines(), None, "{n}");
    }
}

#[test]
fn logfmt_quotes_what_needs_it() {
    let batch = json(
        "{\"level\":\"INFO\",\"msg\":\"it's a b\",\"q\":\"say \\\"x\\\"\",\"n\":1.10,\"t\":true,\"z\":null,\"e\":\"\",\"o\":{\"a\":1},\"a b=\":\"é\"}\n",
    );
    assert_eq!(
        encode(&batch, Encoding::Logfmt),
        "level=INFO msg=\"it's a b\" q=\"say \\\"x\\\"\" n=1.10 t=true z=null e=\"\" o=\"{\\\"a\\\":1}\" a_b_=é\n"
    );
}

#[test]
fn csv_has_the_listed_columns_and_a_reader_gets_the_values_back() {
    let batch = json("{\"a\":\"x,\\\"y\\\"\\n\",\"b\":{\"c\":[1,2]},\"n\":7}\n{\"n\":8}\n");
    let fields = ["n", "a", "b.c", "none"].map(|p| FieldPath::parse(p).unwrap()).to_vec();
    let out = encode(&batch, Encoding::Csv(fields, Formulas::Escape));
    assert_eq!(out, "7,\"x,\"\"y\"\"\n\",\"[1,2]\",\n8,,,\n");
    let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(out.as_bytes());
    let rows: Vec<_> = reader.records().map(|r| r.unwrap()).collect();
    assert_eq!(rows[0].iter().collect::<Vec<_>>(), ["7", "x,\"y\"\n", "[1,2]", ""]);
    assert_eq!(rows[1].len(), 4);

    let one = vec![FieldPath::parse("a").unwrap()];
    assert_eq!(encode(&batch, Encoding::Csv(one, Formulas::Escape)), "\"x,\"\"y\"\"\n\"\n\"\"\n");
}

proptest! {
    /// Whatever is dropped and changed, copying runs gives what event by event gives, and so does what stands in place.
    #[test]
    fn runs_give_the_same_as_single_events(
        lines in proptest::collection::vec("[a-c]{0,3}\r?", 0..12),
        dropped in proptest::collection::vec(any::<bool>(), 12),
        changed in proptest::collection::vec(any::<bool>(), 12),
        ended in any::<bool>(),
        as_json in any::<bool>(),
    ) {
        let mut text = String::new();
        for line in &lines {
            let line = if as_json { format!("{{\"message\":\"{}\"}}", line.trim_end()) } else { line.clone() };
            text.push_str(&line);
            text.push('\n');
        }
        if !ended {
            text.pop();
        }
        let frames: Box<dyn FrameDecoder> = if as_json { Box::new(JsonDecoder::default()) } else { Box::new(TextDecoder) };
        let mut batch = batch(text.as_bytes(), frames);
        for row in 0..batch.rows() {
            if changed[row] && row % 3 == 0 {
                batch.event_mut(row).set_field(Sym::MESSAGE, Value::from("new"));
            }
            if dropped[row] {
                batch.drop_row(row);
            }
        }
        for encoding in [Encoding::Json, Encoding::Text] {
            let mut encoder = Encoder::new(encoding);
            let (mut single, mut whole) = (Vec::new(), Vec::new());
            for event in batch.iter() {
                encoder.event(event, &mut single);
            }
            encoder.batch(&batch, &mut whole);
            prop_assert_eq!(&single, &whole);
            if let Some(place) = encoder.in_place(&batch) {
                prop_assert_eq!(place, &single[..]);
            }
        }
    }
}

#[test]
fn an_object_that_came_on_several_lines_goes_on_one() {
    let text = "{\n  \"a\": [1,\r\n2],\n\"b\": \"x\\ny\"\n}";
    let chunk = Chunk {
        text: Slab::from_vec(text.as_bytes().to_vec()),
        frames: Frames::Spans(vec![(0, text.len() as u32, 0)]),
        origin: Origin::of_source("s"),
        offset: 0,
        received_at: 0,
        ack: Ack::none(),
    };
    let mut batch =
        Decoder::new(Box::new(JsonDecoder::default()), OnDecodeError::Keep).decode(chunk, &mut DecodeStats::default());
    for encoding in [Encoding::Json, Encoding::Text] {
        let mut encoder = Encoder::new(encoding);
        assert_eq!(encoder.in_place(&batch), None);
        let (mut by_batch, mut by_event) = (Vec::new(), Vec::new());
        encoder.batch(&batch, &mut by_batch);
        encoder.event(batch.event(0), &mut by_event);
        assert_eq!(by_batch, by_event);
        assert_eq!(by_batch, b"{   \"a\": [1,\r 2], \"b\": \"x\\ny\" }\n");
    }
    // What somebody has changed, too.
    let mut event = batch.event_mut(0);
    event.set_field(Sym::SERVICE, Value::I64(1));
    let mut out = Vec::new();
    Encoder::new(Encoding::Json).batch(&batch, &mut out);
    assert_eq!(out.iter().filter(|c| **c == b'\n').count(), 1);
}

#[test]
fn csv_cells_that_begin_a_formula_get_an_apostrophe_and_numbers_do_not() {
    let texts = [
        ("=1+2", "'=1+2"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+49 30 123", "'+49 30 123"),
        ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
        ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
        ("\t=1", "'\t=1"),
        ("＝1", "'＝1"),
        ("-5", "-5"),
        ("+1.5e3", "+1.5e3"),
        ("-", "-"),
        ("a=b", "a=b"),
        ("--", "'--"),
    ];
    for (text, right) in texts {
        let mut batch = Batch::new(Slab::default(), Origin::of_source("s"), 0, Ack::none());
        let row = batch.push_event(EventKind::Log);
        batch.event_mut(row).push(Sym::MESSAGE, Value::from(text));
        let fields = vec![FieldPath::parse("message").unwrap()];
        assert_eq!(encode(&batch, Encoding::Csv(fields.clone(), Formulas::Escape)), format!("{right}\n"), "{text}");
        let kept = encode(&batch, Encoding::Csv(fields, Formulas::Keep));
        assert_eq!(kept.replace("\"\"", "\"").trim().trim_matches('"'), text.trim().trim_matches('"'));
    }
}

//! Where frames begin and end.

use super::*;
use crate::corpus;
use std::hint::black_box;
use tidegate::internals::decoding::{FrameDecoder, OnDecodeError};
use tidegate::internals::framing::multiline::{Limits, Preset};
use tidegate::internals::framing::syslog::SyslogFramer;
use tidegate::internals::framing::{Framer, Multiline, Spans};

/// Takes every frame and makes nothing of it: what is left is cutting, and the check that the bytes are UTF-8.
struct Nothing(usize);

impl FrameDecoder for Nothing {
    fn decode(&mut self, _: &mut Batch, start: usize, end: usize, _: u64) -> Result<(), &'static str> {
        self.0 += usize::from(end > start);
        Ok(())
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(Nothing(0))
    }
}

pub(super) fn add(list: &mut Vec<Maker>) {
    super::add(list, "framing/lines of JSON", || cut(corpus::app(EVENTS)));
    super::add(list, "framing/lines of access log", || cut(corpus::access(EVENTS)));
    super::add(list, "framing/syslog, by lines", || syslog(corpus::syslog_5424(EVENTS)));
    super::add(list, "framing/syslog, octet-counted", || syslog(corpus::counted(&corpus::syslog_5424(EVENTS))));
    super::add(list, "framing/multiline, preset java", multiline);
}

fn cut(text: Vec<u8>) -> Stage {
    let (text, origin) = (Slab::from_vec(text), Origin::of_source("in"));
    let mut decoder = Decoder::new(Box::new(Nothing(0)), OnDecodeError::Keep);
    let mut stats = DecodeStats::default();
    let bytes = text.len();
    done(decoder.decode(chunk(&text, lines(&text), &origin), &mut stats));
    assert_eq!((stats.frames, stats.bytes), (EVENTS as u64, (bytes - EVENTS) as u64));
    let make = move || decoder.decode(chunk(&text, lines(&text), &origin), &mut stats);
    Stage { events: EVENTS, bytes, work: Box::new(Makes { make, batch: None }) }
}

fn syslog(text: Vec<u8>) -> Stage {
    let bytes = text.len();
    let mut spans = Spans::new();
    let mut run = move || {
        spans.clear();
        assert_eq!(SyslogFramer::new(64 << 10).frame(black_box(&text), &mut spans), text.len());
        spans.len()
    };
    assert_eq!(run(), EVENTS);
    Stage { events: EVENTS, bytes, work: Box::new(Plain(move || _ = black_box(run()))) }
}

fn multiline() -> Stage {
    let text = corpus::java(EVENTS);
    let bytes = text.len();
    let rule = Arc::new(Multiline::preset(Preset::Java, Limits::default()));
    let mut spans = Spans::new();
    let mut run = move || {
        spans.clear();
        let mut framer = Framer::new(rule.clone());
        let rest = framer.frame(black_box(&text), 0, 0, &mut spans);
        framer.finish(&text[rest..], rest as u64, 0, &mut spans);
        spans.len()
    };
    // Each tenth event is followed by an exception, which is an event of its own with its trace.
    assert_eq!(run(), EVENTS + EVENTS / 10);
    Stage { events: EVENTS, bytes, work: Box::new(Plain(move || _ = black_box(run()))) }
}

//! What tests of decoders share.
#![allow(clippy::unwrap_used)]

use super::{DecodeStats, Decoder, FrameDecoder, OnDecodeError};
use crate::ack::Ack;
use crate::component::{Chunk, Frames};
use crate::event::{Batch, Origin, Slab};
use crate::framing::multiline::{Aggregator, Limits, Matcher, Multiline, Preset};
use base64::Engine;

/// The one event of a line as JSON, or why it was refused; checks that a refusal leaves the batch as it was.
pub(crate) fn decode_line(decoder: &mut dyn FrameDecoder, line: &[u8]) -> Result<String, String> {
    // Bytes around the line catch positions taken from the wrong place.
    let text = [b"x: <1>[\"=", line, b"\" tail=1"].concat();
    let slab = Slab::from_vec(text);
    let mut batch = Batch::new(slab, Origin::of_source("s"), 1_700_000_000_000_000_000, Ack::none());
    match decoder.decode(&mut batch, 9, 9 + line.len(), 7) {
        Ok(()) => {
            assert_eq!(batch.len(), 1);
            assert_eq!(batch.event(0).offset(), 7);
            let mut out = Vec::new();
            batch.event(0).write_json(&mut out);
            Ok(String::from_utf8(out).unwrap())
        }
        Err(why) => {
            assert_eq!(batch.rows(), 0);
            Err(why.to_owned())
        }
    }
}

/// The events of lines that a source has framed by `preset`.
pub(crate) fn decode_frames(
    decoder: Box<dyn FrameDecoder>,
    preset: Preset,
    lines: &[String],
) -> Vec<serde_json::Value> {
    let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let mut matcher = Matcher::new(std::sync::Arc::new(Multiline::preset(preset, Limits::default())));
    let mut state = Aggregator::default();
    let (mut at, mut first, mut spans) = (0, None, Vec::new());
    for line in lines {
        let action = state.push(&mut matcher, line.as_bytes(), 0);
        let end = at + line.len();
        if action.flushes_before()
            && let Some(from) = first.take()
        {
            spans.push((from as u32, at as u32 - 1, from as u64));
        }
        let from = *first.get_or_insert(at);
        if action.flushes_after() {
            spans.push((from as u32, end as u32, from as u64));
            first = None;
        }
        at = end + 1;
    }
    if let Some(from) = first {
        spans.push((from as u32, at as u32 - 1, from as u64));
    }
    let chunk = Chunk {
        text: Slab::from_vec(text.into_bytes()),
        frames: Frames::Spans(spans),
        origin: Origin::of_source("s"),
        offset: 0,
        received_at: 0,
        ack: Ack::none(),
    };
    let batch = Decoder::new(decoder, OnDecodeError::Keep).decode(chunk, &mut DecodeStats::default());
    let json = batch.iter().map(|event| {
        let mut out = Vec::new();
        event.write_json(&mut out);
        serde_json::from_slice(&out).unwrap()
    });
    json.collect()
}

/// The bytes of a case's `key`, or of its `key_base64`.
pub(crate) fn raw_of(case: &serde_json::Value, key: &str) -> Vec<u8> {
    match case[key].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => {
            let text = case[format!("{key}_base64")].as_str().unwrap_or_default();
            base64::engine::general_purpose::STANDARD.decode(text).unwrap()
        }
    }
}

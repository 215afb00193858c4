//! What tests of decoders share.
#![allow(clippy::unwrap_used)]

use super::FrameDecoder;
use crate::ack::Ack;
use crate::event::{Batch, Origin, Slab};
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

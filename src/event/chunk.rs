//! Frames before they are events.

use super::{Batch, Origin, Slab};
use crate::ack::Ack;
use std::sync::Arc;

/// Frames on their way from a source to the worker that decodes them.
pub struct Chunk {
    /// Bytes of the frames.
    pub text: Slab,
    /// Where they are in `text`.
    pub frames: Frames,
    /// What the frames share; its `order` picks the worker.
    pub origin: Arc<Origin>,
    /// Place in the file of `text[0]`, where there is a file.
    pub offset: u64,
    /// When it was read: nanoseconds since 1970 UTC.
    pub received_at: i64,
    /// The verdict on all of it.
    pub ack: Ack,
}

/// Where the frames of a [`Chunk`] are.
pub enum Frames {
    /// Lines of `text[start..end]`, each ended by `\n` (the last may lack it); a `\r` before it is not part of it.
    Lines {
        /// First byte.
        start: usize,
        /// Behind the last byte.
        end: usize,
    },
    /// Frames one by one: start, end, and place in the file.
    Spans(Vec<(u32, u32, u64)>),
    /// The same, of a text that the source has put into UTF-8, whatever its `charset`.
    Utf8(Vec<(u32, u32, u64)>),
    /// Events made by the source itself; nothing to decode.
    Decoded(Batch),
}

impl Chunk {
    /// Bytes of memory it keeps in use.
    pub fn pinned_bytes(&self) -> usize {
        match &self.frames {
            Frames::Decoded(batch) => batch.pinned_bytes(),
            _ => self.text.pinned_bytes(),
        }
    }
}

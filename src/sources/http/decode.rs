//! What workers do with frames of this source: values found to be JSON are decoded as such, lines as `decode` says.

use crate::decoding::{FrameDecoder, JsonDecoder};
use crate::event::Batch;

/// Set in a frame's place where the frame is a JSON value. Frames of requests have no place in a file.
pub(super) const JSON: u64 = 1 << 63;

/// Decodes frames of both kinds.
pub(super) struct HttpDecoder {
    pub(super) lines: Box<dyn FrameDecoder>,
    pub(super) json: JsonDecoder,
}

impl FrameDecoder for HttpDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        if offset & JSON == 0 {
            self.lines.decode(batch, start, end, offset)
        } else {
            self.json.decode(batch, start, end, 0)
        }
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(HttpDecoder { lines: self.lines.fork(), json: JsonDecoder::default() })
    }

    /// Asked about lines only.
    fn is_plain(&self) -> bool {
        self.lines.is_plain()
    }
}

//! `decode: auto`: JSON if it parses, else text. Never an error.

use super::{FrameDecoder, TextDecoder};
use crate::event::{Batch, JsonRows};

/// Decodes each line by what it is.
#[derive(Default)]
pub struct AutoDecoder {
    rows: JsonRows,
}

impl FrameDecoder for AutoDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        let brace = batch.text()[start..end].trim_ascii_start().first() == Some(&b'{');
        if brace && self.rows.push(batch, start, end, offset).is_ok() {
            return Ok(());
        }
        TextDecoder.decode(batch, start, end, offset)
    }

    fn has_escapes(&self, frame: &[u8]) -> bool {
        super::is_object(frame)
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(AutoDecoder::default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::decode_line;
    use super::*;

    #[test]
    fn objects_are_json_and_the_rest_is_text() {
        let decode = |line: &str| decode_line(&mut AutoDecoder::default(), line.as_bytes()).unwrap();
        assert_eq!(decode(r#" {"a": 1.10}"#), r#" {"a": 1.10}"#);
        assert_eq!(decode("[1]"), r#"{"message":"[1]"}"#);
        assert_eq!(decode(r#"{"a": 1"#), r#"{"message":"{\"a\": 1"}"#);
    }
}

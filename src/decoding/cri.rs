//! Container logs as the kubelet's runtimes (containerd, CRI-O) write them.
//!
//! ```text
//! 2016-10-06T00:17:09.669794202Z stdout F The content of the log entry
//! timestamp                      stream | message
//!                                       P: more to come, F: the last part
//! ```
//!
//! [`container`](crate::framing::container) joins the parts of a split message; here a joined message is one line, whose text
//! may have line feeds in it.

use super::FrameDecoder;
use crate::event::{Batch, Sym};
use crate::framing::container::cri;

/// Decodes CRI lines.
pub struct CriDecoder;

impl FrameDecoder for CriDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        let line = cri::parse(&batch.text()[start..end])?;
        batch.push_line(start, end, offset);
        batch.push_text_field(Sym::TIMESTAMP, start + line.timestamp.start, start + line.timestamp.end);
        batch.push_text_field(Sym::STREAM, start + line.stream.start, start + line.stream.end);
        batch.push_text_field(Sym::MESSAGE, start + line.message.start, start + line.message.end);
        Ok(())
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(CriDecoder)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr)]
    use super::super::testing::{decode_line, raw_of};
    use super::*;
    use crate::framing::container::cri::*;
    use crate::framing::span::Span;

    #[test]
    fn container_lines_of_other_agents_are_read() {
        let Some(text) = crate::test_data::shared("containers/cri_lines.jsonl") else { return };
        let (mut passed, mut total) = (0, 0);
        for case in text.lines() {
            let case: serde_json::Value = serde_json::from_str(case).unwrap();
            let raw = raw_of(&case, "raw");
            let got = parse(&raw).ok();
            let want = &case["expected"];
            let ok = match got {
                None => want.is_null(),
                Some(line) => {
                    let is = |span: Span, key: &str| raw_of(want, key) == span.of(&raw);
                    is(line.timestamp, "timestamp")
                        && is(line.stream, "stream")
                        && is(line.message, "message")
                        && want["partial"] == line.partial
                }
            };
            total += 1;
            passed += u32::from(ok);
            if !ok {
                eprintln!("{}: {got:?}", case["id"]);
            }
        }
        eprintln!("cri: {passed} of {total} lines");
        assert!(passed >= 22, "{passed} of {total}");
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            "x",
            "2016-10-06T00:17:09.669794202Z",
            "2016-10-06T00:17:09.669794202Z stdin F a",
            "2016-10-06T00:17:09Z stdout X a",
            "not-a-time-at-all-no stdout F a",
        ] {
            assert!(decode_line(&mut CriDecoder, line.as_bytes()).is_err(), "{line}");
        }
        let empty = decode_line(&mut CriDecoder, b"2016-10-06T00:17:09.6697Z stderr F").unwrap();
        assert_eq!(empty, r#"{"timestamp":"2016-10-06T00:17:09.6697Z","stream":"stderr","message":""}"#);
    }
}

//! Container logs as Docker's json-file driver writes them.
//!
//! ```text
//! {"log":"The actual log line\n","stream":"stderr","time":"2016-10-05T00:00:30.082640485Z"}
//! ```
//!
//! → `timestamp, stream, message`, the message without its line feed; other members (`attrs`) are kept under their names.
//! A line whose `log` has no line feed at its end is a part of a longer message; [`container`](crate::framing::container)
//! joins them, and here a joined message is one line.

use super::FrameDecoder;
use super::keys::KeyCache;
use crate::event::{Batch, Sym, json};
use crate::framing::container::docker;

/// Decodes json-file lines.
#[derive(Default)]
pub struct DockerDecoder {
    scanner: json::Scanner,
    others: Vec<json::Member>,
    keys: KeyCache,
}

impl FrameDecoder for DockerDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        let DockerDecoder { scanner, others, keys } = self;
        others.clear();
        let line = docker::parse(scanner, &batch.text()[start..end], |member| others.push(member))?;
        let row = batch.push_line(start, end, offset);
        batch.push_text_field(Sym::TIMESTAMP, start + line.timestamp.start, start + line.timestamp.end);
        batch.push_text_field(Sym::STREAM, start + line.stream.start, start + line.stream.end);
        let kind = if line.escaped { json::ValueKind::Escaped } else { json::ValueKind::Clean };
        batch.push_span_field(Sym::MESSAGE, kind, start + line.message.start, start + line.message.end);
        for (n, member) in others.iter().enumerate() {
            let key = &batch.text()[start + member.key..start + member.key_end];
            match keys.get(n, key).filter(|key| batch.event(row).position(*key).is_none()) {
                Some(key) => batch.push_span_field(key, member.kind, start + member.value, start + member.value_end),
                None => continue,
            }
        }
        Ok(())
    }

    fn has_escapes(&self, frame: &[u8]) -> bool {
        super::is_object(frame)
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(DockerDecoder::default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr)]
    use super::super::testing::{decode_line, raw_of};
    use super::*;
    use crate::framing::container::docker::*;

    #[test]
    fn container_lines_of_other_agents_are_read() {
        let Some(text) = crate::test_data::shared("containers/docker_json_lines.jsonl") else { return };
        let (mut passed, mut total) = (0, 0);
        for case in text.lines() {
            let case: serde_json::Value = serde_json::from_str(case).unwrap();
            let raw = raw_of(&case, "raw");
            let want = &case["expected"];
            let got = decode_line(&mut DockerDecoder::default(), &raw).ok();
            let ok = match &got {
                None => want.is_null(),
                Some(got) => {
                    let event: serde_json::Value = serde_json::from_str(got).unwrap();
                    let partial = parse(&mut json::Scanner::default(), &raw, |_| ()).unwrap().partial;
                    let is = |key: &str| {
                        event[key].as_str().map(|s| s.trim_end_matches('\n'))
                            == want[key].as_str().map(|s| s.trim_end_matches('\n'))
                    };
                    is("message")
                        && is("timestamp")
                        && is("stream")
                        && (want["partial"].is_null() || want["partial"] == partial)
                }
            };
            total += 1;
            passed += u32::from(ok);
            if !ok {
                eprintln!("{}: {got:?}", case["id"]);
            }
        }
        eprintln!("docker: {passed} of {total} lines");
        assert!(passed >= 18, "{passed} of {total}");
    }

    #[test]
    fn escapes_stay_as_they_came_and_other_members_are_kept() {
        let line = br#"{"log":"a\tb \\n\n","attrs":{"tag":"x"},"stream":"stdout","time":"2016-10-05T00:00:30Z"}"#;
        assert_eq!(
            decode_line(&mut DockerDecoder::default(), line).unwrap(),
            r#"{"timestamp":"2016-10-05T00:00:30Z","stream":"stdout","message":"a\tb \\n","attrs":{"tag":"x"}}"#
        );
        assert_eq!(part(line), Some((1, false)));
        assert_eq!(part(br#"{"log":"a\\n","stream":"stderr"}"#), Some((2, true)));
    }
}

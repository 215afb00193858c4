//! Bodies of MessagePack: read to their end before anything is taken, then written as JSON part by part.

use super::format::{Answer, BodyPart, PART_BYTES, PART_EVENTS, Refusal, Taken, mistake, too_long};
use crate::decoding::msgpack::{Records, write_json};
use hyper::StatusCode;

/// Whether a content type says MessagePack; none is registered, and all of these are sent.
pub(super) fn is_msgpack(content_type: &str) -> bool {
    matches!(content_type, "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack")
        || content_type.ends_with("+msgpack")
}

/// Takes a whole body, or refuses it with the place of the mistake.
///
/// Units: as JSON the body is `max_body` bytes at most, and each event `max_event`.
pub(super) fn read(body: Vec<u8>, max_body: usize, max_event: usize) -> Result<Taken, Answer> {
    let (mut records, mut text) = (Records::default(), Vec::new());
    let (mut count, mut marks, mut bytes, mut invalid_utf8) = (0u64, 0u64, 0usize, 0u64);
    loop {
        let record = match records.next(&body) {
            Ok(None) => break,
            Ok(Some(record)) => record,
            Err(fault) => return Err(mistake(StatusCode::BAD_REQUEST, &fault.to_string())),
        };
        if record.is_mark() {
            marks += 1;
            continue;
        }
        if record.bytes() > max_event {
            return Err(mistake(StatusCode::PAYLOAD_TOO_LARGE, &too_long(max_event)));
        }
        text.clear();
        invalid_utf8 += write_json(&body, &record, &mut text);
        if text.len() > max_event {
            return Err(mistake(StatusCode::PAYLOAD_TOO_LARGE, &too_long(max_event)));
        }
        bytes += text.len();
        if bytes > max_body {
            return Err(mistake(StatusCode::PAYLOAD_TOO_LARGE, &Refusal::TooLarge(max_body).to_string()));
        }
        count += 1;
    }
    let answer = move || Answer::json(StatusCode::OK, format!("{{\"events\":{count}}}"));
    let parts = MsgpackParts { body, records: Records::default() };
    let dropped = if marks > 0 { vec![("group_mark", marks)] } else { Vec::new() };
    Ok(Taken { invalid_utf8, dropped, ..Taken::parts(parts, answer) })
}

/// The records of a checked body, in parts.
struct MsgpackParts {
    body: Vec<u8>,
    records: Records,
}

impl Iterator for MsgpackParts {
    type Item = BodyPart;

    fn next(&mut self) -> Option<BodyPart> {
        let (mut text, mut frames) = (Vec::new(), Vec::new());
        while text.len() < PART_BYTES && frames.len() < PART_EVENTS {
            let Ok(Some(record)) = self.records.next(&self.body) else { break };
            if record.is_mark() {
                continue;
            }
            let from = text.len() as u32;
            // What was no UTF-8 has been counted.
            write_json(&self.body, &record, &mut text);
            frames.push((from, text.len() as u32));
        }
        (!frames.is_empty()).then_some(BodyPart::Json { text, frames, origin: None })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::format::Format;
    use super::super::plain::Plain;
    use super::super::plain::tests::{request, said};
    use super::*;

    fn taken(kind: &str, body: &[u8]) -> Result<(Vec<String>, Taken), (u16, String)> {
        let mut taken = Plain::Auto.read(request(kind, body)).map_err(said)?;
        let mut out = Vec::new();
        for part in std::mem::replace(&mut taken.parts, Box::new(std::iter::empty())) {
            let BodyPart::Json { text, frames, .. } = part else { panic!("json") };
            assert!(text.len() < 2 * PART_BYTES && frames.len() <= PART_EVENTS);
            out.extend(frames.iter().map(|(a, b)| String::from_utf8(text[*a as usize..*b as usize].to_vec()).unwrap()));
        }
        Ok((out, taken))
    }

    #[test]
    fn a_body_of_fluent_bit_becomes_its_records() {
        let body = b"\x92\x92\xd7\x00\x69\xf8\x0c\x29\0\0\0\x01\x80\x82\xa3log\xa5hello\xa1n\x07";
        for kind in ["application/msgpack", "Application/X-MsgPack", "application/vnd.x+msgpack"] {
            let (out, taken) = taken(kind, body).unwrap();
            assert_eq!(out, [r#"{"timestamp":"2026-05-04T03:02:01.000000001Z","log":"hello","n":7}"#], "{kind}");
            assert_eq!(said((taken.answer)()), (200, "{\"events\":1}".into()));
        }
        // Whoever says nothing, or something else, is not taken at his bytes.
        assert_eq!(taken("application/octet-stream", body).err().unwrap().0, 415);
    }

    #[test]
    fn a_mistake_anywhere_refuses_all_and_long_events_are_told() {
        let refused = |body: &[u8]| taken("application/msgpack", body).err().unwrap();
        let (status, text) = refused(b"\x81\xa1a\x01\xc1");
        assert!(status == 400 && text.contains("byte 4 begins no MessagePack value"), "{text}");
        assert_eq!(refused(b"\x81\xa1a\x01\x05").0, 400);
        let long = [&b"\x81\xa1a\xdb\x00\x01\x11\x70"[..], &[b'x'; 70_000]].concat();
        assert_eq!(refused(&long).0, 413, "over max_event");
        // Small as it is sent, and larger than max_event as JSON.
        let controls = [&b"\x81\xa1a\xda\x75\x30"[..], &[1; 30_000]].concat();
        assert_eq!(refused(&controls).0, 413);
        // Each event is fine, and together they are more than max_body as JSON.
        let many = [&b"\x81\xa1a\xda\x27\x10"[..], &[1; 10_000]].concat().repeat(40);
        assert_eq!(refused(&many).0, 413);
    }

    #[test]
    fn a_large_body_comes_in_parts_and_marks_are_counted() {
        let mark = |end: u8| [&b"\x92\x92\xd7\x00\xff\xff\xff"[..], &[end], b"\0\0\0\0\x80\x80"].concat();
        let record = [&b"\x81\xa1a\xd9\x3c"[..], &[b'x'; 60]].concat();
        let body = [mark(0xff), record.repeat(12_000), mark(0xfe)].concat();
        let (out, taken) = taken("application/msgpack", &body).unwrap();
        assert_eq!((out.len(), &taken.dropped[..]), (12_000, &[("group_mark", 2)][..]));
        assert!(out.iter().all(|event| event.len() == 68));
    }
}

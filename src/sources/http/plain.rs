//! Bodies of no particular system: JSON objects, arrays, values one behind the other, and lines of text.
//!
//! JSON is taken whole or refused whole (400 with the place of the mistake). Lines are taken as they are; `decode` and
//! `on_decode_error` say what becomes of them. A body that is neither, by its content type or by its bytes, is refused
//! (415): as text it would be destroyed. So is a `charset` that nobody knows; one that is known is read as such. MessagePack,
//! by its content type, is read as [`decoding::msgpack`](crate::decoding::msgpack) says.

use super::format::{Answer, BodyPart, Format, Head, Refusal, Request, Taken};
use super::format::{PART_BYTES, PART_EVENTS, mistake, too_long};
use super::msgpack;
use crate::event::json::{MAX_DEPTH, SplitError, Values};
use hyper::{StatusCode, header};
use std::ops::Range;

/// What the body is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// By its content type; where that says nothing, by its first byte.
    Auto,
    Json,
    Text,
}

impl Format for Plain {
    fn read(&self, request: Request) -> Result<Taken, Answer> {
        let Request { head, body, max_body, max_event, .. } = request;
        let content_type = head.content_type();
        if *self == Plain::Auto && msgpack::is_msgpack(&content_type) {
            return msgpack::read(body, max_body, max_event);
        }
        let (mut body, invalid_utf8) = decode_charset(&head, body, max_body)?;
        if body.starts_with(b"\xef\xbb\xbf") {
            body.drain(..3);
        }
        let json = match self {
            Plain::Json => true,
            Plain::Text => false,
            Plain::Auto => is_json(&content_type, &body),
        };
        if json {
            if content_type == "application/json-seq" {
                // RFC 7464: a record separator before each value, where a line's end does as well. None can stand in a string.
                body.iter_mut().filter(|c| **c == 0x1e).for_each(|c| *c = b'\n');
            }
            let mut count = 0usize;
            let checked = check(&body, max_event, |_| count += 1).map_err(|fault| fault.answer(&body, max_event))?;
            let answer = move || Answer::json(StatusCode::OK, format!("{{\"events\":{count}}}"));
            let parts = JsonParts::new(body, checked, max_event, |_: &[u8]| true);
            Ok(Taken { invalid_utf8, ..Taken::parts(parts, answer) })
        } else {
            if !may_be_text(&content_type, &body) {
                let shown = if content_type.is_empty() { "none" } else { &content_type };
                let text = format!("a body of type `{shown}` is not taken: send JSON, MessagePack, or text in lines");
                return Err(mistake(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text));
            }
            let count = count_lines(&body, max_event)
                .map_err(|()| Answer::text(StatusCode::PAYLOAD_TOO_LARGE, &too_long(max_event)))?;
            let answer = move || Answer::json(StatusCode::OK, format!("{{\"events\":{count}}}"));
            Ok(Taken { invalid_utf8, ..Taken::parts(LineParts { body, at: 0 }, answer) })
        }
    }

    fn refuse(&self, _head: &Head, refusal: &Refusal) -> Answer {
        mistake(refusal.status(), &refusal.to_string())
    }
}

fn is_json(content_type: &str, body: &[u8]) -> bool {
    match content_type {
        "application/json"
        | "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/json-lines"
        | "application/x-jsonlines"
        | "application/json-seq" => true,
        other if other.ends_with("+json") => true,
        other if other.starts_with("text/") => false,
        // What curl calls a form, or nobody said anything.
        _ => matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')),
    }
}

/// Whether a body that is no JSON is lines of text. Types that say so are believed. Of others those that are known to be
/// binary are not text, and the rest is where its bytes are: UTF-8 without control characters of no use in a line.
fn may_be_text(content_type: &str, body: &[u8]) -> bool {
    const BINARY: [&str; 5] = ["msgpack", "protobuf", "cbor", "avro", "zip"];
    const BINARY_KINDS: [&str; 5] = ["image/", "audio/", "video/", "font/", "multipart/"];
    match content_type {
        "" | "application/x-www-form-urlencoded" => true,
        text if text.starts_with("text/") => true,
        other if BINARY_KINDS.iter().any(|kind| other.starts_with(kind)) => false,
        other if BINARY.iter().any(|name| other.contains(name)) => false,
        _ => {
            let of_no_use = |c: &u8| *c < 0x20 && !matches!(c, b'\t' | b'\n' | b'\r' | 0x1b);
            simdutf8::basic::from_utf8(body).is_ok() && !body.iter().any(of_no_use)
        }
    }
}

/// The body in UTF-8, by the `charset` that its content type names; and 1 where something in it was not in that charset.
fn decode_charset(head: &Head, body: Vec<u8>, max_body: usize) -> Result<(Vec<u8>, u64), Answer> {
    let whole = head.header(header::CONTENT_TYPE).unwrap_or_default();
    let named = whole.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']))
    });
    // A body that begins with the mark of UTF-16 says by that what it is in, and which way round.
    let marked = encoding_rs::Encoding::for_bom(&body).map(|(encoding, _)| encoding.name());
    let marked = marked.filter(|name| name.starts_with("UTF-16"));
    let Some(named) = marked.or(named.filter(|name| !name.is_empty())) else { return Ok((body, 0)) };
    let Some(encoding) = encoding_rs::Encoding::for_label(named.as_bytes()) else {
        let text = format!("the charset `{}` is not known", named.chars().take(40).collect::<String>());
        return Err(mistake(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text));
    };
    if encoding == encoding_rs::UTF_8 {
        // What is not UTF-8 in it is replaced, and counted, where lines are decoded.
        return Ok((body, 0));
    }
    let (text, replaced) = encoding.decode_with_bom_removal(&body);
    if text.len() > max_body {
        return Err(mistake(StatusCode::PAYLOAD_TOO_LARGE, &Refusal::TooLarge(max_body).to_string()));
    }
    Ok((text.into_owned().into_bytes(), u64::from(replaced)))
}

/// Why a body of JSON is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not JSON, somewhere in the value that begins at this byte.
    Invalid(usize),
    /// The value at this byte is too long.
    TooLong(usize),
    /// The value that begins at this byte is nested too deep.
    TooDeep(usize),
}

impl Fault {
    /// What stands at fault, as serde_json puts it.
    pub(super) fn explain(self, body: &[u8], max_event: usize) -> String {
        match self {
            Fault::TooLong(_) => too_long(max_event),
            Fault::TooDeep(at) => format!("the value at byte {at} is nested deeper than {MAX_DEPTH} levels"),
            Fault::Invalid(at) => {
                // Where a text has several values, the line is that of the whole text.
                let mut values = serde_json::Deserializer::from_slice(body).into_iter::<serde::de::IgnoredAny>();
                let error = values.by_ref().find_map(Result::err);
                error.map_or_else(|| format!("not valid JSON at byte {at}"), |error| error.to_string())
            }
        }
    }

    fn answer(self, body: &[u8], max_event: usize) -> Answer {
        let status = match self {
            Fault::Invalid(_) | Fault::TooDeep(_) => StatusCode::BAD_REQUEST,
            Fault::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
        };
        mistake(status, &self.explain(body, max_event))
    }
}

/// Places of values that are remembered between checking a body and handing it over; where there are more, they are
/// looked for again.
const REMEMBERED: usize = 16 << 10;

/// A body whose values have been found valid.
pub(super) struct Checked {
    /// All values' places; `None` where there are too many.
    places: Option<Vec<(u32, u32)>>,
}

/// Calls `value` for each value, which is valid JSON.
pub(super) fn check(body: &[u8], max_event: usize, mut value: impl FnMut(Range<usize>)) -> Result<Checked, Fault> {
    let (mut values, mut places) = (Values::new(), Some(Vec::new()));
    loop {
        match values.next_valid(body, max_event) {
            Ok(None) => return Ok(Checked { places }),
            Ok(Some((from, to))) => {
                if let Some(list) = &mut places {
                    list.push((from as u32, to as u32));
                    places = places.filter(|list| list.len() < REMEMBERED);
                }
                value(from..to);
            }
            Err(SplitError::Invalid(at)) => return Err(Fault::Invalid(at)),
            Err(SplitError::TooLong(at)) => return Err(Fault::TooLong(at)),
            Err(SplitError::TooDeep(at)) => return Err(Fault::TooDeep(at)),
        }
    }
}

/// The values of a checked body, in parts.
pub(super) struct JsonParts<K> {
    body: Vec<u8>,
    values: Values,
    places: Option<std::vec::IntoIter<(u32, u32)>>,
    max_event: usize,
    /// Whether a value is to be taken.
    keep: K,
}

impl<K: FnMut(&[u8]) -> bool> JsonParts<K> {
    pub(super) fn new(body: Vec<u8>, checked: Checked, max_event: usize, keep: K) -> Self {
        JsonParts { body, values: Values::new(), places: checked.places.map(Vec::into_iter), max_event, keep }
    }

    /// The place of the next value.
    fn place(&mut self) -> Option<(usize, usize)> {
        match &mut self.places {
            Some(places) => places.next().map(|(from, to)| (from as usize, to as usize)),
            None => self.values.next(&self.body, self.max_event).ok().flatten(),
        }
    }
}

impl<K: FnMut(&[u8]) -> bool> Iterator for JsonParts<K> {
    type Item = BodyPart;

    fn next(&mut self) -> Option<BodyPart> {
        let mut frames: Vec<(u32, u32)> = Vec::new();
        let whole = self.body.len() <= PART_BYTES;
        let mut from = None;
        let mut at_end = true;
        while let Some((start, end)) = self.place() {
            if !(self.keep)(&self.body[start..end]) {
                continue;
            }
            frames.push((start as u32, end as u32));
            let first = *from.get_or_insert(start);
            if frames.len() == PART_EVENTS || end - first >= PART_BYTES {
                at_end = false;
                break;
            }
        }
        let (Some(first), Some(last)) = (from, frames.last()) else { return None };
        let text = if whole && at_end && first < PART_BYTES / 2 {
            std::mem::take(&mut self.body)
        } else {
            let text = self.body[first..last.1 as usize].to_vec();
            let by = first as u32;
            frames.iter_mut().for_each(|frame| *frame = (frame.0 - by, frame.1 - by));
            text
        };
        if at_end {
            // What is left of the body is not needed any more.
            (self.body, self.values) = (Vec::new(), Values::new());
        }
        Some(BodyPart::Json { text, frames, origin: None })
    }
}

/// Lines of a body; a last one without end counts.
fn count_lines(body: &[u8], max_event: usize) -> Result<usize, ()> {
    let (mut from, mut count) = (0, 0);
    for newline in memchr::memchr_iter(b'\n', body) {
        if newline - from > max_event {
            return Err(());
        }
        from = newline + 1;
        count += 1;
    }
    match body.len() - from {
        0 => Ok(count),
        length if length > max_event => Err(()),
        _ => Ok(count + 1),
    }
}

/// The lines of a body, in parts.
struct LineParts {
    body: Vec<u8>,
    at: usize,
}

impl Iterator for LineParts {
    type Item = BodyPart;

    fn next(&mut self) -> Option<BodyPart> {
        let rest = &self.body[self.at..];
        if rest.is_empty() {
            return None;
        }
        // So many lines, or so many bytes up to a line's end.
        let lines = memchr::memchr_iter(b'\n', rest).map(|newline| newline + 1);
        let end = lines.enumerate().find(|(n, end)| n + 1 == PART_EVENTS || *end >= PART_BYTES).map(|(_, end)| end);
        let end = end.unwrap_or(rest.len());
        if self.at == 0 && end == rest.len() {
            return Some(BodyPart::Lines(std::mem::take(&mut self.body)));
        }
        let part = rest[..end].to_vec();
        self.at += end;
        Some(BodyPart::Lines(part))
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::format::{AnswerBody, Head};
    use super::*;
    use crate::event::Origin;
    use hyper::header::HeaderMap;
    use hyper::{Method, header};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// A request with this body.
    pub(in super::super) fn request(content_type: &str, body: &[u8]) -> Request {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        let path = "/".to_owned();
        Request {
            head: Arc::new(Head { method: Method::POST, path, headers, variables: Vec::new() }),
            body: body.to_vec(),
            origin: Arc::new(Origin::default()),
            received_at: 0,
            max_body: 1 << 20,
            max_event: 1 << 16,
        }
    }

    /// Status and body of an answer.
    pub(in super::super) fn said(answer: Answer) -> (u16, String) {
        let body = match answer.body {
            AnswerBody::Whole(body) => body,
            AnswerBody::Pieces(pieces) => pieces.flatten().collect(),
        };
        (answer.status.as_u16(), String::from_utf8(body).unwrap())
    }

    /// The frames a format takes (lines as the workers see them), and what it answers.
    fn taken(format: Plain, content_type: &str, body: &[u8]) -> Result<(Vec<String>, String), (u16, String)> {
        let taken = format.read(request(content_type, body)).map_err(said)?;
        let mut out = Vec::new();
        for part in taken.parts {
            match part {
                BodyPart::Lines(text) => {
                    out.extend(String::from_utf8_lossy(&text).lines().map(|l| format!("line {l}")))
                }
                BodyPart::Json { text, frames, .. } => out.extend(
                    frames.iter().map(|(a, b)| String::from_utf8_lossy(&text[*a as usize..*b as usize]).into_owned()),
                ),
                BodyPart::Events(_) => panic!("events"),
            }
        }
        let (status, answer) = said((taken.answer)());
        assert_eq!(status, 200);
        Ok((out, answer))
    }

    #[test]
    fn the_content_type_says_what_a_body_is_and_else_its_first_byte() {
        let json = vec!["{\"a\":1}".to_owned(), "{}".to_owned()];
        for (kind, body) in [
            ("application/json", "[{\"a\":1},{}]"),
            ("application/json; charset=utf-8", " {\"a\":1} {}"),
            ("Application/X-NDJSON", "{\"a\":1}\n{}\n"),
            ("application/vnd.x+json", "\u{feff}[{\"a\":1},{}]"),
            ("application/x-www-form-urlencoded", "[{\"a\":1}\n,{}]"),
            ("", "\n {\"a\":1}\r\n\r\n{}"),
        ] {
            assert_eq!(
                taken(Plain::Auto, kind, body.as_bytes()).unwrap(),
                (json.clone(), "{\"events\":2}".into()),
                "{kind}"
            );
        }
        for (kind, body) in [("text/plain;charset=UTF-8", "{\"a\":1}\nx"), ("text/plain", "{\"a\":1}\r\nx\n")] {
            let lines = vec!["line {\"a\":1}".to_owned(), "line x".to_owned()];
            assert_eq!(taken(Plain::Auto, kind, body.as_bytes()).unwrap(), (lines, "{\"events\":2}".into()), "{kind}");
        }
        assert_eq!(taken(Plain::Auto, "", b"{a").unwrap_err().0, 400);
        assert_eq!(taken(Plain::Auto, "", b"a {").unwrap().0, ["line a {"]);
        assert_eq!(taken(Plain::Json, "text/plain", b"[1]").unwrap().0, ["1"]);
        assert_eq!(taken(Plain::Text, "application/json", b"[1]").unwrap().0, ["line [1]"]);
    }

    #[test]
    fn a_mistake_anywhere_refuses_all_and_is_shown() {
        let refused = |body: &[u8]| taken(Plain::Json, "application/json", body).unwrap_err();
        let (status, said) = refused(b"{\"a\":1}\n{\"b\":nope}\n");
        assert_eq!(status, 400);
        assert!(said.contains("line 2 column"), "{said}");
        assert_eq!(refused(b"[{},{]").0, 400);
        assert_eq!(refused(b"{\"a\":\"\0\"}").0, 400, "a raw control character");
        assert_eq!(refused(b"{\"a\":1}x").0, 400);
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        assert_eq!(refused(&deep).0, 413);
        let (status, said) = refused(&deep[99_800..100_200]);
        assert!(status == 400 && said.contains("the value at byte 1 is nested deeper than 128 levels"), "{said}");
        let long = format!("[{{}},{{\"a\":\"{}\"}}]", "x".repeat(70_000));
        assert_eq!(refused(long.as_bytes()).0, 413);
        assert_eq!(taken(Plain::Text, "", &vec![b'x'; 70_000]).unwrap_err().0, 413);
    }

    #[test]
    fn nothing_is_nothing() {
        for body in ["", "[]", " \n", "[] []"] {
            assert_eq!(taken(Plain::Json, "", body.as_bytes()).unwrap(), (vec![], "{\"events\":0}".into()), "{body}");
        }
        assert_eq!(taken(Plain::Text, "", b"").unwrap().0, Vec::<String>::new());
        // Invalid UTF-8 in a string is for the workers to replace.
        assert_eq!(taken(Plain::Json, "", b"{\"a\":\"\xff\"}").unwrap().0.len(), 1);
    }

    #[test]
    fn a_large_body_comes_in_parts_that_lack_nothing() {
        let objects: Vec<String> =
            (0..20_000).map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}", "y".repeat(n % 90))).collect();
        for body in [format!("[{}]", objects.join(",\n")), objects.join("\n")] {
            let taken_parts = Plain::Json.read(request("", body.as_bytes())).map_err(said).unwrap().parts;
            let mut all = Vec::new();
            for part in taken_parts {
                let BodyPart::Json { text, frames, .. } = part else { panic!("json") };
                assert!(text.len() < 2 * PART_BYTES && frames.len() <= PART_EVENTS);
                all.extend(
                    frames.iter().map(|(a, b)| String::from_utf8(text[*a as usize..*b as usize].to_vec()).unwrap()),
                );
            }
            assert!(all == objects);
        }
        let lines = objects.join("\r\n");
        let (out, _) = taken(Plain::Text, "", lines.as_bytes()).unwrap();
        assert!(out.len() == objects.len() && out.iter().zip(&objects).all(|(a, b)| a[5..] == *b));
    }

    proptest! {
        #[test]
        fn any_body_is_taken_or_refused_and_text_loses_no_line(
            body in proptest::collection::vec(prop_oneof![
                Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b','), Just(b':'), Just(b'\n'), Just(b'1'), any::<u8>()
            ], 0..120)
        ) {
            let text = taken(Plain::Text, "", &body).unwrap().0;
            prop_assert_eq!(text.len(), String::from_utf8_lossy(&body).lines().count());
            if let Ok((frames, _)) = taken(Plain::Json, "", &body) {
                for frame in frames {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&frame).is_ok(), "{}", frame);
                }
            } else if let Ok(text) = std::str::from_utf8(&body) {
                // What is refused is neither an array nor a row of values, to serde_json either.
                let all = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>().collect::<Result<Vec<_>, _>>();
                prop_assert!(all.is_err(), "{:?}", text);
            }
        }
    }
}

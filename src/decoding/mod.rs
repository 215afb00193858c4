//! Frames to events.
//!
//! A [`Decoder`] belongs to one source on one worker. It checks a whole chunk's UTF-8 at once, splits lines, hands
//! each frame to its [`FrameDecoder`] and does what `on_decode_error` says with those that are refused.

pub mod access;
pub mod auto;
mod charset;
mod config;
pub mod cri;
pub mod docker;
mod histogram;
pub mod keys;
pub mod kubernetes;
pub mod logfmt;
pub mod msgpack;
pub mod otlp;
pub mod records;
pub mod regex;
pub mod remote_write;
pub mod server;
pub mod syslog;
#[cfg(test)]
mod testing;

pub use charset::{Charset, InvalidUtf8};
pub use config::DecodeSetting;

use charset::ToUtf8;

use crate::event::{Batch, JsonRows, Slab, Sym, Value, json};
use crate::event::{Chunk, Frames};
use crate::settings::config_enum;
use crate::telemetry::example_of;

config_enum! {
    /// What becomes of a frame that cannot be decoded.
    pub enum OnDecodeError {
        /// It is kept as text in `message`, marked with the reason in `decode_error`.
        Keep = "keep",
        /// It goes to the source's `rejected` output.
        Reject = "reject",
        /// It is dropped and counted.
        Drop = "drop",
    }
}

/// Decodes one frame at a time.
pub trait FrameDecoder: Send {
    /// Appends the events of the frame `text[start..end]` of the batch's text (usually one).
    ///
    /// Errors: why the frame is not of this format, a lowercase fragment; the batch must then be as before.
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str>;

    /// Another instance, for another worker.
    fn fork(&self) -> Box<dyn FrameDecoder>;

    /// Whether each frame becomes one event with the frame as it is in `message`, and nothing else.
    fn is_plain(&self) -> bool {
        false
    }

    /// Appends the event of a frame that [`decode`](Self::decode) refused, and returns its row: by default its text alone.
    fn push_refused(&self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> usize {
        let row = batch.push_line(start, end, offset);
        batch.push_text_field(Sym::MESSAGE, start, end);
        row
    }

    /// Whether a frame of blanks is nothing, where it is not of the format: an empty line between records.
    fn skips_blanks(&self) -> bool {
        false
    }

    /// Whether a backslash means something in this frame, so that one that is put in has to be doubled.
    fn has_escapes(&self, _frame: &[u8]) -> bool {
        false
    }

    /// Frames since the last call that were taken although their header was not read, and one of them.
    fn take_unread_headers(&mut self) -> (u64, Option<String>) {
        (0, None)
    }
}

/// Each frame is text, in `message`.
pub struct TextDecoder;

impl FrameDecoder for TextDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        batch.push_line(start, end, offset);
        batch.push_text_field(Sym::MESSAGE, start, end);
        Ok(())
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(TextDecoder)
    }

    fn is_plain(&self) -> bool {
        true
    }
}

/// Each frame is a JSON object whose members are the fields; JSON that is no object becomes the text of `message`.
#[derive(Default)]
pub struct JsonDecoder {
    rows: JsonRows,
}

impl FrameDecoder for JsonDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        match self.rows.push(batch, start, end, offset) {
            Ok(()) => Ok(()),
            Err(json::ScanError::NotObject) => TextDecoder.decode(batch, start, end, offset),
            Err(json::ScanError::Invalid) => Err("not valid JSON"),
            Err(json::ScanError::TooDeep) => Err("JSON nested deeper than 128 levels"),
            Err(json::ScanError::TooManyFields) => Err("more than 16384 fields"),
        }
    }

    fn skips_blanks(&self) -> bool {
        true
    }

    fn has_escapes(&self, frame: &[u8]) -> bool {
        is_object(frame)
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(JsonDecoder::default())
    }
}

/// Whether a frame begins as a JSON object does.
pub(crate) fn is_object(frame: &[u8]) -> bool {
    frame.trim_ascii_start().first() == Some(&b'{')
}

/// What decoding a chunk came to, beside its events.
#[derive(Default, Debug, PartialEq)]
pub struct DecodeStats {
    /// Frames in the chunk.
    pub frames: u64,
    /// Their bytes, without line ends.
    pub bytes: u64,
    /// Frames that were not of the format.
    pub errors: u64,
    /// Frames with invalid UTF-8, which was replaced.
    pub invalid_utf8: u64,
    /// Of the errors: dropped.
    pub dropped: u64,
    /// Of the errors: rows to be sent to `rejected`, with the reason.
    pub rejects: Vec<(usize, &'static str)>,
    /// Frames that were taken although their header was not read.
    pub header_unread: u64,
    /// One of each kind of error.
    pub examples: Vec<(&'static str, String)>,
}

impl DecodeStats {
    #[cold]
    fn example(&mut self, kind: &'static str, text: &[u8]) {
        if self.examples.iter().all(|(k, _)| *k != kind) {
            self.examples.push((kind, example_of(text)));
        }
    }
}

/// Decodes the chunks of one source on one worker.
pub struct Decoder {
    frames: Box<dyn FrameDecoder>,
    on_error: OnDecodeError,
    to_utf8: ToUtf8,
}

impl Decoder {
    /// A decoder for frames of one format, in UTF-8.
    pub fn new(frames: Box<dyn FrameDecoder>, on_error: OnDecodeError) -> Self {
        let to_utf8 = ToUtf8 { charset: None, invalid: InvalidUtf8::Replace };
        Decoder { frames, on_error, to_utf8 }
    }

    /// The same for frames in `charset`, UTF-8 where there is none, and with what becomes of what is not in UTF-8.
    pub fn with_charset(mut self, charset: Option<Charset>, invalid: InvalidUtf8) -> Self {
        self.to_utf8 = ToUtf8 { charset: charset.and_then(Charset::encoding), invalid };
        self
    }

    /// Another instance, for another worker.
    pub fn fork(&self) -> Decoder {
        Decoder { frames: self.frames.fork(), ..*self }
    }

    /// Decodes a chunk into a batch.
    pub fn decode(&mut self, chunk: Chunk, stats: &mut DecodeStats) -> Batch {
        let batch = self.decode_chunk(chunk, stats);
        let (unread, example) = self.frames.take_unread_headers();
        stats.header_unread += unread;
        stats.examples.extend(example.map(|text| ("header_unread", text)));
        batch
    }

    fn decode_chunk(&mut self, chunk: Chunk, stats: &mut DecodeStats) -> Batch {
        let Chunk { text, frames, origin, offset, received_at, ack } = chunk;
        let (start, end) = match &frames {
            Frames::Decoded(_) => {
                let Frames::Decoded(batch) = frames else { unreachable!() };
                stats.frames = batch.len() as u64;
                stats.bytes = batch.live_bytes() as u64;
                return batch;
            }
            Frames::Lines { start, end } => (*start, *end),
            // Of container lines, those come first that were completed first.
            Frames::Spans(spans) | Frames::Utf8(spans) => {
                let (from, to) = spans.iter().fold((u32::MAX, 0), |(from, to), s| (from.min(s.0), to.max(s.1)));
                (from.min(to) as usize, to as usize)
            }
        };
        let to_utf8 = match frames {
            Frames::Utf8(_) => ToUtf8 { charset: None, ..self.to_utf8 },
            _ => self.to_utf8,
        };
        if to_utf8.is_needed(&text[start..end]) {
            let (text, spans) = self.rewrite(&text, &frames, offset, to_utf8, stats);
            let mut batch = Batch::recycled(text, origin, received_at, ack);
            for (from, to, offset) in spans {
                self.frame(&mut batch, from as usize, to as usize, offset, stats);
            }
            return batch;
        }
        let mut batch = Batch::recycled(text, origin, received_at, ack);
        match frames {
            Frames::Lines { start, end } => {
                let text = batch.text().clone();
                let before = stats.bytes + stats.frames;
                let mut from = start;
                for newline in memchr::memchr_iter(b'\n', &text[start..end]) {
                    let to = start + newline;
                    self.line(&mut batch, &text, from, to, offset, stats);
                    from = to + 1;
                }
                if from < end {
                    self.line(&mut batch, &text, from, end, offset, stats);
                } else if self.frames.is_plain() && stats.bytes + stats.frames - before == (end - start) as u64 {
                    // No line had another end than `\n`.
                    batch.set_plain_lines(start, end);
                }
            }
            Frames::Spans(spans) | Frames::Utf8(spans) => {
                for (from, to, offset) in spans {
                    self.frame(&mut batch, from as usize, to as usize, offset, stats);
                }
            }
            Frames::Decoded(_) => {}
        }
        batch
    }

    /// The chunk's frames in UTF-8, in bytes of their own.
    #[cold]
    fn rewrite(
        &self,
        text: &Slab,
        frames: &Frames,
        offset: u64,
        to_utf8: ToUtf8,
        stats: &mut DecodeStats,
    ) -> (Slab, Vec<(u32, u32, u64)>) {
        let mut spans = spans_of(text, frames, offset);
        let mut clean = Vec::with_capacity(text.len() + 64);
        for span in &mut spans {
            let frame = &text[span.0 as usize..span.1 as usize];
            let at = clean.len() as u32;
            if to_utf8.append(frame, self.frames.has_escapes(frame), &mut clean) {
                stats.invalid_utf8 += 1;
                stats.example("invalid_utf8", frame);
            }
            (span.0, span.1) = (at, clean.len() as u32);
        }
        (Slab::from_vec(clean), spans)
    }

    #[inline(always)]
    fn line(
        &mut self,
        batch: &mut Batch,
        text: &[u8],
        from: usize,
        mut to: usize,
        offset: u64,
        stats: &mut DecodeStats,
    ) {
        if to > from && text[to - 1] == b'\r' {
            to -= 1;
        }
        self.frame(batch, from, to, offset + from as u64, stats);
    }

    #[inline(always)]
    fn frame(&mut self, batch: &mut Batch, from: usize, to: usize, offset: u64, stats: &mut DecodeStats) {
        stats.frames += 1;
        stats.bytes += (to - from) as u64;
        if let Err(reason) = self.frames.decode(batch, from, to, offset) {
            self.refused(batch, from, to, offset, reason, stats);
        }
    }

    #[cold]
    fn refused(
        &mut self,
        batch: &mut Batch,
        from: usize,
        to: usize,
        offset: u64,
        reason: &'static str,
        stats: &mut DecodeStats,
    ) {
        if self.frames.skips_blanks() && batch.text()[from..to].trim_ascii().is_empty() {
            (stats.frames, stats.bytes) = (stats.frames - 1, stats.bytes - (to - from) as u64);
            return;
        }
        stats.errors += 1;
        if stats.errors == 1 {
            stats.example("decode", &batch.text()[from..to]);
        }
        if self.on_error == OnDecodeError::Drop {
            stats.dropped += 1;
            return;
        }
        let row = self.frames.push_refused(batch, from, to, offset);
        match self.on_error {
            OnDecodeError::Keep => {
                batch.event_mut(row).push(Sym::DECODE_ERROR, Value::from(reason));
            }
            _ => stats.rejects.push((row, reason)),
        }
    }
}

/// The frames one by one.
fn spans_of(text: &Slab, frames: &Frames, offset: u64) -> Vec<(u32, u32, u64)> {
    let mut spans = Vec::new();
    match frames {
        Frames::Lines { start, end } => {
            let mut from = *start;
            for line in text[*start..*end].split_inclusive(|&c| c == b'\n') {
                let bare = line.strip_suffix(b"\n").unwrap_or(line);
                let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
                spans.push((from as u32, (from + bare.len()) as u32, offset + from as u64));
                from += line.len();
            }
        }
        Frames::Spans(given) | Frames::Utf8(given) => spans.clone_from(given),
        Frames::Decoded(_) => {}
    }
    spans
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ack::Ack;
    use crate::event::Origin;

    fn decode(text: &[u8], on_error: OnDecodeError) -> (Vec<String>, DecodeStats) {
        decode_by(Decoder::new(Box::new(JsonDecoder::default()), on_error), text)
    }

    fn decode_by(mut decoder: Decoder, text: &[u8]) -> (Vec<String>, DecodeStats) {
        let chunk = Chunk {
            text: Slab::from_vec(text.to_vec()),
            frames: Frames::Lines { start: 0, end: text.len() },
            origin: Origin::of_source("s"),
            offset: 100,
            received_at: 0,
            ack: Ack::none(),
        };
        let mut stats = DecodeStats::default();
        let batch = decoder.decode(chunk, &mut stats);
        let lines = batch.iter().map(|e| {
            let mut out = format!("{} ", e.offset()).into_bytes();
            e.write_json(&mut out);
            String::from_utf8(out).unwrap()
        });
        (lines.collect(), stats)
    }

    #[test]
    fn lines_keep_their_offsets_and_lose_their_ends() {
        let (lines, stats) = decode(b"{\"a\":1}\r\n[1]\nnope\n\n{\"b\": 2}", OnDecodeError::Keep);
        assert_eq!(
            lines,
            [
                r#"100 {"a":1}"#,
                r#"109 {"message":"[1]"}"#,
                r#"113 {"message":"nope","decode_error":"not valid JSON"}"#,
                r#"119 {"b": 2}"#
            ]
        );
        // An empty line between records is nothing.
        assert_eq!((stats.frames, stats.errors, stats.bytes), (4, 1, 22));
    }

    #[test]
    fn invalid_utf8_is_replaced_and_counted_and_the_rest_is_untouched() {
        let (lines, stats) = decode(b"{\"a\":\"\xff\"}\n{\"b\":\"\xc3\xa9\"}\n", OnDecodeError::Drop);
        assert_eq!(lines, ["100 {\"a\":\"\u{fffd}\"}", "110 {\"b\":\"é\"}"]);
        assert_eq!((stats.invalid_utf8, stats.errors), (1, 0));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_kept_as_it_is_told() {
        let text = "{\"a\":\"\u{e9}?\"}\n".replace('?', "\\\\x41").into_bytes();
        let text = [&text[..], b"{\"b\":\"\x93\xe4\"}\nplain \xff\n"].concat();
        let by = |frames: Box<dyn FrameDecoder>, invalid| {
            let decoder = Decoder::new(frames, OnDecodeError::Keep).with_charset(None, invalid);
            let (lines, stats) = decode_by(decoder, &text);
            assert_eq!(stats.invalid_utf8, 2);
            lines.into_iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>()
        };
        let json = |invalid| by(Box::<JsonDecoder>::default(), invalid);
        assert_eq!(
            json(InvalidUtf8::Replace)[1..3],
            ["{\"b\":\"\u{fffd}\u{fffd}\"}", "{\"message\":\"plain \u{fffd}\",\"decode_error\":\"not valid JSON\"}"]
        );
        assert_eq!(json(InvalidUtf8::Latin1)[1], "{\"b\":\"\u{201c}\u{e4}\"}");
        // The text is `\x93\xe4`, as JSON writes it.
        assert_eq!(json(InvalidUtf8::Escape)[1], "{\"b\":\"\\\\x93\\\\xe4\"}");
        assert_eq!(json(InvalidUtf8::Escape)[2], "{\"message\":\"plain \\\\xff\",\"decode_error\":\"not valid JSON\"}");
        let plain = by(Box::new(TextDecoder), InvalidUtf8::Escape);
        assert_eq!(plain[2], "{\"message\":\"plain \\\\xff\"}");
        assert_eq!(json(InvalidUtf8::Escape)[0], "{\"a\":\"\u{e9}\\\\x41\"}", "what is UTF-8 stays");
    }

    #[test]
    fn frames_of_another_charset_become_utf8_at_their_places() {
        let by = |label: &str, text: &[u8]| {
            let charset = Charset::of_label(label);
            assert!(charset.is_some(), "{label}");
            decode_by(
                Decoder::new(Box::new(TextDecoder), OnDecodeError::Keep).with_charset(charset, InvalidUtf8::Replace),
                text,
            )
        };
        // The second byte of a character may be a backslash.
        let (lines, stats) = by("shift_jis", b"\x83\x65\x83\x58\x83\x67\r\n\x95\x5c\nascii\n");
        assert_eq!(
            lines,
            [
                "100 {\"message\":\"\u{30c6}\u{30b9}\u{30c8}\"}",
                "108 {\"message\":\"\u{8868}\"}",
                "111 {\"message\":\"ascii\"}"
            ]
        );
        assert_eq!(stats.invalid_utf8, 0);
        assert_eq!(by("latin1", b"\xe4\xf6\n").0, ["100 {\"message\":\"\u{e4}\u{f6}\"}"]);
        assert_eq!(by("iso-2022-jp", b"\x1b$B%F\x1b(B\n").0, ["100 {\"message\":\"\u{30c6}\"}"]);
        assert_eq!(
            by("koi8-r", b"\xef\xbb\xbf\xc3\xa4\n").0,
            ["100 {\"message\":\"\u{feff}\u{e4}\"}"],
            "marked as UTF-8"
        );
        let (lines, stats) = by("gbk", b"\xff\x41\n");
        assert_eq!((lines, stats.invalid_utf8), (vec!["100 {\"message\":\"\u{fffd}A\"}".to_owned()], 1));
    }
}

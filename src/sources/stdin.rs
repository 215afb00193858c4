//! The `stdin` source: lines from standard input; its end ends the run.
//!
//! ```yaml
//! sources: {in: {type: stdin, decode: json}}
//! ```
//!
//! `multiline` joins lines as it does for files; `decode: cri` and `decode: docker` join split messages, whose texts are
//! what `multiline` joins then.
//!
//! Guarantee: what was read is delivered before the program ends; a pipe cannot be read again after a crash. Waits
//! while the workers have enough, and so does whoever writes into the pipe.

use crate::ack::Ack;
use crate::component::common::SourceCommon;
use crate::component::plan::SourcePlan;
use crate::component::{BuildContext, SourceContext, SourceRun};
use crate::decoding::Charset;
use crate::error::{BuildError, RunError};
use crate::event::{Chunk, Frames};
use crate::event::{Origin, SlabPool};
use crate::framing::container::{Frames as Joined, TooLong};
use crate::framing::lines::Lines;
use crate::framing::wide::Wide;
use crate::framing::{ContainerFramer, Framer, Framing, LongLines, MultilineSetting, PartLimits, Spans, framing};
use crate::settings::{Size, config};
use crate::telemetry::Counters;
use crate::time::clock;
use encoding_rs::Encoding;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

config! {
    /// Lines from standard input; its end ends the run.
    pub struct StdinConfig {
        /// Longest line, without its end; a longer one is split, counted.
        pub max_line_bytes: Size = Size::mib(1),
        /// What the input is in, by a label of the WHATWG's Encoding Standard: `latin1`, `shift_jis`, `gbk`, `utf-16le`, … An input that
        /// begins with the mark of UTF-16 is read as that without it.
        pub charset: Option<Charset>,
        /// Which lines make one event: one built-in rule or several, or a rule.
        pub multiline: Option<MultilineSetting>,
        /// With `decode: cri` and `decode: docker`: how long a message waits for its next part.
        pub partial_timeout: Duration = Duration::from_secs(10),
        /// What all sources have.
        flatten pub common: SourceCommon,
    }
}

impl SourcePlan for StdinConfig {
    fn common(&self) -> &SourceCommon {
        &self.common
    }

    fn framing(&self) -> Result<Option<Framing>, BuildError> {
        let parts = PartLimits {
            timeout: self.partial_timeout,
            max_bytes: self.max_line_bytes.as_usize().max(1),
            too_long: TooLong::Split,
        };
        framing(self.multiline.as_ref(), self.common.decode.container(), parts)
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SourceRun, BuildError> {
        let origin = Arc::new(Origin { source: cx.id.clone(), host: Some(cx.host.clone()), ..Origin::default() });
        let max_line = self.max_line_bytes.as_usize().max(1);
        let cutter = match self.framing()? {
            None => Cutter::Lines,
            Some(Framing::Lines(rule)) => Cutter::Joined(Framer::new(rule).with_max_line(max_line)),
            Some(Framing::Containers(rule)) => Cutter::Containers(Box::new(ContainerFramer::new(rule))),
        };
        let charset = self.charset;
        Ok(SourceRun::Thread(Box::new(move |cx| {
            let input = InUtf8::new(std::io::stdin(), charset, cx.counters.clone());
            run(input, &cx, &origin, max_line, cutter)
        })))
    }
}

/// Puts an input into UTF-8 that is in another charset, or begins with the mark of UTF-16.
struct InUtf8<R> {
    input: R,
    charset: Option<&'static Encoding>,
    counters: Arc<Counters>,
    state: Recoding,
    /// Bytes that were read and not decoded.
    raw: Vec<u8>,
    /// Text that was not asked for yet, from that place on.
    text: (Vec<u8>, usize),
}

enum Recoding {
    /// The first bytes are looked at.
    Begins,
    /// It is in UTF-8.
    Off,
    By(Box<encoding_rs::Decoder>),
    Ended,
}

impl<R: Read> InUtf8<R> {
    fn new(input: R, charset: Option<Charset>, counters: Arc<Counters>) -> Self {
        let charset = charset.and_then(Charset::encoding);
        InUtf8 { input, charset, counters, state: Recoding::Begins, raw: Vec::new(), text: (Vec::new(), 0) }
    }

    /// Reads until it is known what the input is in.
    fn begin(&mut self, buf: &mut [u8]) -> std::io::Result<()> {
        while self.raw.is_empty() || matches!(self.raw[..], [0xff | 0xfe]) {
            let n = self.input.read(buf)?;
            self.raw.extend_from_slice(&buf[..n]);
            if n == 0 {
                break;
            }
        }
        let by_mark = Wide::of_bom(&self.raw).map(|wide| match wide {
            Wide::Little => encoding_rs::UTF_16LE,
            Wide::Big => encoding_rs::UTF_16BE,
        });
        self.state = match by_mark.or(self.charset) {
            Some(charset) => Recoding::By(Box::new(charset.new_decoder())),
            None => Recoding::Off,
        };
        Ok(())
    }

    /// Decodes what was read.
    fn decode(&mut self, last: bool) {
        let Recoding::By(decoder) = &mut self.state else { return };
        let (mut text, mut from, mut replaced) = (std::mem::take(&mut self.text.0), 0, false);
        text.clear();
        loop {
            let rest = &self.raw[from..];
            let room = decoder.max_utf8_buffer_length(rest.len()).unwrap_or(rest.len() * 3 + 16);
            let at = text.len();
            text.resize(at + room, 0);
            let (result, read, written, had) = decoder.decode_to_utf8(rest, &mut text[at..], last);
            text.truncate(at + written);
            (from, replaced) = (from + read, replaced | had);
            if matches!(result, encoding_rs::CoderResult::InputEmpty) {
                break;
            }
        }
        self.raw.clear();
        self.text = (text, 0);
        if last {
            self.state = Recoding::Ended;
        }
        if replaced {
            self.counters.update(|t| t.error("invalid_utf8", 1));
        }
    }
}

impl<R: Read> Read for InUtf8<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if matches!(self.state, Recoding::Begins) {
            self.begin(buf)?;
        }
        loop {
            if self.text.1 < self.text.0.len() {
                let n = buf.len().min(self.text.0.len() - self.text.1);
                buf[..n].copy_from_slice(&self.text.0[self.text.1..self.text.1 + n]);
                self.text.1 += n;
                return Ok(n);
            }
            match self.state {
                Recoding::Off if self.raw.is_empty() => return self.input.read(buf),
                Recoding::Off => self.text = (std::mem::take(&mut self.raw), 0),
                Recoding::Ended => return Ok(0),
                Recoding::Begins | Recoding::By(_) => {
                    if self.raw.is_empty() {
                        let n = self.input.read(buf)?;
                        self.raw.extend_from_slice(&buf[..n]);
                    }
                    self.decode(self.raw.is_empty());
                }
            }
        }
    }
}

/// Bytes read at once.
const SLAB: usize = 256 << 10;
/// How often a reader that waits looks whether the agent stops.
const LOOK: Duration = Duration::from_millis(50);

/// How the stream is cut into frames.
enum Cutter {
    Lines,
    Joined(Framer),
    Containers(Box<ContainerFramer>),
}

/// What goes out of the front of a buffer.
#[derive(Default)]
struct Cut {
    /// Bytes of the buffer that go.
    whole: usize,
    /// The frames in them; `None`: they are lines.
    spans: Option<Spans>,
    /// Texts of frames that stand behind them.
    joined: Vec<u8>,
    /// Lines and messages that were too long.
    long: u64,
}

impl Cut {
    fn of(mut joined: Joined, whole: usize, long: u64) -> Self {
        Joined::resolve(&mut joined.spans, 0, whole);
        Cut { whole, spans: Some(joined.spans), joined: joined.joined, long: long + joined.long }
    }
}

impl Cutter {
    /// Takes what is whole; what is behind the last line end waits for the rest of its line, up to `max_line` bytes. No line
    /// end lies in the first `searched` bytes.
    fn cut(&mut self, lines: &[u8], searched: usize, now: u64, max_line: usize) -> Cut {
        match self {
            Cutter::Lines => {
                let split = Lines { max_bytes: max_line, long: LongLines::Split };
                let taken = split.take(lines, 0, searched, false, 0);
                let spans = match taken.frames {
                    Some(Frames::Spans(spans)) => Some(spans),
                    _ => None,
                };
                Cut { whole: taken.end, spans, long: taken.long, ..Cut::default() }
            }
            Cutter::Joined(framer) => {
                let mut spans = Spans::new();
                let whole = framer.frame(lines, 0, now, &mut spans);
                Cut { whole, spans: Some(spans), long: framer.take_long(), ..Cut::default() }
            }
            Cutter::Containers(framer) => {
                let mut joined = Joined::default();
                let whole = framer.frame(lines, now, &mut joined);
                if !(Lines { max_bytes: max_line, long: LongLines::Split }).is_long(lines, whole, lines.len()) {
                    return Cut::of(joined, whole, 0);
                }
                framer.line(lines, whole, now, &mut joined);
                Cut::of(joined, lines.len(), 1)
            }
        }
    }

    /// Takes what has waited for long enough; `rest` is what was left.
    fn expire(&mut self, rest: &[u8], now: u64) -> Option<Cut> {
        match self {
            Cutter::Lines => None,
            Cutter::Joined(framer) => framer.is_expired(now).then(|| {
                let mut spans = Spans::new();
                let whole = framer.flush(rest, 0, &mut spans);
                Cut { whole, spans: Some(spans), ..Cut::default() }
            }),
            Cutter::Containers(framer) => {
                let mut joined = Joined::default();
                framer.expire(now, &mut joined);
                (!joined.spans.is_empty()).then(|| Cut::of(joined, 0, 0))
            }
        }
    }

    /// Takes all that is left at the end.
    fn finish(&mut self, rest: &[u8], now: u64) -> Cut {
        match self {
            Cutter::Lines => Cut { whole: rest.len(), ..Cut::default() },
            Cutter::Joined(framer) => {
                let mut spans = Spans::new();
                framer.finish(rest, 0, now, &mut spans);
                Cut { whole: rest.len(), spans: Some(spans), ..Cut::default() }
            }
            Cutter::Containers(framer) => {
                let mut joined = Joined::default();
                if !rest.is_empty() {
                    framer.line(rest, 0, now, &mut joined);
                }
                framer.finish(&mut joined);
                Cut::of(joined, rest.len(), 0)
            }
        }
    }
}

/// What a thread of its own reads of `input`, a read at a time; an empty one is the end. A read that blocks cannot be called
/// back, so the thread is left where it is when the agent stops first.
///
/// Errors: no thread can be started.
fn reads_of(
    mut input: impl Read + Send + 'static,
    pool: SlabPool,
) -> Result<crossbeam_channel::Receiver<std::io::Result<Vec<u8>>>, RunError> {
    let (to, reads) = crossbeam_channel::bounded::<std::io::Result<Vec<u8>>>(1);
    let read = move || {
        loop {
            let mut buf = pool.take();
            buf.resize(SLAB, 0);
            match input.read(&mut buf) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(n) => {
                    buf.truncate(n);
                    if to.send(Ok(buf)).is_err() || n == 0 {
                        return;
                    }
                }
                Err(error) => {
                    // The other side may be gone; then nobody needs to know.
                    let _gone = to.send(Err(error));
                    return;
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name("stdin".into()).spawn(read);
    thread.map(|_| reads).map_err(RunError::Thread)
}

/// Where what was cut goes.
struct Out<'a> {
    cx: &'a SourceContext,
    origin: &'a Arc<Origin>,
    pool: SlabPool,
}

impl Out<'_> {
    /// Sends what was cut off the front of `bytes`; what is left, or `None` where nobody takes anything any more.
    fn send(&self, mut bytes: Vec<u8>, cut: Cut) -> Option<Vec<u8>> {
        if cut.long > 0 {
            self.cx.counters.update(|t| t.error("long_lines", cut.long));
        }
        let left = bytes.split_off(cut.whole);
        bytes.extend_from_slice(&cut.joined);
        let frames = match cut.spans {
            Some(spans) if spans.is_empty() => return Some(left),
            Some(spans) => Frames::Spans(spans),
            None if bytes.is_empty() => return Some(left),
            None => Frames::Lines { start: 0, end: bytes.len() },
        };
        let chunk = Chunk {
            frames,
            text: self.pool.freeze(bytes),
            origin: self.origin.clone(),
            offset: 0,
            received_at: clock::now_ns(),
            ack: Ack::none(),
        };
        self.cx.output.send(chunk).is_ok().then_some(left)
    }
}

/// Reads `input` to its end. The end of the input is the end of the run: the other sources stop, and what was read is
/// delivered, however long that takes; a signal limits it.
fn run(
    input: impl Read + Send + 'static,
    cx: &SourceContext,
    origin: &Arc<Origin>,
    max_line: usize,
    cutter: Cutter,
) -> Result<(), RunError> {
    let pool = SlabPool::new(SLAB, 8);
    let reads = reads_of(input, pool.clone())?;
    let result = pass_on(&reads, &Out { cx, origin, pool }, max_line, cutter);
    cx.shutdown.cancel();
    result
}

/// Cuts what is read and sends it, until the end, a stop, or until nobody takes anything any more.
///
/// Errors: the input cannot be read; what came before is sent.
fn pass_on(
    reads: &crossbeam_channel::Receiver<std::io::Result<Vec<u8>>>,
    out: &Out<'_>,
    max_line: usize,
    mut cutter: Cutter,
) -> Result<(), RunError> {
    let mut rest: Vec<u8> = Vec::new();
    let mut result = Ok(());
    while !out.cx.shutdown.is_cancelled() {
        let now = clock::monotonic_ns();
        if let Some(cut) = cutter.expire(&rest, now) {
            let Some(left) = out.send(rest, cut) else { return Ok(()) };
            rest = left;
        }
        let buf = match reads.recv_timeout(LOOK) {
            Ok(Ok(buf)) => buf,
            Ok(Err(error)) => {
                result = Err(RunError::io("standard input cannot be read")(error));
                break;
            }
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => continue,
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => break,
        };
        if buf.is_empty() {
            break;
        }
        let mut lines = std::mem::take(&mut rest);
        let searched = lines.len();
        lines.extend_from_slice(&buf);
        let cut = cutter.cut(&lines, searched, now, max_line);
        let Some(left) = out.send(lines, cut) else { return Ok(()) };
        rest = left;
    }
    let cut = cutter.finish(&rest, clock::monotonic_ns());
    out.send(rest, cut);
    result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::read_text;
    use std::collections::BTreeMap;

    #[test]
    fn a_container_line_of_exactly_the_most_bytes_waits_for_its_end() {
        let (config, _) = read_text::<StdinConfig>("t.yaml", "decode: cri\nmax_line_bytes: 40\n", &BTreeMap::new());
        let Some(Framing::Containers(rule)) = config.unwrap().framing().unwrap() else { panic!("not joined") };
        for (end, taken) in [("", 0), ("\r", 0), ("x", 1), ("xx", 1)] {
            let line = format!("2025-01-01T00:00:00Z stdout F 0123456789{end}");
            let mut cutter = Cutter::Containers(Box::new(ContainerFramer::new(rule.clone())));
            let cut = cutter.cut(line.as_bytes(), 0, 0, 40);
            assert_eq!((cut.long, cut.whole), (taken, line.len() * taken as usize), "{end:?}");
        }
    }

    /// Gives its bytes in pieces of a size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let n = self.0.len().min(self.1).min(buf.len());
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn an_input_in_another_charset_is_read_however_it_comes() {
        let utf16 =
            |text: &str| [b"\xff\xfe".to_vec(), text.encode_utf16().flat_map(u16::to_le_bytes).collect()].concat();
        let cases: [(Vec<u8>, Option<&str>, &str, u64); 6] = [
            (utf16("one \u{fc}\r\n\u{1f600}\n"), None, "one \u{fc}\r\n\u{1f600}\n", 0),
            (utf16("one \u{fc}"), Some("latin1"), "one \u{fc}", 0),
            (b"\x83\x65\x95\x5c\n".to_vec(), Some("shift_jis"), "\u{30c6}\u{8868}\n", 0),
            (b"a\0b".to_vec(), Some("utf-16le"), "a\u{fffd}", 1),
            (b"\xff".to_vec(), Some("utf-8"), "", 0),
            ("one \u{fc}\n".into(), None, "one \u{fc}\n", 0),
        ];
        for (raw, charset, text, replaced) in cases {
            for piece in 1..=raw.len() {
                let counters = Counters::new("in", crate::telemetry::ComponentKind::Source, "stdin");
                let mut input = InUtf8::new(Pieces(&raw, piece), charset.and_then(Charset::of_label), counters.clone());
                let mut out = Vec::new();
                input.read_to_end(&mut out).unwrap();
                let want = if text.is_empty() { raw.clone() } else { text.into() };
                assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&want), "pieces of {piece}");
                counters.update(|t| assert_eq!(t.errors.get("invalid_utf8").copied().unwrap_or(0), replaced));
            }
        }
    }
}

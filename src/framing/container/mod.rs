//! Container lines to events: the parts of a message are joined first, then the lines of a trace, per stream.
//!
//! ```text
//! 2025-01-01T00:00:00Z stdout P {"half":1,          P: more to come, F: the last part (`decode: cri`)
//! 2025-01-01T00:00:00Z stderr F panic: no           the other stream may write in between
//! 2025-01-01T00:00:00Z stdout F "other":2}
//! ```
//!
//! A [`Joiner`] has the state of one file or pipe, and is told one line at a time. What it gives are frames that look like
//! one line of the container's log: the first line, with the texts of the others behind its own. So a decoder knows
//! nothing of parts, and a character that the runtime cut in two is whole again. A line that joins nothing is a frame where it
//! stands; only joined ones are copied.
//!
//! **Parts.** A message begins with a line that says that more is to come (`P`; with Docker, a text without a line feed) and
//! ends with the first of the same stream that does not. Its time and further members (Docker's `attrs`) are those of its first
//! line; members that only a later one has are added. A message that would grow beyond the longest line is cut, dropped or
//! goes on as the next event, as [`TooLong`] says.
//!
//! **Traces.** With a [`Multiline`] rule the text of each whole message is judged as a line, each stream by itself; texts of
//! one event are divided by line feeds.
//!
//! **Other lines** (torn, empty, of an unknown stream) are frames of their own. What is torn may have been the rest of any
//! message, so those that lack a part end there: nothing is joined over a gap. Traces go on.
//!
//! **Waiting.** What is open is closed when its stream had no line for [`Rule::partial_timeout_nanos`] where a part is
//! lacking, else for the rule's `timeout`; and at the end of the input.

pub mod cri;
pub mod docker;

use super::Spans;
use super::multiline::{Aggregator, Matcher, Multiline};
use crate::event::json;
use crate::framing::span::Span;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// How the runtime writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// containerd and CRI-O: `time stream P|F text`.
    Cri,
    /// Docker's json-file driver.
    Docker,
    /// Either: what begins with a brace is Docker's.
    Any,
}

impl Format {
    /// How this line is written: one of the two.
    #[inline]
    fn of(self, line: &[u8]) -> Format {
        match (self, line.first()) {
            (Format::Any, Some(b'{')) => Format::Docker,
            (Format::Any, _) => Format::Cri,
            (format, _) => format,
        }
    }
}

/// What becomes of a message that would be longer than [`Rule::max_bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLong {
    /// Its beginning is kept.
    Truncate,
    /// It is dropped.
    Skip,
    /// It becomes several events.
    Split,
}

/// How the lines of a source are joined.
#[derive(Debug)]
pub struct Rule {
    /// What they look like.
    pub format: Format,
    /// Which messages make one event.
    pub multiline: Option<Arc<Multiline>>,
    /// How long a message waits for its next part.
    pub partial_timeout_nanos: u64,
    /// Longest joined message, as the line that it becomes.
    pub max_bytes: usize,
    /// What becomes of a longer one.
    pub too_long: TooLong,
}

/// The longest joined message, whatever is set: places in a text are 32-bit.
const MOST_BYTES: usize = 256 << 20;

impl Rule {
    fn max_bytes(&self) -> usize {
        self.max_bytes.min(MOST_BYTES)
    }

    /// Bytes that one file may have open.
    pub fn most_open_bytes(&self) -> usize {
        2 * (self.max_bytes() + self.multiline.as_ref().map_or(0, |multiline| multiline.limits().max_bytes))
    }
}

/// What was framed of a buffer.
#[derive(Debug, Default)]
pub struct Frames {
    /// In the order in which they were completed. Frames of joined lines are places in `joined`, marked with a bit that
    /// [`resolve`](Frames::resolve) takes away.
    pub spans: Spans,
    /// Texts that stand nowhere in the buffer.
    pub joined: Vec<u8>,
    /// Messages that were cut, dropped or split because they were too long.
    pub long: u64,
    /// Events of several messages that were split because they were too large.
    pub splits: u64,
}

/// Members of a Docker line, beside those that every line has, up to which those of further lines are taken in.
const MOST_MEMBERS: usize = 256;

/// Marks places in [`Frames::joined`].
const JOINED: u32 = 1 << 31;

impl Frames {
    /// Adds the frame `buf[from..to]`, without a carriage return at its end.
    fn push(&mut self, buf: &[u8], from: usize, to: usize, place: u64) {
        self.spans.push((from as u32, bare(buf, from, to) as u32, place));
    }

    fn emit(&mut self, held: Held) {
        match held {
            Held::Line(line) => self.spans.push((line.from as u32, line.to as u32, line.place)),
            Held::Built(built) => {
                let from = self.joined.len() as u32 | JOINED;
                self.joined.extend_from_slice(&built.bytes);
                self.joined.extend_from_slice(&built.tail);
                self.spans.push((from, self.joined.len() as u32 | JOINED, built.place));
            }
        }
    }

    /// Where the frames begin that stand in the buffer, if any do.
    pub fn first(spans: &[(u32, u32, u64)]) -> Option<usize> {
        spans.iter().filter(|span| span.0 & JOINED == 0).map(|span| span.0 as usize).min()
    }

    /// Places all frames in one text: `buf[cut..end]`, and behind it `joined`.
    pub fn resolve(spans: &mut [(u32, u32, u64)], cut: usize, end: usize) {
        let (cut, behind) = (cut as u32, (end - cut) as u32);
        for span in spans {
            (span.0, span.1) = match span.0 & JOINED {
                0 => (span.0 - cut, span.1 - cut),
                _ => ((span.0 & !JOINED) + behind, (span.1 & !JOINED) + behind),
            };
        }
    }
}

/// Where a line ends without a carriage return.
fn bare(buf: &[u8], from: usize, to: usize) -> usize {
    if to > from && buf[to - 1] == b'\r' { to - 1 } else { to }
}

/// A line that is a part of a message, or all of it. Places are in the line.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// 0 stdout, 1 stderr.
    stream: usize,
    /// More is to come.
    partial: bool,
    /// The text, a carriage return at its end included; with Docker as it stands in JSON, its line feed included.
    text: Span,
}

/// What a line is.
enum Class {
    Part(Part),
    /// A container line of another stream, which has no parts.
    Apart,
    Other,
}

/// The rule, with what judging lines needs; one per thread.
pub struct Judge {
    rule: Arc<Rule>,
    matcher: Option<Matcher>,
    scanner: json::Scanner,
    /// Members of the line judged last that are no part of a log line.
    others: Vec<json::Member>,
    /// The text judged last, without escapes.
    text: Vec<u8>,
}

impl Judge {
    /// Makes the scratch space for one thread.
    pub fn new(rule: Arc<Rule>) -> Self {
        let matcher = rule.multiline.clone().map(Matcher::new);
        Judge { rule, matcher, scanner: json::Scanner::default(), others: Vec::new(), text: Vec::new() }
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Whether the line may begin a message of several parts.
    #[inline]
    fn opens(&self, line: &[u8]) -> bool {
        let part = match self.rule.format.of(line) {
            Format::Docker => docker::part(line),
            _ => cri::part(line),
        };
        matches!(part, Some((_, true)))
    }

    /// `line` with a carriage return at its end, where it has one.
    fn class(&mut self, line: &[u8]) -> Class {
        let end = bare(line, 0, line.len());
        match self.rule.format.of(line) {
            Format::Cri | Format::Any => {
                let Ok(found) = cri::parse(&line[..end]) else { return Class::Other };
                let stream = usize::from(found.stream.of(line) == b"stderr");
                // Whether a carriage return ends the message is known when that is whole.
                let text = Span::new(found.message.start, line.len());
                Class::Part(Part { stream, partial: found.partial, text })
            }
            Format::Docker => {
                self.others.clear();
                let others = &mut self.others;
                let Ok(found) = docker::parse(&mut self.scanner, &line[..end], |member| others.push(member)) else {
                    return Class::Other;
                };
                let stream = match found.stream.of(line) {
                    b"stdout" => 0,
                    b"stderr" => 1,
                    _ => return Class::Apart,
                };
                let line_feed = if found.partial { 0 } else { docker::LINE_FEED.len() };
                let text = Span::new(found.message.start, found.message.end + line_feed);
                Class::Part(Part { stream, partial: found.partial, text })
            }
        }
    }

    /// What of a message the rule for lines is asked about, and the rule.
    fn judged<'a>(&'a mut self, buf: &'a [u8], held: &'a Held) -> Option<(&'a [u8], &'a mut Matcher)> {
        let Judge { rule, matcher, text: plain, .. } = self;
        let (mut text, line) = match held {
            Held::Line(line) => (line.text.of(buf), &buf[line.from..line.to]),
            Held::Built(built) => (&built.bytes[built.text..], &built.bytes[..]),
        };
        if rule.format.of(line) == Format::Docker {
            text = docker::without_line_feed(text);
            if memchr::memchr(b'\\', text).is_some() {
                plain.clear();
                json::unescape(text, plain);
                text = plain;
            }
        }
        Some((text, matcher.as_mut()?))
    }
}

/// A whole message, or an event of several, that may go on.
#[derive(Debug)]
enum Held {
    /// One line of the present buffer.
    Line(Line),
    Built(Box<Built>),
}

#[derive(Clone, Copy, Debug)]
struct Line {
    from: usize,
    to: usize,
    /// Place in the buffer.
    text: Span,
    place: u64,
    order: u64,
}

/// Lines that were joined, or have to outlive their buffer.
#[derive(Debug, Default)]
struct Built {
    /// Where its first line stands.
    place: u64,
    /// Which of all it was to begin.
    order: u64,
    /// How many of the messages and events that it is made of were open at the end of an earlier file; what begins there has
    /// one at least.
    earlier: usize,
    /// The first line as far as its text goes, and the texts of the others.
    bytes: Vec<u8>,
    /// Where the text begins.
    text: usize,
    /// What stands behind the text in the line: nothing, but with Docker the end of the JSON object.
    tail: Vec<u8>,
    /// Names of the object's further members.
    names: Vec<Box<[u8]>>,
}

impl Built {
    /// `others`: the line's further members.
    fn of(line: &[u8], text: Span, others: &[json::Member], place: u64, order: u64) -> Built {
        let names = others.iter().map(|member| line[member.key..member.key_end].into()).collect();
        let (bytes, tail) = (line[..text.end].to_vec(), line[text.end..].to_vec());
        Built { place, order, earlier: 0, bytes, text: text.start, tail, names }
    }

    fn len(&self) -> usize {
        self.bytes.len() + self.tail.len()
    }

    /// Takes in members of a further line that are not there yet.
    fn add_members(&mut self, line: &[u8], others: &[json::Member]) {
        for member in others {
            let key = &line[member.key..member.key_end];
            if self.names.len() >= MOST_MEMBERS || self.names.iter().any(|name| **name == *key) {
                continue;
            }
            let Some(end) = memchr::memrchr(b'}', &self.tail) else { return };
            let quote: &[u8] =
                if matches!(member.kind, json::ValueKind::Clean | json::ValueKind::Escaped) { b"\"" } else { b"" };
            let value = &line[member.value..member.value_end];
            let more = [b",\"", key, b"\":", quote, value, quote].concat();
            self.tail.splice(end..end, more);
            self.names.push(key.into());
        }
    }
}

/// What one stream has open.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Lacks its last part.
    message: Option<Box<Built>>,
    /// Whole messages that make one event.
    event: Option<Held>,
    state: Aggregator,
    /// The rest of a message is passed over.
    skipping: bool,
    /// When its last line came.
    last_nanos: u64,
}

impl Stream {
    fn is_open(&self) -> bool {
        self.message.is_some() || self.event.is_some()
    }

    /// Which of all the oldest open one was to begin.
    fn order(&self) -> u64 {
        match (&self.event, &self.message) {
            (Some(Held::Line(line)), _) => line.order,
            (Some(Held::Built(built)), _) | (None, Some(built)) => built.order,
            (None, None) => u64::MAX,
        }
    }

    fn due(&self, rule: &Rule) -> Option<u64> {
        let timeout = match (&self.message, &self.event, &rule.multiline) {
            (Some(_), ..) => rule.partial_timeout_nanos,
            (None, Some(_), Some(multiline)) => multiline.limits().timeout_nanos,
            _ => return None,
        };
        Some(self.last_nanos.saturating_add(timeout))
    }

    /// The line `buf[from..to]` of this stream.
    #[allow(clippy::too_many_arguments, reason = "a line, where it is and what is made of it")]
    fn line(
        &mut self,
        judge: &mut Judge,
        buf: &[u8],
        (from, to): (usize, usize),
        part: Part,
        (place, order): (u64, u64),
        out: &mut Frames,
    ) {
        if self.skipping {
            self.skipping = part.partial;
            return;
        }
        let line = &buf[from..to];
        let text = part.text.of(line);
        if let Some(message) = &mut self.message
            && message.len() + text.len() > judge.rule.max_bytes()
        {
            out.long += 1;
            match judge.rule.too_long {
                TooLong::Split => {
                    self.close_message(judge, buf, out);
                    // The event before may have been looked at.
                    judge.class(line);
                }
                TooLong::Skip => {
                    self.drop_message();
                    self.skipping = part.partial;
                    return;
                }
                TooLong::Truncate => {
                    let room = judge.rule.max_bytes().saturating_sub(message.len());
                    message.bytes.extend_from_slice(text);
                    let end = message.bytes.len() - text.len() + room;
                    let format = judge.rule.format.of(&message.bytes);
                    cut(format, &mut message.bytes, message.text, end);
                    self.skipping = part.partial;
                    return self.close_message(judge, buf, out);
                }
            }
        }
        match &mut self.message {
            Some(message) => {
                message.bytes.extend_from_slice(text);
                message.add_members(line, &judge.others);
                if !part.partial {
                    self.close_message(judge, buf, out);
                }
            }
            None if part.partial => {
                self.message = Some(Box::new(Built::of(line, part.text, &judge.others, place, order)));
            }
            None => {
                let to = bare(buf, from, to);
                let text = Span::new(from + part.text.start, to.min(from + part.text.end));
                let line = Line { from, to, text, place, order };
                self.whole(judge, buf, Held::Line(line), out);
            }
        }
    }

    /// The message that lacks a part is dropped. What is behind an open event is not done with before that is.
    fn drop_message(&mut self) {
        if let (Some(message), Some(Held::Built(event))) = (self.message.take(), &mut self.event) {
            event.earlier += message.earlier;
        }
    }

    /// The message that lacks a part is all there will be.
    fn close_message(&mut self, judge: &mut Judge, buf: &[u8], out: &mut Frames) {
        if let Some(mut message) = self.message.take() {
            if judge.rule.format.of(&message.bytes) == Format::Cri {
                let end = bare(&message.bytes, message.text, message.bytes.len());
                message.bytes.truncate(end);
            }
            self.whole(judge, buf, Held::Built(message), out);
        }
    }

    fn close_event(&mut self, out: &mut Frames) {
        self.state.flush();
        if let Some(event) = self.event.take() {
            out.emit(event);
        }
    }

    /// A whole message.
    fn whole(&mut self, judge: &mut Judge, buf: &[u8], held: Held, out: &mut Frames) {
        let before = self.state.splits();
        let Some((text, matcher)) = judge.judged(buf, &held) else { return out.emit(held) };
        let action = self.state.push(matcher, text, 0);
        out.splits += self.state.splits() - before;
        if action.flushes_before()
            && let Some(event) = self.event.take()
        {
            out.emit(event);
        }
        match self.event.take() {
            Some(event) if action.joins() => {
                let mut built = build(judge, buf, event);
                append(&mut built, judge, buf, &held);
                self.event = Some(Held::Built(built));
            }
            _ => self.event = Some(held),
        }
        if action.flushes_after()
            && let Some(event) = self.event.take()
        {
            out.emit(event);
        }
    }
}

/// The message or event in bytes of its own.
fn build(judge: &mut Judge, buf: &[u8], held: Held) -> Box<Built> {
    match held {
        Held::Built(built) => built,
        Held::Line(Line { from, to, text, place, order }) => {
            let line = &buf[from..to];
            if judge.rule.format.of(line) == Format::Docker {
                judge.class(line);
            }
            Box::new(Built::of(line, Span::new(text.start - from, text.end - from), &judge.others, place, order))
        }
    }
}

/// Adds a whole message to an event.
fn append(event: &mut Built, judge: &mut Judge, buf: &[u8], held: &Held) {
    let copy;
    let (line, text) = match held {
        Held::Line(line) => (&buf[line.from..line.to], line.text.of(buf)),
        Held::Built(built) => {
            event.earlier += built.earlier;
            copy = [&built.bytes[..], &built.tail].concat();
            (&copy[..], &copy[built.text..built.bytes.len()])
        }
    };
    // What a file has is one or the other; where it is not, the first line says how the rest is put behind it.
    match judge.rule.format.of(&event.bytes) {
        Format::Cri | Format::Any => event.bytes.push(b'\n'),
        Format::Docker => {
            // Where a message was given up before its last part, its line feed is missing.
            if docker::without_line_feed(&event.bytes[event.text..]).len() == event.bytes.len() - event.text {
                event.bytes.extend_from_slice(docker::LINE_FEED);
            }
        }
    }
    event.bytes.extend_from_slice(text);
    if judge.rule.format.of(line) == Format::Docker {
        judge.class(line);
        event.add_members(line, &judge.others);
    }
}

/// Cuts the text that begins at `text` of `bytes` at `end` or a little before: not within a character or an escape.
fn cut(format: Format, bytes: &mut Vec<u8>, text: usize, end: usize) {
    let mut end = end.min(bytes.len());
    if format == Format::Docker {
        let mut at = text;
        while let Some(i) = memchr::memchr(b'\\', &bytes[at.min(end)..end]) {
            let escape = at + i;
            let is_unicode = |at: usize| bytes.get(at..at + 2) == Some(b"\\u");
            let high = matches!(bytes.get(escape + 2), Some(b'd' | b'D'))
                && matches!(bytes.get(escape + 3), Some(b'8' | b'9' | b'a' | b'A' | b'b' | b'B'));
            at = escape
                + match (is_unicode(escape), high && is_unicode(escape + 6)) {
                    (true, true) => 12,
                    (true, false) => 6,
                    (false, _) => 2,
                };
            if at > end {
                end = escape;
            }
        }
    }
    let within = |at: usize| bytes.get(at).is_some_and(|b| b & 0xc0 == 0x80);
    let whole = (end.saturating_sub(3).max(text)..=end).rev().find(|at| !within(*at));
    // Four bytes of continuation are no character at all.
    bytes.truncate(whole.unwrap_or(end));
}

/// The state of one file or pipe.
#[derive(Debug, Default)]
pub struct Joiner {
    /// stdout, stderr.
    streams: [Stream; 2],
    /// A line cannot simply be passed on.
    busy: bool,
    /// What stands before these places was given before: lines of stdout, of stderr, others.
    passed: [u64; 3],
    /// Messages begun.
    order: u64,
}

impl Joiner {
    /// One that goes on where another was: what stands before `passed` (lines of stdout, of stderr, others) was given, and the
    /// rest of a message that was too long is passed over where `skipping` says so.
    pub fn resumed(passed: [u64; 3], skipping: [bool; 2]) -> Self {
        let mut joiner = Joiner { passed, ..Joiner::default() };
        for (stream, skipping) in joiner.streams.iter_mut().zip(skipping) {
            stream.skipping = skipping;
        }
        joiner.update();
        joiner
    }

    /// The line `buf[from..to]`, a carriage return at its end included, at `place` in its file.
    ///
    /// Units: `now_nanos` on any clock that does not go back. Shape: frames of `buf` may be given by a later call with the same
    /// `buf`; before the next one, call [`keep`](Joiner::keep).
    #[inline]
    #[allow(clippy::too_many_arguments, reason = "a line, where it is and what is made of it")]
    pub fn line(
        &mut self,
        judge: &mut Judge,
        buf: &[u8],
        from: usize,
        to: usize,
        place: u64,
        now_nanos: u64,
        out: &mut Frames,
    ) {
        if !self.busy && judge.matcher.is_none() {
            let end = bare(buf, from, to);
            if !judge.opens(&buf[from..end]) {
                out.spans.push((from as u32, end as u32, place));
                return;
            }
        }
        self.judge(judge, buf, from, to, place, now_nanos, out);
    }

    #[allow(clippy::too_many_arguments, reason = "a line, where it is and what is made of it")]
    fn judge(
        &mut self,
        judge: &mut Judge,
        buf: &[u8],
        from: usize,
        to: usize,
        place: u64,
        now_nanos: u64,
        out: &mut Frames,
    ) {
        match judge.class(&buf[from..to]) {
            Class::Part(part) if place < self.passed[part.stream] => {}
            Class::Part(part) => {
                self.order += 1;
                let stream = &mut self.streams[part.stream];
                stream.last_nanos = now_nanos;
                stream.line(judge, buf, (from, to), part, (place, self.order), out);
            }
            class => {
                if matches!(class, Class::Other) {
                    for n in self.oldest_first() {
                        self.streams[n].close_message(judge, buf, out);
                    }
                }
                if place >= self.passed[2] {
                    out.push(buf, from, to, place);
                }
            }
        }
        if self.passed.iter().all(|passed| *passed <= place) {
            self.passed = [0; 3];
        }
        self.update();
    }

    /// A line that is dropped because it is too long: a part of it takes its message along.
    pub fn drop_line(&mut self, judge: &mut Judge, line: &[u8], place: u64) {
        if let Class::Part(part) = judge.class(line)
            && place >= self.passed[part.stream]
        {
            let stream = &mut self.streams[part.stream];
            stream.drop_message();
            stream.skipping = part.partial;
        }
        self.update();
    }

    fn update(&mut self) {
        self.busy = self.passed != [0; 3] || self.streams.iter().any(|stream| stream.skipping || stream.is_open());
    }

    fn oldest_first(&self) -> [usize; 2] {
        if self.streams[1].order() < self.streams[0].order() { [1, 0] } else { [0, 1] }
    }

    /// What is open is kept beyond this buffer.
    pub fn keep(&mut self, judge: &mut Judge, buf: &[u8]) {
        for stream in &mut self.streams {
            if let Some(event @ Held::Line(_)) = stream.event.take_if(|event| matches!(event, Held::Line(_))) {
                stream.event = Some(Held::Built(build(judge, buf, event)));
            }
        }
    }

    /// When something that is open has waited for long enough.
    pub fn due(&self, rule: &Rule) -> Option<u64> {
        self.streams.iter().filter_map(|stream| stream.due(rule)).min()
    }

    /// Gives what has waited for long enough, behind [`keep`](Joiner::keep).
    pub fn expire(&mut self, judge: &mut Judge, now_nanos: u64, out: &mut Frames) {
        for n in self.oldest_first() {
            let stream = &mut self.streams[n];
            let due = |stream: &Stream, rule: &Rule| stream.due(rule).is_some_and(|due| due <= now_nanos);
            if stream.message.is_some() && due(stream, &judge.rule) {
                stream.close_message(judge, &[], out);
            }
            if stream.message.is_none() && due(stream, &judge.rule) {
                stream.close_event(out);
            }
        }
        self.update();
    }

    /// Gives all that is open, behind [`keep`](Joiner::keep).
    pub fn finish(&mut self, judge: &mut Judge, out: &mut Frames) {
        for n in self.oldest_first() {
            self.finish_stream(judge, n, out);
        }
    }

    /// Gives all that is open in one stream.
    pub(crate) fn finish_stream(&mut self, judge: &mut Judge, n: usize, out: &mut Frames) {
        self.streams[n].close_message(judge, &[], out);
        self.streams[n].close_event(out);
        self.update();
    }

    /// Places of the lines that begin what is open in stream `n` and began in this file, behind [`keep`](Joiner::keep).
    pub(crate) fn places(&self, n: usize) -> impl Iterator<Item = u64> + '_ {
        self.built(n).filter(|built| built.earlier == 0).map(|built| built.place)
    }

    fn built(&self, n: usize) -> impl Iterator<Item = &Built> {
        let stream = &self.streams[n];
        let event = match &stream.event {
            Some(Held::Built(built)) => Some(&**built),
            _ => None,
        };
        event.into_iter().chain(stream.message.as_deref())
    }

    /// How many messages and events that were open at the end of an earlier file are in what is open in stream `n`.
    pub(crate) fn earlier(&self, n: usize) -> usize {
        self.built(n).map(|built| built.earlier).sum()
    }

    /// Whether something is open in stream `n`.
    pub(crate) fn is_open(&self, n: usize) -> bool {
        self.streams[n].is_open()
    }

    /// Whether the rest of a message in stream `n` is passed over.
    pub(crate) fn is_skipping(&self, n: usize) -> bool {
        self.streams[n].skipping
    }

    /// What stands before this place was given before: lines of stdout, of stderr, others.
    pub(crate) fn passed(&self, n: usize) -> u64 {
        self.passed[n]
    }

    /// Whether it is as new.
    pub(crate) fn is_new(&self) -> bool {
        !self.busy
    }

    /// Takes over what stream `n` of an earlier file has open; it goes on here. Behind [`keep`](Joiner::keep).
    pub(crate) fn inherit(&mut self, n: usize, from: &mut Joiner) {
        let mut stream = std::mem::take(&mut from.streams[n]);
        let event = match &mut stream.event {
            Some(Held::Built(built)) => Some(built),
            _ => None,
        };
        for built in event.into_iter().chain(&mut stream.message) {
            built.earlier = built.earlier.max(1);
            built.order = 0;
        }
        self.streams[n] = stream;
        self.passed[n] = 0;
        self.update();
        from.update();
    }

    /// What is open began in contents that are gone; it goes on in those that have taken their place.
    pub(crate) fn begin_anew(&mut self) {
        let mut before = std::mem::take(self);
        for n in 0..2 {
            self.inherit(n, &mut before);
        }
    }

    /// Bytes that what is open takes.
    pub(crate) fn held_bytes(&self) -> usize {
        (0..2).flat_map(|n| self.built(n)).map(|built| built.bytes.capacity() + built.tail.capacity()).sum()
    }
}

/// Joins the lines of one stream of bytes, for sources that carry unfinished lines over.
pub struct ContainerFramer {
    judge: Judge,
    joiner: Joiner,
}

impl ContainerFramer {
    /// A framer at the start of a stream.
    pub fn new(rule: Arc<Rule>) -> Self {
        ContainerFramer { judge: Judge::new(rule), joiner: Joiner::default() }
    }

    /// Takes all whole lines of `buf`; where they end.
    pub fn frame(&mut self, buf: &[u8], now_nanos: u64, out: &mut Frames) -> usize {
        let mut at = 0;
        for newline in memchr::memchr_iter(b'\n', buf) {
            self.joiner.line(&mut self.judge, buf, at, newline, at as u64, now_nanos, out);
            at = newline + 1;
        }
        self.joiner.keep(&mut self.judge, buf);
        at
    }

    /// Takes the line `buf[from..]`, which has no end.
    pub fn line(&mut self, buf: &[u8], from: usize, now_nanos: u64, out: &mut Frames) {
        self.joiner.line(&mut self.judge, buf, from, buf.len(), from as u64, now_nanos, out);
        self.joiner.keep(&mut self.judge, buf);
    }

    /// Gives what has waited for long enough.
    pub fn expire(&mut self, now_nanos: u64, out: &mut Frames) {
        self.joiner.expire(&mut self.judge, now_nanos, out);
    }

    /// Gives what is open, at the end of the stream.
    pub fn finish(&mut self, out: &mut Frames) {
        self.joiner.finish(&mut self.judge, out);
    }
}

/// All frames of a text, joined ones copied, each with the number of its first line, from 1.
pub fn frames_of(rule: Arc<Rule>, text: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let (mut judge, mut joiner, mut out) = (Judge::new(rule), Joiner::default(), Frames::default());
    let (mut at, mut number) = (0, 0);
    for line in text.split_inclusive(|c| *c == b'\n') {
        number += 1;
        let end = at + line.strip_suffix(b"\n").unwrap_or(line).len();
        joiner.line(&mut judge, text, at, end, number, 0, &mut out);
        at += line.len();
    }
    joiner.keep(&mut judge, text);
    joiner.finish(&mut judge, &mut out);
    let frame = |(from, to, number): (u32, u32, u64)| {
        let text = if from & JOINED == 0 { text } else { &out.joined };
        (number, text[(from & !JOINED) as usize..(to & !JOINED) as usize].to_vec())
    };
    out.spans.into_iter().map(frame).collect()
}

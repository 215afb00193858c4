//! Syslog on a stream: octet counting, lines and NUL-terminated messages, told apart frame by frame.
//!
//! ```text
//! 47 <13>Oct 11 22:14:15 host tag: counted        a length, a blank, so many bytes    RFC 6587, section 3.4.1
//! <13>Oct 11 22:14:15 host tag: text\n            up to LF (or CR LF) or NUL          RFC 6587, section 3.4.2
//! ```
//!
//! [`SyslogFramer`] is pure: it is given what has come and says which frames are whole. Any split of a stream gives the
//! same frames.
//!
//! - A length is taken for one where a `<` follows its blank, or where the frame before was counted: a line that happens
//!   to begin with a number stays a line.
//! - Python's handler ends messages with NUL and leaves line ends inside alone. So behind a frame that NUL has ended, a
//!   line end only ends the next one where a new `<PRI>`, or a length and `<`, follows it.
//! - CR, LF and NUL between frames are nobody's; empty lines are no frames.
//! - A message longer than the limit is cut there, at a character's boundary, and the rest of it is skipped. A length so
//!   large that it is no length of a message ([`PLAUSIBLE`] times the limit) is text up to the next line end, so that one
//!   bad length does not swallow the connection.
//! - At the end of the stream an unfinished text is a frame, digits in front of its `<` or not. So is a counted one that is
//!   broken off behind its first word, as far as it came; less than that says nothing and is dropped.

/// Frames: start, end, and place in the file (0: there is no file).
type Spans = Vec<(u32, u32, u64)>;

/// A length of more than this many times the longest message is no length.
pub const PLAUSIBLE: usize = 16;

/// Most digits of a length.
const DIGITS: usize = 9;

/// Bytes that a header of a counted frame takes at most.
const HEADER: usize = DIGITS + 1;

/// Finds the frames of one stream.
#[derive(Clone, Debug)]
pub struct SyslogFramer {
    /// Longest message, in bytes; at least 1.
    max: usize,
    skip: Skip,
    /// The frame before was counted.
    counted: bool,
    /// The frame before ended with NUL.
    nul: bool,
    /// Bytes of the unfinished frame that hold no end; at most what was left unconsumed.
    searched: usize,
    /// Messages that were cut since the last [`take_cut`](Self::take_cut).
    cut: u64,
}

/// What is left of a message that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Nothing,
    /// So many bytes.
    Bytes(usize),
    /// Up to the next LF or NUL.
    Line,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Behind a frame, or with a text that lacks its line end.
    Whole,
    /// Inside a counted frame, which was kept as far as it came.
    BrokenOff,
    /// Inside the first word of a counted frame, which was dropped.
    Dropped,
}

/// What begins at a position.
enum Head {
    /// A counted frame: bytes of its header, bytes of its message.
    Counted(usize, usize),
    Text,
    /// Not enough has come to tell.
    Unknown,
}

impl SyslogFramer {
    /// For messages of up to `max_message` bytes.
    pub fn new(max_message: usize) -> Self {
        SyslogFramer { max: max_message.max(1), skip: Skip::Nothing, counted: false, nul: false, searched: 0, cut: 0 }
    }

    /// Most bytes that stay unconsumed: what a caller must be able to keep beside what it reads next.
    pub fn most_kept(&self) -> usize {
        self.max + 2 * HEADER
    }

    /// Messages that were longer than the limit since the last call.
    pub fn take_cut(&mut self) -> u64 {
        std::mem::take(&mut self.cut)
    }

    /// Appends the whole frames of `bytes` to `spans`, as places in `bytes`; returns how many bytes are done with.
    ///
    /// Shape: `bytes` begins with what the call before left unconsumed. Frames are never empty.
    pub fn frame(&mut self, bytes: &[u8], spans: &mut Spans) -> usize {
        let mut at = 0;
        let mut searched = std::mem::take(&mut self.searched);
        loop {
            match self.skip {
                Skip::Nothing => {}
                Skip::Bytes(n) => {
                    let skipped = n.min(bytes.len() - at);
                    at += skipped;
                    if skipped < n {
                        self.skip = Skip::Bytes(n - skipped);
                        return at;
                    }
                    self.skip = Skip::Nothing;
                }
                Skip::Line => match memchr::memchr2(b'\n', 0, &bytes[at..]) {
                    None => return bytes.len(),
                    Some(end) => {
                        at += end + 1;
                        self.skip = Skip::Nothing;
                    }
                },
            }
            while let Some(b'\n' | b'\r' | 0) = bytes.get(at) {
                at += 1;
            }
            let Some(&first) = bytes.get(at) else { return at };
            let head = if first.is_ascii_digit() { self.head(&bytes[at..]) } else { Head::Text };
            match head {
                Head::Unknown => return at,
                Head::Counted(header, len) => {
                    let from = at + header;
                    let kept = len.min(self.max);
                    // The byte behind a cut tells whether the cut is inside a character.
                    if bytes.len() - from < len.min(self.max + 1) {
                        return at;
                    }
                    let to = if len > self.max { self.cut_at(bytes, from) } else { from + len };
                    push(spans, from, to);
                    at = from + kept;
                    self.skip = if len > kept { Skip::Bytes(len - kept) } else { Skip::Nothing };
                    (self.counted, self.nul) = (true, false);
                }
                Head::Text => {
                    let nul = self.nul && first == b'<';
                    match end_of_text(&bytes[at..], searched, nul) {
                        End::At(len) if !self.is_long(&bytes[at..at + len]) => {
                            let end = at + len;
                            let text = bytes[at..end].strip_suffix(b"\r").unwrap_or(&bytes[at..end]);
                            push(spans, at, at + text.len());
                            self.nul = bytes.get(end) == Some(&0);
                            at = end + 1;
                        }
                        End::Nowhere if !self.is_long(&bytes[at..]) => {
                            // Line ends that were none are few; only lines remember how far they were searched.
                            self.searched = if nul { 0 } else { bytes.len() - at };
                            return at;
                        }
                        End::Perhaps(len) if !self.is_long(&bytes[at..at + len]) => return at,
                        _ => {
                            let end = self.cut_at(bytes, at);
                            push(spans, at, end);
                            at += self.max;
                            self.skip = Skip::Line;
                            self.nul = false;
                        }
                    }
                    self.counted = false;
                }
            }
            searched = 0;
        }
    }

    /// What the end of the stream makes of the bytes that are left: appends them, where they are a frame.
    pub fn finish(&mut self, rest: &[u8], spans: &mut Spans) -> Ended {
        if rest.is_empty() || self.skip != Skip::Nothing {
            return Ended::Whole;
        }
        let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        let header = match &rest[digits..] {
            _ if digits == 0 || digits > DIGITS => None,
            // The length alone.
            [] | [b' '] => self.counted.then_some(rest.len()),
            _ => match self.head(rest) {
                Head::Counted(header, _) => Some(header),
                Head::Text | Head::Unknown => None,
            },
        };
        if let Some(header) = header {
            let said = &rest[header..];
            if memchr::memchr(b' ', said).is_none() {
                return Ended::Dropped;
            }
            push(spans, header, rest.len());
            return Ended::BrokenOff;
        }
        // Behind a frame that NUL has ended, a line end may still be in there at the end.
        let text = rest.strip_suffix(b"\n").unwrap_or(rest);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        push(spans, 0, text.len());
        Ended::Whole
    }

    /// Whether `bytes`, which begin with a digit, begin with a length.
    fn head(&self, bytes: &[u8]) -> Head {
        let digits = bytes.iter().take(DIGITS + 1).take_while(|c| c.is_ascii_digit()).count();
        if bytes[0] == b'0' || digits > DIGITS {
            return Head::Text;
        }
        let len = bytes[..digits].iter().fold(0usize, |n, c| n * 10 + usize::from(c - b'0'));
        if len > self.max.saturating_mul(PLAUSIBLE) {
            return Head::Text;
        }
        match bytes.get(digits) {
            None => Head::Unknown,
            Some(b' ') if self.counted => Head::Counted(digits + 1, len),
            Some(b' ') => match bytes.get(digits + 1) {
                None => Head::Unknown,
                Some(b'<') => Head::Counted(digits + 1, len),
                Some(_) => Head::Text,
            },
            Some(_) => Head::Text,
        }
    }

    /// Whether a text without its LF or NUL, or not at its end yet, is too long. A CR at its end belongs to its line end.
    fn is_long(&self, text: &[u8]) -> bool {
        text.strip_suffix(b"\r").unwrap_or(text).len() > self.max
    }

    /// Where a message that begins at `from` and is too long is cut: not inside a character.
    fn cut_at(&mut self, bytes: &[u8], from: usize) -> usize {
        self.cut += 1;
        let limit = from + self.max;
        let mut end = limit;
        // Bytes of a character behind its first: 0b10xxxxxx, three at most.
        while end > from + 1 && limit - end < 3 && bytes.get(end).is_some_and(|c| c & 0xc0 == 0x80) {
            end -= 1;
        }
        end
    }
}

fn push(spans: &mut Spans, from: usize, to: usize) {
    if to > from {
        spans.push((from as u32, to as u32, 0));
    }
}

/// Where a text ends.
enum End {
    /// Before this byte.
    At(usize),
    /// Before this byte, if what follows it begins a message, which has not come yet.
    Perhaps(usize),
    /// Not in what has come.
    Nowhere,
}

/// Where the text at the start of `bytes` ends; its first `searched` bytes hold no end.
#[inline]
fn end_of_text(bytes: &[u8], searched: usize, nul: bool) -> End {
    let mut from = searched;
    loop {
        let Some(end) = memchr::memchr2(b'\n', 0, &bytes[from..]) else { return End::Nowhere };
        let end = from + end;
        if !nul || bytes[end] == 0 {
            return End::At(end);
        }
        match begins_a_message(&bytes[end + 1..]) {
            Some(true) => return End::At(end),
            Some(false) => from = end + 1,
            None => return End::Perhaps(end),
        }
    }
}

/// Whether `<`, one to three digits and `>` stand there, or a length, a blank and `<`; `None` where more must come to tell.
fn begins_a_message(bytes: &[u8]) -> Option<bool> {
    let digits = |bytes: &[u8], most: usize| bytes.iter().take(most).take_while(|c| c.is_ascii_digit()).count();
    match bytes.first()? {
        b'<' => {
            let n = digits(&bytes[1..], 3);
            bytes.get(1 + n).map(|c| n > 0 && *c == b'>')
        }
        b'1'..=b'9' => {
            let n = digits(bytes, DIGITS);
            match bytes.get(n)? {
                b' ' => bytes.get(n + 1).map(|c| *c == b'<'),
                _ => Some(false),
            }
        }
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests;

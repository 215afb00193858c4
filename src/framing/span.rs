//! [`Span`]: where a parser found something in its frame.

/// A range of bytes of a frame. Small and `Copy`, unlike the standard ranges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// Behind the last byte; never before `start`.
    pub end: usize,
}

impl Span {
    /// The bytes `start..end`.
    pub fn new(start: usize, end: usize) -> Self {
        Span { start, end: end.max(start) }
    }

    /// Its bytes in `text`, the frame it was found in; empty for another text that is too short.
    pub fn of<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The span, unless it is empty.
    pub fn non_empty(self) -> Option<Span> {
        (!self.is_empty()).then_some(self)
    }

    /// The span, unless its bytes are a lone `-`, the usual mark for "nothing here", or none.
    pub fn unless_dash(self, text: &[u8]) -> Option<Span> {
        (!matches!(self.of(text), b"-" | b"")).then_some(self)
    }
}

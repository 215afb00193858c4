//! What a file was like when it was looked at last.
//!
//! Invariants: `room` is what the last look of a turn of reading found, and 0 as soon as there is another look; `before` is as of the
//! look before the last one that began a turn.

use super::identity::Look;

/// See [the module](self).
#[derive(Debug)]
pub(super) struct Looked {
    size: u64,
    /// When it had been modified last: nanoseconds since 1970, as below.
    modified: i64,
    /// When the system noted a change.
    changed: i64,
    /// Zeros at its end: room that was laid out for lines to come.
    room: u64,
    /// Where it ended before the present turn of reading, and when it had been modified last then.
    before: (u64, i64),
}

/// What a look told that others before it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    None,
    /// It is longer.
    Grown,
    /// It was written to and is not longer; room that was laid out in it explains that.
    InRoom,
    /// The same, and nothing explains it.
    Odd,
}

impl Looked {
    pub(super) fn new(look: Look) -> Self {
        let Look { size, modified, changed, .. } = look;
        Looked { size, modified, changed, room: 0, before: (size, modified) }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn modified(&self) -> i64 {
        self.modified
    }

    pub(super) fn changed(&self) -> i64 {
        self.changed
    }

    /// Size and time of modification: what tells that it was written to.
    pub(super) fn written(&self) -> (u64, i64) {
        (self.size, self.modified)
    }

    /// Whether it was not written to since.
    pub(super) fn is_like(&self, look: &Look) -> bool {
        (look.size, look.modified) == self.written()
    }

    /// Behind its last byte that counts.
    pub(super) fn end(&self) -> u64 {
        self.size.saturating_sub(self.room)
    }

    /// Zeros at its end that do not count.
    pub(super) fn room(&self) -> u64 {
        self.room
    }

    /// Where it ended before the present turn, and when it had been modified last.
    pub(super) fn before(&self) -> (u64, i64) {
        self.before
    }

    /// A turn of reading begins with this look; the file was read as one that ends at `end`.
    pub(super) fn begin_turn(&mut self, look: Look, end: u64) -> News {
        let news = match look.size > self.size {
            true => News::Grown,
            false if self.is_like(&look) => News::None,
            false if self.room > 0 => News::InRoom,
            false => News::Odd,
        };
        self.before = (end, self.modified);
        self.note(look);
        self.room = 0;
        news
    }

    /// Takes in a look between the turns.
    pub(super) fn note(&mut self, look: Look) {
        (self.size, self.modified, self.changed) = (look.size, look.modified, look.changed);
    }

    /// Something of it was changed, but not what it holds.
    pub(super) fn note_change(&mut self, look: Look) {
        self.changed = look.changed;
    }

    /// Zeros stand at its end from this place on.
    pub(super) fn ends_at(&mut self, text: u64) {
        self.room = self.size.saturating_sub(text);
    }

    /// It holds something else from now on.
    pub(super) fn begin_anew(&mut self) {
        (self.before, self.room) = (self.written(), 0);
    }
}

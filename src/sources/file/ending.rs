//! What the next turn of a file does with an unfinished line or event at its end, and whether the file is closed then.
//!
//! Invariant: a line or an event that was ended for having waited is not ended again before the file has another end.

use super::joined::AtEnd;

/// See [the module](self).
#[derive(Debug)]
pub(super) struct Ending {
    open: AtEnd,
    then: Then,
    /// End of the file at which something open was given up on.
    expired_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It is looked at again.
    Wait,
    /// It is closed.
    Close,
}

impl Default for Ending {
    fn default() -> Self {
        Ending { open: AtEnd::Keep, then: Then::Wait, expired_at: 0 }
    }
}

impl Ending {
    /// What becomes of what is open.
    pub(super) fn open(&self) -> AtEnd {
        self.open
    }

    /// Whether the file is closed then.
    pub(super) fn closes(&self) -> bool {
        self.then == Then::Close
    }

    /// Whether what is open before `end` was given up on.
    pub(super) fn is_expired(&self, end: u64) -> bool {
        self.expired_at == end
    }

    /// An unfinished line has waited long enough before `end`.
    pub(super) fn expire_line(&mut self, end: u64) {
        (self.open, self.expired_at) = (AtEnd::Finish, end);
    }

    /// An event of several lines has.
    pub(super) fn expire_event(&mut self, end: u64) {
        (self.open, self.expired_at) = (AtEnd::Close, end);
    }

    /// An unfinished line of a file that lost its name has: nothing more is expected, but waited for.
    pub(super) fn finish(&mut self) {
        (self.open, self.then) = (AtEnd::Finish, Then::Wait);
    }

    /// All that is open is given, and the file closed.
    pub(super) fn close(&mut self) {
        (self.open, self.then) = (AtEnd::Flush, Then::Close);
    }

    /// All that is open is given.
    pub(super) fn flush(&mut self) {
        self.open = AtEnd::Flush;
    }

    /// An archive that is cut off is not waited for, where `is_gone`.
    pub(super) fn close_archive_if(&mut self, is_gone: bool) {
        self.then = if is_gone { Then::Close } else { Then::Wait };
    }

    /// A turn came to the end of the file.
    pub(super) fn is_done(&mut self) {
        (self.open, self.then) = (AtEnd::Keep, Then::Wait);
    }
}

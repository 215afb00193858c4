//! What a file's first bytes tell: whether it is text, and what its code units are. Archives are [`archive`](super::archive)'s.

use super::wide::Units;

/// Whether it is text, as far as its first bytes were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// Nothing was read of it from its beginning on. Next: `Untold`, `Text`.
    Unread,
    /// They are too few to say what it is. Next: `Text`, `Unread` where it turns out to be an archive, or begins anew.
    Untold,
    /// It is no archive. Next: `Unread`, where it begins anew.
    Text,
}

/// See [the module](self).
#[derive(Debug)]
pub(super) struct Beginning {
    sort: Sort,
    units: Units,
}

impl Default for Beginning {
    fn default() -> Self {
        Beginning { sort: Sort::Unread, units: Units::Unknown }
    }
}

impl Beginning {
    pub(super) fn is_text(&self) -> bool {
        self.sort == Sort::Text
    }

    /// Its first bytes are too few to say what it is.
    pub(super) fn is_untold(&self) -> bool {
        self.sort == Sort::Untold
    }

    pub(super) fn note_text(&mut self) {
        self.sort = Sort::Text;
    }

    pub(super) fn note_untold(&mut self) {
        self.sort = Sort::Untold;
    }

    /// It is known now that it is an archive, or it could not be asked.
    pub(super) fn is_told(&mut self) {
        if self.is_untold() {
            self.sort = Sort::Unread;
        }
    }

    /// What its code units are.
    pub(super) fn units(&self) -> Units {
        self.units
    }

    pub(super) fn note_units(&mut self, units: Units) {
        self.units = units;
    }
}

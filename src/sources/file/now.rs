//! The time of a turn: nobody who does something with files asks a clock of his own.

/// The two clocks, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Now {
    /// Since some point.
    pub(super) mono: u64,
    /// Since 1970 UTC.
    pub(super) wall: i64,
}

impl Now {
    pub(super) fn seconds(self) -> i64 {
        self.wall / 1_000_000_000
    }
}

pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;

//! What was read of a file before, compared with what stands in it now, a piece at a time.
//!
//! After a restart reading goes on where it was left as soon as the beginning of the file and the bytes before the place are
//! the same. That is likely, but no proof: a file that was emptied and written anew may have both. So all of it is read again
//! beside the other work; where it is not what was read, the file is taken for a new one and read from its start.
//!
//! While the agent runs, a file that grows has most often been appended to, and nothing but reading all of it again would tell
//! more. So it is compared where that is cheap, or where something else is odd:
//!
//! - it was seen to be shorter than what was read: that is gone, whatever it is by the time it is read;
//! - it was changed (its time of modification, or the ctime that nobody can set) and did not grow: all that was read is compared
//!   beside the other work, no more than 1 GB a second of its age (of files above 64 MiB not for the ctime alone, which moves
//!   with owners and modes too);
//! - it grew after it had been quiet for a tenth of a second: all that was read is compared at once where that is 1 MiB at the
//!   most, no more than 4 MiB a second in all; of longer ones the 64 bytes before each of 32 places that were passed;
//! - else, and always, its first 1,024 bytes and the 64 bytes before the place.

use super::identity::{Hasher, MARK_BYTES, Position, Running, read_at};
use std::io;
use std::os::fd::OwnedFd;

/// Bytes that are compared at once where a decision waits for it, and no more than that.
pub(super) const AT_ONCE: u64 = 64 << 20;
/// Bytes that are compared before it is the turn of other work.
pub(super) const PIECE: u64 = 4 << 20;
/// Places up to this are compared before anything is read.
pub(super) const SMALL: u64 = 1 << 20;

/// One comparison under way.
#[derive(Debug)]
pub(super) struct Proof {
    /// The place up to which is compared.
    goal: Position,
    /// What stands in the file, up to where it was compared.
    running: Running,
    /// The contents are others.
    pub(super) failed: bool,
}

impl Proof {
    pub(super) fn new(goal: Position, hasher: Hasher) -> Self {
        Proof { goal, running: Running::new(hasher), failed: false }
    }

    /// The place up to which is compared.
    pub(super) fn goal(&self) -> Position {
        self.goal
    }

    /// Compares the next `most` bytes; whether it came to its end.
    ///
    /// Errors: the file cannot be read.
    pub(super) fn go_on(&mut self, file: &OwnedFd, most: u64) -> io::Result<bool> {
        let ended = self.running.read(file, self.goal.offset, most)?;
        self.failed = ended && !self.running.at.proves(&self.goal);
        Ok(ended)
    }
}

/// Whether the first bytes of a file are those that were read up to `goal`. Reads all of them.
pub(super) fn holds(hasher: Hasher, file: &OwnedFd, goal: Position) -> io::Result<bool> {
    let mut running = Running::new(hasher);
    running.read(file, goal.offset, u64::MAX)?;
    Ok(running.at.proves(&goal))
}

/// Whether the bytes before a position are those that were there.
pub(super) fn mark_holds(file: &OwnedFd, at: Position) -> io::Result<bool> {
    let mut bytes = [0; MARK_BYTES];
    let bytes = &mut bytes[..at.mark_len()];
    let len = read_at(file, bytes, at.offset - bytes.len() as u64)?;
    Ok(len == bytes.len() && Position::mark_of(bytes) == at.mark)
}

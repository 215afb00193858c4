//! How much is compared of what lies before our places, and whose turn it is (see [`proof`](super::proof)).

use super::identity::{Hasher, look_into};
use super::now::{MILLISECOND, Now, SECOND};
use super::proof::{Proof, SMALL, holds, mark_holds};
use super::tail::Tail;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

/// A file that grows is compared where it was quiet for that long.
const QUIET: u64 = 100 * MILLISECOND;
/// Bytes that are compared a second of files that grew, and most that are saved up for.
const BYTES_A_SECOND: u64 = 4 << 20;
const MOST_BYTES: u64 = 64 << 20;

/// See [the module](self).
#[derive(Debug)]
pub(super) struct Comparisons {
    hasher: Hasher,
    /// Contents tell files apart, besides the inode; else nothing is compared.
    are_wanted: bool,
    /// Files of which a piece is to be compared, in turn. One whose proof ended otherwise stands here in vain.
    queue: VecDeque<usize>,
    /// Bytes that may be compared now of files that grew, and as of when: monotonic nanoseconds.
    left: u64,
    since: u64,
    /// Bytes that were compared in this run, of files that were being read.
    bytes: u64,
}

impl Comparisons {
    pub(super) fn new(hasher: Hasher, are_wanted: bool) -> Self {
        Comparisons { hasher, are_wanted, queue: VecDeque::new(), left: 0, since: 0, bytes: 0 }
    }

    /// Sees to it that what lies before the place of `tail` is compared; `false` where it is known already to be other.
    /// Where that takes longer, the file is to be [queued](Comparisons::queue).
    pub(super) fn begin(&mut self, tail: &mut Tail, file: &OwnedFd) -> io::Result<bool> {
        if !self.are_wanted || !tail.at.is_proof() {
            return Ok(true);
        }
        self.bytes += tail.at.offset;
        let mut proof = Proof::new(tail.at, self.hasher);
        if proof.go_on(file, SMALL)? {
            return Ok(!proof.failed);
        }
        tail.doubt.begin(proof);
        Ok(true)
    }

    /// It is the turn of a file when it was that of those before it.
    pub(super) fn queue(&mut self, key: usize) {
        self.queue.push_back(key);
    }

    /// Whose turn it is.
    pub(super) fn take(&mut self) -> Option<usize> {
        self.queue.pop_front()
    }

    /// Whether there is more to compare now.
    pub(super) fn are_under_way(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether all that was read of a file that was changed and has not grown is still there, as far as is known at once.
    pub(super) fn compare_all(&mut self, tail: &mut Tail, file: &OwnedFd) -> io::Result<bool> {
        Ok(self.begin(tail, file)? && passed_holds(tail, file)?)
    }

    /// Compares a file that grew after a pause, as far as that is cheap.
    pub(super) fn compare_grown(&mut self, tail: &mut Tail, now: Now) -> io::Result<()> {
        let quiet = now.mono.saturating_sub(tail.grown) >= QUIET;
        if !quiet || !self.are_wanted || tail.at.offset == 0 || tail.packed.is_some() || tail.doubt.has_proof() {
            return Ok(());
        }
        let Some(file) = tail.handle.get() else { return Ok(()) };
        if look_into(file)?.size <= tail.look.size() {
            return Ok(());
        }
        let at = tail.at;
        let small = at.is_proof() && at.offset <= SMALL;
        let same = if small && tail.doubt.may_compare(at.offset, now) && self.take_bytes(at.offset, now) {
            tail.doubt.note_compared(now);
            holds(self.hasher, file, at)?
        } else {
            passed_holds(tail, file)?
        };
        if !same {
            tail.doubt.replace();
        }
        Ok(())
    }

    /// Whether so many bytes may be compared now.
    fn take_bytes(&mut self, bytes: u64, now: Now) -> bool {
        let nanoseconds = u128::from(now.mono.saturating_sub(self.since));
        let more = nanoseconds * u128::from(BYTES_A_SECOND) / u128::from(SECOND);
        self.left = self.left.saturating_add(more.try_into().unwrap_or(MOST_BYTES)).min(MOST_BYTES);
        self.since = self.since.max(now.mono);
        let enough = self.left >= bytes;
        if enough {
            self.left -= bytes;
            self.bytes += bytes;
        }
        enough
    }

    /// Bytes that were compared in this run.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Files that grow are compared no more.
    #[cfg(test)]
    pub(super) fn use_up(&mut self) {
        (self.left, self.since) = (0, u64::MAX);
    }
}

/// Whether what stands before the places that were passed is what stood there.
fn passed_holds(tail: &Tail, file: &OwnedFd) -> io::Result<bool> {
    for past in tail.passed.up_to(tail.at.offset) {
        if !mark_holds(file, past)? {
            return Ok(false);
        }
    }
    Ok(true)
}

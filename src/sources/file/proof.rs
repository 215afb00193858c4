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

use super::identity::{Hasher, Position, Running};
use super::identity::{Look, look_into};
use super::tail::{Place, Tail};
use super::tailer::{MILLISECOND, Now, SECOND, Tailer};
use std::io;
use std::os::fd::OwnedFd;

/// Bytes that are compared at once where a decision waits for it, and no more than that.
pub(super) const AT_ONCE: u64 = 64 << 20;
/// Bytes that are compared before it is the turn of other work.
const PIECE: u64 = 4 << 20;
/// Places up to this are compared before anything is read.
const SMALL: u64 = 1 << 20;
/// A file that grows is compared where it was quiet for that long.
const QUIET: u64 = 100 * MILLISECOND;
/// One that was changed is compared when it has come to rest: a write moves the time before the size.
const AT_REST: u64 = 50 * MILLISECOND;
/// Bytes that are compared a second of files that grew, and most that are saved up for.
const BYTES_A_SECOND: u64 = 4 << 20;
const MOST_BYTES: u64 = 64 << 20;
/// A file is compared again when this has passed for each byte: nanoseconds.
const WAIT_PER_BYTE: u64 = 1000;

/// One comparison under way.
#[derive(Debug)]
pub(super) struct Proof {
    goal: Position,
    running: Running,
    /// The contents are others.
    pub(super) failed: bool,
}

impl Proof {
    /// The place up to which is compared.
    pub(super) fn goal(&self) -> Position {
        self.goal
    }
}

/// Whether the first bytes of a file are those that were read up to `goal`. Reads all of them.
pub(super) fn holds(hasher: Hasher, file: &OwnedFd, goal: Position) -> io::Result<bool> {
    let mut running = Running::new(hasher);
    running.read(file, goal.offset, u64::MAX)?;
    Ok(running.at.proves(&goal))
}

impl Tailer {
    /// Sees to it that what lies before the place of `tail` is compared; `false` where it is known already to be other.
    pub(super) fn begin_proof(&mut self, tail: &mut Tail, file: &OwnedFd) -> io::Result<bool> {
        if !self.plan.check_contents || !tail.at.is_proof() {
            return Ok(true);
        }
        self.compared_bytes += tail.at.offset;
        let mut proof = Proof { goal: tail.at, running: Running::new(self.store.hasher), failed: false };
        if proof.running.read(file, tail.at.offset, SMALL)? {
            return Ok(proof.running.at.proves(&tail.at));
        }
        tail.proof = Some(Box::new(proof));
        Ok(true)
    }

    /// Compares a piece; whether there is more to compare now.
    pub(super) fn prove(&mut self) -> bool {
        let Some(key) = self.proofs.pop_front() else { return false };
        let Some(mut tail) = self.tails[key].take() else { return !self.proofs.is_empty() };
        if tail.proof.is_some() && tail.place != Place::Closed {
            match self.prove_piece(key, &mut tail) {
                Ok(true) => self.proofs.push_back(key),
                Ok(false) => {
                    if tail.proof.as_ref().is_some_and(|proof| proof.failed) {
                        self.queue(key, &mut tail);
                    } else {
                        tail.proof = None;
                    }
                }
                // What cannot be read now is compared later; reading it will fail as well, and be tried again.
                Err(error) => {
                    tracing::debug!(file = %tail.path.display(), %error, "cannot be compared with what was read");
                    (tail.proof, tail.suspect) = (None, self.reader.mono.max(1));
                    self.queue(key, &mut tail);
                }
            }
        }
        self.tails[key] = Some(tail);
        !self.proofs.is_empty()
    }

    fn prove_piece(&mut self, key: usize, tail: &mut Tail) -> io::Result<bool> {
        if !self.ensure_open(key, tail)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (Some(proof), Some(file)) = (&mut tail.proof, &tail.file) else { return Ok(false) };
        let ended = proof.running.read(file, proof.goal.offset, PIECE)?;
        proof.failed = ended && !proof.running.at.proves(&proof.goal);
        Ok(!ended)
    }

    /// A look at a file found that something of it was changed, but neither size nor time of modification.
    pub(super) fn changed_otherwise(&mut self, tail: &mut Tail, look: Look, now: Now) {
        let odd = tail.place == Place::Present && tail.packed.is_none() && tail.at.offset <= AT_ONCE;
        if odd && tail.suspect == 0 {
            tail.suspect = now.mono;
        }
        tail.changed = look.changed;
    }

    /// Has a file compared that was changed and did not grow, where it has come to rest.
    pub(super) fn compare_suspect(&mut self, key: usize, tail: &mut Tail, now: Now) {
        let rests = now.mono.saturating_sub(tail.suspect) >= AT_REST;
        if tail.suspect == 0 || !rests || tail.proof.is_some() || !may_compare(tail, now) {
            return;
        }
        let same = match self.ensure_open(key, tail) {
            Ok(true) => match tail.file.take() {
                Some(file) => {
                    let same = self.begin_proof(tail, &file).and_then(|same| Ok(same && passed_holds(tail, &file)?));
                    tail.file = Some(file);
                    same
                }
                None => return,
            },
            // Its name leads to another one: that is seen elsewhere.
            Ok(false) => return,
            Err(error) => Err(error),
        };
        match same {
            Ok(same) => {
                (tail.suspect, tail.compared) = (0, now.mono);
                tail.replaced |= !same && self.plan.check_contents;
                if tail.replaced {
                    self.queue(key, tail);
                } else if tail.proof.is_some() {
                    self.proofs.push_back(key);
                }
            }
            Err(error) => tracing::debug!(file = %tail.path.display(), %error, "cannot be compared with what was read"),
        }
    }

    /// Compares a file that grew after a pause, as far as that is cheap.
    pub(super) fn compare_grown(&mut self, tail: &mut Tail, now: Now) -> io::Result<()> {
        let quiet = now.mono.saturating_sub(tail.grown) >= QUIET;
        if !quiet || !self.plan.check_contents || tail.at.offset == 0 || tail.packed.is_some() || tail.proof.is_some() {
            return Ok(());
        }
        let Some(file) = &tail.file else { return Ok(()) };
        if look_into(file)?.size <= tail.looked.0 {
            return Ok(());
        }
        let at = tail.at;
        let small = at.is_proof() && at.offset <= SMALL;
        let same = if small && may_compare(tail, now) && self.take_bytes(at.offset, now) {
            tail.compared = now.mono;
            holds(self.store.hasher, file, at)?
        } else {
            passed_holds(tail, file)?
        };
        tail.replaced |= !same;
        Ok(())
    }

    /// Whether so many bytes may be compared now.
    fn take_bytes(&mut self, bytes: u64, now: Now) -> bool {
        let nanoseconds = u128::from(now.mono.saturating_sub(self.proofs_since));
        let more = nanoseconds * u128::from(BYTES_A_SECOND) / u128::from(SECOND);
        self.proofs_left = self.proofs_left.saturating_add(more.try_into().unwrap_or(MOST_BYTES)).min(MOST_BYTES);
        self.proofs_since = self.proofs_since.max(now.mono);
        let enough = self.proofs_left >= bytes;
        if enough {
            self.proofs_left -= bytes;
            self.compared_bytes += bytes;
        }
        enough
    }
}

/// Whether a file was not compared just now, in proportion to its length.
fn may_compare(tail: &Tail, now: Now) -> bool {
    tail.compared == 0 || now.mono.saturating_sub(tail.compared) >= tail.at.offset.saturating_mul(WAIT_PER_BYTE)
}

/// Whether what stands before the places that were passed is what stood there.
fn passed_holds(tail: &Tail, file: &OwnedFd) -> io::Result<bool> {
    for past in tail.past.iter().filter(|past| past.at.offset <= tail.at.offset) {
        if !super::files::mark_holds(file, past.at)? {
            return Ok(false);
        }
    }
    Ok(true)
}

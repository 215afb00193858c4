//! What was read of a file before, compared with what stands in it now, a piece at a time.
//!
//! After a restart reading goes on where it was left as soon as the beginning of the file and the bytes before the place are
//! the same. That is likely, but no proof: a file that was emptied and written anew may have both. So all of it is read again
//! beside the other work; where it is not what was read, the file is taken for a new one and read from its start.

use super::identity::{Hasher, Position, Running};
use super::tail::{Place, Tail};
use super::tailer::Tailer;
use std::io;
use std::os::fd::OwnedFd;

/// Bytes that are compared at once where a decision waits for it, and no more than that.
pub(super) const AT_ONCE: u64 = 64 << 20;
/// Bytes that are compared before it is the turn of other work.
const PIECE: u64 = 4 << 20;
/// Places up to this are compared before anything is read.
const SMALL: u64 = 1 << 20;

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
                // What cannot be read now is not proven; reading it will fail as well, and be tried again.
                Err(error) => {
                    tracing::debug!(file = %tail.path.display(), %error, "cannot be compared with what was read");
                    if let Some(proof) = &mut tail.proof {
                        proof.failed = true;
                    }
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
}

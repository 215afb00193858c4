//! Whether what was read of a file still stands in it (see [`proof`](super::proof)).
//!
//! ```text
//!                      begin                      another
//!   trusted ───────────────────────► comparing ──────────────► replaced
//!      ▲   ◄───────────────────────                                ▲  │
//!      │     the same, or given up                                 │  │
//!      │                                 seen to be shorter, etc.  │  │
//!      ├───────────────────────────────────────────────────────────┘  │
//!      └────────────────── begin_anew ────────────────────────────────┘
//! ```
//!
//! Beside that a file may be suspect: it was changed and did not grow, so that it is compared when it has come to rest. It may become
//! so while it is being compared, and is compared again then.

use super::identity::Position;
use super::now::Now;
use super::proof::Proof;
use std::io;
use std::os::fd::OwnedFd;

/// A file is compared again when this has passed for each byte: nanoseconds.
const WAIT_PER_BYTE: u64 = 1000;

#[derive(Debug)]
enum Phase {
    /// Nothing is known to the contrary. Next: `Comparing`, `Replaced`.
    Trusted,
    /// What lies before our place is being compared with what was read. Next: `Trusted`, `Replaced`.
    Comparing(Box<Proof>),
    /// It is known not to stand there any more; the comparison that was under way, or told so. Next: `Trusted`, with other contents.
    Replaced(Option<Box<Proof>>),
}

/// See [the module](self). Times are monotonic nanoseconds, 0 for never.
#[derive(Debug)]
pub(super) struct Doubt {
    phase: Phase,
    /// Since when it is suspect.
    suspect: u64,
    /// When it was compared last.
    compared: u64,
}

impl Doubt {
    pub(super) fn none() -> Self {
        Doubt { phase: Phase::Trusted, suspect: 0, compared: 0 }
    }

    /// Whether nothing speaks against it, and nothing is being asked.
    pub(super) fn is_none(&self) -> bool {
        self.suspect == 0 && matches!(self.phase, Phase::Trusted)
    }

    /// Whether what was read is known not to stand there any more.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(self.phase, Phase::Replaced(_))
    }

    pub(super) fn is_comparing(&self) -> bool {
        matches!(self.phase, Phase::Comparing(_))
    }

    /// A comparison is under way or was, with which this was not settled.
    pub(super) fn has_proof(&self) -> bool {
        matches!(self.phase, Phase::Comparing(_) | Phase::Replaced(Some(_)))
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspect != 0
    }

    /// What was read does not stand there any more.
    pub(super) fn replace(&mut self) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Trusted) {
            Phase::Trusted => Phase::Replaced(None),
            Phase::Comparing(proof) => Phase::Replaced(Some(proof)),
            replaced @ Phase::Replaced(_) => replaced,
        };
    }

    /// A comparison is under way from now on.
    pub(super) fn begin(&mut self, proof: Proof) {
        if !self.is_replaced() {
            self.phase = Phase::Comparing(Box::new(proof));
        }
    }

    /// Compares the next `most` bytes; whether there is more to compare. What it came to, [`is_replaced`](Doubt::is_replaced) tells.
    ///
    /// Errors: the file cannot be read.
    pub(super) fn go_on(&mut self, file: &OwnedFd, most: u64) -> io::Result<bool> {
        let Phase::Comparing(proof) = &mut self.phase else { return Ok(false) };
        if !proof.go_on(file, most)? {
            return Ok(true);
        }
        if proof.failed {
            self.replace()
        } else {
            self.phase = Phase::Trusted
        }
        Ok(false)
    }

    /// A comparison is of no use any more.
    pub(super) fn stop_comparing(&mut self) {
        if self.is_comparing() {
            self.phase = Phase::Trusted;
        }
    }

    /// It cannot be compared now, and is suspect since `mono`.
    pub(super) fn put_off(&mut self, mono: u64) {
        self.stop_comparing();
        self.suspect = mono.max(1);
    }

    /// It was changed at `mono` and did not grow.
    pub(super) fn suspect(&mut self, mono: u64) {
        if self.suspect == 0 {
            self.suspect = mono;
        }
    }

    /// It grew: what was odd about it is explained.
    pub(super) fn clear(&mut self) {
        self.suspect = 0;
    }

    /// Whether it has been suspect for `rest` nanoseconds, and nothing is being compared.
    pub(super) fn is_to_be_compared(&self, now: Now, rest: u64) -> bool {
        self.suspect != 0 && now.mono.saturating_sub(self.suspect) >= rest && !self.has_proof()
    }

    /// Whether it was not compared just now, in proportion to the `bytes` that are to be read for it.
    pub(super) fn may_compare(&self, bytes: u64, now: Now) -> bool {
        self.compared == 0 || now.mono.saturating_sub(self.compared) >= bytes.saturating_mul(WAIT_PER_BYTE)
    }

    /// It is being compared, or was.
    pub(super) fn note_compared(&mut self, now: Now) {
        self.compared = now.mono;
    }

    /// It holds something else from now on, about which there is no doubt; up to where it was being compared.
    pub(super) fn begin_anew(&mut self, now: Now) -> Option<Position> {
        let doubt = std::mem::replace(self, Doubt { compared: now.mono, ..Doubt::none() });
        match doubt.phase {
            Phase::Comparing(proof) | Phase::Replaced(Some(proof)) => Some(proof.goal()),
            Phase::Trusted | Phase::Replaced(None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::file::identity::{Hasher, Links, Running};

    #[test]
    fn what_was_replaced_stays_so_until_it_begins_anew_and_tells_how_far_it_was_compared() {
        let mut running = Running::new(Hasher::random());
        running.push(&[7; 100]);
        let mut doubt = Doubt::none();
        doubt.suspect(5);
        doubt.begin(Proof::new(running.at, running.hasher()));
        assert!(doubt.is_comparing() && !doubt.is_none() && !doubt.is_to_be_compared(Now { mono: 99, wall: 0 }, 1));
        doubt.replace();
        doubt.replace();
        doubt.begin(Proof::new(Position::default(), running.hasher()));
        doubt.stop_comparing();
        assert!(doubt.is_replaced() && !doubt.is_comparing());
        assert_eq!(doubt.begin_anew(Now { mono: 50, wall: 0 }), Some(running.at));
        assert!(doubt.is_none() && !doubt.may_compare(1, Now { mono: 51, wall: 0 }));
    }

    #[test]
    fn a_comparison_ends_in_trust_or_with_the_contents_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for (there, is_replaced) in [([7; 100], false), ([8; 100], true)] {
            let path = dir.path().join("a");
            std::fs::write(&path, there).unwrap();
            let file = crate::sources::file::identity::open(&path, Links::Follow).unwrap();
            let mut running = Running::new(Hasher::random());
            running.push(&[7; 100]);
            let mut doubt = Doubt::none();
            doubt.begin(Proof::new(running.at, running.hasher()));
            assert!(doubt.go_on(&file, 60).unwrap(), "there is more to compare");
            assert!(!doubt.go_on(&file, 60).unwrap());
            assert_eq!((doubt.is_replaced(), doubt.is_none()), (is_replaced, !is_replaced));
        }
    }
}

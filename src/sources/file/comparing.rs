//! Files are compared with what was read of them: a piece at a time beside other work (see [`proof`](super::proof)).

use super::comparisons::may_compare;
use super::files::Files;
use super::identity::Look;
use super::now::{MILLISECOND, Now};
use super::proof::{AT_ONCE, PIECE};
use super::tail::{Place, Tail};
use std::io;

/// One that was changed is compared when it has come to rest: a write moves the time before the size.
const AT_REST: u64 = 50 * MILLISECOND;

impl Files {
    /// Compares a piece; whether there is more to compare now.
    pub(super) fn prove(&mut self) -> bool {
        let Some(key) = self.comparisons.take() else { return false };
        let Some(mut tail) = self.tails.take(key) else { return self.comparisons.are_under_way() };
        if tail.proof.is_some() && tail.place != Place::Closed {
            match self.prove_piece(key, &mut tail) {
                Ok(true) => self.comparisons.queue(key),
                Ok(false) => {
                    if tail.is_disproved() {
                        self.schedule.queue(key, &mut tail.due);
                    } else {
                        tail.proof = None;
                    }
                }
                // What cannot be read now is compared later; reading it will fail as well, and be tried again.
                Err(error) => {
                    tracing::debug!(file = %tail.path.display(), %error, "cannot be compared with what was read");
                    (tail.proof, tail.suspect) = (None, self.reader.mono.max(1));
                    self.schedule.queue(key, &mut tail.due);
                }
            }
        }
        self.tails.put(key, tail);
        self.comparisons.are_under_way()
    }

    fn prove_piece(&mut self, key: usize, tail: &mut Tail) -> io::Result<bool> {
        if !self.ensure_open(key, tail)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (Some(proof), Some(file)) = (&mut tail.proof, &tail.file) else { return Ok(false) };
        Ok(!proof.go_on(file, PIECE)?)
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
            Ok(true) => {
                let Some(file) = tail.file.take() else { return };
                let same = self.comparisons.compare_all(tail, &file);
                tail.file = Some(file);
                same
            }
            // Its name leads to another one: that is seen elsewhere.
            Ok(false) => return,
            Err(error) => Err(error),
        };
        match same {
            Ok(same) => {
                (tail.suspect, tail.compared) = (0, now.mono);
                tail.replaced |= !same && self.plan.check_contents;
                if tail.replaced {
                    self.schedule.queue(key, &mut tail.due);
                } else if tail.proof.is_some() {
                    self.comparisons.queue(key);
                }
            }
            Err(error) => tracing::debug!(file = %tail.path.display(), %error, "cannot be compared with what was read"),
        }
    }
}

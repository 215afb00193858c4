//! Files are compared with what was read of them: a piece at a time beside other work (see [`proof`](super::proof)).

use super::files::Files;
use super::identity::Look;
use super::now::{MILLISECOND, Now};
use super::proof::{AT_ONCE, PIECE};
use super::tail::{Tail, TailState};
use std::io;

/// One that was changed is compared when it has come to rest: a write moves the time before the size.
const AT_REST: u64 = 50 * MILLISECOND;

impl Files {
    /// Compares a piece; whether there is more to compare now.
    pub(super) fn prove(&mut self) -> bool {
        let Some(key) = self.comparisons.take() else { return false };
        let Some(mut tail) = self.tails.take(key) else { return self.comparisons.are_under_way() };
        if tail.doubt.is_comparing() && tail.state != TailState::Closed {
            match self.prove_piece(key, &mut tail) {
                Ok(true) => self.comparisons.queue(key),
                Ok(false) => {
                    if tail.doubt.is_replaced() {
                        self.schedule.queue(key, &mut tail.due);
                    }
                }
                // What cannot be read now is compared later; reading it will fail as well, and be tried again.
                Err(error) => {
                    tracing::debug!(file = %tail.paths.here().display(), %error, "cannot be compared with what was read");
                    tail.doubt.put_off(self.reader.mono);
                    self.schedule.queue(key, &mut tail.due);
                }
            }
        }
        self.tails.put(key, tail);
        self.comparisons.are_under_way()
    }

    /// Whether there is more to compare in it.
    fn prove_piece(&mut self, key: usize, tail: &mut Tail) -> io::Result<bool> {
        if !self.ensure_open(key, tail)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        match tail.handle.get() {
            Some(file) => tail.doubt.go_on(file, PIECE),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A look at a file found that something of it was changed, but neither size nor time of modification.
    pub(super) fn changed_otherwise(&mut self, tail: &mut Tail, look: Look, now: Now) {
        let odd = tail.state == TailState::Present && tail.packed.is_none() && tail.at.offset <= AT_ONCE;
        if odd {
            tail.doubt.suspect(now.mono);
        }
        tail.look.note_change(look);
    }

    /// Has a file compared that was changed and did not grow, where it has come to rest.
    pub(super) fn compare_suspect(&mut self, key: usize, tail: &mut Tail, now: Now) {
        if !tail.doubt.is_to_be_compared(now, AT_REST) || !tail.doubt.may_compare(tail.at.offset, now) {
            return;
        }
        let same = match self.ensure_open(key, tail) {
            Ok(true) => {
                let Some(file) = tail.handle.lend() else { return };
                let same = self.comparisons.compare_all(tail, &file);
                tail.handle.put(file);
                same
            }
            // Its name leads to another one: that is seen elsewhere.
            Ok(false) => return,
            Err(error) => Err(error),
        };
        match same {
            Ok(same) => {
                tail.doubt.clear();
                tail.doubt.note_compared(now);
                if !same && self.plan.check_contents {
                    tail.doubt.replace();
                }
                if tail.doubt.is_replaced() {
                    self.schedule.queue(key, &mut tail.due);
                } else if tail.doubt.is_comparing() {
                    self.comparisons.queue(key);
                }
            }
            Err(error) => {
                tracing::debug!(file = %tail.paths.here().display(), %error, "cannot be compared with what was read")
            }
        }
    }
}

//! Archives that take much memory to decompress are read one at a time in the whole process, in turn.
//!
//! Who wants to read such an archive takes the turn first, keeps it for as long as it reads on, and gives it back when it is
//! done or waits for something. Who asked first is next. One that has the turn and does not get on, as its sink takes nothing,
//! holds nobody up for longer than [`STALLED`]: the next is let in, and it has to ask again, and to decompress from the
//! beginning to where it was.

use super::now::SECOND;
use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// What may be held at once by any number of archives, each: it takes no turn.
pub(super) const LIGHT_BYTES: u64 = 1 << 20;
/// Who has the turn and has not read on for that long loses it to the next.
const STALLED: u64 = 10 * SECOND;
/// Who is next and has not asked again for that long is not waited for.
const FORGOTTEN: u64 = 5 * SECOND;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Heavy {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    /// Who reads, and when it did last: monotonic nanoseconds.
    reads: Option<(u64, u64)>,
    /// Who waits, in turn, and when it asked last.
    waits: VecDeque<(u64, u64)>,
}

impl Heavy {
    /// That of the process.
    pub(super) fn of_process() -> Arc<Heavy> {
        static ALL: LazyLock<Arc<Heavy>> = LazyLock::new(Arc::default);
        ALL.clone()
    }

    /// For one archive.
    pub(super) fn pass(self: &Arc<Self>) -> Pass {
        let mut state = self.state();
        state.last_id += 1;
        Pass { id: state.last_id, heavy: self.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One archive's way to take the turn. Gives it back when dropped.
#[derive(Debug)]
pub(super) struct Pass {
    id: u64,
    heavy: Arc<Heavy>,
}

impl Pass {
    /// Takes the turn, or says that it reads on; `false` where it is another's. To be asked again every second then, or the
    /// place among those who wait is lost.
    pub(super) fn take(&self, now: u64) -> bool {
        let mut state = self.heavy.state();
        let others = state.reads.filter(|(id, _)| *id != self.id);
        if state.reads.is_some() && others.is_none() {
            state.reads = Some((self.id, now));
            return true;
        }
        let id = self.id;
        state.waits.retain(|(waiter, asked)| *waiter == id || now.saturating_sub(*asked) < FORGOTTEN);
        let held = others.is_some_and(|(_, read)| now.saturating_sub(read) < STALLED);
        let first = state.waits.front().is_none_or(|(waiter, _)| *waiter == id);
        if !held && first {
            state.waits.retain(|(waiter, _)| *waiter != id);
            state.reads = Some((id, now));
            return true;
        }
        match state.waits.iter_mut().find(|(waiter, _)| *waiter == id) {
            Some(waiter) => waiter.1 = now,
            None => state.waits.push_back((id, now)),
        }
        false
    }

    /// It reads no more for now, and waits for no turn.
    pub(super) fn give_back(&self) {
        let mut state = self.heavy.state();
        if state.reads.is_some_and(|(id, _)| id == self.id) {
            state.reads = None;
        }
        state.waits.retain(|(waiter, _)| *waiter != self.id);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_turn_and_who_asked_first_is_next() {
        let heavy = Arc::new(Heavy::default());
        let [a, b, c] = std::array::from_fn(|_| heavy.pass());
        assert!(a.take(0) && a.take(1));
        assert!(!b.take(2) && !c.take(3));
        a.give_back();
        // The one that was before them comes behind them.
        assert!(!c.take(4) && !a.take(5) && b.take(6) && b.take(7));
        drop(b);
        assert!(!a.take(8) && c.take(9));
        c.give_back();
        assert!(a.take(10));
    }

    #[test]
    fn who_does_not_read_on_holds_nobody_up_and_who_does_not_ask_is_passed_over() {
        let heavy = Arc::new(Heavy::default());
        let [a, b, c] = std::array::from_fn(|_| heavy.pass());
        assert!(a.take(0));
        assert!(!b.take(SECOND) && !c.take(2 * SECOND));
        assert!(!c.take(STALLED - 1));
        // `b` has not asked for long.
        assert!(c.take(STALLED));
        assert!(!a.take(STALLED + 1), "its turn is over");
        assert!(c.take(STALLED + 2));
    }
}

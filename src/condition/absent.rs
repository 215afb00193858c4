//! Which fields conditions have missed, for `tidegate try`: asked for by one thread, and nothing elsewhere.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

/// Somebody in this process asks; a plain load where nobody does.
static ASKED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static MISSED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

#[inline]
pub(super) fn is_asked_for() -> bool {
    ASKED.load(Ordering::Relaxed)
}

pub(super) fn note(fields: impl Iterator<Item = String>) {
    MISSED.with_borrow_mut(|missed| {
        for field in fields {
            if !missed.contains(&field) {
                missed.push(field);
            }
        }
    });
}

/// From now on it is kept.
pub fn ask() {
    ASKED.store(true, Ordering::Relaxed);
}

/// What conditions have missed on this thread since this was called before, each once: the field, and in which condition.
pub fn take() -> Vec<String> {
    MISSED.with_borrow_mut(std::mem::take)
}

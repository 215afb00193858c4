//! Panics that end one call and not the process.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread is one of many that are looked for, so that nothing need be said of it.
pub fn is_quiet() -> bool {
    QUIET.get()
}

/// What `run` gives; or, where it panics, what the panic says. Whatever `run` has changed may be half changed.
///
/// Errors: the words of the panic.
pub fn caught<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| words(&*panic))
}

/// The same, for a panic that has been told of already, and is only looked for.
///
/// Errors: the words of the panic.
pub fn caught_quietly<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    let before = QUIET.replace(true);
    let result = caught(run);
    QUIET.set(before);
    result
}

/// The words of a panic. They may hold anything.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    crate::settings::mask_known(&text.unwrap_or_else(|| "without words".to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_panic_says_is_what_is_given_and_being_quiet_ends_with_it() {
        assert_eq!(caught(|| 7), Ok(7));
        let n = 3;
        assert_eq!(caught_quietly(|| panic!("no {n}")).map(|()| 0), Err("no 3".to_owned()));
        assert!(!is_quiet());
        let seen = caught_quietly(|| caught_quietly(|| panic!("x")).map(|()| is_quiet()));
        assert_eq!(seen, Ok(Err("x".to_owned())));
    }
}

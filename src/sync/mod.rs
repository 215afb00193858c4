//! Locks and atomics of the buffers and the acknowledgement: the standard ones; with the feature `interleavings` those of
//! an explorer, which runs the same code in many orders (`tests/interleavings.sh`).

#[cfg(not(feature = "interleavings"))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicUsize};
#[cfg(not(feature = "interleavings"))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(feature = "interleavings")]
pub(crate) use explored::{Condvar, Mutex, MutexGuard};
#[cfg(feature = "interleavings")]
pub(crate) use shuttle::sync::atomic::{AtomicU8, AtomicUsize};

#[cfg(feature = "interleavings")]
mod explored;

pub mod live;

/// Locks for state that a panic elsewhere leaves as good as it was: whoever holds one makes a whole change or none.
pub(crate) trait Locked {
    /// Shows the state while it is locked.
    type Guard<'m>
    where
        Self: 'm;

    /// Waits for the lock; one whose holder has panicked is taken as it is.
    fn locked(&self) -> Self::Guard<'_>;
}

impl<T> Locked for std::sync::Mutex<T> {
    type Guard<'m>
        = std::sync::MutexGuard<'m, T>
    where
        T: 'm;

    #[inline]
    fn locked(&self) -> std::sync::MutexGuard<'_, T> {
        self.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(feature = "interleavings")]
impl<T> Locked for explored::Mutex<T> {
    type Guard<'m>
        = explored::MutexGuard<'m, T>
    where
        T: 'm;

    fn locked(&self) -> explored::MutexGuard<'_, T> {
        self.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A boxed future that may move between threads.
pub type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

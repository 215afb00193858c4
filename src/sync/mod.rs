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

/// A boxed future that may move between threads.
pub type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

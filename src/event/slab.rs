//! Bytes that events borrow from: read buffers, frozen and counted, returned to their pool when the last batch goes.

use crate::sync::Locked;
use std::ops::Deref;
use std::sync::{Arc, Mutex, Weak};

/// A frozen, reference-counted buffer. Cloning counts a reference and copies nothing.
#[derive(Clone)]
pub struct Slab(Arc<Inner>);

struct Inner {
    buf: Vec<u8>,
    pool: Weak<Shelf>,
}

struct Shelf {
    free: Mutex<Vec<Vec<u8>>>,
    keep: usize,
    capacity: usize,
}

/// Buffers of one size for reuse: fresh pages cost more than the copy into them.
#[derive(Clone)]
pub struct SlabPool(Arc<Shelf>);

impl SlabPool {
    /// A pool whose buffers have `capacity` bytes and that keeps at most `keep` of them unused.
    pub fn new(capacity: usize, keep: usize) -> Self {
        SlabPool(Arc::new(Shelf { free: Mutex::new(Vec::new()), keep, capacity }))
    }

    /// An empty buffer with at least the pool's capacity.
    pub fn take(&self) -> Vec<u8> {
        let free = self.0.free.locked().pop();
        free.unwrap_or_else(|| Vec::with_capacity(self.0.capacity))
    }

    /// Gives back a buffer that was taken and not frozen.
    pub fn give(&self, buf: Vec<u8>) {
        self.0.put(buf);
    }

    /// Freezes a filled buffer; it comes back to this pool when the last reference goes.
    pub fn freeze(&self, buf: Vec<u8>) -> Slab {
        Slab(Arc::new(Inner { buf, pool: Arc::downgrade(&self.0) }))
    }
}

impl Slab {
    /// Freezes a buffer that belongs to no pool.
    pub fn from_vec(buf: Vec<u8>) -> Self {
        Slab(Arc::new(Inner { buf, pool: Weak::new() }))
    }

    /// Bytes of memory that this slab keeps from being reused.
    pub fn pinned_bytes(&self) -> usize {
        self.0.buf.capacity()
    }
}

impl Default for Slab {
    fn default() -> Self {
        Slab::from_vec(Vec::new())
    }
}

impl Deref for Slab {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0.buf
    }
}

impl Shelf {
    fn put(&self, mut buf: Vec<u8>) {
        // A buffer that had to grow for a long line is not kept: it would pin its size for ever. Nor is one of no pool.
        if (self.capacity..=self.capacity + self.capacity / 2).contains(&buf.capacity()) {
            buf.clear();
            let mut free = self.free.locked();
            if free.len() < self.keep {
                free.push(buf);
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(shelf) = self.pool.upgrade() {
            shelf.put(std::mem::take(&mut self.buf));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_to_its_pool_with_the_last_reference() {
        let pool = SlabPool::new(1024, 2);
        let mut buf = pool.take();
        buf.extend_from_slice(b"abc");
        let at = buf.as_ptr();
        let slab = pool.freeze(buf);
        let other = slab.clone();
        drop(slab);
        let fresh = pool.take();
        assert_ne!(fresh.as_ptr(), at);
        drop(other);
        let again = pool.take();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
    }
}

//! Memory of bodies that are written for one request each: given back when the last reader of the body is gone, and taken again.
//! Fresh pages for a mebibyte cost more than what is written into them.

use crate::sync::Locked;
use bytes::Bytes;
use std::sync::Mutex;

/// Rooms kept; more bodies than that are seldom written at a time.
const KEPT: usize = 4;
/// Larger ones are given back to the system.
const MOST: usize = 2 << 20;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// An empty buffer for `bytes` bytes.
pub fn room(bytes: usize) -> Vec<u8> {
    let mut room = FREE.locked().pop().unwrap_or_default();
    room.reserve(bytes);
    room
}

/// A body of what was written into a [`room`].
pub fn body(written: Vec<u8>) -> Bytes {
    Bytes::from_owner(Body(written))
}

struct Body(Vec<u8>);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut room = std::mem::take(&mut self.0);
        if room.capacity() > MOST {
            return;
        }
        room.clear();
        let mut free = FREE.locked();
        if free.len() < KEPT {
            free.push(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_their_own_whoever_wrote_before() {
        for n in 0..20u8 {
            let bodies: Vec<Bytes> = (0..KEPT as u8 + 2)
                .map(|m| {
                    let mut written = room(100 * usize::from(n));
                    assert!(written.is_empty() && written.capacity() >= 100 * usize::from(n));
                    written.extend_from_slice(&[n, m]);
                    body(written)
                })
                .collect();
            let again = bodies.clone();
            drop(bodies);
            for (m, body) in again.iter().enumerate() {
                assert_eq!(body[..], [n, m as u8]);
            }
        }
        assert!(FREE.locked().len() <= KEPT);
        drop(body(Vec::with_capacity(MOST + 1)));
        assert!(FREE.locked().iter().all(|room| room.capacity() <= MOST), "one that is large is not kept");
    }
}

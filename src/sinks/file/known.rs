//! What the journal knows of the sink's files, and of writes to them.

use xxhash_rust::xxh3::xxh3_64;

/// Bytes at the beginning and the end of a write that are hashed.
pub(super) const HASHED_BYTES: usize = 64;

/// One of the sink's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) path: Box<[u8]>,
    pub(super) dev: u64,
    pub(super) ino: u64,
    /// Where the last acknowledged write ended.
    pub(super) len: u64,
    pub(super) created: i64,
    pub(super) written: i64,
    /// The boot of the machine in which `len` was recorded.
    pub(super) boot: u64,
    pub(super) rotated: bool,
}

/// Number of a file within a journal.
pub(super) type FileId = u32;

/// A write that is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) from: u64,
    pub(super) len: u64,
    /// Hash of its first bytes, and of its last.
    pub(super) head: u64,
    pub(super) tail: u64,
}

impl Announced {
    pub(super) fn of(from: u64, data: &[u8]) -> Self {
        let short = data.len().min(HASHED_BYTES);
        let (head, tail) = (xxh3_64(&data[..short]), xxh3_64(&data[data.len() - short..]));
        Announced { from, len: data.len() as u64, head, tail }
    }

    pub(super) fn end(&self) -> u64 {
        self.from.saturating_add(self.len)
    }
}

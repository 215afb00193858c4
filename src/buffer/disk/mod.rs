//! The disk buffer: what stands between a sink's queue and the sink when a crash must lose nothing.
//!
//! ```text
//!  queue ──► writer ──records──► segments ──► reader ──► the sink's queue
//!              │  └──────── just written ────────▲          │
//!              ▼                                             │
//!            source ◄── acknowledged when durable    settled ◄─── verdicts move the position
//! ```
//!
//! Two threads: the [writer](writer) takes batches, packs them into records and commits them in groups; the
//! [reader](reader) gives them to the sink, from memory where they are still there, else from disk; a batch that is the
//! next goes from the writer to the sink's queue at once. What they share is in [state]; [recover] opens a folder.
//!
//! While the sink keeps up, nothing touches the disk: what it settles before its group is due is taken out of the group,
//! and the writer [waits](pace) a little for room before it, and for its verdicts, before it lets a batch go the long way.
//!
//! In memory it takes a group (4 MiB of packed records and one more), the window (1 MiB of batches, or one of 2 MiB) and,
//! with compression, a group again; before it stands a queue of [`QUEUE_BYTES`], behind it the sink's own.
#![doc = include_str!("../../../docs/disk-buffer-format.md")]

#[cfg(all(test, feature = "interleavings"))]
pub(crate) mod interleavings;
mod notes;
mod pace;
mod position;
mod reader;
mod record;
mod recover;
mod segment;
mod settled;
mod stage;
mod state;
pub mod tools;
mod within;
mod writer;

pub use stage::stage;

use super::{DiskBufferConfig, DiskCompression, Fsync, WhenDiskFull};
use crate::telemetry::log_throttle::LogThrottle;
use std::path::PathBuf;
use std::time::Duration;

/// What a disk buffer is to be.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// Its folder; made where it is not there.
    pub folder: PathBuf,
    /// Bytes on disk at most.
    pub max_bytes: u64,
    /// What happens when it is full.
    pub when_full: WhenDiskFull,
    /// When written data is forced to disk.
    pub fsync: Fsync,
    /// Time between two syncs with [`Fsync::Interval`].
    pub fsync_interval: Duration,
    /// Older batches are dropped and counted.
    pub max_age: Option<Duration>,
    /// Compression of what lies on disk.
    pub compression: DiskCompression,
    /// Used only when the queue behind it is full: batches go past it as long as it is empty and the queue, which may
    /// hold this many bytes, has room. What went past is acknowledged when it is delivered.
    pub overflow_of: Option<usize>,
}

/// Bytes of the queue before a disk buffer: what comes while the disk is being synced.
pub const QUEUE_BYTES: usize = 1 << 20;

/// Smallest `max_bytes`.
pub const MIN_BYTES: u64 = 1 << 20;
/// Largest segment, unless one event needs more.
const MAX_SEGMENT: u64 = 64 << 20;
/// Bytes of a group at most. What the sink settles in time makes room in it: about as much as is under way to a sink
/// that keeps up should fit.
const MAX_GROUP: usize = 4 << 20;
/// Bytes of batches kept in memory for the reader at most, beside what its own queue holds.
const MAX_WINDOW: usize = 1 << 20;
/// Bytes of the only batch there, where it is larger.
const MAX_KEEP: usize = 2 << 20;

/// Sizes that follow from `max_bytes`.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Of a segment.
    segment: u64,
    /// Of a record's body, unless one event needs more.
    part: usize,
    /// Of a group.
    group: usize,
    /// Of the batches kept in memory for the reader.
    window: usize,
    /// Of one of them.
    keep: usize,
}

impl Sizes {
    fn of(max_bytes: u64) -> Self {
        let segment = (max_bytes / 8).min(MAX_SEGMENT);
        let part = (segment / 4) as usize;
        let eighth = usize::try_from(max_bytes / 8).unwrap_or(usize::MAX);
        Sizes {
            segment,
            part,
            group: MAX_GROUP.min(eighth),
            window: MAX_WINDOW.min(eighth),
            keep: MAX_KEEP.min(eighth),
        }
    }
}

impl DiskOptions {
    /// Most bytes that the sink has at once, where more would leave nothing to drop.
    fn max_in_flight(&self) -> usize {
        match self.when_full {
            WhenDiskFull::DropOldest => usize::try_from(self.max_bytes.max(MIN_BYTES) / 4).unwrap_or(usize::MAX),
            _ => usize::MAX,
        }
    }
}

impl DiskBufferConfig {
    /// The options of the buffer of sink `id`.
    pub fn options(&self, data_dir: &std::path::Path, id: &str) -> DiskOptions {
        DiskOptions {
            folder: data_dir.join("buffer").join(id),
            max_bytes: (self.max_size.bytes()).max(MIN_BYTES),
            when_full: self.when_full,
            fsync: self.fsync,
            fsync_interval: self.fsync_interval,
            max_age: self.max_age,
            compression: self.compression,
            overflow_of: None,
        }
    }
}

/// A message that is said when something begins to fail, then once a minute, and when it works again.
#[derive(Default)]
struct FaultThrottle(LogThrottle);

impl FaultThrottle {
    fn say(&mut self, message: impl FnOnce()) {
        if self.0.due(1).is_some() {
            message();
        }
    }

    fn over(&mut self, message: impl FnOnce()) {
        if self.0.ended() {
            message();
        }
    }
}

#[cfg(test)]
mod tests;

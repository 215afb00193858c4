//! The `buffer` setting of sinks.

use super::FullPolicy;
use crate::settings::{Size, config, config_enum, config_tagged};
use std::time::Duration;

config_tagged! {
    /// The queue in front of a sink.
    pub enum BufferConfig {
        /// In memory.
        Memory(MemoryBufferConfig) = "memory",
        /// On disk: survives a crash.
        Disk(DiskBufferConfig) = "disk",
    }
}

config! {
    /// A queue in memory.
    pub struct MemoryBufferConfig {
        /// Bytes it holds at most; 8 MiB where `memory_limit` allows, else an equal share of half of that.
        pub max_bytes: Option<Size> = None,
        /// What happens when it is full.
        pub when_full: WhenFull = WhenFull::Block,
        /// Where batches go while it is full, with `when_full: overflow`.
        pub overflow: Option<OverflowConfig> = None,
    }
}

config! {
    /// A queue on disk.
    pub struct DiskBufferConfig {
        /// Bytes on disk at most, headers and spare segments included. At least 1 MiB.
        pub max_size: Size,
        /// What happens when it is full.
        pub when_full: WhenDiskFull = WhenDiskFull::Block,
        /// When data is forced to disk: `batch` acknowledges only what survives power loss.
        pub fsync: Fsync = Fsync::Batch,
        /// Time between two syncs with `fsync: interval`.
        pub fsync_interval: Duration = Duration::from_millis(500),
        /// Older batches are dropped and counted.
        pub max_age: Option<Duration> = None,
        /// Compression of what lies on disk.
        pub compression: DiskCompression = DiskCompression::None,
    }
}

config_tagged! {
    /// Where batches go while the memory buffer is full.
    pub enum OverflowConfig {
        /// On disk.
        Disk(DiskBufferConfig) = "disk",
    }
}

config_enum! {
    /// What happens when a memory buffer is full.
    pub enum WhenFull {
        /// Wait, up to the source.
        Block = "block",
        /// Drop what comes, counted.
        DropNewest = "drop_newest",
        /// Drop what waits longest, counted.
        DropOldest = "drop_oldest",
        /// Go on in the buffer under `overflow`.
        Overflow = "overflow",
    }
}

config_enum! {
    /// What happens when a disk buffer is full.
    pub enum WhenDiskFull {
        /// Wait, up to the source.
        Block = "block",
        /// Drop what comes, counted.
        DropNewest = "drop_newest",
        /// Drop what waits longest, counted.
        DropOldest = "drop_oldest",
    }
}

config_enum! {
    /// When written data is forced to disk.
    pub enum Fsync {
        /// Before a batch is acknowledged.
        Batch = "batch",
        /// Every so often; batches are acknowledged when written.
        Interval = "interval",
        /// Never by the agent; batches are acknowledged when written.
        Never = "never",
    }
}

config_enum! {
    /// Compression of a disk buffer.
    pub enum DiskCompression {
        /// None.
        None = "none",
        /// zstd, level 1.
        Zstd = "zstd",
    }
}

impl Default for BufferConfig {
    fn default() -> Self {
        BufferConfig::Memory(MemoryBufferConfig { max_bytes: None, when_full: WhenFull::Block, overflow: None })
    }
}

impl BufferConfig {
    /// The disk buffer, where there is one: alone or behind memory.
    pub fn disk(&self) -> Option<&DiskBufferConfig> {
        match self {
            BufferConfig::Disk(disk) => Some(disk),
            BufferConfig::Memory(MemoryBufferConfig { overflow: Some(OverflowConfig::Disk(disk)), .. }) => Some(disk),
            BufferConfig::Memory(_) => None,
        }
    }
}

impl BufferConfig {
    /// What cannot be meant: the setting, what is wrong, what to do.
    pub fn mistake(&self) -> Option<(&'static str, String, &'static str)> {
        let disk = match self {
            BufferConfig::Disk(disk) => disk,
            BufferConfig::Memory(memory) => match (memory.when_full, &memory.overflow) {
                (WhenFull::Overflow, Some(OverflowConfig::Disk(disk))) => disk,
                (WhenFull::Overflow, None) => {
                    let message = "`when_full: overflow` needs the buffer that it overflows to".into();
                    return Some(("when_full", message, "add: overflow: {type: disk, max_size: 1GiB}"));
                }
                (_, Some(_)) => {
                    let message = "`overflow` is used with `when_full: overflow` only".into();
                    return Some(("overflow", message, "add: when_full: overflow"));
                }
                (_, None) => return None,
            },
        };
        (disk.max_size.bytes() < super::disk::MIN_BYTES).then(|| {
            let message = format!("`max_size` of a disk buffer is {}, less than 1MiB", disk.max_size);
            ("max_size", message, "give it 1MiB at least, better so much that the longest outage fits")
        })
    }
}

impl WhenFull {
    /// The policy of the memory queue. `Overflow` waits: the disk stage behind it takes what comes.
    pub fn policy(self) -> FullPolicy {
        match self {
            WhenFull::Block | WhenFull::Overflow => FullPolicy::Block,
            WhenFull::DropNewest => FullPolicy::DropNewest,
            WhenFull::DropOldest => FullPolicy::DropOldest,
        }
    }
}

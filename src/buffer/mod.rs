//! Queues between stages: bounded in bytes, with one written policy for what happens when they are full.

mod config;
pub mod disk;
mod memory;

pub use config::{BufferConfig, DiskBufferConfig, DiskCompression, Fsync, WhenDiskFull, WhenFull};
pub use memory::{FullPolicy, Queue, QueueSender, Received, Room, StageSender};

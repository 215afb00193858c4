//! Queues between stages: bounded in bytes, with one written policy for what happens when they are full.

mod memory;

pub use memory::{FullPolicy, Queue, QueueSender, Received, Room, StageSender};

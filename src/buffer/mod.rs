//! Queues between stages: bounded in bytes, with one written policy for what happens when they are full.

mod config;
pub mod disk;
#[cfg(all(test, feature = "interleavings"))]
mod interleavings;
mod memory;

pub use config::{BufferConfig, DiskBufferConfig, DiskCompression, Fsync, WhenDiskFull, WhenFull};
pub use memory::{FullPolicy, Queue, QueueSender, Received, Room, StageSender};

use crate::ack::Ack;
use crate::ack::place::Report;
use crate::error::RunError;
use crate::event::Batch;
use crate::telemetry::{Counters, Health};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Takes what a disk buffer can never hold.
pub trait Refuser: Send {
    /// Ends events of a batch, whose share of the verdict is `ack`. May wait.
    fn refuse(&self, batch: &Batch, rows: &[usize], ack: Ack, reason: &'static str, detail: &str);
}

/// A disk buffer between a sink's queue and the sink: takes batches from the first queue, keeps them, and gives them
/// to the second.
pub type DiskStage = Box<dyn FnOnce(DiskStageContext) -> Result<(), RunError> + Send>;

/// What a disk stage is handed; it runs on a thread of its own and may start more.
pub struct DiskStageContext {
    /// Batches to keep. Settle each one's acknowledgement once it is durable.
    pub from: Arc<Queue>,
    /// Where kept batches go, oldest first, with acknowledgements of the stage's own. Drop it to end the sink.
    pub to: StageSender,
    /// Takes events that it can never hold.
    pub refuser: Box<dyn Refuser>,
    /// The sink's counters (events are counted as in when they enter the first queue).
    pub counters: Arc<Counters>,
    /// The time to drain is over.
    pub abort: CancellationToken,
    /// The agent stops: no need to drain the disk, it is durable.
    pub shutdown: CancellationToken,
    /// What `/ready` says of the sink.
    pub health: Arc<Health>,
    /// Where it says at its start what it holds.
    pub report: Report,
}

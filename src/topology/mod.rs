//! The running graph: what is started in which order, and how it stops.
//!
//! ```text
//! source ──chunks──► worker: decode → transforms (a tree, run to completion) ──batches──► queue ─► sink
//!    ▲                                                                                             │
//!    └───────────────────────────── verdicts (ack) ◄───────────────────────────────────────────────┘
//! ```

mod build;
pub(crate) mod change;
mod connections;
mod inline;
mod panicked;
pub mod recent;
pub mod reloads;
mod replay;
mod running;
mod start_error;
mod steps;
mod supervision;
mod wiring;
mod worker;

pub use build::assemble;
pub(crate) use build::check_memory;
pub use change::{Comparison, Parts, build_beside, compare, compare_configs, counters_of};
pub(crate) use connections::check_connections;
pub use inline::{Inline, Stage, Tells};
pub use replay::{LETTERS, REFUSED, assemble_replay, metadata_asked};
pub use running::{Running, Summary, single_worker, start, start_supervised};
pub(crate) use start_error::LimitError;
pub use start_error::StartError;
pub use supervision::Remake;
pub use worker::{Worker, apply_alone};

use crate::buffer::{DiskStage, FullPolicy};
use crate::component::{SinkRun, SourceRun, Transform};
use crate::condition::Condition;
use crate::decoding::Decoder;
use crate::event::{FieldPath, Sym};
use crate::net::sockets::Holder;
use crate::pipeline::RestartConfig;
use crate::settings::Settings;
use crate::telemetry::Counters;
use std::sync::Arc;
use std::time::Duration;

/// A checked graph whose components are built, ready to start. Made from the configuration; knows no component by name.
pub struct Blueprint {
    /// The sources.
    pub sources: Vec<SourcePart>,
    /// The transforms, each behind those it reads.
    pub transforms: Vec<TransformPart>,
    /// The sinks.
    pub sinks: Vec<SinkPart>,
    /// Bytes of events held in memory at most.
    pub memory_limit: usize,
    /// How long draining may take.
    pub shutdown_timeout: Duration,
    /// Workers.
    pub threads: usize,
    /// By component: what tells whether its settings are the same as another time.
    pub fingerprints: std::collections::HashMap<Arc<str>, crate::pipeline::Fingerprint>,
    /// How its parts are kept running.
    pub upkeep: Upkeep,
}

/// How parts are kept running.
pub struct Upkeep {
    /// How often one that fails is started again.
    pub restart: RestartConfig,
    /// A call that takes so long is named.
    pub stalled_after: Duration,
    /// By component, the sockets that it has opened: kept open while it is down.
    pub sockets: std::collections::HashMap<Arc<str>, Vec<Holder>>,
    /// Bytes of the queue in front of each sink, by id: of those that go on too.
    pub queues: std::collections::HashMap<Arc<str>, usize>,
    /// How many of the last frames of each source are kept, and bytes of them; 0 for none.
    pub recent: (usize, usize),
    /// Sinks that send requests: of those that go on too.
    pub senders: std::collections::HashSet<Arc<str>>,
}

impl Default for Upkeep {
    fn default() -> Upkeep {
        Upkeep {
            restart: RestartConfig::defaults(),
            stalled_after: crate::telemetry::watchdog::STALLED,
            sockets: std::collections::HashMap::default(),
            queues: std::collections::HashMap::default(),
            recent: (0, 0),
            senders: std::collections::HashSet::default(),
        }
    }
}

/// One source.
pub struct SourcePart {
    /// Its counters, with its id.
    pub counters: Arc<Counters>,
    /// What runs.
    pub run: SourceRun,
    /// How its frames become events.
    pub decoder: Decoder,
    /// `when`.
    pub when: Option<Condition>,
    /// `attach`.
    pub attach: Vec<(FieldPath, Sym)>,
    /// Where its settings have changed, the new one may begin while the old one ends: nothing is kept that both need.
    pub overlaps: bool,
}

/// One transform.
pub struct TransformPart {
    /// Its counters, with its id.
    pub counters: Arc<Counters>,
    /// What runs; forked for each worker.
    pub transform: Box<dyn Transform>,
    /// Names of its outputs besides the default one, in the order of its plan.
    pub outputs: Vec<Arc<str>>,
    /// What it reads: component id and output (empty for the default one).
    pub inputs: Vec<(Arc<str>, Arc<str>)>,
}

/// One sink.
pub struct SinkPart {
    /// Its counters, with its id.
    pub counters: Arc<Counters>,
    /// What runs.
    pub run: SinkRun,
    /// What it reads.
    pub inputs: Vec<(Arc<str>, Arc<str>)>,
    /// `when`.
    pub when: Option<Condition>,
    /// Whether it is given ends of series.
    pub takes_stale: bool,
    /// The queue in front of it.
    pub buffer: BufferPart,
    /// Id of the sink that takes what it cannot deliver.
    pub dead_letter: Option<Arc<str>>,
    /// Whether it says at its start what it holds.
    pub keeps_places: bool,
}

/// The queue in front of a sink.
pub struct BufferPart {
    /// Bytes in memory; `None` for the default share.
    pub max_bytes: Option<usize>,
    /// What happens when it is full.
    pub policy: FullPolicy,
    /// A buffer on disk behind the queue.
    pub disk: Option<DiskStage>,
    /// Bytes of the queue between the disk buffer and the sink; `None` for a small one.
    pub behind_disk: Option<usize>,
}

/// Bytes a sink's queue holds by default, where `memory_limit` allows.
pub const DEFAULT_BUFFER_BYTES: usize = 8 << 20;
/// Bytes of chunks on their way from one source to the workers.
pub const SOURCE_ROOM_BYTES: usize = 2 << 20;

#[cfg(test)]
mod failing_tests;
#[cfg(test)]
mod tests;

//! What a component is, and what it is handed. Shared duties (metrics, acknowledgement on drop, fan-out) are the
//! topology's, so that a component cannot forget them.

mod attach;
pub mod common;
pub mod explain;
pub mod letter;
mod message;
pub mod plan;
pub mod probe;
mod sink;
mod source;
mod transform;
pub(crate) mod trial;

pub use crate::sync::BoxFuture;
pub use attach::attach;
pub use explain::{Note, Notes, Rule};
pub use message::{Message, Retire};
pub use plan::WantedConnections;
pub use sink::{DeadLetter, Input, SinkRun, Succession, Successors, ToDeadLetter};
pub(crate) use source::OutputOpen;
pub use source::{Closed, NotSent, Output, SourceContext, SourceRun};
pub(crate) use transform::Delta;
pub use transform::{Emitter, Transform};

use crate::telemetry::Counters;
use std::path::PathBuf;
use std::sync::Arc;

/// What every component is built with.
#[derive(Clone)]
pub struct BuildContext {
    /// Id of the component.
    pub id: Arc<str>,
    /// Where state is kept; exists.
    pub data_dir: PathBuf,
    /// Zone of times that name none.
    pub timezone: jiff::tz::TimeZone,
    /// The component's counters.
    pub counters: Arc<Counters>,
    /// Sources read to the end and stop.
    pub once: bool,
    /// Paths that the agent itself writes: no source may tail them.
    pub own_files: Arc<Vec<PathBuf>>,
    /// Name of the host.
    pub host: Arc<str>,
    /// Bytes of events that the agent may hold in memory.
    pub memory_limit: usize,
    /// Bytes that a sink may hold beside its queue, in bodies of requests: its part of `memory_limit`, as far as it asked for
    /// some ([`SinkPlan::working_bytes`](crate::component::plan::SinkPlan::working_bytes)).
    pub working_bytes: usize,
    /// Connections that a source may have at once, as far as it asked for some
    /// ([`SourcePlan::connections`](crate::component::plan::SourcePlan::connections)).
    pub connections: u32,
    /// Handles that connections leave to everything else.
    pub handles: u64,
    /// A source upstream decodes access logs.
    pub reads_access_logs: bool,
    /// What `sample` leaves to chance.
    pub chance: Chance,
}

/// What becomes of events that are kept by chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chance {
    /// As it falls.
    #[default]
    Random,
    /// Whatever has a share above 0 is kept: tests of a pipeline must come out the same each time.
    Kept,
    /// An event has one fate wherever it is tried ([`Batch::ids`](crate::event::Batch::ids) and its place): of two shares the larger
    /// keeps all that the smaller does.
    ByEvent,
}

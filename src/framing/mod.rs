//! Framing: where one event's bytes begin and end.

mod config;
pub mod container;
mod framer;
pub(crate) mod lines;
pub mod multiline;
pub mod span;
pub mod syslog;
pub mod wide;

pub use config::{MultilineSetting, PartLimits, framing};
pub use container::ContainerFramer;
pub use framer::{Framer, Spans};
pub use lines::LongLines;
pub use multiline::Multiline;

use std::sync::Arc;

/// How lines are joined to frames.
#[derive(Clone, Debug)]
pub enum Framing {
    /// By a rule for lines.
    Lines(Arc<Multiline>),
    /// As the parts of container messages, and by a rule for these.
    Containers(Arc<container::Rule>),
}

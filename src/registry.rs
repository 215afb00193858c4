//! The types of components that are built in: handed to whoever reads a configuration.

use crate::pipeline::Registry;
use crate::{sinks, sources, transforms};

/// All of them.
pub fn built_in() -> Registry<'static> {
    Registry { sources: sources::TYPES, transforms: transforms::TYPES, sinks: sinks::TYPES }
}

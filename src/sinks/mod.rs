//! Sinks: one file or folder each; the registry is in this file.

pub mod common;
pub mod file;

use crate::plan::SinkType;

/// Every type of sink.
pub const TYPES: &[SinkType] = &[SinkType::of::<file::FileConfig>("file")];

//! Sources: one file or folder each; the registry is in this file.

pub mod common;

use crate::plan::SourceType;

/// Every type of source.
pub const TYPES: &[SourceType] = &[];

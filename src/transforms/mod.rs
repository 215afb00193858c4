//! Transforms: one file or folder each; the registry is in this file.

pub mod normalize;

use crate::plan::TransformType;

/// Every type of transform.
pub const TYPES: &[TransformType] = &[TransformType::of::<normalize::NormalizeConfig>("normalize")];

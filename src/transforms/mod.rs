//! Transforms: one file or folder each; the registry is in this file.

pub mod normalize;

//! The `http` source.

pub mod format;

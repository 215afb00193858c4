//! Sinks: one file or folder each; the registry is in this file.

pub mod blackhole;
pub mod common;
pub mod console;
pub mod file;
pub mod net;
pub mod openobserve;
mod pack;
pub mod prometheus;

use crate::plan::SinkType;

/// Every type of sink.
pub const TYPES: &[SinkType] = &[
    SinkType::of::<blackhole::BlackholeConfig>("blackhole"),
    SinkType::of::<console::ConsoleConfig>("console"),
    SinkType::of::<file::FileConfig>("file"),
    SinkType::of::<openobserve::OpenObserveConfig>("openobserve"),
    SinkType::of::<prometheus::PrometheusConfig>("prometheus"),
];

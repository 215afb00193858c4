//! Sinks: one file or folder each; the registry is in this file.

pub mod blackhole;
pub mod console;
pub mod delivery;
pub mod elasticsearch;
pub mod file;
#[cfg(test)]
pub(crate) mod harness;
pub mod http;
pub mod loki;
pub mod openobserve;
pub mod otlp;
mod pack;
pub mod prometheus;

use crate::component::plan::SinkType;

/// Every type of sink.
pub const TYPES: &[SinkType] = &[
    SinkType::of::<blackhole::BlackholeConfig>("blackhole"),
    SinkType::of::<console::ConsoleConfig>("console"),
    SinkType::of::<elasticsearch::ElasticsearchConfig>("elasticsearch"),
    SinkType::of::<file::FileConfig>("file"),
    SinkType::of::<http::HttpSinkConfig>("http"),
    SinkType::of::<loki::LokiConfig>("loki"),
    SinkType::of::<openobserve::OpenObserveConfig>("openobserve"),
    SinkType::of::<otlp::OtlpConfig>("otlp"),
    SinkType::of::<prometheus::PrometheusConfig>("prometheus"),
];

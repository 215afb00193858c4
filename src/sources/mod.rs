//! Sources: one file or folder each; the registry is in this file.

pub mod demo;
pub mod file;
pub mod http;
pub mod kubernetes_logs;
pub mod openobserve;
pub mod stdin;
pub mod syslog;

use crate::component::plan::SourceType;

/// Every type of source.
pub const TYPES: &[SourceType] = &[
    SourceType::of::<demo::DemoConfig>("demo"),
    SourceType::of::<file::FileConfig>("file"),
    SourceType::of::<http::HttpConfig>("http"),
    SourceType::of::<kubernetes_logs::KubernetesLogsConfig>("kubernetes_logs"),
    SourceType::of::<openobserve::OpenObserveSourceConfig>("openobserve"),
    SourceType::of::<stdin::StdinConfig>("stdin"),
    SourceType::of::<syslog::SyslogConfig>("syslog"),
];

//! Settings that all sinks have.

use crate::buffer::BufferConfig;
use crate::condition::Condition;
use crate::config::{Spanned, config};

config! {
    /// Settings that all sinks have.
    pub struct SinkCommon {
        /// What it reads: ids, `id.output`, globs over ids. Not needed where the sink is only someone's dead letter.
        pub inputs: Vec<Spanned<String>> = Vec::new(),
        /// Take only events for which this holds; others are dropped for this sink and counted.
        pub when: Option<Condition> = None,
        /// The queue in front of the sink.
        pub buffer: BufferConfig = BufferConfig::default(),
        /// Id of the sink that takes what this one cannot deliver.
        pub dead_letter: Option<Spanned<String>> = None,
    }
}

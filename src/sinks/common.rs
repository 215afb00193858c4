//! Settings that all sinks have.

use crate::buffer::BufferConfig;
use crate::config::{Spanned, config};

config! {
    /// Settings that all sinks have.
    pub struct SinkCommon {
        /// What it reads: ids, `id.output`, globs over ids. Not needed where the sink is only someone's dead letter.
        pub inputs: Vec<Spanned<String>> = Vec::new(),
        /// The queue in front of the sink.
        pub buffer: BufferConfig = BufferConfig::default(),
        /// Id of the sink that takes what this one cannot deliver.
        pub dead_letter: Option<Spanned<String>> = None,
    }
}

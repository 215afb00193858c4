//! Settings that all sinks over the network have.

use crate::component::common::SinkCommon;
use crate::http::{ClientConfig, RetryConfig};
use crate::settings::{Reader, Size, Span, Spanned, config, config_enum, config_union};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

config! {
    /// Settings that all sinks over the network have.
    pub struct NetworkSinkCommon {
        /// Those of all sinks.
        flatten pub sink: SinkCommon,
        /// How request bodies are compressed. A server that answers 415 gets the next one: zstd, gzip, none. `auto` begins with
        /// what such servers are known to take.
        pub compression: Compression = Compression::Auto,
        /// When a request is full.
        pub batch: BatchConfig = BatchConfig::defaults(),
        /// Waits between attempts.
        pub retry: RetryConfig = RetryConfig::defaults(),
        /// Requests at a time: as many as the server answers without slowing down, or a number. `1` keeps the order of
        /// each origin.
        pub concurrency: Concurrency = Concurrency::Adaptive(AdaptiveWord::Adaptive),
        /// Requests a second at most, attempts included.
        pub rate_limit: Option<f64> = None,
        /// When to leave a server alone that does not work.
        pub circuit_breaker: BreakerConfig = BreakerConfig::defaults(),
        /// Ask the server at start whether it is there and takes the credentials; a failure is said, and nothing waits for it.
        pub healthcheck: bool = true,
        /// How requests travel.
        flatten pub client: ClientConfig,
    }
}

config! {
    /// When a request is full. What comes first counts.
    pub struct BatchConfig {
        /// Events in it.
        pub max_events: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999),
        /// Bytes of its body before compression. A larger event goes alone.
        pub max_bytes: Spanned<Size> = Spanned::new(Size::mib(1), Span::default()),
        /// Time since its first event. Where no request has left before it was full for so long, one leaves as soon as
        /// nothing more comes.
        pub timeout: Duration = Duration::from_secs(1),
    }
}

config! {
    /// After so many failures in a row the circuit opens for a while: the server is left alone; then one request probes it.
    pub struct BreakerConfig {
        /// Failures in a row: connections, time-outs, 408 and 5xx.
        pub failures: NonZeroU32 = NonZeroU32::MIN.saturating_add(4),
        /// How long it is left alone.
        pub reset: Duration = Duration::from_secs(60),
    }
}

config_enum! {
    /// How request bodies are compressed.
    pub enum Compression {
        /// What such servers are known to take, and what else this one takes.
        Auto = "auto",
        /// zstd at level 1.
        Zstd = "zstd",
        /// gzip at a low level.
        Gzip = "gzip",
        /// Not at all; a block of snappy, where the interface wants one, holds the body as it is.
        None = "none",
    }
}

config_enum! {
    /// The word for it.
    pub enum AdaptiveWord {
        /// As many as the server answers without slowing down.
        Adaptive = "adaptive",
    }
}

config_union! {
    /// Requests at a time.
    pub enum Concurrency {
        /// As many as the server answers without slowing down.
        Adaptive(AdaptiveWord),
        /// So many.
        Fixed(NonZeroUsize),
    }
}

/// Largest `batch.max_bytes`: places in a body are 32-bit numbers.
const MAX_BATCH_BYTES: u64 = 1 << 30;

impl NetworkSinkCommon {
    /// Notes mistakes between several keys.
    pub fn check(&self, cx: &mut Reader<'_>) {
        if self.batch.max_bytes.value.bytes() == 0 || self.batch.max_bytes.value.bytes() > MAX_BATCH_BYTES {
            cx.error(self.batch.max_bytes.span, format!("`batch.max_bytes`{} must be from 1 to 1GiB", cx.place()));
        }
        if !(0.0..=1.0).contains(&self.retry.jitter.value) {
            cx.error(self.retry.jitter.span, format!("`retry.jitter`{} must be from 0 to 1", cx.place()));
        }
        self.client.check(cx);
    }
}

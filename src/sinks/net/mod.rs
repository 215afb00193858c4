//! What all sinks over the network share, once: batching, bounded and adaptive concurrency, retries with jitter and
//! `Retry-After`, a circuit breaker, a rate limit, time-outs, compression with a way back, the meaning of answers, halving of
//! refused batches, dead letters, health.
//!
//! A sink implements [`Protocol`] (where an event goes, how it is written, what an answer means) and hands it to a
//! [`Driver`] with a [`Plan`] made of its [`NetworkSinkCommon`] settings and an [`HttpExchange`].
//!
//! Delivery is at least once: a request is sent again where its answer was lost. What a server refused for good is never
//! sent again. With `concurrency: 1` the order of each origin is kept.

mod batcher;
mod breaker;
mod client;
mod compression;
mod concurrency;
mod driver;
mod exchange;
mod load;
mod mask;
mod protocol;
mod proxy;
mod rate;
mod retry;
mod settings;
mod status;
mod tls;

pub use batcher::{Batcher, Bounds, Unsent};
pub use client::HttpExchange;

pub use driver::{Driver, Plan, check_health};
pub use exchange::{Answer, Exchange, Lost, LostKind, Request};
pub use load::{Framing, Load, Part, Record, Target};
pub use mask::{MAX_WORDS, Mask};
pub use protocol::{Judgement, Original, Protocol, Refusal, Unsendable};

pub use settings::{
    AdaptiveWord, BatchConfig, BreakerConfig, Compression, Concurrency, NetworkSinkCommon, RetryConfig, TlsConfig,
};
pub use status::{is_overload, judge_lost, judge_remote_write, judge_status, overloaded};

#[cfg(test)]
mod tests;

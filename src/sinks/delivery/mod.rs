//! What all sinks over the network share, once: batching, bounded and adaptive concurrency, retries with jitter and
//! `Retry-After`, a circuit breaker, a rate limit, time-outs, compression with a way back, credentials, several servers in turns,
//! the meaning of answers, halving of refused batches, dead letters, health.
//!
//! A sink is its settings ([`HttpSink`], which makes it a sink that starts, probes and hides its secrets), its body and its
//! answers ([`Protocol`]: where an event goes, how it is written, what an answer means). What runs is a [`Driver`].
//!
//! Delivery is at least once: a request is sent again where its answer was lost. What a server refused for good is never
//! sent again; what it did not take now, where it says so record by record, is sent again alone. With `concurrency: 1` the order
//! of each origin is kept.

mod batcher;
mod breaker;
mod compression;
mod concurrency;
mod driver;
mod preview;
mod protocol;
mod rate;
mod request_body;
mod settings;
mod sink;
mod status;
mod values;

pub use crate::http::{
    Answer, AuthConfig, BasicAuth, Credentials, Exchange, HttpExchange, Mask, Renewed, Request, RetryConfig, Sign,
    TlsConfig, address, authorization, basic, bearer, below, check_address, check_server, secrets_of, sensitive,
    signer_of,
};
pub use batcher::{Batcher, Bounds};
pub use compression::Encoding;
pub use driver::{Driver, Plan};
pub use protocol::{Draft, Judgement, Protocol, Refusal, Unsendable};
pub use request_body::{Framing, RequestBody, Target, byte_of, kind_of};
pub use settings::{BatchConfig, BreakerConfig, Concurrency, NetworkSinkCommon};
pub use sink::HttpSink;
pub use status::{is_overload, judge_remote_write, judge_status, overloaded};
pub use values::Values;

#[cfg(test)]
mod tests;

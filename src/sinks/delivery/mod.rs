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
mod named_groups;
mod preview;
mod protocol;
mod rate;
mod request_body;
mod room;
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
pub use named_groups::NamedGroups;
pub use protocol::{Draft, Judgement, Protocol, Refusal, Unsendable};
pub use request_body::{Framing, Groups, RequestBody, Target, byte_of, kind_of};
pub use room::{body, room};
pub use settings::{BatchConfig, BreakerConfig, Concurrency, NetworkSinkCommon};
pub use sink::HttpSink;
pub use status::{is_overload, judge_remote_write, judge_status, overloaded};
pub use values::Values;

#[cfg(test)]
mod tests;

/// Bodies of a protocol, without a server.
#[cfg(test)]
pub mod bodies {
    use super::{Batcher, Bounds, Protocol, RequestBody};
    use crate::ack::Ack;
    use crate::event::{Batch, JsonRows, Origin, Slab};
    use std::collections::VecDeque;
    use std::num::NonZeroUsize;
    use std::time::Duration;

    /// A batch of these lines of JSON.
    pub fn batch(lines: &[String]) -> Batch {
        let text = lines.join("\n");
        let mut batch = Batch::new(Slab::from_vec(text.into_bytes()), Origin::of_source("in"), 1_000, Ack::none());
        let (mut rows, mut at) = (JsonRows::default(), 0);
        for line in lines {
            rows.push(&mut batch, at, at + line.len(), at as u64).expect("an object");
            at += line.len() + 1;
        }
        batch
    }

    /// All bodies that these batches fill, in order, the last of which are closed.
    pub fn of<P: Protocol>(protocol: &mut P, batches: &[Batch], max_bytes: usize) -> Vec<RequestBody<P::Mark>> {
        let max_events = NonZeroUsize::MIN.saturating_add(39);
        let mut batcher = Batcher::new(Bounds { max_events, max_bytes, timeout: Duration::from_secs(1) });
        let (mut closed, mut unsent) = (VecDeque::new(), Vec::new());
        let now = tokio::time::Instant::now();
        for batch in batches {
            batcher.add(batch, protocol, 1_000, now, &mut closed, &mut unsent);
        }
        batcher.close_all(&mut closed);
        assert!(unsent.is_empty(), "{unsent:?}");
        closed.into()
    }
}

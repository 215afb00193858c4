//! tidegate: a telemetry pipeline agent, usable as a library.
//!
//! A pipeline is sources, transforms and sinks, named and joined by a configuration. This crate is what the program `tidegate` is
//! made of; another program embeds it to run pipelines of its own, with components of its own in them, or to apply the transforms to
//! lines that it has in memory:
//!
//! ```
//! use serde_json::json;
//! use tidegate::{Components, Pipeline};
//!
//! let pipeline = Pipeline::builder()
//!     .source("in", json!({"type": "stdin", "decode": "json"}))
//!     .transform("warned", json!({"type": "filter", "inputs": ["in"], "when": "level == \"WARN\""}))
//!     .sink("out", json!({"type": "console", "inputs": ["warned"]}))
//!     .build(&Components::built_in())?;
//! let mut lines = pipeline.in_memory()?;
//! let reached = lines.line("in", r#"{"level":"WARN","n":1}"#).unwrap_or_default();
//! assert_eq!(reached[0].events, [r#"{"level":"WARN","n":1}"#]);
//! assert!(lines.line("in", r#"{"level":"INFO","n":2}"#).unwrap_or_default().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What stands on this page is what such a program may rely on; `examples/` has two of them. All else is the crate's own and
//! changes as it must.
//!
//! # The map
//!
//! The rooms lie in floors, and a room uses only those below it: `cli, embed → api, plan, view → topology, sources, transforms, sinks → pipeline →
//! component → decoding, encoding → framing, buffer, http → event → settings`. A component names no other component; the table of their types is handed in.
//!
//! | Room | What is in it |
//! |---|---|
//! | `cli` | the program's commands, one file each, and their exit codes |
//! | `embed` | this page |
//! | `api` | what the agent serves of itself |
//! | `registry` | the types of components that are built in |
//! | `plan` | what another configuration would change |
//! | `view` | what is shown of events that pass |
//! | `topology` | the graph running: workers, queues, start, change and stop |
//! | `sources`, `transforms`, `sinks` | the components, one file or folder each, and the tables of their types |
//! | `sinks::delivery` | what all sinks over the network have in common |
//! | `pipeline` | the document: sections, components, the graph that they make, tests, the reference |
//! | `component` | what a source, transform or sink is, what it can be asked, and what it is handed; dead letters |
//! | `framing`, `decoding` | bytes to frames, frames to events |
//! | `encoding` | events to bytes |
//! | `wire` | formats of others that the two share |
//! | `buffer`, `storage` | queues in memory and on disk, and what lies in `data_dir` |
//! | `http`, `net` | clients and small servers; sockets, certificates, places for connections |
//! | `kubernetes` | its API and kubelets as a client sees them, and what of a pod is kept |
//! | `tap` | where events pass, and who looks |
//! | `template`, `condition` | small languages within settings |
//! | `event` | batches, their fields and their text |
//! | `ack` | verdicts, and positions that travel with the data |
//! | `telemetry`, `ledger` | what the agent counts, keeps and says |
//! | `settings` | the language of configuration: text to a tree with places, to checked settings |
//! | `text` | secrets and control characters on their way out |
//! | `time` | clocks, zones and the many spellings of times |
//!
//! # The life of a batch
//!
//! A source reads into a slab, cuts it behind its last whole line and hands a chunk to one worker: the slab, where its frames are,
//! what they have in common (its origin) and an acknowledgement. All chunks of one origin go to the same worker, so their order stays.
//!
//! The worker decodes the chunk into a batch, whose fields are spans of the slab: text is shared and not copied. It runs every transform
//! that reads the source, and those that read these, as a tree of calls; a branch copies the tables of a batch, not its text. What
//! leaves goes into the queue in front of each sink that reads it: a bounded number of bytes, with a disk buffer behind it where
//! one is configured. Where a queue is full the worker waits, and so does the source, unless the sink's policy is to drop.
//!
//! The sink takes the batch and delivers it: over the network as records of a request, which is tried again, halved or given up event
//! by event. What it cannot deliver it sends to its dead letter. Each event ends in exactly one counter.
//!
//! Then the batch's share of the acknowledgement is settled. When the last share is gone the source hears the worst verdict: delivered
//! or ended by policy, and it moves its checkpoint over what is settled in a row; failed, and it keeps its place and reads again when it
//! begins again, or after the next start. A share that is dropped without a verdict counts as failed, so that forgetting cannot turn into loss.

mod ack;
mod api;
mod buffer;
mod cli;
mod component;
mod condition;
mod decoding;
mod doctor;
mod embed;
mod encoding;
mod error;
mod event;
mod framing;
mod http;
mod kubernetes;
mod ledger;
mod net;
mod openobserve;
mod pipeline;
mod plan;
mod process;
mod registry;
mod settings;
mod sinks;
mod sources;
mod storage;
mod sync;
mod tap;
mod telemetry;
mod template;
mod text;
mod time;
mod topology;
mod transforms;
mod view;
mod wire;

#[cfg(test)]
mod test_data;

pub use embed::{
    Builder, Components, Event, EventChange, Events, Fate, Feed, Field, InMemory, Mistakes, Outcome, Pipeline, Reached,
    Running, Sink, Source, StartError, Totals, Transform,
};

/// What the program, the tests and the benches of this repository take of the crate's own. No promise: it changes without notice.
#[doc(hidden)]
#[allow(missing_docs, reason = "no part of the library")]
pub mod internals {
    pub mod ack {
        pub use crate::ack::{Ack, Settled, Verdict};
    }
    pub mod buffer {
        pub use crate::buffer::FullPolicy;
        pub mod disk {
            pub use crate::buffer::disk::tools;
        }
    }
    pub mod cli {
        pub use crate::cli::{main, main_with};
    }
    pub mod component {
        pub use crate::component::{BuildContext, SinkRun, SourceContext, SourceRun, Transform};
        pub use crate::event::{Chunk, Frames};
    }
    pub mod config {
        pub use crate::pipeline::load_texts;
        pub use crate::registry::built_in;
        pub use crate::settings::{ProcessEnvironment, read_text};
    }
    pub mod decoding {
        pub use crate::decoding::{DecodeStats, Decoder, FrameDecoder, JsonDecoder, OnDecodeError, TextDecoder};
        pub use crate::decoding::{otlp, remote_write, syslog};
        pub use crate::wire::protobuf;
    }
    pub mod encoding {
        pub use crate::encoding::{Encoder, Encoding, Formulas};
    }
    pub mod event {
        pub use crate::event::{Batch, FieldPath, Origin, Packer, Slab, SlabPool, Unpacker};
    }
    pub mod framing {
        pub use crate::framing::{Framer, Multiline, Spans, multiline, syslog};
    }
    pub mod sinks {
        pub mod delivery {
            pub use crate::sinks::delivery::{Batcher, Bounds, Mask};
        }
        pub mod file {
            pub use crate::sinks::file::{FileSink, FileSinkOptions};
        }
        pub mod openobserve {
            pub use crate::sinks::openobserve::{Mark, OpenObserve, OpenObserveConfig};
        }
    }
    pub mod telemetry {
        pub use crate::telemetry::{ComponentKind, Counters};
    }
    pub mod template {
        pub use crate::template::{NameTemplate, Template};
    }
    pub mod time {
        pub use crate::time::{TimestampReader, Zone, parse_rfc3339, write_rfc3339_utc};
    }
    pub mod topology {
        pub use crate::topology::{
            Blueprint, BufferPart, SinkPart, SourcePart, Worker, apply_alone, assemble, single_worker, start,
        };
    }
    pub mod transforms {
        pub mod normalize {
            pub use crate::transforms::normalize::{KeepRest, Normalize, NormalizeOptions, Schema};
        }
        pub mod redact {
            pub use crate::transforms::redact::{Action, DetectKind, PathGlob, Redact, RedactOptions, Rules, Scanner};
        }
    }
}

//! Tests of the program from outside and of whole topologies: one binary, so that the crate is linked once.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod agent;
mod alloc;
mod buffer;
mod buffer_loss;
mod canary;
mod config_commands;
mod contract;
#[path = "../../benches/corpus/mod.rs"]
mod corpus;
mod doctor;
mod doors;
mod embedding;
mod endings;
mod faults;
mod formats;
mod framing;
mod guarantees;
mod hanging;
mod http;
mod http_clients;
mod kills;
mod latency;
mod letters;
mod main_job;
mod many_files;
mod memory;
mod missed;
mod observe;
mod openobserve;
mod openobserve_double;
mod overlay;
mod pipelines;
mod program;
mod proxies;
mod reload;
mod remote_write;
mod says_so;
mod service;
mod signals;
mod sinks;
mod storage;
mod strangers;
mod syslog;
mod tally;
mod wire;

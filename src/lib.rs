//! tidegate: a telemetry pipeline agent, usable as a library.

pub mod ack;
pub mod api;
pub mod buffer;
pub mod cli;
pub mod component;
pub mod condition;
pub mod config;
pub mod data_dir;
pub mod decoding;
pub mod doctor;
pub mod encoding;
pub mod event;
pub mod framing;
mod http_server;
pub mod ledger;
pub mod letter;
pub mod place;
pub mod plan;
pub mod proxy_protocol;
pub mod sinks;
pub mod sources;
mod storage;
mod sync;
pub mod telemetry;
pub mod template;
pub mod time;
pub mod tls;
pub mod topology;
pub mod transforms;

#[cfg(test)]
mod test_data;

//! tidegate: a telemetry pipeline agent, usable as a library.

pub mod ack;
pub mod api;
pub mod buffer;
pub mod cli;
pub mod component;
pub mod condition;
pub mod config;
mod connections;
pub mod data_dir;
pub mod decoding;
pub mod doctor;
pub mod encoding;
pub mod escape;
pub mod event;
pub mod framing;
mod handles;
mod http_server;
pub mod ledger;
pub mod letter;
pub mod live;
mod log_throttle;
pub mod mask;
pub mod place;
pub mod plan;
mod process;
pub mod proxy_protocol;
pub mod reloads;
pub mod remarks;
pub mod sinks;
pub mod sockets;
pub mod sources;
mod storage;
mod sync;
pub mod telemetry;
pub mod template;
pub mod time;
pub mod tls;
pub mod topology;
pub mod transforms;
pub mod web;

#[cfg(test)]
mod test_data;

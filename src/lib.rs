//! tidegate: a telemetry pipeline agent, usable as a library.

pub mod ack;
pub mod condition;
pub mod config;
pub mod event;
pub mod template;
pub mod time;

//! tidegate: a telemetry pipeline agent, usable as a library.
#![allow(dead_code)] // removed once every module is wired

pub mod condition;
pub mod config;
pub mod template;
pub mod time;

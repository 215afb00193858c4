#![allow(clippy::unwrap_used)]

mod conformance;
mod engine;
mod event;
mod properties;

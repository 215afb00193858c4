#![allow(clippy::unwrap_used)]

mod conformance;
mod corpus;
mod engine;
mod event;
mod properties;

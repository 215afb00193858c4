//! Tests of whole configurations.
#![allow(clippy::unwrap_used, missing_docs, dead_code, unreachable_pub, reason = "tests")]

mod documents;
mod editor;
mod every_setting;
mod expressions;
mod properties;
mod schema;
mod secrets;

pub(crate) use documents::registry;

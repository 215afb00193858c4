//! The document: what a configuration says as a whole, once the language of [`settings`](crate::settings) has read it.
//!
//! [`document`] reads the sections into a checked [`Config`], [`graph`] joins components by their names, [`cases`] are the
//! tests that a configuration carries, [`reference`](mod@reference) is the page of all settings. Which types of components there are is
//! handed in ([`Registry`]).

pub mod cases;
mod config;
pub mod document;
mod fingerprint;
pub mod graph;
pub mod reference;

#[cfg(test)]
mod tests;

pub use cases::{TestCase, TestExpect, TestInput, TestKind};
pub use config::{
    AgentPrint, AnyPlan, ApiConfig, ApiListen, Component, Config, Edge, Globals, RestartConfig, Tap, UNIX,
};
pub use document::{Loaded, Registry, json_schema, load, load_texts, load_with_texts};
pub use fingerprint::Fingerprint;
pub use graph::Graph;
#[cfg(test)]
pub(crate) use tests::registry as tests_registry;

//! Kubernetes: its API and its kubelets as a client sees them, and what of a pod is kept.
//!
//! Written by hand on [`http`](crate::http): a handful of requests, no crate of Kubernetes. [`access`] knows where to ask and with
//! what credentials, [`record`] what is kept of the answers, [`fields`] what is said of it, [`path`] what log files say of their owners,
//! [`selector`] which pods a label selector selects.

pub mod access;
pub mod fields;
pub mod path;
pub mod record;
pub mod selector;

pub use access::{Access, AccessError, Place, Stream};
pub use fields::{FieldName, Known, Names, Speech};
pub use path::LogPath;
pub use record::Pod;
pub use selector::Selector;

//! HTTP as all doors of the agent speak it: the small servers, and from where a request may come.

pub(crate) mod origin;
pub(crate) mod server;

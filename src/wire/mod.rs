//! Formats of others' bytes that decoding and encoding share.

pub mod protobuf;

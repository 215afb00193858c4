//! Sockets, and what stands between them and a protocol: places for connections, certificates, the header of proxies.

pub(crate) mod connections;
pub(crate) mod proxy_protocol;
pub(crate) mod sockets;
pub mod tls;

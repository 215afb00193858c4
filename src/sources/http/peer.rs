//! Who sends requests.

use std::net::IpAddr;
use std::sync::Arc;

/// Who is at the other end.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its address, without port.
    pub(super) address: Option<Arc<str>>,
    /// The same as a number.
    pub(super) ip: IpAddr,
    /// The subject of its certificate.
    pub(super) tls_subject: Option<Arc<str>>,
    /// Only this host reaches the address that it came to.
    pub(super) loopback: bool,
    /// Requests of one connection keep their order.
    pub(super) order: u64,
}

//! Origins: one per connection, and one per sender of datagrams.

use crate::component::BuildContext;
use crate::event::Origin;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Senders remembered at once; one that was forgotten is made again.
const SENDERS: usize = 4096;

/// Makes origins of one source.
#[derive(Clone)]
pub(super) struct Origins {
    source: Arc<str>,
    host: Arc<str>,
}

impl Origins {
    pub(super) fn new(cx: &BuildContext) -> Self {
        Origins { source: cx.id.clone(), host: cx.host.clone() }
    }

    /// The origin of one connection or sender. What has the same `order` keeps its order.
    pub(super) fn make(&self, peer: Option<IpAddr>, tls_subject: Option<Arc<str>>, order: u64) -> Arc<Origin> {
        Arc::new(Origin {
            source: self.source.clone(),
            host: Some(self.host.clone()),
            peer: peer.map(|peer| peer.to_string().into()),
            tls_subject,
            order,
            ..Origin::default()
        })
    }
}

/// Origins of senders of datagrams, by address.
pub(super) struct PeerOrigins {
    origins: Origins,
    known: HashMap<Option<IpAddr>, Arc<Origin>>,
}

impl PeerOrigins {
    pub(super) fn new(origins: Origins) -> Self {
        PeerOrigins { origins, known: HashMap::new() }
    }

    pub(super) fn of(&mut self, peer: Option<IpAddr>) -> Arc<Origin> {
        if let Some(known) = self.known.get(&peer) {
            return known.clone();
        }
        if self.known.len() >= SENDERS {
            self.known.clear();
        }
        let order = match peer {
            None => 0,
            // The port is no part of it: `logger` sends each message from another one.
            Some(IpAddr::V4(ip)) => xxhash_rust::xxh3::xxh3_64(&ip.octets()),
            Some(IpAddr::V6(ip)) => xxhash_rust::xxh3::xxh3_64(&ip.octets()),
        };
        let origin = self.origins.make(peer, None, order);
        self.known.insert(peer, origin.clone());
        origin
    }
}

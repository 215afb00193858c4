//! The zone of a sender: by its address, for times that name none.

use crate::event::Origin;
use crate::time::Zone;
use globset::GlobMatcher;
use std::sync::Arc;

/// Zones by the sender's address, the first pattern that matches; else one for all.
#[derive(Clone, Debug)]
pub struct SenderZones {
    zone: Zone,
    by_sender: Arc<[(GlobMatcher, Zone)]>,
}

impl SenderZones {
    /// `by_sender` in written order; `zone` for all that match none of it.
    pub fn new(zone: Zone, by_sender: Vec<(GlobMatcher, Zone)>) -> Self {
        SenderZones { zone, by_sender: by_sender.into() }
    }

    fn of(&self, origin: &Origin) -> &Zone {
        let peer = origin.peer.as_deref();
        let found = self.by_sender.iter().find(|(pattern, _)| peer.is_some_and(|peer| pattern.is_match(peer)));
        found.map_or(&self.zone, |(_, zone)| zone)
    }

    pub(super) fn into_cache(self) -> ZoneOfSender {
        ZoneOfSender { zones: self, last: None }
    }
}

/// Remembers the zone of the sender before: all events of a batch have the same.
#[derive(Clone)]
pub(super) struct ZoneOfSender {
    zones: SenderZones,
    /// Held, so that no other origin can come to stand at its address.
    last: Option<(Arc<Origin>, Zone)>,
}

impl ZoneOfSender {
    /// All senders have the same.
    #[inline]
    pub(super) fn is_one(&self) -> bool {
        self.zones.by_sender.is_empty()
    }

    pub(super) fn of(&mut self, origin: &Arc<Origin>) -> &Zone {
        if self.is_one() {
            return &self.zones.zone;
        }
        let known = self.last.as_ref().is_some_and(|(last, _)| Arc::ptr_eq(last, origin));
        if !known {
            self.last = Some((origin.clone(), self.zones.of(origin).clone()));
        }
        self.last.as_ref().map_or(&self.zones.zone, |(_, zone)| zone)
    }
}

//! The place that goes with a chunk.

use super::super::held::told;
use super::super::identity::{Identity, Position};
use super::super::tail::Tail;
use super::Reader;
use crate::ack::place::{FileOf, NOWHERE, Place};
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

impl Reader {
    /// The place behind a chunk, where it can be told: not as long as the keys are not on disk, nor of a copy that stands in
    /// for contents that are on their way from elsewhere.
    /// The chunk begins at `from`.
    pub(super) fn place(&self, tail: &mut Tail, from: u64, at: &Position) -> Option<Place> {
        let Tail { generation, identity, paths, packed, for_sinks, .. } = tail;
        if !self.keys_kept || for_sinks.stands_in() {
            return None;
        }
        let file = for_sinks.file(*generation, || self.file_of(*generation, *identity, packed.is_some(), paths.here()));
        let held = for_sinks.held(at.offset);
        // Container lines come in the order in which they are whole.
        let from = if tail.parts.is_some() { NOWHERE } else { from };
        Some(Place { file, at: told(at), from, held })
    }

    fn file_of(&self, generation: u64, identity: Identity, packed: bool, path: &Arc<Path>) -> FileOf {
        let Identity { device, inode, birth } = identity;
        let mut seed = [0; 32];
        for (i, n) in [device, inode, birth as u64, generation].into_iter().enumerate() {
            seed[i * 8..i * 8 + 8].copy_from_slice(&n.to_le_bytes());
        }
        FileOf {
            source: self.source.clone(),
            keys: self.hasher.keys,
            generation,
            identity: (device, inode, birth),
            packed,
            path: path.clone(),
            ids: xxh3_128(&seed),
        }
    }
}

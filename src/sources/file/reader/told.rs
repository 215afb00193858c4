//! The place that goes with a chunk.

use super::super::held::told;
use super::super::identity::{Identity, Position};
use super::super::tail::Tail;
use super::Reader;
use crate::ack::place::{FileOf, NOWHERE, Place};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

impl Reader {
    /// The place behind a chunk, where it can be told: not as long as the keys are not on disk, nor of a copy that stands in
    /// for contents that are on their way from elsewhere.
    /// The chunk begins at `from`.
    pub(super) fn place(&self, tail: &mut Tail, from: u64, at: &Position) -> Option<Place> {
        if !self.keys_kept || tail.stands_in {
            return None;
        }
        let file = match &tail.told {
            Some(file) if file.generation == tail.generation => file.clone(),
            _ => {
                let file = Arc::new(self.file_of(tail));
                tail.told = Some(file.clone());
                file
            }
        };
        let held = tail.spared.as_ref().map(|spared| spared.sinks().clone());
        if tail.spared.as_ref().is_some_and(|spared| at.offset >= spared.upto()) {
            tail.spared = None;
        }
        // Container lines come in the order in which they are whole.
        let from = if tail.parts.is_some() { NOWHERE } else { from };
        Some(Place { file, at: told(at), from, held })
    }

    fn file_of(&self, tail: &Tail) -> FileOf {
        let Identity { device, inode, birth } = tail.identity;
        let mut seed = [0; 32];
        for (i, n) in [device, inode, birth as u64, tail.generation].into_iter().enumerate() {
            seed[i * 8..i * 8 + 8].copy_from_slice(&n.to_le_bytes());
        }
        FileOf {
            source: self.source.clone(),
            keys: self.hasher.keys,
            generation: tail.generation,
            identity: (device, inode, birth),
            packed: tail.packed.is_some(),
            path: tail.path.clone(),
            ids: xxh3_128(&seed),
        }
    }
}

//! The position file: which records are settled, in two alternating checksummed slots.
//!
//! A slot is one page, so that a torn write spoils one slot at most. Losing the newest slot gives repeats, never gaps.

use super::record::MAX_NUMBER;
use super::settled::Settled;

/// Bytes of one slot.
pub(crate) const SLOT: usize = 4096;
/// Bytes of the file.
pub(crate) const FILE: u64 = 2 * SLOT as u64;

const MAGIC: [u8; 8] = *b"TgPosit1";
const HEAD: usize = 64;
/// Most settled runs that a slot holds; those above are forgotten at a restart, which gives repeats.
pub(crate) const MAX_RUNS: usize = (SLOT - HEAD - 4) / 24;

/// What a slot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The higher of two slots counts.
    pub(crate) generation: u64,
    /// Settled records.
    pub(crate) settled: Settled,
    /// All records with lower numbers were acknowledged to their sources.
    pub(crate) promised: u64,
    /// Events written before the record `promised`.
    pub(crate) promised_events: u64,
}

impl Position {
    /// The slot's bytes. What does not fit of `settled` is left out, highest first; the position that was really saved
    /// is returned beside it.
    pub(crate) fn to_bytes(&self) -> ([u8; SLOT], Settled) {
        let runs: Vec<_> = self.settled.runs().take(MAX_RUNS).collect();
        let mut b = [0; SLOT];
        b[..8].copy_from_slice(&MAGIC);
        b[8..12].copy_from_slice(&(runs.len() as u32).to_le_bytes());
        let fixed =
            [self.generation, self.settled.low(), self.settled.low_events(), self.promised, self.promised_events];
        for (i, n) in fixed.into_iter().enumerate() {
            b[16 + i * 8..24 + i * 8].copy_from_slice(&n.to_le_bytes());
        }
        for (i, (from, to, events)) in runs.iter().enumerate() {
            for (j, n) in [from, to, events].into_iter().enumerate() {
                let at = HEAD + i * 24 + j * 8;
                b[at..at + 8].copy_from_slice(&n.to_le_bytes());
            }
        }
        let crc = crc32c::crc32c(&b[..SLOT - 4]);
        b[SLOT - 4..].copy_from_slice(&crc.to_le_bytes());
        (b, Settled::new(self.settled.low(), self.settled.low_events(), &runs))
    }

    /// Reads a slot; `None` where it is none, or damaged.
    pub(crate) fn from_bytes(b: &[u8; SLOT]) -> Option<Self> {
        let u64_at = |at: usize| b[at..].first_chunk().map_or(0, |c| u64::from_le_bytes(*c));
        let u32_at = |at: usize| b[at..].first_chunk().map_or(0, |c| u32::from_le_bytes(*c));
        let count = u32_at(8) as usize;
        if b[..8] != MAGIC || count > MAX_RUNS || u32_at(SLOT - 4) != crc32c::crc32c(&b[..SLOT - 4]) {
            return None;
        }
        let mut numbers = (16..56).step_by(8).chain((HEAD..HEAD + count * 24).step_by(8));
        if numbers.any(|at| u64_at(at) > MAX_NUMBER) {
            return None;
        }
        let places = (0..count).map(|i| HEAD + i * 24);
        let runs: Vec<_> = places.map(|at| (u64_at(at), u64_at(at + 8), u64_at(at + 16))).collect();
        Some(Position {
            generation: u64_at(16),
            settled: Settled::new(u64_at(24), u64_at(32), &runs),
            promised: u64_at(40),
            promised_events: u64_at(48),
        })
    }

    /// The newer of two slots and which it is; `None` where neither can be read.
    pub(crate) fn newest(file: &[u8]) -> Option<(usize, Position)> {
        let slot = |i: usize| Some((i, Position::from_bytes(file.get(i * SLOT..)?.first_chunk()?)?));
        [slot(0), slot(1)].into_iter().flatten().max_by_key(|(_, p)| p.generation)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn position(generation: u64, runs: u64) -> Position {
        let runs: Vec<_> = (0..runs).map(|n| (20 + n * 10, 25 + n * 10, 7)).collect();
        let settled = Settled::new(10, 100, &runs);
        Position { generation, settled, promised: 9000, promised_events: 90_000 }
    }

    #[test]
    fn a_slot_comes_back_and_no_flipped_byte_is_accepted() {
        let (bytes, saved) = position(3, 100).to_bytes();
        assert_eq!(saved, position(3, 100).settled);
        assert_eq!(Position::from_bytes(&bytes), Some(position(3, 100)));
        for at in 0..SLOT {
            let mut bad = bytes;
            bad[at] ^= 0x41;
            assert_eq!(Position::from_bytes(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_the_top() {
        let (bytes, saved) = position(3, 400).to_bytes();
        let back = Position::from_bytes(&bytes).unwrap();
        assert_eq!(back.settled, saved);
        assert_eq!(saved, position(3, MAX_RUNS as u64).settled);
    }

    #[test]
    fn the_newest_readable_slot_counts() {
        let mut file = [position(7, 1).to_bytes().0, position(8, 1).to_bytes().0].concat();
        assert_eq!(Position::newest(&file).unwrap(), (1, position(8, 1)));
        file[SLOT + 50] ^= 1;
        assert_eq!(Position::newest(&file).unwrap(), (0, position(7, 1)));
        file[50] ^= 1;
        assert_eq!(Position::newest(&file), None);
        assert_eq!(Position::newest(&[]), None);
    }
}

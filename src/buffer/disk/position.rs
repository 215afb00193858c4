//! The position file: which records are settled, in two alternating checksummed slots, and behind them how far
//! acknowledgement has come, in two alternating marks.
//!
//! A torn write spoils one slot or one mark at most. Losing the newest slot gives repeats, never gaps. A mark is written
//! before each acknowledgement and not synced: after the end of a process it tells what was acknowledged exactly, after
//! that of the machine at least so much of it as was noted by then.

use super::record::MAX_NUMBER;
use super::settled::Settled;
use super::within::Within;

/// Bytes of one slot.
pub(crate) const SLOT: usize = 8192;
/// Bytes of a slot of version 1.
const OLD_SLOT: usize = 4096;
/// Where the marks are, and how far apart: in sectors of their own.
const MARKS: usize = 2 * SLOT;
const MARK_STEP: usize = 512;
/// Bytes of a mark.
pub(crate) const MARK: usize = 48;
/// Bytes of the file.
pub(crate) const FILE: u64 = MARKS as u64 + 4096;

/// First bytes of a slot, before one digit: the version.
const MAGIC: [u8; 7] = *b"TgPosit";
const VERSION: u8 = 2;
const MARK_MAGIC: [u8; 8] = *b"TgPromis";
const HEAD: usize = 64;
/// Most settled runs that a slot holds; those above are forgotten at a restart, which gives repeats.
pub(crate) const MAX_RUNS: usize = (OLD_SLOT - HEAD - 4) / 24;

/// What a slot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The higher of two slots counts.
    pub(crate) generation: u64,
    /// Settled records.
    pub(crate) settled: Settled,
    /// Records that are settled in part, by number.
    pub(crate) within: Vec<(u64, Within)>,
    /// All records with lower numbers were acknowledged to their sources.
    pub(crate) promised: u64,
    /// Events written before the record `promised`.
    pub(crate) promised_events: u64,
    /// Checksum of the slot of version 1 that was the newest when this program took over; 0 for none.
    pub(crate) follows: u32,
}

/// How far acknowledgement has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The higher of two marks counts.
    pub(crate) generation: u64,
    /// The boot of the machine in which it was written; 0 where that is not known.
    pub(crate) boot: u64,
    /// All records with lower numbers were acknowledged to their sources, or are about to be.
    pub(crate) promised: u64,
    /// Events written before the record `promised`.
    pub(crate) promised_events: u64,
    /// As in [`Position`].
    pub(crate) follows: u32,
}

/// What a position file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// The newest readable slot and its place. The next one goes to the other place.
    pub(crate) position: Option<(usize, Position)>,
    /// Checksum of the newest slot of version 1, where one is there still; what is written now follows it.
    pub(crate) follows: u32,
    /// The newest readable mark.
    pub(crate) mark: Option<Mark>,
    /// It was written by a later program, with this version.
    pub(crate) newer: Option<u8>,
}

impl Noted {
    /// Every record below this number was acknowledged; and the events written before it.
    pub(crate) fn promised(&self) -> (u64, u64) {
        let slot = self.position.as_ref().map_or((0, 0), |(_, p)| (p.promised, p.promised_events));
        slot.max(self.mark.map_or((0, 0), |m| (m.promised, m.promised_events)))
    }
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    b[at..].first_chunk().map_or(0, |c| u64::from_le_bytes(*c))
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    b[at..].first_chunk().map_or(0, |c| u32::from_le_bytes(*c))
}

/// Whether the last four bytes are the checksum of what is before them.
fn is_whole(b: &[u8]) -> bool {
    b.len().checked_sub(4).is_some_and(|end| u32_at(b, end) == crc32c::crc32c(&b[..end]))
}

impl Mark {
    /// Where a mark of this generation stands in the file.
    pub(crate) fn place(self) -> u64 {
        (MARKS + self.generation as usize % 2 * MARK_STEP) as u64
    }

    /// The mark's bytes.
    pub(crate) fn to_bytes(self) -> [u8; MARK] {
        let mut b = [0; MARK];
        b[..8].copy_from_slice(&MARK_MAGIC);
        let fields = [self.generation, self.boot, self.promised, self.promised_events];
        for (i, n) in fields.into_iter().enumerate() {
            b[8 + i * 8..16 + i * 8].copy_from_slice(&n.to_le_bytes());
        }
        b[40..44].copy_from_slice(&self.follows.to_le_bytes());
        let crc = crc32c::crc32c(&b[..MARK - 4]);
        b[MARK - 4..].copy_from_slice(&crc.to_le_bytes());
        b
    }

    /// Reads a mark; `None` where it is none, or damaged.
    fn from_bytes(b: &[u8]) -> Option<Self> {
        if b.len() != MARK || b[..8] != MARK_MAGIC || !is_whole(b) {
            return None;
        }
        let [generation, boot, promised, promised_events] = [8, 16, 24, 32].map(|at| u64_at(b, at));
        let fits = [generation, promised, promised_events].into_iter().all(|n| n <= MAX_NUMBER);
        fits.then_some(Mark { generation, boot, promised, promised_events, follows: u32_at(b, 40) })
    }
}

impl Position {
    /// The slot's bytes. What does not fit of `settled` and `within` is left out, highest first; the settled records that
    /// were really saved are returned beside it.
    pub(crate) fn to_bytes(&self) -> ([u8; SLOT], Settled) {
        let runs: Vec<_> = self.settled.runs().take(MAX_RUNS).collect();
        let mut b = [0; SLOT];
        b[..7].copy_from_slice(&MAGIC);
        b[7] = b'0' + VERSION;
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
        let (mut at, mut count, mut places) = (HEAD + runs.len() * 24, 0u32, Vec::new());
        for (seq, within) in &self.within {
            places.clear();
            within.to_bytes(&mut places);
            let end = at + 12 + places.len();
            if end > SLOT - 4 {
                break;
            }
            b[at..at + 8].copy_from_slice(&seq.to_le_bytes());
            b[at + 8..at + 12].copy_from_slice(&(places.len() as u32).to_le_bytes());
            b[at + 12..end].copy_from_slice(&places);
            (at, count) = (end, count + 1);
        }
        b[12..16].copy_from_slice(&count.to_le_bytes());
        b[56..60].copy_from_slice(&self.follows.to_le_bytes());
        let crc = crc32c::crc32c(&b[..SLOT - 4]);
        b[SLOT - 4..].copy_from_slice(&crc.to_le_bytes());
        (b, Settled::new(self.settled.low(), self.settled.low_events(), &runs))
    }

    /// Reads a slot of this version or the one before; `None` where it is none, or damaged.
    fn from_bytes(b: &[u8]) -> Option<Self> {
        let version = match b.len() {
            SLOT => VERSION,
            OLD_SLOT => 1,
            _ => return None,
        };
        if b[..7] != MAGIC || b[7] != b'0' + version || !is_whole(b) {
            return None;
        }
        let count = u32_at(b, 8) as usize;
        let mut numbers = (16..56).step_by(8).chain((HEAD..HEAD + count.min(MAX_RUNS) * 24).step_by(8));
        if count > MAX_RUNS || numbers.any(|at| u64_at(b, at) > MAX_NUMBER) {
            return None;
        }
        let runs: Vec<_> = (0..count)
            .map(|i| HEAD + i * 24)
            .map(|at| (u64_at(b, at), u64_at(b, at + 8), u64_at(b, at + 16)))
            .collect();
        let mut within = Vec::new();
        let mut rest = &b[HEAD + count * 24..b.len() - 4];
        for _ in 0..if version == 1 { 0 } else { u32_at(b, 12) } {
            let (head, tail) = rest.split_at_checked(12)?;
            let (places, tail) = tail.split_at_checked(u32_at(head, 8) as usize)?;
            within.push((u64_at(head, 0), Within::from_bytes(places)?));
            rest = tail;
        }
        Some(Position {
            generation: u64_at(b, 16),
            settled: Settled::new(u64_at(b, 24), u64_at(b, 32), &runs),
            within,
            promised: u64_at(b, 40),
            promised_events: u64_at(b, 48),
            follows: if version == 1 { 0 } else { u32_at(b, 56) },
        })
    }
}

impl Noted {
    /// What the file says, as far as it can be read.
    pub(crate) fn read(file: &[u8]) -> Noted {
        let at = |from: usize, len: usize| file.get(from..from + len);
        let slot = |i: usize, from: usize, len: usize| Some((i, Position::from_bytes(at(from, len)?)?));
        let newest = |slots: [Option<(usize, Position)>; 2]| slots.into_iter().flatten().max_by_key(|s| s.1.generation);
        let new = newest([slot(0, 0, SLOT), slot(1, SLOT, SLOT)]);
        // Slots of version 1 lie where slot 0 is now, so slot 1 is written first. Where they are there, and what is newer by
        // its version does not follow them, an earlier program has used the folder since.
        let old = newest([slot(0, 0, OLD_SLOT), slot(1, OLD_SLOT, OLD_SLOT)]);
        let follows = old.as_ref().map_or(0, |(i, _)| u32_at(file, i * OLD_SLOT + OLD_SLOT - 4));
        let new = new.filter(|(_, position)| follows == 0 || position.follows == follows);
        let marks = [0, 1].map(|i| Mark::from_bytes(at(MARKS + i * MARK_STEP, MARK)?));
        let marks = marks.into_iter().flatten().filter(|mark| follows == 0 || mark.follows == follows);
        let version = |slot: &[u8]| (slot[..7] == MAGIC && is_whole(slot)).then(|| slot[7].wrapping_sub(b'0'));
        let versions = [0, SLOT].map(|from| at(from, SLOT).and_then(version));
        Noted {
            position: new.or(old.map(|(_, position)| (0, position))),
            follows,
            mark: marks.max_by_key(|m| m.generation),
            newer: versions.into_iter().flatten().find(|version| *version > VERSION),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn position(generation: u64, runs: u64) -> Position {
        let runs: Vec<_> = (0..runs).map(|n| (20 + n * 10, 25 + n * 10, 7)).collect();
        let settled = Settled::new(10, 100, &runs);
        let mut within = Within::default();
        within.add([1..3, 10..4000].into_iter());
        let within = vec![(13, within)];
        Position { generation, settled, within, promised: 9000, promised_events: 90_000, follows: 0 }
    }

    /// As version 1 wrote it.
    fn old_slot(position: &Position) -> [u8; OLD_SLOT] {
        let mut b = [0; OLD_SLOT];
        b.copy_from_slice(&Position { within: Vec::new(), ..position.clone() }.to_bytes().0[..OLD_SLOT]);
        b[7] = b'1';
        let crc = crc32c::crc32c(&b[..OLD_SLOT - 4]);
        b[OLD_SLOT - 4..].copy_from_slice(&crc.to_le_bytes());
        b
    }

    #[test]
    fn a_slot_of_version_1_counts_until_one_that_follows_it_is_there_and_again_when_it_was_written_later() {
        let mut file = vec![0; FILE as usize];
        for (i, generation) in [(0, 7), (1, 6)] {
            file[i * OLD_SLOT..(i + 1) * OLD_SLOT].copy_from_slice(&old_slot(&position(generation, 1)));
        }
        let noted = Noted::read(&file);
        let (slot, old) = noted.position.unwrap();
        assert_eq!((slot, old.generation, old.within.len()), (0, 7, 0));
        let next = Position { follows: noted.follows, ..position(8, 1) };
        file[SLOT..2 * SLOT].copy_from_slice(&next.to_bytes().0);
        let mark = Mark { generation: 1, boot: 5, promised: 9500, promised_events: 95_000, follows: noted.follows };
        let at = mark.place() as usize;
        file[at..at + MARK].copy_from_slice(&mark.to_bytes());
        assert_eq!(Noted::read(&file).position, Some((1, next.clone())));
        assert_eq!(Noted::read(&file).mark, Some(mark));
        // The program before was started once more: it goes on where it was, and this one after it.
        let mut again = file.clone();
        again[OLD_SLOT..2 * OLD_SLOT].copy_from_slice(&old_slot(&position(8, 0)));
        let noted = Noted::read(&again);
        assert_eq!((noted.position.unwrap().1.settled, noted.mark), (position(8, 0).settled, None));
        // Or when nothing of it was left: it begins anew.
        file[..SLOT].copy_from_slice(&Position { follows: noted.follows, ..position(9, 1) }.to_bytes().0);
        assert_eq!(Noted::read(&file).position.unwrap().1.generation, 9);
        file[..OLD_SLOT].copy_from_slice(&old_slot(&position(1, 0)));
        let noted = Noted::read(&file);
        assert_eq!((noted.position.unwrap().1.generation, noted.mark), (1, None));
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
        let mut large = position(3, 400);
        let every_other = (0..8000).map(|n| n * 2..n * 2 + 1);
        let mut within = Within::default();
        within.add(every_other);
        large.within.extend((14..20).map(|seq| (seq, within.clone())));
        let (bytes, saved) = large.to_bytes();
        let back = Position::from_bytes(&bytes).unwrap();
        assert_eq!(back.settled, saved);
        assert_eq!(saved, position(3, MAX_RUNS as u64).settled);
        assert_eq!(back.within, large.within[..3]);
    }

    #[test]
    fn the_newest_readable_slot_counts() {
        let mut file = [position(7, 1).to_bytes().0, position(8, 1).to_bytes().0].concat();
        let newest = |file: &[u8]| Noted::read(file).position;
        assert_eq!(newest(&file), Some((1, position(8, 1))));
        file[SLOT + 50] ^= 1;
        assert_eq!(newest(&file), Some((0, position(7, 1))));
        file[50] ^= 1;
        assert_eq!(newest(&file), None);
        assert_eq!(newest(&[]), None);
    }

    #[test]
    fn the_newest_readable_mark_counts_and_the_further_of_mark_and_slot() {
        let mark =
            |generation, promised| Mark { generation, boot: 5, promised, promised_events: promised * 10, follows: 0 };
        let mut file = [position(7, 1).to_bytes().0.to_vec(), vec![0; SLOT + 4096]].concat();
        assert_eq!(Noted::read(&file).promised(), (9000, 90_000));
        for m in [mark(3, 8000), mark(4, 9500)] {
            let at = m.place() as usize;
            file[at..at + MARK].copy_from_slice(&m.to_bytes());
        }
        assert_eq!(Noted::read(&file).mark, Some(mark(4, 9500)));
        assert_eq!(Noted::read(&file).promised(), (9500, 95_000));
        let at = mark(4, 0).place() as usize;
        for byte in 0..MARK {
            let mut bad = file.clone();
            bad[at + byte] ^= 0x41;
            assert_eq!(Noted::read(&bad).mark, Some(mark(3, 8000)), "byte {byte}");
            assert_eq!(Noted::read(&bad).promised(), (9000, 90_000));
        }
    }

    #[test]
    fn a_slot_of_a_later_version_is_known_as_such_where_it_is_whole() {
        let (mut bytes, _) = position(3, 1).to_bytes();
        bytes[7] = b'3';
        assert_eq!(Noted::read(&bytes), Noted::default(), "damage is no version");
        let crc = crc32c::crc32c(&bytes[..SLOT - 4]);
        bytes[SLOT - 4..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Noted::read(&bytes).newer, Some(3));
    }
}

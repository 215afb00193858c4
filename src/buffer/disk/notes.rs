//! What the sink has settled since the position was saved, and how far files of sources are held: appended at each verdict and
//! never synced, so that it survives the end of the process and costs next to nothing.
//!
//! It is believed only in the boot of the machine that wrote it, and only where no program that does not know it has written
//! segments since. Losing it gives repeats, never gaps. The layout stands in [the module above](super).

use super::segment;
use super::settled::Settled;
use super::within::{Within, put_varint, take_varint};
use crate::ack::place::{At, Cut, FileOf, Island, Place, Places};
use crate::storage::{OpenFor, Storage, StoredFile};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file, and what replaces it.
pub(super) const NOTES: &str = "settled";
pub(super) const NEW: &str = "settled.new";

/// So many files more than at its beginning are spoken of in one file of notes at most: they are kept in memory for that.
const MORE_FILES: usize = 256;

const MAGIC: [u8; 8] = *b"TgSettld";
/// 1 is read too.
const VERSION: u32 = 2;
/// Bytes before the first note.
const HEADER: usize = 32;

const FILE: u8 = 1;
const HELD: u8 = 2;
const SETTLED: u8 = 3;
const PART: u8 = 4;
const BEFORE: u8 = 5;
const PROMISED: u8 = 6;
/// Of version 1.
const OUT_OF_TURN: u8 = 7;
const PIECE: u8 = 8;
/// Stands for the record of an island of a run before.
const NO_RECORD: u64 = u64::MAX;

/// Bytes of the file at most, in a buffer of this size.
pub(super) fn limit(max_bytes: u64) -> u64 {
    (max_bytes / 64).clamp(16 << 10, 512 << 10)
}

/// What is noted in a new file.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// All records below, and so many events, were written or settled.
    pub(super) promised: (u64, u64),
    pub(super) settled: Settled,
    pub(super) within: Vec<(u64, Within)>,
    /// Where those begin that are of records not written yet.
    pub(super) pieces: Vec<(u64, Island)>,
    pub(super) held: Vec<Place>,
    /// Of records that were settled before they were written, and what is before them was not.
    pub(super) waiting: Vec<(u64, Place)>,
    /// What is settled, with something before it that is not held.
    pub(super) islands: Vec<Island>,
}

/// Writes notes.
pub(super) struct Notes {
    storage: Arc<dyn Storage>,
    folder: PathBuf,
    limit: u64,
    /// Segments from this one on know of it.
    first_epoch: u64,
    /// `None` where it could not be written; what would be noted is lost until it is renewed.
    file: Option<Arc<dyn StoredFile>>,
    at: u64,
    /// Numbers that stand for files in it.
    files: Vec<Arc<FileOf>>,
    most_files: usize,
    /// As it was noted last.
    promised: (u64, u64),
    buf: Vec<u8>,
}

impl Notes {
    /// Writes nothing before it is renewed.
    pub(super) fn new(storage: Arc<dyn Storage>, folder: &Path, max_bytes: u64, first_epoch: u64) -> Self {
        let (folder, limit) = (folder.to_owned(), limit(max_bytes));
        Notes {
            storage,
            folder,
            limit,
            first_epoch,
            file: None,
            at: 0,
            files: Vec::new(),
            most_files: usize::MAX,
            promised: (0, 0),
            buf: Vec::new(),
        }
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.at
    }

    /// Whether notes are lost.
    pub(super) fn is_lost(&self) -> bool {
        self.file.is_none()
    }

    /// Notes that record `seq` is settled, when all records below a number, with so many events, were written; `false`
    /// where there is no room for it.
    pub(super) fn settled(&mut self, seq: u64, events: u64, promised: (u64, u64)) -> bool {
        self.buf.clear();
        if promised != self.promised {
            self.put_promised(promised);
        }
        self.put_settled(seq, events, None);
        self.append()
    }

    /// Notes that record `seq` is settled, which was not written, and where its source came with it; `false` where there is no
    /// room for it.
    pub(super) fn unwritten(&mut self, seq: u64, place: Option<&Place>) -> bool {
        self.buf.clear();
        self.put_settled(seq, 0, place);
        self.append()
    }

    /// Notes events of record `seq` that are settled, by their places in it and, where it is not written, by where they
    /// begin in their file; `false` where there is no room for it.
    pub(super) fn part(&mut self, seq: u64, runs: impl Iterator<Item = Range<u32>>, island: Option<&Island>) -> bool {
        self.buf.clear();
        let mut within = Within::default();
        within.add(runs);
        match island {
            Some(island) => self.put_piece(seq, &within, island),
            None => put_part(&mut self.buf, seq, &within),
        }
        self.append()
    }

    fn put_piece(&mut self, seq: u64, within: &Within, island: &Island) {
        let number = self.number(&island.file);
        note(&mut self.buf, |out| {
            out.push(PIECE);
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(&number.to_le_bytes());
            island.at.put(out);
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            within.to_bytes(out);
            let len = (out.len() - start - 4) as u32;
            out[start..start + 4].copy_from_slice(&len.to_le_bytes());
            let mut at = 0;
            for part in &island.parts {
                put_varint(part.start - at, out);
                put_varint(part.end - part.start, out);
                at = part.end;
            }
        });
    }

    fn put_promised(&mut self, promised: (u64, u64)) {
        self.promised = promised;
        note(&mut self.buf, |out| {
            out.push(PROMISED);
            out.extend_from_slice(&promised.0.to_le_bytes());
            out.extend_from_slice(&promised.1.to_le_bytes());
        });
    }

    fn put_settled(&mut self, seq: u64, events: u64, place: Option<&Place>) {
        let number = place.map(|place| self.number(&place.file));
        note(&mut self.buf, |out| {
            out.push(SETTLED);
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(&events.to_le_bytes());
            out.push(u8::from(place.is_some()));
            if let (Some(place), Some(number)) = (place, number) {
                put_place(number, place, out);
            }
        });
    }

    /// The number of a place's file; one that is new is noted with it.
    fn number(&mut self, of: &Arc<FileOf>) -> u32 {
        if let Some(n) = self.files.iter().rposition(|file| file.is(of)) {
            return n as u32;
        }
        let number = self.files.len() as u32;
        self.files.push(of.clone());
        note(&mut self.buf, |out| {
            out.push(FILE);
            out.extend_from_slice(&number.to_le_bytes());
            of.put(out);
        });
        number
    }

    fn append(&mut self) -> bool {
        let Some(file) = &self.file else { return true };
        if self.at + self.buf.len() as u64 > self.limit || self.files.len() > self.most_files {
            return false;
        }
        if file.write_at(&self.buf, self.at).is_err() {
            // What is torn would hide what follows.
            self.file = None;
            return true;
        }
        self.at += self.buf.len() as u64;
        true
    }

    /// Begins anew, with what is known now.
    pub(super) fn renew(&mut self, snapshot: &Snapshot) {
        self.file = None;
        if let Err(error) = self.write(snapshot) {
            tracing::debug!(folder = %self.folder.display(), %error, "the disk buffer cannot note what is settled");
            // Those of a run before know nothing of what comes.
            let _gone = self.storage.remove(&self.folder.join(NOTES));
        }
    }

    fn write(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let mut head = Vec::with_capacity(HEADER);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&self.storage.boot().to_le_bytes());
        head.extend_from_slice(&self.first_epoch.to_le_bytes());
        let crc = crc32c::crc32c(&head);
        head.extend_from_slice(&crc.to_le_bytes());
        self.files.clear();
        self.buf = head;
        self.put_promised(snapshot.promised);
        self.put_before(&snapshot.settled);
        let most = (self.limit / 2) as usize;
        for (seq, within) in &snapshot.within {
            if self.buf.len() < most {
                put_part(&mut self.buf, *seq, within);
            }
        }
        for place in &snapshot.held {
            if self.buf.len() >= most {
                break;
            }
            let number = self.number(&place.file);
            note(&mut self.buf, |out| {
                out.push(HELD);
                put_place(number, place, out);
            });
        }
        let islands = snapshot.islands.iter().map(|island| (NO_RECORD, island));
        for (seq, island) in islands.chain(snapshot.pieces.iter().map(|(seq, island)| (*seq, island))) {
            if self.buf.len() < most {
                self.put_piece(seq, &Within::default(), island);
            }
        }
        for (seq, place) in &snapshot.waiting {
            if self.buf.len() < most {
                self.put_settled(*seq, 0, Some(place));
            }
        }
        let new = self.folder.join(NEW);
        let file = self.storage.open(&new, OpenFor::Write)?;
        if file.len()? > 0 {
            file.set_len(0)?;
        }
        file.write_at(&self.buf, 0)?;
        self.storage.rename(&new, &self.folder.join(NOTES))?;
        (self.at, self.file) = (self.buf.len() as u64, Some(file));
        self.most_files = self.files.len() + MORE_FILES;
        Ok(())
    }

    fn put_before(&mut self, settled: &Settled) {
        let runs: Vec<_> = settled.runs().take(super::position::MAX_RUNS).collect();
        note(&mut self.buf, |out| {
            out.push(BEFORE);
            out.extend_from_slice(&settled.low().to_le_bytes());
            out.extend_from_slice(&settled.low_events().to_le_bytes());
            out.extend_from_slice(&(runs.len() as u32).to_le_bytes());
            for n in runs.into_iter().flat_map(|(from, to, events)| [from, to, events]) {
                out.extend_from_slice(&n.to_le_bytes());
            }
        });
    }
}

fn put_place(number: u32, place: &Place, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&place.from.to_le_bytes());
    place.at.put(out);
}

/// Parts of a file, in order.
fn parts_of(mut bytes: &[u8]) -> Option<Vec<Range<u64>>> {
    let (mut parts, mut at) = (Vec::new(), 0u64);
    while !bytes.is_empty() {
        let start = at.checked_add(take_varint(&mut bytes)?)?;
        at = start.checked_add(take_varint(&mut bytes)?)?;
        parts.push(start..at);
    }
    Some(parts)
}

fn put_part(out: &mut Vec<u8>, seq: u64, within: &Within) {
    note(out, |out| {
        out.push(PART);
        out.extend_from_slice(&seq.to_le_bytes());
        within.to_bytes(out);
    });
}

/// Appends a note with its length and checksum before it.
fn note(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    body(out);
    let (len, crc) = ((out.len() - start - 8) as u32, crc32c::crc32c(&out[start + 8..]));
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// What notes say.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    pub(super) first_epoch: u64,
    /// All records below, and so many events, were written or settled.
    pub(super) promised: (u64, u64),
    /// Records settled before it was begun: low, events below, runs.
    before: Option<(u64, u64, Vec<(u64, u64, u64)>)>,
    /// Records settled since, with their written events.
    settled: BTreeMap<u64, u64>,
    pub(super) within: BTreeMap<u64, Within>,
    pub(super) held: Places,
    pub(super) waiting: BTreeMap<u64, Place>,
    /// What was settled of records before they were written: those that are on disk need it not.
    pub(super) pieces: Vec<(u64, Island)>,
}

impl Heard {
    /// The notes in a folder, as far as they are whole; `None` where there are none of this boot.
    pub(super) fn read(storage: &dyn Storage, folder: &Path) -> Option<Heard> {
        let file = storage.open(&folder.join(NOTES), OpenFor::Read).ok()?;
        let mut bytes = vec![0; usize::try_from(file.len().ok()?).ok().filter(|len| *len <= 4 << 20)?];
        let got = file.read_at(&mut bytes, 0).ok()?;
        Heard::of(bytes.get(..got)?, storage.boot())
    }

    fn of(bytes: &[u8], boot: u64) -> Option<Heard> {
        let head = bytes.get(..HEADER)?;
        let mut cut = Cut(head);
        if cut.take(8)? != MAGIC || !(1..=VERSION).contains(&cut.u32()?) {
            return None;
        }
        let (of_boot, first_epoch) = (cut.u64()?, cut.u64()?);
        if cut.u32()? != crc32c::crc32c(&head[..HEADER - 4]) || boot == 0 || of_boot != boot {
            return None;
        }
        let mut heard = Heard { first_epoch, ..Heard::default() };
        let mut files = Vec::new();
        let mut left = Cut(&bytes[HEADER..]);
        while heard.note(&mut left, &mut files).is_some() {}
        Some(heard)
    }

    fn note(&mut self, left: &mut Cut<'_>, files: &mut Vec<Arc<FileOf>>) -> Option<()> {
        let (len, crc) = (left.u32()? as usize, left.u32()?);
        let body = left.take(len)?;
        if crc32c::crc32c(body) != crc {
            return None;
        }
        let mut body = Cut(body);
        let place = |body: &mut Cut<'_>, files: &[Arc<FileOf>]| {
            let file = files.get(body.u32()? as usize)?.clone();
            Some(Place { file, from: body.u64()?, at: At::cut(body)?, held: None })
        };
        match body.u8()? {
            FILE => {
                if body.u32()? as usize != files.len() {
                    return None;
                }
                files.push(Arc::new(FileOf::cut(&mut body)?));
            }
            OUT_OF_TURN => {
                let island = Island::of(&place(&mut body, files)?)?;
                self.pieces.push((NO_RECORD, island));
            }
            PIECE => {
                let seq = body.u64()?;
                let file = files.get(body.u32()? as usize)?.clone();
                let at = At::cut(&mut body)?;
                let rows = body.u32()? as usize;
                let rows = Within::from_bytes(body.take(rows)?)?;
                let parts = parts_of(body.0)?;
                self.pieces.push((seq, Island { file, at, parts }));
                if rows.events() > 0 {
                    self.within.entry(seq).or_default().add(rows.runs());
                }
            }
            HELD => self.held.note(&place(&mut body, files)?),
            SETTLED => {
                let (seq, events) = (body.u64()?, body.u64()?);
                let known = self.settled.entry(seq).or_default();
                *known = events.max(*known);
                if body.u8()? == 1 {
                    self.waiting.insert(seq, place(&mut body, files)?);
                }
            }
            PROMISED => self.promised = self.promised.max((body.u64()?, body.u64()?)),
            PART => {
                let seq = body.u64()?;
                let more = Within::from_bytes(body.0)?;
                self.within.entry(seq).or_default().add(more.runs());
            }
            BEFORE => {
                let (low, events) = (body.u64()?, body.u64()?);
                let count = body.u32()?;
                let mut runs = Vec::new();
                for _ in 0..count {
                    runs.push((body.u64()?, body.u64()?, body.u64()?));
                }
                self.before = Some((low, events, runs));
            }
            _ => return None,
        }
        Some(())
    }

    /// Whether there are notes.
    pub(super) fn is_there(&self) -> bool {
        self.before.is_some()
    }

    /// Behind the last record that is spoken of: its number must not be given again.
    pub(super) fn end(&self) -> u64 {
        let last = [self.settled.keys().next_back(), self.within.keys().next_back(), self.waiting.keys().next_back()];
        last.into_iter().flatten().max().map_or(0, |seq| seq.saturating_add(1)).max(self.promised.0)
    }

    /// What the position file says is settled, and this. Segments begin at `cuts`.
    pub(super) fn add_to(&self, settled: &Settled, cuts: impl Iterator<Item = u64>) -> Settled {
        // Both are what was settled at some time: the later has all of the earlier.
        let before = self.before.as_ref().map(|(low, events, runs)| Settled::new(*low, *events, runs));
        let age = |s: &Settled| (s.low(), s.events(), s.end());
        let all = before.filter(|before| age(before) > age(settled)).unwrap_or_else(|| settled.clone());
        let cuts: Vec<u64> = cuts.chain(all.runs().map(|run| run.0)).collect();
        let mut all = Settled::cut_at(cuts, all.low(), all.low_events(), all.runs());
        for (seq, events) in &self.settled {
            all.add(*seq, seq.saturating_add(1), *events);
        }
        all
    }
}

/// Whether a segment was written by a program that knows nothing of notes. One without a header yet was written by nobody.
pub(super) fn is_of_before(file: &dyn StoredFile) -> bool {
    let mut head = [0; 12];
    let has_header = matches!(file.read_at(&mut head, 0), Ok(12)) && head[..8] == segment::MAGIC;
    has_header && u32::from_le_bytes([head[8], head[9], head[10], head[11]]) < segment::VERSION
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ack::place::tests::place;
    use crate::storage::sim::Sim;

    fn notes(sim: &Sim) -> Notes {
        let folder = Path::new("/b");
        sim.create_dir(folder).unwrap();
        Notes::new(Arc::new(sim.clone()), folder, 1 << 20, 7)
    }

    #[test]
    fn what_was_noted_is_heard_and_a_torn_end_hides_no_more_than_itself() {
        let sim = Sim::default();
        let mut notes = notes(&sim);
        assert!(notes.settled(1, 1, (2, 1)), "lost without a word");
        let before = Settled::new(4, 40, &[(6, 7, 3)]);
        let snapshot = Snapshot { settled: before.clone(), held: vec![place(1, 5)], ..Snapshot::default() };
        notes.renew(&snapshot);
        assert!(notes.settled(4, 9, (9, 90)) && notes.unwritten(9, Some(&place(1, 8))));
        assert!(notes.part(8, [0..3, 5..6].into_iter(), None) && notes.part(8, std::iter::once(3..4), None));
        let island = |parts: &[Range<u64>]| {
            let Place { file, at, .. } = place(2, 90);
            Island { file, at, parts: parts.to_vec() }
        };
        assert!(notes.part(10, std::iter::once(1..3), Some(&island(&[10..20, 300..u64::MAX]))));
        let heard = Heard::read(&sim, Path::new("/b")).unwrap();
        assert_eq!(heard.first_epoch, 7);
        assert_eq!((heard.held.to_vec(), heard.promised), (vec![place(1, 5)], (9, 90)));
        assert_eq!(heard.waiting.into_iter().collect::<Vec<_>>(), [(9, place(1, 8))]);
        assert_eq!(heard.within[&8].runs().collect::<Vec<_>>(), [0..4, 5..6]);
        assert!(heard.within[&10].runs().eq(std::iter::once(1..3)));
        assert_eq!(heard.pieces, [(10, island(&[10..20, 300..u64::MAX]))]);
        let file = sim.open(Path::new("/b/settled"), OpenFor::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        let boot = sim.boot();
        let all = Heard::of(&bytes, boot).unwrap().add_to(&Settled::new(2, 20, &[]), std::iter::empty());
        assert_eq!((all.low(), all.events()), (5, 52));
        for end in 0..bytes.len() {
            let heard = Heard::of(&bytes[..end], boot);
            assert!(heard.is_none() || end >= HEADER, "{end}");
            let settled = heard.unwrap_or_default().add_to(&before, std::iter::empty());
            assert!(settled.low() == 4 || settled.low() == 5);
        }
        assert!(Heard::of(&bytes, boot + 1).is_none() && Heard::of(&bytes, 0).is_none());
    }

    #[test]
    fn files_that_are_spoken_of_are_kept_in_memory_only_until_there_are_many() {
        let sim = Sim::default();
        sim.create_dir(Path::new("/b")).unwrap();
        let mut notes = Notes::new(Arc::new(sim), Path::new("/b"), 64 << 20, 7);
        let snapshot = Snapshot { held: (0..300).map(|n| place(n, 1)).collect(), ..Snapshot::default() };
        for _ in 0..3 {
            notes.renew(&snapshot);
            let noted = (300..).take_while(|n| notes.unwritten(*n, Some(&place(*n, 1)))).count();
            assert_eq!((noted, notes.files.len()), (MORE_FILES, 300 + MORE_FILES + 1));
        }
    }

    #[test]
    fn a_full_file_says_so_and_is_renewed() {
        let sim = Sim::default();
        let mut notes = notes(&sim);
        notes.renew(&Snapshot::default());
        let mut seq = 0;
        while notes.settled(seq, 1, (0, 0)) {
            seq += 1;
        }
        assert!(seq > 300, "{seq}");
        notes.renew(&Snapshot { settled: Settled::new(seq, seq, &[]), ..Snapshot::default() });
        assert!(notes.settled(seq, 1, (0, 0)));
        let heard = Heard::read(&sim, Path::new("/b")).unwrap();
        assert_eq!(heard.add_to(&Settled::default(), std::iter::empty()).low(), seq + 1);
    }
}

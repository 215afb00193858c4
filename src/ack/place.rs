//! How far the events of a file have come: what a batch says of itself, what sinks keep of it durably, and what a source is
//! told of that at its start.
//!
//! A file source gives each chunk a [`Place`] with its acknowledgement ([`Ack::placed`](crate::ack::Ack::placed)): which file,
//! and the position behind the chunk with the running hash that proves what lies before it. The last batch of a chunk that
//! a sink is given is marked ([`Batch::whole`](crate::event::Batch::whole)): once a sink has all it was given up to that batch, it
//! holds the file up to that place. Whoever keeps batches durably (a disk buffer, the file sink) keeps such places with them
//! and [reports](Report) them at a start; a source [waits](Holdings::wait) for the reports of the sinks that it reaches.
//!
//! What a sink has with something before it that it has not is an [`Island`]: told too, so that it is spared that.
//!
//! A place is only ever a claim of the sink: "what you gave me of your generation G up to there, I have". Whether a file that is
//! there now is that generation, and has those bytes, is for the source to prove. What is not proven is read again.

use crate::sync::Locked;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// One generation of a file, as its source knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOf {
    /// Id of the source.
    pub source: Arc<str>,
    /// Keys of the running hash: of another `data_dir`, or after a reset, the place says nothing.
    pub keys: [u64; 2],
    /// Its number in the source's checkpoint.
    pub generation: u64,
    /// Device, inode, and time of birth in nanoseconds since 1970.
    pub identity: (u64, u64, i64),
    /// It is compressed; places count decompressed bytes.
    pub packed: bool,
    /// Where it was seen last.
    pub path: Arc<Path>,
    /// What the ids of its events are made of.
    pub ids: u128,
}

/// A position in a file, and what proves the bytes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct At {
    /// Bytes before it.
    pub offset: u64,
    /// Hash of the last bytes before it.
    pub mark: u64,
    /// Running hash over all bytes before it; zeros where that is not known.
    pub sum: [u64; 2],
    /// The source's own: within a line that is skipped, parts that were given ahead.
    pub flags: u8,
    /// How far kinds of lines were given ahead; zeros where the offset says everything.
    pub given: [u64; 3],
}

impl At {
    /// Whether more was given at this position than at `other`, of the same file.
    pub fn is_beyond(&self, other: &At) -> bool {
        let key = |at: &At| (at.offset, at.given.iter().fold(0u64, |sum, n| sum.saturating_add(*n)));
        key(self) > key(other)
    }
}

/// How far a file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of which file.
    pub file: Arc<FileOf>,
    /// Up to here.
    pub at: At,
    /// From here: what came with the chunk begins at this offset or behind it. 0 where all before the place is meant, and
    /// [`NOWHERE`] where nothing can be said.
    pub from: u64,
    /// What sinks hold already: set after a start, as long as it is read again.
    pub held: Option<Arc<[Held]>>,
}

/// Where a chunk begins that has events of before what is given with it.
pub const NOWHERE: u64 = u64::MAX;

/// The events that begin in a part of a file are held by a sink. In lists by sink, then in order, none touching the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub sink: usize,
    /// Offset of the first of them, and behind the last.
    pub from: u64,
    /// See there.
    pub to: u64,
}

impl Place {
    /// Whether both are of the same generation of the same file.
    pub fn is_of(&self, other: &FileOf) -> bool {
        self.file.is(other)
    }

    /// Whether sink `n` holds the event at `offset` already.
    pub fn is_held_by(&self, n: usize, offset: u64) -> bool {
        let Some(held) = &self.held else { return false };
        let before = held.partition_point(|held| (held.sink, held.from) <= (n, offset));
        let last = before.checked_sub(1).and_then(|i| held.get(i));
        last.is_some_and(|held| held.sink == n && offset < held.to)
    }
}

/// Events that a sink has with others before them that it has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Island {
    /// Of which file.
    pub file: Arc<FileOf>,
    /// A position behind them, which proves the bytes before it.
    pub at: At,
    /// Where they begin: all that the sink is given and that begin in these parts of the file.
    pub parts: Vec<Range<u64>>,
}

impl Island {
    /// All that came with a chunk; `None` where it has events of before it.
    pub fn of(place: &Place) -> Option<Island> {
        let part = place.from..place.at.offset;
        (place.from != NOWHERE).then(|| Island { file: place.file.clone(), at: place.at, parts: vec![part] })
    }

    /// Joins those with the same proof; parts in order, none touching the next.
    pub fn joined(islands: impl IntoIterator<Item = Island>) -> Vec<Island> {
        let mut all: Vec<Island> = Vec::new();
        for island in islands {
            match all.iter_mut().find(|known| known.at == island.at && *known.file == *island.file) {
                Some(known) => known.parts.extend(island.parts),
                None => all.push(island),
            }
        }
        all.iter_mut().for_each(|island| join(&mut island.parts));
        all
    }
}

/// Puts parts in order and joins those that touch.
pub fn join(parts: &mut Vec<Range<u64>>) {
    parts.retain(|part| !part.is_empty());
    parts.sort_unstable_by_key(|part| part.start);
    parts.dedup_by(|next, part| {
        let touches = next.start <= part.end;
        if touches {
            part.end = part.end.max(next.end);
        }
        touches
    });
}

/// What a sink says at a start that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Up to here all of these files, as far as they are the sink's.
    pub places: Vec<Place>,
    /// And these.
    pub islands: Vec<Island>,
}

impl From<Vec<Place>> for Told {
    fn from(places: Vec<Place>) -> Told {
        Told { places, islands: Vec::new() }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// As bytes

/// Takes numbers and bytes off the front; `None` where there are not enough.
pub struct Cut<'a>(pub &'a [u8]);

impl<'a> Cut<'a> {
    /// So many bytes.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

const PACKED: u8 = 1;
/// In [`At::flags`] as they stand in bytes: numbers of `given` follow.
const GIVEN: u8 = 128;

impl FileOf {
    /// Whether both are the same generation of the same file.
    pub fn is(&self, other: &FileOf) -> bool {
        std::ptr::eq(self, other)
            || (self.generation, self.keys) == (other.generation, other.keys) && self.source == other.source
    }

    /// Appends its bytes: keys 8 and 8, generation 8, device 8, inode 8, birth 8, ids 16, flags 1 (1 packed), then source and path, each
    /// with its length before it (2).
    pub fn put(&self, out: &mut Vec<u8>) {
        let (device, inode, birth) = self.identity;
        for n in [self.keys[0], self.keys[1], self.generation, device, inode, birth as u64] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&self.ids.to_le_bytes());
        out.push(if self.packed { PACKED } else { 0 });
        for bytes in [self.source.as_bytes(), self.path.as_os_str().as_bytes()] {
            let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(&bytes[..usize::from(len)]);
        }
    }

    /// Reads it back.
    pub fn cut(from: &mut Cut<'_>) -> Option<FileOf> {
        let keys = [from.u64()?, from.u64()?];
        let generation = from.u64()?;
        let identity = (from.u64()?, from.u64()?, from.u64()? as i64);
        let ids = u128::from(from.u64()?) | u128::from(from.u64()?) << 64;
        let packed = from.u8()? & PACKED != 0;
        let mut text = || {
            let len = usize::from(from.u16()?);
            from.take(len)
        };
        let source = std::str::from_utf8(text()?).ok()?.into();
        let path = Path::new(OsStr::from_bytes(text()?)).into();
        Some(FileOf { source, keys, generation, identity, packed, path, ids })
    }
}

impl At {
    /// Appends its bytes: offset 8, mark 8, sum 8 and 8, flags 1; with flag 128 `given`, 8 each.
    pub fn put(&self, out: &mut Vec<u8>) {
        for n in [self.offset, self.mark, self.sum[0], self.sum[1]] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        let given = self.given != [0; 3];
        out.push(self.flags & !GIVEN | if given { GIVEN } else { 0 });
        if given {
            self.given.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        }
    }

    /// Reads it back.
    pub fn cut(from: &mut Cut<'_>) -> Option<At> {
        let (offset, mark, sum) = (from.u64()?, from.u64()?, [from.u64()?, from.u64()?]);
        let flags = from.u8()?;
        let given = if flags & GIVEN == 0 { [0; 3] } else { [from.u64()?, from.u64()?, from.u64()?] };
        Some(At { offset, mark, sum, flags: flags & !GIVEN, given })
    }
}

// ---------------------------------------------------------------------------------------------------------------
// What a keeper of batches holds

/// Most files whose places are kept; of more, those that came on longest ago are forgotten, which gives repeats where
/// the source's own checkpoint does not know of them, never gaps.
pub const MOST_PLACES: usize = 1024;

/// The furthest place of each file.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// With the number of the last change.
    all: Vec<(Place, u64)>,
    changes: u64,
    /// Where the last one was found: mostly the next one is there too.
    last: usize,
}

impl Places {
    /// Notes a place; what was known of its file before is replaced by what is further.
    pub fn note(&mut self, place: &Place) {
        self.changes += 1;
        let is_it = |known: &(Place, u64)| known.0.is_of(&place.file);
        let found = match self.all.get(self.last) {
            Some(known) if is_it(known) => Some(self.last),
            _ => self.all.iter().rposition(is_it),
        };
        if let Some(i) = found {
            let (known, changed) = &mut self.all[i];
            if place.at.is_beyond(&known.at) {
                known.at = place.at;
                known.file = place.file.clone();
            }
            (*changed, self.last) = (self.changes, i);
            return;
        }
        if self.all.len() >= MOST_PLACES + MOST_PLACES / 4 {
            self.all.sort_unstable_by_key(|(_, changed)| *changed);
            self.all.drain(..self.all.len() - MOST_PLACES);
        }
        self.last = self.all.len();
        self.all.push((Place { file: place.file.clone(), at: place.at, from: 0, held: None }, self.changes));
    }

    /// Notes all of these.
    pub fn note_all<'p>(&mut self, places: impl IntoIterator<Item = &'p Place>) {
        places.into_iter().for_each(|place| self.note(place));
    }

    /// Whether a file is held as far as this.
    pub fn reach(&self, file: &FileOf, at: &At) -> bool {
        self.iter().any(|known| known.is_of(file) && !at.is_beyond(&known.at))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.all.clear();
        self.last = 0;
    }

    /// The places, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Place> {
        self.all.iter().map(|(place, _)| place)
    }

    /// As a list.
    pub fn to_vec(&self) -> Vec<Place> {
        self.iter().cloned().collect()
    }

    /// Appends their bytes: count 4, then file and position of each.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.all.len() as u32).to_le_bytes());
        for place in self.iter() {
            place.file.put(out);
            place.at.put(out);
        }
    }

    /// Notes those that [`put`](Places::put) wrote; `None` where the bytes say something else.
    pub fn note_bytes(&mut self, from: &mut Cut<'_>) -> Option<()> {
        for _ in 0..from.u32()? {
            let file = Arc::new(FileOf::cut(from)?);
            let at = At::cut(from)?;
            self.note(&Place { file, at, from: 0, held: None });
        }
        Some(())
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Reports

/// How long a source waits for sinks that cannot open what they keep; then it goes by its own checkpoint.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How often it looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Where all sinks of a graph say at a start what they hold.
#[derive(Default)]
pub struct Board {
    told: Mutex<Vec<Option<Told>>>,
    some: Condvar,
}

impl Board {
    /// Room for so many sinks.
    pub fn make_room(&self, sinks: usize) {
        let mut told = self.lock();
        if told.len() < sinks {
            told.resize(sinks, None);
        }
    }

    /// For so many sinks.
    pub fn new(sinks: usize) -> Arc<Board> {
        Arc::new(Board { told: Mutex::new(vec![None; sinks]), some: Condvar::new() })
    }

    /// Where sink `n` reports.
    pub fn report(self: &Arc<Self>, n: usize) -> Report {
        Report(Some((self.clone(), n)))
    }

    /// What a source is told that reaches these sinks.
    pub fn holdings(self: &Arc<Self>, sinks: Vec<usize>) -> Holdings {
        Holdings(Some((self.clone(), sinks)))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Told>>> {
        self.told.locked()
    }
}

/// One sink's place on the [`Board`].
#[derive(Clone, Default)]
pub struct Report(Option<(Arc<Board>, usize)>);

impl Report {
    /// Says what the sink holds. Only the first word counts.
    pub fn tell(&self, all: impl Into<Told>) {
        let Some((board, n)) = &self.0 else { return };
        if let Some(told) = board.lock().get_mut(*n) {
            told.get_or_insert(all.into());
        }
        board.some.notify_all();
    }

    /// The sink keeps nothing durably.
    pub fn tell_nothing(&self) {
        self.tell(Told::default());
    }
}

/// What the sinks that a source reaches hold of its files.
#[derive(Clone, Default)]
pub struct Holdings(Option<(Arc<Board>, Vec<usize>)>);

impl Holdings {
    /// Waits until all of them have told, or `cancelled`, or for ten seconds: whoever has not told by then holds nothing.
    /// By number of the sink; empty where there is nobody to ask.
    pub fn wait(&self, cancelled: impl Fn() -> bool) -> Vec<(usize, Told)> {
        let Some((board, sinks)) = &self.0 else { return Vec::new() };
        let until = Instant::now() + LONGEST_WAIT;
        let mut told = board.lock();
        while sinks.iter().any(|n| told.get(*n).is_some_and(Option::is_none)) && !cancelled() && Instant::now() < until
        {
            told = board.some.wait_timeout(told, LOOK).map_or_else(|e| e.into_inner().0, |(told, _)| told);
        }
        sinks.iter().map(|n| (*n, told.get(*n).cloned().flatten().unwrap_or_default())).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    #![allow(clippy::single_range_in_vec_init, reason = "lists of parts of files, also of one")]
    use super::*;

    /// A place in generation `generation` of a file of `src`.
    pub(crate) fn place(generation: u64, offset: u64) -> Place {
        let file = FileOf {
            source: "src".into(),
            keys: [1, 2],
            generation,
            identity: (3, 4 + generation, -5),
            packed: generation.is_multiple_of(2),
            path: Path::new("/var/log/ä.log").into(),
            ids: u128::from(generation) << 70 | 9,
        };
        let given = if offset.is_multiple_of(3) { [offset, 1, 2] } else { [0; 3] };
        let at = At { offset, mark: 7, sum: [offset, 9], flags: 5, given };
        Place { file: Arc::new(file), at, from: 0, held: None }
    }

    #[test]
    fn places_come_back_from_their_bytes_and_no_part_of_them_is_taken_for_all() {
        let mut places = Places::default();
        for n in 0..20 {
            places.note(&place(n % 7, n));
        }
        assert_eq!(places.iter().count(), 7);
        let mut bytes = Vec::new();
        places.put(&mut bytes);
        let mut again = Places::default();
        let mut cut = Cut(&bytes);
        again.note_bytes(&mut cut).unwrap();
        assert!(cut.0.is_empty());
        assert_eq!(again.to_vec(), places.to_vec());
        for end in 0..bytes.len() {
            assert!(Places::default().note_bytes(&mut Cut(&bytes[..end])).is_none());
        }
    }

    #[test]
    fn the_furthest_place_of_a_file_is_kept_and_old_files_are_forgotten() {
        let mut places = Places::default();
        places.note(&place(1, 10));
        places.note(&place(1, 8));
        assert_eq!(places.to_vec(), [place(1, 10)]);
        for n in 0..5000 {
            places.note(&place(n + 2, 1));
            places.note(&place(1, 20));
        }
        assert!(places.all.len() <= MOST_PLACES + MOST_PLACES / 4);
        assert!(places.iter().any(|p| p.is_of(&place(1, 0).file) && p.at.offset == 20));
        assert!(places.iter().any(|p| p.file.generation == 5001));
    }

    #[test]
    fn islands_of_one_proof_are_one_and_events_in_them_are_found() {
        let island = |offset, parts: &[Range<u64>]| {
            let Place { file, at, .. } = place(1, offset);
            Island { file, at, parts: parts.to_vec() }
        };
        let all =
            Island::joined([island(90, &[30..40, 10..20]), island(80, &[5..6]), island(90, &[20..25, 50..50, 33..44])]);
        assert_eq!(all, [island(90, &[10..25, 30..44]), island(80, &[5..6])]);
        let held = [(0, 10..25), (0, 30..44), (2, 5..6), (2, 8..20)];
        let held: Vec<Held> = held.into_iter().map(|(sink, r)| Held { sink, from: r.start, to: r.end }).collect();
        let place = Place { held: Some(held.clone().into()), ..place(1, 90) };
        for (sink, offset) in (0..4).flat_map(|sink| (0..50).map(move |offset| (sink, offset))) {
            let expected = held.iter().any(|h| h.sink == sink && (h.from..h.to).contains(&offset));
            assert_eq!(place.is_held_by(sink, offset), expected, "{sink} {offset}");
        }
    }

    #[test]
    fn a_source_waits_for_the_sinks_it_reaches_and_for_no_other() {
        let board = Board::new(3);
        board.report(0).tell(vec![place(1, 5)]);
        board.report(0).tell_nothing();
        let holdings = board.holdings(vec![0, 2]);
        let waiting = std::thread::spawn(move || holdings.wait(|| false));
        board.report(2).tell_nothing();
        assert_eq!(waiting.join().unwrap(), [(0, vec![place(1, 5)].into()), (2, Told::default())]);
        assert_eq!(board.holdings(vec![1]).wait(|| true), [(1, Told::default())]);
        assert_eq!(Holdings::default().wait(|| false), []);
    }
}

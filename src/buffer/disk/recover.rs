//! Opening a folder: what a run before has left, whole or torn.

use super::notes::{self, Heard};
use super::position::{self, Noted};
use super::record::{RecordHeader, read_extension};
use super::segment::{self, HeaderError, View};
use super::settled::Settled;
use super::state::{Segment, State, cost};
use super::within::Within;
use crate::ack::place::{Island, Places};
use crate::storage::{OpenFor, Storage, StoredFile};
use crate::telemetry::OpenedBuffer;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folder of what was damaged.
pub(super) const QUARANTINE: &str = "quarantine";
/// The position file.
pub(super) const POSITION: &str = "position";
/// The lock file.
pub(super) const LOCK: &str = "lock";
/// Names of files kept for reuse begin with this.
pub(super) const SPARE: &str = "spare-";

/// Most islands that are kept: about as many batches are under way to a sink at once. Those of files that are gone would
/// stay for ever; of more, the oldest are forgotten, which gives repeats.
const MOST_ISLANDS: usize = 256;

/// A segment that is being written again after a failed sync; it is nothing until it has its name.
pub(super) const REWRITE: &str = "rewrite.tmp";

/// Why a buffer cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// A call failed: what was tried, on which path, why.
    Io(&'static str, PathBuf, io::Error),
    /// Another process has the folder.
    Locked(PathBuf),
    /// A segment or the position file has a later version than this program knows.
    Newer(PathBuf, u32),
}

impl OpenError {
    /// The disk is full, over quota or failing: it may work again.
    pub fn may_pass(&self) -> bool {
        let OpenError::Io(_, _, error) = self else { return false };
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Io(what, path, error) => write!(f, "cannot {what} `{}`: {error}", path.display()),
            OpenError::Locked(path) => write!(
                f,
                "the buffer in `{}` belongs to another process; give each agent a `data_dir` of its own",
                path.display()
            ),
            OpenError::Newer(path, version) => write!(
                f,
                "`{}` has version {version} of the format, this program knows {}; run the later program until the \
                 buffer is empty, or move the folder away",
                path.display(),
                segment::VERSION
            ),
        }
    }
}

impl std::error::Error for OpenError {}

/// What was found.
pub(super) struct Recovered {
    pub(super) state: State,
    /// Epoch of the next segment.
    pub(super) next_epoch: u64,
    /// Generation of the newest slot and its place; the next one goes to the other place.
    pub(super) slot: (u64, usize),
    /// Generation of the newest mark.
    pub(super) mark: u64,
    /// The slot of version 1 that what is written follows.
    pub(super) follows: u32,
    /// What the position file says, as far as it is known to be durable.
    pub(super) saved: Settled,
    /// What was unfinished at the end of the last segment.
    pub(super) cut: Option<Cut>,
    /// What was acknowledged and is not there.
    pub(super) lost: Option<Lost>,
}

/// Bytes behind the last whole record that nothing shows to have been acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) piece: Piece,
    /// It is certain that they were not: this boot of the machine wrote them, and noted before each acknowledgement how far
    /// that reaches.
    pub(super) certain: bool,
}

/// Acknowledged records at the end of what was written that are damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// Numbers of the records: from, behind the last.
    pub(super) from: u64,
    pub(super) to: u64,
    /// Events in them that are not settled, those settled within a record included.
    pub(super) events: u64,
    /// What is left in their place.
    pub(super) left: Option<Piece>,
}

/// Some bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) path: PathBuf,
    /// The segment it is, or was.
    pub(super) epoch: u64,
    pub(super) at: u64,
    pub(super) len: u64,
}

/// One segment's place in the folder, with its length.
pub(super) struct FoundSegment {
    pub(super) epoch: u64,
    pub(super) path: PathBuf,
    pub(super) len: u64,
}

/// What is in a folder.
pub(super) struct Listing {
    pub(super) segments: Vec<FoundSegment>,
    pub(super) spares: Vec<(String, u64)>,
    pub(super) quarantine: Vec<(String, u64)>,
}

/// Lists a folder; touches nothing.
pub(super) fn listing(storage: &dyn Storage, folder: &Path) -> Result<Listing, OpenError> {
    let error = |path: &Path| {
        let path = path.to_owned();
        |e| OpenError::Io("list", path, e)
    };
    let mut segments = Vec::new();
    let mut spares = Vec::new();
    for (name, len) in storage.list(folder).map_err(error(folder))? {
        if let Some(epoch) = segment::epoch_of(&name) {
            segments.push(FoundSegment { epoch, path: folder.join(&name), len });
        } else if name.starts_with(SPARE) {
            spares.push((name, len));
        }
    }
    segments.sort_by_key(|s| s.epoch);
    spares.sort();
    let aside = folder.join(QUARANTINE);
    let quarantine = storage.list(&aside).map_err(error(&aside))?;
    Ok(Listing { segments, spares, quarantine })
}

/// Reads the position file; touches nothing.
///
/// Errors: it was written by a later program.
pub(super) fn read_position(storage: &dyn Storage, folder: &Path) -> Result<Noted, OpenError> {
    let path = folder.join(POSITION);
    let mut bytes = vec![0; position::FILE as usize];
    let read = storage.open(&path, OpenFor::Read).and_then(|file| file.read_at(&mut bytes, 0));
    let noted = Noted::read(&bytes[..read.unwrap_or(0)]);
    match noted.newer {
        Some(version) => Err(OpenError::Newer(path, u32::from(version))),
        None => Ok(noted),
    }
}

/// A segment as its header tells, before its records are read, and whether the header is whole: else its first record
/// tells. `None` for one that holds no record of its epoch.
fn known(view: &mut View, found: &FoundSegment) -> Result<Option<(Segment, bool)>, OpenError> {
    let io = |e| OpenError::Io("read", found.path.clone(), e);
    let mut segment = Segment {
        epoch: found.epoch,
        first_seq: 0,
        end_seq: u64::MAX,
        first_event: 0,
        events: 0,
        file_len: found.len,
        data_end: found.len,
        newest: i64::MAX,
        sealed: true,
    };
    match view.segment_header().map_err(io)? {
        Ok(header) if header.epoch == found.epoch => {
            (segment.first_seq, segment.first_event) = (header.first_seq, header.first_event);
            segment.newest = header.created;
            return Ok(Some((segment, true)));
        }
        Err(HeaderError::Newer(version)) => return Err(OpenError::Newer(found.path.clone(), version)),
        // A spare that was renamed and not written yet, or damage: the records tell.
        Ok(_) | Err(HeaderError::Damaged) => {}
    }
    Ok(view.find(0, found.len, 0).map_err(io)?.map(|(_, record)| {
        (segment.first_seq, segment.first_event) = (record.seq, record.first_event);
        segment.newest = record.received_at;
        (segment, false)
    }))
}

/// Where a segment's whole records end.
pub(super) struct Tail {
    /// Behind the last whole record.
    pub(super) end: u64,
    /// Behind the number of the last whole record.
    pub(super) end_seq: u64,
    /// Events written to the buffer up to there.
    pub(super) end_event: u64,
    pub(super) newest: i64,
}

/// Walks the whole records of the last segment and finds where they end: behind damage that later records or `promised`,
/// below which all was acknowledged, show to have been acknowledged, before a torn tail.
pub(super) fn scan(
    view: &mut View,
    segment: &Segment,
    promised: u64,
    mut each: impl FnMut(&RecordHeader, Vec<u8>),
) -> io::Result<Tail> {
    let mut tail = Tail {
        end: segment::HEADER,
        end_seq: segment.first_seq,
        end_event: segment.first_event,
        newest: segment.newest,
    };
    let mut at = segment::HEADER;
    let whole = |view: &mut View, at: u64| -> io::Result<_> {
        let Some(header) = view.header(at, segment.file_len)? else { return Ok(None) };
        let body = view.body(at, &header)?;
        Ok((crc32c::crc32c(&body) == header.body_crc).then_some((header, body)))
    };
    loop {
        if let Some((header, body)) = whole(view, at)?.filter(|(h, _)| h.seq >= tail.end_seq) {
            each(&header, body);
            at += header.size();
            tail = Tail {
                end: at,
                end_seq: header.seq.saturating_add(1),
                end_event: header.first_event.saturating_add(u64::from(header.events)),
                newest: tail.newest.max(header.received_at),
            };
            continue;
        }
        // A later record counts only if it shows that what is damaged before it had been acknowledged.
        let mut from = at + 1;
        at = loop {
            let Some((hit, header)) = view.find(from, segment.file_len, tail.end_seq)? else { return Ok(tail) };
            if header.promised.max(promised) > tail.end_seq && whole(view, hit)?.is_some() {
                break hit;
            }
            from = hit + 1;
        };
    }
}

/// What is settled, with the events of the last segment counted anew: a record that was settled while its writing
/// failed counts nothing in the position file, but may be on disk all the same.
struct Exact {
    low: u64,
    low_events: u64,
    runs: Vec<Run>,
    /// Events written before the end of the last record that was seen.
    event: u64,
}

/// A settled run, or the last segment's part below the first record that is not settled.
struct Run {
    from: u64,
    to: u64,
    /// Events that the position file notes, and those that were seen on disk.
    noted: u64,
    seen: u64,
    /// Events written before it, where one of its records was seen.
    before: Option<u64>,
}

impl Exact {
    fn new(settled: &Settled, last: &Segment) -> Self {
        let (mut low, mut low_events) = (settled.low(), settled.low_events());
        let run = |from, to, noted| Run { from, to, noted, seen: 0, before: None };
        let mut runs = Vec::new();
        if low > last.first_seq {
            runs.push(run(last.first_seq, low, low_events.saturating_sub(last.first_event)));
            (low, low_events) = (last.first_seq, last.first_event);
        }
        runs.extend(settled.runs().map(|(from, to, events)| run(from, to, events)));
        Exact { low, low_events, runs, event: last.first_event }
    }

    fn record(&mut self, record: &RecordHeader) {
        let i = self.runs.partition_point(|run| run.to <= record.seq);
        if let Some(run) = self.runs.get_mut(i).filter(|run| run.from <= record.seq) {
            run.seen += u64::from(record.events);
            run.before.get_or_insert(if run.from == record.seq { record.first_event } else { self.event });
        }
        self.event = record.first_event.saturating_add(u64::from(record.events));
    }

    /// `end` is behind the last record that was seen: of a run across it some is noted for records that are not there.
    fn finish(self, end: u64) -> Settled {
        let runs = self.runs.iter().flat_map(|run| {
            let noted = run.noted.max(run.seen);
            if run.from >= end || run.to <= end {
                return [Some((run.from, run.to, noted)), None];
            }
            // Damaged ones among those that are there are settled too.
            let there = self.event.saturating_sub(run.before.unwrap_or(self.event)).clamp(run.seen, noted);
            [Some((run.from, end, there)), Some((end, run.to, noted - there))]
        });
        let runs: Vec<_> = runs.flatten().collect();
        Settled::new(self.low, self.low_events, &runs)
    }
}

/// Segments and spares while a folder is opened.
struct Opening<'a> {
    storage: &'a dyn Storage,
    folder: &'a Path,
    /// With whether the header is whole.
    segments: VecDeque<(Segment, bool)>,
    spares: Vec<(String, u64)>,
    /// All records below, and so many events, were acknowledged.
    promised: (u64, u64),
    /// This boot wrote the last mark: what is behind `promised` was not acknowledged.
    is_exact: bool,
    /// The last file that looked like a segment and had no record.
    emptied: Option<Piece>,
    /// What is behind the last whole record.
    rest: Option<Piece>,
    cut: Option<Cut>,
    /// How far files of sources are held, as the last segment's records say.
    places: Places,
    notes: Option<Heard>,
}

impl<'a> Opening<'a> {
    /// Before anything in the folder was looked at but its names and the position file, by which `promised` is so far.
    fn of(storage: &'a dyn Storage, folder: &'a Path, spares: Vec<(String, u64)>, noted: &Noted) -> Self {
        Opening {
            storage,
            folder,
            segments: VecDeque::new(),
            spares,
            promised: noted.promised(),
            is_exact: noted.mark.is_some_and(|mark| mark.boot != 0 && mark.boot == storage.boot()),
            emptied: None,
            rest: None,
            cut: None,
            places: Places::default(),
            notes: Heard::read(storage, folder),
        }
    }

    /// Takes in how much was promised by the notes.
    fn hear_promise(&mut self) {
        if let Some(notes) = &self.notes {
            self.promised = self.promised.max(notes.promised);
        }
    }

    /// What is settled where the position file does not say.
    fn settled_by(&self, heard: &Heard) -> Settled {
        if heard.is_there() {
            // The notes tell from where on.
            return Settled::default();
        }
        let first = self.segments.front().map_or((0, 0), |(s, _)| (s.first_seq, s.first_event));
        Settled::new(first.0, first.1, &[])
    }

    fn path(&self, epoch: u64) -> PathBuf {
        self.folder.join(segment::name(epoch))
    }

    fn view(&self, epoch: u64) -> Result<(Arc<dyn StoredFile>, View), OpenError> {
        let path = self.path(epoch);
        let file = self.storage.open(&path, OpenFor::Write).map_err(|e| OpenError::Io("open", path, e))?;
        Ok((file.clone(), View::new(file, epoch)))
    }

    /// Keeps a segment that was made and never written.
    fn make_spare(&mut self, epoch: u64, len: u64) -> Result<(), OpenError> {
        let (path, spare) = (self.path(epoch), format!("{SPARE}{epoch:020}.seg"));
        let renamed = self.storage.rename(&path, &self.folder.join(&spare));
        renamed.map_err(|e| OpenError::Io("rename", path, e))?;
        self.emptied = Some(Piece { path: self.folder.join(&spare), epoch, at: 0, len });
        self.spares.push((spare, len));
        Ok(())
    }

    /// Reads the headers of all segments.
    fn headers(&mut self, found: &[FoundSegment]) -> Result<(), OpenError> {
        for found in found {
            let (file, mut view) = self.view(found.epoch)?;
            // Who does not know of notes may have given numbers again that stand in them.
            if self.notes.as_ref().is_some_and(|n| found.epoch >= n.first_epoch) && notes::is_of_before(&*file) {
                self.notes = None;
            }
            match known(&mut view, found)? {
                Some(known) => self.segments.push_back(known),
                None => self.make_spare(found.epoch, found.len)?,
            }
        }
        Ok(())
    }

    /// Drops a last segment whose making was torn: without a whole header, and without a record that was acknowledged.
    fn drop_torn(&mut self) -> Result<(), OpenError> {
        while let Some((last, false)) = self.segments.back() {
            let (epoch, len) = (last.epoch, last.file_len);
            let (_, mut view) = self.view(epoch)?;
            let tail = scan(&mut view, last, self.promised.0, |_, _| ());
            let tail = tail.map_err(|e| OpenError::Io("read", self.path(epoch), e))?;
            if tail.end_seq > last.first_seq || self.promised.0 > last.first_seq {
                break;
            }
            self.segments.pop_back();
            self.make_spare(epoch, len)?;
        }
        Ok(())
    }

    /// Reads the records of the last segment; returns where its records and events end.
    fn last(&mut self, settled: &mut Settled) -> Result<(u64, u64), OpenError> {
        let Some((last, _)) = self.segments.back() else { return Ok((0, 0)) };
        let epoch = last.epoch;
        let (file, mut view) = self.view(epoch)?;
        let path = self.path(epoch);
        let error = |e| OpenError::Io("read", path.clone(), e);
        let Some((last, _)) = self.segments.back_mut() else { return Ok((0, 0)) };
        let mut exact = Exact::new(settled, last);
        let mut places = Places::default();
        let tail = scan(&mut view, last, self.promised.0, |record, body| {
            exact.record(record);
            if record.extended
                && let Some((_, extension)) = record.open(body)
            {
                places.note_all(read_extension(&extension).1.iter());
            }
        })
        .map_err(error)?;
        self.places = places;
        *settled = exact.finish(tail.end_seq);
        (last.end_seq, last.newest, last.data_end) = (tail.end_seq, tail.newest, tail.end);
        last.events = tail.end_event.saturating_sub(last.first_event);
        if last.file_len > tail.end {
            let rest = Piece { path: path.clone(), epoch, at: tail.end, len: last.file_len - tail.end };
            if self.promised.0 > tail.end_seq && self.promised.1 > tail.end_event {
                // Damage: it stays, and is set aside.
                self.rest = Some(rest);
                return Ok((tail.end_seq, tail.end_event));
            }
            let torn = view.begins_record(tail.end, last.file_len).map_err(error)?
                || view.find(tail.end, last.file_len, 0).map_err(error)?.is_some();
            if torn {
                self.cut = Some(Cut { piece: rest, certain: self.is_exact });
                if !self.is_exact {
                    return Ok((tail.end_seq, tail.end_event)); // set aside first
                }
            }
            // Only gives room back: whatever lies there is never read. Synced, so that no power cut brings it back.
            if file.set_len(tail.end).and_then(|()| file.sync()).is_ok() {
                last.file_len = tail.end;
            }
        }
        Ok((tail.end_seq, tail.end_event))
    }
}

/// What sinks have for sure, by what was noted and by what is on disk up to `end_seq`: places of files up to which they have all, and
/// islands behind those.
fn claims(heard: &Heard, on_disk: &Places, settled: &Settled, end_seq: u64) -> (Places, Vec<Island>) {
    let mut claims = heard.held.clone();
    claims.note_all(on_disk.iter());
    // Behind the last record on disk: as far as all that came was settled.
    let settled_to = settled.next_unsettled(end_seq);
    claims.note_all(heard.waiting.range(..settled_to).map(|(_, place)| place));
    let behind = heard.waiting.range(settled_to..).filter_map(|(_, place)| Island::of(place));
    // Of what is on disk it is known by number.
    let pieces = heard.pieces.iter().filter(|(seq, _)| *seq >= end_seq).map(|(_, island)| island.clone());
    let mut islands = Island::joined(pieces.chain(behind).filter(|i| !claims.reach(&i.file, &i.at)));
    // The newest stand last.
    islands.drain(..islands.len().saturating_sub(MOST_ISLANDS));
    (claims, islands)
}

/// Each segment ends where the next begins, whatever lies behind in its file.
fn ended(mut segments: VecDeque<Segment>) -> VecDeque<Segment> {
    for i in 1..segments.len() {
        let (seq, event, newest) = (segments[i].first_seq, segments[i].first_event, segments[i].newest);
        let before = &mut segments[i - 1];
        (before.end_seq, before.newest) = (seq.max(before.first_seq), newest);
        before.events = event.saturating_sub(before.first_event);
    }
    segments
}

/// What is settled within records that are not settled as a whole, by the records' numbers.
fn within<'a>(parts: impl Iterator<Item = (&'a u64, &'a Within)>, settled: &Settled) -> BTreeMap<u64, Within> {
    let mut within: BTreeMap<u64, Within> = BTreeMap::new();
    for (seq, part) in parts {
        if !settled.covers(*seq, seq.saturating_add(1)) && part.events() > 0 {
            within.entry(*seq).or_default().add(part.runs());
        }
    }
    within
}

/// Opens a folder that this process has locked. What is torn is cut; what is damaged is left for the reader, who sets
/// it aside when it comes to it.
pub(super) fn open(storage: &dyn Storage, folder: &Path) -> Result<Recovered, OpenError> {
    let listing = listing(storage, folder)?;
    let noted = read_position(storage, folder)?;
    let slot = noted.position.as_ref().map_or((0, 1), |(slot, position)| (position.generation, *slot));
    if storage.open(&folder.join(REWRITE), OpenFor::Read).is_ok() {
        let path = folder.join(REWRITE);
        storage.remove(&path).map_err(|e| OpenError::Io("remove", path, e))?;
    }
    let next_epoch = listing.segments.last().map_or(1, |s| s.epoch.saturating_add(1));
    let mut opening = Opening::of(storage, folder, listing.spares, &noted);
    let Noted { position, mark, follows, .. } = noted;
    opening.headers(&listing.segments)?;
    opening.hear_promise();
    opening.drop_torn()?;
    let promised = opening.promised;
    let heard = opening.notes.take().unwrap_or_default();
    let known = position.as_ref().map(|(_, p)| p.settled.clone());
    let saved = known.unwrap_or_else(|| opening.settled_by(&heard));
    let mut settled = heard.add_to(&saved, opening.segments.iter().map(|(s, _)| s.first_seq));
    let (end_seq, end_event) = opening.last(&mut settled)?;
    let Opening { segments, spares, emptied, rest, cut, places, .. } = opening;
    let (claims, islands) = claims(&heard, &places, &settled, end_seq);
    let lost = (promised.0 > end_seq && promised.1 > end_event).then(|| {
        // Behind `promised` nothing was written.
        let known = settled.events_between(end_seq, u64::MAX, end_event);
        let events = (promised.1 - end_event).saturating_sub(known);
        Lost { from: end_seq.max(settled.low()), to: promised.0, events, left: rest.or(emptied) }
    });
    let segments = ended(segments.into_iter().map(|(s, _)| s).collect());
    let cuts = segments.iter().map(|s| s.first_seq).chain([end_seq]);
    let settled = Settled::cut_at(cuts, settled.low(), settled.low_events(), settled.runs());
    let next_seq = end_seq.max(promised.0).max(settled.end()).max(heard.end());
    let next_event = end_event.max(promised.1).max(settled.events());
    let all = position.iter().flat_map(|(_, p)| p.within.iter().map(|(seq, part)| (seq, part)));
    let noted = heard.within.iter().filter(|(seq, _)| **seq < end_seq);
    let within = within(all.chain(noted).filter(|(seq, _)| **seq < next_seq), &settled);
    let partly: u64 = within.values().fold(0, |sum, w| sum.saturating_add(w.events()));
    let held = (next_event - settled.events()).saturating_sub(partly);
    let state = State {
        fixed: 0,
        tells: !claims.is_empty() || !islands.is_empty(),
        claims,
        waiting: Vec::new(),
        islands,
        segments,
        spares,
        quarantine: listing.quarantine.iter().map(|(_, len)| cost(*len)).sum(),
        settled_bytes: 0,
        held,
        holds_back: false,
        cursor: settled.low(),
        settled: settled.clone(),
        within,
        next_seq,
        next_event,
        opened: OpenedBuffer {
            written: next_event,
            first: (position.is_none() && !heard.is_there()).then_some(settled.low_events()),
        },
        written_seq: next_seq,
        window: VecDeque::new(),
        window_bytes: 0,
        group: Vec::new(),
        in_flight: BTreeMap::new(),
        in_flight_bytes: 0,
        failed: HashMap::new(),
        position_stale: position.is_none() || (saved.low(), saved.events()) != (settled.low(), settled.events()),
        giving: false,
        reading: None,
        standing: None,
        closed: false,
    };
    let mark = mark.map_or(0, |mark| mark.generation);
    Ok(Recovered { state, next_epoch, slot, mark, follows, saved, cut, lost })
}

//! Looking into buffers from outside: everything but [`repair`] and [`remove`] only reads, and may be used on the
//! folder of a running agent, where it sees what was there when it looked.

use super::position::{Noted, Position};
use super::reader::Polled;
use super::recover::{self, Listing, OpenError};
use super::segment::{self, HeaderError, SegmentHeader, View};
use super::settled::Settled;
use super::stage;
use super::within::Within;
use super::{DiskOptions, MIN_BYTES};
use crate::ack::{Ack, Verdict};
use crate::buffer::{DiskCompression, Fsync, WhenDiskFull};
use crate::event::{Batch, Slab, Unpacker};
use crate::storage::{Disk, OpenFor, Storage};
use crate::telemetry::{BufferTotals, ComponentKind, Counters};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// One segment, as its header and its records tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub epoch: u64,
    /// Bytes of its file.
    pub file_bytes: u64,
    /// Its header is whole.
    pub header: bool,
    /// Number of its first record.
    pub first_record: u64,
    /// Whole records in it.
    pub records: u64,
    /// Events in them.
    pub events: u64,
    /// Events in those that are not settled.
    pub held: u64,
    /// Bytes of their bodies as they stand, and before compression.
    pub body_bytes: (u64, u64),
    /// When the oldest and the newest of its batches were received; nanoseconds since 1970 UTC.
    pub received: Option<(i64, i64)>,
}

/// Bytes that are no whole record where one should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub epoch: u64,
    /// Place of the first byte.
    pub at: u64,
    /// How many.
    pub bytes: u64,
    /// Events that are missing because of it, as far as later records tell.
    pub events: Option<u64>,
    /// What is wrong.
    pub what: &'static str,
}

/// What is in a folder.
#[derive(Clone, Debug, Default)]
pub struct BufferReport {
    /// Its segments, oldest first.
    pub segments: Vec<SegmentReport>,
    /// Spare files and their bytes.
    pub spares: (usize, u64),
    /// Files in the quarantine and their bytes.
    pub quarantine: (usize, u64),
    /// Bytes of all files.
    pub bytes: u64,
    /// Events that are not settled.
    pub held: u64,
    /// Every record below is settled; `None` where the position file cannot be read.
    pub settled_below: Option<u64>,
    /// What is damaged.
    pub damage: Vec<Damage>,
}

/// One record that was read.
pub struct Record {
    /// The segment.
    pub epoch: u64,
    /// Its number.
    pub number: u64,
    /// The sink is done with it.
    pub settled: bool,
    /// Its events.
    pub batch: Batch,
    /// Those that the sink is done with, where it is not with all.
    within: Option<Within>,
}

impl Record {
    /// Whether the sink is done with the event in this row of the batch.
    pub fn is_settled(&self, row: usize) -> bool {
        let within = |w: &Within| w.runs().any(|run| (run.start as usize..run.end as usize).contains(&row));
        self.settled || self.within.as_ref().is_some_and(within)
    }
}

/// Ids of the sinks that have a buffer under `data_dir`.
pub fn ids(data_dir: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(data_dir.join("buffer")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let (true, Ok(id)) = (entry.file_type()?.is_dir(), entry.file_name().into_string()) {
            ids.push(id);
        }
    }
    ids.sort();
    Ok(ids)
}

/// The folder of the buffer of sink `id`.
pub fn folder(data_dir: &Path, id: &str) -> PathBuf {
    data_dir.join("buffer").join(id)
}

/// Buffers under `data_dir` that hold events and that none of the sinks in `owners` owns: their id and events.
pub fn orphans(data_dir: &Path, owners: &[&str]) -> io::Result<Vec<(String, u64)>> {
    let mut orphans = Vec::new();
    for id in ids(data_dir)? {
        if owners.contains(&&*id) {
            continue;
        }
        let held = held(&folder(data_dir, &id)).unwrap_or(0);
        if held > 0 {
            orphans.push((id, held));
        }
    }
    Ok(orphans)
}

/// Events in a buffer that are not settled, from the headers and the last segment alone: quick, however large it is.
pub fn held(folder: &Path) -> Result<u64, OpenError> {
    let Seen { found, settled, promised, within, .. } = see(&Disk, folder)?;
    let mut end = promised.first_event;
    if let Some((last, start)) = found.last() {
        end = end.max(start.first_event);
        walk_segment(&Disk, last, start, Next::Unknown, &mut |item| {
            if let Item::Record { first_event, events, .. } = item {
                end = end.max(first_event.saturating_add(events));
            }
        })?;
    }
    let partly = within.iter().fold(0u64, |sum, (_, w)| sum.saturating_add(w.events()));
    Ok(end.saturating_sub(settled.events()).saturating_sub(partly))
}

/// Segments of a buffer, and bytes of all its files.
pub fn sizes(folder: &Path) -> Result<(usize, u64), OpenError> {
    let listing = recover::listing(&Disk, folder)?;
    let others = listing.spares.iter().chain(&listing.quarantine).map(|f| f.1).sum::<u64>();
    let position = std::fs::metadata(folder.join(recover::POSITION)).map_or(0, |m| m.len());
    Ok((listing.segments.len(), others + position + listing.segments.iter().map(|s| s.len).sum::<u64>()))
}

/// Reads a whole buffer: every checksum is checked.
pub fn inspect(folder: &Path) -> Result<BufferReport, OpenError> {
    let mut report = read(folder, &mut |_| true)?;
    let listing = recover::listing(&Disk, folder)?;
    let sum = |files: &[(String, u64)]| (files.len(), files.iter().map(|f| f.1).sum::<u64>());
    (report.spares, report.quarantine) = (sum(&listing.spares), sum(&listing.quarantine));
    report.bytes = sizes(folder)?.1;
    Ok(report)
}

/// Reads the records of a buffer in order, until `each` says `false`; what is damaged is passed over and reported.
pub fn read(folder: &Path, each: &mut dyn FnMut(Record) -> bool) -> Result<BufferReport, OpenError> {
    read_on(&Disk, folder, each)
}

fn read_on(
    storage: &dyn Storage,
    folder: &Path,
    each: &mut dyn FnMut(Record) -> bool,
) -> Result<BufferReport, OpenError> {
    let Seen { found, settled, settled_below, promised, within } = see(storage, folder)?;
    let mut report = BufferReport { settled_below, ..BufferReport::default() };
    let mut unpacker = Unpacker::default();
    let mut goes_on = true;
    for (i, (file, header)) in found.iter().enumerate() {
        if !goes_on {
            break;
        }
        let mut segment = SegmentReport {
            epoch: file.epoch,
            file_bytes: file.len,
            header: header.whole,
            first_record: header.first_seq,
            ..SegmentReport::default()
        };
        let next = found.get(i + 1).map_or(Next::Acknowledged(&promised), |(_, next)| Next::Segment(next));
        let mut damage = Vec::new();
        walk_segment(storage, file, header, next, &mut |item| match item {
            // Nothing of it is missed any more: it was delivered, or counted as lost.
            Item::Damage(_, from, to) if settled.covers(from, to) => {}
            Item::Damage(what, from, to) => {
                let known = settled.events_within(from, to);
                damage.push(Damage { events: what.events.map(|n| n.saturating_sub(known)), ..what });
            }
            Item::Record { at, seq, events, raw, len, received_at, .. } => {
                let size = raw.len() as u64;
                let Ok(batch) = unpacker.unpack(Slab::from_vec(raw), Ack::none()) else {
                    let what = "a record that is whole holds no batch";
                    damage.push(Damage { epoch: file.epoch, at, bytes: len, events: Some(events), what });
                    return;
                };
                let is_settled = settled.covers(seq, seq.saturating_add(1));
                segment.records += 1;
                segment.events += events;
                let partly = within.iter().find(|(number, _)| *number == seq && !is_settled);
                let within = partly.map(|(_, w)| w.below(u32::try_from(events).unwrap_or(u32::MAX)));
                segment.held += if is_settled { 0 } else { events - within.as_ref().map_or(0, Within::events) };
                segment.body_bytes = (segment.body_bytes.0 + len, segment.body_bytes.1 + size);
                let (old, new) = segment.received.unwrap_or((received_at, received_at));
                segment.received = Some((old.min(received_at), new.max(received_at)));
                goes_on =
                    goes_on && each(Record { epoch: file.epoch, number: seq, settled: is_settled, batch, within });
            }
        })?;
        report.held += segment.held;
        report.segments.push(segment);
        report.damage.extend(damage);
    }
    if let Some((file, first)) =
        found.first().filter(|(_, first)| first.whole && settled_below.is_some_and(|low| first.first_seq > low))
    {
        let missing = first.first_event.saturating_sub(settled.events_between(0, first.first_seq, 0));
        let what = "segments before this one are missing";
        let damage = Damage { epoch: file.epoch, at: 0, bytes: 0, events: Some(missing), what };
        report.damage.extend((missing > 0).then_some(damage));
    }
    if found.is_empty() {
        let missing = promised.first_event - settled.events_between(0, promised.first_seq, 0).min(promised.first_event);
        let what = "the segments are missing";
        let damage = Damage { epoch: 0, at: 0, bytes: 0, events: Some(missing), what };
        report.damage.extend((missing > 0).then_some(damage));
    }
    Ok(report)
}

/// Sets what is damaged aside and writes down what is lost, so that nobody stumbles over it again; returns what was
/// damaged, and the events that are lost. `before` is what the ledger knows of the buffer. `note` is told how many events are
/// lost, and what is left, before they are written down as lost for good.
///
/// Errors: an agent runs on the folder, or it cannot be written, or `note` fails.
pub fn repair(
    folder: &Path,
    before: Option<BufferTotals>,
    note: NoteLost<'_>,
) -> Result<(Vec<Damage>, u64), OpenError> {
    repair_on(Arc::new(Disk), folder, before, note)
}

/// Is told of events that are lost, and what is left of the buffer where something is.
///
/// Errors: the file that cannot be written, and why.
pub type NoteLost<'a> = &'a mut dyn FnMut(u64, Option<BufferTotals>) -> Result<(), (PathBuf, io::Error)>;

pub(super) fn repair_on(
    storage: Arc<dyn Storage>,
    folder: &Path,
    before: Option<BufferTotals>,
    note: NoteLost<'_>,
) -> Result<(Vec<Damage>, u64), OpenError> {
    let damage = read_on(&*storage, folder, &mut |_| true)?.damage;
    let id = folder.file_name().unwrap_or_default().to_string_lossy();
    let counters = Counters::new(&id, ComponentKind::Sink, "repair");
    let options = DiskOptions {
        folder: folder.to_owned(),
        // Room for the quarantine beside what is there.
        max_bytes: MIN_BYTES.max(recover_size(&*storage, folder)? * 2),
        when_full: WhenDiskFull::Block,
        fsync: Fsync::Batch,
        fsync_interval: Duration::ZERO,
        max_age: None,
        compression: DiskCompression::None,
        overflow_of: None,
    };
    let abort = CancellationToken::new();
    let mut opened = stage::open(&options, storage, counters.clone(), abort.clone())?;
    loop {
        match opened.reader.poll(&abort) {
            Polled::Batch(mut batch) => batch.ack.take().settle(Verdict::Failed),
            Polled::Again => {}
            Polled::Nothing | Polled::End => break,
        }
    }
    let totals = counters.snapshot();
    // Where it stands is written down then, so that the next start does not know any more what was missing.
    let missing = totals.buffer.zip(before).map_or(0, |(now, before)| before.missing(now.opened));
    let lost = totals.dropped.values().sum::<u64>() + missing;
    if lost > 0 {
        note(lost, totals.buffer).map_err(|(path, e)| OpenError::Io("write", path, e))?;
    }
    opened.writer.save_position().map_err(|e| OpenError::Io("write the position in", folder.to_owned(), e))?;
    Ok((damage, lost))
}

fn recover_size(storage: &dyn Storage, folder: &Path) -> Result<u64, OpenError> {
    Ok(recover::listing(storage, folder)?.segments.iter().map(|s| s.len).sum())
}

/// Removes a buffer with all that is in it; returns the events that were not settled, of which `note` is told before.
///
/// Errors: an agent runs on the folder, or a file cannot be removed, or `note` fails.
pub fn remove(folder: &Path, note: NoteLost<'_>) -> Result<u64, OpenError> {
    let io = |e| OpenError::Io("remove", folder.to_owned(), e);
    let _lock = Disk.lock(&folder.join(recover::LOCK)).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked(folder.to_owned()),
        _ => io(e),
    })?;
    let held = held(folder).unwrap_or(0);
    note(held, None).map_err(|(path, e)| OpenError::Io("write", path, e))?;
    std::fs::remove_dir_all(folder).map_err(io)?;
    Ok(held)
}

/// Whether an agent runs on the folder.
pub fn is_live(folder: &Path) -> bool {
    let lock = folder.join(recover::LOCK);
    // Only where the file is there: looking makes nothing.
    lock.exists() && Disk.lock(&lock).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}

/// Where a segment begins.
struct Start {
    first_seq: u64,
    first_event: u64,
    whole: bool,
}

/// The segments that hold records, with their beginnings.
fn found(storage: &dyn Storage, folder: &Path) -> Result<Vec<(recover::FoundSegment, Start)>, OpenError> {
    let Listing { segments, .. } = recover::listing(storage, folder)?;
    let mut found = Vec::new();
    for file in segments {
        let error = |e| OpenError::Io("read", file.path.clone(), e);
        let mut view = match storage.open(&file.path, OpenFor::Read) {
            // A running agent has freed it just now.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            opened => View::new(opened.map_err(error)?, file.epoch),
        };
        let start = match view.segment_header().map_err(error)? {
            Ok(SegmentHeader { epoch, first_seq, first_event, .. }) if epoch == file.epoch => {
                Some(Start { first_seq, first_event, whole: true })
            }
            Err(HeaderError::Newer(version)) => return Err(OpenError::Newer(file.path, version)),
            Ok(_) | Err(HeaderError::Damaged) => {
                let first = view.find(0, file.len, 0).map_err(error)?;
                first.map(|(_, r)| Start { first_seq: r.seq, first_event: r.first_event, whole: false })
            }
        };
        if let Some(start) = start {
            found.push((file, start));
        }
    }
    Ok(found)
}

/// A folder at one moment.
struct Seen {
    found: Vec<(recover::FoundSegment, Start)>,
    settled: Settled,
    /// `None` where the position file cannot be read.
    settled_below: Option<u64>,
    /// Behind what was acknowledged, as far as the position file knows.
    promised: Start,
    /// What is settled of records that are not as a whole.
    within: Vec<(u64, Within)>,
}

fn see(storage: &dyn Storage, folder: &Path) -> Result<Seen, OpenError> {
    // First: what it promises is in the segments by then.
    let noted = recover::read_position(storage, folder)?;
    let (promised_seq, promised_events) = noted.promised();
    let promised = Start { first_seq: promised_seq, first_event: promised_events, whole: true };
    let found = found(storage, folder)?;
    let Noted { position, .. } = noted;
    Ok(match position {
        Some((_, Position { settled, within, .. })) => {
            Seen { found, settled_below: Some(settled.low()), settled, promised, within }
        }
        None => {
            let first = found.first().map(|(_, s)| (s.first_seq, s.first_event)).unwrap_or_default();
            let settled = Settled::new(first.0, first.1, &[]);
            Seen { found, settled, settled_below: None, promised, within: Vec::new() }
        }
    })
}

/// What a walk meets.
enum Item {
    Record {
        at: u64,
        seq: u64,
        first_event: u64,
        events: u64,
        received_at: i64,
        len: u64,
        raw: Vec<u8>,
    },
    /// And the numbers of the records that it may have hit: from, behind the last.
    Damage(Damage, u64, u64),
}

/// Where a segment ends.
#[derive(Clone, Copy)]
enum Next<'a> {
    /// Where the next one begins.
    Segment(&'a Start),
    /// It is the last; so much was acknowledged at least.
    Acknowledged(&'a Start),
    /// It is the last.
    Unknown,
}

/// Walks one segment.
fn walk_segment(
    storage: &dyn Storage,
    file: &recover::FoundSegment,
    start: &Start,
    next: Next<'_>,
    each: &mut dyn FnMut(Item),
) -> Result<(), OpenError> {
    let error = |e| OpenError::Io("read", file.path.clone(), e);
    let (end_seq, end_event, least_seq, least_event) = match next {
        Next::Segment(next) => (next.first_seq, next.first_event, next.first_seq, next.first_event),
        Next::Acknowledged(next) => (u64::MAX, u64::MAX, next.first_seq, next.first_event),
        Next::Unknown => (u64::MAX, u64::MAX, 0, 0),
    };
    let mut view = match storage.open(&file.path, OpenFor::Read) {
        // A running agent has freed it just now.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => View::new(opened.map_err(error)?, file.epoch),
    };
    let epoch = file.epoch;
    let (mut at, mut seq, mut event) = (segment::HEADER, start.first_seq, start.first_event);
    while event < end_event {
        let Some(header) = view.header(at, file.len).map_err(error)?.filter(|h| h.seq >= seq && h.seq < end_seq) else {
            let found = view.find(at + 1, file.len, seq).map_err(error)?.filter(|(_, h)| h.seq < end_seq);
            let (to, to_seq, to_event) = match &found {
                Some((to, h)) => (*to, h.seq, h.first_event),
                None if least_event > event => (file.len, least_seq, least_event),
                // The end, or bytes of an earlier epoch.
                None => return Ok(()),
            };
            let events = Some(to_event.saturating_sub(event));
            let what = "no whole record";
            each(Item::Damage(Damage { epoch, at, bytes: to.saturating_sub(at), events, what }, seq, to_seq));
            if found.is_none() {
                return Ok(());
            }
            (at, event) = (to, to_event);
            continue;
        };
        let events = u64::from(header.events);
        let body = view.body(at, &header).map_err(error)?;
        match header.check(body) {
            Some(raw) => each(Item::Record {
                at,
                seq: header.seq,
                first_event: header.first_event,
                events,
                received_at: header.received_at,
                len: u64::from(header.len),
                raw,
            }),
            None => {
                let what = "a body without its checksum";
                let damage = Damage { epoch, at, bytes: header.size(), events: Some(events), what };
                each(Item::Damage(damage, header.seq, header.seq.saturating_add(1)));
            }
        }
        at += header.size();
        (seq, event) = (header.seq.saturating_add(1), header.first_event.saturating_add(events));
    }
    Ok(())
}

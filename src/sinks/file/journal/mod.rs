//! What a file sink knows of its own files, kept across restarts in `data_dir/file_sinks/<id>.journal`.
//!
//! The length recorded for a file is where its last acknowledged write ended: an incomplete tail behind it is cut off at
//! the next start. Only files recorded here are ever deleted by `rotate`.
//!
//! ```text
//! file    := record*                    append only; written anew, by rename, when it is mostly out of date
//! record  := length u32, crc u32, body  little-endian; length of the body, CRC32C of the body
//! body    := 5, version u32                   2; the first record. Version 1 has none
//!          | 1, boot u64                      what follows was written since this boot of the machine
//!          | 2, id u32, dev u64, ino u64, len u64, created i64, written i64, boot u64, rotated u8, n u16, path[n]
//!          | 3, id u32, len u64, written i64  the file has `len`
//!          | 4, id u32                        forgotten
//!          | 6, number u32, file              how a file of a source is called below (`place.rs` has the layout)
//!          | 7, number u32, durable u8, at    so far its events are written; whether they survive a loss of power
//!          | 8, flags u8, written i64, id u32, from u64, len u64, head u64, tail u64, n u32, (number u32, at)[n]
//!                                             `len` bytes are about to be written at `from`
//!          | 10, n u32, (number u32, at)[n]     the step ends: all that was announced came through
//!          | 9, id u32, len u64, written i64  the write that was announced came no further than to `len`
//! ```
//!
//! `created` and `written` are nanoseconds since 1970 UTC. `rotated` is 1 where the file no longer stands under the name
//! it was written under; its `path` is then the new name, and what precedes the last `.` of it is the old one.
//!
//! **Writes** are announced (8) before they are done, with hashes of the first and the last bytes (64 at the most); the next
//! record says that the one before came through. Several of them make one step, which ends with flag 2: its places then
//! say how far sources' files are written. A step that did not come through is undone at the next start of the same boot
//! ([`Journal::open_telling`]): its bytes are cut off again, where what wrote them comes again (flag 1) and nothing else follows
//! them. Flag 4: what was announced before it survives a loss of power.
//!
//! Version: the first byte of every body; other values end reading, as a torn or damaged record does. What stood before is
//! taken, and the file is written anew. Losing records costs repairs, deletions and repeats, never data: a file that is not known
//! is only appended to. A journal of a later version is refused.

use super::known::{Announced, FileId, Known};
use super::undo::{self, Step};
use crate::ack::place::{At, Cut, FileOf, Place, Places};
use crate::storage::{Disk, boot_id, make_again};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const VERSION: u32 = 2;

const BOOT: u8 = 1;
const KNOWN: u8 = 2;
const GREW: u8 = 3;
const GONE: u8 = 4;
const VERSIONED: u8 = 5;
const SOURCE_FILE: u8 = 6;
const PLACE: u8 = 7;
const WRITE: u8 = 8;
const FAILED: u8 = 9;
const END: u8 = 10;

/// What is written comes again from where it came, where it is not acknowledged.
const AGAIN: u8 = 1;
/// The last write of a step.
const ENDS: u8 = 2;
/// What was announced before is durable.
const DURABLE: u8 = 4;

/// Longest body: a path has at most 4 KiB, and a step may have events of many files.
const MAX_BODY_BYTES: usize = 4 << 20;
/// A journal shorter than this is never written anew.
const SMALL_JOURNAL_BYTES: u64 = 2 << 20;
/// Bytes of a record of kind 2 without its path, about: to estimate what is up to date.
const KNOWN_BYTES: u64 = 64;

/// What a write is a part of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand<'p> {
    /// All that is written comes again, where it is not acknowledged.
    pub(super) again: bool,
    /// It ends the step: so far files of sources are written then.
    pub(super) ends: Option<&'p Places>,
    /// What was written before is durable.
    pub(super) durable: bool,
}

/// The sink's files, and their journal.
pub(super) struct Journal {
    path: PathBuf,
    /// The filesystem that its folder is on.
    device: u64,
    file: File,
    bytes: u64,
    live_bytes: u64,
    files: HashMap<FileId, Known>,
    by_path: HashMap<Box<[u8]>, FileId>,
    next: FileId,
    /// Identifies this boot of the machine; 0 where that is not known.
    pub(super) boot: u64,
    record: Vec<u8>,
    /// A record that could not be written and has to stand before the next one.
    owed: Vec<u8>,
    /// A step has begun and not ended.
    in_step: bool,
    sources: Sources,
}

/// How far files of sources are written, and the numbers they go by.
#[derive(Default)]
struct Sources {
    places: Places,
    /// As far as it survives a loss of power.
    durable: Places,
    /// The files that were given numbers last, and the number of the first of them.
    numbers: VecDeque<Arc<FileOf>>,
    first: u32,
    /// Where the last was found.
    last: usize,
}

/// So many files are known by their numbers: one that was given its number before all of these gets another when it comes again.
const MOST_NUMBERS: usize = crate::ack::place::MOST_PLACES + crate::ack::place::MOST_PLACES / 2;

impl Sources {
    fn number(&mut self, place: &Place) -> Option<u32> {
        let is_it = |file: &Arc<FileOf>| place.is_of(file);
        if !self.numbers.get(self.last).is_some_and(is_it) {
            self.last = self.numbers.iter().rposition(is_it)?;
        }
        Some(self.first + self.last as u32)
    }

    /// The number that the next file gets.
    fn next_number(&self) -> u32 {
        self.first + self.numbers.len() as u32
    }

    /// Forgets the numbers given first, as far as there is no room for so many more.
    fn make_room(&mut self, more: usize) {
        let over = (self.numbers.len() + more).saturating_sub(MOST_NUMBERS).min(self.numbers.len());
        self.numbers.drain(..over);
        self.first += over as u32;
        self.last = self.last.saturating_sub(over);
    }

    /// Appends the number of places, and each by its number.
    fn put(&mut self, places: Option<&Places>, out: &mut Vec<u8>) {
        let count_at = out.len();
        let mut count = 0u32;
        out.extend_from_slice(&count.to_le_bytes());
        for place in places.iter().flat_map(|places| places.iter()) {
            if let Some(number) = self.number(place) {
                out.extend_from_slice(&number.to_le_bytes());
                place.at.put(out);
                count += 1;
            }
        }
        out[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
    }
}

impl Journal {
    /// Opens the journal of the sink `id`, made where there is none. What it holds is written anew.
    #[cfg(test)]
    pub(super) fn open(data_dir: &Path, id: &str) -> io::Result<Journal> {
        Journal::open_telling(data_dir, id, |_| {})
    }

    /// As said; `tell` is told how far files of sources are written, as soon as that is known.
    pub(super) fn open_telling(data_dir: &Path, id: &str, tell: impl FnOnce(Vec<Place>)) -> io::Result<Journal> {
        let folder = data_dir.join("file_sinks");
        crate::storage::data_dir::create_dir(&folder)?;
        let path = folder.join(format!("{id}.journal"));
        let old = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let Read { mut files, sources, step, boot, version, rest } = read(&old);
        if version > VERSION {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "`{}` has version {version} of the format, this program knows {VERSION}: run the later program, or move the \
                    file away, which costs repeats and lets rotated files stay",
                    path.display()
                ),
            ));
        }
        let mut sources = sources.of_boot(boot, boot_id());
        if let Some(step) = step {
            undo::finish(step, &mut files, boot_id(), id, &mut sources.places);
        }
        tell(sources.places.to_vec());
        if rest > 0 {
            tracing::warn!(component = id, path = %path.display(), bytes = rest, "the end of the journal was damaged and is cut off");
        }
        let by_path = files.iter().map(|(id, f)| (f.path.clone(), *id)).collect();
        let next = files.keys().max().map_or(0, |n| n + 1);
        let (file, bytes) = write_anew(&path, &files, &mut sources, boot_id())?;
        Ok(Journal {
            device: std::fs::metadata(&folder)?.dev(),
            path,
            file,
            bytes,
            live_bytes: bytes,
            files,
            by_path,
            next,
            boot: boot_id(),
            record: Vec::with_capacity(256),
            owed: Vec::new(),
            in_step: false,
            sources,
        })
    }

    /// How far files of sources are written.
    #[cfg(test)]
    pub(super) fn places(&self) -> Vec<Place> {
        self.sources.places.to_vec()
    }

    /// Says that `data` is about to be written at `from` of a file. With the last one of a step: how far sources' files are written
    /// once it is.
    pub(super) fn announce(
        &mut self,
        id: FileId,
        from: u64,
        data: &[u8],
        now: i64,
        stand: Stand<'_>,
    ) -> io::Result<()> {
        if stand.durable && !self.in_step {
            self.sources.durable = self.sources.places.clone();
        }
        self.compact()?;
        self.number_all(stand.ends)?;
        let write = Announced::of(from, data);
        let flags = if stand.again { AGAIN } else { 0 }
            | if stand.ends.is_some() { ENDS } else { 0 }
            | if stand.durable && !self.in_step { DURABLE } else { 0 };
        let sources = &mut self.sources;
        frame(&mut self.record, |out| {
            out.extend_from_slice(&[WRITE, flags]);
            out.extend_from_slice(&now.to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
            for n in [write.from, write.len, write.head, write.tail] {
                out.extend_from_slice(&n.to_le_bytes());
            }
            sources.put(stand.ends, out);
        });
        self.append()?;
        self.in_step = stand.ends.is_none();
        if let Some(file) = self.files.get_mut(&id) {
            (file.len, file.written, file.boot) = (write.end(), now, self.boot);
        }
        if let Some(places) = stand.ends {
            self.sources.places.note_all(places.iter());
        }
        Ok(())
    }

    /// Whether a step has begun and not ended: nothing of it may be acknowledged.
    pub(super) fn is_in_step(&self) -> bool {
        self.in_step
    }

    /// Ends a step whose writes all came through.
    pub(super) fn end_step(&mut self, places: &Places) -> io::Result<()> {
        self.number_all(Some(places))?;
        let sources = &mut self.sources;
        frame(&mut self.record, |out| {
            out.push(END);
            sources.put(Some(places), out);
        });
        self.append()?;
        self.in_step = false;
        self.sources.places.note_all(places.iter());
        Ok(())
    }

    /// Gives the files of these places numbers.
    fn number_all(&mut self, places: Option<&Places>) -> io::Result<()> {
        let Some(places) = places else { return Ok(()) };
        // Before any of them has its number, so that none of these is forgotten.
        self.sources.make_room(places.iter().count());
        for place in places.iter() {
            if self.sources.number(place).is_some() {
                continue;
            }
            put_source_file(self.sources.next_number(), &place.file, &mut self.record);
            self.append()?;
            self.sources.numbers.push_back(place.file.clone());
        }
        Ok(())
    }

    /// Records that a write which was announced came no further than `len`: before anything else.
    pub(super) fn failed(&mut self, id: FileId, len: u64, now: i64) {
        self.in_step = true;
        put_length(FAILED, id, len, now, &mut self.record);
        if self.append().is_err() {
            self.owed = std::mem::take(&mut self.record);
        }
        if let Some(file) = self.files.get_mut(&id) {
            (file.len, file.written) = (len, now);
        }
    }

    pub(super) fn by_path(&self, path: &[u8]) -> Option<(FileId, &Known)> {
        let id = *self.by_path.get(path)?;
        Some((id, self.files.get(&id)?))
    }

    pub(super) fn get(&self, id: FileId) -> Option<&Known> {
        self.files.get(&id)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (FileId, &Known)> {
        self.files.iter().map(|(id, f)| (*id, f))
    }

    /// Records a file; one of the same name is forgotten.
    pub(super) fn add(&mut self, known: Known) -> io::Result<FileId> {
        if let Some(&old) = self.by_path.get(&known.path) {
            self.forget(old)?;
        }
        self.compact()?;
        let id = self.next;
        put_known(id, &known, &mut self.record);
        self.append()?;
        self.next += 1;
        self.live_bytes += KNOWN_BYTES + known.path.len() as u64;
        self.by_path.insert(known.path.clone(), id);
        self.files.insert(id, known);
        Ok(id)
    }

    /// Records that a file has grown (or was cut) to `len`.
    pub(super) fn grew(&mut self, id: FileId, len: u64, written: i64) -> io::Result<()> {
        self.compact()?;
        put_length(GREW, id, len, written, &mut self.record);
        self.append()?;
        if let Some(file) = self.files.get_mut(&id) {
            (file.len, file.written, file.boot) = (len, written, self.boot);
        }
        Ok(())
    }

    /// Records that a file was renamed out of the way.
    pub(super) fn rotated(&mut self, id: FileId, to: &[u8]) -> io::Result<()> {
        let Some(mut known) = self.files.get(&id).cloned() else { return Ok(()) };
        known.path = to.into();
        known.rotated = true;
        self.forget(id)?;
        self.add(known).map(|_| ())
    }

    /// Forgets a file.
    pub(super) fn forget(&mut self, id: FileId) -> io::Result<()> {
        self.compact()?;
        put_gone(id, &mut self.record);
        self.append()?;
        if let Some(file) = self.files.remove(&id) {
            self.live_bytes = self.live_bytes.saturating_sub(KNOWN_BYTES + file.path.len() as u64);
            if self.by_path.get(&file.path) == Some(&id) {
                self.by_path.remove(&file.path);
            }
        }
        Ok(())
    }

    /// Writes it anew where its file was deleted or moved away, which costs nothing: all of it is in memory.
    pub(super) fn keep(&mut self) -> io::Result<()> {
        let held = self.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (held.dev(), held.ino()) => return Ok(()),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        if let Some(folder) = self.path.parent() {
            make_again(&Disk, folder, self.device)?;
        }
        if self.in_step {
            // What has begun is known to the old file only: the end of the step first.
            return Ok(());
        }
        self.write_anew()?;
        tracing::warn!(path = %self.path.display(), "the journal was deleted or moved away while it was in use: written anew");
        Ok(())
    }

    /// Makes what was recorded survive a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write_anew(&mut self) -> io::Result<()> {
        let (file, bytes) = write_anew(&self.path, &self.files, &mut self.sources, self.boot)?;
        (self.file, self.bytes, self.live_bytes) = (file, bytes, bytes);
        self.owed.clear();
        Ok(())
    }

    /// Writes it anew where it is mostly out of date. Not within a step, which is known to the present file only.
    fn compact(&mut self) -> io::Result<()> {
        let is_due = self.bytes > SMALL_JOURNAL_BYTES && self.bytes / 4 > self.live_bytes;
        if is_due && !self.in_step { self.write_anew() } else { Ok(()) }
    }

    fn append(&mut self) -> io::Result<()> {
        if !self.owed.is_empty() {
            let owed = std::mem::take(&mut self.owed);
            let record = std::mem::replace(&mut self.record, owed);
            let written = self.append_record();
            let owed = std::mem::replace(&mut self.record, record);
            if written.is_err() {
                self.owed = owed;
                return written;
            }
        }
        self.append_record()
    }

    fn append_record(&mut self) -> io::Result<()> {
        let mut left = &self.record[..];
        while !left.is_empty() {
            match self.file.write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => left = &left[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    // A torn record would hide all that follow.
                    self.file.set_len(self.bytes)?;
                    return Err(e);
                }
            }
        }
        self.bytes += self.record.len() as u64;
        Ok(())
    }
}

/// Replaces the journal by one that holds `files` only; gives it open for appending, and its length.
fn write_anew(
    path: &Path,
    files: &HashMap<FileId, Known>,
    sources: &mut Sources,
    boot: u64,
) -> io::Result<(File, u64)> {
    let mut all = Vec::new();
    let mut record = Vec::new();
    frame(&mut all, |out| {
        out.push(VERSIONED);
        out.extend_from_slice(&VERSION.to_le_bytes());
    });
    put_boot(boot, &mut record);
    all.extend_from_slice(&record);
    let numbers: VecDeque<Arc<FileOf>> = sources.places.iter().map(|place| place.file.clone()).collect();
    for (number, place) in sources.places.iter().enumerate() {
        put_source_file(number as u32, &place.file, &mut record);
        all.extend_from_slice(&record);
        let durable = sources.durable.iter().find(|durable| durable.is_of(&place.file));
        for (at, is_durable) in durable.map(|d| (d.at, 1)).into_iter().chain([(place.at, 0)]) {
            frame(&mut record, |out| {
                out.push(PLACE);
                out.extend_from_slice(&(number as u32).to_le_bytes());
                out.push(is_durable);
                at.put(out);
            });
            all.extend_from_slice(&record);
        }
    }
    for (id, known) in files {
        put_known(*id, known, &mut record);
        all.extend_from_slice(&record);
    }
    let new = path.with_extension("journal.new");
    let mut file = state_file().write(true).create(true).truncate(true).open(&new)?;
    file.write_all(&all)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    let opened = state_file().append(true).open(path)?;
    (sources.numbers, sources.first, sources.last) = (numbers, 0, 0);
    Ok((opened, all.len() as u64))
}

fn put_source_file(number: u32, file: &FileOf, out: &mut Vec<u8>) {
    frame(out, |out| {
        out.push(SOURCE_FILE);
        out.extend_from_slice(&number.to_le_bytes());
        file.put(out);
    });
}

/// Follows no link.
fn state_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, crate::storage::NO_LINKS);
    options
}

fn frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    out.clear();
    out.extend_from_slice(&[0; 8]);
    body(out);
    let len = (out.len() - 8) as u32;
    let crc = crc32c::crc32c(&out[8..]);
    out[..4].copy_from_slice(&len.to_le_bytes());
    out[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn put_boot(boot: u64, out: &mut Vec<u8>) {
    frame(out, |out| {
        out.push(BOOT);
        out.extend_from_slice(&boot.to_le_bytes());
    });
}

fn put_known(id: FileId, known: &Known, out: &mut Vec<u8>) {
    frame(out, |out| {
        out.push(KNOWN);
        out.extend_from_slice(&id.to_le_bytes());
        for n in [known.dev, known.ino, known.len, known.created as u64, known.written as u64, known.boot] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.push(u8::from(known.rotated));
        out.extend_from_slice(&(known.path.len() as u16).to_le_bytes());
        out.extend_from_slice(&known.path);
    });
}

fn put_length(kind: u8, id: FileId, len: u64, written: i64, out: &mut Vec<u8>) {
    frame(out, |out| {
        out.push(kind);
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&written.to_le_bytes());
    });
}

fn put_gone(id: FileId, out: &mut Vec<u8>) {
    frame(out, |out| {
        out.push(GONE);
        out.extend_from_slice(&id.to_le_bytes());
    });
}

/// What a journal ends with.
struct Read {
    files: HashMap<FileId, Known>,
    sources: Noted,
    /// Writes of a step that was not ended, or of which it is not known whether its last write came through.
    step: Option<Step>,
    boot: u64,
    version: u32,
    /// Bytes at its end that are torn or damaged.
    rest: usize,
}

/// Places as they are noted.
#[derive(Default)]
struct Noted {
    places: Places,
    durable: Places,
    numbers: HashMap<u32, Arc<FileOf>>,
}

impl Noted {
    /// What holds of it in the boot `now`, where it was written in the boot `then`.
    fn of_boot(self, then: u64, now: u64) -> Sources {
        let same = then == now && now != 0;
        let places = if same { self.places } else { self.durable.clone() };
        Sources { places, durable: self.durable, ..Sources::default() }
    }

    fn place(&self, from: &mut Cut<'_>, number: u32) -> Option<Place> {
        let at = At::cut(from)?;
        Some(Place { file: self.numbers.get(&number)?.clone(), at, from: 0, held: None })
    }
}

/// Reads all that is whole.
fn read(bytes: &[u8]) -> Read {
    let mut read = Read { files: HashMap::new(), sources: Noted::default(), step: None, boot: 0, version: 1, rest: 0 };
    let mut left = Cut(bytes);
    loop {
        read.rest = left.0.len();
        if read.rest == 0 || read_record(&mut left, &mut read).is_none() || read.version > VERSION {
            return read;
        }
    }
}

fn read_record(left: &mut Cut<'_>, read: &mut Read) -> Option<()> {
    let (len, crc) = (left.u32()? as usize, left.u32()?);
    let body = left.take(len).filter(|_| len <= MAX_BODY_BYTES)?;
    if crc32c::crc32c(body) != crc {
        return None;
    }
    let mut body = Cut(body);
    match body.u8()? {
        VERSIONED => read.version = body.u32()?,
        BOOT => read.boot = body.u64()?,
        KNOWN => {
            let id = body.u32()?;
            let mut known = Known {
                path: Box::default(),
                dev: body.u64()?,
                ino: body.u64()?,
                len: body.u64()?,
                created: body.u64()? as i64,
                written: body.u64()? as i64,
                boot: body.u64()?,
                rotated: body.u8()? == 1,
            };
            let n = usize::from(body.u16()?);
            known.path = body.take(n)?.into();
            read.confirm();
            read.files.insert(id, known);
        }
        kind @ (GREW | FAILED) => {
            let (id, len, written) = (body.u32()?, body.u64()?, body.u64()? as i64);
            let node = read.files.get(&id).map(|f| (f.dev, f.ino));
            match &mut read.step {
                Some(step) if kind == FAILED => step.failed(node, len),
                _ => read.confirm(),
            }
            if let Some(known) = read.files.get_mut(&id) {
                (known.len, known.written, known.boot) = (len, written, read.boot);
            }
        }
        GONE => {
            read.confirm();
            read.files.remove(&body.u32()?);
        }
        SOURCE_FILE => {
            let number = body.u32()?;
            read.sources.numbers.insert(number, Arc::new(FileOf::cut(&mut body)?));
        }
        PLACE => {
            let (number, durable) = (body.u32()?, body.u8()? == 1);
            let place = read.sources.place(&mut body, number)?;
            if durable {
                read.sources.durable.note(&place);
            }
            read.sources.places.note(&place);
        }
        WRITE => read_write(&mut body, read)?,
        END => {
            let places = read.places(&mut body)?;
            read.confirm();
            read.step = None;
            read.sources.places.note_all(places.iter());
        }
        _ => return None,
    }
    Some(())
}

fn read_write(body: &mut Cut<'_>, read: &mut Read) -> Option<()> {
    let flags = body.u8()?;
    let (written, id) = (body.u64()? as i64, body.u32()?);
    let write = Announced { from: body.u64()?, len: body.u64()?, head: body.u64()?, tail: body.u64()? };
    let places = read.places(body)?;
    read.confirm();
    if flags & DURABLE != 0 {
        read.sources.durable = read.sources.places.clone();
    }
    if let Some(known) = read.files.get_mut(&id) {
        let step = read.step.get_or_insert_default();
        step.announced((known.dev, known.ino), write, flags & AGAIN != 0);
        step.places = (flags & ENDS != 0).then_some(places);
        (known.len, known.written, known.boot) = (write.end(), written, read.boot);
    }
    Some(())
}

impl Read {
    /// As many places as are counted there.
    fn places(&self, body: &mut Cut<'_>) -> Option<Places> {
        let mut places = Places::default();
        for _ in 0..body.u32()? {
            let number = body.u32()?;
            places.note(&self.sources.place(body, number)?);
        }
        Some(places)
    }

    /// Another record than one that says the opposite follows: the last write came through, and with it the step it ends.
    fn confirm(&mut self) {
        if let Some(places) = self.step.as_mut().and_then(|step| step.places.take()) {
            self.sources.places.note_all(places.iter());
            self.step = None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn known(path: &str, len: u64) -> Known {
        let path = path.as_bytes().into();
        Known { path, dev: 1, ino: 2, len, created: 3, written: 4, boot: 5, rotated: false }
    }

    fn lengths(journal: &Journal) -> Vec<(String, u64)> {
        let mut all: Vec<_> =
            journal.files().map(|(_, f)| (String::from_utf8_lossy(&f.path).into_owned(), f.len)).collect();
        all.sort();
        all
    }

    #[test]
    fn what_was_recorded_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), "out").unwrap();
        let a = journal.add(known("a", 1)).unwrap();
        let b = journal.add(known("b", 1)).unwrap();
        journal.grew(a, 10, 9).unwrap();
        journal.grew(a, 20, 10).unwrap();
        journal.rotated(b, b"b.1").unwrap();
        journal.add(known("b", 0)).unwrap();
        let gone = journal.add(known("c", 0)).unwrap();
        journal.forget(gone).unwrap();
        let want = [("a".to_owned(), 20), ("b".to_owned(), 0), ("b.1".to_owned(), 1)];
        assert_eq!(lengths(&journal), want);
        let again = Journal::open(dir.path(), "out").unwrap();
        assert_eq!(lengths(&again), want);
        assert!(again.by_path(b"b.1").unwrap().1.rotated);
        assert_eq!(again.by_path(b"a").unwrap().1.boot, again.boot);
        assert_eq!(again.by_path(b"a").unwrap().1.written, 10);
        assert_eq!(lengths(&Journal::open(dir.path(), "other").unwrap()), []);
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_leaves_a_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), "out").unwrap();
        let a = journal.add(known("a", 1)).unwrap();
        for len in 2..6 {
            journal.grew(a, len, 0).unwrap();
        }
        let bytes = std::fs::read(dir.path().join("file_sinks/out.journal")).unwrap();
        let len_of = |bytes: &[u8]| read(bytes).files.get(&a).map_or(0, |f| f.len);
        assert_eq!(len_of(&bytes), 5);
        let mut last = 0;
        for cut in 0..bytes.len() {
            let len = len_of(&bytes[..cut]);
            assert!(len >= last && len <= 5, "{cut}");
            last = len;
        }
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 0x41;
            let Read { files, rest, .. } = read(&damaged);
            assert!(rest > 0, "{i}");
            assert!(files.get(&a).is_none_or(|f| f.len <= 5 && *f.path == *b"a"));
        }
    }

    #[test]
    fn a_journal_that_was_deleted_is_written_anew_with_all_that_was_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), "out").unwrap();
        let a = journal.add(known("a", 1)).unwrap();
        journal.keep().unwrap();
        std::fs::remove_dir_all(dir.path().join("file_sinks")).unwrap();
        journal.grew(a, 5, 0).unwrap();
        journal.keep().unwrap();
        journal.grew(a, 6, 0).unwrap();
        assert_eq!(lengths(&Journal::open(dir.path(), "out").unwrap()), [("a".to_owned(), 6)]);
    }

    #[test]
    fn a_journal_of_version_1_is_read_and_one_of_a_later_version_is_refused_and_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file_sinks/out.journal");
        std::fs::create_dir_all(dir.path().join("file_sinks")).unwrap();
        // As the program before wrote it.
        let (mut v1, mut record) = (Vec::new(), Vec::new());
        put_boot(boot_id(), &mut v1);
        put_known(3, &known("a", 7), &mut record);
        v1.extend_from_slice(&record);
        put_length(GREW, 3, 9, 4, &mut record);
        v1.extend_from_slice(&record);
        std::fs::write(&path, &v1).unwrap();
        assert_eq!(lengths(&Journal::open(dir.path(), "out").unwrap()), [("a".to_owned(), 9)]);
        let mut later = Vec::new();
        frame(&mut later, |out| {
            out.push(VERSIONED);
            out.extend_from_slice(&(VERSION + 1).to_le_bytes());
        });
        later.extend_from_slice(b"something");
        std::fs::write(&path, &later).unwrap();
        let error = Journal::open(dir.path(), "out").err().unwrap();
        assert!(error.to_string().contains("has version 3 of the format, this program knows 2"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), later);
    }

    /// What files of sources are called is in memory for the last of them only, and each place is known after a restart.
    #[test]
    fn files_of_sources_come_and_go_and_those_that_came_last_have_their_places() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), "out").unwrap();
        let written = dir.path().join("a");
        std::fs::write(&written, "").unwrap();
        let meta = std::fs::metadata(&written).unwrap();
        let a = Known { dev: meta.dev(), ino: meta.ino(), ..known(written.as_os_str().to_str().unwrap(), 0) };
        let a = journal.add(a).unwrap();
        let mut from = 0;
        for generation in 0..5_000 {
            let mut places = Places::default();
            // One that comes again and again, one that comes after long, and a new one.
            for generation in [10_000, 20_000 + generation % 2_000, generation] {
                places.note(&crate::ack::place::tests::place(generation, generation + 1));
            }
            std::fs::OpenOptions::new().append(true).open(&written).unwrap().write_all(b"one\n").unwrap();
            let stand = Stand { again: true, ends: Some(&places), durable: false };
            journal.announce(a, from, b"one\n", 1, stand).unwrap();
            from += 4;
            assert!(journal.sources.numbers.len() <= MOST_NUMBERS);
        }
        let mut before = journal.places();
        let mut after = Journal::open(dir.path(), "out").unwrap().places();
        for places in [&mut before, &mut after] {
            places.sort_by_key(|place| place.file.generation);
            assert!(places.iter().any(|place| place.file.generation == 4_999));
            assert!(places.iter().any(|place| place.file.generation == 10_000));
        }
        let last = |places: &[Place]| places.iter().filter(|p| p.file.generation > 4_500).cloned().collect::<Vec<_>>();
        assert_eq!(last(&before), last(&after));
    }

    #[test]
    fn places_are_there_after_a_restart_in_this_boot_and_as_far_as_they_are_durable_in_another() {
        let upto = |generation, offset| {
            let mut places = Places::default();
            places.note(&crate::ack::place::tests::place(generation, offset));
            places
        };
        for durable in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let written = dir.path().join("a");
            std::fs::write(&written, "one\ntwo\n").unwrap();
            let meta = std::fs::metadata(&written).unwrap();
            let mut journal = Journal::open(dir.path(), "out").unwrap();
            let path = written.as_os_str().to_str().unwrap();
            let a = journal.add(Known { dev: meta.dev(), ino: meta.ino(), ..known(path, 0) }).unwrap();
            for (n, (from, data)) in [(0, b"one\n"), (4, b"two\n")].into_iter().enumerate() {
                let places = upto(1 + n as u64, 5);
                let stand = Stand { again: true, ends: Some(&places), durable };
                journal.announce(a, from, data, 1, stand).unwrap();
            }
            let mut generations: Vec<u64> =
                Journal::open(dir.path(), "out").unwrap().places().iter().map(|p| p.file.generation).collect();
            generations.sort_unstable();
            assert_eq!(generations, [1, 2]);
            // As if the machine had been started again: what was synced before the last write was announced.
            let sources =
                read(&std::fs::read(dir.path().join("file_sinks/out.journal")).unwrap()).sources.of_boot(1, 2);
            assert_eq!(
                sources.places.iter().map(|p| p.file.generation).collect::<Vec<_>>(),
                if durable { vec![1] } else { vec![] }
            );
        }
    }

    #[test]
    fn a_journal_that_is_mostly_out_of_date_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), "out").unwrap();
        let a = journal.add(known("a", 1)).unwrap();
        for len in 0..60_000 {
            journal.grew(a, len, 0).unwrap();
        }
        let size = std::fs::metadata(dir.path().join("file_sinks/out.journal")).unwrap().len();
        assert!(size <= SMALL_JOURNAL_BYTES + 64, "{size}");
        assert_eq!(lengths(&Journal::open(dir.path(), "out").unwrap()), [("a".to_owned(), 59_999)]);
    }
}

//! What a file sink knows of its own files, kept across restarts in `data_dir/file_sinks/<id>.journal`.
//!
//! The length recorded for a file is where its last acknowledged write ended: an incomplete tail behind it is cut off at
//! the next start. Only files recorded here are ever deleted by `rotate`.
//!
//! [`mod@format`] has its records, [`mod@read`] takes in what a run before has left.
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

mod format;
mod read;
#[cfg(test)]
mod tests;

use self::format::{
    AGAIN, DURABLE, END, ENDS, FAILED, GREW, PLACE, VERSION, VERSIONED, WRITE, frame, put_boot, put_gone, put_known,
    put_length, put_source_file,
};
use self::read::{Read, read};
use super::known::{Announced, FileId, Known};
use super::undo;
use crate::ack::place::{FileOf, Place, Places};
use crate::storage::{Disk, boot_id, make_again};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// Follows no link.
fn state_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, crate::storage::NO_LINKS);
    options
}

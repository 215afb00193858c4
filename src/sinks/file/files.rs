//! The files themselves: which are open, what waits for each, how bytes get to their end without a torn line.
//!
//! A write that fails half-way is cut back to the last whole line (compressed: to where it began). Each write is announced in
//! the journal before it is done; what is acknowledged lies below the lengths recorded there as done, and what lies behind them is
//! undone at a start where it comes again (`undo.rs`). Whatever else may be behind the recorded length:
//!
//! | The file at the next start | What is done |
//! |---|---|
//! | as recorded | nothing |
//! | longer, last line whole | nothing: the lines may come a second time |
//! | longer, last line torn, same boot of the machine | cut to the recorded length |
//! | longer, last line torn, after a loss of power | cut to the last whole line, not below the recorded length |
//! | shorter, last line torn, after a loss of power | cut to the last whole line |
//! | longer, compressed | cut to the recorded length |
//! | shorter, compressed | set aside by a rename; a new file is begun |
//! | not known, last line torn | a newline is written first |

use super::FileSinkOptions;
use super::codec::Codec;
use super::folder::{self, Problem};
use super::journal::{Journal, Stand};
use super::known::{FileId, Known};
use super::{Compression, Fsync, Rotate};
use crate::ack::place::Place;
use crate::telemetry::log_throttle::LogThrottle;
use crate::time::Civil;
use hashbrown::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// A path that nothing was written to for so long makes room for others.
const IDLE_NS: i64 = 3_600 * 1_000_000_000;
/// Buffers of more than this are given back when many files are open.
const KEPT_BUFFER_BYTES: usize = 32 << 10;

/// What is at a path that events are written to.
struct Slot {
    path: Box<[u8]>,
    file: Option<Open>,
    /// Lines that wait to be written.
    buf: Vec<u8>,
    /// Number of the last use; the smallest is closed first.
    used: u64,
    /// When it was used last.
    at: i64,
}

struct Open {
    file: File,
    id: FileId,
    identity: (u64, u64),
    created: i64,
    /// Where the last whole write ended.
    len: u64,
    /// What a sync has made durable, with `fsync: batch`.
    synced: u64,
    /// The file must be cut to this before it is written again: an earlier attempt failed.
    cut: Option<u64>,
    /// A foreign last line has no end yet.
    newline: bool,
    unsynced: bool,
}

/// What came of asking for a path.
pub(super) enum FoundFile {
    /// Lines for it go here.
    Slot(usize),
    /// As many files as may be have lines waiting: write them first.
    Full,
}

/// All files of one sink.
pub(super) struct Files {
    options: FileSinkOptions,
    /// Bytes of each path that are the literal folder.
    literal: usize,
    /// Whether the path has the event's time in it.
    dated: bool,
    journal: Journal,
    codec: Codec,
    slots: Vec<Slot>,
    free: Vec<usize>,
    index: HashMap<Box<[u8]>, usize>,
    open: usize,
    uses: u64,
    /// When no path could be forgotten for another; not tried again for a while.
    crowded_at: i64,
    /// The sink.
    id: Box<str>,
    /// Files that were deleted while they were written.
    deleted: LogThrottle,
}

/// How long it is not tried to forget paths after it was in vain.
const CROWDED_NS: u64 = 1_000_000_000;

impl Files {
    /// `tell` is told how far files of sources are written.
    pub(super) fn new(
        options: FileSinkOptions,
        data_dir: &Path,
        id: &str,
        tell: impl FnOnce(Vec<Place>),
    ) -> io::Result<Files> {
        Ok(Files {
            literal: folder::literal_len(options.path.literal_prefix()),
            dated: options.path.has_time(),
            journal: Journal::open_telling(data_dir, id, tell)?,
            codec: Codec::new(options.compression)?,
            options,
            slots: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            open: 0,
            uses: 0,
            crowded_at: i64::MIN / 2,
            id: id.into(),
            deleted: LogThrottle::default(),
        })
    }

    /// Whether the slot is the one for `path`.
    pub(super) fn is_at(&self, slot: usize, path: &[u8]) -> bool {
        self.slots.get(slot).is_some_and(|s| *s.path == *path && s.file.is_some())
    }

    /// Where lines for the slot are to be appended.
    pub(super) fn buffer(&mut self, slot: usize) -> &mut Vec<u8> {
        &mut self.slots[slot].buf
    }

    /// The slot of `path`, its file open.
    ///
    /// Errors: the file cannot be opened.
    pub(super) fn find(&mut self, path: &[u8], now: i64) -> Result<FoundFile, Problem> {
        self.uses += 1;
        let slot = match self.index.get(path) {
            Some(&slot) => slot,
            None => self.add(path, now)?,
        };
        (self.slots[slot].used, self.slots[slot].at) = (self.uses, now);
        if self.slots[slot].file.is_none() {
            if self.open >= self.options.max_open_files.max(1) && !self.close_oldest() {
                return Ok(FoundFile::Full);
            }
            self.open_slot(slot, now)?;
        }
        Ok(FoundFile::Slot(slot))
    }

    fn add(&mut self, path: &[u8], now: i64) -> Result<usize, Problem> {
        let crowded = self.index.len() >= self.options.max_paths;
        if crowded && (now.abs_diff(self.crowded_at) < CROWDED_NS || !self.forget_idle()) {
            if now.abs_diff(self.crowded_at) >= CROWDED_NS {
                self.crowded_at = now;
            }
            let most = self.options.max_paths;
            return Err(Problem::Path(format!("more than {most} paths (`max_paths`) within an hour")));
        }
        let slot = Slot { path: path.into(), file: None, buf: Vec::new(), used: 0, at: 0 };
        let n = match self.free.pop() {
            Some(n) => {
                self.slots[n] = slot;
                n
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.index.insert(path.into(), n);
        Ok(n)
    }

    /// Makes room for a path; `false` where all were used lately.
    fn forget_idle(&mut self) -> bool {
        let latest = self.slots.iter().map(|s| s.at).max().unwrap_or(0);
        let mut idle: Vec<usize> = Vec::new();
        for &n in self.index.values() {
            let slot = &self.slots[n];
            if slot.buf.is_empty() && latest.saturating_sub(slot.at) > IDLE_NS {
                idle.push(n);
            }
        }
        for &n in &idle {
            self.close(n);
            self.index.remove(&self.slots[n].path);
            self.slots[n].path = Box::default();
            self.slots[n].buf = Vec::new();
            self.free.push(n);
        }
        !idle.is_empty()
    }

    fn close(&mut self, slot: usize) {
        if self.slots[slot].file.take().is_some() {
            self.open -= 1;
        }
    }

    /// Closes the file that was not used for longest and has nothing waiting; `false` where all have.
    fn close_oldest(&mut self) -> bool {
        let idle = self.slots.iter().enumerate().filter(|(_, s)| s.file.is_some() && s.buf.is_empty());
        let Some(n) = idle.min_by_key(|(_, s)| s.used).map(|(n, _)| n) else { return false };
        if self.options.fsync != Fsync::Never {
            let synced = self.sync_slot(n).and_then(|()| self.sync_lengths());
            synced.unwrap_or_else(|problem| tracing::warn!("{}", problem.text()));
        }
        self.slots[n].buf = Vec::new();
        self.close(n);
        true
    }

    fn open_slot(&mut self, slot: usize, now: i64) -> Result<(), Problem> {
        let path = self.slots[slot].path.clone();
        let (file, stat, made) = folder::open_file(&path, self.literal)?;
        let file = File::from(file);
        let identity = folder::ids(&stat);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let fail = |e: io::Error| Problem::of_io(&e, "read the end of", &path);
        let compressed = self.options.compression != Compression::None;
        let known = self.journal.by_path(&path).filter(|(_, k)| (k.dev, k.ino) == identity && !k.rotated);
        let known = known.map(|(id, k)| (id, k.clone()));
        let (mut len, mut newline) = (size, false);
        match &known {
            Some((_, k)) if compressed && size < k.len => {
                drop(file);
                tracing::warn!(path = %String::from_utf8_lossy(&path), "shorter than recorded; set aside");
                self.set_aside(&path, now)?;
                return self.open_slot(slot, now);
            }
            Some((_, k)) if compressed => len = k.len,
            Some((_, k)) if size > 0 && !ends_line(&file, size).map_err(fail)? => {
                let same_boot = k.boot == self.journal.boot && k.boot != 0;
                if same_boot && size > k.len {
                    len = k.len;
                } else if same_boot {
                    newline = true; // somebody else has cut it
                } else {
                    let floor = if size > k.len { k.len } else { 0 };
                    len = last_line_end(&file, floor, size).map_err(fail)?;
                }
            }
            None if compressed
                && size > 0
                && !begins_with(&file, self.options.compression.magic()).map_err(fail)? =>
            {
                let path = String::from_utf8_lossy(&path);
                return Err(Problem::Wait(format!("cannot append to `{path}`: it is not of the sink's compression")));
            }
            None => newline = !compressed && size > 0 && !ends_line(&file, size).map_err(fail)?,
            Some(_) => {}
        }
        if len < size {
            tracing::warn!(path = %String::from_utf8_lossy(&path), bytes = size - len, "an incomplete tail is cut off");
            file.set_len(len).map_err(|e| Problem::of_io(&e, "cut", &path))?;
        }
        let created = known.as_ref().map_or(now, |(_, k)| k.created);
        let recorded = match known {
            Some((id, k)) if k.len == len => Ok(id),
            Some((id, k)) => self.journal.grew(id, len, k.written).map(|()| id),
            None => self.journal.add(Known {
                path: path.clone(),
                dev: identity.0,
                ino: identity.1,
                len,
                created,
                written: now,
                boot: self.journal.boot,
                rotated: false,
            }),
        };
        let id = recorded.map_err(|e| Problem::of_io(&e, "record the length of", &path))?;
        if made && self.options.fsync != Fsync::Never {
            folder::sync_parent(&path, self.literal)?;
        }
        self.slots[slot].file =
            Some(Open { file, id, identity, created, len, synced: len, cut: None, newline, unsynced: false });
        self.open += 1;
        Ok(())
    }

    /// Opens the slot's file where it is not, or is no longer the one under its name: it was deleted, or moved away with or
    /// without its folder, and what is written to it would not be found. Looked at before every write.
    pub(super) fn reopen(&mut self, slot: usize, now: i64) -> Result<(), Problem> {
        let Slot { path, file, .. } = &self.slots[slot];
        if let Some(open) = file {
            if folder::identity(path) == Some(open.identity) {
                return Ok(());
            }
            let (id, deleted) = (open.id, open.file.metadata().is_ok_and(|m| m.nlink() == 0));
            let path = path.clone();
            self.say_begun_anew(&path, deleted);
            self.sync_if_asked(slot, now)?;
            self.close(slot);
            self.journal.forget(id).map_err(|e| Problem::of_io(&e, "record the loss of", &path))?;
        }
        self.open_slot(slot, now)
    }

    /// Says what became of a file: of those deleted one a minute, and how many there were between.
    fn say_begun_anew(&mut self, path: &[u8], deleted: bool) {
        let path = String::from_utf8_lossy(path);
        if !deleted {
            tracing::info!(component = %self.id, %path, "the file was moved away or replaced: begun anew");
        } else if let Some(files) = self.deleted.due(1) {
            tracing::warn!(
                component = %self.id, %path, others_before = files - 1,
                "the file was deleted while it was written: begun anew, without what was in it"
            );
        }
    }

    /// Writes what waits for the slot; gives the bytes that went to the file. What is written is taken from the buffer,
    /// so that a second attempt goes on behind it.
    pub(super) fn flush(&mut self, slot: usize, now: i64, stand: Stand<'_>) -> Result<u64, Problem> {
        let mut buf = std::mem::take(&mut self.slots[slot].buf);
        let mut done = 0;
        let result = self.write(slot, &buf, &mut done, now, stand);
        buf.drain(..done);
        if buf.is_empty() && buf.capacity() > KEPT_BUFFER_BYTES && self.open > 8 {
            buf.shrink_to(KEPT_BUFFER_BYTES);
        }
        self.slots[slot].buf = buf;
        result
    }

    /// Writes `data`, whole lines, to the end of the slot's file and records its new length; `done` says how far it came,
    /// and where to go on. Gives the bytes that went to the file.
    pub(super) fn write(
        &mut self,
        slot: usize,
        data: &[u8],
        done: &mut usize,
        now: i64,
        stand: Stand<'_>,
    ) -> Result<u64, Problem> {
        // Up to here it is durable, where that is asked for.
        let mut synced = *done;
        let written = self.write_pieces(slot, data, done, &mut synced, (now, stand));
        if let Err(problem) = self.sync_if_asked(slot, now) {
            *done = synced;
            return Err(problem);
        }
        let bytes = written?;
        self.sync_record(slot)?;
        Ok(bytes)
    }

    fn write_pieces(
        &mut self,
        slot: usize,
        data: &[u8],
        done: &mut usize,
        synced: &mut usize,
        (now, stand): (i64, Stand<'_>),
    ) -> Result<u64, Problem> {
        let mut bytes = 0;
        while *done < data.len() {
            self.reopen(slot, now)?;
            let rest = &data[*done..];
            if self.rotation_is_due(slot, rest, now) {
                self.sync_if_asked(slot, now)?;
                *synced = *done;
                self.sync_record(slot)?;
                self.rotate(slot, now)?;
            }
            self.prepare(slot)?;
            let wrote = if self.options.compression == Compression::None {
                let piece = self.fitting(slot, rest);
                let ends = stand.ends.filter(|_| piece.len() == rest.len());
                let n = announced(
                    &mut self.journal,
                    &mut self.slots[slot],
                    piece,
                    now,
                    Stand { ends, ..stand },
                    Piece::Lines,
                )?;
                *done += n;
                n
            } else {
                let packed = self.codec.pack(rest).map_err(|e| Problem::of_io(&e, "compress for", b""))?;
                let n = announced(&mut self.journal, &mut self.slots[slot], packed, now, stand, Piece::Whole)?;
                *done = data.len();
                n
            };
            bytes += wrote as u64;
        }
        Ok(bytes)
    }

    /// As much of `data` as fits before the file is to be rotated, in whole lines and at least one.
    fn fitting<'d>(&self, slot: usize, data: &'d [u8]) -> &'d [u8] {
        let (Some(size), Some(open)) = (self.rotate_of().size, &self.slots[slot].file) else { return data };
        let room = usize::try_from(size.saturating_sub(open.len)).unwrap_or(usize::MAX);
        if data.len() <= room {
            return data;
        }
        let end = memchr::memrchr(b'\n', &data[..room]).or_else(|| memchr::memchr(b'\n', data));
        end.map_or(data, |at| &data[..=at])
    }

    /// Makes the slot's file ready for the next write: what an earlier attempt left is cut, a foreign last line ended.
    fn prepare(&mut self, slot: usize) -> Result<(), Problem> {
        let Slot { path, file, .. } = &mut self.slots[slot];
        let Some(open) = file else { return Ok(()) };
        if let Some(len) = open.cut {
            open.file.set_len(len).map_err(|e| Problem::of_io(&e, "cut", path))?;
            open.cut = None;
        }
        let fail = |e: io::Error| Problem::of_io(&e, "write", path);
        if open.newline {
            (&open.file).write_all(b"\n").map_err(fail)?;
            open.newline = false;
        }
        open.len = open.file.metadata().map_err(fail)?.len();
        Ok(())
    }

    /// Where a length alone says what of a file counts, the journal must survive as the file does: a plain file is repaired
    /// without the journal's last word, a compressed one would be cut back too far.
    fn sync_record(&mut self, slot: usize) -> Result<(), Problem> {
        if self.options.fsync == Fsync::Batch && self.options.compression != Compression::None {
            let path = &self.slots[slot].path;
            self.journal.sync().map_err(|e| Problem::of_io(&e, "record the length of", path))?;
        }
        Ok(())
    }

    fn sync_if_asked(&mut self, slot: usize, now: i64) -> Result<(), Problem> {
        if self.options.fsync != Fsync::Batch {
            return Ok(());
        }
        let synced = self.sync_slot(slot);
        if synced.is_err()
            && let Some(open) = &self.slots[slot].file
        {
            self.journal.failed(open.id, open.len, now);
        }
        synced
    }

    /// Syncs the slot's file. After a failure nothing that was written since the last sync can be trusted, so with
    /// `fsync: batch` it is cut off, to be written once more.
    fn sync_slot(&mut self, slot: usize) -> Result<(), Problem> {
        let Slot { path, file, .. } = &mut self.slots[slot];
        let Some(open) = file else { return Ok(()) };
        if !open.unsynced {
            return Ok(());
        }
        if let Err(e) = open.file.sync_data() {
            if self.options.fsync == Fsync::Batch {
                open.cut = Some(open.synced);
                open.len = open.synced;
            }
            return Err(Problem::of_io(&e, "sync", path));
        }
        (open.unsynced, open.synced) = (false, open.len);
        Ok(())
    }

    /// Syncs every file that was written, for `fsync: interval`.
    ///
    /// Errors: the first; the other files are synced all the same.
    pub(super) fn sync_all(&mut self) -> Result<(), Problem> {
        let mut result = Ok(());
        let mut any = false;
        for slot in 0..self.slots.len() {
            any |= self.slots[slot].file.as_ref().is_some_and(|open| open.unsynced);
            let synced = self.sync_slot(slot);
            result = result.and(synced);
        }
        if any {
            result = result.and(self.sync_lengths());
        }
        result
    }

    /// A compressed file is cut back to its recorded length: that must be on disk, too.
    fn sync_lengths(&mut self) -> Result<(), Problem> {
        if self.options.compression == Compression::None {
            return Ok(());
        }
        self.journal.sync().map_err(|e| Problem::of_io(&e, "record the lengths of", b"the files"))
    }

    fn rotate(&mut self, slot: usize, now: i64) -> Result<(), Problem> {
        if self.options.fsync == Fsync::Interval {
            self.sync_slot(slot)?;
        }
        let path = self.slots[slot].path.clone();
        self.close(slot);
        self.set_aside(&path, now)?;
        self.clean(now, Some(&path));
        self.open_slot(slot, now)
    }

    /// Renames a file out of the way and remembers it under its new name.
    fn set_aside(&mut self, path: &[u8], now: i64) -> Result<(), Problem> {
        let t = Civil::from_ns(now);
        let stamp = format!("{:04}{:02}{:02}T{:02}{:02}{:02}Z", t.year, t.month, t.day, t.hour, t.minute, t.second);
        let new = folder::set_aside(path, self.literal, &stamp)?;
        if let Some((id, _)) = self.journal.by_path(path)
            && let Err(error) = self.journal.rotated(id, &new)
        {
            let path = String::from_utf8_lossy(&new);
            tracing::warn!(%path, %error, "a rotated file could not be recorded and will not be deleted");
        }
        Ok(())
    }

    fn rotate_of(&self) -> Rotate {
        self.options.rotate.unwrap_or_default()
    }

    /// Whether the file is to be set aside before `next` is written.
    fn rotation_is_due(&self, slot: usize, next: &[u8], now: i64) -> bool {
        let rotate = self.rotate_of();
        let Some(open) = self.slots[slot].file.as_ref().filter(|o| o.len > 0) else { return false };
        if let Some(size) = rotate.size {
            let line = match self.options.compression {
                Compression::None => memchr::memchr(b'\n', next).map_or(next.len(), |at| at + 1) as u64,
                _ => 1,
            };
            if open.len + line > size {
                return true;
            }
        }
        rotate.every.is_some_and(|every| {
            let every = i64::try_from(every.as_nanos()).unwrap_or(i64::MAX).max(1);
            now.div_euclid(every) > open.created.div_euclid(every)
        })
    }

    /// Deletes rotated files beyond `keep`, and files past `max_age`; of one path, or of all. Only what the journal has.
    pub(super) fn clean(&mut self, now: i64, only: Option<&[u8]>) {
        let rotate = self.rotate_of();
        if rotate.keep.is_none() && rotate.max_age.is_none() {
            return;
        }
        let oldest = rotate
            .max_age
            .map_or(i64::MIN, |age| now.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)));
        let base = |path: &[u8]| memchr::memrchr(b'.', path).map_or(path.len(), |at| at);
        let mut by_base: HashMap<&[u8], Vec<(i64, FileId)>> = HashMap::new();
        let mut gone: Vec<FileId> = Vec::new();
        for (id, known) in self.journal.files() {
            if known.rotated {
                let base = &known.path[..base(&known.path)];
                if only.is_none_or(|only| only == base) {
                    by_base.entry(base).or_default().push((known.written, id));
                }
            } else if self.dated && known.written < oldest && only.is_none() {
                // A path with the time in it is not written any more.
                let slot = self.index.get(&known.path).map(|&n| &self.slots[n]);
                if slot.is_none_or(|s| s.buf.is_empty() && s.file.is_none()) {
                    gone.push(id);
                }
            }
        }
        for mut generations in by_base.into_values() {
            generations.sort_unstable_by(|a, b| b.cmp(a));
            let keep = rotate.keep.unwrap_or(usize::MAX);
            gone.extend(
                generations.iter().enumerate().filter(|(n, (at, _))| *n >= keep || *at < oldest).map(|(_, g)| g.1),
            );
        }
        for id in gone {
            let Some(known) = self.journal.get(id) else { continue };
            let path = known.path.clone();
            match folder::delete(&path, self.literal, (known.dev, known.ino)) {
                Ok(true) => tracing::info!(path = %String::from_utf8_lossy(&path), "deleted a rotated file"),
                Ok(false) => {}
                Err(problem) => {
                    tracing::warn!("{}", problem.text());
                    continue;
                }
            }
            if let Err(error) = self.journal.forget(id) {
                tracing::warn!(%error, "a deleted file could not be struck off the journal");
            }
        }
    }

    /// Whether writes of a step were done that has not ended.
    pub(super) fn is_in_step(&self) -> bool {
        self.journal.is_in_step()
    }

    /// Ends the step: all that was to be written is.
    pub(super) fn end_step(&mut self, stand: Stand<'_>) -> Result<(), Problem> {
        let Some(places) = stand.ends.filter(|_| self.is_in_step()) else { return Ok(()) };
        self.journal.end_step(places).map_err(|e| Problem::of_io(&e, "record the length of", b"the files"))
    }

    /// Begins the journal anew where its file was deleted or moved away.
    pub(super) fn keep_journal(&mut self) -> io::Result<()> {
        self.journal.keep()
    }

    /// Closes files that were not used for a while, so that deleted ones give their space back.
    pub(super) fn close_idle(&mut self, now: i64) {
        for n in 0..self.slots.len() {
            let slot = &self.slots[n];
            if slot.file.is_some() && slot.buf.is_empty() && now.saturating_sub(slot.at) > IDLE_NS / 60 {
                if self.options.fsync != Fsync::Never && self.sync_slot(n).is_err() {
                    continue;
                }
                self.close(n);
            }
        }
    }
}

/// What is appended at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// Lines, each of which stands alone.
    Lines,
    /// Half of it is worth nothing.
    Whole,
}

/// Appends what the journal is told of first. Gives how much was written, all of it or whole lines.
fn announced(
    journal: &mut Journal,
    slot: &mut Slot,
    data: &[u8],
    now: i64,
    stand: Stand<'_>,
    piece: Piece,
) -> Result<usize, Problem> {
    let Some((id, from)) = slot.file.as_ref().map(|open| (open.id, open.len)) else { return Ok(0) };
    let told = journal.announce(id, from, data, now, stand);
    told.map_err(|e| Problem::of_io(&e, "record the length of", &slot.path))?;
    let written = append(slot, data, piece);
    if !matches!(written, Ok(n) if n == data.len())
        && let Some(open) = &slot.file
    {
        journal.failed(id, open.len, now);
    }
    written
}

/// Appends. Gives how much was written, all of it or whole lines.
fn append(slot: &mut Slot, data: &[u8], piece: Piece) -> Result<usize, Problem> {
    let Slot { path, file, .. } = slot;
    let Some(open) = file else { return Err(Problem::Wait("the file is not open".into())) };
    let mut n = 0;
    let result = loop {
        match (&open.file).write(&data[n..]) {
            Ok(0) if n < data.len() => break Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => {
                n += more;
                if n == data.len() {
                    break Ok(());
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => break Err(e),
        }
    };
    let kept = match &result {
        Ok(()) => n,
        Err(_) if piece == Piece::Whole => 0,
        Err(_) => memchr::memrchr(b'\n', &data[..n]).map_or(0, |at| at + 1),
    };
    open.len += kept as u64;
    open.unsynced |= kept > 0;
    if kept < n && open.file.set_len(open.len).is_err() {
        open.cut = Some(open.len);
    }
    match result {
        Err(e) if kept == 0 => Err(Problem::of_io(&e, "write", path)),
        _ => Ok(kept),
    }
}

/// Whether the byte before `size` is a line end.
fn ends_line(file: &File, size: u64) -> io::Result<bool> {
    let mut last = [0];
    file.read_exact_at(&mut last, size - 1)?;
    Ok(last == *b"\n")
}

fn begins_with(file: &File, magic: &[u8]) -> io::Result<bool> {
    let mut head = [0; 4];
    let n = file.read_at(&mut head, 0)?;
    Ok(head[..n].starts_with(magic))
}

/// Behind the last line end of the file's first `size` bytes, or `floor` where there is none behind that.
fn last_line_end(file: &File, floor: u64, size: u64) -> io::Result<u64> {
    let mut chunk = vec![0; 64 << 10];
    let mut end = size;
    while end > floor {
        let start = end.saturating_sub(chunk.len() as u64).max(floor);
        let part = &mut chunk[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(floor)
}

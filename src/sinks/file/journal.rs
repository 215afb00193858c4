//! What a file sink knows of its own files, kept across restarts in `data_dir/file_sinks/<id>.journal`.
//!
//! The length recorded for a file is where its last acknowledged write ended: an incomplete tail behind it is cut off at
//! the next start. Only files recorded here are ever deleted by `rotate`.
//!
//! ```text
//! file    := record*                    append only; written anew, by rename, when it is mostly out of date
//! record  := length u32, crc u32, body  little-endian; length of the body, CRC32C of the body
//! body    := 1, boot u64                       what follows was written since this boot of the machine
//!          | 2, id u32, dev u64, ino u64, len u64, created i64, written i64, boot u64, rotated u8, n u16, path[n]
//!          | 3, id u32, len u64, written i64   the file has grown to `len`
//!          | 4, id u32                         forgotten
//! ```
//!
//! `created` and `written` are nanoseconds since 1970 UTC. `rotated` is 1 where the file no longer stands under the name
//! it was written under; its `path` is then the new name, and what precedes the last `.` of it is the old one.
//! Version: the first byte of every body; other values end reading, as a torn or damaged record does. What stood before is
//! taken, and the file is written anew. Losing records costs repairs and deletions, never data: a file that is not known
//! is only appended to.

use crate::storage::{Disk, boot_id, make_again};
use hashbrown::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const BOOT: u8 = 1;
const KNOWN: u8 = 2;
const GREW: u8 = 3;
const GONE: u8 = 4;

/// Longest body: a path has at most 4 KiB.
const MAX_BODY_BYTES: usize = 8 << 10;
/// A journal shorter than this is never written anew.
const SMALL_JOURNAL_BYTES: u64 = 1 << 20;
/// Bytes of a record of kind 2 without its path, about: to estimate what is up to date.
const KNOWN_BYTES: u64 = 64;

/// One of the sink's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) path: Box<[u8]>,
    pub(super) dev: u64,
    pub(super) ino: u64,
    /// Where the last acknowledged write ended.
    pub(super) len: u64,
    pub(super) created: i64,
    pub(super) written: i64,
    /// The boot of the machine in which `len` was recorded.
    pub(super) boot: u64,
    pub(super) rotated: bool,
}

/// Number of a file within a journal.
pub(super) type FileId = u32;

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
}

impl Journal {
    /// Opens the journal of the sink `id`, made where there is none. What it holds is written anew.
    pub(super) fn open(data_dir: &Path, id: &str) -> io::Result<Journal> {
        let folder = data_dir.join("file_sinks");
        crate::data_dir::create_dir(&folder)?;
        let path = folder.join(format!("{id}.journal"));
        let old = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let (files, rest) = read(&old);
        if rest > 0 {
            tracing::warn!(component = id, path = %path.display(), bytes = rest, "the end of the journal was damaged and is cut off");
        }
        let by_path = files.iter().map(|(id, f)| (f.path.clone(), *id)).collect();
        let next = files.keys().max().map_or(0, |n| n + 1);
        let (file, bytes) = write_anew(&path, &files, boot_id())?;
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
        })
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
        put_grew(id, len, written, &mut self.record);
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
        let (file, bytes) = write_anew(&self.path, &self.files, self.boot)?;
        (self.file, self.bytes, self.live_bytes) = (file, bytes, bytes);
        tracing::warn!(path = %self.path.display(), "the journal was deleted or moved away while it was in use: written anew");
        Ok(())
    }

    /// Makes what was recorded survive a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn append(&mut self) -> io::Result<()> {
        if self.bytes > SMALL_JOURNAL_BYTES && self.bytes / 4 > self.live_bytes {
            let (file, bytes) = write_anew(&self.path, &self.files, self.boot)?;
            (self.file, self.bytes, self.live_bytes) = (file, bytes, bytes);
        }
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
fn write_anew(path: &Path, files: &HashMap<FileId, Known>, boot: u64) -> io::Result<(File, u64)> {
    let mut all = Vec::new();
    let mut record = Vec::new();
    put_boot(boot, &mut all);
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
    Ok((state_file().append(true).open(path)?, all.len() as u64))
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

fn put_grew(id: FileId, len: u64, written: i64, out: &mut Vec<u8>) {
    frame(out, |out| {
        out.push(GREW);
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

/// Takes numbers and bytes off the front; `None` where there are not enough.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

/// The files that a journal ends with, and how many bytes at its end are torn or damaged.
fn read(bytes: &[u8]) -> (HashMap<FileId, Known>, usize) {
    let mut files = HashMap::new();
    let mut boot = 0;
    let mut left = Cursor(bytes);
    loop {
        let before = left.0.len();
        if before == 0 || read_record(&mut left, &mut files, &mut boot).is_none() {
            return (files, before);
        }
    }
}

fn read_record(left: &mut Cursor<'_>, files: &mut HashMap<FileId, Known>, boot: &mut u64) -> Option<()> {
    let (len, crc) = (left.u32()? as usize, left.u32()?);
    let body = left.take(len).filter(|_| len <= MAX_BODY_BYTES)?;
    if crc32c::crc32c(body) != crc {
        return None;
    }
    let mut body = Cursor(body);
    match body.u8()? {
        BOOT => *boot = body.u64()?,
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
            files.insert(id, known);
        }
        GREW => {
            let (id, len, written) = (body.u32()?, body.u64()?, body.u64()? as i64);
            if let Some(known) = files.get_mut(&id) {
                (known.len, known.written, known.boot) = (len, written, *boot);
            }
        }
        GONE => {
            files.remove(&body.u32()?);
        }
        _ => return None,
    }
    Some(())
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
        let len_of = |bytes: &[u8]| read(bytes).0.get(&a).map_or(0, |f| f.len);
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
            let (files, rest) = read(&damaged);
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

//! What makes a file that file, whatever its name: where it lies, when it was made, and how it begins.

use rustix::fs::{AtFlags, CWD, OFlags, Statx, StatxFlags, openat, statx};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// Most bytes of a file's beginning that are hashed.
pub(super) const HEAD_BYTES: usize = 1024;
/// Bytes before a position that are hashed to know the place again.
pub(super) const MARK_BYTES: usize = 64;

/// Device, inode, and time of birth where the file system keeps one: a reused inode has another birth.
///
/// With `fingerprint: {bytes: N}`, `inode` is the hash of the first N bytes and the others are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Nanoseconds since 1970; 0 where unknown.
    pub(super) birth: i64,
}

/// Hash of a file's beginning: as much as there was, up to [`HEAD_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Head {
    pub(super) len: u32,
    pub(super) hash: u64,
}

impl Head {
    /// Of all of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let bytes = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
        Head { len: bytes.len() as u32, hash: if bytes.is_empty() { 0 } else { xxh3_64(bytes) } }
    }

    /// Whether a file that begins with `bytes` (as many as it has, up to [`HEAD_BYTES`]) can be the one this was taken of.
    pub(super) fn fits(&self, bytes: &[u8]) -> bool {
        self.len == 0 || bytes.get(..self.len as usize).is_some_and(|b| xxh3_64(b) == self.hash)
    }
}

/// A place in a file from which reading can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Position {
    /// Bytes before it; always at the start of a line, or within one that is being skipped.
    pub(super) offset: u64,
    /// Hash of the last [`MARK_BYTES`] bytes before it (fewer at the start of the file).
    pub(super) mark: u64,
    /// It lies within a line that was too long: what comes up to the next line end is not read.
    pub(super) skipping: bool,
}

impl Position {
    /// Bytes before the position that its mark covers.
    pub(super) fn mark_len(&self) -> usize {
        self.offset.min(MARK_BYTES as u64) as usize
    }

    /// The mark for a position behind `before`, which must hold at least [`mark_len`](Position::mark_len) bytes.
    pub(super) fn mark_of(before: &[u8]) -> u64 {
        let tail = &before[before.len().saturating_sub(MARK_BYTES)..];
        if tail.is_empty() { 0 } else { xxh3_64(tail) }
    }
}

/// What a look at a file tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) identity: Identity,
    pub(super) size: u64,
    /// Nanoseconds since 1970.
    pub(super) modified: i64,
    pub(super) links: u32,
    pub(super) is_file: bool,
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

fn nanoseconds(t: rustix::fs::StatxTimestamp) -> i64 {
    t.tv_sec.saturating_mul(1_000_000_000).saturating_add(i64::from(t.tv_nsec))
}

fn look(s: &Statx) -> Look {
    let kind = rustix::fs::FileType::from_raw_mode(s.stx_mode.into());
    let known_birth = StatxFlags::from_bits_retain(s.stx_mask).contains(StatxFlags::BTIME);
    Look {
        identity: Identity {
            device: rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor),
            inode: s.stx_ino,
            birth: if known_birth { nanoseconds(s.stx_btime) } else { 0 },
        },
        size: s.stx_size,
        modified: nanoseconds(s.stx_mtime),
        links: s.stx_nlink,
        is_file: kind == rustix::fs::FileType::RegularFile,
    }
}

/// Looks at what stands at `path`.
pub(super) fn look_at(path: &Path, follow_symlinks: bool) -> io::Result<Look> {
    let flags = if follow_symlinks { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    Ok(look(&statx(CWD, path, flags, WANTED)?))
}

/// Looks at an open file.
pub(super) fn look_into(file: impl AsFd) -> io::Result<Look> {
    Ok(look(&statx(file, c"", AtFlags::EMPTY_PATH, WANTED)?))
}

/// Opens a file for reading; never waits for the other end of a pipe, never takes a terminal.
pub(super) fn open(path: &Path, follow_symlinks: bool) -> io::Result<OwnedFd> {
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    if !follow_symlinks {
        flags |= OFlags::NOFOLLOW;
    }
    Ok(openat(CWD, path, flags, rustix::fs::Mode::empty())?)
}

/// Fills `buf` from `offset` as far as the file goes; how many bytes there were.
pub(super) fn read_at(file: impl AsFd, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match rustix::io::pread(&file, &mut buf[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_head_fits_what_it_has_grown_to_and_nothing_else() {
        let head = Head::of(b"first line\n");
        assert!(head.fits(b"first line\n"));
        assert!(head.fits(b"first line\nsecond"));
        assert!(!head.fits(b"first lin"));
        assert!(!head.fits(b"other line\nsecond"));
        assert!(Head::of(b"").fits(b"anything"));
    }

    #[test]
    fn looking_tells_files_from_folders_and_follows_links_on_demand() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("f"), dir.path().join("l"));
        std::fs::write(&file, "abc").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let f = look_at(&file, true).unwrap();
        assert!(f.is_file && f.size == 3 && f.links == 1);
        assert_eq!(look_at(&link, true).unwrap().identity, f.identity);
        assert!(!look_at(&link, false).unwrap().is_file);
        assert!(!look_at(dir.path(), true).unwrap().is_file);
        assert_eq!(look_into(open(&file, true).unwrap()).unwrap().identity, f.identity);
        assert!(open(&link, false).is_err());
    }
}

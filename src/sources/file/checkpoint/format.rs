//! The format of checkpoints.
//!
//! Layout, little-endian:
//!
//! | Field | Bytes | |
//! |---|---|---|
//! | magic | 4 | `TGFC` |
//! | version | 2 | 3 |
//! | kind | 2 | 0 `files`, 1 `recent` |
//! | sequence | 8 | grows by one with each file of either kind |
//! | base | 8 | of `recent`: sequence of the `files` it adds to; of `files`: its own |
//! | next generation | 8 | first number not given to a file yet |
//! | entries | 8 | number of entries |
//! | body length | 8 | bytes behind the checksum |
//! | keys | 16 | of the running hash: two random numbers, the same in all files of the folder; since version 3 |
//! | checksum | 4 | CRC-32C of all bytes before it and of the body |
//! | body | | the entries |
//!
//! An entry: generation 8, device 8, inode 8, birth 8, head hash 8, head length 4, flags 1 (1 current, 2 skipping,
//! 4 finished, 8 compressed, 16 left, 32 ahead, 64 partial), 1 stream flags (1 and 2 skipping in stdout and stderr), 2 zero bytes, offset
//! 8, mark 8, sum 16, touched 8 (seconds since 1970), changed 8, modified 8, size 8, path length 4, path; with flag 32, how far
//! stdout, stderr and other lines were given, 8 each. Version 1 and 2 have no `sum`, `modified` and `size` and no flags from 8
//! on; version 2 has the time of modification in place of `changed`, and version 1 nothing. What they do not say is not known,
//! and nothing is passed over because of it.

use super::super::identity::{Ahead, Hasher, Head, Identity, Position, Sum};
use super::Known;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// How such a file begins.
pub(super) const MAGIC: &[u8; 4] = b"TGFC";
const VERSION: u16 = 3;
/// Oldest version that is read.
const OLDEST_VERSION: u16 = 1;
pub(super) const HEADER_BYTES: usize = 68;
pub(super) const ENTRY_BYTES: usize = 116;

/// Bytes before the body, with the checksum.
fn header_bytes(version: u16) -> usize {
    if version >= 3 { HEADER_BYTES } else { HEADER_BYTES - 16 }
}

/// Bytes of an entry without its path.
fn entry_bytes(version: u16) -> usize {
    match version {
        1 => ENTRY_BYTES - 40,
        2 => ENTRY_BYTES - 32,
        _ => ENTRY_BYTES,
    }
}

/// What is in a file of this format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ImageKind {
    Files = 0,
    Recent = 1,
}

impl ImageKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            ImageKind::Files => "files",
            ImageKind::Recent => "recent",
        }
    }
}

/// What a file says.
pub(super) struct Image {
    pub(super) sequence: u64,
    pub(super) base: u64,
    pub(super) next_generation: u64,
    /// Of the running hash; `None` in versions that have none.
    pub(super) keys: Option<[u64; 2]>,
    pub(super) entries: Vec<(u64, Known)>,
}

pub(super) fn encode<'a>(
    kind: ImageKind,
    sequence: u64,
    base: u64,
    next_generation: u64,
    hasher: Hasher,
    entries: impl Iterator<Item = (u64, &'a Known)> + Clone,
) -> Vec<u8> {
    let room = entries.clone().map(|(_, k)| ENTRY_BYTES + k.path.as_os_str().len() + 8 * 3).sum::<usize>();
    let mut out = Vec::with_capacity(HEADER_BYTES + room);
    out.resize(HEADER_BYTES, 0);
    let mut count = 0u64;
    for (generation, k) in entries {
        count += 1;
        let path = k.path.as_os_str().as_bytes();
        for n in [generation, k.identity.device, k.identity.inode, k.identity.birth as u64, k.head.hash] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&k.head.len.to_le_bytes());
        let ahead = k.at.ahead.flags();
        let flags = [k.current, k.at.skipping, k.finished, k.packed, k.left, ahead & 1 != 0, k.partial];
        let flags = flags.iter().rev().fold(0, |flags, flag| flags << 1 | u8::from(*flag));
        out.extend_from_slice(&[flags, ahead >> 1, 0, 0]);
        let [a, b] = k.at.sum.0;
        for n in [k.at.offset, k.at.mark, a, b, k.touched as u64, k.changed as u64, k.modified as u64, k.size] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&(path.len() as u32).to_le_bytes());
        out.extend_from_slice(path);
        for n in k.at.ahead.given.into_iter().filter(|_| k.at.ahead.is_ahead()) {
            out.extend_from_slice(&n.to_le_bytes());
        }
    }
    let body = (out.len() - HEADER_BYTES) as u64;
    out[..4].copy_from_slice(MAGIC);
    out[4..6].copy_from_slice(&VERSION.to_le_bytes());
    out[6..8].copy_from_slice(&(kind as u16).to_le_bytes());
    let [key_0, key_1] = hasher.keys;
    for (i, n) in [sequence, base, next_generation, count, body, key_0, key_1].into_iter().enumerate() {
        out[8 + i * 8..16 + i * 8].copy_from_slice(&n.to_le_bytes());
    }
    let checksum = checksum(&out, HEADER_BYTES);
    out[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    out
}

pub(super) fn checksum(file: &[u8], header: usize) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&file[..header - 4]), &file[header..])
}

/// Takes fixed-width numbers off the front.
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_le_bytes)
    }
}

pub(super) fn decode(file: &[u8], kind: ImageKind) -> Result<Image, &'static str> {
    if file.len() < header_bytes(OLDEST_VERSION) {
        return Err("it is shorter than its header");
    }
    if &file[..4] != MAGIC {
        return Err("it does not begin as a checkpoint file does");
    }
    let version = u16::from_le_bytes([file[4], file[5]]);
    if !(OLDEST_VERSION..=VERSION).contains(&version) {
        return Err("it is of another version");
    }
    let header = header_bytes(version);
    if file.len() < header {
        return Err("it is shorter than its header");
    }
    if file[6..8] != (kind as u16).to_le_bytes() {
        return Err("it is of another kind");
    }
    let mut cut = Cut(&file[8..header]);
    let mut next = || cut.u64().unwrap_or(0);
    let (sequence, base, next_generation, count, body) = (next(), next(), next(), next(), next());
    let keys = (version >= 3).then(|| [next(), next()]);
    if body != (file.len() - header) as u64 {
        return Err("its length is wrong");
    }
    if file[header - 4..header] != checksum(file, header).to_le_bytes() {
        return Err("its checksum is wrong");
    }
    let room = (body as usize) / entry_bytes(version);
    let mut entries = Vec::with_capacity(room.min(usize::try_from(count).unwrap_or(0)));
    let mut cut = Cut(&file[header..]);
    for _ in 0..count {
        entries.push(entry(&mut cut, version).ok_or("its entries end too soon")?);
    }
    Ok(Image { sequence, base, next_generation, keys, entries })
}

fn entry(cut: &mut Cut<'_>, version: u16) -> Option<(u64, Known)> {
    let generation = cut.u64()?;
    let identity = Identity { device: cut.u64()?, inode: cut.u64()?, birth: cut.u64()? as i64 };
    let hash = cut.u64()?;
    let head = Head { len: cut.u32()?, hash };
    let ([flags, streams], _) = cut.bytes(4)?.split_first_chunk().map(|(a, b)| (*a, b))?;
    let (offset, mark) = (cut.u64()?, cut.u64()?);
    let sum = if version >= 3 { Sum([cut.u64()?, cut.u64()?]) } else { Sum::default() };
    let mut at = Position { offset, mark, sum, skipping: flags & 2 != 0, ..Position::default() };
    let touched = cut.u64()? as i64;
    let changed = if version >= 2 { cut.u64()? as i64 } else { 0 };
    let (changed, modified, size) =
        if version >= 3 { (changed, cut.u64()? as i64, cut.u64()?) } else { (0, changed, 0) };
    let len = cut.u32()? as usize;
    let path: Arc<Path> = Path::new(OsStr::from_bytes(cut.bytes(len)?)).into();
    let (current, finished) = (flags & 1 != 0, flags & 4 != 0);
    // Versions of before do not tell; their names did.
    let packed = flags & 8 != 0 || version < 3 && super::super::names::is_packed_name(&path);
    let (left, partial) = (flags & 16 != 0, flags & 64 != 0);
    at.ahead = Ahead::read(flags >> 5 & 1 | streams << 1, || cut.u64())?;
    let known =
        Known { identity, head, at, path, touched, changed, modified, size, current, finished, packed, left, partial };
    Some((generation, known))
}

/// What an agent of before would have written in place of a file.
#[cfg(test)]
pub(in crate::sources::file) fn as_version(file: &[u8], version: u16) -> Vec<u8> {
    let mut out = file[..HEADER_BYTES - 20].to_vec();
    out.extend_from_slice(&[0; 4]);
    let mut rest = &file[HEADER_BYTES..];
    while rest.len() >= ENTRY_BYTES {
        let length = rest[ENTRY_BYTES - 4..ENTRY_BYTES].try_into().map_or(0, u32::from_le_bytes) as usize;
        // Up to the mark, without the sum; the times; the path.
        out.extend_from_slice(&rest[..64]);
        out.extend_from_slice(&rest[80..if version == 1 { 88 } else { 96 }]);
        out.extend_from_slice(&rest[ENTRY_BYTES - 4..ENTRY_BYTES + length]);
        rest = &rest[ENTRY_BYTES + length..];
    }
    out[4..6].copy_from_slice(&version.to_le_bytes());
    let header = header_bytes(version);
    let body = (out.len() - header) as u64;
    out[header - 12..header - 4].copy_from_slice(&body.to_le_bytes());
    let checksum = checksum(&out, header);
    out[header - 4..header].copy_from_slice(&checksum.to_le_bytes());
    out
}

//! The records of a journal.
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

use super::super::known::{FileId, Known};
use crate::ack::place::FileOf;

pub(super) const VERSION: u32 = 2;

pub(super) const BOOT: u8 = 1;
pub(super) const KNOWN: u8 = 2;
pub(super) const GREW: u8 = 3;
pub(super) const GONE: u8 = 4;
pub(super) const VERSIONED: u8 = 5;
pub(super) const SOURCE_FILE: u8 = 6;
pub(super) const PLACE: u8 = 7;
pub(super) const WRITE: u8 = 8;
pub(super) const FAILED: u8 = 9;
pub(super) const END: u8 = 10;

/// What is written comes again from where it came, where it is not acknowledged.
pub(super) const AGAIN: u8 = 1;
/// The last write of a step.
pub(super) const ENDS: u8 = 2;
/// What was announced before is durable.
pub(super) const DURABLE: u8 = 4;

/// Longest body: a path has at most 4 KiB, and a step may have events of many files.
pub(super) const MAX_BODY_BYTES: usize = 4 << 20;

pub(super) fn put_source_file(number: u32, file: &FileOf, out: &mut Vec<u8>) {
    frame(out, |out| {
        out.push(SOURCE_FILE);
        out.extend_from_slice(&number.to_le_bytes());
        file.put(out);
    });
}

pub(super) fn frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    out.clear();
    out.extend_from_slice(&[0; 8]);
    body(out);
    let len = (out.len() - 8) as u32;
    let crc = crc32c::crc32c(&out[8..]);
    out[..4].copy_from_slice(&len.to_le_bytes());
    out[4..8].copy_from_slice(&crc.to_le_bytes());
}

pub(super) fn put_boot(boot: u64, out: &mut Vec<u8>) {
    frame(out, |out| {
        out.push(BOOT);
        out.extend_from_slice(&boot.to_le_bytes());
    });
}

pub(super) fn put_known(id: FileId, known: &Known, out: &mut Vec<u8>) {
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

pub(super) fn put_length(kind: u8, id: FileId, len: u64, written: i64, out: &mut Vec<u8>) {
    frame(out, |out| {
        out.push(kind);
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&written.to_le_bytes());
    });
}

pub(super) fn put_gone(id: FileId, out: &mut Vec<u8>) {
    frame(out, |out| {
        out.push(GONE);
        out.extend_from_slice(&id.to_le_bytes());
    });
}

//! Compression of what one flush writes: one gzip member or one zstd frame, so that a reader of the file sees whole ones.

use super::Compression;
use crate::sinks::pack::{Checksum, Gzip, Zstd};

/// Level 6 takes three times as long for a few per cent.
const GZIP_LEVEL: u32 = 3;
const ZSTD_LEVEL: i32 = 1;

impl Compression {
    /// What a file that is compressed this way begins with.
    pub(super) fn magic(self) -> &'static [u8] {
        match self {
            Compression::None => b"",
            Compression::Gzip => &[0x1f, 0x8b],
            Compression::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
        }
    }
}

/// Compresses one flush at a time, with memory of its own.
pub(super) struct Codec {
    machine: Machine,
    packed: Vec<u8>,
}

enum Machine {
    None,
    Gzip(Gzip),
    Zstd(Zstd),
}

impl Codec {
    pub(super) fn new(kind: Compression) -> std::io::Result<Codec> {
        let machine = match kind {
            Compression::None => Machine::None,
            Compression::Gzip => Machine::Gzip(Gzip::new(GZIP_LEVEL)),
            Compression::Zstd => Machine::Zstd(Zstd::new(ZSTD_LEVEL, Checksum::Included)?),
        };
        Ok(Codec { machine, packed: Vec::new() })
    }

    /// The compressed form of `data`.
    pub(super) fn pack(&mut self, data: &[u8]) -> std::io::Result<&[u8]> {
        self.packed.clear();
        match &mut self.machine {
            Machine::None => self.packed.extend_from_slice(data),
            Machine::Gzip(gzip) => gzip.pack(data, &mut self.packed)?,
            Machine::Zstd(zstd) => zstd.pack(data, &mut self.packed)?,
        }
        Ok(&self.packed)
    }
}

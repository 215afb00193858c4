//! Compression of what one flush writes: one gzip member or one zstd frame, so that a reader of the file sees whole ones.

use super::Compression;
use std::io::Write;

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
    kind: Compression,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    packed: Vec<u8>,
}

impl Codec {
    pub(super) fn new(kind: Compression) -> std::io::Result<Codec> {
        let zstd = match kind {
            Compression::Zstd => {
                let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
                compressor.include_checksum(true)?;
                Some(compressor)
            }
            _ => None,
        };
        Ok(Codec { kind, zstd, packed: Vec::new() })
    }

    /// The compressed form of `data`.
    pub(super) fn pack(&mut self, data: &[u8]) -> std::io::Result<&[u8]> {
        self.packed.clear();
        match (self.kind, &mut self.zstd) {
            (Compression::None, _) => self.packed.extend_from_slice(data),
            (Compression::Zstd, Some(compressor)) => {
                let room = zstd::zstd_safe::compress_bound(data.len());
                self.packed.reserve(room);
                compressor.compress_to_buffer(data, &mut self.packed)?;
            }
            _ => {
                let out = std::mem::take(&mut self.packed);
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
                encoder.write_all(data)?;
                self.packed = encoder.finish()?;
            }
        }
        Ok(&self.packed)
    }
}

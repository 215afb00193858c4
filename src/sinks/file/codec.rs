//! Compression of what one flush writes: one gzip member or one zstd frame, so that a reader of the file sees whole ones.

use std::io::Write;

/// How the file's bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, level 3: level 6 takes three times as long for a few per cent.
    Gzip,
    /// zstd, level 1, with checksums.
    Zstd,
}

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
                let mut compressor = zstd::bulk::Compressor::new(1)?;
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
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(3));
                encoder.write_all(data)?;
                self.packed = encoder.finish()?;
            }
        }
        Ok(&self.packed)
    }
}

//! Compressors that are kept from one body to the next.
//!
//! A new one takes some hundred kilobytes, cleared, and gzip's is asked for aligned: glibc's allocator does not give back to
//! such a request what an earlier one freed, so that an agent that made one for each body grew, and most of it
//! was free memory (45 MiB after half an hour of `tests/soak.py`).

use flate2::{Compress, Compression, FlushCompress, Status};

/// Largest window; what every reader of gzip can do.
const WINDOW_BITS: u8 = 15;

/// Makes gzip members, one after the other.
pub(super) struct Gzip {
    machine: Compress,
}

impl Gzip {
    /// `level` from 0 to 9.
    pub(super) fn new(level: u32) -> Gzip {
        Gzip { machine: Compress::new_gzip(Compression::new(level), WINDOW_BITS) }
    }

    /// Appends one whole member with `data` in it to `out`.
    pub(super) fn pack(&mut self, data: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        self.machine.reset();
        let mut rest = data;
        loop {
            out.reserve((rest.len() / 4).max(4096));
            let before = self.machine.total_in();
            let status = self.machine.compress_vec(rest, out, FlushCompress::Finish)?;
            let taken = usize::try_from(self.machine.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            if status == Status::StreamEnd {
                return Ok(());
            }
        }
    }
}

/// Whether a frame ends with a checksum of what is in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    Included,
    LeftOut,
}

/// Makes zstd frames, one after the other.
pub(super) struct Zstd {
    machine: zstd::bulk::Compressor<'static>,
}

impl Zstd {
    pub(super) fn new(level: i32, checksum: Checksum) -> std::io::Result<Zstd> {
        let mut machine = zstd::bulk::Compressor::new(level)?;
        machine.include_checksum(checksum == Checksum::Included)?;
        Ok(Zstd { machine })
    }

    /// Appends one whole frame with `data` in it to an empty `out`.
    pub(super) fn pack(&mut self, data: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        out.reserve(zstd::zstd_safe::compress_bound(data.len()));
        self.machine.compress_to_buffer(data, out).map(drop)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;

    /// Bytes that look random: they do not get smaller.
    fn noise(len: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(3);
        std::iter::repeat_with(|| random.u8(..)).take(len).collect()
    }

    #[test]
    fn a_gzip_machine_makes_one_whole_member_after_the_other() {
        let mut gzip = Gzip::new(2);
        let mut out = Vec::new();
        for data in [b"{\"a\":1}\n".repeat(50_000), Vec::new(), noise(300_000), b"x".to_vec()] {
            out.clear();
            gzip.pack(&data, &mut out).unwrap();
            let mut plain = Vec::new();
            let mut reader = flate2::bufread::GzDecoder::new(&out[..]);
            reader.by_ref().take(1 << 20).read_to_end(&mut plain).unwrap();
            assert_eq!(plain, data);
            assert!(reader.into_inner().is_empty(), "bytes behind the member");
        }
    }

    #[test]
    fn a_zstd_machine_makes_one_whole_frame_after_the_other() {
        let mut zstd = Zstd::new(1, Checksum::Included).unwrap();
        let mut out = Vec::new();
        for data in [b"{\"a\":1}\n".repeat(50_000), Vec::new(), noise(300_000), b"x".to_vec()] {
            out.clear();
            zstd.pack(&data, &mut out).unwrap();
            assert_eq!(zstd::bulk::decompress(&out, 1 << 20).unwrap(), data);
        }
    }
}

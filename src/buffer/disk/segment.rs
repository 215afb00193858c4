//! One segment: a file of a header and records behind it.

use super::record::{self, RecordHeader};
use crate::storage::StoredFile;
use std::io;
use std::sync::Arc;

/// First bytes of a segment.
pub(super) const MAGIC: [u8; 8] = *b"TgSegmnt";
/// Version of the format. Those before are read too.
pub(crate) const VERSION: u32 = 3;
/// Bytes before the first record.
pub(crate) const HEADER: u64 = 64;

/// What a segment begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Number of the segment, in its name and in all its records; only grows.
    pub(crate) epoch: u64,
    /// Number of its first record.
    pub(crate) first_seq: u64,
    /// Events written to the buffer before it.
    pub(crate) first_event: u64,
    /// When the batch of its first record was received: nanoseconds since 1970 UTC.
    pub(crate) created: i64,
}

/// Why the first bytes of a file are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// They are none, or damaged.
    Damaged,
    /// They are whole, but of a later version.
    Newer(u32),
}

impl SegmentHeader {
    /// The header's bytes.
    pub(crate) fn to_bytes(self) -> [u8; HEADER as usize] {
        let mut b = [0; HEADER as usize];
        b[..8].copy_from_slice(&MAGIC);
        b[8..12].copy_from_slice(&VERSION.to_le_bytes());
        b[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        b[24..32].copy_from_slice(&self.first_seq.to_le_bytes());
        b[32..40].copy_from_slice(&self.first_event.to_le_bytes());
        b[40..48].copy_from_slice(&self.created.to_le_bytes());
        let crc = crc32c::crc32c(&b[..60]);
        b[60..].copy_from_slice(&crc.to_le_bytes());
        b
    }

    /// Reads a header.
    pub(crate) fn from_bytes(b: &[u8; HEADER as usize]) -> Result<Self, HeaderError> {
        let u32_at = |at: usize| b[at..].first_chunk().map_or(0, |c| u32::from_le_bytes(*c));
        let u64_at = |at: usize| b[at..].first_chunk().map_or(0, |c| u64::from_le_bytes(*c));
        if b[..8] != MAGIC || crc32c::crc32c(&b[..60]) != u32_at(60) {
            return Err(HeaderError::Damaged);
        }
        if u32_at(8) > VERSION {
            return Err(HeaderError::Newer(u32_at(8)));
        }
        if u32_at(8) == 0 || [16, 24, 32].into_iter().any(|at| u64_at(at) > record::MAX_NUMBER) {
            return Err(HeaderError::Damaged);
        }
        Ok(SegmentHeader {
            epoch: u64_at(16),
            first_seq: u64_at(24),
            first_event: u64_at(32),
            created: u64_at(40) as i64,
        })
    }
}

/// Name of the segment `epoch`.
pub(crate) fn name(epoch: u64) -> String {
    format!("{epoch:020}.seg")
}

/// The epoch in a segment's name.
pub(crate) fn epoch_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let is_number = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?.filter(|&epoch| epoch <= record::MAX_NUMBER)
}

/// Bytes read ahead while walking from header to header.
const AHEAD: usize = 64 << 10;

/// Reads records of one segment, mostly forward.
pub(crate) struct View {
    file: Arc<dyn StoredFile>,
    epoch: u64,
    ahead: Vec<u8>,
    ahead_at: u64,
}

impl View {
    /// A view on the segment `epoch`.
    pub(crate) fn new(file: Arc<dyn StoredFile>, epoch: u64) -> Self {
        View { file, epoch, ahead: Vec::new(), ahead_at: 0 }
    }

    /// The segment's header.
    pub(crate) fn segment_header(&mut self) -> io::Result<Result<SegmentHeader, HeaderError>> {
        let mut bytes = [0; HEADER as usize];
        if self.file.read_at(&mut bytes, 0)? < bytes.len() {
            return Ok(Err(HeaderError::Damaged));
        }
        Ok(SegmentHeader::from_bytes(&bytes))
    }

    /// Up to `n` bytes from `at` on, none past `end`.
    fn peek(&mut self, at: u64, n: usize, end: u64) -> io::Result<&[u8]> {
        let want = end.saturating_sub(at).min(n as u64) as usize;
        let has = |view: &Self| {
            let skip = at.checked_sub(view.ahead_at).and_then(|s| usize::try_from(s).ok())?;
            view.ahead.len().checked_sub(skip).filter(|&left| left >= want).map(|_| skip)
        };
        if has(self).is_none() {
            let fill = end.saturating_sub(at).min(AHEAD.max(n) as u64) as usize;
            self.ahead.resize(fill, 0);
            let got = self.file.read_at(&mut self.ahead, at);
            self.ahead.truncate(*got.as_ref().unwrap_or(&0));
            self.ahead_at = at;
            got?;
        }
        let skip = (at - self.ahead_at) as usize;
        let to = self.ahead.len().min(skip + want);
        Ok(&self.ahead[skip..to])
    }

    /// The record's header at `at`, where a whole record of this segment lies there and ends by `end`.
    pub(crate) fn header(&mut self, at: u64, end: u64) -> io::Result<Option<RecordHeader>> {
        let epoch = self.epoch;
        let Some(bytes) = self.peek(at, record::HEADER, end)?.first_chunk() else { return Ok(None) };
        Ok(RecordHeader::from_bytes(bytes)
            .filter(|h| h.epoch == epoch && at.checked_add(h.size()).is_some_and(|e| e <= end)))
    }

    /// Whether a record of this segment begins at `at`, whole or not.
    pub(crate) fn begins_record(&mut self, at: u64, end: u64) -> io::Result<bool> {
        let epoch = self.epoch.to_le_bytes();
        let bytes = self.peek(at, record::HEADER, end)?;
        Ok(bytes.starts_with(&record::MAGIC) && bytes.get(8..16).is_none_or(|e| *e == epoch))
    }

    /// The body of the record whose header lies at `at`, as it stands; shorter where the file ends.
    pub(crate) fn body(&mut self, at: u64, header: &RecordHeader) -> io::Result<Vec<u8>> {
        let (from, len) = (at + record::HEADER as u64, header.len as usize);
        if len <= AHEAD / 2 {
            return Ok(self.peek(from, len, from + len as u64)?.to_vec());
        }
        let mut body = vec![0; len];
        let got = self.file.read_at(&mut body, from)?;
        body.truncate(got);
        Ok(body)
    }

    /// Place of the next record's header from `at` on with a number from `seq` on.
    pub(crate) fn find(&mut self, mut at: u64, end: u64, seq: u64) -> io::Result<Option<(u64, RecordHeader)>> {
        while at < end {
            let bytes = self.peek(at, AHEAD, end)?;
            let len = bytes.len();
            let hits: Vec<u64> = memchr::memmem::find_iter(bytes, &record::MAGIC).map(|i| at + i as u64).collect();
            for hit in hits {
                if let Some(header) = self.header(hit, end)?
                    && header.seq >= seq
                {
                    return Ok(Some((hit, header)));
                }
            }
            // The magic may lie across two reads.
            at += len.saturating_sub(record::MAGIC.len() - 1).max(1) as u64;
            if len < record::MAGIC.len() {
                break;
            }
        }
        Ok(None)
    }

    /// Up to `len` bytes from `at` on, as they are.
    pub(crate) fn raw(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let got = self.file.read_at(&mut bytes, at)?;
        bytes.truncate(got);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_and_come_back() {
        assert_eq!(epoch_of(&name(7)), Some(7));
        assert_eq!(epoch_of(&name(record::MAX_NUMBER)), Some(record::MAX_NUMBER));
        assert!(name(9) < name(10));
        for bad in ["7.seg", "0000000000000000000x.seg", "99999999999999999999.seg", "+0000000000000000007.seg"] {
            assert_eq!(epoch_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_header_comes_back_and_no_flipped_bit_is_accepted() {
        let header = SegmentHeader { epoch: 1, first_seq: 2, first_event: 3, created: -4 };
        let bytes = header.to_bytes();
        assert_eq!(SegmentHeader::from_bytes(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::from_bytes(&bad).is_err(), "bit {bit}");
        }
    }
}

//! One record: a header of 68 bytes and a body. The layout stands in [the module above](super).

use crate::ack::place::{Cut, Place, Places};

/// First bytes of a record. No JSON text has the bytes 0 that follow it in a header, so no event can look like one.
pub(crate) const MAGIC: [u8; 4] = *b"TgRc";
/// Version of the record's layout. Version 1, which is read too, had no extensions; those of version 2 were empty.
const VERSION: u8 = 3;
/// Bytes before the body.
pub(crate) const HEADER: usize = 68;
/// The body is compressed with zstd.
const ZSTD: u8 = 1;
/// The body before compression ends with an extension: bytes that a program which does not know them passes over, and
/// their length as 4 bytes.
const EXTENDED: u8 = 2;

/// Longest body, compressed or not: bounds what is allocated on the word of a header.
pub(crate) const MAX_BODY: usize = 256 << 20;

/// Numbers of records, events, segments and slots stay below this, so that no sum of two overflows; larger ones on disk
/// are damage.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;

/// What stands before a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    /// Epoch of the segment it was written to.
    pub(crate) epoch: u64,
    /// Number of the record; only grows, with gaps where a batch was delivered before it was written.
    pub(crate) seq: u64,
    /// Events written to this buffer before it, ever; no gaps, so a missing record shows and how much is missing too.
    pub(crate) first_event: u64,
    /// All records with lower numbers were acknowledged to their sources when this one was written.
    pub(crate) promised: u64,
    /// When its batch was received: nanoseconds since 1970 UTC.
    pub(crate) received_at: i64,
    /// Events in it.
    pub(crate) events: u32,
    /// Bytes of the body before compression.
    pub(crate) raw_len: u32,
    /// Bytes of the body as it stands.
    pub(crate) len: u32,
    /// CRC-32C of the body as it stands.
    pub(crate) body_crc: u32,
    /// The body is compressed.
    pub(crate) zstd: bool,
    /// The body ends with an extension.
    pub(crate) extended: bool,
}

impl RecordHeader {
    /// The header's bytes.
    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let mut b = [0; HEADER];
        b[0..4].copy_from_slice(&MAGIC);
        b[4] = VERSION;
        b[5] = if self.zstd { ZSTD } else { 0 } | if self.extended { EXTENDED } else { 0 };
        b[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        b[16..24].copy_from_slice(&self.seq.to_le_bytes());
        b[24..32].copy_from_slice(&self.first_event.to_le_bytes());
        b[32..40].copy_from_slice(&self.promised.to_le_bytes());
        b[40..48].copy_from_slice(&self.received_at.to_le_bytes());
        b[48..52].copy_from_slice(&self.events.to_le_bytes());
        b[52..56].copy_from_slice(&self.raw_len.to_le_bytes());
        b[56..60].copy_from_slice(&self.len.to_le_bytes());
        b[60..64].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c(&b[..64]);
        b[64..68].copy_from_slice(&crc.to_le_bytes());
        b
    }

    /// Reads a header; `None` where the bytes are none of this version, or damaged.
    pub(crate) fn from_bytes(b: &[u8; HEADER]) -> Option<Self> {
        let u32_at = |at: usize| b[at..].first_chunk().map_or(0, |c| u32::from_le_bytes(*c));
        let u64_at = |at: usize| b[at..].first_chunk().map_or(0, |c| u64::from_le_bytes(*c));
        let flags = match b[4] {
            1 => ZSTD,
            2 | VERSION => ZSTD | EXTENDED,
            _ => return None,
        };
        if b[..4] != MAGIC || b[5] & !flags != 0 || crc32c::crc32c(&b[..64]) != u32_at(64) {
            return None;
        }
        let header = RecordHeader {
            epoch: u64_at(8),
            seq: u64_at(16),
            first_event: u64_at(24),
            promised: u64_at(32),
            received_at: u64_at(40) as i64,
            events: u32_at(48),
            raw_len: u32_at(52),
            len: u32_at(56),
            body_crc: u32_at(60),
            zstd: b[5] & ZSTD != 0,
            extended: b[5] & EXTENDED != 0,
        };
        if [header.epoch, header.seq, header.first_event, header.promised].into_iter().any(|n| n > MAX_NUMBER) {
            return None;
        }
        let sizes = header.len as usize <= MAX_BODY && header.raw_len as usize <= MAX_BODY;
        (sizes && (header.zstd || header.len == header.raw_len)).then_some(header)
    }

    /// Bytes of header and body.
    pub(crate) fn size(&self) -> u64 {
        HEADER as u64 + u64::from(self.len)
    }

    /// The batch that the body holds, from the body as it stands: without compression and extension.
    ///
    /// Errors: it does not have the checksum or the length that the header says.
    pub(crate) fn check(&self, body: Vec<u8>) -> Option<Vec<u8>> {
        self.open(body).map(|(batch, _)| batch)
    }

    /// As [`check`](RecordHeader::check), and the extension.
    pub(crate) fn open(&self, body: Vec<u8>) -> Option<(Vec<u8>, Vec<u8>)> {
        if body.len() != self.len as usize || crc32c::crc32c(&body) != self.body_crc {
            return None;
        }
        let mut raw = match self.zstd {
            false => body,
            // One byte more than it should have, so that too much is seen.
            true => zstd::bulk::decompress(&body, self.raw_len as usize + 1).ok()?,
        };
        if raw.len() != self.raw_len as usize {
            return None;
        }
        if self.extended {
            let len = u32::from_le_bytes(*raw.last_chunk()?) as usize;
            raw.truncate(raw.len().checked_sub(4)?);
            let extension = raw.split_off(raw.len().checked_sub(len)?);
            return Some((raw, extension));
        }
        Some((raw, Vec::new()))
    }
}

/// In an extension: how far files of sources are with this record and all before it.
const PLACES: u8 = 1;
/// In an extension: what the ids of its events are made of.
const IDS: u8 = 2;

/// Appends an extension, and its length. It is a list of pieces: what it is (1), length (4), bytes; unknown ones are passed over.
pub(crate) fn put_extension(ids: u128, place: Option<&Place>, out: &mut Vec<u8>) {
    let start = out.len();
    let mut piece = |what: u8, write: &dyn Fn(&mut Vec<u8>)| {
        out.extend_from_slice(&[what, 0, 0, 0, 0]);
        let from = out.len();
        write(out);
        let len = (out.len() - from) as u32;
        out[from - 4..from].copy_from_slice(&len.to_le_bytes());
    };
    piece(IDS, &|out| out.extend_from_slice(&ids.to_le_bytes()));
    if let Some(place) = place {
        let mut places = Places::default();
        places.note(place);
        piece(PLACES, &|out| places.put(out));
    }
    let len = (out.len() - start) as u32;
    out.extend_from_slice(&len.to_le_bytes());
}

/// What an extension says, as far as it can be read: what ids are made of, and places.
pub(crate) fn read_extension(bytes: &[u8]) -> (Option<u128>, Places) {
    let (mut ids, mut places) = (None, Places::default());
    let mut left = Cut(bytes);
    while let (Some(what), Some(len)) = (left.u8(), left.u32()) {
        let Some(piece) = left.take(len as usize) else { break };
        match what {
            IDS => ids = piece.first_chunk().map(|bytes| u128::from_le_bytes(*bytes)),
            PLACES if places.note_bytes(&mut Cut(piece)).is_none() => places.clear(),
            _ => {}
        }
    }
    (ids, places)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn header() -> RecordHeader {
        RecordHeader {
            epoch: 1,
            seq: 2,
            first_event: 3,
            promised: 4,
            received_at: -5,
            events: 6,
            raw_len: 7,
            len: 7,
            body_crc: crc32c::crc32c(b"bodybod"),
            zstd: false,
            extended: false,
        }
    }

    #[test]
    fn an_extension_comes_back_and_damage_in_it_is_no_place() {
        let place = crate::ack::place::tests::place(4, 9);
        let mut bytes = b"batch".to_vec();
        put_extension(1 << 100, Some(&place), &mut bytes);
        let len = bytes.len() - 9;
        let extension = &bytes[5..5 + len];
        assert_eq!(bytes[5 + len..], (len as u32).to_le_bytes());
        let (ids, places) = read_extension(extension);
        assert_eq!((ids, places.to_vec()), (Some(1 << 100), vec![place]));
        for end in 0..len {
            assert!(read_extension(&extension[..end]).1.is_empty(), "{end}");
        }
        // What a later program adds is passed over.
        let later = [&[9, 2, 0, 0, 0, 1, 1], extension].concat();
        assert_eq!(read_extension(&later).0, ids);
    }

    #[test]
    fn an_extension_is_passed_over_and_version_1_has_none() {
        let body = [b"bodybod".as_slice(), b"later", &5u32.to_le_bytes()].concat();
        let extended = |body: &[u8]| {
            let (len, body_crc) = (body.len() as u32, crc32c::crc32c(body));
            RecordHeader { len, raw_len: len, body_crc, extended: true, ..header() }
        };
        assert_eq!(RecordHeader::from_bytes(&extended(&body).to_bytes()), Some(extended(&body)));
        assert_eq!(extended(&body).check(body.clone()).unwrap(), b"bodybod");
        for bad in [&body[..3], &[b"bod".as_slice(), &5u32.to_le_bytes()].concat()] {
            assert_eq!(extended(bad).check(bad.to_vec()), None);
        }
        let mut old = extended(&body).to_bytes();
        old[4] = 1;
        let crc = crc32c::crc32c(&old[..64]);
        old[64..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(RecordHeader::from_bytes(&old), None);
        old[5] = 0;
        let crc = crc32c::crc32c(&old[..64]);
        old[64..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(RecordHeader::from_bytes(&old), Some(RecordHeader { extended: false, ..extended(&body) }));
    }

    #[test]
    fn a_header_comes_back_and_no_flipped_bit_is_accepted() {
        let bytes = header().to_bytes();
        assert_eq!(RecordHeader::from_bytes(&bytes), Some(header()));
        for bit in 0..HEADER * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::from_bytes(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn a_body_is_taken_only_with_its_checksum_and_length() {
        assert!(header().check(b"bodybod".to_vec()).is_some());
        assert!(header().check(b"bodybox".to_vec()).is_none());
        assert!(header().check(b"bodybo".to_vec()).is_none());
        let packed = zstd::bulk::compress(b"bodybod", 1).unwrap();
        let mut zipped = header();
        (zipped.zstd, zipped.len, zipped.body_crc) = (true, packed.len() as u32, crc32c::crc32c(&packed));
        assert_eq!(zipped.check(packed.clone()).unwrap(), b"bodybod");
        zipped.raw_len = 6;
        assert!(zipped.check(packed).is_none());
    }
}

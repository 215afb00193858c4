//! Compression of request bodies, and the way back from what a server does not take.

use super::super::pack::{Checksum, Gzip, Zstd};
use super::room::room;
use super::settings::Compression;
use crate::sync::Locked;
use crate::wire::protobuf::push_varint;
use bytes::Bytes;
use reqwest::header::HeaderValue;
use std::num::NonZero;
use std::sync::{Arc, LazyLock, Mutex};
use tokio::sync::Semaphore;

/// Bodies above this are compressed on a thread of their own: gzip takes some milliseconds for a mebibyte.
const INLINE_BYTES: usize = 16 << 10;

/// Most bodies that are compressed at a time, where there are so many cores. Each costs a packer.
const MAX_AT_A_TIME: usize = 4;

const GZIP_LEVEL: u32 = 2;
const ZSTD_LEVEL: i32 = 1;

/// How one body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// zstd, level 1.
    Zstd,
    /// gzip, level 2.
    Gzip,
    /// A block of snappy, where the interface wants that and nothing else.
    Snappy,
    /// Such a block that holds the body as it is: for those who would not have it compressed.
    StoredSnappy,
    /// As it is.
    Identity,
}

impl Encoding {
    /// The first to try.
    pub(super) fn first(config: Compression, auto: Encoding) -> Self {
        match config {
            Compression::Auto => auto,
            Compression::Zstd => Encoding::Zstd,
            Compression::Gzip => Encoding::Gzip,
            Compression::None => Encoding::Identity,
        }
    }

    /// What to try where the server does not take this one; `None` where nothing is left.
    pub(super) fn next(self) -> Option<Self> {
        match self {
            Encoding::Zstd => Some(Encoding::Gzip),
            Encoding::Gzip => Some(Encoding::Identity),
            Encoding::Snappy | Encoding::StoredSnappy | Encoding::Identity => None,
        }
    }

    /// `Content-Encoding`, where there is one.
    pub(super) fn header(self) -> Option<HeaderValue> {
        match self {
            Encoding::Zstd => Some(HeaderValue::from_static("zstd")),
            Encoding::Gzip => Some(HeaderValue::from_static("gzip")),
            Encoding::Snappy | Encoding::StoredSnappy => Some(HeaderValue::from_static("snappy")),
            Encoding::Identity => None,
        }
    }

    /// The word for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Encoding::Zstd => "zstd",
            Encoding::Gzip => "gzip",
            Encoding::Snappy | Encoding::StoredSnappy => "snappy",
            Encoding::Identity => "none",
        }
    }
}

/// What compresses one body at a time, with memory of its own.
#[derive(Default)]
struct Packer {
    gzip: Option<Gzip>,
    zstd: Option<Zstd>,
    snappy: Option<snap::raw::Encoder>,
    packed: Vec<u8>,
}

impl Packer {
    /// Encodes a body; blocks for as long as that takes.
    fn encode(&mut self, encoding: Encoding, body: &Bytes) -> std::io::Result<Bytes> {
        let packed = &mut self.packed;
        match encoding {
            Encoding::Identity => return Ok(body.clone()),
            Encoding::StoredSnappy => return Ok(stored_snappy(body)),
            Encoding::Snappy => {
                // Written over, not cleared: it need not be made zero for each body.
                packed.resize(packed.len().max(snap::raw::max_compress_len(body.len())), 0);
                let len = self.snappy.get_or_insert_with(snap::raw::Encoder::new).compress(body, packed)?;
                return Ok(Bytes::copy_from_slice(&packed[..len]));
            }
            Encoding::Gzip => {
                packed.clear();
                self.gzip.get_or_insert_with(|| Gzip::new(GZIP_LEVEL)).pack(body, packed)?;
            }
            Encoding::Zstd => {
                packed.clear();
                let zstd = match self.zstd.take() {
                    Some(zstd) => zstd,
                    None => Zstd::new(ZSTD_LEVEL, Checksum::LeftOut)?,
                };
                self.zstd.insert(zstd).pack(body, packed)?;
            }
        }
        Ok(Bytes::copy_from_slice(packed))
    }
}

/// A block of snappy that is nothing but literals, in pieces of the size that its encoders write for what cannot be compressed.
///
/// Source: section 2.1 of "Snappy compressed format description".
fn stored_snappy(body: &[u8]) -> Bytes {
    const PIECE: usize = 1 << 16;
    let mut out = room(body.len() + 3 * body.len().div_ceil(PIECE) + 10);
    push_varint(body.len() as u64, &mut out);
    for piece in body.chunks(PIECE) {
        let [low, high, ..] = (piece.len() as u32 - 1).to_le_bytes();
        // A literal with its length, less one, in two bytes behind the tag.
        out.extend_from_slice(&[61 << 2, low, high]);
        out.extend_from_slice(piece);
    }
    super::room::body(out)
}

/// Packers: as many as bodies were compressed at a time, a few at most.
pub(super) struct Packers {
    turns: Semaphore,
    idle: Mutex<Vec<Packer>>,
}

impl Packers {
    /// Those of the process. Each reload makes new sinks; new packers with them would leave memory behind that cannot be used
    /// again (see [`pack`](super::super::pack)).
    pub(super) fn shared() -> Arc<Packers> {
        static SHARED: LazyLock<Arc<Packers>> = LazyLock::new(Packers::new);
        SHARED.clone()
    }

    fn new() -> Arc<Packers> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Arc::new(Packers { turns: Semaphore::new(cores.min(MAX_AT_A_TIME)), idle: Mutex::default() })
    }

    /// Compresses a body, a large one on a thread of its own. What cannot be compressed (no memory, no thread) goes as it is.
    pub(super) async fn encoded(self: &Arc<Self>, encoding: Encoding, body: Bytes) -> (Encoding, Bytes) {
        let as_it_is = || (Encoding::Identity, body.clone());
        match encoding {
            Encoding::Identity => return as_it_is(),
            Encoding::StoredSnappy => return (encoding, stored_snappy(&body)),
            Encoding::Zstd | Encoding::Gzip | Encoding::Snappy => {}
        }
        // Never closed. The permit is back before a packer is missed: taking one when none is idle makes another.
        let Ok(_turn) = self.turns.acquire().await else { return as_it_is() };
        let done = if body.len() <= INLINE_BYTES {
            self.encode(encoding, &body)
        } else {
            let (all, plain) = (self.clone(), body.clone());
            match tokio::task::spawn_blocking(move || all.encode(encoding, &plain)).await {
                Ok(done) => done,
                Err(_) => return as_it_is(),
            }
        };
        done.map_or_else(|_| as_it_is(), |done| (encoding, done))
    }

    fn encode(&self, encoding: Encoding, body: &Bytes) -> std::io::Result<Bytes> {
        let idle = || self.idle.locked();
        let kept = idle().pop();
        let mut packer = kept.unwrap_or_default();
        let done = packer.encode(encoding, body);
        idle().push(packer);
        done
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;

    fn plain(encoding: Encoding, packed: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Identity => packed.to_vec(),
            Encoding::Snappy | Encoding::StoredSnappy => snap::raw::Decoder::new().decompress_vec(packed).unwrap(),
            Encoding::Zstd => zstd::bulk::decompress(packed, 8 << 20).unwrap(),
            Encoding::Gzip => {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(packed).take(8 << 20).read_to_end(&mut plain).unwrap();
                plain
            }
        }
    }

    #[tokio::test]
    async fn what_is_encoded_reads_back_whatever_went_before() {
        let packers = Packers::new();
        let (large, small) = (Bytes::from("{\"a\":1}\n".repeat(50_000)), Bytes::from("{\"b\":2}\n".repeat(20)));
        for encoding in
            [Encoding::Zstd, Encoding::Gzip, Encoding::Snappy, Encoding::Identity, Encoding::Gzip, Encoding::Zstd]
        {
            for body in [&large, &small, &large, &Bytes::new()] {
                let (said, packed) = packers.encoded(encoding, body.clone()).await;
                assert_eq!(said, encoding);
                assert_eq!(plain(encoding, &packed), body[..]);
                assert!(encoding == Encoding::Identity || body.is_empty() || packed.len() < body.len() / 4);
            }
        }
        assert_eq!(packers.idle.lock().unwrap().len(), 1, "one body at a time takes one packer");
    }

    #[tokio::test]
    async fn many_bodies_at_a_time_take_a_few_packers() {
        let packers = Packers::new();
        let body = Bytes::from("{\"a\":1}\n".repeat(50_000));
        let all = (0..40).map(|_| packers.encoded(Encoding::Gzip, body.clone()));
        for (encoding, packed) in futures::future::join_all(all).await {
            assert_eq!(plain(encoding, &packed), body[..]);
        }
        assert!(packers.idle.lock().unwrap().len() <= MAX_AT_A_TIME);
    }

    #[tokio::test]
    async fn a_stored_block_of_snappy_is_read_as_any_and_grows_by_next_to_nothing() {
        for len in [0, 1, 59, 60, 61, 255, 65_535, 65_536, 65_537, 131_072, 1_000_003] {
            let body: Bytes = (0..len).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            let (said, packed) = Packers::new().encoded(Encoding::StoredSnappy, body.clone()).await;
            assert_eq!((said.header(), said.next()), (Encoding::Snappy.header(), None));
            assert_eq!(plain(said, &packed), body[..], "{len}");
            assert!(packed.len() <= body.len() + 3 * (len as usize / 65_536 + 1) + 3, "{len}: {}", packed.len());
        }
    }

    #[test]
    fn every_way_ends_uncompressed() {
        assert_eq!(Encoding::first(Compression::Auto, Encoding::Gzip), Encoding::Gzip);
        assert_eq!(
            Encoding::Zstd.next().and_then(Encoding::next).map(|e| (e, e.next())),
            Some((Encoding::Identity, None))
        );
    }
}

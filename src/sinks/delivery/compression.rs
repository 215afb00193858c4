//! Compression of request bodies, and the way back from what a server does not take.

use super::super::pack::{Gzip, Zstd};
use super::settings::Compression;
use crate::sync::Locked;
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
            Encoding::Snappy | Encoding::Identity => None,
        }
    }

    /// `Content-Encoding`, where there is one.
    pub(super) fn header(self) -> Option<HeaderValue> {
        match self {
            Encoding::Zstd => Some(HeaderValue::from_static("zstd")),
            Encoding::Gzip => Some(HeaderValue::from_static("gzip")),
            Encoding::Snappy => Some(HeaderValue::from_static("snappy")),
            Encoding::Identity => None,
        }
    }

    /// The word for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Encoding::Zstd => "zstd",
            Encoding::Gzip => "gzip",
            Encoding::Snappy => "snappy",
            Encoding::Identity => "none",
        }
    }
}

/// What compresses one body at a time, with memory of its own.
#[derive(Default)]
struct Packer {
    gzip: Option<Gzip>,
    zstd: Option<Zstd>,
    packed: Vec<u8>,
}

impl Packer {
    /// Encodes a body; blocks for as long as that takes.
    fn encode(&mut self, encoding: Encoding, body: &Bytes) -> std::io::Result<Bytes> {
        self.packed.clear();
        match encoding {
            Encoding::Identity => return Ok(body.clone()),
            Encoding::Gzip => self.gzip.get_or_insert_with(|| Gzip::new(GZIP_LEVEL)).pack(body, &mut self.packed)?,
            Encoding::Snappy => return Ok(Bytes::from(snap::raw::Encoder::new().compress_vec(body)?)),
            Encoding::Zstd => {
                let zstd = match self.zstd.take() {
                    Some(zstd) => zstd,
                    None => Zstd::new(ZSTD_LEVEL, false)?,
                };
                self.zstd.insert(zstd).pack(body, &mut self.packed)?;
            }
        }
        Ok(Bytes::copy_from_slice(&self.packed))
    }
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
        if encoding == Encoding::Identity {
            return as_it_is();
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
            Encoding::Snappy => snap::raw::Decoder::new().decompress_vec(packed).unwrap(),
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

    #[test]
    fn every_way_ends_uncompressed() {
        assert_eq!(Encoding::first(Compression::Auto, Encoding::Gzip), Encoding::Gzip);
        assert_eq!(
            Encoding::Zstd.next().and_then(Encoding::next).map(|e| (e, e.next())),
            Some((Encoding::Identity, None))
        );
    }
}

//! Compression of request bodies, and the way back from what a server does not take.

use super::settings::Compression;
use bytes::Bytes;
use reqwest::header::HeaderValue;
use std::io::Write;

/// Bodies above this are compressed on a thread of their own: gzip takes some milliseconds for a mebibyte.
pub(super) const INLINE_BYTES: usize = 16 << 10;

/// How one body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// zstd, level 1.
    Zstd,
    /// gzip, level 2.
    Gzip,
    /// As it is.
    Identity,
}

impl Encoding {
    /// The first to try.
    pub(super) fn first(config: Compression) -> Self {
        match config {
            Compression::Auto | Compression::Zstd => Encoding::Zstd,
            Compression::Gzip => Encoding::Gzip,
            Compression::None => Encoding::Identity,
        }
    }

    /// What to try where the server does not take this one; `None` where nothing is left.
    pub(super) fn next(self) -> Option<Self> {
        match self {
            Encoding::Zstd => Some(Encoding::Gzip),
            Encoding::Gzip => Some(Encoding::Identity),
            Encoding::Identity => None,
        }
    }

    /// `Content-Encoding`, where there is one.
    pub(super) fn header(self) -> Option<HeaderValue> {
        match self {
            Encoding::Zstd => Some(HeaderValue::from_static("zstd")),
            Encoding::Gzip => Some(HeaderValue::from_static("gzip")),
            Encoding::Identity => None,
        }
    }

    /// The word for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Encoding::Zstd => "zstd",
            Encoding::Gzip => "gzip",
            Encoding::Identity => "none",
        }
    }

    /// Encodes a body; blocks for as long as that takes.
    pub(super) fn encode(self, body: &Bytes) -> std::io::Result<Bytes> {
        match self {
            Encoding::Identity => Ok(body.clone()),
            Encoding::Zstd => zstd::bulk::compress(body, 1).map(Bytes::from),
            Encoding::Gzip => {
                let out = Vec::with_capacity(body.len() / 4);
                let mut writer = flate2::write::GzEncoder::new(out, flate2::Compression::new(2));
                writer.write_all(body)?;
                writer.finish().map(Bytes::from)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_encoded_reads_back() {
        let body = Bytes::from("{\"a\":1}\n".repeat(5000));
        let zstd = Encoding::Zstd.encode(&body).unwrap();
        assert_eq!(zstd::bulk::decompress(&zstd, 1 << 20).unwrap(), body);
        let gzip = Encoding::Gzip.encode(&body).unwrap();
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&gzip[..]).take(1 << 20).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, body);
        assert!(gzip.len() < body.len() / 10 && zstd.len() < body.len() / 10);
    }

    #[test]
    fn every_way_ends_uncompressed() {
        assert_eq!(Encoding::first(Compression::Auto), Encoding::Zstd);
        assert_eq!(
            Encoding::Zstd.next().and_then(Encoding::next).map(|e| (e, e.next())),
            Some((Encoding::Identity, None))
        );
    }
}

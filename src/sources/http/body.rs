//! Bodies: read within limits of size, time and memory, and decompressed within the same.

use super::format::Refusal;
use flate2::read::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use hyper::body::{Body, Incoming};
use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Bytes decompressed before others get their turn.
const STEP: usize = 256 << 10;
/// Room made at first, whatever length a client promises.
const FIRST: usize = 8 << 10;
/// Largest window a zstd frame may ask for, as a power of two: what RFC 8878 wants every decoder to take.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Memory of all bodies that are being read, decompressed and handed over.
///
/// Beyond `max`, one request at a time may go on, so that a body larger than all of it can still come in.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
    /// Some request goes on beyond `max`.
    beyond: AtomicBool,
    freed: Notify,
}

/// A request's share of the [`Budget`], given back when dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
    beyond: bool,
}

impl Budget {
    pub(super) fn new(max: usize) -> Arc<Budget> {
        Arc::new(Budget { used: AtomicUsize::new(0), max, beyond: AtomicBool::new(false), freed: Notify::new() })
    }

    pub(super) fn charge(self: &Arc<Self>) -> Charge {
        Charge { budget: self.clone(), bytes: 0, beyond: false }
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }
}

impl Charge {
    /// Takes `more` bytes where there is room; whether there was.
    fn try_add(&mut self, more: usize) -> bool {
        let budget = &*self.budget;
        let fits = |used: usize| (used + more <= budget.max).then_some(used + more);
        let taken = budget.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok();
        if !taken {
            if !self.beyond && budget.beyond.swap(true, Ordering::AcqRel) {
                return false;
            }
            self.beyond = true;
            budget.used.fetch_add(more, Ordering::AcqRel);
        }
        self.bytes += more;
        true
    }

    /// Takes `more` bytes, waiting for them until `deadline`.
    async fn add(&mut self, more: usize, deadline: Instant) -> Result<(), Refusal> {
        if self.try_add(more) {
            return Ok(());
        }
        let budget = self.budget.clone();
        loop {
            let mut freed = std::pin::pin!(budget.freed.notified());
            freed.as_mut().enable();
            if self.try_add(more) {
                return Ok(());
            }
            if timeout_at(deadline, freed).await.is_err() {
                return Err(Refusal::Busy);
            }
        }
    }

    /// Gives back what is over `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let over = self.bytes.saturating_sub(bytes);
        self.bytes -= over;
        self.budget.used.fetch_sub(over, Ordering::AcqRel);
        if over > 0 {
            self.budget.freed.notify_waiters();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink_to(0);
        if self.beyond {
            self.budget.beyond.store(false, Ordering::Release);
            self.budget.freed.notify_waiters();
        }
    }
}

/// What a body must keep to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most bytes, as sent and decompressed.
    pub(super) max_body: usize,
    /// Longest wait for the next bytes.
    pub(super) idle: Duration,
    /// When it must be whole.
    pub(super) deadline: Instant,
    /// Longest wait for memory.
    pub(super) patience: Duration,
}

/// A vector that grows within limits, each growth charged.
struct Growing<'c> {
    bytes: Vec<u8>,
    charge: &'c mut Charge,
    max: usize,
    patience: Duration,
}

impl<'c> Growing<'c> {
    fn new(charge: &'c mut Charge, max: usize, patience: Duration) -> Self {
        Growing { bytes: Vec::new(), charge, max, patience }
    }

    /// Makes room for `more` bytes.
    async fn reserve(&mut self, more: usize) -> Result<(), Refusal> {
        let need = self.bytes.len() + more;
        if need > self.max {
            return Err(Refusal::TooLarge(self.max));
        }
        let capacity = self.bytes.capacity();
        if need > capacity {
            let to = need.max(capacity + capacity / 2).max(FIRST).min(self.max);
            self.charge.add(to - capacity, Instant::now() + self.patience).await?;
            self.bytes.reserve_exact(to - self.bytes.len());
        }
        Ok(())
    }
}

/// Reads a body to its end, as sent.
///
/// Errors: `None` where the client is gone or breaks the protocol, and nobody is there to be told.
pub(super) async fn read(mut body: Incoming, limits: &Limits, charge: &mut Charge) -> Result<Vec<u8>, Option<Refusal>> {
    let hint = body.size_hint().exact();
    if hint.is_some_and(|length| length > limits.max_body as u64) {
        return Err(Some(Refusal::TooLarge(limits.max_body)));
    }
    let mut whole = Growing::new(charge, limits.max_body, limits.patience);
    let mut deadline = limits.deadline;
    loop {
        let next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let frame =
            timeout_at(deadline.min(Instant::now() + limits.idle), next).await.map_err(|_| Some(Refusal::Slow))?;
        match frame {
            None => return Ok(whole.bytes),
            Some(Err(error)) => {
                tracing::debug!(%error, "a body broke off");
                return Err(None);
            }
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                let came = Instant::now();
                if whole.bytes.capacity() == 0 && hint == Some(data.len() as u64) {
                    // All of it at once: no room to spare.
                    whole.charge.add(data.len(), Instant::now() + limits.patience).await.map_err(Some)?;
                    whole.bytes.reserve_exact(data.len());
                }
                whole.reserve(data.len()).await.map_err(Some)?;
                whole.bytes.extend_from_slice(&data);
                // What it waited for memory is not the client's fault.
                deadline += came.elapsed();
            }
        }
    }
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
    /// As zlib, or without its frame, as some clients send it.
    Deflate,
    /// One block of snappy, without frames.
    Snappy,
}

impl Encoding {
    /// By the word in `Content-Encoding`; one only.
    pub(super) fn named(name: &str) -> Option<Encoding> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Encoding::Identity,
            "gzip" | "x-gzip" => Encoding::Gzip,
            "zstd" => Encoding::Zstd,
            "deflate" => Encoding::Deflate,
            "snappy" => Encoding::Snappy,
            _ => return None,
        })
    }
}

/// Decompresses a body; gives other requests their turn on the way.
pub(super) async fn decompress(
    packed: Vec<u8>,
    encoding: Encoding,
    limits: &Limits,
    charge: &mut Charge,
) -> Result<Vec<u8>, Refusal> {
    let unpacked = {
        let mut reader: Box<dyn Read + Send> = match encoding {
            Encoding::Identity => return Ok(packed),
            Encoding::Snappy => return unpack_block(&packed, limits, charge).await,
            Encoding::Gzip => Box::new(MultiGzDecoder::new(&packed[..])),
            Encoding::Deflate => Box::new(Inflate::new(&packed)),
            Encoding::Zstd => {
                let corrupt = |error: std::io::Error| Refusal::Corrupt(error.to_string());
                let mut decoder = zstd::Decoder::with_buffer(&packed[..]).map_err(corrupt)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(corrupt)?;
                Box::new(decoder)
            }
        };
        let mut whole = Growing::new(charge, limits.max_body, limits.patience);
        // Text comes to three times its packed size at least, mostly.
        whole.reserve((packed.len() * 3).clamp(FIRST, STEP).min(limits.max_body)).await?;
        let mut turn = 0;
        loop {
            if whole.bytes.len() == whole.bytes.capacity() && whole.reserve(1).await.is_err() {
                // Full to the limit: fine if it ends here.
                let mut one = [0];
                return match reader.read(&mut one) {
                    Ok(0) => Ok(whole.bytes),
                    Ok(_) if whole.bytes.len() >= limits.max_body => Err(Refusal::TooLarge(limits.max_body)),
                    Ok(_) => Err(Refusal::Busy),
                    Err(error) => Err(Refusal::Corrupt(error.to_string())),
                };
            }
            let room = (whole.bytes.capacity() - whole.bytes.len()).min(STEP);
            let read = reader.by_ref().take(room as u64).read_to_end(&mut whole.bytes);
            let read = read.map_err(|error| Refusal::Corrupt(error.to_string()))?;
            if read == 0 {
                break whole.bytes;
            }
            turn += read;
            if turn >= STEP {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
    };
    charge.shrink_to(unpacked.capacity());
    Ok(unpacked)
}

/// Decompresses a block of snappy, which begins with its length.
async fn unpack_block(packed: &[u8], limits: &Limits, charge: &mut Charge) -> Result<Vec<u8>, Refusal> {
    let corrupt = |error: snap::Error| Refusal::Corrupt(error.to_string());
    let len = match snap::raw::decompress_len(packed) {
        // More than any block can have.
        Err(snap::Error::TooBig { .. }) => return Err(Refusal::TooLarge(limits.max_body)),
        len => len.map_err(corrupt)?,
    };
    if len > limits.max_body {
        return Err(Refusal::TooLarge(limits.max_body));
    }
    charge.add(len, Instant::now() + limits.patience).await?;
    let unpacked = snap::raw::Decoder::new().decompress_vec(packed).map_err(corrupt)?;
    charge.shrink_to(unpacked.len());
    Ok(unpacked)
}

/// One stream of deflate, whole: one that is cut off, or has bytes behind it, is an error, where flate2's own readers end
/// without one.
struct Inflate<'p> {
    rest: &'p [u8],
    state: Decompress,
    ended: bool,
}

impl<'p> Inflate<'p> {
    fn new(packed: &'p [u8]) -> Self {
        Inflate { rest: packed, state: Decompress::new(is_zlib(packed)), ended: false }
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        use std::io::{Error, ErrorKind};
        while !self.ended && !out.is_empty() {
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(self.rest, out, FlushDecompress::None);
            let status = status.map_err(|_| Error::new(ErrorKind::InvalidData, "corrupt deflate stream"))?;
            let (read, written) = (self.state.total_in() - before_in, self.state.total_out() - before_out);
            self.rest = &self.rest[read as usize..];
            self.ended = status == Status::StreamEnd;
            if self.ended && !self.rest.is_empty() {
                return Err(Error::new(ErrorKind::InvalidData, "bytes follow the deflate stream"));
            }
            if written > 0 {
                return Ok(written as usize);
            }
            if !self.ended && read == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the deflate stream is cut off"));
            }
        }
        Ok(0)
    }
}

/// Whether it begins as RFC 1950 says.
fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [cmf, flags, ..] if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flags)) % 31 == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write;

    fn limits(max_body: usize) -> Limits {
        let deadline = Instant::now() + Duration::from_secs(60);
        Limits { max_body, idle: Duration::from_secs(1), deadline, patience: Duration::ZERO }
    }

    async fn unpack(packed: Vec<u8>, encoding: Encoding, max: usize) -> Result<Vec<u8>, Refusal> {
        let budget = Budget::new(1 << 20);
        let mut charge = budget.charge();
        let result = decompress(packed, encoding, &limits(max), &mut charge).await;
        drop(charge);
        assert_eq!(budget.used(), 0);
        result
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn every_encoding_is_undone() {
        let text: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&text).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(&text).unwrap();
        let two_members = [gzip(&text[..1000]), gzip(&text[1000..])].concat();
        for (packed, encoding) in [
            (two_members, Encoding::Gzip),
            (zlib.finish().unwrap(), Encoding::Deflate),
            (raw.finish().unwrap(), Encoding::Deflate),
            (zstd::encode_all(&text[..], 1).unwrap(), Encoding::Zstd),
            (snap::raw::Encoder::new().compress_vec(&text).unwrap(), Encoding::Snappy),
            (text.clone(), Encoding::Identity),
        ] {
            assert!(unpack(packed, encoding, text.len()).await.unwrap() == text, "{encoding:?}");
        }
    }

    #[tokio::test]
    async fn a_bomb_is_refused_when_it_has_grown_to_the_limit() {
        let bomb = gzip(&vec![0; 50 << 20]);
        assert_eq!(unpack(bomb, Encoding::Gzip, 100_000).await, Err(Refusal::TooLarge(100_000)));
        let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 50 << 20]).unwrap();
        assert_eq!(unpack(bomb, Encoding::Snappy, 100_000).await, Err(Refusal::TooLarge(100_000)));
        // It says that it has 64 GiB.
        let lie = b"\xff\xff\xff\xff\xff\x01".to_vec();
        assert!(matches!(
            unpack(lie, Encoding::Snappy, 100_000).await,
            Err(Refusal::TooLarge(_) | Refusal::Corrupt(_))
        ));
        let bomb = zstd::encode_all(&vec![0; 50 << 20][..], 1).unwrap();
        assert_eq!(unpack(bomb, Encoding::Zstd, 100_000).await, Err(Refusal::TooLarge(100_000)));
    }

    #[tokio::test]
    async fn what_is_cut_off_or_no_such_format_is_corrupt() {
        let text: Vec<u8> = (0..10_000u32).flat_map(u32::to_le_bytes).collect();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&text).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(&text).unwrap();
        let whole = [
            (gzip(&text), Encoding::Gzip),
            (zlib.finish().unwrap(), Encoding::Deflate),
            (raw.finish().unwrap(), Encoding::Deflate),
            (zstd::encode_all(&text[..], 1).unwrap(), Encoding::Zstd),
            (snap::raw::Encoder::new().compress_vec(&text).unwrap(), Encoding::Snappy),
        ];
        for (packed, encoding) in whole {
            for end in [1, 2, packed.len() / 2, packed.len() - 9, packed.len() - 1] {
                let result = unpack(packed[..end].to_vec(), encoding, 1 << 20).await;
                assert!(matches!(result, Err(Refusal::Corrupt(_))), "{encoding:?} up to {end}: {result:?}");
            }
            let more = [&packed[..], b"more"].concat();
            let result = unpack(more, encoding, 1 << 20).await;
            assert!(matches!(result, Err(Refusal::Corrupt(_))), "{encoding:?} and more: {result:?}");
        }
        for (packed, encoding) in
            [(b"{}".to_vec(), Encoding::Gzip), (b"{}".to_vec(), Encoding::Zstd), (b"{}".to_vec(), Encoding::Snappy)]
        {
            let result = unpack(packed, encoding, 1 << 20).await;
            assert!(matches!(result, Err(Refusal::Corrupt(_))), "{encoding:?} {result:?}");
        }
    }

    #[test]
    fn beyond_the_budget_one_goes_on_and_others_do_not() {
        let budget = Budget::new(100);
        let (mut a, mut b, mut c) = (budget.charge(), budget.charge(), budget.charge());
        assert!(a.try_add(60) && b.try_add(40));
        assert!(a.try_add(500), "one may go on");
        assert!(!b.try_add(1) && !c.try_add(1));
        assert!(a.try_add(500));
        drop(a);
        assert_eq!(budget.used(), 40);
        assert!(b.try_add(1) && c.try_add(59) && c.try_add(1) && !b.try_add(1));
        drop((b, c));
        assert_eq!(budget.used(), 0);
    }
}

//! Connections: accepted, secured, watched, and ended without cutting the answer off.

use super::Shared;
use super::handle::handle;
use crate::proxy_protocol;
use crate::time::clock;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Longest head of a request; a longer one gets a 431.
const MAX_HEAD: usize = 16 << 10;
/// Bytes read at once.
const MAX_READ: usize = 64 << 10;
/// Most headers.
const MAX_HEADERS: usize = 128;
/// How long and how many bytes of a refused body are read and thrown away, so that the client gets to read the answer.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 1 << 20;

/// Who is at the other end.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its address, without port.
    pub(super) address: Option<Arc<str>>,
    /// The subject of its certificate.
    pub(super) tls_subject: Option<Arc<str>>,
    /// Requests of one connection keep their order.
    pub(super) order: u64,
}

/// Accepts until the agent stops, and ends when the last connection has.
pub(super) async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut open = JoinSet::new();
    loop {
        // Over `max_connections`, further clients wait in the system's queue.
        let slot = tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => break,
            slot = shared.slots.clone().acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let shared = shared.clone();
                open.spawn(async move {
                    shared.count_connection(1.0);
                    let why = connect(stream, address, &shared).await;
                    shared.count_connection(-1.0);
                    tracing::debug!(peer = %address, why, "a connection has ended");
                    drop(slot);
                });
            }
            Err(error) => {
                shared.counters.update(|t| t.error("accept", 1));
                // Too many open files, mostly: try again when some have closed.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    tokio::select! {
        biased;
        () = async { while open.join_next().await.is_some() {} } => {}
        () = shared.deadline.cancelled() => open.shutdown().await,
    }
    Ok(())
}

async fn connect(mut stream: TcpStream, address: SocketAddr, shared: &Arc<Shared>) -> &'static str {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
    let order = shared.next.fetch_add(1, Ordering::Relaxed);
    let begun = tokio::select! {
        biased;
        begun = proxy_protocol::begin(&mut stream, shared.proxy_protocol) => begun,
        () = shared.shutdown.cancelled() => return "the agent stops",
        // Silence before a header that may come or not.
        () = tokio::time::sleep(shared.header_timeout) => return "it was too slow",
    };
    let begun = match begun {
        Ok(begun) => begun,
        Err(error) => {
            shared.counters.update(|t| t.error("proxy_protocol", 1));
            tracing::warn!(peer = %address, %error, "a connection is closed");
            return "it has no PROXY header";
        }
    };
    let address = begun.peer.unwrap_or(address.ip()).to_canonical().to_string();
    let mut peer = Peer { address: Some(address.into()), tls_subject: None, order };
    let Some(tls) = &shared.tls else { return serve(stream, begun.read, Arc::new(peer), shared).await };
    let accepted = tokio::select! {
        biased;
        accepted = tls.accept(stream, shared.header_timeout) => accepted,
        () = shared.shutdown.cancelled() => return "the agent stops",
    };
    match accepted {
        Ok((stream, subject)) => {
            peer.tls_subject = subject;
            serve(stream, Vec::new(), Arc::new(peer), shared).await
        }
        Err(error) => {
            shared.counters.update(|t| t.error("tls", 1));
            tracing::debug!(?peer, %error, "a connection is closed");
            "it does not speak our TLS"
        }
    }
}

/// What a connection is about, as its watch sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
enum Phase {
    /// Nothing of a request has come yet, or an answer goes out: idle since the last byte.
    Waiting = 0,
    /// A head is coming, since then.
    Head = 1,
    /// A request is being handled, which keeps its own time.
    Busy = 2,
}

/// The phase in the low two bits, and since when (milliseconds of the monotonic clock) above.
#[derive(Debug)]
struct Watch(AtomicU64);

fn now_ms() -> u64 {
    clock::monotonic_ns() / 1_000_000
}

impl Watch {
    fn new(phase: Phase) -> Watch {
        Watch(AtomicU64::new(now_ms() << 2 | phase as u64))
    }

    fn set(&self, phase: Phase) {
        self.0.store(now_ms() << 2 | phase as u64, Ordering::Relaxed);
    }

    fn get(&self) -> (Phase, u64) {
        let word = self.0.load(Ordering::Relaxed);
        let phase = match word & 3 {
            0 => Phase::Waiting,
            1 => Phase::Head,
            _ => Phase::Busy,
        };
        (phase, word >> 2)
    }

    fn bytes_read(&self) {
        if self.get().0 == Phase::Waiting {
            self.set(Phase::Head);
        }
    }

    fn bytes_written(&self) {
        if self.get().0 == Phase::Waiting {
            self.set(Phase::Waiting);
        }
    }

    /// Resolves when the client has taken too long; in which phase.
    async fn too_slow(&self, header_timeout: Duration, idle_timeout: Duration) -> Phase {
        let (header, idle) = (header_timeout.as_millis() as u64, idle_timeout.as_millis() as u64);
        loop {
            let (phase, since) = self.get();
            let due = match phase {
                Phase::Waiting => since + idle,
                Phase::Head => since + header,
                // It will be another phase then.
                Phase::Busy => now_ms() + header.min(idle).max(10),
            };
            let left = due.saturating_sub(now_ms());
            if left == 0 {
                return phase;
            }
            // A head may begin right away, and is due sooner than an idle connection.
            tokio::time::sleep(Duration::from_millis(left.min(header.max(1)))).await;
        }
    }
}

/// A stream that tells its watch of every byte.
struct Watched<S> {
    stream: S,
    /// Bytes that were read from it before.
    ahead: Vec<u8>,
    watch: Arc<Watch>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if !self.ahead.is_empty() {
            let n = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..n]);
            self.ahead.drain(..n);
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.watch.bytes_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.watch.bytes_written();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bytes))?;
        self.watch.bytes_written();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Serves one connection to its end; why it ended.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    ahead: Vec<u8>,
    peer: Arc<Peer>,
    shared: &Arc<Shared>,
) -> &'static str {
    let watch = Arc::new(Watch::new(Phase::Head));
    let mut io = Watched { stream, ahead, watch: watch.clone() };
    let mut slow = None;
    let why = {
        let service = service_fn(|request| {
            watch.set(Phase::Busy);
            let handled = handle(shared.clone(), peer.clone(), request);
            let watch = watch.clone();
            async move {
                let answer = handled.await;
                watch.set(Phase::Waiting);
                answer
            }
        });
        let connection = http1::Builder::new()
            // One that has sent all it wants to may wait for the answer with its side closed.
            .half_close(true)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD)
            .max_buf_size(MAX_READ)
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(&mut io), service);
        let mut connection = pin!(connection);
        let mut too_slow = pin!(watch.too_slow(shared.header_timeout, shared.idle_timeout));
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => match result {
                    Ok(()) => break "it was closed",
                    Err(error) => {
                        tracing::debug!(%error, peer = ?peer.address, "a connection broke");
                        break "it broke";
                    }
                },
                () = shared.shutdown.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                phase = &mut too_slow => {
                    slow = Some(phase);
                    break "it was too slow";
                }
            }
        }
    };
    if slow == Some(Phase::Head) {
        shared.counters.update(|t| t.error("slow", 1));
        let text = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let written = tokio::time::timeout(LINGER, io.stream.write_all(text)).await;
        tracing::trace!(?written, "told a slow client");
    }
    linger(&mut io.stream).await;
    why
}

/// Closes without cutting off what the client has not read yet: a socket closed with bytes unread is reset.
async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let ended = tokio::time::timeout(LINGER, async {
        stream.shutdown().await?;
        let mut bytes = [0; 4096];
        let mut left = LINGER_BYTES;
        loop {
            match stream.read(&mut bytes).await? {
                0 => return Ok(()),
                n if n >= left => return Ok::<(), io::Error>(()),
                n => left -= n,
            }
        }
    });
    let ended = ended.await;
    tracing::trace!(?ended, "closed");
}

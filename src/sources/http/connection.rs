//! Connections: accepted, secured, watched, and ended without cutting the answer off.

use super::Shared;
use super::handle::handle;
use super::peer::Peer;
use crate::net::connections::{ConnectionPermit, Phase, Watched};
use crate::net::proxy_protocol;
use crate::sync::Locked;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Longest head of a request; a longer one gets a 431.
const MAX_HEAD: usize = 16 << 10;
/// Bytes read at once, and held for a client that nothing is known of.
const MAX_READ: usize = 16 << 10;
/// What a connection may take of memory before its client has shown credentials: its task, hyper's buffers for reading and
/// writing, a head; over TLS rustls's state too.
pub(super) const BYTES_EACH: usize = 40 << 10;
pub(super) const TLS_BYTES_EACH: usize = 64 << 10;
/// Most headers.
const MAX_HEADERS: usize = 128;
/// How long and how many bytes of a refused body are read and thrown away, so that the client gets to read the answer.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 1 << 20;
/// What one is told that did not ask in time.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// How long that may take where another waits for the place.
const HURRY: Duration = Duration::from_millis(20);

/// Accepts until the agent stops, and ends when the last connection has.
pub(super) async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => break,
            () = shared.leave.cancelled() => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                // Where all are within requests, further clients wait in the system's queue.
                let place = tokio::select! {
                    biased;
                    () = shared.shutdown.cancelled() => break,
                    place = shared.places.take(Some(address.ip().to_canonical())) => place,
                };
                shared.count_waited(address);
                let shared = shared.clone();
                open.spawn(async move {
                    shared.count_connection(1.0);
                    let why = connect(stream, address, &shared, &place).await;
                    shared.count_connection(-1.0);
                    tracing::debug!(peer = %address, why, "a connection has ended");
                    drop(place);
                });
            }
            Err(error) => {
                shared.counters.update(|t| t.error("accept", 1));
                // Too many open files, mostly: try again when some have closed.
                let due = shared.accept_failed.locked().due(1);
                if let Some(times) = due {
                    tracing::warn!(component = %shared.source, %error, times, "a connection cannot be accepted");
                }
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

async fn connect(
    mut stream: TcpStream,
    address: SocketAddr,
    shared: &Arc<Shared>,
    place: &ConnectionPermit,
) -> &'static str {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
    let order = shared.next.fetch_add(1, Ordering::Relaxed);
    let loopback = stream.local_addr().is_ok_and(|local| local.ip().to_canonical().is_loopback());
    let begun = tokio::select! {
        biased;
        begun = Box::pin(proxy_protocol::begin(&mut stream, shared.proxy_protocol)) => begun,
        () = shared.shutdown.cancelled() => return "the agent stops",
        () = place.gives_way() => return "it gave way to another",
        // Silence before a header that may come or not.
        () = tokio::time::sleep(shared.header_timeout) => return "it was too slow",
    };
    let begun = match begun {
        Ok(begun) => begun,
        Err(error) => {
            shared.counters.update(|t| t.error("proxy_protocol", 1));
            shared.counters.example("proxy_protocol", || format!("{address}: {error}"));
            return "it has no PROXY header";
        }
    };
    let ip = begun.peer.unwrap_or(address.ip()).to_canonical();
    let mut peer = Peer { address: Some(ip.to_string().into()), ip, tls_subject: None, loopback, order };
    let Some(tls) = &shared.tls else {
        if begun.read.is_empty() {
            // One that never says anything costs no more than this.
            let mut first = [0];
            tokio::select! {
                biased;
                peeked = stream.peek(&mut first) => {
                    if !matches!(peeked, Ok(1..)) {
                        return "it was closed";
                    }
                }
                () = shared.shutdown.cancelled() => return "the agent stops",
                () = place.gives_way() => {
                    let written = stream.try_write(TOO_SLOW);
                    tracing::trace!(?written, "told a client that gave way");
                    return "it gave way to another";
                }
                () = tokio::time::sleep(shared.header_timeout) => {}
            }
        }
        return Box::pin(serve(stream, begun.read, Arc::new(peer), shared, place)).await;
    };
    let accepted = tokio::select! {
        biased;
        accepted = Box::pin(tls.accept(stream, shared.header_timeout)) => accepted,
        () = shared.shutdown.cancelled() => return "the agent stops",
        () = place.gives_way() => return "it gave way to another",
    };
    match accepted {
        Ok((stream, subject)) => {
            peer.tls_subject = subject;
            Box::pin(serve(stream, Vec::new(), Arc::new(peer), shared, place)).await
        }
        Err(error) => {
            shared.counters.update(|t| t.error("tls", 1));
            tracing::debug!(?peer, %error, "a connection is closed");
            "it does not speak our TLS"
        }
    }
}

/// Serves one connection to its end; why it ended.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    ahead: Vec<u8>,
    peer: Arc<Peer>,
    shared: &Arc<Shared>,
    place: &ConnectionPermit,
) -> &'static str {
    let watch = &place.watch;
    let mut io = Watched::new(stream, ahead, watch.clone());
    let mut slow = None;
    let why = {
        let service = service_fn(|request| {
            watch.set(Phase::Busy);
            let handled = Box::pin(handle(shared.clone(), peer.clone(), request));
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
        let (mut stopping, mut asked) = (false, false);
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
                () = place.gives_way(), if !asked => {
                    if place.must_close() {
                        break "it gave way to another";
                    }
                    asked = true;
                    connection.as_mut().graceful_shutdown();
                }
                phase = &mut too_slow => {
                    slow = Some(phase);
                    break "it was too slow";
                }
            }
        }
    };
    if place.must_close() {
        // Another waits for the place, so nobody lingers here; nothing that was asked is left unanswered.
        if watch.get().0 != Phase::Waiting {
            let written = tokio::time::timeout(HURRY, io.stream.write_all(TOO_SLOW)).await;
            tracing::trace!(?written, "told a client that gave way");
        }
        return why;
    }
    if matches!(slow, Some(Phase::Head | Phase::Silent)) {
        shared.counters.update(|t| t.error("slow", 1));
        let written = tokio::time::timeout(LINGER, io.stream.write_all(TOO_SLOW)).await;
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

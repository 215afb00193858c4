//! Connections: each is read straight into a slab, framed there, and handed over one chunk a read.

use super::Shared;
use super::origin::Origins;
use crate::ack::Ack;
use crate::component::Closed;
use crate::error::RunError;
use crate::event::{Chunk, Frames};
use crate::event::{Origin, Slab};
use crate::framing::syslog::{Ended, SyslogFramer};
use crate::net::proxy_protocol;
use crate::net::sockets::Holder;
use crate::net::tls::TlsServer;
use crate::sync::Locked;
use crate::telemetry::log_throttle::LogThrottle;
use crate::time::clock;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Bytes read at once; a slab holds what was left of the read before as well.
pub(super) const SLAB: usize = 256 << 10;
/// Room that a slab must have left for another read into it.
const WORTH_A_READ: usize = 16 << 10;
/// Unfinished messages of all connections together, in bytes, or a quarter of `memory_limit` where that is less; a
/// connection that would need more is closed.
pub(super) const UNFINISHED: usize = 16 << 20;
/// What a connection takes of memory beside its unfinished message: its task, about; over TLS with rustls's state.
pub(super) const BYTES_EACH: usize = 3 << 10;
pub(super) const TLS_BYTES_EACH: usize = 32 << 10;
/// Bytes read from one connection when the agent stops, at most: what its sender was told is received is less.
const LAST_BYTES: usize = 16 << 20;
/// And for how long, at most: a sender of many small segments makes many small reads.
const LAST_TIME: Duration = Duration::from_secs(2);
/// How long a connection that seems to have nothing more is looked at then: the runtime must ask the system once, and a
/// sender that waits for the acknowledgement of a small segment (Nagle's algorithm) is let wait for 40 ms.
const LAST_WAIT: Duration = Duration::from_millis(60);
/// Longest handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A silent peer is asked after this time whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A listening socket of streams, not blocking.
pub(super) enum StreamListener {
    /// With a certificate where TLS is spoken.
    Tcp(std::net::TcpListener, Option<Arc<TlsServer>>),
    Unix(std::os::unix::net::UnixListener),
}

/// Why a connection is not read any more that another source goes on with.
const MOVED: &str = "it was handed on";

/// What the connections of one source share.
struct Connections {
    shared: Arc<Shared>,
    origins: Origins,
    slots: Arc<Semaphore>,
    next: AtomicU64,
    /// Bytes of unfinished messages.
    unfinished: AtomicUsize,
    accept_failed: Mutex<LogThrottle>,
}

/// Accepts and reads until the agent stops, on a runtime of this thread's own: a read that waits for the workers holds
/// up only connections of this source, which would have to wait as well.
pub(super) fn run(
    listeners: Vec<(StreamListener, Holder)>,
    shared: Arc<Shared>,
    origins: Origins,
) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(RunError::io("cannot start a runtime"))?;
    let slots = Arc::new(Semaphore::new(shared.max_connections.min(Semaphore::MAX_PERMITS)));
    let connections = Arc::new(Connections {
        shared,
        origins,
        slots,
        next: AtomicU64::new(0),
        unfinished: AtomicUsize::new(0),
        accept_failed: Mutex::default(),
    });
    runtime.block_on(async {
        let mut accepting = JoinSet::new();
        for (listener, holder) in listeners {
            accepting.spawn(accept(listener, holder, connections.clone()));
        }
        let mut result = Ok(());
        while let Some(ended) = accepting.join_next().await {
            let ended = ended.unwrap_or_else(|_| Err(RunError::panicked("accepting")));
            if ended.is_err() {
                connections.shared.shutdown.cancel();
                result = ended;
            }
        }
        result
    })
}

/// Accepts on one socket; ends when the agent stops and the last of its connections has been read.
async fn accept(listener: StreamListener, holder: Holder, connections: Arc<Connections>) -> Result<(), RunError> {
    enum Async {
        Tcp(TcpListener, Option<Arc<TlsServer>>),
        Unix(UnixListener),
    }
    let listener = match listener {
        StreamListener::Tcp(listener, tls) => TcpListener::from_std(listener).map(|listener| Async::Tcp(listener, tls)),
        StreamListener::Unix(listener) => UnixListener::from_std(listener).map(Async::Unix),
    };
    let listener = listener.map_err(RunError::io("cannot listen"))?;
    let shutdown = connections.shared.shutdown.clone();
    let leave = connections.shared.leave.clone();
    let mut open = JoinSet::new();
    // Those of a source that leaves come here.
    let taker = holder.take_connections();
    loop {
        // Over `max_connections`, further clients wait in the system's queue: one that is closed may lose what it sends next.
        if connections.slots.available_permits() == 0 {
            connections.shared.counters.update(|t| t.error("connections_at_limit", 1));
        }
        let slot = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = leave.cancelled() => break,
            slot = connections.slots.clone().acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let accepted = async {
            Ok::<_, io::Error>(match &listener {
                Async::Tcp(listener, tls) => {
                    let (stream, peer) = listener.accept().await?;
                    keep_alive(&stream);
                    (Stream::Tcp(stream, tls.clone()), Some(peer.ip().to_canonical()))
                }
                Async::Unix(listener) => (Stream::Unix(listener.accept().await?.0), None),
            })
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = leave.cancelled() => break,
            Some(_) = open.join_next() => continue,
            moved = holder.moved() => match moved.downcast::<Moved>() {
                Ok(moved) => Ok((Stream::Moved(moved), None)),
                Err(_) => continue,
            },
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (connections, holder) = (connections.clone(), holder.clone());
                open.spawn(async move {
                    serve(stream, peer, &connections, &holder).await;
                    drop(slot);
                });
            }
            Err(error) => {
                connections.shared.counters.update(|t| t.error("accept", 1));
                // Too many open files, mostly: try again when some have closed.
                let id = &connections.shared.counters.id;
                let due = connections.accept_failed.locked().due(1);
                if let Some(times) = due {
                    tracing::warn!(component = %id, %error, times, "a connection cannot be accepted");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop((listener, taker));
    while shutdown.is_cancelled()
        && let Some(moved) = holder.try_moved()
    {
        // What it has received already is read all the same.
        let Ok(moved) = moved.downcast::<Moved>() else { continue };
        let (connections, holder) = (connections.clone(), holder.clone());
        open.spawn(async move { serve(Stream::Moved(moved), None, &connections, &holder).await });
    }
    while open.join_next().await.is_some() {}
    Ok(())
}

enum Stream {
    Tcp(tokio::net::TcpStream, Option<Arc<TlsServer>>),
    Unix(tokio::net::UnixStream),
    /// Of a source whose place this one has taken.
    Moved(Box<Moved>),
}

/// A connection that another source goes on reading, between two reads.
struct Moved {
    socket: MovedSocket,
    peer: Option<IpAddr>,
    order: u64,
    framer: SyslogFramer,
    rest: Vec<u8>,
}

enum MovedSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A peer that is gone without a word is found out.
fn keep_alive(stream: &tokio::net::TcpStream) {
    use nix::sys::socket::{setsockopt, sockopt};
    let seconds = KEEP_ALIVE.as_secs() as u32;
    let set = setsockopt(stream, sockopt::KeepAlive, &true);
    #[cfg(target_os = "linux")]
    let set = set
        .and_then(|()| setsockopt(stream, sockopt::TcpKeepIdle, &seconds))
        .and_then(|()| setsockopt(stream, sockopt::TcpKeepInterval, &seconds.div_ceil(4)));
    if let Err(error) = set {
        tracing::debug!(%error, "keep-alive cannot be set");
    }
}

/// Reads one connection to its end.
async fn serve(stream: Stream, peer: Option<IpAddr>, connections: &Connections, holder: &Holder) {
    let order = connections.next.fetch_add(1, Ordering::Relaxed);
    let opened = connections.count(1);
    tracing::debug!(?peer, opened, "a connection was opened");
    let why = match stream {
        Stream::Tcp(stream, tls) => serve_tcp(stream, tls, peer, order, (connections, holder)).await,
        Stream::Unix(stream) => {
            let connection = Connection::new(connections, connections.origins.make(peer, None, order), Vec::new());
            Box::pin(serve_here(stream, connection, (peer, order), holder)).await
        }
        Stream::Moved(moved) => {
            let Moved { socket, peer, order, framer, rest } = *moved;
            let mut connection = Connection::new(connections, connections.origins.make(peer, None, order), rest);
            connection.framer = framer;
            match socket {
                MovedSocket::Tcp(stream) => match tokio::net::TcpStream::from_std(stream) {
                    Ok(stream) => Box::pin(serve_here(stream, connection, (peer, order), holder)).await,
                    Err(_) => connection.end("it cannot be read"),
                },
                MovedSocket::Unix(stream) => match tokio::net::UnixStream::from_std(stream) {
                    Ok(stream) => Box::pin(serve_here(stream, connection, (peer, order), holder)).await,
                    Err(_) => connection.end("it cannot be read"),
                },
            }
        }
    };
    connections.count(-1);
    tracing::debug!(?peer, why, "a connection has ended");
}

/// A connection that another source can go on with.
trait Movable: AsyncRead + Unpin {
    /// Takes it away from this runtime.
    ///
    /// Errors: it cannot be used elsewhere.
    fn moved(self) -> io::Result<MovedSocket>;
}

impl Movable for tokio::net::TcpStream {
    fn moved(self) -> io::Result<MovedSocket> {
        self.into_std().map(MovedSocket::Tcp)
    }
}

impl Movable for tokio::net::UnixStream {
    fn moved(self) -> io::Result<MovedSocket> {
        self.into_std().map(MovedSocket::Unix)
    }
}

/// Reads until the end, or until another source goes on with it.
async fn serve_here(
    mut stream: impl Movable,
    mut connection: Connection<'_>,
    (peer, order): (Option<IpAddr>, u64),
    holder: &Holder,
) -> &'static str {
    let why = connection.run(&mut stream, Some(holder)).await;
    if why == MOVED {
        match stream.moved() {
            Ok(socket) => connection.move_to(holder, socket, peer, order),
            Err(_) => return connection.end("it cannot be handed on"),
        }
    }
    why
}

async fn serve_tcp(
    mut stream: tokio::net::TcpStream,
    tls: Option<Arc<TlsServer>>,
    peer: Option<IpAddr>,
    order: u64,
    (connections, holder): (&Connections, &Holder),
) -> &'static str {
    let shared = &*connections.shared;
    let begun = tokio::select! {
        biased;
        // What is over soon, or rare, is boxed: thousands of plain connections pay for the largest of all these states.
        begun = Box::pin(proxy_protocol::begin(&mut stream, shared.proxy_protocol)) => begun,
        () = shared.shutdown.cancelled() => return "the agent stops",
    };
    let begun = match begun {
        Ok(begun) => begun,
        Err(error) => {
            shared.counters.update(|t| t.error("proxy_protocol", 1));
            let from = peer.map_or_else(String::new, |peer| format!("{peer}: "));
            shared.counters.example("proxy_protocol", || format!("{from}{error}"));
            return "it has no PROXY header";
        }
    };
    let peer = begun.peer.or(peer);
    let Some(tls) = tls else {
        let origin = connections.origins.make(peer, None, order);
        let connection = Connection::new(connections, origin, begun.read);
        return serve_here(stream, connection, (peer, order), holder).await;
    };
    let accepted = tokio::select! {
        biased;
        accepted = Box::pin(tls.accept(stream, HANDSHAKE)) => accepted,
        () = shared.shutdown.cancelled() => return "the agent stops",
    };
    match accepted {
        Ok((mut stream, subject)) => {
            let origin = connections.origins.make(peer, subject, order);
            let mut connection = Connection::new(connections, origin, Vec::new());
            // What is within TLS cannot be handed on: it is read until its end, as far as there is time.
            Box::pin(connection.run(&mut stream, None)).await
        }
        Err(error) => {
            shared.counters.update(|t| t.error("tls", 1));
            tracing::debug!(?peer, %error, "a connection is closed");
            "it does not speak our TLS"
        }
    }
}

impl Connections {
    /// Changes the number of open connections; what it is now.
    fn count(&self, by: i32) -> f64 {
        self.shared.counters.update(|t| {
            let open = t.gauges.entry("connections").or_default();
            *open += f64::from(by);
            *open
        })
    }
}

/// One connection being read.
struct Connection<'a> {
    connections: &'a Connections,
    origin: Arc<Origin>,
    framer: SyslogFramer,
    /// The unfinished message at the end of what was read; charged to `unfinished`.
    rest: Vec<u8>,
}

/// What a read brought.
struct Read {
    /// What was left before, and what came.
    bytes: Vec<u8>,
    at_end: bool,
}

/// What comes behind bytes of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// More, maybe.
    GoOn,
    /// Nothing.
    End,
}

impl<'a> Connection<'a> {
    /// `rest`: what has been read of it already.
    fn new(connections: &'a Connections, origin: Arc<Origin>, rest: Vec<u8>) -> Self {
        let framer = SyslogFramer::new(connections.shared.max_message);
        connections.unfinished.fetch_add(rest.len(), Ordering::Relaxed);
        Connection { connections, origin, framer, rest }
    }

    /// Reads to the end, which is the peer's, or the agent's; why it was.
    async fn run(&mut self, mut stream: &mut (impl AsyncRead + Unpin), holder: Option<&Holder>) -> &'static str {
        let shared = &*self.connections.shared;
        let mut stop = pin!(shared.shutdown.cancelled());
        let mut moves = pin!(async {
            match holder {
                Some(holder) => {
                    shared.leave.cancelled().await;
                    holder.taken().await;
                }
                None => std::future::pending().await,
            }
        });
        let mut stopping: Option<(Instant, usize)> = None;
        loop {
            let came = match (stopping, shared.idle_timeout) {
                // What has come already is read.
                (Some((since, bytes)), _) if bytes >= LAST_BYTES || since.elapsed() >= LAST_TIME => {
                    Err("the agent stops")
                }
                (Some(_), _) => tokio::select! {
                    biased;
                    read = read(&mut stream, &self.rest, shared) => Ok(read),
                    () = tokio::time::sleep(LAST_WAIT) => Err("the agent stops"),
                },
                (None, idle) => tokio::select! {
                    biased;
                    read = read(&mut stream, &self.rest, shared) => Ok(read),
                    () = &mut stop => {
                        stopping = Some((Instant::now(), 0));
                        continue;
                    }
                    () = &mut moves => return MOVED,
                    () = wait(idle) => Err("it was idle"),
                },
            };
            let read = match came {
                Ok(read) => read,
                Err(why) => return self.end(why),
            };
            if let (Some((_, bytes)), Ok(read)) = (&mut stopping, &read) {
                *bytes += read.bytes.len();
            }
            match read {
                Ok(Read { bytes, at_end: false }) => {
                    if let Err(why) = self.take(bytes, Bytes::GoOn) {
                        return why;
                    }
                }
                Ok(Read { bytes, at_end: true }) => {
                    return self.take(bytes, Bytes::End).err().unwrap_or("the peer closed it");
                }
                Err(error) => {
                    tracing::debug!(%error, peer = ?self.origin.peer, "a connection broke");
                    return self.end("it broke");
                }
            }
        }
    }

    /// Gives it to the source that has this one's place.
    fn move_to(&mut self, holder: &Holder, socket: MovedSocket, peer: Option<IpAddr>, order: u64) {
        let rest = std::mem::take(&mut self.rest);
        self.connections.unfinished.fetch_sub(rest.len(), Ordering::Relaxed);
        let framer = std::mem::replace(&mut self.framer, SyslogFramer::new(self.connections.shared.max_message));
        holder.move_connection(Box::new(Moved { socket, peer, order, framer, rest }));
    }

    /// Ends with what is left.
    fn end(&mut self, why: &'static str) -> &'static str {
        let rest = self.rest.clone();
        self.take(rest, Bytes::End).err().unwrap_or(why)
    }

    /// Frames bytes that begin with the rest of those before, and hands over what is whole.
    ///
    /// Errors: why the connection must end.
    fn take(&mut self, mut bytes: Vec<u8>, then: Bytes) -> Result<(), &'static str> {
        let shared = &*self.connections.shared;
        let mut spans = Vec::with_capacity(bytes.len() / 128);
        let done = self.framer.frame(&bytes, &mut spans);
        let kept = if then == Bytes::End {
            let mut last = Vec::new();
            match self.framer.finish(&bytes[done..], &mut last) {
                Ended::Whole => {}
                Ended::BrokenOff => shared.counters.update(|t| t.error("broken_off", 1)),
                Ended::Dropped => self.drop_unfinished(),
            }
            spans.extend(last.iter().map(|(from, to, at)| (from + done as u32, to + done as u32, *at)));
            self.keep(&[])
        } else {
            self.keep(&bytes[done..])
        };
        let cut = self.framer.take_cut();
        if cut > 0 {
            shared.counters.update(|t| t.error("oversized", cut));
        }
        if spans.is_empty() {
            shared.pool.give(bytes);
        } else {
            let end = spans.last().map_or(0, |s| s.1 as usize);
            let text = if end * 4 < bytes.capacity() {
                // A few messages in a large slab would pin all of it until the sinks are done.
                let text = Slab::from_vec(bytes[..end].to_vec());
                shared.pool.give(bytes);
                text
            } else {
                bytes.truncate(end);
                shared.pool.freeze(bytes)
            };
            let chunk = Chunk {
                text,
                frames: Frames::Spans(spans),
                origin: self.origin.clone(),
                offset: 0,
                received_at: clock::now_ns(),
                ack: Ack::none(),
            };
            shared.output.send(chunk).map_err(|Closed| "the agent stops")?;
        }
        if !kept {
            self.drop_unfinished();
            tracing::warn!(peer = ?self.origin.peer, "unfinished messages take too much memory; this connection is closed");
            return Err("unfinished messages take too much memory");
        }
        Ok(())
    }

    /// A message that will never be whole came in and is dropped.
    fn drop_unfinished(&self) {
        self.connections.shared.counters.update(|t| {
            t.events_in += 1;
            t.drop_events("incomplete_frame", 1);
        });
    }

    /// Keeps an unfinished message; `false` where all connections together hold too much.
    fn keep(&mut self, bytes: &[u8]) -> bool {
        let unfinished = &self.connections.unfinished;
        unfinished.fetch_sub(self.rest.len(), Ordering::Relaxed);
        if bytes.is_empty() {
            self.rest = Vec::new();
            return true;
        }
        self.rest.clear();
        let sum = unfinished.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        if sum > self.connections.shared.max_unfinished.max(2 * self.framer.most_kept()) {
            unfinished.fetch_sub(bytes.len(), Ordering::Relaxed);
            return false;
        }
        self.rest.extend_from_slice(bytes);
        true
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.connections.unfinished.fetch_sub(self.rest.len(), Ordering::Relaxed);
    }
}

/// Waits so long, or for ever.
async fn wait(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Waits for bytes and reads what there is, behind `rest`, into a slab of the pool. Holds no slab while it waits.
/// Safe to cancel.
async fn read(stream: &mut (impl AsyncRead + Unpin), rest: &[u8], shared: &Shared) -> io::Result<Read> {
    poll_fn(|cx| {
        let mut bytes = shared.pool.take();
        bytes.extend_from_slice(rest);
        loop {
            let polled = pin!(stream.read_buf(&mut bytes)).poll(cx);
            match polled {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Read { bytes, at_end: true })),
                Poll::Ready(Ok(_)) if bytes.capacity() - bytes.len() >= WORTH_A_READ => {}
                Poll::Pending if bytes.len() == rest.len() => {
                    shared.pool.give(bytes);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(_)) | Poll::Pending => return Poll::Ready(Ok(Read { bytes, at_end: false })),
                // What came before it broke is not lost; the next read breaks again.
                Poll::Ready(Err(_)) if bytes.len() > rest.len() => {
                    return Poll::Ready(Ok(Read { bytes, at_end: false }));
                }
                Poll::Ready(Err(error)) => {
                    shared.pool.give(bytes);
                    return Poll::Ready(Err(error));
                }
            }
        }
    })
    .await
}

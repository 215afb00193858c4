//! The places of a server's connections, and who gives way when they are all taken.
//!
//! Promises: no more connections than there are places, whatever clients do. A place is held for as long as something is
//! being asked on it: when places are short, the one gives way that has asked nothing for the longest: nothing came on it yet,
//! nothing since the last answer, or a head that takes its time. So clients that hold connections for nothing keep nobody out.
//! Handshakes of TLS are bounded apart, and by peer. A connection within a request is never closed for another.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::sync::Locked;
use crate::time::clock;

/// A connection on which nothing came yet, or only a part of a head, is left this long before it gives way.
const GRACE_MS: u64 = 100;
/// How often those that wait for a place look again: what was too young may be old enough.
const LOOK: Duration = Duration::from_millis(20);

/// What a connection is about, as its watch sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u64)]
pub(crate) enum Phase {
    /// Nothing of a request has come yet; a handshake may be going on.
    Silent = 0,
    /// Between requests, or an answer goes out: idle since the last byte.
    Waiting = 1,
    /// A head is coming, since then.
    Head = 2,
    /// A request is being handled, which keeps its own time.
    Busy = 3,
}

/// The phase in the low two bits, and since when (milliseconds of the monotonic clock) above.
#[derive(Debug)]
pub(crate) struct Watch(AtomicU64);

fn now_ms() -> u64 {
    clock::monotonic_ns() / 1_000_000
}

impl Watch {
    /// Of a connection that begins in this phase now.
    pub(crate) fn new(phase: Phase) -> Watch {
        Watch(AtomicU64::new(now_ms() << 2 | phase as u64))
    }

    /// It is in this phase from now on.
    pub(crate) fn set(&self, phase: Phase) {
        self.0.store(now_ms() << 2 | phase as u64, Ordering::Relaxed);
    }

    /// The phase, and since when.
    pub(crate) fn get(&self) -> (Phase, u64) {
        let word = self.0.load(Ordering::Relaxed);
        let phase = match word & 3 {
            0 => Phase::Silent,
            1 => Phase::Waiting,
            2 => Phase::Head,
            _ => Phase::Busy,
        };
        (phase, word >> 2)
    }

    fn bytes_read(&self) {
        if matches!(self.get().0, Phase::Silent | Phase::Waiting) {
            self.set(Phase::Head);
        }
    }

    fn bytes_written(&self) {
        if self.get().0 == Phase::Waiting {
            self.set(Phase::Waiting);
        }
    }

    /// Resolves when the client has taken too long; in which phase.
    pub(crate) async fn too_slow(&self, header_timeout: Duration, idle_timeout: Duration) -> Phase {
        let (header, idle) = (header_timeout.as_millis() as u64, idle_timeout.as_millis() as u64);
        loop {
            let (phase, since) = self.get();
            let due = match phase {
                Phase::Waiting => since + idle,
                Phase::Silent | Phase::Head => since + header,
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
pub(crate) struct Watched<S> {
    /// The stream itself.
    pub(crate) stream: S,
    /// Bytes that were read from it before.
    ahead: Vec<u8>,
    watch: Arc<Watch>,
}

impl<S> Watched<S> {
    /// `ahead`: what was read from it before.
    pub(crate) fn new(stream: S, ahead: Vec<u8>, watch: Arc<Watch>) -> Self {
        Watched { stream, ahead, watch }
    }
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

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections.
    pub(crate) connections: usize,
    /// Of those: on which nothing came yet, all together and of one peer.
    pub(crate) silent: usize,
    /// Of one peer.
    pub(crate) silent_of_peer: usize,
}

/// All places of one server.
#[derive(Debug)]
pub(crate) struct Places {
    limits: Limits,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    open: HashMap<u64, Open>,
    next: u64,
    /// Clients that found no place free, since the last look.
    waited: u64,
}

#[derive(Debug)]
struct Open {
    watch: Arc<Watch>,
    peer: Option<IpAddr>,
    close: CancellationToken,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    places: Arc<Places>,
    id: u64,
    /// What the connection is about.
    pub(crate) watch: Arc<Watch>,
    close: CancellationToken,
}

impl ConnectionPermit {
    /// Resolves when it is to give way. It does so unless it is within a request, see [`must_close`](ConnectionPermit::must_close).
    pub(crate) async fn gives_way(&self) {
        self.close.cancelled().await;
    }

    /// Whether it is closed now that it is asked to give way: a request that came in between is handled first.
    pub(crate) fn must_close(&self) -> bool {
        self.close.is_cancelled() && self.watch.get().0 != Phase::Busy
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.places.lock().open.remove(&self.id);
        self.places.freed.notify_waiters();
    }
}

impl Places {
    /// All free.
    pub(crate) fn new(limits: Limits) -> Arc<Places> {
        Arc::new(Places { limits, taken: Mutex::default(), freed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.locked()
    }

    /// How many found no place free, since this was asked before.
    pub(crate) fn take_waited(&self) -> u64 {
        std::mem::take(&mut self.lock().waited)
    }

    /// A place for a connection of `peer` on which nothing came yet; waits for one, and asks others to give way.
    pub(crate) async fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> ConnectionPermit {
        let mut first = true;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(place) = self.try_take(peer, first) {
                return place;
            }
            first = false;
            let _either = tokio::time::timeout(LOOK, freed).await;
        }
    }

    fn try_take(self: &Arc<Self>, peer: Option<IpAddr>, first: bool) -> Option<ConnectionPermit> {
        let mut taken = self.lock();
        let silent = |open: &&Open| open.watch.get().0 == Phase::Silent;
        let (all, of_peer) = taken
            .open
            .values()
            .filter(silent)
            .fold((0, 0), |(all, of_peer), open| (all + 1, of_peer + usize::from(open.peer == peer)));
        let fits_peer = of_peer < self.limits.silent_of_peer;
        let fits = taken.open.len() < self.limits.connections && all < self.limits.silent && fits_peer;
        if !fits {
            taken.waited += u64::from(first);
            let of_all = |_: &Open| true;
            let only_silent = |open: &Open| open.watch.get().0 == Phase::Silent && (fits_peer || open.peer == peer);
            match all >= self.limits.silent || !fits_peer {
                true => taken.give_way(only_silent),
                false => taken.give_way(of_all),
            }
            return None;
        }
        let id = taken.next;
        taken.next += 1;
        let (watch, close) = (Arc::new(Watch::new(Phase::Silent)), CancellationToken::new());
        taken.open.insert(id, Open { watch: watch.clone(), peer, close: close.clone() });
        Some(ConnectionPermit { places: self.clone(), id, watch, close })
    }
}

impl Taken {
    /// Asks the one that is longest idle to give way, unless one that was asked has not gone yet.
    fn give_way(&mut self, among: impl Fn(&Open) -> bool) {
        let now = now_ms();
        let mut oldest: Option<((u64, u64), &Open)> = None;
        for (&id, open) in self.open.iter().filter(|(_, open)| among(open)) {
            let (phase, since) = open.watch.get();
            if phase == Phase::Busy || phase != Phase::Waiting && now.saturating_sub(since) < GRACE_MS {
                continue;
            }
            if open.close.is_cancelled() {
                return;
            }
            if oldest.is_none_or(|(key, _)| (since, id) < key) {
                oldest = Some(((since, id), open));
            }
        }
        if let Some((_, open)) = oldest {
            open.close.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn places(connections: usize, silent: usize, silent_of_peer: usize) -> Arc<Places> {
        Places::new(Limits { connections, silent, silent_of_peer })
    }

    fn peer(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([127, 0, 0, n]))
    }

    async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(Duration::from_millis(40), future).await.ok()
    }

    async fn ended(task: &tokio::task::JoinHandle<()>) {
        let wait = async {
            while !task.is_finished() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), wait).await.unwrap();
    }

    /// Gives its place back when it is asked to.
    fn obedient(place: ConnectionPermit) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                place.gives_way().await;
                if place.must_close() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    }

    #[tokio::test]
    async fn the_longest_idle_gives_way_and_one_within_a_request_does_not() {
        let places = places(3, 9, 9);
        let mut tasks = Vec::new();
        let phases = [Phase::Busy, Phase::Waiting, Phase::Waiting];
        for phase in phases {
            let place = places.take(peer(1)).await;
            place.watch.set(phase);
            tokio::time::sleep(Duration::from_millis(3)).await;
            tasks.push(obedient(place));
        }
        let fourth = places.take(peer(2)).await;
        ended(&tasks[1]).await;
        assert!(!tasks[0].is_finished() && !tasks[2].is_finished());
        let fifth = places.take(peer(2)).await;
        ended(&tasks[2]).await;
        fourth.watch.set(Phase::Busy);
        fifth.watch.set(Phase::Busy);
        assert!(soon(places.take(peer(2))).await.is_none(), "all are within requests");
        assert_eq!(places.take_waited(), 3);
        drop(fifth);
        assert!(soon(places.take(peer(2))).await.is_some());
    }

    #[tokio::test]
    async fn silent_ones_are_bounded_apart_and_by_peer() {
        let places = places(100, 4, 2);
        let mut tasks = Vec::new();
        for n in [1, 1, 2] {
            tasks.push(obedient(places.take(peer(n)).await));
        }
        // A third of one peer waits for the first of that peer, and another peer's stays.
        tasks.push(obedient(places.take(peer(1)).await));
        ended(&tasks[0]).await;
        assert!(!tasks[2].is_finished());
        tasks.push(obedient(places.take(peer(3)).await));
        tasks.push(obedient(places.take(peer(4)).await));
        ended(&tasks[1]).await;
        assert_eq!(tasks.iter().filter(|task| task.is_finished()).count(), 2);
        assert_eq!(places.lock().open.len(), 4);
    }

    #[tokio::test]
    async fn what_has_just_come_is_left_a_moment() {
        let places = places(1, 9, 9);
        let task = obedient(places.take(peer(1)).await);
        assert!(soon(places.take(peer(2))).await.is_none());
        assert!(!task.is_finished());
        let _second = places.take(peer(2)).await;
        ended(&task).await;
    }
}

//! Datagrams: one message each, taken from the kernel many at a time.

use super::Shared;
use super::origin::PeerOrigins;
use crate::ack::Ack;
use crate::component::Closed;
use crate::event::{Chunk, Frames};
use crate::event::{Origin, Slab};
use crate::framing::LongLines;
use crate::framing::lines::Lines;
use crate::time::clock;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

/// Datagrams of one system call at most.
const BATCH: usize = 64;
/// Bytes of messages after which a batch is handed over though more may have come.
const FULL: usize = 128 << 10;
/// How often a reader that waits looks whether the agent stops.
const LOOK: Duration = Duration::from_millis(100);
/// How often the kernel is asked what it dropped, in nanoseconds.
const ASK_NS: u64 = 1_000_000_000;
/// How long what the kernel still holds is read when the agent stops, in nanoseconds.
const DRAIN_NS: u64 = 2_000_000_000;
/// Longest datagram there is.
const LONGEST: usize = 65_535;
/// Bytes read beyond the longest message: line ends that transports put behind one do not make it too long.
const ENDS: usize = 4;

/// A socket of datagrams that blocks, and looks up every [`LOOK`].
pub(super) enum DatagramSocket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl DatagramSocket {
    fn prepare(&self) -> io::Result<()> {
        match self {
            DatagramSocket::Udp(socket) => socket.set_read_timeout(Some(LOOK)),
            DatagramSocket::Unix(socket) => socket.set_read_timeout(Some(LOOK)),
        }
    }

    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            DatagramSocket::Udp(socket) => socket.as_fd(),
            DatagramSocket::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Messages of one sender, in a row.
#[derive(Default)]
struct Group {
    peer: Option<IpAddr>,
    text: Vec<u8>,
    spans: Vec<(u32, u32, u64)>,
}

/// Whether a datagram is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// For one, as long as the socket lets us.
    ForOne,
    /// What is there is taken.
    No,
}

/// What has come since the last hand-over, by sender.
#[derive(Default)]
struct Groups {
    /// Longest message.
    max: usize,
    groups: Vec<Group>,
    places: HashMap<Option<IpAddr>, usize>,
    last: usize,
    bytes: usize,
    cut: u64,
}

impl Groups {
    fn push(&mut self, peer: Option<IpAddr>, datagram: &[u8], cut: bool) {
        // What transports put behind a message is not the message's.
        let mut end = datagram.iter().rposition(|c| !matches!(c, b'\n' | b'\r' | 0)).map_or(0, |last| last + 1);
        self.cut += u64::from(cut || end > self.max);
        if end == 0 {
            return;
        }
        if end > self.max {
            end = Lines { max_bytes: self.max, long: LongLines::Truncate }.boundary(datagram, 0);
        }
        if self.groups.get(self.last).is_none_or(|group| group.peer != peer) {
            self.last = *self.places.entry(peer).or_insert(self.groups.len());
            if self.last == self.groups.len() {
                self.groups.push(Group { peer, ..Group::default() });
            }
        }
        let group = &mut self.groups[self.last];
        let from = group.text.len();
        group.text.extend_from_slice(&datagram[..end]);
        group.spans.push((from as u32, group.text.len() as u32, 0));
        self.bytes += end;
    }

    /// Hands everything over, each sender's messages in one chunk.
    fn send(&mut self, shared: &Shared, origins: &mut PeerOrigins) -> Result<(), Closed> {
        self.places.clear();
        (self.last, self.bytes) = (0, 0);
        let cut = std::mem::take(&mut self.cut);
        if cut > 0 {
            shared.counters.update(|t| t.error("oversized", cut));
        }
        if self.groups.is_empty() {
            return Ok(());
        }
        let received_at = clock::now_ns();
        for group in self.groups.drain(..) {
            let origin: Arc<Origin> = origins.of(group.peer);
            let (text, frames) = (Slab::from_vec(group.text), Frames::Spans(group.spans));
            shared.output.send(Chunk { text, frames, origin, offset: 0, received_at, ack: Ack::none() })?;
        }
        Ok(())
    }
}

/// Reads until the agent stops, and then what the kernel still holds.
pub(super) fn run(socket: &DatagramSocket, shared: &Shared, mut origins: PeerOrigins) -> io::Result<()> {
    socket.prepare()?;
    let mut receiver = Receiver::new((shared.max_message.saturating_add(ENDS)).min(LONGEST));
    let mut drops = matches!(socket, DatagramSocket::Udp(_)).then(|| Drops::of(socket.fd())).flatten();
    let mut groups = Groups { max: shared.max_message, ..Groups::default() };
    let mut asked = clock::monotonic_ns();
    let mut stopping = None;
    loop {
        let wait = if stopping.is_none() { Wait::ForOne } else { Wait::No };
        let got = match receiver.receive(socket.fd(), wait, &mut groups) {
            Ok(got) => got,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            // What an ICMP answer to nothing of ours left on the socket.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => 0,
            Err(error) => return Err(error),
        };
        // A full batch mostly means that more is there; it is taken along as long as the chunk is not large.
        if got == BATCH && groups.bytes < FULL {
            let more = receiver.receive(socket.fd(), Wait::No, &mut groups).unwrap_or(0);
            if more == BATCH && groups.bytes < FULL {
                continue;
            }
        }
        if groups.send(shared, &mut origins).is_err() {
            break;
        }
        let now = clock::monotonic_ns();
        if now.saturating_sub(asked) >= ASK_NS {
            asked = now;
            count_drops(&mut drops, shared);
        }
        match stopping {
            None if shared.shutdown.is_cancelled() || shared.leave.is_cancelled() => stopping = Some(now),
            Some(since) if got == 0 || now.saturating_sub(since) >= DRAIN_NS => break,
            _ => {}
        }
    }
    count_drops(&mut drops, shared);
    Ok(())
}

fn count_drops(drops: &mut Option<Drops>, shared: &Shared) {
    let new = drops.as_mut().map_or(0, Drops::new_ones);
    if new > 0 {
        // They came in and were lost here, as far as the ledger are concerned.
        shared.counters.update(|t| {
            t.events_in += new;
            t.drop_events("kernel_buffer_full", new);
        });
    }
}

/// The kernel's count of datagrams that found one socket's buffer full.
struct Drops {
    inode: u64,
    known: u64,
}

impl Drops {
    #[cfg(target_os = "linux")]
    fn of(fd: std::os::fd::BorrowedFd<'_>) -> Option<Self> {
        let inode = rustix::fs::fstat(fd).ok()?.st_ino;
        Some(Drops { inode, known: 0 })
    }

    #[cfg(not(target_os = "linux"))]
    fn of(_: std::os::fd::BorrowedFd<'_>) -> Option<Self> {
        None
    }

    /// How many there are since the last call.
    fn new_ones(&mut self) -> u64 {
        let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
        let total = tables.iter().filter_map(|path| std::fs::read_to_string(path).ok());
        let Some(total) = total.filter_map(|table| drops_in(&table, self.inode)).next() else { return 0 };
        let new = total.saturating_sub(self.known);
        self.known = self.known.max(total);
        new
    }
}

/// The last column of the row of a socket in `/proc/net/udp`.
fn drops_in(table: &str, inode: u64) -> Option<u64> {
    let inode = inode.to_string();
    let row = table.lines().find(|row| row.split_ascii_whitespace().nth(9) == Some(&inode))?;
    row.split_ascii_whitespace().nth(12)?.parse().ok()
}

/// Buffers for datagrams; pages are only used as far as datagrams fill them.
struct Receiver {
    size: usize,
    buffers: Vec<u8>,
    #[cfg(target_os = "linux")]
    headers: nix::sys::socket::MultiHeaders<nix::sys::socket::SockaddrStorage>,
}

impl Receiver {
    #[cfg(target_os = "linux")]
    fn new(size: usize) -> Self {
        let headers = nix::sys::socket::MultiHeaders::preallocate(BATCH, None);
        Receiver { size, buffers: vec![0; size * BATCH], headers }
    }

    /// Takes up to [`BATCH`] datagrams; waits for the first as `wait` says.
    #[cfg(target_os = "linux")]
    fn receive(&mut self, fd: std::os::fd::BorrowedFd<'_>, wait: Wait, groups: &mut Groups) -> io::Result<usize> {
        use nix::sys::socket::{MsgFlags, recvmmsg};
        use std::os::fd::AsRawFd;
        let mut slices: Vec<[io::IoSliceMut<'_>; 1]> =
            self.buffers.chunks_exact_mut(self.size).map(|buffer| [io::IoSliceMut::new(buffer)]).collect();
        let flags = if wait == Wait::ForOne { MsgFlags::MSG_WAITFORONE } else { MsgFlags::MSG_DONTWAIT };
        let mut lengths = [(0, None, false); BATCH];
        let mut got = 0;
        for (message, place) in recvmmsg(fd.as_raw_fd(), &mut self.headers, &mut slices, flags, None)?.zip(&mut lengths)
        {
            let peer = message.address.as_ref().and_then(|address| {
                let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip()).to_canonical()))
            });
            *place = (message.bytes, peer, message.flags.contains(MsgFlags::MSG_TRUNC));
            got += 1;
        }
        for ((len, peer, cut), buffer) in lengths.into_iter().take(got).zip(self.buffers.chunks_exact(self.size)) {
            groups.push(peer, &buffer[..len.min(self.size)], cut);
        }
        Ok(got)
    }

    #[cfg(not(target_os = "linux"))]
    fn new(size: usize) -> Self {
        Receiver { size, buffers: vec![0; size + 1] }
    }

    /// Takes one datagram; waits for it as `wait` says.
    #[cfg(not(target_os = "linux"))]
    fn receive(&mut self, fd: std::os::fd::BorrowedFd<'_>, wait: Wait, groups: &mut Groups) -> io::Result<usize> {
        use nix::sys::socket::{MsgFlags, SockaddrStorage, recvfrom};
        use std::os::fd::AsRawFd;
        let _ = wait; // the socket's time-out is short
        let (len, address) = recvfrom::<SockaddrStorage>(fd.as_raw_fd(), &mut self.buffers)?;
        let peer = address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip()).to_canonical()))
        });
        groups.push(peer, &self.buffers[..len.min(self.size)], len > self.size);
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn drops_are_read_from_the_kernels_table() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n \
             4321: 0100007F:0202 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 77001 2 0000000000000000 12\n";
        assert_eq!(drops_in(table, 77001), Some(12));
        assert_eq!(drops_in(table, 7700), None);
    }

    #[test]
    fn messages_are_grouped_by_sender_in_order() {
        let mut groups = Groups { max: 9, ..Groups::default() };
        let peer = |n| Some(IpAddr::from([10, 0, 0, n]));
        for (n, text) in [(1, "a\n"), (2, "b"), (1, "c\0"), (2, "\n"), (2, "d")] {
            groups.push(peer(n), text.as_bytes(), false);
        }
        let got: Vec<_> = groups.groups.iter().map(|g| (g.peer, &g.text[..], g.spans.len())).collect();
        assert_eq!(got, [(peer(1), &b"ac"[..], 2), (peer(2), b"bd", 2)]);
    }

    #[test]
    fn a_message_of_exactly_the_most_bytes_is_not_cut_whatever_its_end() {
        for (datagram, truncated, text, cut) in [
            ("<1>456789", false, "<1>456789", 0),
            ("<1>456789\r\n\0", false, "<1>456789", 0),
            ("<1>4567890", false, "<1>456789", 1),
            ("<1>45678é\n", false, "<1>45678", 1),
            ("<1>4567890123", true, "<1>456789", 1),
        ] {
            let mut groups = Groups { max: 9, ..Groups::default() };
            groups.push(None, datagram.as_bytes(), truncated);
            let got = groups.groups.iter().map(|g| String::from_utf8_lossy(&g.text).into_owned()).collect::<Vec<_>>();
            assert_eq!((got, groups.cut), (vec![text.to_owned()], cut), "{datagram:?}");
        }
    }
}

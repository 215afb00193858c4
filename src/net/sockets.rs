//! Sockets that outlive the part that opened them.
//!
//! Whoever listens on an address of which another part of this process has the socket already gets the same socket: with
//! what waits in it, and without a moment in which nobody listens. The socket is closed when the last of them has let go.

use crate::error::BuildError;
use crate::sync::Locked;
use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::{Notify, watch};

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    /// As it is written: `127.0.0.1:80`, `unix:///run/x.sock`.
    pub address: String,
    /// Why not.
    pub source: io::Error,
}

impl ListenError {
    /// What to do.
    pub fn help(&self) -> &'static str {
        let is_file = self.address.starts_with("unix");
        match self.source.kind() {
            io::ErrorKind::PermissionDenied if is_file => {
                "the agent's user must be allowed to make and give away files there"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need rights: choose another address, or give the agent CAP_NET_BIND_SERVICE"
            }
            io::ErrorKind::AddrInUse => "another program has it: stop that, or choose another address",
            _ => "choose another `listen`",
        }
    }
}

impl std::fmt::Display for ListenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot listen on {}", self.address)
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<ListenError> for BuildError {
    fn from(error: ListenError) -> BuildError {
        let help = error.help();
        BuildError::Host { cause: error.into(), help }
    }
}

/// A socket that can be had twice.
pub trait Handle: Sized + Send + Sync + 'static {
    /// Another handle to the same socket.
    fn again(&self) -> io::Result<Self>;
}

macro_rules! handles {
    ($($socket:ty),*) => {
        $(impl Handle for $socket {
            fn again(&self) -> io::Result<Self> {
                self.try_clone()
            }
        })*
    };
}

handles!(TcpListener, UdpSocket, UnixListener, UnixDatagram);

/// What goes when the last holder has: a socket's file.
pub type Guard = Box<dyn Any + Send + Sync>;

struct Open {
    socket: Box<dyn Any + Send + Sync>,
    _guard: Option<Guard>,
    /// Parts that accept here.
    takers: watch::Sender<usize>,
    /// Connections that one who leaves gives to one who takes.
    moved: Mutex<VecDeque<Box<dyn Any + Send>>>,
    some: Notify,
}

/// Keeps a socket open for those that come later. To be held as long as the socket is used.
#[derive(Clone)]
pub struct Holder(Arc<Open>);

/// As long as it lives, connections of those who leave can be given to whoever holds it.
pub struct Taker(Arc<Open>);

impl Drop for Taker {
    fn drop(&mut self) {
        self.0.takers.send_modify(|n| *n -= 1);
    }
}

impl Holder {
    /// Says that connections are taken here.
    pub fn take_connections(&self) -> Taker {
        self.0.takers.send_modify(|n| *n += 1);
        Taker(self.0.clone())
    }

    /// Resolves when somebody takes connections.
    pub async fn taken(&self) {
        let mut takers = self.0.takers.subscribe();
        if takers.wait_for(|n| *n > 0).await.is_err() {
            std::future::pending().await
        }
    }

    /// Gives a connection to whoever takes it.
    pub fn move_connection(&self, connection: Box<dyn Any + Send>) {
        self.0.moved.locked().push_back(connection);
        self.0.some.notify_one();
    }

    /// The next connection that somebody has given, where there is one.
    pub fn try_moved(&self) -> Option<Box<dyn Any + Send>> {
        self.0.moved.locked().pop_front()
    }

    /// The next connection that somebody has given. Safe to cancel.
    pub async fn moved(&self) -> Box<dyn Any + Send> {
        loop {
            let some = self.0.some.notified();
            if let Some(connection) = self.try_moved() {
                // There may be more, and only one is woken.
                self.0.some.notify_one();
                return connection;
            }
            some.await;
        }
    }
}

static OPEN: Mutex<Vec<(String, Weak<Open>)>> = Mutex::new(Vec::new());

thread_local! {
    /// What is opened on this thread while [`noted`] runs.
    static NOTED: RefCell<Option<Vec<Holder>>> = const { RefCell::new(None) };
}

/// What `run` gives, and holders of all sockets that it had opened: as long as these live, the sockets stay open.
pub fn noted<R>(run: impl FnOnce() -> R) -> (R, Vec<Holder>) {
    NOTED.set(Some(Vec::new()));
    let result = run();
    (result, NOTED.take().unwrap_or_default())
}

fn note(holder: &Holder) {
    NOTED.with_borrow_mut(|noted| {
        if let Some(noted) = noted {
            noted.push(holder.clone());
        }
    });
}

/// The socket of this address: that which another part has, or what `open` gives. `address` names the kind too (`tcp://…`); of a port
/// that the system is to choose (0) each has its own.
pub fn shared<S: Handle>(
    address: &str,
    open: impl FnOnce() -> io::Result<(S, Option<Guard>)>,
) -> io::Result<(S, Holder)> {
    let mut all = OPEN.locked();
    all.retain(|(_, holder)| holder.strong_count() > 0);
    let of_its_own = address.ends_with(":0");
    let known = all.iter().find(|(known, _)| known == address && !of_its_own).and_then(|(_, holder)| holder.upgrade());
    if let Some(open) = known
        && let Some(socket) = open.socket.downcast_ref::<S>()
    {
        let holder = Holder(open.clone());
        note(&holder);
        return Ok((socket.again()?, holder));
    }
    let (socket, guard) = open()?;
    let open = Arc::new(Open {
        socket: Box::new(socket.again()?),
        _guard: guard,
        takers: watch::Sender::new(0),
        moved: Mutex::default(),
        some: Notify::new(),
    });
    all.push((address.to_owned(), Arc::downgrade(&open)));
    let holder = Holder(open);
    note(&holder);
    Ok((socket, holder))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;
    use std::net::TcpStream;

    #[test]
    fn what_waits_in_a_socket_is_there_for_the_next() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let open = || shared(&format!("tcp://{address}"), || Ok((TcpListener::bind(&address)?, None)));
        let (first, holder) = open().unwrap();
        let mut client = TcpStream::connect(&address).unwrap();
        client.write_all(b"waits").unwrap();
        let (second, later) = open().unwrap();
        drop((first, holder));
        let (mut served, _) = second.accept().unwrap();
        let mut got = [0; 5];
        std::io::Read::read_exact(&mut served, &mut got).unwrap();
        assert_eq!(&got, b"waits");
        drop((second, later));
        assert!(TcpStream::connect(&address).is_err(), "the last one closes it");
        open().unwrap();
    }

    /// Whoever opened it may have gone: as long as what was noted lives, clients wait and are not refused.
    #[test]
    fn what_was_noted_keeps_a_socket_open() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let open = || shared(&format!("tcp://{address}"), || Ok((TcpListener::bind(&address)?, None))).unwrap();
        let (part, holders) = noted(open);
        assert_eq!(holders.len(), 1);
        drop(part);
        let client = TcpStream::connect(&address).unwrap();
        let ((next, holder), again) = noted(open);
        assert_eq!((next.accept().unwrap().1, again.len()), (client.local_addr().unwrap(), 1));
        drop((next, holder, again, holders));
        assert!(TcpStream::connect(&address).is_err());
    }

    #[test]
    fn a_file_goes_with_the_last_and_ports_of_the_systems_choice_are_not_shared() {
        struct Gone(Arc<Mutex<u32>>);
        impl Drop for Gone {
            fn drop(&mut self) {
                *self.0.lock().unwrap() += 1;
            }
        }
        let gone = Arc::new(Mutex::new(0));
        let open = || {
            let guard: Guard = Box::new(Gone(gone.clone()));
            shared("udp://x", || Ok((UdpSocket::bind("127.0.0.1:0")?, Some(guard))))
        };
        let (first, holder) = open().unwrap();
        let (second, later) = open().unwrap();
        assert_eq!(first.local_addr().unwrap(), second.local_addr().unwrap());
        let before = *gone.lock().unwrap();
        drop(holder);
        assert_eq!(*gone.lock().unwrap(), before);
        drop(later);
        assert_eq!(*gone.lock().unwrap(), before + 1);
        let own = || shared("udp://127.0.0.1:0", || Ok((UdpSocket::bind("127.0.0.1:0")?, None))).unwrap();
        let (one, two) = (own(), own());
        assert_ne!(one.0.local_addr().unwrap(), two.0.local_addr().unwrap());
    }
}

//! Sockets that outlive the part that opened them.
//!
//! Whoever listens on an address of which another part of this process has the socket already gets the same socket: with
//! what waits in it, and without a moment in which nobody listens. The socket is closed when the last of them has let go.

use std::any::Any;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::{Arc, Mutex, Weak};

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

/// Keeps a socket open for those that come later. To be held as long as the socket is used.
pub type Holder = Arc<dyn Any + Send + Sync>;

/// What goes when the last holder has: a socket's file.
pub type Guard = Box<dyn Any + Send + Sync>;

struct Open<S> {
    socket: S,
    _guard: Option<Guard>,
}

static OPEN: Mutex<Vec<(String, Weak<dyn Any + Send + Sync>)>> = Mutex::new(Vec::new());

/// The socket of this address: that which another part has, or what `open` gives. `address` names the kind too (`tcp://…`); of a port
/// that the system is to choose (0) each has its own.
pub fn shared<S: Handle>(
    address: &str,
    open: impl FnOnce() -> io::Result<(S, Option<Guard>)>,
) -> io::Result<(S, Holder)> {
    let mut all = OPEN.lock().unwrap_or_else(|e| e.into_inner());
    all.retain(|(_, holder)| holder.strong_count() > 0);
    let of_its_own = address.ends_with(":0");
    let known = all.iter().find(|(known, _)| known == address && !of_its_own).and_then(|(_, holder)| holder.upgrade());
    if let Some(holder) = known
        && let Ok(open) = holder.clone().downcast::<Open<S>>()
    {
        return Ok((open.socket.again()?, holder));
    }
    let (socket, guard) = open()?;
    let holder: Holder = Arc::new(Open { socket: socket.again()?, _guard: guard });
    all.push((address.to_owned(), Arc::downgrade(&holder)));
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

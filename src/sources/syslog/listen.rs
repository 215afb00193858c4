//! `listen`: where the source listens, and the sockets for it.

use super::socket::SocketFile;
use crate::net::sockets::{self, ListenError};
use crate::settings::{Node, Reader, SchemaBuilder, Setting, read_string};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// Datagrams; host and port.
    Udp(String),
    /// A stream; host and port.
    Tcp(String),
    /// A stream inside TLS; host and port.
    Tls(String),
    /// A stream over a socket in the file system.
    Unix(PathBuf),
    /// Datagrams over a socket in the file system, such as `/dev/log`.
    UnixDatagram(PathBuf),
}

const FORMS: &str = "`udp://HOST:PORT`, `tcp://HOST:PORT`, `tls://HOST:PORT`, `unix:///PATH` or `unixgram:///PATH`";

impl Listen {
    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("expected {FORMS}"))?;
        let host = || match rest.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(rest.to_owned()),
            _ => Err(format!("`{text}` needs a host and a port, as in `{scheme}://0.0.0.0:514`")),
        };
        let path = || match rest {
            "" => Err(format!("`{text}` needs a path, as in `{scheme}:///run/syslog.sock`")),
            path => Ok(PathBuf::from(path)),
        };
        match scheme {
            "udp" => host().map(Listen::Udp),
            "tcp" => host().map(Listen::Tcp),
            "tls" => host().map(Listen::Tls),
            "unix" => path().map(Listen::Unix),
            "unixgram" => path().map(Listen::UnixDatagram),
            _ => Err(format!("unknown scheme `{scheme}`, expected {FORMS}")),
        }
    }

    /// Opens its socket.
    ///
    /// Errors: the address is taken, not ours, or needs rights that the agent's user has not.
    pub(super) fn bind(&self, receive_buffer: Option<usize>, file: &SocketFile) -> Result<Socket, ListenError> {
        let socket = match self {
            Listen::Udp(host) => udp(host, receive_buffer),
            Listen::Tcp(host) => tcp(host, false),
            Listen::Tls(host) => tcp(host, true),
            Listen::Unix(path) => sockets::shared(&self.to_string(), || {
                unlink_stale(path)?;
                let listener = UnixListener::bind(path)?;
                let own: sockets::Guard = Box::new(OwnPath(path.clone()));
                listener.set_nonblocking(true)?;
                Ok((listener, Some(own)))
            })
            .and_then(|(listener, holder)| {
                file.apply(path)?;
                Ok(Socket { kind: SocketKind::Unix(listener, path.clone()), holder })
            }),
            Listen::UnixDatagram(path) => sockets::shared(&self.to_string(), || {
                unlink_stale(path)?;
                let socket = UnixDatagram::bind(path)?;
                let own: sockets::Guard = Box::new(OwnPath(path.clone()));
                Ok((socket, Some(own)))
            })
            .and_then(|(socket, holder)| {
                file.apply(path)?;
                set_receive_buffer(&socket, receive_buffer, self)?;
                Ok(Socket { kind: SocketKind::UnixDatagram(socket, path.clone()), holder })
            }),
        };
        socket.map_err(|source| ListenError { address: self.to_string(), source })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Udp(host) => write!(f, "udp://{host}"),
            Listen::Tcp(host) => write!(f, "tcp://{host}"),
            Listen::Tls(host) => write!(f, "tls://{host}"),
            Listen::Unix(path) => write!(f, "unix://{}", path.display()),
            Listen::UnixDatagram(path) => write!(f, "unixgram://{}", path.display()),
        }
    }
}

impl Setting for Listen {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        match Listen::parse(text) {
            Ok(listen) => Some(listen),
            Err(message) => {
                let message = format!("{message} for {}", cx.subject());
                let is_bare = text.parse::<std::net::SocketAddr>().is_ok();
                let diagnostic = cx.error(node.span, message);
                if is_bare {
                    diagnostic.help(format!("write \"udp://{text}\", \"tcp://{text}\", or a list of both"));
                }
                None
            }
        }
    }

    fn schema(_: &mut SchemaBuilder) -> serde_json::Value {
        serde_json::json!({"type": "string", "pattern": "^(udp|tcp|tls|unix|unixgram)://|\\$\\{"})
    }

    fn describe() -> String {
        FORMS.to_owned()
    }

    fn default_text(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn accepts(node: &Node) -> bool {
        node.as_str().is_some()
    }
}

/// An open socket.
pub(super) struct Socket {
    pub(super) kind: SocketKind,
    /// Keeps it open for whoever listens there next.
    pub(super) holder: sockets::Holder,
}

pub(super) enum SocketKind {
    Udp(UdpSocket),
    /// Not blocking; whether TLS is spoken on it.
    Tcp(TcpListener, bool),
    /// Not blocking.
    Unix(UnixListener, PathBuf),
    UnixDatagram(UnixDatagram, PathBuf),
}

impl Socket {
    /// The address it got, as `listen` would be written for it.
    pub(super) fn address(&self) -> String {
        let of = |scheme: &str, address: io::Result<SocketAddr>| match address {
            Ok(address) => format!("{scheme}://{address}"),
            Err(error) => format!("{scheme}://? ({error})"),
        };
        match &self.kind {
            SocketKind::Udp(socket) => of("udp", socket.local_addr()),
            SocketKind::Tcp(listener, false) => of("tcp", listener.local_addr()),
            SocketKind::Tcp(listener, true) => of("tls", listener.local_addr()),
            SocketKind::Unix(_, path) => format!("unix://{}", path.display()),
            SocketKind::UnixDatagram(_, path) => format!("unixgram://{}", path.display()),
        }
    }
}

/// A socket's file, which goes with the socket.
struct OwnPath(PathBuf);

impl Drop for OwnPath {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "the socket's file cannot be removed");
        }
    }
}

fn first_that<T>(host: &str, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in host.to_socket_addrs()? {
        match bind(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn tcp(host: &str, secured: bool) -> io::Result<Socket> {
    let open = || {
        first_that(host, |address| {
            let listener = TcpListener::bind(address)?;
            // Thousands of clients that come back at once find room in the system's queue.
            nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXALLOWABLE)?;
            listener.set_nonblocking(true)?;
            Ok((listener, None))
        })
    };
    let (listener, holder) = sockets::shared(&format!("tcp://{host}"), open)?;
    Ok(Socket { kind: SocketKind::Tcp(listener, secured), holder })
}

fn udp(host: &str, receive_buffer: Option<usize>) -> io::Result<Socket> {
    let open = || Ok((first_that(host, UdpSocket::bind)?, None));
    let (socket, holder) = sockets::shared(&format!("udp://{host}"), open)?;
    match receive_buffer {
        Some(_) => set_receive_buffer(&socket, receive_buffer, &Listen::Udp(host.to_owned()))?,
        None => grow_receive_buffer(&socket),
    }
    Ok(Socket { kind: SocketKind::Udp(socket), holder })
}

/// Bytes of datagrams that the kernel holds for a UDP socket, where the configuration does not say.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Makes the receive buffer larger than the system's default, as far as the system allows: that holds a few hundred messages,
/// which at 50,000 a second come in 5 ms. What is not used takes no memory.
fn grow_receive_buffer(socket: &UdpSocket) {
    use nix::sys::socket::{getsockopt, setsockopt, sockopt};
    #[cfg(target_os = "linux")]
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_ok() {
        return;
    }
    let before = getsockopt(socket, sockopt::RcvBuf).unwrap_or(0);
    if before < RECEIVE_BUFFER
        && let Err(error) = setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER)
    {
        tracing::debug!(%error, "the receive buffer stays as it is");
    }
}

/// Asks for a receive buffer of so many bytes: past the system's limit where the agent may, else up to it, and says so.
fn set_receive_buffer(socket: &impl std::os::fd::AsFd, bytes: Option<usize>, listen: &Listen) -> io::Result<()> {
    let Some(bytes) = bytes else { return Ok(()) };
    use nix::sys::socket::{getsockopt, setsockopt, sockopt};
    #[cfg(target_os = "linux")]
    if setsockopt(socket, sockopt::RcvBufForce, &bytes).is_ok() {
        return Ok(());
    }
    setsockopt(socket, sockopt::RcvBuf, &bytes)?;
    // Linux doubles what is asked for, to have room for its own ledger.
    let got = getsockopt(socket, sockopt::RcvBuf)? / if cfg!(target_os = "linux") { 2 } else { 1 };
    if got < bytes {
        tracing::warn!(%listen, asked = bytes, got, "the receive buffer is smaller than asked for; raise net.core.rmem_max");
    }
    Ok(())
}

/// Removes a socket's file that nobody listens on any more: what a crash leaves.
fn unlink_stale(path: &Path) -> io::Result<()> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket"));
    }
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    let stale = match UnixStream::connect(path) {
        Ok(_) => false,
        Err(error) if refused(&error) => true,
        // It is of datagrams.
        Err(_) => UnixDatagram::unbound()?.connect(path).is_err_and(|error| refused(&error)),
    };
    if stale { std::fs::remove_file(path) } else { Err(io::ErrorKind::AddrInUse.into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::socket::SocketMode;
    use super::*;
    use crate::error::BuildError;
    use crate::settings::Settings;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in
            ["udp://0.0.0.0:514", "tcp://[::]:601", "tls://localhost:6514", "unix:///run/s", "unixgram:///dev/log"]
        {
            assert_eq!(Listen::parse(text).unwrap().to_string(), text);
        }
        for (text, part) in [
            ("127.0.0.1:514", "udp://HOST:PORT"),
            ("http://a:1", "unknown scheme `http`"),
            ("udp://514", "needs a host and a port"),
            ("tcp://host:99999", "needs a host and a port"),
            ("unix://", "needs a path"),
        ] {
            let error = Listen::parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn anybody_may_write_to_a_socket_unless_the_configuration_says_otherwise() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        for listen in [Listen::Unix(path.clone()), Listen::UnixDatagram(path.clone())] {
            let socket = listen.bind(None, &SocketFile::defaults()).unwrap();
            assert_eq!(mode(), 0o666, "{listen}");
            drop(socket);
            let group = std::fs::metadata(dir.path()).unwrap().gid();
            let file = SocketFile { mode: SocketMode(0o620), owner: None, group: Some(group.to_string()) };
            let socket = listen.bind(None, &file).unwrap();
            assert_eq!((mode(), std::fs::metadata(&path).unwrap().gid()), (0o620, group), "{listen}");
            drop(socket);
            let file = SocketFile { owner: Some("nobody-of-this-name".into()), ..file };
            let Err(error) = listen.bind(None, &file) else { panic!("there is such a user") };
            let error = BuildError::from(error).words();
            assert!(error.contains("there is no user `nobody-of-this-name`"), "{error}");
            assert!(!path.exists(), "what is not used is not left behind");
        }
    }

    #[test]
    fn a_socket_left_by_a_crash_is_taken_over_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let socket = Listen::Unix(path.clone()).bind(None, &SocketFile::defaults()).unwrap();
        // Another part of this process is handed the same one.
        let again = Listen::Unix(path.clone()).bind(None, &SocketFile::defaults()).unwrap();
        drop(socket);
        assert!(path.exists());
        drop(again);
        assert!(!path.exists());
        // Another program has it.
        let theirs = UnixListener::bind(&path).unwrap();
        let Err(error) = Listen::Unix(path.clone()).bind(None, &SocketFile::defaults()) else {
            panic!("it was taken over")
        };
        let error = BuildError::from(error).words();
        assert!(error.contains("another program has it"), "{error}");
        drop(theirs);
        std::fs::remove_file(&path).unwrap();
        drop(UnixDatagram::bind(&path).unwrap());
        drop(Listen::UnixDatagram(path.clone()).bind(None, &SocketFile::defaults()).unwrap());
        std::fs::write(&path, "precious").unwrap();
        assert!(Listen::UnixDatagram(path.clone()).bind(None, &SocketFile::defaults()).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
